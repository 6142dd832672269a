"""`colluvium doctor`: is the machine well on which the service runs?

`check` asks whether a refresh has what it needs; the doctor asks about what lies below it: databases, disk,
memory, clock, certificates, ports, versions, and what ONNX Runtime really computes on. It changes nothing,
and goes on after a failure, so that one call names all of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
from pydantic import BaseModel

from exporters.base import ExportError
from service.bundle import Bundle
from service.check import Check
from service.device_precision import decide
from service.doctor_net import look_at_clock, look_at_port, look_at_servers, servers_of
from service.errors import ColluviumError
from service.ledger_schema import MIGRATIONS as LEDGER
from service.progress import ProgressCallback
from service.readings_schema import MIGRATIONS as READINGS
from service.runtime import chosen_device, onnx_runtime
from service.serving import serving_path
from service.settings import Settings
from service.settings_base import Secret
from service.settings_outlets import PostgisExporter
from service.workshop import archive_path, ledger_path

_GIB = 2**30
_LITTLE_DISK, _NO_DISK = 5 * _GIB, 0.5 * _GIB
_LITTLE_SHARE = 0.05
_LITTLE_MEMORY = _GIB
_SLOW_SYNC_S = 1.0
_CHECKED_UP_TO = 512 * 2**20  # bytes of a database that are looked through without being asked to
_PUBLIC_SECRETS = Path("/run/secrets")  # a container's own, which only its processes see


def examine(
    settings: Settings,
    now: datetime,
    progress: ProgressCallback,
    *,
    thorough: bool = False,
    offline: bool = False,
) -> list[Check]:
    """Look at everything. `offline` asks no server; `thorough` reads databases of any size through."""
    steps: list[tuple[str, Callable[[], Check | list[Check]]]] = [
        ("versions", _look_at_versions),
        ("user", _look_at_user),
        ("device", lambda: _look_at_device(settings)),
        ("places", lambda: _look_at_places(settings)),
        ("disk", lambda: _look_at_disk(settings)),
        ("memory", _look_at_memory),
        ("ledger", lambda: _look_at_database("ledger", ledger_path(settings), len(LEDGER), thorough)),
        ("readings", lambda: _look_at_database("readings", archive_path(settings), len(READINGS), thorough)),
        ("secrets", lambda: _look_at_secrets(settings)),
        ("port", lambda: look_at_port(settings)),
    ]
    if not offline:
        steps += [
            (f"database {section.name}", lambda section=section: _look_at_postgis(section, settings))  # type: ignore[misc]
            for section in settings.exporters
            if isinstance(section, PostgisExporter)
        ]
        steps.append(("servers", lambda: look_at_servers(settings, now)))
    steps.append(("clock", lambda: look_at_clock(settings, now, [] if offline else servers_of(settings))))
    found: list[Check] = []
    for number, (name, look) in enumerate(steps, start=1):
        try:
            seen = look()
            found += seen if isinstance(seen, list) else [seen]
        except (ColluviumError, ExportError, OSError) as error:
            found.append(Check(name, "fail", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever one look dies of, the others still tell
            found.append(Check(name, "fail", f"could not be looked at: {type(error).__name__}: {error}"))
        progress(number, len(steps))
    return found


def _look_at_versions() -> Check:
    names = ("colluvium", "numpy", "rasterio", "pydantic", "fastapi", "psycopg")
    words = [f"{name} {importlib.metadata.version(name)}" for name in names]
    words += [
        f"Python {platform.python_version()}",
        f"onnxruntime {onnx_runtime().__version__}",
        f"GDAL {rasterio.__gdal_version__}",
        f"SQLite {sqlite3.sqlite_version}",
        platform.platform(terse=True),
    ]
    return Check("versions", "ok", ", ".join(words))


def _look_at_user() -> Check:
    if os.geteuid() == 0:
        return Check(
            "user", "warn", "runs as root; give the service a user of its own that owns the data folder"
        )
    return Check("user", "ok", f"user {os.geteuid()}, group {os.getegid()}")


def _look_at_device(settings: Settings) -> Check:
    device = chosen_device(settings.inference.device)
    # The proof runs every graph: what the sessions say after it is what a refresh will compute on.
    bundle = Bundle.load(serving_path(settings), device=device)
    providers = sorted({name for used in bundle.providers.values() for name in used[:1]})
    words = (
        f"{', '.join(providers)} in use, {bundle.manifest.name} {bundle.manifest.version} proven on it "
        f"(inference.device = {settings.inference.device!r}: {device.reason})"
    )
    if device.name == "gpu" and bundle.manifest.kind == "factored":
        decision = decide(bundle, settings.inference.precision)
        words += f"; the head computes in {decision.precision}: {decision.reason}"
    return Check("device", "warn" if device.fell_back else "ok", words)


def _look_at_places(settings: Settings) -> Check:
    """Time zones and projections must be there without a network."""
    crs = settings.grid.crs
    (longitude,), (latitude,) = rasterio.warp.transform("EPSG:4326", crs, [12.0], [45.0])
    if not np.isfinite([longitude, latitude]).all():
        return Check("places", "warn", f"PROJ cannot place 12 E 45 N in {crs}; is its data installed?")
    local = datetime.now(settings.timezone)
    return Check(
        "places", "ok", f"PROJ knows {crs}; it is {local:%H:%M} (UTC{local:%z}) in {settings.region.timezone}"
    )


def _look_at_disk(settings: Settings) -> Check:
    folder = settings.data_dir
    if not folder.is_dir():
        return Check("disk", "warn", f"{folder} is not there yet; the first command that writes makes it")
    usage, files = shutil.disk_usage(folder), os.statvfs(folder)
    began = time.monotonic()
    probe = folder / f".doctor-{uuid.uuid4().hex[:12]}.part"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("disk", "fail", f"{folder} cannot be written to: {error.strerror}")
    finally:
        probe.unlink(missing_ok=True)
    seconds = time.monotonic() - began
    share = usage.free / usage.total if usage.total else 0.0
    words = (
        f"{usage.free / _GIB:.1f} GiB ({share:.0%}) free on {folder}, written and synced in {seconds:.3f} s"
    )
    if files.f_files:
        words += f", {files.f_favail / files.f_files:.0%} of the inodes free"
    if usage.free < _NO_DISK or (files.f_files and not files.f_favail):
        return Check("disk", "fail", f"{words}; free some space, or the next refresh fails")
    little = share < _LITTLE_SHARE or (usage.free < _LITTLE_DISK and share < 2 * _LITTLE_SHARE)
    if seconds > _SLOW_SYNC_S:
        return Check("disk", "warn", f"{words}; this disk is slow: is the data folder on a network share?")
    return Check("disk", "warn" if little else "ok", words)


def _look_at_memory() -> Check:
    values = {}
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            name, _, rest = line.partition(":")
            values[name] = int(rest.split()[0]) * 1024
    except OSError:
        return Check("memory", "ok", f"not told on {sys.platform}")
    available = values["MemAvailable"]
    words = f"{available / _GIB:.1f} of {values['MemTotal'] / _GIB:.1f} GiB available"
    limit, used = _limit_of_container()
    if limit is not None:
        available = min(available, limit - used)
        words += f"; limited to {limit / _GIB:.1f} GiB, of which {used / _GIB:.1f} are used"
    return Check("memory", "warn" if available < _LITTLE_MEMORY else "ok", words)


def _limit_of_container() -> tuple[int | None, int]:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text("ascii").strip()
        used = int((folder / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return None, 0
    return (int(limit), used) if limit.isdigit() else (None, 0)


def _look_at_database(name: str, path: Path, known: int, thorough: bool) -> Check:
    """Look at a database without migrating it: the doctor may be of a newer version than the service."""
    if not path.exists():
        return Check(name, "warn", f"no {path} yet; the first ingest or refresh makes it")
    size = path.stat().st_size
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
            whole = thorough or size <= _CHECKED_UP_TO
            faults = (
                [row[0] for row in database.execute("PRAGMA quick_check(3)") if row[0] != "ok"]
                if whole
                else []
            )
        finally:
            database.close()
    except sqlite3.Error as error:
        return Check(name, "fail", f"{path} cannot be read: {error}; restore it from a backup")
    words = f"{path.name} at schema {version}, {size / 2**20:.1f} MiB"
    words += ", read through and sound" if whole else ", not read through (--thorough does)"
    if faults:
        return Check(name, "fail", f"{path} is damaged ({'; '.join(faults)}); restore it from a backup")
    if version > known:
        return Check(
            name,
            "fail",
            f"{words}; this program knows schemas up to {known}: a newer Colluvium wrote it. Either run "
            "that version or restore the backup made before the upgrade",
        )
    if version < known:
        return Check(name, "warn", f"{words}; the next command that opens it brings it to schema {known}")
    if mode != "wal":
        return Check(name, "warn", f"{words}, journal mode {mode}: is it being used by something else?")
    return Check(name, "ok", words)


def _look_at_postgis(section: PostgisExporter, settings: Settings) -> Check:
    from service.postgis import look_at_schema, schema_of

    began = time.monotonic()
    found = look_at_schema(section, settings)
    return Check(
        f"database {section.name}",
        "ok",
        f"schema {schema_of(section, settings)} at migration {found.migration}, {found.layers} layers, "
        f"answered in {time.monotonic() - began:.2f} s",
    )


def _look_at_secrets(settings: Settings) -> Check:
    secrets = list(_secrets_in(settings))
    troubles, open_files = [], []
    for place, secret in secrets:
        try:
            if not secret.read():
                troubles.append(f"{place} is empty")
        except ColluviumError as error:
            troubles.append(f"{place}: {error}")
            continue
        file = secret.file
        if file is not None and file.stat().st_mode & 0o077 and _PUBLIC_SECRETS not in file.parents:
            open_files.append(str(file))
    if troubles:
        return Check("secrets", "fail", "; ".join(troubles))
    if open_files:
        return Check(
            "secrets", "warn", f"others on this machine can read: {', '.join(open_files)} (chmod 600)"
        )
    return Check("secrets", "ok", f"{len(secrets)} named in the settings, all there")


def _secrets_in(value: object, place: str = "") -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield place, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name), f"{place}.{name}" if place else name)
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _secrets_in(item, f"{place}.{getattr(item, 'name', number)}")
