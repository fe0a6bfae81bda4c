package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/tenant"
)

func (b *front) register(t *testing.T, ip, body string) (out map[string]any, a answer) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/oauth2/register", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	br := b.browser()
	br.ip = ip
	a = br.do(t, r)
	decode(t, a, &out)
	return out, a
}

// C2.43: off by default.
func TestRegistrationIsOffByDefault(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		if out, a := b.register(t, "192.0.2.8", `{"redirect_uris":["https://new.example.com/cb"]}`); a.status != http.StatusForbidden || out["error"] != "access_denied" {
			t.Errorf("got %d %v", a.status, out)
		}
	})
}

// C2.43, F.1 dynamic.
func TestRegistration(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.settings(t, func(s *tenant.Settings) { s.SignIn.Registration = true })
		out, a := b.register(t, "192.0.2.8", `{"redirect_uris":["https://new.example.com/cb"],"client_name":"New","logo_uri":"https://new.example.com/logo.png","policy_uri":"https://new.example.com/policy","unknown":1}`)
		if a.status != http.StatusCreated || out["client_secret"] == "" || out["client_secret_expires_at"] != 0.0 || out["token_endpoint_auth_method"] != "client_secret_basic" || out["client_name"] != "New" || a.head.Get("Cache-Control") != "no-store" {
			t.Fatalf("got %d %v", a.status, out)
		}
		app, err := b.Tenants.ByClientID(t.Context(), out["client_id"].(string))
		if err != nil || !app.OAuth.ThirdParty || app.May(tenant.GrantCredentials) || len(app.OAuth.Scopes) > 0 {
			t.Fatalf("got %+v, %v", app, err)
		}
		br := b.browser()
		br.signIn(t, b.ann)
		asked := br.authorize(t, app, nil)
		asked.wantPage(t, http.StatusOK, "https://new.example.com/policy")
		action, form := asked.form(t)
		form.Set("decision", "allow")
		code := br.post(t, action, form).code(t, app)
		got, _ := b.redeem(t, code, url.Values{"client_id": {app.ClientID}, "client_secret": {out["client_secret"].(string)}, "redirect_uri": {app.RedirectURIs[0]}})
		if got.ID == "" {
			t.Errorf("got %+v", got)
		}
		if out, a := b.register(t, "192.0.2.8", `{"redirect_uris":["https://spa.example.com/cb"],"token_endpoint_auth_method":"none"}`); a.status != http.StatusCreated || out["client_secret"] != nil || out["client_name"] != "spa.example.com" {
			t.Errorf("a public one: got %d %v", a.status, out)
		}
	})
}

// C2.43, F.1 "registration with fragment refused".
func TestRegistrationIsRefused(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.settings(t, func(s *tenant.Settings) { s.SignIn.Registration = true })
		const uri = `"redirect_uris":["https://new.example.com/cb"]`
		n := 0
		for body, want := range map[string]string{
			`{}`:                   "invalid_redirect_uri",
			`{"redirect_uris":[]}`: "invalid_redirect_uri",
			`{"redirect_uris":["https://new.example.com/cb#x"]}`:                    "invalid_redirect_uri",
			`{"redirect_uris":["http://new.example.com/cb"]}`:                       "invalid_redirect_uri",
			`{"redirect_uris":["http://localhost/cb"]}`:                             "invalid_redirect_uri",
			`{"redirect_uris":["javascript:alert(1)"],"application_type":"native"}`: "invalid_redirect_uri",
			`{"redirect_uris":["JaVaScRiPt:alert(1)"],"application_type":"native"}`: "invalid_redirect_uri", // C0.16
			`{"redirect_uris":["https://a@new.example.com/cb"]}`:                    "invalid_redirect_uri",
			`{` + uri + `,"grant_types":["client_credentials"]}`:                    "invalid_client_metadata",
			`{` + uri + `,"grant_types":["password"]}`:                              "invalid_client_metadata",
			`{` + uri + `,"response_types":["token"]}`:                              "invalid_client_metadata",
			`{` + uri + `,"scope":"openid users:write"}`:                            "invalid_client_metadata",
			`{` + uri + `,"subject_type":"pairwise"}`:                               "invalid_client_metadata",
			`{` + uri + `,"token_endpoint_auth_method":"private_key_jwt"}`:          "invalid_client_metadata",
			`{` + uri + `,"token_endpoint_auth_method":"client_secret_jwt"}`:        "invalid_client_metadata",
			`{` + uri + `,"id_token_signed_response_alg":"none"}`:                   "invalid_client_metadata",
			`{` + uri + `,"logo_uri":"javascript:alert(1)"}`:                        "invalid_client_metadata",
			`{` + uri + `,"policy_uri":"data:text/html,x"}`:                         "invalid_client_metadata",
			`{` + uri + `,"backchannel_logout_uri":"file:///etc/passwd"}`:           "invalid_client_metadata",
			`{` + uri + `,"jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}}`:          "invalid_client_metadata",
			`{` + uri + `,"software_statement":"eyJhbGciOiJub25lIn0.e30."}`:         "invalid_request",
			`{` + uri + `,"post_logout_redirect_uris":["javascript:alert(1)"]}`:     "invalid_client_metadata",
			`{"redirect_uris":"https://new.example.com/cb"}`:                        "invalid_request",
			`[]`: "invalid_request",
		} {
			n++
			if out, a := b.register(t, netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}).String(), body); a.status != http.StatusBadRequest || out["error"] != want || out["error_description"] == "" {
				t.Errorf("%s: got %d %v, want %s", body, a.status, out, want)
			}
		}
	})
}

func TestRegistrationIsLimited(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.settings(t, func(s *tenant.Settings) { s.SignIn.Registration = true })
		for i := range 12 {
			_, a := b.register(t, "192.0.2.9", `{"redirect_uris":["https://new.example.com/cb"]}`)
			if limited := a.status == http.StatusTooManyRequests; limited != (i >= 10) {
				t.Errorf("%d: got %d", i, a.status)
			}
		}
	})
}

func TestCheckDocumentID(t *testing.T) {
	for id, ok := range map[string]bool{
		"https://client.example.com/": true, "https://client.example.com/meta.json": true, "https://client.example.com:8443/a/b": true,
		"https://client.example.com": false, "http://client.example.com/": false, "https://client.example.com/?x": false, "https://client.example.com/#x": false,
		"https://a@client.example.com/": false, "https://client.example.com/../x": false, "https://client.example.com/./x": false, "https://client.example.com/%2e%2e/x": false,
		"https:///x": false, "https://client.example.com/ x": false, "HTTPS://client.example.com/": false, "https://client.example.com/" + strings.Repeat("x", 600): false,
	} {
		if err := oidc.CheckDocumentID(id); (err == nil) != ok {
			t.Errorf("%s: got %v", id, err)
		}
	}
}

func TestReadDocument(t *testing.T) {
	const id = "https://client.example.com/meta.json"
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"as it should be":             {`{"client_id":"` + id + `","client_name":"C","redirect_uris":["https://client.example.com/cb"]}`, true},
		"a program":                   {`{"client_id":"` + id + `","redirect_uris":["http://127.0.0.1/cb","http://localhost:4000/cb","http://[::1]/cb"]}`, true},
		"with a key":                  {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://client.example.com/jwks"}`, true},
		"of another client":           {`{"client_id":"https://client.example.com/other.json","redirect_uris":["https://client.example.com/cb"]}`, false},
		"without an id":               {`{"redirect_uris":["https://client.example.com/cb"]}`, false},
		"with a secret":               {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"client_secret":"x"}`, false},
		"by a secret":                 {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"token_endpoint_auth_method":"client_secret_post"}`, false},
		"to another server":           {`{"client_id":"` + id + `","redirect_uris":["https://evil.example.com/cb"]}`, false},
		"to a longer host":            {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com.evil.example/cb"]}`, false},
		"to a user at another":        {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com@evil.example/cb"]}`, false},
		"to what looks like a port":   {`{"client_id":"` + id + `","redirect_uris":["http://localhost:x@evil.example/cb"]}`, false},
		"to a host after loopback":    {`{"client_id":"` + id + `","redirect_uris":["http://localhost.evil.example/cb"]}`, false},
		"with a fragment":             {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb#x"]}`, false},
		"to a script":                 {`{"client_id":"` + id + `","redirect_uris":["javascript:alert(1)"]}`, false},
		"to nowhere":                  {`{"client_id":"` + id + `"}`, false},
		"with keys elsewhere":         {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"jwks_uri":"https://evil.example.com/jwks"}`, false},
		"with logout calls inside":    {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"backchannel_logout_uri":"http://169.254.169.254/"}`, false},
		"with credentials for itself": {`{"client_id":"` + id + `","redirect_uris":["https://client.example.com/cb"],"grant_types":["client_credentials"]}`, false},
		"not JSON":                    {`<html>`, false},
	} {
		if _, err := oidc.ReadDocument(id, []byte(c.body)); (err == nil) != c.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	m, err := oidc.ReadDocument(id, []byte(`{"client_id":"`+id+`","redirect_uris":["https://client.example.com/cb"],"logo_uri":"https://tracker.example.com/x.png"}`))
	if err != nil || m.LogoURI != "" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestFreshFor(t *testing.T) {
	for control, want := range map[string]time.Duration{
		"": time.Hour, "max-age=600": 10 * time.Minute, "public, MAX-AGE=\"600\"": 10 * time.Minute, "max-age=1": 5 * time.Minute, "max-age=9999999": 24 * time.Hour,
		"no-store": 5 * time.Minute, "max-age=600, no-cache": 5 * time.Minute, "max-age=x": time.Hour,
	} {
		if got := oidc.FreshFor(control); got != want {
			t.Errorf("%q: got %v, want %v", control, got, want)
		}
	}
}

// A client that is known by its document only.
func TestClientByDocument(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		var fetched, status atomic.Int64
		body := ""
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fetched.Add(1)
			if s := int(status.Load()); s != 0 {
				w.Header().Set("Location", "/other.json")
				w.WriteHeader(s)
			}
			w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		b.trust(server)
		id, host := server.URL+"/meta.json", strings.TrimPrefix(server.URL, "https://")
		body = `{"client_id":"` + id + `","client_name":"Doc","redirect_uris":["` + server.URL + `/cb"]}`
		find := func() (tenant.Application, error) {
			return b.ApplicationOf(t.Context(), access.Visitor(b.tenant, "192.0.2.7"), id)
		}

		if _, err := find(); code(err) != "invalid_client" || fetched.Load() > 0 { // off by default
			t.Errorf("got %v, asked %d times", err, fetched.Load())
		}
		b.settings(t, func(s *tenant.Settings) { s.SignIn.ClientDocuments = true })
		b.pass(2 * time.Second)
		status.Store(http.StatusFound)
		if _, err := find(); code(err) != "invalid_client" {
			t.Errorf("a redirect: got %v", err)
		}
		status.Store(0)
		app, err := find()
		if err != nil || app.Name != "Doc ("+host+")" || !app.OAuth.ThirdParty || !app.IsPublic() || app.ClientID != id || !oidc.MatchesRedirect(app, server.URL+"/cb") {
			t.Fatalf("got %+v, %v", app, err)
		}
		if again, err := b.Application(t.Context(), b.DB, b.tenant, app.ID); err != nil || again.ClientID != id {
			t.Errorf("by its id: got %+v, %v", again, err)
		}
		if _, err := find(); err != nil || fetched.Load() != 2 {
			t.Errorf("got %v, asked %d times", err, fetched.Load())
		}

		b.pass(2 * time.Hour)
		status.Store(http.StatusBadGateway)
		if _, err := find(); err != nil || fetched.Load() != 3 { // as it was read last
			t.Errorf("got %v, asked %d times", err, fetched.Load())
		}
		status.Store(0)
		body = `{"client_id":"` + id + `","redirect_uris":["https://evil.example.com/cb"]}`
		if _, err := find(); code(err) != "invalid_client" {
			t.Errorf("a bad document: got %v", err)
		}
		b.pass(8 * 24 * time.Hour)
		status.Store(http.StatusBadGateway)
		if _, err := find(); code(err) != "invalid_client" {
			t.Errorf("after a week: got %v", err)
		}
	})
}

// C10, S16: the address of a client is one that a stranger names.
func TestClientDocumentIsNotReadFromInside(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.settings(t, func(s *tenant.Settings) { s.SignIn.ClientDocuments = true })
		for i, id := range []string{"https://169.254.169.254/latest", "https://10.0.0.1/x", "https://[fd00::1]/x", "https://metadata.invalid/x"} {
			by := access.Visitor(b.tenant, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String())
			if _, err := b.ApplicationOf(t.Context(), by, id); code(err) != "invalid_client" {
				t.Errorf("%s: got %v", id, err)
			}
		}
	})
}

func TestReadingClientDocumentsIsLimited(t *testing.T) {
	onFront(t, func(t *testing.T, b *front) {
		b.settings(t, func(s *tenant.Settings) { s.SignIn.ClientDocuments = true })
		for i := range 11 {
			_, err := b.ApplicationOf(t.Context(), access.Visitor(b.tenant, "192.0.2.7"), "https://10.0.0.1/"+string(rune('a'+i)))
			if limited := code(err) == "rate_limited"; limited != (i == 10) {
				t.Errorf("%d: got %v", i, err)
			}
		}
	})
}
