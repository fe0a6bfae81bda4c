package passkey_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/descope/virtualwebauthn"
)

// The flags of authenticator data (section 6.1).
const (
	present        = 1 << 0
	verified       = 1 << 2
	backupEligible = 1 << 3
	backedUp       = 1 << 4
	attested       = 1 << 6
	extended       = 1 << 7
)

// A ceremony is what a browser and an authenticator make of options, each part of
// which a test may falsify before it is signed.
type ceremony struct {
	key virtualwebauthn.Credential

	client     map[string]any // clientDataJSON
	rpID       string         // hashed
	flags      byte
	count      uint32
	credential []byte // its id
	rawID      []byte // as reported, if that is another
	publicKey  []byte // COSE
	handle     []byte // user handle, of an assertion
	extensions map[string]any
	transports []string
	signature  func(sig []byte) []byte
}

// newKey returns a credential whose coordinates have no leading zero, which the
// library that makes it would leave out.
func newKey() virtualwebauthn.Credential {
	for {
		c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
		if len(c.Key.AttestationData()) == 77 {
			return c
		}
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newCeremony(kind, challenge string, key virtualwebauthn.Credential) *ceremony {
	return &ceremony{
		key: key, client: map[string]any{"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false}, rpID: rpID, flags: present | verified,
		credential: key.ID, publicKey: key.Key.AttestationData(), transports: []string{"internal", "hybrid"},
	}
}

func (c *ceremony) clientData(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(c.client)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (c *ceremony) data() []byte {
	hash := sha256.Sum256([]byte(c.rpID))
	return binary.BigEndian.AppendUint32(append(hash[:], c.flags), c.count)
}

func (c *ceremony) write(t *testing.T, response map[string]any) []byte {
	t.Helper()
	raw := c.rawID
	if raw == nil {
		raw = c.credential
	}
	all := map[string]any{"id": b64(raw), "rawId": b64(raw), "type": "public-key", "response": response}
	if c.extensions != nil {
		all["clientExtensionResults"] = c.extensions
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// created is the answer to navigator.credentials.create, without an attestation.
func (c *ceremony) created(t *testing.T) []byte {
	t.Helper()
	data := c.data()
	data[32] |= attested
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(c.credential)))
	data = append(append(data, c.credential...), c.publicKey...)
	// {"fmt": "none", "attStmt": {}, "authData": data} in CBOR
	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59")
	object = append(binary.BigEndian.AppendUint16(object, uint16(len(data))), data...)
	return c.write(t, map[string]any{"clientDataJSON": b64(c.clientData(t)), "attestationObject": b64(object), "transports": c.transports})
}

// got is the answer to navigator.credentials.get.
func (c *ceremony) got(t *testing.T) []byte {
	t.Helper()
	client, data := c.clientData(t), c.data()
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(data[:len(data):len(data)], hash[:]...))
	sig, err := c.key.Key.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if c.signature != nil {
		sig = c.signature(sig)
	}
	response := map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(sig)}
	if c.handle != nil {
		response["userHandle"] = b64(c.handle)
	}
	return c.write(t, response)
}
