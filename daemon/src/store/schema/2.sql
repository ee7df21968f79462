-- Steps that are made while a run goes on: instances, iterations, inner steps. Those of the plan
-- itself have none of this.
ALTER TABLE steps ADD COLUMN template INTEGER;
ALTER TABLE steps ADD COLUMN parent INTEGER;
ALTER TABLE steps ADD COLUMN ordinal INTEGER;
ALTER TABLE steps ADD COLUMN path TEXT;
CREATE INDEX steps_by_path ON steps (run_id, path) WHERE path IS NOT NULL;

-- Why a step failed or was skipped without an attempt that says so.
ALTER TABLE steps ADD COLUMN reason TEXT;
-- Of steps without attempts: containers and mocks.
ALTER TABLE steps ADD COLUMN start_us INTEGER;
ALTER TABLE steps ADD COLUMN end_us INTEGER;

-- What was found for a step before it started: `EntryRecord`.
CREATE TABLE entries (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (run_id, step)
) WITHOUT ROWID;

ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
-- 1: waits for others of its concurrency key.
ALTER TABLE runs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN concurrency TEXT;
ALTER TABLE runs ADD COLUMN timed_out INTEGER NOT NULL DEFAULT 0;
-- 1: some steps were mocked or patched.
ALTER TABLE runs ADD COLUMN substituted INTEGER NOT NULL DEFAULT 0;

-- Runs that have begun and not ended, by what they share a limit by.
CREATE INDEX runs_by_concurrency ON runs (pipeline, concurrency, held, run_id)
    WHERE state < 4 AND concurrency IS NOT NULL;
