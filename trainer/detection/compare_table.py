"""The table of a comparison as a terminal shows it: the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from trainer.detection.compare_results import Estimate, ModelResult, PaperRow, Results, SplitResult

_WIDTH = 110
_NONE = "-"


def table_lines(results: Results) -> Iterator[str]:
    """Yield the lines of the table, split by split, with what a reader must know below."""
    if results.data.synthetic:
        yield "SYNTHETIC: made up by a program. Nothing here says how a model does on a real slope."
    yield results.data.words
    for split in results.splits:
        yield ""
        yield from _split_lines(split, results.paper)
    yield ""
    for name, why in results.skipped.items():
        yield from _wrapped(f"Not judged: split {name}: {why}")
    yield from _wrapped(results.not_comparable)
    yield from _wrapped(
        "Ours: pooled over all pixels of the test part; ± is half of Student's 95 % interval over seeds, and "
        "stands only where a model was trained with two seeds or more."
    )
    yield "The paper's readme does not state:"
    for words in results.not_stated:
        yield from _wrapped(f"  - {words}", "    ")
    if not results.complete:
        left = results.planned_runs - results.finished_runs
        yield f"{left} of {results.planned_runs} trainings are still to come; the same command goes on."


def _split_lines(split: SplitResult, paper: dict[str, PaperRow]) -> Iterator[str]:
    yield from _wrapped(f"Split {split.name}: {split.words}")
    for part in split.parts:
        named = f"  {part.part}: " if part.part else "  "
        yield f"{named}{part.train:,} patches to train, {part.valid:,} to validate, {part.test:,} to test"
    yield (
        f"{'':<20}| {'paper: its own split':^24} | "
        f"{'transfer to unseen regions' if split.transfer else 'ours: this split':^59}"
    )
    yield (
        f"{'model':<20}| {'F1':>7}{'precis.':>9}{'recall':>8} | {'F1':>6} {'±':<7}{'precis.':>8}{'recall':>8}"
        f"{'IoU':>7}{'objects':>9}{'false/km²':>11}"
    )
    names = [*paper, *(name for name in split.models if name not in paper)]
    for name in names:
        model = split.models.get(name)
        if model is None and name not in split.unfinished:
            continue
        partly = model is not None and name in split.unfinished
        seeds = f"  seeds so far: {', '.join(model.scores['f1'].seeds)}" if partly and model else ""
        yield _row(name, paper.get(name), model) + seeds
    if not split.transfer:
        return  # regions that were learnt from stand in the report
    for name in (name for name in names if name in split.models):
        for region, found in split.models[name].regions.items():
            scores = found.scores
            yield (
                f"  {split.models[name].title:<18}unseen {region}: "
                f"F1 {_number(scores['f1'])}, precision {_number(scores['precision'])}, "
                f"recall {_number(scores['recall'])}, objects {_number(found.object_recall)} "
                f"({found.patches} patches)"
            )


def _row(name: str, paper: PaperRow | None, model: ModelResult | None) -> str:
    title = paper.title if paper else model.title if model else name
    stated = (
        f"{paper.f1:>7.4f}{paper.precision:>9.4f}{paper.recall:>8.4f}"
        if paper
        else f"{_NONE:>7}{_NONE:>9}{_NONE:>8}"
    )
    if model is None:
        return f"{title:<20}| {stated} | not trained to the end yet"
    scores, objects = model.scores, model.objects
    return (
        f"{title:<20}| {stated} | {_number(scores['f1']):>6} {_half(scores['f1']):<7}"
        f"{_number(scores['precision']):>8}{_number(scores['recall']):>8}{_number(scores['iou']):>7}"
        f"{_number(objects.recall):>9}{_number(objects.false_per_km2, 2):>11}"
    )


def _number(value: Estimate, digits: int = 4) -> str:
    return _NONE if value.mean is None else f"{value.mean:.{digits}f}"


def _half(value: Estimate) -> str:
    """Half of the interval, from the side that was not cut at what a score can be."""
    if value.mean is None or value.low is None or value.high is None:
        return ""
    return f"±{max(value.mean - value.low, value.high - value.mean):.4f}"


def _wrapped(words: str, hanging: str = "  ") -> list[str]:
    return wrap(words, _WIDTH, subsequent_indent=hanging)
