package signin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// The passkey part of the SSOJet authentication API. The ceremony happens on a page of
// the application, at one of its allowed origins; the passkey is the tenant's, and
// works on the hosted pages too. What concerns a user's own passkeys takes the user's
// access token, of the application that calls, and a proof that is fresh.

// mountPasskeyAPI adds the calls to r.
func (s *Service) mountPasskeyAPI(r *web.Router) {
	const root = "/api/v1/auth/passwordless/passkey/"
	own := problems{web.ErrNobody, token.ErrToken, ErrNotOffered}
	changes := append(problems{ErrProofTooOld}, own...)
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{root + "login"}, Endpoint: api(s, s.getPasskeyLogin),
			Doc: web.Doc{Summary: "Begin signing in with a passkey", Text: "publicKey is for navigator.credentials.get. The answer is the same whether anybody is known by the identifier. " +
				"Without an identifier any user's passkey is taken. The user is verified in any case, whatever the options say.",
				Errors: problems{ErrNotOffered, user.ErrEmail, user.ErrUsername, ratelimit.ErrLimited}, Example: examplePasskeyLogin}},
		{Method: "POST", Paths: []string{root + "login"}, Endpoint: api(s, s.postPasskeyLogin),
			Doc: web.Doc{Summary: "Sign in with a passkey", Text: "The body is what navigator.credentials.get gave, as JSON, by itself or as the field passkey. It is good for one answer, within five minutes.",
				Errors:  append(problems{passkey.ErrChallenge, passkey.ErrRefused, passkey.ErrUnverified, passkey.ErrHeld, ErrDisabled, ErrCredentials, ratelimit.ErrLimited}, refusals...),
				Request: exampleAssertion, Example: examplePasskeyResult}},
		{Method: "GET", Paths: []string{root + "register"}, Endpoint: api(s, s.getPasskeyRegister),
			Doc: web.Doc{Summary: "Begin adding a passkey", Text: "publicKey is for navigator.credentials.create. Takes the access token of the user, who has signed in within the last ten minutes.",
				Errors: append(problems{passkey.ErrTooMany, ratelimit.ErrLimited}, changes...), Example: examplePasskeyRegister}},
		{Method: "POST", Paths: []string{root + "register"}, Endpoint: api(s, s.postPasskeyRegister),
			Doc: web.Doc{Summary: "Add a passkey", Text: "The body is what navigator.credentials.create gave, as JSON, by itself or as the field passkey.",
				Errors:  append(problems{passkey.ErrChallenge, passkey.ErrRefused, passkey.ErrUnverified, passkey.ErrExists, passkey.ErrTooMany}, changes...),
				Request: exampleAttestation, Example: examplePasskeyAdded}},
		{Method: "GET", Paths: []string{root + "status"}, Endpoint: api(s, s.getPasskeyStatus),
			Doc: web.Doc{Summary: "Ask what became of a sign-in with a passkey", Text: "With auth_code: pending, authenticated or expired. Without: available or unavailable, as the tenant has it, " +
				"which says nothing of whether anybody is known by the identifier.",
				Errors: problems{ErrAttempt}, Example: examplePasskeyStatus}},
		{Method: "GET", Paths: []string{root + "credentials"}, Endpoint: api(s, s.getPasskeys),
			Doc: web.Doc{Summary: "List one's passkeys", Text: "Takes the access token of the user. The oldest first.", Errors: own, Example: []passkeyForm{examplePasskey}}},
		{Method: "PATCH", Paths: []string{root + "credentials/{passkeyid}"}, Endpoint: api(s, s.patchPasskey),
			Doc: web.Doc{Summary: "Name a passkey", Text: "Takes the access token of the user, who has signed in within the last ten minutes.",
				Errors: append(problems{passkey.ErrNotFound, passkey.ErrName}, changes...), Request: json.RawMessage(`{"name":"My phone"}`), Example: passkeyDone{"success", "The passkey has a name."}}},
		{Method: "DELETE", Paths: []string{root + "credentials/{passkeyid}"}, Endpoint: api(s, s.deletePasskey),
			Doc: web.Doc{Summary: "Remove a passkey", Text: "Takes the access token of the user, who has signed in within the last ten minutes. The only way to sign in stays.",
				Errors: append(problems{passkey.ErrNotFound, ErrLastPasskey}, changes...), Example: passkeyDone{"success", "The passkey is removed."}}},
	} {
		route.Public, route.Own, route.Doc.Tag = true, true, tagAPI
		r.Add(route)
	}
	r.Add(web.Route{Method: "GET", Paths: []string{"/.well-known/webauthn"}, Public: true, Endpoint: web.JSON(http.StatusOK, s.getRelatedOrigins),
		Doc: web.Doc{Tag: tagAPI, Summary: "Get the pages that may use the tenant's passkeys", Text: "Browsers ask for it (WebAuthn Level 3, section 5.11): the tenant's own address and the allowed origins of its applications.",
			Example: passkey.RelatedOriginsForm{Origins: []string{"https://id.example.com", "https://app.example.com"}}}})
}

// takesPasskeys reports why the application that calls can not use passkeys by API.
func (c *call) takesPasskeys() error {
	switch {
	case c.app.ID == "":
		return tenant.ErrClient
	case c.tenant.Settings.SignIn.NoPasskey:
		return ErrNotOffered.Because("the tenant has no passkeys")
	case c.app.OAuth.ThirdParty:
		return ErrNotOffered.Because("an application of somebody else leaves passkeys to the hosted pages")
	case c.app.OAuth.RequireDPoP:
		return ErrNotOffered.Because("the application's tokens are bound to a key, which this API has no place for")
	}
	return nil
}

type passkeyLoginRequest struct {
	Identifier string `query:"identifier" doc:"E-mail address, phone number or username; leave it out to let the passkey say who it is"`
}

type passkeyLogin struct {
	AuthCode  string                 `json:"auth_code" doc:"Names this sign-in in the calls that follow"`
	PublicKey passkey.RequestOptions `json:"publicKey"`
}

func (s *Service) getPasskeyLogin(ctx context.Context, c *call, in passkeyLoginRequest) (out passkeyLogin, err error) {
	if err := c.takesPasskeys(); err != nil {
		return out, err
	}
	identifier, err := parseLogin(in.Identifier)
	if err != nil {
		return out, err
	}
	owner, err := s.ownerOf(ctx, c.visit, identifier)
	if err != nil {
		return out, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		a, handle, err := insertIdentified(tx, c.by.Tenant, newHandle(), attempt{Request: request{Application: c.app.ID, From: c.from}, Identifier: identifier})
		if err != nil {
			return err
		}
		out.AuthCode = handle
		out.PublicKey, err = s.askPasskey(ctx, tx, c.visit, passkey.Request{Owner: a.ID, Purpose: passkey.SignIn, UserID: owner, RP: c.party(), Preferred: true})
		return err
	})
	return out, err
}

// parseLogin is what somebody is known by, in one spelling; empty if nothing was given.
func parseLogin(typed string) (string, error) {
	if typed = strings.TrimSpace(typed); typed == "" {
		return "", nil
	}
	identifier, _, err := parseIdentifier(tenant.SignIn{}, typed, false)
	return identifier, err
}

// A credential is what a browser gave, by itself or as the field passkey, which the
// contract's prose has.
type credential struct{ text []byte }

// UnmarshalJSON implements json.Unmarshaler.
func (c *credential) UnmarshalJSON(b []byte) error {
	var wrapped struct {
		Passkey json.RawMessage `json:"passkey"`
	}
	if err := json.Unmarshal(b, &wrapped); err != nil {
		return err
	}
	if c.text = bytes.Clone(b); wrapped.Passkey == nil {
		return nil
	}
	var text string
	if json.Unmarshal(wrapped.Passkey, &text) == nil {
		wrapped.Passkey = json.RawMessage(text)
	}
	c.text = wrapped.Passkey
	return nil
}

// credentialForm describes a credential (section 5.1).
type credentialForm struct {
	ID         string          `json:"id" doc:"base64url"`
	RawID      string          `json:"rawId" doc:"base64url"`
	Type       string          `json:"type" doc:"public-key"`
	Response   json.RawMessage `json:"response" doc:"As the browser's toJSON writes it"`
	Attachment string          `json:"authenticatorAttachment"`
	Extensions json.RawMessage `json:"clientExtensionResults"`
	Passkey    json.RawMessage `json:"passkey" doc:"All of the above, as an object or as text, in place of them"`
}

type passkeyAnswerRequest struct {
	AuthCode   string `query:"auth_code" doc:"From beginning"`
	Identifier string `query:"identifier" doc:"As at the beginning"`
	credential
}

// Schema tells the API description what the body holds.
func (passkeyAnswerRequest) Schema() any { return credentialForm{} }

type passkeyResult struct {
	authResult
	Token  string `json:"token" doc:"The same as access_token"`
	UserID string `json:"user_id"`
}

// postPasskeyLogin ends an attempt by a passkey.
func (s *Service) postPasskeyLogin(ctx context.Context, c *call, in passkeyAnswerRequest) (passkeyResult, error) {
	a, err := s.attempt(ctx, c, in.AuthCode)
	if err == nil && !a.ProvedAt.IsZero() {
		err = ErrAttempt.Because("proved already")
	}
	if named, wrong := parseLogin(in.Identifier); err == nil && (wrong != nil || in.Identifier != "" && named != a.Identifier) {
		err = ErrAttempt.Because("begun for another identifier")
	}
	if errors.Is(err, ErrAttempt) {
		err = passkey.ErrChallenge.Because("%w", err)
	}
	if err != nil {
		return passkeyResult{}, err
	}
	as, err := s.Passkeys.CheckSignIn(ctx, c.by, passkey.Answer{Owner: a.ID, Purpose: passkey.SignIn, RP: c.party(), Credential: in.text})
	if err != nil {
		return passkeyResult{}, s.refusePasskey(ctx, c.visit, a, err)
	}
	var admitted admission
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		p, err := s.provePasskey(ctx, tx, c.visit, as)
		if err != nil {
			return err
		}
		proved, err := shows(a, p, tx.Now)
		if err != nil {
			return err
		}
		admitted, err = s.admit(ctx, tx, c, proved, p.user, passkey.ErrChallenge.Because("handed out already"))
		return err
	})
	if err != nil {
		return passkeyResult{}, s.refusePasskey(ctx, c.visit, a, err)
	}
	out, err := s.result(ctx, c, admitted)
	return passkeyResult{out, out.AccessToken, admitted.user.ID}, err
}

// refusePasskey writes a failed try to the log and counts it, and returns why it failed.
// Nobody guesses a passkey: what is counted is the work that it makes.
func (s *Service) refusePasskey(ctx context.Context, v *visit, a attempt, why error) error {
	p, ok := problem.From(why)
	if !ok {
		return why
	}
	u, err := s.find(ctx, s.DB, v, a.Identifier)
	if err == nil {
		err = s.fail(ctx, v, a, u.ID, methodPasskey, p.Code)
	}
	if err == nil && v.by.IP != "" && !v.backend {
		err = s.Limits.Take(ctx, v.by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", v.by.IP)))
	}
	if err != nil {
		return err
	}
	return why
}

// A holder is a user who calls with an access token.
type holder struct {
	user    user.User
	session string
	two     bool // of them are needed for that
	fresh   bool // the user has shown lately who they are, by a second factor if they have one
}

// holder returns the user of the access token that a call came with. It must be a token
// of the application that calls: what another was let do does not reach as far as how
// its user signs in.
func (s *Service) holder(ctx context.Context, c *call) (h holder, err error) {
	if err := c.takesPasskeys(); err != nil {
		return h, err
	}
	scheme, bearer, _ := strings.Cut(c.header.Get("Authorization"), " ")
	if bearer = strings.TrimSpace(bearer); !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return h, web.ErrNobody
	}
	a, err := s.Tokens.Read(ctx, c.by.Tenant, bearer)
	if err != nil {
		return h, err
	}
	issuer, err := s.Tenants.Origin(ctx, c.tenant)
	if err != nil {
		return h, err
	}
	if a.UserID == "" || a.ClientID != c.app.ClientID || a.KeyThumbprint != "" || len(a.Act) > 0 || !slices.Contains(a.Audience, issuer) || !a.Has("openid") {
		return h, token.ErrToken.Because("not the user's own token of this application")
	}
	live, err := s.Sessions.IsLive(ctx, c.by.Tenant, a.SessionID)
	if err != nil {
		return h, err
	}
	if !live {
		return h, token.ErrToken.Because("the session has ended")
	}
	h.session = a.SessionID
	h.user, err = s.Users.Find(ctx, s.DB, access.System(c.by.Tenant), a.UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !h.user.IsActive {
		err = token.ErrToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return h, err
	}
	// People add a passkey because the others are on a device that is not at hand.
	who, err := s.factorsButPasskeys(ctx, s.DB, c.visit, h.user)
	h.two = showsTwo(mfa.PolicyOf(c.tenant, tenant.Application{}), who)
	h.fresh = s.DB.Now().Sub(a.AuthAt) <= freshFor && (!h.two || a.ACR == ACRTwoFactors)
	return h, err
}

// challenge says what the application has to ask for when it sends the user to sign in
// again (RFC 9470, section 3).
func (h holder) challenge() string {
	asked := fmt.Sprintf(`max_age="%d"`, int(freshFor.Seconds()))
	if h.two {
		asked = `acr_values="` + ACRTwoFactors + `", ` + asked
	}
	return asked
}

// freshHolder is holder for changes of how the user signs in.
func (s *Service) freshHolder(ctx context.Context, c *call) (holder, error) {
	h, err := s.holder(ctx, c)
	if err == nil && !h.fresh {
		err = ErrProofTooOld.Asking(h.challenge())
	}
	return h, err
}

type passkeyRegister struct {
	AuthCode  string                  `json:"auth_code" doc:"Goes with the answer"`
	PublicKey passkey.CreationOptions `json:"publicKey"`
}

// ownerAt is what the challenge of a registration by API belongs to: the user's session
// and whoever has the code.
func (h holder) ownerAt(code string) string { return h.session + "/" + code }

func (s *Service) getPasskeyRegister(ctx context.Context, c *call, _ noRequest) (out passkeyRegister, err error) {
	h, err := s.freshHolder(ctx, c)
	if err != nil {
		return out, err
	}
	out.AuthCode = newHandle()
	ask := newPasskey(h.user, c.rp, h.ownerAt(out.AuthCode))
	ask.DisplayName = ask.Login // as the contract has it, like all of Selection
	ask.Selection = passkey.Selection{Attachment: "platform", RequireResidentKey: true, ResidentKey: "required", UserVerification: "preferred"}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		out.PublicKey, err = s.Passkeys.BeginRegistration(ctx, tx, userActor(c.visit, h.user), ask)
		return err
	})
	return out, err
}

type passkeyNewRequest struct {
	AuthCode string `query:"auth_code" doc:"From beginning"`
	credential
}

// Schema tells the API description what the body holds.
func (passkeyNewRequest) Schema() any { return credentialForm{} }

type passkeyAdded struct {
	passkeyForm
	passkeyDone
}

func (s *Service) postPasskeyRegister(ctx context.Context, c *call, in passkeyNewRequest) (passkeyAdded, error) {
	h, err := s.freshHolder(ctx, c)
	if err != nil {
		return passkeyAdded{}, err
	}
	p, err := s.addPasskey(ctx, c.visit, h.user, passkey.Answer{Owner: h.ownerAt(in.AuthCode), RP: c.party(), Credential: in.text}, func(*database.Tx) error { return nil })
	return passkeyAdded{passkeyFormOf(p), passkeyDone{"success", "The passkey is registered."}}, err
}

// addPasskey keeps a new passkey of a user, does what goes with it in the same
// transaction, and tells the user by mail.
func (s *Service) addPasskey(ctx context.Context, v *visit, u user.User, a passkey.Answer, with func(tx *database.Tx) error) (p passkey.Passkey, err error) {
	by := userActor(v, u)
	good, err := s.Passkeys.CheckRegistration(ctx, by, a)
	if err != nil {
		return p, err
	}
	if good.Passkey.UserID != u.ID {
		return p, passkey.ErrChallenge.Because("begun for another user")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if p, err = s.Passkeys.FinishRegistration(ctx, tx, by, good); err != nil {
			return err
		}
		if err := with(tx); err != nil {
			return err
		}
		return s.warnOfPasskeys(ctx, tx, v, u, "passkey_added")
	})
	return p, err
}

type passkeyStatusRequest struct {
	Identifier string `query:"identifier" doc:"As at the beginning"`
	AuthCode   string `query:"auth_code" doc:"From beginning to sign in"`
}

type passkeyStatus struct {
	Status    string `json:"status"`
	ExpiresAt string `json:"expires_at" doc:"Until when a passkey can answer; empty without auth_code"`
}

func (s *Service) getPasskeyStatus(ctx context.Context, c *call, in passkeyStatusRequest) (passkeyStatus, error) {
	if in.AuthCode == "" {
		switch err := c.takesPasskeys(); {
		case errors.Is(err, ErrNotOffered):
			return passkeyStatus{Status: "unavailable"}, nil
		case err != nil:
			return passkeyStatus{}, err
		}
		_, err := parseLogin(in.Identifier)
		return passkeyStatus{Status: "available"}, err
	}
	a, err := s.attempt(ctx, c, in.AuthCode)
	if err != nil {
		return passkeyStatus{}, err
	}
	until := a.CreatedAt.Add(passkey.ChallengeLifetime)
	out := passkeyStatus{Status: "pending", ExpiresAt: stamp(until, expiryForm)}
	switch {
	case !a.ProvedAt.IsZero():
		out.Status = "authenticated"
	case !s.DB.Now().Before(until):
		out.Status = "expired"
	}
	return out, nil
}

// passkeyForm is a passkey in the contract's mixed case.
type passkeyForm struct {
	ID              string   `json:"id" doc:"Credential id, base64url"`
	Name            *string  `json:"Name" doc:"null until the user names it"`
	SignCount       uint32   `json:"SignCount"`
	LastUsedAt      string   `json:"LastUsedAt" doc:"0001-01-01T00:00:00Z if it never was"`
	CreatedAt       string   `json:"CreatedAt"`
	UpdatedAt       string   `json:"UpdatedAt" doc:"When it was named; 0001-01-01T00:00:00Z if it never was"`
	PublicKey       string   `json:"public_key" doc:"COSE key, base64url"`
	AttestationType string   `json:"attestation_type"`
	AAGUID          string   `json:"aaguid" doc:"Model of the authenticator, as it says"`
	Transports      []string `json:"transports" schema:"nullable"`
	BackupEligible  bool     `json:"backup_eligible"`
	BackupState     bool     `json:"backup_state"`
}

func passkeyFormOf(p passkey.Passkey) passkeyForm {
	f := passkeyForm{
		ID: p.Key(), SignCount: p.SignCount, LastUsedAt: orNever(p.UsedAt), CreatedAt: orNever(p.CreatedAt), UpdatedAt: orNever(p.UpdatedAt), PublicKey: base64.RawURLEncoding.EncodeToString(p.PublicKey),
		AttestationType: p.Attestation, AAGUID: p.Model(), Transports: p.Transports, BackupEligible: p.BackupEligible, BackupState: p.BackupState,
	}
	if p.Name != "" {
		f.Name = &p.Name
	}
	return f
}

// orNever writes a time; the zero time is Go's own, as in the contract.
func orNever(t time.Time) string {
	if t.IsZero() {
		return stamp(t, expiryForm)
	}
	return stamp(t, stampForm)
}

func (s *Service) getPasskeys(ctx context.Context, c *call, _ noRequest) ([]passkeyForm, error) {
	h, err := s.holder(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.Passkeys.List(ctx, s.DB, c.by.Tenant, h.user.ID)
	out := make([]passkeyForm, len(list))
	for i, p := range list {
		out[i] = passkeyFormOf(p)
	}
	return out, err
}

type passkeyDone struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type passkeyNameRequest struct {
	PasskeyID string `path:"passkeyid" doc:"Credential id, base64url"`
	Name      string `json:"name" schema:"required" doc:"1 to 64 characters"`
}

func (s *Service) patchPasskey(ctx context.Context, c *call, in passkeyNameRequest) (passkeyDone, error) {
	h, err := s.freshHolder(ctx, c)
	if err != nil {
		return passkeyDone{}, err
	}
	p, err := s.Passkeys.Find(ctx, s.DB, c.by.Tenant, h.user.ID, in.PasskeyID)
	if err != nil {
		return passkeyDone{}, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := s.Passkeys.Rename(ctx, tx, userActor(c.visit, h.user), h.user.ID, p.ID, in.Name)
		return err
	})
	return passkeyDone{"success", "The passkey has a name."}, err
}

type passkeyRequest struct {
	PasskeyID string `path:"passkeyid" doc:"Credential id, base64url"`
}

func (s *Service) deletePasskey(ctx context.Context, c *call, in passkeyRequest) (passkeyDone, error) {
	h, err := s.freshHolder(ctx, c)
	if err != nil {
		return passkeyDone{}, err
	}
	p, err := s.Passkeys.Find(ctx, s.DB, c.by.Tenant, h.user.ID, in.PasskeyID)
	if err != nil {
		return passkeyDone{}, err
	}
	return passkeyDone{"success", "The passkey is removed."}, s.removePasskey(ctx, c.visit, h.user, p.ID)
}

// removePasskey removes a user's passkey, unless the user could not sign in without it,
// and tells the user by mail.
func (s *Service) removePasskey(ctx context.Context, v *visit, u user.User, id string) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		if _, err := s.Passkeys.Delete(ctx, tx, userActor(v, u), u.ID, id); err != nil {
			return err
		}
		if err := s.stillSignsIn(ctx, tx, v, u); err != nil {
			return err
		}
		return s.warnOfPasskeys(ctx, tx, v, u, "passkey_removed")
	})
}
