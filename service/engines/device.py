"""A graphics card: the head of many tiles in one run, the rest of each tile on this machine's threads.

The state is in the card's memory as stretches. Where it fits as a whole, a stretch stays there from layer to
layer, and holds the same tiles whatever is asked of it; where it does not, two are used in turn: while the
head runs over one, the next is read and copied by another thread.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import structlog

from service.bundle import Bundle
from service.device_head import DeviceHead, OutOfDeviceMemory, Stretch
from service.device_memory import DevicePlan, free_bytes, plan
from service.device_precision import Precision, decide
from service.errors import DeviceError
from service.region import ForcingGrid
from service.state import Block
from service.threads import in_order
from service.tile_work import Model, TileOrder, TileResult, TileWork
from service.tiles import tiles_of

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

log = structlog.get_logger()


@dataclass(frozen=True)
class _Ready:
    """A Head that has already run."""

    values: list[FloatArray]  # (m, k*k), one for each set of windows

    def run(self, blocks: Iterable[Block], corners: Sequence[FloatArray]) -> list[FloatArray]:  # noqa: ARG002
        return self.values


@dataclass(frozen=True)
class _Batch:
    """Orders whose state is in one stretch. `number` is the stretch's where it stays, None where not."""

    number: int | None
    orders: list[TileOrder]
    tiles: list[Indices]  # the forcing cells of the stretch, in the order in which they are in it

    def positions(self, wanted: Indices) -> npt.NDArray[np.int64]:
        """Return where in the stretch forcing cells lie."""
        here = np.concatenate(self.tiles)
        order = np.argsort(here, kind="stable")
        found = order[np.minimum(np.searchsorted(here, wanted, sorter=order), len(here) - 1)]
        if not np.array_equal(here[found], wanted):
            raise ValueError("an order names forcing cells without a valid cell")
        return found.astype(np.int64)


def open_device_engine(
    bundles: Sequence[Bundle],
    forcing: ForcingGrid,
    valid_cells: npt.NDArray[np.int32],
    *,
    precision: Precision,
    memory_gb: float | None,
    workers: int,
) -> DeviceEngine:
    """Return the engine of a graphics card for a bundle of kind `factored` and its members.

    `bundles` are loaded for the card; `valid_cells` (n,) of each active forcing cell. Each is proven in the
    precision that it is run in. Raises DeviceError where one fails, or nothing fits into the card's memory.
    """
    first = bundles[0]
    decisions = [decide(bundle, precision) for bundle in bundles]
    served = valid_cells > 0
    manifest = first.manifest
    planned = plan(
        int(served.sum()),
        manifest.forcing_cell,
        manifest.channels,
        len(bundles),
        free=free_bytes(first.device),
        given_gb=memory_gb,
    )
    log.info(
        "head on the graphics card",
        precision=[one.precision for one in decisions],
        reason=decisions[0].reason,
        forcing_cells_per_run=planned.per_run,
        memory=planned.reason,
    )
    heads = [
        DeviceHead(bundle, per_run=planned.per_run, half=one.half)
        for bundle, one in zip(bundles, decisions, strict=True)
    ]
    return DeviceEngine(heads, forcing, served, plan=planned, workers=workers)


class DeviceEngine:
    """Runs layers of one region and model; holds what it has put into the card's memory.

    One `run` at a time.
    """

    def __init__(
        self, heads: Sequence[DeviceHead], forcing: ForcingGrid, served: npt.NDArray[np.bool_], *,
        plan: DevicePlan, workers: int,
    ) -> None:  # fmt: skip
        """Plan the stretches; nothing is put into the card's memory before it is needed.

        `heads`: the model's, then those of its ensemble's members. `served` bool (n,): the forcing cells with
        a valid cell, outside of which no order may lie.
        """
        self._heads, self._plan, self._workers = heads, plan, workers
        self._resident = plan.resident
        self._stretches = list(_in_stretches(forcing, served, plan.per_run))
        self._stretch_of = np.full(len(forcing.active), -1, np.int64)
        for number, tiles in enumerate(self._stretches):
            self._stretch_of[np.concatenate(tiles)] = number
        self._kept: dict[tuple[int, int], Stretch] = {}  # by model and number
        self._turns: dict[tuple[int, int], Stretch] = {}  # by model and 0 or 1

    def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Generator[TileResult, None, None]:
        """Yield the results in order. Raises what TileWork.compute raises, and DeviceError."""
        if work.model.head is None:
            yield from in_order(work.compute, orders, self._workers, ahead=4 * max(1, self._workers))
            return
        with (
            ThreadPoolExecutor(max(1, self._workers), "device-read") as readers,
            ThreadPoolExecutor(1, "device") as loader,
            closing(self._with_heads(work, orders, loader, readers)) as ready,
            closing(in_order(_finish, ready, self._workers, ahead=4 * max(1, self._workers))) as done,
        ):
            yield from done

    def _with_heads(
        self, work: TileWork, orders: Iterable[TileOrder], loader: Executor, readers: Executor
    ) -> Generator[tuple[TileWork, TileOrder], None, None]:
        """Yield each order with a work whose heads have run."""
        models = [work.model, *work.members]
        if len(models) > len(self._heads):
            raise ValueError(f"{len(models)} models, and heads of {len(self._heads)}")
        batches = self._batches(orders)
        batch, turn = next(batches, None), 0
        loading = loader.submit(self._load, models, batch, turn, readers)
        while batch is not None:
            stretches = loading.result()
            following = next(batches, None)
            turn = 1 - turn
            loading = loader.submit(self._load, models, following, turn, readers)
            sets = [[order.corners for order in batch.orders]]
            sets += [[(order.member_corners[n],) for order in batch.orders] for n in range(len(work.members))]
            values = [
                self._compute(head, stretch, batch, each)
                for head, stretch, each in zip(self._heads, stretches, sets, strict=False)
            ]
            for number, order in enumerate(batch.orders):
                done = [
                    replace(model, head=_Ready(of[number])) for model, of in zip(models, values, strict=False)
                ]
                yield replace(work, model=done[0] if done else work.model, members=done[1:]), order
            batch = following

    def _batches(self, orders: Iterable[TileOrder]) -> Iterator[_Batch]:
        """Put orders together whose state is, or will be, in one stretch."""
        held: list[TileOrder] = []
        number: int | None = None
        count = 0
        for order in orders:
            members = order.tile.members
            if len(members):
                found = int(self._stretch_of[members[0]])
                full = found != number if self._resident else count + len(members) > self._plan.per_run
                if held and full and count:
                    yield self._batch(number, held)
                    held, count = [], 0
                number = found
                count += len(members)
            held.append(order)
        if held:
            yield self._batch(number, held)

    def _batch(self, number: int | None, orders: list[TileOrder]) -> _Batch:
        tiles = [order.tile.members for order in orders if len(order.tile.members)]
        if not self._resident or number is None or not tiles:
            return _Batch(None, orders, tiles)
        return _Batch(number, orders, self._stretches[number])

    def _load(
        self, models: Sequence[Model], batch: _Batch | None, turn: int, readers: Executor
    ) -> list[Stretch]:
        """Return a stretch of each model that holds the batch's state."""
        if batch is None or not batch.tiles:
            return []
        found = []
        for index, (head, model) in enumerate(zip(self._heads, models, strict=False)):
            if batch.number is None:
                found.append(self._streamed(index, head, model, batch, turn, readers))
                continue
            stretch = self._kept.get((index, batch.number))
            if stretch is None:
                try:
                    stretch = head.allocate(sum(map(len, batch.tiles)))
                    _fill(head, stretch, model, batch.tiles, readers)
                    self._kept[index, batch.number] = stretch
                except OutOfDeviceMemory:
                    # Others use the card as well, and may have come later.
                    log.warning("graphics card short of memory, the state is streamed from here on")
                    self._resident = False
                    self._kept.clear()
                    stretch = self._streamed(index, head, model, batch, turn, readers)
            found.append(stretch)
        return found

    def _streamed(
        self, index: int, head: DeviceHead, model: Model, batch: _Batch, turn: int, readers: Executor
    ) -> Stretch:
        count = sum(map(len, batch.tiles))
        stretch = self._turns.get((index, turn))
        try:
            if stretch is None or stretch.codes.shape()[0] < count:
                self._turns.pop((index, turn), None)
                stretch = self._turns[index, turn] = head.allocate(max(count, self._plan.per_run))
            _fill(head, stretch, model, batch.tiles, readers)
        except OutOfDeviceMemory as error:
            raise DeviceError(
                f"{error}; free memory on it ('nvidia-smi' says who holds it), lower "
                'inference.device_memory_gb, or set inference.device = "cpu"'
            ) from error
        return stretch

    def _compute(
        self, head: DeviceHead, stretch: Stretch, batch: _Batch, corners: Sequence[Sequence[FloatArray]]
    ) -> list[list[FloatArray]]:
        """Return susceptibility by order and set of windows."""
        counts = [len(order.tile.members) for order in batch.orders]
        pick = batch.positions(np.concatenate([order.tile.members for order in batch.orders]))
        ends = np.cumsum(counts)[:-1]
        by_set = [
            np.split(head.run(stretch, pick, np.concatenate(each)), ends)
            for each in zip(*(one for one, count in zip(corners, counts, strict=True) if count), strict=True)
        ]
        return [[values[number] for values in by_set] for number in range(len(batch.orders))]


def _finish(ready: tuple[TileWork, TileOrder]) -> TileResult:
    work, order = ready
    return work.compute(order)


def _fill(
    head: DeviceHead, stretch: Stretch, model: Model, tiles: Sequence[Indices], readers: Executor
) -> None:
    """Read tiles side by side and copy them to the device."""
    head.prepare(stretch)
    starts = np.cumsum([0, *map(len, tiles)]).tolist()

    def one_tile(first: int, members: Indices) -> None:
        head.stage(first, model.state.tile(members).blocks)

    for _ in readers.map(one_tile, starts, tiles):
        pass  # raises what a tile raised
    head.copy(stretch)


def _in_stretches(
    forcing: ForcingGrid, served: npt.NDArray[np.bool_], at_most: int
) -> Iterator[list[Indices]]:
    """Group a region's tiles, in order, into stretches of at most `at_most` forcing cells, or one tile."""
    held: list[Indices] = []
    for tile in tiles_of(forcing, served):
        if held and sum(map(len, held)) + len(tile.members) > at_most:
            yield held
            held = []
        if len(tile.members):
            held.append(tile.members)
    if held:
        yield held
