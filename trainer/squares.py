"""Labelled squares of ground -> patches of terrain, each made from inside its own square and nothing else.

    read_squares(path) -> list[Square]
    square_patches(squares, dem, grid, names, patch) -> SquarePatches        the labelled ones
    complete_patches(squares, dem, grid, names, patch) -> CompletePatches    any
    neighbour_counts(squares), nodata_around(squares, dem, grid)             what leaks: never an input

Squares of May 2023 (Sen12Landslides) were cut around landslides, so where a square lies, whom it borders and
where its no-data lies gives the label away. What is learned from here is terrain from inside the square: the
factors are derived from a DEM that ends at the edge of the square; one whose patch is not complete is left
out, whatever its label.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from service.errors import InputError
from service.region import Grid
from trainer.factor_sources import RasterSource
from trainer.terrain import local_factors

SQUARE_M = 1280.0
# A square with a few landslide pixels is neither: only these two are taken.
POSITIVE_PIXELS = 50  # more than this many pixels of 10 m
_COLUMNS = ("patch_id", "left_x", "top_y", "landslide_pixels_10m")


@dataclass(frozen=True)
class Square:
    """One square of SQUARE_M a side, in the CRS of the region's grid."""

    id: str
    left: float
    top: float
    pixels: int  # of 10 m, mapped as landslide

    @property
    def centre(self) -> tuple[float, float]:
        """The square's centre, metres."""
        return self.left + SQUARE_M / 2, self.top - SQUARE_M / 2

    @property
    def label(self) -> int | None:
        """1 with more than POSITIVE_PIXELS, 0 with none, None in between."""
        return 1 if self.pixels > POSITIVE_PIXELS else 0 if self.pixels == 0 else None


@dataclass(frozen=True)
class SquarePatches:
    """Patches of n squares, in the order of the file, and how many squares were left out."""

    patches: npt.NDArray[np.float32]  # (n, C, P, P), physical units, complete
    label: npt.NDArray[np.int64]  # (n,)
    xy: npt.NDArray[np.float64]  # (n, 2) centres of the squares, metres: for blocks, never an input
    cell: npt.NDArray[np.int64]  # (n, 2) row and column of the patch's cell in the grid
    between: int  # squares with 1 to POSITIVE_PIXELS pixels
    incomplete: int  # squares without a complete patch on this grid
    ids: tuple[str, ...] = ()  # (n,) of the squares


@dataclass(frozen=True)
class CompletePatches:
    """Patches of the n squares that have a complete one."""

    rows: npt.NDArray[np.int64]  # (n,) rising, into the squares asked for
    patches: npt.NDArray[np.float32]  # (n, C, P, P), physical units
    xy: npt.NDArray[np.float64]  # (n, 2) centres of the squares, metres: for blocks, never an input
    cell: npt.NDArray[np.int64]  # (n, 2) row and column of the patch's cell in the grid


def read_squares(path: Path) -> list[Square]:
    """Read squares from a CSV with patch_id, left_x, top_y, landslide_pixels_10m.

    Raises InputError that names the file and line.
    """
    squares = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"squares {path} have no column {', '.join(missing)}")
            for row in reader:
                try:
                    left, top, pixels = float(row["left_x"]), float(row["top_y"]), int(row[_COLUMNS[3]])
                except (TypeError, ValueError) as error:
                    raise InputError(f"squares {path}, line {reader.line_num}: {error}") from error
                squares.append(Square(row["patch_id"], left, top, pixels))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"squares {path} cannot be read: {error}") from error
    return squares


def square_patches(
    squares: Sequence[Square], dem: Path, grid: Grid, names: Sequence[str], patch: int = 23
) -> SquarePatches:
    """Derive the factors `names` (of trainer.terrain.LOCAL_FACTORS) around each labelled square's centre.

    The DEM is read for the cells that lie wholly inside the square; the patch is the P x P cells around the
    cell that holds its centre. Raises InputError where no square gives a patch.
    """
    labelled = [square for square in squares if square.label is not None]
    found = complete_patches(labelled, dem, grid, names, patch)
    return SquarePatches(
        found.patches,
        np.array([labelled[row].label for row in found.rows], np.int64),
        found.xy,
        found.cell,
        between=len(squares) - len(labelled),
        incomplete=len(labelled) - len(found.rows),
        ids=tuple(labelled[row].id for row in found.rows),
    )


def complete_patches(
    squares: Sequence[Square], dem: Path, grid: Grid, names: Sequence[str], patch: int = 23
) -> CompletePatches:
    """Derive factors as `square_patches` does, for squares with and without a label.

    At 30 m a square of 1.28 km holds 41 or 42 cells a side, and what is derived from neighbours ends one cell
    before its edge: a patch of 39 fits every square. Raises InputError where no square gives a patch.
    """
    rows, patches, centres, cells = [], [], [], []
    with RasterSource("factors.dem", dem, grid, "continuous") as source:
        for number, square in enumerate(squares):
            inside = _inside(square, grid)
            centre = square.centre
            row = math.floor((grid.top - centre[1]) / grid.cell_size_m)
            column = math.floor((centre[0] - grid.left) / grid.cell_size_m)
            block = None if inside is None else _patch(source, inside, row, column, grid, names, patch)
            if block is not None:
                rows.append(number)
                patches.append(block)
                centres.append(centre)
                cells.append((row, column))
    if not patches:
        raise InputError(f"none of {len(squares)} squares has a complete patch on the grid of {dem}")
    return CompletePatches(
        np.array(rows, np.int64),
        np.stack(patches),
        np.array(centres, np.float64),
        np.array(cells, np.int64),
    )


def neighbour_counts(squares: Sequence[Square]) -> npt.NDArray[np.int64]:
    """Return how many of the eight squares around each were cut as well: int64 (n,), 0 to 8.

    All squares of a file lie on one lattice of SQUARE_M; a neighbour is there whatever its label.
    """
    taken = {(square.left, square.top) for square in squares}
    steps = [(x * SQUARE_M, y * SQUARE_M) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]
    return np.array(
        [sum((square.left + x, square.top + y) in taken for x, y in steps) for square in squares], np.int64
    )


def nodata_around(squares: Sequence[Square], dem: Path, grid: Grid) -> npt.NDArray[np.float32]:
    """Return the share of ground without elevation in the 3 x 3 squares around each: float32 (n,)."""
    side = round(3 * SQUARE_M / grid.cell_size_m)
    shares = []
    with RasterSource("factors.dem", dem, grid, "continuous") as source:
        for square in squares:
            row = math.floor((grid.top - square.top - SQUARE_M) / grid.cell_size_m)
            column = math.floor((square.left - SQUARE_M - grid.left) / grid.cell_size_m)
            top, bottom = max(row, 0), min(row + side, grid.height)
            left, right = max(column, 0), min(column + side, grid.width)
            known = 0
            if bottom > top and right > left:
                window = Window(left, top, right - left, bottom - top)
                known = int(np.isfinite(source.read(window)).sum())
            shares.append(1 - known / side**2)
    return np.array(shares, np.float32)


def _inside(square: Square, grid: Grid) -> Window | None:
    """Return the window of cells wholly inside the square, or None where the grid does not hold them."""
    size = grid.cell_size_m
    first_column = math.ceil((square.left - grid.left) / size)
    first_row = math.ceil((grid.top - square.top) / size)
    columns = math.floor((square.left + SQUARE_M - grid.left) / size) - first_column
    rows = math.floor((grid.top - square.top + SQUARE_M) / size) - first_row
    if first_row < 0 or first_column < 0:
        return None
    if first_row + rows > grid.height or first_column + columns > grid.width:
        return None
    return Window(first_column, first_row, columns, rows)


def _patch(
    source: RasterSource,
    inside: Window,
    row: int,
    column: int,
    grid: Grid,
    names: Sequence[str],
    patch: int,
) -> npt.NDArray[np.float32] | None:
    """Return float32 (C, P, P), or None where a value is missing."""
    factors = local_factors(source.read(inside), grid.cell_size_m, names)
    top, left = row - patch // 2 - int(inside.row_off), column - patch // 2 - int(inside.col_off)
    if min(top, left) < 0 or top + patch > inside.height or left + patch > inside.width:
        return None
    block = factors[:, top : top + patch, left : left + patch]
    return block if np.isfinite(block).all() else None
