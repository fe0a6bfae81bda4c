package social

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/outbound"
)

// Limits of what is read from a provider, in bytes.
const (
	maxDocument = 64 << 10
	maxAnswer   = 128 << 10
)

// documentLife is how long a discovery document counts.
const documentLife = time.Hour

// metadata is what is needed of a provider (OpenID Connect Discovery, section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Userinfo      string   `json:"userinfo_endpoint"`
	JWKS          string   `json:"jwks_uri"`
	SendsIssuer   bool     `json:"authorization_response_iss_parameter_supported"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
}

// tokenAuth is how the provider wants us to prove ourselves; empty if it does not say.
func (m metadata) tokenAuth() string {
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		if slices.Contains(m.TokenAuth, method) {
			return method
		}
	}
	return ""
}

// upstream returns the provider of a connection, and where it is.
func (s *Service) upstream(ctx context.Context, c Connection) (provider, metadata, error) {
	p := s.provider(c.Provider).of(c)
	m := metadata{Issuer: p.issuer}
	if p.openID {
		var err error
		if m, err = s.discover(ctx, p); err != nil {
			return p, m, err
		}
	}
	m.Authorization, m.Token, m.Userinfo = cmp.Or(p.auth, m.Authorization), cmp.Or(p.token, m.Token), cmp.Or(p.userinfo, m.Userinfo)
	for _, address := range []string{m.Authorization, m.Token} {
		if _, err := s.Outbound.Parse(address); err != nil {
			return p, m, ErrUpstream.Because("an endpoint: %w", err)
		}
	}
	return p, m, nil
}

// discover reads the document of a provider, if that was not done lately.
func (s *Service) discover(ctx context.Context, p provider) (metadata, error) {
	address := cmp.Or(p.discovery, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration")
	// By the issuer, too: the same document is right for one spelling of it and wrong for
	// another, and no tenant's mistake is another tenant's.
	e, err := s.documents.entry(ctx, p.issuer+" "+address)
	if err != nil {
		return metadata{}, err
	}
	defer e.release()
	return e.fetch(ctx, s.DB.Now(), documentLife, func() (m metadata, err error) {
		a, err := s.Outbound.Get(ctx, address, maxDocument)
		if err != nil {
			return m, ErrUpstream.Because("discovery: %w", err)
		}
		if err := json.Unmarshal(a.Body, &m); err != nil {
			return m, ErrUpstream.Because("discovery: %w", err)
		}
		if m.Issuer != p.issuer {
			return m, ErrUpstream.Because("the discovery document is of another issuer")
		}
		return m, nil
	})
}

// through sends the requests of a library by the guarded client.
type through struct{ *outbound.Client }

func (t through) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := t.Do(r.Context(), r, maxAnswer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Request: r}, nil
}

// client follows no redirect, which would take code and secret along.
func (s *Service) client() *http.Client {
	return &http.Client{Transport: through{s.Outbound}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// exchange swaps a code for tokens, and these for what they say of somebody.
func (s *Service) exchange(ctx context.Context, c Connection, p provider, m metadata, f flow, r Return) (Profile, error) {
	secret, err := s.credential(ctx, c)
	if err != nil {
		return Profile{}, err
	}
	var more []oauth2.AuthCodeOption
	if f.verifier != "" {
		more = append(more, oauth2.VerifierOption(f.verifier))
	}
	way := context.WithValue(ctx, oauth2.HTTPClient, s.client())
	got, err := p.client(c, m, secret, f.RedirectURI).Exchange(way, r.Code, more...)
	if err != nil {
		return Profile{}, refusal(ctx, err)
	}
	who, err := s.ask(ctx, c, p, m, f, got)
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

// refusal is why there are no tokens. The provider's own words stay out of the log:
// some repeat what was sent.
func refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return ErrUpstream.Because("the token endpoint answered %d %.64q", refused.Response.StatusCode, refused.ErrorCode)
	}
	if errors.Is(err, outbound.ErrUnreachable) || errors.Is(err, outbound.ErrAddress) {
		return ErrUpstream.Because("token endpoint: %w", err)
	}
	return ErrUpstream.Because("the answer of the token endpoint can not be used")
}

// ask finds out whom the tokens are for.
func (s *Service) ask(ctx context.Context, c Connection, p provider, m metadata, f flow, got *oauth2.Token) (Profile, error) {
	var in claims
	if p.openID {
		raw, _ := got.Extra("id_token").(string)
		var err error
		if in, err = s.verify(ctx, c, p, m, raw, f.Nonce, got.AccessToken); err != nil {
			return Profile{}, err
		}
	}
	if in == nil || m.Userinfo != "" && (in.text(p.claims["email"]) == "" || in.text(p.claims["name"]) == "" && in.text(p.claims["first_name"]) == "") {
		more, err := s.userinfo(ctx, c, p, m, got.AccessToken)
		if err != nil {
			return Profile{}, err
		}
		// OpenID Connect Core, section 5.3.2: or it would be the answer for somebody else.
		if in != nil && more.subject("sub") != in.subject("sub") {
			return Profile{}, ErrUpstream.Because("userinfo is of another subject than the ID token")
		}
		in = joined(in, more)
	}
	if p.emails != "" {
		if err := s.addresses(ctx, p, got.AccessToken, in); err != nil {
			return Profile{}, err
		}
	}
	return p.profile(c, in)
}

// joined adds to what was signed what was not. An address and what is said of it come
// from the same place.
func joined(signed, more claims) claims {
	if signed == nil {
		return more
	}
	out := claims{}
	for name, v := range more {
		out[name] = v
	}
	if signed.text("email") != "" {
		delete(out, "email_verified")
	}
	for name, v := range signed {
		out[name] = v
	}
	return out
}

// userinfo asks by the access token whom it is for.
func (s *Service) userinfo(ctx context.Context, c Connection, p provider, m metadata, token string) (claims, error) {
	a, err := s.get(ctx, m.Userinfo, token)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, ErrUpstream.Because("userinfo answered %d", a.Status)
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if media != "application/jwt" {
		return parseClaims(a.Body)
	}
	if !p.openID {
		return nil, ErrUpstream.Because("userinfo is signed, by keys that are not known")
	}
	body, err := s.keySet(m.JWKS).VerifySignature(ctx, string(bytes.TrimSpace(a.Body)))
	if err != nil {
		return nil, upstream(ctx, "userinfo", err)
	}
	in, err := parseClaims(body)
	if err != nil {
		return nil, err
	}
	var said struct {
		Audience jwt.Audience `json:"aud"`
	}
	if err := json.Unmarshal(body, &said); err != nil || in.text("iss") != m.Issuer || !said.Audience.Contains(c.ClientID) {
		return nil, ErrUpstream.Because("userinfo is signed for somebody else")
	}
	return in, nil
}

func (s *Service) get(ctx context.Context, address, token string) (outbound.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return outbound.Answer{}, ErrUpstream.Because("not an address")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json, application/jwt")
	a, err := s.Outbound.Do(ctx, r, maxAnswer)
	if err != nil {
		return a, upstream(ctx, "userinfo", err)
	}
	return a, nil
}

// upstream is err as a fault of the provider, unless it was the caller who gave up.
func upstream(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrUpstream) {
		return err
	}
	return ErrUpstream.Because("%s: %w", what, err)
}

// addresses takes the primary address from a list like GitHub's, in place of the one
// that the person shows to others.
func (s *Service) addresses(ctx context.Context, p provider, token string, in claims) error {
	delete(in, "email")
	delete(in, "email_verified")
	a, err := s.get(ctx, p.emails, token)
	if err != nil {
		return err
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
	return label(said.Name.FirstName), label(said.Name.LastName)
}
