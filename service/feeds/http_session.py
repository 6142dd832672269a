"""One request to a feed's server: patience, login, trust, redirects. Retries stand in http.py."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from service.errors import SettingsError
from service.feeds.base import FeedFault
from service.feeds.http_secrets import Masker, basic_login
from service.settings_http import FeedHttp

_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECTS_AT_MOST = 5
_PORTS = {"http": 80, "https": 443}
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_AGENT = "colluvium (landslide susceptibility)"


class Broken(Exception):
    """A request that came to nothing on the way: worth another try or not."""

    def __init__(self, reason: str, detail: str, *, again: bool) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.again = again


@dataclass(frozen=True)
class Login:
    """Who we are at a feed's server: headers and query parameters that nobody else may see."""

    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    masker: Masker

    @classmethod
    def of(cls, settings: FeedHttp, feed: str) -> Login:
        """Read the secrets of a feed. Raises FeedFault that names the place of one that is missing."""
        headers = dict(settings.headers)
        parameters = {}
        secrets = []
        try:
            if settings.user is not None and settings.password is not None:
                password = settings.password.read()
                headers["Authorization"] = basic_login(settings.user, password)
                secrets += [password, headers["Authorization"].removeprefix("Basic ")]
            if settings.token is not None:
                token = settings.token.read()
                secrets.append(token)
                if settings.token_parameter is not None:
                    parameters[settings.token_parameter] = token
                elif settings.token_header is not None:
                    headers[settings.token_header] = token
                else:
                    headers["Authorization"] = f"Bearer {token}"
        except SettingsError as error:
            raise FeedFault("settings", f"feed {feed}: {error}") from error
        proxies = (os.environ.get(name) for name in _PROXIES)
        secrets += [urlsplit(proxy).password or "" for proxy in proxies if proxy]
        return cls(headers, parameters, Masker(secrets, settings.token_parameter))


class Session:
    """Sends requests of one feed. Any thread may use it."""

    def __init__(self, settings: FeedHttp, login: Login) -> None:
        self._settings = settings
        self._login = login
        self._session = make_session(settings)
        self._proxies: dict[tuple[str, ...], dict[str, str]] = {}  # by scheme and server

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str], seconds: float
    ) -> requests.Response:
        """Ask for an address, follow redirects that may be followed, and return the last reply, unread.

        `seconds` is all the time there is: nothing waits longer for the server to say something.

        Raises Broken; its detail may hold secrets, which the caller masks.
        """
        first = _parts(url, "settings")
        if first.scheme not in _PORTS or not first.hostname:
            raise Broken("settings", "is no http:// or https:// address", again=False)
        if first.username or first.password:
            what = "has a login in it; set http.user and http.password of the feed instead"
            raise Broken("settings", what, again=False)
        here = url
        for hop in range(_REDIRECTS_AT_MOST + 1):
            ours = same_server(first, urlsplit(here))
            sent = {"User-Agent": _AGENT, **(self._login.headers if ours else {}), **headers}
            asked = dict(params or {}) if hop == 0 else {}
            if ours:
                # A server that redirects may have kept the parameter.
                named = dict(parse_qsl(urlsplit(here).query))
                asked |= {name: value for name, value in self._login.parameters.items() if name not in named}
            response = self._once(here, asked, sent, seconds)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
            here = self._redirected(first, here, target)
        raise Broken("redirect", f"redirects more than {_REDIRECTS_AT_MOST} times", again=False)

    def _once(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str], seconds: float
    ) -> requests.Response:
        settings = self._settings
        try:
            return self._session.get(
                url,
                params=params,
                headers=headers,
                timeout=(min(settings.connect_timeout_s, seconds), min(settings.read_timeout_s, seconds)),
                allow_redirects=False,
                stream=True,
                proxies=self._proxies_for(url),
            )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise broken_by(error) from error

    def _proxies_for(self, url: str) -> dict[str, str]:
        if self._settings.proxy:
            return {"http": self._settings.proxy, "https": self._settings.proxy}
        server = url.partition("?")[0].split("/", 3)[:3]
        found = self._proxies.get(tuple(server))
        if found is None:
            # Reading the whole environment takes longer than a reply from a server nearby.
            found = self._proxies[tuple(server)] = get_environ_proxies(url)
        return found

    def _redirected(self, first: SplitResult, here: str, target: str) -> str:
        to, parts = urljoin(here, target), _parts(urljoin(here, target), "redirect")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise Broken("redirect", f"redirects to {to}, which is no web address", again=False)
        if urlsplit(here).scheme == "https" and parts.scheme == "http":
            raise Broken("redirect", f"redirects from https to http ({to}); refused", again=False)
        allowed = {host.lower() for host in self._settings.allowed_hosts}
        if parts.hostname != first.hostname and parts.hostname not in allowed:
            raise Broken(
                "redirect",
                f"redirects to another host, {parts.hostname}; if that is right, add it to 'allowed_hosts'",
                again=False,
            )
        if parts.username or parts.password:
            raise Broken("redirect", "redirects to an address with a login in it; refused", again=False)
        return to


def make_session(settings: FeedHttp) -> requests.Session:
    """Return a session that trusts what the settings say, and nothing that lies about in a home folder."""
    # At its level DEBUG it writes addresses with the tokens in them.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    session = requests.Session()
    # No .netrc: a login goes only to the server that it is for. Proxies and certificate authorities of the
    # environment are honoured by hand.
    session.trust_env = False
    trusted = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    session.verify = str(settings.ca_bundle) if settings.ca_bundle else trusted or True
    # Retries are ours: urllib3 does not see a body that breaks off, and knows no deadline.
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=8, max_retries=Retry(0, read=False))
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def broken_by(error: BaseException) -> Broken:
    """Return what an exception of the libraries means, by its place in the tree of requests and urllib3."""
    words = f"{type(error).__name__}: {error}"
    lowered = words.lower()
    if isinstance(error, OSError) and "CA certificate" in words:
        return Broken("settings", f"cannot be asked: {words}; correct 'ca_bundle'", again=False)
    if isinstance(error, requests.exceptions.SSLError) or "certificate" in lowered:
        return Broken("tls", f"does not prove who it is or speaks no TLS ({words})", again=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return Broken("unreachable", f"cannot be reached through the proxy ({words})", again=True)
    if isinstance(error, requests.Timeout | TimeoutError) or "timed out" in lowered:
        return Broken("timeout", f"did not answer in time ({words})", again=True)
    if "incompleteread" in lowered or "response ended prematurely" in lowered:
        return Broken("truncated", f"broke off in the middle of its reply ({words})", again=True)
    if isinstance(error, requests.exceptions.ContentDecodingError) or "decode" in lowered:
        return Broken("truncated", f"sent a compressed reply that cannot be unpacked ({words})", again=True)
    if isinstance(error, ValueError) and not isinstance(error, requests.ConnectionError):
        return Broken("settings", f"cannot be asked ({words})", again=False)
    return Broken("unreachable", f"cannot be reached ({words})", again=True)


def _parts(url: str, reason: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Broken(reason, f"leads to what is no web address ({error})", again=False) from error
    return parts


def same_server(first: SplitResult, other: SplitResult) -> bool:
    """Tell whether a login for `first` may go to `other`: the same server, or the same one with TLS."""
    if first.hostname != other.hostname:
        return False
    ports = [part.port or _PORTS[part.scheme] for part in (first, other)]
    if first.scheme == other.scheme:
        return ports[0] == ports[1]
    return (first.scheme, *ports) == ("http", 80, 443)
