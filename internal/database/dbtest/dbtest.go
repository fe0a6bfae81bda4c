// Package dbtest gives each test databases of its own, on every engine that the
// product supports.
//
//	Run       run a test on each engine with a fresh, migrated database
//	RunURL    the same with the database's address, for a test that opens it itself
//	URL       the address of one fresh database on one engine
//	EmptyURL  the same, not migrated
//
// Migrating takes longer than most tests, so it happens once: a test process
// migrates one SQLite file and hands out copies, and all test processes together
// migrate one PostgreSQL database, of which the server makes copies. The
// PostgreSQL server is the one that CARDEA_TEST_POSTGRES names; "make test" and
// the command withpostgres start one and set the variable. Without a server
// tests fail: half a test run must not look like a whole one.
package dbtest

import (
	"testing"

	"github.com/cardea-id/cardea/internal/database"
)

// Engines are the engines that Run goes through.
var Engines = []string{database.SQLite, database.PostgreSQL}

// Run runs test once per engine, as a subtest named after it, with a fresh and
// migrated database. The database is closed and removed after the subtest.
func Run(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	RunURL(t, func(t *testing.T, url string) {
		t.Helper()
		db, err := database.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Errorf("close the database: %v", err)
			}
		})
		test(t, db)
	})
}

// RunURL runs test once per engine, as a subtest named after it, with the address
// of a fresh and migrated database. The database is removed after the subtest.
func RunURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	requireServer(t) // at once, not after the test has passed on SQLite
	for _, engine := range Engines {
		t.Run(engine, func(t *testing.T) {
			t.Helper()
			test(t, URL(t, engine))
		})
	}
}

// URL returns the address of a fresh and migrated database on engine. The database
// is removed when t ends, even if something is still connected to it.
func URL(t testing.TB, engine string) string {
	t.Helper()
	if engine == database.SQLite {
		return migratedFile(t)
	}
	return createDatabase(t, requireServer(t), true)
}

// EmptyURL returns the address of a fresh database on engine without any tables,
// for tests that migrate it themselves. It is removed when t ends.
func EmptyURL(t testing.TB, engine string) string {
	t.Helper()
	if engine == database.SQLite {
		return "sqlite:" + newFile(t)
	}
	return createDatabase(t, requireServer(t), false)
}
