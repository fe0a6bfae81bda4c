package keyring_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/secret"
)

const (
	tenant = "000000000000000000000001"
	other  = "000000000000000000000002"
)

// bench is a database with two tenants, a movable clock, and the rings of as many
// processes as a test asks for.
type bench struct {
	url   string
	now   atomic.Int64
	boxes map[string]*secret.Box
	*keyring.Ring
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	dbtest.RunURL(t, func(t *testing.T, url string) {
		t.Helper()
		b := &bench{url: url, boxes: map[string]*secret.Box{}}
		b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
		b.Ring = b.process(t)
		for _, id := range []string{tenant, other} {
			box, err := secret.NewBox(secret.NewBoxKey())
			if err != nil {
				t.Fatal(err)
			}
			b.boxes[id] = box
			b.write(t, func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), `
					INSERT INTO tenants (id, slug, name, kind, settings, data_key, created_at, modified_at)
					VALUES ($1, $1, '', 'SSMS', '{}', $2, $3, $3)`, id, []byte{}, tx.Millis())
				return err
			})
		}
		test(t, b)
	})
}

// process returns the ring of another process.
func (b *bench) process(t *testing.T) *keyring.Ring {
	t.Helper()
	r := b.unclosed(t)
	t.Cleanup(func() { r.DB.Close() })
	return r
}

// unclosed is process for a test that closes the database itself.
func (b *bench) unclosed(t *testing.T) *keyring.Ring {
	t.Helper()
	db, err := database.Open(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
	return &keyring.Ring{DB: db, Box: func(_ context.Context, tenant string) (*secret.Box, error) {
		return b.boxes[tenant], nil
	}}
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

type claims map[string]any

// claims are good for life from now on.
func (b *bench) claims(life time.Duration) claims {
	return claims{"sub": "ann", "exp": time.UnixMilli(b.now.Load()).Add(life).Unix()}
}

func (b *bench) sign(t *testing.T, r *keyring.Ring, alg string) (token string) {
	t.Helper()
	token, err := r.Sign(t.Context(), tenant, alg, "at+jwt", b.claims(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func verify(t *testing.T, r *keyring.Ring, token string) error {
	t.Helper()
	got, err := r.Verify(t.Context(), tenant, token, "at+jwt")
	if err != nil {
		if !errors.Is(err, keyring.ErrToken) {
			t.Errorf("error %v, want ErrToken", err)
		}
		return err
	}
	var c claims
	if err := json.Unmarshal(got, &c); err != nil || c["sub"] != "ann" {
		t.Errorf("claims %s, %v", got, err)
	}
	return nil
}

// kid returns the id of the key that token names.
func kid(t *testing.T, token string) string {
	t.Helper()
	header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
	if err != nil {
		t.Fatal(err)
	}
	var h struct {
		Kid string `json:"kid"`
	}
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

// published returns the ids of the keys in the JWK set, by algorithm.
func published(t *testing.T, r *keyring.Ring) map[string][]string {
	t.Helper()
	text, err := r.JWKS(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	ids := map[string][]string{}
	for _, k := range set.Keys {
		ids[k.Algorithm] = append(ids[k.Algorithm], k.KeyID)
	}
	return ids
}

func (b *bench) revoke(t *testing.T, r *keyring.Ring, id string) {
	t.Helper()
	err := r.DB.Write(t.Context(), func(tx *database.Tx) error { return r.Revoke(t.Context(), tx, tenant, id) })
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) rotate(t *testing.T) {
	t.Helper()
	if err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSignedTokensVerifyByThePublishedKeys(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		for _, alg := range keyring.Algorithms {
			token := b.sign(t, b.Ring, alg)
			if err := verify(t, b.Ring, token); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			// As a stranger does it, with nothing but the JWK set.
			text, err := b.JWKS(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			var set jose.JSONWebKeySet
			if err := json.Unmarshal(text, &set); err != nil {
				t.Fatal(err)
			}
			signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := signed.Verify(set)
			if err != nil || !strings.Contains(string(payload), `"sub":"ann"`) {
				t.Errorf("%s: a stranger reads %s, %v", alg, payload, err)
			}
			if h := signed.Signatures[0].Protected; h.ExtraHeaders["typ"] != "at+jwt" || !secret.IsID(h.KeyID) {
				t.Errorf("%s: header %+v", alg, h)
			}
		}
		if _, err := b.Sign(t.Context(), tenant, "HS256", "JWT", claims{}); err == nil {
			t.Error("signed with HS256")
		}
	})
}

func TestJWKSHoldsNothingPrivate(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		b.JWKS(t.Context(), tenant)
		b.pass(89 * 24 * time.Hour)
		b.rotate(t)
		text, err := b.JWKS(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) != 6 {
			t.Fatalf("%s, %v; want two keys for each of three algorithms", text, err)
		}
		members := map[string][]string{
			"RS256": {"alg", "e", "kid", "kty", "n", "use"}, "ES256": {"alg", "crv", "kid", "kty", "use", "x", "y"}, "EdDSA": {"alg", "crv", "kid", "kty", "use", "x"},
		}
		for _, k := range set.Keys {
			var got []string
			for name := range k {
				got = append(got, name)
			}
			slices.Sort(got)
			if !slices.Equal(got, members[k["alg"]]) || k["use"] != "sig" {
				t.Errorf("a key for %s has %v, want %v", k["alg"], got, members[k["alg"]])
			}
			if k["alg"] == "RS256" && len(k["n"]) != 342 {
				t.Errorf("a modulus of %d characters, want 2048 bits", len(k["n"]))
			}
		}
	})
}

func TestPrivateKeysAreSealed(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		for _, alg := range keyring.Algorithms {
			id := kid(t, b.sign(t, b.Ring, alg))
			var stored []byte
			err := b.DB.QueryRow(t.Context(), "SELECT private_key FROM signing_keys WHERE tenant_id = $1 AND id = $2", tenant, id).Scan(&stored)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x509.ParsePKCS8PrivateKey(stored); err == nil {
				t.Errorf("%s: the private key is not sealed", alg)
			}
			if _, err := b.boxes[tenant].Open("signing_keys/"+id, stored); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
		// A row that is moved to another tenant is of no use there.
		b.write(t, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE signing_keys SET tenant_id = $1", other)
			return err
		})
		if _, err := b.process(t).Sign(t.Context(), other, keyring.ES256, "JWT", claims{}); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("signing with another tenant's key: %v, want ErrSealed", err)
		}
	})
}

func TestManyFirstSignersMakeOneKey(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		rings := []*keyring.Ring{b.Ring, b.process(t), b.process(t)}
		tokens := make(chan string, 60)
		var group sync.WaitGroup
		for i := range cap(tokens) {
			group.Go(func() {
				token, err := rings[i%len(rings)].Sign(t.Context(), tenant, keyring.ES256, "at+jwt", b.claims(time.Hour))
				if err != nil {
					t.Error(err)
				}
				tokens <- token
			})
		}
		group.Wait()
		close(tokens)
		kids := map[string]bool{}
		for token := range tokens {
			kids[kid(t, token)] = true
			for _, r := range rings {
				if err := verify(t, r, token); err != nil {
					t.Error(err)
				}
			}
		}
		keys, err := b.Keys(t.Context(), b.DB, tenant)
		if err != nil || len(keys) != 1 || len(kids) != 1 {
			t.Errorf("%d keys, %v, of which %d signed; want one", len(keys), err, len(kids))
		}
	})
}

// A token may come to another process sooner than that one has looked at the keys.
func TestAKeyThatIsNewElsewhereIsFound(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		elsewhere := b.process(t)
		b.sign(t, elsewhere, keyring.ES256)
		token := b.sign(t, b.Ring, keyring.EdDSA)
		b.pass(100 * time.Millisecond)
		if err := verify(t, elsewhere, token); err != nil {
			t.Error(err)
		}
	})
}

// Half a year and more, in steps of six hours. Clients keep the JWK set for a day.
func TestRotationNeverFailsAClientThatKeepsTheKeysForADay(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		type signed struct {
			token string
			at    time.Time
		}
		const step = 6 * time.Hour
		var live []signed
		var known []map[string]bool // what clients have read, for the last day
		kids := map[string]bool{}
		for i := range int(200 * 24 * time.Hour / step) {
			b.rotate(t)
			token := b.sign(t, b.Ring, keyring.ES256)
			id := kid(t, token)
			if i > 0 {
				for age, read := range known {
					if !read[id] {
						t.Fatalf("step %d: a client that read the keys %v ago does not know %s", i, time.Duration(len(known)-age)*step, id)
					}
				}
			}
			kids[id] = true
			live = append(live, signed{token, b.DB.Now()})
			for len(live) > 0 && b.DB.Now().Sub(live[0].at) >= 24*time.Hour {
				live = live[1:]
			}
			reads := map[string]bool{}
			for _, id := range published(t, b.Ring)[keyring.ES256] {
				reads[id] = true
			}
			for _, s := range live {
				if err := verify(t, b.Ring, s.token); err != nil {
					t.Fatalf("step %d: a token signed at %v: %v", i, s.at, err)
				}
				if !reads[kid(t, s.token)] {
					t.Fatalf("step %d: the key of a token signed at %v is not published", i, s.at)
				}
			}
			known = append(known, reads)
			if len(known) > int(24*time.Hour/step) {
				known = known[1:]
			}
			b.pass(step)
		}
		if len(kids) != 3 {
			t.Errorf("%d keys signed in 200 days, want 3", len(kids))
		}
	})
}

func TestRotationTakesItsTime(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		const day = 24 * time.Hour
		token := b.sign(t, b.Ring, keyring.ES256)
		first := kid(t, token)
		b.pass(89*day - time.Second)
		b.rotate(t)
		if ids := published(t, b.Ring)[keyring.ES256]; len(ids) != 1 {
			t.Errorf("before day 89 there are %d keys, want 1", len(ids))
		}
		b.pass(time.Second)
		b.rotate(t)
		b.rotate(t)
		b.pass(time.Second)
		ids := published(t, b.Ring)[keyring.ES256]
		if len(ids) != 2 {
			t.Fatalf("on day 89 there are %d keys, want 2", len(ids))
		}
		b.pass(day - 2*time.Second)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got != first {
			t.Error("the successor signs before day 90")
		}
		last := b.sign(t, b.Ring, keyring.ES256)
		b.pass(time.Second)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got == first || !slices.Contains(ids, got) {
			t.Errorf("on day 90 %s signs, want the successor", got)
		}
		b.pass(day - 2*time.Second)
		if err := verify(t, b.Ring, last); err != nil {
			t.Errorf("the last token of the old key: %v", err)
		}
		b.pass(2 * time.Second)
		if ids := published(t, b.Ring)[keyring.ES256]; len(ids) != 1 || ids[0] == first {
			t.Errorf("on day 91 %v are published, want the successor alone", ids)
		}
		b.rotate(t)
		if keys, err := b.Keys(t.Context(), b.DB, tenant); err != nil || slices.ContainsFunc(keys, func(k keyring.Key) bool { return k.ID == first }) {
			t.Errorf("the expired key is still there: %+v, %v", keys, err)
		}
	})
}

func TestALateRotationStillPublishesFirst(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		first := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.pass(300 * 24 * time.Hour)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got != first {
			t.Error("the key stopped signing without a successor")
		}
		b.rotate(t)
		b.pass(24*time.Hour - time.Second)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got != first {
			t.Error("the successor signs sooner than a day after it was published")
		}
		b.pass(time.Second)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got == first {
			t.Error("the successor does not sign")
		}
	})
}

func TestManyRotationsAtOnceMakeOneSuccessor(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		b.sign(t, b.Ring, keyring.ES256)
		b.pass(89 * 24 * time.Hour)
		var group sync.WaitGroup
		for _, r := range []*keyring.Ring{b.Ring, b.process(t), b.process(t)} {
			for range 5 {
				group.Go(func() {
					if err := r.Rotate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
		}
		group.Wait()
		if keys, err := b.Keys(t.Context(), b.DB, tenant); err != nil || len(keys) != 2 {
			t.Errorf("%d keys, %v; want 2", len(keys), err)
		}
	})
}

func TestARevokedKeyEndsEverywhereWithinASecond(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		elsewhere := b.process(t)
		token := b.sign(t, b.Ring, keyring.ES256)
		revoked := kid(t, token)
		if err := verify(t, elsewhere, token); err != nil {
			t.Fatal(err)
		}
		b.revoke(t, b.Ring, revoked)
		if err := verify(t, b.Ring, token); err == nil {
			t.Error("valid here after the revocation")
		}
		b.pass(time.Second)
		if err := verify(t, elsewhere, token); err == nil {
			t.Error("valid elsewhere a second later")
		}
		for name, r := range map[string]*keyring.Ring{"here": b.Ring, "elsewhere": elsewhere} {
			if ids := published(t, r)[keyring.ES256]; slices.Contains(ids, revoked) {
				t.Errorf("still published %s", name)
			}
			next := b.sign(t, r, keyring.ES256)
			if kid(t, next) == revoked || verify(t, r, next) != nil {
				t.Errorf("no new key %s", name)
			}
		}
		var private []byte
		err := b.DB.QueryRow(t.Context(), "SELECT private_key FROM signing_keys WHERE tenant_id = $1 AND id = $2", tenant, revoked).Scan(&private)
		if err != nil || private != nil {
			t.Errorf("the private key is still there: %d bytes, %v", len(private), err)
		}
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Revoke(t.Context(), tx, tenant, revoked) })
		if !errors.Is(err, keyring.ErrKeyNotFound) {
			t.Errorf("revoked once more: %v, want ErrKeyNotFound", err)
		}
	})
}

func TestAfterARevocationThePublishedSuccessorSigns(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		first := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.pass(89 * 24 * time.Hour)
		b.rotate(t)
		b.pass(time.Hour)
		ids := published(t, b.Ring)[keyring.ES256]
		b.revoke(t, b.Ring, first)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got == first || !slices.Contains(ids, got) {
			t.Errorf("%s signs, want the successor out of %v", got, ids)
		}
	})
}

func TestARevokedSuccessorIsReplaced(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		first := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.pass(89 * 24 * time.Hour)
		b.rotate(t)
		b.pass(time.Second)
		ids := published(t, b.Ring)[keyring.ES256]
		next := ids[0]
		if next == first {
			next = ids[1]
		}
		b.revoke(t, b.Ring, next)
		b.pass(48 * time.Hour)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got != first {
			t.Errorf("%s signs, want the first key to go on", got)
		}
		b.rotate(t)
		b.pass(24 * time.Hour)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got == first || got == next {
			t.Errorf("%s signs, want a third key", got)
		}
	})
}

// The key that has just retired must not come back when its successor is revoked.
func TestARetiredKeyNeverSignsAgain(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		first := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.pass(89 * 24 * time.Hour)
		b.rotate(t)
		b.pass(24*time.Hour + time.Second)
		second := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.revoke(t, b.Ring, second)
		if got := kid(t, b.sign(t, b.Ring, keyring.ES256)); got == first || got == second {
			t.Errorf("%s signs, want a third key", got)
		}
	})
}

func TestKeysTellsTheirStory(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		start := b.DB.Now().UTC()
		const day = 24 * time.Hour
		first := kid(t, b.sign(t, b.Ring, keyring.ES256))
		b.pass(89 * day)
		b.rotate(t)
		b.revoke(t, b.Ring, first)
		keys, err := b.Keys(t.Context(), b.DB, tenant)
		if err != nil || len(keys) != 2 {
			t.Fatalf("%+v, %v", keys, err)
		}
		now := start.Add(89 * day)
		want := []keyring.Key{
			{ID: keys[0].ID, Alg: "ES256", CreatedAt: now, ActiveAt: now},
			{ID: first, Alg: "ES256", CreatedAt: start, ActiveAt: start, RetiresAt: now.Add(day), ExpiresAt: now.Add(90 * day), RevokedAt: now},
		}
		if fmt.Sprint(keys) != fmt.Sprint(want) {
			t.Errorf("got  %+v\nwant %+v", keys, want)
		}
		if keys, err := b.Keys(t.Context(), b.DB, other); err != nil || len(keys) != 0 {
			t.Errorf("another tenant has %+v, %v", keys, err)
		}
	})
}

func TestVerifyChecksTheTimes(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		now := b.DB.Now().Unix()
		for name, c := range map[string]struct {
			claims any
			valid  bool
		}{
			"good":                {claims{"exp": now + 1}, true},
			"over":                {claims{"exp": now}, false},
			"without end":         {claims{"sub": "ann"}, false},
			"end that is no time": {claims{"exp": "tomorrow"}, false},
			"begun":               {claims{"exp": now + 99, "nbf": now}, true},
			"by a faster clock":   {claims{"exp": now + 99, "nbf": now + 60}, true},
			"not begun":           {claims{"exp": now + 99, "nbf": now + 61}, false},
			"a list of claims":    {[]string{"exp"}, false},
			"fractions":           {claims{"exp": float64(now) + 0.5}, true},
		} {
			token, err := b.Sign(t.Context(), tenant, keyring.EdDSA, "JWT", c.claims)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Verify(t.Context(), tenant, token, "JWT"); (err == nil) != c.valid || (err != nil && !errors.Is(err, keyring.ErrToken)) {
				t.Errorf("%s: %v, want valid = %v", name, err, c.valid)
			}
			if _, err := b.VerifyAnyAge(t.Context(), tenant, token, "JWT"); err != nil {
				t.Errorf("%s, any age: %v", name, err)
			}
		}
	})
}

// forge makes a compact JWS of any header, signed by sign.
func forge(header string, payload []byte, sign func(input []byte) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode(payload)
	return input + "." + encode(sign([]byte(input)))
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		token := b.sign(t, b.Ring, keyring.ES256)
		parts := strings.Split(token, ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		es, rs := kid(t, token), kid(t, b.sign(t, b.Ring, keyring.RS256))
		mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		byMine := func(input []byte) []byte {
			digest := sha256.Sum256(input)
			r, s, err := ecdsa.Sign(rand.Reader, mine, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
		unsigned := func([]byte) []byte { return nil }
		public := publicKey(t, b, es)
		byPublic := func(input []byte) []byte { h := hmac.New(sha256.New, public); h.Write(input); return h.Sum(nil) }
		jwk, err := json.Marshal(jose.JSONWebKey{Key: &mine.PublicKey, KeyID: es, Algorithm: "ES256"})
		if err != nil {
			t.Fatal(err)
		}
		header := func(more string) string { return `{"alg":"ES256","typ":"at+jwt","kid":"` + es + `"` + more + `}` }
		foreign, err := b.Sign(t.Context(), other, keyring.ES256, "at+jwt", b.claims(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		wrongType, err := b.Sign(t.Context(), tenant, keyring.ES256, "JWT", b.claims(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for name, forged := range map[string]string{
			"nothing":                      "",
			"words":                        "let me in",
			"two parts":                    parts[0] + "." + parts[1],
			"no signature":                 parts[0] + "." + parts[1] + ".",
			"another payload":              parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"eve","exp":99999999999}`)) + "." + parts[2],
			"half a signature":             token[:len(token)-43],
			"another tenant's token":       foreign,
			"another type of token":        wrongType,
			"alg none":                     forge(`{"alg":"none","typ":"at+jwt","kid":"`+es+`"}`, payload, unsigned),
			"alg HS256 by the public key":  forge(`{"alg":"HS256","typ":"at+jwt","kid":"`+es+`"}`, payload, byPublic),
			"another algorithm than key's": forge(`{"alg":"ES256","typ":"at+jwt","kid":"`+rs+`"}`, payload, byMine),
			"a stranger's key":             forge(header(""), payload, byMine),
			"a stranger's key inside":      forge(header(`,"jwk":`+string(jwk)), payload, byMine),
			"a stranger's address of keys": forge(header(`,"jku":"https://evil.example/jwks"`), payload, byMine),
			"no kid":                       forge(`{"alg":"ES256","typ":"at+jwt"}`, payload, byMine),
			"a kid of SQL":                 forge(`{"alg":"ES256","typ":"at+jwt","kid":"' OR 1=1 --"}`, payload, byMine),
			"a kid of 10 kB":               forge(`{"alg":"ES256","typ":"at+jwt","kid":"`+strings.Repeat("0", 10_000)+`"}`, payload, byMine),
			"an unknown kid":               forge(`{"alg":"ES256","typ":"at+jwt","kid":"0123456789abcdef01234567"}`, payload, byMine),
			"a kid that is a number":       forge(`{"alg":"ES256","typ":"at+jwt","kid":1}`, payload, byMine),
			"a typ that is a list":         forge(`{"alg":"ES256","typ":["at+jwt"],"kid":"`+es+`"}`, payload, byMine),
			"an unknown crit":              forge(header(`,"crit":["x"],"x":1`), payload, byMine),
			"two algs":                     forge(header(`,"alg":"none"`), payload, byMine),
			"a million dots":               strings.Repeat(".", 1_000_000),
			"too long":                     token + strings.Repeat("A", 16<<10),
			"a line break inside":          parts[0] + "." + parts[1] + ".\n" + parts[2],
			"padding":                      token + "=",
			"JSON form":                    `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		} {
			if _, err := b.Verify(t.Context(), tenant, forged, "at+jwt"); !errors.Is(err, keyring.ErrToken) {
				t.Errorf("%s: %v, want ErrToken", name, err)
			}
		}
		// A signature of 64 bytes ends in a character of which four bits are unused.
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			respelt := token[:len(token)-1] + string(c)
			if _, err := b.Verify(t.Context(), tenant, respelt, "at+jwt"); (err == nil) != (respelt == token) {
				t.Errorf("last character %c: %v", c, err)
			}
		}
		if err := verify(t, b.Ring, token); err != nil {
			t.Errorf("the token itself: %v", err)
		}
	})
}

// publicKey returns the PEM-like bytes that an attacker would use as an HMAC secret.
func publicKey(t *testing.T, b *bench, id string) []byte {
	t.Helper()
	var der []byte
	if err := b.DB.QueryRow(t.Context(), "SELECT public_key FROM signing_keys WHERE tenant_id = $1 AND id = $2", tenant, id).Scan(&der); err != nil {
		t.Fatal(err)
	}
	return der
}

// The keys are served from memory while the database is away, though not for ever.
func TestKeysOutliveTheDatabaseForAWhile(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		away := b.unclosed(t)
		token := b.sign(t, away, keyring.ES256)
		before := published(t, away)
		if err := away.DB.Close(); err != nil {
			t.Fatal(err)
		}
		b.pass(9 * time.Minute)
		if err := verify(t, away, token); err != nil {
			t.Errorf("verify: %v", err)
		}
		if after := published(t, away); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("published %v, want %v", after, before)
		}
		b.sign(t, away, keyring.ES256)
		b.pass(time.Minute)
		if _, err := away.Verify(t.Context(), tenant, token, "at+jwt"); err == nil || errors.Is(err, keyring.ErrToken) {
			t.Errorf("after ten minutes: %v, want the database's error", err)
		}
	})
}

func TestRSASigningGoesOnUnderLoad(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, b *bench) {
		var group sync.WaitGroup
		for range 30 {
			group.Go(func() {
				token, err := b.Sign(t.Context(), tenant, keyring.RS256, "at+jwt", b.claims(time.Hour))
				if err != nil {
					t.Error(err)
				} else if err := verify(t, b.Ring, token); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 { // a turn may be free all the same
			if _, err := b.Sign(ctx, tenant, keyring.RS256, "at+jwt", b.claims(time.Hour)); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("for a caller who has gone: %v", err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range keyring.Algorithms {
		b.Run(alg, func(b *testing.B) {
			ring := newRing(b)
			for b.Loop() {
				if _, err := ring.Sign(b.Context(), tenant, alg, "at+jwt", claims{"sub": "ann", "exp": 99999999999}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	ring := newRing(b)
	token, err := ring.Sign(b.Context(), tenant, keyring.ES256, "at+jwt", claims{"sub": "ann", "exp": 99999999999})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ring.Verify(b.Context(), tenant, token, "at+jwt"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJWKS(b *testing.B) {
	ring := newRing(b)
	if _, err := ring.JWKS(b.Context(), tenant); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ring.JWKS(b.Context(), tenant); err != nil {
			b.Fatal(err)
		}
	}
}

// newRing is a ring on SQLite, for benchmarks.
func newRing(b *testing.B) *keyring.Ring {
	b.Helper()
	db, err := database.Open(b.Context(), dbtest.URL(b, database.SQLite))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		b.Fatal(err)
	}
	err = db.Write(b.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(b.Context(), `
			INSERT INTO tenants (id, slug, name, kind, settings, data_key, created_at, modified_at)
			VALUES ($1, $1, '', 'SSMS', '{}', $2, $3, $3)`, tenant, []byte{}, tx.Millis())
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return &keyring.Ring{DB: db, Box: func(context.Context, string) (*secret.Box, error) { return box, nil }}
}
