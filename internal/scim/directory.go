package scim

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// States of a directory.
const (
	Active   = "active"
	Disabled = "disabled" // its tokens are good, and everything is refused
	deleted  = "deleted"
)

// Types are the products a directory may be of. They are for people, who get the
// steps of that product, and change nothing in what is understood.
var Types = []string{"azure_ad", "okta", "google", "onelogin", "jumpcloud", "ping", "custom"}

const (
	maxDirectories = 20
	maxRules       = 200
	maxRuleGroup   = 256
	tokenPrefix    = "scim_"
)

// target of every event, so that they stand in the log of the organization.
const target = "organization"

// Overlap is how long an older token works beside a new one, unless said otherwise:
// long enough for somebody to carry the new one over.
const Overlap = 7 * 24 * time.Hour

// A Directory is the source of an organization's users and groups.
type Directory struct {
	ID             string
	OrganizationID string
	Name           string // for people, at most 200 bytes
	Type           string // one of Types
	State          string // Active or Disabled
	GroupRules     []Rule
	LastSyncAt     time.Time // zero before the first request
	CreatedAt      time.Time
	ModifiedAt     time.Time
}

// A Rule gives the members of a group a role in the organization.
type Rule struct {
	Group  string `json:"group" schema:"required" doc:"displayName of the group in any letter case, its externalId, or its id"`
	RoleID string `json:"role_id" schema:"required"`
}

// A Token lets a directory in. The token itself is shown once, when it is made.
type Token struct {
	ID        string
	Hint      string // its last four characters
	UsersOnly bool   // it may not touch groups
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: it works until it is replaced or revoked
}

// check puts d into its normal form, or says what is wrong with it.
func (d *Directory) check() error {
	d.Name = strings.TrimSpace(d.Name)
	switch {
	case d.Name == "" || len(d.Name) > 200 || !utf8.ValidString(d.Name) || strings.ContainsFunc(d.Name, unicode.IsControl):
		return ErrInvalid.Saying("A directory needs a name of at most 200 bytes without control characters.").In("name")
	case !slices.Contains(Types, d.Type):
		return ErrInvalid.Saying("The type is one of %s.", strings.Join(Types, ", ")).In("type")
	case d.State != Active && d.State != Disabled:
		return ErrInvalid.Saying("The state is active or disabled.").In("state")
	case len(d.GroupRules) > maxRules:
		return ErrInvalid.Saying("A directory has at most %d rules.", maxRules).In("group_rules")
	}
	for i, r := range d.GroupRules {
		r.Group = strings.TrimSpace(r.Group)
		if r.Group == "" || len(r.Group) > maxRuleGroup || !secret.IsID(r.RoleID) {
			return ErrInvalid.Saying("A rule names a group, in at most %d bytes, and the id of a role.", maxRuleGroup).In("group_rules")
		}
		d.GroupRules[i] = r
	}
	return nil
}

// Create adds a directory to d's organization: active, and without a token. Its ID
// is kept if it has one. ErrFull if the organization has 20. The actor needs
// connections:write, and must hold what its rules give.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, d Directory) (Directory, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Directory{}, err
	}
	d.State, d.CreatedAt, d.ModifiedAt = Active, tx.Now, tx.Now
	if d.ID == "" {
		d.ID = tx.NewID()
	}
	if err := d.check(); err != nil {
		return Directory{}, err
	}
	if _, err := s.Orgs.Find(ctx, tx, by.Tenant, d.OrganizationID); err != nil {
		return Directory{}, err
	}
	if err := s.mayGive(ctx, tx, by, d, nil); err != nil {
		return Directory{}, err
	}
	n, err := countDirectories(ctx, tx, by.Tenant, d.OrganizationID)
	if err != nil {
		return Directory{}, err
	}
	if n >= maxDirectories {
		return Directory{}, ErrFull
	}
	if err := insertDirectory(ctx, tx, by.Tenant, d); err != nil {
		return Directory{}, err
	}
	return d, audit.Append(tx, by, audit.Event{Action: "directory.created", Target: target, TargetID: d.OrganizationID,
		Detail: map[string]any{"directory": d.ID, "name": d.Name, "type": d.Type}})
}

// Save keeps d's name, type, state and rules. The actor needs connections:write, and
// must hold what its rules give.
func (s *Service) Save(ctx context.Context, tx *database.Tx, by access.Actor, d Directory) (Directory, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Directory{}, err
	}
	if err := d.check(); err != nil {
		return Directory{}, err
	}
	if err := holdDirectory(ctx, tx, by.Tenant, d.OrganizationID, d.ID); err != nil {
		return Directory{}, err
	}
	old, err := findDirectory(ctx, tx, by.Tenant, d.OrganizationID, d.ID)
	if err != nil {
		return Directory{}, err
	}
	if err := s.mayGive(ctx, tx, by, d, old.GroupRules); err != nil {
		return Directory{}, err
	}
	d.ModifiedAt = tx.Now
	if err := updateDirectory(ctx, tx, by.Tenant, d); err != nil {
		return Directory{}, err
	}
	if !slices.Equal(old.GroupRules, d.GroupRules) {
		if err := s.applyLater(ctx, tx, by.Tenant, d.ID); err != nil {
			return Directory{}, err
		}
	}
	tx.OnCommit(s.callers.Clear)
	return d, audit.Append(tx, by, audit.Event{Action: "directory.updated", Target: target, TargetID: d.OrganizationID,
		Detail: map[string]any{"directory": d.ID, "name": d.Name, "type": d.Type, "state": d.State, "rules": len(d.GroupRules)}})
}

// mayGive refuses rules that give roles which are none, or which the actor could not
// give by hand; those that were there before stay.
func (s *Service) mayGive(ctx context.Context, tx *database.Tx, by access.Actor, d Directory, before []Rule) error {
	var ids []string
	for _, r := range d.GroupRules {
		if !slices.Contains(before, r) && !slices.Contains(ids, r.RoleID) {
			ids = append(ids, r.RoleID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return s.Orgs.MayGrant(ctx, tx, by, d.OrganizationID, ids)
}

// Find returns a directory of an organization. The actor needs connections:read.
func (s *Service) Find(ctx context.Context, db database.Reader, by access.Actor, organization, id string) (Directory, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return Directory{}, err
	}
	return findDirectory(ctx, db, by.Tenant, organization, id)
}

// List returns the directories of an organization by creation, at most 20. The actor
// needs connections:read.
func (s *Service) List(ctx context.Context, db database.Reader, by access.Actor, organization string) ([]Directory, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return nil, err
	}
	return listDirectories(ctx, db, by.Tenant, organization)
}

// A NewTokenRequest says what token to make.
type NewTokenRequest struct {
	Overlap   time.Duration // for how long the newest of the others goes on working; Overlap if negative
	ExpiresAt time.Time     // zero for never
	UsersOnly bool          // it may not touch groups
}

// NewToken makes a token of a directory and returns it once. Of those before it the
// newest works on for the overlap, all others end at once: no more than two are good
// at any time. The actor needs connections:write.
func (s *Service) NewToken(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string, want NewTokenRequest) (Token, string, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Token{}, "", err
	}
	if err := holdDirectory(ctx, tx, by.Tenant, organization, id); err != nil {
		return Token{}, "", err
	}
	if want.Overlap < 0 {
		want.Overlap = Overlap
	}
	if want.Overlap > 90*24*time.Hour {
		return Token{}, "", ErrInvalid.Saying("Two tokens work side by side for at most 90 days.").In("overlap_seconds")
	}
	if !want.ExpiresAt.IsZero() && !want.ExpiresAt.After(tx.Now) {
		return Token{}, "", ErrInvalid.Saying("expires_at is not in the future.").In("expires_at")
	}
	if err := retireTokens(ctx, tx, by.Tenant, id, tx.Now.Add(want.Overlap)); err != nil {
		return Token{}, "", err
	}
	key, hash := secret.NewKey(tokenPrefix)
	t := Token{ID: tx.NewID(), Hint: key[len(key)-4:], UsersOnly: want.UsersOnly, CreatedBy: by.Name, CreatedAt: tx.Now, ExpiresAt: want.ExpiresAt}
	insertToken(tx, by.Tenant, id, t, hash)
	tx.OnCommit(s.callers.Clear)
	return t, key, audit.Append(tx, by, audit.Event{Action: "directory.token.created", Target: target, TargetID: organization,
		Detail: map[string]any{"directory": id, "token": t.ID, "users_only": t.UsersOnly}})
}

// Tokens lists the tokens of a directory that work, newest first: at most two. The
// actor needs connections:read.
func (s *Service) Tokens(ctx context.Context, db database.Reader, by access.Actor, organization, id string) ([]Token, error) {
	if _, err := s.Find(ctx, db, by, organization, id); err != nil {
		return nil, err
	}
	return listTokens(ctx, db, by.Tenant, id, s.DB.Now().UnixMilli())
}

// RevokeToken ends a token at once; within a second in other processes. The actor
// needs connections:write.
func (s *Service) RevokeToken(ctx context.Context, tx *database.Tx, by access.Actor, organization, id, token string) error {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return err
	}
	if err := holdDirectory(ctx, tx, by.Tenant, organization, id); err != nil {
		return err
	}
	if err := deleteToken(ctx, tx, by.Tenant, id, token); err != nil {
		return err
	}
	tx.OnCommit(s.callers.Clear)
	return audit.Append(tx, by, audit.Event{Action: "directory.token.revoked", Target: target, TargetID: organization,
		Detail: map[string]any{"directory": id, "token": token}})
}

// BaseURL is what a directory is told to send to.
func (s *Service) BaseURL(ctx context.Context, tenant, id string) (string, error) {
	origin, err := s.Origin(ctx, tenant)
	return origin + Prefix + id, err
}
