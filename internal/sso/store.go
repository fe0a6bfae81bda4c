package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

const connectionColumns = `tenant_id, id, organization_id, name, kind, provider, state, settings, secret, sp_keys,
	COALESCE(refresh_at, 0), refresh_failures, COALESCE(warn_at, 0), COALESCE(last_success_at, 0), COALESCE(last_failure_at, 0), last_cause, created_at, modified_at`

func scanConnection(row database.Scanner) (c Connection, err error) {
	var settings string
	var success, failure, created, modified int64
	err = row.Scan(&c.tenant, &c.ID, &c.OrganizationID, &c.Name, &c.Kind, &c.Provider, &c.State, &settings, &c.sealed, &c.keys,
		&c.refresh, &c.failures, &c.warn, &success, &failure, &c.Health.LastCause, &created, &modified)
	if err != nil {
		return c, err
	}
	c.HasSecret, c.CreatedAt, c.ModifiedAt = len(c.sealed) > 0, at(created), at(modified)
	c.Health.LastSuccess, c.Health.LastFailure = at(success), at(failure)
	return c, json.Unmarshal([]byte(settings), &c.Settings)
}

// at is the time of ms, zero for 0.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// orNull is how a time is kept that may be none.
func orNull(ms int64) *int64 {
	if ms == 0 {
		return nil
	}
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

// findConnection finds by the organization, too: an id leads nowhere by way of another.
func findConnection(ctx context.Context, db database.Reader, tenant, organization, id string) (Connection, error) {
	c, err := connectionByID(ctx, db, tenant, id)
	if err == nil && c.OrganizationID != organization {
		return Connection{}, ErrNotFound
	}
	return c, err
}

func connectionByID(ctx context.Context, db database.Reader, tenant, id string) (Connection, error) {
	if !secret.IsID(id) {
		return Connection{}, ErrNotFound
	}
	c, err := scanConnection(db.QueryRow(ctx, `SELECT `+connectionColumns+` FROM sso_connections WHERE tenant_id = $1 AND id = $2`, tenant, id))
	if err != nil {
		return Connection{}, orMissing(err, ErrNotFound, "find connection")
	}
	return c, nil
}

func listConnections(ctx context.Context, db database.Reader, tenant, organization string) ([]Connection, error) {
	rows, err := db.Query(ctx, `SELECT `+connectionColumns+` FROM sso_connections WHERE tenant_id = $1 AND organization_id = $2 ORDER BY id LIMIT $3`, tenant, organization, maxConnections)
	return database.Collect(rows, err, "list connections", scanConnection)
}

func countConnections(ctx context.Context, tx *database.Tx, tenant, organization string) (n int64, err error) {
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM sso_connections WHERE tenant_id = $1 AND organization_id = $2`, tenant, organization).Scan(&n); err != nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return n, nil
}

func insertConnection(ctx context.Context, tx *database.Tx, tenant string, c Connection) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO sso_connections (tenant_id, id, organization_id, name, kind, provider, state, settings, secret, sp_keys, refresh_at, refresh_failures, warn_at, last_cause, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, '', $13, $14)`,
		tenant, c.ID, c.OrganizationID, c.Name, c.Kind, c.Provider, c.State, encode(c.Settings), append([]byte{}, c.sealed...), append([]byte{}, c.keys...),
		orNull(c.refresh), orNull(c.warn), c.CreatedAt.UnixMilli(), c.ModifiedAt.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert connection: %w", err)
	}
	return nil
}

func updateConnection(ctx context.Context, tx *database.Tx, tenant string, c Connection, before time.Time) error {
	n, err := tx.Exec(ctx, `
		UPDATE sso_connections SET name = $3, provider = $4, settings = $5, secret = $6, sp_keys = $7, refresh_at = $8, refresh_failures = $9, warn_at = $10, modified_at = $11
		WHERE tenant_id = $1 AND id = $2 AND modified_at = $12`,
		tenant, c.ID, c.Name, c.Provider, encode(c.Settings), append([]byte{}, c.sealed...), append([]byte{}, c.keys...), orNull(c.refresh), c.failures, orNull(c.warn), c.ModifiedAt.UnixMilli(), before.UnixMilli())
	return orNone(n, err, ErrChanged, "update connection")
}

func setState(ctx context.Context, tx *database.Tx, tenant string, c Connection) error {
	n, err := tx.Exec(ctx, `UPDATE sso_connections SET state = $3, modified_at = $4 WHERE tenant_id = $1 AND id = $2`, tenant, c.ID, c.State, c.ModifiedAt.UnixMilli())
	return orNone(n, err, ErrNotFound, "set the state of a connection")
}

func deleteConnection(ctx context.Context, tx *database.Tx, tenant, organization, id string) error {
	if !secret.IsID(id) {
		return ErrNotFound
	}
	n, err := tx.Exec(ctx, `DELETE FROM sso_connections WHERE tenant_id = $1 AND organization_id = $2 AND id = $3`, tenant, organization, id)
	return orNone(n, err, ErrNotFound, "delete connection")
}
