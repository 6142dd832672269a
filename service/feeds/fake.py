"""A feed for tests, ours and yours: it gives what it was told to give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from service.feeds.base import Batch
from service.quality import Observation
from service.reading_values import SeriesPosition
from service.stamps import to_stamp


class FakeFeed:
    """Gives one scripted batch, or raises one scripted error, for each fetch; then repeats the last one."""

    def __init__(self, name: str, variable: str, script: Sequence[Batch | Exception]) -> None:
        if not script:
            raise ValueError("a fake feed needs at least one batch or error to give")
        self.name = name
        self.variable = variable
        self.calls: list[tuple[date | None, date | None]] = []
        self._script = list(script)

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Give the next of the script."""
        step = self._script[min(len(self.calls), len(self._script) - 1)]
        self.calls.append((since, until))
        if isinstance(step, Exception):
            raise step
        return step


def batch_of(
    values: Mapping[tuple[str, date], float],
    series: Iterable[SeriesPosition] | None = None,
    latency: timedelta | None = None,
) -> Batch:
    """Return a batch of values by series and day, with days of UTC. It can be fetched again and again."""
    rows = [
        Observation(
            series=name,
            day=day,
            value=value,
            ends_at=to_stamp(datetime.combine(day, time(), UTC) + timedelta(days=1)),
            file="fake",
            row=number,
            raw=f"{name},{day},{value}",
        )
        for number, ((name, day), value) in enumerate(values.items(), start=1)
    ]
    return Batch(rows=rows, series=None if series is None else tuple(series), latency=latency)
