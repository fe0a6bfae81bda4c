-- Other services that people sign in with, see package social.
CREATE TABLE connections (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	provider    TEXT NOT NULL,
	name        TEXT NOT NULL,             -- as people see it
	client_id   TEXT NOT NULL,             -- of us, at the provider
	secret      BYTEA NOT NULL,            -- sealed; empty for a client without one
	settings    TEXT NOT NULL,             -- JSON of social.Settings
	enabled     BOOLEAN NOT NULL,
	created_at  BIGINT NOT NULL,
	modified_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id)
);

-- Whom a user is at a connection. Nothing but the primary key leads from somebody's
-- proof there to a user here: names and addresses are kept to show, and change.
CREATE TABLE identities (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	issuer        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	subject       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL, -- names the row, not secret
	user_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	email         TEXT NOT NULL,           -- there, when it was used last; may be empty
	name          TEXT NOT NULL,
	picture       TEXT NOT NULL,
	tokens        BYTEA NOT NULL,          -- of the provider, sealed; empty unless the connection keeps them
	created_at    BIGINT NOT NULL,
	used_at       BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, connection_id, issuer, subject),
	UNIQUE (tenant_id, id),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX identities_by_user ON identities (tenant_id, user_id);

-- Browsers that were sent to a provider, and what they came back with until it is
-- settled whose it is.
CREATE TABLE connection_flows (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	state_hash    BYTEA NOT NULL,          -- SHA-256 of "state"
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL, -- names what came back, not secret
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	purpose       TEXT NOT NULL,
	attempt       TEXT /*postgres COLLATE "C"*/ NOT NULL, -- that it belongs to
	browser_hash  BYTEA NOT NULL,          -- of the browser that was sent; empty for an application that asks by the API
	nonce         TEXT NOT NULL,
	verifier      BYTEA NOT NULL,          -- of PKCE, sealed; empty without
	redirect_uri  TEXT NOT NULL,
	profile       BYTEA,                   -- who came back, sealed, until it is settled
	created_at    BIGINT NOT NULL,
	expires_at    BIGINT NOT NULL,
	used_at       BIGINT,
	PRIMARY KEY (tenant_id, state_hash),
	UNIQUE (tenant_id, id),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX connection_flows_by_attempt ON connection_flows (tenant_id, attempt) WHERE profile IS NOT NULL;
CREATE INDEX connection_flows_old ON connection_flows (expires_at);
