"""The circuit breaker of a feed: after so many failures in a row, nothing is asked for a while."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from service.files import replacing
from service.stamps import from_stamp, to_stamp

_FILE = "breaker.json"


@dataclass(frozen=True)
class BreakerState:
    """How often in a row a feed's server failed, and until when it is left alone."""

    failures: int = 0
    open_until: datetime | None = None
    reason: str = ""  # of the last failure

    def is_open(self, now: datetime) -> bool:
        """Tell whether nothing is asked for now."""
        return self.open_until is not None and now < self.open_until


CLOSED = BreakerState()


def find_breaker(data_dir: Path, feed: str) -> BreakerState | None:
    """Return the state of a feed by its name, for those who only look; None: no server was ever asked."""
    folder = folder_of(data_dir, feed)
    return read_breaker(folder) if folder.is_dir() else None


def folder_of(data_dir: Path, feed: str) -> Path:
    """Return where a feed keeps its replies and its breaker."""
    return data_dir / "feeds" / feed


def read_breaker(folder: Path) -> BreakerState:
    """Return the state that a feed's folder holds; closed where there is none, or none that can be read."""
    try:
        values = json.loads((folder / _FILE).read_text("utf-8"))
        until = values["open_until"]
        return BreakerState(
            int(values["failures"]), from_stamp(until) if until else None, str(values["reason"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        # The server is asked, and what it does then is the state.
        return CLOSED


class Breaker:
    """Counts failures of a server, and remembers them from one run to the next.

    When the pause is over, one request may try: if it fails, the pause begins anew, if not, all is well.
    Any thread may use it.
    """

    def __init__(self, folder: Path, failures: int, pause: timedelta, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._lock = Lock()
        self._state = read_breaker(folder)

    @property
    def state(self) -> BreakerState:
        """The state now."""
        return self._state

    def is_open(self) -> bool:
        """Tell whether nothing may be asked now."""
        return self._state.is_open(self._clock())

    def succeeded(self) -> None:
        """Note that the server did what it was asked for."""
        with self._lock:
            self._set(CLOSED)

    def failed(self, reason: str, pause_s: float | None = None) -> None:
        """Note a failure. `pause_s`: the server asks for so long a pause; the usual one at most is given."""
        with self._lock:
            failures = self._state.failures + 1
            until = self._clock() + self._pause if failures >= self._limit else None
            if until is None and pause_s is not None:
                until = self._clock() + min(timedelta(seconds=pause_s), self._pause)
            self._set(BreakerState(failures, until, reason))

    def _set(self, state: BreakerState) -> None:
        if state == self._state:
            return
        self._state = state
        text = {
            "failures": state.failures,
            "open_until": to_stamp(state.open_until) if state.open_until else None,
            "reason": state.reason,
        }
        with replacing(self._folder / _FILE) as temporary:
            temporary.write_text(json.dumps(text) + "\n", "utf-8")
