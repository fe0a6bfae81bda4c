package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/cardea-id/cardea/internal/tenant"
)

// Limits of key sets that clients publish.
const (
	maxKeySet  = 64 << 10 // bytes
	maxTried   = 8        // keys, for one signature
	maxKeySets = 1000     // in memory
	// keySetAge is for how long a set is good without a look at it, and keySetPause the
	// time between two looks, whatever they found: a stranger who invents key ids must
	// not make us ask again and again.
	keySetAge   = 5 * time.Minute
	keySetPause = 30 * time.Second
)

// keySets are the sets of keys that clients publish at an address, as last fetched.
type keySets struct {
	mu    sync.Mutex
	byURI map[string]*keySet
}

// A keySet is one of them. Its lock is held while it is fetched: others wait for the
// same answer.
type keySet struct {
	mu        sync.Mutex
	keys      []jose.JSONWebKey
	fetchedAt time.Time
	triedAt   time.Time
	err       error
}

func (k *keySets) of(uri string) *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if set := k.byURI[uri]; set != nil {
		return set
	}
	if k.byURI == nil || len(k.byURI) >= maxKeySets { // when full it starts over
		k.byURI = map[string]*keySet{}
	}
	set := &keySet{}
	k.byURI[uri] = set
	return set
}

// clientKeys returns the keys of a client that may have signed something with this
// header.
func (s *Service) clientKeys(ctx context.Context, app tenant.Application, h jose.Header) ([]jose.JSONWebKey, error) {
	if len(app.OAuth.JWKS) > 0 {
		return candidates(parseKeys(app.OAuth.JWKS), h), nil
	}
	set := s.keySets.of(app.OAuth.JWKSURI)
	set.mu.Lock()
	defer set.mu.Unlock()
	now := s.now()
	if now.Sub(set.fetchedAt).Abs() > keySetAge || len(candidates(set.keys, h)) == 0 {
		if err := s.fetchKeys(ctx, set, app.OAuth.JWKSURI, now); err != nil {
			return nil, err
		}
	}
	return candidates(set.keys, h), nil
}

// fetchKeys looks at an address, unless somebody did a moment ago. Keys that can not
// be fetched again are not good any more: the client may have withdrawn them.
func (s *Service) fetchKeys(ctx context.Context, set *keySet, uri string, now time.Time) error {
	if now.Sub(set.triedAt).Abs() < keySetPause {
		return set.err
	}
	// Others wait for the answer, so it must not end with the request that asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	answer, err := s.Outbound.Get(ctx, uri, maxKeySet)
	set.triedAt, set.err = now, nil
	if err != nil {
		set.keys, set.err = nil, errClient.Because("keys of the client: %w", err)
		return set.err
	}
	set.keys, set.fetchedAt = parseKeys(answer.Body), now
	return nil
}

// parseKeys returns the keys of a JWK set that are meant for signatures and good for
// them. Others, also those that can not be read, are left out (RFC 7517, section 5).
func parseKeys(text []byte) (keys []jose.JSONWebKey) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil {
		return nil
	}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		var meant struct {
			Operations []string `json:"key_ops"`
		}
		if k.UnmarshalJSON(raw) != nil || json.Unmarshal(raw, &meant) != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		if (meant.Operations == nil || slices.Contains(meant.Operations, "verify")) && len(keysFor(k)) > 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// keysFor are the algorithms that a key is good for: none if it is not public, or
// weak.
func keysFor(k jose.JSONWebKey) []jose.SignatureAlgorithm {
	switch key := k.Key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return []jose.SignatureAlgorithm{jose.ES256}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA, algEd25519}
	case *rsa.PublicKey:
		// Longer keys take longer to check, and a stranger brings theirs along.
		if bits := key.N.BitLen(); bits >= 2048 && bits <= 4096 && key.E >= 3 {
			return []jose.SignatureAlgorithm{jose.PS256, jose.RS256}
		}
	}
	return nil
}

// isFor reports whether a key is good for an algorithm.
func isFor(k jose.JSONWebKey, alg string) bool {
	return (k.Algorithm == "" || oldName(k.Algorithm) == oldName(alg)) && slices.Contains(keysFor(k), jose.SignatureAlgorithm(alg))
}

// oldName is the name of an algorithm from before RFC 9864. A key may have been
// published with the one, and a signature made with the other.
func oldName(alg string) string {
	if alg == string(algEd25519) {
		return string(jose.EdDSA)
	}
	return alg
}

// candidates are the keys to try: of that id if the header names one, of the right
// kind, and not many.
func candidates(keys []jose.JSONWebKey, h jose.Header) (out []jose.JSONWebKey) {
	for _, k := range keys {
		if (h.KeyID == "" || h.KeyID == k.KeyID) && isFor(k, h.Algorithm) && len(out) < maxTried {
			out = append(out, k)
		}
	}
	return out
}
