"""Promises of whom a feed talks to, and that nobody is told a secret: redirects, TLS, proxies, errors."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.feeds.base import FeedFault
from service.feeds.http import Http
from service.feeds.http_secrets import Masker, basic_login
from service.settings_base import Secret
from service.settings_http import FeedHttp
from tests.fix_http import Answer, Server, Time, http_to, serving

PASSWORD = "s3cret/pass word&x"  # noqa: S105 - of a server of this file
TOKEN = "t0ken+abc=="  # noqa: S105


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Http]:
    monkeypatch.setenv("API_PASSWORD", PASSWORD)
    monkeypatch.setenv("API_TOKEN", TOKEN)
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def make(**settings: Any) -> Http:
        return http_to(tmp_path, Time(), **({"retries": 0} | settings))

    return make


def basic() -> dict[str, Any]:
    return {"user": "rossi", "password": Secret(env="API_PASSWORD")}


def to(address: str, status: int = 302) -> Answer:
    return Answer(b"", status, {"Location": address})


def fault_of(http: Http, url: str) -> FeedFault:
    with pytest.raises(FeedFault) as caught:
        http.get(url)
    return caught.value


# --- redirects ---


def test_a_redirect_on_the_same_server_is_followed_with_the_login(
    server: Server, ask: Callable[..., Http]
) -> None:
    server.say("/old", to("/new?part=2", 307))
    server.say("/new", b"ok")

    reply = ask(**basic()).get(server.url("/old"), params={"day": "1"})

    assert reply is not None
    assert reply.url == server.url("/new?part=2")
    assert [asked.headers["authorization"] for asked in server.asked] == [basic_login("rossi", PASSWORD)] * 2


def test_a_redirect_elsewhere_is_refused_unless_the_host_is_listed_and_then_gets_no_login(
    server: Server, ask: Callable[..., Http]
) -> None:
    with serving() as other:
        other.say("/", b"ok")
        server.say("/", to(other.url("/", host="localhost")))

        fault = fault_of(ask(**basic()), server.url("/"))
        assert fault.reason == "redirect"
        assert "localhost; if that is right, add it to 'allowed_hosts'" in str(fault)
        assert other.asked == []

        for login in (basic(), {"token": Secret(env="API_TOKEN"), "token_parameter": "key"}):
            http = ask(**login, allowed_hosts=("localhost",), headers={"X-Station": "us"})
            assert http.get(server.url("/")) is not None
            (asked,) = other.asked
            assert not {"authorization", "x-station"} & set(asked.headers)
            assert asked.query == {}
            other.asked.clear()


def test_another_port_of_the_same_host_gets_no_login(server: Server, ask: Callable[..., Http]) -> None:
    with serving() as other:
        other.say("/", b"ok")
        server.say("/", to(other.url("/")))

        assert ask(**basic()).get(server.url("/")) is not None

        assert "authorization" not in other.asked[0].headers


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://user:pw12345@127.0.0.1/x", "http://"]
)
def test_a_redirect_to_anything_strange_is_refused(
    server: Server, ask: Callable[..., Http], target: str
) -> None:
    server.say("/", to(target))

    fault = fault_of(ask(), server.url("/"))

    assert fault.reason == "redirect"
    assert "pw12345" not in str(fault)


def test_a_redirect_that_never_ends_is_given_up(server: Server, ask: Callable[..., Http]) -> None:
    server.say("/", to("/"))

    assert "more than 5 times" in str(fault_of(ask(), server.url("/")))
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "values",
    [
        {"proxy": "http://me:pw@proxy:3128"},
        {"headers": {"X-Api-Key": "abc"}},
        {"headers": {"authorization": "Bearer abc"}},
        {"user": "rossi"},
    ],
)
def test_settings_that_would_show_a_secret_or_half_a_login_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeedHttp(**values)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/x", "http://me:pw@127.0.0.1/", "gauges.csv", "http://", "http://[half"]
)
def test_what_is_no_web_address_is_a_mistake_of_the_settings(ask: Callable[..., Http], url: str) -> None:
    assert fault_of(ask(), url).reason == "settings"


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    whole, key = folder / "ca.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {whole}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return whole, key


def test_a_private_authority_is_trusted_where_the_settings_or_the_environment_name_it_and_nowhere_else(
    certificate: tuple[Path, Path], ask: Callable[..., Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificate) as server:
        server.say("/", b"ok")
        fault = fault_of(ask(retries=3), server.url("/"))
        assert (fault.reason, "tried" in str(fault)) == ("tls", False)

        assert ask(ca_bundle=certificate[0]).get(server.url("/")) is not None
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        assert ask().get(server.url("/")) is not None

        fault = fault_of(ask(ca_bundle=certificate[0].with_name("gone.pem")), server.url("/"))
        assert (fault.reason, "'ca_bundle'" in str(fault)) == ("settings", True)


def test_nothing_leads_from_https_to_http(
    certificate: tuple[Path, Path], server: Server, ask: Callable[..., Http]
) -> None:
    server.say("/", b"in the open")
    with serving(certificate) as safe:
        safe.say("/", to(server.url("/")))

        fault = fault_of(ask(ca_bundle=certificate[0], allowed_hosts=("127.0.0.1",)), safe.url("/"))

    assert (fault.reason, "from https to http" in str(fault)) == ("redirect", True)
    assert server.asked == []


# --- proxies ---


def test_a_proxy_is_used_where_the_settings_or_the_environment_name_it(
    server: Server, ask: Callable[..., Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy is asked for the whole address; this server takes its path.
    server.say("/rain", b"through the proxy")
    proxy = f"http://rossi:pr0xypass@127.0.0.1:{server.port}"

    reply = ask(proxy=f"http://127.0.0.1:{server.port}").get("http://gauges.invalid/rain")
    assert reply is not None
    assert reply.text() == "through the proxy"

    monkeypatch.setenv("http_proxy", proxy)
    assert ask().get("http://gauges.invalid/rain") is not None
    assert "proxy-authorization" in server.asked[-1].headers
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.say("/direct", b"ok")
    assert ask().get(server.url("/direct")) is not None
    assert "proxy-authorization" not in server.asked[-1].headers


def test_a_proxy_that_is_down_is_named_without_its_login(
    ask: Callable[..., Http], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as gone:
        monkeypatch.setenv("http_proxy", f"http://rossi:pr0xypass@127.0.0.1:{gone.port}")

    fault = fault_of(ask(), "http://gauges.invalid/")

    assert (fault.reason, "proxy" in str(fault)) == ("unreachable", True)
    assert "pr0xypass" not in str(fault)


# --- secrets ---


@pytest.mark.parametrize(
    "login",
    [
        basic(),
        {"token": Secret(env="API_TOKEN")},
        {"token": Secret(env="API_TOKEN"), "token_header": "X-Key"},
        {"token": Secret(env="API_TOKEN"), "token_parameter": "api_code"},
    ],
)
@pytest.mark.parametrize("fails", ["down", "status", "page", "redirect"])
def test_no_error_and_no_address_shows_a_secret_whatever_the_server_does(
    server: Server,
    ask: Callable[..., Http],
    login: dict[str, Any],
    fails: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")

    def echo(asked: Any) -> Answer:
        said = f"{asked.headers} {asked.query} {server.url('/x')}?api_code={TOKEN}".encode()
        if fails == "redirect":
            return to(f"http://elsewhere.invalid/?{asked.query}&api_code={TOKEN}")
        return Answer(said, 403) if fails == "status" else Answer(b"<p>" + said)

    server.say("/", echo)
    url = server.url("/")
    if fails == "down":
        with serving() as gone:
            url = gone.url("/")
    http = ask(**login)
    with pytest.raises(FeedFault) as caught:
        http.get(url, expect="json")

    error: BaseException | None = caught.value
    shown = ""
    while error is not None:
        shown += f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    shown += caplog.text
    for secret in (PASSWORD, TOKEN, basic_login("rossi", PASSWORD).split()[1], "t0ken%2Babc"):
        assert secret not in shown


def test_a_reply_is_shown_and_kept_without_the_token_of_its_address(
    server: Server, ask: Callable[..., Http], tmp_path: Path
) -> None:
    server.say("/", Answer(b"ok", headers={"ETag": '"a"'}))

    login = {"token": Secret(env="API_TOKEN"), "token_parameter": "code"}
    reply = ask(**login).get(server.url("/"), {"day": "1"})

    assert reply is not None
    assert server.asked[0].query == {"day": ["1"], "code": [TOKEN]}
    assert reply.url == server.url("/?day=1&code=***")
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"t0ken" not in file.read_bytes() + file.name.encode()


def test_a_secret_that_is_missing_is_named_by_its_place(server: Server, ask: Callable[..., Http]) -> None:
    fault = fault_of(ask(token=Secret(env="NO_SUCH_TOKEN")), server.url("/"))

    assert fault.reason == "settings"
    assert "NO_SUCH_TOKEN" in str(fault)
    assert server.asked == []


@given(secret=st.text(min_size=6), before=st.text(max_size=20))
def test_no_secret_survives_masking(secret: str, before: str) -> None:
    mask = Masker([secret])
    for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
        assert form not in mask(f"{before}{form} after").removeprefix(before) or form in before + " after***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://a.org/x?apikey=abc&day=1", "https://a.org/x?apikey=***&day=1"),
        ("GET /x?X-Amz-Signature=abc HTTP", "GET /x?X-Amz-Signature=*** HTTP"),
        ("ftp://me:pw@a.org/", "ftp://***@a.org/"),
        ("https://a.org/?station=key", "https://a.org/?station=key"),
    ],
)
def test_what_looks_like_a_key_is_masked_without_being_told(text: str, masked: str) -> None:
    assert Masker()(text) == masked


def test_the_session_reads_no_login_from_a_home_folder(
    server: Server, ask: Callable[..., Http], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login rossi password home\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.say("/", b"ok")

    assert ask().get(server.url("/")) is not None

    assert "authorization" not in server.asked[0].headers
