-- Client assertions and DPoP proofs that were used, until they expire by themselves:
-- each is good once. See package oidc.
CREATE TABLE used_assertions (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash       BYTEA NOT NULL,   -- SHA-256 of what it is, whose, and its "jti"
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, hash)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX used_assertions_old ON used_assertions (expires_at);

-- Devices that wait for a person to let them in (RFC 8628).
CREATE TABLE device_codes (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL,
	code_hash      BYTEA NOT NULL,        -- SHA-256 of what the device holds
	user_code      BYTEA NOT NULL,        -- MAC of what a person types, under the tenant's key
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	request        TEXT NOT NULL,         -- JSON: what was asked for, and from where
	wait           BIGINT NOT NULL,       -- milliseconds between two polls
	polled_at      BIGINT NOT NULL,
	session_id     TEXT /*postgres COLLATE "C"*/ NOT NULL DEFAULT '', -- in which the code was typed, which alone may decide
	user_id        TEXT /*postgres COLLATE "C"*/ NOT NULL DEFAULT '',
	decision       TEXT NOT NULL DEFAULT '', -- allow or deny
	detail         TEXT NOT NULL DEFAULT '', -- JSON: how the person who allowed it had signed in
	used_at        BIGINT,
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, code_hash),
	UNIQUE (tenant_id, user_code)
);

CREATE INDEX device_codes_old ON device_codes (expires_at);
