package signin_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// An enterprise is an organization with a provider of its own, at which everybody is who
// the test says.
type enterprise struct {
	org.Organization
	up *upstream
	c  sso.Connection
}

// enterprise makes one that has proved example.com, if domain is set.
func (b *bench) enterprise(t *testing.T, o org.Organization, domain bool, claims map[string]any, settings ...func(*sso.Settings)) *enterprise {
	t.Helper()
	by := access.System(b.Demo.ID)
	e := &enterprise{}
	e.up, _ = b.service(t, claims)
	o.Name, o.IsActive = "Acme", true
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		e.Organization, err = b.Orgs.Create(ctx, tx, by, o)
		return err
	})
	c := sso.Connection{OrganizationID: e.ID, Name: "Acme SSO", Kind: sso.OIDC, Provider: "custom", Settings: sso.Settings{Issuer: e.up.URL, ClientID: "cardea"}}
	for _, set := range settings {
		set(&c.Settings)
	}
	p, err := b.SSO.Prepare(t.Context(), by, c, "secret")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		made, err := b.SSO.Create(ctx, tx, by, p)
		e.c = made
		return err
	})
	b.connection(t, e, sso.Active)
	if domain {
		b.proves(t, e.Organization, "example.com")
	}
	return e
}

func (b *bench) connection(t *testing.T, e *enterprise, state string) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		e.c, err = b.SSO.SetState(ctx, tx, access.System(b.Demo.ID), e.ID, e.c.ID, state)
		return err
	})
	b.Clock.Advance(2 * time.Second)
}

// sent is where a browser comes back to that was sent to the provider.
func (e *enterprise) sent(t *testing.T, p apptest.Page) string {
	t.Helper()
	to := p.Location()
	if to == nil || !strings.HasPrefix(to.String(), e.up.URL+"/authorize?") {
		t.Fatalf("not sent to the provider but %d at %s %v: %s", p.Status, p.URL, to, p.Text())
	}
	q := to.Query()
	e.up.nonce = q.Get("nonce")
	return q.Get("redirect_uri") + "?" + url.Values{"state": {q.Get("state")}, "code": {"code"}}.Encode()
}

// bySSO goes from a page that asks who is there by an address of the organization's domain.
func (b *bench) bySSO(t *testing.T, e *enterprise, p apptest.Page) apptest.Page {
	t.Helper()
	return b.Get(t, e.sent(t, b.Submit(t, p, "/signin", "identifier", "somebody@example.com")))
}

// byButton goes by the button of the organization that is asked for.
func (b *bench) byButton(t *testing.T, e *enterprise) apptest.Page {
	t.Helper()
	return b.Get(t, e.sent(t, b.Submit(t, b.authorize(t, "organization", e.Slug), "/signin/sso/"+e.c.ID)))
}

func TestSSOSignsUpAndIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.spa(t)
		e := b.enterprise(t, org.Organization{Policy: org.Policy{RequireSSO: true}}, true, map[string]any{"email": ann, "given_name": "Ann"})
		got := b.swap(t, b.bySSO(t, e, b.authorize(t)))
		wantIn(t, got.Access, e.Organization)
		u, ok := b.user(t, ann)
		if !ok || !u.EmailVerified {
			t.Fatalf("user %+v", u)
		}
		m, err := b.Orgs.Member(t.Context(), b.DB, b.Demo.ID, e.ID, u.ID)
		if err != nil || m.Source != org.SourceSSO {
			t.Errorf("member %+v, %v", m, err)
		}
		if diff := cmp.Diff([]string{"fed"}, b.newest(t, u).AMR); diff != "" {
			t.Errorf("amr: %s", diff)
		}
		again := b.another()
		if c := claimsOf(t, again.swap(t, again.bySSO(t, e, again.authorize(t))).Access); c["sub"] != u.ID {
			t.Errorf("another user: %v", c["sub"])
		}
		// Removed, they are known no more by what their provider says, and a member anew.
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.Orgs.RemoveMember(ctx, tx, access.System(b.Demo.ID), e.ID, u.ID, "test")
		})
		if left, err := b.SSO.Identities(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || len(left) > 0 {
			t.Errorf("identities %v, %v", left, err)
		}
		b.Clock.Advance(2 * time.Second)
		b.bySSO(t, e, b.authorize(t)).WantText(t, "There is already an account for "+ann)
	})
}

// C0 27: where organizations are, who is known by an address is not to be seen.
func TestKnownAndUnknownLookAlikeWithOrganizations(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{AllowOutside: true}, true, nil)
		b.person(t, "cy@example.com") // who is no member
		for _, email := range []string{ann, "bo@elsewhere.example"} {
			b.joins(t, e.Organization, b.person(t, email).ID)
		}
		type seen struct {
			status   int
			location string
			shape    string
		}
		look := func(p apptest.Page) seen {
			s := seen{status: p.Status}
			if to := p.Location(); to != nil {
				s.location = to.Scheme + to.Host + to.Path
				return s
			}
			s.shape = shape(p)
			return s
		}
		steps := map[string]func(b *bench, email string) apptest.Page{
			"first page": func(b *bench, email string) apptest.Page {
				return b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", email)
			},
			"for an organization": func(b *bench, email string) apptest.Page {
				return b.Submit(t, b.authorize(t, "organization", e.Slug), "/signin", "identifier", email)
			},
			"around": func(b *bench, email string) apptest.Page {
				return b.Submit(t, b.Get(t, "/signin?sso=no"), "/signin", "identifier", email)
			},
			"wrong password": func(b *bench, email string) apptest.Page {
				p := b.Submit(t, b.Get(t, "/signin?sso=no"), "/signin", "identifier", email)
				return b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", "wrong")
			},
			"forgotten": func(b *bench, email string) apptest.Page {
				return b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", email)
			},
			"sign-up": func(b *bench, email string) apptest.Page {
				return b.Submit(t, b.Get(t, "/signup"), "/signup", "identifier", email)
			},
		}
		for _, required := range []bool{false, true} {
			o, err := b.Orgs.Find(t.Context(), b.DB, b.Demo.ID, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			o.Policy.RequireSSO = required
			b.saves(t, o)
			b.Clock.Advance(2 * time.Hour)
			for name, step := range steps {
				if required && name == "for an organization" {
					continue // the page has no field
				}
				for _, pair := range [][2]string{{ann, "no-one@example.com"}, {"cy@example.com", "nobody@example.com"}, {"bo@elsewhere.example", "no@elsewhere.example"}} {
					b.Clock.Advance(time.Hour)
					known, unknown := look(step(b.another(), pair[0])), look(step(b.another(), pair[1]))
					known.shape, unknown.shape = unnamed(known.shape, pair[0]), unnamed(unknown.shape, pair[1])
					if diff := cmp.Diff(known, unknown, cmp.AllowUnexported(seen{})); diff != "" {
						t.Errorf("%s, required %t, %s: %s", name, required, pair[0], diff)
					}
				}
			}
		}
	})
}

// unnamed is a page without the address on it.
func unnamed(shape, email string) string {
	name, domain, _ := strings.Cut(email, "@")
	return strings.NewReplacer(email, "~", name+"@<wbr>"+domain, "~", url.QueryEscape(email), "~").Replace(shape)
}

func TestWhoComesBySSO(t *testing.T) {
	here := func(t *testing.T, b *bench, e *enterprise, member bool) user.User {
		u := b.person(t, ann)
		if member {
			b.joins(t, e.Organization, u.ID)
		}
		return u
	}
	claims := map[string]any{"email": ann}
	t.Run("a member, domain proved", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.spa(t)
			e := b.enterprise(t, org.Organization{}, true, claims)
			u := here(t, b, e, true)
			if got := claimsOf(t, b.swap(t, b.byButton(t, e)).Access); got["sub"] != u.ID || got["org_id"] != e.ID {
				t.Errorf("got %v", got)
			}
			// The address was not proved: what somebody may have left in the account is gone.
			old := b.another()
			old.Submit(t, old.passwordOf(t, ann), "/signin/password", "password", secret).Want(t, http.StatusUnauthorized)
		})
	})
	t.Run("no member, domain proved", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.spa(t)
			e := b.enterprise(t, org.Organization{}, true, claims)
			u := here(t, b, e, false)
			p := b.byButton(t, e).WantText(t, "There is already an account for "+ann)
			b.wantIn(t, false)
			p = b.Submit(t, p, "/signin", "identifier", ann)
			p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann)).WantText(t, "Connect with")
			if got := claimsOf(t, b.swap(t, b.Submit(t, p, "/signin/sso-link", "choice", "link")).Access); got["sub"] != u.ID || got["org_id"] != e.ID {
				t.Errorf("got %v", got)
			}
			again := b.another()
			codeOf(t, again.byButton(t, e))
		})
	})
	for name, refused := range map[string]struct {
		organization org.Organization
		taken        bool
		claims       map[string]any
		settings     func(*sso.Settings)
		says         string
	}{
		"address taken, domain not proved": {org.Organization{AllowOutside: true}, true, claims, nil, "has not shown that the address's domain is its own"},
		"address taken by a member":        {org.Organization{AllowOutside: true}, true, verified(ann), nil, "has not shown that the address's domain is its own"},
		"outside":                          {org.Organization{}, false, claims, nil, "lets in nobody with an address of this domain"},
		"not provisioned":                  {org.Organization{AllowOutside: true}, false, claims, func(s *sso.Settings) { s.NoSignUp = true }, "has not set you up here yet"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				e := b.enterprise(t, refused.organization, false, refused.claims, func(s *sso.Settings) {
					if refused.settings != nil {
						refused.settings(s)
					}
				})
				if refused.taken {
					here(t, b, e, name == "address taken by a member")
				}
				b.byButton(t, e).WantText(t, refused.says)
				b.wantIn(t, false)
			})
		})
	}
	t.Run("not proved, and allowed", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			e := b.enterprise(t, org.Organization{AllowOutside: true}, false, verified(ann))
			codeOf(t, b.byButton(t, e))
			if u, ok := b.user(t, ann); !ok || u.EmailVerified {
				t.Errorf("a provider vouches for an address of a domain that is not its own: %+v", u)
			}
		})
	})
}

// passwordOf is the page of the password, around any organization's own sign-in.
func (b *bench) passwordOf(t *testing.T, email string) apptest.Page {
	t.Helper()
	p := b.Submit(t, b.Get(t, "/signin?sso=no"), "/signin", "identifier", email)
	return b.Get(t, "/signin/password?state="+p.URL.Query().Get("state"))
}

// C0 35 and 52: what was begun before a connection, an organization or a user was
// switched off is not finished after.
func TestSwitchedOffMeanwhileSSOSignsNobodyIn(t *testing.T) {
	for name, off := range map[string]func(t *testing.T, b *bench, e *enterprise, u user.User){
		"connection": func(t *testing.T, b *bench, e *enterprise, _ user.User) { b.connection(t, e, sso.Disabled) },
		"organization": func(t *testing.T, b *bench, e *enterprise, _ user.User) {
			o := e.Organization
			o.IsActive = false
			b.saves(t, o)
		},
		"member": func(t *testing.T, b *bench, e *enterprise, u user.User) {
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				return b.Orgs.Suspend(ctx, tx, access.System(b.Demo.ID), e.ID, u.ID, "test")
			})
		},
		"user": func(t *testing.T, b *bench, _ *enterprise, u user.User) {
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{IsActive: new(false)})
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				e := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
				first := b.another()
				first.bySSO(t, e, first.authorize(t))
				u, _ := b.user(t, ann)
				back := e.sent(t, b.Submit(t, b.authorize(t), "/signin", "identifier", ann))
				off(t, b, e, u)
				if p := b.Get(t, back); p.Status < 400 || p.Location() != nil {
					t.Errorf("it led to %d %v: %s", p.Status, p.Location(), p.Text())
				}
				b.wantIn(t, false)
			})
		})
	}
}

// C6 103: an organization's own sign-in is one factor.
func TestSecondFactorAfterSSO(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{Policy: org.Policy{MFA: org.MFARequired}}, true, map[string]any{"email": ann})
		b.bySSO(t, e, b.authorize(t)).WantText(t, "Set up two-step")
		b.wantIn(t, false)
	})
}

func TestAnotherBrowserDoesNotFinishSSO(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
		back := e.sent(t, b.Submit(t, b.authorize(t), "/signin", "identifier", ann))
		other := b.another()
		if p := other.Get(t, back); p.Status < 400 {
			t.Errorf("got %d: %s", p.Status, p.Text())
		}
		other.wantIn(t, false)
	})
}

// There is a way around an organization's own sign-in, for who need not use it.
func TestAroundSSO(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{}, true, nil)
		b.person(t, ann)
		p := b.authorize(t)
		e.sent(t, b.Submit(t, p, "/signin", "identifier", ann))
		p = b.Submit(t, p, "/signin", "identifier", ann).WantText(t, "Acme asks its people", "Continue with Acme SSO")
		p = b.Submit(t, b.Submit(t, p, "/signin/again"), "/signin", "identifier", ann)
		codeOf(t, b.Submit(t, p, "/signin/code", "code", b.Code(t, ann)))
	})
}

// Row 21 of the contract, and product.md: a connection by itself, by its organization, or
// by its domain.
func TestSSOAuthorizeSelectsAConnection(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
		start := func(b *bench, pairs ...string) apptest.Page {
			q := url.Values{"client_id": {b.Demo.ClientID}, "response_type": {"code"}, "redirect_uri": {"https://app.example.com/callback"}, "state": {"s"}}
			for i := 0; i < len(pairs); i += 2 {
				q.Set(pairs[i], pairs[i+1])
			}
			return b.Get(t, "/api/sso/authorize?"+q.Encode())
		}
		for _, selector := range [][2]string{{"connection", e.c.ID}, {"connection_id", e.c.ID}, {"organization", e.ID}, {"organization", e.Slug}, {"organization_id", e.ID}, {"organization", e.Token}, {"domain", "Example.com"}} {
			t.Run(selector[0]+" "+selector[1], func(t *testing.T) {
				b := b.another()
				code := codeOf(t, b.Get(t, e.sent(t, start(b, selector[0], selector[1]))))
				a := b.caller().get(t, "/api/v1/sso/oauth/accesstoken", "code", code, "state", "s").Want(t, 200).Object(t)
				wantIn(t, a["access_token"].(string), e.Organization)
				codeOf(t, start(b, selector[0], selector[1])) // they are signed in by it
			})
		}
		social := b.another()
		enabled, err := b.Social.Enabled(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		e.sent(t, start(social, "connection", enabled[0].ID))
		refused := func(status int, code string, pairs ...string) {
			t.Helper()
			if page := start(b, pairs...); page.Status != status || !strings.Contains(string(page.Body), "<main") {
				t.Errorf("%q: a browser gets %d %s", pairs, page.Status, page.Body)
			}
			pairs = append(pairs, "response_type", "code", "redirect_uri", "https://app.example.com/callback", "state", "s")
			b.caller().get(t, "/api/sso/authorize", pairs...).WantError(t, status, code)
		}
		refused(http.StatusBadRequest, "invalid_request", "connection", e.c.ID, "domain", "example.com")
		for _, unknown := range [][2]string{{"connection", "660c0de931f63af7d467e6ad"}, {"organization", "nothing"}, {"domain", "else.example"}} {
			refused(http.StatusNotFound, "connection_not_found", unknown[0], unknown[1])
		}
		b.connection(t, e, sso.Disabled)
		refused(http.StatusNotFound, "connection_not_found", "connection", e.c.ID)
	})
}

// C1 18: an invitation survives the organization's own sign-in.
func TestInvitationByWayOfSSO(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{NoSignUp: true})
		e := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
		look, err := b.Orgs.Look(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Orgs.Invite(ctx, tx, access.System(b.Demo.ID), look, org.Invitation{OrganizationID: e.ID, Email: ann, RoleIDs: []string{b.Demo.Roles["admin"].ID}})
			return err
		})
		p := b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/invitation")
		p = b.bySSO(t, e, p).At(t, "/signin/invitation").WantText(t, "Join as "+ann)
		b.Submit(t, p, "/signin/invitation").At(t, "/account")
		u, _ := b.user(t, ann)
		m, err := b.Orgs.Member(t.Context(), b.DB, b.Demo.ID, e.ID, u.ID)
		if diff := cmp.Diff([]string{b.Demo.Roles["admin"].ID}, m.RoleIDs); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	})
}

// C1 10: that a provider has shown one person says nothing of another who goes on with
// the same sign-in.
func TestWhoCameBySSOIsNobodyElse(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
		first := b.another()
		codeOf(t, first.byButton(t, e))
		u, _ := b.user(t, ann)
		app := authenticator(t, b.World, u.ID)
		gone := b.person(t, "bob@example.com")
		b.joins(t, e.Organization, gone.ID)
		o := e.Organization
		o.Policy.RequireSSO = true
		b.saves(t, o)
		b.Clock.Advance(2 * time.Second)
		p := b.Submit(t, b.authorize(t, "organization", e.Slug).WantText(t, "Acme"), "/signin/again")
		p = b.Submit(t, p, "/signin", "identifier", "bob@example.com")
		link := b.Link(t, "bob@example.com")
		form := p.Forms()[0]
		state := p.URL.Query().Get("state")
		sent := b.PostForm(t, "/signin/sso/"+e.c.ID, url.Values{"csrf": form.Fields["csrf"], "state": {state}})
		p = b.Get(t, e.sent(t, sent)).WantText(t, "authenticator app")
		for range 12 { // until what Ann has proved is void
			b.Submit(t, p, "/signin/second", "code", notOTP(b.World, app))
			if !b.Get(t, "/signin?state="+p.URL.Query().Get("state")).Says("authenticator app") {
				break
			}
		}
		p = b.Submit(t, b.Get(t, link), "/signin/link")
		if to := p.Location(); to != nil {
			t.Fatalf("it led to %v", to)
		}
		p.WantText(t, "Acme")
		b.wantIn(t, false)
	})
}
