// Package apptest runs the whole product in tests: on a temporary database of each
// engine, with a clock that is moved by hand.
//
//	Run        a test on each engine, with a World of its own
//	RunDev     the same in the developer mode
//	World      the product with a tenant "demo"; makes further tenants
//	Client     sends requests as an application would; makes further keys
//	Tenant     makes users, and clients with their access tokens
//	Browser    goes through hosted pages as a person would; reads their mail
//	CheckSuite fails a test binary that left out a route
//
// Requests go to the product's handler as they would come over TLS. Every answer
// is held against /openapi.json: its status, its error code and its whole body
// must be described there, so the description can not promise what is not so, nor
// keep quiet about what is. Nothing in this package is linked into the product.
package apptest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
)

// BaseHost is the host of the installation's public address. Tenant demo answers
// at it and at demo.BaseHost, others at {slug}.BaseHost.
const BaseHost = "cardea.test"

// A World is the product on a database of its own.
type World struct {
	*app.App
	Clock *Clock
	Demo  *Tenant // the default tenant

	log      logBuffer
	sent     statements
	contract *contract
	broken   atomic.Bool
}

// Run runs test once per engine, as a subtest named after it.
func Run(t *testing.T, test func(t *testing.T, w *World)) {
	t.Helper()
	run(t, false, test)
}

// RunDev is Run for the developer mode, which keeps mail to look at and lets plain
// http through.
func RunDev(t *testing.T, test func(t *testing.T, w *World)) {
	t.Helper()
	run(t, true, test)
}

func run(t *testing.T, dev bool, test func(t *testing.T, w *World)) {
	t.Helper()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		t.Helper()
		test(t, open(t, url, dev))
	})
}

// RunParallel is Run for a test that may run beside others.
func RunParallel(t *testing.T, test func(t *testing.T, w *World)) {
	t.Helper()
	t.Parallel()
	Run(t, test)
}

func open(t *testing.T, url string, dev bool) *World {
	t.Helper()
	w := &World{Clock: newClock()}
	var err error
	w.App, err = app.Open(t.Context(), app.Config{
		PublicURL: "https://" + BaseHost, DatabaseURL: url, DefaultTenant: "demo", TrustedProxies: "127.0.0.1",
		MasterKey: "6b0f1d2c3b4a59687786a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
		Spool:     filepath.Join(t.TempDir(), "spool"),
		Dev:       dev,
	}, slog.New(slog.NewTextHandler(&w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = io.Copy(t.Output(), w.log.reader()) // the test has failed already
		}
		if w.broken.Load() {
			return
		}
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	w.DB.Now, w.DB.Watch = w.Clock.Now, w.sent.add
	w.Notify.Email, w.Notify.SMS = notify.Mailbox{}, notify.Mailbox{} // for Letters
	w.contract = contractOf(t, w.App)
	w.Demo = w.Tenant(t, "demo")
	return w
}

// Work does the jobs that are due, and those that become due meanwhile.
func (w *World) Work(t *testing.T) {
	t.Helper()
	if err := w.Jobs.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Break takes the database away. From then on failures are as they should be.
func (w *World) Break(t *testing.T) {
	t.Helper()
	w.broken.Store(true)
	w.Clock.Advance(time.Minute) // nothing is remembered
	if err := w.DB.Close(); err != nil {
		t.Fatal(err)
	}
}

// Log is what the product has logged so far.
func (w *World) Log() string {
	text, _ := io.ReadAll(w.log.reader()) // from memory
	return string(text)
}

// Statements returns what the product sends to the database while do runs, but for
// what begins and ends transactions. It is for one goroutine at a time.
func (w *World) Statements(do func()) []string {
	w.sent.take()
	do()
	return w.sent.take()
}

// statements are those sent since they were taken.
type statements struct {
	mu   sync.Mutex
	sent []string
}

func (s *statements) add(stmt string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, strings.Join(strings.Fields(stmt), " "))
}

func (s *statements) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

// A logBuffer is written by the requests of a test, several at once.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) reader() io.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.NewReader(bytes.Clone(l.buf.Bytes()))
}

// A Clock stands still until it is moved, but for a millisecond at each look, so
// that what happens later has a later time.
type Clock struct{ ms atomic.Int64 }

func newClock() *Clock {
	c := &Clock{}
	c.ms.Store(time.Now().UnixMilli())
	return c
}

// Now is the clock's time.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.ms.Add(1)) }

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// A Tenant is a tenant with one application, and a client that may do everything.
type Tenant struct {
	Client
	ID       string
	Slug     string
	ClientID string               // of its application
	Roles    map[string]role.Role // by slug
}

// Master returns the operator's tenant, which there is in every World, with a new
// key for everything.
func (w *World) Master(t *testing.T) *Tenant {
	t.Helper()
	row, err := w.Tenants.BySlug(t.Context(), tenant.Master)
	if err != nil {
		t.Fatal(err)
	}
	master := &Tenant{ID: row.ID, Slug: row.Slug, Client: Client{w: w, Host: row.Slug + "." + BaseHost, tenant: row.ID}}
	master.Client = master.As(t, access.All...)
	roles, err := role.All(t.Context(), w.DB, row.ID)
	if err != nil {
		t.Fatal(err)
	}
	master.Roles = map[string]role.Role{}
	for _, r := range roles {
		master.Roles[r.Slug] = r
	}
	master.ClientID, _ = master.Post(t, "/api/v1/applications", `{"name": "master"}`).Want(t, 201).Object(t)["client_id"].(string)
	return master
}

// Origin is the allowed origin of every tenant's application.
const Origin = "https://app.example.com"

// Tenant makes a tenant. Its client asks at the tenant's own host.
func (w *World) Tenant(t *testing.T, slug string) *Tenant {
	t.Helper()
	made := &Tenant{Slug: slug, Client: Client{w: w, Host: slug + "." + BaseHost}}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		row, roles, err := w.NewTenant(ctx, tx, access.System(""), slug, slug, tenant.KindSSMS)
		if err != nil {
			return err
		}
		made.ID, made.Roles = row.ID, roles
		made.tenant = row.ID
		application, _, err := w.Tenants.CreateApplication(ctx, tx, access.System(row.ID), tenant.Application{
			Name: slug, RedirectURIs: []string{"https://app.example.com/callback"}, AllowedOrigins: []string{Origin},
		})
		made.ClientID = application.ClientID
		return err
	})
	made.Client = made.As(t, access.All...)
	return made
}

// Write runs fn in a transaction.
func (w *World) Write(t *testing.T, fn func(ctx context.Context, tx *database.Tx) error) {
	t.Helper()
	if err := w.DB.Write(t.Context(), func(tx *database.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}
