package ratelimit

import (
	"sync"
	"time"
)

// refusals remembers for a second who was refused, so that a flood from there does
// not cost a write each. It is bounded: when full it forgets nobody but learns
// nobody new, which costs a write, until the next second.
type refusals struct {
	mu    sync.Mutex
	since time.Time
	young map[subject]refused // since then
	old   map[subject]refused // in the second before
}

type refused struct {
	free  time.Time // when the limit allows the next use
	until time.Time // how long to believe that: another process may reset it
}

const (
	recallFor   = time.Second
	maxRefusals = 10_000 // of each of the two maps
)

// recall reports whether s was refused a moment ago, and until when it will be.
func (r *refusals) recall(now time.Time, s subject) (free time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.young[s]
	if !ok {
		known, ok = r.old[s]
	}
	return known.free, ok && now.Before(known.until) && now.Before(known.free)
}

func (r *refusals) remember(now time.Time, s subject, free time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young == nil || now.Sub(r.since) >= recallFor || now.Before(r.since) {
		r.old, r.young, r.since = r.young, map[subject]refused{}, now
	}
	if len(r.young) < maxRefusals {
		r.young[s] = refused{free, now.Add(recallFor)}
	}
}

func (r *refusals) forget(s subject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, s)
	delete(r.old, s)
}
