"""Promises about a rehearsal: what thresholds would have done, held against what really happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporters.event import Event
from exporters.layer import CLASS_LABELS, ZoneArea
from service.cli import main_group
from service.errors import ColluviumError, InputError
from service.ledger_levels import DayRecord
from service.rehearse import ZonePast, judge, replay
from service.rehearse_events import Happened, ZoneDay, gather
from service.settings_warnings import WarningSettings
from tests.fix_region import LAST_DAY, ToyRegion

START = date(2026, 1, 1)
BASIS = dict.fromkeys(("bundle", "state", "stack", "mask", "zones", "classes"), "same")
NOTHING = Happened({}, frozenset(), 0, ())
WEST, EAST, NOWHERE = (9.003, 45.145), (9.025, 45.145), (20.0, 45.0)


def day(number: int) -> date:
    return START + timedelta(days=number)


def record(number: int, share: float, growth: float | None, basis: Mapping[str, str] = BASIS) -> DayRecord:
    """A map with one zone of which `share` is very high."""
    areas = [
        ZoneArea(
            zone="a",
            name="Alpha",
            label=label,
            area_m2=1e6 * part,
            ratio=part,
            unknown_m2=0.0,
            change_m2={} if growth is None else {1: 1e6 * growth * (label == "very_high")},
            change_ratio={} if growth is None else {1: growth * (label == "very_high")},
        )
        for label, part in zip(CLASS_LABELS, (1 - share, 0.0, 0.0, share), strict=True)
    ]
    return DayRecord(f"l{number}", day(number), False, True, tuple(areas), (), dict(basis))


def past(*levels: int | None, zone: str = "a") -> dict[str, ZonePast]:
    return {zone: ZonePast(zone, "Alpha", {day(number): level for number, level in enumerate(levels)})}


def landslides(*numbers: int, zone: str = "a") -> Happened:
    return Happened({ZoneDay(zone, day(number)): 2 for number in numbers}, frozenset(), 0, ())


def level_of(found: Mapping[str, ZonePast]) -> list[int | None]:
    return list(found["a"].levels.values())


def test_a_replay_decides_as_the_service_does_hysteresis_and_all() -> None:
    records = [record(0, 0.03, None), record(1, 0.3, 0.27), record(2, 0.03, -0.27), record(3, 0.03, 0.0)]
    assert level_of(replay(records, WarningSettings())) == [None, 3, 3, 0]
    assert level_of(replay(records, WarningSettings(lower_after_days=1))) == [None, 3, 0, 0]


def test_a_change_of_model_lowers_nothing_in_a_replay_either() -> None:
    other = BASIS | {"bundle": "another"}
    records = [
        record(0, 0, 0.0),
        record(1, 0.3, 0.3),
        record(2, 0.9, None, other),
        record(3, 0.9, 0.0, other),
    ]
    assert level_of(replay(records, WarningSettings())) == [0, 3, 3, 3]


def test_calls_are_rises_and_a_year_has_as_many_days_as_had_maps() -> None:
    found = judge(past(*[0, 1, 2, 1, 0, None, 2, 0] * 10), NOTHING)
    yellow, orange, red = found.levels
    assert (found.days, yellow.calls, orange.calls, red.calls) == (80, 20, 20, 0)
    assert yellow.calls_a_year == pytest.approx(20 / 80 * 365.25)
    assert yellow.zone_days == 40
    assert found.zones[0].days == {"unknown": 10, "green": 30, "yellow": 20, "orange": 20, "red": 0}


def test_one_storm_that_calls_for_many_zones_is_one_day_of_calls() -> None:
    found = judge(past(0, 2, 2) | past(0, 2, 2, zone="b"), NOTHING)
    assert (found.levels[0].calls, found.levels[0].days_with_a_call) == (2, 1)


def test_a_landslide_is_caught_in_time_the_day_after_or_missed_or_nobody_knew() -> None:
    found = judge(past(0, 1, 0, 0, 2, 0, None, 0, 0), landslides(1, 3, 6, 7))
    yellow, orange, _ = found.levels
    assert (yellow.in_time, yellow.late, yellow.missed, yellow.not_known) == (1, 1, 1, 1)
    assert (orange.in_time, orange.late, orange.missed, orange.not_known) == (0, 1, 2, 1)
    assert (found.events, found.landslides) == (4, 8)


def test_landslides_of_days_without_a_map_do_not_count() -> None:
    assert judge(past(0, 1), landslides(-5, 1, 40)).events == 1


def test_an_alarm_is_false_only_where_somebody_looked() -> None:
    looked = Happened({}, frozenset({ZoneDay("a", day(1)), ZoneDay("a", day(3))}), 0, ())
    found = judge(past(0, 2, 2, 0, 3), looked)
    assert (found.levels[0].false_alarms, found.levels[0].rightly_quiet) == (1, 1)
    assert judge(past(0, 2, 2, 0, 3), NOTHING).levels[0].false_alarms == 0


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_events_are_placed_in_zones_by_name_or_by_place(toy: ToyRegion) -> None:
    by_place = write(
        toy.folder / "events.csv",
        "date,lon,lat,kind",
        f"2026-03-01,{WEST[0]},{WEST[1]},",
        f"2026-03-01,{WEST[0]},{WEST[1]},landslide",
        f"2026-03-02,{EAST[0]},{EAST[1]},nothing_seen",
        f"2026-03-02,{NOWHERE[0]},{NOWHERE[1]},landslide",
    )
    found = gather(toy.settings, by_place, [])
    assert found.landslides == {ZoneDay("west", date(2026, 3, 1)): 2}
    assert found.quiet == {ZoneDay("east", date(2026, 3, 2))}
    assert found.outside == 1
    by_zone = write(toy.folder / "zones.csv", "day,zone", "2026-03-01,west")
    assert gather(toy.settings, by_zone, []).landslides == {ZoneDay("west", date(2026, 3, 1)): 1}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("when,zone", "2026-03-01,west"), "no column date"),
        (("day,lon", "2026-03-01,9"), "no column lat"),
        (("day,zone", "1.3.2026,west"), "line 2"),
        (("day,zone", "2026-03-01,north"), "no zone 'north'"),
        (("day,zone,kind", "2026-03-01,west,rumour"), "kind is 'rumour'"),
        (("day,lon,lat", "2026-03-01,500000,5000000"), "not longitude and latitude"),
        (("day,lon,lat", "2026-03-01,9.0"), "line 2"),
    ],
)
def test_a_file_of_events_that_cannot_be_used_is_refused_with_its_line(
    toy: ToyRegion, lines: Sequence[str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        gather(toy.settings, write(toy.folder / "events.csv", *lines), [])


def test_the_trainings_inventory_is_read_with_its_own_columns(toy: ToyRegion) -> None:
    write(toy.folder / "slides.csv", "x;y;tag", f"{WEST[0]};{WEST[1]};01.03.2026", f"{WEST[0]};{WEST[1]};?")
    toy.config.write_text(
        toy.config.read_text() + '\n[training.inventory]\npath = "slides.csv"\nseparator = ";"\n'
        'x_column = "x"\ny_column = "y"\nday_column = "tag"\nday_format = "%d.%m.%Y"\n'
    )
    found = gather(toy.settings, None, [])
    assert found.landslides == {ZoneDay("west", date(2026, 3, 1)): 1}
    assert any("1 rows" in note for note in found.notes)


def test_without_events_the_rehearsal_says_so(toy: ToyRegion) -> None:
    assert any("no file of events" in note for note in gather(toy.settings, None, []).notes)


def event(uid: str, kind: str, place: tuple[float, float], day_from: date = LAST_DAY) -> Event:
    return Event(
        uid=uid, kind=kind, source="reported", day_from=day_from, day=LAST_DAY, lon=place[0], lat=place[1],  # type: ignore[arg-type]
        accuracy_m=50, by="A. Rossi", reason="photo", recorded_at=datetime(2026, 4, 1, tzinfo=UTC),
    )  # fmt: skip


def test_events_of_the_ledger_count_by_zone_and_day(toy: ToyRegion) -> None:
    kept = [
        event("1", "landslide", WEST),
        event("3", "nothing_seen", EAST),
        event("4", "nothing_seen", WEST),
    ]
    found = gather(toy.settings, None, kept)
    assert found.landslides == {ZoneDay("west", LAST_DAY): 1}
    assert found.quiet == {ZoneDay("east", LAST_DAY)}, "where a landslide was seen, that is what counts"


def test_an_event_that_stands_in_the_file_too_counts_once(toy: ToyRegion) -> None:
    both = write(toy.folder / "events.csv", "id,date,lon,lat", f"1,{LAST_DAY},{WEST[0]},{WEST[1]}")
    kept = [event("1", "landslide", WEST), event("2", "landslide", WEST)]
    assert gather(toy.settings, both, kept).landslides == {ZoneDay("west", LAST_DAY): 2}


def test_an_event_without_a_day_of_its_own_is_left_out_and_told(toy: ToyRegion) -> None:
    found = gather(toy.settings, None, [event("1", "landslide", WEST, LAST_DAY - timedelta(days=4))])
    assert found.landslides == {}
    assert any("1 events" in note and "span" in note for note in found.notes)


def run(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["alerts", *arguments, "-c", str(toy.config)])


def test_the_command_rehearses_the_archive_with_thresholds_of_ones_own(toy: ToyRegion) -> None:
    toy.refresh(*[LAST_DAY - timedelta(days=back) for back in (3, 2, 1, 0)])
    events = write(toy.folder / "events.csv", "day,zone", f"{LAST_DAY},west")
    said = run(toy, "rehearse", "--since", "2026-01-01", "--events", str(events))
    assert said.exit_code == 0, said.output
    for word in ("SYNTHETIC", "4 days with a map", "West", "may not warn", "cannot be counted"):
        assert word in said.output
    loose = ("--yellow", "0.001,0.0001", "--max-unknown", "0.9")
    result = run(toy, "rehearse", "--since", "2026-01-01", "--events", str(events), *loose, "--json")
    found = json.loads(result.output.splitlines()[-1])
    assert found["thresholds"]["yellow"] == {"share": 0.001, "growth": 0.0001}
    assert found["levels"][0]["calls"] > 0
    assert found["events"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "2030-01-01"), "holds no layer from 2030-01-01 on"),
        (("--since", "2026-01-01", "--red", "0.01,0.01"), "red must ask for at least"),
        (("--since", "2026-01-01", "--keep", "7"), "keep"),
    ],
)
def test_the_command_says_what_is_wrong(toy: ToyRegion, arguments: Sequence[str], words: str) -> None:
    toy.refresh(LAST_DAY)
    result = run(toy, "rehearse", *arguments)
    assert isinstance(result.exception, ColluviumError)
    assert words in str(result.exception)


def test_thresholds_that_are_no_two_numbers_are_refused(toy: ToyRegion) -> None:
    result = run(toy, "rehearse", "--since", "2026-01-01", "--red", "0.2")
    assert result.exit_code == 2
    assert "SHARE,GROWTH" in result.output
