package user_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
)

func email(value string) user.Address {
	return user.Address{Kind: user.KindFurtherEmail, Value: value}
}

func phone(value string) user.Address {
	return user.Address{Kind: user.KindFurtherPhone, Value: value}
}

func (b *bench) tryAdd(t *testing.T, by access.Actor, id string, a user.Address) (out user.Address, err error) {
	err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
		out, err = b.AddAddress(t.Context(), tx, by, id, a)
		return err
	})
	return out, err
}

func (b *bench) add(t *testing.T, id string, a user.Address) user.Address {
	t.Helper()
	out, err := b.tryAdd(t, b.by, id, a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *bench) tryPrimary(t *testing.T, id, address string) (u user.User, err error) {
	err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
		u, err = b.MakePrimary(t.Context(), tx, b.by, id, address)
		return err
	})
	return u, err
}

func (b *bench) tryRemove(t *testing.T, id, address string) error {
	return b.DB.Write(t.Context(), func(tx *database.Tx) error {
		_, err := b.RemoveAddress(t.Context(), tx, b.by, id, address)
		return err
	})
}

func (b *bench) hold(t *testing.T, id, but string) {
	t.Helper()
	err := b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.HoldAddresses(t.Context(), tx, b.by, id, but, "test") })
	if err != nil {
		t.Fatal(err)
	}
}

// addresses lists those of a user, held ones with an asterisk.
func (b *bench) addresses(t *testing.T, id string) (out []string) {
	t.Helper()
	list, err := b.Addresses(t.Context(), b.DB, b.by, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Held {
			a.Value += "*"
		}
		out = append(out, a.Value)
	}
	return out
}

func (b *bench) wantAddresses(t *testing.T, id string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.addresses(t, id)); diff != "" {
		t.Errorf("further addresses (-want +got):\n%s", diff)
	}
}

// wantMatch asserts whom a login leads to, by what, and whether that is proved.
func (b *bench) wantMatch(t *testing.T, login, id, kind string, proved bool) {
	t.Helper()
	m, err := b.Match(t.Context(), b.DB, b.by, login)
	if id == "" && errors.Is(err, user.ErrNotFound) && m.Kind == "" && !m.IsProved() && !m.Is() {
		return
	}
	if err != nil || m.ID != id || m.Kind != kind || m.IsProved() != proved {
		t.Errorf("%s leads to %s by %q, proved %v: %v; want %s by %q, %v", login, m.ID, m.Kind, m.IsProved(), err, id, kind, proved)
	}
}

var ann = user.User{Email: "ann@example.com", EmailVerified: true, Phone: "+4915112345678", Username: "ann", IsActive: true}

func TestFurtherAddressesFindTheirUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		a := b.add(t, u.ID, email("Ann@Example.ORG "))
		b.add(t, u.ID, phone("+49 1511 9999999"))
		if a.Value != "ann@example.org" || a.ID == "" || a.AddedAt.IsZero() {
			t.Errorf("%+v", a)
		}
		b.wantAddresses(t, u.ID, "ann@example.org", "+4915119999999")
		b.wantMatch(t, "ANN@example.org", u.ID, user.KindFurtherEmail, true)
		b.wantMatch(t, "+4915119999999", u.ID, user.KindFurtherPhone, true)
		b.wantMatch(t, "ann@example.com", u.ID, user.KindEmail, true)
		b.wantMatch(t, "+4915112345678", u.ID, user.KindPhone, false)
		b.wantMatch(t, "Ann", u.ID, user.KindUsername, false)
		if found, err := b.FindByLogin(t.Context(), b.DB, b.by, "ann@example.org"); err != nil || found.Email != "ann@example.com" {
			t.Errorf("%+v, %v", found, err)
		}
		if b.add(t, u.ID, email("ann@example.org")).ID != a.ID {
			t.Error("what a user has is added once more")
		}
		if err := b.tryRemove(t, u.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		b.wantMatch(t, "ann@example.org", "", "", false)
		b.create(t, user.User{Email: "ann@example.org"})
	})
}

// C1.20, C1.22: one canonical form, unique among primary addresses, further ones and
// usernames alike.
func TestAnAddressBelongsToOneUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		other := b.create(t, user.User{Email: "bob@example.com", Phone: "+4915110000000", Username: "bob@example.net"})
		b.add(t, u.ID, email("ann@example.org"))
		for name, err := range map[string]error{
			"a primary address":        second(b.tryAdd(t, b.by, u.ID, email("BOB@example.com"))),
			"a primary number":         second(b.tryAdd(t, b.by, u.ID, phone("+49 15110000000"))),
			"a username":               second(b.tryAdd(t, b.by, u.ID, email("bob@example.net"))),
			"a further address":        second(b.tryAdd(t, b.by, other.ID, email("ann@EXAMPLE.org"))),
			"a new user":               second(b.tryCreate(t.Context(), b.by, user.User{Email: "ann@example.org"})),
			"a new username":           second(b.tryCreate(t.Context(), b.by, user.User{Username: "ann@example.org"})),
			"another primary address":  second(b.tryUpdate(t.Context(), other.ID, user.Change{Email: ptr("ann@example.org")})),
			"another user's name":      second(b.tryUpdate(t.Context(), other.ID, user.Change{Username: ptr("ann@example.org")})),
			"an import":                b.imported(t, user.User{Email: "ann@example.org"}),
			"an import of a new phone": b.imported(t, user.User{Phone: "+4915110000000"}),
		} {
			if !errors.Is(err, user.ErrExists) {
				t.Errorf("%s: %v, want %v", name, err, user.ErrExists)
			}
		}
		for _, bad := range []string{"ａnn@example.com", "ann@example.com,bob@example.com", "a@b@example.com", "ann@example.com\r\n", "ann"} {
			if _, err := b.tryAdd(t, b.by, u.ID, email(bad)); !errors.Is(err, user.ErrEmail) {
				t.Errorf("%q: %v, want %v", bad, err, user.ErrEmail)
			}
		}
		if _, err := b.tryAdd(t, b.by, u.ID, phone("ann@example.net")); !errors.Is(err, user.ErrPhone) {
			t.Errorf("an address as a number: %v", err)
		}
		b.wantAddresses(t, u.ID, "ann@example.org")
	})
}

func second[T any](_ T, err error) error { return err }

func (b *bench) imported(t *testing.T, u user.User) error {
	var refused []error
	err := b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
		refused, err = b.Import(t.Context(), tx, b.by, tenantA, []user.Newcomer{{User: u}})
		return err
	})
	return errors.Join(append(refused, err)...)
}

// Of many who take an address at once, as a further or as a primary one, one has it.
func TestAddressRaceHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const many = 12
		users := make([]user.User, many)
		for i := range users {
			users[i] = b.create(t, user.User{Email: fmt.Sprintf("u%d@example.com", i), EmailVerified: true})
		}
		var won atomic.Int64
		var wg sync.WaitGroup
		for i, u := range users {
			wg.Go(func() {
				var err error
				switch i % 3 {
				case 0:
					_, err = b.tryAdd(t, b.by, u.ID, email("one@example.org"))
				case 1:
					_, err = b.tryUpdate(t.Context(), u.ID, user.Change{Email: ptr("one@example.org")})
				default:
					_, err = b.tryCreate(t.Context(), b.by, user.User{Email: "one@example.org"})
				}
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, user.ErrExists) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d have the address, want 1", won.Load())
		}
	})
}

func TestMakePrimaryKeepsWhatWasProved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		org, number := b.add(t, u.ID, email("ann@example.org")), b.add(t, u.ID, phone("+4915119999999"))
		u, err := b.tryPrimary(t, u.ID, org.ID)
		if err != nil || u.Email != "ann@example.org" || !u.EmailVerified || u.Login() != "ann" {
			t.Fatalf("%+v, %v", u, err)
		}
		b.wantAddresses(t, u.ID, "ann@example.com", "+4915119999999")
		b.wantMatch(t, "ann@example.com", u.ID, user.KindFurtherEmail, true)
		b.wantMatch(t, "ann@example.org", u.ID, user.KindEmail, true)
		// The number before was not proved: it is nobody's now.
		if u, err = b.tryPrimary(t, u.ID, number.ID); err != nil || u.Phone != "+4915119999999" || !u.PhoneVerified {
			t.Fatalf("%+v, %v", u, err)
		}
		b.wantAddresses(t, u.ID, "ann@example.com")
		b.wantMatch(t, "+4915112345678", "", "", false)
		if _, err := b.tryPrimary(t, u.ID, org.ID); !errors.Is(err, user.ErrAddressNotFound) {
			t.Errorf("the primary one is a further one: %v", err)
		}
	})
}

// An address that the user has proved is proved as the primary one too, whoever makes it
// that. One that is held is not.
func TestUpdateToAFurtherAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for held, want := range map[bool]bool{false: true, true: false} {
			u := b.create(t, user.User{Email: fmt.Sprintf("a%v@example.com", held), EmailVerified: true})
			to := fmt.Sprintf("b%v@example.com", held)
			b.add(t, u.ID, email(to))
			if held {
				b.hold(t, u.ID, "")
			}
			u = b.update(t, u.ID, user.Change{Email: &to})
			if u.Email != to || u.EmailVerified != want {
				t.Errorf("held %v: %s, proved %v", held, u.Email, u.EmailVerified)
			}
			b.wantAddresses(t, u.ID)
			b.wantMatch(t, to, u.ID, user.KindEmail, want)
			b.wantMatch(t, fmt.Sprintf("a%v@example.com", held), "", "", false)
		}
		u := b.create(t, ann)
		b.add(t, u.ID, email("ann@example.org"))
		if u = b.update(t, u.ID, user.Change{Email: ptr("ann@example.org"), EmailVerified: ptr(false)}); u.EmailVerified {
			t.Error("what the change says of the address is passed over")
		}
	})
}

// The first address of a kind, and the primary one if that was not proved, are no further
// ones.
func TestAddAddressFillsThePrimaryOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "ann@example.com"})
		if a := b.add(t, u.ID, email("ann@example.com")); a.ID != "" {
			t.Errorf("%+v", a)
		}
		if a := b.add(t, u.ID, phone("+4915112345678")); a.ID != "" {
			t.Errorf("%+v", a)
		}
		found, err := b.Find(t.Context(), b.DB, b.by, u.ID)
		if err != nil || !found.EmailVerified || !found.PhoneVerified || found.Phone != "+4915112345678" {
			t.Errorf("%+v, %v", found, err)
		}
		b.wantAddresses(t, u.ID)
	})
}

// A username that is one of the user's own addresses is one row with it, whichever comes
// first, and stays when the address goes.
func TestAUsernameMayBeAFurtherAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Username: "ann@example.org", Email: "ann@example.com", EmailVerified: true})
		a := b.add(t, u.ID, email("ann@example.org"))
		b.wantMatch(t, "ann@example.org", u.ID, user.KindFurtherEmail, true)
		if err := b.tryRemove(t, u.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		b.wantMatch(t, "ann@example.org", u.ID, user.KindUsername, false)
		b.add(t, u.ID, email("ann@example.org"))
		b.update(t, u.ID, user.Change{Username: ptr("ann")})
		b.wantMatch(t, "ann@example.org", u.ID, user.KindFurtherEmail, true)
		b.update(t, u.ID, user.Change{Username: ptr("ann@example.org")})
		b.wantMatch(t, "ann@example.org", u.ID, user.KindFurtherEmail, true)
	})
}

// C1.3: what may have been put there by somebody else waits until it is proved again.
func TestHeldAddressesCountForNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		org, net := b.add(t, u.ID, email("ann@example.org")), b.add(t, u.ID, email("ann@example.net"))
		b.hold(t, u.ID, "ann@example.net")
		b.wantAddresses(t, u.ID, "ann@example.org*", "ann@example.net")
		b.wantMatch(t, "ann@example.org", u.ID, user.KindFurtherEmail, false)
		b.wantMatch(t, "ann@example.net", u.ID, user.KindFurtherEmail, true)
		if _, err := b.tryPrimary(t, u.ID, org.ID); !errors.Is(err, user.ErrAddressHeld) {
			t.Errorf("a held one is made the primary one: %v", err)
		}
		b.add(t, u.ID, email("ann@example.org"))
		b.wantMatch(t, "ann@example.org", u.ID, user.KindFurtherEmail, true)
		if _, err := b.tryPrimary(t, u.ID, net.ID); err != nil {
			t.Error(err)
		}
	})
}

// An intruder's addresses go, and the place of a primary one of theirs takes the one that
// was there before.
func TestRemoveAddressesSince(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		b.add(t, u.ID, email("old@example.com"))
		b.pass(time.Hour)
		since := b.DB.Now()
		theirs := b.add(t, u.ID, email("intruder@example.com"))
		b.add(t, u.ID, phone("+4915118888888"))
		if _, err := b.tryPrimary(t, u.ID, theirs.ID); err != nil {
			t.Fatal(err)
		}
		b.wantAddresses(t, u.ID, "ann@example.com", "old@example.com", "+4915118888888")
		var after user.User
		err := b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
			after, err = b.RemoveAddressesSince(t.Context(), tx, b.by, u.ID, since, "test")
			return err
		})
		if err != nil || after.Email != "ann@example.com" || !after.EmailVerified || after.Phone != ann.Phone {
			t.Errorf("%+v, %v", after, err)
		}
		b.wantAddresses(t, u.ID, "old@example.com")
		b.wantMatch(t, "intruder@example.com", "", "", false)
	})
}

func TestAddressesAreBounded(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		for i := range user.MaxAddresses {
			b.add(t, u.ID, email(fmt.Sprintf("ann%d@example.com", i)))
		}
		if _, err := b.tryAdd(t, b.by, u.ID, email("one-more@example.com")); !errors.Is(err, user.ErrAddresses) {
			t.Errorf("%v, want %v", err, user.ErrAddresses)
		}
		if n := len(b.addresses(t, u.ID)); n != user.MaxAddresses {
			t.Errorf("%d addresses", n)
		}
	})
}

// C1.17: an address of somebody who was deleted leads to nobody, and inherits nothing.
func TestDeletedUsersFreeTheirAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		b.add(t, u.ID, email("ann@example.org"))
		b.remove(t, u.ID)
		b.wantMatch(t, "ann@example.org", "", "", false)
		again := b.create(t, ann)
		b.wantAddresses(t, again.ID)
		b.add(t, again.ID, email("ann@example.org"))
	})
}

func TestAddressesAskForTheirRight(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		a := b.add(t, u.ID, email("ann@example.org"))
		for name, by := range map[string]access.Actor{
			"without the right": {Tenant: tenantA, Name: "key:x"},
			"of another tenant": access.System(tenantB),
			"who may only read": access.Actor{Tenant: tenantA, Name: "key:x"}.With(access.UsersRead),
		} {
			err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
				_, added := b.AddAddress(t.Context(), tx, by, u.ID, email("x@example.org"))
				_, made := b.MakePrimary(t.Context(), tx, by, u.ID, a.ID)
				_, removed := b.RemoveAddress(t.Context(), tx, by, u.ID, a.ID)
				if added == nil || made == nil || removed == nil {
					t.Errorf("an actor %s: %v, %v, %v", name, added, made, removed)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		other := b.create(t, user.User{Email: "bob@example.com"})
		if err := b.tryRemove(t, other.ID, a.ID); !errors.Is(err, user.ErrAddressNotFound) {
			t.Errorf("another user's address: %v", err)
		}
		if _, err := b.tryPrimary(t, other.ID, a.ID); !errors.Is(err, user.ErrAddressNotFound) {
			t.Errorf("another user's address: %v", err)
		}
		b.wantAddresses(t, u.ID, "ann@example.org")
	})
}

// Whoever holds less than a user gives them no address to come in by.
func TestAddressesOfAdministratorsAreGuarded(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		owner := b.create(t, user.User{Email: "owner@example.com", EmailVerified: true, IsActive: true, RoleIDs: []string{b.roles["owner"].ID}})
		clerk := access.Actor{Tenant: tenantA, Name: "key:x"}.With(access.UsersRead, access.UsersWrite)
		if _, err := b.tryAdd(t, clerk, owner.ID, email("clerk@example.com")); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%v, want %v", err, access.ErrDenied)
		}
	})
}

func TestEveryChangeOfAddressesHasItsEvent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		a := b.add(t, u.ID, email("ann@example.org"))
		b.hold(t, u.ID, "")
		b.add(t, u.ID, email("ann@example.org"))
		if _, err := b.tryPrimary(t, u.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		list, err := b.Addresses(t.Context(), b.DB, b.by, u.ID)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if err := b.tryRemove(t, u.ID, list[0].ID); err != nil {
			t.Fatal(err)
		}
		rows, err := b.DB.Query(t.Context(), "SELECT action FROM audit_unsealed WHERE tenant_id = $1 AND action LIKE 'user.address%' ORDER BY id", tenantA)
		got, err := database.Collect(rows, err, "list events", func(row database.Scanner) (s string, err error) { err = row.Scan(&s); return s, err })
		slices.Sort(got)
		want := []string{"user.address_added", "user.address_confirmed", "user.address_made_primary", "user.address_removed", "user.addresses_held"}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("events (-want +got):\n%s%v", diff, err)
		}
	})
}

// Lists, counts and the search find somebody by every address of theirs, before the
// indexer has seen it and after, and no more once it is gone.
func TestListsKnowFurtherAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		people(t, b)
		u := b.create(t, user.User{Email: "zoe@example.net", EmailVerified: true, IsActive: true})
		a := b.add(t, u.ID, email("zoe@old-company.test"))
		b.add(t, u.ID, phone("+4930777888"))
		b.add(t, u.ID, email("cz@x.test"))
		finds := []user.Filter{
			{Email: "ZOE@old-company.test"}, {Search: "OLD-comp"}, {Search: "zoe company"}, {Search: "777888"},
			{Search: "cz"}, // short words match the beginning of each address
			{Search: "example.net cz@"},
		}
		none := []user.Filter{{Email: "zoe@old"}, {Search: "z@"}, {Search: "tzo"}, {Search: "company ann"}, {Search: "test +49 ann"}}
		check := func(state string, fs []user.Filter, want ...string) {
			t.Helper()
			for _, f := range fs {
				if got, _ := b.list(t, user.Query{Filter: f}); !slices.Equal(got, want) {
					t.Errorf("%s, %+v: %q, want %q", state, f, got, want)
				}
				b.wantCount(t, f, int64(len(want)))
			}
		}
		for _, state := range []string{"before the index is written", "with the index"} {
			check(state, finds, "zoe@example.net")
			check(state, none)
			b.index(t)
		}
		if err := b.tryRemove(t, u.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{"removed, before the indexer", "removed, after it"} {
			check(state, finds[:3])
			check(state, finds[3:], "zoe@example.net")
			b.index(t)
		}
		b.remove(t, u.ID)
		check("deleted", finds)
	})
}

// What a further address was is found as what it has become, and the other way round.
func TestListsFollowThePrimaryAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		a := b.add(t, u.ID, email("ann@second.test"))
		if _, err := b.tryPrimary(t, u.ID, a.ID); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, f := range []user.Filter{{Search: "second"}, {Search: "example.com"}, {Email: "ann@second.test"}, {Email: "ann@example.com"}} {
				if got, _ := b.list(t, user.Query{Filter: f}); len(got) != 1 {
					t.Errorf("%+v finds %q", f, got)
				}
			}
			b.index(t)
		}
		b.update(t, u.ID, user.Change{Email: ptr("ann@third.test")}) // which drops the one before
		for range 2 {
			if got, _ := b.list(t, user.Query{Filter: user.Filter{Search: "second"}}); len(got) != 0 {
				t.Errorf("an address that is gone finds %q", got)
			}
			b.index(t)
		}
	})
}

// Addresses that come with a user are held to the same rules as all others.
func TestImportedAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		old := b.DB.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
		taken := b.create(t, ann)
		b.add(t, taken.ID, email("ann@example.org"))
		crowd := make([]user.Address, user.MaxAddresses+1)
		for i := range crowd {
			crowd[i] = email(fmt.Sprintf("crowd%d@x.test", i))
		}
		users := []user.Newcomer{
			{User: user.User{Email: "bob@x.test", EmailVerified: true, IsActive: true, Language: "de"}, Addresses: []user.Address{
				{Kind: user.KindFurtherEmail, Value: "Bob@Y.test", AddedAt: old, Held: true}, email("bob@y.test"), email("bob@x.test"),
				phone("+49 30 1234567"), {Kind: user.KindFurtherEmail, Value: "bob@z.test", AddedAt: old.AddDate(90, 0, 0)}}},
			{User: user.User{Email: "taken@x.test"}, Addresses: []user.Address{email("free@x.test"), email("ann@example.org")}},
			{User: user.User{Email: "primary@x.test"}, Addresses: []user.Address{email("ann@example.com")}},
			{User: user.User{Email: "twice@x.test"}, Addresses: []user.Address{email("bob@y.test")}},
			{User: user.User{Email: "broken@x.test"}, Addresses: []user.Address{email("broken")}},
			{User: user.User{Email: "crowd@x.test"}, Addresses: crowd},
			{User: user.User{Email: "free@x.test"}},
		}
		var refused []error
		if err := b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
			refused, err = b.Import(t.Context(), tx, b.by, tenantA, users)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, user.ErrExists, user.ErrExists, user.ErrExists, user.ErrEmail, user.ErrAddresses, nil} {
			if !errors.Is(refused[i], want) || want == nil && refused[i] != nil {
				t.Errorf("%s: %v, want %v", users[i].Email, refused[i], want)
			}
		}
		bob := users[0].ID
		b.wantAddresses(t, bob, "+49301234567", "bob@y.test*", "bob@z.test")
		list, err := b.Addresses(t.Context(), b.DB, b.by, bob)
		if err != nil || len(list) != 3 || !list[0].AddedAt.IsZero() || !list[1].AddedAt.Equal(old) || list[2].AddedAt.After(b.DB.Now()) || list[1].ID == list[2].ID {
			t.Errorf("%+v, %v", list, err)
		}
		b.wantMatch(t, "bob@y.test", bob, user.KindFurtherEmail, false)
		b.wantMatch(t, "bob@z.test", bob, user.KindFurtherEmail, true)
		if u, err := b.FindByLogin(t.Context(), b.DB, b.by, "bob@z.test"); err != nil || u.Language != "de" {
			t.Errorf("%+v, %v", u, err)
		}
		if got, _ := b.list(t, user.Query{Filter: user.Filter{Search: "bob@z"}}); len(got) != 1 {
			t.Errorf("search finds %q", got)
		}
	})
}

// A change may add further addresses, all or none of them.
func TestUpdateAddsAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, ann)
		b.add(t, u.ID, email("mine@x.test"))
		b.hold(t, u.ID, "")
		b.update(t, u.ID, user.Change{FirstName: ptr("Ann"), Addresses: []user.Address{email("MINE@x.test"), email("ann@example.com"), email("more@x.test")}})
		b.wantAddresses(t, u.ID, "more@x.test", "mine@x.test*")
		b.create(t, user.User{Email: "other@x.test"})
		if _, err := b.tryUpdate(t.Context(), u.ID, user.Change{Addresses: []user.Address{email("last@x.test"), email("other@x.test")}}); !errors.Is(err, user.ErrExists) {
			t.Errorf("somebody else's address: %v", err)
		}
		b.wantAddresses(t, u.ID, "more@x.test", "mine@x.test*")
		b.wantMatch(t, "last@x.test", "", "", false)
		many := make([]user.Address, user.MaxAddresses-1)
		for i := range many {
			many[i] = email(fmt.Sprintf("many%d@x.test", i))
		}
		if _, err := b.tryUpdate(t.Context(), u.ID, user.Change{Addresses: many}); !errors.Is(err, user.ErrAddresses) {
			t.Errorf("too many: %v", err)
		}
	})
}
