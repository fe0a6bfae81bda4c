package password_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

var visitor = access.Visitor(tenantA, "192.0.2.1")

func (b *bench) startReset(t *testing.T, u user.User) (token string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		token, err = password.StartReset(t.Context(), tx, visitor, u.ID, u.Email)
		return err
	})
	return token
}

func (b *bench) reset(ctx context.Context, by access.Actor, token, hash string) (id string, err error) {
	b.pass(time.Millisecond)
	err = b.db.Write(ctx, func(tx *database.Tx) error {
		id, _, err = password.Reset(ctx, tx, by, token, hash)
		return err
	})
	return id, err
}

func (b *bench) update(t *testing.T, id string, c user.Change) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := b.users.Update(t.Context(), tx, b.by, id, c)
		return err
	})
}

func TestResetSetsThePasswordOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada, eve := b.person(t, "ada@x.test", b.hash(t, "forgotten horse")), b.person(t, "eve@x.test", b.hash(t, "eve's horse"))
		evesHash, next := b.stored(t, eve.ID), b.hash(t, "another horse")
		token := b.startReset(t, ada)
		if id, err := b.reset(t.Context(), visitor, token, next); id != ada.ID || err != nil {
			t.Fatalf("reset: %q, %v", id, err)
		}
		if got := b.verify(t, ada.ID, "another horse"); !got.OK || got.Due != password.NotDue || got.Upgrade || b.verify(t, ada.ID, "forgotten horse").OK {
			t.Errorf("afterwards the new password gives %+v", got)
		}
		if b.stored(t, eve.ID) != evesHash {
			t.Error("somebody else's password changed")
		}
		if id, err := b.reset(t.Context(), visitor, token, b.hash(t, "a third horse")); id != "" || !errors.Is(err, password.ErrResetSpent) || b.stored(t, ada.ID) != next {
			t.Errorf("the second use: %q, %v", id, err)
		}
		if got := b.events(t); !slices.Equal(got[len(got)-2:], []string{"password.reset_requested", "password.reset"}) {
			t.Errorf("the log has %q", got)
		}
	})
}

func TestResetGivesAFirstPassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada := b.person(t, "ada@x.test", "")
		if _, err := b.reset(t.Context(), visitor, b.startReset(t, ada), b.hash(t, "a first horse")); err != nil || !b.verify(t, ada.ID, "a first horse").OK {
			t.Error(err)
		}
	})
}

// All reasons give one and the same answer, on the page and when used.
func TestResetRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		next := b.hash(t, "another horse")
		no, email := false, "new@x.test"
		for name, c := range map[string]struct {
			by      access.Actor
			spoil   func(t *testing.T, u user.User)
			instead func(token string) string
		}{
			"expired":                {spoil: func(t *testing.T, _ user.User) { b.pass(password.ResetLife) }},
			"replaced":               {spoil: func(t *testing.T, u user.User) { b.startReset(t, u) }},
			"used":                   {spoil: func(t *testing.T, u user.User) { b.startReset(t, u) }},
			"other tenant":           {by: access.Visitor(tenantB, "")},
			"unknown":                {instead: func(string) string { return strings.Repeat("A", 26) }},
			"empty":                  {instead: func(string) string { return "" }},
			"other letter case":      {instead: strings.ToLower},
			"with something more":    {instead: func(token string) string { return token + " " }},
			"the stored hash":        {instead: func(token string) string { return string(secret.Hash(token)) }},
			"disabled user":          {spoil: func(t *testing.T, u user.User) { b.update(t, u.ID, user.Change{IsActive: &no}) }},
			"e-mail address changed": {spoil: func(t *testing.T, u user.User) { b.update(t, u.ID, user.Change{Email: &email}) }},
			"deleted user": {spoil: func(t *testing.T, u user.User) {
				b.write(t, func(tx *database.Tx) error { return b.users.Delete(t.Context(), tx, b.by, u.ID) })
			}},
			"password set by an administrator": {spoil: func(t *testing.T, u user.User) {
				b.write(t, func(tx *database.Tx) error { return password.Set(t.Context(), tx, b.by, u.ID, next, false) })
			}},
			"password changed by the user": {spoil: func(t *testing.T, u user.User) {
				old := b.stored(t, u.ID)
				b.write(t, func(tx *database.Tx) error { return password.Change(t.Context(), tx, as(u.ID), u.ID, old, next) })
			}},
		} {
			t.Run(name, func(t *testing.T) {
				u := b.person(t, strings.ReplaceAll(name, " ", "-")+"@x.test", b.hash(t, "correct horse"))
				token, by := b.startReset(t, u), visitor
				if c.by.Tenant != "" {
					by = c.by
				}
				if c.instead != nil {
					token = c.instead(token)
				}
				if c.spoil != nil {
					c.spoil(t, u)
				}
				before := b.stored(t, u.ID)
				if got, err := password.PeekReset(t.Context(), b.db, by.Tenant, token); !errors.Is(err, password.ErrResetSpent) || got.ID != "" {
					t.Errorf("the page: %+v, %v", got, err)
				}
				if id, err := b.reset(t.Context(), by, token, b.hash(t, "stolen horse")); id != "" || !errors.Is(err, password.ErrResetSpent) {
					t.Errorf("the use: %q, %v", id, err)
				}
				if b.stored(t, u.ID) != before {
					t.Error("the password changed")
				}
			})
		}
	})
}

func TestPeekResetChangesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada := b.person(t, "ada@x.test", "")
		token := b.startReset(t, ada)
		b.pass(password.ResetLife - 2*time.Millisecond)
		for range 3 {
			if u, err := password.PeekReset(t.Context(), b.db, tenantA, token); err != nil || u.ID != ada.ID || u.Email != "ada@x.test" {
				t.Fatalf("%+v, %v", u, err)
			}
		}
		if _, err := b.reset(t.Context(), visitor, token, b.hash(t, "another horse")); err != nil {
			t.Errorf("after looking: %v", err)
		}
	})
}

// The token names its user, whatever a form says; a token for A leaves B alone.
func TestTokensAreOfTheirUsers(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada, eve := b.person(t, "ada@x.test", ""), b.person(t, "eve@x.test", "")
		ofAda, ofEve := b.startReset(t, ada), b.startReset(t, eve)
		if id, err := b.reset(t.Context(), visitor, ofEve, b.hash(t, "eve's horse")); id != eve.ID || err != nil {
			t.Errorf("eve's token: %q, %v", id, err)
		}
		if u, err := password.PeekReset(t.Context(), b.db, tenantA, ofAda); u.ID != ada.ID || err != nil || b.stored(t, ada.ID) != "" {
			t.Errorf("ada's token after eve used hers: %+v, %v", u, err)
		}
		err := b.db.Write(t.Context(), func(tx *database.Tx) error {
			_, err := password.StartReset(t.Context(), tx, visitor, secret.FirstID(tx.Now), "x@x.test")
			return err
		})
		if !errors.Is(err, user.ErrNotFound) {
			t.Errorf("for nobody: %v", err)
		}
	})
}

func TestTokensAreStoredAsHashes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		token := b.startReset(t, b.person(t, "ada@x.test", ""))
		if len(token) < 26 { // 130 bits
			t.Errorf("the token has %d characters", len(token))
		}
		var hash []byte
		err := b.db.QueryRow(t.Context(), "SELECT token_hash FROM password_resets WHERE tenant_id = $1", tenantA).Scan(&hash)
		if err != nil || !secret.Equal(hash, secret.Hash(token)) {
			t.Errorf("stored is %x, %v", hash, err)
		}
	})
}

func TestResetRaceHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada := b.person(t, "ada@x.test", b.hash(t, "forgotten horse"))
		token, next := b.startReset(t, ada), b.hash(t, "another horse")
		b.race(t, 1, 200, func() error {
			_, err := b.reset(context.WithoutCancel(t.Context()), visitor, token, next)
			return err
		})
		if b.stored(t, ada.ID) != next || !slices.Equal(countOf(b.events(t), "password.reset"), []string{"password.reset"}) {
			t.Error("the password is not the winner's, or told of more than once")
		}
	})
}

// race runs use n times at once; all that do not win must be told that the token is
// spent.
func (b *bench) race(t *testing.T, want, n int, use func() error) {
	t.Helper()
	won := atOnce(n, use, func(err error) {
		if !errors.Is(err, password.ErrResetSpent) {
			t.Error(err)
		}
	})
	if won != want {
		t.Errorf("%d of %d succeeded, want %d", won, n, want)
	}
}

func countOf(events []string, action string) []string {
	return slices.DeleteFunc(events, func(s string) bool { return s != action })
}

// Two resets asked for at once leave one token, and of two tokens used at once one
// wins.
func TestOfTwoTokensOneWins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada := b.person(t, "ada@x.test", "")
		ctx := context.WithoutCancel(t.Context())
		tokens := make(chan string, 20)
		atOnce(cap(tokens), func() error {
			return b.db.Write(ctx, func(tx *database.Tx) error {
				token, err := password.StartReset(ctx, tx, visitor, ada.ID, ada.Email)
				tx.OnCommit(func() { tokens <- token })
				return err
			})
		}, func(err error) { t.Error(err) })
		next := b.hash(t, "another horse")
		b.race(t, 1, len(tokens), func() error {
			_, err := b.reset(ctx, visitor, <-tokens, next)
			return err
		})
	})
}

func TestSweepResetsRemovesOnlyWhatHasExpired(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		old := b.startReset(t, b.person(t, "ada@x.test", ""))
		b.pass(password.ResetLife / 2)
		young := b.startReset(t, b.person(t, "eve@x.test", ""))
		b.pass(password.ResetLife / 2)
		if err := password.SweepResets(t.Context(), b.db); err != nil {
			t.Fatal(err)
		}
		var left int64
		if err := b.db.QueryRow(t.Context(), "SELECT count(*) FROM password_resets WHERE tenant_id = $1", tenantA).Scan(&left); err != nil || left != 1 {
			t.Errorf("%d are left, %v", left, err)
		}
		if _, err := password.PeekReset(t.Context(), b.db, tenantA, young); err != nil {
			t.Error(err)
		}
		if _, err := password.PeekReset(t.Context(), b.db, tenantA, old); !errors.Is(err, password.ErrResetSpent) {
			t.Error(err)
		}
	})
}
