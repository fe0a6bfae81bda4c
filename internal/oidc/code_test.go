package oidc_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// freshCode signs ann in and returns a code for b.public.
func (b *front) freshCode(t *testing.T, change url.Values) string {
	t.Helper()
	br := b.browser()
	br.signIn(t, b.ann)
	return br.authorize(t, b.public, change).code(t, b.public)
}

// C2.26: each defect alone, and the code is still good for its owner after that.
func TestCodeIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		other, _ := b.application(t, tenant.Application{Name: "Other", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone}})
		for name, change := range map[string]url.Values{
			"of another client":               {"client_id": {other.ClientID}},
			"with another redirect URI":       {"redirect_uri": {callback + "/"}},
			"without a verifier":              {"code_verifier": nil},
			"with a wrong verifier":           {"code_verifier": {strings.Repeat("a", 43)}},
			"with a verifier of 42":           {"code_verifier": {verifier[1:]}},
			"with a verifier of 129":          {"code_verifier": {strings.Repeat("a", 129)}},
			"with the challenge for verifier": {"code_verifier": {challenge}},
			"with another letter":             {"code": {"AAAAAAAAAAAAAAAAAAAAAAAAAA"}},
		} {
			t.Run(name, func(t *testing.T) {
				code := b.freshCode(t, nil)
				if out, a := b.redeem(t, code, change); out.Error != "invalid_grant" || out.Access != "" || a.status != http.StatusBadRequest {
					t.Errorf("got %d %+v", a.status, out)
				}
				if out, _ := b.redeem(t, code, nil); out.Access == "" {
					t.Errorf("its owner got %+v", out)
				}
			})
		}
		t.Run("without the key it is bound to", func(t *testing.T) { // C2.55
			code := b.freshCode(t, url.Values{"dpop_jkt": {strings.Repeat("A", 43)}})
			if out, _ := b.redeem(t, code, nil); out.Error != "invalid_grant" {
				t.Errorf("got %+v", out)
			}
		})
		t.Run("expired", func(t *testing.T) {
			code := b.freshCode(t, nil)
			b.pass(time.Minute)
			if out, _ := b.redeem(t, code, nil); out.Error != "invalid_grant" {
				t.Errorf("got %+v", out)
			}
		})
	})
}

// C2.26, C2.27: a verifier for a code whose request had no challenge, because somebody
// has taken it out.
func TestCodeWithoutChallengeTakesNoVerifier(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		lax, key := b.application(t, tenant.Application{Name: "Lax", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{WithoutPKCE: true}})
		br := b.browser()
		br.signIn(t, b.ann)
		code := br.authorize(t, lax, url.Values{"code_challenge": nil, "code_challenge_method": nil}).code(t, lax)
		own := url.Values{"client_id": {lax.ClientID}, "client_secret": {key}}
		if out, _ := b.redeem(t, code, own); out.Error != "invalid_grant" {
			t.Errorf("with a verifier: got %+v", out)
		}
		own.Set("code_verifier", "")
		own["redirect_uri"] = nil
		if out, _ := b.redeem(t, code, own); out.Error != "invalid_grant" {
			t.Errorf("without the redirect URI that the request had named: got %+v", out)
		}
		own.Set("redirect_uri", callback)
		if out, _ := b.redeem(t, code, own); out.Access == "" {
			t.Errorf("as it should be: got %+v", out)
		}
	})
}

// OAuth 2.1, section 10.2: PKCE binds a code better than its address does.
func TestRedirectURIMayBeLeftOutWithPKCE(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		if out, _ := b.redeem(t, b.freshCode(t, nil), url.Values{"redirect_uri": nil}); out.Access == "" {
			t.Errorf("got %+v", out)
		}
	})
}

// C2.26, F.1 "code reuse immediately" and "code reuse after 30 s".
func TestCodeReuseEndsWhatItLedTo(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for name, after := range map[string]time.Duration{"at once": 0, "after 30 seconds": 30 * time.Second, "after an hour": time.Hour} {
			t.Run(name, func(t *testing.T) {
				code := b.freshCode(t, url.Values{"scope": {"openid offline_access"}})
				first, _ := b.redeem(t, code, nil)
				b.pass(after)
				before := b.events(t, "grant.reuse_detected")
				other, _ := b.application(t, tenant.Application{Name: name, RedirectURIs: []string{callback}, OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone}})
				if out, _ := b.redeem(t, code, url.Values{"client_id": {other.ClientID}}); out.Error != "invalid_grant" || b.events(t, "grant.reuse_detected") != before {
					t.Errorf("another client: got %+v", out) // and it can end nothing
				}
				if out, _ := b.redeem(t, code, url.Values{"code_verifier": {"short"}}); out.Error != "invalid_grant" {
					t.Errorf("got %+v", out)
				}
				if b.events(t, "grant.reuse_detected") != before+1 {
					t.Error("nothing is logged")
				}
				if after < 15*time.Minute && b.works(t, first.Access) {
					t.Error("the access token is still good")
				}
				out, _ := b.token(t, url.Values{"grant_type": {"refresh_token"}, "client_id": {b.public.ClientID}, "refresh_token": {first.Refresh}})
				if first.Refresh == "" || out.Error != "invalid_grant" {
					t.Errorf("the refresh token %q gives %+v", first.Refresh, out)
				}
			})
		}
	})
}

// C2.26: 200 at once.
func TestRedeemRaceHasOneWinner(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		code := b.freshCode(t, nil)
		var wg sync.WaitGroup
		won := make(chan tokens, 200)
		for range 200 {
			wg.Go(func() {
				switch out, _ := b.redeem(t, code, nil); {
				case out.Access != "":
					won <- out
				case out.Error != "invalid_grant":
					t.Errorf("got %+v", out)
				}
			})
		}
		wg.Wait()
		close(won)
		winners := 0
		for out := range won {
			if winners++; b.works(t, out.Access) { // one of two hundred is not its owner
				t.Error("the winner's token is still good")
			}
		}
		if winners != 1 || b.count(t, "grants") != 1 {
			t.Errorf("%d winners, %d grants", winners, b.count(t, "grants"))
		}
	})
}

func TestRefreshTokensAreForThoseWhoAsk(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		never, _ := b.application(t, tenant.Application{Name: "Never", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantCode}}})
		br := b.browser()
		in := br.signIn(t, b.ann)
		for name, c := range map[string]struct {
			app             tenant.Application
			scope           string
			refresh, withID bool
		}{
			"openid":                      {b.public, "openid", false, true},
			"openid and offline_access":   {b.public, "openid offline_access", true, true},
			"no openid":                   {b.public, "email", true, false},
			"no scope":                    {b.public, "", true, false},
			"an application that may not": {never, "openid offline_access", false, true},
		} {
			t.Run(name, func(t *testing.T) {
				code := br.authorize(t, c.app, url.Values{"scope": {c.scope}}).code(t, c.app)
				out, _ := b.redeem(t, code, url.Values{"client_id": {c.app.ClientID}})
				if (out.Refresh != "") != c.refresh || (out.ID != "") != c.withID || out.Access == "" {
					t.Errorf("got %+v", out)
				}
			})
		}
		code := br.authorize(t, b.public, url.Values{"scope": {"openid offline_access"}}).code(t, b.public)
		offline, _ := b.redeem(t, code, nil)
		online, _ := b.redeem(t, br.authorize(t, b.public, url.Values{"scope": {"email"}}).code(t, b.public), nil)
		b.write(t, func(tx *database.Tx) error {
			return b.Sessions.End(t.Context(), tx, access.System(b.tenant), b.ann.ID, in.ID, "logout")
		})
		for token, want := range map[string]bool{offline.Refresh: true, online.Refresh: false} {
			out, _ := b.token(t, url.Values{"grant_type": {"refresh_token"}, "client_id": {b.public.ClientID}, "refresh_token": {token}})
			if (out.Access != "") != want {
				t.Errorf("after the end of the session: got %+v, want %v", out, want)
			}
		}
	})
}

// C2.36 for codes: a code and the end of its session at once leave nothing that works.
func TestCodeAndLogoutAtOnceLeaveNothing(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for range 25 {
			br := b.browser()
			in := br.signIn(t, b.ann)
			code := br.authorize(t, b.public, nil).code(t, b.public)
			var wg sync.WaitGroup
			var out tokens
			wg.Go(func() { out, _ = b.redeem(t, code, nil) })
			wg.Go(func() {
				b.write(t, func(tx *database.Tx) error {
					return b.Sessions.End(t.Context(), tx, access.System(b.tenant), b.ann.ID, in.ID, "logout")
				})
			})
			wg.Wait()
			if out.Access != "" && b.works(t, out.Access) {
				t.Fatal("a token outlives its session")
			}
		}
	})
}
