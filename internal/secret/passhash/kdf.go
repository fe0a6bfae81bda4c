package passhash

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// PBKDF2 returns the form to store for a PBKDF2 hash (RFC 8018 section 5.2) whose
// parts another system keeps separately. The digest is sha1, sha256, sha384 or
// sha512, in any common spelling. It does not validate: give the result to Check.
func PBKDF2(digest string, iterations int, salt, key []byte) string {
	return fmt.Sprintf("$pbkdf2-%s$%d$%s$%s", digestName(digest), iterations, dotted(salt), dotted(key))
}

// Scrypt returns the form to store for a scrypt hash (RFC 7914) whose parts
// another system keeps separately: n is the cost N itself, not its logarithm. It
// does not validate: give the result to Check.
func Scrypt(n, r, p int, salt, key []byte) string {
	log2 := 0 // which no hash may have: what N must be a power of two for
	if n > 0 && n&(n-1) == 0 {
		log2 = bits.Len(uint(n)) - 1
	}
	return fmt.Sprintf("$scrypt$ln=%d,r=%d,p=%d$%s$%s", log2, r, p, dotted(salt), dotted(key))
}

// Firebase returns the form to store for a hash of Firebase's own scrypt. The
// first four arguments are the project's, as its console shows them (decoded from
// base64); salt and key (passwordHash) are the user's. It does not validate: give
// the result to Check.
func Firebase(rounds, memCost int, signerKey, saltSeparator, salt, key []byte) string {
	return fmt.Sprintf("$firescrypt$ln=%d,r=%d$%s$%s$%s$%s", memCost, rounds,
		dotted(salt), dotted(saltSeparator), dotted(signerKey), dotted(key))
}

// pbkdf2Form reads iterations$salt$hash, where the first part may also be spelt
// i=… or i=…,l=… as the PHC string format has it.
func pbkdf2Form(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		part, err := fields(rest, 3)
		if err != nil {
			return recipe{}, err
		}
		salt, sum, err := saltAndSum(part[1], part[2])
		if err != nil {
			return recipe{}, err
		}
		iterations, _ := strings.CutSuffix(strings.TrimPrefix(part[0], "i="), fmt.Sprintf(",l=%d", len(sum)))
		return pbkdf2Recipe(algorithm, iterations, salt, sum)
	}
}

// djangoPBKDF2Form is the same with a salt that is text.
func djangoPBKDF2Form(algorithm func() hash.Hash) form {
	return func(rest string) (recipe, error) {
		part, err := fields(rest, 3)
		if err != nil {
			return recipe{}, err
		}
		sum, err := unbase64("hash", part[2], minSum, maxSum)
		if err != nil {
			return recipe{}, err
		}
		return pbkdf2Recipe(algorithm, part[0], []byte(part[1]), sum)
	}
}

func pbkdf2Recipe(algorithm func() hash.Hash, iterations string, salt, sum []byte) (recipe, error) {
	size := algorithm().Size()
	blocks := (len(sum) + size - 1) / size
	n, err := number("iterations", iterations, 1, maxIterations/blocks)
	if err != nil {
		return recipe{}, err
	}
	match := func(password []byte) (bool, error) {
		got, err := pbkdf2.Key(algorithm, string(password), salt, n, len(sum))
		return equal(got, sum), err
	}
	return recipe{match: match}, nil
}

// scryptForm reads the PHC form: ln=…,r=…,p=…$salt$hash.
func scryptForm(rest string) (recipe, error) {
	part, err := fields(rest, 3)
	if err != nil {
		return recipe{}, err
	}
	value, err := settings(part[0], "ln", "r", "p")
	if err != nil {
		return recipe{}, err
	}
	costs, err := parseScryptCosts(value[0], value[1], value[2])
	if err != nil {
		return recipe{}, err
	}
	salt, sum, err := saltAndSum(part[1], part[2])
	return costs.recipe(salt, sum), err
}

// djangoScryptForm reads N$salt$r$p$hash, with N itself and a salt that is text.
func djangoScryptForm(rest string) (recipe, error) {
	part, err := fields(rest, 5)
	if err != nil {
		return recipe{}, err
	}
	n, err := number("N", part[0], 2, maxScryptWork)
	if err != nil {
		return recipe{}, err
	}
	log2 := bits.Len(uint(n)) - 1
	if n != 1<<log2 {
		return recipe{}, errors.New("N must be a power of two")
	}
	costs, err := parseScryptCosts(fmt.Sprint(log2), part[2], part[3])
	if err != nil {
		return recipe{}, err
	}
	sum, err := unbase64("hash", part[4], minSum, maxSum)
	return costs.recipe([]byte(part[1]), sum), err
}

// firebaseForm reads ln=…,r=…$salt$separator$signer key$hash. Firebase takes its
// scrypt key to encrypt the project's signer key, and the outcome is the hash.
func firebaseForm(rest string) (recipe, error) {
	part, err := fields(rest, 5)
	if err != nil {
		return recipe{}, err
	}
	value, err := settings(part[0], "ln", "r")
	if err != nil {
		return recipe{}, err
	}
	costs, err := parseScryptCosts(value[0], value[1], "1")
	if err != nil {
		return recipe{}, err
	}
	var piece [4][]byte
	for i, name := range [...]string{"salt", "salt separator", "signer key", "hash"} {
		if piece[i], err = unbase64(name, part[i+1], 0, maxSalt); err != nil {
			return recipe{}, err
		}
	}
	signer, sum := piece[2], piece[3]
	if len(sum) < minSum || len(sum) != len(signer) {
		return recipe{}, fmt.Errorf("signer key and hash must have the same length, at least %d bytes", minSum)
	}
	r := costs.recipe(nil, nil)
	r.match = func(password []byte) (bool, error) {
		key, err := costs.derive(password, slices.Concat(piece[0], piece[1]), 32)
		if err != nil {
			return false, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return false, err
		}
		got := make([]byte, len(signer))
		cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(got, signer)
		return equal(got, sum), nil
	}
	return r, nil
}

// scryptCosts are the N, r and p of RFC 7914, within bounds.
type scryptCosts struct{ n, r, p int }

func parseScryptCosts(log2, r, p string) (c scryptCosts, err error) {
	ln, err := number("the logarithm of N (ln)", log2, 1, 20)
	if err != nil {
		return c, fmt.Errorf("%w, and N a power of two", err)
	}
	c.n = 1 << ln
	if c.r, err = number("r", r, 1, 1024); err != nil {
		return c, err
	}
	if c.p, err = number("p", p, 1, 1024); err != nil {
		return c, err
	}
	if c.memory() > maxMemory || c.n*c.r*c.p > maxScryptWork {
		return c, fmt.Errorf("N*r must not need more than %d KiB, nor N*r*p exceed %d", maxMemory, maxScryptWork)
	}
	return c, nil
}

// memory is the KiB of the larger of the two tables: N blocks of 128*r bytes, and
// the p blocks they are made from. The bound on N*r*p keeps the other one small.
func (c scryptCosts) memory() int { return max(c.n, c.p) * c.r * 128 / 1024 }

func (c scryptCosts) derive(password, salt []byte, size int) ([]byte, error) {
	return scrypt.Key(password, salt, c.n, c.r, c.p, size)
}

func (c scryptCosts) recipe(salt, sum []byte) recipe {
	return recipe{memory: c.memory(), match: func(password []byte) (bool, error) {
		got, err := c.derive(password, salt, len(sum))
		return equal(got, sum), err
	}}
}
