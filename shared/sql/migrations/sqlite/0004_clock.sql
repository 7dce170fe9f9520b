-- The latest time that a process has told, in milliseconds since 1970: no later process begins before it. One row.
CREATE TABLE clock (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    latest INTEGER NOT NULL
) STRICT;

INSERT INTO clock (id, latest) VALUES (1, 0);
