-- Authenticator apps of users. One that was not confirmed by a first code counts for
-- nothing, and is removed after an hour.
CREATE TABLE authenticators (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name         TEXT NOT NULL,           -- chosen by the user, may be empty
	sealed       BYTEA NOT NULL,          -- the secret, under the tenant's key, for this row
	last_step    BIGINT NOT NULL,         -- the last step of 30 seconds whose code was used, of any of the user's
	created_at   BIGINT NOT NULL,
	confirmed_at BIGINT,
	used_at      BIGINT,
	PRIMARY KEY (tenant_id, user_id, id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX authenticators_pending ON authenticators (created_at) WHERE confirmed_at IS NULL;

-- The backup codes of a user: one row, so that a new set is the end of the old one.
CREATE TABLE backup_codes (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	macs       BYTEA NOT NULL,            -- 16 bytes for each code, under the tenant's key
	used       BIGINT NOT NULL,           -- one bit for each, from the lowest
	created_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

-- Browsers in which a user is not asked for a second factor for a while.
CREATE TABLE remembered_devices (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id           TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash   BYTEA NOT NULL,          -- SHA-256 of what a cookie holds
	browser_hash BYTEA NOT NULL,          -- SHA-256 of the browser's name
	password_at  BIGINT NOT NULL,         -- when the password then in force was set, 0 for none
	ip           TEXT NOT NULL,
	client       TEXT NOT NULL,
	os           TEXT NOT NULL,
	device       TEXT NOT NULL,
	country      TEXT NOT NULL,
	city         TEXT NOT NULL,
	created_at   BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id, id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX remembered_devices_old ON remembered_devices (expires_at);

-- Links by which an administrator lets a user who has lost all factors set up others.
CREATE TABLE factor_recoveries (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id),
	UNIQUE (tenant_id, token_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX factor_recoveries_old ON factor_recoveries (expires_at);

-- What a sign-in has proved beside the first factor.
ALTER TABLE attempts ADD COLUMN second_method TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN second_at BIGINT;
ALTER TABLE attempts ADD COLUMN second_challenge TEXT NOT NULL DEFAULT ''; -- code that was sent for it last

-- A user's second factor that is locked ends all sign-ins that wait for it.
CREATE INDEX attempts_waiting ON attempts (tenant_id, user_id) WHERE finished_at IS NULL AND user_id <> '';
