package oidc_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
)

const credentials = "client_credentials"

func TestClientCredentials(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a := p.app(t, tenant.OAuth{Scopes: []string{"users:read", "users:write"}, Resources: []string{"https://api.example.com"}})
		byBasic := wantTokens(t, p.tokens(t, a, "grant_type", credentials))
		byPost := wantTokens(t, p.post(t, "/oauth2/token", "grant_type", credentials, "client_id", a.ClientID, "client_secret", a.secret,
			"scope", "users:read", "resource", "https://api.example.com", "unknown", "x"))
		if byBasic.Type != "Bearer" || byBasic.Scope != "users:read users:write" || byBasic.ExpiresIn != 900 || byBasic.Refresh != "" || byBasic.ID != "" {
			t.Errorf("got %+v", byBasic)
		}
		claims := payload(t, byPost.Access)
		if claims["aud"] != "https://api.example.com" || claims["scope"] != "users:read" || claims["sub"] != a.ClientID || claims["iss"] != origin {
			t.Errorf("got %v", claims)
		}
		p.wantActive(t, a, byBasic.Access, true)
		if before := p.events(t, "token.issued"); before != 0 {
			t.Errorf("%d events before the flush", before)
		}
		if err := p.Provider.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Provider.Flush(t.Context()); err != nil { // there is nothing left
			t.Fatal(err)
		}
		if after := p.events(t, "token.issued"); after != 1 {
			t.Errorf("%d events after the flush, want 1", after)
		}
	})
}

func TestTokenRequestIsRefused(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a := p.app(t, tenant.OAuth{Scopes: []string{"users:read"}})
		public := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantCode}})
		for name, c := range map[string]struct {
			pairs  []string
			status int
			code   string
		}{
			"no grant type":      {nil, 400, "invalid_request"},
			"empty grant type":   {[]string{"grant_type", ""}, 400, "invalid_request"},
			"unknown grant type": {[]string{"grant_type", "implicit"}, 400, "unsupported_grant_type"},
			"password":           {[]string{"grant_type", "password", "username", annMail, "password", annSecret}, 400, "unauthorized_client"},
			"device":             {[]string{"grant_type", tenant.GrantDevice, "device_code", "x"}, 400, "unauthorized_client"},
			"exchange":           {[]string{"grant_type", tenant.GrantExchange}, 400, "unauthorized_client"},
			"scope beyond":       {[]string{"grant_type", credentials, "scope", "users:read users:write"}, 400, "invalid_scope"},
			"openid":             {[]string{"grant_type", credentials, "scope", "openid"}, 400, "invalid_scope"},
			"resource unknown":   {[]string{"grant_type", credentials, "resource", "https://api.example.com"}, 400, "invalid_target"},
			"parameter twice":    {[]string{"grant_type", credentials, "scope", "users:read", "scope", "users:read"}, 400, "invalid_request"},
			"no code":            {[]string{"grant_type", "authorization_code"}, 400, "invalid_request"},
			"unknown code":       {[]string{"grant_type", "authorization_code", "code", "x"}, 400, "invalid_grant"},
			"no refresh token":   {[]string{"grant_type", "refresh_token"}, 400, "invalid_request"},
			"a made-up one":      {[]string{"grant_type", "refresh_token", "refresh_token", "rt_x"}, 400, "invalid_grant"},
		} {
			t.Run(name, func(t *testing.T) { wantOAuth(t, p.tokens(t, a, c.pairs...), c.status, c.code) })
		}
		wantOAuth(t, p.post(t, "/oauth2/token", "grant_type", credentials, "client_id", public.ClientID), 400, "unauthorized_client")
		form := "grant_type=" + credentials
		wantOAuth(t, p.as(a).With("Content-Type", "application/json").Post(t, "/oauth2/token", form), 400, "invalid_request")
		wantOAuth(t, p.as(a).With("Content-Type", "application/x-www-form-urlencoded").Post(t, "/oauth2/token", form+"&x="+strings.Repeat("x", 65<<10)), 413, "invalid_request")
		wantOAuth(t, p.as(a).Get(t, "/oauth2/token?"+form), 405, "invalid_request")
		// In the address nothing counts.
		wantOAuth(t, p.client.With("Content-Type", "application/x-www-form-urlencoded").Post(t, "/oauth2/token?"+form+"&client_secret="+a.secret, ""), 401, "invalid_client")
	})
}

func TestClientAuthenticationIsRefused(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a, other := p.app(t, tenant.OAuth{}), p.app(t, tenant.OAuth{})
		foreign := p.appOf(t, p.Tenant(t, "acme").ID, tenant.OAuth{})
		public := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		keyed := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthKey, JWKS: newES256(t, "k").jwks(t)})
		secretOf := func(a app, secret string) app { a.secret = secret; return a }
		for name, c := range map[string]struct {
			by    apptest.Client
			pairs []string
			basic bool
		}{
			"secret of another":          {p.as(secretOf(a, other.secret)), nil, true},
			"wrong secret":               {p.as(secretOf(a, "wrong")), nil, true},
			"empty secret":               {p.as(secretOf(a, "")), nil, true},
			"empty secret posted":        {p.client, []string{"client_id", a.ClientID, "client_secret", ""}, false},
			"no secret":                  {p.client, []string{"client_id", a.ClientID}, false},
			"of another tenant":          {p.as(foreign), nil, true},
			"unknown":                    {p.client, []string{"client_id", "cli_x", "client_secret", "x"}, false},
			"two methods":                {p.as(a), []string{"client_id", a.ClientID, "client_secret", a.secret}, true},
			"secret for a public client": {p.client, []string{"client_id", public.ClientID, "client_secret", "x"}, false},
			"secret in place of a key":   {p.client, []string{"client_id", keyed.ClientID, "client_secret", keyed.secret}, false},
			"nothing in place of a key":  {p.client, []string{"client_id", keyed.ClientID}, false},
			"API key":                    {p.Demo.Client, []string{"client_id", a.ClientID}, false},
		} {
			t.Run(name, func(t *testing.T) {
				answer := post(t, c.by, "/oauth2/token", append(c.pairs, "grant_type", credentials)...)
				wantOAuth(t, answer, 401, "invalid_client")
				if challenged := strings.HasPrefix(answer.Header.Get("WWW-Authenticate"), "Basic "); challenged != c.basic {
					t.Errorf("WWW-Authenticate is %q", answer.Header.Get("WWW-Authenticate"))
				}
			})
		}
	})
}

func TestGuessingAtSecretsIsLimited(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a := p.app(t, tenant.OAuth{})
		wrong := a
		wrong.secret = "cs_wrong"
		limited := 0
		for range 30 {
			if answer := p.tokens(t, wrong, "grant_type", credentials); answer.Status == http.StatusTooManyRequests {
				wantOAuth(t, answer, 429, "rate_limited")
				limited++
			}
		}
		if limited == 0 {
			t.Error("30 wrong secrets, and no limit")
		}
		wantTokens(t, p.tokens(t, a, "grant_type", credentials)) // its owner is not locked out
	})
}

func TestPrivateKeyJWT(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		key := newES256(t, "k")
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthKey, JWKS: key.jwks(t)})
		ask := func(claims map[string]any) apptest.Answer {
			return p.post(t, "/oauth2/token", "grant_type", credentials, "client_assertion", key.sign(t, nil, claims),
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		}
		claims := map[string]any{"iss": a.ClientID, "sub": a.ClientID, "aud": origin, "jti": "1", "exp": p.Clock.Now().Add(time.Minute).Unix()}
		wantTokens(t, ask(claims))
		wantOAuth(t, ask(claims), 401, "invalid_client") // replayed
		wantTokens(t, ask(with(claims, "jti", "2", "aud", origin+"/oauth2/token")))
		wantOAuth(t, ask(with(claims, "jti", "3", "aud", "https://demo."+apptest.BaseHost)), 401, "invalid_client")
		p.Clock.Advance(2 * time.Minute)
		wantOAuth(t, ask(with(claims, "jti", "4")), 401, "invalid_client") // expired

		var wg sync.WaitGroup
		var won atomic.Int64
		again := key.sign(t, nil, with(claims, "jti", "5", "exp", p.Clock.Now().Add(time.Minute).Unix()))
		for range 20 {
			wg.Go(func() {
				answer := p.post(t, "/oauth2/token", "grant_type", credentials, "client_assertion", again, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
				if answer.Status == http.StatusOK {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("one assertion was good %d times at once", won.Load())
		}
	})
}

func TestClientKeysAreFetchedAndKept(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		first, second := newES256(t, "1"), newES256(t, "2")
		var served atomic.Pointer[[]byte]
		keys := []byte(first.jwks(t))
		served.Store(&keys)
		var asked atomic.Int64
		site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			_, _ = w.Write(*served.Load())
		}))
		defer site.Close()
		p.Provider.Outbound = &outbound.Client{AllowHTTP: true, AnyPort: true, AllowHosts: []string{"127.0.0.1"}}
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthKey, JWKSURI: site.URL + "/jwks"})
		n := 0
		ask := func(by signer) apptest.Answer {
			n++
			claims := map[string]any{"iss": a.ClientID, "sub": a.ClientID, "aud": origin, "jti": fmt.Sprint(n), "exp": p.Clock.Now().Add(time.Minute).Unix()}
			return p.post(t, "/oauth2/token", "grant_type", credentials, "client_assertion", by.sign(t, nil, claims), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		}
		wantTokens(t, ask(first))
		wantTokens(t, ask(first))
		if asked.Load() != 1 {
			t.Errorf("the keys were fetched %d times for two requests", asked.Load())
		}
		keys = second.jwks(t)
		served.Store(&keys)
		for range 5 {
			wantOAuth(t, ask(second), 401, "invalid_client") // too soon to look again
		}
		if asked.Load() != 1 {
			t.Errorf("unknown key ids made us ask %d times", asked.Load())
		}
		p.Clock.Advance(31 * time.Second)
		wantTokens(t, ask(second))
		wantOAuth(t, ask(first), 401, "invalid_client") // withdrawn
		site.Close()
		p.Clock.Advance(6 * time.Minute)
		wantOAuth(t, ask(second), 401, "invalid_client")
	})
}

func (p *provider) proof(t *testing.T, by signer, method, path, accessToken string) string {
	t.Helper()
	claims := map[string]any{"jti": fmt.Sprint(p.Clock.Now().UnixNano()), "htm": method, "htu": origin + path, "iat": p.Clock.Now().Unix()}
	if accessToken != "" {
		claims["ath"] = tokenHash(accessToken)
	}
	return proofOf(t, by, claims)
}

func TestDPoP(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		key, thief := newES256(t, ""), newES256(t, "")
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, RequireDPoP: true})
		thumbprint := thumbprintOf(t, key)
		_, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid", KeyThumbprint: thumbprint})
		ask := func(by *signer, text string) apptest.Answer {
			c := p.client
			if by != nil {
				c = c.With("DPoP", p.proof(t, *by, "POST", "/oauth2/token", ""))
			}
			return post(t, c, "/oauth2/token", "grant_type", "refresh_token", "client_id", a.ClientID, "refresh_token", text)
		}
		wantOAuth(t, ask(nil, refresh), 400, "invalid_dpop_proof")
		wantOAuth(t, ask(&thief, refresh), 400, "invalid_grant")
		got := wantTokens(t, ask(&key, refresh))
		if cnf, _ := payload(t, got.Access)["cnf"].(map[string]any); got.Type != "DPoP" || cnf["jkt"] != thumbprint {
			t.Errorf("got %+v bound to %v", got, cnf)
		}

		userinfo := func(scheme, proof string) apptest.Answer {
			c := p.client.With("Authorization", scheme+" "+got.Access)
			if proof != "" {
				c = c.With("DPoP", proof)
			}
			return c.Get(t, "/oauth2/userinfo")
		}
		proof := p.proof(t, key, "GET", "/oauth2/userinfo", got.Access)
		userinfo("DPoP", proof).Want(t, http.StatusOK)
		for name, answer := range map[string]apptest.Answer{
			"replayed proof": userinfo("DPoP", proof),
			"no proof":       userinfo("DPoP", ""),
			"no ath":         userinfo("DPoP", p.proof(t, key, "GET", "/oauth2/userinfo", "")),
			"ath of another": userinfo("DPoP", p.proof(t, key, "GET", "/oauth2/userinfo", "another")),
			"other method":   userinfo("DPoP", p.proof(t, key, "POST", "/oauth2/userinfo", got.Access)),
			"other address":  userinfo("DPoP", p.proof(t, key, "GET", "/oauth2/token", got.Access)),
		} {
			t.Run(name, func(t *testing.T) { wantOAuth(t, answer, 401, "invalid_dpop_proof") })
		}
		wantOAuth(t, userinfo("DPoP", p.proof(t, thief, "GET", "/oauth2/userinfo", got.Access)), 401, "invalid_token")
		wantOAuth(t, userinfo("Bearer", p.proof(t, key, "GET", "/oauth2/userinfo", got.Access)), 401, "invalid_token")
		wantOAuth(t, userinfo("Bearer", ""), 401, "invalid_token")
	})
}

func TestCode(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		b := p.signedIn(t)
		a, other := p.app(t, tenant.OAuth{}), p.app(t, tenant.OAuth{})
		redeem := func(by app, code, redirect, verifier string) apptest.Answer {
			return p.tokens(t, by, "grant_type", "authorization_code", "code", code, "redirect_uri", redirect, "code_verifier", verifier)
		}
		code, verifier := p.asked(t, b, a, nil)
		for name, answer := range map[string]apptest.Answer{
			"of another client":       redeem(other, code, redirectURI, verifier),
			"another redirect URI":    redeem(a, code, redirectURI+"/", verifier),
			"wrong verifier":          redeem(a, code, redirectURI, strings.Repeat("x", 43)),
			"no verifier":             redeem(a, code, redirectURI, ""),
			"verifier of 42":          redeem(a, code, redirectURI, verifier[:42]),
			"verifier of 129":         redeem(a, code, redirectURI, strings.Repeat("x", 129)),
			"altered code":            redeem(a, strings.ToLower(code), redirectURI, verifier),
			"the challenge, as plain": redeem(a, code, redirectURI, tokenHash(verifier)),
		} {
			t.Run(name, func(t *testing.T) { wantOAuth(t, answer, 400, "invalid_grant") })
		}
		got := wantTokens(t, redeem(a, code, redirectURI, verifier))
		id := payload(t, got.ID)
		if id["nonce"] != "n" || id["aud"] != a.ClientID || id["email"] != annMail || id["iss"] != origin || id["sid"] == nil || got.Refresh == "" {
			t.Errorf("got %+v with %v", got, id)
		}
		p.wantActive(t, a, got.Access, true)

		// A second use ends what the first one gave (RFC 6749, section 4.1.2).
		p.Clock.Advance(30 * time.Second)
		wantOAuth(t, redeem(a, code, redirectURI, verifier), 400, "invalid_grant")
		p.later()
		p.wantActive(t, a, got.Access, false)
		wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", got.Refresh), 400, "invalid_grant")

		expired, verifier := p.asked(t, b, a, nil)
		p.Clock.Advance(61 * time.Second)
		wantOAuth(t, redeem(a, expired, redirectURI, verifier), 400, "invalid_grant")
	})
}

func TestCodeRaceHasOneWinner(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		code, verifier := p.asked(t, p.signedIn(t), a, nil)
		won := race(200, func() bool {
			answer := p.post(t, "/oauth2/token", "grant_type", "authorization_code", "client_id", a.ClientID, "code", code, "redirect_uri", redirectURI, "code_verifier", verifier)
			return answer.Status == http.StatusOK
		})
		if won > 1 {
			t.Errorf("one code was good %d times at once", won)
		}
	})
}

// race runs f that many times at once and counts how often it was true.
func race(many int, f func() bool) int64 {
	var wg sync.WaitGroup
	var won atomic.Int64
	for range many {
		wg.Go(func() {
			if f() {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	return won.Load()
}

func TestRefresh(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a, other := p.app(t, tenant.OAuth{Resources: []string{"https://api.example.com"}}), p.app(t, tenant.OAuth{})
		refresh := func(by app, text string, more ...string) apptest.Answer {
			return p.tokens(t, by, append([]string{"grant_type", "refresh_token", "refresh_token", text}, more...)...)
		}
		_, text := p.grant(t, a, ann.ID, session.Grant{Scope: "openid email offline_access", Detail: session.Detail{Audience: []string{"https://api.example.com"}}})
		wantOAuth(t, refresh(other, text), 400, "invalid_grant") // and ends nothing
		wantOAuth(t, refresh(a, text, "scope", "openid profile"), 400, "invalid_scope")
		wantOAuth(t, refresh(a, text, "resource", "https://other.example.com"), 400, "invalid_target")
		narrow := wantTokens(t, refresh(a, text, "scope", "openid"))
		if narrow.Scope != "openid" || payload(t, narrow.ID)["email"] != nil {
			t.Errorf("got %+v", narrow)
		}
		whole := wantTokens(t, refresh(a, narrow.Refresh))
		before, after := payload(t, narrow.ID), payload(t, whole.ID)
		for _, claim := range []string{"iss", "sub", "aud", "auth_time", "sid"} { // OpenID Connect Core, section 12.2
			if before[claim] == nil || before[claim] != after[claim] {
				t.Errorf("%s went from %v to %v", claim, before[claim], after[claim])
			}
		}
		if whole.Scope != "openid email offline_access" || after["nonce"] != nil {
			t.Errorf("got %+v with %v", whole, after)
		}
		// Within the grace the same successor, after it the end of all.
		again := wantTokens(t, refresh(a, narrow.Refresh))
		if again.Refresh != whole.Refresh {
			t.Error("a second family")
		}
		p.Clock.Advance(11 * time.Second)
		wantOAuth(t, refresh(a, narrow.Refresh), 400, "invalid_grant")
		wantOAuth(t, refresh(a, whole.Refresh), 400, "invalid_grant")
		p.later()
		p.wantActive(t, a, whole.Access, false)
	})
}

func TestRefreshRaceHasOneSuccessor(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{IDTokenAlg: "ES256"})
		_, text := p.grant(t, a, ann.ID, session.Grant{Scope: "offline_access"})
		var mu sync.Mutex
		var seen []string
		race(200, func() bool {
			answer := p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", text)
			got := wantTokens(t, answer)
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, got.Refresh)
			return true
		})
		if slices.Sort(seen); len(seen) != 200 || len(slices.Compact(seen)) != 1 {
			t.Errorf("%d answers with %d successors", len(seen), len(slices.Compact(seen)))
		}
	})
}

func TestNothingForWhoeverIsDisabled(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{GrantTypes: append(slices.Clone(all), tenant.GrantPassword)})
		b := p.signedIn(t)
		code, verifier := p.asked(t, b, a, nil)
		g, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid"})
		text := p.access(t, a, g, token.Options{})
		deviceCode, typed := p.device(t, a)
		p.allow(t, b, typed)
		p.disable(t, ann.ID)
		p.later()
		wantOAuth(t, p.tokens(t, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier), 400, "invalid_grant")
		wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh), 400, "invalid_grant")
		wantOAuth(t, p.tokens(t, a, "grant_type", tenant.GrantDevice, "device_code", deviceCode), 400, "access_denied")
		wantOAuth(t, p.tokens(t, a, "grant_type", tenant.GrantExchange, "subject_token", text, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token"), 400, "invalid_request")
		wantOAuth(t, p.tokens(t, a, "grant_type", "password", "username", annMail, "password", annSecret), 400, "invalid_grant")
		wantOAuth(t, p.client.With("Authorization", "Bearer "+text).Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		p.wantActive(t, a, text, false)
		p.wantActive(t, a, refresh, false)
	})
}

func TestPasswordGrant(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantPassword, tenant.GrantRefresh}})
		ask := func(name, secret string) apptest.Answer {
			return p.post(t, "/auth/realms/demo/protocol/openid-connect/token", "grant_type", "password", "client_id", a.ClientID, "username", name, "password", secret,
				"scope", "openid", "response_type", "code", "response_mode", "query")
		}
		answer := ask(annMail, annSecret)
		got, more := wantTokens(t, answer), answer.Object(t)
		if got.ID == "" || got.Refresh == "" || more["session_state"] == "" || more["not-before-policy"] != float64(0) || more["refresh_expires_in"] == nil || got.Type != "Bearer" || got.Scope != "openid" {
			t.Errorf("got %s", answer.Body)
		}
		if !strings.Contains(p.Log(), "sends passwords by itself") {
			t.Error("the log says nothing of it")
		}
		wrong, unknown := ask(annMail, "wrong"), ask("bob@example.com", "wrong")
		wantOAuth(t, wrong, 400, "invalid_grant")
		if string(wrong.Body) != string(unknown.Body) || wrong.Status != unknown.Status {
			t.Errorf("a user who is not there is told apart: %s, %s", wrong.Body, unknown.Body)
		}
		limited := false
		for range 12 {
			limited = limited || ask(annMail, "wrong").Status == http.StatusTooManyRequests
		}
		if !limited {
			t.Error("guessing is not limited")
		}
	})
}

// Whoever knows the old password and sends it at the very moment at which another one takes
// its place has nothing.
func TestPasswordGrantDoesNotOutlastThePassword(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantPassword, tenant.GrantRefresh}})
		const path, intruders = "/auth/realms/demo/protocol/openid-connect/token", 4
		for round := range 5 {
			old, next := annSecret, fmt.Sprintf("quite another long phrase %d", round)
			if round > 0 {
				old = fmt.Sprintf("quite another long phrase %d", round-1)
			}
			hash, err := p.Hasher.Hash(t.Context(), next)
			if err != nil {
				t.Fatal(err)
			}
			var got [intruders]apptest.Answer
			var all sync.WaitGroup
			for i := range got {
				all.Go(func() {
					got[i] = p.post(t, path, "grant_type", "password", "client_id", a.ClientID, "username", annMail, "password", old, "scope", "openid")
				})
			}
			p.Write(t, func(ctx context.Context, tx *database.Tx) error {
				if err := password.Set(ctx, tx, access.System(p.Demo.ID), ann.ID, hash, false); err != nil {
					return err
				}
				_, err := p.SignIn.EndSessions(ctx, tx, access.System(p.Demo.ID), ann.ID, "password_reset")
				return err
			})
			all.Wait()
			p.later()
			for _, answer := range got {
				if answer.Status == http.StatusOK {
					wantOAuth(t, p.post(t, path, "grant_type", "refresh_token", "client_id", a.ClientID, "refresh_token", wantTokens(t, answer).Refresh), 400, "invalid_grant")
				}
			}
		}
	})
}

// An imported password that is worth little is to be changed where there is a page for it.
// Here there is none, and nobody is locked out by having moved.
func TestPasswordGrantTakesImportedPasswords(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantPassword}})
		sum := sha256.Sum256([]byte("short"))
		p.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Replace(ctx, tx, access.System(p.Demo.ID), password.Stored{UserID: ann.ID, Hash: passhash.Digest("SHA-256", "password", 1, nil, sum[:])})
		})
		for range 2 {
			wantTokens(t, p.post(t, "/auth/realms/demo/protocol/openid-connect/token", "grant_type", "password", "client_id", a.ClientID, "username", annMail, "password", "short", "scope", "openid"))
		}
		if hash, due, err := password.Find(t.Context(), p.DB, p.Demo.ID, ann.ID); err != nil || due != password.Weak || !strings.HasPrefix(hash, "$argon2id$") {
			t.Errorf("it is kept as %.12s, due %q, %v", hash, due, err)
		}
	})
}

// This grant has no place for a second factor, and does not tell that the first was right.
func TestPasswordGrantEndsWhereASecondFactorIsNeeded(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantPassword}, SecondFactor: tenant.MFARequired})
		ask := func(secret string) apptest.Answer {
			return p.post(t, "/auth/realms/demo/protocol/openid-connect/token", "grant_type", "password", "client_id", a.ClientID, "username", annMail, "password", secret, "scope", "openid")
		}
		right, wrong := ask(annSecret), ask("wrong")
		wantOAuth(t, right, 400, "invalid_grant")
		if string(right.Body) != string(wrong.Body) {
			t.Errorf("the right password is told apart: %s, %s", right.Body, wrong.Body)
		}
	})
}

func TestExchange(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		spa := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		api := p.app(t, tenant.OAuth{GrantTypes: all, Resources: []string{"https://api.example.com", "https://deep.example.com"}})
		stranger := p.app(t, tenant.OAuth{GrantTypes: all})
		g, _ := p.grant(t, spa, ann.ID, session.Grant{Scope: "openid email", Detail: session.Detail{Audience: []string{"https://api.example.com"}}})
		text := p.access(t, spa, g, token.Options{})
		ask := func(by app, text string, more ...string) apptest.Answer {
			return p.tokens(t, by, append([]string{"grant_type", tenant.GrantExchange, "subject_token", text, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token"}, more...)...)
		}
		p.Clock.Advance(10 * time.Minute)
		got := wantTokens(t, ask(api, text, "audience", "https://deep.example.com", "scope", "email"))
		claims := payload(t, got.Access)
		actor, _ := claims["act"].(map[string]any)
		if claims["aud"] != "https://deep.example.com" || claims["scope"] != "email" || claims["sub"] != ann.ID || claims["client_id"] != api.ClientID || actor["sub"] != api.ClientID {
			t.Errorf("got %v", claims)
		}
		if got.ExpiresIn > 300 || got.Refresh != "" || got.ID != "" || got.Issued != "urn:ietf:params:oauth:token-type:access_token" {
			t.Errorf("it outlives what it came from: %+v", got)
		}
		wantOAuth(t, ask(api, text, "scope", "email phone"), 400, "invalid_scope")
		wantOAuth(t, ask(api, text, "audience", "https://other.example.com"), 400, "invalid_target")
		wantOAuth(t, ask(stranger, text), 400, "invalid_request")
		wantOAuth(t, ask(api, text, "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), 400, "invalid_request")
		wantOAuth(t, ask(api, text, "actor_token", text), 400, "invalid_request")
		wantOAuth(t, ask(api, "x.y.z"), 400, "invalid_request")
		own := wantTokens(t, p.tokens(t, api, "grant_type", credentials))
		wantOAuth(t, ask(api, own.Access), 400, "invalid_request") // of no user
		bound := p.access(t, spa, g, token.Options{KeyThumbprint: thumbprintOf(t, newES256(t, ""))})
		wantOAuth(t, ask(api, bound), 400, "invalid_request")

		acme := p.Tenant(t, "acme")
		foreign := p.appOf(t, acme.ID, tenant.OAuth{GrantTypes: all, Resources: []string{"https://api.example.com"}})
		at := p.as(foreign)
		at.Host = acme.Host
		wantOAuth(t, post(t, at, "/oauth2/token", "grant_type", tenant.GrantExchange, "subject_token", text, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token"), 400, "invalid_request")

		post(t, p.client, "/oauth2/revoke", "client_id", spa.ClientID, "token", text).Want(t, http.StatusOK)
		p.later()
		p.wantActive(t, api, got.Access, false) // it ends with the grant
		wantOAuth(t, ask(api, text), 400, "invalid_request")
	})
}

func TestIntrospectionAndRevocation(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a, other := p.app(t, tenant.OAuth{}), p.app(t, tenant.OAuth{})
		public := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		g, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid"})
		text := p.access(t, a, g, token.Options{})
		if got := p.introspected(t, other, text); got["active"] != true || got["sub"] != ann.ID || got["client_id"] != a.ClientID || got["scope"] != "openid" || got["sid"] != g.SessionID {
			t.Errorf("got %v", got)
		}
		p.wantActive(t, a, refresh, true)
		p.wantActive(t, other, refresh, false) // not theirs to know of
		p.wantActive(t, a, "nonsense", false)
		wantOAuth(t, p.post(t, "/oauth2/introspect", "token", text), 401, "invalid_client")
		wantOAuth(t, p.post(t, "/oauth2/introspect", "token", text, "client_id", public.ClientID), 400, "unauthorized_client")
		wantOAuth(t, post(t, p.as(a), "/oauth2/introspect"), 400, "invalid_request")

		acme := p.Tenant(t, "acme")
		foreign := p.appOf(t, acme.ID, tenant.OAuth{})
		at := p.as(foreign)
		at.Host = acme.Host
		if got := post(t, at, "/oauth2/introspect", "token", text).Want(t, 200).Object(t); got["active"] != false || len(got) != 1 {
			t.Errorf("another tenant is told %v", got)
		}

		// An ID token is none, and so is every other JWT of ours.
		row, err := p.Tenants.ByID(t.Context(), p.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.Tokens.Issue(t.Context(), row, a.Application, g, token.Options{WithID: true})
		if err != nil {
			t.Fatal(err)
		}
		p.wantActive(t, a, made.ID, false)
		wantOAuth(t, p.client.With("Authorization", "Bearer "+made.ID).Get(t, "/oauth2/userinfo"), 401, "invalid_token")

		for _, unknown := range []string{"nonsense", "rt_nonsense", made.ID} {
			post(t, p.as(a), "/oauth2/revoke", "token", unknown).Want(t, http.StatusOK)
		}
		post(t, p.as(other), "/oauth2/revoke", "token", refresh).Want(t, http.StatusOK)
		post(t, p.as(other), "/oauth2/revoke", "token", text).Want(t, http.StatusOK)
		p.later()
		p.wantActive(t, a, text, true) // those were not theirs
		post(t, p.as(a), "/oauth2/revoke", "token", refresh, "token_type_hint", "access_token").Want(t, http.StatusOK)
		p.later()
		p.wantActive(t, a, text, false)
		p.wantActive(t, a, refresh, false)
		post(t, p.as(a), "/oauth2/revoke", "token", refresh).Want(t, http.StatusOK)

		own := wantTokens(t, p.tokens(t, a, "grant_type", credentials))
		p.wantActive(t, a, own.Access, true)
		post(t, p.as(a), "/oauth2/revoke", "token", own.Access).Want(t, http.StatusOK)
		p.later()
		p.wantActive(t, a, own.Access, false)
	})
}

func TestRevocationIsSeenAfterARefreshAtOnce(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		g, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid"})
		p.wantActive(t, a, p.access(t, a, g, token.Options{}), true) // the grant is in memory now
		next := wantTokens(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh))
		post(t, p.as(a), "/oauth2/revoke", "token", next.Refresh).Want(t, http.StatusOK)
		wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", next.Refresh), 400, "invalid_grant")
	})
}

func TestUserinfo(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		g, _ := p.grant(t, a, ann.ID, session.Grant{Scope: "openid email"})
		text := p.access(t, a, g, token.Options{})
		bearer := p.client.With("Authorization", "Bearer "+text)
		for name, answer := range map[string]apptest.Answer{
			"GET": bearer.Get(t, "/oauth2/userinfo"), "POST": bearer.Post(t, "/oauth2/userinfo", nil), "POST with a form": p.post(t, "/oauth2/userinfo", "access_token", text),
			"realm": bearer.Get(t, "/realms/demo/protocol/openid-connect/userinfo"),
		} {
			if got := answer.Want(t, http.StatusOK).Object(t); got["sub"] != ann.ID || got["email"] != annMail || got["email_verified"] != true || got["phone_number"] != nil || got["given_name"] != nil {
				t.Errorf("%s: got %v", name, got)
			}
		}
		scoped := func(scope string) string {
			g, _ := p.grant(t, a, ann.ID, session.Grant{Scope: scope})
			return p.access(t, a, g, token.Options{})
		}
		for scope, claims := range map[string][]string{"openid profile": {"given_name", "family_name", "name", "updated_at"}, "openid phone": {"phone_number", "phone_number_verified"}} {
			got := p.client.With("Authorization", "Bearer "+scoped(scope)).Get(t, "/oauth2/userinfo").Want(t, http.StatusOK).Object(t)
			for _, claim := range claims {
				if got[claim] == nil {
					t.Errorf("%s: no %s in %v", scope, claim, got)
				}
			}
		}

		none := p.client.Get(t, "/oauth2/userinfo")
		wantOAuth(t, none, 401, "invalid_token")
		if got := none.Header.Values("WWW-Authenticate"); len(got) != 2 || got[0] != `Bearer realm="cardea"` || !strings.HasPrefix(got[1], "DPoP ") {
			t.Errorf("WWW-Authenticate is %q", got)
		}
		wantOAuth(t, p.client.Get(t, "/oauth2/userinfo?access_token="+text), 400, "invalid_request")
		wantOAuth(t, post(t, bearer, "/oauth2/userinfo", "access_token", text), 400, "invalid_request")
		wantOAuth(t, p.client.With("Authorization", "Basic "+text).Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		wantOAuth(t, p.client.With("Authorization", "DPoP "+text).Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		wantOAuth(t, p.client.With("Authorization", "Bearer "+scoped("email")).Get(t, "/oauth2/userinfo"), 403, "insufficient_scope")
		own := wantTokens(t, p.tokens(t, a, "grant_type", credentials))
		wantOAuth(t, p.client.With("Authorization", "Bearer "+own.Access).Get(t, "/oauth2/userinfo"), 403, "insufficient_scope")
		acme := p.Tenant(t, "acme")
		elsewhere := bearer
		elsewhere.Host = acme.Host
		wantOAuth(t, elsewhere.Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		p.Clock.Advance(16 * time.Minute)
		wantOAuth(t, bearer.Get(t, "/oauth2/userinfo"), 401, "invalid_token")
	})
}

// A token for a resource is worth nothing here, unless it is for both (RFC 9068, section
// 4; RFC 8707).
func TestUserinfoRefusesTokensForOthers(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		const api = "https://api.example.com"
		a := p.app(t, tenant.OAuth{Resources: []string{api}})
		b := p.signedIn(t)
		ask := func(resources ...string) (apptest.Answer, issued) {
			code, verifier := p.asked(t, b, a, url.Values{"resource": resources})
			got := wantTokens(t, p.tokens(t, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier))
			return p.client.With("Authorization", "Bearer "+got.Access).Get(t, "/oauth2/userinfo"), got
		}
		none, _ := ask()
		none.Want(t, http.StatusOK)
		ours, _ := ask(origin)
		ours.Want(t, http.StatusOK)
		theirs, _ := ask(api)
		wantOAuth(t, theirs, 401, "invalid_token")
		if got := theirs.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="cardea", error="invalid_token"`) {
			t.Errorf("WWW-Authenticate is %q", got)
		}
		both, got := ask(api, origin)
		both.Want(t, http.StatusOK)
		narrowed := wantTokens(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", got.Refresh, "resource", api))
		wantOAuth(t, p.client.With("Authorization", "Bearer "+narrowed.Access).Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		again := wantTokens(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", narrowed.Refresh, "resource", origin))
		p.client.With("Authorization", "Bearer "+again.Access).Get(t, "/oauth2/userinfo").Want(t, http.StatusOK)
	})
}

// The claims parameter gets claims without their scope (OpenID Connect Core, section 5.5).
func TestUserinfoHasTheClaimsAskedFor(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		g, _ := p.grant(t, a, ann.ID, session.Grant{Scope: "openid", Detail: session.Detail{Claims: []byte(`{"userinfo":{"name":{"essential":true}},"id_token":{"email":null}}`)}})
		got := p.client.With("Authorization", "Bearer "+p.access(t, a, g, token.Options{})).Get(t, "/oauth2/userinfo").Want(t, http.StatusOK).Object(t)
		if got["name"] != "Ann Lee" || got["email"] != nil {
			t.Errorf("got %v", got)
		}
	})
}

func TestMetadata(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		first := p.client.Get(t, "/.well-known/openid-configuration").Want(t, http.StatusOK)
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/auth/realms/demo/.well-known/openid-configuration", "/realms/demo/.well-known/openid-configuration"} {
			if again := p.client.Get(t, path).Want(t, http.StatusOK); string(again.Body) != string(first.Body) {
				t.Errorf("%s: another document: %s", path, again.Body)
			}
		}
		got := first.Object(t)
		if got["issuer"] != origin || got["registration_endpoint"] != nil || got["authorization_response_iss_parameter_supported"] != true {
			t.Errorf("got %v", got)
		}
		if first.Header.Get("Content-Type") != "application/json" || first.Header.Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("head %v", first.Header)
		}
		// Every endpoint is there.
		for name, value := range got {
			address, ok := value.(string)
			if !ok || name == "issuer" {
				continue
			}
			path, ok := strings.CutPrefix(address, origin)
			if !ok || !strings.HasPrefix(path, "/oauth2/") {
				t.Errorf("%s is %s", name, address)
			}
			if a := p.Browser(apptest.BaseHost).Visit(t, path); a.Status == http.StatusNotFound {
				t.Errorf("%s: nothing at %s", name, path)
			}
		}
		acme := p.Tenant(t, "acme")
		elsewhere := p.client
		elsewhere.Host = acme.Host
		if issuer := elsewhere.Get(t, "/.well-known/openid-configuration").Want(t, http.StatusOK).Object(t)["issuer"]; issuer != "https://acme."+apptest.BaseHost {
			t.Errorf("issuer of acme is %v", issuer)
		}
	})
}

func TestKeysHaveNoPrivateParts(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		for _, path := range []string{"/oauth2/jwks", "/.well-known/jwks.json", "/realms/demo/protocol/openid-connect/certs"} {
			answer := p.client.Get(t, path).Want(t, http.StatusOK)
			var set struct{ Keys []map[string]any }
			answer.Into(t, &set)
			ids := map[any]bool{}
			for _, k := range set.Keys {
				for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
					if k[private] != nil {
						t.Errorf("%s: a key with %s", path, private)
					}
				}
				if ids[k["kid"]] || k["kid"] == nil || k["use"] != "sig" || k["alg"] == nil {
					t.Errorf("%s: key %v", path, k)
				}
				ids[k["kid"]] = true
			}
			if len(set.Keys) < 3 || answer.Header.Get("Cache-Control") != "public, max-age=60" {
				t.Errorf("%s: %d keys, %v", path, len(set.Keys), answer.Header)
			}
		}
	})
}

func TestPagesOfEveryOriginMayAskForTokens(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a := p.app(t, tenant.OAuth{})
		from := p.as(a).With("Origin", "https://spa.example.net")
		answer := post(t, from, "/oauth2/token", "grant_type", credentials)
		if wantTokens(t, answer); answer.Header.Get("Access-Control-Allow-Origin") != "*" || answer.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("head %v", answer.Header)
		}
		preflight := p.client.With("Origin", "https://spa.example.net").With("Access-Control-Request-Method", "POST").Do(t, http.MethodOptions, "/oauth2/token", nil).Want(t, http.StatusNoContent)
		if !strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "DPoP") {
			t.Errorf("head %v", preflight.Header)
		}
	})
}

// device starts the sign-in of a device.
func (p *provider) device(t *testing.T, a app) (deviceCode, typed string) {
	t.Helper()
	answer := post(t, p.as(a).With("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), "/oauth2/device_authorization", "scope", "openid email").Want(t, http.StatusOK).Object(t)
	typed = answer["user_code"].(string)
	if answer["verification_uri"] != origin+"/device" || answer["verification_uri_complete"] != origin+"/device?user_code="+url.QueryEscape(typed) || answer["interval"] != 5.0 || len(typed) != 9 {
		t.Errorf("got %v", answer)
	}
	return answer["device_code"].(string), typed
}

// allow lets a device in.
func (p *provider) allow(t *testing.T, b *apptest.Browser, typed string) apptest.Page {
	t.Helper()
	page := b.Submit(t, b.Get(t, "/device"), "/device", "user_code", typed)
	return b.Submit(t, page.At(t, "/device/confirm"), "/device/confirm", "decision", "allow")
}

func TestDevice(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a, other := p.app(t, tenant.OAuth{GrantTypes: all}), p.app(t, tenant.OAuth{GrantTypes: all})
		poll := func(by app, code string) apptest.Answer {
			return p.tokens(t, by, "grant_type", tenant.GrantDevice, "device_code", code)
		}
		code, typed := p.device(t, a)
		wantOAuth(t, poll(a, code), 400, "authorization_pending")
		wantOAuth(t, poll(a, code), 400, "slow_down")
		p.Clock.Advance(6 * time.Second)
		wantOAuth(t, poll(a, code), 400, "slow_down") // it is ten seconds now
		p.Clock.Advance(16 * time.Second)
		wantOAuth(t, poll(a, code), 400, "authorization_pending")
		wantOAuth(t, poll(other, code), 400, "invalid_grant")
		wantOAuth(t, poll(a, "x"), 400, "invalid_grant")

		b := p.signedIn(t)
		page := b.Get(t, "/device?user_code="+typed) // opening the link does nothing
		if form, ok := page.Form("/device"); !ok || form.Fields.Get("user_code") != typed {
			t.Fatalf("the code is not filled in: %s", page.Body)
		}
		b.Get(t, "/device/confirm?user_code="+typed).Want(t, http.StatusNotFound)
		page = b.Submit(t, page, "/device", "user_code", strings.ToLower(typed)).At(t, "/device/confirm").WantText(t, "App", "Firefox on Linux", "Ann Lee")
		// Another browser can not decide, although it knows the code.
		p.Clock.Advance(31 * time.Second) // until another code is sent
		stranger := p.signedIn(t)
		stranger.Submit(t, stranger.Get(t, "/device"), "/device", "user_code", typed).Want(t, http.StatusNotFound)
		stranger.Get(t, "/device/confirm?user_code="+typed).Want(t, http.StatusNotFound)
		b.Submit(t, page, "/device/confirm", "decision", "allow").At(t, "/device/confirm")
		p.Clock.Advance(20 * time.Second)
		wantOAuth(t, poll(other, code), 400, "invalid_grant")
		got := wantTokens(t, poll(a, code))
		if claims := payload(t, got.Access); claims["sub"] != ann.ID || claims["client_id"] != a.ClientID || got.Refresh == "" || payload(t, got.ID)["email"] != annMail {
			t.Errorf("got %+v", got)
		}
		wantOAuth(t, poll(a, code), 400, "invalid_grant") // used

		denied, typed := p.device(t, a)
		page = b.Submit(t, b.Get(t, "/device"), "/device", "user_code", typed)
		b.Submit(t, page, "/device/confirm", "decision", "deny")
		wantOAuth(t, poll(a, denied), 400, "access_denied")
		expired, typed := p.device(t, a)
		p.Clock.Advance(11 * time.Minute)
		wantOAuth(t, poll(a, expired), 400, "expired_token")
		b.Submit(t, b.Get(t, "/device"), "/device", "user_code", typed).Want(t, http.StatusNotFound)
	})
}

func TestDeviceCodeAsksForSignInFirst(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{GrantTypes: all})
		code, typed := p.device(t, a)
		b := p.Browser(apptest.BaseHost)
		page := b.Submit(t, b.Get(t, "/device"), "/device", "user_code", typed).At(t, "/signin")
		page = b.Submit(t, page, "/signin", "identifier", annMail)
		page = b.Submit(t, page, "/signin/code", "code", p.Code(t, annMail)).At(t, "/device")
		page = b.Submit(t, page, "/device").At(t, "/device/confirm")
		b.Submit(t, page, "/device/confirm", "decision", "allow")
		wantTokens(t, p.tokens(t, a, "grant_type", tenant.GrantDevice, "device_code", code))
	})
}

func TestDeviceRaceHasOneWinner(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{GrantTypes: all})
		code, typed := p.device(t, a)
		p.allow(t, p.signedIn(t), typed)
		if won := race(100, func() bool {
			return p.tokens(t, a, "grant_type", tenant.GrantDevice, "device_code", code).Status == http.StatusOK
		}); won != 1 {
			t.Errorf("one device code was good %d times at once", won)
		}
	})
}

func TestGuessingAtUserCodesIsLimited(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		b := p.signedIn(t)
		status := 0
		for range 12 {
			status = b.Submit(t, b.Get(t, "/device"), "/device", "user_code", "BBBB-BBBB").Status
		}
		if status != http.StatusTooManyRequests {
			t.Errorf("twelve guesses, and the last one got %d", status)
		}
	})
}
