// Package keyring makes, publishes and rotates the keys that sign a tenant's
// tokens, and signs and verifies with them.
//
//	Sign    a token under the tenant's current key, which is made when first needed
//	Verify  a token of the tenant's own
//	JWKS    the public keys, ready to be served
//	Rotate  make the next keys in time and forget the last; run it every hour
//	Revoke  end a key at once
//
// A key signs for 90 days. Its successor is published a day before it signs, so that
// whoever keeps our keys for a while knows it in time, and it stays published until
// the last token signed by it has ended. What other processes do is seen within a
// second. If the database does not answer, keys are served from memory for ten
// minutes, because tokens that were signed stay what they are.
//
// An attacker would try to make Verify use another algorithm or key than the one
// that signed, to pass a token of one kind off as another, or to get at a private
// key: algorithms come from a list of three and must be the key's own, the key is
// looked up by its id among the tenant's and nowhere else, the "typ" of a token must
// be the one expected, and private keys leave the database only sealed.
package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// The algorithms (RFC 7518, section 3; RFC 8037).
const (
	RS256 = string(jose.RS256) // with keys of 2048 bits
	ES256 = string(jose.ES256)
	EdDSA = string(jose.EdDSA) // Ed25519
)

// Algorithms are those that every tenant has keys for.
var Algorithms = []string{RS256, ES256, EdDSA}

// Lifetimes of a key.
const (
	signsFor       = 90 * 24 * time.Hour
	publishedAhead = 24 * time.Hour
	revokedKept    = 90 * 24 * time.Hour // for Keys to tell of
)

// ErrToken covers every reason why a token is not valid, so that the answer does not
// tell which one it was.
var ErrToken = problem.New(problem.Unauthenticated, "invalid_token", "The token is not valid, or not valid any more.")

// ErrKeyNotFound says that the tenant has no such key, or that it is revoked already.
var ErrKeyNotFound = problem.New(problem.NotFound, "signing_key_not_found", "There is no such signing key.")

// A Ring holds the keys of all tenants. Its fields are set once, before use.
type Ring struct {
	DB *database.DB
	// Box returns what seals the tenant's private keys. It is not called within a
	// transaction.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
	// TokenLifetime is the longest time for which anybody signs a token: 24 hours
	// unless set. Keys stay published that long after they have signed.
	TokenLifetime time.Duration

	mu   sync.RWMutex
	sets map[string]*cache
}

func (r *Ring) tokenLifetime() time.Duration {
	if r.TokenLifetime > 0 {
		return r.TokenLifetime
	}
	return 24 * time.Hour
}

// rsaTurns bounds the RSA signatures under way to the number of cores: one takes a
// millisecond, and more at a time only make each of them late.
var rsaTurns = make(chan struct{}, runtime.GOMAXPROCS(0))

// Sign returns claims as a compact JWS (RFC 7515) with this "typ", under the
// tenant's current key for alg. Claims are anything that encodes to a JSON object;
// "exp" and the rest are the caller's to set, and "exp" at most TokenLifetime ahead.
func (r *Ring) Sign(ctx context.Context, tenant, alg, typ string, claims any) (token string, err error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	k, err := r.current(ctx, tenant, alg)
	if err != nil {
		return "", err
	}
	signer, err := k.signer(ctx, r, tenant, typ)
	if err != nil {
		return "", err
	}
	if alg == RS256 {
		select {
		case rsaTurns <- struct{}{}:
			defer func() { <-rsaTurns }()
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.CompactSerialize()
}

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// clockSkew is how much the clocks of two processes may differ. It is granted to
// the start of a token's life, not to its end.
const clockSkew = time.Minute

// Verify returns the claims, a JSON object, of a token that this tenant has signed
// with this "typ", if its time has come ("nbf") and is not over ("exp", required);
// else ErrToken. What the claims say is the caller's to check.
func (r *Ring) Verify(ctx context.Context, tenant, token, typ string) (claims []byte, err error) {
	claims, err = r.VerifyAnyAge(ctx, tenant, token, typ)
	if err != nil {
		return nil, err
	}
	var life struct {
		From  *float64 `json:"nbf"`
		Until *float64 `json:"exp"`
	}
	if err := json.Unmarshal(claims, &life); err != nil {
		return nil, ErrToken.Because("claims: %w", err)
	}
	now := float64(r.DB.Now().UnixMilli()) / 1000
	if life.Until == nil || now >= *life.Until {
		return nil, ErrToken.Because("expired or without end")
	}
	if life.From != nil && now+clockSkew.Seconds() < *life.From {
		return nil, ErrToken.Because("not valid yet")
	}
	return claims, nil
}

// VerifyAnyAge is Verify without a look at the times: for an ID token that only
// hints at who somebody was (OpenID Connect RP-Initiated Logout, section 2). It
// works as long as the key is published.
func (r *Ring) VerifyAnyAge(ctx context.Context, tenant, token, typ string) (claims []byte, err error) {
	if len(token) > maxToken {
		return nil, ErrToken.Because("%d bytes", len(token))
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return nil, ErrToken.Because("parse: %w", err)
	}
	// The decoder overlooks line breaks and odd last bits, but a token has one spelling.
	if again, err := signed.CompactSerialize(); err != nil || again != token {
		return nil, ErrToken.Because("not in canonical form")
	}
	header := signed.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != typ {
		return nil, ErrToken.Because("typ %v, want %s", header.ExtraHeaders[jose.HeaderType], typ)
	}
	if !secret.IsID(header.KeyID) {
		return nil, ErrToken.Because("no key id")
	}
	k, err := r.published(ctx, tenant, header.KeyID)
	if err != nil {
		return nil, err
	}
	if k.alg != header.Algorithm {
		return nil, ErrToken.Because("alg %s under a key for %s", header.Algorithm, k.alg)
	}
	claims, err = signed.Verify(k.public)
	if err != nil {
		return nil, ErrToken.Because("verify: %w", err)
	}
	return claims, nil
}

// JWKS returns the tenant's public keys as a JWK set (RFC 7517, section 5), one key
// at least for each of Algorithms. The caller must not change the bytes.
func (r *Ring) JWKS(ctx context.Context, tenant string) ([]byte, error) {
	s, err := r.load(ctx, tenant, maxAge)
	if err != nil {
		return nil, err
	}
	for _, alg := range Algorithms {
		if s.current(alg, r.DB.Now()) != nil {
			continue
		}
		if s, err = r.makeFirst(ctx, tenant, alg); err != nil {
			return nil, err
		}
	}
	return s.jwks, nil
}

// current returns the key that signs now, and makes it if there is none.
func (r *Ring) current(ctx context.Context, tenant, alg string) (*key, error) {
	s, err := r.load(ctx, tenant, maxAge)
	if err != nil {
		return nil, err
	}
	if k := s.current(alg, r.DB.Now()); k != nil {
		return k, nil
	}
	if s, err = r.makeFirst(ctx, tenant, alg); err != nil {
		return nil, err
	}
	return s.current(alg, r.DB.Now()), nil
}

// makeFirst makes a key that signs at once, since there is none, and returns the set
// with it. It can not be published before it signs. Of several processes that come
// here together one wins, and all go on with its key.
func (r *Ring) makeFirst(ctx context.Context, tenant, alg string) (*set, error) {
	c := r.cache(tenant)
	c.making.Lock()
	defer c.making.Unlock()
	s, err := r.load(ctx, tenant, 0)
	if err != nil || s.current(alg, r.DB.Now()) != nil {
		return s, err
	}
	// The number follows from the same look that found no key: had another process
	// made one since, it has this number and ours comes to nothing.
	if err := r.add(ctx, tenant, alg, s.generations[alg]+1, 0); err != nil {
		return nil, err
	}
	s, err = r.load(ctx, tenant, 0)
	if err == nil && s.current(alg, r.DB.Now()) == nil {
		err = fmt.Errorf("the new %s key is gone", alg)
	}
	return s, err
}

// add makes the key of a generation and starts it in ahead from now. It does nothing
// if the generation is there already.
func (r *Ring) add(ctx context.Context, tenant, alg string, generation int64, ahead time.Duration) error {
	box, err := r.Box(ctx, tenant)
	if err != nil {
		return fmt.Errorf("open the tenant's box: %w", err)
	}
	id := secret.ID(r.DB.Now())
	public, private, err := generate(alg)
	if err != nil {
		return err
	}
	sealed := box.Seal(place(id), private)
	return r.DB.Write(ctx, func(tx *database.Tx) error {
		k := row{id: id, alg: alg, generation: generation, public: public, private: sealed, activeAt: tx.Now.Add(ahead).UnixMilli()}
		added, err := insertKey(ctx, tx, tenant, k)
		if err != nil || !added {
			return err
		}
		return retireKeys(ctx, tx, tenant, k, r.tokenLifetime())
	})
}

func place(id string) string { return "signing_keys/" + id }

// published returns the tenant's key with this id. A key that another process has
// made just now must be found, but a stranger's invented ids must not cost a query
// each: the keys are read again at most twenty times a second.
func (r *Ring) published(ctx context.Context, tenant, id string) (*key, error) {
	for _, age := range []time.Duration{maxAge, maxAge / 10} {
		s, err := r.load(ctx, tenant, age)
		if err != nil {
			return nil, err
		}
		if k := s.byID[id]; k != nil && k.isPublished(r.DB.Now()) {
			return k, nil
		}
	}
	return nil, ErrToken.Because("unknown key")
}

// Rotate makes the successors that are due and removes keys that have expired, of
// all tenants.
func (r *Ring) Rotate(ctx context.Context) error {
	due, err := listDue(ctx, r.DB, r.DB.Now().Add(publishedAhead-signsFor))
	if err != nil {
		return err
	}
	var failed []error
	for _, d := range due { // one tenant's trouble must not keep another's key in use
		if err := r.add(ctx, d.tenant, d.alg, d.generation+1, publishedAhead); err != nil {
			failed = append(failed, fmt.Errorf("rotate %s of tenant %s: %w", d.alg, d.tenant, err))
		}
	}
	err = r.DB.Write(ctx, func(tx *database.Tx) error { return deleteExpired(ctx, tx) })
	return errors.Join(append(failed, err)...)
}

// Revoke ends a key at once: nothing it has signed is valid any more, in any process
// within a second, and its private part is gone. If it was the current key its
// successor takes over, or a new one. It returns ErrKeyNotFound.
func (r *Ring) Revoke(ctx context.Context, tx *database.Tx, tenant, id string) error {
	revoked, err := revokeKey(ctx, tx, tenant, id)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { r.forget(tenant) })
	switch now := tx.Millis(); {
	case revoked.activeAt > now: // it was to come: the current key stays
		return keepCurrent(ctx, tx, tenant, revoked.alg)
	case revoked.retiresAt == nil || *revoked.retiresAt > now:
		return startNext(ctx, tx, tenant, revoked.alg)
	}
	return nil // it had retired
}

// A Key is a signing key as its owner may see it. Times that are not known yet are
// zero.
type Key struct {
	ID        string // the "kid" of tokens
	Alg       string
	CreatedAt time.Time
	ActiveAt  time.Time // signs from then on
	RetiresAt time.Time // until then
	ExpiresAt time.Time // published until then
	RevokedAt time.Time
}

// Keys lists the tenant's keys, newest first, revoked ones included.
func (r *Ring) Keys(ctx context.Context, reader database.Reader, tenant string) ([]Key, error) {
	rows, err := listKeys(ctx, reader, tenant)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(rows))
	for _, k := range rows {
		keys = append(keys, Key{
			ID: k.id, Alg: k.alg, CreatedAt: moment(&k.createdAt), ActiveAt: moment(&k.activeAt),
			RetiresAt: moment(k.retiresAt), ExpiresAt: moment(k.expiresAt), RevokedAt: moment(k.revokedAt),
		})
	}
	return keys, nil
}

func moment(millis *int64) time.Time {
	if millis == nil {
		return time.Time{}
	}
	return time.UnixMilli(*millis).UTC()
}
