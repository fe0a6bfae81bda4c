// Package jobs does work later: durably, at least once, with retries.
//
//	Enqueue  write a job in the caller's transaction; it exists if that commits
//	Queue    take due jobs, run their handlers, retry what failed
//	Every    work that repeats, in one process at a time
//	Find     how far a job has come, for whoever waits for it
//
// A worker takes a job by one statement that also gives it a lease. It renews the
// lease while it works; if it dies the lease ends and another worker takes over.
// So a job may run twice, but whatever a handler writes together with Checkpoint
// or Finish happens once: these fail in a transaction of a worker that has lost
// its lease. A job that fails is tried again, later each time, and after its last
// try is kept as dead for somebody to look at and Rerun.
//
// An attacker would try to make a job that harms its worker: a panic is caught, a
// try that never came back counts as a failed one, and each kind has workers of
// its own, so that one kind can not hold up the others. Payloads are not secret
// from whoever reads the database: put no token into one.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// The states of a job.
const (
	Waiting = "waiting" // for its time or for a worker
	Running = "running"
	Done    = "done"
	Dead    = "dead" // failed for good
)

// ErrNotFound says that there is no such job, or none any more.
var ErrNotFound = problem.New(problem.NotFound, "job_not_found", "There is no such job.")

// ErrLost tells a handler that its job belongs to another worker by now, or to
// none. Whatever it was about to write must not be written.
var ErrLost = errors.New("the job's lease is lost")

// Options of a job. The zero value runs it at once.
type Options struct {
	// Delay is how long after the transaction the job becomes due.
	Delay time.Duration
	// Unique names the job among the unfinished ones of its tenant and kind: if one
	// of that name is there already it stands for this one. It may be running, and
	// have read what the caller has just changed.
	Unique string
}

// Enqueue writes a job of tenant (empty for the installation's own work) that
// exists if tx commits, and returns its id, or that of the job that stands for it.
// The payload is anything that encodes to JSON; keep it small and free of secrets.
// A job without Options.Unique is written at the end of the transaction.
func Enqueue(ctx context.Context, tx *database.Tx, tenant, kind string, payload any, opts Options) (id string, err error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("enqueue %s: %w", kind, err)
	}
	id, err = insertJob(ctx, tx, tenant, kind, string(text), opts)
	if err != nil {
		return "", err
	}
	tx.OnCommit(wakeAll)
	return id, nil
}

// Progress is how far a job has come.
type Progress struct {
	Done    int64  `json:"done"`
	Total   int64  `json:"total"` // zero if not known
	Message string `json:"message"`
}

// A Status describes a job to whoever waits for it or looks after it.
type Status struct {
	ID       string
	Kind     string
	State    string
	Progress Progress
	// Checkpoint is what the handler stored last, nil if nothing. What it has in the
	// end is the job's result.
	Checkpoint json.RawMessage
	Attempts   int64
	// LastError is for operators: it may name hosts and files.
	LastError  string
	CreatedAt  time.Time
	DueAt      time.Time // of the next try; zero unless Waiting
	FinishedAt time.Time // zero unless Done or Dead
}

// Find returns the job of tenant with this id, or ErrNotFound. A finished job is
// kept as long as its Handler says.
func Find(ctx context.Context, r database.Reader, tenant, id string) (Status, error) {
	return findJob(ctx, r, tenant, id)
}

// ListDead returns up to limit dead jobs of tenant, oldest first, that come after
// the one with id after.
func ListDead(ctx context.Context, r database.Reader, tenant, after string, limit int) ([]Status, error) {
	return listDead(ctx, r, tenant, after, limit)
}

// Rerun makes a dead job due again with all its tries, or returns ErrNotFound. It
// goes on from its checkpoint.
func Rerun(ctx context.Context, tx *database.Tx, tenant, id string) error {
	if err := reviveJob(ctx, tx, tenant, id); err != nil {
		return err
	}
	tx.OnCommit(wakeAll)
	return nil
}

// Cancel removes a job in whatever state, or returns ErrNotFound. The handler of
// one that is running has its context cancelled at the next renewal of the lease,
// and its next Checkpoint fails.
func Cancel(ctx context.Context, tx *database.Tx, tenant, id string) error {
	return deleteJob(ctx, tx, tenant, id)
}

// sleepers are the wake-up channels of the queues that run in this process. A
// queue on another database is woken for nothing, which only costs it a look.
var sleepers sync.Map // of chan struct{}

func wakeAll() {
	sleepers.Range(func(wake, _ any) bool {
		nudge(wake.(chan struct{}))
		return true
	})
}

func nudge(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is awake already
	}
}
