package role

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A New says what role to make. An empty Slug is made of the name.
type New struct {
	Name, Slug, Description string
	PermissionIDs           []string
}

// Create makes a role. held is what the actor holds, if the actor is a user. The actor
// needs roles:write, and must hold what the role does.
func Create(ctx context.Context, tx *database.Tx, by access.Actor, held Set, n New) (Role, error) {
	if err := by.Require(access.RolesWrite); err != nil {
		return Role{}, err
	}
	r := Role{ID: tx.NewID(), Name: n.Name, Slug: n.Slug, Description: n.Description, PermissionIDs: n.PermissionIDs, IsActive: true, CreatedAt: tx.Now, ModifiedAt: tx.Now}
	if err := name(&r.Name, &r.Slug, &r.Description, ErrInvalid); err != nil {
		return Role{}, err
	}
	if err := makeRoom(ctx, tx, by.Tenant, "roles", maxRoles); err != nil {
		return Role{}, err
	}
	if err := fill(ctx, tx, by.Tenant, &r); err != nil {
		return Role{}, err
	}
	if err := MayPromote(by, held, []Role{r}); err != nil {
		return Role{}, err
	}
	if err := insertRole(ctx, tx, by.Tenant, r); err != nil {
		return Role{}, err
	}
	return r, audit.Append(tx, by, audit.Event{Action: "role.created", Target: "role", TargetID: r.ID, Detail: map[string]any{"slug": r.Slug, "permission_ids": r.PermissionIDs}})
}

// name brings what something is called into its normal form, or returns wrong.
func name(name, slug, description *string, wrong *problem.Problem) error {
	*name, *slug, *description = strings.TrimSpace(*name), strings.TrimSpace(*slug), strings.TrimSpace(*description)
	if *slug == "" {
		*slug = slugOf(*name)
	}
	for _, f := range []struct {
		field, text string
		most        int
	}{{"name", *name, maxName}, {"slug", *slug, maxName}} {
		if f.text == "" || len(f.text) > f.most || !isPlain(f.text) {
			return wrong.Saying("%s has 1 to %d bytes and no control characters.", f.field, f.most).In(f.field)
		}
	}
	if len(*description) > maxDescription || !isPlain(*description) {
		return wrong.Saying("description has at most %d bytes and no control characters.", maxDescription).In("description")
	}
	return nil
}

func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// slugOf is what programs call something that only has a name.
func slugOf(name string) string { return strings.Join(strings.Fields(strings.ToLower(name)), "_") }

// makeRoom returns ErrFull if there are most things that are not deleted. Two that are
// made at once are counted one after the other.
func makeRoom(ctx context.Context, tx *database.Tx, tenantID, table string, most int64) error {
	if err := tenant.Hold(ctx, tx, tenantID); err != nil {
		return err
	}
	n, err := count(ctx, tx, tenantID, table)
	if err == nil && n >= most {
		return ErrFull
	}
	return err
}

// fill checks a role's permissions, which stay until the transaction ends, and works
// out the rights that they give.
func fill(ctx context.Context, tx *database.Tx, tenantID string, r *Role) error {
	if len(r.PermissionIDs) > maxHeld {
		return ErrInvalid.Saying("A role holds at most %d permissions.", maxHeld).In("permission_id")
	}
	r.PermissionIDs = unique(r.PermissionIDs)
	held, err := holdPermissions(ctx, tx, tenantID, r.PermissionIDs)
	if err != nil {
		return err
	}
	if len(held) != len(r.PermissionIDs) {
		return ErrInvalid.Saying("permission_id names a permission that does not exist.").In("permission_id")
	}
	if len(held) == 0 {
		r.PermissionIDs = nil
	}
	r.Rights = rightsOf(*r, held)
	return nil
}

// A Change says what to alter; nil fields stay as they are. Permissions have no
// PermissionIDs.
type Change struct {
	Name, Slug, Description *string
	PermissionIDs           *[]string
}

// Update changes a role and returns it. The actor needs roles:write, and must hold what
// the role does, before and after. A built-in role keeps its slug, and the owner's the
// built-in permissions.
func Update(ctx context.Context, tx *database.Tx, by access.Actor, held Set, id string, c Change) (Role, error) {
	old, err := hold(ctx, tx, by, id)
	if err != nil {
		return Role{}, err
	}
	r := old
	assign(&r.Name, c.Name)
	assign(&r.Slug, c.Slug)
	assign(&r.Description, c.Description)
	assign(&r.PermissionIDs, c.PermissionIDs)
	if err := name(&r.Name, &r.Slug, &r.Description, ErrInvalid); err != nil {
		return Role{}, err
	}
	if err := fill(ctx, tx, by.Tenant, &r); err != nil {
		return Role{}, err
	}
	if err := checkBuiltIn(ctx, tx, by.Tenant, old, r); err != nil {
		return Role{}, err
	}
	if err := MayPromote(by, held, []Role{old, r}); err != nil {
		return Role{}, err
	}
	r.ModifiedAt = tx.Now
	if err := updateRole(ctx, tx, by.Tenant, r); err != nil {
		return Role{}, err
	}
	return r, audit.Append(tx, by, audit.Event{Action: "role.updated", Target: "role", TargetID: id, Detail: map[string]any{
		"slug": r.Slug, "permission_ids_before": old.PermissionIDs, "permission_ids": r.PermissionIDs}})
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// checkBuiltIn returns ErrBuiltIn if r takes from old what a built-in role keeps.
func checkBuiltIn(ctx context.Context, db database.Reader, tenantID string, old, r Role) error {
	if old.BuiltIn && r.Slug != old.Slug {
		return ErrBuiltIn.In("slug")
	}
	if !old.BuiltIn || old.Slug != Owner {
		return nil
	}
	keeps, err := listPermissions(ctx, db, tenantID, "AND built_in")
	for _, p := range keeps {
		if !slices.Contains(r.PermissionIDs, p.ID) {
			return ErrBuiltIn.In("permission_id")
		}
	}
	return err
}

// hold returns the role of an id, which stays as it is until the transaction ends. The
// actor needs roles:write.
func hold(ctx context.Context, tx *database.Tx, by access.Actor, id string) (Role, error) {
	if err := by.Require(access.RolesWrite); err != nil {
		return Role{}, err
	}
	if err := holdRole(ctx, tx, by.Tenant, id); err != nil {
		return Role{}, err
	}
	return Find(ctx, tx, by.Tenant, id)
}

// HoldOwner returns the id of the owner's role. Whoever else asks waits until the
// transaction has ended, so that of two owners who go at once the second is seen to be
// the last.
func HoldOwner(ctx context.Context, tx *database.Tx, tenantID string) (id string, err error) {
	r, err := BySlug(ctx, tx, tenantID, Owner)
	if err != nil {
		return "", err
	}
	return r.ID, holdRole(ctx, tx, tenantID, r.ID)
}

// Delete removes a role. From that moment it gives nothing to anybody; to take its id
// from those who hold it is up to whoever keeps them. The actor needs roles:write, and
// must hold what the role does.
func Delete(ctx context.Context, tx *database.Tx, by access.Actor, held Set, id string) error {
	r, err := hold(ctx, tx, by, id)
	if err != nil {
		return err
	}
	if r.BuiltIn {
		return ErrBuiltIn
	}
	if err := MayPromote(by, held, []Role{r}); err != nil {
		return err
	}
	if err := markDeleted(ctx, tx, by.Tenant, "roles", r.ID, r.Slug); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "role.deleted", Target: "role", TargetID: id, Detail: map[string]any{"slug": r.Slug, "permission_ids": r.PermissionIDs}})
}

// CreatePermission makes a permission, which no role holds yet. The actor needs
// roles:write.
func CreatePermission(ctx context.Context, tx *database.Tx, by access.Actor, n New) (Permission, error) {
	if err := by.Require(access.RolesWrite); err != nil {
		return Permission{}, err
	}
	p := Permission{ID: tx.NewID(), Name: n.Name, Slug: n.Slug, Description: n.Description, IsActive: true, CreatedAt: tx.Now, ModifiedAt: tx.Now}
	if err := name(&p.Name, &p.Slug, &p.Description, ErrInvalidPermission); err != nil {
		return Permission{}, err
	}
	if err := makeRoom(ctx, tx, by.Tenant, "permissions", maxPermissions); err != nil {
		return Permission{}, err
	}
	if err := insertPermission(ctx, tx, by.Tenant, p); err != nil {
		return Permission{}, err
	}
	return p, audit.Append(tx, by, audit.Event{Action: "permission.created", Target: "permission", TargetID: p.ID, Detail: map[string]any{"slug": p.Slug}})
}

// UpdatePermission changes a permission and returns it. A built-in one keeps its slug.
// The actor needs roles:write, and must hold the permission.
func UpdatePermission(ctx context.Context, tx *database.Tx, by access.Actor, held Set, id string, c Change) (Permission, error) {
	old, err := holdPermission(ctx, tx, by, held, id)
	if err != nil {
		return Permission{}, err
	}
	p := old
	assign(&p.Name, c.Name)
	assign(&p.Slug, c.Slug)
	assign(&p.Description, c.Description)
	if err := name(&p.Name, &p.Slug, &p.Description, ErrInvalidPermission); err != nil {
		return Permission{}, err
	}
	if old.BuiltIn && p.Slug != old.Slug {
		return Permission{}, ErrBuiltIn.In("slug")
	}
	p.ModifiedAt = tx.Now
	if err := updatePermission(ctx, tx, by.Tenant, p); err != nil {
		return Permission{}, err
	}
	return p, audit.Append(tx, by, audit.Event{Action: "permission.updated", Target: "permission", TargetID: id, Detail: map[string]any{"slug_before": old.Slug, "slug": p.Slug}})
}

// DeletePermission removes a permission and takes it from every role. The actor needs
// roles:write, and must hold the permission.
func DeletePermission(ctx context.Context, tx *database.Tx, by access.Actor, held Set, id string) error {
	p, err := holdPermission(ctx, tx, by, held, id)
	if err != nil {
		return err
	}
	if p.BuiltIn {
		return ErrBuiltIn
	}
	if err := markDeleted(ctx, tx, by.Tenant, "permissions", p.ID, p.Slug); err != nil {
		return err
	}
	if err := dropPermission(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "permission.deleted", Target: "permission", TargetID: id, Detail: map[string]any{"slug": p.Slug}})
}

// holdPermission returns the permission of an id, which stays as it is until the
// transaction ends, if the actor may change it.
func holdPermission(ctx context.Context, tx *database.Tx, by access.Actor, held Set, id string) (Permission, error) {
	if err := by.Require(access.RolesWrite); err != nil {
		return Permission{}, err
	}
	found, err := holdPermissions(ctx, tx, by.Tenant, []string{id})
	if err != nil {
		return Permission{}, err
	}
	if len(found) == 0 {
		return Permission{}, ErrPermission
	}
	return found[0], MayGrant(by, held, []Role{{ID: id, PermissionIDs: []string{id}}})
}
