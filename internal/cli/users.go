package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

type userCommands struct {
	List   userList   `cmd:"" help:"List users, all or those that match."`
	Get    userGet    `cmd:"" help:"Show a user."`
	Create userCreate `cmd:"" help:"Create a user."`
	Update userUpdate `cmd:"" help:"Change a user; what is not named stays."`
	Delete userDelete `cmd:"" help:"Delete a user and everything that hangs on it."`

	Address addressCommands `cmd:"" help:"Further e-mail addresses and phone numbers of a user."`

	Import userImport `cmd:"" help:"Import users from a file of this or another product."`
	Export userExport `cmd:"" help:"Export all users of a tenant."`
}

var noFilter user.Filter

type userList struct {
	onTenant
	format
	Search string `help:"Words, each a part of name, e-mail address, username or phone number; further addresses count."`
	Email  string `help:"The user of this address, which may be a further one."`
	Role   string `placeholder:"SLUG" help:"Holders of this role."`
	Active *bool  `negatable:"" help:"Only those who may sign in, or only those who may not."`
	Sort   string `default:"created_at" enum:"created_at,-created_at,username,-username" help:"Order: ${enum}. Default: ${default}."`
	Limit  int    `default:"100" help:"How many at most; 0 is all. Default: ${default}."`
}

// Run prints page by page, so that a million users need no more memory than one
// page.
func (c *userList) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		q := user.Query{Filter: user.Filter{Search: c.Search, Email: c.Email, IsActive: c.Active}, Sort: c.Sort}
		if c.Role != "" {
			ids, err := s.roleIDs(t.ID, []string{c.Role})
			if err != nil {
				return err
			}
			q.RoleID = ids[0]
		}
		return c.pages(p, s, t, by, q)
	})
}

func (c *userList) pages(p *program, s *session, t tenant.Tenant, by access.Actor, q user.Query) error {
	out := newUserPrinter(p.out, c.JSON)
	left, found := c.Limit, 0
	for {
		if q.Limit = user.MaxPage; c.Limit > 0 {
			q.Limit = min(left, user.MaxPage)
		}
		users, next, err := s.Users.List(s.ctx, s.DB, by, q)
		if err != nil {
			return err
		}
		if err := out.page(by.Tenant, users); err != nil {
			return err
		}
		left, found = left-len(users), found+len(users)
		if next == "" || c.Limit > 0 && left == 0 {
			if next != "" {
				fmt.Fprintf(p.err, "There are more than %d; see them with --limit 0.\n", c.Limit)
			}
			if found == 0 && !c.JSON {
				fmt.Fprintf(p.err, "No such user in tenant %s.\n", t.Slug)
			}
			return out.end()
		}
		q.Cursor = next
	}
}

// userPrinter prints users as they come.
type userPrinter struct {
	out    io.Writer
	asJSON bool
	header string
	first  bool
}

func newUserPrinter(out io.Writer, asJSON bool) *userPrinter {
	return &userPrinter{out: out, asJSON: asJSON, header: "ID LOGIN NAME ACTIVE VERIFIED CREATED", first: true}
}

func (u *userPrinter) page(tenant string, users []user.User) error {
	if !u.asJSON {
		err := list(u.out, false, users, u.header, func(x user.User) []any {
			return []any{x.ID, x.Login(), strings.TrimSpace(x.FirstName + " " + x.LastName), x.IsActive, x.EmailVerified, x.CreatedAt}
		})
		return err
	}
	for _, x := range users {
		before := ",\n  "
		if u.first {
			before = "[\n  "
		}
		u.first = false
		text, err := marshal(user.FullForm(tenant, x))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(u.out, "%s%s", before, text); err != nil {
			return err
		}
	}
	return nil
}

func (u *userPrinter) end() (err error) {
	switch {
	case u.asJSON && u.first:
		_, err = fmt.Fprintln(u.out, "[]")
	case u.asJSON:
		_, err = fmt.Fprintln(u.out, "\n]")
	}
	return err
}

// oneUser names a user.
type oneUser struct {
	User string `arg:"" placeholder:"WHO" help:"Id, e-mail address, username or phone number."`
}

func (o oneUser) find(s *session, db database.Reader, by access.Actor) (user.User, error) {
	if secret.IsID(o.User) {
		u, err := s.Users.Find(s.ctx, db, by, o.User)
		if !errors.Is(err, user.ErrNotFound) { // or somebody's username looks like an id
			return u, err
		}
	}
	return s.Users.FindByLogin(s.ctx, db, by, o.User)
}

// fullUser is a user in the form of the API, with what the API has at an address of its own.
type fullUser struct {
	user.Full
	Addresses []user.AddressForm `json:"addresses"`
}

// showUser prints a user: in the form of the API, or as lines.
func (s *session) showUser(p *program, asJSON bool, by access.Actor, u user.User) error {
	mine, err := s.Users.Addresses(s.ctx, s.DB, by, u.ID)
	if err != nil {
		return err
	}
	further := make([]string, len(mine))
	for i, a := range mine {
		further[i] = a.Value
	}
	full := fullUser{user.FullForm(by.Tenant, u), user.AddressForms(mine)}
	return show(p.out, asJSON, full, "id", u.ID, "email", u.Email, "email_verified", u.EmailVerified,
		"username", u.Username, "phone", u.Phone, "addresses", further, "first_name", u.FirstName, "last_name", u.LastName, "active", u.IsActive,
		"roles", u.RoleIDs, "attributes", string(u.Attributes), "created_at", u.CreatedAt, "modified_at", u.ModifiedAt, "last_login_at", u.LastLoginAt)
}

type userGet struct {
	onTenant
	format
	oneUser
}

// Run shows.
func (c *userGet) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, _ tenant.Tenant, by access.Actor) error {
		u, err := c.find(s, s.DB, by)
		if err != nil {
			return err
		}
		return s.showUser(p, c.JSON, by, u)
	})
}

// roleIDs turns the slugs of roles into ids.
func (s *session) roleIDs(tenant string, slugs []string) ([]string, error) {
	if len(slugs) == 0 {
		return nil, nil
	}
	roles, err := role.All(s.ctx, s.DB, tenant)
	if err != nil {
		return nil, err
	}
	bySlug, names := map[string]string{}, []string{}
	for _, r := range roles {
		bySlug[r.Slug] = r.ID
		names = append(names, r.Slug)
	}
	slices.Sort(names)
	ids := make([]string, len(slugs))
	for i, slug := range slugs {
		if ids[i] = bySlug[slug]; ids[i] == "" {
			return nil, usage("there is no role %q; there are: %s", slug, strings.Join(names, ", "))
		}
	}
	return ids, nil
}

// userFields are what create and update have in common.
type userFields struct {
	Email         *string  `help:"E-mail address."`
	Username      *string  `help:"Username."`
	Phone         *string  `help:"Phone number in international form, such as +4915112345678."`
	FirstName     *string  `help:"First name."`
	LastName      *string  `help:"Last name."`
	EmailVerified *bool    `negatable:"" help:"Whether the e-mail address is proved."`
	Active        *bool    `negatable:"" help:"Whether the user may sign in."`
	Role          []string `placeholder:"SLUG" help:"Role to hold, in place of those before; may be repeated."`
	PasswordStdin bool     `help:"Read a password from standard input, one line; on a terminal it is not shown."`
}

func (f userFields) change(roleIDs []string) user.Change {
	c := user.Change{
		Email: f.Email, Username: f.Username, Phone: f.Phone, FirstName: f.FirstName, LastName: f.LastName,
		EmailVerified: f.EmailVerified, IsActive: f.Active,
	}
	if f.Role != nil {
		c.RoleIDs = &roleIDs
	}
	return c
}

// hash reads a password and hashes it, which takes too long to do in a transaction.
// It is empty if none was asked for.
func (f userFields) hash(p *program, s *session) (string, error) {
	if !f.PasswordStdin {
		return "", nil
	}
	line, err := p.readPassword()
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if err := password.Check(line, f.policy()); err != nil {
		return "", err
	}
	return s.Hasher.Hash(s.ctx, line)
}

// policy is the one for passwords that an administrator sets.
func (f userFields) policy() password.Policy {
	policy := password.Policy{MinLength: password.MinWithSecondFactor}
	for _, s := range []*string{f.Email, f.Username, f.FirstName, f.LastName} {
		if s != nil {
			policy.Context = append(policy.Context, *s)
		}
	}
	return policy
}

type userCreate struct {
	onTenant
	format
	userFields
}

// Run creates.
func (c *userCreate) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		roles, err := s.roleIDs(t.ID, c.Role)
		if err != nil {
			return err
		}
		hash, err := c.hash(p, s)
		if err != nil {
			return err
		}
		u := user.User{IsActive: c.Active == nil || *c.Active, RoleIDs: roles}
		for to, from := range map[*string]*string{&u.Email: c.Email, &u.Username: c.Username, &u.Phone: c.Phone, &u.FirstName: c.FirstName, &u.LastName: c.LastName} {
			if from != nil {
				*to = *from
			}
		}
		u.EmailVerified = c.EmailVerified != nil && *c.EmailVerified
		err = s.write(func(tx *database.Tx) error {
			if u, err = s.Users.Create(s.ctx, tx, by, u); err != nil || hash == "" {
				return err
			}
			return password.Set(s.ctx, tx, by, u.ID, hash, false)
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return s.showUser(p, true, by, u)
		}
		_, err = fmt.Fprintln(p.out, u.ID)
		return err
	})
}

type userUpdate struct {
	onTenant
	format
	oneUser
	userFields
}

// Run updates.
func (c *userUpdate) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		roles, err := s.roleIDs(t.ID, given(c.Role))
		if err != nil {
			return err
		}
		hash, err := c.hash(p, s)
		if err != nil {
			return err
		}
		var u user.User
		err = s.write(func(tx *database.Tx) error {
			if u, err = c.find(s, tx, by); err != nil {
				return err
			}
			before := u
			if u, err = s.Users.Update(s.ctx, tx, by, u.ID, c.change(roles)); err != nil || hash == "" {
				return err
			}
			if err := password.Set(s.ctx, tx, by, u.ID, hash, false); err != nil {
				return err
			}
			return s.Users.Tell(s.ctx, tx, by, before, "password_changed")
		})
		if err != nil || !c.JSON {
			return err
		}
		return s.showUser(p, true, by, u)
	})
}

type userDelete struct {
	onTenant
	oneUser
	Yes bool `short:"y" help:"Do not ask."`
}

// Run deletes.
func (c *userDelete) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		u, err := c.find(s, s.DB, by)
		if err != nil {
			return err
		}
		if err := p.confirm(c.Yes, "delete user "+cell(u.Login())+" of tenant "+t.Slug, u.Login()); err != nil {
			return err
		}
		return s.write(func(tx *database.Tx) error { return s.Users.Delete(s.ctx, tx, by, u.ID) })
	})
}
