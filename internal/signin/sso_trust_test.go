package signin_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/user"
)

// holds gives a user roles in the whole tenant.
func (b *bench) holds(t *testing.T, userID string, slugs ...string) {
	t.Helper()
	ids := []string{}
	for _, slug := range slugs {
		ids = append(ids, b.Demo.Roles[slug].ID)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), userID, user.Change{RoleIDs: &ids})
		return err
	})
	b.Clock.Advance(2 * time.Second)
}

// points changes the settings of an enterprise's connection, as whoever may write
// connections can.
func (b *bench) points(t *testing.T, e *enterprise, change func(*sso.Settings)) {
	t.Helper()
	by := access.System(b.Demo.ID)
	c, err := b.SSO.Find(t.Context(), b.DB, by, e.ID, e.c.ID)
	if err != nil {
		t.Fatal(err)
	}
	change(&c.Settings)
	p, err := b.SSO.Prepare(t.Context(), by, c, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) error { _, err := b.SSO.Save(ctx, tx, by, p); return err })
	b.Clock.Advance(2 * time.Second)
}

// connects shows by a code whose account it is that a provider has sent, and links it.
func (b *bench) connects(t *testing.T, p apptest.Page, email string) apptest.Page {
	t.Helper()
	b.Clock.Advance(time.Minute)
	p = b.Submit(t, p, "/signin", "identifier", email)
	p = b.Submit(t, p, "/signin/code", "code", b.Code(t, email)).WantText(t, "Connect with")
	return b.Submit(t, p, "/signin/sso-link", "choice", "link")
}

// C9 143: whoever may write connections can not come as somebody who holds roles in the
// whole tenant.
func TestAConnectionMakesNobodyAnOwner(t *testing.T) {
	const held = "There is already an account for " + ann
	out := func(t *testing.T, b *bench, p apptest.Page) apptest.Page {
		t.Helper()
		p.WantText(t, held)
		b.wantIn(t, false)
		return p
	}
	t.Run("by an address", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.spa(t)
			e := b.enterprise(t, org.Organization{}, true, verified(ann))
			u := b.person(t, ann)
			b.holds(t, u.ID, role.Owner)
			b.joins(t, e.Organization, u.ID)
			p := out(t, b, b.byButton(t, e))
			// Who can prove the account does so once.
			codeOf(t, b.connects(t, p, ann))
			again := b.another()
			if c := claimsOf(t, again.swap(t, again.byButton(t, e)).Access); c["sub"] != u.ID {
				t.Errorf("signed in as %v", c["sub"])
			}
		})
	})
	t.Run("who gets a role later", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			e := b.enterprise(t, org.Organization{}, true, verified(ann))
			codeOf(t, b.byButton(t, e))
			u, _ := b.user(t, ann)
			b.holds(t, u.ID, "admin")
			later := b.another()
			out(t, later, later.byButton(t, e))
			b.holds(t, u.ID)
			codeOf(t, later.byButton(t, e))
		})
	})
	for name, change := range map[string]func(e *enterprise, o *sso.Settings){
		"by another claim": func(e *enterprise, o *sso.Settings) {
			e.up.claims = map[string]any{"sub": "mallory", "nickname": "1", "email": ann}
			o.Attributes = map[string]string{"subject": "nickname"}
		},
		"by another client": func(e *enterprise, o *sso.Settings) {
			e.up.claims = map[string]any{"aud": "another", "email": ann}
			o.ClientID = "another"
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				e := b.enterprise(t, org.Organization{}, true, verified(ann))
				u := b.person(t, ann)
				b.holds(t, u.ID, role.Owner)
				b.joins(t, e.Organization, u.ID)
				codeOf(t, b.connects(t, b.byButton(t, e), ann))
				b.points(t, e, func(o *sso.Settings) { o.GroupAttribute, o.ForceAuthn = "teams", true })
				same := b.another()
				codeOf(t, same.byButton(t, e))
				b.points(t, e, func(o *sso.Settings) { change(e, o) })
				other := b.another()
				p := out(t, other, other.byButton(t, e))
				codeOf(t, other.connects(t, p, ann))
				again := b.another()
				codeOf(t, again.byButton(t, e))
			})
		})
	}
	t.Run("not by proving another account", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			e := b.enterprise(t, org.Organization{}, true, verified(ann))
			u := b.person(t, ann)
			b.joins(t, e.Organization, u.ID)
			codeOf(t, b.byButton(t, e))
			b.holds(t, u.ID, role.Owner)
			b.person(t, "eve@example.com")
			eve := b.another()
			p := eve.connects(t, out(t, eve, eve.byButton(t, e)), "eve@example.com")
			p.WantText(t, "belongs to another user")
			eve.wantIn(t, false)
		})
	})
}

// A policy that is tighter ends what came in by less.
func TestATighterPolicyEndsSessionsAndTokens(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		acme := b.company(t, "Acme", org.Policy{})
		b.joins(t, acme, u.ID)
		got := b.swap(t, b.proving(t, b.authorize(t, "scope", "openid offline_access"), ann))
		waiting := codeOf(t, b.authorize(t))
		acme.Policy.MFA = org.MFARequired
		b.saves(t, acme)
		b.wantIn(t, false)
		b.token(t, "grant_type", "refresh_token", "refresh_token", got.Refresh).Want(t, http.StatusBadRequest)
		b.token(t, "grant_type", "authorization_code", "code", waiting, "redirect_uri", "https://app.example.com/callback", "code_verifier", verifier).Want(t, http.StatusBadRequest)
		b.proving(t, b.authorize(t), ann).WantText(t, "Set up two-step")
	})
}
