package app_test

import (
	"slices"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
)

// An administrator may do to owners nothing, and makes no program either that may: it would
// make them an owner.
func TestAdministratorsMakeNoProgramThatOutranksThem(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		adminID := w.Demo.User(t, "admin", "admin")
		ownerRole := map[string]any{"role_id": []string{w.Demo.Roles["owner"].ID}}
		admin := w.Demo.AsUser(t, adminID, access.All...)
		ownerID := w.Demo.User(t, "owner", "owner")
		owner := w.Demo.AsUser(t, ownerID, access.All...)
		admin.Put(t, "/api/v1/users/"+adminID+"/roles", ownerRole).Want(t, 403)

		program := func(scopes []access.Permission) map[string]any {
			return map[string]any{"name": "x", "oauth": map[string]any{"grant_types": []string{"client_credentials"}, "scopes": scopes}}
		}
		admin.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": access.Usual}).Want(t, 403)
		admin.Post(t, "/api/v1/applications", program(access.Usual)).Want(t, 403)
		theirs := owner.Post(t, "/api/v1/applications", program(access.Usual)).Want(t, 201).Object(t)["id"].(string)
		admin.Post(t, "/api/v1/applications/"+theirs+"/secrets", map[string]any{}).Want(t, 403)

		// All else they hold they may give, and that is not enough.
		rest := slices.DeleteFunc(slices.Clone(access.Usual), func(p access.Permission) bool { return p == access.RolesWrite })
		key := w.Demo.Client
		key.Key = admin.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": rest}).Want(t, 201).Object(t)["key"].(string)
		key.Put(t, "/api/v1/users/"+adminID+"/roles", ownerRole).Want(t, 403)
		key.Put(t, "/api/v1/users/"+ownerID, `{"email": "mallory@evil.test"}`).Want(t, 403)
		key.Post(t, "/api/v1/keys", map[string]any{"name": "y", "scopes": access.Usual}).Want(t, 403)

		// Owners and the command line give what they gave before.
		key.Key = owner.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": access.Usual}).Want(t, 201).Object(t)["key"].(string)
		key.Put(t, "/api/v1/users/"+adminID+"/roles", ownerRole).Want(t, 200)
	})
}
