// Package kobil answers KOBIL's user API in both of its forms, so that software
// written for it works here unchanged:
//
//	SSMS    {tenant}.{host}/digitanium/v4/…
//	SHIFT   {host}/auth/realms/{tenant}/v3_…, also without /auth
//
// Both reach the same operations; when one is called, tenant.Resolve has found
// the tenant from host or path. An operation translates words and calls the
// packages tenant, user, role and password, which keep the data and the rules.
// Every answer, refusals too, is an envelope whose words are the contract's; see
// Dialect. What belongs to KOBIL's app shield (devices, activation codes,
// transactions, monitoring) is answered with 501, NOT_SUPPORTED.
//
// An attacker would use a key of one tenant on another's path, manage tenants
// with the key of an ordinary one, or learn from the refusals what a key is good
// for: keys hold within one tenant, tenants are managed on master only, and every
// refusal for want of a right is the same 401.
package kobil

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Service answers the calls. Its fields are set once, before use.
type Service struct {
	DB      *database.DB
	Tenants *tenant.Service
	Users   *user.Service
	Hasher  *passhash.Hasher
	// NewTenant makes a tenant with its built-in roles, which it returns by slug.
	NewTenant func(ctx context.Context, tx *database.Tx, by access.Actor, slug, name, kind string) (tenant.Tenant, map[string]role.Role, error)
	// EndSessions ends everything a user is signed in with and returns the ids of the
	// sessions. The reason is a word for the log.
	EndSessions func(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) ([]string, error)
}

const (
	ssms      = "/digitanium/v4/"
	shift     = "/auth/realms/{tenant}/"
	shiftBare = "/realms/{tenant}/" // as the vendor's newer pages have it
)

// addresses returns where a call answers in the two forms; an empty one means
// that the form does not have the call. One that ends in a slash, as some pages
// print it, is good without it too.
func addresses(inSSMS, inSHIFT string) (paths []string) {
	add := func(path string) {
		bare, slash := strings.CutSuffix(path, "/")
		if paths = append(paths, bare); slash {
			paths = append(paths, path+"{$}")
		}
	}
	if inSSMS != "" {
		add(ssms + inSSMS)
	}
	if inSHIFT != "" {
		add(shift + inSHIFT)
		add(shiftBare + inSHIFT)
	}
	return paths
}

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	for _, routes := range [][]web.Route{s.userRoutes(), s.realmRoutes(), unsupportedRoutes()} {
		for _, route := range routes {
			i := slices.IndexFunc(route.Paths, func(path string) bool { return strings.HasPrefix(path, shift) })
			if i > 0 {
				route.Doc.Text = strings.TrimSpace(route.Doc.Text + " In the SHIFT form: " + route.Paths[i] + ".")
			}
			r.Add(route)
		}
	}
}

type problems = []*problem.Problem

func (s *Service) userRoutes() []web.Route {
	const tag = "KOBIL users"
	fields := problems{errNoName, user.ErrInvalid, user.ErrEmail, user.ErrUsername}
	named := problems{errNoName, user.ErrNotFound}
	secrets := slices.Concat(password.Problems, problems{passhash.ErrBusy, errNotSupported})
	return []web.Route{
		{Method: "GET", Paths: addresses("users", "v3_user/getusers/"), Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getUsers),
			Doc: web.Doc{Tag: tag, Summary: "List users", Text: "By username. Filters combine with AND; if they match nobody the answer is 404.",
				Errors: problems{user.ErrNotFound}, Example: exampleList}},
		{Method: "POST", Paths: addresses("users", "v3_user"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postUser),
			Doc: web.Doc{Tag: tag, Summary: "Create a user", Text: "Disabled unless enabled says otherwise. Names in the body may have any letter case. Giving roles takes roles:write too.",
				Errors: slices.Concat(fields, secrets, problems{user.ErrExists}), Request: exampleCreate, Example: exampleCreated}},
		{Method: "GET", Paths: addresses("users/{userName}/profile", "v3_user/{userName}"), Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getUser),
			Doc: web.Doc{Tag: tag, Summary: "Get a user", Text: "By username, e-mail address, phone number or id.",
				Errors: named, Example: exampleUser}},
		{Method: "PUT", Paths: addresses("users/{userName}/update", "v3_user/{userName}/update"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putUser),
			Doc: web.Doc{Tag: tag, Summary: "Update a user", Text: "enabled and emailVerified become true unless the body says otherwise; attributes and roles replace those before; the rest stays. Not by id.",
				Errors: slices.Concat(named, fields, secrets, problems{user.ErrExists, user.ErrLastOwner, user.ErrOwnsOrganization}), Request: exampleUpdate, Example: exampleUpdated}},
		{Method: "PUT", Paths: addresses("users/{userName}/profile", "v3_user/{userName}/profile"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putProfile),
			Doc: web.Doc{Tag: tag, Summary: "Update a user's profile", Text: "What the body does not name stays; an attribute of null is removed.",
				Errors: slices.Concat(named, fields, problems{user.ErrExists}), Request: exampleProfile, Example: profileUpdated}},
		{Method: "PUT", Paths: addresses("users/{userName}/enable", "v3_user/{userName}/enable"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putEnable),
			Doc: web.Doc{Tag: tag, Summary: "Enable a user", Text: "Or disable, if enabled in the body is false.",
				Errors: append(named, user.ErrLastOwner, user.ErrOwnsOrganization), Request: exampleEnable, Example: userUpdated}},
		{Method: "PUT", Paths: addresses("users/{userName}/disable", "v3_user/{userName}/disable"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putDisable),
			Doc: web.Doc{Tag: tag, Summary: "Disable a user", Text: "The body is not read.",
				Errors: append(named, user.ErrLastOwner, user.ErrOwnsOrganization), Example: userUpdated}},
		{Method: "DELETE", Paths: addresses("users/{userName}", "v3_user/{userName}"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.deleteUser),
			Doc: web.Doc{Tag: tag, Summary: "Delete a user", Text: "Not by id.",
				Errors: append(named, user.ErrLastOwner, user.ErrOwnsOrganization), Example: userDeleted}},
		{Method: "PUT", Paths: addresses("users/{userName}/ssms/logout", "v3_user/{userName}/ssms/logout"), Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.putLogout),
			Doc: web.Doc{Tag: tag, Summary: "Sign a user out", Text: "Ends every session, and what applications hold for the user. 409 if the user is not signed in.",
				Errors: append(named, errSignedOut), Example: userSignedOut}},
		nameless("GET", addresses("users/profile", "v3_user")),
		nameless("DELETE", addresses("users", "v3_user")),
		nameless("PUT", slices.Concat(addresses("users/update", "v3_user/update"), addresses("users/profile", "v3_user/profile"),
			addresses("users/enable", "v3_user/enable"), addresses("users/disable", "v3_user/disable"))),
	}
}

// nameless answers addresses that lack the user's name: users//enable, which
// http.ServeMux takes to users/enable.
func nameless(method string, paths []string) web.Route {
	return web.Route{Method: method, Paths: paths, Endpoint: web.Refuse(errNoName),
		Doc: web.Doc{Tag: "KOBIL users", Summary: "Refuse a call that names no user", Errors: problems{errNoName}}}
}

func (s *Service) realmRoutes() []web.Route {
	const tag = "KOBIL tenants and roles"
	return []web.Route{
		{Method: "POST", Paths: addresses("role/{roleName}", "v3_role/{roleName}"), Needs: access.RolesWrite, Endpoint: web.JSON(http.StatusOK, s.postRole),
			Doc: web.Doc{Tag: tag, Summary: "Create a realm role",
				Errors: problems{role.ErrInvalid, role.ErrExists}, Example: roleCreated}},
		{Method: "GET", Paths: addresses("tenants", "v4_realm/"), Needs: access.TenantsRead, Endpoint: web.JSON(http.StatusOK, s.getTenants),
			Doc: web.Doc{Tag: tag, Summary: "List tenants", Text: "On the tenant master only.", Example: exampleTenants}},
		{Method: "POST", Paths: addresses("tenants", "v4_realm/"), Needs: access.TenantsWrite, Endpoint: web.JSON(http.StatusOK, s.postTenant),
			Doc: web.Doc{Tag: tag, Summary: "Create a tenant and its administrator", Text: "On the tenant master only.",
				Errors:  slices.Concat(password.Problems, problems{tenant.ErrInvalid, tenant.ErrExists, user.ErrUsername, user.ErrEmail, user.ErrInvalid, passhash.ErrBusy}),
				Request: exampleNewTenant, Example: exampleTenantMade}},
		{Method: "GET", Paths: addresses("tenants/{name}", "v4_realm/{name}"), Needs: access.TenantsRead, Endpoint: web.JSON(http.StatusOK, s.getTenant),
			Doc: web.Doc{Tag: tag, Summary: "Get a tenant", Text: "On the tenant master only.", Example: exampleTenant}},
		{Method: "DELETE", Paths: addresses("tenants/{name}", "v3_realm/{name}"), Needs: access.TenantsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteTenant),
			Doc: web.Doc{Tag: tag, Summary: "Delete a tenant and everything in it", Text: "On the tenant master only.",
				Errors: problems{tenant.ErrInvalid}, Example: tenantDeleted}},
		{Method: "GET", Paths: addresses("tenants/status", "v4_realm/status"), Needs: access.TenantsRead, Endpoint: web.JSON(http.StatusOK, s.getStatus),
			Doc: web.Doc{Tag: tag, Summary: "Get the status of the tenant that is asked", Text: "The one answer without an envelope.", Example: exampleStatus}},
	}
}

// unsupportedRoutes are the documented calls that need KOBIL's app shield, and
// those on settings that a tenant does not have here.
func unsupportedRoutes() (routes []web.Route) {
	for _, call := range []struct{ method, ssms, shift, summary string }{
		{"GET", "users/{userName}/devices", "v3_user/devices/{userName}", "List a user's devices"},
		{"POST", "users/{userName}/activationcodes", "v3_activationcode/{userName}/", "Create an activation code"},
		{"GET", "users/{userName}/activationcodes", "v3_activationcode/{userName}/", "List activation codes"},
		{"GET", "devices/{deviceId}", "v3_device/{deviceId}", "Get a device"},
		{"DELETE", "devices/{deviceId}", "v3_device/{deviceId}", "Delete a device"},
		{"POST", "devices/{deviceId}/lock", "v3_device/{deviceId}/lock", "Lock a device"},
		{"POST", "devices/{deviceId}/unlock", "v3_device/{deviceId}/unlock", "Unlock a device"},
		{"POST", "", "v3_user/{userName}/tms", "Start a transaction"},
		{"GET", "", "v3_user/tms/{tmsId}/result", "Get the result of a transaction"},
		{"GET", "monitor/statistics", "v3_monitor/statistics", "List statistics"},
		{"POST", "monitor/statistics/{type}", "v3_monitor/statistics/{type}", "Get statistics of a type"},
		{"PUT", "tenants", "v3_realm", "Update a tenant that the query names"},
		{"PUT", "tenants/{name}", "v3_realm/{name}", "Update a tenant"},
		{"GET", "tenants/settings", "v3_realm/settings", "Get a tenant's settings"},
		{"POST", "tenants/settings", "v3_realm/settings", "Change a tenant's settings"},
	} {
		routes = append(routes, web.Route{Method: call.method, Paths: addresses(call.ssms, call.shift), Endpoint: web.Refuse(errNotSupported),
			Doc: web.Doc{Tag: "KOBIL, not supported", Summary: call.summary, Errors: problems{errNotSupported}}})
	}
	return routes
}

// decode reads a body. What is not UTF-8 would be stored with other characters
// in its place, and a password like that could never be typed again.
func decode(raw []byte, into any) error {
	if !utf8.Valid(raw) {
		return web.ErrBody.Saying("The request body is not valid UTF-8.")
	}
	return json.Unmarshal(raw, into)
}
