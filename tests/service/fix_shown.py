"""A toy region with ten nowcasts on display, for tests of what is done to a region that has a past."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from tests.fix_region import LAST_DAY, ToyRegion, make_toy_region

NEWEST = LAST_DAY + timedelta(days=1)
DAYS = [NEWEST - timedelta(days=n) for n in range(9, -1, -1)]


def make_shown_region(folder: Path) -> ToyRegion:
    """Make the region and its layers; its factor stack lies in the data folder, as a user's does."""
    toy = make_toy_region(folder)
    toy.data.mkdir(exist_ok=True)
    (folder / "factors.tif").rename(toy.data / "factors.tif")
    settings = toy.config.read_text("utf-8").replace('stack = "factors.tif"', 'stack = "data/factors.tif"')
    toy.config.write_text(settings, "utf-8")
    toy.ingest()
    toy.refresh(*DAYS)
    return toy


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but locks and what SQLite keeps beside a database."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("lock", "-shm", "-wal"))
    }
