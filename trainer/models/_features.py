"""What a tabular model sees of a patch and a window: one row of features, by one ONNX graph.

    patches (n, C, P, P), window (n, N, V), physical units -> features float32 (n, F)

Training runs the same graph through ONNX Runtime that is served, so a tree cannot turn the other way by a
last bit. Sums over days are running sums (CumSum), added in one order whatever the batch; sums over a patch
are made in float64.

View "cell": the centre of the patch. View "patch": mean, standard deviation, minimum and maximum of each
continuous factor over the patch, and the share of each category. Both: the window's aggregates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from onnx import TensorProto

from service.errors import InputError
from service.manifest import FactorSpec, VariableSpec
from service.runtime import make_session
from trainer.dataset import Dataset, FloatArray, Indices
from trainer.models._ranges import View, ranges_of
from trainer.onnx_graph import GraphBuilder, port

RAIN_DAYS = (1, 3, 7, 15, 30)
DECAY = 0.85  # a day
# How features are scaled: not at all, to 0..1 of the training rows after the logs that the dataset
# declares, or so that the training median lies at 0.
Scaling = Literal["none", "min_max", "median"]

ASSUMED = {
    "rain sums": "of the last 1, 3, 7, 15 and 30 days of the window; the papers name none for these models",
    "antecedent index": f"API(d) = {DECAY:g} API(d - 1) + rain(d), from 0 at the window's first day; "
    "Kohler and Linsley 1951 use 0.85 to 0.98 a day",
    "levels": "the last day's value, and the last day's minus the first day's",
}
_STATISTICS = ("mean", "sd", "min", "max")


@dataclass(frozen=True)
class Column:
    """One feature before any is left out."""

    name: str
    log: bool = False
    coded: bool = False  # 0 or 1, or a share


@dataclass(frozen=True)
class Features:
    """The features of a dataset's factors and variables, fitted on training rows."""

    view: View
    factors: tuple[FactorSpec, ...]  # empty: the dataset has no patches
    variables: tuple[VariableSpec, ...]  # empty: it has no windows
    patch: int  # P of the dataset, 0 without patches
    window_days: int  # N, 0 without windows
    logs: bool = False  # signed logs where factors and variables declare them
    kept: tuple[int, ...] | None = None  # columns that vary in training; None: all
    shift: tuple[float, ...] = ()  # of the kept columns; empty: no scaling
    span: tuple[float, ...] = ()

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The features that are kept, in order."""
        every = (*_place_columns(self.view, self.factors), *_time_columns(self.variables, self.window_days))
        return every if self.kept is None else tuple(every[index] for index in self.kept)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, such as slope, cover=forest, rain_3d."""
        return tuple(column.name for column in self.columns)

    @property
    def uses(self) -> tuple[bool, bool]:
        """Whether a kept feature comes from the patches, and whether one comes from the windows."""
        places = len(_place_columns(self.view, self.factors))
        times = len(_time_columns(self.variables, self.window_days))
        kept = range(places + times) if self.kept is None else self.kept
        return any(index < places for index in kept), any(index >= places for index in kept)

    def add_to(self, graph: GraphBuilder, patch: int) -> str:
        """Add the nodes from `patches` (n, C, patch, patch) and `window` (n, N, V); return the features'."""
        parts: list[str] = []
        if self.factors:
            parts += _PLACES[self.view](graph, self.factors, patch)
        if self.variables:
            parts += _window(graph, self.variables, self.window_days)
        value = graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        if self.kept is not None:
            value = graph.add("Gather", value, graph.integers(self.kept), axis=1)
        logged = np.array([column.log for column in self.columns])
        if self.logs and logged.any():
            size = graph.add("Add", graph.add("Abs", value), graph.floats(1.0))
            signed = graph.add("Mul", graph.add("Sign", value), graph.add("Log", size))
            value = graph.add("Where", graph.constant(logged), signed, value)
        if self.shift:
            value = graph.add("Sub", value, graph.floats(self.shift))
            value = graph.add("Div", value, graph.floats(self.span))
        return value

    def compute(self, patches: FloatArray | None, windows: FloatArray | None) -> FloatArray:
        """Return the features float32 (n, F) of patches (n, C, P, P) and windows (n, N, V).

        Raises InputError where an input that the features need is absent, or a feature is not a number.
        """
        values: dict[str, FloatArray] = {}
        for name, needed, given in (
            ("patches", bool(self.factors), patches),
            ("window", bool(self.variables), windows),
        ):
            if needed and given is None:
                raise InputError(f"the model was fitted with {name}, but is asked to predict without")
            if needed and given is not None:
                values[name] = np.ascontiguousarray(given, dtype=np.float32)
        found: FloatArray = self._session.run(None, values)[0]
        bad = ~np.isfinite(found)
        if bad.any():
            row, column = np.argwhere(bad)[0].tolist()
            raise InputError(
                f"feature {self.names[column]!r} is not a number in {int(bad[:, column].sum())} of "
                f"{len(found)} rows (the first is row {row}); leave samples without data out"
            )
        return found

    def of_rows(self, data: Dataset, rows: Indices, size: int = 256) -> FloatArray:
        """Return the features float32 (len(rows), F) of some samples, read batch by batch."""
        parts = [self.compute(patches, windows) for _, patches, windows in data.batches(rows, size)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.columns)), np.float32)

    @cached_property
    def _session(self) -> Any:
        graph = GraphBuilder()
        inputs = []
        if self.factors:
            inputs.append(port("patches", ["n", len(self.factors), self.patch, self.patch]))
        if self.variables:
            inputs.append(port("window", ["n", self.window_days, len(self.variables)]))
        found = self.add_to(graph, self.patch)
        model = graph.model("features", inputs, [port(found, ["n", len(self.columns)])])
        return make_session(model.SerializeToString(), "the features")


def fit_features(data: Dataset, rows: Indices, *, view: View = "cell", scaling: Scaling = "none") -> Features:
    """Return the features of a dataset as its training `rows` make them.

    Categories, ranges, scaling and which columns are left out (those that never vary in `rows`) come of
    these rows alone. Raises InputError for a factor or variable that is constant or has no data there.
    """
    factors, variables = ranges_of(data, rows, view)
    every = Features(view, factors, variables, data.patch, data.window_days, logs=scaling == "min_max")
    values = every.of_rows(data, rows)
    low, high = values.min(axis=0), values.max(axis=0)
    kept = np.flatnonzero(low < high)
    if not len(kept):
        raise InputError(f"none of the {len(low)} features varies among the {len(rows)} training samples")
    shift, span = low[kept], (high - low)[kept]
    if scaling == "median":
        coded = np.array([column.coded for column in every.columns])[kept]
        # Most samples are of none of a category's codes, so its median would tell nothing apart.
        shift, span = np.where(coded, 0.5, np.median(values[:, kept], axis=0)), np.ones(len(kept))
    fitted = replace(every, kept=tuple(kept.tolist()))
    if scaling == "none":
        return fitted
    return replace(fitted, shift=tuple(map(float, shift)), span=tuple(map(float, span)))


def _place_columns(view: View, factors: Sequence[FactorSpec]) -> list[Column]:
    """Return the columns of `_cell` or `_patch`, in their order."""
    plain = [factor for factor in factors if factor.categories is None]
    coded = [f"{factor.name}={name}" for factor in factors for name in _category_names(factor)]
    if view == "cell":
        return [Column(f.name, f.log) for f in plain] + [Column(name, coded=True) for name in coded]
    return [Column(f"{f.name}_{statistic}", f.log) for statistic in _STATISTICS for f in plain] + [
        Column(f"{name}_share", coded=True) for name in coded
    ]


def _time_columns(variables: Sequence[VariableSpec], days: int) -> list[Column]:
    """Return the columns of `_window`, in their order."""
    found = []
    for variable in variables:
        if variable.name == "rain":
            ends = [f"{count}d" for count in _rain_days(days)] + ["antecedent"]
        else:
            ends = ["last", "change"]
        found += [Column(f"{variable.name}_{end}", variable.log) for end in ends]
    return found


def _cell(graph: GraphBuilder, factors: Sequence[FactorSpec], patch: int) -> list[str]:
    # The service's cell r sees rows r - P // 2 onwards, so its own place in the patch is P // 2.
    middle = graph.scalar(patch // 2)
    own = graph.add("Gather", graph.add("Gather", "patches", middle, axis=3), middle, axis=2)
    parts = []
    if plain := _plain(factors):
        parts.append(graph.add("Gather", own, graph.integers(plain), axis=1))
    if coded := _coded(factors):
        values = graph.add("Gather", own, graph.integers([index for index, _ in coded]), axis=1)
        same = graph.add("Equal", values, graph.floats([code for _, code in coded]))
        parts.append(graph.add("Cast", same, to=TensorProto.FLOAT))
    return parts


def _patch(graph: GraphBuilder, factors: Sequence[FactorSpec], patch: int) -> list[str]:
    over = graph.integers([2, 3])
    parts = []
    if plain := _plain(factors):
        values = graph.add("Gather", "patches", graph.integers(plain), axis=1)
        exact = graph.add("Cast", values, to=TensorProto.DOUBLE)
        mean = graph.add("ReduceMean", exact, over, keepdims=1)
        apart = graph.add("Sub", exact, mean)
        variance = graph.add("ReduceMean", graph.add("Mul", apart, apart), over, keepdims=0)
        mean = graph.add("Squeeze", mean, over)
        parts += [
            graph.add("Cast", mean, to=TensorProto.FLOAT),
            graph.add("Cast", graph.add("Sqrt", variance), to=TensorProto.FLOAT),
            graph.add("ReduceMin", values, over, keepdims=0),
            graph.add("ReduceMax", values, over, keepdims=0),
        ]
    if coded := _coded(factors):
        values = graph.add("Gather", "patches", graph.integers([index for index, _ in coded]), axis=1)
        same = graph.add("Equal", values, graph.floats(np.array([code for _, code in coded])[:, None, None]))
        # Whole numbers up to patch * patch: exact in float32 in any order.
        count = graph.add("ReduceSum", graph.add("Cast", same, to=TensorProto.FLOAT), over, keepdims=0)
        parts.append(graph.add("Div", count, graph.floats(float(patch**2))))
    return parts


_PLACES = {"cell": _cell, "patch": _patch}


def _window(graph: GraphBuilder, variables: Sequence[VariableSpec], days: int) -> list[str]:
    parts = []
    for index, variable in enumerate(variables):
        values = graph.add("Gather", "window", graph.scalar(index), axis=2)
        if variable.name == "rain":
            ago = np.arange(days)[::-1]
            sums = _sums_to_end(graph, values)
            parts.append(
                graph.add("Gather", sums, graph.integers([days - d for d in _rain_days(days)]), axis=1)
            )
            weighted = graph.add("Mul", values, graph.floats(DECAY**ago))
            parts.append(graph.add("Gather", _sums_to_end(graph, weighted), graph.integers([0]), axis=1))
        else:
            last = graph.add("Gather", values, graph.integers([days - 1]), axis=1)
            first = graph.add("Gather", values, graph.integers([0]), axis=1)
            parts += [last, graph.add("Sub", last, first)]
    return parts


def _sums_to_end(graph: GraphBuilder, values: str) -> str:
    """Add the sums from each day to the window's last: (n, N)."""
    return graph.add("CumSum", values, graph.scalar(1), reverse=1)


def _rain_days(days: int) -> list[int]:
    return sorted({min(count, days) for count in RAIN_DAYS})


def _plain(factors: Sequence[FactorSpec]) -> list[int]:
    return [index for index, factor in enumerate(factors) if factor.categories is None]


def _coded(factors: Sequence[FactorSpec]) -> list[tuple[int, float]]:
    return [(index, float(code)) for index, f in enumerate(factors) for code in sorted(f.categories or {})]


def _category_names(factor: FactorSpec) -> list[str]:
    """Return the names of a factor's categories by code; a name that two codes share gets the code."""
    named = factor.categories or {}
    twice = {name for name in named.values() if list(named.values()).count(name) > 1}
    return [f"{named[c]} ({c})" if named[c] in twice else named[c] for c in sorted(named)]
