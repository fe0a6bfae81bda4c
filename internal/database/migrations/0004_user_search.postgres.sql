-- Words of each user for search by part. The index carries the tenant, so that
-- neither the time nor the cost of a search depends on other tenants' users.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE TABLE user_search (
	tenant_id TEXT COLLATE "C" NOT NULL,
	user_id   TEXT COLLATE "C" NOT NULL,
	words     TEXT NOT NULL,
	PRIMARY KEY (tenant_id, user_id)
);

CREATE INDEX user_search_words ON user_search USING gin (tenant_id, words gin_trgm_ops)
