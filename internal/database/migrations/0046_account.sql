-- Links of letters by which a user says "this was not me", see package signin. Using one
-- removes it, and those that were made after it.
CREATE TABLE alarms (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash BYTEA NOT NULL,           -- SHA-256 of what the mail carries
	user_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	change     TEXT NOT NULL,            -- what the letter tells of
	email      TEXT NOT NULL,            -- in force and proved before it; empty unless it has changed that
	phone      TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, token_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX alarms_by_user ON alarms (tenant_id, user_id);
CREATE INDEX alarms_old ON alarms (expires_at);

-- An identity that an intruder may have left signs nobody in until its owner has
-- confirmed it.
ALTER TABLE identities ADD COLUMN held_at BIGINT;
