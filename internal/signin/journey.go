package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Addresses of the journey.
const (
	pathSignIn      = "/signin"
	pathSignUp      = "/signup"
	pathCode        = "/signin/code"
	pathResend      = "/signin/resend"
	pathPassword    = "/signin/password"
	pathNewPassword = "/signin/new-password"
	pathAccount     = "/signin/account"
	pathLink        = "/signin/link"
	pathWait        = "/signin/wait"
	pathFinish      = "/signin/finish"
	pathForgot      = "/signin/forgot"
	pathReset       = "/signin/reset"
	pathSignOut     = "/signout"
	stylePath       = "/signin/style.css"
)

// pageSignIn shows where an attempt is. Without an attempt it shows the first page,
// whose form begins one: opening a page changes nothing.
func (s *Service) pageSignIn(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("state") == "" {
		v, err := s.visit(w, r)
		if err != nil {
			return err
		}
		v.view.Notice = r.URL.Query().Get("notice")
		return page.Render(w, r, http.StatusOK, s.firstPage(r.Context(), v, attempt{Request: request{LoginHint: r.URL.Query().Get("login_hint")}}))
	}
	return s.see(s.show)(w, r)
}

// show is the dispatcher: it decides by what is stored what comes next.
func (s *Service) show(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	query := r.URL.Query()
	switch {
	case !a.FinishedAt.IsZero():
		return page.Render(w, r, http.StatusOK, &page.LinkDone{View: v.view, Purpose: page.LinkSignIn, App: s.app(r.Context(), v.by.Tenant, a)})
	case !a.ProvedAt.IsZero():
		return s.showProved(w, r, v, a)
	case query.Has("change"):
		return page.Render(w, r, http.StatusOK, s.firstPage(r.Context(), v, a))
	case a.ChallengeID != "":
		return s.showCode(w, r, v, a)
	case a.holdsSSO() && a.Identifier == "":
		return s.showSSOProve(w, r, v, a)
	case a.Request.SSO != nil && a.Request.SSO.Held == nil && a.Request.SSO.Connection == "":
		return s.showSSO(w, r, v, a)
	case a.Identifier != "":
		return page.Render(w, r, http.StatusOK, s.passwordPage(v, a))
	case s.chooser(v, a) != "":
		return s.showChoice(w, r, v, a, s.chooser(v, a), nil)
	case a.Request.Social != nil && a.Request.Social.Flow != "":
		return s.showSocialProve(w, r, v, a)
	case a.Request.SelectAccount && len(v.sessions) > 0 && !query.Has("another"):
		return s.showAccounts(w, r, v, a)
	default:
		p, err := s.firstOf(r.Context(), v, a)
		if err != nil {
			return err
		}
		if p == nil {
			p = s.firstPage(r.Context(), v, a)
		}
		return page.Render(w, r, http.StatusOK, p)
	}
}

// firstPage asks who is there: one field decides.
func (s *Service) firstPage(ctx context.Context, v *visit, a attempt) page.Page {
	settings := v.tenant.Settings.SignIn
	identifier := a.Identifier
	if identifier == "" {
		identifier = a.Request.LoginHint
	}
	app, ways, action := s.app(ctx, v.by.Tenant, a), s.firstWays(ctx, v, a), pathSignIn
	if a.Request.SignUp && !settings.NoSignUp {
		return &page.SignUp{View: v.view, App: app, Ways: ways, Takes: takes(settings), Identifier: identifier, Names: true, GivenName: a.Request.GivenName, FamilyName: a.Request.FamilyName,
			Action: pathSignUp, SignInURL: withState(pathSignIn, v.view.State, "change", "1")}
	}
	if v.aroundSSO {
		action += "?sso=no"
	}
	p := &page.SignIn{View: v.view, App: app, Ways: ways, Takes: takes(settings), Identifier: identifier, Action: action, Passkey: v.passkeyPrompt(false)}
	if !settings.NoSignUp {
		p.SignUpURL = withState(pathSignUp, v.view.State)
	}
	return p
}

// takes says what the field for the identifier asks for. Where there are passwords it
// takes a username too, without asking for one.
func takes(s tenant.SignIn) string {
	switch {
	case s.SMS && s.NoEmail:
		return page.TakesPhone
	case s.SMS:
		return page.TakesEmailOrPhone
	default:
		return page.TakesEmail
	}
}

func withState(path, state string, more ...string) string {
	var q []string
	if state != "" {
		q = append(q, "state="+state)
	}
	for i := 0; i < len(more); i += 2 {
		q = append(q, more[i]+"="+more[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + strings.Join(q, "&")
}

// app is the application of an attempt as people see it.
func (s *Service) app(ctx context.Context, tenantID string, a attempt) page.App {
	return s.appBy(ctx, s.DB, tenantID, a)
}

// appBy is app within a transaction, where another connection may not be had.
func (s *Service) appBy(ctx context.Context, db database.Reader, tenantID string, a attempt) page.App {
	if a.ApplicationID == "" {
		return page.App{}
	}
	app, err := s.Applications(ctx, db, tenantID, a.ApplicationID)
	if err != nil {
		return page.App{} // it was deleted, or its name can wait
	}
	return page.App{Name: app.Name, LogoURL: app.OAuth.LogoURI}
}

// postSignIn takes the identifier and shows the first way to prove it. The answer is
// the same whether anybody is known by it.
func (s *Service) postSignIn(w http.ResponseWriter, r *http.Request) error {
	return s.identify(w, r, false)
}

// postSignUp is postSignIn for somebody who says they are new. Who is known by the
// address already is signed in.
func (s *Service) postSignUp(w http.ResponseWriter, r *http.Request) error {
	return s.identify(w, r, true)
}

func (s *Service) identify(w http.ResponseWriter, r *http.Request, signUp bool) error {
	ctx := r.Context()
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	a, err := s.attemptOrNew(ctx, v, r.PostFormValue("state"))
	if err != nil {
		return err
	}
	a.Request.SignUp = signUp
	if signUp {
		a.Request.GivenName, a.Request.FamilyName = clip(r.PostFormValue("given_name")), clip(r.PostFormValue("family_name"))
	}
	typed := strings.TrimSpace(r.PostFormValue("identifier"))
	settings := v.tenant.Settings.SignIn
	if a.Identifier, a.Channel, err = parseIdentifier(settings, typed, signUp); err != nil {
		a.Identifier = clip(typed)
		return s.firstAgain(w, r, v, a, err)
	}
	if sent, err := s.homeRealm(w, r, v, a); sent || err != nil {
		return err
	}
	if a.Request.SSO != nil && a.Request.SSO.Held == nil {
		a.forgetSSO()
	}
	if err := s.startFirst(ctx, v, a, settings); err != nil {
		return s.firstAgain(w, r, v, a, err)
	}
	return to(w, r, pathSignIn, "state", v.view.State)
}

func (s *Service) firstAgain(w http.ResponseWriter, r *http.Request, v *visit, a attempt, err error) error {
	s.dress(r, v, a)
	switch p := s.firstPage(r.Context(), v, a).(type) {
	case *page.SignUp:
		return again(w, r, &p.View, err, p)
	case *page.SignIn:
		return again(w, r, &p.View, err, p)
	}
	return err
}

// attemptOrNew returns the attempt of a handle, or a new one if the page that was
// posted belonged to none or to one that is over.
func (s *Service) attemptOrNew(ctx context.Context, v *visit, handle string) (attempt, error) {
	if handle != "" {
		a, err := s.attemptOf(ctx, v, handle)
		if !errors.Is(err, ErrAttempt) && (err != nil || a.FinishedAt.IsZero()) {
			return a, err
		}
	}
	a, handle, err := s.begin(ctx, v, request{})
	v.view.State = handle
	return a, err
}

func clip(s string) string {
	const longest = 254
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "")
	}
	return s
}

// parseIdentifier says what somebody typed: an address or a number that can be
// written to, by its channel, or a username.
func parseIdentifier(settings tenant.SignIn, typed string, signUp bool) (identifier, channel string, err error) {
	if strings.Contains(typed, "@") {
		identifier, err = user.ParseEmail(typed)
		return identifier, notify.Email, blame(err)
	}
	if phone, err := user.ParsePhone(typed); err == nil {
		return phone, notify.SMS, nil
	}
	if settings.NoPassword || signUp {
		return "", "", ErrIdentifier
	}
	identifier, err = user.ParseUsername(typed)
	return identifier, "", blame(err)
}

// blame puts a problem of an identifier to the field that it was typed in.
func blame(err error) error {
	if p, ok := problem.From(err); ok {
		return p.In("identifier")
	}
	return err
}

// startFirst notes who somebody says they are and starts the way that comes first: a
// message, or a password for what no message reaches.
func (s *Service) startFirst(ctx context.Context, v *visit, a attempt, settings tenant.SignIn) error {
	byMessage := a.Channel == notify.Email && !settings.NoEmail || a.Channel == notify.SMS && settings.SMS
	if !byMessage && (settings.NoPassword || a.Request.SignUp) {
		return ErrIdentifier
	}
	if byMessage && (settings.First != "password" || settings.NoPassword || a.Request.SignUp) {
		err := s.DB.Write(ctx, func(tx *database.Tx) error {
			b, err := identifyAttempt(ctx, tx, v.by.Tenant, a)
			if err != nil {
				return err
			}
			return s.sendCode(ctx, tx, v, b)
		})
		cannot := errors.Is(err, ratelimit.ErrLimited) || errors.Is(err, notify.ErrNoChannel)
		if !cannot || settings.NoPassword || a.Request.SignUp {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := identifyAttempt(ctx, tx, v.by.Tenant, a)
		return err
	})
}

// find returns the user of an identifier; an empty one if there is none.
func (s *Service) find(ctx context.Context, db database.Reader, v *visit, identifier string) (user.User, error) {
	m, err := s.match(ctx, db, v, identifier)
	return m.User, err
}

// match is find for those who have to know by what the user was found.
func (s *Service) match(ctx context.Context, db database.Reader, v *visit, identifier string) (user.Match, error) {
	m, err := s.Users.Match(ctx, db, access.System(v.by.Tenant), identifier)
	if errors.Is(err, user.ErrNotFound) {
		return user.Match{}, nil
	}
	return m, err
}

// needProved returns ErrUnproved if an address is one of a user's that they have not
// proved, or have to prove again: it does not say that they are whom another service knows
// by it.
func (s *Service) needProved(ctx context.Context, db database.Reader, v *visit, u user.User, email string) error {
	if email == "" {
		return nil
	}
	m, err := s.match(ctx, db, v, email)
	if err == nil && m.ID == u.ID && m.Is() && !m.IsProved() {
		err = ErrUnproved
	}
	return err
}

// showProved shows what is missing between a proof and a session.
func (s *Service) showProved(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	lacking, u, err := s.lacksNow(r.Context(), v, a)
	if err != nil {
		return err
	}
	holding := a.holdsSSO()
	if lacking.entry.ID != "" {
		v.view.Brand = brandOf(v.view.Brand, lacking.entry.Organization)
	}
	switch {
	case lacking.entry.refused != nil && !holding:
		return s.showRefused(w, r, v, a, lacking, u)
	case lacking.Second:
		return s.showSecond(w, r, v, a, u, lacking)
	case holding:
		return s.showSSOLink(w, r, v, a, u)
	case lacking.entry.choose:
		return s.showChoice(w, r, v, a, u.ID, nil)
	}
	_, due, err := password.Find(r.Context(), s.DB, v.by.Tenant, a.UserID)
	if err != nil {
		return err
	}
	if due != password.NotDue && a.Method == methodPassword {
		return page.Render(w, r, http.StatusOK, s.newPasswordPage(v, a, due))
	}
	who, held, err := s.heldSocial(r.Context(), s.DB, v, a)
	if err != nil {
		return err
	}
	if held != "" {
		return s.showSocialLink(w, r, v, a, u, who, held)
	}
	return s.showCode(w, r, v, a)
}

// postFinish goes on with an attempt that was proved by a link opened elsewhere.
func (s *Service) postFinish(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	// A password leads on by its own step, or by the second factor.
	if a.ProvedAt.IsZero() || a.Method == methodPassword && a.SecondAt.IsZero() {
		return s.show(w, r, v, a)
	}
	in, finished, err := s.settle(r.Context(), v, func(tx *database.Tx) (attempt, proof, error) {
		p, err := s.provedBefore(r.Context(), tx, v, a)
		return a, p, err
	})
	return s.proceed(w, r, v, a, in, finished, err)
}

// provedBefore is what an attempt has proved already. It proves nothing anew: what was
// made void meanwhile stays so.
func (s *Service) provedBefore(ctx context.Context, tx *database.Tx, v *visit, a attempt) (proof, error) {
	u, err := s.Users.Find(ctx, tx, access.System(v.by.Tenant), a.UserID)
	if err == nil && !u.IsActive {
		err = ErrDisabled
	}
	return proof{u, a.Method, amrOf(a.Method)}, err
}

// getWait tells a page that waits whether its link was opened elsewhere.
func (s *Service) getWait(w http.ResponseWriter, r *http.Request, _ *visit, a attempt) error {
	if a.ProvedAt.IsZero() {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// finish ends an attempt: what redeem proves, the session and all that goes with it
// happen in one transaction, or nothing of it. failed is told what was wrong with what
// somebody typed; it may be nil.
func (s *Service) finish(w http.ResponseWriter, r *http.Request, v *visit, a attempt, failed func(error) error, redeem func(tx *database.Tx) (proof, error)) error {
	in, finished, err := s.settle(r.Context(), v, func(tx *database.Tx) (attempt, proof, error) {
		p, err := redeem(tx)
		if err != nil {
			return a, p, err
		}
		b, err := shows(a, p, tx.Now)
		return b, p, err
	})
	if err != nil && failed != nil {
		return failed(err)
	}
	return s.proceed(w, r, v, a, in, finished, err)
}

// settle proves what a step does, and ends the attempt if nothing is missing then, in
// one transaction.
func (s *Service) settle(ctx context.Context, v *visit, step func(tx *database.Tx) (attempt, proof, error)) (in signedIn, finished bool, err error) {
	err = s.writeNew(ctx, func(tx *database.Tx) error {
		a, p, err := step(tx)
		if err != nil {
			return err
		}
		in, err = s.advance(ctx, tx, v, a, p)
		if finished = !errors.Is(err, errUnfinished); !finished {
			return nil
		}
		return err
	})
	return in, finished, err
}

// proceed leads to what comes after a step: where the attempt was begun for, or the
// next step.
func (s *Service) proceed(w http.ResponseWriter, r *http.Request, v *visit, a attempt, in signedIn, finished bool, err error) error {
	switch {
	case err != nil:
		return err
	case !finished:
		if v.view.State == "" { // by a link, which does not name the attempt to who has it
			err = s.DB.Write(r.Context(), func(tx *database.Tx) (err error) {
				v.view.State, err = renameAttempt(r.Context(), tx, v.by.Tenant, a.ID)
				return err
			})
			if err != nil {
				return err
			}
		}
		return to(w, r, pathSignIn, "state", v.view.State)
	}
	v.enter(w, r, in)
	next, err := s.afterwards(r, v, a, in)
	if err != nil {
		return err
	}
	return to(w, r, next)
}

// showAccounts lets somebody choose among the accounts of the browser.
func (s *Service) showAccounts(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	p := &page.AccountPicker{View: v.view, App: s.app(r.Context(), v.by.Tenant, a), Action: pathAccount, AnotherURL: withState(pathSignIn, v.view.State, "another", "1")}
	for _, h := range v.sessions {
		u, err := s.Users.Find(r.Context(), s.DB, access.System(v.by.Tenant), h.UserID)
		if err != nil {
			return err
		}
		enough, err := s.satisfies(r.Context(), v, h, a)
		if err != nil {
			return err
		}
		p.Accounts = append(p.Accounts, page.Account{Person: personOf(u), ID: h.ID, Expired: !enough})
	}
	return page.Render(w, r, http.StatusOK, p)
}

func personOf(u user.User) page.Person {
	return page.Person{Name: strings.TrimSpace(u.FirstName + " " + u.LastName), Login: u.Login()}
}

// satisfies reports whether a session proves what an attempt was begun for, and as much
// as its application needs.
func (s *Service) satisfies(ctx context.Context, v *visit, h held, a attempt) (bool, error) {
	if h.AuthAt.Before(a.Request.After) || h.ACR != ACRTwoFactors && a.Request.asksTwo() {
		return false, nil
	}
	app, err := s.applicationOf(ctx, s.DB, v, a.ApplicationID)
	if err != nil {
		return false, err
	}
	return s.Suffices(ctx, v.by.Tenant, h.Session, app)
}

// postAccount goes on with an account that is signed in already. One whose proof is
// older or less than what is needed proves itself again.
func (s *Service) postAccount(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	chosen := r.PostFormValue("account")
	for i, h := range v.sessions {
		if h.ID != chosen {
			continue
		}
		u, err := s.Users.Find(r.Context(), s.DB, access.System(v.by.Tenant), h.UserID)
		if err != nil {
			return err
		}
		enough, err := s.satisfies(r.Context(), v, h, a)
		if err != nil {
			return err
		}
		if !enough {
			a.Identifier, a.Channel, _ = parseIdentifier(v.tenant.Settings.SignIn, u.Login(), false) // a login of ours is one
			if err := s.startFirst(r.Context(), v, a, v.tenant.Settings.SignIn); err != nil {
				return s.firstAgain(w, r, v, a, err)
			}
			return to(w, r, pathSignIn, "state", v.view.State)
		}
		err = s.DB.Write(r.Context(), func(tx *database.Tx) error {
			b, err := shows(a, proof{user: u, method: methodSession}, tx.Now)
			if err == nil {
				finishAttempt(tx, v.by.Tenant, b, h.ID)
			}
			return err
		})
		if err != nil {
			return err
		}
		front := append([]held{h}, append(v.sessions[:i:i], v.sessions[i+1:]...)...)
		keep(w, r, front)
		return to(w, r, a.Request.returnTo())
	}
	return s.show(w, r, v, a)
}

// ensure returns the user of an address or number that was just proved, and makes them
// if there is none and newcomers are let in.
func (s *Service) ensure(ctx context.Context, tx *database.Tx, v *visit, a attempt, channel, target string) (user.User, error) {
	by := access.System(v.by.Tenant)
	by.IP, by.UserAgent, by.RequestID = v.by.IP, v.by.UserAgent, v.by.RequestID
	m, err := s.Users.Match(ctx, tx, by, target)
	switch {
	case err == nil && m.Kind == user.KindPhone && slices.ContainsFunc(m.RequiredActions, isConfirmPhone):
		return user.User{}, ErrCredentials.Because("the number has to be confirmed in the account first")
	case err == nil && !m.Is():
		return user.User{}, ErrCredentials.Because("what was proved is the user's username, and no address of theirs")
	case err == nil && !m.IsPrimary() && !m.IsProved():
		return user.User{}, ErrCredentials.Because("the address has to be confirmed in the account first")
	case err == nil && !m.IsProved():
		return s.firstProof(ctx, tx, v, m)
	case err == nil:
		return m.User, nil
	case !errors.Is(err, user.ErrNotFound):
		return user.User{}, err
	}
	if welcome, err := s.takesNew(ctx, tx, v, a, target); err != nil {
		return user.User{}, err
	} else if !welcome {
		return user.User{}, ErrCredentials.Because("nobody is known by this address, and newcomers are not let in")
	}
	if v.by.IP != "" {
		if err := s.Limits.TakeWithin(ctx, tx, v.by.Tenant, ratelimit.SignUp.For(ratelimit.Key("", v.by.IP))); err != nil {
			return user.User{}, err
		}
	}
	n := user.User{FirstName: a.Request.GivenName, LastName: a.Request.FamilyName, IsActive: true}
	if channel == notify.Email {
		n.Email, n.EmailVerified = target, true
	} else {
		n.Phone, n.PhoneVerified = target, true
	}
	return s.Users.Create(ctx, tx, by, n)
}

// firstProof notes that the primary address of a user was proved. Who was in the account
// before need not have been its owner: a directory or an organization's provider can have
// made it for an address that is not theirs. All that they could come back by ends, or
// waits until the owner confirms it. Second factors can not wait, see dropFactors.
func (s *Service) firstProof(ctx context.Context, tx *database.Tx, v *visit, m user.Match) (user.User, error) {
	const reason = "address_proved"
	by := userActor(v, m.User)
	if m.Kind == user.KindPhone {
		if err := s.Users.HoldAddresses(ctx, tx, by, m.ID, "", reason); err != nil {
			return user.User{}, err
		}
		return s.Users.Update(ctx, tx, s.system(v), m.ID, user.Change{PhoneVerified: new(true)})
	}
	hash, _, err := password.Find(ctx, tx, by.Tenant, m.ID)
	if err != nil {
		return user.User{}, err
	}
	steps := []func() error{
		func() error { return password.Remove(ctx, tx, by, m.ID, reason) },
		func() error { _, err := s.EndSessions(ctx, tx, by, m.ID, reason); return err },
		func() error { return s.Sessions.EndOtherGrants(ctx, tx, by, m.ID, "", reason) },
		func() error { _, err := unproveAttempts(ctx, tx, by.Tenant, m.ID); return err },
		func() error { return s.dropFactors(ctx, tx, by, m.User, hash, reason) },
		func() error { return s.distrust(ctx, tx, v, m.User, "", reason) },
	}
	if m.LastLoginAt.IsZero() { // nobody was in it, but somebody may have stopped on the way in
		steps = []func() error{
			func() error { _, err := unproveAttempts(ctx, tx, by.Tenant, m.ID); return err },
			func() error { return s.dropFactors(ctx, tx, by, m.User, hash, reason) },
			func() error { return s.Passkeys.Hold(ctx, tx, by, m.ID, reason) },
			func() error { return s.Social.Hold(ctx, tx, by, m.ID, reason) },
			func() error { return s.SSO.Hold(ctx, tx, by, m.ID, reason) },
			func() error { return s.Users.HoldAddresses(ctx, tx, by, m.ID, "", reason) },
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return user.User{}, err
		}
	}
	return s.Users.Update(ctx, tx, s.system(v), m.ID, user.Change{EmailVerified: new(true)})
}

// dropFactors takes from a user whose primary address is proved for the first time the
// second factors that were set up since it is in the account: they would keep its owner
// out. Older ones are of somebody who was there before the address, and stay; so do those
// of whoever holds something in the whole tenant, which no stranger can have given them,
// and of whoever has been in with a password, whose hash it was: where nobody has to prove
// an address that may well be the owner, for only an administrator gives such an account
// its first one. A mailbox alone is not to be enough for those.
func (s *Service) dropFactors(ctx context.Context, tx *database.Tx, by access.Actor, u user.User, hash, reason string) error {
	if hash != "" && !u.LastLoginAt.IsZero() {
		return nil
	}
	held, err := role.Resolve(ctx, tx, by.Tenant, u.RoleIDs)
	if err != nil || held.IsAdmin() || len(held.Permissions) > 0 {
		return err
	}
	since, err := s.Users.AddedAt(ctx, tx, access.System(by.Tenant), u.Email)
	if err != nil {
		return err
	}
	return s.MFA.RemoveSince(ctx, tx, by, u.ID, since, reason)
}
