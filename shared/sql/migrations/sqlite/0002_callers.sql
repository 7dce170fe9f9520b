-- Who called. Invocations from before have none, and those of a caller of whom nothing is known.
ALTER TABLE calls ADD COLUMN caller TEXT; -- JSON
