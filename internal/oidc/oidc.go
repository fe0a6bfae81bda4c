// Package oidc is the OpenID provider of each tenant: OAuth 2.1 (RFC 6749 and what
// RFC 9700 leaves of it) and OpenID Connect.
//
//	authorize     a request, perhaps pushed before (RFC 9126), through signin and
//	              consent to a code
//	token         a code, refresh token, device code, subject token or the client's
//	              own credentials into tokens; package token makes them
//	device        the code that a person types for a machine (RFC 8628)
//	introspect    what a token is worth (RFC 7662); revoke ends it (RFC 7009)
//	userinfo      the claims of a token's user
//	discovery     metadata and keys, as bytes that are ready
//	logout        by the application, and telling the others
//	register      applications that register themselves (RFC 7591)
//
// Whoever asks for a token proves first which client they are (client.go), and may
// prove with every request that a key is theirs (dpop.go, RFC 9449). A front does
// not decide what tokens say, who is signed in, or when something ends: it asks the
// packages token, signin and session.
//
// An attacker would have a code or a token sent to themselves, use what belongs to
// another client or tenant, use something a second time, ask for more than was
// granted, or pass one kind of token off as another. So addresses are compared byte
// by byte, every code, token and assertion is bound to its client and its tenant and
// is used up by one conditional statement, everything asked for is a subset of what
// was granted, and every acceptor wants its own "typ" and audience. Answers are the
// same for what is unknown, expired, used and another's.
package oidc

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Service is the provider of all tenants. Its fields are set once, before use.
type Service struct {
	DB       *database.DB
	Tenants  *tenant.Service
	Users    *user.Service
	Sessions *session.Service
	Tokens   *token.Service
	Ring     *keyring.Ring
	SignIn   *signin.Service
	Limits   *ratelimit.Limiter
	Outbound *outbound.Client
	Jobs     *jobs.Queue
	// Hasher proves passwords, for the few applications that may send them.
	Hasher *passhash.Hasher
	// Places says where a device that asks for a code is; nil knows no place.
	Places *device.Places
	Log    *slog.Logger
	Dev    bool

	metadata database.Fresh[[]byte]
	active   database.Fresh[bool]
	keySets  keySets
	issued   tally
}

// The addresses of the protocol. A client finds them in the metadata.
const (
	pathAuthorize  = "/oauth2/authorize"
	pathPAR        = "/oauth2/par"
	pathToken      = "/oauth2/token"
	pathDevice     = "/oauth2/device_authorization"
	pathUserCode   = "/device" // where people go, so it is short
	pathIntrospect = "/oauth2/introspect"
	pathRevoke     = "/oauth2/revoke"
	pathUserinfo   = "/oauth2/userinfo"
	pathJWKS       = "/oauth2/jwks"
	pathLogout     = "/oauth2/logout"
	pathRegister   = "/oauth2/register"
)

// realms are the addresses at which clients written for a Keycloak or KOBIL realm
// look for what is at the last part of an address.
func realms(last string) []string {
	return []string{"/auth/realms/{tenant}/" + last, "/realms/{tenant}/" + last}
}

const keycloak = "protocol/openid-connect/"

// Mount adds the calls and pages to r.
func (s *Service) Mount(r *web.Router) {
	for _, routes := range [][]web.Route{s.tokenRoutes(), s.deviceRoutes(), s.introspectRoutes(), s.userinfoRoutes(), s.discoveryRoutes()} {
		for _, route := range routes {
			r.Add(route)
		}
	}
	s.mountBrowser(r)
}

// The errors of OAuth, by their registered codes. Access.ErrDenied has a code of
// theirs too, but there it is about the API.
var (
	errRequest      = problem.New(problem.Invalid, "invalid_request", "The request lacks a parameter, has one twice, or has one with a value that is not allowed.")
	errClient       = problem.New(problem.Unauthenticated, "invalid_client", "The client is unknown, or has not proved who it is in the way that it is registered for.")
	errGrant        = problem.New(problem.Invalid, "invalid_grant", "What was sent is not valid, or not valid any more: unknown, expired, used, revoked, or of another client.")
	errUnauthorized = problem.New(problem.Invalid, "unauthorized_client", "The client is not registered for this.")
	errGrantType    = problem.New(problem.Invalid, "unsupported_grant_type", "There is no such grant type.")
	errScope        = problem.New(problem.Invalid, "invalid_scope", "The scope is not known, or more than was granted.")
	errTarget       = problem.New(problem.Invalid, "invalid_target", "The client may not ask for a token for this resource or audience.")
	errPending      = problem.New(problem.Invalid, "authorization_pending", "The user has not decided yet. Ask again in a while.")
	errSlowDown     = problem.New(problem.Invalid, "slow_down", "Ask less often: five seconds more between two requests.")
	errExpired      = problem.New(problem.Invalid, "expired_token", "The code has expired. Begin again.")
	errDenied       = problem.New(problem.Invalid, "access_denied", "The user has refused.")
	errProof        = problem.New(problem.Invalid, "invalid_dpop_proof", "The DPoP proof is missing or not valid for this request.")
	errNoToken      = problem.New(problem.Unauthenticated, "access_token_required", "Send an access token as Authorization: Bearer or DPoP.")
	errToken        = problem.New(problem.Unauthenticated, "invalid_token", "The access token is not valid, or not valid any more.")
	errInsufficient = problem.New(problem.Forbidden, "insufficient_scope", "The access token does not have the scope that this needs.")
)

// spoken are the codes of problems that OAuth clients know. All others are told by
// their kind.
var spoken = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
	"authorization_pending", "slow_down", "expired_token", "access_denied", "invalid_dpop_proof", "invalid_token", "insufficient_scope",
	"unsupported_response_type", "invalid_request_uri", "invalid_request_object", "request_not_supported",
	"request_uri_not_supported", "registration_not_supported", "invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement",
	"login_required", "consent_required", "interaction_required", "account_selection_required", "rate_limited", "https_required",
}

// A Failure is the body of an error (RFC 6749, section 5.2).
type Failure struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// AppendJSON implements web.Appender.
func (f Failure) AppendJSON(b []byte) []byte {
	b = web.AppendString(append(b, `{"error":`...), f.Error)
	b = web.AppendString(append(b, `,"error_description":`...), f.Description)
	return append(b, '}')
}

// pages are the addresses that people look at: problems there are pages.
var pages = []string{pathAuthorize, pathLogout, pathUserCode, "/oauth2/consent", keycloak + "auth", keycloak + "logout"}

// IsProtocol reports whether a path is one of those that programs call by this
// package, so that its errors are in Dialect.
func IsProtocol(path string) bool {
	path, ours := own(path)
	return ours && !isPage(path)
}

// IsPage reports whether a path is one of those of this package that people look at.
func IsPage(path string) bool {
	path, ours := own(path)
	return ours && isPage(path)
}

// own returns a path of this package without the realm that it may be in.
func own(path string) (string, bool) {
	rest, inRealm := strings.CutPrefix(strings.TrimPrefix(path, "/auth"), "/realms/")
	if !inRealm {
		return path, strings.HasPrefix(path, "/oauth2/") || strings.HasPrefix(path, "/.well-known/") || path == pathUserCode || strings.HasPrefix(path, pathUserCode+"/")
	}
	_, path, _ = strings.Cut(rest, "/")
	return path, strings.HasPrefix(path, keycloak) || strings.HasPrefix(path, ".well-known/")
}

func isPage(path string) bool {
	return path != keycloak+"auth/device" && slices.ContainsFunc(pages, func(page string) bool { return path == page || strings.HasPrefix(path, page+"/") })
}

// Dialect writes a problem as OAuth has it.
func Dialect(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	status := web.Status(p.Kind)
	switch {
	case p.Code == errClient.Code: // package tenant has this code too, as a 400
		status = http.StatusUnauthorized
		// The scheme that was tried is the one to name.
		if isBasic(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="cardea", charset="UTF-8"`)
		}
	case strings.HasSuffix(r.URL.Path, "/userinfo"):
		status = challenge(w, r, p)
	}
	if err := web.Write(w, status, Failure{codeOf(p), p.Message}); err != nil {
		panic(err) // strings always encode
	}
}

func codeOf(p *problem.Problem) string {
	if slices.Contains(spoken, p.Code) {
		return p.Code
	}
	switch p.Kind {
	case problem.Unauthenticated:
		return errToken.Code
	case problem.Forbidden:
		return errDenied.Code
	case problem.Unavailable:
		return "temporarily_unavailable"
	case problem.Internal:
		return "server_error"
	default:
		return errRequest.Code
	}
}

// now is the moment to judge what is asked outside of a transaction by.
func (s *Service) now() time.Time { return s.DB.Now() }

// asked returns the tenant of a request and who is asking.
func (s *Service) asked(r *http.Request) (by access.Actor, t tenant.Tenant, issuer string, err error) {
	by = web.ActorOf(r.Context())
	if t, err = s.Tenants.ByID(r.Context(), by.Tenant); err != nil {
		return by, t, "", err
	}
	issuer, err = s.Tenants.Origin(r.Context(), t)
	return by, t, issuer, err
}

// isActive reports whether a user may be given tokens, as of at most a second ago.
// The end of all grants comes with the transaction that disables a user; this is for
// a grant that was being made meanwhile.
func (s *Service) isActive(ctx context.Context, tenant, id string) (bool, error) {
	return s.active.Get(s.now(), tenant+"/"+id, func() (bool, error) {
		u, err := s.Users.Find(ctx, s.DB, access.System(tenant), id)
		if problem, ok := problem.From(err); ok && problem.Is(user.ErrNotFound) {
			return false, nil
		}
		return u.IsActive, err
	})
}
