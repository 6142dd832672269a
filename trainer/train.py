"""`colluvium train`: from a region with an inventory to a proven bundle, as `[training]` of its TOML says.

The story: factors and readings are brought up to date; landslides and storms are divided among training,
validation and test; dated negatives are drawn on each side by itself; patches and windows are read with the
service's own code; the model is fitted, calibrated, tested and exported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import structlog
from threadpoolctl import threadpool_limits

from exporters.layer import ClassScheme, Odds, store
from service.errors import InputError
from service.files import digest_of
from service.manifest import Manifest, OutputReference, RainTest, Training
from service.settings import Settings
from trainer.breaks import breaks_of
from trainer.bundle import export_fitted
from trainer.calibration import Calibration, fit_calibration
from trainer.compare_region import settle, window_rule
from trainer.dataset import Dataset, FloatArray, Indices, load_dataset
from trainer.divide import SIDES, Divided, divide, draw, rain_at_nodes
from trainer.ensemble import fit_ensemble
from trainer.evaluate import area_under_curve, evaluate
from trainer.folds import Fold
from trainer.index_sample import sample_index
from trainer.inventory_events import count_sources, read_region_inventory
from trainer.inventory_screen import screen
from trainer.leakage import Leak, check_fold, check_labels
from trainer.models import recipe_class, recipe_of
from trainer.models.base import Fitted, Job, Recipe, WholeGraph, predict_rows
from trainer.prepare import open_inputs
from trainer.rain_test import rain_test_of
from trainer.reference import output_reference
from trainer.region_dataset import Opened, gather
from trainer.region_samples import before_window, days_between
from trainer.samples import Kind, Sample
from trainer.training_settings import EventRate, RuleOfBreaks, TrainingSettings, read_training
from trainer.vintage import check_vintage, vintage_words

Progress = Callable[[int, int], None]
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Data:
    """The dataset, and which of its rows stand on which side."""

    all: Dataset
    rows: dict[str, Indices]
    divided: Divided
    shortfalls: dict[str, int]
    digests: dict[str, str]
    notes: tuple[str, ...]  # of inventory and factors
    leaks: tuple[Leak, ...]


class _Served(Fitted):
    """A fitted model with its calibration: what the bundle's graphs will say."""

    def __init__(self, fitted: Fitted, calibration: Calibration) -> None:
        self._fitted, self._calibration = fitted, calibration

    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        return self._calibration.apply(self._fitted.predict(patches, windows))

    def whole(self) -> WholeGraph:
        return self._fitted.whole()


def train(settings: Settings, out: Path, progress: Progress | None = None) -> Manifest:
    """Train a bundle and write it to `out`, which is replaced as a whole if it is there.

    Raises SettingsError for `[training]`, InputError for an inventory or samples that cannot be used, and
    whatever factors and feeds raise.
    """
    wanted = read_training(settings)
    recipe = recipe_for(wanted)
    work = settings.data_dir / "training" / wanted.name
    # One thread for sums: how they are grouped would depend on the machine's cores.
    with open_inputs(settings, wanted, "colluvium train") as opened, threadpool_limits(1):
        data = _gather(opened, wanted, work)
        # A fit that was killed goes on where only the same would be fitted.
        sides = {side: rows.tolist() for side, rows in data.rows.items()}
        same = digest_of(data.all.digest, sides, recipe.name, recipe.model_dump(mode="json"), wanted.seed)
        shelf = work / "unfinished" / same[:16]
        train_rows, held = data.rows["train"], data.rows["validation"]
        job = Job(
            seed=wanted.seed, checkpoint=shelf, progress=progress, mixed_precision=wanted.mixed_precision
        )
        fitted, *members = fit_ensemble(recipe, data.all, train_rows, held, job, wanted.members)
        label = data.all.label[held]
        calibrations = [
            fit_calibration(wanted.calibration, predict_rows(one, data.all, held), label)
            for one in (fitted, *members)
        ]
        served = _Served(fitted, calibrations[0])
        classes, break_words = _breaks(opened, wanted, data, served)
        reference, reference_words = _reference(opened, wanted, data, served)
    tested = _rain_test(served, data)
    training = _training(settings, wanted, recipe, data, served)
    fresh = out.with_name(f".{uuid4().hex[:12]}.part")
    manifest = export_fitted(
        fitted,
        fresh,
        members=members,
        title=recipe.title,
        name=wanted.name,
        version=wanted.version,
        created=wanted.created,
        classes=classes,
        training=training,
        rain_test=tested,
        lag_days=wanted.sampling.lag_days,
        forcing_cell=settings.grid.forcing_cell,
        notes=[
            *_notes(training, fitted, recipe, data),
            *break_words,
            *_rate_words(wanted),
            *reference_words,
            *wanted.notes,
        ],
        report={"training.json": _report(fitted, data)},
        calibration=calibrations[0],
        member_calibrations=calibrations[1:],
        reference=reference,
        odds=odds_of(
            wanted.event_rate, recipe, calibrations[0], data.all.label[train_rows], data.all.label[held]
        ),
    )
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    shutil.rmtree(work / "unfinished", ignore_errors=True)
    return manifest


def recipe_for(wanted: TrainingSettings) -> Recipe:
    """Return the model that `[training]` names. Raises SettingsError for a wrong name or hyperparameter."""
    fields = recipe_class(wanted.model).model_fields
    # The short keys are of networks; a forest has no epochs to be told.
    short = {name: value for name, value in wanted.short.items() if name in fields}
    return recipe_of(wanted.model, {**short, **wanted.hyperparameters})


def _gather(opened: Opened, wanted: TrainingSettings, work: Path) -> _Data:
    """Divide landslides, draw negatives on each side, and read patches and windows into one dataset."""
    settings, region, stack = opened.settings, opened.region, opened.stack
    inventory = read_region_inventory(wanted.inventory, settings, region.grid.crs)
    screened = screen(inventory, region.grid, region.mask_path)
    events = [event for event in screened.events if wanted.first_day <= event.day <= wanted.last_day]
    if not events:
        raise InputError(
            f"{inventory.path}: none of {len(screened.events)} landslides on the grid lies between "
            f"{wanted.first_day} and {wanted.last_day}; see training.first_day and last_day"
        )
    divided = divide(events, region.grid, wanted.split, wanted.sampling)
    days = days_between(wanted.first_day, wanted.last_day)
    rain = rain_at_nodes(settings, region, opened.archive, days[0] - before_window(wanted.sampling), days[-1])
    drawn = draw(divided, events, days, region, rain, wanted.sampling, wanted.split, wanted.patch)
    names = wanted.factors or tuple(band.name for band in stack.bands)
    side_of = {sample: side for side, samples in drawn.sides.items() for sample in samples}
    fresh = work / ".dataset.new"
    shutil.rmtree(fresh, ignore_errors=True)
    drawn_samples = list(side_of)
    gather(opened, drawn_samples, names, window_rule(wanted), fresh, truth=_truth(wanted, drawn_samples))
    settle(fresh, work / "dataset")
    data = load_dataset(work / "dataset")
    rows = {
        side: np.array([n for n, sample in enumerate(data.samples) if side_of[sample] == side], np.int64)
        for side in SIDES
    }
    bands = [stack.bands[number - 1] for number in stack.index(names)]
    notes = list(vintage_words(check_vintage(bands, [event.day for event in events])))
    if wanted.inventory.with_events:
        counts = ", ".join(f"{count} {source}" for source, count in count_sources(events).items())
        notes.append(
            f"Landslides by where they are from: {counts}. Those not of the file stood in the region's "
            "ledger, where a person accepted or entered each."
        )
    if screened.problems:
        first = "; ".join(problem.words for problem in screened.problems[:3])
        notes.append(f"{len(screened.problems)} rows of the inventory were left out, such as {first}.")
    digests = {"inventory": inventory.digest, "factors": stack.digest, "dataset": data.digest}
    return _Data(data, rows, divided, drawn.shortfalls, digests, tuple(notes), _leaks(data, rows))


def _leaks(data: Dataset, rows: dict[str, Indices]) -> tuple[Leak, ...]:
    """Return what speaks against believing the held-out figures, and log it.

    Raises InputError for a side without samples of both labels.
    """
    for side in SIDES:
        slid = int(data.label[rows[side]].sum())
        if slid in (0, len(rows[side])):
            raise InputError(
                f"the {side} part holds {slid} landslides among {len(rows[side])} samples, and both labels "
                "are needed: change training.split.shares, or ask for more negatives in training.sampling"
            )
    nothing = np.zeros(0, np.int64)
    fold = Fold("the split", rows["train"], rows["validation"], rows["test"], nothing)
    found = (*check_fold(fold, data), *check_labels(data, fold.train))
    for leak in found:
        _log.warning("a figure may be too good", check=leak.check, finding=leak.finding)
    return found


def _truth(wanted: TrainingSettings, samples: Sequence[Sample]) -> npt.NDArray[np.float64] | None:
    """Return the true probability of failure of each sample where the region is made up, None elsewhere."""
    if wanted.synthetic is None or wanted.synthetic.manner != "demo":
        return None
    from trainer.synthetic.region import make_region

    xy = np.array([(sample.x, sample.y) for sample in samples])
    region = make_region(wanted.synthetic.seed)
    return region.probability(xy[:, 0], xy[:, 1], [sample.day for sample in samples])


def _breaks(
    opened: Opened, wanted: TrainingSettings, data: _Data, served: Fitted
) -> tuple[ClassScheme, tuple[str, ...]]:
    """Return the class breaks as stated, or by their rule on a seeded sample of cells over years."""
    if not isinstance(wanted.breaks, RuleOfBreaks):
        return ClassScheme(breaks=wanted.breaks), ()
    sampled = sample_index(
        opened,
        served.predict,
        [factor.name for factor in data.all.factors],
        window_rule(wanted),
        wanted.breaks.first_day or wanted.first_day,
        wanted.breaks.last_day or wanted.last_day,
        cells=wanted.breaks.cells,
        seed=wanted.seed,
    )
    held = data.rows["validation"]
    calm = held[data.all.label[held] == 0]
    found = breaks_of(wanted.breaks.by, sampled.codes, store(predict_rows(served, data.all, calm)))
    return found.classes, (f"Class breaks: {found.words}; from {sampled.words}. They are fixed.",)


def _reference(
    opened: Opened, wanted: TrainingSettings, data: _Data, served: Fitted
) -> tuple[OutputReference | None, tuple[str, ...]]:
    """Return the reference of the output; where none can be made, none and why: a fit is not lost for it."""
    if wanted.reference.days == 0:
        return None, ()
    try:
        made = output_reference(
            opened,
            served.predict,
            [factor.name for factor in data.all.factors],
            window_rule(wanted),
            wanted.first_day,
            wanted.last_day,
            wanted.reference,
        )
    except InputError as error:
        _log.warning("no reference of the output, so the service cannot measure its drift", reason=str(error))
        return None, (f"Drift of the output cannot be measured, there is no reference of it: {error}.",)
    return made, ()


def _rain_test(served: Fitted, data: _Data) -> RainTest:
    """Test the model as it is served on the samples that it was not fitted on."""
    if data.all.windows is None:
        raise InputError("a model that is to be served needs windows; give training.variables")
    rows = np.concatenate([data.rows["validation"], data.rows["test"]])
    patches = None if data.all.patches is None else np.array(data.all.patches[rows], np.float32)
    windows = np.array(data.all.windows[rows], np.float32)
    return rain_test_of(served, served.whole().variables, windows, patches=patches)


def _training(
    settings: Settings, wanted: TrainingSettings, recipe: Recipe, data: _Data, served: Fitted
) -> Training:
    label = data.all.label
    counts = {side: len(rows) for side, rows in data.rows.items()}
    used = np.concatenate([data.rows[side] for side in SIDES])
    positives = int(label[used].sum())
    by_kind = {kind.value: sum(data.all.samples[row].kind is kind for row in used.tolist()) for kind in Kind}
    return Training(
        region=settings.region.id,
        data=f"{wanted.data}; {wanted.first_day} to {wanted.last_day}",
        synthetic=settings.region.synthetic,
        samples={**counts, **{kind: count for kind, count in by_kind.items() if count}},
        events=positives,
        sampling_ratio=round((len(used) - positives) / max(1, positives), 3),
        split=data.divided.words,
        seed=wanted.seed,
        metrics=_metrics(wanted, data, predict_rows(served, data.all, data.rows["test"])),
        digests=data.digests,
        assumed=tuple(f"{name}: {why}" for name, why in recipe.assumed.items()),
    )


def _metrics(wanted: TrainingSettings, data: _Data, predicted: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return held-out metrics; the AUC also against each half of the negatives, and the best reachable."""
    rows = data.rows["test"]
    label = data.all.label[rows]
    metrics = evaluate(label, predicted, seed=wanted.seed).metrics()
    kinds = np.array([data.all.samples[row].kind for row in rows.tolist()])
    spatial = np.isin(kinds, [Kind.EVENT, Kind.SPATIAL])
    temporal = ~np.isin(kinds, [Kind.SPATIAL, Kind.BOTH])
    scores = {"": predicted}
    if data.all.truth is not None:
        scores["best_reachable_"] = np.asarray(data.all.truth)[rows]
    for prefix, score in scores.items():
        for name, chosen in (("auc", kinds == kinds), ("auc_elsewhere_same_day", spatial),
                             ("auc_same_place_other_day", temporal)):  # fmt: skip
            value = area_under_curve(label[chosen], score[chosen])
            if np.isfinite(value):
                metrics[f"{prefix}{name}"] = float(value)
    return metrics


def odds_of(
    rate: EventRate | None,
    recipe: Recipe,
    calibration: Calibration,
    training: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
) -> Odds | None:
    """Return the correction to a stated event rate, from the labels of both parts; None without a rate.

    The index holds at the share of landslides that made it: among the validation samples where those
    calibrated it, otherwise among the training samples, which is a half where weights balanced them.
    """
    if rate is None:
        return None
    if calibration.method != "none":
        share = float(validation.mean())
    elif getattr(recipe, "class_weight", "none") == "balanced":
        share = 0.5
    else:
        share = float(training.mean())
    return Odds(event_rate=rate.rate, per=rate.per, positives_share=share)


def _rate_words(wanted: TrainingSettings) -> list[str]:
    rate = wanted.event_rate
    return [] if rate is None else [f"The event rate of {rate.rate:g} per {rate.per} is from: {rate.source}."]


def _notes(training: Training, fitted: Fitted, recipe: Recipe, data: _Data) -> list[str]:
    left_out = (
        f"{data.divided.left_out} landslides were left out because their place and their storm belong to "
        "different sides of the split."
    )
    notes = [left_out]
    if fitted.best_epoch is not None:
        best, epochs = fitted.best_epoch, len(fitted.history)
        notes = [f"The epoch of the least validation loss was {best} of {epochs}. {left_out}"]
    if fitted.chosen:
        chosen = ", ".join(f"{name} {value}" for name, value in fitted.chosen.items())
        notes.append(f"{recipe.title}: validation samples chose {chosen}.")
    notes.append(
        "The same settings give the same files on the same machine and packages; another processor may "
        "group its sums otherwise and differ in the last digits of the weights."
    )
    if training.synthetic and "best_reachable_auc" in training.metrics:
        notes.append(
            "Metrics named best_reachable are those of the true probability from which the landslides were "
            "drawn: no model can do better than that on these samples, but by luck."
        )
    notes += [f"Leak check, {leak.severity}: {leak.check}: {leak.finding}." for leak in data.leaks]
    return [*notes, *data.notes]


def _report(fitted: Fitted, data: _Data) -> bytes:
    told = {
        "losses": [asdict(epoch) for epoch in fitted.history],
        "best_epoch": fitted.best_epoch,
        "chosen": fitted.chosen,
        "left_out_events": data.divided.left_out,
        "negatives_not_found": data.shortfalls,
        "leaks": [asdict(leak) for leak in data.leaks],
    }
    return (json.dumps(told, indent=2, sort_keys=True) + "\n").encode()


__all__ = ["TrainingSettings", "read_training", "train"]
