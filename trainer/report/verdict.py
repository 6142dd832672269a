"""The verdict in three sentences (who, by how much, how certain), and what speaks against believing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainer.judge import FEW_BLOCKS
from trainer.leakage import judge_footprint
from trainer.report.comparison import Comparison, Leak, Pair
from trainer.report.inputs import ReportInputs
from trainer.report.words import NINETY_FIVE, count, difference, estimate, listed, number, sentence, span

HYBRID = "cnn_lstm"
_NAMED = 4  # models that are still listed by name
_ORDINALS = {2: "second", 3: "third"}


@dataclass(frozen=True)
class Doubt:
    """Something that a reader must know before believing the figures."""

    level: Literal["bad", "warn"]
    head: str
    words: str


def sentences(comparison: Comparison) -> tuple[str, str, str]:
    """Return who ranks best, by how much, and how certain that is, by AUC on held-out samples."""
    ranked = comparison.ranked()
    best = comparison.models[ranked[0]]
    auc = best.metrics.get("auc")
    if auc is None or auc.mean is None:
        nothing = "The AUC of no model is defined on these samples, so nobody wins."
        return nothing, "There is no difference to state.", "Nothing can be said of certainty."
    interval = span(auc.low, auc.high)
    who = (
        f"{best.title} ranks the held-out {_landslides(comparison)} best of {count(len(ranked), 'model')}: "
        f"AUC {number(auc.mean)} ({NINETY_FIVE} interval {interval}), the mean of "
        f"{count(len(comparison.repetitions), 'repetition')}."
    )
    if len(ranked) == 1:
        who = f"{best.title} was judged alone: AUC {number(auc.mean)} ({NINETY_FIVE} interval {interval})."
    return who, _by_how_much(comparison, ranked), _how_certain(comparison, ranked)


def doubts(inputs: ReportInputs) -> tuple[Doubt, ...]:
    """Return what speaks against the figures, the gravest first."""
    comparison = inputs.comparison
    found = [*_footprint(comparison)]
    found += _leaks(comparison, told=judge_footprint(0, 1).check if found else None)
    if comparison.resampling and comparison.resampling.blocks < FEW_BLOCKS:
        found.append(
            Doubt(
                "warn",
                "Few blocks",
                f"The intervals rest on {count(comparison.resampling.blocks, 'block')}; from so few they "
                "are too narrow.",
            )
        )
    if inputs.vintage_warnings:
        found.append(Doubt("warn", "Factors younger than the landslides", " ".join(inputs.vintage_warnings)))
    return tuple(sorted(found, key=lambda doubt: doubt.level != "bad"))


def footprint_is_high(comparison: Comparison) -> bool:
    """Whether where samples lie tells the labels nearly as well as the models do, or well by itself."""
    if comparison.footprint is None or comparison.footprint.auc.mean is None:
        return False
    best = comparison.models[comparison.ranked()[0]].metrics.get("auc")
    known = best.mean if best and best.mean is not None else 1.0
    return judge_footprint(comparison.footprint.auc.mean, known).severity != "note"


def reference(comparison: Comparison) -> tuple[str, ...]:
    """Return whom the others are compared with: the best, and the hybrid where it is another."""
    best = comparison.ranked()[0]
    return (best, HYBRID) if HYBRID in comparison.models and best != HYBRID else (best,)


def _landslides(comparison: Comparison) -> str:
    return "synthetic landslides" if comparison.synthetic else "landslides"


def _by_how_much(comparison: Comparison, ranked: tuple[str, ...]) -> str:
    parts = []
    if len(ranked) > 1:
        pair = comparison.difference(ranked[0], ranked[1], "auc")
        other = comparison.models[ranked[1]].title
        if pair is None or pair.difference is None:
            parts.append(f"the difference from the next, {other}, was not worked out")
        else:
            parts.append(
                f"it is {number(pair.difference)} ahead of the next, {other} ({NINETY_FIVE} interval of the "
                f"difference {span(pair.low, pair.high, sign=True)})"
            )
    reachable = comparison.best_reachable
    if reachable is not None and reachable.auc.mean is not None:
        gap = reachable.gaps.get(ranked[0])
        away = f", a gap of {difference(gap)}" if gap and gap.difference is not None else ""
        parts.append(f"the best that can be reached on these samples is {estimate(reachable.auc)}{away}")
    if HYBRID in ranked[1:]:
        pair = comparison.difference(HYBRID, ranked[0], "auc")
        place = ranked.index(HYBRID) + 1
        written = f": {difference(pair)} from the best" if pair and pair.difference is not None else ""
        title = comparison.models[HYBRID].title
        parts.append(f"the hybrid {title} comes {_ORDINALS.get(place, f'{place}th')}{written}")
    said = "; ".join(parts) or "there is no other model to compare with"
    return sentence(said)


def _how_certain(comparison: Comparison, ranked: tuple[str, ...]) -> str:
    if len(ranked) == 1:
        return "With no other model there is nothing to tell apart."
    ahead: list[str] = []
    level: list[str] = []
    unknown: list[str] = []
    for name in ranked[1:]:
        pair = comparison.difference(ranked[0], name, "auc")
        (unknown if not _bounded(pair) else ahead if _above_zero(pair) else level).append(
            comparison.models[name].title
        )
    if unknown and not ahead and not level:
        return "No paired interval was worked out, so how certain this is cannot be said."
    said = []
    if ahead and not level and not unknown:
        said.append(
            f"this is certain at {NINETY_FIVE}, pair by pair, against every other model"
            if len(ahead) > 1
            else f"this is certain at {NINETY_FIVE}: the interval of the difference lies above zero"
        )
    elif ahead:
        whom = listed(ahead) if len(ahead) <= _NAMED else f"{len(ahead)} of the {len(ranked) - 1} others"
        said.append(f"this is certain at {NINETY_FIVE}, pair by pair, against {whom}")
    if level:
        said.append(
            f"from {listed(level)} it cannot be told apart on these samples: the interval of the difference "
            "holds zero"
        )
    if unknown:
        said.append(f"for {listed(unknown)} no interval was worked out")
    return sentence("; ".join(said))


def _bounded(pair: Pair | None) -> bool:
    return pair is not None and pair.low is not None and pair.high is not None


def _above_zero(pair: Pair | None) -> bool:
    return pair is not None and pair.low is not None and pair.low > 0


def _leaks(comparison: Comparison, told: str | None) -> list[Doubt]:
    """Return a doubt for each check that found something, but for the one that is told already."""
    of_check: dict[str, list[Leak]] = {}
    for leak in comparison.leaks:
        if leak.severity != "note" and leak.check != told:
            of_check.setdefault(leak.check, []).append(leak)
    doubts = []
    for check, leaks in of_check.items():
        gravest = min(leaks, key=lambda leak: leak.severity != "error")
        more = f" And {len(leaks) - 1} more: see the leak checks." if len(leaks) > 1 else ""
        level: Literal["bad", "warn"] = "bad" if gravest.severity == "error" else "warn"
        doubts.append(Doubt(level, f"Leak check: {check}", sentence(gravest.finding) + more))
    return doubts


def _footprint(comparison: Comparison) -> list[Doubt]:
    if comparison.footprint is None or not footprint_is_high(comparison):
        return []
    return [
        Doubt(
            "bad",
            "The labels can be read from where the samples lie",
            "A model that sees coordinates, neighbours and the share without data, but nothing of the "
            f"terrain or the weather, reaches AUC {estimate(comparison.footprint.auc)}. The scores below "
            "then say little "
            f"about skill. {sentence(comparison.footprint.says)}".strip(),
        )
    ]
