-- Events land here with the change they tell of. The table is small and has no
-- other index, so that a writer pays as little as can be; a second later the
-- sealer has moved the row to audit_events.
CREATE TABLE audit_unsealed (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	at          BIGINT NOT NULL,
	actor       TEXT /*postgres COLLATE "C"*/ NOT NULL, -- "key:<id>", "user:<id>", "system"
	action      TEXT /*postgres COLLATE "C"*/ NOT NULL, -- "user.created"
	target      TEXT NOT NULL,           -- "user"
	target_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	result      TEXT NOT NULL,           -- "success" or "failure"
	reason      TEXT NOT NULL,
	method      TEXT NOT NULL,           -- how: "api_key", "command", "password"
	ip          TEXT NOT NULL,
	user_agent  TEXT NOT NULL,
	request_id  TEXT NOT NULL,
	detail      TEXT NOT NULL,           -- JSON object, never a secret
	PRIMARY KEY (tenant_id, id)
) /*sqlite WITHOUT ROWID*/;

-- The chained log. Nothing updates a row of it: rows are added at the end by the
-- sealer and removed at the front by retention. The place alone is not unique, so
-- that a forged row can not stop the sealer; verifying names such a row.
CREATE TABLE audit_events (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	seq         BIGINT NOT NULL,         -- place in the tenant's chain, from 1
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	at          BIGINT NOT NULL,
	actor       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	action      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	target      TEXT NOT NULL,
	target_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	result      TEXT NOT NULL,
	reason      TEXT NOT NULL,
	method      TEXT NOT NULL,
	ip          TEXT NOT NULL,
	user_agent  TEXT NOT NULL,
	request_id  TEXT NOT NULL,
	detail      TEXT NOT NULL,
	hash        BYTEA NOT NULL,          -- SHA-256 over the hash before it and this row
	PRIMARY KEY (tenant_id, seq, id)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX audit_events_id ON audit_events (tenant_id, id);
CREATE INDEX audit_events_target ON audit_events (tenant_id, target_id, id);
CREATE INDEX audit_events_actor ON audit_events (tenant_id, actor, id);

-- The end of each tenant's chain, and the place where retention has cut it.
CREATE TABLE audit_chains (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
	last_seq   BIGINT NOT NULL,
	last_hash  BYTEA NOT NULL,
	first_seq  BIGINT NOT NULL,          -- of the oldest row kept
	first_prev BYTEA NOT NULL            -- the hash before it
);
