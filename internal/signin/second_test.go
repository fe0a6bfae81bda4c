package signin_test

import (
	"context"
	"encoding/base32"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// policy changes when demo asks for a second factor.
func policy(t *testing.T, w *apptest.World, m tenant.MFA, more ...func(*tenant.SignIn)) {
	t.Helper()
	w.Clock.Advance(2 * time.Second)
	row, err := w.Tenants.ByID(t.Context(), w.Demo.ID)
	if err != nil {
		t.Fatal(err)
	}
	row.Settings.MFA = m
	for _, set := range more {
		set(&row.Settings.SignIn)
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return w.Tenants.SaveSettings(ctx, tx, access.System(w.Demo.ID), w.Demo.ID, row.Settings)
	})
}

// authenticator sets up an app for a user of demo.
func authenticator(t *testing.T, w *apptest.World, id string) mfa.Enrollment {
	t.Helper()
	by := access.System(w.Demo.ID)
	e, err := w.MFA.Start(t.Context(), by, id, "Phone")
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.MFA.Confirm(t.Context(), by, id, e.ID, mfa.Code(e.Key, w.Clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error { return w.MFA.Enroll(ctx, tx, by, c) })
	return e
}

// otp is a code of an app that was not used before.
func otp(w *apptest.World, e mfa.Enrollment) string {
	w.Clock.Advance(time.Minute)
	return mfa.Code(e.Key, w.Clock.Now())
}

// notOTP is a code that is none of the app's around now.
func notOTP(w *apptest.World, e mfa.Enrollment) string {
	for _, code := range []string{"000000", "000001", "000002", "000003"} {
		good := false
		for _, later := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
			good = good || mfa.Code(e.Key, w.Clock.Now().Add(later)) == code
		}
		if !good {
			return code
		}
	}
	return ""
}

// byPassword goes as far as the password leads.
func (b *bench) byPassword(t *testing.T, email string) apptest.Page {
	t.Helper()
	return b.Submit(t, b.passwordPage(t, email), "/signin/password", "password", secret)
}

func (b *bench) newest(t *testing.T, u user.User) session.Session {
	t.Helper()
	list, err := b.Sessions.List(t.Context(), b.DB, b.Demo.ID, u.ID)
	if err != nil || len(list) == 0 {
		t.Fatalf("no session: %v", err)
	}
	return list[0]
}

func TestSecondFactorIsAskedOfWhoHasOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		p := b.byPassword(t, ann).WantText(t, "authenticator app")
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/second", "code", notOTP(b.World, app)).Want(t, 400)
		b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		b.wantIn(t, true)
		in := b.newest(t, u)
		if diff := cmp.Diff([]string{"pwd", "otp", "mfa"}, in.AMR); diff != "" || in.ACR != signin.ACRTwoFactors {
			t.Errorf("session of %s: %s", in.ACR, diff)
		}
		events, err := audit.List(t.Context(), b.DB, b.Demo.ID, audit.Filter{Action: "signin.succeeded"}, 10)
		if err != nil || len(events) != 1 || !strings.Contains(string(events[0].Detail), `"second_factor":"totp"`) {
			t.Errorf("the log says %+v, %v", events, err)
		}
	})
}

func TestSecondFactorByMagicLinkToo(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		waiting := b.identify(t, ann)
		phone := b.another()
		phone.Submit(t, phone.Get(t, b.Link(t, ann)), "/signin/link", "number", numberOn(t, waiting)).Want(t, 200)
		p := b.Submit(t, waiting, "/signin/finish").WantText(t, "authenticator app")
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		b.wantIn(t, true)
	})
}

func TestSecondFactorAfterAnotherService(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.bySocial(t, up, c)
		b.wantIn(t, true)
		u, _ := b.user(t, ann)
		app := authenticator(t, b.World, u.ID)
		again := b.another()
		p := again.bySocial(t, up, c).WantText(t, "authenticator app")
		again.wantIn(t, false)
		again.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		again.wantIn(t, true)
	})
}

// C6 94 and 95: between the factors there is nothing to be had.
func TestBetweenTheFactorsNothingIsOpen(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		authenticator(t, b.World, u.ID)
		p := b.byPassword(t, ann)
		state := p.URL.Query().Get("state")
		form, _ := p.Form("/signin/second")
		for _, path := range append([]string{"/signin?state=" + state, "/signin/second?state=" + state, "/signin/wait?state=" + state, "/signin/password?state=" + state}, accountPages...) {
			b.Get(t, path)
			b.wantIn(t, false)
		}
		for _, path := range []string{"/signin/finish", "/signin/new-password", "/signin/code", "/signin/account", "/signin/second/enroll", "/signin/second/confirm", "/signin/second/send", "/signin/second"} {
			b.PostForm(t, path, url.Values{"csrf": form.Fields["csrf"], "state": {state}, "password": {"a much longer phrase of mine"}, "way": {"totp"}, "name": {"x"}})
			b.wantIn(t, false)
		}
		if got := b.Get(t, "/api/v1/session"); got.Status != 401 {
			t.Errorf("/api/v1/session answers %d", got.Status)
		}
		has, err := b.MFA.Enrolled(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || has.Authenticators != 1 {
			t.Errorf("there are %d authenticators, %v", has.Authenticators, err)
		}
		if _, due, err := password.Find(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || due != password.NotDue {
			t.Error(err)
		}
		b.byPassword(t, ann) // the password is still what it was
	})
}

func TestSecondStepBelongsToItsBrowserAndItsUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u, v := b.person(t, ann), b.person(t, "bob@example.com")
		app, other := authenticator(t, b.World, u.ID), authenticator(t, b.World, v.ID)
		p := b.byPassword(t, ann)
		thief := b.another()
		form, _ := thief.Get(t, "/signin").Form("/signin")
		thief.PostForm(t, "/signin/second", url.Values{"csrf": form.Fields["csrf"], "state": {p.URL.Query().Get("state")}, "way": {"totp"}, "code": {otp(b.World, app)}}).Want(t, 400)
		thief.wantIn(t, false)
		b.Submit(t, p, "/signin/second", "code", otp(b.World, other)).Want(t, 400)
		b.wantIn(t, false)
	})
}

// C6 98: one code, two sign-ins at once.
func TestOneCodeSignsInOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		const n = 6
		var browsers []*bench
		var pages []apptest.Page
		for range n {
			one := b.another()
			browsers, pages = append(browsers, one), append(pages, one.byPassword(t, ann))
		}
		code := otp(b.World, app)
		var wg sync.WaitGroup
		var in atomic.Int64
		for i := range n {
			wg.Go(func() {
				if browsers[i].Press(t, pages[i], "/signin/second", "code", code).Status == 303 {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if in.Load() != 1 {
			t.Errorf("%d of %d are in by one code", in.Load(), n)
		}
	})
}

func TestSignsInByBackupCode(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		authenticator(t, b.World, u.ID)
		set, err := b.MFA.MakeBackupCodes(t.Context(), b.Demo.ID, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return b.MFA.ReplaceBackupCodes(ctx, tx, access.System(b.Demo.ID), set)
		})
		p := b.byPassword(t, ann)
		choice := b.Get(t, "/signin/second?way=choose&state="+p.URL.Query().Get("state")).WantText(t, "Authenticator app", "Use a backup code")
		i := slices.IndexFunc(choice.Links(), func(link string) bool { return strings.Contains(link, "way=backup_code") })
		b.Submit(t, b.Get(t, choice.Links()[i]), "/signin/second", "code", strings.ToLower(set.Codes[4]))
		b.wantIn(t, true)
		again := b.another()
		p = again.byPassword(t, ann)
		p = again.Get(t, "/signin/second?way=backup_code&state="+p.URL.Query().Get("state"))
		again.Submit(t, p, "/signin/second", "code", set.Codes[4]).Want(t, 400)
		again.wantIn(t, false)
	})
}

func TestSecondFactorByMessage(t *testing.T) {
	for name, phone := range map[string]bool{"mail": false, "text message": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				yes, number := true, "+4915112345678"
				b.Write(t, func(ctx context.Context, tx *database.Tx) error {
					c := user.Change{EmailVerified: &yes}
					if phone {
						c = user.Change{Phone: &number, PhoneVerified: &yes}
					}
					_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, c)
					return err
				})
				policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired, Email: !phone, SMS: phone})
				target := map[bool]string{false: ann, true: number}[phone]
				p := b.byPassword(t, ann)
				if p.Says(target) {
					t.Errorf("the whole address is shown to who knows the password alone: %s", p.Text())
				}
				b.Clock.Advance(time.Minute) // since the mail that began it
				p = b.Submit(t, p, "/signin/second/send")
				b.wantIn(t, false)
				code := b.Code(t, target)
				b.Submit(t, p, "/signin/second", "code", map[bool]string{true: "000001", false: "000000"}[code == "000000"]).Want(t, 400)
				b.Submit(t, p, "/signin/second", "code", code)
				b.wantIn(t, true)
				if in := b.newest(t, u); in.ACR != signin.ACRTwoFactors || !slices.Contains(in.AMR, "mfa") {
					t.Errorf("session %s of %v", in.ACR, in.AMR)
				}
			})
		})
	}
}

// C6 99: what was sent for the first factor is not the second, nor the other way round.
func TestCodeOfOneFactorIsNotTheOther(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		yes := true
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{EmailVerified: &yes})
			return err
		})
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired, Email: true})
		first := b.identify(t, ann)
		code := b.Code(t, ann)
		state := first.URL.Query().Get("state")
		p := b.Submit(t, b.Get(t, "/signin/password?state="+state), "/signin/password", "password", secret)
		b.Clock.Advance(time.Minute)
		p = b.Submit(t, p, "/signin/second/send")
		second := b.Code(t, ann)
		for second == code { // one in a million
			b.Clock.Advance(time.Minute)
			p = b.Submit(t, p, "/signin/second/send")
			second = b.Code(t, ann)
		}
		b.Submit(t, p, "/signin/second", "code", code).Want(t, 400)
		form, _ := p.Form("/signin/second")
		b.PostForm(t, "/signin/code", url.Values{"csrf": form.Fields["csrf"], "state": {state}, "code": {second}}).Want(t, 400)
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/second", "code", second)
		b.wantIn(t, true)
	})
}

// C6 112a and C0 33: too many tries cost the first factor as well, in every window.
func TestTooManyTriesEndWhatWasProved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.Clock.Advance(time.Minute)
		waiting := b.another()
		kept := waiting.byPassword(t, ann)
		p := b.byPassword(t, ann)
		for range ratelimit.SecondFactor.Count {
			b.Submit(t, p, "/signin/second", "code", notOTP(b.World, app)).Want(t, 400)
		}
		b.Submit(t, p, "/signin/second", "code", notOTP(b.World, app)).Want(t, 429)
		if events, err := audit.List(t.Context(), b.DB, b.Demo.ID, audit.Filter{Action: "mfa.locked"}, 10); err != nil || len(events) != 1 {
			t.Errorf("the log tells of %d locks, %v", len(events), err)
		}
		b.Clock.Advance(ratelimit.SecondFactor.Delay + time.Minute)
		code := otp(b.World, app)
		b.Submit(t, p, "/signin/second", "code", code)
		b.wantIn(t, false)
		waiting.Submit(t, kept, "/signin/second", "code", code)
		waiting.wantIn(t, false)
		form, _ := kept.Form("/signin/second")
		waiting.PostForm(t, "/signin/finish", url.Values{"csrf": form.Fields["csrf"], "state": form.Fields["state"]})
		waiting.wantIn(t, false)
		p = b.byPassword(t, ann) // with both factors again
		b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		b.wantIn(t, true)
	})
}

// C6 102.
func TestRememberedBrowserIsNotAskedAgain(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.Submit(t, b.byPassword(t, ann).WantText(t, "for 30 days"), "/signin/second", "code", otp(b.World, app), "remember", "1")
		b.wantIn(t, true)
		signOut := func(b *bench) { b.SetCookie("__Host-cardea", "") }
		signOut(b)
		b.byPassword(t, ann)
		b.wantIn(t, true)
		if in := b.newest(t, u); in.ACR != signin.ACROneFactor {
			t.Errorf("what was not shown is said: %s of %v", in.ACR, in.AMR)
		}
		thief := b.another()
		thief.SetCookie("__Host-cardea-device", b.Cookie("__Host-cardea-device"))
		thief.byPassword(t, ann)
		thief.wantIn(t, false)

		signOut(b)
		hash, err := b.Hasher.Hash(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, false)
		})
		b.byPassword(t, ann)
		b.wantIn(t, false) // since another password was set
	})
}

func TestNothingIsRememberedWhereThatIsOff(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		policy(t, b.World, tenant.MFA{NoRemember: true})
		p := b.byPassword(t, ann)
		if p.Says("30 days") {
			t.Error("it is offered")
		}
		b.Submit(t, p, "/signin/second", "code", otp(b.World, app), "remember", "1")
		b.wantIn(t, true)
		if b.Cookie("__Host-cardea-device") != "" {
			t.Error("it is remembered")
		}
	})
}

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// keyOn is the key that a page shows.
func keyOn(t *testing.T, p apptest.Page) mfa.Enrollment {
	t.Helper()
	for _, link := range p.Links() {
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "otpauth" {
			continue
		}
		key, err := base32Text.DecodeString(u.Query().Get("secret"))
		if err != nil {
			t.Fatal(err)
		}
		return mfa.Enrollment{Key: key}
	}
	t.Fatalf("no key on the page: %s", p.Text())
	return mfa.Enrollment{}
}

var backupForm = regexp.MustCompile(`\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{5}\b`)

func TestRequiredFactorIsSetUpOnTheWay(t *testing.T) {
	for name, m := range map[string]func(b *bench) tenant.MFA{
		"for all": func(*bench) tenant.MFA { return tenant.MFA{Mode: tenant.MFARequired} },
		"for administrators": func(b *bench) tenant.MFA {
			return tenant.MFA{Mode: tenant.MFAOff, RequiredForRoles: []string{b.Demo.Roles["admin"].ID}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.Write(t, func(ctx context.Context, tx *database.Tx) error {
					_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{RoleIDs: &[]string{b.Demo.Roles["admin"].ID}})
					return err
				})
				policy(t, b.World, m(b))
				p := b.byPassword(t, ann).WantText(t, "Set up two-step sign-in")
				b.wantIn(t, false)
				p = b.Submit(t, p, "/signin/second/enroll")
				app := keyOn(t, p)
				b.Submit(t, p, "/signin/second/confirm", "code", notOTP(b.World, app)).Want(t, 400)
				b.wantIn(t, false)
				p = b.Submit(t, p, "/signin/second/confirm", "code", mfa.Code(app.Key, b.Clock.Now())).WantText(t, "Your backup codes")
				if codes := backupForm.FindAllString(p.Text(), -1); len(codes) != 10 {
					t.Errorf("codes %q", codes)
				}
				b.wantIn(t, true)
				if in := b.newest(t, u); in.ACR != signin.ACRTwoFactors {
					t.Errorf("session %s of %v", in.ACR, in.AMR)
				}
				if letters := b.Letters(t, ann); !strings.Contains(letters[0].Subject, "second sign-in step") {
					t.Errorf("told %q", letters[0].Subject)
				}
				next := b.another()
				next.Submit(t, next.byPassword(t, ann), "/signin/second", "code", otp(b.World, app))
				next.wantIn(t, true)
			})
		})
	}
}

// Two windows that both set up the first factor: the second has to show it.
func TestEnrollmentOnTheWayIsOnlyForWhoHasNone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired})
		p := b.Submit(t, b.byPassword(t, ann), "/signin/second/enroll")
		app := keyOn(t, p)
		mine := authenticator(t, b.World, u.ID) // meanwhile; what waited is void as well
		b.Submit(t, p, "/signin/second/confirm", "code", otp(b.World, app))
		b.wantIn(t, false)
		has, err := b.MFA.Enrolled(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || has.Authenticators != 1 {
			t.Fatalf("%+v, %v", has, err)
		}
		b.Submit(t, b.Get(t, "/signin?state="+p.URL.Query().Get("state")), "/signin/second", "code", otp(b.World, mine))
		b.wantIn(t, true)
	})
}

// S13: a reset by mail does not make up for the second factor.
func TestPasswordResetKeepsTheSecondFactor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired, Email: true})
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/reset", "password", "another phrase of words")
		b.wantIn(t, false)
		b.Clock.Advance(time.Minute)
		p := b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", "another phrase of words").WantText(t, "authenticator app")
		b.wantIn(t, false)
		if choice := b.Get(t, "/signin/second?way=choose&state="+p.URL.Query().Get("state")); choice.Says("E-mail to") {
			t.Errorf("the same mailbox would be enough: %s", choice.Text())
		}
	})
}

func TestSecondFactorComesBeforeANewPassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		hash, err := b.Hasher.Hash(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, true)
		})
		p := b.byPassword(t, ann).WantText(t, "authenticator app")
		p = b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/new-password", "password", "a much longer phrase of mine")
		b.wantIn(t, true)
		if in := b.newest(t, u); in.ACR != signin.ACRTwoFactors {
			t.Errorf("session %s of %v", in.ACR, in.AMR)
		}
	})
}

// authorize asks for a code of demo's application, and returns where that led.
func (b *bench) authorize(t *testing.T, more ...string) apptest.Page {
	t.Helper()
	q := url.Values{
		"client_id": {b.Demo.ClientID}, "response_type": {"code"}, "redirect_uri": {"https://app.example.com/callback"}, "scope": {"openid"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return b.Get(t, "/oauth2/authorize?"+q.Encode())
}

func TestApplicationAsksForTwoFactors(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFAOptional})
		b.Submit(t, b.byPassword(t, ann), "/signin/second", "code", otp(b.World, app), "remember", "1")
		b.SetCookie("__Host-cardea", "")
		b.byPassword(t, ann) // by one factor, in a browser that is remembered
		if p := b.authorize(t); p.Location() == nil || p.Location().Query().Get("code") == "" {
			t.Fatalf("one factor is not enough for who asks for no more: %d %s", p.Status, p.Text())
		}
		p := b.authorize(t, "acr_values", signin.ACRTwoFactors).At(t, "/signin")
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret)
		p.WantText(t, "authenticator app") // though the browser is remembered
		p = b.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		if p.Location() == nil || p.Location().Query().Get("code") == "" {
			t.Fatalf("it led to %d %s", p.Status, p.Text())
		}
		if in := b.newest(t, u); in.ACR != signin.ACRTwoFactors {
			t.Errorf("session %s of %v", in.ACR, in.AMR)
		}
	})
}

// An application that requires two factors is not entered with a session of one.
func TestApplicationRequiresTwoFactors(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.byPassword(t, ann)
		b.wantIn(t, true)
		b.requiresTwo(t)
		p := b.authorize(t).At(t, "/signin")
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret).WantText(t, "Set up two-step")
		p = b.Submit(t, p, "/signin/second/enroll")
		p = b.Submit(t, p, "/signin/second/confirm", "code", mfa.Code(keyOn(t, p).Key, b.Clock.Now())).WantText(t, "Your backup codes")
		i := slices.IndexFunc(p.Links(), func(link string) bool { return strings.Contains(link, "/oauth2/authorize") })
		if i < 0 {
			t.Fatalf("no way on: %q", p.Links())
		}
		if p = b.Get(t, p.Links()[i]); p.Location() == nil || p.Location().Query().Get("code") == "" {
			t.Errorf("it led to %d %s", p.Status, p.Text())
		}
	})
}

// requiresTwo has demo's application require two factors.
func (b *bench) requiresTwo(t *testing.T) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		app, err := b.Tenants.ByClientID(ctx, b.Demo.ClientID)
		if err != nil {
			return err
		}
		app.OAuth.SecondFactor = tenant.MFARequired
		_, err = b.Tenants.SaveApplication(ctx, tx, access.System(b.Demo.ID), app)
		return err
	})
	b.Clock.Advance(2 * time.Second)
}

// C6 103: where two factors are required, no form that takes a session of one leads on.
func TestARequiredSecondFactorIsNotSkipped(t *testing.T) {
	for name, need := range map[string]func(t *testing.T, b *bench, u user.User){
		"of an application": func(t *testing.T, b *bench, _ user.User) { b.requiresTwo(t) },
		"of a role": func(t *testing.T, b *bench, u user.User) {
			admin := b.Demo.Roles["admin"].ID
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{RoleIDs: &[]string{admin}})
				return err
			})
			policy(t, b.World, tenant.MFA{Mode: tenant.MFAOptional, RequiredForRoles: []string{admin}})
			b.Clock.Advance(2 * time.Second)
		},
	} {
		wantAsked := func(t *testing.T, b *bench, p apptest.Page) {
			t.Helper()
			if p.Location() != nil {
				t.Fatalf("a session of one factor led to %v", p.Location())
			}
			b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret).WantText(t, "Set up two-step")
		}
		choose := func(t *testing.T, b *bench, p apptest.Page, u user.User) apptest.Page {
			t.Helper()
			form, ok := p.Form("/signin")
			if !ok {
				form, _ = p.Form("/signin/account")
			}
			to := b.PostForm(t, "/signin/account", url.Values{"csrf": form.Fields["csrf"], "state": {p.URL.Query().Get("state")}, "account": {b.newest(t, u).ID}}).Location()
			if to == nil {
				t.Fatal("it leads nowhere")
			}
			return b.Get(t, to.RequestURI())
		}
		t.Run(name+", by the form of accounts", func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.byPassword(t, ann)
				need(t, b, u)
				wantAsked(t, b, choose(t, b, b.authorize(t).At(t, "/signin"), u))
			})
		})
		t.Run(name+", by the page of accounts", func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.byPassword(t, ann)
				need(t, b, u)
				wantAsked(t, b, choose(t, b, b.authorize(t, "prompt", "select_account").WantText(t, ann), u))
			})
		})
		t.Run(name+", by the choice of an organization", func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				acme := b.company(t, "Acme", org.Policy{})
				b.joins(t, acme, u.ID)
				b.joins(t, b.company(t, "Globex", org.Policy{}), u.ID)
				b.byPassword(t, ann)
				need(t, b, u)
				p := b.Submit(t, b.authorize(t).WantText(t, "Choose an organization"), "/signin/organization", "organization", acme.ID).At(t, "/signin")
				wantAsked(t, b, b.Submit(t, p, "/signin", "identifier", ann))
			})
		})
		t.Run(name+", by coming back", func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.byPassword(t, ann)
				p := b.authorize(t, "prompt", "select_account").WantText(t, ann)
				form, _ := p.Form("/signin/account")
				back := b.PostForm(t, "/signin/account", url.Values{"csrf": form.Fields["csrf"], "state": form.Fields["state"], "account": {b.newest(t, u).ID}}).Location()
				need(t, b, u) // meanwhile
				p = b.Get(t, back.RequestURI()).At(t, "/signin")
				wantAsked(t, b, b.Submit(t, p, "/signin", "identifier", ann))
			})
		})
	}
}

func TestRecoveryLink(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		lost := authenticator(t, b.World, u.ID)
		var token string
		b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
			token, err = b.MFA.StartRecovery(ctx, tx, access.System(b.Demo.ID), u.ID)
			return err
		})
		link := "/signin/recover?token=" + token
		for range 3 {
			b.Get(t, link).Want(t, 200)
		}
		p := b.Submit(t, b.Get(t, link), "/signin/recover").At(t, "/signin")
		b.wantIn(t, false) // the link alone is nothing
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret).WantText(t, "Set up two-step")
		p = b.Submit(t, p, "/signin/second/enroll")
		app := keyOn(t, p)
		b.Submit(t, p, "/signin/second/confirm", "code", mfa.Code(app.Key, b.Clock.Now())).WantText(t, "Your backup codes")
		b.wantIn(t, true)
		b.Get(t, link).Want(t, 400)
		next := b.another()
		p = next.byPassword(t, ann)
		next.Submit(t, p, "/signin/second", "code", otp(b.World, lost)).Want(t, 400)
		next.Submit(t, p, "/signin/second", "code", otp(b.World, app))
		next.wantIn(t, true)
	})
}

func TestRecoveryLinkIsForItsUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u, v := b.person(t, ann), b.person(t, "bob@example.com")
		authenticator(t, b.World, u.ID)
		authenticator(t, b.World, v.ID)
		var token string
		b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
			token, err = b.MFA.StartRecovery(ctx, tx, access.System(b.Demo.ID), u.ID)
			return err
		})
		p := b.Submit(t, b.Get(t, "/signin/recover?token="+token), "/signin/recover")
		p = b.Submit(t, p, "/signin", "identifier", "bob@example.com")
		b.Submit(t, b.Get(t, "/signin/password?state="+p.URL.Query().Get("state")), "/signin/password", "password", secret).Want(t, 401)
		b.wantIn(t, false)
	})
}
