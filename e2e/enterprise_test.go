package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// People of an organization sign in by its OpenID provider, which others wrote, and which
// does wrong one thing after the other.
func TestPeopleSignInByTheirOrganizationsProvider(t *testing.T) {
	t.Parallel()
	node, err := findUpstream()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, dbtest.EmptyURL(t, dbtest.Engines[0]))
	s.start(t)
	u := &upstream{port: freePort(t)}
	path, callback := s.acmeOpenID(t, "http://127.0.0.1:"+u.port)
	u.args = []string{"cardea", "a secret/with:signs", callback}
	u.start(t, node)
	signsIn := func(when string) {
		t.Helper()
		if p := s.signInAtWork(t, newVisitor(t)); !strings.Contains(p.body, "ann@<wbr>acme.test") || s.lastCause(t, path) != "" {
			t.Fatalf("%s, the page is %s\n%s", when, p.url, p.body)
		}
	}
	signsIn("signed up")
	u.stop()
	u.start(t, node)
	signsIn("after the keys have changed")
	for fault, cause := range map[string]string{
		"issuer": "token_issuer", "audience": "token_audience", "nonce": "nonce", "expired": "expired", "ahead": "clock", "key": "unknown_key", "slow": "token_unreachable", "huge": "token_unreachable",
	} {
		u.fail(t, fault)
		b := newVisitor(t)
		b.takes = http.StatusBadRequest
		if p := s.signInAtWork(t, b); !strings.Contains(p.body, "did not sign you in") {
			t.Errorf("%s: the page is %s\n%s", fault, p.url, p.body)
		}
		if got := s.lastCause(t, path); got != cause {
			t.Errorf("%s: the trace says %q, want %q", fault, got, cause)
		}
	}
	u.fail(t, "")
	signsIn("mended")
	var users []any
	if _, err := s.call(t.Context(), "GET", "/api/v1/users?email=ann@acme.test", nil, &users); err != nil || len(users) != 1 {
		t.Errorf("there are %d users with the address, %v", len(users), err)
	}
	s.stop(t)
}

// acmeOpenID connects the organization of the developer mode with an issuer.
func (s *server) acmeOpenID(t *testing.T, issuer string) (path, callback string) {
	t.Helper()
	organization, _ := s.acmeDrafts(t)
	var made struct {
		ID string `json:"id"`
		Us struct {
			RedirectURI string `json:"redirect_uri"`
		} `json:"service_provider"`
	}
	path = "/api/v1/organizations/" + organization + "/connections"
	status, err := s.call(t.Context(), "POST", path, map[string]any{
		"kind": "oidc", "provider": "custom", "name": "Upstream", "client_secret": "a secret/with:signs", "settings": map[string]string{"issuer": issuer, "client_id": "cardea"},
	}, &made)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("create the connection: %d, %v", status, err)
	}
	path += "/" + made.ID
	if status, err := s.call(t.Context(), "PUT", path, map[string]string{"state": "active"}, nil); err != nil || status != http.StatusOK {
		t.Fatalf("switch it on: %d, %v", status, err)
	}
	return path, made.Us.RedirectURI
}

// signInAtWork types an address of the organization, signs in where that leads and allows
// what we ask for.
func (s *server) signInAtWork(t *testing.T, b *visitor) sheet {
	t.Helper()
	p := b.submit(t, b.open(t, "GET", s.boot.PublicURL+"/signin", nil), "/signin", "identifier", "ann@acme.test")
	p = b.answer(t, p, "login", "ann@acme.test", "password", "anything")
	return b.answer(t, p)
}

// lastCause is what the last attempt at a connection failed of.
func (s *server) lastCause(t *testing.T, path string) string {
	t.Helper()
	var list struct {
		Traces []struct {
			Cause string `json:"cause"`
		} `json:"traces"`
	}
	if _, err := s.call(t.Context(), "GET", path+"/traces", nil, &list); err != nil || len(list.Traces) == 0 {
		t.Fatalf("%d traces, %v", len(list.Traces), err)
	}
	return list.Traces[0].Cause
}

// fail gives the provider a fault.
func (u *upstream) fail(t *testing.T, fault string) {
	t.Helper()
	resp, err := http.Post("http://127.0.0.1:"+u.port+"/fault?name="+fault, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the provider takes no fault: %d", resp.StatusCode)
	}
}
