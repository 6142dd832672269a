"""Work on threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = ParamSpec("Given")

_BEHIND = 4  # calls that wait in a Behind: strips of a layer, of which memory shall hold a few


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield work(item) in the order of the items, from worker threads, at most `ahead` items at a time.

    When the caller stops, or work raises, what has not begun is dropped and what runs is waited for.
    """
    with ThreadPoolExecutor(max(1, workers), "colluvium") as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(running) >= max(1, ahead):
                    yield running.popleft().result()
                running.append(pool.submit(work, item))
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Behind:
    """A thread that makes the calls it is given, in their order, behind its caller; a context manager.

    What a call raises, `do` or `finish` raise. Leaving without `finish` drops the calls that have not begun.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, f"colluvium-{name}")
        self._calls: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the calls that have not begun, and wait for the one that has."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def do(self, call: Callable[Given, Any], *given: Given.args, **named: Given.kwargs) -> None:
        """Have a call made; wait first where too many are waiting."""
        while len(self._calls) >= _BEHIND or (self._calls and self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(call, *given, **named))

    def finish(self) -> None:
        """Wait until every call is made."""
        while self._calls:
            self._calls.popleft().result()
