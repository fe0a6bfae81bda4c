package kobil

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// userForm is a user as Get User shows one.
type userForm struct {
	ID              string               `json:"id"`
	Username        string               `json:"username"`
	FirstName       string               `json:"firstName"`
	LastName        string               `json:"lastName"`
	Email           string               `json:"email"`
	Enabled         bool                 `json:"enabled"`
	EmailVerified   bool                 `json:"emailVerified"`
	Attributes      map[string][]*string `json:"attributes"`
	RequiredActions []string             `json:"requiredActions"`
	Admin           bool                 `json:"admin"`
}

func formOf(u user.User, roles []role.Role) (userForm, error) {
	attributes, err := withBasic(u)
	return userForm{
		ID: u.ID, Username: u.Login(), FirstName: u.FirstName, LastName: u.LastName, Email: u.Email, Enabled: u.IsActive,
		EmailVerified: u.EmailVerified, Attributes: attributes, RequiredActions: orNone(u.RequiredActions), Admin: isAdmin(u, roles),
	}, err
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// isAdmin reports whether u holds a role of administrators.
func isAdmin(u user.User, roles []role.Role) bool {
	return slices.ContainsFunc(roles, func(r role.Role) bool { return r.IsAdmin && r.IsActive && slices.Contains(u.RoleIDs, r.ID) })
}

// named finds the user that an address names by username, e-mail address or phone
// number. To name a user is not to read one, so whoever may write need not be
// allowed to read as well.
func (s *Service) named(ctx context.Context, db database.Reader, by access.Actor, name string) (user.User, error) {
	if strings.TrimSpace(name) == "" {
		return user.User{}, errNoName
	}
	return s.Users.FindByLogin(ctx, db, by.With(access.UsersRead), name)
}

// lock is named for a change that depends on what the user was before: an update
// that changes nothing holds the row until the transaction ends.
func (s *Service) lock(ctx context.Context, tx *database.Tx, by access.Actor, name string) (user.User, error) {
	u, err := s.named(ctx, tx, by, name)
	if err != nil {
		return user.User{}, err
	}
	return s.Users.Update(ctx, tx, by, u.ID, user.Change{})
}

type userRequest struct {
	Name string `path:"userName" doc:"Username, e-mail address or phone number"`
}

// getUser takes an id as well. A username comes first, or whoever chose somebody
// else's id as a username would be shown the other's profile.
func (s *Service) getUser(ctx context.Context, by access.Actor, in userRequest) (out answer[userForm], err error) {
	if err := by.Require(access.UsersRead); err != nil {
		return out, err
	}
	u, err := s.named(ctx, s.DB, by, in.Name)
	if errors.Is(err, user.ErrNotFound) && secret.IsID(in.Name) {
		u, err = s.Users.Find(ctx, s.DB, by, in.Name)
	}
	if err != nil {
		return out, err
	}
	roles, err := role.All(ctx, s.DB, by.Tenant)
	if err != nil {
		return out, err
	}
	form, err := formOf(u, roles)
	return userFetched(form), err
}

// body is what create and update take. The contract writes some names with a
// capital; encoding/json takes any letter case.
type body struct {
	Username        *string      `json:"username" doc:"Letters, digits and $@(.)-*_[]~!&+; required to create"`
	FirstName       *string      `json:"firstName"`
	LastName        *string      `json:"lastName"`
	Email           *string      `json:"email"`
	EmailVerified   *bool        `json:"emailVerified"`
	Enabled         *bool        `json:"enabled"`
	Attributes      given        `json:"attributes" doc:"Each an array of strings, or a string"`
	Credentials     []credential `json:"credentials"`
	RequiredActions []string     `json:"RequiredActions" doc:"Those that begin with kobil- become the attribute digitaniumRequiredAction"`
	RealmRoles      []string     `json:"realmRoles" doc:"Roles of the tenant by name"`
	ClientRoles     []string     `json:"ClientRoles" doc:"Taken as realmRoles: applications have no roles of their own"`
}

type credential struct {
	Type      string `json:"type" doc:"password, also if absent"`
	Value     string `json:"value"`
	Temporary *bool  `json:"temporary" doc:"Must be changed at the next sign-in; true if absent"`
}

// change says what b alters of u; what it does not name stays.
func (b body) change(u user.User, roles []role.Role) (c user.Change, err error) {
	c = user.Change{Username: b.Username, FirstName: b.FirstName, LastName: b.LastName, Email: b.Email, EmailVerified: b.EmailVerified, IsActive: b.Enabled}
	if c.Username != nil && strings.TrimSpace(*c.Username) == "" {
		return c, errNoName
	}
	// Clients send back what they were given, and a user without a username was
	// shown with the e-mail address or phone number in its place.
	if c.Username != nil && u.Username == "" && strings.EqualFold(*c.Username, u.Login()) {
		c.Username = nil
	}
	if b.RealmRoles != nil || b.ClientRoles != nil {
		ids, err := idsOf(slices.Concat(b.RealmRoles, b.ClientRoles), roles)
		if err != nil {
			return c, err
		}
		c.RoleIDs = &ids
	}
	err = b.changeExtras(&c, u)
	return c, err
}

// changeExtras adds required actions and attributes to c. KOBIL's own required
// actions go where KOBIL shows them, among the attributes.
func (b body) changeExtras(c *user.Change, u user.User) (err error) {
	attributes, base := maps.Clone(b.Attributes), map[string]json.RawMessage(nil)
	if b.RequiredActions != nil {
		theirs, others := split(b.RequiredActions, isKobilAction)
		c.RequiredActions = &others
		if len(theirs) > 0 && attributes == nil {
			attributes = given{}
			if base, err = members(u.Attributes); err != nil {
				return err
			}
		}
		if len(theirs) > 0 {
			attributes[requiredActionAttribute] = encode(theirs)
		}
	}
	if attributes != nil {
		c.Attributes, err = attributes.stored(base)
	}
	return err
}

// split returns those for which yes is true, and the others, which are never nil.
func split(names []string, yes func(string) bool) (those, others []string) {
	others = []string{}
	for _, name := range names {
		if yes(name) {
			those = append(those, name)
		} else {
			others = append(others, name)
		}
	}
	return those, others
}

// idsOf returns the ids of roles by name.
func idsOf(names []string, roles []role.Role) ([]string, error) {
	ids := []string{}
	for _, name := range names {
		i := slices.IndexFunc(roles, func(r role.Role) bool { return r.Slug == name })
		if i < 0 {
			return nil, web.ErrBody.Saying("A role in realmRoles or ClientRoles does not exist.").In("realmRoles")
		}
		if !slices.Contains(ids, roles[i].ID) {
			ids = append(ids, roles[i].ID)
		}
	}
	return ids, nil
}

// A newPassword is ready to be stored; without a hash there is none.
type newPassword struct {
	hash      string
	temporary bool
}

// passwordPolicy is what a password that an administrator sets must meet. Sign-in
// asks for more where it stands alone.
func passwordPolicy(context ...*string) password.Policy {
	p := password.Policy{MinLength: password.MinWithSecondFactor}
	for _, s := range context {
		if s != nil {
			p.Context = append(p.Context, *s)
		}
	}
	return p
}

// hash judges and hashes the password among credentials, the last if there are
// several. It is slow on purpose, hence before the transaction.
func (s *Service) hash(ctx context.Context, b body) (newPassword, error) {
	p := newPassword{}
	for i, c := range b.Credentials {
		switch {
		case strings.EqualFold(c.Type, "ACTIVATION_CODE"):
			return p, errNotSupported
		case c.Type != "" && !strings.EqualFold(c.Type, "password"):
			return p, web.ErrBody.Saying("The type of a credential is password.").In("credentials")
		case i < len(b.Credentials)-1:
			continue
		}
		if err := password.Check(c.Value, passwordPolicy(b.Username, b.Email, b.FirstName, b.LastName)); err != nil {
			return p, err
		}
		var err error
		if p.hash, err = s.Hasher.Hash(ctx, c.Value); err != nil {
			return p, err
		}
		p.temporary = c.Temporary == nil || *c.Temporary
	}
	return p, nil
}

func (p newPassword) set(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if p.hash == "" {
		return nil
	}
	return password.Set(ctx, tx, by, id, p.hash, p.temporary)
}

type postUserRequest struct{ body }

// UnmarshalJSON implements json.Unmarshaler.
func (r *postUserRequest) UnmarshalJSON(raw []byte) error { return decode(raw, &r.body) }

// Schema tells the API description what the body holds.
func (postUserRequest) Schema() any { return body{} }

func (s *Service) postUser(ctx context.Context, by access.Actor, in postUserRequest) (answer[userForm], error) {
	return s.write(ctx, by, in.body, userCreated, func(tx *database.Tx, roles []role.Role) (nobody, u user.User, err error) {
		if in.Username == nil {
			return nobody, u, errNoName
		}
		c, err := in.change(nobody, roles)
		if err != nil {
			return nobody, u, err
		}
		u, err = s.Users.Create(ctx, tx, by, newUser(c))
		return nobody, u, err
	})
}

// newUser is the user that a change of nobody makes.
func newUser(c user.Change) user.User {
	return user.User{
		Username: orZero(c.Username), Email: orZero(c.Email), FirstName: orZero(c.FirstName), LastName: orZero(c.LastName), EmailVerified: orZero(c.EmailVerified),
		IsActive: orZero(c.IsActive), Attributes: c.Attributes, RoleIDs: orZero(c.RoleIDs), RequiredActions: orZero(c.RequiredActions),
	}
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

type putUserRequest struct {
	Name string `path:"userName" doc:"Username, e-mail address or phone number"`
	body
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *putUserRequest) UnmarshalJSON(raw []byte) error { return decode(raw, &r.body) }

// Schema tells the API description what the body holds.
func (putUserRequest) Schema() any { return body{} }

func (s *Service) putUser(ctx context.Context, by access.Actor, in putUserRequest) (answer[userForm], error) {
	// The contract's defaults on update, the opposite of those on create.
	for _, field := range []**bool{&in.Enabled, &in.EmailVerified} {
		if *field == nil {
			*field = new(true)
		}
	}
	return s.write(ctx, by, in.body, userReplaced, func(tx *database.Tx, roles []role.Role) (before, u user.User, err error) {
		if before, err = s.lock(ctx, tx, by, in.Name); err != nil {
			return before, u, err
		}
		c, err := in.change(before, roles)
		if err != nil {
			return before, u, err
		}
		u, err = s.Users.Update(ctx, tx, by, before.ID, c)
		return before, u, err
	})
}

// write is what create and update have in common: the password is hashed, then
// one transaction stores user and password.
func (s *Service) write(ctx context.Context, by access.Actor, in body, say func(userForm) answer[userForm], store func(*database.Tx, []role.Role) (before, u user.User, err error)) (out answer[userForm], err error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return out, err
	}
	roles, err := role.All(ctx, s.DB, by.Tenant)
	if err != nil {
		return out, err
	}
	pass, err := s.hash(ctx, in)
	if err != nil {
		return out, err
	}
	var u user.User
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		before, made, err := store(tx, roles)
		if u = made; err != nil {
			return err
		}
		if err := pass.set(ctx, tx, by, u.ID); err != nil || pass.hash == "" || before.ID == "" {
			return err
		}
		return s.Users.Tell(ctx, tx, by, before, "password_changed")
	})
	if err != nil {
		return out, err
	}
	form, err := formOf(u, roles)
	return say(form), err
}

type putProfileRequest struct {
	Name string `path:"userName" doc:"Username, e-mail address or phone number"`
	profile
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *putProfileRequest) UnmarshalJSON(raw []byte) error { return decode(raw, &r.profile) }

// Schema tells the API description what the body holds.
func (putProfileRequest) Schema() any { return profile{} }

type profile struct {
	FirstName  *string `json:"firstName"`
	LastName   *string `json:"lastName"`
	Email      *string `json:"email"`
	Attributes given   `json:"attributes" doc:"Each a string, or an array of strings"`
}

// putProfile adds to the attributes, as the profile of a user is edited piece by
// piece; Update User replaces them.
func (s *Service) putProfile(ctx context.Context, by access.Actor, in putProfileRequest) (done, error) {
	err := s.change(ctx, by, in.Name, func(u user.User) (c user.Change, err error) {
		c = user.Change{FirstName: in.FirstName, LastName: in.LastName, Email: in.Email}
		if in.Attributes == nil {
			return c, nil
		}
		base, err := members(u.Attributes)
		if err != nil {
			return c, err
		}
		c.Attributes, err = in.Attributes.stored(base)
		return c, err
	})
	return profileUpdated, err
}

// change changes the user that an address names, in one transaction.
func (s *Service) change(ctx context.Context, by access.Actor, name string, alter func(user.User) (user.Change, error)) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.lock(ctx, tx, by, name)
		if err != nil {
			return err
		}
		c, err := alter(u)
		if err != nil {
			return err
		}
		_, err = s.Users.Update(ctx, tx, by, u.ID, c)
		return err
	})
}

type putEnableRequest struct {
	Name    string `path:"userName" json:"-" doc:"Username, e-mail address or phone number"`
	Enabled *bool  `json:"enabled" schema:"required"`
}

func (s *Service) putEnable(ctx context.Context, by access.Actor, in putEnableRequest) (done, error) {
	if in.Enabled == nil {
		return done{}, web.ErrBody.Saying("enabled is required: true or false.").In("enabled")
	}
	return s.enable(ctx, by, in.Name, *in.Enabled)
}

func (s *Service) putDisable(ctx context.Context, by access.Actor, in userRequest) (done, error) {
	return s.enable(ctx, by, in.Name, false)
}

func (s *Service) enable(ctx context.Context, by access.Actor, name string, enabled bool) (done, error) {
	err := s.change(ctx, by, name, func(user.User) (user.Change, error) { return user.Change{IsActive: &enabled}, nil })
	return userUpdated, err
}

func (s *Service) deleteUser(ctx context.Context, by access.Actor, in userRequest) (done, error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return done{}, err
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.named(ctx, tx, by, in.Name)
		if err != nil {
			return err
		}
		return s.Users.Delete(ctx, tx, by, u.ID)
	})
	return userDeleted, err
}

// putLogout ends what applications hold even if there is no session, and then says that
// nobody was signed in.
func (s *Service) putLogout(ctx context.Context, by access.Actor, in userRequest) (answer[bool], error) {
	if err := by.Require(access.UsersWrite); err != nil {
		return userSignedOut, err
	}
	var ended []string
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.named(ctx, tx, by, in.Name)
		if err != nil {
			return err
		}
		if err := user.Guard(ctx, tx, by, u.ID); err != nil {
			return err
		}
		ended, err = s.EndSessions(ctx, tx, by, u.ID, "administrator")
		return err
	})
	if err == nil && len(ended) == 0 {
		err = errSignedOut
	}
	return userSignedOut, err
}
