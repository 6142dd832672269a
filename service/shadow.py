"""The last layers made again by this program, beside those on display, before anybody switches to it.

Each is made from the readings that were known when the one on display was made, with the settings, bundle and
factors of now: what differs is the work of the program, the model or the settings, never of a correction. The
ledger and the readings are copied, because a newer program would migrate them; all of it lies in a folder of
its own (`shadow/` in the data folder, where spatial states can be hard-linked), and is removed at the end.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from exporters.layer import Layer, ModelReference
from service.errors import BundleError, ColluviumError, HeldError, Outcome, StorageError, UsageError
from service.files import SHADOW
from service.layer_basis import FIXED, are_comparable, fixed_basis
from service.layer_counts import CHANGE_DAYS
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import ProgressCallback
from service.refresh import refresh
from service.refreshed import Stages
from service.serving import BUNDLES, serving_bundle
from service.settings import Settings
from service.shadow_compare import LayerDifference, compare_layers
from service.snapshot import LEDGER, READINGS, copy_database
from service.workshop import Workshop, open_workshop

SHADOWED = 7
_RUNS_READ = 10_000
# Stands in every folder that a shadow worked in, and in no other: what is beside it is ours to remove.
_LOCK = "shadow.lock"


@dataclass(frozen=True)
class ShadowReport:
    """What this program makes of the layers on display."""

    region: str
    program: str
    model: ModelReference
    model_before: ModelReference  # of the newest layer on display
    changed: tuple[str, ...]  # of FIXED: what is no longer what the newest layer was made from
    days: tuple[LayerDifference, ...]  # oldest first

    @property
    def same(self) -> bool:
        """Whether nobody would notice the switch."""
        return all(day.same for day in self.days)

    def to_json(self) -> dict[str, Any]:
        """Return what `shadow --json` prints."""
        return {
            "region": self.region,
            "program": self.program,
            "same": self.same,
            "model": self.model.model_dump(mode="json"),
            "model_before": self.model_before.model_dump(mode="json"),
            "changed": list(self.changed),
            "layers": [day.to_json() for day in self.days],
        }


def default_work(settings: Settings) -> Path:
    """Return the folder for it that a run does not sweep."""
    return settings.data_dir / SHADOW


def make_shadow(
    settings: Settings,
    settings_path: Path,
    clock: Callable[[], datetime],
    *,
    work: Path,
    days: int = SHADOWED,
    keep: bool = False,
    on_state: ProgressCallback | None = None,
    on_day: ProgressCallback | None = None,
) -> ShadowReport:
    """Make the newest `days` nowcasts on display again below `work`, and compare them with what is shown.

    A day that cannot be made is told with its reason and does not stop the next. With `keep`, the layers stay
    in `work` to be looked at.

    Raises HeldError where nothing is on display, StorageError where the copies do not fit, BundleError for a
    bundle that this program refuses, UsageError for a folder that a run would sweep or that holds anything
    else, LockedError beside another shadow.
    """
    data_dir = settings.data_dir
    inside = work.resolve() == data_dir.resolve() or data_dir.resolve() in work.resolve().parents
    if inside and work.resolve() != default_work(settings).resolve():
        raise UsageError(
            f"{work} lies in the data folder, where a run would sweep it up; leave out --work or name another"
        )
    if work.exists() and not inside and not (work / _LOCK).exists() and any(work.iterdir()):
        raise UsageError(
            f"{work} is not empty, and a shadow removes whatever is in its folder; name a new or an empty one"
        )
    with exclusive(work / _LOCK, "colluvium shadow"):
        _clear(work)
        try:
            _copy(data_dir, work)
            beside = _settings_beside(settings, work)
            with (
                Ledger(work / LEDGER, clock) as ledger,
                open_workshop(beside, settings_path, ledger, clock, progress=on_state) as shop,
            ):
                if shop.bundle.folder != serving_bundle(beside, ledger):
                    # A daemon would go on with the bundle in use, and a shadow of that would prove nothing.
                    raise BundleError("; ".join(shop.notes))
                return _make(shop, days, on_day)
        finally:
            if not keep:
                _clear(work)


def _make(shop: Workshop, days: int, on_day: ProgressCallback | None) -> ShadowReport:
    ledger = shop.ledger
    shown = _newest(ledger, days)
    if not shown:
        raise HeldError("there is no layer on display, so there is nothing to make again")
    newest = shown[-1]
    fixed, was = fixed_basis(shop), ledger.basis(newest.id)
    runs = [run for run in ledger.runs(_RUNS_READ, "refresh") if run.outcome == Outcome.PUBLISHED]
    spent = {run.layer_id: sum(run.seconds.values()) for run in runs}
    run_up: list[Layer] = []
    if not are_comparable(fixed, was):
        # Growth, and with it levels, needs days before that are of the same model.
        run_up = [layer for layer in _newest(ledger, days + max(CHANGE_DAYS)) if layer not in shown]
    found = []
    wanted = [*run_up, *shown]
    for number, layer in enumerate(wanted):
        difference = _again(shop, layer, spent.get(layer.id))
        if layer in shown:
            found.append(difference)
        if on_day is not None:
            on_day(number + 1, len(wanted))
    return ShadowReport(
        region=shop.region.id,
        program=importlib.metadata.version("colluvium"),
        model=shop.model,
        model_before=newest.model,
        changed=tuple(kind for kind in FIXED if fixed[kind] != was.get(kind)),
        days=tuple(found),
    )


def _again(shop: Workshop, layer: Layer, seconds_before: float | None) -> LayerDifference:
    """Make one layer as of the moment at which it was made, and let the copied ledger know it as that one."""
    stages = Stages(lambda _: None)
    then = replace(shop, as_of=layer.issued_at, clock=lambda: layer.issued_at)
    try:
        made = refresh(then, layer.day, stages).layer
    except StorageError:
        raise
    except ColluviumError as error:
        return LayerDifference(layer.day, layer.id, problem=f"it could not be made: {error}")
    if made is None:
        return LayerDifference(layer.day, layer.id, problem="it could not be made")
    basis = {**shop.ledger.basis(layer.id), **fixed_basis(shop)}
    _put_in_place(shop.ledger.path, layer, made, basis)
    try:
        return compare_layers(layer, made, sum(stages.seconds.values()), seconds_before)
    except OSError as error:  # rasterio's are OSErrors too
        return LayerDifference(layer.day, layer.id, problem=f"its files cannot be read: {error}")


def _newest(ledger: Ledger, count: int) -> list[Layer]:
    """Return the newest nowcasts shown whose files are kept, oldest first."""
    found: list[Layer] = []
    while len(found) < count:
        layer = ledger.latest(before=found[-1].day if found else None)
        if layer is None:
            break
        found.append(layer)
    return found[::-1]


def _put_in_place(ledger: Path, shown: Layer, made: Layer, basis: dict[str, str]) -> None:
    """Put it into the copy of the ledger as the layer that was shown: the next day grows from it."""
    layer = made.model_copy(update={"id": shown.id, "revision": shown.revision})
    record = layer.model_dump(mode="json", exclude={"hotspots"})
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute(
            "UPDATE layer SET digest = ?, record = ?, basis = ? WHERE id = ?",
            (layer.digest, json.dumps(record), json.dumps(basis), shown.id),
        )


# --- the folder beside ---


def _settings_beside(settings: Settings, work: Path) -> Settings:
    return settings.model_copy(
        update={
            "region": settings.region.model_copy(update={"data_dir": work}),
            "factors": settings.factors.model_copy(update={"stack": settings.stack_path}),
            "exporters": (),
        }
    )


def _copy(data_dir: Path, work: Path) -> None:
    """Copy the databases, point at the layers and rasters of the real folder, share its spatial states."""
    if not (data_dir / LEDGER).exists():
        raise HeldError(f"there is no ledger in {data_dir}, so there is nothing to make again")
    sources = [data_dir / name for name in (LEDGER, READINGS) if (data_dir / name).exists()]
    needed = sum(source.stat().st_size for source in sources)
    free = shutil.disk_usage(work).free
    if free < needed:
        raise StorageError(
            f"the copies of {', '.join(source.name for source in sources)} need {needed / 2**20:.0f} MiB, "
            f"and {work} has {free / 2**20:.0f} MiB free; free some, or name another folder with --work"
        )
    for source in sources:
        copy_database(source, work / source.name)
    for name in ("layers", "rasters", BUNDLES):
        if (data_dir / name).is_dir():
            (work / name).symlink_to((data_dir / name).resolve())
    for state in sorted((data_dir / "state").glob("*/state.json")):
        _share(state.parent, work / "state" / state.parent.name)


def _share(source: Path, target: Path) -> None:
    """Hard-link a spatial state: a run of the daemon may remove its own. Elsewhere it is made again."""
    target.mkdir(parents=True)
    try:
        for file in source.iterdir():
            os.link(file, target / file.name)
    except OSError:
        shutil.rmtree(target)


def _clear(work: Path) -> None:
    """Remove what a shadow left; of links to the real folder, the link alone."""
    for path in work.iterdir():
        if path.is_symlink() or not path.is_dir():
            if path.name != _LOCK:
                path.unlink()
        else:
            shutil.rmtree(path)
