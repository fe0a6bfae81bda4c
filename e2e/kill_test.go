package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// ledger is what the server has acknowledged: the oracle of the test.
type ledger struct {
	mu      sync.Mutex
	created map[string]string // id -> address, deleted ones taken out
	deleted map[string]bool
}

// Twenty times the server is killed in the middle of writes. Whatever it had
// acknowledged is there afterwards, whatever it had deleted stays deleted, there
// is no half of a user, and each change has its event.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, dbtest.EmptyURL(t, engine))
			acked := &ledger{created: map[string]string{}, deleted: map[string]bool{}}
			for round := range 20 {
				s.start(t)
				s.writeUntilKilled(t, acked, round, 80*time.Millisecond+time.Duration(round)*7*time.Millisecond)
			}
			s.start(t)
			s.checkLedger(t, acked)
			s.stop(t)
			checkDatabase(t, s.url, acked)
		})
	}
}

// writeUntilKilled lets eight clients create, change and delete users, and kills
// the server while they do.
func (s *server) writeUntilKilled(t *testing.T, acked *ledger, round int, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.oneUser(ctx, t, acked, fmt.Sprintf("r%d.c%d.n%d@example.com", round, c, i), i%3 == 2)
			}
		})
	}
	time.Sleep(after) // the moment is the point of the test
	s.kill()
	cancel()
	clients.Wait()
}

func (s *server) oneUser(ctx context.Context, t *testing.T, acked *ledger, email string, thenDelete bool) {
	var made struct {
		ID string `json:"_id"`
	}
	status, err := s.call(ctx, "POST", "/api/v1/users", map[string]string{"email": email, "first_name": "A", "last_name": "B"}, &made)
	if err != nil {
		return // not acknowledged
	}
	if status != http.StatusOK {
		t.Errorf("create %s = %d", email, status)
		return
	}
	acked.mu.Lock()
	acked.created[made.ID] = email
	acked.mu.Unlock()
	if !thenDelete {
		return
	}
	// From here on it may be gone or not, until the answer is there.
	acked.mu.Lock()
	delete(acked.created, made.ID)
	acked.mu.Unlock()
	if status, err := s.call(ctx, "DELETE", "/api/v1/users/"+made.ID, struct{}{}, nil); err == nil && status == http.StatusOK {
		acked.mu.Lock()
		acked.deleted[made.ID] = true
		acked.mu.Unlock()
	}
}

func (s *server) checkLedger(t *testing.T, acked *ledger) {
	t.Helper()
	if len(acked.created) < 200 || len(acked.deleted) < 50 {
		t.Fatalf("only %d creations and %d deletions were acknowledged: the test proves too little\n%s", len(acked.created), len(acked.deleted), s.log.Bytes())
	}
	found := map[string]string{}
	for cursor := ""; ; {
		var page []struct {
			ID    string `json:"_id"`
			Email string `json:"email"`
		}
		if status, err := s.call(t.Context(), "GET", "/api/v1/users?limit=500&created_after=2020-01-01T00:00:00Z&cursor="+cursor, nil, &page); err != nil || status != http.StatusOK {
			t.Fatalf("list = %d, %v", status, err)
		}
		for _, u := range page {
			found[u.ID] = u.Email
		}
		if len(page) < 500 {
			break
		}
		cursor = s.nextCursor(t, cursor)
	}
	for id, email := range acked.created {
		if found[id] != email {
			t.Errorf("user %s (%s) was acknowledged and is lost", id, email)
		}
	}
	for id := range acked.deleted {
		if _, ok := found[id]; ok {
			t.Errorf("user %s was deleted and is back", id)
		}
	}
}

func (s *server) nextCursor(t *testing.T, cursor string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.address+"/api/v1/users?limit=500&created_after=2020-01-01T00:00:00Z&cursor="+cursor, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.boot.APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("X-Next-Cursor")
}

// checkDatabase looks at what the API does not show: no identifier without its
// user, no user without an identifier, an event for each change, a whole chain.
func checkDatabase(t *testing.T, url string, acked *ledger) {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for what, stmt := range map[string]string{
		"identifiers without a user":  "SELECT count(*) FROM user_identifiers i LEFT JOIN users u ON u.tenant_id = i.tenant_id AND u.id = i.user_id WHERE u.id IS NULL",
		"users without an identifier": "SELECT count(*) FROM users u LEFT JOIN user_identifiers i ON i.tenant_id = u.tenant_id AND i.value = u.login_key WHERE i.value IS NULL",
		"users without an event":      "SELECT count(*) FROM users u LEFT JOIN audit_events e ON e.tenant_id = u.tenant_id AND e.target_id = u.id AND e.action = 'user.created' WHERE e.id IS NULL",
	} {
		var n int64
		if err := db.QueryRow(t.Context(), stmt).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s, %v", n, what, err)
		}
	}
	rows, err := db.Query(t.Context(), "SELECT target_id FROM audit_events WHERE action = 'user.deleted'")
	deleted, err := database.Collect(rows, err, "read", func(row database.Scanner) (id string, err error) { err = row.Scan(&id); return id, err })
	if err != nil {
		t.Fatal(err)
	}
	for id := range acked.deleted {
		if !slices.Contains(deleted, id) {
			t.Errorf("the deletion of %s has no event", id)
		}
	}
	tenants, err := audit.Tenants(t.Context(), db)
	if err != nil || len(tenants) == 0 {
		t.Fatalf("logs: %q, %v", tenants, err)
	}
	for _, tenant := range tenants {
		if report, err := audit.Verify(t.Context(), db, tenant); err != nil || report.Fault != nil || report.Unsealed != 0 {
			t.Errorf("log of %s: %+v, %v", tenant, report, err)
		}
	}
	t.Logf("%d creations and %d deletions acknowledged", len(acked.created), len(acked.deleted))
}
