package passhash

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// bcryptBytes is how much of a password bcrypt looks at.
const bcryptBytes = 72

// bcryptForm reads what follows $2b$: two digits of cost, then 22 characters of
// salt and 31 of hash. prepare is what the other system did to the password.
func bcryptForm(prepare func(password []byte) []byte) form {
	return func(rest string) (recipe, error) {
		if len(rest) != len("12$")+22+31 || rest[2] != '$' {
			return recipe{}, errors.New("want two digits of cost, $ and 53 characters")
		}
		cost := int(rest[0]-'0')*10 + int(rest[1]-'0')
		if rest[0] > '9' || rest[1] > '9' || cost < bcrypt.MinCost || cost > maxBcryptCost {
			return recipe{}, fmt.Errorf("cost must be from %02d to %d", bcrypt.MinCost, maxBcryptCost)
		}
		if !isCrypt64(rest[3:]) {
			return recipe{}, errors.New("salt and hash have characters outside ./A-Za-z0-9")
		}
		match := func(password []byte) (bool, error) {
			// The library knows the one correct algorithm, by the name of 2b.
			err := bcrypt.CompareHashAndPassword([]byte("$2b$"+rest), prepare(password))
			if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
				return false, nil
			}
			return err == nil, err
		}
		return recipe{match: match}, nil
	}
}

// wrappedBcryptForm reads a bcrypt hash with its own name after another one.
func wrappedBcryptForm(prepare func(password []byte) []byte) form {
	inner := bcryptForm(prepare)
	return func(rest string) (recipe, error) {
		rest = strings.TrimPrefix(rest, "$")
		for _, name := range [...]string{"2a$", "2b$", "2y$"} {
			if rest, ok := strings.CutPrefix(rest, name); ok {
				return inner(rest)
			}
		}
		return recipe{}, errors.New("want a bcrypt hash ($2a$, $2b$ or $2y$) after the name")
	}
}

// plain cuts the password where bcrypt stops looking, as the other system did.
// A NUL byte does not cut it, although C programs would: all of what was typed
// counts. (Bcrypt repeats a short password, with a NUL between, until 72 bytes
// are full. So "a" and "a\x00a" are one password to it; that is no shorter way
// in, since it holds the password.)
func plain(password []byte) []byte { return password[:min(len(password), bcryptBytes)] }

// signExtended does what crypt_blowfish before 1.1 did to bytes from 0x80 up: it
// took them for negative and so set all higher bits of the word being filled.
// Hashes made that way are labelled 2x. Bcrypt reads a password as 18 words of 4
// bytes, so spelling out the words that program arrived at has the same effect.
func signExtended(password []byte) []byte {
	password = append(bytes.Clone(password), 0)
	words := make([]byte, 0, bcryptBytes)
	for i := 0; len(words) < bcryptBytes; {
		var word uint32
		for range 4 {
			word = word<<8 | uint32(int32(int8(password[i])))
			i = (i + 1) % len(password)
		}
		words = binary.BigEndian.AppendUint32(words, word)
	}
	return words
}

// wordPress is how WordPress 6.8 gets round the 72 bytes. It trims what is typed
// both when it sets and when it checks a password.
func wordPress(password []byte) []byte {
	mac := hmac.New(sha512.New384, []byte("wp-sha384"))
	mac.Write(bytes.Trim(password, " \t\n\r\x00\v"))
	return base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
}

// djangoPrehash is how Django's BCryptSHA256PasswordHasher does.
func djangoPrehash(password []byte) []byte {
	sum := sha256.Sum256(password)
	return hex.AppendEncode(nil, sum[:])
}
