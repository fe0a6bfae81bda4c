-- Words of each user for search by part. The full-text table holds only the
-- index; each entry starts with three characters made from the tenant, so that
-- neither the time nor the cost of a search depends on other tenants' users.
CREATE TABLE user_search (
	entry     INTEGER PRIMARY KEY,
	tenant_id TEXT NOT NULL,
	user_id   TEXT NOT NULL,
	UNIQUE (tenant_id, user_id)
);

CREATE VIRTUAL TABLE user_search_words USING fts5 (
	words, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1'
);

CREATE TRIGGER user_search_deleted AFTER DELETE ON user_search BEGIN
	DELETE FROM user_search_words WHERE rowid = old.entry;
END
