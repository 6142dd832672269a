"""What was read of layers for a verification, kept so that the next one opens only what changed.

verification/<key>.npz below the data folder: counts, no more than kilobytes each. The key names the layer and
everything that was asked of it; a file that cannot be used is read again from its layer.
"""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from service.files import replacing
from service.verify_values import DayValues

FOLDER = "verification"


class KeptValues:
    """The kept counts of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._used: set[Path] = set()

    def get(self, key: str) -> DayValues | None:
        """Return what is kept under a key."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                uids = [str(uid) for uid in file["uids"]]
                throws = {
                    str(uid): (int(item[0]), int(item[1]))
                    for uid, item in zip(file["chance_uids"], file["chance"], strict=True)
                }
                return DayValues(
                    file["ground"], dict(zip(uids, file["events"], strict=True)), file["looked"], throws
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, values: DayValues) -> None:
        """Keep values; where the disk will not have them, they are read again next time."""
        arrays: dict[str, Any] = {
            "ground": values.ground,
            "looked": values.looked,
            "uids": np.array(list(values.events), dtype=np.str_),
            "events": np.array(list(values.events.values()), np.int64).reshape(-1, len(values.ground)),
            "chance_uids": np.array(list(values.chance), dtype=np.str_),
            "chance": np.array(list(values.chance.values()), np.int64).reshape(-1, 2),
        }
        with (
            contextlib.suppress(OSError),
            replacing(self._path(key)) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez_compressed(file, **arrays)

    def _path(self, key: str) -> Path:
        path = self._folder / f"{key[:32]}.npz"
        self._used.add(path)
        return path

    def sweep(self) -> None:
        """Remove what this verification did not ask for."""
        for path in self._folder.glob("*.npz"):
            if path not in self._used:
                path.unlink(missing_ok=True)
