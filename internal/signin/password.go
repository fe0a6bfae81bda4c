package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// pagePassword asks for the password, whatever else was started.
func (s *Service) pagePassword(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	if v.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	if !a.FinishedAt.IsZero() || a.Identifier == "" {
		return s.show(w, r, v, a)
	}
	return page.Render(w, r, http.StatusOK, s.passwordPage(v, a))
}

func (s *Service) passwordPage(v *visit, a attempt) *page.Password {
	settings := v.tenant.Settings.SignIn
	p := &page.Password{View: v.view, Passkey: v.passkeyPrompt(true), Identifier: a.Identifier, Action: pathPassword, NotYouURL: withState(pathSignIn, v.view.State, "change", "1"), ForgotURL: withState(pathForgot, v.view.State)}
	if a.Channel == notify.Email && !settings.NoEmail || a.Channel == notify.SMS && settings.SMS {
		p.CodeAction, p.CodeSMS = pathResend, a.Channel == notify.SMS
	}
	return p
}

// postPassword takes the password. The try counts before anything is looked at, and
// an account that is not there takes the same time.
func (s *Service) postPassword(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	if v.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	failed := func(err error) error {
		p := s.passwordPage(v, a)
		return again(w, r, &p.View, err, p)
	}
	u, err := s.find(ctx, s.DB, v, a.Identifier)
	if err != nil {
		return err
	}
	hash, uses, err := s.checkPassword(ctx, v, a.Identifier, u, r.PostFormValue("password"))
	if err != nil {
		if later := s.fail(ctx, v, a, u.ID, methodPassword, reasonOf(err)); later != nil {
			return later
		}
		return failed(err)
	}
	return s.finish(w, r, v, a, failed, func(tx *database.Tx) (proof, error) {
		s.Limits.Reset(tx, v.by.Tenant, uses...)
		password.Hold(tx, v.by.Tenant, u.ID, hash)
		return proof{u, methodPassword, amrOf(methodPassword)}, nil
	})
}

func reasonOf(err error) string {
	for _, p := range []*problem.Problem{ratelimit.ErrLimited, ErrSecondFactor, ErrSSORequired, ErrOrganizationWay} {
		if errors.Is(err, p) {
			return p.Code
		}
	}
	return "credentials_invalid"
}

// exactly makes an identifier count by itself: for a limit that a success takes back,
// two addresses of one mailbox must not be one.
func exactly(identifier string) string { return fmt.Sprintf("%x", secret.Hash(identifier)) }

// CheckPassword is checkPassword for other fronts: it says whether a password is that
// of the user of a login, and all that it takes to sign in to an application, counting
// the try. It returns ErrCredentials, ErrSecondFactor, ratelimit.ErrLimited and what
// passhash returns, or why the user's organization does not let them in like this.
func (s *Service) CheckPassword(ctx context.Context, by access.Actor, app tenant.Application, login, given string) (in Checked, err error) {
	v := &visit{by: by, from: s.from(by)}
	if v.tenant, err = s.Tenants.ByID(ctx, by.Tenant); err != nil {
		return in, err
	}
	if v.rp, err = s.relyingParty(ctx, v.tenant); err != nil {
		return in, err
	}
	if v.origin, err = s.Tenants.Origin(ctx, v.tenant); err != nil {
		return in, err
	}
	v.view.Lang = lang.Pick("", "", v.tenant.Settings.Branding.Language)
	u, err := s.find(ctx, s.DB, v, login)
	if err != nil {
		return in, err
	}
	a := attempt{ApplicationID: app.ID, UserID: u.ID, Method: methodPassword}
	hash, uses, err := s.checkPassword(ctx, v, login, u, given)
	if err == nil && !u.IsActive {
		err = ErrCredentials.Because("disabled")
	}
	if err == nil {
		var lacking lack
		lacking, err = s.lacks(ctx, s.DB, v, a, u)
		switch {
		case err != nil:
		case lacking.entry.refused != nil:
			err = lacking.entry.refused
		case lacking.Second:
			err = ErrSecondFactor
		}
		in = Checked{u, lacking.entry.session(a, s.DB.Now()), a.ways(), hash}
	}
	if err != nil {
		return Checked{}, errors.Join(err, s.fail(ctx, v, attempt{}, u.ID, methodPassword, reasonOf(err)))
	}
	return in, s.DB.Write(ctx, func(tx *database.Tx) error {
		s.Limits.Reset(tx, by.Tenant, uses...)
		if err := s.meetBrowser(ctx, tx, v, app.ID, u); err != nil {
			return err
		}
		s.Users.NoteSignIn(tx, by.Tenant, u.ID)
		return audit.Append(tx, by, s.event(v, attempt{UserID: u.ID, Method: methodPassword}, "signin.succeeded", audit.Success, ""))
	})
}

// Checked is whom CheckPassword has let in, and where to.
type Checked struct {
	User  user.User
	Entry session.Entry
	Ways  []string // of session.Session
	Hash  string   // of the password, for password.Hold
}

// checkPassword counts a try, verifies it, and gives an imported hash the form of
// today. It returns the hash, for password.Hold, and what counted, for Reset.
func (s *Service) checkPassword(ctx context.Context, v *visit, identifier string, u user.User, given string) (hash string, uses []ratelimit.Use, err error) {
	account := u.ID
	if account == "" {
		account = "nobody " + identifier // what is not there is counted alike
	}
	uses = []ratelimit.Use{ratelimit.SignIn.For(ratelimit.Key(exactly(identifier), v.by.IP))}
	known, err := knowsBrowser(ctx, s.DB, v.by.Tenant, u.ID, hashOf(v.browser))
	if err != nil {
		return "", nil, err
	}
	if !known {
		uses = append(uses, ratelimit.Account.For(ratelimit.Key(account, "")))
	}
	if err := s.Limits.Take(ctx, v.by.Tenant, append(uses, ratelimit.SignInAddress.For(ratelimit.Key("", v.by.IP)))...); err != nil {
		return "", nil, err
	}
	verdict, err := password.Verify(ctx, s.DB, s.Hasher, v.by.Tenant, u.ID, given)
	if err == nil && !verdict.OK {
		err = ErrCredentials.In("password")
	}
	hash = verdict.Hash
	if err == nil && (verdict.Upgrade || verdict.Imported) {
		hash, err = s.takeIn(ctx, v, u, verdict, given)
	}
	return hash, uses, err
}

// takeIn gives a password that was just proved the form of today, and holds one that
// another system has taken against the rules of the tenant. It returns the hash from then
// on.
func (s *Service) takeIn(ctx context.Context, v *visit, u user.User, verdict password.Verdict, given string) (hash string, err error) {
	hash = verdict.Hash
	if verdict.Upgrade {
		if hash, err = s.Hasher.Hash(ctx, given); err != nil {
			return "", err
		}
	}
	var found *problem.Problem
	if verdict.Imported && !v.tenant.Settings.SignIn.KeepImported {
		found, _ = problem.From(password.Check(given, s.policyFor(v, u)))
	}
	by := v.by
	by.Name = "user:" + u.ID
	now := hash
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		if verdict.Imported {
			if err := password.Judge(ctx, tx, by, u.ID, verdict.Hash, found); err != nil {
				return err
			}
		}
		if !verdict.Upgrade {
			return nil
		}
		if err := password.Upgrade(ctx, tx, by, u.ID, verdict.Hash, hash); err != nil {
			return err
		}
		now, _, err = password.Find(ctx, tx, by.Tenant, u.ID)
		return err
	})
	if err != nil || now == hash {
		return now, err
	}
	// Another sign-in has upgraded it, or its owner has changed it.
	same, _, err := s.Hasher.Verify(ctx, now, given)
	if err == nil && !same {
		err = password.ErrChanged
	}
	return now, err
}

func (s *Service) newPasswordPage(v *visit, a attempt, due password.Due) *page.NewPassword {
	return &page.NewPassword{View: v.view, Weak: due == password.Weak, Identifier: a.Identifier, MinLength: s.policy(v.tenant.Settings.SignIn).MinLength, Action: pathNewPassword, BackURL: pathSignIn}
}

// policy is what new passwords of a tenant must meet.
func (s *Service) policy(o tenant.SignIn, known ...string) password.Policy {
	return password.Policy{MinLength: o.InForce().MinPassword, Context: known, Breached: s.Breached}
}

func (s *Service) policyFor(v *visit, u user.User) password.Policy {
	return s.policy(v.tenant.Settings.SignIn, u.Email, u.Username, u.FirstName, u.LastName, v.tenant.Name, v.view.Brand.Name)
}

// postNewPassword takes the place of a temporary or weak password, which was just proved.
func (s *Service) postNewPassword(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	if a.ProvedAt.IsZero() || a.Method != methodPassword {
		return s.show(w, r, v, a)
	}
	lacking, u, err := s.lacksNow(ctx, v, a)
	if err != nil {
		return err
	}
	if lacking.Second {
		return s.showSecond(w, r, v, a, u, lacking)
	}
	old, due, err := password.FindProved(ctx, s.DB, v.by.Tenant, u.ID, a.ProvedAt)
	if err != nil || due == password.NotDue {
		return errors.Join(provedNoMore(err), ErrAttempt)
	}
	failed := func(err error) error {
		p := s.newPasswordPage(v, a, due)
		return again(w, r, &p.View, err, p)
	}
	given := r.PostFormValue("password")
	if err := password.Check(given, s.policyFor(v, u)); err != nil {
		return failed(err)
	}
	hash, err := s.Hasher.Hash(ctx, given)
	if err != nil {
		return failed(err)
	}
	by := v.by
	by.Name = "user:" + u.ID
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		p, err := s.provedBefore(ctx, tx, v, a)
		if err == nil {
			err = password.Change(ctx, tx, by, u.ID, old, hash)
		}
		a.chose = true
		return a, p, err
	})
	if err != nil {
		return failed(err)
	}
	return s.proceed(w, r, v, a, in, finished, err)
}

// pageForgot asks where to send the way to a new password.
func (s *Service) pageForgot(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if v.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	p := &page.ForgotPassword{View: v.view, Takes: page.TakesEmail, Action: pathForgot, BackURL: pathSignIn}
	if a, err := s.attemptOf(r.Context(), v, r.URL.Query().Get("state")); err == nil && a.Channel == notify.Email {
		p.Identifier, p.BackURL = a.Identifier, withState(pathPassword, v.view.State)
	}
	return page.Render(w, r, http.StatusOK, p)
}

// postForgot sends a link to a new password to whom it belongs. The answer is the same
// if there is nobody.
func (s *Service) postForgot(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if v.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	typed := clip(r.PostFormValue("identifier"))
	email, err := user.ParseEmail(typed)
	if err == nil {
		err = s.Limits.Take(ctx, v.by.Tenant, ratelimit.Send.For(ratelimit.Key(email, "")), ratelimit.Resend.For(ratelimit.Key("reset "+email, "")), ratelimit.SendAddress.For(ratelimit.Key("", v.by.IP)))
	}
	if err == nil {
		err = s.sendReset(ctx, v, email)
	}
	if err != nil {
		p := &page.ForgotPassword{View: v.view, Takes: page.TakesEmail, Identifier: typed, Action: pathForgot, BackURL: pathSignIn}
		return again(w, r, &p.View, blame(err), p)
	}
	return page.Render(w, r, http.StatusOK, &page.ResetSent{View: v.view, Identifier: email, ResendAction: pathForgot, ResendAt: s.DB.Now().Add(ratelimit.Resend.Per), BackURL: pathSignIn})
}

func (s *Service) sendReset(ctx context.Context, v *visit, email string) error {
	origin, err := s.Tenants.Origin(ctx, v.tenant)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		u, err := s.match(ctx, tx, v, email)
		if err != nil {
			return err
		}
		own := u.IsActive && (u.IsPrimary() || u.IsProved())
		if own {
			if own, err = s.hasOwnWay(ctx, tx, v.by.Tenant, u.ID); err != nil {
				return err
			}
		}
		if !own {
			return s.sendNobody(ctx, tx, v, u.ID, email, origin)
		}
		return s.mailReset(ctx, tx, v, u.ID, email)
	})
}

// mailReset sends a user the way to a new password, to an e-mail address of theirs.
func (s *Service) mailReset(ctx context.Context, tx *database.Tx, v *visit, id, email string) error {
	token, err := password.StartReset(ctx, tx, v.by, id, email)
	if err != nil {
		return err
	}
	return s.send(ctx, tx, v, password.ResetLife, letter.Letter{
		Kind: letter.Reset, To: email, Lasts: password.ResetLife, Link: v.origin + pathReset + "?token=" + url.QueryEscape(token),
	})
}

// sendNobody does the work of sending the way to a new password to somebody who gets
// none: the message is one that has expired already.
func (s *Service) sendNobody(ctx context.Context, tx *database.Tx, v *visit, id, email, origin string) error {
	token, _ := secret.NewToken()
	err := s.send(ctx, tx, v, -time.Minute, letter.Letter{Kind: letter.Reset, To: email, Lasts: password.ResetLife, Link: origin + pathReset + "?token=" + token})
	if err != nil {
		return err
	}
	return audit.Append(tx, v.by, audit.Event{Action: "password.reset_requested", Target: "user", TargetID: id, Result: audit.Failure, Reason: "nobody"})
}

// send sends a mail of the tenant in the language of the visit. It is pointless after
// life, unless that is zero; of the past, it is never delivered.
func (s *Service) send(ctx context.Context, tx *database.Tx, v *visit, life time.Duration, l letter.Letter) error {
	from := deviceOf(v.from)
	l.Channel, l.Language, l.Brand = notify.Email, v.view.Lang.Tag, letter.BrandOf(v.tenant)
	l.At, l.Device, l.Place, l.IP = tx.Now, from.Name, from.Place, from.IP
	m, err := l.Message()
	if err != nil {
		return err
	}
	if life != 0 {
		m.ExpiresAt = tx.Now.Add(life)
	}
	_, err = s.Notify.Send(ctx, tx, v.by.Tenant, m)
	return err
}

// pageReset is where the link of that mail leads. Opening it changes nothing.
func (s *Service) pageReset(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	token := r.URL.Query().Get("token")
	u, err := password.PeekReset(r.Context(), s.DB, v.by.Tenant, token)
	if err != nil {
		return err
	}
	v.view.Here = ""
	return page.Render(w, r, http.StatusOK, s.resetPage(v, u, token))
}

func (s *Service) resetPage(v *visit, u user.User, token string) *page.ResetPassword {
	return &page.ResetPassword{View: v.view, Identifier: u.Login(), Token: token, MinLength: s.policy(v.tenant.Settings.SignIn).MinLength, Action: pathReset}
}

// postReset sets the new password, ends everything the user was signed in with, and
// leads to signing in with it: a mail alone signs nobody in.
func (s *Service) postReset(w http.ResponseWriter, r *http.Request) error {
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
	token, given := r.PostFormValue("token"), r.PostFormValue("password")
	u, err := password.PeekReset(ctx, s.DB, v.by.Tenant, token)
	if err != nil {
		return err
	}
	hash := ""
	if err = password.Check(given, s.policyFor(v, u)); err == nil {
		hash, err = s.Hasher.Hash(ctx, given)
	}
	if err != nil {
		p := s.resetPage(v, u, token)
		return again(w, r, &p.View, err, p)
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		before, _, err := password.Find(ctx, tx, v.by.Tenant, u.ID)
		if err != nil {
			return err
		}
		id, email, err := password.Reset(ctx, tx, v.by, token, hash)
		if err != nil {
			return err
		}
		if err := s.requireOwnWay(ctx, tx, v.by.Tenant, id); err != nil {
			return err
		}
		if err := s.endAll(ctx, tx, v.by, id, "password_reset"); err != nil {
			return err
		}
		if err := s.distrust(ctx, tx, v, u, email, "password_reset"); err != nil {
			return err
		}
		if u.Email == email && !u.EmailVerified { // the link has proved it
			if err := s.dropFactors(ctx, tx, userActor(v, u), u, before, "address_proved"); err != nil {
				return err
			}
			if _, err := s.Users.Update(ctx, tx, s.system(v), u.ID, user.Change{EmailVerified: new(true)}); err != nil {
				return err
			}
		}
		if err := s.warn(ctx, tx, &owner{visit: v, user: u}, "password_changed"); err != nil {
			return err
		}
		s.Limits.Reset(tx, v.by.Tenant, ratelimit.Account.For(ratelimit.Key(id, "")))
		return nil
	})
	if err != nil {
		return err
	}
	return to(w, r, pathSignIn, "login_hint", u.Login(), "notice", "password_changed")
}

// ConfirmPhone is the required action of a user whose phone number may be somebody
// else's: it signs nobody in until the user has confirmed it in their account.
const ConfirmPhone = "CONFIRM_PHONE"

// distrust takes away what an intruder may have left behind in an account that its
// owner has come back to by mail to an address: browsers that count as known or are not
// asked for a second factor, and passkeys, linked accounts, other further addresses and the phone number as ways in.
// The reason is a word for the log.
func (s *Service) distrust(ctx context.Context, tx *database.Tx, v *visit, u user.User, email, reason string) error {
	if err := forgetBrowsers(ctx, tx, v.by.Tenant, u.ID); err != nil {
		return err
	}
	if err := s.MFA.ForgetAll(ctx, tx, v.by, u.ID, reason); err != nil {
		return err
	}
	if err := s.Passkeys.Hold(ctx, tx, v.by, u.ID, reason); err != nil {
		return err
	}
	if err := s.Social.Hold(ctx, tx, v.by, u.ID, reason); err != nil {
		return err
	}
	if err := s.SSO.Hold(ctx, tx, v.by, u.ID, reason); err != nil {
		return err
	}
	if err := s.Users.HoldAddresses(ctx, tx, v.by, u.ID, email, reason); err != nil || u.Phone == "" {
		return err
	}
	no, actions := false, append(slices.DeleteFunc(slices.Clone(u.RequiredActions), isConfirmPhone), ConfirmPhone)
	_, err := s.Users.Update(ctx, tx, access.System(v.by.Tenant), u.ID, user.Change{PhoneVerified: &no, RequiredActions: &actions})
	return err
}

func isConfirmPhone(action string) bool { return action == ConfirmPhone }

// endAll ends everything a user is signed in with, and has applications told.
func (s *Service) endAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) error {
	ended, err := s.Sessions.EndAll(ctx, tx, by, user, reason)
	if err != nil {
		return err
	}
	return s.tell(ctx, tx, by, user, ended)
}

// tell has applications told that sessions have ended.
func (s *Service) tell(ctx context.Context, tx *database.Tx, by access.Actor, user string, sessions []string) error {
	if s.Ended == nil {
		return nil
	}
	for _, id := range sessions {
		if err := s.Ended(ctx, tx, by, user, id); err != nil {
			return err
		}
	}
	return nil
}
