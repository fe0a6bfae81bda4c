package social_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	clientID     = "cardea-at-op"
	clientSecret = "s3cr3t:with/odd characters&such"
)

// op is an OpenID provider that does everything right until it is told otherwise.
type op struct {
	*httptest.Server
	now func() time.Time

	mu     sync.Mutex
	signer jose.SigningKey
	public []jose.JSONWebKey
	codes  map[string]url.Values // authorization requests by code

	// Faults; nil for none.
	discovery func(map[string]any)
	claims    func(map[string]any)
	header    map[jose.HeaderKey]any
	token     func(idToken string) string        // in place of the ID token
	answer    http.HandlerFunc                   // in place of the token endpoint
	keys      http.HandlerFunc                   // in place of the key set
	userinfo  func() (media string, body []byte) // at the userinfo endpoint
	basic     bool                               // wants client_secret_basic

	asked map[string]*atomic.Int64 // requests by path
}

func newOP(t *testing.T, now func() time.Time) *op {
	t.Helper()
	o := &op{now: now, codes: map[string]url.Values{}, asked: map[string]*atomic.Int64{}, basic: true}
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": o.getDiscovery, "/jwks": o.getKeys, "/token": o.postToken, "/userinfo": o.getUserinfo,
	} {
		n := &atomic.Int64{}
		o.asked[path] = n
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			h(w, r)
		})
	}
	o.Server = httptest.NewTLSServer(mux)
	t.Cleanup(o.Close)
	o.rotate("first")
	return o
}

// rotate makes a new key, which takes the place of all others.
func (o *op) rotate(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	o.sign(jose.ES256, key, kid)
}

// sign has the provider sign with a key and publish no other.
func (o *op) sign(alg jose.SignatureAlgorithm, key crypto.Signer, kid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.signer = jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}
	o.public = []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: string(alg), Use: "sig"}}
}

func (o *op) getDiscovery(w http.ResponseWriter, r *http.Request) {
	document := map[string]any{
		"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/jwks",
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"},
	}
	if o.discovery != nil {
		o.discovery(document)
	}
	send(w, document)
}

func (o *op) getKeys(w http.ResponseWriter, r *http.Request) {
	if o.keys != nil {
		o.keys(w, r)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	send(w, jose.JSONWebKeySet{Keys: o.public})
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Write(body) // whoever has read enough may have gone
}

func refuse(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	send(w, v)
}

// authorize is what the provider does with a browser that was sent to an address: it
// signs somebody in and answers a code.
func (o *op) authorize(t *testing.T, location string) (state, code string) {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") != clientID || q.Get("redirect_uri") == "" || q.Get("state") == "" {
		t.Fatalf("the authorization request lacks something: %s", location)
	}
	code = rand.Text()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.codes[code] = q
	return q.Get("state"), code
}

func (o *op) postToken(w http.ResponseWriter, r *http.Request) {
	if o.answer != nil {
		o.answer(w, r)
		return
	}
	o.mu.Lock()
	q := o.codes[r.PostFormValue("code")]
	delete(o.codes, r.PostFormValue("code"))
	o.mu.Unlock()
	if err := o.judge(r, q); err != nil {
		refuse(w, map[string]string{"error": "invalid_grant", "error_description": err.Error() + " " + clientSecret})
		return
	}
	out := map[string]any{"access_token": "at-" + q.Get("nonce"), "refresh_token": "rt-upstream", "token_type": "Bearer", "expires_in": 3600, "scope": q.Get("scope")}
	if q.Get("nonce") != "" {
		out["id_token"] = o.idToken(q.Get("nonce"))
	}
	send(w, out)
}

func (o *op) judge(r *http.Request, q url.Values) error {
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if !o.basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case q == nil:
		return fmt.Errorf("no such code")
	case id != clientID || secret != clientSecret:
		return fmt.Errorf("another client")
	case r.PostFormValue("redirect_uri") != q.Get("redirect_uri"):
		return fmt.Errorf("another redirect URI")
	case q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256" || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge"):
		return fmt.Errorf("another verifier")
	}
	return nil
}

// someone is what the provider says of who signs in.
func (o *op) someone() map[string]any {
	return map[string]any{
		"iss": o.URL, "aud": clientID, "sub": "subject-1", "iat": o.now().Unix(), "exp": o.now().Add(time.Hour).Unix(),
		"email": "ann@example.com", "email_verified": true, "name": "Ann Lee", "given_name": "Ann", "family_name": "Lee", "picture": "https://op.example/ann.png",
	}
}

func (o *op) idToken(nonce string) string {
	claims := o.someone()
	claims["nonce"] = nonce
	if o.claims != nil {
		o.claims(claims)
	}
	for name, v := range claims {
		if v == nil {
			delete(claims, name)
		}
	}
	token := o.signed(claims)
	if o.token != nil {
		return o.token(token)
	}
	return token
}

func (o *op) signed(claims map[string]any) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return compact(o.signer, o.header, claims)
}

func compact(key jose.SigningKey, header map[jose.HeaderKey]any, claims map[string]any) string {
	signer, err := jose.NewSigner(key, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		panic(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		panic(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return out
}

func (o *op) getUserinfo(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer at-") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	media, body := o.userinfo()
	w.Header().Set("Content-Type", media)
	w.Write(body)
}

// tells has the userinfo endpoint say something, and the ID token nothing but who.
func (o *op) tells(said map[string]any) {
	o.discovery = func(d map[string]any) { d["userinfo_endpoint"] = o.URL + "/userinfo" }
	o.claims = func(c map[string]any) {
		maps.DeleteFunc(c, func(name string, _ any) bool {
			return !strings.Contains(" iss aud sub iat exp nonce ", " "+name+" ")
		})
	}
	o.userinfo = func() (string, []byte) {
		body, err := json.Marshal(said)
		if err != nil {
			panic(err)
		}
		return "application/json", body
	}
}
