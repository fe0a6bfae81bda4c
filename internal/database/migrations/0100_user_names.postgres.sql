-- The different first and last names in a tenant, folded. A part of a name becomes the
-- whole names that it is in, and the users of a whole name are counted and listed by an
-- index alone. The indexer adds to it, see user/names.go.
CREATE TABLE user_names (
	tenant_id TEXT COLLATE "C" NOT NULL,
	field     TEXT COLLATE "C" NOT NULL, -- first_key or last_key, of users
	name      TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (tenant_id, field, name)
);

INSERT INTO user_names (tenant_id, field, name)
SELECT DISTINCT tenant_id, 'first_key', first_key FROM users;

INSERT INTO user_names (tenant_id, field, name)
SELECT DISTINCT tenant_id, 'last_key', last_key FROM users;

CREATE INDEX user_names_by_part ON user_names USING gin (tenant_id, field, name gin_trgm_ops) WITH (fastupdate = off);

-- Names are compared byte by byte, as they are folded already.
ALTER TABLE users ALTER COLUMN first_key TYPE TEXT COLLATE "C", ALTER COLUMN last_key TYPE TEXT COLLATE "C";

CREATE INDEX users_by_first_name ON users (tenant_id, first_key, login_key);
CREATE INDEX users_by_last_name ON users (tenant_id, last_key, login_key);
