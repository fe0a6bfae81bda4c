package oidc_test

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
)

const (
	callback  = "https://app.example.com/callback"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636, appendix B
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

var webApp = tenant.Application{ID: "web", ClientID: "cli_web", RedirectURIs: []string{callback, callback + "/other?tenant=1"}}

// C2.23.
func TestRedirectCorpusIsNeverFollowed(t *testing.T) {
	native := tenant.Application{OAuth: tenant.OAuth{ApplicationType: "native"}, RedirectURIs: []string{
		callback, "http://127.0.0.1/back", "http://[::1]:4000/back", "http://localhost:4000/back", "com.example.app:/back",
	}}
	for name, address := range map[string]string{
		"another host":           "https://evil.example.com/callback",
		"another port":           "https://app.example.com:8443/callback",
		"the usual port":         "https://app.example.com:443/callback",
		"an empty port":          "https://app.example.com:/callback",
		"another scheme":         "com.example.app://callback",
		"http for https":         "http://app.example.com/callback",
		"a user":                 "https://app.example.com@evil.example.com/callback",
		"several at signs":       "https://a@b@app.example.com/callback",
		"a user at the host":     "https://user:pw@app.example.com/callback",
		"a backslash":            `https://app.example.com\@evil.example.com/callback`,
		"backslashes":            `https:\\app.example.com\callback`,
		"a parent":               "https://app.example.com/x/../callback",
		"a parent at the end":    "https://app.example.com/callback/..",
		"a parent with a matrix": "https://app.example.com/callback/..;/",
		"an encoded parent":      "https://app.example.com/%2e%2e/callback",
		"an encoded slash":       "https://app.example.com%2fcallback",
		"double encoding":        "https://app.example.com/%2563allback",
		"an encoded letter":      "https://app.example.com/%63allback",
		"a trailing dot":         "https://app.example.com./callback",
		"an upper-case host":     "https://APP.example.com/callback",
		"an upper-case path":     "https://app.example.com/Callback",
		"an upper-case scheme":   "HTTPS://app.example.com/callback",
		"more of a path":         "https://app.example.com/callback/more",
		"a slash":                "https://app.example.com/callback/",
		"a query":                "https://app.example.com/callback?x=1",
		"an empty query":         "https://app.example.com/callback?",
		"another query":          callback + "/other?tenant=2",
		"more of a query":        callback + "/other?tenant=1&x=1",
		"a fragment":             "https://app.example.com/callback#x",
		"an empty fragment":      "https://app.example.com/callback#",
		"a script":               "javascript:alert(1)",
		"a script in odd case":   "JaVaScRiPt:alert(1)//https://app.example.com/callback",
		"data":                   "data:text/html,hello",
		"no scheme":              "//app.example.com/callback",
		"a path":                 "/callback",
		"a space before":         " https://app.example.com/callback",
		"a space after":          "https://app.example.com/callback ",
		"a tab":                  "https://app.example.com/\tcallback",
		"a line break":           "https://app.example.com/callback\r\nLocation: https://evil.example.com",
		"a look-alike":           "https://аpp.example.com/callback",
		"a look-alike, encoded":  "https://xn--pp-8cd.example.com/callback",
		"a zone":                 "http://[fe80::1%25en0]/back",
		"a zone on loopback":     "http://[::1%25lo]/back",
		"decimal loopback":       "http://2130706433/back",
		"octal loopback":         "http://0177.0.0.1/back",
		"short loopback":         "http://127.1/back",
		"other loopback":         "http://127.0.0.2/back",
		"long loopback":          "http://[0:0:0:0:0:0:0:1]/back",
		"mapped loopback":        "http://[::ffff:127.0.0.1]/back",
		"a suffix":               "https://app.example.com.evil.example/callback",
		"a prefix":               "https://evilapp.example.com/callback",
		"a wildcard":             "https://*.example.com/callback",
		"nothing":                "",
		"localhost by a port":    "http://localhost:4001/back",
		"a host after loopback":  "http://127.0.0.1.evil.example/back",
		"a user on loopback":     "http://127.0.0.1@evil.example/back",
		"a user after a port":    "http://127.0.0.1:80@evil.example/back",
		"port zero":              "http://127.0.0.1:0/back",
		"a large port":           "http://127.0.0.1:65536/back",
		"a signed port":          "http://127.0.0.1:+80/back",
		"no digits":              "http://127.0.0.1:/back",
		"loopback by https":      "https://127.0.0.1/back",
		"loopback, another path": "http://127.0.0.1:4000/",
		"loopback, a query":      "http://127.0.0.1:4000/back?x",
		"loopback, a fragment":   "http://127.0.0.1:4000/back#x",
		"loopback, a backslash":  `http://127.0.0.1:4000\@evil.example/back`,
		"a longer scheme":        "com.example.app.evil:/back",
	} {
		t.Run(name, func(t *testing.T) {
			for _, app := range []tenant.Application{webApp, native} {
				if oidc.MatchesRedirect(app, address) {
					t.Errorf("%q is taken for one of %q", address, app.RedirectURIs)
				}
			}
			q := url.Values{"client_id": {"cli_web"}, "response_type": {"code"}, "scope": {"openid"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {address}}
			if _, answerable, err := oidc.ReadRequest(webApp, q.Encode()); err == nil || answerable {
				t.Errorf("%q: error %v, answerable %v", address, err, answerable)
			}
		})
	}
}

// C2.24.
func TestLoopbackMayHaveAnyPortForNativeApplicationsOnly(t *testing.T) {
	registered := []string{"http://127.0.0.1/back", "http://[::1]:4000/back?x=1", "http://localhost:4000/back"}
	native := tenant.Application{OAuth: tenant.OAuth{ApplicationType: "native"}, RedirectURIs: registered}
	for address, want := range map[string]bool{
		"http://127.0.0.1/back": true, "http://127.0.0.1:1/back": true, "http://127.0.0.1:65535/back": true,
		"http://[::1]:4001/back?x=1": true, "http://[::1]/back?x=1": true, "http://localhost:4000/back": true,
		"http://localhost:4001/back": false, "http://[::1]:4001/back": false, "http://127.0.0.1:4001/back?x=1": false,
	} {
		if got := oidc.MatchesRedirect(native, address); got != want {
			t.Errorf("native, %s: got %v, want %v", address, got, want)
		}
		other := tenant.Application{RedirectURIs: registered}
		if got := oidc.MatchesRedirect(other, address); got != slices.Contains(registered, address) {
			t.Errorf("web, %s: got %v", address, got)
		}
	}
}

func FuzzMatchesRedirect(f *testing.F) {
	for _, s := range []string{callback, "http://127.0.0.1:80/back", "http://[::1]:9/back", "http://127.0.0.1:1@x/back", "http://127.0.0.1:/back", "http://localhost:1/back"} {
		f.Add(s)
	}
	app := tenant.Application{OAuth: tenant.OAuth{ApplicationType: "native"}, RedirectURIs: []string{callback, "http://127.0.0.1/back", "http://[::1]/back", "http://localhost/back"}}
	f.Fuzz(func(t *testing.T, address string) {
		if !oidc.MatchesRedirect(app, address) || slices.Contains(app.RedirectURIs, address) {
			return
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatalf("%q is no address: %v", address, err)
		}
		a, err := netip.ParseAddr(u.Hostname())
		if err != nil || !a.IsLoopback() || u.Scheme != "http" || u.User != nil || u.Path != "/back" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q is taken for loopback", address)
		}
	})
}

// C0.15: a registration must not put parameters of our answer in front of them.
func TestRedirectURIWithParametersOfTheAnswerIsRefused(t *testing.T) {
	for _, name := range []string{"code", "state", "iss", "error", "Code", "id_token", "response"} {
		app := tenant.Application{ClientID: "cli_web", RedirectURIs: []string{callback + "?" + name + "=x"}}
		for _, mode := range []string{"query", "fragment", "form_post"} {
			q := good(url.Values{"redirect_uri": {app.RedirectURIs[0]}, "response_mode": {mode}})
			if _, answerable, err := oidc.ReadRequest(app, q.Encode()); answerable || code(err) != "invalid_redirect_uri" {
				t.Errorf("%s, %s: got %v, answerable %v", name, mode, err, answerable)
			}
		}
	}
}

// C2.25.
func TestRedirectURIMayBeLeftOutOnlyWithoutOpenIDAndWithOneRegistered(t *testing.T) {
	one := tenant.Application{ClientID: "cli_one", RedirectURIs: []string{callback}}
	for name, c := range map[string]struct {
		app   tenant.Application
		scope string
		want  string
	}{
		"one registered":              {one, "email", ""},
		"one registered, with openid": {one, "openid", "invalid_request"},
		"two registered":              {webApp, "email", "invalid_request"},
		"two registered, with openid": {webApp, "openid", "invalid_request"},
		"none registered":             {tenant.Application{}, "", "invalid_request"},
	} {
		q := good(url.Values{"scope": {c.scope}})
		q.Del("redirect_uri")
		got, answerable, err := oidc.ReadRequest(c.app, q.Encode())
		if code(err) != c.want || answerable != (c.want == "") {
			t.Errorf("%s: got %v, answerable %v, want %q", name, err, answerable, c.want)
		}
		if err == nil && (got.RedirectURI != callback || got.RedirectNamed) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// good is a query that is as it should be, with changes.
func good(change url.Values) url.Values {
	q := url.Values{
		"client_id": {"cli_web"}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {callback}, "state": {"s"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for name, values := range change {
		q[name] = values
	}
	return q
}

func code(err error) string {
	p, ok := problem.From(err)
	if !ok {
		return ""
	}
	return p.Code
}

func TestReadRequestRefuses(t *testing.T) {
	jkt := strings.Repeat("A", 43)
	for name, c := range map[string]struct {
		change url.Values
		want   string
	}{
		"no response type":               {url.Values{"response_type": {""}}, "invalid_request"},
		"response type token":            {url.Values{"response_type": {"token"}}, "unsupported_response_type"}, // C2.29
		"response type id_token":         {url.Values{"response_type": {"id_token"}}, "unsupported_response_type"},
		"response type none":             {url.Values{"response_type": {"none"}}, "unsupported_response_type"},
		"response type code id_token":    {url.Values{"response_type": {"code id_token"}}, "unsupported_response_type"},
		"response mode jwt":              {url.Values{"response_mode": {"jwt"}}, "invalid_request"},
		"response mode web_message":      {url.Values{"response_mode": {"web_message"}}, "invalid_request"},
		"no challenge":                   {url.Values{"code_challenge": {""}, "code_challenge_method": {""}}, "invalid_request"},
		"challenge method plain":         {url.Values{"code_challenge_method": {"plain"}}, "invalid_request"},
		"challenge without method":       {url.Values{"code_challenge_method": {""}}, "invalid_request"},
		"method without challenge":       {url.Values{"code_challenge": {""}}, "invalid_request"},
		"challenge of 42 characters":     {url.Values{"code_challenge": {challenge[1:]}}, "invalid_request"},
		"challenge of 129 characters":    {url.Values{"code_challenge": {strings.Repeat("a", 129)}}, "invalid_request"},
		"state longer than 4 KiB":        {url.Values{"state": {strings.Repeat("s", 4097)}}, "invalid_request"},
		"nonce longer than 4 KiB":        {url.Values{"nonce": {strings.Repeat("n", 4097)}}, "invalid_request"},
		"prompt none with login":         {url.Values{"prompt": {"none login"}}, "invalid_request"},
		"unknown prompt":                 {url.Values{"prompt": {"maybe"}}, "invalid_request"},
		"negative max_age":               {url.Values{"max_age": {"-1"}}, "invalid_request"},
		"max_age in words":               {url.Values{"max_age": {"soon"}}, "invalid_request"},
		"endless max_age":                {url.Values{"max_age": {"99999999999999999999"}}, "invalid_request"},
		"scope of which nothing is left": {url.Values{"scope": {"users:write nonsense"}}, "invalid_scope"},
		"resource of another":            {url.Values{"resource": {"https://api.example.com"}}, "invalid_target"},
		"request object":                 {url.Values{"request": {"eyJhbGciOiJub25lIn0.e30."}}, "request_not_supported"}, // C2.30
		"request_uri":                    {url.Values{"request_uri": {"https://app.example.com/request"}}, "request_uri_not_supported"},
		"request_uri inside":             {url.Values{"request_uri": {"http://169.254.169.254/"}}, "request_uri_not_supported"},
		"registration":                   {url.Values{"registration": {"{}"}}, "registration_not_supported"},
		"claims that are no object":      {url.Values{"claims": {"[]"}}, "invalid_request"},
		"claims that are no JSON":        {url.Values{"claims": {"{"}}, "invalid_request"},
		"claims with a member twice":     {url.Values{"claims": {`{"id_token":{"sub":{"value":"a"},"sub":{"value":"b"}}}`}}, "invalid_request"},
		"claims longer than 8 KiB":       {url.Values{"claims": {`{"userinfo":{"` + strings.Repeat("x", 8<<10) + `":null}}`}}, "invalid_request"},
		"dpop_jkt that is no hash":       {url.Values{"dpop_jkt": {jkt[1:]}}, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			got, answerable, err := oidc.ReadRequest(webApp, good(c.change).Encode())
			tooLong := len(c.change.Get("state")) > 4096 // comes back to nobody
			if code(err) != c.want || answerable == tooLong {
				t.Errorf("got %v, answerable %v, want %s", err, answerable, c.want)
			}
			if !tooLong && got.State != "s" {
				t.Errorf("the state is %q", got.State)
			}
		})
	}
}

// C2.52, F.5 "same parameter twice" and "unrecognised parameters tolerated".
func TestParametersTwiceAreRefusedAndUnknownOnesIgnored(t *testing.T) {
	for _, name := range []string{"client_id", "redirect_uri", "scope", "state", "code_challenge", "prompt", "unknown"} {
		q := good(url.Values{"prompt": {"login"}, "unknown": {"1"}})
		q[name] = append(q[name], q[name][0])
		if _, answerable, err := oidc.ReadRequest(webApp, q.Encode()); code(err) != "invalid_request" || answerable {
			t.Errorf("%s twice: got %v, answerable %v", name, err, answerable)
		}
	}
	if _, _, err := oidc.ReadRequest(webApp, good(url.Values{"unknown": {"1"}, "display": {"popup"}, "claims_locales": {"de"}}).Encode()); err != nil {
		t.Errorf("with unknown parameters: %v", err)
	}
}

// F.1 "scope and parameter order irrelevant", "claims essential name".
func TestReadRequest(t *testing.T) {
	app := webApp
	app.OAuth.Scopes, app.OAuth.Resources = []string{"orders:read"}, []string{"https://api.example.com"}
	got, _, err := oidc.ReadRequest(app, good(url.Values{
		"scope": {"email openid  nonsense orders:read email offline_access"}, "prompt": {"login consent"}, "max_age": {"60"}, "response_mode": {"form_post"},
		"claims":   {`{"userinfo":{"name":{"essential":true}},"id_token":{"acr":{"essential":true,"values":["a","b"]},"sub":{"value":"ann"}},"more":1}`},
		"resource": {"https://api.example.com"}, "nonce": {strings.Repeat("n", 4096)}, "state": {strings.Repeat("s", 4096)},
	}).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got.Scope != "email openid orders:read offline_access" || got.Mode != "form_post" || *got.MaxAge != 60 || got.UserID != "ann" || got.ACR != "a b" ||
		!slices.Equal(got.Levels, []string{"a", "b"}) || len(got.Nonce) != 4096 || len(got.State) != 4096 || !got.RedirectNamed {
		t.Errorf("got %+v", got)
	}
	if want := `{"userinfo":{"name":{"essential":true}},"id_token":{"acr":{"essential":true,"values":["a","b"]},"sub":{"value":"ann"}}}`; string(got.Claims) != want {
		t.Errorf("claims %s", got.Claims)
	}
}

func TestPKCE(t *testing.T) {
	without := good(url.Values{"code_challenge": {""}, "code_challenge_method": {""}}).Encode()
	for name, c := range map[string]struct {
		oauth tenant.OAuth
		ok    bool
	}{
		"confidential":          {tenant.OAuth{}, false},
		"confidential, without": {tenant.OAuth{WithoutPKCE: true}, true},
		"public":                {tenant.OAuth{AuthMethod: tenant.AuthNone}, false},
		"public, without":       {tenant.OAuth{AuthMethod: tenant.AuthNone, WithoutPKCE: true}, false},
	} {
		app := webApp
		app.OAuth = c.oauth
		if _, _, err := oidc.ReadRequest(app, without); (err == nil) != c.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got, ok := oidc.ChallengeOf(verifier); !ok || got != challenge {
		t.Errorf("challenge of RFC 7636: got %q", got)
	}
	for _, v := range []string{verifier[1:], strings.Repeat("a", 129), verifier + "ä", verifier + "%"} {
		if _, ok := oidc.ChallengeOf(v); ok {
			t.Errorf("the verifier %q has a challenge", v)
		}
	}
}

// F.1 "max_age=1", "max_age=10000", "prompt=login".
func TestAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for query, want := range map[string]time.Time{
		"": {}, "max_age=0": now, "max_age=1": now.Add(-time.Second), "max_age=10000": now.Add(-10000 * time.Second), "prompt=login": now, "prompt=login&max_age=10000": now, "prompt=consent": {},
	} {
		got, _, err := oidc.ReadRequest(webApp, good(nil).Encode()+"&"+query)
		if err != nil || !got.After(now).Equal(want) {
			t.Errorf("%s: got %v, want %v (%v)", query, got.After(now), want, err)
		}
	}
}
