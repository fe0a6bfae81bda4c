// Package password keeps users' password hashes.
//
//	Hash   before the transaction, because hashing is slow on purpose
//	Set    in the transaction
//
// An attacker with the database must find nothing to try quickly: hashes are
// Argon2id, or what was imported from another system until its user signs in.
package password

import (
	"context"
	"fmt"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/user"
)

// ErrTooShort says that a password breaks the length rule.
var ErrTooShort = problem.New(problem.Invalid, "invalid_password", "A password has at least 8 characters.").In("password")

// minLength counts characters. It is the floor for an account with a second
// factor; sign-in asks for more where the password stands alone.
const minLength = 8

// Check judges a new password.
func Check(password string) error {
	if len([]rune(password)) < minLength {
		return ErrTooShort
	}
	return nil
}

// Set stores the hash of a user's password, in place of the one before. A
// temporary password must be changed at the next sign-in. The actor needs
// users:write, and roles:write for an administrator's.
func Set(ctx context.Context, tx *database.Tx, by access.Actor, id, hash string, temporary bool) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	if err := user.Guard(ctx, tx, by, id); err != nil {
		return err
	}
	tx.Later(`
		INSERT INTO passwords (tenant_id, user_id, hash, temporary, changed_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET hash = excluded.hash, temporary = excluded.temporary, changed_at = excluded.changed_at`,
		by.Tenant, id, hash, temporary, tx.Millis())
	return audit.Append(tx, by, audit.Event{Action: "password.set", Target: "user", TargetID: id})
}

// Find returns the stored hash of a user, empty if there is no password.
func Find(ctx context.Context, db database.Reader, tenant, user string) (hash string, temporary bool, err error) {
	rows, err := db.Query(ctx, "SELECT hash, temporary FROM passwords WHERE tenant_id = $1 AND user_id = $2", tenant, user)
	if err != nil {
		return "", false, fmt.Errorf("find password: %w", err)
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&hash, &temporary)
	}
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		return "", false, fmt.Errorf("find password: %w", err)
	}
	return hash, temporary, nil
}
