package role

import (
	"context"
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
