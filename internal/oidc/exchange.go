package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
)

// Types of tokens by their registered names (RFC 8693, section 3).
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// maxAct bounds how many can act for one another, in bytes of the claim.
const maxAct = 1 << 10

// byExchange turns a user's access token into one for another server, or for less
// (RFC 8693). Who may: the client that the token was given to, or one that it is
// for. What it gets is never more: a part of the scope, for audiences that the token
// has or that the client is registered for, until the token ends, and it ends with
// the grant that the token came from. Who acts for the user stands in it.
func (s *Service) byExchange(ctx context.Context, c call) (tokenAnswer, error) {
	subject, err := s.subject(ctx, c)
	if err != nil {
		return tokenAnswer{}, err
	}
	g, err := s.Sessions.Grant(ctx, c.by.Tenant, subject.GrantID)
	if err != nil {
		return tokenAnswer{}, err
	}
	if err := s.requireUser(ctx, c.by.Tenant, subject.UserID); err != nil {
		return tokenAnswer{}, err
	}
	if g.Scope, err = subset(c.form.get("scope"), subject.Scope); err != nil {
		return tokenAnswer{}, err
	}
	wanted := append(c.form.all("audience"), c.form.all("resource")...)
	if _, err := narrow(wanted, slices.Concat(subject.Audience, c.app.OAuth.Resources)); err != nil {
		return tokenAnswer{}, err
	}
	if g.Detail.Audience = wanted; len(wanted) == 0 {
		g.Detail.Audience = subject.Audience
	}
	if g.Detail.Act, err = act(c.app, subject); err != nil {
		return tokenAnswer{}, err
	}
	left := int64(subject.Expires.Sub(s.now()).Seconds())
	if left < 1 {
		return tokenAnswer{}, errSubject
	}
	c.app.OAuth.AccessTokenLifetime = min(left, int64(c.app.TokenLifetime().Seconds()))
	tokens, err := s.Tokens.Issue(ctx, c.tenant, c.app, g, token.Options{KeyThumbprint: c.thumbprint})
	if err != nil {
		return tokenAnswer{}, err
	}
	s.issued.add(c.by.Tenant, c.app.ID, tenant.GrantExchange)
	answer := c.answer(tokens, g)
	answer.Issued = typeAccessToken
	return answer, nil
}

// errSubject is what RFC 8693, section 2.2.2, has for every token that is not good.
var errSubject = errRequest.Saying("The subject token is not valid for this client.")

// subject returns the token that is to be exchanged. One of an application itself has
// no user to act for, and one that is bound to a key takes that key: without it a
// stolen token would come out unbound.
func (s *Service) subject(ctx context.Context, c call) (a token.Access, err error) {
	text, err := c.form.need("subject_token")
	if err != nil {
		return a, err
	}
	if kind := c.form.get("subject_token_type"); kind != typeAccessToken && kind != typeJWT {
		return a, errRequest.Saying("A subject token is an access token.").In("subject_token_type")
	}
	if kind := c.form.get("requested_token_type"); kind != "" && kind != typeAccessToken && kind != typeJWT {
		return a, errRequest.Saying("A token is exchanged for an access token.").In("requested_token_type")
	}
	if c.form.has("actor_token") {
		return a, errRequest.Saying("The client itself is the actor.").In("actor_token")
	}
	a, err = s.Tokens.Read(ctx, c.by.Tenant, text)
	switch {
	case errors.Is(err, token.ErrToken):
		return a, errSubject.Because("%w", err)
	case err != nil:
		return a, err
	case a.GrantID == "" || a.UserID == "":
		return a, errSubject.Because("the token is of no user")
	case a.KeyThumbprint != "" && a.KeyThumbprint != c.thumbprint:
		return a, errSubject.Because("the token is bound to another key")
	case !mayExchange(c.app, a):
		return a, errSubject.Because("the token is neither from nor for this client")
	}
	return a, nil
}

// mayExchange reports whether a token was given to an application, or is for it.
func mayExchange(app tenant.Application, a token.Access) bool {
	return a.ClientID == app.ClientID || slices.Contains(a.Audience, app.ClientID) ||
		slices.ContainsFunc(app.OAuth.Resources, func(own string) bool { return slices.Contains(a.Audience, own) })
}

// act says who acts for the user: the application, and whoever did before it (RFC
// 8693, section 4.1). Nobody acts in the name of an application but itself.
func act(app tenant.Application, subject token.Access) (json.RawMessage, error) {
	if app.ClientID == subject.ClientID {
		return subject.Act, nil
	}
	text, err := json.Marshal(struct {
		Subject string          `json:"sub"`
		Before  json.RawMessage `json:"act,omitempty"`
	}{app.ClientID, subject.Act})
	if err != nil {
		return nil, fmt.Errorf("encode act: %w", err)
	}
	if len(text) > maxAct {
		return nil, errSubject.Because("too many actors")
	}
	return text, nil
}
