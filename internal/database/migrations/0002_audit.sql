CREATE TABLE audit_events (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	at          BIGINT NOT NULL,
	actor       TEXT NOT NULL,
	action      TEXT NOT NULL,           -- "user.created"
	target      TEXT NOT NULL,           -- "user"
	target_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	result      TEXT NOT NULL,           -- "success" or "failure"
	reason      TEXT NOT NULL,
	method      TEXT NOT NULL,           -- how: "api_key", "command", "password"
	ip          TEXT NOT NULL,
	user_agent  TEXT NOT NULL,
	request_id  TEXT NOT NULL,
	detail      TEXT NOT NULL,           -- JSON object, never a secret
	seq         BIGINT,                  -- place in the tenant's chain, set by the sealer
	hash        BYTEA,                   -- SHA-256 over the hash before it and this row
	PRIMARY KEY (tenant_id, id)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX audit_events_unsealed ON audit_events (tenant_id, id) WHERE seq IS NULL;
CREATE INDEX audit_events_target ON audit_events (tenant_id, target_id, id);

-- The end of each tenant's chain, and the place where retention has cut it.
CREATE TABLE audit_chains (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
	last_seq   BIGINT NOT NULL,
	last_hash  BYTEA NOT NULL,
	first_seq  BIGINT NOT NULL,          -- of the oldest row kept
	first_prev BYTEA NOT NULL            -- the hash before it
);
