package org

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
)

// A standing is what an active member has in an organization.
type standing struct {
	active bool // organization and membership
	member Member
	policy Policy
}

// roles are all that the member has, with the organization's default ones.
func (s standing) roles() []string {
	all := append(s.member.AllRoles(), s.policy.DefaultRoles...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Effective returns what a user may do in an organization: the active roles of an
// active member of an active organization, by hand, by connection or directory, and by
// default; else ErrNotMember. Roles of the tenant are no part of it. It is remembered
// for a second, unless it is read in a transaction.
func (s *Service) Effective(ctx context.Context, db database.Reader, tenant, organization, user string) (role.Set, error) {
	st, err := s.standing(ctx, db, tenant, organization, user)
	if err != nil {
		return role.Set{}, err
	}
	if !st.active {
		return role.Set{}, ErrNotMember
	}
	return role.Resolve(ctx, db, tenant, st.roles())
}

func (s *Service) standing(ctx context.Context, db database.Reader, tenant, organization, user string) (standing, error) {
	load := func() (standing, error) { return s.loadStanding(ctx, db, tenant, organization, user) }
	if db != database.Reader(s.DB) {
		return load()
	}
	return s.members.Get(s.DB.Now(), tenant+organization+user, load)
}

func (s *Service) loadStanding(ctx context.Context, db database.Reader, tenant, organization, user string) (standing, error) {
	m, err := s.Member(ctx, db, tenant, organization, user)
	if errors.Is(err, ErrMemberNotFound) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, err
	}
	o, err := s.Find(ctx, db, tenant, organization)
	return standing{active: o.IsActive && m.Status == Active, member: m, policy: o.Policy}, err
}

// held is what the actor holds and can therefore give: a user's roles of the tenant and
// in the organization. Of a key, what it may is in the actor itself.
func (s *Service) held(ctx context.Context, db database.Reader, by access.Actor, organization string) (role.Set, error) {
	id, ok := strings.CutPrefix(by.Name, "user:")
	if !ok {
		return role.Set{}, nil
	}
	u, err := s.Users.Find(ctx, db, access.System(by.Tenant), id)
	if err != nil {
		return role.Set{}, err
	}
	ids := slices.Clone(u.RoleIDs)
	st, err := s.loadStanding(ctx, db, by.Tenant, organization, id)
	if err != nil {
		return role.Set{}, err
	}
	if st.active {
		ids = append(ids, st.roles()...)
	}
	return role.Resolve(ctx, db, by.Tenant, ids)
}

// MayGrant returns nil if an actor who writes a rule that gives the roles of some ids in
// an organization could give them by hand, ErrRole if one is none of the tenant's, or
// role.ErrGrant. By hand it takes organizations:write; links to the portal, which have
// the organization's own administrators write its rules, need none.
func (s *Service) MayGrant(ctx context.Context, db database.Reader, by access.Actor, organization string, ids []string) error {
	if len(ids) > 0 && !by.May(access.OrganizationsWrite) && !strings.HasPrefix(by.Name, "portal:") {
		return role.ErrGrant.Because("%s lacks %s", by.Name, access.OrganizationsWrite)
	}
	_, err := s.mayGrant(ctx, db, by, organization, ids)
	return err
}

// mayGrant returns the roles of some ids, or an error: ErrRole if one is none of the
// tenant's, role.ErrGrant if the actor can not give one.
func (s *Service) mayGrant(ctx context.Context, db database.Reader, by access.Actor, organization string, ids []string) ([]role.Role, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	if len(ids) > maxRoles {
		return nil, ErrRole.Saying("There are at most %d roles.", maxRoles).In("role_ids")
	}
	give, err := role.ByIDs(ctx, db, by.Tenant, ids)
	if errors.Is(err, role.ErrNotFound) {
		return nil, ErrRole
	}
	if err != nil {
		return nil, err
	}
	held, err := s.held(ctx, db, by, organization)
	if err != nil {
		return nil, err
	}
	return give, role.MayGrant(by, held, give)
}

// mayTake returns role.ErrGrant if the actor can not take one of the roles away. Those
// that are gone give nothing, so that anybody may.
func (s *Service) mayTake(ctx context.Context, db database.Reader, by access.Actor, organization string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	taken, err := role.Resolve(ctx, db, by.Tenant, ids)
	if err != nil {
		return err
	}
	held, err := s.held(ctx, db, by, organization)
	if err != nil {
		return err
	}
	return role.MayGrant(by, held, taken.Roles)
}
