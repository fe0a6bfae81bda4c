package signin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

const (
	passwordlessAPI = "/api/v1/auth/passwordless/"
	apiPhone        = "+4915112345678"
)

// A caller is an application with pages of its own.
type caller struct {
	*bench
	apptest.Client
	clientID string
}

// caller returns tenant demo's application. It has no key.
func (b *bench) caller() *caller {
	c := &caller{bench: b, Client: b.Demo.Client, clientID: b.Demo.ClientID}
	c.Client.Key = ""
	return c
}

// second makes another application of the tenant.
func (c *caller) second(t *testing.T, o tenant.OAuth) *caller {
	t.Helper()
	other := *c
	c.Write(t, func(ctx context.Context, tx *database.Tx) error {
		app, _, err := c.Tenants.CreateApplication(ctx, tx, access.System(c.Demo.ID), tenant.Application{Name: "Second", RedirectURIs: []string{"https://second.example.com/"}, OAuth: o})
		other.clientID = app.ClientID
		return err
	})
	return &other
}

// from returns the caller at another address.
func (c *caller) from(i int) *caller {
	other := *c
	other.Client.IP = fmt.Sprintf("2001:db8:%x::1", i)
	return &other
}

func (c *caller) post(t *testing.T, path string, body map[string]string) apptest.Answer {
	t.Helper()
	return c.Client.Post(t, path+"?client_id="+c.clientID, body)
}

func (c *caller) get(t *testing.T, path string, pairs ...string) apptest.Answer {
	t.Helper()
	query := url.Values{"client_id": {c.clientID}}
	for i := 0; i < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return c.Client.Get(t, path+"?"+query.Encode())
}

// send begins a sign-in by mail and returns its state.
func (c *caller) send(t *testing.T, email string) string {
	t.Helper()
	state, _ := c.post(t, passwordlessAPI+"magic-otp/send", map[string]string{"email": email}).Want(t, 200).Object(t)["state"].(string)
	return state
}

func (c *caller) verify(t *testing.T, state, code string) apptest.Answer {
	t.Helper()
	return c.post(t, passwordlessAPI+"email-otp/verify", map[string]string{"state": state, "otp": code})
}

func (c *caller) status(t *testing.T, state string) apptest.Answer {
	t.Helper()
	return c.get(t, passwordlessAPI+"magic-link/status", "state", state)
}

// linkToken is the token of the link in the newest mail.
func (c *caller) linkToken(t *testing.T, email string) string {
	t.Helper()
	link, err := url.Parse(c.Link(t, email))
	if err != nil {
		t.Fatal(err)
	}
	return link.Query().Get("token")
}

func (c *caller) verifyLink(t *testing.T, state, token string) apptest.Answer {
	t.Helper()
	return c.get(t, passwordlessAPI+"magic-link/verify", "state", state, "magictext", token)
}

// A login is what a sign-in by code gave.
type login struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Profile struct{ ID, Email string }
}

func (c *caller) login(t *testing.T, email string) (l login) {
	t.Helper()
	c.Clock.Advance(time.Minute) // sends to one person keep a distance
	c.verify(t, c.send(t, email), c.Code(t, email)).Want(t, 200).Into(t, &l)
	return l
}

func (c *caller) refresh(t *testing.T, token string) apptest.Answer {
	t.Helper()
	return c.get(t, "/api/v1/accesstoken/refresh", "refresh_token", token)
}

func (c *caller) whoami(t *testing.T, token string) apptest.Answer {
	t.Helper()
	asking := c.Client
	asking.Key = token
	return asking.Get(t, "/api/v1/session")
}

// keysOf lists the members of a JSON object in their order.
func keysOf(t *testing.T, object []byte) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, name.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func wantKeys(t *testing.T, object []byte, want ...string) {
	t.Helper()
	if got := keysOf(t, object); !slices.Equal(got, want) {
		t.Errorf("members are %q, want %q", got, want)
	}
}

func part(t *testing.T, object []byte, name string) json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(object, &m); err != nil {
		t.Fatal(err)
	}
	return m[name]
}

func wantForm(t *testing.T, object []byte, forms map[string]string) {
	t.Helper()
	for name, form := range forms {
		if got := string(part(t, object, name)); !regexp.MustCompile(`^` + form + `$`).MatchString(got) {
			t.Errorf("%s is %s, want the form %s", name, got, form)
		}
	}
}

var (
	handleForm = regexp.MustCompile(`^[0-9a-f]{24}$`)
	resultKeys = []string{"authenticated", "access_token", "refresh_token", "token_type", "expires_at", "profile"}
	shortKeys  = []string{"id", "account_id", "connection_type", "email", "first_name", "last_name", "created_at", "modified_at", "is_active", "LastLoginAt"}
)

const (
	milliForm  = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`
	secondForm = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`
	jwtForm    = `"[\w-]+\.[\w-]+\.[\w-]+"`
)

func wantStatus(t *testing.T, a apptest.Answer, issuer, email string) {
	t.Helper()
	a.Want(t, 200)
	wantKeys(t, a.Body, "authenticated", "oauth", "user")
	wantForm(t, a.Body, map[string]string{"authenticated": "true"})
	oauth, who := part(t, a.Body, "oauth"), part(t, a.Body, "user")
	wantKeys(t, oauth, "access_token", "refresh_token", "expires_at", "token_type")
	wantForm(t, oauth, map[string]string{"access_token": jwtForm, "refresh_token": `"rt_[\w-]+"`, "expires_at": secondForm, "token_type": `"Bearer"`})
	wantKeys(t, who, "created_at", "updated_at", "issuer", "user_id", "identifier", "email", "last_login_at")
	wantForm(t, who, map[string]string{
		"created_at": milliForm, "updated_at": milliForm, "last_login_at": milliForm, "user_id": `"[0-9a-f]{24}"`,
		"issuer": regexp.QuoteMeta(`"` + issuer + `"`), "identifier": `"` + email + `"`, "email": `"` + email + `"`,
	})
}

func wantBody(t *testing.T, a apptest.Answer, want string) {
	t.Helper()
	if got := strings.TrimSpace(string(a.Want(t, 200).Body)); got != want {
		t.Errorf("%s: got %s, want %s", a.Request.URL.Path, got, want)
	}
}

const (
	notYet     = `{"authenticated":false,"oauth":null,"user":null}`
	handedOut  = `{"authenticated":true,"oauth":null,"user":null}`
	demoOrigin = "https://" + apptest.BaseHost
)

func TestAPIMagicLink(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		c := b.caller()
		sent := c.post(t, passwordlessAPI+"magic-link/send", map[string]string{"email": " ANN@example.com "}).Want(t, 200)
		wantKeys(t, sent.Body, "state")
		state, _ := sent.Object(t)["state"].(string)
		if !handleForm.MatchString(state) {
			t.Fatalf("state is %q", state)
		}
		wantBody(t, c.status(t, state), notYet)

		// Opened on another device, which begins nothing: the application is told.
		link := c.Link(t, ann)
		for range 20 {
			b.Get(t, link).Want(t, 200)
		}
		wantBody(t, c.status(t, state), notYet)
		done := b.Submit(t, b.Get(t, link), "/signin/link").Want(t, 200)
		if links := done.Links(); !slices.Contains(links, "https://app.example.com/callback?state="+state) {
			t.Errorf("the page leads to %q, want the application with the state", links)
		}
		b.wantIn(t, false)

		wantStatus(t, c.status(t, state), demoOrigin, ann)
		wantBody(t, c.status(t, state), handedOut)
		b.Get(t, link).Want(t, 400)
	})
}

func TestAPIMagicLinkAgain(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		old := c.linkToken(t, ann)
		b.Clock.Advance(31 * time.Second)
		wantBody(t, c.post(t, passwordlessAPI+"magic-link/resend", map[string]string{"state": state}), "{}")
		c.verifyLink(t, state, old).WantError(t, 400, "link_spent")
		c.verifyLink(t, state, c.linkToken(t, ann)).Want(t, 200)
		b.Clock.Advance(31 * time.Second)
		for _, over := range []string{state, "", "646616daf9a276fa9a6446a1"} {
			c.post(t, passwordlessAPI+"magic-link/resend", map[string]string{"state": over}).WantError(t, 400, "signin_expired")
		}
	})
}

// A page of the application may know nothing but the state.
func TestAPIStatusNeedsNoClientID(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		c.verifyLink(t, state, c.linkToken(t, ann)).Want(t, 200)
		c.second(t, tenant.OAuth{}).status(t, state).WantError(t, 400, "signin_expired")
		wantStatus(t, c.Client.Get(t, passwordlessAPI+"magic-link/status?state="+state), demoOrigin, ann)
	})
}

func TestAPIVerifyMagicLink(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		token := c.linkToken(t, ann)
		target := passwordlessAPI + "magic-link/verify?" + url.Values{"client_id": {c.clientID}, "state": {state}, "magictext": {token}}.Encode()
		c.Client.Do(t, http.MethodHead, target, nil).Want(t, 405)
		b.Clock.Advance(time.Minute)
		other := c.send(t, "bob@example.com")
		for name, a := range map[string]apptest.Answer{
			"no state": c.verifyLink(t, "", token), "another state": c.verifyLink(t, other, token), "no token": c.verifyLink(t, state, ""),
			"another application": c.second(t, tenant.OAuth{}).verifyLink(t, state, token), "a made-up token": c.verifyLink(t, state, token[1:]+"A"),
		} {
			if e := a.WantError(t, 400, "link_spent"); e.Number != 2203 {
				t.Errorf("%s: %+v", name, e)
			}
		}
		wantBody(t, c.status(t, state), notYet)

		page := c.verifyLink(t, state, token).Want(t, 200)
		if title := regexp.MustCompile(`<title>(.*)</title>`).FindSubmatch(page.Body); title == nil || !strings.Contains(string(title[1]), "Successfully verified") {
			t.Errorf("the title is %q", title)
		}
		if media := page.Header.Get("Content-Type"); media != "text/html; charset=utf-8" || bytes.Contains(page.Body, []byte(token)) {
			t.Errorf("a page of type %q, which repeats the token: %t", media, bytes.Contains(page.Body, []byte(token)))
		}
		c.verifyLink(t, state, token).WantError(t, 400, "link_spent")
		wantStatus(t, c.status(t, state), demoOrigin, ann)
	})
}

// What would use something up does so for nobody who only asks for the head.
func TestAPIHeadUsesNothingUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		l := c.login(t, ann)
		c.Client.Do(t, http.MethodHead, "/api/v1/accesstoken/refresh?client_id="+c.clientID+"&refresh_token="+l.Refresh, nil).Want(t, 405)
		b.Clock.Advance(time.Minute)
		c.refresh(t, l.Refresh).Want(t, 200)
		state := c.send(t, ann)
		c.verifyLink(t, state, c.linkToken(t, ann)).Want(t, 200)
		c.Client.Do(t, http.MethodHead, passwordlessAPI+"magic-link/status?state="+state, nil).Want(t, 405)
		wantStatus(t, c.status(t, state), demoOrigin, ann)
	})
}

func TestAPICode(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		c := b.caller()
		for _, prefix := range []string{"magic-otp/", "email-otp/"} {
			b.Clock.Advance(time.Minute)
			sent := c.post(t, passwordlessAPI+prefix+"send", map[string]string{"email": ann}).Want(t, 200)
			wantKeys(t, sent.Body, "state")
			state, _ := sent.Object(t)["state"].(string)
			old := b.Code(t, ann)
			c.post(t, passwordlessAPI+prefix+"resend", map[string]string{"state": state}).WantError(t, 429, "rate_limited")
			b.Clock.Advance(31 * time.Second)
			wantBody(t, c.post(t, passwordlessAPI+prefix+"resend", map[string]string{"state": state}), "{}")
			code := b.Code(t, ann)
			if old != code {
				c.post(t, passwordlessAPI+prefix+"verify", map[string]string{"state": state, "otp": old}).WantError(t, 400, "code_invalid")
			}
			a := c.post(t, passwordlessAPI+prefix+"verify", map[string]string{"state": state, "otp": code[:3] + " " + code[3:]}).Want(t, 200)
			wantKeys(t, a.Body, resultKeys...)
			wantForm(t, a.Body, map[string]string{"authenticated": "true", "access_token": jwtForm, "refresh_token": `"rt_[\w-]+"`, "token_type": `"Bearer"`, "expires_at": secondForm})
			profile := part(t, a.Body, "profile")
			wantKeys(t, profile, shortKeys...)
			wantForm(t, profile, map[string]string{"email": `"` + ann + `"`, "connection_type": `"ManualUser"`, "first_name": `"Ann"`, "is_active": "true", "LastLoginAt": milliForm, "account_id": `"` + b.Demo.ID + `"`})
			wantBody(t, c.status(t, state), handedOut)
		}
	})
}

func TestAPISignsUpWhoIsNew(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		l := b.caller().login(t, ann)
		u, err := b.Users.Find(t.Context(), b.DB, access.System(b.Demo.ID), l.Profile.ID)
		if err != nil || u.Email != ann || !u.EmailVerified || u.LastLoginAt.IsZero() {
			t.Errorf("signed up as %+v, %v", u, err)
		}
	})
}

func TestAPIPhone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{SMS: true})
		c := b.caller()
		for _, names := range [][2]string{{"phone_id", "state"}, {"phone", "state_id"}} {
			b.Clock.Advance(time.Minute)
			sent := c.post(t, passwordlessAPI+"phone-otp/send", map[string]string{names[0]: "+49 151 12345678"}).Want(t, 200)
			wantKeys(t, sent.Body, "state_id", "state")
			state, _ := sent.Object(t)[names[1]].(string)
			b.Clock.Advance(time.Minute)
			wantBody(t, c.post(t, passwordlessAPI+"phone-otp/resend", map[string]string{names[1]: state}), "{}")
			a := c.post(t, passwordlessAPI+"phone-otp/verify", map[string]string{names[1]: state, "otp": b.Code(t, apiPhone)}).Want(t, 200)
			wantKeys(t, a.Body, append(slices.Clone(resultKeys), "status", "message")...)
			wantForm(t, a.Body, map[string]string{"authenticated": "true", "status": `"success"`, "message": `".+"`})
			wantKeys(t, part(t, a.Body, "profile"), shortKeys...)
		}
		for _, body := range []map[string]string{{}, {"phone_id": "0151 12345678"}, {"phone": ann}, {"phone_id": apiPhone + "," + apiPhone}} {
			c.post(t, passwordlessAPI+"phone-otp/send", body).WantError(t, 400, "invalid_phone")
		}
	})
}

// A code for one channel is none for the other, and the calls of one do not go on with
// what the other began.
func TestAPICodeBelongsToItsChannel(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.settings(t, tenant.SignIn{SMS: true})
		c := b.caller()
		mail := c.send(t, ann)
		code := b.Code(t, ann)
		b.Clock.Advance(time.Minute)
		c.post(t, passwordlessAPI+"phone-otp/verify", map[string]string{"state": mail, "otp": code}).WantError(t, 400, "code_invalid")
		c.post(t, passwordlessAPI+"phone-otp/resend", map[string]string{"state": mail}).WantError(t, 400, "signin_expired")
		c.verify(t, mail, code).Want(t, 200)
	})
}

// Wrong, expired, used, another's and none at all are told alike.
func TestAPIVerifyRefusesAlike(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		code := b.Code(t, ann)
		bob := c.send(t, "bob@example.com")
		answers := map[string]apptest.Answer{
			"wrong": c.verify(t, state, wrongCode(code)), "no code": c.verify(t, state, "abc"), "empty": c.verify(t, state, ""),
			"no state": c.verify(t, "", code), "a made-up state": c.verify(t, "646616daf9a276fa9a6446a1", code), "another's state": c.verify(t, bob, wrongCode(b.Code(t, "bob@example.com"))),
			"another application":  c.second(t, tenant.OAuth{}).verify(t, state, code),
			"a state of a browser": c.verify(t, b.identify(t, "eve@example.com").URL.Query().Get("state"), b.Code(t, "eve@example.com")),
		}
		c.verify(t, state, code).Want(t, 200)
		answers["used"] = c.verify(t, state, code)
		b.Clock.Advance(11 * time.Minute)
		answers["expired"] = c.verify(t, bob, b.Code(t, "bob@example.com"))
		for name, a := range answers {
			e := a.WantError(t, 400, "code_invalid")
			if e.Number != 2202 || len(e.Fields) > 0 || e.Description != answers["wrong"].WantError(t, 400, "code_invalid").Description {
				t.Errorf("%s: %+v", name, e)
			}
		}
	})
}

func wrongCode(code string) string {
	if code[0] == '9' {
		return "0" + code[1:]
	}
	return string(code[0]+1) + code[1:]
}

func TestAPIFiveWrongTriesEndTheCode(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		code := b.Code(t, ann)
		for i := range 5 {
			c.from(i).verify(t, state, wrongCode(code)).WantError(t, 400, "code_invalid")
		}
		c.verify(t, state, code).WantError(t, 400, "code_invalid")
	})
}

// TestAPITellsNobodyWhoIsKnown holds the answers for somebody who is known, who is not,
// and who may not sign in against each other: status, head and form of the body.
func TestAPITellsNobodyWhoIsKnown(t *testing.T) {
	for name, settings := range map[string]tenant.SignIn{"sign-up": {SMS: true}, "no sign-up": {SMS: true, NoSignUp: true}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.settings(t, settings)
				known, disabled := b.person(t, ann), b.person(t, "off@example.com")
				b.disable(t, disabled.ID)
				b.Write(t, func(ctx context.Context, tx *database.Tx) error {
					phone := apiPhone
					_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), known.ID, user.Change{Phone: &phone})
					return err
				})
				c := b.caller()
				for path, bodies := range map[string][]map[string]string{
					"magic-link/send": {{"email": ann}, {"email": "zoe@example.com"}, {"email": "off@example.com"}},
					"magic-otp/send":  {{"email": ann}, {"email": "zoe@example.com"}, {"email": "off@example.com"}},
					"phone-otp/send":  {{"phone_id": apiPhone}, {"phone_id": "+4915187654321"}},
				} {
					b.Clock.Advance(time.Minute)
					var shapes []string
					for _, body := range bodies {
						shapes = append(shapes, answerShape(c.post(t, passwordlessAPI+path, body).Want(t, 200)))
					}
					if slices.ContainsFunc(shapes, func(s string) bool { return s != shapes[0] }) {
						t.Errorf("%s tells them apart: %q", path, shapes)
					}
				}
				if got := len(b.Letters(t, "zoe@example.com")) > 0; got == settings.NoSignUp {
					t.Errorf("mail to somebody unknown: %t", got)
				}
				if len(b.Letters(t, "off@example.com")) > 0 {
					t.Error("mail to somebody who may not sign in")
				}
				var ways []string
				for _, who := range []string{ann, "zoe@example.com", "off@example.com"} {
					ways = append(ways, strings.ReplaceAll(answerShape(c.get(t, "/api/v1/auth/status", "identifier", who).Want(t, 200)), who, "x"))
				}
				if ways[0] != ways[1] || ways[0] != ways[2] {
					t.Errorf("the ways to sign in tell them apart: %q", ways)
				}
			})
		})
	}
}

// answerShape is an answer without what is random.
func answerShape(a apptest.Answer) string {
	head := a.Header.Clone()
	head.Del("X-Request-Id")
	body := regexp.MustCompile(`[0-9a-f]{24}`).ReplaceAll(a.Body, []byte("id"))
	return fmt.Sprint(a.Status, head, string(body))
}

func (b *bench) disable(t *testing.T, id string) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		off := false
		_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), id, user.Change{IsActive: &off})
		return err
	})
}

func TestAPIWays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		want := func(identifier, want string) {
			t.Helper()
			wantBody(t, c.get(t, "/api/v1/auth/status", "identifier", identifier), want)
		}
		want(" ANN@example.com", `{"identifier":"ann@example.com","methods":["magic_link","magic_otp","password"]}`)
		want(apiPhone, `{"identifier":"`+apiPhone+`","methods":["password"]}`)
		want("ann", `{"identifier":"ann","methods":["password"]}`)
		b.settings(t, tenant.SignIn{SMS: true, NoPassword: true, NoEmail: true})
		b.Clock.Advance(2 * time.Second)
		want(apiPhone, `{"identifier":"`+apiPhone+`","methods":["phone_otp"]}`)
		want(ann, `{"identifier":"ann@example.com","methods":[]}`)
		c.get(t, "/api/v1/auth/status").WantError(t, 400, "identifier_invalid")
		c.get(t, "/api/v1/auth/status", "identifier", "a@b").WantError(t, 400, "invalid_email")
	})
}

func TestAPISwitchesHold(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		c.post(t, passwordlessAPI+"phone-otp/send", map[string]string{"phone_id": apiPhone}).WantError(t, 403, "way_not_offered")
		b.settings(t, tenant.SignIn{NoEmail: true})
		b.Clock.Advance(time.Minute)
		for _, path := range []string{"magic-link/send", "magic-otp/send", "email-otp/send"} {
			c.post(t, passwordlessAPI+path, map[string]string{"email": ann}).WantError(t, 403, "way_not_offered")
		}
		for _, path := range []string{"magic-link/resend", "magic-otp/resend"} {
			c.post(t, passwordlessAPI+path, map[string]string{"state": state}).WantError(t, 403, "way_not_offered")
		}
		b.settings(t, tenant.SignIn{})
		b.Clock.Advance(time.Minute)
		// A user's consent and a key's proof have no place in these calls.
		for _, o := range []tenant.OAuth{{ThirdParty: true}, {RequireDPoP: true}} {
			c.second(t, o).post(t, passwordlessAPI+"magic-otp/send", map[string]string{"email": ann}).WantError(t, 403, "way_not_offered")
		}
	})
}

func TestAPINamesTheApplication(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		send := func(who, target string) apptest.Answer {
			t.Helper()
			return c.Client.Post(t, passwordlessAPI+target, map[string]string{"email": who})
		}
		send("a@example.com", "magic-otp/send?client_id="+c.clientID+"&client_id=").Want(t, 200)
		send("b@example.com", "magic-otp/send?client_id=&client_id="+c.clientID).Want(t, 200)
		c.Client.With("x-client-id", c.clientID).Post(t, passwordlessAPI+"magic-otp/send", map[string]string{"email": "c@example.com"}).Want(t, 200)
		send("d@example.com", "magic-otp/send").WantError(t, 400, "invalid_client")
		send("d@example.com", "magic-otp/send?client_id=cli_x").WantError(t, 400, "invalid_client")
		send("d@example.com", "magic-otp/send?client_id="+b.Tenant(t, "other").ClientID).WantError(t, 400, "invalid_client")
		c.Client.Get(t, "/api/v1/auth/status?identifier="+ann).WantError(t, 400, "invalid_client")
		c.Client.Get(t, "/api/v1/accesstoken/refresh?refresh_token=rt_x").WantError(t, 400, "invalid_client")
		off := c.second(t, tenant.OAuth{})
		state := off.send(t, ann)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			app, err := b.Tenants.ByClientID(ctx, off.clientID)
			if err != nil {
				return err
			}
			app.IsActive = false
			_, err = b.Tenants.SaveApplication(ctx, tx, access.System(b.Demo.ID), app)
			return err
		})
		b.Clock.Advance(2 * time.Second)
		off.verify(t, state, b.Code(t, ann)).WantError(t, 400, "invalid_client")
		c.Client.Get(t, passwordlessAPI+"magic-link/status?state="+state).WantError(t, 400, "invalid_client")
	})
}

// Pages of the application's origins may call, and no others.
func TestAPIAnswersPagesOfTheApplication(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		target := passwordlessAPI + "magic-link/status?state=" + state + "&client_id=" + c.clientID
		for origin, allowed := range map[string]bool{apptest.Origin: true, "https://evil.example": false} {
			a := c.Client.With("Origin", origin).Get(t, target).Want(t, 200)
			if got := a.Header.Get("Access-Control-Allow-Origin"); (got == origin) != allowed || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: allowed %q", origin, got)
			}
		}
	})
}

func TestAPIRefusesAddresses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, email := range []string{"", "ann", "ann@example.com,bob@example.com", "ann@example.com\r\nBcc: bob@example.com", "Ann <ann@example.com>", "ann@@example.com", "ｋｉｍ@example.com"} {
			e := b.caller().post(t, passwordlessAPI+"magic-link/send", map[string]string{"email": email}).WantError(t, 400, "invalid_email")
			if len(e.Fields) != 1 || e.Fields[0].Name != "email" {
				t.Errorf("%q: %+v", email, e)
			}
		}
	})
}

func TestAPISendsAreLimited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		for i := range 5 {
			c.from(i).send(t, ann)
			b.Clock.Advance(31 * time.Second)
		}
		a := c.from(9).post(t, passwordlessAPI+"magic-link/send", map[string]string{"email": ann})
		if a.WantError(t, 429, "rate_limited"); a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
}

func TestAPIDisabledUserStaysOut(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		u := b.person(t, ann)
		byCode := c.send(t, ann)
		code := b.Code(t, ann)
		b.Clock.Advance(time.Minute)
		byLink := c.send(t, ann)
		c.verifyLink(t, byLink, c.linkToken(t, ann)).Want(t, 200)
		b.disable(t, u.ID)
		c.verify(t, byCode, code).WantError(t, 403, "account_disabled")
		c.status(t, byLink).WantError(t, 403, "account_disabled")
	})
}

func TestAPIRefresh(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		c := b.caller()
		l := c.login(t, ann)
		a := c.refresh(t, l.Refresh)
		wantStatus(t, a, demoOrigin, ann)
		next := refreshOf(t, a)
		if next == l.Refresh {
			t.Fatal("the refresh token is the same")
		}
		if again := refreshOf(t, c.refresh(t, l.Refresh)); again != next {
			t.Error("sent again at once it gave another successor")
		}
		for name, other := range map[string]apptest.Answer{
			"another application": c.second(t, tenant.OAuth{}).refresh(t, next), "an access token": c.refresh(t, l.Access), "nothing": c.refresh(t, ""), "altered": c.refresh(t, next[:len(next)-4]+"AAAA"),
		} {
			if e := other.WantError(t, 401, "invalid_refresh_token"); e.Number != 2008 {
				t.Errorf("%s: %+v", name, e)
			}
		}
		last := refreshOf(t, c.refresh(t, next))
		b.Clock.Advance(time.Minute)
		c.refresh(t, next).WantError(t, 401, "invalid_refresh_token")
		c.refresh(t, last).WantError(t, 401, "invalid_refresh_token")
		c.whoami(t, l.Access).WantError(t, 401, "invalid_token")
	})
}

func refreshOf(t *testing.T, a apptest.Answer) (token string) {
	t.Helper()
	if err := json.Unmarshal(part(t, part(t, a.Want(t, 200).Body, "oauth"), "refresh_token"), &token); err != nil {
		t.Fatal(err)
	}
	return token
}

// What an application got by proving itself is not refreshed by whoever knows its
// client id.
func TestAPIRefreshIsNoWayAroundTheSecret(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		confidential := b.caller()
		public := confidential.second(t, tenant.OAuth{AuthMethod: tenant.AuthNone})
		codeOnly := confidential.second(t, tenant.OAuth{AuthMethod: tenant.AuthNone, GrantTypes: []string{tenant.GrantCode}})
		for _, c := range []struct {
			name string
			*caller
			grant   session.Grant
			allowed bool
		}{
			{"confidential", confidential, session.Grant{}, false}, {"confidential, open", confidential, session.Grant{Detail: session.Detail{Open: true}}, true},
			{"public", public, session.Grant{}, true}, {"public, bound to a key", public, session.Grant{KeyThumbprint: "x"}, false}, {"may not refresh", codeOnly, session.Grant{}, false},
		} {
			app, err := b.Tenants.ByClientID(t.Context(), c.clientID)
			if err != nil {
				t.Fatal(err)
			}
			c.grant.UserID, c.grant.ApplicationID = u.ID, app.ID
			b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
				c.grant, err = b.Sessions.Open(tx, access.System(b.Demo.ID), c.grant, session.GrantLifetimes)
				return err
			})
			token, err := b.Sessions.RefreshToken(t.Context(), b.Demo.ID, c.grant)
			if err != nil {
				t.Fatal(err)
			}
			if a := c.refresh(t, token); (a.Status == 200) != c.allowed {
				t.Errorf("%s: got %d %s", c.name, a.Status, a.Body)
			}
		}
	})
}

func TestAPIRaceHandsOutOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		state := c.send(t, ann)
		code, token := b.Code(t, ann), c.linkToken(t, ann)
		var won atomic.Int64
		together := func(call func(c *caller) bool) int64 {
			var wait sync.WaitGroup
			won.Store(0)
			for i := range 200 {
				wait.Go(func() {
					if call(c.from(i)) {
						won.Add(1)
					}
				})
			}
			wait.Wait()
			return won.Load()
		}
		if n := together(func(c *caller) bool { return c.verifyLink(t, state, token).Status == 200 }); n != 1 {
			t.Errorf("the link worked %d times", n)
		}
		c.verify(t, state, code).WantError(t, 400, "code_invalid")
		if n := together(func(c *caller) bool {
			return strings.Contains(string(c.status(t, state).Want(t, 200).Body), "access_token")
		}); n != 1 {
			t.Errorf("tokens were handed out %d times", n)
		}
		b.Clock.Advance(time.Minute)
		state = c.send(t, ann)
		code = b.Code(t, ann)
		if n := together(func(c *caller) bool { return c.verify(t, state, code).Status == 200 }); n != 1 {
			t.Errorf("the code worked %d times", n)
		}
	})
}

// Each try stands in the log with what it came from, each success also in the login
// logs of the user.
func TestAPIFillsTheLogs(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		c.Client = c.Client.With("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		state := c.send(t, ann)
		code := b.Code(t, ann)
		c.verify(t, state, wrongCode(code)).Want(t, 400)
		var l login
		c.verify(t, state, code).Want(t, 200).Into(t, &l)
		var logs struct {
			Entries []struct{ IpAddress, Name, Os, Device, UserAgent string } `json:"login_logs"`
		}
		b.Demo.Get(t, "/api/v1/users/"+l.Profile.ID+"/loginlogs").Want(t, 200).Into(t, &logs)
		if len(logs.Entries) != 1 || logs.Entries[0].Name != "Firefox" || logs.Entries[0].Os != "Linux" || logs.Entries[0].Device != "desktop" || logs.Entries[0].IpAddress != "192.0.2.7" {
			t.Errorf("login logs: %+v", logs.Entries)
		}
		for action, want := range map[string]string{"signin.succeeded": "success email_code  " + l.Profile.ID, "signin.failed": "failure email_code code_invalid "} {
			var result, method, reason, target string
			err := b.DB.QueryRow(t.Context(), "SELECT result, method, reason, target_id FROM audit_unsealed WHERE tenant_id = $1 AND action = $2", b.Demo.ID, action).Scan(&result, &method, &reason, &target)
			if got := strings.Join([]string{result, method, reason, target}, " "); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", action, got, err, want)
			}
		}
		if log := b.Log(); strings.Contains(log, code) || strings.Contains(log, state) || strings.Contains(log, l.Refresh) {
			t.Error("the log holds a secret")
		}
	})
}

// The tokens are those that other servers take: an access token with the claims of a
// sign-in that goes on in no browser.
func TestAPITokens(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		l := c.login(t, ann)
		a, err := b.Tokens.Read(t.Context(), b.Demo.ID, l.Access)
		if err != nil || a.UserID != l.Profile.ID || a.ClientID != c.clientID || a.SessionID == "" || !slices.Equal(a.AMR, []string{"otp"}) || a.AuthAt.IsZero() || a.Expires.Sub(a.IssuedAt) != 15*time.Minute {
			t.Errorf("the access token says %+v, %v", a, err)
		}
		if a.Has("users:read") || a.Has("offline_access") {
			t.Errorf("the scope is %q", a.Scope)
		}
	})
}

func TestAPISessionsAreListedAndEnded(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		first, second := c.login(t, ann), c.login(t, ann)
		stranger := c.login(t, "bob@example.com")
		path := "/api/v1/users/" + first.Profile.ID + "/sessions"
		listed := b.Demo.Get(t, path).Want(t, 200).List(t)
		if len(listed) != 2 {
			t.Fatalf("%d sessions, want 2: %v", len(listed), listed)
		}
		ids := map[string]string{}
		for _, l := range []login{first, second} {
			a, err := b.Tokens.Read(t.Context(), b.Demo.ID, l.Access)
			if err != nil {
				t.Fatal(err)
			}
			ids[l.Access] = a.SessionID
		}
		if listed[0]["id"] != ids[second.Access] || listed[1]["id"] != ids[first.Access] {
			t.Errorf("listed %v, want the newest first", listed)
		}
		b.Demo.Delete(t, "/api/v1/users/"+stranger.Profile.ID+"/sessions/"+ids[first.Access]).WantError(t, 404, "session_not_found")
		c.whoami(t, first.Access).Want(t, 200)

		wantBody(t, b.Demo.Delete(t, path+"/"+ids[first.Access]), `{"ended":1}`)
		b.Clock.Advance(time.Second)
		c.whoami(t, first.Access).WantError(t, 401, "invalid_token")
		c.refresh(t, first.Refresh).WantError(t, 401, "invalid_refresh_token")
		c.whoami(t, second.Access).Want(t, 200)
		b.Demo.Delete(t, path+"/"+ids[first.Access]).WantError(t, 404, "session_not_found")

		wantBody(t, b.Demo.Delete(t, path), `{"ended":1}`)
		b.Clock.Advance(time.Second)
		c.whoami(t, second.Access).WantError(t, 401, "invalid_token")
		c.whoami(t, stranger.Access).Want(t, 200)
		wantBody(t, b.Demo.Delete(t, path), `{"ended":0}`)
		wantBody(t, b.Demo.Get(t, path), `[]`)
		for _, call := range []func(string) apptest.Answer{
			func(p string) apptest.Answer { return b.Demo.Get(t, p) }, func(p string) apptest.Answer { return b.Demo.Delete(t, p) },
			func(p string) apptest.Answer { return b.Demo.Delete(t, p+"/"+ids[first.Access]) },
		} {
			call("/api/v1/users/6694c154565dfee5166d1cc7/sessions").WantError(t, 404, "user_not_found")
		}
	})
}

// Who may change users but not roles does not sign an administrator out.
func TestAPISessionsOfAnAdministrator(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		l := b.caller().login(t, ann)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			roles := []string{b.Demo.Roles["admin"].ID}
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), l.Profile.ID, user.Change{RoleIDs: &roles})
			return err
		})
		clerk := b.Demo.As(t, access.UsersRead, access.UsersWrite)
		path := "/api/v1/users/" + l.Profile.ID + "/sessions"
		id, _ := clerk.Get(t, path).Want(t, 200).List(t)[0]["id"].(string)
		clerk.Delete(t, path).WantError(t, 403, "access_denied")
		clerk.Delete(t, path+"/"+id).WantError(t, 403, "access_denied")
		b.caller().whoami(t, l.Access).Want(t, 200)
	})
}

func TestWhoAmI(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		c := b.caller()
		l := c.login(t, ann)
		a := c.whoami(t, l.Access).Want(t, 200)
		wantKeys(t, a.Body, "session", "user")
		wantKeys(t, part(t, a.Body, "user"), shortKeys...)
		wantForm(t, part(t, a.Body, "user"), map[string]string{"id": `"` + l.Profile.ID + `"`, "email": `"` + ann + `"`})
		wantKeys(t, part(t, a.Body, "session"), "id", "application_id", "organization_id", "amr", "acr", "authenticated_at", "created_at", "last_seen_at", "expires_at", "ip_address", "name", "os", "device", "country", "city")

		b.Clock.Advance(time.Minute)
		b.Submit(t, b.identify(t, ann), "/signin/code", "code", b.Code(t, ann))
		mine := b.Get(t, "/api/v1/session").Want(t, 200)
		wantForm(t, part(t, mine.Body, "user"), map[string]string{"id": `"` + l.Profile.ID + `"`})
		if cached := mine.Header.Get("Cache-Control"); cached != "no-store" {
			t.Errorf("Cache-Control is %q", cached)
		}

		b.disable(t, l.Profile.ID)
		b.Clock.Advance(time.Second)
		b.Get(t, "/api/v1/session").WantError(t, 401, "signed_out")
		c.whoami(t, l.Access).WantError(t, 401, "invalid_token")
	})
}

// A page of another origin reads nothing by the cookie.
func TestWhoAmIIsNotForOtherOrigins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Submit(t, b.identify(t, ann), "/signin/code", "code", b.Code(t, ann))
		b.Header.Set("Origin", apptest.Origin)
		a := b.Get(t, "/api/v1/session")
		if a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("another origin reads by cookie: %v", a.Header)
		}
	})
}

func TestWhoAmIRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		l := c.login(t, ann)
		app, err := b.Tenants.ByClientID(t.Context(), c.clientID)
		if err != nil {
			t.Fatal(err)
		}
		row, err := b.Tenants.ByID(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		self, err := b.Tokens.IssueSelf(t.Context(), row, app, "openid", nil, "")
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := b.Tokens.IssueSelf(t.Context(), row, app, "openid", []string{"https://api.example.com"}, "")
		if err != nil {
			t.Fatal(err)
		}
		bound, err := b.Tokens.IssueSelf(t.Context(), row, app, "openid", nil, "a key")
		if err != nil {
			t.Fatal(err)
		}
		for name, x := range map[string]struct{ token, code string }{
			"nothing": {"", "signed_out"}, "an API key": {b.Demo.Key, "invalid_token"}, "an application's own token": {self.Access, "signed_out"},
			"for another audience": {elsewhere.Access, "invalid_token"}, "bound to a key": {bound.Access, "invalid_token"}, "a refresh token": {l.Refresh, "invalid_token"},
			"altered": {l.Access[:len(l.Access)-4] + "AAAA", "invalid_token"},
		} {
			t.Run(name, func(t *testing.T) {
				if e := c.whoami(t, x.token).WantError(t, 401, x.code); e.Number != web.Number(x.code) {
					t.Errorf("%+v", e)
				}
			})
		}
		other := *c
		other.Client.Host = b.Tenant(t, "other").Host
		other.whoami(t, l.Access).WantError(t, 401, "invalid_token")
	})
}

// An application that may not see a user's names and address does not see them here.
func TestWhoAmIKeepsToTheScope(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		c := b.caller()
		app, err := b.Tenants.ByClientID(t.Context(), c.clientID)
		if err != nil {
			t.Fatal(err)
		}
		row, err := b.Tenants.ByID(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		for scope, want := range map[string]string{"openid": " ", "openid email": ann + " ", "openid profile": " Ann", "openid profile email": ann + " Ann", "profile email": "-"} {
			var g session.Grant
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				by := access.System(b.Demo.ID)
				in, _, err := b.Sessions.Start(ctx, tx, by, u.ID, app.ID, session.Proof{At: tx.Now}, session.From{}, session.SessionLifetimes)
				if err != nil {
					return err
				}
				g, err = b.Sessions.Open(tx, by, session.Grant{UserID: u.ID, SessionID: in.ID, ApplicationID: app.ID, Scope: scope}, session.GrantLifetimes)
				return err
			})
			issued, err := b.Tokens.Issue(t.Context(), row, app, g, token.Options{})
			if err != nil {
				t.Fatal(err)
			}
			a := c.whoami(t, issued.Access)
			if want == "-" {
				a.WantError(t, 401, "invalid_token")
				continue
			}
			var got struct {
				User struct {
					Email string `json:"email"`
					First string `json:"first_name"`
				}
			}
			if a.Want(t, 200).Into(t, &got); got.User.Email+" "+got.User.First != want {
				t.Errorf("%s: got %+v, want %q", scope, got, want)
			}
		}
	})
}
