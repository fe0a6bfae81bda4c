package e2e_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/net/html"
	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// What a Go application does with coreos/go-oidc and x/oauth2: discovery, a code with
// PKCE, a verified ID token, userinfo, a renewed token.
func TestGoApplicationSignsIn(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, dbtest.EmptyURL(t, engine))
			s.start(t)
			for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
				s.signInGoApplication(t, style)
			}
			s.stop(t)
		})
	}
}

const goCallback = "http://localhost:3998/callback" // nobody listens

func (s *server) signInGoApplication(t *testing.T, style oauth2.AuthStyle) {
	t.Helper()
	ctx := t.Context()
	provider, err := oidc.NewProvider(ctx, s.boot.PublicURL)
	if err != nil {
		t.Fatal(err)
	}
	config := s.registerGoApplication(t, provider, style)
	verifier := oauth2.GenerateVerifier()
	back := s.ownerSignsIn(t, config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the nonce")))
	if back.Get("state") != "the state" || back.Get("iss") != s.boot.PublicURL {
		t.Fatalf("the application is answered %v", back)
	}
	if _, err := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
		t.Fatal("another verifier is as good")
	}

	back = s.ownerSignsIn(t, config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the nonce")))
	tokens, err := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	id := checkIDToken(t, provider, config.ClientID, tokens)
	if id.Nonce != "the nonce" {
		t.Errorf("the nonce is %q", id.Nonce)
	}
	source := config.TokenSource(ctx, tokens)
	info, err := provider.UserInfo(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	if info.Subject != id.Subject || info.Email != s.boot.Owner.Email || !info.EmailVerified {
		t.Errorf("userinfo is %+v, the ID token is of %s", info, id.Subject)
	}

	renewed, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	if renewed.RefreshToken == tokens.RefreshToken || renewed.AccessToken == tokens.AccessToken {
		t.Error("renewing gave the same again")
	}
	if again := checkIDToken(t, provider, config.ClientID, renewed); again.Subject != id.Subject {
		t.Errorf("after renewing the user is %s, before it was %s", again.Subject, id.Subject)
	}
}

func (s *server) registerGoApplication(t *testing.T, provider *oidc.Provider, style oauth2.AuthStyle) oauth2.Config {
	t.Helper()
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	status, err := s.call(t.Context(), "POST", "/api/v1/applications", map[string]any{"name": "A Go application", "redirect_uris": []string{goCallback}}, &made)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("register = %d, %v", status, err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = style
	return oauth2.Config{ClientID: made.ID, ClientSecret: made.Secret, RedirectURL: goCallback, Endpoint: endpoint, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess, "profile", "email"}}
}

func checkIDToken(t *testing.T, provider *oidc.Provider, client string, tokens *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		t.Fatal("there is no ID token")
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: client}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			t.Error(err)
		}
	}
	// A client that expects another audience refuses it.
	if _, err := provider.Verifier(&oidc.Config{ClientID: "another"}).Verify(t.Context(), raw); err == nil {
		t.Error("the ID token is good for another client")
	}
	return id
}

// ownerSignsIn goes through the pages with the owner's password, in a browser of its
// own, and returns what the application is answered.
func (s *server) ownerSignsIn(t *testing.T, address string) url.Values {
	t.Helper()
	b := newVisitor(t)
	p := b.open(t, "GET", address, nil)
	p = b.submit(t, p, "/signin", "identifier", s.boot.Owner.Email)
	if next := p.link("/signin/password"); next != "" {
		p = b.open(t, "GET", p.resolve(t, next), nil)
	}
	p = b.submit(t, p, "/signin/password", "password", s.boot.Owner.Password)
	if !strings.HasPrefix(p.url.String(), goCallback) {
		t.Fatalf("signing in ended at %s:\n%s", p.url, p.body)
	}
	return p.url.Query()
}

// A visitor is a browser without scripts.
type visitor struct {
	http  http.Client
	takes int // a status beside 200
}

// A sheet is a page that a visitor sees, or the address of the application.
type sheet struct {
	url  *url.URL
	body string
	root *html.Node
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{http: http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), goCallback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

func (b *visitor) open(t *testing.T, method, address string, form url.Values) sheet {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to, err := resp.Location(); err == nil {
		return sheet{url: to}
	}
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != b.takes {
		t.Fatalf("%s %s = %d, %v\n%s", method, address, resp.StatusCode, err, body)
	}
	return sheet{resp.Request.URL, string(body), root}
}

// submit sends the form that goes to a path, with its fields and one more.
func (b *visitor) submit(t *testing.T, p sheet, path, name, value string) sheet {
	t.Helper()
	form := p.find("form", "action", path)
	if form == nil {
		t.Fatalf("%s has no form for %s:\n%s", p.url, path, p.body)
	}
	fields := url.Values{name: {value}}
	for n := range form.Descendants() {
		if n.Data == "input" && attribute(n, "type") == "hidden" {
			fields.Set(attribute(n, "name"), attribute(n, "value"))
		}
	}
	return b.open(t, "POST", p.resolve(t, attribute(form, "action")), fields)
}

// link is the address of the link to a path, or "".
func (p sheet) link(path string) string {
	if n := p.find("a", "href", path); n != nil {
		return attribute(n, "href")
	}
	return ""
}

func (p sheet) find(tag, name, path string) *html.Node {
	for n := range p.root.Descendants() {
		if to, _, _ := strings.Cut(attribute(n, name), "?"); n.Type == html.ElementNode && n.Data == tag && to == path {
			return n
		}
	}
	return nil
}

func (p sheet) resolve(t *testing.T, address string) string {
	t.Helper()
	u, err := p.url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
