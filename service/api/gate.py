"""Bounds how many heavy answers are worked on at once, so that light ones stay quick."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException


class Gate:
    """Lets `at_once` callers through, keeps `waiting` more for a while, and sends the others away."""

    def __init__(self, what: str, *, at_once: int = 2, waiting: int = 6, patience_s: float = 10.0) -> None:
        self._what, self._patience_s = what, patience_s
        # Who waits holds one of the server's threads: more of them would leave none for /healthz.
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._work = threading.BoundedSemaphore(at_once)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold a place while the block runs. Raises HTTPException (503, with Retry-After)."""
        if not self._room.acquire(blocking=False):
            raise self._busy()
        try:
            if not self._work.acquire(timeout=self._patience_s):
                raise self._busy()
            try:
                yield
            finally:
                self._work.release()
        finally:
            self._room.release()

    def _busy(self) -> HTTPException:
        return HTTPException(
            503, f"too many {self._what} are asked for at once; try again", {"Retry-After": "2"}
        )
