package oidc

import (
	"context"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/tenant"
)

// What the tests of the browser's side look at from within.
var (
	MatchesRedirect = matchesRedirect
	ChallengeOf     = challengeOf
	ReadDocument    = readDocument
	CheckDocumentID = checkDocumentID
	FreshFor        = freshFor
)

// Request is an authorization request that was judged.
type Request = request

// After is the moment after which the user must have proved who they are.
func (q request) After(at time.Time) time.Time { return q.after(at) }

// ReadRequest judges a request, and reports whether an error may go to the
// application.
func ReadRequest(app tenant.Application, query string) (q Request, answerable bool, err error) {
	f, err := parseForm(query)
	if err != nil {
		return q, false, err
	}
	if q, err = returnTo(app, f); err != nil {
		return q, false, err
	}
	err = q.read(app, f)
	return q, true, err
}

// ApplicationOf is the application of a client id.
func (s *Service) ApplicationOf(ctx context.Context, by access.Actor, clientID string) (tenant.Application, error) {
	return s.findClient(ctx, by, clientID)
}
