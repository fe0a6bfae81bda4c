package passhash_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash"
)

// cheapParams keep the tests quick.
var cheapParams = passhash.Params{Memory: 64, Time: 1, Lanes: 1}

func cheap() *passhash.Hasher { return passhash.New(cheapParams, nil) }

func peppered(fill byte) *passhash.Hasher {
	return passhash.New(cheapParams, bytes.Repeat([]byte{fill}, passhash.MinPepperBytes))
}

func hashed(t *testing.T, h *passhash.Hasher, password string) string {
	t.Helper()
	encoded, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatalf("Hash(%q): %v", password, err)
	}
	return encoded
}

func verify(t *testing.T, h *passhash.Hasher, encoded, password string) (ok, upgrade bool) {
	t.Helper()
	ok, upgrade, err := h.Verify(t.Context(), encoded, password)
	if err != nil {
		t.Fatalf("Verify(%q, %q): %v", encoded, password, err)
	}
	return ok, upgrade
}

func TestHashVerifiesAndNeedsNoUpgrade(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*passhash.Hasher{"plain": cheap(), "peppered": peppered(1)} {
		for _, password := range []string{"", "a", typed, "nul\x00inside", "not UTF-8 \xff", strings.Repeat("x", passhash.MaxPasswordBytes)} {
			encoded := hashed(t, h, password)
			if ok, upgrade := verify(t, h, encoded, password); !ok || upgrade {
				t.Errorf("%s: Verify(%q, %q) = %v, upgrade %v, want true, upgrade false", name, encoded, password, ok, upgrade)
			}
			for _, wrong := range []string{"x" + password, password + "x", password + "\x00"} {
				if len(wrong) > passhash.MaxPasswordBytes {
					continue
				}
				if ok, upgrade := verify(t, h, encoded, wrong); ok || upgrade {
					t.Errorf("%s: Verify(%q, %q) = %v, upgrade %v, want false, upgrade false", name, encoded, wrong, ok, upgrade)
				}
			}
		}
	}
}

func TestHashIsSaltedAndOfTheDocumentedForm(t *testing.T) {
	t.Parallel()
	a, b := hashed(t, passhash.New(passhash.Default, nil), typed), hashed(t, cheap(), typed)
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(a, want) {
		t.Errorf("Hash = %q, want it to begin with %q", a, want)
	}
	if c := hashed(t, cheap(), typed); b == c {
		t.Errorf("two hashes of one password are equal: %q", b)
	}
	if err := passhash.Check(a); err != nil {
		t.Errorf("Check(%q) = %v, want nil", a, err)
	}
}

func TestHashRefusesParamsBeyondBounds(t *testing.T) {
	t.Parallel()
	for _, p := range []passhash.Params{
		{},
		{Memory: 64, Time: 0, Lanes: 1},
		{Memory: 64, Time: 1, Lanes: 0},
		{Memory: 15, Time: 1, Lanes: 2},
		{Memory: 256<<10 + 1, Time: 1, Lanes: 1},
		{Memory: 256 << 10, Time: 9, Lanes: 1},
		{Memory: 64, Time: 1 << 31, Lanes: 1},
		{Memory: 19456, Time: 2, Lanes: 65},
	} {
		if err := p.Check(); err == nil {
			t.Errorf("%+v.Check() = nil, want an error", p)
		}
		if encoded, err := passhash.New(p, nil).Hash(t.Context(), typed); err == nil {
			t.Errorf("Hash with %+v = %q, want an error", p, encoded)
		}
	}
}

func TestVerifyAsksForUpgrade(t *testing.T) {
	t.Parallel()
	h := cheap()
	for name, old := range map[string]*passhash.Hasher{
		"less memory": passhash.New(passhash.Params{Memory: 32, Time: 1, Lanes: 1}, nil),
		"more passes": passhash.New(passhash.Params{Memory: 64, Time: 2, Lanes: 1}, nil),
		"more lanes":  passhash.New(passhash.Params{Memory: 64, Time: 1, Lanes: 2}, nil),
	} {
		encoded := hashed(t, old, typed)
		if ok, upgrade := verify(t, h, encoded, typed); !ok || !upgrade {
			t.Errorf("%s: Verify = %v, upgrade %v, want true, upgrade true", name, ok, upgrade)
		}
		if ok, upgrade := verify(t, h, encoded, "wrong"); ok || upgrade {
			t.Errorf("%s: Verify of a wrong password = %v, upgrade %v, want false, upgrade false", name, ok, upgrade)
		}
	}
}

func TestPepperRotates(t *testing.T) {
	t.Parallel()
	bare, first, second := cheap(), peppered(1), peppered(2)
	second.OldPeppers = [][]byte{nil, first.Pepper}
	bareAgain := cheap()
	bareAgain.OldPeppers = [][]byte{second.Pepper}

	unpeppered, one, two := hashed(t, bare, typed), hashed(t, first, typed), hashed(t, second, typed)
	for _, c := range []struct {
		name    string
		h       *passhash.Hasher
		encoded string
		upgrade bool
	}{
		{"pepper introduced", first, unpeppered, true},
		{"same pepper", first, one, false},
		{"old pepper", second, one, true},
		{"new pepper", second, two, false},
		{"no pepper, after two", second, unpeppered, true},
		{"pepper given up", bareAgain, two, true},
	} {
		if ok, upgrade := verify(t, c.h, c.encoded, typed); !ok || upgrade != c.upgrade {
			t.Errorf("%s: Verify = %v, upgrade %v, want true, upgrade %v", c.name, ok, upgrade, c.upgrade)
		}
		if ok, _ := verify(t, c.h, c.encoded, "wrong"); ok {
			t.Errorf("%s: Verify takes a wrong password", c.name)
		}
	}
}

func TestPepperIsNeededToVerify(t *testing.T) {
	t.Parallel()
	encoded := hashed(t, peppered(1), typed)
	for name, h := range map[string]*passhash.Hasher{"none": cheap(), "another": peppered(2)} {
		if ok, _, err := h.Verify(t.Context(), encoded, typed); ok || !errors.Is(err, passhash.ErrPepperUnknown) {
			t.Errorf("%s: Verify = %v, %v, want false, ErrPepperUnknown", name, ok, err)
		}
	}
	// A hash stripped of its key id must not verify either.
	before, after, _ := strings.Cut(encoded, ",keyid=")
	_, after, _ = strings.Cut(after, "$")
	if ok, _ := verify(t, peppered(1), before+"$"+after, typed); ok {
		t.Error("Verify takes a peppered hash without the pepper")
	}
	if err := passhash.Check(encoded); err == nil {
		t.Error("Check takes a hash whose pepper did not come along")
	}
}

const (
	composed   = "hoerse \u00f6"  // NFC
	decomposed = "hoerse o\u0308" // NFD
)

func TestOwnHashesKnowAllSpellingsOfAPassword(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*passhash.Hasher{"plain": cheap(), "peppered": peppered(1)} {
		for _, set := range []string{composed, decomposed} {
			encoded := hashed(t, h, set)
			for _, tried := range []string{composed, decomposed} {
				if ok, upgrade := verify(t, h, encoded, tried); !ok || upgrade {
					t.Errorf("%s: set %+q, tried %+q: Verify = %v, upgrade %v, want true, upgrade false", name, set, tried, ok, upgrade)
				}
			}
		}
	}
}

func TestForeignHashesKnowTheirOwnSpelling(t *testing.T) {
	t.Parallel()
	// python bcrypt 5.0.0 and argon2-cffi 25.1.0
	const (
		ofComposed   = "$2b$05$/OK.fbVrR/bpIqNJ5ianF.NEP6J4IxYzjwo1jPu9jLNFI9FiG34Yi"
		ofDecomposed = "$2b$05$/OK.fbVrR/bpIqNJ5ianF.L3OzhFENh7ks/8tnRGV8hoCbe0E6h16"
		argon2       = "$argon2id$v=19$m=1024,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$kbBfTvgWIBSC+AvLMEUa+7Hl1M7JNhfhpFWzuVWAOcY"
	)
	sameCosts := passhash.New(passhash.Params{Memory: 1024, Time: 2, Lanes: 1}, nil)
	for _, c := range []struct {
		name, encoded, tried string
		ok                   bool
	}{
		{"composed as it was set", ofComposed, composed, true},
		{"decomposed as it was set", ofDecomposed, decomposed, true},
		{"decomposed, set composed", ofComposed, decomposed, true},
		{"composed, set decomposed", ofDecomposed, composed, false}, // as in the old system
		{"decomposed, with our costs", argon2, decomposed, true},
	} {
		if ok, upgrade := verify(t, sameCosts, c.encoded, c.tried); ok != c.ok || upgrade != c.ok {
			t.Errorf("%s: Verify = %v, upgrade %v, want %v, upgrade %v", c.name, ok, upgrade, c.ok, c.ok)
		}
	}
}

// Bcrypt looks at 72 bytes, and other systems let longer passwords through.
func TestImportedBcryptCutsAt72Bytes(t *testing.T) {
	t.Parallel()
	// python bcrypt 5.0.0 (which wants the cut made for it) and libxcrypt
	const (
		ofUmlaut = "$2b$05$/OK.fbVrR/bpIqNJ5ianF.oOq6tzzb/Gw7uV8BGlX9Ex8G9tANXLa"
		of72     = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.SxYtxMT6nLvr.VBQZzuIj6jr9GV37Si"
		of71     = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.gWPix2MTy0qx0SZ5NGMIR3ODrcTtE2S"
	)
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, encoded, password string
		ok                      bool
	}{
		{"72 bytes", of72, x(72), true},
		{"76 bytes", of72, x(72) + "tail", true},
		{"another tail", of72, x(72) + "\x00other", true},
		{"1024 bytes", of72, x(1024), true},
		{"71 bytes are not 72", of72, x(71), false},
		{"byte 72 counts", of72, x(71) + "y", false},
		{"71 bytes", of71, x(71), true},
		{"72 bytes are not 71", of71, x(72), false},
		{"bytes, not characters", ofUmlaut, "é" + strings.Repeat("y", 70) + "TAIL", true},
		{"the last byte of them", ofUmlaut, "é" + strings.Repeat("y", 69) + "zTAIL", false},
	} {
		if ok, upgrade := verify(t, cheap(), c.encoded, c.password); ok != c.ok || upgrade != c.ok {
			t.Errorf("%s: Verify = %v, upgrade %v, want %v, upgrade %v", c.name, ok, upgrade, c.ok, c.ok)
		}
	}
	prehashed := "bcrypt_sha256$$2b$05$39vez6kksvpUmzJlFI68auOy9n5LOSXyboG2w8vHhxQtAo0l5mxVe"
	if ok, _ := verify(t, cheap(), prehashed, typed+x(100)); ok {
		t.Error("a hashed-before-bcrypt form takes a longer password")
	}
}

// A NUL at the very end is left out: HMAC, inside PBKDF2 and scrypt, fills short
// keys with NUL bytes, so these forms never knew such passwords apart.
func TestNoFormCutsAtNUL(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		for _, tried := range []string{v.password + "\x00tail", "\x00" + v.password + "tail"} {
			if ok, _ := verify(t, cheap(), v.encoded, tried); ok {
				t.Errorf("%s: Verify(%q, %q) = true, want false", v.name, v.encoded, tried)
			}
		}
	}
	// python bcrypt 5.0.0 of "abc"; then of "abc\x00def", by x/crypto, which knows
	// no end of string.
	if ok, _ := verify(t, cheap(), "$2b$05$/OK.fbVrR/bpIqNJ5ianF.gKRT/33uSp/5nsjXQyeItpMwPZHQxa2", "abc\x00def"); ok {
		t.Error("bcrypt stops at a NUL byte")
	}
	for tried, want := range map[string]bool{"abc\x00def": true, "abc": false, "abc\x00deg": false} {
		encoded, err := bcrypt.GenerateFromPassword([]byte("abc\x00def"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := verify(t, cheap(), string(encoded), tried); ok != want {
			t.Errorf("Verify(%q, %q) = %v, want %v", encoded, tried, ok, want)
		}
	}
}

func TestWordPressTrims(t *testing.T) {
	t.Parallel()
	const encoded = "$wp$2y$05$vbT5Q8WH6KoDatUJSniea.eH/rs.7fOp1ryPuSGbCnmx1ls.0squ6"
	for tried, want := range map[string]bool{" " + typed + "\n": true, typed + ".": false, strings.ReplaceAll(typed, " ", ""): false} {
		if ok, _ := verify(t, cheap(), encoded, tried); ok != want {
			t.Errorf("Verify(%q) = %v, want %v", tried, ok, want)
		}
	}
}

func TestLongPasswordsAreRefusedBeforeAnyWork(t *testing.T) {
	t.Parallel()
	h := cheap()
	done, cancel := context.WithCancel(t.Context())
	cancel() // whatever gets as far as to wait for a turn fails with another error
	for _, n := range []int{passhash.MaxPasswordBytes + 1, 1 << 20} {
		long := strings.Repeat("x", n)
		_, hashErr := h.Hash(done, long)
		_, _, verifyErr := h.Verify(done, vectors[0].encoded, long)
		dummyErr := h.VerifyDummy(done, long)
		for name, err := range map[string]error{"Hash": hashErr, "Verify": verifyErr, "VerifyDummy": dummyErr} {
			if p, ok := problem.From(err); !ok || p.Kind != problem.Invalid || p.Code != "password_too_long" {
				t.Errorf("%s of %d bytes: %v, want the problem password_too_long", name, n, err)
			}
		}
	}
}

func TestVerifyDummyAnswersLikeVerify(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*passhash.Hasher{"plain": cheap(), "peppered": peppered(1)} {
		for _, password := range []string{"", typed, decomposed} {
			if err := h.VerifyDummy(t.Context(), password); err != nil {
				t.Errorf("%s: VerifyDummy(%q) = %v, want nil", name, password, err)
			}
		}
	}
}

func TestVerifyReportsUnreadableHashes(t *testing.T) {
	t.Parallel()
	ok, upgrade, err := cheap().Verify(t.Context(), "!unusable", typed)
	if _, isProblem := problem.From(err); ok || upgrade || err == nil || isProblem {
		t.Errorf("Verify = %v, upgrade %v, %v, want false, upgrade false and an error that is no problem", ok, upgrade, err)
	}
}

const lightKiB, largeKiB = 64, 200 << 10

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := passhash.NewNarrow(2, 3)
		release, errs := make(chan struct{}), make(chan error)
		for range 5 {
			go func() { errs <- h.Hold(t.Context(), lightKiB, release) }()
		}
		synctest.Wait()
		for name, err := range map[string]error{
			"Hash":        second(h.Hash(t.Context(), typed)),
			"VerifyDummy": h.VerifyDummy(t.Context(), typed),
			"Hold":        h.Hold(t.Context(), lightKiB, release),
		} {
			if p, ok := problem.From(err); !ok || p.Kind != problem.Unavailable || p.Code != "busy" {
				t.Errorf("%s with a full queue: %v, want the problem busy", name, err)
			}
		}
		close(release)
		for range 5 {
			if err := <-errs; err != nil {
				t.Errorf("one of those who waited: %v, want nil", err)
			}
		}
		if _, err := h.Hash(t.Context(), typed); err != nil {
			t.Errorf("Hash after the queue is empty: %v", err)
		}
	})
}

func second(_ string, err error) error { return err }

func TestOnlySoManyHashesRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := passhash.NewNarrow(2, 10)
		running, most, finished := h.Crowd(t.Context(), 8, lightKiB)
		if most != 2 || finished != 8 || running != 0 {
			t.Errorf("at most %d ran at once and %d finished, want 2 and 8", most, finished)
		}
		if _, most, finished = h.Crowd(t.Context(), 8, largeKiB); most != 1 || finished != 8 {
			t.Errorf("at most %d large ones ran at once and %d finished, want 1 and 8", most, finished)
		}
	})
}

func TestLargeHashesLeaveRoomForSmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := passhash.NewNarrow(2, 10)
		release, errs := make(chan struct{}), make(chan error)
		for range 4 {
			go func() { errs <- h.Hold(t.Context(), largeKiB, release) }()
		}
		synctest.Wait()
		if _, err := h.Hash(t.Context(), typed); err != nil {
			t.Errorf("Hash while large ones wait: %v", err)
		}
		close(release)
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := passhash.NewNarrow(1, 1)
		release, errs := make(chan struct{}), make(chan error)
		go func() { errs <- h.Hold(t.Context(), lightKiB, release) }()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Hash(ctx, typed); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hash after a second in the queue: %v, want %v", err, context.DeadlineExceeded)
		}
		if err := h.VerifyDummy(ctx, typed); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("VerifyDummy with an ended context: %v, want %v", err, context.DeadlineExceeded)
		}
		// Those who gave up have left the queue: there is a place again.
		go func() { errs <- h.Hold(t.Context(), lightKiB, release) }()
		synctest.Wait()
		close(release)
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if _, _, err := h.Verify(ctx, vectors[0].encoded, typed); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Verify with an ended context and a free place: %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
