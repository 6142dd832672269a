"""Commands that only look: check, status, layers, journal, bundle verify."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import click

from service.bundle import verify as verify_bundle
from service.check import run_checks
from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.errors import EXIT_CODES, Outcome
from service.ledger import Ledger
from service.progress import progress_bar
from service.settings import load_settings
from service.stamps import utc_now
from service.status import read_status
from service.workshop import ledger_path


@click.command(epilog="Example: colluvium check -c region.toml")
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """Say whether everything is there that a refresh needs.

    Settings, region, factor stack, feeds, bundle (proven), space on disk. Exit status 1 if anything fails.
    """
    settings = load_settings(config)
    with progress_bar("checking") as progress:
        checks = run_checks(settings, progress)
    failed = any(item.state == "fail" for item in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [item.to_json() for item in checks]})
    else:
        for item in checks:
            click.echo(f"{item.state:<5} {item.name:<12} {item.message}")
    if failed:
        sys.exit(EXIT_CODES[Outcome.FAILED])


@click.command(epilog="Example: colluvium status -c region.toml")
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Is the map fresh, which feed is late, what is pending: one screen."""
    settings = load_settings(config)
    report = read_status(settings, utc_now())
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.to_text())


@click.command(epilog="Example: colluvium layers -c region.toml --since 2026-03-01")
@config_option
@click.option("--since", type=DAY, help="First day.")
@click.option("--until", type=DAY, help="Last day.")
@json_option
def layers(config: Path, since: date | None, until: date | None, as_json: bool) -> None:
    """List the layers, every revision of every day."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        found = ledger.layers(since, until)
        removed = {item.id: item.removed_at for item in ledger.standings() if item.removed_at}
    if as_json:
        rows = [
            layer.model_dump(mode="json", exclude={"hotspots"}) | {"removed_at": removed.get(layer.id)}
            for layer in found
        ]
        print_json({"layers": rows})
        return
    for layer in found:
        place = f"files removed on {removed[layer.id]:%Y-%m-%d}" if layer.id in removed else layer.folder
        high = sum(area.ratio or 0 for area in layer.areas if not area.zone and "high" in area.label)
        click.echo(
            f"{layer.id:<32} {layer.status.value:<10} coverage {layer.coverage:4.0%}  "
            f"high and very high {high:6.1%}  {place}"
        )
    if not found:
        click.echo("no layers yet; make one with 'colluvium refresh'")


@click.command(epilog="Example: colluvium journal -c region.toml")
@config_option
@json_option
def journal(config: Path, as_json: bool) -> None:
    """List the human acts: who withdrew, held or resumed what, when and why."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        acts = ledger.journal()
    rows: list[dict[str, Any]] = [
        {"at": act.at.isoformat(), "act": act.act, "subject": act.subject, "by": act.by, "reason": act.reason}
        for act in acts
    ]
    if as_json:
        print_json({"journal": rows})
        return
    for row in rows:
        click.echo(f"{row['at'][:16]}  {row['act']:<9} {row['subject']}  by {row['by']}: {row['reason']}")
    if not rows:
        click.echo("no human acts yet")


@click.group()
def bundle() -> None:
    """Model bundles: prove one, let another one serve."""


@bundle.command(epilog="Example: colluvium bundle verify build/apennines/bundle --json")
@click.argument("path", type=click.Path(path_type=Path, file_okay=False))
@click.option("--samples", default=10_000, show_default=True, help="Random cells for the proof.")
@json_option
def verify(path: Path, samples: int, as_json: bool) -> None:
    """Prove a bundle: checksums, and the factored graphs against the whole network.

    Exit status 1 if the bundle would be refused.
    """
    verification = verify_bundle(path, samples=samples)
    if as_json:
        print_json(verification.model_dump(mode="json"))
    else:
        for name, value in verification.model_dump(mode="json").items():
            click.echo(f"{name.replace('_', ' '):<24} {value}")
    if not verification.passed:
        sys.exit(EXIT_CODES[Outcome.FAILED])


COMMANDS = (check, status, layers, journal, bundle)
