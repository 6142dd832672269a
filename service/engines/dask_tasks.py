"""What travels between Colluvium and the workers of a cluster: recipes, packed orders, results, failures.

These are pickled by distributed between its own processes; none of it is ever written to a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS

from exporters.layer import Odds
from service.errors import ColluviumError, RegionError
from service.region import ForcingGrid, Grid, Region, active_cells
from service.state_build import MadeTile, Members
from service.tile_work import TileOrder, TileResult

FloatArray = npt.NDArray[np.float32]
# What each tile of a task holds, and how many of its cells lie outside the training ranges.
Computed = list[tuple[Mapping[str, npt.NDArray[Any]], int]]


class Source(NamedTuple):
    """A folder or file on the shared file system, and the digest that it must have."""

    path: str
    digest: str


class Versions(NamedTuple):
    """What must be the same on every machine for the layer to be the same."""

    colluvium: str
    onnxruntime: str
    numpy: str
    python: str  # major.minor: functions are sent to the workers


@dataclass(frozen=True)
class Ground:
    """The region's cells and factors, as far as workers need them."""

    region: str
    crs: str  # WKT
    left: float
    top: float
    cell_size_m: float
    height: int
    width: int
    k: int
    forcing: str  # digest
    mask: Source
    stack: Source
    min_patch_observed: float

    @classmethod
    def of(cls, region: Region, stack: Source, min_patch_observed: float) -> Ground:
        """Describe a region and its factor stack."""
        grid = region.grid
        return cls(
            region=region.id,
            crs=grid.crs.to_wkt(),
            left=grid.left,
            top=grid.top,
            cell_size_m=grid.cell_size_m,
            height=grid.height,
            width=grid.width,
            k=region.forcing.k,
            forcing=region.forcing.digest,
            mask=Source(str(region.mask_path.absolute()), region.mask_digest),
            stack=stack,
            min_patch_observed=min_patch_observed,
        )

    def opened(self) -> Region:
        """Return the region without its zones. Raises RegionError where the mask is another one."""
        grid = Grid(CRS.from_wkt(self.crs), self.left, self.top, self.cell_size_m, self.height, self.width)
        mask = Path(self.mask.path)
        try:
            forcing = ForcingGrid(grid, self.k, active_cells(mask, self.k))
        except rasterio.errors.RasterioIOError as error:
            raise RegionError(f"the mask {mask} cannot be read: {error}") from error
        if forcing.digest != self.forcing:
            raise RegionError(
                f"the mask at {mask} makes forcing cells of digest {forcing.digest[:16]}…, on the "
                f"machine that runs the refresh {self.forcing[:16]}…; both must see the same files under "
                "the same path"
            )
        return Region(self.region, grid, forcing, mask, mask, (), self.mask.digest, "")


@dataclass(frozen=True)
class Recipe:
    """What a worker opens once and keeps: the model, its states, what the layer shall hold."""

    versions: Versions
    ground: Ground
    bundle: Source
    states: tuple[Source, ...]  # the main model's, then those of the members that are shown
    odds: Odds | None
    quantiles: bool


@dataclass(frozen=True)
class BuildRecipe:
    """What a worker opens to build a spatial state."""

    versions: Versions
    ground: Ground
    bundle: Source
    member: int  # of the bundle's ensemble; 0: the main model
    folder: str  # where the state's files were begun
    stored: bool  # with records, not flags and counts alone


@dataclass(frozen=True)
class PackedOrders:
    """The orders of a task. Corner rows that forcing cells share travel once."""

    orders: tuple[TileOrder, ...]  # without corners
    corners: tuple[tuple[FloatArray, npt.NDArray[np.int32]], ...]  # rows (u, D) and their numbers (m, 4)
    member_corners: tuple[tuple[FloatArray, npt.NDArray[np.int32]], ...]

    @classmethod
    def of(cls, orders: Sequence[TileOrder]) -> PackedOrders:
        """Pack orders that have a forcing cell each."""
        return cls(
            tuple(replace(order, corners=(), member_corners=()) for order in orders),
            tuple(_shared(rows) for rows in zip(*(order.corners for order in orders), strict=True)),
            tuple(_shared(rows) for rows in zip(*(order.member_corners for order in orders), strict=True)),
        )

    def unpacked(self) -> list[TileOrder]:
        """Return the orders as they were."""
        found, start = [], 0
        for order in self.orders:
            part = slice(start, start + len(order.tile.members))
            start = part.stop
            found.append(
                replace(
                    order,
                    corners=tuple(rows[numbers[part]] for rows, numbers in self.corners),
                    member_corners=tuple(rows[numbers[part]] for rows, numbers in self.member_corners),
                )
            )
        return found


@dataclass(frozen=True)
class Proof:
    """A tile of a layer, computed by Colluvium itself: a worker must come to the same bits first."""

    order: PackedOrders
    digest: str

    @classmethod
    def of(cls, order: TileOrder, result: TileResult) -> Proof:
        """Make a proof of a tile that has a forcing cell."""
        return cls(PackedOrders.of([order]), result_digest(result))


@dataclass(frozen=True)
class BuildProof:
    """A tile of a state, likewise."""

    members: Members
    digest: str


@dataclass(frozen=True)
class Failure:
    """Why a task failed, in words that name the worker."""

    kind: type[ColluviumError]
    words: str
    worker: str
    number: int | None = None  # of the tile in its task; None: the worker could not take part at all


class TaskFailed(Exception):
    """Brings a Failure from a worker."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True)
class Look:
    """What a worker is asked to look at: a file made just now with its content, and what there is to run."""

    probe: Source
    ground: Ground | None
    bundle: Source | None
    states: tuple[Source, ...]


@dataclass(frozen=True)
class Seen:
    """What a worker lacks, in words."""

    host: str
    troubles: tuple[str, ...]


def result_digest(result: TileResult) -> str:
    """Return the SHA-256 of all that a tile holds."""
    sha = hashlib.sha256(str(result.outside).encode())
    for name, values in sorted(result.blocks.items()):
        sha.update(f"{name} {values.dtype} {values.shape}".encode())
        sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()


def made_digest(made: MadeTile) -> str:
    """Return the SHA-256 of a tile's state as the graph gives it."""
    sha = hashlib.sha256(np.ascontiguousarray(made.flags).data)
    for values in made.values or ():
        sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()


def _shared(parts: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Return the distinct rows (u, D) of arrays (m, 4, D), and each row's number among them (sum m, 4)."""
    rows = np.ascontiguousarray(np.concatenate(parts).reshape(-1, parts[0].shape[2]))
    words = rows.view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64) | np.uint64(1)
    _, first, numbers = np.unique(words @ odd, return_index=True, return_inverse=True)
    if not np.array_equal(words[first][numbers], words):
        first, numbers = np.arange(len(rows)), np.arange(len(rows))  # two rows with one sum
    return rows[first], numbers.reshape(-1, 4).astype(np.int32)
