"""Backups of a shown region: written, changed on the way, and restored."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from service.backup import make_backup
from service.restore import restore_backup
from tests.fix_region import Clock, ToyRegion


def backed_up(region: Path, path: Path) -> Path:
    """Back up the region in a folder, and return where the backup lies."""
    make_backup(ToyRegion(region, Clock()).settings, path, Clock())
    return path


def restore(source: Path, data_dir: Path, **more: Any) -> Any:
    return restore_backup(source, data_dir, "A. Rossi", "disk replaced", Clock(), **more)


def rewritten(source: Path, target: Path, change: dict[str, bytes]) -> Path:
    """Copy a backup with other contents of some members."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = change.get(member.name, old.extractfile(member).read())  # type: ignore[union-attr]
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target
