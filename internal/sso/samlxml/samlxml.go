// Package samlxml is the XML of a SAML 2.0 service provider: metadata read and
// written, sign-in requests, responses verified, logout. Everything here is a
// pure function: no database, no clock, no network. Hostile XML ends here.
//
// A response takes this way. Its bytes are bounded, and read token by token into
// a tree; the first DOCTYPE, processing instruction or comment, or name that
// encoding/xml would not write back as it was, ends it. The tree has to have the
// one shape that an honest response has: one assertion, directly under the
// response, signatures directly under what they sign, every ID once. Then the
// signatures are verified against the certificates that the organization stored,
// and only the bytes that were verified are read on, parsed anew. An encrypted
// assertion is decrypted and then takes the same way. At last every field is held
// against what was expected.
//
// An attacker is another user of the same provider, or of another tenant: they
// have genuine responses of their own, and try to have one element verified and
// another read (wrapping), to have a response accepted that was meant for
// somebody else or another time, to bring their own certificate, or to make one
// request cost a second or a gigabyte. Replays are for the caller to refuse: an
// Assertion has an ID and the moment until which it has to be remembered.
//
// Each refusal has exactly one [Cause], and the checks that led there, for the
// trace that an administrator reads.
package samlxml

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The formats of a NameID (SAML core 8.3) that a caller has to know. A transient
// one is new with every sign-in and can not be the key of an identity.
const (
	FormatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	FormatEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	FormatPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	FormatTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	formatEntity      = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
)

// The bindings that are spoken (SAML bindings 3.4 and 3.5).
const (
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

const (
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsXMLEnc    = "http://www.w3.org/2001/04/xmlenc#"
	nsXMLEnc11  = "http://www.w3.org/2009/xmlenc11#"
)

// A Cause is why something was refused. The list is closed: every cause has a
// text in plain words and an advice, in every language.
type Cause string

const (
	// What arrived is not a message that can be looked at.
	CauseTooLarge  Cause = "too_large"
	CauseMalformed Cause = "malformed" // not the XML of a SAML message
	CauseDoctype   Cause = "doctype"
	CauseVersion   Cause = "version" // not SAML 2.0

	// It was put together to have one thing verified and another read.
	CauseWrapping      Cause = "wrapping"
	CauseTwoAssertions Cause = "two_assertions"
	CauseDuplicateID   Cause = "duplicate_id"

	// The provider refused (SAML core 3.2.2.2).
	CauseStatusAuthnFailed      Cause = "status_authn_failed"
	CauseStatusNoPassive        Cause = "status_no_passive"
	CauseStatusNoAuthnContext   Cause = "status_no_authn_context"
	CauseStatusInvalidNameID    Cause = "status_invalid_name_id"
	CauseStatusRequestDenied    Cause = "status_request_denied"
	CauseStatusUnknownPrincipal Cause = "status_unknown_principal"
	CauseStatusRequester        Cause = "status_requester" // it finds fault with our request
	CauseStatusResponder        Cause = "status_responder" // it finds fault with itself
	CauseStatusVersion          Cause = "status_version"
	CauseStatusMissing          Cause = "status_missing"
	CauseStatusOther            Cause = "status_other"

	// Signatures and keys.
	CauseUnsigned           Cause = "unsigned"
	CauseSignature          Cause = "signature"           // it does not verify: altered, or broken
	CauseCertificate        Cause = "certificate"         // signed by a key that the connection does not have
	CauseCertificateExpired Cause = "certificate_expired" // the stored certificate is not valid now
	CauseAlgorithm          Cause = "algorithm"           // SHA-1 and other things that are not accepted
	CauseNotEncrypted       Cause = "not_encrypted"
	CauseEncryptedKey       Cause = "encrypted_key" // not decrypted by any of our keys; never says more

	// Whom it is from and whom it is for.
	CauseIssuer       Cause = "issuer"
	CauseDestination  Cause = "destination"
	CauseRecipient    Cause = "recipient"
	CauseAudience     Cause = "audience"
	CauseInResponseTo Cause = "in_response_to"
	CauseUnsolicited  Cause = "unsolicited"

	// When it holds.
	CauseSkew         Cause = "skew"          // issued in the future, or before it was asked for: the clocks differ
	CauseIssueInstant Cause = "issue_instant" // missing, or no moment
	CauseNotYet       Cause = "not_yet"
	CauseExpired      Cause = "expired"
	CauseConditions   Cause = "conditions" // missing, without a window of time, or one nobody knows

	// What it says.
	CauseNoAssertion  Cause = "no_assertion"
	CauseNoNameID     Cause = "no_nameid"
	CauseNameIDFormat Cause = "nameid_format"
	CauseQualifier    Cause = "qualifier" // a name for another service provider
	CauseConfirmation Cause = "confirmation"
	CauseNoAuthn      Cause = "no_authn"  // nothing says when and how the person signed in
	CauseNotFresh     Cause = "not_fresh" // it signed nobody in anew, although it was told to
	CauseContext      Cause = "context"   // not one of the ways of signing in that were asked for
	CauseAttributes   Cause = "attributes"

	// Metadata.
	CauseMetadataNone        Cause = "metadata_none"        // no identity provider in it
	CauseMetadataSeveral     Cause = "metadata_several"     // more than one
	CauseMetadataEntity      Cause = "metadata_entity"      // the entity ID is missing or too long
	CauseMetadataExpired     Cause = "metadata_expired"     // validUntil has passed
	CauseMetadataEndpoint    Cause = "metadata_endpoint"    // no way to sign in, or an address that is not https
	CauseMetadataCertificate Cause = "metadata_certificate" // none, unreadable, weak, or too many
)

// Causes is the closed list, in the order of the constants.
func Causes() []Cause {
	return []Cause{
		CauseTooLarge, CauseMalformed, CauseDoctype, CauseVersion,
		CauseWrapping, CauseTwoAssertions, CauseDuplicateID,
		CauseStatusAuthnFailed, CauseStatusNoPassive, CauseStatusNoAuthnContext, CauseStatusInvalidNameID, CauseStatusRequestDenied,
		CauseStatusUnknownPrincipal, CauseStatusRequester, CauseStatusResponder, CauseStatusVersion, CauseStatusMissing, CauseStatusOther,
		CauseUnsigned, CauseSignature, CauseCertificate, CauseCertificateExpired, CauseAlgorithm, CauseNotEncrypted, CauseEncryptedKey,
		CauseIssuer, CauseDestination, CauseRecipient, CauseAudience, CauseInResponseTo, CauseUnsolicited,
		CauseSkew, CauseIssueInstant, CauseNotYet, CauseExpired, CauseConditions,
		CauseNoAssertion, CauseNoNameID, CauseNameIDFormat, CauseQualifier, CauseConfirmation, CauseNoAuthn, CauseNotFresh, CauseContext, CauseAttributes,
		CauseMetadataNone, CauseMetadataSeveral, CauseMetadataEntity, CauseMetadataExpired, CauseMetadataEndpoint, CauseMetadataCertificate,
	}
}

// A Check is one thing that was held against what was expected. Received is what
// a stranger sent, cut to 200 bytes: escape it wherever it is shown. Names and
// attributes of people are never in it.
type Check struct {
	Name     string // a stable name such as "response.destination"
	Expected string
	Received string
	OK       bool
}

// A Fault is the refusal of a message or of metadata. The last of its Checks is
// the one that failed. Message is what the provider said in its own words, if it
// answered with a status other than success.
type Fault struct {
	Cause   Cause
	Checks  []Check
	Message string
}

func (f *Fault) Error() string {
	last := f.Checks[len(f.Checks)-1]
	return fmt.Sprintf("saml %s: %s: expected %s, received %q", f.Cause, last.Name, last.Expected, last.Received)
}

// A trace collects the checks of one message.
type trace struct{ checks []Check }

// faults are what checks have received that failed. One that went well has not.
var faults = []string{"none", "several", "another one", "not decrypted", "none, or several", "none, or too many"}

// hold notes a check, and is the refusal if it failed.
func (t *trace) hold(ok bool, cause Cause, name, expected, received string) error {
	if ok && slices.Contains(faults, received) {
		received = ""
	}
	t.checks = append(t.checks, Check{Name: name, Expected: expected, Received: cut(received), OK: ok})
	if ok {
		return nil
	}
	return &Fault{Cause: cause, Checks: t.checks}
}

// refuse notes a check that failed.
func (t *trace) refuse(cause Cause, name, expected, received string) error {
	return t.hold(false, cause, name, expected, received)
}

// is holds a value against the only one that is right. An empty one never is.
func (t *trace) is(cause Cause, name, expected, received string) error {
	return t.hold(received == expected && received != "", cause, name, or(expected, "a value that is not set"), received)
}

// cut bounds what a stranger can put into a trace.
func cut(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// An IdP is what is known of an identity provider: what its metadata said, or
// what an administrator typed. Only these certificates are believed; what a
// message brings of its own is not.
type IdP struct {
	EntityID    string
	SSORedirect string // where sign-in begins; at least one of the two is set
	SSOPost     string
	SLORedirect string // where logout begins; both may be empty
	SLOPost     string
	// Where it takes our answers to its logout requests, if not at the same addresses
	// (SAML metadata 2.2.2).
	SLORedirectAnswer string
	SLOPostAnswer     string
	Certificates      []*x509.Certificate
	WantSigned        bool      // it wants our requests signed
	ValidUntil        time.Time // of the metadata; zero if they say nothing
}

// A Key signs and decrypts for the service provider. It is an RSA key of at
// least 2048 bits: others can not decrypt.
type Key struct {
	Private     crypto.Signer // and, as RSA keys are, a crypto.Decrypter
	Certificate []byte        // DER
}

// SP is the service provider of one connection. The first key signs; all of them
// decrypt and stand in the metadata, so that the next one is known before it is
// used. SLO is empty when logout is not offered.
type SP struct {
	EntityID string
	ACS      string
	SLO      string
	Keys     []Key

	SignRequests bool // for sign-in, whatever the provider wants; stands in the metadata
}

// NewID is an ID for a message: 128 random bits in the form that XML wants.
func NewID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	return "_" + hex.EncodeToString(id)
}
