package sso

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/cardea-id/cardea/internal/user"
)

// Limits of what is kept of what a provider says of somebody.
const (
	maxGroups     = 1000
	maxAttributes = 100
	maxValues     = 50
	maxValue      = 1024 // bytes
)

// usualNames are what providers call what we want to know, best first. The long ones are
// of WS-Federation, as Microsoft uses them, and of LDAP (RFC 4519), as others do.
var usualNames = map[string][]string{
	"email":      {"email", "mail", "emailaddress", "email_address", claimsNames + "emailaddress", "urn:oid:0.9.2342.19200300.100.1.3", "urn:oid:1.2.840.113549.1.9.1"},
	"first_name": {"given_name", "first_name", "firstname", "givenname", claimsNames + "givenname", "urn:oid:2.5.4.42"},
	"last_name":  {"family_name", "last_name", "lastname", "surname", "sn", claimsNames + "surname", "urn:oid:2.5.4.4"},
	"username":   {"preferred_username", "username", "upn", "uid", claimsNames + "upn", "urn:oid:0.9.2342.19200300.100.1.1"},
	"groups":     {"groups", "group", "memberof", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups", "http://schemas.xmlsoap.org/claims/group", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1"},
}

// said is what a provider says of somebody, whose word has been verified.
type said struct {
	attributes []samlxml.Attribute
	subject    string
	isAddress  bool // the subject is an address, going by its form
}

// A reading is what a connection makes of what a provider says.
type reading struct {
	profile Profile
	seen    []Seen
	cause   Cause // why it is not enough; empty if it is
	step    Step  // of the cause
}

// read maps attributes to a profile. Only the fields that are named here can be filled,
// whatever attributes are called; roles come from the connection's rules alone.
func (c Connection) read(in said) (out reading) {
	used := map[int]string{}
	take := func(field string) []string {
		i := in.find(field, c.Settings.nameOf(field))
		if i < 0 {
			return nil
		}
		used[i] = field
		return in.attributes[i].Values
	}
	p := Profile{Connection: c.ID, OrganizationID: c.OrganizationID, Label: c.Name, Subject: in.subject, NoSignUp: c.Settings.NoSignUp}
	p.FirstName, p.LastName, p.Username = rp.Label(first(take("first_name"))), rp.Label(first(take("last_name"))), rp.Label(first(take("username")))
	if c.Settings.Attributes["subject"] != "" {
		p.Subject = first(take("subject"))
	}
	emails := take("email")
	if len(emails) == 0 && c.Settings.Attributes["email"] == "" {
		emails = in.addressElsewhere(p.Username)
	}
	p.Groups = cutGroups(take("groups"))
	p.RoleIDs = c.Settings.rolesOf(p.Groups)
	p.Attributes = in.kept()
	out.profile, out.seen = p, in.seen(used)
	out.cause, out.step = out.profile.address(emails)
	if !rp.IsSubject(p.Subject) {
		out.cause, out.step = SubjectMissing, Step{Name: "profile.subject", Expected: "who it is, in at most 255 bytes", Received: "none"}
	}
	return out
}

// address fills in the address of p, or says why it can not.
func (p *Profile) address(emails []string) (Cause, Step) {
	step := Step{Name: "profile.email", Expected: "one e-mail address", Received: "none"}
	emails = slices.DeleteFunc(slices.Clone(emails), func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(emails) == 0 {
		return EmailMissing, step
	}
	for i, e := range emails {
		emails[i] = strings.ToLower(strings.TrimSpace(e))
	}
	if slices.Sort(emails); len(slices.Compact(emails)) > 1 {
		step.Received = "several"
		return EmailAmbiguous, step
	}
	parsed, err := user.ParseEmail(emails[0])
	if err != nil {
		step.Received = mask(emails[0])
		return EmailInvalid, step
	}
	p.Email = parsed
	return "", Step{}
}

// nameOf is the attribute that a field is mapped to; empty for the usual ones.
func (o Settings) nameOf(field string) string {
	if field == "groups" {
		return o.GroupAttribute
	}
	return o.Attributes[field]
}

// find is the place of the attribute for a field, -1 if there is none: the one that is
// named, by its name as it is, or the best of the usual ones.
func (in said) find(field, name string) int {
	is := func(name string, same func(a, b string) bool) int {
		return slices.IndexFunc(in.attributes, func(a samlxml.Attribute) bool { return same(a.Name, name) || same(a.FriendlyName, name) })
	}
	if name != "" {
		return is(name, func(a, b string) bool { return a == b })
	}
	for _, usual := range usualNames[field] {
		if i := is(usual, strings.EqualFold); i >= 0 {
			return i
		}
	}
	return -1
}

// addressElsewhere is an address that stands where one often does, if there is no
// attribute for it: as the subject of SAML, or as the name to sign in with.
func (in said) addressElsewhere(username string) []string {
	if in.isAddress {
		return []string{in.subject}
	}
	if strings.Contains(username, "@") {
		return []string{username}
	}
	return nil
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func cutGroups(groups []string) (out []string) {
	for _, g := range groups {
		if g != "" && len(g) <= maxText && utf8.ValidString(g) && len(out) < maxGroups {
			out = append(out, g)
		}
	}
	return out
}

// rolesOf are the roles that the rules give for groups.
func (o Settings) rolesOf(groups []string) (out []string) {
	for _, r := range o.GroupRules {
		if slices.Contains(groups, r.Group) && !slices.Contains(out, r.RoleID) {
			out = append(out, r.RoleID)
		}
	}
	return out
}

// kept are the attributes in bounds.
func (in said) kept() map[string][]string {
	out := map[string][]string{}
	for _, a := range in.attributes {
		if len(out) >= maxAttributes || len(a.Name) > maxText {
			continue
		}
		for _, v := range a.Values {
			if len(v) <= maxValue && len(out[a.Name]) < maxValues {
				out[a.Name] = append(out[a.Name], v)
			}
		}
	}
	return out
}

func (in said) seen(used map[int]string) (out []Seen) {
	for i, a := range in.attributes {
		if len(out) < maxList {
			out = append(out, Seen{Name: shorten(a.Name), Sample: mask(first(a.Values)), Values: len(a.Values), UsedAs: used[i]})
		}
	}
	return out
}

// mask hides what tells of a person: of an address the part before @ but for a letter,
// of other values all but the first letter.
func mask(value string) string {
	if value == "" {
		return ""
	}
	r, _ := utf8.DecodeRuneInString(value)
	if at := strings.LastIndexByte(value, '@'); at > 0 {
		return string(r) + "•••" + shorten(value[at:])
	}
	return string(r) + "•••"
}

func shorten(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
