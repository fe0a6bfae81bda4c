package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// sealed is a bench with ten sealed events of acme and three of another tenant,
// and the ids of acme's by their place.
func (b *bench) sealed(t *testing.T) (id []string) {
	t.Helper()
	for range 10 {
		b.fill(t, acme, 1)
	}
	b.fill(t, other, 3)
	b.seal(t)
	id = make([]string, 11)
	for _, e := range b.list(t, acme, audit.Filter{}, 100) {
		id[e.Seq] = e.ID
	}
	return id
}

// insert copies the event at a place to another place, with another id.
func insert(from, to int, id string) string {
	return fmt.Sprintf(`
		INSERT INTO audit_events (tenant_id, seq, id, at, actor, action, target, target_id, result, reason, method, ip, user_agent, request_id, detail, hash)
		SELECT tenant_id, %d, '%s', at, actor, action, target, target_id, result, reason, method, ip, user_agent, request_id, detail, hash
		FROM audit_events WHERE tenant_id = '%s' AND seq = %d`, to, id, acme, from)
}

func TestVerifyNamesTheFirstEventThat(t *testing.T) {
	const here = " WHERE tenant_id = '" + acme + "'"
	const low, high = "000000000000000000000001", "ffffffffffffffffffffffff"
	type fault struct {
		kind  audit.FaultKind
		seq   int64
		id    string // empty: none
		prove int64
	}
	at := func(seq int64, kind audit.FaultKind) func(id []string) fault {
		return func(id []string) fault { return fault{kind, seq, id[seq], seq - 1} }
	}
	gone := func(seq int64) func([]string) fault {
		return func([]string) fault { return fault{audit.Missing, seq, "", seq - 1} }
	}
	cases := map[string]struct {
		stmts []string
		want  func(id []string) fault
	}{
		"was altered":             {[]string{"UPDATE audit_events SET actor = 'nobody'" + here + " AND seq = 5"}, at(5, audit.Altered)},
		"was altered, of several": {[]string{"UPDATE audit_events SET reason = 'x'" + here + " AND seq IN (4, 7)"}, at(4, audit.Altered)},
		"was altered at the end":  {[]string{"UPDATE audit_events SET actor = 'nobody'" + here + " AND seq = 10"}, at(10, audit.Altered)},
		"moved text to a neighbouring column": {[]string{"UPDATE audit_events SET target = '', target_id = target || target_id" + here + " AND seq = 5"},
			at(5, audit.Altered)},
		"was removed from the middle": {[]string{"DELETE FROM audit_events" + here + " AND seq = 5"}, gone(5)},
		"was removed with others":     {[]string{"DELETE FROM audit_events" + here + " AND seq BETWEEN 5 AND 7"}, gone(5)},
		"was removed from the front":  {[]string{"DELETE FROM audit_events" + here + " AND seq = 1"}, gone(1)},
		"was removed from the end":    {[]string{"DELETE FROM audit_events" + here + " AND seq = 10"}, gone(10)},
		"was removed, like all":       {[]string{"DELETE FROM audit_events" + here}, gone(1)},
		"was removed, the others closing up": {[]string{"DELETE FROM audit_events" + here + " AND seq = 5", "UPDATE audit_events SET seq = seq - 1" + here + " AND seq > 5",
			"UPDATE audit_chains SET last_seq = 9" + here},
			func(id []string) fault { return fault{audit.Altered, 5, id[6], 4} }},
		"was swapped with the next": {[]string{"UPDATE audit_events SET seq = 11 - seq" + here + " AND seq IN (5, 6)"},
			func(id []string) fault { return fault{audit.Altered, 5, id[6], 4} }},
		"was moved back":        {[]string{"UPDATE audit_events SET seq = 3" + here + " AND seq = 7"}, func(id []string) fault { return fault{audit.Inserted, 3, id[7], 3} }},
		"was moved forward":     {[]string{"UPDATE audit_events SET seq = 7" + here + " AND seq = 3"}, gone(3)},
		"was moved far forward": {[]string{"UPDATE audit_events SET seq = 99" + here + " AND seq = 3"}, gone(3)},
		"was inserted before the true one": {[]string{insert(4, 5, low)},
			func([]string) fault { return fault{audit.Inserted, 5, low, 4} }},
		"was inserted behind the true one": {[]string{insert(5, 5, high)},
			func([]string) fault { return fault{audit.Inserted, 5, high, 5} }},
		"was inserted, the others giving way": {[]string{"UPDATE audit_events SET seq = seq + 1" + here + " AND seq > 5", insert(5, 6, high), "UPDATE audit_chains SET last_seq = 11" + here},
			func([]string) fault { return fault{audit.Altered, 6, high, 5} }},
		"was inserted before the first": {[]string{insert(1, 0, high)}, func([]string) fault { return fault{audit.Inserted, 0, high, 0} }},
		"was inserted behind the end":   {[]string{insert(10, 11, high)}, func([]string) fault { return fault{audit.Inserted, 11, high, 10} }},
		"came from another tenant": {[]string{"UPDATE audit_events SET tenant_id = '" + acme + "', seq = 11 WHERE tenant_id = '" + other + "' AND seq = 3",
			"UPDATE audit_chains SET last_seq = 11" + here},
			func([]string) fault { return fault{audit.Altered, 11, "*", 10} }},
		"stands behind a forged, earlier end": {[]string{"UPDATE audit_chains SET last_seq = 8, last_hash = (SELECT hash FROM audit_events" + here + " AND seq = 8)" + here},
			func(id []string) fault { return fault{audit.Inserted, 9, id[9], 8} }},
		"should stand before a forged, later end": {[]string{"UPDATE audit_chains SET last_seq = 12" + here}, gone(11)},
		"is the end, the end's hash being forged": {[]string{"UPDATE audit_chains SET last_hash = (SELECT hash FROM audit_events" + here + " AND seq = 8)" + here},
			func([]string) fault { return fault{audit.WrongEnd, 10, "", 10} }},
		"no end is kept for": {[]string{"DELETE FROM audit_chains" + here}, func(id []string) fault { return fault{audit.WrongEnd, 1, id[1], 0} }},
		"was removed, the beginning being moved": {[]string{
			"UPDATE audit_chains SET first_seq = 4, first_prev = (SELECT hash FROM audit_events" + here + " AND seq = 3)" + here,
			"DELETE FROM audit_events" + here + " AND seq < 4"},
			func([]string) fault { return fault{audit.Missing, 1, "", 7} }},
		"follows a forged beginning": {[]string{"UPDATE audit_chains SET first_prev = last_hash" + here}, at(1, audit.Altered)},
		"is before a moved beginning": {[]string{"UPDATE audit_chains SET first_seq = 4, first_prev = (SELECT hash FROM audit_events" + here + " AND seq = 3)" + here},
			func(id []string) fault { return fault{audit.Inserted, 1, id[1], 0} }},
	}
	run(t, func(t *testing.T, b *bench) {
		id := b.sealed(t)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				b.tamper(t, c.stmts, func(r database.Reader) {
					report, want := verify(t, r, acme), c.want(id)
					if report.Fault == nil {
						t.Fatalf("no fault, want %+v", want)
					}
					got := fault{report.Fault.Kind, report.Fault.Seq, report.Fault.ID, report.Proved}
					if want.id == "*" {
						want.id = got.id
					}
					if got != want || report.Fault.What == "" {
						t.Errorf("got %+v, %v\nwant %+v", got, report.Fault, want)
					}
				})
			})
		}
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 10 {
			t.Errorf("untouched, the report is %+v", r)
		}
	})
}

// columnNames asks the schema, so that a column added later is tested too.
func columnNames(t *testing.T, db *database.DB) []string {
	t.Helper()
	stmt := "SELECT name FROM pragma_table_info('audit_events')"
	if db.Engine() == database.PostgreSQL {
		stmt = "SELECT CAST(column_name AS TEXT) FROM information_schema.columns WHERE table_name = 'audit_events'"
	}
	rows, err := db.Query(t.Context(), stmt)
	names, err := database.Collect(rows, err, "list columns", func(row database.Scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestEveryColumnIsProved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.sealed(t)
		names := columnNames(t, b.db)
		if len(names) != 16 {
			t.Errorf("%d columns, want 16: %v", len(names), names)
		}
		for _, column := range names {
			value := column + " || 'x'"
			switch column {
			case "seq", "at":
				value = column + " + 1000"
			case "hash":
				value = "(SELECT last_hash FROM audit_chains WHERE tenant_id = '" + acme + "')"
			}
			stmt := "UPDATE audit_events SET " + column + " = " + value + " WHERE tenant_id = '" + acme + "' AND seq = 5"
			b.tamper(t, []string{stmt}, func(r database.Reader) {
				if report := verify(t, r, acme); report.Fault == nil || report.Fault.Seq != 5 || report.Proved != 4 {
					t.Errorf("%s altered: report %+v, fault %v", column, report, report.Fault)
				}
			})
		}
	})
}

// TestAValueOfTheWrongTypeIsAFault: SQLite, unlike PostgreSQL, keeps what it is
// given.
func TestAValueOfTheWrongTypeIsAFault(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), dbtest.URL(t, database.SQLite))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := newBench(db)
	id := b.sealed(t)
	b.tamper(t, []string{"UPDATE audit_events SET at = 'noon' WHERE seq = 2 AND tenant_id = '" + acme + "'"}, func(r database.Reader) {
		if f := verify(t, r, acme).Fault; f == nil || f.Kind != audit.Altered || f.Seq != 2 || f.ID != id[2] {
			t.Errorf("fault %v, want event 2", f)
		}
	})
}

func TestVerifyReadsLogsLongerThanAPage(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 2300)
		b.seal(t)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 2300 || r.First != 1 || r.End.Seq != 2300 || len(r.End.Hash) != 64 {
			t.Errorf("report %+v", r)
		}
		for _, seq := range []int64{1000, 1001, 2000, 2001, 2300} {
			b.tamper(t, []string{fmt.Sprintf("UPDATE audit_events SET ip = 'x' WHERE seq = %d", seq)}, func(r database.Reader) {
				if f := verify(t, r, acme).Fault; f == nil || f.Seq != seq {
					t.Errorf("fault %v, want one at %d", f, seq)
				}
			})
		}
	})
}

func TestVerifyCountsWhatIsNotSealedYet(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if d := diff(audit.Report{Tenant: acme, First: 1}, b.verify(t, acme)); d != "" {
			t.Errorf("an empty log: %s", d)
		}
		b.fill(t, acme, 7)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 0 || r.Unsealed != 7 {
			t.Errorf("report %+v", r)
		}
		b.seal(t)
		b.fill(t, acme, 2)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 7 || r.Unsealed != 2 {
			t.Errorf("report %+v", r)
		}
	})
}

// TestVerifyFindsThatALogWasMadeAnew: without a key in the hash, whoever may write
// to the database can make a whole chain that proves; not one through the old end.
func TestVerifyFindsThatALogWasMadeAnew(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 10)
		b.seal(t)
		noted := b.verify(t, acme).End
		b.fill(t, acme, 5)
		b.seal(t)
		if r := b.verify(t, acme, noted); r.Fault != nil || r.Proved != 15 {
			t.Fatalf("report %+v, fault %v", r, r.Fault)
		}
		err := b.db.Write(t.Context(), func(tx *database.Tx) error {
			for _, stmt := range []string{
				"DELETE FROM audit_events WHERE seq = 4",
				"INSERT INTO audit_unsealed SELECT tenant_id, id, at, actor, action, target, target_id, result, reason, method, ip, user_agent, request_id, detail FROM audit_events",
				"DELETE FROM audit_events", "DELETE FROM audit_chains",
			} {
				if _, err := tx.Exec(t.Context(), stmt); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.seal(t)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 14 {
			t.Fatalf("the new chain itself: report %+v", r)
		}
		if f := b.verify(t, acme, noted).Fault; f == nil || f.Kind != audit.Rewritten || f.Seq != 10 {
			t.Errorf("fault %v, want rewritten at 10", f)
		}
		if f := b.verify(t, acme, audit.Mark{Seq: 15, Hash: noted.Hash}).Fault; f == nil || f.Kind != audit.Missing || f.Seq != 15 {
			t.Errorf("fault %v, want 15 missing", f)
		}
	})
}

func (b *bench) prune(t *testing.T, before time.Time) (removed int64) {
	t.Helper()
	for {
		var n int64
		err := b.db.Write(t.Context(), func(tx *database.Tx) (err error) {
			n, err = audit.Prune(t.Context(), tx, access.System(acme), before)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return removed
		}
		removed += n
	}
}

func TestPruneRemovesWhatIsOldAndTheRestStillProves(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 1200)
		b.fill(t, other, 10)
		b.seal(t)
		middle := b.verify(t, acme).End
		b.clock.Add(audit.Retention.Milliseconds())
		cut := time.UnixMilli(b.clock.Load()).Add(-audit.Retention + 500*time.Millisecond)
		b.fill(t, acme, 20)
		b.seal(t)

		if n := b.prune(t, cut); n != 1200 {
			t.Errorf("removed %d, want 1200", n)
		}
		for range 2 { // before and after the event of the pruning is sealed
			if r := b.verify(t, acme, middle); r.Fault != nil || r.First != 1201 || r.Proved+r.Unsealed != 23 {
				t.Errorf("report %+v, fault %v", r, r.Fault)
			}
			b.seal(t)
		}
		if r := b.verify(t, other); r.Fault != nil || r.Proved != 10 {
			t.Errorf("another tenant: report %+v", r)
		}
		events := b.list(t, acme, audit.Filter{Action: "log.pruned"}, 10)
		if len(events) != 3 || events[0].TargetID != "1201" || !strings.Contains(string(events[0].Detail), `"removed":200`) {
			t.Errorf("the pruning left %v", events)
		}
		if n := b.prune(t, cut); n != 0 {
			t.Errorf("removed %d more", n)
		}
	})
}

func TestPruneOfEverythingLeavesAChainToGoOnFrom(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 30)
		b.seal(t)
		future := time.UnixMilli(b.clock.Load()).Add(time.Hour)
		if n := b.prune(t, future); n != 30 {
			t.Errorf("removed %d, want 30", n)
		}
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 0 || r.First != 31 {
			t.Errorf("report %+v, fault %v", r, r.Fault)
		}
		b.seal(t)
		// Only the event of the pruning is left, and stays until there is more.
		if n := b.prune(t, future); n != 0 {
			t.Errorf("removed %d more", n)
		}
		b.fill(t, acme, 4)
		b.seal(t)
		if n := b.prune(t, future); n != 5 {
			t.Errorf("removed %d, want 5", n)
		}
		b.seal(t)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 1 || r.First != 36 {
			t.Errorf("report %+v, fault %v", r, r.Fault)
		}
	})
}

// TestPruneDoesNotSweepUpBehindAnAttacker: retention must not remove the traces.
func TestPruneDoesNotSweepUpBehindAnAttacker(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.sealed(t)
		cut := time.UnixMilli(b.clock.Load()).Add(-audit.Retention)
		for name, stmt := range map[string]string{
			"times moved back": "UPDATE audit_events SET at = 0 WHERE seq <= 5",
			"an event removed": "DELETE FROM audit_events WHERE seq = 2",
		} {
			before := cut
			if name == "an event removed" {
				before = cut.Add(2 * audit.Retention)
			}
			b.tamper(t, []string{stmt}, func(r database.Reader) {
				n, err := audit.Prune(t.Context(), r.(*database.Tx), access.System(acme), before)
				if fault, ok := errors.AsType[*audit.Fault](err); !ok || n != 0 {
					t.Errorf("%s: removed %d, error %v, fault %v", name, n, err, fault)
				}
			})
		}
	})
}

func TestVerifyFindsAForgedPruning(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.sealed(t)
		b.clock.Add(audit.Retention.Milliseconds())
		b.fill(t, acme, 10)
		b.seal(t)
		b.prune(t, time.UnixMilli(b.clock.Load()).Add(-time.Hour))
		b.seal(t)
		b.tamper(t, []string{
			"UPDATE audit_chains SET first_seq = 15, first_prev = (SELECT hash FROM audit_events WHERE seq = 14) WHERE tenant_id = '" + acme + "'",
			"DELETE FROM audit_events WHERE tenant_id = '" + acme + "' AND seq < 15"}, func(r database.Reader) {
			if f := verify(t, r, acme).Fault; f == nil || f.Kind != audit.Missing || f.ID != "" {
				t.Errorf("fault %v, want missing", f)
			}
		})
	})
}

// TestVerifyHoldsWhileTheLogMoves: an honest log must never look forged because
// events are written, sealed and pruned while it is read.
func TestVerifyHoldsWhileTheLogMoves(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 1000)
		b.seal(t)
		ctx, stop := context.WithCancel(t.Context())
		var moving sync.WaitGroup
		forever := func(f func()) {
			moving.Go(func() {
				for ctx.Err() == nil {
					f()
				}
			})
		}
		forever(func() { b.fill(t, acme, 20) })
		forever(func() { b.seal(t) })
		forever(func() { b.prune(t, time.UnixMilli(b.clock.Load()-50)) })
		for range 40 {
			if r := b.verify(t, acme); r.Fault != nil {
				t.Errorf("report %+v, fault %v", r, r.Fault)
			}
		}
		stop()
		moving.Wait()
	})
}

func TestTenantsListsEveryLog(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		check := func(r database.Reader, want ...string) {
			t.Helper()
			got, err := audit.Tenants(t.Context(), r)
			if err != nil || !slices.Equal(want, got) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		}
		check(b.db)
		b.fill(t, acme, 3)
		b.fill(t, other, 3)
		check(b.db, acme, other)
		b.seal(t)
		check(b.db, acme, other)
		b.tamper(t, []string{"DELETE FROM audit_chains"}, func(r database.Reader) { check(r, acme, other) })
		b.tamper(t, []string{"DELETE FROM audit_events"}, func(r database.Reader) { check(r, acme, other) })
	})
}
