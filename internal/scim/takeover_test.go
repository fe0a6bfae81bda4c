package scim_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/user"
)

// What whoever holds a directory's token would do to people who have nothing to do with it:
// lines 85 to 88 of C5.

// signUp signs somebody in by the code that their mailbox gets.
func (s *site) signUp(t *testing.T, email string) *apptest.Browser {
	t.Helper()
	b := s.w.Browser(apptest.BaseHost)
	s.w.Clock.Advance(time.Hour) // until another mail is sent
	p := b.Submit(t, b.Get(t, "/account").At(t, "/signin"), "/signin", "identifier", email)
	b.Submit(t, p, "/signin/code", "code", s.w.Code(t, email)).At(t, "/account")
	return b
}

// Somebody signs in with the address that a directory has described before. From then on the
// account is theirs.
func TestWhoHasProvedTheirAddressIsNoDirectorysToTake(t *testing.T) {
	const victim = "vera@bank.example"
	for name, attack := range map[string]func(t *testing.T, s *site, id string){
		"moves the address": func(t *testing.T, s *site, id string) {
			refused(t, s.patch(t, "/Users/"+id, `{"op": "replace", "value": {"userName": "mallory@evil.example", "emails": [{"value": "mallory@evil.example", "primary": true}]}}`), 403, "")
		},
		"moves the address to a proved one": func(t *testing.T, s *site, id string) {
			s.prove(t, "evil.example")
			refused(t, s.patch(t, "/Users/"+id, `{"op": "replace", "value": {"userName": "mallory@evil.example", "emails": [{"value": "mallory@evil.example", "primary": true}]}}`), 403, "")
		},
		"disables": func(t *testing.T, s *site, id string) {
			s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": false}`).Want(t, 200)
		},
		"deletes": func(t *testing.T, s *site, id string) { s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204) },
		"deletes and describes anew": func(t *testing.T, s *site, id string) {
			s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204)
			refused(t, s.do(t, "POST", "/Users", userBody(victim)), 409, "uniqueness")
		},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				s := newSite(t, w, w.Demo, "Acme")
				id := s.user(t, victim)
				b := s.signUp(t, victim)
				if u := s.account(t, id); !u.EmailVerified {
					t.Fatalf("she signed in as another user: %+v", u)
				}
				attack(t, s, id)
				if u := s.account(t, id); u.Email != victim || !u.EmailVerified || !u.IsActive {
					t.Errorf("the account is now %s, verified %v, active %v", u.Email, u.EmailVerified, u.IsActive)
				}
				w.Clock.Advance(database.MaxAge)
				b.Get(t, "/account").At(t, "/account")
			})
		})
	}
}

// Whom others trust loses no more than the organization, whatever its directory says: neither
// the session nor the keys that they have made.
func TestADirectoryEndsNothingOfWhomOthersTrust(t *testing.T) {
	for name, trusted := range map[string]func(t *testing.T, s *site) (id string){
		"an owner of the tenant": func(t *testing.T, s *site) string {
			return s.make(t, user.User{Email: "boss@acme.example", EmailVerified: true, RoleIDs: []string{s.tenant.Roles["owner"].ID}}, true)
		},
		"a member of another organization": func(t *testing.T, s *site) string {
			id := s.make(t, user.User{Email: "boss@acme.example", EmailVerified: true}, true)
			newSite(t, s.w, s.tenant, "Other").join(t, id)
			return id
		},
	} {
		t.Run(name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				s := newSite(t, w, w.Demo, "Acme")
				s.prove(t, "acme.example")
				boss := trusted(t, s)
				live := s.signIn(t, boss)
				id := s.made(t, "/Users", strings.Replace(userBody("boss@acme.example"), `"active": true`, `"active": false`, 1))
				if id != boss || s.status(t, boss) != org.Suspended {
					t.Fatalf("the directory took %s with membership %q", id, s.status(t, boss))
				}
				if n := live(); n != 2 {
					t.Errorf("%d of session and key are left", n)
				}
				s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204)
				if n := live(); n != 2 || s.status(t, boss) != "" || !s.account(t, boss).IsActive {
					t.Errorf("deleted there: %d of session and key are left, membership %q", n, s.status(t, boss))
				}
			})
		})
	}
}

// join makes a user a member of the organization.
func (s *site) join(t *testing.T, id string) {
	t.Helper()
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := s.w.Orgs.AddMember(ctx, tx, s.by, s.org.ID, id, nil, org.SourceManual)
		return err
	})
}

// A directory takes no address of a domain that another organization has proved, and no name
// that means somebody else elsewhere in the tenant.
func TestADirectoryTakesNothingThatIsNotItsOwn(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s, acme := newSite(t, w, w.Demo, "Squat"), newSite(t, w, w.Demo, "Acme")
		acme.prove(t, "acme.example")
		const ceo = "ceo@acme.example"
		refused(t, s.do(t, "POST", "/Users", userBody(ceo)), 409, "uniqueness")
		refused(t, s.do(t, "POST", "/Users", `{"userName": "ceo", "emails": [{"value": "`+ceo+`", "primary": true}]}`), 409, "uniqueness")
		refused(t, s.do(t, "POST", "/Users", `{"userName": "`+ceo+`"}`), 409, "uniqueness")
		id := s.user(t, "x@squat.example")
		refused(t, s.patch(t, "/Users/"+id, `{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "`+ceo+`"}`), 409, "uniqueness")
		if u := s.account(t, id); u.Email != "x@squat.example" {
			t.Errorf("moved to %s", u.Email)
		}
		acme.user(t, ceo) // whose it is takes it
		for _, name := range []string{"+491701234567", "00491701234567", "491701234567", "admin", "owner"} {
			id := s.made(t, "/Users", `{"userName": "`+name+`"}`)
			if u, err := w.Users.FindByLogin(t.Context(), w.DB, s.by, name); err == nil {
				t.Errorf("%s is a name of %s %s in all the tenant", name, u.ID, u.Username)
			}
			if got := at(s.get(t, "/Users/"+id).Object(t), "userName"); got != name {
				t.Errorf("the directory reads %v, it wrote %s", got, name)
			}
			acme.made(t, "/Users", `{"userName": "`+name+`"}`) // means somebody else there
		}
	})
}

// A directory has somebody in an account of its own, and then gives the account the address of
// somebody else. When she comes, nothing is left in it of who was there.
func TestAnAccountThatIsGivenAwayIsLeftByWhoWasInIt(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.prove(t, "acme.example")
		id := s.user(t, "mallory@acme.example")
		mallory := s.signUp(t, "mallory@acme.example")
		live := s.signIn(t, id)
		s.patch(t, "/Users/"+id, `{"op": "replace", "value": {"userName": "vera@bank.example", "emails": [{"value": "vera@bank.example", "primary": true}]}}`).Want(t, 200)
		s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204)
		s.made(t, "/Users", userBody("vera@bank.example"))
		vera := s.signUp(t, "vera@bank.example")
		if u := s.account(t, id); u.Email != "vera@bank.example" || !u.EmailVerified {
			t.Fatalf("she got another account, and this is %+v", u)
		}
		w.Clock.Advance(database.MaxAge)
		mallory.Get(t, "/account").At(t, "/signin")
		vera.Get(t, "/account").At(t, "/account")
		if n := live(); n != 0 {
			t.Errorf("%d of session and key are left", n)
		}
	})
}
