package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/role"
)

// What an attacker or a broken client sends.

// canary stands for a secret in a place where it does not belong. No answer and no
// line of the log may repeat it.
const canary = "hunter2-canary-8315"

// writes are the calls of /api that read a body, with the target filled in.
func writes(t *testing.T, w *apptest.World) (calls []struct{ method, target string }) {
	t.Helper()
	id, _ := makeUser(t, w.Demo.Client)
	application := w.Demo.Get(t, "/api/v1/applications").Want(t, 200).List(t)[0]["id"].(string)
	for _, route := range w.Router.Routes() {
		path := route.Paths[0]
		if route.Doc.Request == nil || route.Takes != "" || !strings.HasPrefix(path, "/api/") { // files are judged record by record
			continue
		}
		path = strings.NewReplacer("{userid}", id, "{id}", application).Replace(path)
		calls = append(calls, struct{ method, target string }{route.Method, path})
	}
	if len(calls) < 8 {
		t.Fatalf("only %d calls read a body", len(calls))
	}
	return calls
}

func TestBodiesThatAreNoJSON(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, call := range writes(t, w) {
			for name, body := range map[string]string{
				"text": canary, "cut": `{"email": "` + canary, "two": `{} {}`, "comment": `{} // ` + canary, "single quotes": `{'email': '` + canary + `'}`, "a comma too many": `{"email": "a@example.com",}`,
				"bare key": `{email: "` + canary + `"}`, "XML": `<email>` + canary + `</email>`, "form": `email=` + canary, "NaN": `{"email": NaN}`, "a byte order mark": "\ufeff{}",
				"NUL byte": "{\"email\": \"" + canary + "\x00@example.com\"}", "control character": "{\"email\": \"" + canary + "\n@example.com\"}",
				"not UTF-8": "{\"email\": \"" + canary + "\xff@example.com\"}", "cut UTF-8": "{\"email\": \"" + canary + "\xc3\"}", "surrogate in UTF-8": "{\"email\": \"" + canary + "\xed\xa0\x80\"}",
				"overlong UTF-8": "{\"email\": \"" + canary + "\xc0\x80\"}", "escaped NUL": `{"email": "` + canary + `\u0000@example.com", "name": "\u0000"}`,
				"gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00", "a string": `"` + canary + `"`, "a number": `8315`, "a boolean": `true`,
			} {
				a := w.Demo.Do(t, call.method, call.target, body)
				if a.Status != http.StatusBadRequest {
					t.Errorf("%s to %s %s: got %d %s, want 400", name, call.method, call.target, a.Status, a.Body)
				}
				a.WantError(t, 400, "invalid_request_body")
			}
		}
		wantNoCanary(t, w, "")
	})
}

// wantNoCanary looks for the canary in an answer's body and in the log.
func wantNoCanary(t *testing.T, w *apptest.World, body string) {
	t.Helper()
	if strings.Contains(body, canary) || strings.Contains(body, "8315") {
		t.Errorf("the answer repeats what was sent: %s", body)
	}
	if i := strings.Index(w.Log(), canary); i >= 0 {
		t.Errorf("the log repeats what was sent: %s", w.Log()[max(0, i-200):i+40])
	}
}

func TestBodiesOfTheWrongType(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		for _, c := range []struct{ method, target, field, wants string }{
			{"POST", "/api/v1/users", "email", "string"}, {"POST", "/api/v1/users", "first_name", "string"}, {"POST", "/api/v1/users", "is_active", "boolean"},
			{"PUT", "/api/v1/users/" + id, "last_name", "string"}, {"PUT", "/api/v1/users/" + id, "phone", "string"}, {"PUT", "/api/v1/users/" + id, "email_verified", "boolean"},
			{"POST", "/api/v1/applications", "name", "string"}, {"POST", "/api/v1/applications", "redirect_uris", "array"}, {"POST", "/api/v1/keys", "scopes", "array"},
		} {
			for value, kind := range map[string]string{
				`"` + canary + `"`: "string", `83158315`: "number", `[{"x": "` + canary + `"}]`: "array", `{"x": "` + canary + `"}`: "object", `true`: "boolean",
			} {
				if kind == c.wants {
					continue
				}
				a := w.Demo.Do(t, c.method, c.target, `{"email": "x@example.com", "`+c.field+`": `+value+`}`)
				e := a.WantError(t, 400, "invalid_request_body")
				if len(e.Fields) != 1 || e.Fields[0].Name != c.field || !strings.Contains(e.Description, c.wants) {
					t.Errorf("%s %s, %s = %s: the error does not say what is wrong: %s", c.method, c.target, c.field, value, a.Body)
				}
				wantNoCanary(t, w, e.Description+fmt.Sprint(e.Fields))
			}
		}
	})
}

// Values of the right type that break a rule are not repeated either: somebody may
// have pasted a password into the wrong field.
func TestRefusalsDoNotRepeatValues(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		for field, code := range map[string]string{
			"email": "invalid_email", "phone": "invalid_phone", "phone_id": "invalid_phone", "raw_attributes": "invalid_user", "user_metadata": "invalid_user",
		} {
			a := w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{field: canary})
			a.WantError(t, 400, code)
			wantNoCanary(t, w, string(a.Body))
		}
		for _, c := range []struct {
			a    apptest.Answer
			code string
		}{
			{w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"username": canary + "<"}), "invalid_username"},
			{w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"first_name": canary + strings.Repeat("x", 300)}), "invalid_user"},
			{w.Demo.Put(t, "/api/v1/users/"+id+"/roles", []string{canary}), "invalid_role"},
			{w.Demo.Post(t, "/api/v1/users/"+id+"/verify", map[string]any{"verification_status": canary}), "invalid_request_body"},
			{w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "x", "redirect_uris": []string{canary}}), "invalid_application"},
			{w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "x", "allowed_origins": []string{canary}}), "invalid_application"},
			{w.Demo.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []string{canary}}), "invalid_scope"},
			{w.Demo.Get(t, "/api/v1/users?cursor="+canary), "invalid_cursor"},
			{w.Demo.Get(t, "/api/v1/users?sort="+canary), "invalid_query_parameters"},
			{w.Demo.Get(t, "/api/v1/users?limit="+canary), "invalid_query_parameters"},
			{w.Demo.Get(t, "/api/v1/users?created_after="+canary), "invalid_query_parameters"},
			{w.Demo.Get(t, "/api/v1/users?client_id="+canary), "invalid_client"},
		} {
			c.a.WantError(t, 400, c.code)
			wantNoCanary(t, w, string(c.a.Body))
		}
	})
}

func TestBodiesThatAreTooMuch(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, call := range writes(t, w) {
			big := `{"first_name": "` + strings.Repeat("x", 1<<20) + `"}`
			w.Demo.Do(t, call.method, call.target, big).WantError(t, 413, "request_too_large")
			// Who does not say how much comes is stopped all the same.
			r, err := http.NewRequestWithContext(t.Context(), call.method, call.target, strings.NewReader(big))
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = -1
			w.Demo.SendAs(t, r).WantError(t, 413, "request_too_large")
			for name, body := range map[string]string{
				"objects": strings.Repeat(`{"raw_attributes":`, 33) + `1` + strings.Repeat(`}`, 33), "arrays": `{"groups": ` + strings.Repeat(`[`, 32) + strings.Repeat(`]`, 32) + `}`,
				"half a million": strings.Repeat(`[`, 500_000), "in an ignored member": `{"x": ` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40) + `}`,
			} {
				if a := w.Demo.Do(t, call.method, call.target, body); a.Status != 400 {
					t.Errorf("%s to %s %s: got %d %s, want 400", name, call.method, call.target, a.Status, a.Body)
				}
			}
		}
	})
}

// Depth is that of the structure; brackets in text do not count.
func TestBodiesThatOnlyLookDeep(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		name := strings.Repeat(`[{"`, 60)
		id := makeUserOf(t, w.Demo.Client, map[string]any{"email": newEmail(), "first_name": name, "raw_attributes": map[string]any{"a": strings.Repeat("{", 100) + `\"`}})
		if got := w.Demo.Get(t, "/api/v1/users/"+id).Object(t)["first_name"]; got != name {
			t.Errorf("got %v", got)
		}
		deep := strings.Repeat(`{"a":`, 30) + `1` + strings.Repeat(`}`, 30)
		w.Demo.Put(t, "/api/v1/users/"+id, `{"raw_attributes": `+deep+`}`).Want(t, 200)
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id).Body, map[string]string{"raw_attributes": deep})
	})
}

func TestFieldLimits(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		text := func(n int) string { return strings.Repeat("x", n) }
		for _, body := range []map[string]any{
			{"first_name": text(256)}, {"last_name": strings.Repeat("ü", 128)}, {"username": text(255)}, {"raw_attributes": map[string]any{"a": text(16<<10 - 8)}},
			{"email": text(64) + "@" + text(60) + ".example.com"},
		} {
			w.Demo.Put(t, "/api/v1/users/"+id, body).Want(t, 200)
		}
		for _, c := range []struct {
			body map[string]any
			code string
		}{
			{map[string]any{"first_name": text(257)}, "invalid_user"}, {map[string]any{"last_name": "a\u0007b"}, "invalid_user"}, {map[string]any{"first_name": "a\r\nb"}, "invalid_user"},
			{map[string]any{"username": text(256)}, "invalid_username"}, {map[string]any{"raw_attributes": map[string]any{"a": text(16 << 10)}}, "invalid_user"},
			{map[string]any{"groups": text(16 << 10)}, "invalid_user"}, {map[string]any{"raw_attributes": []int{1}}, "invalid_user"}, {map[string]any{"email": text(65) + "@example.com"}, "invalid_email"},
			{map[string]any{"email": text(300)}, "invalid_email"}, {map[string]any{"phone": "+" + strings.Repeat("1", 16)}, "invalid_phone"},
			{map[string]any{"email": "", "phone": "", "username": ""}, "invalid_user"},
		} {
			w.Demo.Put(t, "/api/v1/users/"+id, c.body).WantError(t, 400, c.code)
		}
		w.Demo.Put(t, "/api/v1/users/"+id+"/roles", slices.Repeat([]string{"6694c154565dfee5166d1cc7"}, 101)).Want(t, 400)
	})
}

// Addresses that look like another's, or that mail servers would read in another
// way, are refused; spelling in capitals is the same address.
func TestAddressesThatLookLikeAnothers(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		makeUserOf(t, w.Demo.Client, map[string]any{"email": "kim@example.com"})
		for _, email := range []string{"KIM@EXAMPLE.COM", " kim@example.com ", "Kim@Example.com"} {
			w.Demo.Post(t, "/api/v1/users", map[string]any{"email": email}).WantError(t, 409, "user_exists")
		}
		for _, email := range []string{
			"\u212aim@example.com", "k\u0131m@example.com", "ｋｉｍ@example.com", "kim@ｅxample.com", "kim@example.com\u200b", "ki\u00adm@example.com", "kim@example\u3002com", "kim@example.com.",
			"\"kim\"@example.com", "kim(x)@example.com", "Kim <kim@example.com>", "kim@example.com,ann@example.com", "kim@@example.com", "kim%evil.example@example.com", "kim@[192.0.2.1]", "kim@localhost",
			"kim@example.com\r\nBcc: ann@example.com", "@example.com", "kim@", "kim", "", " ", "kim@exa mple.com", "kim@-example.com", "kim..x@example.com",
		} {
			if a := w.Demo.Post(t, "/api/v1/users", map[string]any{"email": email}); a.Status != 400 {
				t.Errorf("%q: got %d %s, want 400", email, a.Status, a.Body)
			}
		}
		// Plus tags and dots are a mailbox's own business.
		for _, email := range []string{"kim+x@example.com", "k.im@example.com", "kim@sub.example.com", "köm@example.com", "kim@bücher.example"} {
			w.Demo.Post(t, "/api/v1/users", map[string]any{"email": email}).Want(t, 200)
		}
	})
}

// Every field that a user, an application or a key has, in the bodies that make and
// change one: what is not the caller's to say is ignored.
func TestMassAssignment(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		evil := map[string]any{
			"_id": "aaaaaaaaaaaaaaaaaaaaaaaa", "id": "aaaaaaaaaaaaaaaaaaaaaaaa", "ID": "aaaaaaaaaaaaaaaaaaaaaaaa", "user_id": "aaaaaaaaaaaaaaaaaaaaaaaa", "userid": "aaaaaaaaaaaaaaaaaaaaaaaa",
			"account_id": "bbbbbbbbbbbbbbbbbbbbbbbb", "tenant_id": "bbbbbbbbbbbbbbbbbbbbbbbb", "organization_id": "cccccccccccccccccccccccc", "connection_id": "dddddddddddddddddddddddd",
			"connection_type": "evil", "roles": []string{w.Demo.Roles["owner"].ID}, "role_ids": []string{w.Demo.Roles["owner"].ID}, "RoleIDs": []string{w.Demo.Roles["owner"].ID}, "admin": true, "is_admin": true,
			"created_at": "2000-01-01T00:00:00Z", "modified_at": "2000-01-01T00:00:00Z", "CreatedAt": "2000-01-01T00:00:00Z", "LastLoginAt": "2000-01-01T00:00:00Z", "last_login_at": "2000-01-01T00:00:00Z",
			"phone_verified": true, "PhoneVerified": true, "required_actions": []string{"x"}, "login_key": "evil", "password": "evil", "password_hash": "evil", "hash": "evil",
			"tenants": []string{"evil"}, "identities": []string{"evil"}, "passkey_credential": map[string]any{"evil": true}, "client_id": "cli_evil", "client_secret": "cs_evil", "key": "sk_evil", "hint": "evil",
			"created_by": "evil", "revoked_at": "2000-01-01T00:00:00Z", "last_used_at": "2000-01-01T00:00:00Z", "data_key": "evil", "__proto__": map[string]any{"is_admin": true}, "constructor": "evil",
		}
		with := func(own ...map[string]any) map[string]any {
			out := map[string]any{}
			for _, m := range append([]map[string]any{evil}, own...) {
				for name, value := range m {
					out[name] = value
				}
			}
			return out
		}
		plain := w.Demo.Post(t, "/api/v1/users", map[string]any{"email": newEmail(), "first_name": "A"}).Want(t, 200)
		made := w.Demo.Post(t, "/api/v1/users", with(map[string]any{"email": newEmail(), "first_name": "A"})).Want(t, 200)
		wantSameButFor(t, plain, made, "_id", "email", "created_at", "modified_at")
		id := made.Object(t)["_id"].(string)
		changed := w.Demo.Put(t, "/api/v1/users/"+id, with(map[string]any{"first_name": "B"})).Want(t, 200)
		wantSameButFor(t, made, changed, "organization_id", "first_name", "modified_at")

		plain = w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "A"}).Want(t, 201)
		made = w.Demo.Post(t, "/api/v1/applications", with(map[string]any{"name": "A"})).Want(t, 201)
		wantSameButFor(t, plain, made, "id", "client_id", "client_secret", "created_at", "modified_at")
		changed = w.Demo.Put(t, "/api/v1/applications/"+made.Object(t)["id"].(string), with(map[string]any{"name": "B"})).Want(t, 200)
		wantSameButFor(t, made, changed, "client_secret", "name", "modified_at")

		plain = w.Demo.Post(t, "/api/v1/keys", map[string]any{"name": "A", "scopes": []string{"users:read"}}).Want(t, 201)
		made = w.Demo.Post(t, "/api/v1/keys", with(map[string]any{"name": "A", "scopes": []string{"users:read"}})).Want(t, 201)
		wantSameButFor(t, plain, made, "id", "key", "hint", "created_at")
		// is_active, is_default and the like are never the caller's to say; permission_ids is.
		flags := map[string]any{"is_active": false, "is_deleted": true, "is_default": true, "built_in": true, "BuiltIn": true, "IsAdmin": true, "rights": []string{"users:write"}, "Rights": []string{"users:write"}}
		for _, path := range []string{"/api/v1/roles", "/api/v1/permissions"} {
			plain = w.Demo.Post(t, path, map[string]any{"name": "A"})
			made = w.Demo.Post(t, path, with(map[string]any{"name": "B"}, flags))
			wantSameButFor(t, plain, made, "id", "name", "slug", "created_at", "modified_at")
			changed = w.Demo.Put(t, path+"/"+made.Object(t)["id"].(string), with(map[string]any{"name": "C"}, flags)).Want(t, 200)
			wantSameButFor(t, made, changed, "name", "modified_at")
		}
		for _, r := range rolesOf(t, w) {
			if r.IsAdmin && !r.BuiltIn || r.ID == "aaaaaaaaaaaaaaaaaaaaaaaa" {
				t.Errorf("there is a role %+v", r)
			}
		}
		for _, a := range []apptest.Answer{made, changed, plain, w.Demo.Get(t, "/api/v1/roles"), w.Demo.Get(t, "/api/v1/permissions"), w.Demo.Get(t, "/api/v1/users/"+id), w.Demo.Get(t, "/api/v1/keys"), w.Demo.Get(t, "/api/v1/applications")} {
			if found := regexp.MustCompile(`evil|aaaaaaaaaaaaaaaaaaaaaaaa|bbbbbbbbbbbbbbbbbbbbbbbb|2000-01-01`).Find(a.Body); found != nil {
				t.Errorf("%s %s: %s in %s", a.Request.Method, a.Request.URL, found, a.Body)
			}
		}
	})
}

func rolesOf(t *testing.T, w *apptest.World) []role.Role {
	t.Helper()
	roles, err := role.All(t.Context(), w.DB, w.Demo.ID)
	if err != nil {
		t.Fatal(err)
	}
	return roles
}

func wantSameButFor(t *testing.T, one, two apptest.Answer, except ...string) {
	t.Helper()
	a, b := one.Object(t), two.Object(t)
	for _, name := range except {
		delete(a, name)
		delete(b, name)
	}
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Errorf("%s %s: got\n\t%s\nwant\n\t%s", two.Request.Method, two.Request.URL, y, x)
	}
}

// Bytes that no database takes, wherever a request can carry them.
func TestBytesThatAreNoText(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, bad := range []string{"%00", "%ff", "%c3%28", "%ed%a0%80", "a%00b"} {
			for _, target := range []string{
				"/api/v1/users/" + bad, "/api/v1/users/" + bad + "@example.com", "/api/v1/users/" + bad + "/email", "/api/v1/users/" + bad + "@example.com/email", "/api/v1/users/" + bad + "/loginlogs",
				"/api/v1/applications/" + bad, "/realms/" + bad + "/v3_user/getusers", "/auth/realms/" + bad + "/v3_user/ada", "/realms/demo/v3_user/" + bad, "/digitanium/v4/users/" + bad + "/profile",
				"/" + bad, "/api/" + bad, "/ui/x/" + bad,
			} {
				if a := w.Demo.Get(t, target); a.Status != 400 && a.Status != 404 {
					t.Errorf("%s: got %d %s", target, a.Status, a.Body)
				}
			}
			for _, name := range []string{"email", "search", "cursor", "role_id", "organization_id", "client_id", "sort", "limit", "is_active", "created_after"} {
				w.Demo.Get(t, "/api/v1/users?"+name+"="+bad).Want(t, 400)
			}
			for _, realm := range []string{"/realms/", "/auth/realms/"} {
				at(w.Demo.Client, apptest.BaseHost).Get(t, realm+bad+"/v3_user/getusers").Want(t, 404)
			}
			w.Demo.Get(t, "/api/v1/config?domain="+bad).Want(t, 400)
			w.Demo.Get(t, "/digitanium/v4/users?email="+bad).Want(t, 400)
		}
		for _, header := range []string{"X-Client-Id", "User-Agent", "Origin", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Host", "Referer", "Accept", "Content-Type", "If-None-Match"} {
			for _, bad := range []string{"\xff\xfe", "a\xc3(", strings.Repeat("x", 30_000), "\x00", "\u2028", "a\r\nb"} {
				a := w.Demo.With(header, bad).Post(t, "/api/v1/users", map[string]any{"email": newEmail()})
				if header == "X-Client-Id" {
					a.WantError(t, 400, "invalid_client")
				} else {
					a.Want(t, 200)
				}
				if id := a.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-zA-Z_-]{8,64}$`).MatchString(id) {
					t.Errorf("%s %q: the request id is %q", header, bad, id)
				}
			}
		}
	})
}

func TestRequestIDIsTakenOverFromAProxyIfItIsPlain(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		const id = "proxy-1234_ABC"
		proxy, client := w.Demo.Client, w.Demo.Client
		proxy.IP = "127.0.0.1"
		answered := func(c apptest.Client, target, id string) string {
			return c.With("X-Request-Id", id).Get(t, target).Want(t, 200).Header.Get("X-Request-Id")
		}
		if got := answered(client, "/api/v1/users", id); got == id || got == "" {
			t.Errorf("a client chose %q", got)
		}
		if strings.Contains(w.Log(), id) {
			t.Error("the log has the id that a client chose")
		}
		if got := answered(proxy, "/api/v1/users", id); got != id {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(w.Log(), "request_id="+id) {
			t.Error("the log does not name the request by it")
		}
		if got := answered(client, "/readyz", "probe-5678"); got != "probe-5678" { // by which cardea doctor knows us
			t.Errorf("a probe got %q", got)
		}
		for _, id := range []string{"short", strings.Repeat("x", 65), "has spaces in it", "<script>alert(1)</script>", "naïve-id-here", "a=b;c=d-e-f"} {
			if got := answered(proxy, "/api/v1/users", id); got == id || got == "" {
				t.Errorf("%q: got %q", id, got)
			}
		}
	})
}

// An escaped backslash before u0000 is text; only a backslash that escapes is NUL.
func TestAnEscapedBackslashIsNotNUL(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for body, want := range map[string]string{
			`{"email": "a@example.com", "first_name": "\\u0000"}`:     `\u0000`,
			`{"email": "b@example.com", "first_name": "\\\\u0000x"}`:  `\\u0000x`,
			`{"email": "c@example.com", "first_name": "\"\\u0000\""}`: `"\u0000"`,
			`{"email": "d@example.com", "first_name": "\u00001"}`:     "",
			`{"email": "e@example.com", "first_name": "\\\u0000"}`:    "",
			`{"email": "f@example.com", "fi\u0000st_name": "x"}`:      "",
		} {
			a := w.Demo.Post(t, "/api/v1/users", body)
			if want == "" {
				a.WantError(t, 400, "invalid_request_body")
				continue
			}
			if got := a.Want(t, 200).Object(t)["first_name"]; got != want {
				t.Errorf("%s: got %q, want %q", body, got, want)
			}
		}
	})
}

// Every way to fail answers in one form, with a number from the table and the id of
// the request.
func TestErrorsHaveOneForm(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, email := makeUser(t, w.Demo.Client)
		for _, c := range []struct {
			a      apptest.Answer
			status int
			code   string
			number int
		}{
			{w.Demo.Get(t, "/api/v1/nothing"), 404, "resource_not_found", 801},
			{w.Demo.Get(t, "/nothing"), 404, "resource_not_found", 801},
			{w.Demo.Get(t, "/api/v1/users/"+id+"/nothing"), 404, "resource_not_found", 801},
			{w.Demo.Do(t, "PATCH", "/api/v1/users/"+id, `{}`), 405, "method_not_allowed", 810},
			{w.Demo.Do(t, "TRACE", "/api/v1/users", nil), 405, "method_not_allowed", 810},
			{w.Demo.Do(t, "BREW", "/api/v1/users", nil), 405, "method_not_allowed", 810},
			{w.Demo.Post(t, "/api/v1/users", `{`), 400, "invalid_request_body", 807},
			{w.Demo.Post(t, "/api/v1/users", `{}`), 400, "invalid_request_body", 807},
			{w.Demo.Post(t, "/api/v1/users", `{"email": "x"}`), 400, "invalid_email", 1008},
			{w.Demo.Post(t, "/api/v1/users", map[string]any{"email": email}), 409, "user_exists", 1049},
			{w.Demo.Get(t, "/api/v1/users?limit=x"), 400, "invalid_query_parameters", 842},
			{w.Demo.Get(t, "/api/v1/users?client_id=x"), 400, "invalid_client", 1001},
			{w.Demo.Get(t, "/api/v1/users/6694c154565dfee5166d1cc7"), 404, "user_not_found", 1035},
			{without(w.Demo.Client).Get(t, "/api/v1/users"), 401, "access_token_required", 1003},
			{w.Demo.As(t, access.SCIM).Get(t, "/api/v1/users"), 403, "access_denied", 2501},
		} {
			e := c.a.WantError(t, c.status, c.code)
			if e.Number != c.number {
				t.Errorf("%s: number %d, want %d", c.code, e.Number, c.number)
			}
			want := []string{"error", "error_description", "error_code", "request_id"}
			if len(e.Fields) > 0 {
				want = slices.Insert(want, 3, "errors")
			}
			wantKeys(t, c.a.Body, want...)
			if got := c.a.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("%s: Content-Type %q", c.code, got)
			}
		}
		if allow := w.Demo.Do(t, "PATCH", "/api/v1/users/"+id, nil).Header.Get("Allow"); allow != "GET, PUT, DELETE" {
			t.Errorf("Allow is %q", allow)
		}
	})
}

// A browser is shown a page where there is nothing; what is below /api answers all alike.
func TestNothingThereIsAPageInBrowsers(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		browser := w.Demo.With("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
		for _, target := range []string{"/nothing", "/apiary", "/docs/nothing"} {
			a := browser.Get(t, target).Want(t, 404)
			if got := a.Header.Get("Content-Type"); got != "text/html; charset=utf-8" || !strings.Contains(string(a.Body), "There is nothing here") {
				t.Errorf("%s: %s %s", target, got, a.Body)
			}
			if got := a.Header.Values("Vary"); !slices.Contains(got, "Accept") {
				t.Errorf("%s: Vary %q", target, got)
			}
			w.Demo.Get(t, target).WantError(t, 404, "resource_not_found")
		}
		browser.Get(t, "/api/v1/nothing").WantError(t, 404, "resource_not_found")
		browser.Get(t, "/api/nothing").WantError(t, 404, "resource_not_found")
		start := "/api/sso/authorize?response_type=code&state=s&connection=660c0de931f63af7d467e6ad&client_id=" + w.Demo.ClientID + "&redirect_uri=" + url.QueryEscape("https://app.example.com/callback")
		if a := browser.Get(t, start).Want(t, 404); !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(a.Body), "<main") {
			t.Errorf("an unknown connection: %s", a.Body)
		}
		w.Demo.Get(t, start).WantError(t, 404, "connection_not_found")
	})
}

// With the database gone callers learn that something is wrong, and not what.
func TestFailuresSayNothingOfTheInside(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		w.Break(t)
		for _, c := range []struct{ method, target, body string }{
			{"GET", "/api/v1/users", ""}, {"GET", "/api/v1/users/" + id, ""}, {"POST", "/api/v1/users", `{"email": "` + canary + `@example.com"}`}, {"DELETE", "/api/v1/users/" + id, ""},
			{"GET", "/api/v1/config?client_id=" + w.Demo.ClientID, ""}, {"GET", "/api/v1/users?search=" + canary, ""}, {"GET", "/realms/demo/v3_user/getusers", ""},
		} {
			a := w.Demo.Do(t, c.method, c.target, c.body).Want(t, 500)
			if inside := regexp.MustCompile(`(?i)sql|select|insert|closed|pool|\.go\b|panic|goroutine|database|postgres|/tmp|conn|` + canary).Find(a.Body); inside != nil {
				t.Errorf("%s %s: the answer says %q: %s", c.method, c.target, inside, a.Body)
			}
			if !strings.Contains(string(a.Body), a.Header.Get("X-Request-Id")) {
				t.Errorf("%s %s: the answer does not name the request: %s", c.method, c.target, a.Body)
			}
		}
		w.Demo.Get(t, "/livez").Want(t, 200)
		w.Demo.Get(t, "/readyz").WantError(t, 503, "unavailable")
		if !strings.Contains(w.Log(), "level=ERROR") {
			t.Error("the log tells of no failure")
		}
	})
}

// Statements, templates and markup are text like any other, in and out.
func TestTextIsOnlyText(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, text := range []string{
			`'; DROP TABLE users; --`, `" OR ""="`, `\`, `%`, `_`, `$1`, `?`, `{{.}}`, `${7*7}`, `<script>alert(1)</script>`, `"><img src=x>`, `=1+1`, `\u0041`, `\u0000`, `null`, `../../etc/passwd`,
			"\u202egnp.exe", "e\u0301", "😀", "a\u2028b",
		} {
			id := makeUserOf(t, w.Demo.Client, map[string]any{"email": newEmail(), "first_name": text, "raw_attributes": map[string]any{text: text}, "groups": []string{text}})
			got := w.Demo.Get(t, "/api/v1/users/"+id).Want(t, 200).Object(t)
			if got["first_name"] != text || got["raw_attributes"].(map[string]any)[text] != text {
				t.Errorf("%q came back as %q and %v", text, got["first_name"], got["raw_attributes"])
			}
		}
		if got := w.Demo.Get(t, "/api/v1/users").Want(t, 200).List(t); len(got) != 20 {
			t.Errorf("there are %d users, want 20", len(got))
		}
	})
}

// Members of a body that are given twice or in other letter case are no way around
// anything: the answer shows what was taken.
func TestMembersGivenTwice(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := w.Demo.Post(t, "/api/v1/users", `{"email": "one@example.com", "email": "two@example.com", "first_name": "A", "FIRST_NAME": "B"}`).Want(t, 200)
		wantValues(t, a.Body, map[string]string{"email": `"two@example.com"`, "first_name": `"B"`})
		w.Demo.Get(t, "/api/v1/users/one@example.com/email").WantError(t, 404, "user_not_found")
	})
}

// Media types other than JSON's are not asked for, and methods are not overridden.
func TestHeadersThatMeanNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"} {
			w.Demo.With("Content-Type", media).Post(t, "/api/v1/users", map[string]any{"email": newEmail()}).Want(t, 200)
		}
		for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
			w.Demo.With(header, "DELETE").Get(t, "/api/v1/users/"+id+"?_method=DELETE").Want(t, 200)
		}
		for _, header := range []string{"X-Original-URL", "X-Rewrite-URL"} {
			w.Demo.With(header, "/api/v1/keys").Get(t, "/api/v1/users/"+id).Want(t, 200)
		}
		a := w.Demo.Get(t, "/api/v1/users")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=63072000; includeSubDomains"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for _, name := range []string{"Server", "X-Powered-By", "Set-Cookie"} {
			if got := a.Header.Get(name); got != "" {
				t.Errorf("%s is %q", name, got)
			}
		}
	})
}

// Where sign-in returns to is shown to people and followed by browsers, so it reads
// the same to everybody.
func TestRedirectURIs(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		post := func(uris ...string) apptest.Answer {
			return w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "x", "redirect_uris": uris})
		}
		for _, uri := range []string{
			"https://app.example.com/callback?x=1", "https://app.example.com:8443", "https://xn--bcher-kva.example./", "https://[2001:db8::1]:8443/", "https://192.0.2.1/", "http://localhost:3000/callback",
			"http://127.0.0.1/", "http://[::1]:3000/", "com.example.app:/callback", "com.example.app://callback", "de.meine-firma:/x", "https://app.example.com/%E2%80%AE",
			"https://app.example.com/" + strings.Repeat("x", 2048-len("https://app.example.com/")),
		} {
			if a := post(uri); a.Status != 201 {
				t.Errorf("%q: got %d %s, want 201", uri, a.Status, a.Body)
			}
		}
		for _, uri := range []string{
			"https://:443/", "https:///x", "https://", "https:x", "https:/x", "https://app.example.com:/", "https://app.example.com:0/", "https://app.example.com:65536/", "https://.../", "https://a..b/",
			"https://[fe80::1%25eth0]/", "https://\u202emoc.elpmaxe/", "https://%E2%80%AEmoc.elpmaxe/", "https://b\u00fccher.example/", "https://a\u0085b.example/", "https://app.example.com/\u202e", "https://app.example.com/\u00e4",
			"https://app.example.com/\x7f", "https://user@app.example.com/", "https://app.example.com\\@evil.example/", "https://app.example.com/#", "http://app.example.com/", "http://localhost.evil.example/",
			"http://:3000/", "data.x:text", "javascript.x:alert(1)", "vbscript.x:y", "file.x:/etc", "JavaScript.x:alert(1)", "javascript:alert(1)", "myapp:/x", "com.:/x", "com..app:/x", "com+x.app:/x", "https.x:/y", "",
			"https://app.example.com/" + strings.Repeat("x", 2049-len("https://app.example.com/")),
		} {
			if a := post(uri); a.Status != 400 {
				t.Errorf("%q: got %d %s, want 400", uri, a.Status, a.Body)
			}
		}
		for _, origin := range []string{"https://:443", "https://app.example.com:", "https://app.example.com:99999", "https://*.example.com", "https://\u202ea.example", "https://" + strings.Repeat("x", 2048)} {
			w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "x", "allowed_origins": []string{origin}}).WantError(t, 400, "invalid_application")
		}
	})
}

func TestAddressesOfAnApplicationHaveALimitInAll(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		const start = "https://a.example/"
		uris := slices.Repeat([]string{start + strings.Repeat("x", 1024-len(start))}, 15)
		post := func(origin string) apptest.Answer {
			return w.Demo.Post(t, "/api/v1/applications", map[string]any{"name": "x", "redirect_uris": uris, "allowed_origins": []string{origin}})
		}
		post("https://"+strings.Repeat("x", 1024-len("https://"))).Want(t, 201)
		post("https://"+strings.Repeat("x", 1025-len("https://"))).WantError(t, 400, "invalid_application")
	})
}
