package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

func insertJob(ctx context.Context, tx *database.Tx, tenant, kind, payload string, opts Options) (id string, err error) {
	id = tx.NewID()
	due := tx.Now.Add(opts.Delay).UnixMilli()
	if opts.Unique == "" {
		tx.Later(`
			INSERT INTO jobs (tenant_id, id, kind, payload, state, due_at, created_at)
			VALUES ($1, $2, $3, $4, 'waiting', $5, $6)`,
			tenant, id, kind, payload, due, tx.Millis())
		return id, nil
	}
	// The update changes nothing; it is there to return the row that is in the way.
	err = tx.QueryRow(ctx, `
		INSERT INTO jobs (tenant_id, id, kind, payload, state, due_at, created_at, unique_key)
		VALUES ($1, $2, $3, $4, 'waiting', $5, $6, $7)
		ON CONFLICT (tenant_id, kind, unique_key) DO UPDATE SET unique_key = excluded.unique_key
		RETURNING id`,
		tenant, id, kind, payload, due, tx.Millis(), opts.Unique).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("insert job: %w", err)
	}
	return id, nil
}

const statusColumns = `id, kind, state, steps_done, steps_total, message, checkpoint, attempts, last_error, created_at, due_at, finished_at`

func scanStatus(row database.Scanner) (Status, error) {
	var s Status
	var checkpoint string
	var created int64
	var due, finished *int64
	err := row.Scan(&s.ID, &s.Kind, &s.State, &s.Progress.Done, &s.Progress.Total, &s.Progress.Message,
		&checkpoint, &s.Attempts, &s.LastError, &created, &due, &finished)
	if checkpoint != "" {
		s.Checkpoint = json.RawMessage(checkpoint)
	}
	s.CreatedAt = time.UnixMilli(created).UTC()
	if due != nil && s.State == Waiting {
		s.DueAt = time.UnixMilli(*due).UTC()
	}
	if finished != nil {
		s.FinishedAt = time.UnixMilli(*finished).UTC()
	}
	return s, err
}

func findJob(ctx context.Context, r database.Reader, tenant, id string) (Status, error) {
	s, err := scanStatus(r.QueryRow(ctx, `SELECT `+statusColumns+` FROM jobs WHERE tenant_id = $1 AND id = $2`, tenant, id))
	if errors.Is(err, database.ErrNoRows) {
		return Status{}, ErrNotFound
	}
	if err != nil {
		return Status{}, fmt.Errorf("find job: %w", err)
	}
	return s, nil
}

func listDead(ctx context.Context, r database.Reader, tenant, after string, limit int) ([]Status, error) {
	rows, err := r.Query(ctx, `
		SELECT `+statusColumns+` FROM jobs
		WHERE tenant_id = $1 AND state = 'dead' AND id > $2
		ORDER BY id LIMIT $3`, tenant, after, limit)
	return database.Collect(rows, err, "list dead jobs", scanStatus)
}

func reviveJob(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, `
		UPDATE jobs SET state = 'waiting', due_at = $3, attempts = 0, finished_at = NULL, keep_until = NULL
		WHERE tenant_id = $1 AND id = $2 AND state = 'dead'`, tenant, id, tx.Millis())
	return orNotFound(n, err, "rerun job")
}

func deleteJob(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM jobs WHERE tenant_id = $1 AND id = $2`, tenant, id)
	return orNotFound(n, err, "cancel job")
}

func orNotFound(n int64, err error, doing string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

// The statements from here to sweepJobs do not start with a tenant: the workers
// serve all tenants, and act for the tenant of the job that they have taken.

// firstDue returns when the first job of each kind is due, in Unix milliseconds.
// Each kind costs one look into the index, however many jobs wait.
func firstDue(ctx context.Context, r database.Reader, kinds []string) (map[string]int64, error) {
	var looks []string
	var args []any
	for i, kind := range kinds {
		n := i + 1
		looks = append(looks, fmt.Sprintf(
			`SELECT CAST($%d AS TEXT), (SELECT MIN(due_at) FROM jobs WHERE kind = $%d AND due_at IS NOT NULL)`, n, n))
		args = append(args, kind)
	}
	rows, err := r.Query(ctx, strings.Join(looks, " UNION ALL "), args...)
	due := map[string]int64{}
	_, err = database.Collect(rows, err, "look for due jobs", func(row database.Scanner) (kind string, err error) {
		var first *int64
		err = row.Scan(&kind, &first)
		if first != nil {
			due[kind] = *first
		}
		return kind, err
	})
	return due, err
}

// claimed names the jobs to claim. PostgreSQL lets workers step over the rows that
// another one is just claiming; on SQLite only one writes at a time anyway.
var claimed = map[string]string{
	database.SQLite: `
		SELECT tenant_id, id FROM jobs WHERE kind = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3`,
	database.PostgreSQL: `
		SELECT tenant_id, id FROM jobs WHERE kind = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3
		FOR UPDATE SKIP LOCKED`,
}

// claimJobs takes up to limit due jobs of a kind, waiting ones and those whose
// worker has let the lease end, in one statement: a job is never taken twice. The
// list is made first ("MATERIALIZED"), or PostgreSQL may make it again for each
// row and take more than limit.
func claimJobs(ctx context.Context, tx *database.Tx, kind string, lease time.Duration, limit int) ([]*Job, error) {
	token := tx.NewID()
	rows, err := tx.Query(ctx, `
		WITH claimed AS MATERIALIZED (`+claimed[tx.Engine()]+`)
		UPDATE jobs SET state = 'running', lease = $4, due_at = $5, attempts = attempts + 1
		WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM claimed)
		RETURNING tenant_id, id, payload, checkpoint, attempts`,
		kind, tx.Millis(), limit, token, tx.Now.Add(lease).UnixMilli())
	return database.Collect(rows, err, "claim jobs", func(row database.Scanner) (*Job, error) {
		j := &Job{Kind: kind, lease: token}
		var payload, checkpoint string
		err := row.Scan(&j.Tenant, &j.ID, &payload, &checkpoint, &j.Attempt)
		j.payload, j.checkpoint = []byte(payload), []byte(checkpoint)
		return j, err
	})
}

// update changes the job's row if its lease is still ours, else returns ErrLost.
// Assignments may use $4 and up for args.
func (j *Job) update(ctx context.Context, tx *database.Tx, assignments string, args ...any) error {
	n, err := tx.Exec(ctx, `UPDATE jobs SET `+assignments+` WHERE tenant_id = $1 AND id = $2 AND lease = $3`,
		append([]any{j.Tenant, j.ID, j.lease}, args...)...)
	return orLost(n, err)
}

func (j *Job) delete(ctx context.Context, tx *database.Tx) error {
	n, err := tx.Exec(ctx, `DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND lease = $3`, j.Tenant, j.ID, j.lease)
	return orLost(n, err)
}

func orLost(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrLost
	}
	return err
}

// insertRepeating makes the row of work that repeats, due at once. If it is there
// it stays, but does not wait longer than an interval that has become shorter.
func insertRepeating(ctx context.Context, tx *database.Tx, id, kind string, interval time.Duration) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO jobs (tenant_id, id, kind, payload, state, due_at, created_at)
		VALUES ('', $1, $2, 'null', 'waiting', $3, $3)
		ON CONFLICT (tenant_id, id) DO UPDATE SET due_at = $4
		WHERE jobs.state = 'waiting' AND jobs.due_at > $4`,
		id, kind, tx.Millis(), tx.Now.Add(interval).UnixMilli())
	if err != nil {
		return fmt.Errorf("plan %s: %w", kind, err)
	}
	return nil
}

func sweepJobs(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM jobs WHERE keep_until <= $1`, tx.Millis()); err != nil {
		return fmt.Errorf("sweep jobs: %w", err)
	}
	return nil
}
