package passhash

import (
	"context"
	"fmt"
	"sync/atomic"
)

// A gate lets few hashes run at once. More than the cores can run would only
// slow each other down while every one of them holds its memory.
type gate struct {
	slots  chan struct{} // one place for each hash that runs
	large  chan struct{} // one place for a hash of more than light KiB
	light  int           // KiB
	inside atomic.Int64  // running and waiting
	limit  int64         // of inside
	done   atomic.Uint64 // KiB that the hashes which have run had for themselves
}

func newGate(slots, queue, light int) *gate {
	return &gate{
		slots: make(chan struct{}, slots),
		large: make(chan struct{}, 1),
		light: light,
		limit: int64(slots + queue),
	}
}

// do runs work, which needs memory KiB, when it is its turn. It returns ErrBusy
// at once if the queue is full, the context's error if that ends before the turn
// comes, else what work returns. Work that has begun runs to its end: a hash can
// not be interrupted, which is why its cost is bounded.
func (g *gate) do(ctx context.Context, memory int, work func() error) error {
	defer g.inside.Add(-1)
	if g.inside.Add(1) > g.limit {
		return ErrBusy
	}
	// The large place comes first, so that those who wait for it hold no slot.
	if memory > g.light {
		if err := take(ctx, g.large); err != nil {
			return err
		}
		defer func() { <-g.large }()
	}
	if err := take(ctx, g.slots); err != nil {
		return err
	}
	defer func() { <-g.slots }()
	defer g.done.Add(uint64(memory))
	return work()
}

// take occupies a place. Whoever has given up already must not start a hash just
// because a place is free.
func take(ctx context.Context, places chan struct{}) error {
	if ctx.Err() == nil {
		select {
		case places <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("wait for a turn to hash a password: %w", context.Cause(ctx))
}
