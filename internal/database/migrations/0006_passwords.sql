CREATE TABLE passwords (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash       TEXT NOT NULL,            -- a form of passhash
	temporary  BOOLEAN NOT NULL,         -- must be changed at the next sign-in
	changed_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;
