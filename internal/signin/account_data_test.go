package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

func TestContactIsRemoved(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		a := member(t, w, annMail, func(u *user.User) { u.Phone, u.PhoneVerified = annPhone, true })
		cookie := a.Cookie("__Host-cardea")
		a.Submit(t, a.Get(t, "/account"), "/account/phone/remove").At(t, "/account").WantText(t, "Your phone number is removed.")
		if u := a.user(t); u.Phone != "" || u.PhoneVerified || u.Email != annMail {
			t.Errorf("left is %+v", u)
		}
		if a.Cookie("__Host-cardea") == cookie {
			t.Error("the session has the token of before")
		}
		link := alarms(t, w, annMail)
		if len(link) != 1 {
			t.Fatalf("told with %d links", len(link))
		}
		// What is left is the only way in.
		p := a.Get(t, "/account")
		if p := a.Submit(t, p, "/account/email/remove"); p.Status < 400 {
			t.Errorf("the last address is gone: %d %s", p.Status, p.Text())
		}
		w.Clock.Advance(11 * time.Minute)
		a.Submit(t, p, "/account/email/remove").At(t, "/signin")
		if u := a.user(t); u.Email != annMail {
			t.Errorf("left is %+v", u)
		}
		press(t, w, link[0])
		if u := a.user(t); u.Phone != annPhone {
			t.Errorf("the number is %q", u.Phone)
		}
	})
}

// With another way in, the address may go; it is told, and can undo it.
func TestEmailIsRemovedAndGivenBack(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		a := member(t, w, annMail, func(u *user.User) { u.Phone, u.PhoneVerified = annPhone, true })
		a.Submit(t, a.Get(t, "/account"), "/account/email/remove").WantText(t, "Your e-mail address is removed.")
		press(t, w, alarms(t, w, annMail)[0]).WantText(t, "We sent a link")
		if u := a.user(t); u.Email != annMail || !u.EmailVerified {
			t.Errorf("it is %+v", u)
		}
	})
}

func TestAuthenticatorIsRenamed(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		app, _ := a.withApp(t)
		p := a.Submit(t, a.Get(t, "/account/security"), "/account/security/rename", "name", "Tablet")
		a.prove2(t, p, app).At(t, "/account/security")
		a.Submit(t, a.Get(t, "/account/security"), "/account/security/rename", "name", "Tablet").WantText(t, "has its new name", "Tablet")
		p = a.Get(t, "/account/security")
		a.Submit(t, p, "/account/security/rename", "authenticator", strings.Repeat("0", 24), "name", "X").Want(t, http.StatusNotFound)
	})
}

func TestOwnDataIsDownloaded(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, _ := withPasskey(t, w, annMail)
		a.keepPassword(t, goodPass)
		a.Get(t, "/account/security")
		p := a.Submit(t, a.Get(t, "/account/security"), "/account/security/apps", "name", "My phone").At(t, "/account/security/app")
		app := keyOn(t, p)
		codes := backupForm.FindAllString(a.Submit(t, p, "/account/security/app", "code", otp(w, app)).Text(), -1)
		p = a.Submit(t, a.Get(t, "/account"), "/account/data").Want(t, http.StatusOK)
		if !strings.HasPrefix(p.Header.Get("Content-Disposition"), "attachment") || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers: %v", p.Header)
		}
		var got struct {
			ID, Email      string
			Passkeys       []map[string]any
			Authenticators []map[string]any
			Sessions       []map[string]any
			Browsers       []map[string]any `json:"known_browsers"`
			Changed        time.Time        `json:"password_changed_at"`
			Events         []struct{ Action string }
		}
		if err := json.Unmarshal(p.Body, &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != a.id || got.Email != annMail || len(got.Passkeys) != 1 || len(got.Authenticators) != 1 || len(got.Sessions) != 1 || len(got.Browsers) != 1 || got.Changed.IsZero() || len(got.Events) < 4 {
			t.Errorf("got %s", p.Body)
		}
		for what, secret := range map[string]string{"a hash": "$argon2", "a key": app.Secret(), "a backup code": codes[0], "the cookie": a.Cookie("__Host-cardea")} {
			if strings.Contains(string(p.Body), secret) {
				t.Errorf("%s is in it", what)
			}
		}
		if len(a.events(t, "account.exported")) != 1 {
			t.Error("the log does not say so")
		}
		w.Clock.Advance(11 * time.Minute)
		a.Submit(t, a.Get(t, "/account"), "/account/data").At(t, "/signin")
	})
}

// Somebody else's address or program is not in the file of whom they did something to.
func TestOwnDataIsOnlyOnesOwn(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		admin := access.System(w.Demo.ID)
		admin.Name, admin.IP, admin.UserAgent = "user:0123456789abcdef01234567", "198.51.100.77", "Admin's program"
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Users.Update(ctx, tx, admin, a.id, user.Change{LastName: new("Jones")})
			return err
		})
		p := a.Submit(t, a.Get(t, "/account"), "/account/data").Want(t, 200)
		for _, foreign := range []string{admin.Name, admin.IP, admin.UserAgent} {
			if strings.Contains(string(p.Body), foreign) {
				t.Errorf("%s is in it", foreign)
			}
		}
		if !strings.Contains(string(p.Body), "user.updated") {
			t.Error("what was done to the user is not in it")
		}
	})
}

func TestAccountIsDeleted(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, annMail)
		a.keepPassword(t, goodPass)
		w.Clock.Advance(time.Minute)
		p := a.Get(t, "/account/delete").WantText(t, "Type “delete” to confirm")
		a.Submit(t, p, "/account/delete", "word", "remove").Want(t, http.StatusBadRequest).WantText(t, "not the word")
		a.user(t)
		a.Submit(t, p, "/account/delete", "word", " Delete ").At(t, "/signin").WantText(t, "Your account is deleted.")
		if _, err := w.Users.Find(t.Context(), w.DB, access.System(w.Demo.ID), a.id); !errors.Is(err, user.ErrNotFound) {
			t.Fatalf("the user: %v", err)
		}
		a.Get(t, "/account").At(t, "/signin")
		b := w.Browser(apptest.BaseHost)
		if p := touch(t, b, b.Get(t, "/signin"), "/signin/passkey", phone); p.URL.Path == "/account" {
			t.Error("the passkey signs in")
		}
		for _, table := range []string{"users", "user_identifiers", "passwords", "passkeys", "authenticators", "sessions", "grants", "known_browsers", "alarms", "attempts", "identities"} {
			column := "user_id"
			if table == "users" {
				column = "id"
			}
			var left int
			if err := w.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE tenant_id = $1 AND "+column+" = $2", w.Demo.ID, a.id).Scan(&left); err != nil || left != 0 {
				t.Errorf("%s: %d rows are left, %v", table, left, err)
			}
		}
		if l := w.Letters(t, annMail)[0]; l.Subject != "Your demo account was deleted" || alarmForm.MatchString(l.Text) {
			t.Errorf("the letter says %q: %s", l.Subject, l.Text)
		}
		if len(a.events(t, "user.deleted")) != 1 {
			t.Error("the log does not say who did it")
		}
	})
}

// A session alone deletes nothing, and neither does a form of another site.
func TestDeletingTakesAFreshProof(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		p := a.Get(t, "/account/delete").At(t, "/account/delete")
		w.Clock.Advance(11 * time.Minute)
		a.Submit(t, p, "/account/delete", "word", "delete").At(t, "/signin")
		a.user(t)
		if p := a.prove(t, a.Browser, a.Get(t, "/account/delete")); p.URL.Path != "/account/delete" {
			t.Errorf("came back to %s", p.URL)
		}
	})
}

func TestTheLastOwnerOfAnOrganizationStays(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		var acme org.Organization
		w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
			if acme, err = w.Orgs.Create(ctx, tx, access.System(w.Demo.ID), org.Organization{Name: "acme", DisplayName: "Acme"}); err != nil {
				return err
			}
			_, err = w.Orgs.AddMember(ctx, tx, access.System(w.Demo.ID), acme.ID, a.id, []string{w.Demo.Roles["owner"].ID}, org.SourceManual)
			return err
		})
		p := a.Get(t, "/account/delete")
		a.Submit(t, p, "/account/delete", "word", "delete").Want(t, http.StatusConflict).WantText(t, "last owner of an organization")
		a.user(t)
	})
}

// There is nothing to link where no other service is offered.
func TestLinkedAccountsAreShownWhereThereAreSome(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		if b.Get(t, "/account").Says("Linked accounts") {
			t.Error("the menu leads to linked accounts")
		}
		b.service(t, verified(ann))
		b.Clock.Advance(2 * time.Second)
		b.Get(t, "/account").WantText(t, "Linked accounts")
	})
}

// Whoever reads another language can say so after a mistake too, and is led back to
// where the form is; never to what was shown only once.
func TestLanguageIsChosenAfterAMistake(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		settings(t, w, func(s *tenant.SignIn) { s.First = "password" })
		menu := func(p apptest.Page) (href string) {
			t.Helper()
			body := string(p.Body)
			i := strings.Index(body, `lang="de" hreflang`)
			if i < 0 {
				t.Fatalf("no languages on %s: %s", p.URL, p.Text())
			}
			link := body[strings.LastIndex(body[:i], `href="`)+len(`href="`) : i]
			return strings.ReplaceAll(link[:strings.Index(link, `"`)], "&amp;", "&")
		}
		p := a.Submit(t, a.Get(t, "/account"), "/account", "given_name", strings.Repeat("x", 300)).Want(t, 400)
		a.Get(t, menu(p)).At(t, "/account").WantText(t, "Profil")
		b := w.Browser(apptest.BaseHost)
		p = b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", annMail)
		p = b.Submit(t, p, "/signin/password", "password", "wrong").Want(t, 401)
		b.Get(t, menu(p)).Want(t, 200).WantText(t, "Passwort", annMail)
	})
}
