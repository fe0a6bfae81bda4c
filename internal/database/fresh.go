package database

import (
	"sync"
	"time"
)

// MaxAge is how long a change made by another process may go unseen by whoever
// reads through a Fresh.
const MaxAge = time.Second

// Fresh keeps values that were read at most MaxAge ago, by key. It is bounded: when
// full it starts over. Errors are not kept. The zero value is ready.
type Fresh[T any] struct {
	mu     sync.RWMutex
	values map[string]aged[T]
}

type aged[T any] struct {
	value T
	until time.Time
}

const maxFresh = 10_000

// Get returns what is kept under key at the moment now, or what load returns.
func (f *Fresh[T]) Get(now time.Time, key string, load func() (T, error)) (T, error) {
	f.mu.RLock()
	kept, ok := f.values[key]
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
		f.values = map[string]aged[T]{}
	}
	f.values[key] = aged[T]{value, now.Add(MaxAge)}
	return value, nil
}

// Forget drops what is kept under key, after a change in this process.
func (f *Fresh[T]) Forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, key)
}

// Clear drops everything.
func (f *Fresh[T]) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values = nil
}
