package jobs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// keepDead is how long a dead job waits for somebody to look at it.
const keepDead = 90 * 24 * time.Hour

// A Handler says how jobs of a kind are done. Only Run is required.
type Handler struct {
	// Run does the work. An error, or a panic, means: try again later, unless it is
	// Permanent. Its context ends when the lease is lost, when Timeout has passed,
	// and when the server stops and has waited long enough; the last does not count
	// as a try.
	Run func(ctx context.Context, job *Job) error
	// Workers is how many jobs of the kind this process runs at once: 2 unless set.
	// Kinds do not share workers.
	Workers int
	// Attempts is how often a job is tried before it is dead: 10 unless set, which
	// takes 45 minutes at most.
	Attempts int
	// Timeout bounds one try; zero does not.
	Timeout time.Duration
	// Keep is how long a finished job can still be found; zero removes it at once.
	Keep time.Duration

	every time.Duration // of repeating work: the pause between two runs
}

func (h *Handler) workers() int {
	if h.Workers > 0 {
		return h.Workers
	}
	return 2
}

func (h *Handler) attempts() int {
	if h.Attempts > 0 {
		return h.Attempts
	}
	return 10
}

// A Queue runs jobs. Set the fields and add handlers before Run or Drain.
type Queue struct {
	DB  *database.DB
	Log *slog.Logger // slog.Default if nil

	// Lease is how long a job is left alone after a sign of life of its worker:
	// 30 seconds unless set. It is renewed three times in that time.
	Lease time.Duration
	// Poll is how often to look for jobs that other processes have enqueued: every
	// second unless set. Those of this process start at once.
	Poll time.Duration
	// Grace is how long Run lets jobs finish when it has to stop: 20 seconds unless
	// set. What is cut off starts again elsewhere, from its last checkpoint.
	Grace time.Duration

	handlers map[string]*Handler
}

// Handle makes h do jobs of kind, a constant such as "notify.send". Jobs of a kind
// without handler stay until a process comes that has one.
func (q *Queue) Handle(kind string, h Handler) {
	if q.handlers == nil {
		q.handlers = map[string]*Handler{}
	}
	if q.handlers[kind] != nil || h.Run == nil {
		panic("jobs: no handler, or a second one, for " + kind)
	}
	q.handlers[kind] = &h
}

// Every makes run happen at the start and then again interval after it has ended,
// in one process of the installation at a time. After an error it comes sooner if
// interval is long, never later. Name it like a kind of job.
func (q *Queue) Every(name string, interval time.Duration, run func(ctx context.Context) error) {
	q.Handle(name, Handler{
		Run:     func(ctx context.Context, _ *Job) error { return run(ctx) },
		Workers: 1,
		every:   interval,
	})
}

// Permanent marks an error that trying again can not mend: the job is dead at once.
func Permanent(err error) error { return permanent{err} }

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Run works until ctx ends and then waits for the jobs under way. It returns an
// error only if it could not start.
func (q *Queue) Run(ctx context.Context) error {
	r := q.runner(ctx)
	defer r.cutOff()
	if err := r.plan(ctx); err != nil {
		return err
	}
	sleepers.Store(r.wake, nil)
	defer sleepers.Delete(r.wake)
	for ctx.Err() == nil {
		_, pause, err := r.turn(ctx)
		if err != nil && ctx.Err() == nil {
			q.log().Error("the job queue can not work, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-time.After(pause):
		}
	}
	r.stop(orDefault(q.Grace, 20*time.Second))
	return nil
}

// Drain runs what is due, and what becomes due meanwhile, and returns when there
// is nothing more. It is for commands and tests; servers Run.
func (q *Queue) Drain(ctx context.Context) error {
	r := q.runner(ctx)
	defer r.cutOff()
	if err := r.plan(ctx); err != nil {
		return err
	}
	for {
		taken, _, err := r.turn(ctx)
		r.jobs.Wait()
		if err != nil || taken == 0 {
			return err
		}
	}
}

func (q *Queue) log() *slog.Logger {
	if q.Log != nil {
		return q.Log
	}
	return slog.Default()
}

func (q *Queue) lease() time.Duration { return orDefault(q.Lease, 30*time.Second) }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// A runner is a Queue at work.
type runner struct {
	*Queue
	handlers map[string]*Handler
	kinds    []string
	wake     chan struct{}
	ctx      context.Context // of the jobs: goes on when Run has to stop
	cutOff   context.CancelFunc
	jobs     sync.WaitGroup

	mu   sync.Mutex
	busy map[string]int // workers in use, by kind
}

func (q *Queue) runner(ctx context.Context) *runner {
	r := &runner{
		Queue:    q,
		handlers: maps.Clone(q.handlers),
		wake:     make(chan struct{}, 1),
		busy:     map[string]int{},
	}
	if r.handlers == nil {
		r.handlers = map[string]*Handler{}
	}
	r.handlers["jobs.sweep"] = &Handler{Run: r.sweep, Workers: 1, every: time.Hour}
	r.kinds = slices.Sorted(maps.Keys(r.handlers))
	r.ctx, r.cutOff = context.WithCancel(context.WithoutCancel(ctx))
	return r
}

// plan makes the rows of the work that repeats.
func (r *runner) plan(ctx context.Context) error {
	return r.DB.Write(ctx, func(tx *database.Tx) error {
		for _, kind := range r.kinds {
			every := r.handlers[kind].every
			if every == 0 {
				continue
			}
			if err := insertRepeating(ctx, tx, secret.DerivedID("jobs", kind), kind, every); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweep removes finished jobs that nobody asks for any more.
func (r *runner) sweep(ctx context.Context, _ *Job) error {
	return r.DB.Write(ctx, func(tx *database.Tx) error { return sweepJobs(ctx, tx) })
}

// turn gives due jobs to free workers. It returns how many and after what time to
// look again.
func (r *runner) turn(ctx context.Context) (taken int, pause time.Duration, err error) {
	pause = orDefault(r.Poll, time.Second)
	due, err := firstDue(ctx, r.DB, r.kinds)
	if err != nil {
		return 0, pause, err
	}
	now := r.DB.Now()
	for kind, at := range due {
		free := r.free(kind)
		if free == 0 {
			continue // whoever gets free wakes us
		}
		if wait := time.UnixMilli(at).Sub(now); wait > 0 {
			pause = min(pause, wait)
			continue
		}
		n, err := r.claim(ctx, kind, free)
		taken += n
		if err != nil {
			return taken, pause, err
		}
	}
	return taken, pause, nil
}

// claim takes up to free jobs of a kind, starts them and returns how many.
func (r *runner) claim(ctx context.Context, kind string, free int) (int, error) {
	var taken []*Job
	err := r.DB.Write(ctx, func(tx *database.Tx) (err error) {
		taken, err = claimJobs(ctx, tx, kind, r.lease(), free)
		return err
	})
	if err != nil {
		return 0, err
	}
	r.take(kind, len(taken))
	for _, job := range taken {
		job.handler = r.handlers[kind]
		r.jobs.Go(func() {
			defer r.release(kind)
			r.work(job)
		})
	}
	return len(taken), nil
}

func (r *runner) free(kind string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handlers[kind].workers() - r.busy[kind]
}

func (r *runner) take(kind string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[kind] += n
}

func (r *runner) release(kind string) {
	r.take(kind, -1)
	nudge(r.wake)
}

// stop waits for the jobs under way, and cuts off those that take longer than grace.
func (r *runner) stop(grace time.Duration) {
	defer time.AfterFunc(grace, r.cutOff).Stop()
	r.jobs.Wait()
}

// work runs one try of a job and writes down how it ended.
func (r *runner) work(job *Job) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	var err error
	if job.handler.every == 0 && job.Attempt > int64(job.handler.attempts()) {
		// Its last try never came back, so perhaps it is the job that ends the process.
		err = Permanent(errors.New("no worker came back from the last try"))
	} else {
		var renewing sync.WaitGroup
		ctx, stop := context.WithCancel(ctx)
		renewing.Go(func() { r.keepLease(ctx, cancel, job) })
		err = call(ctx, job, r.log())
		stop()
		renewing.Wait()
	}
	if job.finished {
		return
	}
	// Writing the end down must also work when the job was cut off.
	end, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if lost := r.settle(end, job, err); lost != nil {
		r.log().Warn("how a job ended is not written down", "kind", job.Kind, "job", job.ID, "tenant", job.Tenant, "error", lost)
	}
}

// call runs the handler and turns a panic into an error.
func call(ctx context.Context, job *Job, log *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a job panicked", "kind", job.Kind, "job", job.ID, "tenant", job.Tenant, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if job.handler.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, job.handler.Timeout)
		defer cancel()
	}
	return job.handler.Run(ctx, job)
}

// keepLease renews the job's lease until ctx ends. When the lease is lost, or
// could not be renewed for most of its time, the job's context is cancelled:
// somebody else may be running it.
func (r *runner) keepLease(ctx context.Context, cancel context.CancelCauseFunc, job *Job) {
	ticker := time.NewTicker(r.lease() / 3)
	defer ticker.Stop()
	for failed := 0; failed < 2; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := r.DB.Write(ctx, func(tx *database.Tx) error { return job.renew(ctx, tx, r.lease()) })
		switch {
		case errors.Is(err, ErrLost):
			failed = 2
		case err != nil:
			failed++
		default:
			failed = 0
		}
	}
	cancel(ErrLost)
}

// settle writes down how a try ended.
func (r *runner) settle(ctx context.Context, job *Job, failure error) error {
	if failure != nil && r.ctx.Err() == nil {
		r.log().Warn("a job failed", "kind", job.Kind, "job", job.ID, "tenant", job.Tenant, "attempt", job.Attempt, "error", failure)
	}
	return r.DB.Write(ctx, func(tx *database.Tx) error {
		switch {
		case failure == nil:
			return job.markDone(ctx, tx)
		case r.ctx.Err() != nil: // cut off by us: not a try
			return job.wait(ctx, tx, 0, job.Attempt-1, "the server stopped")
		case job.handler.every > 0:
			return job.wait(ctx, tx, min(job.handler.every, backoff(job.Attempt)), job.Attempt, clip(failure))
		case job.IsLastTry() || isPermanent(failure):
			return job.bury(ctx, tx, clip(failure))
		}
		return job.wait(ctx, tx, backoff(job.Attempt), job.Attempt, clip(failure))
	})
}

func isPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

// clip shortens an error to what is worth keeping. PostgreSQL takes no NUL.
func clip(err error) string {
	s := err.Error()
	s = s[:min(len(s), 1000)]
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}

// backoff is the pause after the given try: 5 seconds, doubled with each try up to
// an hour, less up to half of it, so that what failed together does not come back
// together.
func backoff(attempt int64) time.Duration {
	const first, most = 5 * time.Second, time.Hour
	pause := most
	if attempt < 11 { // or the shift overflows in the end
		pause = min(most, first<<max(attempt-1, 0))
	}
	var b [8]byte
	rand.Read(b[:])
	return pause - time.Duration(binary.BigEndian.Uint64(b[:])%uint64(pause/2))
}
