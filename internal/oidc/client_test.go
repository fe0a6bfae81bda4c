package oidc_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
)

func basic(text string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

func request(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth2/token", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

// RFC 6749, section 2.3.1: id and secret are form-encoded before they are joined.
func TestBasicIsDecoded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"id:secret":         {"id", "secret"},
		"id:a%2Bb":          {"id", "a+b"},
		"id:a+b":            {"id", "a b"},
		"id:a%20b":          {"id", "a b"},
		"id:100%25":         {"id", "100%"},
		"a%3Ab:c%3Ad":       {"a:b", "c:d"},
		"id:with:colons":    {"id", "with:colons"},
		"cli_a.b.c:cs_x":    {"cli_a.b.c", "cs_x"},
		"cli_a%2Eb.c:cs%5F": {"cli_a.b.c", "cs_"},
		"ü:ö":               {"ü", "ö"},
	} {
		id, secret, method, err := oidc.CredentialsOf(request(basic(text)), "")
		if err != nil || id != want[0] || secret != want[1] || method != tenant.AuthSecret {
			t.Errorf("%q: got %q, %q, %q, %v", text, id, secret, method, err)
		}
	}
}

func TestCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	two := request(basic("a:b"))
	two.Header.Add("Authorization", basic("c:d"))
	const assertion = "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
	for name, c := range map[string]struct {
		r    *http.Request
		form string
	}{
		"nobody named":                 {request(""), "grant_type=x"},
		"basic and post":               {request(basic("a:b")), "client_id=a&client_secret=b"},
		"basic and assertion":          {request(basic("a:b")), "client_assertion=x" + assertion},
		"post and assertion":           {request(""), "client_id=a&client_secret=b&client_assertion=x" + assertion},
		"basic of another id":          {request(basic("a:b")), "client_id=c"},
		"basic without a colon":        {request(basic("ab")), ""},
		"basic with an empty secret":   {request(basic("a:")), ""},
		"basic badly escaped":          {request(basic("a:100%")), ""},
		"basic not base64":             {request("Basic a:b"), ""},
		"basic twice":                  {two, ""},
		"bearer":                       {request("Bearer x"), "client_id=a"},
		"assertion of an unknown type": {request(""), "client_assertion=x&client_assertion_type=y"},
		"assertion without a type":     {request(""), "client_assertion=x"},
		"assertion of another id":      {request(""), "client_id=a&client_assertion=x" + assertion},
	} {
		_, _, _, err := oidc.CredentialsOf(c.r, c.form)
		if p, ok := problem.From(err); !ok || p.Code != "invalid_client" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	value, all, err := oidc.Parameter("a=1&resource=x&b=%C3%BC+%2B&resource=y&resource=x&&c=&d", "b")
	if err != nil || value != "ü +" {
		t.Errorf("b is %q, %v", value, err)
	}
	if _, all, err = oidc.Parameter("resource=x&resource=y&resource=x", "resource"); err != nil || !slices.Equal(all, []string{"x", "y"}) {
		t.Errorf("resource is %q, %v", all, err)
	}
	for name, text := range map[string]string{
		"twice": "a=1&a=1", "twice once empty": "a=1&a=", "twice escaped": "a=1&%61=2", "bad escape": "a=%zz", "NUL": "a=%00", "no UTF-8": "a=%ff", "raw byte": "a=\xff",
		"many": strings.Repeat("x&", 100),
	} {
		if _, _, err := oidc.Parameter(text, "a"); err == nil {
			t.Errorf("%s: %q was read", name, text)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add("a=1&b=%20+&resource=x")
	f.Add("a=%ff")
	f.Fuzz(func(t *testing.T, text string) {
		_, _, err := oidc.Parameter(text, "a")
		if p, ok := problem.From(err); err != nil && (!ok || p.Code != "invalid_request") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func FuzzBasic(f *testing.F) {
	f.Add(basic("a:b"))
	f.Add("Basic ====")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Authorization"] = []string{header}
		if id, secret, _, err := oidc.CredentialsOf(r, ""); err == nil && secret == "" {
			t.Errorf("%q: client %q without a secret", header, id)
		}
	})
}

func TestSubset(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wanted, granted, want string
		ok                    bool
	}{
		{"", "a b", "a b", true}, {"b a", "a b", "b a", true}, {"a a", "a b", "a", true}, {"a c", "a b", "", false}, {"a", "", "", false}, {"", "", "", true}, {"A", "a", "", false},
	} {
		got, err := oidc.Subset(c.wanted, c.granted)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q of %q: got %q, %v", c.wanted, c.granted, got, err)
		}
	}
}

func TestUserCodesAreReadAsPeopleTypeThem(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "WDJB–MJHT", "W-D-J-B-M-J-H-T"} {
		if got, err := oidc.ReadUserCode(text); err != nil || got != "WDJBMJHT" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "WDJB", "WDJBMJHTX", "WDJB-MJH1", "WDJB-MJHA", "WDJB_MJHT", "ẀDJBMJHT", strings.Repeat("B", 1<<20)} {
		if got, err := oidc.ReadUserCode(text); err == nil {
			t.Errorf("%q was read as %q", text, got)
		}
	}
}

func TestProtocolPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/oauth2/token": true, "/oauth2/userinfo": true, "/.well-known/openid-configuration": true, "/auth/realms/x/protocol/openid-connect/token": true,
		"/realms/x/.well-known/openid-configuration": true, "/oauth2/device_authorization": true,
		"/oauth2/authorize": false, "/oauth2/authorize/continue": false, "/oauth2/logout": false, "/device": false, "/auth/realms/x/v3_user": false,
		"/realms/x/protocol/openid-connect/auth": false, "/realms/x/protocol/openid-connect/auth/device": true, "/api/v1/users": false, "/": false,
	} {
		if got := oidc.IsProtocol(path); got != want {
			t.Errorf("%s: got %v", path, got)
		}
	}
}

func TestErrorsAreOfTheDialect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, authorization string
		err                 *problem.Problem
		status              int
		code, challenge     string
	}{
		"client by basic":   {"/oauth2/token", basic("a:b"), problem.New(problem.Unauthenticated, "invalid_client", "x"), 401, "invalid_client", `Basic realm="cardea", charset="UTF-8"`},
		"client by post":    {"/oauth2/token", "", problem.New(problem.Unauthenticated, "invalid_client", "x"), 401, "invalid_client", ""},
		"client of resolve": {"/oauth2/token", "", tenant.ErrClient, 401, "invalid_client", ""},
		"grant":             {"/oauth2/token", "", problem.New(problem.Invalid, "invalid_grant", "x"), 400, "invalid_grant", ""},
		"no token":          {"/oauth2/userinfo", "", problem.New(problem.Unauthenticated, "access_token_required", "x"), 401, "invalid_token", `Bearer realm="cardea"`},
		"bad token":         {"/oauth2/userinfo", "Bearer x", problem.New(problem.Unauthenticated, "invalid_token", "x"), 401, "invalid_token", `Bearer realm="cardea", error="invalid_token"`},
		"little scope":      {"/oauth2/userinfo", "Bearer x", problem.New(problem.Forbidden, "insufficient_scope", "x"), 403, "insufficient_scope", `Bearer realm="cardea", error="insufficient_scope", scope="openid"`},
		"proof at resource": {"/oauth2/userinfo", "DPoP x", problem.New(problem.Invalid, "invalid_dpop_proof", "x"), 401, "invalid_dpop_proof", `DPoP realm="cardea", algs="ES256 EdDSA Ed25519 PS256 RS256", error="invalid_dpop_proof"`},
		"proof at token":    {"/oauth2/token", "", problem.New(problem.Invalid, "invalid_dpop_proof", "x"), 400, "invalid_dpop_proof", ""},
		"unavailable":       {"/oauth2/token", "", problem.New(problem.Unavailable, "busy", "x"), 503, "temporarily_unavailable", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, c.path, nil)
		r.Header.Set("Authorization", c.authorization)
		w := httptest.NewRecorder()
		oidc.Dialect(w, r, c.err)
		if w.Code != c.status || !strings.Contains(w.Body.String(), `{"error":"`+c.code+`","error_description":"`) || w.Header().Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s: got %d %s %q", name, w.Code, w.Body, w.Header()["Www-Authenticate"])
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	asked := ""
	handler := oidc.CORS(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = "asked, origin " + r.Header.Get("Origin") }))
	for name, c := range map[string]struct {
		method, path, origin, allowed, asked string
	}{
		"token":                {"POST", "/oauth2/token", "https://spa.example.com", "*", "asked, origin "},
		"preflight":            {"OPTIONS", "/oauth2/token", "https://spa.example.com", "*", ""},
		"realm":                {"POST", "/realms/x/protocol/openid-connect/token", "https://spa.example.com", "*", "asked, origin "},
		"null":                 {"POST", "/oauth2/token", "null", "", "asked, origin "},
		"null preflight":       {"OPTIONS", "/oauth2/token", "null", "", ""},
		"introspection":        {"POST", "/oauth2/introspect", "https://spa.example.com", "", "asked, origin https://spa.example.com"},
		"authorize":            {"GET", "/oauth2/authorize", "https://spa.example.com", "", "asked, origin https://spa.example.com"},
		"another API":          {"GET", "/api/v1/users/oauth2/token", "https://spa.example.com", "", "asked, origin https://spa.example.com"},
		"another realm's call": {"GET", "/realms/x/v3_user/oauth2/token", "https://spa.example.com", "", "asked, origin https://spa.example.com"},
	} {
		asked = ""
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Origin", c.origin)
		if c.method == "OPTIONS" {
			r.Header.Set("Access-Control-Request-Method", "POST")
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.allowed || asked != c.asked || w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: allowed %q, %s", name, got, asked)
		}
	}
}

func TestSameAddress(t *testing.T) {
	t.Parallel()
	if !oidc.SameAddress("http://localhost:80/a%2Fb", "http://LOCALHOST/a%2Fb") {
		t.Error("the usual port matters")
	}
	for _, other := range []string{"", "http://localhost/a/b", "/a%2Fb", "mailto:x@localhost", "http://localhost/a%2Fb/"} {
		if oidc.SameAddress(other, "http://localhost/a%2Fb") {
			t.Errorf("%q is the same", other)
		}
	}
}
