"""A cluster of Dask workers: groups of tiles as tasks, results in order.

This machine runs temporal.onnx, writes the orders, puts the results together and writes the rasters; the
workers read the spatial state and run the heads, and build the state, with the very code that threads run
here. A few tasks for each worker's thread are under way at a time, so memory grows with the cluster and not
with the region.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from service.bundle import Bundle
from service.engines.dask_cluster import Cluster, versions_here
from service.engines.dask_running import Runner, Task
from service.engines.dask_tasks import (
    BuildProof,
    BuildRecipe,
    Computed,
    Ground,
    PackedOrders,
    Proof,
    Recipe,
    Source,
    made_digest,
)
from service.engines.dask_worker import build_group, compute_tiles
from service.errors import EngineError
from service.factor_stack import FactorStack
from service.patches import PatchReader
from service.region import ForcingGrid, Region
from service.settings_engine import EngineSettings
from service.state import SpatialState
from service.state_build import STATE, Members, TileMaker
from service.tile_work import TileOrder, TileResult, TileWork
from service.tiles import Tile, forcing_cells_along


@dataclass(frozen=True)
class Shared:
    """Where workers find what the work was opened from: the same paths, on a shared file system."""

    region: Region
    stack: FactorStack
    min_patch_observed: float
    bundle: Bundle

    @property
    def ground(self) -> Ground:
        """The region and its factors in words."""
        stack = Source(str(self.stack.path.absolute()), self.stack.digest)
        return Ground.of(self.region, stack, self.min_patch_observed)

    @property
    def bundle_source(self) -> Source:
        """The bundle's folder and digest."""
        return Source(str(self.bundle.folder.absolute()), self.bundle.digest)

    def recipe(self, work: TileWork, states: Sequence[SpatialState]) -> Recipe:
        """Return what a worker needs to make the same `work`."""
        return Recipe(
            versions=versions_here(),
            ground=self.ground,
            bundle=self.bundle_source,
            states=tuple(Source(str(state.folder.absolute()), state.digest) for state in states),
            odds=work.odds,
            quantiles=work.quantiles,
        )


class DaskEngine:
    """Computes tiles on a cluster. The layer is that of the local engine, byte for byte.

    Before a worker's results count it has computed one of the layer's tiles to the same bits as this process.
    """

    def __init__(self, cluster: Cluster, shared: Shared, states: Sequence[SpatialState]) -> None:
        """`states`: the main model's, then its members'."""
        self._cluster, self._shared, self._states = cluster, shared, states

    def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Generator[TileResult, None, None]:
        """Yield the results in order.

        Raises EngineError for a model of kind `whole`, for a cluster that cannot be used or fails; and what
        `compute` raises, with the tile and the worker named.
        """
        refuse_whole(self._shared.bundle)
        recipe = self._shared.recipe(work, self._states[: 1 + len(work.members)])
        forcing = self._shared.region.forcing

        def words(tiles: Sequence[Tile], number: int | None) -> str:
            return group_words([tile.members for tile in tiles if len(tile.members)], number, forcing)

        def tasks() -> Iterator[Task[Sequence[Tile]]]:
            proof: Proof | None = None
            for group in _groups(orders, self._cluster.settings.tiles_per_task):
                full = [order for order in group if len(order.tile.members)]
                if full and proof is None:
                    proof = Proof.of(full[0], work.compute(full[0]))
                arguments = (recipe, PackedOrders.of(full), proof) if full else None
                yield Task([order.tile for order in group], arguments)

        for tiles, found in Runner(self._cluster, compute_tiles, words).in_order(tasks()):
            yield from _results(tiles, found)


class DaskBuild:
    """Builds a spatial state on a cluster (service.state_build.BuildTiles)."""

    def __init__(self, cluster: Cluster, shared: Shared, bundle: Bundle, member: int) -> None:
        """`bundle` is the one to build for: that of `shared` (0), or its member of that number."""
        self._cluster, self._shared, self._bundle, self._member = cluster, shared, bundle, member

    def __call__(self, folder: Path, tiles: Sequence[Members]) -> Generator[int, None, None]:
        """Have every tile written into the files of `folder`; yield forcing cells done."""
        shared, stored = self._shared, (folder / STATE).exists()
        recipe = BuildRecipe(
            versions_here(),
            shared.ground,
            shared.bundle_source,
            self._member,
            str(folder.absolute()),
            stored,
        )
        if not tiles:
            return
        proof = self._proof(tiles, stored=stored)

        def words(group: Sequence[Members], number: int | None) -> str:
            return group_words(group, number, shared.region.forcing)

        size = max(1, self._cluster.settings.tiles_per_task // 4)
        tasks = (
            Task(group, (recipe, group, proof))
            for group in (tiles[start : start + size] for start in range(0, len(tiles), size))
        )
        for group, _ in Runner(self._cluster, build_group, words).in_order(tasks):
            yield sum(len(members) for members in group)

    def _proof(self, tiles: Sequence[Members], *, stored: bool) -> BuildProof:
        """Compute the first tile that has a valid cell."""
        shared, manifest = self._shared, self._bundle.manifest
        patches = PatchReader(shared.region, shared.stack, manifest, shared.min_patch_observed)
        maker = TileMaker(shared.region.forcing, patches, self._bundle if stored else None)
        both = ((members, maker.make(members)) for members in tiles)
        members, made = next((one for one in both if one[1].flags.any()), (tiles[0], maker.make(tiles[0])))
        return BuildProof(members, made_digest(made))


def open_cluster(
    settings: EngineSettings, bundle: Bundle, workers: int
) -> AbstractContextManager[Cluster | None]:
    """Return the cluster that the settings ask for, to be used as a context; None: this machine's threads.

    Raises EngineError for a bundle that workers cannot run.
    """
    if settings.kind == "local":
        return nullcontext()
    refuse_whole(bundle)
    return Cluster(settings, workers)


def refuse_whole(bundle: Bundle) -> None:
    """Raise EngineError for a bundle that workers cannot run."""
    if bundle.manifest.kind != "factored":
        raise EngineError(
            f"bundle {bundle.manifest.name} {bundle.manifest.version} is of kind 'whole', which only this "
            'machine\'s threads run; set engine.kind = "local"'
        )


def group_words(group: Sequence[Members], number: int | None, forcing: ForcingGrid) -> str:
    """Return where the tiles of a task lie, or (`number`) one of them."""
    if number is not None or len(group) == 1:
        return tile_words(group[number or 0], forcing)
    first, last = tile_words(group[0], forcing), tile_words(group[-1], forcing)
    return f"{len(group)} tiles from {first} to {last}"


def tile_words(members: Members, forcing: ForcingGrid) -> str:
    """Return where a tile lies: its band, its forcing cells and its cells, counted from 0."""
    places = forcing.active[members].astype(int)
    (top, left), (bottom, right) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    k = forcing.k
    return (
        f"the tile of band {top // forcing_cells_along(k)}, forcing cells in rows {top} to {bottom} and "
        f"columns {left} to {right} (cells in rows {top * k} to {bottom * k + k - 1} and columns {left * k} "
        f"to {right * k + k - 1})"
    )


def _results(tiles: Sequence[Tile], found: Computed | None) -> Iterator[TileResult]:
    computed = iter(found or ())
    for tile in tiles:
        if len(tile.members):
            blocks, outside = next(computed)
            yield TileResult(tile, blocks, outside)
        else:
            yield TileResult(tile)


def _groups(orders: Iterable[TileOrder], size: int) -> Iterator[list[TileOrder]]:
    """Yield the orders in groups with `size` tiles that hold a forcing cell; the last may have less."""
    group: list[TileOrder] = []
    full = 0
    for order in orders:
        group.append(order)
        full += len(order.tile.members) > 0
        if full == size:
            yield group
            group, full = [], 0
    if group:
        yield group
