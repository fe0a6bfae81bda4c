package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// A Job is one try at a piece of work, in the hands of its handler.
type Job struct {
	Tenant  string
	ID      string
	Kind    string
	Attempt int64 // 1 at the first try

	payload    []byte
	checkpoint []byte
	lease      string
	handler    *Handler
	finished   bool
}

// Payload decodes what was enqueued into v.
func (j *Job) Payload(v any) error {
	if err := json.Unmarshal(j.payload, v); err != nil {
		return fmt.Errorf("payload of %s: %w", j.Kind, err)
	}
	return nil
}

// Resume decodes the last checkpoint of an earlier try, or of this one, into v and
// leaves v alone if there is none.
func (j *Job) Resume(v any) error {
	if len(j.checkpoint) == 0 {
		return nil
	}
	if err := json.Unmarshal(j.checkpoint, v); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", j.Kind, err)
	}
	return nil
}

// IsLastTry reports whether the job will be dead if this try fails.
func (j *Job) IsLastTry() bool {
	return j.handler.every == 0 && j.Attempt >= int64(j.handler.attempts())
}

// Checkpoint stores v, from which a later try Resumes, and how far the job has
// come, in the transaction of the work that they tell of: all of it happens or
// none. It returns ErrLost if another worker has taken over.
func (j *Job) Checkpoint(ctx context.Context, tx *database.Tx, v any, p Progress) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", j.Kind, err)
	}
	err = j.update(ctx, tx, `checkpoint = $4, steps_done = $5, steps_total = $6, message = $7`,
		string(text), p.Done, p.Total, p.Message)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", j.Kind, err)
	}
	tx.OnCommit(func() { j.checkpoint = text })
	return nil
}

// Finish marks the job done in the transaction of its last work. The handler then
// returns nil. A handler that returns nil without it is done all the same, in a
// transaction of its own. It returns ErrLost if another worker has taken over.
func (j *Job) Finish(ctx context.Context, tx *database.Tx) error {
	if err := j.markDone(ctx, tx); err != nil {
		return fmt.Errorf("finish %s: %w", j.Kind, err)
	}
	tx.OnCommit(func() { j.finished = true })
	return nil
}

func (j *Job) markDone(ctx context.Context, tx *database.Tx) error {
	switch {
	case j.handler.every > 0:
		return j.wait(ctx, tx, j.handler.every, 0, "")
	case j.handler.Keep == 0:
		return j.delete(ctx, tx)
	}
	return j.update(ctx, tx, `state = 'done', lease = '', due_at = NULL, unique_key = NULL, last_error = '', finished_at = $4, keep_until = $5`,
		tx.Millis(), tx.Now.Add(j.handler.Keep).UnixMilli())
}

// wait puts the job back for delay, with this many tries behind it.
func (j *Job) wait(ctx context.Context, tx *database.Tx, delay time.Duration, attempts int64, why string) error {
	return j.update(ctx, tx, `state = 'waiting', lease = '', due_at = $4, attempts = $5, last_error = $6`,
		tx.Now.Add(delay).UnixMilli(), attempts, why)
}

// bury gives the job up. Its unique name is free again.
func (j *Job) bury(ctx context.Context, tx *database.Tx, why string) error {
	return j.update(ctx, tx, `state = 'dead', lease = '', due_at = NULL, unique_key = NULL, last_error = $4, finished_at = $5, keep_until = $6`,
		why, tx.Millis(), tx.Now.Add(keepDead).UnixMilli())
}

func (j *Job) renew(ctx context.Context, tx *database.Tx, lease time.Duration) error {
	return j.update(ctx, tx, `due_at = $4`, tx.Now.Add(lease).UnixMilli())
}
