package oidc

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses members that come twice, and does not fold case

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// assertionType is the one kind of client assertion (RFC 7523, section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Limits of what proves a client or a key.
const (
	maxJWT       = 16 << 10 // bytes
	maxJTI       = 256      // bytes
	maxAssertion = time.Hour
	// clockSkew is how far the clocks of a client and ours may be apart. It is granted
	// to the beginning of a proof's life, not to its end.
	clockSkew = 15 * time.Second
)

// proofAlgorithms are those of assertions and DPoP proofs. All of them are
// asymmetric: with one that is not, everybody who knows the public key could sign.
var proofAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, algEd25519, jose.PS256, jose.RS256}

// algEd25519 is the one algorithm of EdDSA that there are keys for here, by the name
// that RFC 9864 gives it. The JOSE library does not know it.
const algEd25519 jose.SignatureAlgorithm = "Ed25519"

// client returns the application that a request comes from, and the actor that it is
// from then on. A confidential application has proved itself, by exactly one of the
// methods of RFC 6749, section 2.3, and RFC 7523, and by the one that it is
// registered for; a public one has only named itself. Every failure is errClient,
// and counts; what succeeds does not.
func (s *Service) client(r *http.Request, f form) (access.Actor, tenant.Application, error) {
	by := web.ActorOf(r.Context())
	app, named, err := s.proveClient(r, by, f)
	if err != nil {
		return by, app, s.countFailure(r.Context(), by, named, err)
	}
	by.Name = "application:" + app.ID
	return by, app, nil
}

// countFailure counts a client that has not proved itself, and refuses further ones
// when there are too many.
func (s *Service) countFailure(ctx context.Context, by access.Actor, named string, err error) error {
	if p, ok := problem.From(err); !ok || p.Code != errClient.Code {
		return err
	}
	if limited := s.Limits.Take(ctx, by.Tenant, ratelimit.ClientSecret.For(ratelimit.Key(named, by.IP))); limited != nil {
		return limited
	}
	return errClient.Because("client %q: %w", named, err)
}

// credentials are what a request says to prove its client.
type credentials struct {
	id, secret string
	method     string // of tenant.OAuth; tenant.AuthSecret for both ways to send one
}

// proveClient returns the client, and the name under which a failure counts: that of
// a client there is, so that invented ones share a count.
func (s *Service) proveClient(r *http.Request, by access.Actor, f form) (app tenant.Application, named string, err error) {
	c, err := credentialsOf(r, f)
	if err != nil {
		return app, "", err
	}
	if app, err = s.findClient(r.Context(), by, c.id); err != nil {
		return app, "", err
	}
	named = app.ClientID
	if app.OAuth.AuthMethod != c.method {
		return app, named, errClient.Because("proves itself by %q, is registered for %q", c.method, app.OAuth.AuthMethod)
	}
	switch c.method {
	case tenant.AuthSecret:
		ok, err := s.Tenants.CheckSecret(r.Context(), app, c.secret)
		if err == nil && !ok {
			err = errClient.Because("wrong secret")
		}
		return app, named, err
	case tenant.AuthKey:
		return app, named, s.checkAssertion(r, by, app, c.secret)
	}
	return app, named, nil
}

// findClient returns the application of a client id within the actor's tenant.
func (s *Service) findClient(ctx context.Context, by access.Actor, id string) (tenant.Application, error) {
	if isDocumentID(id) {
		return s.ofDocument(ctx, by, id)
	}
	app, err := s.Tenants.ByClientID(ctx, id)
	if errors.Is(err, tenant.ErrClient) || err == nil && app.TenantID != by.Tenant {
		return tenant.Application{}, errClient.Because("no such client here")
	}
	return app, err
}

// credentialsOf finds the one way in which a request proves its client.
func credentialsOf(r *http.Request, f form) (credentials, error) {
	id, posted, assertion := f.get("client_id"), f.get("client_secret"), f.get("client_assertion")
	basic := len(r.Header.Values("Authorization")) > 0
	switch {
	case basic && (posted != "" || assertion != "") || posted != "" && assertion != "":
		return credentials{}, errClient.Because("two methods at once")
	case basic:
		user, password, err := basicAuth(r)
		if err == nil && id != "" && id != user {
			err = errClient.Because("client_id is not that of the header")
		}
		return credentials{user, password, tenant.AuthSecret}, err
	case assertion != "":
		if f.get("client_assertion_type") != assertionType {
			return credentials{}, errClient.Because("unknown type of assertion")
		}
		subject := subjectOf(assertion)
		if id != "" && id != subject {
			return credentials{}, errClient.Because("client_id is not that of the assertion")
		}
		return credentials{subject, assertion, tenant.AuthKey}, nil
	case id == "":
		return credentials{}, errClient.Because("no client named")
	case posted != "":
		return credentials{id, posted, tenant.AuthSecret}, nil
	default:
		return credentials{id, "", tenant.AuthNone}, nil
	}
}

// basicAuth reads HTTP Basic. Id and secret are each form-encoded within it, which
// many forget to decode (RFC 6749, section 2.3.1): a colon or a percent sign in one
// of them comes out whole.
func basicAuth(r *http.Request) (id, key string, err error) {
	headers := r.Header.Values("Authorization")
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	if len(headers) != 1 || !strings.EqualFold(scheme, "Basic") {
		return "", "", errClient.Because("an Authorization header of another kind")
	}
	text, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", errClient.Because("basic: %w", err)
	}
	id, key, ok := strings.Cut(string(text), ":")
	if !ok {
		return "", "", errClient.Because("basic without a colon")
	}
	id, idErr := url.QueryUnescape(id)
	key, keyErr := url.QueryUnescape(key)
	if err := errors.Join(idErr, keyErr); err != nil {
		return "", "", errClient.Because("basic: %w", err)
	}
	if key == "" {
		return "", "", errClient.Because("empty secret")
	}
	return id, key, nil
}

// A jwt is a signed token that is not checked yet.
type jwt struct {
	*jose.JSONWebSignature
	header jose.Header
	text   string
}

// Verify returns the payload if a key has signed it.
func (t jwt) Verify(key any) ([]byte, error) {
	public, isEd25519 := key.(ed25519.PublicKey)
	if !isEd25519 || t.header.Algorithm != string(algEd25519) {
		return t.JSONWebSignature.Verify(key)
	}
	signed := t.text[:strings.LastIndexByte(t.text, '.')]
	if !ed25519.Verify(public, []byte(signed), t.Signatures[0].Signature) {
		return nil, jose.ErrCryptoFailure
	}
	return t.UnsafePayloadWithoutVerification(), nil
}

// parseJWT reads a compact JWS of one of proofAlgorithms whose "typ" is one of
// types. Keys that its header names or brings are not used here. What a header marks
// as critical is not understood, and there is no way to send the payload bare
// (RFC 7797): both are refused.
func parseJWT(text string, types ...string) (jwt, error) {
	if len(text) > maxJWT {
		return jwt{}, errors.New("too long")
	}
	signed, err := jose.ParseSignedCompact(text, proofAlgorithms)
	if err != nil {
		return jwt{}, err
	}
	// The decoder overlooks line breaks and odd last bits, but a token has one spelling.
	if !isCanonical(text) {
		return jwt{}, errors.New("not in canonical form")
	}
	header := signed.Signatures[0].Protected
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	if !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, typ) }) {
		return jwt{}, errors.New("wrong typ")
	}
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := header.ExtraHeaders[name]; ok {
			return jwt{}, errors.New("has " + string(name))
		}
	}
	return jwt{signed, header, text}, nil
}

// isCanonical reports whether each part of a JWS is spelt as base64url spells it. What
// a header or payload looks like inside is up to its author.
func isCanonical(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != part {
			return false
		}
	}
	return true
}

// subjectOf reads whom an assertion is about, before anything of it is checked, to
// find the keys to check it with. Empty if it can not be read.
func subjectOf(assertion string) string {
	t, err := parseJWT(assertion, assertionTypes...)
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(t.UnsafePayloadWithoutVerification(), &claims) != nil {
		return ""
	}
	return claims.Subject
}

// assertionTypes are the values of "typ" that an assertion may have. Tokens that we
// sign ourselves all have others.
var assertionTypes = []string{"", "JWT", "client-authentication+jwt"}

// assertion is what a client says to prove itself (RFC 7523, section 3).
type assertion struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	ID       string   `json:"jti"`
	Expires  *float64 `json:"exp"`
	IssuedAt *float64 `json:"iat"`
	From     *float64 `json:"nbf"`
}

// audience is one string or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	var several []string
	if err := json.Unmarshal(b, &several); err != nil {
		return err
	}
	*a = several
	return nil
}

// checkAssertion proves a client by its key.
func (s *Service) checkAssertion(r *http.Request, by access.Actor, app tenant.Application, text string) error {
	claims, err := s.verifyAssertion(r.Context(), app, text)
	if err != nil {
		return err
	}
	issuer, err := s.issuer(r.Context(), by.Tenant)
	if err != nil {
		return err
	}
	if err := claims.check(app.ClientID, []string{issuer, issuer + pathToken, issuer + r.URL.Path}, s.now()); err != nil {
		return errClient.Because("assertion: %w", err)
	}
	return s.useOnce(r.Context(), by.Tenant, "assertion "+app.ID+" "+claims.ID, moment(*claims.Expires), errClient)
}

func (s *Service) issuer(ctx context.Context, id string) (string, error) {
	t, err := s.Tenants.ByID(ctx, id)
	if err != nil {
		return "", err
	}
	return s.Tenants.Origin(ctx, t)
}

// verifyAssertion returns what an assertion says if one of the client's keys has
// signed it.
func (s *Service) verifyAssertion(ctx context.Context, app tenant.Application, text string) (claims assertion, err error) {
	t, err := parseJWT(text, assertionTypes...)
	if err != nil {
		return claims, errClient.Because("assertion: %w", err)
	}
	keys, err := s.clientKeys(ctx, app, t.header)
	if err != nil {
		return claims, err
	}
	for _, k := range keys {
		payload, err := t.Verify(k.Key)
		if err != nil {
			continue
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			return claims, errClient.Because("assertion: %w", err)
		}
		return claims, nil
	}
	return claims, errClient.Because("no key of the client has signed the assertion")
}

// check judges an assertion that is authentic. All of its audiences must be ours: one
// that others take too could be used by them, here.
func (a assertion) check(client string, audiences []string, now time.Time) error {
	switch {
	case a.Issuer != client || a.Subject != client:
		return errors.New("iss and sub are not the client")
	case len(a.Audience) == 0 || slices.ContainsFunc(a.Audience, func(aud string) bool { return !slices.Contains(audiences, aud) }):
		return errors.New("wrong aud")
	case a.ID == "" || len(a.ID) > maxJTI:
		return errors.New("no jti, or a long one")
	}
	return checkTimes(a.Expires, a.From, a.IssuedAt, now, maxAssertion)
}

// checkTimes judges the life of something signed: it must end, within longest from
// now, and must have begun.
func checkTimes(exp, nbf, iat *float64, now time.Time, longest time.Duration) error {
	at := float64(now.UnixMilli()) / 1000
	switch {
	case exp == nil:
		return errors.New("no exp")
	case *exp <= at || *exp > at+longest.Seconds()+clockSkew.Seconds():
		return errors.New("exp is past, or far away")
	case nbf != nil && (*nbf > at+clockSkew.Seconds() || *nbf < at-longest.Seconds()):
		return errors.New("nbf is to come, or long ago")
	case iat != nil && (*iat > at+clockSkew.Seconds() || *iat < at-longest.Seconds()):
		return errors.New("iat is to come, or long ago")
	}
	return nil
}

// moment is a NumericDate (RFC 7519, section 2) that was judged before.
func moment(seconds float64) time.Time { return time.UnixMilli(int64(seconds * 1000)) }

// useOnce notes that something with a name of its own was used, and returns refused
// if it was used before.
func (s *Service) useOnce(ctx context.Context, tenant, name string, until time.Time, refused *problem.Problem) error {
	first, err := s.noteUse(ctx, tenant, secret.Hash(name), until)
	if err != nil {
		return err
	}
	if !first {
		return refused.Because("used before")
	}
	return nil
}
