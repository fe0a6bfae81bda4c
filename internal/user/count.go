package user

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// Counting a million rows takes far longer than reading a page of them, so the
// number of users is kept: user_counts says how many have an id up to
// settled_id, and only those after it are counted when asked. Ids sort by
// creation, so new users come after it and creating one touches no common row;
// deleting and importing older ids correct the number in their transaction.

// foreign is the first id that no clock of ours makes before the year 2248. Ids that
// came along from a system that counts seconds lie beyond it; they are part of the
// kept number from the moment they come in.
const foreign = "080000000000000000000000"

// settleAfter is how old an id must be to be counted for good. No transaction that
// began longer ago than database.MaxWrite is committed; the rest is for clocks
// that differ between processes.
const settleAfter = database.MaxWrite + 15*time.Second

// maxTail is how many users may be counted one by one before the count is
// settled anew.
const maxTail = 2000

// Count returns how many users match the filter. Without a filter it costs little,
// except in the minute after many were added; with one it takes time for each
// match. A count of thousands that took long may be up to ten seconds old. The actor needs
// users:read.
func (s *Service) Count(ctx context.Context, db database.Reader, by access.Actor, f Filter) (int64, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return 0, err
	}
	if n, ok := s.totals.find(s.DB.Now(), by.Tenant, f); ok {
		return n, nil
	}
	sel, err := s.selection(ctx, db, by.Tenant, Query{Filter: f, Sort: ByUsername})
	if err != nil {
		return 0, err
	}
	return s.countSelected(ctx, db, by.Tenant, sel, f)
}

// countSelected counts the users of a filter's selection, and remembers their number if
// that took long.
func (s *Service) countSelected(ctx context.Context, db database.Reader, tenant string, sel *selection, f Filter) (n int64, err error) {
	began := database.Monotonic()
	if f == (Filter{}) {
		n, err = s.countAll(ctx, tenant)
	} else if err = db.QueryRow(ctx, "SELECT count(*) FROM "+sel.hits(s.DB.Engine())+sel.clause(), sel.args...).Scan(&n); err != nil {
		err = fmt.Errorf("count users: %w", err)
	}
	if err == nil {
		s.totals.keep(s.DB.Now(), tenant, f, n, database.Monotonic()-began)
	}
	return n, err
}

func (s *Service) countAll(ctx context.Context, tenant string) (int64, error) {
	// One statement, so that settled part and tail are of the same moment.
	var settled, tail int64
	err := s.DB.QueryRow(ctx, `
		SELECT COALESCE((SELECT users FROM user_counts WHERE tenant_id = $1), 0),
			(SELECT count(*) FROM users WHERE tenant_id = $1
				AND id > COALESCE((SELECT settled_id FROM user_counts WHERE tenant_id = $1), '') AND id < $2)`, tenant, foreign).Scan(&settled, &tail)
	if err != nil {
		return 0, fmt.Errorf("count users: %w", err)
	}
	if tail > maxTail {
		if err := s.DB.Write(ctx, func(tx *database.Tx) error { return settle(ctx, tx, tenant) }); err != nil {
			return 0, err
		}
	}
	return settled + tail, nil
}

// settle moves settled_id forward. Writing the row first makes deletions of
// counted users wait until the new number stands.
func settle(ctx context.Context, tx *database.Tx, tenant string) error {
	upTo := secret.FirstID(tx.Now.Add(-settleAfter))
	from, err := lockCount(ctx, tx, tenant)
	if err != nil {
		return err
	}
	if from >= upTo {
		return nil
	}
	if _, err := tx.Exec(ctx, `
		UPDATE user_counts SET settled_id = $3,
			users = users + (SELECT count(*) FROM users WHERE tenant_id = $1 AND id > $2 AND id <= $3)
		WHERE tenant_id = $1`, tenant, from, upTo); err != nil {
		return fmt.Errorf("settle user count: %w", err)
	}
	return nil
}

// lockCount makes everyone who changes the kept number wait for this transaction,
// and returns up to where users are settled.
func lockCount(ctx context.Context, tx *database.Tx, tenant string) (settled string, err error) {
	err = tx.QueryRow(ctx, `
		INSERT INTO user_counts (tenant_id, settled_id, users) VALUES ($1, '', 0)
		ON CONFLICT (tenant_id) DO UPDATE SET users = user_counts.users
		RETURNING settled_id`, tenant).Scan(&settled)
	if err != nil {
		return "", fmt.Errorf("lock user count: %w", err)
	}
	return settled, nil
}

// countOld adds users to the kept number whose ids belong to it: ids that came along
// and are not new.
func countOld(ctx context.Context, tx *database.Tx, tenant string, ids []string) error {
	settled, err := lockCount(ctx, tx, tenant)
	if err != nil {
		return err
	}
	n := int64(0)
	for _, id := range ids {
		if id <= settled || id >= foreign {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, "UPDATE user_counts SET users = users + $2 WHERE tenant_id = $1", tenant, n); err != nil {
		return fmt.Errorf("correct user count: %w", err)
	}
	return nil
}

// totals keeps the counts that took long. Page numbers need the total on every
// page, and a client turns pages faster than totals matter.
type totals struct {
	mu   sync.Mutex
	kept map[total]keptTotal
}

type total struct {
	tenant string
	filter string
}

type keptTotal struct {
	n     int64
	until time.Time
}

const (
	longCount  = 5 * time.Millisecond
	largeCount = 2000
	totalAge   = 10 * time.Second
	maxTotals  = 1000
)

func (t *totals) find(now time.Time, tenant string, f Filter) (n int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.kept[total{tenant, f.String()}]
	return kept.n, ok && now.Before(kept.until)
}

// keep remembers n if it is large and finding it took long: a small total is
// always exact, however busy the machine.
func (t *totals) keep(now time.Time, tenant string, f Filter, n int64, took time.Duration) {
	if took < longCount || n < largeCount {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil || len(t.kept) >= maxTotals {
		t.kept = map[total]keptTotal{}
	}
	t.kept[total{tenant, f.String()}] = keptTotal{n, now.Add(totalAge)}
}

// forget drops what is kept of a tenant, after a change that nobody would overlook.
func (t *totals) forget(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.kept, func(k total, _ keptTotal) bool { return k.tenant == tenant })
}
