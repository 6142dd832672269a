"""An audit says what was shown, known, decided and sent on a day, as it was then, and proves its files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporters.cap import CapArea, CapBasis, CapInfo, CapMessage, cap_xml
from exporters.layer import Layer, ZoneWarning
from service.audit import Audit, make_audit
from service.audit_shown import displays
from service.cli import main_group
from service.display import mark_withdrawn
from service.errors import UsageError
from tests.fix_forecast import add_forecast_feed, issue, refresh_leads
from tests.fix_inventory import event
from tests.fix_region import LAST_DAY, ToyRegion

TODAY = LAST_DAY + timedelta(days=1)  # the toy's clock begins at 6 on this day


class Evidence:
    """What an archive holds."""

    def __init__(self, path: Path) -> None:
        self.file = zipfile.ZipFile(path)
        (self.folder,) = {name.split("/")[0] for name in self.file.namelist()}

    def names(self) -> list[str]:
        """Name the files, without the folder that they all lie in."""
        return [name.removeprefix(f"{self.folder}/") for name in self.file.namelist()]

    def read(self, name: str) -> bytes:
        """Read a file."""
        return self.file.read(f"{self.folder}/{name}")

    def rows(self, name: str) -> list[dict[str, str]]:
        """Read a table."""
        return list(csv.DictReader(io.StringIO(self.read(name).decode(), newline="")))


def audit(toy: ToyRegion, day: date = TODAY, name: str = "audit.zip", **how: bool) -> tuple[Audit, Evidence]:
    """Make an audit by the region's clock and open it."""
    target = toy.folder / name
    made = make_audit(toy.settings, day, target, toy.clock(), **how)
    return made, Evidence(target)


def withdraw(toy: ToyRegion) -> Layer:
    with toy.ledger() as ledger:
        layer = ledger.latest()
        assert layer is not None
        withdrawn = ledger.withdraw(layer, "A. Rossi", "gauge 7 flooded", [])
        mark_withdrawn(ledger)
        return withdrawn


def warned(layer: Layer, level: int | None) -> Layer:
    """Return the next revision of a layer, with a zone at a level."""
    warning = ZoneWarning(
        zone="west",
        name="West",
        level=level,
        previous=0,
        rule="orange from 10 % with growth of 7 points",
        numbers={"share": 0.14, "growth_7": 0.09},
        reference_share=0.05,
        decided_at=layer.issued_at,
    )
    identity = f"{layer.id.rsplit('-', 1)[0]}-r{layer.revision + 1}"
    return layer.model_copy(update={"id": identity, "revision": layer.revision + 1, "warnings": (warning,)})


def message(sent: datetime) -> CapMessage:
    said: dict[str, Any] = dict.fromkeys(("effective", "onset"), sent) | {"expires": sent + timedelta(days=1)}
    words = dict.fromkeys(("event", "sender_name", "description", "instruction"), "landslides")
    info = CapInfo(
        language="en", response="Monitor", urgency="Expected", severity="Moderate", certainty="Possible",
        headline="Orange in West", **said, **words,
    )  # fmt: skip
    return CapMessage(
        identifier="toy.1", sender="toy@example.org", sent=sent, status="Draft", kind="Alert", source="model",
        restriction=None, note=None, references=(), thread="toy.west.1", infos=(info,), zone="west",
        area=CapArea(description="West", polygons=()),
        basis=(CapBasis(layer_id="toy-1", day=TODAY, lead=0, level=2),),
    )  # fmt: skip


def test_every_file_is_proven_by_the_checksums_and_named_on_the_first_page(toy: ToyRegion) -> None:
    toy.refresh()

    _, evidence = audit(toy)

    lines = evidence.read("SHA256SUMS").decode().splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    assert set(listed) == set(evidence.names()) - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256(evidence.read(name)).hexdigest() == digest
    page = evidence.read("README.txt").decode()
    tables = [name for name in listed if name.endswith(".csv")]
    assert tables
    assert [name for name in tables if name not in page] == []
    assert "SYNTHETIC" in page


def test_an_audit_is_for_its_owner_alone(toy: ToyRegion) -> None:
    toy.refresh()
    made, _ = audit(toy)
    assert made.path.stat().st_mode & 0o077 == 0  # it names persons


def test_what_was_shown_is_told_to_the_moment_and_the_map_itself_is_in_it(toy: ToyRegion) -> None:
    toy.refresh(LAST_DAY)
    began = toy.clock()
    toy.clock.now += timedelta(hours=1)
    toy.refresh(TODAY)
    toy.clock.now += timedelta(hours=2)
    withdrawn = withdraw(toy)

    made, evidence = audit(toy)

    rows = evidence.rows("shown/display.csv")
    assert [row["nowcast"] for row in rows] == [
        "", "toy-2026-03-10-l0-r1", "toy-2026-03-11-l0-r1", "toy-2026-03-10-l0-r1",
    ]  # fmt: skip
    assert rows[0]["since"] == "2026-03-11T00:00:00.000000Z"
    assert [row["until"] for row in rows[:-1]] == [row["since"] for row in rows[1:]]
    assert rows[1]["since"] < began.strftime("%Y-%m-%dT%H:%M:%S.%fZ") < rows[2]["since"]
    assert [row["status"] for row in rows] == ["", "complete", "complete", "complete"]
    assert "not over yet" in evidence.read("README.txt").decode()
    kept = (withdrawn.folder / "class.tif").read_bytes()
    assert evidence.read(f"shown/{withdrawn.id}/class.tif") == kept
    assert made.layers == ("toy-2026-03-10-l0-r1", withdrawn.id)
    (act,) = evidence.rows("decided/acts.csv")
    assert (act["act"], act["by"], act["reason"]) == ("withdraw", "A. Rossi", "gauge 7 flooded")
    events = [row["what"] for row in evidence.rows("timeline.csv")]
    assert events[-2:] == ["act: withdraw", "withdrawn"] or events[-2:] == ["withdrawn", "act: withdraw"]


def test_what_comes_later_changes_no_byte_of_a_days_audit(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    toy.clock.now += timedelta(days=1)
    first, evidence = audit(toy, name="then.zip")
    assert "not over yet" not in evidence.read("README.txt").decode()

    withdraw(toy)
    toy.set_rain({(LAST_DAY, "north"): 88.0})
    toy.ingest()
    toy.refresh(TODAY)
    toy.clock.now += timedelta(days=100)
    second, _ = audit(toy, name="later.zip")

    assert second.layers == first.layers == ("toy-2026-03-11-l0-r1",)
    assert (toy.folder / "later.zip").read_bytes() == (toy.folder / "then.zip").read_bytes()
    # The correction is in the audit of the day on which it became known.
    _, corrected = audit(toy, TODAY + timedelta(days=1), "corrected.zip")
    said = [row["value"] for row in corrected.rows("known/readings.csv") if row["day"] == str(LAST_DAY)]
    assert "88.0" in said
    said = [row["value"] for row in evidence.rows("known/readings.csv") if row["day"] == str(LAST_DAY)]
    assert said
    assert "88.0" not in said


def test_known_are_the_readings_of_the_whole_window_with_the_feeds_attempts(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    (toy.folder / "rain.csv").unlink()
    toy.ingest()

    _, evidence = audit(toy)

    days = {row["day"] for row in evidence.rows("known/readings.csv")}
    assert {str(LAST_DAY - timedelta(days=back)) for back in range(30)} <= days
    attempts = evidence.rows("known/feeds.csv")
    assert [row["outcome"] for row in attempts][-1] == "failed"
    assert "no such file" in attempts[-1]["words"]
    kinds = {row["kind"] for row in evidence.rows("known/inputs.csv")}
    assert kinds >= {"settings", "zones", "bundle", "stack"}
    assert json.loads(evidence.read("known/bundle/manifest.json"))["name"] == "toy"


def test_decided_levels_come_with_rule_and_numbers_and_unknown_is_not_green(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    with toy.ledger() as ledger:
        layer = ledger.latest()
        assert layer is not None
        raised = warned(layer, 2)
        ledger.add_layer(raised, {}, [])
        ledger.add_layer(warned(raised, None), {}, [])

    _, evidence = audit(toy)

    orange, unknown = evidence.rows("decided/levels.csv")
    assert (orange["level"], orange["label"], orange["rule"]) == (
        "2", "orange", "orange from 10 % with growth of 7 points",
    )  # fmt: skip
    assert json.loads(orange["numbers"]) == {"share": 0.14, "growth_7": 0.09}
    assert (unknown["level"], unknown["label"]) == ("", "not known")
    page = evidence.read("README.txt").decode()
    assert "West (west): ORANGE" in page
    assert "West (west): NOT KNOWN" in page


def test_sent_messages_are_there_word_for_word_and_deliveries_as_they_stood(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    with toy.ledger() as ledger:
        sent = message(toy.clock())
        with ledger.transaction():
            ledger.cap.add(sent)
            ledger.outbox.put("toy-2026-03-11-l0-r1", "deliver", ["share"])
        delivery = ledger.outbox.next("share")
        assert delivery is not None
    _, before = audit(toy, name="before.zip")
    with toy.ledger() as ledger:
        ledger.outbox.delivered(delivery)

    _, evidence = audit(toy)

    assert [name for name in evidence.names() if name.startswith("sent/cap/")] == ["sent/cap/0001-alert.xml"]
    assert evidence.read("sent/cap/0001-alert.xml") == cap_xml(sent)
    assert evidence.rows("sent/cap.csv")[0]["headline"] == "Orange in West"
    assert [row["state"] for row in before.rows("sent/deliveries.csv")] == ["pending"]
    (row,) = evidence.rows("sent/deliveries.csv")
    assert (row["exporter"], row["state"], row["attempts"]) == ("share", "delivered", "1")


def test_a_drill_is_listed_as_the_exercise_that_it_was(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    with toy.ledger() as ledger, ledger.transaction():
        ledger.drills.start("west", 3, toy.clock() + timedelta(minutes=20), "A. Rossi", "monthly")

    _, evidence = audit(toy)

    assert [row["zone"] for row in evidence.rows("decided/drills.csv")] == ["west"]
    assert "EXERCISE begins" in [row["what"] for row in evidence.rows("timeline.csv")]
    assert evidence.rows("decided/levels.csv") == []


def test_the_days_landslides_are_those_known_by_then_with_what_was_decided_on_them(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    on_day = {"day_from": TODAY - timedelta(days=2), "day": TODAY}
    with toy.ledger() as ledger:
        ledger.events.add(event("kept", recorded_at=toy.clock(), **on_day))
        ledger.events.add(event("gone", recorded_at=toy.clock(), **on_day))
        ledger.events.add(event("old", recorded_at=toy.clock()))
        ledger.events.retract("gone", "B. Neri", "an old scar")
        toy.clock.now += timedelta(days=2)
        ledger.events.add(event("later", recorded_at=toy.clock(), **on_day))
        ledger.events.retract("kept", "B. Neri", "on second thoughts")

    _, evidence = audit(toy)

    assert [row["uid"] for row in evidence.rows("decided/events.csv")] == ["kept"]
    changes = [(row["what"], row["uid"]) for row in evidence.rows("decided/event-changes.csv")]
    assert changes == [("recorded", "kept"), ("recorded", "gone"), ("recorded", "old"), ("retracted", "gone")]
    assert "event retracted" in [row["what"] for row in evidence.rows("timeline.csv")]


def test_forecasts_stand_beside_the_nowcast_until_the_next_one(toy: ToyRegion) -> None:
    add_forecast_feed(toy)
    toy.refresh(TODAY)
    issue(toy, {TODAY + timedelta(days=ahead): 30.0 for ahead in range(4)})
    toy.clock.now += timedelta(hours=2)
    (made,) = refresh_leads(toy, 1)
    assert made.layer is not None
    with toy.ledger() as ledger:
        start = datetime.combine(TODAY, datetime.min.time(), toy.settings.timezone)

        (*_, last) = displays(ledger, start, toy.clock())

    assert (last.nowcast, last.forecasts) == ("toy-2026-03-11-l0-r1", (made.layer.id,))
    _, evidence = audit(toy)
    used = {row["issued_at"] for row in evidence.rows("known/readings.csv")} - {""}
    assert len(used) == 1


def test_keys_and_logins_in_addresses_stay_out(toy: ToyRegion) -> None:
    text = toy.config.read_text().replace(
        'attribution = "made up"', 'attribution = "https://me:hunter2@example.org/rain?api_key=swordfish"'
    )
    toy.config.write_text(text)
    toy.refresh(TODAY)

    _, evidence = audit(toy)

    settings = [name for name in evidence.names() if name.startswith("known/settings")]
    assert settings
    assert b"example.org" in evidence.read(settings[0])
    for name in settings:
        assert b"hunter2" not in evidence.read(name)
        assert b"swordfish" not in evidence.read(name)


def test_a_layer_whose_files_are_gone_is_told_and_its_record_stays(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    with toy.ledger() as ledger:
        layer = ledger.latest()
        assert layer is not None
        for path in layer.folder.iterdir():
            path.unlink()
        with ledger.transaction():
            ledger.mark_removed([layer.id])
    toy.clock.now += timedelta(hours=1)

    made, evidence = audit(toy)

    assert any("no longer kept" in note for note in made.notes)
    assert json.loads(evidence.read(f"shown/{layer.id}/layer.json"))["id"] == layer.id
    # It stood there until its files were removed.
    assert [row["nowcast"] for row in evidence.rows("shown/display.csv")] == ["", layer.id, ""]


def test_maps_may_be_left_out_and_their_records_stay(toy: ToyRegion) -> None:
    toy.refresh(TODAY)

    _, evidence = audit(toy, rasters=False)

    assert [name for name in evidence.names() if name.endswith(".tif")] == []
    assert "shown/toy-2026-03-11-l0-r1/layer.json" in evidence.names()


def test_a_day_to_come_or_an_archive_that_is_there_is_refused_and_nothing_is_left(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    target = toy.folder / "audit.zip"
    with pytest.raises(UsageError, match="has not begun"):
        make_audit(toy.settings, TODAY + timedelta(days=1), target, toy.clock())
    assert not target.exists()

    target.write_bytes(b"evidence")
    with pytest.raises(UsageError, match="replaces nothing"):
        make_audit(toy.settings, TODAY, target, toy.clock())
    assert target.read_bytes() == b"evidence"


def test_the_command_says_what_is_in_it(toy: ToyRegion) -> None:
    toy.refresh(TODAY)
    target = toy.folder / "a.zip"

    done = CliRunner().invoke(
        main_group, ["audit", str(TODAY), "-c", str(toy.config), "--out", str(target), "--json"]
    )

    assert done.exit_code == 0
    assert json.loads(done.stdout)["layers"] == ["toy-2026-03-11-l0-r1"]
    assert target.exists()
