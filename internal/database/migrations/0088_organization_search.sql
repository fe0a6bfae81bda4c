-- Where nearly no organization matches, PostgreSQL finds those that do by their parts of
-- three characters. SQLite reads the index in the order of the list.
/*postgres CREATE INDEX organizations_by_part ON organizations USING gin (tenant_id, search_key gin_trgm_ops) WITH (fastupdate = off); */
