package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
)

// codeLifetime is how long an authorization code waits to be used.
const codeLifetime = time.Minute

// A codeDetail is what a code leads to, beside whom it is for.
type codeDetail struct {
	Scope    string          `json:"scope"`
	Nonce    string          `json:"nonce,omitempty"`
	AuthAt   time.Time       `json:"auth_at"`
	AMR      []string        `json:"amr,omitempty"`
	ACR      string          `json:"acr,omitempty"`
	Audience []string        `json:"aud,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	// Organization is the one that the user acts in, empty for none.
	Organization string `json:"org,omitempty"`
	// Refresh says that the application gets a refresh token.
	Refresh bool `json:"refresh,omitempty"`
}

// WithID reports whether an ID token belongs to the answer.
func (d codeDetail) WithID() bool { return d.has("openid") }

func (d codeDetail) has(scope string) bool { return slices.Contains(strings.Fields(d.Scope), scope) }

// detailOf is what a request leads to for the user of a session. An application gets
// a refresh token if it may have one and has asked for it by offline_access, or if it
// does not speak OpenID Connect, which alone knows that scope.
func detailOf(app tenant.Application, req request, in session.Session) codeDetail {
	d := codeDetail{
		Scope: req.Scope, Nonce: req.Nonce, AuthAt: in.AuthAt, AMR: in.AMR, ACR: in.ACR, Audience: req.Resources, Claims: req.Claims, Organization: in.OrganizationID,
	}
	if app.OAuth.ThirdParty {
		d.Claims = nil // the user was asked about the scope, and nothing else
	}
	d.Refresh = app.May(tenant.GrantRefresh) && (d.has("offline_access") || !d.has("openid") || req.SSO)
	return d
}

// makeCode stores a code for a request that is answered, and returns it.
func makeCode(ctx context.Context, tx *database.Tx, app tenant.Application, req request, in session.Session) (string, error) {
	code, hash := secret.NewToken()
	row := codeRow{
		hash: hash, application: app.ID, user: in.UserID, session: in.ID, redirectURI: req.RedirectURI, redirectNamed: req.RedirectNamed,
		challenge: req.Challenge, jkt: req.Thumbprint, detail: detailOf(app, req, in),
	}
	if req.SSO {
		row.stateHash = secret.Hash(req.State)
	}
	return code, insertCode(ctx, tx, app.TenantID, row)
}

// spendCode uses up a code and opens the grant that it leads to, in one transaction;
// of many who come with the same code one gets it. The code must have been made for
// this application and redirect URI, the verifier must fit the challenge (RFC 7636,
// section 4.6), and the thumbprint the key that the code is bound to; any defect is
// errGrant and leaves the code as it is. A code that comes a second time, from the
// same application, ends the grant made from it (RFC 6749, section 4.1.2).
//
// The redirect URI may be left out only if PKCE binds the code (OAuth 2.1, section
// 10.2), or if the authorization request left it out. Refresh tokens of a public
// client are bound to the key (RFC 9449, section 5): pass Grant.KeyThumbprint on as it
// is.
//
// It opens its own transaction, because the end of a grant must last although the call
// fails.
func (s *Service) spendCode(ctx context.Context, by access.Actor, app tenant.Application, code, redirectURI, verifier, thumbprint string) (session.Grant, codeDetail, error) {
	challenge, ok := challengeOf(verifier)
	if !ok {
		challenge = "none" // fits no code, and still shows one that comes again
	}
	return s.spend(ctx, by, app, code, thumbprint, func(tx *database.Tx, hash []byte) (codeRow, error) {
		return takeCode(ctx, tx, by.Tenant, hash, app.ID, redirectURI, challenge, thumbprint)
	})
}

// spendSSOCode is spendCode for a code of /api/sso/authorize, which is bound to the
// state and nothing else.
func (s *Service) spendSSOCode(ctx context.Context, by access.Actor, app tenant.Application, code, state string) (session.Grant, codeDetail, error) {
	return s.spend(ctx, by, app, code, "", func(tx *database.Tx, hash []byte) (codeRow, error) {
		row, err := takeSSOCode(ctx, tx, by.Tenant, hash, app.ID, secret.Hash(state))
		row.stateHash = secret.Hash(state)
		return row, err
	})
}

func (s *Service) spend(ctx context.Context, by access.Actor, app tenant.Application, code, thumbprint string, take func(tx *database.Tx, hash []byte) (codeRow, error)) (g session.Grant, d codeDetail, err error) {
	hash := secret.Hash(code)
	var refused error
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		row, err := take(tx, hash)
		if refused = nil; errors.Is(err, database.ErrNoRows) {
			refused, err = s.codeAgain(ctx, tx, by, app, hash)
			return err
		}
		if err != nil {
			return err
		}
		d = row.detail
		g, err = s.openGrant(ctx, tx, by, app, row, thumbprint)
		if err != nil {
			return err
		}
		return noteGrant(ctx, tx, by.Tenant, hash, g.ID)
	})
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrGrant) {
		err = errGrant.Because("the session has ended: %w", err)
	}
	if err = errors.Join(err, refused); err != nil {
		return session.Grant{}, codeDetail{}, err
	}
	return g, d, nil
}

// openGrant makes the grant of a code, if the session it comes from still holds.
func (s *Service) openGrant(ctx context.Context, tx *database.Tx, by access.Actor, app tenant.Application, row codeRow, thumbprint string) (session.Grant, error) {
	if _, err := s.Sessions.ByID(ctx, tx, by.Tenant, row.session); err != nil {
		return session.Grant{}, err
	}
	life, err := s.lifetimes(ctx, tx, by.Tenant, app, row.detail.Organization, row.user)
	if err != nil {
		return session.Grant{}, err
	}
	g := session.Grant{
		UserID: row.user, SessionID: row.session, Outlives: row.detail.has("offline_access"), ApplicationID: app.ID, Scope: row.detail.Scope, OrganizationID: row.detail.Organization,
		Detail: session.Detail{AuthAt: row.detail.AuthAt, AMR: row.detail.AMR, ACR: row.detail.ACR, Audience: row.detail.Audience, Claims: row.detail.Claims},
	}
	if app.IsPublic() {
		g.KeyThumbprint = thumbprint
	}
	g.Detail.Open = row.stateHash != nil // nobody proved to be the application
	return s.Sessions.Open(tx, by, g, life)
}

// lifetimes are those of what an application is granted for a user in an organization,
// who must be a member: errGrant if not.
func (s *Service) lifetimes(ctx context.Context, tx *database.Tx, tenantID string, app tenant.Application, organization, userID string) (session.Lifetimes, error) {
	life := token.GrantLifetimes(app)
	if organization == "" {
		return life, nil
	}
	if err := s.SignIn.MayAct(ctx, tx, tenantID, organization, userID); errors.Is(err, org.ErrNotMember) {
		return life, errGrant.Because("the user has left the organization")
	} else if err != nil {
		return life, err
	}
	limit, err := s.SignIn.LimitOf(ctx, tx, tenantID, organization)
	return life.Within(limit), err
}

// codeAgain decides about a code that could not be taken. One that was used already
// has been stolen, or used by a thief before its owner: what it led to ends.
func (s *Service) codeAgain(ctx context.Context, tx *database.Tx, by access.Actor, app tenant.Application, hash []byte) (refused, err error) {
	user, grant, err := findSpentCode(ctx, tx, by.Tenant, hash, app.ID)
	if errors.Is(err, database.ErrNoRows) {
		return errGrant.Because("no such code for this application, redirect URI, verifier and key"), nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.Sessions.EndGrant(ctx, tx, by, grant, "code_reuse"); err != nil {
		return nil, err
	}
	return errGrant.Because("used a second time"), audit.Append(tx, by, audit.Event{
		Action: "grant.reuse_detected", Target: "user", TargetID: user, Result: audit.Failure, Reason: "code_reuse",
		Detail: map[string]any{"grant": grant, "application": app.ID}})
}

// challengeOf is the S256 challenge of a code verifier, empty for none. It reports
// whether the verifier has its form: 43 to 128 unreserved characters (RFC 7636,
// section 4.1).
func challengeOf(verifier string) (string, bool) {
	if verifier == "" {
		return "", true
	}
	if len(verifier) < 43 || len(verifier) > 128 || strings.ContainsFunc(verifier, isNotUnreserved) {
		return "", false
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]), true
}

func isNotUnreserved(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~')
}
