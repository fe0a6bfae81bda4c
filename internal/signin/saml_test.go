package signin_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/testidp"
)

// saml connects an organization that has proved acme.test with the test identity provider.
// The key is one more that the provider may sign with.
func (b *bench) saml(t *testing.T, set func(*sso.Settings)) (*enterprise, testidp.Key) {
	t.Helper()
	by := access.System(b.Demo.ID)
	e := &enterprise{Organization: b.company(t, "Acme", org.Policy{})}
	raw, err := b.TestIdP.Metadata("https://" + apptest.BaseHost)
	if err != nil {
		t.Fatal(err)
	}
	idp, err := b.SSO.ReadMetadata(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := testidp.NewKey(b.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	idp.Certificates = append(idp.Certificates, base64.StdEncoding.EncodeToString(key.Certificate))
	idp.SLORedirect = "https://" + apptest.BaseHost + testidp.Path
	c := sso.Connection{OrganizationID: e.ID, Name: "Acme SSO", Kind: sso.SAML, Provider: "custom", Settings: sso.Settings{IdP: idp}}
	set(&c.Settings)
	p, err := b.SSO.Prepare(t.Context(), by, c, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		e.c, err = b.SSO.Create(ctx, tx, by, p)
		return err
	})
	b.connection(t, e, sso.Active)
	b.proves(t, e.Organization, "acme.test")
	return e, key
}

const annThere = "ann@acme.test"

// answer has the test identity provider answer for Ann, and posts that.
func (b *bench) answer(t *testing.T, p apptest.Page) apptest.Page {
	t.Helper()
	p = b.Submit(t, p, "/saml/answer", "person", annThere)
	forms := p.Forms()
	if len(forms) != 1 {
		t.Fatalf("no answer: %s", p.Text())
	}
	return b.follow(t, b.PostForm(t, forms[0].Action, forms[0].Fields))
}

func (b *bench) follow(t *testing.T, p apptest.Page) apptest.Page {
	t.Helper()
	if p.Status != http.StatusSeeOther {
		return p
	}
	return b.Get(t, p.Location().String())
}

func dev(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		t.Helper()
		test(t, &bench{w, w.Browser(apptest.BaseHost)})
	})
}

func TestSAMLSignsInAndOut(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		b.spa(t)
		e, key := b.saml(t, func(*sso.Settings) {})
		got := b.swap(t, b.answer(t, b.Submit(t, b.authorize(t), "/signin", "identifier", annThere)))
		wantIn(t, got.Access, e.Organization)
		b.wantIn(t, true)
		elsewhere := b.another()
		elsewhere.byButtonSAML(t, e)
		elsewhere.wantIn(t, true)
		u, _ := b.user(t, annThere)
		list, err := b.SSO.Identities(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || len(list) != 1 {
			t.Fatalf("identities %v, %v", list, err)
		}
		logout := func(k testidp.Key, way func(*samlxml.IdP, string)) samlxml.Sent {
			provider := samlxml.SP{EntityID: e.c.Settings.IdP.EntityID, Keys: []samlxml.Key{{Private: k.Private, Certificate: k.Certificate}}}
			wish := samlxml.LogoutRequest{ID: samlxml.NewID(), NameID: list[0].Subject, NotOnOrAfter: b.Clock.Now().Add(time.Minute)}
			var us samlxml.IdP
			way(&us, "https://"+apptest.BaseHost+sso.SLOPath(e.c.ID))
			sent, err := provider.LogoutRequest(wish, us, "", b.Clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			return sent
		}
		redirect := func(us *samlxml.IdP, address string) { us.SLORedirect = address }
		stranger, err := testidp.NewKey(b.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		anybody := b.another()
		anybody.Visit(t, logout(stranger, redirect).Redirect).Want(t, http.StatusBadRequest)
		b.wantIn(t, true)
		signed := logout(key, redirect).Redirect
		anybody.Visit(t, signed).Want(t, http.StatusSeeOther)
		b.wantIn(t, false)
		elsewhere.wantIn(t, false)
		anybody.Visit(t, signed).Want(t, http.StatusBadRequest) // once
		b.byButtonSAML(t, e)
		b.wantIn(t, true)
		form := logout(key, func(us *samlxml.IdP, address string) { us.SLOPost = address }).Form
		anybody.PostForm(t, form.Action, url.Values{"SAMLRequest": {form.SAMLRequest}}).Want(t, http.StatusSeeOther)
		b.wantIn(t, false)
	})
}

func (b *bench) byButtonSAML(t *testing.T, e *enterprise) apptest.Page {
	t.Helper()
	return b.answer(t, b.Submit(t, b.authorize(t, "organization", e.Slug), "/signin/sso/"+e.c.ID))
}

// Who is sent without having asked is asked, and only where the connection allows it.
func TestSAMLWithoutARequestAsksFirst(t *testing.T) {
	for name, allowed := range map[string]bool{"allowed": true, "not allowed": false} {
		t.Run(name, func(t *testing.T) {
			dev(t, func(t *testing.T, b *bench) {
				e, _ := b.saml(t, func(s *sso.Settings) { s.AllowUnsolicited = allowed })
				p := b.begunThere(t, e)
				b.wantIn(t, false)
				if !allowed {
					if p.Status < 400 {
						t.Errorf("got %d: %s", p.Status, p.Text())
					}
					return
				}
				p.WantText(t, "Continue signing in?", annThere)
				b.Submit(t, p, "/signin/sso")
				b.wantIn(t, true)
				b.another().PostForm(t, "/signin/sso", url.Values{}).Want(t, http.StatusForbidden)
			})
		})
	}
}

// begunThere has the test identity provider send Ann to a connection without a request,
// with a RelayState that would lead her elsewhere.
func (b *bench) begunThere(t *testing.T, e *enterprise) apptest.Page {
	t.Helper()
	us, err := b.SSO.Us(t.Context(), b.Demo.ID, e.c)
	if err != nil {
		t.Fatal(err)
	}
	asked := url.Values{"acs": {us.ACS}, "audience": {us.EntityID}, "RelayState": {"https://evil.example/"}}
	return b.answer(t, b.Get(t, testidp.Path+"/saml?"+asked.Encode()))
}

// The application begins a request of its own where the person lands, who is in there
// without being asked again, and in the organization.
func TestProviderBegunSignInEndsAtTheApplication(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		b.spa(t)
		app := b.startsAt(t, "https://app.example.com/login?from=sso")
		e, _ := b.saml(t, func(s *sso.Settings) {
			s.AllowUnsolicited, s.Target = true, sso.Target{ApplicationID: app.ID}
		})
		asked := b.begunThere(t, e).WantText(t, "Continue signing in?", annThere, "to continue to "+app.Name)
		b.wantIn(t, false)
		landed := b.Submit(t, asked, "/signin/sso")
		if got, want := landed.Location().String(), "https://app.example.com/login?from=sso&iss="+url.QueryEscape("https://"+apptest.BaseHost); got != want {
			t.Fatalf("landed at %q, want %q", got, want)
		}
		b.wantIn(t, true)
		wantIn(t, b.swap(t, b.authorize(t)).Access, e.Organization)

		other := b.another()
		waiting := other.begunThere(t, e)
		b.startsAt(t, "")
		other.Submit(t, waiting, "/signin/sso").Want(t, http.StatusBadRequest)
		other.wantIn(t, false)
	})
}

// What the application asks for is asked before anybody lands there.
func TestProviderBegunSignInAsksForWhatTheApplicationAsks(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		app := b.startsAt(t, "https://app.example.com/login")
		e, _ := b.saml(t, func(s *sso.Settings) {
			s.AllowUnsolicited, s.Target = true, sso.Target{ApplicationID: app.ID}
		})
		app.OAuth.SecondFactor = tenant.MFARequired
		b.saveApplication(t, app)
		p := b.Submit(t, b.begunThere(t, e), "/signin/sso")
		if p.Status == http.StatusSeeOther {
			p = b.Get(t, p.Location().String())
		}
		p.WantText(t, "Set up")
		b.wantIn(t, false)
	})
}

// startsAt gives the application of the tests an address to begin at.
func (b *bench) startsAt(t *testing.T, address string) tenant.Application {
	t.Helper()
	app, err := b.Tenants.ByClientID(t.Context(), b.Demo.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	app.OAuth.InitiateLoginURI = address
	return b.saveApplication(t, app)
}

func (b *bench) saveApplication(t *testing.T, app tenant.Application) (saved tenant.Application) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		saved, err = b.Tenants.SaveApplication(ctx, tx, access.System(b.Demo.ID), app)
		return err
	})
	b.Clock.Advance(2 * time.Second)
	return saved
}
