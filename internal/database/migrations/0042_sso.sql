-- The identity providers of organizations, see package sso.
CREATE TABLE sso_connections (
	tenant_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id               TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name             TEXT NOT NULL,          -- as people see it
	kind             TEXT NOT NULL,          -- 'saml' or 'oidc'
	provider         TEXT NOT NULL,          -- whose product it is, for words and defaults
	state            TEXT NOT NULL,          -- 'draft', 'active' or 'disabled'
	settings         TEXT NOT NULL,          -- JSON of sso.Settings
	secret           BYTEA NOT NULL,         -- of us, at an OpenID provider, sealed; empty without
	sp_keys          BYTEA NOT NULL,         -- of us, towards a SAML provider, sealed; empty for OpenID
	refresh_at       BIGINT,                 -- when its metadata is due to be read anew
	refresh_failures BIGINT NOT NULL,        -- in a row
	warn_at          BIGINT,                 -- when to warn of its certificates next
	last_success_at  BIGINT,
	last_failure_at  BIGINT,
	last_cause       TEXT NOT NULL,
	created_at       BIGINT NOT NULL,
	modified_at      BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sso_connections_by_organization ON sso_connections (tenant_id, organization_id, id);
CREATE INDEX sso_connections_refresh ON sso_connections (refresh_at) WHERE refresh_at IS NOT NULL;
CREATE INDEX sso_connections_warn ON sso_connections (warn_at) WHERE warn_at IS NOT NULL;

-- Whom a user is at a connection. Nothing but the primary key leads from somebody's
-- proof there to a user here: addresses are kept to show, and change.
CREATE TABLE sso_identities (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	issuer        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	subject       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL, -- names the row, not secret
	user_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	email         TEXT NOT NULL,           -- there, when it was used last
	created_at    BIGINT NOT NULL,
	used_at       BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, connection_id, issuer, subject),
	UNIQUE (tenant_id, id),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES sso_connections (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sso_identities_by_user ON sso_identities (tenant_id, user_id);

-- Browsers that were sent to a provider, and what they came back with until it is
-- claimed by the browser that was sent.
CREATE TABLE sso_flows (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	state_hash    BYTEA NOT NULL,          -- SHA-256 of the state, or of the id of the SAML request
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL, -- names it, not secret
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	attempt       TEXT /*postgres COLLATE "C"*/ NOT NULL, -- that it belongs to; empty if a provider began it
	browser_hash  BYTEA NOT NULL,          -- of the browser that was sent; empty until one has come, if a provider began it
	nonce         TEXT NOT NULL,
	verifier      BYTEA NOT NULL,          -- of PKCE, sealed; empty for SAML
	redirect_uri  TEXT NOT NULL,
	is_test       BOOLEAN NOT NULL,        -- signs nobody in
	unsolicited   BOOLEAN NOT NULL,        -- a provider began it
	handle_hash   BYTEA,                   -- SHA-256 of what the browser that came back is sent on with
	answer        BYTEA,                   -- what came back, sealed, until it is claimed
	created_at    BIGINT NOT NULL,
	expires_at    BIGINT NOT NULL,
	answered_at   BIGINT,
	used_at       BIGINT,
	PRIMARY KEY (tenant_id, state_hash),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES sso_connections (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX sso_flows_by_handle ON sso_flows (tenant_id, handle_hash) WHERE handle_hash IS NOT NULL;
CREATE INDEX sso_flows_old ON sso_flows (expires_at);

-- Assertions and logout messages that were taken once, until they would be refused
-- anyway.
CREATE TABLE sso_messages (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	message_hash  BYTEA NOT NULL,          -- SHA-256 of its id
	expires_at    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, connection_id, message_hash)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX sso_messages_old ON sso_messages (expires_at);

-- What happened at each attempt, for whoever has to mend a connection. Personal values
-- are masked before they are kept.
CREATE TABLE sso_traces (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL,
	connection_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	is_test       BOOLEAN NOT NULL,
	cause         TEXT NOT NULL,           -- empty: it went well
	detail        TEXT NOT NULL,           -- JSON of sso.Detail
	created_at    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, connection_id) REFERENCES sso_connections (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX sso_traces_by_connection ON sso_traces (tenant_id, connection_id, id);
CREATE INDEX sso_traces_old ON sso_traces (created_at);
