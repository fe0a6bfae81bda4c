package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

const acme, other = "00000000000000000000acae", "00000000000000000000beef"

// bench is a log on a database, with a clock that moves a millisecond at each
// transaction, so that events have an order.
type bench struct {
	db     *database.DB
	sealer *audit.Sealer
	clock  atomic.Int64
}

func newBench(db *database.DB) *bench {
	b := &bench{db: db, sealer: &audit.Sealer{DB: db, Log: slog.New(slog.DiscardHandler)}}
	b.clock.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.clock.Add(1)) }
	return b
}

// run runs test on each engine with a fresh bench.
func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) { test(t, newBench(db)) })
}

// write writes one event in a transaction of its own.
func (b *bench) write(t *testing.T, by access.Actor, e audit.Event) {
	t.Helper()
	if err := b.db.Write(t.Context(), func(tx *database.Tx) error { return audit.Append(tx, by, e) }); err != nil {
		t.Fatal(err)
	}
}

// fill writes n events.
func (b *bench) fill(t *testing.T, tenant string, n int) {
	t.Helper()
	for done := 0; done < n; {
		err := b.db.Write(t.Context(), func(tx *database.Tx) error {
			for range min(100, n-done) {
				done++
				if err := audit.Append(tx, access.System(tenant), audit.Event{Action: "user.created", Target: "user", TargetID: fmt.Sprint(done)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) seal(t *testing.T) int {
	t.Helper()
	n, err := b.sealer.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bench) verify(t *testing.T, tenant string, noted ...audit.Mark) audit.Report {
	t.Helper()
	return verify(t, b.db, tenant, noted...)
}

func verify(t *testing.T, r database.Reader, tenant string, noted ...audit.Mark) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), r, tenant, noted...)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (b *bench) list(t *testing.T, tenant string, f audit.Filter, limit int) []audit.Listed {
	t.Helper()
	events, err := audit.List(t.Context(), b.db, tenant, f, limit)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// diff says how got differs from want; empty if it does not.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return fmt.Sprintf("\ngot  %+v\nwant %+v", got, want)
}

var errUndo = errors.New("undo")

// tamper runs statements as an attacker with the database would, hands test what
// they have made of it, and undoes it all.
func (b *bench) tamper(t *testing.T, statements []string, test func(r database.Reader)) {
	t.Helper()
	err := b.db.Write(t.Context(), func(tx *database.Tx) error {
		for _, stmt := range statements {
			if n, err := tx.Exec(t.Context(), stmt); err != nil || n == 0 {
				return fmt.Errorf("%s: %d rows, %w", stmt, n, err)
			}
		}
		test(tx)
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
}

func TestAnEventSaysEverythingAboutAChange(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		by := access.System(acme)
		by.Name, by.IP, by.UserAgent, by.RequestID = "key:1", "192.0.2.1", "curl/8", "req-7"
		b.write(t, by, audit.Event{Action: "user.updated", Target: "user", TargetID: "42", Result: audit.Failure, Reason: "email_taken",
			Method: "api_key", Detail: map[string]any{"changed": []string{"email"}}})
		want := audit.Listed{At: time.UnixMilli(b.clock.Load()).UTC(), Actor: "key:1", Action: "user.updated", Target: "user", TargetID: "42",
			Result: "failure", Reason: "email_taken", Method: "api_key", IP: "192.0.2.1", UserAgent: "curl/8", RequestID: "req-7",
			Detail: json.RawMessage(`{"changed":["email"]}`)}
		check := func() {
			t.Helper()
			got := b.list(t, acme, audit.Filter{}, 10)
			if len(got) != 1 {
				t.Fatalf("%d events, want 1", len(got))
			}
			want.ID = got[0].ID
			if d := diff(want, got[0]); d != "" {
				t.Error(d)
			}
		}
		check() // at once, not only when it is sealed
		b.seal(t)
		want.Seq = 1
		check()
	})
}

func TestAnEventIsWrittenWithItsChangeOrNotAtAll(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		err := b.db.Write(t.Context(), func(tx *database.Tx) error {
			if err := audit.Append(tx, access.System(acme), audit.Event{Action: "user.created"}); err != nil {
				return err
			}
			return errUndo
		})
		if !errors.Is(err, errUndo) {
			t.Fatal(err)
		}
		if got := b.list(t, acme, audit.Filter{}, 10); len(got) != 0 {
			t.Errorf("a change that was rolled back has left %v", got)
		}
	})
}

func TestNothingAStrangerSendsMakesAChangeFail(t *testing.T) {
	hostile := map[string]string{
		"NUL":               "a\x00b",
		"broken UTF-8":      "a\xff\xc3(\xed\xa0\x80",
		"terminal commands": "\x1b[2J\x1b]0;owned\x07\r\n\u0085",
		"right to left":     "a\u202egpj.exe",
		"too long":          strings.Repeat("A", 1<<20),
		"cut inside a rune": "x" + strings.Repeat("é", 5000),
		"cut inside two":    strings.Repeat("\U0001F512", 5000),
		"empty":             "",
	}
	run(t, func(t *testing.T, b *bench) {
		for name, s := range hostile {
			by := access.System(acme)
			by.Name, by.IP, by.UserAgent, by.RequestID = s, s, s, s
			b.write(t, by, audit.Event{Action: s, Target: s, TargetID: s, Result: s, Reason: s, Method: s, Detail: map[string]any{s: s}})
			e := b.list(t, acme, audit.Filter{}, 1)[0]
			for _, got := range []string{e.Actor, e.IP, e.UserAgent, e.RequestID, e.Action, e.Target, e.TargetID, e.Result, e.Reason, e.Method} {
				if !utf8.ValidString(got) || len(got) > 512 || strings.ContainsAny(got, "\x00\x1b\x07\r\n\u0085\u202e") {
					t.Errorf("%s: kept %q", name, got)
				}
			}
			if !json.Valid(e.Detail) || len(e.Detail) > 8<<10 {
				t.Errorf("%s: kept %d bytes of detail", name, len(e.Detail))
			}
		}
		if got := b.list(t, acme, audit.Filter{Actor: "a\x00b", Action: "\xff\x00", TargetID: "\xff", Result: "\x00", Cursor: "\x00"}, 1); len(got) != 0 {
			t.Errorf("a hostile filter finds %v", got)
		}
		b.seal(t)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != int64(len(hostile)) {
			t.Errorf("report %+v", r)
		}
	})
}

func TestRandomBytesAreKeptAsText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	run(t, func(t *testing.T, b *bench) {
		for range 200 {
			bytes := make([]byte, random.IntN(700))
			for i := range bytes {
				bytes[i] = byte(random.UintN(256))
			}
			by := access.Visitor(acme, "192.0.2.1")
			by.UserAgent = string(bytes)
			b.write(t, by, audit.Event{Action: "sign_in.failed"})
		}
		for _, e := range b.list(t, acme, audit.Filter{}, 1000) {
			if !utf8.ValidString(e.UserAgent) || len(e.UserAgent) > 512 {
				t.Errorf("kept %q", e.UserAgent)
			}
		}
	})
}

func TestACharacterIsNotCutInTwo(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		by := access.Visitor(acme, "192.0.2.1")
		by.UserAgent = "x" + strings.Repeat("é", 400)
		b.write(t, by, audit.Event{Action: "user.created"})
		if got, want := b.list(t, acme, audit.Filter{}, 1)[0].UserAgent, "x"+strings.Repeat("é", 255); got != want {
			t.Errorf("kept %d bytes, %q", len(got), got)
		}
	})
}

func TestADetailThatIsNotJSONIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		err := b.db.Write(t.Context(), func(tx *database.Tx) error {
			return audit.Append(tx, access.System(acme), audit.Event{Action: "user.created", Detail: map[string]any{"f": func() {}}})
		})
		if err == nil {
			t.Error("no error")
		}
	})
}

func TestListFinds(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var at []time.Time
		for i, e := range []struct{ actor, action, target, result string }{
			{"user:1", "user.created", "1", "success"},
			{"user:1", "user.updated", "1", "failure"},
			{"user:2", "user_import.done", "2", "success"},
			{"user:2", "session.started", "1", "success"},
			{"key:1", "user.created", "3", "failure"},
		} {
			by := access.System(acme)
			by.Name = e.actor
			b.write(t, by, audit.Event{Action: e.action, Target: "thing", TargetID: e.target, Result: e.result})
			at = append(at, time.UnixMilli(b.clock.Load()))
			if i == 2 {
				b.seal(t) // what is found must not depend on where it is kept
			}
		}
		b.write(t, access.System(other), audit.Event{Action: "user.created", TargetID: "1"})
		all := b.list(t, acme, audit.Filter{}, 10)
		for name, c := range map[string]struct {
			filter audit.Filter
			want   []int // counted from the newest
		}{
			"everything, newest first": {audit.Filter{}, []int{0, 1, 2, 3, 4}},
			"a kind of action":         {audit.Filter{Action: "user."}, []int{0, 3, 4}},
			"one action":               {audit.Filter{Action: "user.updated"}, []int{3}},
			"an actor":                 {audit.Filter{Actor: "user:1"}, []int{3, 4}},
			"a target":                 {audit.Filter{TargetID: "1"}, []int{1, 3, 4}},
			"a result":                 {audit.Filter{Result: audit.Failure}, []int{0, 3}},
			"since":                    {audit.Filter{Since: at[2]}, []int{0, 1, 2}},
			"until":                    {audit.Filter{Until: at[2]}, []int{3, 4}},
			"a span":                   {audit.Filter{Since: at[1], Until: at[3]}, []int{2, 3}},
			"behind a cursor":          {audit.Filter{Cursor: all[1].ID}, []int{2, 3, 4}},
			"all at once":              {audit.Filter{Action: "user", Actor: "user:1", TargetID: "1", Result: "failure", Since: at[0], Until: at[4], Cursor: all[0].ID}, []int{3}},
			"nothing":                  {audit.Filter{Actor: "user:9"}, nil},
		} {
			var want []audit.Listed
			for _, i := range c.want {
				want = append(want, all[i])
			}
			if d := diff(want, b.list(t, acme, c.filter, 10)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	})
}

func TestListPagesThroughEverythingOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 60)
		b.seal(t)
		b.fill(t, acme, 35)
		seen := map[string]bool{}
		var cursor string
		for {
			page := b.list(t, acme, audit.Filter{Cursor: cursor}, 10)
			for _, e := range page {
				if seen[e.ID] || cursor != "" && e.ID >= cursor {
					t.Fatalf("event %s comes twice or out of order", e.ID)
				}
				seen[e.ID], cursor = true, e.ID
			}
			if len(page) < 10 {
				break
			}
			b.seal(t) // rows move while we read
		}
		if len(seen) != 95 {
			t.Errorf("saw %d events, want 95", len(seen))
		}
	})
}
