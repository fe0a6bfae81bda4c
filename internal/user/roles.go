package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
)

// Who holds which role in the whole tenant.

// Held returns what the actor holds in the whole tenant: nothing unless the actor is a
// user.
func Held(ctx context.Context, db database.Reader, by access.Actor) (role.Set, error) {
	id, ok := strings.CutPrefix(by.Name, "user:")
	if !ok {
		return role.Set{}, nil
	}
	u, err := findUser(ctx, db, by.Tenant, id)
	if errors.Is(err, ErrNotFound) {
		return role.Set{}, nil
	}
	if err != nil {
		return role.Set{}, err
	}
	return role.Resolve(ctx, db, by.Tenant, u.RoleIDs)
}

// guard lets only those change how somebody signs in who hold what that user does:
// whoever could otherwise would hold it soon. It returns access.ErrDenied.
func guard(ctx context.Context, db database.Reader, by access.Actor, u User) error {
	if len(u.RoleIDs) == 0 {
		return nil
	}
	theirs, err := role.Resolve(ctx, db, by.Tenant, u.RoleIDs)
	if err != nil {
		return err
	}
	held, err := Held(ctx, db, by)
	if err != nil {
		return err
	}
	if err := role.MayPromote(by, held, theirs.Roles); err != nil {
		return access.ErrDenied.Because("user %s: %w", u.ID, err)
	}
	return nil
}

// Guard is for what belongs to a user and is kept elsewhere: it returns ErrNotFound, or
// access.ErrDenied if the user holds more than the actor.
func Guard(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	u, err := findUser(ctx, tx, by.Tenant, id)
	if err != nil {
		return err
	}
	return guard(ctx, tx, by, u)
}

// checkRoles returns ErrRole if a role that is given is none of the tenant's, and
// role.ErrGrant if the actor may not give or take one. Those that stay are not judged.
func checkRoles(ctx context.Context, tx *database.Tx, by access.Actor, old, now []string) error {
	given, taken := without(now, old), without(old, now)
	if len(given)+len(taken) == 0 {
		return nil
	}
	give, err := role.ByIDs(ctx, tx, by.Tenant, given)
	if errors.Is(err, role.ErrNotFound) {
		return ErrRole.Saying("A role id names no role of this tenant.").In("role_id")
	}
	if err != nil {
		return err
	}
	take, err := role.Resolve(ctx, tx, by.Tenant, taken)
	if err != nil {
		return err
	}
	held, err := Held(ctx, tx, by)
	if err != nil {
		return err
	}
	return role.MayPromote(by, held, slices.Concat(give, take.Roles))
}

// without returns those of a list that are not in another.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return slices.Contains(others, id) })
}

// keepOwner returns ErrLastOwner if old is the tenant's last active owner and u, in
// whose place it comes, is none. Of several owners who go at once the last one stays.
func keepOwner(ctx context.Context, tx *database.Tx, tenant string, old, u User) error {
	if !old.IsActive || len(old.RoleIDs) == 0 || u.IsActive && len(without(old.RoleIDs, u.RoleIDs)) == 0 {
		return nil
	}
	held, err := role.Resolve(ctx, tx, tenant, old.RoleIDs)
	if err != nil || !held.IsOwner() {
		return err
	}
	owner, err := role.HoldOwner(ctx, tx, tenant)
	if err != nil || u.IsActive && slices.Contains(u.RoleIDs, owner) {
		return err
	}
	another, err := holdsAnother(ctx, tx, tenant, owner, old.ID)
	if err == nil && !another {
		return ErrLastOwner
	}
	return err
}

// holdsAnother reports whether an active user other than one holds a role.
func holdsAnother(ctx context.Context, tx *database.Tx, tenant, roleID, but string) (found bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT 1 FROM user_roles AS r JOIN users AS u ON u.tenant_id = r.tenant_id AND u.id = r.user_id
			WHERE r.tenant_id = $1 AND r.role_id = $2 AND r.user_id <> $3 AND u.is_active)`, tenant, roleID, but).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for another holder: %w", err)
	}
	return found, nil
}

// DropRole takes a role that is no more from all who hold it. What it gave is gone
// already; this is for lists.
func DropRole(ctx context.Context, tx *database.Tx, tenant, id string) error {
	quoted := `"` + id + `"`
	_, err := tx.Exec(ctx, `
		UPDATE users SET role_ids = NULLIF(REPLACE(REPLACE(REPLACE(role_ids, $3, ''), $4, ''), $5, ''), '[]')
		WHERE tenant_id = $1 AND id IN (SELECT user_id FROM user_roles WHERE tenant_id = $1 AND role_id = $2)`,
		tenant, id, ","+quoted, quoted+",", quoted)
	if err == nil {
		_, err = tx.Exec(ctx, "DELETE FROM user_roles WHERE tenant_id = $1 AND role_id = $2", tenant, id)
	}
	if err != nil {
		return fmt.Errorf("take role from users: %w", err)
	}
	return nil
}

// judgeRoles says for each role that some users come with why the actor may not give
// it, nil for those the actor may.
func judgeRoles(ctx context.Context, tx *database.Tx, by access.Actor, users []Newcomer) (map[string]error, error) {
	verdicts := map[string]error{}
	for _, u := range users {
		for _, id := range u.RoleIDs {
			if _, seen := verdicts[id]; seen {
				continue
			}
			err := checkRoles(ctx, tx, by, nil, []string{id})
			if err != nil && !errors.Is(err, ErrRole) && !errors.Is(err, role.ErrGrant) {
				return nil, err
			}
			verdicts[id] = err
		}
	}
	return verdicts, nil
}

// changed has what users may do read anew once the transaction is done.
func (s *Service) changed(tx *database.Tx) {
	if s.Changed != nil {
		tx.OnCommit(s.Changed)
	}
}
