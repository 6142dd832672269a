-- Gauges and reservoirs with what they last reported. Series of a feed that may not be redistributed are
-- never delivered here.

CREATE TABLE series (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feed        text NOT NULL,
    variable    text NOT NULL CHECK (variable IN ('rain', 'level')),
    series      text NOT NULL,
    unit        text NOT NULL,
    elevation_m double precision,
    geom        geometry(Point, 4326),
    UNIQUE (feed, variable, series)
);
CREATE INDEX series_geom ON series USING gist (geom);

CREATE TABLE reading (
    feed     text NOT NULL,
    variable text NOT NULL,
    series   text NOT NULL,
    day      date NOT NULL,
    value    double precision NOT NULL,
    quality  text NOT NULL CHECK (quality IN ('good', 'rejected')),
    reason   text NOT NULL,
    known_at timestamptz NOT NULL,
    PRIMARY KEY (feed, variable, series, day),
    FOREIGN KEY (feed, variable, series) REFERENCES series (feed, variable, series) ON DELETE CASCADE
);
CREATE INDEX reading_day ON reading (day);

CREATE VIEW series_latest AS
SELECT series.id, series.feed, series.variable, series.series, series.unit, series.elevation_m,
       reading.day, reading.value, reading.quality, reading.reason, reading.known_at, series.geom
FROM series
LEFT JOIN LATERAL (
    SELECT day, value, quality, reason, known_at
    FROM reading
    WHERE reading.feed = series.feed AND reading.variable = series.variable AND reading.series = series.series
    ORDER BY day DESC
    LIMIT 1
) AS reading ON true;

COMMENT ON TABLE series IS 'Gauges and reservoirs, at their newest position.';
COMMENT ON COLUMN series.id IS 'Key without a meaning.';
COMMENT ON COLUMN series.feed IS 'The feed that its readings come from.';
COMMENT ON COLUMN series.variable IS 'rain or level.';
COMMENT ON COLUMN series.series IS 'Id of the gauge or reservoir within its feed.';
COMMENT ON COLUMN series.unit IS 'Unit of its readings.';
COMMENT ON COLUMN series.elevation_m IS 'Metres above sea level; null where unknown.';
COMMENT ON COLUMN series.geom IS 'Position; null where unknown.';

COMMENT ON TABLE reading IS 'Readings of the last days as known now; no row means no reading, never zero.';
COMMENT ON COLUMN reading.feed IS 'The feed that the reading came from.';
COMMENT ON COLUMN reading.variable IS 'rain or level.';
COMMENT ON COLUMN reading.series IS 'Id of the gauge or reservoir within its feed.';
COMMENT ON COLUMN reading.day IS 'Day of the region that the value belongs to.';
COMMENT ON COLUMN reading.value IS 'Total of the day (rain) or level, in the series'' unit.';
COMMENT ON COLUMN reading.quality IS 'good, or rejected by a check: then no layer uses it.';
COMMENT ON COLUMN reading.reason IS 'Why it was rejected; empty for a good one.';
COMMENT ON COLUMN reading.known_at IS 'When this value became known.';

COMMENT ON VIEW series_latest IS 'Each series with its newest reading, rejected ones included; id is a key for QGIS.';

GRANT SELECT ON series, reading, series_latest TO colluvium_writer, colluvium_reader, colluvium_field;
GRANT INSERT, UPDATE, DELETE ON series, reading TO colluvium_writer;
