// Package portal lets the administrators of an organization set up what is theirs,
// by a link and without an account: single sign-on, a directory, domains, and the
// certificates of their identity provider.
//
//	Create, Revoke, List   links; each is for one organization, some intents, some days
//	Mount                  the calls that make links, and the pages that they open
//
// A link is opened once with its key; the browser keeps the key in a cookie, and
// addresses and logs have only the link's id from then on. Each request looks the link
// up anew, so that a revoked one ends at once. What it may do is an access.Actor named
// "portal:<link id>" with the permissions of its intents, and every operation names
// the link's organization: the services that are asked do the rest, and log it.
//
// An attacker would guess a link: its key has 130 random bits, and wrong ones are
// counted by address. They would find one in a log, a history or a Referer: only the
// first request carries it, in the query, which is not logged, and pages tell nobody
// where they were. They would open their own link and name the things of another
// organization: everything is looked up under the link's organization, and what is not
// there does not exist. They would have the browser of somebody with a link post a
// form: forms carry the token of package page. They would give their own people the
// roles of the tenant's administrators by a rule for groups: a link can give no role
// that makes an administrator. An expired, a revoked and an unknown link look the same.
package portal

import (
	"context"
	"net/http"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// Problems of the portal.
var (
	ErrGone        = problem.New(problem.NotFound, "portal_link_gone", "This link is no longer good.")
	ErrNotFound    = problem.New(problem.NotFound, "portal_link_not_found", "There is no such link.")
	ErrInvalid     = problem.New(problem.Invalid, "invalid_portal_link", "The link is not valid.")
	ErrFull        = problem.New(problem.Conflict, "too_many_portal_links", "An organization has at most 50 links that work. Revoke one that is not used.")
	ErrMetadata    = problem.New(problem.Invalid, "portal_metadata", "These are no metadata of one SAML identity provider.")
	ErrCertificate = problem.New(problem.Invalid, "portal_certificate", "This is no certificate that can be used.")
	ErrRules       = problem.New(problem.Invalid, "portal_rules", "A rule lacks its group or role, or gives a role that this link can not give.")
)

// A Service keeps links and serves the portal. Its fields are set once, before use.
type Service struct {
	DB          *database.DB
	Tenants     *tenant.Service
	Orgs        *org.Service
	Connections *sso.Service
	Directories *scim.Service
	Notify      *notify.Service
	Limits      *ratelimit.Limiter
	// View is what a page for a request has around it.
	View func(w http.ResponseWriter, r *http.Request) page.View
}

// Path is where the portal is.
const Path = "/portal/"

type problems = []*problem.Problem

// Mount adds the calls and the pages to r.
func (s *Service) Mount(r *web.Router) {
	s.mountLinks(r)
	const link = Path + "{link}"
	one := link + "/connections/{connection}"
	directory := link + "/directory/{directory}"
	asked := problems{page.ErrForm, ErrGone, ratelimit.ErrLimited}
	sets, renews := []string{page.PortalSSO}, []string{page.PortalSSO, page.PortalCertificates}
	for _, p := range []struct {
		method, path, summary string
		intents               []string
		step                  step
		errors                problems
	}{
		{"GET", link, "Page: what there is to set up", nil, s.pageHome, nil},
		{"GET", link + "/connections", "Page: connections", renews, s.pageConnections, nil},
		{"POST", link + "/connections", "Form: a new connection", sets, s.postConnection, problems{sso.ErrInvalid, sso.ErrFull}},
		{"GET", one, "Page: set a connection up", sets, s.pageConnection, problems{sso.ErrNotFound}},
		{"POST", one + "/provider", "Form: what a connection's provider is", sets, s.postProvider, problems{sso.ErrNotFound, sso.ErrInvalid, ErrMetadata}},
		{"POST", one + "/attributes", "Form: attributes and groups of a connection", sets, s.postAttributes, problems{sso.ErrNotFound, sso.ErrInvalid, ErrRules}},
		{"POST", one + "/more", "Form: further settings of a connection", sets, s.postMore, problems{sso.ErrNotFound, sso.ErrInvalid, sso.ErrChanged}},
		{"POST", one + "/test", "Form: test a connection", sets, s.postTest, problems{sso.ErrNotFound, sso.ErrRefused, sso.ErrDisabled}},
		{"GET", one + "/tests/{trace}", "Page: an attempt at a connection", sets, s.pageTrace, problems{sso.ErrNotFound, sso.ErrTrace}},
		{"POST", one + "/state", "Form: switch a connection on or off", sets, s.postState, problems{sso.ErrNotFound, sso.ErrIncomplete}},
		{"POST", one + "/delete", "Form: delete a connection", sets, s.postDelete, problems{sso.ErrNotFound}},
		{"GET", one + "/certificates", "Page: certificates of a connection", renews, s.pageCertificates, problems{sso.ErrNotFound}},
		{"POST", one + "/certificates", "Form: add a certificate to a connection", renews, s.postCertificate, problems{sso.ErrNotFound, sso.ErrInvalid, ErrCertificate}},
		{"POST", one + "/certificates/remove", "Form: remove a certificate of a connection", renews, s.postCertificateRemove, problems{sso.ErrNotFound, sso.ErrInvalid}},
		{"GET", link + "/directory", "Page: directories", []string{page.PortalDirectory}, s.pageDirectories, nil},
		{"POST", link + "/directory", "Form: a new directory", []string{page.PortalDirectory}, s.postDirectory, problems{scim.ErrInvalid, scim.ErrFull}},
		{"GET", directory, "Page: set a directory up", []string{page.PortalDirectory}, s.pageDirectory, problems{scim.ErrNotFound}},
		{"POST", directory + "/token", "Form: a new token of a directory", []string{page.PortalDirectory}, s.postToken, problems{scim.ErrNotFound}},
		{"POST", directory + "/rules", "Form: groups of a directory", []string{page.PortalDirectory}, s.postDirectoryRules, problems{scim.ErrNotFound, scim.ErrInvalid, ErrRules}},
		{"POST", directory + "/state", "Form: switch a directory on or off", []string{page.PortalDirectory}, s.postDirectoryState, problems{scim.ErrNotFound}},
		{"GET", link + "/domains", "Page: domains", []string{page.PortalDomains}, s.pageDomains, nil},
		{"POST", link + "/domains", "Form: a new domain", []string{page.PortalDomains}, s.postDomain, problems{org.ErrPublicDomain, org.ErrClaimed, org.ErrDomainsFull}},
		{"POST", link + "/domains/verify", "Form: check the record of a domain", []string{page.PortalDomains}, s.postVerify, problems{org.ErrDomainNotFound, org.ErrNotProved, org.ErrCheckFailed, org.ErrClaimed}},
		{"POST", link + "/domains/remove", "Form: remove a domain", []string{page.PortalDomains}, s.postRemove, problems{org.ErrDomainNotFound}},
		{"GET", link + "/log", "Page: what was done in the organization", []string{page.PortalLog}, s.pageLog, nil},
	} {
		handler, errors := s.page(p.intents, p.step), append(problems{ErrGone, ratelimit.ErrLimited}, p.errors...)
		if p.method == http.MethodPost {
			handler, errors = s.form(p.intents, p.step), append(asked, p.errors...)
		}
		r.Add(pageRoute(p.method, p.path, p.summary, handler, errors))
	}
	r.Add(pageRoute("GET", sso.TestPath("{trace}"), "Page: where a test of a connection ends", s.pageTested, problems{sso.ErrTrace}))
}

// pageRoute is a page, or a form that leads to one.
func pageRoute(method, path, summary string, handler web.Handler, errors problems) web.Route {
	e := web.Endpoint{Handler: handler, Media: "text/html"}
	if method == http.MethodPost {
		e.Takes = "application/x-www-form-urlencoded, multipart/form-data"
	}
	return web.Route{Method: method, Paths: []string{path}, Public: true, Own: true, Page: true, Endpoint: e, Doc: web.Doc{Tag: "Portal", Summary: summary, Errors: errors}}
}

// permissions are what a link may do, by intent.
var permissions = map[string][]access.Permission{
	page.PortalSSO:          {access.ConnectionsRead, access.ConnectionsWrite},
	page.PortalCertificates: {access.ConnectionsRead, access.ConnectionsWrite},
	page.PortalDirectory:    {access.ConnectionsRead, access.ConnectionsWrite},
	page.PortalDomains:      {access.OrganizationsRead, access.OrganizationsWrite},
	page.PortalLog:          {access.OrganizationsRead},
}

// origin is the address of the actor's tenant, without a path.
func (s *Service) origin(ctx context.Context, by access.Actor) (string, error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return "", err
	}
	return s.Tenants.Origin(ctx, t)
}
