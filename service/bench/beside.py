"""A given region, measured beside its own data folder: nothing of it is changed, nothing is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.errors import HeldError, UsageError
from service.settings import Settings
from service.snapshot import READINGS, copy_database

_MARK = "beside.txt"  # stands in every folder that a region was measured in, and in no other


def copy_beside(settings: Settings, folder: Path) -> None:
    """Make or renew the data folder below `folder`: readings copied, rasters of feeds pointed at.

    Raises UsageError for a folder that holds anything else, HeldError where there are no readings.
    """
    mark, data = folder / _MARK, folder / "data"
    own = str(settings.data_dir.resolve())
    if (
        folder.resolve() == settings.data_dir.resolve()
        or settings.data_dir.resolve() in folder.resolve().parents
    ):
        raise UsageError(f"{folder} lies in the region's data folder; name another with --dir")
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise UsageError(f"{folder} is not empty; name a new or an empty folder")
    if mark.exists() and mark.read_text("utf-8") != own:
        raise UsageError(
            f"{folder} was used for the region of {mark.read_text('utf-8')}; name another folder"
        )
    if not (settings.data_dir / READINGS).exists():
        raise HeldError(f"there are no readings in {settings.data_dir}; bring some with 'colluvium ingest'")
    data.mkdir(parents=True, exist_ok=True)
    mark.write_text(own, "utf-8")
    (data / READINGS).unlink(missing_ok=True)
    copy_database(settings.data_dir / READINGS, data / READINGS)
    rasters = settings.data_dir / "rasters"
    if rasters.is_dir() and not (data / "rasters").is_symlink():
        (data / "rasters").symlink_to(rasters.resolve())


def settings_beside(settings: Settings, data_dir: Path) -> Settings:
    """Return the same region with another data folder, and nobody who would be sent anything."""
    update: dict[str, Any] = {
        "region": settings.region.model_copy(update={"data_dir": data_dir}),
        "factors": settings.factors.model_copy(update={"stack": settings.stack_path}),
        "exporters": (),
        "cap": None,
    }
    return settings.model_copy(update=update)
