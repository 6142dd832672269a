"""Local retention: what goes, what must stay, and that a kill in the middle is finished by the next run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from exporters.layer import Layer, LayerStatus, ZoneWarning
from exporters.postgis.reports import EventReport
from service.delivery import deliver_all
from service.errors import Outcome
from service.ledger import Ledger
from service.retention import retire_layers
from service.runs import catch_up_days, run_days, span
from service.settings import RetentionSettings
from tests.exporters.fix_layer import make_layer
from tests.fix_inventory import event, findings
from tests.fix_region import NOW, Clock, ToyRegion

ROOT = Path(__file__).parents[2]
TODAY = NOW.date()
KEPT_DAYS = 10


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one layer for each of the last 40 days."""
    with Ledger(tmp_path / "data" / "ledger.sqlite", Clock()) as opened:
        for age in range(40, -1, -1):
            publish(opened, TODAY - timedelta(days=age))
        yield opened


def publish(
    ledger: Ledger, day: date, revision: int = 1, lead: int = 0, exporters: tuple[str, ...] = ()
) -> Layer:
    """Record a layer with a file of its own."""
    folder = ledger.path.parent / "layers" / f"{day}-l{lead}" / f"digest{revision}"
    folder.mkdir(parents=True)
    (folder / "item.json").write_text("{}")
    identity = f"demo-{day}-l{lead}-r{revision}"
    layer = make_layer(folder, day, id=identity, revision=revision, lead=lead)
    with ledger.transaction():
        ledger.add_layer(layer, {}, exporters)
    return layer


def retire(ledger: Ledger, layer_days: int | None = KEPT_DAYS, thin_to_days: int | None = None) -> int:
    """Apply retention today."""
    return retire_layers(ledger, RetentionSettings(layer_days=layer_days, thin_to_days=thin_to_days), TODAY)


def ages(ledger: Ledger) -> list[int]:
    """How old the layers are whose files lie there, oldest first."""
    layers = ledger.path.parent / "layers"
    return sorted(
        ((TODAY - date.fromisoformat(path.parent.name[:10])).days for path in layers.glob("*/*")),
        reverse=True,
    )


def report(day: date) -> EventReport:
    """A landslide of a day."""
    return EventReport(
        id=1, uid="u-1", reported_at=NOW, observed_on=day, lon=11.0, lat=44.0, kind="landslide",
        accuracy_m=None, note="", reporter="field",
    )  # fmt: skip


def test_without_a_limit_every_layer_stays(ledger: Ledger) -> None:
    assert retire(ledger, layer_days=None) == 0
    assert len(ages(ledger)) == 41


def test_older_layers_lose_their_files_and_keep_their_place_in_the_ledger(ledger: Ledger) -> None:
    assert retire(ledger) == 30

    assert ages(ledger) == list(range(KEPT_DAYS, -1, -1))
    assert len(ledger.layers()) == 41
    gone = ledger.current(TODAY - timedelta(days=40))
    assert gone is not None
    assert ledger.removed_at(gone.id) is not None
    assert ledger.latest(before=TODAY - timedelta(days=KEPT_DAYS)) is None
    assert retire(ledger) == 0


def test_of_older_layers_one_in_so_many_days_stays_and_stays_the_same_one(ledger: Ledger) -> None:
    retire(ledger, thin_to_days=7)
    before = ages(ledger)
    old = [age for age in before if age > KEPT_DAYS]
    assert 4 <= len(old) <= 5
    assert all(first - second == 7 for first, second in pairwise(old[1:]))

    for day in range(1, 15):
        publish(ledger, TODAY + timedelta(days=day))
        retire_layers(
            ledger, RetentionSettings(layer_days=KEPT_DAYS, thin_to_days=7), TODAY + timedelta(days=day)
        )

    assert set(old) <= set(ages(ledger))


def test_superseded_revisions_and_forecasts_go_too(ledger: Ledger) -> None:
    day = TODAY - timedelta(days=20)
    publish(ledger, day, revision=2)
    publish(ledger, day, lead=2)

    retire(ledger, thin_to_days=2)

    assert ages(ledger).count(20) <= 1


@pytest.mark.parametrize("state", ["pending", "parked"])
def test_what_an_exporter_has_not_delivered_stays(ledger: Ledger, state: str) -> None:
    layer = publish(ledger, TODAY - timedelta(days=50), exporters=("away",))
    if state == "parked":
        (entry,) = ledger.outbox.open("away")
        ledger.outbox.failed(entry, "refused", None)

    retire(ledger)

    assert layer.folder.exists()


def test_once_delivered_it_goes(ledger: Ledger) -> None:
    layer = publish(ledger, TODAY - timedelta(days=50), exporters=("share",))
    (entry,) = ledger.outbox.open("share")
    ledger.outbox.delivered(entry)

    retire(ledger)

    assert not layer.folder.exists()


def test_what_a_person_decided_on_or_a_report_speaks_of_stays(ledger: Ledger) -> None:
    withdrawn, seen, refuted = (ledger.current(TODAY - timedelta(days=age)) for age in (20, 25, 30))
    assert withdrawn is not None
    assert seen is not None
    assert refuted is not None
    ledger.withdraw(withdrawn, "A. Rossi", "gauge flooded", [])
    with ledger.transaction():
        ledger.proposals.receive("gis", [report(seen.day)])
        ledger.proposals.receive(
            "gis", [EventReport(**(vars(report(refuted.day)) | {"id": 2, "uid": "u-2"}))]
        )
    ledger.decide(2, "rejected", "A. Rossi", "an old scar")

    retire(ledger)

    assert withdrawn.folder.exists()
    assert seen.folder.exists()
    assert not refuted.folder.exists()


def test_maps_of_the_days_of_events_and_of_undecided_detections_stay(ledger: Ledger) -> None:
    def day(age: int) -> date:
        return TODAY - timedelta(days=age)

    ledger.events.add(event("dated", day_from=day(20), day=day(20)))
    ledger.events.add(event("span", day_from=day(26), day=day(25)))
    ledger.events.add(event("gone", day_from=day(15), day=day(15)))
    ledger.events.retract("gone", "A. Rossi", "an old scar")
    ledger.detections.receive(findings(outlines=1, sensed_on=day(30), after=day(32)))

    retire(ledger)
    assert {age for age in ages(ledger) if age > KEPT_DAYS} == {20, 25, 26, 30, 31}

    ledger.detections.decide(1, "rejected", "A. Rossi", "a quarry")
    retire(ledger)
    assert {age for age in ages(ledger) if age > KEPT_DAYS} == {20, 25, 26}


def test_of_a_day_with_an_event_the_map_that_was_on_display_stays_with_its_revisions(ledger: Ledger) -> None:
    seen = TODAY - timedelta(days=20)
    first = ledger.current(seen)
    assert first is not None
    later = publish(ledger, seen, revision=2)
    ledger.events.add(event(day_from=seen, day=seen))

    retire(ledger)
    assert first.folder.exists()
    assert later.folder.exists()


def test_while_nothing_new_is_made_nothing_old_goes(ledger: Ledger) -> None:
    retire(ledger)
    before = ages(ledger)

    retire_layers(ledger, RetentionSettings(layer_days=KEPT_DAYS), TODAY + timedelta(days=400))

    assert ages(ledger) == before


def test_a_folder_that_a_later_revision_took_over_is_not_the_removed_ones(ledger: Ledger) -> None:
    day = TODAY - timedelta(days=30)
    retire(ledger)
    folder = ledger.path.parent / "layers" / f"{day}-l0" / "digest1"
    folder.mkdir(parents=True)
    layer = make_layer(folder, day, id=f"demo-{day}-l0-r2", revision=2)
    with ledger.transaction():
        ledger.add_layer(layer, {}, ["away"])

    retire(ledger)

    assert folder.exists()


# --- a whole region ---


def keep_ten_days(toy: ToyRegion) -> None:
    """Let the region keep its layers for ten days."""
    toy.config.write_text(toy.config.read_text() + f"\n[retention]\nlayer_days = {KEPT_DAYS}\n")


def folders(toy: ToyRegion) -> set[str]:
    """The days whose layers lie on disk."""
    return {path.parent.parent.name[:10] for path in (toy.data / "layers").glob("*/*/item.json")}


def test_after_a_run_old_layers_are_history_without_files(toy: ToyRegion) -> None:
    old = [date(2026, 2, day) for day in (20, 21)]
    toy.refresh(*old, date(2026, 3, 10))
    keep_ten_days(toy)

    (result,) = toy.refresh(date(2026, 3, 11))

    assert result.outcome == Outcome.PUBLISHED
    assert folders(toy) == {"2026-03-10", "2026-03-11"}
    collection = json.loads((toy.data / "layers" / "collection.json").read_text())
    assert len([link for link in collection["links"] if link["rel"] == "item"]) == 2
    # The next run neither stumbles over the missing folders nor makes those days again.
    assert toy.refresh(old[0])[0].outcome == Outcome.UNCHANGED
    days = run_days(toy.settings, toy.config, catch_up_days, purpose="test", clock=toy.clock)
    assert {item.day for item in days}.isdisjoint(old)


def test_a_day_whose_comparable_layer_is_gone_has_no_change_since_then(toy: ToyRegion) -> None:
    toy.refresh(*span(date(2026, 3, 3), date(2026, 3, 4)))
    with toy.ledger() as ledger:
        before = ledger.current(date(2026, 3, 3))
        assert before is not None
        with ledger.transaction():
            ledger.mark_removed([before.id])

    (result,) = toy.refresh(date(2026, 3, 10))

    assert result.layer is not None
    assert all(7 not in area.change_m2 for area in result.layer.areas)


def test_an_older_revision_that_had_to_stay_does_not_come_back_on_display(toy: ToyRegion) -> None:
    day = date(2026, 2, 20)
    toy.refresh(day)
    with toy.ledger() as ledger:
        first = ledger.current(day)
        assert first is not None
        with ledger.transaction():
            ledger.outbox.put(first.id, "deliver", ["away"])
    toy.set_rain({(date(2026, 2, 19), "north"): 77.0})
    toy.ingest()
    toy.refresh(day)
    keep_ten_days(toy)

    toy.refresh(date(2026, 3, 11))

    assert folders(toy) == {"2026-02-20", "2026-03-11"}
    listed = (toy.data / "layers" / "collection.json").read_text()
    assert first.id not in listed


def test_a_withdrawal_of_a_layer_without_files_reaches_the_exporters(toy: ToyRegion, tmp_path: Path) -> None:
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{tmp_path}"\n'
    )
    old = date(2026, 2, 20)
    toy.refresh(old, date(2026, 3, 10))
    deliver_all(toy.settings, toy.clock, "test")
    keep_ten_days(toy)
    toy.refresh(date(2026, 3, 11))
    assert "2026-02-20" not in folders(toy)

    with toy.ledger() as ledger:
        layer = ledger.current(old)
        assert layer is not None
        assert ledger.withdraw(layer, "A. Rossi", "why", ["share"]).status == LayerStatus.WITHDRAWN
    (done,) = deliver_all(toy.settings, toy.clock, "test")

    assert done.problem is None
    (item,) = tmp_path.glob("layers/2026-02-20-l0/*/item.json")
    assert "withdrawn" in item.read_text()


# Applies retention and kills its own process, without any clean-up, when the named act begins.
DRIVER = """
import os, shutil, signal, sys
from datetime import date
from pathlib import Path
import service.retention as retention
from tests.fix_region import Clock, ToyRegion

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

toy = ToyRegion(Path(sys.argv[1]), Clock())
setattr({"rename": Path, "rmtree": shutil, "mark": retention}[sys.argv[2]],
        {"rename": "rename", "rmtree": "rmtree", "mark": "remove_marked"}[sys.argv[2]], die)
with toy.ledger() as ledger:
    retention.retire_layers(ledger, toy.settings.retention, date(2026, 3, 11))
"""


@pytest.mark.parametrize("act", ["mark", "rename", "rmtree"])
def test_a_kill_in_the_middle_is_finished_by_the_next_run(toy: ToyRegion, act: str) -> None:
    toy.refresh(date(2026, 2, 20), date(2026, 2, 21), date(2026, 3, 10))
    keep_ten_days(toy)

    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, str(toy.folder), act], cwd=ROOT, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    with toy.ledger() as ledger:
        # Whatever has a name that a reader would follow is whole.
        assert all(
            (Path(folder) / "item.json").exists() and (Path(folder) / "class.tif").exists()
            for folder in ledger.folders()
        )

    (result,) = toy.refresh(date(2026, 3, 10))

    assert result.outcome == Outcome.UNCHANGED
    assert folders(toy) == {"2026-03-10"}
    assert not list(toy.data.rglob(".*.part*"))
    with toy.ledger() as ledger:
        assert len(ledger.layers()) == 3


def test_the_layer_that_raised_a_level_stays_and_those_that_kept_it_go(ledger: Ledger) -> None:
    day = TODAY - timedelta(days=60)
    for age, (previous, level) in enumerate([(None, 0), (0, 2), (2, 2), (2, 0), (0, None)]):
        folder = ledger.path.parent / "layers" / f"{day + timedelta(days=age)}-l0" / "warned"
        folder.mkdir(parents=True)
        raised = ZoneWarning(
            zone="a", name="Alpha", level=level, previous=previous, rule="", numbers={}, decided_at=NOW
        )
        layer = make_layer(folder, day + timedelta(days=age), warnings=(raised,))
        with ledger.transaction():
            ledger.add_layer(layer, {}, ())

    retire(ledger)

    assert [age for age in ages(ledger) if age > KEPT_DAYS] == [59]
