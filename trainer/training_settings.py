"""`[training]` of a region: what the trainer reads of its TOML."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import SettingsError
from service.manifest import VariableName
from service.settings import Settings
from trainer.breaks import BreakRule
from trainer.divide import SplitSettings
from trainer.inventory import InventorySource
from trainer.samples import Sampling


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VariableSettings(_Section):
    """A variable of the window that a model is to learn from; its range comes from the training part."""

    name: VariableName
    unit: str
    log: bool = False
    unlinked: float = 0.0


class Synthetic(_Section):
    """The region is made up: its files are written beside `grid.dem` where they are missing."""

    manner: Literal["demo", "kerman"] = "demo"
    seed: int


class RuleOfBreaks(_Section):
    """Class breaks by rule, on a seeded sample of cells over backfilled years; never by layer."""

    by: BreakRule
    cells: Annotated[int, Field(ge=200)] = 2_000
    first_day: date | None = None  # default: the training years
    last_day: date | None = None


class ReferenceSettings(_Section):
    """How much goes into the bundle's reference of its output, from which the service measures drift."""

    cells: Annotated[int, Field(ge=50)] = 1_000
    days: Annotated[int, Field(ge=0)] = 240  # 0: no reference, and no drift is measured
    seed: Annotated[int, Field(ge=0)] = 0


class EventRate(_Section):
    """A stated rate of landslides: layers then carry a probability (float32) beside the index."""

    rate: Annotated[float, Field(gt=0, lt=1)]
    per: str  # in words, such as "cell and day"
    source: str


class TrainingSettings(_Section):
    """`[training]` of a region. Defaults of the fit are the paper's."""

    name: str
    version: str
    created: datetime  # stated, so that the same weights give the same files
    data: str  # in words: which events, which dates
    inventory: InventorySource
    first_day: date  # of events and of the days that negatives are drawn from
    last_day: date
    variables: tuple[VariableSettings, ...] = (VariableSettings(name="rain", unit="mm"),)
    factors: tuple[str, ...] = ()  # default: every band of the stack
    sampling: Sampling = Sampling()
    split: SplitSettings = SplitSettings()
    model: str = "cnn_lstm"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)  # of the model
    members: Annotated[int, Field(ge=0, le=20)] = 0  # of the ensemble, beside the model that serves
    calibration: Literal["none", "platt", "isotonic"] = "none"
    breaks: tuple[float, float, float] | RuleOfBreaks = (0.2, 0.5, 0.8)
    event_rate: EventRate | None = None
    reference: ReferenceSettings = ReferenceSettings()
    notes: tuple[str, ...] = ()  # paragraphs for the model card: what a reader must know of the making
    seed: Annotated[int, Field(ge=0)] = 0
    mixed_precision: bool = False  # of networks on CUDA
    patch: Annotated[int, Field(ge=22)] = 23
    synthetic: Synthetic | None = None
    # Short for hyperparameters of the networks.
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=2)] | None = None
    l2: Annotated[float, Field(ge=0)] | None = None
    rain_penalty: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _said_once(self) -> TrainingSettings:
        twice = [name for name in _SHORT if getattr(self, name) is not None and name in self.hyperparameters]
        if twice:
            raise ValueError(f"{', '.join(twice)} stands here and under hyperparameters; keep one")
        return self

    @property
    def short(self) -> dict[str, Any]:
        """Hyperparameters that have a place of their own, where they are stated."""
        return {name: getattr(self, name) for name in _SHORT if getattr(self, name) is not None}


_SHORT = ("epochs", "batch", "l2", "rain_penalty")


def read_training(settings: Settings) -> TrainingSettings:
    """Return `[training]` as a typed tree. Raises SettingsError that names each wrong key."""
    if not settings.training:
        raise SettingsError(
            "the settings have no [training] section; config/demo.toml shows one with all its keys"
        )
    try:
        return TrainingSettings.model_validate(settings.training)
    except ValidationError as error:
        lines = [f"  training.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SettingsError("the settings cannot be used:\n" + "\n".join(lines)) from error
