"""Promises about cells: numbers in the stored unit, days in the region's calendar, no silent repair."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feeds.parsing import UNITS, CellFault, Days, Numbers, interval_of
from service.quality import Reason
from service.stamps import from_stamp

UTC_ZONE = ZoneInfo("UTC")
ROME = ZoneInfo("Europe/Rome")
KOLKATA = ZoneInfo("Asia/Kolkata")
PLAIN = Numbers(1.0, ".", ["", "NA", "-9999"])


@pytest.mark.parametrize(
    ("variable", "unit", "given_value", "stored"),
    [
        ("rain", "mm", "12.5", 12.5),
        ("rain", "cm", "1.25", 12.5),
        ("rain", "m", "0.0125", 12.5),
        ("rain", "in", "0.5", 12.7),
        ("level", "m", "970.66", 970.66),
        ("level", "cm", "97066", 970.66),
        ("level", "ft", "1000", 304.8),
    ],
)
def test_every_unit_arrives_in_the_stored_one(
    variable: str, unit: str, given_value: str, stored: float
) -> None:
    numbers = Numbers(UNITS[variable][unit], ".", [])
    assert numbers.read(given_value) == pytest.approx(stored, rel=1e-12)


@pytest.mark.parametrize("text", ["", " NA ", "-9999", "-9999.0", "-9.999e3"])
def test_no_data_codes_are_no_values_however_they_are_written(text: str) -> None:
    assert PLAIN.read(text) is None


@pytest.mark.parametrize("text", ["abc", "1 2", "1_000", "12mm", "--5", "1.2.3", "0x10", "٣", "1,234.5"])
def test_text_in_a_number_is_a_fault_that_shows_it(text: str) -> None:
    with pytest.raises(CellFault, match="is not a number") as caught:
        PLAIN.read(text)
    assert caught.value.reason is Reason.NUMBER
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "NaN", "1e999"])
def test_numbers_that_are_not_finite_are_a_fault_of_their_own(text: str) -> None:
    with pytest.raises(CellFault) as caught:
        PLAIN.read(text)
    assert caught.value.reason is Reason.NOT_FINITE


def test_a_decimal_comma_is_read_where_it_is_set_and_hinted_at_where_it_is_not() -> None:
    comma = Numbers(1.0, ",", [])
    assert comma.read("12,5") == 12.5
    assert comma.read("12") == 12.0
    with pytest.raises(CellFault, match='set decimal = ","'):
        PLAIN.read("12,5")


@pytest.mark.parametrize("text", ["12.5", "1.234,5"])
def test_a_point_where_commas_are_decimal_is_refused_and_not_guessed(text: str) -> None:
    with pytest.raises(CellFault):
        Numbers(1.0, ",", []).read(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_that_python_writes_is_read_back(value: float) -> None:
    assert Numbers(1.0, ".", []).read(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["2026-03-01T06:00:00", "2026-03-01 00:00", "01/03/2026", "2026-02-30", "", "soon"]
)
def test_a_day_that_is_not_of_the_stated_form_is_a_fault_and_is_not_cut(text: str) -> None:
    with pytest.raises(CellFault, match="%Y-%m-%d") as caught:
        Days("%Y-%m-%d", UTC_ZONE, time(0), ROME).read(text)
    assert caught.value.reason is Reason.DATE


def test_a_time_in_the_day_must_be_the_boundary_of_the_feeds_day() -> None:
    days = Days("%Y-%m-%d %H:%M", ROME, time(9), ROME)
    assert days.read("2026-03-01 09:00")[0] == date(2026, 3, 1)
    with pytest.raises(CellFault, match=r"13:00:00.*09:00:00"):
        days.read("2026-03-01 13:00")


def test_seconds_since_1970_are_days_where_they_stand_at_the_feeds_boundary() -> None:
    days = Days("epoch", KOLKATA, time(0), KOLKATA)
    assert days.read("1772303400")[0] == date(2026, 3, 1)
    for text in ("1772303401", "soon", "1e9", "9" * 30):
        with pytest.raises(CellFault) as caught:
            days.read(text)
        assert caught.value.reason is Reason.DATE


def test_a_date_may_name_the_end_of_its_interval() -> None:
    days = Days("%Y-%m-%d", ROME, time(9), ROME, timedelta(days=-1))
    assert days.read("2026-03-02") == (date(2026, 3, 1), "2026-03-02T08:00:00.000000Z")


@pytest.mark.parametrize(("text", "stored"), [("3", 0.3), ("-9999", None), ("1234", 123.4)])
def test_a_scale_gives_the_number_that_is_meant_and_leaves_codes_alone(
    text: str, stored: float | None
) -> None:
    tenths = Numbers(1.0, ".", ["-9999"], 0.1)
    assert tenths.read(text) == tenths.take(float(text)) == stored


def test_a_time_with_an_offset_is_brought_into_the_feeds_zone() -> None:
    days = Days("%Y-%m-%dT%H:%M:%S%z", KOLKATA, time(0), KOLKATA)
    assert days.read("2026-02-28T18:30:00+0000")[0] == date(2026, 3, 1)


@pytest.mark.parametrize(
    ("day", "zone", "boundary", "region", "expected"),
    [
        (date(2026, 1, 15), UTC_ZONE, time(0), ROME, date(2026, 1, 15)),
        (date(2026, 1, 15), ROME, time(9), ROME, date(2026, 1, 15)),
        (date(2026, 1, 15), ROME, time(13), ROME, date(2026, 1, 16)),
        # The middle, 18:00 UTC, is 06:00 of the next day in Auckland.
        (date(2026, 7, 15), UTC_ZONE, time(6), ZoneInfo("Pacific/Auckland"), date(2026, 7, 16)),
        # The middle, 12:00 UTC, is 05:00 of the same day in Los Angeles.
        (date(2026, 7, 15), UTC_ZONE, time(0), ZoneInfo("America/Los_Angeles"), date(2026, 7, 15)),
        (
            date(2026, 7, 15),
            ZoneInfo("Pacific/Auckland"),
            time(0),
            ZoneInfo("America/Los_Angeles"),
            date(2026, 7, 14),
        ),
    ],
)
def test_a_total_belongs_to_the_regions_day_that_holds_its_middle(
    day: date, zone: ZoneInfo, boundary: time, region: ZoneInfo, expected: date
) -> None:
    assert interval_of(day, zone, boundary, region)[0] == expected


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(day: date, hours: int) -> None:
    assigned, ends_at = interval_of(day, ROME, time(0), ROME)
    start = datetime.combine(day, time(0), ROME).astimezone(UTC)
    assert assigned == day
    assert from_stamp(ends_at) - start == timedelta(hours=hours)


@given(st.dates(date(1980, 1, 1), date(2040, 1, 1)), st.sampled_from(["UTC", "Europe/Rome", "Asia/Kolkata"]))
def test_a_feed_in_the_regions_own_zone_keeps_its_days(day: date, zone: str) -> None:
    assert interval_of(day, ZoneInfo(zone), time(0), ZoneInfo(zone))[0] == day
