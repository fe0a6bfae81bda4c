package samlxml

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	bearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

	// mostLife is for how long an assertion is good at most, whatever it says: for
	// so long it has to be remembered, and a provider could say forever.
	mostLife = 24 * time.Hour
)

// content reads a verified assertion and holds each of its fields against what
// was expected (SAML profiles 4.1.4.3).
func (v *verification) content(e *etree.Element) (a Assertion, err error) {
	if err := v.is(CauseVersion, "assertion.version", "2.0", attr(e, "Version")); err != nil {
		return a, err
	}
	a.ID, a.Issuer = attr(e, "ID"), v.IdP.EntityID
	if err := v.hold(a.ID != "", CauseMalformed, "assertion.id", "an ID", ""); err != nil {
		return a, err
	}
	if err := v.issued("assertion", e); err != nil {
		return a, err
	}
	if err := v.issuer("assertion", e, v.IdP.EntityID); err != nil {
		return a, err
	}
	for _, read := range []func(*etree.Element, *Assertion) error{v.subject, v.conditions, v.authn, v.attributes} {
		if err := read(e, &a); err != nil {
			return a, err
		}
	}
	issued, _ := moment(attr(e, "IssueInstant")) // it was read before
	if end := issued.Add(mostLife); end.Before(a.NotOnOrAfter) {
		a.NotOnOrAfter = end
	}
	a.NotOnOrAfter = a.NotOnOrAfter.Add(v.Skew)
	return a, v.hold(v.Now.Before(a.NotOnOrAfter), CauseExpired, "assertion.issue_instant", "of the last 24 hours", stamp(issued))
}

// subject reads who it is about, and the proof that they may bear it here.
func (v *verification) subject(e *etree.Element, a *Assertion) error {
	subject := child(e, nsAssertion, "Subject")
	if subject == nil {
		return v.refuse(CauseNoNameID, "subject", "one Subject", "none")
	}
	name, err := v.nameID("subject.name_id", subject)
	if err != nil {
		return err
	}
	value, plain := text(name)
	if err := v.hold(plain && strings.TrimSpace(value) != "", CauseNoNameID, "subject.name_id", "a NameID", textual(value)); err != nil {
		return err
	}
	a.NameID, a.NameQualifier, a.SPNameQualifier = value, attr(name, "NameQualifier"), attr(name, "SPNameQualifier")
	format, has := hasAttr(name, "Format")
	if !has {
		format = FormatUnspecified
	}
	ok := format != "" && (v.NameIDFormat == "" || v.NameIDFormat == format)
	if err := v.hold(ok, CauseNameIDFormat, "subject.name_id.format", or(v.NameIDFormat, "any"), format); err != nil {
		return err
	}
	a.NameIDFormat = format
	if a.SPNameQualifier != "" {
		if err := v.is(CauseQualifier, "subject.name_id.sp_qualifier", v.SP.EntityID, a.SPNameQualifier); err != nil {
			return err
		}
	}
	return v.confirmation(subject, a)
}

// nameID finds the name of a person, plain or encrypted (SAML core 2.2.4), below what was
// verified. Who wrote it is known, so the cipher need not prove it.
func (v *verification) nameID(check string, parent *etree.Element) (*etree.Element, error) {
	plain, encrypted := children(parent, nsAssertion, "NameID"), children(parent, nsAssertion, "EncryptedID")
	if err := v.hold(len(plain)+len(encrypted) == 1, CauseNoNameID, check, "one NameID or EncryptedID", fmt.Sprint(len(plain)+len(encrypted))); err != nil {
		return nil, err
	}
	if len(plain) == 1 {
		return plain[0], nil
	}
	raw, err := v.decrypt(check, encrypted[0], v.SP.Keys, true)
	if err != nil {
		return nil, err
	}
	name, err := v.read(check, raw, false)
	if err != nil {
		return nil, err
	}
	return name, v.hold(named(name, nsAssertion, "NameID"), CauseNoNameID, check, "a NameID inside of the EncryptedID", name.Tag)
}

// confirmation wants exactly one of the method bearer. Others are for services
// that are not browsers.
func (v *verification) confirmation(subject *etree.Element, a *Assertion) error {
	var bearers []*etree.Element
	var received []string
	for _, c := range children(subject, nsAssertion, "SubjectConfirmation") {
		received = append(received, attr(c, "Method"))
		if attr(c, "Method") == bearer {
			bearers = append(bearers, c)
		}
	}
	if err := v.hold(len(bearers) == 1, CauseConfirmation, "confirmation.method", "one "+bearer, strings.Join(received, " ")); err != nil {
		return err
	}
	data := child(bearers[0], nsAssertion, "SubjectConfirmationData")
	if data == nil {
		return v.refuse(CauseConfirmation, "confirmation.data", "one SubjectConfirmationData", "none")
	}
	if err := v.is(CauseRecipient, "confirmation.recipient", v.SP.ACS, attr(data, "Recipient")); err != nil {
		return err
	}
	if err := v.answers("confirmation", data); err != nil {
		return err
	}
	a.InResponseTo = attr(data, "InResponseTo")
	if value, has := hasAttr(data, "NotBefore"); has {
		if err := v.notBefore(CauseConfirmation, "confirmation.not_before", value); err != nil {
			return err
		}
	}
	end, err := v.notOnOrAfter(CauseConfirmation, "confirmation.not_on_or_after", attr(data, "NotOnOrAfter"))
	a.NotOnOrAfter = end
	return err
}

// notOnOrAfter wants a moment that has not come. unreadable is the cause if it
// is missing or none.
func (v *verification) notOnOrAfter(unreadable Cause, name, value string) (time.Time, error) {
	end, err := moment(value)
	if err := v.hold(err == nil, unreadable, name, "a moment", value); err != nil {
		return end, err
	}
	return end, v.hold(v.Now.Add(-v.Skew).Before(end), CauseExpired, name, "after "+stamp(v.Now), value)
}

func (v *verification) notBefore(unreadable Cause, name, value string) error {
	start, err := moment(value)
	if err := v.hold(err == nil, unreadable, name, "a moment", value); err != nil {
		return err
	}
	return v.hold(!start.After(v.Now.Add(v.Skew)), CauseNotYet, name, "not after "+stamp(v.Now), value)
}

// conditions wants a window of time and us as the audience, and refuses
// conditions that it does not know (SAML core 2.5.1).
func (v *verification) conditions(e *etree.Element, a *Assertion) error {
	conditions := child(e, nsAssertion, "Conditions")
	if conditions == nil {
		return v.refuse(CauseConditions, "conditions", "one Conditions", "none")
	}
	if err := v.notBefore(CauseConditions, "conditions.not_before", attr(conditions, "NotBefore")); err != nil {
		return err
	}
	end, err := v.notOnOrAfter(CauseConditions, "conditions.not_on_or_after", attr(conditions, "NotOnOrAfter"))
	if err != nil {
		return err
	}
	if end.Before(a.NotOnOrAfter) {
		a.NotOnOrAfter = end
	}
	restricted := false
	for _, c := range conditions.ChildElements() {
		switch {
		case named(c, nsAssertion, "OneTimeUse"), named(c, nsAssertion, "ProxyRestriction"):
			// Every assertion is good once here, and none is passed on.
		case named(c, nsAssertion, "AudienceRestriction"):
			restricted = true
			if err := v.audience(c); err != nil {
				return err
			}
		default:
			return v.refuse(CauseConditions, "conditions", "conditions that are known", c.Tag)
		}
	}
	return v.hold(restricted, CauseAudience, "conditions.audience", v.SP.EntityID, "none")
}

func (v *verification) audience(restriction *etree.Element) error {
	var audiences []string
	for _, c := range children(restriction, nsAssertion, "Audience") {
		audiences = append(audiences, token(c))
	}
	ok := v.SP.EntityID != "" && slices.Contains(audiences, v.SP.EntityID)
	return v.hold(ok, CauseAudience, "conditions.audience", or(v.SP.EntityID, "a value that is not set"), strings.Join(audiences, " "))
}

// authn reads when and how the person signed in at the provider.
func (v *verification) authn(e *etree.Element, a *Assertion) error {
	statement := child(e, nsAssertion, "AuthnStatement")
	if statement == nil {
		return v.refuse(CauseNoAuthn, "authn", "one AuthnStatement", fmt.Sprint(len(children(e, nsAssertion, "AuthnStatement"))))
	}
	at, err := moment(attr(statement, "AuthnInstant"))
	if err := v.hold(err == nil, CauseNoAuthn, "authn.instant", "a moment", attr(statement, "AuthnInstant")); err != nil {
		return err
	}
	if err := v.hold(!at.After(v.Now.Add(v.Skew)), CauseSkew, "authn.instant", "not after "+stamp(v.Now), stamp(at)); err != nil {
		return err
	}
	if v.ForceAuthn {
		since := v.RequestedAt.Truncate(time.Second)
		if err := v.hold(!at.Before(since.Add(-v.Skew)), CauseNotFresh, "authn.instant", "not before "+stamp(since), stamp(at)); err != nil {
			return err
		}
	}
	a.AuthnInstant, a.SessionIndex = at, attr(statement, "SessionIndex")
	if value, has := hasAttr(statement, "SessionNotOnOrAfter"); has {
		if a.SessionNotOnOrAfter, err = v.notOnOrAfter(CauseNoAuthn, "authn.session_not_on_or_after", value); err != nil {
			return err
		}
	}
	if context := child(statement, nsAssertion, "AuthnContext"); context != nil {
		a.Context = token(child(context, nsAssertion, "AuthnContextClassRef"))
	}
	ok := a.Context != "" && (len(v.Contexts) == 0 || slices.Contains(v.Contexts, a.Context))
	return v.hold(ok, CauseContext, "authn.context", or(strings.Join(v.Contexts, " "), "any"), a.Context)
}

// attributes reads all attributes, as they come.
func (v *verification) attributes(e *etree.Element, a *Assertion) error {
	for _, statement := range children(e, nsAssertion, "AttributeStatement") {
		if err := v.hold(len(statement.ChildElements()) > 0, CauseAttributes, "attributes", "at least one", "none"); err != nil {
			return err
		}
		for _, c := range statement.ChildElements() {
			name := attr(c, "Name")
			if !named(c, nsAssertion, "Attribute") || name == "" {
				return v.refuse(CauseAttributes, "attributes", "an Attribute with a Name", c.Tag)
			}
			values, ok := valuesOf(c)
			if !ok {
				return v.refuse(CauseAttributes, "attributes."+cut(name), "text", "other elements")
			}
			a.Attributes = append(a.Attributes, Attribute{Name: name, FriendlyName: attr(c, "FriendlyName"), Values: values})
		}
	}
	return nil
}

// valuesOf are the texts of an attribute. A NameID as a value, as in
// eduPersonTargetedID, is the text of that.
func valuesOf(attribute *etree.Element) (values []string, ok bool) {
	for _, c := range attribute.ChildElements() {
		if !named(c, nsAssertion, "AttributeValue") {
			return nil, false
		}
		if name := child(c, nsAssertion, "NameID"); name != nil && len(c.ChildElements()) == 1 {
			c = name
		}
		value, plain := text(c)
		if !plain {
			return nil, false
		}
		values = append(values, value)
	}
	return values, true
}

// textual says that there is a text. What it says of a person is not for a trace.
func textual(value string) string {
	if strings.TrimSpace(value) == "" {
		return "one that is empty or has elements in it"
	}
	return "one"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
