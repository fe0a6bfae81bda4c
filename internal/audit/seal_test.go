package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

func TestManyWritersAndTwoSealersMakeOneChain(t *testing.T) {
	const writers, each = 8, 30
	run(t, func(t *testing.T, b *bench) {
		done := make(chan struct{})
		var writing, sealing sync.WaitGroup
		for range 2 {
			sealing.Go(func() {
				for {
					if _, err := b.sealer.Seal(t.Context()); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for w := range writers {
			writing.Go(func() {
				for range each {
					b.write(t, access.System([]string{acme, other}[w%2]), audit.Event{Action: "user.created", TargetID: fmt.Sprint(w)})
				}
			})
		}
		writing.Wait()
		close(done)
		sealing.Wait()
		b.seal(t)
		for _, tenant := range []string{acme, other} {
			if r := b.verify(t, tenant); r.Fault != nil || r.Proved != writers/2*each || r.Unsealed != 0 || r.End.Seq != r.Proved {
				t.Errorf("report %+v, fault %v", r, r.Fault)
			}
		}
	})
}

// TestTwoSealersAtOnceNeverFork lets many sealers start on the same rows, so that
// all of them read the same end of the chain.
func TestTwoSealersAtOnceNeverFork(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for round := range 10 {
			b.fill(t, acme, 20)
			b.fill(t, other, 20)
			var sealing sync.WaitGroup
			for range 4 {
				sealing.Go(func() {
					if _, err := b.sealer.Seal(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			sealing.Wait()
			b.seal(t)
			for _, tenant := range []string{acme, other} {
				if r := b.verify(t, tenant); r.Fault != nil || r.Proved != int64(20*(round+1)) {
					t.Fatalf("report %+v, fault %v", r, r.Fault)
				}
			}
		}
	})
}

func TestEventsAreChainedInTheOrderOfTheirTime(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 1200) // several batches
		if n := b.seal(t); n != 1200 {
			t.Errorf("sealed %d, want 1200", n)
		}
		events := b.list(t, acme, audit.Filter{}, 1000)
		slices.Reverse(events)
		for i, e := range events {
			if want := int64(201 + i); e.Seq != want {
				t.Fatalf("event %d has place %d, want %d", i, e.Seq, want)
			}
		}
		if n := b.seal(t); n != 0 {
			t.Errorf("sealed %d events again", n)
		}
	})
}

// TestALateCommitIsSealedBehindWhatWasFaster: a transaction that began earlier may
// commit later, and its event must not be lost for having an older id.
func TestALateCommitIsSealedBehindWhatWasFaster(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fill(t, acme, 5)
		b.seal(t)
		b.clock.Add(-1000)
		b.write(t, access.System(acme), audit.Event{Action: "user.late"})
		b.seal(t)
		if late := b.list(t, acme, audit.Filter{Action: "user.late"}, 1); len(late) != 1 || late[0].Seq != 6 {
			t.Errorf("the late event is %+v", late)
		}
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 6 {
			t.Errorf("report %+v", r)
		}
	})
}

// start runs the sealer in the background; stop ends it and waits.
func (b *bench) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.sealer.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the sealer ended with %v", err)
		}
	}
}

func TestRunSealsWithinASecond(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		defer b.start(t)()
		// A busy machine may be late once; a sealer that is too slow is late always.
		var took time.Duration
		for range 5 {
			b.fill(t, acme, 10)
			written := time.Now()
			for b.verify(t, acme).Unsealed > 0 && time.Since(written) < 10*time.Second {
				<-time.After(5 * time.Millisecond)
			}
			if took = time.Since(written); took <= time.Second {
				return
			}
		}
		t.Errorf("sealing took %v", took)
	})
}

func TestRunSealsWhatIsLeftWhenItStops(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		stop := b.start(t)
		b.fill(t, acme, 1700)
		stop()
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 1700 || r.Unsealed != 0 {
			t.Errorf("report %+v", r)
		}
	})
}

const dieVariable = "CARDEA_TEST_AUDIT_DIE"

// TestMain lets the test binary stand in for a server that is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv(dieVariable); url != "" {
		fmt.Println(sealAndDie(url))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// sealAndDie seals and is killed when the third transaction is about to begin.
func sealAndDie(url string) error {
	db, err := database.Open(context.Background(), url)
	if err != nil {
		return err
	}
	transactions := 0
	db.Now = func() time.Time {
		if transactions++; transactions == 3 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // never returns to seal another batch
		}
		return time.Now()
	}
	_, err = (&audit.Sealer{DB: db, Log: slog.Default()}).Seal(context.Background())
	return fmt.Errorf("not killed: %w", err)
}

func TestASealerThatIsKilledIsTakenOver(t *testing.T) {
	t.Parallel()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		b := newBench(db)
		b.fill(t, acme, 1700)

		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), dieVariable+"="+url)
		if out, err := child.CombinedOutput(); child.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the child was to be killed: %v\n%s", err, out)
		}
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 500 || r.Unsealed != 1200 {
			t.Errorf("after the kill: report %+v", r)
		}
		b.seal(t)
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 1700 || r.Unsealed != 0 {
			t.Errorf("after the next start: report %+v", r)
		}
	})
}

// TestAForgedRowDoesNotStopTheSealer: whoever can write to the database could
// otherwise keep all later events from being chained.
func TestAForgedRowDoesNotStopTheSealer(t *testing.T) {
	for name, stmt := range map[string]string{
		"where the next row will stand": "UPDATE audit_events SET seq = 11 WHERE seq = 3",
		"an end of nought":              "UPDATE audit_chains SET last_seq = 0",
		"no end":                        "DELETE FROM audit_chains",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.fill(t, acme, 10)
				b.seal(t)
				if err := b.db.Write(t.Context(), func(tx *database.Tx) error { _, err := tx.Exec(t.Context(), stmt); return err }); err != nil {
					t.Fatal(err)
				}
				b.fill(t, acme, 10)
				b.fill(t, other, 10)
				if n := b.seal(t); n != 20 {
					t.Errorf("sealed %d, want 20", n)
				}
				if r := b.verify(t, other); r.Fault != nil || r.Proved != 10 {
					t.Errorf("another tenant: report %+v", r)
				}
				if r := b.verify(t, acme); r.Fault == nil {
					t.Error("the forged row was not found")
				}
			})
		})
	}
}

// BenchmarkSeal seals 5,000 events, what a busy installation writes in a second.
func BenchmarkSeal(b *testing.B) {
	for _, engine := range dbtest.Engines {
		b.Run(engine, func(b *testing.B) {
			db, err := database.Open(b.Context(), dbtest.URL(b, engine))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			sealer := &audit.Sealer{DB: db, Log: slog.Default()}
			by := access.System(acme)
			by.UserAgent, by.IP, by.RequestID = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "192.0.2.1", "0197a0d2f1c34a0b9c55"
			for b.Loop() {
				b.StopTimer()
				for range 50 {
					err := db.Write(b.Context(), func(tx *database.Tx) error {
						for range 100 {
							if err := audit.Append(tx, by, audit.Event{Action: "user.created", Target: "user", TargetID: tx.NewID(), Method: "api_key"}); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if n, err := sealer.Seal(b.Context()); n != 5000 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// TestRunGoesOnAfterAFault: a database that is away for a while must not end the
// sealing, and the fault must be told.
func TestRunGoesOnAfterAFault(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		told := make(chan struct{}, 100)
		b.sealer.Log = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			told <- struct{}{}
			return len(p), nil
		}), nil))
		b.fill(t, acme, 3)
		rename := func(from, to string) {
			err := b.db.Write(t.Context(), func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		rename("audit_events", "audit_away")
		stop := b.start(t)
		<-told
		rename("audit_away", "audit_events")
		stop()
		if r := b.verify(t, acme); r.Fault != nil || r.Proved != 3 {
			t.Errorf("report %+v", r)
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
