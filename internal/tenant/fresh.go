package tenant

import (
	"sync"
	"time"
)

// maxAge is how long a change made by another process may go unseen.
const maxAge = time.Second

// fresh keeps values that were read from the database at most maxAge ago. It is
// bounded: when full it starts over. Errors are not kept.
type fresh[T any] struct {
	mu     sync.RWMutex
	values map[string]aged[T]
}

type aged[T any] struct {
	value T
	until time.Time
}

const maxFresh = 10_000

func (f *fresh[T]) get(now time.Time, key string, load func() (T, error)) (T, error) {
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
	f.values[key] = aged[T]{value, now.Add(maxAge)}
	return value, nil
}

func (f *fresh[T]) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values = nil
}
