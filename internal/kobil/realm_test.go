package kobil_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/user"
)

func TestRolesAreMadeOnce(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{"SSMS": "/digitanium/v4/role/", "SHIFT": "/auth/realms/demo/v3_role/", "SHIFT without auth": "/realms/demo/v3_role/"} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				got := b.ask(t, "POST", prefix+"clerk", "").is(t, 200, "OK", "Role created successfully", 1)
				got.hasNoData(t)
				b.ask(t, "POST", prefix+"clerk", "").is(t, 409, "CONFLICT", "Role already exists", 1)
				b.ask(t, "POST", prefix+"digitanium_admin", "").is(t, 409, "CONFLICT", "Role already exists", 1)
				b.ask(t, "POST", prefix+"%C3%BCber%20role", "").is(t, 200, "OK", "", 1)
				for _, bad := range []string{"%20", "a%07b", strings.Repeat("x", 101)} {
					b.ask(t, "POST", prefix+bad, "").is(t, 400, "BAD_REQUEST", "", 1)
				}
				if b.roleID(t, "demo", "über role") == "" {
					t.Error("the name was not decoded")
				}
				made := b.ask(t, "POST", "/digitanium/v4/users", `{"username":"ada","realmRoles":["clerk"]}`).is(t, 200, "OK", "", 5).data(t)
				if made["admin"] != false {
					t.Error("a role made by name makes an administrator")
				}
			})
		})
	}
}

// realms are the addresses of tenants on master.
var realms = []struct{ name, list, one, remove string }{
	{"SSMS", "http://master.id.test/digitanium/v4/tenants", "http://master.id.test/digitanium/v4/tenants/", "http://master.id.test/digitanium/v4/tenants/"},
	{"SHIFT", "http://id.test/auth/realms/master/v4_realm/", "http://id.test/auth/realms/master/v4_realm/", "http://id.test/auth/realms/master/v3_realm/"},
	{"SHIFT without auth", "http://id.test/realms/master/v4_realm", "http://id.test/realms/master/v4_realm/", "http://id.test/realms/master/v3_realm/"},
}

const newTenant = `{"realm":"new-one","type":"AST","adminUsername":"root","adminPassword":"long enough","adminEmail":"root@new.test"}`

func TestTenantLivesThroughEveryCall(t *testing.T) {
	t.Parallel()
	for _, f := range realms {
		t.Run(f.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.db.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
				key := b.keys["master"]
				made := b.send(t, key, "POST", f.list, newTenant).is(t, 200, "OK", "Tenant created successfully", 1).data(t)
				listed := map[string]any{
					"name": "new-one", "type": "AST", "enabled": true, "rememberMe": false, "resetPassword": false, "registrationAllowed": false,
					"adminUsername": "root", "userCount": 1.0, "realmCreationStatus": "ACTIVE",
				}
				alone := map[string]any{"id": "new-one", "realm": "new-one", "createdTimeOfTheUser": "2026-01-02T03:04:05Z"}
				for name, value := range listed {
					alone[name] = value
				}
				if diff := cmp.Diff(alone, made); diff != "" {
					t.Errorf("created (-want +got):\n%s", diff)
				}
				got := b.send(t, key, "GET", f.one+"new-one", "").is(t, 200, "OK", "Tenant info fetched successfully", 1).data(t)
				if diff := cmp.Diff(alone, got); diff != "" {
					t.Errorf("read (-want +got):\n%s", diff)
				}
				list := b.send(t, key, "GET", f.list, "").is(t, 200, "OK", "Tenant list fetched successfully", 1).member["data"].([]any)
				var names []string
				for _, item := range list {
					names = append(names, item.(map[string]any)["name"].(string))
				}
				if got, want := strings.Join(names, " "), "acme demo master new-one"; got != want {
					t.Fatalf("tenants are %q, want %q", got, want)
				}
				if diff := cmp.Diff(listed, list[3].(map[string]any)); diff != "" {
					t.Errorf("listed (-want +got):\n%s", diff)
				}
				b.send(t, key, "DELETE", f.remove+"new-one", "").is(t, 200, "OK", "Tenant deleted successfully", 1).hasNoData(t)
				b.send(t, key, "DELETE", f.remove+"new-one", "").is(t, 404, "TENANT_NOT_FOUND", "Tenant does not exist", 1)
				b.send(t, key, "GET", f.one+"new-one", "").is(t, 404, "TENANT_NOT_FOUND", "Tenant does not exist", 1)
			})
		})
	}
}

// A new tenant answers at once and its administrator owns it.
func TestNewTenantIsReady(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.send(t, "", "GET", "http://id.test/auth/realms/new-one/v3_user/getusers", "").is(t, 404, "TENANT_NOT_FOUND", "Tenant does not exist", 5)
		b.send(t, b.keys["master"], "POST", realms[0].list, newTenant).is(t, 200, "OK", "", 1)
		made, err := b.tenants.BySlug(t.Context(), "new-one")
		if err != nil {
			t.Fatal(err)
		}
		b.ids["new-one"] = made.ID
		got := b.send(t, b.key(t, "new-one", access.UsersRead), "GET", "http://new-one.id.test/digitanium/v4/users/root/profile", "").is(t, 200, "Success", "", 5).data(t)
		if got["admin"] != true || got["enabled"] != true || got["email"] != "root@new.test" {
			t.Errorf("administrator is %v", got)
		}
		hash, due, err := password.Find(t.Context(), b.db, made.ID, got["id"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if good, _, err := b.hasher.Verify(t.Context(), hash, "long enough"); !good || err != nil || due != password.NotDue {
			t.Errorf("password is good: %v, %v; due %q", good, err, due)
		}
		// Both logs tell who it was.
		for slug, actions := range map[string][]string{"master": {"tenant.created"}, "new-one": {"tenant.created", "user.created", "password.set"}} {
			for _, action := range actions {
				events, err := audit.List(t.Context(), b.db, b.ids[slug], audit.Filter{Action: action}, 10)
				if err != nil {
					t.Fatal(err)
				}
				if len(events) == 0 || !strings.HasPrefix(events[0].Actor, "key:") || events[0].RequestID == "" {
					t.Errorf("log of %s has %+v of %s", slug, events, action)
				}
			}
		}
	})
}

// Tenant and administrator are made together or not at all.
func TestCreateTenantRefuses(t *testing.T) {
	t.Parallel()
	for _, f := range realms {
		t.Run(f.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				for _, body := range []string{
					``, `{}`, `{"realm":"new-one"}`, `{"realm":"new-one","adminUsername":"root"}`, `{"realm":"","adminUsername":"root","adminPassword":"long enough"}`,
					`{"realm":"new-one","adminUsername":" ","adminPassword":"long enough"}`, `{"realm":"new-one","adminUsername":"root","adminPassword":"short"}`,
					`{"realm":"New_One","adminUsername":"root","adminPassword":"long enough"}`, `{"realm":"-x","adminUsername":"root","adminPassword":"long enough"}`,
					`{"realm":"www","adminUsername":"root","adminPassword":"long enough"}`, `{"realm":"new-one","adminUsername":"a b","adminPassword":"long enough"}`,
					`{"realm":"new-one","type":"OTHER","adminUsername":"root","adminPassword":"long enough"}`, `{"realm":"new-one","adminUsername":"root","adminPassword":"long enough","adminEmail":"x"}`,
					`{"realm":"` + strings.Repeat("x", 64) + `","adminUsername":"root","adminPassword":"long enough"}`, `{"realm":"new-one","adminUsername":"root","adminPassword":"` + long(1025) + `"}`,
					"{\"realm\":\"new-one\",\"adminUsername\":\"root\",\"adminPassword\":\"long enough \xff\"}", `{"realm":5}`, `[]`,
				} {
					b.send(t, b.keys["master"], "POST", f.list, body).is(t, 400, "BAD_REQUEST", "", 1)
				}
				b.send(t, b.keys["master"], "POST", f.list, strings.Replace(newTenant, "new-one", "acme", 1)).is(t, 409, "TENANT_ALREADY_EXISTS", "", 1)
				b.send(t, b.keys["master"], "GET", f.one+"new-one", "").is(t, 404, "TENANT_NOT_FOUND", "Tenant does not exist", 1)
				b.send(t, b.keys["master"], "DELETE", f.remove+"master", "").is(t, 400, "BAD_REQUEST", "", 1)
			})
		})
	}
}

// A key of an ordinary tenant manages no tenants, whatever its scopes.
func TestTenantsAreManagedOnMasterOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, c := range []struct{ method, address, body string }{
			{"GET", "http://demo.id.test/digitanium/v4/tenants", ""}, {"POST", "http://demo.id.test/digitanium/v4/tenants", newTenant},
			{"GET", "http://demo.id.test/digitanium/v4/tenants/acme", ""}, {"GET", "http://demo.id.test/digitanium/v4/tenants/nobody", ""},
			{"DELETE", "http://demo.id.test/digitanium/v4/tenants/acme", ""}, {"DELETE", "http://demo.id.test/digitanium/v4/tenants/demo", ""},
			{"GET", "http://id.test/auth/realms/demo/v4_realm/", ""}, {"POST", "http://id.test/auth/realms/demo/v4_realm/", newTenant},
			{"GET", "http://id.test/auth/realms/demo/v4_realm/acme", ""}, {"DELETE", "http://id.test/auth/realms/demo/v3_realm/acme", ""},
			{"GET", "http://id.test/digitanium/v4/tenants", ""},
			{"GET", "http://master.id.test/digitanium/v4/tenants", ""}, {"DELETE", "http://id.test/auth/realms/master/v3_realm/acme", ""}, // with a key of demo
		} {
			b.ask(t, c.method, c.address, c.body).is(t, 401, "Unauthorized", "HTTP 401 Unauthorized", 1)
		}
		if _, err := b.tenants.BySlug(t.Context(), "acme"); err != nil {
			t.Errorf("acme: %v", err)
		}
	})
}

// Deleting a tenant takes its users along, and those of no other.
func TestDeletedTenantIsGone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "acme", user.User{Username: "anton"})
		b.add(t, "demo", user.User{Username: "dora"})
		b.send(t, b.keys["master"], "DELETE", realms[0].remove+"acme", "").is(t, 200, "OK", "", 1)
		b.send(t, b.keys["acme"], "GET", "http://acme.id.test/digitanium/v4/users", "").is(t, 421, "UNKNOWN_HOST", "", 5)
		b.send(t, b.keys["acme"], "GET", "http://id.test/auth/realms/acme/v3_user/getusers", "").is(t, 404, "TENANT_NOT_FOUND", "Tenant does not exist", 5)
		if got := b.ask(t, "GET", "/digitanium/v4/users", "").names(t); got != "dora" {
			t.Errorf("users of demo are %q", got)
		}
	})
}

// A tenant out of use is listed, and spoils nothing.
func TestInactiveTenantIsListed(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		owner := b.roleID(t, "acme", "owner")
		for _, name := range []string{"anton", "berta"} {
			b.add(t, "acme", user.User{Username: name, RoleIDs: []string{owner}})
		}
		item := func() map[string]any {
			return b.send(t, b.keys["master"], "GET", realms[0].list, "").is(t, 200, "OK", "", 1).member["data"].([]any)[0].(map[string]any)
		}
		if got := item(); got["adminUsername"] != "anton" || got["userCount"] != 2.0 {
			t.Errorf("acme is %v", got)
		}
		b.write(t, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE tenants SET is_active = FALSE WHERE id = $1", b.ids["acme"])
			return err
		})
		now := time.Now().Add(time.Minute)
		b.db.Now = func() time.Time { return now }
		if got := item(); got["enabled"] != false || got["realmCreationStatus"] != "BLOCKED" {
			t.Errorf("acme is %v", got)
		}
	})
}

// The status of a tenant is the one answer without an envelope.
func TestRealmStatusHasNoEnvelope(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		none := "NOT_SUPPORTED"
		certs := map[string]any{"authentication": none, "encryption": none, "signature": none}
		want := map[string]any{
			"status": "ACTIVE", "iamStatus": "SUCCESS", "signerCertStatus": none,
			"identityUserCertStatus": map[string]any{"externalIdentityUser": certs, "internalIdentityUser": certs},
		}
		for slug, address := range map[string]string{
			"demo": "http://id.test/auth/realms/demo/v4_realm/status", "acme": "http://acme.id.test/digitanium/v4/tenants/status", "master": "http://master.id.test/digitanium/v4/tenants/status",
		} {
			got := b.send(t, b.keys[slug], "GET", address, "")
			if diff := cmp.Diff(want, got.member); got.code != 200 || diff != "" {
				t.Errorf("%s answered %d (-want +got):\n%s", address, got.code, diff)
			}
		}
		b.send(t, b.key(t, "demo", access.UsersRead), "GET", "/digitanium/v4/tenants/status", "").is(t, 401, "Unauthorized", "", 1)
	})
}
