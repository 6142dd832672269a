"""Suspect extremes: the map with them and without them, and which of the two is published.

A reading that only an extreme can explain is doubted first and believed later. Left out of the windows it
must not make a calm map: where taking such readings as true would raise some zone's high and very high area
by more than `quality.unconfirmed_share` of the zone, the map with them is published, marked `unconfirmed`,
until a person accepts or rejects them. Rain doubted for being less than its neighbours' is no such reading:
it stays out. A forecast is weighed alike, so that it is not calmer than the nowcast that it follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import structlog

from exporters.layer import CLASS_LABELS
from service.areas import AreaCounter
from service.files import digest_of
from service.forcing import RAIN, gauge_days, project, surface_of_day
from service.inference import susceptibility_strips
from service.layer_basis import fixed_basis
from service.layer_windows import windows_of
from service.reading_values import ForecastIssue, Selection, SeriesDay, Suspect
from service.reservoirs import MARGIN_DAYS
from service.sequences import WindowSet
from service.workshop import Workshop
from service.zone_strips import ZoneStrips

# Keys of a layer's basis: the readings taken as true, and what was weighed with which result.
SUSPECTS = "suspects"
_WEIGHED = "weighed"
_NAMED_AT_MOST = 5
_HIGH = [CLASS_LABELS.index(label) + 1 for label in ("high", "very_high")]

log = structlog.get_logger()


@dataclass(frozen=True)
class Weighed:
    """The windows that a layer is made from, and the suspect readings that were taken as true in them."""

    windows: WindowSet
    taken: tuple[Suspect, ...] = ()
    notes: tuple[str, ...] = ()
    weighed: str = ""  # digest of all that the result depends on

    @property
    def basis(self) -> dict[str, str]:
        """What a layer's basis says of them; nothing where there was nothing to weigh."""
        said = {_WEIGHED: json.dumps([self.weighed, *self.notes])} if self.weighed else {}
        if self.taken:
            said[SUSPECTS] = json.dumps([[*item.at[:3], item.at.day.isoformat()] for item in self.taken])
        return said


def weigh_suspects(shop: Workshop, windows: WindowSet, forecast: ForecastIssue | None = None) -> Weighed:
    """Return `windows`, or those with the suspect extremes taken as true where they would raise the map.

    `forecast` is what the windows' last days are given, if they are.
    """
    first, last = windows.days[0] - timedelta(days=MARGIN_DAYS), windows.days[-1]
    open_ones = shop.archive.suspects(since=first, until=last, as_of=shop.as_of)
    suspects = _not_drier(shop, [item for item in open_ones if item.extreme])
    if not suspects:
        return Weighed(windows)
    taken = Selection(frozenset(item.at for item in suspects), forecast)
    higher = windows_of(shop, windows.day, taken)
    changed = _changed(windows, higher)
    if not changed.any():
        return Weighed(windows)
    limit = shop.settings.quality.unconfirmed_share
    named = _named(suspects)
    weighed = digest_of(windows.digest, higher.digest, limit, named, fixed_basis(shop))
    known = _known_result(shop, windows.day, weighed) if forecast is None else None
    if known is not None:
        notes, raises = known
        return Weighed(higher if raises else windows, suspects if raises else (), notes, weighed)
    rise = _rise(shop, windows, higher, changed)
    raised = [name for name, share in rise.items() if share > limit]
    asked = f"{named}; decide with 'colluvium readings --suspect'"
    if not raised:
        calm = f"taken as true, no zone's high and very high area rises by more than {limit:.1%}"
        note = f"left out as suspect; {calm}: {asked}"
        return Weighed(windows, notes=(note,), weighed=weighed)
    worst = max(rise, key=lambda name: rise[name])
    log.warning("suspect extremes raise the map", day=str(windows.day), zones=raised, suspects=named)
    others = f" and beyond {limit:.1%} in {len(raised) - 1} more zones" if len(raised) > 1 else ""
    note = (
        "UNCONFIRMED: this map takes suspect readings as true, which raises high and very high area by "
        f"{rise[worst]:.1%} of {worst}{others}. {asked}"
    )
    return Weighed(higher, suspects, (note,), weighed)


def _known_result(shop: Workshop, day: date, weighed: str) -> tuple[tuple[str, ...], bool] | None:
    """Return notes and whether suspects raise the map, where the nowcast that is shown has weighed the same.

    Until a person decides, every catch-up comes by again, and both maps are most of a refresh's work.
    """
    shown = shop.ledger.newest_revision(day, as_of=shop.as_of)
    basis = shop.ledger.basis(shown.id) if shown is not None else {}
    before, *notes = json.loads(basis.get(_WEIGHED, '[""]'))
    return (tuple(notes), SUSPECTS in basis) if before == weighed else None


def _not_drier(shop: Workshop, suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """Leave out rain that is less than other gauges say there: taken as true, it would calm the map."""
    series = {(item.feed, item.id): item for item in shop.archive.series(RAIN, shop.as_of)}
    days = sorted({item.at.day for item in suspects if item.at.variable == RAIN})
    crs, settings = shop.region.grid.crs, shop.settings.forcing
    others = {}
    for day in days:
        (others[day],), _ = gauge_days(shop.archive, RAIN, [day], crs, settings, shop.as_of)
    kept = []
    for item in suspects:
        if item.at.variable == RAIN:
            here = project([series[item.at.feed, item.at.series]], crs)
            if np.isfinite(here).all():
                (said,) = surface_of_day(others[item.at.day], here, settings).values
                if item.value < said:
                    continue
        kept.append(item)
    return tuple(kept)


def selection_of(basis: Mapping[str, str]) -> Selection:
    """Return the suspect readings that a layer of this basis took as true."""
    taken = json.loads(basis.get(SUSPECTS, "[]"))
    return Selection(
        frozenset(
            SeriesDay(feed, variable, series, date.fromisoformat(day))
            for feed, variable, series, day in taken
        )
    )


def _changed(one: WindowSet, other: WindowSet) -> npt.NDArray[np.bool_]:
    """Which forcing cells have another window at some corner: bool (n,)."""
    changed = np.zeros(len(one.corner_rows), dtype=bool)
    for corner in range(4):
        mine, theirs = one.corner_rows[:, corner], other.corner_rows[:, corner]
        changed |= (mine >= 0) != (theirs >= 0)
        both = np.flatnonzero((mine >= 0) & (theirs >= 0))
        # Distinct pairs only: a window stands at the corners of many forcing cells.
        pairs, inverse = np.unique(np.stack([mine[both], theirs[both]]), axis=1, return_inverse=True)
        differ = (one.windows[pairs[0]] != other.windows[pairs[1]]).any(axis=(1, 2))
        changed[both] |= differ[inverse.reshape(-1)]
    for cell in one.partial.keys() | other.partial.keys():
        mine_in, theirs_in = one.partial.get(cell), other.partial.get(cell)
        alike = mine_in is not None and theirs_in is not None and np.array_equal(mine_in, theirs_in)
        changed[cell] |= not alike
    return changed


def _rise(
    shop: Workshop, lower: WindowSet, higher: WindowSet, changed: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """How much high and very high area rises, by zone name, as a share of the zone's cells in the mask.

    Only forcing cells that differ are computed: all others count alike in both maps.
    """
    zones = shop.region.zones
    size = _counts(shop, _only(lower, np.zeros_like(changed))).sum(axis=1)
    before = _counts(shop, _only(lower, changed))[:, _HIGH].sum(axis=1)
    after = _counts(shop, _only(higher, changed))[:, _HIGH].sum(axis=1)
    gain = after - before
    names = {zone.code: zone.name for zone in zones}
    rise = {name: gain[code] / size[code] for code, name in names.items() if size[code]}
    if size.sum():
        rise["the whole region"] = float(gain.sum() / size.sum())
    return rise


def _only(windows: WindowSet, cells: npt.NDArray[np.bool_]) -> WindowSet:
    return replace(windows, corner_rows=np.where(cells[:, None], windows.corner_rows, -1).astype(np.int32))


def _counts(shop: Workshop, windows: WindowSet) -> npt.NDArray[np.int64]:
    region = shop.region
    with ZoneStrips(region.zones_path, len(region.zones), region.mask_path) as zones:
        counter = AreaCounter(zones)
        strips = susceptibility_strips(
            region, shop.state, shop.bundle, windows, workers=shop.workers, engine=shop.device_engine
        )
        for row, stored in strips:
            counter.add(row, shop.scheme.classify(stored))
    return counter.counts


def _named(suspects: Sequence[Suspect]) -> str:
    by_size = sorted(suspects, key=lambda item: (-abs(item.value), item.at))
    shown = []
    for item in by_size[:_NAMED_AT_MOST]:
        checks = ", ".join(finding.check for finding in item.findings)
        shown.append(f"{item.at.feed}/{item.at.series} {item.value:g} on {item.at.day} ({checks})")
    more = f" and {len(suspects) - _NAMED_AT_MOST} more" if len(suspects) > _NAMED_AT_MOST else ""
    return ", ".join(shown) + more
