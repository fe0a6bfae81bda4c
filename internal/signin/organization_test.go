package signin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
)

// company makes an organization of tenant demo.
func (b *bench) company(t *testing.T, name string, p org.Policy) (o org.Organization) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		o, err = b.Orgs.Create(ctx, tx, access.System(b.Demo.ID), org.Organization{Name: name, IsActive: true, AllowOutside: true, Policy: p})
		return err
	})
	return o
}

// saves changes an organization.
func (b *bench) saves(t *testing.T, o org.Organization) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.Orgs.Save(ctx, tx, access.System(b.Demo.ID), o)
		return err
	})
}

// joins makes somebody a member, with roles by slug.
func (b *bench) joins(t *testing.T, o org.Organization, userID string, slugs ...string) {
	t.Helper()
	var ids []string
	for _, slug := range slugs {
		ids = append(ids, b.Demo.Roles[slug].ID)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.Orgs.AddMember(ctx, tx, access.System(b.Demo.ID), o.ID, userID, ids, org.SourceManual)
		return err
	})
	b.Clock.Advance(2 * time.Second) // what was known of somebody is a second old at most
}

// proves has an organization prove a domain.
func (b *bench) proves(t *testing.T, o org.Organization, domain string) {
	t.Helper()
	var record, value string
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		d, err := b.Orgs.AddDomain(ctx, tx, access.System(b.Demo.ID), o.ID, domain)
		record, value = d.Record(), d.Value()
		return err
	})
	b.Orgs.TXT = func(_ context.Context, name string) ([]string, error) {
		if strings.TrimSuffix(name, ".") == record {
			return []string{value}, nil
		}
		return nil, nil
	}
	if _, err := b.Orgs.VerifyDomain(t.Context(), access.System(b.Demo.ID), o.ID, domain); err != nil {
		t.Fatal(err)
	}
	b.Clock.Advance(2 * time.Second)
}

// verifier goes with the challenge of authorize.
const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// spa makes demo's application one that proves nothing, and takes its codes itself.
func (b *bench) spa(t *testing.T) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		app, err := b.Tenants.ByClientID(ctx, b.Demo.ClientID)
		if err != nil {
			return err
		}
		app.OAuth.AuthMethod = tenant.AuthNone
		_, err = b.Tenants.SaveApplication(ctx, tx, access.System(b.Demo.ID), app)
		return err
	})
	b.Clock.Advance(2 * time.Second)
}

// tokens are what a code was swapped for.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

func (b *bench) token(t *testing.T, pairs ...string) apptest.Answer {
	t.Helper()
	form := url.Values{"client_id": {b.Demo.ClientID}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c := b.Demo.Client
	c.Key, c.Host = "", apptest.BaseHost
	return c.SendAs(t, r)
}

// codeOf is the code that a journey led to.
func codeOf(t *testing.T, p apptest.Page) string {
	t.Helper()
	if p.Location() == nil || p.Location().Query().Get("code") == "" {
		t.Fatalf("no code but %d at %s %v: %s", p.Status, p.URL, p.Location(), p.Text())
	}
	return p.Location().Query().Get("code")
}

// swap gets tokens for the code that a journey led to.
func (b *bench) swap(t *testing.T, p apptest.Page) (out tokens) {
	t.Helper()
	b.token(t, "grant_type", "authorization_code", "code", codeOf(t, p), "redirect_uri", "https://app.example.com/callback", "code_verifier", verifier).Want(t, 200).Into(t, &out)
	return out
}

// claims of a token, which is not verified.
func claimsOf(t *testing.T, token string) (c map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// proving goes on from a page that asks who is there, by password.
func (b *bench) proving(t *testing.T, p apptest.Page, email string) apptest.Page {
	t.Helper()
	p = b.Submit(t, p, "/signin", "identifier", email)
	return b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret)
}

func wantIn(t *testing.T, token string, o org.Organization, roles ...string) {
	t.Helper()
	c := claimsOf(t, token)
	got := []any{c["org_id"], c["org_slug"]}
	if diff := cmp.Diff([]any{o.ID, o.Slug}, got); diff != "" {
		t.Errorf("organization: %s", diff)
	}
	var have []string
	for _, r := range asList(c["roles"]) {
		have = append(have, r.(string))
	}
	if diff := cmp.Diff(roles, have); diff != "" {
		t.Errorf("roles: %s", diff)
	}
}

func asList(v any) []any { list, _ := v.([]any); return list }

func TestTokensSayTheOrganizationSomebodyActsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		alone := b.another()
		got := alone.swap(t, alone.proving(t, alone.authorize(t, "scope", "openid offline_access"), ann))
		if c := claimsOf(t, got.Access); c["org_id"] != nil || c["roles"] != nil {
			t.Errorf("without an organization: %v", c)
		}
		acme := b.company(t, "Acme", org.Policy{})
		b.joins(t, acme, u.ID, "developer")
		got = b.swap(t, b.proving(t, b.authorize(t, "scope", "openid offline_access"), ann))
		wantIn(t, got.Access, acme, "developer")
		wantIn(t, got.ID, acme, "developer")
		var set role.Set
		b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
			set, err = b.Orgs.Effective(ctx, tx, b.Demo.ID, acme.ID, u.ID)
			return err
		})
		if len(set.PermissionSlugs()) != len(asList(claimsOf(t, got.Access)["permissions"])) {
			t.Errorf("permissions %v, want %v", claimsOf(t, got.Access)["permissions"], set.PermissionSlugs())
		}
		if in := b.newest(t, u); in.OrganizationID != acme.ID {
			t.Errorf("the session is in %q", in.OrganizationID)
		}
		// With other roles the next token has them.
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.Orgs.SetRoles(ctx, tx, access.System(b.Demo.ID), acme.ID, u.ID, []string{b.Demo.Roles["admin"].ID})
		})
		b.Clock.Advance(2 * time.Second)
		var next tokens
		b.token(t, "grant_type", "refresh_token", "refresh_token", got.Refresh).Want(t, 200).Into(t, &next)
		wantIn(t, next.Access, acme, "admin")
	})
}

func TestWhoHasSeveralOrganizationsChooses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		acme, globex := b.company(t, "Acme", org.Policy{}), b.company(t, "Globex", org.Policy{})
		b.joins(t, acme, u.ID)
		b.joins(t, globex, u.ID)
		p := b.proving(t, b.authorize(t), ann).WantText(t, "Choose an organization", "Acme", "Globex")
		b.Submit(t, p, "/signin/organization", "organization", "6694c154565dfee5166d1cc7").Want(t, http.StatusForbidden).WantText(t, "not a member")
		b.Get(t, "/signin/organization?state="+p.URL.Query().Get("state")).WantText(t, "Choose an organization")
		got := b.swap(t, b.Submit(t, p, "/signin/organization", "organization", globex.ID))
		wantIn(t, got.Access, globex)
		// The session stays there until another is asked for, by id or slug.
		wantIn(t, b.swap(t, b.authorize(t)).Access, globex)
		wantIn(t, b.swap(t, b.authorize(t, "organization", acme.Slug)).Access, acme)
		wantIn(t, b.swap(t, b.authorize(t)).Access, acme)
		wantIn(t, b.swap(t, b.authorize(t, "org_id", globex.ID)).Access, globex)
		b.authorize(t, "organization", acme.ID, "org_id", globex.ID)
		// One session that was begun on a page of ours is in none, and proves enough.
		other := b.another()
		other.byPassword(t, ann)
		other.wantIn(t, true)
		if p := other.authorize(t, "prompt", "none"); p.Location() == nil || p.Location().Query().Get("error") != "interaction_required" {
			t.Errorf("without asking: %v %s", p.Location(), p.Text())
		}
		p = other.authorize(t).WantText(t, "Choose an organization")
		got = other.swap(t, other.Submit(t, p, "/signin/organization", "organization", acme.ID))
		wantIn(t, got.Access, acme)
	})
}

func TestAnOrganizationOfOthersIsNotEntered(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		acme, globex := b.company(t, "Acme", org.Policy{}), b.company(t, "Globex", org.Policy{})
		b.joins(t, acme, u.ID)
		for name, asked := range map[string]string{"another": globex.ID, "none": "no-such-thing"} {
			t.Run(name, func(t *testing.T) {
				p := b.another().proveInto(t, asked)
				p.Want(t, http.StatusForbidden).WantText(t, "not a member of this organization")
			})
		}
		// Not with a session that is there, either.
		in := b.another()
		in.proving(t, in.authorize(t), ann)
		in.wantIn(t, true)
		in.authorize(t, "organization", globex.Slug).At(t, "/signin")
		if p := in.authorize(t, "organization", globex.Slug, "prompt", "none"); p.Location() == nil || p.Location().Query().Get("error") == "" {
			t.Errorf("without asking: %s", p.Text())
		}
	})
}

func (b *bench) proveInto(t *testing.T, organization string) apptest.Page {
	t.Helper()
	return b.proving(t, b.authorize(t, "organization", organization), ann)
}

// S6: within the transaction in which somebody leaves, all that was made for the
// organization ends.
func TestWhoLeavesAnOrganizationIsOutAtOnce(t *testing.T) {
	leave := map[string]func(ctx context.Context, tx *database.Tx, b *bench, o org.Organization, userID string) error{
		"removed": func(ctx context.Context, tx *database.Tx, b *bench, o org.Organization, userID string) error {
			return b.Orgs.RemoveMember(ctx, tx, access.System(b.Demo.ID), o.ID, userID, "test")
		},
		"suspended": func(ctx context.Context, tx *database.Tx, b *bench, o org.Organization, userID string) error {
			return b.Orgs.Suspend(ctx, tx, access.System(b.Demo.ID), o.ID, userID, "test")
		},
		"disabled": func(ctx context.Context, tx *database.Tx, b *bench, o org.Organization, _ string) error {
			o.IsActive = false
			_, err := b.Orgs.Save(ctx, tx, access.System(b.Demo.ID), o)
			return err
		},
		"deleted": func(ctx context.Context, tx *database.Tx, b *bench, o org.Organization, _ string) error {
			return b.Orgs.Delete(ctx, tx, access.System(b.Demo.ID), o.ID)
		},
	}
	for name, left := range leave {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.spa(t)
				acme := b.company(t, "Acme", org.Policy{})
				b.joins(t, acme, u.ID)
				got := b.swap(t, b.proving(t, b.authorize(t, "scope", "openid offline_access"), ann))
				waiting := codeOf(t, b.authorize(t))
				user := b.Demo.Client
				user.Key, user.Host = got.Access, apptest.BaseHost
				user.Get(t, "/oauth2/userinfo").Want(t, 200)
				b.Write(t, func(ctx context.Context, tx *database.Tx) error { return left(ctx, tx, b, acme, u.ID) })
				b.wantIn(t, false) // in this process at once
				user.Get(t, "/oauth2/userinfo").Want(t, http.StatusUnauthorized)
				user.Get(t, "/api/v1/session").Want(t, http.StatusUnauthorized)
				b.token(t, "grant_type", "refresh_token", "refresh_token", got.Refresh).Want(t, http.StatusBadRequest)
				b.token(t, "grant_type", "authorization_code", "code", waiting, "redirect_uri", "https://app.example.com/callback", "code_verifier", verifier).Want(t, http.StatusBadRequest)
				b.Clock.Advance(2 * time.Second)
				b.proving(t, b.authorize(t, "organization", acme.Slug), ann).WantText(t, "not a member")
			})
		})
	}
}

// C6 103: what an organization asks for holds on every way in.
func TestAnOrganizationsSecondFactorIsAskedOnEveryWay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c) // makes Ann
		u, _ := b.user(t, ann)
		acme := b.company(t, "Acme", org.Policy{MFA: org.MFARequired})
		b.joins(t, acme, u.ID)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			hash, err := b.Hasher.Hash(ctx, secret)
			if err == nil {
				err = setPassword(ctx, tx, b, u.ID, hash)
			}
			return err
		})
		const asks = "Set up two-step"
		for name, way := range map[string]func(t *testing.T, b *bench) apptest.Page{
			"password": func(t *testing.T, b *bench) apptest.Page { return b.proving(t, b.authorize(t), ann) },
			"code": func(t *testing.T, b *bench) apptest.Page {
				b.Clock.Advance(time.Minute)
				return b.Submit(t, b.Submit(t, b.authorize(t), "/signin", "identifier", ann), "/signin/code", "code", b.Code(t, ann))
			},
			"link": func(t *testing.T, b *bench) apptest.Page {
				b.Clock.Advance(time.Minute)
				b.Submit(t, b.authorize(t), "/signin", "identifier", ann)
				return b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/link")
			},
			"social": func(t *testing.T, b *bench) apptest.Page {
				return b.Get(t, b.away(t, up, b.authorize(t), "/signin/social/"+c.ID))
			},
			"session": func(t *testing.T, b *bench) apptest.Page {
				b.byPassword(t, ann) // on a page of ours, which is in no organization
				b.wantIn(t, true)
				return b.proving(t, b.authorize(t), ann)
			},
		} {
			t.Run(name, func(t *testing.T) { way(t, b.another()).WantText(t, asks) })
		}
		t.Run("api", func(t *testing.T) {
			b.Clock.Advance(time.Minute)
			a := b.caller().verify(t, b.caller().send(t, ann), b.Code(t, ann)).Want(t, 200).Object(t)
			if a["mfa_enrollment_required"] != true || a["access_token"] != "" {
				t.Errorf("got %v", a)
			}
		})
	})
}

func TestAnOrganizationsWaysHoldOnEveryWay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		acme := b.company(t, "Acme", org.Policy{Ways: []string{org.WayEmail}})
		b.joins(t, acme, u.ID)
		p := b.proving(t, b.authorize(t), ann).WantText(t, "Acme does not accept the way you signed in")
		b.wantIn(t, false)
		p = b.Submit(t, p, "/signin/again")
		p = b.Submit(t, p, "/signin", "identifier", ann)
		b.Clock.Advance(time.Minute)
		p = b.Submit(t, p, "/signin/resend")
		wantIn(t, b.swap(t, b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))).Access, acme)
	})
}

// C1 10: whoever must come by their organization's own sign-in has no password here.
func TestWhereSSOIsRequiredNoOtherWayOpens(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u, owner := b.person(t, ann), b.person(t, "owner@example.com")
		b.prove(t, u.ID)
		acme := b.company(t, "Acme", org.Policy{})
		b.joins(t, acme, u.ID)
		b.joins(t, acme, owner.ID, role.Owner)
		in := b.another()
		in.proving(t, in.authorize(t), ann)
		in.wantIn(t, true)
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		link := b.Link(t, ann)
		acme.Policy.RequireSSO = true
		b.saves(t, acme)
		b.Clock.Advance(2 * time.Second)
		out := "asks its people to sign in on its own page"
		for _, own := range []bool{false, true} {
			p := b.another()
			page := p.authorize(t)
			if own {
				page = p.Get(t, "/signin")
			}
			p.proving(t, page, ann).WantText(t, out)
			p.wantIn(t, false)
		}
		b.Clock.Advance(time.Minute)
		code := b.another()
		code.Submit(t, code.identify(t, ann), "/signin/code", "code", b.Code(t, ann)).WantText(t, out)
		b.Clock.Advance(time.Minute)
		b.caller().verify(t, b.caller().send(t, ann), b.Code(t, ann)).WantError(t, http.StatusForbidden, "sso_required")
		in.authorize(t).At(t, "/signin")                                       // the session from before has ended
		in.Get(t, "/account/password").At(t, "/signin")                        // no password is set
		b.Submit(t, b.Get(t, link), "/signin/reset", "password", secret+"new") // nor by a link from before
		p := b.another()
		p.Submit(t, p.passwordPage(t, ann), "/signin/password", "password", secret+"new").Want(t, http.StatusUnauthorized)
		sent := len(b.Letters(t, ann))
		b.Clock.Advance(time.Minute)
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann).WantText(t, "Check your")
		if got := len(b.Letters(t, ann)); got != sent {
			t.Errorf("%d mails, were %d", got, sent)
		}
		// Break-glass owners come in, whatever their provider does.
		glass := b.another()
		glass.proving(t, glass.authorize(t), "owner@example.com").WantText(t, out)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.Orgs.SetBreakGlass(ctx, tx, access.System(b.Demo.ID), acme.ID, owner.ID, true)
		})
		b.Clock.Advance(2 * time.Second)
		codeOf(t, b.another().ownerIn(t))
	})
}

func (b *bench) ownerIn(t *testing.T) apptest.Page {
	t.Helper()
	return b.proving(t, b.authorize(t), "owner@example.com")
}

func TestAnOrganizationsSessionsAreAsShortAsItSays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		acme := b.company(t, "Acme", org.Policy{SessionAbsolute: 3600})
		b.joins(t, acme, u.ID)
		got := b.swap(t, b.proving(t, b.authorize(t, "scope", "openid offline_access"), ann))
		b.Clock.Advance(61 * time.Minute)
		b.wantIn(t, false)
		b.token(t, "grant_type", "refresh_token", "refresh_token", got.Refresh).Want(t, http.StatusBadRequest)
		// A session of before that is older than that does not do.
		old := b.another()
		old.byPassword(t, ann)
		b.Clock.Advance(61 * time.Minute)
		old.wantIn(t, true)
		old.authorize(t).At(t, "/signin")
	})
}

// joinsMany makes so many organizations and a user a member of each.
func (b *bench) joinsMany(t *testing.T, n int, userID string) {
	t.Helper()
	by := access.System(b.Demo.ID)
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		for i := range n {
			o, err := b.Orgs.Create(ctx, tx, by, org.Organization{Name: fmt.Sprintf("Subsidiary %04d", i), IsActive: true, AllowOutside: true})
			if err == nil {
				_, err = b.Orgs.AddMember(ctx, tx, by, o.ID, userID, []string{b.Demo.Roles["developer"].ID}, org.SourceManual)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	b.Clock.Advance(2 * time.Second)
}

// Nothing that is told of somebody who acts in an organization grows with the number of
// those they belong to.
func TestATokenDoesNotGrowWithOrganizations(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		acme := b.company(t, "Acme", org.Policy{})
		b.joins(t, acme, u.ID, "developer")
		told := func(got tokens) map[string]int {
			c := b.Demo.Client
			c.Key, c.Host = got.Access, apptest.BaseHost
			answer := c.Get(t, "/oauth2/userinfo").Want(t, http.StatusOK)
			return map[string]int{
				"access token": len(got.Access), "ID token": len(got.ID), "user info": len(answer.Body), "session": len(b.Visit(t, "/api/v1/session").Want(t, http.StatusOK).Body),
			}
		}
		one := told(b.swap(t, b.proving(t, b.authorize(t), ann)))
		b.joinsMany(t, org.MaxMemberships-1, u.ID)
		many := b.swap(t, b.authorize(t))
		wantIn(t, many.Access, acme, "developer")
		if diff := cmp.Diff(one, told(many)); diff != "" {
			t.Errorf("bytes with one organization and with a thousand: %s", diff)
		}
	})
}

// The page on which to choose shows some, and finds the others.
func TestWhoHasAThousandOrganizationsFindsTheirs(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.spa(t)
		b.joinsMany(t, org.MaxMemberships, u.ID)
		p := b.proving(t, b.authorize(t), ann).WantText(t, "Choose an organization", "Subsidiary 0000", "You belong to more organizations")
		if n := len(p.Forms()); n > 60 || len(p.Body) > 64<<10 {
			t.Errorf("%d forms in %d bytes", n, len(p.Body))
		}
		search := func(part string) apptest.Page {
			t.Helper()
			form, ok := p.Form("/signin/organization")
			if !ok {
				t.Fatal("there is no form")
			}
			form.Fields.Del("organization")
			form.Fields.Set("search", part)
			return b.PostForm(t, "/signin/organization", form.Fields).Want(t, http.StatusOK)
		}
		search("nobody").WantText(t, "None of your organizations has this name")
		found := search("SIDIARY 0999").WantText(t, "Subsidiary 0999")
		if n := strings.Count(found.Text(), "Subsidiary"); n != 1 {
			t.Errorf("one is found %d times: %s", n, found.Text())
		}
		chosen := ""
		for _, form := range found.Forms() {
			if id := form.Fields.Get("organization"); id != "" {
				chosen = id
			}
		}
		got := b.swap(t, b.Submit(t, found, "/signin/organization", "organization", chosen))
		if c := claimsOf(t, got.Access); c["org_id"] != chosen {
			t.Errorf("the token is for %v, not %s", c["org_id"], chosen)
		}
	})
}

func TestInvitations(t *testing.T) {
	invite := func(t *testing.T, b *bench, o org.Organization, email string) string {
		t.Helper()
		look, err := b.Orgs.Look(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Orgs.Invite(ctx, tx, access.System(b.Demo.ID), look, org.Invitation{OrganizationID: o.ID, Email: email, RoleIDs: []string{b.Demo.Roles["developer"].ID}})
			return err
		})
		return b.Link(t, email)
	}
	isMember := func(t *testing.T, b *bench, o org.Organization, userID string) bool {
		t.Helper()
		m, err := b.Orgs.Member(t.Context(), b.DB, b.Demo.ID, o.ID, userID)
		return err == nil && slices.Contains(m.RoleIDs, b.Demo.Roles["developer"].ID)
	}
	t.Run("signed in", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme := b.company(t, "Acme", org.Policy{})
			u := b.person(t, ann)
			b.Submit(t, b.identify(t, ann), "/signin/code", "code", b.Code(t, ann))
			link := invite(t, b, acme, ann)
			p := b.Get(t, link).WantText(t, "Join Acme", "Join as "+ann)
			i := slices.IndexFunc(p.Links(), func(link string) bool { return strings.Contains(link, "lang=de") })
			if i < 0 {
				t.Fatal("no other language is offered")
			}
			b.Get(t, p.Links()[i]).WantText(t, "Acme beitreten", ann)
			p = b.Get(t, link+"&lang=en")
			if isMember(t, b, acme, u.ID) {
				t.Fatal("opening the link joins")
			}
			b.Submit(t, p, "/signin/invitation").At(t, "/account").WantText(t, "You have joined the organization")
			if !isMember(t, b, acme, u.ID) {
				t.Error("no member")
			}
			b.Submit(t, p, "/signin/invitation").WantText(t, "does not work any more")
		})
	})
	t.Run("new, where nobody else signs up", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.settings(t, tenant.SignIn{NoSignUp: true})
			acme := b.company(t, "Acme", org.Policy{})
			p := b.Submit(t, b.Get(t, invite(t, b, acme, ann)), "/signin/invitation").At(t, "/signin")
			b.Clock.Advance(time.Minute)
			p = b.Submit(t, p, "/signin", "identifier", ann)
			p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann)).At(t, "/signin/invitation").WantText(t, "Join as "+ann)
			b.Submit(t, p, "/signin/invitation").At(t, "/account")
			u, _ := b.user(t, ann)
			if !isMember(t, b, acme, u.ID) {
				t.Error("no member")
			}
			// Others do not get in by it.
			other := b.another()
			other.Get(t, invite(t, b, acme, "bo@example.com"))
			p = other.Submit(t, other.Get(t, b.Link(t, "bo@example.com")), "/signin/invitation")
			other.Submit(t, p, "/signin", "identifier", "eve@example.com")
			if letters := b.Letters(t, "eve@example.com"); len(letters) > 0 {
				t.Errorf("a stranger gets %d mails", len(letters))
			}
		})
	})
	t.Run("somebody else asks", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			acme := b.company(t, "Acme", org.Policy{})
			u := b.person(t, ann)
			b.byPassword(t, ann)
			p := b.Get(t, invite(t, b, acme, "bo@example.com")).WantText(t, "the invitation is for bo@example.com")
			form, _ := p.Form("/signin/invitation")
			form.Fields.Del("agreed")
			b.PostForm(t, "/signin/invitation", form.Fields).Want(t, http.StatusConflict)
			if isMember(t, b, acme, u.ID) {
				t.Fatal("not asked")
			}
			b.Submit(t, p, "/signin/invitation").At(t, "/account")
			if !isMember(t, b, acme, u.ID) {
				t.Error("no member")
			}
		})
	})
}

func setPassword(ctx context.Context, tx *database.Tx, b *bench, userID, hash string) error {
	return password.Set(ctx, tx, access.System(b.Demo.ID), userID, hash, false)
}
