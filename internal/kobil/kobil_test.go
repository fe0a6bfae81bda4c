package kobil_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/kobil"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// bench is the surface behind the real edge and the real tenants, with tenants
// master, demo (the default) and acme.
type bench struct {
	db       *database.DB
	tenants  *tenant.Service
	users    *user.Service
	hasher   *passhash.Hasher
	sessions *session.Service
	router   *web.Router
	handler  http.Handler
	sent     atomic.Uint32     // requests, each from an address of its own
	ids      map[string]string // of tenants, by slug
	keys     map[string]string // with every scope, by slug
}

func newBench(t *testing.T, db *database.DB) *bench {
	t.Helper()
	master, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{db: db, router: &web.Router{}, ids: map[string]string{}, keys: map[string]string{}}
	b.tenants = &tenant.Service{DB: db, Master: master, Limits: &ratelimit.Limiter{DB: db}, BaseHost: "id.test", Default: "demo"}
	b.users = &user.Service{DB: db, Box: b.tenants.Box, Connection: tenant.ManualConnection}
	b.sessions = &session.Service{DB: db, Box: b.tenants.Box}
	b.hasher = passhash.New(passhash.Params{Memory: 64, Time: 1, Lanes: 1}, nil)
	(&kobil.Service{DB: db, Tenants: b.tenants, Users: b.users, Hasher: b.hasher, NewTenant: b.newTenant, EndSessions: b.sessions.EndAll}).Mount(b.router)
	b.handler = edge(t, b.tenants.Resolve(b.router))
	for _, slug := range []string{"master", "demo", "acme"} {
		b.write(t, func(tx *database.Tx) error {
			made, _, err := b.newTenant(t.Context(), tx, access.System(""), slug, slug, tenant.KindSSMS)
			b.ids[slug] = made.ID
			return err
		})
		b.keys[slug] = b.key(t, slug, access.All...)
	}
	return b
}

func edge(t *testing.T, next http.Handler) *web.Edge {
	t.Helper()
	return &web.Edge{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})), AllowHTTP: true, Dialect: func(string) web.Dialect { return kobil.Dialect }, Next: next}
}

func (b *bench) newTenant(ctx context.Context, tx *database.Tx, by access.Actor, slug, name, kind string) (tenant.Tenant, map[string]role.Role, error) {
	made, err := b.tenants.Create(ctx, tx, by, slug, name, kind)
	if err != nil {
		return made, nil, err
	}
	roles, err := role.Seed(ctx, tx, made.ID)
	return made, roles, err
}

// run runs test on each engine with a fresh bench.
func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) { test(t, newBench(t, db)) })
}

func (b *bench) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// key makes an API key of a tenant.
func (b *bench) key(t *testing.T, slug string, scopes ...access.Permission) (key string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		_, key, err = b.tenants.CreateKey(t.Context(), tx, access.System(b.ids[slug]), "test", scopes, time.Time{})
		return err
	})
	return key
}

// add makes a user of a tenant, past the surface.
func (b *bench) add(t *testing.T, slug string, u user.User) (made user.User) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		made, err = b.users.Create(t.Context(), tx, access.System(b.ids[slug]), u)
		return err
	})
	return made
}

// find reads a user of demo, past the surface.
func (b *bench) find(t *testing.T, login string) user.User {
	t.Helper()
	u, err := b.users.FindByLogin(t.Context(), b.db, access.System(b.ids["demo"]), login)
	if err != nil {
		t.Fatalf("find %q: %v", login, err)
	}
	return u
}

func (b *bench) roleID(t *testing.T, slug, name string) string {
	t.Helper()
	roles, err := role.All(t.Context(), b.db, b.ids[slug])
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(roles, func(r role.Role) bool { return r.Slug == name })
	if i < 0 {
		t.Fatalf("tenant %s has no role %s", slug, name)
	}
	return roles[i].ID
}

// A reply is what came back, with its body as encoding/json reads it.
type reply struct {
	code   int
	head   http.Header
	raw    string
	member map[string]any
}

// ask sends a request to demo's host with demo's key.
func (b *bench) ask(t *testing.T, method, address, body string) reply {
	t.Helper()
	return b.send(t, b.keys["demo"], method, address, body)
}

// send sends a request; an address without a host goes to demo's.
func (b *bench) send(t *testing.T, key, method, address, body string) reply {
	t.Helper()
	if !strings.HasPrefix(address, "http") {
		address = "http://demo.id.test" + address
	}
	r := httptest.NewRequest(method, address, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	n := b.sent.Add(1)
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1234", byte(n>>16), byte(n>>8), byte(n))
	return serve(t, b.handler, r)
}

func serve(t *testing.T, h http.Handler, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := reply{code: w.Code, head: w.Header(), raw: w.Body.String()}
	if media, _, _ := strings.Cut(got.head.Get("Content-Type"), ";"); media != "application/json" {
		t.Fatalf("%s %s answered %d as %q: %s", r.Method, r.URL, got.code, media, got.raw)
	}
	if err := json.Unmarshal([]byte(got.raw), &got.member); err != nil {
		t.Fatalf("%s %s: %v in %s", r.Method, r.URL, err, got.raw)
	}
	return got
}

// is checks code and envelope. An empty message is not compared.
func (got reply) is(t *testing.T, code int, status, message string, subSystem int) reply {
	t.Helper()
	if got.code != code || got.member["status"] != status || got.member["subSystem"] != float64(subSystem) || message != "" && got.member["message"] != message {
		t.Fatalf("got %d %s\nwant %d, status %q, message %q, subSystem %d", got.code, got.raw, code, status, message, subSystem)
	}
	if _, ok := got.member["requestId"]; ok != (code >= 400) {
		t.Errorf("requestId is there: %v, in an answer of %d: %s", ok, code, got.raw)
	}
	if _, ok := got.member["data"]; ok && code >= 400 {
		t.Errorf("an error carries data: %s", got.raw)
	}
	return got
}

// data is the object of a good answer.
func (got reply) data(t *testing.T) map[string]any {
	t.Helper()
	data, ok := got.member["data"].(map[string]any)
	if got.code != http.StatusOK || !ok {
		t.Fatalf("got %d %s, want an object of data", got.code, got.raw)
	}
	return data
}

// names are the usernames of a list.
func (got reply) names(t *testing.T) string {
	t.Helper()
	var names []string
	for _, item := range got.data(t)["userList"].([]any) {
		names = append(names, item.(map[string]any)["username"].(string))
	}
	return strings.Join(names, " ")
}

// A form is one way to write addresses of demo.
type form struct {
	name string
	list string
	make string
	user func(name, op string) string // op "" is the user as read, "/" the user as deleted
}

var forms = []form{
	{"SSMS", "/digitanium/v4/users", "/digitanium/v4/users", func(name, op string) string {
		switch op {
		case "":
			op = "/profile"
		case "/":
			op = ""
		}
		return "/digitanium/v4/users/" + name + op
	}},
	{"SHIFT", "http://id.test/auth/realms/demo/v3_user/getusers/", "http://id.test/auth/realms/demo/v3_user", func(name, op string) string {
		return "http://id.test/auth/realms/demo/v3_user/" + name + strings.TrimSuffix(op, "/")
	}},
	{"SHIFT without auth", "http://id.test/realms/demo/v3_user/getusers", "http://id.test/realms/demo/v3_user", func(name, op string) string {
		return "http://id.test/realms/demo/v3_user/" + name + strings.TrimSuffix(op, "/")
	}},
}

// runForms runs test on each engine in each form, each with a fresh bench.
func runForms(t *testing.T, test func(t *testing.T, b *bench, f form)) {
	t.Helper()
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) { run(t, func(t *testing.T, b *bench) { test(t, b, f) }) })
	}
}

func TestTenantComesFromHostOrPath(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "dora"})
		b.add(t, "acme", user.User{Username: "anton"})
		for _, c := range []struct{ key, address, want string }{
			{"demo", "http://demo.id.test/digitanium/v4/users", "dora"},
			{"acme", "http://acme.id.test/digitanium/v4/users", "anton"},
			{"acme", "http://ACME.id.test:8443/digitanium/v4/users", "anton"},
			{"demo", "http://id.test/digitanium/v4/users", "dora"}, // the default tenant
			{"acme", "http://id.test/auth/realms/acme/v3_user/getusers/", "anton"},
			{"acme", "http://id.test/realms/acme/v3_user/getusers", "anton"},
			{"acme", "http://acme.id.test/auth/realms/acme/v3_user/getusers", "anton"},
		} {
			if got := b.send(t, b.keys[c.key], "GET", c.address, "").names(t); got != c.want {
				t.Errorf("%s lists %q, want %q", c.address, got, c.want)
			}
		}
	})
}

func TestUnknownTenantIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			name, address, status, message string
			code, subSystem                int
		}{
			{"realm that does not exist", "http://id.test/auth/realms/nobody/v3_user/getusers/", "TENANT_NOT_FOUND", "Tenant does not exist", 404, 5},
			{"realm call in a realm that does not exist", "http://id.test/auth/realms/nobody/v4_realm/", "TENANT_NOT_FOUND", "Tenant does not exist", 404, 1},
			{"host and path that disagree", "http://demo.id.test/auth/realms/acme/v3_user/getusers/", "TENANT_NOT_FOUND", "Tenant does not exist", 404, 5},
			{"empty realm", "http://id.test/auth/realms//v3_user/getusers/", "TENANT_NOT_FOUND", "Tenant does not exist", 404, 5},
			{"unknown label", "http://nobody.id.test/digitanium/v4/users", "UNKNOWN_HOST", "", 421, 5},
			{"unknown host", "http://evil.test/digitanium/v4/users", "UNKNOWN_HOST", "", 421, 5},
		} {
			got := b.ask(t, "GET", c.address, "").is(t, c.code, c.status, c.message, c.subSystem)
			if want := any("Realm does not exist"); c.code == 404 && got.member["error"] != want {
				t.Errorf("%s: error is %v, want %v, as Keycloak has it", c.name, got.member["error"], want)
			}
		}
	})
}

func TestLiteralRoutesBeatUserNames(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, name := range []string{"getusers", "ada", "devices", "tms"} {
			b.add(t, "demo", user.User{Username: name})
		}
		realm := "http://id.test/auth/realms/demo/v3_user/"
		for _, address := range []string{realm + "getusers", realm + "getusers/"} {
			b.ask(t, "GET", address, "").is(t, 200, "Success", "Users fetched successfully", 5)
		}
		b.ask(t, "GET", realm+"devices/ada", "").is(t, 501, "NOT_SUPPORTED", "", 5)
		b.ask(t, "GET", realm+"tms/17/result", "").is(t, 501, "NOT_SUPPORTED", "", 2)
		b.ask(t, "GET", realm+"devices", "").is(t, 200, "Success", "User info fetched successfully", 5)
	})
}

// The two forms differ in more than their beginnings.
func TestFormsAreNotMechanicalTwins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada"})
		b.ask(t, "GET", "/digitanium/v4/users/ada/profile", "").is(t, 200, "Success", "", 5)
		b.ask(t, "GET", "/digitanium/v4/users/ada", "").is(t, 405, "METHOD_NOT_ALLOWED", "", 5)
		b.ask(t, "GET", "/auth/realms/demo/v3_user/ada", "").is(t, 200, "Success", "", 5)
		got := b.ask(t, "GET", "/auth/realms/demo/v3_user/ada/profile", "").is(t, 405, "METHOD_NOT_ALLOWED", "", 5)
		if allow := got.head.Get("Allow"); allow != "PUT" {
			t.Errorf("Allow is %q, want PUT", allow)
		}
		b.ask(t, "GET", "/digitanium/v4/users/ada/devices", "").is(t, 501, "NOT_SUPPORTED", "", 5)
		b.ask(t, "GET", "/digitanium/v4/users/devices/ada", "").is(t, 404, "NOT_FOUND", "", 5)
	})
}

func TestContentTypeIsNotAskedFor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, media := range []string{"", "application/json", "text/plain"} {
			r := httptest.NewRequest("GET", "http://demo.id.test/digitanium/v4/users", nil)
			r.Header.Set("Authorization", "bearer "+b.keys["demo"])
			r.Header.Set("Content-Type", media)
			serve(t, b.handler, r).is(t, 200, "Success", "", 5)
		}
	})
}

// Without a good key every call answers the same 401, never 403, and does
// nothing.
func TestWithoutRightEveryCallAnswers401(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada", IsActive: true})
		b.add(t, "acme", user.User{Username: "ada", IsActive: true})
		bodies := map[string]string{"enable": `{"enabled":false}`, "tenants": `{"realm":"new","adminUsername":"root","adminPassword":"long enough"}`}
		for _, route := range b.router.Routes() {
			for _, path := range route.Paths {
				address := strings.NewReplacer("{tenant}", "demo", "{userName}", "ada", "{name}", "acme", "{$}", "", "{roleName}", "new").Replace(path)
				body := `{"username":"new","firstName":"Eve","enabled":false,"realm":"new","adminUsername":"root","adminPassword":"long enough"}`
				for name, text := range bodies {
					if strings.HasSuffix(address, name) {
						body = text
					}
				}
				for name, key := range map[string]string{
					"none": "", "garbage": "sk_nonsense", "another tenant's": b.keys["acme"], "of another kind": "eyJhbGciOiJub25lIn0.e30.",
				} {
					got := b.send(t, key, route.Method, address, body)
					if got.code != 401 || got.member["status"] != "Unauthorized" || got.member["message"] != "HTTP 401 Unauthorized" {
						t.Errorf("key %s: %s %s answered %d %s", name, route.Method, address, got.code, got.raw)
					}
					if got.head.Get("WWW-Authenticate") == "" {
						t.Errorf("%s %s: 401 without WWW-Authenticate", route.Method, address)
					}
				}
				if route.Needs == "" {
					continue
				}
				lacking := b.key(t, "demo", slices.DeleteFunc(slices.Clone(access.All), func(p access.Permission) bool { return p == route.Needs })...)
				if got := b.send(t, lacking, route.Method, address, body); got.code != 401 || got.member["message"] != "HTTP 401 Unauthorized" {
					t.Errorf("key without %s: %s %s answered %d %s", route.Needs, route.Method, address, got.code, got.raw)
				}
			}
		}
		if u := b.find(t, "ada"); !u.IsActive || u.FirstName != "" {
			t.Errorf("a call without right changed the user: %+v", u)
		}
		b.ask(t, "GET", "/digitanium/v4/users/new/profile", "").is(t, 404, "USER_NOT_FOUND", "", 5)
	})
}

func TestKeyHasAnEnd(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		now := time.Now()
		b.db.Now = func() time.Time { return now }
		var expiring, revoked, id string
		b.write(t, func(tx *database.Tx) error {
			by := access.System(b.ids["demo"])
			_, key, err := b.tenants.CreateKey(t.Context(), tx, by, "expiring", access.All, now.Add(time.Hour))
			k, other, err2 := b.tenants.CreateKey(t.Context(), tx, by, "to be revoked", access.All, time.Time{})
			expiring, revoked, id = key, other, k.ID
			return errors.Join(err, err2)
		})
		for _, key := range []string{expiring, revoked} {
			b.send(t, key, "GET", "/digitanium/v4/users", "").is(t, 200, "Success", "", 5)
		}
		b.write(t, func(tx *database.Tx) error {
			return b.tenants.RevokeKey(t.Context(), tx, access.System(b.ids["demo"]), id)
		})
		now = now.Add(2 * time.Hour)
		for _, key := range []string{expiring, revoked} {
			b.send(t, key, "GET", "/digitanium/v4/users", "").is(t, 401, "Unauthorized", "HTTP 401 Unauthorized", 5)
		}
	})
}

// Whoever tries keys is stopped; a good key from the same address is not.
func TestTryingKeysIsLimited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		try := func(key string) reply {
			r := httptest.NewRequest("GET", "http://demo.id.test/digitanium/v4/users", nil)
			r.Header.Set("Authorization", "Bearer "+key)
			return serve(t, b.handler, r)
		}
		got := try("sk_guess")
		for range ratelimit.APIKey.Count {
			got = try("sk_guess")
		}
		if got.is(t, 429, "TOO_MANY_REQUESTS", "", 5); got.head.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		try(b.keys["demo"]).is(t, 200, "Success", "", 5)
	})
}

func TestUnknownAddressesAndMethods(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.ask(t, "GET", "/digitanium/v4/nothing", "").is(t, 404, "NOT_FOUND", "", 5)
		b.ask(t, "GET", "/digitanium/v3/users", "").is(t, 404, "NOT_FOUND", "", 5)
		b.ask(t, "GET", "/auth/realms/demo/v3_nothing", "").is(t, 404, "NOT_FOUND", "", 5)
		b.ask(t, "PATCH", "/digitanium/v4/users", "").is(t, 405, "METHOD_NOT_ALLOWED", "", 5)
		b.ask(t, "DELETE", "/digitanium/v4/tenants", "").is(t, 405, "METHOD_NOT_ALLOWED", "", 1)
		b.ask(t, "GET", "/auth/realms/demo/v3_role/new", "").is(t, 405, "METHOD_NOT_ALLOWED", "", 1)
	})
}

func TestPlainHTTPIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		front := edge(t, b.tenants.Resolve(b.router))
		front.AllowHTTP = false
		r := httptest.NewRequest("GET", "http://demo.id.test/digitanium/v4/users", nil)
		r.Header.Set("Authorization", "Bearer "+b.keys["demo"])
		serve(t, front, r).is(t, 403, "HTTPS_REQUIRED", "", 5)
		r = httptest.NewRequest("GET", "https://demo.id.test/digitanium/v4/users", nil)
		r.Header.Set("Authorization", "Bearer "+b.keys["demo"])
		serve(t, front, r).is(t, 200, "Success", "", 5)
	})
}

// Whatever goes wrong anywhere behind the edge is answered as an envelope that
// gives nothing away.
func TestEveryProblemIsAnEnvelope(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		code   int
		status string
	}{
		"fault":       {errors.New("SELECT secret FROM table"), 500, "INTERNAL_SERVER_ERROR"},
		"too many":    {(&problem.Problem{Kind: problem.TooMany, Code: "rate_limited", Message: "Slow down."}).After(3 * time.Second), 429, "TOO_MANY_REQUESTS"},
		"unavailable": {passhash.ErrBusy, 503, "SERVICE_UNAVAILABLE"},
		"too large":   {web.ErrTooLarge, 413, "REQUEST_TOO_LARGE"},
		"denied":      {access.ErrDenied.Because("key lacks scope"), 401, "Unauthorized"},
		"forbidden":   {&problem.Problem{Kind: problem.Forbidden, Code: "other", Message: "No."}, 401, "Unauthorized"},
		"token":       {tenant.ErrToken.Because("expired"), 401, "Unauthorized"},
		"conflict":    {&problem.Problem{Kind: problem.Conflict, Code: "other", Message: "Twice."}, 409, "CONFLICT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := edge(t, web.Handler(func(http.ResponseWriter, *http.Request) error { return c.err }))
			got := serve(t, h, httptest.NewRequest("GET", "http://demo.id.test/digitanium/v4/users", nil)).is(t, c.code, c.status, "", 5)
			if strings.Contains(got.raw, "SELECT") || strings.Contains(got.raw, "scope") || strings.Contains(got.raw, "expired") {
				t.Errorf("the answer tells the cause: %s", got.raw)
			}
			if c.code == 429 && got.head.Get("Retry-After") != "3" {
				t.Errorf("Retry-After is %q, want 3", got.head.Get("Retry-After"))
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		h := edge(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at the disco") }))
		got := serve(t, h, httptest.NewRequest("GET", "http://demo.id.test/auth/realms/demo/v4_realm/", nil)).is(t, 500, "INTERNAL_SERVER_ERROR", "", 1)
		if strings.Contains(got.raw, "disco") {
			t.Errorf("the answer tells the cause: %s", got.raw)
		}
	})
}

func TestShieldCallsAreNotSupported(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			method, ssms, shift string
			subSystem           int
		}{
			{"GET", "users/ada/devices", "v3_user/devices/ada", 5},
			{"POST", "users/ada/activationcodes?responseQrType=normal", "v3_activationcode/ada/?responseQrType=normal", 5},
			{"GET", "users/ada/activationcodes?qrCode=true", "v3_activationcode/ada?qrCode=true", 5},
			{"GET", "devices/17", "v3_device/17", 6},
			{"DELETE", "devices/17", "v3_device/17", 6},
			{"POST", "devices/17/lock", "v3_device/17/lock", 6},
			{"POST", "devices/17/unlock", "v3_device/17/unlock", 6},
			{"POST", "", "v3_user/ada/tms", 2},
			{"GET", "", "v3_user/tms/17/result", 2},
			{"GET", "monitor/statistics?fromdate=1&todate=2", "v3_monitor/statistics", 2},
			{"POST", "monitor/statistics/logins", "v3_monitor/statistics/logins", 2},
			{"GET", "tenants/settings", "v3_realm/settings", 1},
			{"POST", "tenants/settings", "v3_realm/settings", 1},
			{"PUT", "tenants/acme", "v3_realm/acme", 1},
			{"PUT", "tenants?tenantname=acme", "v3_realm?tenantname=acme", 1},
		} {
			for prefix, rest := range map[string]string{"/digitanium/v4/": c.ssms, "/auth/realms/demo/": c.shift, "/realms/demo/": c.shift} {
				if rest != "" {
					b.ask(t, c.method, prefix+rest, `{"anything":1}`).is(t, 501, "NOT_SUPPORTED", "", c.subSystem)
				}
			}
		}
	})
}
