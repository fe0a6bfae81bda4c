package social

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/user"
)

// usualClaims are where a provider tells what we want to know (OpenID Connect Core,
// section 5.1). A path leads through objects by dots.
var usualClaims = map[string]string{
	"subject": "sub", "email": "email", "email_verified": "email_verified", "name": "name",
	"first_name": "given_name", "last_name": "family_name", "picture": "picture",
}

func parseClaims(text []byte) (rp.Claims, error) {
	in, err := rp.ParseClaims(text)
	return in, ofProvider(err)
}

// maxRaw is how much is kept of what a provider says of somebody, in bytes.
const maxRaw = 16 << 10

// profile is who claims are about. The issuer in them was judged before; those of a
// provider without ID tokens have none.
func (p provider) profile(c Connection, in rp.Claims) (Profile, error) {
	subject := in.Subject(p.claims["subject"])
	if !rp.IsSubject(subject) {
		return Profile{}, ErrUpstream.Because("no subject")
	}
	out := Profile{Connection: c.ID, Provider: c.Provider, Label: c.Name, NoSignUp: c.Settings.NoSignUp, Issuer: p.issuer, Subject: subject}
	if iss := in.Text("iss"); p.openID && rp.IsPattern(p.issuer) {
		out.Issuer = iss
	}
	out.Name, out.FirstName, out.LastName = rp.Label(in.Text(p.claims["name"])), rp.Label(in.Text(p.claims["first_name"])), rp.Label(in.Text(p.claims["last_name"]))
	if out.FirstName == "" && out.LastName == "" {
		out.FirstName, out.LastName, _ = strings.Cut(out.Name, " ")
	}
	if picture := in.Text(p.claims["picture"]); isURL(picture) {
		out.Picture = picture
	}
	// What is no address we would take is none.
	if email, err := user.ParseEmail(in.Text(p.claims["email"])); err == nil {
		out.Email = email
		out.EmailVerified = p.isVerified(c, in) && mayVouch(c.Settings.EmailDomains, email)
	}
	raw, err := json.Marshal(in)
	if err == nil && len(raw) <= maxRaw {
		out.Raw = raw
	}
	return out, err
}

func (p provider) isVerified(c Connection, in rp.Claims) bool {
	if p.vouches != nil {
		return p.vouches(c, in)
	}
	return in.IsTrue(p.claims["email_verified"])
}

// mayVouch reports whether a connection's word counts for an address.
func mayVouch(domains []string, email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return len(domains) == 0 || slices.Contains(domains, domain)
}
