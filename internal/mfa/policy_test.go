package mfa_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/tenant"
)

func TestDecide(t *testing.T) {
	off, optional, required := mfa.Policy{Mode: tenant.MFAOff}, mfa.Policy{}, mfa.Policy{Mode: tenant.MFARequired}
	admins := mfa.Policy{Mode: tenant.MFAOff, Roles: []string{"admin"}}
	sent := mfa.Policy{Mode: tenant.MFARequired, Email: true, SMS: true}
	nothing, app := mfa.Person{}, mfa.Person{Enrolled: mfa.Enrolled{Authenticators: 1, BackupCodes: 3}}
	reachable := mfa.Person{Email: true, Phone: true}
	password := mfa.Shown{First: "password"}
	codes := []string{mfa.TOTP, mfa.BackupCode}
	for name, c := range map[string]struct {
		policy mfa.Policy
		who    mfa.Person
		shown  mfa.Shown
		want   mfa.Decision
	}{
		"off, with nothing":                    {off, nothing, password, mfa.Decision{}},
		"off, with an app":                     {off, app, password, mfa.Decision{Kinds: codes}},
		"off, asked for by the application":    {off, app, mfa.Shown{Asked: true}, mfa.Decision{Kinds: codes}},
		"optional, with nothing":               {optional, nothing, password, mfa.Decision{}},
		"optional, with an app":                {optional, app, password, mfa.Decision{Second: true, Kinds: codes}},
		"optional, with a passkey as well":     {optional, mfa.Person{Passkeys: 1}, password, mfa.Decision{Kinds: []string{mfa.Passkey}}},
		"optional, asked for":                  {optional, nothing, mfa.Shown{Asked: true}, mfa.Decision{Second: true, Enroll: true}},
		"optional, asked for, with a passkey":  {optional, mfa.Person{Passkeys: 1}, mfa.Shown{Asked: true}, mfa.Decision{Second: true, Kinds: []string{mfa.Passkey}}},
		"required, with nothing":               {required, nothing, password, mfa.Decision{Second: true, Enroll: true, Must: true}},
		"required, by a passkey that counts":   {required, app, mfa.Shown{First: mfa.Passkey, Two: true}, mfa.Decision{Must: true, Kinds: codes}},
		"required, by a passkey that does not": {required, mfa.Person{Passkeys: 1}, mfa.Shown{First: mfa.Passkey}, mfa.Decision{Second: true, Enroll: true, Must: true}},
		"required for a role that is held":     {admins, mfa.Person{Roles: []string{"x", "admin"}}, password, mfa.Decision{Second: true, Enroll: true, Must: true}},
		"required for a role that is not":      {admins, mfa.Person{Roles: []string{"x"}}, password, mfa.Decision{}},
		"codes that are sent":                  {sent, reachable, password, mfa.Decision{Second: true, Must: true, Kinds: []string{mfa.SMS, mfa.Email}}},
		"the same mailbox is no second":        {sent, reachable, mfa.Shown{First: mfa.Email}, mfa.Decision{Second: true, Must: true, Kinds: []string{mfa.SMS}}},
		"the same phone is no second":          {sent, mfa.Person{Phone: true}, mfa.Shown{First: mfa.SMS}, mfa.Decision{Second: true, Enroll: true, Must: true}},
		"no mail for who has an app":           {sent, mfa.Person{Enrolled: mfa.Enrolled{Authenticators: 1}, Email: true}, password, mfa.Decision{Second: true, Must: true, Kinds: []string{mfa.TOTP}}},
		"addresses that were not proved":       {sent, nothing, password, mfa.Decision{Second: true, Enroll: true, Must: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.policy.Decide(c.who, c.shown)); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
		})
	}
}

func TestPolicyIsTheTighter(t *testing.T) {
	row := tenant.Tenant{Settings: tenant.Settings{MFA: tenant.MFA{Mode: tenant.MFAOff, RequiredForRoles: []string{"admin"}, SMS: true}}}
	app := tenant.Application{OAuth: tenant.OAuth{SecondFactor: tenant.MFARequired}}
	want := mfa.Policy{Mode: tenant.MFARequired, Roles: []string{"admin"}, SMS: true, Remember: true}
	if diff := cmp.Diff(want, mfa.PolicyOf(row, app)); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	want.Mode = tenant.MFAOff
	if diff := cmp.Diff(want, mfa.PolicyOf(row, tenant.Application{})); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}
