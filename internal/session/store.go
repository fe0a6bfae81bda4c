package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

const sessionColumns = `id, user_id, application_id, amr, acr, auth_at, ip, client, os, device, country, city, created_at, seen_at, idle, idle_until, expires_at, ended_at, organization_id, ways`

func scanSession(row database.Scanner) (Session, error) {
	var s Session
	var amr, ways string
	var auth, created, seen, idle, until, expires int64
	err := row.Scan(&s.ID, &s.UserID, &s.ApplicationID, &amr, &s.ACR, &auth, &s.From.IP, &s.From.Client, &s.From.OS, &s.From.Device, &s.From.Country, &s.From.City,
		&created, &seen, &idle, &until, &expires, &s.endedAt, &s.OrganizationID, &ways)
	s.AMR, s.Ways = strings.Fields(amr), strings.Fields(ways)
	s.AuthAt, s.CreatedAt, s.SeenAt = at(auth), at(created), at(seen)
	s.idle, s.idleUntil, s.ExpiresAt = time.Duration(idle)*time.Millisecond, at(until), at(expires)
	return s, err
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func insertSession(tx *database.Tx, tenant string, s Session, hash []byte) {
	tx.Must(orUserGone(ErrNotFound, "insert session"), `
		INSERT INTO sessions (tenant_id, id, user_id, token_hash, application_id, amr, acr, auth_at, ip, client, os, device, country, city,
			created_at, seen_at, idle, idle_until, expires_at, organization_id, ways)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17, $18, $19, $20)`,
		tenant, s.ID, s.UserID, hash, s.ApplicationID, strings.Join(s.AMR, " "), s.ACR, s.AuthAt.UnixMilli(),
		s.From.IP, s.From.Client, s.From.OS, s.From.Device, s.From.Country, s.From.City,
		tx.Millis(), s.idle.Milliseconds(), s.idleUntil.UnixMilli(), s.ExpiresAt.UnixMilli(), s.OrganizationID, strings.Join(s.Ways, " "))
}

// orUserGone is for a row that hangs on one of a user.
func orUserGone(gone *problem.Problem, doing string) func(int64, error) error {
	return func(_ int64, err error) error {
		switch {
		case err == nil:
			return nil
		case database.IsMissingParent(err):
			return gone.Because("the user is gone")
		default:
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
}

// checkFloor returns ErrStale if everything of a user was ended after a proof was
// begun. It holds the row, so that whoever ends everything at the same moment comes
// before or after, and then sees what was started. It returns how many sessions the
// user has, but for those that began at the same moment.
func checkFloor(ctx context.Context, tx *database.Tx, tenant, user string, since time.Time) (sessions int, err error) {
	var at int64
	err = tx.QueryRow(ctx, `
		INSERT INTO session_floors (tenant_id, user_id, at) VALUES ($1, $2, 0)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET at = session_floors.at
		RETURNING at, (SELECT count(*) FROM (SELECT 1 FROM sessions WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL LIMIT $3) AS live)`,
		tenant, user, maxPerUser).Scan(&at, &sessions)
	if err == nil && at > since.UnixMilli() {
		return 0, ErrStale
	}
	return sessions, orUserGone(ErrNotFound, "check floor of sessions")(0, err)
}

// raiseFloor makes proofs void that were begun before now.
func raiseFloor(ctx context.Context, tx *database.Tx, tenant, user string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO session_floors (tenant_id, user_id, at) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET at = excluded.at`, tenant, user, tx.Millis())
	if err != nil && !database.IsMissingParent(err) { // a user who is gone starts nothing
		return fmt.Errorf("raise floor of sessions: %w", err)
	}
	return nil
}

// endOldest ends the sessions of a user that leave no place for one more, those used
// longest ago first, and returns their ids.
func endOldest(ctx context.Context, tx *database.Tx, tenant, user string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE sessions SET ended_at = $3, end_reason = 'too_many'
		WHERE tenant_id = $1 AND id IN (
			SELECT id FROM sessions WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL
			ORDER BY seen_at DESC, id DESC LIMIT 1000 OFFSET $4)
		RETURNING id`,
		tenant, user, tx.Millis(), maxPerUser-1)
	return database.Collect(rows, err, "make room for a session", scanText)
}

// findSession returns the session with that id or token_hash, live or not.
func findSession(ctx context.Context, db database.Reader, tenant, column string, value any) (Session, error) {
	s, err := scanSession(db.QueryRow(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE tenant_id = $1 AND `+column+` = $2`, tenant, value))
	return s, orNotFound(err, ErrNotFound, "find session")
}

func orNotFound(err, missing error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrNoRows):
		return missing
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// updateProof is one statement, so that a session that ends meanwhile is not
// brought back.
func updateProof(ctx context.Context, tx *database.Tx, tenant, id string, p Proof, hash []byte) (Session, error) {
	s, err := scanSession(tx.QueryRow(ctx, `
		UPDATE sessions SET token_hash = $3, amr = $4, acr = $5, auth_at = $6, seen_at = $7, ways = $8, `+enters+`
		WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL AND idle_until > $7 AND expires_at > $7
		RETURNING `+sessionColumns,
		tenant, id, hash, strings.Join(p.AMR, " "), p.ACR, p.At.UnixMilli(), tx.Millis(), strings.Join(p.Ways, " "),
		p.Entry.Organization, orEndless(p.Entry.Limit.Idle), p.At.UnixMilli()+orEndless(p.Entry.Limit.Absolute)))
	return s, orNotFound(err, ErrNotFound, "renew session")
}

// enters takes a session, used at $7, into the organization $9, whose sessions go idle
// after $10 and end at $11, in milliseconds.
const enters = `
	organization_id = CASE WHEN $9 = '' THEN organization_id ELSE $9 END,
	idle = CASE WHEN idle > $10 THEN $10 ELSE idle END,
	idle_until = $7 + CASE WHEN idle > $10 THEN $10 ELSE idle END,
	expires_at = CASE WHEN expires_at > $11 THEN $11 ELSE expires_at END `

// orEndless is a limit in milliseconds; zero is none.
func orEndless(limit time.Duration) int64 {
	if limit <= 0 {
		return endless
	}
	return limit.Milliseconds()
}

const endless = int64(1) << 50 // milliseconds: 35,000 years

// updateEntry is updateProof for a session whose user proves nothing anew.
func updateEntry(ctx context.Context, tx *database.Tx, tenant, id string, e Entry) (Session, error) {
	s, err := scanSession(tx.QueryRow(ctx, `
		UPDATE sessions SET organization_id = $3, idle = CASE WHEN idle > $4 THEN $4 ELSE idle END, seen_at = $6,
			idle_until = $6 + CASE WHEN idle > $4 THEN $4 ELSE idle END,
			expires_at = CASE WHEN expires_at > auth_at + $5 THEN auth_at + $5 ELSE expires_at END
		WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL AND idle_until > $6 AND expires_at > $6 AND auth_at + $5 > $6
		RETURNING `+sessionColumns,
		tenant, id, e.Organization, orEndless(e.Limit.Idle), orEndless(e.Limit.Absolute), tx.Millis()))
	return s, orNotFound(err, ErrNotFound, "take session into an organization")
}

// leaveSessions ends the sessions that are in an organization, of one user or, if that
// is empty, of all.
func leaveSessions(ctx context.Context, tx *database.Tx, tenant, organization, user, reason string) ([]Session, error) {
	rows, err := tx.Query(ctx, `
		UPDATE sessions SET ended_at = $4, end_reason = $5
		WHERE tenant_id = $1 AND organization_id = $2 AND organization_id <> '' AND ended_at IS NULL AND `+ofUser(user)+`
		RETURNING `+sessionColumns, tenant, organization, user, tx.Millis(), reason)
	return database.Collect(rows, err, "end sessions of an organization", scanSession)
}

// ofUser is a condition on $3: that user, or everybody if it is empty.
func ofUser(user string) string {
	if user == "" {
		return "$3 = ''"
	}
	return "user_id = $3"
}

// leaveGrants is leaveSessions for grants: those made for the organization, and those
// that hang on a session that leaveSessions has just ended.
func leaveGrants(ctx context.Context, tx *database.Tx, tenant, organization, user, reason string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE grants SET ended_at = $4, end_reason = $5
		WHERE tenant_id = $1 AND organization_id = $2 AND organization_id <> '' AND ended_at IS NULL AND `+ofUser(user)+`
		RETURNING id`, tenant, organization, user, tx.Millis(), reason)
	ended, err := database.Collect(rows, err, "end grants of an organization", scanText)
	if err != nil {
		return nil, err
	}
	rows, err = tx.Query(ctx, `
		UPDATE grants SET ended_at = $4, end_reason = $5
		WHERE tenant_id = $1 AND ended_at IS NULL AND NOT outlives AND session_id IN (
			SELECT id FROM sessions WHERE tenant_id = $1 AND organization_id = $2 AND organization_id <> '' AND ended_at = $4 AND `+ofUser(user)+`)
		RETURNING id`, tenant, organization, user, tx.Millis(), reason)
	hung, err := database.Collect(rows, err, "end grants of sessions", scanText)
	return append(ended, hung...), err
}

// touchSession travels with the commit: nothing hangs on whether there is still
// something to note.
func touchSession(tx *database.Tx, u use) {
	tx.Later(`
		UPDATE sessions SET seen_at = $3, idle_until = $3 + idle
		WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL AND idle_until > $3`, u.tenant, u.session, tx.Millis())
}

func listSessions(ctx context.Context, db database.Reader, tenant, user string, now time.Time) ([]Session, error) {
	rows, err := db.Query(ctx, `
		SELECT `+sessionColumns+` FROM sessions
		WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL AND idle_until > $3 AND expires_at > $3
		ORDER BY seen_at DESC, id DESC LIMIT $4`, tenant, user, now.UnixMilli(), maxPerUser)
	return database.Collect(rows, err, "list sessions", scanSession)
}

// endSessions ends the user's sessions that meet a condition on $5 and returns their
// ids.
func endSessions(ctx context.Context, tx *database.Tx, tenant, user, reason, condition, value string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE sessions SET ended_at = $3, end_reason = $4
		WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL AND `+condition+` RETURNING id`, tenant, user, tx.Millis(), reason, value)
	return database.Collect(rows, err, "end sessions", scanText)
}

func scanText(row database.Scanner) (text string, err error) {
	err = row.Scan(&text)
	return text, err
}

// holdSession makes whoever ends a live session wait until tx has ended, and fails if
// it has ended: what is made from a session ends with it, also if both happen at once.
func holdSession(tx *database.Tx, tenant, id string) {
	tx.Must(func(held int64, err error) error {
		if err != nil {
			return fmt.Errorf("hold session: %w", err)
		}
		if held == 0 {
			return ErrNotFound
		}
		return nil
	}, `
		UPDATE sessions SET seen_at = seen_at
		WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL AND idle_until > $3 AND expires_at > $3`, tenant, id, tx.Millis())
}

const grantColumns = `id, user_id, session_id, outlives, application_id, scope, detail, jkt, generation, rotated_at, created_at, idle_until, expires_at, ended_at, organization_id`

func scanGrant(row database.Scanner) (Grant, error) {
	var g Grant
	var detail string
	var rotated, created, until, expires int64
	if err := row.Scan(&g.ID, &g.UserID, &g.SessionID, &g.Outlives, &g.ApplicationID, &g.Scope, &detail, &g.KeyThumbprint, &g.generation, &rotated, &created, &until, &expires, &g.endedAt, &g.OrganizationID); err != nil {
		return Grant{}, err
	}
	g.rotatedAt, g.CreatedAt, g.idleUntil, g.ExpiresAt = at(rotated), at(created), at(until), at(expires)
	return g, json.Unmarshal([]byte(detail), &g.Detail)
}

func insertGrant(tx *database.Tx, tenant string, g Grant, idle time.Duration) error {
	detail, err := json.Marshal(g.Detail)
	if err != nil {
		return fmt.Errorf("encode grant: %w", err)
	}
	tx.Must(orUserGone(ErrGrant, "insert grant"), `
		INSERT INTO grants (tenant_id, id, user_id, session_id, outlives, application_id, scope, detail, jkt, generation, rotated_at, created_at, idle, idle_until, expires_at, organization_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $10, $11, $12, $13, $14)`,
		tenant, g.ID, g.UserID, g.SessionID, g.Outlives, g.ApplicationID, g.Scope, string(detail), g.KeyThumbprint, tx.Millis(), idle.Milliseconds(), g.idleUntil.UnixMilli(), g.ExpiresAt.UnixMilli(), g.OrganizationID)
	return nil
}

func findGrant(ctx context.Context, db database.Reader, tenant, id string) (Grant, error) {
	g, err := scanGrant(db.QueryRow(ctx, `SELECT `+grantColumns+` FROM grants WHERE tenant_id = $1 AND id = $2`, tenant, id))
	return g, orNotFound(err, ErrGrant, "find grant")
}

// rotateGrant is one statement, so that of many who come with the same generation
// one makes the next.
func rotateGrant(ctx context.Context, tx *database.Tx, tenant, id, application, jkt string, generation int64) (Grant, error) {
	return scanGrant(tx.QueryRow(ctx, `
		UPDATE grants SET generation = generation + 1, rotated_at = $6, idle_until = $6 + idle
		WHERE tenant_id = $1 AND id = $2 AND application_id = $3 AND jkt = $4 AND generation = $5
			AND ended_at IS NULL AND idle_until > $6 AND expires_at > $6
		RETURNING `+grantColumns, tenant, id, application, jkt, generation, tx.Millis()))
}

// endGrants ends the grants that meet a condition on $4 and returns their ids.
func endGrants(ctx context.Context, tx *database.Tx, tenant, reason, condition, value string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE grants SET ended_at = $2, end_reason = $3
		WHERE tenant_id = $1 AND ended_at IS NULL AND `+condition+` RETURNING id`, tenant, tx.Millis(), reason, value)
	return database.Collect(rows, err, "end grants", scanText)
}

func endGrantsOf(ctx context.Context, tx *database.Tx, tenant, user, application, reason string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE grants SET ended_at = $2, end_reason = $3
		WHERE tenant_id = $1 AND user_id = $4 AND application_id = $5 AND ended_at IS NULL RETURNING id`, tenant, tx.Millis(), reason, user, application)
	return database.Collect(rows, err, "end grants of an application", scanText)
}

func listApplications(ctx context.Context, db database.Reader, tenant, session string) ([]string, error) {
	rows, err := db.Query(ctx, `
		SELECT DISTINCT application_id FROM grants WHERE tenant_id = $1 AND session_id = $2 LIMIT 1000`, tenant, session)
	return database.Collect(rows, err, "list applications of a session", scanText)
}

// sweep deletes rows that ran out before a moment, of all tenants.
func sweep(ctx context.Context, tx *database.Tx, table string, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM `+table+` WHERE (tenant_id, id) IN (
			SELECT tenant_id, id FROM `+table+` WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", table, err)
	}
	return n, nil
}
