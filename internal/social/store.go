package social

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

const connectionColumns = `tenant_id, id, provider, name, client_id, secret, settings, enabled, created_at, modified_at, trusted_first`

func scanConnection(row database.Scanner) (c Connection, err error) {
	var settings string
	var created, modified int64
	if err := row.Scan(&c.tenant, &c.ID, &c.Provider, &c.Name, &c.ClientID, &c.sealed, &settings, &c.Enabled, &created, &modified, &c.trustedFirst); err != nil {
		return c, err
	}
	c.HasSecret, c.CreatedAt, c.ModifiedAt = len(c.sealed) > 0, at(created), at(modified)
	return c, json.Unmarshal([]byte(settings), &c.Settings)
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

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

func findConnection(ctx context.Context, db database.Reader, tenant, id string) (Connection, error) {
	if !secret.IsID(id) {
		return Connection{}, ErrNotFound
	}
	c, err := scanConnection(db.QueryRow(ctx, `SELECT `+connectionColumns+` FROM connections WHERE tenant_id = $1 AND id = $2`, tenant, id))
	if err != nil {
		return Connection{}, orMissing(err, ErrNotFound, "find connection")
	}
	return c, nil
}

func listConnections(ctx context.Context, db database.Reader, tenant string) ([]Connection, error) {
	rows, err := db.Query(ctx, `SELECT `+connectionColumns+` FROM connections WHERE tenant_id = $1 ORDER BY id LIMIT $2`, tenant, maxConnections)
	return database.Collect(rows, err, "list connections", scanConnection)
}

func countConnections(ctx context.Context, tx *database.Tx, tenant string) (n int64, err error) {
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM connections WHERE tenant_id = $1`, tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return n, nil
}

func insertConnection(ctx context.Context, tx *database.Tx, tenant string, c Connection) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO connections (tenant_id, id, provider, name, client_id, secret, settings, enabled, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		tenant, c.ID, c.Provider, c.Name, c.ClientID, append([]byte{}, c.sealed...), encode(c.Settings), c.Enabled, c.CreatedAt.UnixMilli(), c.ModifiedAt.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert connection: %w", err)
	}
	return nil
}

func updateConnection(ctx context.Context, tx *database.Tx, tenant string, c Connection) error {
	n, err := tx.Exec(ctx, `
		UPDATE connections SET name = $3, client_id = $4, secret = $5, settings = $6, enabled = $7, modified_at = $8
		WHERE tenant_id = $1 AND id = $2`,
		tenant, c.ID, c.Name, c.ClientID, append([]byte{}, c.sealed...), encode(c.Settings), c.Enabled, c.ModifiedAt.UnixMilli())
	return orNone(n, err, ErrNotFound, "update connection")
}

func deleteConnection(ctx context.Context, tx *database.Tx, tenant, id string) error {
	if !secret.IsID(id) {
		return ErrNotFound
	}
	n, err := tx.Exec(ctx, `DELETE FROM connections WHERE tenant_id = $1 AND id = $2`, tenant, id)
	return orNone(n, err, ErrNotFound, "delete connection")
}

func insertFlow(ctx context.Context, tx *database.Tx, tenant string, hash []byte, f flow, purpose string, browser, verifier []byte) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO connection_flows (tenant_id, state_hash, id, connection_id, purpose, attempt, browser_hash, nonce, verifier, redirect_uri, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		tenant, hash, f.ID, f.Connection, purpose, f.Attempt, browser, f.Nonce, verifier, f.RedirectURI, tx.Millis(), tx.Now.Add(Life).UnixMilli())
	if database.IsMissingParent(err) {
		return ErrNotFound // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("insert flow: %w", err)
	}
	return nil
}

// spendFlow is one statement, so that of many who come with a state one goes on. Who
// comes from another browser, or to another connection, does not use it up.
func spendFlow(ctx context.Context, tx *database.Tx, tenant string, hash []byte, connection, purpose string, browser []byte) (f flow, verifier []byte, err error) {
	err = tx.QueryRow(ctx, `
		UPDATE connection_flows SET used_at = $6
		WHERE tenant_id = $1 AND state_hash = $2 AND connection_id = $3 AND purpose = $4 AND browser_hash = $5 AND used_at IS NULL AND expires_at > $6
		RETURNING id, connection_id, attempt, nonce, verifier, redirect_uri`,
		tenant, hash, connection, purpose, browser, tx.Millis()).Scan(&f.ID, &f.Connection, &f.Attempt, &f.Nonce, &verifier, &f.RedirectURI)
	return f, verifier, orMissing(err, ErrFlow, "spend flow")
}

func dropProfiles(tx *database.Tx, tenant, attempt string) {
	tx.Later(`UPDATE connection_flows SET profile = NULL WHERE tenant_id = $1 AND attempt = $2 AND profile IS NOT NULL`, tenant, attempt)
}

func keepProfile(ctx context.Context, tx *database.Tx, tenant string, f Flow, sealed []byte) error {
	n, err := tx.Exec(ctx, `
		UPDATE connection_flows SET profile = $4, expires_at = $5
		WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND used_at IS NOT NULL`,
		tenant, f.ID, f.Attempt, sealed, tx.Now.Add(keepFor).UnixMilli())
	return orNone(n, err, ErrFlow, "keep profile")
}

// inUse is the condition that the connection of a flow is still in use.
const inUse = `EXISTS (SELECT 1 FROM connections c WHERE c.tenant_id = $1 AND c.id = connection_id AND c.enabled)`

func findProfile(ctx context.Context, db database.Reader, tenant, attempt string, now time.Time) (id string, sealed []byte, err error) {
	err = db.QueryRow(ctx, `
		SELECT id, profile FROM connection_flows WHERE tenant_id = $1 AND attempt = $2 AND profile IS NOT NULL AND expires_at > $3 AND `+inUse, tenant, attempt, now.UnixMilli()).Scan(&id, &sealed)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("find profile: %w", err)
	}
	return id, sealed, nil
}

// takeProfile is one statement, so that what is held is settled once.
func takeProfile(ctx context.Context, tx *database.Tx, tenant string, f Flow) (sealed []byte, err error) {
	err = tx.QueryRow(ctx, `
		SELECT profile FROM connection_flows WHERE tenant_id = $1 AND attempt = $2 AND profile IS NOT NULL AND expires_at > $3 AND id = $4 AND `+inUse, tenant, f.Attempt, tx.Millis(), f.ID).Scan(&sealed)
	if err != nil {
		return nil, orMissing(err, ErrFlow, "take profile")
	}
	n, err := tx.Exec(ctx, `UPDATE connection_flows SET profile = NULL WHERE tenant_id = $1 AND id = $2 AND profile IS NOT NULL`, tenant, f.ID)
	return sealed, orNone(n, err, ErrFlow, "take profile")
}

func sweepFlows(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM connection_flows WHERE (tenant_id, state_hash) IN (
			SELECT tenant_id, state_hash FROM connection_flows WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep flows: %w", err)
	}
	return n, nil
}

const identityColumns = `id, connection_id, issuer, subject, user_id, email, name, picture, created_at, used_at, held_at, trusted, proved`

func scanIdentity(row database.Scanner) (i Identity, err error) {
	var created, used int64
	var held *int64
	err = row.Scan(&i.ID, &i.Connection, &i.Issuer, &i.Subject, &i.UserID, &i.Email, &i.Name, &i.Picture, &created, &used, &held, &i.trusted, &i.proved)
	i.Held = held != nil
	i.CreatedAt, i.UsedAt = at(created), at(used)
	return i, err
}

// useIdentity finds by the whole key and nothing else. One that does not count for p is
// none, and one that is held is not used. One without a mark counts as unmarked.
func useIdentity(ctx context.Context, tx *database.Tx, tenant string, p Profile, unmarked []byte) (id, user string, err error) {
	var held *int64
	err = tx.QueryRow(ctx, `
		UPDATE identities SET email = $5, name = $6, picture = $7, used_at = $8
		WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4 AND COALESCE(trusted, $9) = $10
		RETURNING id, user_id, held_at`,
		tenant, p.Connection, p.Issuer, p.Subject, p.Email, p.Name, p.Picture, tx.Millis(), unmarked, p.Trusted).Scan(&id, &user, &held)
	if errors.Is(err, database.ErrNoRows) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("use identity: %w", err)
	}
	if held != nil {
		return "", "", ErrHeld
	}
	return id, user, nil
}

// insertIdentity relies on the primary key: of two users who link the same account
// elsewhere at once one gets it.
func insertIdentity(ctx context.Context, tx *database.Tx, tenant string, i Identity) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO identities (tenant_id, connection_id, issuer, subject, id, user_id, email, name, picture, tokens, created_at, used_at, trusted, proved)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (tenant_id, connection_id, issuer, subject) DO NOTHING`,
		tenant, i.Connection, i.Issuer, i.Subject, i.ID, i.UserID, i.Email, i.Name, i.Picture, []byte{}, i.CreatedAt.UnixMilli(), i.UsedAt.UnixMilli(), i.trusted, i.proved)
	return orNone(n, err, ErrLinked, "insert identity")
}

func findIdentity(ctx context.Context, db database.Reader, tenant string, p Profile) (Identity, error) {
	i, err := scanIdentity(db.QueryRow(ctx, `SELECT `+identityColumns+` FROM identities WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4`,
		tenant, p.Connection, p.Issuer, p.Subject))
	if err != nil {
		return Identity{}, orMissing(err, ErrIdentity, "find identity")
	}
	return i, nil
}

// renewIdentity makes an identity count for what p came by. One that was held is confirmed
// by it.
func renewIdentity(ctx context.Context, tx *database.Tx, tenant string, i Identity, p Profile) error {
	n, err := tx.Exec(ctx, `
		UPDATE identities SET trusted = $4, proved = TRUE, held_at = NULL, email = $5, name = $6, picture = $7, used_at = $8
		WHERE tenant_id = $1 AND user_id = $2 AND id = $3`,
		tenant, i.UserID, i.ID, p.Trusted, p.Email, p.Name, p.Picture, tx.Millis())
	return orNone(n, err, ErrLinked, "renew identity")
}

func listIdentities(ctx context.Context, db database.Reader, tenant, user string) ([]Identity, error) {
	rows, err := db.Query(ctx, `SELECT `+identityColumns+` FROM identities WHERE tenant_id = $1 AND user_id = $2 ORDER BY id`, tenant, user)
	return database.Collect(rows, err, "list identities", scanIdentity)
}

func findTokens(ctx context.Context, db database.Reader, tenant, id string) (sealed []byte, err error) {
	err = db.QueryRow(ctx, `SELECT tokens FROM identities WHERE tenant_id = $1 AND id = $2`, tenant, id).Scan(&sealed)
	return sealed, orMissing(err, ErrIdentity, "find tokens")
}

func deleteIdentity(ctx context.Context, tx *database.Tx, tenant, user, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM identities WHERE tenant_id = $1 AND user_id = $2 AND id = $3`, tenant, user, id)
	return orNone(n, err, ErrIdentity, "delete identity")
}

func deleteIdentities(ctx context.Context, tx *database.Tx, tenant, user string) (int64, error) {
	n, err := tx.Exec(ctx, `DELETE FROM identities WHERE tenant_id = $1 AND user_id = $2`, tenant, user)
	if err != nil {
		return 0, fmt.Errorf("delete identities: %w", err)
	}
	return n, nil
}
