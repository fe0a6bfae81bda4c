package passkey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// A Registration asks for a new passkey.
type Registration struct {
	Owner       string // the session that goes on with it
	UserID      string
	Login       string // what the user is called at sign-in
	DisplayName string
	RP          RP
	// Verify says that the authenticator must verify the user, whatever Selection
	// asks the browser for: without, the passkey is good as a second factor only.
	Verify    bool
	Selection Selection
}

// A Selection says what authenticator to ask the browser for (section 5.4.4). The zero
// value is any that can be found without a name.
type Selection struct {
	Attachment         string `json:"authenticatorAttachment,omitempty"`
	RequireResidentKey bool   `json:"requireResidentKey"`
	ResidentKey        string `json:"residentKey"`
	UserVerification   string `json:"userVerification"`
}

// CreationOptions are what navigator.credentials.create takes, in the JSON of section
// 5.4.
type CreationOptions struct {
	RP struct {
		Name string `json:"name"`
		ID   string `json:"id"`
	} `json:"rp"`
	User struct {
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
		ID          string `json:"id" doc:"base64url of the user id as text"`
	} `json:"user"`
	Challenge   string       `json:"challenge" doc:"base64url of 32 bytes"`
	Parameters  []Parameter  `json:"pubKeyCredParams"`
	Timeout     int          `json:"timeout" doc:"Milliseconds"`
	Exclude     []Descriptor `json:"excludeCredentials,omitempty" doc:"Passkeys that the user has already"`
	Selection   Selection    `json:"authenticatorSelection"`
	Attestation string       `json:"attestation"`
	Extensions  Extensions   `json:"extensions"`
}

// A Parameter is an algorithm that a passkey may have.
type Parameter struct {
	Type      string `json:"type"`
	Algorithm int    `json:"alg" doc:"COSE algorithm"`
}

// Extensions are those that are asked for. Outputs of others are refused.
type Extensions struct {
	// CredentialProperties is answered by some password managers unasked.
	CredentialProperties bool `json:"credProps"`
}

// algorithms are those of the SSOJet contract, in its order.
var algorithms = []int{-7, -35, -36, -257, -258, -259, -37, -38, -39, -8}

// BeginRegistration stores a challenge and returns what the browser is to be asked. It
// returns ErrTooMany.
func (s *Service) BeginRegistration(ctx context.Context, tx *database.Tx, by access.Actor, r Registration) (out CreationOptions, err error) {
	owned, err := listPasskeys(ctx, tx, by.Tenant, r.UserID)
	if err != nil {
		return out, err
	}
	if len(owned) >= MaxPerUser {
		return out, ErrTooMany
	}
	if r.Selection == (Selection{}) {
		r.Selection = Selection{RequireResidentKey: true, ResidentKey: "required", UserVerification: verification(r.Verify)}
	}
	out.RP.Name, out.RP.ID = r.RP.Name, r.RP.ID
	out.User.Name, out.User.DisplayName, out.User.ID = r.Login, r.DisplayName, encode([]byte(r.UserID))
	for _, alg := range algorithms {
		out.Parameters = append(out.Parameters, Parameter{"public-key", alg})
	}
	out.Timeout, out.Exclude, out.Selection = int(ChallengeLifetime.Milliseconds()), exclude(owned, r.RP.ID), r.Selection
	out.Attestation, out.Extensions.CredentialProperties = "none", true
	out.Challenge, err = makeChallenge(ctx, tx, by.Tenant, challenge{owner: r.Owner, purpose: Register, user: r.UserID, rpID: r.RP.ID, verify: r.Verify})
	return out, err
}

// exclude names all passkeys of an RP ID: an authenticator makes no second one.
func exclude(list []Passkey, rpID string) []Descriptor {
	for i := range list {
		list[i].HeldAt = time.Time{}
	}
	return describe(list, rpID)
}

func verification(required bool) string {
	if required {
		return "required"
	}
	return "preferred"
}

// An Answer is what a browser made of the options.
type Answer struct {
	Owner   string // as the challenge was made for
	Purpose string
	RP      RP
	// Credential is the PublicKeyCredential in JSON (section 5.1).
	Credential []byte
	// TakeLowerCount lets an answer through whose counter went back. It stands in the
	// log either way: there may be a copy of the key.
	TakeLowerCount bool
}

// An Attestation is an answer to BeginRegistration that was judged and is good.
type Attestation struct {
	Passkey   Passkey // without an id yet
	tenant    string
	challenge challenge
}

// CheckRegistration judges an answer to BeginRegistration (section 7.1). It opens a
// transaction of its own if the answer is not good: the challenge is gone then. It
// returns ErrChallenge, ErrRefused or ErrUnverified.
func (s *Service) CheckRegistration(ctx context.Context, by access.Actor, a Answer) (Attestation, error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(a.Credential)
	if err != nil {
		return Attestation{}, ErrRefused.Because("parse: %w", err)
	}
	a.Purpose = Register
	c, err := s.answered(ctx, by.Tenant, a, parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return Attestation{}, err
	}
	p := newPasskey(c, parsed)
	if err := c.attested(a, parsed); err != nil {
		return Attestation{}, s.refuse(ctx, by, c, p, err)
	}
	return Attestation{Passkey: p, tenant: by.Tenant, challenge: c}, nil
}

// attested reports what is wrong with a new credential.
func (c challenge) attested(a Answer, parsed *protocol.ParsedCredentialCreationData) error {
	client, data := parsed.Response.CollectedClientData, parsed.Response.AttestationObject.AuthData
	if err := a.ofOrigin(client); err != nil {
		return err
	}
	if n := len(data.AttData.CredentialID); n == 0 || n > maxCredentialID {
		return ErrRefused.Because("credential id of %d bytes", n)
	}
	params := make([]protocol.CredentialParameter, len(algorithms))
	for i, alg := range algorithms {
		params[i] = protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.COSEAlgorithmIdentifier(alg)}
	}
	_, err := parsed.Verify(c.text, c.rpID, a.RP.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, false, true, nil, params, protocol.AttestationPolicy{}, protocol.SignaturePolicy{})
	if err != nil {
		return ErrRefused.Because("%w", err)
	}
	if _, err := webauthncose.ParsePublicKey(data.AttData.CredentialPublicKey); err != nil {
		return ErrRefused.Because("public key: %w", err)
	}
	asked := protocol.SessionExtensions{Requested: []string{protocol.ExtensionCredProps}}
	if err := parsed.ClientExtensionResults.Verify(asked, protocol.CreateCeremony, protocol.UnsolicitedOutputPolicyReject); err != nil {
		return ErrRefused.Because("%w", err)
	}
	if err := data.Ext.Verify(asked, protocol.CreateCeremony); err != nil {
		return ErrRefused.Because("%w", err)
	}
	if data.Flags.HasBackupState() && !data.Flags.HasBackupEligible() {
		return ErrRefused.Because("backed up, but not eligible")
	}
	if c.verify && !data.Flags.HasUserVerified() {
		return ErrUnverified
	}
	return nil
}

// ofOrigin compares the whole origin, byte by byte: its scheme and its port are part
// of it, and a browser writes it in one way.
func (a Answer) ofOrigin(client protocol.CollectedClientData) error {
	if !slices.Contains(a.RP.Origins, client.Origin) {
		return ErrRefused.Because("origin %q", client.Origin)
	}
	if client.CrossOrigin || client.TopOrigin != "" {
		return ErrRefused.Because("within a page of another origin %q", client.TopOrigin)
	}
	return nil
}

func newPasskey(c challenge, parsed *protocol.ParsedCredentialCreationData) Passkey {
	data := parsed.Response.AttestationObject.AuthData
	p := Passkey{
		UserID: c.user, CredentialID: data.AttData.CredentialID, PublicKey: data.AttData.CredentialPublicKey, RPID: c.rpID, AAGUID: data.AttData.AAGUID,
		Attestation: parsed.Response.AttestationObject.Format, SignCount: data.Counter, BackupEligible: data.Flags.HasBackupEligible(), BackupState: data.Flags.HasBackupState(),
		Verified: data.Flags.HasUserVerified(),
	}
	for _, t := range parsed.Response.Transports {
		if isTransport(string(t)) && !slices.Contains(p.Transports, string(t)) && len(p.Transports) < 8 {
			p.Transports = append(p.Transports, string(t))
		}
	}
	return p
}

// isTransport reports whether t can be the name of one. Browsers know more of them
// than any list, and want back what they told.
func isTransport(t string) bool {
	return t != "" && len(t) <= 32 && !strings.ContainsFunc(t, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })
}

// FinishRegistration keeps the passkey and uses the challenge up. It returns
// ErrChallenge if another answer did meanwhile, ErrExists for a credential that
// somebody has registered, and ErrTooMany.
func (s *Service) FinishRegistration(ctx context.Context, tx *database.Tx, by access.Actor, a Attestation) (Passkey, error) {
	if a.tenant != by.Tenant {
		return Passkey{}, ErrChallenge
	}
	if err := spendChallenge(ctx, tx, by.Tenant, a.challenge); err != nil {
		return Passkey{}, err
	}
	p := a.Passkey
	p.ID, p.CreatedAt = tx.NewID(), tx.Now
	if err := insertPasskey(ctx, tx, by.Tenant, p); err != nil {
		return Passkey{}, err
	}
	n, err := countPasskeys(ctx, tx, by.Tenant, p.UserID)
	if err != nil {
		return Passkey{}, err
	}
	if n > MaxPerUser {
		return Passkey{}, ErrTooMany
	}
	return p, audit.Append(tx, by, p.event("passkey.added"))
}

// refuse notes an answer that is not good and uses its challenge up, and returns why.
func (s *Service) refuse(ctx context.Context, by access.Actor, c challenge, p Passkey, why error) error {
	e := p.event("passkey.used")
	if c.purpose == Register {
		e = p.event("passkey.added")
	}
	e.Result, e.Reason = audit.Failure, reasonOf(why)
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := spendChallenge(ctx, tx, by.Tenant, c); err != nil {
			return err
		}
		return audit.Append(tx, by, e)
	})
	if err != nil {
		return fmt.Errorf("refuse a passkey: %w", err)
	}
	return why
}
