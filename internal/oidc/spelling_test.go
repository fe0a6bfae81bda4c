package oidc_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/oidc"
)

// byHand signs with Ed25519, as a client with another library would: the header is
// taken as it is.
func byHand(t *testing.T, key ed25519.PrivateKey, header string, claims any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64(payload)
	return signed + "." + b64(ed25519.Sign(key, []byte(signed)))
}

// Clients put the members of a header in the order they like, and call the algorithm
// by its old name or by that of RFC 9864.
func TestProofsOfOtherLibrariesAreTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := fmt.Sprintf(`{"kty":"OKP","x":%q,"crv":"Ed25519"}`, base64.RawURLEncoding.EncodeToString(public))
	for name, header := range map[string]string{
		"another order":    `{"typ":"dpop+jwt","jwk":` + jwk + `,"alg":"EdDSA"}`,
		"white space":      `{ "alg": "EdDSA", "typ": "dpop+jwt", "jwk": ` + jwk + ` }`,
		"name of RFC 9864": `{"alg":"Ed25519","typ":"dpop+jwt","jwk":` + jwk + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proof := byHand(t, key, header, proofClaimsAt(now))
			if thumbprint, err := oidc.CheckProof(proof, "POST", endpoint, "", now); err != nil || len(thumbprint) != 43 {
				t.Errorf("thumbprint %q, %v", thumbprint, err)
			}
			for what, bad := range map[string]string{
				"another signature": proof[:len(proof)-8] + "AAAAAAAA",
				"no signature":      proof[:strings.LastIndexByte(proof, '.')+1],
				"a line break":      proof[:4] + "\n" + proof[4:],
				"padding":           proof + "==",
			} {
				if _, err := oidc.CheckProof(bad, "POST", endpoint, "", now); err == nil {
					t.Errorf("a proof with %s is taken", what)
				}
			}
		})
	}
}

func TestAssertionsOfOtherLibrariesAreTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, registered := range []jose.SignatureAlgorithm{"EdDSA", "Ed25519", ""} {
		for _, header := range []string{`{"kid":"k","alg":"Ed25519"}`, `{"alg":"EdDSA","kid":"k"}`} {
			app := application(signer{registered, key, "k"}.jwks(t))
			if err := oidc.CheckAssertion(t.Context(), app, byHand(t, key, header, assertionClaims(now)), []string{issuer}, now); err != nil {
				t.Errorf("registered for %q, signed with %s: %v", registered, header, err)
			}
			if err := oidc.CheckAssertion(t.Context(), app, byHand(t, other, header, assertionClaims(now)), []string{issuer}, now); err == nil {
				t.Errorf("registered for %q, signed with %s: another's key is as good", registered, header)
			}
		}
	}
}
