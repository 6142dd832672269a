"""Daily surfaces on the forcing nodes, kept on disk by what went into them.

A surface is a pure function of one day's readings, the forcing settings and the nodes. Its file name carries
the digest of all three, so a stored surface is either exactly right or not found.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from service.files import replacing

_log = structlog.get_logger()
_SUFFIX = ".npz"


class Kind(IntEnum):
    """What stands behind one value of one day."""

    MISSING = 0
    OBSERVED = 1  # the nearest series in range reported
    FILLED = 2  # from farther series of the same day, or inside a gap of one series
    CARRIED = 3  # the last level, persisting at the open end of its series
    FORECAST = 4


@dataclass(frozen=True)
class Surface:
    """One variable on one day at m points. Missing values are NaN, never zero."""

    values: npt.NDArray[np.float32]  # (m,), stored unit of the variable
    kind: npt.NDArray[np.uint8]  # (m,), Kind
    distance_km: npt.NDArray[np.float32]  # (m,) to the nearest reporting series in range; NaN without one
    nearest: npt.NDArray[np.int32]  # (m,) that series, as an index into `series`; -1 without one
    series: tuple[str, ...]  # every series that stood on the day, reporting or not


class SurfaceStore:
    """Surfaces under one folder, as <variable>/<day>-<first 16 digits of the digest>.npz."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, variable: str, day: date, digest: str) -> Path:
        """Where a surface lies, or would lie."""
        return self.folder / variable / f"{day.isoformat()}-{digest[:16]}{_SUFFIX}"

    def get(self, variable: str, day: date, digest: str, size: int) -> Surface | None:
        """Return a stored surface of `size` points; None where there is none, or where it is damaged."""
        path = self.path(variable, day, digest)
        try:
            # Opened here, because np.load leaves a file that is not a zip open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                if str(file["digest"]) != digest:
                    raise ValueError("its digest is another one")
                surface = Surface(
                    values=file["values"],
                    kind=file["kind"],
                    distance_km=file["distance_km"],
                    nearest=file["nearest"],
                    series=tuple(str(name) for name in file["series"]),
                )
            _check(surface, size)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, OSError) as error:
            _log.warning("surface damaged, rebuilding it", path=str(path), error=str(error))
            return None
        return surface

    def put(self, variable: str, day: date, digest: str, surface: Surface) -> None:
        """Store a surface; a reader sees all of it or none."""
        with replacing(self.path(variable, day, digest)) as temporary:
            np.savez(
                temporary,
                digest=np.array(digest),
                values=surface.values,
                kind=surface.kind,
                distance_km=surface.distance_km,
                nearest=surface.nearest,
                series=np.array(surface.series, dtype=np.str_),
            )

    def days(self) -> dict[Path, date]:
        """Return every stored surface's file and day."""
        return {path: date.fromisoformat(path.name[:10]) for path in self.folder.glob(f"*/[0-9]*{_SUFFIX}")}


def prune(store: SurfaceStore, keep_days: int, today: date | None = None) -> int:
    """Remove surfaces older than `keep_days` before `today` (default: the newest surface's day).

    Returns how many. A removed surface is rebuilt when a window asks for it.
    """
    days = store.days()
    if not days:
        return 0
    oldest = (today or max(days.values())) - timedelta(days=keep_days)
    old = [path for path, day in days.items() if day < oldest]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _check(surface: Surface, size: int) -> None:
    expected: dict[str, tuple[npt.NDArray[Any], type[np.generic]]] = {
        "values": (surface.values, np.float32),
        "kind": (surface.kind, np.uint8),
        "distance_km": (surface.distance_km, np.float32),
        "nearest": (surface.nearest, np.int32),
    }
    for name, (array, dtype) in expected.items():
        if array.shape != (size,) or array.dtype != dtype:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({size},)")
    if size and int(surface.nearest.max()) >= len(surface.series):
        raise ValueError("nearest points beyond the list of series")
