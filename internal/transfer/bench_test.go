package transfer_test

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/transfer"
	"github.com/cardea-id/cardea/internal/user"
)

// BenchmarkImport imports b.N users with bcrypt hashes, whose addresses come in no
// order, and reports users a second, the
// processor time that takes, and the most memory:
//
//	withpostgres -durable -- go test -run - -bench Import -benchtime 1000000x ./internal/transfer
func BenchmarkImport(b *testing.B) {
	for _, engine := range dbtest.Engines {
		b.Run(engine, func(b *testing.B) {
			db, err := database.Open(b.Context(), dbtest.URL(b, engine))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			path := filepath.Join(b.TempDir(), "users.jsonl")
			writeUsers(b, path, b.N)
			s := &transfer.Service{DB: db, Users: &user.Service{DB: db, Connection: tenant.ManualConnection}}
			by := access.System(secret.ID(time.Now()))
			var peak uint64
			stop := visit(b, s.Users, by)
			before := cpu(b, db)
			b.ResetTimer()
			result, err := s.Import(b.Context(), by, transfer.Options{File: path, Progress: func(p transfer.Progress) {
				peak = max(peak, heap())
				if b.N >= 100_000 && p.Records%100_000 == 0 {
					b.Logf("%d: %d users/s, %s left, heap %d MB", p.Records, p.Rate, p.Remaining.Round(time.Second), heap()>>20)
				}
			}})
			b.StopTimer()
			slow := stop()
			if err != nil || result.Created != int64(b.N) {
				b.Fatalf("import: %+v, %v", result, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
			b.ReportMetric(float64(slow.Milliseconds()), "create-p99-ms")
			b.ReportMetric((cpu(b, db)-before).Seconds()*1e6/float64(b.N), "cpu-µs/user")
			b.ReportMetric(float64(peak>>20), "heapMB")
			var used syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(used.Maxrss>>10), "rssMB") // of this process so far
		})
	}
}

// visit makes a user fifty times a second, as an API that is used meanwhile would,
// until it is stopped; then it returns the time that all but one in a hundred took.
func visit(b *testing.B, users *user.Service, by access.Actor) (stop func() time.Duration) {
	done, took := make(chan struct{}), []time.Duration{0}
	var visits sync.WaitGroup
	visits.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			start := time.Now()
			err := users.DB.Write(b.Context(), func(tx *database.Tx) error {
				_, err := users.Create(b.Context(), tx, by, user.User{Username: fmt.Sprintf("visitor.%d", i)})
				return err
			})
			if err != nil {
				b.Errorf("create beside the import: %v", err)
			}
			took = append(took, time.Since(start))
		}
	})
	return func() time.Duration {
		close(done)
		visits.Wait()
		slices.Sort(took)
		return took[len(took)*99/100]
	}
}

// cpu is the processor time that this process has taken, and PostgreSQL's for db:
// what the figures would be if nobody else used the machine.
func cpu(b *testing.B, db *database.DB) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	sum := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	if db.Engine() != database.PostgreSQL {
		return sum
	}
	rows, err := db.Query(b.Context(), "SELECT pid FROM pg_stat_activity")
	ticks, err := database.Collect(rows, err, "list processes", func(row database.Scanner) (ticks int64, err error) {
		var pid int32
		if err := row.Scan(&pid); err != nil {
			return 0, err
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // none if the server is elsewhere, or the process has ended
		if fields := strings.Fields(string(stat)); err == nil && len(fields) > 14 {
			user, _ := strconv.ParseInt(fields[len(fields)-39], 10, 64)
			system, _ := strconv.ParseInt(fields[len(fields)-38], 10, 64)
			ticks = user + system
		}
		return ticks, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range ticks {
		sum += time.Duration(t) * 10 * time.Millisecond
	}
	return sum
}

// heap is what the Go runtime holds of memory, in bytes.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// writeUsers writes n users in our own JSON lines. Their addresses look like
// people's and are in no order.
func writeUsers(tb testing.TB, path string, n int) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriter(f)
	names := []string{"anna", "ben", "carla", "deniz", "emil", "fatima", "goran", "hanna", "ivan", "julia", "kemal", "lena", "milan", "nora", "oskar", "petra"}
	for i := range n {
		h := fnv.New64a()
		fmt.Fprint(h, i)
		r := h.Sum64()
		fmt.Fprintf(w, `{"email":"%s.%s%d.%d@example%d.com","email_verified":true,"first_name":"%s","last_name":"Müller","password_hash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy","raw_attributes":{"plan":"pro","locale":"de-DE"},"created_at":"2024-05-0%dT12:00:00Z"}`+"\n",
			names[r%16], names[r>>8%16], r>>16%10000, i, r>>40%50, names[r%16], 1+r%9)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}
