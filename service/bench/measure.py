"""The whole measurement: a region to measure on, the refresh, and what it is held against."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from exporters.cog import CLASSES, PROVENANCE, SUSCEPTIBILITY
from service.bench.beside import copy_beside
from service.bench.child import Answer, Place, Runner, run_child
from service.bench.limits import LimitSizes
from service.bench.meter import Cost
from service.bench.refreshes import MeasuredRun, TickingClock, layers_of
from service.bench.scene import ARID_DAY, NEWEST_DAY, NOW, SceneRequest, fresh, make_scene, share_state
from service.errors import UsageError
from service.files import sha256_file, write_json
from service.progress import ProgressCallback
from service.runtime import onnx_runtime
from service.settings import load_settings
from service.snapshot import READINGS, copy_database

# What is measured beside the refresh.
PARTS = ("parts", "naive", "dense", "xgboost", "arid", "limits")
_OTHERS = ("parts", "naive", "dense", "xgboost")  # in this order, in one process
_STATE_BUILT = "state-built.json"


@dataclass(frozen=True)
class BenchRequest:
    """What to measure, and where it may write."""

    folder: Path
    scene: SceneRequest | None  # None: the region of `config`
    config: Path | None = None
    workers: int = 1
    days: int = 3
    parts: frozenset[str] = frozenset(PARTS)
    postgis: str | None = None
    engine: str | None = None
    sample: int = 16_384  # cells of the naive run
    boosted_sample: int = 1_048_576
    arid_days: int = 3
    at_least_s: float = 3.0  # of each thing that is measured by itself
    limits: LimitSizes = field(default_factory=LimitSizes)


@dataclass(frozen=True)
class Measured:
    """All that was measured; None where it was left out, with the reason in `left_out`."""

    machine: Mapping[str, Any]
    region: Answer
    state: Cost | None
    state_earlier: bool  # the state was there, and is told of as it was measured when it was built
    run: MeasuredRun
    parts: Mapping[str, Answer]
    naive: Answer | None
    dense: Answer | None
    xgboost: Answer | None
    arid: Answer | None
    limits: Answer | None
    postgis: Answer | None
    left_out: Mapping[str, str]


def measure(
    request: BenchRequest, now: datetime, progress: ProgressCallback, run: Runner = run_child
) -> Measured:
    """Measure one region. `run` does each thing that is measured, in a process of its own.

    `now` is the moment for a given region; a synthetic one has its own. Raises what making, opening and
    refreshing a region raise, and UsageError for a folder that holds anything else.
    """
    steps = _Steps(progress, 7 if request.postgis is None else 8)
    place, arid = _place(request, now, steps)
    fresh(place.settings)
    steps.next()
    state, earlier, region = _open(request, place, run)
    fresh(place.settings)
    newest = NEWEST_DAY if request.scene else date.fromisoformat(region["newest_day"])
    days = [(newest - timedelta(days=back)).isoformat() for back in range(request.days - 1, -1, -1)]
    steps.next()
    refreshed = MeasuredRun.of_json(run("refresh", place, {"days": days}))
    steps.next()
    left_out = _left_out(request, region)
    wanted = request.parts - set(left_out)
    others = _others(request, place, [name for name in _OTHERS if name in wanted], run)
    steps.next()
    if others.get("xgboost") == {}:
        left_out["xgboost"] = "xgboost is not installed; it comes with: pip install 'colluvium[trainer]'"
    dry = _arid(place, arid, request.arid_days, run) if "arid" in wanted and arid is not None else None
    steps.next()
    limits = run("limits", place, {"sizes": asdict(request.limits)}) if "limits" in wanted else None
    steps.next()
    postgis = None
    if request.postgis is not None:
        shown = [str(date.fromisoformat(days[0]) - timedelta(days=1)), *days]
        postgis = run("postgis", place, {"dsn": request.postgis, "days": shown})
        steps.next()
    return Measured(
        machine=_machine(request, place),
        region=region,
        state=state,
        state_earlier=earlier,
        run=refreshed,
        parts=others.get("parts") or {},
        naive=others.get("naive"),
        dense=others.get("dense"),
        xgboost=others.get("xgboost") or None,
        arid=dry,
        limits=limits,
        postgis=postgis,
        left_out=left_out,
    )


def _others(request: BenchRequest, place: Place, names: Sequence[str], run: Runner) -> Answer:
    if not names:
        return {}
    said = {
        "names": names,
        "sample": request.sample,
        "boosted_sample": request.boosted_sample,
        "at_least_s": request.at_least_s,
    }
    return run("others", place, said)


class _Steps:
    def __init__(self, progress: ProgressCallback, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def next(self) -> None:
        self._done = min(self._done + 1, self._total)
        self._progress(self._done, self._total)

    def within(self, _: int, __: int) -> None:
        """Keep a bar alive while one step lasts."""
        self._progress(self._done, self._total)


def _place(request: BenchRequest, now: datetime, steps: _Steps) -> tuple[Place, Place | None]:
    """Return the region to measure and, of a synthetic one, the same one on arid days."""
    if request.scene is not None:
        scene = make_scene(request.folder, request.scene, steps.within)
        common = {"workers": request.workers, "now": NOW, "engine": request.engine}
        return Place(scene.config, None, **common), Place(scene.arid_config, None, **common)  # type: ignore[arg-type]
    if request.config is None:
        raise UsageError("a bench needs a region, or the size of a synthetic one")
    copy_beside(load_settings(request.config), request.folder)
    data = request.folder / "data"
    # What is kept of an earlier layer would flatter the figures; how much is a matter of the weather.
    place = Place(request.config, data, request.workers, now, keep_unchanged=False, engine=request.engine)
    return place, None


def _open(request: BenchRequest, place: Place, run: Runner) -> tuple[Cost | None, bool, Answer]:
    """Build the spatial state; return what that took, whether that was earlier, and what the region is.

    The cost is that of opening the region without the state, less that of opening it with.
    """
    told = request.folder / _STATE_BUILT
    if any((place.settings.data_dir / "state").glob("*/state.json")):
        kept = Cost.of_json(_read_json(told)) if told.exists() else None
        return kept, True, run("open", place, {})["region"]
    first = Cost.of_json(run("open", place, {})["cost"])
    opened = run("open", place, {})
    again = Cost.of_json(opened["cost"])
    built = Cost(
        max(first.seconds - again.seconds, 1e-9),
        max(first.cpu_s - again.cpu_s, 0.0),
        max(first.bytes_read - again.bytes_read, 0),
        max(first.bytes_written - again.bytes_written, 0),
        first.peak_rss_bytes,
    )
    write_json(told, built.to_json())
    return built, False, opened["region"]


def _read_json(path: Path) -> Answer:
    values: Answer = json.loads(path.read_text("utf-8"))
    return values


def _left_out(request: BenchRequest, region: Answer) -> dict[str, str]:
    found = {name: "not asked for" for name in PARTS if name not in request.parts}
    if request.scene is None:
        found["arid"] = "the weather of a given region is what it is"
    if region["bundle"]["kind"] != "factored":
        for name in ("parts", "naive", "dense"):
            found[name] = "the bundle has no factored graphs"
    return found


def _arid(place: Place, arid: Place, count: int, run: Runner) -> Answer:
    """Refresh days after which little has changed, once with what is kept and once without."""
    settings = arid.settings
    share_state(place.settings, settings)
    fresh(settings)
    full_dir = settings.data_dir.with_name("arid-full")
    shutil.rmtree(full_dir, ignore_errors=True)
    full_dir.mkdir(parents=True)
    copy_database(settings.data_dir / READINGS, full_dir / READINGS)
    full = replace(arid, data_dir=full_dir, keep_unchanged=False)
    share_state(place.settings, full.settings)
    days = [ARID_DAY + timedelta(days=number) for number in range(count)]
    said = {"days": [day.isoformat() for day in days]}
    runs = [MeasuredRun.of_json(run("refresh", one, said)) for one in (arid, full)]
    pairs = [[(day - timedelta(days=1)).isoformat(), day.isoformat()] for day in days]
    changed = run("changed", arid, {"pairs": pairs})["changed"]
    kept, computed = runs
    return {
        "seconds": kept.total.seconds,
        "full_seconds": computed.total.seconds,
        "cells_per_s": kept.days[0].cells / kept.total.seconds,
        "changed_share": max(changed),
        "identical": _same_files(arid, full, days),
        "cost": kept.total.to_json(),
        "stages": {name: cost.to_json() for name, cost in kept.stages.items()},
    }


def _same_files(left: Place, right: Place, days: Sequence[date]) -> bool:
    """Tell whether the rasters of each day are the same byte for byte."""
    pairs = zip(
        layers_of(left.settings, days, TickingClock(left.now)),
        layers_of(right.settings, days, TickingClock(right.now)),
        strict=True,
    )
    return all(
        sha256_file(one.folder / name) == sha256_file(other.folder / name)
        for one, other in pairs
        for name in (SUSCEPTIBILITY, CLASSES, PROVENANCE)
    )


def _machine(request: BenchRequest, place: Place) -> dict[str, Any]:
    runtime = onnx_runtime()
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "workers": request.workers,
        "engine": place.settings.engine.kind,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": runtime.__version__,
        "numpy": np.__version__,
        "colluvium": metadata.version("colluvium"),
    }


def _processor() -> str:
    lines = _first_lines(Path("/proc/cpuinfo"))
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _first_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
