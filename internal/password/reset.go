package password

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

// ResetLife is how long a reset token can be used.
const ResetLife = 30 * time.Minute

// ErrResetSpent covers tokens that are unknown, expired, used, replaced by a newer
// one or void because their user changed, so that nobody learns which it is.
var ErrResetSpent = problem.New(problem.Invalid, "password_reset_spent", "This link has expired or was already used. Ask for a new one.")

// StartReset returns a token that allows whoever can read the mail at email to
// choose a new password for a user, once, within ResetLife. Tokens made before are
// void. The caller has found the user by that address, sends the token there and
// nowhere else (a job of the same transaction, a link in a mail without a referrer),
// has limited how often, and answers strangers the same if there is no such user.
func StartReset(ctx context.Context, tx *database.Tx, by access.Actor, userID, email string) (token string, err error) {
	token, hash := secret.NewToken()
	// One row a user: of two at once the later one stands, and only one.
	_, err = tx.Exec(ctx, `
		INSERT INTO password_resets (tenant_id, user_id, token_hash, email, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET token_hash = excluded.token_hash, email = excluded.email, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		by.Tenant, userID, hash, email, tx.Millis(), tx.Now.Add(ResetLife).UnixMilli())
	if database.IsMissingParent(err) {
		return "", user.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("start password reset: %w", err)
	}
	return token, audit.Append(tx, by, audit.Event{Action: "password.reset_requested", Target: "user", TargetID: userID})
}

// PeekReset returns whose password a token would reset, for the page that asks for
// the new one and for judging it, and changes nothing: opening a link, as mail
// scanners do, does not use it up. It returns ErrResetSpent.
func PeekReset(ctx context.Context, db *database.DB, tenant, token string) (user.User, error) {
	var id, email string
	err := db.QueryRow(ctx, "SELECT user_id, email FROM password_resets WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3",
		tenant, secret.Hash(token), db.Now().UnixMilli()).Scan(&id, &email)
	return holder(ctx, db, tenant, id, email, err)
}

// Reset uses a token up and stores the hash of the new password of the user it was
// made for, whom it returns with the address that the mail went to. It returns ErrResetSpent; then the token stays as it
// was. The token is all the right it takes: the actor may be a visitor.
//
// In the same transaction the caller ends all sessions of the user and what they
// led to, and afterwards asks for a second factor as ever: a mail alone restores
// no account that has one.
func Reset(ctx context.Context, tx *database.Tx, by access.Actor, token, newHash string) (userID, email string, err error) {
	var id string
	// One statement finds and removes it, so that two can not both succeed.
	err = tx.QueryRow(ctx, "DELETE FROM password_resets WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3 RETURNING user_id, email",
		by.Tenant, secret.Hash(token), tx.Millis()).Scan(&id, &email)
	u, err := holder(ctx, tx, by.Tenant, id, email, err)
	if err != nil {
		return "", "", err
	}
	store(tx, by.Tenant, u.ID, newHash, false, chosen)
	return u.ID, email, audit.Append(tx, by, audit.Event{Action: "password.reset", Target: "user", TargetID: u.ID, Method: "email_link"})
}

// holder returns the user a reset is for, if they may still use it. It takes the
// error of the statement that found the reset.
func holder(ctx context.Context, db database.Reader, tenant, id, email string, err error) (user.User, error) {
	if errors.Is(err, database.ErrNoRows) {
		return user.User{}, ErrResetSpent
	}
	if err != nil {
		return user.User{}, fmt.Errorf("find password reset: %w", err)
	}
	var users user.Service // to find a user takes none of its fields
	u, err := users.Match(ctx, db, access.System(tenant), email)
	switch {
	case errors.Is(err, user.ErrNotFound) || err == nil && (u.ID != id || !u.IsPrimary() && !u.IsProved()):
		return user.User{}, ErrResetSpent.Because("the user has another e-mail address by now, or is gone")
	case err != nil:
		return user.User{}, err
	case !u.IsActive:
		return user.User{}, ErrResetSpent.Because("the user is disabled")
	}
	return u.User, nil
}

func voidReset(tx *database.Tx, tenant, user string) {
	tx.Later("DELETE FROM password_resets WHERE tenant_id = $1 AND user_id = $2", tenant, user)
}

// SweepResets removes what has expired, in all tenants. It is housekeeping: an
// expired token is refused whether it ran or not.
func SweepResets(ctx context.Context, db *database.DB) error {
	return db.Write(ctx, func(tx *database.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM password_resets WHERE expires_at <= $1", tx.Millis()); err != nil {
			return fmt.Errorf("sweep password resets: %w", err)
		}
		return nil
	})
}
