// Package database opens SQLite or PostgreSQL and runs statements on it.
//
//	Open     one address, "sqlite:PATH" or "postgres://…"
//	Migrate  bring the schema up to date; safe when two processes start at once
//	Write    run a function in a transaction
//	Query    read outside one
//
// Statements are written once, in the subset of SQL that both engines share,
// with $1-style parameters; docs/decisions/0002-one-sql-text.md names the subset.
// On SQLite one connection writes and several read, so "database is locked" can
// not come up in the middle of a transaction. On PostgreSQL a transaction's
// BEGIN travels with its first statement and its COMMIT with the statements put
// off by Tx.Later, so that a typical change costs two round trips.
//
// An attacker would try to reach another tenant's rows or to make two requests
// win the same single-use row: every statement names its tenant, every state
// change is one conditional statement, and nobody builds SQL out of input.
package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The engines.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	// Now is the clock of every transaction. Tests move it.
	Now func() time.Time
	// Watch is told of each statement, but for those that begin and end transactions,
	// before it is sent. It is nil outside of tests, and safe for concurrent use within.
	Watch func(stmt string)

	pg   *pgxpool.Pool
	lite *sqlite
}

// Open opens the database at url, "sqlite:PATH" or "postgres://…", without
// touching its schema. A missing SQLite file is created, its folder is not. A connection
// to PostgreSQL is on its way then; whether there is one, Ping and the first statement say.
func Open(ctx context.Context, url string) (*DB, error) {
	db := &DB{Now: time.Now}
	var err error
	switch {
	case strings.HasPrefix(url, "sqlite:"):
		db.lite, err = openSQLite(ctx, strings.TrimPrefix(url, "sqlite:"))
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		db.pg, err = openPostgres(ctx, url)
	default:
		err = errors.New("a database address starts with sqlite: or postgres://")
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

// Engine says which engine this is: SQLite or PostgreSQL.
func (db *DB) Engine() string {
	if db.pg != nil {
		return PostgreSQL
	}
	return SQLite
}

// Close closes the database after the statements under way.
func (db *DB) Close() error {
	if db.pg != nil {
		db.pg.Close()
		return nil
	}
	return db.lite.close()
}

// Ping reports whether the database answers and takes writes.
func (db *DB) Ping(ctx context.Context) error {
	var one int64
	if err := db.QueryRow(ctx, "SELECT CAST(1 AS BIGINT)").Scan(&one); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
}

// A Reader runs queries: a DB outside of a transaction, a Tx inside of its own.
type Reader interface {
	// Query runs a statement that returns rows. The caller closes them.
	Query(ctx context.Context, stmt string, args ...any) (*Rows, error)
	// QueryRow runs a statement that returns one row, or ErrNoRows from Scan.
	QueryRow(ctx context.Context, stmt string, args ...any) *Row
	// Among returns a condition that a text column is one of values, see DB.Among.
	Among(placeholder string, values []string) (cond string, arg any)
}

// Query reads outside a transaction.
func (db *DB) Query(ctx context.Context, stmt string, args ...any) (*Rows, error) {
	db.watch(stmt)
	if db.pg != nil {
		rows, err := db.pg.Query(ctx, stmt, args...)
		return &Rows{pg: rows}, err
	}
	rows, err := db.lite.query(ctx, stmt, args)
	return &Rows{lite: rows}, err
}

// QueryRow reads one row outside a transaction.
func (db *DB) QueryRow(ctx context.Context, stmt string, args ...any) *Row {
	db.watch(stmt)
	if db.pg != nil {
		return &Row{pg: db.pg.QueryRow(ctx, stmt, args...)}
	}
	return db.lite.queryRow(ctx, stmt, args)
}

func (db *DB) watch(stmt string) {
	if db.Watch != nil {
		db.Watch(stmt)
	}
}

var start = time.Now()

// Monotonic is the time since the process began, for measuring how long something
// takes; unlike Now it can not be moved.
func Monotonic() time.Duration { return time.Since(start) }

// MaxWrite is how long a transaction may last. One that took longer is rolled
// back, so that whoever looks at ids older than this sees all there will be.
const MaxWrite = 45 * time.Second

var errTooLong = fmt.Errorf("the transaction took longer than %v", MaxWrite)

// Write runs fn in a transaction: committed if fn returns nil, else rolled back.
// Where PostgreSQL gives up a transaction for the sake of another (serialization
// failure, deadlock) fn runs again, so it must have no effect outside of tx but
// through Tx.OnCommit.
func (db *DB) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return db.write(ctx, MaxWrite, false, fn)
}

// WriteBehind is Write for work that can be done again: PostgreSQL does not make it wait
// for the disk, and may lose the latest of it when its machine fails. What was lost then
// are whole transactions, and none that came before one that Write returned for.
func (db *DB) WriteBehind(ctx context.Context, fn func(tx *Tx) error) error {
	return db.write(ctx, MaxWrite, true, fn)
}

func (db *DB) write(ctx context.Context, limit time.Duration, behind bool, fn func(tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		tx := &Tx{Now: db.Now().UTC().Truncate(time.Millisecond), db: db, behind: behind}
		began := time.Now()
		err := db.run(ctx, tx, func(tx *Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			if time.Since(began) > limit {
				return errTooLong
			}
			return nil
		})
		if err == nil {
			for _, f := range tx.after {
				f()
			}
			return nil
		}
		if attempt == 5 || !isRetryable(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (db *DB) run(ctx context.Context, tx *Tx, fn func(tx *Tx) error) error {
	if db.pg != nil {
		return db.runPostgres(ctx, tx, fn)
	}
	return db.lite.run(ctx, tx, fn)
}
