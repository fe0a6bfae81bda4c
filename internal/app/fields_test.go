package app_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/scim"
)

// Mass assignment: what a body says beyond what a call takes changes nothing. The calls
// are those of the router's own table, so that a new one is among them.

// guarded are names of what is nobody's to set, or only by calls that say so. They are
// spelled as our own forms, and as those of others that we answer in.
var guarded = strings.Fields(`
	id _id Id user_id userId tenant_id tenantId TenantID realm_id organization_id organizationId organization owner owner_id created_by
	created_at createdAt CreatedAt createdTimestamp created_on modified_at updated_at last_login_at deleted_at used_at revoked_at expires_on
	is_admin isAdmin admin is_owner isOwner is_superuser is_system is_builtin built_in is_default is_deleted verified email_verified emailVerified EMAIL_VERIFIED
	phone_verified phoneVerified is_active isActive enabled active held held_at proved trusted first_party skip_consent break_glass unlimited
	role role_id role_ids roleIds roles Roles realmRoles clientRoles groups permissions permission_ids scope scopes required_actions requiredActions
	password password_hash passwordHash hash secret secret_hash token_hash key_hash client_id client_secret credentials sealed totp factors passkeys identities sessions
	meta source status state kind policy settings`)

const (
	forgedID = "0badc0de" // begins every id, name and secret that is forged
	forgedAt = 915148800  // Unix seconds of the first moment that is forged, 1999-01-01; one for each call
)

// forge adds names to a body, and to every object in it, unless the call takes them.
func forge(v any, names []string, declared map[string]bool, n int, owner string) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			forge(one, names, declared, n, owner)
		}
	case map[string]any:
		for _, one := range v {
			forge(one, names, declared, n, owner)
		}
		for _, name := range names {
			if _, there := v[name]; !there && !declared[strings.ToLower(name)] {
				v[name] = forged(name, n, owner)
			}
		}
	}
}

// forged is a value of a name's own kind that would be of use.
func forged(name string, n int, owner string) any {
	id, lower := fmt.Sprintf("%s%08x%s", forgedID, n, forgedID), strings.ToLower(name)
	switch {
	case strings.HasSuffix(lower, "timestamp"):
		return int64(forgedAt+n) * 1000
	case strings.HasSuffix(lower, "_at"), strings.HasSuffix(lower, "_on"), lower == "createdat":
		return time.Unix(int64(forgedAt+n), 0).UTC().Format(time.RFC3339)
	case strings.Contains(lower, "hash"):
		return "$argon2id$v=19$m=19456,t=2,p=1$" + id + "$" + id
	case lower == "role" || lower == "role_id":
		return owner
	case lower == "realmroles":
		return []string{"owner", "digitanium_admin"}
	case strings.HasPrefix(lower, "role"):
		return []string{owner}
	case strings.HasPrefix(lower, "scope"), strings.HasPrefix(lower, "permission"):
		return []string{string(access.UsersWrite), string(access.RolesWrite), id}
	case slices.Contains([]string{"clientroles", "meta", "policy", "settings", "totp"}, lower):
		return map[string]any{"value": id, "id": id}
	case slices.Contains([]string{"groups", "credentials", "factors", "passkeys", "identities", "sessions", "required_actions", "requiredactions"}, lower):
		return []any{map[string]any{"value": id, "type": "password", "id": id}}
	case strings.HasSuffix(lower, "id"), slices.Contains([]string{"owner", "organization", "created_by", "password", "secret", "client_secret", "sealed", "source", "status", "state", "kind"}, lower):
		return id
	}
	return true
}

// A forgery is a call with a body of its own, and with what does not belong there.
type forgery struct {
	name     string
	declared map[string]bool // what the call takes by its description, in lower case
	// prepare makes what the call is about anew, and returns the body and how to send it.
	prepare func(t *testing.T) (body any, send func(body any) apptest.Answer)
}

func TestNobodySetsWhatIsNotTheirs(t *testing.T) {
	described := bodies(t)
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		tables, s := readTables(t, w), siteAt(t, w, w.Demo, "forged")
		calls := append(s.forgeries(t, described), s.directoryForgeries()...)
		if len(calls) < 70 {
			t.Errorf("only %d calls take a body", len(calls))
		}
		for n, call := range calls {
			plain, want := call.try(t, tables, w, func(any) {})
			all, got := call.try(t, tables, w, func(body any) { forge(body, guarded, call.declared, n, w.Demo.Roles["owner"].ID) })
			if all.Status == plain.Status {
				call.judge(t, "everything", plain, all, want, got)
				continue
			}
			call.judge(t, "everything", plain, all, want, got)
			strict, _ := call.try(t, tables, w, func(body any) { forge(body, []string{"unheard_of"}, call.declared, n, "") })
			if strict.Status == all.Status {
				continue // no name is taken that the description does not have
			}
			for _, name := range guarded { // one of them is refused: each by itself
				one, got := call.try(t, tables, w, func(body any) { forge(body, []string{name}, call.declared, n, w.Demo.Roles["owner"].ID) })
				call.judge(t, name, plain, one, want, got)
			}
		}
		tables.wantNothingForged(t, w)
	})
}

// try sends a call with what forging adds, and returns what has changed by it.
func (f forgery) try(t *testing.T, tables tablesOf, w *apptest.World, forging func(body any)) (apptest.Answer, map[string]int64) {
	t.Helper()
	body, send := f.prepare(t)
	forging(body)
	before := tables.count(t, w)
	a := send(body)
	after := tables.count(t, w)
	for name := range after {
		if after[name] -= before[name]; after[name] == 0 {
			delete(after, name)
		}
	}
	return a, after
}

// judge holds that a call with something forged does what it does without, or is refused.
func (f forgery) judge(t *testing.T, what string, plain, forging apptest.Answer, want, got map[string]int64) {
	t.Helper()
	refused := forging.Status >= 400 && forging.Status < 500 && plain.Status < 300
	if refused {
		want = map[string]int64{}
	}
	if !refused && forging.Status != plain.Status {
		t.Errorf("%s with %s: got %d %s, without %d", f.name, what, forging.Status, forging.Body, plain.Status)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s with %s: changes %v, want %v", f.name, what, got, want)
	}
	if !refused && strings.Contains(withoutOwnWords(forging.Body), forgedID) {
		t.Errorf("%s with %s: the answer has what was forged: %s", f.name, what, forging.Body)
	}
}

// forgeries are the routes with an example of a body, by each of their addresses.
func (s *site) forgeries(t *testing.T, described map[string]map[string]bool) (calls []forgery) {
	t.Helper()
	for _, route := range s.world.Router.Routes() {
		raw, ok := route.Doc.Request.(json.RawMessage)
		if !ok || route.Page || strings.HasPrefix(string(route.Needs), "tenants:") {
			continue
		}
		key := s.As(t, slices.Concat([]access.Permission{cmp.Or(route.Needs, access.SCIM)}, alsoNeeds[route.Method+" "+route.Paths[0]])...)
		for _, path := range route.Paths {
			name := route.Method + " " + path
			calls = append(calls, forgery{name, described[name], func(t *testing.T) (body any, send func(body any) apptest.Answer) {
				t.Helper()
				s.refresh(t, s.world, route, path)
				if err := json.Unmarshal([]byte(fmt.Sprint(cmp.Or[any](s.body(route), string(raw)))), &body); err != nil {
					t.Fatalf("%s: the example is no JSON: %v", name, err)
				}
				return body, func(body any) apptest.Answer { t.Helper(); return key.Do(t, route.Method, s.address(t, path), body) }
			}})
		}
	}
	return calls
}

// directoryForgeries are the calls of a directory. Names of its own protocol are its.
func (s *site) directoryForgeries() (calls []forgery) {
	own := map[string]bool{"id": true, "active": true, "groups": true, "meta": true, "roles": true, "name": true}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/Users", `{"userName": "new%d@acme.test", "name": {"givenName": "Kim"}, "emails": [{"value": "new%[1]d@acme.test", "primary": true}]}`},
		{"PUT", "/Users/{userid}", `{"userName": "other%d@acme.test", "name": {"givenName": "Kim"}}`},
		{"PATCH", "/Users/{userid}", `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "value": {"nickName": "k%d"}}]}`},
		{"POST", "/Groups", `{"displayName": "Sales %d"}`},
		{"PUT", "/Groups/{groupid}", `{"displayName": "Sales %d"}`},
	} {
		calls = append(calls, forgery{c.method + " " + scim.Prefix + "{directory}" + c.path, own, func(t *testing.T) (body any, send func(body any) apptest.Answer) {
			t.Helper()
			n := serial.Add(1)
			s.makeDirectory(t, s.world, n)
			if err := json.Unmarshal([]byte(fmt.Sprintf(c.body, n)), &body); err != nil {
				t.Fatal(err)
			}
			client := s.Client
			client.Key = s.directoryKey
			return body, func(body any) apptest.Answer {
				t.Helper()
				return client.Do(t, c.method, scim.Prefix+s.values["directoryid"]+strings.NewReplacer("{userid}", s.values["userid"], "{groupid}", s.values["groupid"]).Replace(c.path), body)
			}
		}})
	}
	return calls
}

// ownWords are what callers keep with us and we read nothing from: any name may be in
// them, and means nothing.
var ownWords = map[string][]string{"users": {"attributes", "groups", "raw_attributes"}, "organizations": {"metadata"}}

// withoutOwnWords is an answer without what is in these.
func withoutOwnWords(text []byte) string {
	var body any
	if json.Unmarshal(text, &body) != nil {
		return string(text)
	}
	var drop func(v any)
	drop = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				drop(one)
			}
		case map[string]any:
			for _, names := range ownWords {
				for _, name := range names {
					delete(v, name)
				}
			}
			for _, one := range v {
				drop(one)
			}
		}
	}
	drop(body)
	return fmt.Sprint(body)
}

// A field without a tag would be taken from a body by its Go name.
func TestEveryFieldOfARequestSaysWhereItComesFrom(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		seen := 0
		for _, route := range w.Router.Routes() {
			in := route.In
			if in == nil || in.Kind() != reflect.Struct || reflect.PointerTo(in).Implements(reflect.TypeFor[json.Unmarshaler]()) {
				continue
			}
			for i := range in.NumField() {
				f := in.Field(i)
				seen++
				if f.IsExported() && !f.Anonymous && f.Tag.Get("path") == "" && f.Tag.Get("query") == "" && f.Tag.Get("json") == "" {
					t.Errorf("%s %s: %s.%s has no tag", route.Method, route.Paths[0], in, f.Name)
				}
			}
		}
		if seen < 100 {
			t.Errorf("only %d fields were seen", seen)
		}
	})
}

// bodies are the names that the description says a call takes, in lower case, by method
// and address.
func bodies(t *testing.T) map[string]map[string]bool {
	t.Helper()
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	text, err := os.ReadFile("../../docs/api/openapi.json")
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	for path, operations := range doc.Paths {
		for method, raw := range operations {
			var op struct {
				RequestBody json.RawMessage `json:"requestBody"`
			}
			if json.Unmarshal(raw, &op) == nil && op.RequestBody != nil {
				names := map[string]bool{}
				gather(op.RequestBody, doc.Components.Schemas, names, nil)
				out[strings.ToUpper(method)+" "+path] = names
			}
		}
	}
	return out
}

// gather collects the names of all properties of a schema.
func gather(raw json.RawMessage, schemas map[string]json.RawMessage, names map[string]bool, seen []string) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, one := range list {
			gather(one, schemas, names, seen)
		}
		return
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return
	}
	for name, value := range object {
		switch name {
		case "example", "examples":
		case "$ref":
			var ref string
			_ = json.Unmarshal(value, &ref)
			if at := ref[strings.LastIndex(ref, "/")+1:]; !slices.Contains(seen, at) {
				gather(schemas[at], schemas, names, append(slices.Clone(seen), at))
			}
		case "properties":
			var properties map[string]json.RawMessage
			_ = json.Unmarshal(value, &properties)
			for property, schema := range properties {
				names[strings.ToLower(property)] = true
				gather(schema, schemas, names, seen)
			}
		default:
			gather(value, schemas, names, seen)
		}
	}
}

// A tableOf is a table with those of its columns that are asked about.
type tableOf struct {
	name     string
	columns  []string
	flags    []string
	ofTenant bool
}

type tablesOf []tableOf

func readTables(t *testing.T, w *apptest.World) (out tablesOf) {
	t.Helper()
	stmt := `SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 2`
	if w.DB.Engine() == database.SQLite {
		stmt = `SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY 1, 2`
	}
	rows, err := w.DB.Query(t.Context(), stmt)
	columns, err := database.Collect(rows, err, "list columns", func(row database.Scanner) (c [3]string, err error) {
		err = row.Scan(&c[0], &c[1], &c[2])
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		if len(out) == 0 || out[len(out)-1].name != c[0] {
			out = append(out, tableOf{name: c[0]})
		}
		last := &out[len(out)-1]
		last.columns, last.ofTenant = append(last.columns, c[1]), last.ofTenant || c[1] == "tenant_id"
		if strings.EqualFold(c[2], "boolean") {
			last.flags = append(last.flags, c[1])
		}
	}
	return out
}

// count is how many rows the tables have, and of how many each flag is set.
func (tables tablesOf) count(t *testing.T, w *apptest.World) map[string]int64 {
	t.Helper()
	var parts []string
	for _, table := range tables {
		if !table.ofTenant || table.name == "rate_limits" {
			continue
		}
		parts = append(parts, `SELECT '`+table.name+`', count(*) FROM `+table.name+` WHERE tenant_id = $1`)
		for _, flag := range table.flags {
			parts = append(parts, `SELECT '`+table.name+`.`+flag+`', count(*) FROM `+table.name+` WHERE tenant_id = $1 AND `+flag)
		}
	}
	rows, err := w.DB.Query(t.Context(), strings.Join(parts, " UNION ALL "), w.Demo.ID)
	out := map[string]int64{}
	_, err = database.Collect(rows, err, "count rows", func(row database.Scanner) (none struct{}, err error) {
		var name string
		var n int64
		err = row.Scan(&name, &n)
		out[name] = n
		return none, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantNothingForged looks for what was forged in every column of every table.
func (tables tablesOf) wantNothingForged(t *testing.T, w *apptest.World) {
	t.Helper()
	for _, table := range tables {
		for _, column := range table.columns {
			if slices.Contains(ownWords[table.name], column) {
				continue
			}
			for _, mark := range []string{"%" + forgedID + "%", fmt.Sprintf("%d%%000", forgedAt/1000), "%1999-01-01T00:%"} {
				rows, err := w.DB.Query(t.Context(), `SELECT CAST(`+column+` AS TEXT) FROM `+table.name+` WHERE CAST(`+column+` AS TEXT) LIKE $1 LIMIT 20`, mark)
				found, err := database.Collect(rows, err, "look for what was forged", func(row database.Scanner) (text string, err error) {
					err = row.Scan(&text)
					return text, err
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range found {
					t.Errorf("%s.%s has what was forged: %.400s", table.name, column, text)
				}
			}
		}
	}
}
