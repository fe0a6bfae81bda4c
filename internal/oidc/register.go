package oidc

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

// Problems of registrations (RFC 7591, section 3.2.2).
var (
	errNoRegistration = problem.New(problem.Forbidden, "registration_not_offered", "Applications can not register themselves here.")
	errMetadata       = problem.New(problem.Invalid, "invalid_client_metadata", "The application can not be registered like this.")
	errStatement      = problem.New(problem.Invalid, "unapproved_software_statement", "Software statements are not trusted here. Register without one.")
)

// A registration is what an application says of itself, in a registration (RFC 7591)
// or in the document at the address that is its client id. Members that are not here
// are not read.
type registration struct {
	RedirectURIs           []string        `json:"redirect_uris" doc:"https; of a native application also http on loopback, or a scheme that is a domain name in reverse"`
	Name                   string          `json:"client_name,omitempty"`
	ApplicationType        string          `json:"application_type,omitempty" doc:"web (the default) or native"`
	AuthMethod             string          `json:"token_endpoint_auth_method,omitempty" doc:"client_secret_basic (the default), client_secret_post, private_key_jwt or none"`
	GrantTypes             []string        `json:"grant_types,omitempty" doc:"authorization_code and refresh_token; both if absent"`
	ResponseTypes          []string        `json:"response_types,omitempty" doc:"code"`
	Scope                  string          `json:"scope,omitempty" doc:"Scopes of OpenID Connect, separated by spaces"`
	JWKS                   json.RawMessage `json:"jwks,omitempty" doc:"Public keys for private_key_jwt"`
	JWKSURI                string          `json:"jwks_uri,omitempty"`
	LogoURI                string          `json:"logo_uri,omitempty"`
	PolicyURI              string          `json:"policy_uri,omitempty"`
	TermsURI               string          `json:"tos_uri,omitempty"`
	PostLogoutRedirectURIs []string        `json:"post_logout_redirect_uris,omitempty"`
	InitiateLoginURI       string          `json:"initiate_login_uri,omitempty"`
	BackchannelLogoutURI   string          `json:"backchannel_logout_uri,omitempty"`
	FrontchannelLogoutURI  string          `json:"frontchannel_logout_uri,omitempty"`
	IDTokenAlg             string          `json:"id_token_signed_response_alg,omitempty" doc:"RS256 (the default), ES256 or EdDSA"`
	SubjectType            string          `json:"subject_type,omitempty" doc:"public"`
	RequirePAR             bool            `json:"require_pushed_authorization_requests,omitempty"`
	RequireDPoP            bool            `json:"dpop_bound_access_tokens,omitempty"`
	Statement              string          `json:"software_statement,omitempty" doc:"Refused: no issuer is trusted"`
}

// registered is the answer to a registration (RFC 7591, section 3.2.1).
type registered struct {
	ClientID              string   `json:"client_id"`
	ClientSecret          string   `json:"client_secret,omitempty"`
	IssuedAt              int64    `json:"client_id_issued_at"`
	SecretExpiresAt       int64    `json:"client_secret_expires_at" doc:"0: never"`
	RedirectURIs          []string `json:"redirect_uris"`
	Name                  string   `json:"client_name"`
	ApplicationType       string   `json:"application_type"`
	AuthMethod            string   `json:"token_endpoint_auth_method"`
	GrantTypes            []string `json:"grant_types"`
	ResponseTypes         []string `json:"response_types"`
	Scope                 string   `json:"scope"`
	JWKS                  any      `json:"jwks,omitempty"`
	JWKSURI               string   `json:"jwks_uri,omitempty"`
	LogoURI               string   `json:"logo_uri,omitempty"`
	PolicyURI             string   `json:"policy_uri,omitempty"`
	TermsURI              string   `json:"tos_uri,omitempty"`
	PostLogoutURIs        []string `json:"post_logout_redirect_uris,omitempty"`
	InitiateLoginURI      string   `json:"initiate_login_uri,omitempty"`
	BackchannelLogoutURI  string   `json:"backchannel_logout_uri,omitempty"`
	BackchannelSession    bool     `json:"backchannel_logout_session_required,omitempty" doc:"Logout tokens always name the session"`
	FrontchannelLogoutURI string   `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelSession   bool     `json:"frontchannel_logout_session_required,omitempty"`
	IDTokenAlg            string   `json:"id_token_signed_response_alg"`
	SubjectType           string   `json:"subject_type"`
	RequirePAR            bool     `json:"require_pushed_authorization_requests"`
	RequireDPoP           bool     `json:"dpop_bound_access_tokens"`
}

func (s *Service) registerRoutes() []web.Route {
	return []web.Route{{Method: "POST", Paths: []string{pathRegister}, Public: true, Own: true, Endpoint: web.JSON(http.StatusCreated, s.postRegister),
		Doc: web.Doc{Tag: tagAuthorization, Summary: "Register an application",
			Text:    "RFC 7591, if the tenant lets applications register themselves. Such an application belongs to somebody else: users are asked before it learns anything of them.",
			Errors:  []*problem.Problem{errNoRegistration, errMetadata, errRedirect, errStatement, tenant.ErrApplicationsFull, ratelimit.ErrLimited},
			Request: registration{RedirectURIs: []string{"https://app.example.com/callback"}, Name: "Example"},
			Example: registered{
				ClientID: "cli_4q0a5mmvv9r6qt0uk1d7.9f86d081884c7d659a2feaa0c55ad015.Zb3Kq8WnT1yLr5XcVd0PfG", ClientSecret: "cs_GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ4XR6GVT",
				IssuedAt: 1789552800, RedirectURIs: []string{"https://app.example.com/callback"}, Name: "Example", ApplicationType: "web", AuthMethod: "client_secret_basic",
				GrantTypes: []string{tenant.GrantCode, tenant.GrantRefresh}, ResponseTypes: []string{"code"}, Scope: strings.Join(token.Scopes, " "),
				IDTokenAlg: "RS256", SubjectType: "public",
			}}}}
}

func (s *Service) postRegister(ctx context.Context, by access.Actor, in registration) (registered, error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return registered{}, err
	}
	if !t.Settings.SignIn.Registration {
		return registered{}, errNoRegistration
	}
	if err := s.Limits.Take(ctx, by.Tenant, ratelimit.Registration.For(ratelimit.Key("", by.IP))); err != nil {
		return registered{}, err
	}
	app, err := in.application()
	if err != nil {
		return registered{}, err
	}
	var key string
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		app, key, err = s.Tenants.CreateApplication(ctx, tx, by.With(access.ApplicationsWrite), app)
		return err
	})
	if err != nil {
		return registered{}, inMetadata(err)
	}
	return answerTo(in, app, key), nil
}

// inMetadata tells what is wrong with an application in the words of RFC 7591.
func inMetadata(err error) error {
	p, ok := problem.From(err)
	if !ok || p.Code != tenant.ErrApplication.Code {
		return err
	}
	if len(p.Fields) == 0 || p.Fields[0].Name == "redirect_uris" {
		return errRedirect.Saying("%s", p.Message).In("redirect_uris")
	}
	return errMetadata.Saying("%s", p.Message).In(strings.TrimPrefix(p.Fields[0].Name, "oauth."))
}

// application makes an application of what it says of itself. It belongs to somebody
// else and may do nothing but sign users in.
func (m registration) application() (tenant.Application, error) {
	if err := m.check(); err != nil {
		return tenant.Application{}, err
	}
	app := tenant.Application{Name: m.Name, RedirectURIs: m.RedirectURIs, OAuth: tenant.OAuth{
		ApplicationType: m.ApplicationType, AuthMethod: m.AuthMethod, JWKS: m.JWKS, JWKSURI: m.JWKSURI, GrantTypes: m.GrantTypes, ThirdParty: true,
		PostLogoutRedirectURIs: m.PostLogoutRedirectURIs, InitiateLoginURI: m.InitiateLoginURI, BackchannelLogoutURI: m.BackchannelLogoutURI, FrontchannelLogoutURI: m.FrontchannelLogoutURI,
		LogoURI: m.LogoURI, PolicyURI: m.PolicyURI, TermsURI: m.TermsURI, IDTokenAlg: m.IDTokenAlg, RequirePAR: m.RequirePAR, RequireDPoP: m.RequireDPoP,
	}}
	if app.Name == "" {
		app.Name = returnsTo(m.RedirectURIs[0])
	}
	if len(app.OAuth.GrantTypes) == 0 {
		app.OAuth.GrantTypes = []string{tenant.GrantCode, tenant.GrantRefresh}
	}
	return app, nil
}

// check judges what package tenant does not, because an administrator may choose it.
func (m registration) check() error {
	bad := func(field, text string) error { return errMetadata.Saying("%s", text).In(field) }
	switch {
	case m.Statement != "":
		return errStatement.In("software_statement")
	case len(m.RedirectURIs) == 0:
		return errRedirect.Saying("An application needs a redirect URI.").In("redirect_uris")
	case slices.ContainsFunc(m.GrantTypes, func(g string) bool { return g != tenant.GrantCode && g != tenant.GrantRefresh }):
		return bad("grant_types", "An application that registers itself may use authorization_code and refresh_token.")
	case slices.ContainsFunc(m.ResponseTypes, func(t string) bool { return t != "code" }):
		return bad("response_types", "The only response type is code.")
	case m.SubjectType != "" && m.SubjectType != "public":
		return bad("subject_type", "The only subject type is public.")
	case slices.ContainsFunc(strings.Fields(m.Scope), func(scope string) bool { return !slices.Contains(token.Scopes, scope) }):
		return bad("scope", "An application that registers itself may ask for the scopes of OpenID Connect.")
	}
	for _, address := range m.RedirectURIs {
		if m.ApplicationType != "native" && !strings.HasPrefix(address, "https://") {
			return errRedirect.Saying("The redirect URIs of a web application start with https://.").In("redirect_uris")
		}
	}
	return nil
}

// answerTo tells an application how it is registered.
func answerTo(in registration, app tenant.Application, key string) registered {
	out := registered{
		ClientID: app.ClientID, ClientSecret: key, IssuedAt: app.CreatedAt.Unix(), RedirectURIs: app.RedirectURIs, Name: app.Name,
		ApplicationType: cmp.Or(app.OAuth.ApplicationType, "web"), AuthMethod: cmp.Or(in.AuthMethod, "client_secret_basic"), GrantTypes: app.Grants(),
		ResponseTypes: []string{"code"}, Scope: cmp.Or(in.Scope, strings.Join(token.Scopes, " ")), JWKSURI: app.OAuth.JWKSURI,
		LogoURI: app.OAuth.LogoURI, PolicyURI: app.OAuth.PolicyURI, TermsURI: app.OAuth.TermsURI, PostLogoutURIs: app.OAuth.PostLogoutRedirectURIs,
		InitiateLoginURI:     app.OAuth.InitiateLoginURI,
		BackchannelLogoutURI: app.OAuth.BackchannelLogoutURI, BackchannelSession: app.OAuth.BackchannelLogoutURI != "",
		FrontchannelLogoutURI: app.OAuth.FrontchannelLogoutURI, FrontchannelSession: app.OAuth.FrontchannelLogoutURI != "",
		IDTokenAlg: cmp.Or(app.OAuth.IDTokenAlg, "RS256"), SubjectType: "public", RequirePAR: app.OAuth.RequirePAR, RequireDPoP: app.OAuth.RequireDPoP,
	}
	if len(app.OAuth.JWKS) > 0 {
		out.JWKS = app.OAuth.JWKS
	}
	return out
}
