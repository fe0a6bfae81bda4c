package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// From a proof to tokens: for a code at once, for a link when the application asks.

// apiScope is what the authentication API grants an application: what its answers say
// of the user, and nothing of the management API.
const apiScope = "openid profile email phone"

// The forms in which the contract writes times.
const (
	stampForm  = "2006-01-02T15:04:05.000Z"
	expiryForm = "2006-01-02T15:04:05Z" // as exact as "exp"
)

func stamp(t time.Time, form string) string { return t.UTC().Format(form) }

type codeRequest struct {
	State   string `json:"state" schema:"required" doc:"From sending"`
	StateID string `json:"state_id" doc:"The same as state"`
	OTP     string `json:"otp" schema:"required" doc:"Six digits, however they are grouped"`
}

type authResult struct {
	Authenticated bool       `json:"authenticated"`
	AccessToken   string     `json:"access_token" doc:"JWT, RFC 9068"`
	RefreshToken  string     `json:"refresh_token" doc:"Empty if the application may have none"`
	TokenType     string     `json:"token_type"`
	ExpiresAt     string     `json:"expires_at" doc:"When the access token expires"`
	Profile       user.Short `json:"profile"`
	mfaNeeded
}

// mfaNeeded says that the first factor was right and a second one is needed: then there
// are no tokens yet, and authenticated is false.
type mfaNeeded struct {
	Required   bool   `json:"mfa_required,omitempty" doc:"A second factor is needed: see POST /api/v1/auth/mfa/validate"`
	Enrollment bool   `json:"mfa_enrollment_required,omitempty" doc:"The user has none yet: see POST /api/v1/auth/mfa/enroll"`
	Token      string `json:"mfa_token,omitempty" doc:"For the calls on second factors"`
}

// needed asks for the second factor of an attempt.
func (s *Service) needed(ctx context.Context, c *call, a attempt, l lack) (out mfaNeeded, err error) {
	out = mfaNeeded{Required: true, Enrollment: l.Enroll}
	out.Token, err = s.mfaToken(ctx, c.by.Tenant, mfaPrefix, a.ID)
	return out, err
}

type phoneResult struct {
	authResult
	Status  string `json:"status"`
	Message string `json:"message"`
}

func (s *Service) postEmailCode(ctx context.Context, c *call, in codeRequest) (authResult, error) {
	return s.verifyCode(ctx, c, notify.Email, in)
}

func (s *Service) postPhoneCode(ctx context.Context, c *call, in codeRequest) (phoneResult, error) {
	out, err := s.verifyCode(ctx, c, notify.SMS, in)
	return phoneResult{out, "success", "You are signed in."}, err
}

// verifyCode ends an attempt by its code. One that is over, another's or none at all
// is refused as a wrong code is.
func (s *Service) verifyCode(ctx context.Context, c *call, channel string, in codeRequest) (authResult, error) {
	a, err := s.attempt(ctx, c, cmp.Or(in.State, in.StateID))
	if err == nil && (a.Channel != channel || !a.ProvedAt.IsZero()) {
		err = ErrAttempt.Because("not waiting for this code")
	}
	if errors.Is(err, ErrAttempt) {
		err = passwordless.ErrCode.Because("%w", err)
	}
	if err != nil {
		return authResult{}, err
	}
	method := methodOf(channel)
	ticket, err := s.Codes.Guess(ctx, c.by, passwordless.Claim{ID: a.ChallengeID, Attempt: a.ID, Purpose: purposeOf(a), Target: a.Identifier, Code: in.OTP, Backend: c.backend})
	if err != nil {
		return authResult{}, s.refuse(ctx, c, a, method, err)
	}
	var admitted admission
	var lacking lack
	err = s.writeNew(ctx, func(tx *database.Tx) error {
		challenge, err := s.Codes.RedeemCode(ctx, tx, c.by, ticket)
		if err != nil {
			return err
		}
		u, err := s.ensure(ctx, tx, c.visit, a, challenge.Channel, challenge.Target)
		if err != nil {
			return err
		}
		admitted, lacking, err = s.admitFirst(ctx, tx, c, a, proof{u, method, amrOf(method)}, passwordless.ErrCode.Because("handed out already"))
		return err
	})
	if err != nil {
		return authResult{}, s.refuse(ctx, c, a, method, err)
	}
	if lacking.Second {
		needed, err := s.needed(ctx, c, a, lacking)
		return authResult{TokenType: "Bearer", mfaNeeded: needed}, err
	}
	return s.result(ctx, c, admitted)
}

// writeNew is DB.Write for what may sign somebody up: if another request did so with
// the same address at the same moment, it finds them the second time.
func (s *Service) writeNew(ctx context.Context, write func(tx *database.Tx) error) error {
	err := s.DB.Write(ctx, write)
	if errors.Is(err, user.ErrExists) {
		err = s.DB.Write(ctx, write)
	}
	return err
}

// refuse writes a failed try to the log and returns why it failed. What is no problem
// is a fault of ours, and no try of anybody's.
func (s *Service) refuse(ctx context.Context, c *call, a attempt, method string, why error) error {
	p, ok := problem.From(why)
	if !ok {
		return why
	}
	u, err := s.find(ctx, s.DB, c.visit, a.Identifier)
	if err == nil {
		err = s.fail(ctx, c.visit, a, u.ID, method, p.Code)
	}
	if err != nil {
		return err
	}
	return why
}

// An admission is what a sign-in by the API ends in.
type admission struct {
	user  user.User
	grant session.Grant
}

// admitFirst is admit for what the first factor has shown, unless a second one is needed.
func (s *Service) admitFirst(ctx context.Context, tx *database.Tx, c *call, a attempt, p proof, again error) (out admission, l lack, err error) {
	if a, err = shows(a, p, tx.Now); err != nil {
		return out, l, err
	}
	if l, err = s.lacks(ctx, tx, c.visit, a, p.user); err != nil {
		return out, l, err
	}
	if l.Second {
		noteProof(tx, c.by.Tenant, a)
		return out, l, nil
	}
	out, err = s.admitted(ctx, tx, c, a, p.user, l, again)
	return out, l, err
}

// admit ends an attempt that was proved, in a session and a grant for the application, or
// fails with again if it was ended so before. There is no browser, so nobody holds the session's token:
// the session is what the user and administrators see and end, and lives as long as the
// grant can.
func (s *Service) admit(ctx context.Context, tx *database.Tx, c *call, a attempt, u user.User, again error) (admission, error) {
	if !u.IsActive {
		return admission{}, ErrDisabled
	}
	lacking, err := s.lacks(ctx, tx, c.visit, a, u)
	if err != nil {
		return admission{}, err
	}
	return s.admitted(ctx, tx, c, a, u, lacking, again)
}

func (s *Service) admitted(ctx context.Context, tx *database.Tx, c *call, a attempt, u user.User, lacking lack, again error) (out admission, err error) {
	switch { // this API has no pages; see mfa_api.go for the calls for a second factor
	case lacking.entry.refused != nil:
		return out, lacking.entry.refused
	case lacking.Second:
		return out, ErrSecondFactor
	}
	by, life := c.by, token.GrantLifetimes(c.app)
	by.Name = "user:" + u.ID
	in := lacking.entry.session(a, tx.Now)
	life = life.Within(in.Limit)
	in.Limit.Idle = 0 // the session is used by nobody, the grant is
	shown := session.Proof{AMR: a.amr(amrOf(a.Method)), ACR: a.acr(), At: a.ProvedAt, Ways: a.ways(), Entry: in}
	live, _, err := s.Sessions.Start(ctx, tx, by, u.ID, c.app.ID, shown, c.from, session.Lifetimes{Idle: life.Absolute, Absolute: life.Absolute})
	if err != nil {
		return out, err
	}
	out.grant, err = s.Sessions.OpenNew(tx, by, session.Grant{
		UserID: u.ID, SessionID: live.ID, ApplicationID: c.app.ID, OrganizationID: in.Organization, Scope: apiScope,
		Detail: session.Detail{AuthAt: shown.At, AMR: shown.AMR, ACR: shown.ACR, Open: true},
	}, life)
	if err != nil {
		return out, err
	}
	if err := s.meetBrowser(ctx, tx, c.visit, c.app.ID, u); err != nil {
		return out, err
	}
	handOut(tx, by.Tenant, a, live.ID, again)
	s.Users.NoteSignIn(tx, by.Tenant, u.ID)
	out.user = u
	out.user.LastLoginAt = tx.Now
	return out, audit.Append(tx, by, s.event(c.visit, a, "signin.succeeded", audit.Success, ""))
}

// issue makes the tokens of an admission, outside of the transaction: signing must not
// hold one up.
func (s *Service) issue(ctx context.Context, c *call, in admission) (token.Tokens, error) {
	var o token.Options
	if c.app.May(tenant.GrantRefresh) {
		var err error
		if o.Refresh, err = s.Sessions.RefreshToken(ctx, c.by.Tenant, in.grant); err != nil {
			return token.Tokens{}, err
		}
	}
	return s.Tokens.Issue(ctx, c.tenant, c.app, in.grant, o)
}

func (s *Service) result(ctx context.Context, c *call, in admission) (authResult, error) {
	t, err := s.issue(ctx, c, in)
	return authResult{
		Authenticated: true, AccessToken: t.Access, RefreshToken: t.Refresh, TokenType: t.Type, ExpiresAt: stamp(t.ExpiresAt, expiryForm),
		Profile: user.ShortForm(c.by.Tenant, in.user),
	}, err
}

// getVerify uses a link up and says so on a page. Whoever began goes on.
func (s *Service) getVerify(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	c, err := s.call(w, r)
	if err != nil {
		return err
	}
	state, err := web.Query(r, "state")
	if err != nil {
		return err
	}
	text, err := web.Query(r, "magictext")
	if err != nil {
		return err
	}
	a, err := s.verifyLink(ctx, c, state, text)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, &page.LinkDone{
		View: c.view, Purpose: page.LinkSignIn, App: s.app(ctx, c.by.Tenant, a), NextURL: s.afterLink(ctx, c.visit, a), Title: "Successfully verified",
	})
}

// verifyLink proves who has the mail to an attempt, by the link in it.
func (s *Service) verifyLink(ctx context.Context, c *call, state, text string) (attempt, error) {
	if err := s.Limits.Take(ctx, c.by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", c.by.IP))); err != nil {
		return attempt{}, err
	}
	a, err := s.attempt(ctx, c, state)
	if errors.Is(err, ErrAttempt) {
		err = passwordless.ErrLinkSpent.Because("%w", err)
	}
	if err != nil {
		return attempt{}, err
	}
	err = s.writeNew(ctx, func(tx *database.Tx) error {
		challenge, err := s.Codes.RedeemLink(ctx, tx, c.by, purposeOf(a), text)
		if err != nil {
			return err
		}
		if challenge.Attempt != a.ID {
			return passwordless.ErrLinkSpent.Because("the link of another sign-in")
		}
		u, err := s.ensure(ctx, tx, c.visit, a, challenge.Channel, challenge.Target)
		if err != nil {
			return err
		}
		_, err = s.prove(ctx, tx, c.by, a, proof{u, methodEmailLink, amrOf(methodEmailLink)})
		return err
	})
	if err != nil {
		return attempt{}, s.refuse(ctx, c, a, methodEmailLink, err)
	}
	return a, nil
}

type statusRequest struct {
	State string `query:"state" doc:"From sending, or from the address that the link led on to"`
}

type pingStatus struct {
	Authenticated bool       `json:"authenticated"`
	OAuth         *oauth     `json:"oauth"`
	User          *loginUser `json:"user"`
	mfaNeeded
}

type oauth struct {
	AccessToken  string `json:"access_token" doc:"JWT, RFC 9068"`
	RefreshToken string `json:"refresh_token" doc:"Empty if the application may have none"`
	ExpiresAt    string `json:"expires_at" doc:"When the access token expires"`
	TokenType    string `json:"token_type"`
}

// loginUser is a third form of a user, of this answer alone.
type loginUser struct {
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
	Issuer      string `json:"issuer" doc:"The tenant's address, as in its tokens"`
	UserID      string `json:"user_id"`
	Identifier  string `json:"identifier" doc:"E-mail address, else phone number, else username"`
	Email       string `json:"email" doc:"Empty if the user has none"`
	LastLoginAt string `json:"last_login_at"`
}

// errHanded says that another request was handed the tokens.
var errHanded = errors.New("handed out already")

// getStatus hands out what a link has led to, once.
func (s *Service) getStatus(ctx context.Context, c *call, in statusRequest) (pingStatus, error) {
	a, err := s.attempt(ctx, c, in.State)
	if err != nil || a.ProvedAt.IsZero() || a.Method == methodApplication {
		return pingStatus{}, err
	}
	if a.handed {
		return pingStatus{Authenticated: true}, nil
	}
	lacking, _, err := s.lacksNow(ctx, c.visit, a)
	if errors.Is(err, user.ErrNotFound) {
		err = ErrAttempt.Because("the user is gone")
	}
	if err != nil {
		return pingStatus{}, err
	}
	if lacking.Second {
		needed, err := s.needed(ctx, c, a, lacking)
		return pingStatus{mfaNeeded: needed}, err
	}
	var admitted admission
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.Users.Find(ctx, tx, access.System(c.by.Tenant), a.UserID)
		if errors.Is(err, user.ErrNotFound) {
			err = ErrAttempt.Because("the user is gone")
		}
		if err == nil {
			admitted, err = s.admit(ctx, tx, c, a, u, errHanded)
		}
		return err
	})
	if errors.Is(err, errHanded) {
		return pingStatus{Authenticated: true}, nil
	}
	if err != nil {
		return pingStatus{}, err
	}
	t, err := s.issue(ctx, c, admitted)
	if err != nil {
		return pingStatus{}, err
	}
	return s.status(ctx, c, admitted.user, t)
}

func (s *Service) status(ctx context.Context, c *call, u user.User, t token.Tokens) (pingStatus, error) {
	issuer, err := s.Tenants.Origin(ctx, c.tenant)
	return pingStatus{
		Authenticated: true,
		OAuth:         &oauth{AccessToken: t.Access, RefreshToken: t.Refresh, ExpiresAt: stamp(t.ExpiresAt, expiryForm), TokenType: t.Type},
		User: &loginUser{
			CreatedAt: stamp(u.CreatedAt, stampForm), UpdatedAt: stamp(u.ModifiedAt, stampForm), Issuer: issuer, UserID: u.ID,
			Identifier: cmp.Or(u.Email, u.Phone, u.Username), Email: u.Email, LastLoginAt: stamp(u.LastLoginAt, stampForm),
		},
	}, err
}

type refreshRequest struct {
	RefreshToken string `query:"refresh_token"`
}

// getRefresh gives the next tokens of a grant. The application proves nothing here, so
// it is for those that can not, and for grants that were got without: a refresh token
// that a confidential application has lost is worth nothing without its secret.
func (s *Service) getRefresh(ctx context.Context, c *call, in refreshRequest) (pingStatus, error) {
	if c.app.ID == "" {
		return pingStatus{}, tenant.ErrClient
	}
	g, err := s.Sessions.Behind(ctx, c.by.Tenant, in.RefreshToken)
	if err != nil {
		return pingStatus{}, err
	}
	if !c.app.May(tenant.GrantRefresh) || !c.app.IsPublic() && !g.Detail.Open {
		return pingStatus{}, session.ErrGrant.Because("not without the application's secret")
	}
	g, next, err := s.Sessions.Refresh(ctx, c.by, in.RefreshToken, c.app.ID, "")
	if err != nil {
		return pingStatus{}, err
	}
	u, err := s.Users.Find(ctx, s.DB, access.System(c.by.Tenant), g.UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
		err = session.ErrGrant.Because("the user is gone or disabled")
	}
	if err != nil {
		return pingStatus{}, err
	}
	t, err := s.Tokens.Issue(ctx, c.tenant, c.app, g, token.Options{Refresh: next})
	if err != nil {
		return pingStatus{}, err
	}
	return s.status(ctx, c, u, t)
}
