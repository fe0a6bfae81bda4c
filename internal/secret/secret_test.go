package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/secret"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 100 {
		at := now.Add(time.Duration(i) * time.Millisecond)
		id := secret.ID(at)
		if !secret.IsID(id) || !secret.IDTime(id).Equal(at) || id < secret.FirstID(at) || id >= secret.FirstID(at.Add(time.Millisecond)) {
			t.Errorf("id %s of %v: time %v, first %s", id, at, secret.IDTime(id), secret.FirstID(at))
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("out of order: %v", ids)
	}
	if early := secret.ID(time.Unix(-1, 0)); early[:12] != "000000000000" {
		t.Errorf("id before 1970: %s", early)
	}
}

func TestIDsOfOneMomentDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := secret.ID(now)
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
	}
}

func TestIsID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		secret.ZeroID: true, "0123456789abcdef01234567": true, secret.DerivedID("a", "b"): true,
		"": false, "0123456789abcdef0123456": false, "0123456789abcdef012345678": false, "0123456789ABCDEF01234567": false,
		"0123456789abcdef0123456g": false, "0123456789abcdef0123456\n": false, "０123456789abcdef0123": false,
	} {
		if got := secret.IsID(s); got != want {
			t.Errorf("IsID(%q) = %v, want %v", s, got, want)
		}
	}
	for _, s := range []string{"", "xyz", strings.Repeat("z", 24), strings.Repeat("0", 23), strings.Repeat("0", 26)} {
		if at := secret.IDTime(s); !at.IsZero() {
			t.Errorf("IDTime(%q) = %v, want none", s, at)
		}
	}
}

func TestDerivedIDsAreStableAndApart(t *testing.T) {
	t.Parallel()
	if a, b := secret.DerivedID("tenant", "ManualUser"), secret.DerivedID("tenant", "ManualUser"); a != b {
		t.Errorf("%s and %s, want the same", a, b)
	}
	seen := map[string]bool{}
	for _, p := range [][2]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}} {
		seen[secret.DerivedID(p[0], p[1])] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d ids for 4 pairs of names", len(seen))
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		token, hash := secret.NewToken()
		if len(token) < 26 || seen[token] { // 26 characters of base32 are 130 bits
			t.Fatalf("token %q is short or came twice", token)
		}
		seen[token] = true
		if !secret.Equal(hash, secret.Hash(token)) || secret.Equal(hash, secret.Hash(token+"x")) || secret.Equal(hash, hash[1:]) || len(hash) != 32 {
			t.Errorf("token %q: the hash does not tell it from others", token)
		}
	}
}

func TestKeysTellTyposFromWrongKeys(t *testing.T) {
	t.Parallel()
	key, hash := secret.NewKey("sk_")
	if !secret.LooksLikeKey("sk_", key) || !secret.Equal(hash, secret.Hash(key)) || !strings.HasPrefix(key, "sk_") || len(key) != 42 {
		t.Fatalf("key %q", key)
	}
	for i := range len(key) {
		for _, c := range "A2z_" {
			typo := key[:i] + string(c) + key[i+1:]
			if got := secret.LooksLikeKey("sk_", typo); got != (typo == key) {
				t.Errorf("LooksLikeKey(%q) = %v", typo, got)
			}
		}
	}
	for _, s := range []string{"", "sk_", key[:41], key + "A", strings.ToLower(key), "pk_" + key[3:]} {
		if secret.LooksLikeKey("sk_", s) {
			t.Errorf("%q looks like a key", s)
		}
	}
	if again, _ := secret.NewKey("sk_"); again == key {
		t.Error("the same key twice")
	}
}

func TestTextDrawsEvenly(t *testing.T) {
	t.Parallel()
	var alphabet [200]byte
	for i := range alphabet {
		alphabet[i] = byte(i)
	}
	text := secret.Text(string(alphabet[:]), 200_000)
	if len(text) != 200_000 || secret.Text("01", 0) != "" {
		t.Fatalf("%d characters", len(text))
	}
	// 1,000 of each expected, standard deviation 32: more than 7 of these off happens
	// by chance once in 10^9. Bytes modulo 200 would give 1,562 of the first 56.
	for _, c := range alphabet {
		if n := strings.Count(text, string([]byte{c})); n < 776 || n > 1224 {
			t.Errorf("%d comes %d times in 200,000, want 1,000", c, n)
		}
	}
	digits := secret.Text("0123456789", 1000)
	if extra := strings.Trim(digits, "0123456789"); extra != "" {
		t.Errorf("characters outside of the alphabet: %q", extra)
	}
	bits := secret.Text("01", 1000) // an alphabet that divides 256 uses every byte
	if n := strings.Count(bits, "1"); n < 350 || n > 650 {
		t.Errorf("%d ones of 1000", n)
	}
}

func newBox(t *testing.T) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestABoxOpensWhatItSealed(t *testing.T) {
	t.Parallel()
	box := newBox(t)
	for _, plain := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("seed"), 10_000)} {
		sealed := box.Seal("users/1/totp", plain)
		opened, err := box.Open("users/1/totp", sealed)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Errorf("%d bytes: %v", len(plain), err)
		}
		if again := box.Seal("users/1/totp", plain); bytes.Equal(again, sealed) {
			t.Error("sealed twice alike: the nonce repeats")
		}
		if len(plain) > 3 && bytes.Contains(sealed, plain[:4]) {
			t.Error("the sealed value can be read")
		}
	}
}

func TestABoxRefuses(t *testing.T) {
	t.Parallel()
	box := newBox(t)
	sealed := box.Seal("users/1/totp", []byte("seed"))
	refused := map[string]func() ([]byte, error){
		"another place": func() ([]byte, error) { return box.Open("users/2/totp", sealed) },
		"another key":   func() ([]byte, error) { return newBox(t).Open("users/1/totp", sealed) },
		"nothing":       func() ([]byte, error) { return box.Open("users/1/totp", nil) },
		"less":          func() ([]byte, error) { return box.Open("users/1/totp", sealed[:len(sealed)-1]) },
		"more":          func() ([]byte, error) { return box.Open("users/1/totp", append(slices.Clone(sealed), 0)) },
	}
	for i := range sealed {
		altered := slices.Clone(sealed)
		altered[i] ^= 1
		refused["a bit of byte "+string(rune('A'+i))] = func() ([]byte, error) { return box.Open("users/1/totp", altered) }
	}
	for name, open := range refused {
		plain, err := open()
		if !errors.Is(err, secret.ErrSealed) || plain != nil {
			t.Errorf("%s: %q, %v; want ErrSealed", name, plain, err)
		}
		if err != nil && strings.Contains(err.Error(), "seed") {
			t.Errorf("%s: the error %q tells the secret", name, err)
		}
	}
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := secret.NewBox(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is accepted", size)
		}
	}
}

func TestABoxServesManyAtOnce(t *testing.T) {
	t.Parallel()
	box := newBox(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 100 {
				if plain, err := box.Open("p", box.Seal("p", []byte("x"))); err != nil || string(plain) != "x" {
					t.Error(plain, err)
				}
			}
		})
	}
	group.Wait()
}

func TestDerivedKeysAreUnrelated(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, secret.KeySize)
	box, err := secret.NewBox(key)
	if err != nil {
		t.Fatal(err)
	}
	mail, cookies := box.Derive("mail"), box.Derive("cookies")
	if len(mail) != secret.KeySize || bytes.Equal(mail, cookies) || bytes.Equal(mail, key) || !bytes.Equal(mail, box.Derive("mail")) {
		t.Errorf("mail %x, cookies %x", mail, cookies)
	}
	const want = "99e49cc03cf0a9d36c8055e888e656dcb10a8bb27831e4545fe7570411725f06"
	// HKDF-SHA-256 (RFC 5869) of 32 bytes of 7, no salt, info "cardea/mail": keys must
	// never change from one version to the next.
	if got := hex.EncodeToString(mail); got != want {
		t.Errorf("derived key %s, want %s", got, want)
	}
	if bytes.Equal(mail, newBox(t).Derive("mail")) {
		t.Error("two boxes derive the same key")
	}
}

func TestParseMasterKey(t *testing.T) {
	t.Parallel()
	key := secret.NewBoxKey()
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), base64.StdEncoding.EncodeToString(key),
		base64.RawStdEncoding.EncodeToString(key), base64.URLEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	} {
		if got, err := secret.ParseMasterKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("ParseMasterKey(%q) = %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "hunter2", hex.EncodeToString(key[:31]), hex.EncodeToString(append(key, 0)), strings.Repeat("!", 64)} {
		_, err := secret.ParseMasterKey(text)
		if err == nil || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("ParseMasterKey(%q): %v, want an error that does not repeat it", text, err)
		}
	}
}

// RFC 4231, test case 2, cut to 16 bytes.
func TestMAC(t *testing.T) {
	t.Parallel()
	if got := hex.EncodeToString(secret.MAC([]byte("Jefe"), "what do ya want for nothing?")); got != "5bdcc146bf60754e6a042426089575c7" {
		t.Errorf("MAC = %s", got)
	}
}
