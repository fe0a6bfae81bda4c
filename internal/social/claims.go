package social

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/user"
)

// usualClaims are where a provider tells what we want to know (OpenID Connect Core,
// section 5.1). A path leads through objects by dots.
var usualClaims = map[string]string{
	"subject": "sub", "email": "email", "email_verified": "email_verified", "name": "name",
	"first_name": "given_name", "last_name": "family_name", "picture": "picture",
}

// claims are what a provider says of somebody. Numbers are kept as they are written.
type claims map[string]any

func parseClaims(text []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out claims
	if err := d.Decode(&out); err != nil || out == nil {
		return nil, ErrUpstream.Because("claims are no JSON object: %w", err)
	}
	return out, nil
}

func (c claims) at(path string) any {
	var v any = map[string]any(c)
	for part := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part]
	}
	return v
}

// text is a claim that is a text, else empty.
func (c claims) text(path string) string {
	s, _ := c.at(path).(string)
	return s
}

// isTrue reports whether a claim is true: not "true", not 1.
func (c claims) isTrue(path string) bool {
	b, _ := c.at(path).(bool)
	return b
}

// subject is who it is: a text, or a whole number where a provider counts its users.
func (c claims) subject(path string) string {
	switch v := c.at(path).(type) {
	case string:
		return v
	case json.Number:
		if strings.Trim(v.String(), "0123456789") == "" {
			return v.String()
		}
	}
	return ""
}

// Limits of what is kept of a profile, in bytes.
const (
	maxSubject = 255
	maxName    = 256
	maxRaw     = 16 << 10
)

// profile is who claims are about. The issuer in them was judged before; those of a
// provider without ID tokens have none.
func (p provider) profile(c Connection, in claims) (Profile, error) {
	subject := in.subject(p.claims["subject"])
	if !isSubject(subject) {
		return Profile{}, ErrUpstream.Because("no subject")
	}
	out := Profile{Connection: c.ID, Provider: c.Provider, Label: c.Name, NoSignUp: c.Settings.NoSignUp, Issuer: p.issuer, Subject: subject}
	if iss := in.text("iss"); p.openID && strings.Contains(p.issuer, tenantPart) {
		out.Issuer = iss
	}
	out.Name, out.FirstName, out.LastName = label(in.text(p.claims["name"])), label(in.text(p.claims["first_name"])), label(in.text(p.claims["last_name"]))
	if out.FirstName == "" && out.LastName == "" {
		out.FirstName, out.LastName, _ = strings.Cut(out.Name, " ")
	}
	if picture := in.text(p.claims["picture"]); isURL(picture) {
		out.Picture = picture
	}
	// What is no address we would take is none.
	if email, err := user.ParseEmail(in.text(p.claims["email"])); err == nil {
		out.Email = email
		out.EmailVerified = p.isVerified(c, in) && mayVouch(c.Settings.EmailDomains, email)
	}
	raw, err := json.Marshal(in)
	if err == nil && len(raw) <= maxRaw {
		out.Raw = raw
	}
	return out, err
}

func (p provider) isVerified(c Connection, in claims) bool {
	if p.vouches != nil {
		return p.vouches(c, in)
	}
	return in.isTrue(p.claims["email_verified"])
}

// mayVouch reports whether a connection's word counts for an address.
func mayVouch(domains []string, email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return len(domains) == 0 || slices.Contains(domains, domain)
}

func isSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// label is a name as we keep it: names come from strangers.
func label(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}
