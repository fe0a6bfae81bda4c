package audit

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
)

// Retention is how long events are kept unless a tenant says otherwise.
const Retention = 90 * 24 * time.Hour

const (
	pruned     = "log.pruned"
	pruneBatch = 500
)

// cutID is the target of the event that tells of pruning: the place of the first
// event that was kept.
func cutID(firstSeq int64) string { return strconv.FormatInt(firstSeq, 10) }

// Prune removes events of the actor's tenant from before the given moment, at
// most 500 of them, and returns how many. Call it again, in a new transaction,
// until that is zero. It proves the events first and fails with a *Fault if they
// are not what was written: otherwise whoever alters the times of events could
// have retention sweep up behind them. Such a log stays as it is until a person
// decides.
//
// Events that only tell of earlier pruning wait for others to go with, or a log
// in which nothing happens would never come to rest.
func Prune(ctx context.Context, tx *database.Tx, by access.Actor, before time.Time) (removed int64, err error) {
	c, found, err := findChain(ctx, tx, by.Tenant)
	if err != nil || !found {
		return 0, err
	}
	p := &proof{seq: c.firstSeq, prev: c.firstPrev}
	others, err := p.passOld(ctx, tx, by.Tenant, before)
	if err != nil {
		return 0, fmt.Errorf("prune the log of tenant %s: %w", by.Tenant, err)
	}
	if others == 0 {
		return 0, nil
	}
	removed, err = removeFront(ctx, tx, c, p)
	if err != nil || removed == 0 {
		return 0, err
	}
	return removed, Append(tx, by, Event{Action: pruned, Target: "log", TargetID: cutID(p.seq), Detail: map[string]any{
		"removed": removed, "before": before.UTC().Format(time.RFC3339)}})
}

// passOld moves p to the first row that is kept, and returns how many of the rows
// it passed tell of anything else than pruning.
func (p *proof) passOld(ctx context.Context, tx *database.Tx, tenant string, before time.Time) (others int, err error) {
	rows, err := tx.Query(ctx, `
		SELECT `+columns+`, seq, hash FROM audit_events
		WHERE tenant_id = $1 AND seq >= $2 ORDER BY seq, id LIMIT $3`, tenant, p.seq, pruneBatch)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var e row
		if err := e.scan(rows, &e.seq, &e.hash); err != nil {
			return 0, err
		}
		if e.at >= before.UnixMilli() {
			break
		}
		if fault := p.next(&e); fault != nil {
			return 0, fault
		}
		if e.action != pruned {
			others++
		}
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	return others, rows.Close()
}

// removeFront removes the rows that p has passed, unless another process has
// pruned meanwhile.
func removeFront(ctx context.Context, tx *database.Tx, c chain, p *proof) (removed int64, err error) {
	moved, err := tx.Exec(ctx, "UPDATE audit_chains SET first_seq = $2, first_prev = $3 WHERE tenant_id = $1 AND first_seq = $4",
		c.tenant, p.seq, p.prev, c.firstSeq)
	if err != nil || moved == 0 {
		return 0, err
	}
	return tx.Exec(ctx, "DELETE FROM audit_events WHERE tenant_id = $1 AND seq >= $2 AND seq < $3", c.tenant, c.firstSeq, p.seq)
}
