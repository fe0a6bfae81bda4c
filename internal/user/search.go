package user

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// Search by part of a word needs an index of three-character parts, which costs
// more to write than the user itself. So a change only queues the user's id, in
// its own transaction, and the Indexer writes the entries behind it. A search
// asks the index and looks through the queued users one by one; what it finds is
// judged by the users' own columns, so it is exact at any moment, only slower
// while the queue is long. The two engines have different indexes: pg_trgm on
// PostgreSQL, FTS5 with the trigram tokenizer on SQLite. This file is the only
// place that knows.

// wordStart stands before each field in an entry, so that its first characters
// can be found as a part like any other.
const wordStart = "  "

// entry is the SQL for what the index holds of a user. The login of most is their
// address, which needs no second place.
const entry = `'  ' || u.first_key || '  ' || u.last_key || '  ' || COALESCE(u.email, '') ||
	CASE WHEN u.login_key = u.email THEN '' ELSE '  ' || u.login_key END || '  ' || COALESCE(u.phone, '') || COALESCE(u.further, '')`

// window is how many users a search walks through in list order before it asks
// the index. Where that fills the page, matches are so many that sorting what the
// index finds would take longer.
const window = 1000

// queueSearch notes that the entries of the users from one id to another are to
// be written anew.
func queueSearch(tx *database.Tx, tenant, from, to string) {
	tx.Later("INSERT INTO user_search_queue (tenant_id, from_id, to_id, id) VALUES ($1, $2, $3, $4)", tenant, from, to, tx.NewID())
}

// isSparse reports whether the index finds so few that looking at each is quicker
// than the walk. SQLite finds one after the other and can stop; PostgreSQL finds
// all before it shows the first, so there the walk is the cheaper question.
func (sel *selection) isSparse(ctx context.Context, engine string, db database.Reader) (bool, error) {
	if engine != database.SQLite {
		return false, nil
	}
	const few = 300
	probe := &selection{tenant: sel.tenant, args: []any{sel.tenant}, needles: sel.needles, unmarked: sel.unmarked}
	var n int64
	err := db.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM (%s LIMIT %d) AS found", probe.indexed(engine), few), probe.args...).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("probe search index: %w", err)
	}
	return n < few, nil
}

// hits is the FROM of the users that the index and the queue name, of those with some
// whole names, or of all users where no part of three characters is asked for. The join
// order is written down, because SQLite would rather walk all users in list order.
func (sel *selection) hits(engine string) string {
	if sel.isNamed != "" {
		return "users u WHERE " + sel.isNamed + " AND "
	}
	if len(sel.needles) == 0 {
		return "users u WHERE "
	}
	return "(" + sel.indexed(engine) + " UNION " + queuedUsers(engine, "u.id", strings.Join(sel.exact, " AND ")) + ") AS hit CROSS JOIN users u WHERE u.id = hit.id AND "
}

// queuedUsers returns the query for a column of those queued users of tenant $1 who meet
// a condition. It goes from the queue to the users, however many rows PostgreSQL believes
// to be in the queue: the other way it would look at every user.
func queuedUsers(engine, column, cond string) string {
	of := "u.tenant_id = $1 AND u.id >= q.from_id AND u.id <= q.to_id AND " + cond
	if engine == database.PostgreSQL {
		return "SELECT u.* FROM user_search_queue q CROSS JOIN LATERAL (SELECT " + column + " FROM users u WHERE " + of + " OFFSET 0) AS u WHERE q.tenant_id = $1"
	}
	return "SELECT " + column + " FROM user_search_queue q CROSS JOIN users u WHERE q.tenant_id = $1 AND " + of
}

// indexed returns the query for the ids of users in whose entry all needles are,
// and takes its arguments into the selection.
func (sel *selection) indexed(engine string) string {
	if engine == database.PostgreSQL {
		conds := make([]string, len(sel.needles))
		for i, needle := range sel.needles {
			conds[i] = sel.number("s.words LIKE ?", "%"+escapeLike(needle)+"%")
		}
		return "SELECT s.user_id AS id FROM user_search s WHERE s.tenant_id = $1 AND " + strings.Join(conds, " AND ")
	}
	var match []string
	if !sel.unmarked {
		match = append(match, `"`+tenantMark(sel.tenant)+`"`)
	}
	for _, needle := range sel.needles {
		runes := []rune(needle)
		for i := range len(runes) - 2 {
			match = append(match, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
		}
	}
	return sel.number(`SELECT s.user_id AS id FROM user_search_words JOIN user_search s ON s.entry = user_search_words.rowid
		WHERE user_search_words MATCH ? AND s.tenant_id = $1`, strings.Join(match, " AND "))
}

// ownsMost reports whether most entries of the index are the tenant's, on SQLite.
// The mark of such a tenant is in so many entries that reading where costs more
// than looking at the few foreign entries that match.
func (s *Service) ownsMost(ctx context.Context, db database.Reader, tenant string) (bool, error) {
	if s.DB.Engine() != database.SQLite {
		return false, nil
	}
	now := s.DB.Now()
	if kept, ok := s.owners.Load(tenant); ok && now.Before(kept.(owner).until) {
		return kept.(owner).ofMost, nil
	}
	var entries int64
	if err := db.QueryRow(ctx, "SELECT COALESCE(max(entry), 0) FROM user_search").Scan(&entries); err != nil {
		return false, fmt.Errorf("weigh search index: %w", err)
	}
	users, err := s.countAll(ctx, tenant)
	if err != nil {
		return false, err
	}
	most := 2*users > entries
	if s.weighed.Add(1)%maxTotals == 0 { // bounds what is kept
		s.owners.Clear()
	}
	s.owners.Store(tenant, owner{most, now.Add(time.Minute)})
	return most, nil
}

type owner struct {
	ofMost bool
	until  time.Time
}

// tenantMark is three characters that stand for a tenant in SQLite's index. Two
// tenants with the same mark cost time, not correctness.
func tenantMark(tenant string) string {
	h := sha256.Sum256([]byte(tenant))
	mark := make([]rune, 3)
	for i := range mark { // from the CJK block, where every code point is a letter
		mark[i] = 0x4e00 + (rune(h[2*i])<<8|rune(h[2*i+1]))%0x5000
	}
	return string(mark)
}

// An Indexer writes search entries behind the changes. Several may run at once.
type Indexer struct {
	DB  *database.DB
	Log *slog.Logger
}

const (
	indexPause = 300 * time.Millisecond // between looks at an empty queue
	indexBatch = 500                    // entries a transaction writes, so that other writers wait briefly
)

// Run works until ctx is done.
func (x *Indexer) Run(ctx context.Context) {
	for ctx.Err() == nil {
		worked, err := x.Step(ctx)
		if err != nil && ctx.Err() == nil {
			x.Log.ErrorContext(ctx, "search index", "err", err)
		}
		pause := indexPause
		if worked && err == nil {
			pause = time.Millisecond // lets other writers in between
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Drain works until the queue is empty.
func (x *Indexer) Drain(ctx context.Context) error {
	for {
		if worked, err := x.Step(ctx); err != nil || !worked {
			return err
		}
	}
}

type queued struct{ tenant, from, to, id string }

// Step writes one batch and reports whether there was anything to do.
func (x *Indexer) Step(ctx context.Context) (worked bool, err error) {
	rows, err := x.DB.Query(ctx, "SELECT tenant_id, from_id, to_id, id FROM user_search_queue ORDER BY tenant_id, from_id, id LIMIT $1", indexBatch)
	batch, err := database.Collect(rows, err, "read search queue", func(row database.Scanner) (q queued, err error) {
		err = row.Scan(&q.tenant, &q.from, &q.to, &q.id)
		return q, err
	})
	if err != nil || len(batch) == 0 {
		return false, err
	}
	// Single users of one tenant go together, a range by itself.
	n := 0
	for n < len(batch) && batch[n].tenant == batch[0].tenant && batch[n].from == batch[n].to {
		n++
	}
	return true, x.DB.WriteBehind(ctx, func(tx *database.Tx) error {
		if n == 0 {
			return indexRange(ctx, tx, batch[0])
		}
		return indexSingles(ctx, tx, batch[:n])
	})
}

func indexSingles(ctx context.Context, tx *database.Tx, batch []queued) error {
	first, last := batch[0], batch[len(batch)-1]
	// Off the queue first: a change that comes in meanwhile queues anew, and is
	// not lost. What another indexer took off is its own to write.
	rows, err := tx.Query(ctx, `
		DELETE FROM user_search_queue
		WHERE tenant_id = $1 AND (from_id, id) >= ($2, $3) AND (from_id, id) <= ($4, $5) AND from_id = to_id
		RETURNING from_id`, first.tenant, first.from, first.id, last.from, last.id)
	taken, err := database.Collect(rows, err, "take from search queue", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil || len(taken) == 0 {
		return err
	}
	cond, arg := tx.Among("$2", taken)
	return writeEntries(ctx, tx, batch[0].tenant, cond, arg)
}

// indexRange writes the first entries of a range and queues the rest of it.
func indexRange(ctx context.Context, tx *database.Tx, q queued) error {
	n, err := tx.Exec(ctx, "DELETE FROM user_search_queue WHERE tenant_id = $1 AND from_id = $2 AND id = $3", q.tenant, q.from, q.id)
	if err != nil || n == 0 { // another process has it
		return err
	}
	var last string
	err = tx.QueryRow(ctx, `
		SELECT id FROM users WHERE tenant_id = $1 AND id >= $2 AND id <= $3 ORDER BY id LIMIT 1 OFFSET $4`,
		q.tenant, q.from, q.to, indexBatch).Scan(&last)
	switch {
	case err == nil: // last is the first one of the rest
		queueSearch(tx, q.tenant, last, q.to)
		return writeEntries(ctx, tx, q.tenant, ">= $2 AND u.id < $3", q.from, last)
	case errors.Is(err, database.ErrNoRows):
		return writeEntries(ctx, tx, q.tenant, ">= $2 AND u.id <= $3", q.from, q.to)
	default:
		return fmt.Errorf("index range: %w", err)
	}
}

// writeEntries replaces the entries of the users whose id matches cond.
func writeEntries(ctx context.Context, tx *database.Tx, tenant, cond string, args ...any) error {
	args = append([]any{tenant}, args...)
	ofEntries := strings.ReplaceAll(cond, "u.id", "user_id")
	statements := []string{
		"DELETE FROM user_search WHERE tenant_id = $1 AND user_id " + ofEntries,
		"INSERT INTO user_search (tenant_id, user_id, words) SELECT u.tenant_id, u.id, " + entry + " FROM users u WHERE u.tenant_id = $1 AND u.id " + cond,
	}
	if tx.Engine() == database.SQLite {
		statements = []string{
			statements[0],
			"INSERT INTO user_search (tenant_id, user_id) SELECT u.tenant_id, u.id FROM users u WHERE u.tenant_id = $1 AND u.id " + cond,
			"INSERT INTO user_search_words (rowid, words) SELECT s.entry, '" + tenantMark(tenant) + "' || " + entry +
				" FROM users u JOIN user_search s ON s.tenant_id = u.tenant_id AND s.user_id = u.id WHERE u.tenant_id = $1 AND u.id " + cond,
		}
	}
	for _, stmt := range statements {
		if _, err := tx.Exec(ctx, stmt, args...); err != nil {
			return fmt.Errorf("write search entries: %w", err)
		}
	}
	return noteNames(ctx, tx, cond, args...)
}
