"""What a superuser does once for a region, done by a program: extensions, roles, schema, and the logins.

For a stack whose database is its own. Elsewhere a person runs what `colluvium postgis setup` prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import Connection, ProgrammingError, sql
from psycopg.conninfo import conninfo_to_dict

from exporters.postgis import setup_statements
from exporters.postgis.connect import connected
from exporters.postgis.roles import OWNER, WRITER
from service.errors import SettingsError, UsageError
from service.postgis import connection_of, database_of, schema_of
from service.settings import Settings
from service.settings_outlets import PostgisExporter, PostgisLogin

_ENCODING = "scram-sha-256"


@dataclass(frozen=True)
class Login:
    """A role that logs in, the group that it is a member of, and its password."""

    user: str
    group: str
    password: str


def prepare_database(section: PostgisExporter, settings: Settings, superuser: PostgisLogin) -> list[str]:
    """Set up the region's schema and the logins that the settings name; return what the logins are called.

    Repeating it changes nothing, but for a password that is another now.
    Raises ExportUnavailable where the server is away, SettingsError for a login without user or password.
    """
    logins = [_login(section, section.writer, WRITER)]
    if section.owner is not None:
        logins.append(_login(section, section.owner, OWNER))
    names = [login.user for login in logins]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"exporter {section.name}: writer and owner log in as {names[0]}; who publishes must not be "
            "able to drop tables: give them users of their own"
        )
    database = database_of(section)
    with connected(connection_of(section, superuser), section.name) as connection:
        connection.execute(setup_statements(schema_of(section, settings), database).encode())
        for login in logins:
            _make(connection, login)
    return names


def _login(section: PostgisExporter, login: PostgisLogin, group: str) -> Login:
    try:
        user = conninfo_to_dict(login.dsn).get("user")
    except ProgrammingError as error:
        raise SettingsError(f"a dsn of exporter {section.name} cannot be read") from error
    role = group.removeprefix("colluvium_")
    if not user or login.password is None:
        raise UsageError(
            f"exporter {section.name}: {role} needs user=... in its dsn and a password, so that the login "
            "can be made"
        )
    return Login(str(user), group, login.password.read())


def _make(connection: Connection[tuple[object, ...]], login: Login) -> None:
    user = sql.Identifier(login.user)
    there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login.user]).fetchone()
    if there is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
    # Encoded here: the server's log may hold statements.
    encoded = connection.pgconn.encrypt_password(
        login.password.encode(), login.user.encode(), _ENCODING.encode()
    )
    connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(encoded.decode())))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(login.group), user))
