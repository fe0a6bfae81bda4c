package database_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// plan is how SQLite means to run a statement.
func plan(t *testing.T, db *database.DB, stmt string) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), "EXPLAIN QUERY PLAN "+stmt)
	lines, err := database.Collect(rows, err, "explain", func(row database.Scanner) (line string, err error) {
		var id, parent, unused int64
		return line, row.Scan(&id, &parent, &unused, &line)
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func openSQLite(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A tenant has many rows, so the key of a table, which begins with the tenant, is no way
// to what a user has in it.
func TestSQLiteGoesByTheNarrowestIndex(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, dbtest.EmptyURL(t, database.SQLite))
	if err := db.Ping(t.Context()); err != nil { // a reader that is older than the tables
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, stmt := range []string{
		"SELECT * FROM passkeys WHERE tenant_id = 'x' AND user_id = 'y' ORDER BY id",
		"SELECT * FROM organization_members WHERE tenant_id = 'x' AND user_id = 'y'",
		"SELECT value FROM user_identifiers WHERE tenant_id = 'x' AND user_id IN (SELECT value FROM json_each('[]')) AND id IS NOT NULL",
		"SELECT DISTINCT application_id FROM grants WHERE tenant_id = 'x' AND session_id = 'y'",
	} {
		if lines := plan(t, db, stmt); !strings.Contains(lines[0], "tenant_id=? AND ") {
			t.Errorf("%s: %q", stmt, lines)
		}
	}
}

// A later step brings statistics of its indexes too.
func TestSQLiteKnowsAllIndexes(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, dbtest.URL(t, database.SQLite))
	rows, err := db.Query(t.Context(), `
		SELECT m.name FROM sqlite_schema AS m
		WHERE m.type = 'index' AND m.sql IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sqlite_stat1 AS s WHERE s.tbl = m.tbl_name AND s.idx = m.name)`)
	unknown, err := database.Collect(rows, err, "list indexes", func(row database.Scanner) (name string, err error) {
		return name, row.Scan(&name)
	})
	if err != nil || len(unknown) != 0 {
		t.Errorf("without statistics: %q, %v", unknown, err)
	}
}

// What goes with a row is found by an index; else the whole tenant's rows are read for
// each user, session or organization that is deleted.
func TestWhatGoesWithARowIsFoundByAnIndex(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, dbtest.URL(t, database.SQLite))
	shortLived := []string{"connection_flows", "sso_flows"} // and connections are seldom deleted
	rows, err := db.Query(t.Context(), `
		SELECT DISTINCT f."table" FROM sqlite_schema AS m JOIN pragma_foreign_key_list(m.name) AS f
		WHERE m.type = 'table' GROUP BY m.name, f.id HAVING string_agg(f."to", ' ' ORDER BY f.seq) = 'tenant_id id'`)
	parents, err := database.Collect(rows, err, "list parents", func(row database.Scanner) (name string, err error) {
		return name, row.Scan(&name)
	})
	if err != nil || !slices.Contains(parents, "users") {
		t.Fatalf("parents: %q, %v", parents, err)
	}
	for _, parent := range parents {
		for _, line := range plan(t, db, "DELETE FROM "+parent+" WHERE tenant_id = 'x' AND id = 'y'") {
			words := strings.Fields(line)
			if strings.HasSuffix(line, "(tenant_id=?)") && !slices.Contains(shortLived, words[1]) {
				t.Errorf("deleting one of %s: %s", parent, line)
			}
		}
	}
}
