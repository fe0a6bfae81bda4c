package kobil_test

import (
	"errors"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/user"
)

func TestLogoutEndsEverySession(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		ada, bob := b.add(t, "demo", user.User{Username: "ada", IsActive: true}), b.add(t, "demo", user.User{Username: "bob", IsActive: true})
		tokens := map[string]string{}
		var g session.Grant
		b.write(t, func(tx *database.Tx) (err error) {
			by := access.Visitor(b.ids["demo"], "")
			for name, id := range map[string]string{"laptop": ada.ID, "phone": ada.ID, "bob": bob.ID} {
				if _, tokens[name], err = b.sessions.Start(t.Context(), tx, by, id, "", session.Proof{At: tx.Now}, session.From{}, session.SessionLifetimes); err != nil {
					return err
				}
			}
			g, err = b.sessions.Open(tx, by, session.Grant{UserID: ada.ID, Outlives: true}, session.GrantLifetimes)
			return err
		})
		got := b.ask(t, "PUT", f.user("ada", "/ssms/logout"), "").is(t, 200, "OK", "User logged out successfully", 5)
		if got.member["data"] != true {
			t.Errorf("data is %v, want true", got.member["data"])
		}
		for name, token := range tokens {
			_, err := b.sessions.Find(t.Context(), b.db, b.ids["demo"], token)
			if gone := errors.Is(err, session.ErrNotFound); gone != (name != "bob") {
				t.Errorf("the session %s: %v", name, err)
			}
		}
		if _, err := b.sessions.Grant(t.Context(), b.ids["demo"], g.ID); !errors.Is(err, session.ErrGrant) {
			t.Errorf("the grant: %v, want %v", err, session.ErrGrant)
		}
		b.ask(t, "PUT", f.user("ada", "/ssms/logout"), "").is(t, 409, "USER_ALREADY_LOGGED_OUT", "User is not logged in state to perform this action.", 5)
	})
}
