package passhash

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The bounds on what an imported hash may ask for. Each is above what the systems
// we know use, and keeps one verification under 256 MiB and, for all but the
// longest passwords, within some seconds of one core.
const (
	maxEncoded    = 4096       // bytes of the whole string
	maxSalt       = 512        // bytes
	minSum        = 12         // bytes: less, and a random guess may match
	maxSum        = 1024       // bytes
	maxMemory     = 256 << 10  // KiB, Argon2 and scrypt
	lightMemory   = 64 << 10   // KiB: above it, one at a time
	maxArgonWork  = 2 << 20    // KiB times passes
	maxLanes      = 64         // Argon2 threads
	maxBcryptCost = 16         // 16 times the work of the common 12
	maxIterations = 10_000_000 // PBKDF2 (of all its blocks together) and plain digests
	maxScryptWork = 4 << 20    // N*r*p
	maxShaRounds  = 1_000_000  // sha-crypt; it hashes the whole password in each
	maxPhpassLog2 = 20         // phpass; likewise
)

// A recipe is a parsed hash: how to find out whether a password belongs to it.
type recipe struct {
	keyID  string // of the pepper that match wants mixed in, if any
	memory int    // KiB that match will need, if it is much
	match  func(password []byte) (bool, error)
}

// A form reads one kind of hash, given what follows its identifier, and refuses
// what is malformed or asks for too much. It does not hash anything.
type form func(rest string) (recipe, error)

// forms is every kind of hash we accept, by the identifier it begins with.
var forms = knownForms()

func knownForms() map[string]form {
	known := map[string]form{
		"$argon2id$": argon2Form(memory.Key),
		"$argon2i$":  argon2Form(argon2.Key),
		"$argon2d$":  unsupported("Argon2d is not supported: it was never meant for passwords"),

		"$2a$":           bcryptForm(plain),
		"$2b$":           bcryptForm(plain),
		"$2y$":           bcryptForm(plain),
		"$2x$":           bcryptForm(signExtended),
		"$wp$":           wrappedBcryptForm(wordPress),     // WordPress 6.8
		"bcrypt_sha256$": wrappedBcryptForm(djangoPrehash), // Django

		"$scrypt$":     scryptForm,
		"$firescrypt$": firebaseForm, // our own, see Firebase
		"scrypt$":      djangoScryptForm,

		"$pbkdf2$":        pbkdf2Form(sha1.New), // as passlib writes SHA-1
		"$pbkdf2-sha1$":   pbkdf2Form(sha1.New),
		"$pbkdf2-sha256$": pbkdf2Form(sha256.New),
		"$pbkdf2-sha384$": pbkdf2Form(sha512.New384),
		"$pbkdf2-sha512$": pbkdf2Form(sha512.New),
		"{PBKDF2}":        pbkdf2Form(sha1.New), // LDAP servers
		"{PBKDF2-SHA1}":   pbkdf2Form(sha1.New),
		"{PBKDF2-SHA256}": pbkdf2Form(sha256.New),
		"{PBKDF2-SHA512}": pbkdf2Form(sha512.New),
		"pbkdf2_sha1$":    djangoPBKDF2Form(sha1.New),
		"pbkdf2_sha256$":  djangoPBKDF2Form(sha256.New),

		"$1$":    md5CryptForm("$1$"),
		"$apr1$": md5CryptForm("$apr1$"),
		"$5$":    sha256CryptForm,
		"$6$":    sha512CryptForm,
		"$P$":    phpassForm,
		"$H$":    phpassForm,

		"md5$":  djangoDigestForm(md5.New), // Django before 1.4
		"sha1$": djangoDigestForm(sha1.New),
	}
	for name, algorithm := range digests {
		known["$digest-"+name+"$"] = digestForm(algorithm) // our own, see Digest
		known["$hmac-"+name+"$"] = hmacForm(algorithm)     // our own, see HMAC
		upper := strings.ToUpper(name)
		if upper == "SHA1" {
			upper = "SHA"
		}
		known["{"+upper+"}"] = ldapForm(algorithm)        // RFC 2307
		known["{S"+upper+"}"] = saltedLDAPForm(algorithm) // and what grew out of it
	}
	return known
}

// digests are the hash functions that constructors and LDAP forms may name.
var digests = map[string]func() hash.Hash{
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha384": sha512.New384,
	"sha512": sha512.New,
}

// Check says whether encoded is a form that Verify can verify, with costs within
// bounds. Its error is plain text that says what is wrong and repeats nothing of
// the hash. It computes no hash: an import may call it for every row.
//
// A hash of ours that was made with a pepper is refused, because the pepper does
// not travel with it.
func Check(encoded string) error {
	r, err := parse(encoded)
	if err == nil && r.keyID != "" {
		err = errors.New("the hash was made with a secret key (keyid) that is not part of it")
	}
	return err
}

// parse is the one way from a string to a computation.
func parse(encoded string) (recipe, error) {
	if len(encoded) > maxEncoded {
		return recipe{}, fmt.Errorf("the hash is longer than %d bytes", maxEncoded)
	}
	if strings.ContainsFunc(encoded, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return recipe{}, errors.New("the hash contains a space, a control or a non-ASCII character")
	}
	encoded = unwrap(encoded)
	id := identifier(encoded)
	read, ok := forms[id]
	if !ok && strings.HasPrefix(id, "{") {
		read, ok = forms[strings.ToUpper(id)] // RFC 2307: scheme names have no case
	}
	if !ok {
		return recipe{}, errors.New("not a form of password hash that is known here")
	}
	r, err := read(encoded[len(id):])
	if err != nil {
		return recipe{}, fmt.Errorf("%s: %w", strings.Trim(id, "${}"), err)
	}
	return r, nil
}

// identifier is the part of encoded that names its form, up to and including the
// sign that ends the name; empty if there is none.
func identifier(encoded string) string {
	switch {
	case strings.HasPrefix(encoded, "{"):
		return encoded[:strings.IndexByte(encoded, '}')+1]
	case strings.HasPrefix(encoded, "$"):
		return encoded[:1+strings.IndexByte(encoded[1:], '$')+1]
	}
	return encoded[:strings.IndexByte(encoded, '$')+1]
}

// unwrap removes the label that LDAP servers, Spring and Django put before a hash
// which names its form by itself.
func unwrap(encoded string) string {
	for _, label := range [...]string{"{CRYPT}", "{BCRYPT}", "{ARGON2}", "bcrypt$", "argon2"} {
		if len(encoded) > len(label) && encoded[len(label)] == '$' && strings.EqualFold(encoded[:len(label)], label) {
			return encoded[len(label):]
		}
	}
	return encoded
}

func unsupported(reason string) form {
	return func(string) (recipe, error) { return recipe{}, errors.New(reason) }
}

// equal compares in constant time.
func equal(got, want []byte) bool { return subtle.ConstantTimeCompare(got, want) == 1 }

// fields splits rest at its dollar signs into exactly n parts, at most five.
func fields(rest string, n int) (part [5]string, err error) {
	if strings.Count(rest, "$") != n-1 {
		return part, fmt.Errorf("want %d parts separated by $ after the name", n)
	}
	for i := range n {
		part[i], rest, _ = strings.Cut(rest, "$")
	}
	return part, nil
}

// settings reads the values of a list such as "m=1,t=2", which must have these
// names, at most four, in this order.
func settings(list string, names ...string) (value [4]string, err error) {
	for i, name := range names {
		var found bool
		item, rest, more := strings.Cut(list, ",")
		value[i], found = strings.CutPrefix(item, name+"=")
		if !found || more != (i < len(names)-1) {
			return value, fmt.Errorf("want the settings %s", strings.Join(names, ", "))
		}
		list = rest
	}
	return value, nil
}

// number reads a decimal from low to high, in its one usual spelling.
func number(name, text string, low, high int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high || strconv.Itoa(n) != text {
		return 0, fmt.Errorf("%s must be a number from %d to %d", name, low, high)
	}
	return n, nil
}

// unbase64 reads base64 of low to high bytes, with or without padding, and with
// passlib's dot for the plus sign.
func unbase64(name, text string, low, high int) ([]byte, error) {
	text = strings.ReplaceAll(strings.TrimRight(text, "="), ".", "+")
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("the %s is not base64", name)
	}
	if len(b) < low || len(b) > high {
		return nil, fmt.Errorf("the %s must have from %d to %d bytes", name, low, high)
	}
	return b, nil
}

// saltAndSum reads the two parts most forms end with.
func saltAndSum(salt, sum string) ([]byte, []byte, error) {
	s, err := unbase64("salt", salt, 0, maxSalt)
	if err != nil {
		return nil, nil, err
	}
	b, err := unbase64("hash", sum, minSum, maxSum)
	return s, b, err
}

// dotted is base64 as passlib writes it: no padding, dots for plus signs.
func dotted(b []byte) string {
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".")
}

// digestName brings "SHA-256", "HmacSHA256" and the like to the names of digests.
func digestName(name string) string {
	name = strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	return strings.TrimPrefix(name, "hmac")
}
