package org

import (
	"context"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
)

// Where a role of a user comes from. Those that a connection or directory gives name
// it behind the colon.
const (
	FromTenant  = "tenant"  // the user's in the whole tenant
	FromManual  = "manual"  // the member's, given by hand
	FromDefault = "default" // every member's, by the organization's policy
)

// An Explanation is what a user may do somewhere, and why.
type Explanation struct {
	UserID         string `json:"user_id"`
	OrganizationID string `json:"organization_id" doc:"Empty for the whole tenant"`
	// Standing is "active", or why nothing counts.
	Standing    string                `json:"standing" doc:"active; or why nothing counts: user_disabled, organization_disabled, suspended or no_member"`
	Roles       []ExplainedRole       `json:"roles" doc:"Active and inactive ones"`
	Permissions []ExplainedPermission `json:"permissions" doc:"Those that count, as tokens carry them"`
}

// An ExplainedRole is a role, and who gave it.
type ExplainedRole struct {
	ID       string   `json:"role_id"`
	Name     string   `json:"role_name"`
	Slug     string   `json:"role_slug"`
	IsActive bool     `json:"is_active"`
	Sources  []string `json:"sources" doc:"tenant, manual, default, sso:<connection> or scim:<directory>"`
}

// An ExplainedPermission is a permission, and the roles that it is in.
type ExplainedPermission struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Slug  string   `json:"slug"`
	Roles []string `json:"roles" doc:"Slugs"`
}

// Explain tells what a user may do as a member of an organization, or in the whole
// tenant if organization is empty, and where each of it comes from. The actor needs
// users:read, and organizations:read for an organization.
func (s *Service) Explain(ctx context.Context, db database.Reader, by access.Actor, userID, organization string) (Explanation, error) {
	u, err := s.Users.Find(ctx, db, by, userID)
	if err != nil {
		return Explanation{}, err
	}
	out := Explanation{UserID: u.ID, OrganizationID: organization, Standing: Active}
	sources := map[string][]string{} // by role id
	if organization == "" {
		for _, id := range u.RoleIDs {
			sources[id] = []string{FromTenant}
		}
	} else if out.Standing, err = s.explainMember(ctx, db, by, u.ID, organization, sources); err != nil {
		return Explanation{}, err
	}
	if !u.IsActive {
		out.Standing = "user_disabled"
	}
	return out, out.fill(ctx, db, by.Tenant, sources)
}

// explainMember adds where a member's roles come from, and returns their standing.
func (s *Service) explainMember(ctx context.Context, db database.Reader, by access.Actor, userID, organization string, sources map[string][]string) (string, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return "", err
	}
	o, err := s.Find(ctx, db, by.Tenant, organization)
	if err != nil {
		return "", err
	}
	st, err := s.loadStanding(ctx, db, by.Tenant, organization, userID)
	if err != nil {
		return "", err
	}
	if st.member.UserID == "" {
		return "no_member", nil
	}
	add := func(source string, ids []string) {
		for _, id := range ids {
			sources[id] = append(sources[id], source)
		}
	}
	add(FromManual, st.member.RoleIDs)
	for source, ids := range st.member.Automatic {
		add(source, ids)
	}
	add(FromDefault, o.Policy.DefaultRoles)
	switch {
	case !o.IsActive:
		return "organization_disabled", nil
	case st.member.Status != Active:
		return st.member.Status, nil
	}
	return Active, nil
}

// fill looks the roles up, and the permissions that they give.
func (e *Explanation) fill(ctx context.Context, db database.Reader, tenant string, sources map[string][]string) error {
	e.Roles, e.Permissions = []ExplainedRole{}, []ExplainedPermission{}
	var ids []string
	for id := range sources {
		ids = append(ids, id)
	}
	all, err := role.All(ctx, db, tenant)
	if err != nil {
		return err
	}
	for _, r := range all {
		if from, ok := sources[r.ID]; ok {
			slices.Sort(from)
			e.Roles = append(e.Roles, ExplainedRole{r.ID, r.Name, r.Slug, r.IsActive, from})
		}
	}
	if e.Standing != Active {
		return nil
	}
	set, err := role.Resolve(ctx, db, tenant, ids)
	for _, p := range set.Permissions {
		x := ExplainedPermission{ID: p.ID, Name: p.Name, Slug: p.Slug}
		for _, r := range set.Roles {
			if slices.Contains(r.PermissionIDs, p.ID) {
				x.Roles = append(x.Roles, r.Slug)
			}
		}
		e.Permissions = append(e.Permissions, x)
	}
	return err
}

type getPermissionsRequest struct {
	UserID         string `path:"userid" doc:"Id of the user, 24 hex digits"`
	OrganizationID string `query:"organization_id" doc:"Id of an organization; the whole tenant if absent"`
}

func (s *Service) getPermissions(ctx context.Context, by access.Actor, in getPermissionsRequest) (Explanation, error) {
	return s.Explain(ctx, s.DB, by, in.UserID, in.OrganizationID)
}
