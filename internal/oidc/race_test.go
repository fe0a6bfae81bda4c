package oidc_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A refresh that races with the end of what it refreshes leaves nothing that works:
// neither the new access token nor the new refresh token.
func TestRefreshRacesWithTheEnd(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		by := access.System(p.Demo.ID)
		for name, end := range map[string]func(t *testing.T, g session.Grant, refresh string){
			"revocation": func(t *testing.T, _ session.Grant, refresh string) {
				post(t, p.as(a), "/oauth2/revoke", "token", refresh).Want(t, http.StatusOK)
			},
			"logout": func(t *testing.T, g session.Grant, _ string) {
				p.Write(t, func(ctx context.Context, tx *database.Tx) error {
					return p.Sessions.End(ctx, tx, by, ann.ID, g.SessionID, "logout")
				})
			},
			"end of all sessions": func(t *testing.T, _ session.Grant, _ string) {
				p.Write(t, func(ctx context.Context, tx *database.Tx) error {
					_, err := p.Sessions.EndAll(ctx, tx, by, ann.ID, "test")
					return err
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				for range 20 {
					g, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "email"})
					var wg sync.WaitGroup
					answers := make(chan issued, 4)
					for range cap(answers) {
						wg.Go(func() {
							if answer := p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh); answer.Status == http.StatusOK {
								answers <- wantTokens(t, answer)
							}
						})
					}
					wg.Go(func() { end(t, g, refresh) })
					wg.Wait()
					close(answers)
					p.later()
					for got := range answers {
						p.wantActive(t, a, got.Access, false)
						wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", got.Refresh), 400, "invalid_grant")
					}
				}
			})
		}
	})
}

func TestRefreshRacesWithDisabling(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		_, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "email"})
		var wg sync.WaitGroup
		answers := make(chan issued, 20)
		for range cap(answers) {
			wg.Go(func() {
				if answer := p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh); answer.Status == http.StatusOK {
					answers <- wantTokens(t, answer)
				}
			})
		}
		wg.Go(func() { p.disable(t, ann.ID) })
		wg.Wait()
		close(answers)
		p.later()
		for got := range answers {
			p.wantActive(t, a, got.Access, false)
			wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", got.Refresh), 400, "invalid_grant")
		}
	})
}

// A refresh token ends at its time although it is used all along.
func TestRefreshTokensEndForGood(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		a := p.app(t, tenant.OAuth{})
		_, refresh := p.grant(t, a, ann.ID, session.Grant{Scope: "email"})
		for day := 0; day < 90; day += 29 {
			refresh = wantTokens(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh)).Refresh
			p.Clock.Advance(29 * 24 * time.Hour)
		}
		wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", refresh), 400, "invalid_grant")

		_, idle := p.grant(t, a, ann.ID, session.Grant{Scope: "email"})
		p.Clock.Advance(31 * 24 * time.Hour)
		wantOAuth(t, p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", idle), 400, "invalid_grant")
	})
}

// Each kind of token is refused wherever another one belongs.
func TestTokensAreNotTakenForOneAnother(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		ann := p.ann(t)
		b := p.signedIn(t)
		a := p.app(t, tenant.OAuth{GrantTypes: all})
		code, verifier := p.asked(t, b, a, nil)
		got := wantTokens(t, p.tokens(t, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier))
		kinds := map[string]string{"access token": got.Access, "ID token": got.ID, "refresh token": got.Refresh, "code": code, "session": b.Cookie("__Host-cardea"), "API key": p.Demo.Key, "secret": a.secret}
		acceptors := map[string]func(text string) bool{
			"access token": func(text string) bool {
				return p.client.With("Authorization", "Bearer "+text).Get(t, "/oauth2/userinfo").Status == http.StatusOK
			},
			"access token of an exchange": func(text string) bool {
				return p.tokens(t, a, "grant_type", tenant.GrantExchange, "subject_token", text, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token").Status == http.StatusOK
			},
			"refresh token": func(text string) bool {
				return p.tokens(t, a, "grant_type", "refresh_token", "refresh_token", text).Status == http.StatusOK
			},
			"device code": func(text string) bool {
				return p.tokens(t, a, "grant_type", tenant.GrantDevice, "device_code", text).Status == http.StatusOK
			},
			"assertion": func(text string) bool {
				return p.post(t, "/oauth2/token", "grant_type", credentials, "client_assertion", text, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer").Status == http.StatusOK
			},
			"API key": func(text string) bool {
				return p.client.With("Authorization", "Bearer "+text).Get(t, "/api/v1/users/"+ann.ID).Status == http.StatusOK
			},
		}
		own := map[string]string{"access token": "access token", "access token of an exchange": "access token", "refresh token": "refresh token", "API key": "API key"}
		for at, takes := range acceptors {
			for kind, text := range kinds {
				if taken := takes(text); taken != (own[at] == kind) {
					t.Errorf("%s as %s: taken is %v", kind, at, taken)
				}
			}
		}
	})
}
