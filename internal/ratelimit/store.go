package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// take counts one use if the limit allows it, and reports whether it did. Each of
// its two statements checks and counts in one, so that uses at the same time can
// not both be the last.
func take(ctx context.Context, tx *database.Tx, s subject, l Limit) (bool, error) {
	var err error
	if l.Delay > 0 {
		err = takeInRow(ctx, tx, s, l)
	} else {
		err = takeByRate(ctx, tx, s, l)
	}
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("count against limit %s: %w", l.Name, err)
	}
	return true, nil
}

// takeByRate moves the moment at which all uses are free again by the time that one
// use takes to come back. At most Count of those times lie ahead.
func takeByRate(ctx context.Context, tx *database.Tx, s subject, l Limit) error {
	now, one := tx.Millis(), l.interval()
	var at int64
	return tx.QueryRow(ctx, `
		INSERT INTO rate_limits (tenant_id, name, key, taken, at, expires_at)
		VALUES ($1, $2, $3, 0, $4, $4)
		ON CONFLICT (tenant_id, name, key) DO UPDATE SET
			at = CASE WHEN rate_limits.at > $5 THEN rate_limits.at ELSE $5 END + $6,
			expires_at = CASE WHEN rate_limits.at > $5 THEN rate_limits.at ELSE $5 END + $6
		WHERE rate_limits.at <= $7
		RETURNING at`,
		s.tenant, s.limit, s.key[:], now+one, now, one, now+(l.Count-1)*one).Scan(&at)
}

// interval is the time in which one use of a limit by rate comes back, in
// milliseconds.
func (l Limit) interval() int64 { return max(1, l.Per.Milliseconds()/l.Count) }

// takeInRow counts one more use in a row, unless the pause after the last one is
// not over. The last one may seem to be yet to come: of two transactions at once the
// one that began first may count last, and clocks of two machines differ.
func takeInRow(ctx context.Context, tx *database.Tx, s subject, l Limit) error {
	now, first, most := tx.Millis(), millis(l.Delay), millis(l.MaxDelay)
	var taken int64
	return tx.QueryRow(ctx, `
		INSERT INTO rate_limits (tenant_id, name, key, taken, at, expires_at)
		VALUES ($1, $2, $3, 1, $4, $5)
		ON CONFLICT (tenant_id, name, key) DO UPDATE SET
			taken = CASE WHEN rate_limits.expires_at <= $4 THEN 1 ELSE rate_limits.taken + 1 END,
			at = CASE WHEN rate_limits.at > $4 THEN rate_limits.at ELSE $4 END,
			expires_at = CASE WHEN rate_limits.expires_at > $5 THEN rate_limits.expires_at ELSE $5 END
		WHERE rate_limits.expires_at <= $4 OR rate_limits.taken < $6 OR rate_limits.at <= $4 - CASE
			WHEN rate_limits.taken < $6 THEN 0
			WHEN rate_limits.taken - $6 >= $7 THEN $8
			ELSE CAST($9 AS BIGINT) << CAST(rate_limits.taken - $6 AS INTEGER) END
		RETURNING taken`,
		s.tenant, s.limit, s.key[:], now, now+most+l.Per.Milliseconds(), l.Count, doublings(first, most), most, first).Scan(&taken)
}

// millis bounds d so that sums with a moment stay within 64 bits.
func millis(d time.Duration) int64 {
	if d == UntilReset {
		return 1 << 53
	}
	return d.Milliseconds()
}

// doublings is after how many doublings first has reached most.
func doublings(first, most int64) int64 {
	if first >= most {
		return 0
	}
	return int64(bits.Len64(uint64((most - 1) / first)))
}

// findFree returns when a limit that is exhausted allows the next use.
func findFree(ctx context.Context, r database.Reader, s subject, l Limit) (time.Time, error) {
	var taken, at int64
	err := r.QueryRow(ctx, `SELECT taken, at FROM rate_limits WHERE tenant_id = $1 AND name = $2 AND key = $3`,
		s.tenant, s.limit, s.key[:]).Scan(&taken, &at)
	if err != nil {
		return time.Time{}, fmt.Errorf("find limit %s: %w", l.Name, err)
	}
	switch first, most := millis(l.Delay), millis(l.MaxDelay); {
	case l.Delay == 0:
		at -= (l.Count - 1) * l.interval()
	case taken-l.Count >= doublings(first, most):
		at += most
	case taken >= l.Count:
		at += first << (taken - l.Count)
	}
	return time.UnixMilli(at), nil
}

func deleteCount(ctx context.Context, tx *database.Tx, s subject) error {
	_, err := tx.Exec(ctx, `DELETE FROM rate_limits WHERE tenant_id = $1 AND name = $2 AND key = $3`, s.tenant, s.limit, s.key[:])
	if err != nil {
		return fmt.Errorf("reset limit %s: %w", s.limit, err)
	}
	return nil
}

// sweepCounts removes what has expired, of all tenants.
func sweepCounts(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM rate_limits WHERE expires_at <= $1`, tx.Millis()); err != nil {
		return fmt.Errorf("sweep rate limits: %w", err)
	}
	return nil
}
