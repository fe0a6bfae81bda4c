package samlxml

import (
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Expect is what a response is held against.
type Expect struct {
	SP               SP
	IdP              IdP
	RequestID        string    // of the request that it has to answer; empty: it answers none
	RequestedAt      time.Time // when that was made; zero if it is not known
	AllowUnsolicited bool      // with an empty RequestID, accept what nobody asked for
	Now              time.Time
	Skew             time.Duration // that clocks may differ by: 0 to 3 minutes
	ForceAuthn       bool          // the request wanted a new sign-in; RequestedAt says since when
	Contexts         []string      // ways of signing in that are good enough; empty: any
	NameIDFormat     string        // the only format accepted; empty: any

	// One signature is always required, over the response or over the assertion.
	// These want that very one; both may be set.
	RequireResponseSigned  bool
	RequireAssertionSigned bool
	RequireEncrypted       bool
}

// An Assertion is what a provider says about a person, verified.
type Assertion struct {
	ID              string // remember it until NotOnOrAfter: it is good once
	Issuer          string
	NameID          string
	NameIDFormat    string // FormatUnspecified if it had none
	NameQualifier   string
	SPNameQualifier string
	SessionIndex    string
	Context         string // how the person signed in (AuthnContextClassRef)
	AuthnInstant    time.Time
	NotOnOrAfter    time.Time // from here on it is refused, the skew included
	// SessionNotOnOrAfter is when the provider wants the session to have ended;
	// zero if it does not say.
	SessionNotOnOrAfter time.Time
	InResponseTo        string // empty if nobody asked
	Attributes          []Attribute
}

// An Attribute has its values in the order in which they came. Names may repeat.
type Attribute struct {
	Name         string
	FriendlyName string
	Values       []string
}

// Verify reads a response (the XML itself, not its Base64). The checks are those
// that were made, in order, also when the response was accepted. The error is a
// [*Fault] with the same checks.
func Verify(raw []byte, e Expect) (Assertion, []Check, error) {
	e.Skew = bounded(e.Skew)
	v := verification{Expect: e, trace: &trace{}}
	a, err := v.response(raw)
	if err != nil {
		return Assertion{}, v.checks, err
	}
	return a, v.checks, nil
}

// bounded is a skew of 0 to 3 minutes: with more, what is over would be good
// for too long.
func bounded(skew time.Duration) time.Duration { return min(max(skew, 0), 3*time.Minute) }

// InResponseTo is the request that a response says it answers, empty if it names
// none. Nothing is verified: it serves to look the request up.
func InResponseTo(raw []byte) (string, error) {
	t := &trace{}
	root, err := t.read("response", raw, false)
	if err != nil {
		return "", err
	}
	return attr(root, "InResponseTo"), nil
}

// A verification is one response under way.
type verification struct {
	Expect
	*trace
}

func (v *verification) response(raw []byte) (Assertion, error) {
	root, err := v.read("response", raw, false)
	if err != nil {
		return Assertion{}, err
	}
	if err := v.hold(named(root, nsProtocol, "Response"), CauseMalformed, "response.root", "Response of SAML 2.0", root.Tag); err != nil {
		return Assertion{}, err
	}
	if err := v.shape(root); err != nil {
		return Assertion{}, err
	}
	// From here on, base is what the envelope says: the verified bytes if it is
	// signed. If it is not, what it says can only be a reason to refuse.
	base, envelope := root, false
	if v.RequireResponseSigned || len(children(root, nsSignature, "Signature")) > 0 {
		if base, err = v.signed("response", root, v.IdP.Certificates, v.Now); err != nil {
			return Assertion{}, err
		}
		envelope = true
	}
	if err := v.envelope(base); err != nil {
		return Assertion{}, err
	}
	assertion, err := v.assertion(root, base, envelope)
	if err != nil {
		return Assertion{}, err
	}
	return v.content(assertion)
}

// shape refuses what no provider sends and what attacks are made of, before any
// signature is looked at: a second assertion anywhere, a message in a message,
// a signature that is not directly under what it signs, an ID twice.
func (v *verification) shape(root *etree.Element) error {
	if err := v.is(CauseVersion, "response.version", "2.0", attr(root, "Version")); err != nil {
		return err
	}
	allowed := " Issuer Signature Extensions Status Assertion EncryptedAssertion "
	seen := map[string]bool{}
	for _, c := range root.ChildElements() {
		if !strings.Contains(allowed, " "+c.Tag+" ") || seen[c.Tag] && !isAssertion(c) {
			return v.refuse(CauseMalformed, "response.form", "the elements of a Response, each once", c.Tag)
		}
		seen[c.Tag] = true
	}
	if err := v.unique("response", root); err != nil {
		return err
	}
	direct := append(children(root, nsAssertion, "Assertion"), children(root, nsAssertion, "EncryptedAssertion")...)
	within := count(root, isAssertion)
	if within > 1 {
		return v.refuse(CauseTwoAssertions, "response.assertions", "one assertion", "several")
	}
	if within != len(direct) || count(root, isResponse) != 1 {
		return v.refuse(CauseWrapping, "response.form", "the assertion directly under the response", "elsewhere")
	}
	if err := v.signatures("response", root, direct); err != nil {
		return err
	}
	if err := v.status(root); err != nil {
		return err
	}
	return v.hold(len(direct) == 1, CauseNoAssertion, "response.assertions", "one assertion", "none")
}

func isAssertion(e *etree.Element) bool { return e.Tag == "Assertion" || e.Tag == "EncryptedAssertion" }
func isResponse(e *etree.Element) bool  { return e.Tag == "Response" }

func count(root *etree.Element, counts func(*etree.Element) bool) (n int) {
	_ = walk(root, func(e *etree.Element) error { // visiting never fails here
		if counts(e) {
			n++
		}
		return nil
	})
	return n
}

// unique refuses an ID that is there twice, whatever its letters' case, and
// prefixes that nobody declared.
func (t *trace) unique(name string, root *etree.Element) error {
	seen := map[string]bool{}
	return walk(root, func(e *etree.Element) error {
		if e.Space != "" && namespace(e) == "" {
			return t.refuse(CauseMalformed, name+".namespaces", "declared prefixes", e.Space)
		}
		for _, a := range e.Attr {
			if a.Space != "" || !strings.EqualFold(a.Key, "ID") {
				continue
			}
			if seen[a.Value] {
				return t.refuse(CauseDuplicateID, name+".ids", "every ID once", a.Value)
			}
			seen[a.Value] = true
		}
		return nil
	})
}

// signatures refuses a signature that is neither directly under the root nor
// under one of the others.
func (t *trace) signatures(name string, root *etree.Element, others []*etree.Element) error {
	return walk(root, func(e *etree.Element) error {
		if e.Tag != "Signature" || e.Parent() == root {
			return nil
		}
		for _, other := range others {
			if e.Parent() == other && other.Tag == "Assertion" {
				return nil
			}
		}
		return t.refuse(CauseWrapping, name+".form", "signatures directly under what they sign", "one elsewhere")
	})
}

// statuses are the second codes that have a cause of their own.
var statuses = map[string]Cause{
	"AuthnFailed":              CauseStatusAuthnFailed,
	"NoPassive":                CauseStatusNoPassive,
	"NoAuthnContext":           CauseStatusNoAuthnContext,
	"InvalidNameIDPolicy":      CauseStatusInvalidNameID,
	"RequestDenied":            CauseStatusRequestDenied,
	"UnknownPrincipal":         CauseStatusUnknownPrincipal,
	"RequestVersionDeprecated": CauseStatusVersion, "RequestVersionTooHigh": CauseStatusVersion, "RequestVersionTooLow": CauseStatusVersion,
	"Requester": CauseStatusRequester, "Responder": CauseStatusResponder, "VersionMismatch": CauseStatusVersion,
}

const statusPrefix = "urn:oasis:names:tc:SAML:2.0:status:"

// status refuses all but success. Providers seldom sign what they refuse, and
// nobody gains anything by it, so it is read before signatures.
func (t *trace) status(root *etree.Element) error {
	code := statusCode(root)
	if code == nil || attr(code, "Value") == "" {
		return t.refuse(CauseStatusMissing, "response.status", statusPrefix+"Success", "none")
	}
	value := attr(code, "Value")
	if value == statusPrefix+"Success" {
		return t.hold(true, "", "response.status", statusPrefix+"Success", value)
	}
	second := ""
	if inner := child(code, nsProtocol, "StatusCode"); inner != nil {
		second = attr(inner, "Value")
	}
	cause := CauseStatusOther
	for _, v := range []string{value, second} {
		if c, ok := statuses[strings.TrimPrefix(v, statusPrefix)]; ok && strings.HasPrefix(v, statusPrefix) {
			cause = c
		}
	}
	message := token(child(child(root, nsProtocol, "Status"), nsProtocol, "StatusMessage"))
	_ = t.refuse(cause, "response.status", statusPrefix+"Success", strings.TrimSpace(value+" "+second)) // noted; the message comes with it
	return &Fault{Cause: cause, Checks: t.checks, Message: cut(message)}
}

func statusCode(root *etree.Element) *etree.Element {
	status := child(root, nsProtocol, "Status")
	if status == nil {
		return nil
	}
	return child(status, nsProtocol, "StatusCode")
}

// envelope holds what the response itself says against what was expected.
func (v *verification) envelope(base *etree.Element) error {
	if err := v.hold(attr(base, "ID") != "", CauseMalformed, "response.id", "an ID", ""); err != nil {
		return err
	}
	if err := v.issued("response", base); err != nil {
		return err
	}
	if err := v.issuer("response", base, v.IdP.EntityID); err != nil {
		return err
	}
	if err := v.is(CauseDestination, "response.destination", v.SP.ACS, attr(base, "Destination")); err != nil {
		return err
	}
	return v.answers("response", base)
}

// answers holds InResponseTo against the request.
func (v *verification) answers(name string, e *etree.Element) error {
	value, has := hasAttr(e, "InResponseTo")
	if v.RequestID != "" {
		return v.is(CauseInResponseTo, name+".in_response_to", v.RequestID, value)
	}
	if err := v.hold(!has, CauseInResponseTo, name+".in_response_to", "nothing, or a request that is under way", value); err != nil {
		return err
	}
	return v.hold(v.AllowUnsolicited, CauseUnsolicited, name+".in_response_to", unless(v.AllowUnsolicited, "an answer to a request"), "no request")
}

// unless is what is expected, if not anything will do.
func unless(anything bool, expected string) string {
	if anything {
		return "any"
	}
	return expected
}

// issued holds the moment of issue against the clock and the request.
func (v *verification) issued(name string, e *etree.Element) error {
	value := attr(e, "IssueInstant")
	at, err := moment(value)
	if err := v.hold(err == nil, CauseIssueInstant, name+".issue_instant", "a moment", value); err != nil {
		return err
	}
	if err := v.hold(!at.After(v.Now.Add(v.Skew)), CauseSkew, name+".issue_instant", "not after "+stamp(v.Now), value); err != nil {
		return err
	}
	if v.RequestedAt.IsZero() {
		return nil
	}
	since := v.RequestedAt.Truncate(time.Second)
	return v.hold(!at.Before(since.Add(-v.Skew)), CauseSkew, name+".issue_instant", "not before the request at "+stamp(since), value)
}

// issuer holds the Issuer against the entity ID of the provider.
func (t *trace) issuer(name string, e *etree.Element, want string) error {
	issuer := child(e, nsAssertion, "Issuer")
	if issuer == nil {
		return t.refuse(CauseIssuer, name+".issuer", want, "none")
	}
	if format, has := hasAttr(issuer, "Format"); has && format != formatEntity {
		return t.refuse(CauseIssuer, name+".issuer.format", formatEntity, format)
	}
	return t.is(CauseIssuer, name+".issuer", want, token(issuer))
}

// assertion finds the assertion that may be believed: by its own signature, or
// by that of the response around it. One that is signed has to verify in any case.
func (v *verification) assertion(root, base *etree.Element, envelope bool) (*etree.Element, error) {
	original, inBase := child(root, nsAssertion, "Assertion"), child(base, nsAssertion, "Assertion")
	if encrypted := child(base, nsAssertion, "EncryptedAssertion"); encrypted != nil {
		opened, err := v.open(encrypted, envelope)
		if err != nil {
			return nil, err
		}
		original, inBase = opened, opened
	} else if err := v.hold(!v.RequireEncrypted, CauseNotEncrypted, "assertion.encrypted", unless(!v.RequireEncrypted, "an encrypted assertion"), "a plain one"); err != nil {
		return nil, err
	}
	if original == nil || inBase == nil {
		return nil, v.refuse(CauseWrapping, "response.form", "the assertion under the signature", "elsewhere")
	}
	if len(children(original, nsSignature, "Signature")) == 0 && envelope && !v.RequireAssertionSigned {
		return inBase, nil
	}
	verified, err := v.signed("assertion", original, v.IdP.Certificates, v.Now)
	if err != nil {
		return nil, err
	}
	return verified, v.is(CauseWrapping, "assertion.id", attr(inBase, "ID"), attr(verified, "ID"))
}

// open decrypts an assertion and refuses what is not the shape of one.
func (v *verification) open(encrypted *etree.Element, envelope bool) (*etree.Element, error) {
	plain, err := v.decrypt("assertion", encrypted, v.SP.Keys, envelope)
	if err != nil {
		return nil, err
	}
	root, err := v.read("assertion", plain, false)
	if err != nil {
		return nil, err
	}
	if err := v.hold(named(root, nsAssertion, "Assertion"), CauseMalformed, "assertion.root", "an Assertion", root.Tag); err != nil {
		return nil, err
	}
	if err := v.hold(count(root, isAssertion) == 1, CauseTwoAssertions, "assertion.assertions", "one assertion", "several"); err != nil {
		return nil, err
	}
	if err := v.unique("assertion", root); err != nil {
		return nil, err
	}
	return root, v.signatures("assertion", root, nil)
}
