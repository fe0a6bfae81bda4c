package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
)

const (
	tenant = "000000000000000000000001"
	other  = "000000000000000000000002"
	ann    = "00000000000000000000000a"
	bob    = "00000000000000000000000b"
	app    = "00000000000000000000000c"
)

// bench is two tenants with a user each, and a clock that is moved by hand.
type bench struct {
	*session.Service
	now atomic.Int64
	by  access.Actor
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		box, err := secret.NewBox(secret.NewBoxKey())
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{by: access.Visitor(tenant, "192.0.2.1")}
		b.Service = &session.Service{DB: db, Box: func(context.Context, string) (*secret.Box, error) { return box, nil }}
		b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
		db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
		b.write(t, func(tx *database.Tx) error {
			for _, row := range [][2]string{{tenant, ann}, {tenant, bob}, {other, ann}} {
				_, err := tx.Exec(t.Context(), `
					INSERT INTO users (tenant_id, id, login_key, first_name, last_name, first_key, last_key, email_verified, phone_verified, is_active, connection_id, created_at, modified_at)
					VALUES ($1, $2, $2, '', '', '', '', FALSE, FALSE, TRUE, '', 1, 1)`, row[0], row[1])
				if err != nil {
					return err
				}
			}
			return nil
		})
		test(t, b)
	})
}

func (b *bench) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) start(t *testing.T, user string) (s session.Session, token string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		s, token, err = b.Start(t.Context(), tx, b.by, user, app, session.Proof{AMR: []string{"pwd"}, At: tx.Now}, session.From{IP: "192.0.2.1"}, session.SessionLifetimes)
		return err
	})
	return s, token
}

func (b *bench) open(t *testing.T, g session.Grant) (session.Grant, string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		g, err = b.Open(tx, b.by, g, session.GrantLifetimes)
		return err
	})
	token, err := b.RefreshToken(t.Context(), tenant, g)
	if err != nil {
		t.Fatal(err)
	}
	return g, token
}

func (b *bench) current(t *testing.T, token string) error {
	t.Helper()
	_, err := b.Current(t.Context(), tenant, token)
	return err
}

func (b *bench) refresh(t *testing.T, token string) (string, error) {
	t.Helper()
	_, next, err := b.Refresh(t.Context(), b.by, token, app, "")
	return next, err
}

func TestSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, b *bench, s session.Session)
	}{
		{"when ended", func(t *testing.T, b *bench, s session.Session) {
			b.write(t, func(tx *database.Tx) error { return b.End(t.Context(), tx, b.by, ann, s.ID, "logout") })
		}},
		{"with all", func(t *testing.T, b *bench, _ session.Session) {
			b.write(t, func(tx *database.Tx) error { _, err := b.EndAll(t.Context(), tx, b.by, ann, "test"); return err })
		}},
		{"with all, by another process", func(t *testing.T, b *bench, _ session.Session) {
			b.write(t, func(tx *database.Tx) error { _, err := session.EndAll(t.Context(), tx, b.by, ann, "test"); return err })
			b.pass(database.MaxAge)
		}},
		{"without use", func(_ *testing.T, b *bench, _ session.Session) { b.pass(24 * time.Hour) }},
		{"with its user", func(t *testing.T, b *bench, _ session.Session) {
			b.write(t, func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), "DELETE FROM users WHERE tenant_id = $1 AND id = $2", tenant, ann)
				return err
			})
			b.pass(database.MaxAge)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				s, token := b.start(t, ann)
				if err := b.current(t, token); err != nil {
					t.Fatalf("before: %v", err)
				}
				c.end(t, b, s)
				if err := b.current(t, token); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("after: %v, want %v", err, session.ErrNotFound)
				}
			})
		})
	}
}

func TestSessionLivesWithUseUntilItsAbsoluteEnd(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, token := b.start(t, ann)
		for range 30 * 24 / 23 {
			b.pass(23 * time.Hour)
			if err := b.current(t, token); err != nil {
				t.Fatalf("in use: %v", err)
			}
		}
		b.pass(23 * time.Hour)
		if err := b.current(t, token); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after 30 days: %v, want %v", err, session.ErrNotFound)
		}
	})
}

func TestSessionOfAnotherTenantIsUnknown(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, token := b.start(t, ann)
		if _, err := b.Find(t.Context(), b.DB, other, token); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("got %v, want %v", err, session.ErrNotFound)
		}
	})
}

func TestAProofBegunBeforeTheEndOfAllStartsNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		begun := b.DB.Now()
		b.pass(time.Minute)
		b.write(t, func(tx *database.Tx) error {
			_, err := b.EndAll(t.Context(), tx, b.by, ann, "password_reset")
			return err
		})
		b.pass(time.Minute)
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, _, err := b.Start(t.Context(), tx, b.by, ann, app, session.Proof{At: tx.Now, Since: begun}, session.From{}, session.SessionLifetimes)
			return err
		})
		if !errors.Is(err, session.ErrStale) {
			t.Errorf("got %v, want %v", err, session.ErrStale)
		}
		if _, token := b.start(t, ann); b.current(t, token) != nil {
			t.Error("a proof begun afterwards starts nothing either")
		}
	})
}

func TestRenewChangesTheToken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, before := b.start(t, ann)
		var after string
		b.write(t, func(tx *database.Tx) (err error) {
			s, after, err = b.Renew(t.Context(), tx, b.by, s.ID, session.Proof{AMR: []string{"otp"}, At: tx.Now})
			return err
		})
		if err := b.current(t, before); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the token before: %v, want %v", err, session.ErrNotFound)
		}
		if err := b.current(t, after); err != nil || len(s.AMR) != 2 {
			t.Errorf("the token after: %v, amr %v", err, s.AMR)
		}
	})
}

func TestEndOthersKeepsOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		kept, token := b.start(t, ann)
		_, ended := b.start(t, ann)
		_, bobs := b.start(t, bob)
		b.write(t, func(tx *database.Tx) error {
			_, err := b.EndOthers(t.Context(), tx, b.by, ann, kept.ID, "password_changed")
			return err
		})
		if b.current(t, token) != nil || b.current(t, bobs) != nil || !errors.Is(b.current(t, ended), session.ErrNotFound) {
			t.Error("the wrong sessions ended")
		}
	})
}

func TestGrantEndsWithItsSession(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, _ := b.start(t, ann)
		_, bound := b.open(t, session.Grant{UserID: ann, SessionID: s.ID, ApplicationID: app})
		_, offline := b.open(t, session.Grant{UserID: ann, SessionID: s.ID, Outlives: true, ApplicationID: app})
		b.write(t, func(tx *database.Tx) error { return b.End(t.Context(), tx, b.by, ann, s.ID, "logout") })
		if _, err := b.refresh(t, bound); !errors.Is(err, session.ErrGrant) {
			t.Errorf("bound: %v, want %v", err, session.ErrGrant)
		}
		if offline, err := b.refresh(t, offline); err != nil {
			t.Errorf("offline: %v", err)
		} else {
			b.write(t, func(tx *database.Tx) error { _, err := b.EndAll(t.Context(), tx, b.by, ann, "disabled"); return err })
			if _, err := b.refresh(t, offline); !errors.Is(err, session.ErrGrant) {
				t.Errorf("offline, after the user: %v, want %v", err, session.ErrGrant)
			}
		}
	})
}

func TestRefreshRotates(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		g, first := b.open(t, session.Grant{UserID: ann, ApplicationID: app})
		second, err := b.refresh(t, first)
		if err != nil || second == first {
			t.Fatalf("first use: %v", err)
		}
		b.pass(9 * time.Second)
		if again, err := b.refresh(t, first); err != nil || again != second {
			t.Errorf("within ten seconds: %v, the same successor: %t", err, again == second)
		}
		b.pass(2 * time.Second)
		if _, err := b.refresh(t, first); !errors.Is(err, session.ErrGrant) {
			t.Errorf("later: %v, want %v", err, session.ErrGrant)
		}
		if _, err := b.refresh(t, second); !errors.Is(err, session.ErrGrant) {
			t.Errorf("the successor after reuse: %v, want %v", err, session.ErrGrant)
		}
		if _, err := b.Grant(t.Context(), tenant, g.ID); !errors.Is(err, session.ErrGrant) {
			t.Errorf("the grant after reuse: %v, want %v", err, session.ErrGrant)
		}
	})
}

func TestRefreshRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, token := b.open(t, session.Grant{UserID: ann, ApplicationID: app})
		_, bound := b.open(t, session.Grant{UserID: ann, ApplicationID: app, KeyThumbprint: "a key"})
		for name, call := range map[string]func() error{
			"another application": func() error { _, _, err := b.Refresh(t.Context(), b.by, token, ann, ""); return err },
			"another tenant": func() error {
				_, _, err := b.Refresh(t.Context(), access.Visitor(other, ""), token, app, "")
				return err
			},
			"no key":   func() error { _, _, err := b.Refresh(t.Context(), b.by, bound, app, ""); return err },
			"altered":  func() error { _, err := b.refresh(t, token[:len(token)-6]+"AAAAAA"); return err },
			"longer":   func() error { _, err := b.refresh(t, token+"A"); return err },
			"empty":    func() error { _, err := b.refresh(t, ""); return err },
			"no token": func() error { _, err := b.refresh(t, "rt_\x00"); return err },
		} {
			if err := call(); !errors.Is(err, session.ErrGrant) {
				t.Errorf("%s: %v, want %v", name, err, session.ErrGrant)
			}
		}
		if _, err := b.refresh(t, token); err != nil {
			t.Errorf("the owner afterwards: %v", err)
		}
	})
}

func TestRefreshEndsAbsolutely(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, token := b.open(t, session.Grant{UserID: ann, ApplicationID: app})
		var err error
		for range 3 {
			b.pass(29 * 24 * time.Hour)
			if token, err = b.refresh(t, token); err != nil {
				t.Fatalf("in use: %v", err)
			}
		}
		b.pass(4 * 24 * time.Hour)
		if _, err := b.refresh(t, token); !errors.Is(err, session.ErrGrant) {
			t.Errorf("after 90 days: %v, want %v", err, session.ErrGrant)
		}
	})
}

func TestRefreshRaceHasOneSuccessor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, token := b.open(t, session.Grant{UserID: ann, ApplicationID: app})
		var wait sync.WaitGroup
		successors := make([]string, 200)
		for i := range successors {
			wait.Go(func() {
				next, err := b.refresh(t, token)
				if err != nil {
					t.Errorf("refresh: %v", err)
				}
				successors[i] = next
			})
		}
		wait.Wait()
		for _, s := range successors {
			if s != successors[0] {
				t.Fatal("two successors")
			}
		}
		if _, err := b.refresh(t, successors[0]); err != nil {
			t.Errorf("the successor: %v", err)
		}
		b.pass(time.Minute)
		if _, err := b.refresh(t, token); !errors.Is(err, session.ErrGrant) {
			t.Errorf("the first one again: %v, want %v", err, session.ErrGrant)
		}
	})
}

func TestRefreshRacingTheEndLeavesNothingGood(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for range 50 {
			g, token := b.open(t, session.Grant{UserID: ann, ApplicationID: app})
			var wait sync.WaitGroup
			var next string
			wait.Go(func() { next, _ = b.refresh(t, token) }) // either may come first
			wait.Go(func() {
				b.write(t, func(tx *database.Tx) error { return b.EndGrant(t.Context(), tx, b.by, g.ID, "revoked") })
			})
			wait.Wait()
			for _, left := range []string{token, next} {
				if _, err := b.refresh(t, left); !errors.Is(err, session.ErrGrant) {
					t.Fatalf("after the end: %v, want %v", err, session.ErrGrant)
				}
			}
		}
	})
}

func TestTheHundredAndFirstSessionEndsTheOneUsedLongestAgo(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, oldest := b.start(t, ann)
		_, grant := b.open(t, session.Grant{UserID: ann, SessionID: s.ID, ApplicationID: app})
		for range 100 {
			b.pass(time.Millisecond)
			b.start(t, ann)
		}
		if _, err := b.Find(t.Context(), b.DB, tenant, oldest); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the oldest session: %v, want %v", err, session.ErrNotFound)
		}
		if _, err := b.refresh(t, grant); !errors.Is(err, session.ErrGrant) {
			t.Errorf("its grant: %v, want %v", err, session.ErrGrant)
		}
		if list, err := b.List(t.Context(), b.DB, tenant, ann); err != nil || len(list) != 100 {
			t.Errorf("%d sessions, %v; want 100", len(list), err)
		}
	})
}

func TestSweepRemovesWhatRanOut(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s, _ := b.start(t, ann)
		b.open(t, session.Grant{UserID: ann, SessionID: s.ID, ApplicationID: app})
		b.pass(98 * 24 * time.Hour)
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"sessions", "grants"} {
			var n int
			if err := b.DB.QueryRow(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE tenant_id = $1", tenant).Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: %d rows, %v", table, n, err)
			}
		}
	})
}
