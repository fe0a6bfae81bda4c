package tenant_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
)

// key makes an API key as an actor.
func (b *bench) key(t testing.TB, by access.Actor, expires time.Time, scopes ...access.Permission) (k tenant.Key, key string, err error) {
	t.Helper()
	err = b.try(t, func(ctx context.Context, tx *database.Tx) error {
		k, key, err = b.CreateKey(ctx, tx, by, "a key", scopes, expires)
		return err
	})
	return k, key, err
}

func (b *bench) mustKey(t testing.TB, by access.Actor, expires time.Time, scopes ...access.Permission) (tenant.Key, string) {
	t.Helper()
	k, key, err := b.key(t, by, expires, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return k, key
}

// as is who comes with a key to the shop.
func (b *bench) as(t testing.TB, key string) (access.Actor, error) {
	t.Helper()
	return b.Authenticate(t.Context(), access.Visitor(b.shop.ID, "192.0.2.1"), key)
}

func (b *bench) revoke(t testing.TB, id string) error {
	t.Helper()
	return b.try(t, func(ctx context.Context, tx *database.Tx) error { return b.RevokeKey(ctx, tx, b.owner, id) })
}

func TestKeysAreRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other := b.create(t, "other")
		_, elsewhere := b.mustKey(t, access.System(other.ID), time.Time{}, access.UsersRead)
		revoked, revokedKey := b.mustKey(t, b.owner, time.Time{}, access.UsersRead)
		_, expired := b.mustKey(t, b.owner, b.now.Add(time.Minute), access.UsersRead)
		_, good := b.mustKey(t, b.owner, time.Time{}, access.UsersRead)
		for _, key := range []string{revokedKey, expired, good} {
			if _, err := b.as(t, key); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.revoke(t, revoked.ID); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Minute)
		for name, key := range map[string]string{
			"of another tenant": elsewhere, "revoked": revokedKey, "expired": expired, "empty": "", "in another form": "sk_short", "with one letter changed": good[:len(good)-1] + "_", "of an application": "cs_" + good[3:],
		} {
			t.Run(name, func(t *testing.T) {
				if by, err := b.as(t, key); !errors.Is(err, tenant.ErrToken) || len(by.Permissions()) > 0 {
					t.Errorf("got %v with %v", err, by.Permissions())
				}
			})
		}
		by, err := b.as(t, good)
		if err != nil || !slices.Equal(by.Permissions(), []access.Permission{access.UsersRead}) {
			t.Errorf("the good one: %v, %v", by, err)
		}
	})
}

// Too many keys that are not good shut an address out, but not its good ones.
func TestWrongKeysAreCounted(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		_, good := b.mustKey(t, b.owner, time.Time{}, access.UsersRead)
		limited := false
		for range 200 {
			_, err := b.as(t, "sk_nothing")
			if limited = errors.Is(err, ratelimit.ErrLimited); limited {
				break
			}
		}
		if !limited {
			t.Error("nobody counts")
		}
		if _, err := b.as(t, good); err != nil {
			t.Errorf("a good one from there: %v", err)
		}
	})
}

func TestKeyGivesNoMoreThanItsMakerHolds(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		maker := access.Actor{Tenant: b.shop.ID, Name: "user:x"}.With(access.KeysWrite, access.UsersRead)
		if _, _, err := b.key(t, maker, time.Time{}, access.UsersRead, access.UsersWrite); !errors.Is(err, access.ErrDenied) {
			t.Errorf("more than the maker holds: %v", err)
		}
		if _, _, err := b.key(t, access.Actor{Tenant: b.shop.ID, Name: "user:x"}.With(access.UsersRead), time.Time{}, access.UsersRead); !errors.Is(err, access.ErrDenied) {
			t.Errorf("by who may make none: %v", err)
		}
		if _, _, err := b.key(t, maker, b.now, access.UsersRead); !isInvalid(err) {
			t.Errorf("one that has ended: %v", err)
		}
		b.mustKey(t, maker, time.Time{}, access.UsersRead)
	})
}

func isInvalid(err error) bool {
	p, ok := problem.From(err)
	return ok && p.Kind == problem.Invalid
}

// A key ends no later than the one that has made it, and with it.
func TestKeyEndsWithItsMaker(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		end := b.now.Add(time.Hour)
		first, firstKey := b.mustKey(t, b.owner, end, access.KeysWrite, access.UsersRead)
		maker, err := b.as(t, firstKey)
		if err != nil {
			t.Fatal(err)
		}
		second, secondKey := b.mustKey(t, maker, time.Time{}, access.KeysWrite, access.UsersRead)
		if !second.ExpiresAt.Equal(end) {
			t.Errorf("it ends at %s", second.ExpiresAt)
		}
		if _, _, err := b.key(t, maker, end.Add(time.Second), access.UsersRead); !isInvalid(err) {
			t.Errorf("later than its maker: %v", err)
		}
		child, err := b.as(t, secondKey)
		if err != nil {
			t.Fatal(err)
		}
		_, thirdKey := b.mustKey(t, child, b.now.Add(time.Minute), access.UsersRead)
		if err := b.revoke(t, first.ID); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{firstKey, secondKey, thirdKey} {
			if _, err := b.as(t, key); !errors.Is(err, tenant.ErrToken) {
				t.Errorf("it is still good: %v", err)
			}
		}
		if _, _, err := b.key(t, maker, time.Time{}, access.UsersRead); !errors.Is(err, tenant.ErrToken) {
			t.Errorf("one that was revoked makes another: %v", err)
		}
		if err := b.revoke(t, first.ID); !errors.Is(err, tenant.ErrKeyNotFound) {
			t.Errorf("a second time: %v", err)
		}
	})
}

// While a key is revoked it makes others: none of them is left.
func TestRevokedKeyLeavesNoneInARace(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for range 5 {
			first, key := b.mustKey(t, b.owner, time.Time{}, access.KeysWrite, access.UsersRead)
			maker, err := b.as(t, key)
			if err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			made := make([]string, 4)
			for i := range made {
				group.Go(func() { _, made[i], _ = b.key(t, maker, time.Time{}, access.UsersRead) })
			}
			group.Go(func() {
				if err := b.revoke(t, first.ID); err != nil {
					t.Error(err)
				}
			})
			group.Wait()
			b.now = b.now.Add(2 * time.Second)
			for _, key := range append(made, key) {
				if key == "" {
					continue
				}
				if _, err := b.as(t, key); !errors.Is(err, tenant.ErrToken) {
					t.Errorf("one is left: %v", err)
				}
			}
		}
	})
}

func TestKeysThatWorkAreListedFirst(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		old, _ := b.mustKey(t, b.owner, time.Time{}, access.UsersRead)
		b.now = b.now.Add(time.Second)
		ended, _ := b.mustKey(t, b.owner, b.now.Add(time.Second), access.UsersRead)
		b.now = b.now.Add(time.Second)
		newest, key := b.mustKey(t, b.owner, time.Time{}, access.UsersRead)
		all, err := b.Keys(t.Context(), b.DB, b.owner)
		var ids []string
		for _, k := range all {
			ids = append(ids, k.ID)
		}
		if want := []string{newest.ID, old.ID, ended.ID}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("got %v, %v, want %v", ids, err, want)
		}
		if all[0].Hint != key[len(key)-4:] {
			t.Errorf("the hint is %q", all[0].Hint)
		}
	})
}
