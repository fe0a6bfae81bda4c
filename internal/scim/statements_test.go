package scim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

// A request is to send six statements at most. To create a user takes more today, and is not to
// take more than that: the account, the membership and what the directory has said, each with its
// event, the identifiers and the search.
func TestStatementsOfCreation(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		w.Clock.Advance(2 * time.Second)
		s.user(t, "bo@acme.test") // what is remembered of the directory is warm
		sent := w.Statements(func() { s.user(t, "ann@acme.test") })
		const most = 8
		if len(sent) > most {
			t.Errorf("it sends %d statements, %d at most:\n%s", len(sent), most, strings.Join(sent, "\n"))
		}
	})
}
