-- Links and codes that are out with somebody. Of an attempt and a purpose there is
-- one: the next takes its place, and the one before is good no more.
CREATE TABLE challenges (
	tenant_id  TEXT /*postgres COLLATE "C"*/ NOT NULL,
	owner      TEXT /*postgres COLLATE "C"*/ NOT NULL, -- the attempt it belongs to, or "to:" and the target if to none
	purpose    TEXT /*postgres COLLATE "C"*/ NOT NULL, -- what it proves something for
	id         TEXT /*postgres COLLATE "C"*/ NOT NULL, -- handle of the waiting page, not secret
	attempt    TEXT NOT NULL,             -- may be empty
	channel    TEXT NOT NULL,             -- email or sms
	target     TEXT NOT NULL,             -- canonical address or number
	link_hash  BYTEA NOT NULL,            -- SHA-256 of the link's token
	code_mac   BYTEA NOT NULL,            -- of the code, for this id, purpose and target
	silent     BOOLEAN NOT NULL,          -- nothing was sent, nothing is right
	language   TEXT NOT NULL,             -- BCP 47, of the message
	tries      BIGINT NOT NULL,           -- guesses at the code, counted before they are judged
	sends      BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	sent_at    BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	used_at    BIGINT,
	PRIMARY KEY (tenant_id, owner, purpose),
	UNIQUE (tenant_id, id),
	UNIQUE (tenant_id, link_hash)
);

CREATE INDEX challenges_old ON challenges (expires_at);
