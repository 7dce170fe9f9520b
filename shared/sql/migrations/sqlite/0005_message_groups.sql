-- What a message asks for, and for whom: receivers select by it. Messages from before have no group and count as
-- wake-ups; the message itself says what it is.
ALTER TABLE messages ADD COLUMN kind INTEGER NOT NULL DEFAULT 0; -- 0 wake-up, 1 finish callback
ALTER TABLE messages ADD COLUMN message_group TEXT;

DROP INDEX messages_by_visibility;
CREATE INDEX wake_ups_by_visibility ON messages (visible_at) WHERE kind = 0;
-- One look-up for each group, however many messages of other groups are due.
CREATE INDEX wake_ups_by_group ON messages (message_group, visible_at) WHERE kind = 0;
-- With the group, so that those left out are passed over without a look at their rows.
CREATE INDEX finishes_by_visibility ON messages (visible_at, message_group) WHERE kind = 1;
