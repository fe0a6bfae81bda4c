-- Work to be done later, see package jobs. Its tenant_id is empty for the
-- installation's own work.
CREATE TABLE jobs (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	kind        TEXT /*postgres COLLATE "C"*/ NOT NULL,
	unique_key  TEXT /*postgres COLLATE "C"*/, -- of an unfinished job, where the caller gave one
	payload     TEXT NOT NULL,           -- JSON
	state       TEXT NOT NULL,           -- waiting, running, done or dead
	due_at      BIGINT,                  -- when a worker may take it: a running job's lease ends; NULL once done or dead
	lease       TEXT NOT NULL DEFAULT '', -- who runs it, new with every claim
	attempts    BIGINT NOT NULL DEFAULT 0,
	last_error  TEXT NOT NULL DEFAULT '',
	checkpoint  TEXT NOT NULL DEFAULT '', -- JSON, the handler's own
	steps_done  BIGINT NOT NULL DEFAULT 0,
	steps_total BIGINT NOT NULL DEFAULT 0, -- 0 if not known
	message     TEXT NOT NULL DEFAULT '', -- for the person who waits
	created_at  BIGINT NOT NULL,
	finished_at BIGINT,
	keep_until  BIGINT,                  -- set when done or dead
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, kind, unique_key)
) /*sqlite WITHOUT ROWID*/;

-- Workers look for work of a kind whoever's it is.
CREATE INDEX jobs_due ON jobs (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_dead ON jobs (tenant_id, id) WHERE state = 'dead';
CREATE INDEX jobs_old ON jobs (keep_until) WHERE keep_until IS NOT NULL;

-- Mail and text messages and what became of them, see package notify.
CREATE TABLE messages (
	tenant_id   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id          TEXT /*postgres COLLATE "C"*/ NOT NULL,
	channel     TEXT NOT NULL,           -- email or sms
	purpose     TEXT NOT NULL,           -- "signin_link"
	recipient   TEXT /*postgres COLLATE "C"*/ NOT NULL,
	content     BYTEA,                   -- sealed; NULL once delivered or given up
	state       TEXT NOT NULL,           -- queued, sent or failed
	attempts    BIGINT NOT NULL DEFAULT 0,
	last_error  TEXT NOT NULL DEFAULT '', -- class of the last failure
	provider_id TEXT NOT NULL DEFAULT '',
	created_at  BIGINT NOT NULL,
	expires_at  BIGINT,                  -- pointless afterwards
	sent_at     BIGINT,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX messages_by_recipient ON messages (tenant_id, recipient, id);
CREATE INDEX messages_old ON messages (created_at);
