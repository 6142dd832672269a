"""Promises of the JSON feed on broken replies: named by address and expression, costing only themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import FeedError
from service.feeds.base import FeedFault
from service.feeds.http_replies import Replies
from service.quality import Reason
from tests.fix_feeds import context_for, observations, rejections
from tests.fix_json import Service, fetch, json_settings, problems_of

FLAT = {"groups": "items", "series": "id", "day": "day", "value": "v", "lon": "x", "lat": "y"}
URL = "https://api.example/items"


def item(series: str, day: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"id": series, "day": day, "v": value, "x": 11.5, "y": 44.2} | more


GOOD = item("A", "2026-03-01", 1.5)


def problem_of(tmp_path: Path, body: Any, **settings: Any) -> tuple[str, str]:
    """Reason and message of the one problem of a reply that cannot be used."""
    batch, rows = fetch(json_settings(url=URL, **FLAT | settings), Service(tmp_path, lambda *_: body))
    found = [problem for problem in problems_of(batch, rows) if problem.is_error]
    assert len({problem.reason for problem in found}) == 1, found
    assert found[0].message.startswith("feed api: ")
    assert URL in found[0].message
    return found[0].reason, found[0].message


# --- whole replies ---


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (b"", "empty", "is empty"),
        (b"<html><h1>503 Service Unavailable</h1></html>", "wrong_type", "503 Service Unavailable"),
        (b'{"items": [{"id": "A", "day', "truncated", "ends in the middle"),
        (b'{"items": [1, 2', "truncated", "ends in the middle"),
        (b'{"items": nothing}', "wrong_type", "is not JSON"),
        (b"[" * 100_000, "wrong_type", "is not JSON"),
        (b'{"items": "\xff"}', "wrong_type", "not text in utf-8"),
    ],
)
def test_a_reply_that_is_no_json_is_told_with_how_it_begins(
    tmp_path: Path, body: bytes, reason: str, words: str
) -> None:
    found, message = problem_of(tmp_path, body)
    assert found == reason
    assert words in message


def test_a_reply_without_what_the_expression_wants_is_told_with_what_is_there(tmp_path: Path) -> None:
    reason, message = problem_of(tmp_path, {"error": True, "reason": "Daily limit exceeded"})
    assert reason == "shape"
    assert "groups = 'items' finds nothing" in message
    assert "'error', 'reason' ('Daily limit exceeded')" in message


@pytest.mark.parametrize("key", ["id", "day", "v"])
def test_records_that_all_lack_a_field_are_a_fault_of_the_reply(tmp_path: Path, key: str) -> None:
    renamed = {("was_" + name if name == key else name): value for name, value in GOOD.items()}
    reason, message = problem_of(tmp_path, {"items": [renamed, renamed]})
    assert reason == "shape"
    assert f"'{key}' finds nothing" in message
    assert f"'was_{key}'" in message
    assert "and 1 more parts" in message


def test_a_null_value_is_missing_and_no_fault(tmp_path: Path) -> None:
    batch, rows = fetch(
        json_settings(url=URL, **FLAT),
        Service(tmp_path, lambda *_: {"items": [item("A", "2026-03-01", None)]}),
    )
    assert rows == []
    assert batch.problems == ()


def test_a_reply_that_proved_useless_is_not_kept_for_next_time(tmp_path: Path) -> None:
    replies = Replies(tmp_path / "kept")
    body = tmp_path / "body"
    body.write_text('{"items": [{"id": ')
    kept = replies.put("key", body, '"etag"', "", "application/json", "digest")

    class Cached(Service):
        def get(self, *args: Any, **more: Any) -> Any:
            reply = super().get(*args, **more)
            assert reply is not None
            object.__setattr__(reply, "path", kept)
            return reply

    assert replies.kept("key") is not None
    fetch(json_settings(url=URL, **FLAT), Cached(tmp_path, lambda *_: {}))
    assert replies.kept("key") is None


def test_a_unit_that_is_not_the_feeds_is_refused_whoever_states_it(tmp_path: Path) -> None:
    settings = {"unit_stated": "u", "unit_names": ["millimetres"]}
    reply = {
        "items": [
            GOOD | {"u": "MM"},
            item("B", "2026-03-01", 2, u="Millimetres"),
            item("C", "2026-03-01", 3, u="inch"),
        ]
    }
    batch, rows = fetch(json_settings(url=URL, **FLAT | settings), Service(tmp_path, lambda *_: reply))
    assert set(observations(rows)) == {("A", "2026-03-01"), ("B", "2026-03-01")}
    (problem,) = problems_of(batch, rows)
    assert problem.reason == "unit"
    assert "the unit there is 'inch', and the feed's is 'mm'" in problem.message
    reason, _ = problem_of(tmp_path, {"items": [GOOD]}, **settings)
    assert reason == "shape"


def test_arrays_of_different_length_are_not_matched_up(tmp_path: Path) -> None:
    reply = {"items": [{"id": "A", "x": 11, "y": 44, "day": ["2026-03-01", "2026-03-02"], "v": [1]}]}
    reason, message = problem_of(tmp_path, reply, form="columns")
    assert reason == "shape"
    assert "2 days, 1 values" in message


# --- single records ---


@pytest.mark.parametrize(
    ("record", "reason", "words"),
    [
        (item("B", "01.03.2026", 1), Reason.DATE, "%Y-%m-%d"),
        (item("B", "2026-03-01", "1.2ft"), Reason.NUMBER, "is not a number"),
        (item("B", "2026-03-01", True), Reason.NUMBER, "is not a number"),
        (item("B", "2026-03-01", {"mm": 1}), Reason.NUMBER, "is not a number"),
        (item("B", "2026-03-01", float("nan")), Reason.NOT_FINITE, "not a finite number"),
        (item("B", "2026-03-01", 10**400), Reason.NOT_FINITE, "beyond"),
    ],
)
def test_a_broken_record_is_rejected_with_its_reason_and_costs_no_other(
    tmp_path: Path, record: dict[str, Any], reason: Reason, words: str
) -> None:
    _, rows = fetch(json_settings(url=URL, **FLAT), Service(tmp_path, lambda *_: {"items": [GOOD, record]}))
    assert observations(rows) == {("A", "2026-03-01"): 1.5}
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.series, rejection.row) == (reason, "B", 2)
    assert words in rejection.detail


def test_one_record_without_a_value_among_others_is_rejected_alone(tmp_path: Path) -> None:
    reply = {
        "items": [{"id": "A", "x": 11, "y": 44, "d": [{"day": "2026-03-01", "v": 1}, {"day": "2026-03-02"}]}]
    }
    _, rows = fetch(json_settings(url=URL, **FLAT | {"records": "d"}), Service(tmp_path, lambda *_: reply))
    assert observations(rows) == {("A", "2026-03-01"): 1.0}
    assert [rejection.reason for rejection in rejections(rows)] == [Reason.FIELDS]


def test_a_series_without_a_usable_position_is_named(tmp_path: Path) -> None:
    reply = {"items": [GOOD, item("B", "2026-03-01", 2, x=4_920_000)]}
    batch, _ = fetch(json_settings(url=URL, **FLAT), Service(tmp_path, lambda *_: reply))
    assert [place.id for place in batch.series or ()] == ["A"]
    (problem,) = batch.problems
    assert "'B' has lon 4.92e+06" in problem.message


def test_a_level_counts_without_a_position_and_rain_does_not(tmp_path: Path) -> None:
    reply = {"items": [GOOD, {"id": "B", "day": "2026-03-01", "v": 2}]}
    places = {}
    for variable, unit in (("level", "m"), ("rain", "mm")):
        settings = json_settings(url=URL, **FLAT | {"variable": variable, "unit": unit})
        batch, _ = fetch(settings, Service(tmp_path, lambda *_: reply))
        places[variable] = {place.id for place in batch.series or ()}
        assert [problem.reason for problem in batch.problems] == ([] if variable == "level" else ["shape"])
    assert places == {"level": {"A", "B"}, "rain": {"A"}}


def test_an_operating_range_that_is_no_number_costs_itself_alone(tmp_path: Path) -> None:
    values = FLAT | {"variable": "level", "unit": "m", "highest": "full"}
    answer = {"items": [GOOD | {"full": "see annex"}, item("B", "2026-03-01", 2, full="732.4")]}
    batch, rows = fetch(json_settings(url=URL, **values), Service(tmp_path, lambda *_: answer))
    assert {place.id: place.highest for place in batch.series or ()} == {"A": None, "B": 732.4}
    assert len(observations(rows)) == 2
    (problem,) = batch.problems
    assert "'see annex' is not a number" in problem.message


# --- places and pages ---


def by_place(tmp_path: Path, answer: Any, **more: Any) -> Any:
    (tmp_path / "places.csv").write_text("id,lon,lat\nA,11,44\nB,12,45\nC,13,46\n")
    values = {"url": "https://api.example/{series}", "series_file": tmp_path / "places.csv"}
    settings = json_settings(**values | {"form": "columns", "day": "t", "value": "v"} | more)
    return fetch(settings, Service(tmp_path, answer))


def test_a_place_that_fails_costs_no_other(tmp_path: Path) -> None:
    def answer(url: str, _: Any) -> Any:
        return FeedFault("absent", "not there") if url.endswith("B") else {"t": ["2026-03-01"], "v": [1]}

    batch, rows = by_place(tmp_path, answer)
    assert {series for series, _ in observations(rows)} == {"A", "C"}
    assert [(problem.reason, problem.message) for problem in batch.problems] == [
        ("absent", "feed api: not there")
    ]


@pytest.mark.parametrize(("reason", "asked"), [("login", 2), ("breaker_open", 2), ("status", 3)])
def test_a_fault_that_the_next_place_would_meet_too_ends_the_asking(
    tmp_path: Path, reason: str, asked: int
) -> None:
    seen = []

    def answer(url: str, _: Any) -> Any:
        seen.append(url)
        return {"t": ["2026-03-01"], "v": [1]} if url.endswith("A") else FeedFault(reason, "no")

    batch, rows = by_place(tmp_path, answer)
    assert len(seen) == asked
    assert {series for series, _ in observations(rows)} == {"A"}
    if asked == 2:
        assert "1 requests after https://api.example/B (B) were not made" in batch.problems[-1].message


@pytest.mark.parametrize("reason", ["deadline", "breaker_open"])
def test_what_was_put_off_is_asked_for_first_the_next_time(tmp_path: Path, reason: str) -> None:
    """Else a feed of many stations would never hear of those at its end."""
    (tmp_path / "places.csv").write_text("id,lon,lat\n" + "".join(f"P{n},11,44\n" for n in range(10)))
    asked: list[str] = []
    time_for = iter([4, 4, 100])

    def fetched() -> None:
        left = [next(time_for)]

        def answer(url: str, _: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                return FeedFault(reason, "not now")
            asked.append(url.rsplit("/", 1)[1])
            return {"t": ["2026-03-01"], "v": [1]}

        settings = json_settings(
            url="https://api.example/{series}",
            series_file=tmp_path / "places.csv",
            form="columns",
            day="t",
            value="v",
        )
        fetch(settings, Service(tmp_path, answer), context=context_for(folder=tmp_path / "kept"))

    fetched()
    fetched()
    assert asked == [f"P{n}" for n in range(8)]
    fetched()
    assert asked[8:] == [f"P{n % 10}" for n in range(8, 18)]
    assert not (tmp_path / "kept" / "asked-up-to.txt").exists()


def test_many_places_that_fail_alike_are_counted_and_not_all_told(tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("id,lon,lat\n" + "".join(f"P{n},11,44\n" for n in range(100)))

    def answer(url: str, _: Any) -> Any:
        return {"t": ["2026-03-01"], "v": [1]} if url.endswith("/P7") else FeedFault("absent", f"no {url}")

    settings = json_settings(
        url="https://api.example/{series}",
        series_file=tmp_path / "many.csv",
        form="columns",
        day="t",
        value="v",
    )
    batch, _ = fetch(settings, Service(tmp_path, answer))
    assert len(batch.problems) == 6
    assert "94 more requests failed alike" in batch.problems[-1].message


def test_where_every_place_fails_the_feed_does(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no"):
        by_place(tmp_path, lambda *_: FeedFault("status", "no"))


def test_a_reply_for_another_place_is_not_taken(tmp_path: Path) -> None:
    answer = {"t": ["2026-03-01"], "v": [1], "x": 11.1, "y": 44.1}
    batch, rows = by_place(tmp_path, lambda *_: answer, lon="x", lat="y")
    assert {series for series, _ in observations(rows)} == {"A"}
    wrong = problems_of(batch, rows)
    assert [problem.reason for problem in wrong] == ["place", "place"]
    assert "asked for 'B' at lon 12, lat 45" in wrong[0].message


def test_a_reply_of_too_few_places_is_not_matched_up(tmp_path: Path) -> None:
    reply = [{"t": ["2026-03-01"], "v": [1]}] * 2
    batch, rows = by_place(tmp_path, lambda *_: reply, places_per_request=3, groups="@")
    assert observations(rows) == {}
    (problem,) = problems_of(batch, rows)
    assert "3 places were asked for, and groups = '@' finds 2" in problem.message


def paged(tmp_path: Path, following: str, **http: Any) -> tuple[list[str], list[Any]]:
    service = Service(tmp_path, lambda *_: {"items": [GOOD], "next": following})
    settings = json_settings(url=URL, **FLAT, paging={"next": "next", "at_most": 3}, http=http)
    batch, rows = fetch(settings, service)
    assert observations(rows) == {("A", "2026-03-01"): 1.5}
    return [url for url, _ in service.asked], problems_of(batch, rows)


def test_pages_that_lead_in_a_circle_or_elsewhere_are_an_error_and_not_followed(tmp_path: Path) -> None:
    asked, (problem,) = paged(tmp_path, URL)
    assert asked == [URL]
    assert problem.reason == "paging"
    for address in ("https://evil.example/items", "http://api.example/items", "file:///etc/passwd"):
        asked, (problem,) = paged(tmp_path, address)
        assert asked == [URL]
        assert problem.reason == "redirect"
        assert "http.allowed_hosts" in problem.message


def test_pages_without_end_are_bounded_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    count = iter(range(100))
    service = Service(tmp_path, lambda *_: {"items": [GOOD], "next": f"/items?page={next(count)}"})
    batch, _ = fetch(json_settings(url=URL, **FLAT, paging={"next": "next", "at_most": 3}), service)
    assert len(service.asked) == 3
    (problem,) = batch.problems
    assert problem.is_error
    assert "goes on after 3 pages" in problem.message


def test_a_key_that_a_reply_repeats_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cr3t-k3y")
    settings = {"http": {"token": {"env": "API_KEY"}, "token_parameter": "key"}}
    _, message = problem_of(tmp_path, {"error": "bad key s3cr3t-k3y"}, **settings)
    assert "s3cr3t-k3y" not in message
    assert "bad key ***" in message


def test_the_query_is_no_part_of_what_is_rejected_so_a_row_is_kept_once(tmp_path: Path) -> None:
    settings = json_settings(url=URL + "/{since}", params={"until": "{until}"}, **FLAT | {"history_days": 3})
    reply = {"items": [item("A", "2026-03-01", "x")]}
    _, rows = fetch(settings, Service(tmp_path, lambda *_: reply))
    (rejection,) = rejections(rows)
    assert rejection.file == URL + "/2026-03-07"


# --- settings ---


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": URL, "path": "x.json"}, "either 'url' or 'path'"),
        ({"url": URL, "groups": "items["}, "no JMESPath expression"),
        ({"url": URL + "/{station}"}, "nothing to fill {station} with"),
        ({"url": URL, "params": {"a": "{lat:%Y}"}}, "params.a: a format may follow a day"),
        ({"url": URL, "params": {"a": "{since.year}"}}, "nothing to fill"),
        ({"url": URL, "params": {"a": "{"}}, "is no template"),
        ({"url": URL, "lat": None}, "'lon' and 'lat' belong together"),
        ({"url": URL, "member": "m"}, "set forecast = true"),
        ({"url": URL, "unit": "acre-ft"}, "'rating_file' belong together"),
        ({"url": URL, "series_ids": ["A"], "grid_degrees": 1}, "give one of series_ids and grid_degrees"),
        ({"url": URL, "paging": {"next": "a", "parameter": "b"}}, "either 'next' or 'parameter'"),
        ({"url": URL, "value": None}, "'value' is missing"),
        ({"url": URL, "forecast": True, "members": "m", "form": "columns", "value": None}, "member_pattern"),
        (
            {
                "url": URL,
                "forecast": True,
                "members": "m",
                "form": "columns",
                "value": None,
                "member_pattern": "a",
            },
            "needs one group",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_key(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        json_settings(**FLAT | values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"unit": "ft"}, "'ft' is no unit of rain"),
        ({"lon": None, "lat": None}, "rain needs to know where it is measured"),
        ({"url": URL + "/{series}"}, "there is no place; set 'series_file'"),
        ({"url": URL + "/{lat}", "series_ids": ["A"]}, "which 'series_ids' do not have"),
        ({"url": URL + "/{lat}", "grid_degrees": 0.00001}, "raise 'grid_degrees'"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
    ],
)
def test_settings_that_do_not_fit_the_region_or_the_service_stop_the_feed(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(FeedError) as caught:
        fetch(json_settings(**{"url": URL} | FLAT | values), Service(tmp_path, lambda *_: {"items": [GOOD]}))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("series,volume\nA,1\n", "lacks the column"),
        ("series,volume,level\nA,1,2\n", "two rows or more"),
        ("series,volume,level\nA,1,2\nA,2,1\n", "rises with the volume"),
        ("series,volume,level\nA,1,x\nA,2,1\n", "row 2 cannot be used"),
    ],
)
def test_a_rating_that_cannot_be_right_stops_the_feed(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rating.csv").write_text(text)
    values = FLAT | {"variable": "level", "unit": "hm3", "rating_file": tmp_path / "rating.csv"}
    with pytest.raises(FeedError) as caught:
        fetch(json_settings(url=URL, **values), Service(tmp_path, lambda *_: {"items": [GOOD]}))
    assert words in str(caught.value)


def test_a_local_file_of_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(json.dumps({"items": [GOOD] * 100}))
    settings = json_settings(path=str(tmp_path / "big.json"), **FLAT, http={"max_bytes": 1000})
    batch, rows = fetch(settings)
    assert {problem.reason for problem in problems_of(batch, rows)} == {"too_large"}
