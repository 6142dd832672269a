"""Runs: locks, catch-up from the ledger, human acts, the outbox."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from exporters.layer import LayerStatus
from service.delivery import deliver_all
from service.errors import LockedError, Outcome, StorageError
from service.ledger import Ledger
from service.lock import exclusive
from service.runs import catch_up_days, overall, run_days, span
from service.workshop import lock_path
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_region import LAST_DAY, ToyRegion, read_rain

NEWEST = LAST_DAY + timedelta(days=1)


def catch_up(toy: ToyRegion) -> dict[date | None, Outcome]:
    """Run the daemon's catch-up and return outcomes by day."""
    results = run_days(toy.settings, toy.config, catch_up_days, purpose="test", clock=toy.clock)
    return {result.day: result.outcome for result in results}


def test_whoever_comes_second_is_told_who_holds_the_lock(toy: ToyRegion) -> None:
    with exclusive(lock_path(toy.settings), "the first run"):
        (result,) = toy.refresh()

    assert result.outcome == Outcome.LOCKED
    assert "the first run" in str(result.reason)
    assert toy.refresh()[0].outcome == Outcome.PUBLISHED


def test_the_lock_is_free_once_its_holder_ends(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            exclusive(tmp_path / "lock", "a"),
            pytest.raises(LockedError, match="'a'"),
            exclusive(tmp_path / "lock", "b"),
        ):
            pass


def test_catch_up_makes_the_days_that_were_missed(toy: ToyRegion) -> None:
    toy.refresh(date(2026, 3, 7))

    assert catch_up(toy) == {
        date(2026, 3, 7): Outcome.UNCHANGED,
        **{date(2026, 3, day): Outcome.PUBLISHED for day in (8, 9, 10, 11)},
    }


def test_catch_up_of_an_empty_ledger_makes_the_default_day_only(toy: ToyRegion) -> None:
    assert catch_up(toy) == {NEWEST: Outcome.PUBLISHED}


def test_catch_up_says_once_why_today_is_held(toy: ToyRegion) -> None:
    toy.refresh()
    toy.clock.now += timedelta(days=4)

    outcomes = catch_up(toy)

    assert outcomes == {NEWEST: Outcome.UNCHANGED, NEWEST + timedelta(days=4): Outcome.HELD}


def test_a_withdrawn_day_leaves_latest_and_catch_up_does_not_bring_it_back(toy: ToyRegion) -> None:
    toy.refresh(NEWEST - timedelta(days=1), NEWEST)
    with toy.ledger() as ledger:
        layer = ledger.current(NEWEST)
        assert layer is not None
        withdrawn = ledger.withdraw(layer, "A. Rossi", "gauge flooded", [])

    outcomes = catch_up(toy)

    assert withdrawn.status == LayerStatus.WITHDRAWN
    assert NEWEST not in outcomes
    latest = toy.latest()
    assert latest is not None
    assert latest["day"] == str(NEWEST - timedelta(days=1))
    (again,) = toy.refresh(NEWEST)
    assert again.outcome == Outcome.HELD
    assert "withdrawn" in str(again.reason)


def test_a_withdrawn_day_may_be_published_again_by_hand_once_its_readings_are_corrected(
    toy: ToyRegion,
) -> None:
    toy.refresh(NEWEST)
    with toy.ledger() as ledger:
        layer = ledger.current(NEWEST)
        assert layer is not None
        ledger.withdraw(layer, "A. Rossi", "gauge flooded", [])
    toy.set_rain({(LAST_DAY, "north"): 3.3})
    toy.ingest()

    (again,) = toy.refresh(NEWEST)

    assert again.outcome == Outcome.PUBLISHED
    assert again.layer is not None
    assert again.layer.revision == 2


def test_a_hold_stops_publication_and_resume_lets_it_go_on(toy: ToyRegion) -> None:
    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "A. Rossi", "gauges under repair")
    (held,) = toy.refresh()
    with toy.ledger() as ledger:
        ledger.write_act("resume", "toy", "A. Rossi", "repaired")
    (resumed,) = toy.refresh()

    assert held.outcome == Outcome.HELD
    assert "gauges under repair" in str(held.reason)
    assert resumed.outcome == Outcome.PUBLISHED


def test_one_bad_day_does_not_stop_the_next(toy: ToyRegion) -> None:
    early, good = toy.refresh(date(2026, 1, 5), NEWEST)

    assert (early.outcome, good.outcome) == (Outcome.HELD, Outcome.PUBLISHED)
    assert overall([early, good]) == Outcome.PUBLISHED
    assert overall([early]) == Outcome.HELD


def test_an_exporter_that_is_away_gets_every_layer_in_order_when_it_is_back(
    toy: ToyRegion, tmp_path: Path
) -> None:
    share = tmp_path / "mnt" / "share"
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
    )
    toy.refresh(*span(date(2026, 3, 8), date(2026, 3, 9)))
    deliver_all(toy.settings, toy.clock, "test")
    with toy.ledger() as ledger:
        assert [count.pending for count in ledger.outbox.counts(["share"])] == [2]

    share.mkdir(parents=True)
    toy.clock.now += timedelta(hours=2)
    toy.refresh(date(2026, 3, 10))
    deliver_all(toy.settings, toy.clock, "test")

    with toy.ledger() as ledger:
        (count,) = ledger.outbox.counts(["share"])
        published = {layer.digest[:16] for layer in ledger.layers()}
    assert (count.pending, count.parked) == (0, 0)
    assert {path.parent.name for path in share.rglob("item.json")} == published


def test_the_journal_cannot_be_rewritten(toy: ToyRegion) -> None:
    import sqlite3

    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "A. Rossi", "why")
    database = sqlite3.connect(toy.data / "ledger.sqlite")
    try:
        for statement in ("UPDATE journal SET reason = 'x'", "DELETE FROM journal"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
    finally:
        database.close()


def test_a_withdrawn_day_is_not_brought_back_by_a_backfill_even_with_other_inputs(toy: ToyRegion) -> None:
    toy.refresh(NEWEST)
    withdraw(toy, NEWEST)
    toy.set_rain({(LAST_DAY, "north"): 3.3})
    toy.ingest()

    (result,) = run_days(
        toy.settings, toy.config, lambda _: [NEWEST], purpose="test", clock=toy.clock, by_hand=False
    )

    assert result.outcome == Outcome.HELD
    assert toy.latest() is None


def test_inputs_that_were_withdrawn_are_not_published_again_under_a_later_revision(toy: ToyRegion) -> None:
    day = date(2026, 3, 5)
    toy.refresh(day)
    withdraw(toy, day)
    before = read_rain(toy.folder / "rain.csv")[date(2026, 3, 4), "north"]
    for value in (99.0, before):
        toy.set_rain({(date(2026, 3, 4), "north"): value})
        toy.ingest()
        (result,) = toy.refresh(day)

    assert result.outcome == Outcome.HELD
    with toy.ledger() as ledger:
        shown = ledger.current(day)
        assert shown is not None
        assert shown.revision == 2


@pytest.mark.parametrize("decision", ["hold", "withdraw"])
def test_a_decision_taken_while_a_layer_is_made_holds_for_that_layer(toy: ToyRegion, decision: str) -> None:
    (first,) = toy.refresh(NEWEST)
    toy.set_rain({(LAST_DAY, "north"): 3.3})
    toy.ingest()

    def decide(stage: str) -> None:
        if stage == "ledger" and decision == "withdraw":
            withdraw(toy, NEWEST)
        elif stage == "ledger":
            with toy.ledger() as ledger:
                ledger.write_act("hold", "toy", "A. Rossi", "why")

    (result,) = toy.refresh(NEWEST, on_stage=decide)

    assert result.outcome == Outcome.HELD
    assert first.layer is not None
    with toy.ledger() as ledger:
        assert [layer.id for layer in ledger.layers()] == [first.layer.id]
    assert len(list((toy.data / "layers").glob("*/*/item.json"))) == 1


def test_a_withdrawal_that_died_half_way_is_finished_by_the_next_run(toy: ToyRegion) -> None:
    (first,) = toy.refresh(NEWEST)
    assert first.layer is not None
    withdraw(toy, NEWEST)  # the row alone, as if killed before the files
    assert toy.latest() is not None

    toy.refresh(date(2026, 3, 1))

    item = json.loads((first.layer.folder / "item.json").read_text())
    assert item["properties"]["colluvium:status"] == "withdrawn"
    latest = toy.latest()
    assert latest is not None
    assert latest["day"] == "2026-03-01"


def test_a_file_beside_the_layers_that_is_none_of_ours_is_left_alone(toy: ToyRegion) -> None:
    toy.refresh(NEWEST)
    notes = toy.data / "layers" / f"{NEWEST}-l0" / "notes.txt"
    notes.write_text("mine")

    assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED
    assert notes.read_text() == "mine"


def test_a_layer_that_forgot_to_say_synthetic_is_made_again(toy: ToyRegion) -> None:
    text = toy.config.read_text()
    toy.config.write_text(text.replace("synthetic = true", "synthetic = false"))
    toy.refresh(NEWEST)
    toy.config.write_text(text)

    (again,) = toy.refresh(NEWEST)

    assert again.outcome == Outcome.PUBLISHED
    assert again.layer is not None
    assert again.layer.synthetic


def test_a_ledger_that_cannot_be_written_ends_the_run_in_words(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StorageError("no space left for ledger.sqlite")

    monkeypatch.setattr(Ledger, "start_run", full)

    (result,) = toy.refresh(NEWEST)

    assert result.outcome == Outcome.FAILED
    assert "space" in str(result.reason)


def withdraw(toy: ToyRegion, day: date) -> None:
    """Write a withdrawal to the ledger."""
    with toy.ledger() as ledger:
        layer = ledger.current(day)
        assert layer is not None
        ledger.withdraw(layer, "A. Rossi", "gauge flooded", [])


def test_a_lost_ledger_never_costs_the_layers_on_disk(toy: ToyRegion) -> None:
    toy.refresh(*span(date(2026, 3, 8), date(2026, 3, 10)))
    for path in toy.data.glob("ledger.sqlite*"):
        path.unlink()

    (result,) = toy.refresh()

    assert result.outcome == Outcome.FAILED
    assert "restore it from a backup" in str(result.reason)
    assert len(list((toy.data / "layers").glob("*/*/item.json"))) == 3


def test_the_state_of_an_earlier_bundle_goes_once_the_new_one_serves(toy: ToyRegion) -> None:
    toy.refresh(NEWEST - timedelta(days=1))
    (old,) = (toy.data / "state").iterdir()
    write_toy_bundle(toy.folder / "bundle", ToyNetwork(gain=3.0, seed=1))

    (result,) = toy.refresh(NEWEST)

    assert result.outcome == Outcome.PUBLISHED
    (new,) = (toy.data / "state").iterdir()
    assert new != old
