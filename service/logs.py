"""Logs on stderr: one JSON object a line where nobody watches, readable on a terminal.

Every line carries `run_id`: the same in the daemon's lines about a child and in the child's own. Lines of a
refresh also carry `run`, its number in the ledger, with its day and lead; `colluvium audit` lists those.

    COLLUVIUM_LOG_FORMAT   json or text; default: text on a terminal, JSON elsewhere
    COLLUVIUM_LOG_LEVEL    debug, info, warning or error; default: warning, info with -v
    COLLUVIUM_RUN_ID       of the process, where whoever starts it has one already
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

from service.errors import SettingsError

FORMAT, LEVEL, RUN_ID = "COLLUVIUM_LOG_FORMAT", "COLLUVIUM_LOG_LEVEL", "COLLUVIUM_RUN_ID"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# It comes from outside and stands in every line.
_GOOD_RUN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

_process: dict[str, Any] = {}  # fields of every line, from whatever thread

log = structlog.get_logger()


def new_run_id() -> str:
    """Return an id that no other run has."""
    return secrets.token_hex(6)


def configure_logging(*, verbose: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Let our own lines be written as the module says. Raises SettingsError for a wrong variable."""
    asked = environ.get(FORMAT, "")
    if asked not in ("", "json", "text"):
        raise SettingsError(f"{FORMAT} = {asked!r} is neither json nor text")
    level = environ.get(LEVEL, "").lower() or ("info" if verbose else "warning")
    if level not in _LEVELS:
        raise SettingsError(f"{LEVEL} = {level!r} is none of {', '.join(_LEVELS)}")
    run_id = environ.get(RUN_ID, "")
    _process["run_id"] = run_id if _GOOD_RUN_ID.fullmatch(run_id) else new_run_id()
    structlog.configure(
        processors=[*_shared(), _renderer(environ, sys.stderr)],
        wrapper_class=structlog.make_filtering_bound_logger(
            min(_LEVELS[level], logging.INFO) if verbose else _LEVELS[level]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def take_over_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Write what libraries log, warn or die of like our own lines. For the process's own main function."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_shared()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(environ, sys.stderr),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    if is_json(environ):
        sys.excepthook = _log_death
        threading.excepthook = _log_thread_death


def child_environment(run_id: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a child process that logs as we do, as a run of its own."""
    level = next(
        (name for name, number in _LEVELS.items() if log.is_enabled_for(number)),
        "error",
    )
    return {
        **environ,
        RUN_ID: run_id,
        FORMAT: "json" if is_json(environ) else "text",
        LEVEL: level,
    }


def is_json(environ: Mapping[str, str] = os.environ, stream: TextIO | None = None) -> bool:
    """Tell whether lines are JSON."""
    asked = environ.get(FORMAT, "")
    return asked == "json" or (asked != "text" and not (stream or sys.stderr).isatty())


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        _add_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderer(environ: Mapping[str, str], stream: TextIO) -> Any:
    if not is_json(environ, stream):
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return _JsonLine()


class _JsonLine:
    """Renders one event, its exception included, as one line."""

    def __init__(self) -> None:
        self._json = structlog.processors.JSONRenderer(sort_keys=True, default=str)

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        event = structlog.processors.format_exc_info(logger, method, event)
        return str(self._json(logger, method, event))


def _add_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in _process.items():
        event.setdefault(name, value)
    return event


def _log_death(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("died of an unexpected error", exc_info=(kind, error, trace))


def _log_thread_death(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else None
        log.critical(
            "a thread died of an unexpected error",
            thread=name,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )
