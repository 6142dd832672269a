"""Who may do what: four group roles, and what a superuser runs once to set up a region's schema.

    colluvium_owner    owns the schema and migrates it
    colluvium_writer   publishes: adds, changes and removes rows, and can drop or alter nothing
    colluvium_reader   reads
    colluvium_field    reads, and adds rows to event_report

None can log in; people and programs log in as their own roles, which are members of one of these. What each
may do with a table stands in the migration that makes the table.
"""

from __future__ import annotations

from psycopg import sql

OWNER = "colluvium_owner"
WRITER = "colluvium_writer"
READER = "colluvium_reader"
FIELD = "colluvium_field"
ROLES = (OWNER, WRITER, READER, FIELD)

_SETUP = """\
-- Run once as a superuser in database {database}; repeating it changes nothing.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS postgis_raster;

DO $$
DECLARE
    wanted name;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{roles}] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;

GRANT CONNECT ON DATABASE {database} TO colluvium_owner, colluvium_writer, colluvium_reader, colluvium_field;
GRANT TEMPORARY ON DATABASE {database} TO colluvium_writer; -- tiles arrive in a temporary table

CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION colluvium_owner;
REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
GRANT USAGE ON SCHEMA {schema} TO colluvium_writer, colluvium_reader, colluvium_field;

-- Where anybody may create in schema public (PostgreSQL 14, or upgraded from it), functions could be made
-- there that go before PostGIS's own; unless something needs it: REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Then, for each person or program, a login of its own:
--   CREATE ROLE ... LOGIN PASSWORD '...' IN ROLE colluvium_writer;
"""


def setup_statements(schema: str, database: str) -> str:
    """Return the SQL that a superuser runs once, connected to `database`, for a region's schema."""
    return (
        sql.SQL(_SETUP)
        .format(
            database=sql.Identifier(database),
            schema=sql.Identifier(schema),
            roles=sql.SQL(", ").join(map(sql.Literal, ROLES)),
        )
        .as_string()
    )
