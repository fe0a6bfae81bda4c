package keyring

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A key is a row that can verify, and sign if need be.
type key struct {
	row
	public crypto.PublicKey
	*signers
}

// signers are ready to sign with one key. They outlive the set that the key was
// read with: unsealing and parsing a private key takes longer than reading it.
type signers struct {
	mu    sync.Mutex
	byTyp map[string]jose.Signer
}

func newKey(r row) (*key, error) {
	public, err := x509.ParsePKIXPublicKey(r.public)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", r.id, err)
	}
	return &key{row: r, public: public, signers: &signers{}}, nil
}

func (k *key) isCurrent(now time.Time) bool {
	at := now.UnixMilli()
	return k.revokedAt == nil && k.activeAt <= at && (k.retiresAt == nil || at < *k.retiresAt)
}

func (k *key) isPublished(now time.Time) bool {
	return k.revokedAt == nil && (k.expiresAt == nil || now.UnixMilli() < *k.expiresAt)
}

// signer returns a signer of tokens with this "typ", of which there are few.
func (k *key) signer(ctx context.Context, r *Ring, tenant, typ string) (jose.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.byTyp[typ]; s != nil {
		return s, nil
	}
	box, err := r.Box(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("open the tenant's box: %w", err)
	}
	der, err := box.Open(place(k.id), k.private)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("private key %s can not be read", k.id) // without the error, which may quote it
	}
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.alg), Key: jose.JSONWebKey{Key: private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return nil, fmt.Errorf("signer for key %s: %w", k.id, err)
	}
	if k.byTyp == nil {
		k.byTyp = map[string]jose.Signer{}
	}
	k.byTyp[typ] = s
	return s, nil
}

// generate makes a key pair: the public key as PKIX, the private one as PKCS #8.
func generate(alg string) (public, private []byte, err error) {
	var pair crypto.Signer
	switch alg {
	case RS256:
		pair, err = rsa.GenerateKey(rand.Reader, 2048)
	case ES256:
		pair, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, pair, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no such algorithm: %q", alg)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	if public, err = x509.MarshalPKIXPublicKey(pair.Public()); err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(pair); err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	return public, private, nil
}
