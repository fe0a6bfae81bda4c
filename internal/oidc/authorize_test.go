package oidc_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// F.1 "full happy flow", "state echoed".
func TestAuthorizeSignsInAndAnswersWithACode(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		back := br.authorize(t, b.public, nil).signsIn(t, b)
		br.signIn(t, b.ann)
		a := br.get(t, back)
		q := a.returned(t, b.public)
		if q.Get("state") != "s" || a.head.Get("Referrer-Policy") != "no-referrer" || a.head.Get("Cache-Control") != "no-store" { // C2.53
			t.Errorf("got %v, %v", q, a.head)
		}
		out, _ := b.redeem(t, q.Get("code"), nil)
		if out.Access == "" || out.ID == "" || out.Refresh != "" || out.Scope != "openid" {
			t.Errorf("got %+v", out)
		}
		br.get(t, back).wantPage(t, http.StatusBadRequest, "") // it was answered

		silent := br.authorize(t, b.public, url.Values{"prompt": {"none"}}).code(t, b.public)
		if silent == "" || silent == q.Get("code") {
			t.Errorf("got the code %q again", silent)
		}
	})
}

// F.1 "POST authorization"; C2.52.
func TestAuthorizeByPost(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		q, err := url.ParseQuery(query(b.public, nil))
		if err != nil {
			t.Fatal(err)
		}
		posted := b.browser().post(t, "/oauth2/authorize", q) // from another site: without cookies
		if posted.status != http.StatusSeeOther || strings.Contains(posted.head.Get("Location"), "state") {
			t.Fatalf("got %d to %s", posted.status, posted.head.Get("Location"))
		}
		br.get(t, posted.head.Get("Location")).code(t, b.public)

		q.Set("response_type", "token")
		b.browser().post(t, "/oauth2/authorize", q).wantError(t, b.public, "unsupported_response_type")
		q.Set("redirect_uri", "https://evil.example.com/")
		b.browser().post(t, "/oauth2/authorize", q).wantPage(t, http.StatusBadRequest, "")
	})
}

// F.1 "form_post"; C2.31.
func TestResponseModes(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		state := `<script>alert(1)</script>"'&` + strings.Repeat("s", 4000)
		a := br.authorize(t, b.public, url.Values{"response_mode": {"form_post"}, "state": {state}})
		action, form := a.form(t)
		if a.status != http.StatusOK || action != callback || form.Get("state") != state || form.Get("iss") != home || form.Get("code") == "" || strings.Contains(a.body, "<script>alert") {
			t.Errorf("got %d, %s, %v", a.status, action, form)
		}
		if a.head.Get("X-Frame-Options") != "DENY" || a.head.Get("Cache-Control") != "no-store" {
			t.Errorf("got %v", a.head)
		}
		to := br.authorize(t, b.public, url.Values{"response_mode": {"fragment"}, "state": {state}}).head.Get("Location")
		part, _ := strings.CutPrefix(to, callback+"#")
		if q, err := url.ParseQuery(part); err != nil || q.Get("state") != state || q.Get("code") == "" {
			t.Errorf("got %q", to)
		}
		if got := br.authorize(t, b.public, url.Values{"state": {state}}).returned(t, b.public).Get("state"); got != state {
			t.Errorf("the state came back as %q", got)
		}
	})
}

// C2.23 over the wire, and C2.28 for errors.
func TestErrorsBeforeTheRedirectURIIsCertainArePages(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		for name, target := range map[string]string{
			"no client":              query(b.public, url.Values{"client_id": nil}),
			"unknown client":         query(b.public, url.Values{"client_id": {"cli_nobody"}}),
			"another redirect URI":   query(b.public, url.Values{"redirect_uri": {"https://evil.example.com/"}}),
			"two redirect URIs":      query(b.public, nil) + "&redirect_uri=" + url.QueryEscape(callback),
			"two clients":            query(b.public, nil) + "&client_id=" + b.own.ClientID,
			"no redirect URI":        query(b.public, url.Values{"redirect_uri": nil}),
			"not even a query":       "%zz",
			"an unknown request":     "client_id=" + b.public.ClientID + "&request_uri=urn:ietf:params:oauth:request_uri:nothing",
			"a long request address": "client_id=" + b.public.ClientID + "&request_uri=urn:ietf:params:oauth:request_uri:" + strings.Repeat("x", 100),
		} {
			t.Run(name, func(t *testing.T) {
				br.get(t, "/oauth2/authorize?"+target).wantPage(t, http.StatusBadRequest, "")
			})
		}
		for name, c := range map[string]struct {
			change     url.Values
			more, want string
		}{
			"implicit":           {url.Values{"response_type": {"token"}}, "", "unsupported_response_type"},
			"plain PKCE":         {url.Values{"code_challenge_method": {"plain"}}, "", "invalid_request"},
			"no PKCE":            {url.Values{"code_challenge_method": nil, "code_challenge": nil}, "", "invalid_request"},
			"a parameter twice":  {nil, "&scope=openid", "invalid_request"},
			"a parameter of NUL": {nil, "&nonce=%00", "invalid_request"},
			"a forged hint":      {url.Values{"id_token_hint": {"eyJhbGciOiJub25lIn0.e30."}}, "", "invalid_request"},
		} {
			t.Run(name, func(t *testing.T) {
				br.get(t, "/oauth2/authorize?"+query(b.public, c.change)+c.more).wantError(t, b.public, c.want)
			})
		}
	})
}

// F.5 "automatic redirect on invalid scope or response type avoided".
func TestBrokenRequestsOfStrangersApplicationsDoNotRedirect(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		a := b.browser().authorize(t, b.foreign, url.Values{"response_type": {"token"}})
		a.wantPage(t, http.StatusBadRequest, "https://foreign.example.com/callback?error=unsupported_response_type")
		b.browser().authorize(t, b.foreign, url.Values{"prompt": {"none"}}).wantError(t, b.foreign, "login_required")
	})
}

// F.1 "prompt=none without session", "prompt=login", "max_age=1", "max_age=10000",
// "id_token_hint with prompt=none"; C2.45.
func TestPromptAndMaxAge(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		none := url.Values{"prompt": {"none"}}
		br.authorize(t, b.public, none).wantError(t, b.public, "login_required")
		br.signIn(t, b.ann)
		out, _ := b.redeem(t, br.authorize(t, b.public, none).code(t, b.public), nil)
		b.pass(time.Minute)

		br.authorize(t, b.public, url.Values{"max_age": {"10000"}}).code(t, b.public)
		br.authorize(t, b.public, url.Values{"prompt": {"none"}, "max_age": {"10"}}).wantError(t, b.public, "login_required")
		for _, change := range []url.Values{{"max_age": {"1"}}, {"max_age": {"0"}}, {"prompt": {"login"}}} {
			b.pass(time.Minute)
			back := br.authorize(t, b.public, change).signsIn(t, b)
			br.get(t, back).signsIn(t, b) // going back without signing in is not enough
			br.cookies["__Host-cardea"] = ""
			br.signIn(t, b.ann)
			br.get(t, back).code(t, b.public)
		}
		br.authorize(t, b.public, url.Values{"prompt": {"create"}}).signsIn(t, b)
		br.authorize(t, b.public, url.Values{"prompt": {"select_account"}}).signsIn(t, b)

		hint := url.Values{"prompt": {"none"}, "id_token_hint": {out.ID}}
		br.authorize(t, b.public, hint).code(t, b.public)
		other := b.browser()
		other.signIn(t, b.bob)
		other.authorize(t, b.public, hint).wantError(t, b.public, "login_required")
		other.authorize(t, b.public, url.Values{"id_token_hint": {out.ID}}).signsIn(t, b)
		hint.Set("claims", `{"id_token":{"sub":{"value":"`+b.bob.ID+`"}}}`)
		other.authorize(t, b.public, hint).wantError(t, b.public, "login_required")
	})
}

// F.1 "acr_values harmless"; OpenID Connect Core, section 5.5.1.1.
func TestLevels(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		br.authorize(t, b.public, url.Values{"acr_values": {"urn:more"}}).code(t, b.public)
		br.authorize(t, b.public, url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["urn:cardea:acr:1"]}}}`}}).code(t, b.public)
		must := url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["urn:more"]}}}`}}
		back := br.authorize(t, b.public, must).signsIn(t, b)
		br.get(t, back).wantError(t, b.public, "unmet_authentication_requirements")
	})
}

func TestSeveralAccountsAreChosenFrom(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		br.signIn(t, b.bob)
		br.authorize(t, b.public, url.Values{"prompt": {"none"}}).wantError(t, b.public, "account_selection_required")
		br.get(t, br.authorize(t, b.public, nil).signsIn(t, b)).code(t, b.public)
		for _, hint := range []string{"ann@example.com", "Bob@Example.com"} {
			code := br.authorize(t, b.public, url.Values{"prompt": {"none"}, "login_hint": {hint}}).code(t, b.public)
			out, _ := b.redeem(t, code, nil)
			if a, err := b.Tokens.Read(t.Context(), b.tenant, out.Access); err != nil || (a.UserID == b.ann.ID) != (hint == "ann@example.com") {
				t.Errorf("%s: got %+v, %v", hint, a, err)
			}
		}
		br.authorize(t, b.public, url.Values{"login_hint": {`"><b>x`}}).signsIn(t, b)
	})
}

// C0.4: a flow that was begun in another browser.
func TestARequestBelongsToTheBrowserThatBeganIt(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		attacker, victim := b.browser(), b.browser()
		back := attacker.authorize(t, b.public, nil).signsIn(t, b)
		victim.signIn(t, b.ann)
		victim.get(t, back).wantPage(t, http.StatusBadRequest, "")
		victim.cookies["__Host-cardea-browser"] = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
		victim.get(t, back).wantPage(t, http.StatusBadRequest, "")
		b.pass(time.Hour)
		attacker.signIn(t, b.ann)
		attacker.get(t, back).wantPage(t, http.StatusBadRequest, "") // expired
	})
}

// C0.17: what the client is registered for counts when the request is answered.
func TestARequestIsRefusedWhenItsClientHasChanged(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		back := br.authorize(t, b.public, nil).signsIn(t, b)
		br.signIn(t, b.ann)
		changed := b.public
		changed.RedirectURIs = []string{callback + "/new"}
		b.save(t, changed)
		br.get(t, back).wantPage(t, http.StatusBadRequest, "")
		changed.IsActive = false
		b.save(t, changed)
		br.get(t, back).wantPage(t, http.StatusBadRequest, "")
	})
}

func (b *front) push(t *testing.T, form url.Values) (uri string, a answer) {
	t.Helper()
	a = b.browser().post(t, "/oauth2/par", form)
	var out struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
	}
	decode(t, a, &out)
	if a.status == http.StatusCreated && (out.ExpiresIn != 60 || a.head.Get("Cache-Control") != "no-store") {
		t.Errorf("got %+v, %v", out, a.head)
	}
	return out.RequestURI, a
}

// RFC 9126; C2.30.
func TestPushedRequests(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		pushable := func(change url.Values) url.Values {
			q, err := url.ParseQuery(query(b.own, url.Values{"client_secret": {b.ownKey}}))
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range change {
				q[name] = values
			}
			return q
		}
		target := func(app tenant.Application, uri string) string {
			return "/oauth2/authorize?" + url.Values{"client_id": {app.ClientID}, "request_uri": {uri}, "scope": {"ignored"}}.Encode()
		}
		br := b.browser()
		br.signIn(t, b.ann)

		uri, _ := b.push(t, pushable(nil))
		br.get(t, target(b.public, uri)).wantPage(t, http.StatusBadRequest, "") // another client's
		br.get(t, target(b.own, uri)).code(t, b.own)
		br.get(t, target(b.own, uri)).wantPage(t, http.StatusBadRequest, "") // reused

		uri, _ = b.push(t, pushable(nil))
		b.pass(time.Minute)
		br.signIn(t, b.ann)
		br.get(t, target(b.own, uri)).wantPage(t, http.StatusBadRequest, "") // expired

		uri, _ = b.push(t, pushable(nil))
		fresh := b.browser()
		back := fresh.get(t, target(b.own, uri)).signsIn(t, b)
		b.pass(30 * time.Minute) // signing in takes as long as it takes
		fresh.signIn(t, b.ann)
		fresh.get(t, back).code(t, b.own)

		for name, c := range map[string]struct {
			change url.Values
			want   string
		}{
			"wrong secret":         {url.Values{"client_secret": {"cs_nothing"}}, "invalid_client"},
			"request_uri":          {url.Values{"request_uri": {uri}}, "invalid_request"},
			"request object":       {url.Values{"request": {"x"}}, "request_not_supported"},
			"another redirect URI": {url.Values{"redirect_uri": {"https://evil.example.com/"}}, "invalid_request"},
			"a wrong type":         {url.Values{"response_type": {"token"}}, "unsupported_response_type"},
			"a parameter twice":    {url.Values{"scope": {"openid", "openid"}}, "invalid_request"},
		} {
			_, a := b.push(t, pushable(c.change))
			if !strings.Contains(a.body, `"error":"`+c.want+`"`) {
				t.Errorf("%s: got %d %s", name, a.status, a.body)
			}
		}

		must := b.own
		must.OAuth.RequirePAR = true
		b.save(t, must)
		one := b.browser()
		one.signIn(t, b.ann)
		one.authorize(t, b.own, nil).wantError(t, b.own, "invalid_request")
		uri, _ = b.push(t, pushable(nil))
		one.get(t, target(b.own, uri)).code(t, b.own)
	})
}

func TestKeycloakAddressesAnswerToo(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		br.get(t, "/auth/realms/demo/protocol/openid-connect/auth?"+query(b.public, nil)).code(t, b.public)
		br.get(t, "/realms/demo/protocol/openid-connect/auth?"+query(b.public, nil)).code(t, b.public)
		if a := br.get(t, "/auth/realms/other/protocol/openid-connect/auth?"+query(b.public, nil)); a.status < 400 {
			t.Errorf("another tenant's address: got %d", a.status)
		}
	})
}

// C7.117, C2.44: what changes something is posted.
func TestWhatAPersonDecidesIsPosted(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		for _, path := range []string{"/oauth2/authorize/consent", "/oauth2/logout/confirm"} {
			if a := b.browser().get(t, path+"?decision=allow"); a.status != http.StatusMethodNotAllowed {
				t.Errorf("%s: got %d", path, a.status)
			}
		}
	})
}

// S6: pending codes of a user whose sessions have ended come to nothing.
func TestACodeEndsWithItsSession(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		br.signIn(t, b.ann)
		code := br.authorize(t, b.public, nil).code(t, b.public)
		b.write(t, func(tx *database.Tx) error {
			_, err := b.Sessions.EndAll(t.Context(), tx, access.System(b.tenant), b.ann.ID, "disabled")
			return err
		})
		if out, _ := b.redeem(t, code, nil); out.Error != "invalid_grant" {
			t.Errorf("got %+v", out)
		}
		br.authorize(t, b.public, nil).signsIn(t, b)
	})
}

func TestSweepRemovesWhatHasExpired(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		back := br.authorize(t, b.public, nil).signsIn(t, b)
		br.signIn(t, b.ann)
		b.redeem(t, br.get(t, back).code(t, b.public), nil)
		for _, c := range []struct {
			after           time.Duration
			requests, codes int
		}{{time.Minute, 1, 1}, {time.Hour, 0, 1}, {24 * time.Hour, 0, 0}} {
			b.pass(c.after)
			if err := b.SweepRequests(t.Context()); err != nil {
				t.Fatal(err)
			}
			if requests, codes := b.count(t, "authorization_requests"), b.count(t, "authorization_codes"); requests != c.requests || codes != c.codes {
				t.Errorf("after %v: %d requests and %d codes", c.after, requests, codes)
			}
		}
	})
}

func (b *front) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := b.DB.QueryRow(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE tenant_id = $1", b.tenant).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A name that a browser is given counts at once.
func TestANewBrowserGetsOneName(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		names := map[string]bool{}
		for _, line := range b.browser().authorize(t, b.public, nil).head.Values("Set-Cookie") {
			if c, err := http.ParseSetCookie(line); err == nil && strings.HasSuffix(c.Name, "cardea-browser") {
				names[c.Value] = true
			}
		}
		if len(names) != 1 {
			t.Errorf("the browser got %d names", len(names))
		}
	})
}

// One request leads to one code, however often and wherever it is gone on with.
func TestRequestRaceHasOneCode(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		br := b.browser()
		back := br.authorize(t, b.public, nil).signsIn(t, b)
		br.signIn(t, b.ann)
		var wg sync.WaitGroup
		var codes atomic.Int64
		for range 100 {
			tab := &browser{b, br.ip, maps.Clone(br.cookies)}
			wg.Go(func() {
				if a := tab.get(t, back); a.status == http.StatusSeeOther {
					codes.Add(1)
				} else if a.status != http.StatusBadRequest {
					t.Errorf("got %d: %s", a.status, a.body)
				}
			})
		}
		wg.Wait()
		if codes.Load() != 1 || b.count(t, "authorization_codes") != 1 {
			t.Errorf("%d codes were sent, %d made", codes.Load(), b.count(t, "authorization_codes"))
		}
	})
}
