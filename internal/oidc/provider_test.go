package oidc_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	origin      = "https://" + apptest.BaseHost // issuer of tenant demo
	redirectURI = "https://app.example.com/callback"
	annMail     = "ann@example.com"
	annSecret   = "correct horse battery staple"
)

// A provider is the product as applications see it.
type provider struct {
	*apptest.World
	client apptest.Client // without a key
}

func withProvider(t *testing.T, test func(t *testing.T, p *provider)) {
	t.Helper()
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		t.Helper()
		c := w.Demo.Client
		c.Key, c.Host = "", apptest.BaseHost
		test(t, &provider{w, c})
	})
}

// An app is an application with its secret.
type app struct {
	tenant.Application
	secret string
}

// app registers an application of tenant demo.
func (p *provider) app(t *testing.T, o tenant.OAuth) app { t.Helper(); return p.appOf(t, p.Demo.ID, o) }

func (p *provider) appOf(t *testing.T, tenantID string, o tenant.OAuth) (a app) {
	t.Helper()
	p.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		a.Application, a.secret, err = p.Tenants.CreateApplication(ctx, tx, access.System(tenantID), tenant.Application{Name: "App", RedirectURIs: []string{redirectURI}, OAuth: o})
		return err
	})
	return a
}

// all are the grants that an application has to be registered for by name.
var all = []string{tenant.GrantCode, tenant.GrantRefresh, tenant.GrantCredentials, tenant.GrantDevice, tenant.GrantExchange}

// ann makes the user of the tests, with a password.
func (p *provider) ann(t *testing.T) (made user.User) {
	t.Helper()
	hash, err := p.Hasher.Hash(t.Context(), annSecret)
	if err != nil {
		t.Fatal(err)
	}
	p.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		by := access.System(p.Demo.ID)
		if made, err = p.Users.Create(ctx, tx, by, user.User{Email: annMail, EmailVerified: true, IsActive: true, FirstName: "Ann", LastName: "Lee", Phone: "+4915112345678"}); err != nil {
			return err
		}
		return password.Set(ctx, tx, by, made.ID, hash, false)
	})
	return made
}

func (p *provider) disable(t *testing.T, id string) {
	t.Helper()
	p.Write(t, func(ctx context.Context, tx *database.Tx) error {
		no := false
		_, err := p.Users.Update(ctx, tx, access.System(p.Demo.ID), id, user.Change{IsActive: &no})
		return err
	})
}

// signedIn returns a browser in which ann is signed in.
func (p *provider) signedIn(t *testing.T) *apptest.Browser {
	t.Helper()
	b := p.Browser(apptest.BaseHost)
	page := b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", annMail)
	b.Submit(t, page, "/signin/code", "code", p.Code(t, annMail))
	return b
}

// grant is what an application holds for a user in a new session.
func (p *provider) grant(t *testing.T, a app, user string, g session.Grant) (session.Grant, string) {
	t.Helper()
	p.Write(t, func(ctx context.Context, tx *database.Tx) error {
		by := access.System(p.Demo.ID)
		proof := session.Proof{AMR: []string{"pwd"}, ACR: "urn:cardea:acr:1", At: tx.Now}
		in, _, err := p.Sessions.Start(ctx, tx, by, user, a.ID, proof, session.From{}, session.SessionLifetimes)
		if err != nil {
			return err
		}
		g.UserID, g.SessionID, g.ApplicationID, g.Detail.AuthAt, g.Detail.AMR = user, in.ID, a.ID, in.AuthAt, in.AMR
		g, err = p.Sessions.Open(tx, by, g, session.GrantLifetimes)
		return err
	})
	refresh, err := p.Sessions.RefreshToken(t.Context(), p.Demo.ID, g)
	if err != nil {
		t.Fatal(err)
	}
	return g, refresh
}

// access is an access token of a grant.
func (p *provider) access(t *testing.T, a app, g session.Grant, o token.Options) string {
	t.Helper()
	row, err := p.Tenants.ByID(t.Context(), a.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	made, err := p.Tokens.Issue(t.Context(), row, a.Application, g, o)
	if err != nil {
		t.Fatal(err)
	}
	return made.Access
}

// post sends a form, in pairs of name and value.
func (p *provider) post(t *testing.T, path string, pairs ...string) apptest.Answer {
	t.Helper()
	return post(t, p.client, path, pairs...)
}

func post(t *testing.T, c apptest.Client, path string, pairs ...string) apptest.Answer {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return c.With("Content-Type", "application/x-www-form-urlencoded").Post(t, path, form.Encode())
}

// as returns the client as an application that proves itself by HTTP Basic.
func (p *provider) as(a app) apptest.Client {
	return p.client.With("Authorization", basic(url.QueryEscape(a.ClientID)+":"+url.QueryEscape(a.secret)))
}

// tokens asks for tokens as an application with a secret.
func (p *provider) tokens(t *testing.T, a app, pairs ...string) apptest.Answer {
	t.Helper()
	return post(t, p.as(a), "/oauth2/token", pairs...)
}

// wantOAuth fails the test unless the answer is an error of OAuth.
func wantOAuth(t *testing.T, a apptest.Answer, status int, code string) {
	t.Helper()
	var e struct{ Error, Error_description string }
	if a.Into(t, &e); a.Status != status || e.Error != code || e.Error_description == "" {
		t.Errorf("%s %s: got %d %s, want %d %s", a.Request.Method, a.Request.URL, a.Status, a.Body, status, code)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control is %q", a.Request.URL, a.Header.Get("Cache-Control"))
	}
}

// issued is what an answer with tokens says.
type issued struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Refresh   string `json:"refresh_token"`
	ID        string `json:"id_token"`
	Scope     string `json:"scope"`
	Issued    string `json:"issued_token_type"`
}

func wantTokens(t *testing.T, a apptest.Answer) (out issued) {
	t.Helper()
	if a.Want(t, http.StatusOK).Into(t, &out); out.Access == "" || out.ExpiresIn <= 0 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("tokens are not whole: %s %v", a.Body, a.Header)
	}
	return out
}

// payload is what a token says, unchecked.
func payload(t *testing.T, text string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", text)
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// asked asks for a code in a browser that is signed in, and returns it with its
// verifier.
func (p *provider) asked(t *testing.T, b *apptest.Browser, a app, change url.Values) (code, verifier string) {
	t.Helper()
	verifier = strings.Repeat("verifier-", 6)
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {a.ClientID}, "redirect_uri": {redirectURI}, "scope": {"openid email offline_access"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	maps.Copy(query, change)
	page := b.Get(t, "/oauth2/authorize?"+query.Encode())
	to := page.Location()
	if to == nil || to.Query().Get("code") == "" {
		t.Fatalf("no code: %d %s %v %s", page.Status, page.URL, to, page.Text())
	}
	return to.Query().Get("code"), verifier
}

// introspected is what another confidential application is told of a token.
func (p *provider) introspected(t *testing.T, a app, text string) map[string]any {
	t.Helper()
	return post(t, p.as(a), "/oauth2/introspect", "token", text).Want(t, http.StatusOK).Object(t)
}

func (p *provider) wantActive(t *testing.T, a app, text string, want bool) {
	t.Helper()
	if got := p.introspected(t, a, text); got["active"] != want || !want && len(got) != 1 {
		t.Errorf("introspection: got %v, want active %v", got, want)
	}
}

// later lets a second pass, after which nothing is remembered.
func (p *provider) later() { p.Clock.Advance(time.Second + time.Millisecond) }

// events counts the events of an action in the log of tenant demo.
func (p *provider) events(t *testing.T, action string) (n int64) {
	t.Helper()
	err := p.DB.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = $2) + (SELECT count(*) FROM audit_events WHERE tenant_id = $1 AND action = $2)`,
		p.Demo.ID, action).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
