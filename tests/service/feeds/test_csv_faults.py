"""Promises of the CSV feed on broken input: the fault is named by file and row, and costs only itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import FeedError
from service.feed_log import Problem
from service.feeds.csv_feed import CsvFeedReader
from service.quality import Reason
from tests.fix_feeds import ROME, context_for, csv_feed, observations, rejections, rows_of

HEADER = "series,day,value\n"
GOOD = {("A", "2026-03-01"): 1.5}


def problem_of(tmp_path: Path, text: str | bytes, **changes: Any) -> Problem:
    """The one problem of a file that cannot be used."""
    (item,) = rows_of(csv_feed(tmp_path, text, **changes))
    assert isinstance(item, Problem)
    assert item.is_error
    assert "rain.csv" in item.message
    assert item.message.startswith("feed rain: ")
    return item


# --- whole files ---


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_file_is_named(tmp_path: Path, text: str) -> None:
    assert problem_of(tmp_path, text).reason == "empty"


def test_a_file_with_a_header_alone_is_named(tmp_path: Path) -> None:
    assert "no rows" in problem_of(tmp_path, HEADER).message


def test_wrong_columns_are_told_with_what_is_expected_and_what_is_there(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "station,day,rain\nA,2026-03-01,1.5\n")
    assert problem.reason == "columns"
    assert "row 1 lacks the columns 'series', 'value'" in problem.message
    assert "expected are 'series', 'day', 'value'" in problem.message
    assert "there are 'station', 'day', 'rain'" in problem.message


def test_a_wrong_separator_is_recognised_and_the_right_one_named(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "series;day;value\nA;2026-03-01;1.5\n")
    assert "separator = ';'" in problem.message


def test_a_wrong_separator_is_suspected_even_where_the_names_differ_too(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "station;date;rain\nA;2026-03-01;1.5\n")
    assert "set separator = ';'" in problem.message


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    assert (
        "'value' more than once" in problem_of(tmp_path, "series,day,value,value\nA,2026-03-01,1,2\n").message
    )


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n",
        "  <?xml version='1.0'?><error/>\n",
    ],
)
def test_a_web_page_instead_of_a_table_is_recognised(tmp_path: Path, page: str) -> None:
    problem = problem_of(tmp_path, page)
    assert problem.reason == "not_csv"
    assert "looks like a web page" in problem.message


def test_json_and_binary_instead_of_a_table_are_recognised(tmp_path: Path) -> None:
    assert "JSON" in problem_of(tmp_path, '{"error": "rate limit"}\n').message
    assert "binary" in problem_of(tmp_path, b"PK\x03\x04\x00\x00rain\n").message
    assert "utf-16" in problem_of(tmp_path, HEADER.encode("utf-16-le")).message


def test_a_line_without_an_end_is_not_read_into_memory_for_ever(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "x" * (1 << 21)).reason == "not_csv"


def test_undecodable_bytes_in_the_header_are_a_fault_of_the_file(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "series,day,value,qualité\nA,2026-03-01,1.5,x\n".encode("latin-1"))
    assert "row 1 holds bytes that are not utf-8; set the feed's 'encoding'" in problem.message


def test_a_file_cut_inside_a_character_of_two_bytes_is_told_by_row(tmp_path: Path) -> None:
    text = (HEADER + "A,2026-03-01,1.5\n").encode("utf-16")[:-1]
    (tmp_path / "g.csv").write_bytes("id,lon,lat,elev\nA,11,44,1\n".encode("utf-16"))
    rows = rows_of(csv_feed(tmp_path, text, encoding="utf-16", series_file=tmp_path / "g.csv"))
    (problem,) = [row for row in rows if isinstance(row, Problem)]
    assert problem.reason == "encoding"
    assert "rain.csv row" in problem.message


def test_one_broken_file_of_a_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "rain"
    folder.mkdir()
    (folder / "1.csv").write_text("<html>\n")
    (folder / "2.csv").write_text(HEADER + "A,2026-03-01,1.5\n")
    (folder / "3.csv").write_text("")
    rows = rows_of(csv_feed(tmp_path, path=str(folder)))
    assert observations(rows) == GOOD
    assert [row.reason for row in rows if isinstance(row, Problem)] == ["not_csv", "empty"]


# --- single rows ---


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ("B,2026-03-01,1a5", Reason.NUMBER, "'1a5' is not a number"),
        ('B,2026-03-01,"1,5"', Reason.NUMBER, 'set decimal = ","'),
        ("B,2026-03-01,1,5", Reason.FIELDS, "commas for decimal points"),
        ("B,2026-03-01,inf", Reason.NOT_FINITE, "not a finite number"),
        ("B,2026-02-30,1", Reason.DATE, "'2026-02-30' is not a day of the form '%Y-%m-%d'"),
        ("B,2026-03-01T06:00,1", Reason.DATE, "'2026-03-01T06:00'"),
        ("B,2026-03-01", Reason.FIELDS, "2 cells where the header has 3"),
        (",2026-03-01,1", Reason.UNKNOWN_SERIES, "names no series"),
        ('"B,2026-03-01,1', Reason.FIELDS, "unexpected end of data"),
    ],
)
def test_a_broken_row_is_rejected_by_row_and_costs_no_other(
    tmp_path: Path, row: str, reason: Reason, words: str
) -> None:
    rows = rows_of(csv_feed(tmp_path, f"{HEADER}{row}\nA,2026-03-01,1.5\n"))
    assert observations(rows) == GOOD
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.row, rejection.raw) == (reason, 2, row)
    assert rejection.file.endswith("rain.csv")
    assert words in rejection.detail


def test_undecodable_bytes_cost_the_row_that_holds_them(tmp_path: Path) -> None:
    rows = rows_of(csv_feed(tmp_path, HEADER.encode() + b"Forl\xec,2026-03-01,1\nA,2026-03-01,1.5\n"))
    assert observations(rows) == GOOD
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.row) == (Reason.ENCODING, 2)


@pytest.mark.parametrize(
    "tail", ["A,2026-03-02,12", "A,2026-03-02", "A,2026-03-02\n", "A,20", 'A,2026-03-02,"1', "B,2026-03-02,"]
)
def test_a_last_row_that_may_be_cut_is_rejected_as_truncated(tmp_path: Path, tail: str) -> None:
    rows = rows_of(csv_feed(tmp_path, f"{HEADER}A,2026-03-01,1.5\n{tail}"))
    assert observations(rows) == GOOD
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.row) == (Reason.TRUNCATED, 3)


def test_a_last_row_without_a_newline_counts_where_what_may_be_cut_is_not_used(tmp_path: Path) -> None:
    rows = rows_of(csv_feed(tmp_path, "series,day,value,note\nA,2026-03-01,1.5,fi"))
    assert observations(rows) == GOOD
    assert rejections(rows) == []


def test_the_wide_form_loses_only_the_cell_that_may_be_cut(tmp_path: Path) -> None:
    rows = rows_of(csv_feed(tmp_path, "day,A,B\n2026-03-01,1.5,12", form="wide"))
    assert observations(rows) == GOOD
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.series, rejection.raw) == (Reason.TRUNCATED, "B", "12")


def test_a_wide_column_that_is_no_series_is_rejected_once_by_name(tmp_path: Path) -> None:
    rows = rows_of(csv_feed(tmp_path, "day,A,Flag\n2026-03-01,1.5,9\n2026-03-02,NA,9\n", form="wide"))
    assert observations(rows) == GOOD
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.row, rejection.series) == (Reason.UNKNOWN_SERIES, 1, "Flag")


# --- the feed as a whole ---


def fetch_error(tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(FeedError) as caught:
        CsvFeedReader(csv_feed(tmp_path, **changes), context_for(ROME)).fetch(None, None)
    assert str(caught.value).startswith("feed rain: ")
    return str(caught.value)


def test_a_missing_file_an_empty_folder_and_a_glob_without_match_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no such file or folder" in fetch_error(tmp_path)
    assert "empty holds no .csv" in fetch_error(tmp_path, path=str(tmp_path / "empty"))
    assert "no file matches" in fetch_error(tmp_path, path=str(tmp_path / "*.dat"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "ft"}, "'ft' is no unit of rain"),
        ({"series_file": None}, "set 'series_file'"),
        ({"separator": ";;"}, "'separator' is one character"),
    ],
)
def test_settings_that_cannot_work_say_which_key(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in fetch_error(tmp_path, text=HEADER, **changes)


def test_unknown_encodings_and_zones_say_which_key(tmp_path: Path) -> None:
    assert "encoding 'klingon'" in fetch_error(tmp_path, text=HEADER, encoding="klingon")
    (item,) = rows_of(csv_feed(tmp_path, HEADER + "A,2026-03-01,1\n", timezone="Mars/Olympus"))
    assert "unknown time zone 'Mars/Olympus'" in str(item)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("id,lon\nA,11\n", "lacks the columns 'lat', 'elev'"),
        ("id,lon,lat,elev\nA,4920000,680000,1\n", "names no usable series"),
    ],
)
def test_a_series_file_that_cannot_be_used_stops_the_feed(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "gauges.csv").write_text(text)
    message = fetch_error(tmp_path, text=HEADER)
    assert words in message
    assert "gauges.csv" in message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("B,44.3,111.6,1", "lat 111.6"),
        ("B,,44.3,1", "missing"),
        ("B,east,44.3,1", "not in numbers"),
        ("B,11", "too few cells"),
        ("A,12.5,44.2,1", "stands elsewhere in row 2"),
    ],
)
def test_a_row_of_the_series_file_that_cannot_be_used_is_named_and_costs_its_series(
    tmp_path: Path, row: str, words: str
) -> None:
    (tmp_path / "gauges.csv").write_text(f"id,lon,lat,elev\nA,11.5,44.2,180\n{row}\nC,11.7,44.4,190\n")
    batch = CsvFeedReader(csv_feed(tmp_path, HEADER), context_for(ROME)).fetch(None, None)
    (problem,) = batch.problems
    assert "gauges.csv row 3" in problem.message
    assert words in problem.message
    assert "C" in {position.id for position in batch.series or ()}
