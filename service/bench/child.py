"""Measuring in processes of their own: what one takes must not count in the memory of another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from exporters.layer import Layer
from service import errors
from service.bench import refreshes
from service.bench.beside import settings_beside
from service.bench.limits import LimitSizes, measure_limits
from service.bench.meter import Meter
from service.errors import ColluviumError, StorageError
from service.layer_windows import default_day, windows_of
from service.ledger import Ledger
from service.logs import configure_logging, take_over_logging
from service.progress import progress_bar
from service.settings import Settings, load_settings
from service.workshop import Workshop, ledger_path, open_workshop

Answer = dict[str, Any]
# Does a task at a place and returns its answer: `run_child`, or a test's own.
Runner = Callable[[str, "Place", Mapping[str, Any]], Answer]
# Libraries that would take every core, whatever number of threads is being measured.
_END_WITHIN_S = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Place:
    """Which region, with how much of the machine. `data_dir`: instead of the settings' own."""

    config: Path
    data_dir: Path | None
    workers: int
    now: datetime
    keep_unchanged: bool = True
    engine: str | None = None

    def to_json(self) -> Answer:
        """Return it by field."""
        return {
            "config": str(self.config),
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "workers": self.workers,
            "now": self.now.isoformat(),
            "keep_unchanged": self.keep_unchanged,
            "engine": self.engine,
        }

    @classmethod
    def of_json(cls, values: Answer) -> Place:
        """Read what `to_json` wrote."""
        return cls(
            Path(values["config"]),
            Path(values["data_dir"]) if values["data_dir"] else None,
            values["workers"],
            datetime.fromisoformat(values["now"]),
            values["keep_unchanged"],
            values["engine"],
        )

    @property
    def settings(self) -> Settings:
        """The settings that are measured."""
        settings = load_settings(self.config)
        if self.data_dir is not None:
            settings = settings_beside(settings, self.data_dir)
        given = {"workers": self.workers, "keep_unchanged": self.keep_unchanged}
        changed = {"inference": settings.inference.model_copy(update=given)}
        if self.engine is not None:
            kind = {"kind": self.engine}
            changed["engine"] = settings.engine.model_copy(update=kind)  # type: ignore[assignment]
        return settings.model_copy(update=changed)


def run_child(task: str, place: Place, request: Mapping[str, Any]) -> Answer:
    """Measure in a process of its own and return its answer. Raises what the measuring raises."""
    with tempfile.TemporaryDirectory(prefix="colluvium-bench-") as name:
        asked, answered = Path(name) / "request.json", Path(name) / "answer.json"
        said = {"task": task, "place": place.to_json(), "request": dict(request)}
        asked.write_text(json.dumps(said), "utf-8")
        environment = os.environ | {variable: str(place.workers) for variable in _THREADS}
        process = subprocess.Popen(
            [sys.executable, "-m", "service.bench", str(asked), str(answered)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _is_open(sys.stderr) else subprocess.DEVNULL,
            env=environment,
        )
        try:
            process.wait()
        finally:
            end(process)
        if not answered.exists():
            raise StorageError(
                f"measuring {task} ended with status {process.returncode} and no answer; was there "
                "too little memory? Try it with fewer --cells"
            )
        answer: Answer = json.loads(answered.read_text("utf-8"))
    if "error" in answer:
        kind = getattr(errors, answer["error"]["kind"], ColluviumError)
        raise kind(answer["error"]["message"])
    return answer


def end(process: subprocess.Popen[bytes], within_s: float = _END_WITHIN_S) -> None:
    """End a child that still runs: let it remove what it made, such as a database on a server; else kill it.

    A terminal's Ctrl-C has reached it already, a signal to this process alone has not.
    """
    for asked in (None, signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        if asked is not None:
            process.send_signal(asked)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within_s)


def main() -> None:
    """Do what a request file asks for, and write the answer."""
    configure_logging(verbose=False)
    take_over_logging()
    # `end` asks by it, and what is started in the background inherits that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked, answered = Path(sys.argv[1]), Path(sys.argv[2])
    said = json.loads(asked.read_text("utf-8"))
    try:
        answer = TASKS[said["task"]](Place.of_json(said["place"]), said["request"])
    except ColluviumError as error:
        answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
    answered.write_text(json.dumps(answer, allow_nan=False), "utf-8")


def _is_open(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


# --- what can be asked for ---


def _open(place: Place, _: Answer) -> Answer:
    """Open the region, building what is missing; say what there is."""
    settings, clock = place.settings, refreshes.TickingClock(place.now)
    meter = Meter()
    with (
        progress_bar("spatial state") as progress,
        Ledger(ledger_path(settings), clock) as ledger,
        open_workshop(settings, place.config, ledger, clock, progress=progress) as shop,
    ):
        cost = meter.lap()
        return {"cost": cost.to_json(), "region": _described(shop)}


def _described(shop: Workshop) -> Answer:
    manifest, state = shop.bundle.manifest, shop.state.folder
    return {
        "newest_day": default_day(shop).isoformat(),
        "name": shop.settings.region.name,
        "synthetic": shop.settings.region.synthetic,
        "valid_cells": int(shop.state.valid_cells.sum()),
        "grid_cells": shop.region.grid.height * shop.region.grid.width,
        "cell_size_m": shop.region.grid.cell_size_m,
        "forcing_cells": len(shop.region.forcing.active),
        "forcing_nodes": len(shop.region.forcing.nodes),
        "zones": len(shop.region.zones),
        "state_stored": shop.state.record.stored,
        "state_bytes": refreshes.folder_bytes(state) if state.exists() else 0,
        "factors_bytes": shop.stack.path.stat().st_size,
        "bundle": {
            "name": manifest.name,
            "version": manifest.version,
            "kind": manifest.kind,
            "patch": manifest.patch,
            "factors": len(manifest.factors),
            "variables": len(manifest.variables),
            "channels": manifest.channels,
            "forcing_cell": manifest.forcing_cell,
            "members": manifest.members,
            "synthetic": manifest.training.synthetic,
        },
        "device": shop.bundle.device.name,
    }


def _refresh(place: Place, request: Answer) -> Answer:
    clock = refreshes.TickingClock(place.now)
    days = [date.fromisoformat(day) for day in request["days"]]
    with progress_bar("refreshes") as progress:
        return refreshes.measure_refreshes(place.settings, place.config, days, clock, progress).to_json()


def _others(place: Place, request: Answer) -> Answer:
    """Measure parts of the refresh by themselves, and the same cells in other ways; {} where it cannot be."""
    from service.bench.alone import measure_parts
    from service.bench.boosted import measure_boosted
    from service.bench.yardsticks import measure_dense, measure_naive

    found: Answer = {}
    lasts = request["at_least_s"]
    with _shop(place) as shop, progress_bar("other ways") as progress:
        layer = _newest(shop)
        for number, name in enumerate(request["names"]):
            progress(number, len(request["names"]))
            if name == "parts":
                parts = measure_parts(shop, layer, lasts)
                found[name] = {key: part.to_json() for key, part in parts.items()}
            elif name == "naive":
                found[name] = measure_naive(shop, layer.day, request["sample"], lasts).to_json()
            elif name == "dense":
                found[name] = measure_dense(shop, layer.day, lasts).to_json()
            elif name == "xgboost":
                boosted = measure_boosted(shop, layer, request["boosted_sample"], lasts)
                found[name] = boosted.to_json() if boosted is not None else {}
    return found


def _changed(place: Place, request: Answer) -> Answer:
    """Return the share of forcing cells whose windows differ from those of the day before."""
    found = []
    with _shop(place) as shop:
        for before, day in request["pairs"]:
            old, new = (windows_of(shop, date.fromisoformat(one)) for one in (before, day))
            same = np.asarray(old.windows[old.corner_rows] == new.windows[new.corner_rows]).all(
                axis=(1, 2, 3)
            )
            found.append(float(1 - same.mean()))
    return {"changed": found}


def _limits(place: Place, request: Answer) -> Answer:
    sizes = LimitSizes(**request["sizes"])
    return measure_limits(place.settings.data_dir, place.workers, sizes).to_json()


def _postgis(place: Place, request: Answer) -> Answer:
    from service.bench.delivery import measure_deliveries

    days = [date.fromisoformat(day) for day in request["days"]]
    layers = refreshes.layers_of(place.settings, days, refreshes.TickingClock(place.now))
    return measure_deliveries(request["dsn"], layers).to_json()


@contextmanager
def _shop(place: Place) -> Iterator[Workshop]:
    settings, clock = place.settings, refreshes.TickingClock(place.now)
    with (
        Ledger(ledger_path(settings), clock) as ledger,
        open_workshop(settings, place.config, ledger, clock) as shop,
    ):
        yield shop


def _newest(shop: Workshop) -> Layer:
    latest = shop.ledger.latest()
    if latest is None:
        raise StorageError("the layers that were measured are gone; did another run clear the folder?")
    return latest


TASKS: dict[str, Callable[[Place, Answer], Answer]] = {
    "open": _open,
    "refresh": _refresh,
    "others": _others,
    "changed": _changed,
    "limits": _limits,
    "postgis": _postgis,
}
