CREATE TABLE roles (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name        TEXT NOT NULL,
	slug        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	description TEXT NOT NULL,
	is_admin    BOOLEAN NOT NULL,        -- holders count as administrators in the KOBIL form
	is_active   BOOLEAN NOT NULL DEFAULT TRUE,
	created_at  BIGINT NOT NULL,
	modified_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, slug)
);
