"""What a report comes to elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bench.cost import (
    EXTRAPOLATED,
    MEASURED,
    Machine,
    Place,
    estimates,
    read_reports,
    serial_share,
    stage_seconds,
)
from service.errors import UsageError

MILLION = 1_000_000


def report(cells: int = MILLION, peak: int = 500 * MILLION, **stages: dict[str, Any]) -> dict[str, Any]:
    """A report of two workers: head on both, areas on one."""
    of_refresh = stages or {
        "head": {"seconds": 1.0, "cpu_s": 2.0, "in_refresh": True},
        "areas": {"seconds": 0.5, "cpu_s": 0.5, "in_refresh": True},
    }
    apart = {
        "state": {"seconds": 10.0, "cpu_s": 20.0, "in_refresh": False},
        "head_alone": {"seconds": 0.8, "cpu_s": 1.6, "in_refresh": False},
    }
    return {
        "bench": 1,
        "cells": cells,
        "region": {"name": "bench"},
        "machine": {"workers": 2, "memory_bytes": 16e9},
        "stages": of_refresh | apart,
        "end_to_end": {"seconds": sum(stage["seconds"] for stage in of_refresh.values())},
        "limits": {"matrix_flops": 2e11, "copy_bytes_per_s": 2e10, "disk_bytes_per_s": 1e9},
        "share_of_matrix_limit": {"head": 0.5},
        "disk": {
            "state_bytes": 130 * cells,
            "state_bytes_per_cell": 130.0,
            "layer_bytes": cells,
            "database_bytes": None,
        },
        "peak_rss_bytes": peak,
    }


def test_what_was_measured_comes_first_and_is_marked() -> None:
    found = estimates([report()])
    assert [one.marked for one in found[:2]] == [MEASURED, EXTRAPOLATED]
    assert found[0].seconds == 1.5
    assert found[0].bottleneck == "head"
    assert all(one.marked == EXTRAPOLATED for one in found[1:])


def test_the_same_machine_and_ten_times_the_cells_take_ten_times_as_long() -> None:
    same = Machine("same", 2)
    (_, found) = estimates([report()], [Place("ten", 10 * MILLION)], [same])
    assert found.seconds == pytest.approx(15.0)
    assert found.state_seconds == pytest.approx(100.0)
    assert found.state_bytes == pytest.approx(1300 * MILLION)
    assert found.layer_bytes == 10 * MILLION
    assert found.database_bytes is None


def test_more_cores_help_what_spreads_and_the_rest_becomes_the_bottleneck() -> None:
    (_, found) = estimates(
        [report()], [Place("ten", 10 * MILLION)], [Machine("many", 64, memory_bytes_per_s=1e12)]
    )
    assert found.seconds == pytest.approx(5.0 + 20 / 64)
    assert found.bottleneck == "areas"


def test_a_state_that_does_not_fit_in_memory_is_read_from_the_disk() -> None:
    (_, found) = estimates([report()], [Place("large", 1000 * MILLION)], [Machine("many", 64)])
    assert found.bottleneck == "areas"
    (_, found) = estimates(
        [report(head={"seconds": 1.0, "cpu_s": 2.0, "in_refresh": True})],
        [Place("large", 1000 * MILLION)],
        [Machine("many", 64)],
    )
    assert found.bottleneck == "reading the state"
    assert found.seconds == pytest.approx(130.0)


def test_a_card_takes_the_head_and_a_cluster_shares_it() -> None:
    card = Machine("card", 2, gpu_flops=2e13, gpu_bytes_per_s=1e15, memory_bytes_per_s=1e15)
    (_, found) = estimates([report()], [Place("ten", 10 * MILLION)], [card])
    # The head alone takes 8 s of half the processor's limit; the card's is a hundred times that. What else
    # its stage does, 4 core-seconds, stays where it was, and so do the areas.
    assert found.seconds == pytest.approx(5.0 + 2.0 + 8.0 / 100)
    cluster = Machine("cluster", 2, memory_bytes_per_s=1e15, machines=10)
    (_, found) = estimates([report()], [Place("ten", 10 * MILLION)], [cluster])
    assert found.seconds == pytest.approx(5.0 + 2.0 + 0.8)
    assert found.state_seconds == pytest.approx(10.0)


def test_how_stages_spread_is_not_made_up_from_one_worker() -> None:
    alone = report() | {"machine": {"workers": 1, "memory_bytes": 16e9}}
    with pytest.raises(UsageError, match="--workers 2"):
        estimates([alone])


def test_memory_follows_the_line_through_what_was_measured() -> None:
    small, large = report(MILLION, 500 * MILLION), report(11 * MILLION, 510 * MILLION)
    found = estimates([large, small], [Place("more", 111 * MILLION)], [Machine("same", 2)])[-1]
    assert found.memory_bytes == pytest.approx(610 * MILLION)
    (_, alone) = estimates([small], [Place("more", 111 * MILLION)], [Machine("same", 2)])
    assert alone.memory_bytes == 500 * MILLION


def test_a_report_without_the_head_by_itself_says_how_memory_grows_and_no_more() -> None:
    small, large = report(MILLION, 500 * MILLION), report(11 * MILLION, 510 * MILLION)
    refreshed = large | {"stages": {k: v for k, v in large["stages"].items() if k != "head_alone"}}
    place, machine = [Place("more", 111 * MILLION)], [Machine("same", 2)]
    (*_, found), (_, alone) = (
        estimates([small, refreshed], place, machine),
        estimates([small], place, machine),
    )
    assert found.memory_bytes == pytest.approx(610 * MILLION)
    assert found.seconds == alone.seconds


@given(st.floats(1, 8), st.integers(2, 8))
def test_a_share_gives_back_the_time_that_it_was_found_from(busy: float, workers: int) -> None:
    busy = min(busy, workers)
    share = serial_share(busy, workers)
    assert 0 <= share <= 1
    stage = {"seconds": 1.0, "cpu_s": busy}
    assert stage_seconds(stage, 100, workers, 100, workers) == pytest.approx(1.0)
    assert stage_seconds(stage, 100, workers, 100, 10 * workers) <= 1.0 + 1e-9


def test_a_stage_that_waits_does_not_get_faster_with_cores() -> None:
    assert stage_seconds({"seconds": 2.0, "cpu_s": 0.1}, 100, 2, 200, 64) == 4.0


def test_anything_else_than_a_report_is_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(report()), "utf-8")
    bad.write_text('{"cells": 5}', "utf-8")
    assert read_reports([good])[0]["cells"] == MILLION
    with pytest.raises(UsageError, match=r"bad\.json is not what"):
        read_reports([good, bad])
    with pytest.raises(UsageError, match="needs a report"):
        estimates([])
