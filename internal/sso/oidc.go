package sso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// usualScopes are asked for unless a connection names others.
var usualScopes = []string{"openid", "email", "profile"}

// maxCode is the longest code that is sent on, in bytes.
const maxCode = 4096

// towards is us, as a relying party; made when it is first needed.
func (s *Service) towards() *rp.Party {
	s.once.Do(func() { s.party = &rp.Party{Now: func() time.Time { return s.DB.Now() }, Outbound: s.Outbound} })
	return s.party
}

// client is our client at the provider of a connection.
func (c Connection) client() rp.Client {
	scopes := c.Settings.Scopes
	if len(scopes) == 0 {
		scopes = usualScopes
	}
	out := rp.Client{ID: c.Settings.ClientID, Issuer: c.Settings.Issuer, OpenID: true, Scopes: scopes, TokenAuth: c.Settings.TokenAuth}
	if pattern, ok := manyOf(c.Settings.Issuer); ok {
		out.Discovery, out.Issuer = rp.DocumentOf(c.Settings.Issuer), pattern
	}
	return out
}

// manyForm are the issuers of Microsoft Entra ID that stand for all directories. Their
// documents name {tenantid} as issuer, and each token its own.
var manyForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(https?://[^/]+)/(?:common|organizations)/v2\.0/?$`)
})

// manyOf is the pattern of an issuer that stands for all directories.
func manyOf(issuer string) (pattern string, ok bool) {
	m := manyForm().FindStringSubmatch(issuer)
	if m == nil {
		return "", false
	}
	return m[1] + "/{tenantid}/v2.0", true
}

// issuerOf is who issued a verified token: of an issuer of many, one directory that the
// connection takes. Anybody may have a directory of their own, and write there what they
// like.
func (c Connection) issuerOf(claims rp.Claims) (string, error) {
	if _, many := manyOf(c.Settings.Issuer); !many {
		return c.Settings.Issuer, nil
	}
	directory := claims.Text("tid")
	if !slices.Contains(c.Settings.Directories, directory) {
		return "", &refusal{OtherDirectory, Step{Name: "id_token.directory", Expected: shorten(strings.Join(c.Settings.Directories, ", ")), Received: shorten(directory)}}
	}
	return claims.Text("iss"), nil
}

// startOIDC sends a browser to the authorization endpoint. If the provider can not be
// found, that leaves a trace, too.
func (s *Service) startOIDC(ctx context.Context, by access.Actor, c Connection, r Request) (Sent, error) {
	if r.Test {
		s.towards().Forget(c.client())
	}
	at, err := s.towards().Open(ctx, c.client())
	if err != nil {
		return Sent{}, s.refuseStart(ctx, by, c, r.Test, err)
	}
	origin, err := s.Origin(ctx, by.Tenant)
	if err != nil {
		return Sent{}, err
	}
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return Sent{}, err
	}
	state, hash := secret.NewToken()
	f := flow{Connection: c.ID, Attempt: r.Attempt, Test: r.Test, hash: hash, RedirectURI: origin + CallbackPath(c.ID), verifier: oauth2.GenerateVerifier()}
	f.Nonce, _ = secret.NewToken()
	force := r.ForceAuthn || c.Settings.ForceAuthn
	if force {
		f.Nonce = forced + f.Nonce
	}
	f.sealed = box.Seal(place(hash, "verifier"), []byte(f.verifier))
	if err := s.remember(ctx, by, &f, r.Browser); err != nil {
		return Sent{}, err
	}
	more := map[string]string{"nonce": f.Nonce, "login_hint": r.LoginHint}
	if force {
		more["prompt"], more["max_age"] = "login", "0"
	}
	return Sent{Location: at.AuthURL(f.RedirectURI, state, f.verifier, more)}, nil
}

// refuseStart keeps why nobody was sent anywhere.
func (s *Service) refuseStart(ctx context.Context, by access.Actor, c Connection, test bool, failed error) error {
	cause, step, ok := faultOf(failed)
	if !ok {
		return failed
	}
	t := Trace{ID: secret.ID(s.DB.Now()), Connection: c.ID, Test: test, Cause: cause, Detail: Detail{Steps: []Step{step}, Fix: s.fix(c, cause, Us{})}}
	if test || s.strangers.mayWrite(c.tenant+c.ID, s.DB.Now()) {
		if err := s.keep(ctx, by, t); err != nil {
			return err
		}
	}
	return ErrRefused.Because("%w", failed)
}

// keep writes a trace and the health that follows from it, in a transaction of its own.
func (s *Service) keep(ctx context.Context, by access.Actor, t Trace) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		keepTrace(tx, by.Tenant, t)
		if !t.Test {
			noteHealth(tx, by.Tenant, t.Connection, t.Cause)
		}
		return nil
	})
}

// FinishOIDC uses the flow up that query belongs to, asks the provider and returns who it
// is. Of a test, and of a refusal (ErrRefused), it returns the Flow and no profile. It
// asks over the network and has transactions of its own: call it outside of any. It
// returns one of Problems.
func (s *Service) FinishOIDC(ctx context.Context, by access.Actor, connection string, query url.Values, browser []byte) (Profile, Flow, error) {
	state, code := query.Get("state"), query.Get("code")
	if len(state) > 64 || len(code) > maxCode || len(browser) == 0 || !secret.IsID(connection) {
		return Profile{}, Flow{}, ErrFlow.Because("not of a form that we or a provider would make")
	}
	f, err := s.spend(ctx, by, connection, state, browser)
	if err != nil {
		return Profile{}, Flow{}, err
	}
	out := Flow{ID: f.ID, Connection: f.Connection, Attempt: f.Attempt, Test: f.Test}
	c, err := connectionByID(ctx, s.DB, by.Tenant, connection)
	if err != nil {
		return Profile{}, out, err
	}
	t := &Trace{ID: secret.ID(s.DB.Now()), Connection: c.ID, Test: f.Test}
	out.Trace = t.ID
	p, failed := s.ask(ctx, c, f, query, t)
	cause, step, ok := faultOf(failed)
	if failed != nil && !ok {
		return Profile{}, out, failed
	}
	if failed != nil {
		t.Cause, t.Steps = cause, append(t.Steps, step)
		t.Fix = s.fix(c, cause, Us{RedirectURI: f.RedirectURI})
	}
	if err := s.keep(ctx, by, *t); err != nil {
		return Profile{}, out, err
	}
	return s.finished(ctx, by, out, answer{Profile: p, Cause: t.Cause, Trace: t.ID})
}

func (s *Service) spend(ctx context.Context, by access.Actor, connection, state string, browser []byte) (f flow, err error) {
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return f, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		f, err = spendFlow(ctx, tx, by.Tenant, secret.Hash(state), connection, browser)
		return err
	})
	if err != nil {
		return f, err
	}
	verifier, err := box.Open(place(f.hash, "verifier"), f.sealed)
	f.verifier = string(verifier)
	return f, err
}

// A refusal is a cause that is none of package rp's.
type refusal struct {
	cause Cause
	step  Step
}

func (r *refusal) Error() string { return string(r.cause) }

// ask swaps the code for what the provider says of somebody, and notes the steps.
func (s *Service) ask(ctx context.Context, c Connection, f flow, query url.Values, t *Trace) (Profile, error) {
	done := func(name, expected string) { t.Steps = append(t.Steps, Step{Name: name, Expected: expected, OK: true}) }
	at, err := s.towards().Open(ctx, c.client())
	if err != nil {
		return Profile{}, err
	}
	done("discovery", rp.DocumentOf(c.Settings.Issuer))
	if err := at.CheckIssuer(query.Get("iss")); err != nil {
		return Profile{}, err
	}
	if err := answered(query); err != nil {
		return Profile{}, err
	}
	done("answer", "a code")
	key, err := s.secretOf(ctx, c)
	if err != nil {
		return Profile{}, err
	}
	got, err := at.Exchange(ctx, key, f.RedirectURI, query.Get("code"), f.verifier)
	if err != nil {
		return Profile{}, err
	}
	done("token", "tokens for the code")
	raw, _ := got.Extra("id_token").(string)
	claims, err := at.Verify(ctx, raw, f.Nonce, got.AccessToken)
	if err != nil {
		return Profile{}, err
	}
	issuer, err := c.issuerOf(claims)
	if err != nil {
		return Profile{}, err
	}
	done("id_token", "an ID token of "+issuer+" for "+c.Settings.ClientID)
	if at.HasUserinfo() && claims.Text("email") == "" && c.Settings.Attributes["email"] == "" {
		if claims, err = at.Userinfo(ctx, got.AccessToken, claims); err != nil {
			return Profile{}, err
		}
		done("userinfo", "claims of the same subject")
	}
	p, err := c.profileOf(claims, issuer, t)
	if err == nil && strings.HasPrefix(f.Nonce, forced) {
		err = c.fresh(p, f, t)
	}
	return p, err
}

// fresh refuses somebody whom the provider has not signed in anew, although it was told to
// (OpenID Connect Core, section 3.1.2.1): max_age has it tell when that was.
func (c Connection) fresh(p Profile, f flow, t *Trace) error {
	since := f.CreatedAt.Truncate(time.Second).Add(-c.Settings.skew())
	step := Step{Name: "auth_time", Expected: "not before " + since.Format(time.RFC3339), Received: "none"}
	if !p.AuthAt.IsZero() {
		step.Received = p.AuthAt.Format(time.RFC3339)
	}
	if p.AuthAt.Before(since) {
		return &refusal{AuthnFailed, step}
	}
	step.OK = true
	t.Steps = append(t.Steps, step)
	return nil
}

// profileOf reads claims.
func (c Connection) profileOf(claims rp.Claims, issuer string, t *Trace) (Profile, error) {
	r := c.read(said{attributes: c.attributesOf(claims), subject: claims.Subject("sub")})
	t.Attributes = r.seen
	if r.cause != "" {
		return Profile{}, &refusal{r.cause, r.step}
	}
	p := r.profile
	p.Issuer, p.ACR = issuer, claims.Text("acr")
	if n, ok := claims["auth_time"].(json.Number); ok {
		if seconds, err := n.Int64(); err == nil && seconds > 0 {
			p.AuthAt = time.Unix(seconds, 0).UTC()
		}
	}
	t.Steps = append(t.Steps, Step{Name: "profile.email", Expected: "one e-mail address", Received: mask(p.Email), OK: true})
	return p, nil
}

// protocolClaims say nothing of the person.
var protocolClaims = []string{"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "azp", "jti", "auth_time", "acr", "amr", "sid", "rh", "aio", "uti", "ver", "_claim_names", "_claim_sources"}

// attributesOf makes attributes of claims: texts, numbers, truths and lists of them. What
// is deeper is found if the mapping names it, with dots.
func (c Connection) attributesOf(claims rp.Claims) (out []samlxml.Attribute) {
	names := slices.Collect(func(yield func(string) bool) {
		for name := range claims {
			if !yield(name) {
				return
			}
		}
	})
	for _, path := range c.Settings.Attributes {
		if _, ok := claims[path]; !ok && path != "" {
			names = append(names, path)
		}
	}
	if path := c.Settings.GroupAttribute; path != "" {
		names = append(names, path)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if values := valuesOf(claims, name); len(values) > 0 && !slices.Contains(protocolClaims, name) {
			out = append(out, samlxml.Attribute{Name: name, Values: values})
		}
	}
	return out
}

func valuesOf(claims rp.Claims, name string) (out []string) {
	v, ok := claims[name]
	if !ok {
		v = claims.At(name)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, v := range list {
		switch v := v.(type) {
		case string, bool, json.Number:
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

// answered says what the provider refused (RFC 6749, section 4.1.2.1; OpenID Connect
// Core, section 3.1.2.6).
func answered(query url.Values) error {
	said := query.Get("error")
	if said == "" && query.Get("code") != "" {
		return nil
	}
	step := Step{Name: "answer", Expected: "a code", Received: shorten(cmp.Or(said, "neither code nor error"))}
	if said == "" {
		return &refusal{ProviderError, step}
	}
	return &refusal{oauthCause(said, query.Get("error_description")), step}
}

// oauthCauses are the errors of OAuth and OpenID Connect in the words of administrators.
var oauthCauses = map[string]Cause{
	"access_denied": Denied, "consent_required": Denied, "login_required": AuthnFailed, "interaction_required": AuthnFailed, "account_selection_required": AuthnFailed,
	"invalid_scope": ScopeRefused, "invalid_client": ClientRefused, "unauthorized_client": ClientRefused, "invalid_grant": CodeRefused,
	"redirect_uri_mismatch": RedirectRefused, "invalid_redirect_uri": RedirectRefused, "invalid_request": RequestRefused, "unsupported_response_type": RequestRefused,
}

func oauthCause(code, description string) Cause {
	if strings.Contains(strings.ToLower(description), "redirect") {
		return RedirectRefused
	}
	return cmp.Or(oauthCauses[code], ProviderError)
}

// rpCauses are the causes of package rp in the words of administrators.
var rpCauses = map[rp.Cause]Cause{
	rp.DiscoveryUnreachable: DiscoveryUnreachable, rp.DiscoveryInvalid: DiscoveryInvalid, rp.DiscoveryIssuer: DiscoveryIssuer, rp.AnswerIssuer: TokenIssuer,
	rp.TokenUnreachable: TokenUnreachable, rp.TokenInvalid: ProviderError, rp.NoIDToken: NoIDToken, rp.IDToken: InvalidToken, rp.UnknownKey: UnknownKey,
	rp.KeysUnreachable: KeysUnreachable, rp.KeysInvalid: KeysUnreachable, rp.Issuer: TokenIssuer, rp.Audience: TokenAudience, rp.Expired: Expired, rp.Clock: Clock,
	rp.Nonce: Nonce, rp.NoSubject: SubjectMissing, rp.Userinfo: Userinfo,
}

// faultOf is the one cause of an error, and the step that it was found in; ok is false
// if the provider is not to blame.
func faultOf(err error) (cause Cause, step Step, ok bool) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.cause, r.step, true
	}
	fault, ok := errors.AsType[*rp.Fault](err)
	if !ok {
		return "", Step{}, false
	}
	step = Step{Name: string(fault.Cause), Expected: shorten(fault.Expected), Received: shorten(fault.Received)}
	if fault.Cause == rp.TokenRefused {
		return oauthCause(fault.Received, fault.Hint), step, true
	}
	return rpCauses[fault.Cause], step, true
}
