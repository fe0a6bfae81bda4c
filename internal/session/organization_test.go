package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
)

const (
	acme  = "000000000000000000000ace"
	globe = "00000000000000000000910b"
)

// startIn starts a session of Ann's in an organization.
func (b *bench) startIn(t *testing.T, user string, e session.Entry) (s session.Session, token string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		p := session.Proof{AMR: []string{"pwd"}, Ways: []string{"password"}, At: tx.Now, Entry: e}
		s, token, err = b.Start(t.Context(), tx, b.by, user, app, p, session.From{}, session.SessionLifetimes)
		return err
	})
	return s, token
}

func (b *bench) isIn(t *testing.T, id string, want bool) {
	t.Helper()
	if live, err := b.IsLive(t.Context(), tenant, id); err != nil || live != want {
		t.Errorf("session live: %t, %v; want %t", live, err, want)
	}
}

func (b *bench) holds(t *testing.T, g session.Grant, want bool) {
	t.Helper()
	_, err := b.Grant(t.Context(), tenant, g.ID)
	if err != nil && !errors.Is(err, session.ErrGrant) || (err == nil) != want {
		t.Errorf("grant: %v; want it live: %t", err, want)
	}
}

func TestLeavingAnOrganizationEndsWhatWasMadeForIt(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		in, _ := b.startIn(t, ann, session.Entry{Organization: acme})
		elsewhere, _ := b.startIn(t, ann, session.Entry{Organization: globe})
		nowhere, _ := b.start(t, ann)
		bobs, _ := b.startIn(t, bob, session.Entry{Organization: acme})
		hung, _ := b.open(t, session.Grant{UserID: ann, SessionID: in.ID, ApplicationID: app})
		outlives, _ := b.open(t, session.Grant{UserID: ann, SessionID: elsewhere.ID, Outlives: true, ApplicationID: app, OrganizationID: acme})
		others, _ := b.open(t, session.Grant{UserID: ann, SessionID: elsewhere.ID, ApplicationID: app, OrganizationID: globe})
		b.write(t, func(tx *database.Tx) error {
			ended, err := b.Leave(t.Context(), tx, b.by, acme, ann, "member_removed")
			if len(ended) != 1 || ended[0].ID != in.ID || ended[0].UserID != ann {
				t.Errorf("ended %v", ended)
			}
			return err
		})
		b.isIn(t, in.ID, false)
		b.isIn(t, elsewhere.ID, true)
		b.isIn(t, nowhere.ID, true)
		b.isIn(t, bobs.ID, true)
		b.holds(t, hung, false)
		b.holds(t, outlives, false)
		b.holds(t, others, true)
		b.write(t, func(tx *database.Tx) error {
			_, err := b.Leave(t.Context(), tx, b.by, acme, "", "organization_deleted")
			return err
		})
		b.isIn(t, bobs.ID, false)
		b.isIn(t, elsewhere.ID, true)
		b.write(t, func(tx *database.Tx) error {
			_, err := b.Leave(t.Context(), tx, b.by, "", ann, "nothing")
			return err
		})
		b.isIn(t, nowhere.ID, true)
	})
}

func TestASessionLivesNoLongerThanItsOrganizationAllows(t *testing.T) {
	hour := session.Entry{Organization: acme, Limit: session.Lifetimes{Idle: 10 * time.Minute, Absolute: time.Hour}}
	for name, begin := range map[string]func(t *testing.T, b *bench) (session.Session, string){
		"started": func(t *testing.T, b *bench) (session.Session, string) { return b.startIn(t, ann, hour) },
		"renewed": func(t *testing.T, b *bench) (s session.Session, token string) {
			before, _ := b.start(t, ann)
			b.write(t, func(tx *database.Tx) (err error) {
				s, token, err = b.Renew(t.Context(), tx, b.by, before.ID, session.Proof{At: tx.Now, Entry: hour})
				return err
			})
			return s, token
		},
		"entered": func(t *testing.T, b *bench) (s session.Session, token string) {
			before, token := b.start(t, ann)
			b.write(t, func(tx *database.Tx) (err error) {
				s, err = b.Enter(t.Context(), tx, b.by, before.ID, hour)
				return err
			})
			return s, token
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				s, token := begin(t, b)
				if s.OrganizationID != acme {
					t.Errorf("it is in %q", s.OrganizationID)
				}
				for range 6 {
					b.pass(9 * time.Minute)
					if _, err := b.Current(t.Context(), tenant, token); err != nil {
						t.Fatalf("while it is used: %v", err)
					}
				}
				b.pass(9 * time.Minute)
				if _, err := b.Current(t.Context(), tenant, token); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("after an hour: %v", err)
				}
				_, idle := begin(t, b)
				b.pass(11 * time.Minute)
				if _, err := b.Current(t.Context(), tenant, idle); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("unused: %v", err)
				}
			})
		})
	}
}

func TestEnteringRefusesAProofThatIsTooOldThere(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, _ := b.start(t, ann)
		b.pass(2 * time.Hour)
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Enter(t.Context(), tx, b.by, s.ID, session.Entry{Organization: acme, Limit: session.Lifetimes{Absolute: time.Hour}})
			return err
		})
		if !errors.Is(err, session.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		b.isIn(t, s.ID, true)
	})
}

func TestRenewAddsUpWaysAndStaysInTheOrganization(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, _ := b.startIn(t, ann, session.Entry{Organization: acme})
		b.write(t, func(tx *database.Tx) (err error) {
			s, _, err = b.Renew(t.Context(), tx, b.by, s.ID, session.Proof{Ways: []string{"sso:" + acme}, At: tx.Now})
			return err
		})
		if s.OrganizationID != acme || len(s.Ways) != 2 {
			t.Errorf("in %q by %v", s.OrganizationID, s.Ways)
		}
	})
}
