"""Everything that a run needs, opened once and used for one day or for many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path

import structlog

from exporters.layer import ClassScheme, ModelReference
from service.bundle import Bundle, check_region
from service.engines.base import Engine
from service.engines.dask import DaskBuild, DaskEngine, Shared, open_cluster
from service.engines.dask_cluster import Cluster
from service.engines.device import DeviceEngine, open_device_engine
from service.ensemble import Member, open_members, open_states
from service.errors import BundleError, FactorError
from service.factor_stack import FactorStack
from service.forecast_bias import Compared, compare_rain
from service.history import recall, remember
from service.ledger import Ledger
from service.progress import ProgressCallback
from service.readings import Archive
from service.region import Region, open_region
from service.reservoirs import Reservoirs, lowest_in_stack, open_reservoirs
from service.runtime import chosen_device
from service.serving import serving_bundle
from service.settings import Settings
from service.state import SpatialState
from service.state_keep import kept_here

# Settings of inference that move no bit of a layer; one that is added may, until it stands here.
WITHOUT_EFFECT = ("workers", "keep_unchanged", "state", "state_disk_budget_gb", "device_memory_gb")

log = structlog.get_logger()


@dataclass(frozen=True)
class Workshop:
    """One region with its inputs open. Made by `open_workshop`, which also closes it."""

    settings: Settings
    region: Region
    stack: FactorStack
    bundle: Bundle
    state: SpatialState
    members: tuple[Member, ...]  # of the bundle's ensemble
    reservoirs: Reservoirs | None
    archive: Archive
    ledger: Ledger
    clock: Callable[[], datetime]
    as_of: datetime | None
    notes: tuple[str, ...]
    workers: int
    cluster: Cluster | None = None  # of Dask workers, where the settings ask for one

    @property
    def scheme(self) -> ClassScheme:
        """The class breaks: the region's, or the bundle's."""
        return self.settings.classes or self.bundle.manifest.classes

    @property
    def model(self) -> ModelReference:
        """Which bundle serves, and whether it may warn here."""
        manifest = self.bundle.manifest
        transferred = manifest.training.region != self.region.id
        return ModelReference(
            name=manifest.name,
            version=manifest.version,
            digest=self.bundle.digest,
            may_warn=manifest.may_warn and not transferred,
        )

    @cached_property
    def compared_rain(self) -> list[Compared]:
        """Past forecasts of rain and what came: the same for every lead of a run."""
        crs = self.region.grid.crs
        return compare_rain(self.settings, self.archive, crs, self.today, as_of=self.as_of)

    @property
    def engine(self) -> Engine | None:
        """Where tiles are computed; None: on this machine's threads. Raises what opening it raises."""
        if self.cluster is None:
            return self.device_engine
        states = self.state, *(member.state for member in self.members)
        return DaskEngine(self.cluster, _shared(self.settings, self.region, self.stack, self.bundle), states)

    @cached_property
    def device_engine(self) -> DeviceEngine | None:
        """The graphics card as an engine, with the state that its memory holds; None without one.

        Raises DeviceError where the card fails the proof, or has no room.
        """
        if self.bundle.device.name == "cpu" or self.bundle.manifest.kind == "whole":
            return None
        asked = self.settings.inference
        # What `members` hold is what a refresh runs; the proof wants every graph.
        members = [self.bundle.member(number) for number in self.bundle.manifest.member_numbers]
        return open_device_engine(
            [self.bundle, *members],
            self.region.forcing,
            self.state.valid_cells,
            precision=asked.precision,
            memory_gb=asked.device_memory_gb,
            workers=self.workers,
        )

    @property
    def today(self) -> date:
        """The calendar day in the region's time zone; in a replay, that of its moment."""
        return (self.as_of or self.clock()).astimezone(self.settings.timezone).date()


def ledger_path(settings: Settings) -> Path:
    """Where the ledger lies."""
    return settings.data_dir / "ledger.sqlite"


def archive_path(settings: Settings) -> Path:
    """Where the readings lie."""
    return settings.data_dir / "readings.sqlite"


def lock_path(settings: Settings) -> Path:
    """The lock that a refresh or an ingest holds."""
    return settings.data_dir / "lock"


@contextmanager
def open_workshop(
    settings: Settings,
    settings_path: Path,
    ledger: Ledger,
    clock: Callable[[], datetime],
    *,
    as_of: datetime | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[Workshop]:
    """Open a region's inputs, as they are or (`as_of`) as they were.

    The bundle is proven here. One that is refused leaves the one in use serving, with a note on the layers.
    """
    notes: list[str] = []
    if as_of is not None:
        recalled = recall(ledger, settings, settings_path, as_of)
        # Where it is computed, and whether the state is stored, is no input: the cluster of then may be gone,
        # and the state is the one that the next refresh needs.
        here = {name: getattr(settings.inference, name) for name in WITHOUT_EFFECT}
        inference = recalled.settings.inference.model_copy(update=here)
        settings = recalled.settings.model_copy(update={"engine": settings.engine, "inference": inference})
        notes += recalled.notes
    workers = settings.inference.workers or os.cpu_count() or 1
    with ExitStack() as stack:
        region = open_region(settings)
        factors = stack.enter_context(open_stack(settings, region))
        bundle, refusal = open_bundle(settings, ledger, workers, fall_back=as_of is None)
        if refusal is not None:
            notes.append(refusal)
        check_region(bundle.manifest, settings.region.id, settings.bundle.allow_transfer)
        if as_of is None:
            remember(ledger, settings, settings_path, factors.digest, bundle)
        cluster = stack.enter_context(open_cluster(settings.engine, bundle, workers))
        shared = _shared(settings, region, factors, bundle)
        states = open_states(
            region,
            factors,
            bundle,
            settings.data_dir / "state",
            min_patch_observed=settings.inference.min_patch_observed,
            workers=workers,
            progress=progress,
            keep=kept_here(settings, region, factors, bundle.manifest).keep,
            build=partial(DaskBuild, cluster, shared) if cluster is not None else None,
        )
        archive = stack.enter_context(Archive(archive_path(settings), clock))
        yield Workshop(
            settings=settings,
            region=region,
            stack=factors,
            bundle=bundle,
            state=states[0],
            members=open_members(bundle, states),
            reservoirs=reservoirs_of(settings, region, factors),
            archive=archive,
            ledger=ledger,
            clock=clock,
            as_of=as_of,
            notes=tuple(notes),
            workers=workers,
            cluster=cluster,
        )


def reservoirs_of(settings: Settings, region: Region, stack: FactorStack) -> Reservoirs | None:
    """Open the settings' reservoirs, if any, with the heights of the stack's elevation where it has one."""
    if settings.reservoirs is None:
        return None
    has_elevation = any(band.name == "elevation" for band in stack.bands)
    lowest = lowest_in_stack(stack, region) if has_elevation else None
    return open_reservoirs(settings.reservoirs, region, lowest)


def _shared(settings: Settings, region: Region, stack: FactorStack, bundle: Bundle) -> Shared:
    return Shared(region, stack, settings.inference.min_patch_observed, bundle)


def open_stack(settings: Settings, region: Region) -> FactorStack:
    """Open the settings' factor stack. Raises FactorError where it is missing or of another grid."""
    if not settings.stack_path.exists():
        raise FactorError(f"no factor stack at {settings.stack_path}; make it with 'colluvium factors'")
    return FactorStack.open(settings.stack_path, region.grid)


def open_bundle(
    settings: Settings, ledger: Ledger, workers: int, *, fall_back: bool
) -> tuple[Bundle, str | None]:
    """Load the bundle that serves, or (`fall_back`) the one in use where that is refused, and say why.

    That is the settings' one, or the one that was promoted in its place; in a replay, whose settings name the
    bundle of then, no promotion counts.

    Raises BundleError where neither can be used, DeviceError where `inference.device` cannot be had.
    """
    on_workers = settings.engine.kind == "dask"  # whose heads run on processors, and so does all beside them
    device = chosen_device("cpu" if on_workers else settings.inference.device)
    say = log.warning if device.fell_back else log.info
    say("inference", device=device.name, provider=device.provider, reason=device.reason)
    path = serving_bundle(settings, ledger) if fall_back else settings.bundle.path
    try:
        bundle = Bundle.load(path, workers=workers, device=device)
        check_region(bundle.manifest, settings.region.id, settings.bundle.allow_transfer)
        return bundle, None
    except BundleError as error:
        in_use = ledger.inputs.at("bundle", ledger.clock()) if fall_back else None
        if in_use is None or not in_use[1].exists():
            raise
        bundle = Bundle.load(in_use[1], workers=workers, device=device)
        log.error("bundle refused, the one in use stays", reason=str(error), in_use=bundle.manifest.name)
        return bundle, (
            f"the bundle at {path} was refused ({error}); "
            f"{bundle.manifest.name} {bundle.manifest.version} stays in use"
        )
