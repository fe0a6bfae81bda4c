// Package role keeps the roles of a tenant and the permissions they are made of:
// the built-in ones, made with the tenant, and those that are added.
//
//	Seed                     the built-in ones of a new tenant
//	Create, Update, Delete   one role, with its audit event in the same transaction
//	CreatePermission, …      the same for permissions
//	All, Find, ByIDs         roles, with their permissions' ids
//	Resolve                  what somebody with some roles holds
//	MayGrant, MayPromote     whether an actor may give roles away
//
// Which user holds which role is kept with the user, and with the member of an
// organization. In an organization a role means its permissions, which tokens carry. In
// the whole tenant it gives rights at the management API besides, see Role.Rights.
//
// An attacker would give themselves a role, put more into one they hold, or take
// somebody over who has more than they do: whoever gives, takes or changes a role must
// hold what is in it, and whoever changes how its holder signs in as well. What is
// deleted stays in its row and gives nothing from that moment; its slug is free, and
// what is made under it next has a new id, which nobody holds.
package role

import (
	"context"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// Problems of roles and permissions.
var (
	ErrNotFound          = problem.New(problem.NotFound, "role_not_found", "There is no such role.")
	ErrExists            = problem.New(problem.Conflict, "role_exists", "A role of this name exists already.")
	ErrInvalid           = problem.New(problem.Invalid, "invalid_role", "A role's name has 1 to 100 bytes and no control characters.")
	ErrPermission        = problem.New(problem.NotFound, "permission_not_found", "There is no such permission.")
	ErrPermissionExists  = problem.New(problem.Conflict, "permission_exists", "A permission of this slug exists already.")
	ErrInvalidPermission = problem.New(problem.Invalid, "invalid_permission", "A permission's name has 1 to 100 bytes and no control characters.")
	ErrBuiltIn           = problem.New(problem.Conflict, "built_in", "Built-in roles and permissions can not be deleted and keep their slugs, and the owner keeps the built-in permissions.")
	ErrGrant             = problem.New(problem.Forbidden, "grant_not_held", "You can not give, take or change a role that holds more than you do.")
	ErrFull              = problem.New(problem.Conflict, "too_many_roles", "A tenant has at most 1,000 roles and 1,000 permissions. Delete one that is not used.")
)

// Slugs of the built-in roles and permissions that other packages name.
const (
	Owner               = "owner" // may do everything in its tenant
	TeamView            = "team_view"
	TeamManage          = "team_manage"
	ManageSSOConnection = "manage_sso_connection"
)

// Limits of a tenant and of a role.
const (
	maxRoles       = 1000
	maxPermissions = 1000
	maxHeld        = 200 // permissions of one role
	maxName        = 100 // bytes
	maxDescription = 1000
)

// A Permission is something that a role lets its holders do. What that is, is between
// the tenant and its applications, but for the built-in ones.
type Permission struct {
	ID          string
	Name        string
	Slug        string // what programs call it, unique in the tenant
	Description string
	BuiltIn     bool
	IsActive    bool
	IsDeleted   bool
	CreatedAt   time.Time
	ModifiedAt  time.Time
}

// A Role is a set of permissions under a name.
type Role struct {
	ID            string
	Name          string
	Slug          string // what programs call it, unique in the tenant
	Description   string
	PermissionIDs []string // nil if there are none
	IsAdmin       bool     // its holders are administrators of the tenant, also in the KOBIL form
	BuiltIn       bool
	IsActive      bool
	IsDeleted     bool
	CreatedAt     time.Time
	ModifiedAt    time.Time
	// Rights are what those who hold it in the whole tenant may do at the management
	// API. Members of an organization have none by it.
	Rights []access.Permission
}

// builtInPermissions are those of every tenant, by the contract.
var builtInPermissions = []Permission{
	{Name: "Team View", Slug: TeamView, Description: "Team View"},
	{Name: "Team Manage", Slug: TeamManage, Description: "Team Manage"},
	{Name: "Manage SSO Connection", Slug: ManageSSOConnection, Description: "Manage SSO Connection Manage"},
}

// builtIn are the roles of every tenant: the contract's three, and the names by
// which KOBIL clients know administrators. PermissionIDs are slugs here.
var builtIn = []Role{
	{Name: "Owner", Slug: Owner, Description: "Owner Role", IsAdmin: true, PermissionIDs: []string{TeamView, TeamManage, ManageSSOConnection}},
	{Name: "Admin", Slug: "admin", Description: "Admin Role", IsAdmin: true, PermissionIDs: []string{TeamView, TeamManage, ManageSSOConnection}},
	{Name: "Developer", Slug: "developer", Description: "Developer Role", PermissionIDs: []string{ManageSSOConnection}},
	{Name: "digitanium_admin", Slug: "digitanium_admin", Description: "Administrator in the KOBIL form", IsAdmin: true, PermissionIDs: []string{TeamView, TeamManage, ManageSSOConnection}},
	{Name: "digitanium_user", Slug: "digitanium_user", Description: "User in the KOBIL form"},
}

// rights are what a built-in permission gives those who hold it in the whole tenant. A
// permission that a tenant makes gives nothing here, whatever its slug.
var rights = map[string][]access.Permission{
	TeamView:            {access.UsersRead, access.RolesRead, access.OrganizationsRead},
	TeamManage:          {access.UsersRead, access.UsersWrite, access.RolesRead, access.OrganizationsRead, access.OrganizationsWrite},
	ManageSSOConnection: {access.ConnectionsRead, access.ConnectionsWrite, access.OrganizationsRead},
}

// administers are the rights of administrators. What owners have beside, see Set.Rights,
// is not among them, so that keys that administer can give the owner's role as before.
var administers = access.Usual

// Seed makes the built-in permissions and roles of a new tenant and returns the roles
// by slug.
func Seed(ctx context.Context, tx *database.Tx, tenant string) (map[string]Role, error) {
	bySlug := map[string]Permission{}
	for i, id := range ascending(tx, len(builtInPermissions)) {
		p := builtInPermissions[i]
		p.ID, p.BuiltIn, p.IsActive, p.CreatedAt, p.ModifiedAt = id, true, true, tx.Now, tx.Now
		if err := insertPermission(ctx, tx, tenant, p); err != nil {
			return nil, err
		}
		bySlug[p.Slug] = p
	}
	seeded := map[string]Role{}
	for i, id := range ascending(tx, len(builtIn)) {
		r := builtIn[i]
		r.ID, r.BuiltIn, r.IsActive, r.CreatedAt, r.ModifiedAt = id, true, true, tx.Now, tx.Now
		held := make([]Permission, len(r.PermissionIDs))
		r.PermissionIDs = slices.Clone(r.PermissionIDs)
		for j, slug := range r.PermissionIDs {
			held[j] = bySlug[slug]
			r.PermissionIDs[j] = held[j].ID
		}
		r.Rights = rightsOf(r, held)
		if err := insertRole(ctx, tx, tenant, r); err != nil {
			return nil, err
		}
		seeded[r.Slug] = r
	}
	return seeded, nil
}

// ascending returns n new ids in order, so that lists show what is made at once in the
// order in which it was made.
func ascending(tx *database.Tx, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = tx.NewID()
	}
	slices.Sort(ids)
	return ids
}

// rightsOf adds up what r gives, of whose permissions held has those that count.
func rightsOf(r Role, held []Permission) (out []access.Permission) {
	if r.IsAdmin {
		return administers
	}
	for _, p := range held {
		if p.BuiltIn && slices.Contains(r.PermissionIDs, p.ID) {
			out = append(out, rights[p.Slug]...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// All returns a tenant's roles by creation. A tenant has at most 1,000.
func All(ctx context.Context, db database.Reader, tenant string) ([]Role, error) {
	roles, err := listRoles(ctx, db, tenant, "")
	if err != nil {
		return nil, err
	}
	return empowered(ctx, db, tenant, roles)
}

// Find returns the role of an id, or ErrNotFound, also for one that was deleted.
func Find(ctx context.Context, db database.Reader, tenant, id string) (Role, error) {
	roles, err := ByIDs(ctx, db, tenant, []string{id})
	if err != nil {
		return Role{}, err
	}
	return roles[0], nil
}

// BySlug returns the role of a slug, or ErrNotFound.
func BySlug(ctx context.Context, db database.Reader, tenant, slug string) (Role, error) {
	roles, err := listRoles(ctx, db, tenant, "AND slug = $2", slug)
	if err != nil {
		return Role{}, err
	}
	if len(roles) == 0 {
		return Role{}, ErrNotFound
	}
	roles, err = empowered(ctx, db, tenant, roles)
	if err != nil {
		return Role{}, err
	}
	return roles[0], nil
}

// ByIDs returns roles by creation, each once; ErrNotFound if one of the ids is unknown
// or of a deleted role.
func ByIDs(ctx context.Context, db database.Reader, tenant string, ids []string) ([]Role, error) {
	ids = unique(ids)
	roles, err := found(ctx, db, tenant, ids)
	if err != nil {
		return nil, err
	}
	if len(roles) != len(ids) {
		return nil, ErrNotFound
	}
	return roles, nil
}

// found returns those of some roles that there are.
func found(ctx context.Context, db database.Reader, tenant string, ids []string) ([]Role, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cond, arg := db.Among("$2", ids)
	roles, err := listRoles(ctx, db, tenant, "AND id "+cond, arg)
	if err != nil {
		return nil, err
	}
	return empowered(ctx, db, tenant, roles)
}

// unique returns the ids without those that come twice.
func unique(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// empowered fills in the Rights of roles.
func empowered(ctx context.Context, db database.Reader, tenant string, roles []Role) ([]Role, error) {
	permissions, err := listPermissions(ctx, db, tenant, "AND built_in")
	for i := range roles {
		roles[i].Rights = rightsOf(roles[i], permissions)
	}
	return roles, err
}

// AllPermissions returns a tenant's permissions by creation. A tenant has at most
// 1,000.
func AllPermissions(ctx context.Context, db database.Reader, tenant string) ([]Permission, error) {
	return listPermissions(ctx, db, tenant, "")
}

// FindPermission returns the permission of an id, or ErrPermission, also for one that
// was deleted.
func FindPermission(ctx context.Context, db database.Reader, tenant, id string) (Permission, error) {
	permissions, err := listPermissions(ctx, db, tenant, "AND id = $2", id)
	if err != nil {
		return Permission{}, err
	}
	if len(permissions) == 0 {
		return Permission{}, ErrPermission
	}
	return permissions[0], nil
}
