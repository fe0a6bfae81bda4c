package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// C2.44, F.5 "consent required".
func TestConsentIsAskedForAndRemembered(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.authorize(t, b.foreign, url.Values{"prompt": {"none"}}).wantError(t, b.foreign, "login_required")
		br.signIn(t, b.ann)
		none := url.Values{"prompt": {"none"}, "scope": {"openid email"}}
		br.authorize(t, b.foreign, none).wantError(t, b.foreign, "consent_required")

		asked := br.authorize(t, b.foreign, url.Values{"scope": {"openid email"}})
		asked.wantPage(t, http.StatusOK, "foreign.example.com")
		if strings.Contains(asked.body, "<b>app</b>") || asked.head.Get("X-Frame-Options") != "DENY" || !strings.Contains(asked.head.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("got %v %s", asked.head, asked.body)
		}
		action, form := asked.form(t)
		form.Set("decision", "allow")
		br.post(t, action, form).code(t, b.foreign)
		if b.events(t, "consent.granted") != 1 {
			t.Error("nothing is logged")
		}
		br.post(t, action, form).wantPage(t, http.StatusBadRequest, "") // answered

		br.authorize(t, b.foreign, none).code(t, b.foreign)
		br.authorize(t, b.foreign, url.Values{"prompt": {"none"}, "scope": {"openid"}}).code(t, b.foreign)
		br.authorize(t, b.foreign, url.Values{"prompt": {"none"}, "scope": {"openid phone"}}).wantError(t, b.foreign, "consent_required")
		br.authorize(t, b.foreign, url.Values{"prompt": {"consent"}, "scope": {"openid"}}).wantPage(t, http.StatusOK, "")
		other := b.browser()
		other.signIn(t, b.bob)
		other.authorize(t, b.foreign, none).wantError(t, b.foreign, "consent_required")

		consents, err := b.Consents(t.Context(), b.DB, b.tenant, b.ann.ID)
		if err != nil || len(consents) != 1 || consents[0].Scope != "openid email" || consents[0].ApplicationID != b.foreign.ID {
			t.Errorf("got %+v, %v", consents, err)
		}
	})
}

func TestConsentIsDenied(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		action, form := br.authorize(t, b.foreign, nil).form(t)
		form.Set("decision", "deny")
		br.post(t, action, form).wantError(t, b.foreign, "access_denied")
		form.Set("decision", "allow")
		br.post(t, action, form).wantPage(t, http.StatusBadRequest, "")
		if n := b.count(t, "consents"); n != 0 {
			t.Errorf("%d consents", n)
		}
	})
}

// C2.44, C7.116: no consent by another site, another browser, another tab's user or a
// form of our own making.
func TestConsentIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		action, form := br.authorize(t, b.foreign, nil).form(t)
		form.Set("decision", "allow")
		without := func(name, value string) url.Values {
			f := url.Values{}
			for k, v := range form {
				f[k] = v
			}
			f.Set(name, value)
			return f
		}
		br.post(t, action, without("csrf", "")).wantPage(t, http.StatusForbidden, "")
		br.post(t, action, without("state", "AAAAAAAAAAAAAAAAAAAAAAAAAA")).wantPage(t, http.StatusBadRequest, "")
		br.post(t, action, without("decision", "")).wantPage(t, http.StatusBadRequest, "")

		cross := httptest.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
		cross.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		cross.Header.Set("Sec-Fetch-Site", "cross-site")
		br.do(t, cross).wantPage(t, http.StatusForbidden, "")

		thief := b.browser()
		thief.signIn(t, b.bob)
		thief.post(t, action, form).wantPage(t, http.StatusForbidden, "")

		br.cookies["__Host-cardea"] = ""
		br.signIn(t, b.bob) // in another tab, meanwhile
		if a := br.post(t, action, form); a.status != http.StatusSeeOther || !strings.HasPrefix(a.head.Get("Location"), "/oauth2/authorize/continue?") {
			t.Errorf("got %d to %s", a.status, a.head.Get("Location"))
		}
		if n := b.count(t, "consents"); n != 0 {
			t.Errorf("%d consents", n)
		}
	})
}

func TestConsentIsRevoked(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		action, form := br.authorize(t, b.foreign, url.Values{"scope": {"openid offline_access"}}).form(t)
		form.Set("decision", "allow")
		code := br.post(t, action, form).code(t, b.foreign)
		out, _ := b.redeem(t, code, url.Values{"client_id": {b.foreign.ClientID}, "redirect_uri": {b.foreign.RedirectURIs[0]}})
		b.write(t, func(tx *database.Tx) error {
			return b.RevokeConsent(t.Context(), tx, access.System(b.tenant), b.ann.ID, b.foreign.ID)
		})
		if out.Access == "" || b.works(t, out.Access) {
			t.Errorf("%+v is still good", out)
		}
		if again, _ := b.token(t, url.Values{"grant_type": {"refresh_token"}, "client_id": {b.foreign.ClientID}, "refresh_token": {out.Refresh}}); again.Error != "invalid_grant" {
			t.Errorf("got %+v", again)
		}
		br.authorize(t, b.foreign, url.Values{"prompt": {"none"}}).wantError(t, b.foreign, "consent_required")
		if b.events(t, "consent.revoked") != 1 {
			t.Error("nothing is logged")
		}
	})
}

// C6 103: what the form of consent names is judged as the page of before it was.
func TestConsentOfAWeakSessionIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		action, form := br.authorize(t, b.foreign, nil).form(t)
		form.Set("decision", "allow")
		strict := b.foreign
		strict.OAuth.SecondFactor = tenant.MFARequired
		b.save(t, strict)
		b.pass(2 * time.Second)
		if a := br.post(t, action, form); a.status != http.StatusSeeOther || !strings.HasPrefix(a.head.Get("Location"), "/oauth2/authorize/continue?") {
			t.Errorf("got %d to %s", a.status, a.head.Get("Location"))
		}
		if n := b.count(t, "consents"); n != 0 {
			t.Errorf("%d consents", n)
		}
		br.authorize(t, b.foreign, url.Values{"prompt": {"none"}}).wantError(t, b.foreign, "login_required")
	})
}

// OAuth 2.1, section 7.3.1: another program could be waiting at the same address.
func TestConsentOfAProgramIsNotRemembered(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		program, _ := b.application(t, tenant.Application{Name: "Program", RedirectURIs: []string{"http://127.0.0.1/back"}, OAuth: tenant.OAuth{ThirdParty: true, ApplicationType: "native", AuthMethod: tenant.AuthNone}})
		br := b.browser()
		br.signIn(t, b.ann)
		for range 2 {
			action, form := br.authorize(t, program, url.Values{"redirect_uri": {"http://127.0.0.1:5050/back"}}).form(t)
			form.Set("decision", "allow")
			if a := br.post(t, action, form); !strings.HasPrefix(a.head.Get("Location"), "http://127.0.0.1:5050/back?code=") {
				t.Errorf("got %d to %s", a.status, a.head.Get("Location"))
			}
		}
	})
}
