"""The ledger: what it remembers, what stood when, and that it may be moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporters.layer import Layer, LayerStatus, ZoneWarning
from service.errors import Outcome
from service.ledger import Ledger
from service.ledger_schema import MIGRATIONS
from service.sqlite import open_database
from tests.exporters.fix_layer import make_layer
from tests.fix_region import Clock

DAY = date(2026, 3, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "data" / "ledger.sqlite", clock) as opened:
        yield opened


def add(ledger: Ledger, clock: Clock, day: date = DAY, revision: int = 1, **changes: Any) -> Layer:
    """Record a layer that is issued now."""
    folder = ledger.path.parent / "layers" / f"{day}-l0" / f"digest{revision}"
    identity = f"demo-{day}-l0-r{revision}"
    layer = make_layer(folder, day, id=identity, revision=revision, issued_at=clock(), **changes)
    with ledger.transaction():
        ledger.add_layer(layer, {"bundle": "b"}, ["share"])
    return layer.model_copy(update={"hotspots": ()})


def test_a_layer_comes_back_as_it_was_recorded(ledger: Ledger, clock: Clock) -> None:
    layer = add(ledger, clock)

    assert ledger.layer(layer.id) == layer
    assert ledger.latest() == layer
    assert ledger.folders() == {str(layer.folder)}
    assert ledger.basis(layer.id) == {"bundle": "b"}


def test_a_ledger_that_moved_with_its_folder_finds_its_layers_and_inputs(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    layer = add(ledger, clock)
    ledger.inputs.remember("zones", "z", ledger.path.parent / "history" / "zones.gpkg")
    ledger.close()
    moved = ledger.path.parent.rename(tmp_path / "elsewhere")

    with Ledger(moved / "ledger.sqlite", clock) as found:
        latest = found.latest()
        assert latest is not None
        assert latest.folder == moved / "layers" / f"{DAY}-l0" / layer.folder.name
        assert found.folders() == {str(latest.folder)}
        kept = found.inputs.at("zones", clock())
        assert kept is not None
        assert kept[1] == moved / "history" / "zones.gpkg"


def test_the_newest_revision_stands_and_a_withdrawn_one_leaves_the_day_empty(
    ledger: Ledger, clock: Clock
) -> None:
    before = add(ledger, clock, DAY - timedelta(days=1))
    add(ledger, clock)
    newer = add(ledger, clock, revision=2)
    assert ledger.current(DAY) == newer

    ledger.withdraw(newer, "A. Rossi", "gauge flooded", [])

    assert ledger.current(DAY) is None  # the older revision does not come back
    assert ledger.latest() == before
    newest = ledger.newest_revision(DAY)
    assert newest is not None
    assert newest.status == LayerStatus.WITHDRAWN
    assert ledger.is_withdrawn(DAY, newer.digest)


def test_what_was_decided_later_had_not_happened_yet(ledger: Ledger, clock: Clock) -> None:
    layer = add(ledger, clock)
    shown = clock()
    ledger.withdraw(layer, "A. Rossi", "gauge flooded", [])
    ledger.write_act("hold", "demo", "A. Rossi", "repair")

    assert ledger.current(DAY, as_of=shown) == layer
    assert ledger.latest(as_of=shown) == layer
    assert ledger.hold(as_of=shown) is None
    assert ledger.latest(as_of=clock()) is None
    assert ledger.hold(as_of=clock()) is not None


def test_a_withdrawal_and_its_act_are_kept_together_or_not_at_all(ledger: Ledger, clock: Clock) -> None:
    layer = add(ledger, clock)

    with pytest.raises(TypeError):
        ledger.withdraw(layer, "A. Rossi", "gauge flooded", None)  # type: ignore[arg-type]

    assert ledger.journal() == []
    assert ledger.latest() == layer


def test_every_outcome_is_counted_from_zero_and_replays_are_not(ledger: Ledger) -> None:
    assert set(ledger.outcome_counts().values()) == {0}
    ledger.end_run(ledger.start_run("refresh", DAY), Outcome.HELD)
    ledger.end_run(ledger.start_run("replay", DAY), Outcome.UNCHANGED)
    ledger.start_run("refresh", DAY)  # still running

    assert {outcome for outcome, count in ledger.outcome_counts().items() if count} == {Outcome.HELD}
    assert [run.kind for run in ledger.runs(kind="replay")] == ["replay"]


def test_a_backfill_of_older_days_is_not_the_last_success(ledger: Ledger, clock: Clock) -> None:
    assert ledger.last_success() is None
    add(ledger, clock)
    newest = ledger.start_run("refresh", DAY)
    ledger.end_run(newest, Outcome.PUBLISHED, day=DAY)
    ledger.end_run(ledger.start_run("refresh", DAY), Outcome.HELD, day=DAY)
    ledger.end_run(ledger.start_run("refresh", None), Outcome.PUBLISHED, day=DAY - timedelta(days=9))

    success = ledger.last_success()

    assert success is not None
    assert success.id == newest


def test_an_input_that_comes_back_is_remembered_again(ledger: Ledger, clock: Clock) -> None:
    moments = []
    for digest in ("a", "a", "b", "a"):
        ledger.inputs.remember("settings", digest, Path(f"/kept/{digest}"))
        moments.append(clock())

    assert [(found or ("",))[0] for found in (ledger.inputs.at("settings", at) for at in moments)] == [
        "a", "a", "b", "a",
    ]  # fmt: skip
    early = ledger.inputs.at("settings", moments[0] - timedelta(days=1))
    assert early is not None
    assert early[0] == "a"
    assert not early[2]  # nothing was recorded by then, and the caller can say so


def test_who_only_looks_makes_no_file(tmp_path: Path, clock: Clock) -> None:
    with Ledger(tmp_path / "nowhere" / "ledger.sqlite", clock, make=False) as ledger:
        assert ledger.latest() is None
        assert ledger.journal() == []

    assert not (tmp_path / "nowhere").exists()


def test_a_ledger_of_the_release_before_keeps_its_layers_and_what_waits(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "ledger.sqlite"
    layer = make_layer(tmp_path / "layers" / "a", DAY, id="old")
    record = layer.model_dump_json(exclude={"hotspots"})
    old = open_database(path, MIGRATIONS[:1], "ledger")
    old.execute(
        "INSERT INTO layer (id, day, lead, revision, digest, issued_at, record, basis)"
        " VALUES ('old', ?, 0, 1, 'd', '2026-03-01T06:00:00.000000Z', ?, '{}')",
        (DAY.isoformat(), record),
    )
    old.execute(
        "INSERT INTO outbox (exporter, layer_id, act, created_at, state)"
        " VALUES ('share', 'old', 'deliver', '2026-03-01T06:00:00.000000Z', 'pending')"
    )
    old.close()

    with Ledger(path, clock) as ledger:
        latest = ledger.latest()
        assert latest is not None
        assert latest.id == "old"
        assert ledger.removed_at("old") is None
        assert [entry.layer_id for entry in ledger.outbox.open("share")] == ["old"]
        assert ledger.proposals.all() == []


def test_where_the_shown_layers_lie_leaves_out_those_without_files(ledger: Ledger, clock: Clock) -> None:
    kept, gone = add(ledger, clock), add(ledger, clock, DAY - timedelta(days=1))
    with ledger.transaction():
        ledger.mark_removed([gone.id])

    assert [item.id for item in ledger.shown(gone.day, kept.day)] == [kept.id]
    assert ledger.folders() == {str(kept.folder)}
    assert ledger.removed_folders() == {str(gone.folder)}
    assert {item.id: item.shown for item in ledger.standings()} == {gone.id: True, kept.id: True}


def test_layers_without_their_zones_are_the_same_layers_with_the_areas_of_the_region(
    ledger: Ledger, clock: Clock
) -> None:
    whole = add(ledger, clock)
    assert {area.zone for area in whole.areas} > {""}

    (short,) = ledger.layers(with_zones=False)

    of_region = tuple(area for area in whole.areas if area.zone == "")
    assert short == whole.model_copy(update={"areas": of_region})


def test_a_list_of_layers_carries_neither_areas_nor_levels_where_it_needs_none(
    ledger: Ledger, clock: Clock
) -> None:
    level = ZoneWarning(
        zone="west", name="West", level=2, previous=0, rule="raised", numbers={}, decided_at=clock.now
    )
    whole = add(ledger, clock, warnings=(level,))

    (bare,) = ledger.layers(with_areas=False)
    (short,) = ledger.layers(with_zones=False)

    assert bare == whole.model_copy(update={"areas": (), "warnings": ()})
    assert short.warnings == ()
    assert ledger.layers() == [whole]
