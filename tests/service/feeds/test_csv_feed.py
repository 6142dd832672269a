"""Promises of the CSV feed on files that are as they should be."""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import FeedError
from service.feeds.base import Feed
from service.feeds.csv_feed import CsvFeedReader
from service.feeds.fake import FakeFeed, batch_of
from service.reading_values import SeriesPosition
from tests.fix_feeds import ROME, context_for, csv_feed, observations, rejections, rows_of

LONG = "series,day,value\nA,2026-03-01,1.5\nB,2026-03-01,0\nA,2026-03-02,NA\n"
EXPECTED = {("A", "2026-03-01"): 1.5, ("B", "2026-03-01"): 0.0}


def test_the_long_form_gives_a_value_a_row_and_no_data_gives_none(tmp_path: Path) -> None:
    rows = rows_of(csv_feed(tmp_path, LONG))
    assert observations(rows) == EXPECTED
    assert len(rows) == 2


def test_the_wide_form_gives_the_same(tmp_path: Path) -> None:
    feed = csv_feed(tmp_path, "day,A,B\n2026-03-01,1.5,0\n2026-03-02,NA,\n", form="wide")
    rows = rows_of(feed)
    assert observations(rows) == EXPECTED
    assert len(rows) == 2


CELLS = st.dictionaries(
    st.tuples(st.sampled_from("AB"), st.integers(1, 28)),
    st.one_of(st.floats(0, 500, width=32).map(repr), st.sampled_from(["NA", "", "x", "-9999"])),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CELLS)
def test_wide_is_long(tmp_path: Path, cells: dict[tuple[str, int], str]) -> None:
    long = "series,day,value\n" + "".join(f"{s},2026-02-{d:02},{v}\n" for (s, d), v in cells.items())
    days = sorted({day for _, day in cells})
    wide = "day,A,B\n" + "".join(
        f"2026-02-{day:02},{cells.get(('A', day), '')},{cells.get(('B', day), '')}\n" for day in days
    )
    from_long = rows_of(csv_feed(tmp_path, long))
    from_wide = rows_of(csv_feed(tmp_path, wide, form="wide"))
    assert observations(from_long) == observations(from_wide)
    assert {(r.series, r.day, r.reason, r.detail) for r in rejections(from_long)} == {
        (r.series, r.day, r.reason, r.detail) for r in rejections(from_wide)
    }


def test_columns_separator_decimal_unit_and_encoding_are_as_the_settings_say(tmp_path: Path) -> None:
    text = 'Anno;Stazione;Pioggia;Note\n01.03.2026;A;"1,5";"è; così"\n'.encode("cp1252")
    feed = csv_feed(
        tmp_path,
        text,
        series_column="Stazione",
        day_column="Anno",
        value_column="Pioggia",
        day_format="%d.%m.%Y",
        separator=";",
        decimal=",",
        encoding="cp1252",
        unit="cm",
    )
    assert observations(rows_of(feed)) == {("A", "2026-03-01"): 15.0}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path, encoding: str) -> None:
    feed = csv_feed(
        tmp_path,
        LONG.encode(encoding),
        encoding=encoding.removesuffix("-sig"),
        series_file=tmp_path / "g.csv",
    )
    (tmp_path / "g.csv").write_bytes("id,lon,lat,elev\nA,11,44,1\nB,11,44,1\n".encode(encoding))
    assert observations(rows_of(feed)) == EXPECTED


def test_windows_line_ends_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    assert observations(rows_of(csv_feed(tmp_path, "\r\n" + LONG.replace("\n", "\r\n\r\n")))) == EXPECTED


def test_a_folder_is_all_its_tables_but_hidden_ones_and_the_series_file(tmp_path: Path) -> None:
    folder = tmp_path / "rain"
    folder.mkdir()
    (folder / "a.csv").write_text("series,day,value\nA,2026-03-01,1.5\n")
    (folder / "b.TXT").write_text("series,day,value\nB,2026-03-01,0\n")
    (folder / ".half.csv").write_text("series,day,value\nA,2026-03-05,9\n")
    (folder / "notes.md").write_text("series,day,value\nA,2026-03-06,9\n")
    (folder / "stations.csv").write_text("id,lon,lat,elev\nA,11,44,1\nB,11,44,1\n")
    feed = csv_feed(tmp_path, path=str(folder), series_file=folder / "stations.csv")
    rows = rows_of(feed)
    assert observations(rows) == EXPECTED
    assert len(rows) == 2


def test_a_glob_takes_what_it_matches(tmp_path: Path) -> None:
    (tmp_path / "2026-a.csv").write_text("series,day,value\nA,2026-03-01,1.5\n")
    (tmp_path / "2025-a.csv").write_text("series,day,value\nA,2025-03-01,9\n")
    feed = csv_feed(tmp_path, path=str(tmp_path / "2026-*.csv"))
    assert observations(rows_of(feed)) == {("A", "2026-03-01"): 1.5}


def test_days_go_by_the_feeds_zone_and_boundary(tmp_path: Path) -> None:
    feed = csv_feed(tmp_path, LONG, timezone="UTC", day_boundary=time(14))
    assert observations(rows_of(feed, ZoneInfo("Europe/Rome"))) == {
        ("A", "2026-03-02"): 1.5,
        ("B", "2026-03-02"): 0.0,
    }


def test_positions_come_from_the_series_file_whatever_separates_it(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("name;x;id;y\nAlpha;11,5;A;44,25\n")
    feed = csv_feed(
        tmp_path, LONG, series_file=tmp_path / "g.csv", lon_column="x", lat_column="y", elevation_column=None
    )
    assert CsvFeedReader(feed, context_for(ROME)).fetch(None, None).series == (
        SeriesPosition("A", 11.5, 44.25, None),
    )


def test_a_series_file_may_name_a_series_in_many_rows_at_one_place(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("id,lon,lat,elev\nA,11,44,1\nA,11,44,1\nB,12,44,\n")
    batch = CsvFeedReader(csv_feed(tmp_path, LONG, series_file=tmp_path / "g.csv"), context_for(ROME)).fetch(
        None, None
    )
    assert batch.series == (SeriesPosition("A", 11, 44, 1), SeriesPosition("B", 12, 44, None))
    assert batch.problems == ()


def test_levels_need_no_positions(tmp_path: Path) -> None:
    feed = csv_feed(tmp_path, LONG, variable="level", unit="ft", series_file=None)
    batch = CsvFeedReader(feed, context_for(ROME)).fetch(None, None)
    assert batch.series is None
    assert observations(batch.rows)["A", "2026-03-01"] == pytest.approx(0.4572)


def test_an_assumption_about_history_is_the_feeds_to_allow(tmp_path: Path) -> None:
    allowed = csv_feed(tmp_path, LONG, latency_hours=3)
    forbidden = csv_feed(tmp_path, LONG, assume_history=False)
    assert CsvFeedReader(allowed, context_for(ROME)).fetch(None, None).latency == timedelta(hours=3)
    assert CsvFeedReader(forbidden, context_for(ROME)).fetch(None, None).latency is None


def test_a_fake_feed_follows_its_script_and_then_repeats_the_last(tmp_path: Path) -> None:
    fake = FakeFeed("rain", "rain", [FeedError("down"), batch_of({("A", date(2026, 3, 1)): 1.5})])
    feed: Feed = fake
    with pytest.raises(FeedError, match="down"):
        feed.fetch(None, None)
    for _ in range(2):
        assert observations(feed.fetch(date(2026, 3, 1), None).rows) == {("A", "2026-03-01"): 1.5}
    assert fake.calls[1] == (date(2026, 3, 1), None)


def test_a_forecast_in_a_table_is_refused_and_never_counts_as_measured(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a csv feed brings no forecasts"):
        csv_feed(tmp_path, forecast=True)
