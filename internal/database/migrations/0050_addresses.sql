-- A user may have addresses beside the one of users.email and users.phone. Each is a row
-- here too, of kind further_email or further_phone, so that the primary key keeps it
-- apart from everybody's. Only such that were proved are kept.
ALTER TABLE user_identifiers ADD COLUMN id TEXT /*postgres COLLATE "C"*/; -- names a further address, not secret; NULL for all else
ALTER TABLE user_identifiers ADD COLUMN added_at BIGINT; -- NULL of what came with an import, or before this column
ALTER TABLE user_identifiers ADD COLUMN held_at BIGINT;  -- it signs nobody in until its owner has proved it again

CREATE INDEX user_identifiers_further ON user_identifiers (tenant_id, user_id) WHERE id IS NOT NULL;
