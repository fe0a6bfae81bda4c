package oidc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/tenant"
)

// What tests of the pure parts reach.
var (
	ReadUserCode = readUserCode
	SameAddress  = sameAddress
	Subset       = subset
)

// Parameter returns a parameter of an encoded form.
func Parameter(text, name string) (value string, all []string, err error) {
	f, err := parseForm(text)
	return f.get(name), f.all(name), err
}

// CredentialsOf reads what a request with a form says to prove its client.
func CredentialsOf(r *http.Request, text string) (id, secret, method string, err error) {
	f, err := parseForm(text)
	if err != nil {
		return "", "", "", err
	}
	c, err := credentialsOf(r, f)
	return c.id, c.secret, c.method, err
}

// CheckAssertion judges a client assertion as the service does, but for its use a
// second time.
func CheckAssertion(ctx context.Context, app tenant.Application, text string, audiences []string, now time.Time) error {
	claims, err := (&Service{}).verifyAssertion(ctx, app, text)
	if err != nil {
		return err
	}
	return claims.check(app.ClientID, audiences, now)
}

// CheckProof judges a DPoP proof likewise, and returns the thumbprint of its key.
func CheckProof(text, method, address, accessToken string, now time.Time) (string, error) {
	claims, thumbprint, err := readProof(text)
	if err != nil {
		return "", err
	}
	return thumbprint, claims.check(method, address, accessToken, now)
}

// VerifySignature checks a JWS as client assertions are, under a set of keys.
func VerifySignature(set []byte, text string) error {
	t, err := parseJWT(text, "", "JWT")
	if err != nil {
		return err
	}
	for _, k := range candidates(parseKeys(set), t.header) {
		if _, err := t.Verify(k.Key); err == nil {
			return nil
		}
	}
	return errors.New("no key has signed it")
}
