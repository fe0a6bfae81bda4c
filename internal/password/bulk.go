package password

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
)

// A Stored is the password of one user as it is kept.
type Stored struct {
	UserID    string
	Hash      string // a form of passhash
	Temporary bool   // must be changed at the next sign-in
	ChangedAt time.Time
}

// Import stores the passwords of users who have just been added and have none yet.
// The hashes have been through passhash.Check; ChangedAt is the transaction's
// moment unless set. It writes no event of its own, that of the users stands for
// it. They are judged when they are first used, see Judge. The actor needs users:write.
func Import(ctx context.Context, tx *database.Tx, by access.Actor, passwords []Stored) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	rows := make([][]any, len(passwords))
	for i, p := range passwords {
		if p.ChangedAt.IsZero() {
			p.ChangedAt = tx.Now
		}
		rows[i] = []any{by.Tenant, p.UserID, p.Hash, p.Temporary, p.ChangedAt.UnixMilli(), imported}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := tx.Copy(ctx, "passwords", []string{"tenant_id", "user_id", "hash", "temporary", "changed_at", "standing"}, rows); err != nil {
		return fmt.Errorf("import passwords: %w", err)
	}
	return nil
}

// Replace stores the imported password of a user who may have one already, like Set.
func Replace(ctx context.Context, tx *database.Tx, by access.Actor, p Stored) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	if err := user.Guard(ctx, tx, by, p.UserID); err != nil {
		return err
	}
	store(tx, by.Tenant, p.UserID, p.Hash, p.Temporary, imported)
	return audit.Append(tx, by, audit.Event{Action: "password.set", Target: "user", TargetID: p.UserID})
}

// Export returns the passwords of those of users who have one, by user. The actor
// needs users:export_hashes.
func Export(ctx context.Context, db *database.DB, by access.Actor, users []string) (map[string]Stored, error) {
	if err := by.Require(access.UsersExportHashes); err != nil {
		return nil, err
	}
	cond, arg := db.Among("$2", users)
	rows, err := db.Query(ctx, "SELECT user_id, hash, temporary, changed_at FROM passwords WHERE tenant_id = $1 AND user_id "+cond, by.Tenant, arg)
	found := map[string]Stored{}
	_, err = database.Collect(rows, err, "export passwords", func(row database.Scanner) (p Stored, err error) {
		var changed int64
		err = row.Scan(&p.UserID, &p.Hash, &p.Temporary, &changed)
		p.ChangedAt = time.UnixMilli(changed).UTC()
		found[p.UserID] = p
		return p, err
	})
	return found, err
}
