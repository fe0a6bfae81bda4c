package signin_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
)

const passkeysPage = "/account/passkeys"

// ask is what the script of a page does first: it posts a form's fields to another
// address and reads what to ask the phone.
func ask(t *testing.T, b *apptest.Browser, p apptest.Page, action string) (state string, options []byte) {
	t.Helper()
	form, ok := p.Form(action)
	if !ok {
		t.Fatalf("no form for %s on %s: %s", action, p.URL, p.Text())
	}
	form.Fields.Set("able", "1") // a phone keeps passkeys itself
	address := map[string]string{"/signin/passkey": "/signin/passkey/options", "/signin/passkey/offer": "/signin/passkey/offer/options", passkeysPage + "/add": passkeysPage + "/options"}[action]
	var out struct {
		State     string          `json:"state"`
		PublicKey json.RawMessage `json:"publicKey"`
	}
	if err := json.Unmarshal(b.PostForm(t, address, form.Fields).Want(t, http.StatusOK).Body, &out); err != nil {
		t.Fatal(err)
	}
	return out.State, out.PublicKey
}

// touch answers a form with a phone: to sign in, or with a new passkey.
func touch(t *testing.T, b *apptest.Browser, p apptest.Page, action string, phone *phone) apptest.Page {
	t.Helper()
	state, options := ask(t, b, p, action)
	if action == "/signin/passkey" {
		return b.Submit(t, p, action, "state", state, "credential", phone.get(t, options))
	}
	return b.Submit(t, p, action, "credential", phone.create(t, options))
}

// withPasskey is a member with a passkey on a phone.
func withPasskey(t *testing.T, w *apptest.World, mail string) (*account, *phone) {
	t.Helper()
	a, phone := member(t, w, mail), newPhone()
	touch(t, a.Browser, a.Get(t, passkeysPage).At(t, passkeysPage), passkeysPage+"/add", phone).At(t, passkeysPage).WantText(t, "Your passkey is ready")
	return a, phone
}

func TestPasskeySignsInOnThePage(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, ann)
		fresh := w.Browser(apptest.BaseHost)
		p := fresh.Get(t, "/account").At(t, "/signin")
		if !strings.Contains(string(p.Body), `autocomplete="username webauthn"`) {
			t.Error("the field offers no passkeys")
		}
		touch(t, fresh, p, "/signin/passkey", phone).At(t, "/account").WantText(t, ann)
		in := a.sessions(t)[0]
		if diff := cmp.Diff([]string{"hwk", "user", "mfa"}, in.AMR); diff != "" || in.ACR != signin.ACRTwoFactors {
			t.Errorf("%s: %s", in.ACR, diff)
		}
		if got := a.events(t, "signin.succeeded"); got[0].Method != "passkey" {
			t.Errorf("the log says %q", got[0].Method)
		}
		a.Get(t, passkeysPage).WantText(t, "last used")
	})
}

// Without an attempt, and with an application that waits for its answer.
func TestPasskeyGoesOnWithWhatWasBegun(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		_, phone := withPasskey(t, w, ann)
		fresh := w.Browser(apptest.BaseHost)
		touch(t, fresh, fresh.Get(t, "/signin").At(t, "/signin"), "/signin/passkey", phone).At(t, "/account")
		fresh = w.Browser(apptest.BaseHost)
		begun := fresh.Get(t, "/account/sessions").At(t, "/signin")
		state, _ := ask(t, fresh, begun, "/signin/passkey")
		if want := begun.URL.Query().Get("state"); state != want {
			t.Errorf("another attempt: %s, want %s", state, want)
		}
		touch(t, fresh, begun, "/signin/passkey", phone).At(t, "/account/sessions")
	})
}

func TestPasskeyOnThePageRefuses(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, ann)
		b := w.Browser(apptest.BaseHost)
		first := func() apptest.Page { return b.Get(t, "/account").At(t, "/signin") }
		fails := func(name, says string, p apptest.Page) {
			t.Helper()
			if p.Status != http.StatusBadRequest || !p.Says(says) {
				t.Errorf("%s: %d %s", name, p.Status, p.Text())
			}
			b.Get(t, "/account").At(t, "/signin")
		}
		fails("another phone", "can not be used here", touch(t, b, first(), "/signin/passkey", newPhone()))
		unverified := *phone
		unverified.Options.UserNotVerified = true
		fails("nobody verified", "fingerprint", touch(t, b, first(), "/signin/passkey", &unverified))
		elsewhere := *phone
		elsewhere.site.Origin = "https://evil.example"
		fails("another site", "can not be used here", touch(t, b, first(), "/signin/passkey", &elsewhere))

		p := first()
		state, options := ask(t, b, p, "/signin/passkey")
		w.Clock.Advance(5 * time.Minute)
		fails("too late", "too long", b.Submit(t, p, "/signin/passkey", "state", state, "credential", phone.get(t, options)))
		_, options = ask(t, b, first(), "/signin/passkey")
		p = first()
		state, _ = ask(t, b, p, "/signin/passkey")
		fails("of another attempt", "too long", b.Submit(t, p, "/signin/passkey", "state", state, "credential", phone.get(t, options)))
		if n := len(a.sessions(t)); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// C6 107, on the page that names somebody.
func TestPasskeyPageTellsNobodyWhoIsKnown(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		_, phone := withPasskey(t, w, ann)
		allowed := func(mail string) (ids []string) {
			t.Helper()
			w.Clock.Advance(time.Minute)
			b := w.Browser(apptest.BaseHost)
			p := b.Submit(t, b.Get(t, "/account").At(t, "/signin"), "/signin", "identifier", mail).Want(t, http.StatusOK)
			_, options := ask(t, b, p, "/signin/passkey")
			var asked struct {
				AllowCredentials []struct{ ID, Type string }
			}
			if err := json.Unmarshal(options, &asked); err != nil {
				t.Fatal(err)
			}
			for _, c := range asked.AllowCredentials {
				ids = append(ids, c.ID)
			}
			return ids
		}
		if got := allowed(ann); len(got) != 1 || got[0] != virtualIDOf(phone) {
			t.Errorf("ann: %v", got)
		}
		nobody := allowed("zo@example.com")
		if len(nobody) != 1 || !cmp.Equal(nobody, allowed("ZO@example.com")) {
			t.Errorf("nobody: %v", nobody)
		}
		if member(t, w, "zo@example.com"); !cmp.Equal(nobody, allowed("zo@example.com")) {
			t.Error("it changed when somebody signed up")
		}
	})
}

func TestPasskeyIsOfferedAfterSigningIn(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		member(t, w, ann) // in another browser
		b, phone := w.Browser(apptest.BaseHost), newPhone()
		byCode := func(to string) apptest.Page {
			t.Helper()
			w.Clock.Advance(31 * time.Second)
			p := b.Get(t, "/account/sessions").At(t, "/signin")
			ask(t, b, p, "/signin/passkey") // a browser that can
			p = b.Submit(t, p, "/signin", "identifier", ann)
			return b.Submit(t, p.Want(t, http.StatusOK), "/signin/code", "code", w.Code(t, ann)).At(t, to)
		}
		leave := func() { b.Submit(t, b.Get(t, "/signout"), "/signout") }
		p := byCode("/signin/passkey/offer").WantText(t, "faster next time")
		b.Submit(t, p, "/signin/passkey/offer/later").At(t, "/account/sessions")
		leave()
		byCode("/account/sessions") // once is enough for a while
		leave()
		b.SetCookie("__Host-cardea-passkeys", "")
		p = byCode("/signin/passkey/offer")
		touch(t, b, p, "/signin/passkey/offer", phone).At(t, "/account/sessions")
		leave()
		touch(t, b, b.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone).At(t, "/account")
		leave()
		b.SetCookie("__Host-cardea-passkeys", "")
		byCode("/account/sessions") // there is one by now
	})
}

func TestPasskeyIsNotOfferedWhereNoneCanBeKept(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		member(t, w, ann)
		b := w.Browser(apptest.BaseHost)
		w.Clock.Advance(31 * time.Second)
		p := b.Get(t, "/account/sessions").At(t, "/signin")
		form, _ := p.Form("/signin/passkey")
		b.PostForm(t, "/signin/passkey/options", form.Fields).Want(t, http.StatusOK)
		p = b.Submit(t, p, "/signin", "identifier", ann)
		b.Submit(t, p.Want(t, http.StatusOK), "/signin/code", "code", w.Code(t, ann)).At(t, "/account/sessions")
	})
}

func TestPasskeyOfferIsOfItsSignIn(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		member(t, w, ann)
		b := w.Browser(apptest.BaseHost)
		w.Clock.Advance(31 * time.Second)
		p := b.Get(t, "/account").At(t, "/signin")
		state := p.URL.Query().Get("state")
		b.Get(t, "/signin/passkey/offer?state="+state).At(t, "/signin") // before it has ended
		ask(t, b, p, "/signin/passkey")
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, p.Want(t, http.StatusOK), "/signin/code", "code", w.Code(t, ann)).At(t, "/signin/passkey/offer")
		other := w.Browser(apptest.BaseHost)
		other.Get(t, "/signin/passkey/offer?state="+state).At(t, "/signin")
		w.Clock.Advance(11 * time.Minute)
		b.Get(t, "/signin/passkey/offer?state="+state).At(t, "/account")
		_ = p
	})
}

func TestPasskeysAreNamedAndRemovedOnThePage(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, ann)
		p := a.Get(t, passkeysPage)
		a.Submit(t, p, passkeysPage+"/rename", "name", " \t ").Want(t, http.StatusBadRequest)
		p = a.Submit(t, p, passkeysPage+"/rename", "name", "My phone").At(t, passkeysPage).WantText(t, "My phone", "new name")
		if !strings.Contains(string(p.Body), virtualIDOf(phone)) {
			t.Error("the browser is not told which passkeys there are")
		}
		stranger := member(t, w, "bo@example.com")
		form, _ := p.Form(passkeysPage + "/remove")
		theirs, _ := stranger.Get(t, "/account").Form("/account")
		fields := url.Values{"csrf": theirs.Fields["csrf"], "passkey": form.Fields["passkey"], "name": {"mine"}}
		for _, action := range []string{"/rename", "/remove", "/confirm"} {
			stranger.PostForm(t, passkeysPage+action, fields).Want(t, http.StatusNotFound)
		}
		a.Submit(t, p, passkeysPage+"/remove").At(t, passkeysPage).WantText(t, "The passkey is removed", "no passkeys yet")
		fresh := w.Browser(apptest.BaseHost)
		touch(t, fresh, fresh.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone).Want(t, http.StatusBadRequest)
		for action, want := range map[string]int{"passkey.added": 1, "passkey.renamed": 1, "passkey.removed": 1} {
			if got := len(a.events(t, action)); got != want {
				t.Errorf("%s: %d events", action, got)
			}
		}
		if n := len(w.Letters(t, ann)); n < 3 {
			t.Errorf("%d mails", n)
		}
	})
}

// C6 101: a session alone changes no passkeys, and a mailbox alone only adds the first.
func TestPasskeysTakeAFreshProof(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a, phone := withPasskey(t, w, ann)
		byMail := a.elsewhere(t)
		p := byMail.Get(t, passkeysPage).At(t, passkeysPage)
		for _, action := range []string{"/rename", "/remove", "/add"} {
			byMail.Submit(t, p, passkeysPage+action, "name", "mine").At(t, "/signin")
		}
		w.Clock.Advance(11 * time.Minute)
		p = a.Get(t, passkeysPage).At(t, passkeysPage)
		again := a.Submit(t, p, passkeysPage+"/rename", "name", "late").At(t, "/signin")
		p = touch(t, a.Browser, again, "/signin/passkey", phone).At(t, passkeysPage)
		a.Submit(t, p, passkeysPage+"/rename", "name", "in time").At(t, passkeysPage).WantText(t, "in time")
	})
}

func TestPasskeyIsASecondFactor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		a, phone := &account{Browser: b.World.Browser(apptest.BaseHost), w: b.World, mail: ann, id: u.ID}, newPhone()
		a.prove(t, a.Browser, a.Get(t, "/account"))
		touch(t, a.Browser, a.Get(t, passkeysPage), passkeysPage+"/add", phone)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired})
		p := b.byPassword(t, ann)
		b.wantIn(t, false)
		stranger := newPhone()
		stranger.Options.UserHandle = phone.Options.UserHandle
		touch(t, b.Browser, p, "/signin/passkey", stranger).Want(t, http.StatusBadRequest)
		b.wantIn(t, false)
		p = touch(t, b.Browser, b.Get(t, "/signin?state="+p.URL.Query().Get("state")), "/signin/passkey", phone)
		b.wantIn(t, true)
		in := b.newest(t, u)
		if diff := cmp.Diff([]string{"pwd", "hwk", "user", "mfa"}, in.AMR); diff != "" || in.ACR != signin.ACRTwoFactors {
			t.Errorf("%s: %s", in.ACR, diff)
		}
	})
}

// C1 3: what an intruder has added waits until its owner has seen it.
func TestARecoveredAccountHoldsItsPasskeys(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		a, phone := &account{Browser: b.World.Browser(apptest.BaseHost), w: b.World, mail: ann, id: u.ID}, newPhone()
		a.prove(t, a.Browser, a.Get(t, "/account"))
		touch(t, a.Browser, a.Get(t, passkeysPage), passkeysPage+"/add", phone)
		p := b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		p = b.Get(t, b.Link(t, ann))
		b.Submit(t, p, "/signin/reset", "password", "a new and rather long password").Want(t, http.StatusOK)
		fresh := b.World.Browser(apptest.BaseHost)
		touch(t, fresh, fresh.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone).Want(t, http.StatusForbidden).WantText(t, "switched off")
		back := b.World.Browser(apptest.BaseHost)
		a.prove(t, back, back.Get(t, "/account"))
		p = back.Get(t, passkeysPage).WantText(t, "Switched off")
		back.Submit(t, p, passkeysPage+"/confirm").At(t, passkeysPage).WantText(t, "works again")
		touch(t, fresh, fresh.Get(t, "/account").At(t, "/signin"), "/signin/passkey", phone).At(t, "/account")
	})
}
