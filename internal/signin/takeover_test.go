package signin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Accounts that others made, or were in, before their owner came: lines 1, 3 and 5 of C1.

// identities are the user's at providers of organizations.
func (b *bench) identities(t *testing.T, id string) []sso.Identity {
	t.Helper()
	list, err := b.SSO.Identities(t.Context(), b.DB, b.Demo.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// byCode signs in by the code of a mail, around the sign-in of any organization.
func (b *bench) byCode(t *testing.T, email string) apptest.Page {
	t.Helper()
	b.Clock.Advance(time.Hour) // until another mail is sent
	p := b.Submit(t, b.Get(t, "/signin?sso=no"), "/signin", "identifier", email)
	return b.Submit(t, p, "/signin/code", "code", b.Code(t, email))
}

// An organization's provider shows somebody with an address that is not the organization's.
// When the owner of the address comes, the provider is out.
func TestAnUnprovedAccountIsWhoseAddressItIs(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.spa(t)
		evil := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
		mallory := b.another()
		codeOf(t, mallory.byButton(t, evil))
		u, _ := b.user(t, ann)
		if u.EmailVerified || len(b.identities(t, u.ID)) != 1 {
			t.Fatalf("made by the provider: %+v", u)
		}
		phone := newPhone()
		b.Clock.Advance(time.Minute)
		touch(t, mallory.Browser, mallory.Get(t, passkeysPage), passkeysPage+"/add", phone)
		hash, err := b.Hasher.Hash(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, false)
		})
		b.byCode(t, ann)
		b.wantIn(t, true)
		if now, _ := b.user(t, ann); now.ID != u.ID || !now.EmailVerified {
			t.Fatalf("the owner is %+v", now)
		}
		mallory.wantIn(t, false)
		again := b.another()
		again.byButton(t, evil).WantText(t, "switched off until you confirm it")
		again.wantIn(t, false)
		again.Submit(t, again.passwordPage(t, ann), "/signin/password", "password", secret).Want(t, http.StatusUnauthorized)
		touch(t, again.Browser, again.Get(t, "/signin"), "/signin/passkey", phone)
		again.wantIn(t, false)

		// If it was the owner's own, they say so.
		p := b.Get(t, "/account/linked").WantText(t, "Acme SSO", "Switched off")
		b.Submit(t, p, "/account/linked/mine").WantText(t, "The linked account works again")
		codeOf(t, again.byButton(t, evil))
		b.Submit(t, b.Get(t, "/account/linked"), "/account/linked/remove").WantText(t, "The account is unlinked")
		if left := b.identities(t, u.ID); len(left) != 0 {
			t.Errorf("left is %+v", left)
		}
	})
}

// An account that nobody was in keeps what an administrator gave it.
func TestTheFirstProofOfAnUnusedAccountTakesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.byCode(t, ann)
		again := b.another()
		again.byPassword(t, ann)
		again.wantIn(t, true)
	})
}

// Who is shown by a provider and stops before they are in has been in the account no less:
// their identity is in it, and an attempt that only lacks a second factor.
func TestWhoStoppedOnTheWayInIsOutAfterTheFirstProof(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		evil := b.enterprise(t, org.Organization{AllowOutside: true, Policy: org.Policy{MFA: org.MFARequired}}, false, map[string]any{"email": ann})
		mallory, again := b.another(), b.another()
		b.spa(t)
		waiting := mallory.byButton(t, evil).WantText(t, "Set up two-step")
		b.byCode(t, ann)
		b.wantIn(t, true)
		again.byButton(t, evil).WantText(t, "switched off until you confirm it")
		again.wantIn(t, false)
		if p := mallory.Get(t, waiting.URL.String()); strings.Contains(p.Text(), "Set up two-step") {
			t.Errorf("the attempt goes on: %s", p.Text())
		}
		mallory.wantIn(t, false)
	})
}

// What somebody has set up in an account for an address that is not theirs does not keep
// its owner out, and brings them in no more: whatever it is, and whichever way the owner
// proves the address.
func TestTheFirstProofTakesWhatKeepsTheOwnerOut(t *testing.T) {
	const chosen = "quite another long phrase"
	for name, comes := range map[string]func(t *testing.T, b *bench){
		"by a code": func(t *testing.T, b *bench) { b.byCode(t, ann) },
		"by a link": func(t *testing.T, b *bench) {
			waiting, phone := b.Submit(t, b.Get(t, "/signin?sso=no"), "/signin", "identifier", ann), b.another()
			phone.Submit(t, phone.Get(t, b.Link(t, ann)), "/signin/link", "number", numberOn(t, waiting))
			b.Submit(t, waiting, "/signin/finish")
		},
		"by a reset": func(t *testing.T, b *bench) {
			b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
			b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/reset", "password", chosen)
			b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", chosen)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.spa(t)
				policy(t, b.World, tenant.MFA{SMS: true}, func(s *tenant.SignIn) { s.SMS = true })
				evil := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
				mallory := b.another()
				codeOf(t, mallory.byButton(t, evil))
				u, _ := b.user(t, ann)
				phone := newPhone()
				b.Clock.Advance(time.Minute)
				touch(t, mallory.Browser, mallory.Get(t, passkeysPage), passkeysPage+"/add", phone).WantText(t, "Your passkey is ready")
				p := mallory.Submit(t, mallory.Get(t, "/account/phone"), "/account/phone", "address", annPhone)
				mallory.Submit(t, p, "/code", "code", b.Code(t, annPhone)).WantText(t, annPhone)
				app, codes := (&account{w: b.World, id: u.ID, mail: ann, Browser: mallory.Browser}).withApp(t)
				remembered := b.another()
				stop := func(b *bench, way string) apptest.Page {
					return b.Get(t, "/signin/second?way="+way+"&state="+b.byButton(t, evil).URL.Query().Get("state"))
				}
				remembered.Submit(t, stop(remembered, mfa.TOTP), "/signin/second", "code", otp(b.World, app), "remember", "1")
				remembered.wantIn(t, true)
				waiting, other := b.another(), b.another()
				byApp, byBackup := stop(waiting, mfa.TOTP), stop(other, mfa.BackupCode)

				b.Clock.Advance(time.Hour)
				comes(t, b)
				b.wantIn(t, true)
				if left, err := b.MFA.Enrolled(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || left != (mfa.Enrolled{}) {
					t.Errorf("left %+v, %v", left, err)
				}
				if left, err := b.MFA.Devices(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || len(left) != 0 {
					t.Errorf("remembered %+v, %v", left, err)
				}
				mallory.wantIn(t, false)
				remembered.wantIn(t, false)
				remembered.byButton(t, evil).WantText(t, "switched off until you confirm it")
				remembered.wantIn(t, false)
				waiting.Submit(t, byApp, "/signin/second", "code", otp(b.World, app))
				waiting.wantIn(t, false)
				other.Submit(t, byBackup, "/signin/second", "code", codes[0])
				other.wantIn(t, false)
				again := b.another()
				touch(t, again.Browser, again.Get(t, "/signin"), "/signin/passkey", phone)
				again.wantIn(t, false)
				again.Submit(t, again.identify(t, annPhone), "/signin/code", "code", b.Code(t, annPhone)).Want(t, http.StatusUnauthorized)
				again.wantIn(t, false)
			})
		})
	}
}

// Whoever is in an account for an address that is not theirs does not make themselves
// somebody with a password, whose second factor would stay.
func TestAnUnprovedAccountGetsNoFirstPassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.spa(t)
		evil := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
		mallory := b.another()
		codeOf(t, mallory.byButton(t, evil))
		u, _ := b.user(t, ann)
		mallory.Submit(t, mallory.Get(t, "/account/password"), "/account/password", "password", goodPass).
			Want(t, http.StatusForbidden).WantText(t, "Confirm the e-mail address of this account first")
		(&account{w: b.World, id: u.ID, mail: ann, Browser: mallory.Browser}).withApp(t)
		b.byCode(t, ann)
		b.wantIn(t, true)
		mallory.wantIn(t, false)
	})
}

// Whoever set up a second factor need never have been in.
func TestTheFirstProofOfAnUnusedAccountTakesSecondFactors(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		authenticator(t, b.World, u.ID)
		b.byCode(t, ann)
		b.wantIn(t, true)
	})
}

// Whoever has the mailbox of an account does not get rid of a second factor that is not
// younger than the address, nor of that of somebody who holds something in the tenant or
// has been in with a password.
func TestTheFirstProofAsksForTheSecondFactor(t *testing.T) {
	change := func(t *testing.T, b *bench, id string, c user.Change) {
		t.Helper()
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), id, c)
			return err
		})
	}
	for name, owner := range map[string]func(t *testing.T, b *bench) mfa.Enrollment{
		"of somebody with a password": func(t *testing.T, b *bench) mfa.Enrollment {
			u := b.person(t, ann)
			b.another().byPassword(t, ann)
			return authenticator(t, b.World, u.ID)
		},
		"of an administrator": func(t *testing.T, b *bench) mfa.Enrollment {
			u := b.person(t, ann)
			change(t, b, u.ID, user.Change{RoleIDs: &[]string{b.Demo.Roles["developer"].ID}})
			return authenticator(t, b.World, u.ID)
		},
		"older than the address": func(t *testing.T, b *bench) mfa.Enrollment {
			u := b.person(t, "ann.before@example.com")
			app := authenticator(t, b.World, u.ID)
			b.Clock.Advance(time.Minute)
			change(t, b, u.ID, user.Change{Email: new(ann)})
			return app
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				app := owner(t, b)
				old := b.another()
				old.Submit(t, old.byPassword(t, ann), "/signin/second", "code", otp(b.World, app))
				old.wantIn(t, true)
				p := b.byCode(t, ann).WantText(t, "authenticator app")
				b.wantIn(t, false)
				b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
				b.wantIn(t, true)
				old.wantIn(t, false)
			})
		})
	}
}

// The organization that has proved the domain takes the account of its member over from the
// provider of another.
func TestAProvedOrganizationTakesTheKeysOfOthers(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.spa(t)
		evil := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
		mallory := b.another()
		codeOf(t, mallory.byButton(t, evil))
		u, _ := b.user(t, ann)
		acme := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
		b.joins(t, acme.Organization, u.ID)
		if got := claimsOf(t, b.swap(t, b.byButton(t, acme)).Access); got["sub"] != u.ID || got["org_id"] != acme.ID {
			t.Fatalf("the owner got %v", got)
		}
		if left := b.identities(t, u.ID); len(left) != 1 || left[0].Connection != acme.c.ID {
			t.Errorf("identities %+v", left)
		}
		mallory.wantIn(t, false)
		again := b.another()
		again.byButton(t, evil).WantText(t, "has not shown that the address's domain is its own")
		again.wantIn(t, false)
	})
}

// The provider of an organization makes no account for an address of a domain that another
// organization has proved.
func TestAProviderMakesNoAccountForTheDomainOfAnother(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.enterprise(t, org.Organization{}, true, nil)
		evil := b.enterprise(t, org.Organization{AllowOutside: true}, false, map[string]any{"email": ann})
		b.byButton(t, evil).WantText(t, "lets in nobody with an address of this domain")
		if u, ok := b.user(t, ann); ok {
			t.Errorf("made %+v", u)
		}
	})
}

// An account of an organization's provider that an intruder has connected is seen by the
// account's owner, waits after a recovery, and goes if it came after what a letter told of.
func TestRecoveryTakesAwayAccountsOfOrganizations(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.spa(t)
		u := b.person(t, ann)
		b.prove(t, u.ID)
		e := b.enterprise(t, org.Organization{}, true, map[string]any{"email": ann})
		mallory := b.another() // reads Ann's mail
		p := mallory.Submit(t, mallory.byButton(t, e), "/signin", "identifier", ann)
		p = mallory.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
		codeOf(t, mallory.Submit(t, p, "/signin/sso-link", "choice", "link"))
		news := alarms(t, b.World, ann)
		b.byCode(t, ann)
		b.Get(t, "/account/linked").WantText(t, "Acme SSO", ann)
		if data := b.Submit(t, b.Get(t, "/account"), "/account/data").Want(t, 200); !strings.Contains(string(data.Body), e.c.ID) {
			t.Errorf("it is not in the owner's data: %s", data.Body)
		}
		press(t, b.World, news[0])
		if left := b.identities(t, u.ID); len(left) != 0 {
			t.Errorf("left after the recovery is %+v", left)
		}
		mallory.wantIn(t, false)

		// One that was there before waits. The organization vouches for the address of its member:
		// whom it shows is connected anew.
		codeOf(t, b.byButton(t, e))
		b.Clock.Advance(time.Hour)
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/reset", "password", secret)
		if mine := b.identities(t, u.ID); len(mine) != 1 || !mine[0].Held {
			t.Errorf("after a reset: %+v", mine)
		}
		codeOf(t, b.another().byButton(t, e))
		if mine := b.identities(t, u.ID); len(mine) != 1 || mine[0].Held {
			t.Errorf("shown by the organization again: %+v", mine)
		}
	})
}
