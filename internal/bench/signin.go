package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
)

// signIn is what the rows about sign-in are measured with.
type signIn struct {
	machineES, machineRS client // for themselves, by algorithm of their tokens
	web                  client // for users
	signed               []signed
	guests               []person // who sign in by guestPassword
	passkeys             []authenticator
	keys                 *keys
	discovery, jwks      int // size in bytes
}

// A client is an application of the tenant that is measured.
type client struct{ id, clientID, secret string }

// A signed user has a session and two grants: plain without, full with an ID token.
type signed struct {
	user, email string
	cookie      string // of the session
	access      string // of the full grant
	plain, full chain
}

// A chain is a grant and what its refresh tokens have been.
type chain struct {
	grant       string
	first, last string
	generation  int64 // of the control's copy
}

const (
	redirectURI   = "https://app.bench.test/callback"
	guestPassword = "correct horse battery staple"
	guestsAt      = 30_000_000 // number of the first guest
	guests        = 2000
	fullScope     = "openid profile email offline_access"
	plainScope    = "profile offline_access"
	acr           = "urn:cardea:acr:1"
)

// prepareSignIn makes applications, signs users in and brings others with a password
// of today's form.
func (p *place) prepareSignIn(ctx context.Context) error {
	err := p.attached(ctx, func(a *app.App) error {
		if err := p.makeApplications(ctx, a); err != nil {
			return fmt.Errorf("make applications: %w", err)
		}
		if err := p.signPeopleIn(ctx, a); err != nil {
			return fmt.Errorf("sign people in: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.importGuests(ctx); err != nil {
		return err
	}
	if err := p.fetchKeys(ctx); err != nil {
		return err
	}
	return p.settle(ctx)
}

// makeApplications makes them and has the tenant ask for a password first.
func (p *place) makeApplications(ctx context.Context, a *app.App) error {
	own := tenant.OAuth{GrantTypes: []string{tenant.GrantCredentials}, Scopes: []string{"users:read"}}
	rs := own
	rs.AccessTokenAlg = keyring.RS256
	// Tokens live as long as the run, and refreshing signs by ES256 as everything else.
	web := tenant.OAuth{AccessTokenLifetime: 86400, IDTokenAlg: keyring.ES256}
	return a.DB.Write(ctx, func(tx *database.Tx) error {
		by := access.System(p.tenants[0].id)
		if err := a.Tenants.SaveSettings(ctx, tx, by, by.Tenant, tenant.Settings{SignIn: tenant.SignIn{First: "password"}}); err != nil {
			return err
		}
		for _, x := range []struct {
			made  *client
			name  string
			oauth tenant.OAuth
		}{{&p.signIn.machineES, "machine", own}, {&p.signIn.machineRS, "older machine", rs}, {&p.signIn.web, "web", web}} {
			made, key, err := a.Tenants.CreateApplication(ctx, tx, by, tenant.Application{Name: x.name, RedirectURIs: []string{redirectURI}, OAuth: x.oauth})
			if err != nil {
				return err
			}
			*x.made = client{made.ID, made.ClientID, key}
		}
		return nil
	})
}

// signPeopleIn opens a session and two grants for users of the sample, each.
func (p *place) signPeopleIn(ctx context.Context, a *app.App) error {
	t, err := a.Tenants.ByID(ctx, p.tenants[0].id)
	if err != nil {
		return err
	}
	web, err := a.Tenants.ByClientID(ctx, p.signIn.web.clientID)
	if err != nil {
		return err
	}
	const portion = 500
	n := min(len(p.sample.ids), p.users/10)
	for from := 0; from < n; from += portion {
		all, err := p.openSessions(ctx, a, web, from, min(from+portion, n))
		if err != nil {
			return err
		}
		for _, o := range all {
			u, err := tokensOf(ctx, a, t, web, o)
			if err != nil {
				return err
			}
			u.email = p.sample.emails[len(p.signIn.signed)]
			p.signIn.signed = append(p.signIn.signed, u)
		}
	}
	return nil
}

// opened is what a user was signed in with.
type opened struct {
	cookie      string
	plain, full session.Grant
}

// openSessions signs the users of a part of the sample in.
func (p *place) openSessions(ctx context.Context, a *app.App, web tenant.Application, from, to int) (all []opened, err error) {
	by := access.System(web.TenantID)
	place := session.From{IP: "192.0.2.7", Client: "Firefox 140", OS: "Linux", Device: "desktop"}
	return all, a.DB.Write(ctx, func(tx *database.Tx) error {
		all = nil // if it is tried again
		for _, id := range p.sample.ids[from:to] {
			in, cookie, err := a.Sessions.Start(ctx, tx, by, id, web.ID, session.Proof{AMR: []string{"pwd"}, ACR: acr, At: tx.Now}, place, session.SessionLifetimes)
			if err != nil {
				return err
			}
			o := opened{cookie: cookie}
			g := session.Grant{UserID: id, SessionID: in.ID, ApplicationID: web.ID, Detail: session.Detail{AuthAt: tx.Now, AMR: in.AMR, ACR: in.ACR}}
			g.Scope = plainScope
			if o.plain, err = a.Sessions.Open(tx, by, g, session.GrantLifetimes); err != nil {
				return err
			}
			g.Scope = fullScope
			if o.full, err = a.Sessions.Open(tx, by, g, session.GrantLifetimes); err != nil {
				return err
			}
			all = append(all, o)
		}
		return nil
	})
}

// tokensOf makes the tokens that the product would have given.
func tokensOf(ctx context.Context, a *app.App, t tenant.Tenant, web tenant.Application, o opened) (signed, error) {
	u := signed{user: o.full.UserID, cookie: o.cookie}
	for _, each := range []struct {
		grant session.Grant
		chain *chain
	}{{o.plain, &u.plain}, {o.full, &u.full}} {
		first, err := a.Sessions.RefreshToken(ctx, t.ID, each.grant)
		if err != nil {
			return u, err
		}
		*each.chain = chain{grant: each.grant.ID, first: first, last: first}
	}
	tokens, err := a.Tokens.Issue(ctx, t, web, o.full, token.Options{})
	u.access = tokens.Access
	return u, err
}

// importGuests brings the people who are to sign in by their password. All of them
// have the same one, and hash.
func (p *place) importGuests(ctx context.Context) error {
	hash, err := passhash.New(passhash.Default, nil).Hash(ctx, guestPassword)
	if err != nil {
		return err
	}
	file := p.file("guests.jsonl")
	defer os.Remove(file)
	if err := writePeople(file, p.seed, guestsAt, guestsAt+guests, func(int) string { return hash }); err != nil {
		return err
	}
	_, err = p.importFile(ctx, p.tenants[0], file)
	return err
}

// spreadUse notes for each session a moment in the last minute as that of its last
// use, as it is for sessions that are in use: one that is a minute old is noted anew.
func (p *place) spreadUse(ctx context.Context) error {
	db, err := database.Open(ctx, p.database)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Write(ctx, func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE sessions SET seen_at = $2 - each.n * 60000 / $3, idle_until = $2 - each.n * 60000 / $3 + idle
			FROM (SELECT id, row_number() OVER (ORDER BY token_hash) AS n FROM sessions WHERE tenant_id = $1) AS each
			WHERE sessions.tenant_id = $1 AND sessions.id = each.id`, p.tenants[0].id, tx.Millis(), len(p.signIn.signed))
		return err
	})
}

// fetchKeys gets the documents that everybody may have: for their size, and to check
// tokens with.
func (p *place) fetchKeys(ctx context.Context) error {
	document, err := p.fetch(ctx, discoveryPath)
	if err != nil {
		return err
	}
	set, err := p.fetch(ctx, keysPath)
	if err != nil {
		return err
	}
	p.signIn.discovery, p.signIn.jwks = len(document), len(set)
	p.signIn.keys, err = parseKeys(set, "https://"+p.host())
	return err
}

// fetch gets a document with an ordinary client.
func (p *place) fetch(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.server.address+path, nil)
	if err != nil {
		return nil, err
	}
	r.Host = p.host()
	r.Header.Set("X-Forwarded-Proto", "https")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.300s", path, answer.Status, body)
	}
	return body, err
}
