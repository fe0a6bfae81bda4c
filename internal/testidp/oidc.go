package testidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/web"
)

const (
	keyID    = "test"
	codeLife = time.Minute
	maxCodes = 1000 // that wait at a time; it is a developer's
)

// A grant is what a code or a token stands for.
type grant struct {
	client, redirect, nonce, challenge string
	who                                Person
	fault                              string
	until                              time.Time
}

// codes are kept in memory until they are used.
type codes struct {
	mu     sync.Mutex
	grants map[string]grant
}

func (c *codes) put(now time.Time, g grant) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grants == nil {
		c.grants = map[string]grant{}
	}
	for code, old := range c.grants {
		if len(c.grants) >= maxCodes || now.After(old.until) {
			delete(c.grants, code)
		}
	}
	code := rand.Text()
	c.grants[code] = g
	return code
}

// take returns what a code stands for; a token, which is shown again, stays.
func (c *codes) take(now time.Time, code string, keep bool) (grant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.grants[code]
	if ok && !keep {
		delete(c.grants, code)
	}
	return g, ok && !now.After(g.until)
}

func (s *Service) issuer(ctx context.Context) (string, error) {
	address, err := s.address(ctx)
	return address + "/oidc", err
}

func (s *Service) getDiscovery(w http.ResponseWriter, r *http.Request) error {
	issuer, err := s.issuer(r.Context())
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks", "userinfo_endpoint": issuer + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported": []string{"openid", "email", "profile", "groups"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

func (s *Service) getKeys(w http.ResponseWriter, r *http.Request) error {
	key, err := s.own()
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Private.Public(), KeyID: keyID, Algorithm: string(jose.RS256), Use: "sig"}}})
}

func (s *Service) getAuthorize(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	redirect := q.Get("redirect_uri")
	if q.Get("response_type") != "code" || !strings.HasPrefix(redirect, "http://") && !strings.HasPrefix(redirect, "https://") {
		return ErrRequest.Saying("An authorization request has response_type=code and a redirect_uri.")
	}
	p := sheet{Action: Path + "/oidc/answer", To: q.Get("client_id"), People: People, Faults: faultsOf(false)}
	for _, name := range []string{"client_id", "redirect_uri", "state", "nonce", "code_challenge"} {
		p.Hidden = append(p.Hidden, page.Pair{Name: name, Value: q.Get(name)})
	}
	return s.show(w, p)
}

func (s *Service) postAuthorize(w http.ResponseWriter, r *http.Request) error {
	who, fault, err := chosen(r)
	if err != nil {
		return err
	}
	to, err := url.Parse(r.PostFormValue("redirect_uri"))
	if err != nil {
		return ErrRequest.Because("redirect_uri: %w", err)
	}
	q := to.Query()
	q.Set("state", r.PostFormValue("state"))
	if fault == "denied" {
		q.Set("error", "access_denied")
		q.Set("error_description", "The test identity provider refuses this person.")
	} else {
		q.Set("code", s.codes.put(s.Now(), grant{
			client: r.PostFormValue("client_id"), redirect: r.PostFormValue("redirect_uri"), nonce: r.PostFormValue("nonce"), challenge: r.PostFormValue("code_challenge"),
			who: who, fault: fault, until: s.Now().Add(codeLife),
		}))
	}
	to.RawQuery = q.Encode()
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return nil
}

// postToken takes any client; whoever tries has enough to think of.
func (s *Service) postToken(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return ErrRequest.Because("%w", err)
	}
	g, ok := s.codes.take(s.Now(), r.PostFormValue("code"), false)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.PostFormValue("redirect_uri") != g.redirect || g.challenge != "" && g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return web.Write(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
	}
	issuer, err := s.issuer(r.Context())
	if err != nil {
		return err
	}
	token, err := s.idToken(issuer, g)
	if err != nil {
		return err
	}
	g.until = s.Now().Add(time.Hour)
	return web.Write(w, http.StatusOK, map[string]any{"access_token": s.codes.put(s.Now(), g), "token_type": "Bearer", "expires_in": 3600, "id_token": token})
}

func (s *Service) getUserinfo(w http.ResponseWriter, r *http.Request) error {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g, ok := s.codes.take(s.Now(), token, true)
	if !ok {
		return web.Write(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
	}
	return web.Write(w, http.StatusOK, g.claims())
}

// claims are what is said of the person.
func (g grant) claims() map[string]any {
	out := map[string]any{
		"sub": g.who.Subject(), "email": g.who.Email, "email_verified": true, "name": g.who.Name(), "given_name": g.who.FirstName, "family_name": g.who.LastName, "groups": g.who.Groups,
	}
	switch g.fault {
	case "email":
		delete(out, "email")
	case "subject":
		delete(out, "sub")
	}
	return out
}

// idToken is who signed in, with what is to be wrong in it.
func (s *Service) idToken(issuer string, g grant) (string, error) {
	now, claims := s.Now(), g.claims()
	claims["iss"], claims["aud"], claims["nonce"] = issuer, g.client, g.nonce
	claims["iat"], claims["exp"], claims["auth_time"] = now.Unix(), now.Add(5*time.Minute).Unix(), now.Unix()
	source := s.own
	switch g.fault {
	case "expired":
		claims["iat"], claims["exp"] = now.Add(-20*time.Minute).Unix(), now.Add(-10*time.Minute).Unix()
	case "audience":
		claims["aud"] = elsewhere
	case "issuer":
		claims["iss"] = elsewhere
	case "request":
		claims["nonce"] = rand.Text()
	case "key":
		source = s.foreign
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	if g.fault == "unsigned" {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + ".", nil
	}
	key, err := source()
	if err != nil {
		return "", err
	}
	token, err := sign(key, body)
	if header, rest, ok := strings.Cut(token, "."); ok && g.fault == "altered" {
		_, signature, _ := strings.Cut(rest, ".")
		claims["sub"] = "test-somebody-else"
		if body, err = json.Marshal(claims); err == nil {
			token = header + "." + base64.RawURLEncoding.EncodeToString(body) + "." + signature
		}
	}
	return token, err
}

func sign(key Key, body []byte) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key.Private, KeyID: keyID}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.CompactSerialize()
}
