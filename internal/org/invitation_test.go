package org_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/user"
)

// open makes a company that takes addresses of any domain.
func (b *bench) open(t *testing.T, name string) org.Organization {
	t.Helper()
	o := b.company(t, name)
	o.AllowOutside = true
	b.save(t, o)
	return o
}

func (b *bench) save(t *testing.T, o org.Organization) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error { _, err := b.Save(t.Context(), tx, b.by, o); return err })
}

func (b *bench) tryInvite(t *testing.T, by access.Actor, o org.Organization, email string, slugs ...string) (i org.Invitation, err error) {
	t.Helper()
	look, err := b.Look(t.Context(), b.by.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	err = b.try(t.Context(), func(tx *database.Tx) error {
		i, err = b.Invite(t.Context(), tx, by, look, org.Invitation{OrganizationID: o.ID, Email: email, RoleIDs: b.ids(slugs...)})
		return err
	})
	return i, err
}

// invite invites somebody and returns the token of the mail.
func (b *bench) invite(t *testing.T, by access.Actor, o org.Organization, email string, slugs ...string) (org.Invitation, string) {
	t.Helper()
	i, err := b.tryInvite(t, by, o, email, slugs...)
	if err != nil {
		t.Fatal(err)
	}
	return i, b.token(t, email)
}

var inLink = regexp.MustCompile(`https://demo\.cardea\.test/signin/invitation\?token=(\S+)`)

func (b *bench) token(t *testing.T, email string) string {
	t.Helper()
	if err := b.queue.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	letters, err := b.Notify.Mailbox(t.Context(), b.DB, b.by.Tenant, email, 1)
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	m := inLink.FindStringSubmatch(letters[0].Text)
	if m == nil {
		t.Fatalf("no link in %s", letters[0].Text)
	}
	token, err := url.QueryUnescape(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (b *bench) redeem(t *testing.T, token string, u user.User, agreed bool) (m org.Member, err error) {
	t.Helper()
	by := access.Actor{Tenant: b.by.Tenant, Name: "user:" + u.ID} // a person may do nothing by themselves
	err = b.try(t.Context(), func(tx *database.Tx) error {
		_, m, err = b.Redeem(t.Context(), tx, by, token, u.ID, agreed)
		return err
	})
	return m, err
}

// key is an actor with a key that may manage organizations.
func (b *bench) key() access.Actor {
	by := access.Actor{Tenant: b.by.Tenant, Name: "key:6694c154565dfee5166d1cc7"}.With(access.OrganizationsRead, access.OrganizationsWrite)
	b.may[by.Name] = by.Permissions()
	return by
}

func TestAnInvitationMakesAMember(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		u := b.personAt(t, "ann@example.com")
		made, token := b.invite(t, b.key(), o, "Ann@Example.com", "developer")
		if seen, of, err := b.Invitation(t.Context(), b.DB, b.by.Tenant, token); err != nil || seen.ID != made.ID || of.ID != o.ID {
			t.Fatal(seen, of, err)
		}
		m, err := b.redeem(t, token, u, false)
		if err != nil || m.Source != org.SourceInvitation || !slices.Equal(m.RoleIDs, b.ids("developer")) {
			t.Fatal(m, err)
		}
		b.wantEffective(t, o, u, "developer")
		if _, err := b.redeem(t, token, u, false); !errors.Is(err, org.ErrSpent) {
			t.Errorf("again: %v", err)
		}
		// A member who is invited once more keeps what they have.
		_, token = b.invite(t, b.key(), o, "ann@example.com", "admin")
		if _, err := b.redeem(t, token, u, false); err != nil {
			t.Fatal(err)
		}
		b.wantEffective(t, o, u, "admin", "developer")
	})
}

func TestAnInvitationIsBoundToItsAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		other := b.personAt(t, "bob@elsewhere.example")
		_, token := b.invite(t, b.key(), o, "ann@example.com")
		if _, err := b.redeem(t, token, other, false); !errors.Is(err, org.ErrOtherAddress) {
			t.Errorf("forwarded: %v", err)
		}
		o.AllowOutside, o.WhiteList = false, []string{"example.com"}
		b.save(t, o)
		if _, err := b.redeem(t, token, other, true); !errors.Is(err, org.ErrAddressRefused) {
			t.Errorf("of a domain that the organization does not take: %v", err)
		}
		var unproved user.User
		b.write(t, func(tx *database.Tx) (err error) {
			unproved, err = b.Users.Create(t.Context(), tx, b.by, user.User{Email: "ann@example.com", IsActive: true})
			return err
		})
		if _, err := b.redeem(t, token, unproved, false); !errors.Is(err, org.ErrOtherAddress) {
			t.Errorf("the address is not verified: %v", err)
		}
		if _, err := b.redeem(t, token, unproved, true); !errors.Is(err, org.ErrAddressRefused) {
			t.Errorf("the address is not verified, and agreed: %v", err)
		}
		o.AllowOutside = true
		b.save(t, o)
		if _, err := b.redeem(t, token, other, true); err != nil {
			t.Errorf("asked, and agreed: %v", err)
		}
		o.AllowOutside = false
		b.save(t, o)
		if _, err := b.tryInvite(t, b.key(), o, "eve@elsewhere.example"); !errors.Is(err, org.ErrAddressRefused) {
			t.Errorf("invited from outside: %v", err)
		}
	})
}

// An invitation to a further address is for its user, unless that waits to be proved again.
func TestAnInvitationToAFurtherAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		for name, held := range map[string]bool{"ann": false, "bob": true} {
			u := b.personAt(t, name+"@home.example")
			b.write(t, func(tx *database.Tx) error {
				_, err := b.Users.AddAddress(t.Context(), tx, b.by, u.ID, user.Address{Kind: user.KindFurtherEmail, Value: name + "@work.example"})
				if err == nil && held {
					err = b.Users.HoldAddresses(t.Context(), tx, b.by, u.ID, "", "test")
				}
				return err
			})
			_, token := b.invite(t, b.key(), o, name+"@work.example")
			if _, err := b.redeem(t, token, u, false); held && !errors.Is(err, org.ErrOtherAddress) || !held && err != nil {
				t.Errorf("held %v: %v", held, err)
			}
		}
	})
}

func TestAnInvitationEnds(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		for name, end := range map[string]func(i org.Invitation, u user.User){
			"revoked": func(i org.Invitation, _ user.User) {
				b.write(t, func(tx *database.Tx) error { return b.Revoke(t.Context(), tx, b.by, o.ID, i.ID) })
			},
			"expired":  func(org.Invitation, user.User) { b.pass(org.InvitationLife) },
			"replaced": func(i org.Invitation, _ user.User) { b.invite(t, b.key(), o, i.Email) },
			"resent": func(i org.Invitation, _ user.User) {
				look, _ := b.Look(t.Context(), b.by.Tenant)
				b.write(t, func(tx *database.Tx) error { _, err := b.Resend(t.Context(), tx, b.by, look, o.ID, i.ID); return err })
			},
			"address forgotten": func(i org.Invitation, _ user.User) {
				b.write(t, func(tx *database.Tx) error { return b.UserLeaves(t.Context(), tx, b.by, user.User{Email: i.Email}) })
			},
			"suspended": func(_ org.Invitation, u user.User) {
				b.join(t, o, u)
				b.write(t, func(tx *database.Tx) error { return b.Suspend(t.Context(), tx, b.by, o.ID, u.ID, "") })
			},
			"organization disabled": func(org.Invitation, user.User) {
				off := o
				off.IsActive = false
				b.save(t, off)
			},
		} {
			b.save(t, o)
			u := b.person(t)
			i, token := b.invite(t, b.key(), o, u.Email)
			end(i, u)
			if m, err := b.redeem(t, token, u, true); !errors.Is(err, org.ErrSpent) {
				t.Errorf("%s: %v, %v, want ErrSpent", name, m, err)
			}
		}
	})
}

func TestAnInvitationOfWhoLostTheRightIsSpent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		boss := b.member(t, o, "admin")
		by := access.Actor{Tenant: b.by.Tenant, Name: "user:" + boss.ID}.With(access.OrganizationsWrite)
		b.may[by.Name] = by.Permissions()
		if _, err := b.tryInvite(t, by, o, "ann@example.com", "owner"); !errors.Is(err, role.ErrGrant) {
			t.Errorf("invited with more than one holds: %v", err)
		}
		u := b.personAt(t, "ann@example.com")
		_, token := b.invite(t, by, o, u.Email, "admin")
		b.write(t, func(tx *database.Tx) error {
			return b.SetRoles(t.Context(), tx, b.by, o.ID, boss.ID, b.ids("developer"))
		})
		if _, err := b.redeem(t, token, u, false); !errors.Is(err, org.ErrSpent) {
			t.Errorf("the inviter holds less: %v", err)
		}
		b.write(t, func(tx *database.Tx) error { return b.SetRoles(t.Context(), tx, b.by, o.ID, boss.ID, b.ids("admin")) })
		b.may[by.Name] = nil
		if _, err := b.redeem(t, token, u, false); !errors.Is(err, org.ErrSpent) {
			t.Errorf("the inviter may not manage any more: %v", err)
		}
		b.may[by.Name] = by.Permissions()
		if _, err := b.redeem(t, token, u, false); err != nil {
			t.Errorf("the refusals used it up: %v", err)
		}
	})
}

func TestAnInvitationIsRedeemedOnceInARace(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		for round := range 5 {
			var people []user.User
			for range 8 {
				people = append(people, b.person(t))
			}
			_, token := b.invite(t, b.key(), o, fmt.Sprintf("race%d@example.com", round))
			var group sync.WaitGroup
			var won atomic.Int64
			for _, u := range people {
				group.Go(func() {
					switch _, err := b.redeem(t, token, u, true); {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, org.ErrSpent):
						t.Error(err)
					}
				})
			}
			group.Wait()
			if won.Load() != 1 {
				t.Errorf("%d redeemed it, want 1", won.Load())
			}
		}
	})
}

func TestOneAddressGetsFewInvitations(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		for range ratelimit.Send.Count {
			b.invite(t, b.key(), o, "ann@example.com")
		}
		if _, err := b.tryInvite(t, b.key(), o, "Ann+x@example.com"); !errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("got %v, want ErrLimited", err)
		}
	})
}

func TestSweepForgetsOldInvitations(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := b.open(t, "Acme")
		b.invite(t, b.key(), o, "ann@example.com")
		left := func() int {
			list, _, err := b.Invitations(t.Context(), b.by, o.ID, org.Page{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		b.pass(90 * 24 * time.Hour)
		if err := b.Sweep(t.Context()); err != nil || left() != 1 {
			t.Error(err, left())
		}
		b.pass(8 * 24 * time.Hour)
		if err := b.Sweep(t.Context()); err != nil || left() != 0 {
			t.Error(err, left())
		}
	})
}
