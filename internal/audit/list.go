package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// A Listed event is one that was read back.
type Listed struct {
	ID        string          `json:"id"`
	At        time.Time       `json:"at"` // UTC, to the millisecond
	Actor     string          `json:"actor"`
	Action    string          `json:"action"`
	Target    string          `json:"target"`
	TargetID  string          `json:"target_id"`
	Result    string          `json:"result"`
	Reason    string          `json:"reason"`
	Method    string          `json:"method"`
	IP        string          `json:"ip"`
	UserAgent string          `json:"user_agent"`
	RequestID string          `json:"request_id"`
	Detail    json.RawMessage `json:"detail"` // an object
	Seq       int64           `json:"seq"`    // place in the tenant's chain, 0 for the second before it has one
}

// A Filter says which events to list. What is empty does not matter.
type Filter struct {
	Action   string    // what the action starts with: "user." or "user.created"
	Actor    string    // "user:<id>"
	TargetID string    // what it happened to
	Result   string    // Success or Failure
	Since    time.Time // the earliest, to the millisecond
	Until    time.Time // the first moment that is too late
	Cursor   string    // the id of the last event already seen
}

// MaxList is the most events that List returns at once.
const MaxList = 1000

// List returns events of one tenant, newest first. There may be more when it
// returns as many as limit; ask again with the id of the last one as the cursor.
func List(ctx context.Context, r database.Reader, tenant string, f Filter, limit int) ([]Listed, error) {
	where, args := f.conditions(tenant)
	args = append(args, min(max(limit, 1), MaxList))
	newest := fmt.Sprintf("ORDER BY id DESC LIMIT $%d", len(args))
	// One statement over both tables: an event that is being sealed is in one of
	// them. Each half has a limit of its own, or PostgreSQL sorts the whole log.
	rows, err := r.Query(ctx, fmt.Sprintf(`
		SELECT %[1]s, seq FROM (SELECT %[1]s, CAST(0 AS BIGINT) AS seq FROM audit_unsealed WHERE %[2]s %[3]s) AS fresh
		UNION ALL
		SELECT %[1]s, seq FROM (SELECT %[1]s, seq FROM audit_events WHERE %[2]s %[3]s) AS sealed
		%[3]s`, columns, where, newest), args...)
	return database.Collect(rows, err, "list events", func(from database.Scanner) (Listed, error) {
		var e row
		err := e.scan(from, &e.seq)
		return e.listed(), err
	})
}

// conditions are constants joined together; everything given is a parameter.
func (f Filter) conditions(tenant string) (where string, args []any) {
	conditions, args := []string{"tenant_id = $1"}, []any{tenant}
	add := func(condition, value string) {
		if value != "" {
			args = append(args, clean(value, maxText)) // as Append keeps it; PostgreSQL refuses some texts
			conditions = append(conditions, fmt.Sprintf("%s $%d", condition, len(args)))
		}
	}
	add("actor =", f.Actor)
	add("target_id =", f.TargetID)
	add("result =", f.Result)
	if f.Action != "" {
		add("action >=", f.Action)
		add("action <", clean(f.Action, maxText-4)+string(utf8.RuneError)) // behind whatever starts so
	}
	// Ids sort by time, so they stand for it and one index serves all of these.
	if !f.Since.IsZero() {
		add("id >=", secret.FirstID(f.Since))
	}
	if !f.Until.IsZero() {
		add("id <", secret.FirstID(f.Until))
	}
	add("id <", f.Cursor)
	return strings.Join(conditions, " AND "), args
}

func (e *row) listed() Listed {
	detail := json.RawMessage(e.detail)
	if !json.Valid(detail) { // altered in the database; the page must still show the rest
		detail = json.RawMessage("{}")
	}
	return Listed{
		ID: e.id, At: time.UnixMilli(e.at).UTC(), Actor: e.actor, Action: e.action, Target: e.target, TargetID: e.targetID,
		Result: e.result, Reason: e.reason, Method: e.method, IP: e.ip, UserAgent: e.userAgent, RequestID: e.requestID,
		Detail: detail, Seq: e.seq,
	}
}
