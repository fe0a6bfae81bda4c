-- Links by which an organization's own administrators set up what is theirs, see
-- package portal.
CREATE TABLE portal_links (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id              TEXT /*postgres COLLATE "C"*/ NOT NULL, -- in addresses and the log, not secret
	organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	token_hash      BYTEA NOT NULL,        -- SHA-256 of what opens it
	intents         TEXT NOT NULL,         -- what it is for, with blanks between
	created_by      TEXT NOT NULL,
	created_at      BIGINT NOT NULL,
	expires_at      BIGINT NOT NULL,
	revoked_at      BIGINT,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, organization_id) REFERENCES organizations (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX portal_links_by_organization ON portal_links (tenant_id, organization_id, id);
CREATE INDEX portal_links_old ON portal_links (expires_at);
