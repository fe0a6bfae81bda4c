package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// The second factor. What was proved before it gives nothing: there is no session, only
// an attempt. Whoever guesses too often loses what all their attempts have proved, so
// that waiting does not bring the next guess without the first factor.

// Addresses of the second factor.
const (
	pathSecond       = "/signin/second"
	pathSecondSend   = "/signin/second/send"
	pathSecondEnroll = "/signin/second/enroll"
	pathConfirm      = "/signin/second/confirm"
	pathRecover      = "/signin/recover"
)

// ErrSecondFactor says that one factor is not enough, where no other can be asked for.
var ErrSecondFactor = problem.New(problem.Forbidden, "mfa_required", "A second factor is needed.")

// A lack is what an attempt that has proved one factor still needs.
type lack struct {
	mfa.Decision
	policy mfa.Policy
	who    *mfa.Person // nil if it did not matter
	// Remembered says that nothing more is needed because of this browser alone.
	Remembered bool
	entry      entry // into an organization, or none
}

// isOpen reports whether anything is missing.
func (l lack) isOpen() bool {
	return l.Second || l.entry.choose || l.entry.refused != nil
}

// lacks says what an attempt still needs beside the first factor.
func (s *Service) lacks(ctx context.Context, db database.Reader, v *visit, a attempt, u user.User) (lack, error) {
	var l lack
	app, err := s.applicationOf(ctx, db, v, a.ApplicationID)
	if err != nil {
		return l, err
	}
	if l.entry, err = s.entering(ctx, db, v, a, u); err != nil {
		return l, err
	}
	l.policy = mfa.PolicyOf(v.tenant, app)
	l.policy.Mode = l.entry.tighten(l.policy.Mode)
	if !a.SecondAt.IsZero() {
		return l, nil
	}
	if a.Request.Recovery != nil {
		l.Decision = mfa.Decision{Second: true, Enroll: true, Must: true}
		return l, nil
	}
	if countsTwo(a.Method) {
		return l, nil // nothing is asked for, whatever the user could show
	}
	who, err := s.factorsOf(ctx, db, v, u)
	if err != nil {
		return l, err
	}
	l.who = &who
	l.Decision = l.policy.Decide(who, mfa.Shown{First: factorOf(a.Method), Asked: a.Request.asksTwo()})
	if l.Second && !l.Enroll && !a.Request.asksTwo() && l.policy.Remember {
		l.Remembered, err = s.MFA.Remembers(ctx, db, v.by.Tenant, u.ID, hashOf(v.browser), v.remembered)
		l.Second = !l.Remembered
	}
	return l, err
}

// lacksNow is lacks for the user that an attempt has proved.
func (s *Service) lacksNow(ctx context.Context, v *visit, a attempt) (lack, user.User, error) {
	u, err := s.Users.Find(ctx, s.DB, access.System(v.by.Tenant), a.UserID)
	if err != nil {
		return lack{}, u, err
	}
	l, err := s.lacks(ctx, s.DB, v, a, u)
	return l, u, err
}

// applicationOf is the application of an attempt; the zero value for pages of our own.
// It reads with what it is given: within a transaction another connection may not be
// had.
func (s *Service) applicationOf(ctx context.Context, db database.Reader, v *visit, id string) (tenant.Application, error) {
	if id == v.app.ID {
		return v.app, nil
	}
	if id == "" {
		return tenant.Application{}, nil
	}
	app, err := s.Tenants.Application(ctx, db, access.System(v.by.Tenant), id)
	if errors.Is(err, tenant.ErrApplicationNotFound) {
		return tenant.Application{}, nil // nothing is handed to it any more
	}
	return app, err
}

// factorsOf is what a user could show as a second factor.
func (s *Service) factorsOf(ctx context.Context, db database.Reader, v *visit, u user.User) (who mfa.Person, err error) {
	if who, err = s.factorsButPasskeys(ctx, db, v, u); err != nil {
		return who, err
	}
	who.Passkeys, err = s.usablePasskeys(ctx, db, v, u.ID)
	return who, err
}

// factorsButPasskeys is factorsOf for where passkeys do not matter.
func (s *Service) factorsButPasskeys(ctx context.Context, db database.Reader, v *visit, u user.User) (who mfa.Person, err error) {
	who = mfa.Person{Roles: u.RoleIDs, Email: u.EmailVerified, Phone: u.PhoneVerified}
	who.Enrolled, err = s.MFA.Enrolled(ctx, db, v.by.Tenant, u.ID)
	return who, err
}

// factorOf is the kind of factor that a method has proved.
func factorOf(method string) string {
	switch method {
	case methodEmailCode, methodEmailLink:
		return mfa.Email
	case methodSMSCode:
		return mfa.SMS
	}
	return method
}

// Suffices reports whether a session proves as much as an application needs of it: a
// browser can be signed in with less, by another application.
func (s *Service) Suffices(ctx context.Context, tenantID string, in session.Session, app tenant.Application) (bool, error) {
	if in.ACR == ACRTwoFactors || slices.Contains(in.AMR, amrRemembered) {
		return true, nil
	}
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return false, err
	}
	policy := mfa.PolicyOf(t, app)
	if policy.Requires(nil) || len(policy.Roles) == 0 {
		return !policy.Requires(nil), nil
	}
	u, err := s.Users.Find(ctx, s.DB, access.System(tenantID), in.UserID)
	return !policy.Requires(u.RoleIDs), err
}

// pageSecond is where the person chooses among their second factors.
func (s *Service) pageSecond(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	return s.orShow(w, r, v, a, s.showSecond)
}

// orShow runs a step of the second factor, if that is what is missing.
func (s *Service) orShow(w http.ResponseWriter, r *http.Request, v *visit, a attempt, step func(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error) error {
	if a.ProvedAt.IsZero() || !a.FinishedAt.IsZero() {
		return s.show(w, r, v, a)
	}
	l, u, err := s.lacksNow(r.Context(), v, a)
	if err != nil {
		return err
	}
	if !l.Second {
		return s.show(w, r, v, a)
	}
	return step(w, r, v, a, u, l)
}

// second is a handler for a form of the second factor.
func (s *Service) second(step func(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error) func(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	return func(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
		return s.orShow(w, r, v, a, step)
	}
}

// showSecond shows what is missing: the factor that the address names, else the one
// that asks for nothing to be sent, else all there are.
func (s *Service) showSecond(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	if l.Enroll {
		return s.showEnroll(w, r, v, a, u, l)
	}
	way := r.URL.Query().Get("way")
	switch {
	case way == "" && l.Kinds[0] == mfa.TOTP:
		way = mfa.TOTP
	case !slices.Contains(l.Kinds, way), isSent(way) && a.SecondChallenge == "", way == mfa.Passkey:
		return page.Render(w, r, http.StatusOK, s.secondChoice(r.Context(), v, a, u, l))
	}
	p, err := s.secondPage(r.Context(), v, a, u, l, way)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

// isSent reports whether a factor is a code that we send.
func isSent(factor string) bool { return factor == mfa.SMS || factor == mfa.Email }

func (s *Service) secondChoice(ctx context.Context, v *visit, a attempt, u user.User, l lack) *page.SecondChoice {
	p := &page.SecondChoice{View: v.view, App: s.app(ctx, v.by.Tenant, a), BackURL: withState(pathSignIn, v.view.State, "change", "1")}
	for _, kind := range l.Kinds {
		if kind == mfa.Passkey {
			p.Passkey = v.passkeyPrompt(true)
			continue
		}
		way := page.SecondWay{Kind: kind, Address: masked(targetOf(u, kind))}
		if isSent(kind) {
			way.Action = pathSecondSend
		} else {
			way.URL = withState(pathSecond, v.view.State, "way", kind)
		}
		p.Ways = append(p.Ways, way)
	}
	return p
}

// targetOf is where a code that is sent goes.
func targetOf(u user.User, factor string) string {
	switch factor {
	case mfa.SMS:
		return u.Phone
	case mfa.Email:
		return u.Email
	}
	return ""
}

// masked is an address that whoever knows it recognises: who has only a password need
// not learn where else its owner is reached.
func masked(address string) string {
	name, domain, isMail := strings.Cut(address, "@")
	switch {
	case address == "":
		return ""
	case isMail:
		first := []rune(name)[:1]
		return string(first) + "•••@" + domain
	}
	return "••• " + address[max(0, len(address)-3):]
}

func (s *Service) secondPage(ctx context.Context, v *visit, a attempt, u user.User, l lack, way string) (*page.SecondCode, error) {
	p := &page.SecondCode{
		View: v.view, Kind: way, Address: masked(targetOf(u, way)), Action: pathSecond, Remember: l.policy.Remember && !a.Request.asksTwo(),
		BackURL: withState(pathSignIn, v.view.State, "change", "1"),
	}
	if len(l.Kinds) > 1 {
		p.OtherURL = withState(pathSecond, v.view.State, "way", "choose")
	}
	if !isSent(way) {
		return p, nil
	}
	p.ResendAction = pathSecondSend
	c, err := s.Codes.Find(ctx, s.DB, v.by.Tenant, a.SecondChallenge)
	if errors.Is(err, passwordless.ErrNotFound) {
		return p, nil
	}
	p.ResendAt = c.ResendAt()
	return p, err
}

// postSecondSend sends a code to the user's own address or number.
func (s *Service) postSecondSend(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	ctx, way := r.Context(), r.PostFormValue("way")
	if !isSent(way) || !slices.Contains(l.Kinds, way) {
		return s.showSecond(w, r, v, a, u, l)
	}
	if err := s.sendSecond(ctx, v, a, u, way); err != nil {
		p := s.secondChoice(ctx, v, a, u, l)
		return again(w, r, &p.View, err, p)
	}
	return to(w, r, pathSecond, "state", v.view.State, "way", way)
}

func (s *Service) sendSecond(ctx context.Context, v *visit, a attempt, u user.User, way string) error {
	look, err := s.look(ctx, v)
	if err != nil {
		return err
	}
	look.Application = s.app(ctx, v.by.Tenant, a).Name
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		c, err := s.Codes.Send(ctx, tx, v.by, passwordless.Request{
			Attempt: a.ID, Purpose: passwordless.SecondFactor, Channel: channelOf(way), Target: targetOf(u, way), Look: look,
		})
		if err != nil {
			return err
		}
		return challengeSecond(ctx, tx, v.by.Tenant, a, c.ID)
	})
}

func channelOf(factor string) string {
	if factor == mfa.SMS {
		return notify.SMS
	}
	return notify.Email
}

// postSecond takes the code of a second factor.
func (s *Service) postSecond(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	ctx, way := r.Context(), r.PostFormValue("way")
	if l.Enroll || !slices.Contains(l.Kinds, way) || way == mfa.Passkey {
		return s.showSecond(w, r, v, a, u, l)
	}
	var redeem func(tx *database.Tx, by access.Actor) error
	err := needCode(r)
	if err == nil {
		redeem, err = s.guessSecond(ctx, v, a, u, way, r.PostFormValue("code"))
	}
	if err == nil {
		return s.finishSecond(w, r, v, a, u, l, way, redeem)
	}
	p, later := s.secondPage(ctx, v, a, u, l, way)
	if later != nil {
		return later
	}
	return again(w, r, &p.View, err, p)
}

// guessSecond counts a try at a second factor and judges it. What it returns uses the
// code up.
func (s *Service) guessSecond(ctx context.Context, v *visit, a attempt, u user.User, way, code string) (redeem func(tx *database.Tx, by access.Actor) error, err error) {
	if !isSent(way) {
		ticket, err := s.MFA.Guess(ctx, v.by, u.ID, way, code)
		if err != nil {
			return nil, s.lockedOut(ctx, v, u, err)
		}
		return func(tx *database.Tx, by access.Actor) error { return s.MFA.Redeem(ctx, tx, by, ticket) }, nil
	}
	if err := s.MFA.Count(ctx, v.by, u.ID); err != nil {
		return nil, s.lockedOut(ctx, v, u, err)
	}
	ticket, err := s.Codes.Guess(ctx, v.by, passwordless.Claim{ID: a.SecondChallenge, Attempt: a.ID, Purpose: passwordless.SecondFactor, Target: targetOf(u, way), Code: code})
	if err != nil {
		return nil, errors.Join(err, s.MFA.Failed(ctx, v.by, u.ID, way, err))
	}
	return func(tx *database.Tx, by access.Actor) error {
		if _, err := s.Codes.RedeemCode(ctx, tx, by, ticket); err != nil {
			return err
		}
		return s.MFA.Used(tx, by, u.ID, way)
	}, nil
}

// lockedOut makes void what all sign-ins of a user have proved, if there were too many
// tries: when the lock ends, the first factor is asked for again.
func (s *Service) lockedOut(ctx context.Context, v *visit, u user.User, why error) error {
	if !errors.Is(why, ratelimit.ErrLimited) {
		return why
	}
	return errors.Join(why, s.DB.Write(ctx, func(tx *database.Tx) error {
		n, err := unproveAttempts(ctx, tx, v.by.Tenant, u.ID)
		if err != nil || n == 0 {
			return err
		}
		return audit.Append(tx, v.by, audit.Event{Action: "mfa.locked", Target: "user", TargetID: u.ID, Result: audit.Failure, Reason: ratelimit.ErrLimited.Code, Detail: map[string]any{"attempts": n}})
	}))
}

// finishSecond ends an attempt whose second factor was proved, and remembers the
// browser if the person wants that.
func (s *Service) finishSecond(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack, way string, redeem func(tx *database.Tx, by access.Actor) error) error {
	ctx, remembered := r.Context(), ""
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (b attempt, p proof, err error) {
		if b, p, err = s.proveSecond(ctx, tx, v, a, way, redeem); err == nil && r.PostFormValue("remember") == "1" && l.policy.Remember {
			remembered, err = s.MFA.Remember(ctx, tx, userActor(v, u), u.ID, hashOf(v.browser), v.from)
		}
		return b, p, err
	})
	if err != nil {
		p, later := s.secondPage(ctx, v, a, u, l, way)
		if later != nil {
			return later
		}
		return again(w, r, &p.View, err, p)
	}
	if remembered != "" {
		v.keepRemembered(w, r, remembered)
	}
	return s.proceed(w, r, v, a, in, finished, nil)
}

// proveSecond uses up what proves the second factor. It is stored with what comes of it.
func (s *Service) proveSecond(ctx context.Context, tx *database.Tx, v *visit, a attempt, way string, redeem func(tx *database.Tx, by access.Actor) error) (b attempt, p proof, err error) {
	if p, err = s.provedBefore(ctx, tx, v, a); err != nil {
		return a, p, err
	}
	if err := redeem(tx, userActor(v, p.user)); err != nil {
		return a, p, err
	}
	if a.ProvedAt.IsZero() {
		return a, p, ErrAttempt.Because("nothing is proved")
	}
	a.SecondMethod, a.SecondAt = way, tx.Now
	return a, p, nil
}

// userActor is a user as an actor who may do nothing that takes a permission.
func userActor(v *visit, u user.User) access.Actor {
	by := v.by
	by.Name = "user:" + u.ID
	return by
}

// showEnroll shows that a second factor must be set up, and the key if that was begun.
func (s *Service) showEnroll(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, _ lack) error {
	id := r.URL.Query().Get("authenticator")
	if id == "" {
		return page.Render(w, r, http.StatusOK, s.enrollIntro(r.Context(), v, a))
	}
	p, err := s.enrollPage(r.Context(), v, a, u, id)
	if errors.Is(err, mfa.ErrEnrollment) {
		return page.Render(w, r, http.StatusOK, s.enrollIntro(r.Context(), v, a))
	}
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) enrollIntro(ctx context.Context, v *visit, a attempt) *page.SecondEnroll {
	return &page.SecondEnroll{View: v.view, App: s.app(ctx, v.by.Tenant, a), BeginAction: pathSecondEnroll, BackURL: withState(pathSignIn, v.view.State, "change", "1")}
}

func (s *Service) enrollPage(ctx context.Context, v *visit, a attempt, u user.User, id string) (*page.SecondEnroll, error) {
	key, err := s.keyPage(ctx, v, u, id)
	p := s.enrollIntro(ctx, v, a)
	p.Key, p.Action = key, pathConfirm
	return p, err
}

// keyPage is the key of an authenticator that waits, as pages show it.
func (s *Service) keyPage(ctx context.Context, v *visit, u user.User, id string) (page.Key, error) {
	e, err := s.MFA.Pending(ctx, v.by.Tenant, u.ID, id)
	if err != nil {
		return page.Key{}, err
	}
	uri := s.keyURI(v, u, e)
	path, size, err := mfa.Path(uri)
	return page.Key{ID: e.ID, Path: path, Size: size, Secret: e.Grouped(), URI: uri}, err
}

// postSecondEnroll makes the key of an authenticator.
func (s *Service) postSecondEnroll(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	if !l.Enroll {
		return s.showSecond(w, r, v, a, u, l)
	}
	e, err := s.MFA.Start(r.Context(), userActor(v, u), u.ID, r.PostFormValue("name"))
	if err != nil {
		p := s.enrollIntro(r.Context(), v, a)
		return again(w, r, &p.View, err, p)
	}
	return to(w, r, pathSecond, "state", v.view.State, "authenticator", e.ID)
}

// postConfirm takes the first code of an authenticator, which is the second factor
// then, and shows backup codes for the day it is lost. They are made with it, so that
// nobody is left without.
func (s *Service) postConfirm(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, l lack) error {
	ctx, id := r.Context(), r.PostFormValue("authenticator")
	if !l.Enroll {
		return s.showSecond(w, r, v, a, u, l)
	}
	failed := func(err error) error {
		p, later := s.enrollPage(ctx, v, a, u, id)
		if errors.Is(later, mfa.ErrEnrollment) {
			p, later = s.enrollIntro(ctx, v, a), nil
		}
		if later != nil {
			return later
		}
		return again(w, r, &p.View, err, p)
	}
	confirmed, err := s.MFA.Confirm(ctx, v.by, u.ID, id, r.PostFormValue("code"))
	if err != nil {
		return failed(err)
	}
	codes, err := s.MFA.MakeBackupCodes(ctx, v.by.Tenant, u.ID)
	if err != nil {
		return err
	}
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		return s.proveSecond(ctx, tx, v, a, mfa.TOTP, func(tx *database.Tx, by access.Actor) error {
			return s.enroll(ctx, tx, v, by, u, a.Request.Recovery, confirmed, codes)
		})
	})
	if err != nil {
		return failed(err)
	}
	v.view.Here = "" // in another language they would not be there
	p := &page.BackupCodes{View: v.view, Codes: codes.Codes, DownloadAction: pathCodes, NextURL: withState(pathSignIn, v.view.State)}
	if finished {
		v.enter(w, r, in)
		p.NextURL = a.Request.returnTo()
	}
	return page.Render(w, r, http.StatusOK, p)
}

// enroll makes an authenticator and backup codes the user's, in place of what was lost
// if an administrator's link says so, and tells the user.
func (s *Service) enroll(ctx context.Context, tx *database.Tx, v *visit, by access.Actor, u user.User, recovery []byte, c mfa.Confirmation, codes mfa.BackupCodes) error {
	if recovery != nil {
		if err := s.MFA.Recover(ctx, tx, by, u.ID, recovery); err != nil {
			return err
		}
		if err := s.Passkeys.Hold(ctx, tx, by, u.ID, "factor_recovery"); err != nil { // lost as well, or somebody else's
			return err
		}
	} else if has, err := s.MFA.Enrolled(ctx, tx, by.Tenant, u.ID); err != nil || has.Authenticators > 0 {
		return errors.Join(err, ErrAttempt.Because("a second factor was set up meanwhile: it has to be shown"))
	}
	if err := s.MFA.Enroll(ctx, tx, by, c); err != nil {
		return err
	}
	if err := s.MFA.ReplaceBackupCodes(ctx, tx, by, codes); err != nil {
		return err
	}
	return s.warn(ctx, tx, &owner{visit: v, user: u}, "factor_added")
}

// pageRecover is where the link of an administrator leads. Opening it changes nothing.
func (s *Service) pageRecover(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	token := r.URL.Query().Get("token")
	if _, err := s.MFA.PeekRecovery(r.Context(), s.DB, v.by.Tenant, token); err != nil {
		return err
	}
	v.view.Here = ""
	return page.Render(w, r, http.StatusOK, &page.Recover{View: v.view, Token: token, Action: pathRecover})
}

// postRecover begins a sign-in of the link's user that sets up another second factor.
// The link alone signs nobody in.
func (s *Service) postRecover(w http.ResponseWriter, r *http.Request) error {
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
	id, err := s.MFA.PeekRecovery(ctx, s.DB, v.by.Tenant, token)
	if err != nil {
		return err
	}
	_, handle, err := s.begin(ctx, v, request{UserID: id, Recovery: hashOf(token), After: s.DB.Now()})
	if err != nil {
		return err
	}
	return to(w, r, pathSignIn, "state", handle)
}
