package oidc

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) userinfoRoutes() (routes []web.Route) {
	for _, method := range []string{"GET", "POST"} {
		route := web.Route{Method: method, Paths: append([]string{pathUserinfo}, realms(keycloak+"userinfo")...), Public: true, Own: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.userinfo), Status: http.StatusOK, Out: reflect.TypeFor[claims]()},
			Doc: web.Doc{Tag: tag, Summary: "Get the claims of a token's user",
				Text:   "OpenID Connect Core, section 5.3. The access token comes as Authorization: Bearer or, if it is bound to a key, DPoP; a POST may have it in its form. It must be for the issuer, as one is that was asked for without resource. Which claims there are depends on its scope, and on the claims parameter.",
				Errors: []*problem.Problem{errRequest, errNoToken, errToken, errInsufficient, errProof}, Example: exampleClaims}}
		if method == "POST" {
			route.Doc.Summary = "Get the claims of a token's user, by POST"
			route.Doc.Errors = append(route.Doc.Errors, web.ErrTooLarge)
		}
		routes = append(routes, route)
	}
	return routes
}

// claims are what is told of a user, of which there is more than one could list.
type claims map[string]any

var exampleClaims = claims{"sub": "6694c154565dfee5166d1cc7", "email": "ann@example.com", "email_verified": true, "name": "Ann Example"}

// userinfo answers with the claims that the access token is good for.
func (s *Service) userinfo(w http.ResponseWriter, r *http.Request) error {
	by := web.ActorOf(r.Context())
	text, scheme, err := accessToken(r)
	if err != nil {
		return err
	}
	a, err := s.Tokens.Read(r.Context(), by.Tenant, text)
	if errors.Is(err, token.ErrToken) {
		return errToken.Because("%w", err)
	}
	if err != nil {
		return err
	}
	if err := s.checkBinding(r, by, a, text, scheme); err != nil {
		return err
	}
	if err := s.checkAudience(r.Context(), by.Tenant, a); err != nil {
		return err
	}
	if !a.Has("openid") || a.UserID == "" {
		return errInsufficient.Saying("The access token does not have the scope openid.")
	}
	told, err := s.claimsOf(r.Context(), by.Tenant, a)
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, told)
}

// accessToken finds the one access token of a request, and the scheme that it came
// with. One in the address stands in logs and histories, so it is refused (OAuth
// 2.1, section 5.2).
func accessToken(r *http.Request) (text, scheme string, err error) {
	if strings.Contains(r.URL.RawQuery, "access_token=") {
		return "", "", errRequest.Saying("An access token does not belong into an address.")
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", "", errRequest.Saying("The header Authorization comes twice.")
	}
	var posted string
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), formMedia) {
		f, err := readForm(r)
		if err != nil {
			return "", "", err
		}
		posted = f.get("access_token")
	}
	switch {
	case len(headers) == 1 && posted != "":
		return "", "", errRequest.Saying("The access token comes twice.")
	case posted != "":
		return posted, "Bearer", nil
	case len(headers) == 0:
		return "", "", errNoToken
	}
	scheme, text, _ = strings.Cut(headers[0], " ")
	for _, known := range []string{"Bearer", "DPoP"} {
		if strings.EqualFold(scheme, known) && strings.TrimSpace(text) != "" {
			return strings.TrimSpace(text), known, nil
		}
	}
	return "", "", errNoToken
}

// checkBinding holds a token that is bound to a key to a proof of that key (RFC 9449,
// section 7), and one that is not to its scheme.
func (s *Service) checkBinding(r *http.Request, by access.Actor, a token.Access, text, scheme string) error {
	if a.KeyThumbprint == "" {
		if scheme == "DPoP" {
			return errToken.Because("not bound to a key, sent as DPoP")
		}
		return nil
	}
	if scheme != "DPoP" {
		return errToken.Because("bound to a key, sent as Bearer")
	}
	thumbprint, err := s.proof(r, by, text)
	switch {
	case err != nil:
		return err
	case thumbprint == "":
		return errProof.Because("no proof")
	case thumbprint != a.KeyThumbprint:
		return errToken.Because("bound to another key")
	}
	return nil
}

// checkAudience refuses a token that is not for us (RFC 9068, section 4): a resource that
// was sent one for itself must not learn more by it than stands in it (RFC 9700, section
// 2.3).
func (s *Service) checkAudience(ctx context.Context, tenantID string, a token.Access) error {
	issuer, err := s.issuer(ctx, tenantID)
	if err == nil && !slices.Contains(a.Audience, issuer) {
		err = errToken.Saying("The access token is for another resource. Ask for it with resource=%s, or without any.", issuer)
	}
	return err
}

// claimsOf is what an access token may know of its user.
func (s *Service) claimsOf(ctx context.Context, tenantID string, a token.Access) (claims, error) {
	u, err := s.Users.Find(ctx, s.DB, access.System(tenantID), a.UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
		return nil, errToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return nil, err
	}
	wanted, err := s.wanted(ctx, tenantID, a)
	if err != nil {
		return nil, err
	}
	told := claims(token.Claims(u, a.Scope, wanted))
	if a.Organization == "" {
		return told, nil
	}
	in, err := s.standingFor(ctx, tenantID, a)
	in.AddTo(told)
	return told, err
}

// standingFor is what the holder of an access token gets to know of its organization.
func (s *Service) standingFor(ctx context.Context, tenantID string, a token.Access) (token.Standing, error) {
	in, err := s.Tokens.Standing(ctx, tenantID, a.Organization, a.UserID)
	if errors.Is(err, token.ErrToken) {
		err = errToken.Because("%w", err)
	}
	if err != nil {
		return in, err
	}
	app, err := s.findClient(ctx, access.Visitor(tenantID, ""), a.ClientID)
	if errors.Is(err, errClient) {
		return token.Standing{}, nil
	}
	return in.For(app), err
}

// wanted are the claims asked for by name. They are for the application that asked:
// the holder of an exchanged token gets what its scope says.
func (s *Service) wanted(ctx context.Context, tenantID string, a token.Access) (map[string]any, error) {
	if a.GrantID == "" {
		return nil, nil
	}
	g, err := s.Sessions.Grant(ctx, tenantID, a.GrantID)
	if errors.Is(err, session.ErrGrant) {
		return nil, errToken.Because("%w", err)
	}
	if err != nil || len(g.Detail.Claims) == 0 {
		return nil, err
	}
	app, err := s.findClient(ctx, access.Visitor(tenantID, ""), a.ClientID)
	if errors.Is(err, errClient) || err == nil && app.ID != g.ApplicationID {
		return nil, nil
	}
	return token.Requested(g.Detail.Claims), err
}

// challenge says in the answer which token is wanted and what was wrong with the one
// that came (RFC 6750, section 3; RFC 9449, section 7.1), and returns the status.
func challenge(w http.ResponseWriter, r *http.Request, p *problem.Problem) int {
	status := web.Status(p.Kind)
	if p.Code == errProof.Code {
		status = http.StatusUnauthorized
	}
	if status != http.StatusUnauthorized && p.Code != errInsufficient.Code {
		return status
	}
	more := ""
	if p.Code != errNoToken.Code { // who has sent nothing has done nothing wrong
		more = `, error="` + codeOf(p) + `"`
	}
	if p.Code == errInsufficient.Code {
		more += `, scope="openid"`
	}
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sentProof := strings.EqualFold(scheme, "DPoP")
	if !sentProof {
		w.Header().Add("WWW-Authenticate", `Bearer realm="cardea"`+more)
	}
	if sentProof || more == "" || p.Code == errToken.Code {
		w.Header().Add("WWW-Authenticate", `DPoP realm="cardea", algs="`+proofAlgorithmNames+`"`+more)
	}
	return status
}
