package sso_test

import (
	"errors"
	"testing"

	"github.com/cardea-id/cardea/internal/sso"
	tenants "github.com/cardea-id/cardea/internal/tenant"
)

// shop is an application.
const shop = "000000000000000000000b01"

// registers makes an application one that people may land at.
func (b *bench) registers(id, start string, redirects ...string) {
	if b.apps == nil {
		b.apps = map[string]tenants.Application{}
	}
	b.apps[id] = tenants.Application{ID: id, RedirectURIs: redirects, IsActive: true, OAuth: tenants.OAuth{InitiateLoginURI: start}}
}

// begunThere is a connection whose people may begin at the provider.
func (b *bench) begunThere(t testing.TB, to sso.Target) sso.Connection {
	t.Helper()
	return b.save(t, b.saml(t), func(o *sso.Settings) { o.AllowUnsolicited, o.Target = true, to })
}

// C3 66: who begins at the provider lands where the connection says, of what the
// application has registered; what the provider says of it is not read.
func TestProviderBegunSignInLandsAtItsTarget(t *testing.T) {
	for name, c := range map[string]struct {
		to   sso.Target
		want string
	}{
		"the application's start":    {sso.Target{ApplicationID: shop}, "https://shop.example/login?iss=https%3A%2F%2Facme.example.com&tenant=1"},
		"that start by its address":  {sso.Target{ApplicationID: shop, Address: "https://shop.example/login?tenant=1"}, "https://shop.example/login?iss=https%3A%2F%2Facme.example.com&tenant=1"},
		"one of its redirect URIs":   {sso.Target{ApplicationID: shop, Address: "https://shop.example/callback"}, "https://shop.example/callback"},
		"their own account, with no": {sso.Target{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.registers(shop, "https://shop.example/login?tenant=1", "https://shop.example/callback")
				conn := b.begunThere(t, c.to)
				handle, err := b.ReceiveSAML(t.Context(), b.by, conn.ID, b.answer(t, conn, said{request: "none"}), "https://evil.example/")
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := b.Look(t.Context(), b.by, handle, browser); err != nil {
					t.Fatal(err)
				}
				_, f, err := b.Claim(t.Context(), b.by, handle, browser)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if f.Landing != nil {
					got = f.Landing.Address
				}
				if got != c.want {
					t.Errorf("lands at %q, want %q", got, c.want)
				}
				if _, f, err := b.signIn(t, conn, said{}); err != nil || f.Landing != nil {
					t.Errorf("one that was begun here lands at %+v, %v", f.Landing, err)
				}
			})
		})
	}
}

// An address that is registered no more leads nowhere, and the trace says what to change.
func TestTargetThatIsGoneSignsNobodyIn(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"the address is taken out":     func(b *bench) { b.registers(shop, "https://shop.example/login") },
		"the application has no start": func(b *bench) { b.registers(shop, "") },
		"the application is gone":      func(b *bench) { delete(b.apps, shop) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.registers(shop, "https://shop.example/login", "https://shop.example/callback")
				conn := b.begunThere(t, sso.Target{ApplicationID: shop, Address: "https://shop.example/callback"})
				waiting, err := b.ReceiveSAML(t.Context(), b.by, conn.ID, b.answer(t, conn, said{request: "none"}), "")
				if err != nil {
					t.Fatal(err)
				}
				change(b)
				if _, _, err := b.Look(t.Context(), b.by, waiting, browser); !errors.Is(err, sso.ErrRefused) {
					t.Errorf("what waited: %v", err)
				}
				_, err = b.ReceiveSAML(t.Context(), b.by, conn.ID, b.answer(t, conn, said{request: "none"}), "")
				if trace := b.lastTrace(t, conn); !errors.Is(err, sso.ErrRefused) || trace.Cause != sso.Landed || trace.Fix.Field != "settings.target" {
					t.Errorf("got %v, %+v", err, trace)
				}
				if _, _, err := b.signIn(t, conn, said{}); err != nil {
					t.Errorf("one that was begun here: %v", err)
				}
				if trace, err := b.Check(t.Context(), b.admin, conn.OrganizationID, conn.ID); err != nil || trace.Cause != sso.Landed {
					t.Errorf("the check says %+v, %v", trace, err)
				}
			})
		})
	}
}

// A target is judged when it is chosen, and not again by a change of something else.
func TestTargetIsJudgedWhenItIsChosen(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.registers(shop, "https://shop.example/login", "https://shop.example/callback", "com.example.app:/callback")
		const bare = "000000000000000000000b02"
		b.registers(bare, "", "https://bare.example/callback")
		saml, oidc := b.saml(t), b.oidc(t)
		for name, c := range map[string]struct {
			conn sso.Connection
			to   sso.Target
		}{
			"an unknown application":          {saml, sso.Target{ApplicationID: "000000000000000000000bff"}},
			"no application":                  {saml, sso.Target{Address: "https://shop.example/login"}},
			"an address of nobody":            {saml, sso.Target{ApplicationID: shop, Address: "https://evil.example/"}},
			"one that only begins like it":    {saml, sso.Target{ApplicationID: shop, Address: "https://shop.example/callback.evil.example"}},
			"one of another application":      {saml, sso.Target{ApplicationID: bare, Address: "https://shop.example/callback"}},
			"a scheme of a program":           {saml, sso.Target{ApplicationID: shop, Address: "com.example.app:/callback"}},
			"no start, and no address chosen": {saml, sso.Target{ApplicationID: bare}},
			"a connection over OpenID":        {oidc, sso.Target{ApplicationID: shop}},
		} {
			c.conn.Settings.Target = c.to
			if _, err := b.Prepare(t.Context(), b.admin, c.conn, ""); !errors.Is(err, sso.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		conn := b.save(t, saml, func(o *sso.Settings) { o.Target = sso.Target{ApplicationID: shop} })
		delete(b.apps, shop)
		b.save(t, conn, func(o *sso.Settings) { o.ForceAuthn = true })
	})
}
