"""Commands that decide which bundle serves: bundle promote, bundle promotions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from service.commands.look import bundle
from service.commands.shared import act_options, config_option, json_option, print_json
from service.errors import UsageError
from service.ledger import Ledger
from service.ledger_promotions import Promotion
from service.progress import progress_bar
from service.promotion import Promoted, go_back, prepare
from service.promotion import promote as promote_bundle
from service.promotion_evidence import Evidence
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path


@bundle.command(
    epilog='Example: colluvium bundle promote -c region.toml --by "A. Rossi" --reason "hit 31 of 36, not 24"'
)
@config_option
@click.argument("path", type=click.Path(path_type=Path, file_okay=False), required=False)
@act_options
@click.option("--force", is_flag=True, help="Promote in spite of objections; the record names them.")
@click.option("--back", is_flag=True, help="Let serve again what served before the last promotion.")
@click.option("--samples", default=10_000, show_default=True, help="Random cells for the proof.")
@json_option
def promote(
    config: Path,
    path: Path | None,
    by: str,
    reason: str,
    force: bool,
    back: bool,
    samples: int,
    as_json: bool,
) -> None:
    """Let another bundle serve (default: bundle.challenger) in place of the one that the settings name.

    The bundle is proven, and how it and the one that serves were judged is shown and kept. It is copied into
    the data folder and serves from the next refresh on, until the settings name another bundle.path. Without
    a layer of a day on display, or where warnings would end, it is refused.
    """
    settings = load_settings(config)
    if back and path is not None:
        raise UsageError("--back goes to what served before the last promotion; leave the path out")
    if back:
        done = go_back(settings, by, reason, utc_now)
    else:
        with progress_bar("layers") as progress:
            candidate = prepare(settings, path, utc_now, samples=samples, progress=progress)
        if not as_json:
            for line in (
                *candidate.evidence.to_lines(),
                *(f"  OBJECTION: {why}" for why in candidate.objections),
            ):
                click.echo(line)
        done = promote_bundle(settings, candidate, by, reason, utc_now, force=force)
    if as_json:
        print_json(
            _json(done.promotion, in_force=True)
            | {"spatial_states": done.states, "spatial_states_taken": done.states_taken}
        )
    else:
        _print_done(done)


@bundle.command(epilog="Example: colluvium bundle promotions -c region.toml")
@config_option
@json_option
def promotions(config: Path, as_json: bool) -> None:
    """List which bundle was promoted when, by whom, why and on what evidence; oldest first."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        found = ledger.promotions.all()
        in_force = ledger.promotions.in_force(settings.bundle.path)
    number = in_force.id if in_force is not None else None
    if as_json:
        print_json({"promotions": [_json(one, in_force=one.id == number) for one in found]})
        return
    for one in found:
        serves = "  SERVES" if one.id == number else ""
        click.echo(f"{one.at:%Y-%m-%d %H:%M}  {one.digest[:16]}  by {one.by}: {one.reason}{serves}")
        for line in Evidence.model_validate(one.evidence).to_lines():
            click.echo(line)
    if number is None:
        click.echo(f"the bundle of the settings serves: {settings.bundle.path}")


def _print_done(done: Promoted) -> None:
    promotion = done.promotion
    click.echo(f"{promotion.path} serves from the next refresh on, in place of {promotion.instead_of}")
    if done.states and done.states_taken == done.states:
        click.echo("  its spatial state is there; the next refresh builds none")
    elif done.states:
        click.echo("  the next refresh builds its spatial state first")


def _json(promotion: Promotion, *, in_force: bool) -> dict[str, Any]:
    return {
        "at": promotion.at.isoformat(),
        "digest": promotion.digest,
        "path": promotion.path,
        "instead_of": promotion.instead_of,
        "by": promotion.by,
        "reason": promotion.reason,
        "in_force": in_force,
        "evidence": promotion.evidence,
    }


COMMANDS = (bundle,)
