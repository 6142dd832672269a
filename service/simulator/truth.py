"""What really happened, as far as the simulator is concerned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]  # west, south, east, north in EPSG:4326


@dataclass(frozen=True)
class Gauge:
    """Where rain is measured: EPSG:4326 degrees, metres above sea level."""

    id: str
    lon: float
    lat: float
    elevation_m: float = 0.0


@dataclass(frozen=True)
class Reservoir:
    """Where a level is measured, and the range in which the reservoir is run (m above sea level)."""

    id: str
    lon: float
    lat: float
    full_level_m: float
    dead_level_m: float
    capacity_m3: float = 1e8  # between dead and full level


class Truth(Protocol):
    """The weather of a region by day. Asked from many threads at a time."""

    @property
    def bounds(self) -> Bounds:
        """The region."""

    @property
    def first(self) -> date:
        """The first day of which anything is known."""

    @property
    def last(self) -> date:
        """The last day of which anything is known."""

    @property
    def gauges(self) -> Sequence[Gauge]:
        """The rain gauges."""

    @property
    def reservoirs(self) -> Sequence[Reservoir]:
        """The reservoirs."""

    def rain(self, day: date, lon: Float, lat: Float) -> Float:
        """Return the day's rain in mm at places of any one shape; NaN where it is not known."""

    def gauge_rain(self, day: date, gauge: Gauge) -> float:
        """Return what a gauge measured, mm; NaN where it reported nothing."""

    def level(self, day: date, reservoir: Reservoir) -> float:
        """Return a reservoir's level, m above sea level; NaN where it was not reported."""
