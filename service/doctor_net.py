"""What the doctor learns from others: certificates, the clocks of servers, who listens on our port."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import socket
import sqlite3
import ssl
import struct
from base64 import b64encode
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from service.check import Check
from service.feeds.http_secrets import Masker
from service.settings import Settings
from service.settings_http import FeedHttp
from service.stamps import from_stamp
from service.workshop import ledger_path

_PATIENCE_S = 10.0
_EXPIRES_SOON_DAYS = 14
_CLOCK_WARN_S, _CLOCK_FAIL_S = 10.0, 300.0
_FUTURE_S = 60.0
# struct timex of Linux: modes (int, padded), offset, freq, maxerror, esterror (long), status (int), ...
_TIMEX = struct.Struct("@i4xqqqqi")
_UNSYNCHRONISED = 0x40

_mask = Masker()


@dataclass(frozen=True)
class Server:
    """A server that the service asks, or that stands before it."""

    scheme: str
    host: str
    port: int
    whose: tuple[str, ...]
    http: FeedHttp

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What a server showed of itself."""

    server: Server
    trouble: str | None = None
    expires: datetime | None = None
    issuer: str = ""
    ahead_s: float | None = None  # of our clock, as far as its Date header tells


def servers_of(settings: Settings) -> list[Server]:
    """Return the servers of all feeds, and of the public address, each once."""
    found: dict[tuple[str, str, int], Server] = {}
    asked: list[tuple[str, str, FeedHttp]] = []
    for feed in settings.feeds:
        if feed.kind == "raster":
            addresses = [product.url for product in feed.products] or [feed.url]
        else:
            addresses = [feed.url]
        asked += [(feed.name, url, feed.http) for url in addresses if url]
    if settings.web.public_url:
        asked.append(("web.public_url", settings.web.public_url, FeedHttp()))
    for name, url, http_settings in asked:
        parts = _parts(url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            continue
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        key = (parts.scheme, parts.hostname, port)
        known = found.get(key, Server(*key, (), http_settings))
        found[key] = replace(known, whose=tuple(dict.fromkeys((*known.whose, name))))
    return list(found.values())


def look_at_servers(settings: Settings, now: datetime) -> list[Check]:
    """Ask each server whether it can be reached, and for its certificate if it speaks TLS."""
    servers = servers_of(settings)
    if not servers:
        return [Check("servers", "ok", "no feed is fetched from a server")]
    return [_of_server(answer, now) for answer in ask_all(servers)]


def look_at_clock(settings: Settings, now: datetime, servers: Sequence[Server]) -> list[Check]:
    """Compare the clock with what the kernel, the ledger and the servers say."""
    found = [_of_kernel(_synchronised())]
    newest = _newest_run(ledger_path(settings))
    if newest is not None and (newest - now).total_seconds() > _FUTURE_S:
        words = f"the newest run began at {newest:%Y-%m-%d %H:%M} UTC, and now is {now:%Y-%m-%d %H:%M} UTC"
        found.append(Check("clock", "fail", f"{words}: the clock was set back, or was wrong then"))
    ahead = {answer.server.host: answer.ahead_s for answer in ask_all(servers) if answer.ahead_s is not None}
    if ahead:
        # One server may be wrong; our own clock is what they all differ from.
        host, off = sorted(ahead.items(), key=lambda item: item[1])[len(ahead) // 2]
        found.append(_of_difference(host, off, len(ahead)))
    return found


def look_at_port(settings: Settings) -> Check:
    """See who listens where the daemon serves."""
    host, port = settings.http.host, settings.http.port
    if port == 0:
        return Check("port", "ok", "http.port = 0: the system chooses one")
    near = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - to ask it
    region = _region_at(near, port)
    if region == settings.region.id:
        return Check("port", "ok", f"the daemon of {region} answers on {near}:{port}")
    if region is not None:
        who = f"the service of region {region}" if region else "another program"
        return Check("port", "fail", f"{near}:{port} is taken by {who}; give this region another http.port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Check("port", "fail", f"{host}:{port} cannot be listened on: {error.strerror}")
    return Check("port", "ok", f"{host}:{port} is free; no daemon runs here")


def ask_all(servers: Iterable[Server]) -> list[Answer]:
    """Ask servers side by side for certificate and time; none can hold up the others."""
    servers = list(servers)
    if not servers:
        return []
    with ThreadPoolExecutor(min(8, len(servers))) as pool:
        return list(pool.map(_ask, servers))


def _ask(server: Server) -> Answer:
    """Ask one server: HEAD / without any login, through the proxy that its feed uses."""
    said = None
    try:
        connection = _connection(server)
        try:
            connection.connect()
            expires, issuer = _certificate(connection.sock)
            with suppress(OSError, http.client.HTTPException):  # its certificate is good all the same
                connection.request("HEAD", "/", headers={"User-Agent": "colluvium (doctor)"})
                said = connection.getresponse().getheader("Date")
            here = datetime.now(UTC)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        return Answer(server, f"does not prove who it is: {error.verify_message}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(server, _mask(f"could not be asked: {type(error).__name__}: {error}"))
    ahead = None
    with suppress(TypeError, ValueError):  # a server without a clock, or with a strange one
        ahead = (here - parsedate_to_datetime(str(said)).astimezone(UTC)).total_seconds()
    return Answer(server, None, expires, issuer, ahead)


def _connection(server: Server) -> http.client.HTTPConnection:
    proxy = server.http.proxy or select_proxy(server.address, get_environ_proxies(server.address))
    host, port, via = server.host, server.port, _parts(proxy) if proxy else None
    if via is not None and via.hostname:
        host, port = via.hostname, via.port or 80
    if server.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=_PATIENCE_S, context=_trust(server.http)
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    if via is not None:
        login = b64encode(f"{unquote(via.username or '')}:{unquote(via.password or '')}".encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {login}"} if via.username else {}
        connection.set_tunnel(server.host, server.port, headers)
    return connection


def _trust(settings: FeedHttp) -> ssl.SSLContext:
    """Trust whom the feed's own session trusts (service.feeds.http_session)."""
    named = settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    path = Path(named or DEFAULT_CA_BUNDLE_PATH)
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _certificate(connection: object) -> tuple[datetime | None, str]:
    if not isinstance(connection, ssl.SSLSocket):
        return None, ""
    found = connection.getpeercert() or {}
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    names = cast(tuple[tuple[tuple[str, str], ...], ...], found.get("issuer", ()))
    issuer = dict(pair for part in names for pair in part)
    return expires, issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority"


def _of_server(answer: Answer, now: datetime) -> Check:
    server = answer.server
    words = f"{server.host}:{server.port} ({', '.join(server.whose)})"
    if answer.trouble is not None:
        return Check("servers", "fail", f"{words} {answer.trouble}")
    if answer.expires is None:
        return Check("servers", "ok", f"{words}: reached, without TLS")
    days = (answer.expires - now).days
    words += f": certificate by {answer.issuer}, until {answer.expires:%Y-%m-%d}, {days} days"
    if days < 0:
        return Check("servers", "fail", f"{words}; expired by this machine's clock")
    return Check("servers", "warn" if days < _EXPIRES_SOON_DAYS else "ok", words)


def _of_difference(host: str, off: float, asked: int) -> Check:
    way = "ahead of" if off > 0 else "behind"
    words = f"{abs(off):.0f} s {way} {host} (the middle one of {asked} servers)"
    if abs(off) > _CLOCK_FAIL_S:
        return Check("clock", "fail", f"{words}; days, windows and certificates go by it: set it, run NTP")
    return Check("clock", "warn" if abs(off) > _CLOCK_WARN_S else "ok", words)


def _of_kernel(synchronised: bool | None) -> Check:
    if synchronised is None:
        return Check("clock", "ok", "whether it is kept by a time service cannot be told here")
    if synchronised:
        return Check("clock", "ok", "the kernel's clock is kept by a time service")
    return Check("clock", "warn", "no time service keeps the kernel's clock: run chrony or systemd-timesyncd")


def _synchronised() -> bool | None:
    """Ask the kernel (adjtimex, which only reads here) whether something disciplines its clock."""
    if struct.calcsize("@l") != 8:
        return None
    buffer = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (AttributeError, OSError):  # another system
        return None
    if state < 0:  # a sandbox that does not let us ask
        return None
    return not _TIMEX.unpack_from(buffer)[5] & _UNSYNCHRONISED


def _newest_run(path: Path) -> datetime | None:
    """Return when the newest run began; of a ledger that cannot be read, another check tells."""
    if not path.exists():
        return None
    with suppress(sqlite3.Error):
        ledger = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            (stamp,) = ledger.execute("SELECT max(started_at) FROM run").fetchone()
            return from_stamp(stamp) if stamp else None
        finally:
            ledger.close()
    return None


def _region_at(host: str, port: int) -> str | None:
    """Return the region that is served at an address, "" where another program answers, None for nobody."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/status")
        return str(json.loads(connection.getresponse().read(2**20))["region"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        _ = parts.port
    except ValueError:
        return None
    return parts
