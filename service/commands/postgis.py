"""Commands about the PostGIS databases that the settings name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from exporters.base import ExportError
from service.commands.shared import config_option, json_option, print_json
from service.errors import EXIT_CODES, ColluviumError, Outcome, UsageError
from service.ledger import Ledger
from service.settings import Settings, load_settings
from service.settings_base import Secret
from service.settings_outlets import PostgisExporter, PostgisLogin
from service.stamps import utc_now
from service.workshop import ledger_path

# psycopg is loaded by the commands that need it, not by every start of the program.

_exporter_option = click.option(
    "--exporter", metavar="NAME", help="Which one of kind postgis (needed where there are several)."
)


@click.group()
def postgis() -> None:
    """Set up, migrate and look at the PostGIS databases."""


@postgis.command(epilog="Example: colluvium postgis setup -c region.toml | psql -d gis   (as a superuser)")
@config_option
@_exporter_option
def setup(config: Path, exporter: str | None) -> None:
    """Print the SQL that a superuser runs once: extensions, roles, the region's schema.

    Nothing is connected to. Running it again changes nothing.
    """
    from exporters.postgis import setup_statements
    from service.postgis import database_of, schema_of

    settings = load_settings(config)
    section = _section(settings, exporter)
    schema = schema_of(section, settings)
    if schema in ("public", "information_schema") or schema.startswith("pg_"):
        # It would take everybody else's rights on it away.
        raise UsageError(
            f"schema {schema} is the database's own; give exporter {section.name} another in [[exporters]]"
        )
    click.echo(setup_statements(schema, database_of(section)))


@postgis.command(
    epilog="Example: colluvium postgis prepare --dsn 'host=db user=postgres dbname=gis' --password-file pw"
)
@config_option
@_exporter_option
@click.option("--dsn", required=True, help="A superuser's, to the exporter's database; never a password.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds the superuser's password alone (default: PGPASSWORD or a passfile).",
)
def prepare(config: Path, exporter: str | None, dsn: str, password_file: Path | None) -> None:
    """Do what 'setup' prints, make the logins that the settings name, and migrate.

    For a database that belongs to this service alone, such as the one of the compose file. Running it again
    changes nothing, but for a password that is another now.
    """
    from service.postgis import migrate_schema, schema_of
    from service.postgis_prepare import prepare_database

    settings = load_settings(config)
    section = _section(settings, exporter)
    secret = Secret(file=password_file) if password_file is not None else None
    superuser = _login(dsn).model_copy(update={"password": secret})
    try:
        users = prepare_database(section, settings, superuser)
        if section.owner is not None:
            migrate_schema(section, settings, section.owner)
    except ExportError as error:
        raise ColluviumError(str(error)) from error
    click.echo(f"schema {schema_of(section, settings)} is ready for {', '.join(users)}")


@postgis.command(epilog="Example: colluvium postgis migrate -c region.toml")
@config_option
@_exporter_option
@click.option(
    "--dsn",
    help="Log in so, as a member of colluvium_owner, instead of as the settings' owner; never a password: "
    "libpq takes it from PGPASSWORD or a passfile.",
)
def migrate(config: Path, exporter: str | None, dsn: str | None) -> None:
    """Bring the schema up to date, as a member of colluvium_owner. All of it is applied, or nothing.

    Where the settings give the exporter an owner, deliveries do this by themselves.
    """
    from service.postgis import migrate_schema, schema_of

    settings = load_settings(config)
    section = _section(settings, exporter)
    owner = _login(dsn) if dsn is not None else section.owner
    if owner is None:
        raise UsageError(
            f"exporter {section.name} has no owner: either give --dsn with a member of colluvium_owner, "
            'or owner = { dsn = "...", password = { env = "..." } } in [[exporters]]'
        )
    try:
        applied = migrate_schema(section, settings, owner)
    except ExportError as error:
        raise ColluviumError(str(error)) from error
    schema = schema_of(section, settings)
    if applied:
        click.echo(f"schema {schema}: applied {', '.join(str(number) for number in applied)}")
    else:
        click.echo(f"schema {schema} is up to date")


@postgis.command(epilog="Example: colluvium postgis status -c region.toml --json")
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Say of each database whether it can be reached, its schema's version, what it holds and what waits.

    Exit status 1 if a layer could not be delivered now.
    """
    from service.postgis import look_at_schema, schema_of

    settings = load_settings(config)
    sections = _sections(settings)
    rows: list[dict[str, Any]] = []
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        counts = {
            count.exporter: count for count in ledger.outbox.counts([section.name for section in sections])
        }
    for section in sections:
        row: dict[str, Any] = {"exporter": section.name, "schema": schema_of(section, settings)}
        try:
            found = look_at_schema(section, settings)
            row |= {"ok": True, "migration": found.migration, "layers": found.layers, "latest": found.latest}
            row |= {"problem": None}
        except ExportError as error:
            row |= {"ok": False, "migration": None, "layers": None, "latest": None, "problem": str(error)}
        count = counts[section.name]
        rows.append(row | {"pending": count.pending, "parked": count.parked})
    if as_json:
        print_json({"exporters": rows})
    else:
        for row in rows:
            what = (
                f"schema {row['schema']} at migration {row['migration']}, {row['layers']} layers, "
                f"latest {row['latest'] or 'none'}"
            )
            waits = f"{row['pending']} pending, {row['parked']} parked"
            click.echo(f"{row['exporter']}: {what if row['ok'] else row['problem']}; {waits}")
        if not rows:
            click.echo("the settings name no exporter of kind postgis")
    if not all(row["ok"] for row in rows):
        sys.exit(EXIT_CODES[Outcome.FAILED])


def _sections(settings: Settings) -> list[PostgisExporter]:
    return [section for section in settings.exporters if isinstance(section, PostgisExporter)]


def _section(settings: Settings, name: str | None) -> PostgisExporter:
    sections = _sections(settings)
    found = [section for section in sections if name in (None, section.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(section.name for section in sections)
    if not sections:
        raise UsageError("the settings name no exporter of kind postgis; add one to [[exporters]]")
    if name is None:
        raise UsageError(f"there are several exporters of kind postgis; pick one with --exporter: {names}")
    raise UsageError(f"there is no exporter {name!r} of kind postgis; the settings name {names}")


def _login(dsn: str) -> PostgisLogin:
    try:
        return PostgisLogin(dsn=dsn)
    except ValidationError as error:
        # The DSN itself is not repeated: it holds a password.
        raise UsageError("take the password out of --dsn; libpq reads PGPASSWORD or a passfile") from error


COMMANDS = (postgis,)
