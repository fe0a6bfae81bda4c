package sso_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso"
	tenants "github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenant  = "000000000000000000000001"
	other   = "000000000000000000000002"
	attempt = "000000000000000000000a01"
	origin  = "https://acme.example.com"
)

var (
	browser = secret.Hash("browser")
	errMay  = problem.New(problem.Forbidden, "grant_not_held", "No.")
)

// bench is the service with an OpenID provider and a clock that is moved by hand.
type bench struct {
	*sso.Service
	op     *op
	orgs   *org.Service
	users  *user.Service
	acme   string // an organization
	now    atomic.Int64
	by     access.Actor
	admin  access.Actor
	proved bool // what the organization has proved
	grant  error
	apps   map[string]tenants.Application // that are active
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		test(t, newBench(t, db))
	})
}

func newBench(t testing.TB, db *database.DB) *bench {
	t.Helper()
	b := &bench{by: access.Visitor(tenant, "192.0.2.1"), admin: access.System(tenant)}
	b.now.Store(begin.UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
	b.op = newOP(t, db.Now)
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	boxes := func(context.Context, string) (*secret.Box, error) { return box, nil }
	b.users = &user.Service{DB: db, Box: boxes, Connection: func(string) string { return secret.ZeroID }}
	b.orgs = &org.Service{DB: db, Users: b.users}
	b.Service = &sso.Service{
		DB: db, Box: boxes, Origin: func(context.Context, string) (string, error) { return origin, nil },
		Organization: func(ctx context.Context, db database.Reader, tenant, id string) error {
			o, err := b.orgs.Find(ctx, db, tenant, id)
			if err == nil && !o.IsActive {
				return org.ErrNotFound
			}
			return err
		},
		Proves: func(context.Context, database.Reader, string, string, string) (bool, error) { return b.proved, nil },
		Application: func(_ context.Context, _, id string) (tenants.Application, error) {
			if app, ok := b.apps[id]; ok {
				return app, nil
			}
			return tenants.Application{}, tenants.ErrApplicationNotFound
		},
		MayGrant: func(context.Context, database.Reader, access.Actor, string, []string) error { return b.grant },
	}
	trust(b)
	b.acme = b.organization(t, "Acme")
	return b
}

// trust lets the service reach the provider. All test servers have one certificate.
func trust(b *bench) {
	roots := x509.NewCertPool()
	roots.AddCert(b.op.Certificate())
	if b.Outbound == nil {
		b.Outbound = &outbound.Client{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true, Step: time.Millisecond, Timeout: time.Second, TLS: &tls.Config{RootCAs: roots}}
	}
}

func (b *bench) organization(t testing.TB, name string) (id string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		o, err := b.orgs.Create(t.Context(), tx, b.admin, org.Organization{Name: name, IsActive: true})
		id = o.ID
		return err
	})
	return id
}

// ReceiveSAML lets a moment pass before, so that traces are in order.
func (b *bench) ReceiveSAML(ctx context.Context, by access.Actor, connection, response, relay string) (string, error) {
	b.pass(time.Millisecond)
	return b.Service.ReceiveSAML(ctx, by, connection, response, relay)
}

// FinishOIDC is like ReceiveSAML.
func (b *bench) FinishOIDC(ctx context.Context, by access.Actor, connection string, query url.Values, browser []byte) (sso.Profile, sso.Flow, error) {
	b.pass(time.Millisecond)
	return b.Service.FinishOIDC(ctx, by, connection, query, browser)
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) write(t testing.TB, f func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// connect adds an active connection.
func (b *bench) connect(t testing.TB, c sso.Connection, key string) (made sso.Connection) {
	t.Helper()
	if c.OrganizationID == "" {
		c.OrganizationID = b.acme
	}
	p, err := b.Prepare(t.Context(), b.admin, c, key)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, func(tx *database.Tx) (err error) {
		if made, err = b.Create(t.Context(), tx, b.admin, p); err == nil {
			made, err = b.SetState(t.Context(), tx, b.admin, c.OrganizationID, made.ID, sso.Active)
		}
		return err
	})
	return made
}

func (b *bench) saml(t testing.TB) sso.Connection {
	t.Helper()
	return b.connect(t, sso.Connection{Kind: sso.SAML, Provider: "okta", Settings: sso.Settings{IdP: acme().settings()}}, "")
}

func (b *bench) oidc(t testing.TB) sso.Connection {
	t.Helper()
	return b.connect(t, sso.Connection{Kind: sso.OIDC, Provider: "okta", Settings: sso.Settings{Issuer: b.op.URL, ClientID: clientID}}, clientSecret)
}

// save changes a connection.
func (b *bench) save(t testing.TB, c sso.Connection, change func(o *sso.Settings)) (out sso.Connection) {
	t.Helper()
	c, err := b.Find(t.Context(), b.DB, b.admin, c.OrganizationID, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	change(&c.Settings)
	p, err := b.Prepare(t.Context(), b.admin, c, "")
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, func(tx *database.Tx) (err error) {
		out, err = b.Save(t.Context(), tx, b.admin, p)
		return err
	})
	return out
}

func (b *bench) state(t testing.TB, c sso.Connection, state string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := b.SetState(t.Context(), tx, b.admin, c.OrganizationID, c.ID, state)
		return err
	})
}

func (b *bench) start(t testing.TB, c sso.Connection) string {
	t.Helper()
	sent, err := b.Start(t.Context(), b.by, sso.Request{Connection: c.ID, Attempt: attempt, Browser: browser})
	if err != nil {
		t.Fatal(err)
	}
	return sent.Location
}

func (b *bench) us(t testing.TB, c sso.Connection) sso.Us {
	t.Helper()
	us, err := b.Us(t.Context(), tenant, c)
	if err != nil {
		t.Fatal(err)
	}
	return us
}

// answer has a browser sent to the provider come back with what it says.
func (b *bench) answer(t testing.TB, c sso.Connection, s said) string {
	t.Helper()
	if s.request == "" {
		s.request = requestOf(t, b.start(t, c))
	}
	return s.respond(t, b.us(t, c), b.DB.Now())
}

func (b *bench) receive(t testing.TB, c sso.Connection, s said) (string, error) {
	t.Helper()
	return b.ReceiveSAML(t.Context(), b.by, c.ID, b.answer(t, c, s), "")
}

// signIn goes all the way.
func (b *bench) signIn(t testing.TB, c sso.Connection, s said) (sso.Profile, sso.Flow, error) {
	t.Helper()
	handle, err := b.receive(t, c, s)
	if err != nil {
		return sso.Profile{}, sso.Flow{}, err
	}
	return b.Claim(t.Context(), b.by, handle, browser)
}

// callback has a browser sent to an OpenID provider come back.
func (b *bench) callback(t testing.TB, location string) url.Values {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	b.op.nonce = u.Query().Get("nonce")
	return url.Values{"state": {u.Query().Get("state")}, "code": {"code"}}
}

func (b *bench) finish(t testing.TB, c sso.Connection) (sso.Profile, sso.Flow, error) {
	t.Helper()
	return b.FinishOIDC(t.Context(), b.by, c.ID, b.callback(t, b.start(t, c)), browser)
}

// lastTrace is the newest attempt at a connection.
func (b *bench) lastTrace(t testing.TB, c sso.Connection) sso.Trace {
	t.Helper()
	found, err := b.Traces(t.Context(), b.DB, b.admin, c.OrganizationID, c.ID, "", 1)
	if err != nil || len(found) == 0 {
		t.Fatalf("no trace: %v", err)
	}
	return found[0]
}

func (b *bench) user(t testing.TB, name string) (id string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		made, err := b.users.Create(t.Context(), tx, b.admin, user.User{Email: name + "@acme.example"})
		id = made.ID
		return err
	})
	return id
}

func (b *bench) link(t testing.TB, id string, p sso.Profile) error {
	t.Helper()
	return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Link(t.Context(), tx, b.by, id, p) })
}

func (b *bench) who(t testing.TB, p sso.Profile) (id string, found bool, err error) {
	t.Helper()
	err = b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
		id, found, err = b.Service.SignIn(t.Context(), tx, b.by, p)
		return err
	})
	return id, found, err
}

func TestSAMLSignsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		b.proved = true
		p, f, err := b.signIn(t, c, said{})
		if err != nil {
			t.Fatalf("%v: %+v", err, b.lastTrace(t, c))
		}
		if p.Email != "ann@acme.example" || !p.EmailVerified || p.FirstName != "Ann" || p.Subject != "ann-1" || p.Issuer != entity || p.ACR != password || p.SessionIndex != "_s1" || p.OrganizationID != b.acme || f.Attempt != attempt || f.Unsolicited || f.Test {
			t.Errorf("got %+v, %+v", p, f)
		}
		if _, found, err := b.who(t, p); found || err != nil {
			t.Errorf("somebody is found before they are linked: %v", err)
		}
		ann := b.user(t, "ann")
		if err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		if got, found, err := b.who(t, p); !found || got != ann || err != nil {
			t.Errorf("got %s, %v, %v", got, found, err)
		}
		if trace := b.lastTrace(t, c); trace.Cause != "" || trace.ID != f.Trace || len(trace.Steps) < 5 {
			t.Errorf("the trace is %+v", trace)
		}
		if c, _ = b.Find(t.Context(), b.DB, b.admin, b.acme, c.ID); c.Health.LastSuccess.IsZero() {
			t.Error("the connection does not know that it works")
		}
	})
}

func TestOpenIDSignsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.oidc(t)
		c = b.save(t, c, func(o *sso.Settings) {
			o.GroupRules = []sso.Rule{{Group: "Engineering", RoleID: secret.ID(begin)}, {Group: "Sales", RoleID: secret.ID(begin)}}
		})
		p, f, err := b.finish(t, c)
		if err != nil {
			t.Fatalf("%v: %+v", err, b.lastTrace(t, c))
		}
		if p.Email != "ann@acme.example" || p.EmailVerified || p.Subject != "ann-1" || p.Issuer != b.op.URL || len(p.RoleIDs) != 1 || p.RoleIDs[0] != c.Settings.GroupRules[0].RoleID || f.Attempt != attempt {
			t.Errorf("got %+v, %+v", p, f)
		}
	})
}

// C3 65: an assertion is good once, whoever brings it how often.
func TestReplayIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		response := b.answer(t, c, said{})
		if _, err := b.ReceiveSAML(t.Context(), b.by, c.ID, response, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReceiveSAML(t.Context(), b.by, c.ID, response, ""); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Replay {
			t.Errorf("again: %v, %s", err, b.lastTrace(t, c).Cause)
		}
		t.Run("one assertion in the answers to two requests", func(t *testing.T) {
			if _, _, err := b.signIn(t, c, said{id: "_same"}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.signIn(t, c, said{id: "_same"}); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Replay {
				t.Errorf("got %v, %s", err, b.lastTrace(t, c).Cause)
			}
		})
		t.Run("many at once", func(t *testing.T) {
			response := b.answer(t, c, said{})
			var taken atomic.Int64
			race(20, func() {
				if _, err := b.ReceiveSAML(t.Context(), b.by, c.ID, response, ""); err == nil {
					taken.Add(1)
				}
			})
			if taken.Load() != 1 {
				t.Errorf("%d were taken", taken.Load())
			}
		})
		t.Run("unsolicited, by another process", func(t *testing.T) {
			c := b.save(t, c, func(o *sso.Settings) { o.AllowUnsolicited = true })
			response := b.answer(t, c, said{request: "none"})
			var taken atomic.Int64
			race(10, func() {
				if _, err := b.ReceiveSAML(t.Context(), b.by, c.ID, response, ""); err == nil {
					taken.Add(1)
				}
			})
			if taken.Load() != 1 {
				t.Errorf("%d were taken", taken.Load())
			}
		})
	})
}

// elsewhere is the service in a process of its own, with a connection of its own to the
// database of b.
func (b *bench) elsewhere(t *testing.T, url string) *sso.Service {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.Now = b.DB.Now
	return &sso.Service{DB: db, Box: b.Box, Origin: b.Origin, Organization: b.Organization, Proves: b.Proves, Application: b.Application, MayGrant: b.MayGrant, Outbound: b.Outbound}
}

// C3 65: what was taken is taken for every server, and stays so when they start anew.
func TestReplayIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		closed := false
		t.Cleanup(func() {
			if !closed {
				db.Close()
			}
		})
		b := newBench(t, db)
		c := b.saml(t)
		asked := b.answer(t, c, said{})
		c = b.save(t, c, func(o *sso.Settings) { o.AllowUnsolicited = true })
		unasked, both := b.answer(t, c, said{request: "none"}), b.answer(t, c, said{})
		handle, err := b.ReceiveSAML(t.Context(), b.by, c.ID, asked, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReceiveSAML(t.Context(), b.by, c.ID, unasked, ""); err != nil {
			t.Fatal(err)
		}
		refuses := func(s *sso.Service) {
			t.Helper()
			for name, response := range map[string]string{"asked for": asked, "unsolicited": unasked, "posted to both": both} {
				if _, err := s.ReceiveSAML(t.Context(), b.by, c.ID, response, ""); !errors.Is(err, sso.ErrRefused) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		second := b.elsewhere(t, url)
		var taken atomic.Int64
		post := func(s *sso.Service) {
			if _, err := s.ReceiveSAML(t.Context(), b.by, c.ID, both, ""); err == nil {
				taken.Add(1)
			}
		}
		race(10, func() { post(b.Service); post(second) })
		if taken.Load() != 1 {
			t.Errorf("%d of two servers were taken", taken.Load())
		}
		refuses(second)
		db.Close()
		closed = true
		restarted := b.elsewhere(t, url)
		refuses(restarted)
		for i, want := range []error{nil, sso.ErrFlow} { // what was taken before is still there, once
			if _, _, err := restarted.Claim(t.Context(), b.by, handle, browser); !errors.Is(err, want) {
				t.Errorf("claim %d: %v", i, err)
			}
		}
	})
}

func race(n int, f func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(f)
	}
	all.Wait()
}

// C3 66: what came back belongs to the browser that was sent.
func TestClaimRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		held := func() string {
			handle, err := b.receive(t, c, said{})
			if err != nil {
				t.Fatal(err)
			}
			return handle
		}
		claim := func(handle string, browser []byte) error {
			_, _, err := b.Claim(t.Context(), b.by, handle, browser)
			return err
		}
		handle := held()
		for name, err := range map[string]error{
			"another browser": claim(handle, secret.Hash("another")),
			"no browser":      claim(handle, nil),
			"another handle":  claim("x", browser),
		} {
			if !errors.Is(err, sso.ErrFlow) {
				t.Errorf("%s: %v", name, err)
			}
		}
		var claimed atomic.Int64
		race(20, func() {
			if claim(handle, browser) == nil {
				claimed.Add(1)
			}
		})
		if claimed.Load() != 1 {
			t.Errorf("it was claimed %d times", claimed.Load())
		}
		handle = held()
		b.pass(11 * time.Minute)
		if err := claim(handle, browser); !errors.Is(err, sso.ErrFlow) {
			t.Errorf("late: %v", err)
		}
	})
}

// C3 66: what a provider begins is refused unless the connection allows it, and then
// waits for somebody to say that they want it.
func TestUnsolicitedResponse(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		if _, err := b.receive(t, c, said{request: "none"}); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.Unsolicited {
			t.Fatalf("got %v, %s", err, b.lastTrace(t, c).Cause)
		}
		c = b.save(t, c, func(o *sso.Settings) { o.AllowUnsolicited = true })
		handle, err := b.ReceiveSAML(t.Context(), b.by, c.ID, b.answer(t, c, said{request: "none"}), "https://evil.example/")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Claim(t.Context(), b.by, handle, browser); !errors.Is(err, sso.ErrFlow) {
			t.Errorf("claimed before anybody was asked: %v", err)
		}
		p, f, err := b.Look(t.Context(), b.by, handle, browser)
		if err != nil || !f.Unsolicited || p.Subject != "ann-1" || f.Attempt != "" {
			t.Fatalf("got %+v, %+v, %v", p, f, err)
		}
		if _, _, err := b.Look(t.Context(), b.by, handle, secret.Hash("another")); !errors.Is(err, sso.ErrFlow) {
			t.Errorf("another browser looks: %v", err)
		}
		if p, _, err := b.Claim(t.Context(), b.by, handle, browser); err != nil || p.Subject != "ann-1" {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

// C3 67: a response counts at the connection that it was made for, in the tenant that it
// was made in.
func TestResponseOfAnotherConnectionIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		mine, theirs := b.saml(t), b.connect(t, sso.Connection{OrganizationID: b.organization(t, "Globex"), Kind: sso.SAML, Provider: "okta", Settings: sso.Settings{IdP: acme().settings()}}, "")
		if _, err := b.ReceiveSAML(t.Context(), b.by, theirs.ID, b.answer(t, mine, said{}), ""); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, theirs).Cause != sso.ACS {
			t.Errorf("at another's ACS: %v, %s", err, b.lastTrace(t, theirs).Cause)
		}
		if _, err := b.ReceiveSAML(t.Context(), access.Visitor(other, ""), mine.ID, b.answer(t, mine, said{}), ""); !errors.Is(err, sso.ErrNotFound) {
			t.Errorf("in another tenant: %v", err)
		}
		response := said{request: requestOf(t, b.start(t, mine))}.respond(t, b.us(t, theirs), b.DB.Now())
		if _, err := b.ReceiveSAML(t.Context(), b.by, theirs.ID, response, ""); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, theirs).Cause != sso.OtherRequest {
			t.Errorf("the answer to another connection's request: %v, %s", err, b.lastTrace(t, theirs).Cause)
		}
	})
}

// C3 68, C0 35: a connection that was switched off finishes nothing that was begun, and a
// certificate that was removed has signed nothing.
func TestDisabledConnectionFinishesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		p, _, err := b.signIn(t, c, said{})
		if err != nil {
			t.Fatal(err)
		}
		response, handle := b.answer(t, c, said{}), ""
		if handle, err = b.receive(t, c, said{}); err != nil {
			t.Fatal(err)
		}
		b.state(t, c, sso.Disabled)
		_, starts := b.Start(t.Context(), b.by, sso.Request{Connection: c.ID, Browser: browser})
		_, receives := b.ReceiveSAML(t.Context(), b.by, c.ID, response, "")
		_, _, signs := b.who(t, p)
		links := b.link(t, b.user(t, "ann"), p)
		for name, err := range map[string]error{"start": starts, "receive": receives, "sign in": signs, "link": links} {
			if !errors.Is(err, sso.ErrDisabled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := b.Claim(t.Context(), b.by, handle, browser); !errors.Is(err, sso.ErrFlow) {
			t.Errorf("claim: %v", err)
		}
		b.state(t, c, sso.Active)
		response = b.answer(t, c, said{})
		b.save(t, c, func(o *sso.Settings) { o.IdP = thief().settings() })
		b.receiveRefused(t, c, response, sso.OtherCertificate)

		o := b.oidc(t)
		query := b.callback(t, b.start(t, o))
		b.state(t, o, sso.Disabled)
		if _, _, err := b.FinishOIDC(t.Context(), b.by, o.ID, query, browser); !errors.Is(err, sso.ErrFlow) {
			t.Errorf("finish: %v", err)
		}
	})
}

// receiveRefused expects a response to be refused for a cause, when it comes or when it
// is claimed.
func (b *bench) receiveRefused(t testing.TB, c sso.Connection, response string, want sso.Cause) {
	t.Helper()
	handle, err := b.ReceiveSAML(t.Context(), b.by, c.ID, response, "")
	if err == nil {
		_, _, err = b.Claim(t.Context(), b.by, handle, browser)
	}
	if got := b.lastTrace(t, c).Cause; !errors.Is(err, sso.ErrRefused) || got != want {
		t.Errorf("got %v and the cause %q, want %q", err, got, want)
	}
}

// C1 6 and 8: the key is connection, issuer and subject. An address moves nobody.
func TestIdentityKeyIsConnectionIssuerAndSubject(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		p, _, err := b.signIn(t, c, said{})
		if err != nil {
			t.Fatal(err)
		}
		ann, bob := b.user(t, "ann"), b.user(t, "bob")
		if err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		if err := b.link(t, bob, p); !errors.Is(err, sso.ErrLinked) {
			t.Errorf("linked to another: %v", err)
		}
		moved := p
		moved.Email = "bob@acme.example"
		if got, found, _ := b.who(t, moved); !found || got != ann {
			t.Error("another address leads to another user")
		}
		for name, change := range map[string]func(p *sso.Profile){
			"issuer":  func(p *sso.Profile) { p.Issuer = "https://other.example" },
			"subject": func(p *sso.Profile) { p.Subject = "ANN-1" },
			"connection": func(p *sso.Profile) {
				p.Connection = b.connect(t, sso.Connection{Kind: sso.SAML, Provider: "okta", Settings: sso.Settings{IdP: acme().settings()}}, "").ID
			},
		} {
			q := p
			change(&q)
			if got, found, err := b.who(t, q); found || err != nil {
				t.Errorf("another %s leads to %s, %v", name, got, err)
			}
		}
	})
}

// C9 143: what somebody has proved of an identity counts for whom the connection trusted
// then.
func TestAProofIsForWhomTheConnectionTrusts(t *testing.T) {
	second := newIdP(begin.AddDate(-1, 0, 0), begin.AddDate(1, 0, 0))
	for name, c := range map[string]struct {
		change func(o *sso.Settings)
		kept   bool
	}{
		"groups":          {func(o *sso.Settings) { o.GroupAttribute = "teams" }, true},
		"a mapped name":   {func(o *sso.Settings) { o.Attributes = map[string]string{"first_name": "nick"} }, true},
		"a fresh proof":   {func(o *sso.Settings) { o.ForceAuthn = true }, true},
		"where people go": {func(o *sso.Settings) { o.IdP.SSORedirect = "https://idp.example/other" }, true},
		"a certificate more": {func(o *sso.Settings) {
			o.IdP.Certificates = append(o.IdP.Certificates, second.settings().Certificates...)
		}, false},
		"another certificate":  {func(o *sso.Settings) { o.IdP.Certificates = second.settings().Certificates }, false},
		"another entity id":    {func(o *sso.Settings) { o.IdP.EntityID = "https://idp.example/another" }, false},
		"another subject":      {func(o *sso.Settings) { o.Attributes = map[string]string{"subject": "nick"} }, false},
		"another NameID":       {func(o *sso.Settings) { o.NameIDFormat = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress" }, false},
		"our entity id":        {func(o *sso.Settings) { o.EntityID = "https://other.example/sp" }, false},
		"unsolicited as well":  {func(o *sso.Settings) { o.AllowUnsolicited = true }, false},
		"a clock that is off":  {func(o *sso.Settings) { o.SkewSeconds = 300 }, false},
		"where they land":      {func(o *sso.Settings) { o.Target = sso.Target{ApplicationID: shop} }, true},
		"nothing but the save": {func(*sso.Settings) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.registers(shop, "https://shop.example/login")
				conn := b.saml(t)
				p, _, err := b.signIn(t, conn, said{})
				if err != nil {
					t.Fatal(err)
				}
				ann, bob := b.user(t, "ann"), b.user(t, "bob")
				if err := b.link(t, ann, p); err != nil {
					t.Fatal(err)
				}
				want := func(want bool) {
					t.Helper()
					b.write(t, func(tx *database.Tx) error {
						got, err := b.IsProved(t.Context(), tx, b.by, p)
						if got != want {
							t.Errorf("proved: %t, want %t", got, want)
						}
						return err
					})
				}
				prove := func(id string) error {
					b.pass(time.Second)
					return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.LinkProved(t.Context(), tx, b.by, id, p) })
				}
				want(false) // on the organization's word alone
				if err := prove(bob); !errors.Is(err, sso.ErrLinked) {
					t.Errorf("somebody else's: %v", err)
				}
				want(false)
				if err := prove(ann); err != nil {
					t.Fatal(err)
				}
				want(true)
				b.pass(time.Second)
				b.save(t, conn, c.change)
				want(c.kept)
				if err := prove(ann); err != nil {
					t.Fatal(err)
				}
				want(true)
			})
		})
	}
}

// C1 7: what a provider says of an address proves nothing; the organization's domain does.
func TestAddressIsProvedByTheDomainAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.oidc(t)
		for name, value := range map[string]any{"true": true, "text": "true", "number": 1, "absent": nil} {
			b.op.claims = func(claims map[string]any) { claims["email_verified"] = value }
			for _, b.proved = range []bool{false, true} {
				if p, _, err := b.finish(t, c); err != nil || p.EmailVerified != b.proved {
					t.Errorf("%s: got %v, %v, want %v", name, p.EmailVerified, err, b.proved)
				}
			}
		}
	})
}

// C3 72: attributes fill what the mapping says, and roles come from rules.
func TestAttributesFillNothingElse(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		attribute := func(name string, values ...string) string {
			return `<saml:Attribute Name="` + name + `"><saml:AttributeValue>` + strings.Join(values, `</saml:AttributeValue><saml:AttributeValue>`) + `</saml:AttributeValue></saml:Attribute>`
		}
		hostile := attribute("id", "victim") + attribute("roles", "owner") + attribute("role_ids", "owner") + attribute("is_admin", "true") + attribute("subject", "victim") + attribute("connection", "x") + attribute("email_verified", "true") + attribute("groups", "Sales", "Engineering")
		p, _, err := b.signIn(t, c, said{more: hostile})
		if err != nil {
			t.Fatal(err)
		}
		if p.Subject != "ann-1" || p.Connection != c.ID || len(p.RoleIDs) != 0 || p.EmailVerified || len(p.Groups) != 2 {
			t.Errorf("got %+v", p)
		}
		c = b.save(t, c, func(o *sso.Settings) { o.Attributes = map[string]string{"subject": "id", "email": "mail2"} })
		if _, _, err := b.signIn(t, c, said{more: hostile}); !errors.Is(err, sso.ErrRefused) || b.lastTrace(t, c).Cause != sso.EmailMissing {
			t.Errorf("a mapped address that is missing: %v, %s", err, b.lastTrace(t, c).Cause)
		}
		if p, _, err = b.signIn(t, c, said{more: hostile + attribute("mail2", "ann2@acme.example")}); err != nil || p.Subject != "victim" || p.Email != "ann2@acme.example" {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestTestSignsNobodyIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p, err := b.Prepare(t.Context(), b.admin, sso.Connection{OrganizationID: b.acme, Kind: sso.SAML, Provider: "entra", Settings: sso.Settings{IdP: acme().settings()}}, "")
		if err != nil {
			t.Fatal(err)
		}
		var c sso.Connection
		b.write(t, func(tx *database.Tx) (err error) {
			c, err = b.Create(t.Context(), tx, b.admin, p)
			return err
		})
		ask := sso.Request{Connection: c.ID, Browser: browser}
		if _, err := b.Start(t.Context(), b.by, ask); !errors.Is(err, sso.ErrDisabled) {
			t.Errorf("a draft signs in: %v", err)
		}
		ask.Test = true
		if _, err := b.Start(t.Context(), b.by, ask); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a visitor tests: %v", err)
		}
		sent, err := b.Start(t.Context(), b.admin, ask)
		if err != nil {
			t.Fatal(err)
		}
		handle, err := b.receive(t, c, said{request: requestOf(t, sent.Location)})
		if err != nil {
			t.Fatal(err)
		}
		who, f, err := b.Claim(t.Context(), b.by, handle, browser)
		if err != nil || !f.Test || f.Trace == "" || who.Subject != "" || who.Connection != "" {
			t.Errorf("got %+v, %+v, %v", who, f, err)
		}
		if _, found, err := b.who(t, who); found || !errors.Is(err, sso.ErrNotFound) {
			t.Errorf("the profile of a test signs in: %v", err)
		}
		if trace := b.lastTrace(t, c); !trace.Test || trace.Cause != "" {
			t.Errorf("got %+v", trace)
		}
	})
}

// C0 23, 24: a connection is reached by way of its own organization, and its rules give
// what its author could give.
func TestConnectionsKeepToTheirOrganization(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, theirs := b.saml(t), b.organization(t, "Globex")
		_, finds := b.Find(t.Context(), b.DB, b.admin, theirs, c.ID)
		_, traces := b.Traces(t.Context(), b.DB, b.admin, theirs, c.ID, "", 1)
		_, checks := b.Check(t.Context(), b.admin, theirs, c.ID)
		_, rolls := b.RollKey(t.Context(), b.admin, theirs, c.ID, sso.AddKey)
		moved := c
		moved.OrganizationID = theirs
		_, prepares := b.Prepare(t.Context(), b.admin, moved, "")
		deletes := b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, b.admin, theirs, c.ID) })
		for name, err := range map[string]error{"find": finds, "traces": traces, "check": checks, "keys": rolls, "prepare": prepares, "delete": deletes} {
			if !errors.Is(err, sso.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		b.grant = errMay
		c.Settings.GroupRules = []sso.Rule{{Group: "Everyone", RoleID: secret.ID(begin)}}
		p, err := b.Prepare(t.Context(), b.admin, c, "")
		if err != nil {
			t.Fatal(err)
		}
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Save(t.Context(), tx, b.admin, p)
			return err
		})
		if !errors.Is(err, errMay) {
			t.Errorf("a rule gives a role that its author could not: %v", err)
		}
	})
}
