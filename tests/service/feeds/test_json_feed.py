"""Promises of the JSON feed on replies that are as they should be."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feeds.base import FeedContext
from service.quality import Observation, Reason
from service.reading_values import SeriesPosition
from tests.fix_feeds import NOW, ROME, context_for, observations, rejections
from tests.fix_json import Service, fetch, json_settings

DAM: dict[str, Any] = {
    "name": "A",
    "latitude": 44.2,
    "longitude": 11.5,
    "MWL": "732.43",
    "data": [
        {"date": "02.03.2026", "rain": "7.40", "level": "719.83"},
        {"date": "01.03.2026", "rain": "0", "level": ""},
    ],
}
RECORDS = {"series": "name", "records": "data", "day": "date", "day_format": "%d.%m.%Y", "value": "rain"}
PLACED = {"lon": "longitude", "lat": "latitude"}
FLAT = {"groups": "[]", "series": "id", "day": "day", "value": "v", "lon": "x", "lat": "y"}


def written(folder: Path, value: Any, name: str = "a.json") -> str:
    (folder / name).write_text(json.dumps(value), "utf-8")
    return str(folder / name)


def row(series: str, day: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"id": series, "day": day, "v": value, "x": 11.5, "y": 44.2} | more


# --- forms ---


def test_records_with_numbers_as_strings_are_read_and_blanks_are_no_values(tmp_path: Path) -> None:
    rain = json_settings(path=written(tmp_path, DAM), **RECORDS, **PLACED)
    batch, rows = fetch(rain)
    assert observations(rows) == {("A", "2026-03-02"): 7.4, ("A", "2026-03-01"): 0.0}
    assert batch.series == (SeriesPosition("A", 11.5, 44.2),)
    level = json_settings(
        path=written(tmp_path, DAM),
        **{**RECORDS, "value": "level"},
        variable="level",
        unit="m",
        highest="MWL",
        **PLACED,
    )
    batch, rows = fetch(level)
    assert observations(rows) == {("A", "2026-03-02"): 719.83}
    assert batch.series == (SeriesPosition("A", 11.5, 44.2, None, None, 732.43),)


def test_the_operating_range_comes_in_the_unit_of_the_values(tmp_path: Path) -> None:
    settings = json_settings(
        path=written(tmp_path, DAM | {"MWL": 1000}),
        **{**RECORDS, "value": "level"},
        variable="level",
        unit="ft",
        highest="MWL",
        **PLACED,
    )
    batch, _ = fetch(settings)
    assert batch.series is not None
    assert batch.series[0].highest == pytest.approx(304.8)


def test_flat_records_name_their_series_and_place_themselves(tmp_path: Path) -> None:
    reply = [row("A", "2026-03-01", 1.5), row("B", "2026-03-01", 0, x=11.6), row("A", "2026-03-02", None)]
    batch, rows = fetch(json_settings(path=written(tmp_path, reply), **FLAT))
    assert observations(rows) == {("A", "2026-03-01"): 1.5, ("B", "2026-03-01"): 0.0}
    assert batch.series == (SeriesPosition("A", 11.5, 44.2), SeriesPosition("B", 11.6, 44.2))


@given(
    cells=st.dictionaries(
        st.integers(1, 28),
        st.one_of(st.none(), st.floats(0, 500), st.sampled_from(["", "1.5", "x"])),
        min_size=1,
    )
)
def test_arrays_say_the_same_as_records(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[int, Any]
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    days = [f"2026-02-{day:02}" for day in cells]
    records = {
        "n": "A",
        "x": 11,
        "y": 44,
        "d": [{"t": day, "v": v} for day, v in zip(days, cells.values(), strict=True)],
    }
    arrays = {"n": "A", "x": 11, "y": 44, "t": days, "v": list(cells.values())}
    common = {"series": "n", "lon": "x", "lat": "y", "day": "t", "value": "v"}
    _, one = fetch(json_settings(path=written(folder, records), records="d", **common))
    _, other = fetch(json_settings(path=written(folder, arrays), form="columns", **common))
    assert observations(one) == observations(other)
    assert [(r.series, r.day, r.reason, r.detail) for r in rejections(one)] == [
        (r.series, r.day, r.reason, r.detail) for r in rejections(other)
    ]


def test_a_folder_of_files_is_read_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([row("A", "2026-03-01", 1.5)]))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps([row("B", "2026-03-01", 2)]).encode()))
    (tmp_path / "notes.txt").write_text("nothing")
    _, rows = fetch(json_settings(path=str(tmp_path), **FLAT))
    assert observations(rows) == {("A", "2026-03-01"): 1.5, ("B", "2026-03-01"): 2.0}


def test_units_scale_and_decimal_commas_count(tmp_path: Path) -> None:
    reply = [row("A", "2026-03-01", "3"), row("A", "2026-03-02", 12)]
    _, rows = fetch(json_settings(path=written(tmp_path, reply), **FLAT, scale=0.1))
    assert observations(rows) == {("A", "2026-03-01"): 0.3, ("A", "2026-03-02"): 1.2}
    reply = [row("A", "2026-03-01", "0,5")]
    _, rows = fetch(json_settings(path=written(tmp_path, reply), **{**FLAT, "decimal": ",", "unit": "in"}))
    assert observations(rows) == {("A", "2026-03-01"): 12.7}


def test_a_day_that_is_named_by_its_end_counts_for_the_day_that_holds_its_middle(tmp_path: Path) -> None:
    path = written(tmp_path, [row("A", "2026-03-02", 5)])
    _, rows = fetch(json_settings(path=path, **FLAT, day_boundary="08:30", day_names="end"))
    assert observations(rows) == {("A", "2026-03-01"): 5.0}
    (found,) = rows
    assert isinstance(found, Observation)
    assert found.ends_at == "2026-03-02T07:30:00.000000Z"


def test_flags_by_which_the_source_doubts_itself_reject_and_others_do_not(tmp_path: Path) -> None:
    reply = [
        row("A", "2026-03-01", 1, q=["A", "e"]),
        row("A", "2026-03-02", 2, q="Ice"),
        row("A", "2026-03-03", 3, q=None),
        row("A", "2026-03-04", 4, q=["P", "Ice"]),
    ]
    path = written(tmp_path, reply)
    _, rows = fetch(json_settings(path=path, **FLAT, quality="q", quality_refused=["Ice"]))
    assert [day for _, day in observations(rows)] == ["2026-03-01", "2026-03-03"]
    assert [item.reason for item in rejections(rows)] == [Reason.FLAGGED] * 2
    assert "quality flag 'Ice'" in rejections(rows)[0].detail
    _, rows = fetch(json_settings(path=path, **FLAT, quality="q", quality_accepted=["A", "e"]))
    assert [day for _, day in observations(rows)] == ["2026-03-01", "2026-03-03"]


def test_volumes_become_levels_by_the_rating_of_their_reservoir_and_nothing_beyond_it(tmp_path: Path) -> None:
    (tmp_path / "rating.csv").write_text("series,volume,level\nA,0,100\nA,1000,110\nA,3000,120\n")
    reply = [
        row("A", "2026-03-01", 500),
        row("A", "2026-03-02", 2000),
        row("A", "2026-03-03", 3001),
        row("B", "2026-03-01", 1),
    ]
    settings = json_settings(
        path=written(tmp_path, reply),
        **FLAT | {"variable": "level", "unit": "acre-ft"},
        rating_file=tmp_path / "rating.csv",
    )
    _, rows = fetch(settings)
    assert observations(rows) == {("A", "2026-03-01"): 105.0, ("A", "2026-03-02"): 115.0}
    assert [item.reason for item in rejections(rows)] == [Reason.RANGE, Reason.UNKNOWN_SERIES]


# --- asking ---


def test_a_place_is_asked_for_by_its_id_and_position_and_its_reply_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text("id,lon,lat\nA b,11.5,44.25\nC,11.6,44\n")

    def answer(url: str, params: Any) -> Any:
        return {"days": ["2026-03-01"], "mm": [1.5 if "A" in url else 2.5], "asked": params}

    service = Service(tmp_path, answer)
    settings = json_settings(
        url="https://api.example/{series}/daily",
        params={"at": "{lat};{lon}", "from": "{since:%d.%m.%Y}", "to": "{until}", "zone": "{timezone}"},
        series_file=tmp_path / "places.csv",
        form="columns",
        day="days",
        value="mm",
    )
    batch, rows = fetch(settings, service, since=date(2026, 2, 20), until=date(2026, 3, 2))
    assert service.asked[0] == (
        "https://api.example/A%20b/daily",
        {"at": "44.25;11.5", "from": "20.02.2026", "to": "2026-03-02", "zone": "Europe/Rome"},
    )
    assert observations(rows) == {("A b", "2026-03-01"): 1.5, ("C", "2026-03-01"): 2.5}
    assert [place.id for place in batch.series or ()] == ["A b", "C"]


def test_several_places_may_share_a_request_and_are_told_apart_by_their_order(tmp_path: Path) -> None:
    def answer(_: str, params: Any) -> Any:
        lats = params["lat"].split(",")
        replies = [{"t": ["2026-03-01"], "v": [float(lat)], "lat": float(lat)} for lat in lats]
        return replies if len(replies) > 1 else replies[0]

    service = Service(tmp_path, answer)
    settings = json_settings(
        url="https://api.example/",
        params={"lat": "{lat}", "lon": "{lon}"},
        grid_degrees=0.5,
        places_per_request=3,
        form="columns",
        groups="[@][]",
        day="t",
        value="v",
    )
    batch, rows = fetch(settings, service)
    # The region lies between 11.5 and 12 degrees east, 44 and 44.5 north.
    assert [params["lat"] for _, params in service.asked] == ["44,44,44.5", "44.5"]
    assert {(place.lon, place.lat) for place in batch.series or ()} == {
        (lon, lat) for lon in (11.5, 12.0) for lat in (44.0, 44.5)
    }
    assert observations(rows)["+44.5+12", "2026-03-01"] == 44.5


def test_a_bulk_request_may_name_the_regions_bounds(tmp_path: Path) -> None:
    service = Service(tmp_path, lambda *_: [row("A", "2026-03-01", 1)])
    fetch(
        json_settings(url="https://api.example/", params={"bbox": "{west},{south},{east},{north}"}, **FLAT),
        service,
    )
    assert service.asked == [("https://api.example/", {"bbox": "11.5,44.0,12.0,44.5"})]


def asked_days(known: list[date], folder: Path, **settings: Any) -> str:
    service = Service(folder, lambda *_: [row("A", "2026-03-01", 1)])
    context = FeedContext(ROME, lambda: (0, 0, 1, 1), lambda: NOW, folder, lambda: dict.fromkeys(known, ""))
    url = "https://api.example/{since}/{until}/{past_days}"
    fetch(json_settings(url=url, **FLAT, **settings), service, context=context)
    return service.asked[0][0].removeprefix("https://api.example/")


def test_a_new_feed_asks_for_its_history_and_a_known_one_for_what_may_have_changed(tmp_path: Path) -> None:
    assert asked_days([], tmp_path, history_days=30) == "2026-02-08/2026-03-10/30"
    newest = [date(2026, 3, 8), date(2026, 3, 1)]
    assert asked_days(newest, tmp_path, revisit_days=5) == "2026-03-03/2026-03-10/7"
    long_silent = [date(2025, 1, 1)]
    assert asked_days(long_silent, tmp_path, history_days=30) == "2026-02-08/2026-03-10/30"


def test_a_place_that_was_out_of_reach_is_asked_for_what_it_missed(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text("id,lon,lat\nA,11,44\nB,11,44\nnew,11,44\n")
    settings = json_settings(
        url="https://api.example/{series}/{since}/{past_days}",
        series_file=tmp_path / "places.csv",
        history_days=30,
        revisit_days=5,
        **FLAT,
    )

    def asked(series: dict[str, date]) -> list[str]:
        service = Service(tmp_path, lambda *_: [row("A", "2026-03-01", 1)])
        known = {date(2026, 3, 8): ""}
        context = FeedContext(
            ROME, lambda: (0, 0, 1, 1), lambda: NOW, tmp_path, lambda: known, lambda: series
        )
        fetch(settings, service, context=context)
        return [url.removeprefix("https://api.example/") for url, _ in service.asked]

    history, newest = "2026-02-08/30", "2026-03-03/7"
    found = asked({"A": date(2026, 3, 8), "B": date(2026, 2, 20)})
    assert found == [f"A/{newest}", "B/2026-02-15/23", f"new/{history}"]
    assert asked({"A": date(2026, 3, 8), "B": date(2025, 1, 1)})[1] == f"B/{history}"
    # The replies name their series in their own way: nothing is known of a place.
    assert asked({"other": date(2026, 3, 8)}) == [f"{place}/{newest}" for place in ("A", "B", "new")]


def test_days_beyond_what_a_service_gives_are_told_of_and_not_left_out_in_silence(tmp_path: Path) -> None:
    service = Service(tmp_path, lambda *_: [row("A", "2026-03-01", 1)])
    settings = json_settings(url="https://api.example/{past_days}", **FLAT, history_days=30)
    batch, _ = fetch(settings, service, since=date(2025, 1, 1))
    assert service.asked[0][0].endswith("/30")
    (problem,) = batch.problems
    assert not problem.is_error
    assert "days before 2026-02-08 cannot be asked for" in problem.message


def test_pages_are_followed_by_the_address_that_they_name(tmp_path: Path) -> None:
    pages = {
        "https://api.example/items": {
            "items": [row("A", "2026-03-01", 1)],
            "next": "/items?page=2&key=secret",
        },
        "https://api.example/items?page=2": {"items": [row("A", "2026-03-02", 2)], "next": None},
    }
    service = Service(tmp_path, lambda url, _: pages[url])
    settings = json_settings(
        url="https://api.example/items",
        **FLAT | {"groups": "items"},
        paging={"next": "next"},
        http={"token_parameter": "key"},
    )
    _, rows = fetch(settings, service)
    assert observations(rows) == {("A", "2026-03-01"): 1.0, ("A", "2026-03-02"): 2.0}


def test_pages_are_followed_by_their_number_until_one_is_short_or_empty(tmp_path: Path) -> None:
    def answer(_: str, params: Any) -> Any:
        first = int(params.get("offset", 0))
        return [row("A", f"2026-03-0{n + 1}", n) for n in range(first, min(first + 2, 4))]

    for size, asked in ((2, 3), (None, 3), (3, 1)):
        service = Service(tmp_path, answer)
        settings = json_settings(
            url="https://api.example/",
            **FLAT,
            paging={"parameter": "offset", "first": 0, "step": 2, **({"page_size": size} if size else {})},
        )
        _, rows = fetch(settings, service)
        assert len(service.asked) == asked
        assert len(observations(rows)) == (2 if size == 3 else 4)


# --- forecasts ---

FORECAST = {"form": "columns", "day": "t", "series": "n", "lon": "x", "lat": "y", "forecast": True}
DAYS = ["2026-03-09", "2026-03-10", "2026-03-11"]


def test_a_forecast_is_an_issue_of_its_hours_and_leaves_out_days_before(tmp_path: Path) -> None:
    reply = {"n": "A", "x": 11, "y": 44, "t": DAYS, "v": [9, 1, 2]}
    batch, rows = fetch(json_settings(path=written(tmp_path, reply), value="v", **FORECAST))
    found = [item for item in rows if isinstance(item, Observation)]
    # Fetched at 09:30 UTC, with issues of six hours.
    assert {item.issued_at for item in found} == {"2026-03-10T06:00:00.000000Z"}
    assert [(item.day.isoformat(), item.value, item.member) for item in found] == [
        ("2026-03-10", 1.0, None),
        ("2026-03-11", 2.0, None),
    ]
    assert batch.latency is None


def test_a_reply_may_say_itself_when_it_was_issued(tmp_path: Path) -> None:
    reply = {"n": "A", "x": 11, "y": 44, "t": DAYS, "v": [9, 1, 2], "run": "2026-03-09T18:00:00+01:00"}
    _, rows = fetch(json_settings(path=written(tmp_path, reply), value="v", issued_at="run", **FORECAST))
    assert [item.day.day for item in rows if isinstance(item, Observation)] == [9, 10, 11]
    assert {item.issued_at for item in rows if isinstance(item, Observation)} == {
        "2026-03-09T17:00:00.000000Z"
    }


def test_members_come_from_arrays_by_name_and_from_records_by_number(tmp_path: Path) -> None:
    arrays = {
        "n": "A",
        "x": 11,
        "y": 44,
        "d": {"t": DAYS, "rain": [0, 1, 2], "rain_m01": [0, 3, 4], "wind": [0, 9, 9]},
    }
    settings = json_settings(
        path=written(tmp_path, arrays),
        members="d",
        member_pattern="rain(?:_m([0-9]+))?",
        **FORECAST | {"day": "d.t"},
    )
    _, rows = fetch(settings)
    expected = {(0, 10, 1.0), (0, 11, 2.0), (1, 10, 3.0), (1, 11, 4.0)}
    assert {(i.member, i.day.day, i.value) for i in rows if isinstance(i, Observation)} == expected
    records = [row("A", f"2026-03-{day}", value, m=member) for member, day, value in expected]
    _, rows = fetch(json_settings(path=written(tmp_path, records), **FLAT, forecast=True, member="m"))
    assert {(i.member, i.day.day, i.value) for i in rows if isinstance(i, Observation)} == expected


def test_days_that_have_not_ended_are_left_out_where_what_is_said_of_them_is_a_guess(tmp_path: Path) -> None:
    reply = [row("A", day, 1) for day in DAYS]
    path = written(tmp_path, reply)
    assert len(observations(fetch(json_settings(path=path, **FLAT))[1])) == 3
    _, rows = fetch(json_settings(path=path, **FLAT, only_ended_days=True))
    assert observations(rows) == {("A", "2026-03-09"): 1.0}
    # Midnight of the feed's day, not of UTC.
    _, rows = fetch(
        json_settings(path=path, **FLAT, only_ended_days=True),
        region=ZoneInfo("Asia/Kolkata"),
        clock=lambda: datetime(2026, 3, 10, 18, 31, tzinfo=UTC),
    )
    assert len(observations(rows)) == 2


def test_the_context_of_a_feed_is_all_it_needs(tmp_path: Path) -> None:
    settings = json_settings(path=written(tmp_path, [row("A", "2026-03-01", 1)]), **FLAT)
    batch, _ = fetch(settings, context=context_for(ROME, tmp_path))
    assert batch.limits is not None
    assert batch.latency == settings.latency_hours


def test_a_next_page_takes_the_login_to_no_other_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "s3cret")

    def asked(following: str, **http: Any) -> int:
        service = Service(
            tmp_path,
            lambda url, _: (
                [] if url == following else {"items": [row("A", "2026-03-01", 1)], "next": following}
            ),
        )
        settings = json_settings(
            url="https://api.example/items",
            **FLAT | {"groups": "items || `[]`"},
            paging={"next": "next"},
            http={"allowed_hosts": ["cdn.example"]} | http,
        )
        fetch(settings, service)
        return len(service.asked)

    token = {"token": {"env": "KEY"}}
    assert asked("https://cdn.example/2") == 2
    assert asked("https://cdn.example/2", **token) == 1
    assert asked("https://api.example/2", **token) == 2
    assert asked("https://api.example:8443/2", **token) == 1
    assert asked("https://api.example:8443/2") == 1
