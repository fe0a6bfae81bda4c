package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// openPostgres makes the pool. The address may set pool_max_conns and the other
// options of pgxpool.
func openPostgres(ctx context.Context, url string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The driver's error repeats the address, password included.
		return nil, errors.New("the PostgreSQL address can not be read")
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "cardea"
	}
	// Just-in-time compilation helps long queries; all of ours are short.
	cfg.ConnConfig.RuntimeParams["jit"] = "off"
	// A plan that was made while a table was nearly empty is kept when it has grown, and
	// to read all of it was the cheapest then, see docs/decisions/0017.
	cfg.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	cfg.MaxConns = max(cfg.MaxConns, 16)
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.MinConns = 1 // opened at once, in the background
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		for _, p := range parameters {
			conn.TypeMap().RegisterDefaultPgType(p.value, p.name)
		}
		return nil
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// parameters are the types of what statements are given. The driver has to know them
// where it does not ask the server, which is so with default_query_exec_mode=exec or
// simple_protocol in the address. Its own list, of all types and arrays of them, is left
// out by the build tag nopgxregisterdefaulttypes, see the Makefile.
var parameters = []struct {
	value any
	name  string
}{{int64(0), "int8"}, {0, "int8"}, {"", "text"}, {false, "bool"}, {[]byte(nil), "bytea"}, {[]string(nil), "_text"}}

// postgresTx is one transaction on one connection. BEGIN is not sent before the
// first statement, and then together with it.
type postgresTx struct {
	conn  *pgxpool.Conn
	begun bool
}

func (db *DB) runPostgres(ctx context.Context, tx *Tx, fn func(tx *Tx) error) error {
	conn, err := db.pg.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer conn.Release() // closes the connection if a transaction is still open on it
	tx.pg = &postgresTx{conn: conn}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.pg.rollback(ctx))
	}
	tx.putRows()
	if err := tx.commitPostgres(ctx); err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), tx.pg.rollback(ctx))
	}
	return nil
}

// send runs stmt, unless it is empty, behind what is still due: BEGIN, and the
// statements put off. All of it is one round trip. The answer to stmt is next to be read.
func (tx *Tx) send(ctx context.Context, stmt string, args []any) (pgx.BatchResults, error) {
	batch, due := &pgx.Batch{}, tx.later
	if !tx.pg.begun {
		batch.Queue("BEGIN")
		due = append([]statement{{text: "BEGIN"}}, due...)
	}
	for _, st := range tx.later {
		batch.Queue(st.text, st.args...)
	}
	if stmt != "" {
		batch.Queue(stmt, args...)
	}
	tx.later, tx.pg.begun = nil, true
	results := tx.pg.conn.SendBatch(ctx, batch)
	for _, st := range due {
		tag, err := results.Exec()
		if err = st.outcome(tag.RowsAffected(), err); err != nil {
			_ = results.Close() // whatever it says, the transaction is over
			return nil, err
		}
	}
	return results, nil
}

// direct reports whether nothing has to be sent before the next statement.
func (tx *Tx) direct() bool { return tx.pg.begun && len(tx.later) == 0 }

func (tx *Tx) execPostgres(ctx context.Context, stmt string, args []any) (pgconn.CommandTag, error) {
	if tx.direct() {
		return tx.pg.conn.Exec(ctx, stmt, args...)
	}
	results, err := tx.send(ctx, stmt, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	if err != nil {
		results.Close() // says the same again
		return tag, err
	}
	return tag, results.Close()
}

func (tx *Tx) queryPostgres(ctx context.Context, stmt string, args []any) (*Rows, error) {
	if tx.direct() {
		rows, err := tx.pg.conn.Query(ctx, stmt, args...)
		return &Rows{pg: rows}, err
	}
	results, err := tx.send(ctx, stmt, args)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		results.Close() // says the same again
		return nil, err
	}
	return &Rows{pg: rows, batch: results}, nil
}

// commitPostgres sends what was put off and the COMMIT in one round trip, unless the
// COMMIT hangs on what was put off.
func (tx *Tx) commitPostgres(ctx context.Context) error {
	if !tx.pg.begun && len(tx.later) == 0 {
		return nil
	}
	if tx.behind {
		tx.later = append(tx.later, statement{text: "SET LOCAL synchronous_commit = off"})
	}
	if slices.ContainsFunc(tx.later, func(st statement) bool { return st.check != nil }) {
		results, err := tx.send(ctx, "", nil)
		if err != nil {
			return err
		}
		if err := results.Close(); err != nil {
			return err
		}
	}
	tag, err := tx.execPostgres(ctx, "COMMIT", nil)
	if err != nil {
		return err
	}
	if tag.String() != "COMMIT" { // PostgreSQL answers ROLLBACK to the COMMIT of a failed transaction
		return errors.New("the transaction had failed before")
	}
	tx.pg.begun = false
	return nil
}

func (t *postgresTx) rollback(ctx context.Context) error {
	if !t.begun || t.conn.Conn().IsClosed() {
		return nil
	}
	// Runs even for a caller who has gone; if it fails, releasing the connection
	// closes it, which rolls back too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		return errors.Join(err, t.conn.Conn().Close(ctx))
	}
	return nil
}

// Copy adds rows to a table by the fastest way the engine has: COPY on
// PostgreSQL, a prepared INSERT on SQLite. A broken rule fails the transaction.
func (tx *Tx) Copy(ctx context.Context, table string, columns []string, rows [][]any) error {
	tx.db.watch("COPY " + table)
	if tx.pg == nil {
		if err := tx.flush(ctx); err != nil {
			return err
		}
		return tx.lite.insertAll(ctx, table, columns, rows)
	}
	if !tx.direct() { // COPY can not travel in a batch
		if _, err := tx.execPostgres(ctx, "SELECT 1", nil); err != nil {
			return err
		}
	}
	_, err := tx.pg.conn.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
	return err
}
