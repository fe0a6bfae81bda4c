-- Keys that sign tokens, see package keyring. Of those with one tenant and alg, one
-- signs at any time, from active_at to retires_at; all are published from
-- created_at to expires_at.
CREATE TABLE signing_keys (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL, -- kid
	alg         TEXT /*postgres COLLATE "C"*/ NOT NULL, -- RS256, ES256 or EdDSA
	generation  BIGINT NOT NULL,         -- 1, 2, … within tenant and alg
	public_key  BYTEA NOT NULL,          -- PKIX
	private_key BYTEA,                   -- PKCS #8, sealed; NULL once revoked
	created_at  BIGINT NOT NULL,
	active_at   BIGINT NOT NULL,
	retires_at  BIGINT,                  -- its successor's active_at, once there is one
	expires_at  BIGINT,                  -- when no token signed by it is valid any more
	revoked_at  BIGINT,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, alg, generation)  -- of those who make the same key one wins
);
