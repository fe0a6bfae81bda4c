package org

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// The newer form of the SSOJet calls: what is an organization here is a tenant there,
// and lists are objects with a cursor.

// ErrNameTaken refuses a second organization of a name in the newer form, which tells
// organizations apart by it.
var ErrNameTaken = problem.New(problem.Conflict, "organization_exists", "Another organization has this name, slug or external id.")

func (s *Service) tenantRoutes() []web.Route {
	const all, one = "/api/v1/tenants", "/api/v1/tenants/{tenantid}"
	wrong := problems{ErrInvalid, user.ErrDomain, ErrNameTaken, ErrRole, role.ErrGrant}
	return []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getTenants),
			Doc: web.Doc{Summary: "List organizations, newer form", Text: "By creation. search looks for a part of name, display name or slug, whatever search_field says.",
				Errors: problems{secret.ErrCursor}, Example: tenantList{100, nil, []tenantForm{exampleTenant}}}},
		{Method: "POST", Paths: []string{all}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusCreated, s.postTenant),
			Doc: web.Doc{Summary: "Add an organization, newer form", Text: "slug is made of name if it is absent. domains are those whose addresses may belong to it; to prove one, see the calls on domains.",
				Errors: wrong, Request: exampleTenantWanted, Example: exampleTenant}},
		{Method: "GET", Paths: []string{one}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getTenant),
			Doc: web.Doc{Summary: "Get an organization, newer form", Errors: problems{ErrNotFound}, Example: exampleTenant}},
		{Method: "PUT", Paths: []string{one}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.putTenant),
			Doc: web.Doc{Summary: "Update an organization, newer form", Text: "What the body does not name stays as it is; policy, branding and metadata are replaced whole.",
				Errors: append(problems{ErrNotFound}, wrong...), Request: exampleTenantChange, Example: updated{true}}},
		{Method: "DELETE", Paths: []string{one}, Needs: access.OrganizationsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteTenant),
			Doc: web.Doc{Summary: "Delete an organization, newer form", Errors: problems{ErrNotFound}, Example: success{true}}},
		{Method: "GET", Paths: []string{one + "/audit"}, Needs: access.LogsRead, Endpoint: web.JSON(http.StatusOK, s.getAudit),
			Doc: web.Doc{Summary: "List an organization's events", Text: "Newest first.", Errors: problems{ErrNotFound, secret.ErrCursor}, Example: auditList{100, nil, []auditEntry{exampleEvent}}}},
		{Method: "GET", Paths: []string{"/api/v1/users/{userid}/tenants"}, Needs: access.OrganizationsRead, Endpoint: web.JSON(http.StatusOK, s.getUsersTenants),
			Doc: web.Doc{Summary: "List a user's organizations, newer form", Errors: problems{user.ErrNotFound}, Example: exampleUsersTenants}},
	}
}

type rules struct {
	AllowOutside bool `json:"allow_profiles_outside_organization" doc:"Members may have addresses of any domain"`
}

// A tenantForm is an organization in the newer form, with all that there is of it.
type tenantForm struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	DisplayName   string          `json:"display_name"`
	Slug          string          `json:"slug"`
	ExternalID    string          `json:"external_id"`
	Domains       []string        `json:"domains" doc:"Domains whose addresses may belong to it"`
	Rules         rules           `json:"rules"`
	Domain        string          `json:"domain" doc:"The first domain it has proved, empty without"`
	Token         string          `json:"sso_connection_token"`
	WorkspaceName string          `json:"workspace_name"`
	Address       string          `json:"address"`
	Website       string          `json:"website"`
	TimeZone      string          `json:"time_zone"`
	Currency      string          `json:"currency"`
	Metadata      json.RawMessage `json:"metadata" doc:"An object of free keys"`
	Policy        Policy          `json:"policy"`
	Branding      Branding        `json:"branding"`
	IsActive      bool            `json:"is_active"`
	CreatedAt     time.Time       `json:"created_at"`
	ModifiedAt    time.Time       `json:"modified_at"`
}

func tenantOf(o Organization) tenantForm {
	f := tenantForm{
		o.ID, o.Name, o.DisplayName, o.Slug, o.ExternalID, orEmpty(o.WhiteList), rules{o.AllowOutside}, o.Domain, o.Token, o.WorkspaceName, o.Address, o.Website, o.TimeZone,
		o.Currency, o.Metadata, o.Policy, o.Branding, o.IsActive, o.CreatedAt, o.ModifiedAt,
	}
	if f.Metadata == nil {
		f.Metadata = json.RawMessage(`{}`)
	}
	f.Policy.Ways, f.Policy.DefaultRoles = orEmpty(o.Policy.Ways), orEmpty(o.Policy.DefaultRoles)
	return f
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// cursorOf is the cursor of a list: null on the last page.
func cursorOf(next string) *string {
	if next == "" {
		return nil
	}
	return &next
}

type tenantList struct {
	Limit   int          `json:"limit"`
	Next    *string      `json:"next_cursor" schema:"nullable" doc:"null on the last page"`
	Tenants []tenantForm `json:"tenants"`
}

type getTenantsRequest struct {
	Limit       string `query:"limit" doc:"1 to 500; 100 if absent"`
	Cursor      string `query:"cursor" doc:"next_cursor of the page before"`
	Search      string `query:"search" doc:"A part of name, display name or slug, in any letter case"`
	SearchField string `query:"search_field" doc:"name, display_name or slug; all are searched"`
}

func (s *Service) getTenants(ctx context.Context, by access.Actor, in getTenantsRequest) (tenantList, error) {
	p, err := pageOf(in.Limit, in.Cursor)
	if err != nil {
		return tenantList{}, err
	}
	if in.SearchField != "" && !slices.Contains([]string{"name", "display_name", "slug"}, in.SearchField) {
		return tenantList{}, web.ErrQuery.Saying("search_field is name, display_name or slug.").In("search_field")
	}
	list, next, err := s.List(ctx, by, in.Search, p)
	out := tenantList{p.Limit, cursorOf(next), make([]tenantForm, len(list))}
	for i, o := range list {
		out.Tenants[i] = tenantOf(o)
	}
	return out, err
}

// tenantBody is what add and update take in the newer form.
type tenantBody struct {
	Name          *string         `json:"name"`
	DisplayName   *string         `json:"display_name"`
	Slug          *string         `json:"slug" doc:"Lower-case letters, digits and hyphens"`
	ExternalID    *string         `json:"external_id"`
	Domains       *[]string       `json:"domains"`
	Rules         *rules          `json:"rules"`
	WorkspaceName *string         `json:"workspace_name"`
	Address       *string         `json:"address"`
	Website       *string         `json:"website"`
	TimeZone      *string         `json:"time_zone"`
	Currency      *string         `json:"currency"`
	Metadata      json.RawMessage `json:"metadata" doc:"An object of at most 16 KiB"`
	Policy        *Policy         `json:"policy"`
	Branding      *Branding       `json:"branding"`
	IsActive      *bool           `json:"is_active"`
}

func (b tenantBody) apply(o *Organization) {
	assign(&o.Name, b.Name)
	assign(&o.DisplayName, b.DisplayName)
	assign(&o.Slug, b.Slug)
	assign(&o.ExternalID, b.ExternalID)
	assign(&o.WhiteList, b.Domains)
	if b.Rules != nil {
		o.AllowOutside = b.Rules.AllowOutside
	}
	assign(&o.WorkspaceName, b.WorkspaceName)
	assign(&o.Address, b.Address)
	assign(&o.Website, b.Website)
	assign(&o.TimeZone, b.TimeZone)
	assign(&o.Currency, b.Currency)
	if b.Metadata != nil {
		o.Metadata = b.Metadata
	}
	assign(&o.Policy, b.Policy)
	assign(&o.Branding, b.Branding)
	assign(&o.IsActive, b.IsActive)
}

type postTenantRequest struct{ tenantBody }

// UnmarshalJSON implements json.Unmarshaler.
func (r *postTenantRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.tenantBody) }

// Schema tells the API description what the body holds.
func (postTenantRequest) Schema() any { return tenantBody{} }

func (s *Service) postTenant(ctx context.Context, by access.Actor, in postTenantRequest) (out tenantForm, err error) {
	if in.Name == nil {
		return tenantForm{}, web.ErrBody.Saying("name is required.").In("name")
	}
	o := Organization{IsActive: true}
	in.apply(&o)
	if o.Slug == "" {
		o.Slug = slugOf(o.Name) // given, so that a second one of the name is refused
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := s.Create(ctx, tx, by, o)
		out = tenantOf(made)
		return err
	})
	return out, err
}

type tenantRequest struct {
	ID string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
}

func (s *Service) getTenant(ctx context.Context, by access.Actor, in tenantRequest) (tenantForm, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return tenantForm{}, err
	}
	o, err := s.Find(ctx, s.DB, by.Tenant, in.ID)
	return tenantOf(o), err
}

type putTenantRequest struct {
	ID string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	tenantBody
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *putTenantRequest) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.tenantBody) }

// Schema tells the API description what the body holds.
func (putTenantRequest) Schema() any { return tenantBody{} }

type updated struct {
	IsUpdated bool `json:"is_updated"`
}

func (s *Service) putTenant(ctx context.Context, by access.Actor, in putTenantRequest) (updated, error) {
	_, err := s.change(ctx, by, in.ID, in.apply)
	return updated{err == nil}, err
}

type success struct {
	Success bool `json:"success"`
}

func (s *Service) deleteTenant(ctx context.Context, by access.Actor, in tenantRequest) (success, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.ID) })
	return success{err == nil}, err
}

// An auditEntry is an event in the contract's form, and what it leaves out.
type auditEntry struct {
	ID        string          `json:"id"`
	Event     string          `json:"event"`
	CreatedAt time.Time       `json:"created_at"`
	Text      string          `json:"text" doc:"What happened, in words; empty for an event that has none. Users are named to a caller with users:read"`
	Actor     string          `json:"actor"`
	ActorName string          `json:"actor_name" doc:"Of a user, to a caller with users:read"`
	Result    string          `json:"result"`
	Detail    json.RawMessage `json:"detail"`
	IPAddress string          `json:"ip_address"`
	UserAgent string          `json:"user_agent"`
	City      string          `json:"city"`
	Country   string          `json:"country"`
	Device    string          `json:"device"`
	Name      string          `json:"name"`
	OS        string          `json:"os"`
}

type auditList struct {
	Limit  int          `json:"limit"`
	Next   *string      `json:"next_cursor" schema:"nullable" doc:"null on the last page"`
	Events []auditEntry `json:"audit_logs"`
}

type getAuditRequest struct {
	ID     string `path:"tenantid" doc:"Id of the organization, 24 hex digits"`
	Limit  string `query:"limit" doc:"1 to 500; 100 if absent"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	Event  string `query:"event" doc:"What the event starts with, such as organization.member"`
}

func (s *Service) getAudit(ctx context.Context, by access.Actor, in getAuditRequest) (auditList, error) {
	if err := by.Require(access.LogsRead); err != nil {
		return auditList{}, err
	}
	p, err := pageOf(in.Limit, in.Cursor)
	if err != nil {
		return auditList{}, err
	}
	o, err := s.Find(ctx, s.DB, by.Tenant, in.ID)
	if err != nil {
		return auditList{}, err
	}
	filter := o.ID + " " + in.Event
	place, err := s.place(ctx, by, "audit", filter, p)
	if err != nil {
		return auditList{}, err
	}
	events, err := audit.List(ctx, s.DB, by.Tenant, audit.Filter{TargetID: o.ID, Action: in.Event, Cursor: place}, p.Limit+1)
	if err != nil {
		return auditList{}, err
	}
	next := ""
	if len(events) > p.Limit {
		events = events[:p.Limit]
		if next, err = s.cursor(ctx, by, "audit", filter, events[p.Limit-1].ID); err != nil {
			return auditList{}, err
		}
	}
	out := auditList{p.Limit, cursorOf(next), make([]auditEntry, len(events))}
	words := lang.Pick("en", "", "en")
	told, err := s.Tell(ctx, s.DB, by, o.ID, words, events)
	for i, e := range told {
		out.Events[i] = auditEntry{ID: e.ID, Event: e.Action, CreatedAt: e.At, Text: e.Sentence(words), Actor: e.Actor, ActorName: e.By.Name, Result: e.Result, Detail: e.Detail, IPAddress: e.IP, UserAgent: e.UserAgent}
	}
	return out, err
}

type usersTenants struct {
	Tenants []usersTenant `json:"tenants"`
}

type usersTenant struct {
	ID      string   `json:"tenant_id"`
	Name    string   `json:"tenant_name"`
	Status  string   `json:"status" doc:"active or suspended"`
	Domains []string `json:"domains"`
	Rules   rules    `json:"rules"`
	Roles   []named  `json:"roles"`
}

func (s *Service) getUsersTenants(ctx context.Context, by access.Actor, in userRequest) (usersTenants, error) {
	_, all, names, err := s.belongs(ctx, by, in.UserID)
	if err != nil {
		return usersTenants{}, err
	}
	out := usersTenants{[]usersTenant{}}
	for _, m := range all {
		out.Tenants = append(out.Tenants, usersTenant{m.ID, m.Name, m.Member.Status, orEmpty(m.WhiteList), rules{m.AllowOutside}, names(m.roles())})
	}
	return out, nil
}
