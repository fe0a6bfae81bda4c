package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/jobs"
)

const tenant = "000000000000000000000001"

// bench is a database with a movable clock.
type bench struct {
	db  *database.DB
	now atomic.Int64
}

func newBench(db *database.DB) *bench {
	b := &bench{db: db}
	b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = b.clock
	return b
}

func (b *bench) clock() time.Time { return time.UnixMilli(b.now.Load()).UTC() }

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

// queue is a queue of its own, as another process would have. Its lease is not
// renewed during a test.
func (b *bench) queue() *jobs.Queue {
	return &jobs.Queue{DB: b.db, Lease: time.Hour, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (b *bench) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) enqueue(t *testing.T, kind string, payload any, opts jobs.Options) (id string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		id, err = jobs.Enqueue(t.Context(), tx, tenant, kind, payload, opts)
		return err
	})
	return id
}

func (b *bench) find(t *testing.T, id string) jobs.Status {
	t.Helper()
	s, err := jobs.Find(t.Context(), b.db, tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bench) count(t *testing.T, kind string) (n int) {
	t.Helper()
	if err := b.db.QueryRow(t.Context(), "SELECT COUNT(*) FROM jobs WHERE kind = $1", kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func drain(t *testing.T, q *jobs.Queue) {
	t.Helper()
	if err := q.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// run runs q in the background. The function it returns stops q and waits for it.
func run(t *testing.T, q *jobs.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// receive waits for a value, and fails the test rather than hang for ever.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// eventually waits until a background worker has made ok true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

func handle(run func(ctx context.Context, job *jobs.Job) error) jobs.Handler {
	return jobs.Handler{Run: run}
}

func TestAJobExistsIfItsTransactionCommits(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		var got []string
		q := b.queue()
		q.Handle("greet", handle(func(_ context.Context, job *jobs.Job) error {
			var name string
			got = append(got, job.Tenant)
			return errors.Join(job.Payload(&name), func() error { got = append(got, name); return nil }())
		}))
		for _, opts := range []jobs.Options{{}, {Unique: "x"}} {
			failed := errors.New("rolled back")
			err := b.db.Write(t.Context(), func(tx *database.Tx) error {
				_, err := jobs.Enqueue(t.Context(), tx, tenant, "greet", "nobody", opts)
				return errors.Join(err, failed)
			})
			if !errors.Is(err, failed) {
				t.Fatal(err)
			}
		}
		b.enqueue(t, "greet", "Ann", jobs.Options{})
		drain(t, q)
		if want := fmt.Sprint([]string{tenant, "Ann"}); fmt.Sprint(got) != want {
			t.Errorf("ran %v, want %v", got, want)
		}
		if n := b.count(t, "greet"); n != 0 {
			t.Errorf("%d jobs are left, want none", n)
		}
	})
}

func TestADelayedJobWaits(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		ran := 0
		q := b.queue()
		q.Handle("later", handle(func(context.Context, *jobs.Job) error { ran++; return nil }))
		b.enqueue(t, "later", nil, jobs.Options{Delay: time.Minute})
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 0}, {59 * time.Second, 0}, {time.Second, 1}, {time.Hour, 1}} {
			b.pass(step.pass)
			if drain(t, q); ran != step.want {
				t.Errorf("%v on: ran %d times, want %d", step.pass, ran, step.want)
			}
		}
	})
}

// Three processes share 150 jobs.
func TestEachJobIsClaimedOnce(t *testing.T) {
	t.Parallel()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		const processes, count = 3, 150
		runs := make([]atomic.Int32, count)
		var left sync.WaitGroup
		left.Add(count)
		var first *bench
		for i := range processes {
			db, err := database.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			b := &bench{db: db}
			q := b.queue()
			q.Poll = 5 * time.Millisecond
			q.Handle("count", jobs.Handler{Workers: 4, Run: func(_ context.Context, job *jobs.Job) error {
				var n int
				err := job.Payload(&n)
				if runs[n].Add(1) == 1 {
					left.Done()
				}
				return err
			}})
			if i == 0 {
				first = b
				b.write(t, func(tx *database.Tx) error {
					for n := range count {
						if _, err := jobs.Enqueue(t.Context(), tx, tenant, "count", n, jobs.Options{}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			run(t, q)
		}
		left.Wait()
		eventually(t, "the end of all jobs", func() bool { return first.count(t, "count") == 0 })
		for n := range runs {
			if got := runs[n].Load(); got != 1 {
				t.Errorf("job %d ran %d times, want once", n, got)
			}
		}
	})
}

func TestAFailedJobIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("no luck\x00\xff") },
		"panic": func() error { panic("no luck") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Run(t, func(t *testing.T, db *database.DB) {
				b := newBench(db)
				ran := 0
				q := b.queue()
				q.Handle("fail", jobs.Handler{Attempts: 4, Run: func(_ context.Context, job *jobs.Job) error {
					ran++
					if last := job.IsLastTry(); last != (job.Attempt == 4) {
						t.Errorf("try %d of 4: IsLastTry = %v", job.Attempt, last)
					}
					return fail()
				}})
				id := b.enqueue(t, "fail", nil, jobs.Options{})
				for try, most := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
					drain(t, q)
					s := b.find(t, id)
					wait := s.DueAt.Sub(b.clock())
					if s.State != jobs.Waiting || s.Attempts != int64(try+1) || wait > most || wait < most/2 {
						t.Errorf("after try %d: %s, %d attempts, again in %v; want waiting for %v to %v", try+1, s.State, s.Attempts, wait, most/2, most)
					}
					b.pass(most)
				}
				drain(t, q)
				if s := b.find(t, id); s.State != jobs.Dead || s.LastError == "" || !s.FinishedAt.Equal(b.clock()) {
					t.Errorf("after the last try: %+v, want a dead job with its error", s)
				}
				b.pass(time.Hour)
				if drain(t, q); ran != 4 {
					t.Errorf("ran %d times, want 4", ran)
				}
			})
		})
	}
}

func TestADeadJobCanBeRunAgain(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		broken := true
		q := b.queue()
		q.Handle("mend", handle(func(context.Context, *jobs.Job) error {
			if broken {
				return jobs.Permanent(errors.New("broken"))
			}
			return nil
		}))
		id := b.enqueue(t, "mend", nil, jobs.Options{Unique: "one"})
		drain(t, q)
		b.pass(time.Millisecond) // ids of one millisecond are in no order
		if id2 := b.enqueue(t, "mend", nil, jobs.Options{Unique: "one"}); id2 == id {
			t.Error("a dead job stands in the way of a new one of its name")
		}
		drain(t, q)
		dead, err := jobs.ListDead(t.Context(), db, tenant, "", 10)
		if err != nil || len(dead) != 2 || dead[0].ID != id || dead[0].Attempts != 1 {
			t.Errorf("dead = %+v, %v; want both jobs", dead, err)
		}
		if page, err := jobs.ListDead(t.Context(), db, tenant, id, 10); err != nil || len(page) != 1 || page[0].ID != dead[1].ID {
			t.Errorf("after the first = %+v, %v; want the second", page, err)
		}
		other, err := jobs.ListDead(t.Context(), db, "000000000000000000000002", "", 10)
		if err != nil || len(other) != 0 {
			t.Errorf("another tenant sees %+v, %v", other, err)
		}
		broken = false
		rerun := func(id string) error {
			return b.db.Write(t.Context(), func(tx *database.Tx) error { return jobs.Rerun(t.Context(), tx, tenant, id) })
		}
		if err := rerun(id); err != nil {
			t.Fatal(err)
		}
		drain(t, q)
		if err := rerun(id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("rerun of a job that is done: %v, want ErrNotFound", err)
		}
		b.pass(90 * 24 * time.Hour)
		drain(t, q) // sweeps
		if n := b.count(t, "mend"); n != 0 {
			t.Errorf("%d dead jobs are left after 90 days, want none", n)
		}
	})
}

func TestAUniqueJobStandsForTheNext(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		ids := make(chan string, 20)
		var group sync.WaitGroup
		for range cap(ids) {
			group.Go(func() { ids <- b.enqueue(t, "index", nil, jobs.Options{Unique: "all"}) })
		}
		group.Wait()
		close(ids)
		distinct := map[string]bool{}
		for id := range ids {
			distinct[id] = true
		}
		if len(distinct) != 1 || b.count(t, "index") != 1 {
			t.Errorf("20 at once made %d jobs", len(distinct))
		}
		b.enqueue(t, "index", nil, jobs.Options{Unique: "some"})
		b.enqueue(t, "index", nil, jobs.Options{})
		b.write(t, func(tx *database.Tx) error {
			_, err := jobs.Enqueue(t.Context(), tx, "000000000000000000000002", "index", nil, jobs.Options{Unique: "all"})
			return err
		})
		if n := b.count(t, "index"); n != 4 {
			t.Errorf("%d jobs after another name, none, and another tenant; want 4", n)
		}
		q := b.queue()
		q.Handle("index", jobs.Handler{Keep: time.Hour, Run: func(context.Context, *jobs.Job) error { return nil }})
		drain(t, q)
		if id := b.enqueue(t, "index", nil, jobs.Options{Unique: "all"}); distinct[id] {
			t.Error("a job that is done stands in the way of a new one of its name")
		}
	})
}

// The worker of the first try is as good as killed: its lease ends.
func TestAnAbandonedJobGoesOnFromItsCheckpoint(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		reached, back := make(chan struct{}), make(chan struct{})
		lost := make(chan [2]error, 1)
		first := b.queue()
		first.Handle("import", jobs.Handler{Workers: 1, Run: func(ctx context.Context, job *jobs.Job) error {
			b.write(t, func(tx *database.Tx) error {
				return job.Checkpoint(ctx, tx, 500, jobs.Progress{Done: 500, Total: 1000, Message: "half way"})
			})
			close(reached)
			<-back
			var errs [2]error
			for i, end := range []func(tx *database.Tx) error{
				func(tx *database.Tx) error { return job.Checkpoint(ctx, tx, 600, jobs.Progress{}) },
				func(tx *database.Tx) error { return job.Finish(ctx, tx) },
			} {
				errs[i] = b.db.Write(ctx, func(tx *database.Tx) error {
					_, err := jobs.Enqueue(ctx, tx, tenant, "effect", nil, jobs.Options{})
					return errors.Join(err, end(tx))
				})
			}
			lost <- errs
			return errors.New("too late to matter")
		}})
		stop := run(t, first)
		id := b.enqueue(t, "import", nil, jobs.Options{})
		receive(t, "the checkpoint", reached)
		if s := b.find(t, id); s.State != jobs.Running || s.Progress != (jobs.Progress{Done: 500, Total: 1000, Message: "half way"}) {
			t.Errorf("under way: %+v", s)
		}

		second := b.queue()
		from := 0
		second.Handle("import", jobs.Handler{Keep: time.Hour, Run: func(ctx context.Context, job *jobs.Job) error {
			if job.Attempt != 2 {
				t.Errorf("attempt %d, want 2", job.Attempt)
			}
			return job.Resume(&from)
		}})
		b.pass(time.Hour - time.Millisecond)
		if drain(t, second); from != 0 {
			t.Error("the job was taken over before its lease ended")
		}
		b.pass(time.Millisecond)
		if drain(t, second); from != 500 {
			t.Errorf("the second try starts from %d, want 500", from)
		}
		close(back)
		for _, err := range receive(t, "the end of the first try", lost) {
			if !errors.Is(err, jobs.ErrLost) {
				t.Errorf("the first worker gets %v, want ErrLost", err)
			}
		}
		stop()
		if s := b.find(t, id); s.State != jobs.Done || s.LastError != "" || b.count(t, "effect") != 0 {
			t.Errorf("in the end %+v and %d effects of the lost worker, want none", s, b.count(t, "effect"))
		}
	})
}

// A job that ends its process must not do so for ever.
func TestATryThatNeverComesBackCounts(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		started, back := make(chan struct{}), make(chan struct{})
		dying := b.queue()
		dying.Handle("kill", jobs.Handler{Workers: 1, Attempts: 1, Run: func(context.Context, *jobs.Job) error {
			close(started)
			<-back
			return nil
		}})
		stop := run(t, dying)
		id := b.enqueue(t, "kill", nil, jobs.Options{})
		receive(t, "the first try", started)
		b.pass(time.Hour)
		other := b.queue()
		other.Handle("kill", jobs.Handler{Attempts: 1, Run: func(context.Context, *jobs.Job) error {
			t.Error("ran again")
			return nil
		}})
		drain(t, other)
		close(back)
		stop()
		if s := b.find(t, id); s.State != jobs.Dead {
			t.Errorf("state %s, want dead", s.State)
		}
	})
}

func TestALongJobKeepsItsLease(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		const lease = 150 * time.Millisecond // on the clock that the test moves, renewed every 50 ms of ours
		started, back := make(chan struct{}), make(chan struct{})
		q := b.queue()
		q.Lease = lease
		q.Handle("long", jobs.Handler{Workers: 1, Run: func(ctx context.Context, _ *jobs.Job) error {
			close(started)
			<-back
			return ctx.Err()
		}})
		stop := run(t, q)
		b.enqueue(t, "long", nil, jobs.Options{})
		receive(t, "the job", started)
		other := b.queue()
		other.Handle("long", handle(func(context.Context, *jobs.Job) error {
			t.Error("another worker took the job")
			return nil
		}))
		for range 3 {
			b.pass(lease - time.Millisecond)
			eventually(t, "the renewal", func() bool {
				var due int64
				err := db.QueryRow(t.Context(), "SELECT due_at FROM jobs WHERE kind = 'long'").Scan(&due)
				return err == nil && due == b.clock().Add(lease).UnixMilli()
			})
			drain(t, other)
		}
		close(back)
		stop()
		if n := b.count(t, "long"); n != 0 {
			t.Errorf("%d jobs are left, want none", n)
		}
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		started, ended := make(chan struct{}), make(chan error, 1)
		q := b.queue()
		q.Lease = 30 * time.Millisecond
		q.Handle("endless", handle(func(ctx context.Context, _ *jobs.Job) error {
			close(started)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}))
		run(t, q)
		id := b.enqueue(t, "endless", nil, jobs.Options{})
		receive(t, "the job", started)
		cancel := func(tenant string) error {
			return db.Write(t.Context(), func(tx *database.Tx) error { return jobs.Cancel(t.Context(), tx, tenant, id) })
		}
		if err := cancel("000000000000000000000002"); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("another tenant's cancel: %v, want ErrNotFound", err)
		}
		if err := cancel(tenant); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "the end", ended); !errors.Is(err, jobs.ErrLost) {
			t.Errorf("the handler ended by %v, want ErrLost", err)
		}
		if _, err := jobs.Find(t.Context(), db, tenant, id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("find: %v, want ErrNotFound", err)
		}
	})
}

func TestAQueueIsWokenByACommit(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		ran := make(chan struct{}, 1)
		q := b.queue()
		q.Poll = time.Hour
		q.Handle("ping", handle(func(context.Context, *jobs.Job) error { ran <- struct{}{}; return nil }))
		run(t, q)
		for range 3 {
			b.enqueue(t, "ping", nil, jobs.Options{})
			receive(t, "the job", ran)
		}
	})
}

// The row is written past Enqueue, as by another process.
func TestAQueueFindsTheJobsOfOtherProcesses(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		ran := make(chan struct{}, 1)
		q := b.queue()
		q.Poll = 10 * time.Millisecond
		q.Handle("ping", handle(func(context.Context, *jobs.Job) error { ran <- struct{}{}; return nil }))
		run(t, q)
		b.write(t, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), `
				INSERT INTO jobs (tenant_id, id, kind, payload, state, due_at, created_at)
				VALUES ($1, $2, 'ping', 'null', 'waiting', $3, $3)`, tenant, tx.NewID(), tx.Millis())
			return err
		})
		receive(t, "the job", ran)
	})
}

func TestKindsDoNotHoldEachOtherUp(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		var slow, most atomic.Int32
		back, ran := make(chan struct{}), make(chan struct{}, 1)
		q := b.queue()
		q.Handle("slow", jobs.Handler{Workers: 3, Run: func(context.Context, *jobs.Job) error {
			most.Store(max(most.Load(), slow.Add(1)))
			defer slow.Add(-1)
			<-back
			return nil
		}})
		q.Handle("quick", handle(func(context.Context, *jobs.Job) error { ran <- struct{}{}; return nil }))
		stop := run(t, q)
		for range 10 {
			b.enqueue(t, "slow", nil, jobs.Options{})
		}
		eventually(t, "three slow jobs at once", func() bool { return slow.Load() == 3 })
		b.enqueue(t, "quick", nil, jobs.Options{})
		receive(t, "the quick job", ran)
		close(back)
		eventually(t, "the end of the slow ones", func() bool { return b.count(t, "slow") == 0 })
		stop()
		if most.Load() != 3 {
			t.Errorf("%d ran at once, want 3", most.Load())
		}
	})
}

func TestAJobOfAnUnknownKindStays(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		id := b.enqueue(t, "tomorrow", nil, jobs.Options{})
		drain(t, b.queue())
		if s := b.find(t, id); s.State != jobs.Waiting || s.Attempts != 0 {
			t.Errorf("%+v, want untouched", s)
		}
	})
}

func TestStopLetsJobsFinish(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		started, back := make(chan struct{}), make(chan struct{})
		q := b.queue()
		q.Handle("under way", jobs.Handler{Keep: time.Hour, Run: func(ctx context.Context, _ *jobs.Job) error {
			close(started)
			<-back
			return ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- q.Run(ctx) }()
		id := b.enqueue(t, "under way", nil, jobs.Options{})
		receive(t, "the job", started)
		cancel()
		select {
		case <-ended:
			t.Error("Run ended before the job")
		case <-time.After(20 * time.Millisecond):
		}
		close(back)
		if err := receive(t, "the end", ended); err != nil {
			t.Error(err)
		}
		if s := b.find(t, id); s.State != jobs.Done {
			t.Errorf("state %s, want done", s.State)
		}
	})
}

func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		started := make(chan struct{})
		q := b.queue()
		q.Grace = time.Millisecond
		q.Handle("endless", handle(func(ctx context.Context, _ *jobs.Job) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		}))
		stop := run(t, q)
		id := b.enqueue(t, "endless", nil, jobs.Options{})
		receive(t, "the job", started)
		stop()
		if s := b.find(t, id); s.State != jobs.Waiting || s.Attempts != 0 || !s.DueAt.Equal(b.clock()) {
			t.Errorf("%+v, want due at once, with no try counted", s)
		}
	})
}

func TestTimeoutEndsATry(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		q := b.queue()
		q.Handle("endless", jobs.Handler{Timeout: time.Millisecond, Run: func(ctx context.Context, _ *jobs.Job) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		id := b.enqueue(t, "endless", nil, jobs.Options{})
		drain(t, q)
		if s := b.find(t, id); s.State != jobs.Waiting || s.Attempts != 1 {
			t.Errorf("%+v, want one failed try", s)
		}
	})
}

func TestTheResultIsKeptAsLongAsTheHandlerSays(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		q := b.queue()
		q.Handle("import", jobs.Handler{Keep: time.Hour, Run: func(ctx context.Context, job *jobs.Job) error {
			return db.Write(ctx, func(tx *database.Tx) error {
				return errors.Join(
					job.Checkpoint(ctx, tx, map[string]int{"created": 7}, jobs.Progress{Done: 7, Total: 7}),
					job.Finish(ctx, tx))
			})
		}})
		id := b.enqueue(t, "import", nil, jobs.Options{})
		drain(t, q)
		s := b.find(t, id)
		if s.State != jobs.Done || string(s.Checkpoint) != `{"created":7}` || s.Progress.Done != 7 || !s.FinishedAt.Equal(b.clock()) {
			t.Errorf("%+v, want done with its result", s)
		}
		if _, err := jobs.Find(t.Context(), db, "000000000000000000000002", id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("another tenant's find: %v, want ErrNotFound", err)
		}
		b.pass(time.Hour)
		drain(t, q)
		if _, err := jobs.Find(t.Context(), db, tenant, id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("after an hour: %v, want ErrNotFound", err)
		}
	})
}

func TestRepeatingWorkRunsInOneProcessAtATime(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		var runs, at, most atomic.Int32
		ready := make(chan struct{}, 3) // a queue that plans must not find its clock moved
		for i := range cap(ready) {
			q := b.queue()
			q.Every(fmt.Sprint("ready ", i), 24*time.Hour, func(context.Context) error { ready <- struct{}{}; return nil })
			q.Poll = time.Millisecond
			q.Every("tidy", time.Minute, func(context.Context) error {
				most.Store(max(most.Load(), at.Add(1)))
				defer at.Add(-1)
				runs.Add(1)
				return nil
			})
			run(t, q)
		}
		for range cap(ready) {
			receive(t, "the start of a queue", ready)
		}
		due := func() (at int64) {
			if err := db.QueryRow(t.Context(), "SELECT due_at FROM jobs WHERE kind = 'tidy' AND state = 'waiting'").Scan(&at); err != nil {
				return 0
			}
			return at
		}
		for range 5 {
			eventually(t, "a run", func() bool { return due() == b.clock().Add(time.Minute).UnixMilli() })
			b.pass(time.Minute)
		}
		eventually(t, "the last run", func() bool { return due() == b.clock().Add(time.Minute).UnixMilli() })
		if runs.Load() != 6 || most.Load() != 1 {
			t.Errorf("%d runs, %d at once; want 6, one at a time", runs.Load(), most.Load())
		}
	})
}

func TestRepeatingWorkGoesOnAfterFailures(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		runs := 0
		q := b.queue()
		q.Every("tidy", 24*time.Hour, func(context.Context) error {
			if runs++; runs <= 20 {
				panic("no luck")
			}
			return nil
		})
		for range 21 {
			drain(t, q)
			b.pass(time.Hour)
		}
		if runs != 21 {
			t.Errorf("ran %d times, want 21: an hour is the longest pause after a failure", runs)
		}
		if drain(t, q); runs != 21 {
			t.Error("ran again an hour after a success, want a day")
		}
		shorter := b.queue()
		shorter.Every("tidy", time.Minute, func(context.Context) error { runs++; return nil })
		drain(t, shorter)
		b.pass(time.Minute)
		if drain(t, shorter); runs != 22 {
			t.Errorf("ran %d times, want 22: a shorter interval counts at once", runs)
		}
	})
}
