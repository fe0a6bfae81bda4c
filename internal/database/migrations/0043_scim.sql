-- The directories of organizations, see package scim.
CREATE TABLE directories (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id              TEXT /*postgres COLLATE "C"*/ NOT NULL,
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name            TEXT NOT NULL,
	type            TEXT NOT NULL,          -- whose product sends: okta, azure_ad, …
	state           TEXT NOT NULL,          -- active, disabled or deleted: a job removes what is left of it
	rules           TEXT NOT NULL,          -- JSON of []scim.Rule
	last_sync_at    BIGINT,
	created_at      BIGINT NOT NULL,
	modified_at     BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX directories_by_organization ON directories (tenant_id, organization_id, id);

CREATE TABLE directory_tokens (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash         BYTEA NOT NULL,            -- SHA-256: the token has 160 random bits
	hint         TEXT NOT NULL,             -- last four characters
	users_only   BOOLEAN NOT NULL,          -- it may not touch groups
	created_by   TEXT NOT NULL,
	created_at   BIGINT NOT NULL,
	expires_at   BIGINT,                    -- NULL: when it is replaced
	PRIMARY KEY (tenant_id, directory_id, id),
	UNIQUE (tenant_id, hash),
	FOREIGN KEY (tenant_id, directory_id) REFERENCES directories (tenant_id, id) ON DELETE CASCADE
);

-- The users of a directory as it described them. Their id there is that of the user
-- here. A deleted one is kept, with nothing but whose account it was, so that the
-- directory that made an account can have it back.
CREATE TABLE directory_users (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	username     TEXT NOT NULL,
	username_key TEXT /*postgres COLLATE "C"*/ NOT NULL, -- lower case
	external_id  TEXT /*postgres COLLATE "C"*/ NOT NULL, -- empty for none
	email_key    TEXT /*postgres COLLATE "C"*/ NOT NULL, -- of the primary address, lower case; empty for none
	display      TEXT NOT NULL,             -- what groups show
	is_active    BOOLEAN NOT NULL,
	is_deleted   BOOLEAN NOT NULL,
	made         BOOLEAN NOT NULL,          -- the account, by this directory
	disabled     BOOLEAN NOT NULL,          -- the account, by this directory
	resource     TEXT NOT NULL,             -- JSON, without id, meta and groups
	version      BIGINT NOT NULL,
	created_at   BIGINT NOT NULL,
	modified_at  BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, directory_id, user_id),
	FOREIGN KEY (tenant_id, directory_id) REFERENCES directories (tenant_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX directory_users_by_username ON directory_users (tenant_id, directory_id, username_key) WHERE NOT is_deleted;
-- The directory comes last in these: before PostgreSQL has counted the rows of a first
-- synchronisation it would otherwise look for one user through all of a directory.
CREATE INDEX directory_users_by_external ON directory_users (tenant_id, external_id, directory_id);
CREATE INDEX directory_users_by_email ON directory_users (tenant_id, email_key, directory_id);
CREATE INDEX directory_users_by_change ON directory_users (tenant_id, directory_id, modified_at, user_id);
CREATE INDEX directory_users_by_user ON directory_users (tenant_id, user_id);

-- Addresses of those who have more than one, all but the primary one.
CREATE TABLE directory_emails (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	email_key    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, directory_id, email_key, user_id),
	FOREIGN KEY (tenant_id, directory_id, user_id) REFERENCES directory_users (tenant_id, directory_id, user_id) ON DELETE CASCADE
);

CREATE INDEX directory_emails_by_user ON directory_emails (tenant_id, directory_id, user_id);

CREATE TABLE directory_groups (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name         TEXT NOT NULL,
	name_key     TEXT /*postgres COLLATE "C"*/ NOT NULL, -- lower case
	external_id  TEXT /*postgres COLLATE "C"*/ NOT NULL, -- empty for none
	version      BIGINT NOT NULL,
	created_at   BIGINT NOT NULL,
	modified_at  BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, directory_id, id),
	UNIQUE (tenant_id, directory_id, name_key),
	FOREIGN KEY (tenant_id, directory_id) REFERENCES directories (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX directory_groups_by_external ON directory_groups (tenant_id, external_id, directory_id);
CREATE INDEX directory_groups_by_change ON directory_groups (tenant_id, directory_id, modified_at, id);

CREATE TABLE directory_members (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	group_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, directory_id, group_id, user_id),
	FOREIGN KEY (tenant_id, directory_id, group_id) REFERENCES directory_groups (tenant_id, directory_id, id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, directory_id, user_id) REFERENCES directory_users (tenant_id, directory_id, user_id) ON DELETE CASCADE
);

CREATE INDEX directory_members_by_user ON directory_members (tenant_id, directory_id, user_id, group_id);

-- What a directory has asked in the last days, for whoever looks for a mistake.
-- Values are masked.
CREATE TABLE directory_requests (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	directory_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL, -- sorts by time
	method       TEXT NOT NULL,
	path         TEXT NOT NULL,             -- below the base address
	status       BIGINT NOT NULL,
	problem      TEXT NOT NULL,             -- what was wrong with it; empty for nothing
	form         TEXT NOT NULL,             -- what we made of it
	at           BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, directory_id, id),
	FOREIGN KEY (tenant_id, directory_id) REFERENCES directories (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX directory_requests_old ON directory_requests (at);

-- Keys that somebody has made end when they leave.
CREATE INDEX api_keys_by_maker ON api_keys (tenant_id, created_by);
