-- What people saw in the field, for the inventory. Rows come from QField or QGIS and are never changed.

CREATE SEQUENCE event_report_id AS bigint;

CREATE TABLE event_report (
    uid         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    id          bigint NOT NULL UNIQUE,
    reported_at timestamptz NOT NULL,
    reporter    text NOT NULL,
    observed_on date NOT NULL DEFAULT current_date,
    kind        text NOT NULL CHECK (kind IN ('landslide', 'nothing_seen')),
    accuracy_m  double precision CHECK (accuracy_m > 0 AND accuracy_m <= 100000),
    note        text CHECK (length(note) <= 4000),
    geom        geometry(Point, 4326) NOT NULL,
    CONSTRAINT event_report_seen_before_reported
        CHECK (observed_on BETWEEN date '1900-01-01' AND (reported_at AT TIME ZONE 'UTC')::date + 1),
    CONSTRAINT event_report_on_earth
        CHECK (NOT ST_IsEmpty(geom) AND ST_X(geom) BETWEEN -180 AND 180 AND ST_Y(geom) BETWEEN -90 AND 90)
);
ALTER SEQUENCE event_report_id OWNED BY event_report.id;
CREATE INDEX event_report_geom ON event_report USING gist (geom);
CREATE INDEX event_report_observed_on ON event_report (observed_on);

-- Whatever the client sends, number, time and reporter are the server's. The lock is held until commit;
-- the service takes it alone before it reads, so that it never passes over a number not yet committed.
-- It acts as its owner, so it must find nothing that its caller made: no temporary sequence of the same name.
CREATE FUNCTION stamp_event_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('colluvium event_report ' || TG_TABLE_SCHEMA, 0));
    NEW.id := nextval(format('%I.event_report_id', TG_TABLE_SCHEMA)::regclass);
    NEW.reported_at := clock_timestamp();
    NEW.reporter := session_user;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION stamp_event_report() FROM PUBLIC;
CREATE TRIGGER stamp BEFORE INSERT ON event_report FOR EACH ROW EXECUTE FUNCTION stamp_event_report();

COMMENT ON TABLE event_report IS 'Reports from the field, each a proposal for the inventory; visited and nothing seen counts too. Rows can be added, not changed.';
COMMENT ON COLUMN event_report.uid IS 'Key that a device without a network can give.';
COMMENT ON COLUMN event_report.id IS 'Number in the order of arrival, given by the server.';
COMMENT ON COLUMN event_report.reported_at IS 'When it arrived, by the server''s clock.';
COMMENT ON COLUMN event_report.reporter IS 'Login that sent it.';
COMMENT ON COLUMN event_report.observed_on IS 'Day of the observation.';
COMMENT ON COLUMN event_report.kind IS 'landslide, or nothing_seen where somebody looked and found none.';
COMMENT ON COLUMN event_report.accuracy_m IS 'Accuracy of the position, metres; null where unknown.';
COMMENT ON COLUMN event_report.note IS 'What was seen, in words.';
COMMENT ON COLUMN event_report.geom IS 'Where it was seen.';
COMMENT ON FUNCTION stamp_event_report() IS 'Gives a report its number, time and reporter.';

-- Not to colluvium_reader, which may be anybody: a report names who sent it.
GRANT SELECT ON event_report TO colluvium_writer, colluvium_field;
GRANT INSERT ON event_report TO colluvium_field;
