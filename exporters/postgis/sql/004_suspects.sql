-- A reading that a check doubts, and on which no person has decided, is neither good nor rejected.

ALTER TABLE reading DROP CONSTRAINT reading_quality_check;
ALTER TABLE reading ADD CONSTRAINT reading_quality_check CHECK (quality IN ('good', 'suspect', 'rejected'));

COMMENT ON COLUMN reading.quality IS 'good; suspect: a check doubts it; rejected. Layers rest on good ones, or say so.';
COMMENT ON COLUMN reading.reason IS 'Why it is doubted or was rejected, or why a person accepted it; else empty.';
COMMENT ON VIEW series_latest IS 'Each series with its newest reading, good or not; id is a key for QGIS.';
