package social_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/social"
)

func bytesHave(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

// What the providers say of somebody, as their documentation shows it.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind string
		o    social.Settings
		said string
		want social.Profile
	}{
		"google": {"google", social.Settings{}, `{"iss":"https://accounts.google.com","azp":"1234987819200.apps.googleusercontent.com","aud":"1234987819200.apps.googleusercontent.com","sub":"10769150350006150715113082367","at_hash":"HK6E_P6Dh8Y93mRNtsDB1Q","hd":"example.com","email":"jsmith@example.com","email_verified":"true","iat":1353601026,"exp":1353604926,"nonce":"0394852-3190485-2490358"}`,
			social.Profile{Issuer: "https://accounts.google.com", Subject: "10769150350006150715113082367", Email: "jsmith@example.com"}},
		"google, hosted": {"google", social.Settings{}, `{"sub":"1","hd":"example.com","email":"jsmith@example.com","email_verified":true,"name":"J. Smith","given_name":"J.","family_name":"Smith","picture":"https://lh3.googleusercontent.com/a/x"}`,
			social.Profile{Issuer: "https://accounts.google.com", Subject: "1", Email: "jsmith@example.com", EmailVerified: true, Name: "J. Smith", FirstName: "J.", LastName: "Smith", Picture: "https://lh3.googleusercontent.com/a/x"}},
		"google, its own":               {"google", social.Settings{}, `{"sub":"1","email":"J.Smith@GMail.com","email_verified":true}`, social.Profile{Issuer: "https://accounts.google.com", Subject: "1", Email: "j.smith@gmail.com", EmailVerified: true}},
		"google, another's address":     {"google", social.Settings{}, `{"sub":"1","email":"jsmith@example.com","email_verified":true}`, social.Profile{Issuer: "https://accounts.google.com", Subject: "1", Email: "jsmith@example.com"}},
		"google, another hosted domain": {"google", social.Settings{}, `{"sub":"1","hd":"other.example","email":"jsmith@example.com","email_verified":true}`, social.Profile{Issuer: "https://accounts.google.com", Subject: "1", Email: "jsmith@example.com"}},
		"microsoft, of any directory": {"microsoft", social.Settings{}, `{"iss":"https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0","tid":"72f988bf-86f1-41af-91ab-2d7cd011db47","sub":"AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ","email":"victim@example.com","email_verified":true,"name":"Abe Lincoln","oid":"x"}`,
			social.Profile{Issuer: "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", Subject: "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", Email: "victim@example.com", Name: "Abe Lincoln", FirstName: "Abe", LastName: "Lincoln"}},
		"microsoft, domain proved": {"microsoft", social.Settings{Directory: "72f988bf-86f1-41af-91ab-2d7cd011db47"}, `{"sub":"1","email":"abe@example.com","xms_edov":true}`,
			social.Profile{Issuer: "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", Subject: "1", Email: "abe@example.com", EmailVerified: true}},
		"microsoft, domain proved with 1": {"microsoft", social.Settings{Directory: "consumers"}, `{"sub":"1","email":"abe@example.com","xms_edov":1}`,
			social.Profile{Issuer: "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", Subject: "1", Email: "abe@example.com"}},
		"github": {"github", social.Settings{}, `{"login":"octocat","id":583231,"avatar_url":"https://avatars.githubusercontent.com/u/583231?v=4","name":"The Octocat","email":"octocat@github.com","email_verified":true}`,
			social.Profile{Issuer: "https://github.com", Subject: "583231", Email: "octocat@github.com", EmailVerified: true, Name: "The Octocat", FirstName: "The", LastName: "Octocat", Picture: "https://avatars.githubusercontent.com/u/583231?v=4"}},
		"apple":            {"apple", social.Settings{}, `{"sub":"000792.d710.0638","email":"abc@privaterelay.appleid.com","email_verified":"true","is_private_email":"true"}`, social.Profile{Issuer: "https://appleid.apple.com", Subject: "000792.d710.0638", Email: "abc@privaterelay.appleid.com", EmailVerified: true}},
		"apple, no":        {"apple", social.Settings{}, `{"sub":"1","email":"abc@example.com","email_verified":"false"}`, social.Profile{Issuer: "https://appleid.apple.com", Subject: "1", Email: "abc@example.com"}},
		"apple, in a list": {"apple", social.Settings{}, `{"sub":"1","email":"abc@example.com","email_verified":["true"]}`, social.Profile{Issuer: "https://appleid.apple.com", Subject: "1", Email: "abc@example.com"}},
		"facebook": {"facebook", social.Settings{}, `{"id":"10158","name":"Open Graph","email":"open@example.com","email_verified":true,"first_name":"Open","last_name":"Graph","picture":{"data":{"url":"https://platform-lookaside.fbsbx.com/p.jpg"}}}`,
			social.Profile{Issuer: "https://www.facebook.com", Subject: "10158", Email: "open@example.com", Name: "Open Graph", FirstName: "Open", LastName: "Graph", Picture: "https://platform-lookaside.fbsbx.com/p.jpg"}},
		"linkedin": {"linkedin", social.Settings{}, `{"sub":"782bbtaQ","name":"John Doe","given_name":"John","family_name":"Doe","picture":"https://media.licdn.com/p/","locale":"en-US","email":"doe@email.com","email_verified":true}`,
			social.Profile{Issuer: "https://www.linkedin.com/oauth", Subject: "782bbtaQ", Email: "doe@email.com", EmailVerified: true, Name: "John Doe", FirstName: "John", LastName: "Doe", Picture: "https://media.licdn.com/p/"}},
		"gitlab, its own installation": {"gitlab", social.Settings{BaseURL: "https://git.example.com"}, `{"sub":"1","email":"a@example.com","email_verified":true,"name":"A B"}`,
			social.Profile{Issuer: "https://git.example.com", Subject: "1", Email: "a@example.com", EmailVerified: true, Name: "A B", FirstName: "A", LastName: "B"}},
		"discord": {"discord", social.Settings{}, `{"id":"80351110224678912","username":"nelly","global_name":"Nelly","avatar":"8342729096ea3675442027381ff50dfe","verified":true,"email":"nelly@discord.com"}`,
			social.Profile{Issuer: "https://discord.com", Subject: "80351110224678912", Email: "nelly@discord.com", EmailVerified: true, Name: "Nelly", FirstName: "Nelly"}},
		"slack": {"slack", social.Settings{}, `{"ok":true,"sub":"U0R7JM","https://slack.com/user_id":"U0R7JM","email":"krane@slack-corp.com","email_verified":true,"name":"krane","picture":"https://secure.gravatar.com/x"}`,
			social.Profile{Issuer: "https://slack.com", Subject: "U0R7JM", Email: "krane@slack-corp.com", EmailVerified: true, Name: "krane", FirstName: "krane", Picture: "https://secure.gravatar.com/x"}},
		"x": {"x", social.Settings{}, `{"data":{"id":"2244994945","name":"Developers","username":"XDevelopers","profile_image_url":"https://pbs.twimg.com/x.jpg","confirmed_email":"dev@example.com"}}`,
			social.Profile{Issuer: "https://x.com", Subject: "2244994945", Email: "dev@example.com", Name: "Developers", FirstName: "Developers", Picture: "https://pbs.twimg.com/x.jpg"}},
		"oauth2, claims elsewhere": {"oauth2", social.Settings{TokenEndpoint: "https://id.example.com/t", Claims: map[string]string{"subject": "user.uid", "email": "user.mail", "email_verified": "user.ok", "first_name": "user.f"}},
			`{"user":{"uid":7,"mail":"a@example.com","ok":true,"f":"A"}}`, social.Profile{Issuer: "https://id.example.com", Subject: "7", Email: "a@example.com", EmailVerified: true, FirstName: "A"}},
		"oauth2, verified not mapped": {"oauth2", social.Settings{TokenEndpoint: "https://id.example.com/t", Claims: map[string]string{"email_verified": ""}}, `{"sub":"7","email":"a@example.com","email_verified":true,"":true}`,
			social.Profile{Issuer: "https://id.example.com", Subject: "7", Email: "a@example.com", EmailVerified: true}},
		"names of a stranger": {"openid", social.Settings{Issuer: "https://op.example"}, `{"sub":"1","given_name":" A\u0000\u001b[31m\nB ","family_name":"` + strings.Repeat("é", 400) + `","picture":"javascript:alert(1)"}`,
			social.Profile{Issuer: "https://op.example", Subject: "1", FirstName: "A[31mB", LastName: strings.Repeat("é", 128)}},
		"an address that is none":        {"openid", social.Settings{Issuer: "https://op.example"}, `{"sub":"1","email":"a@example.com\r\nBcc: b@example.com","email_verified":true}`, social.Profile{Issuer: "https://op.example", Subject: "1"}},
		"an address that looks like one": {"openid", social.Settings{Issuer: "https://op.example"}, `{"sub":"1","email":"ann＠example.com","email_verified":true}`, social.Profile{Issuer: "https://op.example", Subject: "1"}},
		"a domain that may be vouched for": {"openid", social.Settings{Issuer: "https://op.example", EmailDomains: []string{"example.com"}}, `{"sub":"1","email":"A@EXAMPLE.com","email_verified":true}`,
			social.Profile{Issuer: "https://op.example", Subject: "1", Email: "a@example.com", EmailVerified: true}},
		"a domain that may not": {"openid", social.Settings{Issuer: "https://op.example", EmailDomains: []string{"example.com"}}, `{"sub":"1","email":"a@sub.example.com","email_verified":true}`,
			social.Profile{Issuer: "https://op.example", Subject: "1", Email: "a@sub.example.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Connection, c.want.Provider = "c", c.kind
			got, err := social.ProfileOf(c.kind, c.o, c.said)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(social.Profile{}, "Raw")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// C1 7: true is true, and nothing else is.
func TestOnlyTrueIsVerified(t *testing.T) {
	t.Parallel()
	for _, said := range []string{`"true"`, `"True"`, `1`, `"1"`, `[true]`, `{"x":true}`, `null`, `false`, `"yes"`, `1.0`} {
		for _, kind := range social.Kinds() {
			if kind == "apple" && said == `"true"` {
				continue
			}
			p, err := social.ProfileOf(kind, social.Settings{}, `{"sub":"1","id":"1","data":{"id":"1"},"email":"a@gmail.com","email_verified":`+said+`,"verified":`+said+`,"xms_edov":`+said+`}`)
			if err != nil || p.EmailVerified {
				t.Errorf("%s: %s is verified: %t, %v", kind, said, p.EmailVerified, err)
			}
		}
	}
	if p, err := social.ProfileOf("openid", social.Settings{}, `{"sub":"1","email":"a@example.com"}`); err != nil || p.EmailVerified {
		t.Errorf("absent is verified: %v, %v", p.EmailVerified, err)
	}
}

// play has a known provider answer at the test's.
func (b *bench) play(t *testing.T, kind string, o social.Settings) {
	t.Helper()
	issuer := ""
	if kind == "google" || kind == "slack" || kind == "gitlab" || kind == "apple" {
		issuer = b.op.URL
	}
	b.Play(kind, issuer, b.op.URL)
	b.c = b.connect(t, social.Connection{Provider: kind, Settings: o})
}

func TestGoogle(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.play(t, "google", social.Settings{HostedDomain: "example.com"})
		q, err := url.Parse(b.start(t))
		if err != nil || q.Query().Get("hd") != "example.com" {
			t.Errorf("sent to %v, %v", q, err)
		}
		b.op.claims = func(c map[string]any) { c["hd"], c["azp"] = "example.com", clientID }
		if p, err := b.login(t); err != nil || !p.EmailVerified {
			t.Errorf("got %+v, %v", p, err)
		}
		for _, hd := range []any{nil, "other.example", "EXAMPLE.com.evil.example", []string{"example.com"}} {
			b.op.claims = func(c map[string]any) { c["hd"] = hd }
			if _, err := b.login(t); !errors.Is(err, social.ErrCancelled) {
				t.Errorf("hd %v: got %v, want ErrCancelled", hd, err)
			}
		}
		if state, nonce, err := b.StartCredential(t.Context(), b.by, b.c.ID, attempt); err != nil || state == "" || nonce == "" {
			t.Errorf("one tap: %q, %q, %v", state, nonce, err)
		}
	})
}

func TestMicrosoftOfManyDirectories(t *testing.T) {
	const mine, another = "72f988bf-86f1-41af-91ab-2d7cd011db47", "11111111-86f1-41af-91ab-2d7cd011db47"
	run(t, func(t *testing.T, b *bench) {
		mux := b.op.Config.Handler.(*http.ServeMux)
		mux.HandleFunc("/common/v2.0/.well-known/openid-configuration", b.op.getDiscovery)
		b.op.discovery = func(d map[string]any) { d["issuer"] = b.op.URL + "/{tenantid}/v2.0" }
		b.op.basic = false
		b.c = b.connect(t, social.Connection{Provider: "microsoft", Settings: social.Settings{BaseURL: b.op.URL}})
		said := func(issuer, tid any) {
			b.op.claims = func(c map[string]any) { c["iss"], c["tid"] = issuer, tid }
		}
		said(b.op.URL+"/"+mine+"/v2.0", mine)
		p, err := b.login(t)
		if err != nil || p.Issuer != b.op.URL+"/"+mine+"/v2.0" || p.EmailVerified {
			t.Fatalf("got %+v, %v", p, err)
		}
		for name, s := range map[string][2]any{
			"another directory's id": {b.op.URL + "/" + mine + "/v2.0", another},
			"the pattern itself":     {b.op.URL + "/{tenantid}/v2.0", "{tenantid}"},
			"another server":         {"https://evil.example/" + mine + "/v2.0", mine},
			"more in the middle":     {b.op.URL + "/" + mine + "/x/v2.0", mine + "/x"},
			"an issuer before v2":    {b.op.URL + "/" + mine + "/", mine},
			"capitals in the id":     {b.op.URL + "/" + strings.ToUpper(mine) + "/v2.0", strings.ToUpper(mine)},
		} {
			said(s[0], s[1])
			if p, err := b.login(t); !errors.Is(err, social.ErrUpstream) {
				t.Errorf("%s: got %+v, %v", name, p, err)
			}
		}
	})
}

// answersPlain has the token endpoint give an access token and nothing else.
func (o *op) answersPlain(t *testing.T, check func(form url.Values)) {
	o.answer = func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		check(r.PostForm)
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		w.Write([]byte("access_token=at-plain&scope=user&token_type=bearer"))
	}
}

func TestGitHubTakesThePrimaryAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.play(t, "github", social.Settings{})
		b.op.userinfo = func() (string, []byte) {
			return "application/json", []byte(`{"id":583231,"login":"octocat","name":"The Octocat","email":"shown@example.com","email_verified":true}`)
		}
		b.op.answersPlain(t, func(form url.Values) {
			if form.Get("client_secret") != clientSecret || form.Get("code_verifier") == "" {
				t.Errorf("the form is %v", form)
			}
		})
		list, status := `[{"email":"other@example.com","verified":true,"primary":false},{"email":"octocat@example.com","verified":true,"primary":true}]`, 200
		b.op.Config.Handler.(*http.ServeMux).HandleFunc("/emails", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte(list))
		})
		p, err := b.login(t)
		if err != nil || p.Subject != "583231" || p.Email != "octocat@example.com" || !p.EmailVerified {
			t.Errorf("got %+v, %v", p, err)
		}
		list = `[{"email":"octocat@example.com","verified":false,"primary":true}]`
		if p, err := b.login(t); err != nil || p.EmailVerified {
			t.Errorf("unverified: got %+v, %v", p, err)
		}
		status = 404
		if p, err := b.login(t); err != nil || p.Email != "" || p.EmailVerified {
			t.Errorf("what is shown to everybody counts for an address: %+v, %v", p, err)
		}
		if _, _, err := b.StartCredential(t.Context(), b.by, b.c.ID, attempt); !errors.Is(err, social.ErrNotFound) {
			t.Errorf("it gives ID tokens: %v", err)
		}
	})
}

func TestLinkedInGetsNoVerifier(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.play(t, "linkedin", social.Settings{})
		b.op.userinfo = func() (string, []byte) {
			return "application/json", []byte(`{"sub":"782bbtaQ","email":"doe@example.com","email_verified":true,"name":"John Doe"}`)
		}
		b.op.answersPlain(t, func(form url.Values) {
			if form.Has("code_verifier") {
				t.Error("there is a verifier")
			}
		})
		if p, err := b.login(t); err != nil || p.Subject != "782bbtaQ" || !p.EmailVerified {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestApple(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey(t)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		b.Play("apple", b.op.URL, b.op.URL)
		c := social.Connection{Provider: "apple", ClientID: clientID, Enabled: true, Settings: social.Settings{TeamID: "TEAM123456", KeyID: "KEY1234567"}}
		create := func(secret string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
				b.c, err = b.Create(t.Context(), tx, access.System(tenant), c, secret)
				return err
			})
		}
		if err := create("no key"); !errors.Is(err, social.ErrInvalid) {
			t.Errorf("a secret that is no key: got %v", err)
		}
		if err := create(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
			t.Fatal(err)
		}
		q, err := url.Parse(b.start(t))
		if err != nil || q.Query().Get("response_mode") != "form_post" || q.Query().Has("code_challenge") || q.Query().Get("scope") != "name email" {
			t.Errorf("sent to %v, %v", q, err)
		}
		back := b.comeBack(t)
		nonce := b.op.codes[back.Code].Get("nonce")
		b.op.answer = func(w http.ResponseWriter, r *http.Request) {
			token, err := jwt.ParseSigned(r.PostFormValue("client_secret"), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Error(err)
				return
			}
			var said jwt.Claims
			if err := token.Claims(key.Public(), &said); err != nil || token.Headers[0].KeyID != "KEY1234567" {
				t.Error(err, token.Headers)
			}
			expected := jwt.Expected{Issuer: "TEAM123456", Subject: clientID, AnyAudience: jwt.Audience{"https://appleid.apple.com"}, Time: b.DB.Now()}
			if err := said.ValidateWithLeeway(expected, 0); err != nil || said.Expiry.Time().Sub(b.DB.Now()) > time.Hour {
				t.Error(err, said)
			}
			send(w, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": b.op.idToken(nonce)})
		}
		b.op.claims = func(c map[string]any) {
			c["email_verified"] = "true"
			delete(c, "name")
			delete(c, "given_name")
			delete(c, "family_name")
		}
		back.User = `{"name":{"firstName":"Ann","lastName":"Lee"},"email":"victim@example.com"}`
		p, _, err := b.Finish(t.Context(), b.by, back)
		if err != nil || p.FirstName != "Ann" || p.LastName != "Lee" || p.Email != "ann@example.com" || !p.EmailVerified {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestAnyOAuth2Provider(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.c = b.connect(t, social.Connection{Provider: social.OAuth2, Name: "Own", Settings: social.Settings{
			AuthorizationEndpoint: b.op.URL + "/authorize?tenant=1", TokenEndpoint: b.op.URL + "/token", UserinfoEndpoint: b.op.URL + "/userinfo",
			Scopes: []string{"read"}, TokenAuth: "client_secret_post", Claims: map[string]string{"subject": "uid", "email": "mail"},
		}})
		b.op.userinfo = func() (string, []byte) { return "application/json", []byte(`{"uid":7,"mail":"ann@example.com"}`) }
		b.op.answersPlain(t, func(form url.Values) {
			if form.Get("code_verifier") == "" || form.Get("client_secret") != clientSecret {
				t.Errorf("the form is %v", form)
			}
		})
		q, err := url.Parse(b.start(t))
		if err != nil || q.Query().Get("tenant") != "1" || q.Query().Get("scope") != "read" || q.Query().Has("nonce") {
			t.Errorf("sent to %v, %v", q, err)
		}
		if p, err := b.login(t); err != nil || p.Subject != "7" || p.Issuer != b.op.URL || p.EmailVerified {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestConnections(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		system := access.System(tenant)
		create := func(by access.Actor, c social.Connection, secret string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) error { return second(b.Create(t.Context(), tx, by, c, secret)) })
		}
		valid := social.Connection{Provider: "github", ClientID: "id"}
		with := func(change func(c *social.Connection)) social.Connection {
			c := valid
			change(&c)
			return c
		}
		if err := create(system, valid, "s"); err != nil {
			t.Fatal(err)
		}
		if err := create(system.With(access.ConnectionsRead), valid, "s"); !errors.Is(err, access.ErrDenied) {
			t.Errorf("without the right: got %v", err)
		}
		for name, c := range map[string]social.Connection{
			"no provider":         with(func(c *social.Connection) { c.Provider = "" }),
			"unknown provider":    with(func(c *social.Connection) { c.Provider = "myspace" }),
			"no client id":        with(func(c *social.Connection) { c.ClientID = "" }),
			"openid, no issuer":   with(func(c *social.Connection) { c.Provider = social.OpenID }),
			"oauth2, nothing":     with(func(c *social.Connection) { c.Provider = social.OAuth2 }),
			"apple, no team":      with(func(c *social.Connection) { c.Provider = "apple" }),
			"odd token auth":      with(func(c *social.Connection) { c.Settings.TokenAuth = "magic" }),
			"odd scope":           with(func(c *social.Connection) { c.Settings.Scopes = []string{"a b"} }),
			"odd claim":           with(func(c *social.Connection) { c.Settings.Claims = map[string]string{"is_admin": "x"} }),
			"odd directory":       with(func(c *social.Connection) { c.Settings.Directory = "../x" }),
			"odd domain":          with(func(c *social.Connection) { c.Settings.EmailDomains = []string{"@example"} }),
			"PKCE off for OpenID": with(func(c *social.Connection) { c.Settings.NoPKCE = true }),
			"a name of two lines": with(func(c *social.Connection) { c.Name = "a\nb" }),
			"issuer with a query": with(func(c *social.Connection) { c.Provider, c.Settings.Issuer = social.OpenID, "https://op.example/?x=1" }),
		} {
			if err := create(system, c, "s"); !errors.Is(err, social.ErrInvalid) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if err := create(system, valid, ""); !errors.Is(err, social.ErrInvalid) {
			t.Errorf("no secret: got %v", err)
		}
		for _, address := range []string{"http://op.example", "https://10.0.0.1", "https://user:pass@op.example", "https://[::1]", "file:///etc/passwd", "https://0x7f.1", "gopher://op.example"} {
			for _, c := range []social.Connection{
				{Provider: social.OpenID, ClientID: "id", Settings: social.Settings{Issuer: address}},
				{Provider: "gitlab", ClientID: "id", Settings: social.Settings{BaseURL: address}},
				{Provider: social.OAuth2, ClientID: "id", Settings: social.Settings{AuthorizationEndpoint: address, TokenEndpoint: "https://op.example/t", UserinfoEndpoint: "https://op.example/u"}},
				{Provider: social.OAuth2, ClientID: "id", Settings: social.Settings{AuthorizationEndpoint: "https://op.example/a", TokenEndpoint: address, UserinfoEndpoint: "https://op.example/u"}},
				{Provider: social.OAuth2, ClientID: "id", Settings: social.Settings{AuthorizationEndpoint: "https://op.example/a", TokenEndpoint: "https://op.example/t", UserinfoEndpoint: address}},
			} {
				if err := create(system, c, "s"); err == nil {
					t.Errorf("%s is taken for an address of %s", address, c.Provider)
				}
			}
		}
	})
}

func TestSecretIsNeverShownNorSentElsewhere(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		system := access.System(tenant)
		found, err := b.Connections(t.Context(), b.DB, system)
		if err != nil || len(found) != 1 || !found[0].HasSecret {
			t.Fatal(found, err)
		}
		if text, err := json.Marshal(found); err != nil || bytesHave(text, clientSecret) {
			t.Errorf("%s, %v", text, err)
		}
		var sealed []byte
		if err := b.DB.QueryRow(t.Context(), "SELECT secret FROM connections WHERE tenant_id = $1", tenant).Scan(&sealed); err != nil || bytesHave(sealed, clientSecret) {
			t.Errorf("the database has the secret as it is: %v", err)
		}
		save := func(c social.Connection, secret string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) error { return second(b.Save(t.Context(), tx, system, c, secret)) })
		}
		moved := b.c
		moved.Settings.Issuer = "https://evil.example"
		if err := save(moved, ""); !errors.Is(err, social.ErrInvalid) {
			t.Errorf("the secret goes to another issuer: %v", err)
		}
		if err := save(moved, "another"); err != nil {
			t.Errorf("with a secret of its own: %v", err)
		}
		renamed := moved
		renamed.Name, renamed.Provider = "Acme & Co", "google"
		if err := save(renamed, ""); err != nil {
			t.Error(err)
		}
		c, err := b.Connection(t.Context(), b.DB, system, b.c.ID)
		if err != nil || c.Name != "Acme & Co" || c.Provider != social.OpenID || !c.HasSecret {
			t.Errorf("got %+v, %v", c, err)
		}
		stranger := access.System(other)
		if _, err := b.Connection(t.Context(), b.DB, stranger, b.c.ID); !errors.Is(err, social.ErrNotFound) {
			t.Errorf("another tenant sees it: %v", err)
		}
		for what, err := range map[string]error{
			"save":   b.DB.Write(t.Context(), func(tx *database.Tx) error { return second(b.Save(t.Context(), tx, stranger, c, "x")) }),
			"delete": b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, stranger, c.ID) }),
		} {
			if !errors.Is(err, social.ErrNotFound) {
				t.Errorf("another tenant may %s it: %v", what, err)
			}
		}
		b.write(t, func(tx *database.Tx) error { return b.Delete(t.Context(), tx, system, c.ID) })
		if _, err := b.Start(t.Context(), b.by, b.request()); !errors.Is(err, social.ErrNotFound) {
			t.Errorf("deleted, it starts: %v", err)
		}
	})
}
