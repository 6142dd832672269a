"""Fetches feeds side by side under one deadline: one that hangs is left behind, by name."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from service.feeds.base import Batch, Feed, FeedFault

_LOOKED_EVERY_S = 0.2  # at the clock, which tests turn


class Deadline:
    """A moment of a clock that only goes forward."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._ends = monotonic() + seconds

    def seconds_left(self) -> float:
        """Return the seconds until then; 0 once it has passed."""
        return max(0.0, self._ends - self._monotonic())


@dataclass(frozen=True)
class Fetched:
    """What became of one feed: `number` is its place among the feeds."""

    number: int
    result: Batch | Exception


def fetch_all(
    feeds: Sequence[Feed], since: date | None, until: date | None, parallel: int, deadline: Deadline
) -> Iterator[Fetched]:
    """Yield every feed once, as soon as it is fetched; of those that are ready, the first comes first.

    A feed that is not done by the deadline is given as a FeedFault. Its thread cannot be stopped: it is left
    behind, holds up neither the caller nor the end of the process, and what it brings is dropped.
    """
    waiting = deque(range(len(feeds)))
    running: set[int] = set()
    lock = Lock()
    done: SimpleQueue[Fetched] = SimpleQueue()

    def work() -> None:
        while deadline.seconds_left() > 0:
            with lock:
                if not waiting:
                    return
                number = waiting.popleft()
                running.add(number)
            try:
                result: Batch | Exception = feeds[number].fetch(since, until)
            except Exception as error:  # noqa: BLE001 - handed on
                result = error
            with lock:
                running.discard(number)
            done.put(Fetched(number, result))

    for place in range(min(parallel, len(feeds))):
        # Daemon threads: the interpreter does not wait for them at its end.
        Thread(target=work, name=f"feeds-{place}", daemon=True).start()

    left = set(range(len(feeds)))
    ready: dict[int, Fetched] = {}
    while left:
        for item in _taken(done, 0.0 if ready else min(deadline.seconds_left(), _LOOKED_EVERY_S)):
            ready[item.number] = item
        if ready:
            number = min(ready)
            left.discard(number)
            yield ready.pop(number)
        elif deadline.seconds_left() <= 0:
            break
    with lock:
        hanging = sorted(running & left)
    for number in sorted(left):
        yield Fetched(number, _too_late(feeds, number, hanging, deadline))


def _taken(done: SimpleQueue[Fetched], seconds: float) -> Iterator[Fetched]:
    """Yield all that is there, waiting for the first one."""
    try:
        yield done.get(timeout=seconds) if seconds > 0 else done.get_nowait()
        while True:
            yield done.get_nowait()
    except Empty:
        return


def _too_late(feeds: Sequence[Feed], number: int, hanging: Sequence[int], deadline: Deadline) -> FeedFault:
    name, minutes = feeds[number].name, deadline.seconds / 60
    if number in hanging:
        return FeedFault(
            "deadline",
            f"feed {name}: not fetched within {minutes:g} minutes, so it was left behind; it is asked again "
            "next time (ingest.deadline_minutes says how long is waited)",
        )
    others = ", ".join(feeds[other].name for other in hanging) or "the feeds before it"
    return FeedFault(
        "deadline",
        f"feed {name}: its turn did not come within {minutes:g} minutes, because of {others}; raise "
        "ingest.parallel, or correct those",
    )
