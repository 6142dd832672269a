"""Does the daemon of these settings answer? What a container's HEALTHCHECK and a systemd timer ask."""

from __future__ import annotations

import http.client
import ipaddress
import sys
from contextlib import closing
from pathlib import Path

import click

from service.commands.shared import config_option
from service.errors import EXIT_CODES, Outcome
from service.settings import HttpSettings, load_settings

_TIMEOUT_S = 10.0


@click.command(epilog="Example: colluvium health -c region.toml")
@config_option
@click.option("--ready", is_flag=True, help="Ask as well whether a layer is served and a bundle is loaded.")
def health(config: Path, ready: bool) -> None:
    """Ask the daemon on this machine whether it answers. Exit status 1 if not.

    It says nothing of the map's age: a daemon that is well may show an old map. That is for
    'colluvium status', and for the alerts.
    """
    http_settings = load_settings(config).http
    host, path = _host(http_settings), "/readyz" if ready else "/healthz"
    where = f"{host}:{http_settings.port}"
    try:
        with closing(http.client.HTTPConnection(host, http_settings.port, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            status, words = answer.status, answer.read(2_000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        click.echo(
            f"no answer from {where}: {error}. Is 'colluvium run' there? Its log says why not", err=True
        )
        sys.exit(EXIT_CODES[Outcome.FAILED])
    if status != 200:
        click.echo(f"{where}{path} answers {status}: {words}", err=True)
        sys.exit(EXIT_CODES[Outcome.FAILED])
    click.echo(f"{where}{path} answers: {words}")


def _host(settings: HttpSettings) -> str:
    """Return where to ask: a daemon that listens on all addresses is asked on this machine's own."""
    try:
        address = ipaddress.ip_address(settings.host)
    except ValueError:
        return settings.host
    if not address.is_unspecified:
        return settings.host
    return "127.0.0.1" if address.version == 4 else "::1"


COMMANDS = (health,)
