"""Promises of asking over HTTP: again where it is worth it, within limits, and no reply is taken on trust."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from service.feeds.base import FeedFault
from service.feeds.http import Http, Reply, read_breaker
from tests.fix_http import NOW, Answer, Server, Time, http_to, serving

JSON = b'{"rain": [1.5, null]}'
HTML = (
    b"<!DOCTYPE html><html><head><title>Down</title><style>p{}</style></head>"
    b"<body><p>Scheduled &amp; short maintenance</p></body></html>"
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def http(tmp_path: Path, time: Time) -> Http:
    return http_to(tmp_path, time)


def got(http: Http, url: str, **more: object) -> Reply:
    reply = http.get(url, **more)  # type: ignore[arg-type]
    assert reply is not None
    return reply


def fault_of(http: Http, url: str, **more: object) -> FeedFault:
    with pytest.raises(FeedFault) as caught:
        http.get(url, **more)  # type: ignore[arg-type]
    assert "feed api" in str(caught.value)
    return caught.value


# --- retries ---


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again_with_growing_pauses(
    server: Server, time: Time, http: Http, status: int
) -> None:
    server.say("/", Answer(status=status), Answer(status=status), JSON)

    assert got(http, server.url("/"), expect="json").json() == {"rain": [1.5, None]}
    assert time.slept == [0.5, 1.0]  # half of 1 s and of 2 s: the least that the jitter gives


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "status"), (401, "login"), (403, "login"), (404, "absent"), (501, "status")]
)
def test_what_would_be_the_same_again_is_not_asked_again(
    server: Server, time: Time, http: Http, status: int, reason: str
) -> None:
    server.say("/", Answer(b"no such station 17", status))

    fault = fault_of(http, server.url("/"))

    assert fault.reason == reason
    assert f"HTTP {status}" in str(fault)
    assert (len(server.asked), time.slept) == (1, [])
    if reason != "absent":
        assert "no such station 17" in str(fault)


def test_a_body_that_breaks_off_is_asked_for_again_and_then_named(
    server: Server, time: Time, http: Http
) -> None:
    server.say("/", Answer(JSON, only=5), JSON)
    assert got(http, server.url("/"), expect="json").bytes() == JSON

    server.say("/cut", Answer(JSON, only=5))
    fault = fault_of(http, server.url("/cut"), expect="json")
    assert (fault.reason, len(time.slept)) == ("truncated", 1 + 3)
    assert "tried 4 times" in str(fault)


def test_a_server_that_is_down_or_deaf_is_named_with_the_reason(
    server: Server, tmp_path: Path, time: Time
) -> None:
    server.say("/", Answer(deaf=True))
    fault = fault_of(http_to(tmp_path, time, read_timeout_s=0.05, retries=0), server.url("/"))
    assert (fault.reason, server.url("/") in str(fault)) == ("timeout", True)

    with serving() as gone:
        address = gone.url("/")
    assert fault_of(http_to(tmp_path, time, retries=1), address).reason == "unreachable"


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_obeyed(server: Server, time: Time, http: Http, as_date: bool) -> None:
    wait = format_datetime(NOW + timedelta(seconds=40), usegmt=True) if as_date else "40"
    server.say("/", Answer(status=429, headers={"Retry-After": wait}), JSON)

    got(http, server.url("/"))

    assert time.slept == [40.0]


def test_a_server_that_wants_us_to_wait_too_long_is_left_alone_and_not_asked(
    server: Server, tmp_path: Path, time: Time
) -> None:
    http = http_to(tmp_path, time, max_retry_after_s=60, breaker_minutes=30)
    server.say("/", Answer(status=429, headers={"Retry-After": "999999999"}))

    assert fault_of(http, server.url("/")).reason == "rate_limited"
    assert time.slept == []
    assert fault_of(http, server.url("/")).reason == "breaker_open"
    assert len(server.asked) == 1
    time.now += timedelta(minutes=31)  # never longer than the breaker's own pause
    assert fault_of(http, server.url("/")).reason == "rate_limited"


def test_nobody_waits_for_a_retry_that_would_come_after_the_deadline(
    server: Server, time: Time, http: Http
) -> None:
    time.left = 1.2
    server.say("/", Answer(status=503))

    fault = fault_of(http, server.url("/"))

    assert (fault.reason, len(server.asked), time.slept) == ("status", 3, [0.5, 1.0])

    time.left = 0.0
    fault = fault_of(http, server.url("/"))
    assert (fault.reason, len(server.asked)) == ("deadline", 3)


def test_a_server_that_drips_is_left_when_the_deadline_passes(server: Server, time: Time, http: Http) -> None:
    def drip(_: object) -> Answer:
        time.left = 0.0
        return Answer(JSON)

    server.say("/", drip)

    fault = fault_of(http, server.url("/"))

    assert (fault.reason, "still sending" in str(fault), len(server.asked)) == ("timeout", True, 1)


# --- what is kept ---


def unchanged_or(body: bytes, **headers: str) -> object:
    def answer(asked: object) -> Answer:
        given = asked.headers  # type: ignore[attr-defined]
        same = (
            given.get("if-none-match") == headers.get("ETag", "-")
            or given.get("if-modified-since") == headers.get("Last-Modified", "-")
        )  # fmt: skip
        return Answer(b"", 304, headers) if same else Answer(body, 200, headers)

    return answer


@pytest.mark.parametrize(
    "headers", [{"ETag": '"a1"'}, {"ETag": 'W/"a1"'}, {"Last-Modified": "Mon, 09 Mar 2026 06:00:00 GMT"}]
)
def test_an_unchanged_reply_is_not_sent_again_but_read_again(
    server: Server, tmp_path: Path, time: Time, headers: dict[str, str]
) -> None:
    server.say("/", unchanged_or(JSON, **headers))  # type: ignore[arg-type]
    first = got(http_to(tmp_path, time), server.url("/"), expect="json")
    time.now += timedelta(days=2)

    second = got(http_to(tmp_path, time), server.url("/"), expect="json")

    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.json() == first.json()
    assert (second.modified, second.fetched_at) == (first.modified, time.now)
    assert len(server.asked) == 2


def test_a_kept_body_that_was_damaged_is_asked_for_in_full(
    server: Server, tmp_path: Path, time: Time
) -> None:
    server.say("/", unchanged_or(JSON, ETag='"a"'))  # type: ignore[arg-type]
    first = got(http_to(tmp_path, time), server.url("/"))
    first.path.write_bytes(JSON.replace(b"1.5", b"9.5"))

    again = got(http_to(tmp_path, time), server.url("/"))

    assert (again.bytes(), again.unchanged) == (JSON, False)


def test_a_body_that_turned_out_useless_is_not_kept(server: Server, http: Http) -> None:
    cut = b'{"rain": [1.5,'
    server.say("/", Answer(cut, headers={"ETag": '"a"'}))
    with pytest.raises(FeedFault, match="ends in the middle") as caught:
        got(http, server.url("/"), expect="json").json()
    assert caught.value.reason == "truncated"

    got(http, server.url("/"), expect="json")

    assert "if-none-match" not in server.asked[-1].headers


def test_replies_to_different_questions_are_kept_apart_and_old_ones_go(
    server: Server, tmp_path: Path, time: Time
) -> None:
    server.say("/", lambda asked: Answer(asked.query["day"][0].encode(), headers={"ETag": '"same"'}))
    http = http_to(tmp_path, time)
    first = got(http, server.url("/"), params={"day": "1"})
    second = got(http, server.url("/"), params={"day": "2"})
    assert (first.text(), second.text()) == ("1", "2")

    days_ago = first.path.stat().st_mtime - 10 * 86_400
    os.utime(first.path, (days_ago, days_ago))
    got(http_to(tmp_path, time), server.url("/"), params={"day": "3"})
    assert (first.path.exists(), second.path.exists()) == (False, True)


# --- limits and content ---


@pytest.mark.parametrize("said", [Answer(b"x" * 2000), Answer(b"x" * 2000, length=100), None])
def test_no_reply_is_larger_than_allowed_however_it_is_sent(
    server: Server, tmp_path: Path, time: Time, said: Answer | None
) -> None:
    bomb = Answer(gzip.compress(b"\0" * 100_000), headers={"Content-Encoding": "gzip"})
    server.say("/", said or bomb)
    http = http_to(tmp_path, time, max_bytes=1000)

    if said is not None and said.length is not None:
        assert len(got(http, server.url("/")).bytes()) == 100
        return
    fault = fault_of(http, server.url("/"))
    assert (fault.reason, "1,000 bytes" in str(fault)) == ("too_large", True)
    assert not list((tmp_path / "feeds" / "api" / "replies").iterdir())


@pytest.mark.parametrize("expect", ["json", "text", "csv", "tiff", "netcdf"])
def test_a_web_page_in_place_of_data_is_an_error_that_quotes_its_first_words(
    server: Server, http: Http, expect: str
) -> None:
    server.say("/", Answer(HTML, headers={"ETag": '"a"', "Content-Type": "application/json"}))

    fault = fault_of(http, server.url("/"), expect=expect)

    assert fault.reason == "wrong_type"
    assert "Down Scheduled & short maintenance" in str(fault)
    assert "<" not in str(fault)


@pytest.mark.parametrize(
    ("expect", "body"),
    [
        ("json", b"\xef\xbb\xbf [1]"),
        ("json", b"-1"),
        ("csv", b"series,day\n"),
        ("csv", gzip.compress(b"series,day\n")),
        ("csv", "serie;giorno\n".encode("utf-16")),
        ("text", b"{not json}"),
        ("tiff", b"II*\0...."),
        ("tiff", b"MM\0+...."),
        ("netcdf", b"\x89HDF\r\n\x1a\n"),
        ("netcdf", b"CDF\x01"),
        ("any", HTML),
        ("any", b""),
    ],
)
def test_what_was_asked_for_is_taken(server: Server, http: Http, expect: str, body: bytes) -> None:
    server.say("/", body)

    assert got(http, server.url("/"), expect=expect).bytes() == body


@pytest.mark.parametrize(
    ("expect", "body"),
    [
        ("json", b"Internal error 7"),
        ("csv", b'{"error": "limit"}'),
        ("csv", b"\x89PNG\0\0"),
        ("tiff", b"II"),
        ("netcdf", b"{}"),
        ("json", b"  \n"),
        ("tiff", b""),
    ],
)
def test_what_was_not_asked_for_is_refused(server: Server, http: Http, expect: str, body: bytes) -> None:
    server.say("/", body)

    assert fault_of(http, server.url("/"), expect=expect).reason == "wrong_type"


def test_nothing_there_is_none_only_where_that_is_awaited(server: Server, http: Http) -> None:
    server.say("/empty", Answer(status=204))

    assert http.get(server.url("/no"), absent_ok=True) is None
    assert http.get(server.url("/empty"), absent_ok=True) is None
    assert fault_of(http, server.url("/no")).reason == "absent"


def test_json_says_what_is_wrong_with_it(server: Server, http: Http) -> None:
    server.say("/nan", b'{"a": NaN}')
    server.say("/inf", b'{"a": Infinity}')
    server.say("/deep", b"[" * 100_000)
    server.say("/latin", '{"a": "\u00e9"}'.encode("latin-1"))

    assert got(http, server.url("/nan")).json() == {"a": None}
    for path in ("/inf", "/deep", "/latin"):
        with pytest.raises(FeedFault, match="feed api"):
            got(http, server.url(path)).json()
    with pytest.raises(FeedFault, match="is not text in utf-8"):
        got(http, server.url("/latin")).text()
    assert got(http, server.url("/latin")).text("latin-1").endswith('\u00e9"}')


# --- politeness ---


def test_the_rate_limit_spaces_requests(server: Server, tmp_path: Path, time: Time) -> None:
    server.say("/", JSON)
    http = http_to(tmp_path, time, requests_per_minute=30)

    for _ in range(4):
        got(http, server.url("/"))

    assert time.slept == [2.0, 2.0, 2.0]
    time.left = 1.0
    assert fault_of(http, server.url("/")).reason == "deadline"


def test_the_breaker_opens_after_failures_in_a_row_stays_over_a_restart_and_closes_by_itself(
    server: Server, tmp_path: Path, time: Time
) -> None:
    folder = tmp_path / "feeds" / "api"
    options = {"retries": 0, "breaker_failures": 2, "breaker_minutes": 30}
    server.say("/", Answer(status=500))
    server.say("/bad-question", Answer(status=400))
    http = http_to(tmp_path, time, **options)
    fault_of(http, server.url("/"))
    fault_of(http, server.url("/bad-question"))  # says nothing about the server
    assert not read_breaker(folder).is_open(time.now)
    fault_of(http, server.url("/"))
    assert read_breaker(folder).is_open(time.now)

    http = http_to(tmp_path, time, **options)
    count = len(server.asked)
    fault = fault_of(http, server.url("/"))
    assert (fault.reason, len(server.asked)) == ("breaker_open", count)
    assert "until 2026-03-10 10:00 UTC" in str(fault)
    assert "2 times in a row (last: status)" in str(fault)

    time.now += timedelta(minutes=30)
    fault_of(http, server.url("/"))  # one may try, and its failure opens the breaker again
    assert fault_of(http, server.url("/")).reason == "breaker_open"
    time.now += timedelta(minutes=30)
    server.say("/", JSON)
    got(http, server.url("/"))
    assert read_breaker(folder).failures == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({"failures": "x", "open_until": 7, "reason": ""})]
)
def test_a_breaker_file_that_cannot_be_read_does_not_stop_a_feed(
    server: Server, tmp_path: Path, time: Time, text: str
) -> None:
    folder = tmp_path / "feeds" / "api"
    folder.mkdir(parents=True)
    (folder / "breaker.json").write_text(text)
    server.say("/", JSON)

    assert got(http_to(tmp_path, time), server.url("/")).bytes() == JSON
