-- The distributed trace that a call belongs to.
ALTER TABLE calls ADD COLUMN trace TEXT; -- JSON
