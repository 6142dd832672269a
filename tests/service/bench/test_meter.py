"""What is measured is what was done."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from service.bench import meter as meter_module
from service.bench.limits import LimitSizes, measure_limits
from service.bench.meter import SO_FAR, Cost, Meter, on_threads


def test_bytes_that_are_read_and_written_are_counted(tmp_path: Path) -> None:
    if not os.access("/proc/self/io", os.R_OK):
        pytest.skip("no /proc/self/io here")
    meter = Meter()
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    written = meter.lap()
    (tmp_path / "file").read_bytes()
    read = meter.lap()
    assert 3_000_000 <= written.bytes_written < 3_100_000
    assert 3_000_000 <= read.bytes_read < 3_100_000
    assert read.bytes_written < 100_000


def test_a_peak_is_of_its_own_lap() -> None:
    meter = Meter()
    if meter.memory_how == SO_FAR:
        pytest.skip("peaks cannot be begun anew here")
    held = np.ones(64 << 20, np.uint8)
    much = meter.lap()
    del held
    meter.lap()
    little = meter.lap()
    assert much.peak_rss_bytes - little.peak_rss_bytes > 48 << 20


def test_where_a_peak_cannot_be_begun_anew_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "_PROCESS", Path("/nowhere"))
    meter = Meter()
    assert meter.memory_how == SO_FAR
    assert meter.lap().peak_rss_bytes > 1 << 20


def test_costs_add_up_and_travel() -> None:
    one, other = Cost(1.0, 2.0, 3, 4, 50), Cost(0.5, 0.25, 10, 20, 40)
    both = one.plus(other)
    assert both == Cost(1.5, 2.25, 13, 24, 50)
    assert both.bytes == 37
    assert Cost.of_json(both.to_json()) == both


def test_work_goes_to_as_many_threads_as_asked_for() -> None:
    together = threading.Barrier(3, timeout=20)
    seen: set[int] = set()

    def work(_: int) -> None:
        if threading.get_ident() not in seen:
            together.wait()  # passes only where three threads are at work
            seen.add(threading.get_ident())

    rate = on_threads(work, 3, 0.01)
    assert len(seen) == 3
    assert rate.times > 0
    assert rate.per_second == rate.times / rate.seconds


def test_a_thread_that_works_on_does_not_keep_an_interrupted_program_alive() -> None:
    kinds: set[bool] = set()
    on_threads(lambda _: kinds.add(threading.current_thread().daemon), 2, 0.01)
    assert kinds == {True}


def test_an_error_in_one_thread_ends_all() -> None:
    def work(number: int) -> None:
        if number == 5:
            raise ValueError("the fifth")

    with pytest.raises(ValueError, match="the fifth"):
        on_threads(work, 2, 60.0)


def test_the_machine_has_limits_and_nothing_is_left_behind(tmp_path: Path) -> None:
    found = measure_limits(tmp_path, 1, LimitSizes(matrix=64, copy_bytes=1 << 20, file_bytes=1 << 20))
    assert found.matrix_flops > 0
    assert found.copy_bytes_per_s > 0
    assert found.disk_bytes_per_s > 0
    assert all((found.matrix_how, found.copy_how, found.disk_how))
    assert list(tmp_path.iterdir()) == []
