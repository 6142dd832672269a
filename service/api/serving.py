"""The bundle that a running daemon answers with: another one as soon as a person promotes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog

from service.bundle import Bundle
from service.errors import ColluviumError
from service.ledger import Ledger
from service.serving import serving_path
from service.settings import Settings
from service.workshop import ledger_path, open_bundle

_log = structlog.get_logger()


class ServingBundle:
    """Keeps what was loaded, and loads again where a promotion says so. Any thread may ask."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime], loaded: Bundle | None) -> None:
        self._settings, self._clock = settings, clock
        self._bundle = loaded
        self._lock = threading.Lock()
        self._path: Path | None = None  # that was asked for when `_bundle` was loaded; None: not asked yet

    def get(self) -> Bundle | None:
        """Return the bundle; None where none is loaded. One that cannot be loaded leaves the old one."""
        try:
            path = serving_path(self._settings, self._clock)
        except ColluviumError as error:
            _log.warning("which bundle serves cannot be read", reason=str(error))
            return self._bundle
        if self._path is None:
            # Whoever gave it loaded what served then; where that was another one, a promotion came between.
            given = self._bundle.folder if self._bundle is not None else path
            self._path = given if given in (path, self._settings.bundle.path) else path
        if path != self._path:
            with self._lock:
                if path != self._path:
                    self._load()
                    self._path = path
        return self._bundle

    def _load(self) -> None:
        try:
            with Ledger(ledger_path(self._settings), self._clock) as ledger:
                self._bundle = open_bundle(self._settings, ledger, workers=1, fall_back=True)[0]
        except ColluviumError as error:
            _log.error("the promoted bundle cannot be loaded, the old one answers", reason=str(error))
            return
        _log.info("another bundle answers", bundle=self._bundle.manifest.name, digest=self._bundle.digest)
