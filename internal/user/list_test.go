package user_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

func TestListPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var created []string
		for i := range 7 {
			created = append(created, b.create(t, user.User{Email: fmt.Sprintf("%c@example.com", 'g'-i)}).Email)
		}
		byName := slices.Clone(created)
		slices.Sort(byName)
		reversed := func(s []string) []string { s = slices.Clone(s); slices.Reverse(s); return s }
		for sort, want := range map[string][]string{
			"": created, user.ByCreation: created, user.ByCreationDesc: reversed(created), user.ByUsername: byName, user.ByUsernameDesc: reversed(byName),
		} {
			for _, limit := range []int{1, 2, 3, 6, 7, 8} {
				var got []string
				q := user.Query{Sort: sort, Limit: limit}
				for pages := 0; ; pages++ {
					page, next := b.list(t, q)
					got = append(got, page...)
					if q.Cursor = next; next == "" || pages > 10 {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("sort %q, pages of %d: %q, want %q", sort, limit, got, want)
				}
			}
		}
	})
}

// A walk by cursor sees every user that was there all the time exactly once,
// whatever is added and removed meanwhile.
func TestListWalkMissesNobody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var ids []string
		for i := range 30 {
			ids = append(ids, b.create(t, user.User{Username: fmt.Sprintf("u%02d", i)}).ID)
		}
		seen := map[string]int{}
		q := user.Query{Limit: 4, Sort: user.ByUsername}
		for i := 0; ; i++ {
			page, next := b.list(t, q)
			for _, login := range page {
				seen[login]++
			}
			if next == "" {
				break
			}
			q.Cursor = next
			b.create(t, user.User{Username: fmt.Sprintf("t%02d", i)}) // before everything
			b.remove(t, ids[i*3])                                     // behind and at the place of the cursor
		}
		for i := range 30 {
			if n := seen[fmt.Sprintf("u%02d", i)]; n > 1 || n == 0 && i%3 != 0 {
				t.Errorf("u%02d seen %d times", i, n)
			}
		}
	})
}

func TestCursorIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for i := range 3 {
			b.create(t, user.User{Username: fmt.Sprint("u", i)})
			if _, err := b.tryCreate(t.Context(), access.System(tenantB), user.User{Username: fmt.Sprint("u", i)}); err != nil {
				t.Fatal(err)
			}
		}
		_, good := b.list(t, user.Query{Limit: 1})
		flipped := []byte(good)
		flipped[len(flipped)-1] ^= 1
		for name, c := range map[string]struct {
			by access.Actor
			q  user.Query
		}{
			"not base64":          {b.by, user.Query{Cursor: "!!!"}},
			"too short":           {b.by, user.Query{Cursor: "YWJj"}},
			"altered":             {b.by, user.Query{Cursor: string(flipped)}},
			"of another tenant":   {access.System(tenantB), user.Query{Cursor: good}},
			"of another filter":   {b.by, user.Query{Cursor: good, Filter: user.Filter{Search: "u"}}},
			"of another order":    {b.by, user.Query{Cursor: good, Sort: user.ByCreationDesc}},
			"with SQL in it":      {b.by, user.Query{Cursor: "' OR 1=1 --"}},
			"with the role added": {b.by, user.Query{Cursor: good, Filter: user.Filter{RoleID: tenantA}}},
		} {
			c.q.Limit = 1
			if _, _, err := b.List(t.Context(), b.DB, c.by, c.q); !errors.Is(err, secret.ErrCursor) {
				t.Errorf("%s: %v, want ErrCursor", name, err)
			}
		}
		if _, _, err := b.List(t.Context(), b.DB, b.by, user.Query{Limit: 2, Cursor: good}); err != nil {
			t.Errorf("with another page size: %v", err)
		}
		if _, _, err := b.List(t.Context(), b.DB, b.by, user.Query{Limit: 1, Sort: "password"}); !errors.Is(err, user.ErrSort) {
			t.Errorf("sort by something else: %v", err)
		}
	})
}

// people fills a tenant with users for the filter and search tests, and another
// tenant with the same.
func people(t *testing.T, b *bench) {
	t.Helper()
	for _, u := range []user.User{
		{Email: "ann.lee@example.com", FirstName: "Ann", LastName: "Lee", RoleIDs: []string{tenantA}},
		{Email: "bob@example.org", FirstName: "Bob", LastName: "O'Annis", Phone: "+4915112345678"},
		{Username: "çelik", FirstName: "Änne", LastName: "Çelik"},
		{Email: "dan_100@example.com", FirstName: `D\an`, LastName: "Ray 100%"},
		{Email: "eve@sub.annex.com", FirstName: "Eve", LastName: "Ng"},
	} {
		made := b.create(t, u)
		b.pass(time.Minute)
		if u.FirstName == "Eve" {
			b.update(t, made.ID, user.Change{IsActive: ptr(false)})
		}
		u.RoleIDs = nil // tenant B has none
		if _, err := b.tryCreate(t.Context(), access.System(tenantB), u); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListFilters(t *testing.T) {
	const ann, bob, celik, dan, eve = "ann.lee@example.com", "bob@example.org", "çelik", "dan_100@example.com", "eve@sub.annex.com"
	cases := []struct {
		f    user.Filter
		want []string
	}{
		{user.Filter{Email: "ANN.Lee@example.com"}, []string{ann}},
		{user.Filter{Email: "lee@example.com"}, nil},
		{user.Filter{Email: "not an address"}, nil},
		{user.Filter{Email: celik}, nil}, // a username is no address
		{user.Filter{FirstName: "ann"}, []string{ann}},
		{user.Filter{FirstName: "ÄNN"}, []string{celik}},
		{user.Filter{FirstName: "n"}, []string{ann, celik, dan}},
		{user.Filter{LastName: "anni"}, []string{bob}},
		{user.Filter{LastName: "o'a"}, []string{bob}},
		{user.Filter{FirstName: "ann", LastName: "lee"}, []string{ann}},
		{user.Filter{FirstName: "ann", LastName: "ray"}, nil},
		{user.Filter{FirstName: `d\a`}, []string{dan}},
		{user.Filter{Search: "ann"}, []string{ann, bob, eve}},
		{user.Filter{Search: "example.com"}, []string{ann, dan}},
		{user.Filter{Search: "e@example"}, []string{ann}},
		{user.Filter{Search: "100%"}, []string{dan}},
		{user.Filter{Search: "_100"}, []string{dan}},
		{user.Filter{Search: "%%%"}, nil},
		{user.Filter{Search: "___"}, nil},
		{user.Filter{Search: `"ann" OR`}, nil},
		{user.Filter{Search: "511234"}, []string{bob}},
		{user.Filter{Search: "ÇEL"}, []string{celik}},
		{user.Filter{Search: "an"}, []string{ann}}, // short words match beginnings
		{user.Filter{Search: "n"}, []string{eve}},
		{user.Filter{Search: "ann ray"}, nil},
		{user.Filter{Search: "ray example.com"}, []string{dan}},
		{user.Filter{Search: "ex eve"}, nil},
		{user.Filter{RoleID: tenantA}, []string{ann}},
		{user.Filter{RoleID: tenantB}, nil},
		{user.Filter{IsActive: ptr(false)}, []string{eve}},
		{user.Filter{IsActive: ptr(true), Search: "annex"}, nil},
		{user.Filter{CreatedAfter: time.Date(2026, 1, 2, 3, 7, 0, 0, time.UTC)}, []string{dan, eve}},
		{user.Filter{CreatedBefore: time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)}, []string{ann}},
	}
	run(t, func(t *testing.T, b *bench) {
		people(t, b)
		check := func(state string) {
			for _, c := range cases {
				if got, _ := b.list(t, user.Query{Filter: c.f}); !slices.Equal(got, c.want) {
					t.Errorf("%s, %+v: %q, want %q", state, c.f, got, c.want)
				}
				b.wantCount(t, c.f, int64(len(c.want)))
			}
		}
		check("before the index is written")
		b.index(t)
		check("with the index")
	})
}

// What a search finds is exact at any moment, before and after the indexer has
// seen a change.
func TestSearchFollowsChanges(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "first@example.com"})
		gone := b.create(t, user.User{Email: "first.too@example.com"})
		b.index(t)
		b.update(t, u.ID, user.Change{Email: ptr("second@example.com")})
		b.remove(t, gone.ID)
		for _, state := range []string{"before", "after"} {
			if got, _ := b.list(t, user.Query{Filter: user.Filter{Search: "first"}}); len(got) != 0 {
				t.Errorf("%s the indexer: the old address finds %q", state, got)
			}
			if got, _ := b.list(t, user.Query{Filter: user.Filter{Search: "second"}}); len(got) != 1 {
				t.Errorf("%s the indexer: the new address finds %q", state, got)
			}
			b.index(t)
		}
	})
}

func TestSearchByIndexOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		people(t, b)
		b.index(t)
		var queued int64
		if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM user_search_queue").Scan(&queued); err != nil || queued != 0 {
			t.Fatalf("%d entries queued after the indexer, %v", queued, err)
		}
		// The index holds both tenants' users, and no more than them.
		for _, by := range []access.Actor{b.by, access.System(tenantB)} {
			users, _, err := b.List(t.Context(), b.DB, by, user.Query{Filter: user.Filter{Search: "annex"}, Limit: 10})
			if err != nil || len(users) != 1 {
				t.Errorf("tenant %s finds %d, %v; want its own one", by.Tenant[:1], len(users), err)
			}
		}
	})
}

func TestSearchManyMatches(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = 5200 // above the number at which a list is walked instead
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			for i := range n {
				if _, err := b.Create(t.Context(), tx, b.by, user.User{Username: fmt.Sprintf("user%05d", i), LastName: "Common"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.index(t)
		b.wantCount(t, user.Filter{Search: "common"}, n)
		if got, next := b.list(t, user.Query{Filter: user.Filter{LastName: "omm"}, Sort: user.ByUsername, Limit: 2}); strings.Join(got, " ") != "user00000 user00001" || next == "" {
			t.Errorf("first page: %q, next %q", got, next)
		}
		if _, err := b.tryCreate(t.Context(), access.System(tenantB), user.User{Username: "user05199", LastName: "Common"}); err != nil {
			t.Fatal(err)
		}
		b.index(t)
		for range 2 { // before it is known that nearly all entries are this tenant's, and then
			if got, _ := b.list(t, user.Query{Filter: user.Filter{Search: "user05199 common"}}); len(got) != 1 {
				t.Errorf("one of many: %q", got)
			}
			users, total, err := b.ListNumbered(t.Context(), b.DB, b.by, user.Query{Filter: user.Filter{LastName: "common"}, Sort: user.ByUsername, Limit: 3, Offset: 5198})
			if err != nil || total != n || len(users) != 2 || users[0].Username != "user05198" {
				t.Errorf("last page by number: %d users of %d, %v", len(users), total, err)
			}
			b.pass(time.Hour)
			b.wantCount(t, user.Filter{}, n) // settles the count
		}
	})
}

func TestIndexerTakesTurns(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for i := range 60 {
			b.create(t, user.User{Username: fmt.Sprintf("user%02d", i)})
		}
		indexer := &user.Indexer{DB: b.DB, Log: slog.New(slog.DiscardHandler)}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := indexer.Drain(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b.wantCount(t, user.Filter{Search: "user"}, 60)
	})
}

func TestCountStaysExact(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = 2500 // more than is counted one by one
		var ids []string
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			for i := range n {
				u, err := b.Create(t.Context(), tx, b.by, user.User{Username: fmt.Sprint("user", i)})
				if err != nil {
					return err
				}
				ids = append(ids, u.ID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.wantCount(t, user.Filter{}, n)
		b.pass(time.Hour)
		b.wantCount(t, user.Filter{}, n) // settles
		b.wantCount(t, user.Filter{}, n)
		b.remove(t, ids[0])
		b.remove(t, b.create(t, user.User{Username: "new"}).ID)
		b.create(t, user.User{Username: "newer"})
		b.wantCount(t, user.Filter{}, n)
		var settled int64
		if err := b.DB.QueryRow(t.Context(), "SELECT users FROM user_counts WHERE tenant_id = $1", tenantA).Scan(&settled); err != nil || settled != n-1 {
			t.Errorf("settled %d, %v; want %d", settled, err, n-1)
		}
	})
}

// Ids of a system that counts seconds sort behind all of ours, and never settle.
func TestCountIncludesForeignIDs(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		foreign := []user.Newcomer{{User: user.User{ID: "6694c154565dfee5166d1cc7", Email: "a@example.com"}}, {User: user.User{ID: "6694c154565dfee5166d1cc8", Email: "b@example.com"}}}
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Import(t.Context(), tx, b.by, tenantA, foreign)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b.create(t, user.User{Email: "c@example.com"})
		b.wantCount(t, user.Filter{}, 3)
		b.remove(t, foreign[0].ID)
		b.wantCount(t, user.Filter{}, 2)
		b.create(t, user.User{Email: "d@example.com"})
		b.wantCount(t, user.Filter{}, 3)
	})
}
