package oidc_test

import (
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A signer makes tokens as a client would, good and bad.
type signer struct {
	alg jose.SignatureAlgorithm
	key any // private
	kid string
}

func newES256(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.ES256, key, kid}
}

func (s signer) public() jose.JSONWebKey {
	k := jose.JSONWebKey{Key: s.key, KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
	return k.Public()
}

func (s signer) jwks(t *testing.T) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.public()}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign returns claims as a JWS; header members come on top.
func (s signer) sign(t *testing.T, header map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	text, ok := claims.(string)
	if !ok {
		b, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	o := &jose.SignerOptions{ExtraHeaders: header}
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := made.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// forge puts a header and claims before a signature of any kind.
func forge(header, claims, signature string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64([]byte(signature))
}

// with returns claims with some changed; nil removes one.
func with(claims map[string]any, pairs ...any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if out[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(out, pairs[i].(string))
		}
	}
	return out
}

// supported are the algorithms of the vectors that clients may use. All others are
// refused although their vectors call them valid.
var supported = []string{"ES256", "PS256", "RS256"}

// differing are the vectors that we judge in another way than Wycheproof does.
var differing = map[int]string{
	281: saltLength, 282: saltLength, 283: saltLength, 284: saltLength, 285: saltLength, 286: saltLength,
	346: otherAlgorithm, 350: otherAlgorithm,
}

const (
	saltLength     = "go-jose finds out the length of the salt of PSS; signing so takes the private key all the same"
	otherAlgorithm = "signed with PS384 under a key for PS256: we refuse both"
)

// The vectors of project Wycheproof (Apache-2.0), testvectors_v1/json_web_signature_test.json
// of github.com/c2sp/wycheproof at 3fa63dd0344a.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/wycheproof_jws.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Tests  int `json:"numberOfTests"`
		Groups []struct {
			Comment         string
			Public, Private json.RawMessage
			Tests           []struct {
				ID      int `json:"tcId"`
				Comment string
				JWS     json.RawMessage
				Result  string
			}
		} `json:"testGroups"`
	}
	if err := json.NewDecoder(text).Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	seen, accepted := 0, 0
	for _, g := range vectors.Groups {
		key := g.Public
		if key == nil {
			key = g.Private // symmetric
		}
		var about struct{ Alg string }
		if err := json.Unmarshal(key, &about); err != nil {
			t.Fatal(err)
		}
		for _, v := range g.Tests {
			seen++
			jws := string(v.JWS)
			_ = json.Unmarshal(v.JWS, &jws) // some are JSON serialization, which stays as it is
			err := oidc.VerifySignature(fmt.Appendf(nil, `{"keys":[%s]}`, key), jws)
			good := v.Result == "valid" && slices.Contains(supported, about.Alg) && strings.Count(jws, ".") == 2
			if differs := good != (err == nil); differs != (differing[v.ID] != "") {
				t.Errorf("%s %d (%s, %s): %s, got %v", g.Comment, v.ID, v.Comment, about.Alg, v.Result, err)
			}
			if err == nil {
				accepted++
			}
		}
	}
	if seen != vectors.Tests || accepted < 10 {
		t.Errorf("%d of %d vectors seen, %d accepted", seen, vectors.Tests, accepted)
	}
}

const (
	issuer   = "https://auth.example.com"
	endpoint = issuer + "/oauth2/token"
)

func application(jwks json.RawMessage) tenant.Application {
	return tenant.Application{ID: "a", ClientID: "cli_a", OAuth: tenant.OAuth{AuthMethod: tenant.AuthKey, JWKS: jwks}}
}

func assertionClaims(now time.Time) map[string]any {
	return map[string]any{"iss": "cli_a", "sub": "cli_a", "aud": issuer, "jti": "1", "exp": now.Add(time.Minute).Unix(), "iat": now.Unix()}
}

func TestClientAssertionIsTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	es := newES256(t, "k")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := assertionClaims(now)
	for name, c := range map[string]struct {
		by     signer
		header map[jose.HeaderKey]any
		claims map[string]any
	}{
		"ES256":                {es, nil, good},
		"RS256":                {signer{jose.RS256, rsaKey, "k"}, nil, good},
		"PS256":                {signer{jose.PS256, rsaKey, "k"}, nil, good},
		"EdDSA":                {signer{jose.EdDSA, ed, "k"}, nil, good},
		"typ JWT":              {es, map[jose.HeaderKey]any{"typ": "JWT"}, good},
		"typ of its own":       {es, map[jose.HeaderKey]any{"typ": "client-authentication+jwt"}, good},
		"aud token endpoint":   {es, nil, with(good, "aud", endpoint)},
		"aud list of ours":     {es, nil, with(good, "aud", []string{issuer, endpoint})},
		"nbf 8 seconds ahead":  {es, nil, with(good, "nbf", now.Add(8*time.Second).Unix())},
		"iat 10 seconds ahead": {es, nil, with(good, "iat", now.Add(10*time.Second).Unix())},
		"iat with a fraction":  {es, nil, with(good, "iat", float64(now.UnixMilli())/1000)},
		"no iat":               {es, nil, with(good, "iat", nil)},
		"unknown claim":        {es, nil, with(good, "x", true)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := oidc.CheckAssertion(t.Context(), application(c.by.jwks(t)), c.by.sign(t, c.header, c.claims), []string{issuer, endpoint}, now)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestClientAssertionIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	es, other := newES256(t, "k"), newES256(t, "k")
	app := application(es.jwks(t))
	good := assertionClaims(now)
	goodText := es.sign(t, nil, good)
	part := strings.Split(goodText, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"key/another":                    other.sign(t, nil, good),
		"key/unknown id":                 signer{jose.ES256, es.key, "other"}.sign(t, nil, good),
		"claims/no sub":                  es.sign(t, nil, with(good, "sub", nil)),
		"claims/sub of another":          es.sign(t, nil, with(good, "sub", "cli_b")),
		"claims/iss of another":          es.sign(t, nil, with(good, "iss", "cli_b")),
		"claims/no iss":                  es.sign(t, nil, with(good, "iss", nil)),
		"claims/no aud":                  es.sign(t, nil, with(good, "aud", nil)),
		"claims/aud of another":          es.sign(t, nil, with(good, "aud", "https://other.example.com")),
		"claims/aud with a slash":        es.sign(t, nil, with(good, "aud", issuer+"/")),
		"claims/aud list with a foreign": es.sign(t, nil, with(good, "aud", []string{issuer, "https://other.example.com"})),
		"claims/aud list foreign":        es.sign(t, nil, with(good, "aud", []string{"https://other.example.com"})),
		"claims/aud empty list":          es.sign(t, nil, with(good, "aud", []string{})),
		"claims/aud a number":            es.sign(t, nil, with(good, "aud", 1)),
		"claims/no exp":                  es.sign(t, nil, with(good, "exp", nil)),
		"claims/exp past":                es.sign(t, nil, with(good, "exp", now.Add(-time.Second).Unix())),
		"claims/exp far away":            es.sign(t, nil, with(good, "exp", now.Add(2*time.Hour).Unix())),
		"claims/exp 1e30":                es.sign(t, nil, with(good, "exp", 1e30)),
		"claims/exp negative":            es.sign(t, nil, with(good, "exp", -1)),
		"claims/exp a string":            es.sign(t, nil, with(good, "exp", fmt.Sprint(now.Add(time.Minute).Unix()))),
		"claims/nbf 60 seconds ahead":    es.sign(t, nil, with(good, "nbf", now.Add(time.Minute).Unix())),
		"claims/nbf long ago":            es.sign(t, nil, with(good, "nbf", now.Add(-2*time.Hour).Unix())),
		"claims/iat far future":          es.sign(t, nil, with(good, "iat", now.Add(time.Hour).Unix())),
		"claims/no jti":                  es.sign(t, nil, with(good, "jti", nil)),
		"claims/jti of 10 kB":            es.sign(t, nil, with(good, "jti", strings.Repeat("j", 10<<10))),
		"claims/sub twice":               es.sign(t, nil, `{"sub":"cli_b",`+string(payload)[1:]),
		"claims/other case":              es.sign(t, nil, strings.Replace(string(payload), `"exp"`, `"EXP"`, 1)),
		"claims/nested deep":             es.sign(t, nil, `{"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`,`+string(payload)[1:1]+`"iss":1}`),
		"claims/no JSON":                 es.sign(t, nil, "exp"),
		"typ/access token":               es.sign(t, map[jose.HeaderKey]any{"typ": "at+jwt"}, good),
		"typ/logout token":               es.sign(t, map[jose.HeaderKey]any{"typ": "logout+jwt"}, good),
		"typ/DPoP proof":                 es.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt"}, good),
		"header/crit":                    es.sign(t, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": true}, good),
		"header/b64 false":               es.sign(t, map[jose.HeaderKey]any{"b64": false, "crit": []string{"b64"}}, good),
		"header/b64 true":                es.sign(t, map[jose.HeaderKey]any{"b64": true}, good),
		"header/jwk of a thief":          other.sign(t, map[jose.HeaderKey]any{"jwk": other.public()}, good),
		"header/jku of a thief":          other.sign(t, map[jose.HeaderKey]any{"jku": "https://evil.example.com/jwks"}, good),
		"header/kid a path":              signer{jose.ES256, other.key, "../../dev/null"}.sign(t, nil, good),
		"header/kid SQL":                 signer{jose.ES256, other.key, "' OR '1'='1"}.sign(t, nil, good),
		"header/kid of 10 kB":            signer{jose.ES256, other.key, strings.Repeat("k", 10<<10)}.sign(t, nil, good),
		"form/signature stripped":        part[0] + "." + part[1] + ".",
		"form/two parts":                 part[0] + "." + part[1],
		"form/truncated":                 goodText[:len(goodText)-4],
		"form/padded":                    goodText + "=",
		"form/line break":                part[0] + "." + part[1] + ".\n" + part[2],
		"form/standard alphabet":         part[0] + "." + part[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(part[2]) + "==",
		"form/signature of another":      part[0] + "." + part[1] + "." + strings.Split(es.sign(t, nil, with(good, "jti", "2")), ".")[2],
		"form/a million dots":            strings.Repeat(".", 1_000_000),
		"form/JSON serialization":        `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`,
		"form/JWE":                       forge(`{"alg":"dir","enc":"A128GCM"}`, "", "") + ".AAAA.AAAA",
		"form/empty":                     "",
		"signature/zeros":                part[0] + "." + part[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"signature/order of the curve":   part[0] + "." + part[1] + "." + base64.RawURLEncoding.EncodeToString(slices.Concat(elliptic.P256().Params().N.Bytes(), elliptic.P256().Params().N.Bytes())),
	}
	for _, alg := range []string{`"none"`, `"None"`, `"nONE"`, `""`, `["ES256"]`, `null`, `"ES384"`, `"RS1"`} {
		cases["alg/"+alg] = forge(`{"alg":`+alg+`}`, string(payload), "")
	}
	cases["alg/missing"] = forge(`{"kid":"k"}`, string(payload), "x")
	for name, secret := range publicKeyAsSecret(t, es) {
		cases["alg/HS256 with "+name] = signer{jose.HS256, secret, "k"}.sign(t, nil, good)
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := oidc.CheckAssertion(t.Context(), app, text, []string{issuer, endpoint}, now); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

// publicKeyAsSecret are the forms of a public key that somebody could use as the
// secret of HS256.
func publicKeyAsSecret(t *testing.T, s signer) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.public().Key)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(s.public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{"DER": der, "JWK": jwk, "PEM": text, "PEM without newline": []byte(strings.TrimSpace(string(text)))}
}

func TestClientKeysThatAreNotGood(t *testing.T) {
	t.Parallel()
	now := time.Now()
	weak, err := rsa.GenerateKey(rand.Reader, 1024) // the test runs with GODEBUG's default, which allows 1024
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	es := newES256(t, "k")
	encryption := es.public()
	encryption.Use = "enc"
	set := func(keys ...jose.JSONWebKey) json.RawMessage {
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	secret := []byte(strings.Repeat("s", 32))
	for name, c := range map[string]struct {
		keys json.RawMessage
		by   signer
	}{
		"RSA of 1024 bits":  {signer{jose.RS256, weak, "k"}.jwks(t), signer{jose.RS256, weak, "k"}},
		"P-384":             {signer{jose.ES384, p384, "k"}.jwks(t), signer{jose.ES384, p384, "k"}},
		"use enc":           {set(encryption), es},
		"alg of the key":    {signer{jose.PS256, strong, "k"}.jwks(t), signer{jose.RS256, strong, "k"}},
		"symmetric":         {set(jose.JSONWebKey{Key: secret, KeyID: "k", Algorithm: "HS256"}), signer{jose.HS256, secret, "k"}},
		"no keys":           {json.RawMessage(`{"keys":[]}`), es},
		"a private key":     {set(jose.JSONWebKey{Key: es.key, KeyID: "k"}), es},
		"another of its id": {set(newES256(t, "k").public()), es},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := oidc.CheckAssertion(t.Context(), application(c.keys), c.by.sign(t, nil, assertionClaims(now)), []string{issuer}, now); err == nil {
				t.Error("it was taken")
			}
		})
	}
	t.Run("the right one of two of an id", func(t *testing.T) {
		t.Parallel()
		keys := set(newES256(t, "k").public(), es.public())
		if err := oidc.CheckAssertion(t.Context(), application(keys), es.sign(t, nil, assertionClaims(now)), []string{issuer}, now); err != nil {
			t.Error(err)
		}
	})
}

func proofOf(t *testing.T, s signer, claims map[string]any) string {
	t.Helper()
	s.kid = ""
	return s.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": s.public()}, claims)
}

func proofClaimsAt(now time.Time) map[string]any {
	return map[string]any{"jti": "1", "htm": "POST", "htu": endpoint, "iat": now.Unix()}
}

func TestDPoPProofIsTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	es := newES256(t, "")
	good := proofClaimsAt(now)
	for name, claims := range map[string]map[string]any{
		"as it should be":     good,
		"iat 10 seconds old":  with(good, "iat", now.Add(-10*time.Second).Unix()),
		"iat 10 seconds new":  with(good, "iat", now.Add(10*time.Second).Unix()),
		"iat with a fraction": with(good, "iat", float64(now.UnixMilli())/1000),
		"htu upper-case host": with(good, "htu", "HTTPS://AUTH.example.com/oauth2/token"),
		"htu with port":       with(good, "htu", "https://auth.example.com:443/oauth2/token"),
		"htu with a query":    with(good, "htu", endpoint+"?x=1"),
		"nonce not asked for": with(good, "nonce", "n"),
		"exp to come":         with(good, "exp", now.Add(time.Minute).Unix()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thumbprint, err := oidc.CheckProof(proofOf(t, es, claims), "POST", endpoint, "", now)
			if err != nil || len(thumbprint) != 43 {
				t.Errorf("thumbprint %q, %v", thumbprint, err)
			}
		})
	}
}

func TestDPoPProofIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	es, other := newES256(t, ""), newES256(t, "")
	good := proofClaimsAt(now)
	sum := sha256.Sum256([]byte("another token"))
	private := jose.JSONWebKey{Key: es.key}
	cases := map[string]string{
		"htm/missing":        proofOf(t, es, with(good, "htm", nil)),
		"htm/another":        proofOf(t, es, with(good, "htm", "GET")),
		"htm/other case":     proofOf(t, es, with(good, "htm", "post")),
		"htu/missing":        proofOf(t, es, with(good, "htu", nil)),
		"htu/another path":   proofOf(t, es, with(good, "htu", issuer+"/oauth2/userinfo")),
		"htu/another host":   proofOf(t, es, with(good, "htu", "https://evil.example.com/oauth2/token")),
		"htu/another scheme": proofOf(t, es, with(good, "htu", "http://auth.example.com/oauth2/token")),
		"htu/userinfo":       proofOf(t, es, with(good, "htu", "https://x@auth.example.com/oauth2/token")),
		"htu/another port":   proofOf(t, es, with(good, "htu", "https://auth.example.com:444/oauth2/token")),
		"iat/missing":        proofOf(t, es, with(good, "iat", nil)),
		"iat/old":            proofOf(t, es, with(good, "iat", now.Add(-2*time.Minute).Unix())),
		"iat/to come":        proofOf(t, es, with(good, "iat", now.Add(time.Minute).Unix())),
		"iat/a string":       proofOf(t, es, with(good, "iat", "now")),
		"exp/past":           proofOf(t, es, with(good, "exp", now.Add(-time.Second).Unix())),
		"nbf/to come":        proofOf(t, es, with(good, "nbf", now.Add(time.Minute).Unix())),
		"jti/missing":        proofOf(t, es, with(good, "jti", nil)),
		"jti/long":           proofOf(t, es, with(good, "jti", strings.Repeat("j", 300))),
		"ath/without token":  proofOf(t, es, with(good, "ath", base64.RawURLEncoding.EncodeToString(sum[:]))),
		"typ/missing":        es.sign(t, map[jose.HeaderKey]any{"jwk": es.public()}, good),
		"typ/JWT":            es.sign(t, map[jose.HeaderKey]any{"typ": "JWT", "jwk": es.public()}, good),
		"jwk/missing":        es.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt"}, good),
		"jwk/of another":     es.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": other.public()}, good),
		"jwk/private":        es.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": private}, good),
		"alg/none":           forge(`{"alg":"none","typ":"dpop+jwt"}`, `{}`, ""),
		"alg/HS256":          signer{jose.HS256, []byte(strings.Repeat("s", 32)), ""}.sign(t, map[jose.HeaderKey]any{"typ": "dpop+jwt"}, good),
		"form/empty":         "",
		"form/two":           proofOf(t, es, good) + ", " + proofOf(t, es, with(good, "jti", "2")),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := oidc.CheckProof(text, "POST", endpoint, "", now); err == nil {
				t.Error("it was taken")
			}
		})
	}
	for name, hash := range map[string]any{"ath/missing with a token": nil, "ath/of another token": base64.RawURLEncoding.EncodeToString(sum[:])} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := oidc.CheckProof(proofOf(t, es, with(good, "ath", hash)), "POST", endpoint, "token", now); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

// tokenHash is "ath" for a token, and the S256 challenge for a verifier.
func tokenHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func thumbprintOf(t *testing.T, s signer) string {
	t.Helper()
	k := s.public()
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Whatever a stranger sends as a proof or an assertion is refused, not fallen over.
func FuzzJWT(f *testing.F) {
	f.Add(forge(`{"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}`, `{"jti":"1"}`, "s"))
	f.Add(forge(`{"alg":"RS256","typ":"dpop+jwt","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}`, `{}`, "s"))
	f.Add("..")
	now := time.Now()
	app := application(json.RawMessage(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	f.Fuzz(func(t *testing.T, text string) {
		if oidc.CheckAssertion(t.Context(), app, text, []string{issuer}, now) == nil {
			t.Errorf("assertion %q was taken", text)
		}
		if _, err := oidc.CheckProof(text, "POST", endpoint, "token", now); err == nil {
			t.Errorf("proof %q was taken", text)
		}
	})
}
