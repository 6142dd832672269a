"""Calibration: susceptibility that says how often, at the sampling ratio of its samples.

    fit_calibration("platt", predicted, label) -> Calibration
    Calibration.apply(predicted) -> calibrated
    Calibration.append_to(graph) -> the graph with the calibration inside, its output still `susceptibility`

Fitted on validation samples alone: training samples would say that the model is surer than it is, test
samples would be judged by themselves. Both forms are increasing, so ranks stay (isotonic makes ties).

Platt: p' = sigmoid(a logit(p) + b), a > 0, fitted to targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) (Platt
1999, section 2.2) by Newton's method with backtracking (Lin, Lin and Weng 2007). Isotonic: the increasing
steps of Zadrozny and Elkan 2002, straight lines between them, its ends held beyond what validation showed and
no surer than Platt's targets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import BaseModel, ConfigDict
from sklearn.isotonic import IsotonicRegression

from service.errors import InputError
from trainer.onnx_graph import GraphBuilder

Method = Literal["none", "platt", "isotonic"]
Array = npt.NDArray[np.float64]

OUTPUT = "susceptibility"
# Samples of each class below which a calibration is refused. Two numbers can be had from ten; steps cannot:
# with few samples isotonic regression fits their noise (Niculescu-Mizil and Caruana 2005).
FEWEST: dict[Method, int] = {"platt": 10, "isotonic": 50}
# Between these the logit of a float32 is good to 0.004; nearer to 1 its last bit would decide. Powers of two,
# so that float32 and float64 hold at the same place.
LOWEST, HIGHEST = 2.0**-23, 1 - 2.0**-17
# Steps of isotonic regression are rounded to this: a narrower one would turn float32 rounding into a jump.
ISOTONIC_STEP = 1e-3
_STEPS = 100  # of Newton's method; from the start below it needs about ten


class CalibrationError(InputError):
    """A calibration was refused; the message says why, and the model may be used without one."""


class Calibration(BaseModel):
    """A fitted calibration; plain numbers, so that it can be kept as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method
    slope: float = 1.0  # platt: a
    intercept: float = 0.0  # platt: b
    before: tuple[float, ...] = ()  # isotonic: predictions where the line bends, increasing
    after: tuple[float, ...] = ()  # isotonic: their calibrated values
    samples: int = 0  # of validation
    positives: int = 0
    brier_before: float | None = None  # of these samples
    brier_after: float | None = None

    @property
    def words(self) -> str:
        """What was done, in one line; it says so where the Brier score got worse."""
        if self.method == "none":
            return "none"
        if self.method == "platt":
            what = f"Platt scaling, slope {self.slope:.3g}, intercept {self.intercept:.3g}"
        else:
            what = f"isotonic regression, {len(self.before)} points"
        text = f"{what}, fitted on {self.samples} validation samples ({self.positives} landslides)"
        if self.brier_before is None or self.brier_after is None:
            return text
        verdict = ", which is worse" if self.brier_after > self.brier_before else ""
        return (
            f"{text}; Brier score there {self.brier_before:.4f} before, {self.brier_after:.4f} after{verdict}"
        )

    def apply(self, predicted: npt.ArrayLike) -> Array:
        """Return calibrated susceptibility, float64, of predictions 0 to 1 of any shape."""
        # Graphs give float32, so that is what is calibrated here too.
        given = np.asarray(predicted, dtype=np.float32).astype(np.float64)
        if self.method == "platt":
            return sigmoid(self.slope * logit(given) + self.intercept)
        if self.method == "isotonic":
            return np.asarray(np.interp(given, self.before, self.after), dtype=np.float64)
        return given

    def append_to(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a graph whose output `susceptibility`, of any shape, is calibrated; the given one stays."""
        if self.method == "none":
            same = onnx.ModelProto()
            same.CopyFrom(graph)
            return same
        builder = GraphBuilder()
        inputs = {item.name: item.name for item in graph.graph.input}
        value = builder.embed(graph, inputs, OUTPUT)
        if self.method == "platt":
            self._add_platt(builder, value)
        else:
            self._add_isotonic(builder, value)
        return builder.model(graph.graph.name, graph.graph.input, graph.graph.output)

    def _add_platt(self, graph: GraphBuilder, value: str) -> None:
        value = graph.add("Clip", value, graph.floats(LOWEST), graph.floats(HIGHEST))
        rest = graph.add("Sub", graph.floats(1.0), value)
        value = graph.add("Sub", graph.add("Log", value), graph.add("Log", rest))
        value = graph.add("Mul", value, graph.floats(self.slope))
        graph.add("Sigmoid", graph.add("Add", value, graph.floats(self.intercept)), output=OUTPUT)

    def _add_isotonic(self, graph: GraphBuilder, value: str) -> None:
        # One share 0..1 for each piece of the line: how much of it lies below the prediction.
        before, after = np.array(self.before), np.array(self.after)
        value = graph.add("Unsqueeze", value, graph.integers([-1]))
        passed = graph.add(
            "Div", graph.add("Sub", value, graph.floats(before[:-1])), graph.floats(np.diff(before))
        )
        passed = graph.add("Clip", passed, graph.floats(0.0), graph.floats(1.0))
        value = graph.add("MatMul", passed, graph.floats(np.diff(after)[:, None]))
        value = graph.add("Squeeze", value, graph.integers([-1]))
        value = graph.add("Add", value, graph.floats(after[0]))
        graph.add("Clip", value, graph.floats(0.0), graph.floats(1.0), output=OUTPUT)


def fit_calibration(method: Method, predicted: npt.ArrayLike, label: npt.ArrayLike) -> Calibration:
    """Return a calibration fitted on validation samples: predictions (n,) 0 to 1, labels (n,) 0 or 1.

    Raises CalibrationError where there are too few samples of a class, and where higher predictions do not
    go with more landslides (Platt's slope is not above 0, isotonic regression is flat): turning a model
    round is no calibration.
    """
    given = np.asarray(predicted, dtype=np.float32).astype(np.float64)
    labels = np.asarray(label, dtype=np.int64)
    if given.shape != labels.shape or given.ndim != 1:
        raise ValueError(f"predictions {given.shape} and labels {labels.shape} must be one column each")
    if method == "none":
        return Calibration(method="none")
    if not np.isfinite(given).all():
        raise CalibrationError("calibration refused: a prediction of the validation samples is not a number")
    positives = int(labels.sum())
    fewest = min(positives, len(labels) - positives)
    if fewest < FEWEST[method]:
        raise CalibrationError(
            f"calibration refused: {positives} landslides among {len(labels)} validation samples; {method} "
            f"needs at least {FEWEST[method]} of each class. Either give it more validation samples or set "
            f"calibration to {_LESS[method]!r}"
        )
    if method == "platt":
        slope, intercept = platt(logit(given), labels)
        if not slope > 0:
            raise CalibrationError(
                f"calibration refused: Platt's slope is {slope:.3g} on {len(labels)} validation samples, so "
                "higher susceptibility goes with no more landslides there; set calibration to 'none' and "
                "look at the model"
            )
        fitted = Calibration(method="platt", slope=slope, intercept=intercept)
    else:
        fitted = _isotonic(given, labels)
    return fitted.model_copy(
        update={
            "samples": len(labels),
            "positives": positives,
            "brier_before": float(np.mean((given - labels) ** 2)),
            "brier_after": float(np.mean((fitted.apply(given) - labels) ** 2)),
        }
    )


_LESS: dict[Method, Method] = {"platt": "none", "isotonic": "platt"}


def platt(scores: Array, label: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return slope a and intercept b of sigmoid(a score + b) (Platt 1999); scores (n,) of any scale."""
    positives = int(label.sum())
    negatives = len(label) - positives
    least, most = certainty(label)
    target = np.where(label == 1, most, least)
    # One scale for all models, so that one stopping rule fits them.
    centre, spread = float(scores.mean()), float(scores.std())
    if not spread > 0:
        return 0.0, float(np.log((positives + 1) / (negatives + 1)))
    design = np.stack([(scores - centre) / spread, np.ones(len(scores))], axis=1)
    weights = np.array([0.0, np.log((positives + 1) / (negatives + 1))])

    def loss(at: Array) -> float:
        z = design @ at
        return float(np.sum(np.logaddexp(0, z) - target * z))

    for _ in range(_STEPS):
        mean = sigmoid(design @ weights)
        gradient = design.T @ (mean - target)
        if np.abs(gradient).max() < 1e-9 * len(scores):
            break
        curvature = design.T @ (design * (mean * (1 - mean))[:, None]) + 1e-12 * np.eye(2)
        step = -np.linalg.solve(curvature, gradient)
        length, now = 1.0, loss(weights)
        while length > 1e-10 and loss(weights + length * step) > now + 1e-4 * length * float(gradient @ step):
            length /= 2
        if length <= 1e-10:  # no step makes it smaller: this is as far as float64 goes
            break
        weights = weights + length * step
    slope = float(weights[0]) / spread
    return slope, float(weights[1]) - slope * centre


def certainty(label: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the least and the greatest probability that samples of labels (n,) allow (Platt 1999)."""
    positives = int(label.sum())
    return 1 / (len(label) - positives + 2), (positives + 1) / (positives + 2)


def _isotonic(given: Array, label: npt.NDArray[np.int64]) -> Calibration:
    rounded = np.rint(given / ISOTONIC_STEP) * ISOTONIC_STEP
    # Never 0 or 1: that some samples of a kind held no landslide does not make one impossible.
    least, most = certainty(label)
    fitted = IsotonicRegression(y_min=least, y_max=most, increasing=True, out_of_bounds="clip")
    fitted.fit(rounded, label)
    before, after = fitted.X_thresholds_, fitted.y_thresholds_
    if len(before) < 2 or not after[-1] > after[0]:
        raise CalibrationError(
            f"calibration refused: isotonic regression is flat on {len(label)} validation samples, so higher "
            "susceptibility goes with no more landslides there; set calibration to 'none' and look at the "
            "model"
        )
    return Calibration(method="isotonic", before=tuple(before.tolist()), after=tuple(after.tolist()))


def logit(probability: Array) -> Array:
    """Return ln(p / (1 - p)), held between LOWEST and HIGHEST."""
    held = np.clip(probability, LOWEST, HIGHEST)
    return np.asarray(np.log(held) - np.log1p(-held))


def sigmoid(value: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -value)))
