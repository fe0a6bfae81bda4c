package signin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	furtherPath  = "/account/email/further"
	furtherMail  = "ann@example.net"
	furtherPhone = "+4915119999999"
)

// further adds an address on the pages.
func (a *account) further(t *testing.T, b *apptest.Browser, address string) apptest.Page {
	t.Helper()
	path := furtherPath
	if address[0] == '+' {
		path = "/account/phone/further"
	}
	p := a.ask(t, b, path, address)
	return b.Submit(t, p, "/code", "code", a.w.Code(t, address)).At(t, "/account")
}

// addresses are the further addresses of the user, held ones with an asterisk.
func (a *account) addresses(t *testing.T) []string { return addressesOf(t, a.w, a.id) }

func addressesOf(t *testing.T, w *apptest.World, id string) []string {
	t.Helper()
	list, err := w.Users.Addresses(t.Context(), w.DB, access.System(w.Demo.ID), id)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, a := range list {
		if a.Held {
			a.Value += "*"
		}
		out = append(out, a.Value)
	}
	return out
}

func (a *account) wantAddresses(t *testing.T, primary string, further ...string) {
	t.Helper()
	if got := a.user(t).Email; got != primary {
		t.Errorf("the primary address is %q, want %q", got, primary)
	}
	if diff := cmp.Diff(append([]string{}, further...), a.addresses(t)); diff != "" {
		t.Errorf("further addresses (-want +got):\n%s", diff)
	}
}

// addressed sends the form for the first further address that leads to action.
func (a *account) addressed(t *testing.T, b *apptest.Browser, action string) apptest.Page {
	t.Helper()
	return b.Submit(t, b.Get(t, "/account").At(t, "/account"), action)
}

// give gives a user a proved further address.
func give(t *testing.T, w *apptest.World, id, address string) {
	t.Helper()
	kind := user.KindFurtherEmail
	if address[0] == '+' {
		kind = user.KindFurtherPhone
	}
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := w.Users.AddAddress(ctx, tx, access.System(w.Demo.ID), id, user.Address{Kind: kind, Value: address})
		return err
	})
}

func hold(t *testing.T, w *apptest.World, id string) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return w.Users.HoldAddresses(ctx, tx, access.System(w.Demo.ID), id, "", "test")
	})
}

// gets is how many letters of a subject went to an address, and whether any has a link
// that undoes what it tells.
func gets(t *testing.T, w *apptest.World, to, text string) (n int, link bool) {
	t.Helper()
	for _, l := range w.Letters(t, to) {
		if strings.Contains(l.Text, text) {
			n++
			link = link || alarmForm.MatchString(l.Text)
		}
	}
	return n, link
}

func TestFurtherAddressesOfAnAccount(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		ann := member(t, w, annMail, func(u *user.User) { u.RoleIDs = []string{w.Demo.Roles["admin"].ID} })
		cookie := ann.Cookie("__Host-cardea")
		p := ann.ask(t, ann.Browser, furtherPath, " Ann@Example.NET ")
		ann.wantAddresses(t, annMail)
		ann.Submit(t, p, "/code", "code", w.Code(t, furtherMail)).At(t, "/account").WantText(t, "The address is added.", furtherMail, annMail)
		ann.wantAddresses(t, annMail, furtherMail)
		if ann.Cookie("__Host-cardea") == cookie {
			t.Error("the session has the token of before")
		}
		if n, link := gets(t, w, annMail, "An e-mail address was added"); n != 1 || !link {
			t.Errorf("told %d times, with a link %v", n, link)
		}
		ann.addressed(t, ann.Browser, furtherPath+"/primary").At(t, "/account").WantText(t, "Your e-mail address is changed.")
		ann.wantAddresses(t, furtherMail, annMail)
		for _, to := range []string{annMail, furtherMail} {
			if n, _ := gets(t, w, to, "The e-mail address was changed"); n != 1 {
				t.Errorf("%s is told %d times", to, n)
			}
		}
		p = ann.addressed(t, ann.Browser, furtherPath+"/remove").At(t, "/account").WantText(t, "The address is removed.")
		if p.Says(annMail) {
			t.Error("the page still shows it")
		}
		ann.wantAddresses(t, furtherMail)
		if n, link := gets(t, w, annMail, "A further e-mail address was removed"); n != 1 || link {
			t.Errorf("the address that went is told %d times, with a link %v", n, link)
		}
		if n, _ := gets(t, w, furtherMail, "A further e-mail address was removed"); n != 1 {
			t.Errorf("the primary one is told %d times", n)
		}
		for _, action := range []string{"user.address_added", "user.address_made_primary", "user.address_removed"} {
			if len(ann.events(t, action)) != 1 {
				t.Errorf("the log has no %s of the user's", action)
			}
		}
		ann.mail = furtherMail
		ann.elsewhere(t)
	})
}

func TestFurtherPhoneOfAnAccount(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		offerSMS(t, w)
		ann := member(t, w, annMail, func(u *user.User) {
			u.Phone, u.RequiredActions = annPhone, []string{"CONFIRM_PHONE", "OTHER"} // as after a reset
		})
		ann.further(t, ann.Browser, furtherPhone).WantText(t, "The number is added.")
		if n, _ := gets(t, w, annMail, "A phone number was added"); n != 1 {
			t.Errorf("told %d times", n)
		}
		ann.pause()
		b := w.Browser(apptest.BaseHost)
		p := b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", furtherPhone)
		b.Submit(t, p, "/signin/code", "code", w.Code(t, furtherPhone))
		b.Get(t, "/account").At(t, "/account")
		ann.addressed(t, ann.Browser, "/account/phone/further/primary").At(t, "/account")
		if u := ann.user(t); u.Phone != furtherPhone || !u.PhoneVerified || len(u.RequiredActions) != 1 {
			t.Errorf("%+v", u)
		}
		ann.wantAddresses(t, annMail) // the number before was not proved
	})
}

// Whoever types a further address gets in like by the primary one: what proves it goes to
// the address that was typed, and the session, the tokens and the letters are the user's.
func TestAFurtherAddressSignsIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.prove(t, u.ID)
		give(t, b.World, u.ID, furtherMail)
		t.Run("by code", func(t *testing.T) {
			in := b.another()
			p := in.identify(t, "ANN@example.net").WantText(t, furtherMail)
			in.Submit(t, p, "/signin/code", "code", in.Code(t, furtherMail))
			in.wantIn(t, true)
			in.Get(t, "/account").WantText(t, ann, furtherMail)
			if n := len(b.Letters(t, ann)); n != 0 {
				t.Errorf("%d letters to the primary address", n)
			}
		})
		t.Run("by link", func(t *testing.T) {
			b.Clock.Advance(time.Minute)
			in := b.another()
			in.identify(t, furtherMail)
			in.Submit(t, in.Get(t, in.Link(t, furtherMail)), "/signin/link")
			in.wantIn(t, true)
		})
		t.Run("by password", func(t *testing.T) {
			b.Clock.Advance(time.Minute)
			in := b.another()
			in.Submit(t, in.passwordPage(t, furtherMail), "/signin/password", "password", secret)
			in.wantIn(t, true)
		})
		t.Run("as if one were new", func(t *testing.T) {
			b.Clock.Advance(time.Minute)
			in := b.another()
			p := in.Submit(t, in.Get(t, "/signup"), "/signup", "identifier", furtherMail, "given_name", "Mallory")
			in.Submit(t, p, "/signin/code", "code", in.Code(t, furtherMail))
			in.Get(t, "/account").At(t, "/account").WantText(t, ann)
		})
		if got, _ := b.user(t, furtherMail); got.ID != u.ID || got.Email != ann || got.FirstName != "Ann" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAFurtherAddressResetsThePassword(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.prove(t, u.ID)
		give(t, b.World, u.ID, furtherMail)
		give(t, b.World, u.ID, "ann@example.org")
		in := b.another()
		in.Submit(t, in.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", furtherMail)
		if len(b.Letters(t, ann)) != 0 {
			t.Error("the mail went to the primary address")
		}
		in.Submit(t, in.Get(t, in.Link(t, furtherMail)), "/signin/reset", "password", "quite another long phrase").At(t, "/signin")
		in.Submit(t, in.passwordPage(t, ann), "/signin/password", "password", "quite another long phrase")
		in.wantIn(t, true)
		// C1.3: the address that the mail went to is proved by it, others wait.
		if diff := cmp.Diff([]string{furtherMail, "ann@example.org*"}, addressesOf(t, b.World, u.ID)); diff != "" {
			t.Error(diff)
		}
		if n, _ := gets(t, b.World, ann, "password"); n == 0 {
			t.Error("the primary address is not told")
		}
	})
}

// C1.11: a link to a new password dies with the address that it went to.
func TestAResetDiesWithItsFurtherAddress(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, b *bench, u user.User){
		"removed": func(t *testing.T, b *bench, u user.User) {
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Users.RemoveAddressesSince(ctx, tx, access.System(b.Demo.ID), u.ID, time.Time{}, "test")
				return err
			})
		},
		"held": func(t *testing.T, b *bench, u user.User) { hold(t, b.World, u.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				give(t, b.World, u.ID, furtherMail)
				b.Submit(t, b.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", furtherMail)
				link := b.Link(t, furtherMail)
				p := b.Get(t, link).Want(t, http.StatusOK)
				take(t, b, u)
				b.Submit(t, p, "/signin/reset", "password", "quite another long phrase").Want(t, http.StatusBadRequest)
				b.Get(t, link).Want(t, http.StatusBadRequest)
			})
		})
	}
}

// C1.3: who was in the account may have left an address there. After its owner has come
// back it does nothing, until the owner proves it again.
func TestResetHoldsFurtherAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.prove(t, u.ID)
		give(t, b.World, u.ID, malMail)
		in := b.another()
		in.Submit(t, in.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", ann)
		in.Submit(t, in.Get(t, in.Link(t, ann)), "/signin/reset", "password", "quite another long phrase")
		mallory := b.another()
		p := mallory.identify(t, malMail)
		mallory.Submit(t, p, "/signin/code", "code", mallory.Code(t, malMail)).Want(t, http.StatusUnauthorized)
		mallory.wantIn(t, false)
		letters := len(b.Letters(t, malMail))
		b.Clock.Advance(time.Minute)
		mallory.Submit(t, mallory.Get(t, "/signin/forgot"), "/signin/forgot", "identifier", malMail)
		if len(b.Letters(t, malMail)) != letters {
			t.Error("the address gets a link to a new password")
		}
		in.Submit(t, in.passwordPage(t, ann), "/signin/password", "password", "quite another long phrase")
		p = in.Get(t, "/account").WantText(t, malMail, "Not confirmed")
		if _, ok := p.Form(furtherPath + "/primary"); ok {
			t.Error("what waits can be made the primary one")
		}
		p = in.Submit(t, p, furtherPath).At(t, furtherPath+"/code")
		in.Submit(t, p, furtherPath+"/code", "code", in.Code(t, malMail)).At(t, "/account")
		if diff := cmp.Diff([]string{malMail}, addressesOf(t, b.World, u.ID)); diff != "" {
			t.Error(diff)
		}
	})
}

// C1.1, C1.3: an account whose address nobody had proved may have been somebody else's.
func TestTheFirstProofHoldsFurtherAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann) // not proved
		give(t, b.World, u.ID, malMail)
		p := b.identify(t, ann)
		b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
		b.wantIn(t, true)
		if diff := cmp.Diff([]string{malMail + "*"}, addressesOf(t, b.World, u.ID)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFurtherAddressesAreRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ann := member(t, w, annMail)
		t.Run("somebody else's, by whoever proves it", func(t *testing.T) {
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := w.Users.Create(ctx, tx, access.System(w.Demo.ID), user.User{Email: "bob@example.com", IsActive: true})
				return err
			})
			p := ann.ask(t, ann.Browser, furtherPath, "bob@example.com")
			ann.Submit(t, p, "/code", "code", w.Code(t, "bob@example.com")).WantText(t, "belongs to")
			ann.wantAddresses(t, annMail)
		})
		t.Run("a wrong code", func(t *testing.T) {
			p := ann.ask(t, ann.Browser, furtherPath, furtherMail)
			ann.Submit(t, p, "/code", "code", wrong(w.Code(t, furtherMail))).Want(t, 400)
			ann.wantAddresses(t, annMail)
		})
		t.Run("a code for another purpose", func(t *testing.T) {
			ann.pause()
			p := ann.ask(t, ann.Browser, furtherPath, "x@example.net")
			form, _ := p.Form("/code")
			form.Fields.Set("code", w.Code(t, "x@example.net"))
			ann.PostForm(t, "/account/email/code", form.Fields)
			ann.wantAddresses(t, annMail)
		})
		t.Run("what is no address", func(t *testing.T) {
			for _, bad := range []string{"", "ann", "ａnn@example.net", "ann@example.net, bob@example.com", "a@b@example.net"} {
				ann.Submit(t, ann.Get(t, furtherPath), furtherPath, "address", bad).Want(t, 400)
			}
		})
		t.Run("another user's row", func(t *testing.T) {
			bob := member(t, w, "bob2@example.com")
			give(t, w, ann.id, furtherMail)
			give(t, w, bob.id, "bob@example.net")
			list, err := w.Users.Addresses(t.Context(), w.DB, access.System(w.Demo.ID), ann.id)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			for _, action := range []string{"/primary", "/remove"} {
				bob.Submit(t, bob.Get(t, "/account"), furtherPath+action, "address", list[0].ID)
			}
			ann.wantAddresses(t, annMail, furtherMail)
			bob.wantAddresses(t, "bob2@example.com", "bob@example.net")
		})
		t.Run("removing the primary one before another is that", func(t *testing.T) {
			p := ann.Get(t, "/account")
			if _, ok := p.Form("/account/email/remove"); ok {
				t.Error("the page offers it")
			}
			form, _ := p.Form(furtherPath + "/remove")
			ann.PostForm(t, "/account/email/remove", form.Fields).WantText(t, "Make another address the primary one first.")
			ann.wantAddresses(t, annMail, furtherMail)
		})
		t.Run("without a fresh proof", func(t *testing.T) {
			p := ann.Get(t, "/account")
			w.Clock.Advance(time.Hour)
			for _, action := range []string{"/primary", "/remove"} {
				ann.Submit(t, p, furtherPath+action).At(t, "/signin")
			}
			ann.Get(t, furtherPath).At(t, "/signin")
			ann.wantAddresses(t, annMail, furtherMail)
		})
	})
}

// Who is in an account need not be who has the address that nobody has proved.
func TestAnUnprovedAccountGetsNoFurtherAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		b.Submit(t, b.Get(t, furtherPath).At(t, furtherPath), furtherPath, "address", furtherMail).WantText(t, "Confirm the e-mail address of this account first")
		if len(b.Letters(t, furtherMail)) != 0 {
			t.Error("a code is sent")
		}
	})
}

// Two people prove an address at the same time: it is one's.
func TestAFurtherAddressIsTakenOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		people := []*account{member(t, w, annMail), member(t, w, "bob@example.com")}
		pages, codes := make([]apptest.Page, 2), make([]string, 2)
		for i, a := range people {
			a.pause()
			pages[i] = a.ask(t, a.Browser, furtherPath, furtherMail)
			codes[i] = w.Code(t, furtherMail)
		}
		atOnce(2, func(i int) { people[i].Submit(t, pages[i], "/code", "code", codes[i]) })
		if n := len(people[0].addresses(t)) + len(people[1].addresses(t)); n != 1 {
			t.Errorf("%d have it, want 1", n)
		}
	})
}

// Somebody has got in, added their mailbox and made it the primary one. Whichever letter
// the owner answers, the account is theirs again.
func TestNotMeTakesBackThePrimaryAddress(t *testing.T) {
	for name, c := range map[string]struct {
		letter int // the newest is the first
		left   []string
	}{
		"the first letter": {1, []string{"ann@example.org*"}},
		"the second":       {0, []string{"ann@example.org*", malMail + "*"}}, // it was there before the change that the letter tells of
	} {
		t.Run(name, func(t *testing.T) {
			apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
				a := member(t, w, annMail)
				give(t, w, a.id, "ann@example.org")
				w.Clock.Advance(time.Hour)
				mallory := w.Browser(apptest.BaseHost)
				a.prove(t, mallory, mallory.Get(t, "/account"))
				before := len(alarms(t, w, annMail))
				a.further(t, mallory, malMail)
				ids, err := w.Users.Addresses(t.Context(), w.DB, access.System(w.Demo.ID), a.id)
				if err != nil {
					t.Fatal(err)
				}
				mallory.Submit(t, mallory.Get(t, "/account"), furtherPath+"/primary", "address", ids[len(ids)-1].ID)
				a.wantAddresses(t, malMail, annMail, "ann@example.org")
				mine := alarms(t, w, annMail)
				if len(mine) != before+2 {
					t.Fatalf("%d letters with a link, %d before", len(mine), before)
				}
				press(t, w, mine[c.letter])
				a.wantAddresses(t, annMail, c.left...)
				if in := mallory.Get(t, "/account"); in.URL.Path == "/account" {
					t.Error("the intruder is still in")
				}
				a.pause()
				b := w.Browser(apptest.BaseHost)
				p := b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", malMail)
				b.Submit(t, p, "/signin/code", "code", w.Code(t, malMail))
				if u := a.user(t); u.Email != annMail {
					t.Errorf("%+v", u)
				}
			})
		})
	}
}

// Who was thrown out has no link that would end anything.
func TestARemovedAddressGetsNoLink(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		give(t, w, a.id, malMail)
		a.addressed(t, a.Browser, furtherPath+"/remove")
		if n, link := gets(t, w, malMail, "was removed"); n != 1 || link {
			t.Errorf("told %d times, with a link %v", n, link)
		}
	})
}

func TestFurtherAddressesAreInOnesData(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := member(t, w, annMail)
		give(t, w, a.id, furtherMail)
		p := a.Submit(t, a.Get(t, "/account"), "/account/data").Want(t, 200)
		var data struct {
			Further []struct {
				Address string `json:"address"`
			} `json:"further_addresses"`
		}
		if err := json.Unmarshal(p.Body, &data); err != nil || len(data.Further) != 1 || data.Further[0].Address != furtherMail {
			t.Errorf("%+v, %v", data, err)
		}
	})
}

// C1.1 to C1.9: an address that a service vouches for leads to a question when it is a
// further one too, and to nothing while that waits.
func TestSocialMeetsAFurtherAddress(t *testing.T) {
	t.Run("proved", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			u := b.person(t, ann)
			b.prove(t, u.ID)
			give(t, b.World, u.ID, furtherMail)
			up, c := b.service(t, verified(furtherMail))
			p := b.bySocial(t, up, c).WantText(t, "already an account for "+furtherMail)
			b.wantIn(t, false)
			p = b.Submit(t, p, "/signin", "identifier", furtherMail)
			p = b.Submit(t, p, "/signin/code", "code", b.Code(t, furtherMail)).WantText(t, "Connect with Acme?", ann)
			b.Submit(t, p, "/signin/social-link", "choice", "link")
			b.wantIn(t, true)
			if b.linked(t, u.ID) != 1 {
				t.Error("it is not linked")
			}
			if diff := cmp.Diff([]string{furtherMail}, addressesOf(t, b.World, u.ID)); diff != "" {
				t.Error(diff)
			}
		})
	})
	t.Run("held", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			u := b.person(t, ann)
			b.prove(t, u.ID)
			give(t, b.World, u.ID, malMail)
			hold(t, b.World, u.ID)
			up, c := b.service(t, verified(malMail))
			p := b.bySocial(t, up, c)
			if p.Says("already an account") {
				t.Error("what waits is told to be known")
			}
			mallory := b.another()
			q := mallory.Submit(t, mallory.bySocial(t, up, c), "/signin", "identifier", malMail)
			mallory.Submit(t, q, "/signin/code", "code", mallory.Code(t, malMail)).Want(t, http.StatusUnauthorized)
			p = b.Submit(t, p, "/signin", "identifier", ann)
			p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
			b.Submit(t, p, "/signin/social-link", "choice", "link").WantText(t, "Confirm the e-mail address")
			if b.linked(t, u.ID) != 0 {
				t.Error("it is linked")
			}
			b.Submit(t, b.another().passwordPage(t, ann), "/signin/password", "password", secret) // which is still there
		})
	})
	t.Run("nobody is made beside its user", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			u := b.person(t, ann)
			give(t, b.World, u.ID, furtherMail)
			up, c := b.service(t, verified(furtherMail))
			b.bySocial(t, up, c)
			b.wantIn(t, false)
			if got, _ := b.user(t, furtherMail); got.ID != u.ID {
				t.Errorf("%+v", got)
			}
		})
	})
}

// The same by an organization that has proved the address's domain.
func TestSSOMeetsAFurtherAddress(t *testing.T) {
	const work = "ann.work@example.com"
	claims := map[string]any{"email": work}
	for name, c := range map[string]struct{ member, held, in bool }{
		"a member":                {member: true, in: true},
		"no member":               {},
		"a member, and it waits":  {member: true, held: true},
		"no member, and it waits": {held: true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.spa(t)
				e := b.enterprise(t, org.Organization{}, true, claims)
				u := b.person(t, "ann@home.test")
				b.prove(t, u.ID)
				give(t, b.World, u.ID, work)
				if c.member {
					b.joins(t, e.Organization, u.ID)
				}
				if c.held {
					hold(t, b.World, u.ID)
				}
				p := b.byButton(t, e)
				if c.in {
					if got := claimsOf(t, b.swap(t, p).Access); got["sub"] != u.ID || got["org_id"] != e.ID {
						t.Errorf("got %v", got)
					}
					return
				}
				b.wantIn(t, false)
				p = b.Submit(t, p, "/signin", "identifier", "ann@home.test")
				p = b.Submit(t, p, "/signin/code", "code", b.Code(t, "ann@home.test"))
				if c.member { // is let in by this proof, and nothing is connected
					again := b.another()
					again.byButton(t, e)
					again.wantIn(t, false)
					return
				}
				p = b.Submit(t, p, "/signin/sso-link", "choice", "link")
				if c.held {
					p.WantText(t, "Confirm the e-mail address")
					return
				}
				if got := claimsOf(t, b.swap(t, p).Access); got["sub"] != u.ID {
					t.Errorf("got %v", got)
				}
			})
		})
	}
}

// The primary address is what applications see, whichever was typed.
func TestTokensShowThePrimaryAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{})
		b.spa(t)
		u := b.person(t, ann)
		b.prove(t, u.ID)
		give(t, b.World, u.ID, furtherMail)
		p := b.Submit(t, b.authorize(t), "/signin", "identifier", furtherMail)
		p = b.Submit(t, p, "/signin/code", "code", b.Code(t, furtherMail))
		got := claimsOf(t, b.swap(t, p).Access)
		if got["sub"] != u.ID {
			t.Errorf("got %v", got)
		}
		for _, claim := range got {
			if claim == any(furtherMail) {
				t.Errorf("a token tells the address that was typed: %v", got)
			}
		}
	})
}
