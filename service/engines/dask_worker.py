"""What runs on a worker of a cluster: open a recipe once, prove it, do the tiles of a task.

Nothing here knows how a tile is computed: that is service.tile_work and service.state_build, as on one
machine.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from service.bundle import Bundle, read_manifest
from service.engines.dask_cluster import distributed_library, versions_here
from service.engines.dask_tasks import (
    BuildProof,
    BuildRecipe,
    Computed,
    Failure,
    Ground,
    Look,
    PackedOrders,
    Proof,
    Recipe,
    Seen,
    Source,
    TaskFailed,
    Versions,
    made_digest,
    result_digest,
)
from service.errors import BundleError, ColluviumError, EngineError, FactorError, StorageError
from service.factor_stack import FactorStack
from service.head import CpuHead
from service.patches import PatchReader
from service.region import ForcingGrid, Region
from service.state import open_state, whole_record
from service.state_build import FLAGS, STATE, Members, TileMaker, build_tiles
from service.tile_work import Model, TileWork

Plan = TypeVar("Plan")
Work = TypeVar("Work")

_AHEAD = 2  # tiles whose state is read from the disk while one is computed
_KEPT = 2  # recipes: the one before may still have tasks running


@dataclass
class _Opened(Generic[Work]):
    work: Work
    lock: threading.Lock = field(default_factory=threading.Lock)
    proven: set[str] = field(default_factory=set)


class _Shelf(Generic[Plan, Work]):
    """What was opened last, by recipe; opened once, however many threads ask."""

    def __init__(self, opening: Callable[[Plan], Work]) -> None:
        self._opening, self._lock = opening, threading.Lock()
        self._kept: OrderedDict[Plan, _Opened[Work]] = OrderedDict()

    def get(self, plan: Plan, digest: str, prove: Callable[[Work], str]) -> Work:
        """Return what a recipe stands for, once `prove` has given the proof's digest here."""
        with self._lock:
            opened = self._kept.get(plan)
            if opened is None:
                opened = self._kept[plan] = _Opened(self._opening(plan))
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(plan)
        with opened.lock:
            if digest not in opened.proven:
                _compare(prove(opened.work), digest)
                opened.proven.add(digest)
        return opened.work


@dataclass(frozen=True)
class _Site:
    """What a state is built with."""

    forcing: ForcingGrid
    patches: PatchReader
    bundle: Bundle
    stored: bool


def compute_tiles(recipe: Recipe, packed: PackedOrders, proof: Proof) -> Computed:
    """Return what each tile holds. Raises TaskFailed that names the worker, and the tile where it is one."""

    def prove(work: TileWork) -> str:
        return result_digest(work.compute(proof.order.unpacked()[0]))

    with _told(None):
        work = _works.get(recipe, proof.digest, prove)
        orders = packed.unpacked()
    found: Computed = []
    for number, order in enumerate(orders):
        with _told(number):
            for later in orders[number + 1 : number + 1 + _AHEAD]:
                work.expect(later)
            result = work.compute(order)
        found.append((result.blocks, result.outside))
    return found


def build_group(recipe: BuildRecipe, group: Sequence[Members], proof: BuildProof) -> None:
    """Write the state of some tiles into the files of the recipe's folder. Raises TaskFailed, likewise."""

    def prove(site: _Site) -> str:
        maker = TileMaker(site.forcing, site.patches, site.bundle if site.stored else None)
        return made_digest(maker.make(proof.members))

    with _told(None):
        site = _sites.get(recipe, proof.digest, prove)
    for number, members in enumerate(group):
        with _told(number):
            folder = Path(recipe.folder)
            for _ in build_tiles(site.forcing, site.patches, site.bundle, folder, [members]):
                pass


def look_around(look: Look) -> Seen:
    """Return what this worker lacks of what a run needs; nothing is loaded, the worker goes on meanwhile."""
    troubles = []

    def see(action: Callable[[], object]) -> None:
        try:
            action()
        except (ColluviumError, OSError) as error:
            troubles.append(str(error))

    def probe() -> None:
        path = Path(look.probe.path)
        if path.read_text("utf-8") != look.probe.digest:
            raise StorageError(f"{path} is another file than the one made there just now")
        if not os.access(path.parent, os.W_OK):
            raise StorageError(f"{path.parent} cannot be written to, which building a state needs")

    def stack(ground: Ground) -> None:
        with FactorStack.open(Path(ground.stack.path), ground.opened().grid) as factors:
            _check(ground.stack, factors.digest, FactorError, "the factor stack")

    def state(source: Source) -> None:
        if whole_record(Path(source.path), source.digest) is None:
            raise StorageError(_no_state(source))

    see(probe)
    if look.bundle is not None:
        bundle = look.bundle
        see(lambda: _check(bundle, read_manifest(Path(bundle.path))[1], BundleError, "the bundle"))
    if look.ground is not None:
        ground = look.ground
        see(lambda: stack(ground))
    for source in look.states:
        see(partial(state, source))
    return Seen(socket.gethostname(), tuple(troubles))


def _open_work(recipe: Recipe) -> TileWork:
    """Open a recipe's files, each checked against its digest."""
    with ExitStack() as stack:
        region, factors, bundle = _open_ground(recipe.versions, recipe.ground, recipe.bundle, stack)
        patches = PatchReader(region, factors, bundle.manifest, recipe.ground.min_patch_observed)
        models = []
        for number, source in enumerate(recipe.states):
            one = bundle.member(number, ("spatial.onnx", "head_u8.onnx")) if number else bundle
            folder = Path(source.path)
            state = open_state(folder.parent, source.digest, patches, region.forcing, one)
            if state is None:
                raise StorageError(_no_state(source))
            models.append(Model(stack.enter_context(state.reader()), CpuHead(one)))
        work = TileWork(bundle.manifest, models[0], models[1:], recipe.odds, recipe.quantiles)
        # A task may still run with a recipe that is no longer kept: its files are closed after it.
        weakref.finalize(work, stack.pop_all().close)
        return work


def _open_site(recipe: BuildRecipe) -> _Site:
    with ExitStack() as stack:
        region, factors, bundle = _open_ground(recipe.versions, recipe.ground, recipe.bundle, stack)
        if recipe.member:
            bundle = bundle.member(recipe.member, ("spatial.onnx",))
        folder = Path(recipe.folder)
        if not (folder / FLAGS).exists() or (folder / STATE).exists() != recipe.stored:
            raise StorageError(
                f"{folder}, where a spatial state was begun, looks otherwise from here; workers need the "
                "region's data folder under the same path, and leave to write there"
            )
        patches = PatchReader(region, factors, bundle.manifest, recipe.ground.min_patch_observed)
        site = _Site(region.forcing, patches, bundle, recipe.stored)
        weakref.finalize(site, stack.pop_all().close)
        return site


def _open_ground(
    versions: Versions, ground: Ground, source: Source, stack: ExitStack
) -> tuple[Region, FactorStack, Bundle]:
    if versions_here() != versions:
        raise EngineError(
            f"it has {', '.join(versions_here())} (Colluvium, onnxruntime, NumPy, Python), the machine that "
            f"runs the refresh {', '.join(versions)}; start it from the same image"
        )
    bundle = Bundle.load(Path(source.path), prove=False)
    _check(source, bundle.digest, BundleError, "the bundle")
    region = ground.opened()
    factors = stack.enter_context(FactorStack.open(Path(ground.stack.path), region.grid))
    _check(ground.stack, factors.digest, FactorError, "the factor stack")
    return region, factors, bundle


def _no_state(source: Source) -> str:
    return (
        f"no whole spatial state of digest {source.digest[:16]}… at {source.path}; workers need the region's "
        "data folder under the same path"
    )


def _check(source: Source, found: str, kind: type[ColluviumError], what: str) -> None:
    if found != source.digest:
        raise kind(
            f"{what} at {source.path} has the digest {found[:16]}…, on the machine that runs the refresh "
            f"{source.digest[:16]}…; both must see the same files under the same path"
        )


def _compare(found: str, expected: str) -> None:
    if found != expected:
        raise EngineError(
            f"a tile computed here has the digest {found[:16]}…, on the machine that runs the refresh "
            f"{expected[:16]}…: this processor rounds differently, or the files differ. Use machines of one "
            "kind for one layer (docs/dask.md), or take this one out"
        )


@contextmanager
def _told(number: int | None) -> Iterator[None]:
    """Turn what is raised into a TaskFailed that names this worker and the tile of that number."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the run's machine decides what it means
        kind: type[ColluviumError] = EngineError
        words = " ".join(str(error).split()) or "no reason given"
        if isinstance(error, ColluviumError):
            kind = type(error)
        elif isinstance(error, OSError):
            kind = StorageError
        else:
            words = f"{type(error).__name__}: {words}"
        worker = f"{_address()} on {socket.gethostname()}"
        # Without its cause, which another process may not be able to unpickle.
        raise TaskFailed(Failure(kind, words, worker, number)) from None


def _address() -> str:
    return str(distributed_library().get_worker().address)


_works = _Shelf(_open_work)
_sites = _Shelf(_open_site)
