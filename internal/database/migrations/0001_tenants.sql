-- Installation-wide tables: they say which tenant something belongs to, so they
-- can not start with it. They are small and rarely change (reference tables on a
-- distributed PostgreSQL). Every other table's primary key starts with tenant_id.

CREATE TABLE tenants (
	id          TEXT /*postgres COLLATE "C"*/ PRIMARY KEY,
	slug        TEXT /*postgres COLLATE "C"*/ NOT NULL UNIQUE, -- first label of its host, realm name
	name        TEXT NOT NULL,
	kind        TEXT NOT NULL,           -- SSMS or AST, as the KOBIL contract has it
	is_active   BOOLEAN NOT NULL DEFAULT TRUE,
	settings    TEXT NOT NULL,           -- JSON of tenant.Settings
	data_key    BYTEA NOT NULL,          -- key of the tenant's secrets, sealed under the master key
	created_at  BIGINT NOT NULL,         -- Unix milliseconds, as all times
	modified_at BIGINT NOT NULL
);

CREATE TABLE tenant_hosts (
	host      TEXT /*postgres COLLATE "C"*/ PRIMARY KEY, -- custom domain, lower case, without a port
	tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL
);

CREATE TABLE tenant_clients (
	client_id TEXT /*postgres COLLATE "C"*/ PRIMARY KEY,
	tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE TABLE applications (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	id              TEXT /*postgres COLLATE "C"*/ NOT NULL,
	client_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name            TEXT NOT NULL,
	redirect_uris   TEXT NOT NULL,       -- JSON array
	allowed_origins TEXT NOT NULL,       -- JSON array
	is_active       BOOLEAN NOT NULL DEFAULT TRUE,
	created_at      BIGINT NOT NULL,
	modified_at     BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, client_id)
);

CREATE TABLE application_secrets (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	application_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash           BYTEA NOT NULL,       -- SHA-256: the secret has 160 random bits
	hint           TEXT NOT NULL,        -- last four characters
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT,               -- set when a newer secret replaces it
	PRIMARY KEY (tenant_id, application_id, id),
	FOREIGN KEY (tenant_id, application_id) REFERENCES applications (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE api_keys (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash         BYTEA NOT NULL,
	hint         TEXT NOT NULL,
	name         TEXT NOT NULL,
	scopes       TEXT NOT NULL,          -- permissions separated by spaces
	created_by   TEXT NOT NULL,
	created_at   BIGINT NOT NULL,
	expires_at   BIGINT,
	revoked_at   BIGINT,
	last_used_at BIGINT,                 -- to the nearest five minutes
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, hash)
);
