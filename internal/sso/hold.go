package sso

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// Whoever was in an account before its owner may have left an identity of theirs there,
// to come back by.

// ErrHeld says that an identity signs nobody in until its owner has confirmed it.
var ErrHeld = problem.New(problem.Forbidden, "sso_identity_held", "This account of your organization is switched off until you confirm it. Sign in another way, and confirm it in your account.")

// Hold makes a user's identities good for nothing until the user confirms them one by
// one. Where an organization has proved the address of whom it shows, they count as never
// linked. The reason is a word for the log.
func (s *Service) Hold(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	rows, err := tx.Query(ctx, `UPDATE sso_identities SET held_at = $3 WHERE tenant_id = $1 AND user_id = $2 AND held_at IS NULL RETURNING id`, by.Tenant, user, tx.Millis())
	_, err = noteEach(tx, by, "identity.held", user, reason, rows, err)
	return err
}

// Confirm makes an identity that was held good again. It is not found if the user has
// none that waits for it.
func (s *Service) Confirm(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) (found bool, err error) {
	rows, err := tx.Query(ctx, `UPDATE sso_identities SET held_at = NULL WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND held_at IS NOT NULL RETURNING id`, by.Tenant, user, id)
	n, err := noteEach(tx, by, "identity.confirmed", user, "", rows, err)
	return n > 0, err
}

// UnlinkOne removes an identity of a user. It is not found if they have none such.
func (s *Service) UnlinkOne(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) (found bool, err error) {
	rows, err := tx.Query(ctx, `DELETE FROM sso_identities WHERE tenant_id = $1 AND user_id = $2 AND id = $3 RETURNING id`, by.Tenant, user, id)
	n, err := noteEach(tx, by, "identity.unlinked", user, "", rows, err)
	return n > 0, err
}

// UnlinkSince removes the identities that a user was given at a moment or later; the zero
// time means all of them. The reason is a word for the log.
func (s *Service) UnlinkSince(ctx context.Context, tx *database.Tx, by access.Actor, user string, since time.Time, reason string) error {
	rows, err := tx.Query(ctx, `DELETE FROM sso_identities WHERE tenant_id = $1 AND user_id = $2 AND created_at >= $3 RETURNING id`, by.Tenant, user, since.UnixMilli())
	_, err = noteEach(tx, by, "identity.unlinked", user, reason, rows, err)
	return err
}

// isHeld reports whether p is an identity that is held, of whomever.
func isHeld(ctx context.Context, tx *database.Tx, tenant string, p Profile) (held bool, err error) {
	var one int
	err = tx.QueryRow(ctx, `
		SELECT 1 FROM sso_identities WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4 AND held_at IS NOT NULL`,
		tenant, p.Connection, p.Issuer, p.Subject).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a held identity: %w", err)
	}
	return true, nil
}

// noteEach writes to the log what was done to each of many, whose ids rows are, and
// returns how many they were.
func noteEach(tx *database.Tx, by access.Actor, action, user, reason string, rows *database.Rows, err error) (int, error) {
	ids, err := database.Collect(rows, err, action, func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		e := audit.Event{Action: action, Target: "user", TargetID: user, Method: "sso", Reason: reason, Detail: map[string]any{"identity": id}}
		if err := audit.Append(tx, by, e); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}
