package signin_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A tenant that moves to another domain of its own keeps the passkeys that were made for
// the one before: it names that as their domain, at which browsers are told of the new.
func TestPasskeysSurviveAMoveToAnotherDomain(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		answersAt := func(host string, at int) {
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO tenant_hosts (host, tenant_id, created_at) VALUES ($1, $2, $3)", host, shop.ID, at)
				return err
			})
			w.Clock.Advance(2 * time.Second)
		}
		answersAt("id.old.example", 2)
		b, phone := w.Browser("id.old.example"), newPhone()
		phone.site.ID, phone.site.Origin = "id.old.example", "https://id.old.example"
		p := b.Submit(t, b.Get(t, "/signup"), "/signup", "identifier", annMail)
		code := regexp.MustCompile(`\b\d{6}\b`).FindString(w.LettersOf(t, shop.ID, annMail)[0].Text)
		b.Submit(t, p, "/signin/code", "code", code).At(t, "/account")
		touch(t, b, b.Get(t, passkeysPage), passkeysPage+"/add", phone).WantText(t, "Your passkey is ready")

		answersAt("login.new.example", 1)
		signIn := func() apptest.Page {
			t.Helper()
			b := w.Browser("login.new.example")
			return touch(t, b, b.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone)
		}
		phone.site.Origin = "https://login.new.example"
		signIn().Want(t, http.StatusBadRequest) // it is for another domain
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.Tenants.SaveSettings(ctx, tx, access.System(shop.ID), shop.ID, tenant.Settings{SignIn: tenant.SignIn{PasskeyDomain: "id.old.example"}})
		})
		w.Clock.Advance(2 * time.Second)
		signIn().At(t, "/account").WantText(t, annMail)
		phone.site.Origin = "https://evil.new.example"
		signIn().Want(t, http.StatusBadRequest)
		if got := string(w.Browser("id.old.example").Get(t, "/.well-known/webauthn").Want(t, http.StatusOK).Body); !strings.Contains(got, `{"origins":["https://login.new.example"`) {
			t.Errorf("browsers are told %s", got)
		}
	})
}

// Pages of all tenants could ask for passkeys of a domain that is above them.
func TestPasskeyDomainsAreOnesOwn(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		other := w.Tenant(t, "other")
		save := func(id, domain string) (err error) {
			return w.DB.Write(t.Context(), func(tx *database.Tx) error {
				return w.Tenants.SaveSettings(t.Context(), tx, access.System(id), id, tenant.Settings{SignIn: tenant.SignIn{PasskeyDomain: domain}})
			})
		}
		for _, domain := range []string{"", "other." + apptest.BaseHost, "acme.example", "login.acme.example"} {
			if err := save(other.ID, domain); err != nil {
				t.Errorf("%q: %v", domain, err)
			}
		}
		for _, domain := range []string{apptest.BaseHost, "demo." + apptest.BaseHost, "a.other." + apptest.BaseHost, "test", "localhost", "Acme.example", "https://acme.example", "acme.example.", "acme..example", "192.0.2.1", "acme.example:8443", "*.acme.example"} {
			if err := save(other.ID, domain); !errors.Is(err, tenant.ErrSettings) {
				t.Errorf("%q: %v", domain, err)
			}
		}
		if err := save(w.Demo.ID, apptest.BaseHost); err != nil {
			t.Errorf("the default tenant: %v", err)
		}
	})
}

func TestPasskeysCanBeSwitchedOff(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, annMail)
		b := w.Browser(apptest.BaseHost)
		first := b.Get(t, "/account").At(t, "/signin")
		state, options := ask(t, b, first, "/signin/passkey")
		form, _ := a.Get(t, passkeysPage).Form(passkeysPage + "/add")
		settings(t, w, func(s *tenant.SignIn) { s.NoPasskey = true })
		b.Submit(t, first, "/signin/passkey", "state", state, "credential", phone.get(t, options)).Want(t, http.StatusForbidden)
		if p := b.Get(t, "/signin"); strings.Contains(string(p.Body), "passkey") || strings.Contains(string(p.Body), "webauthn") {
			t.Error("the page offers passkeys")
		}
		a.PostForm(t, passkeysPage+"/options", form.Fields).Want(t, http.StatusForbidden)
		p := a.Get(t, passkeysPage)
		if _, ok := p.Form(passkeysPage + "/add"); ok {
			t.Error("the account offers another passkey")
		}
		a.Submit(t, p, passkeysPage+"/remove").WantText(t, "no passkeys yet")
	})
}

// RFC 9470: the answer says what to ask for at the authorization endpoint.
func TestAnOldProofIsAnsweredWithAChallenge(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		l := c.login(t, ann)
		c.Clock.Advance(10*time.Minute + time.Second)
		want := `Bearer realm="cardea", error="insufficient_user_authentication", error_description="Sign in again first: this needs a proof that is not older than ten minutes.", max_age="600"`
		got := c.bearing(l.Access).call(t, "GET", "register", "").Want(t, http.StatusUnauthorized)
		if h := got.Header.Get("WWW-Authenticate"); h != want {
			t.Errorf("without a second factor: %s", h)
		}
		row, err := c.Tenants.ByID(t.Context(), c.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		row.Settings.MFA = tenant.MFA{Mode: tenant.MFARequired, Email: true}
		c.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return c.Tenants.SaveSettings(ctx, tx, access.System(c.Demo.ID), c.Demo.ID, row.Settings)
		})
		c.Clock.Advance(2 * time.Second)
		got = c.bearing(l.Access).call(t, "GET", "register", "")
		if h := got.Header.Get("WWW-Authenticate"); !strings.HasSuffix(h, `, acr_values="`+signin.ACRTwoFactors+`", max_age="600"`) {
			t.Errorf("with a second factor: %s", h)
		}
	})
}
