-- Sign-ins in progress, see package signin.
CREATE TABLE attempts (
	tenant_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id             TEXT /*postgres COLLATE "C"*/ NOT NULL,
	handle_hash    BYTEA NOT NULL,        -- SHA-256 of "state"
	browser_hash   BYTEA,                 -- SHA-256 of the browser's name; NULL for one that an application began by the API
	application_id TEXT NOT NULL,
	request        TEXT NOT NULL,         -- JSON of signin.request: what was asked for
	identifier     TEXT NOT NULL DEFAULT '', -- as typed, canonical if it is an address or a number
	channel        TEXT NOT NULL DEFAULT '', -- that reaches it: email, sms or none
	challenge_id   TEXT NOT NULL DEFAULT '', -- the link and code that were sent last
	number_tries   BIGINT NOT NULL DEFAULT 0, -- wrong numbers typed where the link was opened
	user_id        TEXT NOT NULL DEFAULT '', -- who was proved
	method         TEXT NOT NULL DEFAULT '', -- by what
	proved_at      BIGINT,
	finished_at    BIGINT,
	session_id     TEXT NOT NULL DEFAULT '', -- it ended in
	handed_at      BIGINT,                -- when tokens were handed out to whoever asked by the API
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, handle_hash)
);

CREATE INDEX attempts_old ON attempts (expires_at);

-- Browsers in which a user has signed in before. One that is known is not held up by
-- strangers who try passwords elsewhere.
CREATE TABLE known_browsers (
	tenant_id    TEXT /*postgres COLLATE "C"*/ NOT NULL,
	user_id      TEXT /*postgres COLLATE "C"*/ NOT NULL,
	browser_hash BYTEA NOT NULL,
	first_at     BIGINT NOT NULL,
	last_at      BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, user_id, browser_hash),
	FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;

CREATE INDEX known_browsers_old ON known_browsers (last_at);
