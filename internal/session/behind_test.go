package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
)

func TestBehindChangesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		g, first := b.open(t, session.Grant{UserID: ann, ApplicationID: app, Detail: session.Detail{Open: true}})
		second, err := b.refresh(t, first)
		if err != nil {
			t.Fatal(err)
		}
		b.pass(time.Minute)
		for name, token := range map[string]string{"used": first, "current": second} {
			if found, err := b.Behind(t.Context(), tenant, token); err != nil || found.ID != g.ID || !found.Detail.Open {
				t.Errorf("the %s token: %+v, %v, want the grant", name, found, err)
			}
		}
		if _, err := b.refresh(t, second); err != nil {
			t.Errorf("the current token afterwards: %v", err)
		}
		b.write(t, func(tx *database.Tx) error { return b.EndGrant(t.Context(), tx, b.by, g.ID, "revoked") })
		for _, token := range []string{first, second, "rt_x", ""} {
			if _, err := b.Behind(t.Context(), tenant, token); !errors.Is(err, session.ErrGrant) {
				t.Errorf("%q after the end: %v, want %v", token, err, session.ErrGrant)
			}
		}
	})
}
