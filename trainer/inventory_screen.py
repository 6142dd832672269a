"""What the grid and the other rows say of an inventory: rows off the grid, rows that say one thing twice.

screen(inventory, grid, mask=None, within_m=None) -> Screened
Screened.events      to learn from: on the grid, inside the mask, each landslide once
Screened.around      each landslide once, those off the grid too: what negatives stay clear of
Screened.problems    rows of the file that are not among `events`, by line or feature
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from service.errors import InputError
from service.region import Grid
from trainer.inventory_crs import distance_to_grid, likely_crs, on_grid
from trainer.inventory_rows import Event, Inventory, RowProblem

SAME_PLACE_M = 100.0  # what a point on a map is good to, as of an inventory that states nothing


@dataclass(frozen=True)
class Screened:
    """The events of an inventory as they may be used on one grid."""

    events: tuple[Event, ...]
    around: tuple[Event, ...]
    problems: tuple[RowProblem, ...]  # of reading and of screening, in the order of the file


def screen(
    inventory: Inventory, grid: Grid, mask: Path | None = None, *, within_m: float | None = None
) -> Screened:
    """Hold the events of an inventory against each other and against the grid they are in the CRS of.

    Two events of one day are one landslide where they lie within `within_m` of each other; by default within
    the accuracy of both places, at least one cell and at most SAME_PLACE_M: of two vague places kilometres
    apart, nobody has said that they are one. The first of the file stays. `mask` is a raster on the grid, 0
    outside, such as `Region.mask_path`.

    Raises InputError where no event lies on the grid, or where most would in another CRS; it says which.
    """
    xy = np.array([(event.x, event.y) for event in inventory.events], np.float64).reshape(-1, 2)
    inside = on_grid(grid, xy)
    _refuse_wrong_place(inventory, grid, xy, inside)
    repeats = _repeats(inventory.events, xy, grid.cell_size_m, within_m)
    masked_out = inside & ~_inside_mask(mask, xy, inside)
    away = distance_to_grid(grid, xy)
    events: list[Event] = []
    around: list[Event] = []
    problems = list(inventory.problems)
    for index, (event, place) in enumerate(zip(inventory.events, inventory.places, strict=True)):
        reasons: list[str] = []
        if index in repeats:
            first = inventory.places[repeats[index]]
            metres = float(np.hypot(*(xy[index] - xy[repeats[index]])))
            reasons.append(
                f"the same day and {metres:.0f} m from {first.unit} {first.row} "
                f"({inventory.events[repeats[index]].id}): one landslide said twice"
            )
        else:
            around.append(event)
        if not inside[index]:
            reasons.append(f"{away[index]:,.0f} m off the region's grid")
        elif masked_out[index]:
            reasons.append("outside the region's mask")
        if reasons:
            problems.append(RowProblem(place.row, "; ".join(reasons), place.unit))
        else:
            events.append(event)
    problems.sort(key=lambda problem: (problem.unit == "event", problem.row))
    if not events:
        raise InputError(
            f"no event of {inventory.path} lies inside the region's mask; {len(inventory.events)} were read"
        )
    return Screened(tuple(events), tuple(around), tuple(problems))


def _refuse_wrong_place(
    inventory: Inventory, grid: Grid, xy: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]
) -> None:
    """Raise InputError where the places are those of another CRS, or none lies on the grid."""
    if inside.mean() > 0.5:
        return
    raw = np.array([(place.x, place.y) for place in inventory.places], np.float64)
    looks = likely_crs(raw, inventory.crs, grid)
    count = int(inside.sum())
    if looks is None and count:
        return  # an inventory of a country for a region of it
    nearest = float(distance_to_grid(grid, xy).min())
    found = "none" if count == 0 else f"only {count}"
    raise InputError(
        f"{found} of the {len(xy)} events of {inventory.path}, read as {inventory.crs.to_string()}, lie on "
        f"the region's grid; the nearest is {nearest / 1000:,.1f} km away; "
        + (looks or "nothing tells another CRS: either the inventory or the region's grid is the wrong one")
    )


def _repeats(
    events: tuple[Event, ...], xy: npt.NDArray[np.float64], cell_size_m: float, within_m: float | None
) -> dict[int, int]:
    """Return for each repeated event the one that it repeats, by index; the first of the file is kept."""
    accuracy = np.array([event.accuracy_m for event in events])
    kept: dict[object, list[int]] = {}
    repeats: dict[int, int] = {}
    for index, event in enumerate(events):
        before = kept.setdefault(event.day, [])
        if before:
            near = np.hypot(*(xy[before] - xy[index]).T)
            reach = np.minimum(np.minimum(accuracy[before], accuracy[index]), SAME_PLACE_M)
            reach = np.maximum(reach, cell_size_m)
            same = np.flatnonzero(near <= (reach if within_m is None else within_m))
            if same.size:
                repeats[index] = before[int(same[np.argmin(near[same])])]
                continue
        before.append(index)
    return repeats


def _inside_mask(
    mask: Path | None, xy: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    result = inside.copy()
    if mask is not None:
        where = np.flatnonzero(inside)
        with rasterio.open(mask) as raster:
            for index, values in zip(where, raster.sample(xy[where]), strict=True):
                result[index] = values[0] != 0
    return result
