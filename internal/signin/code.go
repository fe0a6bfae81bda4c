package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// sendCode sends a link and code for an attempt. To somebody who may not come in
// nothing is sent, but all the work is done.
func (s *Service) sendCode(ctx context.Context, tx *database.Tx, v *visit, a attempt) error {
	u, err := s.find(ctx, tx, v, a.Identifier)
	if err != nil {
		return err
	}
	welcome, err := s.takesNew(ctx, tx, v, a, a.Identifier)
	if err != nil {
		return err
	}
	origin, from, language := v.origin, deviceOf(v.from), v.view.Lang.Tag
	if v.backend && u.Language != "" { // it says nothing of who reads the letter
		language = u.Language
	}
	c, err := s.Codes.Send(ctx, tx, v.by, passwordless.Request{
		Attempt: a.ID, Purpose: purposeOf(a), Channel: a.Channel, Target: a.Identifier, Backend: v.backend,
		Silent: u.ID == "" && !welcome || u.ID != "" && !u.IsActive,
		Look: passwordless.Look{
			Brand: letter.BrandOf(v.tenant), Language: language, Application: s.appBy(ctx, tx, v.by.Tenant, a).Name, Device: from.Name, Place: from.Place,
			Link: func(token string) string { return origin + pathLink + "?token=" + url.QueryEscape(token) }, Host: web.CanonicalHost(strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://")),
		},
	})
	if err != nil {
		return err
	}
	return challengeAttempt(ctx, tx, v.by.Tenant, a.ID, c.ID)
}

// purposeOf is what the message of an attempt is for.
func purposeOf(a attempt) string {
	if a.Request.SignUp {
		return passwordless.SignUp
	}
	return passwordless.SignIn
}

// showCode waits for the code.
func (s *Service) showCode(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	p, err := s.codePage(r.Context(), v, a)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) codePage(ctx context.Context, v *visit, a attempt) (*page.CodeSent, error) {
	p := &page.CodeSent{
		View: v.view, SMS: a.Channel == notify.SMS, Address: a.Identifier, Action: pathCode, ResendAction: pathResend,
		BackURL: withState(pathSignIn, v.view.State, "change", "1"), FinishAction: pathFinish,
	}
	if !p.SMS {
		p.Number, p.WaitURL = a.Request.Number, withState(pathWait, v.view.State)
	}
	if !a.Request.SignUp {
		p.Passkey = v.passkeyPrompt(true)
	}
	if !v.tenant.Settings.SignIn.NoPassword && !a.Request.SignUp {
		p.PasswordURL = withState(pathPassword, v.view.State)
	}
	if a.ChallengeID == "" {
		return p, nil
	}
	c, err := s.Codes.Find(ctx, s.DB, v.by.Tenant, a.ChallengeID)
	if errors.Is(err, passwordless.ErrNotFound) {
		return p, nil
	}
	p.ResendAt = c.ResendAt()
	return p, err
}

// postCode takes the code from the message.
func (s *Service) postCode(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	failed := func(err error) error {
		p, later := s.codePage(ctx, v, a)
		if later != nil {
			return later
		}
		p.Code = clip(r.PostFormValue("code"))
		return again(w, r, &p.View, err, p)
	}
	if err := needCode(r); err != nil {
		return failed(err)
	}
	ticket, err := s.Codes.Guess(ctx, v.by, passwordless.Claim{ID: a.ChallengeID, Attempt: a.ID, Purpose: purposeOf(a), Target: a.Identifier, Code: r.PostFormValue("code")})
	if err != nil {
		u, later := s.find(ctx, s.DB, v, a.Identifier)
		if later == nil {
			later = s.fail(ctx, v, a, u.ID, methodOf(a.Channel), "code_invalid")
		}
		if later != nil {
			return later
		}
		return failed(err)
	}
	return s.finish(w, r, v, a, failed, func(tx *database.Tx) (proof, error) {
		c, err := s.Codes.RedeemCode(ctx, tx, v.by, ticket)
		if err != nil {
			return proof{}, err
		}
		u, err := s.ensure(ctx, tx, v, a, c.Channel, c.Target)
		return proof{u, methodOf(c.Channel), amrOf(methodOf(c.Channel))}, err
	})
}

// errNoCode is for a form that was sent without a code, which is no try at one.
var errNoCode = problem.New(problem.Invalid, "required", "Fill this in.").In("code")

func needCode(r *http.Request) error {
	if strings.TrimSpace(r.PostFormValue("code")) == "" {
		return errNoCode
	}
	return nil
}

func methodOf(channel string) string {
	if channel == notify.SMS {
		return methodSMSCode
	}
	return methodEmailCode
}

// postResend sends another link and code: from the page that waits for one, or
// instead of a password.
func (s *Service) postResend(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	settings := v.tenant.Settings.SignIn
	if a.Channel == "" || a.Channel == notify.Email && settings.NoEmail || a.Channel == notify.SMS && !settings.SMS {
		return ErrNotOffered
	}
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error { return s.sendCode(r.Context(), tx, v, a) })
	if err != nil && a.ChallengeID == "" {
		p := s.passwordPage(v, a)
		return again(w, r, &p.View, err, p)
	}
	if err != nil {
		p, later := s.codePage(r.Context(), v, a)
		if later != nil {
			return later
		}
		return again(w, r, &p.View, err, p)
	}
	return to(w, r, pathSignIn, "state", v.view.State)
}

// pageLink is where the link of a mail leads. Mail programs and scanners open it, so it
// changes nothing: its button does.
func (s *Service) pageLink(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	p, _, _, err := s.linkPage(r.Context(), v, r.URL.Query().Get("token"))
	if err != nil {
		return err
	}
	v.view.Here = ""
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) linkPage(ctx context.Context, v *visit, token string) (*page.LinkConfirm, passwordless.Challenge, attempt, error) {
	c, err := s.Codes.PeekLink(ctx, s.DB, v.by.Tenant, token)
	if err != nil {
		return nil, c, attempt{}, err
	}
	a, err := findAttempt(ctx, s.DB, v.by.Tenant, "id", c.Attempt, s.DB.Now())
	if err != nil {
		return nil, c, a, err
	}
	p := &page.LinkConfirm{View: v.view, Purpose: page.LinkSignIn, App: s.app(ctx, v.by.Tenant, a), Address: c.Target, Token: token, Action: pathLink}
	if a.Request.SignUp {
		p.Purpose = page.LinkSignUp
	}
	if !a.isOf(v) && a.browser != nil {
		p.AskNumber, p.AskedFrom = true, deviceOf(a.Request.From)
	}
	return p, c, a, nil
}

// isOf reports whether the attempt was begun in this browser.
func (a attempt) isOf(v *visit) bool {
	return a.browser != nil && secret.Equal(a.browser, hashOf(v.browser))
}

// postLink uses the link up. In the browser that asked for it, it signs in there and
// then. In another it needs the number that is shown in the first, which then goes on:
// so nobody is talked into signing in a stranger's browser with a click.
func (s *Service) postLink(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if err := s.Limits.Take(ctx, v.by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", v.by.IP))); err != nil {
		return err
	}
	token := r.PostFormValue("token")
	p, c, a, err := s.linkPage(ctx, v, token)
	if err != nil {
		return err
	}
	redeem := func(tx *database.Tx) (proof, error) {
		if _, err := s.Codes.RedeemLink(ctx, tx, v.by, purposeOf(a), token); err != nil {
			return proof{}, err
		}
		u, err := s.ensure(ctx, tx, v, a, c.Channel, c.Target)
		return proof{u, methodEmailLink, amrOf(methodEmailLink)}, err
	}
	if a.isOf(v) {
		return s.finish(w, r, v, a, nil, redeem)
	}
	if a.browser != nil {
		if err := s.checkNumber(ctx, v, a, r.PostFormValue("number")); err != nil {
			return again(w, r, &p.View, err, p)
		}
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		proved, err := redeem(tx)
		if err == nil {
			_, err = s.prove(ctx, tx, v.by, a, proved)
		}
		return err
	})
	if err != nil {
		return err
	}
	done := &page.LinkDone{View: v.view, Purpose: p.Purpose, App: p.App}
	done.NextURL = s.afterLink(ctx, v, a)
	return page.Render(w, r, http.StatusOK, done)
}

// afterLink is where the browser goes that opened the link of an attempt begun by the
// API: to the application, which asks by "state" what became of it.
func (s *Service) afterLink(ctx context.Context, v *visit, a attempt) string {
	if a.browser != nil {
		return ""
	}
	app, err := s.Tenants.ActiveApplication(ctx, v.by.Tenant, a.ApplicationID)
	if err != nil || len(app.RedirectURIs) == 0 || a.Request.Handle == "" {
		return ""
	}
	u, err := url.Parse(app.RedirectURIs[0])
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("state", a.Request.Handle)
	u.RawQuery = q.Encode()
	return u.String()
}

// checkNumber counts a number before it compares it: the third wrong one was the last.
func (s *Service) checkNumber(ctx context.Context, v *visit, a attempt, number string) error {
	if err := s.DB.Write(ctx, func(tx *database.Tx) error { return tryNumber(ctx, tx, v.by.Tenant, a.ID) }); err != nil {
		return err
	}
	if !secret.Equal(secret.Hash(number), secret.Hash(a.Request.Number)) {
		return ErrNumber
	}
	return nil
}
