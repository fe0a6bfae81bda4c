package mfa

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// RecoveryLife is how long a link from an administrator can be used.
const RecoveryLife = 24 * time.Hour

// StartRecovery makes the token of a link by which a user who has lost all factors sets
// up another, after the first factor; the lost ones then go. Whoever has the link alone
// gets nowhere, and until it is used all stays as it is. One made before is void. The
// caller has made sure that the actor may.
func (s *Service) StartRecovery(ctx context.Context, tx *database.Tx, by access.Actor, user string) (token string, err error) {
	token, hash := secret.NewToken()
	_, err = tx.Exec(ctx, `
		INSERT INTO factor_recoveries (tenant_id, user_id, token_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET token_hash = excluded.token_hash, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		by.Tenant, user, hash, tx.Millis(), tx.Now.Add(RecoveryLife).UnixMilli())
	if database.IsMissingParent(err) {
		return "", ErrNotFound.Because("the user is gone")
	}
	if err != nil {
		return "", fmt.Errorf("start recovery: %w", err)
	}
	return token, audit.Append(tx, by, audit.Event{Action: "mfa.recovery_started", Target: "user", TargetID: user})
}

// PeekRecovery returns whom a link is for and changes nothing, or ErrRecovery.
func (s *Service) PeekRecovery(ctx context.Context, db database.Reader, tenant, token string) (user string, err error) {
	rows, err := db.Query(ctx, "SELECT user_id FROM factor_recoveries WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3", tenant, secret.Hash(token), s.DB.Now().UnixMilli())
	found, err := database.Collect(rows, err, "find recovery", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", ErrRecovery
	}
	return found[0], nil
}

// Recover uses a link up and takes from its user the factors they have lost, in the
// transaction that sets up the new one, before Enroll. The token comes as its hash
// (secret.Hash). It returns ErrRecovery.
func (s *Service) Recover(ctx context.Context, tx *database.Tx, by access.Actor, user string, tokenHash []byte) error {
	n, err := tx.Exec(ctx, "DELETE FROM factor_recoveries WHERE tenant_id = $1 AND user_id = $2 AND token_hash = $3 AND expires_at > $4", by.Tenant, user, tokenHash, tx.Millis())
	if err != nil {
		return fmt.Errorf("use recovery: %w", err)
	}
	if n == 0 {
		return ErrRecovery
	}
	if n, err = tx.Exec(ctx, "DELETE FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL", by.Tenant, user); err != nil {
		return fmt.Errorf("remove authenticators: %w", err)
	}
	if err := s.removeRest(ctx, tx, by, user); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "mfa.removed", Target: "user", TargetID: user, Reason: "recovery", Detail: map[string]any{"authenticators": n}})
}
