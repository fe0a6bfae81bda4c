package app_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/scim"
)

// A way takes an owner out, or would: it answers 409 for the last one.
type way struct {
	name string
	take func(t *testing.T, id, username string) apptest.Answer
}

// offAtOnce takes owners out all at the same time, each by another way, and holds that one
// was refused.
func offAtOnce(t *testing.T, ways []way, ids, usernames []string) {
	t.Helper()
	var group sync.WaitGroup
	var stayed atomic.Int64
	begin := make(chan struct{})
	for i, id := range ids {
		group.Go(func() {
			<-begin
			w := ways[i%len(ways)]
			switch a := w.take(t, id, usernames[i]); {
			case a.Status == http.StatusConflict:
				stayed.Add(1)
			case a.Status < 200 || a.Status > 299:
				t.Errorf("%s: got %d %s", w.name, a.Status, a.Body)
			}
		})
	}
	close(begin)
	group.Wait()
	if stayed.Load() != 1 {
		t.Errorf("%d of %d were refused, want 1", stayed.Load(), len(ids))
	}
}

// stops are the ways to stop an account.
func stops(w *apptest.World) []way {
	send := func(method, path, body string) func(t *testing.T, id, username string) apptest.Answer {
		return func(t *testing.T, id, username string) apptest.Answer {
			t.Helper()
			name := id
			if path != "/api/v1/users/" {
				name = username
			}
			switch method {
			case http.MethodDelete:
				return w.Demo.Delete(t, path+name)
			case "disable", "update":
				return w.Demo.Put(t, path+name+"/"+method, body)
			}
			return w.Demo.Put(t, path+name, body)
		}
	}
	return []way{
		{"deleted", send(http.MethodDelete, "/api/v1/users/", "")},
		{"disabled", send(http.MethodPut, "/api/v1/users/", `{"is_active": false}`)},
		{"deleted in the KOBIL form", send(http.MethodDelete, "/digitanium/v4/users/", "")},
		{"disabled in the KOBIL form", send("disable", "/digitanium/v4/users/", "")},
		{"updated in the KOBIL form", send("update", "/digitanium/v4/users/", `{"enabled": false}`)},
	}
}

func TestOfOwnersWhoGoAtOnceByAnyRouteOneStays(t *testing.T) {
	t.Run("of the tenant", func(t *testing.T) {
		apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
			ways := append(stops(w),
				way{"without the role", func(t *testing.T, id, _ string) apptest.Answer {
					t.Helper()
					return w.Demo.Put(t, "/api/v1/users/"+id+"/roles", `{"role_id": []}`)
				}},
				way{"another role in the KOBIL form", func(t *testing.T, _, username string) apptest.Answer {
					t.Helper()
					return w.Demo.Put(t, "/digitanium/v4/users/"+username+"/update", `{"realmRoles": ["digitanium_user"]}`)
				}})
			for round := range 4 {
				for i := range ways { // beside whoever stayed
					w.Demo.User(t, fmt.Sprintf("owner%d-%d", round, i), "owner")
				}
				left := owners(t, w)
				offAtOnce(t, ways, left, namesOf(t, w, left))
				if left = owners(t, w); len(left) != 1 {
					t.Fatalf("%d owners are left, want 1", len(left))
				}
			}
		})
	})
	t.Run("of an organization", func(t *testing.T) {
		apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
			for round := range 4 {
				ofOrganization(t, w, round)
			}
		})
	})
}

// owners lists the active owners of the tenant.
func owners(t *testing.T, w *apptest.World) (ids []string) {
	t.Helper()
	rows, err := w.DB.Query(t.Context(), `
		SELECT u.id FROM users u JOIN user_roles r ON r.tenant_id = u.tenant_id AND r.user_id = u.id WHERE u.tenant_id = $1 AND r.role_id = $2 AND u.is_active ORDER BY u.id`,
		w.Demo.ID, w.Demo.Roles["owner"].ID)
	ids, err = database.Collect(rows, err, "list owners", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func namesOf(t *testing.T, w *apptest.World, ids []string) (names []string) {
	t.Helper()
	for _, id := range ids {
		u, err := w.Users.Find(t.Context(), w.DB, access.System(w.Demo.ID), id)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, u.Username)
	}
	return names
}

// ofOrganization takes the owners of an organization out at once, some by its directory.
func ofOrganization(t *testing.T, w *apptest.World, round int) {
	t.Helper()
	by, directory := access.System(w.Demo.ID), w.Demo.Client
	var o org.Organization
	var base string
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		if o, err = w.Orgs.Create(ctx, tx, by, org.Organization{Name: fmt.Sprintf("Acme %d", round), IsActive: true}); err != nil {
			return err
		}
		d, err := w.SCIM.Create(ctx, tx, by, scim.Directory{OrganizationID: o.ID, Name: "x", Type: "okta"})
		if err != nil {
			return err
		}
		_, directory.Key, err = w.SCIM.NewToken(ctx, tx, by, o.ID, d.ID, scim.NewTokenRequest{})
		base = scim.Prefix + d.ID + "/Users/"
		return err
	})
	members := "/api/v1/tenants/" + o.ID + "/users"
	ways := append(stops(w),
		way{"out of the organization", func(t *testing.T, id, _ string) apptest.Answer {
			t.Helper()
			return w.Demo.Do(t, http.MethodDelete, members, map[string]any{"users": []string{id}})
		}},
		way{"suspended", func(t *testing.T, id, _ string) apptest.Answer {
			t.Helper()
			return w.Demo.Put(t, members+"/"+id, `{"status": "suspended"}`)
		}},
		way{"without the role", func(t *testing.T, id, _ string) apptest.Answer {
			t.Helper()
			return w.Demo.Post(t, members+"/"+id+"/roles", `{"role_ids": []}`)
		}},
		way{"inactive in the directory", func(t *testing.T, id, _ string) apptest.Answer {
			t.Helper()
			return directory.Do(t, http.MethodPatch, base+id, `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "value": {"active": false}}]}`)
		}},
		way{"gone from the directory", func(t *testing.T, id, _ string) apptest.Answer { t.Helper(); return directory.Delete(t, base+id) }},
	)
	var ids, names []string
	for i := range ways {
		body := fmt.Sprintf(`{"userName": "kim%d.%d@acme.test"}`, round, i)
		id, _ := directory.Post(t, base[:len(base)-1], body).Want(t, http.StatusCreated).Object(t)["id"].(string)
		w.Demo.Post(t, members+"/"+id+"/roles", map[string]any{"role_ids": []string{w.Demo.Roles["owner"].ID}}).Want(t, http.StatusOK)
		names = append(names, fmt.Sprintf("kim%d.%d", round, i))
		ids = append(ids, id)
		w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"username": names[i]}).Want(t, http.StatusOK)
	}
	offAtOnce(t, ways, ids, names)
	keepers, err := w.Orgs.Keepers(t.Context(), w.DB, w.Demo.ID, o.ID, 20)
	if err != nil || len(keepers) != 1 {
		t.Errorf("%d owners are left, want 1: %v", len(keepers), err)
	}
}
