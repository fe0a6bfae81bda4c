package org

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Tag is the group of the calls in the API description.
const Tag = "Organizations"

type problems = []*problem.Problem

// Mount adds the calls that manage organizations to r.
func (s *Service) Mount(r *web.Router) {
	routes := slices.Concat(s.contractRoutes(), s.tenantRoutes(), s.memberRoutes(), s.domainRoutes(), s.invitationRoutes())
	for _, route := range routes {
		route.Doc.Tag = Tag
		r.Add(route)
	}
}

// contractRoutes are the SSOJet calls in their older form: names in mixed case, bare
// arrays, and the list of domains in the singular where one is added.
func (s *Service) contractRoutes() []web.Route {
	one := []string{"/api/v1/organization/{organizationid}", "/api/account/organization/{organizationid}"}
	update := []string{one[1], one[0]}
	return []web.Route{
		{Method: "POST", Paths: []string{"/api/v1/organization"}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.postOrganization),
			Doc: web.Doc{Summary: "Add an organization", Text: "WhiteListDomain is taken for WhiteListDomains.",
				Errors: problems{ErrInvalid, user.ErrDomain}, Request: exampleAdd, Example: addedOf(exampleOrganization)}},
		{Method: "GET", Paths: one, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getOrganization),
			Doc: web.Doc{Summary: "Get an organization", Errors: problems{ErrNotFound}, Example: formOf(exampleOrganization)}},
		{Method: "GET", Paths: []string{"/api/v1/organizations"}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getOrganizations),
			Doc: web.Doc{Summary: "List organizations", Text: "A bare array by creation. If there are more, the next page's cursor is in X-Next-Cursor and its address in Link.",
				Headers: []web.Param{
					{Name: "X-Next-Cursor", Text: "Cursor of the next page; absent on the last one"},
					{Name: "Link", Text: `Address of the next page, rel="next"; absent on the last one`},
				},
				Errors: problems{secret.ErrCursor}, Example: []form{formOf(exampleOrganization)}}},
		{Method: "PUT", Paths: update, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.putOrganization),
			Doc: web.Doc{Summary: "Update an organization", Text: "What the body does not name stays as it is.",
				Errors: problems{ErrNotFound, ErrInvalid, user.ErrDomain}, Request: exampleUpdate, Example: formOf(exampleOrganization)}},
		{Method: "DELETE", Paths: one, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteOrganization),
			Doc: web.Doc{Summary: "Delete an organization", Text: "Its members stay users. What they had signed in to it with ends.", Errors: problems{ErrNotFound}, Example: deleted{true}}},
		{Method: "GET", Paths: []string{"/api/account/identity/users/{userid}/organizations", "/api/v1/users/{userid}/organizations"}, Needs: access.OrganizationsRead,
			Endpoint: web.JSON(http.StatusOK, s.getUsersOrganizations),
			Doc:      web.Doc{Summary: "List a user's organizations", Text: "permissions are names.", Errors: problems{user.ErrNotFound}, Example: exampleUsersOrganizations}},
		{Method: "GET", Paths: []string{"/api/v1/users/{userid}/permissions"}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getPermissions),
			Doc: web.Doc{Summary: "Explain a user's permissions", Text: "What a user may do, and where each of it comes from: in the whole tenant, or as a member of the organization that organization_id names, " +
				"whose tokens carry it. With organization_id the call needs organizations:read too.",
				Errors: problems{user.ErrNotFound, ErrNotFound}, Example: exampleExplanation}},
	}
}

// LostSlash lets through the address of the contract's update page that lacks a slash,
// /api/v1/organization{organizationid}.
func LostSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := strings.CutPrefix(r.URL.Path, "/api/v1/organization"); ok && secret.IsID(id) {
			mended := *r.URL
			mended.Path, mended.RawPath = "/api/v1/organization/"+id, ""
			r.URL = &mended
		}
		next.ServeHTTP(w, r)
	})
}

// A form is an organization as the contract's older pages have it.
type form struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	WhiteList     []string `json:"WhiteListDomains" schema:"nullable" doc:"null if unset"`
	AllowOutside  bool     `json:"allow_profiles_outside_organization"`
	Token         string   `json:"sso_connection_token" doc:"Names the organization in a start of sign-in; no secret"`
	Domain        string   `json:"domain" doc:"The first domain it has proved, empty without"`
	WorkspaceName string   `json:"WorkspaceName"`
	IsActive      bool     `json:"is_active"`
}

func formOf(o Organization) form {
	return form{o.ID, o.Name, orNil(o.WhiteList), o.AllowOutside, o.Token, o.Domain, o.WorkspaceName, o.IsActive}
}

// orNil makes null of an empty list.
func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// An added is a form with the singular that only the page of adding has.
type added struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	WhiteList     []string `json:"WhiteListDomain" schema:"nullable" doc:"null if unset"`
	AllowOutside  bool     `json:"allow_profiles_outside_organization"`
	Token         string   `json:"sso_connection_token"`
	Domain        string   `json:"domain"`
	WorkspaceName string   `json:"WorkspaceName"`
	IsActive      bool     `json:"is_active"`
}

func addedOf(o Organization) added { return added(formOf(o)) }

// body is what add and update take.
type body struct {
	Name             *string   `json:"Name"`
	WhiteListDomains *[]string `json:"WhiteListDomains" doc:"Domains whose addresses may belong to it"`
	WhiteListDomain  *[]string `json:"WhiteListDomain" doc:"The same as WhiteListDomains"`
	AllowOutside     *bool     `json:"AllowProfilesOutsideOrganization" doc:"Members may have addresses of any domain"`
	AllowOutsideToo  *bool     `json:"allow_profiles_outside_organization" doc:"The same, as answers spell it"`
	WorkspaceName    *string   `json:"WorkspaceName"`
	Address          *string   `json:"address"`
	Website          *string   `json:"website"`
	TimeZone         *string   `json:"time_zone"`
	Currency         *string   `json:"currency"`
	IsActive         *bool     `json:"is_active"`
}

func (b body) apply(o *Organization) {
	assign(&o.Name, b.Name)
	assign(&o.WhiteList, b.WhiteListDomain)
	assign(&o.WhiteList, b.WhiteListDomains)
	assign(&o.AllowOutside, b.AllowOutsideToo)
	assign(&o.AllowOutside, b.AllowOutside)
	assign(&o.WorkspaceName, b.WorkspaceName)
	assign(&o.Address, b.Address)
	assign(&o.Website, b.Website)
	assign(&o.TimeZone, b.TimeZone)
	assign(&o.Currency, b.Currency)
	assign(&o.IsActive, b.IsActive)
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

type postOrganizationRequest struct{ body }

// UnmarshalJSON implements json.Unmarshaler.
func (r *postOrganizationRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.body) }

// Schema tells the API description what the body holds.
func (postOrganizationRequest) Schema() any { return body{} }

func (s *Service) postOrganization(ctx context.Context, by access.Actor, in postOrganizationRequest) (out added, err error) {
	if in.Name == nil {
		return added{}, web.ErrBody.Saying("Name is required.").In("Name")
	}
	o := Organization{IsActive: true}
	in.apply(&o)
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := s.Create(ctx, tx, by, o)
		out = addedOf(made)
		return err
	})
	return out, err
}

type organizationRequest struct {
	ID string `path:"organizationid" doc:"24 hex digits"`
}

func (s *Service) getOrganization(ctx context.Context, by access.Actor, in organizationRequest) (form, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return form{}, err
	}
	o, err := s.Find(ctx, s.DB, by.Tenant, in.ID)
	return formOf(o), err
}

type getOrganizationsRequest struct {
	ClientID string `query:"client_id"`
	Limit    string `query:"limit" doc:"1 to 500; 100 if absent"`
	Cursor   string `query:"cursor" doc:"X-Next-Cursor of the page before"`
	Search   string `query:"search" doc:"A part of name, display name or slug, in any letter case"`
}

// pageOf reads the limit of a list.
func pageOf(limit, cursor string) (Page, error) {
	n, err := web.ParseLimit(limit)
	return Page{Cursor: cursor, Limit: n}, err
}

// formList is a page: a bare array, with the way to the next page in the head.
type formList struct {
	forms []form
	next  string
	link  string
}

// MarshalJSON implements json.Marshaler.
func (l formList) MarshalJSON() ([]byte, error) { return json.Marshal(l.forms) }

// Header tells the way to the next page.
func (l formList) Header(h http.Header) { web.SetNext(h, l.next, l.link) }

// Schema tells the API description what the array holds.
func (formList) Schema() any { return []form{} }

func (s *Service) getOrganizations(ctx context.Context, by access.Actor, in getOrganizationsRequest) (out formList, err error) {
	p, err := pageOf(in.Limit, in.Cursor)
	if err != nil {
		return formList{}, err
	}
	list, next, err := s.List(ctx, by, in.Search, p)
	if err != nil {
		return formList{}, err
	}
	out = formList{forms: make([]form, len(list)), next: next}
	for i, o := range list {
		out.forms[i] = formOf(o)
	}
	if next != "" {
		out.link = web.NextLink("/api/v1/organizations", in, next)
	}
	return out, nil
}

type putOrganizationRequest struct {
	ID string `path:"organizationid" doc:"24 hex digits"`
	body
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *putOrganizationRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.body) }

// Schema tells the API description what the body holds.
func (putOrganizationRequest) Schema() any { return body{} }

func (s *Service) putOrganization(ctx context.Context, by access.Actor, in putOrganizationRequest) (form, error) {
	o, err := s.change(ctx, by, in.ID, in.apply)
	return formOf(o), err
}

// change alters an organization that is held meanwhile.
func (s *Service) change(ctx context.Context, by access.Actor, id string, apply func(*Organization)) (o Organization, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := by.Require(access.OrganizationsWrite); err != nil {
			return err
		}
		if o, err = hold(ctx, tx, by.Tenant, id); err != nil {
			return err
		}
		apply(&o)
		o, err = s.Save(ctx, tx, by, o)
		return err
	})
	return o, err
}

type deleted struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteOrganization(ctx context.Context, by access.Actor, in organizationRequest) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.ID) })
	return deleted{err == nil}, err
}

// A named is a role as an organization's lists have it.
type named struct {
	ID          string   `json:"role_id"`
	Name        string   `json:"role_name"`
	Permissions []string `json:"permissions" schema:"nullable" doc:"Names; null if there are none"`
}

// names looks up the roles of many members at once.
func (s *Service) names(ctx context.Context, tenant string, ids []string) (func(ids []string) []named, error) {
	set, err := role.Resolve(ctx, s.DB, tenant, ids)
	if err != nil {
		return nil, err
	}
	permissions := map[string]string{}
	for _, p := range set.Permissions {
		permissions[p.ID] = p.Name
	}
	return func(ids []string) []named {
		out := []named{}
		for _, r := range set.Roles {
			if !slices.Contains(ids, r.ID) {
				continue
			}
			n := named{ID: r.ID, Name: r.Name}
			for _, p := range r.PermissionIDs {
				if name, ok := permissions[p]; ok {
					n.Permissions = append(n.Permissions, name)
				}
			}
			out = append(out, n)
		}
		return out
	}, nil
}

type userRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
}

type usersOrganizations struct {
	ID            string              `json:"id"`
	EmailID       string              `json:"email_id"`
	Organizations []usersOrganization `json:"organizations"`
}

type usersOrganization struct {
	ID               string   `json:"id"`
	Name             string   `json:"Name"`
	WhiteListDomains []string `json:"WhiteListDomains" schema:"nullable"`
	AllowOutside     bool     `json:"AllowProfilesOutsideOrganization"`
	Domain           string   `json:"domain"`
	WorkspaceName    string   `json:"WorkspaceName"`
	Roles            []named  `json:"roles"`
	IsActive         bool     `json:"is_active"`
	Status           string   `json:"status" doc:"active or suspended"`
}

// belongs returns a user, the organizations they belong to, and what they are in each.
func (s *Service) belongs(ctx context.Context, by access.Actor, userID string) (u user.User, all []Membership, names func([]string) []named, err error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return u, nil, nil, err
	}
	if u, err = s.Users.Find(ctx, s.DB, by.With(access.UsersRead), userID); err != nil {
		return u, nil, nil, err
	}
	if all, err = s.Memberships(ctx, s.DB, by.Tenant, u.ID); err != nil {
		return u, nil, nil, err
	}
	var ids []string
	for _, m := range all {
		ids = append(ids, m.roles()...)
	}
	names, err = s.names(ctx, by.Tenant, ids)
	return u, all, names, err
}

// roles are all roles of the membership, with the organization's default ones.
func (m Membership) roles() []string { return standing{member: m.Member, policy: m.Policy}.roles() }

func (s *Service) getUsersOrganizations(ctx context.Context, by access.Actor, in userRequest) (usersOrganizations, error) {
	u, all, names, err := s.belongs(ctx, by, in.UserID)
	if err != nil {
		return usersOrganizations{}, err
	}
	out := usersOrganizations{ID: u.ID, EmailID: u.Email, Organizations: []usersOrganization{}}
	for _, m := range all {
		out.Organizations = append(out.Organizations, usersOrganization{
			m.ID, m.Name, orNil(m.WhiteList), m.AllowOutside, m.Domain, m.WorkspaceName, names(m.roles()), m.IsActive, m.Member.Status,
		})
	}
	return out, nil
}
