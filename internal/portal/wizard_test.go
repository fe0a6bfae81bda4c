package portal_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/portal"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/testidp"
)

// metadata are those of the test identity provider.
func metadata(t *testing.T, w *apptest.World) string {
	t.Helper()
	text, err := w.TestIdP.Metadata("https://" + apptest.BaseHost)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func find(t *testing.T, w *apptest.World, organization, id string) sso.Connection {
	t.Helper()
	c, err := w.SSO.Find(t.Context(), w.DB, access.System(w.Demo.ID), organization, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signIn goes through a test at the test identity provider as Ann.
func signIn(t *testing.T, w *apptest.World, b *apptest.Browser, at, fault string) apptest.Page {
	t.Helper()
	p := b.Submit(t, b.Get(t, at+"?step=test"), at+"/test").Want(t, http.StatusOK)
	p = b.Submit(t, p, testidp.Path+"/saml/answer", "person", "ann@acme.test", "fault", fault).Want(t, http.StatusOK)
	form, ok := p.Form("/acs")
	if !ok {
		t.Fatal("the provider sends nothing back")
	}
	visitor := access.Visitor(w.Demo.ID, "192.0.2.7")
	handle, err := w.SSO.ReceiveSAML(t.Context(), visitor, path.Base(at), form.Fields.Get("SAMLResponse"), form.Fields.Get("RelayState"))
	if err != nil {
		t.Fatal(err)
	}
	_, flow, err := w.SSO.Claim(t.Context(), visitor, handle, secret.Hash(b.Cookie("__Host-cardea-browser")))
	if err != nil && !errors.Is(err, sso.ErrRefused) || !flow.Test {
		t.Fatalf("%+v %v", flow, err)
	}
	return b.Get(t, sso.TestPath(flow.Trace))
}

// Somebody with nothing but a link sets single sign-on up, from the choice of a
// provider to the switch, and is told what is wrong on the way.
func TestSingleSignOnIsSetUpByALink(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme)
		id := newConnection(t, b, l)
		at := portal.Path + l.ID + "/connections/" + id
		b.Get(t, at).At(t, at).WantText(t, "Single sign-on with Okta", "Audience URI (SP Entity ID)", "/saml/"+id+"/acs", "Create App Integration")
		b.Get(t, at+"?step=test").WantText(t, "Something is missing still")

		send := func(pairs ...string) apptest.Page {
			return b.Submit(t, b.Get(t, at+"?step=send"), at+"/provider", pairs...)
		}
		send().Want(t, http.StatusBadRequest)
		send("metadata", "<html>not metadata</html>").Want(t, http.StatusBadRequest).WantText(t, "These are no metadata")
		send("metadata", metadata(t, w)).At(t, at).WantText(t, "Saved.", "Attributes and groups")

		editor := grantableRole(t, w, "editor")
		fill := func(pairs ...string) apptest.Page {
			return b.Submit(t, b.Get(t, at+"?step=map"), at+"/attributes", pairs...)
		}
		fill("group_0", "Admins", "role_0", w.Demo.Roles[role.Owner].ID).Want(t, http.StatusBadRequest).WantText(t, "a role that this link can not give")
		fill("group_0", "Engineering", "role_0", editor.ID, "attribute_last_name", "lastName").At(t, at)
		if c := find(t, w, acme.ID, id); c.State != sso.Draft || len(c.Settings.GroupRules) != 1 || c.Settings.GroupRules[0].RoleID != editor.ID || c.Settings.Attributes["last_name"] != "lastName" {
			t.Fatalf("the connection is %+v", c.Settings)
		}

		wrong := signIn(t, w, b, at, "audience").Want(t, http.StatusOK).WantText(t, "It does not work yet", "Audience URI (SP Entity ID)", "/saml/"+id+"/metadata")
		if !strings.HasPrefix(wrong.URL.Path, at+"/tests/") {
			t.Errorf("the test ends at %s", wrong.URL)
		}
		right := signIn(t, w, b, at, "").Want(t, http.StatusOK).WantText(t, "It works", "What came at the last attempt", "firstName")
		if b.Cookie("__Host-cardea") != "" {
			t.Error("a test has signed somebody in")
		}
		b.Get(t, wrong.URL.Path+"?lang=de").WantText(t, "Zielgruppe (Audience) conditions.audience", "eine Signatur")
		b.Get(t, wrong.URL.Path+"?lang=en")
		// Without the link one learns whether it went well, and no more.
		other := w.Browser(apptest.BaseHost)
		for p, text := range map[string]string{wrong.URL.Path: "It does not work yet", right.URL.Path: "It works"} {
			other.Get(t, sso.TestPath(path.Base(p))).Want(t, http.StatusOK).WantText(t, text, "Close this page")
		}
		for _, id := range []string{acme.ID, "nothing"} {
			other.Get(t, sso.TestPath(id)).Want(t, http.StatusNotFound)
		}

		b.Submit(t, b.Get(t, at+"?step=test").WantText(t, "Last attempts"), at+"/state", "active", "yes").WantText(t, "Switched on.")
		if c := find(t, w, acme.ID, id); c.State != sso.Active {
			t.Errorf("the connection is %s", c.State)
		}
		b.Submit(t, b.Get(t, at+"?step=test"), at+"/state", "active", "no").WantText(t, "Switched off.")
		b.Submit(t, b.Get(t, at+"?step=test"), at+"/delete").At(t, portal.Path+l.ID+"/connections")
	})
}

// What most leave as it is can be set by a link, too, and leads nowhere but to the
// tenant's own applications.
func TestMoreIsSetUpByALink(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme)
		id := newConnection(t, b, l)
		at := portal.Path + l.ID + "/connections/" + id
		if _, ok := b.Get(t, at+"?step=test").Form(at + "/more"); ok {
			t.Error("settings are shown before the provider is known")
		}
		b.Submit(t, b.Get(t, at+"?step=send"), at+"/provider", "metadata", metadata(t, w)).At(t, at)
		ours := application(t, w, tenant.Application{Name: "Tickets", OAuth: tenant.OAuth{InitiateLoginURI: "https://tickets.example/login"}})
		theirs := application(t, w, tenant.Application{Name: "Strangers", RedirectURIs: []string{"https://strangers.example/"}, OAuth: tenant.OAuth{ThirdParty: true, InitiateLoginURI: "https://strangers.example/login"}})
		p := b.Get(t, at+"?step=test").WantText(t, "More settings", "Tickets")
		if strings.Contains(p.Text(), "Strangers") {
			t.Error("an application of others is offered")
		}
		fill := func(pairs ...string) apptest.Page {
			return b.Submit(t, b.Get(t, at+"?step=test"), at+"/more", pairs...)
		}
		for _, land := range []string{theirs.ID, "https://evil.example/", "nothing"} {
			fill("begin_there", "yes", "land", land).Want(t, http.StatusBadRequest)
		}
		if got := find(t, w, acme.ID, id).Settings; got.AllowUnsolicited || got.Target != (sso.Target{}) {
			t.Fatalf("refused, and kept: %+v", got)
		}
		fill("begin_there", "yes", "land", ours.ID).At(t, at).WantText(t, "Saved.")
		if got := find(t, w, acme.ID, id).Settings; !got.AllowUnsolicited || got.Target != (sso.Target{ApplicationID: ours.ID}) {
			t.Errorf("got %+v", got)
		}
		fill("begin_there", "", "land", "").At(t, at)
		c := find(t, w, acme.ID, id)
		if c.Settings.AllowUnsolicited || c.Settings.Target != (sso.Target{}) || c.Settings.NoLogout {
			t.Errorf("got %+v", c.Settings)
		}
		c.Settings.IdP.SLORedirect = "https://idp.example/slo"
		save(t, w, c)
		for _, told := range []string{"", "yes"} {
			fill("logout_there", told).At(t, at)
			if got := find(t, w, acme.ID, id).Settings.NoLogout; got != (told == "") {
				t.Errorf("no_logout is %t after %q", got, told)
			}
		}
	})
}

// save writes a connection as somebody with the API would.
func save(t *testing.T, w *apptest.World, c sso.Connection) {
	t.Helper()
	by := access.System(w.Demo.ID)
	p, err := w.SSO.Prepare(t.Context(), by, c, "")
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := w.SSO.Save(ctx, tx, by, p)
		return err
	})
	w.Clock.Advance(2 * time.Second)
}

// An issuer of all directories needs the names of those that are taken.
func TestDirectoriesOfEntraAreSetUpByALink(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme, "sso")
		all := portal.Path + l.ID + "/connections"
		at := b.Submit(t, b.Get(t, all), all, "provider", "oidc:entra").URL.Path
		id := strings.TrimPrefix(at, all+"/")
		fill := func(directories string) apptest.Page {
			return b.Submit(t, b.Get(t, at+"?step=send").WantText(t, "Directory (tenant) IDs"), at+"/provider",
				"issuer", "https://login.microsoftonline.com/organizations/v2.0", "client_id", "x", "client_secret", "y", "directories", directories)
		}
		fill("everybody").Want(t, http.StatusBadRequest)
		fill("").At(t, at)
		b.Submit(t, b.Get(t, at+"?step=test"), at+"/state", "active", "yes").Want(t, http.StatusBadRequest)
		fill("72F988BF-86F1-41AF-91AB-2D7CD011DB47\n 11111111-2222-3333-4444-555555555555 ").At(t, at)
		want := []string{"72f988bf-86f1-41af-91ab-2d7cd011db47", "11111111-2222-3333-4444-555555555555"}
		if got := find(t, w, acme.ID, id).Settings.Directories; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		b.Submit(t, b.Get(t, at+"?step=test"), at+"/state", "active", "yes").WantText(t, "Switched on.")
	})
}

func application(t *testing.T, w *apptest.World, a tenant.Application) (made tenant.Application) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		made, _, err = w.Tenants.CreateApplication(ctx, tx, access.System(w.Demo.ID), a)
		return err
	})
	return made
}

func TestOpenIDConnectIsSetUpByALink(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme, "sso")
		all := portal.Path + l.ID + "/connections"
		b.Submit(t, b.Get(t, all), all, "provider", "saml:nobody").Want(t, http.StatusBadRequest)
		p := b.Submit(t, b.Get(t, all), all, "provider", "oidc:custom").Want(t, http.StatusOK).WantText(t, "Redirect URI", "/callback")
		at := p.URL.Path
		id := strings.TrimPrefix(at, all+"/")
		p = b.Submit(t, b.Get(t, at+"?step=send"), at+"/provider", "issuer", "not an address", "client_id", "x", "client_secret", "y")
		if p.Status != http.StatusBadRequest {
			t.Errorf("a bad issuer: %d", p.Status)
		}
		c := find(t, w, acme.ID, id)
		if c.Settings.Issuer != "" || c.HasSecret {
			t.Errorf("it was kept: %+v", c.Settings)
		}
	})
}

func TestCertificatesAreRenewed(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme, "sso")
		id := newConnection(t, b, l)
		own := portal.Path + l.ID + "/connections/" + id
		b.Submit(t, b.Get(t, own+"?step=send"), own+"/provider", "metadata", metadata(t, w)).At(t, own)

		renewer, link := open(t, w, acme, "certificates")
		renewer.Get(t, portal.Path+link.ID+"/connections/"+id).Want(t, http.StatusNotFound) // its link is for certificates only
		at := portal.Path + link.ID + "/connections/" + id + "/certificates"
		renewer.Submit(t, renewer.Get(t, at).At(t, at), at, "certificate", "nonsense").Want(t, http.StatusBadRequest).WantText(t, "This is no certificate")
		next, err := testidp.NewKey(w.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		p := renewer.Submit(t, renewer.Get(t, at), at, "certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.Certificate}))).At(t, at)
		if known := find(t, w, acme.ID, id).Settings.IdP.Certificates; len(known) != 2 {
			t.Fatalf("%d certificates", len(known))
		}
		renewer.Submit(t, p, at+"/remove").At(t, at)
		known := find(t, w, acme.ID, id).Settings.IdP.Certificates
		if len(known) != 1 || known[0] != base64.StdEncoding.EncodeToString(next.Certificate) {
			t.Errorf("left: %v", known)
		}
		form := url.Values{"csrf": {formToken(t, renewer.Get(t, at), at)}, "certificate": {"x"}}
		renewer.PostForm(t, at+"/remove", form).Want(t, http.StatusSeeOther) // there is none such, and the last one stays
		if len(find(t, w, acme.ID, id).Settings.IdP.Certificates) != 1 {
			t.Error("the last certificate is gone")
		}
	})
}

func formToken(t *testing.T, p apptest.Page, action string) string {
	t.Helper()
	f, ok := p.Form(action)
	if !ok {
		t.Fatalf("no form for %s", action)
	}
	return f.Fields.Get("csrf")
}
