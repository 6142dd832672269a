"""Refreshes measured stage by stage from outside: the run of `colluvium refresh`, nothing left out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from exporters.layer import Layer
from service.bench.meter import Cost, Meter
from service.errors import HeldError, Outcome
from service.layer_counts import CHANGE_DAYS
from service.ledger import Ledger
from service.progress import ProgressCallback
from service.refreshed import Refreshed
from service.runs import run_days
from service.settings import Settings
from service.workshop import ledger_path


class TickingClock:
    """A clock that stands at one moment and moves on by a microsecond each time it is asked."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def __call__(self) -> datetime:
        self._now += timedelta(microseconds=1)
        return self._now


@dataclass(frozen=True)
class MeasuredDay:
    """What one day took, by stage and in all."""

    day: date
    cells: int
    stages: dict[str, Cost]
    total: Cost
    layer_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return {
            "day": self.day.isoformat(),
            "cells": self.cells,
            "stages": {name: cost.to_json() for name, cost in self.stages.items()},
            "total": self.total.to_json(),
            "layer_bytes": self.layer_bytes,
        }

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> MeasuredDay:
        """Read what `to_json` wrote."""
        return cls(
            date.fromisoformat(values["day"]),
            values["cells"],
            {name: Cost.of_json(cost) for name, cost in values["stages"].items()},
            Cost.of_json(values["total"]),
            values["layer_bytes"],
        )


@dataclass(frozen=True)
class MeasuredRun:
    """Some days in a row, and what the process took at the most, start and all."""

    days: tuple[MeasuredDay, ...]
    peak_rss_bytes: int
    memory_how: str

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return {
            "days": [day.to_json() for day in self.days],
            "peak_rss_bytes": self.peak_rss_bytes,
            "memory_how": self.memory_how,
        }

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> MeasuredRun:
        """Read what `to_json` wrote."""
        days = tuple(MeasuredDay.of_json(day) for day in values["days"])
        return cls(days, values["peak_rss_bytes"], values["memory_how"])

    @property
    def stages(self) -> dict[str, Cost]:
        """The median of each stage over the days."""
        names = list(dict.fromkeys(name for day in self.days for name in day.stages))
        return {
            name: median_cost([day.stages[name] for day in self.days if name in day.stages]) for name in names
        }

    @property
    def total(self) -> Cost:
        """The median of the days."""
        return median_cost([day.total for day in self.days])


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the cost in the middle, by its seconds; of the memory, the most."""
    middle = statistics.median_low([cost.seconds for cost in costs])
    found = next(cost for cost in costs if cost.seconds == middle)
    peak = max(cost.peak_rss_bytes for cost in costs)
    return Cost(found.seconds, found.cpu_s, found.bytes_read, found.bytes_written, peak)


def days_before(measured: Sequence[date]) -> list[date]:
    """Return the days that must have a layer, so that change is counted on `measured` as on any day."""
    wanted = {day - timedelta(days=days) for day in measured for days in CHANGE_DAYS}
    return sorted(wanted - set(measured))


def measure_refreshes(
    settings: Settings,
    config: Path,
    measured: Sequence[date],
    clock: Callable[[], datetime],
    progress: ProgressCallback,
) -> MeasuredRun:
    """Publish `measured` days, oldest first, after those before them that a layer is compared with.

    Raises HeldError where one of `measured` was not published; the message says why.
    """
    before = days_before(measured)
    meter = Meter()
    marks: list[tuple[str, Cost]] = []

    def on_stage(name: str) -> None:
        marks.append((name, meter.lap()))

    def on_day(done: int, total: int) -> None:
        marks.append(("", meter.lap()))
        progress(done, total)

    results = run_days(
        settings,
        config,
        lambda _: [*before, *measured],
        purpose="colluvium bench",
        clock=clock,
        on_day=on_day,
        on_stage=on_stage,
    )
    ending = meter.lap()
    peak = max([ending.peak_rss_bytes, *(cost.peak_rss_bytes for _, cost in marks)])
    days = [
        _measured(result, stages)
        for result, stages in zip(results, _by_day(marks), strict=False)
        if result.day in measured
    ]
    return MeasuredRun(tuple(_all_published(results, measured, days)), peak, meter.memory_how)


def _all_published(
    results: Sequence[Refreshed], measured: Sequence[date], days: Iterable[MeasuredDay | None]
) -> Iterable[MeasuredDay]:
    found = [day for day in days if day is not None]
    if len(found) < len(measured):
        why = [f"{one.day or 'start'}: {one.outcome.value}, {one.reason}" for one in results if one.reason]
        raise HeldError("not every day to be measured was published: " + ("; ".join(why) or "nothing new"))
    return found


def _measured(result: Refreshed, stages: dict[str, Cost]) -> MeasuredDay | None:
    if result.outcome != Outcome.PUBLISHED or result.layer is None or result.day is None:
        return None
    total = Cost(0, 0, 0, 0, 0)
    for cost in stages.values():
        total = total.plus(cost)
    return MeasuredDay(result.day, result.layer.cells, stages, total, folder_bytes(result.layer.folder))


def _by_day(marks: Sequence[tuple[str, Cost]]) -> list[dict[str, Cost]]:
    """Return each day's stages. A mark says what begins; its cost is of what was before it.

    What lies between two stages, such as syncing the layer's files to the disk, counts with the first.
    """
    days: list[dict[str, Cost]] = []
    stages: dict[str, Cost] = {}
    running: str | None = None
    for name, cost in marks:
        if running is not None:
            stages[running] = stages[running].plus(cost) if running in stages else cost
        running = name or None
        if not name:
            days.append(stages)
            stages = {}
    return days


def layers_of(settings: Settings, days: Sequence[date], clock: Callable[[], datetime]) -> list[Layer]:
    """Return the layers on display of some days. Raises HeldError where one is missing."""
    with closing(Ledger(ledger_path(settings), clock, make=False)) as ledger:
        found = {day: ledger.current(day) for day in days}
    missing = [str(day) for day, layer in found.items() if layer is None]
    if missing:
        raise HeldError(f"no layer of {', '.join(missing)}")
    return [layer for layer in found.values() if layer is not None]


def folder_bytes(folder: Path) -> int:
    """Return what the files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
