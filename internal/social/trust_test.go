package social_test

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/social"
)

func (b *bench) linkProved(t *testing.T, user string, p social.Profile) error {
	t.Helper()
	return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.LinkProved(t.Context(), tx, b.by, user, p) })
}

// shown is who a sign-in at the bench's provider shows.
func (b *bench) shown(t *testing.T) social.Profile {
	t.Helper()
	p, err := b.login(t)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What decides whom an answer shows is changed: who was linked is not signed in by it, and
// is when it is changed back.
func TestAChangedConnectionSignsNobodyIn(t *testing.T) {
	for name, change := range map[string]func(c *social.Connection){
		"mapping of the subject": func(c *social.Connection) { c.Settings.Claims = map[string]string{"subject": "nickname"} },
		"client":                 func(c *social.Connection) { c.ClientID = "another" },
		"issuer":                 func(c *social.Connection) { c.Settings.Issuer += "/" },
		"base address":           func(c *social.Connection) { c.Settings.BaseURL = "https://elsewhere.example" },
		"authorization endpoint": func(c *social.Connection) { c.Settings.AuthorizationEndpoint = "https://elsewhere.example" },
		"token endpoint":         func(c *social.Connection) { c.Settings.TokenEndpoint = "https://elsewhere.example" },
		"userinfo endpoint":      func(c *social.Connection) { c.Settings.UserinfoEndpoint = "https://elsewhere.example" },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				ann, eve := b.person(t, "ann@example.com"), b.person(t, "eve@example.com")
				p, before := b.shown(t), b.c
				if err := b.linkProved(t, ann, p); err != nil {
					t.Fatal(err)
				}
				b.save(t, change)
				now := p
				now.Trusted = b.Trusts(b.c)
				if got := b.whose(t, now); got != "" {
					t.Errorf("it signs in %s", got)
				}
				if mine, err := b.Identities(t.Context(), b.DB, tenant, ann); err != nil || len(mine) != 1 || !mine[0].Waits {
					t.Errorf("ann has %+v, %v", mine, err)
				}
				if linked := b.isLinked(t, now); !linked {
					t.Error("it is nobody's, so that an account would be made")
				}
				b.save(t, func(c *social.Connection) { *c = before })
				if got := b.whose(t, p); got != ann {
					t.Errorf("changed back it signs in %q", got)
				}
				if err := b.linkProved(t, eve, now); !errors.Is(err, social.ErrFlow) {
					t.Errorf("what was shown meanwhile is linked afterwards: %v", err)
				}
			})
		})
	}
}

func (b *bench) isLinked(t *testing.T, p social.Profile) (linked bool) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		linked, err = b.IsLinked(t.Context(), tx, b.by, p)
		return err
	})
	return linked
}

// Whoever mends a scope, a name or a secret takes nothing from anybody.
func TestOtherChangesOfAConnectionCostNobodyAnything(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann@example.com")
		if err := b.linkProved(t, ann, b.shown(t)); err != nil {
			t.Fatal(err)
		}
		b.save(t, func(c *social.Connection) {
			c.Name, c.Settings.Scopes, c.Settings.KeepTokens, c.Settings.NoSignUp, c.Settings.TokenAuth = "New", []string{"openid", "email"}, true, true, "client_secret_basic"
			c.Settings.EmailDomains, c.Settings.Claims = []string{"example.com"}, map[string]string{"email": "mail", "name": "nickname", "subject": "sub"}
		})
		if got := b.whose(t, b.shown(t)); got != ann {
			t.Errorf("it signs in %q", got)
		}
	})
}

// Identities from before a connection's trust was noted count for what it trusted then.
func TestOldIdentitiesCountForWhatWasTrustedThen(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann@example.com")
		p, before := b.shown(t), b.c
		if err := b.linkProved(t, ann, p); err != nil {
			t.Fatal(err)
		}
		b.write(t, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE identities SET trusted = NULL WHERE tenant_id = $1`, tenant)
			return err
		})
		if got := b.whose(t, p); got != ann {
			t.Errorf("it signs in %q", got)
		}
		for _, path := range []string{"nickname", "name"} {
			b.save(t, func(c *social.Connection) { c.Settings.Claims = map[string]string{"subject": path} })
			now := p
			now.Trusted = b.Trusts(b.c)
			if got := b.whose(t, now); got != "" {
				t.Errorf("by %s it signs in %q", path, got)
			}
		}
		b.save(t, func(c *social.Connection) { *c = before })
		if got := b.whose(t, p); got != ann {
			t.Errorf("changed back it signs in %q", got)
		}
	})
}

// An identity that counts is never taken by another user, one that does not makes way.
func TestOnlyAnIdentityThatWaitsMakesWay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann, bob := b.person(t, "ann@example.com"), b.person(t, "bob@example.com")
		p := b.shown(t)
		if _, err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		if err := b.linkProved(t, bob, p); !errors.Is(err, social.ErrLinked) {
			t.Errorf("got %v", err)
		}
		b.save(t, func(c *social.Connection) { c.Settings.UserinfoEndpoint = b.op.URL + "/userinfo" })
		if p = b.shown(t); b.whose(t, p) != "" {
			t.Error("it signs somebody in")
		}
		if err := b.linkProved(t, bob, p); err != nil {
			t.Fatal(err)
		}
		if got := b.whose(t, p); got != bob {
			t.Errorf("it signs in %q", got)
		}
		if mine, err := b.Identities(t.Context(), b.DB, tenant, ann); err != nil || len(mine) != 0 {
			t.Errorf("ann has %+v, %v", mine, err)
		}
	})
}

// The hash of a connection is kept with each identity: another one for the same settings
// would ask everybody anew.
func TestWhatAConnectionTrustsKeepsItsHash(t *testing.T) {
	t.Parallel()
	s := &social.Service{}
	for want, c := range map[string]social.Connection{
		"3eea25f05bc130c30406e4454daa63ba91c2d91d902a6737a23ac3a76da11128": {Provider: "google", ClientID: "c"},
		"5217c59c5c10d697fa65414d37e5adc0fa81e6e84b8db97004ac94df5f80c47b": {Provider: social.OAuth2, ClientID: "c", Settings: social.Settings{
			Issuer: "i", BaseURL: "b", AuthorizationEndpoint: "a", TokenEndpoint: "t", UserinfoEndpoint: "u", Claims: map[string]string{"subject": "id", "email": "mail"}}},
	} {
		if got := hex.EncodeToString(s.Trusts(c)); got != want {
			t.Errorf("%s: got %s, want %s", c.Provider, got, want)
		}
	}
}
