"""Progress of long work: library code calls a function, the command line draws a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# (done, total); called as often as the caller likes.
ProgressCallback = Callable[[int, int], None]

_APPEARS_AFTER_S = 2.0
_LINE_EVERY_S = 15.0


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressCallback]:
    """Yield a callback that draws on stderr: a bar on a terminal, a line now and then elsewhere.

    Work that ends within two seconds shows nothing.
    """
    started = time.monotonic()
    if not sys.stderr.isatty():
        yield _lines(label, started)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, visible=False)

        def update(done: int, total: int) -> None:
            late = time.monotonic() - started > _APPEARS_AFTER_S
            bar.update(task, completed=done, total=total, visible=late)

        yield update


def _lines(label: str, started: float) -> ProgressCallback:
    last = started

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            last = now
            sys.stderr.write(f"{label}: {done} of {total}, {now - started:.0f} s\n")
            sys.stderr.flush()

    return update
