// Package passkey keeps the passkeys of users and has them proved: WebAuthn Level 3.
//
//	BeginRegistration    a challenge, and the options for navigator.credentials.create
//	CheckRegistration    judges what came back; FinishRegistration keeps the passkey
//	Allow, BeginSignIn   a challenge, and the options for navigator.credentials.get
//	CheckSignIn          judges what came back; FinishSignIn uses the challenge up
//	List, Rename, Delete what a user has
//	Hold, Confirm        what may be an intruder's is good for nothing until its owner says
//
// A challenge is 32 random bytes, good for five minutes and one answer, and belongs to
// a purpose, to the attempt or session that goes on with it, and to the user it was
// made for. What a passkey proves is for the caller to use, in the transaction that
// uses the challenge up: one statement of it decides which of many answers at once
// counts.
//
// An attacker would answer for another site, another ceremony or another session, use
// an answer twice, or the passkey of one user for another: origin, type, challenge,
// owner and user are all compared, the origin as a whole. They would find out who has
// passkeys: whoever has none is given some, which never change. They would have
// somebody's authenticator answer without its user: what stands for a sign-in by
// itself takes the user's verification, whatever the options asked the browser for.
// And they would copy a key: a counter that goes back is noted, and refused unless the
// caller takes it.
package passkey

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// What a challenge is for.
const (
	Register     = "register"
	SignIn       = "signin"        // nothing else proves who it is
	SecondFactor = "second_factor" // something else has proved it already
	StepUp       = "step_up"       // somebody who is signed in proves it again
)

// Problems of passkeys.
var (
	// ErrChallenge covers unknown, expired and used challenges alike, and those of
	// somebody else or for something else.
	ErrChallenge = problem.New(problem.Invalid, "passkey_expired", "This took too long, or it was begun elsewhere. Try again.")
	// ErrRefused covers every reason why an answer is not good, an unknown passkey
	// among them.
	ErrRefused    = problem.New(problem.Invalid, "passkey_refused", "This passkey can not be used here. Try another one, or another way.")
	ErrUnverified = problem.New(problem.Invalid, "user_verification_required", "The passkey's device has to ask for your fingerprint, face or PIN. Set that up, or use another device.")
	ErrHeld       = problem.New(problem.Forbidden, "passkey_held", "This passkey was switched off when the account was recovered. Sign in another way, and confirm it in your account.")
	ErrExists     = problem.New(problem.Conflict, "passkey_exists", "This passkey is registered already.")
	ErrNotFound   = problem.New(problem.NotFound, "passkey_not_found", "There is no such passkey.")
	ErrTooMany    = problem.New(problem.Conflict, "too_many_passkeys", "There are 25 passkeys already. Remove one that is not needed any more.")
	ErrName       = problem.New(problem.Invalid, "invalid_passkey_name", "A name has 1 to 64 characters, all of them visible.").In("name")
)

const (
	// ChallengeLifetime is how long an answer may take.
	ChallengeLifetime = 5 * time.Minute
	// MaxPerUser is how many passkeys a user may have.
	MaxPerUser = 25
	maxName    = 64
	// maxCredentialID is the length of the longest credential id, in bytes
	// (section 7.1, step 25).
	maxCredentialID = 1023
)

// An RP is a relying party: whom passkeys are for.
type RP struct {
	// ID is a domain. A passkey works with the ID it was made for and no other.
	ID   string
	Name string // shown by some browsers
	// Origins are where a ceremony may happen, each with its scheme and its port as a
	// browser writes it. Nothing else is taken.
	Origins []string
}

// A Service keeps passkeys. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets; what strangers are shown in place of
	// passkeys is derived from it.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
}

// A Passkey is a public key of a user, with what its authenticator told.
type Passkey struct {
	ID             string
	UserID         string
	CredentialID   []byte
	PublicKey      []byte // COSE key (RFC 9052)
	RPID           string
	AAGUID         []byte // 16 bytes; all zero if the authenticator does not say
	Attestation    string // type, such as "none"
	Transports     []string
	SignCount      uint32
	BackupEligible bool // it can be on several devices
	BackupState    bool // it is backed up
	Verified       bool // the user was verified when it was made
	Name           string
	CreatedAt      time.Time
	UpdatedAt      time.Time // zero until it was renamed
	UsedAt         time.Time // zero until it was used
	HeldAt         time.Time // since when it waits for its user to confirm it; zero if it does not
}

// Key is the credential id as the ceremonies write it: base64url.
func (p Passkey) Key() string { return encode(p.CredentialID) }

// Title is what the user calls the passkey, else who made its authenticator; empty if
// nobody knows.
func (p Passkey) Title() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Authenticator()
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// List returns a user's passkeys, the oldest first. Those of another RP ID, as of a
// domain that the tenant has left, are among them.
func (s *Service) List(ctx context.Context, db database.Reader, tenant, user string) ([]Passkey, error) {
	return listPasskeys(ctx, db, tenant, user)
}

// Count returns how many passkeys a user can use for an RP ID.
func (s *Service) Count(ctx context.Context, db database.Reader, tenant, user, rpID string) (int, error) {
	return countUsable(ctx, db, tenant, user, rpID)
}

// Find returns a user's passkey by its credential id, in base64url as Key writes it.
// One of another user is ErrNotFound.
func (s *Service) Find(ctx context.Context, db database.Reader, tenant, user, key string) (Passkey, error) {
	id, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(id) == 0 || len(id) > maxCredentialID {
		return Passkey{}, ErrNotFound
	}
	return findPasskey(ctx, db, tenant, user, id)
}

// Rename gives a user's passkey a name. It returns ErrName or ErrNotFound.
func (s *Service) Rename(ctx context.Context, tx *database.Tx, by access.Actor, user, id, name string) (Passkey, error) {
	name, err := parseName(name)
	if err != nil {
		return Passkey{}, err
	}
	p, err := renamePasskey(ctx, tx, by.Tenant, user, id, name)
	if err != nil {
		return Passkey{}, err
	}
	return p, audit.Append(tx, by, p.event("passkey.renamed"))
}

func parseName(s string) (string, error) {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", ErrName
	}
	return s, nil
}

// Delete removes a user's passkey. Whether the user can do without it is for the caller
// to know. It returns ErrNotFound.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) (Passkey, error) {
	p, err := deletePasskey(ctx, tx, by.Tenant, user, id)
	if err != nil {
		return Passkey{}, err
	}
	return p, audit.Append(tx, by, p.event("passkey.removed"))
}

// DeleteAll removes a user's passkeys, as from an account whose owner was not the one
// who made it. The reason is a word for the log.
func (s *Service) DeleteAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	gone, err := deletePasskeys(ctx, tx, by.Tenant, user)
	return errors.Join(err, note(tx, by, "passkey.removed", reason, gone))
}

// DeleteSince removes the passkeys that a user was given at a moment or later. The reason
// is a word for the log.
func (s *Service) DeleteSince(ctx context.Context, tx *database.Tx, by access.Actor, user string, since time.Time, reason string) error {
	gone, err := deletePasskeysSince(ctx, tx, by.Tenant, user, since)
	return errors.Join(err, note(tx, by, "passkey.removed", reason, gone))
}

// Hold makes a user's passkeys good for nothing until the user confirms them one by
// one: whoever was in the account before it was recovered may have added one. The
// reason is a word for the log.
func (s *Service) Hold(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	held, err := holdPasskeys(ctx, tx, by.Tenant, user)
	return errors.Join(err, note(tx, by, "passkey.held", reason, held))
}

// Confirm makes a passkey that was held good again. It returns ErrNotFound if there is
// no such passkey that waits for it.
func (s *Service) Confirm(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) (Passkey, error) {
	p, err := confirmPasskey(ctx, tx, by.Tenant, user, id)
	if err != nil {
		return Passkey{}, err
	}
	return p, audit.Append(tx, by, p.event("passkey.confirmed"))
}

// note writes to the log what was done to each of many.
func note(tx *database.Tx, by access.Actor, action, reason string, list []Passkey) error {
	for _, p := range list {
		e := p.event(action)
		e.Reason = reason
		if err := audit.Append(tx, by, e); err != nil {
			return err
		}
	}
	return nil
}

// event is what the log keeps of something done to the passkey.
func (p Passkey) event(action string) audit.Event {
	return audit.Event{Action: action, Target: "user", TargetID: p.UserID, Method: "passkey", Detail: map[string]any{
		"passkey": p.ID, "authenticator": p.Authenticator(), "rp_id": p.RPID, "backup_eligible": p.BackupEligible, "backup_state": p.BackupState,
	}}
}

// Sweep removes challenges that were not answered, in portions. Run it every hour or
// so.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = sweepChallenges(ctx, tx, portion)
			return err
		})
		if err != nil || n < portion {
			return err
		}
	}
}

// RelatedOrigins is the document that a browser asks the RP ID's own host for, before
// it lets another origin use its passkeys (section 5.11). A browser reads the first
// five names, so those that matter come first.
func RelatedOrigins(origins []string) RelatedOriginsForm {
	own := slices.DeleteFunc(slices.Clone(origins), func(o string) bool { return !strings.HasPrefix(o, "https://") })
	return RelatedOriginsForm{append([]string{}, own...)}
}

// RelatedOriginsForm is the document at /.well-known/webauthn.
type RelatedOriginsForm struct {
	Origins []string `json:"origins"`
}
