// Package rp is our side of OpenID Connect and OAuth 2 towards a provider: where it is,
// how we ask, and whether what it answers is its own and for us.
//
//	Open       find a provider: its discovery document, if it has one
//	AuthURL    where to send a browser
//	Exchange   a code for tokens
//	Verify     an ID token
//	Userinfo   ask by an access token whom it is for
//
// Package social stands on it with the services that everybody knows, package sso with
// the providers of organizations. Both keep to themselves which flow a browser is in.
//
// An attacker would answer in a provider's place, or as one provider in another's: the
// issuer is compared wherever it is told (RFC 9207), tokens are verified by keys of the
// client's own provider, for our client alone, with asymmetric algorithms only. Or they
// would point a client at our own network, or have us fetch keys without end: all
// requests go by package outbound, answers are bounded, a provider that fails is left
// alone for a while, and keys are fetched anew at most every half minute.
package rp

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/outbound"
)

// Party is us, towards any provider. Its fields are set once, before use.
type Party struct {
	// Now is the clock.
	Now func() time.Time
	// Outbound sends every request to a provider.
	Outbound *outbound.Client

	documents cache[metadata]
	keys      cache[keys]
}

// A Client is our client at a provider.
type Client struct {
	ID     string
	Issuer string // {tenantid} in it stands for the id of a directory, of whoever signs in
	// OpenID says that the provider gives ID tokens with our nonce and has a discovery
	// document: at Discovery, or where its issuer says.
	OpenID    bool
	Discovery string
	// Authorization, Token and Userinfo are addresses in place of those of the document.
	Authorization string
	Token         string
	Userinfo      string
	Scopes        []string
	// TokenAuth is client_secret_basic, client_secret_post, none, or empty for what the
	// document says; SecretInBody is for when it says nothing.
	TokenAuth    string
	SecretInBody bool
}

// A Cause is why a provider's answer can not be used.
type Cause string

// The causes.
const (
	DiscoveryUnreachable Cause = "discovery_unreachable"
	DiscoveryInvalid     Cause = "discovery_invalid"
	DiscoveryIssuer      Cause = "discovery_issuer"
	AnswerIssuer         Cause = "answer_issuer" // "iss" beside the code
	TokenUnreachable     Cause = "token_unreachable"
	TokenRefused         Cause = "token_refused" // with an error of RFC 6749 in Received
	TokenInvalid         Cause = "token_invalid" // an answer that is none
	NoIDToken            Cause = "no_id_token"
	IDToken              Cause = "id_token" // not what the standard says
	UnknownKey           Cause = "unknown_key"
	KeysUnreachable      Cause = "keys_unreachable"
	KeysInvalid          Cause = "keys_invalid"
	Issuer               Cause = "issuer"
	Audience             Cause = "audience"
	Expired              Cause = "expired"
	Clock                Cause = "clock" // issued in the future
	Nonce                Cause = "nonce"
	NoSubject            Cause = "no_subject"
	Userinfo             Cause = "userinfo"
)

// A Fault says what was wrong with what a provider answered. Expected and Received are
// for whoever looks after the client; they hold no secret and tell of no person.
type Fault struct {
	Cause    Cause
	Expected string
	Received string
	// Hint is more that a provider said, in its own words. It may repeat what was sent:
	// look for words in it, and show it to nobody.
	Hint string
	err  error
}

// words are how the log names a cause.
var words = map[Cause]string{
	DiscoveryUnreachable: "discovery", DiscoveryInvalid: "discovery", DiscoveryIssuer: "the discovery document is of another issuer",
	AnswerIssuer: "the answer is of another issuer", TokenUnreachable: "token endpoint", TokenRefused: "token endpoint", TokenInvalid: "token endpoint",
	NoIDToken: "no ID token of a usable size", IDToken: "ID token", UnknownKey: "ID token: failed to verify signature", KeysUnreachable: "keys", KeysInvalid: "keys",
	Issuer: "the ID token is of a different provider", Audience: "the ID token has another audience: it was made for another party", Expired: "the ID token is expired",
	Clock: "the ID token has a time of issue or not before that can not be", Nonce: "the ID token has another nonce", NoSubject: "the ID token has no subject", Userinfo: "userinfo",
}

func (f *Fault) Error() string {
	if f.err != nil {
		return fmt.Sprintf("%s: %v", words[f.Cause], f.err)
	}
	return fmt.Sprintf("%s: expected %q, received %q", words[f.Cause], f.Expected, f.Received)
}

// Unwrap returns what happened, if it was an error.
func (f *Fault) Unwrap() error { return f.err }

// fault is err as one of the provider, unless it was the caller who gave up.
func fault(ctx context.Context, cause Cause, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, ok := err.(*Fault); ok {
		return err
	}
	return &Fault{Cause: cause, err: err}
}

// cache keeps what providers publish, by address.
type cache[T any] struct {
	mu      sync.Mutex
	entries map[string]*entry[T]
}

// maxCached is how many are kept; when there are more it starts over.
const maxCached = 1000

// entry returns that of an address, which the caller has locked by its channel.
func (c *cache[T]) entry(ctx context.Context, address string) (*entry[T], error) {
	c.mu.Lock()
	e := c.entries[address]
	if e == nil {
		if c.entries == nil || len(c.entries) >= maxCached {
			c.entries = map[string]*entry[T]{}
		}
		e = &entry[T]{busy: make(chan struct{}, 1)}
		c.entries[address] = e
	}
	c.mu.Unlock()
	select { // one asks, the others wait for what it learns
	case e.busy <- struct{}{}:
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// An entry is what was fetched from one address. Whoever has put something into busy
// may use the rest.
type entry[T any] struct {
	busy   chan struct{}
	value  T
	until  time.Time // when it must be fetched anew
	failed time.Time // when fetching failed last
	why    error     // and why
	anew   time.Time // when it was fetched before its time last
}

func (e *entry[T]) release() { <-e.busy }

// failPause is how long a provider that did not answer is left alone.
const failPause = 10 * time.Second

// fetch returns what is kept, or fetches it. A provider that fails is not asked again
// for a while, so that it does not hold up everybody who tries; they are told the same.
func (e *entry[T]) fetch(ctx context.Context, now time.Time, life time.Duration, load func() (T, error)) (T, error) {
	if now.Before(e.until) {
		return e.value, nil
	}
	if now.Before(e.failed.Add(failPause)) {
		return e.value, e.why
	}
	value, err := load()
	if ctx.Err() != nil { // it says nothing of the provider
		return value, ctx.Err()
	}
	if err != nil {
		e.failed, e.why = now, err
		return value, err
	}
	e.value, e.until, e.failed = value, now.Add(life), time.Time{}
	return value, nil
}
