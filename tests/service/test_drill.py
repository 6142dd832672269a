"""Drills: a marked exercise goes down the whole chain and touches no layer and no warning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporters.cap import cap_xml
from service.cli import main_group
from service.errors import UsageError
from service.stamps import utc_now
from tests.fix_cap import DAY, Desk, morning, open_desk, read_valid, texts_of, with_cap
from tests.fix_region import ToyRegion

WHO = ["--by", "A. Rossi", "--reason", "spring drill"]


@pytest.fixture
def desk(toy_template: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = open_desk(toy_template, tmp_path / "desk")
    with desk.ledger:
        yield desk


def begin(desk: Desk, zone: str = "west", level: int = 2, minutes: int = 30) -> None:
    ends_at = desk.clock() + timedelta(minutes=minutes)
    desk.ledger.start_drill(zone, level, ends_at, "A. Rossi", "spring drill")


def run(toy: ToyRegion, *arguments: str) -> Any:
    return CliRunner().invoke(main_group, ["alerts", "drill", "-c", str(toy.config), *arguments])


def test_a_drill_sends_a_message_that_nobody_can_take_for_real(desk: Desk) -> None:
    begin(desk)

    (alert,) = desk.send()

    root = read_valid(cap_xml(alert))
    assert texts_of(root, "status") == ["Exercise"]
    assert texts_of(root, "scope") == ["Restricted"]
    assert texts_of(root, "info/headline")[0].startswith("EXERCISE - ")
    assert "A. Rossi (spring drill)" in texts_of(root, "info/description")[0]
    assert texts_of(root, "info/instruction") == ["EXERCISE: take no action beyond the exercise."]
    assert texts_of(root, "info/responseType") == ["None"]
    assert texts_of(root, "info/certainty") == ["Unknown"]
    assert alert.infos[0].expires == morning(DAY) + timedelta(minutes=30, microseconds=1)


def test_a_drill_is_sent_once_and_cancelled_when_it_is_over(desk: Desk) -> None:
    begin(desk)
    (alert,) = desk.send()
    assert desk.send() == []

    (cancel,) = desk.send(morning(DAY, 7))

    assert (cancel.kind, cancel.status, cancel.thread) == ("Cancel", "Exercise", alert.thread)
    assert [item.identifier for item in cancel.references] == [alert.identifier]
    assert "over" in read_valid(cap_xml(cancel)).findtext(".//{*}headline")
    assert desk.send(morning(DAY, 8)) == []


def test_a_drill_that_nobody_could_be_told_of_in_time_is_not_told_of_later(desk: Desk) -> None:
    begin(desk)

    assert desk.send(morning(DAY, 7)) == []


def test_a_drill_leaves_a_real_warning_as_it_is(desk: Desk) -> None:
    desk.show(DAY, {"west": 3, "east": 0})
    (real,) = desk.send()
    before = desk.ledger.latest()
    begin(desk, level=1)

    exercise, *others = desk.send()
    assert (exercise.status, others) == ("Exercise", [])
    (cancel,) = desk.send(morning(DAY, 8))

    assert cancel.thread == exercise.thread != real.thread
    assert desk.ledger.latest() == before
    assert [message.thread for message in desk.ledger.cap.last_of_open_threads()] == [real.thread]


def test_who_began_and_ended_a_drill_is_in_the_journal(desk: Desk) -> None:
    begin(desk)
    desk.ledger.end_drills(None, "B. Verdi", "seen by all")

    acts = [(act.act, act.subject, act.by, act.reason) for act in desk.ledger.journal()]
    assert acts == [
        ("drill", "west orange", "A. Rossi", "spring drill"),
        ("end drill", "west orange", "B. Verdi", "seen by all"),
    ]
    assert desk.ledger.drills.running(desk.clock()) == []


def test_two_drills_in_one_zone_are_refused_and_leave_no_trace(desk: Desk) -> None:
    begin(desk)

    with pytest.raises(UsageError, match="end it"):
        begin(desk, level=3)

    assert [drill.level for drill in desk.ledger.drills.all()] == [2]
    assert len(desk.ledger.journal()) == 1
    begin(desk, zone="east")
    assert len(desk.ledger.drills.running(desk.clock())) == 2


# --- the command ---


def test_the_command_begins_a_drill_and_says_what_must_happen(toy: ToyRegion) -> None:
    with_cap(toy)
    toy.clock.now = utc_now()

    answer = run(toy, "--zone", "west", "--level", "red", "--minutes", "20", *WHO)

    assert answer.exit_code == 0, answer.output
    assert "EXERCISE in west: red until" in answer.output
    assert 'colluvium_exercise_level{zone="west"} 3' in answer.output
    assert "CAP      Alert toy-" in answer.output
    with toy.ledger() as ledger:
        (drill,) = ledger.drills.running(utc_now())
        assert drill.ends_at - drill.started_at == pytest.approx(
            timedelta(minutes=20), abs=timedelta(seconds=9)
        )
        assert ledger.layers() == []
        assert ledger.cap.counts() == {("Alert", "Exercise"): 1}


def test_the_command_ends_what_runs(toy: ToyRegion) -> None:
    with_cap(toy)
    assert run(toy, "--zone", "west", *WHO).exit_code == 0

    answer = run(toy, "--end", *WHO, "--json")

    told = json.loads(answer.output)
    assert [item["zone"] for item in told["drills"]] == ["west"]
    assert [item["kind"] for item in told["cap"]] == ["Cancel"]
    with toy.ledger() as ledger:
        assert ledger.drills.running(utc_now()) == []


def test_a_region_without_cap_drills_the_rest_of_the_chain_and_says_so(toy: ToyRegion) -> None:
    answer = run(toy, "--zone", "west", *WHO)

    assert answer.exit_code == 0, answer.output
    assert "no [cap] section" in answer.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--zone", "nowhere"], "no zone 'nowhere'; zones: east (East), west (West)"),
        ([], "name a zone with --zone"),
        (["--end"], "nothing to end"),
    ],
)
def test_what_cannot_be_drilled_is_refused_with_what_could_be(
    toy: ToyRegion, arguments: list[str], told: str
) -> None:
    answer = run(toy, *arguments, *WHO)

    assert isinstance(answer.exception, UsageError)
    assert told in str(answer.exception)
    with toy.ledger() as ledger:
        assert ledger.drills.all() == []


def test_a_drill_needs_a_name_and_a_reason(toy: ToyRegion) -> None:
    assert run(toy, "--zone", "west", "--by", "A. Rossi").exit_code != 0
    assert run(toy, "--zone", "west", "--reason", "drill").exit_code != 0
