package ratelimit

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// take is the statement that counts one use if the limit allows it. It checks and counts
// in one, so that uses at the same time can not both be the last: it touches no row if
// the limit is exhausted.
func take(tx *database.Tx, s subject, l Limit) (stmt string, args []any) {
	if l.Delay > 0 {
		return takeInRow(tx, s, l)
	}
	return takeByRate(tx, s, l)
}

// takeByRate moves the moment at which all uses are free again by the time that one
// use takes to come back. At most Count of those times lie ahead.
func takeByRate(tx *database.Tx, s subject, l Limit) (stmt string, args []any) {
	now, one := tx.Millis(), l.interval()
	return `
		INSERT INTO rate_limits (tenant_id, name, key, taken, at, expires_at)
		VALUES ($1, $2, $3, 0, $4, $4)
		ON CONFLICT (tenant_id, name, key) DO UPDATE SET
			at = CASE WHEN rate_limits.at > $5 THEN rate_limits.at ELSE $5 END + $6,
			expires_at = CASE WHEN rate_limits.at > $5 THEN rate_limits.at ELSE $5 END + $6
		WHERE rate_limits.at <= $7`,
		[]any{s.tenant, s.limit, s.key[:], now + one, now, one, now + (l.Count-1)*one}
}

// interval is the time in which one use of a limit by rate comes back, in
// milliseconds.
func (l Limit) interval() int64 { return max(1, l.Per.Milliseconds()/l.Count) }

// takeInRow counts one more use in a row, unless the pause after the last one is
// not over. The last one may seem to be yet to come: of two transactions at once the
// one that began first may count last, and clocks of two machines differ.
func takeInRow(tx *database.Tx, s subject, l Limit) (stmt string, args []any) {
	now, first, most := tx.Millis(), millis(l.Delay), millis(l.MaxDelay)
	return `
		INSERT INTO rate_limits (tenant_id, name, key, taken, at, expires_at)
		VALUES ($1, $2, $3, 1, $4, $5)
		ON CONFLICT (tenant_id, name, key) DO UPDATE SET
			taken = CASE WHEN rate_limits.expires_at <= $4 THEN 1 ELSE rate_limits.taken + 1 END,
			at = CASE WHEN rate_limits.at > $4 THEN rate_limits.at ELSE $4 END,
			expires_at = CASE WHEN rate_limits.expires_at > $5 THEN rate_limits.expires_at ELSE $5 END
		WHERE rate_limits.expires_at <= $4 OR rate_limits.taken < $6 OR rate_limits.at <= $4 - CASE
			WHEN rate_limits.taken < $6 THEN 0
			WHEN rate_limits.taken - $6 >= $7 THEN $8
			ELSE CAST($9 AS BIGINT) << CAST(rate_limits.taken - $6 AS INTEGER) END`,
		[]any{s.tenant, s.limit, s.key[:], now, now + most + l.Per.Milliseconds(), l.Count, doublings(first, most), most, first}
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

// deleteCounts removes what was counted of subjects of one tenant.
func deleteCounts(tx *database.Tx, tenant string, subjects []subject) {
	which, args := make([]string, len(subjects)), []any{tenant}
	for i, s := range subjects {
		args = append(args, s.limit, s.key[:])
		which[i] = fmt.Sprintf("(name = $%d AND key = $%d)", len(args)-1, len(args))
	}
	tx.Later("DELETE FROM rate_limits WHERE tenant_id = $1 AND ("+strings.Join(which, " OR ")+")", args...)
}

// sweepCounts removes what has expired, of all tenants.
func sweepCounts(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM rate_limits WHERE expires_at <= $1`, tx.Millis()); err != nil {
		return fmt.Errorf("sweep rate limits: %w", err)
	}
	return nil
}
