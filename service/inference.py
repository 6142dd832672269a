"""Factored inference: windows and the spatial state -> strips of susceptibility, north to south.

temporal.onnx runs once for each distinct window, head_u8.onnx once for each forcing cell that has four
corner windows and a valid cell. One forcing cell at a time keeps all that the head touches in the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.companions import QUANTILE_BANDS
from exporters.layer import NODATA, Odds, store
from service.bundle import Bundle
from service.ensemble import Member, count_outside, marks_of, spread_of, values_outside, windows_outside
from service.errors import BundleError, StorageError
from service.manifest import Manifest
from service.patches import NO_DATA, Flags
from service.region import ForcingGrid, Region
from service.sequences import WindowSet
from service.state import Block, SpatialState, in_order
from service.whole_path import WholeRunner

FloatArray = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]
# Susceptibility, float32 (len(members), k*k), of active forcing cells.
Runner = Callable[[Indices, npt.NDArray[np.bool_]], FloatArray]

# Forcing cells between two looks at `on_tile`: about 5 ms of the head on one core.
_BATCH = 16


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
    batch: int = _BATCH,
) -> Iterator[tuple[int, Stored]]:
    """Yield (first row, stored susceptibility uint8 (rows, width)): `layer_strips` without anything beside.

    Raises what that raises.
    """
    with closing(
        layer_strips(region, state, bundle, windows, workers=workers, on_tile=on_tile, batch=batch)
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
    workers: int,
    on_tile: Callable[[], None] | None = None,
    batch: int = _BATCH,
) -> Generator[LayerStrip, None, None]:
    """Yield a layer's strips from north to south, k rows at a time.

    Unknown: outside the mask, patch not observed, no window, or out of a gauge's range. With `members` of an
    ensemble there is also the spread and what lies outside the training ranges; with `odds` the probability,
    from susceptibility as the model gave it. The strips are the same for every number of `workers` threads
    and every `batch` of forcing cells. Memory holds a few strips, whatever the height, and what each member
    makes of the windows. `on_tile` is called between batches and may raise.

    With `forecasts`, the windows of each member of a forecast, every one of them goes through the model, and
    susceptibility is the median of what comes out, cell by cell; `windows` then says where there is any.

    Raises BundleError when the windows are not the bundle's, StorageError when the state is cut short.
    """
    forcing, grid, manifest = region.forcing, region.grid, bundle.manifest
    for one in (windows, *forecasts):
        _check_windows(manifest, one, forcing, state)
    serve = windows.complete & (state.valid_cells > 0)
    strips = _Strips(forcing, state, windows)
    strange = _strange(manifest, forecasts or [windows])
    with ExitStack() as stack:
        runs = [_runner(stack, forcing, bundle, state, one) for one in forecasts or [windows]]
        others = [_runner(stack, forcing, one.bundle, one.state, windows) for one in members]

        def one_batch(task: _Task) -> _Task:
            if not len(task.members):
                return task
            flags = strips.flags(task.members)
            known = strips.known(task.members, flags)
            each = [run(task.members, known) for run in runs]
            susceptibility = each[0]
            if forecasts:
                low, susceptibility, high = _quantiles(each)
                task.blocks["low"], task.blocks["high"] = _stored(low, known), _stored(high, known)
            task.blocks["stored"] = _stored(susceptibility, known)
            task.outside = count_outside(manifest, flags, known, strange[task.members])
            if members:
                spread = spread_of(susceptibility, [other(task.members, known) for other in others])
                task.blocks["spread"] = _stored(spread, known)
                marks = marks_of(manifest, flags, strange[task.members])
                task.blocks["marks"] = np.where(known, marks, np.uint8(NODATA))
            if odds is not None:
                task.blocks["probability"] = np.where(known, odds.correct(susceptibility), np.float32(np.nan))
            return task

        done = in_order(one_batch, _tasks(forcing, serve, batch), workers, ahead=4 * max(1, workers))
        stack.callback(done.close)  # drops what has not begun
        names = ["stored", *(["low", "high"] if forecasts else [])]
        names += [*(["spread", "marks"] if members else []), *(["probability"] if odds else [])]
        rasters = {name: strips.empty(name) for name in names}
        outside = 0
        for task in done:
            if on_tile is not None:
                on_tile()
            for name, blocks in task.blocks.items():
                strips.place(rasters[name], task.members, blocks)
            outside += task.outside
            if task.last:
                first = task.row * forcing.k
                inside = {
                    name: raster[: grid.height - first, : grid.width] for name, raster in rasters.items()
                }
                yield LayerStrip(
                    first,
                    inside["stored"],
                    outside,
                    np.stack([inside["spread"], inside["marks"]]) if members else None,
                    inside.get("probability"),
                    np.stack([inside["low"], inside["stored"], inside["high"]]) if forecasts else None,
                )
                rasters = {name: strips.empty(name) for name in names}
                outside = 0


def training_range_shares(state: SpatialState, manifest: Manifest, windows: WindowSet) -> RangeShares:
    """Return what of each forcing cell's factors and windows lies outside the training ranges."""
    valid = state.valid_cells.astype(np.float32)
    factors = np.full(len(valid), np.nan, np.float32)
    np.divide(state.outside_cells, valid, out=factors, where=valid > 0)
    outside = values_outside(manifest, windows)
    # One more row: forcing cells without a window have corner -1.
    shares = np.append(outside.mean(axis=(1, 2), dtype=np.float32), np.float32(np.nan))
    return RangeShares(factors, shares[windows.corner_rows].mean(axis=1, dtype=np.float32))


def known_cells(state: SpatialState, windows: WindowSet) -> npt.NDArray[np.int32]:
    """Return how many cells of each active forcing cell have a known class: int32 (n,)."""
    known = np.where(windows.complete, state.valid_cells, 0).astype(np.int32)
    for index, in_range in windows.partial.items():
        if known[index]:
            known[index] = ((state.flags(index, index + 1)[0] != NO_DATA) & in_range).sum()
    return known


class _Task:
    """Some forcing cells of one row of forcing cells; `last` ends the row."""

    def __init__(self, row: int, members: Indices, *, last: bool) -> None:
        self.row, self.members, self.last = row, members, last
        self.blocks: dict[str, npt.NDArray[Any]] = {}  # (len(members), k*k) each, by what they say
        self.outside = 0  # known cells outside the training ranges


def _tasks(forcing: ForcingGrid, serve: npt.NDArray[np.bool_], batch: int) -> Iterator[_Task]:
    served = np.flatnonzero(serve)
    bounds = np.searchsorted(forcing.active[served, 0], np.arange(forcing.rows + 1))
    for row in range(forcing.rows):
        members = served[bounds[row] : bounds[row + 1]]
        # A row without any forcing cell still makes a strip.
        for start in range(0, max(1, len(members)), batch):
            last = start + batch >= len(members)
            yield _Task(row, members[start : start + batch], last=last)


class _Strips:
    """Knows which cells of a forcing cell count, and where its block lies in the strip."""

    def __init__(self, forcing: ForcingGrid, state: SpatialState, windows: WindowSet) -> None:
        self._forcing, self._state, self._partial = forcing, state, windows.partial

    def empty(self, name: str) -> npt.NDArray[Any]:
        shape = self._forcing.k, self._forcing.columns * self._forcing.k
        if name == "probability":
            return np.full(shape, np.nan, np.float32)
        return np.full(shape, NODATA, np.uint8)

    def flags(self, members: Indices) -> Flags:
        """Return the flags of forcing cells: uint8 (len(members), k*k)."""
        first, last = int(members[0]), int(members[-1]) + 1
        return self._state.flags(first, last)[members - first]

    def known(self, members: Indices, flags: Flags) -> npt.NDArray[np.bool_]:
        """Return the cells that are valid and in range: bool (len(members), k*k)."""
        known = flags != NO_DATA
        for number, index in enumerate(members.tolist()):
            if index in self._partial:
                known[number] &= self._partial[index]
        return np.asarray(known)

    def place(self, strip: npt.NDArray[Any], members: Indices, blocks: npt.NDArray[Any]) -> None:
        k = self._forcing.k
        view = strip.reshape(k, -1, k)
        view[:, self._forcing.active[members, 1]] = blocks.reshape(-1, k, k).transpose(1, 0, 2)


def _strange(manifest: Manifest, each: Sequence[WindowSet]) -> npt.NDArray[np.bool_]:
    """Return the forcing cells with a window outside the training ranges, bool (n,): in most of `each`."""
    counts = np.sum([windows_outside(manifest, one) for one in each], axis=0)
    return np.asarray(2 * counts > len(each))


def _quantiles(each: Sequence[FloatArray]) -> FloatArray:
    """Return QUANTILE_BANDS over members' outputs, linear between them: type 7 of Hyndman and Fan (1996)."""
    return np.asarray(np.quantile(np.stack(each), list(QUANTILE_BANDS.values()), axis=0), np.float32)


def _stored(values: FloatArray, known: npt.NDArray[np.bool_]) -> Stored:
    stored = store(values)
    stored[~known] = NODATA
    return stored


def _runner(
    stack: ExitStack, forcing: ForcingGrid, bundle: Bundle, state: SpatialState, windows: WindowSet
) -> Runner:
    if bundle.manifest.kind == "factored":
        return stack.enter_context(_HeadRunner(bundle, state, windows))
    return WholeRunner(forcing, bundle, state, windows)


class _HeadRunner:
    """Runs head_u8.onnx on the state, one forcing cell at a time; a context manager that owns the file."""

    def __init__(self, bundle: Bundle, state: SpatialState, windows: WindowSet) -> None:
        self._bundle = bundle
        self._size = state.record.k**2
        self._embedding = bundle.temporal(windows.windows)
        self._corner_rows = windows.corner_rows
        self._stack = ExitStack()
        self._file = self._stack.enter_context(state.opened())
        self._own = threading.local()

    def __enter__(self) -> Runner:
        return self.run

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, members: Indices, _: npt.NDArray[np.bool_]) -> FloatArray:
        """Return susceptibility of active forcing cells: float32 (len(members), k*k)."""
        block: Block | None = getattr(self._own, "block", None)
        if block is None:
            block = self._own.block = self._file.block()
        corners = self._embedding[self._corner_rows[members]]
        out = np.empty((len(members), self._size), np.float32)
        for number, index in enumerate(members.tolist()):
            self._file.read(index, block)
            out[number] = self._bundle.head_u8(
                block.codes, corners[number : number + 1], block.scale, block.offset
            )[0]
        return out


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
