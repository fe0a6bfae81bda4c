package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"github.com/cardea-id/cardea/internal/database"
)

// A Report says what Verify found.
type Report struct {
	Tenant   string `json:"tenant"`
	Proved   int64  `json:"proved"`   // events from First on that are as they were written
	First    int64  `json:"first"`    // place of the oldest event that retention has kept
	End      Mark   `json:"end"`      // the end of the chain; empty if there is none
	Unsealed int64  `json:"unsealed"` // events that have no place in the chain yet
	Fault    *Fault `json:"fault"`    // the first thing wrong, nil if nothing is
}

// A Mark is a place in a chain and the hash there. Whoever has noted the end of a
// chain outside of the database can have Verify look for it later.
type Mark struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"` // hexadecimal
}

// A Fault is the first place where a log is not what was written.
type Fault struct {
	Seq  int64     `json:"seq"`
	ID   string    `json:"id"` // of the event there, empty if it is missing
	Kind FaultKind `json:"kind"`
	What string    `json:"what"` // a sentence for a person
}

// A FaultKind is what is wrong with a log.
type FaultKind string

// The kinds of fault.
const (
	Altered   FaultKind = "altered"   // the event is not what its hash was made of
	Missing   FaultKind = "missing"   // events have been removed
	Inserted  FaultKind = "inserted"  // the event was not written by the sealer
	WrongEnd  FaultKind = "wrong_end" // audit_chains does not tell the truth about the chain
	Rewritten FaultKind = "rewritten" // the chain is whole, but is not the one that was noted
)

// Error is the fault in one line.
func (f *Fault) Error() string {
	event := ""
	if f.ID != "" {
		event = " (event " + f.ID + ")"
	}
	return fmt.Sprintf("%s at %d%s: %s", f.Kind, f.Seq, event, f.What)
}

func fault(kind FaultKind, seq int64, id, format string, args ...any) *Fault {
	return &Fault{Seq: seq, ID: id, Kind: kind, What: fmt.Sprintf(format, args...)}
}

// Verify proves the log of one tenant, and that it goes through what was noted of
// it earlier. Events may be written, sealed and pruned meanwhile: it proves the
// chain up to where it ended at the beginning. It reads in pages and keeps none of
// them, so a log of any length can be proved. The error is for a database that
// does not answer; what is wrong with the log is in the report.
func Verify(ctx context.Context, r database.Reader, tenant string, noted ...Mark) (Report, error) {
	for {
		report, err := verify(ctx, r, tenant, noted)
		if err != nil {
			return report, fmt.Errorf("verify the log of tenant %s: %w", tenant, err)
		}
		if report.Fault == nil {
			return report, nil
		}
		// Retention may have removed what we were about to read. A chain has only so
		// many rows to remove, so this ends.
		now, found, err := findChain(ctx, r, tenant)
		if err != nil {
			return report, fmt.Errorf("verify the log of tenant %s: %w", tenant, err)
		}
		if !found || now.firstSeq <= report.First {
			return report, nil
		}
	}
}

func verify(ctx context.Context, r database.Reader, tenant string, noted []Mark) (report Report, err error) {
	report.Tenant = tenant
	chain, found, err := findChain(ctx, r, tenant)
	if err != nil {
		return report, err
	}
	report.First = chain.firstSeq
	if found {
		report.End = Mark{chain.lastSeq, hex.EncodeToString(chain.lastHash)}
	}
	p := &proof{seq: chain.firstSeq, prev: chain.firstPrev, noted: noted}
	steps := []func() (*Fault, error){
		func() (*Fault, error) { return p.readRows(ctx, r, tenant, chain.lastSeq) },
		func() (*Fault, error) { return p.end(chain), nil },
		func() (*Fault, error) { return findBehindEnd(ctx, r, tenant, found) },
		func() (*Fault, error) { return provePruning(ctx, r, chain) },
	}
	for _, step := range steps {
		if report.Fault, err = step(); err != nil || report.Fault != nil {
			break
		}
	}
	if err != nil {
		return report, err
	}
	report.Proved = p.seq - chain.firstSeq
	report.Unsealed, err = countUnsealed(ctx, r, tenant)
	return report, err
}

// A proof walks along a chain.
type proof struct {
	seq   int64  // of the row that must come next
	prev  []byte // hash of the row before it
	noted []Mark
}

// next proves that e is the row that must come next.
func (p *proof) next(e *row) *Fault {
	switch {
	case e.seq < p.seq:
		return fault(Inserted, e.seq, e.id, "its place belongs to another event, or is before the first one kept")
	case e.seq > p.seq:
		return missing(p.seq, e.seq-1)
	case !bytes.Equal(e.hash, e.follow(p.prev)):
		return fault(Altered, e.seq, e.id, "its hash does not follow from its content and the hash before it")
	}
	p.seq, p.prev = e.seq+1, e.hash
	return p.compare()
}

// compare proves that what was noted of the place just reached is true of it.
func (p *proof) compare() *Fault {
	for _, m := range p.noted {
		if m.Seq == p.seq-1 && m.Hash != hex.EncodeToString(p.prev) {
			return fault(Rewritten, m.Seq, "", "another hash was noted for this place")
		}
	}
	return nil
}

// end proves that the chain ends where audit_chains says it does.
func (p *proof) end(chain chain) *Fault {
	switch {
	case p.seq <= chain.lastSeq:
		return missing(p.seq, chain.lastSeq)
	case p.seq != chain.lastSeq+1 || !bytes.Equal(p.prev, chain.lastHash):
		return fault(WrongEnd, chain.lastSeq, "", "audit_chains names an end that the events do not lead to")
	}
	for _, m := range p.noted {
		if m.Seq > chain.lastSeq {
			return missing(p.seq, m.Seq)
		}
	}
	return nil
}

func missing(first, last int64) *Fault {
	if first == last {
		return fault(Missing, first, "", "the event of this place is gone")
	}
	return fault(Missing, first, "", "the events %d to %d are gone", first, last)
}

const verifyPage = 1000

// readRows proves the rows up to last, starting with the lowest there is.
func (p *proof) readRows(ctx context.Context, r database.Reader, tenant string, last int64) (*Fault, error) {
	if fault := p.compare(); fault != nil { // a mark just before the first row kept
		return fault, nil
	}
	at := row{seq: math.MinInt64}
	for {
		n, fault, err := p.readPage(ctx, r, tenant, &at, last)
		if fault != nil && fault.Kind == Altered {
			fault, err = orInserted(ctx, r, tenant, fault)
		}
		if err != nil || fault != nil || n < verifyPage {
			return fault, err
		}
	}
}

// readPage proves the rows of a page behind at, and moves at to its end.
func (p *proof) readPage(ctx context.Context, r database.Reader, tenant string, at *row, last int64) (n int, f *Fault, err error) {
	rows, err := r.Query(ctx, `
		SELECT `+columns+`, seq, hash FROM audit_events
		WHERE tenant_id = $1 AND (seq, id) > ($2, $3) AND seq <= $4 ORDER BY seq, id LIMIT $5`,
		tenant, at.seq, at.id, last, verifyPage)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var e row
		if err := e.scan(rows, &e.seq, &e.hash); err != nil {
			// SQLite keeps a text in a number's column, if somebody puts it there.
			return n, fault(Altered, p.seq, e.id, "the event can not be read: %v", err), nil
		}
		if f := p.next(&e); f != nil {
			return n, f, nil
		}
		at.seq, at.id = e.seq, e.id
	}
	return n, nil, errors.Join(rows.Err(), rows.Close())
}

// orInserted tells a row that was put beside the true one from an altered one.
func orInserted(ctx context.Context, r database.Reader, tenant string, altered *Fault) (*Fault, error) {
	var n int64
	err := r.QueryRow(ctx, "SELECT COUNT(*) FROM audit_events WHERE tenant_id = $1 AND seq = $2", tenant, altered.Seq).Scan(&n)
	if err == nil && n > 1 {
		return fault(Inserted, altered.Seq, altered.ID, "%d events stand at this place, and this one does not follow from the event before", n), nil
	}
	return altered, err
}

// findBehindEnd looks for rows behind the end of the chain. One statement reads
// both, as the sealer may move the end at any moment; a chain that began since we
// looked for its end has none.
func findBehindEnd(ctx context.Context, r database.Reader, tenant string, hasEnd bool) (*Fault, error) {
	var e row
	err := r.QueryRow(ctx, `
		SELECT seq, id FROM audit_events
		WHERE tenant_id = $1 AND seq > COALESCE((SELECT last_seq FROM audit_chains WHERE tenant_id = $1), 0)
		ORDER BY seq, id LIMIT 1`, tenant).Scan(&e.seq, &e.id)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !hasEnd {
		return fault(WrongEnd, e.seq, e.id, "audit_chains says nothing of this chain"), nil
	}
	return fault(Inserted, e.seq, e.id, "it stands behind the end of the chain"), nil
}

// provePruning looks for the event that tells of the pruning by which the chain
// begins where it does, so that nobody removes the first events unseen by moving
// the beginning.
func provePruning(ctx context.Context, r database.Reader, c chain) (*Fault, error) {
	if c.firstSeq <= 1 {
		return nil, nil
	}
	var one int64
	err := r.QueryRow(ctx, `
		SELECT CAST(1 AS BIGINT) FROM audit_unsealed WHERE tenant_id = $1 AND target_id = $2 AND action = $3
		UNION ALL
		SELECT CAST(1 AS BIGINT) FROM audit_events WHERE tenant_id = $1 AND target_id = $2 AND action = $3
		LIMIT 1`, c.tenant, cutID(c.firstSeq), pruned).Scan(&one)
	if errors.Is(err, database.ErrNoRows) {
		return fault(Missing, 1, "", "the events 1 to %d are gone, and no event tells that they were pruned", c.firstSeq-1), nil
	}
	return nil, err
}

func countUnsealed(ctx context.Context, r database.Reader, tenant string) (n int64, err error) {
	err = r.QueryRow(ctx, "SELECT COUNT(*) FROM audit_unsealed WHERE tenant_id = $1", tenant).Scan(&n)
	return n, err
}

// A chain is what audit_chains says of one.
type chain struct {
	tenant    string
	lastSeq   int64
	lastHash  []byte
	firstSeq  int64
	firstPrev []byte
}

// findChain returns what is kept of a tenant's chain, or an empty one.
func findChain(ctx context.Context, r database.Reader, tenant string) (c chain, found bool, err error) {
	c = chain{tenant: tenant, lastHash: genesis, firstSeq: 1, firstPrev: genesis}
	err = r.QueryRow(ctx, "SELECT last_seq, last_hash, first_seq, first_prev FROM audit_chains WHERE tenant_id = $1", tenant).
		Scan(&c.lastSeq, &c.lastHash, &c.firstSeq, &c.firstPrev)
	if errors.Is(err, database.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

// Tenants lists the ids of all tenants that have any trace of a log, in order.
func Tenants(ctx context.Context, r database.Reader) ([]string, error) {
	// The recursion leaps from one tenant to the next, rather than read the log.
	rows, err := r.Query(ctx, `
		WITH RECURSIVE sealed (tenant_id) AS (
			SELECT MIN(tenant_id) FROM audit_events
			UNION ALL
			SELECT (SELECT MIN(e.tenant_id) FROM audit_events e WHERE e.tenant_id > s.tenant_id)
			FROM sealed s WHERE s.tenant_id IS NOT NULL
		)
		SELECT tenant_id FROM sealed WHERE tenant_id IS NOT NULL
		UNION SELECT tenant_id FROM audit_chains
		UNION SELECT tenant_id FROM audit_unsealed
		ORDER BY 1`)
	return database.Collect(rows, err, "list logs", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
}
