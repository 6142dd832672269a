"""Numbers and names as the report writes them: 0.974 (0.965 to 0.982), +0.012, −0.004, Average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.evaluate import LOWER_IS_BETTER, MAPE_MEANS, METRICS
from trainer.report.comparison import Estimate, Gap, Pair

NONE = "–"
NINETY_FIVE = "95\u00a0%"  # never parted at the end of a line
_MINUS = "−"


@dataclass(frozen=True)
class Metric:
    """A metric as the tables head it; `means` explains it to a reader who does not know it."""

    name: str
    short: str
    means: str

    @property
    def lower_is_better(self) -> bool:
        return self.name in LOWER_IS_BETTER


_TOLD = {
    "accuracy": ("Accuracy", "share of samples on the right side of 0.5"),
    "precision": ("Precision", "share of real landslides among those said to be"),
    "recall": ("Recall", "share of the landslides that were said"),
    "specificity": ("Specificity", "share of the non-landslides that were said to be none"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "auc": ("AUC", "chance that a landslide scores above a non-landslide; 0.5 is guessing"),
    "average_precision": ("Average precision", "mean precision over all thresholds, weighted by recall"),
    "mae": ("MAE", "mean absolute error of the susceptibility against the label"),
    "mse": ("MSE", "mean squared error of the susceptibility against the label"),
    "rmse": ("RMSE", "root of the mean squared error"),
    "mape": ("MAPE", MAPE_MEANS),
    "brier": ("Brier", "mean squared error of a probability; the same number as MSE"),
    "log_loss": ("Log loss", "mean negative logarithm (natural) of what was given to the label"),
}


def metric(name: str) -> Metric:
    """Return a metric's words; one that is not known is called by its name."""
    short, means = _TOLD.get(name, (name.replace("_", " "), ""))
    return Metric(name, short, means)


def in_order(present: Sequence[str]) -> list[str]:
    """Return metrics in the order of trainer.evaluate behind the AUC, by which models are ranked."""
    order = ("auc", *(name for name in METRICS if name != "auc"))
    return sorted(set(present), key=lambda name: (order.index(name) if name in order else 99, name))


def number(value: float | None, digits: int = 3) -> str:
    """Write a value; a minus is a minus sign, nothing is a dash."""
    if value is None:
        return NONE
    written = f"{value:.{digits}f}"
    if float(written) == 0:
        written = written.lstrip("-")
    return written.replace("-", _MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign."""
    if value is None:
        return NONE
    written = number(value, digits)
    return written if written.startswith(_MINUS) or float(written) == 0 else f"+{written}"


def span(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Write an interval: 0.965 to 0.982; in words where there is none."""
    if low is None or high is None:
        return "no interval"
    write = signed if sign else number
    return f"{write(low, digits)} to {write(high, digits)}"


def estimate(value: Estimate, digits: int = 3) -> str:
    """Write a mean with its interval: 0.974 (0.965 to 0.982)."""
    return f"{number(value.mean, digits)} ({span(value.low, value.high, digits)})"


def difference(value: Pair | Gap, digits: int = 3) -> str:
    """Write a difference with its interval: +0.012 (+0.002 to +0.021)."""
    return f"{signed(value.difference, digits)} ({span(value.low, value.high, digits, sign=True)})"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.1f}\u00a0%"


def listed(names: Sequence[str]) -> str:
    """Write names as a sentence does: A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def count(number_of: int, one: str, many: str = "") -> str:
    """Write a count with its noun: 1 block, 1,438 samples."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def sentence(words: str) -> str:
    """Begin with a capital and end with a full stop."""
    if not words:
        return ""
    return words[0].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def plain(name: str) -> str:
    """Write a name of the code as words."""
    return name.replace("_", " ")
