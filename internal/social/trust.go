package social

import (
	"context"
	"errors"
	"fmt"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// Whoever may write connections could point one that people use at a service of their
// own, which then says that anybody has come. So an identity counts only for a profile
// that came by what it was linked under; after a change of that, the person proves here
// once more which account is theirs. It is a hash that is compared and not a moment, so
// that a mistake that is mended costs nobody anything.
//
// And who holds something in the whole tenant is not signed in on a service's word alone:
// the account may have been made by it for somebody who was not there.

// trusts is a hash of those settings of a connection that can decide whom an answer shows.
// All are but those that are named here, so that a new one counts until somebody has
// thought of it.
func (s *Service) trusts(c Connection) []byte {
	o := c.Settings
	o.TokenAuth, o.NoPKCE, o.Scopes, o.KeepTokens, o.NoSignUp = "", false, nil, false, false
	// They let fewer people in, or say what an address is good for, which is no account.
	o.HostedDomain, o.EmailDomains = "", nil
	// Tokens name the directory as issuer, which is part of an identity.
	o.Directory = ""
	// What our secret is made of.
	o.TeamID, o.KeyID = "", ""
	o.Claims = nil
	if path := c.Settings.Claims["subject"]; path != "" && path != s.provider(c.Provider).usual("subject") {
		o.Claims = map[string]string{"subject": path}
	}
	return secret.Hash(c.Provider + "\n" + c.ClientID + "\n" + encode(o))
}

// usual is where a provider tells something if its connection does not say.
func (p provider) usual(name string) string {
	if path, ok := p.claims[name]; ok {
		return path
	}
	return usualClaims[name]
}

// unmarked is what the identities of a connection that have no mark were shown under.
func (c Connection) unmarked(now []byte) []byte {
	if len(c.trustedFirst) == 0 {
		return now
	}
	return c.trustedFirst
}

// keepFirst notes before a change what a connection has trusted so far.
func keepFirst(ctx context.Context, tx *database.Tx, tenant, id string, trusted []byte) error {
	_, err := tx.Exec(ctx, `UPDATE connections SET trusted_first = $3 WHERE tenant_id = $1 AND id = $2 AND trusted_first IS NULL`, tenant, id, trusted)
	if err != nil {
		return fmt.Errorf("keep what a connection has trusted: %w", err)
	}
	return nil
}

// IsLinked reports whether p is an identity of anybody, also one that does not count: such
// a person has an account, whatever p says of addresses.
func (s *Service) IsLinked(ctx context.Context, tx *database.Tx, by access.Actor, p Profile) (bool, error) {
	i, err := s.identityOf(ctx, tx, by.Tenant, p)
	return i.ID != "", err
}

// IsProved reports whether the user whose identity p is has shown themselves that it is
// theirs.
func (s *Service) IsProved(ctx context.Context, tx *database.Tx, by access.Actor, p Profile) (bool, error) {
	i, err := s.identityOf(ctx, tx, by.Tenant, p)
	return i.ID != "" && !i.Waits && i.proved, err
}

// identityOf is the identity of a profile, which Waits if it does not count for it; the
// zero value if there is none.
func (s *Service) identityOf(ctx context.Context, tx *database.Tx, tenant string, p Profile) (Identity, error) {
	c, err := findConnection(ctx, tx, tenant, p.Connection)
	if err != nil {
		return Identity{}, err
	}
	i, err := findIdentity(ctx, tx, tenant, p)
	if errors.Is(err, ErrIdentity) {
		return Identity{}, nil
	}
	i.Waits = i.waits(c, p.Trusted)
	return i, err
}

// waits reports whether an identity does not count for what came by trusting.
func (i Identity) waits(c Connection, trusting []byte) bool {
	under := i.trusted
	if len(under) == 0 {
		under = c.unmarked(trusting)
	}
	return !secret.Equal(under, trusting)
}

// LinkProved is Link for a user who has just proved to be that user and wants it. One of
// theirs that was not proved, or does not count any more, is good from now on; one of
// somebody else that does not count any more makes way.
func (s *Service) LinkProved(ctx context.Context, tx *database.Tx, by access.Actor, user string, p Profile) error {
	if err := s.stands(ctx, tx, by.Tenant, p); err != nil {
		return err
	}
	i, err := s.identityOf(ctx, tx, by.Tenant, p)
	if err != nil {
		return err
	}
	switch {
	case i.ID == "":
	case i.UserID == user && (i.Waits || !i.proved):
		return s.renew(ctx, tx, by, i, p)
	case i.Waits:
		if err := s.giveWay(ctx, tx, by, i); err != nil {
			return err
		}
	}
	_, err = s.link(ctx, tx, by, user, p, true)
	return err
}

// stands refuses a profile of a connection that is not in use any more, or trusts another
// by now.
func (s *Service) stands(ctx context.Context, tx *database.Tx, tenant string, p Profile) error {
	c, err := s.usable(ctx, tx, tenant, p.Connection)
	if err == nil && !secret.Equal(p.Trusted, s.trusts(c)) {
		err = ErrFlow.Because("connection %s has changed meanwhile", c.ID)
	}
	return err
}

// renew makes an identity of a user good, who has just proved that it is theirs.
func (s *Service) renew(ctx context.Context, tx *database.Tx, by access.Actor, i Identity, p Profile) error {
	if err := renewIdentity(ctx, tx, by.Tenant, i, p); err != nil {
		return err
	}
	if err := s.keepTokens(ctx, tx, by.Tenant, i.ID, p); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{
		Action: "identity.linked", Target: "user", TargetID: i.UserID, Method: p.Provider, Reason: "again", Detail: map[string]any{"connection": p.Connection, "identity": i.ID},
	})
}

// giveWay removes an identity that does not count any more for another user's.
func (s *Service) giveWay(ctx context.Context, tx *database.Tx, by access.Actor, i Identity) error {
	if err := deleteIdentity(ctx, tx, by.Tenant, i.UserID, i.ID); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{
		Action: "identity.unlinked", Target: "user", TargetID: i.UserID, Reason: "connection_changed", Detail: map[string]any{"identity": i.ID},
	})
}
