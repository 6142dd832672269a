"""`colluvium doctor`: is the machine well?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from service.commands.shared import config_option, json_option, print_json
from service.doctor import examine
from service.errors import EXIT_CODES, Outcome
from service.progress import progress_bar
from service.settings import load_settings
from service.stamps import utc_now


@click.command(epilog="Example: colluvium doctor -c region.toml")
@config_option
@click.option("--offline", is_flag=True, help="Ask no server: neither feeds nor databases.")
@click.option("--thorough", is_flag=True, help="Read databases through, whatever their size.")
@json_option
def doctor(config: Path, offline: bool, thorough: bool, as_json: bool) -> None:
    """Is the machine well on which the service runs?

    Databases, disk, memory, clock, certificates, ports, secrets, versions, and what ONNX Runtime really
    computes on. Changes nothing; works beside a running daemon. Exit status 1 if anything fails.
    """
    settings = load_settings(config)
    with progress_bar("examining") as progress:
        found = examine(settings, utc_now(), progress, thorough=thorough, offline=offline)
    failed = any(item.state == "fail" for item in found)
    if as_json:
        print_json({"ok": not failed, "checks": [item.to_json() for item in found]})
    else:
        for item in found:
            click.echo(f"{item.state:<5} {item.name:<14} {item.message}")
    if failed:
        sys.exit(EXIT_CODES[Outcome.FAILED])


COMMANDS = (doctor,)
