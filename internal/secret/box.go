package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// KeySize is the length of a Box's key in bytes.
const KeySize = 32

// ErrSealed says that a value can not be opened: it was sealed under another
// key, for another place, or altered.
var ErrSealed = errors.New("sealed value does not open with this key")

// A Box seals values under one key with AES-256-GCM and a random nonce. It is
// safe for concurrent use.
type Box struct {
	aead    cipher.AEAD
	key     []byte
	derived sync.Map // purpose -> key
}

// NewBox returns a Box for a key of KeySize bytes.
func NewBox(key []byte) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Box{aead: aead, key: key}, nil
}

// Seal returns plain encrypted for place. Name the place so that no two values
// share it, such as "users/<id>/totp".
func (b *Box) Seal(place string, plain []byte) []byte {
	return b.aead.Seal(nil, nil, plain, []byte(place))
}

// Open reverses Seal, or returns ErrSealed.
func (b *Box) Open(place string, sealed []byte) ([]byte, error) {
	plain, err := b.aead.Open(nil, nil, sealed, []byte(place))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", place, ErrSealed)
	}
	return plain, nil
}

// Derive returns a key for one purpose, by HKDF-SHA-256 (RFC 5869). Different
// purposes give unrelated keys. The caller must not write to it. Purposes are
// constants of the program: each is derived once and kept.
func (b *Box) Derive(purpose string) []byte {
	if key, ok := b.derived.Load(purpose); ok {
		return key.([]byte)
	}
	key, err := hkdf.Key(sha256.New, b.key, nil, "cardea/"+purpose, KeySize)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	b.derived.Store(purpose, key)
	return key
}

// NewBoxKey returns a random key for a Box.
func NewBoxKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key)
	return key
}

// ParseMasterKey reads a key of KeySize bytes written as hex or base64.
func ParseMasterKey(s string) ([]byte, error) {
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(s); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("a master key is %d random bytes written as hex or base64 (make one with: openssl rand -hex %d)", KeySize, KeySize)
}

// MAC returns the first 16 bytes of HMAC-SHA-256 over text.
func MAC(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)[:16]
}
