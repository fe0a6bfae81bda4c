// Package sso signs the people of an organization in by the organization's own identity
// provider, over SAML 2.0 or OpenID Connect.
//
//	Prepare, Create, Save, SetState, Delete   the connections of an organization
//	Start          remember a browser and say where to send it
//	ReceiveSAML    take a response that a browser posts, and hold what it says
//	Claim          hand that to the browser that was sent, once
//	FinishOIDC     take a code, ask the provider, and say who it is
//	SignIn, Link   the user whose identity it is
//	IsProved       whether that user has shown it themselves
//	ReceiveLogout  sessions here end with those at the provider
//	StartLogout    and the other way round
//	Traces         what happened at each attempt, and what to change
//
// A person is known by connection, issuer and subject, and by nothing else. An address
// counts as proved only if the organization has proved its domain here: what a provider
// says of addresses is said by somebody who may write there whatever they like.
//
// An attacker would be a user or an administrator of another organization's provider.
// They would post a response here that was made for another service or another
// connection, change a signed one, or send one twice: package samlxml refuses the
// first two, and a message is taken once, by one conditional statement. They would have
// a victim's browser finish what they began: a flow ends in the browser that began it,
// and what a provider begins by itself is refused unless the connection allows it, and
// then asks first. They would name an address inside our network as metadata or issuer:
// all requests go by package outbound. They would point a connection that may be theirs to
// write at a provider of their own, and come as an owner of the tenant: whoever holds
// something there shows once that the identity is theirs. Or they would read in a trace what others sign
// in with: values that tell of people are masked before they are kept.
package sso

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/cardea-id/cardea/internal/tenant"
)

// Problems of signing in by an organization's provider. They never say what was wrong
// with an answer: the trace does.
var (
	ErrNotFound   = problem.New(problem.NotFound, "sso_connection_not_found", "There is no such connection.")
	ErrDisabled   = problem.New(problem.Forbidden, "sso_connection_disabled", "Signing in with this organization is switched off.")
	ErrFlow       = problem.New(problem.Invalid, "sso_expired", "This sign-in with your organization is over, or was begun in another browser. Begin again.")
	ErrRefused    = problem.New(problem.Invalid, "sso_refused", "Your organization's identity provider did not sign you in. Try again, or ask your administrator.")
	ErrLinked     = problem.New(problem.Conflict, "sso_identity_linked", "This account of the organization belongs to another user here.")
	ErrTrace      = problem.New(problem.NotFound, "sso_trace_not_found", "There is no such attempt.")
	ErrInvalid    = problem.New(problem.Invalid, "invalid_sso_connection", "The connection is not valid.")
	ErrIncomplete = problem.New(problem.Invalid, "sso_connection_incomplete", "The connection lacks something that it needs to be switched on.")
	ErrChanged    = problem.New(problem.Conflict, "sso_connection_changed", "Somebody else has changed the connection meanwhile. Look at it again.")
	ErrFull       = problem.New(problem.Conflict, "too_many_sso_connections", "An organization has at most 20 connections. Delete one that is not used.")
)

// Problems are what Claim, FinishOIDC and what follows can return.
var Problems = []*problem.Problem{ErrNotFound, ErrDisabled, ErrFlow, ErrRefused, ErrLinked, ErrHeld}

// Life is how long somebody may take at the provider.
const Life = 30 * time.Minute

// Service signs people in by the providers of organizations. Its fields are set once,
// before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
	// Outbound sends every request to a provider.
	Outbound *outbound.Client
	// Origin returns the address at which a tenant's browsers come back, without a path.
	Origin func(ctx context.Context, tenant string) (string, error)
	// Organization returns nil for an organization that is active, or a problem.
	Organization func(ctx context.Context, db database.Reader, tenant, organization string) error
	// Proves reports whether an organization has proved the domain of an address.
	Proves func(ctx context.Context, db database.Reader, tenant, organization, email string) (bool, error)
	// Application returns an active application of a tenant, or a problem.
	Application func(ctx context.Context, tenant, id string) (tenant.Application, error)
	// MayGrant returns nil if the actor may give the roles of these ids in an organization,
	// or a problem.
	MayGrant func(ctx context.Context, db database.Reader, by access.Actor, organization string, roles []string) error
	// Warn tells an organization that the certificates of a connection end, in the
	// transaction that notes that it was told.
	Warn func(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, days int) error
	Log  *slog.Logger

	usable    database.Fresh[[]Connection]
	known     database.Fresh[Connection]
	opened    keyCache
	strangers strangers
	once      sync.Once
	party     *rp.Party
}

// A Request is what a browser is sent to a provider for.
type Request struct {
	Connection string
	Attempt    string // whatever it belongs to; Claim and FinishOIDC return it
	Browser    []byte // hash of what only this browser has
	ForceAuthn bool   // ask the person to prove themselves again
	LoginHint  string // may be empty
	// Test tries the connection, which may be a draft, and signs nobody in.
	Test bool
}

// Sent says how to send a browser on: to an address, or by a form that it posts.
type Sent struct {
	Location string
	Form     *Form // nil unless the provider takes requests by POST only
}

// A Form is what a browser posts to a provider.
type Form = samlxml.Form

// A Profile is who somebody is at a connection. Only Claim and FinishOIDC make one that
// is true.
type Profile struct {
	Connection     string `json:"connection"`
	OrganizationID string `json:"organization_id"`
	Label          string `json:"label"` // what people know the connection as
	Issuer         string `json:"issuer"`
	Subject        string `json:"subject"`
	// Email is in the canonical form of addresses. EmailVerified says that the
	// organization has proved its domain here; what the provider says of it is not asked.
	Email         string `json:"email"`
	EmailVerified bool   `json:"-"`
	FirstName     string `json:"first_name,omitempty"`
	LastName      string `json:"last_name,omitempty"`
	Username      string `json:"username,omitempty"`
	// Groups are those of the provider; RoleIDs what the connection's rules make of them,
	// in the organization.
	Groups     []string            `json:"groups,omitempty"`
	RoleIDs    []string            `json:"role_ids,omitempty"`
	Attributes map[string][]string `json:"attributes,omitempty"`
	ACR        string              `json:"acr,omitempty"` // how the person proved themselves there
	AuthAt     time.Time           `json:"auth_at,omitzero"`
	// There is the session at a provider that is told when the one here ends; empty if
	// there is none.
	There There `json:"there,omitzero"`
	// Of SAML, for logout that the provider begins.
	SessionIndex string    `json:"session_index,omitempty"`
	SessionUntil time.Time `json:"session_until,omitzero"` // no session here may outlast it; zero for no limit
	// NoSignUp says that the connection lets nobody in who is new.
	NoSignUp bool `json:"no_sign_up,omitempty"`
}

// A Flow names what a browser came back with.
type Flow struct {
	ID         string
	Connection string
	Attempt    string // empty if the provider began it
	// Unsolicited says that the provider began it: ask before Claim.
	Unsolicited bool
	// Landing is where they go whose provider began it; nil for their own account.
	Landing *Landing
	// Test says that it was a try, which signs nobody in: show the trace.
	Test  bool
	Trace string // id of what is told of it
}

// Paths of a connection at our address.
func MetadataPath(connection string) string { return "/saml/" + connection + "/metadata" }

// ACSPath is where a SAML provider has browsers post its responses.
func ACSPath(connection string) string { return "/saml/" + connection + "/acs" }

// SLOPath is where a SAML provider sends logout messages.
func SLOPath(connection string) string { return "/saml/" + connection + "/slo" }

// CallbackPath is where browsers come back to from an OpenID provider.
func CallbackPath(connection string) string { return "/sso/" + connection + "/callback" }

// TestPath is where the browser of a test ends.
func TestPath(trace string) string { return "/sso-test/" + trace }
