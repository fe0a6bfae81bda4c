package rp

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Verify checks an ID token (OpenID Connect Core, section 3.1.3.7) and returns what it
// says. Package go-oidc checks signature and algorithm; the rest is here, one after the
// other, so that a Fault names the one thing that is wrong. The access token may be
// empty.
func (p Provider) Verify(ctx context.Context, raw, nonce, access string) (Claims, error) {
	if raw == "" || len(raw) > maxToken {
		return nil, &Fault{Cause: NoIDToken, Expected: "an ID token", Received: fmt.Sprintf("%d bytes", len(raw))}
	}
	set := &reporting{keySet: keySet{p.party, p.m.JWKS}}
	v := oidc.NewVerifier(p.m.Issuer, set, &oidc.Config{SupportedSigningAlgs: algorithmNames(), SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true})
	t, err := v.Verify(ctx, raw)
	if err != nil {
		return nil, fault(ctx, IDToken, cmp.Or(set.err, err))
	}
	var body json.RawMessage
	if err := t.Claims(&body); err != nil {
		return nil, &Fault{Cause: IDToken, err: err}
	}
	in, err := parseClaims(IDToken, body)
	if err != nil {
		return nil, err
	}
	if err := p.judge(t, in, nonce); err != nil {
		return nil, err
	}
	if access != "" && t.AccessTokenHash != "" {
		if err := t.VerifyAccessToken(access); err != nil {
			return nil, &Fault{Cause: IDToken, Expected: "at_hash of the access token", err: err}
		}
	}
	return in, nil
}

// judge holds the claims of a token that is the provider's own against what they must be.
func (p Provider) judge(t *oidc.IDToken, in Claims, nonce string) error {
	now := p.party.Now()
	azp, present := in["azp"]
	wrong := func(cause Cause, expected, received string) error {
		return &Fault{Cause: cause, Expected: expected, Received: cut(received)}
	}
	at := func(moment time.Time) string { return moment.UTC().Format(time.RFC3339) }
	switch {
	case !matches(p.m.Issuer, t.Issuer, directoryOf(p.m.Issuer, in)):
		return wrong(Issuer, p.m.Issuer, t.Issuer)
	case !slices.Contains(t.Audience, p.ID):
		return wrong(Audience, p.ID, strings.Join(t.Audience, " "))
	case present && azp != p.ID, !present && len(t.Audience) > 1:
		return wrong(Audience, "azp "+p.ID, in.Text("azp"))
	case !IsSubject(t.Subject):
		return wrong(NoSubject, "sub", "none")
	case t.Expiry.Before(now):
		return wrong(Expired, "after "+at(now), at(t.Expiry))
	case t.IssuedAt.Unix() <= 0:
		return &Fault{Cause: IDToken, Expected: "iat", Received: "none", err: errors.New("no time of issue that can be")}
	case t.IssuedAt.After(now.Add(skew)):
		return wrong(Clock, "at most "+at(now.Add(skew)), at(t.IssuedAt))
	case notBefore(in).After(now.Add(skew)):
		return wrong(Clock, "at most "+at(now.Add(skew)), at(notBefore(in)))
	case nonce == "" || !secret.Equal([]byte(t.Nonce), []byte(nonce)):
		return wrong(Nonce, "the nonce of this sign-in", "another")
	}
	return nil
}

// directoryOf is the directory that a token of a provider of many must be of.
func directoryOf(issuer string, in Claims) string {
	if IsPattern(issuer) {
		return in.Text("tid")
	}
	return ""
}

// notBefore is "nbf" (RFC 7519, section 4.1.5), long ago if there is none.
func notBefore(in Claims) time.Time {
	n, _ := in["nbf"].(json.Number)
	seconds, err := n.Float64()
	if err != nil {
		return time.Time{}
	}
	return time.Unix(int64(min(seconds, 1<<40)), 0)
}

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
	party   *Party
	address string
}

// reporting keeps why a signature was not verified: package go-oidc makes a text of it.
type reporting struct {
	keySet
	err error
}

// VerifySignature is that of the key set.
func (r *reporting) VerifySignature(ctx context.Context, token string) (body []byte, err error) {
	body, r.err = r.keySet.VerifySignature(ctx, token)
	return body, r.err
}

// VerifySignature returns what a token says if a key of the provider has signed it.
// Where none has, the keys are fetched anew: the provider may have others by now. That
// happens once in keysPause, whatever tokens there are.
func (k keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	e, err := k.party.keys.entry(ctx, k.address)
	if err != nil {
		return nil, err
	}
	defer e.release()
	now := k.party.Now()
	load := func() (keys, error) { return k.party.fetchKeys(ctx, k.address) }
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
	return nil, &Fault{Cause: UnknownKey, Expected: "a key that the provider publishes", Received: cut("kid " + head.KeyID)}
}

func (p *Party) fetchKeys(ctx context.Context, address string) (keys, error) {
	a, err := p.Outbound.Get(ctx, address, maxKeySet)
	if err != nil {
		return nil, &Fault{Cause: KeysUnreachable, Expected: address, err: err}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(a.Body, &set); err != nil {
		return nil, &Fault{Cause: KeysInvalid, Expected: "a key set at " + address, err: err}
	}
	if len(set.Keys) > maxKeys {
		return nil, &Fault{Cause: KeysInvalid, err: errors.New("more keys than anybody needs")}
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

// CheckKeys reads the keys of the provider, and returns a *Fault if there are none to
// verify with.
func (p Provider) CheckKeys(ctx context.Context) error {
	found, err := p.party.fetchKeys(ctx, p.m.JWKS)
	if err != nil {
		return fault(ctx, KeysUnreachable, err)
	}
	if len(found) == 0 {
		return &Fault{Cause: KeysInvalid, Expected: "keys for signatures", Received: "none"}
	}
	return nil
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
