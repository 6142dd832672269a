"""Promises of text that comes compressed, in fixed width or from a server, and of the places asked for."""

from __future__ import annotations

import bz2
import gzip
import lzma
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import FeedError
from service.feed_log import Problem
from service.feeds.base import FeedFault
from service.feeds.csv_feed import CsvFeedReader
from service.feeds.json_feed import JsonFeedReader
from service.feeds.points import grid_over
from service.feeds.templates import check_template, fill, fill_url
from service.quality import Reason
from service.reading_values import SeriesPosition
from tests.fix_feeds import ROME, context_for, csv_feed, observations, rejections, rows_of
from tests.fix_json import Service, fetch, json_settings

LONG = "series,day,value\nA,2026-03-01,1.5\nB,2026-03-01,0\n"
EXPECTED = {("A", "2026-03-01"): 1.5, ("B", "2026-03-01"): 0.0}


def zipped(path: Path, **members: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path.read_bytes()


# --- compressed ---


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_table_is_read_whatever_its_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert observations(rows_of(csv_feed(tmp_path, pack(LONG.encode())))) == EXPECTED


def test_a_zip_archive_of_one_member_is_read_and_of_more_is_not(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", a=LONG)
    assert observations(rows_of(csv_feed(tmp_path, one))) == EXPECTED
    (problem,) = rows_of(csv_feed(tmp_path, zipped(tmp_path / "two.zip", a=LONG, b=LONG)))
    assert isinstance(problem, Problem)
    assert "a zip archive of 2 members, and one is expected" in problem.message


def test_a_folder_takes_compressed_tables(tmp_path: Path) -> None:
    folder = tmp_path / "rain"
    folder.mkdir()
    (folder / "a.CSV.gz").write_bytes(gzip.compress(LONG.encode()))
    (folder / "notes.pdf.gz").write_bytes(gzip.compress(b"nothing"))
    assert observations(rows_of(csv_feed(tmp_path, path=str(folder)))) == EXPECTED


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        (lambda data: gzip.compress(data)[:-20], "truncated"),
        (lambda data: gzip.compress(data)[:-8] + b"\0" * 8, "archive"),
        (lambda data: lzma.compress(data)[:-20], "truncated"),
        (lambda data: bz2.compress(data)[:20] + b"\0" * 40, "archive"),
    ],
)
def test_a_cut_or_damaged_archive_is_told_and_does_not_pass_for_a_short_table(
    tmp_path: Path, pack: Callable[[bytes], bytes], reason: str
) -> None:
    text = LONG + "".join(f"A,2025-{m:02}-{d:02},{m * d}\n" for m in range(1, 13) for d in range(1, 29))
    rows = rows_of(csv_feed(tmp_path, pack(text.encode())))
    problems = [row for row in rows if isinstance(row, Problem)]
    assert [(problem.reason, problem.is_error) for problem in problems] == [(reason, True)]
    assert "rain.csv" in problems[0].message
    assert "fetch it again" in problems[0].message


def test_a_reply_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(b"series,day,value\n" + b"A,2026-03-01,1.5\n" * 100_000)
    assert len(bomb) < 10_000
    settings = csv_feed(tmp_path, path=None, url="https://x.example/t.gz", http={"max_bytes": 10_000})
    _, rows = fetch(settings, Service(tmp_path, lambda *_: bomb))
    (problem,) = [row for row in rows if isinstance(row, Problem)]
    assert problem.reason == "too_large"
    assert "http.max_bytes" in problem.message


# --- fixed width ---

FIXED: dict[str, Any] = {"series": [1, 3], "day": [5, 12], "value": [14, 18], "quality": [20, 20]}


def fixed(folder: Path, text: str, **changes: Any) -> Any:
    places = folder / "places.csv"
    places.write_text("id,lon,lat\nAAA,11,44\nBBB,11,44\n")
    values = {"day_format": "%Y%m%d", "series_file": places, "elevation_column": None, "fixed": FIXED}
    return csv_feed(folder, text, **values | changes)


def test_a_day_a_line_is_read_by_its_columns(tmp_path: Path) -> None:
    text = "AAA 20260301   1.5\nBBB 20260301     0 E\nZZZ 20260301   9.0\nAAA 20260302 -9999\n"
    rows = rows_of(fixed(tmp_path, text, fixed=FIXED | {"quality_accepted": ["E"]}))
    # ZZZ is no series of the feed: a file of the whole world may hold it.
    assert observations(rows) == {("AAA", "2026-03-01"): 1.5, ("BBB", "2026-03-01"): 0.0}
    assert rejections(rows) == []


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("AAA 2026x301   1.5\n", Reason.DATE, "'2026x301' is not a day"),
        ("AAA 20260301   1.x\n", Reason.NUMBER, "'1.x' is not a number"),
        ("AAA 20260301   1.5 X\n", Reason.FLAGGED, "quality flag 'X'"),
        ("    20260301   1.5\n", Reason.UNKNOWN_SERIES, "names no series"),
        ("AAA 20260301   1", Reason.TRUNCATED, "without a newline"),
    ],
)
def test_a_broken_line_of_columns_is_rejected_and_costs_no_other(
    tmp_path: Path, line: str, reason: Reason, words: str
) -> None:
    rows = rows_of(fixed(tmp_path, "BBB 20260301   2.5\n" + line))
    assert observations(rows) == {("BBB", "2026-03-01"): 2.5}
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.row) == (reason, 2)
    assert words in rejection.detail


MONTH = {"series": [1, 3], "month": [4, 9], "value": [10, 12], "step": 3}


@given(st.dates(date(1990, 1, 1), date(2025, 12, 1)), st.lists(st.integers(0, 999), min_size=31, max_size=31))
def test_a_month_a_line_gives_each_day_its_own_value_and_no_day_that_is_not(
    tmp_path_factory: pytest.TempPathFactory, month: date, values: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("months")
    text = f"AAA{month:%Y%m}" + "".join(f"{value:3d}" for value in values) + "\n"
    rows = rows_of(fixed(folder, text, fixed=MONTH, scale=0.1, timezone="Europe/Rome"))
    days = [date(month.year, month.month, day) for day in range(1, 32) if _is_day(month, day)]
    assert observations(rows) == {("AAA", day.isoformat()): values[day.day - 1] / 10 for day in days}
    assert [item.reason for item in rejections(rows)] == [Reason.DATE] * (31 - len(days))


def _is_day(month: date, day: int) -> bool:
    try:
        return bool(date(month.year, month.month, day))
    except ValueError:
        return False


def test_columns_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="ends before it begins"):
        fixed(tmp_path, "", fixed=FIXED | {"value": [9, 3]})
    with pytest.raises(ValidationError, match="either 'day'"):
        fixed(tmp_path, "", fixed=FIXED | {"month": [1, 2]})


# --- from a server ---


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, tuple[str, bytes]], list[str]]]:
    """An address, what to answer by path, and what was asked."""
    bodies: dict[str, tuple[str, bytes]] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            kind, body = bodies.get(self.path.partition("?")[0], ("text/plain", b""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", bodies, asked
        running.shutdown()
        thread.join()


def test_a_table_by_url_is_asked_for_series_by_series(
    tmp_path: Path, server: tuple[str, dict[str, tuple[str, bytes]], list[str]]
) -> None:
    address, bodies, asked = server
    bodies["/A.csv"] = ("text/csv", gzip.compress(LONG.encode()))
    settings = csv_feed(tmp_path, path=None, url=address + "/{series}.csv", params={"from": "{since:%Y%m%d}"})
    batch = CsvFeedReader(settings, context_for(ROME, tmp_path / "kept")).fetch(date(2026, 2, 1), None)
    assert observations(batch.rows) == EXPECTED
    assert asked == ["/A.csv?from=20260201", "/B.csv?from=20260201"]
    # B is a gauge of the feed, and the server has nothing of it.
    assert [problem.reason for problem in batch.problems] == ["absent"]


def test_a_json_service_is_polled_and_a_page_in_its_place_is_named(
    tmp_path: Path, server: tuple[str, dict[str, tuple[str, bytes]], list[str]]
) -> None:
    address, bodies, _ = server
    settings = json_settings(
        url=address + "/api",
        groups="[]",
        series="id",
        day="day",
        value="v",
        lon="x",
        lat="y",
        http={"retries": 0},
    )
    reader = JsonFeedReader(settings, context_for(ROME, tmp_path / "kept"))
    bodies["/api"] = ("application/json", b'[{"id": "A", "day": "2026-03-01", "v": "1.5", "x": 11, "y": 44}]')
    assert observations(reader.fetch(None, None).rows) == {("A", "2026-03-01"): 1.5}
    bodies["/api"] = ("text/html", b"<html><h1>Maintenance</h1></html>")
    with pytest.raises(FeedError, match="Maintenance"):
        reader.fetch(None, None)


def test_a_web_page_in_place_of_a_table_is_a_fault_of_its_series_alone(tmp_path: Path) -> None:
    def answer(url: str, _: Any) -> bytes:
        return LONG.encode() if url.endswith("A") else b"<html>503</html>"

    settings = csv_feed(tmp_path, path=None, url="https://x.example/{series}")
    _, rows = fetch(settings, Service(tmp_path, answer))
    assert observations(rows) == EXPECTED
    assert [row.reason for row in rows if isinstance(row, Problem)] == ["not_csv"]


def test_a_feed_is_a_file_or_an_address_and_not_both(tmp_path: Path) -> None:
    for path, url in ((None, None), ("a.csv", "https://x.example/a")):
        with pytest.raises(ValidationError, match="either 'path'"):
            csv_feed(tmp_path, path=path, url=url)


# --- places ---


@given(
    st.floats(-180, 170),
    st.floats(-85, 80),
    st.floats(0.01, 5),
    st.floats(0.01, 5),
    st.sampled_from([0.05, 0.1, 0.25, 1]),
)
def test_a_grid_of_points_surrounds_the_region_and_keeps_its_names_when_it_grows(
    west: float, south: float, width: float, height: float, step: float
) -> None:
    inner = grid_over((west, south, west + width, south + height), step, 100_000, "api")
    outer = grid_over(
        (west - 0.2, south - 0.2, west + width + 0.2, south + height + 0.2), step, 100_000, "api"
    )
    assert {place.id for place in inner} <= {place.id for place in outer}
    assert len({place.id for place in inner}) == len(inner)
    assert min(place.lat for place in inner) <= south
    assert max(place.lat for place in inner) >= min(south + height, 90 - step)


def test_a_grid_that_would_be_too_fine_is_refused_before_it_is_made() -> None:
    with pytest.raises(FeedFault, match="raise 'grid_degrees' or 'places_at_most'"):
        grid_over((0, 0, 10, 10), 1e-9, 1000, "api")


def test_the_series_file_may_bound_the_operating_range(tmp_path: Path) -> None:
    (tmp_path / "dams.csv").write_text("id,lon,lat,low,high\nA,11,44,690,732.4\nB,12,44,,\n")
    feed = csv_feed(
        tmp_path,
        LONG,
        variable="level",
        unit="m",
        series_file=tmp_path / "dams.csv",
        elevation_column=None,
        lowest_column="low",
        highest_column="high",
    )
    assert CsvFeedReader(feed, context_for(ROME)).fetch(None, None).series == (
        SeriesPosition("A", 11, 44, None, 690, 732.4),
        SeriesPosition("B", 12, 44),
    )


# --- templates ---


def test_a_template_is_filled_and_an_address_is_safe() -> None:
    values = {"series": "A b/../c?d", "since": date(2026, 3, 1)}
    check_template("{series}/{since:%d.%m.%Y}")
    assert fill("{series}-{since:%d.%m.%Y}-{{x}}", values) == "A b/../c?d-01.03.2026-{x}"
    assert fill_url("https://x/{series}/{since}", values) == "https://x/A%20b%2F..%2Fc%3Fd/2026-03-01"


@pytest.mark.parametrize(
    "template", ["{station}", "{since!r}", "{since.year}", "{lat:{lon}}", "{", "{lat:.2f}", "{}"]
)
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"fill|template|format|takes"):
        check_template(template)
