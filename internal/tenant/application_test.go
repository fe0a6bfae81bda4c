package tenant_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// application makes one in the shop.
func (b *bench) application(t testing.TB, a tenant.Application) (made tenant.Application, key string, err error) {
	t.Helper()
	if a.Name == "" {
		a.Name = "An application"
	}
	err = b.try(t, func(ctx context.Context, tx *database.Tx) error {
		made, key, err = b.CreateApplication(ctx, tx, b.owner, a)
		return err
	})
	return made, key, err
}

func (b *bench) mustApplication(t testing.TB, a tenant.Application) (tenant.Application, string) {
	t.Helper()
	made, key, err := b.application(t, a)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func (b *bench) saveApplication(t testing.TB, a tenant.Application) error {
	t.Helper()
	return b.try(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.SaveApplication(ctx, tx, b.owner, a)
		return err
	})
}

// Whatever a browser reads otherwise than we do is no redirect URI.
func TestRedirectURIsAreJudged(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, address := range []string{
			"", "app.example.com/callback", "//app.example.com/callback", "http://app.example.com/callback", "https://", "https:///callback", "https://app.example.com/#here",
			"https://app.example.com/\\evil", "https://app.example.com\\@evil.example", "https://user@app.example.com/", "https://app.example.com:/", "https://app.example.com:99999/", "https://app..example.com/",
			"https://app.example.com/ space", "https://app.example.com/\n", "https://äpp.example.com/", "https://app_.example.com%00/", "javascript:alert(1)", "data:text/html,x", "data.x:/", "javascript.x:alert(1)", "myapp:/callback",
			"http://localhost.example.com/", "http://127.0.0.1.example.com/", "http://[::1%25eth0]/", "https://" + strings.Repeat("a", 2048) + ".example/",
		} {
			_, _, err := b.application(t, tenant.Application{RedirectURIs: []string{address}})
			wantField(t, err, tenant.ErrApplication, "redirect_uris")
			if t.Failed() {
				t.Fatalf("%q", address)
			}
		}
		fine := []string{"https://app.example.com/callback?x=1", "https://app.example.com:8443", "https://192.0.2.1/", "http://localhost:3000/callback", "http://127.0.0.1/", "http://[::1]:1234/back", "com.example.app:/callback"}
		made, _ := b.mustApplication(t, tenant.Application{RedirectURIs: fine, AllowedOrigins: []string{"https://App.Example.com/"}})
		if !slices.Equal(made.RedirectURIs, fine) || !slices.Equal(made.AllowedOrigins, []string{"https://app.example.com"}) {
			t.Errorf("got %q, %q", made.RedirectURIs, made.AllowedOrigins)
		}
	})
}

func TestApplicationsAreJudged(t *testing.T) {
	private := json.RawMessage(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`)
	run(t, func(t *testing.T, b *bench) {
		for name, c := range map[string]struct {
			a     tenant.Application
			field string
		}{
			"a name of spaces":               {tenant.Application{Name: "  "}, "name"},
			"a name of 201 bytes":            {tenant.Application{Name: strings.Repeat("a", 201)}, "name"},
			"an origin with a path":          {tenant.Application{AllowedOrigins: []string{"https://app.example.com/x"}}, "allowed_origins"},
			"the origin of a file":           {tenant.Application{AllowedOrigins: []string{"null"}}, "allowed_origins"},
			"an unknown proof":               {tenant.Application{OAuth: tenant.OAuth{AuthMethod: "magic"}}, "oauth.token_endpoint_auth_method"},
			"a key without one":              {tenant.Application{OAuth: tenant.OAuth{AuthMethod: tenant.AuthKey}}, "oauth.jwks"},
			"a key that is secret":           {tenant.Application{OAuth: tenant.OAuth{AuthMethod: tenant.AuthKey, JWKS: private}}, "oauth.jwks"},
			"an unknown grant":               {tenant.Application{OAuth: tenant.OAuth{GrantTypes: []string{"implicit"}}}, "oauth.grant_types"},
			"credentials without a secret":   {tenant.Application{OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantCredentials}}}, "oauth.grant_types"},
			"a start without TLS":            {tenant.Application{OAuth: tenant.OAuth{InitiateLoginURI: "http://app.example.com/login"}}, "oauth.initiate_login_uri"},
			"a start in a program":           {tenant.Application{OAuth: tenant.OAuth{InitiateLoginURI: "com.example.app:/login"}}, "oauth.initiate_login_uri"},
			"a weak signature":               {tenant.Application{OAuth: tenant.OAuth{IDTokenAlg: "none"}}, "oauth.id_token_signed_response_alg"},
			"tokens of more than a day":      {tenant.Application{OAuth: tenant.OAuth{AccessTokenLifetime: 86401}}, "oauth.access_token_lifetime"},
			"a second factor of another way": {tenant.Application{OAuth: tenant.OAuth{SecondFactor: "off"}}, "oauth.second_factor"},
			"a goodbye to somewhere":         {tenant.Application{OAuth: tenant.OAuth{PostLogoutRedirectURIs: []string{"http://evil.example/"}}}, "oauth.post_logout_redirect_uris"},
		} {
			t.Run(name, func(t *testing.T) {
				a := c.a
				if a.Name == "" {
					a.Name = "An application"
				}
				_, _, err := b.application(t, a)
				wantField(t, err, tenant.ErrApplication, c.field)
			})
		}
	})
}

func TestTheZeroApplicationIsConfidential(t *testing.T) {
	t.Parallel()
	var a tenant.Application
	if a.IsPublic() || a.IsNative() || a.TokenLifetime() != tenant.DefaultAccessTokenLifetime {
		t.Errorf("got %+v", a)
	}
	if want := []string{tenant.GrantCode, tenant.GrantRefresh, tenant.GrantCredentials}; !slices.Equal(a.Grants(), want) || a.May(tenant.GrantPassword) || a.May(tenant.GrantExchange) {
		t.Errorf("it may use %q", a.Grants())
	}
	a.OAuth.AuthMethod = tenant.AuthNone
	if !a.IsPublic() || a.May(tenant.GrantCredentials) {
		t.Errorf("a public one may use %q", a.Grants())
	}
}

// People are led to what an application has registered, letter by letter, and never into
// a program.
func TestStartsAtWhatIsRegistered(t *testing.T) {
	t.Parallel()
	a := tenant.Application{RedirectURIs: []string{"https://app.example.com/callback", "com.example.app:/callback"}, OAuth: tenant.OAuth{InitiateLoginURI: "https://app.example.com/login"}}
	for address, want := range map[string]bool{
		"https://app.example.com/login": true, "https://app.example.com/callback": true, "com.example.app:/callback": false, "": false,
		"https://app.example.com/callback/": false, "https://app.example.com/callback?x=1": false, "https://APP.example.com/callback": false, "https://app.example.com": false,
	} {
		if got := a.StartsAt(address); got != want {
			t.Errorf("%q: %t", address, got)
		}
	}
	if (tenant.Application{}).StartsAt("") {
		t.Error("one without addresses starts nowhere")
	}
}

func TestApplicationsBelongToTheirTenant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		mine, _ := b.mustApplication(t, tenant.Application{})
		other := b.create(t, "other")
		if _, err := b.ActiveApplication(t.Context(), other.ID, mine.ID); !errors.Is(err, tenant.ErrApplicationNotFound) {
			t.Errorf("another tenant finds it: %v", err)
		}
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			return b.DeleteApplication(ctx, tx, access.System(other.ID), mine.ID)
		})
		if !errors.Is(err, tenant.ErrApplicationNotFound) {
			t.Errorf("another tenant deletes it: %v", err)
		}
		found, err := b.ByClientID(t.Context(), mine.ClientID)
		if err != nil || found.ID != mine.ID || found.TenantID != b.shop.ID {
			t.Errorf("got %+v, %v", found, err)
		}
		mine.IsActive = false
		if err := b.saveApplication(t, mine); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ByClientID(t.Context(), mine.ClientID); !errors.Is(err, tenant.ErrClient) {
			t.Errorf("switched off: %v", err)
		}
		if _, err := b.ActiveApplication(t.Context(), b.shop.ID, mine.ID); !errors.Is(err, tenant.ErrClient) {
			t.Errorf("switched off: %v", err)
		}
	})
}

// Nobody gives an application what they do not hold, and what it has it keeps.
func TestApplicationGetsNoMoreThanItsMakerHolds(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		strong, _ := b.mustApplication(t, tenant.Application{OAuth: tenant.OAuth{Scopes: []string{string(access.UsersWrite), "own:thing"}}})
		b.owner = access.Actor{Tenant: b.shop.ID, Name: "key:x"}.With(access.ApplicationsRead, access.ApplicationsWrite)
		if _, _, err := b.application(t, tenant.Application{OAuth: tenant.OAuth{Scopes: []string{string(access.UsersWrite)}}}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a new one: %v", err)
		}
		strong.Name = "Renamed"
		if err := b.saveApplication(t, strong); err != nil {
			t.Errorf("with what it had: %v", err)
		}
		strong.OAuth.Scopes = append(strong.OAuth.Scopes, string(access.UsersRead))
		if err := b.saveApplication(t, strong); !errors.Is(err, access.ErrDenied) {
			t.Errorf("one scope more: %v", err)
		}
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.RotateSecret(ctx, tx, b.owner, strong.ID, 0)
			return err
		})
		if !errors.Is(err, access.ErrDenied) {
			t.Errorf("its secret: %v", err)
		}
	})
}

// Whoever has the key that an application proves itself by has its scopes, too.
func TestApplicationProvesItselfByNoKeyOfSomebodyWithLess(t *testing.T) {
	const jwks = `{"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "kid": "%s"}]}`
	run(t, func(t *testing.T, b *bench) {
		scopes := []string{string(access.UsersWrite)}
		bySecret, _ := b.mustApplication(t, tenant.Application{OAuth: tenant.OAuth{Scopes: scopes}})
		byKey, _ := b.mustApplication(t, tenant.Application{OAuth: tenant.OAuth{Scopes: scopes, AuthMethod: tenant.AuthKey, JWKS: fmt.Appendf(nil, jwks, "ours")}})
		plain, _ := b.mustApplication(t, tenant.Application{})
		full := b.owner
		b.owner = access.Actor{Tenant: b.shop.ID, Name: "key:x"}.With(access.ApplicationsRead, access.ApplicationsWrite)
		byAnother := func(a tenant.Application) tenant.Application {
			a.OAuth.AuthMethod, a.OAuth.JWKS = tenant.AuthKey, fmt.Appendf(nil, jwks, "theirs")
			return a
		}
		elsewhere, public := byKey, byKey
		elsewhere.OAuth.JWKS, elsewhere.OAuth.JWKSURI = nil, "https://elsewhere.example/keys"
		public.OAuth.JWKS, public.OAuth.AuthMethod = nil, tenant.AuthNone
		for name, a := range map[string]tenant.Application{"a key in place of a secret": byAnother(bySecret), "another key": byAnother(byKey), "keys of another server": elsewhere, "none": public} {
			if err := b.saveApplication(t, a); !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		byKey.Name, byKey.OAuth.JWKS = "Renamed", fmt.Appendf(nil, jwks+"\n", "ours")
		if err := b.saveApplication(t, byKey); err != nil {
			t.Errorf("with the key it had: %v", err)
		}
		if err := b.saveApplication(t, byAnother(plain)); err != nil {
			t.Errorf("one without scopes: %v", err)
		}
		b.owner = full
		if err := b.saveApplication(t, byAnother(bySecret)); err != nil {
			t.Errorf("by somebody who holds as much: %v", err)
		}
	})
}

// Both secrets are good while the new one is rolled out, and then one.
func TestSecretsOverlap(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		app, first := b.mustApplication(t, tenant.Application{})
		check := func(key string, want bool) {
			t.Helper()
			b.now = b.now.Add(2 * time.Second) // what is remembered is over
			if got, err := b.CheckSecret(t.Context(), app, key); err != nil || got != want {
				t.Errorf("got %t, %v, want %t", got, err, want)
			}
		}
		rotate := func(overlap time.Duration) (key string, err error) {
			err = b.try(t, func(ctx context.Context, tx *database.Tx) error {
				key, err = b.RotateSecret(ctx, tx, b.owner, app.ID, overlap)
				return err
			})
			return key, err
		}
		check(first, true)
		check("", false)
		check("cs_nothing", false)
		second, err := rotate(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		check(first, true)
		check(second, true)
		b.now = b.now.Add(time.Hour)
		check(first, false)
		check(second, true)
		third, err := rotate(0)
		if err != nil {
			t.Fatal(err)
		}
		check(second, false)
		check(third, true)
		for _, overlap := range []time.Duration{-time.Second, 91 * 24 * time.Hour} {
			if _, err := rotate(overlap); !errors.Is(err, tenant.ErrApplication) {
				t.Errorf("an overlap of %s: %v", overlap, err)
			}
		}
		public, key := b.mustApplication(t, tenant.Application{OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone}})
		if key != "" {
			t.Error("a public application has a secret")
		}
		if ok, err := b.CheckSecret(t.Context(), public, third); err != nil || ok {
			t.Errorf("another's secret: %t, %v", ok, err)
		}
	})
}
