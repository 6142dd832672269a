"""The factored path against whole.onnx on real cells and windows, and what the layers said of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.layer import CLASS_LABELS, CLASS_NODATA, NODATA, ClassScheme, store
from service.bundle import Bundle
from service.errors import InputError
from service.inference import known_cells
from service.patches import NO_DATA
from service.region import ForcingGrid, Grid
from service.sequences import WindowSet
from service.state import Block, SpatialState
from service.whole_path import own_windows, susceptibility_of_cells
from trainer.inventory import Event

FloatArray = npt.NDArray[np.float32]
_NEAR_CELLS = 5  # a located event is looked for this many cells around its own


@dataclass(frozen=True)
class CellProof:
    """Factored graphs against whole.onnx on random cells of one layer, and the cost of node interpolation."""

    day: date
    cells: int
    largest_difference: float  # float path, each cell's own window in all four corner rows
    u8_largest_difference: float  # the same from the quantised state
    class_agreement: float  # share of cells with the class of whole.onnx, from the quantised state
    node_class_flips: int  # cells whose class changes when node embeddings are interpolated instead
    node_largest_difference: float


def prove_on_cells(
    forcing: ForcingGrid,
    state: SpatialState,
    bundle: Bundle,
    windows: WindowSet,
    scheme: ClassScheme,
    *,
    cells: int = 10_000,
    seed: int = 0,
) -> CellProof:
    """Compare on `cells` random cells among those that the layer of `windows.day` knows.

    Raises InputError where the layer knows fewer.
    """
    known = known_cells(state, windows)
    if known.sum() < cells:
        raise InputError(f"the layer of {windows.day} knows {int(known.sum())} cells, fewer than {cells}")
    random = np.random.default_rng(seed)
    drawn = np.sort(random.choice(int(known.sum()), cells, replace=False))
    before = np.concatenate([[0], np.cumsum(known)])
    at_nodes = bundle.temporal(windows.windows)
    found: dict[str, list[FloatArray]] = {"whole": [], "float": [], "u8": [], "node": []}
    with state.opened() as file:
        block = file.block()
        for index in np.flatnonzero(known).tolist():
            here = drawn[(drawn >= before[index]) & (drawn < before[index + 1])] - before[index]
            if not len(here):
                continue
            inside = state.flags(index, index + 1)[0] != NO_DATA
            if index in windows.partial:
                inside &= windows.partial[index]
            chosen = np.flatnonzero(inside)[here]
            file.read(index, block)
            _compare(forcing, state, bundle, windows, at_nodes, index, chosen, block, found)
    whole, exact, coded, nodes = (np.concatenate(found[name]) for name in ("whole", "float", "u8", "node"))
    of_whole, of_coded, of_nodes = (scheme.classify(store(value)) for value in (whole, coded, nodes))
    return CellProof(
        day=windows.day,
        cells=len(whole),
        largest_difference=float(np.abs(exact - whole).max()),
        u8_largest_difference=float(np.abs(coded - whole).max()),
        class_agreement=float((of_coded == of_whole).mean()),
        node_class_flips=int((of_nodes != of_coded).sum()),
        node_largest_difference=float(np.abs(nodes - coded).max()),
    )


def _compare(
    forcing: ForcingGrid,
    state: SpatialState,
    bundle: Bundle,
    windows: WindowSet,
    at_nodes: FloatArray,
    index: int,
    cells: npt.NDArray[np.intp],
    block: Block,
    found: dict[str, list[FloatArray]],
) -> None:
    """Add the susceptibility of some cells of one forcing cell by each way: float32 (c,) each."""
    k = forcing.k
    row, column = (forcing.active[index].astype(np.int64) * k).tolist()
    tile = state.patches.read(row, column, k, k)
    exact = bundle.spatial(tile.factors[None])[0].reshape(-1, k * k).T
    own = bundle.temporal(own_windows(windows, index, k, cells))
    corners = np.repeat(own[:, None], 4, axis=1)
    found["whole"].append(susceptibility_of_cells(forcing, state.patches, bundle, windows, index, cells))
    found["float"].append(
        np.array(
            [
                bundle.head(np.ascontiguousarray(exact)[None], corners[n : n + 1])[0, cell]
                for n, cell in enumerate(cells)
            ],
            np.float32,
        )
    )
    found["u8"].append(
        np.array(
            [
                bundle.head_u8(block.codes, corners[n : n + 1], block.scale, block.offset)[0, cell]
                for n, cell in enumerate(cells)
            ],
            np.float32,
        )
    )
    nodes = at_nodes[windows.corner_rows[index]][None]
    found["node"].append(bundle.head_u8(block.codes, nodes, block.scale, block.offset)[0, cells])


def hold_against_layers(
    events: Sequence[Event], layers: dict[date, Path], grid: Grid, located_m: float
) -> list[dict[str, Any]]:
    """Say what the layer of each event's day showed there.

    For an event known to `located_m` or better: the class of its cell, the highest class within 5 cells, and
    the share of the layer's cells with a lower index. For every event: the share of high and very high cells
    within the accuracy of its place, beside that of the whole layer.
    """
    found = []
    for event in events:
        folder = layers.get(event.day)
        said: dict[str, Any] = {
            "id": event.id,
            "day": event.day.isoformat(),
            "accuracy_m": event.accuracy_m,
            "layer": folder is not None,
        }
        if folder is not None:
            said |= _at_event(event, folder, grid, located_m)
        found.append(said)
    return found


def _at_event(event: Event, folder: Path, grid: Grid, located_m: float) -> dict[str, Any]:
    row, column = (int(value[0]) for value in grid.cells_at(np.array([event.x]), np.array([event.y])))
    susceptibility = folder / "susceptibility.tif"
    with rasterio.open(folder / "class.tif") as classes, rasterio.open(susceptibility) as index:
        reach = max(1, round(event.accuracy_m / grid.cell_size_m))
        around = _square(classes, grid, row, column, reach)
        rows, columns = np.ogrid[: around.shape[0], : around.shape[1]]
        first_row, first_column = max(0, row - reach), max(0, column - reach)
        disc = np.hypot(rows + first_row - row, columns + first_column - column) <= reach
        everything = classes.read(1)
        said: dict[str, Any] = {
            "known_cells_within_accuracy": int((around[disc] != CLASS_NODATA).sum()),
            "high_share_within_accuracy": _high_share(around[disc]),
            "high_share_of_layer": _high_share(everything),
        }
        if event.accuracy_m <= located_m:
            stored = index.read(1)
            inside = 0 <= row < grid.height and 0 <= column < grid.width
            here = int(stored[row, column]) if inside else NODATA
            near = _square(classes, grid, row, column, _NEAR_CELLS)
            known = stored[stored != NODATA]
            said |= {
                "class_of_cell": _label(int(everything[row, column]) if inside else CLASS_NODATA),
                "highest_class_within_5_cells": _label(int(near.max(initial=CLASS_NODATA))),
                "share_of_layer_below": None if here == NODATA else float((known < here).mean()),
            }
    return said


def _square(dataset: Any, grid: Grid, row: int, column: int, reach: int) -> npt.NDArray[np.uint8]:
    top, left = max(0, row - reach), max(0, column - reach)
    bottom, right = min(grid.height, row + reach + 1), min(grid.width, column + reach + 1)
    if bottom <= top or right <= left:
        return np.zeros((0, 0), np.uint8)
    return np.asarray(dataset.read(1, window=Window(left, top, right - left, bottom - top)))


def _high_share(classes: npt.NDArray[np.uint8]) -> float | None:
    known = classes[classes != CLASS_NODATA]
    return float((known >= 3).mean()) if known.size else None


def _label(code: int) -> str | None:
    return None if code == CLASS_NODATA else CLASS_LABELS[code - 1]
