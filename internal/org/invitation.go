package org

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of invitations.
var (
	ErrInvitationNotFound = problem.New(problem.NotFound, "invitation_not_found", "The organization has no such invitation.")
	ErrSpent              = problem.New(problem.Invalid, "invitation_spent", "This invitation does not work any more: it was used, withdrawn, replaced or is too old. Ask for a new one.")
	ErrOtherAddress       = problem.New(problem.Conflict, "invitation_other_address", "The invitation was sent to another address than this account's. Accept it with this account all the same?")
	ErrAddressRefused     = problem.New(problem.Conflict, "invitation_address_refused", "The organization takes no members with an address of this domain.")
	ErrInvitationsFull    = problem.New(problem.Conflict, "too_many_invitations", "An organization has at most 1,000 invitations that wait. Revoke some.")
)

// InvitationLife is how long an invitation can be accepted.
const InvitationLife = 7 * 24 * time.Hour

const (
	maxInvitations  = 1000
	keepInvitations = 90 * 24 * time.Hour // after they have expired
)

// InvitationPath is where the link of an invitation leads, with its token in the query.
const InvitationPath = "/signin/invitation"

// What becomes of an invitation.
const (
	Pending  = "pending"
	Accepted = "accepted"
	Expired  = "expired"
	Revoked  = "revoked"
)

// An Invitation lets the owner of an address become a member.
type Invitation struct {
	ID             string
	OrganizationID string
	Email          string
	RoleIDs        []string
	Inviter        string // the actor
	Language       string // of the mail
	SentAt         time.Time
	ExpiresAt      time.Time
	AcceptedAt     time.Time // zero if it was not
	AcceptedBy     string    // id of the user
	RevokedAt      time.Time // zero if it was not
	CreatedAt      time.Time
}

// Status is Pending, Accepted, Expired or Revoked at a moment.
func (i Invitation) Status(now time.Time) string {
	switch {
	case !i.AcceptedAt.IsZero():
		return Accepted
	case !i.RevokedAt.IsZero():
		return Revoked
	case !now.Before(i.ExpiresAt):
		return Expired
	}
	return Pending
}

// A Look is what a mail needs to know of its tenant.
type Look struct {
	Brand    letter.Brand
	Origin   string // of the tenant's pages
	Language string // the tenant's
}

// Look returns the look of a tenant's mails. Ask for it before the transaction of
// Invite and Resend.
func (s *Service) Look(ctx context.Context, tenantID string) (Look, error) {
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return Look{}, err
	}
	origin, err := s.Tenants.Origin(ctx, t)
	return Look{letter.BrandOf(t), origin, t.Settings.Branding.Language}, err
}

// Invite mails a link to an address, which makes its owner a member with the roles of
// in, and takes back the one that was sent there before. ErrAddressRefused unless the
// organization takes members with such an address. The actor needs organizations:write,
// and must be able to give the roles, now and when the invitation is accepted.
func (s *Service) Invite(ctx context.Context, tx *database.Tx, by access.Actor, look Look, in Invitation) (Invitation, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Invitation{}, err
	}
	email, err := user.ParseEmail(in.Email)
	if err != nil {
		return Invitation{}, err
	}
	o, err := hold(ctx, tx, by.Tenant, in.OrganizationID)
	if err != nil {
		return Invitation{}, err
	}
	if err := s.mayInvite(ctx, tx, by, o, email, in.RoleIDs); err != nil {
		return Invitation{}, err
	}
	if err := revokeOpen(ctx, tx, by.Tenant, o.ID, email); err != nil {
		return Invitation{}, err
	}
	if in.Language, err = s.languageFor(ctx, tx, by.Tenant, look, in.Language, email); err != nil {
		return Invitation{}, err
	}
	made := Invitation{
		ID: tx.NewID(), OrganizationID: o.ID, Email: email, RoleIDs: in.RoleIDs, Inviter: by.Name, Language: in.Language,
		SentAt: tx.Now, ExpiresAt: tx.Now.Add(InvitationLife), CreatedAt: tx.Now,
	}
	token, hash := secret.NewToken()
	if err := insertInvitation(ctx, tx, by.Tenant, made, hash); err != nil {
		return Invitation{}, err
	}
	if err := s.mail(ctx, tx, by, look, o, made, token); err != nil {
		return Invitation{}, err
	}
	return made, s.noteInvitation(tx, by, made, "sent")
}

// languageFor is the language to write in: the one that was asked for, else the one that
// the owner of the address reads in here, else the tenant's.
func (s *Service) languageFor(ctx context.Context, tx *database.Tx, tenant string, look Look, asked, email string) (string, error) {
	if asked != "" {
		return lang.Pick("", asked, look.Language).Tag, nil
	}
	u, err := s.Users.FindByLogin(ctx, tx, access.System(tenant), email)
	if err != nil && !errors.Is(err, user.ErrNotFound) {
		return "", err
	}
	return lang.Pick("", u.Language, look.Language).Tag, nil
}

func (s *Service) mayInvite(ctx context.Context, tx *database.Tx, by access.Actor, o Organization, email string, roleIDs []string) error {
	if !o.IsActive {
		return ErrInvalid.Saying("The organization is disabled.")
	}
	if takes, err := s.Takes(ctx, tx, by.Tenant, o, email); err != nil {
		return err
	} else if !takes {
		return ErrAddressRefused.In("email")
	}
	if _, err := s.mayGrant(ctx, tx, by, o.ID, roleIDs); err != nil {
		return err
	}
	n, err := countOpen(ctx, tx, by.Tenant, o.ID)
	if err == nil && n >= maxInvitations {
		err = ErrInvitationsFull
	}
	return err
}

// mail sends the link. The organization's name may have been chosen by a stranger, as
// that of an application may.
func (s *Service) mail(ctx context.Context, tx *database.Tx, by access.Actor, look Look, o Organization, i Invitation, token string) error {
	if err := s.Limits.TakeWithin(ctx, tx, by.Tenant, ratelimit.Send.For(ratelimit.Key(i.Email, ""))); err != nil {
		return err
	}
	m, err := letter.Letter{
		Kind: letter.Invitation, Channel: notify.Email, To: i.Email, Language: i.Language, Brand: look.Brand, Application: o.Label(),
		Link: look.Origin + InvitationPath + "?token=" + url.QueryEscape(token), Lasts: InvitationLife, At: tx.Now,
	}.Message()
	if err != nil {
		return err
	}
	m.ExpiresAt = i.ExpiresAt
	_, err = s.Notify.Send(ctx, tx, by.Tenant, m)
	return err
}

func (s *Service) noteInvitation(tx *database.Tx, by access.Actor, i Invitation, what string) error {
	return audit.Append(tx, by, audit.Event{
		Action: "organization.invitation_" + what, Target: Target, TargetID: i.OrganizationID, Detail: map[string]any{"invitation_id": i.ID, "role_ids": i.RoleIDs},
	})
}

// Invitation returns the invitation of a mailed token, and its organization; ErrSpent
// if it can not be accepted any more. It changes nothing.
func (s *Service) Invitation(ctx context.Context, db database.Reader, tenant, token string) (Invitation, Organization, error) {
	i, err := findInvitationByToken(ctx, db, tenant, secret.Hash(token))
	if err != nil {
		return Invitation{}, Organization{}, err
	}
	if status := i.Status(s.DB.Now()); status != Pending {
		return Invitation{}, Organization{}, ErrSpent.Because("invitation %s: %s", i.ID, status)
	}
	o, err := s.Find(ctx, db, tenant, i.OrganizationID)
	if err == nil && !o.IsActive {
		err = ErrSpent.Because("the organization is disabled")
	}
	return i, o, err
}

// Redeem makes a user a member by a mailed token, which works once: of many who come
// with it one succeeds. It fails with ErrSpent if the token was used, is too old or
// revoked, the organization is disabled, the user is suspended there, or whoever
// invited has lost the right to; with ErrOtherAddress if the user has not proved to own
// the address it was sent to, unless the user has been asked and agreed, and then with
// ErrAddressRefused if the organization takes no such address as theirs. An error rolls
// the transaction back, so that the token is not used up.
func (s *Service) Redeem(ctx context.Context, tx *database.Tx, by access.Actor, token, userID string, agreed bool) (Invitation, Member, error) {
	i, err := spendInvitation(ctx, tx, by.Tenant, secret.Hash(token), userID)
	if err != nil {
		return Invitation{}, Member{}, err
	}
	o, err := hold(ctx, tx, by.Tenant, i.OrganizationID)
	if err != nil {
		return Invitation{}, Member{}, err
	}
	if !o.IsActive {
		return Invitation{}, Member{}, ErrSpent.Because("the organization is disabled")
	}
	if err := s.checkInviter(ctx, tx, by.Tenant, i); err != nil {
		return Invitation{}, Member{}, err
	}
	if err := s.checkAddress(ctx, tx, by.Tenant, o, i, userID, agreed); err != nil {
		return Invitation{}, Member{}, err
	}
	m, err := s.welcome(ctx, tx, by, i, userID)
	if err != nil {
		return Invitation{}, Member{}, err
	}
	return i, m, s.noteInvitation(tx, by, i, "accepted")
}

// checkInviter looks at whether whoever invited still may.
func (s *Service) checkInviter(ctx context.Context, tx *database.Tx, tenant string, i Invitation) error {
	inviter := access.Actor{Tenant: tenant, Name: i.Inviter}
	if name, _, _ := strings.Cut(i.Inviter, ":"); name == "system" || name == "command" { // who has the machine has everything
		inviter = inviter.With(access.All...)
	} else if s.Rights != nil {
		var err error
		if inviter, err = s.Rights(ctx, tx, tenant, i.Inviter); err != nil {
			return err
		}
	}
	if err := inviter.Require(access.OrganizationsWrite); err != nil {
		return ErrSpent.Because("inviter: %w", err)
	}
	_, err := s.mayGrant(ctx, tx, inviter, i.OrganizationID, i.RoleIDs)
	if p, ok := problem.From(err); ok { // a role has gone, or is more than the inviter has now
		return ErrSpent.Because("inviter: %w", p)
	}
	return err
}

// checkAddress holds that the invitation was for the user, or that they know it was not.
func (s *Service) checkAddress(ctx context.Context, tx *database.Tx, tenant string, o Organization, i Invitation, userID string, agreed bool) error {
	u, err := s.Users.Find(ctx, tx, access.System(tenant), userID)
	if err != nil {
		return err
	}
	if mine, err := s.IsFor(ctx, tx, tenant, i, u); err != nil || mine {
		return err
	}
	if !agreed {
		return ErrOtherAddress
	}
	email := u.Email
	if !u.EmailVerified {
		email = "" // is nobody's yet
	}
	takes, err := s.Takes(ctx, tx, tenant, o, email)
	if err == nil && !takes {
		err = ErrAddressRefused
	}
	return err
}

// IsFor reports whether an invitation is for a user: whether its address is one that they
// have proved.
func (s *Service) IsFor(ctx context.Context, db database.Reader, tenant string, i Invitation, u user.User) (bool, error) {
	m, err := s.Users.Match(ctx, db, access.System(tenant), i.Email)
	if errors.Is(err, user.ErrNotFound) {
		return false, nil
	}
	return m.ID == u.ID && m.IsProved(), err
}

// welcome makes the user a member. One who is a member already gets the roles beside
// those they have.
func (s *Service) welcome(ctx context.Context, tx *database.Tx, by access.Actor, i Invitation, userID string) (Member, error) {
	added, err := s.admit(ctx, tx, by, i.OrganizationID, userID, i.RoleIDs, SourceInvitation)
	if err != nil {
		return Member{}, err
	}
	m, err := findMember(ctx, tx, by.Tenant, i.OrganizationID, userID)
	if err != nil || added {
		return m, err
	}
	if m.Status != Active {
		return Member{}, ErrSpent.Because("the member is suspended")
	}
	roles := append(slices.Clone(m.RoleIDs), i.RoleIDs...)
	slices.Sort(roles)
	if roles = slices.Compact(roles); len(roles) == len(m.RoleIDs) {
		return m, nil
	}
	if err := s.setRoles(ctx, tx, by, i.OrganizationID, userID, roles); err != nil {
		return Member{}, err
	}
	return findMember(ctx, tx, by.Tenant, i.OrganizationID, userID)
}

// FindInvitation returns an invitation of an organization. The actor needs
// organizations:read.
func (s *Service) FindInvitation(ctx context.Context, db database.Reader, by access.Actor, organization, id string) (Invitation, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return Invitation{}, err
	}
	if !secret.IsID(organization) || !secret.IsID(id) {
		return Invitation{}, ErrInvitationNotFound
	}
	return findInvitation(ctx, db, by.Tenant, organization, id)
}

// Invitations returns a page of an organization's invitations by creation, and the
// cursor of the next one. The actor needs organizations:read.
func (s *Service) Invitations(ctx context.Context, by access.Actor, organization string, p Page) (list []Invitation, next string, err error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return nil, "", err
	}
	if _, err := s.Find(ctx, s.DB, by.Tenant, organization); err != nil {
		return nil, "", err
	}
	place, err := s.place(ctx, by, "invitations", organization, p)
	if err != nil {
		return nil, "", err
	}
	list, err = listInvitations(ctx, s.DB, by.Tenant, organization, place, p.Limit+1)
	if err != nil || len(list) <= p.Limit {
		return list, "", err
	}
	list = list[:p.Limit]
	next, err = s.cursor(ctx, by, "invitations", organization, list[p.Limit-1].ID)
	return list, next, err
}

// open returns an invitation that was neither accepted nor revoked, held.
func (s *Service) open(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string) (Organization, Invitation, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Organization{}, Invitation{}, err
	}
	o, err := hold(ctx, tx, by.Tenant, organization)
	if err != nil {
		return Organization{}, Invitation{}, err
	}
	i, err := s.FindInvitation(ctx, tx, by.With(access.OrganizationsRead), organization, id)
	if err != nil {
		return Organization{}, Invitation{}, err
	}
	if status := i.Status(tx.Now); status == Accepted || status == Revoked {
		return Organization{}, Invitation{}, ErrSpent.Because("it is %s", status)
	}
	return o, i, nil
}

// Revoke takes an invitation back. ErrSpent if it was accepted or revoked before. The
// actor needs organizations:write.
func (s *Service) Revoke(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string) error {
	_, i, err := s.open(ctx, tx, by, organization, id)
	if err != nil {
		return err
	}
	if err := revokeInvitation(ctx, tx, by.Tenant, organization, id); err != nil {
		return err
	}
	return s.noteInvitation(tx, by, i, "revoked")
}

// Resend mails a new link, which lasts as long as the first one did; that one stops
// working. The actor is the inviter from now on, and needs what Invite needs.
func (s *Service) Resend(ctx context.Context, tx *database.Tx, by access.Actor, look Look, organization, id string) (Invitation, error) {
	o, i, err := s.open(ctx, tx, by, organization, id)
	if err != nil {
		return Invitation{}, err
	}
	if err := s.mayInvite(ctx, tx, by, o, i.Email, i.RoleIDs); err != nil && !errors.Is(err, ErrInvitationsFull) {
		return Invitation{}, err
	}
	token, hash := secret.NewToken()
	i.Inviter, i.SentAt, i.ExpiresAt = by.Name, tx.Now, tx.Now.Add(InvitationLife)
	if err := updateInvitation(ctx, tx, by.Tenant, i, hash); err != nil {
		return Invitation{}, err
	}
	if err := s.mail(ctx, tx, by, look, o, i, token); err != nil {
		return Invitation{}, err
	}
	return i, s.noteInvitation(tx, by, i, "resent")
}

// SetInvitationRoles replaces the roles that an open invitation gives. The actor is the
// inviter from now on, and must be able to give them.
func (s *Service) SetInvitationRoles(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string, roleIDs []string) (Invitation, error) {
	_, i, err := s.open(ctx, tx, by, organization, id)
	if err != nil {
		return Invitation{}, err
	}
	if _, err := s.mayGrant(ctx, tx, by, organization, roleIDs); err != nil {
		return Invitation{}, err
	}
	i.RoleIDs, i.Inviter = roleIDs, by.Name
	if err := updateInvitation(ctx, tx, by.Tenant, i, nil); err != nil {
		return Invitation{}, err
	}
	return i, s.noteInvitation(tx, by, i, "changed")
}

// UserLeaves takes back all open invitations to the address of an account that is being
// deleted: one that is made anew inherits none.
func (s *Service) UserLeaves(ctx context.Context, tx *database.Tx, by access.Actor, u user.User) error {
	tx.OnCommit(s.members.Clear)
	if u.Email == "" {
		return nil
	}
	gone, err := revokeAllTo(ctx, tx, by.Tenant, u.Email)
	for _, i := range gone {
		err = errors.Join(err, s.noteInvitation(tx, by, i, "revoked"))
	}
	return err
}

// Sweep forgets invitations that expired long ago.
func (s *Service) Sweep(ctx context.Context) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error { return sweepInvitations(ctx, tx, tx.Now.Add(-keepInvitations)) })
}
