-- Counted attempts, see package ratelimit. A missing row counts nothing, so rows
-- past expires_at may go at any time.
CREATE TABLE rate_limits (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name       TEXT /*postgres COLLATE "C"*/ NOT NULL, -- of the limit
	key        BYTEA NOT NULL,           -- hash of what is limited: an account, an address
	taken      BIGINT NOT NULL,          -- in a row, of a limit whose delay grows
	free_at    BIGINT NOT NULL,          -- see ratelimit.Limiter
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, name, key)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX rate_limits_expired ON rate_limits (expires_at);
