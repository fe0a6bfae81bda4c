package kobil_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// people fills demo with users to filter.
func people(t *testing.T, b *bench) {
	t.Helper()
	for _, u := range []user.User{
		{Username: "grace", Email: "grace@navy.test", FirstName: "Grace", LastName: "Hopper"},
		{Username: "Ada", Email: "ada@example.com", FirstName: "Augusta Ada", LastName: "Lovelace"},
		{Username: "alan", Email: "alan@example.com", FirstName: "Alan", LastName: "Turing"},
		{Email: "linda@example.com", FirstName: "Linda", LastName: "Lovelace"},
		{Phone: "+4915112345678", FirstName: "Ünal", LastName: "Öz"},
	} {
		b.add(t, "demo", u)
	}
}

// The list says of a user what the contract's sample says, no more and no less.
func TestListIsTheDocumentedSample(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "demo", user.User{Username: "ada", Email: "ada@example.com", FirstName: "Ada", LastName: "Lovelace", IsActive: true, Attributes: json.RawMessage(`{"digitaniumCreateActivation":true}`)})
		b.add(t, "demo", user.User{Username: "root", RoleIDs: []string{b.roleID(t, "demo", "digitanium_admin")}})
		got := b.ask(t, "GET", f.list, "").is(t, 200, "Success", "Users fetched successfully", 5)
		want := map[string]any{
			"message": "Users fetched successfully", "status": "Success", "subSystem": 5.0,
			"data": map[string]any{
				"userList": []any{
					map[string]any{"username": "ada", "enabled": true, "emailVerified": false, "attributes": map[string]any{"digitaniumCreateActivation": []any{"true"}}, "requiredActions": []any{}, "admin": false},
					map[string]any{"username": "root", "enabled": false, "emailVerified": false, "attributes": map[string]any{}, "requiredActions": []any{}, "admin": true},
				},
				"page": map[string]any{"pageSize": 20.0, "totalRecords": 2.0, "totalPages": 1.0, "currentPage": 1.0},
			},
		}
		if diff := cmp.Diff(want, got.member); diff != "" {
			t.Errorf("list differs from the sample (-want +got):\n%s", diff)
		}
	})
}

func TestListShowsProfilesIfTheTenantWants(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.add(t, "demo", user.User{Username: "ada", Email: "ada@example.com", FirstName: "Ada", LastName: "Lovelace"})
		b.add(t, "demo", user.User{Username: "bare"})
		b.write(t, func(tx *database.Tx) error {
			return b.tenants.SaveSettings(t.Context(), tx, access.System(b.ids["demo"]), b.ids["demo"], tenant.Settings{Kobil: tenant.Kobil{ListProfileFields: true}})
		})
		list := b.ask(t, "GET", "/digitanium/v4/users", "").data(t)["userList"].([]any)
		ada, bare := list[0].(map[string]any), list[1].(map[string]any)
		for field, want := range map[string]string{"id": made.ID, "email": "ada@example.com", "firstName": "Ada", "lastName": "Lovelace"} {
			if ada[field] != want {
				t.Errorf("%s is %v, want %q", field, ada[field], want)
			}
		}
		if _, ok := bare["id"]; !ok || len(bare) != 7 {
			t.Errorf("a user without a profile is %v, want the sample's fields and id", bare)
		}
	})
}

func TestFilters(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		people(t, b)
		for query, want := range map[string]string{
			"":                               "+4915112345678 Ada alan grace linda@example.com",
			"email=ada@example.com":          "Ada",
			"email=ADA@Example.COM":          "Ada",
			"email=+ada@example.com+":        "Ada",
			"firstName=ada":                  "Ada",
			"firstName=A":                    "+4915112345678 Ada alan grace linda@example.com",
			"firstName=gusta%20a":            "Ada",
			"lastName=LOVE":                  "Ada linda@example.com",
			"lastName=%C3%B6z":               "+4915112345678",
			"lastName=love&firstName=lin":    "linda@example.com",
			"email=alan@example.com&email=":  "alan",
			"email=&email=alan@example.com":  "alan",
			"email=&firstName=&lastName=":    "+4915112345678 Ada alan grace linda@example.com",
			"firstName=%20":                  "+4915112345678 Ada alan grace linda@example.com",
			"search=love":                    "Ada linda@example.com",
			"search=example&lastName=turing": "alan",
			"search=+":                       "+4915112345678 Ada alan grace linda@example.com",
			"username=ada":                   "+4915112345678 Ada alan grace linda@example.com", // not a parameter of this call
		} {
			if got := b.ask(t, "GET", "/digitanium/v4/users?"+query, "").names(t); got != want {
				t.Errorf("?%s lists %q, want %q", query, got, want)
			}
		}
	})
}

func TestFiltersThatMatchNobodyAnswer404(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		people(t, b)
		for _, query := range []string{
			"email=nobody@example.com", "email=ada@example", "email=da@example.com", "email=not+an+address", "firstName=Zoe", "lastName=%25", "lastName=_",
			"firstName=ada&lastName=turing", "search=zzz", "email=ada@example.com&firstName=grace", "firstName=%27%20OR%201=1--",
			"firstName=" + strings.Repeat("x", 3000),
		} {
			b.ask(t, "GET", f.list+"?"+query, "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
		}
	})
}

func TestEmptyTenantListsNobody(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		got := b.ask(t, "GET", f.list+"?pageNumber=7&email=", "").is(t, 200, "Success", "Users fetched successfully", 5)
		want := map[string]any{"userList": []any{}, "page": map[string]any{"pageSize": 20.0, "totalRecords": 0.0, "totalPages": 0.0, "currentPage": 7.0}}
		if diff := cmp.Diff(want, got.data(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// crowd fills demo with users u00, u01, …; every third is a Miller.
func crowd(t *testing.T, b *bench, n int) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		for i := n - 1; i >= 0; i-- {
			u := user.User{Username: fmt.Sprintf("u%02d", i)}
			if i%3 == 0 {
				u.LastName = "Miller"
			}
			if _, err := b.users.Create(t.Context(), tx, access.System(b.ids["demo"]), u); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		crowd(t, b, 45)
		for _, c := range []struct {
			query                         string
			size, records, pages, current float64
			first, last                   string
			items                         int
		}{
			{query: "", size: 20, records: 45, pages: 3, current: 1, first: "u00", last: "u19", items: 20},
			{query: "pageNumber=2", size: 20, records: 45, pages: 3, current: 2, first: "u20", last: "u39", items: 20},
			{query: "pageNumber=3", size: 20, records: 45, pages: 3, current: 3, first: "u40", last: "u44", items: 5},
			{query: "pageNumber=4", size: 20, records: 45, pages: 3, current: 4},
			{query: "pageNumber=99999999999999999999", size: 20, records: 45, pages: 3, current: 9223372036854775807},
			{query: "pageNumber=9223372036854775807&limit=1000", size: 1000, records: 45, pages: 1, current: 9223372036854775807},
			{query: "pageNumber=0", size: 20, records: 45, pages: 3, current: 1, first: "u00", last: "u19", items: 20},
			{query: "pageNumber=-5", size: 20, records: 45, pages: 3, current: 1, first: "u00", last: "u19", items: 20},
			{query: "pageNumber=&limit=", size: 20, records: 45, pages: 3, current: 1, first: "u00", last: "u19", items: 20},
			{query: "limit=15&pageNumber=3", size: 15, records: 45, pages: 3, current: 3, first: "u30", last: "u44", items: 15},
			{query: "limit=1&pageNumber=45", size: 1, records: 45, pages: 45, current: 45, first: "u44", last: "u44", items: 1},
			{query: "limit=1001", size: 1000, records: 45, pages: 1, current: 1, first: "u00", last: "u44", items: 45},
			{query: "limit=99999999999999999999", size: 1000, records: 45, pages: 1, current: 1, first: "u00", last: "u44", items: 45},
			{query: "max=10", size: 10, records: 45, pages: 5, current: 1, first: "u00", last: "u09", items: 10},
			{query: "max=10&limit=7", size: 7, records: 45, pages: 7, current: 1, first: "u00", last: "u06", items: 7},
			{query: "lastName=miller&limit=4&pageNumber=4", size: 4, records: 15, pages: 4, current: 4, first: "u36", last: "u42", items: 3},
			{query: "lastName=miller&limit=4&pageNumber=5", size: 4, records: 15, pages: 4, current: 5},
			{query: "search=u4&limit=2&pageNumber=2", size: 2, records: 5, pages: 3, current: 2, first: "u42", last: "u43", items: 2},
		} {
			got := b.ask(t, "GET", "/digitanium/v4/users?"+c.query, "").is(t, 200, "Success", "", 5)
			want := map[string]any{"pageSize": c.size, "totalRecords": c.records, "totalPages": c.pages, "currentPage": c.current}
			if diff := cmp.Diff(want, got.data(t)["page"]); diff != "" {
				t.Errorf("?%s: page (-want +got):\n%s", c.query, diff)
			}
			names := strings.Fields(got.names(t))
			if len(names) != c.items || c.items > 0 && (names[0] != c.first || names[len(names)-1] != c.last) {
				t.Errorf("?%s lists %v, want %d from %q to %q", c.query, names, c.items, c.first, c.last)
			}
		}
	})
}

func TestBadNumbersAnswer400(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		for _, query := range []string{
			"limit=0", "limit=-1", "limit=abc", "limit=1.5", "limit=0x10", "limit=1e3", "limit=%20", "limit=-99999999999999999999", "limit=5%00",
			"max=0", "max=ten", "pageNumber=one", "pageNumber=1.0", "pageNumber=%E2%82%AC", "email=a%00b", "firstName=%ff", "search=%00", "limit=abc&email=nobody@example.com",
		} {
			b.ask(t, "GET", f.list+"?"+query, "").is(t, 400, "BAD_REQUEST", "", 5)
		}
	})
}

// The single-user call ignores what the vendor's generated catalogue lists there.
func TestGetUserIgnoresListParameters(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada"})
		b.ask(t, "GET", "/auth/realms/demo/v3_user/ada?firstName=zoe&limit=abc&pageNumber=0", "").is(t, 200, "Success", "", 5)
	})
}

func TestAttributesAreArraysOfStrings(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada", Attributes: json.RawMessage(
			`{"text":"a","texts":["a","b"],"yes":true,"no":false,"number":1.50,"big":12345678901234567890,"nothing":null,"object":{"k":[1]},"mixed":["a",1,true,null,{"x":"y"}],"none":[],"":"empty","ünï":"ö\u2028"}`)})
		want := map[string]any{
			"text": []any{"a"}, "texts": []any{"a", "b"}, "yes": []any{"true"}, "no": []any{"false"}, "number": []any{"1.50"}, "big": []any{"12345678901234567890"},
			"nothing": []any{}, "object": []any{`{"k":[1]}`}, "mixed": []any{"a", "1", "true", `{"x":"y"}`}, "none": []any{}, "": []any{"empty"}, "ünï": []any{"ö\u2028"},
		}
		list := b.ask(t, "GET", "/digitanium/v4/users", "").data(t)["userList"].([]any)
		if diff := cmp.Diff(want, list[0].(map[string]any)["attributes"].(map[string]any)); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		for name, value := range map[string]any{"username": "ada", "email": nil, "firstName": nil, "lastName": nil} {
			want[name] = []any{value}
		}
		if diff := cmp.Diff(want, b.ask(t, "GET", "/digitanium/v4/users/ada/profile", "").data(t)["attributes"].(map[string]any)); diff != "" {
			t.Errorf("single user (-want +got):\n%s", diff)
		}
	})
}

// An administrator is who holds a role of administrators that is in use.
func TestAdminComesFromRoles(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, name := range []string{"owner", "admin", "digitanium_admin", "developer", "digitanium_user"} {
			b.add(t, "demo", user.User{Username: name, RoleIDs: []string{b.roleID(t, "demo", name)}})
		}
		stranger := b.add(t, "demo", user.User{Username: "stranger"})
		b.write(t, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE users SET role_ids = $3 WHERE tenant_id = $1 AND id = $2", b.ids["demo"], stranger.ID, `["`+b.roleID(t, "acme", "owner")+`"]`)
			return err
		})
		var admins []string
		for _, item := range b.ask(t, "GET", "/digitanium/v4/users", "").data(t)["userList"].([]any) {
			if u := item.(map[string]any); u["admin"] == true {
				admins = append(admins, u["username"].(string))
			}
		}
		if diff := cmp.Diff([]string{"admin", "digitanium_admin", "owner"}, admins); diff != "" {
			t.Errorf("administrators (-want +got):\n%s", diff)
		}
	})
}

// A list holds users of the tenant only, whatever is asked.
func TestListStaysInItsTenant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "dora", Email: "same@example.com", LastName: "Same"})
		b.add(t, "acme", user.User{Username: "anton", Email: "same@example.com", LastName: "Same"})
		for _, query := range []url.Values{{}, {"email": {"same@example.com"}}, {"lastName": {"same"}}, {"search": {"same"}}} {
			if got := b.ask(t, "GET", "/digitanium/v4/users?"+query.Encode(), "").names(t); got != "dora" {
				t.Errorf("?%s lists %q, want dora", query.Encode(), got)
			}
		}
	})
}
