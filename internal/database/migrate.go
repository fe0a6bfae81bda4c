package database

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Migrations holds the steps of the schema, "NNNN_what.sql", one text for both
// engines. A comment of the form /*postgres … */ or /*sqlite … */ is part of the
// text for that engine and a comment for the other; a step that has to differ as
// a whole is a pair, "NNNN_what.postgres.sql" and "NNNN_what.sqlite.sql". Steps
// only ever add, and are never edited once released: the program must run before
// and after each.
//
//go:embed migrations/*.sql
var Migrations embed.FS

type migration struct {
	version int64
	name    string
	file    string
}

// migrationsFor lists the steps for one engine in order, which is that of their names.
func migrationsFor(engine string) ([]migration, error) {
	files, err := fs.Glob(Migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var steps []migration
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql")
		if base, only, paired := strings.Cut(name, "."); paired {
			if only != engine {
				continue
			}
			name = base
		}
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s: the name does not start with a number", file)
		}
		steps = append(steps, migration{version, name, file})
	}
	return steps, nil
}

var forEngine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?s)/\*(postgres|sqlite) (.*?)\*/`) })

// text reads the step for one engine.
func (m migration) text(engine string) (string, error) {
	text, err := Migrations.ReadFile(m.file)
	return forEngine().ReplaceAllStringFunc(string(text), func(comment string) string {
		if m := forEngine().FindStringSubmatch(comment); m[1] == engine {
			return m[2]
		}
		return ""
	}), err
}

// Pending lists the names of the steps that Migrate would run.
func (db *DB) Pending(ctx context.Context) ([]string, error) {
	steps, err := migrationsFor(db.Engine())
	if err != nil {
		return nil, err
	}
	done, err := applied(db.Query(ctx, listMigrations))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range steps {
		if !done[m.version] {
			names = append(names, m.name)
		}
	}
	return names, nil
}

const listMigrations = "SELECT version FROM schema_migrations"

// applied reads the answer to listMigrations; empty if there is no schema.
func applied(rows *Rows, err error) (map[int64]bool, error) {
	done := map[int64]bool{}
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var v int64
			if err := rows.Scan(&v); err != nil {
				return nil, fmt.Errorf("list migrations: %w", err)
			}
			done[v] = true
		}
		err = rows.Err()
	}
	if err != nil && !isNoTable(err) {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	return done, nil
}

func isNoTable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "42P01"
	}
	return strings.Contains(err.Error(), "no such table") // SQLite has no code of its own for this
}

// Migrate brings the schema up to date, each step in a transaction of its own.
// Of two processes that start at once one does the work and the other waits.
func (db *DB) Migrate(ctx context.Context) error {
	pending, err := db.Pending(ctx)
	if err != nil || len(pending) == 0 {
		return err
	}
	steps, err := migrationsFor(db.Engine())
	if err != nil {
		return err
	}
	if db.pg != nil {
		return db.migratePostgres(ctx, steps)
	}
	return db.migrateSQLite(ctx, steps)
}

const createMigrations = `
	CREATE TABLE IF NOT EXISTS schema_migrations (
		version    BIGINT PRIMARY KEY,
		name       TEXT NOT NULL,
		applied_at BIGINT NOT NULL
	)`

// migrationLock is the advisory lock of Migrate: "cardea" as a number.
const migrationLock = 0x636172646561

func (db *DB) migratePostgres(ctx context.Context, steps []migration) error {
	return db.pg.AcquireFunc(ctx, func(conn *pgxpool.Conn) (err error) {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		defer func() {
			_, unlock := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrationLock))
			err = errors.Join(err, unlock)
		}()
		if _, err := conn.Exec(ctx, createMigrations); err != nil {
			return fmt.Errorf("create schema_migrations: %w", err)
		}
		// On this connection: asking the pool for a second one while holding one
		// is how pools lock up.
		rows, err := conn.Query(ctx, listMigrations)
		done, err := applied(&Rows{pg: rows}, err)
		if err != nil {
			return err
		}
		for _, m := range steps {
			if done[m.version] {
				continue
			}
			text, err := m.text(PostgreSQL)
			if err != nil {
				return err
			}
			text = fmt.Sprintf("BEGIN;\n%s;\nINSERT INTO schema_migrations VALUES (%d, '%s', %d);\nCOMMIT", text, m.version, m.name, db.Now().UnixMilli())
			if _, err := conn.Conn().PgConn().Exec(ctx, text).ReadAll(); err != nil {
				conn.Exec(ctx, "ROLLBACK")
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
		}
		return nil
	})
}

// migrateSQLite runs each step under the lock of BEGIN IMMEDIATE, and looks
// under that lock whether another process has run it meanwhile.
func (db *DB) migrateSQLite(ctx context.Context, steps []migration) error {
	if err := db.Write(ctx, func(tx *Tx) error { return tx.lite.script(ctx, createMigrations) }); err != nil {
		return fmt.Errorf("create schema_migrations: %w", err)
	}
	for _, m := range steps {
		text, err := m.text(SQLite)
		if err != nil {
			return err
		}
		err = db.write(ctx, math.MaxInt64, false, func(tx *Tx) error {
			n, err := tx.Exec(ctx, `
				INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)
				ON CONFLICT (version) DO NOTHING`, m.version, m.name, tx.Millis())
			if err != nil || n == 0 {
				return err
			}
			return tx.lite.script(ctx, text)
		})
		if err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
	}
	if err := db.Write(ctx, func(tx *Tx) error { return settleStatistics(ctx, tx) }); err != nil {
		return err
	}
	db.lite.forgetReaders()
	return nil
}
