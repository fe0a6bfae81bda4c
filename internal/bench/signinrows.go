package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"golang.org/x/sync/errgroup"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/oauth2/jwks"
	tokenPath     = "/oauth2/token"
)

// secure are the headers of a proxy that ends TLS.
var secure = [][2]string{{"X-Forwarded-For", "192.0.2.7"}, {"X-Forwarded-Proto", "https"}}

// encodeForm writes down a request with a form.
func encodeForm(target, host string, headers [][2]string, form url.Values) request {
	body := form.Encode()
	more := [][2]string{{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", strconv.Itoa(len(body))}}
	r := encode("POST", target, host, append(headers[:len(headers):len(headers)], more...), nil)
	r.raw = append(r.raw, body...)
	return r
}

// post is a request of an application that proves itself by its secret.
func (p *place) post(target string, c client, form url.Values) request {
	form.Set("client_id", c.clientID)
	form.Set("client_secret", c.secret)
	return encodeForm(target, p.host(), secure, form)
}

// postControl is the same to the control.
func postControl(target string, form url.Values) request {
	form.Set("client_id", "bench")
	form.Set("client_secret", controlSecret)
	return encodeForm(target, "localhost", nil, form)
}

// documents are what everybody may have, as bytes that are ready.
func (p *place) documents() []measuredRow {
	document := func(name, path, text string, size int) measuredRow {
		r := encode("GET", path, p.host(), secure, nil)
		r.check = has(text, 0)
		return measuredRow{name: name, product: pick([]request{r}), control: pick([]request{ofControl(fmt.Sprintf("/static/%d", size), nil)}),
			goal: goal{rate: 65_000, limit: 87_302}, note: fmt.Sprintf("%s bytes", number(float64(size)))}
	}
	return []measuredRow{
		document("discovery", discoveryPath, `"issuer":"https://`+p.host()+`"`, p.signIn.discovery),
		document("keys (JWKS)", keysPath, `"kty":"EC"`, p.signIn.jwks),
	}
}

// credentials are tokens of applications for themselves.
func (p *place) credentials() []measuredRow {
	tokens := func(c client, alg string, g goal) measuredRow {
		control := postControl("/token/"+alg, url.Values{"grant_type": {"client_credentials"}})
		control.check = has(`"access_token":"ey`, 1)
		return measuredRow{name: "client credentials, " + alg, product: pick([]request{p.ownToken(c, alg)}), control: pick([]request{control}), goal: g}
	}
	return []measuredRow{
		tokens(p.signIn.machineES, "ES256", goal{rate: 15_000, p99: 30, limit: 27_173, limitP99: 24.3}),
		tokens(p.signIn.machineRS, "RS256", goal{rate: 1700, p99: 40, limit: 1971, limitP99: 104}),
	}
}

// ownToken is a request of an application for a token for itself.
func (p *place) ownToken(c client, alg string) request {
	r := p.post(tokenPath, c, url.Values{"grant_type": {"client_credentials"}})
	r.check = func(body []byte) error {
		return p.signIn.keys.look(member(body, "access_token"), want{alg: alg, typ: "at+jwt", subject: c.clientID, client: c.clientID})
	}
	return r
}

// few is how many tokens or sessions are asked about where they come again within a
// second.
const few = 100

// introspections ask about access tokens of users.
func (p *place) introspections() []measuredRow {
	ask, control := make([]request, len(p.signIn.signed)), make([]request, len(p.signIn.signed))
	for i, u := range p.signIn.signed {
		ask[i] = p.introspection(u)
		control[i] = ofControl("/id/"+u.user, has(`"_id":"`+u.user+`"`, 1))
	}
	return []measuredRow{
		{name: "introspection", product: pick(ask), control: pick(control), goal: goal{rate: 8000, p99: 8, limit: 22_767, limitP99: 2.9}, note: p.inTurn("tokens")},
		{name: fmt.Sprintf("introspection of %d tokens", few), product: pick(ask[:few]), control: pick(control[:few])},
	}
}

func (p *place) introspection(u signed) request {
	r := p.post("/oauth2/introspect", p.signIn.web, url.Values{"token": {u.access}})
	r.check = has(`{"active":true,"scope":"`+fullScope+`","client_id":"`+p.signIn.web.clientID+`","token_type":"Bearer","sub":"`+u.user+`"`, 1)
	return r
}

func (p *place) inTurn(what string) string {
	return fmt.Sprintf("%s %s in turn", number(float64(len(p.signIn.signed))), what)
}

// sessionChecks ask who is signed in.
func (p *place) sessionChecks() []measuredRow {
	ask, control := make([]request, len(p.signIn.signed)), make([]request, len(p.signIn.signed))
	for i, u := range p.signIn.signed {
		ask[i] = p.sessionCheck(u)
		control[i] = ofControl("/id/"+u.user, has(`"_id":"`+u.user+`"`, 1))
	}
	return []measuredRow{
		{name: "session check", before: p.spreadUse, product: pick(ask), control: pick(control), goal: goal{rate: 12_000, p99: 6, limit: 22_767, limitP99: 2.9}, note: p.inTurn("sessions")},
		{name: fmt.Sprintf("session check of %d sessions", few), before: p.spreadUse, product: pick(ask[:few]), control: pick(control[:few])},
	}
}

func (p *place) sessionCheck(u signed) request {
	r := encode("GET", "/api/v1/session", p.host(), append(secure[:2:2], [2]string{"Cookie", "__Host-cardea=" + u.cookie}), nil)
	r.check = has(`"email":"`+u.email+`"`, 1)
	return r
}

// refreshes give a refresh token for the next one, each time that of another grant.
func (p *place) refreshes() []measuredRow {
	plain := func(u *signed) *chain { return &u.plain }
	full := func(u *signed) *chain { return &u.full }
	return []measuredRow{
		{name: "refresh with rotation", product: p.refresh(plain, false), control: p.refreshControl(plain, ""), goal: goal{rate: 2500, p99: 15, limit: 5383, limitP99: 7.2},
			after: p.proveRotation, note: fmt.Sprintf("%s; %d at once with one token all got the same successor, and a used token ended its grant", p.inTurn("grants"), p.connections)},
		{name: "refresh with rotation and an ID token", product: p.refresh(full, true), control: p.refreshControl(full, "1"), note: p.inTurn("grants")},
	}
}

// ofConnection returns the users of one connection: nobody else has their tokens.
func (p *place) ofConnection(connection int) (mine []*signed) {
	for i := connection; i < len(p.signIn.signed); i += p.connections {
		mine = append(mine, &p.signIn.signed[i])
	}
	return mine
}

// refresh moves a user's grant on, and then another's.
func (p *place) refresh(of func(u *signed) *chain, withID bool) script {
	return func(c *conn, connection int) func() error {
		mine, next := p.ofConnection(connection), newXorshift(1, uint64(connection))
		return func() error {
			u := mine[next.below(len(mine))]
			return p.rotate(c, of(u), u.user, withID)
		}
	}
}

// rotate moves a grant on.
func (p *place) rotate(c *conn, g *chain, user string, withID bool) error {
	r := p.refreshRequest(g.last)
	r.check = func(body []byte) error {
		next := member(body, "refresh_token")
		if next == "" || next == g.last || withID != (member(body, "id_token") != "") {
			return errors.New("not the tokens that were asked for")
		}
		g.last = next
		return p.signIn.keys.look(member(body, "access_token"), want{alg: "ES256", typ: "at+jwt", subject: user, client: p.signIn.web.clientID})
	}
	return c.ask(r)
}

func (p *place) refreshRequest(token string) request {
	return p.post(tokenPath, p.signIn.web, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// refreshControl moves the control's copy of a grant on.
func (p *place) refreshControl(of func(u *signed) *chain, id string) script {
	return func(c *conn, connection int) func() error {
		mine, next := p.ofConnection(connection), newXorshift(1, uint64(connection))
		return func() error {
			g := of(mine[next.below(len(mine))])
			if g.generation == 0 {
				g.generation = 1
			}
			r := postControl("/refresh", url.Values{"grant": {g.grant}, "generation": {strconv.FormatInt(g.generation, 10)}, "id": {id}})
			r.check = func(body []byte) error {
				g.generation++
				return has(`"refresh_token":"`+strconv.FormatInt(g.generation, 10)+`"`, 1)(body)
			}
			return c.ask(r)
		}
	}
}

// proveRotation sends one refresh token many times at once, fifty times over: every
// answer must be the same successor. Then it sends one that was used twice before, and
// expects the end of its grant.
func (p *place) proveRotation(ctx context.Context) error {
	connections := make([]*conn, p.connections)
	for i := range connections {
		c, err := dial(p.server.address, plan{}.end())
		if err != nil {
			return err
		}
		defer c.close()
		connections[i] = c
	}
	u := &p.signIn.signed[0]
	for range 50 {
		if err := p.refreshTogether(ctx, connections, &u.plain); err != nil {
			return err
		}
	}
	for _, token := range []string{u.plain.first, u.plain.last} {
		status, body, err := connections[0].send(p.refreshRequest(token).raw, nil)
		if err != nil {
			return err
		}
		if status != 400 || member(body, "error") != "invalid_grant" {
			return fmt.Errorf("a refresh token of a grant that must have ended gives status %d: %.300s", status, body)
		}
	}
	return nil
}

// refreshTogether sends the last token of a grant over all connections at once.
func (p *place) refreshTogether(ctx context.Context, connections []*conn, g *chain) error {
	next := make([]string, len(connections))
	group, _ := errgroup.WithContext(ctx)
	for i, c := range connections {
		group.Go(func() error {
			r := p.refreshRequest(g.last)
			r.check = func(body []byte) error { next[i] = member(body, "refresh_token"); return nil }
			return c.ask(r)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, token := range next {
		if token != next[0] || token == "" || token == g.last {
			return fmt.Errorf("one refresh token has the successors %q and %q", next[0], token)
		}
	}
	g.last = next[0]
	return nil
}

// passwords come last: they leave memory behind that the runtime gives back slowly.
func (p *place) passwords() []measuredRow {
	control := postControl("/password", url.Values{"password": {guestPassword}})
	control.check = has(`"ok":true`, 1)
	others := pick([]request{p.get("/api/v1/users?limit=20", has(`"_id":`, 20)), p.ownToken(p.signIn.machineES, "ES256"), p.sessionCheck(p.signIn.signed[0])})
	return []measuredRow{{name: "sign-in with a password, whole flow", hashing: true, goal: goal{rate: 60, share: 0.8},
		product: p.signInGuests(), control: pick([]request{control}), meanwhile: others,
		note: "from the application's link by two pages to its tokens, 7 requests; the control only hashes"}}
}

// signInGuests signs one guest in after the other, each from an address of their own
// and in a browser that has never been there.
func (p *place) signInGuests() script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(p.seed, uint64(connection))
		return func() error {
			b := &browser{c: c, host: p.host(), ip: fmt.Sprintf("10.%d.%d.%d", next.below(256), next.below(256), next.below(256))}
			return p.signInBy(b, personOf(p.seed, guestsAt+next.below(guests)))
		}
	}
}
