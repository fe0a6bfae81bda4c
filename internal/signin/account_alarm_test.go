package signin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	malMail   = "mallory@example.com"
	notMePath = "/signin/not-me"
)

var alarmForm = regexp.MustCompile(`https://\S+/signin/not-me\?token=\S+`)

// alarms are the links against what letters to an address tell of, the newest first.
func alarms(t *testing.T, w *apptest.World, to string) (out []string) {
	t.Helper()
	for _, l := range w.Letters(t, to) {
		if link := alarmForm.FindString(l.Text); link != "" {
			out = append(out, link)
		}
	}
	return out
}

// keepPassword gives the user a password.
func (a *account) keepPassword(t *testing.T, given string) {
	t.Helper()
	hash, err := a.w.Hasher.Hash(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	a.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return password.Set(ctx, tx, access.System(a.w.Demo.ID), a.id, hash, false)
	})
}

func (a *account) hasPassword(t *testing.T) bool {
	t.Helper()
	hash, _, err := password.Find(t.Context(), a.w.DB, a.w.Demo.ID, a.id)
	if err != nil {
		t.Fatal(err)
	}
	return hash != ""
}

// move changes the e-mail address on the pages.
func (a *account) move(t *testing.T, b *apptest.Browser, to string) {
	t.Helper()
	p := a.ask(t, b, "/account/email", to)
	b.Submit(t, p, "/code", "code", a.w.Code(t, to)).At(t, "/account")
}

// press opens a link with a browser that has nothing to do with the account, and says
// that this was somebody else.
func press(t *testing.T, w *apptest.World, link string) apptest.Page {
	t.Helper()
	b := w.Browser(apptest.BaseHost)
	return b.Submit(t, b.Get(t, link).Want(t, http.StatusOK), notMePath)
}

func TestANewBrowserIsTold(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		if n := a.told(t, "New sign-in"); n != 0 {
			t.Fatalf("told %d times of the first sign-in", n)
		}
		b := a.elsewhere(t)
		if n := a.told(t, "New sign-in"); n != 1 {
			t.Errorf("told %d times of a new browser", n)
		}
		b.Submit(t, b.Get(t, "/signout"), "/signout")
		a.prove(t, b, b.Get(t, "/account"))
		if n := a.told(t, "New sign-in"); n != 1 {
			t.Errorf("told %d times, with one new browser", n)
		}
	})
}

// An application that signs people in on its own pages has no browser to tell apart: what
// calls for them, and from where, is known or new.
func TestANewProgramIsTold(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		told := func() (n int) {
			for _, l := range b.Letters(t, ann) {
				if strings.Contains(l.Subject, "New sign-in") {
					n++
				}
			}
			return n
		}
		phone := b.caller()
		phone.Client = phone.Client.With("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1")
		phone.login(t, ann)
		if n := told(); n != 0 {
			t.Fatalf("told %d times of the first sign-in", n)
		}
		phone.from(7).login(t, ann) // phones change their addresses
		if n := told(); n != 0 {
			t.Errorf("told %d times of what is known", n)
		}
		desk := *phone
		desk.Client = desk.Client.With("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		desk.login(t, ann)
		desk.login(t, ann)
		if n := told(); n != 1 {
			t.Errorf("told %d times of one new program", n)
		}
		if link := alarms(t, b.World, ann); len(link) != 1 {
			t.Fatalf("the letter has %d links", len(link))
		}
	})
}

// A server calls for all its users from one place, which is new to each of them once.
func TestAServerIsToldOfOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.caller().login(t, ann)
		server := b.caller()
		server.Client = server.Client.As(t, access.UsersRead)
		for i := range 3 {
			away := server.from(i)
			away.Client = away.Client.With("User-Agent", fmt.Sprint("server/", i))
			b.Clock.Advance(time.Hour)
			away.login(t, ann)
		}
		n := 0
		for _, l := range b.Letters(t, ann) {
			if strings.Contains(l.Subject, "New sign-in") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// Somebody has got in, set things up for themselves and moved the account to their
// mailbox. The owner's first letter undoes it all.
func TestThisWasNotMe(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		a.keepPassword(t, goodPass)
		w.Clock.Advance(time.Hour)
		mallory := a.elsewhere(t)
		link := alarms(t, w, annMail)[0]
		touch(t, mallory, mallory.Get(t, passkeysPage), passkeysPage+"/add", newPhone())
		a.move(t, mallory, malMail)
		if got := alarms(t, w, malMail); len(got) != 1 {
			t.Fatalf("the new address got %d links", len(got))
		}
		theirs := alarms(t, w, malMail)[0]
		link = alarms(t, w, annMail)[0] // of the change of address, which gives it back
		for range 3 {
			w.Browser(apptest.BaseHost).Get(t, link).WantText(t, "This was not you?")
		}
		if u := a.user(t); u.Email != malMail || len(a.sessions(t)) != 2 || !a.hasPassword(t) {
			t.Fatalf("opening the link has changed something: %+v", u)
		}
		press(t, w, link).WantText(t, "Everyone is signed out", "We sent a link")
		if u := a.user(t); u.Email != annMail || !u.EmailVerified {
			t.Errorf("the address is %s, proved %t", u.Email, u.EmailVerified)
		}
		if len(a.sessions(t)) != 0 || a.hasPassword(t) {
			t.Errorf("%d sessions, a password: %t", len(a.sessions(t)), a.hasPassword(t))
		}
		mallory.Get(t, "/account").At(t, "/signin")
		if got := a.events(t, "account.reclaimed"); len(got) != 1 || got[0].Reason != "email_changed" {
			t.Errorf("the log: %+v", got)
		}
		for _, l := range []string{link, theirs} {
			w.Browser(apptest.BaseHost).Get(t, l).Want(t, http.StatusBadRequest).WantText(t, "expired or was already used")
		}
		b := w.Browser(apptest.BaseHost)
		b.Submit(t, b.Get(t, w.Link(t, annMail)).Want(t, 200), "/signin/reset", "password", nextPass).At(t, "/signin")
		if !a.hasPassword(t) {
			t.Error("the link to a new password was void")
		}
	})
}

// What was there before the alarm stays, but waits for its owner; what came after goes.
func TestNotMeTakesAwayWhatCameAfter(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, old := withPasskey(t, w, annMail)
		w.Clock.Advance(time.Hour)
		mallory := w.Browser(apptest.BaseHost) // with Ann's phone in hand
		touch(t, mallory, mallory.Get(t, "/account").At(t, "/signin"), "/signin/passkey", old).At(t, "/account")
		link := alarms(t, w, annMail)[0]
		theirs := newPhone()
		touch(t, mallory, mallory.Get(t, passkeysPage), passkeysPage+"/add", theirs)
		p := mallory.Submit(t, mallory.Get(t, "/account/security"), "/account/security/apps", "name", "Mallory's").At(t, "/account/security/app")
		mallory.Submit(t, p, "/account/security/app", "code", otp(w, keyOn(t, p))).WantText(t, "Your backup codes")
		press(t, w, link)
		keys, err := w.Passkeys.List(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil || len(keys) != 1 || keys[0].HeldAt.IsZero() {
			t.Errorf("passkeys: %+v, %v", keys, err)
		}
		has, err := w.MFA.Enrolled(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil || has.Authenticators != 0 || has.BackupCodes != 0 {
			t.Errorf("second factors: %+v, %v", has, err)
		}
		for _, phone := range []*phone{theirs, old} {
			b := w.Browser(apptest.BaseHost)
			if p := touch(t, b, b.Get(t, "/signin"), "/signin/passkey", phone); p.URL.Path == "/account" {
				t.Error("a passkey signs in")
			}
		}
	})
}

// The letter at hand tells of the last thing only. What came before in the same browser
// goes with it, and what the person has set up elsewhere stays.
func TestNotMeTakesAwayAllFactorsOfTheBrowser(t *testing.T) {
	add := func(t *testing.T, w *apptest.World, b *apptest.Browser, name string) {
		t.Helper()
		w.Clock.Advance(time.Minute)
		p := b.Submit(t, b.Get(t, "/account/security"), "/account/security/apps", "name", name).At(t, "/account/security/app")
		b.Submit(t, p, "/account/security/app", "code", otp(w, keyOn(t, p))).Want(t, http.StatusOK)
	}
	apps := func(t *testing.T, w *apptest.World, a *account) (names []string) {
		t.Helper()
		list, err := w.MFA.Authenticators(t.Context(), w.DB, w.Demo.ID, a.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			names = append(names, one.Name)
		}
		return names
	}
	t.Run("of a stranger's", func(t *testing.T) {
		apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
			a := member(t, w, annMail)
			w.Clock.Advance(time.Hour)
			mallory := a.elsewhere(t)
			touch(t, mallory, mallory.Get(t, passkeysPage), passkeysPage+"/add", newPhone())
			add(t, w, mallory, "first")
			add(t, w, mallory, "second")
			if got := apps(t, w, a); len(got) != 2 {
				t.Fatalf("added are %q", got)
			}
			press(t, w, alarms(t, w, annMail)[0])
			has, err := w.MFA.Enrolled(t.Context(), w.DB, w.Demo.ID, a.id)
			if err != nil || has.Authenticators != 0 || has.BackupCodes != 0 {
				t.Errorf("second factors: %+v, %v", has, err)
			}
			a.elsewhere(t) // the mailbox is enough again
		})
	})
	t.Run("of nobody else's", func(t *testing.T) {
		apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
			a, phone := withPasskey(t, w, annMail)
			add(t, w, a.Browser, "Ann's")
			w.Clock.Advance(time.Hour)
			mallory := w.Browser(apptest.BaseHost) // with Ann's phone in hand
			touch(t, mallory, mallory.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone).At(t, "/account")
			add(t, w, mallory, "first")
			add(t, w, mallory, "second")
			press(t, w, alarms(t, w, annMail)[0])
			if diff := cmp.Diff([]string{"Ann's"}, apps(t, w, a)); diff != "" {
				t.Error(diff)
			}
			has, err := w.MFA.Enrolled(t.Context(), w.DB, w.Demo.ID, a.id)
			if err != nil || has.BackupCodes == 0 {
				t.Errorf("second factors: %+v, %v", has, err)
			}
		})
	})
	t.Run("by whom has taken the mailbox's place", func(t *testing.T) {
		apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
			a := member(t, w, annMail)
			w.Clock.Advance(time.Hour)
			mallory := a.elsewhere(t)
			a.move(t, mallory, malMail)
			mine := alarms(t, w, annMail)[0]
			add(t, w, mallory, "first")
			press(t, w, alarms(t, w, malMail)[0])
			press(t, w, mine) // is good still, and gives the address back
			if u := a.user(t); u.Email != annMail || !u.EmailVerified {
				t.Errorf("the address is %s, proved %t", u.Email, u.EmailVerified)
			}
		})
	})
}

func TestNotMeIsRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		a.elsewhere(t)
		link, err := url.Parse(alarms(t, w, annMail)[0])
		if err != nil {
			t.Fatal(err)
		}
		other := w.Tenant(t, "other")
		for name, at := range map[string]string{
			"unknown":        "https://" + apptest.BaseHost + notMePath + "?token=" + strings.Repeat("A", 43),
			"none":           "https://" + apptest.BaseHost + notMePath,
			"another tenant": "https://" + other.Slug + "." + apptest.BaseHost + link.RequestURI(),
		} {
			b := w.Browser(strings.Split(at, "/")[2])
			if p := b.Get(t, at); p.Status != http.StatusBadRequest && p.Status != http.StatusNotFound {
				t.Errorf("%s: %d %s", name, p.Status, p.Text())
			}
		}
		b := w.Browser(apptest.BaseHost)
		p := b.Get(t, link.String()).Want(t, 200)
		form, _ := p.Form(notMePath)
		form.Fields.Del("csrf")
		b.PostForm(t, notMePath, form.Fields).Want(t, http.StatusForbidden)
		w.Clock.Advance(7*24*time.Hour + time.Second)
		b.Get(t, link.String()).Want(t, http.StatusBadRequest)
		b.Submit(t, p, notMePath).Want(t, http.StatusBadRequest)
		var rows int
		if err := w.DB.QueryRow(t.Context(), `SELECT count(*) FROM alarms WHERE tenant_id = $1`, w.Demo.ID).Scan(&rows); err != nil || rows == 0 {
			t.Fatal(rows, err)
		}
		if err := w.SignIn.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.DB.QueryRow(t.Context(), `SELECT count(*) FROM alarms WHERE tenant_id = $1`, w.Demo.ID).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d are left, %v", rows, err)
		}
	})
}

func TestNotMeCountsOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		a.elsewhere(t)
		link := alarms(t, w, annMail)[0]
		var wins atomic.Int64
		var wait sync.WaitGroup
		browsers, pages := make([]*apptest.Browser, 8), make([]apptest.Page, 8)
		for i := range browsers { // all of them look before any of them presses
			browsers[i] = w.Browser(apptest.BaseHost)
			pages[i] = browsers[i].Get(t, link).Want(t, 200)
		}
		for i, b := range browsers {
			wait.Go(func() {
				if b.Submit(t, pages[i], notMePath).Status == http.StatusOK {
					wins.Add(1)
				}
			})
		}
		wait.Wait()
		if wins.Load() != 1 || len(a.events(t, "account.reclaimed")) != 1 {
			t.Errorf("%d have won, the log has %d", wins.Load(), len(a.events(t, "account.reclaimed")))
		}
	})
}

// Whoever was in the account for a while does not come back by the letter that tells
// them of the end of it.
func TestAnAddressOfThisWeekIsNotGivenBack(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		mallory := a.elsewhere(t)
		a.move(t, mallory, malMail)
		w.Clock.Advance(time.Minute)
		a.move(t, a.Browser, annMail) // Ann is there too, and puts it right
		for _, link := range alarms(t, w, malMail) {
			b := w.Browser(apptest.BaseHost)
			if p := b.Get(t, link); p.Status == http.StatusOK {
				b.Submit(t, p, notMePath)
			}
			if u := a.user(t); u.Email != annMail {
				t.Fatalf("the account is at %s again", u.Email)
			}
		}
		if l := w.Letters(t, malMail)[0]; !strings.Contains(l.Text, "https://"+apptest.BaseHost+"/account\n") || alarmForm.MatchString(l.Text) {
			t.Errorf("the letter says %s", l.Text)
		}
	})
}

// An address that nobody has proved gets the news, and no link that ends anything.
func TestAnUnprovedAddressGetsNoLink(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		no := false
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Users.Update(ctx, tx, access.System(w.Demo.ID), a.id, user.Change{EmailVerified: &no})
			return err
		})
		a.withApp(t)
		if a.told(t, "second sign-in step") != 1 || len(alarms(t, w, annMail)) != 0 {
			t.Errorf("told %d times, with %d links", a.told(t, "second sign-in step"), len(alarms(t, w, annMail)))
		}
	})
}

// Without passwords there is nothing to choose: a code signs in again.
func TestNotMeWithoutPasswords(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		settings(t, w, func(s *tenant.SignIn) { s.NoPassword = true })
		a := member(t, w, annMail)
		a.elsewhere(t)
		press(t, w, alarms(t, w, annMail)[0]).WantText(t, "Sign in again with a code")
		a.prove(t, a.Browser, a.Get(t, "/account").At(t, "/signin"))
	})
}

// C1 3: what an intruder has linked does not outlive a recovery unseen.
func TestResetHoldsLinkedAccounts(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c)
		u, _ := b.user(t, ann)
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/reset", "password", secret).At(t, "/signin")
		intruder := b.another()
		intruder.bySocial(t, up, c).WantText(t, "switched off when the account was recovered")
		intruder.wantIn(t, false)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		p := b.Get(t, "/account/linked").WantText(t, "Switched off")
		b.Submit(t, p, "/account/linked/mine").WantText(t, "The linked account works again")
		again := b.another()
		again.bySocial(t, up, c)
		again.wantIn(t, true)
		// What is held is no way in, and may be removed.
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.Social.Hold(ctx, tx, access.System(b.Demo.ID), u.ID, "test")
		})
		b.Submit(t, b.Get(t, "/account/linked"), "/account/linked/remove").WantText(t, "The account is unlinked")
	})
}
