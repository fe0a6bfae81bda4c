package portal

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/role"
)

// A rule gives a role to a group.
type rule struct{ group, role string }

const (
	blankRules = 3 // lines to write more rules on
	maxRules   = 50
)

// grantable are the roles that a link can give: none that makes an administrator.
func (s *Service) grantable(ctx context.Context, v *visit) ([]page.RoleChoice, error) {
	roles, err := role.All(ctx, s.DB, v.by.Tenant)
	var out []page.RoleChoice
	for _, r := range roles {
		if r.IsActive && !r.IsDeleted && !r.IsAdmin && r.Slug != role.Owner {
			out = append(out, page.RoleChoice{ID: r.ID, Name: r.Name})
		}
	}
	return out, err
}

// shown are the rules that a link can change, and lines for more.
func shown(rules []rule, roles []page.RoleChoice) (out []page.PortalRule) {
	for _, r := range rules {
		if gives(roles, r.role) {
			out = append(out, page.PortalRule{Group: r.group, RoleID: r.role})
		}
	}
	return append(out, make([]page.PortalRule, blankRules)...)
}

func gives(roles []page.RoleChoice, id string) bool {
	return slices.ContainsFunc(roles, func(c page.RoleChoice) bool { return c.ID == id })
}

// rulesOf reads the rules of a form. Those that the link can not change, because
// whoever runs the service has made them, stay.
func rulesOf(r *http.Request, before []rule, roles []page.RoleChoice) (out []rule, err error) {
	for _, b := range before {
		if !gives(roles, b.role) {
			out = append(out, b)
		}
	}
	for n := range maxRules + blankRules {
		at := strconv.Itoa(n)
		group, role := strings.TrimSpace(r.PostFormValue("group_"+at)), r.PostFormValue("role_"+at)
		switch {
		case group == "":
			continue
		case !gives(roles, role):
			return nil, ErrRules.In("rules")
		}
		out = append(out, rule{group, role})
	}
	return out, nil
}
