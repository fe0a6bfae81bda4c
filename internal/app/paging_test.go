package app_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
)

// walk follows the cursors of a list to its end and returns the ids it met. Between
// two pages it calls between, if there is any.
func walk(t *testing.T, c apptest.Client, query string, between func(page int)) (ids []string) {
	t.Helper()
	target := "/api/v1/users?" + query
	for page := 1; ; page++ {
		a := c.Get(t, target).Want(t, 200)
		ids = append(ids, idsOf(t, a)...)
		next := a.Header.Get("X-Next-Cursor")
		if next == "" {
			if link := a.Header.Get("Link"); link != "" {
				t.Fatalf("the last page links to %s", link)
			}
			return ids
		}
		target = linkOf(t, a)
		if u, err := url.Parse(target); err != nil || u.Query().Get("cursor") != next {
			t.Fatalf("Link is %q, X-Next-Cursor %q", target, next)
		}
		if page > 500 {
			t.Fatal("the list does not end")
		}
		if between != nil {
			between(page)
		}
	}
}

// linkOf is the target of a Link header with rel="next", RFC 8288.
func linkOf(t *testing.T, a apptest.Answer) string {
	t.Helper()
	target, ok := strings.CutSuffix(a.Header.Get("Link"), `>; rel="next"`)
	if target, found := strings.CutPrefix(target, "<"); ok && found {
		return target
	}
	t.Fatalf("Link is %q", a.Header.Get("Link"))
	return ""
}

// makePeople makes n users with usernames in another order than that of their
// creation.
func makePeople(t *testing.T, c apptest.Client, n int) (ids []string) {
	t.Helper()
	for i := range n {
		ids = append(ids, makeUserOf(t, c, map[string]any{"email": newEmail(), "username": fmt.Sprintf("p%03d", (i*37)%n), "first_name": "Pat"}))
	}
	return ids
}

func TestPagesShowEveryUserOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		people := makePeople(t, w.Demo.Client, 23)
		byName := slices.SortedFunc(slices.Values(people), func(a, b string) int {
			return (slices.Index(people, a)*37)%23 - (slices.Index(people, b)*37)%23
		})
		reversed := func(ids []string) []string {
			ids = slices.Clone(ids)
			slices.Reverse(ids)
			return ids
		}
		for query, want := range map[string][]string{
			"limit=1": people, "limit=5": people, "limit=22": people, "limit=23": people, "limit=500": people, "": people,
			"limit=5&sort=created_at": people, "limit=5&sort=-created_at": reversed(people),
			"limit=5&sort=username": byName, "limit=5&sort=-username": reversed(byName),
			"limit=4&client_id=" + w.Demo.ClientID: people, "limit=4&search=pat": people, "limit=4&search=pat&sort=username": byName,
		} {
			if got := walk(t, w.Demo.Client, query, nil); !slices.Equal(got, want) {
				t.Errorf("%s: got %d users %v, want %v", query, len(got), got, want)
			}
		}
	})
}

// Who is there throughout is shown exactly once, whoever comes and goes meanwhile.
func TestPagesShowEveryUserOnceWhileOthersComeAndGo(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, sort := range []string{"created_at", "-created_at", "username", "-username"} {
			shop := w.Tenant(t, strings.NewReplacer("_", "", "-", "down").Replace(sort))
			people := makePeople(t, shop.Client, 30)
			leavers := people[:0:0]
			for i := 0; i < len(people); i += 3 {
				leavers = append(leavers, people[i])
			}
			gone := 0
			got := walk(t, shop.Client, "limit=4&sort="+sort, func(page int) {
				if gone < len(leavers) {
					shop.Delete(t, "/api/v1/users/"+leavers[gone]).Want(t, 200)
					gone++
				}
				if page < 6 {
					makeUserOf(t, shop.Client, map[string]any{"email": newEmail(), "username": fmt.Sprintf("p%03dx", page*5)})
				}
			})
			seen := map[string]int{}
			for _, id := range got {
				if seen[id]++; seen[id] > 1 {
					t.Errorf("%s: %s was shown %d times", sort, id, seen[id])
				}
			}
			for _, id := range people {
				if !slices.Contains(leavers, id) && seen[id] != 1 {
					t.Errorf("%s: %s stayed throughout and was shown %d times", sort, id, seen[id])
				}
			}
		}
	})
}

func TestLimit(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		makePeople(t, w.Demo.Client, 3)
		for _, limit := range []string{"1", "3", "500", "02", "%31"} {
			w.Demo.Get(t, "/api/v1/users?limit="+limit).Want(t, 200)
		}
		for _, limit := range []string{"0", "-1", "501", "1000000000", "9223372036854775808", "99999999999999999999999", "ten", "1.5", "1e2", "0x10", "%20", "5%20", "%D9%A3", "string", "null", "1;2", "1%00", "%zz"} {
			w.Demo.Get(t, "/api/v1/users?limit="+limit).WantError(t, 400, "invalid_query_parameters")
		}
		// An empty limit is none; of several the first that says something counts.
		for query, want := range map[string]int{"limit=": 3, "limit=&limit=2": 2, "limit=1&limit=2": 1} {
			if got := idsOf(t, w.Demo.Get(t, "/api/v1/users?"+query)); len(got) != want {
				t.Errorf("%s: got %d users, want %d", query, len(got), want)
			}
		}
	})
}

func TestFilters(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		start := w.Clock.Now().UTC()
		c := w.Demo.Client
		ann := makeUserOf(t, c, map[string]any{"email": "ann.lee@example.com", "first_name": "Ann", "last_name": "Lee", "phone": "+49 151 1234567"})
		w.Clock.Advance(time.Hour)
		middle := w.Clock.Now().UTC()
		w.Clock.Advance(time.Hour)
		bob := makeUserOf(t, c, map[string]any{"email": "bob@example.org", "first_name": "Robert", "last_name": "O'Neil", "username": "Bobby", "is_active": false})
		max := makeUserOf(t, c, map[string]any{"username": "z_max", "first_name": "Über", "last_name": "100%_Größe"})
		w.Demo.Put(t, "/api/v1/users/"+ann+"/roles", []string{w.Demo.Roles["admin"].ID}).Want(t, 200)
		time := func(t time.Time) string { return url.QueryEscape(t.Format("2006-01-02T15:04:05.000Z07:00")) }
		for query, want := range map[string][]string{
			"email=ann.lee@example.com": {ann}, "email=ANN.LEE@Example.com": {ann}, "email=ann.lee": {}, "email=nobody@example.com": {}, "email=": {ann, bob, max}, "email=Bobby": {},
			"search=ann": {ann}, "search=lee": {ann}, "search=LEE+an": {ann}, "search=example": {ann, bob}, "search=bobby": {bob}, "search=o%27neil": {bob}, "search=1511234": {ann},
			"search=%C3%BCber": {max}, "search=_GR%C3%96%C3%9FE": {max}, "search=x1y2z3": {}, "search=ann+robert": {}, "search=+": {ann, bob, max},
			"search=100%25": {max}, "search=%25": {}, "search=_": {}, "search=0%25_g": {max}, "search=z_m": {max}, "search=z%25m": {}, "search=1_0": {}, "search=%5C": {}, "search=%27%3B+DROP+TABLE+users%3B--": {},
			"is_active=true": {ann, max}, "is_active=false": {bob}, "is_active=true&search=example": {ann},
			"role_id=" + w.Demo.Roles["admin"].ID: {ann}, "role_id=" + w.Demo.Roles["owner"].ID: {}, "role_id=x": {},
			"organization_id=6694c154565dfee5166d1cc7": {},
			"created_before=" + time(middle):           {ann}, "created_after=" + time(middle): {bob, max}, "created_after=" + time(start) + "&created_before=" + time(middle): {ann},
			"created_after=" + url.QueryEscape(middle.Format("2006-01-02T15:04:05.000")+"+00:00"): {bob, max},
			"sort=-created_at": {max, bob, ann}, "sort=username": {ann, bob, max},
			"unknown=1": {ann, bob, max},
		} {
			if got := idsOf(t, w.Demo.Get(t, "/api/v1/users?"+query)); !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", query, got, want)
			}
		}
		for _, query := range []string{"is_active=yes", "is_active=2", "created_after=yesterday", "created_before=2026-01-01", "created_after=1700000000", "sort=email", "sort=password", "sort=created_at%20DESC", "sort=-", "sort=--created_at"} {
			w.Demo.Get(t, "/api/v1/users?"+query).WantError(t, 400, "invalid_query_parameters")
		}
	})
}

func TestCursorIsGoodForItsListOnly(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		makePeople(t, w.Demo.Client, 3)
		makePeople(t, shop.Client, 3)
		cursor := w.Demo.Get(t, "/api/v1/users?limit=1").Header.Get("X-Next-Cursor")
		byName := w.Demo.Get(t, "/api/v1/users?limit=1&sort=username").Header.Get("X-Next-Cursor")
		w.Demo.Get(t, "/api/v1/users?limit=2&cursor="+cursor).Want(t, 200) // a page may be of another size
		w.Demo.As(t, access.UsersRead).Get(t, "/api/v1/users?cursor="+cursor).Want(t, 200)
		for name, c := range map[string]struct {
			client apptest.Client
			query  string
		}{
			"another tenant":    {shop.Client, "cursor=" + cursor},
			"another order":     {w.Demo.Client, "sort=-created_at&cursor=" + cursor},
			"another field":     {w.Demo.Client, "sort=username&cursor=" + cursor},
			"another way round": {w.Demo.Client, "cursor=" + byName},
			"another filter":    {w.Demo.Client, "is_active=true&cursor=" + cursor},
			"another search":    {w.Demo.Client, "search=pat&cursor=" + cursor},
			"another address":   {w.Demo.Client, "email=a@example.com&cursor=" + cursor},
			"another time":      {w.Demo.Client, "created_after=2020-01-01T00:00:00Z&cursor=" + cursor},
			"cut":               {w.Demo.Client, "cursor=" + cursor[:len(cursor)-2]},
			"longer":            {w.Demo.Client, "cursor=" + cursor + "AAAA"},
			"no base64":         {w.Demo.Client, "cursor=" + cursor + "*"},
			"an id":             {w.Demo.Client, "cursor=6694c154565dfee5166d1cc7"},
			"a statement":       {w.Demo.Client, "cursor=" + base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef6694c154565dfee5166d1cc7' OR '1'='1"))},
			"zeros":             {w.Demo.Client, "cursor=" + strings.Repeat("A", 54)},
		} {
			t.Run(name, func(t *testing.T) { c.client.Get(t, "/api/v1/users?"+c.query).WantError(t, 400, "invalid_cursor") })
		}
	})
}

func TestCursorCanNotBeAltered(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		makePeople(t, w.Demo.Client, 2)
		for _, sort := range []string{"created_at", "username"} {
			raw, err := base64.RawURLEncoding.DecodeString(w.Demo.Get(t, "/api/v1/users?limit=1&sort="+sort).Header.Get("X-Next-Cursor"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range raw {
				altered := slices.Clone(raw)
				altered[i] ^= 1
				w.Demo.Get(t, "/api/v1/users?sort="+sort+"&cursor="+base64.RawURLEncoding.EncodeToString(altered)).WantError(t, 400, "invalid_cursor")
			}
		}
	})
}

// Of 50 requests at once for the same address one makes the user.
func TestCreateRaceHasOneWinner(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		const n = 50
		status := make([]int, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				email := "race@example.com"
				if i%2 == 1 {
					email = "RACE@Example.com"
				}
				status[i] = w.Demo.Post(t, "/api/v1/users", map[string]any{"first_name": fmt.Sprint(i), "email": email}).Status
			})
		}
		wg.Wait()
		slices.Sort(status)
		want := append([]int{200}, slices.Repeat([]int{409}, n-1)...)
		if !slices.Equal(status, want) {
			t.Errorf("got the statuses %v, want one 200 and 409s", status)
		}
		if got := idsOf(t, w.Demo.Get(t, "/api/v1/users?email=race@example.com")); len(got) != 1 {
			t.Errorf("made %d users", len(got))
		}
		if got := idsOf(t, w.Demo.Get(t, "/api/v1/users")); len(got) != 1 {
			t.Errorf("the list has %d users", len(got))
		}
	})
}

// Of many deletions at once one finds the user, and of updates at once none is lost.
func TestDeleteRaceHasOneWinner(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		const n = 20
		id, _ := makeUser(t, w.Demo.Client)
		status := make([]int, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { status[i] = w.Demo.Delete(t, "/api/v1/users/"+id).Status })
		}
		wg.Wait()
		slices.Sort(status)
		if want := append([]int{200}, slices.Repeat([]int{404}, n-1)...); !slices.Equal(status, want) {
			t.Errorf("got the statuses %v, want one 200 and 404s", status)
		}
	})
}

func TestUpdatesAtOnceLoseNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		var wg sync.WaitGroup
		for _, body := range []string{`{"first_name": "A"}`, `{"last_name": "B"}`, `{"phone": "+4915112345678"}`, `{"groups": ["g"]}`, `{"raw_attributes": {"a": 1}}`, `{"is_active": false}`} {
			for range 3 {
				wg.Go(func() { w.Demo.Put(t, "/api/v1/users/"+id, body).Want(t, 200) })
			}
		}
		wg.Wait()
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id).Body, map[string]string{
			"first_name": `"A"`, "last_name": `"B"`, "phone_id": `"+4915112345678"`, "groups": `["g"]`, "raw_attributes": `{"a":1}`, "is_active": "false",
		})
	})
}
