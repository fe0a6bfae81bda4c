package signin_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
)

// withApp sets up an authenticator on the pages of the account.
func (a *account) withApp(t *testing.T) (mfa.Enrollment, []string) {
	t.Helper()
	p := a.Submit(t, a.Get(t, "/account/security"), "/account/security/apps", "name", "My phone").At(t, "/account/security/app")
	app := keyOn(t, p)
	p = a.Submit(t, p, "/account/security/app", "code", mfa.Code(app.Key, a.w.Clock.Now()))
	return app, backupForm.FindAllString(p.WantText(t, "Your backup codes").Text(), -1)
}

// prove2 goes through the pages of signing in with both factors.
func (a *account) prove2(t *testing.T, p apptest.Page, app mfa.Enrollment) apptest.Page {
	t.Helper()
	a.pause()
	p = a.Submit(t, p.At(t, "/signin"), "/signin", "identifier", a.mail)
	p = a.Submit(t, p.Want(t, 200), "/signin/code", "code", a.w.Code(t, a.mail)).WantText(t, "authenticator app")
	return a.Submit(t, p, "/signin/second", "code", otp(a.w, app))
}

func (a *account) told(t *testing.T, kind string) (n int) {
	t.Helper()
	for _, l := range a.w.Letters(t, a.mail) {
		if strings.Contains(l.Subject, kind) {
			n++
		}
	}
	return n
}

func TestAccountSetsUpAnAuthenticator(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		before := a.Cookie("__Host-cardea")
		_, codes := a.withApp(t)
		if len(codes) != 10 || a.told(t, "second sign-in step") != 1 {
			t.Errorf("%d codes, told %d times", len(codes), a.told(t, "second sign-in step"))
		}
		if a.Cookie("__Host-cardea") == before {
			t.Error("the session has the token it had")
		}
		p := a.Get(t, "/account/security").WantText(t, "My phone", "10 of 10 are left")
		if backupForm.MatchString(p.Text()) || strings.Contains(string(p.Body), "otpauth:") {
			t.Errorf("a secret is shown a second time: %s", p.Text())
		}
		form, _ := a.Get(t, "/account/security").Form("/account/security/apps")
		file := a.PostForm(t, "/account/security/codes/download", url.Values{"csrf": form.Fields["csrf"], "code": append(codes, "<script>alert(1)</script>", "7K2M")})
		if got := string(file.Body); !strings.HasPrefix(file.Header.Get("Content-Disposition"), "attachment") || strings.Contains(got, "<") || !strings.HasSuffix(got, strings.Join(codes, "\n")+"\n") {
			t.Errorf("the file %q: %s", file.Header, got)
		}
		if events := a.events(t, "mfa.enrolled"); len(events) != 1 {
			t.Errorf("the log: %+v", events)
		}
	})
}

// C6 101 and GHSA-8g9r: with a session, or with one factor, no factor is changed.
func TestChangingFactorsTakesAnExistingOne(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		app, codes := a.withApp(t)
		has, err := w.MFA.Authenticators(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil || len(has) != 1 {
			t.Fatal(has, err)
		}
		try := func(b *apptest.Browser) (out []apptest.Page) {
			p := b.Get(t, "/account/security")
			for path, fields := range map[string][]string{"apps": {"name", "Eve's"}, "remove": {"authenticator", has[0].ID}, "codes": nil} {
				out = append(out, b.Submit(t, p, "/account/security/"+path, fields...))
			}
			return out
		}
		for _, p := range try(a.Browser) { // fresh, but by one factor
			p.At(t, "/signin")
		}
		p := a.Submit(t, a.Get(t, "/account/security"), "/account/security/remove", "authenticator", has[0].ID)
		a.prove2(t, p, app).At(t, "/account/security")
		w.Clock.Advance(11 * time.Minute) // by two, but not fresh
		for _, p := range try(a.Browser) {
			p.At(t, "/signin")
		}
		left, err := w.MFA.Enrolled(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil || left != (mfa.Enrolled{Authenticators: 1, BackupCodes: 10}) {
			t.Fatalf("left %+v, %v", left, err)
		}
		p = a.Submit(t, a.Get(t, "/account/security"), "/account/security/codes")
		a.prove2(t, p, app)
		p = a.Submit(t, a.Get(t, "/account/security"), "/account/security/codes").WantText(t, "Your backup codes")
		if newer := backupForm.FindAllString(p.Text(), -1); len(newer) != 10 || slices.Contains(newer, codes[0]) {
			t.Errorf("new codes %q", newer)
		}
		a.Submit(t, a.Get(t, "/account/security"), "/account/security/remove", "authenticator", has[0].ID).WantText(t, "The authenticator app is removed")
		if n := a.told(t, "second sign-in step"); n != 3 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestSecondAuthenticatorLeavesBackupCodes(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		app, _ := a.withApp(t)
		p := a.Submit(t, a.Get(t, "/account/security"), "/account/security/apps", "name", "Tablet")
		a.prove2(t, p, app)
		p = a.Submit(t, a.Get(t, "/account/security"), "/account/security/apps", "name", "Tablet").At(t, "/account/security/app")
		second := keyOn(t, p)
		a.Submit(t, p, "/account/security/app", "code", "000").Want(t, 400)
		a.Submit(t, p, "/account/security/app", "code", mfa.Code(second.Key, w.Clock.Now())).At(t, "/account/security").WantText(t, "My phone", "Tablet", "10 of 10")
		if in := a.sessions(t)[0]; in.ACR != signin.ACRTwoFactors {
			t.Errorf("session %s", in.ACR)
		}
	})
}

func TestLastFactorStaysWhereOneIsRequired(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		app, _ := a.withApp(t)
		policy(t, w, tenant.MFA{Mode: tenant.MFARequired})
		has, err := w.MFA.Authenticators(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil {
			t.Fatal(err)
		}
		p := a.Get(t, "/account/security")
		if _, ok := p.Form("/account/security/remove"); ok {
			t.Error("removing it is offered")
		}
		a.prove2(t, a.Submit(t, p, "/account/security/codes"), app)
		form, _ := a.Get(t, "/account/security").Form("/account/security/codes")
		a.PostForm(t, "/account/security/remove", url.Values{"csrf": form.Fields["csrf"], "authenticator": {has[0].ID}}).Want(t, 409)
	})
}

func TestAccountForgetsADevice(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.Submit(t, b.byPassword(t, ann), "/signin/second", "code", otp(b.World, app), "remember", "1")
		p := b.Get(t, "/account/security").WantText(t, "Remembered devices", "This device")
		b.Submit(t, p, "/account/security/forget").WantText(t, "The device is forgotten")
		b.SetCookie("__Host-cardea", "")
		b.byPassword(t, ann)
		b.wantIn(t, false)
	})
}

// C6 113: nor is where codes are sent changed by one factor, where there are two.
func TestOtherWaysInTakeBothFactors(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		a := member(t, w, annMail)
		app, _ := a.withApp(t)
		for _, path := range []string{"/account/email", "/account/phone", "/account/password"} {
			p := a.Get(t, path)
			if p.URL.Path != "/signin" {
				t.Fatalf("%s is open to one factor: %s", path, p.Text())
			}
		}
		a.prove2(t, a.Get(t, "/account/phone"), app).At(t, "/account/phone")
	})
}

// A change of the password is by a password: it does not make two factors fresh.
func TestPasswordDoesNotRefreshTwoFactors(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.Submit(t, b.byPassword(t, ann), "/signin/second", "code", otp(b.World, app))
		b.Clock.Advance(time.Hour)
		b.Submit(t, b.Get(t, "/account/password"), "/account/password", "current_password", secret, "password", nextPass).WantText(t, "Your password is changed")
		b.Submit(t, b.Get(t, "/account/security"), "/account/security/codes").At(t, "/signin")
	})
}
