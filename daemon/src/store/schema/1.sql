-- Ids of runs are the 16 bytes of a UUIDv7, so that their order is that of creation; times are
-- microseconds since the epoch; states and kinds are the numbers of the API.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- What listings read and decisions change.
CREATE TABLE runs (
    run_id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    state INTEGER NOT NULL,
    -- 0 no, 1 politely, 2 at once.
    cancel INTEGER NOT NULL DEFAULT 0,
    -- Of the last change of this row; steps have their own.
    sequence INTEGER NOT NULL,
    create_us INTEGER NOT NULL,
    start_us INTEGER,
    end_us INTEGER,
    reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX runs_by_state ON runs (state, run_id);
CREATE INDEX runs_by_pipeline ON runs (pipeline, state, run_id);
CREATE INDEX runs_by_name ON runs (name, run_id);
CREATE INDEX runs_live ON runs (run_id) WHERE state < 4;

-- What never changes: `RunRecord` and `windlass.common.v1.Plan`.
CREATE TABLE run_records (
    id INTEGER PRIMARY KEY,
    run_id BLOB NOT NULL UNIQUE,
    record BLOB NOT NULL,
    plan BLOB NOT NULL
);

CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY (key, value, run_id)
) WITHOUT ROWID;

CREATE TABLE steps (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    not_before_us INTEGER,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (run_id, step)
) WITHOUT ROWID;

CREATE TABLE attempts (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state INTEGER NOT NULL,
    lease_id BLOB NOT NULL,
    worker TEXT NOT NULL,
    lease_us INTEGER NOT NULL,
    start_us INTEGER,
    -- `AttemptRecord`, once it has ended.
    record BLOB,
    -- `CallList`, where there were any.
    calls BLOB,
    PRIMARY KEY (run_id, step, attempt)
) WITHOUT ROWID;

CREATE TABLE outputs (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    codec TEXT NOT NULL,
    PRIMARY KEY (run_id, step, attempt, position)
) WITHOUT ROWID;
CREATE INDEX outputs_by_digest ON outputs (digest);

CREATE TABLE artifacts (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    path TEXT NOT NULL,
    kind INTEGER NOT NULL,
    -- Null for what was deleted.
    digest BLOB,
    size INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, attempt, path)
) WITHOUT ROWID;
CREATE INDEX artifacts_by_digest ON artifacts (digest) WHERE digest IS NOT NULL;

CREATE TABLE metrics (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    metric_step INTEGER,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, attempt, sequence)
) WITHOUT ROWID;

-- The last value of each metric, so that nobody reads a whole series for it.
CREATE TABLE last_metrics (
    run_id BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run_id, step, attempt, name)
) WITHOUT ROWID;

CREATE TABLE requests (
    request_id BLOB PRIMARY KEY,
    run_id BLOB NOT NULL,
    create_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (create_us);

CREATE TABLE workers (
    name TEXT PRIMARY KEY,
    draining INTEGER NOT NULL DEFAULT 0,
    seen_us INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;

-- Deleted runs whose rows are still to be swept away, a slice at a time.
CREATE TABLE trash (
    run_id BLOB PRIMARY KEY
) WITHOUT ROWID;
