package signin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
)

const passkeyAPI = passwordlessAPI + "passkey/"

// A phone is an authenticator with one passkey, of a person who is verified.
type phone struct {
	virtualwebauthn.Authenticator
	site virtualwebauthn.RelyingParty
	key  virtualwebauthn.Credential
}

func newPhone() *phone {
	p := &phone{Authenticator: virtualwebauthn.NewAuthenticator(), site: virtualwebauthn.RelyingParty{ID: apptest.BaseHost, Name: "Demo", Origin: "https://" + apptest.BaseHost}}
	for p.key = virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(p.key.Key.AttestationData()) != 77; { // its maker leaves leading zeros out
		p.key = virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
	}
	return p
}

// create answers options of navigator.credentials.create.
func (p *phone) create(t *testing.T, options []byte) string {
	t.Helper()
	asked, err := virtualwebauthn.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	p.Options.UserHandle = []byte(asked.UserID)
	return virtualwebauthn.CreateAttestationResponse(p.site, p.Authenticator, p.key, *asked)
}

// get answers options of navigator.credentials.get.
func (p *phone) get(t *testing.T, options []byte) string {
	t.Helper()
	asked, err := virtualwebauthn.ParseAssertionOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	return virtualwebauthn.CreateAssertionResponse(p.site, p.Authenticator, p.key, *asked)
}

// bearing returns the caller with a user's access token.
func (c *caller) bearing(token string) *caller {
	other := *c
	other.Client.Key = token
	return &other
}

// call sends text as the body of a call with the application's id in the header.
func (c *caller) call(t *testing.T, method, path, body string, pairs ...string) apptest.Answer {
	t.Helper()
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	var content any
	if body != "" {
		content = json.RawMessage(body)
	}
	return c.Client.With("X-Client-Id", c.clientID).Do(t, method, passkeyAPI+path+"?"+query.Encode(), content)
}

// begun is the answer that begins a ceremony.
func begun(t *testing.T, a apptest.Answer) (code string, options json.RawMessage) {
	t.Helper()
	var out struct {
		AuthCode  string          `json:"auth_code"`
		PublicKey json.RawMessage `json:"publicKey"`
	}
	a.Want(t, http.StatusOK).Into(t, &out)
	return out.AuthCode, out.PublicKey
}

// register adds a passkey of the token's user.
func (c *caller) register(t *testing.T, p *phone, token string) apptest.Answer {
	t.Helper()
	code, options := begun(t, c.bearing(token).call(t, "GET", "register", ""))
	return c.bearing(token).call(t, "POST", "register", p.create(t, options), "auth_code", code)
}

// owner signs somebody up and registers a passkey for them.
func (c *caller) owner(t *testing.T, email string) (*phone, login) {
	t.Helper()
	p, l := newPhone(), c.login(t, email)
	c.register(t, p, l.Access).Want(t, http.StatusOK)
	return p, l
}

func (c *caller) signIn(t *testing.T, p *phone, identifier string) apptest.Answer {
	t.Helper()
	code, options := begun(t, c.call(t, "GET", "login", "", "identifier", identifier))
	return c.call(t, "POST", "login", p.get(t, options), "auth_code", code, "identifier", identifier)
}

func TestAPIPasskeyRegisters(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, p := b.caller(), newPhone()
		l := c.login(t, ann)
		begin := c.bearing(l.Access).call(t, "GET", "register", "").Want(t, http.StatusOK)
		wantKeys(t, begin.Body, "auth_code", "publicKey")
		wantKeys(t, part(t, begin.Body, "publicKey"), "rp", "user", "challenge", "pubKeyCredParams", "timeout", "authenticatorSelection", "attestation", "extensions")
		wantKeys(t, part(t, part(t, begin.Body, "publicKey"), "rp"), "name", "id")
		wantKeys(t, part(t, part(t, begin.Body, "publicKey"), "user"), "name", "displayName", "id")
		code, options := begun(t, begin)
		if len(code) != 24 {
			t.Errorf("auth_code %q", code)
		}
		asked, err := virtualwebauthn.ParseAttestationOptions(string(options))
		if err != nil || asked.UserID != l.Profile.ID || asked.UserName != ann || asked.UserDisplayName != ann || len(asked.Challenge) != 32 || asked.RelyingPartyID != apptest.BaseHost {
			t.Errorf("%+v, %v", asked, err)
		}
		made := c.bearing(l.Access).call(t, "POST", "register", p.create(t, options), "auth_code", code).Want(t, http.StatusOK)
		keys := []string{"id", "Name", "SignCount", "LastUsedAt", "CreatedAt", "UpdatedAt", "public_key", "attestation_type", "aaguid", "transports", "backup_eligible", "backup_state"}
		wantKeys(t, made.Body, append(keys[:len(keys):len(keys)], "status", "message")...)
		list := c.bearing(l.Access).call(t, "GET", "credentials", "").Want(t, http.StatusOK).List(t)
		if len(list) != 1 || list[0]["Name"] != nil || list[0]["UpdatedAt"] != "0001-01-01T00:00:00Z" || list[0]["LastUsedAt"] != "0001-01-01T00:00:00Z" {
			t.Errorf("%v", list)
		}
		var raw []json.RawMessage
		c.bearing(l.Access).call(t, "GET", "credentials", "").Into(t, &raw)
		wantKeys(t, raw[0], keys...)
		if mail := b.Letters(t, ann); !strings.Contains(mail[0].Text, "passkey") && len(mail) < 2 {
			t.Errorf("no notice: %v", mail)
		}
		again := c.bearing(l.Access).call(t, "GET", "register", "").Want(t, http.StatusOK)
		if !strings.Contains(string(again.Body), `"excludeCredentials":[{"type":"public-key","id":"`+list[0]["id"].(string)) {
			t.Errorf("%s", again.Body)
		}
	})
}

func TestAPIPasskeySignsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		for _, identifier := range []string{ann, "ANN@example.com", ""} {
			begin := c.call(t, "GET", "login", "", "identifier", identifier).Want(t, http.StatusOK)
			wantKeys(t, begin.Body, "auth_code", "publicKey")
			wantKeys(t, part(t, begin.Body, "publicKey"), "challenge", "timeout", "rpId", "userVerification")
			code, options := begun(t, begin)
			if s := c.call(t, "GET", "status", "", "auth_code", code, "identifier", identifier).Object(t); s["status"] != "pending" {
				t.Errorf("%v", s)
			}
			a := c.call(t, "POST", "login", p.get(t, options), "auth_code", code, "identifier", identifier).Want(t, http.StatusOK)
			wantKeys(t, a.Body, "authenticated", "access_token", "refresh_token", "token_type", "expires_at", "profile", "token", "user_id")
			got := a.Object(t)
			if got["authenticated"] != true || got["user_id"] != l.Profile.ID || got["token"] != got["access_token"] {
				t.Errorf("%s", a.Body)
			}
			c.refresh(t, got["refresh_token"].(string)).Want(t, http.StatusOK)
			who := c.whoami(t, got["access_token"].(string)).Want(t, http.StatusOK).Object(t)["session"].(map[string]any)
			if diff := cmp.Diff([]any{"hwk", "user", "mfa"}, who["amr"]); diff != "" {
				t.Errorf("amr: %s", diff)
			}
			if s := c.call(t, "GET", "status", "", "auth_code", code).Object(t); s["status"] != "authenticated" {
				t.Errorf("%v", s)
			}
		}
		if used := c.bearing(l.Access).call(t, "GET", "credentials", "").List(t)[0]["LastUsedAt"]; used == "0001-01-01T00:00:00Z" {
			t.Errorf("last used %v", used)
		}
	})
}

// Forms of the body that the contract's prose and its sister's page have.
func TestAPIPasskeyIsTakenInBothForms(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		for _, write := range []func(string) any{
			func(s string) any { return map[string]any{"passkey": json.RawMessage(s)} },
			func(s string) any { return map[string]any{"passkey": s} },
		} {
			code, options := begun(t, c.call(t, "GET", "login", "", "identifier", ann))
			body, err := json.Marshal(write(p.get(t, options)))
			if err != nil {
				t.Fatal(err)
			}
			c.call(t, "POST", "login", string(body), "auth_code", code, "identifier", ann).Want(t, http.StatusOK)
		}
		code, options := begun(t, c.bearing(l.Access).call(t, "GET", "register", ""))
		body, err := json.Marshal(map[string]any{"email": ann, "passkey": newPhone().create(t, options)})
		if err != nil {
			t.Fatal(err)
		}
		c.bearing(l.Access).call(t, "POST", "register", string(body), "auth_code", code).Want(t, http.StatusOK)
	})
}

func TestAPIPasskeyLoginRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, _ := c.owner(t, ann)
		c.login(t, "bo@example.com")
		second := c.second(t, tenant.OAuth{})
		for name, try := range map[string]struct {
			code string
			do   func(code string, options []byte) apptest.Answer
		}{
			"used": {"passkey_expired", func(code string, options []byte) apptest.Answer {
				c.call(t, "POST", "login", p.get(t, options), "auth_code", code).Want(t, http.StatusOK)
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", code)
			}},
			"without a code": {"passkey_expired", func(_ string, options []byte) apptest.Answer {
				return c.call(t, "POST", "login", p.get(t, options))
			}},
			"with a made-up code": {"passkey_expired", func(_ string, options []byte) apptest.Answer {
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", "0123456789abcdef01234567")
			}},
			"for another sign-in": {"passkey_expired", func(_ string, options []byte) apptest.Answer {
				code, _ := begun(t, c.call(t, "GET", "login", "", "identifier", ann))
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", code)
			}},
			"for a sign-in by mail": {"passkey_expired", func(_ string, options []byte) apptest.Answer {
				c.Clock.Advance(time.Minute)
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", c.send(t, ann))
			}},
			"for another identifier": {"passkey_expired", func(code string, options []byte) apptest.Answer {
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", code, "identifier", "bo@example.com")
			}},
			"for another application": {"passkey_expired", func(code string, options []byte) apptest.Answer {
				return second.call(t, "POST", "login", p.get(t, options), "auth_code", code)
			}},
			"too late": {"passkey_expired", func(code string, options []byte) apptest.Answer {
				c.Clock.Advance(5 * time.Minute)
				return c.call(t, "POST", "login", p.get(t, options), "auth_code", code)
			}},
			"unverified": {"user_verification_required", func(code string, options []byte) apptest.Answer {
				other := *p
				other.Options.UserNotVerified = true
				return c.call(t, "POST", "login", other.get(t, options), "auth_code", code)
			}},
			"another phone": {"passkey_refused", func(code string, options []byte) apptest.Answer {
				return c.call(t, "POST", "login", newPhone().get(t, options), "auth_code", code)
			}},
			"at another site": {"passkey_refused", func(code string, options []byte) apptest.Answer {
				other := *p
				other.site.Origin = "https://evil.example"
				return c.call(t, "POST", "login", other.get(t, options), "auth_code", code)
			}},
			"nothing": {"passkey_refused", func(code string, _ []byte) apptest.Answer {
				return c.call(t, "POST", "login", "", "auth_code", code)
			}},
		} {
			t.Run(name, func(t *testing.T) {
				code, options := begun(t, c.call(t, "GET", "login", "", "identifier", ann))
				try.do(code, options).WantError(t, http.StatusBadRequest, try.code)
			})
		}
		for _, named := range []string{"bo@example.com", "nobody@example.com"} {
			code, options := begun(t, c.call(t, "GET", "login", "", "identifier", named))
			c.call(t, "POST", "login", p.get(t, options), "auth_code", code).WantError(t, http.StatusBadRequest, "passkey_refused")
		}
		c.call(t, "GET", "login", "", "identifier", "ann@").WantError(t, http.StatusBadRequest, "invalid_email")
		nobody := *c
		nobody.clientID = ""
		nobody.call(t, "GET", "login", "", "identifier", ann).WantError(t, http.StatusBadRequest, "invalid_client")
		c.second(t, tenant.OAuth{ThirdParty: true}).call(t, "GET", "login", "", "identifier", ann).WantError(t, http.StatusForbidden, "way_not_offered")
	})
}

// C6 107.
func TestAPIPasskeyTellsNobodyWhoIsKnown(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		c.owner(t, ann)
		c.login(t, "bo@example.com")
		shapes := map[string]bool{}
		for _, identifier := range []string{ann, "bo@example.com", "zo@example.com"} {
			begin := c.call(t, "GET", "login", "", "identifier", identifier).Want(t, http.StatusOK)
			code, options := begun(t, begin)
			text := strings.NewReplacer(code, "code", string(part(t, options, "challenge")), "challenge").Replace(string(begin.Body))
			status := c.call(t, "GET", "status", "", "identifier", identifier).Want(t, http.StatusOK)
			shapes[text+string(status.Body)] = true
		}
		if len(shapes) != 1 {
			t.Errorf("%v", shapes)
		}
	})
}

func TestAPIPasskeyWorksOnPagesOfTheApplication(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := newPhone(), c.login(t, ann)
		p.site.Origin = "https://shop.example.com"
		c.register(t, p, l.Access).WantError(t, http.StatusBadRequest, "passkey_refused")
		other := c.second(t, tenant.OAuth{})
		c.Write(t, func(ctx context.Context, tx *database.Tx) error {
			app, err := c.Tenants.ByClientID(ctx, other.clientID)
			if err == nil {
				app.AllowedOrigins = []string{p.site.Origin}
				_, err = c.Tenants.SaveApplication(ctx, tx, access.System(c.Demo.ID), app)
			}
			return err
		})
		p.site.Origin = "https://" + apptest.BaseHost
		c.register(t, p, l.Access).Want(t, http.StatusOK)
		p.site.Origin = "https://shop.example.com"
		other.signIn(t, p, ann).Want(t, http.StatusOK)
		c.signIn(t, p, ann).WantError(t, http.StatusBadRequest, "passkey_refused")
		c.Clock.Advance(2 * time.Second)
		got := c.Client.Get(t, "/.well-known/webauthn").Want(t, http.StatusOK)
		wantBody(t, got, `{"origins":["https://cardea.test","https://app.example.com","https://shop.example.com"]}`)
	})
}

func TestAPIPasskeyNeedsTheUsersOwnFreshToken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		id := virtualIDOf(p)
		bo := c.login(t, "bo@example.com")
		second := c.second(t, tenant.OAuth{})
		calls := func(c *caller, token string) map[string]apptest.Answer {
			a := c.bearing(token)
			return map[string]apptest.Answer{
				"list":   a.call(t, "GET", "credentials", ""),
				"begin":  a.call(t, "GET", "register", ""),
				"add":    a.call(t, "POST", "register", "{}", "auth_code", "0123456789abcdef01234567"),
				"name":   a.call(t, "PATCH", "credentials/"+id, `{"name":"mine"}`),
				"remove": a.call(t, "DELETE", "credentials/"+id, ""),
			}
		}
		for name, a := range calls(c, "") {
			t.Run("no token/"+name, func(t *testing.T) { a.WantError(t, http.StatusUnauthorized, "access_token_required") })
		}
		for name, a := range calls(c, "nonsense") {
			t.Run("nonsense/"+name, func(t *testing.T) { a.WantError(t, http.StatusUnauthorized, "invalid_token") })
		}
		for name, a := range calls(second, l.Access) {
			t.Run("another application's/"+name, func(t *testing.T) { a.WantError(t, http.StatusUnauthorized, "invalid_token") })
		}
		theirs := calls(c, bo.Access)
		for _, name := range []string{"name", "remove"} {
			t.Run("another user's/"+name, func(t *testing.T) { theirs[name].WantError(t, http.StatusNotFound, "passkey_not_found") })
		}
		if n := len(theirs["list"].List(t)); n != 0 {
			t.Errorf("bo sees %d", n)
		}
		l = c.login(t, ann)
		c.Clock.Advance(10*time.Minute + time.Second)
		old := calls(c, l.Access)
		for _, name := range []string{"begin", "add", "name", "remove"} {
			t.Run("an old proof/"+name, func(t *testing.T) {
				old[name].WantError(t, http.StatusUnauthorized, "insufficient_user_authentication")
			})
		}
		if n := len(old["list"].Want(t, http.StatusOK).List(t)); n != 1 {
			t.Errorf("ann sees %d", n)
		}
		c.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := session.EndAll(ctx, tx, access.System(c.Demo.ID), l.Profile.ID, "test")
			return err
		})
		c.Clock.Advance(2 * time.Second)
		for name, a := range calls(c, l.Access) {
			t.Run("an ended session/"+name, func(t *testing.T) { a.WantError(t, http.StatusUnauthorized, "invalid_token") })
		}
	})
}

func virtualIDOf(p *phone) string {
	var out struct{ ID string }
	if err := json.Unmarshal([]byte(virtualwebauthn.CreateAssertionResponse(p.site, p.Authenticator, p.key, virtualwebauthn.AssertionOptions{})), &out); err != nil {
		panic(err)
	}
	return out.ID
}

func TestAPIPasskeyRegistrationIsOfItsSession(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		l, bo := c.login(t, ann), c.login(t, "bo@example.com")
		code, options := begun(t, c.bearing(l.Access).call(t, "GET", "register", ""))
		made := newPhone().create(t, options)
		c.bearing(bo.Access).call(t, "POST", "register", made, "auth_code", code).WantError(t, http.StatusBadRequest, "passkey_expired")
		c.bearing(l.Access).call(t, "POST", "register", made, "auth_code", "0123456789abcdef01234567").WantError(t, http.StatusBadRequest, "passkey_expired")
		c.bearing(l.Access).call(t, "POST", "register", made, "auth_code", code).Want(t, http.StatusOK)
		unverified := newPhone()
		unverified.Options.UserNotVerified = true
		c.register(t, unverified, l.Access).WantError(t, http.StatusBadRequest, "user_verification_required")
		p := newPhone()
		c.register(t, p, l.Access).Want(t, http.StatusOK)
		c.register(t, p, bo.Access).WantError(t, http.StatusConflict, "passkey_exists")
	})
}

func TestAPIPasskeyIsNamedAndRemoved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		id := virtualIDOf(p)
		a := c.bearing(l.Access)
		wantKeys(t, a.call(t, "PATCH", "credentials/"+id, `{"name":"My phone"}`).Want(t, http.StatusOK).Body, "status", "message")
		got := a.call(t, "GET", "credentials", "").List(t)[0]
		if got["Name"] != "My phone" || got["UpdatedAt"] == "0001-01-01T00:00:00Z" {
			t.Errorf("%v", got)
		}
		a.call(t, "PATCH", "credentials/"+id, `{}`).WantError(t, http.StatusBadRequest, "invalid_passkey_name")
		a.call(t, "DELETE", "credentials/"+id, "").Want(t, http.StatusOK)
		a.call(t, "DELETE", "credentials/"+id, "").WantError(t, http.StatusNotFound, "passkey_not_found")
		c.signIn(t, p, ann).WantError(t, http.StatusBadRequest, "passkey_refused")
	})
}

func TestTheOnlyWayToSignInStays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		other := newPhone()
		c.register(t, other, l.Access).Want(t, http.StatusOK)
		b.settings(t, tenant.SignIn{NoEmail: true})
		a := c.bearing(l.Access)
		a.call(t, "DELETE", "credentials/"+virtualIDOf(p), "").Want(t, http.StatusOK)
		a.call(t, "DELETE", "credentials/"+virtualIDOf(other), "").WantError(t, http.StatusConflict, "last_passkey")
		c.signIn(t, other, ann).Want(t, http.StatusOK)
	})
}

func TestAPIPasskeyRaceHandsOutOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, _ := c.owner(t, ann)
		code, options := begun(t, c.call(t, "GET", "login", "", "identifier", ann))
		answer := p.get(t, options)
		var won atomic.Int64
		atOnce(20, func(i int) {
			if a := c.from(i).call(t, "POST", "login", answer, "auth_code", code); a.Status == http.StatusOK {
				won.Add(1)
			} else {
				a.WantError(t, http.StatusBadRequest, "passkey_expired")
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d of 20", won.Load())
		}
	})
}

func TestAPIPasskeyOfADisabledUserStaysOut(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		p, l := c.owner(t, ann)
		b.disable(t, l.Profile.ID)
		c.signIn(t, p, ann).WantError(t, http.StatusForbidden, "account_disabled")
	})
}

func TestAPIPasskeyChallengesAreLimited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		n := 0
		for c.call(t, "GET", "login", "", "identifier", ann).Status == http.StatusOK {
			if n++; n > 310 {
				t.Fatal("no end")
			}
		}
		if n < 300 {
			t.Errorf("only %d", n)
		}
		c.call(t, "GET", "login", "", "identifier", ann).WantError(t, http.StatusTooManyRequests, "rate_limited")
		c.from(7).call(t, "GET", "login", "", "identifier", ann).Want(t, http.StatusOK)
	})
}
