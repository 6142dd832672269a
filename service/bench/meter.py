"""What a piece of work costs: time, processor time, bytes through system calls, resident memory."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5): what clear_refs takes to begin VmHWM anew
BY_STAGE = "VmHWM of /proc, begun anew for each stage"
SO_FAR = "ru_maxrss, of the process up to then"


@dataclass(frozen=True)
class Cost:
    """What something took. Bytes are those of read and write calls, the page cache's included.

    peak_rss_bytes: the most resident memory of the process meanwhile, by `Meter.memory_how`.
    """

    seconds: float
    cpu_s: float
    bytes_read: int
    bytes_written: int
    peak_rss_bytes: int

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.bytes_read + self.bytes_written

    def plus(self, other: Self) -> Cost:
        """Return what both took, one after the other."""
        return Cost(
            self.seconds + other.seconds,
            self.cpu_s + other.cpu_s,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            max(self.peak_rss_bytes, other.peak_rss_bytes),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return {**asdict(self), "bytes": self.bytes}

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Cost:
        """Read what `to_json` wrote."""
        return cls(**{name: value for name, value in values.items() if name != "bytes"})


class Meter:
    """Measures this process from lap to lap."""

    def __init__(self) -> None:
        self._resets = _reset_peak()
        self._last = self._now()

    @property
    def memory_how(self) -> str:
        """In words, what peaks are."""
        return BY_STAGE if self._resets else SO_FAR

    def lap(self) -> Cost:
        """Return what was spent since the last lap, and begin another."""
        peak = _peak() if self._resets else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        now, before = self._now(), self._last
        if self._resets:
            _reset_peak()
        self._last = self._now()
        return Cost(now[0] - before[0], now[1] - before[1], now[2] - before[2], now[3] - before[3], peak)

    def _now(self) -> tuple[float, float, int, int]:
        read, written = _bytes_moved()
        return time.perf_counter(), time.process_time(), read, written


@dataclass(frozen=True)
class Rate:
    """How often something was done in how long, on several threads together."""

    times: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        """Times a second."""
        return self.times / self.seconds


def on_threads(work: Callable[[int], object], workers: int, at_least_s: float) -> Rate:
    """Run work(0), work(1), ... on `workers` threads for `at_least_s`; each thread ends what it began.

    The first round of each thread warms up and does not count. Raises what `work` raises.
    """
    numbers = iter(range(1 << 62))
    lock = threading.Lock()
    ready = threading.Barrier(workers + 1)
    done: list[int] = []
    failed: list[BaseException] = []
    ends = [0.0]

    def loop() -> None:
        try:
            work(next_number())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            failed.append(error)
        ready.wait()  # all are warm
        ready.wait()  # the clock runs
        count = 0
        try:
            while not failed and time.perf_counter() < ends[0]:
                work(next_number())
                count += 1
        except BaseException as error:  # noqa: BLE001 - as above
            failed.append(error)
        done.append(count)

    def next_number() -> int:
        with lock:
            return next(numbers)

    threads = [threading.Thread(target=loop, name="colluvium-bench", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    ready.wait()
    started, cpu = time.perf_counter(), time.process_time()
    ends[0] = started + at_least_s
    ready.wait()
    for thread in threads:
        thread.join()
    seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    if failed:
        raise failed[0]
    if not sum(done):
        return on_threads(work, workers, 2 * at_least_s)
    return Rate(sum(done), seconds, spent)


def _bytes_moved() -> tuple[int, int]:
    try:
        lines = (_PROCESS / "io").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {name: int(value) for name, value in (line.split(": ") for line in lines)}
    return values["rchar"], values["wchar"]


def _peak() -> int:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> bool:
    try:
        descriptor = os.open(_PROCESS / "clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(descriptor, _RESET_PEAK.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
