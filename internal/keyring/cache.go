package keyring

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxAge is how long a change made by another process may go unseen.
	maxAge = time.Second
	// patience is how long a request waits for keys to be read when it could go on
	// with those that it has, and maxStale how old these may be by then.
	patience = 250 * time.Millisecond
	maxStale = 10 * time.Minute
	// maxCaches bounds the tenants in memory.
	maxCaches = 1000
)

// A cache holds the keys of one tenant as they were last read.
type cache struct {
	set    atomic.Pointer[set]
	turn   chan struct{} // whoever has put something in may read the keys again
	making sync.Mutex    // held by whoever makes a first key
}

// A set is the keys of one tenant at one time. It does not change.
type set struct {
	readAt      time.Time
	keys        []*key // newest first
	byID        map[string]*key
	generations map[string]int64 // the last one, by algorithm
	jwks        []byte
}

func (s *set) age(now time.Time) time.Duration { return now.Sub(s.readAt).Abs() } // clocks are set back, too

func (s *set) current(alg string, now time.Time) *key {
	for _, k := range s.keys {
		if k.alg == alg && k.isCurrent(now) {
			return k
		}
	}
	return nil
}

func (r *Ring) cache(tenant string) *cache {
	r.mu.RLock()
	c := r.sets[tenant]
	r.mu.RUnlock()
	if c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.sets[tenant]; c != nil {
		return c
	}
	if len(r.sets) >= maxCaches || r.sets == nil {
		r.sets = map[string]*cache{} // when full it starts over
	}
	c = &cache{turn: make(chan struct{}, 1)}
	r.sets[tenant] = c
	return c
}

func (r *Ring) forget(tenant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sets, tenant)
}

// load returns the tenant's keys as they were at most age ago. Under load one
// request reads them again when half of that has passed, and the others do not wait
// for it. If the database is slow or does not answer, older keys have to do.
func (r *Ring) load(ctx context.Context, tenant string, age time.Duration) (*set, error) {
	c := r.cache(tenant)
	known := c.set.Load()
	if known != nil && known.age(r.DB.Now()) < age/2 {
		return known, nil
	}
	if mine, err := c.take(ctx, known, age, r.DB.Now()); !mine {
		return known, err
	}
	defer func() { <-c.turn }()
	if latest := c.set.Load(); latest != known && latest.age(r.DB.Now()) < age {
		return latest, nil // read while we waited
	}
	fresh, err := r.read(ctx, tenant, known)
	if err != nil {
		if known != nil && age > 0 && known.age(r.DB.Now()) < maxStale {
			return known, nil
		}
		return nil, err
	}
	c.set.Store(fresh)
	return fresh, nil
}

// take reports whether it is the caller's turn to read the keys. If not, either the
// known ones will do, or the caller has gone.
func (c *cache) take(ctx context.Context, known *set, age time.Duration, now time.Time) (bool, error) {
	var enough <-chan time.Time // never, if there is nothing to go on with
	if known != nil && age > 0 {
		wait := patience
		if known.age(now) < age {
			wait = 0
		}
		if known.age(now) < maxStale {
			enough = time.After(wait)
		}
	}
	select { // a free turn goes before the end of patience
	case c.turn <- struct{}{}:
		return true, nil
	default:
	}
	select {
	case c.turn <- struct{}{}:
		return true, nil
	case <-enough:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// read reads the tenant's keys. Those that are known keep what is ready to sign.
func (r *Ring) read(ctx context.Context, tenant string, known *set) (*set, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := &set{readAt: r.DB.Now(), byID: map[string]*key{}, generations: map[string]int64{}}
	rows, err := listKeys(ctx, r.DB, tenant)
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, row := range rows {
		k, err := newKey(row)
		if err != nil {
			return nil, err
		}
		if known != nil && known.byID[k.id] != nil {
			k.signers = known.byID[k.id].signers
		}
		s.keys = append(s.keys, k)
		s.byID[k.id] = k
		s.generations[k.alg] = max(s.generations[k.alg], k.generation)
		if k.isPublished(s.readAt) {
			public.Keys = append(public.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
		}
	}
	if s.jwks, err = json.Marshal(public); err != nil {
		return nil, fmt.Errorf("encode keys: %w", err)
	}
	return s, nil
}
