// Package social proves who somebody is by another service: Google, GitHub, any
// OpenID provider.
//
//	Start      remember a browser and say where to send it
//	Finish     take what it comes back with, ask the provider, and say who it is
//	Decide     what that is good for here: sign in, ask for more proof, sign up
//	SignIn     the user whose identity it is
//	Keep, Kept, Settle   hold it until somebody has shown which user is theirs
//	Link, Unlink, List   the identities of a user
//
// A person is known by connection, issuer and subject, and by nothing else. What a
// provider says of addresses may be wrong, old, or made up: an address that is known
// here leads to a question, never to an account.
//
// An attacker would have a victim finish what they began, and so sign them in to, or
// link, an account that is not theirs: a flow ends once, in the browser and at the
// connection where it began, and with the nonce and the verifier that were made for it.
// They would answer in a provider's place, or as one provider in another's: the
// callback is the connection's own, the issuer is compared wherever it is told (RFC
// 9207), tokens are verified by keys of the connection's own provider, for our client
// alone, with asymmetric algorithms only. They would have themselves an address at a
// provider that does not check it: see Decide. Or they would point a connection at our
// own network, or have us fetch keys without end: all requests go by package outbound,
// answers are bounded, and keys are fetched anew at most every half minute.
package social

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/secret"
)

// Problems of signing in by another service. ErrUpstream never says what was wrong
// with an answer: the log does.
var (
	ErrNotFound  = problem.New(problem.NotFound, "connection_not_found", "There is no such connection.")
	ErrDisabled  = problem.New(problem.Forbidden, "connection_disabled", "Signing in with this service is switched off.")
	ErrFlow      = problem.New(problem.Invalid, "social_expired", "This sign-in with another service is over, or was begun in another browser. Begin again.")
	ErrCancelled = problem.New(problem.Invalid, "social_cancelled", "The other service did not sign you in. You can try again or choose another way.")
	ErrUpstream  = problem.New(problem.Invalid, "social_failed", "The other service did not answer as it should. Try again, or choose another way.")
	ErrLinked    = problem.New(problem.Conflict, "identity_linked", "This account of the other service belongs to another user here.")
	ErrIdentity  = problem.New(problem.NotFound, "identity_not_found", "There is no such linked account.")
)

// Problems are what Finish and what follows can return.
var Problems = []*problem.Problem{ErrNotFound, ErrDisabled, ErrFlow, ErrCancelled, ErrUpstream, ErrLinked, ErrHeld}

// Life is how long somebody may take at the provider.
const Life = 30 * time.Minute

// keepFor is how long it may take to settle whose an identity is.
const keepFor = time.Hour

// Service signs people in by other services. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
	// Outbound sends every request to a provider.
	Outbound *outbound.Client
	// Origin returns the address at which a tenant's browsers come back, without a path.
	Origin func(ctx context.Context, tenant string) (string, error)

	replaced map[string]provider // by tests, which play the part of a provider
	boxes    sync.Map            // of *secret.Box by tenant, see box
	once     sync.Once
	rp       *rp.Party
	enabled  database.Fresh[[]Connection]
}

// box is the box of a tenant, kept for good: a tenant's key is made once. It is opened
// at the latest when a flow begins or ends, before the transactions that seal what came
// of it: these must not ask for a second connection.
func (s *Service) box(ctx context.Context, tenant string) (*secret.Box, error) {
	if kept, ok := s.boxes.Load(tenant); ok {
		return kept.(*secret.Box), nil
	}
	box, err := s.Box(ctx, tenant)
	if err == nil {
		s.boxes.Store(tenant, box)
	}
	return box, err
}

// Purposes of a flow.
const (
	purposeBrowser    = "browser"    // comes back with a code
	purposeCredential = "credential" // comes back with an ID token, see StartCredential
)

// A Request is what a browser is sent to a provider for.
type Request struct {
	Connection  string
	Attempt     string // whatever it belongs to; Finish returns it
	Browser     []byte // hash of what only this browser has
	RedirectURI string // where the provider sends it back to: CallbackPath at our address
	LoginHint   string // may be empty
	Language    string // BCP 47; may be empty
}

// CallbackPath is where browsers come back to from a connection.
func CallbackPath(connection string) string { return "/sso/" + connection + "/callback" }

// Start remembers the browser and returns the address at the provider to send it to.
// It asks the provider where that is, if that was not done lately, and has a
// transaction of its own, so call it outside of any. It returns ErrNotFound,
// ErrDisabled or ErrUpstream.
func (s *Service) Start(ctx context.Context, by access.Actor, r Request) (location string, err error) {
	c, err := s.usable(ctx, s.DB, by.Tenant, r.Connection)
	if err != nil {
		return "", err
	}
	p, at, err := s.upstream(ctx, c)
	if err != nil {
		return "", err
	}
	if len(r.Browser) == 0 {
		return "", fmt.Errorf("start flow: no browser to bind it to")
	}
	f, state, err := s.newFlow(ctx, by.Tenant, c, r, purposeBrowser)
	if err != nil {
		return "", err
	}
	return at.AuthURL(r.RedirectURI, state, f.verifier, p.parameters(c, r, f)), nil
}

// parameters are those of an authorization request beside the usual ones.
func (p provider) parameters(c Connection, r Request, f flow) map[string]string {
	out := map[string]string{"hd": c.Settings.HostedDomain}
	if p.isOpenID(c) {
		out["nonce"], out["login_hint"], out["ui_locales"] = f.Nonce, r.LoginHint, r.Language
	}
	if p.formPost {
		out["response_mode"] = "form_post"
	}
	maps.Copy(out, p.params)
	return out
}

// A flow is a browser at a provider.
type flow struct {
	ID          string
	Connection  string
	Attempt     string
	Nonce       string
	RedirectURI string
	verifier    string
}

func (s *Service) newFlow(ctx context.Context, tenant string, c Connection, r Request, purpose string) (f flow, state string, err error) {
	box, err := s.box(ctx, tenant)
	if err != nil {
		return f, "", err
	}
	state, hash := secret.NewToken()
	f = flow{Connection: c.ID, Attempt: r.Attempt, RedirectURI: r.RedirectURI}
	f.Nonce, _ = secret.NewToken()
	sealed := []byte{}
	if purpose == purposeBrowser && !s.provider(c.Provider).noPKCE && !c.Settings.NoPKCE {
		f.verifier = oauth2.GenerateVerifier()
		sealed = box.Seal(flowPlace(hash, "verifier"), []byte(f.verifier))
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		f.ID = tx.NewID()
		return insertFlow(ctx, tx, tenant, hash, f, purpose, append([]byte{}, r.Browser...), sealed)
	})
	return f, state, err
}

func flowPlace(hash []byte, what string) string {
	return fmt.Sprintf("connection_flows/%x/%s", hash, what)
}

// A Return is what a browser comes back with.
type Return struct {
	Connection string // whose callback it came to
	Browser    []byte
	State      string
	Code       string
	Issuer     string // "iss" (RFC 9207)
	Error      string
	User       string // of Apple: JSON, the first time only
}

// A Profile is who somebody is at a provider. Only Finish makes one that is true.
type Profile struct {
	Connection string `json:"connection"`
	Provider   string `json:"provider"`
	Label      string `json:"label"` // what people know the connection as
	Issuer     string `json:"issuer"`
	Subject    string `json:"subject"`
	// Email is in the canonical form of addresses, or empty. EmailVerified says that the
	// provider vouches for it, and may.
	Email         string `json:"email,omitempty"`
	EmailVerified bool   `json:"email_verified,omitempty"`
	Name          string `json:"name,omitempty"`
	FirstName     string `json:"first_name,omitempty"`
	LastName      string `json:"last_name,omitempty"`
	Picture       string `json:"picture,omitempty"`
	// Trusted is a hash of what the connection trusted when this was shown.
	Trusted []byte `json:"trusted,omitempty"`
	// NoSignUp says that the connection lets nobody in who is new.
	NoSignUp bool `json:"no_sign_up,omitempty"`
	// Raw is all that the provider tells, as a JSON object.
	Raw json.RawMessage `json:"raw,omitempty"`
	// Tokens are nil unless the connection keeps them.
	Tokens *Tokens `json:"tokens,omitempty"`
}

// Tokens are those that a provider gave us for a user.
type Tokens struct {
	Access    string    `json:"access_token"`
	Refresh   string    `json:"refresh_token,omitempty"`
	Scope     string    `json:"scope,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Finish uses the flow up that r belongs to, asks the provider and returns who it is,
// with the attempt and the id of the flow. Whatever comes of it, the state is good no
// more. It has a transaction of its own and asks over the network, so call it outside
// of any. It returns one of Problems.
func (s *Service) Finish(ctx context.Context, by access.Actor, r Return) (Profile, Flow, error) {
	if len(r.State) > 64 || len(r.Code) > maxCode || len(r.Browser) == 0 || !secret.IsID(r.Connection) {
		return Profile{}, Flow{}, ErrFlow.Because("not of a form that we or a provider would make")
	}
	f, c, err := s.spend(ctx, by.Tenant, r.Connection, purposeBrowser, r.State, r.Browser)
	if err != nil {
		return Profile{}, Flow{}, err
	}
	out := Flow{f.ID, f.Attempt}
	p, at, err := s.upstream(ctx, c)
	if err != nil {
		return Profile{}, out, err
	}
	if err := at.CheckIssuer(r.Issuer); err != nil {
		return Profile{}, out, ofProvider(err)
	}
	switch {
	case r.Error != "":
		return Profile{}, out, ErrCancelled.Because("the provider answered %.64q", r.Error)
	case r.Code == "":
		return Profile{}, out, ErrUpstream.Because("neither code nor error")
	}
	who, err := s.exchange(ctx, c, p, at, f, r)
	return who, out, err
}

// A Flow names what a browser came back with.
type Flow struct {
	ID      string
	Attempt string
}

// maxCode is the longest code that is sent on, in bytes.
const maxCode = 4096

// spend uses a flow up, if its connection is still in use.
func (s *Service) spend(ctx context.Context, tenant, connection, purpose, state string, browser []byte) (f flow, c Connection, err error) {
	hash := secret.Hash(state)
	box, err := s.box(ctx, tenant)
	if err != nil {
		return f, c, err
	}
	var sealed []byte
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if f, sealed, err = spendFlow(ctx, tx, tenant, hash, connection, purpose, append([]byte{}, browser...)); err != nil {
			return err
		}
		// That it is used up stands even if the connection is not in use any more.
		c, err = s.usable(ctx, tx, tenant, f.Connection)
		if _, ok := problem.From(err); ok {
			return nil
		}
		return err
	})
	if err == nil && c.ID == "" {
		err = ErrDisabled
	}
	if err != nil || len(sealed) == 0 {
		return f, c, err
	}
	verifier, err := box.Open(flowPlace(hash, "verifier"), sealed)
	f.verifier = string(verifier)
	return f, c, err
}

// StartCredential remembers that an application waits for an ID token of a provider,
// such as Google's One Tap gives to a page, and returns the state that names it and the
// nonce that the token must have. It returns ErrNotFound or ErrDisabled.
func (s *Service) StartCredential(ctx context.Context, by access.Actor, connection, attempt string) (state, nonce string, err error) {
	c, err := s.usable(ctx, s.DB, by.Tenant, connection)
	if err != nil {
		return "", "", err
	}
	if !s.provider(c.Provider).isOpenID(c) {
		return "", "", ErrNotFound.Because("%s gives no ID tokens", c.Provider)
	}
	f, state, err := s.newFlow(ctx, by.Tenant, c, Request{Attempt: attempt}, purposeCredential)
	return state, f.Nonce, err
}

// FinishCredential is Finish for an ID token that came by the browser. It is verified
// like one that came from the provider itself.
func (s *Service) FinishCredential(ctx context.Context, by access.Actor, connection, state, credential string) (Profile, Flow, error) {
	f, c, err := s.spend(ctx, by.Tenant, connection, purposeCredential, state, nil)
	if err != nil {
		return Profile{}, Flow{}, err
	}
	out := Flow{f.ID, f.Attempt}
	p, at, err := s.upstream(ctx, c)
	if err != nil {
		return Profile{}, out, err
	}
	claims, err := verify(ctx, c, at, credential, f.Nonce, "")
	if err != nil {
		return Profile{}, out, err
	}
	who, err := p.profile(c, claims)
	who.Trusted = s.trusts(c)
	return who, out, err
}

// isURL reports whether s is an address that people may be sent to or shown.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(s) <= 2048
}
