package social

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// Whoever was in an account before its owner recovered it may have left an identity of
// theirs there, to come back by.

// ErrHeld says that an identity signs nobody in until its owner has confirmed it.
var ErrHeld = problem.New(problem.Forbidden, "identity_held", "This linked account was switched off when the account was recovered. Sign in another way, and confirm it in your account.")

// Hold makes a user's identities good for nothing until the user confirms them one by
// one. The reason is a word for the log.
func (s *Service) Hold(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	rows, err := tx.Query(ctx, `UPDATE identities SET held_at = $3 WHERE tenant_id = $1 AND user_id = $2 AND held_at IS NULL RETURNING id`, by.Tenant, user, tx.Millis())
	return noteEach(tx, by, "identity.held", user, reason, rows, err)
}

// Confirm makes an identity that was held good again. It returns ErrIdentity if the user
// has none that waits for it.
func (s *Service) Confirm(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) error {
	n, err := tx.Exec(ctx, `UPDATE identities SET held_at = NULL WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND held_at IS NOT NULL`, by.Tenant, user, id)
	if err := orNone(n, err, ErrIdentity, "confirm identity"); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "identity.confirmed", Target: "user", TargetID: user, Detail: map[string]any{"identity": id}})
}

// UnlinkSince removes the identities that a user was given at a moment or later.
func (s *Service) UnlinkSince(ctx context.Context, tx *database.Tx, by access.Actor, user string, since time.Time, reason string) error {
	rows, err := tx.Query(ctx, `DELETE FROM identities WHERE tenant_id = $1 AND user_id = $2 AND created_at >= $3 RETURNING id`, by.Tenant, user, since.UnixMilli())
	return noteEach(tx, by, "identity.unlinked", user, reason, rows, err)
}

// noteEach writes to the log what was done to each of many, whose ids rows are.
func noteEach(tx *database.Tx, by access.Actor, action, user, reason string, rows *database.Rows, err error) error {
	ids, err := database.Collect(rows, err, action, func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	for _, id := range ids {
		if err := audit.Append(tx, by, audit.Event{Action: action, Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"identity": id}}); err != nil {
			return err
		}
	}
	return nil
}
