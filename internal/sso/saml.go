package sso

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// maxResponse is the longest response that is looked at, in bytes of Base64.
const maxResponse = 1 << 20

// defaultSkew is how far a provider's clock may be off.
const defaultSkew = time.Minute

func (o Settings) skew() time.Duration {
	return cmp.Or(time.Duration(o.SkewSeconds)*time.Second, defaultSkew)
}

// startSAML writes a request. Its id is the state of the flow.
func (s *Service) startSAML(ctx context.Context, by access.Actor, c Connection, r Request) (Sent, error) {
	sp, err := s.spOf(ctx, c)
	if err != nil {
		return Sent{}, err
	}
	idp, err := idpOf(c.Settings.IdP)
	if err != nil {
		return Sent{}, err
	}
	state, hash := secret.NewToken()
	f := flow{Connection: c.ID, Attempt: r.Attempt, Test: r.Test, hash: hash}
	if r.ForceAuthn || c.Settings.ForceAuthn {
		f.Nonce = forced
	}
	if err := s.remember(ctx, by, &f, r.Browser); err != nil {
		return Sent{}, err
	}
	sent, err := sp.AuthnRequest(samlxml.Request{
		ID: "_" + state, ForceAuthn: f.Nonce == forced, NameIDFormat: c.Settings.NameIDFormat, Context: c.Settings.Contexts,
	}, idp, "", s.DB.Now())
	return Sent{Location: sent.Redirect, Form: sent.Form}, err
}

// forced stands in the nonce of a flow over SAML, which has none, and before that of one
// over OpenID Connect, if the person must prove themselves anew.
const forced = "force"

// A verdict is what came of a response.
type verdict struct {
	answer
	trace   Trace
	flow    flow
	id      string // of the assertion
	until   time.Time
	unasked bool
}

// ReceiveSAML takes a response that a browser has posted to the ACS of a connection, and
// holds what it says. The browser is sent on to /signin/sso?flow=<handle>, by a GET that
// carries its cookies, and there Claim. A refusal is held in the same way, if it belongs
// to a flow that was begun here: Claim returns it. Otherwise it is returned at once, with
// an empty handle. What comes as RelayState is of no use to us and not read. It has a
// transaction of its own.
func (s *Service) ReceiveSAML(ctx context.Context, by access.Actor, connection, samlResponse, _ string) (handle string, err error) {
	c, err := s.cached(ctx, by.Tenant, connection)
	switch {
	case err != nil:
		return "", err
	case c.Kind != SAML:
		return "", ErrNotFound
	case c.State == Disabled:
		return "", ErrDisabled
	}
	v, err := s.judge(ctx, by, c, samlResponse)
	if err != nil {
		return "", err
	}
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return "", err
	}
	handle, hash := secret.NewToken()
	var held bool
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		v := v // a transaction may run twice
		held, err = s.hold(ctx, tx, by, c, &v, box, hash)
		return err
	})
	if err != nil || !held {
		return "", cmp.Or(err, error(ErrRefused.Because("a response to connection %s that belongs to no flow, see its traces", c.ID)))
	}
	return handle, nil
}

// judge verifies a response and reads it. Whatever is wrong with it is in the verdict.
func (s *Service) judge(ctx context.Context, by access.Actor, c Connection, encoded string) (v verdict, err error) {
	v.trace = Trace{ID: secret.ID(s.DB.Now()), Connection: c.ID, At: s.DB.Now()}
	v.Trace = v.trace.ID
	sp, err := s.spOf(ctx, c)
	if err != nil {
		return v, err
	}
	idp, err := idpOf(c.Settings.IdP)
	if err != nil {
		return v, err
	}
	raw, id, fault := decode(encoded)
	known := false
	if token, ok := strings.CutPrefix(id, "_"); ok && len(token) <= 64 {
		v.flow, err = findFlow(ctx, s.DB, by.Tenant, secret.Hash(token), c.ID, s.DB.Now())
		if err != nil && !errors.Is(err, ErrFlow) {
			return v, err
		}
		known = err == nil
	}
	v.unasked, v.trace.Test = fault == nil && id == "", v.flow.Test
	var a samlxml.Assertion
	var checks []samlxml.Check
	if fault == nil {
		a, checks, fault = samlxml.Verify(raw, samlxml.Expect{
			SP: sp, IdP: idp, RequestID: id, RequestedAt: v.flow.CreatedAt, AllowUnsolicited: c.Settings.AllowUnsolicited, Now: s.DB.Now(), Skew: c.Settings.skew(),
			ForceAuthn: v.flow.Nonce == forced, Contexts: c.Settings.Contexts, RequireResponseSigned: c.Settings.RequireResponseSigned, RequireEncrypted: c.Settings.RequireEncrypted,
		})
	}
	v.conclude(c, a, checks, fault)
	if v.Cause == "" && !v.unasked {
		v.Cause = v.place(known)
	}
	if err := s.stepLanding(ctx, c, &v); err != nil {
		return v, err
	}
	v.trace.Fix = s.fix(c, v.Cause, us(c, originOf(sp)))
	return v, nil
}

// place says why a response that is right answers no flow.
func (v *verdict) place(known bool) Cause {
	step := Step{Name: "flow", Expected: "the answer to a request of ours that is under way", OK: known && !v.flow.answered}
	v.trace.Steps = append(v.trace.Steps, step)
	switch {
	case !known:
		return OtherRequest
	case v.flow.answered:
		return Replay
	}
	return ""
}

// originOf is our own address, as it stands in the metadata.
func originOf(sp samlxml.SP) string {
	origin, _, _ := strings.Cut(sp.ACS, "/saml/")
	return origin
}

// decode reads the form of the POST binding, and which request it says it answers.
func decode(encoded string) (raw []byte, id string, fault error) {
	wrong := func(cause samlxml.Cause, expected string) error {
		return &samlxml.Fault{Cause: cause, Checks: []samlxml.Check{{Name: "response.form", Expected: expected}}}
	}
	if len(encoded) > maxResponse {
		return nil, "", wrong(samlxml.CauseTooLarge, "at most 1 MiB")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return nil, "", wrong(samlxml.CauseMalformed, "SAMLResponse in Base64")
	}
	id, fault = samlxml.InResponseTo(raw)
	return raw, id, fault
}

// conclude reads what was verified, or why it was not.
func (v *verdict) conclude(c Connection, a samlxml.Assertion, checks []samlxml.Check, failed error) {
	if fault, ok := errors.AsType[*samlxml.Fault](failed); ok {
		v.trace.Steps, v.Cause = stepsOf(fault.Checks), causeOf(fault)
		return
	}
	v.trace.Steps = stepsOf(checks)
	if a.NameIDFormat == samlxml.FormatTransient && c.Settings.Attributes["subject"] == "" {
		v.Cause = Transient
		v.trace.Steps = append(v.trace.Steps, Step{Name: "profile.subject", Expected: "a NameID that stays the same", Received: a.NameIDFormat})
		return
	}
	r := c.read(said{attributes: a.Attributes, subject: a.NameID, isAddress: a.NameIDFormat == samlxml.FormatEmail || a.NameIDFormat == samlxml.FormatUnspecified && strings.Contains(a.NameID, "@")})
	v.trace.Attributes = r.seen
	if v.Cause = r.cause; r.cause != "" {
		v.trace.Steps = append(v.trace.Steps, r.step)
		return
	}
	p := r.profile
	p.Issuer, p.ACR, p.AuthAt, p.SessionIndex, p.SessionUntil = a.Issuer, a.Context, a.AuthnInstant, a.SessionIndex, a.SessionNotOnOrAfter
	if c.logsOut() {
		p.There = There{a.NameID, a.NameIDFormat, a.NameQualifier, a.SPNameQualifier, a.SessionIndex}
	}
	v.Profile, v.id, v.until = p, a.ID, a.NotOnOrAfter
	v.trace.Steps = append(v.trace.Steps, Step{Name: "profile.email", Expected: "one e-mail address", Received: mask(p.Email), OK: true})
}

// hold writes what came of a response: two statements for one that is right, beside the
// trace and the connection's health, which travel with the second and the COMMIT.
func (s *Service) hold(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, v *verdict, box *secret.Box, handle []byte) (held bool, err error) {
	if v.Cause == "" {
		isFirst, err := takeMessage(ctx, tx, by.Tenant, c.ID, v.id, v.until)
		if err != nil {
			return false, err
		}
		if !isFirst {
			v.Cause, v.Profile = Replay, Profile{}
		}
	}
	if held, err = s.keepAnswer(ctx, tx, by, c, v, box, handle); err != nil {
		return false, err
	}
	if !held && v.Cause == "" {
		v.Cause = OtherRequest // taken by another response, or switched off, a moment ago
	}
	if held || v.Cause == Replay || s.strangers.mayWrite(c.tenant+c.ID, tx.Now) {
		v.trace.Cause = v.Cause
		keepTrace(tx, by.Tenant, v.trace)
	}
	if !v.trace.Test && held {
		noteHealth(tx, by.Tenant, c.ID, v.Cause)
	}
	return held, nil
}

// keepAnswer puts it where the browser finds it: in the flow that it belongs to, or in
// one that the provider has begun.
func (s *Service) keepAnswer(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, v *verdict, box *secret.Box, handle []byte) (bool, error) {
	f := v.flow
	if f.ID == "" {
		if !v.unasked || v.Cause != "" || c.State != Active {
			return false, nil
		}
		f = flow{ID: tx.NewID(), Connection: c.ID, Unsolicited: true, hash: handle}
		if err := insertFlow(ctx, tx, by.Tenant, f, nil, tx.Now.Add(handleLife)); err != nil {
			return false, err
		}
	}
	return answerFlow(ctx, tx, by.Tenant, f.hash, handle, box.Seal(place(f.hash, "answer"), []byte(encode(v.answer))))
}

// strangers bounds how many traces are written of responses that belong to no flow: who
// has no account anywhere can post those. It counts by connection and minute, in this
// process.
type strangers struct {
	mu     sync.Mutex
	minute int64
	count  map[string]int
}

const maxStrangers = 20 // a minute and connection

func (s *strangers) mayWrite(connection string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if minute := now.Unix() / 60; minute != s.minute || s.count == nil {
		s.minute, s.count = minute, map[string]int{}
	}
	s.count[connection]++
	return s.count[connection] <= maxStrangers
}

// stepsOf are the checks of a message. What names a person is masked.
func stepsOf(checks []samlxml.Check) (out []Step) {
	for _, c := range checks {
		received := shorten(c.Received)
		if strings.HasPrefix(c.Name, "subject.") || strings.HasPrefix(c.Name, "attributes.") {
			received = mask(received)
		}
		out = append(out, Step{Name: c.Name, Expected: shorten(c.Expected), Received: received, OK: c.OK})
	}
	return out
}

// samlCauses are the causes of package samlxml in the words of administrators, who need
// not know which part of a message it was.
var samlCauses = map[samlxml.Cause]Cause{
	samlxml.CauseAudience: Audience, samlxml.CauseQualifier: Audience,
	samlxml.CauseDestination: ACS, samlxml.CauseRecipient: ACS,
	samlxml.CauseIssuer:      Issuer,
	samlxml.CauseCertificate: OtherCertificate, samlxml.CauseCertificateExpired: CertificateExpired,
	samlxml.CauseUnsigned: Unsigned, samlxml.CauseSignature: Signature, samlxml.CauseAlgorithm: Algorithm,
	samlxml.CauseUnsolicited: Unsolicited, samlxml.CauseInResponseTo: OtherRequest,
	samlxml.CauseEncryptedKey: OldKey, samlxml.CauseNotEncrypted: NotEncrypted,
	samlxml.CauseSkew: Clock, samlxml.CauseNotYet: Clock, samlxml.CauseExpired: Expired,
	samlxml.CauseNoNameID: SubjectMissing, samlxml.CauseNameIDFormat: NameIDPolicy,
	samlxml.CauseContext: Context, samlxml.CauseNotFresh: AuthnFailed,
	samlxml.CauseStatusAuthnFailed: AuthnFailed, samlxml.CauseStatusNoPassive: AuthnFailed,
	samlxml.CauseStatusNoAuthnContext: NoContext, samlxml.CauseStatusInvalidNameID: NameIDPolicy,
	samlxml.CauseStatusRequestDenied: Denied, samlxml.CauseStatusUnknownPrincipal: Denied,
	samlxml.CauseStatusRequester: RequestRefused, samlxml.CauseStatusVersion: RequestRefused,
	samlxml.CauseStatusResponder: ProviderError, samlxml.CauseStatusMissing: ProviderError, samlxml.CauseStatusOther: ProviderError,
}

func causeOf(fault *samlxml.Fault) Cause { return cmp.Or(samlCauses[fault.Cause], Malformed) }

// fix says what to change, with the value if it is ours to say.
func (s *Service) fix(c Connection, cause Cause, us Us) Fix {
	f := fixes[cause]
	if f.Side == AtProvider {
		f.Label = Label(c.Provider, f.Field)
		f.Value = map[string]string{TermEntityID: us.EntityID, TermACS: us.ACS, TermRedirect: us.RedirectURI, TermEncryption: us.MetadataURL}[f.Field]
	}
	return f
}
