package mfa

import (
	"slices"

	"github.com/cardea-id/cardea/internal/tenant"
)

// A Policy says when a second factor is asked for, and which will do. The zero value
// asks whoever has set one up.
type Policy struct {
	Mode  string   // tenant.MFAOff, MFAOptional (also if empty) or MFARequired
	Roles []string // ids of roles whose holders must have one, whatever the mode
	Email bool     // codes by mail will do for whoever has nothing better
	SMS   bool     // codes by text message will do
	// Remember lets people be remembered in a browser.
	Remember bool
}

// PolicyOf is the policy for signing in to an application of a tenant: the tighter of
// the two.
func PolicyOf(t tenant.Tenant, app tenant.Application) Policy {
	m := t.Settings.MFA
	p := Policy{Mode: m.Mode, Roles: m.RequiredForRoles, Email: m.Email, SMS: m.SMS, Remember: !m.NoRemember}
	if app.OAuth.SecondFactor == tenant.MFARequired {
		p.Mode = tenant.MFARequired
	}
	return p
}

// A Person is what a decision needs to know of a user.
type Person struct {
	Enrolled
	Roles    []string // ids
	Passkeys int
	Email    bool // an address that was proved
	Phone    bool // a number that was proved
}

// Shown is what a sign-in has proved so far.
type Shown struct {
	// First is the kind of the first factor: Email, SMS, Passkey, or anything else for
	// one that can not be the second too.
	First string
	// Two says that the first counts as two: a passkey whose device knew its user.
	Two bool
	// Asked says that the application asks for two factors.
	Asked bool
}

// A Decision is what a sign-in needs beside the first factor.
type Decision struct {
	Second bool     // a second factor
	Enroll bool     // which has to be set up first, because there is none
	Must   bool     // whatever the user would like: it can not be done without
	Kinds  []string // that will do, the strongest first
}

// Decide says what is needed. Whoever has an authenticator app is asked for a second
// factor wherever factors are used at all; a passkey alone does not ask, since it is a
// way to sign in as well.
func (p Policy) Decide(who Person, shown Shown) Decision {
	d := Decision{Kinds: p.kinds(who, shown.First), Must: p.Requires(who.Roles)}
	used := p.Mode != tenant.MFAOff
	d.Second = !shown.Two && (d.Must || used && (who.Authenticators > 0 || shown.Asked))
	d.Enroll = d.Second && len(d.Kinds) == 0
	return d
}

// Requires reports whether the holder of these roles must have a second factor.
func (p Policy) Requires(roles []string) bool {
	return p.Mode == tenant.MFARequired || slices.ContainsFunc(roles, func(id string) bool { return slices.Contains(p.Roles, id) })
}

// kinds are the second factors that a user can show. What was the first is none: the
// same mailbox twice proves one thing. A code by mail is for whoever has no other: a
// password can be reset by mail as well, so that one mailbox would be enough.
func (p Policy) kinds(who Person, first string) (out []string) {
	add := func(kind string, ok bool) {
		if ok && kind != first {
			out = append(out, kind)
		}
	}
	add(Passkey, who.Passkeys > 0)
	add(TOTP, who.Authenticators > 0)
	add(SMS, p.SMS && who.Phone)
	add(Email, p.Email && who.Email && who.Passkeys+who.Authenticators == 0)
	add(BackupCode, who.BackupCodes > 0)
	return out
}
