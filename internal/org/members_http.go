package org

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) memberRoutes() []web.Route {
	const all = "/api/v1/tenants/{tenantid}/users"
	const one = all + "/{userid}"
	return []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getMembers),
			Doc: web.Doc{Summary: "List members", Text: "By the users' creation.", Errors: problems{ErrNotFound, secret.ErrCursor}, Example: memberList{100, nil, []memberForm{exampleMember}}}},
		{Method: "POST", Paths: []string{all}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.postMembers),
			Doc: web.Doc{Summary: "Add members", Text: "At most 500 at a time. Whoever is a member already keeps their roles and status unless role_ids are given.",
				Errors: problems{ErrNotFound, user.ErrNotFound, ErrTooMany, ErrRole, ErrLastOwner, role.ErrGrant}, Request: exampleAddMembers, Example: addedMembers{true}}},
		{Method: "DELETE", Paths: []string{all}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteMembers),
			Doc: web.Doc{Summary: "Remove members", Text: "At most 500 at a time; those who are no members are passed over.",
				Errors: problems{ErrNotFound, ErrLastOwner}, Request: exampleRemoveMembers, Example: success{true}}},
		{Method: "GET", Paths: []string{one}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getMember),
			Doc: web.Doc{Summary: "Get a member", Errors: problems{ErrMemberNotFound}, Example: exampleMember}},
		{Method: "PUT", Paths: []string{one}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.putMember),
			Doc: web.Doc{Summary: "Suspend or restore a member", Text: "break_glass lets an owner in without the single sign-on that the organization's policy asks for.",
				Errors: problems{ErrNotFound, ErrMemberNotFound, ErrLastOwner, ErrInvalid}, Request: examplePutMember, Example: updated{true}}},
		{Method: "POST", Paths: []string{one + "/roles"}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.postMemberRoles),
			Doc: web.Doc{Summary: "Replace a member's roles", Text: "Those that are given by hand; what a connection or directory gives stays.",
				Errors: problems{ErrNotFound, ErrMemberNotFound, ErrRole, ErrLastOwner, role.ErrGrant}, Request: exampleMemberRoles, Example: updated{true}}},
	}
}

// A memberForm is a user as a member of an organization.
type memberForm struct {
	ID            string     `json:"id"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	FirstName     string     `json:"first_name"`
	LastName      string     `json:"last_name"`
	IsActive      bool       `json:"is_active"`
	Status        string     `json:"status" doc:"active or suspended"`
	Source        string     `json:"source" doc:"manual, invitation, sso or scim"`
	BreakGlass    bool       `json:"break_glass" doc:"An owner who gets in without the organization's single sign-on"`
	Roles         []named    `json:"roles"`
	JoinedAt      time.Time  `json:"joined_at"`
	CreatedAt     time.Time  `json:"created_at"`
	ModifiedAt    time.Time  `json:"modified_at"`
	LastLoginAt   *time.Time `json:"last_login_at" schema:"nullable"`
}

func memberOf(m Member, u user.User, roles []named) memberForm {
	f := memberForm{
		ID: u.ID, Email: u.Email, EmailVerified: u.EmailVerified, FirstName: u.FirstName, LastName: u.LastName, IsActive: u.IsActive, Status: m.Status, Source: m.Source,
		BreakGlass: m.BreakGlass, Roles: roles, JoinedAt: m.CreatedAt, CreatedAt: u.CreatedAt, ModifiedAt: u.ModifiedAt,
	}
	if !u.LastLoginAt.IsZero() {
		f.LastLoginAt = &u.LastLoginAt
	}
	return f
}

type memberList struct {
	Limit int          `json:"limit"`
	Next  *string      `json:"next_cursor" schema:"nullable" doc:"null on the last page"`
	Users []memberForm `json:"users"`
}

type getMembersRequest struct {
	ID     string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Limit  string `query:"limit" doc:"1 to 500; 100 if absent"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (s *Service) getMembers(ctx context.Context, by access.Actor, in getMembersRequest) (memberList, error) {
	p, err := pageOf(in.Limit, in.Cursor)
	if err != nil {
		return memberList{}, err
	}
	list, next, err := s.Members(ctx, by, in.ID, p)
	if err != nil {
		return memberList{}, err
	}
	forms, err := s.memberForms(ctx, by, list)
	return memberList{p.Limit, cursorOf(next), forms}, err
}

// memberForms looks up users and roles of a page at once. Lists of both are by id.
func (s *Service) memberForms(ctx context.Context, by access.Actor, list []Member) ([]memberForm, error) {
	var ids, roles []string
	for _, m := range list {
		ids, roles = append(ids, m.UserID), append(roles, m.AllRoles()...)
	}
	users, err := s.Users.ByIDs(ctx, s.DB, by.With(access.UsersRead), ids)
	if err != nil {
		return nil, err
	}
	byID := map[string]user.User{}
	for _, u := range users {
		byID[u.ID] = u
	}
	names, err := s.names(ctx, by.Tenant, roles)
	out := make([]memberForm, 0, len(list))
	for _, m := range list {
		if u, ok := byID[m.UserID]; ok && err == nil { // or gone since
			out = append(out, memberOf(m, u, names(m.AllRoles())))
		}
	}
	return out, err
}

// ListUsers returns a page of the users who are members of an organization, and the
// cursor of the next one; nobody if there is no such organization. The actor needs
// users:read and organizations:read.
func (s *Service) ListUsers(ctx context.Context, by access.Actor, organization, cursor string, limit int) ([]user.User, string, error) {
	list, next, err := s.Members(ctx, by, organization, Page{cursor, limit})
	if errors.Is(err, ErrNotFound) {
		return nil, "", nil
	}
	var ids []string
	for _, m := range list {
		ids = append(ids, m.UserID)
	}
	if err != nil {
		return nil, "", err
	}
	users, err := s.Users.ByIDs(ctx, s.DB, by, ids)
	return users, next, err
}

type memberRequest struct {
	ID     string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
}

func (s *Service) getMember(ctx context.Context, by access.Actor, in memberRequest) (memberForm, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return memberForm{}, err
	}
	m, err := s.Member(ctx, s.DB, by.Tenant, in.ID, in.UserID)
	if err != nil {
		return memberForm{}, err
	}
	forms, err := s.memberForms(ctx, by, []Member{m})
	if err == nil && len(forms) == 0 {
		err = ErrMemberNotFound
	}
	if err != nil {
		return memberForm{}, err
	}
	return forms[0], nil
}

type postMembersRequest struct {
	ID      string   `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	UserIDs []string `json:"user_ids" schema:"required"`
	RoleIDs []string `json:"role_ids" doc:"Roles that all of them get"`
}

type addedMembers struct {
	IsAdded bool `json:"is_added"`
}

// checkMany bounds what one call may name.
func checkMany(field string, ids []string) error {
	if len(ids) == 0 || len(ids) > MaxPage {
		return web.ErrBody.Saying("%s names 1 to %d users.", field, MaxPage).In(field)
	}
	return nil
}

func (s *Service) postMembers(ctx context.Context, by access.Actor, in postMembersRequest) (addedMembers, error) {
	if err := checkMany("user_ids", in.UserIDs); err != nil {
		return addedMembers{}, err
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := by.Require(access.OrganizationsWrite); err != nil {
			return err
		}
		if _, err := hold(ctx, tx, by.Tenant, in.ID); err != nil {
			return err
		}
		for _, id := range in.UserIDs {
			if _, err := s.AddMember(ctx, tx, by, in.ID, id, in.RoleIDs, SourceManual); err != nil {
				return err
			}
		}
		return nil
	})
	return addedMembers{err == nil}, err
}

type deleteMembersRequest struct {
	ID    string   `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Users []string `json:"users" schema:"required" doc:"Ids"`
}

func (s *Service) deleteMembers(ctx context.Context, by access.Actor, in deleteMembersRequest) (success, error) {
	if err := checkMany("users", in.Users); err != nil {
		return success{}, err
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := by.Require(access.OrganizationsWrite); err != nil {
			return err
		}
		if _, err := hold(ctx, tx, by.Tenant, in.ID); err != nil {
			return err
		}
		for _, id := range in.Users {
			if err := s.RemoveMember(ctx, tx, by, in.ID, id, ""); err != nil && !errors.Is(err, ErrMemberNotFound) {
				return err
			}
		}
		return nil
	})
	return success{err == nil}, err
}

type putMemberRequest struct {
	ID         string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	UserID     string `path:"userid" doc:"Id of the user, 24 hex digits"`
	Status     string `json:"status" doc:"active or suspended"`
	BreakGlass *bool  `json:"break_glass"`
}

func (s *Service) putMember(ctx context.Context, by access.Actor, in putMemberRequest) (updated, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		switch in.Status {
		case "":
		case Active:
			err = s.Restore(ctx, tx, by, in.ID, in.UserID, "")
		case Suspended:
			err = s.Suspend(ctx, tx, by, in.ID, in.UserID, "")
		default:
			err = web.ErrBody.Saying("status is active or suspended.").In("status")
		}
		if err == nil && in.BreakGlass != nil {
			err = s.SetBreakGlass(ctx, tx, by, in.ID, in.UserID, *in.BreakGlass)
		}
		if err == nil && in.Status == "" && in.BreakGlass == nil {
			err = web.ErrBody.Saying("Name status or break_glass.")
		}
		return err
	})
	return updated{err == nil}, err
}

type postMemberRolesRequest struct {
	ID      string   `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	UserID  string   `path:"userid" doc:"Id of the user, 24 hex digits"`
	RoleIDs []string `json:"role_ids" schema:"required" doc:"Ids of all roles the member shall have by hand"`
}

func (s *Service) postMemberRoles(ctx context.Context, by access.Actor, in postMemberRolesRequest) (updated, error) {
	if in.RoleIDs == nil {
		return updated{}, web.ErrBody.Saying("role_ids is required.").In("role_ids")
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.SetRoles(ctx, tx, by, in.ID, in.UserID, in.RoleIDs) })
	return updated{err == nil}, err
}

// Examples of the API description.
var (
	exampleUser          = "6694c154565dfee5166d1cc7"
	exampleRole          = "6694c133565dfee5166d1cb9"
	exampleAddMembers    = json.RawMessage(`{"user_ids":["` + exampleUser + `"]}`)
	exampleRemoveMembers = json.RawMessage(`{"users":["` + exampleUser + `"]}`)
	exampleMemberRoles   = json.RawMessage(`{"role_ids":["` + exampleRole + `"]}`)
	examplePutMember     = json.RawMessage(`{"status":"active"}`)
	exampleNamed         = []named{{exampleRole, "Admin", []string{"Team View", "Team Manage", "Manage SSO Connection"}}}
	exampleMember        = memberForm{
		ID: exampleUser, Email: "user@example.com", EmailVerified: true, FirstName: "John", LastName: "Doe", IsActive: true, Status: Active, Source: SourceManual, Roles: exampleNamed,
		JoinedAt: exampleMade, CreatedAt: exampleMade, ModifiedAt: exampleMade,
	}
)
