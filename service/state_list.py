"""The spatial states of a region: which there are and what they take, building one ahead, removing some."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from service.bundle import Bundle, check_region, read_manifest
from service.engines.dask import DaskBuild, Shared, open_cluster
from service.ensemble import open_states
from service.errors import ColluviumError, UsageError
from service.factor_stack import FactorStack
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import ProgressCallback
from service.region import open_region
from service.serving import serving_path
from service.settings import Settings
from service.state import AHEAD, RECORD, whole_record
from service.state_keep import Kept, folder_bytes, kept_here, state_digests
from service.workshop import ledger_path, lock_path, open_stack

_SHORT = 16  # hex digits of a digest that name its folder


@dataclass(frozen=True)
class StateRow:
    """One state of a region."""

    digest: str  # the folder's name where it is damaged
    bundle: str  # that it was built for; empty where that was not noted
    cells: int  # with a value
    bytes: int  # on the disk
    stored: bool  # False: its records are recomputed for each layer
    in_use: bool  # by the bundle of the settings, or by that of the newest layer
    ahead: bool  # built ahead of a switch of bundle, so no refresh removes it
    damaged: bool
    built_at: datetime

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.digest if self.damaged else self.digest[:_SHORT]

    @property
    def bytes_per_cell(self) -> float | None:
        """None where no cell has a value."""
        return self.bytes / self.cells if self.cells else None

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return asdict(self) | {"bytes_per_cell": self.bytes_per_cell, "built_at": self.built_at.isoformat()}


def list_states(settings: Settings, clock: Callable[[], datetime]) -> list[StateRow]:
    """Return the states in the data folder, the newest first. Nothing is changed."""
    used = _used(settings, clock)
    folder = settings.data_dir / "state"
    places = [path for path in folder.glob("[!.]*") if path.is_dir()] if folder.is_dir() else []
    rows = [row for place in places if (row := _row(place, used)) is not None]
    return sorted(rows, key=lambda row: (row.built_at, row.digest), reverse=True)


def build_ahead(
    settings: Settings, bundle_path: Path | None, progress: ProgressCallback | None = None
) -> tuple[list[str], Kept]:
    """Build what the next refresh would build, for the settings' bundle or for another one.

    Returns the states' digests and whether they are stored. Holds the region's lock. A state of another
    bundle is marked, so that refreshes with the present one leave it. Raises what a refresh would: for the
    bundle, the factors, the disk, the lock.
    """
    workers = settings.inference.workers or os.cpu_count() or 1
    path = bundle_path or serving_path(settings)
    with exclusive(lock_path(settings), "colluvium state build"):
        region = open_region(settings)
        bundle = Bundle.load(path, workers=workers)
        check_region(bundle.manifest, settings.region.id, settings.bundle.allow_transfer)
        with (
            open_stack(settings, region) as stack,
            open_cluster(settings.engine, bundle, workers) as cluster,
        ):
            kept = kept_here(settings, region, stack, bundle.manifest)
            shared = Shared(region, stack, settings.inference.min_patch_observed, bundle)
            states = open_states(
                region,
                stack,
                bundle,
                settings.data_dir / "state",
                min_patch_observed=settings.inference.min_patch_observed,
                workers=workers,
                progress=progress,
                keep=kept.keep,
                build=partial(DaskBuild, cluster, shared) if cluster is not None else None,
            )
        for state in states:
            (state.folder / AHEAD).touch()
        return [state.digest for state in states], kept


def remove_states(
    settings: Settings, digest: str | None, clock: Callable[[], datetime], *, force: bool = False
) -> list[StateRow]:
    """Remove a state, named by the first digits of its digest, or (None) all that nothing uses; return them.

    Holds the region's lock. Those built ahead are removed by name alone; the one in use with `force`, and the
    next refresh builds it again. Raises UsageError where a name fits none, several, or one in use.
    """
    with exclusive(lock_path(settings), "colluvium state remove"):
        rows = list_states(settings, clock)
        if digest is None:
            chosen = [row for row in rows if not (row.in_use or row.ahead)]
        else:
            chosen = [_named(rows, digest)]
            if chosen[0].in_use and not force:
                raise UsageError(
                    f"the state {chosen[0].name} is in use; with --force it is removed all the "
                    "same, and the next refresh builds it again"
                )
        for row in chosen:
            place = settings.data_dir / "state" / row.name
            # A name that the next run sweeps up, should this one be killed on the way.
            doomed = place.with_name(f".{uuid4().hex[:12]}.part")
            place.rename(doomed)
            shutil.rmtree(doomed)
        return chosen


def prune_states(folder: Path, kept: Iterable[Path]) -> None:
    """Remove the states below `folder` but `kept` and those built ahead; one wanted again is rebuilt."""
    used = set(kept)
    for place in used:
        (place / AHEAD).unlink(missing_ok=True)
    for place in folder.iterdir():
        if place.is_dir() and place not in used and not (place / AHEAD).exists():
            shutil.rmtree(place)


def _named(rows: list[StateRow], digest: str) -> StateRow:
    exact = [row for row in rows if row.name == digest]
    fitting = exact or [row for row in rows if digest and row.digest.startswith(digest)]
    if len(fitting) != 1:
        there = ", ".join(row.name for row in rows) or "none"
        found = "several states begin" if fitting else "no state begins"
        raise UsageError(f"{found} with {digest!r}; there are: {there}")
    return fitting[0]


def _row(place: Path, used: set[str]) -> StateRow | None:
    """Return what a folder holds; None where a run removed it meanwhile."""
    record = whole_record(place)
    if record is not None and record.digest[:_SHORT] != place.name:
        record = None  # a copy under another name: no run finds it
    file = place / RECORD
    try:
        built = (file if file.exists() else place).stat().st_mtime
    except FileNotFoundError:
        return None
    digest = record.digest if record is not None else place.name
    return StateRow(
        digest=digest,
        bundle=record.bundle if record is not None else "",
        cells=record.valid_cells if record is not None else 0,
        bytes=folder_bytes(place),
        stored=record is not None and record.stored,
        in_use=digest in used,
        ahead=(place / AHEAD).exists(),
        damaged=record is None,
        built_at=datetime.fromtimestamp(built, UTC),
    )


def _used(settings: Settings, clock: Callable[[], datetime]) -> set[str]:
    """Return the digests that the settings' bundle, the bundle of the last run, and the newest layer need.

    What cannot be read needs none: a state is found by what it was made from, and that is then not there.
    """
    used: set[str] = set()
    bundles = [serving_path(settings, clock)]
    if ledger_path(settings).exists():
        with Ledger(ledger_path(settings), clock, make=False) as ledger:
            latest = ledger.latest()
            if latest is not None:
                used.add(ledger.basis(latest.id).get("state", ""))
            known = ledger.inputs.at("bundle", clock())
            if known is not None:
                bundles.append(known[1])
    for path in bundles:
        try:
            manifest, _ = read_manifest(path)
            region = open_region(settings)
            with FactorStack.open(settings.stack_path, region.grid) as stack:
                used.update(state_digests(region, stack, manifest, settings.inference.min_patch_observed))
        except (ColluviumError, OSError):
            continue
    return used
