package passhash

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// orders are the ways to put password and salt together, by the name importers
// use and by the short one that is stored.
var orders = map[string]string{"password": "p", "salt,password": "sp", "password,salt": "ps"}

// Digest returns the form to store for a plain digest. The algorithm is md5,
// sha1, sha256, sha384 or sha512, in any common spelling; the order is "password",
// "salt,password" or "password,salt". Iterations above one hash the raw digest
// again. It does not validate: give the result to Check.
func Digest(algorithm, order string, iterations int, salt, sum []byte) string {
	return fmt.Sprintf("$digest-%s$o=%s,i=%d$%s$%s", digestName(algorithm), orders[order], iterations, dotted(salt), dotted(sum))
}

// HMAC returns the form to store for an HMAC of the password, and the salt if any,
// under one key for all users. Algorithm and order are those of Digest. It does
// not validate: give the result to Check.
func HMAC(algorithm, order string, key, salt, sum []byte) string {
	return fmt.Sprintf("$hmac-%s$o=%s$%s$%s$%s", digestName(algorithm), orders[order], dotted(key), dotted(salt), dotted(sum))
}

// digestForm reads o=…,i=…$salt$hash.
func digestForm(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		part, err := fields(rest, 3)
		if err != nil {
			return recipe{}, err
		}
		value, err := settings(part[0], "o", "i")
		if err != nil {
			return recipe{}, err
		}
		iterations, err := number("iterations", value[1], 1, maxIterations)
		if err != nil {
			return recipe{}, err
		}
		salt, sum, err := saltAndSum(part[1], part[2])
		if err != nil {
			return recipe{}, err
		}
		return mixture{algorithm, value[0], salt, iterations}.recipe(sum)
	}
}

// hmacForm reads o=…$key$salt$hash.
func hmacForm(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		part, err := fields(rest, 4)
		if err != nil {
			return recipe{}, err
		}
		value, err := settings(part[0], "o")
		if err != nil {
			return recipe{}, err
		}
		key, err := unbase64("key", part[1], 1, maxSalt)
		if err != nil {
			return recipe{}, err
		}
		salt, sum, err := saltAndSum(part[2], part[3])
		if err != nil {
			return recipe{}, err
		}
		keyed := func() hash.Hash { return hmac.New(algorithm, key) }
		return mixture{keyed, value[0], salt, 1}.recipe(sum)
	}
}

// ldapForm reads the userPassword of RFC 2307: base64 of a digest.
func ldapForm(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		sum, err := unbase64("hash", rest, minSum, maxSum)
		if err != nil {
			return recipe{}, err
		}
		return mixture{algorithm, "p", nil, 1}.recipe(sum)
	}
}

// saltedLDAPForm reads the digest of password and salt, followed by the salt.
func saltedLDAPForm(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		size := algorithm().Size()
		b, err := unbase64("hash with salt", rest, size+1, size+maxSalt)
		if err != nil {
			return recipe{}, err
		}
		return mixture{algorithm, "ps", b[size:], 1}.recipe(b[:size])
	}
}

// djangoDigestForm reads salt$hash, the hash in hexadecimal; the salt may be empty.
func djangoDigestForm(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		part, err := fields(rest, 2)
		if err != nil {
			return recipe{}, err
		}
		sum, err := hex.DecodeString(part[1])
		if err != nil {
			return recipe{}, errors.New("the hash is not hexadecimal")
		}
		return mixture{algorithm, "sp", []byte(part[0]), 1}.recipe(sum)
	}
}

// A mixture is a digest of password and salt. These forms are weak: they exist so
// that people can sign in once, and leave with a better hash.
type mixture struct {
	algorithm  func() hash.Hash
	order      string // one of the values of orders
	salt       []byte
	iterations int
}

func (m mixture) recipe(sum []byte) (recipe, error) {
	if size := m.algorithm().Size(); len(sum) != size {
		return recipe{}, fmt.Errorf("the hash must have %d bytes", size)
	}
	switch m.order {
	case "p":
		if len(m.salt) > 0 {
			return recipe{}, errors.New("there is a salt, but the order does not use it")
		}
	case "sp", "ps":
	default:
		return recipe{}, errors.New(`the order must be "password", "salt,password" or "password,salt"`)
	}
	match := func(password []byte) (bool, error) { return equal(m.sum(password), sum), nil }
	return recipe{match: match}, nil
}

func (m mixture) sum(password []byte) []byte {
	first, second := m.salt, password
	if m.order == "ps" {
		first, second = password, m.salt
	}
	d := m.algorithm()
	d.Write(first)
	d.Write(second)
	sum := d.Sum(nil)
	for range m.iterations - 1 {
		d.Reset()
		d.Write(sum)
		sum = d.Sum(sum[:0])
	}
	return sum
}
