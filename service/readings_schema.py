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
    """
    ALTER TABLE position ADD COLUMN lowest REAL;   -- operating range, stored unit
    ALTER TABLE position ADD COLUMN highest REAL;
    CREATE TABLE suspicion (
        reading INTEGER NOT NULL REFERENCES reading (row),  -- a row of quality suspect
        check_name TEXT NOT NULL,
        detail TEXT NOT NULL,
        extreme INTEGER NOT NULL,      -- 1: a true extreme may look like this
        noted_at TEXT NOT NULL,        -- when the check ran
        PRIMARY KEY (reading, check_name)
    ) WITHOUT ROWID;
    CREATE TABLE decision (
        reading INTEGER PRIMARY KEY REFERENCES reading (row),  -- the row by which a person accepts or rejects
        by_whom TEXT NOT NULL
    );
    CREATE TABLE open_suspect (        -- the first row of each doubted value that waits for a person now
        reading INTEGER PRIMARY KEY REFERENCES reading (row)
    );
    ALTER TABLE series ADD COLUMN first_day TEXT;  -- outermost days with a good reading, forecasts aside
    ALTER TABLE series ADD COLUMN last_day TEXT;
    UPDATE series SET
        first_day = (SELECT r.day FROM reading r WHERE r.series = number AND r.quality = 'good'
            AND r.issued_at IS NULL ORDER BY r.day LIMIT 1),
        last_day = (SELECT r.day FROM reading r WHERE r.series = number AND r.quality = 'good'
            AND r.issued_at IS NULL ORDER BY r.day DESC LIMIT 1);
    -- Each index holds one kind of row. A day of all series lies together, values and all; so does an issue
    -- of a forecast, whose members are never in the way of readings. Columns that an index fixes stand in it
    -- too: SQLite would look them up in the table. By day
    -- first, what comes in today is written side by side.
    DROP INDEX reading_of_day;
    CREATE INDEX good_of_day ON reading (day, series, known_at, row, value, quality, issued_at)
        WHERE quality = 'good' AND issued_at IS NULL;
    CREATE INDEX doubted_of_day ON reading (day, series, known_at, row)
        WHERE quality <> 'good' AND issued_at IS NULL;
    CREATE INDEX forecast_of_issue ON reading (issued_at, member, day, series, known_at, row, value, quality)
        WHERE issued_at IS NOT NULL;
    CREATE TABLE forecast_day (        -- which days and members an issue has, so that none need be counted
        variable TEXT NOT NULL,
        feed TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        member INTEGER NOT NULL,       -- -1: there is no ensemble
        day TEXT NOT NULL,
        known_at TEXT NOT NULL,        -- of the first reading
        PRIMARY KEY (variable, feed, issued_at, member, day)
    ) WITHOUT ROWID;
    CREATE INDEX forecast_of_feed ON forecast_day (variable, feed);
    INSERT INTO forecast_day SELECT s.variable, s.feed, r.issued_at, coalesce(r.member, -1), r.day,
        min(r.known_at) FROM reading r JOIN series s ON s.number = r.series
        WHERE r.issued_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5;
    CREATE TRIGGER suspicion_keeps BEFORE UPDATE ON suspicion
        BEGIN SELECT RAISE(ABORT, 'readings are never overwritten'); END;
    CREATE TRIGGER suspicion_stays BEFORE DELETE ON suspicion
        BEGIN SELECT RAISE(ABORT, 'readings are never removed'); END;
    CREATE TRIGGER decision_keeps BEFORE UPDATE ON decision
        BEGIN SELECT RAISE(ABORT, 'readings are never overwritten'); END;
    CREATE TRIGGER decision_stays BEFORE DELETE ON decision
        BEGIN SELECT RAISE(ABORT, 'readings are never removed'); END;
    CREATE TABLE raster_day (
        row INTEGER PRIMARY KEY,
        feed TEXT NOT NULL,
        variable TEXT NOT NULL,
        day TEXT NOT NULL,
        known_at TEXT NOT NULL,
        issued_at TEXT,                -- of a forecast
        member INTEGER,
        product_version TEXT NOT NULL,
        quality TEXT NOT NULL,
        reason TEXT NOT NULL,
        known_at_assumed INTEGER NOT NULL,
        digest TEXT NOT NULL,          -- of the values and their place
        path TEXT NOT NULL,            -- relative to the archive's folder
        source TEXT NOT NULL           -- the address or file that it was read from
    );
    CREATE INDEX raster_of_day ON raster_day (feed, day, known_at, row);
    CREATE TRIGGER raster_day_keeps BEFORE UPDATE ON raster_day
        BEGIN SELECT RAISE(ABORT, 'readings are never overwritten'); END;
    CREATE TRIGGER raster_day_stays BEFORE DELETE ON raster_day
        BEGIN SELECT RAISE(ABORT, 'readings are never removed'); END;
    CREATE TABLE judged (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        row INTEGER NOT NULL           -- the checks have seen all readings up to this row
    );
    """,
    """
    -- Rows up to this one were used before there were checks.
    ALTER TABLE judged ADD COLUMN unchecked INTEGER NOT NULL DEFAULT 0;
    INSERT OR IGNORE INTO judged (id, row, unchecked) SELECT 1, 0, coalesce(max(row), 0) FROM reading;
    """,
)
