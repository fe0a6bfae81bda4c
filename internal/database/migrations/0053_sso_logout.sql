-- The sessions at providers that sessions here came from, to be ended with them, see
-- package sso.
CREATE TABLE sso_sessions (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	session_id    TEXT /*postgres COLLATE "C"*/ NOT NULL, -- here
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	there         TEXT NOT NULL,           -- JSON of sso.There
	expires_at    BIGINT NOT NULL,         -- with the session here
	PRIMARY KEY (tenant_id, session_id),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES sso_connections (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sso_sessions_by_user ON sso_sessions (tenant_id, user_id);
CREATE INDEX sso_sessions_by_connection ON sso_sessions (tenant_id, connection_id);
CREATE INDEX sso_sessions_old ON sso_sessions (expires_at);

-- Browsers that were sent to a provider to sign out there.
CREATE TABLE sso_logouts (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	request_hash  BYTEA NOT NULL,          -- SHA-256 of the id of the request
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	there         TEXT NOT NULL,           -- JSON of sso.There
	rest          TEXT NOT NULL,           -- JSON: the ids of more sessions of the browser
	next          TEXT NOT NULL,           -- where the browser goes then
	expires_at    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, request_hash),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES sso_connections (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sso_logouts_by_user ON sso_logouts (tenant_id, user_id);
CREATE INDEX sso_logouts_by_connection ON sso_logouts (tenant_id, connection_id);
CREATE INDEX sso_logouts_old ON sso_logouts (expires_at);
