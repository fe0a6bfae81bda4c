package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// A Sealer chains the events of all tenants. Several processes may run one each:
// whoever moves the end of a chain first wins, and the others leave the chain to
// them until the next round.
type Sealer struct {
	DB  *database.DB
	Log *slog.Logger // where faults of the background work go; slog.Default if nil
}

const (
	sealInterval = 500 * time.Millisecond
	sealPause    = 10 * time.Second // longest wait between rounds while they fail
	sealStop     = 5 * time.Second  // longest time for what is left when the server stops
	sealBatch    = 250              // rows in one transaction, which on SQLite keeps writers waiting
)

// genesis stands where the first row of a chain has the hash of none before it.
var genesis = make([]byte, sha256.Size)

// Run seals twice a second until ctx ends, and then what is left. Cancel ctx
// when nothing writes events any more. The error is that of the last round; the
// events are then sealed after the next start.
func (s *Sealer) Run(ctx context.Context) error {
	for wait := sealInterval; ; {
		select {
		case <-ctx.Done():
			return s.finish(ctx)
		case <-time.After(wait):
		}
		_, err := s.Seal(ctx)
		switch {
		case err == nil:
			wait = sealInterval
		case ctx.Err() == nil:
			wait = min(2*wait, sealPause)
			cmp.Or(s.Log, slog.Default()).Error("seal the log", "error", err, "again_in", wait)
		}
	}
}

func (s *Sealer) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealStop)
	defer cancel()
	_, err := s.Seal(ctx)
	return err
}

// Seal goes once through all events that are not sealed yet and returns how many
// it has sealed. It stops early, without an error, where another process seals
// at the same time.
func (s *Sealer) Seal(ctx context.Context) (sealed int, err error) {
	var last row
	for {
		ends, err := nextUnsealed(ctx, s.DB, last)
		if err != nil || len(ends) == 0 {
			return sealed, err
		}
		// Hashed before the transaction, which so is short.
		read := 0
		for _, c := range ends {
			c.link()
			read += len(c.rows)
			last = c.rows[len(c.rows)-1]
		}
		n, err := s.seal(ctx, ends)
		sealed += n
		if err != nil || n < read || read < sealBatch {
			return sealed, err
		}
	}
}

// An extension is the end of one tenant's chain, and the rows to put behind it.
type extension struct {
	tenant   string
	lastSeq  int64
	lastHash []byte
	isNew    bool // there is no chain yet
	rows     []row
}

// link gives the rows their places and hashes.
func (c *extension) link() {
	seq, prev := c.lastSeq, c.lastHash
	for i := range c.rows {
		seq++
		c.rows[i].seq = seq
		c.rows[i].hash = c.rows[i].follow(prev)
		prev = c.rows[i].hash
	}
}

// seal writes what link has made, but for the tenants whose chain another process
// has extended meanwhile, and returns the number of rows.
func (s *Sealer) seal(ctx context.Context, chains []*extension) (sealed int, err error) {
	err = s.DB.WriteBehind(ctx, func(tx *database.Tx) error {
		sealed = 0
		var won []*extension
		var values [][]any
		for _, c := range chains { // in the order of tenants, so that two sealers do not lock each other up
			moved, err := moveEnd(ctx, tx, c)
			if err != nil {
				return err
			}
			if !moved {
				continue
			}
			won = append(won, c)
			for i := range c.rows {
				values = append(values, c.rows[i].sealedValues())
			}
		}
		if len(won) == 0 {
			return nil
		}
		if err := tx.Copy(ctx, "audit_events", sealedColumns, values); err != nil {
			return fmt.Errorf("write sealed events: %w", err)
		}
		for _, c := range won {
			if err := removeUnsealed(ctx, tx, c); err != nil {
				return err
			}
		}
		sealed = len(values)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return sealed, nil
}

// nextUnsealed reads the next rows behind last and the ends of their chains, in
// the order of tenants. One statement reads both: rows and ends are of one moment,
// so a chain that still has this end when we write has none of these rows.
func nextUnsealed(ctx context.Context, r database.Reader, last row) ([]*extension, error) {
	rows, err := r.Query(ctx, `
		SELECT e.tenant_id, e.id, e.actor, e.action, e.target, e.target_id, e.result, e.reason, e.method,
			e.ip, e.user_agent, e.request_id, e.detail, e.at, COALESCE(c.last_seq, 0), c.last_hash
		FROM audit_unsealed e LEFT JOIN audit_chains c ON c.tenant_id = e.tenant_id
		WHERE (e.tenant_id, e.id) > ($1, $2) ORDER BY e.tenant_id, e.id LIMIT $3`, last.tenant, last.id, sealBatch)
	if err != nil {
		return nil, fmt.Errorf("read unsealed events: %w", err)
	}
	defer rows.Close()
	var ends []*extension
	for rows.Next() {
		var e row
		c := extension{}
		if err := e.scan(rows, &c.lastSeq, &c.lastHash); err != nil {
			return nil, fmt.Errorf("read unsealed events: %w", err)
		}
		if len(ends) == 0 || ends[len(ends)-1].tenant != e.tenant {
			if c.tenant = e.tenant; c.lastHash == nil {
				c.lastHash, c.isNew = genesis, true
			}
			ends = append(ends, &c)
		}
		end := ends[len(ends)-1]
		end.rows = append(end.rows, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read unsealed events: %w", err)
	}
	return ends, nil
}

// moveEnd makes the last of the new rows the end of the chain, and reports
// whether the end was still where c has it.
func moveEnd(ctx context.Context, tx *database.Tx, c *extension) (bool, error) {
	last := c.rows[len(c.rows)-1]
	stmt := `
		UPDATE audit_chains SET last_seq = $2, last_hash = $3
		WHERE tenant_id = $1 AND last_seq = $4 AND last_hash = $5`
	args := []any{c.tenant, last.seq, last.hash, c.lastSeq, c.lastHash}
	if c.isNew {
		stmt = `
			INSERT INTO audit_chains (tenant_id, last_seq, last_hash, first_seq, first_prev) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant_id) DO NOTHING`
		args[3] = int64(1)
	}
	n, err := tx.Exec(ctx, stmt, args...)
	if err != nil {
		return false, fmt.Errorf("move the end of the log: %w", err)
	}
	return n == 1, nil
}

// removeUnsealed removes the rows that are sealed now, and fails unless each of
// them was still there. They go by their ids: asked for those of a part of the chain,
// PostgreSQL may look through the whole log.
func removeUnsealed(ctx context.Context, tx *database.Tx, c *extension) error {
	ids := make([]string, len(c.rows))
	for i, r := range c.rows {
		ids[i] = r.id
	}
	isOne, args := tx.AmongMany("id", 2, ids)
	n, err := tx.Exec(ctx, `DELETE FROM audit_unsealed WHERE tenant_id = $1 AND `+isOne, append([]any{c.tenant}, args...)...)
	if err != nil {
		return fmt.Errorf("remove unsealed events: %w", err)
	}
	if n != int64(len(c.rows)) {
		return fmt.Errorf("remove unsealed events of tenant %s: %d of %d were still there", c.tenant, n, len(c.rows))
	}
	return nil
}
