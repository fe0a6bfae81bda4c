package scim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func atOrZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return at(*ms)
}

func orNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// orMissing is err of one row that may not be there.
func orMissing(err, missing error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrNoRows):
		return missing
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// orNone is err of a statement that should have touched a row.
func orNone(n int64, err, missing error, doing string) error {
	if err == nil && n == 0 {
		return missing
	}
	return orMissing(err, missing, doing)
}

const directoryColumns = `d.id, d.organization_id, d.name, d.type, d.state, d.rules, d.last_sync_at, d.created_at, d.modified_at`

// scanDirectory reads a directory, and whatever the statement has behind its columns.
func scanDirectory(row database.Scanner, more ...any) (d Directory, err error) {
	var rules string
	var synced *int64
	var created, modified int64
	if err := row.Scan(append([]any{&d.ID, &d.OrganizationID, &d.Name, &d.Type, &d.State, &rules, &synced, &created, &modified}, more...)...); err != nil {
		return d, err
	}
	d.LastSyncAt, d.CreatedAt, d.ModifiedAt = atOrZero(synced), at(created), at(modified)
	return d, json.Unmarshal([]byte(rules), &d.GroupRules)
}

func scanOneDirectory(row database.Scanner) (Directory, error) { return scanDirectory(row) }

// findCaller finds a directory by its token.
func findCaller(ctx context.Context, db database.Reader, tenant, directory string, hash []byte) (c caller, err error) {
	var until *int64
	c.Directory, err = scanDirectory(db.QueryRow(ctx, `
		SELECT `+directoryColumns+`, t.id, t.users_only, t.expires_at
		FROM directory_tokens t JOIN directories d ON d.tenant_id = t.tenant_id AND d.id = t.directory_id
		WHERE t.tenant_id = $1 AND t.hash = $2 AND t.directory_id = $3 AND d.state <> 'deleted'`, tenant, hash, directory), &c.token, &c.limited, &until)
	c.until = atOrZero(until)
	return c, orMissing(err, errToken, "find directory by token")
}

func findDirectory(ctx context.Context, db database.Reader, tenant, organization, id string) (Directory, error) {
	if !secret.IsID(organization) || !secret.IsID(id) {
		return Directory{}, ErrNotFound
	}
	d, err := scanDirectory(db.QueryRow(ctx, `
		SELECT `+directoryColumns+` FROM directories d
		WHERE d.tenant_id = $1 AND d.id = $2 AND d.organization_id = $3 AND d.state <> 'deleted'`, tenant, id, organization))
	return d, orMissing(err, ErrNotFound, "find directory")
}

func listDirectories(ctx context.Context, db database.Reader, tenant, organization string) ([]Directory, error) {
	rows, err := db.Query(ctx, `
		SELECT `+directoryColumns+` FROM directories d
		WHERE d.tenant_id = $1 AND d.organization_id = $2 AND d.state <> 'deleted' ORDER BY d.id LIMIT $3`, tenant, organization, int64(maxDirectories))
	return database.Collect(rows, err, "list directories", scanOneDirectory)
}

func countDirectories(ctx context.Context, tx *database.Tx, tenant, organization string) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM directories WHERE tenant_id = $1 AND organization_id = $2 AND state <> 'deleted'`, tenant, organization).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count directories: %w", err)
	}
	return n, nil
}

func insertDirectory(ctx context.Context, tx *database.Tx, tenant string, d Directory) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO directories (tenant_id, id, organization_id, name, type, state, rules, last_sync_at, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8, $8)`,
		tenant, d.ID, d.OrganizationID, d.Name, d.Type, d.State, rulesOf(d), tx.Millis())
	if err != nil {
		return fmt.Errorf("insert directory: %w", err)
	}
	return nil
}

func rulesOf(d Directory) string {
	if d.GroupRules == nil {
		return "[]"
	}
	return string(encode(d.GroupRules))
}

func updateDirectory(ctx context.Context, tx *database.Tx, tenant string, d Directory) error {
	n, err := tx.Exec(ctx, `
		UPDATE directories SET name = $4, type = $5, state = $6, rules = $7, modified_at = $8
		WHERE tenant_id = $1 AND id = $2 AND organization_id = $3 AND state <> 'deleted'`,
		tenant, d.ID, d.OrganizationID, d.Name, d.Type, d.State, rulesOf(d), tx.Millis())
	return orNone(n, err, ErrNotFound, "update directory")
}

// holdDirectory makes whoever else holds the directory wait until tx has ended.
func holdDirectory(ctx context.Context, tx *database.Tx, tenant, organization, id string) error {
	if !secret.IsID(organization) || !secret.IsID(id) {
		return ErrNotFound
	}
	n, err := tx.Exec(ctx, `
		UPDATE directories SET modified_at = modified_at
		WHERE tenant_id = $1 AND id = $2 AND organization_id = $3 AND state <> 'deleted'`, tenant, id, organization)
	return orNone(n, err, ErrNotFound, "hold directory")
}

// retireTokens lets the newest token work until then at most, and removes the others.
// Ids sort by creation.
func retireTokens(ctx context.Context, tx *database.Tx, tenant, directory string, until time.Time) error {
	tx.Later(`
		DELETE FROM directory_tokens
		WHERE tenant_id = $1 AND directory_id = $2
			AND (expires_at <= $3 OR id < (SELECT max(t.id) FROM directory_tokens t WHERE t.tenant_id = $1 AND t.directory_id = $2 AND (t.expires_at IS NULL OR t.expires_at > $3)))`,
		tenant, directory, tx.Millis())
	_, err := tx.Exec(ctx, `
		UPDATE directory_tokens SET expires_at = $3
		WHERE tenant_id = $1 AND directory_id = $2 AND (expires_at IS NULL OR expires_at > $3)`, tenant, directory, until.UnixMilli())
	if err != nil {
		return fmt.Errorf("retire directory tokens: %w", err)
	}
	return nil
}

func insertToken(tx *database.Tx, tenant, directory string, t Token, hash []byte) {
	tx.Later(`
		INSERT INTO directory_tokens (tenant_id, directory_id, id, hash, hint, users_only, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tenant, directory, t.ID, hash, t.Hint, t.UsersOnly, t.CreatedBy, tx.Millis(), orNull(t.ExpiresAt))
}

func listTokens(ctx context.Context, db database.Reader, tenant, directory string, now int64) ([]Token, error) {
	rows, err := db.Query(ctx, `
		SELECT id, hint, users_only, created_by, created_at, expires_at FROM directory_tokens
		WHERE tenant_id = $1 AND directory_id = $2 AND (expires_at IS NULL OR expires_at > $3) ORDER BY id DESC LIMIT 10`, tenant, directory, now)
	return database.Collect(rows, err, "list directory tokens", func(row database.Scanner) (t Token, err error) {
		var created int64
		var expires *int64
		err = row.Scan(&t.ID, &t.Hint, &t.UsersOnly, &t.CreatedBy, &created, &expires)
		t.CreatedAt, t.ExpiresAt = at(created), atOrZero(expires)
		return t, err
	})
}

func deleteToken(ctx context.Context, tx *database.Tx, tenant, directory, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM directory_tokens WHERE tenant_id = $1 AND directory_id = $2 AND id = $3`, tenant, directory, id)
	return orNone(n, err, ErrTokenNotFound, "revoke directory token")
}
