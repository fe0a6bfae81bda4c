package role_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
)

// names are what a list of roles or permissions has under a name.
func names(list []map[string]any, name string) (out []string) {
	for _, item := range list {
		out = append(out, fmt.Sprint(item[name]))
	}
	return out
}

// The contract's rows 29 to 35, with their quirks.
func TestOlderForm(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id := "?client_id=" + w.Demo.ClientID
		permissions := w.Demo.Get(t, "/api/v1/permissions"+id).Want(t, 200).List(t)
		if diff := cmp.Diff([]string{"team_view", "team_manage", "manage_sso_connection"}, names(permissions, "slug")); diff != "" {
			t.Errorf("permissions (-want +got):\n%s", diff)
		}
		roles := w.Demo.Post(t, "/api/v1/roles"+id, `{"name": "test", "slug": "test", "description": "test"}`).Want(t, 200).List(t)
		if diff := cmp.Diff([]string{"Owner", "Admin", "Developer", "digitanium_admin", "digitanium_user", "test"}, names(roles, "name")); diff != "" {
			t.Errorf("create answers with (-want +got):\n%s", diff)
		}
		made := roles[5]
		want := map[string]any{"name": "test", "slug": "test", "description": "test", "permission_id": nil, "is_deleted": false, "is_active": true}
		for name, value := range want {
			if got, present := made[name]; !present || got != value {
				t.Errorf("%s is %v, want %v", name, got, value)
			}
		}
		address := "/api/v1/roles/" + made["id"].(string) + id
		roles = w.Demo.Put(t, address, map[string]any{"name": "Test", "slug": "test2", "description": "d", "permission_id": []any{permissions[0]["id"]}}).Want(t, 200).List(t)
		if got := roles[5]; len(roles) != 6 || got["name"] != "Test" || got["slug"] != "test2" || cmp.Diff([]any{permissions[0]["id"]}, got["permission_id"]) != "" {
			t.Errorf("update answers with %v", roles)
		}
		roles = w.Demo.Put(t, "/api/v1/permissions/"+permissions[0]["id"].(string)+id, `{"name": "View", "slug": "team_view", "description": "x"}`).Want(t, 200).List(t)
		if len(roles) != 6 || roles[0]["slug"] != "owner" {
			t.Errorf("update of a permission answers with %v", roles)
		}
		if got := w.Demo.Get(t, "/api/v1/permissions"+id).Want(t, 200).List(t)[0]; got["name"] != "View" {
			t.Errorf("the permission is %v", got)
		}
		if got := w.Demo.Delete(t, address).Want(t, 200).Object(t); got["is_deleted"] != true {
			t.Errorf("delete answers with %v", got)
		}
		if got := w.Demo.Get(t, "/api/v1/roles"+id).Want(t, 200).List(t); len(got) != 5 {
			t.Errorf("after the deletion there are %v", names(got, "slug"))
		}
		w.Demo.Delete(t, address).WantError(t, 404, "role_not_found")
		w.Demo.Delete(t, "/api/v1/roles/"+w.Demo.Roles["owner"].ID+id).WantError(t, 409, "built_in")
		own := w.Demo.Post(t, "/api/v1/permissions"+id, `{"name": "Read reports", "slug": "read:reports"}`).Want(t, 201).Object(t)
		if got := w.Demo.Delete(t, "/api/v1/permissions/"+own["id"].(string)+id).Want(t, 200).Object(t); got["is_deleted"] != true {
			t.Errorf("delete of a permission answers with %v", got)
		}
	})
}

// Section 12.1: pages, single roles and permissions, and assignpermission.
func TestNewerForm(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		made := w.Demo.Post(t, "/api/v1/roles", `{"name": "Support Staff", "description": "d"}`).Want(t, 200).Object(t)
		if made["slug"] != "support_staff" || made["is_default"] != false || cmp.Diff([]any{}, made["permission_ids"]) != "" {
			t.Errorf("create answers with %v", made)
		}
		id := made["id"].(string)
		p := w.Demo.Post(t, "/api/v1/permissions", `{"name": "read:reports"}`).Want(t, 201).Object(t)
		if p["slug"] != "read:reports" || p["is_default"] != false {
			t.Errorf("the permission is %v", p)
		}
		got := w.Demo.Put(t, "/api/v1/roles/assignpermission", map[string]any{"id": id, "permission_ids": []any{p["id"]}}).Want(t, 200).Object(t)
		if diff := cmp.Diff([]any{p["id"]}, got["permission_ids"]); diff != "" || got["id"] != id {
			t.Errorf("assign answers with %v", got)
		}
		if got = w.Demo.Get(t, "/api/v1/roles/"+id).Want(t, 200).Object(t); cmp.Diff(got["permission_ids"], got["permission_id"]) != "" {
			t.Errorf("get answers with %v", got)
		}
		if got = w.Demo.Put(t, "/api/v1/roles/"+id, `{"name": "Support", "permission_ids": []}`).Want(t, 200).Object(t); got["name"] != "Support" || got["permission_id"] != nil {
			t.Errorf("update answers with %v", got)
		}
		if got = w.Demo.Put(t, "/api/v1/permissions/"+p["id"].(string), `{"description": "x"}`).Want(t, 200).Object(t); got["description"] != "x" || got["name"] != "read:reports" {
			t.Errorf("update of a permission answers with %v", got)
		}
		if got = w.Demo.Get(t, "/api/v1/permissions/"+p["id"].(string)).Want(t, 200).Object(t); got["description"] != "x" {
			t.Errorf("get of a permission answers with %v", got)
		}
		if got := w.Demo.Delete(t, "/api/v1/roles/"+id).Want(t, 200).Object(t); got["success"] != true {
			t.Errorf("delete answers with %v", got)
		}
	})
}

func TestPagesShowEachOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for list, want := range map[string][]string{"roles": {"owner", "admin", "developer", "digitanium_admin", "digitanium_user"}, "permissions": {"team_view", "team_manage", "manage_sso_connection"}} {
			var got []string
			for cursor := ""; ; {
				page := w.Demo.Get(t, "/api/v1/"+list+"?limit=2&cursor="+cursor).Want(t, 200).Object(t)
				for _, item := range page[list].([]any) {
					got = append(got, item.(map[string]any)["slug"].(string))
				}
				if cursor, _ = page["next_cursor"].(string); cursor == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", list, diff)
			}
			for _, query := range []string{"limit=0", "limit=501", "limit=x"} {
				w.Demo.Get(t, "/api/v1/"+list+"?"+query).WantError(t, 400, "invalid_query_parameters")
			}
			w.Demo.Get(t, "/api/v1/"+list+"?cursor=x").WantError(t, 400, "invalid_cursor")
		}
	})
}

func TestBodiesAreRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		developer := w.Demo.Roles["developer"].ID
		for name, c := range map[string]struct{ method, path, body, code string }{
			"no name":                      {"POST", "/api/v1/roles", `{}`, "invalid_role"},
			"an empty slug":                {"POST", "/api/v1/roles", `{"name": "x", "slug": ""}`, "invalid_role"},
			"a name that is no string":     {"POST", "/api/v1/roles", `{"name": 1}`, "invalid_request_body"},
			"a name taken away":            {"PUT", "/api/v1/roles/" + developer, `{"name": ""}`, "invalid_role"},
			"an unknown permission":        {"PUT", "/api/v1/roles/" + developer, `{"permission_id": ["6694c133565dfee5166d1cb7"]}`, "invalid_role"},
			"a list that is none":          {"PUT", "/api/v1/roles/" + developer, `{"permission_id": "x"}`, "invalid_request_body"},
			"no list to assign":            {"PUT", "/api/v1/roles/assignpermission", `{"id": "` + developer + `"}`, "invalid_request_body"},
			"a permission without a name":  {"POST", "/api/v1/permissions", `{}`, "invalid_permission"},
			"a permission's slug too long": {"POST", "/api/v1/permissions", `{"name": "x", "slug": "` + fmt.Sprintf("%0101d", 1) + `"}`, "invalid_permission"},
		} {
			t.Run(name, func(t *testing.T) { w.Demo.Do(t, c.method, c.path, c.body).WantError(t, 400, c.code) })
		}
		w.Demo.Post(t, "/api/v1/permissions", `{"name": "x", "slug": "team_view"}`).WantError(t, 409, "permission_exists")
		w.Demo.Put(t, "/api/v1/roles/"+developer, `{"slug": "owner"}`).WantError(t, 409, "built_in")
	})
}

// What a deleted role was to its holders.
func TestHoldersLoseADeletedRole(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ids := map[string]string{}
		for _, name := range []string{"a", "b"} {
			ids[name] = w.Demo.Post(t, "/api/v1/roles", `{"name": "`+name+`"}`).Want(t, 200).Object(t)["id"].(string)
		}
		users := map[string][]string{}
		for _, held := range [][]string{{"a"}, {"a", "b"}, {"b", "a"}, {"b"}} {
			var roles []string
			for _, name := range held {
				roles = append(roles, ids[name])
			}
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				u, err := w.Users.Create(ctx, tx, access.System(w.Demo.ID), user.User{Username: fmt.Sprint("u", len(users)), IsActive: true, RoleIDs: roles})
				users[u.ID] = slices.DeleteFunc(roles, func(id string) bool { return id == ids["a"] })
				return err
			})
		}
		w.Demo.Delete(t, "/api/v1/roles/"+ids["a"]).Want(t, 200)
		for id, want := range maps.All(users) {
			var roles any
			if len(want) > 0 {
				roles = []any{want[0]}
			}
			if diff := cmp.Diff(roles, w.Demo.Get(t, "/api/v1/users/"+id).Want(t, 200).Object(t)["roles"]); diff != "" {
				t.Errorf("holds (-want +got):\n%s", diff)
			}
		}
		if got := w.Demo.Get(t, "/api/v1/users?role_id="+ids["a"]).Want(t, 200).List(t); len(got) != 0 {
			t.Errorf("%d hold it", len(got))
		}
	})
}
