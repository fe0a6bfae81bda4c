package signin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Signing in by another service. Who comes back from one with an identity of a user is
// that user. Who does not, or holds roles in the whole tenant and has never shown that
// the identity is theirs, is held in the attempt until they have shown which account is
// theirs, as if they had come without; then they are asked whether to connect the two.

// Addresses of signing in by another service.
const (
	pathSocial     = "/signin/social/{connection}"
	pathSocialLink = "/signin/social-link"
	pathCallback   = "/sso/{connection}/callback"
)

// Problems of signing in by another service.
var (
	ErrNoAccount = problem.New(problem.Forbidden, "no_account", "There is no account for you here, and nobody can sign up. Ask whoever runs this service.")
	ErrUnproved  = problem.New(problem.Forbidden, "address_unproved", "Confirm the e-mail address of this account first, by a code.")
)

// A fromSocial is what an attempt remembers of another service.
type fromSocial struct {
	Connection string `json:"connection"`
	// Flow is what is held, until it is settled.
	Flow string `json:"flow,omitempty"`
	// Unproved is the user who had the address at the time and had not proved it;
	// unprovedFurther if it was a further one, that they have to prove again.
	Unproved string `json:"unproved,omitempty"`
}

// unprovedFurther is nobody's id: what is in an account whose owner has taken it back is
// not thrown away because one of its further addresses waits.
const unprovedFurther = "further"

func (s *Service) mountSocial(r *web.Router) {
	back := append(problems{ErrAttempt, ErrDisabled, ErrCredentials, ErrNoAccount, ratelimit.ErrLimited}, social.Problems...)
	r.Add(pageRoute("POST", pathSocial, "Form: sign in by another service", s.postSocial, append(problems{page.ErrForm}, back...)))
	r.Add(pageRoute("POST", pathSocialLink, "Form: connect an account of another service", s.form(s.postSocialLink), append(problems{page.ErrForm, ErrUnproved}, back...)))
	r.Add(pageRoute("GET", pathCallback, "Where another service sends browsers back to", s.getCallback, back))
	s.mountSocialAPI(r)
	r.Add(pageRoute("POST", pathCallback, "The same by a form", s.postCallback, back))
}

// ways are the buttons of other services.
func (s *Service) ways(ctx context.Context, v *visit, root string) (out []page.Way) {
	if s.Social == nil {
		return nil
	}
	found, err := s.Social.Enabled(ctx, v.by.Tenant)
	if err != nil {
		s.Log.ErrorContext(ctx, "other services are left out of a page", "error", err) // there are other ways
		return nil
	}
	for _, c := range found {
		out = append(out, page.Way{Label: v.view.Lang.Text("signin.with", "provider", c.Name), Icon: c.Icon(), Action: root + c.ID})
	}
	return out
}

// postSocial sends the browser to another service.
func (s *Service) postSocial(w http.ResponseWriter, r *http.Request) error {
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
	if !a.ProvedAt.IsZero() {
		return s.show(w, r, v, a)
	}
	location, err := s.sendAway(ctx, v, r.PathValue("connection"), a.ID, a.Request.LoginHint)
	if err != nil {
		return s.firstAgain(w, r, v, a, err)
	}
	return to(w, r, location)
}

// sendAway begins a flow at a connection and returns where to send the browser.
func (s *Service) sendAway(ctx context.Context, v *visit, connection, belongs, hint string) (string, error) {
	origin, err := s.Tenants.Origin(ctx, v.tenant)
	if err != nil {
		return "", err
	}
	return s.Social.Start(ctx, v.by, social.Request{
		Connection: connection, Attempt: belongs, Browser: hashOf(v.browser), RedirectURI: origin + social.CallbackPath(connection), LoginHint: hint, Language: v.view.Lang.Tag,
	})
}

// getCallback takes the answer of another service, or of an organization's provider.
func (s *Service) getCallback(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return social.ErrFlow.Because("%w", err)
	}
	_, err := s.SSO.ByID(r.Context(), s.DB, web.ActorOf(r.Context()).Tenant, r.PathValue("connection"))
	switch {
	case errors.Is(err, sso.ErrNotFound):
		return s.comeBack(w, r)
	case err != nil && !errors.Is(err, sso.ErrDisabled):
		return err
	}
	return s.comeBackSSO(w, r)
}

// postCallback takes an answer that comes by a form of another site, as Apple's does.
// Browsers send such a form without our cookies, so the page that it gets sends it
// again, from here.
func (s *Service) postCallback(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return social.ErrFlow.Because("%w", err)
	}
	if page.HasBrowser(r) || r.PostForm.Has("relayed") {
		return s.comeBack(w, r)
	}
	p := &page.FormPost{View: s.View(w, r), Action: social.CallbackPath(r.PathValue("connection")), Fields: []page.Pair{{Name: "relayed", Value: "1"}}}
	for _, name := range []string{"state", "code", "iss", "error", "user"} {
		if value := r.PostForm.Get(name); value != "" {
			p.Fields = append(p.Fields, page.Pair{Name: name, Value: value})
		}
	}
	return page.Render(w, r, http.StatusOK, p)
}

// comeBack goes on with what a browser comes back with.
func (s *Service) comeBack(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	v.view.Here = "" // it holds a code
	who, f, failed := s.Social.Finish(ctx, v.by, social.Return{
		Connection: r.PathValue("connection"), Browser: hashOf(v.browser), State: r.Form.Get("state"), Code: r.Form.Get("code"), Issuer: r.Form.Get("iss"),
		Error: r.Form.Get("error"), User: r.PostForm.Get("user"),
	})
	if f.Attempt == "" {
		return failed
	}
	if strings.HasPrefix(f.Attempt, ownFlows) {
		return s.comeBackToAccount(w, r, v, f, who, failed)
	}
	a, err := s.attemptBack(ctx, v, f.Attempt)
	if err != nil {
		return err
	}
	if failed == nil && a.ProvedAt.IsZero() && a.FinishedAt.IsZero() {
		failed = s.takeSocial(w, r, v, a, f, who)
		if failed == nil {
			return nil
		}
	}
	if failed == nil {
		return to(w, r, pathSignIn, "state", v.view.State)
	}
	p, ok := problem.From(failed)
	if !ok {
		return failed
	}
	if err := s.fail(ctx, v, a, "", methodSocial, p.Code); err != nil {
		return err
	}
	return s.firstAgain(w, r, v, a, failed)
}

// attemptBack returns the attempt of an id, in the browser where it began, under
// another handle: only a hash is kept of the one it had.
func (s *Service) attemptBack(ctx context.Context, v *visit, id string) (a attempt, err error) {
	if a, err = findAttempt(ctx, s.DB, v.by.Tenant, "id", id, s.DB.Now()); err != nil {
		return a, err
	}
	if !a.isOf(v) {
		return a, ErrAttempt.Because("begun in another browser")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		v.view.State, err = renameAttempt(ctx, tx, v.by.Tenant, a.ID)
		return err
	})
	return a, err
}

// takeSocial goes on with whom a service has shown: they are signed in, signed up, or
// asked for more.
func (s *Service) takeSocial(w http.ResponseWriter, r *http.Request, v *visit, a attempt, f social.Flow, who social.Profile) error {
	in, finished, err := s.settle(r.Context(), v, func(tx *database.Tx) (attempt, proof, error) {
		u, err := s.bySocial(r.Context(), tx, v, a, f, who)
		if err != nil || u.ID == "" {
			return a, proof{}, err
		}
		p := proof{u, methodSocial, amrOf(methodSocial)}
		b, err := shows(a, p, tx.Now)
		return b, p, err
	})
	return s.proceed(w, r, v, a, in, finished, err)
}

// bySocial returns the user whom a profile signs in or up; an empty one if it is held
// until more is shown.
func (s *Service) bySocial(ctx context.Context, tx *database.Tx, v *visit, a attempt, f social.Flow, who social.Profile) (user.User, error) {
	id, found, err := s.Social.SignIn(ctx, tx, v.by, who)
	if err != nil {
		return user.User{}, err
	}
	a.forgetSSO()
	a.Identifier, a.Channel, a.Request.Social = "", "", &fromSocial{Connection: who.Connection}
	if found {
		u, err := s.knownThere(ctx, tx, v, id, who)
		if err == nil && u.ID != "" {
			_, err = identifyAttempt(ctx, tx, v.by.Tenant, a)
		}
		if err != nil || u.ID != "" {
			return u, err
		}
	}
	local, owner, err := s.local(ctx, tx, v, a, who)
	if err != nil {
		return user.User{}, err
	}
	switch decision := social.Decide(who, local); {
	case decision == social.Refuse, decision == social.Create && a.Request.UserID != "":
		return user.User{}, ErrNoAccount
	case decision == social.Create:
		if err := s.Limits.TakeWithin(ctx, tx, v.by.Tenant, ratelimit.SignUp.For(ratelimit.Key("", v.by.IP))); err != nil {
			return user.User{}, err
		}
		if _, err := identifyAttempt(ctx, tx, v.by.Tenant, a); err != nil {
			return user.User{}, err
		}
		u, err := s.Users.Create(ctx, tx, s.system(v), user.User{Email: who.Email, EmailVerified: true, FirstName: who.FirstName, LastName: who.LastName, IsActive: true})
		if err != nil {
			return u, err
		}
		_, err = s.Social.Link(ctx, tx, userActor(v, u), u.ID, who)
		return u, err
	}
	a.Request.Social.Flow = f.ID
	if local.Address && !local.Verified {
		a.Request.Social.Unproved = owner
	}
	a.Request.GivenName, a.Request.FamilyName = clip(who.FirstName), clip(who.LastName)
	if err := s.Social.Keep(ctx, tx, v.by, f, who); err != nil {
		return user.User{}, err
	}
	_, err = identifyAttempt(ctx, tx, v.by.Tenant, a)
	return user.User{}, err
}

// knownThere is the user whose identity a profile is; nobody if they hold something in the
// whole tenant and have not shown themselves that it is theirs.
func (s *Service) knownThere(ctx context.Context, tx *database.Tx, v *visit, id string, who social.Profile) (user.User, error) {
	u, err := s.Users.Find(ctx, tx, s.system(v), id)
	if err != nil || len(u.RoleIDs) == 0 {
		return u, err
	}
	proved, err := s.Social.IsProved(ctx, tx, v.by, who)
	if err == nil && !proved {
		u = user.User{}
	}
	return u, err
}

// local is what is known here of a profile that signs nobody in as it is, and the user who
// has its address.
func (s *Service) local(ctx context.Context, tx *database.Tx, v *visit, a attempt, who social.Profile) (l social.Local, owner string, err error) {
	welcome, err := s.takesNew(ctx, tx, v, a, who.Email)
	if err != nil {
		return l, "", err
	}
	l.NoSignUp = !welcome || who.NoSignUp
	if l.Waits, err = s.Social.IsLinked(ctx, tx, v.by, who); err != nil {
		return l, "", err
	}
	if who.Email == "" {
		return l, "", nil
	}
	m, err := s.match(ctx, tx, v, who.Email)
	l.Address, l.Verified, owner = m.ID != "", m.IsProved(), m.ID // it may be a username
	if m.Is() && !m.IsPrimary() {
		owner = unprovedFurther
	}
	return l, owner, err
}

// held is what is held in an attempt, with its id; empty if there is nothing.
func (s *Service) heldSocial(ctx context.Context, db database.Reader, v *visit, a attempt) (who social.Profile, id string, err error) {
	if a.Request.Social == nil || a.Request.Social.Flow == "" {
		return who, "", nil
	}
	return s.Social.Kept(ctx, db, v.by.Tenant, a.ID)
}

// showSocialProve asks somebody from another service to show which account is theirs.
// An address is named as having one only if the service vouches for it and its owner
// here has proved it: else whoever writes an address into a profile would learn who is
// known here.
func (s *Service) showSocialProve(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	who, id, err := s.heldSocial(ctx, s.DB, v, a)
	if err != nil {
		return err
	}
	if id == "" {
		return page.Render(w, r, http.StatusOK, s.firstPage(ctx, v, a))
	}
	p := &page.SocialProve{
		View: v.view, App: s.app(ctx, v.by.Tenant, a), Provider: who.Label, Takes: takes(v.tenant.Settings.SignIn),
		Identifier: who.Email, Action: pathSignIn, BackURL: withState(pathSignIn, v.view.State, "change", "1"),
	}
	if who.EmailVerified && a.Request.Social.Unproved == "" {
		p.Known = who.Email
	}
	return page.Render(w, r, http.StatusOK, p)
}

// showSocialLink asks whether to connect the account there with the one here.
func (s *Service) showSocialLink(w http.ResponseWriter, r *http.Request, v *visit, a attempt, u user.User, who social.Profile, id string) error {
	return page.Render(w, r, http.StatusOK, s.socialLinkPage(r.Context(), v, a, u, who, id))
}

func (s *Service) socialLinkPage(ctx context.Context, v *visit, a attempt, u user.User, who social.Profile, id string) *page.SocialLink {
	return &page.SocialLink{
		View: v.view, App: s.app(ctx, v.by.Tenant, a), Provider: who.Label, Icon: social.Icon(who.Provider),
		There: there(who), Here: personOf(u), Flow: id, Action: pathSocialLink,
	}
}

// there is somebody as another service knows them.
func there(who social.Profile) page.Person {
	p := page.Person{Name: who.Name, Login: who.Email}
	if p.Name == "" {
		p.Name = strings.TrimSpace(who.FirstName + " " + who.LastName)
	}
	if p.Login == "" {
		p.Login = who.Subject
	}
	return p
}

// postSocialLink connects what is held with the user whom the attempt has proved, or
// leaves it, and goes on.
func (s *Service) postSocialLink(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error {
	ctx := r.Context()
	if a.ProvedAt.IsZero() {
		return s.show(w, r, v, a)
	}
	lacking, u, err := s.lacksNow(ctx, v, a)
	if err != nil {
		return err
	}
	who, id, err := s.heldSocial(ctx, s.DB, v, a)
	if err != nil {
		return err
	}
	if lacking.Second || id == "" || r.PostFormValue("flow") != id {
		return s.show(w, r, v, a)
	}
	in, finished, err := s.settle(ctx, v, func(tx *database.Tx) (attempt, proof, error) {
		p, err := s.provedBefore(ctx, tx, v, a)
		if err != nil {
			return a, p, err
		}
		held, err := s.Social.Settle(ctx, tx, v.by, social.Flow{ID: id, Attempt: a.ID})
		if err == nil && r.PostFormValue("choice") == "link" {
			if err = s.connect(ctx, tx, v, a, p.user, held); err == nil { // what was ended in there was ended by this very proof
				a, err = proveAttempt(ctx, tx, v.by.Tenant, a.ID, a.UserID, a.Method)
			}
		}
		return a, p, err
	})
	if known, ok := problem.From(err); ok && !errors.Is(err, ErrAttempt) && !errors.Is(err, ErrDisabled) {
		p := s.socialLinkPage(ctx, v, a, u, who, id)
		return again(w, r, &p.View, known, p)
	}
	return s.proceed(w, r, v, a, in, finished, err)
}

// connect makes an account elsewhere an identity of a user who has just proved to be
// that user. An account that carries the same address unproved is not trusted with it;
// one whose address was proved only now may have been made by somebody else, who could
// still get in: all that they left goes.
func (s *Service) connect(ctx context.Context, tx *database.Tx, v *visit, a attempt, u user.User, who social.Profile) error {
	if err := s.needProved(ctx, tx, v, u, who.Email); err != nil {
		return err
	}
	by := userActor(v, u)
	if a.Request.Social.Unproved == u.ID {
		if err := s.disown(ctx, tx, by, u.ID); err != nil {
			return err
		}
	}
	if err := s.Social.LinkProved(ctx, tx, by, u.ID, who); err != nil {
		return err
	}
	return s.warn(ctx, tx, &owner{visit: v, user: u}, "account_linked")
}

// disown takes from an account what somebody may have put there before its address was
// proved: password, sessions, what applications hold, second factors, passkeys, further
// addresses, identities of other services and of organizations.
func (s *Service) disown(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	const reason = "address_proved"
	if err := password.Remove(ctx, tx, by, id, reason); err != nil {
		return err
	}
	if _, err := s.EndSessions(ctx, tx, by, id, reason); err != nil {
		return err
	}
	if err := s.Sessions.EndOtherGrants(ctx, tx, by, id, "", reason); err != nil {
		return err
	}
	if _, err := s.MFA.Reset(ctx, tx, by, id, reason); err != nil {
		return err
	}
	if err := s.Passkeys.DeleteAll(ctx, tx, by, id, reason); err != nil {
		return err
	}
	if _, err := s.Users.RemoveAddressesSince(ctx, tx, by.With(access.All...), id, time.Time{}, reason); err != nil {
		return err
	}
	if err := s.SSO.UnlinkSince(ctx, tx, by, id, time.Time{}, reason); err != nil {
		return err
	}
	return s.Social.UnlinkAll(ctx, tx, by, id, reason)
}

// socialOf is the connection of an attempt, for the log.
func (a attempt) socialOf() string {
	if a.Request.Social == nil {
		return ""
	}
	return a.Request.Social.Connection
}

// hasOtherWay reports whether a user can sign in without their linked accounts.
func hasOtherWay(o tenant.SignIn, u user.User, hash string) bool {
	return !o.NoPassword && hash != "" || !o.NoEmail && u.Email != "" || o.SMS && u.Phone != ""
}
