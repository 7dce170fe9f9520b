-- The latest time that a process has told, in milliseconds since 1970: no later process begins before it. One row.
CREATE TABLE IF NOT EXISTS bk_plugin_clock (
    id     TINYINT NOT NULL PRIMARY KEY,
    latest BIGINT  NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO bk_plugin_clock (id, latest) VALUES (1, 0);
