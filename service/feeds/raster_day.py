"""One day of the region from the files of a raster product."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.feed_log import Problem
from service.feeds.base import FeedContext, FeedFault, Grid
from service.feeds.parsing import UNITS
from service.feeds.raster_open import Opened
from service.feeds.raster_sources import RasterSources, zone_of
from service.feeds.raster_templates import Step, steps_of
from service.feeds.raster_window import PixelWindow, to_stored, window_of
from service.quality import limits_of
from service.settings_raster import RasterFeed, RasterProduct
from service.stamps import to_stamp

# mm in an hour at a rate of one.
_RATES = {"mm/h": 1.0, "mm/s": 3600.0}
# Packing leaves differences of accumulations so far below zero in a dry hour.
_PACKING_MM = 0.05


@dataclass(frozen=True)
class Found:
    """A day's grid, or none where it is not there (yet), and what people should know of it."""

    grid: Grid | None
    problems: tuple[Problem, ...] = ()


class _Place(NamedTuple):
    """The window of a file's grid."""

    key: tuple[object, ...]
    window: PixelWindow


class DayReader:
    """Reads days of a feed from its sources."""

    def __init__(self, settings: RasterFeed, context: FeedContext, sources: RasterSources) -> None:
        """Raises FeedFault where the settings name no time zone."""
        self._settings = settings
        self._context = context
        self._sources = sources
        self._zone = zone_of(settings, context)
        self._limits = limits_of(settings.variable, settings.minimum, settings.maximum)
        self._place: _Place | None = None

    def read(self, day: date, product: RasterProduct, version: str, label: str, now: datetime) -> Found:
        """Return the region's day from one product: the sum of its steps, every one of which must be there.

        Raises FeedFault where a file is there and cannot be used, holds nothing over the region, or does not
        reach it.
        """
        settings = self._settings
        steps = steps_of(
            day, self._zone, settings.day_boundary, self._context.region_timezone, settings.step_hours
        )
        if not steps or now < steps[-1].end + timedelta(days=product.min_age_days):
            return Found(None)
        read = self._amounts(product, version, steps[0])
        if read is None:
            return Found(None)
        total, opened, window = read
        for step in steps[1:]:
            read = self._amounts(product, version, step)
            if read is None:
                return Found(None, (self._incomplete(day, label, step, steps),))
            amounts, other, place = read
            if (place.transform, place.shape) != (window.transform, window.shape):
                raise FeedFault(
                    "place",
                    f"feed {settings.name}: the pixels of {other.label} lie elsewhere than those of "
                    f"{opened.label}; steps of one day are summed on one grid",
                )
            total = total + amounts  # NaN in one step is NaN in the day
        values, problems = self._checked(total, day, opened.label)
        grid = Grid(
            day=day,
            values=values,
            transform=window.transform,
            crs=opened.crs,
            ends_at=to_stamp(steps[-1].end),
            source=opened.label,
            version=label,
            latency=product.latency_hours,
        )
        return Found(grid, problems)

    def _amounts(
        self, product: RasterProduct, version: str, step: Step
    ) -> tuple[npt.NDArray[np.float64], Opened, PixelWindow] | None:
        """Return what fell in a step, mm, NaN where it is not known; None where the step is not there."""
        here = self._pixels(product, version, step)
        if here is None or self._settings.accumulated == "step" or step.number == 0:
            return here
        length = timedelta(hours=self._settings.step_hours)
        before = Step(step.day_start, step.start - length, step.start, step.number - 1)
        earlier = self._pixels(product, version, before)
        if earlier is None:
            return None
        amounts = here[0] - earlier[0]
        amounts[(amounts < 0) & (amounts >= -_PACKING_MM)] = 0.0
        amounts[amounts < 0] = np.nan  # an accumulation that shrinks is none
        return amounts, here[1], here[2]

    def _pixels(
        self, product: RasterProduct, version: str, step: Step
    ) -> tuple[npt.NDArray[np.float64], Opened, PixelWindow] | None:
        layer = self._sources.layer(product, version, step)
        if layer is None:
            return None
        settings, opened = self._settings, layer.opened
        window = self._window(opened)
        pixels = window.read(partial(opened.pixels, layer.band))
        stored = to_stored(
            pixels,
            settings.nodata,
            opened.scales[layer.band - 1] if settings.scale is None else settings.scale,
            opened.offsets[layer.band - 1] if settings.offset is None else settings.offset,
        )
        return stored * self._factor(step), opened, window

    def _factor(self, step: Step) -> float:
        unit = self._settings.unit
        return _RATES[unit] * step.hours if unit in _RATES else UNITS[self._settings.variable][unit]

    def _window(self, opened: Opened) -> PixelWindow:
        key = (opened.transform, opened.crs, opened.height, opened.width)
        if self._place is None or self._place.key != key:
            name = self._settings.name
            bounds = self._context.bounds()
            try:
                window = window_of(bounds, opened.transform, opened.crs, opened.height, opened.width)
            except ValueError as error:
                raise FeedFault("format", f"feed {name}: {opened.label}: {error}") from error
            if window is None:
                west, south, east, north = bounds
                raise FeedFault(
                    "outside",
                    f"feed {name}: {opened.label} does not reach the region ({west:.2f} to {east:.2f} E, "
                    f"{south:.2f} to {north:.2f} N); use a product that covers it",
                )
            self._place = _Place(key, window)
        return self._place.window

    def _checked(
        self, total: npt.NDArray[np.float64], day: date, label: str
    ) -> tuple[npt.NDArray[np.float32], tuple[Problem, ...]]:
        """Leave out what no rain can be. Raises FeedFault where nothing is left."""
        name, limits = self._settings.name, self._limits
        known = np.isfinite(total)
        outside = known & ((total < limits.minimum) | (total > limits.maximum))
        problems: tuple[Problem, ...] = ()
        if outside.any():
            worst = total[outside]
            problems = (
                Problem(
                    "range",
                    f"feed {name}: {label}: {day}: {int(outside.sum())} of {total.size} pixels are outside "
                    f"{limits.minimum:g} to {limits.maximum:g} {limits.unit} ({worst.min():g} to "
                    f"{worst.max():g}) and are left out; if that means no data, add it to 'nodata'",
                ),
            )
        values = np.where(outside, np.nan, total).astype(np.float32)
        if not np.isfinite(values).any():
            raise FeedFault(
                "no_data",
                f"feed {name}: {label}: {day}: not one of {total.size} pixels over the region has a value",
            )
        return values, problems

    def _incomplete(self, day: date, label: str, missing: Step, steps: tuple[Step, ...]) -> Problem:
        what = f" of {label}" if label else ""
        return Problem(
            "incomplete",
            f"feed {self._settings.name}: {day}{what}: the step of {missing.start:%Y-%m-%d %H:%M} UTC is not "
            f"there, and a day needs all of its {len(steps)} steps",
            is_error=False,
        )
