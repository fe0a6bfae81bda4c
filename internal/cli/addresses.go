package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

type addressCommands struct {
	List    addressList    `cmd:"" help:"List a user's further addresses."`
	Add     addressAdd     `cmd:"" help:"Give a user a further address that is proved to be theirs."`
	Primary addressPrimary `cmd:"" help:"Make a further address the primary one; the one before becomes a further one if it was proved."`
	Remove  addressRemove  `cmd:"" help:"Take a further address off a user."`
}

type addressList struct {
	onTenant
	format
	oneUser
}

// Run lists.
func (c *addressList) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, _ tenant.Tenant, by access.Actor) error {
		u, err := c.find(s, s.DB, by)
		if err != nil {
			return err
		}
		mine, err := s.Users.Addresses(s.ctx, s.DB, by, u.ID)
		if err != nil {
			return err
		}
		return list(p.out, c.JSON, user.AddressForms(mine), "ID TYPE ADDRESS HELD ADDED", func(a user.AddressForm) []any {
			return []any{*a.ID, a.Type, a.Value, a.Held, a.Added()}
		})
	})
}

// oneAddress names an address of a user, one that they have or are to get.
type oneAddress struct {
	oneUser
	Address string `arg:"" help:"E-mail address, or phone number in international form."`
}

// named is the address as it was typed.
func (o oneAddress) named() user.Address {
	kind := user.KindFurtherPhone
	if strings.Contains(o.Address, "@") {
		kind = user.KindFurtherEmail
	}
	return user.Address{Kind: kind, Value: o.Address}
}

// pick finds the id of a further address that the user has.
func (o oneAddress) pick(s *session, tx *database.Tx, by access.Actor, id string) (string, error) {
	mine, err := s.Users.Addresses(s.ctx, tx, by, id)
	if err != nil {
		return "", err
	}
	want, err := o.named().Canonical()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(mine, func(a user.Address) bool { return a.Value == want.Value })
	if i < 0 {
		return "", user.ErrAddressNotFound
	}
	return mine[i].ID, nil
}

// write finds the user and has change do its work on them, in one transaction.
func (o oneAddress) write(p *program, on onTenant, change func(s *session, tx *database.Tx, by access.Actor, u user.User) error) error {
	return on.open(p, func(s *session, _ tenant.Tenant, by access.Actor) error {
		return s.write(func(tx *database.Tx) error {
			u, err := o.find(s, tx, by)
			if err != nil {
				return err
			}
			return change(s, tx, by, u)
		})
	})
}

// change has do change the address that was named, one of the user's further ones.
func (o oneAddress) change(p *program, on onTenant, do func(s *session, tx *database.Tx, by access.Actor, user, id string) error) error {
	return o.write(p, on, func(s *session, tx *database.Tx, by access.Actor, u user.User) error {
		id, err := o.pick(s, tx, by, u.ID)
		if err != nil {
			return err
		}
		return do(s, tx, by, u.ID, id)
	})
}

type addressAdd struct {
	onTenant
	oneAddress
	Verified bool `required:"" help:"Say that it is proved: only such addresses are kept."`
}

// Run adds.
func (c *addressAdd) Run(p *program) error {
	if !c.Verified {
		return usage("only addresses that are proved are kept: say --verified")
	}
	return c.write(p, c.onTenant, func(s *session, tx *database.Tx, by access.Actor, u user.User) error {
		a, err := s.Users.AddAddress(s.ctx, tx, by, u.ID, c.named())
		if err == nil && a.ID == "" {
			tx.OnCommit(func() {
				fmt.Fprintf(p.err, "%s is the primary one: there was no other that is proved.\n", cell(a.Value))
			})
		}
		return err
	})
}

type addressPrimary struct {
	onTenant
	oneAddress
}

// Run makes primary.
func (c *addressPrimary) Run(p *program) error {
	return c.change(p, c.onTenant, func(s *session, tx *database.Tx, by access.Actor, user, id string) error {
		_, err := s.Users.MakePrimary(s.ctx, tx, by, user, id)
		return err
	})
}

type addressRemove struct {
	onTenant
	oneAddress
}

// Run removes.
func (c *addressRemove) Run(p *program) error {
	return c.change(p, c.onTenant, func(s *session, tx *database.Tx, by access.Actor, user, id string) error {
		_, err := s.Users.RemoveAddress(s.ctx, tx, by, user, id)
		return err
	})
}
