-- What applications asked for at the authorization endpoint, kept while somebody
-- signs in, or because it was pushed (RFC 9126).
CREATE TABLE authorization_requests (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	handle_hash  BYTEA NOT NULL,        -- SHA-256 of what addresses name it by
	browser_hash BYTEA,                 -- SHA-256 of the name of the browser that goes on with it; NULL until one has begun
	request      TEXT NOT NULL,         -- JSON of oidc.request
	created_at   BIGINT NOT NULL,
	started_at   BIGINT,                -- when the browser came with it
	spent_at     BIGINT,                -- when it was answered
	expires_at   BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, handle_hash)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX authorization_requests_old ON authorization_requests (expires_at);

-- Authorization codes (RFC 6749, section 4.1.2). Those that were used are kept for a
-- day, to know one that comes again.
CREATE TABLE authorization_codes (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	code_hash      BYTEA NOT NULL,
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	session_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	redirect_uri   TEXT NOT NULL,
	redirect_named BOOLEAN NOT NULL,      -- by the request, rather than by the application's registration
	challenge      TEXT NOT NULL,         -- RFC 7636, always S256; empty for none
	jkt            TEXT NOT NULL,         -- thumbprint of the key it is good with (RFC 9449); empty for any
	state_hash     BYTEA,                 -- SHA-256 of "state", only for codes of /api/sso/authorize
	detail         TEXT NOT NULL,         -- JSON of oidc.codeDetail
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	spent_at       BIGINT,
	grant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL DEFAULT '', -- made from it
	PRIMARY KEY (tenant_id, code_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX authorization_codes_by_user ON authorization_codes (tenant_id, user_id);
CREATE INDEX authorization_codes_old ON authorization_codes (expires_at);

-- What users have allowed applications of others.
CREATE TABLE consents (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	scope          TEXT NOT NULL,         -- all that was allowed so far, separated by spaces
	created_at     BIGINT NOT NULL,
	modified_at    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id, application_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

-- Applications whose client id is the address of a document that describes them, as
-- the document was when it was last read.
CREATE TABLE client_documents (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL, -- made of the address
	client_id      TEXT NOT NULL,         -- the address
	document       TEXT NOT NULL,         -- JSON of oidc.registration
	fetched_at     BIGINT NOT NULL,
	fresh_until    BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, application_id)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX client_documents_old ON client_documents (fetched_at);
