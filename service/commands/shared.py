"""What commands share: options, printing, time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import structlog

from service.errors import StorageError
from service.logs import FORMAT as LOG_FORMAT
from service.settings import CONFIG_VARIABLE

log = structlog.get_logger()


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add -c/--config."""
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=CONFIG_VARIABLE,
        required=True,
        help=f"The region's settings (TOML), or set {CONFIG_VARIABLE}.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")(
        command
    )


def act_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --by and --reason, which every human act needs."""
    command = click.option("--reason", required=True, help="Why; kept in the journal.")(command)
    return click.option("--by", required=True, help="Who decides; kept in the journal.")(command)


def deliver_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --deliver/--no-deliver."""
    return click.option(
        "--deliver/--no-deliver",
        default=True,
        show_default=True,
        help="Bring the exporters up to date at the end. The daemon does that by itself.",
    )(command)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    click.echo(json.dumps(value, sort_keys=False, default=str, allow_nan=False))


def say_error(message: str) -> None:
    """Say on stderr what went wrong: in words, or as a line of the log where that was asked for by name.

    Without a terminal alone the words stay: scripts and cron's mail are read by people.
    """
    if os.environ.get(LOG_FORMAT) == "json":
        log.error(message)
    else:
        click.echo(f"colluvium: {message}", err=True)


def show_usage(error: click.ClickException) -> None:
    """Say on stderr how a command was called wrongly."""
    if os.environ.get(LOG_FORMAT) == "json":
        log.error(error.format_message())
    else:
        error.show()


def disk_full(error: BaseException) -> StorageError:
    """Return what to say of a full disk."""
    where = getattr(error, "filename", None)
    return StorageError(
        f"no space is left on the disk{f' that holds {where}' if where else ''}: {error}. "
        "Nothing half done was kept; free some space and run it again"
    )
