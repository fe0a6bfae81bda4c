-- Where few organizations of many match, SQLite finds those that do by their parts of
-- three characters too, as PostgreSQL does since 0088. The full-text table holds only the
-- index, and triggers keep it with the names. Each entry starts with characters made from
-- the tenant, so that a search costs little for what other tenants have.
/*sqlite CREATE TABLE organization_search (
	tenant_id       TEXT NOT NULL,
	organization_id TEXT NOT NULL,
	entry           INTEGER NOT NULL UNIQUE, -- its row in the index
	PRIMARY KEY (tenant_id, organization_id)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE organization_search_words USING fts5 (
	words, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1'
);

INSERT INTO organization_search (tenant_id, organization_id, entry)
SELECT tenant_id, id, row_number() OVER (ORDER BY tenant_id, id) FROM organizations;

INSERT INTO organization_search_words (rowid, words)
SELECT s.entry, char(57344) || substr(o.tenant_id, -2) || char(57345) || substr(o.tenant_id, -4, 2) || o.search_key
FROM organization_search s JOIN organizations o ON o.tenant_id = s.tenant_id AND o.id = s.organization_id;

CREATE TRIGGER organization_search_made AFTER INSERT ON organizations BEGIN
	INSERT INTO organization_search (tenant_id, organization_id, entry)
	SELECT new.tenant_id, new.id, COALESCE(max(entry), 0) + 1 FROM organization_search;
	INSERT INTO organization_search_words (rowid, words)
	SELECT entry, char(57344) || substr(tenant_id, -2) || char(57345) || substr(tenant_id, -4, 2) || new.search_key
	FROM organization_search WHERE tenant_id = new.tenant_id AND organization_id = new.id;
END;

CREATE TRIGGER organization_search_renamed AFTER UPDATE OF search_key ON organizations WHEN new.search_key <> old.search_key BEGIN
	DELETE FROM organization_search_words
	WHERE rowid = (SELECT entry FROM organization_search WHERE tenant_id = new.tenant_id AND organization_id = new.id);
	INSERT INTO organization_search_words (rowid, words)
	SELECT entry, char(57344) || substr(tenant_id, -2) || char(57345) || substr(tenant_id, -4, 2) || new.search_key
	FROM organization_search WHERE tenant_id = new.tenant_id AND organization_id = new.id;
END;

CREATE TRIGGER organization_search_gone AFTER DELETE ON organizations BEGIN
	DELETE FROM organization_search WHERE tenant_id = old.tenant_id AND organization_id = old.id;
END;

CREATE TRIGGER organization_search_deleted AFTER DELETE ON organization_search BEGIN
	DELETE FROM organization_search_words WHERE rowid = old.entry;
END;
*/
