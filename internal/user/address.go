package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// Further addresses: e-mail addresses and phone numbers that a user can be reached at and
// found by beside the primary ones, which are those of User. Only such that were proved
// are kept. An address belongs to one user, be it their primary one or a further one.

// MaxAddresses is how many further addresses a user may have.
const MaxAddresses = 20

// Problems of further addresses.
var (
	ErrAddressNotFound = problem.New(problem.NotFound, "address_not_found", "The user has no such address.")
	ErrAddressHeld     = problem.New(problem.Conflict, "address_held", "Confirm this address again first.")
	ErrPrimary         = problem.New(problem.Conflict, "primary_address", "Make another address the primary one first.")
	ErrAddresses       = problem.New(problem.Conflict, "too_many_addresses", "The user has as many addresses as there may be. Remove one first.").In("address")
)

// Kinds of what a user is found by.
const (
	KindEmail        = "email" // primary
	KindPhone        = "phone"
	KindUsername     = "username"
	KindFurtherEmail = "further_email"
	KindFurtherPhone = "further_phone"
)

// An Address is a further address of a user.
type Address struct {
	ID      string    // empty of one that became the primary one
	Kind    string    // KindFurtherEmail or KindFurtherPhone
	Value   string    // canonical, see ParseEmail and ParsePhone
	AddedAt time.Time // zero if that is not known, as of one that was imported without
	// Held says that it finds its user but signs nobody in, until it is proved again:
	// whoever was in the account may have put it there.
	Held bool
}

// IsEmail reports whether a is an e-mail address, and no phone number.
func (a Address) IsEmail() bool { return a.Kind == KindFurtherEmail }

// A Match is the user that something typed leads to, and what it is of theirs.
type Match struct {
	User
	Kind string // empty if nobody was found
	held bool
}

// Is reports whether what was typed is an address of the user, primary or not.
func (m Match) Is() bool { return m.Kind != "" && m.Kind != KindUsername }

// IsPrimary reports whether it is a primary address of the user.
func (m Match) IsPrimary() bool { return m.Kind == KindEmail || m.Kind == KindPhone }

// IsProved reports whether it is an address that the user has proved, and that counts.
func (m Match) IsProved() bool {
	switch m.Kind {
	case KindEmail:
		return m.EmailVerified
	case KindPhone:
		return m.PhoneVerified
	}
	return m.Is() && !m.held
}

// Match is FindByLogin for those who have to know by what the user was found.
func (s *Service) Match(ctx context.Context, db database.Reader, by access.Actor, login string) (Match, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return Match{}, err
	}
	return findMatch(ctx, db, by.Tenant, loginKey(login))
}

// Addresses lists the further addresses of a user by when they were added; no more than
// MaxAddresses. The actor needs users:read.
func (s *Service) Addresses(ctx context.Context, db database.Reader, by access.Actor, id string) ([]Address, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, err
	}
	if !secret.IsID(id) {
		return nil, ErrNotFound
	}
	return listAddresses(ctx, db, by.Tenant, id)
}

// AddressesOf lists the further addresses of some users, each by when they were added.
// Who has none is left out. The actor needs users:read.
func (s *Service) AddressesOf(ctx context.Context, db database.Reader, by access.Actor, ids []string) (map[string][]Address, error) {
	if err := by.Require(access.UsersRead); err != nil || len(ids) == 0 {
		return nil, err
	}
	of := map[string][]Address{}
	cond, arg := db.Among("$2", ids)
	rows, err := db.Query(ctx, "SELECT "+addressColumns+", user_id FROM user_identifiers WHERE tenant_id = $1 AND user_id "+cond+" AND id IS NOT NULL ORDER BY COALESCE(added_at, 0), value", by.Tenant, arg)
	_, err = database.Collect(rows, err, "list addresses of users", func(row database.Scanner) (Address, error) {
		var user string
		a, err := scanAddress(row, &user)
		of[user] = append(of[user], a)
		return a, err
	})
	return of, err
}

// AddedAt is when an address, in its canonical form, became its user's: the zero time if
// that is not known, as of one that was imported. The actor needs users:read.
func (s *Service) AddedAt(ctx context.Context, db database.Reader, by access.Actor, address string) (time.Time, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return time.Time{}, err
	}
	return addedAt(ctx, db, by.Tenant, address)
}

// AddAddress gives a user an address, e-mail or phone by its kind, that was just proved to
// be theirs. A user who has no primary one gets it as that, and so does who has not proved
// that very one. One that was held counts again, and one that they have is no error.
// ErrExists if it is somebody else's. The actor needs users:write, and what is in the
// user's roles.
func (s *Service) AddAddress(ctx context.Context, tx *database.Tx, by access.Actor, id string, a Address) (Address, error) {
	u, mine, err := s.holdAddresses(ctx, tx, by, id)
	if err != nil {
		return a, err
	}
	if a, err = a.Canonical(); err != nil {
		return a, err
	}
	if primary, proved := u.primary(a.Kind); primary == "" || primary == a.Value {
		a.ID, a.AddedAt = "", tx.Now
		if primary == a.Value && proved {
			return a, nil
		}
		_, err := s.update(ctx, tx, by, id, a.asPrimary(), false)
		return a, err
	}
	if i := slices.IndexFunc(mine, func(b Address) bool { return b.Value == a.Value }); i >= 0 {
		return s.confirm(tx, by, id, mine[i])
	}
	if len(mine) >= MaxAddresses {
		return a, ErrAddresses
	}
	a.ID, a.AddedAt, a.Held = tx.NewID(), tx.Now, false
	if err := reclaim(ctx, tx, by.Tenant, id, u.identifiers(mine...), u.identifiers(append(slices.Clone(mine), a)...)); err != nil {
		return a, err
	}
	if err := noteAddress(tx, by, id, "user.address_added", a, ""); err != nil {
		return a, err
	}
	if a.IsEmail() {
		return a, s.Tell(ctx, tx, by, u, "email_added")
	}
	return a, s.Tell(ctx, tx, by, u, "phone_added")
}

// confirm makes an address that was held count again.
func (s *Service) confirm(tx *database.Tx, by access.Actor, user string, a Address) (Address, error) {
	if !a.Held {
		return a, nil
	}
	a.Held = false
	tx.Later("UPDATE user_identifiers SET held_at = NULL WHERE tenant_id = $1 AND value = $2 AND user_id = $3", by.Tenant, a.Value, user)
	return a, noteAddress(tx, by, user, "user.address_confirmed", a, "")
}

// MakePrimary makes a further address the primary one, and the primary one a further one
// if it was proved; else that is dropped. It returns ErrAddressNotFound and
// ErrAddressHeld. The actor needs users:write, and what is in the user's roles.
func (s *Service) MakePrimary(ctx context.Context, tx *database.Tx, by access.Actor, id, address string) (User, error) {
	_, mine, err := s.holdAddresses(ctx, tx, by, id)
	if err != nil {
		return User{}, err
	}
	a, err := pick(mine, address)
	if err == nil && a.Held {
		err = ErrAddressHeld
	}
	if err != nil {
		return User{}, err
	}
	u, err := s.update(ctx, tx, by, id, a.asPrimary(), true)
	if err != nil {
		return User{}, err
	}
	return u, noteAddress(tx, by, id, "user.address_made_primary", a, "")
}

// RemoveAddress takes a further address off a user and returns it. It returns
// ErrAddressNotFound. The actor needs users:write, and what is in the user's roles.
func (s *Service) RemoveAddress(ctx context.Context, tx *database.Tx, by access.Actor, id, address string) (Address, error) {
	u, mine, err := s.holdAddresses(ctx, tx, by, id)
	if err != nil {
		return Address{}, err
	}
	a, err := pick(mine, address)
	if err != nil {
		return a, err
	}
	if err := reclaim(ctx, tx, by.Tenant, id, u.identifiers(mine...), u.identifiers(except(mine, a)...)); err != nil {
		return a, err
	}
	if err := noteAddress(tx, by, id, "user.address_removed", a, ""); err != nil {
		return a, err
	}
	return a, s.Tell(ctx, tx, by, u, a.Kind+"_removed")
}

// HoldAddresses has the further addresses of a user, but for one that was just proved,
// sign nobody in until they are proved again: the user has come back to an account that
// somebody else may have been in. The actor needs no right beside the one to do that.
func (s *Service) HoldAddresses(ctx context.Context, tx *database.Tx, by access.Actor, id, but, reason string) error {
	n, err := tx.Exec(ctx, `
		UPDATE user_identifiers SET held_at = $4
		WHERE tenant_id = $1 AND user_id = $2 AND id IS NOT NULL AND value <> $3 AND held_at IS NULL`, by.Tenant, id, but, tx.Millis())
	if err != nil {
		return fmt.Errorf("hold addresses: %w", err)
	}
	if n == 0 {
		return nil
	}
	return audit.Append(tx, by, audit.Event{Action: "user.addresses_held", Target: "user", TargetID: id, Reason: reason, Detail: map[string]any{"count": n}})
}

// RemoveAddressesSince takes off a user the further addresses that were added at a moment
// or later: an intruder may have put them there. If a primary one is that young, the
// oldest that is not, and is not held, takes its place. The actor needs users:write, and
// what is in the user's roles.
func (s *Service) RemoveAddressesSince(ctx context.Context, tx *database.Tx, by access.Actor, id string, since time.Time, reason string) (User, error) {
	u, mine, err := s.holdAddresses(ctx, tx, by, id)
	if err != nil {
		return u, err
	}
	isOld := func(a Address) bool { return a.AddedAt.Before(since) && !a.Held }
	for _, kind := range []string{KindFurtherEmail, KindFurtherPhone} {
		at := slices.IndexFunc(mine, func(a Address) bool { return a.Kind == kind && isOld(a) })
		primary, _ := u.primary(kind)
		if at < 0 || primary == "" {
			continue
		}
		added, err := addedAt(ctx, tx, by.Tenant, primary)
		if err != nil {
			return u, err
		}
		if added.Before(since) {
			continue
		}
		if u, err = s.MakePrimary(ctx, tx, by, id, mine[at].ID); err != nil {
			return u, err
		}
	}
	if mine, err = listAddresses(ctx, tx, by.Tenant, id); err != nil {
		return u, err
	}
	for _, a := range mine {
		if a.AddedAt.Before(since) {
			continue
		}
		if _, err := s.RemoveAddress(ctx, tx, by, id, a.ID); err != nil {
			return u, err
		}
	}
	return u, nil
}

// holdAddresses returns a user whose addresses the actor may change, and the further
// ones. It holds the row, so that of two changes at once the second sees what the first
// has done.
func (s *Service) holdAddresses(ctx context.Context, tx *database.Tx, by access.Actor, id string) (User, []Address, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return User{}, nil, err
	}
	if !secret.IsID(id) {
		return User{}, nil, ErrNotFound
	}
	u, err := touchUser(ctx, tx, by.Tenant, id)
	if err == nil {
		err = guard(ctx, tx, by, u)
	}
	if err != nil {
		return User{}, nil, err
	}
	mine, err := listAddresses(ctx, tx, by.Tenant, id)
	return u, mine, err
}

// Canonical returns a with its value in its one form, see ParseEmail and ParsePhone.
func (a Address) Canonical() (Address, error) {
	var err error
	switch a.Kind {
	case KindFurtherEmail:
		a.Value, err = ParseEmail(a.Value)
	case KindFurtherPhone:
		a.Value, err = ParsePhone(a.Value)
	default:
		err = fmt.Errorf("%q is no kind of address", a.Kind)
	}
	return a, err
}

// checkAll puts addresses into their one form, each once.
func checkAll(list []Address) ([]Address, error) {
	out := make([]Address, 0, len(list))
	for _, a := range list {
		a, err := a.Canonical()
		if err != nil {
			return nil, err
		}
		if !hasAddress(out, a.Value) {
			out = append(out, a)
		}
	}
	return out, nil
}

func hasAddress(list []Address, value string) bool {
	return slices.ContainsFunc(list, func(a Address) bool { return a.Value == value })
}

// join returns mine and behind them those of c's addresses that u has not yet, with new
// ids. Nothing was added in the future: it would count as an intruder's for ever.
func (c Change) join(tx *database.Tx, u User, mine []Address) []Address {
	all := slices.Clone(mine)
	for _, a := range c.Addresses {
		if primary, _ := u.primary(a.Kind); a.Value == primary || hasAddress(mine, a.Value) {
			continue
		}
		all = append(all, a.settled(tx))
	}
	return all
}

// settled is an address that came from elsewhere, as it is kept here.
func (a Address) settled(tx *database.Tx) Address {
	a.ID = tx.NewID()
	if a.AddedAt.After(tx.Now) {
		a.AddedAt = tx.Now
	}
	return a
}

// primary is the address in force of the kind that a further one has.
func (u User) primary(kind string) (address string, proved bool) {
	if kind == KindFurtherPhone {
		return u.Phone, u.PhoneVerified
	}
	return u.Email, u.EmailVerified
}

// asPrimary is the change that makes a, which was proved, the primary address.
func (a Address) asPrimary() Change {
	if a.Kind == KindFurtherPhone {
		return Change{Phone: new(a.Value), PhoneVerified: new(true)}
	}
	return Change{Email: new(a.Value), EmailVerified: new(true)}
}

func pick(list []Address, id string) (Address, error) {
	i := slices.IndexFunc(list, func(a Address) bool { return a.ID == id })
	if i < 0 {
		return Address{}, ErrAddressNotFound
	}
	return list[i], nil
}

// except returns a list without one of its addresses.
func except(list []Address, a Address) []Address {
	return slices.DeleteFunc(slices.Clone(list), func(b Address) bool { return b.ID == a.ID })
}

func noteAddress(tx *database.Tx, by access.Actor, user, action string, a Address, reason string) error {
	kind := KindEmail
	if !a.IsEmail() {
		kind = KindPhone
	}
	return audit.Append(tx, by, audit.Event{Action: action, Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"address": a.ID, "kind": kind}})
}

func findMatch(ctx context.Context, db database.Reader, tenant, value string) (Match, error) {
	var m Match
	var held *int64
	u, err := scanUser(db.QueryRow(ctx, `
		SELECT `+columnsOfU+`, i.kind, i.held_at FROM user_identifiers AS i JOIN users AS u ON u.tenant_id = i.tenant_id AND u.id = i.user_id
		WHERE i.tenant_id = $1 AND i.value = $2`, tenant, value), &m.Kind, &held)
	m.User, m.held = u, held != nil
	if err != nil {
		m = Match{}
	}
	return m, notFound(err, "find user by identifier")
}

func listAddresses(ctx context.Context, db database.Reader, tenant, user string) ([]Address, error) {
	rows, err := db.Query(ctx, `
		SELECT `+addressColumns+` FROM user_identifiers
		WHERE tenant_id = $1 AND user_id = $2 AND id IS NOT NULL ORDER BY COALESCE(added_at, 0), id`, tenant, user)
	return database.Collect(rows, err, "list addresses", func(row database.Scanner) (Address, error) { return scanAddress(row) })
}

const addressColumns = "id, kind, value, added_at, held_at"

// scanAddress reads an address, and whatever the statement has behind its columns.
func scanAddress(row database.Scanner, more ...any) (a Address, err error) {
	var added, held *int64
	err = row.Scan(append([]any{&a.ID, &a.Kind, &a.Value, &added, &held}, more...)...)
	a.AddedAt, a.Held = momentOf(added), held != nil
	return a, err
}

// addedAt is when a user got what they are found by: the beginning of all times if that is
// not known.
func addedAt(ctx context.Context, db database.Reader, tenant, value string) (time.Time, error) {
	var added *int64
	err := db.QueryRow(ctx, "SELECT added_at FROM user_identifiers WHERE tenant_id = $1 AND value = $2", tenant, value).Scan(&added)
	if errors.Is(err, database.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look when an address was added: %w", err)
	}
	return momentOf(added), nil
}

func momentOf(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}
