package sso

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// Our keys towards a provider. A certificate only carries the key there, so that it
// lasts longer than anybody looks after it.
const (
	keyBits = 2048
	keyLife = 10 * 365 * 24 * time.Hour
	maxKeys = 3 // of a connection: the one before, the one that signs, the next
)

// Steps of a rollover, in this order. In between, the provider reads our metadata anew,
// or somebody uploads the next certificate there.
const (
	AddKey  = "add"  // the next key stands in the metadata, and decrypts
	UseKey  = "use"  // it signs; the one before still decrypts
	DropKey = "drop" // the one before is gone
)

// A storedKey is how a key is kept, sealed.
type storedKey struct {
	Private     []byte `json:"private"` // PKCS #8
	Certificate []byte `json:"certificate"`
}

func keysPlace(id string) string { return "sso_connections/" + id + "/keys" }

// newKey makes a key and the certificate that carries it.
func newKey(now time.Time, connection string) (storedKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return storedKey{}, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return storedKey{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Cardea " + connection}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(keyLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return storedKey{}, fmt.Errorf("make a certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return storedKey{der, certificate}, err
}

// A lateKey is parsed when it is used first: that takes longer than all else of a request,
// and ten kilobytes, and most requests neither sign nor decrypt. It is a crypto.Signer and
// a crypto.Decrypter.
type lateKey struct {
	parsed func() (*rsa.PrivateKey, error)
}

func newLateKey(pkcs8 []byte) lateKey {
	return lateKey{sync.OnceValues(func() (*rsa.PrivateKey, error) {
		key, err := x509.ParsePKCS8PrivateKey(pkcs8)
		if err != nil {
			return nil, fmt.Errorf("parse a key of ours: %w", err)
		}
		private, ok := key.(*rsa.PrivateKey)
		if !ok {
			return nil, errors.New("a key of ours is not RSA")
		}
		return private, nil
	})}
}

// Public returns nil of a key that can not be used.
func (k lateKey) Public() crypto.PublicKey {
	private, err := k.parsed()
	if err != nil {
		return nil
	}
	return private.Public()
}

func (k lateKey) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	private, err := k.parsed()
	if err != nil {
		return nil, err
	}
	return private.Sign(random, digest, options)
}

func (k lateKey) Decrypt(random io.Reader, text []byte, options crypto.DecrypterOpts) ([]byte, error) {
	private, err := k.parsed()
	if err != nil {
		return nil, err
	}
	return private.Decrypt(random, text, options)
}

// keyCache keeps keys that were opened, by the hash of their sealed form, which
// differs each time they are sealed. It is bounded: when full it starts over.
type keyCache struct {
	mu   sync.Mutex
	keys map[[32]byte][]samlxml.Key
}

const maxCachedKeys = 500

// keysOf opens the keys of a connection.
func (s *Service) keysOf(ctx context.Context, c Connection) ([]samlxml.Key, error) {
	if len(c.keys) == 0 {
		return nil, nil
	}
	hash := sha256.Sum256(c.keys)
	s.opened.mu.Lock()
	known, ok := s.opened.keys[hash]
	s.opened.mu.Unlock()
	if ok {
		return known, nil
	}
	stored, err := s.storedKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	out := make([]samlxml.Key, len(stored))
	for i, k := range stored {
		out[i] = samlxml.Key{Private: newLateKey(k.Private), Certificate: k.Certificate}
	}
	s.opened.mu.Lock()
	defer s.opened.mu.Unlock()
	if s.opened.keys == nil || len(s.opened.keys) >= maxCachedKeys {
		s.opened.keys = map[[32]byte][]samlxml.Key{}
	}
	s.opened.keys[hash] = out
	return out, nil
}

func (s *Service) storedKeys(ctx context.Context, c Connection) (out []storedKey, err error) {
	box, err := s.Box(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	plain, err := box.Open(keysPlace(c.ID), c.keys)
	if err != nil {
		return nil, fmt.Errorf("keys of connection %s: %w", c.ID, err)
	}
	return out, json.Unmarshal(plain, &out)
}

func sealKeys(box *secret.Box, c *Connection, keys []storedKey) {
	c.keys = box.Seal(keysPlace(c.ID), []byte(encode(keys)))
}

// RollKey prepares a step of a rollover of our keys towards a SAML provider: AddKey,
// UseKey or DropKey. Save it then. Call it outside of any transaction. The actor needs
// connections:write.
func (s *Service) RollKey(ctx context.Context, by access.Actor, organization, id, step string) (Prepared, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Prepared{}, err
	}
	c, err := findConnection(ctx, s.DB, by.Tenant, organization, id)
	if err != nil {
		return Prepared{}, err
	}
	if c.Kind != SAML {
		return Prepared{}, ErrInvalid.Saying("A connection over OpenID Connect has no keys of ours.").In("step")
	}
	keys, err := s.storedKeys(ctx, c)
	if err != nil {
		return Prepared{}, err
	}
	if keys, err = s.roll(keys, c.ID, step); err != nil {
		return Prepared{}, err
	}
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return Prepared{}, err
	}
	sealKeys(box, &c, keys)
	return Prepared{c: c, before: c.ModifiedAt}, nil
}

func (s *Service) roll(keys []storedKey, connection, step string) ([]storedKey, error) {
	switch {
	case step == AddKey && len(keys) < maxKeys:
		next, err := newKey(s.DB.Now(), connection)
		return append(keys, next), err
	case step == UseKey && len(keys) > 1:
		last := len(keys) - 1
		return append([]storedKey{keys[last]}, keys[:last]...), nil
	case step == DropKey && len(keys) > 1:
		return keys[:len(keys)-1], nil
	case step != AddKey && step != UseKey && step != DropKey:
		return nil, ErrInvalid.Saying("step is add, use or drop.").In("step")
	}
	return nil, ErrInvalid.Saying("There are %d keys: add one, then use it, then drop the one before.", len(keys)).In("step")
}

// Certificates are those of our keys, as people see them; the first signs. Only SAML has
// any.
func (s *Service) Certificates(ctx context.Context, c Connection) (out []Certificate, err error) {
	keys, err := s.keysOf(ctx, c)
	for _, k := range keys {
		shown, err := certificateOf(k.Certificate)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, err
}

// ProviderCertificates are those that a connection takes for the provider's.
func ProviderCertificates(c Connection) (out []Certificate) {
	for _, text := range c.Settings.IdP.Certificates {
		if der, err := base64.StdEncoding.DecodeString(text); err == nil {
			if shown, err := certificateOf(der); err == nil {
				out = append(out, shown)
			}
		}
	}
	return out
}

func certificateOf(der []byte) (Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return Certificate{
		Subject: c.Subject.String(), Fingerprint: hex.EncodeToString(sum[:]), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}, nil
}

// validUntil is when the last of a provider's certificates ends; zero without any.
func validUntil(c Connection) (end time.Time) {
	for _, certificate := range ProviderCertificates(c) {
		if certificate.NotAfter.After(end) {
			end = certificate.NotAfter
		}
	}
	return end
}

// fingerprints are those of the provider's certificates, for the log.
func fingerprints(c Connection) (out []string) {
	for _, certificate := range ProviderCertificates(c) {
		out = append(out, certificate.Fingerprint[:16])
	}
	return out
}

// idpOf is the provider of a connection in the form that package samlxml reads.
func idpOf(o IdP) (samlxml.IdP, error) {
	out := samlxml.IdP{EntityID: o.EntityID, SSORedirect: o.SSORedirect, SSOPost: o.SSOPost, SLORedirect: o.SLORedirect, SLOPost: o.SLOPost, SLORedirectAnswer: o.SLORedirectAnswer, SLOPostAnswer: o.SLOPostAnswer, WantSigned: o.WantSigned, ValidUntil: o.ValidUntil}
	for _, text := range o.Certificates {
		c, err := samlxml.ParseCertificate([]byte(text))
		if err != nil {
			return out, fmt.Errorf("certificate of a provider: %w", err)
		}
		out.Certificates = append(out.Certificates, c)
	}
	return out, nil
}

// idpFrom is what metadata say in the form that is kept.
func idpFrom(read samlxml.IdP) IdP {
	out := IdP{EntityID: read.EntityID, SSORedirect: read.SSORedirect, SSOPost: read.SSOPost, SLORedirect: read.SLORedirect, SLOPost: read.SLOPost, SLORedirectAnswer: read.SLORedirectAnswer, SLOPostAnswer: read.SLOPostAnswer, WantSigned: read.WantSigned, ValidUntil: read.ValidUntil, Certificates: []string{}}
	for _, c := range read.Certificates {
		out.Certificates = append(out.Certificates, base64.StdEncoding.EncodeToString(c.Raw))
	}
	slices.Sort(out.Certificates)
	return out
}

// spOf is us, towards the provider of a connection.
func (s *Service) spOf(ctx context.Context, c Connection) (samlxml.SP, error) {
	origin, err := s.Origin(ctx, c.tenant)
	if err != nil {
		return samlxml.SP{}, err
	}
	keys, err := s.keysOf(ctx, c)
	us := us(c, origin)
	return samlxml.SP{EntityID: us.EntityID, ACS: us.ACS, SLO: us.SLO, Keys: keys, SignRequests: c.Settings.SignRequests}, err
}

// Us is what a provider must know of us, to be set there.
type Us struct {
	EntityID    string `json:"entity_id,omitempty" doc:"Of saml: also called audience, or identifier"`
	ACS         string `json:"acs_url,omitempty" doc:"Of saml: where the provider sends its responses"`
	SLO         string `json:"slo_url,omitempty" doc:"Of saml: where it sends logout messages"`
	MetadataURL string `json:"metadata_url,omitempty" doc:"Of saml: where all of this can be read"`
	RedirectURI string `json:"redirect_uri,omitempty" doc:"Of oidc"`
}

// Us is what to set at the provider of a connection.
func (s *Service) Us(ctx context.Context, tenant string, c Connection) (Us, error) {
	origin, err := s.Origin(ctx, tenant)
	return us(c, origin), err
}

func us(c Connection, origin string) Us {
	if c.Kind == OIDC {
		return Us{RedirectURI: origin + CallbackPath(c.ID)}
	}
	us := Us{EntityID: c.Settings.EntityID, ACS: origin + ACSPath(c.ID), SLO: origin + SLOPath(c.ID), MetadataURL: origin + MetadataPath(c.ID)}
	if us.EntityID == "" {
		us.EntityID = us.MetadataURL
	}
	return us
}

// Metadata is the SAML metadata of us towards the provider of a connection, in whatever
// state. It tells nothing that is secret.
func (s *Service) Metadata(ctx context.Context, tenant, connection string) ([]byte, error) {
	c, err := connectionByID(ctx, s.DB, tenant, connection)
	if err != nil {
		return nil, err
	}
	if c.Kind != SAML {
		return nil, ErrNotFound
	}
	sp, err := s.spOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return sp.Metadata()
}
