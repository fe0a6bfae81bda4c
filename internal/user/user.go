// Package user keeps the people of a tenant: their names, addresses, attributes
// and roles, and finds them again.
//
//	Create, Update, Delete   one user, with its audit event in the same transaction
//	Find, FindByLogin        by id; by username, e-mail address or phone number
//	AddAddress, MakePrimary  further addresses beside the primary ones
//	List, Count              pages by cursor, filters, search by part of a word
//	Indexer                  keeps the search index behind the changes
//
// Everything a user can be found by at sign-in is one row of user_identifiers,
// whose primary key makes it unique in the tenant whatever kind it is. An
// attacker would register an address that looks or folds like somebody else's,
// or rename themselves to it: identifiers have one canonical form, and those that
// fold into ASCII are refused.
package user

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
)

// Problems of users.
var (
	ErrNotFound = problem.New(problem.NotFound, "user_not_found", "There is no such user.")
	ErrExists   = problem.New(problem.Conflict, "user_exists", "The e-mail address, phone number or username belongs to a user already.")
	ErrInvalid  = problem.New(problem.Invalid, "invalid_user", "The user is not valid.")
	ErrRole     = problem.New(problem.Invalid, "invalid_role", "A role id has 24 hex digits.").In("role_id")
	// ErrOwnsOrganization is what package org refuses with, here for the lists of errors.
	ErrOwnsOrganization = problem.New(problem.Conflict, "last_organization_owner", "This is the organization's last active owner. Make somebody else an owner first.")
	ErrLastOwner        = problem.New(problem.Conflict, "last_owner", "The tenant would be left without an owner who can sign in. Make somebody else an owner first.")
	ErrNobody           = ErrInvalid.Saying("A user needs an e-mail address, a phone number or a username.")
)

// Limits of what a user may hold, in bytes.
const (
	maxName       = 256
	maxAttributes = 16 << 10
	maxKeys       = 500 // members of attributes
	maxRoles      = 100
	maxAction     = 254
)

// A User is a person known to one tenant.
type User struct {
	ID              string
	Username        string // as given, empty if the user has none
	Email           string // canonical form of ParseEmail, or empty
	Phone           string // E.164, or empty
	FirstName       string
	LastName        string
	EmailVerified   bool
	PhoneVerified   bool
	IsActive        bool
	Groups          json.RawMessage // as given; nil if unset
	Attributes      json.RawMessage // a JSON object; nil if unset
	RoleIDs         []string        // tenant-wide roles
	RequiredActions []string        // what the user must do at the next sign-in
	ConnectionID    string
	CreatedAt       time.Time
	ModifiedAt      time.Time
	LastLoginAt     time.Time // zero before the first sign-in
	Language        string    // that they have read last, BCP 47; empty for the tenant's
}

// Login is what the user is called in a list: username, else e-mail address,
// else phone number.
func (u User) Login() string {
	for _, s := range []string{u.Username, u.Email} {
		if s != "" {
			return s
		}
	}
	return u.Phone
}

// Service keeps users. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets; cursors are signed with it.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
	// Connection returns the id of the connection of users made by hand.
	Connection func(tenant string) string
	// Members lists the members of an organization, by creation. It belongs to a package
	// above this one, as do Leaves, which is told in the transaction that a user is
	// deleted, and Stops, which may refuse that one is deleted or disabled; those two may
	// be nil.
	Members func(ctx context.Context, by access.Actor, organization, cursor string, limit int) (users []User, next string, err error)
	Leaves  func(ctx context.Context, tx *database.Tx, by access.Actor, u User) error
	Stops   func(ctx context.Context, tx *database.Tx, by access.Actor, u User) error
	// News, if set, is told in the transaction what has changed in an account, as it was
	// before: "email_changed", "email_removed", "phone_changed", "phone_removed",
	// "email_added", "phone_added", "further_email_removed", "further_phone_removed" or
	// "password_changed". Its owner may have to be told.
	News func(ctx context.Context, tx *database.Tx, by access.Actor, before User, what string) error
	// Changed, if set, is told when it has changed what somebody may do, or whether they
	// may do anything.
	Changed func()

	totals  totals
	owners  sync.Map // tenant -> owner
	weighed atomic.Int64
}

// Check puts u into its normal form, or says what is wrong with it.
func (u *User) Check() error {
	var err error
	if u.Email != "" {
		if u.Email, err = ParseEmail(u.Email); err != nil {
			return err
		}
	}
	if u.Phone != "" {
		if u.Phone, err = ParsePhone(u.Phone); err != nil {
			return err
		}
	}
	if u.Username != "" {
		if u.Username, err = ParseUsername(u.Username); err != nil {
			return err
		}
	}
	if u.Login() == "" {
		return ErrNobody
	}
	if u.FirstName, err = parseName("first_name", u.FirstName); err != nil {
		return err
	}
	if u.LastName, err = parseName("last_name", u.LastName); err != nil {
		return err
	}
	return u.checkExtras()
}

func (u *User) checkExtras() error {
	u.EmailVerified = u.EmailVerified && u.Email != ""
	u.PhoneVerified = u.PhoneVerified && u.Phone != ""
	if len(u.Attributes) > maxAttributes || len(u.Groups) > maxAttributes {
		return ErrInvalid.Saying("Attributes and groups may have 16 KiB each.").In("raw_attributes")
	}
	if isNull(u.Attributes) {
		u.Attributes = nil
	}
	if isNull(u.Groups) {
		u.Groups = nil
	}
	if u.Attributes != nil {
		var members map[string]json.RawMessage
		if json.Unmarshal(u.Attributes, &members) != nil {
			return ErrInvalid.Saying("raw_attributes must be a JSON object.").In("raw_attributes")
		}
		if len(members) > maxKeys {
			return ErrInvalid.Saying("raw_attributes has at most %d members.", maxKeys).In("raw_attributes")
		}
	}
	for _, action := range u.RequiredActions {
		if len(action) > maxAction || !utf8.ValidString(action) || strings.ContainsFunc(action, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return ErrInvalid.Saying("A required action has at most %d bytes, all of them printable.", maxAction).In("required_actions")
		}
	}
	if len(u.RoleIDs) > maxRoles || len(u.RequiredActions) > maxRoles {
		return ErrInvalid.Saying("A user holds at most %d roles.", maxRoles).In("role_id")
	}
	for _, id := range u.RoleIDs {
		if !secret.IsID(id) {
			return ErrRole
		}
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func parseName(field, s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", ErrInvalid.Saying("%s has at most %d bytes and no control characters.", field, maxName).In(field)
	}
	return s, nil
}

// Create adds a user. ID, times and the connection are set here; of 50 at once
// with the same address one succeeds and the others get ErrExists. The actor
// needs users:write, and to give roles roles:write and what is in them.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, u User) (User, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return User{}, err
	}
	if len(u.RoleIDs) > 0 {
		if err := by.Require(access.RolesWrite); err != nil {
			return User{}, err
		}
	}
	if err := u.Check(); err != nil {
		return User{}, err
	}
	if err := checkRoles(ctx, tx, by, nil, u.RoleIDs); err != nil {
		return User{}, err
	}
	u.ID, u.CreatedAt, u.ModifiedAt, u.LastLoginAt = tx.NewID(), tx.Now, tx.Now, time.Time{}
	u.ConnectionID = s.Connection(by.Tenant)
	if err := claim(ctx, tx, by.Tenant, u.ID, u.identifiers()); err != nil {
		return User{}, err
	}
	insertUser(tx, by.Tenant, u)
	queueSearch(tx, by.Tenant, u.ID, u.ID)
	return u, audit.Append(tx, by, audit.Event{Action: "user.created", Target: "user", TargetID: u.ID})
}

// Find returns the user of an id. The actor needs users:read.
func (s *Service) Find(ctx context.Context, db database.Reader, by access.Actor, id string) (User, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return User{}, err
	}
	if !secret.IsID(id) {
		return User{}, ErrNotFound
	}
	return findUser(ctx, db, by.Tenant, id)
}

// FindByLogin returns the user of a username, e-mail address or phone number, in
// whatever spelling; further addresses count, see Match. The actor needs users:read.
func (s *Service) FindByLogin(ctx context.Context, db database.Reader, by access.Actor, login string) (User, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return User{}, err
	}
	m, err := findMatch(ctx, db, by.Tenant, loginKey(login))
	return m.User, err
}

// A Change says what to alter of a user; nil fields stay as they are.
type Change struct {
	Username        *string
	Email           *string
	Phone           *string
	FirstName       *string
	LastName        *string
	EmailVerified   *bool
	PhoneVerified   *bool
	IsActive        *bool
	Groups          json.RawMessage
	Attributes      json.RawMessage
	RoleIDs         *[]string
	RequiredActions *[]string
	// Addresses are further ones that come to those the user has, proved. Those that are
	// theirs already stay as they are.
	Addresses []Address
	// Untold says that the owner is not told, as for imports, which change many at once.
	Untold bool
}

// apply makes the changes to u and names those that alter something.
func (c Change) apply(u *User) (changed []string) {
	set := func(name string, to, field *string) {
		if to != nil && *to != *field {
			*field = *to
			changed = append(changed, name)
		}
	}
	flag := func(name string, to, field *bool) {
		if to != nil && *to != *field {
			*field = *to
			changed = append(changed, name)
		}
	}
	email, phone := u.Email, u.Phone
	set("username", c.Username, &u.Username)
	set("email", c.Email, &u.Email)
	set("phone", c.Phone, &u.Phone)
	set("first_name", c.FirstName, &u.FirstName)
	set("last_name", c.LastName, &u.LastName)
	// A new address is not proved because the old one was.
	u.EmailVerified = u.EmailVerified && u.Email == email
	u.PhoneVerified = u.PhoneVerified && u.Phone == phone
	flag("email_verified", c.EmailVerified, &u.EmailVerified)
	flag("phone_verified", c.PhoneVerified, &u.PhoneVerified)
	flag("is_active", c.IsActive, &u.IsActive)
	if c.Groups != nil {
		u.Groups, changed = c.Groups, append(changed, "groups")
	}
	if c.Attributes != nil {
		u.Attributes, changed = c.Attributes, append(changed, "attributes")
	}
	if c.RoleIDs != nil {
		u.RoleIDs, changed = *c.RoleIDs, append(changed, "roles")
	}
	if c.RequiredActions != nil {
		u.RequiredActions, changed = *c.RequiredActions, append(changed, "required_actions")
	}
	if len(c.Addresses) > 0 {
		changed = append(changed, "addresses")
	}
	return changed
}

// Update changes a user and returns it. Nothing to change is no error. The actor
// needs users:write, and to change roles roles:write and what is in those given and
// taken; to change how somebody with roles signs in, what is in theirs. ErrLastOwner if
// the tenant would be left without an active owner.
//
// A further address that becomes the primary one stays proved; the primary one that was
// there is the user's no more, see MakePrimary.
func (s *Service) Update(ctx context.Context, tx *database.Tx, by access.Actor, id string, c Change) (User, error) {
	return s.update(ctx, tx, by, id, c, false)
}

// update is Update. It may keep a proved primary address that another one takes the place
// of as a further one.
func (s *Service) update(ctx context.Context, tx *database.Tx, by access.Actor, id string, c Change, keep bool) (User, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return User{}, err
	}
	if c.RoleIDs != nil {
		if err := by.Require(access.RolesWrite); err != nil {
			return User{}, err
		}
	}
	if !secret.IsID(id) {
		return User{}, ErrNotFound
	}
	// Writes first, to hold the row: of two updates at once the second sees the
	// first one's result.
	old, err := touchUser(ctx, tx, by.Tenant, id)
	if err != nil {
		return User{}, err
	}
	if err := normalise(&c); err != nil {
		return User{}, err
	}
	if c.isSensitive() {
		if err := guard(ctx, tx, by, old); err != nil {
			return User{}, err
		}
	}
	u := old
	changed := c.apply(&u)
	if len(changed) == 0 {
		return old, nil
	}
	if err := u.Check(); err != nil {
		return User{}, err
	}
	if err := checkRoles(ctx, tx, by, old.RoleIDs, u.RoleIDs); err != nil {
		return User{}, err
	}
	if err := keepOwner(ctx, tx, by.Tenant, old, u); err != nil {
		return User{}, err
	}
	if old.IsActive && !u.IsActive {
		if err := s.stops(ctx, tx, by, old); err != nil {
			return User{}, err
		}
	}
	u.ModifiedAt = tx.Now
	if err := s.rename(ctx, tx, by.Tenant, old, &u, c, keep); err != nil {
		return User{}, err
	}
	if err := updateUser(ctx, tx, by.Tenant, u, c.RoleIDs != nil); err != nil {
		return User{}, err
	}
	queueSearch(tx, by.Tenant, u.ID, u.ID)
	if c.RoleIDs != nil || old.IsActive != u.IsActive {
		s.changed(tx)
	}
	if old.IsActive && !u.IsActive {
		if _, err := session.EndAll(ctx, tx, by, id, "user_disabled"); err != nil {
			return User{}, err
		}
	}
	if err := audit.Append(tx, by, audit.Event{Action: "user.updated", Target: "user", TargetID: id, Detail: map[string]any{"changed": changed}}); err != nil || c.Untold {
		return u, err
	}
	return u, s.tellAddresses(ctx, tx, by, old, u)
}

// tellAddresses tells of primary addresses that have taken another's place.
func (s *Service) tellAddresses(ctx context.Context, tx *database.Tx, by access.Actor, old, u User) error {
	for _, a := range []struct{ kind, old, new string }{{"email", old.Email, u.Email}, {"phone", old.Phone, u.Phone}} {
		what := a.kind + "_changed"
		if a.new == "" {
			what = a.kind + "_removed"
		}
		if a.old == a.new {
			continue
		}
		if err := s.Tell(ctx, tx, by, old, what); err != nil {
			return err
		}
	}
	return nil
}

// Tell passes on what has changed in an account, see News.
func (s *Service) Tell(ctx context.Context, tx *database.Tx, by access.Actor, before User, what string) error {
	if s.News == nil {
		return nil
	}
	return s.News(ctx, tx, by, before, what)
}

// rename has u found by what it is found by from now on, which may be nothing new.
func (s *Service) rename(ctx context.Context, tx *database.Tx, tenant string, old User, u *User, c Change, keep bool) error {
	if slices.Equal(old.identifiers(), u.identifiers()) && len(c.Addresses) == 0 {
		return nil
	}
	mine, err := listAddresses(ctx, tx, tenant, u.ID)
	if err != nil {
		return err
	}
	was := old.identifiers(mine...)
	for _, a := range mine {
		u.EmailVerified = u.EmailVerified || a.Value == u.Email && !a.Held && c.EmailVerified == nil
		u.PhoneVerified = u.PhoneVerified || a.Value == u.Phone && !a.Held && c.PhoneVerified == nil
	}
	if keep && old.Email != u.Email && old.EmailVerified {
		mine = append(mine, Address{ID: tx.NewID(), Kind: KindFurtherEmail, Value: old.Email})
	}
	if keep && old.Phone != u.Phone && old.PhoneVerified {
		mine = append(mine, Address{ID: tx.NewID(), Kind: KindFurtherPhone, Value: old.Phone})
	}
	all := c.join(tx, *u, mine)
	if len(all) > len(mine) && len(all) > MaxAddresses {
		return ErrAddresses
	}
	if err := reclaim(ctx, tx, tenant, u.ID, was, u.identifiers(all...)); err != nil {
		return err
	}
	for _, a := range all[len(mine):] {
		setFurther(tx, tenant, u.ID, a)
	}
	return nil
}

// isSensitive reports whether c touches how the user signs in.
func (c Change) isSensitive() bool {
	return c.Username != nil || c.Email != nil || c.Phone != nil || c.EmailVerified != nil || c.PhoneVerified != nil || c.IsActive != nil || c.RequiredActions != nil || len(c.Addresses) > 0
}

// normalise brings addresses of a change into the form they are compared in.
func normalise(c *Change) error {
	for _, f := range []struct {
		value *string
		parse func(string) (string, error)
	}{{c.Email, ParseEmail}, {c.Phone, ParsePhone}, {c.Username, ParseUsername}} {
		if f.value == nil || *f.value == "" {
			continue
		}
		v, err := f.parse(*f.value)
		if err != nil {
			return err
		}
		*f.value = v
	}
	var err error
	c.Addresses, err = checkAll(c.Addresses)
	return err
}

// HasActiveAccount is the condition, for statements of packages above, that the user of a
// row m, with the columns tenant_id and user_id, has an account that is active.
const HasActiveAccount = `EXISTS (SELECT 1 FROM users WHERE users.tenant_id = m.tenant_id AND users.id = m.user_id AND users.is_active)`

func (s *Service) stops(ctx context.Context, tx *database.Tx, by access.Actor, u User) error {
	if s.Stops == nil {
		return nil
	}
	return s.Stops(ctx, tx, by, u)
}

// Delete removes a user and, through foreign keys, everything that hangs on it.
// The actor needs users:write, and what is in the user's roles. ErrLastOwner for the
// tenant's only active owner.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	if !secret.IsID(id) {
		return ErrNotFound
	}
	u, err := touchUser(ctx, tx, by.Tenant, id)
	if err != nil {
		return err
	}
	if err := guard(ctx, tx, by, u); err != nil {
		return err
	}
	if err := keepOwner(ctx, tx, by.Tenant, u, User{}); err != nil {
		return err
	}
	if err := s.stops(ctx, tx, by, u); err != nil {
		return err
	}
	s.changed(tx)
	if s.Leaves != nil {
		if err := s.Leaves(ctx, tx, by, u); err != nil {
			return err
		}
	}
	if err := deleteUser(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "user.deleted", Target: "user", TargetID: id})
}
