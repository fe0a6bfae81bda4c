package signin_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/social"
)

// joinsThere shows by a code whose account it is that another service has shown, and links
// the two.
func (b *bench) joinsThere(t *testing.T, p apptest.Page, email string) apptest.Page {
	t.Helper()
	b.Clock.Advance(time.Minute)
	p = b.Submit(t, p, "/signin", "identifier", email)
	p = b.Submit(t, p, "/signin/code", "code", b.Code(t, email)).WantText(t, "Connect with")
	return b.Submit(t, p, "/signin/social-link", "choice", "link")
}

// C9 143: whoever may write connections can not come as somebody who is linked.
func TestAChangedServiceSignsInNobodyWhoWasLinked(t *testing.T) {
	for name, change := range map[string]func(up *upstream, c *social.Connection){
		"by another claim": func(up *upstream, c *social.Connection) {
			up.claims = map[string]any{"sub": "mallory", "nickname": "1", "email": "mallory@example.com", "email_verified": true}
			c.Settings.Claims = map[string]string{"subject": "nickname"}
		},
		"by another client": func(up *upstream, c *social.Connection) {
			up.claims = map[string]any{"aud": "another", "email": ann, "email_verified": true}
			c.ClientID = "another"
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				up, c := b.service(t, verified(ann))
				b.bySocial(t, up, c)
				b.wantIn(t, true)
				before, claims := c, up.claims
				change(up, &c)
				b.connect(t, c)
				b.Clock.Advance(2 * time.Second)
				mallory := b.another()
				mallory.bySocial(t, up, c).WantText(t, "One more step")
				mallory.wantIn(t, false)
				// Whom it was all the time proves the account once.
				if name == "by another client" {
					known := b.another()
					known.joinsThere(t, known.bySocial(t, up, c), ann)
					known.wantIn(t, true)
					again := b.another()
					again.bySocial(t, up, c)
					again.wantIn(t, true)
					return
				}
				b.connect(t, before)
				b.Clock.Advance(2 * time.Second)
				up.claims = claims
				same := b.another()
				same.bySocial(t, up, before)
				same.wantIn(t, true)
			})
		})
	}
}

// A change that is taken back leaves nothing to who came meanwhile.
func TestAServiceThatIsChangedBackKeepsNobodysPlace(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c)
		before := c
		c.Settings.Claims = map[string]string{"subject": "nickname"}
		b.connect(t, c)
		b.Clock.Advance(2 * time.Second)
		b.person(t, "eve@example.com")
		up.claims = map[string]any{"sub": "mallory", "nickname": "1", "email": "eve@example.com", "email_verified": true}
		eve := b.another()
		p := eve.Submit(t, eve.bySocial(t, up, c), "/signin", "identifier", "eve@example.com")
		p = eve.Submit(t, p, "/signin/code", "code", b.Code(t, "eve@example.com")).WantText(t, "Connect with")
		b.connect(t, before) // while eve looks at the question
		eve.Submit(t, p, "/signin/social-link", "choice", "link").WantText(t, "begun in another browser")
		up.claims = verified(ann)
		b.Clock.Advance(2 * time.Second)
		back := b.another()
		back.bySocial(t, up, before)
		back.Get(t, "/account").Want(t, http.StatusOK).WantText(t, ann)
	})
}

// A service's word makes nobody an owner: whom it has made an account for shows once that
// it is theirs.
func TestAServiceMakesNobodyAnOwner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c)
		u, _ := b.user(t, ann)
		b.holds(t, u.ID, role.Owner)
		other := b.another()
		p := other.bySocial(t, up, c).WantText(t, "already an account for "+ann)
		other.wantIn(t, false)
		other.joinsThere(t, p, ann)
		other.wantIn(t, true)
		again := b.another()
		again.bySocial(t, up, c)
		again.wantIn(t, true)
	})
}

// The account shows what waits, and it is no way to sign in.
func TestALinkedAccountThatWaitsIsShown(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c)
		c.Settings.Claims = map[string]string{"subject": "nickname"}
		b.connect(t, c)
		p := b.Get(t, "/account/linked").WantText(t, "How we ask this service has changed")
		if p.Says("It is mine") {
			t.Error("a click would make it good")
		}
	})
}
