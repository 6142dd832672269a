"""The windows of one layer, of a nowcast or a forecast, and whether they are enough to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from exporters.layer import ForecastBasis
from service.errors import HeldError
from service.manifest import Manifest
from service.reading_values import NOTHING_MORE, Selection
from service.sequences import WindowSet, build_windows
from service.workshop import Workshop


@dataclass(frozen=True)
class LayerWindows:
    """What goes through the model for one layer, and what the layer says of it.

    Of a forecast with several members, `members` holds the windows of each, and `windows` says what holds for
    all: a cell has a window where every member has one.
    """

    windows: WindowSet
    data_until: date  # the last day of the window with readings
    members: tuple[WindowSet, ...] = ()
    forecast: ForecastBasis | None = None
    notes: tuple[str, ...] = ()
    basis: Mapping[str, str] = field(default_factory=dict)
    unconfirmed: bool = False  # suspect readings were taken as true


def windows_of(shop: Workshop, day: date, selection: Selection = NOTHING_MORE) -> WindowSet:
    """Return the windows that the bundle asks for behind a layer of `day`."""
    manifest = shop.bundle.manifest
    return build_windows(
        shop.settings,
        shop.region,
        shop.archive,
        manifest.variables,
        day,
        window_days=manifest.window_days,
        lag_days=manifest.lag_days,
        as_of=shop.as_of,
        reservoirs=shop.reservoirs,
        selection=selection,
    )


def default_day(shop: Workshop) -> date:
    """Return the newest day whose window is complete enough, or else the newest day with any reading.

    Complete enough: coverage, and the share of forcing cells with four windows, reach
    `forcing.min_coverage`. Raises HeldError where there is no reading at all.
    """
    manifest = shop.bundle.manifest
    lag = timedelta(days=manifest.lag_days)
    # A storm whose readings are all doubted as extremes is still the newest that is known.
    since = shop.today - lag - timedelta(days=2 * manifest.window_days)
    doubted = shop.archive.suspects(since=since, as_of=shop.as_of)
    extremes = frozenset(item.at for item in doubted if item.extreme)
    newest = []
    for variable in archive_variables(manifest):
        days = [shop.archive.newest_day(variable), *(at.day for at in extremes if at.variable == variable)]
        newest.append(max((day for day in days if day is not None), default=None))
    known = [day for day in newest if day is not None]
    if len(known) < len(newest) or not known:
        raise HeldError(
            "there are no readings of every variable yet; bring some with 'colluvium ingest', "
            "and see 'colluvium check'"
        )
    latest = min(shop.today, min(known) + lag)
    for back in range(manifest.window_days):
        day = latest - timedelta(days=back)
        if complete_enough(shop, windows_of(shop, day, Selection(extremes))):
            return day
    return latest


def complete_enough(shop: Workshop, windows: WindowSet) -> bool:
    """Tell whether windows make a layer that is not degraded."""
    least = shop.settings.forcing.min_coverage
    return bool(windows.coverage >= least and windows.complete.mean() >= least)


def refuse_empty(shop: Workshop, made: LayerWindows) -> None:
    """Raise HeldError, naming a forecast's feed, where no cell would have a value."""
    windows = made.windows
    if not windows.complete.any():
        ahead = made.forecast
        by = f", of which feed {ahead.feed!r} gives those from {ahead.first_day} on" if ahead else ""
        raise HeldError(
            f"no forcing cell has a complete window for {windows.day} "
            f"(days {windows.days[0]} to {windows.days[-1]}{by}, coverage {windows.coverage:.0%}); "
            f"the last good layer stays. Which feed is late? See 'colluvium status'"
        )
    if not shop.state.valid_cells[windows.complete].any():
        raise HeldError(
            f"for {windows.day} no cell has both a window and a complete {shop.bundle.manifest.patch} x "
            f"{shop.bundle.manifest.patch} patch of factors; the last good layer stays"
        )


def archive_variables(manifest: Manifest) -> tuple[str, ...]:
    """Return the variables of the archive that a model's windows are made from."""
    names = {"rain" if spec.name == "rain" else "level" for spec in manifest.variables}
    return tuple(sorted(names))
