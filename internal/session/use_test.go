package session_test

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Of many sessions that are used at once the use of each is written down, though only
// some of the requests wait for it.
func TestUseIsNotedForAllAtOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var tokens []string
		for range 50 {
			_, token := b.start(t, ann)
			tokens = append(tokens, token)
		}
		b.pass(2 * time.Minute)
		var group sync.WaitGroup
		for _, token := range tokens {
			for range 4 {
				group.Go(func() {
					if err := b.current(t, token); err != nil {
						t.Error(err)
					}
				})
			}
		}
		group.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for noted := 0; noted < len(tokens); { // the last ones may be on their way
			all, err := b.List(ctx, b.DB, tenant, ann)
			if err != nil {
				t.Fatalf("%d of %d are noted: %v", noted, len(tokens), err)
			}
			noted = 0
			for _, in := range all {
				if in.SeenAt.Sub(in.CreatedAt) == 2*time.Minute {
					noted++
				}
			}
		}
	})
}
