package role

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// The SSOJet calls on roles and permissions. Each has an older and a newer form under
// one address. In the older one lists are bare arrays and a change of a role, and even
// of a permission, answers with all roles. Whoever pages, or names no slug to a change,
// asks in the newer form.

// A Service answers the calls. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Held returns what the actor holds in the whole tenant, if the actor is a user.
	Held func(ctx context.Context, db database.Reader, by access.Actor) (Set, error)
	// Dropped takes a role that was deleted from those who hold it.
	Dropped func(ctx context.Context, tx *database.Tx, tenant, id string) error
	// Changed is told when what roles give has changed.
	Changed func()
}

type roleForm struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Slug          string    `json:"slug" doc:"What programs call it, in tokens too"`
	Description   string    `json:"description"`
	PermissionID  []string  `json:"permission_id" schema:"nullable" doc:"Ids of permissions, null if there are none"`
	IsDeleted     bool      `json:"is_deleted"`
	IsActive      bool      `json:"is_active"`
	PermissionIDs []string  `json:"permission_ids" doc:"The same, as the newer form has it: empty if there are none"`
	IsDefault     bool      `json:"is_default" doc:"Built in: it can not be deleted"`
	CreatedAt     time.Time `json:"created_at"`
	ModifiedAt    time.Time `json:"modified_at"`
}

func formOf(r Role) roleForm {
	return roleForm{
		ID: r.ID, Name: r.Name, Slug: r.Slug, Description: r.Description, PermissionID: r.PermissionIDs, IsDeleted: r.IsDeleted, IsActive: r.IsActive,
		PermissionIDs: append([]string{}, r.PermissionIDs...), IsDefault: r.BuiltIn, CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt,
	}
}

func formsOf(roles []Role) []roleForm {
	out := make([]roleForm, len(roles))
	for i, r := range roles {
		out[i] = formOf(r)
	}
	return out
}

type permissionForm struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Slug        string    `json:"slug" doc:"What programs call it, in tokens too"`
	Description string    `json:"description"`
	IsDeleted   bool      `json:"is_deleted"`
	IsActive    bool      `json:"is_active"`
	IsDefault   bool      `json:"is_default" doc:"Built in: it can not be deleted"`
	CreatedAt   time.Time `json:"created_at"`
	ModifiedAt  time.Time `json:"modified_at"`
}

func permissionFormOf(p Permission) permissionForm {
	return permissionForm{p.ID, p.Name, p.Slug, p.Description, p.IsDeleted, p.IsActive, p.BuiltIn, p.CreatedAt, p.ModifiedAt}
}

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	const tag = "Roles and permissions"
	type problems = []*problem.Problem
	const grants = " Nobody puts into a role, or changes in one, what they do not hold."
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/roles"}, Needs: access.RolesRead, Endpoint: web.JSON(http.StatusOK, s.getRoles),
			Doc: web.Doc{Tag: tag, Summary: "List roles", Text: "A bare array of all roles by creation, at most 1,000. With limit or cursor it is the newer form: an object with roles, limit and next_cursor, which is empty on the last page.",
				Errors: problems{errCursor}, Example: formsOf([]Role{exampleOwner, exampleDeveloper})}},
		{Method: "POST", Paths: []string{"/api/v1/roles"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.postRole),
			Doc: web.Doc{Tag: tag, Summary: "Create a role", Text: "Answers with all roles, the new one last. Without a slug it is the newer form: the slug is made of the name, and the answer is the role alone." + grants,
				Errors: problems{ErrInvalid, ErrExists, ErrGrant, ErrFull}, Request: exampleRoleWanted, Example: formsOf([]Role{exampleOwner, exampleMade})}},
		{Method: "GET", Paths: []string{"/api/v1/roles/{roleId}"}, Needs: access.RolesRead, Endpoint: web.JSON(http.StatusOK, s.getRole),
			Doc: web.Doc{Tag: tag, Summary: "Get a role", Errors: problems{ErrNotFound}, Example: formOf(exampleDeveloper)}},
		{Method: "PUT", Paths: []string{"/api/v1/roles/{roleId}"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.putRole),
			Doc: web.Doc{Tag: tag, Summary: "Update a role", Text: "What the body does not name stays as it is. Answers with all roles; if the body names neither slug nor permission_id, in the newer form, with the role alone. A built-in role keeps its slug, and the owner's the built-in permissions." + grants,
				Errors: problems{ErrNotFound, ErrInvalid, ErrExists, ErrGrant, ErrBuiltIn}, Request: exampleRoleChange, Example: formsOf([]Role{exampleOwner, exampleChanged})}},
		{Method: "DELETE", Paths: []string{"/api/v1/roles/{roleId}"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.deleteRole),
			Doc: web.Doc{Tag: tag, Summary: "Delete a role", Text: "Its holders lose it at once. A role that is made later under the same slug is another one, which nobody holds.",
				Errors: problems{ErrNotFound, ErrGrant, ErrBuiltIn}, Example: deleted{true, true}}},
		{Method: "PUT", Paths: []string{"/api/v1/roles/assignpermission"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.putAssigned),
			Doc: web.Doc{Tag: tag, Summary: "Assign permissions to a role", Text: "They take the place of those before. Answers with the role." + grants,
				Errors: problems{ErrNotFound, ErrInvalid, ErrGrant, ErrBuiltIn}, Request: exampleAssignment, Example: formOf(exampleChanged)}},
		{Method: "GET", Paths: []string{"/api/v1/permissions"}, Needs: access.RolesRead, Endpoint: web.JSON(http.StatusOK, s.getPermissions),
			Doc: web.Doc{Tag: tag, Summary: "List permissions", Text: "A bare array of all permissions by creation, at most 1,000. With limit or cursor it is the newer form: an object with permissions, limit and next_cursor, which is empty on the last page.",
				Errors: problems{errCursor}, Example: []permissionForm{permissionFormOf(examplePermission)}}},
		{Method: "POST", Paths: []string{"/api/v1/permissions"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusCreated, s.postPermission),
			Doc: web.Doc{Tag: tag, Summary: "Create a permission", Text: "Without a slug it is made of the name. What a permission allows is up to the applications that find it in tokens.",
				Errors: problems{ErrInvalidPermission, ErrPermissionExists, ErrFull}, Request: examplePermissionWanted, Example: permissionFormOf(exampleReports)}},
		{Method: "GET", Paths: []string{"/api/v1/permissions/{permissionid}"}, Needs: access.RolesRead, Endpoint: web.JSON(http.StatusOK, s.getPermission),
			Doc: web.Doc{Tag: tag, Summary: "Get a permission", Errors: problems{ErrPermission}, Example: permissionFormOf(examplePermission)}},
		{Method: "PUT", Paths: []string{"/api/v1/permissions/{permissionid}"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.putPermission),
			Doc: web.Doc{Tag: tag, Summary: "Update a permission", Text: "What the body does not name stays as it is. Answers with all roles, as the contract's example does; without a slug, in the newer form, with the permission alone. A built-in permission keeps its slug.",
				Errors: problems{ErrPermission, ErrInvalidPermission, ErrPermissionExists, ErrGrant, ErrBuiltIn}, Request: examplePermissionChange, Example: formsOf([]Role{exampleOwner, exampleDeveloper})}},
		{Method: "DELETE", Paths: []string{"/api/v1/permissions/{permissionid}"}, Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.deletePermission),
			Doc: web.Doc{Tag: tag, Summary: "Delete a permission", Text: "Every role loses it at once.", Errors: problems{ErrPermission, ErrGrant, ErrBuiltIn}, Example: deleted{true, true}}},
	} {
		r.Add(route)
	}
}

// An answer is what the form of the request asks for.
type answer struct {
	body   any
	header http.Header
}

// MarshalJSON implements json.Marshaler.
func (a answer) MarshalJSON() ([]byte, error) { return json.Marshal(a.body) }

// Header adds the way to the next page.
func (a answer) Header(h http.Header) {
	for name, values := range a.header {
		h[name] = values
	}
}

// Each of these is an answer whose forms the API description tells apart.
type (
	roleList          struct{ answer }
	rolesOrRole       struct{ answer }
	permissionList    struct{ answer }
	rolesOrPermission struct{ answer }
)

func (roleList) Schema() any          { return web.OneOf{[]roleForm{}, rolePage{}} }
func (rolesOrRole) Schema() any       { return web.OneOf{[]roleForm{}, roleForm{}} }
func (permissionList) Schema() any    { return web.OneOf{[]permissionForm{}, permissionPage{}} }
func (rolesOrPermission) Schema() any { return web.OneOf{[]roleForm{}, permissionForm{}} }

type rolePage struct {
	Limit      int        `json:"limit"`
	NextCursor string     `json:"next_cursor" doc:"Empty on the last page"`
	Roles      []roleForm `json:"roles"`
}

type permissionPage struct {
	Limit       int              `json:"limit"`
	NextCursor  string           `json:"next_cursor" doc:"Empty on the last page"`
	Permissions []permissionForm `json:"permissions"`
}

type listRequest struct {
	ClientID string `query:"client_id" doc:"The application asking; names the tenant"`
	Limit    string `query:"limit" doc:"How many a page: 1 to 500, 100 if only cursor is given"`
	Cursor   string `query:"cursor" doc:"next_cursor of the page before"`
}

var errCursor = problem.New(problem.Invalid, "invalid_cursor", "The cursor is not one of this list. Start again without one.")

// page cuts out of a list that is in the order of its ids what the request asks for.
func page[T any](in listRequest, all []T, id func(T) string) (part []T, limit int, next string, err error) {
	limit = 100
	if in.Limit != "" {
		if limit, err = strconv.Atoi(in.Limit); err != nil || limit < 1 || limit > 500 {
			return nil, 0, "", web.ErrQuery.Saying("limit is a whole number from 1 to 500.").In("limit")
		}
	}
	if in.Cursor != "" && !secret.IsID(in.Cursor) {
		return nil, 0, "", errCursor
	}
	from := slices.IndexFunc(all, func(v T) bool { return id(v) > in.Cursor })
	if from < 0 {
		from = len(all)
	}
	part = all[from:min(from+limit, len(all))]
	if from+limit < len(all) {
		next = id(part[len(part)-1])
	}
	return part, limit, next, nil
}

// isPaged reports whether the newer form is asked for.
func (in listRequest) isPaged() bool { return in.Limit != "" || in.Cursor != "" }

// way is the way to the next page, as the list of users has it.
func (in listRequest) way(path, next string) http.Header {
	if next == "" {
		return nil
	}
	query := url.Values{"cursor": {next}}
	for name, value := range map[string]string{"client_id": in.ClientID, "limit": in.Limit} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return http.Header{"X-Next-Cursor": {next}, "Link": {"<" + path + "?" + query.Encode() + `>; rel="next"`}}
}

func (s *Service) getRoles(ctx context.Context, by access.Actor, in listRequest) (out roleList, err error) {
	if err := by.Require(access.RolesRead); err != nil {
		return out, err
	}
	roles, err := All(ctx, s.DB, by.Tenant)
	if err != nil {
		return out, err
	}
	if !in.isPaged() {
		out.body = formsOf(roles)
		return out, nil
	}
	roles, limit, next, err := page(in, roles, func(r Role) string { return r.ID })
	out.answer = answer{rolePage{limit, next, formsOf(roles)}, in.way("/api/v1/roles", next)}
	return out, err
}

type postRoleRequest struct {
	Name          string   `json:"name" schema:"required" doc:"At most 100 bytes"`
	Slug          *string  `json:"slug" doc:"At most 100 bytes; made of the name if absent"`
	Description   string   `json:"description" doc:"At most 1,000 bytes"`
	PermissionID  []string `json:"permission_id" doc:"Ids of permissions"`
	PermissionIDs []string `json:"permission_ids" doc:"The same, as the newer form has it"`
}

func (s *Service) postRole(ctx context.Context, by access.Actor, in postRoleRequest) (out rolesOrRole, err error) {
	n := New{Name: in.Name, Description: in.Description, PermissionIDs: slices.Concat(in.PermissionID, in.PermissionIDs)}
	assign(&n.Slug, in.Slug)
	if in.Slug != nil && *in.Slug == "" {
		return out, ErrInvalid.Saying("slug is empty.").In("slug")
	}
	out.answer, err = s.change(ctx, by, in.Slug != nil, func(tx *database.Tx, held Set) (Role, error) { return Create(ctx, tx, by, held, n) })
	return out, err
}

// change makes a change of a role and answers with the role, or with all of them.
func (s *Service) change(ctx context.Context, by access.Actor, all bool, make func(tx *database.Tx, held Set) (Role, error)) (out answer, err error) {
	err = s.write(ctx, by, func(tx *database.Tx, held Set) error {
		r, err := make(tx, held)
		if err != nil || !all {
			out.body = formOf(r)
			return err
		}
		roles, err := All(ctx, tx, by.Tenant)
		out.body = formsOf(roles)
		return err
	})
	return out, err
}

// write runs a change of what roles give, by somebody who may make one.
func (s *Service) write(ctx context.Context, by access.Actor, change func(tx *database.Tx, held Set) error) error {
	if err := by.Require(access.RolesWrite); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		held, err := s.Held(ctx, tx, by)
		if err != nil {
			return err
		}
		tx.OnCommit(s.Changed)
		return change(tx, held)
	})
}

type roleRequest struct {
	RoleID string `path:"roleId" doc:"Id of the role, 24 hex digits"`
}

func (s *Service) getRole(ctx context.Context, by access.Actor, in roleRequest) (roleForm, error) {
	if err := by.Require(access.RolesRead); err != nil {
		return roleForm{}, err
	}
	r, err := Find(ctx, s.DB, by.Tenant, in.RoleID)
	return formOf(r), err
}

type putRoleRequest struct {
	RoleID        string    `path:"roleId" doc:"Id of the role, 24 hex digits"`
	Name          *string   `json:"name"`
	Slug          *string   `json:"slug"`
	Description   *string   `json:"description"`
	PermissionID  *[]string `json:"permission_id" doc:"Ids of all permissions the role shall hold"`
	PermissionIDs *[]string `json:"permission_ids" doc:"The same, as the newer form has it"`
}

func (s *Service) putRole(ctx context.Context, by access.Actor, in putRoleRequest) (out rolesOrRole, err error) {
	c := Change{Name: in.Name, Slug: in.Slug, Description: in.Description, PermissionIDs: in.PermissionIDs}
	if in.PermissionID != nil {
		c.PermissionIDs = in.PermissionID
	}
	if err := named(in.Name, in.Slug, ErrInvalid); err != nil {
		return out, err
	}
	older := in.Slug != nil || in.PermissionID != nil
	out.answer, err = s.change(ctx, by, older, func(tx *database.Tx, held Set) (Role, error) { return Update(ctx, tx, by, held, in.RoleID, c) })
	return out, err
}

// named returns wrong if a change would take a name or slug away.
func named(name, slug *string, wrong *problem.Problem) error {
	if name != nil && *name == "" {
		return wrong.Saying("name is empty.").In("name")
	}
	if slug != nil && *slug == "" {
		return wrong.Saying("slug is empty.").In("slug")
	}
	return nil
}

// deleted is the answer in both forms.
type deleted struct {
	IsDeleted bool `json:"is_deleted"`
	Success   bool `json:"success"`
}

func (s *Service) deleteRole(ctx context.Context, by access.Actor, in roleRequest) (deleted, error) {
	err := s.write(ctx, by, func(tx *database.Tx, held Set) error {
		if err := Delete(ctx, tx, by, held, in.RoleID); err != nil {
			return err
		}
		return s.Dropped(ctx, tx, by.Tenant, in.RoleID)
	})
	return deleted{err == nil, err == nil}, err
}

type putAssignedRequest struct {
	ID            string   `json:"id" schema:"required" doc:"Id of the role"`
	PermissionIDs []string `json:"permission_ids" schema:"required" doc:"Ids of all permissions the role shall hold"`
}

func (s *Service) putAssigned(ctx context.Context, by access.Actor, in putAssignedRequest) (out roleForm, err error) {
	if in.PermissionIDs == nil {
		return out, web.ErrBody.Saying("permission_ids is required: an array of ids.").In("permission_ids")
	}
	err = s.write(ctx, by, func(tx *database.Tx, held Set) error {
		r, err := Update(ctx, tx, by, held, in.ID, Change{PermissionIDs: &in.PermissionIDs})
		out = formOf(r)
		return err
	})
	return out, err
}

func (s *Service) getPermissions(ctx context.Context, by access.Actor, in listRequest) (out permissionList, err error) {
	if err := by.Require(access.RolesRead); err != nil {
		return out, err
	}
	permissions, err := AllPermissions(ctx, s.DB, by.Tenant)
	if err != nil {
		return out, err
	}
	forms := make([]permissionForm, len(permissions))
	for i, p := range permissions {
		forms[i] = permissionFormOf(p)
	}
	if !in.isPaged() {
		out.body = forms
		return out, nil
	}
	forms, limit, next, err := page(in, forms, func(p permissionForm) string { return p.ID })
	out.answer = answer{permissionPage{limit, next, forms}, in.way("/api/v1/permissions", next)}
	return out, err
}

type postPermissionRequest struct {
	Name        string `json:"name" schema:"required" doc:"At most 100 bytes"`
	Slug        string `json:"slug" doc:"At most 100 bytes; made of the name if absent"`
	Description string `json:"description" doc:"At most 1,000 bytes"`
}

func (s *Service) postPermission(ctx context.Context, by access.Actor, in postPermissionRequest) (out permissionForm, err error) {
	err = s.write(ctx, by, func(tx *database.Tx, _ Set) error {
		p, err := CreatePermission(ctx, tx, by, New{Name: in.Name, Slug: in.Slug, Description: in.Description})
		out = permissionFormOf(p)
		return err
	})
	return out, err
}

type permissionRequest struct {
	PermissionID string `path:"permissionid" doc:"Id of the permission, 24 hex digits"`
}

func (s *Service) getPermission(ctx context.Context, by access.Actor, in permissionRequest) (permissionForm, error) {
	if err := by.Require(access.RolesRead); err != nil {
		return permissionForm{}, err
	}
	p, err := FindPermission(ctx, s.DB, by.Tenant, in.PermissionID)
	return permissionFormOf(p), err
}

type putPermissionRequest struct {
	PermissionID string  `path:"permissionid" doc:"Id of the permission, 24 hex digits"`
	Name         *string `json:"name"`
	Slug         *string `json:"slug"`
	Description  *string `json:"description"`
}

func (s *Service) putPermission(ctx context.Context, by access.Actor, in putPermissionRequest) (out rolesOrPermission, err error) {
	if err := named(in.Name, in.Slug, ErrInvalidPermission); err != nil {
		return out, err
	}
	err = s.write(ctx, by, func(tx *database.Tx, held Set) error {
		p, err := UpdatePermission(ctx, tx, by, held, in.PermissionID, Change{Name: in.Name, Slug: in.Slug, Description: in.Description})
		if err != nil || in.Slug == nil {
			out.body = permissionFormOf(p)
			return err
		}
		roles, err := All(ctx, tx, by.Tenant)
		out.body = formsOf(roles)
		return err
	})
	return out, err
}

func (s *Service) deletePermission(ctx context.Context, by access.Actor, in permissionRequest) (deleted, error) {
	err := s.write(ctx, by, func(tx *database.Tx, held Set) error { return DeletePermission(ctx, tx, by, held, in.PermissionID) })
	return deleted{err == nil, err == nil}, err
}
