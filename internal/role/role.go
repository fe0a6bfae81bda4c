// Package role keeps the roles of a tenant: the built-in ones, made with the
// tenant, and those that are added.
//
//	Seed      the built-in roles of a new tenant
//	Create    one more
//	All       every role of a tenant
//	AnyAdmin  whether some of them make an administrator
//
// Which user holds which role is kept with the user. An attacker would give
// themselves a role: giving and making roles takes roles:write.
package role

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// Problems of roles.
var (
	ErrExists  = problem.New(problem.Conflict, "role_exists", "A role of this name exists already.")
	ErrInvalid = problem.New(problem.Invalid, "invalid_role", "A role's name has 1 to 100 bytes and no control characters.")
)

// Owner is the slug of the role that may do everything in its tenant.
const Owner = "owner"

// A Role is a set of permissions under a name.
type Role struct {
	ID          string
	Name        string
	Slug        string // what programs call it, unique in the tenant
	Description string
	IsAdmin     bool // its holders are administrators in the KOBIL form
	IsActive    bool
	CreatedAt   time.Time
}

// builtIn are the roles of every tenant: the contract's three, and the names by
// which KOBIL clients know administrators.
var builtIn = []Role{
	{Name: "Owner", Slug: Owner, Description: "Owner Role", IsAdmin: true},
	{Name: "Admin", Slug: "admin", Description: "Admin Role", IsAdmin: true},
	{Name: "Developer", Slug: "developer", Description: "Developer Role"},
	{Name: "digitanium_admin", Slug: "digitanium_admin", Description: "Administrator in the KOBIL form", IsAdmin: true},
	{Name: "digitanium_user", Slug: "digitanium_user", Description: "User in the KOBIL form"},
}

// Seed makes the built-in roles of a new tenant and returns them by slug.
func Seed(ctx context.Context, tx *database.Tx, tenant string) (map[string]Role, error) {
	seeded := map[string]Role{}
	for _, r := range builtIn {
		r.ID, r.IsActive, r.CreatedAt = tx.NewID(), true, tx.Now
		if err := insertRole(ctx, tx, tenant, r); err != nil {
			return nil, err
		}
		seeded[r.Slug] = r
	}
	return seeded, nil
}

// Create adds a role under a slug. The actor needs roles:write.
func Create(ctx context.Context, tx *database.Tx, by access.Actor, slug string) (Role, error) {
	if err := by.Require(access.RolesWrite); err != nil {
		return Role{}, err
	}
	if slug = strings.TrimSpace(slug); slug == "" || len(slug) > 100 || strings.ContainsFunc(slug, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Role{}, ErrInvalid
	}
	r := Role{ID: tx.NewID(), Name: slug, Slug: slug, IsActive: true, CreatedAt: tx.Now}
	if err := insertRole(ctx, tx, by.Tenant, r); err != nil {
		return Role{}, err
	}
	return r, audit.Append(tx, by, audit.Event{Action: "role.created", Target: "role", TargetID: r.ID, Detail: map[string]any{"slug": slug}})
}

// All returns a tenant's roles by creation. A tenant has at most 1,000.
func All(ctx context.Context, db database.Reader, tenant string) ([]Role, error) {
	rows, err := db.Query(ctx, `
		SELECT id, name, slug, description, is_admin, is_active, created_at FROM roles
		WHERE tenant_id = $1 ORDER BY id LIMIT 1000`, tenant)
	return database.Collect(rows, err, "list roles", func(row database.Scanner) (r Role, err error) {
		var created int64
		err = row.Scan(&r.ID, &r.Name, &r.Slug, &r.Description, &r.IsAdmin, &r.IsActive, &created)
		r.CreatedAt = time.UnixMilli(created).UTC()
		return r, err
	})
}

// AnyAdmin reports whether one of the ids is that of an administrator's role.
func AnyAdmin(ctx context.Context, db database.Reader, tenant string, ids []string) (bool, error) {
	roles, err := All(ctx, db, tenant)
	return slices.ContainsFunc(roles, func(r Role) bool { return r.IsAdmin && slices.Contains(ids, r.ID) }), err
}

func insertRole(ctx context.Context, tx *database.Tx, tenant string, r Role) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO roles (tenant_id, id, name, slug, description, is_admin, is_active, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (tenant_id, slug) DO NOTHING`,
		tenant, r.ID, r.Name, r.Slug, r.Description, r.IsAdmin, r.IsActive, tx.Millis())
	if err != nil {
		return fmt.Errorf("insert role: %w", err)
	}
	if n == 0 {
		return ErrExists
	}
	return nil
}
