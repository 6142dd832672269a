"""Detections by command: listed, accepted and rejected in numbers, ranges and by scene; reviews closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli import main_group
from service.errors import UsageError
from service.status import read_status
from tests.fix_inventory import SENSED, STEP, event, findings, outline
from tests.fix_region import ToyRegion

WHO = ("--by", "A. Rossi", "--reason", "picture")


def run(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["detections", *arguments, "-c", str(toy.config)])


def done(toy: ToyRegion, *arguments: str) -> Any:
    said = run(toy, *arguments, "--json")
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def receive(toy: ToyRegion, outlines: int = 5) -> None:
    with toy.ledger() as ledger:
        ledger.detections.receive(findings(outlines=outlines))


def states(toy: ToyRegion) -> list[str]:
    return [item["state"] for item in done(toy, "list")["detections"]]


def test_numbers_and_ranges_are_decided_together(toy: ToyRegion) -> None:
    receive(toy)
    said = run(toy, "accept", "1", "3-4", *WHO)
    assert said.exit_code == 0, said.output
    assert "detection 4 (44.00050 11.00650) is accepted" in said.output
    assert states(toy) == ["accepted", "proposed", "accepted", "accepted", "proposed"]
    with toy.ledger() as ledger:
        assert len(ledger.events.all()) == 3


def test_all_of_a_scene_above_a_confidence_are_decided_together(toy: ToyRegion) -> None:
    receive(toy)
    done(toy, "accept", "--all-of", "1", "--min-confidence", "0.53", *WHO)
    done(toy, "reject", "--all-of", "1", "--max-confidence", "0.51", *WHO)
    assert states(toy) == ["rejected", "proposed", "proposed", "accepted", "accepted"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name detections by number"),
        (("1", "--all-of", "1"), "name detections by number"),
        (("1", "--min-confidence", "0.5"), "go with --all-of"),
        (("--all-of", "1", "--min-confidence", "0.99"), "no detection of scene 1"),
        (("--all-of", "7"), "no scene 7"),
    ],
)
def test_it_must_be_clear_which_are_meant(toy: ToyRegion, arguments: tuple[str, ...], words: str) -> None:
    receive(toy)
    said = run(toy, "accept", *arguments, *WHO)
    assert isinstance(said.exception, UsageError)
    assert words in str(said.exception)


@pytest.mark.parametrize("text", ["x", "5-", "9-3", "0", "1-9999999"])
def test_what_is_no_number_is_told(toy: ToyRegion, text: str) -> None:
    said = run(toy, "accept", text, *WHO)
    assert said.exit_code == 2
    assert "Error" in said.output


def test_what_may_be_known_is_named_and_can_be_skipped(toy: ToyRegion) -> None:
    receive(toy)
    with toy.ledger() as ledger:
        ledger.events.add(event("known", outline=outline(1).outline, day_from=SENSED, day=SENSED))
    listed = run(toy, "list")
    assert listed.output.count("MAY BE KNOWN as known") == 1
    assert [item["already"] for item in done(toy, "list")["detections"]] == [[], ["known"], [], [], []]
    assert "known" in run(toy, "show", "2").output

    refused = run(toy, "accept", "1-3", *WHO)
    assert "detection 2 may be in the inventory already, as known" in str(refused.exception)
    assert set(states(toy)) == {"proposed"}
    assert done(toy, "accept", "1-3", "--skip-known", *WHO)["skipped"] == [2]
    assert states(toy)[:3] == ["accepted", "proposed", "accepted"]
    done(toy, "accept", "2", "--again", *WHO)
    assert states(toy)[1] == "accepted"


def test_a_scene_is_reviewed_to_its_end(toy: ToyRegion) -> None:
    receive(toy, 2)
    assert "OPEN" in run(toy, "scenes").output
    assert "wait for a decision: 1, 2" in str(run(toy, "close", "1", *WHO).exception)
    done(toy, "reject", "1-2", *WHO)
    assert done(toy, "close", "1", *WHO)["by"] == "A. Rossi"
    assert run(toy, "scenes", "--open").output == "no scenes\n"
    assert done(toy, "reopen", "1", *WHO)["by"] is None


def test_what_files_and_people_say_is_not_obeyed_by_the_terminal(toy: ToyRegion) -> None:
    with toy.ledger() as ledger:
        ledger.detections.receive(findings("a\x1b[2J", [outline(0, "b", x=11.0 + STEP)]))
        ledger.detections.note_attempt(toy.folder / "bad\x1b]0;x\x07", "s", "reason\x1b[31m\nsecond line")
        ledger.detections.decide(1, "accepted", "A\x1b. Rossi", "why\x1b")
    for command in (("scenes",), ("list",), ("show", "1")):
        said = run(toy, *command)
        assert said.exit_code == 0, said.output
        assert "\x1b" not in said.output
    assert "\x1b" not in read_status(toy.settings, toy.clock()).to_text()


def test_the_status_tells_what_waits_and_what_could_not_be_used(toy: ToyRegion) -> None:
    assert "scene" not in read_status(toy.settings, toy.clock()).to_text().replace("SYNTHETIC", "")
    receive(toy)
    with toy.ledger() as ledger:
        ledger.detections.note_attempt(toy.folder / "x.SAFE", "s", "B02 is damaged")
    report = read_status(toy.settings, toy.clock())
    assert "1 scene waits for review since 2023-05-24, 5 detections undecided" in report.to_text()
    assert "x.SAFE: B02 is damaged" in report.to_text()
    assert report.to_json()["scenes"]["waiting"] == 1


def test_without_a_folder_to_watch_the_scan_says_so(toy: ToyRegion) -> None:
    said = CliRunner().invoke(main_group, ["scan", "-c", str(toy.config)])
    assert isinstance(said.exception, UsageError)
    assert "detection.scenes" in str(said.exception)
