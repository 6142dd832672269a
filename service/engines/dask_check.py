"""What `colluvium check` says of a cluster: scheduler, workers, versions, and what each of them sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal
from uuid import uuid4

from service.bundle import Bundle
from service.engines.dask import Shared, refuse_whole
from service.engines.dask_cluster import Cluster
from service.engines.dask_tasks import Look, Source
from service.engines.dask_worker import look_around
from service.errors import EngineError
from service.factor_stack import FactorStack
from service.region import Region
from service.settings import Settings
from service.state import whole_record
from service.state_keep import state_digests


def look_at_engine(
    settings: Settings, region: Region | None, bundle: Bundle | None
) -> tuple[Literal["ok", "warn", "fail"], str]:
    """Connect to the cluster of the settings, and have each worker look at the files that a refresh needs.

    Raises EngineError that names each worker with what it lacks, and what connecting raises.
    """
    if bundle is not None:
        refuse_whole(bundle)
    workers = settings.inference.workers or os.cpu_count() or 1
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(settings.engine, workers))
        threads = cluster.threads()
        probe = stack.enter_context(_probe(settings.data_dir))
        look = Look(probe, None, None, ())
        if region is not None and bundle is not None and settings.stack_path.exists():
            factors = stack.enter_context(FactorStack.open(settings.stack_path, region.grid))
            look = _look(probe, settings, region, factors, bundle)
        seen = cluster.run_everywhere(look_around, look)
    troubles = []
    for worker, found in sorted(seen.items()):
        words = [f"{type(found).__name__}: {found}"] if isinstance(found, BaseException) else found.troubles
        host = "" if isinstance(found, BaseException) else f" on {found.host}"
        troubles += [f"worker {worker}{host}: {one}" for one in words]
    if troubles:
        raise EngineError("; ".join(troubles))
    words = f"{cluster.name}: {len(threads)} workers with {sum(threads.values())} threads, the same versions"
    if look.ground is None:
        return "warn", f"{words}; what they see was not looked at: region, bundle or factors failed"
    state = "" if look.states else "; the spatial state is still to be built"
    return "ok", f"{words}, and all see bundle, factors and {settings.data_dir}{state}"


def _look(probe: Source, settings: Settings, region: Region, stack: FactorStack, bundle: Bundle) -> Look:
    least = settings.inference.min_patch_observed
    shared = Shared(region, stack, least, bundle)
    places = {
        digest: (settings.data_dir / "state" / digest[:16]).absolute()
        for digest in state_digests(region, stack, bundle.manifest, least)
    }
    states = [
        Source(str(place), digest)
        for digest, place in places.items()
        if whole_record(place, digest) is not None
    ]
    return Look(probe, shared.ground, shared.bundle_source, tuple(states))


@contextmanager
def _probe(folder: Path) -> Iterator[Source]:
    """A new file that workers can only see on a shared file system."""
    content = uuid4().hex
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f".probe-{content}").absolute()
    try:
        path.write_text(content, "utf-8")
        yield Source(str(path), content)
    finally:
        path.unlink(missing_ok=True)
