package database_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// table makes a scratch table that no migration knows.
func table(t *testing.T, db *database.DB) {
	t.Helper()
	write(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE scratch (a BIGINT PRIMARY KEY, b BIGINT NOT NULL, word TEXT, raw BYTEA, yes BOOLEAN)")
		return err
	})
}

func write(t *testing.T, db *database.DB, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db database.Reader) (n int64) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM scratch").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func insert(tx *database.Tx, a, b int64) error {
	_, err := tx.Exec(context.Background(), "INSERT INTO scratch (a, b) VALUES ($1, $2)", a, b)
	return err
}

// A driver that binds $n in order of appearance would compare the wrong values.
func TestParametersGoByNumber(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error { return insert(tx, 1, 2) })
		var n int64
		err := db.QueryRow(t.Context(), "SELECT count(*) FROM scratch WHERE b = $2 AND a = $1 AND b <> $1", int64(1), int64(2)).Scan(&n)
		if err != nil || n != 1 {
			t.Errorf("found %d rows, %v; want 1", n, err)
		}
	})
}

func TestTypesTravelBothWays(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO scratch (a, b, word, raw, yes) VALUES ($1, $2, $3, $4, $5), (2, 2, NULL, NULL, $6)",
				int64(1), int64(-1)<<62, "ünï", []byte{0, 255}, true, false)
			return err
		})
		rows, err := db.Query(t.Context(), "SELECT b, word, raw, yes FROM scratch ORDER BY a")
		got, err := database.Collect(rows, err, "read", func(row database.Scanner) (string, error) {
			var b int64
			var word *string
			var raw []byte
			var yes bool
			err := row.Scan(&b, &word, &raw, &yes)
			return fmt.Sprint(b, word != nil && *word == "ünï", raw, yes), err
		})
		if want := []string{"-4611686018427387904 true [0 255] true", "2 false [] false"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	})
}

func TestWriteRollsBack(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, fn := range map[string]func(tx *database.Tx) error{
		"after an error":         func(tx *database.Tx) error { return errors.Join(insert(tx, 1, 1), broken) },
		"after what was put off": func(tx *database.Tx) error { tx.Later("INSERT INTO scratch (a, b) VALUES (1, 1)"); return broken },
		"when a statement fails": func(tx *database.Tx) error { return errors.Join(insert(tx, 1, 1), insert(tx, 1, 1)) },
		"when what was put off fails": func(tx *database.Tx) error {
			tx.Later("INSERT INTO scratch (a, b) VALUES (1, NULL)")
			return insert(tx, 2, 2)
		},
		"when it fails with the commit": func(tx *database.Tx) error {
			err := insert(tx, 1, 1)
			tx.Later("INSERT INTO scratch (a, b) VALUES (1, 1)")
			return err
		},
		"when an error was not returned": func(tx *database.Tx) error {
			insert(tx, 1, 1)
			insert(tx, 1, 1)
			tx.Later("INSERT INTO nowhere VALUES (1)")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Run(t, func(t *testing.T, db *database.DB) {
				table(t, db)
				ran := false
				err := db.Write(t.Context(), func(tx *database.Tx) error { tx.OnCommit(func() { ran = true }); return fn(tx) })
				if n := count(t, db); err == nil || n != 0 || ran {
					t.Errorf("err = %v, %d rows, OnCommit ran: %v; want an error, no rows and no call", err, n, ran)
				}
				write(t, db, func(tx *database.Tx) error { return insert(tx, 1, 1) }) // the connection is fit for more
			})
		})
	}
}

func TestWriteBehindIsATransactionLikeAnother(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		failed := errors.New("no")
		err := db.WriteBehind(t.Context(), func(tx *database.Tx) error { return errors.Join(insert(tx, 1, 1), failed) })
		if n := count(t, db); !errors.Is(err, failed) || n != 0 {
			t.Errorf("after a failure: %d rows, %v; want none and the failure", n, err)
		}
		done := false
		err = db.WriteBehind(t.Context(), func(tx *database.Tx) error {
			tx.OnCommit(func() { done = true })
			return insert(tx, 1, 1)
		})
		if n := count(t, db); err != nil || n != 1 || !done {
			t.Errorf("%d rows, %v, told %v; want one row that all see", n, err, done)
		}
	})
}

// What waits for the disk is asked at the very end of a transaction, where PostgreSQL
// runs deferred triggers.
func TestOnlyWriteBehindLeavesTheDiskAlone(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t, database.PostgreSQL)
	begin := func() *database.DB {
		db, err := database.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	write(t, begin(), func(tx *database.Tx) error {
		for _, stmt := range []string{
			`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = on', current_database()); END $$`,
			`CREATE TABLE scratch (n BIGINT)`, `CREATE TABLE noted (n BIGINT, mode TEXT)`,
			`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted VALUES (new.n, current_setting('synchronous_commit')); RETURN NULL; END $$`,
			`CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON scratch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()`,
		} {
			if _, err := tx.Exec(t.Context(), stmt); err != nil {
				return err
			}
		}
		return nil
	})
	db := begin()
	for n, write := range []func(context.Context, func(*database.Tx) error) error{db.WriteBehind, db.Write, db.WriteBehind, db.Write} {
		err := write(t.Context(), func(tx *database.Tx) error {
			tx.Later("INSERT INTO scratch VALUES ($1)", int64(n))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var modes string
	if err := db.QueryRow(t.Context(), "SELECT string_agg(mode, ' ' ORDER BY n) FROM noted").Scan(&modes); err != nil || modes != "off on off on" {
		t.Errorf("at the ends: %q, %v; want off on off on", modes, err)
	}
}

func TestWriteSurvivesPanic(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		func() {
			defer func() { recover() }()
			db.Write(t.Context(), func(tx *database.Tx) error { insert(tx, 1, 1); panic("boom") })
		}()
		write(t, db, func(tx *database.Tx) error { return insert(tx, 2, 2) })
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	})
}

func TestLaterKeepsOrder(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error {
			tx.Later("INSERT INTO scratch (a, b) VALUES (1, 1)")
			if n := count(t, tx); n != 1 {
				t.Errorf("a query sees %d rows, want the one put off before it", n)
			}
			tx.Later("UPDATE scratch SET b = b * 10")
			tx.Later("UPDATE scratch SET b = b + 5")
			return nil
		})
		var b int64
		if err := db.QueryRow(t.Context(), "SELECT b FROM scratch").Scan(&b); err != nil || b != 15 {
			t.Errorf("b = %d, %v; want 15", b, err)
		}
	})
}

func TestMustEndsTheTransaction(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		lost := errors.New("lost")
		one := func(touched int64, err error) error {
			if err == nil && touched != 1 {
				return lost
			}
			return err
		}
		change := func(tx *database.Tx, a int64) { tx.Must(one, "UPDATE scratch SET b = b + 1 WHERE a = $1", a) }
		write(t, db, func(tx *database.Tx) error { return insert(tx, 1, 1) })
		for name, fn := range map[string]func(tx *database.Tx) error{
			"at the end": func(tx *database.Tx) error { change(tx, 1); change(tx, 2); return nil },
			"before a read": func(tx *database.Tx) error {
				change(tx, 2)
				return tx.QueryRow(t.Context(), "SELECT b FROM scratch").Scan(new(int64))
			},
			"before a write":   func(tx *database.Tx) error { change(tx, 2); return insert(tx, 3, 3) },
			"after a write":    func(tx *database.Tx) error { change(tx, 2); return errors.Join(insert(tx, 4, 4)) },
			"behind the first": func(tx *database.Tx) error { err := insert(tx, 5, 5); change(tx, 2); return err },
		} {
			if err := db.Write(t.Context(), fn); !errors.Is(err, lost) {
				t.Errorf("%s: got %v, want what the check says", name, err)
			}
		}
		var b int64
		if err := db.QueryRow(t.Context(), "SELECT b FROM scratch WHERE a = 1").Scan(&b); err != nil || b != 1 || count(t, db) != 1 {
			t.Errorf("b is %d, %v, of %d rows; want 1 of 1, as before", b, err, count(t, db))
		}
		write(t, db, func(tx *database.Tx) error { change(tx, 1); change(tx, 1); return nil })
		if err := db.QueryRow(t.Context(), "SELECT b FROM scratch WHERE a = 1").Scan(&b); err != nil || b != 3 {
			t.Errorf("b is %d, %v; want 3", b, err)
		}
	})
}

func TestMustIsToldWhyItFailed(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		taken := errors.New("taken")
		err := db.Write(t.Context(), func(tx *database.Tx) error {
			for range 2 {
				tx.Must(func(_ int64, err error) error {
					if database.IsDuplicate(err) {
						return taken
					}
					return err
				}, "INSERT INTO scratch (a, b) VALUES (1, 1)")
			}
			return nil
		})
		if !errors.Is(err, taken) || count(t, db) != 0 {
			t.Errorf("got %v and %d rows, want what the check says and none", err, count(t, db))
		}
	})
}

func TestRowsOfATableTravelTogether(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		var sent []string
		db.Watch = func(stmt string) { sent = append(sent, stmt) }
		write(t, db, func(tx *database.Tx) error {
			for n := range int64(11) {
				tx.LaterRow("INSERT INTO scratch (a, b) VALUES", n, 10*n)
			}
			return nil
		})
		if len(sent) != 2 {
			t.Errorf("sent %q, want 8 rows in one statement and 3 in another", sent)
		}
		var a, b int64
		if err := db.QueryRow(t.Context(), "SELECT sum(a), sum(b) FROM scratch").Scan(&a, &b); err != nil || a != 55 || b != 550 {
			t.Errorf("sums are %d and %d, %v; want 55 and 550", a, b, err)
		}
	})
}

func TestMissingRowIsErrNoRows(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		var n int64
		if err := db.QueryRow(t.Context(), "SELECT a FROM scratch").Scan(&n); !errors.Is(err, database.ErrNoRows) {
			t.Errorf("outside: %v, want ErrNoRows", err)
		}
		write(t, db, func(tx *database.Tx) error {
			if err := tx.QueryRow(t.Context(), "SELECT a FROM scratch").Scan(&n); !errors.Is(err, database.ErrNoRows) {
				t.Errorf("inside: %v, want ErrNoRows", err)
			}
			return insert(tx, 1, 1)
		})
	})
}

func TestIsDuplicate(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		err := db.Write(t.Context(), func(tx *database.Tx) error { return errors.Join(insert(tx, 1, 1), insert(tx, 1, 1)) })
		if !database.IsDuplicate(err) {
			t.Errorf("IsDuplicate(%v) = false", err)
		}
		if database.IsDuplicate(database.ErrNoRows) {
			t.Error("ErrNoRows is no duplicate")
		}
	})
}

func TestConditionalUpdateHasOneWinner(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error { return insert(tx, 1, 0) })
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := db.Write(t.Context(), func(tx *database.Tx) error {
					n, err := tx.Exec(t.Context(), "UPDATE scratch SET b = 1 WHERE a = 1 AND b = 0")
					won.Add(int32(n))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d winners, want 1", won.Load())
		}
	})
}

// On SQLite transactions that wait share a commit. Each still fails alone.
func TestTransactionsTogetherFailAlone(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		broken := errors.New("broken")
		var wg sync.WaitGroup
		for i := range int64(60) {
			wg.Go(func() {
				defer func() {
					if p := recover(); (p != nil) != (i%3 == 1) {
						t.Errorf("transaction %d: recovered %v", i, p)
					}
				}()
				err := db.Write(t.Context(), func(tx *database.Tx) error {
					err := insert(tx, i, i)
					switch i % 3 {
					case 1:
						panic("boom")
					case 2:
						return broken
					}
					return err
				})
				if (err != nil) != (i%3 == 2) {
					t.Errorf("transaction %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := count(t, db); n != 20 {
			t.Errorf("%d rows, want those of the 20 that succeeded", n)
		}
	})
}

func TestReadersAndWritersTogether(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		var wg sync.WaitGroup
		for w := range int64(20) {
			wg.Go(func() {
				for i := range int64(10) {
					if err := db.Write(t.Context(), func(tx *database.Tx) error { return insert(tx, w*100+i, i) }); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() { count(t, db) })
		}
		wg.Wait()
		if n := count(t, db); n != 200 {
			t.Errorf("%d rows, want 200", n)
		}
	})
}

func TestCancelledWriteDoesNotBegin(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			err := db.Write(ctx, func(tx *database.Tx) error { _, err := tx.Exec(ctx, "CREATE TABLE never (a BIGINT)"); return err })
			if err == nil {
				t.Fatal("a transaction whose caller had gone was committed")
			}
		}
	})
}

func TestWriteAfterCloseFails(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		db, err := database.Open(t.Context(), dbtest.URL(t, engine))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := db.Close(); err != nil {
				t.Errorf("%s: close: %v", engine, err)
			}
		}
		if err := db.Write(t.Context(), func(tx *database.Tx) error { _, err := tx.Exec(t.Context(), "SELECT 1"); return err }); err == nil {
			t.Errorf("%s: wrote to a closed database", engine)
		}
	}
}

func TestWaitingToWriteCanBeCancelled(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), dbtest.URL(t, database.SQLite))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Write(t.Context(), func(*database.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		return db.Write(ctx, func(*database.Tx) error { t.Error("two writers at once"); return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the deadline", err)
	}
}

func TestCopyAddsRows(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		rows := make([][]any, 1000)
		for i := range rows {
			rows[i] = []any{int64(i), int64(i), fmt.Sprint("w", i), []byte{1}, true}
		}
		write(t, db, func(tx *database.Tx) error {
			tx.Later("INSERT INTO scratch (a, b) VALUES (-1, 0)")
			return tx.Copy(t.Context(), "scratch", []string{"a", "b", "word", "raw", "yes"}, rows)
		})
		if n := count(t, db); n != 1001 {
			t.Errorf("%d rows, want 1001", n)
		}
		err := db.Write(t.Context(), func(tx *database.Tx) error {
			return tx.Copy(t.Context(), "scratch", []string{"a", "b"}, [][]any{{int64(5000), int64(1)}, {int64(1), int64(1)}})
		})
		if n := count(t, db); !database.IsDuplicate(err) || n != 1001 {
			t.Errorf("err = %v, %d rows; want a duplicate and 1001", err, n)
		}
	})
}

func TestCopyComesAfterWhatWasPutOff(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error {
			tx.Later("INSERT INTO scratch (a, b) VALUES (1, 1)")
			if err := tx.Copy(t.Context(), "scratch", []string{"a", "b"}, [][]any{{int64(2), int64(2)}}); err != nil {
				return err
			}
			tx.Later("UPDATE scratch SET b = 3")
			return nil
		})
		err := db.Write(t.Context(), func(tx *database.Tx) error {
			tx.Later("DELETE FROM scratch")
			return tx.Copy(t.Context(), "scratch", []string{"a", "b"}, [][]any{{int64(1), int64(1)}})
		})
		if n := count(t, db); err != nil || n != 1 {
			t.Errorf("err = %v, %d rows; want none and the copied one", err, n)
		}
	})
}

func TestAmong(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO scratch (a, b, word) VALUES (1, 1, 'a"b'), (2, 2, 'it''s'), (3, 3, 'c')`)
			return err
		})
		for _, c := range []struct {
			values []string
			want   int64
		}{{nil, 0}, {[]string{`a"b`, "it's", "x"}, 2}, {[]string{"c') OR 1=1"}, 0}} {
			cond, arg := db.Among("$1", c.values)
			var n int64
			if err := db.QueryRow(t.Context(), "SELECT count(*) FROM scratch WHERE word "+cond, arg).Scan(&n); err != nil || n != c.want {
				t.Errorf("among %q: %d, %v; want %d", c.values, n, err, c.want)
			}
		}
	})
}

// A plan is kept when the table grows, so it must not depend on how little is in it now.
func TestAnEmptyTableIsReadByItsIndex(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		explain := map[string]string{database.PostgreSQL: "EXPLAIN ", database.SQLite: "EXPLAIN QUERY PLAN "}[db.Engine()]
		write(t, db, func(tx *database.Tx) error { return insert(tx, 1, 2) })
		rows, err := db.Query(t.Context(), explain+"SELECT word FROM scratch WHERE a = 1 AND b > 1")
		plan, err := database.Collect(rows, err, "explain", func(row database.Scanner) (line string, err error) {
			if db.Engine() == database.PostgreSQL {
				return line, row.Scan(&line)
			}
			var id, parent, unused int64
			return line, row.Scan(&id, &parent, &unused, &line)
		})
		if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(strings.ToUpper(text), "INDEX") {
			t.Errorf("the plan is %q, %v", text, err)
		}
	})
}

func TestAmongMany(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		table(t, db)
		write(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO scratch (a, b, word) VALUES (1, 1, 'a"b'), (2, 1, 'it''s'), (3, 1, 'c'), (4, 2, 'c'), (5, 1, NULL)`)
			return err
		})
		for name, c := range map[string]struct {
			values []string
			want   int64
		}{
			"none":              {nil, 0},
			"one":               {[]string{"c"}, 1},
			"several, unsorted": {[]string{"it's", "x", `a"b`, "it's"}, 2},
			"only between":      {[]string{"a", "z"}, 0},
			"hostile":           {[]string{"c') OR 1=1"}, 0},
		} {
			write(t, db, func(tx *database.Tx) error {
				cond, args := tx.AmongMany("s.word", 2, c.values)
				var n int64
				err := tx.QueryRow(t.Context(), "SELECT count(*) FROM scratch s WHERE s.b = $1 AND "+cond, append([]any{int64(1)}, args...)...).Scan(&n)
				if err != nil || n != c.want {
					t.Errorf("%s: %d, %v; want %d", name, n, err, c.want)
				}
				return nil
			})
		}
	})
}

func TestMigrateTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url := dbtest.EmptyURL(t, engine)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					db, err := database.Open(t.Context(), url)
					if err != nil {
						t.Error(err)
						return
					}
					defer db.Close()
					if err := db.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
					if pending, err := db.Pending(t.Context()); err != nil || len(pending) > 0 {
						t.Errorf("pending = %q, %v", pending, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestPendingListsAllOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		db, err := database.Open(t.Context(), dbtest.EmptyURL(t, engine))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		pending, err := db.Pending(t.Context())
		if err != nil || len(pending) < 5 || pending[0] != "0001_tenants" || !slices.IsSorted(pending) {
			t.Errorf("%s: pending = %q, %v", engine, pending, err)
		}
	}
}

// A password in the address must not reach a log by way of an error.
func TestOpenHidesThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://ann:hunter2@127.0.0.1:1/x?connect_timeout=1", "postgres://ann:hunter2@%zz/x", "mysql://ann:hunter2@x/y"} {
		db, err := database.Open(t.Context(), url)
		if err == nil {
			err = errors.Join(db.Ping(t.Context()), db.Close())
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open and Ping: %v; want an error without the password", err)
		}
	}
}

func TestDeleteTenantLeavesNothing(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		for _, tenant := range []string{"aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"} {
			write(t, db, func(tx *database.Tx) error {
				tx.Later("INSERT INTO tenants (id, slug, name, kind, settings, data_key, created_at, modified_at) VALUES ($1, $1, '', '', '{}', $2, 0, 0)", tenant, []byte{1})
				tx.Later("INSERT INTO user_identifiers (tenant_id, value, kind, user_id) VALUES ($1, 'a', 'email', 'u')", tenant)
				tx.Later("INSERT INTO user_search_queue (tenant_id, from_id, to_id, id) VALUES ($1, 'a', 'a', 'u')", tenant)
				return nil
			})
		}
		write(t, db, func(tx *database.Tx) error { return tx.DeleteTenant(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaa") })
		for _, name := range []string{"tenants", "user_identifiers", "user_search_queue"} {
			var n int64
			if err := db.QueryRow(t.Context(), "SELECT count(*) FROM "+name).Scan(&n); err != nil || n != 1 {
				t.Errorf("%s: %d rows, %v; want the other tenant's one", name, n, err)
			}
		}
	})
}

// Behind a pooler that gives each transaction another connection nothing can be prepared.
func TestPostgresWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			url := dbtest.URL(t, database.PostgreSQL)
			separator := "?"
			if strings.Contains(url, "?") {
				separator = "&"
			}
			db, err := database.Open(t.Context(), url+separator+"default_query_exec_mode="+mode)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			table(t, db)
			write(t, db, func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO scratch (a, b, word, raw, yes) VALUES ($1, $2, $3, $4, $5), ($6, 0, NULL, NULL, NULL)", 1, int64(2), "three", []byte{4, 0, 5}, true, 2)
				return err
			})
			isIn, words := db.Among("$2", []string{"two", "three"})
			var word string
			var raw []byte
			var yes bool
			if err := db.QueryRow(t.Context(), "SELECT word, raw, yes FROM scratch WHERE b = $1 AND word "+isIn, int64(2), words).Scan(&word, &raw, &yes); err != nil {
				t.Fatal(err)
			}
			if word != "three" || string(raw) != "\x04\x00\x05" || !yes {
				t.Errorf("got %q, %v, %t", word, raw, yes)
			}
		})
	}
}
