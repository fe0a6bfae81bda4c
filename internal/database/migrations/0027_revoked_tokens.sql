-- Access tokens that were revoked before their time and belong to no grant that
-- could have ended, see package token.
CREATE TABLE revoked_tokens (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	jti        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, jti)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX revoked_tokens_old ON revoked_tokens (expires_at);
