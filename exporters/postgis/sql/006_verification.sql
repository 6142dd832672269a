-- What happened on the ground, and what the map before it showed. Brought in line apart from layers, whole.

CREATE TABLE event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid         text NOT NULL UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('landslide', 'nothing_seen')),
    source      text NOT NULL CHECK (source IN ('detected', 'reported', 'added', 'imported')),
    day_from    date NOT NULL,
    day         date NOT NULL CHECK (day >= day_from),
    accuracy_m  double precision NOT NULL,
    area_m2     double precision,
    confidence  double precision,
    detector    text,
    scene       text,
    recorded_at timestamptz NOT NULL,
    geom        geometry(Point, 4326) NOT NULL,
    outline     geometry(MultiPolygon, 4326)
);
CREATE INDEX event_geom ON event USING gist (geom);
CREATE INDEX event_outline ON event USING gist (outline);
CREATE INDEX event_day ON event (day);

CREATE TABLE verification (
    id         integer PRIMARY KEY CHECK (id = 1),
    region     text NOT NULL,
    made_at    timestamptz NOT NULL,
    since      date,
    until      date,
    model      text NOT NULL,
    synthetic  boolean NOT NULL,
    hits       integer NOT NULL,
    misses     integer NOT NULL,
    undecided  integer NOT NULL,
    unknown    integer NOT NULL,
    hindsight  integer NOT NULL,
    looks      integer NOT NULL,
    hit_rate   double precision,
    hit_rate_low  double precision,
    hit_rate_high double precision,
    chance_hit_rate double precision,
    notes      text[] NOT NULL,
    record     jsonb NOT NULL
);

CREATE TABLE verified_event (
    uid            text PRIMARY KEY,
    verification   integer NOT NULL REFERENCES verification ON DELETE CASCADE,
    outcome        text NOT NULL CHECK (outcome IN ('hit', 'miss', 'undecided', 'unknown')),
    zone           text,
    layer_id       text,
    issued_at      timestamptz,
    hindsight      boolean NOT NULL,
    withdrawn      boolean NOT NULL,
    susceptibility double precision,
    class          text,
    rank           double precision,
    level          text CHECK (level IN ('green', 'yellow', 'orange', 'red')),
    why            text NOT NULL
);

CREATE TABLE verification_class (
    verification      integer NOT NULL REFERENCES verification ON DELETE CASCADE,
    class             text NOT NULL,
    landslides        integer NOT NULL,
    landslide_share   double precision,
    ground_share      double precision,
    frequency_ratio   double precision,
    looked_km2_days   double precision NOT NULL,
    landslides_looked integer NOT NULL,
    PRIMARY KEY (verification, class)
);

CREATE TABLE verification_level (
    verification      integer NOT NULL REFERENCES verification ON DELETE CASCADE,
    zone              text NOT NULL,
    name              text NOT NULL,
    level             text NOT NULL CHECK (level IN ('yellow', 'orange', 'red')),
    hits              integer NOT NULL,
    misses            integer NOT NULL,
    false_alarms      integer NOT NULL,
    rightly_quiet     integer NOT NULL,
    not_known         integer NOT NULL,
    not_looked        integer NOT NULL,
    detection_rate    double precision,
    false_alarm_ratio double precision,
    PRIMARY KEY (verification, zone, level)
);

-- What a record lacks was not held against a map yet: null, which is neither a hit nor a miss.
CREATE VIEW event_outcome AS
SELECT event.id, event.uid, event.kind, event.source, event.day_from, event.day, event.accuracy_m, event.area_m2,
       event.confidence, event.detector, event.scene, event.recorded_at, verified_event.outcome,
       CASE WHEN event.kind = 'nothing_seen' THEN 'nothing seen'
            ELSE coalesce(verified_event.outcome, 'not verified') END AS label,
       verified_event.zone, verified_event.layer_id, verified_event.issued_at, verified_event.hindsight, verified_event.withdrawn,
       verified_event.susceptibility, verified_event.class, verified_event.rank, verified_event.level,
       verified_event.why, event.geom
FROM event
LEFT JOIN verified_event ON verified_event.uid = event.uid;

CREATE VIEW event_area AS
SELECT event.id, event.uid, event.day_from, event.day, event.area_m2, event.confidence, event.detector, event.scene,
       verified_event.outcome, coalesce(verified_event.outcome, 'not verified') AS label, event.outline
FROM event
LEFT JOIN verified_event ON verified_event.uid = event.uid
WHERE event.outline IS NOT NULL;

CREATE VIEW verification_curve AS
SELECT verification.id AS verification, one->>'period' AS period, (one->>'landslides')::integer AS landslides,
       (one->>'auc')::double precision AS auc, (one->>'auc_low')::double precision AS auc_low,
       (one->>'auc_high')::double precision AS auc_high, one->'area_share' AS area_share,
       one->'landslide_share' AS landslide_share
FROM verification, jsonb_array_elements(verification.record->'curves') AS one;

CREATE VIEW verification_duration AS
SELECT verification.id AS verification, row_of.number::integer AS row, row_of.name AS event_class,
       column_of.number::integer AS "column", column_of.name AS level,
       (said->'days'->(row_of.number - 1)::integer->>(column_of.number - 1)::integer)::double precision AS days,
       said->'criteria'->(row_of.number - 1)::integer->>(column_of.number - 1)::integer AS criterion
FROM verification,
     LATERAL (SELECT nullif(verification.record->'duration', 'null') AS said) AS matrix,
     jsonb_array_elements_text(said->'event_classes') WITH ORDINALITY AS row_of (name, number),
     jsonb_array_elements_text(said->'levels') WITH ORDINALITY AS column_of (name, number);

CREATE VIEW verification_reliability AS
SELECT verification.id AS verification, (one->>'low')::double precision AS low,
       (one->>'high')::double precision AS high, (one->>'mean_index')::double precision AS mean_index,
       (one->>'cell_days')::double precision AS cell_days, (one->>'landslides')::integer AS landslides,
       (one->'landslides_per_km2_year'->>'value')::double precision AS landslides_per_km2_year
FROM verification, jsonb_array_elements(verification.record->'reliability') AS one;

COMMENT ON TABLE event IS 'The inventory: landslides, and places where somebody looked and saw none, as people stand behind them. Who decided, why, and notes are not published.';
COMMENT ON COLUMN event.id IS 'Key without a meaning.';
COMMENT ON COLUMN event.uid IS 'Key of the inventory.';
COMMENT ON COLUMN event.kind IS 'landslide, or nothing_seen where somebody looked and found none.';
COMMENT ON COLUMN event.source IS 'detected in a scene, reported from the field, added or imported.';
COMMENT ON COLUMN event.day_from IS 'It happened on this day or later.';
COMMENT ON COLUMN event.day IS 'It happened on this day or before.';
COMMENT ON COLUMN event.accuracy_m IS 'It lies within this distance of geom, metres.';
COMMENT ON COLUMN event.area_m2 IS 'Area of the outline, square metres; null where unknown.';
COMMENT ON COLUMN event.confidence IS 'Of the detector, 0 to 1; null where none looked.';
COMMENT ON COLUMN event.detector IS 'Name, version and digest of the detector; null where none looked.';
COMMENT ON COLUMN event.scene IS 'The scene that it was seen in; null where it was not seen in one.';
COMMENT ON COLUMN event.recorded_at IS 'When it entered the inventory.';
COMMENT ON COLUMN event.geom IS 'Its place.';
COMMENT ON COLUMN event.outline IS 'Its outline; null where unknown.';

COMMENT ON TABLE verification IS 'The newest verification of the maps on display, at most one row. No row: nothing was ever verified.';
COMMENT ON COLUMN verification.id IS 'Always 1.';
COMMENT ON COLUMN verification.region IS 'The region.';
COMMENT ON COLUMN verification.made_at IS 'When it was made.';
COMMENT ON COLUMN verification.since IS 'Events from this day on; null: all.';
COMMENT ON COLUMN verification.until IS 'Events until this day; null: all.';
COMMENT ON COLUMN verification.model IS 'Name, version and digest of the newest layer that was judged.';
COMMENT ON COLUMN verification.synthetic IS 'It rests on synthetic inputs and says nothing about a real place.';
COMMENT ON COLUMN verification.hits IS 'Landslides on ground that the map before them called high or very high.';
COMMENT ON COLUMN verification.misses IS 'Landslides on ground that it called low or moderate.';
COMMENT ON COLUMN verification.undecided IS 'Landslides whose day is not known well enough.';
COMMENT ON COLUMN verification.unknown IS 'Landslides before which no map, or no value, stood there.';
COMMENT ON COLUMN verification.hindsight IS 'Landslides that only a map made later could be held against: nobody had it before them.';
COMMENT ON COLUMN verification.looks IS 'Scenes and visits in which somebody looked.';
COMMENT ON COLUMN verification.hit_rate IS 'hits / (hits + misses); null where both are 0.';
COMMENT ON COLUMN verification.hit_rate_low IS 'Lower end of its 95 % interval (Wilson, 1927).';
COMMENT ON COLUMN verification.hit_rate_high IS 'Upper end of it.';
COMMENT ON COLUMN verification.chance_hit_rate IS 'Hit rate of outlines of the same sizes at random places of the same maps; null where unknown.';
COMMENT ON COLUMN verification.notes IS 'What a reader must know beside the figures.';
COMMENT ON COLUMN verification.record IS 'The whole record, as /verification answers it: curves, EDuMaP matrix, reliability.';

COMMENT ON TABLE verified_event IS 'What the map before each landslide showed, by the newest verification.';
COMMENT ON COLUMN verified_event.uid IS 'Key of the event.';
COMMENT ON COLUMN verified_event.verification IS 'The verification that says so.';
COMMENT ON COLUMN verified_event.outcome IS 'hit: high or very high stood there; miss: low or moderate; undecided: its day is not known well enough; unknown: no map or no value.';
COMMENT ON COLUMN verified_event.zone IS 'Id of its zone; null: in none.';
COMMENT ON COLUMN verified_event.layer_id IS 'The layer on display before it; it may be older than what this schema keeps.';
COMMENT ON COLUMN verified_event.issued_at IS 'When that layer was made.';
COMMENT ON COLUMN verified_event.hindsight IS 'That layer was made after the day: nobody had it before the landslide.';
COMMENT ON COLUMN verified_event.withdrawn IS 'That layer was on display on the day and was taken back later.';
COMMENT ON COLUMN verified_event.susceptibility IS 'Highest index within its outline or accuracy; null where unknown.';
COMMENT ON COLUMN verified_event.class IS 'Class of that index; null where unknown.';
COMMENT ON COLUMN verified_event.rank IS 'Share of the known ground that stood below it, 0 to 1.';
COMMENT ON COLUMN verified_event.level IS 'Warning level of its zone on that day; null where not known, which is not green.';
COMMENT ON COLUMN verified_event.why IS 'Why it is undecided or unknown; empty otherwise.';

COMMENT ON TABLE verification_class IS 'What fell into each class of the map.';
COMMENT ON COLUMN verification_class.verification IS 'The verification that says so.';
COMMENT ON COLUMN verification_class.class IS 'low, moderate, high or very_high.';
COMMENT ON COLUMN verification_class.landslides IS 'Landslides in this class.';
COMMENT ON COLUMN verification_class.landslide_share IS 'Share of all landslides with a class.';
COMMENT ON COLUMN verification_class.ground_share IS 'Share of the known ground of those days.';
COMMENT ON COLUMN verification_class.frequency_ratio IS 'The first share over the second (Lee and Talib, 2005): above 1, landslides are more frequent here than ground.';
COMMENT ON COLUMN verification_class.looked_km2_days IS 'Ground times days of this class that somebody looked at.';
COMMENT ON COLUMN verification_class.landslides_looked IS 'Landslides in that ground.';

COMMENT ON TABLE verification_level IS 'Warning levels of zones held against what happened; a level counts where it or a higher one stood.';
COMMENT ON COLUMN verification_level.verification IS 'The verification that says so.';
COMMENT ON COLUMN verification_level.zone IS 'Id of the zone; empty for all zones together.';
COMMENT ON COLUMN verification_level.name IS 'Name of the zone; empty for all zones together.';
COMMENT ON COLUMN verification_level.level IS 'yellow, orange or red, or a higher one.';
COMMENT ON COLUMN verification_level.hits IS 'Spans of days with landslides on which it stood.';
COMMENT ON COLUMN verification_level.misses IS 'Spans of days with landslides on which it did not stand.';
COMMENT ON COLUMN verification_level.false_alarms IS 'It stood, somebody looked, and nothing had happened.';
COMMENT ON COLUMN verification_level.rightly_quiet IS 'It did not stand, somebody looked, and nothing had happened.';
COMMENT ON COLUMN verification_level.not_known IS 'The level was not known.';
COMMENT ON COLUMN verification_level.not_looked IS 'It stood and nobody looked: no false alarm, and no proof either.';
COMMENT ON COLUMN verification_level.detection_rate IS 'hits / (hits + misses); null where both are 0.';
COMMENT ON COLUMN verification_level.false_alarm_ratio IS 'false_alarms / (false_alarms + hits), where somebody looked; null where both are 0.';

COMMENT ON VIEW event_outcome IS 'Each event as a point with what the map before it showed; outcome is null, and label says not verified, where it was not held against a map yet. id is a key for QGIS.';
COMMENT ON VIEW event_area IS 'Events with an outline, as areas. id is a key for QGIS.';

COMMENT ON VIEW verification_curve IS 'Success rate curves (Chung and Fabbri, 2003), of all days and by month: share of landslides within the most susceptible ground. auc is null where it cannot be told; 0.5 is chance.';
COMMENT ON VIEW verification_duration IS 'Days of zones by warning level and by how many landslides (EDuMaP, Calvello and Piciullo, 2016), with the criterion of each cell: TN, CA, MA, FA. No row where no level was known.';
COMMENT ON VIEW verification_reliability IS 'Ground of similar index, where somebody looked, and how often it slid; null where nobody looked.';

GRANT SELECT ON event, verification, verified_event, verification_class, verification_level, event_outcome, event_area,
    verification_curve, verification_duration, verification_reliability
    TO colluvium_writer, colluvium_reader, colluvium_field;
GRANT INSERT, UPDATE, DELETE ON event, verification, verified_event, verification_class, verification_level
    TO colluvium_writer;
