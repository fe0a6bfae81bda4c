// Package secret makes and checks unguessable values, and seals those that must
// be read back.
//
//	ID           names a thing; sorts by creation, is not a secret
//	NewToken     128 bits or more from the system's random source, and its hash
//	Box          AES-256-GCM under a key, bound to the place the value is kept
//
// An attacker with a copy of the database must find nothing to sign in with:
// tokens and keys are kept as hashes, everything else sealed under a key that
// is not in the database. A sealed value carries its place as associated data,
// so that it can not be moved to another row.
package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"time"
)

// ZeroID stands where the contract shows an unset id.
const ZeroID = "000000000000000000000000"

// ID returns a new id: 24 lowercase hex digits, 6 bytes of Unix milliseconds
// then 6 random bytes, so that ids sort by creation. It is not a secret.
func ID(now time.Time) string {
	var b [12]byte
	putMillis(&b, now)
	rand.Read(b[6:])
	return hex.EncodeToString(b[:])
}

// FirstID returns the lowest id that could be made at now, for ranges of time.
func FirstID(now time.Time) string {
	var b [12]byte
	putMillis(&b, now)
	return hex.EncodeToString(b[:])
}

func putMillis(b *[12]byte, t time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(t.UnixMilli(), 0)))
	copy(b[:6], ms[2:])
}

// IDTime returns the moment in an id made by ID; the zero time if id is not one.
func IDTime(id string) time.Time {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 12 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(append([]byte{0, 0}, b[:6]...)))).UTC()
}

// IsID reports whether s has the form of an id.
func IsID(s string) bool {
	if len(s) != 24 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// DerivedID returns the id of a built-in thing of owner that needs no row of its
// own, always the same for the same names.
func DerivedID(owner, name string) string {
	h := sha256.Sum256([]byte(owner + "\x00" + name))
	return hex.EncodeToString(h[:12])
}

// NewToken returns an unguessable token of at least 128 bits and the hash to
// store in its place.
func NewToken() (token string, hash []byte) { token = rand.Text(); return token, Hash(token) }

// Hash is how a token is looked up: the database never holds the token itself.
// A fast hash is enough, because a token has too many bits to guess.
func Hash(token string) []byte { h := sha256.Sum256([]byte(token)); return h[:] }

// Equal compares two hashes without telling by its time where they differ.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewKey returns a token that people copy around: prefix, 160 random bits and a
// checksum, so that a mistyped or truncated key is told from a wrong one without
// asking the database, and secret scanners recognise it.
func NewKey(prefix string) (key string, hash []byte) {
	var b [20]byte
	rand.Read(b[:])
	body := base32Text.EncodeToString(b[:])
	key = prefix + body + checksum(prefix+body)
	return key, Hash(key)
}

// LooksLikeKey reports whether s has the prefix, the length and the checksum of
// a key made by NewKey.
func LooksLikeKey(prefix, s string) bool {
	const body, sum = 32, 7
	if len(s) != len(prefix)+body+sum || !strings.HasPrefix(s, prefix) {
		return false
	}
	return checksum(s[:len(s)-sum]) == s[len(s)-sum:]
}

func checksum(s string) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], crc32.ChecksumIEEE([]byte(s)))
	return base32Text.EncodeToString(b[:])
}

// Text returns n random characters of the alphabet, for codes in a documented
// form. It draws without bias.
func Text(alphabet string, n int) string {
	limit := byte(256 - 256%len(alphabet)) // zero means every byte is used
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		rand.Read(buf[:])
		for _, c := range buf {
			if (limit == 0 || c < limit) && len(out) < n {
				out = append(out, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(out)
}
