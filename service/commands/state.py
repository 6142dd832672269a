"""Commands about the spatial states: what they take, building one ahead, removing some."""

from __future__ import annotations

from pathlib import Path

import click

from service.commands.shared import config_option, json_option, print_json
from service.errors import UsageError
from service.progress import progress_bar
from service.settings import CONFIG_VARIABLE, load_settings
from service.stamps import utc_now
from service.state_list import StateRow, build_ahead, list_states, remove_states


@click.group(invoke_without_command=True, epilog="Example: colluvium state -c region.toml --json")
@click.option(
    "-c",
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    help=f"The region's settings (TOML), or set {CONFIG_VARIABLE}.",
)
@json_option
@click.pass_context
def state(context: click.Context, config: Path | None, as_json: bool) -> None:
    """List the spatial states: what the factors put into the model, once per region and bundle.

    Each is listed with what it takes on the disk, the newest first.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise UsageError(f"which region? Pass -c FILE or set {CONFIG_VARIABLE}")
    rows = list_states(load_settings(config), utc_now)
    if as_json:
        print_json({"states": [row.to_json() for row in rows]})
        return
    for row in rows:
        click.echo(_line(row))
    if not rows:
        click.echo("no state yet; the first refresh builds it, or 'colluvium state build'")


@state.command(epilog="Example: colluvium state build -c region.toml --bundle bundles/2026-04")
@config_option
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="The bundle to build for (default: the settings').",
)
@json_option
def build(config: Path, bundle: Path | None, as_json: bool) -> None:
    """Build the state ahead of a switch of bundle, so that the next refresh need not.

    The region's lock is held meanwhile: no refresh can run beside it. Killed, it leaves nothing, and begins
    again.
    """
    settings = load_settings(config)
    with progress_bar("spatial state") as progress:
        digests, kept = build_ahead(settings, bundle, progress)
    if as_json:
        print_json({"states": digests, "keep": kept.keep, "reason": kept.reason, "bytes": kept.need})
        return
    for digest in digests:
        click.echo(f"{digest[:16]}  {kept.keep}: {kept.reason}")


@state.command(epilog="Example: colluvium state remove -c region.toml --unused")
@config_option
@click.argument("digest", required=False)
@click.option("--unused", is_flag=True, help="All that nothing uses, but those built ahead.")
@click.option("--force", is_flag=True, help="Even the one in use: the next refresh builds it again.")
@json_option
def remove(config: Path, digest: str | None, unused: bool, force: bool, as_json: bool) -> None:
    """Remove a state, named by the first digits of its digest, or all unused ones.

    The region's lock is held. No layer is lost: a state that is wanted again is built again.
    """
    if (digest is None) != unused:
        raise UsageError("name a state, or give --unused")
    removed = remove_states(load_settings(config), digest, utc_now, force=force)
    if as_json:
        print_json({"removed": [row.to_json() for row in removed]})
        return
    for row in removed:
        click.echo(f"removed {row.name}, {row.bytes / 1e9:.2f} GB")
    if not removed:
        click.echo("nothing to remove")


def _line(row: StateRow) -> str:
    if row.damaged:
        return f"{row.name}  DAMAGED  {row.bytes / 1e9:.2f} GB; who needs it builds it again"
    words = ["in use" if row.in_use else "built ahead" if row.ahead else "unused"]
    words.append("stored" if row.stored else "recomputed")
    each = f", {row.bytes_per_cell:.1f} bytes a cell" if row.bytes_per_cell is not None else ""
    return (
        f"{row.name}  {row.bundle or 'bundle not noted'}  {', '.join(words)}  {row.cells} cells, "
        f"{row.bytes / 1e9:.2f} GB{each}, built {row.built_at:%Y-%m-%d %H:%M} UTC"
    )


COMMANDS = (state,)
