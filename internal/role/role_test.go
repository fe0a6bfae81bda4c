package role_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/role"
)

const tenantA, tenantB = "aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"

// bench is two tenants with their built-in roles.
type bench struct {
	db    *database.DB
	by    access.Actor
	roles map[string]role.Role // of tenant A, by slug
}

// run runs test on both engines.
func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := &bench{db: db, by: access.System(tenantA)}
		for _, id := range []string{tenantB, tenantA} {
			b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
				tx.Later("INSERT INTO tenants (id, slug, name, kind, settings, data_key, created_at, modified_at) VALUES ($1, $1, '', '', '{}', $2, 0, 0)", id, []byte{1})
				b.roles, err = role.Seed(ctx, tx, id)
				return err
			})
		}
		test(t, b)
	})
}

func (b *bench) try(t *testing.T, fn func(ctx context.Context, tx *database.Tx) error) error {
	t.Helper()
	return b.db.Write(t.Context(), func(tx *database.Tx) error { return fn(t.Context(), tx) })
}

func (b *bench) write(t *testing.T, fn func(ctx context.Context, tx *database.Tx) error) {
	t.Helper()
	if err := b.try(t, fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) create(t *testing.T, n role.New) (r role.Role) {
	t.Helper()
	b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = role.Create(ctx, tx, b.by, role.Set{}, n)
		return err
	})
	return r
}

func (b *bench) permission(t *testing.T, slug string) (p role.Permission) {
	t.Helper()
	b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		p, err = role.CreatePermission(ctx, tx, b.by, role.New{Name: slug, Slug: slug})
		return err
	})
	return p
}

func (b *bench) update(t *testing.T, by access.Actor, held role.Set, id string, c role.Change) error {
	t.Helper()
	return b.try(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := role.Update(ctx, tx, by, held, id, c)
		return err
	})
}

func (b *bench) remove(t *testing.T, id string) error {
	t.Helper()
	return b.try(t, func(ctx context.Context, tx *database.Tx) error { return role.Delete(ctx, tx, b.by, role.Set{}, id) })
}

func (b *bench) resolve(t *testing.T, ids ...string) role.Set {
	t.Helper()
	held, err := role.Resolve(t.Context(), b.db, tenantA, ids)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func slugs(roles []role.Role) (out []string) {
	for _, r := range roles {
		out = append(out, r.Slug)
	}
	return out
}

func key(may ...access.Permission) access.Actor {
	by := access.Actor{Tenant: tenantA, Name: "key:k1"}
	return by.With(may...)
}

func TestSeedMakesTheContractsRoles(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		roles, err := role.All(t.Context(), b.db, tenantA)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"owner", "admin", "developer", "digitanium_admin", "digitanium_user"}, slugs(roles)); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
		permissions, err := role.AllPermissions(t.Context(), b.db, tenantA)
		if err != nil || len(permissions) != 3 {
			t.Fatalf("permissions %v, %v", permissions, err)
		}
		all := []string{permissions[0].ID, permissions[1].ID, permissions[2].ID}
		for i, want := range [][]string{all, all, all[2:], all, nil} {
			if diff := cmp.Diff(want, roles[i].PermissionIDs); diff != "" || !roles[i].BuiltIn {
				t.Errorf("%s (-want +got):\n%s", roles[i].Slug, diff)
			}
		}
		if p := permissions[2]; p.Name != "Manage SSO Connection" || p.Slug != role.ManageSSOConnection || p.Description != "Manage SSO Connection Manage" || !p.BuiltIn {
			t.Errorf("got %+v", p)
		}
		if diff := cmp.Diff(b.roles["developer"].Rights, roles[2].Rights); diff != "" || len(roles[2].Rights) != 3 {
			t.Errorf("rights as seeded and as read (-seeded +read):\n%s", diff)
		}
	})
}

// A tenant from before there were permissions gets the same as a new one.
func TestMigrationSeedsOldTenants(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		want := map[string][]string{}
		for slug, r := range b.roles {
			want[slug] = b.resolve(t, r.ID).PermissionSlugs()
		}
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			for _, stmt := range []string{"DROP TABLE permissions", "ALTER TABLE roles DROP COLUMN permission_ids", "ALTER TABLE roles DROP COLUMN built_in",
				"ALTER TABLE roles DROP COLUMN is_deleted", "DELETE FROM schema_migrations WHERE version = 41", "UPDATE tenants SET created_at = 1720000000000"} {
				if _, err := tx.Exec(ctx, stmt); err != nil {
					return err
				}
			}
			return nil
		})
		if err := b.db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for slug, r := range b.roles {
			held := b.resolve(t, r.ID)
			if diff := cmp.Diff(want[slug], held.PermissionSlugs()); diff != "" || !held.Roles[0].BuiltIn {
				t.Errorf("%s (-want +got):\n%s", slug, diff)
			}
		}
		permissions, err := role.AllPermissions(t.Context(), b.db, tenantB)
		if err != nil || len(permissions) != 3 || permissions[0].Slug != role.TeamView || len(permissions[0].ID) != 24 {
			t.Errorf("tenant B has %+v, %v", permissions, err)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other, err := role.AllPermissions(t.Context(), b.db, tenantB)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			n    role.New
			want error
		}{
			"no name":                     {role.New{}, role.ErrInvalid},
			"only spaces":                 {role.New{Name: "  "}, role.ErrInvalid},
			"a name too long":             {role.New{Name: strings.Repeat("x", 101)}, role.ErrInvalid},
			"a control character":         {role.New{Name: "a\x7fb"}, role.ErrInvalid},
			"a description too long":      {role.New{Name: "x", Description: strings.Repeat("x", 1001)}, role.ErrInvalid},
			"a slug that is taken":        {role.New{Name: "x", Slug: "owner"}, role.ErrExists},
			"an unknown permission":       {role.New{Name: "x", PermissionIDs: []string{tenantA}}, role.ErrInvalid},
			"another tenant's permission": {role.New{Name: "x", PermissionIDs: []string{other[0].ID}}, role.ErrInvalid},
		} {
			t.Run(name, func(t *testing.T) {
				err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
					_, err := role.Create(ctx, tx, b.by, role.Set{}, c.n)
					return err
				})
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	})
}

func TestSlugIsMadeOfTheName(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if r := b.create(t, role.New{Name: " Support  Staff "}); r.Slug != "support_staff" || r.Name != "Support  Staff" || r.PermissionIDs != nil {
			t.Errorf("got %+v", r)
		}
	})
}

func TestBuiltInOnesStay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		slug, none := "other", []string{}
		owner, admin := b.roles["owner"], b.roles["admin"]
		if err := b.remove(t, admin.ID); !errors.Is(err, role.ErrBuiltIn) {
			t.Errorf("delete: %v", err)
		}
		if err := b.update(t, b.by, role.Set{}, admin.ID, role.Change{Slug: &slug}); !errors.Is(err, role.ErrBuiltIn) {
			t.Errorf("new slug: %v", err)
		}
		if err := b.update(t, b.by, role.Set{}, owner.ID, role.Change{PermissionIDs: &none}); !errors.Is(err, role.ErrBuiltIn) {
			t.Errorf("empty the owner: %v", err)
		}
		if err := b.update(t, b.by, role.Set{}, admin.ID, role.Change{PermissionIDs: &none, Name: &slug}); err != nil {
			t.Errorf("empty another: %v", err)
		}
		id := owner.PermissionIDs[0]
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			return role.DeletePermission(ctx, tx, b.by, role.Set{}, id)
		})
		if !errors.Is(err, role.ErrBuiltIn) {
			t.Errorf("delete a permission: %v", err)
		}
		err = b.try(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := role.UpdatePermission(ctx, tx, b.by, role.Set{}, id, role.Change{Slug: &slug})
			return err
		})
		if !errors.Is(err, role.ErrBuiltIn) {
			t.Errorf("new slug of a permission: %v", err)
		}
	})
}

func TestADeletedRoleGivesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p := b.permission(t, "reports:read")
		r := b.create(t, role.New{Name: "support", PermissionIDs: []string{p.ID}})
		if got := b.resolve(t, r.ID, "unknown"); !slices.Equal(got.PermissionSlugs(), []string{"reports:read"}) || !slices.Equal(got.RoleSlugs(), []string{"support"}) {
			t.Errorf("before: %+v", got)
		}
		if err := b.remove(t, r.ID); err != nil {
			t.Fatal(err)
		}
		if got := b.resolve(t, r.ID); len(got.Roles)+len(got.Permissions) != 0 {
			t.Errorf("after: %+v", got)
		}
		if _, err := role.Find(t.Context(), b.db, tenantA, r.ID); !errors.Is(err, role.ErrNotFound) {
			t.Errorf("find: %v", err)
		}
		if err := b.remove(t, r.ID); !errors.Is(err, role.ErrNotFound) {
			t.Errorf("delete again: %v", err)
		}
		again := b.create(t, role.New{Name: "support"})
		if got := b.resolve(t, r.ID); again.ID == r.ID || len(got.Roles) != 0 {
			t.Errorf("the new role is the old one's: %+v", got)
		}
	})
}

func TestADeletedPermissionLeavesEveryRole(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p, q := b.permission(t, "p"), b.permission(t, "q")
		var ids []string
		for i, held := range [][]string{{p.ID}, {p.ID, q.ID}, {q.ID, p.ID}, {q.ID}} {
			ids = append(ids, b.create(t, role.New{Name: fmt.Sprint("role ", i), PermissionIDs: held}).ID)
		}
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			return role.DeletePermission(ctx, tx, b.by, role.Set{}, p.ID)
		})
		for i, want := range [][]string{nil, {q.ID}, {q.ID}, {q.ID}} {
			r, err := role.Find(t.Context(), b.db, tenantA, ids[i])
			if diff := cmp.Diff(want, r.PermissionIDs); diff != "" || err != nil {
				t.Errorf("role %d: %v (-want +got):\n%s", i, err, diff)
			}
		}
		if again := b.permission(t, "p"); again.ID == p.ID {
			t.Error("the slug has the old id")
		}
	})
}

func TestByIDsIsStrict(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		owner, developer := b.roles["owner"].ID, b.roles["developer"].ID
		got, err := role.ByIDs(t.Context(), b.db, tenantA, []string{developer, owner, developer})
		if err != nil || !slices.Equal(slugs(got), []string{"owner", "developer"}) {
			t.Errorf("got %v, %v", slugs(got), err)
		}
		if _, err := role.ByIDs(t.Context(), b.db, tenantB, []string{owner}); !errors.Is(err, role.ErrNotFound) {
			t.Errorf("in another tenant: %v", err)
		}
		if got, err := role.ByIDs(t.Context(), b.db, tenantA, nil); err != nil || len(got) != 0 {
			t.Errorf("none: %v, %v", got, err)
		}
	})
}

// Nobody gives what they do not hold, in the whole tenant or in an organization.
func TestMayGrant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p := b.permission(t, "reports:read")
		custom, empty := b.create(t, role.New{Name: "custom", PermissionIDs: []string{p.ID}}), b.create(t, role.New{Name: "empty"})
		every := access.Usual
		person := access.Actor{Tenant: tenantA, Name: "user:u1"}
		for _, c := range []struct {
			name     string
			by       access.Actor
			held     []string
			give     role.Role
			org, all bool // may in an organization, in the whole tenant
		}{
			{"a full key gives the owner", key(every...), nil, b.roles["owner"], true, true},
			{"a key for roles gives the owner", key(access.RolesWrite), nil, b.roles["owner"], true, false},
			{"a key for roles gives a developer", key(access.RolesWrite), nil, b.roles["developer"], true, false},
			{"a key for roles and connections gives a developer", key(access.RolesWrite, access.ConnectionsRead, access.ConnectionsWrite, access.OrganizationsRead), nil, b.roles["developer"], true, true},
			{"a key for roles gives the tenant's own", key(access.RolesWrite), nil, custom, true, true},
			{"an owner gives the owner", person.With(every...), []string{"owner"}, b.roles["owner"], true, true},
			{"an owner with a narrow token gives the owner", person.With(access.RolesWrite), []string{"owner"}, b.roles["owner"], true, false},
			{"an owner gives what they do not hold", person.With(every...), []string{"owner"}, custom, true, true},
			{"an administrator gives the owner", person.With(every...), []string{"admin"}, b.roles["owner"], false, false},
			{"an administrator gives an administrator", person.With(every...), []string{"admin"}, b.roles["digitanium_admin"], true, true},
			{"an administrator gives the tenant's own", person.With(every...), []string{"admin"}, custom, true, true},
			{"a developer gives a developer", person.With(every...), []string{"developer"}, b.roles["developer"], true, true},
			{"a developer gives an administrator", person.With(every...), []string{"developer"}, b.roles["admin"], false, false},
			{"a developer gives the tenant's own", person.With(every...), []string{"developer"}, custom, false, false},
			{"somebody gives what they hold", person, []string{"custom"}, custom, true, true},
			{"somebody gives an empty role", person, []string{"custom"}, empty, true, true},
			{"nobody in particular gives a role", person, nil, custom, false, false},
			{"a link to the portal gives the owner", access.Actor{Tenant: tenantA, Name: "portal:l1"}.With(access.OrganizationsWrite), nil, b.roles["owner"], false, false},
			{"a link to the portal gives an administrator", access.Actor{Tenant: tenantA, Name: "portal:l1"}, nil, b.roles["admin"], false, false},
			{"a link to the portal gives the tenant's own", access.Actor{Tenant: tenantA, Name: "portal:l1"}, nil, custom, true, true},
			{"the system gives the owner", access.System(tenantA), nil, b.roles["owner"], true, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				var ids []string
				for _, slug := range c.held {
					r, err := role.BySlug(t.Context(), b.db, tenantA, slug)
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, r.ID)
				}
				held, give := b.resolve(t, ids...), []role.Role{empty, c.give}
				if err := role.MayGrant(c.by, held, give); (err == nil) != c.org || err != nil && !errors.Is(err, role.ErrGrant) {
					t.Errorf("in an organization: %v, want %v", err, c.org)
				}
				if err := role.MayPromote(c.by, held, give); (err == nil) != c.all || err != nil && !errors.Is(err, role.ErrGrant) {
					t.Errorf("in the tenant: %v, want %v", err, c.all)
				}
			})
		}
	})
}

// A role that somebody holds can not be filled by somebody who holds less.
func TestNobodyRaisesARole(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		own, all, text := b.create(t, role.New{Name: "own"}), b.roles["owner"].PermissionIDs, "x"
		by := key(access.RolesWrite)
		if err := b.update(t, by, role.Set{}, own.ID, role.Change{PermissionIDs: &all}); !errors.Is(err, role.ErrGrant) {
			t.Errorf("fill: %v", err)
		}
		if err := b.update(t, by, role.Set{}, b.roles["admin"].ID, role.Change{Name: &text}); !errors.Is(err, role.ErrGrant) {
			t.Errorf("rename an administrator's: %v", err)
		}
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := role.Create(ctx, tx, by, role.Set{}, role.New{Name: "new", PermissionIDs: all})
			return err
		})
		if !errors.Is(err, role.ErrGrant) {
			t.Errorf("create: %v", err)
		}
		for name, fn := range map[string]func(ctx context.Context, tx *database.Tx, by access.Actor) error{
			"create": func(ctx context.Context, tx *database.Tx, by access.Actor) error {
				_, err := role.Create(ctx, tx, by, role.Set{}, role.New{Name: "x"})
				return err
			},
			"delete": func(ctx context.Context, tx *database.Tx, by access.Actor) error {
				return role.Delete(ctx, tx, by, role.Set{}, own.ID)
			},
			"create permission": func(ctx context.Context, tx *database.Tx, by access.Actor) error {
				_, err := role.CreatePermission(ctx, tx, by, role.New{Name: "x"})
				return err
			},
			"delete permission": func(ctx context.Context, tx *database.Tx, by access.Actor) error {
				return role.DeletePermission(ctx, tx, by, role.Set{}, all[0])
			},
		} {
			reader := key(slices.DeleteFunc(slices.Clone(access.All), func(p access.Permission) bool { return p == access.RolesWrite })...)
			if err := b.try(t, func(ctx context.Context, tx *database.Tx) error { return fn(ctx, tx, reader) }); !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s without roles:write: %v", name, err)
			}
		}
	})
}

// Of many who take the same slug at once one gets it.
func TestOneOfManyTakesASlug(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		errs := make(chan error, 12)
		for range 12 {
			wg.Go(func() {
				errs <- b.db.Write(t.Context(), func(tx *database.Tx) error {
					_, err := role.Create(t.Context(), tx, b.by, role.Set{}, role.New{Name: "one"})
					return err
				})
			})
		}
		wg.Wait()
		close(errs)
		won := 0
		for err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, role.ErrExists) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d succeeded, want 1", won)
		}
	})
}

func TestATenantHasAThousandRoles(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.write(t, func(_ context.Context, tx *database.Tx) error {
			for i := range 995 {
				id := fmt.Sprintf("%024d", i)
				tx.Later("INSERT INTO roles (tenant_id, id, name, slug, description, is_admin, created_at, modified_at) VALUES ($1, $2, $2, $2, '', FALSE, 0, 0)", tenantA, id)
			}
			return nil
		})
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := role.Create(ctx, tx, b.by, role.Set{}, role.New{Name: "one more"})
			return err
		})
		if !errors.Is(err, role.ErrFull) {
			t.Errorf("got %v", err)
		}
		if err := b.remove(t, fmt.Sprintf("%024d", 7)); err != nil {
			t.Fatal(err)
		}
		b.create(t, role.New{Name: "one more"})
	})
}

func TestEveryChangeHasItsEvent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p := b.permission(t, "p")
		r, name := b.create(t, role.New{Name: "r", PermissionIDs: []string{p.ID}}), "x"
		if err := b.update(t, b.by, role.Set{}, r.ID, role.Change{PermissionIDs: &[]string{}}); err != nil {
			t.Fatal(err)
		}
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := role.UpdatePermission(ctx, tx, b.by, role.Set{}, p.ID, role.Change{Slug: &name})
			return err
		})
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			return role.DeletePermission(ctx, tx, b.by, role.Set{}, p.ID)
		})
		if err := b.remove(t, r.ID); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, action := range []string{"role.", "permission."} {
			events, err := audit.List(t.Context(), b.db, tenantA, audit.Filter{Action: action}, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				got = append(got, e.Action)
			}
		}
		want := []string{"permission.created", "permission.deleted", "permission.updated", "role.created", "role.deleted", "role.updated"}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
