"""A detector on one real patch (Sen12Landslides, Höhn et al. 2025), as it is, beside two plain rules.

    judge_real_patch(file, detector, out, missing) -> RealPatch      also real_patch.json and real_patch.png
    python -m trainer.detection.real_patch FILE.nc --model DETECTOR --out DIR

The rules: NDVI fell across the event by Otsu's (1979) threshold or more; NDVI after it lies below Otsu's
threshold. Neither threshold sees the mask, nor does the detector's. What each could reach at best, with a
threshold chosen on this very mask, stands beside and is marked as that: a bound, not a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from service.detection.detector import Detector
from service.errors import InputError
from service.files import write_json
from trainer.detection.data import Image
from trainer.detection.judge import Tally, ratios
from trainer.detection.judge_detector import Fitting, open_judged, probability_of
from trainer.detection.objects import HIT_SHARE
from trainer.detection.real_patch_picture import Outlined, draw
from trainer.detection.sen12 import SEN12_BANDS, Sen12Dates, read_dates, read_image, read_mask

LEAST_CLEAR = 0.9  # of a date, to be judged
RESULT, PICTURE = "real_patch.json", "real_patch.png"
DETECTOR, CHANGE, LOW = "detector", "ndvi_change", "ndvi_low"
TITLES = {DETECTOR: "detector", CHANGE: "fall of NDVI across the event", LOW: "low NDVI after the event"}
_BINS = 256

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodFigures(_Value):
    """One method on one date, at a threshold that was chosen without the mask."""

    threshold: float
    tp: int
    fp: int
    fn: int
    tn: int
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None
    objects: int
    objects_hit: int
    false_per_km2: float | None
    best_f1: float | None  # at the threshold that this mask likes best: a bound, not a result
    average_precision: float | None  # over all thresholds


class DateFigures(_Value):
    """One date after the event; all methods on the same pixels, known on this date and on that before."""

    day: date
    clear: float
    judged_pixels: int
    landslide_pixels: int
    all_f1: float | None  # F1 of calling every judged pixel a landslide: what looking at nothing gives
    ndvi_inside: float | None
    ndvi_outside: float | None
    methods: dict[str, MethodFigures]


class BeforeFigures(_Value):
    """The detector on the last clear date before the event, when nothing had slid: all it finds is false."""

    day: date
    predicted_share: float  # of the known pixels
    predicted_where_it_slid_later: float | None


class RealPatch(_Value):
    """real_patch.json"""

    file: str
    event: date | None
    detector: str
    detector_digest: str
    detector_synthetic: bool
    trained_on: str
    threshold: float
    substituted: dict[str, str]
    hit_share: float
    before: BeforeFigures
    dates: tuple[DateFigures, ...]
    not_judged: dict[str, str]  # day -> why


@dataclass(frozen=True)
class _View:
    """One date: what the detector wants, NDVI, and where all of it is known."""

    number: int
    planes: Image  # of the detector
    colour: Image  # B04, B03, B02
    ndvi: Floats
    known: Flags


def judge_real_patch(
    file: Path, detector: Path, out: Path, missing: Mapping[str, str] | None = None
) -> RealPatch:
    """Judge a detector on every clear date after the event; write RESULT and PICTURE into `out`.

    Raises InputError where the detector does not fit the patch, the file names no event, or no date before
    or after it is clear.
    """
    loaded = Detector.load(detector)
    fitting = open_judged(file, loaded.manifest, missing=missing)
    dates = read_dates(file)
    number_before = dates.last_clear_before(LEAST_CLEAR)
    if dates.after is None or number_before is None:
        raise InputError(
            f"{file.name} has no clear date before an event, so nothing can be compared across it"
        )
    before = _view(file, number_before, fitting)
    truth = read_mask(file, dates.after) == 1
    judged, skipped, outlined = [], {}, None
    for number in range(dates.after, len(dates.dates)):
        day = dates.dates[number]
        if dates.clear[number] < LEAST_CLEAR:
            skipped[day.isoformat()] = f"{dates.clear[number]:.0%} clear, {LEAST_CLEAR:.0%} wanted"
            continue
        view = _view(file, number, fitting)
        scores = _scores(loaded, view, before)
        judged.append(_date(dates, view, before, truth, scores))
        if outlined is None:
            outlined = _outlined(dates, view, before, truth, scores, judged[-1])
    if outlined is None:
        raise InputError(f"{file.name} has no date after its event that is {LEAST_CLEAR:.0%} clear")
    made = loaded.manifest
    found = RealPatch(
        file=file.name,
        event=dates.event,
        detector=loaded.reference.words,
        detector_digest=loaded.digest,
        detector_synthetic=made.synthetic,
        trained_on=made.trained_on,
        threshold=made.threshold,
        substituted=fitting.substituted,
        hit_share=HIT_SHARE,
        before=_before(dates, before, truth, loaded),
        dates=tuple(judged),
        not_judged=skipped,
    )
    write_json(out / RESULT, found.model_dump(mode="json"))
    draw(outlined, out / PICTURE, detector=loaded.reference.words, synthetic=made.synthetic)
    return found


def lines(found: RealPatch) -> Iterator[str]:
    """Yield the figures as a terminal shows them."""
    made = " (trained on SYNTHETIC landslides)" if found.detector_synthetic else ""
    yield f"{found.file}, event {found.event or 'not dated'}; {found.detector}{made}"
    for band, rule in found.substituted.items():
        yield f"  {band} is missing; {rule} stands for it"
    yield (
        f"{'date':<12}{'method':<32}{'F1':>8}{'precis.':>9}{'recall':>8}{'objects':>9}{'false/km²':>11}"
        f"{'best F1':>9}"
    )
    for one in found.dates:
        for name, figures in one.methods.items():
            yield (
                f"{one.day.isoformat():<12}{TITLES[name]:<32}{_number(figures.f1):>8}"
                f"{_number(figures.precision):>9}{_number(figures.recall):>8}"
                f"{f'{figures.objects_hit}/{figures.objects}':>9}{_number(figures.false_per_km2, 1):>11}"
                f"{_number(figures.best_f1):>9}"
            )
    first = found.dates[0]
    yield (
        f"NDVI on {first.day}: {_number(first.ndvi_inside, 2)} inside the mask, "
        f"{_number(first.ndvi_outside, 2)} outside. Calling every pixel a landslide has F1 "
        f"{_number(first.all_f1)}."
    )
    yield (
        f"Before the event, on {found.before.day}, the detector marks {found.before.predicted_share:.1%} of "
        f"the ground, and {_percent(found.before.predicted_where_it_slid_later)} of what slid later."
    )
    for day, why in found.not_judged.items():
        yield f"  not judged: {day}, {why}"
    yield "best F1: with a threshold chosen on this very mask; a bound, not a result."


def otsu(values: npt.NDArray[np.floating]) -> float:
    """Return the threshold that parts values best in two classes (Otsu 1979), from 256 equal bins.

    Raises InputError where all values are the same.
    """
    counts, edges = np.histogram(values, _BINS)
    if edges[0] == edges[-1] or (counts > 0).sum() < 2:
        raise InputError("all values are the same; no threshold parts them")
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    low = sums[:-1] / np.maximum(below, 1)
    high = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (low - high) ** 2.0
    # Over a gap all thresholds are as good: its middle.
    equal = np.flatnonzero(np.isclose(between, between.max(), rtol=1e-12))
    return float(edges[1 + equal].mean())


def best_f1(score: npt.NDArray[np.floating], truth: Flags) -> tuple[float | None, float | None]:
    """Return the highest F1 over all thresholds and the average precision; None without a landslide.

    `score` and `truth` are (n,); a score of the threshold or more is a landslide. Equal scores go together.
    """
    total = int(truth.sum())
    if not total:
        return None, None
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
    hit = np.cumsum(truth[order])[last]
    precision, recall = hit / (last + 1), hit / total
    f1 = 2 * hit / (last + 1 + total)
    return float(f1.max()), float((precision * np.diff(recall, prepend=0.0)).sum())


def _view(file: Path, number: int, fitting: Fitting) -> _View:
    image = read_image(file, number, SEN12_BANDS)
    place = {name: at for at, name in enumerate(SEN12_BANDS)}
    red, near = image[place["B04"]], image[place["B08"]]
    total = red + near
    ndvi = np.divide(near - red, total, out=np.full(total.shape, np.nan, np.float32), where=total > 0)
    wanted = [name for name in fitting.sources if name is not None]
    known = np.isfinite(ndvi) & np.isfinite(image[[place[name] for name in wanted]]).all(axis=0)
    planes = fitting.image(image[[place[name] for name in fitting.patches.bands]])
    colour = image[[place[name] for name in ("B04", "B03", "B02")]]
    return _View(number, planes, colour, ndvi, known)


def _scores(detector: Detector, view: _View, before: _View) -> dict[str, tuple[Floats, float]]:
    """Return each method's score (H, W), higher where a landslide is likelier, and its threshold."""
    known = view.known & before.known
    change = before.ndvi - view.ndvi
    return {
        DETECTOR: (probability_of(detector, view.planes), detector.manifest.threshold),
        CHANGE: (change, otsu(change[known])),
        LOW: (-view.ndvi, otsu(-view.ndvi[known])),
    }


def _date(
    dates: Sen12Dates, view: _View, before: _View, truth: Flags, scores: Mapping[str, tuple[Floats, float]]
) -> DateFigures:
    known = view.known & before.known
    inside, outside = known & truth, known & ~truth
    methods = {}
    for name, (score, threshold) in scores.items():
        tally = Tally(float(dates.transform.a))
        tally.add(name, None, np.where(known, score.astype(np.float64), -np.inf) >= threshold, truth, known)
        pixels, objects = tally.judged().pixels(), tally.judged().objects(HIT_SHARE)
        most, average = best_f1(score[known], truth[known])
        methods[name] = MethodFigures(
            threshold=threshold, tp=pixels.tp, fp=pixels.fp, fn=pixels.fn, tn=pixels.tn,
            precision=pixels.precision, recall=pixels.recall, f1=pixels.f1, iou=pixels.iou,
            objects=objects.objects, objects_hit=objects.hits, false_per_km2=objects.false_per_km2,
            best_f1=most, average_precision=average,
        )  # fmt: skip
    return DateFigures(
        day=dates.dates[view.number],
        clear=dates.clear[view.number],
        judged_pixels=int(known.sum()),
        landslide_pixels=int(inside.sum()),
        all_f1=ratios(int(inside.sum()), int(outside.sum()), 0).f1,
        ndvi_inside=float(view.ndvi[inside].mean()) if inside.any() else None,
        ndvi_outside=float(view.ndvi[outside].mean()) if outside.any() else None,
        methods=methods,
    )


def _before(dates: Sen12Dates, view: _View, truth: Flags, detector: Detector) -> BeforeFigures:
    said = probability_of(detector, view.planes).astype(np.float64) >= detector.manifest.threshold
    later = view.known & truth
    return BeforeFigures(
        day=dates.dates[view.number],
        predicted_share=float(said[view.known].mean()),
        predicted_where_it_slid_later=float(said[later].mean()) if later.any() else None,
    )


def _outlined(
    dates: Sen12Dates,
    view: _View,
    before: _View,
    truth: Flags,
    scores: Mapping[str, tuple[Floats, float]],
    figures: DateFigures,
) -> Outlined:
    known = view.known & before.known
    return Outlined(
        day=dates.dates[view.number],
        day_before=dates.dates[before.number],
        colour=view.colour,
        colour_before=before.colour,
        truth=truth,
        probability=scores[DETECTOR][0],
        said={
            f"{TITLES[name]}: F1 {_number(figures.methods[name].f1)}": known & (score >= threshold)
            for name, (score, threshold) in scores.items()
        },
        pixel_size_m=float(dates.transform.a),
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "nothing known" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    from trainer.detection.evaluate_command import real_patch

    real_patch()
