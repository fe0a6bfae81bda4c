package portal_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/portal"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/sso"
)

// company makes an organization of the demo tenant.
func company(t *testing.T, w *apptest.World, name string) (o org.Organization) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		o, err = w.Orgs.Create(ctx, tx, access.System(w.Demo.ID), org.Organization{Name: name, IsActive: true})
		return err
	})
	return o
}

// link makes a link for an organization.
func link(t *testing.T, w *apptest.World, o org.Organization, intents ...string) (l portal.Link, key string) {
	t.Helper()
	if len(intents) == 0 {
		intents = portal.Intents
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		l, key, err = w.Portal.Create(ctx, tx, access.System(w.Demo.ID), o.ID, intents, time.Hour)
		return err
	})
	return l, key
}

func address(l portal.Link, key string) string { return portal.URL("", l, key) }

// open makes a browser that has opened a new link.
func open(t *testing.T, w *apptest.World, o org.Organization, intents ...string) (*apptest.Browser, portal.Link) {
	t.Helper()
	l, key := link(t, w, o, intents...)
	b := w.Browser(apptest.BaseHost)
	b.Get(t, address(l, key)).At(t, portal.Path+l.ID)
	return b, l
}

func TestLinksByAPI(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		o := company(t, w, "Acme")
		links := "/api/v1/tenants/" + o.ID + "/portal_links"
		made := w.Demo.Post(t, links, map[string]any{"intents": []string{"sso", "domains", "sso"}, "expires_in": 600}).Want(t, http.StatusCreated).Object(t)
		to, err := url.Parse(made["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		w.Browser(to.Host).Get(t, to.String()).Want(t, http.StatusOK).WantText(t, "Setup for your organization", "Acme", "Single sign-on", "Domains")

		listed := w.Demo.Get(t, links).Want(t, http.StatusOK)
		if strings.Contains(string(listed.Body), to.Query().Get("key")) || len(listed.List(t)) != 1 {
			t.Errorf("the list is %s", listed.Body)
		}
		generated := w.Demo.Get(t, "/api/v1/tenants/"+o.ID+"/portal/generate_link?expires_in=3600").Want(t, http.StatusOK).Object(t)
		if generated["expires_in"] != float64(3600) || !strings.Contains(generated["sso_portal_url"].(string), "/portal/") || generated["access_token"] == "" {
			t.Errorf("generated %v", generated)
		}
		w.Demo.Delete(t, links+"/"+made["id"].(string)).Want(t, http.StatusOK)
		w.Demo.Delete(t, links+"/"+made["id"].(string)).WantError(t, http.StatusNotFound, "portal_link_not_found")
		w.Browser(to.Host).Get(t, to.String()).Want(t, http.StatusNotFound)
	})
}

func TestLinksAreRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		o := company(t, w, "Acme")
		links := "/api/v1/tenants/" + o.ID + "/portal_links"
		good := map[string]any{"intents": []string{"sso"}}
		for name, body := range map[string]any{
			"without intents": map[string]any{}, "with an unknown intent": map[string]any{"intents": []string{"everything"}},
			"for more than 30 days": map[string]any{"intents": []string{"sso"}, "expires_in": 31 * 86400}, "for the past": map[string]any{"intents": []string{"sso"}, "expires_in": -1}, "for a time that overflows": map[string]any{"intents": []string{"sso"}, "expires_in": int64(1) << 62},
		} {
			t.Run(name, func(t *testing.T) {
				w.Demo.Post(t, links, body).WantError(t, http.StatusBadRequest, "invalid_portal_link")
			})
		}
		w.Demo.As(t, access.OrganizationsWrite).Post(t, links, good).WantError(t, http.StatusForbidden, "access_denied")
		w.Demo.As(t, access.ConnectionsWrite).Post(t, links, good).WantError(t, http.StatusForbidden, "access_denied")
		other := w.Tenant(t, "other")
		other.Post(t, links, good).WantError(t, http.StatusNotFound, "organization_not_found")
		other.Get(t, links).WantError(t, http.StatusNotFound, "organization_not_found")
	})
}

var requestID = regexp.MustCompile(`[0-9a-f]{24}`)

// Whoever tries a link learns nothing of why it does not open.
func TestGoneLinksLookTheSame(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme, closed := company(t, w, "Acme"), company(t, w, "Closed")
		revoked, revokedKey := link(t, w, acme)
		expired, expiredKey := link(t, w, acme)
		shut, shutKey := link(t, w, closed)
		holder := w.Browser(apptest.BaseHost)
		holder.Get(t, address(revoked, revokedKey)).Want(t, http.StatusOK)
		late := w.Browser(apptest.BaseHost)
		late.Get(t, address(expired, expiredKey)).Want(t, http.StatusOK)
		w.Clock.Advance(2 * time.Hour)
		fresh, freshKey := link(t, w, acme)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			closed.IsActive = false
			_, err := w.Orgs.Save(ctx, tx, access.System(w.Demo.ID), closed)
			return err
		})
		again, againKey := link(t, w, acme)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.Portal.Revoke(ctx, tx, access.System(w.Demo.ID), acme.ID, again.ID)
		})
		var first string
		for name, page := range map[string]func(b *apptest.Browser) apptest.Page{
			"expired":                func(b *apptest.Browser) apptest.Page { return b.Get(t, address(expired, expiredKey)) },
			"revoked":                func(b *apptest.Browser) apptest.Page { return b.Get(t, address(again, againKey)) },
			"with another key":       func(b *apptest.Browser) apptest.Page { return b.Get(t, address(fresh, revokedKey)) },
			"without a key":          func(b *apptest.Browser) apptest.Page { return b.Get(t, portal.Path+fresh.ID) },
			"with the key's id":      func(b *apptest.Browser) apptest.Page { return b.Get(t, portal.Path+freshKey) },
			"unknown":                func(b *apptest.Browser) apptest.Page { return b.Get(t, portal.Path+"6694c154565dfee5166d1cc7?key=x") },
			"of a disabled company":  func(b *apptest.Browser) apptest.Page { return b.Get(t, address(shut, shutKey)) },
			"expired while open":     func(*apptest.Browser) apptest.Page { return late.Get(t, portal.Path+expired.ID) },
			"expired, in its wizard": func(*apptest.Browser) apptest.Page { return holder.Get(t, portal.Path+revoked.ID+"/connections") },
		} {
			p := page(w.Browser(apptest.BaseHost)).Want(t, http.StatusNotFound).WantText(t, "This link is no longer good")
			text := requestID.ReplaceAllString(p.Text(), "")
			if first == "" {
				first = text
			}
			if text != first {
				t.Errorf("%s: %s, and not %s", name, text, first)
			}
		}
	})
}

func TestLinkKeyIsInNoLogAddressOrReferer(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		l, key := link(t, w, company(t, w, "Acme"))
		b := w.Browser(apptest.BaseHost)
		entered := b.Visit(t, address(l, key)).Want(t, http.StatusSeeOther)
		if to := entered.Header.Get("Location"); to != portal.Path+l.ID {
			t.Errorf("the browser is sent to %s", to)
		}
		p := b.Get(t, portal.Path+l.ID).Want(t, http.StatusOK)
		if p.Header.Get("Referrer-Policy") != "no-referrer" || entered.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Error("pages tell others where they were")
		}
		for _, place := range append(p.Links(), string(p.Body), w.Log()) {
			if strings.Contains(place, key) {
				t.Errorf("the key stands in %s", place)
			}
		}
	})
}

func TestLookingChangesNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		l, key := link(t, w, acme)
		before := events(t, w, acme.ID)
		b := w.Browser(apptest.BaseHost)
		for range 3 { // a scanner of mails does so, too
			b.Get(t, address(l, key)).Want(t, http.StatusOK)
		}
		for _, path := range []string{"", "/connections", "/directory", "/domains", "/log"} {
			b.Get(t, portal.Path+l.ID+path).Want(t, http.StatusOK)
		}
		if after := events(t, w, acme.ID); len(after) != len(before) {
			t.Errorf("looking was logged as %v", after)
		}
	})
}

func events(t *testing.T, w *apptest.World, target string) []audit.Listed {
	t.Helper()
	out, err := audit.List(t.Context(), w.DB, w.Demo.ID, audit.Filter{TargetID: target}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrongKeysAreCounted(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		l, key := link(t, w, company(t, w, "Acme"))
		for range 100 {
			b := w.Browser(apptest.BaseHost)
			if b.Get(t, address(l, "WRONG")).Status == http.StatusTooManyRequests {
				w.Browser(apptest.BaseHost).Get(t, address(l, key)).Want(t, http.StatusOK) // who has the key is let in
				return
			}
		}
		t.Error("nothing stops guessing")
	})
}

func TestIntentsAreTheLimit(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		parts := map[string]string{"sso": "/connections", "directory": "/directory", "domains": "/domains", "log": "/log"}
		for intent := range parts {
			t.Run(intent, func(t *testing.T) {
				b, l := open(t, w, acme, intent)
				for of, path := range parts {
					want := http.StatusNotFound
					if of == intent {
						want = http.StatusOK
					}
					b.Get(t, portal.Path+l.ID+path).Want(t, want)
				}
			})
		}
		t.Run("certificates", func(t *testing.T) {
			b, l := open(t, w, acme, "certificates")
			p := b.Get(t, portal.Path+l.ID+"/connections").Want(t, http.StatusOK)
			if len(p.Forms()) != 0 {
				t.Errorf("it can add connections: %v", p.Forms())
			}
		})
	})
}

func TestFormsNeedTheirToken(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme)
		at := portal.Path + l.ID + "/domains"
		form, ok := b.Get(t, at).Form(at)
		if !ok {
			t.Fatal("there is no form")
		}
		form.Fields.Set("domain", "acme.test")
		stale := url.Values{"domain": {"acme.test"}, "csrf": {"x"}}
		b.PostForm(t, at, stale).Want(t, http.StatusForbidden)
		stranger := w.Browser(apptest.BaseHost)
		stranger.PostForm(t, at, form.Fields).Want(t, http.StatusForbidden)
		b.Header.Set("Origin", "https://evil.example")
		b.Header.Set("Sec-Fetch-Site", "cross-site")
		b.PostForm(t, at, form.Fields).Want(t, http.StatusForbidden)
		if found, err := w.Orgs.Domains(t.Context(), w.DB, w.Demo.ID, acme.ID); err != nil || len(found) != 0 {
			t.Errorf("got %v %v", found, err)
		}
	})
}

func TestDomainsAreProved(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		published := map[string][]string{}
		w.Orgs.TXT = func(_ context.Context, name string) ([]string, error) { return published[name], nil }
		b, l := open(t, w, acme, "domains")
		at := portal.Path + l.ID + "/domains"
		b.Submit(t, b.Get(t, at), at, "domain", "not a domain").Want(t, http.StatusBadRequest)
		b.Submit(t, b.Get(t, at), at, "domain", "gmail.com").Want(t, http.StatusBadRequest)
		p := b.Submit(t, b.Get(t, at), at, "domain", "Acme.test").At(t, at).WantText(t, "_cardea-challenge.acme.test")
		value := regexp.MustCompile(`cardea-domain-verification=\w+`).FindString(p.Text())
		b.Submit(t, p, at+"/verify").Want(t, http.StatusConflict).WantText(t, "The record was not found")
		published["_cardea-challenge.acme.test."] = []string{"v=spf1 -all", value}
		p = b.Submit(t, b.Get(t, at), at+"/verify").At(t, at).WantText(t, "The domain is proved", "Proved on")
		var by []string
		for _, e := range events(t, w, acme.ID) {
			if strings.HasPrefix(e.Action, "organization.domain_") {
				by = append(by, e.Action+" "+e.Actor)
			}
		}
		if want := []string{"organization.domain_verified portal:" + l.ID, "organization.domain_added portal:" + l.ID}; !slices.Equal(by, want) {
			t.Errorf("the log has %v, want %v", by, want)
		}
		b.Submit(t, p, at+"/remove").At(t, at)
		if found, err := w.Orgs.Domains(t.Context(), w.DB, w.Demo.ID, acme.ID); err != nil || len(found) != 0 {
			t.Errorf("got %v %v", found, err)
		}
	})
}

// What is done to connections and directories stands in the organization's log, wherever
// that is read and whoever did it.
func TestTheLogHasConnectionsAndDirectories(t *testing.T) {
	apptest.RunDev(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme)
		id := newConnection(t, b, l)
		at := portal.Path + l.ID + "/connections/" + id
		b.Submit(t, b.Get(t, at+"?step=send"), at+"/provider", "metadata", metadata(t, w)).At(t, at)
		own := "/api/v1/organizations/" + acme.ID + "/connections/" + id
		for _, state := range []string{sso.Active, sso.Disabled, sso.Disabled} {
			w.Demo.Put(t, own, map[string]string{"state": state}).Want(t, http.StatusOK)
		}
		w.Demo.Delete(t, own).Want(t, http.StatusOK)
		directories := portal.Path + l.ID + "/directory"
		b.Submit(t, b.Get(t, directories), directories, "type", "okta").Want(t, http.StatusOK)
		want := []string{"sso_connection.created", "sso_connection.updated", "sso_connection.activated", "sso_connection.disabled", "sso_connection.deleted", "directory.created", "directory.token.created"}
		shown := b.Get(t, portal.Path+l.ID+"/log").WantText(t, want...)
		if n := strings.Count(shown.Text(), "connection "+id); n != 5 { // switching it on and off is one each, and no other change
			t.Errorf("%d events name the connection", n)
		}
		audit := string(w.Demo.Get(t, "/api/v1/tenants/"+acme.ID+"/audit").Want(t, http.StatusOK).Body)
		for _, action := range want {
			if !strings.Contains(audit, action) {
				t.Errorf("the log has no %s: %s", action, audit)
			}
		}
		// People read sentences; who works for the tenant is nobody's business here.
		shown.WantText(t, "The connection Okta was switched on", "An administrator at", "This link")
		if strings.Contains(string(shown.Body), "key:") {
			t.Errorf("the page names a key: %s", shown.Text())
		}
		b.Get(t, portal.Path+l.ID+"/log?lang=de").WantText(t, "Die Verbindung Okta wurde eingeschaltet")
		b.Get(t, portal.Path+l.ID+"/log?lang=en")
		another, al := open(t, w, acme)
		another.Get(t, portal.Path+al.ID+"/log").WantText(t, "Another setup link")
		other, ol := open(t, w, company(t, w, "Beta"))
		if p := other.Get(t, portal.Path+ol.ID+"/log"); p.Says("sso_connection") || p.Says(id) {
			t.Errorf("another organization reads: %s", p.Text())
		}
	})
}

var scimToken = regexp.MustCompile(`scim_\w+`)

func TestDirectoryIsSetUp(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		b, l := open(t, w, acme, "directory")
		at := portal.Path + l.ID + "/directory"
		p := b.Submit(t, b.Get(t, at), at, "type", "okta").Want(t, http.StatusOK).WantText(t, "This token is shown once", "SCIM connector base URL")
		token := scimToken.FindString(p.Text())
		found, err := w.Portal.Directories.List(t.Context(), w.DB, access.System(w.Demo.ID), acme.ID)
		if err != nil || len(found) != 1 || token == "" || !p.Says("/scim/v2/"+found[0].ID) {
			t.Fatalf("%v %v: %s", found, err, p.Text())
		}
		own := at + "/" + found[0].ID
		p = b.Get(t, own).At(t, own)
		if p.Says(token) {
			t.Error("the token is shown again")
		}
		editor := grantableRole(t, w, "editor")
		p = b.Submit(t, p, own+"/rules", "group_0", "Engineering", "role_0", editor.ID).At(t, own).WantText(t, "Saved.")
		b.Submit(t, p, own+"/rules", "group_1", "Everyone", "role_1", w.Demo.Roles[role.Owner].ID).Want(t, http.StatusBadRequest).WantText(t, "a role that this link can not give")
		p = b.Submit(t, b.Get(t, own), own+"/state", "active", "no").At(t, own).WantText(t, "Switched off.")
		p = b.Submit(t, p, own+"/state", "active", "yes").At(t, own)
		second := scimToken.FindString(b.Submit(t, p, own+"/token").Want(t, http.StatusOK).Text())
		if second == "" || second == token {
			t.Errorf("the second token is %q", second)
		}
		if found, err = w.Portal.Directories.List(t.Context(), w.DB, access.System(w.Demo.ID), acme.ID); err != nil || len(found[0].GroupRules) != 1 || found[0].GroupRules[0].RoleID != editor.ID {
			t.Errorf("the rules are %v %v", found[0].GroupRules, err)
		}
	})
}

// grantableRole makes a role that makes nobody an administrator.
func grantableRole(t *testing.T, w *apptest.World, slug string) (r role.Role) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = role.Create(ctx, tx, access.System(w.Demo.ID), role.Set{}, role.New{Name: slug})
		return err
	})
	return r
}

func TestThingsOfOtherOrganizationsAreNotThere(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme, rival := company(t, w, "Acme"), company(t, w, "Rival")
		theirs, l := open(t, w, rival)
		p := theirs.Submit(t, theirs.Get(t, portal.Path+l.ID+"/directory"), portal.Path+l.ID+"/directory", "type", "custom").Want(t, http.StatusOK)
		directory := regexp.MustCompile(`/scim/v2/([0-9a-f]{24})`).FindStringSubmatch(p.Text())[1]
		connection := newConnection(t, theirs, l)
		theirs.Submit(t, theirs.Get(t, portal.Path+l.ID+"/domains"), portal.Path+l.ID+"/domains", "domain", "rival.test").Want(t, http.StatusOK)

		b, own := open(t, w, acme)
		base := portal.Path + own.ID
		form, ok := b.Get(t, base+"/domains").Form(base + "/domains")
		if !ok {
			t.Fatal("there is no form")
		}
		for _, path := range []string{"/directory/" + directory, "/connections/" + connection, "/connections/" + connection + "/certificates", "/connections/" + connection + "/tests/6694c154565dfee5166d1cc7"} {
			b.Get(t, base+path).Want(t, http.StatusNotFound)
		}
		fields := form.Fields
		fields.Set("domain", "rival.test")
		fields.Set("active", "no")
		for _, path := range []string{
			"/directory/" + directory + "/token", "/directory/" + directory + "/rules", "/directory/" + directory + "/state", "/domains/verify", "/domains/remove",
			"/connections/" + connection + "/provider", "/connections/" + connection + "/attributes", "/connections/" + connection + "/test", "/connections/" + connection + "/state",
			"/connections/" + connection + "/delete", "/connections/" + connection + "/certificates", "/connections/" + connection + "/certificates/remove",
		} {
			b.PostForm(t, base+path, fields).Want(t, http.StatusNotFound)
		}
		b.Get(t, portal.Path+l.ID).Want(t, http.StatusNotFound) // nor is their link
	})
}

// newConnection begins a connection over SAML and returns its id.
func newConnection(t *testing.T, b *apptest.Browser, l portal.Link) string {
	t.Helper()
	at := portal.Path + l.ID + "/connections"
	p := b.Submit(t, b.Get(t, at), at, "provider", "saml:okta").Want(t, http.StatusOK)
	return strings.TrimPrefix(p.URL.Path, at+"/")
}

func TestBrokenCookieOpensNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		l, key := link(t, w, company(t, w, "Acme"))
		b := w.Browser(apptest.BaseHost)
		b.Get(t, address(l, key)).Want(t, http.StatusOK)
		for _, value := range []string{"", ":", l.ID, l.ID + ":", ":" + key, l.ID + ":" + key + "x", strings.Repeat("x", 5000), "6694c154565dfee5166d1cc7:" + key} {
			b.SetCookie("__Host-cardea-portal", value)
			b.Get(t, portal.Path+l.ID).Want(t, http.StatusNotFound)
		}
	})
}

func TestSweepForgetsOldLinks(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		acme := company(t, w, "Acme")
		link(t, w, acme)
		w.Clock.Advance(20 * 24 * time.Hour)
		link(t, w, acme)
		w.Clock.Advance(20 * 24 * time.Hour)
		if err := w.Portal.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, err := w.Portal.List(t.Context(), w.DB, access.System(w.Demo.ID), acme.ID); err != nil || len(left) != 1 {
			t.Errorf("left: %v %v", left, err)
		}
	})
}
