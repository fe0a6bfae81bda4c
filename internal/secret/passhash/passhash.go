// Package passhash owns password hashing: it makes our hashes, verifies them,
// and recognises, bounds and verifies the hashes other systems bring along.
//
// Flow: a new password goes through Hash, which spells it in one Unicode form,
// mixes in the pepper if there is one, and runs Argon2id (RFC 9106). An import
// calls Check, or first a constructor (PBKDF2, Scrypt, Firebase, Digest, HMAC)
// where the other system keeps its hash in columns. A sign-in calls Verify,
// whatever the form, and hashes anew when told to upgrade; when there is no such
// user it calls VerifyDummy. The table of accepted forms is in form.go: one
// parser for each, and the parser is the only way to a hash computation, so
// nothing is ever computed that Check would not accept.
//
// What an attacker would try: a flood of sign-ins, to fill memory with Argon2
// blocks (so hashing takes turns, in a queue of bounded length); an import whose
// cost parameters ask for gigabytes or hours (every parameter has a bound, and
// only one large hash runs at a time); a password of a megabyte; the second half
// of a password that bcrypt never looked at; the time an answer takes, to learn
// whether an account exists or how many bytes of a hash were right.
package passhash

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret/passhash/argon2id"
)

const (
	// MaxPasswordBytes is the longest password taken, as it was typed.
	MaxPasswordBytes = 1024
	// MinPepperBytes is the shortest pepper an operator should be allowed to
	// configure. The key id in each hash is derived from the pepper, so a pepper
	// that can be guessed can be confirmed by whoever steals the database.
	MinPepperBytes = 32

	saltBytes = 16  // RFC 9106 section 3.1
	sumBytes  = 32  // RFC 9106 section 4 recommends 256 bits
	queueSize = 256 // those waiting for a turn to hash
)

var (
	// ErrPasswordTooLong refuses a password before any work is done on it.
	ErrPasswordTooLong = problem.New(problem.Invalid, "password_too_long", "A password may have at most 1,024 bytes.")
	// ErrBusy says that more sign-ins are waiting than can be served in good time.
	ErrBusy = problem.New(problem.Unavailable, "busy", "Too many people are signing in at this moment. Please try again.")
	// ErrPepperUnknown says that a hash was made with a pepper this server was not
	// given. It is the operator's fault, not the caller's, hence no problem.
	ErrPepperUnknown = errors.New("the password hash was made with a pepper that is not configured")
)

// Params are the costs of the Argon2id hashes made here.
type Params struct {
	Memory uint32 // KiB
	Time   uint32 // passes over the memory
	Lanes  uint8  // threads, and the p of the algorithm
}

// Default is OWASP's first recommendation: about 22 ms of one core.
var Default = Params{Memory: 19456, Time: 2, Lanes: 1}

// memory is where hashes of the default costs are computed. At most as many run as the
// gate has slots.
var memory = argon2id.New(Default.Memory)

// Check says whether p is possible and within the bounds that hold for imported
// hashes too. Its error is plain text for whoever configured p.
func (p Params) Check() error {
	switch {
	case p.Lanes < 1 || p.Lanes > maxLanes:
		return fmt.Errorf("lanes (p) must be from 1 to %d", maxLanes)
	case p.Memory < 8*uint32(p.Lanes) || p.Memory > maxMemory:
		return fmt.Errorf("memory (m) must be from 8 times the lanes to %d KiB", maxMemory)
	case p.Time < 1 || uint64(p.Time)*uint64(p.Memory) > maxArgonWork:
		return fmt.Errorf("passes (t) must be at least 1, and passes times memory at most %d KiB", maxArgonWork)
	}
	return nil
}

// A Hasher makes and verifies hashes. A process makes one, with New, and sets its
// fields before first use: the bound on memory and the queue are its own.
type Hasher struct {
	Params Params
	// Pepper, if any, is mixed into new passwords and must be kept outside the
	// database: at least MinPepperBytes random bytes.
	Pepper []byte
	// OldPeppers still verify. A hash made with one asks for an upgrade.
	OldPeppers [][]byte

	gate *gate
}

// New returns a Hasher that runs at most GOMAXPROCS hashes at once and lets 256
// more wait. The pepper may be empty.
func New(p Params, pepper []byte) *Hasher {
	light := max(lightMemory, int(p.Memory))
	return &Hasher{Params: p, Pepper: pepper, gate: newGate(runtime.GOMAXPROCS(0), queueSize, light)}
}

// Hash returns the form of password to store. It waits for its turn until ctx
// ends. It returns ErrPasswordTooLong or ErrBusy; any other error is a fault.
func (h *Hasher) Hash(ctx context.Context, password string) (encoded string, err error) {
	if len(password) > MaxPasswordBytes {
		return "", ErrPasswordTooLong
	}
	if err := h.Params.Check(); err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	salt, sum := make([]byte, saltBytes), []byte(nil)
	rand.Read(salt)
	input := season(h.Pepper, norm.NFC.String(password))
	err = h.gate.do(ctx, int(h.Params.Memory), func() error {
		sum = memory.Key(input, salt, h.Params.Time, h.Params.Memory, h.Params.Lanes, sumBytes)
		return nil
	})
	if err != nil {
		return "", err
	}
	return h.encode(salt, sum), nil
}

// Verify says whether password is the one behind encoded, and if so, whether the
// caller should store a new Hash of it: the form is foreign, or its costs, its
// pepper or its Unicode spelling are not today's. It returns ErrPasswordTooLong
// or ErrBusy; any other error (a hash that Check refuses, ErrPepperUnknown) is a
// fault and says nothing about the password.
//
// The password is tried as it was typed, since other systems hashed those bytes,
// and then in Unicode form NFC, which is what Hash does.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (ok, upgrade bool, err error) {
	if len(password) > MaxPasswordBytes {
		return false, false, ErrPasswordTooLong
	}
	r, err := parse(encoded)
	if err != nil {
		return false, false, fmt.Errorf("read password hash: %w", err)
	}
	pepper, err := h.pepper(r.keyID)
	if err != nil {
		return false, false, err
	}
	nfc := norm.NFC.String(password)
	err = h.gate.do(ctx, r.memory, func() error {
		ok, err = r.match(season(pepper, password))
		upgrade = ok && (password != nfc || !h.current(encoded))
		if ok || err != nil || password == nfc {
			return err
		}
		ok, err = r.match(season(pepper, nfc))
		upgrade = ok && !h.current(encoded)
		return err
	})
	if err != nil {
		return false, false, err
	}
	return ok, upgrade, nil
}

// VerifyDummy does for a user who does not exist what Verify does for one who
// has a hash made here, so that neither the time nor the error tells them apart.
// A user whose imported hash was not upgraded yet does differ in time.
func (h *Hasher) VerifyDummy(ctx context.Context, password string) error {
	salt, sum := make([]byte, saltBytes), make([]byte, sumBytes)
	rand.Read(salt)
	rand.Read(sum)
	_, _, err := h.Verify(ctx, h.encode(salt, sum), password)
	return err
}

// Work is how much memory the hashes that have run so far have filled, in KiB: what
// signing in with passwords has cost.
func (h *Hasher) Work() uint64 { return h.gate.done.Load() }

// prefix is how every hash begins that Hash makes today. The key id is the keyid
// parameter that the PHC string format gives to Argon2.
func (h *Hasher) prefix() string {
	p := h.Params
	id := ""
	if len(h.Pepper) > 0 {
		id = ",keyid=" + pepperID(h.Pepper)
	}
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d%s$", p.Memory, p.Time, p.Lanes, id)
}

func (h *Hasher) encode(salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return h.prefix() + b64.EncodeToString(salt) + "$" + b64.EncodeToString(sum)
}

// current compares lengths as well, because a hash with our costs may still come
// from elsewhere, with a short salt.
func (h *Hasher) current(encoded string) bool {
	return strings.HasPrefix(encoded, h.prefix()) &&
		len(encoded) == len(h.encode(make([]byte, saltBytes), make([]byte, sumBytes)))
}

// pepper finds the pepper with this key id; no id, no pepper.
func (h *Hasher) pepper(id string) ([]byte, error) {
	if id == "" {
		return nil, nil
	}
	for _, p := range append([][]byte{h.Pepper}, h.OldPeppers...) {
		if len(p) > 0 && pepperID(p) == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w (key id %s)", ErrPepperUnknown, id)
}

// pepperID is 48 bits: enough to tell an operator's few peppers apart.
func pepperID(pepper []byte) string {
	return base64.RawStdEncoding.EncodeToString(season(pepper, "cardea pepper key id")[:6])
}

// season mixes the pepper into the password. Argon2 has an input for a secret
// key, but the library we use does not offer it; HMAC keeps the same promise.
func season(pepper []byte, password string) []byte {
	if len(pepper) == 0 {
		return []byte(password)
	}
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(password))
	return mac.Sum(nil)
}
