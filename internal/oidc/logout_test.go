package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
)

const bye = "https://app.example.com/bye"

// signedIn is a browser with ann's session, and the ID token that b.own got for it.
func (b *front) signedIn(t *testing.T) (br *browser, idToken string, in session.Session) {
	t.Helper()
	br = b.browser()
	in = br.signIn(t, b.ann)
	out, _ := b.redeem(t, br.authorize(t, b.own, nil).code(t, b.own), url.Values{"client_id": {b.own.ClientID}, "client_secret": {b.ownKey}})
	if out.ID == "" {
		t.Fatalf("got %+v", out)
	}
	return br, out.ID, in
}

// isOver reports whether a browser is signed in no more: prompt=none afterwards fails.
func (b *front) isOver(t *testing.T, br *browser) bool {
	t.Helper()
	b.pass(2 * time.Second)
	return br.authorize(t, b.own, url.Values{"prompt": {"none"}}).returned(t, b.own).Get("error") == "login_required"
}

func logout(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "/oauth2/logout?" + q.Encode()
}

// F.1, RP-initiated logout, "normal with state" and "no state".
func TestLogoutWithAHintGoesBackToTheApplication(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for state, want := range map[string]string{"": bye, "x &y": bye + "?state=x+%26y"} {
			br, hint, _ := b.signedIn(t)
			b.pass(20 * time.Minute) // the ID token has expired
			a := br.get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", state))
			if a.status != http.StatusSeeOther || a.head.Get("Location") != want {
				t.Errorf("got %d to %q, want %q", a.status, a.head.Get("Location"), want)
			}
			if !b.isOver(t, br) {
				t.Error("the session is still good")
			}
		}
	})
}

// F.1 "POST": the cookies come with the redirect that follows.
func TestLogoutByPost(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br, hint, _ := b.signedIn(t)
		a := b.browser().post(t, "/oauth2/logout", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}})
		if a = br.get(t, a.head.Get("Location")); a.head.Get("Location") != bye || !b.isOver(t, br) {
			t.Errorf("got %d to %q", a.status, a.head.Get("Location"))
		}
	})
}

// F.1 "unregistered URI", "added query", "no URI": the session ends, and the browser is
// sent nowhere. C2.46, C7.119.
func TestLogoutRedirectsToRegisteredAddressesOnly(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for name, address := range map[string]string{
			"unregistered": "https://evil.example.com/", "added query": bye + "?x=1", "added path": bye + "/x", "script": "javascript:alert(1)", "no URI": "",
			"of the code": callback, "no scheme": "//app.example.com/bye", "user": "https://app.example.com@evil.example.com/bye",
		} {
			t.Run(name, func(t *testing.T) {
				br, hint, _ := b.signedIn(t)
				a := br.get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", address, "state", "s"))
				a.wantPage(t, http.StatusOK, "")
				if address != "" && strings.Contains(a.body, address) || !b.isOver(t, br) {
					t.Errorf("got %d: %s", a.status, a.body)
				}
			})
		}
	})
}

// F.1 "modified hint (alg none)", "foreign-signed hint", "no hint", "no parameters",
// "only state"; C2.46: anybody can send a browser here, so the person is asked.
func TestLogoutWithoutAGoodHintAsks(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		_, hint, _ := b.signedIn(t)
		parts := strings.Split(hint, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
		for name, pairs := range map[string][]string{
			"alg none":      {"id_token_hint", none + "." + parts[1] + ".", "post_logout_redirect_uri", bye},
			"foreign":       {"id_token_hint", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "post_logout_redirect_uri", bye},
			"not a token":   {"id_token_hint", "x", "post_logout_redirect_uri", bye},
			"no hint":       {"client_id", b.own.ClientID, "post_logout_redirect_uri", bye, "state", "s"},
			"no parameters": {},
			"only state":    {"state", "s"},
		} {
			t.Run(name, func(t *testing.T) {
				br, _, _ := b.signedIn(t)
				asked := br.get(t, logout(pairs...))
				asked.wantPage(t, http.StatusOK, "")
				if b.isOver(t, br) {
					t.Fatal("the session has ended")
				}
				action, form := asked.form(t)
				if a := br.post(t, action, url.Values{"decision": {"one"}, "session": form["session"]}); a.status != http.StatusForbidden || b.isOver(t, br) { // C7.116
					t.Fatalf("without the form's token: got %d", a.status)
				}
				form.Set("decision", "one")
				done := br.post(t, action, form)
				done.wantPage(t, http.StatusOK, "")
				if strings.Contains(done.body, bye) != (name == "no hint") || !b.isOver(t, br) {
					t.Errorf("got %d: %s", done.status, done.body)
				}
			})
		}
	})
}

func TestLogoutOfAnotherClientsHintIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br, hint, _ := b.signedIn(t)
		br.get(t, logout("id_token_hint", hint, "client_id", b.public.ClientID)).wantPage(t, http.StatusBadRequest, "")
		if b.isOver(t, br) {
			t.Error("the session has ended")
		}
	})
}

// A hint of one account signs no other out.
func TestLogoutOfSomebodyElseAsks(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		_, hint, _ := b.signedIn(t)
		br := b.browser()
		br.signIn(t, b.bob)
		br.get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", bye)).wantPage(t, http.StatusOK, "bob")
		if b.isOver(t, br) {
			t.Error("bob's session has ended")
		}
	})
}

func TestLogoutOfAllAccounts(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br, _, _ := b.signedIn(t)
		br.signIn(t, b.bob)
		action, form := br.get(t, "/oauth2/logout").form(t)
		form.Set("decision", "all")
		br.post(t, action, form).wantPage(t, http.StatusOK, "")
		if br.cookies["__Host-cardea"] != "" || !b.isOver(t, br) {
			t.Errorf("cookies %v", br.cookies)
		}
	})
}

// A program signs out in a browser that knows nothing.
func TestLogoutWithAHintAndWithoutCookies(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br, hint, _ := b.signedIn(t)
		if a := b.browser().get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", bye)); a.head.Get("Location") != bye || !b.isOver(t, br) {
			t.Errorf("got %d to %q", a.status, a.head.Get("Location"))
		}
	})
}

// A receiver is an application's server that is told of logouts.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	status []int // to answer with, in turn; 200 after that
}

func receive(t *testing.T) *receiver {
	t.Helper()
	rc := &receiver{}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		rc.tokens = append(rc.tokens, r.PostFormValue("logout_token"))
		if len(rc.status) > 0 {
			w.WriteHeader(rc.status[0])
			rc.status = rc.status[1:]
		}
	}))
	t.Cleanup(rc.Close)
	return rc
}

// F.1 back-channel logout; C2.47.
func TestBackChannelLogout(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		rc := receive(t)
		rc.status = []int{http.StatusServiceUnavailable}
		app := b.own
		app.OAuth.BackchannelLogoutURI = rc.URL + "/bc"
		b.save(t, app)
		br, hint, in := b.signedIn(t)
		br.get(t, logout("id_token_hint", hint))
		for range 3 {
			if err := b.Jobs.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.pass(time.Minute)
		}
		if len(rc.tokens) != 2 { // the first answer asked for another try
			t.Fatalf("told %d times", len(rc.tokens))
		}
		var first, second map[string]any
		for i, into := range []*map[string]any{&first, &second} {
			claims, err := b.Ring.VerifyAnyAge(t.Context(), b.tenant, rc.tokens[i], "logout+jwt")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(claims, into); err != nil {
				t.Fatal(err)
			}
		}
		if first["iss"] != home || first["aud"] != app.ClientID || first["sub"] != b.ann.ID || first["sid"] != in.ID || first["jti"] != second["jti"] || first["jti"] == "" || first["iat"] == nil {
			t.Errorf("got %v", first)
		}
		if _, ok := first["nonce"]; ok || first["exp"].(float64)-first["iat"].(float64) != 120 {
			t.Errorf("got %v", first)
		}
		if events, _ := first["events"].(map[string]any); len(events) != 1 || events["http://schemas.openid.net/event/backchannel-logout"] == nil {
			t.Errorf("got %v", first)
		}
		// C2.49: it is no other kind of token.
		if _, err := b.Tokens.Read(t.Context(), b.tenant, rc.tokens[1]); err == nil {
			t.Error("a logout token is taken for an access token")
		}
		if _, _, _, err := b.Tokens.Hint(t.Context(), b.tenant, rc.tokens[1]); err == nil {
			t.Error("a logout token is taken for an ID token")
		}
	})
}

// C2.47: retries are bounded, a refusal is final, and nobody waits for a slow one.
func TestBackChannelLogoutGivesUp(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for name, c := range map[string]struct{ status, want int }{"refused": {http.StatusBadRequest, 1}, "failing": {http.StatusBadGateway, 6}} {
			rc := receive(t)
			for range 20 {
				rc.status = append(rc.status, c.status)
			}
			app := b.own
			app.OAuth.BackchannelLogoutURI = rc.URL
			b.save(t, app)
			br, hint, _ := b.signedIn(t)
			rc.mu.Lock() // it does not answer
			if a := br.get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", bye)); a.head.Get("Location") != bye {
				t.Errorf("%s: got %d", name, a.status)
			}
			rc.mu.Unlock()
			for range 20 {
				if err := b.Jobs.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.pass(time.Hour)
			}
			if len(rc.tokens) != c.want {
				t.Errorf("%s: told %d times, want %d", name, len(rc.tokens), c.want)
			}
		}
	})
}

func TestWhoHoldsNothingOfASessionIsNotTold(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		rc := receive(t)
		other, _ := b.application(t, tenant.Application{Name: "Other", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{BackchannelLogoutURI: rc.URL, FrontchannelLogoutURI: "https://other.example.com/fc"}})
		br, hint, _ := b.signedIn(t)
		a := br.get(t, logout("id_token_hint", hint))
		if err := b.Jobs.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(rc.tokens) > 0 || strings.Contains(a.body, "<iframe") {
			t.Errorf("%s was told", other.Name)
		}
	})
}

// F.1 front-channel logout.
func TestFrontChannelLogout(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		app := b.own
		app.OAuth.FrontchannelLogoutURI = "https://app.example.com/fc?a=1"
		b.save(t, app)
		br, hint, in := b.signedIn(t)
		a := br.get(t, logout("id_token_hint", hint, "post_logout_redirect_uri", bye, "state", "s"))
		want := "https://app.example.com/fc?a=1&" + url.Values{"iss": {home}, "sid": {in.ID}}.Encode()
		a.wantPage(t, http.StatusOK, "<iframe")
		if body := unescape(a.body); !strings.Contains(body, `src="`+want+`"`) || !strings.Contains(body, `href="`+bye+`?state=s"`) {
			t.Errorf("got %s", body)
		}
		if csp := a.head.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-src https://app.example.com") {
			t.Errorf("policy %s", csp)
		}
	})
}

// The end of a session elsewhere, such as on an account's page, is told too, in the
// transaction that ends it.
func TestSessionEndedElsewhereIsTold(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		rc := receive(t)
		app := b.own
		app.OAuth.BackchannelLogoutURI = rc.URL
		b.save(t, app)
		_, _, in := b.signedIn(t)
		b.write(t, func(tx *database.Tx) error {
			by := access.System(b.tenant)
			if err := b.Sessions.End(t.Context(), tx, by, b.ann.ID, in.ID, "admin"); err != nil {
				return err
			}
			return b.SessionEnded(t.Context(), tx, by, b.ann.ID, in.ID)
		})
		if err := b.Jobs.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(rc.tokens) != 1 {
			t.Errorf("told %d times", len(rc.tokens))
		}
	})
}
