-- MySQL commits each CREATE by itself. A process that is killed between two of them leaves some of the tables;
-- the next one runs the whole file again. So each statement must be right if it was run before.
--
-- One row an invocation: what changes from step to step. Times are milliseconds since 1970. Texts are JSON in
-- columns of text, not of type JSON, which would not give every number back as it came.
CREATE TABLE IF NOT EXISTS bk_plugin_invocations (
    id             BIGINT   NOT NULL AUTO_INCREMENT PRIMARY KEY,
    trace_id       CHAR(32) NOT NULL,
    state          TINYINT  NOT NULL,
    invoke_count   BIGINT   NOT NULL,
    deadline_at    BIGINT,
    deadline_run   TINYINT,
    owed           TINYINT  NOT NULL,
    -- Who runs a step now.
    lease_token    CHAR(32),
    lease_until    BIGINT,
    -- Rows of bk_plugin_inbox: most have none, and then nobody looks.
    inbox_len      INT      NOT NULL,
    consumed       TEXT     NOT NULL, -- receipts
    finish_at      BIGINT,
    expires_at     BIGINT,
    -- Bytes of the texts: whoever only needs to know those does not read the texts.
    call_size      BIGINT   NOT NULL,
    storage_size   BIGINT   NOT NULL,
    outputs_size   BIGINT   NOT NULL,
    -- Never NULL in a row. They may be for the statement that updates many rows: there NULL means "as it was".
    plugin_version TEXT,
    created_at     BIGINT,
    err            MEDIUMTEXT, -- a string
    storage        LONGTEXT,
    outputs        LONGTEXT,
    UNIQUE KEY by_trace_id (trace_id),
    KEY by_expiry (expires_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How an invocation was called. It never changes and may be large, so steps do not write it again. A stub has
-- none. Rows that belong to an invocation are written and deleted only by who has locked its row; there are no
-- foreign keys, which would lock it once more for each of them.
CREATE TABLE IF NOT EXISTS bk_plugin_calls (
    invocation      BIGINT   NOT NULL PRIMARY KEY,
    inputs          LONGTEXT NOT NULL,
    context         LONGTEXT NOT NULL,
    caller          LONGTEXT, -- NULL: nothing is known of who called
    finish_callback LONGTEXT,
    trace           LONGTEXT  -- NULL: the call belongs to no distributed trace
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Callbacks that no step has been given yet; the order is that of `seq`.
CREATE TABLE IF NOT EXISTS bk_plugin_inbox (
    invocation  BIGINT   NOT NULL,
    seq         BIGINT   NOT NULL,
    receipt     CHAR(32) NOT NULL,
    callback_id CHAR(32) NOT NULL,
    data        LONGTEXT NOT NULL,
    PRIMARY KEY (invocation, seq)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The number of a message is drawn at random by who sends it, and so known before it is written.
CREATE TABLE IF NOT EXISTS bk_plugin_messages (
    id            BIGINT     NOT NULL PRIMARY KEY,
    -- From then on everybody may receive it; who has sent it, a little sooner.
    visible_at    BIGINT     NOT NULL,
    receive_count BIGINT     NOT NULL,
    body          MEDIUMTEXT NOT NULL,
    KEY by_visibility (visible_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Messages whose body could not be read, kept for whoever looks into it.
CREATE TABLE IF NOT EXISTS bk_plugin_dead_letters (
    id            BIGINT     NOT NULL AUTO_INCREMENT PRIMARY KEY,
    message_id    BIGINT     NOT NULL,
    receive_count BIGINT     NOT NULL,
    body          MEDIUMTEXT NOT NULL,
    reason        TEXT       NOT NULL,
    buried_at     BIGINT     NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
