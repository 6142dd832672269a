"""Panels and weather for the tests of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from service.checks.findings import find
from service.checks.judge import CONTEXT_DAYS
from service.checks.panel import Panel
from service.settings_quality import QualitySettings

Values = npt.NDArray[np.float64]
START = date(2026, 3, 1)
EMPTY = np.zeros((0, 0))


def rain(days: int, n: int, seed: int = 0) -> Values:
    """Weather of a district, mm: every third day or so is wet everywhere, to a tenth of a millimetre."""
    rng = np.random.default_rng(seed)
    storm = np.where(rng.random((days, 1)) < 0.4, rng.gamma(2.0, 8.0, (days, 1)), 0.0)
    return np.asarray(np.round(storm * rng.uniform(0.5, 1.6, (days, n)), 1))


def levels(days: int, n: int, seed: int = 0) -> Values:
    """Levels of reservoirs, m: each near 300 m or more, falling and rising by some centimetres a day."""
    rng = np.random.default_rng(seed)
    return np.asarray(np.round(300.0 + 100.0 * np.arange(n) + np.cumsum(rng.normal(0, 0.2, (days, n)), 0), 2))


def panel(
    variable: str,
    value: Values,
    first: int | None = None,
    feeds: Sequence[str] | None = None,
    settings: QualitySettings | None = None,
    **more: Any,
) -> Panel:
    """Series 5 km apart along a line, of one feed unless `feeds` names that of each."""
    n = value.shape[1]
    of_series = list(feeds) if feeds is not None else ["gauges"] * n
    names = tuple(dict.fromkeys(of_series))
    settings = settings or QualitySettings()
    unknown = np.full(n, np.nan)
    values: dict[str, Any] = {
        "lon": 11.0 + np.arange(n) * 5.0 / 80.0,
        "lat": np.full(n, 44.0),
        "elevation_m": unknown,
        "lowest": unknown,
        "highest": unknown,
    }
    return Panel(
        variable=variable,
        start=START,
        first=0 if first is None else first,
        feeds=names,
        rules=tuple(settings.rules(variable, name) for name in names),
        feed=np.array([names.index(name) for name in of_series]),
        ids=tuple(f"s{index}" for index in range(n)),
        value=value,
        **(values | more),
    )


def doubted(given: Panel, settings: QualitySettings | None = None) -> dict[str, set[tuple[int, int]]]:
    """Return the doubted cells, by check."""
    result: dict[str, set[tuple[int, int]]] = {}
    for cell, hits in find(given, settings or QualitySettings()).found.items():
        for check, _ in hits:
            result.setdefault(check.name.value, set()).add(cell)
    return result


def cells(rows: Sequence[int] | range, columns: Sequence[int] | range) -> set[tuple[int, int]]:
    """Return all of rows x columns."""
    return {(row, column) for row in rows for column in columns}


__all__ = ["CONTEXT_DAYS", "START", "cells", "doubted", "levels", "panel", "rain"]
