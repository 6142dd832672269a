"""Factored inference: windows and the spatial state -> strips of susceptibility, north to south.

temporal.onnx runs once for each distinct window, the head once for each forcing cell that has four corner
windows and a valid cell. What happens to a tile is service.tile_work, where it happens service.engines.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.layer import NODATA, Odds
from service.bundle import Bundle
from service.engines.base import Engine
from service.engines.local import LocalEngine
from service.ensemble import Member, values_outside, windows_outside
from service.errors import BundleError, StorageError
from service.head import CpuHead
from service.kept_values import KeptValues
from service.manifest import Manifest
from service.patches import NO_DATA
from service.region import ForcingGrid, Region
from service.sequences import WindowSet
from service.state import SpatialState
from service.tile_work import Model, TileOrder, TileResult, TileWork
from service.tiles import Tile, bands_of, forcing_cells_along, tiles_of
from service.whole_path import WholeRunner

FloatArray = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RangeShares:
    """What lies outside the training ranges, per active forcing cell: float32 (n,), NaN where nothing is.

    factors: share of the valid cells with a factor outside its range, an unknown category, or a patch that
    is not wholly observed. windows: share of the (corner, day, variable) values outside their range.
    """

    factors: FloatArray
    windows: FloatArray


@dataclass(frozen=True)
class LayerStrip:
    """Rows of a layer from the first one on; what the model does not give is None."""

    row: int
    stored: Stored  # (rows, width) susceptibility; 255 unknown
    outside: int = 0  # known cells whose factors or window lie outside the training ranges
    uncertainty: Stored | None = None  # (2, rows, width) spread of the ensemble and marks; 255 unknown
    probability: FloatArray | None = None  # (rows, width), NaN unknown
    quantiles: Stored | None = (
        None  # (3, rows, width) of QUANTILE_BANDS over a forecast's members; 255 unknown
    )


def susceptibility_strips(
    region: Region,
    state: SpatialState,
    bundle: Bundle,
    windows: WindowSet,
    *,
    workers: int,
    on_tile: Callable[[], None] | None = None,
    engine: Engine | None = None,
) -> Iterator[tuple[int, Stored]]:
    """Yield (first row, stored susceptibility uint8 (rows, width)): `layer_strips` without anything beside.

    Raises what that raises.
    """
    with closing(
        layer_strips(region, state, bundle, windows, workers=workers, on_tile=on_tile, engine=engine)
    ) as strips:
        for strip in strips:
            yield strip.row, strip.stored


def layer_strips(
    region: Region,
    state: SpatialState,
    bundle: Bundle,
    windows: WindowSet,
    *,
    forecasts: Sequence[WindowSet] = (),
    members: Sequence[Member] = (),
    odds: Odds | None = None,
    kept: KeptValues | None = None,
    workers: int,
    on_tile: Callable[[], None] | None = None,
    engine: Engine | None = None,
) -> Generator[LayerStrip, None, None]:
    """Yield a layer's strips from north to south, one band of tiles at a time.

    Unknown: outside the mask, patch not observed, no window, or out of a gauge's range. With `members` of an
    ensemble there is also the spread and what lies outside the training ranges; with `odds` the probability,
    from susceptibility as the model gave it. The strips are the same for every number of `workers` threads
    and every `engine` (without one, threads). Memory holds a few strips, whatever the height, and what each
    member makes of the windows. `on_tile` is called between tiles and may raise.

    With `forecasts`, the windows of each member of a forecast, every one of them goes through the model, and
    susceptibility is the median of what comes out, cell by cell; `windows` then says where there is any.

    Forcing cells of `kept` are not computed: they have the values that it holds.

    Raises BundleError when the windows are not the bundle's, StorageError when the state is cut short.
    """
    forcing, manifest = region.forcing, bundle.manifest
    sets = list(forecasts) or [windows]
    for one in (windows, *forecasts):
        _check_windows(manifest, one, forcing, state)
    serve = windows.complete & (state.valid_cells > 0)
    outside = np.zeros(bands_of(forcing), np.int64)
    if kept is not None:
        serve &= ~kept.cells
        outside = kept.outside(manifest, state, windows)
    with ExitStack() as stack:
        work = TileWork(
            manifest,
            _model(stack, forcing, bundle, state, sets),
            [_model(stack, forcing, one.bundle, one.state, [windows]) for one in members],
            odds,
            quantiles=bool(forecasts),
        )
        orders = _Orders(manifest, windows, sets, serve, bundle, [one.bundle for one in members])
        chosen = engine or LocalEngine(workers)
        done = chosen.run(work, (orders.of(tile) for tile in tiles_of(forcing, serve)))
        stack.callback(done.close)  # drops what has not begun
        names = ["stored", *(["low", "high"] if forecasts else [])]
        names += [*(["spread", "marks"] if members else []), *(["probability"] if odds else [])]
        yield from _assembled(region, done, names, kept, outside, on_tile)


def training_range_shares(state: SpatialState, manifest: Manifest, windows: WindowSet) -> RangeShares:
    """Return what of each forcing cell's factors and windows lies outside the training ranges."""
    valid = state.valid_cells.astype(np.float32)
    factors = np.full(len(valid), np.nan, np.float32)
    np.divide(state.outside_cells, valid, out=factors, where=valid > 0)
    outside = values_outside(manifest, windows)
    counts = np.count_nonzero(outside, axis=(1, 2)).astype(np.float32)
    # One more row: forcing cells without a window have corner -1.
    shares = np.append(counts / np.float32(outside[:1].size or 1), np.float32(np.nan))
    return RangeShares(factors, shares[windows.corner_rows].mean(axis=1, dtype=np.float32))


def known_cells(state: SpatialState, windows: WindowSet) -> npt.NDArray[np.int32]:
    """Return how many cells of each active forcing cell have a known class: int32 (n,)."""
    known = np.where(windows.complete, state.valid_cells, 0).astype(np.int32)
    for index, in_range in windows.partial.items():
        if known[index]:
            known[index] = ((state.flags(index, index + 1)[0] != NO_DATA) & in_range).sum()
    return known


class _Orders:
    """Writes the orders: runs temporal.onnx once on each window that is needed, and picks tiles' corners."""

    def __init__(
        self,
        manifest: Manifest,
        windows: WindowSet,
        sets: Sequence[WindowSet],
        serve: npt.NDArray[np.bool_],
        bundle: Bundle,
        members: Sequence[Bundle],
    ) -> None:
        self._windows, self._sets = windows, sets
        factored = manifest.kind == "factored"
        self._embedded = [_embedded(bundle, one, serve) for one in sets] if factored else []
        self._of_members = [_embedded(one, windows, serve) for one in members] if factored else []
        self._strange = _strange(manifest, sets)

    def of(self, tile: Tile) -> TileOrder:
        members, partial = tile.members, self._windows.partial
        rows = self._windows.corner_rows[members]
        return TileOrder(
            tile,
            self._strange[members],
            {number: partial[index] for number, index in enumerate(members.tolist()) if index in partial},
            tuple(
                embedded[one.corner_rows[members]]
                for embedded, one in zip(self._embedded, self._sets, strict=bool(self._embedded))
            ),
            tuple(embedded[rows] for embedded in self._of_members),
        )


def _embedded(bundle: Bundle, windows: WindowSet, serve: npt.NDArray[np.bool_]) -> FloatArray:
    """Return what temporal.onnx makes of the windows behind the forcing cells of `serve`: (m, D)."""
    needed = np.zeros(len(windows.windows), bool)
    needed[windows.corner_rows[serve]] = True
    embedded = np.full((len(needed), bundle.manifest.channels), np.nan, np.float32)
    embedded[needed] = bundle.temporal(windows.windows[needed])
    return embedded


def _model(
    stack: ExitStack, forcing: ForcingGrid, bundle: Bundle, state: SpatialState, sets: Sequence[WindowSet]
) -> Model:
    reader = stack.enter_context(state.reader())
    if bundle.manifest.kind == "factored":
        return Model(reader, CpuHead(bundle))
    runners = [WholeRunner(forcing, bundle, state, one) for one in sets]
    return Model(reader, whole=lambda members, known: [run(members, known) for run in runners])


def _assembled(
    region: Region,
    done: Iterable[TileResult],
    names: Sequence[str],
    kept: KeptValues | None,
    kept_outside: npt.NDArray[np.int64],
    on_tile: Callable[[], None] | None,
) -> Generator[LayerStrip, None, None]:
    """Put tiles, and what is kept, together to strips; `kept_outside` counts the latter's by band."""
    forcing, grid = region.forcing, region.grid
    height = forcing_cells_along(forcing.k) * forcing.k
    rasters: dict[str, npt.NDArray[Any]] = {}
    outside = 0
    for result in done:
        if on_tile is not None:
            on_tile()
        if not rasters:
            rasters = {name: _empty(name, forcing, height) for name in names}
            outside = int(kept_outside[result.tile.band])
            if kept is not None:
                kept.fill(result.tile.band, rasters)
        for name, blocks in result.blocks.items():
            _place(rasters[name], forcing, result.tile, blocks)
        outside += result.outside
        if result.tile.last:
            first = result.tile.band * height
            inside = {name: raster[: grid.height - first, : grid.width] for name, raster in rasters.items()}
            yield LayerStrip(
                first,
                inside["stored"],
                outside,
                np.stack([inside["spread"], inside["marks"]]) if "spread" in inside else None,
                inside.get("probability"),
                np.stack([inside["low"], inside["stored"], inside["high"]]) if "low" in inside else None,
            )
            rasters = {}


def _empty(name: str, forcing: ForcingGrid, height: int) -> npt.NDArray[Any]:
    shape = height, forcing.columns * forcing.k
    if name == "probability":
        return np.full(shape, np.nan, np.float32)
    return np.full(shape, NODATA, np.uint8)


def _place(strip: npt.NDArray[Any], forcing: ForcingGrid, tile: Tile, blocks: npt.NDArray[Any]) -> None:
    k, top = forcing.k, tile.band * forcing_cells_along(forcing.k)
    places = (forcing.active[tile.members] - (top, 0)) * k
    # One by one: a fancy index over all of them takes ten times as long.
    for (row, column), block in zip(places.tolist(), blocks.reshape(-1, k, k), strict=True):
        strip[row : row + k, column : column + k] = block


def _strange(manifest: Manifest, each: Sequence[WindowSet]) -> npt.NDArray[np.bool_]:
    """Return the forcing cells with a window outside the training ranges, bool (n,): in most of `each`."""
    counts = np.sum([windows_outside(manifest, one) for one in each], axis=0)
    return np.asarray(2 * counts > len(each))


def _check_windows(manifest: Manifest, windows: WindowSet, forcing: ForcingGrid, state: SpatialState) -> None:
    expected = (manifest.window_days, len(manifest.variables))
    names = tuple(spec.name for spec in manifest.variables)
    if windows.windows.shape[1:] != expected or windows.variables != names:
        raise BundleError(
            f"bundle {manifest.name} takes windows of {expected[0]} days of {', '.join(names)}; these have "
            f"{windows.windows.shape[1]} days of {', '.join(windows.variables)}"
        )
    counts = {len(forcing.active), len(windows.corner_rows), len(state.valid_cells)}
    if len(counts) != 1:
        raise StorageError(
            f"the region has {len(forcing.active)} forcing cells, the windows {len(windows.corner_rows)}, "
            f"the spatial state {len(state.valid_cells)}; they belong to different regions"
        )
