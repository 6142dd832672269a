-- Layers, their rasters, class areas, warnings and hotspots.
--
-- Runs with the region's schema first in search_path and the grid's SRID in colluvium.srid. What depends on
-- the rest of the grid (raster constraints, overviews) is registered after the last file.

CREATE TABLE grid (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    srid        integer NOT NULL,
    crs         text NOT NULL,
    cell_size_m double precision NOT NULL,
    origin_x    double precision NOT NULL,
    origin_y    double precision NOT NULL,
    width       integer NOT NULL,
    height      integer NOT NULL
);

CREATE TABLE layer (
    id            text PRIMARY KEY,
    region        text NOT NULL,
    day           date NOT NULL,
    lead          integer NOT NULL CHECK (lead >= 0),
    revision      integer NOT NULL CHECK (revision >= 1),
    digest        text NOT NULL,
    status        text NOT NULL CHECK (status IN ('complete', 'provisional', 'degraded', 'withdrawn')),
    unconfirmed   boolean NOT NULL,
    data_until    date NOT NULL,
    issued_at     timestamptz NOT NULL,
    valid_from    timestamptz NOT NULL,
    valid_to      timestamptz NOT NULL,
    coverage      double precision NOT NULL,
    cells         bigint NOT NULL,
    model_name    text NOT NULL,
    model_version text NOT NULL,
    model_digest  text NOT NULL,
    may_warn      boolean NOT NULL,
    breaks        double precision[] NOT NULL CHECK (cardinality(breaks) = 3),
    notes         text[] NOT NULL,
    synthetic     boolean NOT NULL,
    attribution   text NOT NULL,
    zones         text,
    latest        boolean NOT NULL DEFAULT false CHECK (NOT latest OR (lead = 0 AND status <> 'withdrawn')),
    in_history    boolean NOT NULL DEFAULT false,
    delivered_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (day, lead, revision)
);
CREATE UNIQUE INDEX layer_latest ON layer (latest) WHERE latest;
CREATE INDEX layer_valid_from ON layer (valid_from);

-- QGIS leaves overviews aside as soon as a filter applies, so the newest map has a table of its own.
CREATE TABLE latest_susceptibility (
    rid      integer PRIMARY KEY,
    layer_id text NOT NULL REFERENCES layer,
    rast     raster NOT NULL
);
CREATE INDEX latest_susceptibility_rast ON latest_susceptibility USING gist (ST_ConvexHull(rast));

-- A plain table with a single-column key: QGIS 3.22 loads neither a partitioned parent nor a view.
CREATE TABLE susceptibility (
    rid        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_id   text NOT NULL REFERENCES layer,
    day        date NOT NULL,
    valid_from timestamptz NOT NULL,
    lead       integer NOT NULL CHECK (lead = 0),
    tile       integer NOT NULL,
    rast       raster NOT NULL,
    UNIQUE (layer_id, tile)
);
CREATE INDEX susceptibility_rast ON susceptibility USING gist (ST_ConvexHull(rast));
CREATE INDEX susceptibility_day ON susceptibility (day);
CREATE INDEX susceptibility_valid_from ON susceptibility (valid_from);

CREATE TABLE zone (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version text NOT NULL,
    zone    text NOT NULL,
    name    text NOT NULL,
    UNIQUE (version, zone)
);
SELECT AddGeometryColumn(current_schema()::varchar, 'zone', 'geom', current_setting('colluvium.srid')::integer, 'MULTIPOLYGON', 2);
CREATE INDEX zone_geom ON zone USING gist (geom);

CREATE TABLE zone_class_area (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_id        text NOT NULL REFERENCES layer,
    day             date NOT NULL,
    lead            integer NOT NULL,
    zone            text NOT NULL,
    name            text NOT NULL,
    class           text NOT NULL CHECK (class IN ('low', 'moderate', 'high', 'very_high')),
    area_m2         double precision NOT NULL,
    ratio           double precision,
    unknown_m2      double precision NOT NULL,
    change_1d_m2    double precision,
    change_7d_m2    double precision,
    change_1d_ratio double precision,
    change_7d_ratio double precision,
    UNIQUE (day, lead, zone, class)
);
CREATE INDEX zone_class_area_layer ON zone_class_area (layer_id);
CREATE INDEX zone_class_area_zone ON zone_class_area (zone, class, day);

CREATE TABLE warning (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    zone       text NOT NULL,
    day        date NOT NULL,
    lead       integer NOT NULL CHECK (lead >= 0),
    level      integer NOT NULL CHECK (level >= 0),
    decided_at timestamptz NOT NULL,
    rule       text NOT NULL,
    numbers    jsonb NOT NULL,
    UNIQUE (day, lead, zone)
);

CREATE TABLE hotspot (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_id               text NOT NULL REFERENCES layer,
    day                    date NOT NULL,
    lead                   integer NOT NULL,
    hotspot                integer NOT NULL,
    zone                   text,
    area_m2                double precision NOT NULL,
    mean_susceptibility    double precision NOT NULL,
    maximum_susceptibility double precision NOT NULL,
    growth_m2              double precision,
    first_seen             date,
    UNIQUE (layer_id, hotspot)
);
SELECT AddGeometryColumn(current_schema()::varchar, 'hotspot', 'geom', current_setting('colluvium.srid')::integer, 'MULTIPOLYGON', 2);
CREATE INDEX hotspot_geom ON hotspot USING gist (geom);
CREATE INDEX hotspot_day ON hotspot (day);

CREATE VIEW latest_layer AS
SELECT id, region, day, lead, revision, digest, status, unconfirmed, data_until, issued_at, valid_from,
       valid_to, coverage, cells, model_name, model_version, model_digest, may_warn, breaks, notes,
       synthetic, attribution, zones, delivered_at
FROM layer
WHERE latest;

CREATE VIEW latest_hotspot AS
SELECT hotspot.id, hotspot.layer_id, hotspot.day, hotspot.hotspot, hotspot.zone, hotspot.area_m2,
       hotspot.mean_susceptibility, hotspot.maximum_susceptibility, hotspot.growth_m2, hotspot.first_seen,
       hotspot.geom
FROM hotspot
JOIN layer ON layer.id = hotspot.layer_id
WHERE layer.latest;

CREATE VIEW latest_zone_class_area AS
SELECT area.id, area.layer_id, area.day, area.zone, area.name, area.class, area.area_m2, area.ratio,
       area.unknown_m2, area.change_1d_m2, area.change_7d_m2, area.change_1d_ratio, area.change_7d_ratio,
       zone.geom
FROM zone_class_area AS area
JOIN layer ON layer.id = area.layer_id
LEFT JOIN zone ON zone.version = layer.zones AND zone.zone = area.zone
WHERE layer.latest;

COMMENT ON TABLE grid IS 'The cells that every raster of this schema lies on; one row.';
COMMENT ON COLUMN grid.one IS 'Always true: there is one grid.';
COMMENT ON COLUMN grid.srid IS 'SRID of the projected CRS.';
COMMENT ON COLUMN grid.crs IS 'The CRS as the region''s settings name it.';
COMMENT ON COLUMN grid.cell_size_m IS 'Edge of a square cell, metres.';
COMMENT ON COLUMN grid.origin_x IS 'Easting of the upper left corner.';
COMMENT ON COLUMN grid.origin_y IS 'Northing of the upper left corner.';
COMMENT ON COLUMN grid.width IS 'Cells from west to east.';
COMMENT ON COLUMN grid.height IS 'Cells from north to south.';

COMMENT ON TABLE layer IS 'Every layer that was delivered, withdrawn ones and old revisions included.';
COMMENT ON COLUMN layer.id IS 'region-day-lLEAD-rREVISION.';
COMMENT ON COLUMN layer.region IS 'Id of the region.';
COMMENT ON COLUMN layer.day IS 'Day the layer is valid for, in the region''s time zone.';
COMMENT ON COLUMN layer.lead IS 'Days ahead of its issue: 0 is a nowcast, 1 and more a forecast.';
COMMENT ON COLUMN layer.revision IS 'Counts up when a day is made again; the newest one stands.';
COMMENT ON COLUMN layer.digest IS 'What the layer was made from, as one digest.';
COMMENT ON COLUMN layer.status IS 'complete, provisional (partly forecast), degraded (thin data) or withdrawn (do not use).';
COMMENT ON COLUMN layer.unconfirmed IS 'Some reservoir levels were carried past their last reading.';
COMMENT ON COLUMN layer.data_until IS 'Last day with readings behind the layer.';
COMMENT ON COLUMN layer.issued_at IS 'When the layer was made.';
COMMENT ON COLUMN layer.valid_from IS 'Begin of the day, as a moment.';
COMMENT ON COLUMN layer.valid_to IS 'End of the day, as a moment.';
COMMENT ON COLUMN layer.coverage IS 'Share of forcing cells and window days that were observed or filled, 0 to 1; the least over variables.';
COMMENT ON COLUMN layer.cells IS 'Cells with a known class.';
COMMENT ON COLUMN layer.model_name IS 'Name of the model bundle.';
COMMENT ON COLUMN layer.model_version IS 'Version of the model bundle.';
COMMENT ON COLUMN layer.model_digest IS 'Digest of the model bundle.';
COMMENT ON COLUMN layer.may_warn IS 'Whether the model passed the tests that let it raise warnings.';
COMMENT ON COLUMN layer.breaks IS 'Susceptibility at which moderate, high and very high begin.';
COMMENT ON COLUMN layer.notes IS 'What a reader of the layer should know.';
COMMENT ON COLUMN layer.synthetic IS 'Made from synthetic inputs: says nothing about a real place.';
COMMENT ON COLUMN layer.attribution IS 'Whom to name when the layer is shown.';
COMMENT ON COLUMN layer.zones IS 'Version of the zones that the areas were counted in; see table zone.';
COMMENT ON COLUMN layer.latest IS 'True for the one layer that latest_susceptibility holds.';
COMMENT ON COLUMN layer.in_history IS 'Whether table susceptibility holds its cells.';
COMMENT ON COLUMN layer.delivered_at IS 'When the layer came into this database.';

COMMENT ON TABLE latest_susceptibility IS
    'The newest nowcast in tiles of 256 x 256 cells: band 1 susceptibility x 250 (255 unknown), an index and no probability; band 2 class (1 low, 2 moderate, 3 high, 4 very high, 0 unknown). Edge tiles are padded with unknown cells. Its overviews are o_2_latest_susceptibility and so on.';
COMMENT ON COLUMN latest_susceptibility.rid IS 'Number of the tile, row by row from the upper left, from 1.';
COMMENT ON COLUMN latest_susceptibility.layer_id IS 'The layer; the same in every row.';
COMMENT ON COLUMN latest_susceptibility.rast IS 'The tile.';

COMMENT ON TABLE susceptibility IS
    'The nowcasts of the last days, tiled as latest_susceptibility, one layer a day. Older days are on disk as GeoTIFFs.';
COMMENT ON COLUMN susceptibility.rid IS 'Key without a meaning.';
COMMENT ON COLUMN susceptibility.layer_id IS 'The layer: the newest revision of its day.';
COMMENT ON COLUMN susceptibility.day IS 'Day the layer is valid for.';
COMMENT ON COLUMN susceptibility.valid_from IS 'Begin of the day, as a moment.';
COMMENT ON COLUMN susceptibility.lead IS 'Always 0: forecasts are not in this table, QGIS would draw them over the nowcast of the day.';
COMMENT ON COLUMN susceptibility.tile IS 'Number of the tile, as rid in latest_susceptibility.';
COMMENT ON COLUMN susceptibility.rast IS 'The tile.';

COMMENT ON TABLE zone IS 'Zones, one row for each version of a zone.';
COMMENT ON COLUMN zone.id IS 'Key without a meaning.';
COMMENT ON COLUMN zone.version IS 'Digest of all zones of that version; layer.zones says which one a layer was counted in.';
COMMENT ON COLUMN zone.zone IS 'Id of the zone.';
COMMENT ON COLUMN zone.name IS 'Name of the zone.';
COMMENT ON COLUMN zone.geom IS 'Outline of the zone.';

COMMENT ON TABLE zone_class_area IS 'Area of each class in each zone, for the newest revision of each day and lead.';
COMMENT ON COLUMN zone_class_area.id IS 'Key without a meaning.';
COMMENT ON COLUMN zone_class_area.layer_id IS 'The layer that was counted.';
COMMENT ON COLUMN zone_class_area.day IS 'Day the layer is valid for.';
COMMENT ON COLUMN zone_class_area.lead IS 'Days ahead of its issue: 0 is a nowcast.';
COMMENT ON COLUMN zone_class_area.zone IS 'Id of the zone; empty for the whole region.';
COMMENT ON COLUMN zone_class_area.name IS 'Name of the zone.';
COMMENT ON COLUMN zone_class_area.class IS 'low, moderate, high or very_high.';
COMMENT ON COLUMN zone_class_area.area_m2 IS 'Area of the class, square metres.';
COMMENT ON COLUMN zone_class_area.ratio IS 'Share of the zone''s known cells; null where none is known.';
COMMENT ON COLUMN zone_class_area.unknown_m2 IS 'Area of the zone without a known class, square metres.';
COMMENT ON COLUMN zone_class_area.change_1d_m2 IS 'Growth since the day before, on cells known on both days; null where they cannot be compared.';
COMMENT ON COLUMN zone_class_area.change_7d_m2 IS 'Growth over seven days, on cells known on both days; null where they cannot be compared.';
COMMENT ON COLUMN zone_class_area.change_1d_ratio IS 'Growth since the day before as a share of the class''s area then; null where unknown.';
COMMENT ON COLUMN zone_class_area.change_7d_ratio IS 'Growth over seven days as a share of the class''s area then; null where unknown.';

COMMENT ON TABLE warning IS 'Warning levels of zones as the service decided them. Empty until the service decides warnings; no row means unknown, not safe.';
COMMENT ON COLUMN warning.id IS 'Key without a meaning.';
COMMENT ON COLUMN warning.zone IS 'Id of the zone.';
COMMENT ON COLUMN warning.day IS 'Day the warning is valid for.';
COMMENT ON COLUMN warning.lead IS 'Days ahead of its issue.';
COMMENT ON COLUMN warning.level IS 'Level, 0 for none.';
COMMENT ON COLUMN warning.decided_at IS 'When it was decided.';
COMMENT ON COLUMN warning.rule IS 'The rule that decided.';
COMMENT ON COLUMN warning.numbers IS 'The numbers that the rule went by.';

COMMENT ON TABLE hotspot IS 'Contiguous patches of high and very high cells, for the newest revision of each day and lead.';
COMMENT ON COLUMN hotspot.id IS 'Key without a meaning.';
COMMENT ON COLUMN hotspot.layer_id IS 'The layer that it was found in.';
COMMENT ON COLUMN hotspot.day IS 'Day the layer is valid for.';
COMMENT ON COLUMN hotspot.lead IS 'Days ahead of its issue: 0 is a nowcast.';
COMMENT ON COLUMN hotspot.hotspot IS 'Number within its layer, the largest first.';
COMMENT ON COLUMN hotspot.zone IS 'Id of the zone that holds most of it; null outside all zones.';
COMMENT ON COLUMN hotspot.area_m2 IS 'Area, square metres.';
COMMENT ON COLUMN hotspot.mean_susceptibility IS 'Mean susceptibility of its cells, an index from 0 to 1.';
COMMENT ON COLUMN hotspot.maximum_susceptibility IS 'Greatest susceptibility of its cells.';
COMMENT ON COLUMN hotspot.growth_m2 IS 'Growth since the layer before, on cells known to both; null without one.';
COMMENT ON COLUMN hotspot.first_seen IS 'Day since which a hotspot stands there without a break; null where unknown.';
COMMENT ON COLUMN hotspot.geom IS 'Outline of its cells.';

COMMENT ON VIEW latest_layer IS 'The layer that latest_susceptibility holds; no row after the last one was withdrawn.';
COMMENT ON VIEW latest_hotspot IS 'Hotspots of the newest nowcast; id is a key for QGIS.';
COMMENT ON VIEW latest_zone_class_area IS 'Class areas of the newest nowcast with the zones'' outlines; id is a key for QGIS.';

GRANT SELECT
    ON grid, layer, latest_susceptibility, susceptibility, zone, zone_class_area, warning, hotspot,
       latest_layer, latest_hotspot, latest_zone_class_area
    TO colluvium_writer, colluvium_reader, colluvium_field;
GRANT INSERT ON layer, zone TO colluvium_writer;
GRANT UPDATE (status, latest, in_history) ON layer TO colluvium_writer;
GRANT INSERT, DELETE ON latest_susceptibility, susceptibility, zone_class_area, hotspot TO colluvium_writer;
GRANT INSERT, UPDATE, DELETE ON warning TO colluvium_writer;
