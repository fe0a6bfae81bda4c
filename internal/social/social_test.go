package social_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenant  = "000000000000000000000001"
	other   = "000000000000000000000002"
	attempt = "000000000000000000000a01"
	origin  = "https://acme.example.com"
)

var browser = secret.Hash("browser")

// bench is the service with a provider, a connection to it, and a clock that is moved
// by hand.
type bench struct {
	*social.Service
	op    *op
	users *user.Service
	c     social.Connection
	now   atomic.Int64
	by    access.Actor
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		test(t, newBench(t, db))
	})
}

func newBench(t *testing.T, db *database.DB) *bench {
	t.Helper()
	b := &bench{by: access.Visitor(tenant, "192.0.2.1")}
	b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
	b.op = newOP(t, db.Now)
	roots := x509.NewCertPool()
	roots.AddCert(b.op.Certificate())
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	boxes := func(context.Context, string) (*secret.Box, error) { return box, nil }
	b.users = &user.Service{DB: db, Box: boxes, Connection: func(string) string { return secret.ZeroID }}
	b.Service = &social.Service{
		DB: db, Box: boxes, Origin: func(context.Context, string) (string, error) { return origin, nil },
		Outbound: &outbound.Client{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AnyPort: true, Step: time.Millisecond, TLS: &tls.Config{RootCAs: roots}},
	}
	b.c = b.connect(t, social.Connection{Provider: social.OpenID, Name: "Acme", Settings: social.Settings{Issuer: b.op.URL}})
	return b
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) write(t *testing.T, f func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// connect adds a connection that is in use.
func (b *bench) connect(t *testing.T, c social.Connection) (made social.Connection) {
	t.Helper()
	c.ClientID, c.Enabled = clientID, true
	b.write(t, func(tx *database.Tx) (err error) {
		made, err = b.Create(t.Context(), tx, access.System(tenant), c, clientSecret)
		return err
	})
	return made
}

// save changes the bench's connection.
func (b *bench) save(t *testing.T, change func(c *social.Connection)) {
	t.Helper()
	change(&b.c)
	b.write(t, func(tx *database.Tx) error {
		_, err := b.Save(t.Context(), tx, access.System(tenant), b.c, clientSecret)
		return err
	})
}

func (b *bench) start(t *testing.T) (location string) {
	t.Helper()
	location, err := b.Start(t.Context(), b.by, b.request())
	if err != nil {
		t.Fatal(err)
	}
	return location
}

func (b *bench) request() social.Request {
	return social.Request{Connection: b.c.ID, Attempt: attempt, Browser: browser, RedirectURI: origin + social.CallbackPath(b.c.ID), LoginHint: "ann@example.com", Language: "de"}
}

// comeBack is what a browser comes back with from the provider.
func (b *bench) comeBack(t *testing.T) social.Return {
	t.Helper()
	state, code := b.op.authorize(t, b.start(t))
	return social.Return{Connection: b.c.ID, Browser: browser, State: state, Code: code}
}

func (b *bench) login(t *testing.T) (social.Profile, error) {
	t.Helper()
	p, f, err := b.Finish(t.Context(), b.by, b.comeBack(t))
	if err == nil && (f.Attempt != attempt || f.ID == "") {
		t.Errorf("the flow is of attempt %q, id %q", f.Attempt, f.ID)
	}
	return p, err
}

func TestSaysWhoSomebodyIs(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		location := b.start(t)
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for name, want := range map[string]string{
			"response_type": "code", "client_id": clientID, "redirect_uri": origin + social.CallbackPath(b.c.ID), "scope": "openid email profile",
			"code_challenge_method": "S256", "login_hint": "ann@example.com", "ui_locales": "de",
		} {
			if q.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, q.Get(name), want)
			}
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if len(q.Get(name)) < 26 {
				t.Errorf("%s is %q, which is too short to be random", name, q.Get(name))
			}
		}
		got, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		want := social.Profile{
			Connection: b.c.ID, Provider: social.OpenID, Label: "Acme", Issuer: b.op.URL, Subject: "subject-1", Email: "ann@example.com", EmailVerified: true,
			Name: "Ann Lee", FirstName: "Ann", LastName: "Lee", Picture: "https://op.example/ann.png",
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(social.Profile{}, "Raw", "Trusted")); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(string(got.Raw), `"given_name":"Ann"`) {
			t.Errorf("raw is %s", got.Raw)
		}
		again := b.start(t)
		if v, err := url.Parse(again); err != nil || v.Query().Get("state") == q.Get("state") || v.Query().Get("nonce") == q.Get("nonce") || v.Query().Get("code_challenge") == q.Get("code_challenge") {
			t.Error("something of a flow is made twice")
		}
	})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// replacing returns a change of one claim.
func replacing(name string, value any) func(t *testing.T, b *bench) {
	return func(_ *testing.T, b *bench) { b.op.claims = func(c map[string]any) { c[name] = value } }
}

// forged has the ID token be what forge makes of its claims.
func forged(forge func(t *testing.T, b *bench, body []byte) string) func(t *testing.T, b *bench) {
	return func(t *testing.T, b *bench) {
		b.op.token = func(token string) string {
			body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil {
				t.Fatal(err)
			}
			return forge(t, b, body)
		}
	}
}

func encoded(header string, body, signature []byte) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func hs256(t *testing.T, key []byte) func(t *testing.T, b *bench, body []byte) string {
	return func(t *testing.T, b *bench, body []byte) string {
		var claims map[string]any
		if err := json.Unmarshal(body, &claims); err != nil {
			t.Fatal(err)
		}
		return compact(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: append(key, make([]byte, 32)...), KeyID: "first"}}, nil, claims)
	}
}

// What a provider, or somebody in its place, can do wrong. Each fault is alone, and the
// log names it.
func TestFinishRefuses(t *testing.T) {
	unsigned := func(alg string) func(t *testing.T, b *bench) {
		return forged(func(_ *testing.T, _ *bench, body []byte) string { return encoded(`{"alg":"`+alg+`"}`, body, nil) })
	}
	elsewhere := func(handler http.HandlerFunc) func(t *testing.T, b *bench) {
		return func(_ *testing.T, b *bench) { b.op.answer = handler }
	}
	for name, fault := range map[string]struct {
		set   func(t *testing.T, b *bench)
		cause string
	}{
		"another issuer":                    {replacing("iss", "https://other.example"), "different provider"},
		"an issuer with a slash":            {func(_ *testing.T, b *bench) { b.op.claims = func(c map[string]any) { c["iss"] = b.op.URL + "/" } }, "different provider"},
		"no issuer":                         {replacing("iss", nil), "different provider"},
		"no subject":                        {replacing("sub", nil), "no subject"},
		"an empty subject":                  {replacing("sub", ""), "no subject"},
		"a subject too long":                {replacing("sub", strings.Repeat("x", 256)), "no subject"},
		"a subject with control characters": {replacing("sub", "a\x00b"), "no subject"},
		"a subject that is a number":        {replacing("sub", 7), "ID token"},
		"another audience":                  {replacing("aud", "somebody-else"), "audience"},
		"no audience":                       {replacing("aud", nil), "audience"},
		"several audiences, no azp":         {replacing("aud", []string{clientID, "somebody-else"}), "another party"},
		"another azp":                       {replacing("azp", "somebody-else"), "another party"},
		"an azp that is null":               {func(_ *testing.T, b *bench) { b.op.claims = func(c map[string]any) { c["azp"] = []string{clientID} } }, "another party"},
		"another nonce":                     {replacing("nonce", "of another flow"), "nonce"},
		"no nonce":                          {replacing("nonce", nil), "nonce"},
		"an empty nonce":                    {replacing("nonce", ""), "nonce"},
		"no time of issue":                  {replacing("iat", nil), "time of issue"},
		"issued in the far future":          {replacing("iat", int64(1<<40)), "time of issue"},
		"expired":                           {replacing("exp", int64(1)), "expired"},
		"no expiry":                         {replacing("exp", nil), "expired"},
		"an expiry that is a text":          {replacing("exp", "tomorrow"), "ID token"},
		"not valid yet":                     {replacing("nbf", int64(1<<40)), "not before"},
		"the hash of another access token":  {replacing("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "access token hash"},
		"alg none":                          {unsigned("none"), "ID token"},
		"alg None":                          {unsigned("None"), "ID token"},
		"alg nONE":                          {unsigned("nONE"), "ID token"},
		"no alg":                            {forged(func(_ *testing.T, _ *bench, body []byte) string { return encoded(`{}`, body, nil) }), "ID token"},
		"an alg that is a list":             {forged(func(_ *testing.T, _ *bench, body []byte) string { return encoded(`{"alg":["ES256"]}`, body, nil) }), "ID token"},
		"HS256 with our secret":             {forged(hs256(t, []byte(clientSecret))), "ID token"},
		"HS256 with the provider's key": {forged(func(t *testing.T, b *bench, body []byte) string {
			der, err := x509.MarshalPKIXPublicKey(b.op.public[0].Key)
			if err != nil {
				t.Fatal(err)
			}
			return hs256(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))(t, b, body)
		}), "ID token"},
		"another's key under the same name": {forged(func(t *testing.T, b *bench, body []byte) string {
			var claims map[string]any
			if err := json.Unmarshal(body, &claims); err != nil {
				t.Fatal(err)
			}
			return compact(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: newKey(t), KeyID: "first"}}, nil, claims)
		}), "verify signature"},
		"a key that comes with the token": {forged(func(t *testing.T, b *bench, body []byte) string {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: newKey(t)}, &jose.SignerOptions{EmbedJWK: true})
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign(body)
			if err != nil {
				t.Fatal(err)
			}
			out, err := signed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			return out
		}), "verify signature"},
		"an unknown critical header": {func(_ *testing.T, b *bench) {
			b.op.header = map[jose.HeaderKey]any{"crit": []string{"x"}, "x": true}
		}, "ID token"},
		"another body under the signature": {func(_ *testing.T, b *bench) {
			b.op.token = func(token string) string {
				part := strings.Split(token, ".")
				return part[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"victim"}`)) + "." + part[2]
			}
		}, "verify signature"},
		"a signature cut short": {func(_ *testing.T, b *bench) {
			b.op.token = func(token string) string { return token[:len(token)-8] }
		}, "ID token"},
		"a signature of zeros": {forged(func(_ *testing.T, _ *bench, body []byte) string {
			return encoded(`{"alg":"ES256","kid":"first"}`, body, make([]byte, 64))
		}), "verify signature"},
		"the other serialization": {forged(func(_ *testing.T, b *bench, body []byte) string {
			signer, err := jose.NewSigner(b.op.signer, nil)
			if err != nil {
				panic(err)
			}
			signed, err := signer.Sign(body)
			if err != nil {
				panic(err)
			}
			return signed.FullSerialize()
		}), "ID token"},
		"no ID token":          {func(_ *testing.T, b *bench) { b.op.token = func(string) string { return "" } }, "usable size"},
		"a huge ID token":      {replacing("padding", strings.Repeat("x", 40<<10)), "usable size"},
		"a million dots":       {func(_ *testing.T, b *bench) { b.op.token = func(string) string { return strings.Repeat(".", 30000) } }, "ID token"},
		"a token for another":  {forged(func(_ *testing.T, _ *bench, body []byte) string { return "not a token" }), "ID token"},
		"a weak key":           {func(t *testing.T, b *bench) { b.op.sign(jose.RS256, rsaKey(t, 1024), "first") }, "verify signature"},
		"a key for encryption": {func(_ *testing.T, b *bench) { b.op.public[0].Use = "enc" }, "verify signature"},
		"a key for another algorithm": {func(t *testing.T, b *bench) {
			b.op.sign(jose.PS256, rsaKey(t, 2048), "first")
			b.op.public[0].Algorithm = "RS256"
		}, "verify signature"},
		"no keys": {func(_ *testing.T, b *bench) { b.op.public = nil }, "verify signature"},
		"a huge key set": {func(_ *testing.T, b *bench) {
			b.op.keys = func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 10<<20)) }
		}, "keys"},
		"ten thousand keys": {func(_ *testing.T, b *bench) {
			b.op.keys = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"keys":[%s{}]}`, strings.Repeat(`{},`, 10_000))
			}
		}, "more keys"},
		"a key set that is none": {func(_ *testing.T, b *bench) {
			b.op.keys = func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }
		}, "keys"},
		"keys elsewhere": {func(_ *testing.T, b *bench) {
			b.op.keys = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://other.example/jwks", http.StatusFound)
			}
		}, "keys"},
		"keys within our network": {func(_ *testing.T, b *bench) {
			b.op.discovery = func(d map[string]any) { d["jwks_uri"] = "https://169.254.169.254/latest/meta-data" }
		}, "keys"},
		"userinfo of another": {func(_ *testing.T, b *bench) {
			b.op.tells(map[string]any{"sub": "subject-2", "email": "ann@example.com", "email_verified": true})
		}, "another subject"},
		"userinfo of nobody": {func(_ *testing.T, b *bench) {
			b.op.tells(map[string]any{"email": "ann@example.com", "email_verified": true})
		}, "another subject"},
		"userinfo that is a list": {func(_ *testing.T, b *bench) {
			b.op.tells(nil)
			b.op.userinfo = func() (string, []byte) { return "application/json", []byte(`["subject-1"]`) }
		}, "JSON object"},
		"huge userinfo": {func(_ *testing.T, b *bench) {
			b.op.tells(nil)
			b.op.userinfo = func() (string, []byte) { return "application/json", make([]byte, 1<<20) }
		}, "userinfo"},
		"userinfo signed by another": {func(t *testing.T, b *bench) {
			b.op.tells(nil)
			key := newKey(t)
			b.op.userinfo = func() (string, []byte) {
				return "application/jwt", []byte(compact(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil, map[string]any{"sub": "subject-1", "iss": b.op.URL, "aud": clientID}))
			}
		}, "userinfo"},
		"userinfo signed for another": {func(_ *testing.T, b *bench) {
			b.op.tells(nil)
			b.op.userinfo = func() (string, []byte) {
				return "application/jwt", []byte(b.op.signed(map[string]any{"sub": "subject-1", "iss": b.op.URL, "aud": "somebody-else"}))
			}
		}, "somebody else"},
		"userinfo within our network": {func(_ *testing.T, b *bench) {
			b.op.tells(map[string]any{"sub": "subject-1"})
			b.op.discovery = func(d map[string]any) { d["userinfo_endpoint"] = "https://[::1]/userinfo" }
		}, "userinfo"},
		"no answer for tokens": {elsewhere(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }), "500"},
		"a page for tokens":    {elsewhere(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }), "can not be used"},
		"an error for tokens": {elsewhere(func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, map[string]string{"error": "invalid_grant"})
		}), "invalid_grant"},
		"huge tokens": {elsewhere(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) }), "token endpoint"},
		"tokens elsewhere": {elsewhere(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/userinfo", http.StatusTemporaryRedirect)
		}), "307"},
		"another client": {func(t *testing.T, b *bench) { b.save(t, func(c *social.Connection) { c.Settings.TokenAuth = "none" }) }, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				fault.set(t, b)
				p, err := b.login(t)
				if !errors.Is(err, social.ErrUpstream) {
					t.Fatalf("got %+v, %v, want ErrUpstream", p, err)
				}
				if p.Subject != "" {
					t.Error("it says who it was all the same")
				}
				if !strings.Contains(err.Error(), fault.cause) {
					t.Errorf("the log has %q, want it to name %q", err, fault.cause)
				}
				if strings.Contains(err.Error(), clientSecret) {
					t.Errorf("the log has the secret: %v", err)
				}
			})
		})
	}
}

func TestFinishAccepts(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, b *bench){
		"RS256": func(t *testing.T, b *bench) { b.op.sign(jose.RS256, rsaKey(t, 2048), "k") },
		"PS256": func(t *testing.T, b *bench) { b.op.sign(jose.PS256, rsaKey(t, 2048), "k") },
		"several audiences, azp us": func(_ *testing.T, b *bench) {
			b.op.claims = func(c map[string]any) { c["aud"], c["azp"] = []string{"somebody-else", clientID}, clientID }
		},
		"EdDSA": func(t *testing.T, b *bench) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			b.op.sign(jose.EdDSA, key, "k")
		},
		"no kid, one key": func(t *testing.T, b *bench) { b.op.sign(jose.ES256, newKey(t), "") },
		"no kid, several keys": func(t *testing.T, b *bench) {
			b.op.sign(jose.ES256, newKey(t), "")
			b.op.public = append([]jose.JSONWebKey{{Key: newKey(t).Public(), KeyID: "other"}, {Key: rsaKey(t, 2048).Public(), KeyID: "rsa"}}, b.op.public...)
		},
		"two keys of one name": func(t *testing.T, b *bench) {
			b.op.public = append([]jose.JSONWebKey{{Key: newKey(t).Public(), KeyID: "first"}}, b.op.public...)
		},
		"keys of kinds nobody knows": func(_ *testing.T, b *bench) {
			b.op.keys = func(w http.ResponseWriter, _ *http.Request) {
				key, err := b.op.public[0].MarshalJSON()
				if err != nil {
					panic(err)
				}
				fmt.Fprintf(w, `{"keys":[{"kty":"AKP","kid":"pq"},{"kty":"oct","k":"AAAA"},%s]}`, key)
			}
		},
		"the hash of the access token": func(_ *testing.T, b *bench) {
			b.op.claims = func(c map[string]any) {
				sum := sha256.Sum256([]byte("at-" + c["nonce"].(string)))
				c["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:16])
			}
		},
		"the secret in the body": func(_ *testing.T, b *bench) {
			b.op.basic = false
			b.op.discovery = func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
		},
		"claims at userinfo": func(_ *testing.T, b *bench) { b.op.tells(b.op.someone()) },
		"signed userinfo": func(_ *testing.T, b *bench) {
			b.op.tells(nil)
			b.op.userinfo = func() (string, []byte) { return "application/jwt", []byte(b.op.signed(b.op.someone())) }
		},
		"claims from elsewhere, unread": func(_ *testing.T, b *bench) {
			b.op.claims = func(c map[string]any) {
				c["_claim_names"] = map[string]string{"credit": "src"}
				c["_claim_sources"] = map[string]any{"src": map[string]string{"endpoint": "https://169.254.169.254/"}}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				set(t, b)
				p, err := b.login(t)
				if err != nil {
					t.Fatal(err)
				}
				if p.Subject != "subject-1" || p.Email != "ann@example.com" || !p.EmailVerified || p.FirstName != "Ann" {
					t.Errorf("got %+v", p)
				}
			})
		})
	}
}

func TestDiscoveryRefuses(t *testing.T) {
	for name, set := range map[string]func(b *bench, d map[string]any){
		"another issuer":                  func(_ *bench, d map[string]any) { d["issuer"] = "https://other.example" },
		"an issuer with a slash":          func(b *bench, d map[string]any) { d["issuer"] = b.op.URL + "/" },
		"no authorization endpoint":       func(_ *bench, d map[string]any) { delete(d, "authorization_endpoint") },
		"script for authorization":        func(_ *bench, d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" },
		"authorization without https":     func(_ *bench, d map[string]any) { d["authorization_endpoint"] = "http://op.example/authorize" },
		"a token endpoint in our network": func(_ *bench, d map[string]any) { d["token_endpoint"] = "https://10.0.0.1/token" },
		"a huge document":                 func(_ *bench, d map[string]any) { d["padding"] = strings.Repeat("x", 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.op.discovery = func(d map[string]any) { set(b, d) }
				if location, err := b.Start(t.Context(), b.by, b.request()); !errors.Is(err, social.ErrUpstream) {
					t.Errorf("got %q, %v, want ErrUpstream", location, err)
				}
			})
		})
	}
}

func TestIssuerOfTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		advertised bool
		iss        func(b *bench) string
		ok         bool
	}{
		"not advertised, absent":  {false, func(*bench) string { return "" }, true},
		"not advertised, right":   {false, func(b *bench) string { return b.op.URL }, true},
		"not advertised, another": {false, func(*bench) string { return "https://other.example" }, false},
		"advertised, right":       {true, func(b *bench) string { return b.op.URL }, true},
		"advertised, absent":      {true, func(*bench) string { return "" }, false},
		"advertised, another":     {true, func(*bench) string { return "https://other.example" }, false},
		"advertised, with slash":  {true, func(b *bench) string { return b.op.URL + "/" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.op.discovery = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = c.advertised }
				back := b.comeBack(t)
				back.Issuer = c.iss(b)
				_, _, err := b.Finish(t.Context(), b.by, back)
				if c.ok && err != nil || !c.ok && !errors.Is(err, social.ErrUpstream) {
					t.Errorf("got %v", err)
				}
				if !c.ok && b.op.asked["/token"].Load() > 0 {
					t.Error("the code of another provider was sent to this one")
				}
			})
		})
	}
}

func TestStateIsRefused(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, b *bench, r *social.Return){
		"a second time": func(t *testing.T, b *bench, r *social.Return) {
			if _, _, err := b.Finish(t.Context(), b.by, *r); err != nil {
				t.Fatal(err)
			}
		},
		"after an error": func(t *testing.T, b *bench, r *social.Return) {
			wrong := *r
			wrong.Code, wrong.Error = "", "access_denied"
			if _, _, err := b.Finish(t.Context(), b.by, wrong); !errors.Is(err, social.ErrCancelled) {
				t.Fatal(err)
			}
		},
		"from another browser": func(_ *testing.T, _ *bench, r *social.Return) { r.Browser = secret.Hash("another") },
		"from no browser":      func(_ *testing.T, _ *bench, r *social.Return) { r.Browser = nil },
		"of nobody":            func(_ *testing.T, _ *bench, r *social.Return) { r.State = rand.Text() },
		"that is empty":        func(_ *testing.T, _ *bench, r *social.Return) { r.State = "" },
		"that is long":         func(_ *testing.T, _ *bench, r *social.Return) { r.State = strings.Repeat("x", 4096) },
		"half an hour later":   func(_ *testing.T, b *bench, _ *social.Return) { b.pass(social.Life) },
		"in another tenant":    func(_ *testing.T, b *bench, _ *social.Return) { b.by.Tenant = other },
		"with a code too long": func(_ *testing.T, _ *bench, r *social.Return) { r.Code = strings.Repeat("x", 5000) },
		"at no connection":     func(_ *testing.T, _ *bench, r *social.Return) { r.Connection = "" },
		"at another connection": func(t *testing.T, b *bench, r *social.Return) {
			r.Connection = b.connect(t, social.Connection{Provider: social.OpenID, Settings: social.Settings{Issuer: b.op.URL}}).ID
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				back := b.comeBack(t)
				change(t, b, &back)
				if _, _, err := b.Finish(t.Context(), b.by, back); !errors.Is(err, social.ErrFlow) {
					t.Errorf("got %v, want ErrFlow", err)
				}
			})
		})
	}
}

// Somebody who has got hold of a state can not spoil the flow from where they are.
func TestStrangersDoNotUseAStateUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		back := b.comeBack(t)
		stolen := back
		stolen.Browser = secret.Hash("another")
		if _, _, err := b.Finish(t.Context(), b.by, stolen); !errors.Is(err, social.ErrFlow) {
			t.Fatal(err)
		}
		if _, _, err := b.Finish(t.Context(), b.by, back); err != nil {
			t.Error(err)
		}
	})
}

func TestStateIsGoodOnceAtATime(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		back := b.comeBack(t)
		var won atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, _, err := b.Finish(t.Context(), b.by, back)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, social.ErrFlow) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 20 finished the flow, want 1", won.Load())
		}
	})
}

func TestDisabledConnectionDoesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		back := b.comeBack(t)
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		held, f, err := b.Finish(t.Context(), b.by, b.comeBack(t))
		if err != nil {
			t.Fatal(err)
		}
		b.write(t, func(tx *database.Tx) error { return b.Keep(t.Context(), tx, b.by, f, held) })
		state, nonce, err := b.StartCredential(t.Context(), b.by, b.c.ID, attempt)
		if err != nil {
			t.Fatal(err)
		}
		b.save(t, func(c *social.Connection) { c.Enabled = false })
		user := b.person(t, "ann@example.com")
		for what, err := range map[string]error{
			"start":             second(b.Start(t.Context(), b.by, b.request())),
			"finish":            third(b.Finish(t.Context(), b.by, back)),
			"start credential":  third(b.StartCredential(t.Context(), b.by, b.c.ID, attempt)),
			"finish credential": third(b.FinishCredential(t.Context(), b.by, b.c.ID, state, b.op.idToken(nonce))),
			"sign in":           b.DB.Write(t.Context(), func(tx *database.Tx) error { return third(b.SignIn(t.Context(), tx, b.by, p)) }),
			"link":              b.DB.Write(t.Context(), func(tx *database.Tx) error { return second(b.Link(t.Context(), tx, b.by, user, p)) }),
		} {
			if !errors.Is(err, social.ErrDisabled) {
				t.Errorf("%s: got %v, want ErrDisabled", what, err)
			}
		}
		if _, id, err := b.Kept(t.Context(), b.DB, tenant, attempt); err != nil || id != "" {
			t.Errorf("what was held is still there: %q, %v", id, err)
		}
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error { return second(b.Settle(t.Context(), tx, b.by, f)) })
		if !errors.Is(err, social.ErrFlow) {
			t.Errorf("settle: got %v, want ErrFlow", err)
		}
		if list, err := b.Enabled(t.Context(), tenant); err != nil || len(list) != 0 {
			t.Errorf("it is still offered: %v, %v", list, err)
		}
	})
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

func TestKeysRotateBetweenLogins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, kid := range []string{"second", "third"} {
			if _, err := b.login(t); err != nil {
				t.Fatal(err)
			}
			b.op.rotate(kid)
			if _, err := b.login(t); err != nil {
				t.Fatalf("after the keys have changed: %v", err)
			}
			b.pass(time.Minute)
		}
	})
}

// A storm of tokens with keys that nobody knows costs the provider one request in half
// a minute.
func TestUnknownKeysAreLookedForRarely(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if _, err := b.login(t); err != nil {
			t.Fatal(err)
		}
		honest := b.op.signer
		var made atomic.Int64
		forge := forged(func(t *testing.T, b *bench, body []byte) string {
			var claims map[string]any
			if err := json.Unmarshal(body, &claims); err != nil {
				t.Fatal(err)
			}
			return compact(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: newKey(t), KeyID: fmt.Sprint("unknown", made.Add(1))}}, nil, claims)
		})
		forge(t, b)
		for range 20 {
			if _, err := b.login(t); !errors.Is(err, social.ErrUpstream) {
				t.Fatal(err)
			}
		}
		if n := b.op.asked["/jwks"].Load(); n != 2 {
			t.Errorf("the keys were fetched %d times, want 2", n)
		}
		b.op.token = nil
		b.op.signer = honest
		if _, err := b.login(t); err != nil {
			t.Errorf("who comes with a good token meanwhile: %v", err)
		}
		if n := b.op.asked["/.well-known/openid-configuration"].Load(); n != 1 {
			t.Errorf("the document was fetched %d times, want 1", n)
		}
		b.pass(time.Hour)
		if _, err := b.login(t); err != nil || b.op.asked["/jwks"].Load() != 3 || b.op.asked["/.well-known/openid-configuration"].Load() != 2 {
			t.Errorf("after an hour: %v, keys %d, document %d", err, b.op.asked["/jwks"].Load(), b.op.asked["/.well-known/openid-configuration"].Load())
		}
	})
}

// A token with a key that nobody knows does not make those forgotten that are known.
func TestKnownKeysOutliveAFailure(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if _, err := b.login(t); err != nil {
			t.Fatal(err)
		}
		honest := b.op.signer
		b.op.rotate("unknown")
		b.op.keys = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
		if _, err := b.login(t); !errors.Is(err, social.ErrUpstream) {
			t.Fatal(err)
		}
		b.op.signer = honest
		if _, err := b.login(t); err != nil {
			t.Errorf("a good token after that: %v", err)
		}
	})
}

func TestFailingProviderIsLeftAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.op.discovery = func(d map[string]any) { d["issuer"] = "https://other.example" }
		for range 5 {
			if _, err := b.Start(t.Context(), b.by, b.request()); !errors.Is(err, social.ErrUpstream) {
				t.Fatal(err)
			}
		}
		if n := b.op.asked["/.well-known/openid-configuration"].Load(); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
		b.op.discovery = nil
		b.pass(10 * time.Second)
		if _, err := b.login(t); err != nil {
			t.Errorf("when it answers again: %v", err)
		}
	})
}

func TestSlowProviderGivesUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Outbound = &outbound.Client{Allow: b.Outbound.Allow, AnyPort: true, Step: time.Millisecond, TLS: b.Outbound.TLS, Timeout: 200 * time.Millisecond}
		slow := func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or net/http does not notice that the client has gone
			<-r.Context().Done()
		}
		back := b.comeBack(t)
		b.op.answer = slow
		if _, _, err := b.Finish(t.Context(), b.by, back); !errors.Is(err, social.ErrUpstream) {
			t.Errorf("tokens: got %v", err)
		}
		b.op.answer, b.op.keys = nil, slow
		if _, err := b.login(t); !errors.Is(err, social.ErrUpstream) {
			t.Errorf("keys: got %v", err)
		}
	})
}

// One Tap: the ID token comes by the browser.
func TestCredential(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		start := func() (state, nonce string) {
			t.Helper()
			state, nonce, err := b.StartCredential(t.Context(), b.by, b.c.ID, attempt)
			if err != nil {
				t.Fatal(err)
			}
			return state, nonce
		}
		state, nonce := start()
		token := b.op.idToken(nonce)
		p, f, err := b.FinishCredential(t.Context(), b.by, b.c.ID, state, token)
		if err != nil || p.Subject != "subject-1" || f.Attempt != attempt {
			t.Fatalf("got %+v, %+v, %v", p, f, err)
		}
		if _, _, err := b.FinishCredential(t.Context(), b.by, b.c.ID, state, token); !errors.Is(err, social.ErrFlow) {
			t.Errorf("a second time: got %v", err)
		}
		state, _ = start()
		if _, _, err := b.FinishCredential(t.Context(), b.by, b.c.ID, state, token); !errors.Is(err, social.ErrUpstream) {
			t.Errorf("a token of another sign-in: got %v", err)
		}
		state, nonce = start()
		if _, _, err := b.Finish(t.Context(), b.by, social.Return{Connection: b.c.ID, Browser: browser, State: state, Code: "x"}); !errors.Is(err, social.ErrFlow) {
			t.Errorf("with a code: got %v", err)
		}
		q, err := url.Parse(b.start(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.FinishCredential(t.Context(), b.by, b.c.ID, q.Query().Get("state"), b.op.idToken(q.Query().Get("nonce"))); !errors.Is(err, social.ErrFlow) {
			t.Errorf("by the state of a browser: got %v", err)
		}
		b.op.claims = func(c map[string]any) { c["aud"] = "somebody-else" }
		if _, _, err := b.FinishCredential(t.Context(), b.by, b.c.ID, state, b.op.idToken(nonce)); !errors.Is(err, social.ErrUpstream) {
			t.Errorf("a token for another client: got %v", err)
		}
	})
}
