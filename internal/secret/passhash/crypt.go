package passhash

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// crypt64 is the alphabet of crypt(3); bcrypt uses it in another order.
const crypt64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func isCrypt64(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '.' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// encodeCrypt64 writes the bytes of sum in the given order, four characters for
// three bytes, the lowest six bits of the first byte first.
func encodeCrypt64(sum, order []byte) []byte {
	var out []byte
	for len(order) > 0 {
		n := min(3, len(order))
		var word uint
		for i, place := range order[:n] {
			word |= uint(sum[place]) << (8 * i)
		}
		for range n + 1 {
			out = append(out, crypt64[word&63])
			word >>= 6
		}
		order = order[n:]
	}
	return out
}

// The orders in which the crypt forms write their bytes, each given by the first
// three and by how three follow from the three before: one higher, with their
// places turned by a number of steps. What is left over comes last.
var (
	md5CryptOrder    = append(byteOrder([3]byte{12, 6, 0}, 0, 4), 5, 10, 4, 11)
	sha256CryptOrder = append(byteOrder([3]byte{20, 10, 0}, 1, 10), 30, 31)
	sha512CryptOrder = append(byteOrder([3]byte{42, 21, 0}, 2, 21), 63)
	phpassOrder      = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

func byteOrder(three [3]byte, turn, groups int) (order []byte) {
	for range groups {
		order = append(order, three[:]...)
		var next [3]byte
		for i := range three {
			next[i] = three[(i+turn)%3] + 1
		}
		three = next
	}
	return order
}

// cryptText splits salt$hash and checks both.
func cryptText(rest string, maxSalt, size int) (salt, sum string, err error) {
	part, err := fields(rest, 2)
	if err != nil {
		return "", "", err
	}
	if len(part[0]) > maxSalt {
		return "", "", fmt.Errorf("the salt is longer than %d characters", maxSalt)
	}
	if len(part[1]) != size || !isCrypt64(part[1]) {
		return "", "", fmt.Errorf("the hash must be %d characters of ./0-9A-Za-z", size)
	}
	return part[0], part[1], nil
}

// md5CryptForm reads salt$hash of FreeBSD's md5-crypt, of which Apache has a
// variant that differs by its magic word.
func md5CryptForm(magic string) form {
	return func(rest string) (recipe, error) {
		salt, sum, err := cryptText(rest, 8, 22)
		if err != nil {
			return recipe{}, err
		}
		match := func(password []byte) (bool, error) {
			return equal(md5Crypt(magic, password, []byte(salt)), []byte(sum)), nil
		}
		return recipe{match: match}, nil
	}
}

func md5Crypt(magic string, password, salt []byte) []byte {
	inner := md5.Sum(bytes.Join([][]byte{password, salt, password}, nil))
	d := md5.New()
	d.Write(password)
	d.Write([]byte(magic))
	d.Write(salt)
	d.Write(repeat(inner[:], len(password)))
	for n := len(password); n > 0; n >>= 1 {
		// The first program meant to write inner here and had it cleared already.
		if n&1 != 0 {
			d.Write([]byte{0})
		} else {
			d.Write(password[:1])
		}
	}
	sum := d.Sum(nil)
	for i := range 1000 {
		sum = stretch(d, i, sum, password, salt)
	}
	return encodeCrypt64(sum, md5CryptOrder)
}

// stretch is the round that md5-crypt and sha-crypt share.
func stretch(d hash.Hash, round int, sum, password, salt []byte) []byte {
	first, last := sum, password
	if round&1 != 0 {
		first, last = password, sum
	}
	d.Reset()
	d.Write(first)
	if round%3 != 0 {
		d.Write(salt)
	}
	if round%7 != 0 {
		d.Write(password)
	}
	d.Write(last)
	return d.Sum(sum[:0])
}

// repeat returns n bytes of b, over and over.
func repeat(b []byte, n int) []byte { return bytes.Repeat(b, n/len(b)+1)[:n] }

func sha256CryptForm(rest string) (recipe, error) {
	return shaCryptRecipe(rest, sha256.New, sha256CryptOrder, 43)
}

func sha512CryptForm(rest string) (recipe, error) {
	return shaCryptRecipe(rest, sha512.New, sha512CryptOrder, 86)
}

// shaCryptRecipe reads [rounds=n$]salt$hash of Drepper's "Unix crypt using
// SHA-256 and SHA-512". There, rounds out of range mean the nearest that is in
// range; no program stores them so, and here they are refused.
func shaCryptRecipe(rest string, algorithm func() hash.Hash, order []byte, size int) (recipe, error) {
	rounds := 5000
	if given, ok := strings.CutPrefix(rest, "rounds="); ok {
		text, after, _ := strings.Cut(given, "$")
		var err error
		if rounds, err = number("rounds", text, 1000, maxShaRounds); err != nil {
			return recipe{}, err
		}
		rest = after
	}
	salt, sum, err := cryptText(rest, 16, size)
	if err != nil {
		return recipe{}, err
	}
	match := func(password []byte) (bool, error) {
		got := shaCrypt(algorithm(), rounds, password, []byte(salt))
		return equal(encodeCrypt64(got, order), []byte(sum)), nil
	}
	return recipe{match: match}, nil
}

// shaCrypt follows the steps of the specification, whose numbers are given.
func shaCrypt(d hash.Hash, rounds int, password, salt []byte) []byte {
	d.Write(password) // 4 to 8
	d.Write(salt)
	d.Write(password)
	inner := d.Sum(nil)

	d.Reset() // 1 to 3 and 9 to 12
	d.Write(password)
	d.Write(salt)
	d.Write(repeat(inner, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			d.Write(inner)
		} else {
			d.Write(password)
		}
	}
	sum := d.Sum(nil)

	p := repeat(digestOf(d, password, len(password)), len(password)) // 13 to 16
	s := repeat(digestOf(d, salt, 16+int(sum[0])), len(salt))        // 17 to 20
	for i := range rounds {                                          // 21
		sum = stretch(d, i, sum, p, s)
	}
	return sum
}

// digestOf hashes text so many times over.
func digestOf(d hash.Hash, text []byte, times int) []byte {
	d.Reset()
	for range times {
		d.Write(text)
	}
	return d.Sum(nil)
}

// phpassForm reads the portable hash of phpass (WordPress before 6.8, phpBB 3):
// one character for the logarithm of the rounds, eight of salt, 22 of hash.
func phpassForm(rest string) (recipe, error) {
	if len(rest) != 1+8+22 || !isCrypt64(rest[:1]) || !isCrypt64(rest[9:]) {
		return recipe{}, errors.New("want 31 characters of ./0-9A-Za-z")
	}
	log2 := strings.IndexByte(crypt64, rest[0])
	if log2 < 7 || log2 > maxPhpassLog2 {
		return recipe{}, fmt.Errorf("the rounds must be from 2^7 to 2^%d", maxPhpassLog2)
	}
	salt, want := rest[1:9], rest[9:]
	match := func(password []byte) (bool, error) {
		sum := md5.Sum(append([]byte(salt), password...))
		input := append(sum[:], password...)
		for range 1 << log2 {
			sum = md5.Sum(input)
			copy(input, sum[:])
		}
		return equal(encodeCrypt64(sum[:], phpassOrder), []byte(want)), nil
	}
	return recipe{match: match}, nil
}
