-- Passkeys of users, see package passkey.
CREATE TABLE passkeys (
	tenant_id       TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id              TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id         TEXT /*postgres COLLATE "C"*/ NOT NULL,
	credential_id   BYTEA NOT NULL,         -- as the authenticator chose it, 1 to 1,023 bytes
	public_key      BYTEA NOT NULL,         -- COSE key
	rp_id           TEXT NOT NULL,          -- domain that the passkey is for
	aaguid          BYTEA NOT NULL,         -- model of the authenticator, 16 bytes, all zero if it does not say
	attestation     TEXT NOT NULL,          -- type of the attestation that came along; it is not trusted
	transports      TEXT NOT NULL,          -- separated by spaces, as the browser told
	sign_count      BIGINT NOT NULL,        -- of the last use; 0 for an authenticator that does not count
	backup_eligible BOOLEAN NOT NULL,       -- may be on several devices; never changes
	backup_state    BOOLEAN NOT NULL,       -- is backed up, as of the last use
	verified        BOOLEAN NOT NULL,       -- the authenticator asked for the user when it was made
	name            TEXT NOT NULL,          -- given by the user, empty until then
	created_at      BIGINT NOT NULL,
	updated_at      BIGINT,                 -- renamed last
	used_at         BIGINT,
	held_at         BIGINT,                 -- since when it is good for nothing until the user confirms it
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, credential_id),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX passkeys_by_user ON passkeys (tenant_id, user_id);

-- Challenges that wait for an answer. The answer takes its row away.
CREATE TABLE passkey_challenges (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	hash       BYTEA NOT NULL,              -- SHA-256 of the challenge
	owner      TEXT NOT NULL,               -- attempt or session that goes on with it
	purpose    TEXT NOT NULL,
	user_id    TEXT NOT NULL,               -- whom it is for: an id, "anyone", or "nobody" where none is known
	rp_id      TEXT NOT NULL,
	verify     BOOLEAN NOT NULL,            -- the authenticator must ask for the user
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, hash)
);

CREATE INDEX passkey_challenges_old ON passkey_challenges (expires_at);
