CREATE TABLE users (
	tenant_id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id               TEXT /*postgres COLLATE "C"*/ NOT NULL,
	username         TEXT,               -- as given; NULL if the user has none
	email            TEXT,               -- canonical form, see user.ParseEmail
	phone            TEXT,               -- E.164
	login_key        TEXT /*postgres COLLATE "C"*/ NOT NULL, -- folded username, else email, else phone
	first_name       TEXT NOT NULL,
	last_name        TEXT NOT NULL,
	first_key        TEXT NOT NULL,      -- folded by Go, for search
	last_key         TEXT NOT NULL,
	email_verified   BOOLEAN NOT NULL,
	phone_verified   BOOLEAN NOT NULL,
	is_active        BOOLEAN NOT NULL,
	groups           TEXT,               -- JSON, as given
	attributes       TEXT,               -- JSON object
	role_ids         TEXT,               -- JSON array, a copy of user_roles for lists
	required_actions TEXT,               -- JSON array of strings
	connection_id    TEXT NOT NULL,
	created_at       BIGINT NOT NULL,
	modified_at      BIGINT NOT NULL,
	last_login_at    BIGINT,
	PRIMARY KEY (tenant_id, id)
) /*sqlite WITHOUT ROWID*/;

-- No two users share a login_key: it is one of their identifiers.
CREATE INDEX users_by_login ON users (tenant_id, login_key);
CREATE INDEX users_inactive ON users (tenant_id, id) WHERE NOT is_active;

-- Everything a user can be found by at sign-in. One key belongs to one user,
-- whatever kind it is: a username can not equal somebody's e-mail address.
CREATE TABLE user_identifiers (
	tenant_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	value     TEXT /*postgres COLLATE "C"*/ NOT NULL, -- folded
	kind      TEXT NOT NULL,             -- email, phone or username
	user_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, value)
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE user_roles (
	tenant_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	role_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, user_id, role_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX user_roles_by_role ON user_roles (tenant_id, role_id, user_id);

-- How many users a tenant has: counted up to settled_id, the rest is counted
-- when asked, see user.Count.
CREATE TABLE user_counts (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
	settled_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	users      BIGINT NOT NULL
);

-- Ranges of users whose search entry is older than the user. The indexer empties
-- it; a search looks through these users one by one.
CREATE TABLE user_search_queue (
	tenant_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	from_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	to_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	PRIMARY KEY (tenant_id, from_id, id)
) /*sqlite WITHOUT ROWID*/;
