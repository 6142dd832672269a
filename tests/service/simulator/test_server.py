"""The simulator speaks HTTP as its services do, and breaks it on demand only."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from http.client import IncompleteRead, RemoteDisconnected
from urllib.error import URLError

import pytest

from service.simulator.catalogue import PUBLISHERS
from service.simulator.faults import Down, Fault, Slow, Stale, Truncated, VersionRotation, WrongType
from service.simulator.server import MOVED
from tests.fix_simulator import TODAY, Clock, example, get, simulating

FEEDS = [item.feed for item in PUBLISHERS]
DAY_BEFORE, DAY_AFTER = TODAY - timedelta(days=1), TODAY + timedelta(days=1)


@pytest.mark.parametrize("feed", FEEDS)
def test_every_feed_answers_its_own_example_and_says_what_a_cache_needs(feed: str) -> None:
    with simulating() as simulator:
        url = example(simulator, feed)
        first = get(url)
        assert first.status == 200, first.body
        assert first.body
        assert first.headers["Content-Length"] == str(len(first.body))
        head = get(url, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["ETag"] == first.headers["ETag"]
        assert head.headers["Content-Length"] == str(len(first.body))
        unchanged = get(url, If_None_Match=first.headers["ETag"])
        assert (unchanged.status, unchanged.body) == (304, b"")
        assert get(url, If_Modified_Since=first.headers["Last-Modified"]).status == 304
        part = get(url, Range="bytes=2-5")
        assert (part.status, part.body) == (206, first.body[2:6])
        assert part.headers["Content-Range"] == f"bytes 2-5/{len(first.body)}"
        assert get(url, Range="bytes=-3").body == first.body[-3:]
        assert get(url, Range=f"bytes={len(first.body)}-").status == 416
        assert get(url, Range="bytes=0-1", If_Range='"another"').status == 200


@pytest.mark.parametrize("feed", FEEDS)
def test_a_new_day_changes_the_page_and_its_tag(feed: str) -> None:
    clock = Clock()
    with simulating(clock=clock) as simulator:
        old = get(example(simulator, feed))
        clock.pass_days()
        new = get(example(simulator, feed), If_None_Match=old.headers["ETag"])
        assert new.status == 200
        assert new.body != old.body


@pytest.mark.parametrize("feed", ["chirps_v3_prelim", "chirps_v3_final", "imerg_early", "imerg_late"])
def test_a_raster_is_not_there_before_its_latency_is_over(feed: str) -> None:
    clock = Clock()
    with simulating(clock=clock) as simulator:
        product = simulator.publishers[feed]
        view = simulator.view(feed)
        tomorrow = product.example(simulator.view(feed, clock.now + timedelta(days=1)))
        assert get(f"{simulator.address(feed)}/{product.example(view)}").status == 200
        assert get(f"{simulator.address(feed)}/{tomorrow}").status == 404
        clock.pass_days()
        assert get(f"{simulator.address(feed)}/{tomorrow}").status == 200


def test_what_nobody_serves_is_not_found_and_nonsense_is_a_bad_request() -> None:
    with simulating() as simulator:
        assert b"served are" in get(f"{simulator.base}/nowhere/x").body
        for feed in FEEDS:
            assert get(f"{simulator.address(feed)}/nothing/of/the/kind").status == 404
        assert get(f"{simulator.address('open_meteo')}/v1/forecast?latitude=x&longitude=1").status == 400
        assert get(f"{simulator.address('usgs_nwis')}/nwis/dv/?format=json").status == 400


# --- faults of the way ---


def on(fault: Fault) -> Fault:
    """Return the fault for today's open_meteo."""
    return fault.model_copy(update={"feed": "open_meteo", "since": TODAY, "until": TODAY})


ANY = {"feed": "*", "since": TODAY, "until": TODAY}


def test_a_fault_stands_on_its_days_and_on_its_feed_alone() -> None:
    clock = Clock(DAY_BEFORE)
    with simulating(on(Down(**ANY)), clock=clock) as simulator:
        for status in (200, 503, 200):
            assert get(example(simulator, "open_meteo")).status == status
            assert get(example(simulator, "arpae")).status == 200
            clock.pass_days()


def test_down_may_ask_for_patience_or_say_nothing() -> None:
    with simulating(on(Down(**ANY, status=429, retry_after_s=7))) as simulator:
        answer = get(example(simulator, "open_meteo"))
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    with (
        simulating(on(Down(**ANY, status=0))) as simulator,
        pytest.raises((URLError, RemoteDisconnected, ConnectionError)),
    ):
        get(example(simulator, "open_meteo"))


def test_slow_is_slower_than_a_reader_waits_and_ends_with_the_simulator() -> None:
    started = time.monotonic()
    with (
        simulating(on(Slow(**ANY, wait_s=600))) as simulator,
        pytest.raises(TimeoutError),
    ):
        get(example(simulator, "open_meteo"), timeout=0.05)
    with (
        simulating(on(Slow(**ANY, wait_s=0, pause_s=600, piece_bytes=10))) as simulator,
        pytest.raises(TimeoutError),
    ):
        get(example(simulator, "open_meteo"), timeout=0.05)
    assert time.monotonic() - started < 10


def test_truncated_breaks_off_or_pretends_to_be_whole() -> None:
    with (
        simulating(on(Truncated(**ANY, share=0.5))) as simulator,
        pytest.raises(IncompleteRead),
    ):
        get(example(simulator, "open_meteo"))
    with simulating(on(Truncated(**ANY, share=0.5, stated=False))) as simulator:
        answer = get(example(simulator, "open_meteo"))
        assert answer.headers["Content-Length"] == str(len(answer.body))
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.body)


def test_the_wrong_type_is_a_web_page_with_status_200_and_may_lie() -> None:
    with simulating(on(WrongType(**ANY, content_type="application/json"))) as simulator:
        answer = get(example(simulator, "open_meteo"))
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("feed", FEEDS)
def test_a_stale_page_is_the_one_before_until_the_fault_is_gone(feed: str) -> None:
    clock = Clock(DAY_BEFORE)
    stale = Stale(feed=feed, since=TODAY, until=DAY_AFTER)
    with simulating(stale, clock=clock) as simulator:
        # As of the last second before the fault: latencies of hours may end between the two.
        clock.now = clock.now.replace(hour=23, minute=59, second=59)
        url = example(simulator, feed).replace(
            "past_days=7&forecast_days=3", "start_date=2026-03-01&end_date=2026-03-09"
        )
        before = get(url)
        for _ in range(2):
            clock.pass_days()
            assert get(url).body == before.body
        clock.pass_days()
        assert example(simulator, feed) != url or get(url).body != before.body


def test_a_rotation_moves_services_and_renames_files() -> None:
    clock = Clock(DAY_BEFORE)
    moving = [
        VersionRotation(feed=feed, since=TODAY, until=TODAY, version="V07C")
        for feed in ("arpae", "imerg_late")
    ]
    with simulating(*moving, clock=clock) as simulator:
        table, file = example(simulator, "arpae"), example(simulator, "imerg_late")
        assert get(table).status == get(file).status == 200
        clock.pass_days()
        moved = get(table)
        assert (moved.status, moved.headers["Location"]) == (301, f"/arpae/{MOVED}/rain_daily.csv")
        assert get(f"{simulator.base}{moved.headers['Location']}").status == 200
        assert get(file).status == 404
        assert get(file.replace("V07B", "V07C")).status == 200
        clock.pass_days()
        assert get(table).status == get(file).status == 200
