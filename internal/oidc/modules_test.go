package oidc_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

// F.1, basic: "scope address" and "all scopes".
func TestScopesAreClaims(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		p.Write(t, func(ctx context.Context, tx *database.Tx) error {
			attributes := json.RawMessage(`{"address":{"formatted":"1 Main Street, Springfield"},"website":"https://ann.example.com"}`)
			_, err := p.Users.Update(ctx, tx, access.System(p.Demo.ID), ann.ID, user.Change{Attributes: attributes})
			return err
		})
		a := p.app(t, tenant.OAuth{})
		b := p.signedIn(t)
		for scope, claims := range map[string][]string{
			"openid address": {"address"},
			"openid profile email address phone offline_access": {"address", "email", "email_verified", "family_name", "given_name", "name", "phone_number", "phone_number_verified", "preferred_username", "updated_at", "website"},
		} {
			code, verifier := p.asked(t, b, a, url.Values{"scope": {scope}})
			got := wantTokens(t, p.tokens(t, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier))
			if got.Scope != scope {
				t.Errorf("%s: granted %q", scope, got.Scope)
			}
			told := p.client.With("Authorization", "Bearer "+got.Access).Get(t, "/oauth2/userinfo").Want(t, http.StatusOK).Object(t)
			for _, name := range slices.Concat(token.ClaimNames["profile"], token.ClaimNames["email"], token.ClaimNames["phone"], token.ClaimNames["address"]) {
				if (told[name] != nil) != slices.Contains(claims, name) {
					t.Errorf("%s: %s is %v", scope, name, told[name])
				}
			}
			if place, _ := told["address"].(map[string]any); place["formatted"] != "1 Main Street, Springfield" {
				t.Errorf("address is %v", told["address"])
			}
		}
	})
}

// F.1, basic: "display=page", "display=popup", "ui_locales", "claims_locales". How a page
// is shown is for the browser to say here; its language is for the application.
func TestDisplayAndLocales(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{})
		signed := p.signedIn(t)
		for name, change := range map[string]url.Values{
			"display=page": {"display": {"page"}}, "display=popup": {"display": {"popup"}}, "display=touch": {"display": {"touch"}}, "display=wap": {"display": {"wap"}},
			"ui_locales": {"ui_locales": {"se fr"}}, "claims_locales": {"claims_locales": {"se"}},
		} {
			t.Run(name, func(t *testing.T) { p.asked(t, signed, a, change) })
		}
		for locales, want := range map[string]string{"de": "de", "fr-CA fr en": "fr", "xx": "en", "xx ja": "ja"} {
			q := url.Values{
				"response_type": {"code"}, "client_id": {a.ClientID}, "redirect_uri": {redirectURI}, "scope": {"openid"}, "ui_locales": {locales},
				"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
			}
			page := p.Browser(apptest.BaseHost).Get(t, "/oauth2/authorize?"+q.Encode()).Want(t, http.StatusOK)
			if !strings.Contains(string(page.Body), `<html lang="`+want+`"`) {
				t.Errorf("ui_locales=%s: %.200s", locales, page.Body)
			}
		}
	})
}

// F.1, dynamic: "logo", "policy" and "terms" are shown where consent is asked for.
func TestConsentShowsWhoAsks(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.foreign.OAuth.LogoURI, b.foreign.OAuth.PolicyURI, b.foreign.OAuth.TermsURI = "https://foreign.example.com/logo.png", "https://foreign.example.com/policy", "https://foreign.example.com/terms"
		b.save(t, b.foreign)
		br := b.browser()
		br.signIn(t, b.ann)
		asked := br.authorize(t, b.foreign, nil)
		for _, want := range []string{`src="https://foreign.example.com/logo.png"`, `href="https://foreign.example.com/policy"`, `href="https://foreign.example.com/terms"`} {
			asked.wantPage(t, http.StatusOK, want)
		}
	})
}

// F.5: taking back an access token ends what can be refreshed, and the reverse.
func TestRevocationEndsBoth(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		for _, revoked := range []string{"access", "refresh"} {
			g, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid offline_access"})
			text := p.access(t, a, g, token.Options{})
			p.wantActive(t, a, text, true)
			post(t, p.as(a), "/oauth2/revoke", "token", map[string]string{"access": text, "refresh": refresh}[revoked]).Want(t, http.StatusOK)
			p.later()
			p.wantActive(t, a, text, false)
			p.wantActive(t, a, refresh, false)
			wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh), 400, "invalid_grant")
			wantOAuth(t, p.client.With("Authorization", "Bearer "+text).Get(t, "/oauth2/userinfo"), 401, "invalid_token")
		}
	})
}

// F.5: at_hash and azp, with one audience and with several in the access token.
func TestIDTokenNamesItsAccessTokenAndClient(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		p.ann(t)
		a := p.app(t, tenant.OAuth{Resources: []string{"https://api.example.com"}})
		b := p.signedIn(t)
		for _, resources := range [][]string{nil, {"https://api.example.com", origin}} {
			code, verifier := p.asked(t, b, a, url.Values{"resource": resources})
			got := wantTokens(t, p.tokens(t, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier))
			sum := sha256.Sum256([]byte(got.Access))
			claims := payload(t, got.ID)
			if claims["at_hash"] != base64.RawURLEncoding.EncodeToString(sum[:16]) || claims["aud"] != a.ClientID || claims["azp"] != a.ClientID {
				t.Errorf("got %v", claims)
			}
		}
	})
}

// samples is how many secrets of a kind are collected.
const samples = 200

// F.5, "entropy": what is handed out is collected, and each place of it judged by how
// often its most frequent character comes there (the most common value estimate of NIST
// SP 800-90B, section 6.3.1). Few samples make the estimate careful: an alphabet of 32
// counts 3.3 bits a character rather than 5, so 128 bits show as some 85.
func TestSecretsHaveEntropy(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{GrantTypes: all})
		var b *apptest.Browser
		challenge := []string{"response_type", "code", "redirect_uri", redirectURI, "scope", "openid", "code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method", "S256"}
		device := func(i int, member string) string {
			c := p.as(a)
			c.IP = "10.0.1." + string(rune('0'+i%10)) // limits count by address
			text, _ := post(t, c, "/oauth2/device_authorization").Want(t, http.StatusOK).Object(t)[member].(string)
			return text
		}
		for name, kind := range map[string]struct {
			least float64 // bits, estimated
			next  func(i int) string
		}{
			"code": {80, func(i int) string {
				if i == 0 { // another kind ends her sessions, for it makes too many
					b = p.signedIn(t)
				}
				code, _ := p.asked(t, b, a, nil)
				return code
			}},
			"request_uri": {80, func(int) string {
				text, _ := post(t, p.as(a), "/oauth2/par", challenge...).Want(t, http.StatusCreated).Object(t)["request_uri"].(string)
				return text
			}},
			"refresh token": {80, func(int) string {
				_, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "openid offline_access"})
				return refresh
			}},
			"device code": {80, func(i int) string { return device(i, "device_code") }},
			"user code":   {20, func(i int) string { return device(i, "user_code") }},
			"client secret": {80, func(int) (text string) {
				p.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
					_, text, err = p.Tenants.CreateApplication(ctx, tx, access.System(p.Demo.ID), tenant.Application{Name: "Sample", RedirectURIs: []string{redirectURI}})
					return err
				})
				return text
			}},
		} {
			t.Run(name, func(t *testing.T) {
				var seen []string
				for i := range samples {
					if i%40 == 0 {
						p.Clock.Advance(10 * 60e9) // what is limited by address comes back
					}
					seen = append(seen, kind.next(i))
				}
				if bits := entropy(seen); bits < kind.least {
					t.Errorf("an estimate of %.0f bits, such as %q", bits, seen[:3])
				}
				if slices.Sort(seen); len(slices.Compact(seen)) != samples {
					t.Error("one came twice")
				}
			})
		}
	})
}

// entropy is the sum of what each place of some texts is worth, in bits.
func entropy(texts []string) (bits float64) {
	n := float64(len(texts))
	for at := range texts[0] {
		counts := map[byte]float64{}
		for _, text := range texts {
			if at < len(text) {
				counts[text[at]]++
			}
		}
		most := slices.Max(slices.Collect(maps.Values(counts))) / n
		bits -= math.Log2(min(1, most+2.576*math.Sqrt(most*(1-most)/(n-1))))
	}
	return bits
}
