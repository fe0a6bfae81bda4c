package org_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// A bench is the service on a database, with a clock that is moved by hand and a DNS
// that says what records says.
type bench struct {
	*org.Service
	by    access.Actor // may do everything in the tenant
	roles map[string]role.Role
	now   atomic.Int64
	left  []string // what Left was told
	queue *jobs.Queue
	may   map[string][]access.Permission // what actors may do by now, by name

	mu      sync.Mutex
	records map[string][]string // name, with the root's dot -> TXT
	dnsErr  error
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) { test(t, newBench(t, db)) })
}

func newBench(t *testing.T, db *database.DB) *bench {
	t.Helper()
	b := &bench{records: map[string][]string{}, may: map[string][]access.Permission{}}
	b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.now.Add(1)) }
	master, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	tenants := &tenant.Service{DB: db, Master: master, PublicURL: "https://cardea.test", BaseHost: "cardea.test"}
	users := &user.Service{DB: db, Box: tenants.Box, Connection: tenant.ManualConnection}
	users.Stops = func(ctx context.Context, tx *database.Tx, by access.Actor, u user.User) error {
		return b.UserStops(ctx, tx, by, u)
	}
	b.queue = &jobs.Queue{DB: db}
	post := &notify.Service{DB: db, Boxes: []*secret.Box{master}, Email: notify.Mailbox{}}
	post.Attach(b.queue)
	b.Service = &org.Service{DB: db, Tenants: tenants, Users: users, Limits: &ratelimit.Limiter{DB: db}, Notify: post, TXT: b.lookup, Rights: b.rights}
	b.Service.Left = func(_ context.Context, _ *database.Tx, _ access.Actor, _, user, reason string) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.left = append(b.left, reason+" "+user)
		return nil
	}
	b.write(t, func(tx *database.Tx) error {
		made, err := tenants.Create(t.Context(), tx, access.System(""), "demo", "Demo", tenant.KindSSMS)
		if err != nil {
			return err
		}
		b.by = access.System(made.ID)
		b.roles, err = role.Seed(t.Context(), tx, made.ID)
		return err
	})
	return b
}

func (b *bench) lookup(_ context.Context, name string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records[name], b.dnsErr
}

func (b *bench) rights(_ context.Context, _ *database.Tx, tenant, name string) (access.Actor, error) {
	return access.Actor{Tenant: tenant, Name: name}.With(b.may[name]...), nil
}

// publish puts the record of a domain into the DNS.
func (b *bench) publish(d org.Domain) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records[d.Record()+"."] = append(b.records[d.Record()+"."], "v=spf1 -all", d.Value())
}

func (b *bench) unpublish(d org.Domain) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.records, d.Record()+".")
}

func (b *bench) answer(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dnsErr = err
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) try(ctx context.Context, fn func(tx *database.Tx) error) error {
	return b.DB.Write(ctx, fn)
}

func (b *bench) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) company(t *testing.T, name string) (o org.Organization) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		o, err = b.Create(t.Context(), tx, b.by, org.Organization{Name: name, IsActive: true})
		return err
	})
	return o
}

var serial atomic.Int64

func (b *bench) person(t *testing.T) (u user.User) {
	t.Helper()
	return b.personAt(t, fmt.Sprintf("p%d@example.com", serial.Add(1)))
}

func (b *bench) personAt(t *testing.T, email string) (u user.User) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		u, err = b.Users.Create(t.Context(), tx, b.by, user.User{Email: email, EmailVerified: true, IsActive: true})
		return err
	})
	return u
}

// member makes somebody new a member with roles by hand, named by slug.
func (b *bench) member(t *testing.T, o org.Organization, slugs ...string) user.User {
	t.Helper()
	u := b.person(t)
	b.join(t, o, u, slugs...)
	return u
}

func (b *bench) join(t *testing.T, o org.Organization, u user.User, slugs ...string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := b.AddMember(t.Context(), tx, b.by, o.ID, u.ID, b.ids(slugs...), org.SourceManual)
		return err
	})
}

func (b *bench) ids(slugs ...string) (ids []string) {
	for _, slug := range slugs {
		ids = append(ids, b.roles[slug].ID)
	}
	return ids
}

func (b *bench) effective(t *testing.T, o org.Organization, u user.User) (slugs []string, err error) {
	t.Helper()
	set, err := b.Effective(t.Context(), b.DB, b.by.Tenant, o.ID, u.ID)
	slugs = set.RoleSlugs()
	slices.Sort(slugs)
	return slugs, err
}

func (b *bench) wantEffective(t *testing.T, o org.Organization, u user.User, want ...string) {
	t.Helper()
	got, err := b.effective(t, o, u)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("roles %v, %v, want %v", got, err, want)
	}
}

func TestMembersRolesComeFromHandsSourcesAndDefaults(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		u := b.member(t, o, "developer")
		b.wantEffective(t, o, u, "developer")
		b.write(t, func(tx *database.Tx) error {
			return b.SetAutomaticRoles(t.Context(), tx, b.by, o.ID, u.ID, "scim:x", b.ids("admin"))
		})
		b.wantEffective(t, o, u, "admin", "developer")
		b.write(t, func(tx *database.Tx) error { return b.SetRoles(t.Context(), tx, b.by, o.ID, u.ID, nil) })
		b.wantEffective(t, o, u, "admin")
		o.Policy.DefaultRoles = b.ids("digitanium_user")
		b.write(t, func(tx *database.Tx) error { _, err := b.Save(t.Context(), tx, b.by, o); return err })
		b.wantEffective(t, o, u, "admin", "digitanium_user")
		b.write(t, func(tx *database.Tx) error {
			return b.SetAutomaticRoles(t.Context(), tx, b.by, o.ID, u.ID, "scim:x", nil)
		})
		b.wantEffective(t, o, u, "digitanium_user")
	})
}

func TestWhoIsNoActiveMemberHasNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		u, stranger := b.member(t, o, "developer"), b.person(t)
		want := func(who user.User) {
			t.Helper()
			if got, err := b.effective(t, o, who); !errors.Is(err, org.ErrNotMember) {
				t.Errorf("got %v, %v, want ErrNotMember", got, err)
			}
		}
		want(stranger)
		b.wantEffective(t, o, u, "developer")
		b.write(t, func(tx *database.Tx) error { return b.Suspend(t.Context(), tx, b.by, o.ID, u.ID, "left") })
		want(u)
		b.write(t, func(tx *database.Tx) error { return b.Restore(t.Context(), tx, b.by, o.ID, u.ID, "back") })
		b.wantEffective(t, o, u, "developer")
		o.IsActive = false
		b.write(t, func(tx *database.Tx) error { _, err := b.Save(t.Context(), tx, b.by, o); return err })
		want(u)
		o.IsActive = true
		b.write(t, func(tx *database.Tx) error { _, err := b.Save(t.Context(), tx, b.by, o); return err })
		b.wantEffective(t, o, u, "developer")
		b.write(t, func(tx *database.Tx) error { return b.RemoveMember(t.Context(), tx, b.by, o.ID, u.ID, "left") })
		want(u)
		b.join(t, o, u) // inherits nothing
		b.wantEffective(t, o, u)
		if want := []string{"suspended " + u.ID, "organization_disabled ", "removed " + u.ID}; !slices.Equal(b.left, want) {
			t.Errorf("Left was told %q, want %q", b.left, want)
		}
	})
}

func TestTheLastOwnerStays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		owner := b.member(t, o, "owner")
		for name, change := range map[string]func(tx *database.Tx) error{
			"removed":   func(tx *database.Tx) error { return b.RemoveMember(t.Context(), tx, b.by, o.ID, owner.ID, "") },
			"suspended": func(tx *database.Tx) error { return b.Suspend(t.Context(), tx, b.by, o.ID, owner.ID, "") },
			"demoted":   func(tx *database.Tx) error { return b.SetRoles(t.Context(), tx, b.by, o.ID, owner.ID, b.ids("admin")) },
			"their account is disabled": func(tx *database.Tx) error {
				_, err := b.Users.Update(t.Context(), tx, b.by, owner.ID, user.Change{IsActive: new(bool)})
				return err
			},
			"their account is deleted": func(tx *database.Tx) error { return b.Users.Delete(t.Context(), tx, b.by, owner.ID) },
		} {
			if err := b.try(t.Context(), change); !errors.Is(err, org.ErrLastOwner) {
				t.Errorf("%s: %v, want ErrLastOwner", name, err)
			}
		}
		b.wantEffective(t, o, owner, "owner")
	})
}

// C9 143: who can not take a role from somebody does not put them out instead.
func TestWhoCanNotTakeARoleDoesNotPutItsHolderOut(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		b.member(t, o, "owner")
		owner, lead, plain := b.member(t, o, "owner"), b.member(t, o), b.member(t, o)
		by := access.Actor{Tenant: b.by.Tenant, Name: "user:" + lead.ID}.With(access.OrganizationsWrite)
		change := map[string]func(tx *database.Tx, id string) error{
			"suspended": func(tx *database.Tx, id string) error { return b.Suspend(t.Context(), tx, by, o.ID, id, "") },
			"restored":  func(tx *database.Tx, id string) error { return b.Restore(t.Context(), tx, by, o.ID, id, "") },
			"glass":     func(tx *database.Tx, id string) error { return b.SetBreakGlass(t.Context(), tx, by, o.ID, id, false) },
			"removed":   func(tx *database.Tx, id string) error { return b.RemoveMember(t.Context(), tx, by, o.ID, id, "") },
		}
		for _, name := range []string{"suspended", "restored", "glass", "removed"} {
			if err := b.try(t.Context(), func(tx *database.Tx) error { return change[name](tx, owner.ID) }); !errors.Is(err, role.ErrGrant) {
				t.Errorf("an owner is %s: %v, want ErrGrant", name, err)
			}
			if err := b.try(t.Context(), func(tx *database.Tx) error { return change[name](tx, plain.ID) }); err != nil {
				t.Errorf("a member without roles is %s: %v", name, err)
			}
		}
	})
}

// A policy that is tighter holds for what was let in before, too.
func TestATighterPolicyEndsWhatCameInByLess(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for name, c := range map[string]struct {
			from, to org.Policy
			ends     bool
		}{
			"single sign-on": {org.Policy{}, org.Policy{RequireSSO: true}, true},
			"second factor":  {org.Policy{MFA: org.MFAOptional}, org.Policy{MFA: org.MFARequired}, true},
			"fewer ways":     {org.Policy{}, org.Policy{Ways: []string{org.WayEmail}}, true},
			"another way":    {org.Policy{Ways: []string{org.WayEmail}}, org.Policy{Ways: []string{org.WaySSO}}, true},
			"more ways":      {org.Policy{Ways: []string{org.WayEmail}}, org.Policy{}, false},
			"looser":         {org.Policy{RequireSSO: true, MFA: org.MFARequired}, org.Policy{}, false},
			"the same":       {org.Policy{RequireSSO: true}, org.Policy{RequireSSO: true, SessionIdle: 3600}, false},
		} {
			o := b.company(t, "Acme "+name)
			save := func(p org.Policy) {
				o.Policy = p
				b.write(t, func(tx *database.Tx) error { _, err := b.Save(t.Context(), tx, b.by, o); return err })
			}
			save(c.from)
			b.left = nil
			save(c.to)
			if got := slices.Contains(b.left, "policy_tightened "); got != c.ends {
				t.Errorf("%s: told %q, want it to end: %t", name, b.left, c.ends)
			}
		}
	})
}

// An owner whose account is disabled is none: the other one stays.
func TestADisabledOwnerIsNone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o, second := b.company(t, "Acme"), b.company(t, "Another")
		first, other := b.member(t, o, "owner"), b.member(t, o, "owner")
		b.write(t, func(tx *database.Tx) error {
			_, err := b.AddMember(t.Context(), tx, b.by, second.ID, other.ID, b.ids("owner"), org.SourceManual)
			return err
		})
		remove := func(tx *database.Tx) error { return b.Users.Delete(t.Context(), tx, b.by, other.ID) }
		if err := b.try(t.Context(), remove); !errors.Is(err, org.ErrLastOwner) {
			t.Errorf("owner of two, the last one of one of them: %v", err)
		}
		b.write(t, func(tx *database.Tx) error { return b.Delete(t.Context(), tx, b.by, second.ID) })
		b.write(t, func(tx *database.Tx) error {
			_, err := b.Users.Update(t.Context(), tx, b.by, first.ID, user.Change{IsActive: new(bool)})
			return err
		})
		if err := b.try(t.Context(), remove); !errors.Is(err, org.ErrLastOwner) {
			t.Errorf("the other owner is disabled: %v", err)
		}
		if err := b.try(t.Context(), func(tx *database.Tx) error { return b.Suspend(t.Context(), tx, b.by, o.ID, other.ID, "") }); !errors.Is(err, org.ErrLastOwner) {
			t.Errorf("suspended: %v", err)
		}
	})
}

// Rules of groups take the role of the last owner from nobody: it stays, an event says so,
// and it goes as soon as there is another.
func TestRulesKeepTheLastOwner(t *testing.T) {
	for name, set := range map[string]func(ctx context.Context, b *bench, tx *database.Tx, o org.Organization, users []string, roles []string) error{
		"at a sign-in": func(ctx context.Context, b *bench, tx *database.Tx, o org.Organization, users []string, roles []string) error {
			for _, u := range users {
				if err := b.SetAutomaticRoles(ctx, tx, b.by, o.ID, u, "sso:x", roles); err != nil {
					return err
				}
			}
			return nil
		},
		"many at once": func(ctx context.Context, b *bench, tx *database.Tx, o org.Organization, users []string, roles []string) error {
			return b.SetAutomaticRolesOf(ctx, tx, b.by, o.ID, users, "sso:x", roles)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				o := b.company(t, "Acme")
				people := []user.User{b.member(t, o), b.member(t, o)}
				ids := []string{people[0].ID, people[1].ID}
				change := func(users, roles []string) {
					t.Helper()
					b.write(t, func(tx *database.Tx) error { return set(t.Context(), b, tx, o, users, roles) })
				}
				change(ids, b.ids("owner"))
				b.write(t, func(tx *database.Tx) error { return b.Suspend(t.Context(), tx, b.by, o.ID, ids[0], "") })
				change(ids, b.ids("developer"))
				b.wantEffective(t, o, people[1], "developer", "owner")
				b.write(t, func(tx *database.Tx) error { return b.Restore(t.Context(), tx, b.by, o.ID, ids[0], "") })
				b.wantEffective(t, o, people[0], "developer")
				change(ids[1:], b.ids("developer"))
				b.wantEffective(t, o, people[1], "developer", "owner")
				other := b.member(t, o, "owner")
				change(ids[1:], b.ids("developer"))
				b.wantEffective(t, o, people[1], "developer")
				// What the rules give themselves in between is kept anew, and told anew.
				change(ids[1:], b.ids("owner"))
				b.write(t, func(tx *database.Tx) error { return b.RemoveMember(t.Context(), tx, b.by, o.ID, other.ID, "") })
				for range 3 {
					change(ids[1:], b.ids("developer"))
					b.wantEffective(t, o, people[1], "developer", "owner")
				}
				change(ids[1:], b.ids("owner"))
				change(ids[1:], b.ids("developer"))
				b.wantEffective(t, o, people[1], "developer", "owner")
				var said int64
				err := b.DB.QueryRow(t.Context(), `SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = 'organization.owner_kept' AND target_id = $2`, b.by.Tenant, o.ID).Scan(&said)
				if err != nil || said != 3 {
					t.Errorf("the log says it %d times, %v", said, err)
				}
			})
		})
	}
}

// Two owners who remove one another at the same time: one of them stays.
func TestTheLastOwnerStaysInARace(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for round := range 10 {
			o := b.company(t, fmt.Sprintf("Acme %d", round))
			var owners []user.User
			for range 4 {
				owners = append(owners, b.member(t, o, "owner"))
			}
			var group sync.WaitGroup
			var gone atomic.Int64
			for i, u := range owners {
				group.Go(func() {
					err := b.try(t.Context(), func(tx *database.Tx) error {
						switch i % 3 {
						case 0:
							return b.RemoveMember(t.Context(), tx, b.by, o.ID, u.ID, "")
						case 1:
							return b.Suspend(t.Context(), tx, b.by, o.ID, u.ID, "")
						}
						return b.SetRoles(t.Context(), tx, b.by, o.ID, u.ID, nil)
					})
					switch {
					case err == nil:
						gone.Add(1)
					case !errors.Is(err, org.ErrLastOwner):
						t.Error(err)
					}
				})
			}
			group.Wait()
			if gone.Load() != 3 {
				t.Errorf("%d of 4 owners are gone, want 3", gone.Load())
			}
		}
	})
}

func TestDomainOfAnotherOrganizationCanNotBeClaimed(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		a, thief := b.company(t, "Acme"), b.company(t, "Thief")
		add := func(o org.Organization, name string) (d org.Domain, err error) {
			err = b.try(t.Context(), func(tx *database.Tx) error { d, err = b.AddDomain(t.Context(), tx, b.by, o.ID, name); return err })
			return d, err
		}
		mine, err := add(a, "ACME.test")
		if err != nil || mine.Domain != "acme.test" {
			t.Fatal(mine, err)
		}
		early, err := add(thief, "acme.test") // nobody has proved it yet
		if err != nil || early.Token == mine.Token {
			t.Fatal(early, err)
		}
		if _, err := b.VerifyDomain(t.Context(), b.by, a.ID, "acme.test"); !errors.Is(err, org.ErrNotProved) {
			t.Errorf("without a record: %v", err)
		}
		b.publish(mine)
		if _, err := b.VerifyDomain(t.Context(), b.by, thief.ID, "acme.test"); !errors.Is(err, org.ErrNotProved) {
			t.Errorf("with another's record: %v", err)
		}
		if _, ok, err := b.ByDomain(t.Context(), b.by.Tenant, "acme.test"); ok || err != nil {
			t.Error("a domain counts before it is proved", err)
		}
		if _, err := b.VerifyDomain(t.Context(), b.by, a.ID, "acme.test"); err != nil {
			t.Fatal(err)
		}
		if o, ok, err := b.ByDomain(t.Context(), b.by.Tenant, "Acme.Test"); !ok || o.ID != a.ID || o.Domain != "acme.test" || err != nil {
			t.Error(o, ok, err)
		}
		b.publish(early) // both records are there: the first proof stands
		if _, err := b.VerifyDomain(t.Context(), b.by, thief.ID, "acme.test"); !errors.Is(err, org.ErrClaimed) {
			t.Errorf("proved by another: %v", err)
		}
		if _, err := add(b.company(t, "Late"), "acme.test"); !errors.Is(err, org.ErrClaimed) {
			t.Errorf("added when proved by another: %v", err)
		}
		for _, name := range []string{"gmail.com", "GMail.com"} {
			if _, err := add(a, name); !errors.Is(err, org.ErrPublicDomain) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, ok, _ := b.ByDomain(t.Context(), b.by.Tenant, "eu.acme.test"); ok {
			t.Error("a subdomain follows its parent")
		}
		if ok, err := b.Proves(t.Context(), b.DB, b.by.Tenant, a.ID, "Bob@ACME.test"); !ok || err != nil {
			t.Error(ok, err)
		}
		if ok, _ := b.Proves(t.Context(), b.DB, b.by.Tenant, thief.ID, "bob@acme.test"); ok {
			t.Error("the other organization proves it too")
		}
	})
}

func TestALostProofEnds(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.company(t, "Acme")
		var d org.Domain
		b.write(t, func(tx *database.Tx) (err error) {
			d, err = b.AddDomain(t.Context(), tx, b.by, o.ID, "acme.test")
			return err
		})
		b.publish(d)
		if _, err := b.VerifyDomain(t.Context(), b.by, o.ID, d.Domain); err != nil {
			t.Fatal(err)
		}
		check := func(want bool) {
			t.Helper()
			b.pass(25 * time.Hour)
			if err := b.CheckDomains(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := b.ByDomain(t.Context(), b.by.Tenant, d.Domain); ok != want || err != nil {
				t.Errorf("proved %v, %v, want %v", ok, err, want)
			}
		}
		check(true)
		b.unpublish(d)
		check(true)
		check(true)
		b.publish(d) // it was a slip
		check(true)
		b.unpublish(d)
		b.answer(errors.New("timeout")) // says nothing either way
		for range 6 {
			check(true)
		}
		b.answer(nil)
		check(true)
		check(true)
		check(true) // three failures within 50 hours
		check(false)
		if list, err := b.Domains(t.Context(), b.DB, b.by.Tenant, o.ID); err != nil || len(list) != 1 || list[0].IsVerified {
			t.Error(list, err)
		}
		if again, _ := b.Find(t.Context(), b.DB, b.by.Tenant, o.ID); again.Domain != "" {
			t.Errorf("the organization shows %q", again.Domain)
		}
	})
}
