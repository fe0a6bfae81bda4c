package role

import (
	"context"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
)

// A Set is what somebody holds: roles, and the permissions in them, each once and only
// those that are active.
type Set struct {
	Roles       []Role
	Permissions []Permission
}

// Resolve returns what those hold who have some roles. Ids of roles that are unknown,
// inactive or deleted count for nothing. It reads two statements' worth and keeps
// nothing: whoever asks at each request keeps the answer, for at most a second.
func Resolve(ctx context.Context, db database.Reader, tenant string, roleIDs []string) (Set, error) {
	if len(roleIDs) == 0 {
		return Set{}, nil
	}
	cond, arg := db.Among("$2", roleIDs)
	roles, err := listRoles(ctx, db, tenant, "AND is_active AND id "+cond, arg)
	if err != nil {
		return Set{}, err
	}
	var ids []string
	for _, r := range roles {
		ids = append(ids, r.PermissionIDs...)
	}
	held, err := permissionsByID(ctx, db, tenant, ids)
	for i := range roles {
		roles[i].Rights = rightsOf(roles[i], held)
	}
	return Set{roles, held}, err
}

func permissionsByID(ctx context.Context, db database.Reader, tenant string, ids []string) ([]Permission, error) {
	if ids = unique(ids); len(ids) == 0 {
		return nil, nil
	}
	cond, arg := db.Among("$2", ids)
	return listPermissions(ctx, db, tenant, "AND is_active AND id "+cond, arg)
}

// IsAdmin reports whether one of the roles is that of an administrator.
func (s Set) IsAdmin() bool {
	return slices.ContainsFunc(s.Roles, func(r Role) bool { return r.IsAdmin })
}

// IsOwner reports whether one of the roles is the owner's.
func (s Set) IsOwner() bool {
	return slices.ContainsFunc(s.Roles, func(r Role) bool { return r.Slug == Owner })
}

// RoleSlugs are the roles as programs call them.
func (s Set) RoleSlugs() []string {
	slugs := make([]string, len(s.Roles))
	for i, r := range s.Roles {
		slugs[i] = r.Slug
	}
	return slugs
}

// PermissionSlugs are the permissions as programs call them.
func (s Set) PermissionSlugs() []string {
	slugs := make([]string, len(s.Permissions))
	for i, p := range s.Permissions {
		slugs[i] = p.Slug
	}
	return slugs
}

// Rights are what somebody who holds this in the whole tenant may do at the management
// API. Owners may make signing in less safe, besides; administrators may not.
func (s Set) Rights() (out []access.Permission) {
	for _, r := range s.Roles {
		out = append(out, r.Rights...)
	}
	if s.IsOwner() {
		out = append(out, access.SettingsSecurity)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// MayGrant returns ErrGrant unless an actor may give or take the roles where they mean
// their permissions, as in an organization. held is what the actor holds there, if the
// actor is a user: an owner may give all roles, an administrator all but the owner's,
// anybody else those whose permissions they all hold. Links to the portal give no role that makes an
// administrator. Keys and applications hold no permissions of the tenant's making; to
// them what they may do with roles at all is the limit.
func MayGrant(by access.Actor, held Set, give []Role) error {
	if strings.HasPrefix(by.Name, "portal:") {
		if slices.ContainsFunc(give, func(r Role) bool { return r.IsAdmin || r.Slug == Owner }) {
			return ErrGrant.Because("%s makes nobody an administrator", by.Name)
		}
		return nil
	}
	if !strings.HasPrefix(by.Name, "user:") || held.IsOwner() {
		return nil
	}
	for _, r := range give {
		if !held.covers(r) {
			return ErrGrant.Because("%s does not hold what is in role %s", by.Name, r.ID)
		}
	}
	return nil
}

func (s Set) covers(r Role) bool {
	if r.Slug == Owner || s.IsAdmin() {
		return r.Slug != Owner
	}
	missing := func(id string) bool {
		return !slices.ContainsFunc(s.Permissions, func(p Permission) bool { return p.ID == id })
	}
	return !r.IsAdmin && !slices.ContainsFunc(r.PermissionIDs, missing)
}

// MayPromote is MayGrant for roles in the whole tenant: the actor needs all the rights
// that they give, too.
func MayPromote(by access.Actor, held Set, give []Role) error {
	for _, r := range give {
		for _, p := range r.Rights {
			if !by.May(p) {
				return ErrGrant.Because("%s lacks %s, which is in role %s", by.Name, p, r.ID)
			}
		}
	}
	return MayGrant(by, held, give)
}
