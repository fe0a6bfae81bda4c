package signin_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	annMail  = "ann@example.com"
	annPhone = "+4915112345678"
	goodPass = "violet otter by the lantern"
	nextPass = "seven copper kettles whistle"
)

// An account is a user with a browser in which they are signed in.
type account struct {
	*apptest.Browser
	w    *apptest.World
	id   string
	mail string
}

// member makes a user with a verified e-mail address, who signs in with a code.
func member(t *testing.T, w *apptest.World, mail string, more ...func(*user.User)) *account {
	t.Helper()
	a := &account{w: w, mail: mail}
	u := user.User{Email: mail, EmailVerified: true, IsActive: true, FirstName: "Ann", LastName: "Smith"}
	for _, set := range more {
		set(&u)
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		made, err := w.Users.Create(ctx, tx, access.System(w.Demo.ID), u)
		a.id = made.ID
		return err
	})
	a.Browser = a.elsewhere(t)
	return a
}

// elsewhere signs the user in with another browser.
func (a *account) elsewhere(t *testing.T) *apptest.Browser {
	t.Helper()
	b := a.w.Browser(apptest.BaseHost)
	a.prove(t, b, b.Get(t, "/account"))
	return b
}

// prove goes through the pages of signing in, with a code by mail, from the first.
func (a *account) prove(t *testing.T, b *apptest.Browser, p apptest.Page) apptest.Page {
	t.Helper()
	a.pause() // or no second message would be sent
	p = b.Submit(t, p.At(t, "/signin"), "/signin", "identifier", a.mail)
	p = b.Submit(t, p.Want(t, 200), "/signin/code", "code", a.w.Code(t, a.mail))
	if p.Status != 200 || !strings.HasPrefix(p.URL.Path, "/account") {
		t.Fatalf("signing in led to %d at %s: %s", p.Status, p.URL, p.Text())
	}
	return p
}

// pause waits until another message may be sent to the same address: five in an hour.
func (a *account) pause() { a.w.Clock.Advance(ratelimit.Resend.Per + time.Second) }

func (a *account) user(t *testing.T) user.User {
	t.Helper()
	u, err := a.w.Users.Find(t.Context(), a.w.DB, access.System(a.w.Demo.ID), a.id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (a *account) sessions(t *testing.T) []session.Session {
	t.Helper()
	list, err := a.w.Sessions.List(t.Context(), a.w.DB, a.w.Demo.ID, a.id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// events are the events of the log with this action that the user did.
func (a *account) events(t *testing.T, action string) []audit.Listed {
	t.Helper()
	list, err := audit.List(t.Context(), a.w.DB, a.w.Demo.ID, audit.Filter{Action: action, Actor: "user:" + a.id}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// offerSMS lets demo send codes by text message.
func offerSMS(t *testing.T, w *apptest.World) {
	t.Helper()
	settings(t, w, func(s *tenant.SignIn) { s.SMS = true })
}

func settings(t *testing.T, w *apptest.World, set func(*tenant.SignIn)) {
	t.Helper()
	row, err := w.Tenants.ByID(t.Context(), w.Demo.ID)
	if err != nil {
		t.Fatal(err)
	}
	set(&row.Settings.SignIn)
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return w.Tenants.SaveSettings(ctx, tx, access.System(w.Demo.ID), w.Demo.ID, row.Settings)
	})
}

// accountPages are the pages that a menu or a button leads to.
var accountPages = []string{"/account", "/account/password", "/account/security", "/account/sessions", "/account/applications", "/account/email", "/account/phone"}

func TestAccountAsksWhoIsThere(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		ann := member(t, w, annMail)
		for _, path := range accountPages {
			w.Clock.Advance(time.Hour)
			b := w.Browser(apptest.BaseHost)
			if p := ann.prove(t, b, b.Get(t, path)); p.URL.Path != path {
				t.Errorf("%s: came back to %s", path, p.URL)
			}
		}
	})
}

func TestAccountFormsAreOurs(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		ann := member(t, w, annMail)
		before := ann.user(t)
		token, _ := ann.Get(t, "/account").Form("/account")
		for _, path := range accountForms(w) {
			t.Run("without a token"+path, func(t *testing.T) {
				ann.PostForm(t, path, url.Values{"given_name": {"Eve"}}).Want(t, 403)
			})
			t.Run("with the token of another browser"+path, func(t *testing.T) {
				other := w.Browser(apptest.BaseHost)
				p := other.Get(t, "/signin")
				form, _ := p.Form("/signin")
				ann.PostForm(t, path, url.Values{"csrf": form.Fields["csrf"], "given_name": {"Eve"}}).Want(t, 403)
			})
			t.Run("from another site"+path, func(t *testing.T) {
				evil := ann.Clone()
				evil.Header.Set("Sec-Fetch-Site", "cross-site")
				evil.Header.Set("Origin", "https://evil.example")
				evil.PostForm(t, path, url.Values{"csrf": token.Fields["csrf"], "given_name": {"Eve"}}).Want(t, 403)
			})
			t.Run("after the session"+path, func(t *testing.T) {
				late := ann.Clone()
				late.SetCookie("__Host-cardea", "")
				if p := late.PostForm(t, path, token.Fields); p.Status != 303 || p.Location().Path != "/signin" {
					t.Errorf("got %d to %s", p.Status, p.Location())
				}
			})
		}
		if diff := cmp.Diff(before, ann.user(t)); diff != "" {
			t.Errorf("the user changed: %s", diff)
		}
	})
}

// accountForms are the addresses that forms of the account are sent to.
func accountForms(w *apptest.World) (out []string) {
	for _, route := range w.Router.Routes() {
		for _, path := range route.Paths {
			if route.Method == "POST" && strings.HasPrefix(path, "/account") {
				out = append(out, path)
			}
		}
	}
	return out
}

// CVE-2026-27946: a user could set "verified" on their own addresses.
func TestAccountFormsChangeNothingElse(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		admin := w.Demo.Roles["admin"].ID
		for name, roles := range map[string][]string{"user": nil, "administrator": {admin}} {
			t.Run(name, func(t *testing.T) {
				ann := member(t, w, name+"@example.com", func(u *user.User) { u.RoleIDs = roles })
				bob := member(t, w, "bob-"+name+"@example.com")
				before, others := ann.user(t), bob.user(t)
				form, _ := ann.Get(t, "/account").Form("/account")
				for _, path := range accountForms(w) {
					more := url.Values{"csrf": form.Fields["csrf"]}
					for _, field := range []string{"email", "phone", "username", "login", "id", "_id", "user_id", "user", "tenant_id", "role_id", "role_ids", "roles", "groups", "raw_attributes",
						"attributes", "email_verified", "phone_verified", "verified", "is_active", "required_actions", "connection_id", "created_at", "first_name", "last_name", "hash", "temporary"} {
						more[field] = []string{"true", bob.id}
					}
					more["email"], more["phone"], more["role_id"], more["user_id"] = []string{"eve@example.com"}, []string{"+4915199999999"}, []string{admin}, []string{bob.id}
					ann.PostForm(t, path+"?"+more.Encode(), more)
				}
				after := ann.user(t)
				after.ModifiedAt = before.ModifiedAt
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("the user changed: %s", diff)
				}
				if diff := cmp.Diff(others, bob.user(t)); diff != "" {
					t.Errorf("another user changed: %s", diff)
				}
				if hash, _, err := password.Find(t.Context(), w.DB, w.Demo.ID, ann.id); hash != "" || err != nil {
					t.Errorf("there is a password now, %v", err)
				}
			})
		}
	})
}

func TestProfile(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		admin := w.Demo.Roles["admin"].ID
		for name, roles := range map[string][]string{"user": nil, "administrator": {admin}} {
			t.Run(name+" changes their name", func(t *testing.T) {
				ann := member(t, w, name+"@example.com", func(u *user.User) { u.RoleIDs = roles })
				p := ann.Get(t, "/account").WantText(t, name+"@example.com", "Confirmed")
				p = ann.Submit(t, p, "/account", "given_name", " Zoë ", "family_name", "<script>alert(1)</script>")
				p.At(t, "/account").WantText(t, "Your profile is saved.", "<script>alert(1)</script>")
				if strings.Contains(string(p.Body), "<script>alert") {
					t.Error("a name is markup")
				}
				if u := ann.user(t); u.FirstName != "Zoë" || !slices.Equal(u.RoleIDs, roles) {
					t.Errorf("got %+v", u)
				}
				if got := ann.events(t, "user.updated"); len(got) != 1 || got[0].TargetID != ann.id {
					t.Errorf("the log has %+v", got)
				}
			})
		}
		ann := member(t, w, annMail)
		t.Run("what is not sent stays", func(t *testing.T) {
			form, _ := ann.Get(t, "/account").Form("/account")
			form.Fields.Del("family_name")
			form.Fields.Set("given_name", "Anna")
			ann.PostForm(t, "/account", form.Fields).Want(t, 303)
			if u := ann.user(t); u.FirstName != "Anna" || u.LastName != "Smith" {
				t.Errorf("got %s %s", u.FirstName, u.LastName)
			}
		})
		t.Run("a name too long is told beside its field", func(t *testing.T) {
			p := ann.Submit(t, ann.Get(t, "/account"), "/account", "family_name", strings.Repeat("x", 300)).Want(t, 400)
			if !strings.Contains(string(p.Body), `id="family_name-error"`) {
				t.Errorf("nothing is said: %s", p.Text())
			}
		})
	})
}

const newMail = "ann.new@example.com"

// ask asks for a code to another address and returns the page that waits for it.
func (a *account) ask(t *testing.T, b *apptest.Browser, path, address string) apptest.Page {
	t.Helper()
	return b.Submit(t, b.Get(t, path).At(t, path), path, "address", address).At(t, path+"/code")
}

func TestContact(t *testing.T) {
	for _, c := range []struct{ name, path, address, changed, confirmed string }{
		{"e-mail", "/account/email", newMail, "Your e-mail address is changed.", "email"},
		{"phone", "/account/phone", annPhone, "Your phone number is changed.", "phone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				offerSMS(t, w)
				ann := member(t, w, annMail, func(u *user.User) { u.RoleIDs = []string{w.Demo.Roles["admin"].ID} })
				cookie := ann.Cookie("__Host-cardea")
				p := ann.ask(t, ann.Browser, c.path, c.address).WantText(t, c.address)
				if u := ann.user(t); u.Email != annMail || u.Phone != "" {
					t.Fatalf("changed before it is proved: %+v", u)
				}
				p = ann.Submit(t, p, "/code", "code", w.Code(t, c.address))
				p.At(t, "/account").WantText(t, c.changed, c.address)
				u := ann.user(t)
				if u.Email != c.address && u.Phone != c.address || !u.EmailVerified || u.PhoneVerified != (u.Phone != "") {
					t.Errorf("got %+v", u)
				}
				if len(ann.events(t, "user.updated")) != 1 {
					t.Error("the log does not say that the user did it")
				}
				if ann.Cookie("__Host-cardea") == cookie {
					t.Error("the session has the token of before")
				}
			})
		})
	}
}

func TestContactIsConfirmedAsItIs(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		ann := member(t, w, annMail, func(u *user.User) { u.Phone = annPhone })
		w.Clock.Advance(time.Hour) // a code is proof enough
		p := ann.Get(t, "/account").WantText(t, "Not confirmed")
		p = ann.Submit(t, p, "/account/phone/verify").At(t, "/account/phone/code")
		p = ann.Submit(t, p, "/code", "code", w.Code(t, annPhone)).At(t, "/account")
		if p.WantText(t, "Your phone number is confirmed."); p.Says("Not confirmed") || !ann.user(t).PhoneVerified {
			t.Error("it is not confirmed")
		}
	})
}

func TestContactRefuses(t *testing.T) {
	const used = "That code is not right"
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *apptest.World, ann *account)
	}{
		{"a wrong code", func(t *testing.T, w *apptest.World, ann *account) {
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			for range 5 {
				p = ann.Submit(t, p, "/code", "code", wrong(w.Code(t, newMail))).Want(t, 400).WantText(t, used)
			}
			ann.Submit(t, p, "/code", "code", w.Code(t, newMail)).Want(t, 400) // five tries are all
		}},
		{"a code sent to another address", func(t *testing.T, w *apptest.World, ann *account) {
			ann.ask(t, ann.Browser, "/account/email", "mine@example.com")
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			code := w.Code(t, "mine@example.com")
			if code == w.Code(t, newMail) {
				return // one in a million
			}
			ann.Submit(t, p, "/code", "code", code).Want(t, 400).WantText(t, used)
		}},
		{"a code for an address that gave way to another", func(t *testing.T, w *apptest.World, ann *account) {
			old := ann.ask(t, ann.Browser, "/account/email", newMail)
			ann.ask(t, ann.Browser, "/account/email", "later@example.com")
			ann.Submit(t, old, "/code", "code", w.Code(t, newMail)).At(t, "/account")
		}},
		{"a code for signing in", func(t *testing.T, w *apptest.World, ann *account) {
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			b := w.Browser(apptest.BaseHost)
			ann.pause()
			b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", newMail)
			if letters := w.Letters(t, newMail); len(letters) != 2 {
				t.Fatalf("%d messages", len(letters))
			}
			ann.Submit(t, p, "/code", "code", w.Code(t, newMail)).Want(t, 400).WantText(t, used)
		}},
		{"a code that was asked for in another session", func(t *testing.T, w *apptest.World, ann *account) {
			other := ann.elsewhere(t)
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			q := other.Get(t, p.URL.String())
			if q.URL.Path != "/account" {
				t.Errorf("another session shows %s", q.URL)
			}
			form, _ := p.Form("/code")
			mine, _ := other.Get(t, "/account").Form("/account")
			form.Fields["csrf"] = mine.Fields["csrf"]
			form.Fields.Set("code", w.Code(t, newMail))
			other.PostForm(t, "/account/email/code", form.Fields)
		}},
		{"a code after another session asked for one", func(t *testing.T, w *apptest.World, ann *account) {
			other := ann.elsewhere(t)
			p := ann.ask(t, other, "/account/email", newMail)
			ann.ask(t, ann.Browser, "/account/email", "later@example.com")
			other.Submit(t, p, "/code", "code", w.Code(t, newMail)).At(t, "/account")
		}},
		{"a code after the session was ended", func(t *testing.T, w *apptest.World, ann *account) {
			thief := ann.elsewhere(t)
			p := ann.ask(t, thief, "/account/email", newMail)
			ann.Submit(t, ann.Get(t, "/account/sessions"), "/account/sessions/end-others").WantText(t, "All other devices are signed out.")
			thief.Submit(t, p, "/code", "code", w.Code(t, newMail)).At(t, "/signin")
		}},
		{"a code after the password was changed elsewhere", func(t *testing.T, w *apptest.World, ann *account) {
			thief := ann.elsewhere(t)
			p := ann.ask(t, thief, "/account/email", newMail)
			ann.Submit(t, ann.Get(t, "/account/password"), "/account/password", "password", goodPass).WantText(t, "Your password is changed.")
			thief.Submit(t, p, "/code", "code", w.Code(t, newMail)).At(t, "/signin")
		}},
		{"a code after the address was changed by others", func(t *testing.T, w *apptest.World, ann *account) {
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			email := "given@example.com"
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := w.Users.Update(ctx, tx, access.System(w.Demo.ID), ann.id, user.Change{Email: &email})
				return err
			})
			ann.Submit(t, p, "/code", "code", w.Code(t, newMail)).At(t, "/account")
			if got := ann.user(t).Email; got != email {
				t.Errorf("the address is %s", got)
			}
		}},
		{"an expired code", func(t *testing.T, w *apptest.World, ann *account) {
			p := ann.ask(t, ann.Browser, "/account/email", newMail)
			code := w.Code(t, newMail)
			w.Clock.Advance(10 * time.Minute)
			ann.Submit(t, p, "/code", "code", code).Want(t, 400).WantText(t, used)
		}},
		{"an old proof", func(t *testing.T, w *apptest.World, ann *account) {
			p := ann.Get(t, "/account/email")
			w.Clock.Advance(11 * time.Minute)
			p = ann.Submit(t, p, "/account/email", "address", newMail).At(t, "/signin")
			ann.prove(t, ann.Browser, p).At(t, "/account/email")
		}},
		{"somebody else's proof", func(t *testing.T, w *apptest.World, ann *account) {
			bob := member(t, w, "bob@example.com")
			w.Clock.Advance(11 * time.Minute)
			p := ann.Get(t, "/account/email").At(t, "/signin")
			p = ann.Submit(t, p, "/signin", "identifier", bob.mail)
			if p = ann.Submit(t, p, "/signin/code", "code", w.Code(t, bob.mail)); p.Status != 401 {
				t.Errorf("got %d at %s", p.Status, p.URL)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				ann := member(t, w, annMail)
				c.test(t, w, ann)
				if got := ann.user(t).Email; got == newMail {
					t.Error("the address was changed")
				}
			})
		})
	}
}

// wrong is a code that is not the right one.
func wrong(code string) string { return code[1:] + string('0'+(code[0]-'0'+1)%10) }

// CVE-2026-37982: what a mail proves was good more than once.
func TestContactCodeIsGoodOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		p := ann.ask(t, ann.Browser, "/account/email", newMail)
		code := w.Code(t, newMail)
		ann.Submit(t, p, "/code", "code", code).WantText(t, "Your e-mail address is changed.")
		ann.pause()
		back := ann.ask(t, ann.Browser, "/account/email", annMail)
		ann.Submit(t, back, "/code", "code", w.Code(t, annMail)).WantText(t, "Your e-mail address is changed.")
		ann.Submit(t, p, "/code", "code", code).At(t, "/account")
		if got := ann.user(t).Email; got != annMail {
			t.Errorf("the old code has set %s", got)
		}
	})
}

func TestContactOfSomebodyElse(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann, bob := member(t, w, annMail), member(t, w, "bob@example.com")
		t.Run("is told only to who has proved it", func(t *testing.T) {
			free := ann.ask(t, ann.Browser, "/account/email", "free@example.com").Text()
			ann.pause()
			p := ann.ask(t, ann.Browser, "/account/email", bob.mail)
			if got := strings.ReplaceAll(p.Text(), bob.mail, "free@example.com"); got != free {
				t.Errorf("a taken address is answered by\n%s\na free one by\n%s", got, free)
			}
			code := w.Code(t, bob.mail)
			q := ann.Submit(t, p, "/code", "code", code).Want(t, 409).WantText(t, "This belongs to another account already.")
			if _, ok := q.Form("/account/email"); !ok {
				t.Error("nothing else can be typed")
			}
			ann.Submit(t, p, "/code", "code", code).At(t, "/account") // and the code is spent
		})
		t.Run("is nobody's if both claim it at once", func(t *testing.T) {
			var pages [2]apptest.Page
			var codes [2]string
			both := []*account{ann, bob}
			for i, a := range both {
				a.prove(t, a.Browser, freshly(t, a))
				pages[i] = a.ask(t, a.Browser, "/account/email", newMail)
				codes[i] = w.Code(t, newMail)
				a.pause()
			}
			atOnce(len(both), func(i int) { both[i].Submit(t, pages[i], "/code", "code", codes[i]) })
			if a, b := ann.user(t).Email == newMail, bob.user(t).Email == newMail; a == b {
				t.Errorf("ann has it: %v, bob has it: %v", a, b)
			}
		})
	})
}

// freshly returns the page of signing in again.
func freshly(t *testing.T, a *account) apptest.Page {
	t.Helper()
	a.w.Clock.Advance(time.Hour)
	return a.Get(t, "/account/email").At(t, "/signin")
}

// atOnce runs fn several times at once.
func atOnce(n int, fn func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() { <-start; fn(i) })
	}
	close(start)
	all.Wait()
}

// One address and one recipient, in one form.
func TestContactTakesAddressesOnly(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		for _, address := range []string{
			"", "ann", "ann@", "@example.com", "a@b@example.com", "ann@example.com\r\nBcc: eve@example.com", "ann@example.com,eve@example.com",
			"Ann <eve@example.com>", "ann@example.com%0aeve", "\"ann\"@example.com", "ann@example.com.", "eve＠example.com", "\u212aann@example.com", "\xff@example.com",
		} {
			p := ann.Submit(t, ann.Get(t, "/account/email"), "/account/email", "address", address).Want(t, 400)
			if !strings.Contains(string(p.Body), `id="address-error"`) {
				t.Errorf("%q: nothing is said", address)
			}
		}
		p := ann.ask(t, ann.Browser, "/account/email", " Ann.NEW@Example.COM ")
		ann.Submit(t, p, "/code", "code", w.Code(t, newMail)).At(t, "/account")
		if got := ann.user(t).Email; got != newMail {
			t.Errorf("the address is %s", got)
		}
	})
}

func TestContactCodeIsSentAgain(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		p := ann.ask(t, ann.Browser, "/account/email", newMail)
		ann.Submit(t, p, "/resend").Want(t, 429)
		ann.pause()
		p = ann.Submit(t, p, "/resend").At(t, "/account/email/code").WantText(t, "We sent it again.")
		if n := len(w.Letters(t, newMail)); n != 2 {
			t.Errorf("%d messages", n)
		}
		ann.Submit(t, p, "/code", "code", w.Code(t, newMail)).WantText(t, "Your e-mail address is changed.")
	})
}

func TestPhoneIsNotOfferedWithoutTextMessages(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		p := ann.Get(t, "/account")
		if slices.Contains(p.Links(), "/account/phone") {
			t.Error("it is offered")
		}
		ann.Get(t, "/account/phone").Want(t, 403)
		form, _ := p.Form("/account")
		form.Fields.Set("address", annPhone)
		for _, path := range []string{"", "/verify", "/code", "/resend"} {
			ann.PostForm(t, "/account/phone"+path, form.Fields).Want(t, 403)
		}
	})
}

// signInBy tries a password where nobody is signed in and reports whether it was good.
func (a *account) signInBy(t *testing.T, given string) bool {
	t.Helper()
	b := a.w.Browser(apptest.BaseHost)
	a.pause()
	p := b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", a.mail)
	p = b.Get(t, "/signin/password?"+p.URL.RawQuery)
	return b.Submit(t, p, "/signin/password", "password", given).URL.Path == "/account"
}

// setPassword sets or changes the password in the account.
func (a *account) setPassword(t *testing.T, current, wanted string) apptest.Page {
	t.Helper()
	return a.Submit(t, a.Get(t, "/account/password").At(t, "/account/password"), "/account/password", "current_password", current, "password", wanted)
}

// grant opens what an application holds for the user.
func (a *account) grant(t *testing.T, g session.Grant) (id, token string) {
	t.Helper()
	g.UserID = a.id
	a.w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		g, err = a.w.Sessions.Open(tx, access.System(a.w.Demo.ID), g, session.GrantLifetimes)
		return err
	})
	token, err := a.w.Sessions.RefreshToken(t.Context(), a.w.Demo.ID, g)
	if err != nil {
		t.Fatal(err)
	}
	return g.ID, token
}

// holds reports whether a refresh token is good.
func (a *account) holds(t *testing.T, token string) bool {
	t.Helper()
	_, err := a.w.Sessions.OfToken(t.Context(), a.w.Demo.ID, token)
	return err == nil
}

func TestPasswordIsSetAndChanged(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		ann.Get(t, "/account/password").WantText(t, "You have no password.")
		ann.setPassword(t, "", goodPass).At(t, "/account/password").WantText(t, "Your password is changed.", "Change password")
		if got := w.Letters(t, annMail)[0]; got.Subject != "Your password was changed" || !strings.Contains(got.Text, "https://"+apptest.BaseHost+"/signin/not-me?token=") {
			t.Errorf("the letter says %q: %s", got.Subject, got.Text)
		}
		if !ann.signInBy(t, goodPass) {
			t.Error("the first password is no good")
		}
		w.Clock.Advance(time.Hour) // the old password is proof enough
		ann.setPassword(t, goodPass, nextPass).WantText(t, "Your password is changed.")
		if ann.signInBy(t, goodPass) || !ann.signInBy(t, nextPass) {
			t.Error("the old password is good, or the new one is not")
		}
		if got := ann.events(t, "password.changed"); len(got) != 2 || got[0].Result != audit.Success {
			t.Errorf("the log has %+v", got)
		}
	})
}

func TestPasswordChangeRefuses(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		ann.setPassword(t, "", goodPass).WantText(t, "Your password is changed.")
		for _, c := range []struct {
			name, current, wanted, field string
			status                       int
		}{
			{"a wrong current password", "wrong", nextPass, "current_password", 401},
			{"no current password", "", nextPass, "current_password", 401},
			{"a short one", goodPass, "q7-kx", "password", 400},
			{"a common one", goodPass, "passwordpassword", "password", 400},
			{"a personal one", goodPass, "ann smith ann smith", "password", 400},
			{"one that is too long", goodPass, strings.Repeat("x", 1025), "password", 400},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := ann.setPassword(t, c.current, c.wanted).Want(t, c.status)
				if !strings.Contains(string(p.Body), `id="`+c.field+`-error"`) {
					t.Errorf("nothing is said at the field: %s", p.Text())
				}
				if strings.Contains(string(p.Body), c.wanted) {
					t.Error("the page repeats the password")
				}
			})
		}
		if failed, err := audit.List(t.Context(), w.DB, w.Demo.ID, audit.Filter{Action: "password.changed", Result: audit.Failure}, 10); len(failed) != 2 || err != nil {
			t.Errorf("the log has %+v, %v", failed, err)
		}
		t.Run("after too many tries", func(t *testing.T) {
			for range 8 {
				ann.setPassword(t, "wrong", nextPass).Want(t, 401)
			}
			ann.setPassword(t, goodPass, nextPass).Want(t, 429)
		})
		t.Run("where passwords are not offered", func(t *testing.T) {
			p := ann.Get(t, "/account/password")
			settings(t, w, func(s *tenant.SignIn) { s.NoPassword = true })
			ann.Get(t, "/account/password").Want(t, 403)
			ann.Submit(t, p, "/account/password", "current_password", goodPass, "password", nextPass).Want(t, 403)
		})
	})
}

// A session alone sets no first password (Keycloak GHSA-8g9r-9wjw-37j4 in another form).
func TestFirstPasswordNeedsAFreshProof(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		p := ann.Get(t, "/account/password")
		w.Clock.Advance(10*time.Minute + time.Second)
		ann.Submit(t, p, "/account/password", "password", goodPass).At(t, "/signin")
		if hash, _, err := password.Find(t.Context(), w.DB, w.Demo.ID, ann.id); hash != "" || err != nil {
			t.Fatalf("there is a password now, %v", err)
		}
		ann.prove(t, ann.Browser, ann.Get(t, "/account/password")).At(t, "/account/password")
		ann.setPassword(t, "", goodPass).WantText(t, "Your password is changed.")
	})
}

func TestPasswordChangeEndsTheRest(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann, bob := member(t, w, annMail), member(t, w, "bob@example.com")
		thief, stolen := ann.elsewhere(t), ann.Clone()
		here, there := ann.sessions(t)[1].ID, ann.sessions(t)[0].ID
		_, mine := ann.grant(t, session.Grant{SessionID: here, ApplicationID: appOf(t, w)})
		_, theirs := ann.grant(t, session.Grant{SessionID: there, ApplicationID: appOf(t, w)})
		_, offline := ann.grant(t, session.Grant{SessionID: there, Outlives: true, ApplicationID: appOf(t, w)})
		_, device := ann.grant(t, session.Grant{ApplicationID: appOf(t, w)})
		_, bobs := bob.grant(t, session.Grant{ApplicationID: appOf(t, w)})

		ann.setPassword(t, "", goodPass).WantText(t, "Your password is changed.")
		ann.Get(t, "/account").At(t, "/account")
		bob.Get(t, "/account").At(t, "/account")
		for name, b := range map[string]*apptest.Browser{"another browser": thief, "a copy of the cookie": stolen} {
			if p := b.Get(t, "/account"); p.URL.Path != "/signin" {
				t.Errorf("%s is still signed in: %s", name, p.URL)
			}
		}
		got := []bool{ann.holds(t, mine), ann.holds(t, theirs), ann.holds(t, offline), ann.holds(t, device), bob.holds(t, bobs)}
		if diff := cmp.Diff([]bool{true, false, false, false, true}, got); diff != "" {
			t.Errorf("grants here, there, offline, of a device, of another user: %s", diff)
		}
	})
}

// appOf is the id of demo's application.
func appOf(t *testing.T, w *apptest.World) string {
	t.Helper()
	app, err := w.Tenants.ByClientID(t.Context(), w.Demo.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	return app.ID
}

func TestPasswordIsChangedOnceOfTwoAtOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		ann.setPassword(t, "", goodPass).WantText(t, "Your password is changed.")
		p := ann.Get(t, "/account/password")
		wanted := []string{nextPass, "purple trains climb slowly"}
		pages := make([]apptest.Page, len(wanted))
		atOnce(len(wanted), func(i int) {
			pages[i] = ann.Clone().Press(t, p, "/account/password", "current_password", goodPass, "password", wanted[i])
		})
		if first, second := pages[0].Status == 303 && pages[0].Location().Path == "/account/password", pages[1].Status == 303 && pages[1].Location().Path == "/account/password"; first == second {
			t.Fatalf("got %d and %d", pages[0].Status, pages[1].Status)
		}
	})
}

func TestAccountListsSessionsAndEndsThem(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann, bob := member(t, w, annMail), member(t, w, "bob@example.com")
		second, third := ann.elsewhere(t), ann.elsewhere(t)
		ids := map[*apptest.Browser]string{}
		for i, b := range []*apptest.Browser{third, second, ann.Browser} {
			ids[b] = ann.sessions(t)[i].ID
		}
		p := ann.Get(t, "/account/sessions").WantText(t, "Firefox", "This device", "192.0.2.7")
		if forms := formsFor(p, "/account/sessions/end"); !slices.Contains(forms, ids[second]) || slices.Contains(forms, ids[ann.Browser]) || len(forms) != 2 {
			t.Errorf("can end %v of %v", forms, ids)
		}

		t.Run("one", func(t *testing.T) {
			ann.Submit(t, p, "/account/sessions/end", "session", ids[second]).WantText(t, "That device is signed out.")
			second.Get(t, "/account").At(t, "/signin")
			third.Get(t, "/account").At(t, "/account")
			if got := ann.events(t, "session.ended"); len(got) != 1 || got[0].Reason != "ended_by_user" {
				t.Errorf("the log has %+v", got)
			}
		})
		t.Run("but not somebody else's", func(t *testing.T) {
			q := bob.Get(t, "/account/sessions")
			form, _ := q.Form("/account/sessions/end-others")
			if form.Fields == nil {
				form, _ = bob.Get(t, "/account").Form("/account")
			}
			form.Fields.Set("session", ids[third])
			bob.PostForm(t, "/account/sessions/end", form.Fields).Want(t, 303)
			third.Get(t, "/account").At(t, "/account")
		})
		t.Run("all others", func(t *testing.T) {
			ann.Submit(t, p, "/account/sessions/end-others").WantText(t, "All other devices are signed out.")
			third.Get(t, "/account").At(t, "/signin")
			bob.Get(t, "/account").At(t, "/account")
		})
		t.Run("this one", func(t *testing.T) {
			copied := ann.Clone()
			form, _ := ann.Get(t, "/account").Form("/account")
			form.Fields.Set("session", ids[ann.Browser])
			if p := ann.PostForm(t, "/account/sessions/end", form.Fields).Want(t, 303); p.Location().Path != "/signout" {
				t.Errorf("leads to %s", p.Location())
			}
			if ann.Cookie("__Host-cardea") != "" {
				t.Error("the cookie stays")
			}
			copied.Get(t, "/account").At(t, "/signin")
		})
	})
}

// formsFor are the sessions that the forms of a page end.
func formsFor(p apptest.Page, action string) (ids []string) {
	for _, form := range p.Forms() {
		if form.Action == action {
			ids = append(ids, form.Fields.Get("session"))
		}
	}
	return ids
}

func TestEndingTheSessionLeavesTheNextAccount(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann, bob := member(t, w, annMail), member(t, w, "bob@example.com")
		bob.prove(t, ann.Browser, ann.Get(t, "/signin")) // in the same browser
		form, _ := ann.Get(t, "/account").WantText(t, bob.mail).Form("/account")
		form.Fields.Set("session", bob.sessions(t)[0].ID)
		ann.PostForm(t, "/account/sessions/end", form.Fields)
		ann.Get(t, "/account").WantText(t, annMail)
	})
}

func TestApplicationsAreListedAndTheirAccessTakenBack(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann, bob := member(t, w, annMail), member(t, w, "bob@example.com")
		app := appOf(t, w)
		ann.Get(t, "/account/applications").WantText(t, "No applications yet")
		_, token := ann.grant(t, session.Grant{SessionID: ann.sessions(t)[0].ID, ApplicationID: app, Scope: "openid email"})
		_, bobs := bob.grant(t, session.Grant{ApplicationID: app, Scope: "openid"})
		p := ann.Get(t, "/account/applications")
		form, ok := p.Form("/account/applications/revoke")
		if !ok || form.Fields.Get("access") != app {
			t.Fatalf("the application is not listed: %s", p.Text())
		}
		for _, other := range []string{"", "x", ann.id, bob.id} {
			ann.Submit(t, p, "/account/applications/revoke", "access", other).At(t, "/account/applications")
		}
		if !ann.holds(t, token) {
			t.Fatal("ended by another name")
		}
		ann.Submit(t, p, "/account/applications/revoke").WantText(t, "The access is removed.", "No applications yet")
		if ann.holds(t, token) || !bob.holds(t, bobs) {
			t.Error("the wrong access was taken back")
		}
	})
}

// What a user has allowed is listed too where nothing is held at the moment.
func TestConsentsAreListedAndTakenBack(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		given := map[string]signin.Consent{ann.id: {ApplicationID: appOf(t, w), Scope: "openid profile", Since: w.DB.Now()}}
		w.SignIn.Consents = func(_ context.Context, tenantID, userID string) (out []signin.Consent, _ error) {
			if c, ok := given[userID]; ok && tenantID == w.Demo.ID {
				out = append(out, c)
			}
			return out, nil
		}
		w.SignIn.RevokeConsent = func(_ context.Context, tx *database.Tx, by access.Actor, userID, applicationID string) error {
			if by.Name != "user:"+ann.id || by.May(access.UsersWrite) {
				t.Errorf("revoked by %+v", by)
			}
			if given[userID].ApplicationID == applicationID {
				tx.OnCommit(func() { delete(given, userID) })
			}
			return nil
		}
		p := ann.Get(t, "/account/applications")
		ann.Submit(t, p, "/account/applications/revoke").WantText(t, "The access is removed.", "No applications yet")
		if len(given) != 0 {
			t.Error("the consent stays")
		}
	})
}

// Whoever changes an address in somebody's stead can not keep it from them.
func TestContactChangeIsToldWhereOneWasReachedBefore(t *testing.T) {
	for name, c := range map[string]struct{ path, address string }{"e-mail": {"/account/email", newMail}, "phone": {"/account/phone", annPhone}} {
		t.Run(name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				offerSMS(t, w)
				ann := member(t, w, annMail)
				p := ann.ask(t, ann.Browser, c.path, c.address)
				ann.Submit(t, p, "/code", "code", w.Code(t, c.address)).At(t, "/account")
				if got := w.Letters(t, annMail)[0]; got.Subject != "Your sign-in details were changed" || strings.Contains(got.Text, c.address) {
					t.Errorf("the letter says %q: %s", got.Subject, got.Text)
				}
			})
		})
	}
}
