"""What a feed asks a service for: the days, the places, request by request, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from zoneinfo import ZoneInfo

from service.feed_log import Problem
from service.feeds.base import FeedContext, FeedFault
from service.feeds.http_content import Expect
from service.feeds.http_replies import Reply
from service.feeds.http_session import same_server
from service.feeds.templates import PLACE_NAMES, Value, fill, fill_url, names_in
from service.files import replacing
from service.reading_values import SeriesPosition
from service.settings_series import FeedWithSeries

# Faults that the next request would meet too.
_HOPELESS = {"breaker_open", "deadline", "login", "settings", "tls", "rate_limited", "redirect"}
# Those after which the next fetch begins with what was left: a few dead stations in a row open the breaker,
# and the stations behind them must have their turn.
_PUT_OFF = {"deadline", "rate_limited", "breaker_open"}
_NAMED_AT_MOST = 5
_BOOKMARK = "asked-up-to.txt"


class Getter(Protocol):
    """Fetches an address: `service.feeds.http.Http`, or a test's."""

    def get(
        self,
        url: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Expect = "any",
        absent_ok: bool = False,
    ) -> Reply | None:
        """Return the reply, kept on disk. Raises FeedFault."""


@dataclass(frozen=True)
class Source:
    """One document on disk: a file of the feed's, or a reply."""

    label: str  # in messages and rejections: the same from fetch to fetch, without the query
    path: Path
    places: tuple[SeriesPosition, ...] = ()  # that were asked for, in the order of the request
    reply: Reply | None = None

    def forget(self) -> None:
        """See to it that a reply of no use is asked for in full next time."""
        if self.reply is not None:
            self.reply.forget()


@dataclass(frozen=True)
class Request:
    """One address to ask, with its query."""

    url: str
    params: Mapping[str, str]
    places: tuple[SeriesPosition, ...] = ()

    @property
    def label(self) -> str:
        """The address without its query, and the places."""
        named = [place.id for place in self.places[:_NAMED_AT_MOST]]
        more = [f"{len(self.places) - _NAMED_AT_MOST} more"] if len(self.places) > _NAMED_AT_MOST else []
        return bare(self.url) + (f" ({', '.join(named + more)})" if named else "")


def zone_of(settings: FeedWithSeries, region: ZoneInfo) -> ZoneInfo:
    """Return the zone of a feed's days. Raises FeedFault for one that does not exist."""
    try:
        return ZoneInfo(settings.timezone) if settings.timezone else region
    except (KeyError, ValueError, OSError) as error:
        raise FeedFault(
            "settings",
            f"feed {settings.name}: unknown time zone {settings.timezone!r}; use a name such as Europe/Rome",
        ) from error


def days_to_ask(
    settings: FeedWithSeries,
    context: FeedContext,
    today: date,
    since: date | None,
    until: date | None,
    places: Sequence[SeriesPosition] = (),
) -> tuple[date, date]:
    """Return the first and last day to ask for, of `places` or of all of the feed.

    Where nobody says, a feed that is known is asked again for its newest days and `revisit_days` before
    them, and a new one for `history_days`; a forecast for today and the days to come. So is a place: one
    that was out of reach while others went on is asked for what it missed.
    """
    if settings.forecast:
        return today, today + timedelta(days=settings.forecast_days - 1)
    last = until or today
    if since is not None:
        return since, last
    farthest = today - timedelta(days=settings.history_days)
    newest = max(context.known_days(), default=None)
    if newest is None:
        return min(farthest, last), last
    series = context.known_series() if places else {}
    if series:
        newest = min(newest, *(series.get(place.id, date.min) for place in places))
    if newest <= farthest:
        return min(farthest, last), last
    return min(max(farthest, newest - timedelta(days=settings.revisit_days)), last), last


def requests_for(
    settings: FeedWithSeries,
    context: FeedContext,
    places: Sequence[SeriesPosition] | None,
    since: date | None,
    until: date | None,
    problems: list[Problem],
) -> Iterator[Request]:
    """Yield the requests of one fetch: one, or one for every `places_per_request` places.

    Days that cannot be asked for become a Problem. Raises FeedFault where the address asks for places and
    the settings give none.
    """
    assert settings.url is not None  # noqa: S101 - for the type checker
    zone = zone_of(settings, context.region_timezone)
    today = context.clock().astimezone(zone).date()
    first, last = days_to_ask(settings, context, today, since, until)
    names = names_in(settings.url, *settings.params.values())
    farthest = today - timedelta(days=settings.history_days)
    if "past_days" in names and first < farthest:
        problems.append(
            Problem(
                "history",
                f"feed {settings.name}: days before {farthest} cannot be asked for: {{past_days}} ends at "
                f"'history_days', {settings.history_days}",
                is_error=False,
            )
        )
    values: dict[str, Value] = {
        "since": first,
        "until": last,
        "today": today,
        "past_days": _past_days(settings, today, first),
        "forecast_days": settings.forecast_days,
        "timezone": zone.key,
    }
    if names & {"west", "south", "east", "north"}:
        values |= dict(zip(("west", "south", "east", "north"), context.bounds(), strict=True))
    asked = names & set(PLACE_NAMES)
    if not asked:
        yield _filled(settings, values, ())
        return
    if not places:
        raise FeedFault(
            "settings",
            f"feed {settings.name}: its 'url' or 'params' ask for {{{'}, {'.join(sorted(asked))}}}, and "
            "there is no place; set 'series_file', 'series_ids' or 'grid_degrees'",
        )
    if asked & {"lat", "lon"} and any(place.lon != place.lon for place in places):
        raise FeedFault(
            "settings",
            f"feed {settings.name}: its 'url' or 'params' ask for {{lat}} and {{lon}}, which 'series_ids' do "
            "not have; set 'series_file' or 'grid_degrees'",
        )
    # Where the replies name series in their own way, nothing is known of a place.
    named = not context.known_series().keys().isdisjoint(place.id for place in places)
    for start in range(0, len(places), settings.places_per_request):
        group = tuple(places[start : start + settings.places_per_request])
        first, _ = days_to_ask(settings, context, today, since, until, group if named else ())
        values |= {"since": first, "past_days": _past_days(settings, today, first)}
        texts = {
            "series": ",".join(place.id for place in group),
            "lat": ",".join(f"{place.lat:.6g}" for place in group),
            "lon": ",".join(f"{place.lon:.6g}" for place in group),
        }
        yield _filled(settings, values | texts, group)


def _past_days(settings: FeedWithSeries, today: date, first: date) -> int:
    return max(0, min((today - first).days, settings.history_days))


def download(
    settings: FeedWithSeries,
    http: Getter,
    requests: Iterator[Request],
    expect: Expect,
    folder: Path,
    pages: Callable[[Request, Source], Iterator[Source]] | None = None,
) -> tuple[list[Source], list[Problem]]:
    """Ask for everything; return what came, and what did not.

    A request that fails does not stop the others, unless they would meet the same fault. Where time ran out,
    or the server is left alone for a while, the next fetch begins with what was left; a note of it lies in
    `folder`. `pages` yields what follows a reply. Raises FeedFault where nothing came at all.
    """
    bookmark = folder / _BOOKMARK
    todo = _from_bookmark(list(requests), bookmark)
    sources: list[Source] = []
    faults: list[tuple[Request, FeedFault]] = []
    left: list[Request] = []
    for number, request in enumerate(todo):
        try:
            source = ask(http, request, expect)
            sources.append(source)
            if pages is not None:
                sources.extend(pages(request, source))
        except FeedFault as fault:
            faults.append((request, fault))
            if fault.reason in _HOPELESS:
                left = todo[number + 1 :]
                break
    if faults and faults[-1][1].reason in _PUT_OFF and len(todo) > 1:
        with replacing(bookmark) as temporary:
            temporary.write_text(faults[-1][0].label, "utf-8")
    else:
        bookmark.unlink(missing_ok=True)
    if not sources and faults:
        raise faults[0][1]
    return sources, _told(settings.name, faults, left)


def _from_bookmark(requests: list[Request], bookmark: Path) -> list[Request]:
    try:
        label = bookmark.read_text("utf-8")
    except OSError:
        return requests
    start = next((number for number, request in enumerate(requests) if request.label == label), 0)
    return requests[start:] + requests[:start]


def _told(feed: str, faults: Sequence[tuple[Request, FeedFault]], left: Sequence[Request]) -> list[Problem]:
    """Return a few problems of each reason, and how many more there were."""
    problems = []
    counts: dict[str, int] = {}
    for _, fault in faults:
        counts[fault.reason] = counts.get(fault.reason, 0) + 1
        if counts[fault.reason] <= _NAMED_AT_MOST:
            problems.append(Problem(fault.reason, with_feed(feed, str(fault))))
    for reason, count in counts.items():
        if count > _NAMED_AT_MOST:
            more = f"{count - _NAMED_AT_MOST} more requests failed alike"
            problems.append(Problem(reason, f"feed {feed}: {more} ({reason})"))
    if left:
        request, fault = faults[-1]
        message = f"feed {feed}: {len(left)} requests after {request.label} were not made"
        problems.append(Problem(fault.reason, message))
    return problems


def ask(http: Getter, request: Request, expect: Expect) -> Source:
    """Return the reply to one request. Raises FeedFault."""
    reply = http.get(request.url, params=dict(request.params) or None, expect=expect)
    if reply is None:
        raise FeedFault("absent", f"{request.label} is not there")
    return Source(request.label, reply.path, request.places, reply)


def next_address(current: str, found: str, settings: FeedWithSeries) -> str:
    """Return the address that a reply names for its next page, whole, and without the token's parameter.

    Raises FeedFault where it leads to a server that was not asked: the reply's author does not choose who is
    sent our login.
    """
    address = urljoin(current, found)
    before, after = urlsplit(current), urlsplit(address)
    try:
        ours = after.scheme in ("http", "https") and same_server(before, after)
    except (KeyError, ValueError):  # a port that is none
        ours = False
    allowed = {host.lower() for host in settings.http.allowed_hosts}
    if not ours and after.hostname in allowed and (settings.http.user or settings.http.token):
        raise FeedFault(
            "redirect",
            f"feed {settings.name}: {bare(current)} names a next page at {after.scheme}://{after.hostname}, "
            "and the feed's login goes to no other server than the one that is asked; not followed",
        )
    if (
        after.scheme not in ("http", "https")
        or not (ours or after.hostname in allowed)
        or (before.scheme == "https" and after.scheme == "http")
    ):
        raise FeedFault(
            "redirect",
            f"feed {settings.name}: {bare(current)} names a next page at {after.scheme}://{after.hostname}; "
            "if that is right, add the host to the feed's http.allowed_hosts",
        )
    token = settings.http.token_parameter
    if token is None:
        return address
    query = [(name, value) for name, value in parse_qsl(after.query, keep_blank_values=True) if name != token]
    return after._replace(query=urlencode(query)).geturl()


def bare(url: str) -> str:
    """Return an address without login, query and fragment: as it may be shown."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return parts._replace(netloc=host, query="", fragment="").geturl()


def with_feed(feed: str, message: str) -> str:
    """Return a message that names its feed, once."""
    return message if message.startswith(f"feed {feed}") else f"feed {feed}: {message}"


def _filled(
    settings: FeedWithSeries, values: Mapping[str, Value], places: tuple[SeriesPosition, ...]
) -> Request:
    assert settings.url is not None  # noqa: S101 - for the type checker
    params = {name: fill(text, values) for name, text in settings.params.items()}
    return Request(fill_url(settings.url, values), params, places)
