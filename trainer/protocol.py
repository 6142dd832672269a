"""A protocol: which samples, which split, which models with which hyperparameters, judged how.

    load_protocol("teng2026")       one that is shipped, by name
    load_protocol(Path("my.toml"))  one of your own

Shipped protocols state what their paper states; what it does not is named in `assumed`.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import SettingsError
from trainer.evaluate import METRICS
from trainer.folds import SplitPlan
from trainer.models import names, recipe_of
from trainer.models.base import Recipe
from trainer.sample_kinds import PER_EVENT, Sampling


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Judging(_Section):
    """How intervals come about: what is drawn with replacement, and how often."""

    by: Literal["ground", "storm", "place"] = "ground"
    block_km: Annotated[float, Field(gt=0)] = 2.0  # of "ground"
    resamples: Annotated[int, Field(ge=100)] = 1000


class Paper(_Section):
    """The figures that a paper reports, by model and metric."""

    source: str
    models: dict[str, dict[str, float]]
    high_share: dict[str, float] = Field(default_factory=dict)  # model -> landslides in high and very high


class Protocol(_Section):
    """What is compared, and how."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str
    source: str = ""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    split: SplitPlan
    sampling: dict[str, Any] = Field(default_factory=dict)  # what differs from [training.sampling]
    calibration: Literal["none", "platt", "isotonic"] = "platt"
    judging: Judging = Judging()
    explain: tuple[str, ...] = ()  # models whose importance is worked out; default: the first
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    assumed: tuple[str, ...] = ()
    paper: Paper | None = None

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed stands twice in {list(seeds)}: one repetition would count as two")
        return seeds

    def sampling_of(self, region: Sampling) -> Sampling:
        """Return the region's rules with what the protocol states in their place.

        Raises SettingsError for a rule that there is not.
        """
        stated = region.model_dump(exclude_unset=True)
        if "ratio" in self.sampling:
            # How many in all takes the place of how many for each event.
            stated = {name: value for name, value in stated.items() if name not in PER_EVENT}
        try:
            return Sampling.model_validate({**stated, **self.sampling})
        except ValidationError as error:
            lines = [f"  sampling.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise SettingsError(f"protocol {self.name} cannot be used:\n" + "\n".join(lines)) from error

    def recipes(self, chosen: tuple[str, ...] = ()) -> dict[str, Recipe]:
        """Return the models with their hyperparameters, in the protocol's order; `chosen` leaves others out.

        Raises SettingsError for a name or hyperparameter that there is not.
        """
        unknown = [name for name in chosen if name not in self.models]
        if unknown:
            raise SettingsError(
                f"protocol {self.name} has no model {', '.join(unknown)}; it has: {', '.join(self.models)}"
            )
        wanted = [name for name in self.models if not chosen or name in chosen]
        return {name: recipe_of(name, self.models[name]) for name in wanted}


def shipped() -> tuple[str, ...]:
    """Return the names of the protocols that come with Colluvium."""
    folder = files("trainer") / "protocols"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir()
                        if item.name.endswith(".toml")))  # fmt: skip


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Return a protocol, shipped or of a file. Raises SettingsError that names each wrong key."""
    if isinstance(name_or_path, str) and name_or_path in shipped():
        text = (files("trainer") / "protocols" / f"{name_or_path}.toml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise SettingsError(
                f"no protocol {name_or_path}: neither a file nor one of {', '.join(shipped())}"
            )
        text = path.read_text("utf-8")
    try:
        protocol = Protocol.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"protocol {name_or_path} is not valid TOML: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SettingsError(f"protocol {name_or_path} cannot be used:\n" + "\n".join(lines)) from error
    if protocol.paper is not None:
        strange = {metric for row in protocol.paper.models.values() for metric in row} - set(METRICS)
        if strange:
            raise SettingsError(f"protocol {name_or_path}: paper.models has no metric {', '.join(strange)}")
    missing = [name for name in protocol.models if name not in names()]
    if missing:
        raise SettingsError(
            f"protocol {name_or_path}: no model is called {', '.join(missing)}; there are: "
            f"{', '.join(names())}"
        )
    return protocol
