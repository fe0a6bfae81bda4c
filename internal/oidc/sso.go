package oidc

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

// The SSOJet contract starts single sign-on by /api/sso/authorize, without PKCE, and
// swaps the code by a GET that proves no client: whoever has code and state gets the
// tokens. So these codes are apart from those of the provider: they are good with the
// state they were made for and at that address only, and only an application whose
// answers go to a server it has named by https may have them.

// Problems of the SSOJet form.
var (
	errConnection = problem.New(problem.NotFound, "connection_not_found", "There is no such connection.")
	errSSO        = problem.New(problem.Forbidden, "sso_not_allowed", "This application signs users in by /oauth2/authorize only: it is registered as native or as somebody else's, or has to push its requests or bind its tokens.")
	errCode       = problem.New(problem.Invalid, "invalid_code", "The code is not valid, or not valid any more: unknown, expired, used, or made for another client or state.")
)

// selectors name a connection. The contract wants exactly one; without any the person
// chooses how to sign in.
var selectors = []string{"connection", "organization", "domain", "connection_id", "organization_id"}

// PathSSO is where the SSOJet contract starts single sign-on.
const PathSSO = "/api/sso/authorize"

// ssoScope is what an application gets that has no way to say what it wants.
const ssoScope = "openid profile email phone"

func (s *Service) ssoRoutes() []web.Route {
	return []web.Route{
		{Method: "GET", Paths: []string{PathSSO}, Public: true, Own: true, Endpoint: web.Endpoint{Handler: web.Handler(s.getSSO), Status: http.StatusSeeOther, Media: "text/html"},
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Start single sign-on",
				Text: "The answer goes to redirect_uri with code and state. Swap the code at /api/v1/sso/oauth/accesstoken within a minute.",
				Query: []web.Param{
					{Name: "response_type", Text: "code"}, {Name: "redirect_uri", Text: "One that is registered, character by character"}, {Name: "state", Text: "Needed to swap the code; choose it at random"},
					{Name: "connection", Text: "Id of a connection"}, {Name: "organization", Text: "Id of an organization"}, {Name: "domain", Text: "Of an organization"}, {Name: "login_hint", Text: "What the user is expected to type"},
				},
				Errors: []*problem.Problem{errRequest, errRedirect, errConnection, errSSO, tenant.ErrClient, ratelimit.ErrLimited}, ErrorPages: true}},
		{Method: "GET", Paths: []string{"/api/v1/sso/oauth/accesstoken"}, Public: true, Own: true, Endpoint: notByHead(web.JSON(http.StatusOK, s.getAccessToken)),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Swap the code of a single sign-on", Text: "Code and state are those that came to redirect_uri. It works once.",
				Errors: []*problem.Problem{errCode, tenant.ErrClient, ratelimit.ErrLimited},
				Example: ssoTokens{"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiI2NjBjMGRlOTMxZjYzYWY3ZDQ2N2U2YWQifQ.c2lnbmF0dXJl", "Bearer", 900,
					"rt_ZgwN6TH2OvfUZ-atAAAAAb0dPcsb4oYxG9XqJ2n1TqM", ssoScope}}},
	}
}

// getSSO begins a request in the form of the contract. Its errors are pages for
// browsers and in the dialect of /api for all others, until the journey has begun.
func (s *Service) getSSO(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return err
	}
	j, err := s.begin(r, f.get("client_id"))
	if err != nil {
		return err
	}
	if err := j.readSSO(f); err != nil {
		return err
	}
	if err := s.selectConnection(r.Context(), j, f); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8") // as described, although there is nothing to read
	if _, authority, _ := strings.Cut(j.issuer, "://"); web.CanonicalHost(authority) != web.Of(r.Context()).Host {
		return seeOther(w, j.issuer+r.URL.RequestURI()) // cookies belong to the tenant's own host
	}
	return s.decide(w, r, j)
}

// selectConnection reads which connection is wanted: itself, or by its organization. One
// of several connections of an organization is for the person to choose.
func (s *Service) selectConnection(ctx context.Context, j *journey, f form) error {
	chosen := ""
	for _, name := range selectors {
		if f.get(name) == "" {
			continue
		}
		if chosen != "" {
			return errRequest.Saying("The parameters connection, organization and domain exclude each other.").In(name)
		}
		chosen = name
	}
	value := f.get(chosen)
	var err error
	switch chosen {
	case "":
		return nil
	case "connection", "connection_id":
		j.Connection = value
		j.Organization, err = s.SignIn.Connection(ctx, j.by.Tenant, value)
	default:
		domain := ""
		if chosen == "domain" {
			domain = strings.ToLower(value)
		}
		var connections []string
		j.Organization, connections, err = s.SignIn.Connections(ctx, j.by.Tenant, value, domain)
		if len(connections) == 1 {
			j.Connection = connections[0]
		}
	}
	if _, ok := problem.From(err); ok {
		err = errConnection.In(chosen).Because("%w", err)
	}
	return err
}

// readSSO reads the few parameters of the contract.
func (j *journey) readSSO(f form) (err error) {
	if j.request, err = returnTo(j.app, append(f, parameter{"scope", ssoScope})); err != nil {
		return err
	}
	o := j.app.OAuth
	switch {
	case j.app.IsNative() || o.ThirdParty || o.RequirePAR || o.RequireDPoP || !j.app.May(tenant.GrantCode) || !strings.HasPrefix(j.RedirectURI, "https://") && !isLoopback(j.RedirectURI):
		return errSSO
	case f.get("response_type") != "code":
		return errRequest.Saying("The parameter response_type must be code.").In("response_type")
	case j.State == "":
		return errRequest.Saying("The parameter state is missing.").In("state")
	case len(f.get("login_hint")) > maxHint:
		return errRequest.Saying("The parameter login_hint has at most 1 KiB.").In("login_hint")
	}
	j.SSO, j.Scope, j.LoginHint, j.UILocales, j.Mode = true, ssoScope, f.get("login_hint"), f.get("ui_locales"), modeQuery
	return nil
}

type getAccessTokenRequest struct {
	ClientID string `query:"client_id" doc:"The application"`
	Code     string `query:"code" doc:"That came to redirect_uri"`
	State    string `query:"state" doc:"That came with it"`
}

// notByHead refuses HEAD, which http.ServeMux takes for GET: it would use up what nobody
// gets to read.
func notByHead(e web.Endpoint) web.Endpoint {
	next := e.Handler
	e.Handler = web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodHead {
			return web.ErrNoMethod
		}
		next.ServeHTTP(w, r)
		return nil
	})
	return e
}

type ssoTokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in" doc:"Seconds"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
}

// getAccessToken swaps a code of getSSO. Only failures count against the limit: a
// backend swaps the codes of all its users from one address.
func (s *Service) getAccessToken(ctx context.Context, by access.Actor, in getAccessTokenRequest) (ssoTokens, error) {
	app, err := s.namedClient(ctx, by, in.ClientID)
	if err != nil {
		return ssoTokens{}, err
	}
	g, d, err := s.spendSSOCode(ctx, by, app, in.Code, in.State)
	if errors.Is(err, errGrant) {
		if limited := s.Limits.Take(ctx, by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", by.IP))); limited != nil {
			return ssoTokens{}, limited
		}
		return ssoTokens{}, errCode.Because("%w", err)
	}
	if err != nil {
		return ssoTokens{}, err
	}
	o := token.Options{}
	if d.Refresh {
		if o.Refresh, err = s.Sessions.RefreshToken(ctx, by.Tenant, g); err != nil {
			return ssoTokens{}, err
		}
	}
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return ssoTokens{}, err
	}
	issued, err := s.Tokens.Issue(ctx, t, app, g, o)
	if err != nil {
		return ssoTokens{}, err
	}
	return ssoTokens{issued.Access, issued.Type, int64(issued.ExpiresIn.Seconds()), issued.Refresh, issued.Scope}, nil
}
