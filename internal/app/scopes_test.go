package app_test

import (
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
)

// An application's scopes are rights: whoever gives them, or takes the secret of one
// that has them, must hold them.
func TestNobodyGivesAnApplicationWhatTheyDoNotHold(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		few := w.Demo.As(t, access.ApplicationsRead, access.ApplicationsWrite)
		few.Post(t, "/api/v1/applications", `{"name": "x", "oauth": {"scopes": ["users:read"]}}`).Want(t, 403)
		own, _ := few.Post(t, "/api/v1/applications", `{"name": "x"}`).Want(t, 201).Object(t)["id"].(string)
		few.Put(t, "/api/v1/applications/"+own, `{"oauth": {"scopes": ["users:read"]}}`).Want(t, 403)
		given, _ := w.Demo.Post(t, "/api/v1/applications", `{"name": "y", "oauth": {"scopes": ["users:read"]}}`).Want(t, 201).Object(t)["id"].(string)
		few.Put(t, "/api/v1/applications/"+given, `{"name": "z"}`).Want(t, 200)
		few.Post(t, "/api/v1/applications/"+given+"/secrets", `{}`).Want(t, 403)
	})
}
