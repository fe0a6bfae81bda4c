package signin_test

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

func TestMain(m *testing.M) { os.Exit(apptest.CheckSuite(m, apptest.SignIn)) }

const (
	ann    = "ann@example.com"
	secret = "correct horse battery staple"
)

// A bench is the product with a browser.
type bench struct {
	*apptest.World
	*apptest.Browser
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		t.Helper()
		test(t, &bench{w, w.Browser(apptest.BaseHost)})
	})
}

// another returns the bench in a new browser.
func (b *bench) another() *bench { return &bench{b.World, b.World.Browser(b.Browser.Host)} }

// person makes a user with a password.
func (b *bench) person(t *testing.T, email string) (made user.User) {
	t.Helper()
	hash, err := b.Hasher.Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		by := access.System(b.Demo.ID)
		if made, err = b.Users.Create(ctx, tx, by, user.User{Email: email, IsActive: true, FirstName: "Ann", LastName: "Lee"}); err != nil {
			return err
		}
		return password.Set(ctx, tx, by, made.ID, hash, false)
	})
	return made
}

func (b *bench) settings(t *testing.T, s tenant.SignIn) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return b.Tenants.SaveSettings(ctx, tx, access.System(b.Demo.ID), b.Demo.ID, tenant.Settings{SignIn: s})
	})
}

// identify goes to the page that follows the identifier.
func (b *bench) identify(t *testing.T, identifier string) apptest.Page {
	t.Helper()
	return b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", identifier)
}

// passwordPage goes on to the password.
func (b *bench) passwordPage(t *testing.T, identifier string) apptest.Page {
	t.Helper()
	p := b.identify(t, identifier)
	return b.Get(t, "/signin/password?state="+p.URL.Query().Get("state"))
}

// isIn reports whether the browser is signed in.
func (b *bench) isIn(t *testing.T) bool {
	t.Helper()
	return b.Get(t, "/signout").Says("Sign out?")
}

func (b *bench) wantIn(t *testing.T, want bool) {
	t.Helper()
	if got := b.isIn(t); got != want {
		t.Fatalf("signed in: %t, want %t", got, want)
	}
}

var numberForm = regexp.MustCompile(`this number: (\d\d)`)

func numberOn(t *testing.T, p apptest.Page) string {
	t.Helper()
	m := numberForm.FindStringSubmatch(p.Text())
	if m == nil {
		t.Fatalf("no number on the page: %s", p.Text())
	}
	return m[1]
}

func TestSignsInByCode(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		p := b.identify(t, " ANN@example.com ")
		b.Submit(t, p, "/signin/code", "code", " "+b.Code(t, ann)+" ")
		b.wantIn(t, true)
	})
}

func TestSignsInByLinkInTheSameBrowser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.identify(t, ann)
		b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/link")
		b.wantIn(t, true)
	})
}

func TestSignsInByLinkOpenedElsewhere(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		waiting := b.identify(t, ann)
		wait := "/signin/wait?state=" + waiting.URL.Query().Get("state")
		b.Visit(t, wait).Want(t, http.StatusNoContent)
		phone := b.another()
		confirm := phone.Get(t, b.Link(t, ann)).WantText(t, "Firefox")
		phone.Submit(t, confirm, "/signin/link", "number", numberOn(t, waiting)).Want(t, 200)
		phone.wantIn(t, false)
		b.wantIn(t, false)
		b.Visit(t, wait).Want(t, 200)
		b.Submit(t, waiting, "/signin/finish")
		b.wantIn(t, true)
	})
}

func TestLinkOpenedElsewhereWithoutItsNumberSignsNobodyIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		waiting := b.identify(t, ann)
		wrong := "10"
		if numberOn(t, waiting) == wrong {
			wrong = "11"
		}
		phone := b.another()
		link := b.Link(t, ann)
		for range 3 {
			phone.Submit(t, phone.Get(t, link), "/signin/link", "number", wrong).Want(t, 400)
		}
		phone.Submit(t, phone.Get(t, link), "/signin/link", "number", numberOn(t, waiting)).Want(t, 400) // the third wrong one was the last
		b.Submit(t, waiting, "/signin/finish")
		b.wantIn(t, false)
	})
}

func TestOpeningALinkConsumesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.identify(t, ann)
		link := b.Link(t, ann)
		scanner := b.another()
		for range 20 {
			scanner.Get(t, link).Want(t, 200)
		}
		b.Submit(t, b.Get(t, link), "/signin/link")
		b.wantIn(t, true)
		b.another().Get(t, link).Want(t, 400)
	})
}

func TestSignsInByPassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		p := b.passwordPage(t, ann)
		b.Submit(t, p, "/signin/password", "password", "wrong "+secret).Want(t, 401)
		b.Submit(t, p, "/signin/password", "password", secret)
		b.wantIn(t, true)
	})
}

func TestSignsUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p := b.Submit(t, b.Get(t, "/signup"), "/signup", "identifier", "new@example.com", "given_name", "Nia", "family_name", "Woods")
		b.Submit(t, p, "/signin/code", "code", b.Code(t, "new@example.com"))
		b.wantIn(t, true)
		made, err := b.Users.FindByLogin(t.Context(), b.DB, access.System(b.Demo.ID), "new@example.com")
		if err != nil || made.FirstName != "Nia" || !made.EmailVerified || made.LastLoginAt.IsZero() {
			t.Errorf("made %+v, %v", made, err)
		}
	})
}

func TestTemporaryPasswordMustBeChanged(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		hash, err := b.Hasher.Hash(t.Context(), "temporary one two")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, true)
		})
		p := b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", "temporary one two")
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/new-password", "password", "short").Want(t, 400)
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/new-password", "password", "a much longer phrase of mine")
		b.wantIn(t, true)
	})
}

// The other system may have had no rules. Whoever brings a password along that is worth
// nothing signs in with it, and has to choose another one on the way.
func TestImportedPasswordsAreJudgedAtTheirFirstUse(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.SignIn.Breached = breached(t, "a fine phrase that was stolen")
		for name, test := range map[string]struct {
			password, found string
			keep            bool
		}{
			"short":            {"Xq7!vR2m", "invalid_password", false},
			"common":           {"password1234567890", "password_too_common", false},
			"personal":         {"wilhelmina.example.com", "password_too_personal", false},
			"breached":         {"a fine phrase that was stolen", "password_breached", false},
			"good":             {"a fine phrase of one's own", "", false},
			"short, but kept":  {"Xq7!vR2m", "", true},
			"stolen, but kept": {"a fine phrase that was stolen", "", true},
		} {
			t.Run(name, func(t *testing.T) {
				b.settings(t, tenant.SignIn{KeepImported: test.keep})
				email := strings.Map(func(r rune) rune { return max('a', r) }, name) + "@example.com"
				u := b.person(t, email)
				sum := sha256.Sum256([]byte(test.password))
				b.Write(t, func(ctx context.Context, tx *database.Tx) error {
					name := "Wilhelmina"
					if _, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{FirstName: &name}); err != nil {
						return err
					}
					return password.Replace(ctx, tx, access.System(b.Demo.ID), password.Stored{UserID: u.ID, Hash: passhash.Digest("SHA-256", "password", 1, nil, sum[:])})
				})
				one := b.another()
				p := one.Submit(t, one.passwordPage(t, email), "/signin/password", "password", test.password)
				one.wantIn(t, test.found == "")
				list, err := audit.List(t.Context(), b.DB, b.Demo.ID, audit.Filter{Action: "password.found_weak", TargetID: u.ID}, 10)
				if err != nil || (test.found != "") != (len(list) == 1) || test.found != "" && list[0].Reason != test.found {
					t.Errorf("the log has %+v, %v", list, err)
				}
				if test.found == "" {
					return
				}
				if !strings.Contains(p.Text(), "public list of stolen passwords") {
					t.Errorf("the page does not say why: %s", p.Text())
				}
				again := b.another() // it does not help to leave and come back
				again.Submit(t, again.passwordPage(t, email), "/signin/password", "password", test.password)
				again.wantIn(t, false)
				one.Submit(t, p, "/signin/new-password", "password", test.password).Want(t, 400)
				one.Submit(t, p, "/signin/new-password", "password", "words that nobody else has chosen")
				one.wantIn(t, true)
				last := b.another()
				last.Submit(t, last.passwordPage(t, email), "/signin/password", "password", "words that nobody else has chosen")
				last.wantIn(t, true)
			})
		}
	})
}

// breached is a list of stolen passwords.
func breached(t *testing.T, passwords ...string) *password.List {
	t.Helper()
	var lines []string
	for _, p := range passwords {
		lines = append(lines, fmt.Sprintf("%X\n", sha1.Sum([]byte(p))))
	}
	slices.Sort(lines)
	path := filepath.Join(t.TempDir(), "breached.list")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := password.BuildList(strings.NewReader(strings.Join(lines, "")), file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := password.OpenList(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Close() })
	return list
}

// What differs from one answer to the next without saying anything.
var varying = regexp.MustCompile(`[0-9a-f]{24}|name="csrf" value="[^"]*"|\b\d\d\b`)

func shape(p apptest.Page) string {
	return fmt.Sprint(p.Status, " ", varying.ReplaceAllString(string(p.Body), "~"))
}

func TestKnownAndUnknownLookAlike(t *testing.T) {
	for name, s := range map[string]tenant.SignIn{"with sign-up": {}, "without sign-up": {NoSignUp: true}, "password first": {First: "password", NoSignUp: true}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.settings(t, s)
				b.person(t, "known@example.com")
				gone := b.person(t, "gone1@example.com")
				b.Write(t, func(ctx context.Context, tx *database.Tx) error {
					no := false
					_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), gone.ID, user.Change{IsActive: &no})
					return err
				})
				see := func(email string) (shapes []string) {
					one := b.another()
					name, _, _ := strings.Cut(email, "@")
					swap := func(p apptest.Page) string { return strings.ReplaceAll(shape(p), name, "them") }
					p := one.identify(t, email)
					shapes = append(shapes, swap(p))
					p = one.Get(t, "/signin/password?state="+p.URL.Query().Get("state"))
					shapes = append(shapes, swap(p), swap(one.Submit(t, p, "/signin/password", "password", "not it at all")))
					one.IP = "192.0.2.99"
					b.Clock.Advance(time.Minute)
					shapes = append(shapes, swap(one.Submit(t, one.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", email)))
					return shapes
				}
				known := see("known@example.com")
				for _, other := range []string{"nobody@example.com", "gone1@example.com"} {
					for i, got := range see(other) {
						if got != known[i] {
							t.Errorf("page %d for %s differs:\n%s", i, other, cmp.Diff(strings.Split(known[i], "\n"), strings.Split(got, "\n")))
						}
					}
				}
			})
		})
	}
}

func TestNewcomersStayOutWithoutSignUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{NoSignUp: true})
		b.identify(t, "new@example.com")
		if sent := b.Letters(t, "new@example.com"); len(sent) != 0 {
			t.Errorf("%d messages to somebody who may not come in", len(sent))
		}
	})
}

func TestSwitchesHoldWithoutPages(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		password := b.passwordPage(t, ann)
		b.settings(t, tenant.SignIn{NoPassword: true})
		b.Clock.Advance(2 * time.Second)
		b.Submit(t, password, "/signin/password", "password", secret).Want(t, 403)
		b.Visit(t, "/signin/forgot").Want(t, 403)
		b.wantIn(t, false)
	})
}

func TestAttemptBelongsToItsBrowser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		waiting := b.identify(t, ann)
		stranger := b.another()
		stranger.Get(t, "/signin")
		stranger.Visit(t, waiting.URL.String()).Want(t, 400)
		form, _ := stranger.Get(t, "/signin").Form("/signin")
		stranger.PostForm(t, "/signin/code", url.Values{"csrf": form.Fields["csrf"], "state": {waiting.URL.Query().Get("state")}, "code": {b.Code(t, ann)}}).Want(t, 400)
		stranger.wantIn(t, false)
	})
}

func TestAttemptOfAnotherTenantIsUnknown(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		waiting := b.identify(t, ann)
		other := b.Tenant(t, "other")
		b.SetCookie("x", "") // a jar for the other host
		elsewhere := b.Clone()
		elsewhere.Host = other.Host
		elsewhere.SetCookie("__Host-cardea-browser", b.Cookie("__Host-cardea-browser"))
		elsewhere.Visit(t, "/signin?state="+waiting.URL.Query().Get("state")).Want(t, 400)
	})
}

func TestFormsOfOthersAreRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		p := b.passwordPage(t, ann)
		form, _ := p.Form("/signin/password")
		form.Fields.Set("password", secret)
		for name, forge := range map[string]func(x *bench, f url.Values){
			"from another site":   func(x *bench, _ url.Values) { x.Header.Set("Sec-Fetch-Site", "cross-site") },
			"from a sibling host": func(x *bench, _ url.Values) { x.Header.Set("Sec-Fetch-Site", "same-site") },
			"from another origin": func(x *bench, _ url.Values) {
				x.Header.Del("Sec-Fetch-Site")
				x.Header.Set("Sec-Fetch-Site", "")
				x.Header.Set("Origin", "https://evil.example")
			},
			"without a token": func(_ *bench, f url.Values) { f.Del("csrf") },
			"with another's token": func(x *bench, f url.Values) {
				other, _ := x.another().Get(t, "/signin").Form("/signin")
				f.Set("csrf", other.Fields.Get("csrf"))
			},
			"from a browser unnamed": func(x *bench, _ url.Values) { x.SetCookie("__Host-cardea-browser", "") },
		} {
			fields := url.Values{}
			for k, v := range form.Fields {
				fields[k] = v
			}
			x := &bench{b.World, b.Clone()}
			forge(x, fields)
			if got := x.PostForm(t, "/signin/password", fields); got.Status != 403 {
				t.Errorf("%s: got %d, want 403", name, got.Status)
			}
		}
		b.wantIn(t, false)
	})
}

func TestCodeRaceSignsInOnce(t *testing.T) { race(t, "code") }
func TestLinkRaceSignsInOnce(t *testing.T) { race(t, "link") }

// race sends the same proof two hundred times at once.
func race(t *testing.T, way string) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		p := b.identify(t, ann)
		action, field, value := "/signin/code", "code", ""
		if way == "code" {
			value = b.Code(t, ann)
		} else {
			p = b.Get(t, b.Link(t, ann))
			action, field = "/signin/link", "x"
		}
		var wait sync.WaitGroup
		var in atomic.Int64
		for i := range 200 {
			wait.Go(func() {
				x := &bench{b.World, b.Clone()}
				x.IP = fmt.Sprintf("198.51.%d.%d", i/100, i%100)
				if got := x.Press(t, p, action, field, value); got.Status == http.StatusSeeOther && got.Location().Path == "/account" {
					in.Add(1)
				}
			})
		}
		wait.Wait()
		sessions, err := b.Sessions.List(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || in.Load() != 1 || len(sessions) != 1 {
			t.Errorf("%d came in, %d sessions, %v; want one", in.Load(), len(sessions), err)
		}
	})
}

func TestDisabledBetweenStartAndEndStaysOut(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		p := b.identify(t, ann)
		code := b.Code(t, ann)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			no := false
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{IsActive: &no})
			return err
		})
		b.Submit(t, p, "/signin/code", "code", code).Want(t, 403)
		b.wantIn(t, false)
	})
}

func TestDisablingAUserEndsTheirSessions(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		b.wantIn(t, true)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			no := false
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{IsActive: &no})
			return err
		})
		b.Clock.Advance(time.Second)
		b.wantIn(t, false)
	})
}

func TestSigningInAgainChangesTheToken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		thief := &bench{b.World, b.Clone()}
		b.Clock.Advance(time.Minute)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		thief.wantIn(t, false)
		b.wantIn(t, true)
	})
}

func TestPasswordGuessingIsStopped(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		known := &bench{b.World, b.World.Browser(b.Browser.Host)}
		known.IP = "192.0.2.50"
		known.Submit(t, known.passwordPage(t, ann), "/signin/password", "password", secret)
		b.Clock.Advance(time.Hour)
		p := b.passwordPage(t, ann)
		for i := range 11 {
			got := b.Submit(t, p, "/signin/password", "password", "guess")
			if want := map[bool]int{true: 401, false: 429}[i < 10]; got.Status != want {
				t.Fatalf("guess %d: got %d, want %d", i, got.Status, want)
			}
		}
		b.Submit(t, p, "/signin/password", "password", secret).Want(t, 429)
		b.Clock.Advance(time.Hour)
		known.Submit(t, known.passwordPage(t, ann), "/signin/password", "password", secret).At(t, "/account")
	})
}

func TestResetEndsSessionsAndSignsNobodyIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		other := b.another()
		other.Submit(t, other.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann).WantText(t, ann)
		link := b.Link(t, ann)
		for range 3 {
			other.Get(t, link).Want(t, 200)
		}
		p := other.Get(t, link)
		other.Submit(t, p, "/signin/reset", "password", "short").Want(t, 400)
		other.Submit(t, p, "/signin/reset", "password", "quite another long phrase").At(t, "/signin")
		other.wantIn(t, false)
		b.wantIn(t, false)
		other.Get(t, link).Want(t, 400)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret).Want(t, 401)
		other.Submit(t, other.passwordPage(t, ann), "/signin/password", "password", "quite another long phrase")
		other.wantIn(t, true)
	})
}

// What was proved before does not outlive what took it back: not the temporary password
// that the owner has replaced, and nothing once all sessions were ended.
func TestProvedAttemptsEndWithWhatTookThemBack(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		hash, err := b.Hasher.Hash(t.Context(), "temporary one two")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, true)
		})
		intruder := b.another()
		waiting := intruder.Submit(t, intruder.passwordPage(t, ann), "/signin/password", "password", "temporary one two")
		p := b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", "temporary one two")
		b.Submit(t, p, "/signin/new-password", "password", "a much longer phrase of mine")
		form, _ := waiting.Form("/signin/new-password")
		intruder.PostForm(t, "/signin/finish", url.Values{"csrf": form.Fields["csrf"], "state": form.Fields["state"]})
		intruder.wantIn(t, false)

		b.Clock.Advance(time.Hour)
		opened := b.another()
		sent := opened.identify(t, ann)
		phone := b.another()
		phone.Submit(t, phone.Get(t, b.Link(t, ann)), "/signin/link", "number", numberOn(t, sent))
		b.Clock.Advance(time.Second)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Sessions.EndAll(ctx, tx, access.System(b.Demo.ID), u.ID, "test")
			return err
		})
		opened.Submit(t, sent, "/signin/finish").Want(t, 401)
		opened.wantIn(t, false)
	})
}

// Whoever has proved a temporary password, and waits, gets nowhere with it once an
// administrator has set another one: not at the form for a new password, nor at a second
// factor.
func TestAProvedPasswordIsNoneOnceThereIsAnother(t *testing.T) {
	for name, waits := range map[string]func(t *testing.T, b, intruder *bench, id string) func(){
		"at a new password": func(t *testing.T, b, intruder *bench, id string) func() {
			p := intruder.Submit(t, intruder.passwordPage(t, ann), "/signin/password", "password", "temporary one two")
			return func() { intruder.Submit(t, p, "/signin/new-password", "password", "a phrase of the intruder") }
		},
		"at a second factor": func(t *testing.T, b, intruder *bench, id string) func() {
			app := authenticator(t, b.World, id)
			p := intruder.Submit(t, intruder.passwordPage(t, ann), "/signin/password", "password", "temporary one two")
			return func() {
				p = intruder.Submit(t, p, "/signin/second", "code", otp(b.World, app))
				if _, there := p.Form("/signin/new-password"); there {
					t.Error("it leads on to a new password")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				set := func(phrase string) {
					hash, err := b.Hasher.Hash(t.Context(), phrase)
					if err != nil {
						t.Fatal(err)
					}
					b.Write(t, func(ctx context.Context, tx *database.Tx) error {
						return password.Set(ctx, tx, access.System(b.Demo.ID), u.ID, hash, true)
					})
				}
				set("temporary one two")
				intruder := b.another()
				goOn := waits(t, b, intruder, u.ID)
				b.Clock.Advance(time.Second)
				set("temporary three four")
				goOn()
				intruder.wantIn(t, false)
				if hash, due, err := password.Find(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || hash == "" || due != password.Temporary {
					t.Errorf("the password in force is due %q, %v", due, err)
				}
			})
		})
	}
}

// C1 3: who was in the account may have left a phone number there.
func TestResetDistrustsThePhone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{SMS: true})
		u := b.person(t, ann)
		phone, yes := "+4915112345678", true
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{Phone: &phone, PhoneVerified: &yes})
			return err
		})
		b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		b.Submit(t, b.Get(t, b.Link(t, ann)), "/signin/reset", "password", "quite another long phrase")
		intruder := b.another()
		p := intruder.identify(t, phone)
		intruder.Submit(t, p, "/signin/code", "code", b.Code(t, phone)).Want(t, 401)
		intruder.wantIn(t, false)
	})
}

func TestMailsCarryTheConfiguredAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		for i, header := range []string{"X-Forwarded-Host", "X-Original-Host", "Forwarded", "X-Host", "X-Forwarded-Server", "X-Forwarded-Proto"} {
			x := b.another()
			x.IP = fmt.Sprintf("203.0.113.%d", i)
			x.Header.Set(header, "evil.example")
			x.identify(t, ann)
			if link := b.Link(t, ann); !strings.HasPrefix(link, "https://"+apptest.BaseHost+"/signin/link?token=") {
				t.Errorf("%s: the link is %s", header, link)
			}
			b.Clock.Advance(time.Hour)
		}
	})
}

func TestBrokenCookiesSignNobodyIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, value := range []string{"", ".", "....", "null", "true", "0", strings.Repeat("A", 26), strings.Repeat("A", 4000), "AAAA.BBBB", "%00", "' OR 1=1", "[object Object]"} {
			x := b.another()
			x.SetCookie("__Host-cardea", value)
			x.wantIn(t, false)
		}
	})
}

func TestSignOutEndsTheSession(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		thief := &bench{b.World, b.Clone()}
		b.Get(t, "/signout")
		b.wantIn(t, true) // a link alone does nothing
		b.Submit(t, b.Get(t, "/signout"), "/signout", "decision", "one").Want(t, 200)
		b.wantIn(t, false)
		thief.wantIn(t, false)
	})
}

func TestSMSCodeSignsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{SMS: true})
		p := b.identify(t, "+49 151 1234 5678")
		b.Submit(t, p, "/signin/code", "code", b.Code(t, "+4915112345678"))
		b.wantIn(t, true)
	})
}

// A username may look like an address. Whoever has the mailbox is not that user.
func TestProvingAnAddressDoesNotOpenAUsername(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Create(ctx, tx, access.System(b.Demo.ID), user.User{Username: ann, Email: "bob@example.com", IsActive: true})
			return err
		})
		p := b.identify(t, ann)
		b.Submit(t, p, "/signin/code", "code", b.Code(t, ann)).Want(t, 401)
		b.wantIn(t, false)
	})
}

func TestWrongIdentifiersAreTold(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, typed := range []string{"", "a@b", "ann@example.com\r\nBcc: x@example.com", "ann@@example.com", "ann＠example.com", "Ann <ann@example.com>", "ann@example.com,bob@example.com"} {
			b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", typed).Want(t, 400)
		}
	})
}

// Whoever knows the old password and signs in with it at the very moment at which its owner
// sets another one is out.
func TestSignInsDoNotOutlastThePasswordTheyProved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		const intruders = 4
		for round := range 5 {
			old, next := secret, fmt.Sprintf("quite another long phrase %d", round)
			if round > 0 {
				old = fmt.Sprintf("quite another long phrase %d", round-1)
			}
			b.Clock.Advance(time.Hour)
			b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
			reset := b.Get(t, b.Link(t, ann))
			var all [intruders]*bench
			var pages [intruders]apptest.Page
			for i := range all {
				all[i] = b.another()
				pages[i] = all[i].passwordPage(t, ann)
			}
			atOnce(intruders+1, func(i int) {
				if i == intruders {
					b.Submit(t, reset, "/signin/reset", "password", next).At(t, "/signin")
					return
				}
				all[i].Submit(t, pages[i], "/signin/password", "password", old)
			})
			b.Clock.Advance(2 * time.Second)
			for i := range all {
				all[i].wantIn(t, false)
			}
		}
	})
}
