"""What every section of the settings is made of: paths that start at the settings file, names, units."""

from __future__ import annotations

import os
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.errors import SettingsError

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


class Secret(Section):
    """Where a password comes from: an environment variable, or a file that holds nothing else."""

    env: str | None = None
    file: FilePath | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError('give either env = "NAME" or file = "PATH"')
        return self

    def read(self) -> str:
        """Return the secret. Raises SettingsError that names the place, never the value."""
        if self.env is not None:
            value = os.environ.get(self.env, "")
            if not value:
                raise SettingsError(f"the environment variable {self.env} is not set; it holds the password")
            return value
        assert self.file is not None  # noqa: S101 - for the type checker
        try:
            return self.file.read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"cannot read the password in {self.file}: {error.strerror}") from error
