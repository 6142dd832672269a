"""The ledger's landslides in a training: with a file or alone, each once, and only where dated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from rasterio.crs import CRS

from exporters.event import Event
from service.errors import InputError
from service.ledger import Ledger
from service.region import Grid
from service.settings import Settings
from tests.fix_inventory import event, square
from tests.fix_region import Clock
from trainer.inventory import Inventory, InventorySource
from trainer.inventory_events import count_sources, read_region_inventory
from trainer.inventory_screen import screen

UTM32 = CRS.from_epsg(32632)
GRID = Grid(UTM32, 655_000.0, 4_880_000.0, 30.0, 400, 400)  # around 11.0 E 44.0 N
DAY = date(2023, 5, 16)

Read = Callable[..., Inventory]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read an inventory of a file with one landslide at 11.01 E and the given events of the ledger."""
    path = tmp_path / "file.csv"
    path.write_text(f"id,lon,lat,date\nf1,11.01,44.0,{DAY}\n", "utf-8")

    def inventory(*events: Event, file: bool = True, **source: Any) -> Inventory:
        with Ledger(tmp_path / "ledger.sqlite", Clock()) as ledger:
            for item in events:
                if ledger.events.get(item.uid) is None:
                    ledger.events.add(item)
        settings = cast(Settings, SimpleNamespace(data_dir=tmp_path, timezone=ZoneInfo("Europe/Rome")))
        given = {"path": path if file else None, "with_events": True} | source
        return read_region_inventory(InventorySource.model_validate(given), settings, UTM32)

    return inventory


def test_the_ledgers_landslides_stand_beside_the_files(read: Read) -> None:
    found = read(event("e1", source="reported"), event("e2", source="imported", lon=11.02))
    assert [(item.id, item.source) for item in found.events] == [
        ("f1", "file"), ("e1", "reported"), ("e2", "imported"),
    ]  # fmt: skip
    assert count_sources(found.events) == {"file": 1, "imported": 1, "reported": 1}
    one = found.events[1]
    assert (one.day, one.accuracy_m) == (DAY, 50.0)
    # 11.0005 E is 2.0005 degrees east of the zone's meridian (500 km).
    assert one.x == pytest.approx(660_400, abs=100)


def test_without_being_asked_for_they_stay_out(read: Read) -> None:
    assert [item.id for item in read(event(), with_events=False).events] == ["f1"]


def test_the_ledger_alone_is_an_inventory_too(read: Read) -> None:
    found = read(event(), file=False)
    assert [item.id for item in found.events] == ["e"]
    assert found.unit == "event"
    assert len(screen(found, GRID).events) == 1


def test_an_empty_ledger_alone_is_refused(read: Read) -> None:
    with pytest.raises(InputError, match="no landslide that can be used"):
        read(file=False)
    with pytest.raises(ValueError, match="with_events = true"):
        InventorySource()


def test_a_visit_on_which_nothing_was_seen_is_no_landslide(read: Read) -> None:
    assert [item.id for item in read(event(kind="nothing_seen")).events] == ["f1"]


def test_one_whose_day_is_not_known_is_left_out_and_told(read: Read) -> None:
    span = event("e1", day_from=DAY - timedelta(days=2), source="detected")
    found = read(span)
    assert [item.id for item in found.events] == ["f1"]
    (problem,) = found.problems
    assert "e1 (detected) happened on one of 3 days, 2023-05-14 to 2023-05-16" in problem.words
    assert "event_span_days = 1" in problem.words

    wider = read(span, event_span_days=3)
    assert [item.day for item in wider.events] == [DAY, DAY]
    assert wider.problems == ()


def test_one_that_the_file_holds_is_taken_once(read: Read) -> None:
    found = read(event("f1"), event("near", lon=11.0102, lat=44.0, accuracy_m=30), event("far", lon=11.03))
    assert "f1 of the ledger stands in the file too" in found.problems[0].words
    screened = screen(found, GRID)
    assert [item.id for item in screened.events] == ["f1", "far"]
    assert any("from line 2 (f1): one landslide said twice" in problem.words for problem in screened.problems)


def test_an_outline_gives_the_place_its_accuracy_and_area(read: Read) -> None:
    found = read(event(outline=square(11.0, 44.0), accuracy_m=500))
    one = found.events[1]
    assert one.area_m2 == pytest.approx(80.2 * 111.1, rel=0.01)
    assert one.accuracy_m == pytest.approx(68.5, abs=1)


def test_a_detected_one_names_its_detector(read: Read) -> None:
    found = read(event(source="detected", detector="unet 1 (dddddddd)"))
    assert count_sources(found.events) == {"file": 1, "detected by unet 1 (dddddddd)": 1}


def test_the_digest_follows_the_events_and_the_rule(read: Read) -> None:
    digests = [
        read(with_events=False).digest,
        read().digest,
        read(event("e1")).digest,
        read(event("e1"), event_span_days=2).digest,
        read(event("e1"), event("e2", lon=11.02)).digest,
    ]
    assert len(set(digests)) == 5
    assert read().digest == digests[-1], "the same events, the same digest"


def test_an_earlier_moments_inventory_can_be_read_again(read: Read) -> None:
    early, late = event("e1"), event("e2", lon=11.02, recorded_at=event().recorded_at + timedelta(days=1))
    assert len(read(early, late).events) == 3
    assert len(read(early, late, events_as_of=early.recorded_at).events) == 2
