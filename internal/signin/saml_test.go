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
				us, err := b.SSO.Us(t.Context(), b.Demo.ID, e.c)
				if err != nil {
					t.Fatal(err)
				}
				p := b.answer(t, b.Get(t, testidp.Path+"/saml?"+url.Values{"acs": {us.ACS}, "audience": {us.EntityID}}.Encode()))
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
