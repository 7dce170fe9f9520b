-- What a message asks for, and for whom: receivers select by it. Messages from before have no group and count as
-- wake-ups (0; 1 is a finish callback); the message itself says what it is. So do those that processes of the release
-- before send while both run side by side: they do not know the columns. They name the index by_visibility, so it stays.
--
-- The columns and keys come in one statement, which is made as a whole or not at all. MySQL has no ADD COLUMN IF NOT
-- EXISTS, so the statement is chosen: a process may have been killed after it and before it was noted as made.
SET @bk_plugin_change = IF(
    (SELECT count(*) FROM information_schema.columns
     WHERE table_schema = database() AND table_name = 'bk_plugin_messages' AND column_name = 'message_group') = 0,
    'ALTER TABLE bk_plugin_messages
         ADD COLUMN kind TINYINT NOT NULL DEFAULT 0,
         ADD COLUMN message_group VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin,
         ADD KEY by_kind (kind, visible_at, message_group),
         ADD KEY by_group (message_group, visible_at)',
    'DO 0');
PREPARE bk_plugin_change FROM @bk_plugin_change;
EXECUTE bk_plugin_change;
DEALLOCATE PREPARE bk_plugin_change;
