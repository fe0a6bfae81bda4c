package session_test

import (
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
)

func TestGrantsListsWhatIsLive(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		first, _ := b.start(t, ann)
		old, _ := b.open(t, session.Grant{UserID: ann, SessionID: first.ID, ApplicationID: app, Scope: "openid"})
		b.pass(time.Second)
		kept, token := b.open(t, session.Grant{UserID: ann, SessionID: first.ID, Outlives: true, ApplicationID: app, Scope: "openid offline_access"})
		b.open(t, session.Grant{UserID: bob, ApplicationID: app, Scope: "openid"})
		wantGrants(t, b, kept.ID, old.ID)

		b.pass(time.Hour)
		if _, err := b.refresh(t, token); err != nil {
			t.Fatal(err)
		}
		if used := wantGrants(t, b, kept.ID, old.ID)[0].UsedAt(); used.Sub(kept.CreatedAt) != time.Hour {
			t.Errorf("used %s after it was made, want an hour", used.Sub(kept.CreatedAt))
		}

		b.write(t, func(tx *database.Tx) error { return b.End(t.Context(), tx, b.by, ann, first.ID, "logout") })
		wantGrants(t, b, kept.ID)

		b.pass(session.GrantLifetimes.Idle)
		wantGrants(t, b)
	})
}

func wantGrants(t *testing.T, b *bench, ids ...string) []session.Grant {
	t.Helper()
	got, err := b.Grants(t.Context(), b.DB, tenant, ann)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(ids) {
		t.Fatalf("got %d grants, want %d: %+v", len(got), len(ids), got)
	}
	for i, g := range got {
		if g.ID != ids[i] || g.UserID != ann {
			t.Errorf("grant %d is %s of %s, want %s", i, g.ID, g.UserID, ids[i])
		}
	}
	return got
}

func TestEndOtherGrantsLeavesThoseOfOneSession(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		here, _ := b.start(t, ann)
		there, _ := b.start(t, ann)
		kept, _ := b.open(t, session.Grant{UserID: ann, SessionID: here.ID, ApplicationID: app})
		for name, g := range map[string]session.Grant{
			"of another session": {UserID: ann, SessionID: there.ID, ApplicationID: app},
			"that outlives it":   {UserID: ann, SessionID: there.ID, Outlives: true, ApplicationID: app},
			"of none":            {UserID: ann, ApplicationID: app},
		} {
			_, token := b.open(t, g)
			b.write(t, func(tx *database.Tx) error {
				return b.EndOtherGrants(t.Context(), tx, b.by, ann, here.ID, "test")
			})
			if _, err := b.refresh(t, token); err == nil {
				t.Errorf("a grant %s is still good", name)
			}
		}
		_, bobs := b.open(t, session.Grant{UserID: bob, ApplicationID: app})
		b.write(t, func(tx *database.Tx) error {
			return b.EndOtherGrants(t.Context(), tx, b.by, ann, here.ID, "test")
		})
		if _, err := b.refresh(t, bobs); err != nil {
			t.Errorf("another user's grant: %v", err)
		}
		wantGrants(t, b, kept.ID)
	})
}
