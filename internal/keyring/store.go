package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// A row is a key as the database has it. Times are Unix milliseconds.
type row struct {
	id         string
	alg        string
	generation int64
	public     []byte // PKIX
	private    []byte // PKCS #8, sealed; nil once revoked
	createdAt  int64
	activeAt   int64
	retiresAt  *int64
	expiresAt  *int64
	revokedAt  *int64
}

func listKeys(ctx context.Context, r database.Reader, tenant string) ([]row, error) {
	rows, err := r.Query(ctx, `
		SELECT id, alg, generation, public_key, private_key, created_at, active_at, retires_at, expires_at, revoked_at
		FROM signing_keys WHERE tenant_id = $1 ORDER BY generation DESC, alg`, tenant)
	return database.Collect(rows, err, "list signing keys", func(s database.Scanner) (k row, err error) {
		err = s.Scan(&k.id, &k.alg, &k.generation, &k.public, &k.private, &k.createdAt, &k.activeAt, &k.retiresAt, &k.expiresAt, &k.revokedAt)
		return k, err
	})
}

// insertKey adds a key unless its generation is there already.
func insertKey(ctx context.Context, tx *database.Tx, tenant string, k row) (added bool, err error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO signing_keys (tenant_id, id, alg, generation, public_key, private_key, created_at, active_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (tenant_id, alg, generation) DO NOTHING`,
		tenant, k.id, k.alg, k.generation, k.public, k.private, tx.Millis(), k.activeAt)
	if err != nil {
		return false, fmt.Errorf("insert signing key: %w", err)
	}
	return n == 1, nil
}

// retireKeys makes way for next: older keys sign until it does, and are published
// until the last token that they sign has ended.
func retireKeys(ctx context.Context, tx *database.Tx, tenant string, next row, tokenLifetime time.Duration) error {
	_, err := tx.Exec(ctx, `
		UPDATE signing_keys SET retires_at = $4, expires_at = $5
		WHERE tenant_id = $1 AND alg = $2 AND generation < $3 AND retires_at IS NULL AND revoked_at IS NULL`,
		tenant, next.alg, next.generation, next.activeAt, next.activeAt+tokenLifetime.Milliseconds())
	if err != nil {
		return fmt.Errorf("retire signing keys: %w", err)
	}
	return nil
}

// due is a key that needs a successor.
type due struct {
	tenant, alg string
	generation  int64 // the last one
}

// listDue returns the keys of all tenants that have signed since before and have no
// successor yet.
func listDue(ctx context.Context, r database.Reader, before time.Time) ([]due, error) {
	rows, err := r.Query(ctx, `
		SELECT tenant_id, alg, (SELECT MAX(generation) FROM signing_keys l WHERE l.tenant_id = k.tenant_id AND l.alg = k.alg)
		FROM signing_keys k
		WHERE retires_at IS NULL AND revoked_at IS NULL AND active_at <= $1
		ORDER BY tenant_id, alg`, before.UnixMilli())
	return database.Collect(rows, err, "list signing keys that are due", func(s database.Scanner) (d due, err error) {
		err = s.Scan(&d.tenant, &d.alg, &d.generation)
		return d, err
	})
}

func deleteExpired(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM signing_keys WHERE expires_at <= $1`, tx.Millis()); err != nil {
		return fmt.Errorf("delete expired signing keys: %w", err)
	}
	return nil
}

// revokeKey revokes a key and destroys its private part.
func revokeKey(ctx context.Context, tx *database.Tx, tenant, id string) (row, error) {
	k := row{id: id}
	err := tx.QueryRow(ctx, `
		UPDATE signing_keys SET revoked_at = $3, expires_at = $4, private_key = NULL
		WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL
		RETURNING alg, active_at, retires_at`,
		tenant, id, tx.Millis(), tx.Now.Add(revokedKept).UnixMilli()).Scan(&k.alg, &k.activeAt, &k.retiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return row{}, ErrKeyNotFound
	}
	if err != nil {
		return row{}, fmt.Errorf("revoke signing key: %w", err)
	}
	return k, nil
}

// keepCurrent takes back that the current key retires.
func keepCurrent(ctx context.Context, tx *database.Tx, tenant, alg string) error {
	_, err := tx.Exec(ctx, `
		UPDATE signing_keys SET retires_at = NULL, expires_at = NULL
		WHERE tenant_id = $1 AND alg = $2 AND revoked_at IS NULL AND retires_at > $3`, tenant, alg, tx.Millis())
	if err != nil {
		return fmt.Errorf("keep signing key: %w", err)
	}
	return nil
}

// startNext makes the next key sign now, if there is one.
func startNext(ctx context.Context, tx *database.Tx, tenant, alg string) error {
	_, err := tx.Exec(ctx, `
		UPDATE signing_keys SET active_at = $3
		WHERE tenant_id = $1 AND alg = $2 AND revoked_at IS NULL AND active_at > $3`, tenant, alg, tx.Millis())
	if err != nil {
		return fmt.Errorf("start next signing key: %w", err)
	}
	return nil
}
