package passkey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// Whom a challenge is for, in place of a user's id.
const (
	Anyone = "anyone" // whose passkey it is says the passkey itself
	Nobody = "nobody" // no user is known: nothing answers it, and nothing tells
)

// A Request asks for the proof of a passkey.
type Request struct {
	Owner   string // the attempt or the session that goes on with it
	Purpose string
	UserID  string // or Anyone, or Nobody
	RP      RP
	Allow   []Descriptor // of Allow; nil lets the browser look for passkeys by itself
	// Preferred asks the browser to verify the user if it can, where it is asked to do
	// so in any case. It changes nothing in what is accepted.
	Preferred bool
}

// RequestOptions are what navigator.credentials.get takes, in the JSON of section 5.5.
type RequestOptions struct {
	Challenge        string       `json:"challenge" doc:"base64url of 32 bytes"`
	Timeout          int          `json:"timeout" doc:"Milliseconds"`
	RPID             string       `json:"rpId"`
	Allow            []Descriptor `json:"allowCredentials,omitempty"`
	UserVerification string       `json:"userVerification"`
}

// A Descriptor names a passkey to a browser.
type Descriptor struct {
	Type       string   `json:"type"`
	ID         string   `json:"id" doc:"base64url"`
	Transports []string `json:"transports,omitempty"`
}

// describe names the passkeys that are good for an RP ID.
func describe(list []Passkey, rpID string) (out []Descriptor) {
	for _, p := range list {
		if p.RPID == rpID && p.HeldAt.IsZero() {
			out = append(out, Descriptor{"public-key", p.Key(), p.Transports})
		}
	}
	return out
}

// Allow returns the passkeys that a user can answer with, whom somebody named by
// identifier. Where the user has none, or nobody is known by it, these are decoys: they
// look like others, and are the same each time.
func (s *Service) Allow(ctx context.Context, db database.Reader, tenant, user, identifier, rpID string) ([]Descriptor, error) {
	box, err := s.Box(ctx, tenant)
	if err != nil {
		return nil, err
	}
	decoys := decoys(box, rpID, identifier)
	owned, err := listPasskeys(ctx, db, tenant, user)
	if err != nil {
		return nil, err
	}
	if real := describe(owned, rpID); len(real) > 0 {
		return real, nil
	}
	return decoys, nil
}

// decoys are derived from what they stand for under the tenant's key. Their lengths and
// transports are those of the commonest authenticators.
func decoys(box *secret.Box, rpID, identifier string) []Descriptor {
	key := box.Derive("passkey decoys")
	var b []byte
	for i := range 3 {
		b = append(b, secret.MAC(key, fmt.Sprintf("%d\x00%s\x00%s", i, rpID, identifier))...)
	}
	synced, local := []string{"hybrid", "internal"}, []string{"internal"}
	shape := []struct {
		length     int
		transports []string
	}{{16, synced}, {20, synced}, {20, synced}, {32, local}}[b[47]%4]
	return []Descriptor{{"public-key", encode(b[:shape.length]), shape.transports}}
}

// BeginSignIn stores a challenge and returns what the browser is to be asked, for any
// purpose but Register.
func (s *Service) BeginSignIn(ctx context.Context, tx *database.Tx, by access.Actor, r Request) (RequestOptions, error) {
	if r.UserID == Anyone && r.Purpose != SignIn || r.UserID == "" || r.Purpose == Register {
		return RequestOptions{}, fmt.Errorf("a challenge for %s of %q", r.Purpose, r.UserID)
	}
	verify := r.Purpose != SecondFactor
	text, err := makeChallenge(ctx, tx, by.Tenant, challenge{owner: r.Owner, purpose: r.Purpose, user: r.UserID, rpID: r.RP.ID, verify: verify})
	return RequestOptions{
		Challenge: text, Timeout: int(ChallengeLifetime.Milliseconds()), RPID: r.RP.ID, Allow: r.Allow, UserVerification: verification(verify && !r.Preferred),
	}, err
}

// An Assertion is an answer to BeginSignIn that was judged and is good.
type Assertion struct {
	Passkey   Passkey // as it was before
	tenant    string
	challenge challenge
	count     uint32
	backedUp  bool
	lower     bool // the counter went back
	takeLower bool
}

// CheckSignIn judges an answer to BeginSignIn (section 7.2). It opens a transaction of
// its own if the answer is not good: the challenge is gone then. It returns
// ErrChallenge, ErrRefused or ErrUnverified.
func (s *Service) CheckSignIn(ctx context.Context, by access.Actor, a Answer) (Assertion, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(a.Credential)
	if err != nil {
		return Assertion{}, ErrRefused.Because("parse: %w", err)
	}
	c, err := s.answered(ctx, by.Tenant, a, parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return Assertion{}, err
	}
	p, err := findAnyPasskey(ctx, s.DB, by.Tenant, parsed.RawID)
	if errors.Is(err, ErrNotFound) {
		return Assertion{}, s.refuse(ctx, by, c, Passkey{RPID: c.rpID}, ErrRefused.Because("no such passkey"))
	}
	if err != nil {
		return Assertion{}, err
	}
	out := Assertion{Passkey: p, tenant: by.Tenant, challenge: c, takeLower: a.TakeLowerCount}
	if err := out.judge(a, parsed); err != nil {
		return Assertion{}, s.refuse(ctx, by, c, p, err)
	}
	return out, nil
}

// judge reports what is wrong with an answer.
func (as *Assertion) judge(a Answer, parsed *protocol.ParsedCredentialAssertionData) error {
	p, c, client, data := as.Passkey, as.challenge, parsed.Response.CollectedClientData, parsed.Response.AuthenticatorData
	if err := c.ofUser(p, parsed.Response.UserHandle); err != nil {
		return err
	}
	if p.RPID != c.rpID {
		return ErrRefused.Because("a passkey for %q", p.RPID)
	}
	if err := a.ofOrigin(client); err != nil {
		return err
	}
	err := parsed.Verify(c.text, c.rpID, "", a.RP.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, false, true, p.PublicKey, protocol.SignaturePolicy{})
	if err != nil {
		return ErrRefused.Because("%w", err)
	}
	if err := parsed.ClientExtensionResults.Verify(protocol.SessionExtensions{}, protocol.AssertCeremony, protocol.UnsolicitedOutputPolicyReject); err != nil {
		return ErrRefused.Because("%w", err)
	}
	as.backedUp = data.Flags.HasBackupState()
	if data.Flags.HasBackupEligible() != p.BackupEligible || as.backedUp && !p.BackupEligible {
		return ErrRefused.Because("backup eligibility has changed, or does not allow to be backed up")
	}
	// A passkey that was made without asking for its user does not come to stand for
	// them later (section 7.2, step 25).
	if c.verify && !(data.Flags.HasUserVerified() && p.Verified) {
		return ErrUnverified
	}
	if !p.HeldAt.IsZero() {
		return ErrHeld
	}
	as.count = data.Counter
	as.lower = as.count <= p.SignCount && (as.count != 0 || p.SignCount != 0)
	if as.lower && !as.takeLower {
		return errLowerCount
	}
	return nil
}

// errLowerCount looks like any other refusal; the log tells it apart.
var errLowerCount = ErrRefused.Because("count_went_back")

// ofUser holds the rules of section 7.2, step 6: who was named before is the passkey's
// owner, and who was not is named by the passkey.
func (c challenge) ofUser(p Passkey, handle []byte) error {
	switch {
	case c.user == Anyone && len(handle) == 0:
		return ErrRefused.Because("no user handle")
	case c.user != Anyone && c.user != p.UserID:
		return ErrRefused.Because("a passkey of another user")
	case len(handle) > 0 && string(handle) != p.UserID:
		return ErrRefused.Because("the handle of another user")
	}
	return nil
}

// reasonOf is why, in a word for the log.
func reasonOf(err error) string {
	if err == error(errLowerCount) {
		return "count_went_back"
	}
	if p, ok := problem.From(err); ok {
		return p.Code
	}
	return "error"
}

// FinishSignIn uses the challenge up, notes the use of the passkey, and returns it. It
// returns ErrChallenge if another answer counted meanwhile, and ErrRefused if the
// passkey was removed or has counted further.
func (s *Service) FinishSignIn(ctx context.Context, tx *database.Tx, by access.Actor, a Assertion) (Passkey, error) {
	if a.tenant != by.Tenant {
		return Passkey{}, ErrChallenge
	}
	if err := spendChallenge(ctx, tx, by.Tenant, a.challenge); err != nil {
		return Passkey{}, err
	}
	p, err := usePasskey(ctx, tx, by.Tenant, a)
	if err != nil {
		return Passkey{}, err
	}
	e := p.event("passkey.used")
	e.Detail["purpose"] = a.challenge.purpose
	if a.lower {
		e.Detail["count_went_back"] = true
	}
	return p, audit.Append(tx, by, e)
}

// A challenge waits for an answer.
type challenge struct {
	hash    []byte
	text    string // as the browser sends it back; not stored
	owner   string
	purpose string
	user    string
	rpID    string
	verify  bool
}

// makeChallenge stores c under new random bytes and returns these.
func makeChallenge(ctx context.Context, tx *database.Tx, tenant string, c challenge) (string, error) {
	var b [32]byte
	rand.Read(b[:])
	text := encode(b[:])
	c.hash = hashOf(text)
	return text, insertChallenge(ctx, tx, tenant, c)
}

func hashOf(text string) []byte { h := sha256.Sum256([]byte(text)); return h[:] }

// answered returns the challenge that an answer names, if it is good for that.
func (s *Service) answered(ctx context.Context, tenant string, a Answer, text string) (challenge, error) {
	c, err := findChallenge(ctx, s.DB, tenant, hashOf(text), s.DB.Now())
	if err != nil {
		return challenge{}, err
	}
	if c.owner != a.Owner || c.purpose != a.Purpose || c.rpID != a.RP.ID {
		return challenge{}, ErrChallenge.Because("a challenge for something else")
	}
	c.text = text
	return c, nil
}
