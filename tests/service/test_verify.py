"""Promises of `colluvium verify`: which map counts, what is kept, what the command writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import SCALE, ZoneWarning
from exporters.verification import VerifiedEvent
from service.errors import UsageError
from service.ledger import Ledger
from service.verify import news_digest, verify
from tests.fix_region import ToyRegion
from tests.fix_verify import outline
from tests.service.fix_verified import DAY, at, event, refresh


@pytest.fixture
def ledger(toy: ToyRegion) -> Iterator[Ledger]:
    with toy.ledger() as opened:
        yield opened


def only(toy: ToyRegion, ledger: Ledger, **options: Any) -> VerifiedEvent:
    toy.clock.now = max(toy.clock.now, at(date(2026, 3, 20)))
    (found,) = verify(toy.settings, ledger, toy.clock, settings_path=toy.config, **options).events
    return found


def test_the_value_is_the_highest_of_the_map_within_the_circle(toy: ToyRegion, ledger: Ledger) -> None:
    layer = refresh(toy, DAY)
    ledger.events.add(event())
    found = only(toy, ledger)
    record = ledger.layer(layer)
    assert record is not None
    with rasterio.open(record.folder / SUSCEPTIBILITY) as raster:
        stored = raster.read(1)
    around = stored[19:22, 29:32]
    highest = int(around[around <= 250].max())
    assert found.susceptibility == pytest.approx(highest * SCALE)
    known = stored[stored <= 250]
    assert found.rank == pytest.approx(float((known < highest).mean()))
    assert found.class_label is not None
    assert found.outcome == ("hit" if found.class_label in ("high", "very_high") else "miss")
    assert (found.layer_id, found.zone, found.hindsight) == (layer, "west", False)


def test_what_was_on_display_that_day_counts_and_no_later_revision(toy: ToyRegion, ledger: Ledger) -> None:
    first = refresh(toy, DAY)
    toy.set_rain({(DAY - timedelta(days=1), "north"): 160.0, (DAY - timedelta(days=1), "south"): 160.0})
    toy.clock.now = at(DAY + timedelta(days=1))
    toy.ingest()
    later = refresh(toy, DAY, at(DAY + timedelta(days=1), 7))
    ledger.events.add(event())
    assert later != first
    assert only(toy, ledger).layer_id == first


def test_a_map_made_after_the_day_counts_in_hindsight(toy: ToyRegion, ledger: Ledger) -> None:
    layer = refresh(toy, DAY, at(DAY + timedelta(days=1)))
    ledger.events.add(event())
    found = only(toy, ledger)
    assert (found.layer_id, found.hindsight) == (layer, True)
    record = verify(toy.settings, ledger, toy.clock)
    assert record.hindsight == 1
    assert any("made after their day" in note for note in record.notes)


def test_a_map_withdrawn_on_its_day_was_not_on_display(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    layer = ledger.current(DAY)
    assert layer is not None
    toy.clock.now = at(DAY, 9)
    ledger.withdraw(layer, "A", "a gauge was flooded", [])
    ledger.events.add(event())
    found = only(toy, ledger, rebuild=True)
    assert found.outcome == "unknown"
    assert "withdrawn" in found.why


def test_a_map_withdrawn_later_was_on_display(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    layer = ledger.current(DAY)
    assert layer is not None
    toy.clock.now = at(DAY + timedelta(days=2))
    ledger.withdraw(layer, "A", "a gauge was flooded", [])
    ledger.events.add(event())
    found = only(toy, ledger)
    assert found.outcome in ("hit", "miss")
    assert found.withdrawn


def test_a_removed_map_is_unknown_and_comes_back_by_a_rebuild(toy: ToyRegion, ledger: Ledger) -> None:
    layer = refresh(toy, DAY)
    ledger.events.add(event())
    before = only(toy, ledger)
    record = ledger.layer(layer)
    assert record is not None
    with ledger.transaction():
        ledger.mark_removed([layer])
    shutil.rmtree(record.folder)
    assert only(toy, ledger) == before, "what was counted of it stays counted"
    shutil.rmtree(toy.data / "verification")
    removed = only(toy, ledger)
    assert removed.outcome == "unknown"
    assert "--rebuild" in removed.why
    again = only(toy, ledger, rebuild=True)
    assert (again.outcome, again.susceptibility, again.rank) == (
        before.outcome,
        before.susceptibility,
        before.rank,
    )
    assert not again.hindsight


def test_a_day_without_a_map_is_unknown_or_rebuilt_as_of_its_end(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY - timedelta(days=1))
    ledger.events.add(event())
    found = only(toy, ledger)
    assert found.outcome == "unknown"
    assert str(DAY) in found.why
    again = only(toy, ledger, rebuild=True)
    assert again.outcome in ("hit", "miss")
    assert ledger.newest_revision(DAY) is None  # nothing was published


def test_inputs_that_were_not_on_record_then_make_a_rebuild_hindsight(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    ledger.events.add(event(day=DAY - timedelta(days=3)))
    found = only(toy, ledger, rebuild=True)
    # Nothing of the toy was recorded before its first refresh: the bundle may have been another one.
    assert found.hindsight or found.outcome == "unknown"
    if found.outcome == "unknown":
        assert "rebuilt" in found.why


def test_landslides_before_the_first_map_are_left_out_and_said(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    ledger.events.add(event("old", DAY - timedelta(days=300)))
    ledger.events.add(event())
    record = verify(toy.settings, ledger, toy.clock)
    assert [item.uid for item in record.events] == ["a"]
    assert any("before the first map, which are left out: 1" in note for note in record.notes)


def test_what_was_retracted_counts_no_more(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    ledger.events.add(event())
    digest = news_digest(toy.settings, ledger)
    ledger.events.retract("a", "A", "an old scar")
    assert news_digest(toy.settings, ledger) != digest
    record = verify(toy.settings, ledger, toy.clock)
    assert record.events == ()
    assert record.hit_rate.value is None
    assert any("says nothing about the map" in note for note in record.notes)


def test_only_looked_ground_is_in_the_reliability(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    ledger.events.add(event())
    nobody = verify(toy.settings, ledger, toy.clock)
    assert (nobody.looks, nobody.reliability) == (0, ())
    assert any("nobody looked" in note for note in nobody.notes)
    visit = event("v", kind="nothing_seen", source="reported", place=(40.5, 60.5), accuracy_m=100)
    ledger.events.add(visit)
    record = verify(toy.settings, ledger, toy.clock)
    assert record.looks == 1
    cells = sum(item.cell_days for item in record.reliability)
    assert cells == pytest.approx(np.pi * 100**2 / 30**2, rel=0.2)
    assert sum(item.looked_km2_days for item in record.classes) == pytest.approx(cells * 0.0009)
    assert sum(item.landslides for item in record.reliability) == 0


def test_looked_ground_stays_counted_when_its_map_is_removed_and_what_is_lost_is_said(
    toy: ToyRegion, ledger: Ledger
) -> None:
    layer = ledger.layer(refresh(toy, DAY))
    assert layer is not None
    ledger.events.add(event("v", kind="nothing_seen", source="reported", accuracy_m=100))
    before = verify(toy.settings, ledger, toy.clock)
    with ledger.transaction():
        ledger.mark_removed([layer.id])
    shutil.rmtree(layer.folder)
    after = verify(toy.settings, ledger, toy.clock)
    assert before.reliability
    assert after.reliability == before.reliability
    assert not any("cannot be read any more" in note for note in after.notes)

    ledger.events.add(event("w", kind="nothing_seen", source="reported", place=(40.5, 60.5)))
    lost = verify(toy.settings, ledger, toy.clock)
    assert lost.reliability == ()
    assert any("cannot be read any more" in note and note.endswith(": 1") for note in lost.notes)


def test_each_layer_is_opened_once_and_then_never_again(
    toy: ToyRegion, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in (0, 1):
        refresh(toy, DAY + timedelta(days=offset))
    for number in range(5):
        ledger.events.add(event(f"e{number}", DAY, place=(10.5 + number, 20.5)))
    ledger.events.add(event("two", DAY + timedelta(days=1), day_from=DAY))
    ledger.events.add(event("v", kind="nothing_seen", source="reported"))
    opened: list[Path] = []
    plain = rasterio.open

    def counting(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(Path(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(rasterio, "open", counting)
    first = verify(toy.settings, ledger, toy.clock)
    layers = [path for path in opened if path.name == SUSCEPTIBILITY]
    assert len(layers) == len(set(layers)) == 2
    opened.clear()
    second = verify(toy.settings, ledger, toy.clock)
    assert not [path for path in opened if path.name == SUSCEPTIBILITY]
    assert first.model_copy(update={"made_at": second.made_at}) == second


def test_an_unreadable_layer_is_unknown_and_stops_nothing(toy: ToyRegion, ledger: Ledger) -> None:
    for offset in (0, 1):
        refresh(toy, DAY + timedelta(days=offset))
    broken = ledger.current(DAY)
    assert broken is not None
    (broken.folder / SUSCEPTIBILITY).write_bytes(b"half a file")
    ledger.events.add(event("a", DAY))
    ledger.events.add(event("b", DAY + timedelta(days=1)))
    found = {item.uid: item for item in verify(toy.settings, ledger, toy.clock).events}
    assert found["a"].outcome == "unknown"
    assert "cannot be read" in found["a"].why
    assert str(toy.data) not in found["a"].why, "it is published"
    assert found["b"].outcome in ("hit", "miss")


def test_a_challengers_maps_cannot_be_rebuilt(toy: ToyRegion, ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="challenger"):
        verify(toy.settings, ledger, toy.clock, layers=ledger, settings_path=toy.config, rebuild=True)


def test_a_challengers_maps_are_judged_by_the_same_landslides(toy: ToyRegion, ledger: Ledger) -> None:
    refresh(toy, DAY)
    ledger.events.add(event(outline=outline((20, 22), (30, 32))))
    other = toy.data / "challenger" / "ledger.sqlite"
    other.parent.mkdir()
    with Ledger(other, toy.clock) as layers:
        record = verify(toy.settings, ledger, toy.clock, layers=layers)
    assert (record.of, record.maps, record.unknown) == ("challenger", 0, 1)
    ledger.verifications.keep(record)
    assert ledger.verifications.newest("display") is None
    assert ledger.verifications.newest("challenger") == record


@pytest.mark.parametrize(
    ("issued", "misses"), [(at(DAY - timedelta(days=2)), 1), (at(DAY + timedelta(days=1)), 0)]
)
def test_forecasts_are_judged_by_lead_beside_the_nowcast(
    toy: ToyRegion, ledger: Ledger, issued: datetime, misses: int
) -> None:
    """One that was made after its day foresaw nothing."""
    layer = refresh(toy, DAY)
    nowcast = ledger.layer(layer)
    assert nowcast is not None
    folder = nowcast.folder.parent.parent / f"{DAY}-l2" / "forecast"
    shutil.copytree(nowcast.folder, folder)
    with rasterio.open(folder / SUSCEPTIBILITY) as raster:
        profile, stored = raster.profile, raster.read(1)
    calm = np.where(stored <= 250, 1, 255).astype(np.uint8)
    plain = {key: profile[key] for key in ("crs", "transform", "height", "width", "nodata")}
    with rasterio.open(folder / SUSCEPTIBILITY, "w", driver="GTiff", dtype="uint8", count=1, **plain) as out:
        out.write(calm, 1)
    forecast = nowcast.model_copy(
        update={
            "id": f"toy-{DAY}-l2-r1",
            "lead": 2,
            "folder": folder,
            "issued_at": issued,
        }
    )
    with ledger.transaction():
        ledger.add_layer(forecast, {}, [])
    ledger.events.add(event())
    record = verify(toy.settings, ledger, toy.clock)
    assert [tally.lead for tally in record.leads] == [0, 2]
    assert (record.leads[0].hits, record.leads[0].misses) == (record.hits, record.misses)
    assert (record.leads[1].hits, record.leads[1].misses) == (0, misses)  # the forecast was calm everywhere


def test_levels_are_those_of_the_map_on_display(toy: ToyRegion, ledger: Ledger) -> None:
    layer = refresh(toy, DAY)
    nowcast = ledger.layer(layer)
    assert nowcast is not None
    warned = nowcast.model_copy(
        update={
            "id": f"toy-{DAY}-l0-r2",
            "revision": 2,
            "issued_at": at(DAY, 8),
            "model": nowcast.model.model_copy(update={"may_warn": True}),
            "warnings": (
                ZoneWarning(
                    zone="west", name="West", level=2, previous=0, rule="r", numbers={}, decided_at=at(DAY, 8)
                ),
                ZoneWarning(
                    zone="east", name="East", level=1, previous=0, rule="r", numbers={}, decided_at=at(DAY, 8)
                ),
            ),
        }
    )
    with ledger.transaction():
        ledger.add_layer(warned, {}, [])
    ledger.events.add(event())
    ledger.events.add(event("v", kind="nothing_seen", source="reported", place=(40.5, 60.5)))
    record = verify(toy.settings, ledger, toy.clock)
    assert record.events[0].level == "orange"
    yellow, orange, red = record.levels
    assert (yellow.hits, yellow.false_alarms) == (1, 1)
    assert (orange.hits, orange.false_alarms, orange.rightly_quiet) == (1, 0, 1)
    assert (red.hits, red.misses) == (0, 1)
    assert record.duration is not None
    assert record.duration.days[0] == (0, 1, 0, 0)
    assert record.duration.days[1] == (0, 0, 1, 0)
    assert {zone.zone: zone.landslides for zone in record.zones} == {"west": 1, "east": 0}
    assert not any("nobody was warned" in note for note in record.notes)


def test_levels_that_were_decided_after_their_day_are_said(toy: ToyRegion, ledger: Ledger) -> None:
    nowcast = ledger.layer(refresh(toy, DAY, at(DAY + timedelta(days=1))))
    assert nowcast is not None
    level = ZoneWarning(
        zone="west", name="West", level=2, previous=0, rule="r", numbers={}, decided_at=at(DAY)
    )
    late = nowcast.model_copy(
        update={
            "id": f"toy-{DAY}-l0-r2",
            "revision": 2,
            "model": nowcast.model.model_copy(update={"may_warn": True}),
            "warnings": (level,),
        }
    )
    with ledger.transaction():
        ledger.add_layer(late, {}, [])
    ledger.events.add(event())
    record = verify(toy.settings, ledger, toy.clock)
    assert any("nobody was warned" in note and note.endswith(": 1") for note in record.notes)


def test_a_model_that_may_not_warn_has_no_levels_and_that_is_said(toy: ToyRegion, ledger: Ledger) -> None:
    layer = ledger.layer(refresh(toy, DAY))
    assert layer is not None
    silent = layer.model_copy(
        update={
            "id": f"toy-{DAY}-l0-r2",
            "revision": 2,
            "issued_at": at(DAY, 8),
            "model": layer.model.model_copy(update={"may_warn": False}),
            "warnings": (),
        }
    )
    with ledger.transaction():
        ledger.add_layer(silent, {}, [])
    ledger.events.add(event())
    record = verify(toy.settings, ledger, toy.clock)
    assert record.duration is None
    assert record.events[0].level is None
    assert any("may not warn" in note for note in record.notes)
