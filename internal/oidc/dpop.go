package oidc

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
)

// maxProofAge is how old a DPoP proof may be, by its "iat". As long as that it is
// remembered, so that nobody can use it twice.
const maxProofAge = time.Minute

// proofClaims are those of a DPoP proof (RFC 9449, section 4.2).
type proofClaims struct {
	ID       string   `json:"jti"`
	Method   string   `json:"htm"`
	URI      string   `json:"htu"`
	IssuedAt *float64 `json:"iat"`
	Expires  *float64 `json:"exp"`
	From     *float64 `json:"nbf"`
	Hash     string   `json:"ath"`
}

// proof returns the thumbprint (RFC 7638) of the key that the sender of a request has
// proved to hold, by the DPoP header of RFC 9449; empty if there is no such header.
// accessToken is the token that comes with it, empty at the token endpoint. A proof
// is good once, for this method and address and this token; else errProof.
func (s *Service) proof(r *http.Request, by access.Actor, accessToken string) (thumbprint string, err error) {
	headers := r.Header.Values("DPoP")
	if len(headers) == 0 {
		return "", nil
	}
	if len(headers) > 1 {
		return "", errProof.Because("several proofs")
	}
	issuer, err := s.issuer(r.Context(), by.Tenant)
	if err != nil {
		return "", err
	}
	claims, thumbprint, err := readProof(headers[0])
	if err == nil {
		err = claims.check(r.Method, issuer+r.URL.Path, accessToken, s.now())
	}
	if err != nil {
		return "", errProof.Because("%w", err)
	}
	name := "dpop " + thumbprint + " " + claims.ID
	return thumbprint, s.useOnce(r.Context(), by.Tenant, name, moment(*claims.IssuedAt).Add(maxProofAge+clockSkew), errProof)
}

// readProof returns what a proof says if the key that it brings along has signed it.
func readProof(text string) (claims proofClaims, thumbprint string, err error) {
	t, err := parseJWT(text, "dpop+jwt")
	if err != nil {
		return claims, "", err
	}
	key := t.header.JSONWebKey
	if key == nil || !isFor(*key, t.header.Algorithm) { // a private key is for nothing
		return claims, "", errors.New("no public key that is good for its algorithm")
	}
	payload, err := t.Verify(key.Key)
	if err != nil {
		return claims, "", err
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return claims, "", err
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return claims, "", err
	}
	return claims, base64.RawURLEncoding.EncodeToString(sum), nil
}

// check judges an authentic proof (RFC 9449, section 4.3).
func (c proofClaims) check(method, address, accessToken string, now time.Time) error {
	at := float64(now.UnixMilli()) / 1000
	switch {
	case c.Method != method:
		return errors.New("htm is another method")
	case !sameAddress(c.URI, address):
		return errors.New("htu is another address")
	case c.ID == "" || len(c.ID) > maxJTI:
		return errors.New("no jti, or a long one")
	case c.IssuedAt == nil || *c.IssuedAt > at+clockSkew.Seconds() || *c.IssuedAt < at-maxProofAge.Seconds():
		return errors.New("iat is missing, to come, or long ago")
	case c.Expires != nil && *c.Expires <= at || c.From != nil && *c.From > at+clockSkew.Seconds():
		return errors.New("not valid now")
	case accessToken == "" && c.Hash != "":
		return errors.New("ath without a token")
	case accessToken != "" && subtle.ConstantTimeCompare([]byte(c.Hash), []byte(tokenHash(accessToken))) != 1:
		return errors.New("ath is of another token")
	}
	return nil
}

func tokenHash(accessToken string) string {
	h := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// sameAddress compares addresses without query and fragment, and without what RFC
// 3986, section 6.2, says does not matter: the case of scheme and host, and a port
// that is the usual one.
func sameAddress(a, b string) bool {
	if a == b {
		return true
	}
	x, y := plainAddress(a), plainAddress(b)
	return x != "" && x == y
}

func plainAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host + u.EscapedPath()
}

// bind returns the thumbprint of the key that the tokens of this request are bound
// to. An application that must bind its tokens and has not proved a key gets
// errProof.
func (s *Service) bind(r *http.Request, by access.Actor, app tenant.Application) (string, error) {
	thumbprint, err := s.clientProof(r, by, app)
	if err == nil && thumbprint == "" && app.OAuth.RequireDPoP {
		err = errProof.Saying("This client must send a DPoP proof.")
	}
	return thumbprint, err
}

// clientProof is proof for an application. Anybody can speak for one that proves nothing,
// with as many proofs as they like to make, so these are counted before they are noted.
func (s *Service) clientProof(r *http.Request, by access.Actor, app tenant.Application) (string, error) {
	if r.Header.Get("DPoP") != "" && app.IsPublic() {
		if err := s.Limits.Take(r.Context(), by.Tenant, ratelimit.Proofs.For(ratelimit.Key("", by.IP))); err != nil {
			return "", err
		}
	}
	return s.proof(r, by, "")
}

// ofRefresh is the key that the refresh tokens of an application are bound to. One
// that proves itself by a secret or a key of its own needs no other (RFC 9449,
// section 5).
func ofRefresh(app tenant.Application, thumbprint string) string {
	if app.IsPublic() {
		return thumbprint
	}
	return ""
}

// isThumbprint reports whether s has the form of a SHA-256 thumbprint, such as
// "dpop_jkt" of an authorization request (RFC 9449, section 10).
func isThumbprint(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size
}
