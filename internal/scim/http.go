package scim

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Tags are the groups of the calls in the API description.
const (
	Tag       = "Directories"
	ServerTag = "SCIM"
)

type problems = []*problem.Problem

// Problems are what every request of a directory may be refused with.
var Problems = problems{web.ErrPlainHTTP, web.ErrInternal, tenant.ErrUnknownHost, tenant.ErrClient, errToken, errOff, ratelimit.ErrLimited, web.ErrQuery}

// Mount adds the calls that manage directories, and the SCIM server, to r.
func (s *Service) Mount(r *web.Router) {
	s.mountManagement(r)
	s.mountServer(r)
}

func (s *Service) mountManagement(r *web.Router) {
	const all = "/api/v1/tenants/{tenantid}/directories"
	const one = all + "/{directoryid}"
	const read, write = access.ConnectionsRead, access.ConnectionsWrite
	missing, cursor := problems{ErrNotFound}, problems{ErrNotFound, ErrInvalid}
	more := []web.Param{{Name: "X-Next-Cursor", Text: "Cursor of the next page; absent on the last one"}}
	made := problems{ErrInvalid, org.ErrNotFound, org.ErrRole, role.ErrGrant}
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectories),
			Doc: web.Doc{Summary: "List the directories of an organization", Text: "By creation, at most 20.", Example: []form{exampleForm}}},
		{Method: "POST", Paths: []string{all}, Needs: write, Endpoint: web.JSON(http.StatusCreated, s.postDirectory),
			Doc: web.Doc{Summary: "Create a directory", Text: "It has no token yet: make one, and enter both base_url and token at the other side. Rules that give a role take organizations:write as well.", Errors: append(made, ErrFull), Request: exampleWanted, Example: exampleForm}},
		{Method: "GET", Paths: []string{one}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectory),
			Doc: web.Doc{Summary: "Get a directory", Errors: missing, Example: exampleForm}},
		{Method: "PUT", Paths: []string{one}, Needs: write, Endpoint: web.JSON(http.StatusOK, s.putDirectory),
			Doc: web.Doc{Summary: "Update a directory", Text: "What the body does not name stays as it is. New rules are applied to everybody within seconds.", Errors: append(made, ErrNotFound), Request: exampleChange, Example: exampleForm}},
		{Method: "DELETE", Paths: []string{one}, Needs: write, Endpoint: web.JSON(http.StatusOK, s.deleteDirectory),
			Doc: web.Doc{Summary: "Delete a directory", Text: "Its tokens end at once, and the roles it has given within seconds. Its users stay members of the organization.", Errors: missing, Example: deletedForm{true}}},
		{Method: "POST", Paths: []string{one + "/tokens"}, Needs: write, Endpoint: web.JSON(http.StatusCreated, s.postToken),
			Doc: web.Doc{Summary: "Make a token of a directory", Text: "It is shown this once. Of the tokens before it the newest works on for the overlap, so that nothing stops while somebody carries the new one over.",
				Errors: append(missing, ErrInvalid), Request: exampleTokenWanted, Example: exampleToken}},
		{Method: "GET", Paths: []string{one + "/tokens"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getTokens),
			Doc: web.Doc{Summary: "List the tokens of a directory", Text: "Those that work, newest first: at most two.", Errors: missing, Example: []tokenForm{{ID: exampleToken.ID, Hint: exampleToken.Hint, CreatedAt: exampleToken.CreatedAt}}}},
		{Method: "DELETE", Paths: []string{one + "/tokens/{tokenid}"}, Needs: write, Endpoint: web.JSON(http.StatusOK, s.deleteToken),
			Doc: web.Doc{Summary: "Revoke a token of a directory", Errors: append(missing, ErrTokenNotFound), Example: deletedForm{true}}},
		{Method: "GET", Paths: []string{one + "/log"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getLog),
			Doc: web.Doc{Summary: "List what a directory has asked", Text: "Newest first, seven days back. Personal values are masked.", Headers: more, Errors: cursor, Example: []requestForm{exampleRequest}}},
		{Method: "GET", Paths: []string{one + "/users"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectoryUsers),
			Doc: web.Doc{Summary: "List the users of a directory", Headers: more, Errors: cursor, Example: []userForm{exampleUser}}},
		{Method: "GET", Paths: []string{one + "/users/{userid}"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectoryUser),
			Doc: web.Doc{Summary: "Get a user of a directory", Errors: append(missing, errNoResource), Example: exampleUser}},
		{Method: "GET", Paths: []string{one + "/groups"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectoryGroups),
			Doc: web.Doc{Summary: "List the groups of a directory", Headers: more, Errors: cursor, Example: []groupForm{exampleGroup}}},
		{Method: "GET", Paths: []string{one + "/groups/{groupid}"}, Needs: read, Endpoint: web.JSON(http.StatusOK, s.getDirectoryGroup),
			Doc: web.Doc{Summary: "Get a group of a directory", Errors: append(missing, errNoResource), Example: exampleGroup}},
	} {
		route.Doc.Tag = Tag
		r.Add(route)
	}
}

func (s *Service) mountServer(r *web.Router) {
	const base = Prefix + "{directory}"
	const takes = media + ", application/json"
	changing := problems{errSyntax, errValue, errMutability, errTaken, errVersion, errNoResource, errLarge, user.ErrExists, user.ErrInvalid, user.ErrEmail, user.ErrPhone, user.ErrUsername, errUnproved, errUsersOnly,
		access.ErrDenied, org.ErrLastOwner, org.ErrTooMany, errPath, errNoTarget, errFilter, web.ErrBody}
	listing := problems{errFilter, errTooMany, errPath, errValue, errUsersOnly}
	query := []web.Param{{Name: "filter", Text: "RFC 7644, section 3.4.2.2"}, {Name: "sortBy", Text: "An attribute"}, {Name: "sortOrder", Text: "ascending or descending"},
		{Name: "startIndex", Text: "From 1"}, {Name: "count", Text: "At most 500"}}
	shown := []web.Param{{Name: "attributes", Text: "To show, by commas"}, {Name: "excludedAttributes", Text: "To leave out, by commas"}}
	add := func(method, path, summary string, status int, op func(context.Context, *request) (answer, error), more web.Route) {
		more.Method, more.Paths, more.Public, more.Own = method, []string{base + path}, true, true
		more.Doc.Tag, more.Doc.Summary = ServerTag, summary
		more.Endpoint = web.Endpoint{Handler: s.serve(op), Status: status}
		if status != http.StatusNoContent && status != 0 {
			more.Media = media
		}
		if method != "GET" && method != "DELETE" && status != 0 {
			more.Takes = takes
		}
		r.Add(more)
	}
	doc := func(errors problems, query ...web.Param) web.Route {
		return web.Route{Doc: web.Doc{Errors: errors, Query: query}}
	}
	one := append(problems{errNoResource, errUsersOnly}, errPath)
	add("GET", "/Users", "List users", 200, s.list(users), doc(listing, append(query, shown...)...))
	add("POST", "/Users", "Create a user", 201, s.postUser, doc(changing, shown...))
	add("POST", "/Users/.search", "Search users", 200, s.postSearch(users), doc(append(listing, errSyntax, errLarge)))
	add("GET", "/Users/{id}", "Get a user", 200, s.getUser, doc(one, shown...))
	add("PUT", "/Users/{id}", "Replace a user", 200, s.putUser, doc(changing, shown...))
	add("PATCH", "/Users/{id}", "Change a user", 200, s.patchUser, doc(changing, shown...))
	add("DELETE", "/Users/{id}", "Delete a user", 204, s.dropUser, doc(changing))
	add("GET", "/Groups", "List groups", 200, s.list(groups), doc(listing, append(query, shown...)...))
	add("POST", "/Groups", "Create a group", 201, s.postGroup, doc(changing, shown...))
	add("POST", "/Groups/.search", "Search groups", 200, s.postSearch(groups), doc(append(listing, errSyntax, errLarge)))
	add("GET", "/Groups/{id}", "Get a group", 200, s.getGroup, doc(one, shown...))
	add("PUT", "/Groups/{id}", "Replace a group", 200, s.putGroup, doc(changing, shown...))
	add("PATCH", "/Groups/{id}", "Change a group", 204, s.patchGroup, doc(changing, shown...))
	add("DELETE", "/Groups/{id}", "Delete a group", 204, s.dropGroup, doc(changing))
	add("POST", "/.search", "Search users and groups", 200, s.postSearch(users, groups), doc(append(listing, errSyntax, errLarge)))
	add("POST", "/Bulk", "Make several changes", 200, s.postBulk, doc(problems{errSyntax, errLarge}))
	about := func(errors ...*problem.Problem) web.Route { return doc(append(errors, errNoFilter)) }
	add("GET", "/ServiceProviderConfig", "What this server offers", 200, unfiltered(getConfig), about())
	add("GET", "/ResourceTypes", "List kinds of resources", 200, unfiltered(getResourceTypes), about())
	add("GET", "/ResourceTypes/{id}", "Get a kind of resource", 200, unfiltered(getResourceType), about(errNoResource))
	add("GET", "/Schemas", "List schemas", 200, unfiltered(getSchemas), about())
	add("GET", "/Schemas/{id}", "Get a schema", 200, unfiltered(getSchema), about(errNoResource))
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		add(method, "/Me", "Not supported: a token is not a person's", 0, me, doc(problems{errNotHere}))
	}
}

type byOrganization struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
}

type byID struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	ID           string `path:"directoryid" doc:"24 hex digits"`
}

// A form is a directory as the API has it.
type form struct {
	ID             string     `json:"id"`
	OrganizationID string     `json:"organization_id"`
	Name           string     `json:"name"`
	Type           string     `json:"type" doc:"azure_ad, okta, google, onelogin, jumpcloud, ping or custom"`
	State          string     `json:"state" doc:"active or disabled"`
	BaseURL        string     `json:"base_url" doc:"To enter at the other side"`
	GroupRules     []Rule     `json:"group_rules" doc:"Roles in the organization for members of groups"`
	LastSyncAt     *time.Time `json:"last_sync_at"`
	CreatedAt      time.Time  `json:"created_at"`
	ModifiedAt     time.Time  `json:"modified_at"`
}

func formOf(d Directory, base string) form {
	rules := d.GroupRules
	if rules == nil {
		rules = []Rule{}
	}
	return form{d.ID, d.OrganizationID, d.Name, d.Type, d.State, base, rules, orAbsent(d.LastSyncAt), d.CreatedAt, d.ModifiedAt}
}

func orAbsent(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (s *Service) form(ctx context.Context, by access.Actor, d Directory) (form, error) {
	base, err := s.BaseURL(ctx, by.Tenant, d.ID)
	return formOf(d, base), err
}

func (s *Service) getDirectories(ctx context.Context, by access.Actor, in byOrganization) ([]form, error) {
	all, err := s.List(ctx, s.DB, by, in.Organization)
	out := make([]form, len(all))
	for i, d := range all {
		if err == nil {
			out[i], err = s.form(ctx, by, d)
		}
	}
	return out, err
}

func (s *Service) getDirectory(ctx context.Context, by access.Actor, in byID) (form, error) {
	d, err := s.Find(ctx, s.DB, by, in.Organization, in.ID)
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, d)
}

type postRequest struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	Name         string `json:"name" schema:"required"`
	Type         string `json:"type" doc:"custom if absent"`
	GroupRules   []Rule `json:"group_rules"`
}

func (s *Service) postDirectory(ctx context.Context, by access.Actor, in postRequest) (out form, err error) {
	d := Directory{OrganizationID: in.Organization, Name: in.Name, Type: in.Type, GroupRules: in.GroupRules}
	if d.Type == "" {
		d.Type = "custom"
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		d, err = s.Create(ctx, tx, by, d)
		return err
	})
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, d)
}

type putRequest struct {
	Organization string  `path:"tenantid" doc:"24 hex digits"`
	ID           string  `path:"directoryid" doc:"24 hex digits"`
	Name         *string `json:"name"`
	Type         *string `json:"type"`
	State        *string `json:"state" doc:"active, or disabled: nothing is taken from it then"`
	GroupRules   *[]Rule `json:"group_rules" doc:"Replaces all of them"`
}

func (s *Service) putDirectory(ctx context.Context, by access.Actor, in putRequest) (out form, err error) {
	var d Directory
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := by.Require(access.ConnectionsWrite); err != nil {
			return err
		}
		if d, err = findDirectory(ctx, tx, by.Tenant, in.Organization, in.ID); err != nil {
			return err
		}
		assign(&d.Name, in.Name)
		assign(&d.Type, in.Type)
		assign(&d.State, in.State)
		assign(&d.GroupRules, in.GroupRules)
		d, err = s.Save(ctx, tx, by, d)
		return err
	})
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, d)
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

type deletedForm struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteDirectory(ctx context.Context, by access.Actor, in byID) (deletedForm, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.Organization, in.ID) })
	return deletedForm{err == nil}, err
}

type postTokenRequest struct {
	Organization string     `path:"tenantid" doc:"24 hex digits"`
	ID           string     `path:"directoryid" doc:"24 hex digits"`
	Overlap      *int64     `json:"overlap_seconds" doc:"How long the token before works on: seven days if absent, 90 days at most"`
	ExpiresAt    *time.Time `json:"expires_at" doc:"Never if absent"`
	UsersOnly    bool       `json:"users_only" doc:"It may not touch groups"`
}

type tokenForm struct {
	ID        string     `json:"id"`
	Token     string     `json:"token,omitempty" doc:"Only in the answer to create"`
	Hint      string     `json:"hint" doc:"Last four characters"`
	UsersOnly bool       `json:"users_only"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

func tokenFormOf(t Token, key string) tokenForm {
	return tokenForm{t.ID, key, t.Hint, t.UsersOnly, t.CreatedAt, orAbsent(t.ExpiresAt)}
}

func (s *Service) postToken(ctx context.Context, by access.Actor, in postTokenRequest) (out tokenForm, err error) {
	want := NewTokenRequest{Overlap: Overlap, UsersOnly: in.UsersOnly}
	if in.Overlap != nil {
		want.Overlap = time.Duration(min(max(*in.Overlap, 0), 1e9)) * time.Second
	}
	if in.ExpiresAt != nil {
		want.ExpiresAt = *in.ExpiresAt
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		t, key, err := s.NewToken(ctx, tx, by, in.Organization, in.ID, want)
		out = tokenFormOf(t, key)
		return err
	})
	return out, err
}

func (s *Service) getTokens(ctx context.Context, by access.Actor, in byID) ([]tokenForm, error) {
	all, err := s.Tokens(ctx, s.DB, by, in.Organization, in.ID)
	out := make([]tokenForm, len(all))
	for i, t := range all {
		out[i] = tokenFormOf(t, "")
	}
	return out, err
}

type byTokenID struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	ID           string `path:"directoryid" doc:"24 hex digits"`
	Token        string `path:"tokenid" doc:"24 hex digits"`
}

func (s *Service) deleteToken(ctx context.Context, by access.Actor, in byTokenID) (deletedForm, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		return s.RevokeToken(ctx, tx, by, in.Organization, in.ID, in.Token)
	})
	return deletedForm{err == nil}, err
}

type pageRequest struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	ID           string `path:"directoryid" doc:"24 hex digits"`
	Limit        string `query:"limit" doc:"1 to 200; 50 if absent"`
	Cursor       string `query:"cursor" doc:"X-Next-Cursor of the page before"`
}

func (in pageRequest) limit() (int, error) {
	if in.Limit == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(in.Limit)
	if err != nil || n < 1 || n > maxRequests {
		return 0, web.ErrQuery.Saying("limit is a number from 1 to %d.", maxRequests).In("limit")
	}
	return n, nil
}

// A page is part of a list, and the way to the next.
type pageOf[T any] struct {
	items []T
	next  string
}

// MarshalJSON implements json.Marshaler.
func (p pageOf[T]) MarshalJSON() ([]byte, error) {
	if p.items == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(p.items)
}

// Header tells the way to the next page.
func (p pageOf[T]) Header(h http.Header) {
	if p.next != "" {
		h.Set("X-Next-Cursor", p.next)
	}
}

// Schema tells the API description what the array holds.
func (pageOf[T]) Schema() any { return []T{} }

type requestForm struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Method  string    `json:"method"`
	Path    string    `json:"path" doc:"Below the base address"`
	Status  int       `json:"status"`
	Problem string    `json:"problem" doc:"What was wrong with it"`
	Form    string    `json:"form" doc:"What we made of it"`
}

func (s *Service) getLog(ctx context.Context, by access.Actor, in pageRequest) (out pageOf[requestForm], err error) {
	limit, err := in.limit()
	if err != nil {
		return out, err
	}
	all, next, err := s.Requests(ctx, by, in.Organization, in.ID, in.Cursor, limit)
	for _, r := range all {
		out.items = append(out.items, requestForm(r))
	}
	out.next = next
	return out, err
}

// A userForm is a user of a directory in the SSOJet form.
type userForm struct {
	ID            string          `json:"id"`
	Username      string          `json:"username"`
	FirstName     string          `json:"first_name"`
	LastName      string          `json:"last_name"`
	Emails        []emailForm     `json:"emails"`
	RawAttributes json.RawMessage `json:"raw_attributes" doc:"What the directory said"`
}

type emailForm struct {
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
}

func userFormOf(p person) userForm {
	out := userForm{ID: p.ID, Username: p.UserName, FirstName: stringAt(p.doc, "name", "givenName"), LastName: stringAt(p.doc, "name", "familyName"), Emails: []emailForm{}, RawAttributes: encode(p.doc)}
	for i, e := range emailsOf(p.doc) {
		out.Emails = append(out.Emails, emailForm{e, i == 0})
	}
	return out
}

// afterCursor reads a cursor of a list in the order of ids.
func (in pageRequest) afterCursor() (*mark, int, error) {
	limit, err := in.limit()
	if err != nil || in.Cursor == "" {
		return nil, limit, err
	}
	if len(in.Cursor) != 24 {
		return nil, 0, ErrInvalid.Saying("The cursor is not one of ours.").In("cursor")
	}
	return &mark{id: in.Cursor}, limit, nil
}

// pageIDs reads the ids of a page, and the cursor of the next.
func (s *Service) pageIDs(ctx context.Context, by access.Actor, k *kind, in pageRequest) (ids []string, next string, err error) {
	after, limit, err := in.afterCursor()
	if err != nil {
		return nil, "", err
	}
	if _, err := s.Find(ctx, s.DB, by, in.Organization, in.ID); err != nil {
		return nil, "", err
	}
	t := tables[k]
	marks, err := s.read(ctx, t, &where{text: t.from, args: []any{by.Tenant, in.ID}}, query{}, t.id, after, limit+1, 0)
	for i, m := range marks {
		if i == limit {
			next = ids[limit-1]
			break
		}
		ids = append(ids, m.id)
	}
	return ids, next, err
}

func (s *Service) getDirectoryUsers(ctx context.Context, by access.Actor, in pageRequest) (out pageOf[userForm], err error) {
	ids, next, err := s.pageIDs(ctx, by, users, in)
	if err != nil {
		return out, err
	}
	people, err := s.peopleByID(ctx, by.Tenant, in.ID, ids)
	for _, p := range people {
		out.items = append(out.items, userFormOf(p))
	}
	out.next = next
	return out, err
}

type byUserID struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	ID           string `path:"directoryid" doc:"24 hex digits"`
	User         string `path:"userid" doc:"24 hex digits"`
}

func (s *Service) getDirectoryUser(ctx context.Context, by access.Actor, in byUserID) (userForm, error) {
	if _, err := s.Find(ctx, s.DB, by, in.Organization, in.ID); err != nil {
		return userForm{}, err
	}
	p, err := findPerson(ctx, s.DB, by.Tenant, in.ID, in.User)
	if err != nil {
		return userForm{}, err
	}
	return userFormOf(p), nil
}

// A groupForm is a group of a directory in the SSOJet form.
type groupForm struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	RawAttributes json.RawMessage `json:"raw_attributes" doc:"What the directory said, without the members"`
}

func groupFormOf(g group) groupForm {
	d := groupDoc(g, "")
	delete(d, "meta")
	delete(d, "id")
	return groupForm{g.ID, g.Name, encode(d)}
}

func (s *Service) getDirectoryGroups(ctx context.Context, by access.Actor, in pageRequest) (out pageOf[groupForm], err error) {
	ids, next, err := s.pageIDs(ctx, by, groups, in)
	if err != nil {
		return out, err
	}
	all, err := s.groupsByID(ctx, by.Tenant, in.ID, ids)
	for _, g := range all {
		out.items = append(out.items, groupFormOf(g))
	}
	out.next = next
	return out, err
}

type byGroupID struct {
	Organization string `path:"tenantid" doc:"24 hex digits"`
	ID           string `path:"directoryid" doc:"24 hex digits"`
	Group        string `path:"groupid" doc:"24 hex digits"`
}

func (s *Service) getDirectoryGroup(ctx context.Context, by access.Actor, in byGroupID) (groupForm, error) {
	if _, err := s.Find(ctx, s.DB, by, in.Organization, in.ID); err != nil {
		return groupForm{}, err
	}
	g, err := findGroup(ctx, s.DB, by.Tenant, in.ID, in.Group)
	if err != nil {
		return groupForm{}, err
	}
	return groupFormOf(g), nil
}

// Examples of the API description.
var (
	exampleMade = time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC)
	exampleForm = formOf(Directory{
		ID: "6694c133565dfee5166d1cd1", OrganizationID: "6694c133565dfee5166d1cd0", Name: "Entra ID", Type: "azure_ad", State: Active,
		GroupRules: []Rule{{"Administrators", "6694c133565dfee5166d1cb9"}}, CreatedAt: exampleMade, ModifiedAt: exampleMade,
	}, "https://shop.example.com/scim/v2/6694c133565dfee5166d1cd1")
	exampleWanted      = json.RawMessage(`{"name":"Entra ID","type":"azure_ad"}`)
	exampleChange      = json.RawMessage(`{"state":"disabled"}`)
	exampleTokenWanted = json.RawMessage(`{"overlap_seconds":86400}`)
	exampleToken       = tokenForm{ID: "6694c133565dfee5166d1cd2", Token: "scim_…", Hint: "7K2Q", CreatedAt: exampleMade}
	exampleRequest     = requestForm{"6694c133565dfee5166d1cd3", exampleMade, "PATCH", "/Users/6694c133565dfee5166d1cd4", 200, "", "replace active=false"}
	exampleUser        = userForm{"6694c133565dfee5166d1cd4", "ada@example.com", "Ada", "Lovelace", []emailForm{{"ada@example.com", true}}, json.RawMessage(`{"userName":"ada@example.com","active":true}`)}
	exampleGroup       = groupForm{"6694c133565dfee5166d1cd5", "Administrators", json.RawMessage(`{"displayName":"Administrators"}`)}
)
