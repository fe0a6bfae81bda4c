-- Who holds roles in the whole tenant signs in by an organization's provider only as whom
-- they have proved to be themselves, since the provider was last changed.
ALTER TABLE sso_identities ADD COLUMN proved_at BIGINT; -- NULL if the organization's word was all there was
ALTER TABLE sso_connections ADD COLUMN trusted_at BIGINT NOT NULL DEFAULT 0; -- when what decides whom an answer shows was last changed
