package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// A storedRequest is a request as it is kept.
type storedRequest struct {
	request
	startedAt time.Time // when the browser came with it
}

// insertRequest keeps a request under the hash of a handle. browser is nil for one
// that any browser may go on with, but only one does.
func insertRequest(ctx context.Context, tx *database.Tx, tenant string, hash, browser []byte, req request, lifetime time.Duration) error {
	text, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode authorization request: %w", err)
	}
	var started *int64
	if browser != nil {
		now := tx.Millis()
		started = &now
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO authorization_requests (tenant_id, handle_hash, browser_hash, request, created_at, started_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tenant, hash, browser, string(text), tx.Millis(), started, tx.Now.Add(lifetime).UnixMilli())
	if err != nil {
		return fmt.Errorf("insert authorization request: %w", err)
	}
	return nil
}

// claimRequest returns a request that waits for its answer to the browser that goes on
// with it: the first one that comes, and no other after that (errStale). From then on
// it lives as long as somebody may take to sign in.
func claimRequest(ctx context.Context, tx *database.Tx, tenant string, hash, browser []byte) (storedRequest, error) {
	var text string
	var started int64
	err := tx.QueryRow(ctx, `
		UPDATE authorization_requests
		SET browser_hash = $3, started_at = COALESCE(started_at, $4), expires_at = CASE WHEN started_at IS NULL THEN $5 ELSE expires_at END
		WHERE tenant_id = $1 AND handle_hash = $2 AND (browser_hash IS NULL OR browser_hash = $3) AND spent_at IS NULL AND expires_at > $4
		RETURNING request, started_at`,
		tenant, hash, browser, tx.Millis(), tx.Now.Add(requestLifetime).UnixMilli()).Scan(&text, &started)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return storedRequest{}, errStale
	case err != nil:
		return storedRequest{}, fmt.Errorf("claim authorization request: %w", err)
	}
	stored := storedRequest{startedAt: time.UnixMilli(started).UTC()}
	if err := json.Unmarshal([]byte(text), &stored.request); err != nil {
		return storedRequest{}, fmt.Errorf("decode authorization request: %w", err)
	}
	return stored, nil
}

// spendRequest is one statement, so that a request is answered once.
func spendRequest(ctx context.Context, tx *database.Tx, tenant string, hash []byte) error {
	n, err := tx.Exec(ctx, `
		UPDATE authorization_requests SET spent_at = $3
		WHERE tenant_id = $1 AND handle_hash = $2 AND spent_at IS NULL AND expires_at > $3`, tenant, hash, tx.Millis())
	if err != nil {
		return fmt.Errorf("spend authorization request: %w", err)
	}
	if n == 0 {
		return errStale
	}
	return nil
}

// A codeRow is an authorization code.
type codeRow struct {
	hash          []byte
	application   string
	user          string
	session       string
	redirectURI   string
	redirectNamed bool
	challenge     string
	jkt           string
	stateHash     []byte // nil unless it was made by /api/sso/authorize
	detail        codeDetail
}

func insertCode(ctx context.Context, tx *database.Tx, tenant string, c codeRow) error {
	detail, err := json.Marshal(c.detail)
	if err != nil {
		return fmt.Errorf("encode code: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO authorization_codes (tenant_id, code_hash, application_id, user_id, session_id, redirect_uri, redirect_named, challenge, jkt, state_hash, detail, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		tenant, c.hash, c.application, c.user, c.session, c.redirectURI, c.redirectNamed, c.challenge, c.jkt, c.stateHash, string(detail),
		tx.Millis(), tx.Now.Add(codeLifetime).UnixMilli())
	if database.IsMissingParent(err) {
		return errStale.Because("the user is gone")
	}
	if err != nil {
		return fmt.Errorf("insert code: %w", err)
	}
	return nil
}

// takeCode is one statement that checks all that a code is bound to and uses it up;
// database.ErrNoRows if anything does not fit.
func takeCode(ctx context.Context, tx *database.Tx, tenant string, hash []byte, application, redirectURI, challenge, jkt string) (codeRow, error) {
	return scanCode(tx.QueryRow(ctx, `
		UPDATE authorization_codes SET spent_at = $4
		WHERE tenant_id = $1 AND code_hash = $2 AND application_id = $3 AND spent_at IS NULL AND expires_at > $4 AND state_hash IS NULL
			AND (redirect_uri = $5 OR $5 = '' AND (challenge <> '' OR NOT redirect_named)) AND challenge = $6 AND (jkt = '' OR jkt = $7)
		RETURNING user_id, session_id, detail`,
		tenant, hash, application, tx.Millis(), redirectURI, challenge, jkt))
}

// takeSSOCode is takeCode for a code that is bound to its state.
func takeSSOCode(ctx context.Context, tx *database.Tx, tenant string, hash []byte, application string, state []byte) (codeRow, error) {
	return scanCode(tx.QueryRow(ctx, `
		UPDATE authorization_codes SET spent_at = $4
		WHERE tenant_id = $1 AND code_hash = $2 AND application_id = $3 AND spent_at IS NULL AND expires_at > $4 AND state_hash = $5
		RETURNING user_id, session_id, detail`,
		tenant, hash, application, tx.Millis(), state))
}

func scanCode(row database.Scanner) (codeRow, error) {
	var c codeRow
	var detail string
	if err := row.Scan(&c.user, &c.session, &detail); err != nil {
		return codeRow{}, fmt.Errorf("spend code: %w", err)
	}
	return c, json.Unmarshal([]byte(detail), &c.detail)
}

// noteGrant remembers what a code led to.
func noteGrant(ctx context.Context, tx *database.Tx, tenant string, hash []byte, grant string) error {
	_, err := tx.Exec(ctx, `UPDATE authorization_codes SET grant_id = $3 WHERE tenant_id = $1 AND code_hash = $2`, tenant, hash, grant)
	if err != nil {
		return fmt.Errorf("note the grant of a code: %w", err)
	}
	return nil
}

// findSpentCode returns the user and the grant of an application's code that was used;
// database.ErrNoRows if there is none.
func findSpentCode(ctx context.Context, tx *database.Tx, tenant string, hash []byte, application string) (user, grant string, err error) {
	err = tx.QueryRow(ctx, `
		SELECT user_id, grant_id FROM authorization_codes
		WHERE tenant_id = $1 AND code_hash = $2 AND application_id = $3 AND spent_at IS NOT NULL`,
		tenant, hash, application).Scan(&user, &grant)
	if err != nil {
		return "", "", fmt.Errorf("find spent code: %w", err)
	}
	return user, grant, nil
}

// findConsent returns the scope that a user has allowed an application; empty and false
// if none.
func findConsent(ctx context.Context, db database.Reader, tenant, user, application string) (scope string, found bool, err error) {
	err = db.QueryRow(ctx, `
		SELECT scope FROM consents WHERE tenant_id = $1 AND user_id = $2 AND application_id = $3`,
		tenant, user, application).Scan(&scope)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("find consent: %w", err)
	}
	return scope, true, nil
}

// saveConsent sets what a user allows an application. Of two at once the later counts:
// somebody is asked again rather than too little.
func saveConsent(ctx context.Context, tx *database.Tx, tenant, user, application, scope string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO consents (tenant_id, user_id, application_id, scope, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $5)
		ON CONFLICT (tenant_id, user_id, application_id) DO UPDATE SET scope = EXCLUDED.scope, modified_at = EXCLUDED.modified_at`,
		tenant, user, application, scope, tx.Millis())
	if err != nil {
		return fmt.Errorf("save consent: %w", err)
	}
	return nil
}

func deleteConsent(ctx context.Context, tx *database.Tx, tenant, user, application string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM consents WHERE tenant_id = $1 AND user_id = $2 AND application_id = $3`, tenant, user, application)
	if err != nil {
		return false, fmt.Errorf("delete consent: %w", err)
	}
	return n > 0, nil
}

// maxConsents is how many consents of a user are listed.
const maxConsents = 1000

func listConsents(ctx context.Context, db database.Reader, tenant, user string) ([]Consent, error) {
	rows, err := db.Query(ctx, `
		SELECT application_id, scope, created_at, modified_at FROM consents
		WHERE tenant_id = $1 AND user_id = $2 ORDER BY created_at DESC, application_id LIMIT $3`, tenant, user, maxConsents)
	return database.Collect(rows, err, "list consents", func(row database.Scanner) (Consent, error) {
		var c Consent
		var created, modified int64
		err := row.Scan(&c.ApplicationID, &c.Scope, &created, &modified)
		c.CreatedAt, c.ModifiedAt = time.UnixMilli(created).UTC(), time.UnixMilli(modified).UTC()
		return c, err
	})
}

// sweepRequests and sweepCodes delete what ran out before a moment, of all tenants.
func sweepRequests(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM authorization_requests WHERE (tenant_id, handle_hash) IN (
			SELECT tenant_id, handle_hash FROM authorization_requests WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep authorization requests: %w", err)
	}
	return n, nil
}

func sweepCodes(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM authorization_codes WHERE (tenant_id, code_hash) IN (
			SELECT tenant_id, code_hash FROM authorization_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep codes: %w", err)
	}
	return n, nil
}

// dropUnspent removes codes that would still give an application something for a user.
func dropUnspent(ctx context.Context, tx *database.Tx, tenant, user, application string) error {
	for _, stmt := range []string{
		"DELETE FROM authorization_codes WHERE tenant_id = $1 AND user_id = $2 AND application_id = $3 AND spent_at IS NULL",
		"DELETE FROM device_codes WHERE tenant_id = $1 AND user_id = $2 AND application_id = $3 AND used_at IS NULL",
	} {
		if _, err := tx.Exec(ctx, stmt, tenant, user, application); err != nil {
			return fmt.Errorf("drop codes: %w", err)
		}
	}
	return nil
}
