"""What the commands of this package say where its third-party packages are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import UsageError


@contextmanager
def needs_detection() -> Iterator[None]:
    """Turn a missing third-party package into the command that installs it (UsageError)."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("service", "trainer", "exporters"):
            raise
        raise UsageError(
            f"this command needs {error.name}, which is not installed: pip install 'colluvium[detection]'"
        ) from error
