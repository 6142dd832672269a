"""`colluvium train`: from a region with an inventory to a proven bundle, as `[training]` of its TOML says.

The story: factors and readings are brought up to date; landslides and storms are divided among training,
validation and test; dated negatives are drawn on each side by itself; patches and windows are read with the
service's own code; the network is fitted, tested and exported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import structlog
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporters.layer import ClassScheme
from service.errors import InputError, SettingsError
from service.factor_stack import FactorStack
from service.files import digest_of
from service.ingest import ingest
from service.lock import exclusive
from service.manifest import Manifest, RainTest, Training, VariableName, VariableSpec
from service.points import point_windows
from service.readings import Archive
from service.region import Region, open_region
from service.reservoirs import Reservoirs, lowest_in_stack, open_reservoirs
from service.settings import Settings
from service.workshop import archive_path, lock_path
from trainer.bundle import export_bundle
from trainer.divide import Divided, SplitSettings, divide, draw, rain_at_nodes
from trainer.evaluate import area_under_curve, evaluate
from trainer.factors import derive
from trainer.fit import EpochLosses, FitResult, FitSamples, FitSettings, fit, fit_ranges
from trainer.inventory import InventorySource, read_inventory
from trainer.networks.cnn_lstm import CnnLstm, Inputs
from trainer.patches import read_patches
from trainer.rain_test import rain_test
from trainer.samples import Kind, Sample, Sampling

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
_log = structlog.get_logger()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variable(_Section):
    """A variable of the window that the model is to learn from; its range comes from the training part."""

    name: VariableName
    unit: str
    log: bool = False
    unlinked: float = 0.0


class Synthetic(_Section):
    """The region is made up: its files are written beside `grid.dem` where they are missing."""

    seed: int


class TrainingSettings(_Section):
    """`[training]` of a region. Defaults of the fit are the paper's."""

    name: str
    version: str
    created: datetime  # stated, so that the same weights give the same files
    data: str  # in words: which events, which dates
    inventory: InventorySource
    first_day: date  # of events and of the days that negatives are drawn from
    last_day: date
    variables: tuple[Variable, ...] = (Variable(name="rain", unit="mm"),)
    factors: tuple[str, ...] = ()  # default: every band of the stack
    sampling: Sampling = Sampling()
    split: SplitSettings = SplitSettings()
    breaks: tuple[float, float, float] = (0.2, 0.5, 0.8)
    notes: tuple[str, ...] = ()  # paragraphs for the model card: what a reader must know of the making
    seed: int = 0
    epochs: Annotated[int, Field(ge=1)] = 50
    batch: Annotated[int, Field(ge=2)] = 32
    l2: Annotated[float, Field(ge=0)] = 0.01
    rain_penalty: Annotated[float, Field(ge=0)] = 0.0
    patch: Annotated[int, Field(ge=22)] = 23
    synthetic: Synthetic | None = None


@dataclass(frozen=True)
class _Data:
    """Complete samples of one side, with what the network is given of them."""

    samples: tuple[Sample, ...]
    patches: FloatArray  # (n, C, P, P)
    windows: FloatArray  # (n, N, V)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    def fit_samples(self) -> FitSamples:
        return FitSamples(self.labels.astype(np.float32), windows=self.windows, patches=self.patches)


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


def train(settings: Settings, out: Path, progress: Progress | None = None) -> Manifest:
    """Train a bundle and write it to `out`, which is replaced as a whole if it is there.

    Raises SettingsError for `[training]`, InputError for an inventory or samples that cannot be used, and
    whatever factors and feeds raise.
    """
    wanted = read_training(settings)
    if wanted.synthetic is not None:
        _make_synthetic(wanted)
    region = open_region(settings)
    inventory = read_inventory(wanted.inventory, region.grid.crs, settings.timezone)
    with exclusive(lock_path(settings), "colluvium train"), ExitStack() as opened:
        derive(settings, region)
        archive = opened.enter_context(Archive(archive_path(settings)))
        stack = opened.enter_context(FactorStack.open(settings.stack_path, region.grid))
        report = ingest(settings, archive, datetime.now(UTC))
        if report.failed:
            raise InputError(
                f"no training without the feeds {', '.join(report.failed)}; see colluvium ingest"
            )
        reservoirs = _reservoirs(settings, region, stack)
        events = [event for event in inventory.events if wanted.first_day <= event.day <= wanted.last_day]
        divided = divide(events, region.grid, wanted.split, wanted.sampling)
        days = [
            wanted.first_day + timedelta(days=n) for n in range((wanted.last_day - wanted.first_day).days + 1)
        ]
        rain = rain_at_nodes(settings, region, archive, days[0] - timedelta(days=60), days[-1])
        drawn = draw(divided, events, days, region, rain, wanted.sampling, wanted.split, wanted.patch)
        names = wanted.factors or tuple(band.name for band in stack.bands)
        bands = [stack.bands[number - 1] for number in stack.index(names)]
        variables = [VariableSpec(**item.model_dump(), minimum=0, maximum=1) for item in wanted.variables]
        parts = {
            side: _read(settings, region, archive, stack, reservoirs, names, variables, samples, wanted)
            for side, samples in drawn.sides.items()
        }
        stack_digest = stack.digest
    factors, ranged = fit_ranges(bands, variables, parts["train"].patches, parts["train"].windows)
    inputs = Inputs(factors, ranged, patch=wanted.patch, window_days=wanted.sampling.window_days)
    model = CnnLstm(inputs, seed=wanted.seed)
    fitted = _fit(model, parts, wanted, progress)
    test = parts["test"]
    tried = _join(parts["validation"], test)
    tested = rain_test(model, tried.windows, patches=tried.patches)
    predicted = _predict(model, test)
    metrics = _metrics(test, predicted, wanted.seed, settings)
    counts = {side: len(part.samples) for side, part in parts.items()}
    positives = {side: int(part.labels.sum()) for side, part in parts.items()}
    everyone = [sample for part in parts.values() for sample in part.samples]
    by_kind = {kind.value: sum(sample.kind is kind for sample in everyone) for kind in Kind}
    training = Training(
        region=settings.region.id,
        data=f"{wanted.data}; {wanted.first_day} to {wanted.last_day}",
        synthetic=settings.region.synthetic,
        samples={**counts, **by_kind},
        events=sum(positives.values()),
        sampling_ratio=round((len(everyone) - sum(positives.values())) / max(1, sum(positives.values())), 3),
        split=divided.words,
        seed=wanted.seed,
        metrics=metrics,
        digests={
            "inventory": inventory.digest,
            "factors": stack_digest,
            "windows": digest_of(*(part.windows.tobytes().hex() for part in parts.values())),
        },
    )
    return _export(model, out, settings, wanted, training, tested, fitted, divided, drawn.shortfalls)


def _make_synthetic(wanted: TrainingSettings) -> None:
    from trainer.synthetic.region import make_region, write_region

    folder = wanted.inventory.path.parent
    if not wanted.inventory.path.exists() and wanted.synthetic is not None:
        _log.info("making the synthetic region", folder=str(folder), seed=wanted.synthetic.seed)
        write_region(make_region(wanted.synthetic.seed), folder, landslides=True)


def _reservoirs(settings: Settings, region: Region, stack: FactorStack) -> Reservoirs | None:
    if settings.reservoirs is None:
        return None
    known = any(band.name == "elevation" for band in stack.bands)
    return open_reservoirs(settings.reservoirs, region, lowest_in_stack(stack, region) if known else None)


def _read(
    settings: Settings,
    region: Region,
    archive: Archive,
    stack: FactorStack,
    reservoirs: Reservoirs | None,
    names: Sequence[str],
    variables: Sequence[VariableSpec],
    samples: Sequence[Sample],
    wanted: TrainingSettings,
) -> _Data:
    xy = np.array([(sample.x, sample.y) for sample in samples], dtype=np.float64)
    patches = read_patches(stack, names, xy, wanted.patch)
    found = point_windows(
        settings, region, archive, variables, xy, [sample.day for sample in samples],
        window_days=wanted.sampling.window_days, lag_days=wanted.sampling.lag_days, reservoirs=reservoirs,
    )  # fmt: skip
    whole = np.isfinite(patches).all(axis=(1, 2, 3)) & np.isfinite(found.windows).all(axis=(1, 2))
    kept = np.flatnonzero(whole).tolist()
    return _Data(tuple(samples[index] for index in kept), patches[kept], found.windows[kept])


def _fit(
    model: CnnLstm, parts: dict[str, _Data], wanted: TrainingSettings, progress: Progress | None
) -> FitResult:
    def tell(losses: EpochLosses) -> None:
        _log.info("epoch", epoch=losses.epoch, train=losses.train, validation=losses.validation)
        if progress is not None:
            progress(losses.epoch, wanted.epochs)

    rules = FitSettings(
        epochs=wanted.epochs, batch=wanted.batch, l2=wanted.l2, rain_penalty=wanted.rain_penalty,
        seed=wanted.seed,
    )  # fmt: skip
    return fit(model, parts["train"].fit_samples(), parts["validation"].fit_samples(), rules, progress=tell)


def _join(one: _Data, other: _Data) -> _Data:
    return _Data(
        one.samples + other.samples,
        np.concatenate([one.patches, other.patches]),
        np.concatenate([one.windows, other.windows]),
    )


def _predict(model: CnnLstm, data: _Data) -> npt.NDArray[np.float64]:
    model.eval()
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(data.patches[start : start + 256]),
                  torch.from_numpy(data.windows[start : start + 256])).numpy()
            for start in range(0, len(data.samples), 256)
        ]  # fmt: skip
    return np.concatenate(parts).astype(np.float64)


def _metrics(
    test: _Data, predicted: npt.NDArray[np.float64], seed: int, settings: Settings
) -> dict[str, float]:
    """Return held-out metrics; the AUC also against each half of the negatives, and the best reachable."""
    metrics = evaluate(test.labels, predicted, seed=seed).metrics()
    kinds = np.array([sample.kind for sample in test.samples])
    spatial = np.isin(kinds, [Kind.EVENT, Kind.SPATIAL])
    temporal = ~np.isin(kinds, [Kind.SPATIAL, Kind.BOTH])
    scores = {"": predicted}
    wanted = read_training(settings)
    if wanted.synthetic is not None:
        from trainer.synthetic.region import make_region

        xy = np.array([(sample.x, sample.y) for sample in test.samples])
        days = [sample.day for sample in test.samples]
        scores["best_reachable_"] = make_region(wanted.synthetic.seed).probability(xy[:, 0], xy[:, 1], days)
    for prefix, score in scores.items():
        for name, chosen in (("auc", kinds == kinds), ("auc_elsewhere_same_day", spatial),
                             ("auc_same_place_other_day", temporal)):  # fmt: skip
            value = area_under_curve(test.labels[chosen], score[chosen])
            if np.isfinite(value):
                metrics[f"{prefix}{name}"] = float(value)
    return metrics


def _export(
    model: CnnLstm,
    out: Path,
    settings: Settings,
    wanted: TrainingSettings,
    training: Training,
    tested: RainTest,
    fitted: FitResult,
    divided: Divided,
    shortfalls: dict[str, int],
) -> Manifest:
    report = {
        "losses": [asdict(losses) for losses in fitted.history],
        "best_epoch": fitted.best_epoch,
        "left_out_events": divided.left_out,
        "negatives_not_found": shortfalls,
    }
    notes = [
        f"The epoch of the least validation loss was {fitted.best_epoch} of {wanted.epochs}. "
        f"{divided.left_out} landslides were left out because their place and their storm belong to "
        "different sides of the split.",
        "The same settings give the same files on the same machine and packages; another processor may "
        "group its sums otherwise and differ in the last digits of the weights.",
    ]
    if training.synthetic and "best_reachable_auc" in training.metrics:
        notes.append(
            "Metrics named best_reachable are those of the true probability from which the landslides were "
            "drawn: no model can do better than that on these samples, but by luck."
        )
    notes += wanted.notes
    fresh = out.with_name(f".{uuid4().hex[:12]}.part")
    manifest = export_bundle(
        model,
        fresh,
        name=wanted.name,
        version=wanted.version,
        created=wanted.created,
        classes=ClassScheme(breaks=wanted.breaks),
        training=training,
        rain_test=tested,
        lag_days=wanted.sampling.lag_days,
        forcing_cell=settings.grid.forcing_cell,
        notes=notes,
        report={"training.json": (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()},
    )
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    return manifest


__all__ = ["TrainingSettings", "read_training", "train"]
