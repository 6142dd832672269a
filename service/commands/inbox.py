"""`colluvium alerts inbox`: shows what Alertmanager sends, to see the chain work before a phone is on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from service.commands.alerts import alerts
from service.errors import StorageError
from service.stamps import utc_now

_MOST_BYTES = 4 << 20  # a hundred alerts are some 200 kB
_WAIT_S = 20.0


def lines_of(message: Any) -> Iterator[str]:
    """Return an Alertmanager webhook's message (version 4) for a person, one line an alert.

    Raises ValueError where it is something else.
    """
    alerts = message.get("alerts") if isinstance(message, dict) else None
    if not isinstance(alerts, list):
        raise ValueError("no message of Alertmanager: it has no list of alerts")
    for alert in alerts:
        labels, words = alert.get("labels", {}), alert.get("annotations", {})
        ended = alert.get("status") == "resolved"
        parts = [
            "ended " if ended else "FIRING",
            str(labels.get("severity", "-")),
            str(labels.get("alertname", "-")) + ":",
            " ".join(str(words.get("summary", "")).split()),
        ]
        yield " ".join(parts)


def make_inbox(host: str, port: int, say: Callable[[str], None]) -> ThreadingHTTPServer:
    """Return a server that says what is posted to it; port 0 takes a free one. Nothing is kept."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _WAIT_S

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _MOST_BYTES:
                self.send_error(413, f"a message has a length of at most {_MOST_BYTES} bytes")
                return
            try:
                lines = list(lines_of(json.loads(self.rfile.read(int(length)))))
            except (ValueError, AttributeError) as error:
                self.send_error(400, f"not understood: {type(error).__name__}")
                return
            for line in lines:
                say(f"{utc_now():%Y-%m-%d %H:%M:%S} UTC  {line}")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of requests: what is in them is said."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise StorageError(
            f"cannot listen on {host}:{port}: {error.strerror}; give another port with --port"
        ) from error


@alerts.command(epilog="Example: colluvium alerts inbox --port 9095")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=9095,
    show_default=True,
    help="Which port; 0 takes a free one.",
)
def inbox(host: str, port: int) -> None:
    """Show the alerts that Alertmanager sends, one line each, until Ctrl-C.

    A webhook receiver for a first day and for exercises: point `webhook_configs.url` at it and watch. It
    calls nobody and keeps nothing.
    """
    with make_inbox(host, port, click.echo) as server:
        click.echo(f"listening on {host}:{server.server_address[1]}", err=True)
        server.serve_forever()


COMMANDS: tuple[click.Command, ...] = ()  # `inbox` is of the group `alerts`
