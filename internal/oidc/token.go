package oidc

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

// Tags group the calls in the description, and the pages.
const (
	tag     = "OpenID Connect"
	pageTag = "Hosted pages"
)

// clientErrors are those of every call by which a client proves itself.
var clientErrors = []*problem.Problem{errRequest, errClient, web.ErrTooLarge, ratelimit.ErrLimited}

func (s *Service) tokenRoutes() []web.Route {
	return []web.Route{{
		Method: "POST", Paths: append([]string{pathToken}, realms(keycloak+"token")...), Public: true, Own: true,
		Endpoint: web.Endpoint{Handler: web.Handler(s.postToken), Status: http.StatusOK, Out: reflect.TypeFor[tokenAnswer](), Takes: formMedia},
		Doc: web.Doc{Tag: tag, Summary: "Get tokens",
			Text: "For grant_type authorization_code, refresh_token, client_credentials, urn:ietf:params:oauth:grant-type:device_code or " +
				"urn:ietf:params:oauth:grant-type:token-exchange. A confidential client proves itself by HTTP Basic, client_secret or client_assertion, by one of them only. " +
				"A DPoP header binds the tokens to its key. The form of the answer for a realm has three members more.",
			Errors: slices.Concat(clientErrors, []*problem.Problem{errGrant, errGrantType, errUnauthorized, errScope, errTarget, errPending, errSlowDown, errExpired, errDenied,
				errProof, passhash.ErrBusy}),
			Request: "grant_type=authorization_code&code=8f3…&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcallback&client_id=cli_…&code_verifier=dBjftJeZ4CVP…",
			Example: exampleTokens},
	}}
}

// A call is a request for tokens whose client is known.
type call struct {
	by         access.Actor
	tenant     tenant.Tenant
	app        tenant.Application
	form       form
	thumbprint string // of the key that the client has proved to hold, empty for none
	realm      bool   // asked at the address of a realm, where the answer says more
}

// grants are what can be turned into tokens.
var grants = map[string]func(s *Service, ctx context.Context, c call) (tokenAnswer, error){
	tenant.GrantCode:        (*Service).byCode,
	tenant.GrantRefresh:     (*Service).byRefresh,
	tenant.GrantCredentials: (*Service).bySelf,
	tenant.GrantDevice:      (*Service).byDevice,
	tenant.GrantExchange:    (*Service).byExchange,
	tenant.GrantPassword:    (*Service).byPassword,
}

func (s *Service) postToken(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	c := call{form: f, realm: strings.Contains(r.URL.Path, keycloak)}
	if c.by, c.app, err = s.client(r, f); err != nil {
		return err
	}
	name, err := f.need("grant_type")
	if err != nil {
		return err
	}
	grant, known := grants[name]
	if !known {
		return errGrantType
	}
	if !c.app.May(name) {
		return errUnauthorized.Because("%s may not use %s", c.app.ClientID, name)
	}
	if c.thumbprint, err = s.bind(r, c.by, c.app); err != nil {
		return err
	}
	if c.tenant, err = s.Tenants.ByID(r.Context(), c.by.Tenant); err != nil {
		return err
	}
	answer, err := grant(s, r.Context(), c)
	if err != nil {
		return asGrantError(err)
	}
	return web.Write(w, http.StatusOK, answer)
}

// asGrantError gives the problems of the packages below the code that clients know.
func asGrantError(err error) error {
	if p, ok := problem.From(err); ok && (p.Is(session.ErrGrant) || p.Is(token.ErrToken)) {
		return errGrant.Because("%w", err)
	}
	return err
}

// byCode takes a code (RFC 6749, section 4.1.3).
func (s *Service) byCode(ctx context.Context, c call) (tokenAnswer, error) {
	code, err := c.form.need("code")
	if err != nil {
		return tokenAnswer{}, err
	}
	g, d, err := s.spendCode(ctx, c.by, c.app, code, c.form.get("redirect_uri"), c.form.get("code_verifier"), c.thumbprint)
	if err != nil {
		return tokenAnswer{}, err
	}
	if g.Detail.Audience, err = narrow(c.form.all("resource"), g.Detail.Audience); err != nil {
		return tokenAnswer{}, err
	}
	return s.open(ctx, c, g, d.Nonce, d.Refresh)
}

// open issues the first tokens of a grant, with a refresh token if it gets one.
func (s *Service) open(ctx context.Context, c call, g session.Grant, nonce string, refreshable bool) (answer tokenAnswer, err error) {
	o := token.Options{Nonce: nonce}
	if refreshable && c.app.May(tenant.GrantRefresh) {
		if o.Refresh, err = s.Sessions.RefreshToken(ctx, c.by.Tenant, g); err != nil {
			return tokenAnswer{}, err
		}
	}
	return s.issue(ctx, c, g, o)
}

// byRefresh takes a refresh token (RFC 6749, section 6) and gives the next one with
// the tokens.
func (s *Service) byRefresh(ctx context.Context, c call) (tokenAnswer, error) {
	text, err := c.form.need("refresh_token")
	if err != nil {
		return tokenAnswer{}, err
	}
	if err := s.foresee(ctx, c, text); err != nil {
		return tokenAnswer{}, err
	}
	g, next, err := s.Sessions.Refresh(ctx, c.by, text, c.app.ID, ofRefresh(c.app, c.thumbprint))
	if err != nil {
		return tokenAnswer{}, err
	}
	if g, err = c.part(g); err != nil {
		return tokenAnswer{}, err
	}
	return s.issue(ctx, c, g, token.Options{Refresh: next})
}

// foresee refuses a request for more than was granted before its refresh token is
// used up by it.
func (s *Service) foresee(ctx context.Context, c call, refreshToken string) error {
	if !c.form.has("scope") && !c.form.has("resource") {
		return nil
	}
	g, err := s.Sessions.Behind(ctx, c.by.Tenant, refreshToken)
	if errors.Is(err, session.ErrGrant) || err == nil && g.ApplicationID != c.app.ID {
		return nil // for the one that decides to say
	}
	if err == nil {
		_, err = c.part(g)
	}
	return err
}

// part is a grant with as much of its scope and audience as is asked for.
func (c call) part(g session.Grant) (_ session.Grant, err error) {
	if g.Scope, err = subset(c.form.get("scope"), g.Scope); err != nil {
		return g, err
	}
	g.Detail.Audience, err = narrow(c.form.all("resource"), g.Detail.Audience)
	return g, err
}

// narrow returns the resources that are wanted if all of them are among those
// granted, else errTarget. Wanting none means all.
func narrow(wanted, granted []string) ([]string, error) {
	if len(wanted) == 0 {
		return granted, nil
	}
	if slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(granted, w) }) {
		return nil, errTarget
	}
	return wanted, nil
}

// bySelf gives an application a token for itself (RFC 6749, section 4.4). It writes
// nothing: how many there were is noted later.
func (s *Service) bySelf(ctx context.Context, c call) (tokenAnswer, error) {
	if c.app.IsPublic() {
		return tokenAnswer{}, errUnauthorized
	}
	scope, err := subset(c.form.get("scope"), strings.Join(c.app.OAuth.Scopes, " "))
	if err != nil {
		return tokenAnswer{}, err
	}
	issuer, err := s.issuer(ctx, c.by.Tenant)
	if err != nil {
		return tokenAnswer{}, err
	}
	audience := c.form.all("resource")
	if _, err := narrow(audience, reaching(c.app, issuer).OAuth.Resources); err != nil {
		return tokenAnswer{}, err
	}
	tokens, err := s.Tokens.IssueSelf(ctx, c.tenant, c.app, scope, audience, c.thumbprint)
	if err != nil {
		return tokenAnswer{}, err
	}
	s.issued.add(c.by.Tenant, c.app.ID, tenant.GrantCredentials)
	return c.answer(tokens, session.Grant{}), nil
}

// issue makes the tokens of a grant, whose scope and audience are those to give.
func (s *Service) issue(ctx context.Context, c call, g session.Grant, o token.Options) (tokenAnswer, error) {
	o.KeyThumbprint = c.thumbprint
	o.WithID = slices.Contains(strings.Fields(g.Scope), "openid")
	if !o.WithID { // for an ID token the user is looked up anyway
		if err := s.requireUser(ctx, c.by.Tenant, g.UserID); err != nil {
			return tokenAnswer{}, err
		}
	}
	tokens, err := s.Tokens.Issue(ctx, c.tenant, c.app, g, o)
	if err != nil {
		return tokenAnswer{}, err
	}
	return c.answer(tokens, g), nil
}

func (s *Service) requireUser(ctx context.Context, tenantID, id string) error {
	active, err := s.isActive(ctx, tenantID, id)
	if err == nil && !active {
		err = errGrant.Because("the user is gone or disabled")
	}
	return err
}

// A tokenAnswer is what a client gets (RFC 6749, section 5.1).
type tokenAnswer struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type" doc:"Bearer, or DPoP for a token that is bound to a key"`
	ExpiresIn int64  `json:"expires_in" doc:"Seconds"`
	Refresh   string `json:"refresh_token,omitempty"`
	ID        string `json:"id_token,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Issued    string `json:"issued_token_type,omitempty" doc:"For a token exchange, RFC 8693"`

	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty" doc:"Seconds; at the address of a realm only, as the next two"`
	NotBefore        int64  `json:"not-before-policy,omitempty" doc:"Always 0"`
	SessionState     string `json:"session_state,omitempty"`

	realm bool
}

// answer is what the client of a call gets with these tokens of a grant.
func (c call) answer(t token.Tokens, g session.Grant) tokenAnswer {
	a := tokenAnswer{Access: t.Access, Type: t.Type, ExpiresIn: int64(t.ExpiresIn.Seconds()), Refresh: t.Refresh, ID: t.ID, Scope: t.Scope, realm: c.realm}
	if c.realm && t.Refresh != "" {
		issued := t.ExpiresAt.Add(-t.ExpiresIn)
		a.RefreshExpiresIn = int64(min(token.GrantLifetimes(c.app).Idle, g.ExpiresAt.Sub(issued)).Seconds())
	}
	if c.realm {
		if a.SessionState = g.SessionID; a.SessionState == "" {
			a.SessionState = g.ID
		}
	}
	return a
}

// AppendJSON implements web.Appender.
func (a tokenAnswer) AppendJSON(b []byte) []byte {
	b = web.AppendString(append(b, `{"access_token":`...), a.Access)
	b = web.AppendString(append(b, `,"token_type":`...), a.Type)
	b = strconv.AppendInt(append(b, `,"expires_in":`...), a.ExpiresIn, 10)
	for _, member := range [...]struct{ name, value string }{
		{`,"refresh_token":`, a.Refresh}, {`,"id_token":`, a.ID}, {`,"scope":`, a.Scope}, {`,"issued_token_type":`, a.Issued}, {`,"session_state":`, a.SessionState},
	} {
		if member.value != "" {
			b = web.AppendString(append(b, member.name...), member.value)
		}
	}
	if a.realm {
		b = strconv.AppendInt(append(b, `,"refresh_expires_in":`...), a.RefreshExpiresIn, 10)
		b = append(b, `,"not-before-policy":0`...)
	}
	return append(b, '}')
}

var exampleTokens = tokenAnswer{
	Access: "eyJhbGciOiJFUzI1NiIsImtpZCI6IjY2OTQ…", Type: "Bearer", ExpiresIn: 900, Refresh: "rt_ZpTBVlZf3uUWbRzHAAAAAQ…", ID: "eyJhbGciOiJSUzI1NiIsImtpZCI6IjY2OTQ…",
	Scope: "openid email offline_access",
}
