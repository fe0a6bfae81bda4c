package social

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/secret"
)

// algorithms are those that an ID token may be signed with. None of them takes a key
// that the provider's verifiers also hold, and none of them is "none".
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA, jose.PS256, jose.RS384, jose.RS512, jose.ES384, jose.ES512, jose.PS384, jose.PS512}

func algorithmNames() (out []string) {
	for _, a := range algorithms {
		out = append(out, string(a))
	}
	return out
}

// Limits of ID tokens.
const (
	maxToken = 32 << 10 // bytes
	skew     = 5 * time.Minute
)

// verify checks an ID token (OpenID Connect Core, section 3.1.3.7) and returns what it
// says. Package go-oidc checks signature, algorithm, audience, issuer and expiry; the
// rest is here. The access token may be empty.
func (s *Service) verify(ctx context.Context, c Connection, p provider, m metadata, raw, nonce, access string) (claims, error) {
	if raw == "" || len(raw) > maxToken {
		return nil, ErrUpstream.Because("no ID token of a usable size")
	}
	v := oidc.NewVerifier(m.Issuer, s.keySet(m.JWKS), &oidc.Config{
		ClientID: c.ClientID, SupportedSigningAlgs: algorithmNames(), Now: s.DB.Now, SkipIssuerCheck: matchesMany(m.Issuer),
	})
	t, err := v.Verify(ctx, raw)
	if err != nil {
		return nil, upstream(ctx, "ID token", err)
	}
	var body json.RawMessage
	if err := t.Claims(&body); err != nil {
		return nil, ErrUpstream.Because("ID token: %w", err)
	}
	in, err := parseClaims(body)
	if err != nil {
		return nil, err
	}
	azp, present := in["azp"]
	switch now := s.DB.Now(); {
	case matchesMany(m.Issuer) && !matches(m.Issuer, t.Issuer, in.text("tid")):
		return nil, ErrUpstream.Because("the ID token is of another issuer")
	case !isSubject(t.Subject):
		return nil, ErrUpstream.Because("the ID token has no subject")
	case t.IssuedAt.Unix() <= 0 || t.IssuedAt.After(now.Add(skew)):
		return nil, ErrUpstream.Because("the ID token has no time of issue that can be")
	case nonce == "" || !secret.Equal([]byte(t.Nonce), []byte(nonce)):
		return nil, ErrUpstream.Because("the ID token has another nonce")
	case present && azp != c.ClientID, !present && len(t.Audience) > 1:
		return nil, ErrUpstream.Because("the ID token was made for another party")
	}
	if access != "" && t.AccessTokenHash != "" {
		if err := t.VerifyAccessToken(access); err != nil {
			return nil, ErrUpstream.Because("ID token: %w", err)
		}
	}
	if want := c.Settings.HostedDomain; want != "" && in.text("hd") != want {
		return nil, ErrCancelled.Because("the account is not of the hosted domain")
	}
	return in, nil
}

// matchesMany reports whether an issuer is a pattern.
func matchesMany(issuer string) bool { return !matches(issuer, issuer, "") }

// Limits of key sets.
const (
	maxKeys     = 100
	maxKeySet   = 256 << 10 // bytes
	keysLife    = time.Hour
	keysPause   = 30 * time.Second // between fetches before their time
	minRSA      = 2048             // bits
	minExponent = 3
)

// keys are those a provider signs with.
type keys []jose.JSONWebKey

// A keySet is the keys at one address. It verifies for go-oidc.
type keySet struct {
	s       *Service
	address string
}

func (s *Service) keySet(address string) keySet { return keySet{s, address} }

var errKey = errors.New("no key of the provider verifies it")

// VerifySignature returns what a token says if a key of the provider has signed it.
// Where none has, the keys are fetched anew: the provider may have others by now. That
// happens once in keysPause, whatever tokens there are.
func (k keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	e, err := k.s.keys.entry(ctx, k.address)
	if err != nil {
		return nil, err
	}
	defer e.release()
	now := k.s.DB.Now()
	load := func() (keys, error) { return k.s.fetchKeys(ctx, k.address) }
	fresh := !now.Before(e.until)
	known, err := e.fetch(ctx, now, keysLife, load)
	if err != nil {
		return nil, err
	}
	body, err := known.verify(signed)
	if err == nil || fresh || now.Before(e.anew.Add(keysPause)) {
		return body, err
	}
	kept := e.until
	e.anew, e.until = now, time.Time{}
	if known, err = e.fetch(ctx, now, keysLife, load); err != nil {
		e.until, e.failed = kept, time.Time{} // a token that nobody has signed spoils nothing for the others
		return nil, err
	}
	return known.verify(signed)
}

// verify tries the key that the token names, or all if it names none.
func (k keys) verify(signed *jose.JSONWebSignature) ([]byte, error) {
	head := signed.Signatures[0].Header
	for _, key := range k {
		if head.KeyID != "" && key.KeyID != head.KeyID || key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if body, err := signed.Verify(key); err == nil {
			return body, nil
		}
	}
	return nil, errKey
}

func (s *Service) fetchKeys(ctx context.Context, address string) (keys, error) {
	a, err := s.Outbound.Get(ctx, address, maxKeySet)
	if err != nil {
		return nil, ErrUpstream.Because("keys: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(a.Body, &set); err != nil {
		return nil, ErrUpstream.Because("keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, ErrUpstream.Because("more keys than anybody needs")
	}
	var out keys
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && isStrong(key) { // those that we do not know are not for us
			out = append(out, key)
		}
	}
	return out, nil
}

// isStrong reports whether a key is public, for signatures, and worth something.
func isStrong(key jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA && public.N.BitLen() <= 8192 && public.E >= minExponent && public.E%2 == 1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key.Valid()
	default:
		return false
	}
}
