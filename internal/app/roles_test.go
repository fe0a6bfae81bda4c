package app_test

import (
	"context"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

// What a change of roles is worth on the next request, with the token that there is.
func TestRolesTakeEffectOnTheNextRequest(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		w.Demo.User(t, "owner", "owner")
		ann := w.Demo.User(t, "ann")
		as := w.Demo.AsUser(t, ann, access.All...)
		roles := func(ids ...string) {
			t.Helper()
			w.Demo.Put(t, "/api/v1/users/"+ann+"/roles", map[string]any{"role_id": append([]string{}, ids...)}).Want(t, 200)
		}
		own := w.Demo.Post(t, "/api/v1/roles", `{"name": "viewers"}`).Want(t, 200).Object(t)["id"].(string)
		view := w.Demo.Get(t, "/api/v1/permissions").Want(t, 200).List(t)[0]["id"]
		for _, step := range []struct {
			name string
			do   func()
			may  bool
		}{
			{"before", func() {}, false},
			{"with an administrator's role", func() { roles(w.Demo.Roles["admin"].ID) }, true},
			{"without it", func() { roles() }, false},
			{"with a role that is empty", func() { roles(own) }, false},
			{"once it is filled", func() {
				w.Demo.Put(t, "/api/v1/roles/assignpermission", map[string]any{"id": own, "permission_ids": []any{view}}).Want(t, 200)
			}, true},
			{"once it is deleted", func() { w.Demo.Delete(t, "/api/v1/roles/"+own).Want(t, 200) }, false},
			{"with an administrator's role again", func() { roles(w.Demo.Roles["admin"].ID) }, true},
			{"once disabled", func() { w.Demo.Put(t, "/api/v1/users/"+ann, `{"is_active": false}`).Want(t, 200) }, false},
		} {
			step.do()
			if a := as.Get(t, "/api/v1/users"); (a.Status == 200) != step.may || !step.may && a.Status != 403 && a.Status != 401 {
				t.Errorf("%s: got %d %s", step.name, a.Status, a.Body)
			}
		}
	})
}

// Another process of the installation learns of it within a second.
func TestRolesTakeEffectElsewhereWithinASecond(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := w.Demo.User(t, "ann", "admin")
		as := w.Demo.AsUser(t, ann, access.UsersRead)
		elsewhere := &token.Service{DB: w.DB, Ring: w.Ring, Tenants: w.Tenants, Users: w.Users, Sessions: w.Sessions}
		may := func() bool {
			t.Helper()
			by, err := elsewhere.Authenticate(t.Context(), access.Visitor(w.Demo.ID, ""), as.Key)
			if err != nil {
				t.Fatal(err)
			}
			return by.May(access.UsersRead)
		}
		if !may() {
			t.Fatal("an administrator may not")
		}
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Users.Update(ctx, tx, access.System(w.Demo.ID), ann, user.Change{RoleIDs: &[]string{}})
			return err
		})
		if w.Clock.Advance(time.Second); may() {
			t.Error("may after a second")
		}
	})
}

// The last owner stays by every route there is.
func TestTheLastOwnerStaysByEveryRoute(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := w.Demo.User(t, "ann", "owner")
		for _, c := range []struct{ method, path, body string }{
			{"DELETE", "/api/v1/users/" + ann, ""},
			{"PUT", "/api/v1/users/" + ann, `{"is_active": false}`},
			{"PUT", "/api/v1/users/" + ann + "/roles", `{"role_id": []}`},
			{"PUT", "/api/v1/users/" + ann + "/roles", `["` + w.Demo.Roles["admin"].ID + `"]`},
			{"DELETE", "/digitanium/v4/users/ann", ""},
			{"PUT", "/digitanium/v4/users/ann/disable", ""},
			{"PUT", "/digitanium/v4/users/ann/enable", `{"enabled": false}`},
			{"PUT", "/digitanium/v4/users/ann/update", `{"enabled": false}`},
			{"PUT", "/digitanium/v4/users/ann/update", `{"realmRoles": ["digitanium_admin"]}`},
			{"PUT", "/auth/realms/demo/v3_user/ann/update", `{"realmRoles": []}`},
		} {
			if a := w.Demo.Do(t, c.method, c.path, c.body); a.Status != 409 {
				t.Errorf("%s %s %s: got %d %s, want 409", c.method, c.path, c.body, a.Status, a.Body)
			}
		}
		w.Demo.User(t, "eve", "owner")
		w.Demo.Delete(t, "/digitanium/v4/users/ann").Want(t, 200)
	})
}
