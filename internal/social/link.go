package social

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// A Decision is what a profile is good for.
type Decision int

const (
	// Refuse: nobody is known by it, and newcomers are not let in.
	Refuse Decision = iota
	// SignIn: it is an identity of a user.
	SignIn
	// ProveAccount: its address is that of a user. Both sides have proved it, so we may
	// say so; whoever can sign in as that user may link the two.
	ProveAccount
	// ProveAddress: nobody has vouched for its address, here or there, or it has none, or
	// it is somebody's under another address. Whoever proves one goes on with the account
	// that it leads to.
	ProveAddress
	// Create: nobody is known by it nor by its address, which the provider vouches for.
	Create
)

// Local is what is known here of a profile.
type Local struct {
	Identity bool // it is an identity of a user
	Waits    bool // it is one that does not count until its user has proved the account
	Address  bool // its address is an identifier of a user
	Verified bool // which that user has proved
	NoSignUp bool // newcomers are not let in
}

// Decide says what a profile is good for. An address alone never leads to an account:
// the person who signed up here first with it may not have been its owner, nor need be
// the person whom the provider knows by it.
func Decide(p Profile, l Local) Decision {
	switch {
	case l.Identity:
		return SignIn
	case p.Email == "" || !p.EmailVerified || l.Address && !l.Verified:
		return ProveAddress
	case l.Address:
		return ProveAccount
	case l.Waits:
		return ProveAddress
	case l.NoSignUp:
		return Refuse
	default:
		return Create
	}
}

// An Identity is whom a user is at a connection.
type Identity struct {
	ID         string
	Connection string
	Issuer     string
	Subject    string
	UserID     string
	Email      string // there; shown only
	Name       string
	Picture    string
	CreatedAt  time.Time
	UsedAt     time.Time
	Held       bool // it signs nobody in until it is confirmed
	// Waits says that its connection trusts another service than when it was linked: it
	// counts again when its user comes by it and proves the account.
	Waits bool

	trusted []byte // what the connection trusted when it was linked; nil of an old one
	proved  bool   // its user has shown that it is theirs
}

// maxIdentities is how many accounts elsewhere a user may link.
const maxIdentities = 50

// SignIn returns the user whose identity p is, and notes that it was used; found is
// false if it is nobody's, or does not count any more, see Waits. What the provider says of the person is kept to show, and
// changes nothing else. It returns ErrDisabled if the connection is not in use any
// more, and ErrHeld.
func (s *Service) SignIn(ctx context.Context, tx *database.Tx, by access.Actor, p Profile) (user string, found bool, err error) {
	c, err := s.usable(ctx, tx, by.Tenant, p.Connection)
	if err != nil {
		return "", false, err
	}
	id, user, err := useIdentity(ctx, tx, by.Tenant, p, c.unmarked(p.Trusted))
	if err != nil || user == "" {
		return "", false, err
	}
	return user, true, s.keepTokens(ctx, tx, by.Tenant, id, p)
}

func (s *Service) keepTokens(ctx context.Context, tx *database.Tx, tenant, id string, p Profile) error {
	if p.Tokens == nil {
		return nil
	}
	box, err := s.box(ctx, tenant)
	if err != nil {
		return err
	}
	tx.Later(`UPDATE identities SET tokens = $3 WHERE tenant_id = $1 AND id = $2`, tenant, id, box.Seal(tokenPlace(id), []byte(encode(p.Tokens))))
	return nil
}

func tokenPlace(id string) string { return "identities/" + id + "/tokens" }

// Tokens returns the provider's tokens of an identity; nil if none are kept.
func (s *Service) Tokens(ctx context.Context, db database.Reader, tenant, id string) (*Tokens, error) {
	sealed, err := findTokens(ctx, db, tenant, id)
	if err != nil || len(sealed) == 0 {
		return nil, err
	}
	box, err := s.box(ctx, tenant)
	if err != nil {
		return nil, err
	}
	plain, err := box.Open(tokenPlace(id), sealed)
	if err != nil {
		return nil, err
	}
	out := &Tokens{}
	return out, json.Unmarshal(plain, out)
}

// Keep holds p for an attempt, under the id of the flow that it came by, until it is
// settled whose it is. Of an attempt one is held: the next takes its place.
func (s *Service) Keep(ctx context.Context, tx *database.Tx, by access.Actor, f Flow, p Profile) error {
	box, err := s.box(ctx, by.Tenant)
	if err != nil {
		return err
	}
	dropProfiles(tx, by.Tenant, f.Attempt)
	return keepProfile(ctx, tx, by.Tenant, f, box.Seal(profilePlace(f.ID), []byte(encode(p))))
}

func profilePlace(id string) string { return "connection_flows/" + id + "/profile" }

// Kept returns what is held for an attempt, and the id that it is held under; empty if
// there is nothing.
func (s *Service) Kept(ctx context.Context, db database.Reader, tenant, attempt string) (Profile, string, error) {
	id, sealed, err := findProfile(ctx, db, tenant, attempt, s.DB.Now())
	if err != nil || id == "" {
		return Profile{}, "", err
	}
	p, err := s.open(ctx, tenant, id, sealed)
	return p, id, err
}

func (s *Service) open(ctx context.Context, tenant, id string, sealed []byte) (p Profile, err error) {
	box, err := s.box(ctx, tenant)
	if err != nil {
		return p, err
	}
	plain, err := box.Open(profilePlace(id), sealed)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(plain, &p); err != nil {
		return p, fmt.Errorf("read profile: %w", err)
	}
	return p, nil
}

// Settle takes what is held for an attempt under an id, once. It returns ErrFlow if it
// is not there any more, or is another by now.
func (s *Service) Settle(ctx context.Context, tx *database.Tx, by access.Actor, f Flow) (Profile, error) {
	sealed, err := takeProfile(ctx, tx, by.Tenant, f)
	if err != nil {
		return Profile{}, err
	}
	return s.open(ctx, by.Tenant, f.ID, sealed)
}

// Link makes p an identity of a user whom it has just made: the service's word is all
// there is, see IsProved. It returns ErrLinked if it is an identity already, of whomever,
// ErrDisabled if the connection is not in use any more, and ErrFlow if it has changed.
func (s *Service) Link(ctx context.Context, tx *database.Tx, by access.Actor, user string, p Profile) (Identity, error) {
	return s.link(ctx, tx, by, user, p, false)
}

func (s *Service) link(ctx context.Context, tx *database.Tx, by access.Actor, user string, p Profile, proved bool) (Identity, error) {
	if err := s.stands(ctx, tx, by.Tenant, p); err != nil {
		return Identity{}, err
	}
	mine, err := listIdentities(ctx, tx, by.Tenant, user)
	if err != nil {
		return Identity{}, err
	}
	if len(mine) >= maxIdentities {
		return Identity{}, ErrLinked.Saying("This user has %d linked accounts. Remove one first.", maxIdentities)
	}
	i := Identity{ID: tx.NewID(), Connection: p.Connection, Issuer: p.Issuer, Subject: p.Subject, UserID: user, Email: p.Email, Name: p.Name, Picture: p.Picture, CreatedAt: tx.Now, UsedAt: tx.Now,
		trusted: append([]byte{}, p.Trusted...), proved: proved}
	if err := insertIdentity(ctx, tx, by.Tenant, i); err != nil {
		return Identity{}, err
	}
	if err := s.keepTokens(ctx, tx, by.Tenant, i.ID, p); err != nil {
		return Identity{}, err
	}
	return i, audit.Append(tx, by, audit.Event{Action: "identity.linked", Target: "user", TargetID: user, Method: p.Provider, Detail: map[string]any{"connection": p.Connection, "identity": i.ID}})
}

// Identities lists those of a user by creation.
func (s *Service) Identities(ctx context.Context, db database.Reader, tenant, user string) ([]Identity, error) {
	mine, err := listIdentities(ctx, db, tenant, user)
	if err != nil || len(mine) == 0 {
		return mine, err
	}
	connections, err := listConnections(ctx, db, tenant)
	for _, c := range connections {
		for i := range mine {
			if mine[i].Connection == c.ID {
				mine[i].Waits = mine[i].waits(c, s.trusts(c))
			}
		}
	}
	return mine, err
}

// Unlink removes an identity of a user. It returns ErrIdentity if they have none such.
func (s *Service) Unlink(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) error {
	if err := deleteIdentity(ctx, tx, by.Tenant, user, id); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "identity.unlinked", Target: "user", TargetID: user, Detail: map[string]any{"identity": id}})
}

// UnlinkAll removes all identities of a user: of an account that turns out to have been
// made by somebody else.
func (s *Service) UnlinkAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	n, err := deleteIdentities(ctx, tx, by.Tenant, user)
	if err != nil || n == 0 {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "identity.unlinked", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"count": n}})
}

// Sweep removes flows that ended, in portions. Run it every hour or so.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = sweepFlows(ctx, tx, tx.Now.Add(-keepFor), portion)
			return err
		})
		if err != nil || n < portion {
			return err
		}
	}
}
