"""The schema of ledger.sqlite, as numbered migrations."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,            -- refresh, replay
        day TEXT,
        lead INTEGER NOT NULL DEFAULT 0,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        outcome TEXT,
        label TEXT,                    -- of the error, for the metric
        reason TEXT,
        layer_id TEXT,
        cells INTEGER,
        seconds TEXT                   -- JSON: stage -> seconds
    );
    CREATE INDEX run_by_day ON run (day, lead, id);
    CREATE TABLE layer (
        id TEXT PRIMARY KEY,
        day TEXT NOT NULL,
        lead INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        digest TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        withdrawn_at TEXT,
        record TEXT NOT NULL,          -- the Layer as JSON, without hotspot geometries
        basis TEXT NOT NULL,           -- JSON: digests of everything it was made from
        UNIQUE (day, lead, revision)
    );
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        act TEXT NOT NULL,
        subject TEXT NOT NULL,
        by_whom TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TRIGGER journal_keeps BEFORE UPDATE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TRIGGER journal_stays BEFORE DELETE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY,
        exporter TEXT NOT NULL,
        layer_id TEXT NOT NULL,
        act TEXT NOT NULL,             -- deliver, withdraw
        created_at TEXT NOT NULL,
        state TEXT NOT NULL,           -- pending, delivered, parked
        attempts INTEGER NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        retry_at TEXT,
        ended_at TEXT
    );
    CREATE INDEX outbox_by_state ON outbox (exporter, state, id);
    CREATE TABLE input_version (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,            -- settings, zones, mask, reservoirs, dem, bundle, stack
        digest TEXT NOT NULL,
        since TEXT NOT NULL,
        path TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE layer ADD COLUMN removed_at TEXT;   -- since when its files are no longer on the local disk
    CREATE TABLE proposal (
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,      -- of the report, given in the field
        exporter TEXT NOT NULL,        -- whose database it came from
        number INTEGER NOT NULL,       -- there
        reported_at TEXT NOT NULL,
        received_at TEXT NOT NULL,
        observed_on TEXT NOT NULL,
        lon REAL NOT NULL,             -- EPSG:4326
        lat REAL NOT NULL,
        kind TEXT NOT NULL,            -- landslide, nothing_seen
        accuracy_m REAL,
        note TEXT NOT NULL,
        reporter TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'proposed',     -- proposed, accepted, rejected
        decided_at TEXT,
        by_whom TEXT,
        reason TEXT
    );
    CREATE INDEX proposal_of_exporter ON proposal (exporter, number);
    CREATE TABLE bulletin (
        exporter TEXT PRIMARY KEY,
        digest TEXT NOT NULL,          -- of the last bulletin that it took
        sent_at TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE forecast_score (
        issued_on TEXT PRIMARY KEY,    -- the day on which they were measured
        made_at TEXT NOT NULL,
        record TEXT NOT NULL           -- JSON: service.forecast_scores.ForecastScores
    );
    """,
    """
    -- Each layer's record holds the levels that were decided with it; this only lays them out.
    CREATE VIEW zone_warning AS
    SELECT layer.id AS layer_id, layer.day, layer.lead, layer.revision, layer.issued_at, layer.withdrawn_at,
        json_extract(item.value, '$.zone') AS zone, json_extract(item.value, '$.level') AS level,
        item.value AS record
    FROM layer, json_each(layer.record, '$.warnings') AS item;
    CREATE TABLE drill (
        id INTEGER PRIMARY KEY,
        zone TEXT NOT NULL,
        level INTEGER NOT NULL,
        started_at TEXT NOT NULL,
        ends_at TEXT NOT NULL,         -- planned; earlier where it was ended by hand
        by_whom TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE cap_message (
        id INTEGER PRIMARY KEY,
        identifier TEXT NOT NULL UNIQUE,
        thread TEXT NOT NULL,          -- one for each warning of a zone, from its first level to its end
        zone TEXT NOT NULL,
        kind TEXT NOT NULL,            -- Alert, Update, Cancel
        status TEXT NOT NULL,          -- Draft, Test, Exercise, Actual
        sent_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        layer_id TEXT,                 -- NULL: of a drill
        record TEXT NOT NULL           -- JSON: exporters.cap.CapMessage
    );
    CREATE INDEX cap_message_by_thread ON cap_message (thread, id);
    """,
    """
    CREATE TABLE event (               -- the inventory: what people stand behind
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL,             -- of the report or the detection where it rests on one
        kind TEXT NOT NULL,            -- landslide, nothing_seen
        source TEXT NOT NULL,          -- detected, reported, added, imported
        day_from TEXT NOT NULL,
        day TEXT NOT NULL,
        recorded_at TEXT NOT NULL,
        retracted_at TEXT,             -- a decision was changed; the row stays
        record TEXT NOT NULL           -- JSON: exporters.event.Event
    );
    CREATE UNIQUE INDEX event_in_force ON event (uid) WHERE retracted_at IS NULL;
    CREATE INDEX event_by_day ON event (day);
    INSERT INTO event (uid, kind, source, day_from, day, recorded_at, record)
        SELECT uid, kind, 'reported', observed_on, observed_on, decided_at, json_object('uid', uid,
            'kind', kind, 'source', 'reported', 'day_from', observed_on, 'day', observed_on, 'lon', lon,
            'lat', lat, 'accuracy_m', coalesce(accuracy_m, 100.0), 'note', note, 'by', by_whom,
            'reason', reason, 'recorded_at', decided_at)
        FROM proposal WHERE state = 'accepted' ORDER BY id;
    CREATE TABLE scene (               -- one detector's look at one scene
        id INTEGER PRIMARY KEY,
        scene TEXT NOT NULL,
        path TEXT NOT NULL,
        sensed_on TEXT NOT NULL,
        after TEXT,                    -- day of the clear scene before, where somebody said
        detector TEXT NOT NULL,        -- JSON: service.detection.findings.DetectorReference
        detector_digest TEXT NOT NULL,
        threshold REAL NOT NULL,
        detected_at TEXT NOT NULL,
        seen TEXT NOT NULL,            -- GeoJSON, EPSG:4326
        seen_share REAL NOT NULL,
        substituted TEXT NOT NULL,     -- JSON: band -> rule
        folder TEXT NOT NULL,
        synthetic INTEGER NOT NULL,    -- a made-up scene, or a detector that learned from made-up landslides
        reviewed_at TEXT,              -- every outline decided, and somebody looked for what was missed
        by_whom TEXT,
        reason TEXT,
        UNIQUE (scene, detector_digest)
    );
    CREATE TABLE detection (
        id INTEGER PRIMARY KEY,
        scene_id INTEGER NOT NULL REFERENCES scene (id),
        uid TEXT NOT NULL UNIQUE,
        outline TEXT NOT NULL,         -- GeoJSON, EPSG:4326
        lon REAL NOT NULL,
        lat REAL NOT NULL,
        area_m2 REAL NOT NULL,
        confidence REAL NOT NULL,
        highest REAL NOT NULL,
        touches_unseen INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'proposed',     -- proposed, accepted, rejected
        decided_at TEXT,
        by_whom TEXT,
        reason TEXT
    );
    CREATE INDEX detection_of_scene ON detection (scene_id);
    CREATE TABLE scene_attempt (       -- scenes that could not be used, so that each is tried and told once
        path TEXT PRIMARY KEY,
        tried_at TEXT NOT NULL,
        stamp TEXT NOT NULL,           -- of the files: another one is tried again
        reason TEXT NOT NULL
    );
    CREATE TABLE verification (
        id INTEGER PRIMARY KEY,
        of TEXT NOT NULL,              -- display, challenger
        made_at TEXT NOT NULL,
        record TEXT NOT NULL           -- JSON: exporters.verification.Verification
    );
    CREATE TABLE promotion (           -- which bundle serves instead of the one that the settings name
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        path TEXT NOT NULL,            -- of the promoted bundle, kept in the data folder
        digest TEXT NOT NULL,
        instead_of TEXT NOT NULL,      -- bundle.path of the settings: another one there ends the promotion
        by_whom TEXT NOT NULL,
        reason TEXT NOT NULL,
        evidence TEXT NOT NULL         -- JSON: how champion and challenger were judged
    );
    """,
)
