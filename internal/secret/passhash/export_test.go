package passhash

import (
	"context"
	"sync"
	"testing/synctest"
)

// NewNarrow returns a Hasher with few places, to fill them in tests.
func NewNarrow(slots, queue int) *Hasher {
	h := New(Params{Memory: 64, Time: 1, Lanes: 1}, nil)
	h.gate = newGate(slots, queue, lightMemory)
	return h
}

// Hold takes the place of a hash of memory KiB until release is closed.
func (h *Hasher) Hold(ctx context.Context, memory int, release <-chan struct{}) error {
	return h.gate.do(ctx, memory, func() error {
		<-release
		return nil
	})
}

// Crowd lets n hashes of memory KiB come at once, each of which stays until
// nothing else can happen, and counts them.
func (h *Hasher) Crowd(ctx context.Context, n, memory int) (running, most, finished int) {
	var mu sync.Mutex
	next, all := make(chan struct{}), sync.WaitGroup{}
	for range n {
		all.Go(func() {
			err := h.gate.do(ctx, memory, func() error {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				<-next
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			})
			if err == nil {
				mu.Lock()
				finished++
				mu.Unlock()
			}
		})
	}
	for range n {
		synctest.Wait()
		next <- struct{}{}
	}
	all.Wait()
	return running, most, finished
}
