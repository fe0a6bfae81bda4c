package signin_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
)

const logo = "https://acme.example/logo.svg"

var styled = regexp.MustCompile(`<link rel="stylesheet" href="(/signin/style\.css[^"]*)"`)

// colours are the style sheet that a page is coloured by.
func (b *bench) colours(t *testing.T, p apptest.Page) string {
	t.Helper()
	found := styled.FindSubmatch(p.Body)
	if found == nil {
		t.Fatalf("%s has no colours", p.URL)
	}
	return string(b.Visit(t, string(found[1])).Want(t, http.StatusOK).Body)
}

// wantLook fails the test unless a page looks like Acme's, or unless it does not.
func (b *bench) wantLook(t *testing.T, p apptest.Page, acme bool) {
	t.Helper()
	if got := strings.Contains(string(p.Body), `<img src="`+logo+`" alt="Acme Inc"`); got != acme {
		t.Errorf("%s: logo %v, want %v", p.URL, got, acme)
	}
	if got := strings.Contains(b.colours(t, p), "--accent: light-dark(#b00020,"); got != acme {
		t.Errorf("%s: colour %v, want %v", p.URL, got, acme)
	}
}

func TestPagesLookLikeTheirOrganization(t *testing.T) {
	look := org.Branding{Name: "Acme Inc", LogoURL: logo, Accent: "#b00020"}
	t.Run("that the application asks for", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme := b.company(t, "Acme", org.Policy{})
			b.wantLook(t, b.authorize(t, "organization", acme.Slug), false)
			acme.Branding = look
			b.saves(t, acme)
			b.Clock.Advance(2 * time.Second)
			p := b.authorize(t, "organization", acme.Slug)
			b.wantLook(t, p, true)
			p = b.Submit(t, p, "/signin", "identifier", ann)
			b.wantLook(t, p.WantText(t, ann), true)
			b.wantLook(t, b.Submit(t, p, "/signin/code", "code", "000000"), true)
			b.wantLook(t, b.another().authorize(t), false)
			acme.IsActive = false
			b.saves(t, acme)
			b.Clock.Advance(2 * time.Second)
			b.wantLook(t, b.another().authorize(t, "organization", acme.Slug), false)
		})
	})
	t.Run("whose domain was typed", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			e := b.enterprise(t, org.Organization{Branding: look}, true, map[string]any{"email": ann})
			p := b.Submit(t, b.authorize(t), "/signin", "identifier", ann)
			back := b.Get(t, strings.Replace(e.sent(t, p), "code=code", "error=access_denied", 1))
			b.wantLook(t, back, true)
			state := back.Forms()[0].Fields.Get("state")
			b.wantLook(t, b.Get(t, "/signin?change=1&state="+state), false)
		})
	})
	t.Run("that somebody is invited to", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme := b.company(t, "Acme", org.Policy{})
			acme.Branding = look
			b.saves(t, acme)
			invites, err := b.Orgs.Look(t.Context(), b.Demo.ID)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Orgs.Invite(ctx, tx, access.System(b.Demo.ID), invites, org.Invitation{OrganizationID: acme.ID, Email: ann})
				return err
			})
			p := b.Get(t, b.Link(t, ann)).WantText(t, "Join Acme")
			b.wantLook(t, p, true)
			b.wantLook(t, b.Submit(t, p, "/signin/invitation").At(t, "/signin"), true)
		})
	})
	t.Run("that somebody has chosen or has alone", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme, u := b.company(t, "Acme", org.Policy{MFA: org.MFARequired}), b.person(t, ann)
			acme.Branding = look
			b.saves(t, acme)
			b.joins(t, acme, u.ID)
			p := b.Submit(t, b.authorize(t), "/signin", "identifier", ann)
			b.wantLook(t, p, false)
			b.wantLook(t, b.Submit(t, p, "/signin/code", "code", b.Code(t, ann)), true)
			b.joins(t, b.company(t, "Beta", org.Policy{}), u.ID)
			other := b.another()
			b.Clock.Advance(time.Minute)
			p = other.Submit(t, other.Submit(t, other.authorize(t), "/signin", "identifier", ann), "/signin/code", "code", b.Code(t, ann))
			b.wantLook(t, p.WantText(t, "Beta"), false)
			b.wantLook(t, other.Submit(t, p, "/signin/organization", "organization", acme.ID), true)
		})
	})
	t.Run("also where an application asks for consent", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme, u := b.company(t, "Acme", org.Policy{}), b.person(t, ann)
			acme.Branding = look
			b.saves(t, acme)
			p := b.Submit(t, b.authorize(t, "prompt", "consent"), "/signin", "identifier", ann)
			alone := b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
			b.wantLook(t, alone.At(t, "/oauth2/authorize/continue"), false)
			b.joins(t, acme, u.ID)
			b.Clock.Advance(time.Minute)
			p = b.authorize(t, "prompt", "consent", "organization", acme.Slug)
			b.wantLook(t, p.At(t, "/oauth2/authorize"), true)
		})
	})
	t.Run("and have the tenant's colours for what names none", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			own := b.Visit(t, "/signin/style.css").Want(t, http.StatusOK)
			for _, name := range []string{"0123456789abcdef01234567", "nobody", "%22%00"} {
				if got := b.Visit(t, "/signin/style.css?organization="+name).Want(t, http.StatusOK); string(got.Body) != string(own.Body) {
					t.Errorf("%s: %s", name, got.Body)
				}
			}
		})
	})
}
