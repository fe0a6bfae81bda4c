package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// A kept import is one in the database: how far it has come, and what it needs to go on.
type kept struct {
	Progress
	Source     string       // name of the file
	Actor      access.Actor // without permissions
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it runs

	tenant  string
	options Options
	secret  []byte // the sealed part of the options
	window  position
	done    int64 // records of the window that are settled
}

const importColumns = `tenant_id, id, source, options, secret, actor, ip, user_agent, request_id, state, error, size, window_offset, window_line, window_record, window_done,
	records, created, updated, refused, present, rate, created_at, finished_at`

func scanImport(row database.Scanner) (m kept, err error) {
	var options string
	var line, record, created int64
	var finished *int64
	err = row.Scan(&m.tenant, &m.ID, &m.Source, &options, &m.secret, &m.Actor.Name, &m.Actor.IP, &m.Actor.UserAgent, &m.Actor.RequestID, &m.State, &m.Error, &m.Size, &m.window.offset, &line, &record, &m.done,
		&m.Total, &m.Created, &m.Updated, &m.Refused, &m.Present, &m.Rate, &created, &finished)
	if err != nil {
		return m, err
	}
	m.Actor.Tenant = m.tenant
	m.window.line, m.window.record = int32(line), int32(record)
	m.Records = record + m.done
	m.CreatedAt = time.UnixMilli(created).UTC()
	if finished != nil {
		m.FinishedAt = time.UnixMilli(*finished).UTC()
	}
	err = json.Unmarshal([]byte(options), &m.options)
	m.Format = m.options.Format
	return m, err
}

// startImport writes a new import, or returns the one that is under way with the
// same file and options. One statement decides, so that there are never two.
func startImport(ctx context.Context, tx *database.Tx, by access.Actor, m kept, fingerprint string) (kept, error) {
	options, err := json.Marshal(m.options)
	if err != nil {
		return m, fmt.Errorf("encode import options: %w", err)
	}
	n, err := tx.Exec(ctx, `
		INSERT INTO imports (tenant_id, id, fingerprint, source, options, secret, actor, ip, user_agent, request_id, state, size, window_line, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'running', $11, 1, $12, $12)
		ON CONFLICT (tenant_id, fingerprint) WHERE state = 'running' DO NOTHING`,
		by.Tenant, cmp.Or(m.ID, tx.NewID()), fingerprint, m.Source, string(options), m.secret, by.Name, by.IP, by.UserAgent, by.RequestID, m.Size, tx.Millis())
	if err != nil {
		return m, fmt.Errorf("start import: %w", err)
	}
	m, err = scanImport(tx.QueryRow(ctx, "SELECT "+importColumns+" FROM imports WHERE tenant_id = $1 AND fingerprint = $2 AND state = 'running'", by.Tenant, fingerprint))
	if err != nil {
		return m, fmt.Errorf("start import: %w", err)
	}
	if n == 0 {
		return m, nil
	}
	return m, audit.Append(tx, by, audit.Event{Action: "import.started", Target: "import", TargetID: m.ID, Detail: map[string]any{
		"source": m.Source, "format": m.Format, "bytes": m.Size, "dry_run": m.options.DryRun, "roles": m.options.Roles, "on_conflict": m.options.OnConflict}})
}

func findImport(ctx context.Context, db database.Reader, tenant, id string) (kept, error) {
	m, err := scanImport(db.QueryRow(ctx, "SELECT "+importColumns+" FROM imports WHERE tenant_id = $1 AND id = $2", tenant, id))
	if errors.Is(err, database.ErrNoRows) {
		return m, ErrNotFound
	}
	if err != nil {
		return m, fmt.Errorf("find import: %w", err)
	}
	return m, nil
}

func listImports(ctx context.Context, db database.Reader, tenant string, limit int) ([]kept, error) {
	rows, err := db.Query(ctx, "SELECT "+importColumns+" FROM imports WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2", tenant, int64(limit))
	return database.Collect(rows, err, "list imports", scanImport)
}

func countRunning(ctx context.Context, db database.Reader, tenant string) (n int64, err error) {
	if err := db.QueryRow(ctx, "SELECT count(*) FROM imports WHERE tenant_id = $1 AND state = 'running'", tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count imports: %w", err)
	}
	return n, nil
}

// moveImport moves an import from where it was to where to is, in the transaction
// of the users in between. Whoever works on the same import and comes second gets
// ErrLost, and with it nobody in twice.
func moveImport(ctx context.Context, tx *database.Tx, from, to *kept) error {
	n, err := tx.Exec(ctx, `
		UPDATE imports SET window_offset = $3, window_line = $4, window_record = $5, window_done = $6,
			records = $7, created = $8, updated = $9, refused = $10, present = $11, rate = $12, modified_at = $13
		WHERE tenant_id = $1 AND id = $2 AND state = 'running' AND window_record = $14 AND window_done = $15`,
		to.tenant, to.ID, to.window.offset, int64(to.window.line), int64(to.window.record), to.done,
		to.Total, to.Created, to.Updated, to.Refused, to.Present, to.Rate, tx.Millis(), int64(from.window.record), from.done)
	if err != nil {
		return fmt.Errorf("move import: %w", err)
	}
	if n == 0 {
		return ErrLost
	}
	return nil
}

// finishImport ends a running import and forgets what is secret of its options. The
// actor is who ends it: whoever cancels it, else whoever asked for it.
func finishImport(ctx context.Context, tx *database.Tx, by access.Actor, id, state, reason string, total int64) error {
	var records, created, updated, refused int64
	err := tx.QueryRow(ctx, `
		UPDATE imports SET state = $3, error = $4, records = CASE WHEN $5 > 0 THEN $5 ELSE records END, secret = NULL, finished_at = $6, modified_at = $6
		WHERE tenant_id = $1 AND id = $2 AND state = 'running'
		RETURNING window_record + window_done, created, updated, refused`, by.Tenant, id, state, reason, total, tx.Millis()).
		Scan(&records, &created, &updated, &refused)
	if errors.Is(err, database.ErrNoRows) {
		return ErrLost
	}
	if err != nil {
		return fmt.Errorf("finish import: %w", err)
	}
	e := audit.Event{Action: "import.finished", Target: "import", TargetID: id,
		Detail: map[string]any{"records": records, "created": created, "updated": updated, "refused": refused}}
	switch state {
	case Cancelled:
		e.Action = "import.cancelled"
	case Failed:
		e.Result, e.Reason, e.Detail["message"] = audit.Failure, "import_failed", reason
	}
	return audit.Append(tx, by, e)
}

// restartImport forgets what a dry run has found, since it does not know any more
// whom it has seen.
func restartImport(ctx context.Context, tx *database.Tx, m *kept) error {
	tx.Later("DELETE FROM import_refusals WHERE tenant_id = $1 AND import_id = $2", m.tenant, m.ID)
	fresh := *m
	fresh.window, fresh.done, fresh.Created, fresh.Updated, fresh.Refused, fresh.Present, fresh.Records = position{line: 1}, 0, 0, 0, 0, 0, 0
	if err := moveImport(ctx, tx, m, &fresh); err != nil {
		return err
	}
	*m = fresh
	return nil
}

// maxRefusals is how many refusals of an import are stored. Further ones are only
// counted, or a file of nothing but those would grow manyfold in the database.
const maxRefusals = 10_000

func insertRefusals(ctx context.Context, tx *database.Tx, tenant, id string, refusals []Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	rows := make([][]any, len(refusals))
	for i, r := range refusals {
		rows[i] = []any{tenant, id, r.Record, r.Line, r.Login, r.Code, r.Message}
	}
	if err := tx.Copy(ctx, "import_refusals", []string{"tenant_id", "import_id", "record", "line", "login", "code", "message"}, rows); err != nil {
		return fmt.Errorf("note refused records: %w", err)
	}
	return nil
}

// listRefusals returns up to limit refusals in the order of the file, after a
// record.
func listRefusals(ctx context.Context, db database.Reader, tenant, id string, after int64, limit int) ([]Refusal, error) {
	rows, err := db.Query(ctx, `
		SELECT record, line, login, code, message FROM import_refusals
		WHERE tenant_id = $1 AND import_id = $2 AND record > $3 ORDER BY record LIMIT $4`, tenant, id, after, int64(limit))
	return database.Collect(rows, err, "list refused records", func(row database.Scanner) (r Refusal, err error) {
		err = row.Scan(&r.Record, &r.Line, &r.Login, &r.Code, &r.Message)
		return r, err
	})
}

// keepImports is how long a finished import and its report can be looked at.
const keepImports = 30 * 24 * time.Hour

// sweepImports removes old imports of all tenants.
func sweepImports(ctx context.Context, tx *database.Tx) error {
	_, err := tx.Exec(ctx, "DELETE FROM imports WHERE finished_at < $1", tx.Now.Add(-keepImports).UnixMilli())
	if err != nil {
		return fmt.Errorf("sweep imports: %w", err)
	}
	return nil
}
