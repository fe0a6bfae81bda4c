package signin_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
)

// mostStatements is how many statements a request is to send at most, of a server that
// is in use: what it remembers of tenants, applications and keys is warm.
const mostStatements = 6

// aboveMost are the requests that send more, with what they send today: no more than that.
var aboveMost = map[string]int{
	"DELETE passkey/credentials":                  11,
	"GET mfa/backupcode":                          9,
	"PATCH passkey/credentials":                   7,
	"POST /signin/code":                           23, // with the first proof of the address
	"POST /signin/passkey":                        16,
	"POST /signin/password":                       21,
	"POST /signin/password, refused":              8,
	"POST /signin/password, then a second factor": 14,
	"POST /signin/second":                         18,
	"POST /signin/second, refused":                8,
	"POST mfa/enroll":                             7,
	"POST mfa/validate":                           18,
	"POST mfa/validate, refused":                  8,
	"POST mfa/validate, the first code of an app": 12,
	"POST passkey/login":                          14,
	"POST passkey/login, refused":                 8,
	"POST passkey/register":                       12,
	"SAML: who is there":                          7,
	"SAML: the claim":                             31,
}

func most(name string) int {
	if n, above := aboveMost[name]; above {
		return n
	}
	return mostStatements
}

// remembered are the statements that a server in use has sent within the last second.
var remembered = regexp.MustCompile(`^\s*SELECT .* FROM (tenants|tenant_hosts|tenant_clients|applications|signing_keys) WHERE`)

// sends counts the statements of one request.
func (b *bench) sends(t *testing.T, name string, ask func()) {
	t.Helper()
	b.Clock.Advance(2 * time.Second) // nothing is remembered of the user
	c := b.caller()
	c.Client = c.Client.With("Origin", apptest.Origin)
	c.get(t, "/api/v1/auth/status", "identifier", ann).Want(t, http.StatusOK)
	c.Client.Get(t, "/oauth2/jwks").Want(t, http.StatusOK)
	c.Client.Get(t, "/.well-known/webauthn").Want(t, http.StatusOK)
	sent := b.Statements(ask)
	if len(sent) > most(name) { // on a machine so busy that a second goes by, what is remembered is read again
		sent = slices.DeleteFunc(sent, remembered.MatchString)
	}
	t.Logf("%s: %d", name, len(sent))
	if most := most(name); len(sent) > most {
		t.Errorf("%s sends %d statements, %d at most:\n%s", name, len(sent), most, strings.Join(sent, "\n"))
	}
}

func TestStatementsOfPasskeysByAPI(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, p := b.caller(), newPhone()
		l := c.login(t, ann)
		own := c.bearing(l.Access)
		var code string
		var options []byte
		b.sends(t, "GET passkey/register", func() { code, options = begun(t, own.call(t, "GET", "register", "")) })
		made := p.create(t, options)
		b.sends(t, "POST passkey/register", func() { own.call(t, "POST", "register", made, "auth_code", code).Want(t, http.StatusOK) })
		b.sends(t, "GET passkey/credentials", func() { own.call(t, "GET", "credentials", "").Want(t, http.StatusOK) })
		b.sends(t, "PATCH passkey/credentials", func() {
			own.call(t, "PATCH", "credentials/"+virtualIDOf(p), `{"name":"Mine"}`).Want(t, http.StatusOK)
		})
		b.sends(t, "GET passkey/login", func() { code, options = begun(t, c.call(t, "GET", "login", "", "identifier", ann)) })
		b.sends(t, "GET passkey/status", func() { c.call(t, "GET", "status", "", "auth_code", code).Want(t, http.StatusOK) })
		signed := p.get(t, options)
		b.sends(t, "POST passkey/login", func() {
			c.call(t, "POST", "login", signed, "auth_code", code, "identifier", ann).Want(t, http.StatusOK)
		})
		b.sends(t, "GET passkey/login, without an identifier", func() { code, options = begun(t, c.call(t, "GET", "login", "")) })
		signed = newPhone().get(t, options)
		b.sends(t, "POST passkey/login, refused", func() {
			c.call(t, "POST", "login", signed, "auth_code", code).Want(t, http.StatusBadRequest)
		})
		b.sends(t, "DELETE passkey/credentials", func() { own.call(t, "DELETE", "credentials/"+virtualIDOf(p), "").Want(t, http.StatusOK) })
	})
}

func TestStatementsOfSecondFactorsByAPI(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		own := c.bearing(c.login(t, ann).Access)
		b.sends(t, "POST mfa/enroll", func() {
			own.post(t, mfaAPI+"enroll", map[string]string{"authenticator_type": "otp"}).Want(t, http.StatusOK)
		})
		app, err := b.MFA.Start(t.Context(), access.System(b.Demo.ID), u.ID, "Phone")
		if err != nil {
			t.Fatal(err)
		}
		b.sends(t, "GET mfa/qr-code", func() { own.get(t, mfaAPI+"qr-code", "authenticator", app.ID).Want(t, http.StatusOK) })
		first := mfa.Code(app.Key, b.Clock.Now())
		b.sends(t, "POST mfa/validate, the first code of an app", func() {
			own.validate(t, map[string]string{"authenticator_id": app.ID, "otp": first}).Want(t, http.StatusOK)
		})
		b.Clock.Advance(time.Minute)
		state := c.send(t, ann)
		c.verify(t, state, c.Code(t, ann)).Want(t, http.StatusOK)
		var m *caller
		b.sends(t, "POST mfa/token", func() {
			m = c.with(c.post(t, mfaAPI+"token", map[string]string{"state": state}).Want(t, http.StatusOK).Object(t)["access_token"].(string))
		})
		b.sends(t, "GET mfa/authenticators", func() { m.get(t, mfaAPI+"authenticators").Want(t, http.StatusOK) })
		b.sends(t, "POST mfa/initiate", func() {
			m.post(t, mfaAPI+"initiate", map[string]string{"authenticator_type": "otp"}).Want(t, http.StatusOK)
		})
		wrong := notOTP(b.World, app)
		b.sends(t, "POST mfa/validate, refused", func() { m.validate(t, map[string]string{"otp": wrong}).Want(t, http.StatusBadRequest) })
		right := otp(b.World, app)
		var bearer string
		b.sends(t, "POST mfa/validate", func() {
			bearer = m.validate(t, map[string]string{"otp": right}).Want(t, http.StatusOK).Object(t)["access_token"].(string)
		})
		b.sends(t, "GET mfa/backupcode", func() { c.with(bearer).get(t, mfaAPI+"backupcode").Want(t, http.StatusOK) })
	})
}

func TestStatementsOfPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		p := b.passwordPage(t, ann)
		state := p.URL.Query().Get("state")
		b.sends(t, "GET /signin/password", func() { b.Visit(t, "/signin/password?state="+state).Want(t, http.StatusOK) })
		b.sends(t, "POST /signin/password, then a second factor", func() {
			b.Press(t, p, "/signin/password", "password", secret).Want(t, http.StatusSeeOther)
		})
		b.sends(t, "GET /signin/second", func() { p = b.Visit(t, "/signin/second?state="+state).Want(t, http.StatusOK) })
		wrong := notOTP(b.World, app)
		b.sends(t, "POST /signin/second, refused", func() { b.Press(t, p, "/signin/second", "code", wrong).Want(t, http.StatusBadRequest) })
		right := otp(b.World, app)
		b.sends(t, "POST /signin/second", func() { b.Press(t, p, "/signin/second", "code", right).Want(t, http.StatusSeeOther) })

		policy(t, b.World, tenant.MFA{Mode: tenant.MFAOff})
		other := b.another()
		p = other.passwordPage(t, ann)
		b.sends(t, "POST /signin/password, refused", func() { other.Press(t, p, "/signin/password", "password", "wrong").Want(t, http.StatusUnauthorized) })
		b.Clock.Advance(time.Minute)
		b.sends(t, "POST /signin/password", func() { other.Press(t, p, "/signin/password", "password", secret).Want(t, http.StatusSeeOther) })

		b.prove(t, u.ID) // else the code ends what was there before
		other = b.another()
		p = other.identify(t, ann)
		code := b.Code(t, ann)
		b.sends(t, "POST /signin/code", func() { other.Press(t, p, "/signin/code", "code", code).Want(t, http.StatusSeeOther) })
	})
}

func TestStatementsOfPasskeysOnPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, phone := withPasskey(t, b.World, ann)
		p := b.Get(t, "/signin")
		form, _ := p.Form("/signin/passkey")
		form.Fields.Set("able", "1")
		b.sends(t, "POST /signin/passkey/options", func() { b.PostForm(t, "/signin/passkey/options", form.Fields).Want(t, http.StatusOK) })
		state, options := ask(t, b.Browser, p, "/signin/passkey")
		signed := phone.get(t, options)
		b.sends(t, "POST /signin/passkey", func() {
			b.Press(t, p, "/signin/passkey", "state", state, "credential", signed).Want(t, http.StatusSeeOther)
		})
	})
}

func TestStatementsOfSAML(t *testing.T) {
	dev(t, func(t *testing.T, b *bench) {
		b.spa(t)
		b.saml(t, func(*sso.Settings) {})
		b.answer(t, b.Submit(t, b.authorize(t), "/signin", "identifier", annThere)) // she is known from now on
		other := b.another()
		p := other.authorize(t)
		p = b.leadsOn(t, "SAML: who is there", func() apptest.Page { return other.Press(t, p, "/signin", "identifier", annThere) })
		p = other.Submit(t, other.Get(t, p.Location().String()), "/saml/answer", "person", annThere)
		form := p.Forms()[0]
		p = b.leadsOn(t, "SAML: the answer", func() apptest.Page { return other.PostForm(t, form.Action, form.Fields) })
		b.leadsOn(t, "SAML: the claim", func() apptest.Page { return other.Visit(t, p.Location().String()) })
		other.wantIn(t, true)
	})
}

// leadsOn is sends for a page that leads on.
func (b *bench) leadsOn(t *testing.T, name string, open func() apptest.Page) (p apptest.Page) {
	t.Helper()
	b.sends(t, name, func() { p = open() })
	if p.Status != http.StatusSeeOther {
		t.Fatalf("%s leads to %d %s", name, p.Status, p.Text())
	}
	return p
}
