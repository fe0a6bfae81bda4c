package app

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/kobil"
	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/openapi"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
	"github.com/cardea-id/cardea/ui"
)

// apiInfo heads the API description.
var apiInfo = openapi.Info{
	Title: "Cardea API", Version: "1",
	Description: "Users, applications and keys of a tenant. Management calls carry an API key as Authorization: Bearer sk_…, and the key's scopes say what it may do. " +
		"The tenant is the one of the host, or of client_id, or of the path, else the default one.",
	License: map[string]string{"name": "Apache-2.0", "identifier": "Apache-2.0"},
}

// apiTags are the groups of calls, in the order in which they are shown.
var apiTags = []openapi.Tag{
	{Name: "Users", Description: "The people of a tenant: create, find, change, delete, give roles."},
	{Name: "Roles and permissions", Description: "What people may do: roles, made of permissions. Lists are bare arrays and changes answer with all roles, as in the older form of the contract; the newer form is under the same addresses."},
	{Name: "Organizations", Description: "Customer companies: members and their roles, proved domains, invitations, the log of each. The newer form of the contract, whose lists have a cursor, calls an organization a tenant."},
	{Name: "Authentication", Description: "Sign people in on pages of your own, by link and code. The calls take the application's client_id and no key."},
	{Name: "Second factor", Description: "Second factors on pages of your own: list, set up, send, validate. The calls carry the MFA token that a sign-in answers where one factor is not enough."},
	{Name: "Sessions", Description: "Who is signed in, and the end of it."},
	{Name: "OpenID Connect", Description: "The OpenID provider of the tenant. Its issuer is the tenant's own address; clients find all of it at /.well-known/openid-configuration."},
	{Name: "Authorization", Description: "What an application does before and beside the pages of the provider: push a request, register itself, begin single sign-on."},
	{Name: "Configuration", Description: "What a sign-in page needs to know of an application."},
	{Name: "Applications", Description: "Programs that sign users in or call the API."},
	{Name: "Connections", Description: "Other services that users sign in with."},
	{Name: "Portal", Description: "Links by which an organization's own administrators set up what is theirs, without an account. A tenant in these addresses is an organization."},
	{Name: "Enterprise connections", Description: "The identity providers of organizations, over SAML 2.0 and OpenID Connect: set them up, test them, see what happened."},
	{Name: scim.Tag, Description: "Where the users and groups of an organization come from, by SCIM. The calls name organizations as tenants, as the newer SSOJet API does."},
	{Name: scim.ServerTag, Description: "The SCIM 2.0 server (RFC 7643, RFC 7644) of each directory. It takes the directory's own token."},
	{Name: "API keys", Description: "Secrets for management calls, each with its scopes."},
	{Name: "Settings", Description: "What the tenant has chosen: how people get in, second factors, looks."},
	{Name: "KOBIL users", Description: "The user API of KOBIL, in its SSMS form and, under the other addresses of each call, in its SHIFT form. Every answer is an envelope; a call without right answers 401."},
	{Name: "KOBIL tenants and roles", Description: "Tenants, managed on the tenant master, and realm roles."},
	{Name: "KOBIL, not supported", Description: "Calls that need KOBIL's app shield, and settings a tenant does not have here. They answer 501, NOT_SUPPORTED."},
	{Name: "Logs", Description: "What has happened in the tenant, and what became of the messages that were sent."},
	{Name: "Health", Description: "For load balancers and probes."},
	{Name: "Documentation", Description: "This description."},
}

// surfaces are the parts of the product that differ in how they answer errors.
var surfaces = []openapi.Surface{
	{
		Prefixes: []string{"/oauth2/", "/.well-known/", "/device", "/auth/realms/{tenant}/protocol/", "/realms/{tenant}/protocol/", "/auth/realms/{tenant}/.well-known/", "/realms/{tenant}/.well-known/"},
		Dialect:  oidc.Dialect, Error: oidc.Failure{},
		Always: []*problem.Problem{web.ErrPlainHTTP, web.ErrInternal, tenant.ErrUnknownHost, tenant.ErrNotFound, tenant.ErrClient},
	},
	{Prefixes: []string{scim.Prefix}, Dialect: scim.Dialect, Error: scim.Failure{}, Always: scim.Problems},
	{
		Prefixes: []string{"/digitanium/", "/auth/realms/", "/realms/"},
		Dialect:  kobil.Dialect, Error: kobil.Failure{},
		Always: []*problem.Problem{web.ErrPlainHTTP, web.ErrInternal, tenant.ErrUnknownHost, tenant.ErrNotFound, tenant.ErrClient},
		Keyed:  []*problem.Problem{web.ErrNobody, tenant.ErrToken, ratelimit.ErrLimited},
	},
	{
		Prefixes: []string{"/livez", "/readyz", "/openapi.json", "/docs", "/ui/"},
		Dialect:  web.API, Error: web.APIError{}, Always: []*problem.Problem{web.ErrPlainHTTP, web.ErrInternal},
	},
	{
		Dialect: web.API, Error: web.APIError{},
		Params: []web.Param{{Name: "client_id", Text: "The application asking, which names the tenant; also as header X-Client-Id"}},
		Always: []*problem.Problem{web.ErrPlainHTTP, web.ErrInternal, tenant.ErrUnknownHost, tenant.ErrClient},
		Keyed:  []*problem.Problem{web.ErrNobody, tenant.ErrToken, ratelimit.ErrLimited},
	},
}

// document returns the handler of an answer that is the same for everybody. It is
// made when it is first asked for: the start of a server need not wait for it.
func document(head http.Header, make func() ([]byte, error)) http.Handler {
	type made struct {
		body, packed []byte
		etag         string
	}
	once := sync.OnceValues(func() (made, error) {
		body, err := make()
		sum := sha256.Sum256(body)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(body) // a buffer takes all
		_ = z.Close()
		return made{body, packed.Bytes(), hex.EncodeToString(sum[:12])}, err
	})
	return web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		d, err := once()
		if err != nil {
			return err
		}
		h := w.Header()
		for name, values := range head {
			h[name] = values
		}
		h.Add("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "public, max-age=300")
		body := d.body
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", `"`+d.etag+`-gzip"`)
			body = d.packed
		} else {
			h.Set("ETag", `"`+d.etag+`"`)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return nil
	})
}

// takesGzip reports whether a client names gzip among what it can unpack.
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, quality, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.TrimPrefix(quality, "q="), "0.") != "" || quality == ""
		}
	}
	return false
}

// pageHead are the headers of a page without any script.
func pageHead() http.Header {
	return http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	}
}

// mountDocs adds the description of all routes and its pages. It comes last, since
// it describes itself too.
func (a *App) mountDocs() {
	tags := apiTags
	if a.Config.Dev {
		tags = append(slices.Clip(tags), mailboxTag)
	}
	describe := sync.OnceValue(func() *openapi.Document {
		return openapi.Describe(apiInfo, tags, surfaces, a.Router.Routes())
	})
	styles := func() []string { return []string{ui.Path("cardea.css"), ui.Path("reference.css")} }
	description := document(http.Header{
		"Content-Type": {"application/json; charset=utf-8"},
		// Nothing of a tenant is in it, so tools on any page may read it.
		"Access-Control-Allow-Origin": {"*"},
	}, func() ([]byte, error) { return describe().JSON(), nil })
	reference := document(pageHead(), func() ([]byte, error) { return describe().Reference(styles(), a.Config.PublicURL) })
	codes := document(pageHead(), func() ([]byte, error) { return describe().ErrorsPage(styles(), web.Codes()) })
	for _, route := range []web.Route{
		{Paths: []string{"/openapi.json"}, Endpoint: web.Endpoint{Handler: description, Media: "application/json"}, Doc: web.Doc{Summary: "Get this description"}},
		{Paths: []string{"/docs"}, Endpoint: web.Endpoint{Handler: reference, Media: "text/html"}, Doc: web.Doc{Summary: "Read this description"}},
		{Paths: []string{"/docs/errors"}, Endpoint: web.Endpoint{Handler: codes, Media: "text/html"}, Doc: web.Doc{Summary: "Read the table of error codes"}},
		{Paths: []string{ui.Pattern}, Endpoint: web.Endpoint{Handler: web.Handler(getAsset), Media: "text/css"}, Doc: web.Doc{Summary: "Get a file of the pages", Text: "Style sheets and the like, by a version that changes with them."}},
	} {
		route.Method, route.Public, route.Status, route.Doc.Tag = http.MethodGet, true, http.StatusOK, "Documentation"
		a.Router.Add(route)
	}
	a.Router.Add(web.Route{
		Method: http.MethodGet, Paths: []string{"/{$}"}, Public: true,
		Endpoint: web.Endpoint{Handler: http.RedirectHandler("/docs", http.StatusSeeOther), Status: http.StatusSeeOther, Media: "text/html"},
		Doc:      web.Doc{Tag: "Documentation", Summary: "Go to this description"},
	})
}

func getAsset(w http.ResponseWriter, r *http.Request) error {
	if err := ui.Serve(w, r); err != nil {
		return web.ErrNoRoute
	}
	return nil
}
