package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/transfer"
	"github.com/cardea-id/cardea/internal/user"
)

// typed is the password behind the hashes in testdata.
const typed = "correct horse battery"

// bench is the service on a database with a movable clock and one tenant.
type bench struct {
	*transfer.Service
	by     access.Actor
	hasher *passhash.Hasher

	mu  sync.Mutex
	now time.Time
}

// run runs test on both engines.
func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) { test(t, newBench(t, db)) })
}

func newBench(t testing.TB, db *database.DB) *bench {
	t.Helper()
	b := &bench{now: time.Now().UTC().Truncate(time.Millisecond), hasher: passhash.New(passhash.Default, nil)}
	db.Now = func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now = b.now.Add(time.Millisecond) // no two moments are the same
		return b.now
	}
	box := func(_ context.Context, tenant string) (*secret.Box, error) {
		return secret.NewBox([]byte(strings.Repeat("k", secret.KeySize)))
	}
	b.Service = &transfer.Service{DB: db, Users: &user.Service{DB: db, Box: box, Connection: tenant.ManualConnection}}
	b.by = b.newTenant(t, "first")
	return b
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// newTenant makes a tenant with its roles and returns its system.
func (b *bench) newTenant(t testing.TB, slug string) access.Actor {
	t.Helper()
	master, err := secret.NewBox([]byte(strings.Repeat("m", secret.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	var by access.Actor
	err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
		made, err := (&tenant.Service{DB: b.DB, Master: master, BaseHost: "cardea.test"}).Create(t.Context(), tx, access.System(""), slug, slug, tenant.KindSSMS)
		if err != nil {
			return err
		}
		by = access.System(made.ID)
		_, err = role.Seed(t.Context(), tx, made.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return by
}

// file writes a file of lines.
func file(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load imports a file and returns the result and the report's lines.
func (b *bench) load(t testing.TB, o transfer.Options) (transfer.Progress, []transfer.Refusal) {
	t.Helper()
	var report bytes.Buffer
	o.Report = &report
	result, err := b.Import(t.Context(), b.by, o)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return result, refusals(t, report.Bytes())
}

func refusals(t testing.TB, report []byte) (out []transfer.Refusal) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(report))
	for dec.More() {
		var r transfer.Refusal
		if err := dec.Decode(&r); err != nil {
			t.Fatalf("report %s: %v", report, err)
		}
		out = append(out, r)
	}
	return out
}

// codes are the refusals as "record code".
func codes(refusals []transfer.Refusal) []string {
	out := []string{}
	for _, r := range refusals {
		out = append(out, fmt.Sprint(r.Record, " ", r.Code))
	}
	return out
}

// find returns the user of a login; it fails if there is none.
func (b *bench) find(t testing.TB, login string) user.User {
	t.Helper()
	u, err := b.Users.FindByLogin(t.Context(), b.DB, b.by, login)
	if err != nil {
		t.Fatalf("find %s: %v", login, err)
	}
	return u
}

// checkPassword checks that text is the password of u.
func (b *bench) checkPassword(t testing.TB, u user.User, text string) {
	t.Helper()
	hash, _, err := password.Find(t.Context(), b.DB, b.by.Tenant, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := b.hasher.Verify(t.Context(), hash, text); !ok || err != nil {
		t.Errorf("%s does not sign in with %q: %v, %v", u.Login(), text, ok, err)
	}
	if ok, _, err := b.hasher.Verify(t.Context(), hash, text+"x"); ok || err != nil {
		t.Errorf("%s signs in with another password, or fails: %v", u.Login(), err)
	}
}

func (b *bench) count(t testing.TB, table string) (n int64) {
	t.Helper()
	if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE tenant_id = $1", b.by.Tenant).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// export returns all users of the tenant as a file.
func (b *bench) export(t testing.TB, o transfer.ExportOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := b.Export(t.Context(), b.by, &out, o); err != nil {
		t.Fatalf("export: %v", err)
	}
	return out.Bytes()
}
