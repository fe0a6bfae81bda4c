package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

func (s *Service) introspectRoutes() []web.Route {
	return []web.Route{
		{Method: "POST", Paths: append([]string{pathIntrospect}, realms(keycloak+"token/introspect")...), Public: true, Own: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.postIntrospect), Status: http.StatusOK, Out: reflect.TypeFor[introspection](), Takes: formMedia},
			Doc: web.Doc{Tag: tag, Summary: "Ask what a token is worth",
				Text:    "RFC 7662, for confidential clients. Of a token that is not good, of another tenant, or a refresh token of another client, the answer says only that it is not active.",
				Errors:  slices.Concat(clientErrors, []*problem.Problem{errUnauthorized}),
				Request: "token=eyJhbGciOiJFUzI1NiIs…", Example: exampleIntrospection}},
		{Method: "POST", Paths: append([]string{pathRevoke}, realms(keycloak+"revoke")...), Public: true, Own: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.postRevoke), Status: http.StatusOK, Out: reflect.TypeFor[struct{}](), Takes: formMedia},
			Doc: web.Doc{Tag: tag, Summary: "Revoke a token",
				Text:    "RFC 7009. With a refresh token or a user's access token the whole grant ends: all tokens that came from the same sign-in of this client. A token that is unknown or of another client changes nothing, and the answer is the same.",
				Errors:  clientErrors,
				Request: "token=rt_ZpTBVlZf3uUWbRzHAAAAAQ…&client_id=cli_…", Example: struct{}{}}},
	}
}

// An introspection says what a token is worth (RFC 7662, section 2.2).
type introspection struct {
	Active    bool            `json:"active"`
	Scope     string          `json:"scope,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	Type      string          `json:"token_type,omitempty" doc:"Bearer, DPoP or refresh_token"`
	Subject   string          `json:"sub,omitempty" doc:"Id of the user; the client id for a client's own token"`
	Issuer    string          `json:"iss,omitempty"`
	Audience  []string        `json:"aud,omitempty"`
	ID        string          `json:"jti,omitempty"`
	SessionID string          `json:"sid,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	Expires   int64           `json:"exp,omitempty"`
	AuthTime  int64           `json:"auth_time,omitempty"`
	AMR       []string        `json:"amr,omitempty"`
	ACR       string          `json:"acr,omitempty"`
	Confirm   *confirmation   `json:"cnf,omitempty" doc:"The key the token is bound to, RFC 9449"`
	Act       json.RawMessage `json:"act,omitempty" doc:"Who acts for the user, RFC 8693"`

	OrganizationID   string   `json:"org_id,omitempty" doc:"The organization that the user acts in"`
	OrganizationSlug string   `json:"org_slug,omitempty"`
	Roles            []string `json:"roles,omitempty" doc:"Of the user in that organization, as they are now"`
	Permissions      []string `json:"permissions,omitempty" doc:"That these roles give, as they are now"`
}

type confirmation struct {
	Thumbprint string `json:"jkt"`
}

var exampleIntrospection = introspection{
	Active: true, Scope: "openid email", ClientID: "cli_…", Type: "Bearer", Subject: "6694c154565dfee5166d1cc7", Issuer: "https://auth.example.com",
	Audience: []string{"https://auth.example.com"}, ID: "6694c1545651eee5166d1cc9", SessionID: "6694c154565dfee5166d1cc8", IssuedAt: 1721000000, Expires: 1721000900,
	AuthTime: 1720999990, AMR: []string{"pwd"}, ACR: "urn:cardea:acr:1",
}

// postIntrospect answers a server that was given a token. Only one that proves itself
// may ask: else a thief could find out what a token is good for.
func (s *Service) postIntrospect(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	by, app, err := s.client(r, f)
	if err != nil {
		return err
	}
	if app.IsPublic() {
		return errUnauthorized.Saying("Only a client that proves who it is may ask about tokens.")
	}
	text, err := f.need("token")
	if err != nil {
		return err
	}
	answer, err := s.introspect(r.Context(), by, app, text)
	if errors.Is(err, token.ErrToken) || errors.Is(err, session.ErrGrant) {
		answer, err = introspection{}, nil
	}
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, answer)
}

func (s *Service) introspect(ctx context.Context, by access.Actor, app tenant.Application, text string) (introspection, error) {
	issuer, err := s.issuer(ctx, by.Tenant)
	if err != nil {
		return introspection{}, err
	}
	if session.IsRefreshToken(text) {
		g, err := s.Sessions.OfToken(ctx, by.Tenant, text)
		if err == nil && g.ApplicationID != app.ID {
			err = session.ErrGrant
		}
		if err != nil {
			return introspection{}, err
		}
		out := ofGrant(g, app, issuer)
		if err := s.locateToken(ctx, by.Tenant, &out, g.OrganizationID, g.UserID, app); err != nil {
			return introspection{}, err
		}
		return out, s.requireLive(ctx, by.Tenant, g.UserID)
	}
	a, err := s.Tokens.Read(ctx, by.Tenant, text)
	if err != nil {
		return introspection{}, err
	}
	if app.OAuth.ThirdParty && a.ClientID != app.ClientID && !slices.ContainsFunc(a.Audience, func(aud string) bool { return slices.Contains(app.OAuth.Resources, aud) }) {
		return introspection{}, token.ErrToken.Because("not for this application's eyes")
	}
	out := ofAccess(a, issuer)
	if err := s.locateToken(ctx, by.Tenant, &out, a.Organization, a.UserID, app); err != nil {
		return introspection{}, err
	}
	return out, s.requireLive(ctx, by.Tenant, a.UserID)
}

// locateToken adds what the user is now in the organization that a token is for.
func (s *Service) locateToken(ctx context.Context, tenantID string, out *introspection, organization, userID string, app tenant.Application) error {
	in, err := s.Tokens.Standing(ctx, tenantID, organization, userID)
	in = in.For(app)
	out.OrganizationID, out.OrganizationSlug, out.Roles, out.Permissions = in.OrganizationID, in.OrganizationSlug, in.Roles, in.Permissions
	return err
}

// requireLive returns token.ErrToken if there is a user and they may be given nothing.
func (s *Service) requireLive(ctx context.Context, tenantID, id string) error {
	if id == "" {
		return nil
	}
	active, err := s.isActive(ctx, tenantID, id)
	if err == nil && !active {
		err = token.ErrToken.Because("the user is gone or disabled")
	}
	return err
}

func ofGrant(g session.Grant, app tenant.Application, issuer string) introspection {
	out := introspection{
		Active: true, Scope: g.Scope, ClientID: app.ClientID, Type: "refresh_token", Subject: g.UserID, Issuer: issuer, SessionID: g.SessionID,
		IssuedAt: g.CreatedAt.Unix(), Expires: g.ExpiresAt.Unix(), AMR: g.Detail.AMR, ACR: g.Detail.ACR, Act: g.Detail.Act,
	}
	if !g.Detail.AuthAt.IsZero() {
		out.AuthTime = g.Detail.AuthAt.Unix()
	}
	if g.KeyThumbprint != "" {
		out.Confirm = &confirmation{g.KeyThumbprint}
	}
	return out
}

func ofAccess(a token.Access, issuer string) introspection {
	out := introspection{
		Active: true, Scope: a.Scope, ClientID: a.ClientID, Type: "Bearer", Subject: a.UserID, Issuer: issuer, Audience: a.Audience, ID: a.ID, SessionID: a.SessionID,
		IssuedAt: a.IssuedAt.Unix(), Expires: a.Expires.Unix(), AMR: a.AMR, ACR: a.ACR, Act: a.Act,
	}
	if out.Subject == "" {
		out.Subject = a.ClientID
	}
	if !a.AuthAt.IsZero() {
		out.AuthTime = a.AuthAt.Unix()
	}
	if a.KeyThumbprint != "" {
		out.Type, out.Confirm = "DPoP", &confirmation{a.KeyThumbprint}
	}
	return out
}

// AppendJSON implements web.Appender: servers ask with every request they get.
func (i introspection) AppendJSON(b []byte) []byte {
	if !i.Active {
		return append(b, `{"active":false}`...)
	}
	b = append(b, `{"active":true`...)
	for _, member := range [...]struct{ name, value string }{
		{`,"scope":`, i.Scope}, {`,"client_id":`, i.ClientID}, {`,"token_type":`, i.Type}, {`,"sub":`, i.Subject}, {`,"iss":`, i.Issuer},
		{`,"jti":`, i.ID}, {`,"sid":`, i.SessionID}, {`,"acr":`, i.ACR},
		{`,"org_id":`, i.OrganizationID}, {`,"org_slug":`, i.OrganizationSlug},
	} {
		if member.value != "" {
			b = web.AppendString(append(b, member.name...), member.value)
		}
	}
	for _, member := range [...]struct {
		name  string
		value int64
	}{{`,"iat":`, i.IssuedAt}, {`,"exp":`, i.Expires}, {`,"auth_time":`, i.AuthTime}} {
		if member.value != 0 {
			b = strconv.AppendInt(append(b, member.name...), member.value, 10)
		}
	}
	for _, member := range [...]struct {
		name  string
		value []string
	}{{`,"aud":`, i.Audience}, {`,"amr":`, i.AMR}, {`,"roles":`, i.Roles}, {`,"permissions":`, i.Permissions}} {
		if len(member.value) > 0 {
			b = appendStrings(append(b, member.name...), member.value)
		}
	}
	if i.Confirm != nil {
		b = append(web.AppendString(append(b, `,"cnf":{"jkt":`...), i.Confirm.Thumbprint), '}')
	}
	if len(i.Act) > 0 {
		b = append(append(b, `,"act":`...), i.Act...)
	}
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = web.AppendString(b, text)
	}
	return append(b, ']')
}

// postRevoke ends a token of the client that asks, and all that hangs on it.
func (s *Service) postRevoke(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	by, app, err := s.client(r, f)
	if err != nil {
		return err
	}
	text, err := f.need("token")
	if err != nil {
		return err
	}
	err = s.revoke(r.Context(), by, app, text)
	if errors.Is(err, token.ErrToken) || errors.Is(err, session.ErrGrant) {
		err = nil // it is as good as revoked (RFC 7009, section 2.2)
	}
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, struct{}{})
}

func (s *Service) revoke(ctx context.Context, by access.Actor, app tenant.Application, text string) error {
	if session.IsRefreshToken(text) {
		g, err := s.Sessions.Behind(ctx, by.Tenant, text) // also one that has a successor: its answer may have been lost
		if err != nil || g.ApplicationID != app.ID {
			return err
		}
		return s.DB.Write(ctx, func(tx *database.Tx) error { return s.Sessions.EndGrant(ctx, tx, by, g.ID, "revoked") })
	}
	a, err := s.Tokens.Read(ctx, by.Tenant, text)
	if err != nil || a.ClientID != app.ClientID {
		return err
	}
	return s.Tokens.Revoke(ctx, by, a, app)
}
