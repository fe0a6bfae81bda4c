package database

import (
	"context"
	"fmt"
	"time"
)

// An Inspection says what an operator wants to know of a database. It reads no
// tables but the list of migrations.
type Inspection struct {
	Engine  string
	Version string // of the engine, such as "3.53.4" or "15.8"
	// Major is the first number of Version.
	Major int
	// Trigrams says that PostgreSQL has pg_trgm or can install it, which the search
	// for users needs. On SQLite it is always true.
	Trigrams bool
	// Clock is the database server's time; on SQLite there is no server, and it is
	// that of the newest migration, before which it can not be.
	Clock   time.Time
	Pending []string // migrations that are missing
}

// Inspect looks at the database. It changes nothing.
func (db *DB) Inspect(ctx context.Context) (i Inspection, err error) {
	i = Inspection{Engine: db.Engine(), Trigrams: true}
	if i.Pending, err = db.Pending(ctx); err != nil {
		return i, err
	}
	if db.pg != nil {
		err = db.QueryRow(ctx, `
			SELECT CAST(current_setting('server_version') AS TEXT), CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT),
				EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')`).Scan(&i.Version, millis{&i.Clock}, &i.Trigrams)
	} else {
		err = db.QueryRow(ctx, "SELECT sqlite_version()").Scan(&i.Version)
		if err == nil && len(i.Pending) == 0 {
			err = db.QueryRow(ctx, "SELECT CAST(MAX(applied_at) AS BIGINT) FROM schema_migrations").Scan(millis{&i.Clock})
		}
	}
	if err != nil {
		return i, fmt.Errorf("inspect the database: %w", err)
	}
	_, err = fmt.Sscanf(i.Version, "%d", &i.Major)
	return i, err
}

// millis scans Unix milliseconds into a time.
type millis struct{ into *time.Time }

// Scan implements sql.Scanner.
func (m millis) Scan(v any) error {
	ms, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is not a time", v)
	}
	*m.into = time.UnixMilli(ms).UTC()
	return nil
}

// Damage reads a SQLite file from end to end and returns what is wrong with its
// structure, at most ten things. PostgreSQL looks after its own files.
func (db *DB) Damage(ctx context.Context) ([]string, error) {
	if db.pg != nil {
		return nil, nil
	}
	rows, err := db.Query(ctx, "PRAGMA quick_check(10)")
	found, err := Collect(rows, err, "check the file", func(row Scanner) (text string, err error) {
		err = row.Scan(&text)
		return text, err
	})
	if err != nil || len(found) == 1 && found[0] == "ok" {
		return nil, err
	}
	return found, nil
}
