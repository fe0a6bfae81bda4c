package dbtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-id/cardea/internal/database"
)

const serverVariable = "CARDEA_TEST_POSTGRES"

// errNoServer is what a test says that was started without "make test".
var errNoServer = errors.New("this test needs PostgreSQL and " + serverVariable +
	" names no server: run `make test` (or `make test PKG=./internal/user`), which starts one")

// A server is the PostgreSQL server of the tests. Its path is left out.
type server struct{ address url.URL }

// namedServer is the server that the environment names.
var namedServer = sync.OnceValues(func() (server, error) {
	value := os.Getenv(serverVariable)
	if value == "" {
		return server{}, errNoServer
	}
	address, err := url.Parse(value)
	if err != nil || (address.Scheme != "postgres" && address.Scheme != "postgresql") {
		// Without the value, which may hold a password.
		return server{}, fmt.Errorf("%s is not an address of the form postgres://user:password@host:port", serverVariable)
	}
	return server{*address}, nil
})

// requireServer returns the server of the tests. Without one t fails.
func requireServer(t testing.TB) server {
	t.Helper()
	s, err := namedServer()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// url returns the address of the database called name.
func (s server) url(name string) string {
	s.address.Path = "/" + name
	return s.address.String()
}

// admin runs do with a connection to the server's own database.
func (s server) admin(ctx context.Context, do func(conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return fmt.Errorf("reach the server that %s names: %w", serverVariable, err)
	}
	err = do(conn)
	return errors.Join(err, conn.Close(ctx))
}

// createDatabase makes a database and returns its address. It is dropped when t ends.
func createDatabase(t testing.TB, s server, migrated bool) string {
	t.Helper()
	template := "template0"
	if migrated {
		var err error
		if template, err = migratedTemplate(); err != nil {
			t.Fatalf("make the PostgreSQL template: %v", err)
		}
	}
	name := "cardea_test_" + strings.ToLower(rand.Text())
	err := s.admin(t.Context(), func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+template+copyStrategy(conn))
		return err
	})
	if err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		err := s.admin(context.Background(), func(conn *pgx.Conn) error { // t's own context has ended
			_, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
			return err
		})
		if err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	return s.url(name)
}

// copyStrategy asks PostgreSQL 15 and newer to copy files, as older ones do, not to
// write every page to its log: it takes half the time.
func copyStrategy(conn *pgx.Conn) string {
	version := conn.PgConn().ParameterStatus("server_version")
	if strings.HasPrefix(version, "13.") || strings.HasPrefix(version, "14.") {
		return ""
	}
	return " STRATEGY file_copy"
}

// migratedTemplate is the name of the migrated database to copy. Whichever process
// comes first makes it. The name holds a hash of the migrations, so that a server
// which outlives a test run never serves yesterday's tables.
var migratedTemplate = sync.OnceValues(func() (string, error) {
	s, err := namedServer()
	if err != nil {
		return "", err
	}
	hash, err := migrationsHash()
	if err != nil {
		return "", err
	}
	name, ctx := "cardea_template_"+hash, context.Background()
	return name, s.admin(ctx, func(conn *pgx.Conn) error {
		// Held until the connection ends. The number is of no meaning.
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(7241196530)"); err != nil {
			return err
		}
		var exists bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
		if err != nil || exists {
			return err
		}
		return s.makeTemplate(ctx, conn, name)
	})
})

// makeTemplate makes and migrates the template under another name and then gives it
// its own, so that a template half made is never taken for a whole one.
func (s server) makeTemplate(ctx context.Context, conn *pgx.Conn, name string) error {
	draft := name + "_draft"
	for _, stmt := range []string{
		"DROP DATABASE IF EXISTS " + draft + " WITH (FORCE)",
		"CREATE DATABASE " + draft + " TEMPLATE template0",
	} {
		if _, err := conn.Exec(ctx, stmt); err != nil {
			return err
		}
	}
	if err := migrate(ctx, s.url(draft)); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "ALTER DATABASE "+draft+" RENAME TO "+name)
	return err
}

// migrationsHash identifies the migrations built into this test program.
func migrationsHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(database.Migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(database.Migrations, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), err
}
