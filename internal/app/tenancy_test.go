package app_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Which tenant a request reaches, and with what right.

func TestClientIDNamesTheTenant(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		id, _ := makeUser(t, shop.Client)
		base := shop.Client
		base.Host = apptest.BaseHost
		for name, c := range map[string]struct {
			client apptest.Client
			query  string
		}{
			"query":               {base, "?client_id=" + shop.ClientID},
			"doubled, then empty": {base, "?client_id=" + shop.ClientID + "&client_id=&limit=10"},
			"empty, then doubled": {base, "?client_id=&client_id=" + shop.ClientID},
			"header":              {base.With("x-client-id", shop.ClientID), ""},
			"header, empty query": {base.With("X-Client-Id", shop.ClientID), "?client_id="},
			"query before header": {base.With("X-Client-Id", w.Demo.ClientID), "?client_id=" + shop.ClientID},
			"host":                {shop.Client, ""},
			"host in capitals":    {at(shop.Client, "SHOP.Cardea.Test."), ""},
			"host with a port":    {at(shop.Client, "shop.cardea.test:8443"), ""},
			"host and client id":  {shop.Client, "?client_id=" + shop.ClientID},
		} {
			if got := idsOf(t, c.client.Get(t, "/api/v1/users"+c.query)); !slices.Equal(got, []string{id}) {
				t.Errorf("%s: got %v, want shop's user", name, got)
			}
		}
		if got := idsOf(t, at(w.Demo.Client, apptest.BaseHost).Get(t, "/api/v1/users")); len(got) != 0 {
			t.Errorf("the base host stands for demo, which has nobody: got %v", got)
		}
	})
}

func at(c apptest.Client, host string) apptest.Client {
	c.Host = host
	return c
}

func TestHostAndClientIDMustAgree(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		shop.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).WantError(t, 400, "invalid_client")
		shop.With("X-Client-Id", w.Demo.ClientID).Get(t, "/api/v1/users").WantError(t, 400, "invalid_client")
		for _, id := range []string{"cli_nobody", strings.Repeat("x", 4000), "' OR 1=1 --", shop.ClientID + "x", strings.ToUpper(shop.ClientID)} {
			shop.With("X-Client-Id", id).Get(t, "/api/v1/users").WantError(t, 400, "invalid_client")
		}
	})
}

func TestUnknownHostIsMisdirected(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, host := range []string{
			"elsewhere.example", "nobody.cardea.test", "a.demo.cardea.test", "demo.cardea.test.evil.example", "xdemo.cardea.test", "demo_cardea.test", "192.0.2.1",
			"[2001:db8::1]", "localhost", "", ".cardea.test", "demo..cardea.test",
		} {
			at(w.Demo.Client, host).Get(t, "/api/v1/users").WantError(t, 421, "unknown_host")
			at(w.Demo.Client, host).Get(t, "/api/v1/config?client_id="+w.Demo.ClientID).WantError(t, 421, "unknown_host")
		}
		for _, path := range []string{"/livez", "/readyz"} { // a probe asks by address
			at(w.Demo.Client, "192.0.2.1").Get(t, path).Want(t, 200)
		}
		// Forwarded hosts are believed from trusted proxies only, and there are none.
		w.Demo.With("X-Forwarded-Host", "elsewhere.example").Get(t, "/api/v1/users").Want(t, 200)
		at(w.Demo.With("X-Forwarded-Host", "demo.cardea.test"), "elsewhere.example").Get(t, "/api/v1/users").WantError(t, 421, "unknown_host")
	})
}

func TestKeyIsGoodInItsTenantOnly(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		id, _ := makeUser(t, w.Demo.Client)
		thief := w.Demo.Client
		thief.Key = shop.Key
		thief.Get(t, "/api/v1/users/"+id).WantError(t, 401, "invalid_access_token")
		thief.Delete(t, "/api/v1/users/"+id).WantError(t, 401, "invalid_access_token")
		at(thief, apptest.BaseHost).Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).WantError(t, 401, "invalid_access_token")
		// With its own tenant's id the key works, and demo's user is nobody there.
		at(thief, shop.Host).Get(t, "/api/v1/users/"+id).WantError(t, 404, "user_not_found")
	})
}

func TestKeyForms(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		key := w.Demo.Key
		bare := w.Demo.Client
		bare.Key = ""
		for _, header := range []string{"Bearer " + key, "bearer " + key, "BEARER " + key, "Bearer  " + key + " "} {
			bare.With("Authorization", header).Get(t, "/api/v1/users").Want(t, 200)
		}
		for header, code := range map[string]string{
			"":                                  "access_token_required",
			key:                                 "access_token_required",
			"Basic " + key:                      "access_token_required",
			"Token " + key:                      "access_token_required",
			"Bearer":                            "access_token_required",
			"Bearer ":                           "invalid_access_token",
			"Bearer x":                          "invalid_access_token",
			"Bearer " + key + "x":               "invalid_access_token",
			"Bearer " + key[:len(key)-1]:        "invalid_access_token",
			"Bearer " + strings.ToUpper(key):    "invalid_access_token",
			"Bearer sk_" + key:                  "invalid_access_token",
			"Bearer " + key + ", Bearer " + key: "invalid_access_token",
			"Bearer \xff\xfe":                   "invalid_access_token",
		} {
			a := bare.With("Authorization", header).Get(t, "/api/v1/users")
			a.WantError(t, 401, code)
			if a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%q: the refusal does not say how to sign in", header)
			}
		}
		bare.Get(t, "/api/v1/users?access_token="+key).WantError(t, 401, "access_token_required")
	})
}

// Guessing is slowed down per address; who has a good key is not locked out by it.
func TestBadKeysAreCounted(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		guesser := w.Demo.Client
		guesser.IP, guesser.Key = "198.51.100.1", "sk_guess"
		for range 50 {
			guesser.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
		}
		refused := guesser.Get(t, "/api/v1/users")
		refused.WantError(t, 429, "rate_limited")
		if seconds, err := strconv.Atoi(refused.Header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Errorf("Retry-After is %q", refused.Header.Get("Retry-After"))
		}
		guesser.IP = "198.51.100.2"
		guesser.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
		honest := w.Demo.Client
		honest.IP = "198.51.100.1"
		honest.Get(t, "/api/v1/users").Want(t, 200)
	})
}

func TestKeyEnds(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		mayfly := w.Demo.Until(t, w.Clock.Now().Add(time.Hour), access.UsersRead)
		mayfly.Get(t, "/api/v1/users").Want(t, 200)
		w.Clock.Advance(time.Hour)
		mayfly.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")

		made := w.Demo.Post(t, "/api/v1/keys", `{"name": "shop", "scopes": ["users:read"]}`).Want(t, 201).Object(t)
		doomed := w.Demo.Client
		doomed.Key = made["key"].(string)
		doomed.Get(t, "/api/v1/users").Want(t, 200)
		w.Demo.Delete(t, "/api/v1/keys/"+made["id"].(string)).Want(t, 200)
		doomed.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
		w.Demo.Delete(t, "/api/v1/keys/"+made["id"].(string)).WantError(t, 404, "resource_not_found")
	})
}

// Another process that revokes a key is noticed within a second.
func TestKeyRevokedElsewhereEndsWithinASecond(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		doomed := w.Demo.As(t, access.UsersRead)
		doomed.Get(t, "/api/v1/users").Want(t, 200)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE api_keys SET revoked_at = 1 WHERE tenant_id = $1 AND scopes = $2", w.Demo.ID, string(access.UsersRead))
			return err
		})
		w.Clock.Advance(time.Second)
		doomed.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
	})
}

func TestNobodyGrantsWhatTheyDoNotHold(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		clerk := w.Demo.As(t, access.KeysWrite, access.UsersRead)
		clerk.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`).Want(t, 201)
		for _, scopes := range []string{`["users:write"]`, `["users:read", "users:export_hashes"]`} {
			clerk.Post(t, "/api/v1/keys", `{"name": "x", "scopes": `+scopes+`}`).WantError(t, 403, "access_denied")
		}
		for _, scopes := range []string{`["*"]`, `["admin"]`, `[""]`, `["users:read users:write"]`, `["users:read", "Users:Read"]`} {
			w.Demo.Post(t, "/api/v1/keys", `{"name": "x", "scopes": `+scopes+`}`).WantError(t, 400, "invalid_scope")
		}
		for _, body := range []any{nil, `{}`, `{"name": "x"}`, `{"name": "x", "scopes": []}`, `{"scopes": ["users:read"]}`, `{"name": "x", "scopes": "users:read"}`} {
			w.Demo.Post(t, "/api/v1/keys", body).WantError(t, 400, "invalid_request_body")
		}
	})
}

func TestInactiveApplicationNamesNobody(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		base := at(w.Demo.Client, apptest.BaseHost)
		id := w.Demo.Get(t, "/api/v1/applications").Want(t, 200).List(t)[0]["id"].(string)
		base.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).Want(t, 200)
		w.Demo.Put(t, "/api/v1/applications/"+id, `{"is_active": false}`).Want(t, 200)
		base.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).WantError(t, 400, "invalid_client")
		w.Demo.Put(t, "/api/v1/applications/"+id, `{"is_active": true}`).Want(t, 200)
		base.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).Want(t, 200)
		w.Demo.Delete(t, "/api/v1/applications/"+id).Want(t, 200)
		base.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID).WantError(t, 400, "invalid_client")
	})
}

// The ids of one tenant name nothing in another, at any depth.
func TestForeignIDsNameNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		application := shop.Get(t, "/api/v1/applications").Want(t, 200).List(t)[0]["id"].(string)
		key := shop.Get(t, "/api/v1/keys").Want(t, 200).List(t)[0]["id"].(string)
		before := string(shop.Get(t, "/api/v1/applications/"+application).Want(t, 200).Body)
		for _, c := range []struct{ method, target, code string }{
			{"GET", "/api/v1/applications/" + application, "application_not_found"},
			{"PUT", "/api/v1/applications/" + application, "application_not_found"},
			{"DELETE", "/api/v1/applications/" + application, "application_not_found"},
			{"GET", "/api/v1/applications/" + application + "/secrets", "application_not_found"},
			{"POST", "/api/v1/applications/" + application + "/secrets", "application_not_found"},
			{"DELETE", "/api/v1/keys/" + key, "resource_not_found"},
		} {
			w.Demo.Do(t, c.method, c.target, `{"name": "stolen"}`).WantError(t, 404, c.code)
		}
		if after := string(shop.Get(t, "/api/v1/applications/"+application).Want(t, 200).Body); after != before {
			t.Errorf("it was %s and is %s", before, after)
		}
		shop.Get(t, "/api/v1/keys").Want(t, 200)
	})
}

func TestDeletedTenantIsGone(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		id, _ := makeUser(t, shop.Client)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.Tenants.Delete(ctx, tx, access.System(w.Demo.ID), "shop")
		})
		shop.Get(t, "/api/v1/users/"+id).WantError(t, 421, "unknown_host")
		at(shop.Client, apptest.BaseHost).Get(t, "/api/v1/users?client_id="+shop.ClientID).WantError(t, 400, "invalid_client")
		// The name may be given again, and inherits nothing.
		again := w.Tenant(t, "shop")
		if got := idsOf(t, again.Get(t, "/api/v1/users")); len(got) != 0 {
			t.Errorf("the new tenant of the name has users: %v", got)
		}
		shop.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
	})
}

// A request that had found its tenant just before the deletion may still write for
// it. What it wrote goes a little later.
func TestDeletedTenantLeavesNoStragglers(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.Tenants.Delete(ctx, tx, access.System(w.Demo.ID), "shop")
		})
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Users.Create(ctx, tx, access.System(shop.ID), user.User{Email: "late@example.com", IsActive: true})
			return err
		})
		w.Clock.Advance(5 * time.Minute)
		w.Work(t)
		for _, table := range []string{"users", "user_identifiers", "user_search_queue", "audit_unsealed"} {
			var n int64
			if err := w.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE tenant_id = $1", shop.ID).Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: %d rows of the deleted tenant, %v", table, n, err)
			}
		}
		w.Demo.Get(t, "/api/v1/users").Want(t, 200)
	})
}

func TestPagesOfAllowedOriginsMayCall(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		page := w.Demo.With("Origin", apptest.Origin)
		for name, a := range map[string]apptest.Answer{
			"success":            page.Get(t, "/api/v1/users"),
			"with client id":     page.Get(t, "/api/v1/users?client_id="+w.Demo.ClientID),
			"refusal":            without(page).Get(t, "/api/v1/users"),
			"unknown address":    page.Get(t, "/api/v1/nothing"),
			"configuration":      without(page).Get(t, "/api/v1/config?client_id="+w.Demo.ClientID),
			"origin in capitals": page.With("Origin", "HTTPS://App.Example.Com").Get(t, "/api/v1/users"),
		} {
			h := a.Header
			if got := h.Get("Access-Control-Allow-Origin"); !strings.EqualFold(got, apptest.Origin) {
				t.Errorf("%s: the allowed origin is %q", name, got)
			}
			for _, exposed := range []string{"Link", "X-Next-Cursor", "X-Request-Id"} {
				if !strings.Contains(h.Get("Access-Control-Expose-Headers"), exposed) {
					t.Errorf("%s: %s is not exposed", name, exposed)
				}
			}
			wantNoCredentials(t, name, h)
		}
	})
}

func without(c apptest.Client) apptest.Client {
	c.Key = ""
	return c
}

// Cookies never go along, so a page can do only what its own key lets it.
func wantNoCredentials(t *testing.T, name string, h http.Header) {
	t.Helper()
	if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Access-Control-Allow-Origin") == "*" {
		t.Errorf("%s: %v", name, h)
	}
	if !slices.Contains(h.Values("Vary"), "Origin") {
		t.Errorf("%s: Vary is %v, want Origin in it", name, h.Values("Vary"))
	}
}

func TestPagesOfOtherOriginsMayNot(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		shop := w.Tenant(t, "shop")
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE applications SET allowed_origins = '[]' WHERE tenant_id = $1", shop.ID)
			return err
		})
		cases := map[string]apptest.Client{"another tenant's origin": shop.With("Origin", apptest.Origin)}
		for _, origin := range []string{
			"null", "https://evil.example", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil.example", "https://evil.app.example.com",
			"https://app.example.com/", "app.example.com", "*", "https://cardea.test", "https://app.example.com https://evil.example", "\xff",
		} {
			cases[fmt.Sprintf("origin %q", origin)] = w.Demo.With("Origin", origin)
		}
		for name, page := range cases {
			for _, a := range []apptest.Answer{page.Get(t, "/api/v1/users"), page.With("Access-Control-Request-Method", "GET").Do(t, "OPTIONS", "/api/v1/users", nil)} {
				if got := a.Header.Values("Access-Control-Allow-Origin"); len(got) != 0 {
					t.Errorf("%s: the allowed origin is %q", name, got)
				}
				if got := a.Header.Values("Access-Control-Allow-Methods"); len(got) != 0 {
					t.Errorf("%s: the allowed methods are %q", name, got)
				}
				wantNoCredentials(t, name, a.Header)
			}
		}
	})
}

func TestPreflight(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		page := without(w.Demo.Client).With("Origin", apptest.Origin).With("Access-Control-Request-Method", "PUT").With("Access-Control-Request-Headers", "authorization,content-type")
		for _, target := range []string{"/api/v1/users", "/api/v1/users/6694c154565dfee5166d1cc7", "/api/v1/users?client_id=" + w.Demo.ClientID} {
			a := page.Do(t, "OPTIONS", target, nil).Want(t, 204)
			if a.Header.Get("Access-Control-Allow-Origin") != apptest.Origin || !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "PUT") {
				t.Errorf("%s: %v", target, a.Header)
			}
			for _, header := range []string{"Authorization", "Content-Type", "X-Client-Id"} {
				if !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), header) {
					t.Errorf("%s: %s may not be sent", target, header)
				}
			}
			if len(a.Body) != 0 {
				t.Errorf("%s: the answer has a body: %s", target, a.Body)
			}
		}
		// OPTIONS that is no preflight is a method like any other.
		w.Demo.Do(t, "OPTIONS", "/api/v1/users", nil).WantError(t, 405, "method_not_allowed")
	})
}

// atOnce calls f n times, all at the same moment.
func atOnce(n int, f func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(f)
	}
	all.Wait()
}

// Nobody fills the database with applications, not even by asking many times at once.
func TestATenantHasAThousandApplications(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			for i := range 997 { // beside the one there is
				_, err := tx.Exec(ctx, `INSERT INTO applications (tenant_id, id, client_id, name, redirect_uris, allowed_origins, created_at, modified_at)
					VALUES ($1, $2, $2, 'x', '[]', '[]', 1, 1)`, w.Demo.ID, fmt.Sprintf("x%d", i))
				if err != nil {
					return err
				}
			}
			return nil
		})
		var made atomic.Int64
		atOnce(12, func() {
			if a := w.Demo.Post(t, "/api/v1/applications", `{"name": "x"}`); a.Status == 201 {
				made.Add(1)
			}
		})
		if made.Load() != 2 {
			t.Errorf("%d were made where there was room for 2", made.Load())
		}
		w.Demo.Post(t, "/api/v1/applications", `{"name": "x"}`).WantError(t, 409, "too_many_applications")
		w.Tenant(t, "shop").Post(t, "/api/v1/applications", `{"name": "x"}`).Want(t, 201)
	})
}

// The first application stands for the domain, and a change of it is seen.
func TestConfigurationOfADomainNamesTheFirstApplication(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		first := func() any {
			return w.Demo.Get(t, "/api/v1/config?domain=demo.cardea.test").Want(t, 200).Object(t)["client_id"]
		}
		second := w.Demo.Post(t, "/api/v1/applications", `{"name": "second"}`).Want(t, 201).Object(t)
		if got := first(); got != w.Demo.ClientID {
			t.Errorf("got %v, want %s", got, w.Demo.ClientID)
		}
		id := w.Demo.Get(t, "/api/v1/applications").List(t)[0]["id"].(string)
		w.Demo.Delete(t, "/api/v1/applications/"+id).Want(t, 200)
		if got := first(); got != second["client_id"] {
			t.Errorf("got %v, want %v", got, second["client_id"])
		}
		w.Demo.Delete(t, "/api/v1/applications/"+second["id"].(string)).Want(t, 200)
		if got := first(); got != "" {
			t.Errorf("without an application: got %v", got)
		}
	})
}

// Who rotates a secret because it was stolen may not leave another one behind.
func TestRotationsAtOnceLeaveOneSecret(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id := w.Demo.Get(t, "/api/v1/applications").Want(t, 200).List(t)[0]["id"].(string)
		path := "/api/v1/applications/" + id + "/secrets"
		atOnce(20, func() {
			if a := w.Demo.Post(t, path, `{"overlap_seconds": 0}`); a.Status != 201 {
				t.Errorf("got %d %s", a.Status, a.Body)
			}
		})
		live := slices.DeleteFunc(w.Demo.Get(t, path).Want(t, 200).List(t), func(s map[string]any) bool { return s["expires_at"] != nil })
		if len(live) != 1 {
			t.Errorf("%d secrets live on, want 1", len(live))
		}
	})
}

// A read does not need the database to take writes: not while a long one is under
// way, and not on a replica.
func TestAReadDoesNotWaitForTheNoteOfItsKey(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		reader := w.Demo.As(t, access.UsersRead)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			if _, err := tx.Exec(ctx, "UPDATE api_keys SET name = name WHERE tenant_id = $1", w.Demo.ID); err != nil {
				return err
			}
			reader.Get(t, "/api/v1/users").Want(t, 200)
			return nil
		})
		if !strings.Contains(w.Log(), "could not be noted") {
			t.Error("nothing is logged")
		}
		w.Clock.Advance(time.Minute)
		reader.Get(t, "/api/v1/users").Want(t, 200)
		for _, k := range w.Demo.Get(t, "/api/v1/keys").Want(t, 200).List(t) {
			if k["last_used_at"] == nil {
				t.Errorf("later the use is not noted either: %v", k)
			}
		}
	})
}

func TestAReplicaThatOnlyReadsTakesKeys(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		url, option := w.Config.DatabaseURL, "default_transaction_read_only=on"
		if w.DB.Engine() == database.SQLite {
			return // has no replicas
		}
		if strings.Contains(url, "?") {
			url += "&" + option
		} else {
			url += "?" + option
		}
		replica, err := database.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer replica.Close()
		replica.Now = w.Clock.Now
		if err := replica.Write(t.Context(), func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "DELETE FROM api_keys")
			return err
		}); err == nil {
			t.Fatal("the replica takes writes")
		}
		tenants := &tenant.Service{DB: replica, Log: w.App.Log}
		by, err := tenants.Authenticate(t.Context(), access.Visitor(w.Demo.ID, ""), w.Demo.Key)
		if err != nil || !by.May(access.UsersRead) {
			t.Errorf("got %v, %v", by, err)
		}
	})
}

// Nobody fills the database with keys; those that have ended do not count, and do
// not hide one that works.
func TestATenantHasAThousandLiveKeys(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		fill := func(n int, prefix string, revoked any) {
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				for i := range n {
					id := fmt.Sprintf("%s%d", prefix, i)
					_, err := tx.Exec(ctx, `INSERT INTO api_keys (tenant_id, id, hash, hint, name, scopes, created_by, created_at, revoked_at)
						VALUES ($1, $2, $3, 'x', 'x', 'users:read', 'system', 1, $4)`, w.Demo.ID, id, []byte(id), revoked)
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		fill(997, "a", nil) // beside the one there is
		var made atomic.Int64
		atOnce(12, func() {
			if a := w.Demo.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`); a.Status == 201 {
				made.Add(1)
			}
		})
		if made.Load() != 2 {
			t.Errorf("%d were made where there was room for 2", made.Load())
		}
		w.Demo.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`).WantError(t, 409, "too_many_keys")
		fill(100, "z", int64(1))
		for _, k := range w.Demo.Get(t, "/api/v1/keys").Want(t, 200).List(t) {
			if k["revoked_at"] != nil {
				t.Fatal("a key that has ended takes the place of one that works")
			}
		}
		w.Demo.Delete(t, "/api/v1/keys/a0").Want(t, 200)
		w.Demo.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`).Want(t, 201)
	})
}

// makeKey makes a key by c's key, and returns a client with it.
func makeKey(t *testing.T, c apptest.Client, expires any) (apptest.Client, map[string]any) {
	t.Helper()
	made := c.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []string{"users:read", "keys:write"}, "expires_at": expires}).Want(t, 201).Object(t)
	c.Key = made["key"].(string)
	return c, made
}

// Whoever stole a key for an hour may not make one that stays.
func TestAKeyDoesNotOutliveItsMaker(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		end := w.Clock.Now().Add(time.Hour).UTC()
		maker := w.Demo.Until(t, end, access.UsersRead, access.KeysWrite)
		_, made := makeKey(t, maker, nil)
		if made["expires_at"] != end.Format(time.RFC3339Nano) {
			t.Errorf("it ends at %v, its maker at %v", made["expires_at"], end)
		}
		child, _ := makeKey(t, maker, end)
		_, soon := makeKey(t, child, end.Add(-time.Minute))
		if soon["expires_at"] != end.Add(-time.Minute).Format(time.RFC3339Nano) {
			t.Errorf("it ends at %v", soon["expires_at"])
		}
		for _, c := range []apptest.Client{maker, child} {
			e := c.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []string{"users:read"}, "expires_at": end.Add(time.Millisecond)}).WantError(t, 400, "invalid_request_body")
			if len(e.Fields) != 1 || e.Fields[0].Name != "expires_at" {
				t.Errorf("the error does not name the field: %v", e.Fields)
			}
		}
	})
}

func TestAKeyEndsInTheFuture(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, at := range []string{"0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", w.Clock.Now().UTC().Format(time.RFC3339Nano)} {
			w.Demo.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []string{"users:read"}, "expires_at": at}).WantError(t, 400, "invalid_request_body")
		}
	})
}

// Whoever revokes a stolen key revokes what the thief made with it.
func TestRevokingAKeyRevokesWhatItMade(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		root, made := makeKey(t, w.Demo.Client, nil)
		child, _ := makeKey(t, root, nil)
		grandchild, last := makeKey(t, child, nil)
		sibling, _ := makeKey(t, w.Demo.Client, nil)
		w.Demo.Delete(t, "/api/v1/keys/"+made["id"].(string)).Want(t, 200)
		for _, c := range []apptest.Client{root, child, grandchild} {
			c.Get(t, "/api/v1/users").WantError(t, 401, "invalid_access_token")
		}
		sibling.Get(t, "/api/v1/users").Want(t, 200)
		w.Demo.Delete(t, "/api/v1/keys/"+last["id"].(string)).WantError(t, 404, "resource_not_found")
		events, err := audit.List(t.Context(), w.DB, w.Demo.ID, audit.Filter{Action: "api_key.revoked"}, 10)
		if err != nil || len(events) != 3 {
			t.Errorf("the log tells of %d: %v, want 3", len(events), err)
		}
	})
}

// A key that makes others while it is revoked leaves none behind.
func TestAKeyMakesNoOtherWhileItIsRevoked(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		thief, made := makeKey(t, w.Demo.Client, nil)
		var turn atomic.Int64
		atOnce(12, func() {
			if turn.Add(1) == 6 {
				w.Demo.Delete(t, "/api/v1/keys/"+made["id"].(string))
				return
			}
			thief.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`)
		})
		for _, k := range w.Demo.Get(t, "/api/v1/keys").Want(t, 200).List(t) {
			if k["created_by"] == "key:"+made["id"].(string) && k["revoked_at"] == nil {
				t.Errorf("%v works", k["id"])
			}
		}
	})
}
