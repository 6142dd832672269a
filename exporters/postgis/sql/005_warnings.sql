-- Warning levels belong to the layer that they were decided with, and may be unknown. The table was empty.

ALTER TABLE warning
    ADD COLUMN layer_id        text NOT NULL REFERENCES layer,
    ADD COLUMN name            text NOT NULL,
    ADD COLUMN previous        integer CHECK (previous BETWEEN 0 AND 3),
    ADD COLUMN reference_share double precision,
    ADD COLUMN calm_days       integer NOT NULL,
    ADD COLUMN unconfirmed     boolean NOT NULL,
    ALTER COLUMN level DROP NOT NULL,
    ADD CONSTRAINT warning_level_at_most_3 CHECK (level <= 3);
CREATE INDEX warning_layer ON warning (layer_id);
CREATE INDEX warning_zone ON warning (zone, day);

-- Every zone of the newest map has a row: one without a level is in it, as unknown. A region without zones has
-- one for the whole of it, without an outline.
CREATE VIEW latest_warning AS
SELECT coalesce(zone.id, 0) AS id, layer.id AS layer_id, layer.day, layer.status, layer.may_warn, layer.synthetic,
       coalesce(zone.zone, '') AS zone, coalesce(zone.name, warning.name, 'whole region') AS name, warning.level,
       coalesce((ARRAY['green', 'yellow', 'orange', 'red'])[warning.level + 1], 'unknown') AS label,
       warning.previous, warning.rule, warning.numbers, warning.reference_share, warning.calm_days,
       warning.unconfirmed, warning.decided_at, zone.geom
FROM layer
LEFT JOIN zone ON zone.version = layer.zones
LEFT JOIN warning ON warning.layer_id = layer.id AND warning.zone = coalesce(zone.zone, '')
WHERE layer.latest;

COMMENT ON TABLE warning IS 'Warning levels of zones as the service decided them with a layer; rows of withdrawn or replaced layers are gone. No row, or a null level, means unknown, not safe.';
COMMENT ON COLUMN warning.zone IS 'Id of the zone; empty for the whole region.';
COMMENT ON COLUMN warning.lead IS 'Days ahead of its issue: 0 is a nowcast, 1 and more a forecast.';
COMMENT ON COLUMN warning.level IS '0 green, 1 yellow, 2 orange, 3 red; null: not known, which is not green.';
COMMENT ON COLUMN warning.rule IS 'The rule that decided, in words, with its thresholds.';
COMMENT ON COLUMN warning.numbers IS 'The numbers that the rule went by; an unknown one is null.';
COMMENT ON COLUMN warning.layer_id IS 'The layer that it was decided with.';
COMMENT ON COLUMN warning.name IS 'Name of the zone.';
COMMENT ON COLUMN warning.previous IS 'The level before, of the nowcast that it was decided after; null where unknown.';
COMMENT ON COLUMN warning.reference_share IS 'Share of high and very high before the rise that raised the level; null without one.';
COMMENT ON COLUMN warning.calm_days IS 'Days in a row that spoke for a lower level.';
COMMENT ON COLUMN warning.unconfirmed IS 'It rests on readings that a check doubts.';

COMMENT ON VIEW latest_warning IS 'Each zone of the newest nowcast with its warning level and outline; label is unknown, never green, where there is none. A region without zones has one row, of zone '''' and without an outline. id is a key for QGIS.';

GRANT SELECT ON latest_warning TO colluvium_writer, colluvium_reader, colluvium_field;
