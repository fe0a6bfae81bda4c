// Package password keeps users' passwords: which may be chosen, how they are
// proved, changed, and reset by mail.
//
//	Check              judges a new password: length, block list, breach list
//	Verify, Upgrade    at sign-in; an imported hash becomes one of ours
//	Judge              an imported password, at its first use
//	Change             by the user, who has just proved the old one
//	StartReset, Reset  a token by mail, good for one new password
//	Set                by an administrator
//	Import, Export     of many users' hashes
//
// Hashing is slow on purpose: Verify and passhash's Hash run before the
// transaction, and whatever they found out is a condition of the statement that
// writes.
//
// An attacker with the database must find nothing to try quickly: hashes are
// Argon2id, or what was imported from another system until its user signs in, and
// tokens are hashed. One without it would ask which accounts exist (an unknown user
// costs Verify as much as a known one), use a reset twice or for somebody else (the
// token names its user, and one conditional statement uses it up), or win a race
// against the owner who is locking them out (Change works on the hash that was
// proved, and on no other).
package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/user"
)

// ErrChanged says that the password is no longer the one that was proved.
var ErrChanged = problem.New(problem.Conflict, "password_changed_meanwhile", "The password was changed in the meantime. Please sign in again.")

// Set stores the hash of a user's password, in place of the one before, and voids
// a reset that is under way. A temporary password must be changed at the next
// sign-in. The actor needs users:write, and roles:write for an administrator's.
func Set(ctx context.Context, tx *database.Tx, by access.Actor, id, hash string, temporary bool) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	if err := user.Guard(ctx, tx, by, id); err != nil {
		return err
	}
	store(tx, by.Tenant, id, hash, temporary, chosen)
	return audit.Append(tx, by, audit.Event{Action: "password.set", Target: "user", TargetID: id})
}

// What is known of a password, as it is kept.
const (
	chosen   = ""         // here, under the rules of that day
	imported = "imported" // from another system, which may have had none; not used here yet
	weak     = "weak"     // imported, and not good enough when it was first used
)

// Remove takes a password away from a user who has proved to be that user by other
// means, and voids a reset that is under way: who set the password was not proved. The
// actor must be the user ("user:" and the id) and needs no permission.
func Remove(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	if by.Name != "user:"+user || user == "" {
		return access.ErrDenied.Because("%s is not user %s", by.Name, user)
	}
	voidReset(tx, by.Tenant, user)
	removed, err := replace(ctx, tx, "DELETE FROM passwords WHERE tenant_id = $1 AND user_id = $2", by.Tenant, user)
	if err != nil || !removed {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "password.removed", Target: "user", TargetID: user, Reason: reason})
}

func store(tx *database.Tx, tenant, user, hash string, temporary bool, standing string) {
	voidReset(tx, tenant, user)
	tx.Later(`
		INSERT INTO passwords (tenant_id, user_id, hash, temporary, changed_at, standing) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET hash = excluded.hash, temporary = excluded.temporary, changed_at = excluded.changed_at, standing = excluded.standing`,
		tenant, user, hash, temporary, tx.Millis(), standing)
}

// A Due says why a user has to choose another password before a page lets them go on.
type Due string

// The reasons. A weak password, unlike a temporary one, still signs in where there is no
// page to choose another on.
const (
	NotDue    Due = ""
	Temporary Due = "temporary" // set by somebody else
	Weak      Due = "weak"      // imported, and less than the rules here ask for
)

// Find returns the stored hash of a user, empty if there is no password, and why it has
// to be changed, if so.
func Find(ctx context.Context, db database.Reader, tenant, user string) (hash string, due Due, err error) {
	p, err := find(ctx, db, tenant, user)
	return p.hash, p.due, err
}

// FindProved is Find for a user who proved the password at a moment. It returns ErrChanged
// if another was chosen since, or it is gone.
func FindProved(ctx context.Context, db database.Reader, tenant, user string, at time.Time) (hash string, due Due, err error) {
	p, err := find(ctx, db, tenant, user)
	if err == nil && (p.hash == "" || p.changedAt > at.UnixMilli()) {
		err = ErrChanged
	}
	return p.hash, p.due, err
}

// Hold ends the transaction with ErrChanged if the hash of a user's password is not the
// one any more that a password was proved against: hashing takes a while, in which its
// owner may have taken it away from an intruder. Whoever changes it comes before, and is seen here,
// or waits until tx is over, and then ends what has begun in it.
func Hold(tx *database.Tx, tenant, user, hash string) {
	tx.Must(func(same int64, err error) error {
		if err == nil && same == 0 {
			return ErrChanged
		}
		return err
	}, "UPDATE passwords SET hash = hash WHERE tenant_id = $1 AND user_id = $2 AND hash = $3", tenant, user, hash)
}

// stored is what there is of a password; without one its hash is empty.
type stored struct {
	hash, standing string
	due            Due
	changedAt      int64
}

func find(ctx context.Context, db database.Reader, tenant, user string) (p stored, err error) {
	var temporary bool
	err = db.QueryRow(ctx, "SELECT hash, temporary, standing, changed_at FROM passwords WHERE tenant_id = $1 AND user_id = $2", tenant, user).
		Scan(&p.hash, &temporary, &p.standing, &p.changedAt)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return stored{}, nil
	case err != nil:
		return stored{}, fmt.Errorf("find password: %w", err)
	case temporary:
		p.due = Temporary
	case p.standing == weak:
		p.due = Weak
	}
	return p, nil
}

// ChangedAt returns when the password in force was chosen; the zero time if there is
// none. An upgraded hash is the same password.
func ChangedAt(ctx context.Context, db database.Reader, tenant, user string) (time.Time, error) {
	var at int64
	err := db.QueryRow(ctx, "SELECT changed_at FROM passwords WHERE tenant_id = $1 AND user_id = $2", tenant, user).Scan(&at)
	if errors.Is(err, database.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("find password: %w", err)
	}
	return time.UnixMilli(at).UTC(), nil
}

// A Verdict is what Verify found out. The zero value says that the password is
// wrong, for whatever reason.
type Verdict struct {
	OK bool
	// Due says why the user must choose another password before going on, if so.
	Due Due
	// Imported says that the password comes from another system and is used here for the
	// first time: the caller holds it against the rules, with Check, and calls Judge.
	Imported bool
	// Upgrade says that Hash is not what passhash would make of the password today:
	// the caller hashes it anew and calls Upgrade.
	Upgrade bool
	// Hash is the stored hash that the password was proved against, for Upgrade and
	// Change.
	Hash string
}

// Verify says whether password is that of a user; the empty id stands for somebody
// who does not exist. A wrong password, no password and no user are one answer, and
// take the time of one of our own hashes; a user whose hash was imported may take
// longer until it is upgraded, never less. It returns passhash.ErrPasswordTooLong and
// passhash.ErrBusy, and does not count tries: that is the caller's, with package
// ratelimit, before it calls. It hashes, so it must not run in a transaction.
func Verify(ctx context.Context, db database.Reader, hasher *passhash.Hasher, tenant, user, password string) (Verdict, error) {
	p, err := find(ctx, db, tenant, user)
	if err != nil {
		return Verdict{}, err
	}
	hash := p.hash
	if hash == "" {
		return Verdict{}, hasher.VerifyDummy(ctx, password)
	}
	ok, upgrade, err := hasher.Verify(ctx, hash, password)
	if err != nil {
		return Verdict{}, fmt.Errorf("verify password: %w", err)
	}
	if ok {
		return Verdict{OK: true, Due: p.due, Imported: p.standing == imported, Upgrade: upgrade, Hash: hash}, nil
	}
	if !strings.HasPrefix(hash, "$argon2id$") {
		// Most imported hashes are cheap. Without this, answering at once would tell
		// that there is such a user.
		err = hasher.VerifyDummy(ctx, password)
	}
	return Verdict{}, err
}

// Upgrade replaces the hash that Verify asked to have upgraded with one of today,
// of the same password. If the password was changed in the meantime it does nothing.
// It is no change of the password, so there is no event.
func Upgrade(ctx context.Context, tx *database.Tx, by access.Actor, user, oldHash, newHash string) error {
	_, err := replace(ctx, tx, "UPDATE passwords SET hash = $4 WHERE tenant_id = $1 AND user_id = $2 AND hash = $3", by.Tenant, user, oldHash, newHash)
	return err
}

// Judge notes what was found of an imported password at its first use, by its hash: nil
// if it meets the rules, else the problem that Check has returned. A password that does
// not still proves its user, who is asked for another one from then on. If it was changed
// or judged in the meantime it does nothing.
func Judge(ctx context.Context, tx *database.Tx, by access.Actor, user, hash string, found *problem.Problem) error {
	standing := chosen
	if found != nil {
		standing = weak
	}
	judged, err := replace(ctx, tx, "UPDATE passwords SET standing = $4 WHERE tenant_id = $1 AND user_id = $2 AND hash = $3 AND standing = '"+imported+"'", by.Tenant, user, hash, standing)
	if err != nil || !judged || found == nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "password.found_weak", Target: "user", TargetID: user, Reason: found.Code})
}

// Change is a user choosing a new password. The caller has verified the old one, by
// Verify, and says so by its hash; oldHash is empty for a user who has none yet and
// has proved themselves by other means. If the password is another by now it returns
// ErrChanged: whoever knew the old one must not undo what the owner did since. The
// actor must be the user ("user:" and the id) and needs no permission. A reset under
// way is void; ending the user's other sessions is the caller's, in tx.
func Change(ctx context.Context, tx *database.Tx, by access.Actor, user, oldHash, newHash string) error {
	if by.Name != "user:"+user || user == "" {
		return access.ErrDenied.Because("%s is not user %s", by.Name, user)
	}
	voidReset(tx, by.Tenant, user)
	stmt := "UPDATE passwords SET hash = $4, temporary = FALSE, changed_at = $5, standing = '' WHERE tenant_id = $1 AND user_id = $2 AND hash = $3"
	args := []any{by.Tenant, user, oldHash, newHash, tx.Millis()}
	if oldHash == "" {
		stmt = "INSERT INTO passwords (tenant_id, user_id, hash, temporary, changed_at) VALUES ($1, $2, $3, FALSE, $4) ON CONFLICT (tenant_id, user_id) DO NOTHING"
		args = []any{by.Tenant, user, newHash, tx.Millis()}
	}
	switch changed, err := replace(ctx, tx, stmt, args...); {
	case err != nil:
		return err
	case !changed:
		return ErrChanged
	}
	return audit.Append(tx, by, audit.Event{Action: "password.changed", Target: "user", TargetID: user})
}

// replace runs a statement that writes one password if it is still as expected.
func replace(ctx context.Context, tx *database.Tx, stmt string, args ...any) (bool, error) {
	n, err := tx.Exec(ctx, stmt, args...)
	if database.IsMissingParent(err) {
		return false, user.ErrNotFound
	}
	if err != nil {
		return false, fmt.Errorf("replace password: %w", err)
	}
	return n == 1, nil
}
