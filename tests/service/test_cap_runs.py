"""When messages are made: with each run, each ingest and each withdrawal, and never at their expense."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from exporters.cap import CapMessage
from exporters.cap_area import zone_polygons
from exporters.stac import ITEM, write_item
from service import cap_writing
from service.cli import main_group
from service.errors import Outcome
from service.lock import exclusive
from service.stamps import utc_now
from service.workshop import ledger_path, lock_path
from tests.fix_cap import CAP, Desk, desk_in, with_cap
from tests.fix_region import ToyRegion


@pytest.fixture
def desk(toy: ToyRegion) -> Iterator[Desk]:
    """A toy region on whose newest map, of the real today, the west is orange; nothing is sent yet."""
    with_cap(toy)
    toy.clock.now = utc_now()
    desk = desk_in(toy.folder, utc_now())
    with desk.ledger:
        layer = desk.show(utc_now().date(), {"west": 2, "east": 0})
        write_item(layer, layer.folder / ITEM)
        yield desk


def kinds(desk: Desk) -> list[str]:
    return [message.kind for message in reversed(desk.ledger.cap.newest(10))]


def run(toy: ToyRegion, *arguments: str) -> Any:
    return CliRunner().invoke(main_group, [*arguments, "-c", str(toy.config)])


def newest(desk: Desk) -> CapMessage:
    return desk.ledger.cap.newest(1)[0]


def test_a_run_sends_what_its_layer_calls_for_even_where_the_run_itself_is_held(
    toy: ToyRegion, desk: Desk
) -> None:
    desk.ledger.write_act("hold", "toy", "A. Rossi", "gauges under repair")

    (result,) = toy.refresh()

    assert result.outcome == Outcome.HELD
    assert kinds(desk) == ["Alert"]


def test_a_run_that_found_another_one_at_work_leaves_messages_to_it(toy: ToyRegion, desk: Desk) -> None:
    with exclusive(lock_path(toy.settings), "test"):
        (result,) = toy.refresh()

    assert result.outcome == Outcome.LOCKED
    assert kinds(desk) == []


def test_a_replay_sends_nothing(toy: ToyRegion, desk: Desk) -> None:
    toy.refresh(as_of=toy.clock.now - timedelta(days=1))

    assert kinds(desk) == []


def test_each_ingest_looks_whether_something_lapses(toy: ToyRegion, desk: Desk) -> None:
    answer = run(toy, "ingest")

    assert answer.exit_code == 0, answer.output
    assert kinds(desk) == ["Alert"]


def test_a_withdrawal_cancels_at_once_and_says_so(toy: ToyRegion, desk: Desk) -> None:
    desk.send()
    layer = desk.ledger.latest()
    assert layer is not None

    answer = run(toy, "withdraw", str(layer.day), "--by", "A. Rossi", "--reason", "gauge 7 flooded")

    assert answer.exit_code == 0, answer.output
    assert kinds(desk) == ["Alert", "Cancel"]
    assert f"CAP Cancel {newest(desk).identifier}" in answer.output


def test_a_forecast_can_be_withdrawn_and_its_warning_is_cancelled(toy: ToyRegion, desk: Desk) -> None:
    today = utc_now().date()
    green = desk.show(today, {"west": 0, "east": 0})
    ahead = desk.show(today + timedelta(days=1), {"west": 0, "east": 3}, lead=1)
    for layer in (green, ahead):
        write_item(layer, layer.folder / ITEM)
    desk.send()
    assert kinds(desk) == ["Alert"]

    act = ("--by", "A. Rossi", "--reason", "the provider sent millimetres as inches")
    nowcast = run(toy, "withdraw", str(today), *act)
    forecast = run(toy, "withdraw", str(ahead.day), "--lead", "1", *act)
    again = run(toy, "withdraw", str(ahead.day), "--lead", "1", *act)

    assert nowcast.exit_code == 0, nowcast.output
    assert f"still on display: the forecast {ahead.id}" in nowcast.output
    assert forecast.exit_code == 0, forecast.output
    assert kinds(desk) == ["Alert", "Cancel"]
    assert "withdrawn" in newest(desk).infos[0].headline
    assert "1 days ahead, on display" in str(again.exception)


def test_texts_that_broke_stop_no_run_and_the_next_one_makes_up_for_it(toy: ToyRegion, desk: Desk) -> None:
    good = toy.config.read_text("utf-8")
    toy.config.write_text(good.replace(CAP, CAP + 'languages = ["tlh"]\n'), "utf-8")
    desk.ledger.write_act("hold", "toy", "A. Rossi", "gauges under repair")
    with capture_logs() as logs:
        (result,) = toy.refresh()

    assert result.outcome == Outcome.HELD
    assert any(entry["log_level"] == "error" and "tlh" in entry.get("reason", "") for entry in logs)
    assert kinds(desk) == []
    toy.config.write_text(good, "utf-8")
    toy.refresh()
    assert kinds(desk) == ["Alert"]


def test_what_a_message_cannot_carry_stops_no_run(
    toy: ToyRegion, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ground(*_: object) -> None:
        raise ValueError("a zone without ground has no polygon")

    monkeypatch.setattr(cap_writing, "zone_polygons", no_ground)
    desk.ledger.write_act("hold", "toy", "A. Rossi", "gauges under repair")
    with capture_logs() as logs:
        (result,) = toy.refresh()

    assert result.outcome == Outcome.HELD
    assert any("without ground" in entry.get("reason", "") for entry in logs if entry["log_level"] == "error")


def test_nobody_waits_for_the_outlines_of_zones(
    toy: ToyRegion, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlined = []

    def outline(*arguments: Any) -> Any:
        with closing(sqlite3.connect(ledger_path(toy.settings), timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")  # as a withdrawal does
            other.execute("ROLLBACK")
        outlined.append(arguments)
        return zone_polygons(*arguments)

    monkeypatch.setattr(cap_writing, "zone_polygons", outline)
    (alert,) = desk.send()

    assert len(outlined) == 1
    assert alert.area.polygons
