package passkey_test

import (
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/secret"
)

// The test vectors of WebAuthn Level 3, section 16, as hexadecimal digits: what a browser
// and an authenticator answer to given challenges of RP ID example.org.
//
//go:embed testdata/webauthn-3-section-16.json
var vectorFile []byte

type vector struct {
	Section, Title string
	Registration   struct{ Challenge, CredentialID, ClientDataJSON, AttestationObject string }
	Authentication struct{ Challenge, ClientDataJSON, AuthenticatorData, Signature string }
}

// refusedVectors are those that are right, and that nobody here has asked for.
var refusedVectors = map[string]string{
	"16.4": "within a page of another origin",
	"16.5": "within a page of another origin",
}

// strippedVectors are those whose attestation is not taken. None is asked for, so that a
// browser leaves it out, and so does the test.
var strippedVectors = map[string]string{
	"16.13": "made by no manufacturer of TPMs that there is",
	"16.14": "not under a root of Google's",
	"16.15": "not under the root of Apple's",
}

// stripped is the attestation object as a browser makes it where none is asked for
// (section 5.1.3, step 22).
func (v vector) stripped() vector {
	const key, start = "686175746844617461", "a363666d74646e6f6e656761747453746d74a0" // "authData"; a map with "fmt": "none", "attStmt": {}
	v.Registration.AttestationObject = start + v.Registration.AttestationObject[strings.LastIndex(v.Registration.AttestationObject, key):]
	return v
}

func TestVectorsOfTheStandard(t *testing.T) {
	var vectors []vector
	if err := json.Unmarshal(vectorFile, &vectors); err != nil || len(vectors) < 14 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	run(t, func(t *testing.T, b *bench) {
		for _, v := range vectors {
			t.Run(v.Section+" "+v.Title, func(t *testing.T) {
				_, refused := refusedVectors[v.Section]
				if _, needed := strippedVectors[v.Section]; needed {
					if _, err := b.registerVector(t, v); !errors.Is(err, passkey.ErrRefused) {
						t.Errorf("with its attestation: %v", err)
					}
					v = v.stripped()
				}
				made, err := b.registerVector(t, v)
				if refused != errors.Is(err, passkey.ErrRefused) || !refused && err != nil {
					t.Fatalf("registration: %v", err)
				}
				if refused {
					return
				}
				if err := b.signInVector(t, v, v.Authentication.Signature); err != nil {
					t.Errorf("authentication: %v", err)
				}
				end := len(v.Authentication.Signature) - 1
				other := map[bool]string{true: "1", false: "0"}[v.Authentication.Signature[end] == '0']
				if err := b.signInVector(t, v, v.Authentication.Signature[:end]+other); !errors.Is(err, passkey.ErrRefused) {
					t.Errorf("another signature: %v", err)
				}
				b.write(t, func(tx *database.Tx) error {
					_, err := b.Delete(t.Context(), tx, b.by, b.ann, made.ID)
					return err
				})
			})
		}
	})
}

var vectorRP = passkey.RP{ID: "example.org", Name: "Example", Origins: []string{"https://example.org"}}

// expect puts the challenge of a vector in the place of the one that was made.
func (b *bench) expect(t *testing.T, challenge string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE passkey_challenges SET hash = $2 WHERE tenant_id = $1`, tenant, secret.Hash(toBase64(t, challenge)))
		return err
	})
}

// forget removes the challenges of answers that could not be read.
func (b *bench) forget(t *testing.T) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM passkey_challenges WHERE tenant_id = $1`, tenant)
		return err
	})
}

func (b *bench) registerVector(t *testing.T, v vector) (passkey.Passkey, error) {
	t.Helper()
	b.forget(t)
	b.beginRegistration(t, passkey.Registration{Owner: "session", UserID: b.ann, Login: "ann", RP: vectorRP})
	b.expect(t, v.Registration.Challenge)
	return b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: vectorRP, Credential: credentialOf(t, v, map[string]string{
		"clientDataJSON": v.Registration.ClientDataJSON, "attestationObject": v.Registration.AttestationObject,
	})})
}

func (b *bench) signInVector(t *testing.T, v vector, signature string) error {
	t.Helper()
	b.forget(t)
	b.write(t, func(tx *database.Tx) error {
		_, err := b.BeginSignIn(t.Context(), tx, b.by, passkey.Request{Owner: "attempt", Purpose: passkey.SecondFactor, UserID: b.ann, RP: vectorRP})
		return err
	})
	b.expect(t, v.Authentication.Challenge)
	good, err := b.CheckSignIn(t.Context(), b.by, passkey.Answer{Owner: "attempt", Purpose: passkey.SecondFactor, RP: vectorRP, Credential: credentialOf(t, v, map[string]string{
		"clientDataJSON": v.Authentication.ClientDataJSON, "authenticatorData": v.Authentication.AuthenticatorData, "signature": signature,
	})})
	if err != nil {
		return err
	}
	return b.DB.Write(t.Context(), func(tx *database.Tx) error {
		_, err := b.FinishSignIn(t.Context(), tx, b.by, good)
		return err
	})
}

// credentialOf is a PublicKeyCredential in JSON.
func credentialOf(t *testing.T, v vector, response map[string]string) []byte {
	t.Helper()
	for name, digits := range response {
		response[name] = toBase64(t, digits)
	}
	id := toBase64(t, v.Registration.CredentialID)
	text, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func toBase64(t *testing.T, digits string) string {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
