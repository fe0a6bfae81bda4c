-- Who is signed in, in which browser. Nothing is deleted at the end of a session:
-- a log-in list tells of it until housekeeping takes it away.
CREATE TABLE sessions (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL, -- "sid" of tokens
	user_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash     BYTEA NOT NULL,        -- SHA-256 of what the cookie holds
	application_id TEXT NOT NULL,         -- where it began, empty for none
	amr            TEXT NOT NULL,         -- methods of RFC 8176, separated by spaces
	acr            TEXT NOT NULL,
	auth_at        BIGINT NOT NULL,       -- when the user last proved who they are
	ip             TEXT NOT NULL,
	client         TEXT NOT NULL,         -- program, as its user agent says
	os             TEXT NOT NULL,
	device         TEXT NOT NULL,
	country        TEXT NOT NULL,
	city           TEXT NOT NULL,
	created_at     BIGINT NOT NULL,
	seen_at        BIGINT NOT NULL,
	idle           BIGINT NOT NULL,       -- milliseconds it lives without being used
	idle_until     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	ended_at       BIGINT,
	end_reason     TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, token_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_old ON sessions (expires_at);

-- What an application was given for a user: a family of refresh tokens, of which
-- the one of the current generation is good. Refresh tokens are authentic by
-- themselves, so there is nothing of them here.
CREATE TABLE grants (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	session_id     TEXT /*postgres COLLATE "C"*/ NOT NULL, -- that it came from, empty for none
	outlives       BOOLEAN NOT NULL,      -- the session (offline_access)
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	scope          TEXT NOT NULL,
	detail         TEXT NOT NULL,         -- JSON of session.Detail
	jkt            TEXT NOT NULL,         -- thumbprint of the key that refresh tokens are bound to, empty for none
	generation     BIGINT NOT NULL,
	rotated_at     BIGINT NOT NULL,
	created_at     BIGINT NOT NULL,
	idle           BIGINT NOT NULL,
	idle_until     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	ended_at       BIGINT,
	end_reason     TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX grants_by_user ON grants (tenant_id, user_id, application_id) WHERE ended_at IS NULL;
CREATE INDEX grants_by_session ON grants (tenant_id, session_id) WHERE ended_at IS NULL;
CREATE INDEX grants_old ON grants (expires_at);

-- When everything of a user was ended last: what they had proved before that starts no
-- session any more.
CREATE TABLE session_floors (
	tenant_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	at        BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;
