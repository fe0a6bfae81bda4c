-- The organization that somebody acts in: what was made for it ends when they leave it.
ALTER TABLE sessions ADD COLUMN organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL DEFAULT '';
-- How the user came in, as policies of organizations name it, separated by spaces.
ALTER TABLE sessions ADD COLUMN ways TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN organization_id TEXT /*postgres COLLATE "C"*/ NOT NULL DEFAULT '';

CREATE INDEX sessions_by_organization ON sessions (tenant_id, organization_id, user_id) WHERE ended_at IS NULL AND organization_id <> '';
CREATE INDEX grants_by_organization ON grants (tenant_id, organization_id, user_id) WHERE ended_at IS NULL AND organization_id <> '';
