"""`colluvium health`: what HEALTHCHECK asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from service.cli import main_group
from tests.fix_region import ToyRegion


class _Daemon(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        well = self.path == "/healthz"
        body = b'{"status":"ok"}' if well else b'{"status":"not ready","missing":["no bundle is loaded"]}'
        self.send_response(200 if well else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def daemon() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Daemon) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _ask(toy: ToyRegion, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main_group, ["health", "-c", str(toy.folder / "region.toml"), *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_daemon_that_answers_is_healthy_wherever_it_listens(
    toy: ToyRegion, daemon: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLUVIUM_HTTP__HOST", host)
    monkeypatch.setenv("COLLUVIUM_HTTP__PORT", str(daemon))
    code, said = _ask(toy)
    assert code == 0, said
    assert "ok" in said


def test_ready_repeats_what_is_missing(toy: ToyRegion, daemon: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLUVIUM_HTTP__PORT", str(daemon))
    code, said = _ask(toy, "--ready")
    assert code == 1
    assert "503" in said
    assert "no bundle is loaded" in said


def test_no_daemon_is_not_healthy_and_where_it_was_looked_for_is_said(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLUVIUM_HTTP__PORT", "1")
    code, said = _ask(toy)
    assert code == 1
    assert "127.0.0.1:1" in said
    assert "colluvium run" in said
