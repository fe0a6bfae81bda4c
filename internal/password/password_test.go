package password_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenantA = "aaaaaaaaaaaaaaaaaaaaaaaa"
	tenantB = "bbbbbbbbbbbbbbbbbbbbbbbb"
)

// bench is passwords on a database with a movable clock and cheap hashes.
type bench struct {
	db     *database.DB
	users  *user.Service
	hasher *passhash.Hasher
	by     access.Actor

	mu  sync.Mutex
	now time.Time
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := &bench{db: db, by: access.System(tenantA), hasher: cheap(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		db.Now = func() time.Time {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.now
		}
		b.users = &user.Service{DB: db, Connection: func(string) string { return secret.ZeroID }}
		test(t, b)
	})
}

func cheap() *passhash.Hasher {
	return passhash.New(passhash.Params{Memory: 64, Time: 1, Lanes: 1}, nil)
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// write runs f in a transaction whose events come after those of the one before.
func (b *bench) write(t *testing.T, f func(tx *database.Tx) error) {
	t.Helper()
	b.pass(time.Millisecond)
	if err := b.db.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// person makes a user with an address and, unless it is empty, a stored hash.
func (b *bench) person(t *testing.T, email, hash string) (u user.User) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		u, err = b.users.Create(t.Context(), tx, b.by, user.User{Email: email, IsActive: true})
		if err != nil || hash == "" {
			return err
		}
		return password.Set(t.Context(), tx, b.by, u.ID, hash, false)
	})
	return u
}

func (b *bench) hash(t *testing.T, s string) string {
	t.Helper()
	hash, err := b.hasher.Hash(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func (b *bench) verify(t *testing.T, id, s string) password.Verdict {
	t.Helper()
	v, err := password.Verify(t.Context(), b.db, b.hasher, tenantA, id, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signIn does what a front does: verify, and upgrade if asked to.
func (b *bench) signIn(t *testing.T, id, s string) password.Verdict {
	t.Helper()
	v := b.verify(t, id, s)
	if v.Upgrade {
		hash := b.hash(t, s)
		b.write(t, func(tx *database.Tx) error { return password.Upgrade(t.Context(), tx, b.by, id, v.Hash, hash) })
	}
	return v
}

func (b *bench) stored(t *testing.T, id string) string {
	t.Helper()
	hash, _, err := password.Find(t.Context(), b.db, tenantA, id)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// as is the actor that a user is.
func as(id string) access.Actor { return access.Actor{Tenant: tenantA, Name: "user:" + id} }

// events returns the actions of the log, oldest first.
func (b *bench) events(t *testing.T) (actions []string) {
	t.Helper()
	rows, err := b.db.Query(t.Context(), "SELECT action FROM audit_unsealed WHERE tenant_id = $1 ORDER BY id", tenantA)
	actions, err = database.Collect(rows, err, "read the log", func(row database.Scanner) (action string, err error) {
		return action, row.Scan(&action)
	})
	if err != nil {
		t.Fatal(err)
	}
	return actions
}

func TestImportedHashesAreUpgradedAtTheFirstSignIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ours := b.hash(t, "x")[:len("$argon2id$v=19$m=64,t=1,p=1$")]
		for i, v := range imported {
			id := b.person(t, string(rune('a'+i%26))+string(rune('a'+i/26))+"@x.test", v.hash).ID
			if got := b.signIn(t, id, typed+"x"); got != (password.Verdict{}) || b.stored(t, id) != v.hash {
				t.Errorf("%s: a wrong password gave %+v", v.name, got)
			}
			if got := b.signIn(t, id, typed); !got.OK || !got.Upgrade || got.Hash != v.hash {
				t.Errorf("%s: the first sign-in gave %+v", v.name, got)
			}
			if hash := b.stored(t, id); !strings.HasPrefix(hash, ours) {
				t.Errorf("%s: became %.30s", v.name, hash)
			}
			if got := b.signIn(t, id, typed); !got.OK || got.Upgrade {
				t.Errorf("%s: the second sign-in gave %+v", v.name, got)
			}
		}
		if slices.Contains(b.events(t), "password.changed") {
			t.Error("an upgrade is told of as a change")
		}
	})
}

// Once upgraded, all of a long password counts.
func TestImportedBcryptOf72Bytes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const of72 = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.SxYtxMT6nLvr.VBQZzuIj6jr9GV37Si"
		x72 := strings.Repeat("x", 72)
		id := b.person(t, "long@x.test", of72).ID
		if b.verify(t, id, x72[:71]).OK || !b.verify(t, id, x72+"\x00other").OK {
			t.Error("bcrypt looks at 72 bytes, no more and no less")
		}
		if !b.signIn(t, id, x72+"tail").Upgrade {
			t.Error("no upgrade")
		}
		if b.verify(t, id, x72).OK || b.verify(t, id, x72+"Tail").OK || !b.verify(t, id, x72+"tail").OK {
			t.Error("the tail does not count after the upgrade")
		}
	})
}

func TestNULCountsInPasswords(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		id := b.person(t, "nul@x.test", b.hash(t, "abc\x00def")).ID
		if b.verify(t, id, "abc").OK || b.verify(t, id, "abc\x00deg").OK || !b.verify(t, id, "abc\x00def").OK {
			t.Error("a NUL ends the password")
		}
	})
}

func TestEverySpellingOfAPasswordIsOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const nfc, nfd = "caf\u00e9 zanzibar", "cafe\u0301 zanzibar"
		sum := func(hash string) string { return passhash.Digest("sha256", "password", 1, nil, unhex(hash)) }
		asTyped := sum("42e725f37a75d2b4766606b2e5d86db64de6d645b474311ed4e317120f34bbeb")
		composed := sum("1b440c64663653700633755179f86f118d76458770c3e9a637d0d75825b030c7")
		for i, c := range []struct {
			name, hash string
			typed      []string
		}{
			{"ours", b.hash(t, nfd), []string{nfc, nfd}},
			{"imported, of NFC", composed, []string{nfd, nfc}},
			{"imported, of the bytes as typed", asTyped, []string{nfd, nfc}},
		} {
			id := b.person(t, string(rune('a'+i))+"@x.test", c.hash).ID
			for _, s := range c.typed {
				if !b.signIn(t, id, s).OK {
					t.Errorf("%s: %+q is refused", c.name, s)
				}
			}
		}
	})
}

func TestLongPasswordsAreRefusedBeforeHashing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		known := b.person(t, "a@x.test", b.hash(t, "correct horse")).ID
		b.hasher = passhash.New(passhash.Params{Memory: 256 << 10, Time: 8, Lanes: 1}, nil) // seconds, if it hashed
		began := time.Now()
		for name, id := range map[string]string{"known": known, "unknown": secret.FirstID(b.now), "nobody": ""} {
			for _, size := range []int{1025, 1 << 20} {
				if _, err := password.Verify(t.Context(), b.db, b.hasher, tenantA, id, strings.Repeat("x", size)); !errors.Is(err, passhash.ErrPasswordTooLong) {
					t.Errorf("%s, %d bytes: %v", name, size, err)
				}
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestVerifyRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		right := b.hash(t, "correct horse")
		known := b.person(t, "a@x.test", right).ID
		without := b.person(t, "b@x.test", "").ID
		other := access.System(tenantB)
		var foreign user.User
		b.write(t, func(tx *database.Tx) (err error) {
			if foreign, err = b.users.Create(t.Context(), tx, other, user.User{Email: "a@x.test", IsActive: true}); err != nil {
				return err
			}
			return password.Set(t.Context(), tx, other, foreign.ID, right, false)
		})
		for name, c := range map[string]struct{ id, tried string }{
			"wrong password": {known, "Correct horse"}, "nothing": {known, ""}, "the hash itself": {known, right},
			"no password": {without, "correct horse"}, "no password, nothing typed": {without, ""},
			"unknown user": {secret.FirstID(b.now), "correct horse"}, "nobody": {"", "correct horse"}, "user of another tenant": {foreign.ID, "correct horse"},
		} {
			if got := b.verify(t, c.id, c.tried); got != (password.Verdict{}) {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if got := b.verify(t, known, "correct horse"); got != (password.Verdict{OK: true, Hash: right}) {
			t.Errorf("the right one: %+v", got)
		}
	})
}

// Cheap imported hashes, missing ones and missing users must not answer at once. The
// memory that is filled is the time it takes, and unlike a clock it can be counted
// on a busy machine.
func TestVerifyTakesItsTimeWhoeverAsks(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.hasher = passhash.New(passhash.Params{Memory: 1 << 10, Time: 1, Lanes: 1}, nil)
		for name, id := range map[string]string{
			"known": b.person(t, "a@x.test", b.hash(t, "correct horse")).ID, "no password": b.person(t, "b@x.test", "").ID,
			"imported": b.person(t, "c@x.test", "{MD5}MPGMX14/WpyXUAPsEPAZWA==").ID, "unknown": secret.FirstID(b.now), "nobody": "",
		} {
			before := b.hasher.Work()
			b.verify(t, id, "wrong password")
			if got := b.hasher.Work() - before; got != 1<<10 {
				t.Errorf("%s: %d KiB were hashed, want %d", name, got, 1<<10)
			}
		}
	})
}

func TestTemporaryPasswordsAreSaidToBe(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		id := b.person(t, "a@x.test", "").ID
		hash := b.hash(t, "correct horse")
		b.write(t, func(tx *database.Tx) error { return password.Set(t.Context(), tx, b.by, id, hash, true) })
		if got := b.verify(t, id, "correct horse"); !got.OK || got.Due != password.Temporary {
			t.Errorf("before the change: %+v", got)
		}
		next := b.hash(t, "another horse")
		b.write(t, func(tx *database.Tx) error { return password.Change(t.Context(), tx, as(id), id, hash, next) })
		if got := b.verify(t, id, "another horse"); !got.OK || got.Due != password.NotDue {
			t.Errorf("after the change: %+v", got)
		}
	})
}

func TestUpgradeLeavesAChangedPasswordAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		id := b.person(t, "a@x.test", "{MD5}MPGMX14/WpyXUAPsEPAZWA==").ID
		old, upgraded, next := b.verify(t, id, typed).Hash, b.hash(t, typed), b.hash(t, "another horse")
		b.write(t, func(tx *database.Tx) error { return password.Set(t.Context(), tx, b.by, id, next, false) })
		b.write(t, func(tx *database.Tx) error { return password.Upgrade(t.Context(), tx, b.by, id, old, upgraded) })
		if b.stored(t, id) != next {
			t.Error("an upgrade brought the old password back")
		}
	})
}

func TestChangeNeedsTheOldPassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		id, without := b.person(t, "a@x.test", b.hash(t, "correct horse")).ID, b.person(t, "b@x.test", "").ID
		old, next := b.stored(t, id), b.hash(t, "another horse")
		change := func(by access.Actor, id, old string) error {
			b.pass(time.Millisecond)
			return b.db.Write(t.Context(), func(tx *database.Tx) error { return password.Change(t.Context(), tx, by, id, old, next) })
		}
		for name, c := range map[string]struct {
			by   access.Actor
			old  string
			want error
		}{
			"somebody else":              {as(without), old, access.ErrDenied},
			"a visitor":                  {access.Visitor(tenantA, ""), old, access.ErrDenied},
			"the system":                 {b.by, old, access.ErrDenied},
			"another hash":               {as(id), b.hash(t, "correct horse"), password.ErrChanged},
			"as if there were none":      {as(id), "", password.ErrChanged},
			"the user of another tenant": {access.Actor{Tenant: tenantB, Name: "user:" + id}, old, password.ErrChanged},
		} {
			if err := change(c.by, id, c.old); !errors.Is(err, c.want) || b.stored(t, id) != old {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if err := change(as(without), without, old); !errors.Is(err, password.ErrChanged) {
			t.Errorf("of no password: %v", err)
		}
		if err := errors.Join(change(as(id), id, old), change(as(without), without, "")); err != nil || b.stored(t, id) != next || b.stored(t, without) != next {
			t.Errorf("the user's own change: %v", err)
		}
		gone := secret.FirstID(b.now)
		if err := change(as(gone), gone, ""); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("a user who is gone: %v", err)
		}
		if got := b.events(t); !slices.Equal(got[len(got)-2:], []string{"password.changed", "password.changed"}) {
			t.Errorf("the log has %q", got)
		}
	})
}

func TestSetImportAndExportNeedTheirRights(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ada, eve := b.person(t, "ada@x.test", ""), b.person(t, "eve@x.test", "")
		hash, at := b.hash(t, "correct horse"), time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
		stored := password.Stored{UserID: ada.ID, Hash: hash, Temporary: true, ChangedAt: at}
		everything := func(by access.Actor, want error) {
			t.Helper()
			for name, f := range map[string]func(tx *database.Tx) error{
				"set":    func(tx *database.Tx) error { return password.Set(t.Context(), tx, by, eve.ID, hash, false) },
				"import": func(tx *database.Tx) error { return password.Import(t.Context(), tx, by, []password.Stored{stored}) },
			} {
				if err := b.db.Write(t.Context(), f); !errors.Is(err, want) {
					t.Errorf("%s by %s: %v, want %v", name, by.Name, err, want)
				}
			}
			if got, err := password.Export(t.Context(), b.db, by, []string{ada.ID, eve.ID}); !errors.Is(err, want) || want != nil && got != nil {
				t.Errorf("export by %s: %v, %v", by.Name, got, err)
			}
		}
		everything(visitor, access.ErrDenied)
		everything(as(ada.ID).With(access.UsersRead, access.RolesWrite), access.ErrDenied)
		everything(b.by, nil)
		got, err := password.Export(t.Context(), b.db, b.by, []string{ada.ID, secret.FirstID(b.now)})
		if err != nil || len(got) != 1 || got[ada.ID] != stored {
			t.Errorf("exported: %+v, %v", got, err)
		}
	})
}

// Of many changes that proved the same password one goes through: whoever knew it
// can not undo the owner's change.
func TestChangeRaceHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		id := b.person(t, "a@x.test", b.hash(t, "correct horse")).ID
		old, next := b.stored(t, id), b.hash(t, "another horse")
		won := atOnce(50, func() error {
			return b.db.Write(context.WithoutCancel(t.Context()), func(tx *database.Tx) error { return password.Change(t.Context(), tx, as(id), id, old, next) })
		}, func(err error) {
			if !errors.Is(err, password.ErrChanged) {
				t.Error(err)
			}
		})
		if won != 1 {
			t.Errorf("%d changes succeeded, want 1", won)
		}
	})
}

// atOnce runs f n times at the same moment and counts the successes; the errors go
// to lost, one after another.
func atOnce(n int, f func() error, lost func(error)) (won int) {
	start, results := make(chan struct{}), make(chan error)
	for range n {
		go func() {
			<-start
			results <- f()
		}()
	}
	close(start)
	for range n {
		if err := <-results; err != nil {
			lost(err)
		} else {
			won++
		}
	}
	return won
}
