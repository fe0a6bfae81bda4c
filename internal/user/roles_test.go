package user_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/user"
)

// rights are what an administrator's token may do at most.
func rights() []access.Permission {
	return slices.Clone(access.Usual)
}

// as makes a user with some roles and returns the actor of a token of theirs.
func (b *bench) as(t *testing.T, name string, slugs ...string) (access.Actor, user.User) {
	t.Helper()
	u := user.User{Username: name}
	for _, slug := range slugs {
		u.RoleIDs = append(u.RoleIDs, b.roles[slug].ID)
	}
	u = b.create(t, u)
	by := access.Visitor(tenantA, "")
	by.Name = "user:" + u.ID
	return by.With(rights()...), u
}

func TestTheLastOwnerStays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		owner := b.roles[role.Owner].ID
		_, ann := b.as(t, "ann", role.Owner, "admin")
		_, off := b.as(t, "off", role.Owner)
		b.update(t, off.ID, user.Change{IsActive: ptr(false)})
		for name, try := range map[string]func() error{
			"give up the role": func() error {
				_, err := b.tryUpdate(t.Context(), ann.ID, user.Change{RoleIDs: &[]string{b.roles["admin"].ID}})
				return err
			},
			"hold nothing": func() error {
				_, err := b.tryUpdate(t.Context(), ann.ID, user.Change{RoleIDs: &[]string{}})
				return err
			},
			"be disabled": func() error {
				_, err := b.tryUpdate(t.Context(), ann.ID, user.Change{IsActive: ptr(false)})
				return err
			},
			"be deleted": func() error {
				return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, b.by, ann.ID) })
			},
		} {
			if err := try(); !errors.Is(err, user.ErrLastOwner) {
				t.Errorf("%s: %v, want ErrLastOwner", name, err)
			}
		}
		b.update(t, ann.ID, user.Change{RoleIDs: &[]string{owner}, FirstName: ptr("Ann")})
		b.update(t, off.ID, user.Change{RoleIDs: &[]string{}}) // an owner who may not sign in is none
		_, eve := b.as(t, "eve", role.Owner)
		b.remove(t, ann.ID)
		b.update(t, eve.ID, user.Change{LastName: ptr("Ng")})
	})
}

// Of several owners who leave at once, each in another way, one stays.
func TestOwnersWhoLeaveAtOnceLeaveOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		leave := []func(id string) error{
			func(id string) error {
				_, err := b.tryUpdate(t.Context(), id, user.Change{RoleIDs: &[]string{}})
				return err
			},
			func(id string) error {
				_, err := b.tryUpdate(t.Context(), id, user.Change{IsActive: ptr(false)})
				return err
			},
			func(id string) error {
				return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, b.by, id) })
			},
		}
		owners := make([]string, 9)
		for i := range owners {
			_, u := b.as(t, fmt.Sprint("owner", i), role.Owner)
			owners[i] = u.ID
		}
		var wg sync.WaitGroup
		var stayed atomic.Int64
		for i, id := range owners {
			wg.Go(func() {
				if err := leave[i%len(leave)](id); errors.Is(err, user.ErrLastOwner) {
					stayed.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if stayed.Load() != 1 {
			t.Errorf("%d stayed, want 1", stayed.Load())
		}
	})
}

func TestNobodyGivesOrTakesMoreThanTheyHold(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		asOwner, owner := b.as(t, "owner", role.Owner)
		b.as(t, "second", role.Owner)
		asAdmin, admin := b.as(t, "admin", "admin")
		asDeveloper, developer := b.as(t, "developer", "developer")
		_, plain := b.as(t, "plain")
		narrow := access.Visitor(tenantA, "").With(access.UsersRead, access.UsersWrite, access.RolesWrite)
		narrow.Name = "key:k1"
		ids := func(slugs ...string) *[]string {
			out := []string{}
			for _, slug := range slugs {
				out = append(out, b.roles[slug].ID)
			}
			return &out
		}
		for _, c := range []struct {
			name string
			by   access.Actor
			id   string
			to   *[]string
			want *problem.Problem
		}{
			{"a key that holds little gives an administrator", narrow, plain.ID, ids("admin"), role.ErrGrant},
			{"a key that holds little takes the owner", narrow, owner.ID, ids(), role.ErrGrant},
			{"an administrator raises themselves", asAdmin, admin.ID, ids("admin", role.Owner), role.ErrGrant},
			{"an administrator takes the owner", asAdmin, owner.ID, ids(), role.ErrGrant},
			{"a developer raises themselves", asDeveloper, developer.ID, ids("admin"), role.ErrGrant},
			{"a developer gives a developer", asDeveloper, plain.ID, ids("developer"), nil},
			{"an administrator gives an administrator", asAdmin, plain.ID, ids("developer", "digitanium_admin"), nil},
			{"an owner gives the owner", asOwner, plain.ID, ids(role.Owner), nil},
			{"another tenant's role", asOwner, plain.ID, &[]string{"cccccccccccccccccccccccc"}, user.ErrRole},
		} {
			b.by = c.by
			_, err := b.tryUpdate(t.Context(), c.id, user.Change{RoleIDs: c.to})
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	})
}

// Whoever changes how somebody signs in is that somebody soon.
func TestNobodyTakesOverWhoHoldsMore(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, owner := b.as(t, "owner", role.Owner)
		asAdmin, admin := b.as(t, "admin", "admin")
		asDeveloper, _ := b.as(t, "developer", "developer")
		email := user.Change{Email: ptr("thief@example.com")}
		for _, c := range []struct {
			name string
			by   access.Actor
			id   string
			may  bool
		}{
			{"a developer to an administrator", asDeveloper, admin.ID, false},
			{"an administrator to the owner", asAdmin, owner.ID, false},
			{"an administrator to themselves", asAdmin, admin.ID, true},
			{"a full key to the owner", access.Visitor(tenantA, "").With(rights()...), owner.ID, true},
		} {
			b.by = c.by
			if _, err := b.tryUpdate(t.Context(), c.id, email); (err == nil) != c.may || err != nil && !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s: %v", c.name, err)
			}
			email.Email = ptr("x" + *email.Email)
		}
	})
}
