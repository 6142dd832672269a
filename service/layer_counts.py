"""What is counted of a layer while it is made: areas by zone, their change since earlier days, hotspots."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date, timedelta
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from exporters.layer import Layer
from service.areas import AreaCounter, Change, ChangeCounter
from service.earlier_layer import EarlierLayer
from service.hotspots import HotspotFinder, Hotspots, date_hotspots
from service.layer_basis import are_comparable, fixed_basis
from service.region import ForcingGrid
from service.sequences import WindowSet
from service.workshop import Workshop
from service.zone_strips import ZoneStrips

CHANGE_DAYS = (1, 7)


class LayerCounts:
    """Counts a layer of a day from its strips, north to south; a context manager that owns what it reads.

    Change is counted since the comparable nowcasts of 1 and 7 days before, growth of hotspots since the
    newest comparable one. Raises StorageError for an earlier layer that cannot be read.
    """

    def __init__(self, shop: Workshop, day: date, windows: WindowSet) -> None:
        self._shop, self._day = shop, day
        region, grid = shop.region, shop.region.grid
        earlier = {days: _kept(shop, day - timedelta(days=days)) for days in CHANGE_DAYS}
        self._previous = _comparable(shop, shop.ledger.latest(before=day, as_of=shop.as_of))
        with ExitStack() as stack:
            zones = stack.enter_context(ZoneStrips(region.zones_path, len(region.zones), region.mask_path))
            # One reader for each layer: that of the day before is mostly the newest one too.
            readers = {
                layer.folder: stack.enter_context(EarlierLayer(layer.folder))
                for layer in (*earlier.values(), self._previous)
                if layer is not None
            }
            self._areas = AreaCounter(zones)
            self._changes = ChangeCounter(
                {days: readers[layer.folder] for days, layer in earlier.items() if layer is not None},
                zones,
                basis=_basis_grid(region.forcing, windows),
                k=region.forcing.k,
                shape=(grid.height, grid.width),
                transform=grid.transform,
            )
            self._hotspots = HotspotFinder(
                zones,
                region.zones,
                shape=(grid.height, grid.width),
                transform=grid.transform,
                min_area_m2=shop.settings.hotspots.min_area_m2,
                at_most=shop.settings.hotspots.at_most,
                previous=readers[self._previous.folder] if self._previous is not None else None,
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, row: int, stored: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8]) -> None:
        """Count stored susceptibility and its classes, uint8 (rows, width), whose first row is `row`."""
        self._areas.add(row, classes)
        self._changes.add(row, classes)
        self._hotspots.add(row, stored, classes)

    @property
    def by_zone(self) -> npt.NDArray[np.int64]:
        """Cells by zone code and class, int64 (zones + 1, 5): see `AreaCounter`."""
        return self._areas.counts

    def changes(self) -> dict[int, Change]:
        """Return how cells changed class, by how many days earlier."""
        return self._changes.changes()

    def hotspots(self) -> Hotspots:
        """Return the hotspots, with the day since which each stands; once, after the last strip."""
        return date_hotspots(self._hotspots.finish(), self._day, self._previous)


def _kept(shop: Workshop, day: date) -> Layer | None:
    """The comparable nowcast of a day, where its rasters are still there."""
    layer = shop.ledger.current(day, as_of=shop.as_of)
    if layer is None or shop.ledger.removed_at(layer.id) is not None:
        return None
    return _comparable(shop, layer)


def _comparable(shop: Workshop, layer: Layer | None) -> Layer | None:
    if layer is None or not are_comparable(fixed_basis(shop), shop.ledger.basis(layer.id)):
        return None
    return layer


def _basis_grid(forcing: ForcingGrid, windows: WindowSet) -> npt.NDArray[np.float32]:
    """The `basis` of provenance.tif: float32 (rows, columns), NaN where no forcing cell is active."""
    basis = np.full((forcing.rows, forcing.columns), np.nan, np.float32)
    basis[forcing.active[:, 0], forcing.active[:, 1]] = windows.basis
    return basis
