package org

import (
	"context"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of members.
var (
	ErrMemberNotFound = problem.New(problem.NotFound, "organization_member_not_found", "The user is no member of this organization.")
	ErrLastOwner      = user.ErrOwnsOrganization
	ErrTooMany        = problem.New(problem.Conflict, "too_many_memberships", "A user is a member of at most 1,000 organizations.")
	ErrNotMember      = problem.New(problem.Forbidden, "not_a_member", "You are no active member of this organization.")
	ErrRole           = problem.New(problem.Invalid, "invalid_role", "One of the role ids is not that of a role of the tenant.").In("role_ids")
)

// MaxMemberships is how many organizations a user can be a member of.
const MaxMemberships = 1000

// Status of a member. Whoever is invited is no member yet.
const (
	Active    = "active"
	Suspended = "suspended"
)

// How a member came to be one.
const (
	SourceManual     = "manual"
	SourceInvitation = "invitation"
	SourceSSO        = "sso"
	SourceSCIM       = "scim"
)

// A Member is a user's part in an organization.
type Member struct {
	OrganizationID string
	UserID         string
	RoleIDs        []string            // given by hand
	Automatic      map[string][]string // given by a connection or directory: source -> role ids
	Status         string
	Source         string
	BreakGlass     bool // gets in without single sign-on where the policy asks for it
	CreatedAt      time.Time
	ModifiedAt     time.Time
}

// AllRoles are the roles given by hand and those of connections and directories, each
// once; not the organization's default roles.
func (m Member) AllRoles() []string {
	all := slices.Clone(m.RoleIDs)
	for _, ids := range m.Automatic {
		all = append(all, ids...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A Membership is one of a user's organizations and their part in it.
type Membership struct {
	Organization
	Member Member
}

// Member returns a user's part in an organization, also one that is suspended, or
// ErrMemberNotFound.
func (s *Service) Member(ctx context.Context, db database.Reader, tenant, organization, user string) (Member, error) {
	if !secret.IsID(organization) || !secret.IsID(user) {
		return Member{}, ErrMemberNotFound
	}
	return findMember(ctx, db, tenant, organization, user)
}

// Memberships returns the organizations that a user belongs to, by creation of the
// organizations, also those that are disabled or where the user is suspended.
func (s *Service) Memberships(ctx context.Context, db database.Reader, tenant, user string) ([]Membership, error) {
	if !secret.IsID(user) {
		return nil, nil
	}
	all, err := listMemberships(ctx, db, tenant, user)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	given, err := listRolesOfUser(ctx, db, tenant, user)
	for i := range all {
		all[i].Member.take(given)
	}
	return all, err
}

// A given is a role of a member.
type given struct {
	organization, user, source, role string
	kept                             bool // by the last owner, although the source gives it no more
}

// take takes those of roles that are the member's.
func (m *Member) take(roles []given) {
	for _, g := range roles {
		switch {
		case g.organization != m.OrganizationID || g.user != m.UserID:
		case g.source == "":
			m.RoleIDs = append(m.RoleIDs, g.role)
		default:
			if m.Automatic == nil {
				m.Automatic = map[string][]string{}
			}
			m.Automatic[g.source] = append(m.Automatic[g.source], g.role)
		}
	}
}

// AddMember makes a user a member and returns them. Somebody who is a member keeps their
// roles, source and status unless roleIDs are given, which are then theirs by hand; a
// suspended member stays suspended. The user must be one of the tenant's. The actor
// needs organizations:write, and must be able to give the roles.
func (s *Service) AddMember(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, roleIDs []string, source string) (Member, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Member{}, err
	}
	if _, err := s.mayGrant(ctx, tx, by, organization, roleIDs); err != nil {
		return Member{}, err
	}
	added, err := s.admit(ctx, tx, by, organization, userID, roleIDs, source)
	if err == nil && !added && len(roleIDs) > 0 {
		err = s.SetRoles(ctx, tx, by, organization, userID, roleIDs)
	}
	if err != nil {
		return Member{}, err
	}
	return findMember(ctx, tx, by.Tenant, organization, userID)
}

// admit makes a user a member with roles that may be given, and reports whether they
// were none before; if they were one nothing changes.
func (s *Service) admit(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, roleIDs []string, source string) (added bool, err error) {
	if !secret.IsID(userID) {
		return false, user.ErrNotFound
	}
	if !secret.IsID(organization) {
		return false, ErrNotFound
	}
	if added, err = insertMember(ctx, tx, by.Tenant, organization, userID, source); err != nil || !added {
		return false, err
	}
	if err := checkMemberships(ctx, tx, by.Tenant, userID); err != nil {
		return false, err
	}
	if err := replaceRoles(ctx, tx, by.Tenant, organization, userID, roleIDs); err != nil {
		return false, err
	}
	tx.OnCommit(s.forgetMember(by.Tenant, organization, userID))
	return true, audit.Append(tx, by, audit.Event{
		Action: "organization.member_added", Target: Target, TargetID: organization, Method: source, Detail: map[string]any{"user_id": userID, "role_ids": roleIDs},
	})
}

func (s *Service) forgetMember(tenant, organization, user string) func() {
	return func() { s.members.Forget(tenant + organization + user) }
}

// SetRoles replaces the roles that a member has by hand. The actor needs
// organizations:write, and must be able to give those that are new and to take those
// that go. ErrLastOwner if nobody would be an active owner any more.
func (s *Service) SetRoles(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, roleIDs []string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	m, err := s.Member(ctx, tx, by.Tenant, organization, userID)
	if err != nil {
		return err
	}
	added := slices.DeleteFunc(slices.Clone(roleIDs), func(id string) bool { return slices.Contains(m.RoleIDs, id) })
	if _, err := s.mayGrant(ctx, tx, by, organization, added); err != nil {
		return err
	}
	taken := slices.DeleteFunc(slices.Clone(m.RoleIDs), func(id string) bool { return slices.Contains(roleIDs, id) })
	if err := s.mayTake(ctx, tx, by, organization, taken); err != nil {
		return err
	}
	return s.setRoles(ctx, tx, by, organization, userID, roleIDs)
}

// setRoles is SetRoles for roles that may be given.
func (s *Service) setRoles(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, roleIDs []string) error {
	if len(roleIDs) > maxRoles {
		return ErrRole.Saying("A member has at most %d roles.", maxRoles).In("role_ids")
	}
	err := s.keepingOwner(ctx, tx, by.Tenant, organization, func(string, bool) error {
		return replaceRoles(ctx, tx, by.Tenant, organization, userID, roleIDs)
	})
	if err != nil {
		return err
	}
	return s.rolesChanged(ctx, tx, by, organization, userID, map[string]any{"user_id": userID, "role_ids": roleIDs})
}

func (s *Service) rolesChanged(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, detail map[string]any) error {
	tx.OnCommit(s.forgetMember(by.Tenant, organization, userID))
	if err := audit.Append(tx, by, audit.Event{Action: "organization.member_roles_changed", Target: Target, TargetID: organization, Detail: detail}); err != nil {
		return err
	}
	return s.left(ctx, tx, by, organization, userID, "roles_changed")
}

// SetAutomaticRoles replaces the roles that a member has from a source, such as
// "sso:<connection>" or "scim:<directory>"; nothing happens if they are the same. What
// a source may give was judged when its rules were made. The last active owner stays
// one, and an event tells of it. The actor needs organizations:write.
func (s *Service) SetAutomaticRoles(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, source string, roleIDs []string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	if source == "" || len(roleIDs) > maxRoles {
		return ErrRole.Saying("A source has a name, and gives at most %d roles.", maxRoles)
	}
	m, err := s.Member(ctx, tx, by.Tenant, organization, userID)
	if err != nil {
		return err
	}
	wanted := slices.Clone(roleIDs)
	slices.Sort(wanted)
	if wanted = slices.Compact(wanted); slices.Equal(wanted, m.Automatic[source]) {
		return nil
	}
	lost, gained, err := s.replaceAutomatic(ctx, tx, by, organization, []string{userID}, source, wanted)
	if err != nil || len(lost)+len(gained) == 0 {
		return err
	}
	return s.rolesChanged(ctx, tx, by, organization, userID, map[string]any{"user_id": userID, "source": source, "role_ids": wanted})
}

// mayMove returns role.ErrGrant unless the actor can take all roles from a member: to put
// them out takes the roles as well, and to let them in gives them back.
func (s *Service) mayMove(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string) error {
	m, err := s.Member(ctx, tx, by.Tenant, organization, userID)
	if err != nil {
		return err
	}
	return s.mayTake(ctx, tx, by, organization, m.AllRoles())
}

// Suspend keeps a member out until Restore: they lose what they may do there at once.
// The actor needs organizations:write. ErrLastOwner for the last active owner.
func (s *Service) Suspend(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, reason string) error {
	if err := s.setStatus(ctx, tx, by, organization, userID, Suspended, reason); err != nil {
		return err
	}
	return s.left(ctx, tx, by, organization, userID, "suspended")
}

// Restore makes a suspended member an active one. The actor needs organizations:write.
func (s *Service) Restore(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, reason string) error {
	return s.setStatus(ctx, tx, by, organization, userID, Active, reason)
}

func (s *Service) setStatus(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, status, reason string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	if !secret.IsID(organization) || !secret.IsID(userID) {
		return ErrMemberNotFound
	}
	if err := s.mayMove(ctx, tx, by, organization, userID); err != nil {
		return err
	}
	err := s.keepingOwner(ctx, tx, by.Tenant, organization, func(string, bool) error {
		return updateStatus(ctx, tx, by.Tenant, organization, userID, status)
	})
	if err != nil {
		return err
	}
	tx.OnCommit(s.forgetMember(by.Tenant, organization, userID))
	action := map[string]string{Active: "organization.member_restored", Suspended: "organization.member_suspended"}[status]
	return audit.Append(tx, by, audit.Event{Action: action, Target: Target, TargetID: organization, Detail: map[string]any{"user_id": userID, "reason": reason}})
}

// RemoveMember ends a membership with all its roles. Whoever becomes a member again
// has none of them. The actor needs organizations:write. ErrLastOwner for the last
// active owner.
func (s *Service) RemoveMember(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, reason string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	if !secret.IsID(organization) || !secret.IsID(userID) {
		return ErrMemberNotFound
	}
	if by.Name != "user:"+userID { // whoever leaves by themselves takes nothing from anybody
		if err := s.mayMove(ctx, tx, by, organization, userID); err != nil {
			return err
		}
	}
	err := s.keepingOwner(ctx, tx, by.Tenant, organization, func(string, bool) error {
		return deleteMember(ctx, tx, by.Tenant, organization, userID)
	})
	if err != nil {
		return err
	}
	tx.OnCommit(s.forgetMember(by.Tenant, organization, userID))
	e := audit.Event{Action: "organization.member_removed", Target: Target, TargetID: organization, Detail: map[string]any{"user_id": userID, "reason": reason}}
	if err := audit.Append(tx, by, e); err != nil {
		return err
	}
	return s.left(ctx, tx, by, organization, userID, "removed")
}

// SetBreakGlass says whether an owner gets in without the single sign-on that the
// organization's policy asks for. The actor needs organizations:write.
func (s *Service) SetBreakGlass(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID string, on bool) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	m, err := s.Member(ctx, tx, by.Tenant, organization, userID)
	if err != nil {
		return err
	}
	if err := s.mayTake(ctx, tx, by, organization, m.AllRoles()); err != nil {
		return err
	}
	owner, err := role.BySlug(ctx, tx, by.Tenant, role.Owner)
	if err != nil {
		return err
	}
	if on && !slices.Contains(m.AllRoles(), owner.ID) {
		return ErrInvalid.Saying("Only an owner of the organization can get in without its single sign-on.").In("break_glass")
	}
	if err := updateBreakGlass(ctx, tx, by.Tenant, organization, userID, on); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "organization.break_glass_changed", Target: Target, TargetID: organization, Detail: map[string]any{"user_id": userID, "on": on}})
}

// GetsInWithoutSSO reports whether a member is a break-glass one: an active owner who
// is marked so.
func (s *Service) GetsInWithoutSSO(ctx context.Context, db database.Reader, tenant string, m Member) (bool, error) {
	if !m.BreakGlass || m.Status != Active {
		return false, nil
	}
	owner, err := role.BySlug(ctx, db, tenant, role.Owner)
	return err == nil && owner.IsActive && slices.Contains(m.AllRoles(), owner.ID), err
}

// keepingOwner makes a change to members, unless the organization has an active owner
// before and would have none afterwards. The organization's row is held: of two owners
// who are removed at the same time one stays.
// change is told the id of the owner's role, and whether there is an owner.
func (s *Service) keepingOwner(ctx context.Context, tx *database.Tx, tenant, organization string, change func(owner string, before bool) error) error {
	if _, err := hold(ctx, tx, tenant, organization); err != nil {
		return err
	}
	owner, err := role.BySlug(ctx, tx, tenant, role.Owner)
	if err != nil {
		return err
	}
	before, err := hasOwner(ctx, tx, tenant, organization, owner.ID)
	if err != nil {
		return err
	}
	if err := change(owner.ID, before); err != nil || !before {
		return err
	}
	after, err := hasOwner(ctx, tx, tenant, organization, owner.ID)
	if err == nil && !after {
		err = ErrLastOwner
	}
	return err
}

// UserStops returns ErrLastOwner if a user who is to be disabled or deleted is the last
// active owner of an organization. The rows of theirs are held: of two owners who go at
// the same time one stays.
func (s *Service) UserStops(ctx context.Context, tx *database.Tx, by access.Actor, u user.User) error {
	owner, err := role.BySlug(ctx, tx, by.Tenant, role.Owner)
	if err != nil {
		return err
	}
	owned, err := holdOwned(ctx, tx, by.Tenant, owner.ID, u.ID)
	if err != nil || len(owned) == 0 {
		return err
	}
	others, err := allOwnedByOthers(ctx, tx, by.Tenant, owner.ID, u.ID, owned)
	if err == nil && !others {
		err = ErrLastOwner
	}
	return err
}

// Keepers lists the users who look after an organization: its active members with a
// role that makes an administrator, whose accounts are active; at most limit of them.
func (s *Service) Keepers(ctx context.Context, db database.Reader, tenant, organization string, limit int) ([]string, error) {
	roles, err := role.All(ctx, db, tenant)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range roles {
		if r.IsAdmin && r.IsActive {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return listKeepers(ctx, db, tenant, organization, ids, limit)
}
