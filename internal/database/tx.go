package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"

	"github.com/cardea-id/cardea/internal/secret"
)

// ErrNoRows is returned by Row.Scan when the statement gave no row.
var ErrNoRows = sql.ErrNoRows

// A Tx is a write transaction. It belongs to one goroutine.
type Tx struct {
	// Now is the one moment of everything in the transaction, in milliseconds.
	Now time.Time

	db    *DB
	pg    *postgresTx
	lite  *sqlite
	later []statement
	rows  []newRows
	after []func()

	behind bool // see DB.WriteBehind
}

// A statement is one that was put off.
type statement struct {
	text  string
	args  []any
	check func(touched int64, err error) error // nil if only errors matter
}

func (st statement) outcome(touched int64, err error) error {
	if st.check != nil {
		return st.check(touched, err)
	}
	return err
}

// newRows are rows for one table.
type newRows struct {
	insert string
	rows   [][]any
}

// NewID returns a new id that sorts with Now.
func (tx *Tx) NewID() string { return secret.ID(tx.Now) }

// Millis is Now as the database keeps it.
func (tx *Tx) Millis() int64 { return tx.Now.UnixMilli() }

// Engine says which engine this is.
func (tx *Tx) Engine() string { return tx.db.Engine() }

// OnCommit runs f once the transaction has been committed.
func (tx *Tx) OnCommit(f func()) { tx.after = append(tx.after, f) }

// Exec runs a statement and returns how many rows it touched.
func (tx *Tx) Exec(ctx context.Context, stmt string, args ...any) (int64, error) {
	tx.db.watch(stmt)
	if tx.pg != nil {
		tag, err := tx.execPostgres(ctx, stmt, args)
		return tag.RowsAffected(), err
	}
	if err := tx.flush(ctx); err != nil {
		return 0, err
	}
	return tx.lite.exec(ctx, stmt, args)
}

// Later puts a statement off until the next statement or the COMMIT, with which
// it travels in one round trip on PostgreSQL. Statements keep their order. Use it
// for rows on whose writing no decision hangs; an error comes up with the
// statement it travels with.
func (tx *Tx) Later(stmt string, args ...any) {
	tx.db.watch(stmt)
	tx.later = append(tx.later, statement{text: stmt, args: args})
}

// Must is Later for a statement on which the transaction hangs, but nothing before its
// end: check is told how many rows it touched, or why it failed, and the error that it
// returns ends the transaction.
func (tx *Tx) Must(check func(touched int64, err error) error, stmt string, args ...any) {
	tx.db.watch(stmt)
	tx.later = append(tx.later, statement{stmt, args, check})
}

// LaterRow adds a row to a table when the transaction commits, not to be read before.
// The statement ends with "VALUES"; the rows of one table share few of them.
func (tx *Tx) LaterRow(insert string, row ...any) {
	for i := range tx.rows {
		if tx.rows[i].insert == insert {
			tx.rows[i].rows = append(tx.rows[i].rows, row)
			return
		}
	}
	tx.rows = append(tx.rows, newRows{insert, [][]any{row}})
}

// together is how many rows one statement adds at most. Each number of them is a
// statement of its own to the databases, which keep a bounded number prepared.
const together = 8

// putRows puts the rows of LaterRow among what is due.
func (tx *Tx) putRows() {
	for _, table := range tx.rows {
		for rows := range slices.Chunk(table.rows, together) {
			tx.Later(table.insert+tuples(len(rows), len(rows[0])), slices.Concat(rows...)...)
		}
	}
	tx.rows = nil
}

// tuples writes the parameters of n rows of the given width: " ($1, $2), ($3, $4)".
func tuples(n, width int) string {
	var b strings.Builder
	for i := range n * width {
		switch {
		case i == 0:
			b.WriteString(" (")
		case i%width == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	b.WriteByte(')')
	return b.String()
}

// flush runs on SQLite what was put off.
func (tx *Tx) flush(ctx context.Context) error {
	due := tx.later
	tx.later = nil
	for _, st := range due {
		if err := st.outcome(tx.lite.exec(ctx, st.text, st.args)); err != nil {
			return err
		}
	}
	return nil
}

// Query runs a statement that returns rows inside the transaction. Close the
// rows before the next statement.
func (tx *Tx) Query(ctx context.Context, stmt string, args ...any) (*Rows, error) {
	tx.db.watch(stmt)
	if tx.pg != nil {
		return tx.queryPostgres(ctx, stmt, args)
	}
	if err := tx.flush(ctx); err != nil {
		return nil, err
	}
	rows, err := tx.lite.txQuery(ctx, stmt, args)
	return &Rows{lite: rows}, err
}

// QueryRow runs a statement that returns one row inside the transaction.
func (tx *Tx) QueryRow(ctx context.Context, stmt string, args ...any) *Row {
	rows, err := tx.Query(ctx, stmt, args...)
	return &Row{rows: rows, err: err}
}

// Rows is the answer of a query, read row by row.
type Rows struct {
	pg    pgx.Rows
	batch pgx.BatchResults // closed with the rows, when they came with a BEGIN
	lite  *sql.Rows
}

// Next moves to the next row; false at the end or on an error, see Err.
func (r *Rows) Next() bool {
	if r.pg != nil {
		return r.pg.Next()
	}
	return r.lite.Next()
}

// Scan reads the current row into dest.
func (r *Rows) Scan(dest ...any) error {
	if r.pg != nil {
		return r.pg.Scan(dest...)
	}
	return r.lite.Scan(dest...)
}

// Err returns the error that ended Next early, if any.
func (r *Rows) Err() error {
	if r.pg != nil {
		return r.pg.Err()
	}
	return r.lite.Err()
}

// Close ends the query. It may be called more than once.
func (r *Rows) Close() error {
	if r.pg != nil {
		r.pg.Close()
		if r.batch != nil {
			return r.batch.Close()
		}
		return nil
	}
	return r.lite.Close()
}

// Row is the answer of QueryRow.
type Row struct {
	pg   pgx.Row
	lite *sql.Row
	rows *Rows
	err  error
}

// Scan reads the row into dest; ErrNoRows if there is none.
func (r *Row) Scan(dest ...any) error {
	switch {
	case r.err != nil:
		return r.err
	case r.pg != nil:
		return r.pg.Scan(dest...)
	case r.lite != nil:
		return r.lite.Scan(dest...)
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		return errors.Join(r.rows.Err(), noRowsUnless(r.rows.Err()))
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close()
}

func noRowsUnless(err error) error {
	if err == nil {
		return ErrNoRows
	}
	return nil
}

// IsDuplicate reports whether err says that a UNIQUE rule was broken.
func IsDuplicate(err error) bool {
	const primaryKey, unique = 1555, 2067 // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505"
	}
	if e, ok := errors.AsType[*sqlitedriver.Error](err); ok {
		return e.Code() == unique || e.Code() == primaryKey
	}
	return false
}

// IsMissingParent reports whether err says that a referenced row does not exist.
func IsMissingParent(err error) bool {
	const foreignKey = 787 // SQLITE_CONSTRAINT_FOREIGNKEY
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503"
	}
	if e, ok := errors.AsType[*sqlitedriver.Error](err); ok {
		return e.Code() == foreignKey
	}
	return false
}

// isRetryable reports whether PostgreSQL gave the transaction up although the
// same transaction may succeed when run again.
func isRetryable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// A Scanner is one row, of Row or Rows.
type Scanner interface{ Scan(dest ...any) error }

// Collect reads all rows of a query with scan and closes them. It takes the
// query's error too, and wraps every error with doing.
func Collect[T any](rows *Rows, err error, doing string, scan func(Scanner) (T, error)) ([]T, error) {
	var out []T
	err = each(rows, err, doing, func() error {
		v, err := scan(rows)
		if err == nil {
			out = append(out, v)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each calls read at each row and closes the rows. It is apart from Collect because what
// is generic the compiler writes out once for each type.
func each(rows *Rows, err error, doing string, read func() error) error {
	if err == nil {
		defer rows.Close()
	}
	for err == nil && rows.Next() {
		err = read()
	}
	if err == nil {
		err = errors.Join(rows.Err(), rows.Close())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
