-- What search finds a user by beside their primary addresses: each further one after two
-- spaces, as in the entries of the index; NULL for who has none.
ALTER TABLE users ADD COLUMN further TEXT;

UPDATE users SET further = (
	SELECT string_agg('  ' || i.value, '') FROM user_identifiers AS i
	WHERE i.tenant_id = users.tenant_id AND i.user_id = users.id AND i.id IS NOT NULL
) WHERE EXISTS (SELECT 1 FROM user_identifiers AS i WHERE i.tenant_id = users.tenant_id AND i.user_id = users.id AND i.id IS NOT NULL);

INSERT INTO user_search_queue (tenant_id, from_id, to_id, id)
SELECT tenant_id, id, id, id FROM users WHERE further IS NOT NULL
ON CONFLICT (tenant_id, from_id, id) DO NOTHING;
