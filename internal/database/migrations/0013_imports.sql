-- Imports of users and how far they have come, see package transfer. A file is
-- taken in windows; the place in the file and what is in the tables move in one
-- transaction.
CREATE TABLE imports (
	tenant_id     TEXT /*postgres COLLATE "C"*/ NOT NULL,
	id            TEXT /*postgres COLLATE "C"*/ NOT NULL,
	fingerprint   TEXT NOT NULL,          -- of the file and of how it is read
	source        TEXT NOT NULL,          -- name of the file, for people
	options       TEXT NOT NULL,          -- JSON of transfer.Options, without secrets
	secret        BYTEA,                  -- the rest of the options, sealed; NULL once finished
	actor         TEXT NOT NULL,          -- who asked for it, and the request, for the events
	ip            TEXT NOT NULL,
	user_agent    TEXT NOT NULL,
	request_id    TEXT NOT NULL,
	state         TEXT NOT NULL,          -- running, done, failed or cancelled
	error         TEXT NOT NULL DEFAULT '',
	size          BIGINT NOT NULL,        -- bytes of the file
	window_offset BIGINT NOT NULL DEFAULT 0, -- where the window under way starts
	window_line   BIGINT NOT NULL DEFAULT 0,
	window_record BIGINT NOT NULL DEFAULT 0, -- records before it
	window_done   BIGINT NOT NULL DEFAULT 0, -- records of it that are settled, in its own order
	records       BIGINT NOT NULL DEFAULT 0, -- of the file; 0 until known
	created       BIGINT NOT NULL DEFAULT 0,
	updated       BIGINT NOT NULL DEFAULT 0,
	refused       BIGINT NOT NULL DEFAULT 0,
	present       BIGINT NOT NULL DEFAULT 0, -- of the refused, whose user is there already
	rate          BIGINT NOT NULL DEFAULT 0, -- records a second
	created_at    BIGINT NOT NULL,
	modified_at   BIGINT NOT NULL,
	finished_at   BIGINT,
	PRIMARY KEY (tenant_id, id)
);

-- The same file read in the same way is one import until it is finished.
CREATE UNIQUE INDEX imports_running ON imports (tenant_id, fingerprint) WHERE state = 'running';
CREATE INDEX imports_old ON imports (finished_at) WHERE finished_at IS NOT NULL;

-- Records that were not imported, and why, up to some number. Never a secret.
CREATE TABLE import_refusals (
	tenant_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	import_id TEXT /*postgres COLLATE "C"*/ NOT NULL,
	record    BIGINT NOT NULL,            -- place in the file, from 1
	line      BIGINT NOT NULL,            -- where the record starts, from 1
	login     TEXT NOT NULL,              -- e-mail address, username or phone number, as far as known
	code      TEXT NOT NULL,
	message   TEXT NOT NULL,
	PRIMARY KEY (tenant_id, import_id, record),
	FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id) ON DELETE CASCADE
) /*sqlite WITHOUT ROWID*/;
