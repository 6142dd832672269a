"""Class breaks by rule, cut once from a sample of the index and then fixed.

    breaks_of(rule, codes, non_events=None) -> Breaks(classes, words)

`codes` are stored susceptibilities, uint8 (n,), of a seeded sample of cells and days (trainer.index_sample),
never of one layer: breaks cut from a layer would move with the weather. A rule is a table of settings, such
as {rule = "quantile", shares = [0.5, 0.8, 0.95]}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from exporters.layer import CLASS_LABELS, SCALE, TOP, ClassScheme
from service.errors import InputError

Stored = npt.NDArray[np.uint8]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EqualBreaks(_Rule):
    """Four classes of equal width between the least and the greatest index of the sample."""

    rule: Literal["equal"] = "equal"


class QuantileBreaks(_Rule):
    """Breaks with a stated share of the sample below each."""

    rule: Literal["quantile"] = "quantile"
    shares: tuple[Share, Share, Share] = (0.5, 0.8, 0.95)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.shares[0] < self.shares[1] < self.shares[2]:
            raise ValueError(f"shares must rise, got {list(self.shares)}")
        return self


class JenksBreaks(_Rule):
    """Natural breaks: the classes with the least sum of squares within (Fisher 1958; Jenks 1967)."""

    rule: Literal["jenks"] = "jenks"


class FalseAlarmBreaks(_Rule):
    """Breaks at which no more than a stated share of the validation part's non-events lies on or above."""

    rule: Literal["false_alarm"] = "false_alarm"
    rates: tuple[Share, Share, Share] = (0.5, 0.2, 0.05)

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if not self.rates[0] > self.rates[1] > self.rates[2]:
            raise ValueError(f"rates must fall, got {list(self.rates)}")
        return self


BreakRule = Annotated[
    EqualBreaks | QuantileBreaks | JenksBreaks | FalseAlarmBreaks, Field(discriminator="rule")
]


@dataclass(frozen=True)
class Breaks:
    """Fixed breaks and how they came about."""

    classes: ClassScheme
    words: str


def breaks_of(rule: BreakRule, codes: Stored, non_events: Stored | None = None) -> Breaks:
    """Return the breaks of a rule on a sample's stored codes (n,), 0 to 250.

    `non_events` are the stored codes of the validation part's samples without a landslide, for the false
    alarm rule alone, which uses no other sample. Breaks that coincide are moved apart by one stored step, and
    that is said. Raises InputError for an empty sample, unknown cells in it, and an index that is the same
    everywhere.
    """
    if isinstance(rule, FalseAlarmBreaks):
        if non_events is None:
            raise InputError(
                "breaks by false alarm rate need the validation part's samples without landslide"
            )
        sample, of = _usable(non_events), "samples without landslide of the validation part"
        found = _false_alarm(sample, rule.rates)
        words = f"false alarm rates of {_percent(rule.rates)}"
    else:
        sample, of = _usable(codes), "sampled cells and days"
        if isinstance(rule, QuantileBreaks):
            found = [round(value) for value in np.quantile(sample, rule.shares).tolist()]
            words = f"quantiles {', '.join(f'{share:g}' for share in rule.shares)}"
        elif isinstance(rule, JenksBreaks):
            found = natural_breaks(np.bincount(sample, minlength=TOP + 1), len(CLASS_LABELS))
            words = "natural breaks (Fisher 1958; Jenks 1967)"
        else:
            low, high = int(sample.min()), int(sample.max())
            found = [round(low + (high - low) * part / 4) for part in (1, 2, 3)]
            words = f"equal intervals from {low * SCALE:.3f} to {high * SCALE:.3f}"
    apart = _apart(found)
    words += f" of {sample.size} {of}"
    if apart != found:
        wanted = ", ".join(f"{code * SCALE:.3f}" for code in found)
        words += f"; the rule gave {wanted}, moved apart to keep four classes"
    first, second, third = (round(code * SCALE, 3) for code in apart)
    return Breaks(ClassScheme(breaks=(first, second, third)), words)


def natural_breaks(counts: npt.NDArray[np.integer], classes: int) -> list[int]:
    """Return the first value of each class but the lowest, of values 0..k-1 that occur counts (k,) times.

    Exact: Fisher's (1958) dynamic programme over the values that occur. Raises InputError where fewer values
    occur than classes are wanted.
    """
    values = np.flatnonzero(counts)
    if values.size < classes:
        raise InputError(
            f"the index of the sample takes only {values.size} stored values; natural breaks of {classes} "
            "classes need at least as many: either sample more cells and days or take another rule"
        )
    weight = np.concatenate([[0.0], np.cumsum(counts[values])])
    first = np.concatenate([[0.0], np.cumsum(counts[values] * values)])
    second = np.concatenate([[0.0], np.cumsum(counts[values] * values.astype(np.float64) ** 2)])
    ends = np.arange(values.size + 1)
    start, end = ends[:, None], ends[None, :]
    share = np.maximum(weight[end] - weight[start], 1)
    # cost[i, j]: sum of squares about their mean of values i to j - 1.
    cost = (second[end] - second[start]) - (first[end] - first[start]) ** 2 / share
    cost = np.where(end > start, np.maximum(cost, 0.0), np.inf)
    best = cost[0]  # of one class that ends before j
    before = []
    for _ in range(classes - 1):
        total = best[:, None] + cost
        before.append(total.argmin(axis=0))
        best = total.min(axis=0)
    cuts, at = [], values.size
    for choice in reversed(before):
        at = int(choice[at])
        cuts.append(int(values[at]))
    return cuts[::-1]


def _false_alarm(non_events: Stored, rates: Sequence[float]) -> list[int]:
    """Return, for each rate, the least code with no more than that share of non-events on or above it."""
    counts = np.bincount(non_events, minlength=TOP + 1)
    at_or_above = np.append(np.cumsum(counts[::-1])[::-1], 0) / non_events.size  # of codes 0 to 251
    return [int(np.flatnonzero(at_or_above <= rate)[0]) for rate in rates]


def _usable(codes: Stored) -> Stored:
    if codes.size == 0 or codes.max() > TOP:
        raise InputError(
            f"breaks need a sample of known susceptibilities: {int((codes > TOP).sum())} of {codes.size} are "
            "unknown"
        )
    if codes.min() == codes.max():
        raise InputError(
            f"the index is {int(codes[0]) * SCALE:.3f} in all of {codes.size} samples; no break can divide it"
        )
    return codes


def _apart(codes: Sequence[int]) -> list[int]:
    """Return the codes as near as may be, distinct, rising, and from 1 to 250."""
    kept: list[int] = []
    for code in codes:
        kept.append(max(code, kept[-1] + 1 if kept else 1))
    for place, highest in enumerate(range(TOP - len(kept) + 1, TOP + 1)):
        kept[place] = min(kept[place], highest)
    return kept


def _percent(rates: Sequence[float]) -> str:
    return ", ".join(f"{100 * rate:g} %" for rate in rates)
