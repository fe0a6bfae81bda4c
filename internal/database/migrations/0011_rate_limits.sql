-- Counted attempts, see package ratelimit. A missing row counts nothing, so a row
-- past expires_at may go at any time.
CREATE TABLE rate_limits (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	name       TEXT /*postgres COLLATE "C"*/ NOT NULL, -- of the limit
	key        BYTEA NOT NULL,           -- hash of what is limited: an account, an address
	taken      BIGINT NOT NULL,          -- uses in a row; 0 for a limit by rate
	at         BIGINT NOT NULL,          -- of the last use; for a limit by rate when all uses are free again
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, name, key)
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX rate_limits_expired ON rate_limits (expires_at);
