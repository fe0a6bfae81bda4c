-- What roles are made of, see package role.
CREATE TABLE permissions (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name        TEXT NOT NULL,
	slug        TEXT /*postgres COLLATE "C"*/ NOT NULL, -- what tokens carry; that of a deleted one ends in DEL and its id
	description TEXT NOT NULL,
	built_in    BOOLEAN NOT NULL,
	is_active   BOOLEAN NOT NULL,
	is_deleted  BOOLEAN NOT NULL,
	created_at  BIGINT NOT NULL,
	modified_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, slug)
);

ALTER TABLE roles ADD COLUMN permission_ids TEXT; -- JSON array, NULL if there are none
ALTER TABLE roles ADD COLUMN built_in BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE roles ADD COLUMN is_deleted BOOLEAN NOT NULL DEFAULT FALSE; -- the slug ends in DEL and the id then

-- The built-in ones, for the tenants that there are. Ids are made as secret.ID makes
-- them, for the moments after the tenant was made, so that they sort in this order.
INSERT INTO permissions (tenant_id, id, name, slug, description, built_in, is_active, is_deleted, created_at, modified_at)
SELECT t.id,
	/*sqlite printf('%012x', t.created_at + p.n) || lower(hex(randomblob(6)))*/
	/*postgres lpad(to_hex(t.created_at + p.n), 12, '0') || substr(md5(random()::text || t.id || p.n::text), 1, 12)*/,
	p.name, p.slug, p.description, TRUE, TRUE, FALSE, t.created_at, t.created_at
FROM tenants AS t CROSS JOIN (
	SELECT 1 AS n, 'Team View' AS name, 'team_view' AS slug, 'Team View' AS description
	UNION ALL SELECT 2, 'Team Manage', 'team_manage', 'Team Manage'
	UNION ALL SELECT 3, 'Manage SSO Connection', 'manage_sso_connection', 'Manage SSO Connection Manage'
) AS p;

UPDATE roles SET built_in = TRUE WHERE slug IN ('owner', 'admin', 'developer', 'digitanium_admin', 'digitanium_user');

UPDATE roles SET permission_ids = '["'
	|| (SELECT p.id FROM permissions AS p WHERE p.tenant_id = roles.tenant_id AND p.slug = 'team_view') || '","'
	|| (SELECT p.id FROM permissions AS p WHERE p.tenant_id = roles.tenant_id AND p.slug = 'team_manage') || '","'
	|| (SELECT p.id FROM permissions AS p WHERE p.tenant_id = roles.tenant_id AND p.slug = 'manage_sso_connection') || '"]'
WHERE slug IN ('owner', 'admin', 'digitanium_admin');

UPDATE roles SET permission_ids = '["'
	|| (SELECT p.id FROM permissions AS p WHERE p.tenant_id = roles.tenant_id AND p.slug = 'manage_sso_connection') || '"]'
WHERE slug = 'developer';
