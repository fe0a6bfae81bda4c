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
type Fresh[T any] struct{ kept kept }

// Get returns what is kept under key at the moment now, or what load returns.
func (f *Fresh[T]) Get(now time.Time, key string, load func() (T, error)) (T, error) {
	if value, ok := f.kept.get(now, key).(*T); ok {
		return *value, nil
	}
	value, err := load()
	if err == nil {
		f.kept.put(now, key, &value)
	}
	return value, err
}

// Forget drops what is kept under key, after a change in this process.
func (f *Fresh[T]) Forget(key string) { f.kept.forget(key) }

// Clear drops everything.
func (f *Fresh[T]) Clear() { f.kept.clear() }

// kept is what a Fresh of any type keeps: pointers to values.
type kept struct {
	mu      sync.RWMutex
	values  map[string]aged
	before  map[string]aged // what was in values until the last turn
	turning bool            // a timer runs
}

type aged struct {
	value any
	until time.Time
}

const maxFresh = 5_000 // in each of the two

// get returns what is kept under key, nil if that is nothing or too old.
func (k *kept) get(now time.Time, key string) any {
	k.mu.RLock()
	found, ok := k.values[key]
	if !ok {
		found, ok = k.before[key]
	}
	k.mu.RUnlock()
	if !ok || !now.Before(found.until) {
		return nil
	}
	return found.value
}

func (k *kept) put(now time.Time, key string, value any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values == nil || len(k.values) >= maxFresh {
		k.before, k.values = k.values, map[string]aged{}
	}
	if !k.turning {
		k.turning = true
		time.AfterFunc(MaxAge, k.turn)
	}
	k.values[key] = aged{value, now.Add(MaxAge)}
}

// turn drops what has been kept for a whole turn, until nothing is left.
func (k *kept) turn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before, k.values = k.values, nil
	if k.turning = k.before != nil; k.turning {
		time.AfterFunc(MaxAge, k.turn)
	}
}

func (k *kept) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, key)
	delete(k.before, key)
}

func (k *kept) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values, k.before = nil, nil
}
