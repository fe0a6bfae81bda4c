package signin

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// The SSOJet MFA API. Its calls carry an MFA token, which names an attempt:
//
//   - one that has proved its first factor by the authentication API, which answers such a
//     token in place of those for the application: validating ends it in a sign-in;
//   - one that an application with a secret has begun for a user whom it has checked
//     itself: validating says yes or no, and hands out nothing.
//
// A user's own access token will do where factors are set up. The contract shows {} as
// every answer; the fields added to it are in the vocabulary of its requests.

const tagMFA = "Second factor"

// ErrMFAToken covers MFA tokens that are unknown, expired or used alike.
var ErrMFAToken = problem.New(problem.Unauthenticated, "invalid_mfa_token", "The MFA token is not valid, or not valid any more. Begin again.")

// methodApplication is the first factor of an attempt whose user an application has
// checked by itself.
const methodApplication = "application"

const pathMFA = "/api/v1/auth/mfa/"

// TakesMFAToken reports whether what is at a path reads its bearer tokens by itself. Tried
// as a key of the API, an MFA token would count as a wrong one.
func TakesMFAToken(path string) bool {
	return strings.HasPrefix(path, pathMFA) && path != pathMFA+"token"
}

// mountMFAAPI adds the calls to r.
func (s *Service) mountMFAAPI(r *web.Router) {
	const root = pathMFA
	ours := problems{ErrMFAToken, tenant.ErrClient}
	bearer := "With the MFA token as Authorization: Bearer. "
	for _, route := range []web.Route{
		{Method: "POST", Paths: []string{root + "token"}, Endpoint: api(s, s.postMFAToken),
			Doc: web.Doc{Summary: "Get an MFA token", Text: "For a sign-in that has proved its first factor: by its state. For a user whom the application has checked itself: by an identifier, " +
				"with the application's secret in the header X-Client-Secret. Such a token leads to no tokens of the user's.",
				Errors: problems{ErrMFAToken, tenant.ErrClient, user.ErrNotFound, ratelimit.ErrLimited}, Request: exampleIdentifier, Example: exampleMFAToken}},
		{Method: "GET", Paths: []string{root + "authenticators"}, Endpoint: api(s, s.getAuthenticators),
			Doc: web.Doc{Summary: "List the second factors that will do", Text: bearer + "A user's access token will do as well. A body is ignored.", Errors: ours, Example: []authenticatorForm{exampleAuthenticator}}},
		{Method: "POST", Paths: []string{root + "enroll"}, Endpoint: api(s, s.postEnroll),
			Doc: web.Doc{Summary: "Set up an authenticator app", Text: bearer + "It counts once validate has taken a code of it. A user who has a second factor must have shown it: in this attempt, or lately, by an access token.",
				Errors: append(problems{ErrSecondFactor, mfa.ErrTooMany, ErrNotOffered}, ours...), Request: exampleEnroll, Example: exampleEnrolled}},
		{Method: "POST", Paths: []string{root + "initiate"}, Endpoint: api(s, s.postInitiate),
			Doc: web.Doc{Summary: "Begin with a second factor", Text: bearer + "Sends a code if oob_channels is sms or email. The oob_code of the answer names the attempt for validate.",
				Errors: append(problems{ErrNotOffered, ratelimit.ErrLimited, notify.ErrNoChannel}, ours...), Request: exampleInitiate, Example: exampleInitiated}},
		{Method: "GET", Paths: []string{root + "qr-code"}, Endpoint: web.Endpoint{Handler: web.Handler(s.getQRCode), Status: http.StatusOK, Media: "image/png"},
			Doc: web.Doc{Summary: "Get the QR code of an authenticator app", Text: bearer + "A PNG of what enroll has answered, until it is confirmed. With a user's access token, authenticator names it.",
				Query: []web.Param{{Name: "authenticator", Text: "id from enroll; only with an access token"}}, Errors: append(problems{mfa.ErrEnrollment}, ours...)}},
		{Method: "POST", Paths: []string{root + "validate"}, Endpoint: api(s, s.postValidate),
			Doc: web.Doc{Summary: "Validate a second factor", Text: "By the code of an authenticator app, one that was sent, or a backup code; or the first one of an authenticator app that is being set up. " +
				"With the MFA token as Authorization: Bearer, or the oob_code of initiate alone. A sign-in of the authentication API ends in its tokens.",
				Errors: slices.Concat(problems{mfa.ErrCode, passwordless.ErrCode, mfa.ErrEnrollment, ErrNotOffered, ErrDisabled, ErrSecondFactor, ratelimit.ErrLimited}, ours, refusals), Request: exampleValidate, Example: exampleValidated}},
		{Method: "GET", Paths: []string{root + "backupcode"}, Endpoint: api(s, s.getBackupCodes),
			Doc: web.Doc{Summary: "Get new backup codes", Text: bearer + "Or with a user's access token. The second factor must have been shown within ten minutes. Those of before are good no more; these are shown this once.",
				Errors: append(problems{ErrSecondFactor, mfa.ErrNotFound}, ours...), Example: backupCodesAnswer{[]string{"7K2M-9QXR-3TB5H", "0C4N-8WZE-6VJ1P"}}}},
	} {
		route.Public, route.Own, route.Doc.Tag = true, true, tagMFA
		r.Add(route)
	}
	r.Add(web.Route{Method: "POST", Paths: []string{"/api/v1/users/{userid}/mfa/reset"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.postResetFactors),
		Doc: web.Doc{Tag: tagMFA, Summary: "Reset a user's second factors", Text: "Removes authenticator apps, backup codes and remembered devices, and ends all of the user's sessions. " +
			"With link, all stays as it is, and the answer has a link, good once within a day, by which the user sets up another authenticator app after the first factor. An administrator's take roles:write as well.",
			Errors: problems{user.ErrNotFound}, Request: exampleReset, Example: resetForm{Link: "https://id.example.com/signin/recover?token=VJSXMZ3QK5ZHI2LUNBSXEZLEOM"}}})
}

// Prefixes of what names an attempt.
const (
	mfaPrefix = "mfa_"
	oobPrefix = "oob_"
)

// mfaToken names an attempt to the calls of this API: its id, and a MAC over it.
func (s *Service) mfaToken(ctx context.Context, tenantID, prefix, attempt string) (string, error) {
	box, err := s.Tenants.Box(ctx, tenantID)
	if err != nil {
		return "", err
	}
	id, err := hex.DecodeString(attempt)
	if err != nil {
		panic(err) // our own id
	}
	return prefix + base64.RawURLEncoding.EncodeToString(append(id, tokenMAC(box, tenantID, prefix, attempt)...)), nil
}

func tokenMAC(box *secret.Box, tenantID, prefix, attempt string) []byte {
	return secret.MAC(box.Derive("mfa tokens"), prefix+tenantID+"\x00"+attempt)
}

// ofMFAToken returns the attempt that a token names, if it still waits.
func (s *Service) ofMFAToken(ctx context.Context, c *call, prefix, text string) (attempt, error) {
	body, ok := strings.CutPrefix(text, prefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if !ok || len(body) > 64 || err != nil || len(raw) != 12+16 {
		return attempt{}, ErrMFAToken.Because("not the form of one")
	}
	box, err := s.Tenants.Box(ctx, c.by.Tenant)
	if err != nil {
		return attempt{}, err
	}
	id := hex.EncodeToString(raw[:12])
	if subtle.ConstantTimeCompare(raw[12:], tokenMAC(box, c.by.Tenant, prefix, id)) != 1 {
		return attempt{}, ErrMFAToken.Because("not authentic")
	}
	a, err := findAttempt(ctx, s.DB, c.by.Tenant, "id", id, s.DB.Now())
	switch {
	case errors.Is(err, ErrAttempt):
		return a, ErrMFAToken.Because("%w", err)
	case err != nil:
		return a, err
	case a.browser != nil, a.ProvedAt.IsZero(), !a.FinishedAt.IsZero():
		return a, ErrMFAToken.Because("the sign-in is over, or must begin again")
	case c.app.ID != "" && c.app.ID != a.ApplicationID:
		return a, ErrMFAToken.Because("begun by another application")
	case c.app.ID != "":
		return a, nil
	}
	c.app, err = s.Tenants.ActiveApplication(ctx, c.by.Tenant, a.ApplicationID)
	if errors.Is(err, tenant.ErrApplicationNotFound) || errors.Is(err, tenant.ErrClient) {
		err = ErrMFAToken.Because("the application is gone")
	}
	return a, err
}

// A claimant is who calls this API: an attempt, or a user by an access token.
type claimant struct {
	*call
	a    attempt // the zero value for an access token
	user user.User
	lack lack
	who  mfa.Person
	// fresh says that the user has shown lately all the factors they have.
	fresh bool
}

// claimant finds out who calls, by what comes as Authorization: Bearer.
func (s *Service) claimant(ctx context.Context, c *call) (*claimant, error) {
	scheme, text, _ := strings.Cut(c.header.Get("Authorization"), " ")
	if text = strings.TrimSpace(text); !strings.EqualFold(scheme, "Bearer") || text == "" {
		return nil, ErrMFAToken.Because("none came")
	}
	if !strings.HasPrefix(text, mfaPrefix) {
		return s.ofAccessToken(ctx, c, text)
	}
	a, err := s.ofMFAToken(ctx, c, mfaPrefix, text)
	if err != nil {
		return nil, err
	}
	return s.ofAttempt(ctx, c, a)
}

func (s *Service) ofAttempt(ctx context.Context, c *call, a attempt) (*claimant, error) {
	m := &claimant{call: c, a: a}
	var err error
	if m.lack, m.user, err = s.lacksNow(ctx, c.visit, a); errors.Is(err, user.ErrNotFound) || err == nil && !m.user.IsActive {
		return nil, ErrMFAToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return nil, err
	}
	if m.lack.who != nil {
		m.who = *m.lack.who
	} else if m.who, err = s.factorsOf(ctx, s.DB, c.visit, m.user); err != nil {
		return nil, err
	}
	if a.Method == methodApplication && a.SecondAt.IsZero() { // it wants a second factor, whatever the policy
		m.lack.Second, m.lack.Enroll = true, len(m.lack.Kinds) == 0
	}
	m.fresh = m.lack.Enroll || !a.SecondAt.IsZero() && s.DB.Now().Sub(a.SecondAt) <= freshFor
	return m, nil
}

// ofAccessToken is claimant for a user's own access token, as getSession takes it.
func (s *Service) ofAccessToken(ctx context.Context, c *call, text string) (*claimant, error) {
	t, err := s.Tokens.Read(ctx, c.by.Tenant, text)
	if errors.Is(err, token.ErrToken) {
		return nil, ErrMFAToken.Because("%w", err)
	}
	if err != nil {
		return nil, err
	}
	issuer, err := s.Tenants.Origin(ctx, c.tenant)
	if err != nil {
		return nil, err
	}
	if t.UserID == "" || t.KeyThumbprint != "" || !t.Has("openid") || t.Act != nil || !slices.Contains(t.Audience, issuer) {
		return nil, ErrMFAToken.Because("bound to a key, without the scope, for another audience, or not the user's own")
	}
	m := &claimant{call: c}
	if m.user, err = s.Users.Find(ctx, s.DB, access.System(c.by.Tenant), t.UserID); errors.Is(err, user.ErrNotFound) || err == nil && !m.user.IsActive {
		return nil, ErrMFAToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return nil, err
	}
	if m.who, err = s.factorsOf(ctx, s.DB, c.visit, m.user); err != nil {
		return nil, err
	}
	m.lack.policy = mfa.PolicyOf(c.tenant, tenant.Application{})
	m.lack.Kinds = m.lack.policy.Decide(m.who, mfa.Shown{}).Kinds
	m.fresh = s.DB.Now().Sub(t.AuthAt) <= freshFor && (t.ACR == ACRTwoFactors || len(m.lack.Kinds) == 0)
	return m, nil
}

type mfaTokenRequest struct {
	Identifier string `json:"identifier" doc:"E-mail address, phone number or username; takes the application's secret"`
	State      string `json:"state" doc:"Of a sign-in that has proved its first factor"`
}

type mfaTokenAnswer struct {
	AccessToken string `json:"access_token" doc:"The MFA token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in" doc:"Seconds"`
	ExpiresAt   string `json:"expires_at"`
}

func (s *Service) postMFAToken(ctx context.Context, c *call, in mfaTokenRequest) (mfaTokenAnswer, error) {
	a, err := s.forMFA(ctx, c, in)
	if err != nil {
		return mfaTokenAnswer{}, err
	}
	text, err := s.mfaToken(ctx, c.by.Tenant, mfaPrefix, a.ID)
	left := a.expires.Sub(s.DB.Now())
	return mfaTokenAnswer{text, "Bearer", int64(left / time.Second), stamp(a.expires, expiryForm)}, err
}

// forMFA returns the attempt that an MFA token is wanted for.
func (s *Service) forMFA(ctx context.Context, c *call, in mfaTokenRequest) (attempt, error) {
	if in.State != "" {
		a, err := s.attempt(ctx, c, in.State)
		if errors.Is(err, ErrAttempt) || err == nil && (a.ProvedAt.IsZero() || !a.FinishedAt.IsZero()) {
			return a, ErrMFAToken.Because("a state without a first factor")
		}
		return a, err
	}
	if err := s.checkClient(ctx, c); err != nil {
		return attempt{}, err
	}
	u, err := s.Users.FindByLogin(ctx, s.DB, access.System(c.by.Tenant), in.Identifier)
	if err == nil && !u.IsActive {
		err = user.ErrNotFound.Because("disabled")
	}
	if err != nil {
		return attempt{}, err
	}
	var a attempt
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if a, _, err = insertAttempt(tx, c.by.Tenant, request{Application: c.app.ID, UserID: u.ID, From: c.from}, nil); err == nil {
			a, err = s.prove(ctx, tx, c.by, a, proof{user: u, method: methodApplication})
		}
		return err
	})
	return a, err
}

// checkClient makes sure that the application that calls is who it says, by its secret.
// Failures count.
func (s *Service) checkClient(ctx context.Context, c *call) error {
	if c.app.ID == "" {
		return tenant.ErrClient
	}
	key := c.header.Get("X-Client-Secret")
	if key == "" {
		return tenant.ErrClient.Saying("Send the application's secret in the header X-Client-Secret.")
	}
	ok, err := s.Tenants.CheckSecret(ctx, c.app, key)
	if err != nil || ok && !c.app.IsPublic() {
		return err
	}
	if err := s.Limits.Take(ctx, c.by.Tenant, ratelimit.ClientSecret.For(ratelimit.Key(c.app.ClientID, c.by.IP))); err != nil {
		return err
	}
	return tenant.ErrClient.Because("the secret is not right")
}

type authenticatorForm struct {
	ID     string `json:"id"`
	Type   string `json:"authenticator_type" doc:"otp, oob or recovery-code"`
	OOB    string `json:"oob_channel" doc:"sms or email, of oob"`
	Name   string `json:"name"`
	Active bool   `json:"active"`
}

// The words of the contract for the kinds of factor.
const (
	typeOTP      = "otp"
	typeOOB      = "oob"
	typeRecovery = "recovery-code"
)

type nothingAsked struct{}

func (s *Service) getAuthenticators(ctx context.Context, c *call, _ nothingAsked) ([]authenticatorForm, error) {
	m, err := s.claimant(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []authenticatorForm{}
	for _, kind := range m.lack.Kinds {
		switch kind {
		case mfa.TOTP:
			apps, err := s.MFA.Authenticators(ctx, s.DB, c.by.Tenant, m.user.ID)
			if err != nil {
				return nil, err
			}
			for _, a := range apps {
				out = append(out, authenticatorForm{ID: a.ID, Type: typeOTP, Name: a.Name, Active: true})
			}
		case mfa.SMS, mfa.Email:
			out = append(out, authenticatorForm{ID: secret.DerivedID(m.user.ID, kind), Type: typeOOB, OOB: channelOf(kind), Name: masked(targetOf(m.user, kind)), Active: true})
		case mfa.BackupCode:
			out = append(out, authenticatorForm{ID: secret.DerivedID(m.user.ID, kind), Type: typeRecovery, Active: true})
		}
	}
	return out, nil
}

type enrollRequest struct {
	Type string `json:"authenticator_type" doc:"otp"`
	Name string `json:"name" doc:"What the user calls the app"`
}

type enrollAnswer struct {
	ID     string `json:"id"`
	Type   string `json:"authenticator_type"`
	Secret string `json:"secret" doc:"To be typed, base 32"`
	URI    string `json:"barcode_uri" doc:"What the QR code says"`
}

func (s *Service) postEnroll(ctx context.Context, c *call, in enrollRequest) (enrollAnswer, error) {
	m, err := s.claimant(ctx, c)
	switch {
	case err != nil:
		return enrollAnswer{}, err
	case in.Type != "" && in.Type != typeOTP:
		return enrollAnswer{}, ErrNotOffered
	case !m.fresh:
		return enrollAnswer{}, ErrSecondFactor.Because("factors are set up by who has shown those there are")
	}
	e, err := s.MFA.Start(ctx, userActor(c.visit, m.user), m.user.ID, in.Name)
	if err == nil && m.a.ID != "" {
		err = s.DB.Write(ctx, func(tx *database.Tx) error {
			return challengeSecond(ctx, tx, c.by.Tenant, m.a, pendingPrefix+e.ID)
		})
	}
	return enrollAnswer{e.ID, typeOTP, e.Secret(), s.keyURI(c.visit, m.user, e)}, err
}

// pendingPrefix stands before the id of an authenticator that an attempt waits for, in
// the place of a challenge: the attempt confirms, and shows, that one only.
const pendingPrefix = "app:"

// pending is the authenticator that the attempt waits for, empty for none.
func (a attempt) pending() string {
	id, _ := strings.CutPrefix(a.SecondChallenge, pendingPrefix)
	if id == a.SecondChallenge {
		return ""
	}
	return id
}

func (s *Service) keyURI(v *visit, u user.User, e mfa.Enrollment) string {
	return e.URI(letter.BrandOf(v.tenant).Name, u.Login())
}

// getQRCode shows the key of an authenticator that waits, to who has begun it.
func (s *Service) getQRCode(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	c, err := s.call(w, r)
	if err != nil {
		return err
	}
	m, err := s.claimant(ctx, c)
	if err != nil {
		return err
	}
	id := m.a.pending()
	if m.a.ID == "" {
		if id, err = web.Query(r, "authenticator"); err != nil {
			return err
		}
	}
	if id == "" || !m.fresh {
		return mfa.ErrEnrollment
	}
	e, err := s.MFA.Pending(ctx, c.by.Tenant, m.user.ID, id)
	if err != nil {
		return err
	}
	picture, err := mfa.PNG(s.keyURI(c.visit, m.user, e))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(picture)
	return err
}

type initiateRequest struct {
	Type     string `json:"authenticator_type" doc:"otp, oob or recovery-code"`
	Channels string `json:"oob_channels" doc:"sms or email: sends a code, whatever the type"`
}

type initiateAnswer struct {
	OOBCode string `json:"oob_code" doc:"Names the attempt for validate"`
	Type    string `json:"authenticator_type"`
	Channel string `json:"oob_channel" doc:"sms or email if a code was sent"`
}

func (s *Service) postInitiate(ctx context.Context, c *call, in initiateRequest) (initiateAnswer, error) {
	m, err := s.claimant(ctx, c)
	if err == nil && m.a.ID == "" {
		err = ErrMFAToken.Because("an access token begins nothing")
	}
	if err != nil {
		return initiateAnswer{}, err
	}
	way := m.way(in.Type, in.Channels)
	if !m.lack.Second || !slices.Contains(m.lack.Kinds, way) {
		return initiateAnswer{}, ErrNotOffered
	}
	out := initiateAnswer{Type: typeOTP}
	if way == mfa.BackupCode {
		out.Type = typeRecovery
	}
	if isSent(way) {
		out.Type, out.Channel = typeOOB, channelOf(way)
		if err := s.sendSecond(ctx, c.visit, m.a, m.user, way); err != nil {
			return initiateAnswer{}, err
		}
	}
	out.OOBCode, err = s.mfaToken(ctx, c.by.Tenant, oobPrefix, m.a.ID)
	return out, err
}

// way is the factor that a request means: the contract's own sample asks for "otp" by
// "sms".
func (m *claimant) way(kind, channels string) string {
	switch {
	case channels == "sms":
		return mfa.SMS
	case channels == "email":
		return mfa.Email
	case kind == typeRecovery:
		return mfa.BackupCode
	case kind == typeOOB:
		if i := slices.IndexFunc(m.lack.Kinds, isSent); i >= 0 {
			return m.lack.Kinds[i]
		}
	}
	return mfa.TOTP
}

type validateRequest struct {
	OOBCode       string `json:"oob_code" doc:"From initiate; in place of the MFA token"`
	OTP           string `json:"otp" doc:"Six digits, or a backup code"`
	Authenticator string `json:"authenticator_id" doc:"id from enroll; only with an access token"`
}

type validateAnswer struct {
	Validated    bool        `json:"validated"`
	BackupCodes  []string    `json:"backup_codes,omitempty" doc:"With the first authenticator app: shown this once"`
	Access       string      `json:"access_token,omitempty" doc:"Of a sign-in: JWT, RFC 9068"`
	RefreshToken string      `json:"refresh_token,omitempty"`
	TokenType    string      `json:"token_type,omitempty"`
	ExpiresAt    string      `json:"expires_at,omitempty"`
	Profile      *user.Short `json:"profile,omitempty"`
}

func (s *Service) postValidate(ctx context.Context, c *call, in validateRequest) (out validateAnswer, err error) {
	m, err := s.validating(ctx, c, in)
	if err != nil {
		return out, err
	}
	if m.a.ID == "" {
		return s.confirmOwn(ctx, m, in)
	}
	if !m.lack.Second {
		return out, ErrMFAToken.Because("there is nothing to be validated")
	}
	way, redeem, codes, err := s.judge(ctx, m, in.OTP)
	if err != nil {
		return out, err
	}
	out.Validated, out.BackupCodes = true, codes
	if m.a.Method == methodApplication {
		return out, s.DB.Write(ctx, func(tx *database.Tx) error {
			b, _, err := s.proveSecond(ctx, tx, c.visit, m.a, way, redeem)
			if err == nil {
				noteProof(tx, c.by.Tenant, b)
			}
			return err
		})
	}
	admitted, err := s.admitSecond(ctx, m, way, redeem)
	if err != nil {
		return validateAnswer{}, err
	}
	signed, err := s.result(ctx, c, admitted)
	out.Access, out.RefreshToken, out.TokenType, out.ExpiresAt, out.Profile = signed.AccessToken, signed.RefreshToken, signed.TokenType, signed.ExpiresAt, &signed.Profile
	return out, err
}

// validating is claimant, also for who has the oob_code of initiate alone.
func (s *Service) validating(ctx context.Context, c *call, in validateRequest) (*claimant, error) {
	if c.header.Get("Authorization") != "" || in.OOBCode == "" {
		return s.claimant(ctx, c)
	}
	a, err := s.ofMFAToken(ctx, c, oobPrefix, in.OOBCode)
	if err != nil {
		return nil, err
	}
	return s.ofAttempt(ctx, c, a)
}

// judge judges a code for an attempt. What it returns uses the code up; codes are
// backup codes that are made with it.
func (s *Service) judge(ctx context.Context, m *claimant, code string) (way string, redeem func(tx *database.Tx, by access.Actor) error, codes []string, err error) {
	if m.lack.Enroll {
		redeem, codes, err = s.judgeFirst(ctx, m, m.a.pending(), code)
		return mfa.TOTP, redeem, codes, err
	}
	way = mfa.TOTP
	switch {
	case mfa.IsBackupCode(code):
		way = mfa.BackupCode
	case m.a.SecondChallenge != "" && m.a.pending() == "":
		sent, err := s.Codes.Find(ctx, s.DB, m.by.Tenant, m.a.SecondChallenge)
		if err != nil && !errors.Is(err, passwordless.ErrNotFound) {
			return "", nil, nil, err
		}
		if way = mfa.Email; sent.Channel == notify.SMS {
			way = mfa.SMS
		}
	}
	if !slices.Contains(m.lack.Kinds, way) {
		return "", nil, nil, mfa.ErrCode.Because("%s is no factor here", way)
	}
	redeem, err = s.guessSecond(ctx, m.visit, m.a, m.user, way, code)
	return way, redeem, nil, err
}

// judgeFirst judges the first code of the user's first authenticator.
func (s *Service) judgeFirst(ctx context.Context, m *claimant, id, code string) (redeem func(tx *database.Tx, by access.Actor) error, codes []string, err error) {
	if id == "" {
		return nil, nil, mfa.ErrEnrollment.Because("none was begun here")
	}
	confirmed, err := s.MFA.Confirm(ctx, m.by, m.user.ID, id, code)
	if err != nil {
		return nil, nil, err
	}
	set, err := s.MFA.MakeBackupCodes(ctx, m.by.Tenant, m.user.ID)
	return func(tx *database.Tx, by access.Actor) error {
		return s.enroll(ctx, tx, m.visit, by, m.user, nil, confirmed, set)
	}, set.Codes, err
}

// admitSecond ends an attempt whose second factor was proved in a sign-in.
func (s *Service) admitSecond(ctx context.Context, m *claimant, way string, redeem func(tx *database.Tx, by access.Actor) error) (out admission, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		b, p, err := s.proveSecond(ctx, tx, m.visit, m.a, way, redeem)
		if err != nil {
			return err
		}
		out, err = s.admit(ctx, tx, m.call, b, p.user, ErrMFAToken.Because("handed out already"))
		return err
	})
	return out, err
}

// confirmOwn makes an authenticator that was begun with an access token the user's.
func (s *Service) confirmOwn(ctx context.Context, m *claimant, in validateRequest) (out validateAnswer, err error) {
	if !m.fresh {
		return out, ErrSecondFactor.Because("factors are set up by who has shown those there are")
	}
	if in.Authenticator == "" {
		return out, mfa.ErrEnrollment.Because("none is named")
	}
	by := userActor(m.visit, m.user)
	if m.who.Authenticators == 0 {
		redeem, codes, err := s.judgeFirst(ctx, m, in.Authenticator, in.OTP)
		if err != nil {
			return out, err
		}
		return validateAnswer{Validated: true, BackupCodes: codes}, s.DB.Write(ctx, func(tx *database.Tx) error { return redeem(tx, by) })
	}
	confirmed, err := s.MFA.Confirm(ctx, m.by, m.user.ID, in.Authenticator, in.OTP)
	if err != nil {
		return out, err
	}
	return validateAnswer{Validated: true}, s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.MFA.Enroll(ctx, tx, by, confirmed); err != nil {
			return err
		}
		return s.warn(ctx, tx, &owner{visit: m.visit, user: m.user}, "factor_added")
	})
}

type backupCodesAnswer struct {
	Codes []string `json:"backup_codes"`
}

// getBackupCodes makes new backup codes. It is a GET because the contract says so.
func (s *Service) getBackupCodes(ctx context.Context, c *call, _ nothingAsked) (backupCodesAnswer, error) {
	m, err := s.claimant(ctx, c)
	switch {
	case err != nil:
		return backupCodesAnswer{}, err
	case !m.fresh || m.lack.Second:
		return backupCodesAnswer{}, ErrSecondFactor
	case m.who.Authenticators == 0:
		return backupCodesAnswer{}, mfa.ErrNotFound.Because("backup codes stand in for an authenticator app")
	}
	set, err := s.MFA.MakeBackupCodes(ctx, c.by.Tenant, m.user.ID)
	if err != nil {
		return backupCodesAnswer{}, err
	}
	return backupCodesAnswer{set.Codes}, s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.MFA.ReplaceBackupCodes(ctx, tx, userActor(c.visit, m.user), set); err != nil {
			return err
		}
		return s.warn(ctx, tx, &owner{visit: c.visit, user: m.user}, "codes_renewed")
	})
}

type resetRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
	Link   bool   `json:"link" doc:"Make a link instead of removing anything"`
}

type resetForm struct {
	Removed bool   `json:"removed" doc:"Whether there was an authenticator app"`
	Ended   int    `json:"ended" doc:"How many sessions were"`
	Link    string `json:"link,omitempty" doc:"To be handed to the user by other means than mail, if that may be in wrong hands"`
}

// postResetFactors lets a user in again who has lost all factors. Whoever resets an
// administrator's could take the role away as well.
func (s *Service) postResetFactors(ctx context.Context, by access.Actor, in resetRequest) (out resetForm, err error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return out, err
	}
	origin, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return out, err
	}
	err = s.ending(ctx, by, in.UserID, func(tx *database.Tx) error {
		if in.Link {
			text, err := s.MFA.StartRecovery(ctx, tx, by, in.UserID)
			out.Link = origin + pathRecover + "?token=" + text
			return err
		}
		if out.Removed, err = s.MFA.Reset(ctx, tx, by, in.UserID, "administrator"); err != nil {
			return err
		}
		ended, err := s.EndSessions(ctx, tx, by, in.UserID, "factors_reset")
		if out.Ended = len(ended); err != nil {
			return err
		}
		return s.tellReset(ctx, tx, by, t, origin, in.UserID)
	})
	return out, err
}

// tellReset tells a user that an administrator has removed their factors.
func (s *Service) tellReset(ctx context.Context, tx *database.Tx, by access.Actor, t tenant.Tenant, origin, id string) error {
	u, err := s.Users.Find(ctx, tx, access.System(by.Tenant), id)
	if err != nil {
		return err
	}
	if t.Settings.SignIn.NoAdminLetters {
		return nil
	}
	v := &visit{by: by, tenant: t, origin: origin}
	v.view.Lang = languageOf(t, u)
	return s.warn(ctx, tx, &owner{visit: v, user: u}, "factors_reset")
}
