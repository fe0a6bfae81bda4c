-- Resets of a password that can still be used or have expired: one row a user, so
-- that a new token puts an end to the one before. Using it removes the row.
CREATE TABLE password_resets (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash BYTEA NOT NULL,           -- SHA-256 of what the mail carries
	email      TEXT NOT NULL,            -- that the mail went to; another one now voids the token
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id),
	UNIQUE (tenant_id, token_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX password_resets_old ON password_resets (expires_at);
