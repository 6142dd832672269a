"""What every section of the settings is made of: paths that start at the settings file, names, units."""

from __future__ import annotations

import os
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# BaseSettings takes no validation context, so the folder of the file being read travels here.
settings_folder: ContextVar[Path | None] = ContextVar("settings_folder", default=None)


def resolve(path: Path) -> Path:
    """Return a path of the settings file, which is relative to that file's folder."""
    base = settings_folder.get()
    return path if path.is_absolute() or base is None else Path(os.path.normpath(base / path))


def _timedelta_from_hours(value: object) -> object:
    return timedelta(hours=value) if isinstance(value, int | float) else value


class Section(BaseModel):
    """One part of the settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FilePath = Annotated[Path, AfterValidator(resolve)]
Hours = Annotated[timedelta, BeforeValidator(_timedelta_from_hours)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Positive = Annotated[float, Field(gt=0)]
