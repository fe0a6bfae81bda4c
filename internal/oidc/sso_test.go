package oidc_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/tenant"
)

func (br *browser) sso(t *testing.T, app tenant.Application, change url.Values) answer {
	t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {app.ClientID}, "redirect_uri": {app.RedirectURIs[0]}, "state": {"s"}}
	for name, values := range change {
		q[name] = values
	}
	return br.get(t, "/api/sso/authorize?"+q.Encode())
}

func (b *front) swap(t *testing.T, app tenant.Application, code, state string) (out map[string]any, a answer) {
	t.Helper()
	a = b.browser().get(t, "/api/v1/sso/oauth/accesstoken?"+url.Values{"client_id": {app.ClientID}, "code": {code}, "state": {state}}.Encode())
	decode(t, a, &out)
	return out, a
}

// Row 21 and §8.3 of the SSOJet contract.
func TestSSO(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		back := br.sso(t, b.own, nil).signsIn(t, b)
		br.signIn(t, b.ann)
		q := br.get(t, back).returned(t, b.own)
		if q.Get("state") != "s" {
			t.Errorf("got %v", q)
		}
		out, a := b.swap(t, b.own, q.Get("code"), "s")
		if a.status != http.StatusOK || out["token_type"] != "Bearer" || out["expires_in"] != 900.0 || out["scope"] != "openid profile email phone" || out["refresh_token"] == "" || out["refresh_token"] == nil {
			t.Fatalf("got %d %v", a.status, out)
		}
		if access, err := b.Tokens.Read(t.Context(), b.tenant, out["access_token"].(string)); err != nil || access.UserID != b.ann.ID {
			t.Errorf("got %+v, %v", access, err)
		}
		if out, a := b.swap(t, b.own, q.Get("code"), "s"); a.status != http.StatusBadRequest || out["error"] != "invalid_code" || out["error_code"] == nil {
			t.Errorf("a second time: got %d %v", a.status, out)
		}
		if b.works(t, out["access_token"].(string)) {
			t.Error("what the first use led to is still good")
		}
	})
}

// A code is good where it was made for and nowhere else.
func TestSSOCodesAndOthersAreApart(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		code := br.sso(t, b.own, nil).code(t, b.own)
		own := url.Values{"client_id": {b.own.ClientID}, "client_secret": {b.ownKey}, "code_verifier": nil}
		if out, _ := b.redeem(t, code, own); out.Error != "invalid_grant" {
			t.Errorf("at the token endpoint: got %+v", out)
		}
		for name, c := range map[string]struct {
			app         tenant.Application
			code, state string
		}{
			"another state": {b.own, code, "t"}, "no state": {b.own, code, ""}, "another client": {b.public, code, "s"}, "no code": {b.own, "", "s"},
			"of the provider": {b.own, br.authorize(t, b.own, nil).code(t, b.own), "s"},
		} {
			if out, a := b.swap(t, c.app, c.code, c.state); a.status != http.StatusBadRequest || out["error"] != "invalid_code" {
				t.Errorf("%s: got %d %v", name, a.status, out)
			}
		}
		if _, a := b.swap(t, b.own, code, "s"); a.status != http.StatusOK {
			t.Errorf("as it should be: got %d", a.status)
		}
		code = br.sso(t, b.own, nil).code(t, b.own)
		b.pass(time.Minute)
		if _, a := b.swap(t, b.own, code, "s"); a.status != http.StatusBadRequest {
			t.Errorf("expired: got %d", a.status)
		}
	})
}

func TestSSOIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		native, _ := b.application(t, tenant.Application{Name: "Native", RedirectURIs: []string{"com.example.app:/cb"}, OAuth: tenant.OAuth{ApplicationType: "native", AuthMethod: tenant.AuthNone}})
		br := b.browser()
		br.signIn(t, b.ann)
		for name, c := range map[string]struct {
			app    tenant.Application
			change url.Values
			status int
			want   string
		}{
			"unknown connection":   {b.own, url.Values{"connection": {"660c0de931f63af7d467e6ad"}}, http.StatusNotFound, "connection_not_found"},
			"unknown organization": {b.own, url.Values{"organization": {"660c0de931f63af7d467e6ad"}}, http.StatusNotFound, "connection_not_found"},
			"unknown domain":       {b.own, url.Values{"domain": {"example.com"}}, http.StatusNotFound, "connection_not_found"},
			"unknown client":       {b.own, url.Values{"client_id": {"cli_nobody"}}, http.StatusBadRequest, "invalid_client"},
			"another address":      {b.own, url.Values{"redirect_uri": {"https://evil.example.com/"}}, http.StatusBadRequest, "invalid_redirect_uri"},
			"no address":           {b.own, url.Values{"redirect_uri": {""}}, http.StatusBadRequest, "invalid_request"},
			"no state":             {b.own, url.Values{"state": {""}}, http.StatusBadRequest, "invalid_request"},
			"another type":         {b.own, url.Values{"response_type": {"token"}}, http.StatusBadRequest, "invalid_request"},
			"twice":                {b.own, url.Values{"state": {"s", "t"}}, http.StatusBadRequest, "invalid_request"},
			"a native application": {native, nil, http.StatusForbidden, "sso_not_allowed"},
			"somebody else's":      {b.foreign, nil, http.StatusForbidden, "sso_not_allowed"},
		} {
			a := br.sso(t, c.app, c.change)
			if a.status != c.status || !strings.Contains(a.body, `"error":"`+c.want+`"`) || a.head.Get("Location") != "" {
				t.Errorf("%s: got %d to %q: %s", name, a.status, a.head.Get("Location"), a.body)
			}
		}
	})
}

func TestGuessingAtSSOCodesIsLimited(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for range 60 {
			b.swap(t, b.own, "AAAAAAAAAAAAAAAAAAAAAAAAAA", "s")
		}
		if out, a := b.swap(t, b.own, "AAAAAAAAAAAAAAAAAAAAAAAAAA", "s"); a.status != http.StatusTooManyRequests {
			t.Errorf("got %d %v", a.status, out)
		}
	})
}
