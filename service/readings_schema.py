"""The schema of readings.sqlite, by numbered migrations: one is never changed once it was released."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE series (
        number INTEGER PRIMARY KEY,
        feed TEXT NOT NULL,
        variable TEXT NOT NULL,
        id TEXT NOT NULL,
        first_known_at TEXT NOT NULL,  -- of its first position or reading, whichever is earlier
        UNIQUE (variable, feed, id)
    );
    CREATE TABLE position (
        row INTEGER PRIMARY KEY,
        series INTEGER NOT NULL REFERENCES series (number),
        known_at TEXT NOT NULL,
        lon REAL,                      -- EPSG:4326
        lat REAL,
        elevation_m REAL
    );
    CREATE INDEX position_of_series ON position (series, known_at, row);
    CREATE TABLE reading (
        row INTEGER PRIMARY KEY,
        series INTEGER NOT NULL REFERENCES series (number),
        day TEXT NOT NULL,             -- in the region's time zone
        value REAL NOT NULL,           -- mm, or m above sea level
        known_at TEXT NOT NULL,
        issued_at TEXT,                -- of a forecast
        member INTEGER,                -- of an ensemble
        product_version TEXT NOT NULL,
        quality TEXT NOT NULL,
        reason TEXT NOT NULL,
        known_at_assumed INTEGER NOT NULL
    );
    CREATE INDEX reading_of_day ON reading (series, day, known_at, row);
    CREATE TRIGGER reading_keeps BEFORE UPDATE ON reading
        BEGIN SELECT RAISE(ABORT, 'readings are never overwritten'); END;
    CREATE TRIGGER reading_stays BEFORE DELETE ON reading
        BEGIN SELECT RAISE(ABORT, 'readings are never removed'); END;
    CREATE TABLE rejection (
        row INTEGER PRIMARY KEY,
        feed TEXT NOT NULL,
        file TEXT NOT NULL,
        line INTEGER NOT NULL,         -- row of the file when first seen
        raw TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        series TEXT NOT NULL,          -- as written in the file
        day TEXT NOT NULL,             -- as written in the file
        seen_at TEXT NOT NULL,
        UNIQUE (feed, file, reason, series, day, raw)
    );
    CREATE TABLE attempt (
        id INTEGER PRIMARY KEY,
        feed TEXT NOT NULL,
        at TEXT NOT NULL,
        outcome TEXT NOT NULL          -- ok, partial, failed
    );
    CREATE INDEX attempt_of_feed ON attempt (feed, outcome, at);
    CREATE TABLE problem (
        attempt INTEGER NOT NULL REFERENCES attempt (id),
        reason TEXT NOT NULL,
        message TEXT NOT NULL,
        is_error INTEGER NOT NULL
    );
    CREATE INDEX problem_of_attempt ON problem (attempt);
    CREATE TABLE tally (
        feed TEXT NOT NULL,
        quality TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (feed, quality)
    );
    """,
)
