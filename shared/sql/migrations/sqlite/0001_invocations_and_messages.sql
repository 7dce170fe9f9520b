-- One row an invocation: what changes from step to step. Times are milliseconds since 1970.
CREATE TABLE invocations (
    id             INTEGER PRIMARY KEY,
    trace_id       TEXT    NOT NULL UNIQUE,
    plugin_version TEXT    NOT NULL,
    state          INTEGER NOT NULL,
    invoke_count   INTEGER NOT NULL,
    deadline_at    INTEGER,
    deadline_run   INTEGER,
    owed           INTEGER NOT NULL,
    consumed       TEXT    NOT NULL, -- JSON: receipts
    created_at     INTEGER NOT NULL,
    finish_at      INTEGER,
    expires_at     INTEGER,
    err            TEXT    NOT NULL, -- JSON: a string
    storage        TEXT    NOT NULL, -- JSON
    outputs        TEXT    NOT NULL  -- JSON
) STRICT;

CREATE INDEX invocations_by_expiry ON invocations (expires_at) WHERE expires_at IS NOT NULL;

-- How an invocation was called. It never changes and may be large, so steps do not write it again. A stub
-- has none.
CREATE TABLE calls (
    invocation      INTEGER PRIMARY KEY REFERENCES invocations ON DELETE CASCADE,
    inputs          TEXT NOT NULL, -- JSON
    context         TEXT NOT NULL, -- JSON
    finish_callback TEXT           -- JSON
) STRICT;

-- Who runs a step now. A claim writes here only: a few bytes, whatever the size of the record.
CREATE TABLE leases (
    invocation INTEGER PRIMARY KEY REFERENCES invocations ON DELETE CASCADE,
    token      TEXT    NOT NULL,
    until      INTEGER NOT NULL
) STRICT;

-- Callbacks that no step has been given yet; the order is that of `seq`.
CREATE TABLE inbox (
    seq         INTEGER PRIMARY KEY,
    invocation  INTEGER NOT NULL REFERENCES invocations ON DELETE CASCADE,
    receipt     TEXT    NOT NULL,
    callback_id TEXT    NOT NULL,
    data        TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX inbox_by_invocation ON inbox (invocation);

CREATE TABLE messages (
    id            INTEGER PRIMARY KEY,
    visible_at    INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    body          TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX messages_by_visibility ON messages (visible_at);

-- Messages whose body could not be read, kept for whoever looks into it.
CREATE TABLE dead_letters (
    id            INTEGER PRIMARY KEY,
    message_id    INTEGER NOT NULL,
    receive_count INTEGER NOT NULL,
    body          TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    buried_at     INTEGER NOT NULL
) STRICT;
