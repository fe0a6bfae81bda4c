package dbtest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// pendingSteps opens the database at url and counts the migrations it lacks.
func pendingSteps(t *testing.T, url string) int {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pending, err := db.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(pending)
}

func createTable(t *testing.T, db *database.DB) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE dbtest_mine (id BIGINT PRIMARY KEY)")
		return err
	})
	if err != nil {
		t.Fatalf("this table must not exist yet: %v", err)
	}
}

// Each of these makes the same table, which can not succeed twice in one database.
func TestRunGivesEachTestADatabaseOfItsOwn(t *testing.T) {
	for _, name := range []string{"one", "two", "three", "four"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Run(t, createTable)
		})
	}
}

func TestRunGoesThroughBothEngines(t *testing.T) {
	var engines []string
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		engines = append(engines, db.Engine())
	})
	if got := strings.Join(engines, " "); got != "sqlite postgres" {
		t.Errorf("went through %q, want sqlite and postgres", got)
	}
}

func TestRunURLGivesAMigratedDatabase(t *testing.T) {
	t.Parallel()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		if n := pendingSteps(t, url); n != 0 {
			t.Errorf("%d migrations are pending, want none", n)
		}
	})
}

func TestEmptyURLGivesADatabaseWithoutTables(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			if n := pendingSteps(t, dbtest.EmptyURL(t, engine)); n == 0 {
				t.Error("no migration is pending, want all")
			}
		})
	}
}

func TestADatabaseIsRemovedThoughStillConnected(t *testing.T) {
	t.Parallel()
	var db *database.DB
	t.Run("use", func(t *testing.T) {
		var err error
		if db, err = database.Open(t.Context(), dbtest.URL(t, database.PostgreSQL)); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	defer db.Close()
	if err := db.Ping(t.Context()); err == nil {
		t.Error("the database still answers after its test")
	}
}

// Runs tests of this file once more, in a process that is told of no server, or of
// something that is no server's address.
func TestRunFailsWithoutAServer(t *testing.T) {
	t.Parallel()
	const saysWhatToDo = "run `make test` (or `make test PKG=./internal/user`)"
	for name, c := range map[string]struct{ setting, want string }{
		"unset":          {"", saysWhatToDo},
		"not an address": {"host=localhost password=hush", "not an address of the form postgres://"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestRunGoesThroughBothEngines$")
			cmd.Env = append(os.Environ(), "CARDEA_TEST_POSTGRES="+c.setting)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v and this output, want a failure that says %q:\n%s", err, c.want, out)
			}
			if strings.Contains(string(out), "hush") {
				t.Errorf("the output holds the password:\n%s", out)
			}
		})
	}
}
