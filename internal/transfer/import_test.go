package transfer_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/transfer"
	"github.com/cardea-id/cardea/internal/user"
)

const bcrypt = `"password_hash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"`

func TestImportRefusesBrokenRecordsAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			name, format, before, bad, after, code string
		}{
			{"half a line", "jsonl", `{"email":"1@x.test"}`, `{"email":"bad`, `{"email":"2@x.test"}`, "invalid_record"},
			{"another type", "jsonl", `{"email":"1@x.test"}`, `{"email":["bad@x.test"]}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"not an object", "jsonl", `{"email":"1@x.test"}`, `17`, `{"email":"2@x.test"}`, "invalid_record"},
			{"two objects", "jsonl", `{"email":"1@x.test"}`, `{"email":"a@x.test"}{"email":"b@x.test"}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"invalid UTF-8", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","first_name":"` + "\xff" + `"}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"invalid UTF-8 in attributes", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","raw_attributes":{"a":"` + "\xc3" + `"}}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"NUL", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","raw_attributes":{"a":"\u0000"}}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"raw NUL", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","first_name":"` + "\x00" + `"}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"nested without end", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","raw_attributes":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + "}", `{"email":"2@x.test"}`, "invalid_record"},
			{"huge field", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","first_name":"` + strings.Repeat("x", 3<<20) + `"}`, `{"email":"2@x.test"}`, "record_too_large"},
			{"large field", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","raw_attributes":{"a":"` + strings.Repeat("x", 70<<10) + `"}}`, `{"email":"2@x.test"}`, "invalid_user"},
			{"no address", "jsonl", `{"email":"1@x.test"}`, `{"email":"nobody"}`, `{"email":"2@x.test"}`, "invalid_email"},
			{"look-alike address", "jsonl", `{"email":"1@x.test"}`, `{"email":"ｂad@x.test"}`, `{"email":"2@x.test"}`, "invalid_email"},
			{"nobody", "jsonl", `{"email":"1@x.test"}`, `{"first_name":"Niemand"}`, `{"email":"2@x.test"}`, "invalid_user"},
			{"an id of others", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","id":"user_1"}`, `{"email":"2@x.test"}`, "invalid_user"},
			{"the zero id", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","id":"000000000000000000000000"}`, `{"email":"2@x.test"}`, "invalid_user"},
			{"no time", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","created_at":"yesterday"}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"far future", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","created_at":999999999999999999}`, `{"email":"2@x.test"}`, "invalid_record"},
			{"unknown hash", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","password_hash":"secret!"}`, `{"email":"2@x.test"}`, "invalid_password_hash"},
			{"hash that wants 4 GiB", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","password_hash":"$argon2id$v=19$m=4194304,t=1,p=1$YXJnb24yIHNhbHQgMTIzNA$7+lnwRkv33oIQp8mYHr5N5UaVv5X4M4aXahew9P5KMk"}`, `{"email":"2@x.test"}`, "invalid_password_hash"},
			{"hash that wants a day", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","password_hash":"$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"}`, `{"email":"2@x.test"}`, "invalid_password_hash"},
			{"hash made with a pepper", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","password_hash":"$argon2id$v=19$m=7168,t=5,p=1,keyid=AAAAAAAA$YXJnb24yIHNhbHQgMTIzNA$7+lnwRkv33oIQp8mYHr5N5UaVv5X4M4aXahew9P5KMk"}`, `{"email":"2@x.test"}`, "invalid_password_hash"},
			{"control character in an action", "jsonl", `{"email":"1@x.test"}`, `{"email":"3@x.test","required_actions":["a\tb"]}`, `{"email":"2@x.test"}`, "invalid_record"},

			{"broken element", "ssojet", `[{"email":"1@x.test"},`, `{"email":tru},`, `{"email":"2@x.test"}]`, "invalid_record"},
			{"element that is no object", "ssojet", `[{"email":"1@x.test"},`, `"{",`, `{"email":"2@x.test"}]`, "invalid_record"},
			{"huge element", "ssojet", `[{"email":"1@x.test"},`, `{"email":"3@x.test","first_name":"` + strings.Repeat("x", 3<<20) + `"},`, `{"email":"2@x.test"}]`, "record_too_large"},
			{"cut off", "ssojet", `[{"email":"1@x.test"},`, `{"email":"2@x.test"},`, ``, "file_cut_off"},

			{"too many cells", "csv", "email,first_name\n1@x.test,a", "3@x.test,b,c", "2@x.test,d", "invalid_record"},
			{"quote in a cell", "csv", "email,first_name\n1@x.test,a", `3@x.test,b"b`, "2@x.test,d", "invalid_record"},
			{"text behind a quote", "csv", "email,first_name\n1@x.test,a", `3@x.test,"b"b`, "2@x.test,d", "invalid_record"},
			{"quote without end", "csv", "email,first_name\n1@x.test,a", `3@x.test,"b`, "2@x.test,d", "record_too_large"},
			{"huge cell", "csv", "email,first_name\n1@x.test,a", "3@x.test," + strings.Repeat("x", 3<<20), "2@x.test,d", "record_too_large"},
			{"huge quoted cell", "csv", "email,first_name\n1@x.test,a", `3@x.test,"` + strings.Repeat("x", 3<<20) + `"`, "2@x.test,d", "record_too_large"},
			{"invalid UTF-8 in CSV", "csv", "email,first_name\n1@x.test,a", "3@x.test,\xff", "2@x.test,d", "invalid_record"},
			{"NUL in CSV", "csv", "email,first_name\n1@x.test,a", "3@x.test,\x00", "2@x.test,d", "invalid_record"},
			{"broken JSON in CSV", "csv", "email,raw_attributes\n1@x.test,", `3@x.test,{"a":}`, "2@x.test,", "invalid_record"},
		} {
			t.Run(c.name, func(t *testing.T) {
				b.by = access.System(b.by.Tenant[:20] + fmt.Sprintf("%04x", len(c.name)*100+len(c.bad)%100)) // nobody there
				got, report := b.load(t, transfer.Options{File: file(t, c.before, c.bad, c.after), Format: c.format})
				if got.Created != 2 || got.Refused != 1 || len(report) != 1 || report[0].Code != c.code {
					t.Fatalf("%+v, %+v; want two created and one refused as %s", got, report, c.code)
				}
				b.find(t, "1@x.test")
				b.find(t, "2@x.test")
			})
		}
	})
}

// Read once for each row, this file would take minutes.
func TestQuotesWithoutEndAreReadOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		text := strings.Repeat("\"x\",\"\n", 60_000)
		got, report := b.load(t, transfer.Options{DryRun: true, File: file(t, "email", text+"a@x.test")})
		if got.Created != 1 || got.Refused != 60_000 || report[59_999].Line != 60_001 {
			t.Errorf("%+v, the last %+v", got, report[len(report)-1])
		}
	})
}

func TestImportStoresTenThousandRefusals(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		o := transfer.Options{Format: "jsonl", File: file(t, strings.Repeat("1\n", 12_345)+`{"email":"a@x.test"}`)}
		got, report := b.load(t, o)
		if got.Created != 1 || got.Refused != 12_345 || b.count(t, "import_refusals") != 10_000 {
			t.Errorf("%+v, %d stored", got, b.count(t, "import_refusals"))
		}
		if last := report[len(report)-1]; len(report) != 10_001 || last.Record != 0 || last.Code != "more_refused" || !strings.HasPrefix(last.Message, "2345 more") {
			t.Errorf("%d lines, the last %+v", len(report), last)
		}
	})
}

func TestImportCountsWhoIsThere(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.load(t, transfer.Options{File: file(t, `{"email":"a@x.test"}`)})
		for _, dry := range []bool{true, false} {
			got, _ := b.load(t, transfer.Options{DryRun: dry, File: file(t, `{"email":"a@x.test"}`, `{"email":"nobody"}`)})
			if got.Present != 1 || got.Refused != 2 {
				t.Errorf("dry %t: %+v", dry, got)
			}
		}
	})
}

func TestReportsNameTheRecordAndNoSecret(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, report := b.load(t, transfer.Options{Format: "jsonl", File: file(t, ``, `{"email":"a@x.test"}`, ``,
			`{"email":"b@x.test`+"\u202e"+`","password_hash":"$2b$99$hunter2"}`, `{"email":7,"password_hash":"hunter2"}`, `{"password_hash":12345678901234567890}`)})
		want := []transfer.Refusal{
			{Record: 2, Line: 4, Login: "b@x.test", Code: "invalid_email", Message: "That is not an e-mail address we can send to."},
			{Record: 3, Line: 5, Code: "invalid_record", Message: "email has the wrong type: number."},
			{Record: 4, Line: 6, Code: "invalid_record", Message: "password_hash has the wrong type: number."},
		}
		if diff := cmp.Diff(want, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}

func TestImportRefusesUnreadableFiles(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			name, text string
			o          transfer.Options
			code       string
		}{
			{"empty", "", transfer.Options{}, "unreadable_import_file"},
			{"UTF-16", "\xff\xfee\x00m\x00", transfer.Options{}, "unreadable_import_file"},
			{"CSV without a login", "name,plan\nx,y", transfer.Options{}, "unreadable_import_file"},
			{"Keycloak without users", `{"realm":"demo","clients":[]}`, transfer.Options{Format: "keycloak"}, "unreadable_import_file"},
			{"unknown format", "{}", transfer.Options{Format: "xml"}, "invalid_import_options"},
			{"unknown conflict", "{}", transfer.Options{OnConflict: "merge"}, "invalid_import_options"},
			{"mapping to no column", "email\nx@x.test", transfer.Options{Map: map[string]string{"phone": "tel"}}, "invalid_import_options"},
			{"mapping of no field", "email\nx@x.test", transfer.Options{Map: map[string]string{"shoe": "email"}}, "invalid_import_options"},
		} {
			c.o.File = file(t, c.text)
			_, err := b.Import(t.Context(), b.by, c.o)
			if p, ok := problem.From(err); !ok || p.Code != c.code {
				t.Errorf("%s: %v, want %s", c.name, err, c.code)
			}
		}
	})
}

func TestImportNeedsPermissions(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		path := file(t, `{"email":"a@x.test","roles":["owner"]}`)
		reader := b.by.With(access.UsersRead)
		if _, err := b.Import(t.Context(), reader, transfer.Options{File: path}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a reader imports: %v", err)
		}
		writer := b.by.With(access.UsersRead, access.UsersWrite)
		if _, err := b.Import(t.Context(), writer, transfer.Options{File: path, Roles: true}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a writer gives roles: %v", err)
		}
		if got, err := b.Import(t.Context(), writer, transfer.Options{File: path}); err != nil || got.Created != 1 {
			t.Errorf("a writer imports: %+v, %v", got, err)
		}
	})
}

func TestImportRefusesDuplicates(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.load(t, transfer.Options{File: file(t, `{"email":"there@x.test","phone":"+491511111111"}`, `{"id":"0123456789abcdef01234567","username":"kept"}`)})
		got, report := b.load(t, transfer.Options{File: file(t,
			`{"email":"There@X.test"}`,                                 // 1: there already
			`{"email":"new@x.test"}`,                                   // 2
			`{"email":"NEW@x.test"}`,                                   // 3: twice
			`{"email":"other@x.test","phone":"+491511111111"}`,         // 4: the phone is there
			`{"email":"other@x.test"}`,                                 // 5: free, since 4 was refused
			`{"username":"new@x.test"}`,                                // 6: somebody's address
			`{"id":"0123456789abcdef01234567","email":"id@x.test"}`,    // 7: the id is there
			`{"id":"0123456789abcdef01234568","email":"id@x.test"}`,    // 8
			`{"id":"0123456789abcdef01234568","email":"again@x.test"}`, // 9: the id twice
		)})
		if diff := cmp.Diff([]string{"1 user_exists", "3 user_exists", "4 user_exists", "6 user_exists", "7 user_exists", "9 user_exists"}, codes(report)); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
		if n := b.count(t, "user_identifiers"); got.Created != 3 || n != 3+3 {
			t.Errorf("%d created, %d identifiers in all", got.Created, n)
		}
		if u := b.find(t, "other@x.test"); u.Phone != "" {
			t.Errorf("other is %+v", u)
		}
	})
}

func TestImportUpdates(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.load(t, transfer.Options{File: file(t, `{"email":"a@x.test","first_name":"Old","last_name":"Name","raw_attributes":{"a":1}}`, `{"username":"b"}`)})
		before := b.find(t, "a@x.test")
		o := transfer.Options{OnConflict: transfer.Update, File: file(t,
			`{"email":"A@x.test","first_name":"New","phone":"+491511111111",`+bcrypt+`}`,
			`{"email":"c@x.test"}`,
			`{"email":"a@x.test","username":"b"}`, // two people
			`{"email":"a@x.test","is_active":false}`,
		)}
		dry := o
		dry.DryRun = true
		if got, report := b.load(t, dry); got.Updated != 2 || got.Created != 1 || len(report) != 1 {
			t.Errorf("dry run: %+v, %+v", got, report)
		}
		got, report := b.load(t, o)
		if diff := cmp.Diff([]string{"3 user_exists"}, codes(report)); diff != "" || got.Created != 1 || got.Updated != 2 {
			t.Errorf("%+v, refused %s", got, diff)
		}
		u := b.find(t, "+491511111111")
		checkUser(t, u, user.User{Email: "a@x.test", Phone: "+491511111111", FirstName: "New", LastName: "Name", Attributes: before.Attributes})
		if u.ID != before.ID || b.count(t, "passwords") != 1 {
			t.Error("another user, or no password")
		}
	})
}

// Further addresses come to those there are; what is somebody's already stays as it is.
func TestImportUpdatesAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		got, report := b.load(t, transfer.Options{File: file(t,
			`{"email":"a@x.test","email_verified":true,"addresses":["a@y.test",{"value":"a@z.test","held":true}]}`,
			`{"email":"b@x.test","addresses":"b@y.test"}`,
			`{"email":"c@x.test","addresses":["nobody"]}`,
			`{"email":"d@x.test","addresses":["A@y.test"]}`)})
		if diff := cmp.Diff([]string{"2 invalid_record", "3 invalid_phone", "4 user_exists"}, codes(report)); diff != "" || got.Created != 1 {
			t.Fatalf("%+v, refused %s", got, diff)
		}
		u := b.find(t, "a@y.test")
		b.load(t, transfer.Options{OnConflict: transfer.Update, File: file(t, `{"email":"a@x.test","addresses":["+4930555666","a@z.test"]}`)})
		list, err := b.Users.Addresses(t.Context(), b.DB, b.by, u.ID)
		var values []string
		for _, a := range list {
			values = append(values, fmt.Sprint(a.Value, " ", a.Held))
		}
		slices.Sort(values)
		if diff := cmp.Diff([]string{"+4930555666 false", "a@y.test false", "a@z.test true"}, values); diff != "" || err != nil {
			t.Errorf("%s, %v", diff, err)
		}
		// A record finds its user by a further address too; two people's addresses are nobody's.
		got, report = b.load(t, transfer.Options{OnConflict: transfer.Update, File: file(t,
			`{"username":"anew","addresses":["a@y.test"]}`,
			`{"email":"e@x.test"}`,
			`{"email":"e@x.test","addresses":["a@y.test"]}`)})
		if diff := cmp.Diff([]string{"3 user_exists"}, codes(report)); diff != "" || got.Updated != 1 || got.Created != 1 {
			t.Errorf("%+v, refused %s", got, diff)
		}
		if u := b.find(t, "a@x.test"); u.Username != "anew" || u.Email != "a@x.test" {
			t.Errorf("%+v", u)
		}
	})
}

func TestImportWritesOneEventForMany(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		lines := make([]string, 1500)
		for i := range lines {
			lines[i] = fmt.Sprintf(`{"email":"u%d@x.test"}`, i)
		}
		got, _ := b.load(t, transfer.Options{File: file(t, lines...)})
		if _, err := (&audit.Sealer{DB: b.DB}).Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		events, err := audit.List(t.Context(), b.DB, b.by.Tenant, audit.Filter{Action: "user.imported"}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 2 || events[0].TargetID != got.ID || !strings.Contains(string(events[1].Detail), `"users":1000`) {
			t.Errorf("events %+v", events)
		}
	})
}

func TestImportedUsersAreCountedAndSearched(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		old := make([]string, 2100) // ids of long ago, which are in the settled part of the count
		for i := range old {
			old[i] = fmt.Sprintf(`{"id":"0180%020x","email":"old%d@x.test","first_name":"Zacharias"}`, i*1000, i)
		}
		b.load(t, transfer.Options{File: file(t, old...)})
		for range 2 { // the first settles
			if n, err := b.Users.Count(t.Context(), b.DB, b.by, user.Filter{}); n != 2100 || err != nil {
				t.Errorf("count %d, %v", n, err)
			}
		}
		b.load(t, transfer.Options{File: file(t, `{"id":"018000000000000000000001","email":"between@x.test"}`, `{"email":"fresh@x.test","first_name":"Zacharias"}`, `{"id":"0180fffffffffffff0000000","email":"late@x.test"}`)})
		if n, err := b.Users.Count(t.Context(), b.DB, b.by, user.Filter{}); n != 2103 || err != nil {
			t.Errorf("count %d, %v", n, err)
		}
		for _, drained := range []bool{false, true} {
			if drained {
				if err := (&user.Indexer{DB: b.DB}).Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for search, want := range map[string]int64{"achari": 2101, "betwee": 1, "late@x": 1, "fresh": 1} {
				if n, err := b.Users.Count(t.Context(), b.DB, b.by, user.Filter{Search: search}); n != want || err != nil {
					t.Errorf("search %s, indexed %v: %d, %v; want %d", search, drained, n, err, want)
				}
			}
		}
		if n := b.count(t, "user_search"); n != 2103 {
			t.Errorf("%d search entries", n)
		}
	})
}

func TestDryRunWritesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.load(t, transfer.Options{File: file(t, `{"email":"there@x.test"}`)})
		tables := []string{"users", "user_identifiers", "passwords", "imports", "import_refusals", "audit_unsealed", "user_search_queue"}
		before := map[string]int64{}
		for _, table := range tables {
			before[table] = b.count(t, table)
		}
		got, report := b.load(t, transfer.Options{DryRun: true, File: file(t, `{"email":"there@x.test"}`, `{"email":"a@x.test",`+bcrypt+`}`, `{"email":"A@x.test"}`, `{"email":"broken"}`)})
		if diff := cmp.Diff([]string{"1 user_exists", "3 user_exists", "4 invalid_email"}, codes(report)); diff != "" || got.Created != 1 {
			t.Errorf("%+v, refused %s", got, diff)
		}
		for _, table := range tables {
			if n := b.count(t, table); n != before[table] {
				t.Errorf("%s has %d rows, had %d", table, n, before[table])
			}
		}
	})
}

// many writes n users with ids, passwords and roles, in no order of their logins,
// every 500th broken and every 700th a repetition.
func many(t testing.TB, n int) (path string, good int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "many.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		switch {
		case i%500 == 499:
			fmt.Fprintln(w, `{"email":"broken"}`)
		case i%700 == 699:
			fmt.Fprintln(w, `{"email":"u0@x.test"}`)
		default:
			good++
			fmt.Fprintf(w, `{"email":"u%d@x.test","username":"%x.%d","roles":["developer"],%s}`+"\n", i, i*7919%997, i, bcrypt)
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path, good
}

// checkMany checks that everybody is there once, with all that belongs to them.
func (b *bench) checkMany(t *testing.T, good int) {
	t.Helper()
	for table, want := range map[string]int{"users": good, "user_identifiers": 2 * good, "passwords": good, "user_roles": good} {
		if n := b.count(t, table); n != int64(want) {
			t.Errorf("%d rows in %s, want %d", n, table, want)
		}
	}
}

func TestImportGoesOnWhereItStopped(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		path, good := many(t, 6500)
		o := transfer.Options{File: path, Roles: true}
		var last transfer.Progress
		for runs := 0; ; runs++ {
			ctx, stop := context.WithCancel(t.Context())
			steps := 0
			o.Progress = func(p transfer.Progress) {
				if p.Records < last.Records || p.ID != last.ID && runs > 0 {
					t.Errorf("went back from %+v to %+v", last, p)
				}
				if last, steps = p, steps+1; steps == 2 {
					stop()
				}
			}
			_, err := b.Import(ctx, b.by, o)
			stop()
			if err == nil {
				break
			}
			if runs > 10 || !errors.Is(err, context.Canceled) {
				t.Fatalf("run %d: %v", runs, err)
			}
		}
		b.checkMany(t, good)
		if refused := 6500 - good; last.State != transfer.Done || last.Created != int64(good) || last.Refused != int64(refused) || b.count(t, "import_refusals") != int64(refused) {
			t.Errorf("in the end %+v, want %d and %d", last, good, refused)
		}

		// The same command once more finds everybody there.
		o.Progress = nil
		again, _ := b.load(t, o)
		if again.ID == last.ID || again.Created != 0 || again.Refused != 6500 {
			t.Errorf("again: %+v", again)
		}
		b.checkMany(t, good)
	})
}

// breakImports makes a transaction of an import fail at its last statement.
func (b *bench) breakImports(t *testing.T) {
	t.Helper()
	if b.DB.Engine() == database.SQLite {
		b.exec(t, "CREATE TRIGGER fault BEFORE UPDATE ON imports BEGIN SELECT RAISE(ABORT, 'fault'); END")
		return
	}
	b.exec(t, "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''fault''; END'")
	b.exec(t, "CREATE TRIGGER fault BEFORE UPDATE ON imports FOR EACH ROW EXECUTE FUNCTION fault()")
}

func (b *bench) repairImports(t *testing.T) {
	t.Helper()
	b.exec(t, map[string]string{database.SQLite: "DROP TRIGGER fault", database.PostgreSQL: "DROP TRIGGER fault ON imports"}[b.DB.Engine()])
}

func (b *bench) exec(t *testing.T, statement string) {
	t.Helper()
	if err := b.DB.Write(t.Context(), func(tx *database.Tx) error { _, err := tx.Exec(t.Context(), statement); return err }); err != nil {
		t.Fatal(err)
	}
}

func TestAbandonedTransactionsLoseAndDoubleNobody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		path, good := many(t, 4000)
		o := transfer.Options{File: path, Roles: true}
		steps := 0
		o.Progress = func(transfer.Progress) {
			if steps++; steps == 2 {
				b.breakImports(t)
			}
		}
		if _, err := b.Import(t.Context(), b.by, o); err == nil {
			t.Fatal("the import did not fail")
		}
		if n := b.count(t, "users"); n == 0 || n >= int64(good) {
			t.Fatalf("%d users after the fault", n)
		}
		b.repairImports(t)
		o.Progress = nil
		got, _ := b.load(t, o)
		b.checkMany(t, good)
		if got.Created != int64(good) {
			t.Errorf("%+v, want %d created", got, good)
		}
	})
}

func TestOfTwoImportsOfOneFileEverybodyComesOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		path, good := many(t, 5000)
		var done sync.WaitGroup
		results := make([]error, 3)
		for i := range results {
			done.Go(func() { _, results[i] = b.Import(t.Context(), b.by, transfer.Options{File: path, Roles: true}) })
		}
		done.Wait()
		finished := 0
		for _, err := range results {
			if err == nil {
				finished++
			} else if !errors.Is(err, transfer.ErrLost) {
				t.Errorf("one of them: %v", err)
			}
		}
		if finished == 0 {
			t.Error("nobody finished")
		}
		b.checkMany(t, good)
	})
}

func TestImportRacesWithCreation(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = 3000
		lines := make([]string, n)
		for i := range lines {
			lines[i] = fmt.Sprintf(`{"email":"u%d@x.test","username":"n%d"}`, i, i)
		}
		var created int64
		var done sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		done.Go(func() {
			for i := n - 1; i > 0 && ctx.Err() == nil; i -= 7 {
				err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
					_, err := b.Users.Create(t.Context(), tx, b.by, user.User{Username: fmt.Sprintf("n%d", i)})
					return err
				})
				if err == nil {
					created++
				} else if !errors.Is(err, user.ErrExists) {
					t.Errorf("create: %v", err)
				}
			}
		})
		got, report := b.load(t, transfer.Options{File: file(t, lines...)})
		stop()
		done.Wait()
		if got.Created+created != n || got.Refused != int64(len(report)) || got.Created+got.Refused != n {
			t.Errorf("%d created by hand, import %+v", created, got)
		}
		if users, identifiers := b.count(t, "users"), b.count(t, "user_identifiers"); users != n || identifiers != 2*got.Created+created {
			t.Errorf("%d users, %d identifiers", users, identifiers)
		}
	})
}

func TestImportKeepsItsMemory(t *testing.T) {
	// Not beside other tests, whose memory would count.
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(t, db)
		path := filepath.Join(t.TempDir(), "users.jsonl")
		writeUsers(t, path, 200_000)
		var peak uint64
		got, err := b.Import(t.Context(), b.by, transfer.Options{File: path, Progress: func(transfer.Progress) { peak = max(peak, heap()) }})
		if err != nil || got.Created != 200_000 {
			t.Fatalf("%+v, %v", got, err)
		}
		if peak > 120<<20 {
			t.Errorf("took %d MB", peak>>20)
		}
	})
}

func TestImportsOfTheSameIDsAtOnceKeepEachOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = 1200
		paths := make([]string, 2)
		for i := range paths {
			lines := make([]string, n)
			for j := range lines {
				lines[j] = fmt.Sprintf(`{"id":"0180%020x","email":"u%d@%d.test"}`, j, j, i)
			}
			paths[i] = file(t, lines...)
		}
		var done sync.WaitGroup
		results := make([]transfer.Progress, len(paths))
		for i := range paths {
			done.Go(func() {
				var err error
				if results[i], err = b.Import(t.Context(), b.by, transfer.Options{File: paths[i]}); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if users, identifiers := b.count(t, "users"), b.count(t, "user_identifiers"); users != n || identifiers != n || results[0].Created+results[1].Created != n {
			t.Errorf("%d users, %d identifiers, %+v", users, identifiers, results)
		}
	})
}
