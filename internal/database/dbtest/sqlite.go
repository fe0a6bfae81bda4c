package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
)

// migratedSQLite is the content of a migrated SQLite file, made once per process.
var migratedSQLite = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "cardea-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "template.db")
	if err := migrate(context.Background(), "sqlite:"+path); err != nil {
		return nil, err
	}
	// Closing moves what the write-ahead log holds into the file. Were the log
	// still there, copies of the file would lack tables.
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return nil, fmt.Errorf("the closed template still has a write-ahead log of %d bytes", log.Size())
	}
	return os.ReadFile(path)
})

func migratedFile(t testing.TB) string {
	t.Helper()
	content, err := migratedSQLite()
	if err != nil {
		t.Fatalf("make the SQLite template: %v", err)
	}
	path := newFile(t)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

func newFile(t testing.TB) string {
	return filepath.Join(t.TempDir(), "test.db")
}

// migrate brings the database at url up to date.
func migrate(ctx context.Context, url string) error {
	db, err := database.Open(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}
