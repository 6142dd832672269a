"""Rainfall thresholds: the rules that warn when one number is exceeded, fitted on training samples.

    RULES: dict[str, Rule]
    Rule.fit(windows, label) -> FittedRule          exponent or decay by AUC, threshold by true skill
    FittedRule.exceedance(windows) -> (n,)          ln(value / threshold): 0 and above warns
    best_threshold(label, score) -> float           of any score

windows: float32 (n, N) mm of each day, the last one last. The intensity-duration rule is I = a D^-b (Caine
1980), here in mm a day and days, with a and b fitted for the skill of the warning as thresholds of Italy are
judged (Peruccacci et al. 2017 fit b to the events alone; then b would not know of days without landslides).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.evaluate import area_under_curve

Floats = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

WET_MM = 1.0  # a day with less is dry
DRY_DAYS = 2  # so many dry days in a row end a rain event (48 h: Peruccacci et al. 2017, warm season)
_LEAST_MM = 0.1  # a window without rain has a value too: gauges do not tell less
_EXPONENTS = tuple(step / 20 for step in range(21))  # b of I = a D^-b: 0 mean intensity, 1 the sum
_DECAYS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98)  # a day


@dataclass(frozen=True)
class FittedRule:
    """A rule with its numbers."""

    name: str
    words: str
    threshold: float  # of `value`
    value: Callable[[FloatArray], Floats]  # windows (n, N) -> (n,), above 0

    def exceedance(self, windows: FloatArray) -> Floats:
        """Return ln(value / threshold) of windows (n, N): 0 and above warns."""
        return np.asarray(np.log(self.value(windows) / self.threshold))


class Rule(ABC):
    """A family of rules with at most one number besides the threshold."""

    name: str
    title: str
    choices: tuple[float, ...]  # of that number; one where there is none

    @abstractmethod
    def value(self, windows: FloatArray, choice: float) -> Floats:
        """Return what is held against the threshold, above 0: (n,) of windows (n, N)."""

    @abstractmethod
    def words(self, choice: float, threshold: float) -> str:
        """Say the fitted rule."""

    def fit(self, windows: FloatArray, label: Labels) -> FittedRule:
        """Choose the number with the best AUC on these samples, then the threshold with the best skill.

        Raises InputError for one class only.
        """
        if len(set(label.tolist())) < 2:
            raise InputError(f"{self.title} cannot be fitted on {len(label)} samples of one class")
        scored = [(area_under_curve(label, self.value(windows, choice)), choice) for choice in self.choices]
        _, choice = max(scored, key=lambda pair: pair[0])
        threshold = best_threshold(label, self.value(windows, choice))
        return FittedRule(
            self.name, self.words(choice, threshold), threshold, lambda given: self.value(given, choice)
        )


class ThreeDaySum(Rule):
    """Rain of the last three days."""

    name, title, choices = "three_day_sum", "3-day sum", (3.0,)

    def value(self, windows: FloatArray, choice: float) -> Floats:
        return _least(windows[:, -int(choice) :].sum(axis=1, dtype=np.float64))

    def words(self, choice: float, threshold: float) -> str:
        return f"{threshold:.1f} mm in {choice:g} days"


class AntecedentIndex(Rule):
    """Sum of rain, each day before the last weighted by the decay once more (Kohler and Linsley 1951)."""

    name, title, choices = "antecedent_index", "Antecedent index", _DECAYS

    def value(self, windows: FloatArray, choice: float) -> Floats:
        back = np.arange(windows.shape[1] - 1, -1, -1)
        return _least(windows.astype(np.float64) @ choice**back)

    def words(self, choice: float, threshold: float) -> str:
        return f"index of {threshold:.1f} mm with decay {choice:g} a day"


class IntensityDuration(Rule):
    """Mean intensity against duration of the rain event that the window ends in: I D^b >= a."""

    name, title, choices = "intensity_duration", "Intensity-duration", _EXPONENTS

    def value(self, windows: FloatArray, choice: float) -> Floats:
        days, total = rain_event(windows)
        length = np.maximum(days, 1).astype(np.float64)
        return _least(total) / length * length**choice

    def words(self, choice: float, threshold: float) -> str:
        return f"I = {threshold:.1f} D^-{choice:g} mm a day, of the rain event"


class AnyDuration(Rule):
    """Intensity-duration over every duration that ends with the window: the largest of I D^b."""

    name, title, choices = "any_duration", "Intensity over any duration", _EXPONENTS

    def value(self, windows: FloatArray, choice: float) -> Floats:
        length = np.arange(1, windows.shape[1] + 1, dtype=np.float64)
        sums = np.cumsum(windows[:, ::-1], axis=1, dtype=np.float64)
        return _least((sums / length * length**choice).max(axis=1))

    def words(self, choice: float, threshold: float) -> str:
        return f"I = {threshold:.1f} D^-{choice:g} mm a day, of any duration"


RULES: dict[str, Rule] = {
    rule.name: rule for rule in (IntensityDuration(), AnyDuration(), ThreeDaySum(), AntecedentIndex())
}


def _least(value: Floats) -> Floats:
    return np.asarray(np.maximum(value, _LEAST_MM), np.float64)


def rain_event(windows: FloatArray) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return days and mm of the rain event that each window (n, N) ends in: (n,), (n,).

    It runs from its first to its last wet day; DRY_DAYS dry days in a row part two events. 0 days and 0 mm
    where the window ends with as many.
    """
    wet = windows >= WET_MM
    count, length = windows.shape
    days, total = np.zeros(count, np.int64), np.zeros(count)
    for row in range(count):
        last, first, dry = None, None, 0
        for day in range(length - 1, -1, -1):
            if wet[row, day]:
                last, first, dry = day if last is None else last, day, 0
            else:
                dry += 1
                if dry == DRY_DAYS:
                    break
        if first is not None and last is not None:
            days[row] = last - first + 1
            total[row] = float(windows[row, first : last + 1].sum(dtype=np.float64))
    return days, total


def best_threshold(label: Labels, score: npt.ArrayLike) -> float:
    """Return the value that a score must reach for the best true skill on these samples.

    Of equals the lowest; it lies on a score of theirs.
    """
    value = np.asarray(score, np.float64)
    order = np.argsort(-value, kind="stable")
    hits = np.cumsum(label[order] == 1) / max(1, int((label == 1).sum()))
    alarms = np.cumsum(label[order] == 0) / max(1, int((label == 0).sum()))
    ends = np.append(np.flatnonzero(np.diff(value[order])), len(value) - 1)
    skill = (hits - alarms)[ends]
    best = ends[len(skill) - 1 - int(np.argmax(skill[::-1]))]
    return float(value[order][best])


def true_skill(label: Floats, said: Floats) -> float:
    """Return the true skill statistic, hit rate less false alarm rate; NaN for one class only.

    `said` is 1 where the rule warns. Source: Hanssen and Kuipers 1965.
    """
    warned, true = said >= 0.5, label == 1
    if true.all() or not true.any():
        return float("nan")
    return float(warned[true].mean() - warned[~true].mean())
