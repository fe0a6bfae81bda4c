package user_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/user"
)

// byName lists everybody of a filter in the order of usernames, in pages of a size, and
// their number.
func (b *bench) byName(t *testing.T, by access.Actor, f user.Filter, size int) (logins []string) {
	t.Helper()
	for {
		users, total, err := b.ListNumbered(t.Context(), b.DB, by, user.Query{Filter: f, Sort: user.ByUsername, Limit: size, Offset: len(logins)})
		if err != nil {
			t.Fatalf("list %+v: %v", f, err)
		}
		for _, u := range users {
			logins = append(logins, u.Login())
		}
		if len(users) < size {
			if total != int64(len(logins)) {
				t.Errorf("%+v: total %d of %d listed", f, total, len(logins))
			}
			return logins
		}
	}
}

// wantNamed checks the users of a part of the first name before and after the indexer has
// seen what was changed.
func (b *bench) wantNamed(t *testing.T, part string, want ...string) {
	t.Helper()
	for _, state := range []string{"before", "after"} {
		if got := b.byName(t, b.by, user.Filter{FirstName: part}, 2); !slices.Equal(got, want) {
			t.Errorf("%s the indexer: %q finds %q, want %q", state, part, got, want)
		}
		b.index(t)
	}
}

func TestNamesFollowChanges(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann := b.create(t, user.User{Username: "a", FirstName: "Ann"})
		hanna := b.create(t, user.User{Username: "b", FirstName: "Hanna"})
		b.wantNamed(t, "ANN", "a", "b")
		b.create(t, user.User{Username: "c", FirstName: "Johanna"}) // a new name
		b.create(t, user.User{Username: "d", FirstName: "Ann"})     // a known one
		b.wantNamed(t, "ann", "a", "b", "c", "d")
		b.update(t, ann.ID, user.Change{FirstName: ptr("Bob")})
		b.wantNamed(t, "ann", "b", "c", "d")
		b.wantNamed(t, "bo", "a")
		b.update(t, ann.ID, user.Change{Username: ptr("e"), FirstName: ptr("Ännchen")})
		b.wantNamed(t, "ÄNN", "e")
		b.remove(t, hanna.ID)
		b.wantNamed(t, "ann", "c", "d")
		b.wantNamed(t, "hanna", "c")
		newcomers := []user.Newcomer{{User: user.User{Username: "f", FirstName: "Annabel", IsActive: true}}, {User: user.User{Username: "g", FirstName: "Ann", IsActive: true}}}
		if err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Import(t.Context(), tx, b.by, tenantA, newcomers)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		b.wantNamed(t, "ann", "c", "d", "f", "g")
		b.wantNamed(t, "nobody")
	})
}

func TestNamesStayInTheirTenant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other := access.System(tenantB)
		b.create(t, user.User{Username: "a", FirstName: "Ann"})
		for _, first := range []string{"Ann", "Hanna"} {
			if _, err := b.tryCreate(t.Context(), other, user.User{Username: first, FirstName: first}); err != nil {
				t.Fatal(err)
			}
		}
		b.wantNamed(t, "ann", "a")
		b.wantNamed(t, "hanna")
		if got := b.byName(t, other, user.Filter{FirstName: "ann"}, 1); !slices.Equal(got, []string{"ann", "hanna"}) && !slices.Equal(got, []string{"Ann", "Hanna"}) {
			t.Errorf("the other tenant finds %q", got)
		}
	})
}

// Users found by their names are those that judging each user's row finds, whatever is in
// the names and however they are asked for.
func TestNamesFindWhatRowsFind(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		random := rand.New(rand.NewPCG(1, 2))
		firsts := []string{"Ann", "ANN", "änn", "Å", "ﬁn", "Straße", "50%", "_", `\`, `"o'x"`, "ann ann", "", "İ", "ж", "張"}
		for i := range 300 {
			b.create(t, user.User{Username: fmt.Sprintf("u%03d", random.IntN(1e6)*1000+i), FirstName: firsts[random.IntN(len(firsts))] + firsts[random.IntN(len(firsts))], LastName: fmt.Sprint(i % 7)})
			if i == 200 {
				b.index(t)
			}
		}
		for _, part := range []string{"a", "an", "ann", "nan", "Å", "fi", "ss", "ß", "%", "_", `\`, "'", `"`, "n a", " ", "i", "i̇", "Ж", "張張", "zz", strings.Repeat("a", 257)} {
			for _, f := range []user.Filter{{FirstName: part}, {FirstName: part, IsActive: ptr(true)}, {FirstName: part, IsActive: ptr(false)}, {FirstName: part, LastName: "3"}} {
				want, _ := b.list(t, user.Query{Filter: f, Limit: 1000}) // by creation, where names do not help
				slices.Sort(want)
				if got := b.byName(t, b.by, f, 17); !slices.Equal(got, want) {
					t.Errorf("%+v: %d found by names, %d by rows", f, len(got), len(want))
				}
				b.wantCount(t, f, int64(len(want)))
			}
		}
	})
}

// Pages by cursor, either way, have each match once, though they come of several names.
func TestNamesPageByCursor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var all []string
		for i := range 40 {
			all = append(all, b.create(t, user.User{Username: fmt.Sprintf("u%02d", i), LastName: []string{"Berg", "Bergmann", "Heidelberg", "Stein"}[i%4]}).Username)
		}
		want := slices.DeleteFunc(all, func(login string) bool { return login[1:] > "" && (int(login[1]-'0')*10+int(login[2]-'0'))%4 == 3 })
		for _, sort := range []string{user.ByUsername, user.ByUsernameDesc} {
			var got []string
			q := user.Query{Filter: user.Filter{LastName: "berg"}, Sort: sort, Limit: 7}
			for {
				page, next := b.list(t, q)
				got = append(got, page...)
				if q.Cursor = next; next == "" {
					break
				}
			}
			if sort == user.ByUsernameDesc {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", sort, got, want)
			}
		}
	})
}

// A part that is in more names than an index is asked for finds the same.
func TestManyNamesFallBack(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var want []string
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			for i := range 450 {
				u, err := b.Create(t.Context(), tx, b.by, user.User{Username: fmt.Sprintf("u%03d", i), FirstName: fmt.Sprintf("Name%d", i/2)})
				if err != nil {
					return err
				}
				want = append(want, u.Username)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"name", "na"} {
			if got := b.byName(t, b.by, user.Filter{FirstName: part}, 100); !slices.Equal(got, want) {
				t.Errorf("%q, queued: %d found", part, len(got))
			}
		}
		b.index(t)
		for _, part := range []string{"name", "na"} {
			if got := b.byName(t, b.by, user.Filter{FirstName: part}, 100); !slices.Equal(got, want) {
				t.Errorf("%q: %d found", part, len(got))
			}
		}
		if got := b.byName(t, b.by, user.Filter{FirstName: "name11"}, 100); len(got) != 22 { // 11 and 110 to 119
			t.Errorf("a part of few names: %q", got)
		}
	})
}

// Compatibility forms make a name far longer than was given; no index refuses it.
func TestTheLongestNameIsKept(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		name := strings.Repeat("\ufdfa", 85)
		b.create(t, user.User{Username: "a", FirstName: name, LastName: name})
		b.wantNamed(t, "\ufdfa", "a")
	})
}

// onPostgres is run for what there is on PostgreSQL alone.
func onPostgres(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	db, err := database.Open(t.Context(), dbtest.URL(t, database.PostgreSQL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b := newBench(db)
	b.addRoles(t)
	test(t, b)
}

func TestSweepNamesForgetsWhomNobodyIsCalled(t *testing.T) {
	onPostgres(t, func(t *testing.T, b *bench) {
		ann := b.create(t, user.User{Username: "a", FirstName: "Ann", LastName: "Lee"})
		b.create(t, user.User{Username: "b", FirstName: "Bob", LastName: "Lee"})
		b.index(t)
		b.update(t, ann.ID, user.Change{FirstName: ptr("Lee")})
		if err := user.SweepNames(t.Context(), b.DB); err != nil {
			t.Fatal(err)
		}
		b.index(t)
		b.remove(t, ann.ID)
		if err := user.SweepNames(t.Context(), b.DB); err != nil {
			t.Fatal(err)
		}
		rows, err := b.DB.Query(t.Context(), "SELECT field || ' ' || name FROM user_names WHERE tenant_id = $1 ORDER BY field, name", tenantA)
		left, err := database.Collect(rows, err, "read names", func(row database.Scanner) (s string, err error) {
			err = row.Scan(&s)
			return s, err
		})
		if want := []string{"first_key bob", "last_key lee"}; err != nil || !slices.Equal(left, want) {
			t.Errorf("left: %q, %v; want %q", left, err, want)
		}
	})
}

// Whoever takes a name at the moment at which it is swept is found by it.
func TestSweepNamesLosesNobody(t *testing.T) {
	onPostgres(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Username: "a", FirstName: "Ann"})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		indexer := &user.Indexer{DB: b.DB, Log: slog.New(slog.DiscardHandler)}
		for _, work := range []func() error{
			func() error { return user.SweepNames(t.Context(), b.DB) },
			func() error { _, err := indexer.Step(t.Context()); return err },
			func() error { _, err := indexer.Step(t.Context()); return err },
		} {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := work(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for i := range 40 {
			name := []string{"Ann", "Bob", "Cem"}[i%3]
			b.update(t, u.ID, user.Change{FirstName: &name})
			for range 3 {
				if got := b.byName(t, b.by, user.Filter{FirstName: name}, 10); len(got) != 1 {
					t.Fatalf("round %d: %s finds %q", i, name, got)
				}
			}
		}
		stop()
		wg.Wait()
	})
}

// PostgreSQL lets others write while the sweep does. A sweep that is held up at a name,
// after it saw that nobody has it, must not remove it once somebody has.
func TestSweepNamesWaitsForIndexers(t *testing.T) {
	onPostgres(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Username: "a", FirstName: "Ann"})
		b.index(t)
		b.update(t, u.ID, user.Change{FirstName: ptr("Bob")})
		b.index(t)
		var wg sync.WaitGroup
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			var name string
			if err := tx.QueryRow(t.Context(), "SELECT name FROM user_names WHERE tenant_id = $1 AND name = 'ann' FOR UPDATE", tenantA).Scan(&name); err != nil {
				return err
			}
			wg.Go(func() {
				if err := user.SweepNames(t.Context(), b.DB); err != nil {
					t.Error(err)
				}
			})
			b.awaitWaiting(t, "DELETE FROM user_names", nil)
			b.update(t, u.ID, user.Change{FirstName: ptr("Ann")})
			indexed := make(chan struct{})
			wg.Go(func() {
				defer close(indexed)
				if _, err := (&user.Indexer{DB: b.DB, Log: slog.New(slog.DiscardHandler)}).Step(t.Context()); err != nil {
					t.Error(err)
				}
			})
			b.awaitWaiting(t, "INSERT INTO user_names", indexed)
			return nil
		})
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		b.index(t)
		b.wantNamed(t, "ann", "a")
	})
}

// awaitWaiting returns when a statement waits for a lock, or over is closed.
func (b *bench) awaitWaiting(t *testing.T, statement string, over <-chan struct{}) {
	t.Helper()
	for {
		var waiting int64
		err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1", "%"+statement+"%").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-over:
			return
		case <-t.Context().Done():
			t.Fatal("nobody waits: " + statement)
		case <-time.After(5 * time.Millisecond):
			if waiting > 0 {
				return
			}
		}
	}
}
