package mfa

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
)

const (
	// DeviceLife is how long a browser is remembered.
	DeviceLife = 30 * 24 * time.Hour
	// maxDevices is how many are, for one user: the oldest gives way.
	maxDevices = 20
)

// A Device is a browser that is remembered for a user.
type Device struct {
	ID        string
	From      session.From
	CreatedAt time.Time
	ExpiresAt time.Time

	tokenHash, browserHash []byte
}

// IsOf reports whether the device is this browser, by the hash of its name.
func (d Device) IsOf(browser []byte) bool { return secret.Equal(d.browserHash, browser) }

// Remember notes that a user is not to be asked for a second factor in a browser, named
// by the hash of its name, and returns the token for its cookie. What was noted for the
// browser before is void.
func (s *Service) Remember(ctx context.Context, tx *database.Tx, by access.Actor, user string, browser []byte, from session.From) (token string, err error) {
	changed, err := password.ChangedAt(ctx, tx, by.Tenant, user)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `
		DELETE FROM remembered_devices WHERE tenant_id = $1 AND user_id = $2 AND (browser_hash = $3 OR id IN (
			SELECT id FROM remembered_devices WHERE tenant_id = $1 AND user_id = $2 ORDER BY id DESC LIMIT 1000 OFFSET $4))`,
		by.Tenant, user, browser, maxDevices-1)
	if err != nil {
		return "", fmt.Errorf("make room for a device: %w", err)
	}
	token, hash := secret.NewToken()
	id := tx.NewID()
	_, err = tx.Exec(ctx, `
		INSERT INTO remembered_devices (tenant_id, user_id, id, token_hash, browser_hash, password_at, ip, client, os, device, country, city, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		by.Tenant, user, id, hash, browser, millisOf(changed), from.IP, from.Client, from.OS, from.Device, from.Country, from.City, tx.Millis(), tx.Now.Add(DeviceLife).UnixMilli())
	if err != nil {
		return "", fmt.Errorf("remember device: %w", err)
	}
	return token, audit.Append(tx, by, audit.Event{Action: "device.remembered", Target: "user", TargetID: user, Detail: map[string]any{"device": id}})
}

func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Remembers reports whether a user is remembered in a browser that sends these tokens.
func (s *Service) Remembers(ctx context.Context, db database.Reader, tenant, user string, browser []byte, tokens []string) (bool, error) {
	if len(tokens) == 0 || len(browser) == 0 {
		return false, nil
	}
	devices, err := s.Devices(ctx, db, tenant, user)
	return slices.ContainsFunc(devices, func(d Device) bool {
		return d.IsOf(browser) && slices.ContainsFunc(tokens, func(token string) bool { return secret.Equal(d.tokenHash, secret.Hash(token)) })
	}), err
}

// Devices lists the browsers that are remembered for a user, the latest first. Those
// noted under an earlier password are none, however that was changed.
func (s *Service) Devices(ctx context.Context, db database.Reader, tenant, user string) ([]Device, error) {
	changed, err := password.ChangedAt(ctx, db, tenant, user)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, `
		SELECT id, token_hash, browser_hash, ip, client, os, device, country, city, created_at, expires_at FROM remembered_devices
		WHERE tenant_id = $1 AND user_id = $2 AND password_at = $3 AND expires_at > $4 ORDER BY id DESC`, tenant, user, millisOf(changed), s.DB.Now().UnixMilli())
	return database.Collect(rows, err, "list devices", func(row database.Scanner) (d Device, err error) {
		var created, expires int64
		err = row.Scan(&d.ID, &d.tokenHash, &d.browserHash, &d.From.IP, &d.From.Client, &d.From.OS, &d.From.Device, &d.From.Country, &d.From.City, &created, &expires)
		d.CreatedAt, d.ExpiresAt = time.UnixMilli(created).UTC(), time.UnixMilli(expires).UTC()
		return d, err
	})
}

// Forget is the end of one of a user's remembered browsers. It is no error if there is
// none of that id.
func (s *Service) Forget(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) error {
	return forget(ctx, tx, by, user, "", "DELETE FROM remembered_devices WHERE tenant_id = $1 AND user_id = $2 AND id = $3", id)
}

// ForgetAll is the end of all of them. The reason is a word for the log.
func (s *Service) ForgetAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	return forget(ctx, tx, by, user, reason, "DELETE FROM remembered_devices WHERE tenant_id = $1 AND user_id = $2")
}

func forget(ctx context.Context, tx *database.Tx, by access.Actor, user, reason, stmt string, more ...any) error {
	n, err := tx.Exec(ctx, stmt, append([]any{by.Tenant, user}, more...)...)
	if err != nil {
		return fmt.Errorf("forget device: %w", err)
	}
	if n == 0 {
		return nil
	}
	return audit.Append(tx, by, audit.Event{Action: "device.forgotten", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"devices": n}})
}
