package sso

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// keepTraces is how long it is told what happened.
const keepTraces = 7 * 24 * time.Hour

// A Step is one check of an attempt. Personal values in it are masked.
type Step struct {
	Name     string `json:"name"`
	Expected string `json:"expected,omitempty"`
	Received string `json:"received,omitempty"`
	OK       bool   `json:"ok"`
}

// Detail is what a trace tells beside its cause.
type Detail struct {
	Steps []Step `json:"steps"`
	// Attributes are what came, by name, with how many values each and the first one
	// masked.
	Attributes []Seen `json:"attributes,omitempty"`
	Fix        Fix    `json:"fix,omitzero"`
}

// Seen is an attribute that came.
type Seen struct {
	Name   string `json:"name"`
	Sample string `json:"sample" doc:"Masked"`
	Values int    `json:"values"`
	UsedAs string `json:"used_as,omitempty" doc:"What the mapping makes of it"`
}

// A Trace is what happened at one attempt.
type Trace struct {
	ID         string
	Connection string
	At         time.Time
	Test       bool
	Cause      Cause // empty: it went well
	Detail
}

// Traces returns up to limit attempts at a connection, newest first, that are older than
// the one with id before (empty for the newest). The actor needs connections:read.
func (s *Service) Traces(ctx context.Context, db database.Reader, by access.Actor, organization, connection, before string, limit int) ([]Trace, error) {
	if _, err := s.Find(ctx, db, by, organization, connection); err != nil {
		return nil, err
	}
	if before == "" {
		before = "g" // after every id
	}
	return listTraces(ctx, db, by.Tenant, connection, before, s.DB.Now().Add(-keepTraces), min(limit, maxPage))
}

// Trace returns one attempt at a connection. The actor needs connections:read.
func (s *Service) Trace(ctx context.Context, db database.Reader, by access.Actor, organization, connection, id string) (Trace, error) {
	if _, err := s.Find(ctx, db, by, organization, connection); err != nil {
		return Trace{}, err
	}
	t, err := findTrace(ctx, db, by.Tenant, id, s.DB.Now().Add(-keepTraces))
	if err == nil && t.Connection != connection {
		return Trace{}, ErrTrace
	}
	return t, err
}

// Worked reports whether a test went well, and nothing else of it, so that it may be told
// to the browser that the test has ended in. It returns ErrTrace.
func (s *Service) Worked(ctx context.Context, tenant, trace string) (bool, error) {
	t, err := findTrace(ctx, s.DB, tenant, trace, s.DB.Now().Add(-keepTraces))
	if err == nil && !t.Test {
		err = ErrTrace
	}
	return t.Cause == "", err
}

const traceColumns = `id, connection_id, is_test, cause, detail, created_at`

func scanTrace(row database.Scanner) (t Trace, err error) {
	var detail string
	var created int64
	if err := row.Scan(&t.ID, &t.Connection, &t.Test, &t.Cause, &detail, &created); err != nil {
		return t, err
	}
	t.At = at(created)
	return t, json.Unmarshal([]byte(detail), &t.Detail)
}

func listTraces(ctx context.Context, db database.Reader, tenant, connection, before string, since time.Time, limit int) ([]Trace, error) {
	rows, err := db.Query(ctx, `
		SELECT `+traceColumns+` FROM sso_traces
		WHERE tenant_id = $1 AND connection_id = $2 AND id < $3 AND created_at > $4 ORDER BY id DESC LIMIT $5`, tenant, connection, before, since.UnixMilli(), limit)
	return database.Collect(rows, err, "list traces", scanTrace)
}

func findTrace(ctx context.Context, db database.Reader, tenant, id string, since time.Time) (Trace, error) {
	if !secret.IsID(id) {
		return Trace{}, ErrTrace
	}
	t, err := scanTrace(db.QueryRow(ctx, `SELECT `+traceColumns+` FROM sso_traces WHERE tenant_id = $1 AND id = $2 AND created_at > $3`, tenant, id, since.UnixMilli()))
	return t, orMissing(err, ErrTrace, "find trace")
}

// keepTrace travels with the next statement. No decision hangs on it.
func keepTrace(tx *database.Tx, tenant string, t Trace) {
	tx.Later(`INSERT INTO sso_traces (tenant_id, id, connection_id, is_test, cause, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tenant, t.ID, t.Connection, t.Test, string(t.Cause), encode(t.Detail), tx.Millis())
}

// noteHealth writes how a connection does, at most once a minute each way, so that
// many who sign in at once do not wait for one row.
func noteHealth(tx *database.Tx, tenant, connection string, cause Cause) {
	minute := tx.Now.Add(-time.Minute).UnixMilli()
	if cause == "" {
		tx.Later(`UPDATE sso_connections SET last_success_at = $3 WHERE tenant_id = $1 AND id = $2 AND COALESCE(last_success_at, 0) < $4`, tenant, connection, tx.Millis(), minute)
		return
	}
	tx.Later(`UPDATE sso_connections SET last_failure_at = $3, last_cause = $5 WHERE tenant_id = $1 AND id = $2 AND (COALESCE(last_failure_at, 0) < $4 OR last_cause <> $5)`,
		tenant, connection, tx.Millis(), minute, string(cause))
}

// Sweep removes what is over, in portions: flows, messages, traces, logouts. Run it every hour or
// so.
func (s *Service) Sweep(ctx context.Context) error {
	for _, sweep := range []func(ctx context.Context, tx *database.Tx, limit int) (int64, error){sweepFlows, sweepMessages, sweepTraces, sweepSessions, sweepLogouts} {
		if err := s.sweep(ctx, sweep); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) sweep(ctx context.Context, some func(ctx context.Context, tx *database.Tx, limit int) (int64, error)) error {
	const portion = 1000
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = some(ctx, tx, portion)
			return err
		})
		if err != nil || n < portion {
			return err
		}
	}
}

func sweepFlows(ctx context.Context, tx *database.Tx, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_flows WHERE (tenant_id, state_hash) IN (
			SELECT tenant_id, state_hash FROM sso_flows WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, tx.Now.Add(-Life).UnixMilli(), limit)
	return n, orMissing(err, nil, "sweep flows")
}

func sweepMessages(ctx context.Context, tx *database.Tx, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_messages WHERE (tenant_id, connection_id, message_hash) IN (
			SELECT tenant_id, connection_id, message_hash FROM sso_messages WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, tx.Millis(), limit)
	return n, orMissing(err, nil, "sweep messages")
}

func sweepTraces(ctx context.Context, tx *database.Tx, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_traces WHERE (tenant_id, id) IN (
			SELECT tenant_id, id FROM sso_traces WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, tx.Now.Add(-keepTraces).UnixMilli(), limit)
	return n, orMissing(err, nil, "sweep traces")
}
