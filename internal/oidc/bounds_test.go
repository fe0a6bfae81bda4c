package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
)

// exhaust uses up a limit by rate for an address and the next hour, but for left uses.
func (p *provider) exhaust(t *testing.T, l ratelimit.Limit, ip string, left int64) {
	t.Helper()
	if err := p.SignIn.Limits.Take(t.Context(), p.Demo.ID, l.For(ratelimit.Key("", ip))); err != nil && !errors.Is(err, ratelimit.ErrLimited) {
		t.Fatal(err)
	}
	full := p.Clock.Now().Add(time.Hour + l.Per).UnixMilli()
	if left > 0 {
		full = p.Clock.Now().Add(l.Per - time.Duration(left)*l.Per/time.Duration(l.Count)).UnixMilli()
	}
	p.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE rate_limits SET at = $3, expires_at = $3 WHERE tenant_id = $1 AND name = $2`, p.Demo.ID, l.Name, full)
		return err
	})
}

// rows counts what strangers can have stored.
func (p *provider) rows(t *testing.T) (n int64) {
	t.Helper()
	const stmt = `SELECT (SELECT count(*) FROM authorization_requests WHERE tenant_id = $1) + (SELECT count(*) FROM attempts WHERE tenant_id = $1)
		+ (SELECT count(*) FROM used_assertions WHERE tenant_id = $1) + (SELECT count(*) FROM device_codes WHERE tenant_id = $1)`
	if err := p.DB.QueryRow(t.Context(), stmt, p.Demo.ID).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const strangersIP, othersIP = "203.0.113.9", "203.0.113.10"

func TestStrangersHaveOnlySoManyRowsStored(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		public, secretive := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantCode, tenant.GrantRefresh, tenant.GrantDevice}}), p.app(t, tenant.OAuth{GrantTypes: all})
		query := url.Values{
			"response_type": {"code"}, "client_id": {public.ClientID}, "redirect_uri": {redirectURI}, "scope": {"openid"}, "state": {"s"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}
		pairs := func(f url.Values) (out []string) {
			for name := range f {
				out = append(out, name, f.Get(name))
			}
			return out
		}
		key := newES256(t, "")
		browse := func(ip string) *apptest.Browser {
			b := p.Browser(apptest.BaseHost)
			b.IP = ip
			return b
		}
		from := func(ip string) apptest.Client {
			c := p.client
			c.IP = ip
			return c
		}
		ways := map[string]func(t *testing.T, ip string) int{
			"the authorization endpoint": func(t *testing.T, ip string) int {
				return browse(ip).Visit(t, "/oauth2/authorize?"+query.Encode()).Status
			},
			"the authorization endpoint by a form": func(t *testing.T, ip string) int {
				return post(t, from(ip), "/oauth2/authorize", pairs(query)...).Status
			},
			"a pushed request": func(t *testing.T, ip string) int { return post(t, from(ip), "/oauth2/par", pairs(query)...).Status },
			"single sign-on": func(t *testing.T, ip string) int {
				q := url.Values{"response_type": {"code"}, "client_id": {public.ClientID}, "redirect_uri": {redirectURI}, "state": {"s"}}
				return from(ip).Get(t, "/api/sso/authorize?"+q.Encode()).Status
			},
			"the sign-in page": func(t *testing.T, ip string) int {
				b := browse(ip)
				return b.Press(t, b.Visit(t, "/signin"), "/signin", "identifier", annMail).Status
			},
			"a nonce": func(t *testing.T, ip string) int {
				return from(ip).With("X-Client-Id", secretive.ClientID).Post(t, "/api/v1/auth/social/0123456789abcdef01234567/nonce", "{}").Status
			},
			"a DPoP proof": func(t *testing.T, ip string) int {
				c := from(ip).With("DPoP", p.proof(t, key, "POST", "/oauth2/token", ""))
				return post(t, c, "/oauth2/token", "grant_type", "refresh_token", "client_id", public.ClientID, "refresh_token", "none").Status
			},
			"a device": func(t *testing.T, ip string) int {
				return post(t, from(ip), "/oauth2/device_authorization", "client_id", public.ClientID).Status
			},
		}
		for _, l := range []ratelimit.Limit{ratelimit.Begin, ratelimit.Proofs, ratelimit.DeviceStarts} {
			p.exhaust(t, l, strangersIP, 0)
		}
		for name, ask := range ways {
			t.Run(name, func(t *testing.T) {
				before := p.rows(t)
				if status := ask(t, strangersIP); status != http.StatusTooManyRequests || p.rows(t) != before {
					t.Errorf("got %d, and %d rows more", status, p.rows(t)-before)
				}
				if status := ask(t, othersIP); status == http.StatusTooManyRequests || p.rows(t) == before && name != "a nonce" {
					t.Errorf("from elsewhere: got %d, and %d rows more", status, p.rows(t)-before)
				}
			})
		}
		t.Run("an application that proves itself is no stranger", func(t *testing.T) {
			query.Set("client_id", secretive.ClientID)
			c := p.as(secretive)
			c.IP = strangersIP
			post(t, c, "/oauth2/par", pairs(query)...).Want(t, http.StatusCreated)
		})
	})
}

// A sign-in that an application asks for counts once, however it is asked for.
func TestASignInCountsOnce(t *testing.T) {
	withProvider(t, func(t *testing.T, p *provider) {
		a := p.app(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		b := p.Browser(apptest.BaseHost)
		b.IP = strangersIP
		query := url.Values{
			"response_type": {"code"}, "client_id": {a.ClientID}, "redirect_uri": {redirectURI}, "scope": {"openid"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}
		p.exhaust(t, ratelimit.Begin, strangersIP, 1)
		b.Get(t, "/oauth2/authorize?"+query.Encode()).Want(t, http.StatusOK)
		p.exhaust(t, ratelimit.Begin, strangersIP, 0)
		b.Get(t, "/oauth2/authorize?"+query.Encode()).Want(t, http.StatusTooManyRequests)
		p.Clock.Advance(ratelimit.Begin.Per + time.Hour)
		b.Get(t, "/oauth2/authorize?"+query.Encode()).Want(t, http.StatusOK)
	})
}
