"""Tasks on a cluster: a bounded number under way, results in order, failures in words."""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import uuid4

from service.engines.dask_cluster import Cluster, distributed_library
from service.engines.dask_tasks import TaskFailed
from service.errors import EngineError

About = TypeVar("About")

_TASKS_A_THREAD = 3  # one runs, one waits beside it, one is on its way
_TASKS_A_LOOK = 32  # between looks at how many threads there are; workers may come and go
_LOOK_S = 1.0  # between looks at whether there still are workers


@dataclass(frozen=True)
class Task(Generic[About]):
    """A call of a function on some worker; what it is about. Without arguments there is nothing to do."""

    about: About
    arguments: tuple[Any, ...] | None


@dataclass(frozen=True)
class _Sent(Generic[About]):
    about: About
    future: Any  # None: nothing to do


class Runner(Generic[About]):
    """Runs tasks of one function.

    `words` says what a task is about, for messages; given a number too, what its so-manieth tile is.
    """

    def __init__(
        self,
        cluster: Cluster,
        action: Callable[..., Any],
        words: Callable[[About, int | None], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._action, self._words, self._clock = cluster, action, words, clock

    def in_order(self, tasks: Iterable[Task[About]]) -> Generator[tuple[About, Any], None, None]:
        """Yield what each task was about with its result, in order; a few tasks a thread are under way.

        Closing the generator drops what is under way. Raises EngineError where the cluster fails, and what
        a task's TaskFailed stands for.
        """
        running: deque[_Sent[About]] = deque()
        run, room = uuid4().hex[:12], 0
        try:
            for number, task in enumerate(tasks):
                future = None
                if task.arguments is not None:
                    future = self._send(f"{self._action.__name__}-{run}-{number}", task.arguments)
                running.append(_Sent(task.about, future))
                if number % _TASKS_A_LOOK == 0:
                    room = max(2, _TASKS_A_THREAD * sum(self._cluster.threads().values()))
                while len(running) >= room:
                    yield self._received(running.popleft())
            while running:
                yield self._received(running.popleft())
        finally:
            for sent in running:
                if sent.future is not None:
                    sent.future.cancel()

    def _send(self, key: str, arguments: tuple[Any, ...]) -> Any:
        retries = self._cluster.settings.retries
        client = self._cluster.client
        # A forecast of many members makes large tasks, knowingly.
        with importlib.import_module("dask").config.set(
            {"distributed.admin.large-graph-warning-threshold": "1 GiB"}
        ):
            return client.submit(self._action, *arguments, key=key, pure=False, retries=retries)

    def _received(self, sent: _Sent[About]) -> tuple[About, Any]:
        if sent.future is None:
            return sent.about, None
        try:
            return sent.about, self._result(sent)
        except TaskFailed as error:
            failure = error.failure
            if failure.number is None:
                raise failure.kind(f"worker {failure.worker} cannot take part: {failure.words}") from error
            where = self._words(sent.about, failure.number)
            raise failure.kind(f"{where} failed on worker {failure.worker}: {failure.words}") from error
        except distributed_library().scheduler.KilledWorker as error:
            raise EngineError(
                f"{error.allowed_failures + 1} workers died while they computed "
                f"{self._words(sent.about, None)}, the last at {error.last_worker.address}; look at their "
                "logs: most often a worker's memory limit is too small for the model "
                "(a smaller engine.tiles_per_task makes tasks smaller)"
            ) from error
        except (CancelledError, OSError) as error:
            raise EngineError(
                f"the connection to {self._cluster.name} was lost ({' '.join(str(error).split())}); look "
                "after the scheduler and run the command again"
            ) from error
        finally:
            sent.future.release()

    def _result(self, sent: _Sent[About]) -> Any:
        settings = self._cluster.settings
        began = self._clock()
        alone: float | None = None  # since when there has been no worker
        while True:
            try:
                return sent.future.result(timeout=_LOOK_S)
            except TimeoutError:
                now = self._clock()
            alone = None if self._cluster.threads() else now if alone is None else alone
            if alone is not None and now - alone >= settings.worker_timeout_s:
                raise EngineError(
                    f"{self._cluster.name} has had no worker for {settings.worker_timeout_s:g} s; start "
                    "workers again ('dask worker', see docs/dask.md) and run the command again"
                )
            if now - began >= settings.task_timeout_s:
                raise EngineError(
                    f"{self._cluster.name} has given nothing for {self._words(sent.about, None)} within "
                    f"{settings.task_timeout_s:g} s; look at its workers' logs, or give them longer with "
                    "engine.task_timeout_s"
                )
