package social

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/rp"
)

// upstream returns how the provider of a connection differs from others, and where it
// is.
func (s *Service) upstream(ctx context.Context, c Connection) (provider, rp.Provider, error) {
	p := s.provider(c.Provider).of(c)
	at, err := s.party().Open(ctx, p.client(c))
	return p, at, ofProvider(err)
}

// party is us, made when it is first needed.
func (s *Service) party() *rp.Party {
	s.once.Do(func() { s.rp = &rp.Party{Now: func() time.Time { return s.DB.Now() }, Outbound: s.Outbound} })
	return s.rp
}

// ofProvider is err as people are told of it, if it is a fault of the provider.
func ofProvider(err error) error {
	if fault, ok := errors.AsType[*rp.Fault](err); ok {
		return ErrUpstream.Because("%w", fault)
	}
	return err
}

// exchange swaps a code for tokens, and these for what they say of somebody.
func (s *Service) exchange(ctx context.Context, c Connection, p provider, at rp.Provider, f flow, r Return) (Profile, error) {
	secret, err := s.credential(ctx, c)
	if err != nil {
		return Profile{}, err
	}
	got, err := at.Exchange(ctx, secret, f.RedirectURI, r.Code, f.verifier)
	if err != nil {
		return Profile{}, ofProvider(err)
	}
	who, err := s.ask(ctx, c, p, at, f, got)
	if err != nil {
		return Profile{}, err
	}
	if c.Provider == "apple" && who.FirstName == "" && who.LastName == "" {
		who.FirstName, who.LastName = appleName(r.User)
	}
	if c.Settings.KeepTokens {
		scope, _ := got.Extra("scope").(string)
		who.Tokens = &Tokens{got.AccessToken, got.RefreshToken, scope, got.Expiry}
	}
	return who, nil
}

// ask finds out whom the tokens are for.
func (s *Service) ask(ctx context.Context, c Connection, p provider, at rp.Provider, f flow, got *oauth2.Token) (Profile, error) {
	var in rp.Claims
	if p.openID {
		raw, _ := got.Extra("id_token").(string)
		var err error
		if in, err = verify(ctx, c, at, raw, f.Nonce, got.AccessToken); err != nil {
			return Profile{}, err
		}
	}
	if in == nil || at.HasUserinfo() && (in.Text(p.claims["email"]) == "" || in.Text(p.claims["name"]) == "" && in.Text(p.claims["first_name"]) == "") {
		var err error
		if in, err = at.Userinfo(ctx, got.AccessToken, in); err != nil {
			return Profile{}, ofProvider(err)
		}
	}
	if p.emails != "" {
		if err := addresses(ctx, p, at, got.AccessToken, in); err != nil {
			return Profile{}, err
		}
	}
	who, err := p.profile(c, in)
	who.Trusted = s.trusts(c)
	return who, err
}

// verify checks an ID token and that it is of whom the connection lets in.
func verify(ctx context.Context, c Connection, at rp.Provider, raw, nonce, access string) (rp.Claims, error) {
	in, err := at.Verify(ctx, raw, nonce, access)
	if err != nil {
		return nil, ofProvider(err)
	}
	if want := c.Settings.HostedDomain; want != "" && in.Text("hd") != want {
		return nil, ErrCancelled.Because("the account is not of the hosted domain")
	}
	return in, nil
}

// addresses takes the primary address from a list like GitHub's, in place of the one
// that the person shows to others.
func addresses(ctx context.Context, p provider, at rp.Provider, token string, in rp.Claims) error {
	delete(in, "email")
	delete(in, "email_verified")
	a, err := at.Get(ctx, p.emails, token)
	if err != nil {
		return ofProvider(err)
	}
	var list []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &list) != nil {
		return nil // we may not see it: there is none
	}
	for _, e := range list {
		if e.Primary {
			in["email"], in["email_verified"] = e.Email, e.Verified
		}
	}
	return nil
}

// credential is what we prove ourselves with at the token endpoint.
func (s *Service) credential(ctx context.Context, c Connection) (string, error) {
	secret, err := s.secret(ctx, c)
	if err != nil || c.Provider != "apple" {
		return secret, err
	}
	return s.appleSecret(c, secret)
}

// appleSecret signs what Apple takes for a secret: a JWT by a key of ours.
func (s *Service) appleSecret(c Connection, key string) (string, error) {
	private, err := parseAppleKey(key)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: c.Settings.KeyID}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign for Apple: %w", err)
	}
	now := s.DB.Now()
	out, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: c.Settings.TeamID, Subject: c.ClientID, Audience: jwt.Audience{"https://appleid.apple.com"},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign for Apple: %w", err)
	}
	return out, nil
}

func parseAppleKey(text string) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the key for Apple is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the key for Apple is not in PKCS #8")
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Params().BitSize != 256 {
		return nil, errors.New("the key for Apple is not on the curve P-256")
	}
	return private, nil
}

// appleName reads the name that Apple sends by the browser, the first time only. It is
// not signed: the person may have written it.
func appleName(text string) (first, last string) {
	var said struct {
		Name struct {
			FirstName string `json:"firstName"`
			LastName  string `json:"lastName"`
		} `json:"name"`
	}
	if len(text) > maxCode || json.Unmarshal([]byte(text), &said) != nil {
		return "", ""
	}
	return rp.Label(said.Name.FirstName), rp.Label(said.Name.LastName)
}
