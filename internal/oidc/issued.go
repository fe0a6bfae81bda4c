package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// flushEvery is how long a token between machines may be missing in the log.
const flushEvery = 10 * time.Second

// A tally counts tokens that applications were given without a change of anything,
// so that none of them costs a commit. What was counted since the last flush is lost
// if the process is killed: the log says how often, not whether.
type tally struct {
	mu     sync.Mutex
	counts map[issue]int64
}

// An issue is what is counted together.
type issue struct{ tenant, application, grant string }

func (t *tally) add(tenant, application, grant string) { t.plus(issue{tenant, application, grant}, 1) }

func (t *tally) plus(i issue, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[issue]int64{}
	}
	t.counts[i] += n
}

// take returns what was counted, by tenant, and begins anew.
func (t *tally) take() map[string]map[issue]int64 {
	t.mu.Lock()
	counts := t.counts
	t.counts = nil
	t.mu.Unlock()
	byTenant := map[string]map[issue]int64{}
	for i, n := range counts {
		if byTenant[i.tenant] == nil {
			byTenant[i.tenant] = map[issue]int64{}
		}
		byTenant[i.tenant][i] = n
	}
	return byTenant
}

// Run writes counts to the log every ten seconds until ctx is done, and what is left
// then.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
		if err := s.Flush(limit); err != nil {
			s.Log.Error("the number of tokens issued is not in the log yet", "err", err)
		}
		cancel()
	}
}

// Flush writes to the log how many tokens each application was given since the last
// time: one event for each of them, in one commit for each tenant. What can not be
// written is kept for the next time.
func (s *Service) Flush(ctx context.Context) error {
	var failed []error
	for id, counts := range s.issued.take() {
		err := s.flushTenant(ctx, id, counts)
		if errors.Is(err, tenant.ErrNotFound) {
			continue // deleted meanwhile, with its log
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("tenant %s: %w", id, err))
			for i, n := range counts {
				s.issued.plus(i, n)
			}
		}
	}
	return errors.Join(failed...)
}

func (s *Service) flushTenant(ctx context.Context, id string, counts map[issue]int64) error {
	if _, err := s.Tenants.ByID(ctx, id); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		for i, n := range counts {
			err := audit.Append(tx, access.System(id), audit.Event{
				Action: "token.issued", Target: "application", TargetID: i.application, Method: i.grant, Detail: map[string]any{"count": n},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
