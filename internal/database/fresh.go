package database

import (
	"sync"
	"time"
)

// MaxAge is how long a change made by another process may go unseen by whoever
// reads through a Fresh.
const MaxAge = time.Second

// Fresh keeps values that were read at most MaxAge ago, by key. It is bounded, and gives
// back the memory of what is too old a second or two later: the garbage collector counts
// with all that is kept. Errors are not kept. The zero value is ready.
type Fresh[T any] struct {
	mu      sync.RWMutex
	values  map[string]aged[T]
	before  map[string]aged[T] // what was in values until the last turn
	turning bool               // a timer runs
}

type aged[T any] struct {
	value T
	until time.Time
}

const maxFresh = 5_000 // in each of the two

// Get returns what is kept under key at the moment now, or what load returns.
func (f *Fresh[T]) Get(now time.Time, key string, load func() (T, error)) (T, error) {
	f.mu.RLock()
	kept, ok := f.values[key]
	if !ok {
		kept, ok = f.before[key]
	}
	f.mu.RUnlock()
	if ok && now.Before(kept.until) {
		return kept.value, nil
	}
	value, err := load()
	if err != nil {
		return value, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.values == nil || len(f.values) >= maxFresh {
		f.before, f.values = f.values, map[string]aged[T]{}
	}
	if !f.turning {
		f.turning = true
		time.AfterFunc(MaxAge, f.turn)
	}
	f.values[key] = aged[T]{value, now.Add(MaxAge)}
	return value, nil
}

// turn drops what has been kept for a whole turn, until nothing is left.
func (f *Fresh[T]) turn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.values = f.values, nil
	if f.turning = f.before != nil; f.turning {
		time.AfterFunc(MaxAge, f.turn)
	}
}

// Forget drops what is kept under key, after a change in this process.
func (f *Fresh[T]) Forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, key)
	delete(f.before, key)
}

// Clear drops everything.
func (f *Fresh[T]) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values, f.before = nil, nil
}
