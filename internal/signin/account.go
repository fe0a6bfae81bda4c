package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Addresses of the account beside those in package page, which its menu leads to.
const (
	pathEmail      = page.ProfilePath + "/email"
	pathPhone      = page.ProfilePath + "/phone"
	pathEndSession = page.SessionsPath + "/end"
	pathEndOthers  = page.SessionsPath + "/end-others"
	pathRevoke     = page.ApplicationsPath + "/revoke"
)

// freshFor is how long ago somebody may have proved who they are to change how they
// sign in.
const freshFor = 10 * time.Minute

// A Consent is what a user has allowed an application of somebody else.
type Consent struct {
	ApplicationID string
	Scope         string // separated by spaces
	Since         time.Time
}

// mountAccount adds the pages of a user's own account. Every form names what it may
// change and reads nothing else: whose account it is, the browser's session says.
func (s *Service) mountAccount(r *web.Router) {
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"GET", page.ProfilePath, "Page: one's own account", s.own(page.ProfilePath, s.pageProfile), nil},
		{"POST", page.ProfilePath, "Form: one's name", s.own(page.ProfilePath, s.postProfile), problems{page.ErrForm, user.ErrInvalid}},
		{"GET", page.PasswordPath, "Page: one's password", s.own(page.PasswordPath, s.pageOwnPassword), problems{ErrNotOffered}},
		{"POST", page.PasswordPath, "Form: another password, or the first", s.own(page.PasswordPath, s.postOwnPassword),
			append(problems{page.ErrForm, ErrNotOffered, ErrCredentials, ErrUnproved, password.ErrChanged, ratelimit.ErrLimited}, password.Problems...)},
		{"GET", page.SessionsPath, "Page: where one is signed in", s.own(page.SessionsPath, s.pageSessions), nil},
		{"POST", pathEndSession, "Form: sign out somewhere", s.own(page.SessionsPath, s.postEndSession), problems{page.ErrForm}},
		{"POST", pathEndOthers, "Form: sign out everywhere else", s.own(page.SessionsPath, s.postEndOthers), problems{page.ErrForm}},
		{"GET", page.ApplicationsPath, "Page: applications with access to one's account", s.own(page.ApplicationsPath, s.pageApplications), nil},
		{"POST", pathRevoke, "Form: take an application's access back", s.own(page.ApplicationsPath, s.postRevoke), problems{page.ErrForm}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
	for _, c := range []contact{byEmail, byPhone, furtherEmail, furtherPhone} {
		sending := problems{page.ErrForm, ErrNotOffered, user.ErrEmail, user.ErrPhone, ratelimit.ErrLimited, notify.ErrNoChannel, notify.ErrRecipient}
		r.Add(pageRoute("GET", c.path, "Page: another "+c.name, s.ownContact(c, s.pageContact), problems{ErrNotOffered}))
		r.Add(pageRoute("POST", c.path, "Form: send a code to another "+c.name, s.ownContact(c, s.postContact), append(sending, ErrUnproved)))
		r.Add(pageRoute("GET", c.path+"/code", "Page: the code sent to the "+c.name, s.ownContact(c, s.pageContactCode), problems{ErrNotOffered}))
		r.Add(pageRoute("POST", c.path+"/code", "Form: the code sent to the "+c.name, s.ownContact(c, s.postContactCode),
			problems{page.ErrForm, ErrNotOffered, passwordless.ErrCode, user.ErrExists, user.ErrAddresses, ratelimit.ErrLimited}))
		r.Add(pageRoute("POST", c.path+"/resend", "Form: send that code again", s.ownContact(c, s.postContactResend), sending))
		changed := func(step func(w http.ResponseWriter, r *http.Request, o *owner, c contact) error) web.Handler {
			return s.own(page.ProfilePath, s.fresh(page.ProfilePath, func(w http.ResponseWriter, r *http.Request, o *owner) error { return step(w, r, o, c) }))
		}
		if c.further != "" {
			r.Add(pageRoute("POST", c.path+"/primary", "Form: make a "+c.name+" the primary one", changed(s.postPrimary), problems{page.ErrForm, user.ErrAddressHeld}))
			r.Add(pageRoute("POST", c.path+"/remove", "Form: remove a "+c.name, changed(s.postRemoveFurther), problems{page.ErrForm, ErrLastWay}))
			continue
		}
		r.Add(pageRoute("POST", c.path+"/verify", "Form: send a code to one's "+c.name, s.ownContact(c, s.postVerify), sending))
		r.Add(pageRoute("POST", c.path+"/remove", "Form: remove one's "+c.name, changed(s.postRemoveContact), problems{page.ErrForm, ErrLastWay, user.ErrNobody, user.ErrPrimary}))
	}
}

// An owner is somebody at the pages of their own account: the user of the session
// that is the active one of the browser.
type owner struct {
	*visit
	in   held
	user user.User
	// noLinked says that there are no other services to sign in with.
	noLinked bool
}

// self is the user as an actor, who may do what is named and no more. It never names
// more than the change at hand needs: a user may hold roles that allow much, but these
// pages are for one's own account.
func (o *owner) self(may ...access.Permission) access.Actor {
	by := o.by
	by.Name = "user:" + o.user.ID
	return by.With(may...)
}

var errNobody = errors.New("nobody is signed in")

func (s *Service) owner(w http.ResponseWriter, r *http.Request) (*owner, error) {
	v, err := s.visit(w, r)
	if err != nil {
		return nil, err
	}
	if len(v.sessions) == 0 {
		return nil, errNobody
	}
	o := &owner{visit: v, in: v.sessions[0]}
	o.user, err = s.Users.Find(r.Context(), s.DB, access.System(v.by.Tenant), o.in.UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !o.user.IsActive {
		return nil, errNobody // since a moment; the session has gone with it
	}
	if err != nil {
		return nil, err
	}
	services, err := s.Social.Enabled(r.Context(), v.by.Tenant)
	o.noLinked = len(services) == 0
	o.view.Notice = r.URL.Query().Get("notice")
	if o.view.Here != "" {
		o.view.Here = r.URL.Path // what was done is told once
	}
	return o, err
}

// own is a handler for a page of the account, or for a form on the page home. Whoever
// is not signed in does that first, and goes on at home: a form that came too late is
// not sent again for them.
func (s *Service) own(home string, step func(w http.ResponseWriter, r *http.Request, o *owner) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPost {
			if err := s.CheckForm(w, r); err != nil {
				return err
			}
		}
		o, err := s.owner(w, r)
		if errors.Is(err, errNobody) {
			return s.detour(w, r, Start{ReturnTo: home})
		}
		if err != nil {
			return err
		}
		if r.Method == http.MethodPost {
			o.view.Here = home // in another language the form is empty again
		}
		return step(w, r, o)
	}
}

// detour leads to signing in, from where the browser comes back.
func (s *Service) detour(w http.ResponseWriter, r *http.Request, st Start) error {
	location, err := s.Begin(w, r, st)
	if err != nil {
		return err
	}
	return to(w, r, location)
}

// askAgain leads to showing once more who one is, and back to home, unless the user has
// done so lately, by a second factor if they have one: a session alone does not change
// how one signs in, for it may be somebody else's at an unlocked screen, and neither
// does a password alone where there is more. It reports whether it did.
func (s *Service) askAgain(w http.ResponseWriter, r *http.Request, o *owner, home string) (asked bool, err error) {
	policy, who, err := s.ownPolicy(r.Context(), s.DB, o)
	if err != nil {
		return false, err
	}
	start := Start{ReturnTo: home, LoginHint: o.user.Login(), UserID: o.user.ID, After: s.DB.Now()}
	if showsTwo(policy, who) {
		start.ACR = ACRTwoFactors
	}
	if s.DB.Now().Sub(o.in.AuthAt) <= freshFor && (start.ACR == "" || o.in.ACR == ACRTwoFactors) {
		return false, nil
	}
	return true, s.detour(w, r, start)
}

// showsTwo reports whether whoever changes how they sign in has to show two factors,
// because they have them.
func showsTwo(policy mfa.Policy, who mfa.Person) bool {
	two := policy.Decide(who, mfa.Shown{Asked: true})
	return two.Second && !two.Enroll && who.Authenticators+who.Passkeys > 0 || two.Must && !two.Enroll
}

// renew gives the session of a user who has changed how they sign in another token.
// It fails if the session has ended meanwhile, so that nothing is changed with it.
func (s *Service) renew(ctx context.Context, tx *database.Tx, o *owner, p session.Proof) (signedIn, error) {
	in, token, err := s.Sessions.Renew(ctx, tx, o.self(), o.in.ID, p)
	return signedIn{user: o.user, session: in, token: token}, err
}

// proof is how the user came to be signed in.
func (o *owner) proof() session.Proof {
	return session.Proof{AMR: o.in.AMR, ACR: o.in.ACR, At: o.in.AuthAt}
}

func (s *Service) accountView(o *owner) page.AccountView {
	return page.AccountView{View: o.view, Person: personOf(o.user), SignOutURL: pathSignOut, NoLinked: o.noLinked}
}

func (s *Service) pageProfile(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.profilePage(r.Context(), o)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) profilePage(ctx context.Context, o *owner) (*page.AccountProfile, error) {
	u := o.user
	further, err := s.Users.Addresses(ctx, s.DB, access.System(o.by.Tenant), u.ID)
	return &page.AccountProfile{
		AccountView: s.accountView(o), GivenName: u.FirstName, FamilyName: u.LastName, Username: u.Username, SaveAction: page.ProfilePath,
		Email: o.row(byEmail, furtherEmail, further), Phone: o.row(byPhone, furtherPhone, further),
		DataAction: pathData, DeleteURL: pathDelete,
	}, err
}

// row is a contact as the profile shows it, with further ones.
func (o *owner) row(c, beside contact, further []user.Address) (row page.Contact) {
	row.Address, row.Verified = c.of(o.user)
	row.RemoveAction = c.path + "/remove"
	if c.isOffered(o.tenant) {
		row.VerifyAction, row.ChangeURL = c.path+"/verify", c.path
		if row.Address != "" && len(further) < user.MaxAddresses {
			row.AddURL = beside.path
		}
	}
	for _, a := range further {
		if a.Kind != beside.further {
			continue
		}
		f := page.Further{ID: a.ID, Address: a.Value, Held: a.Held, PrimaryAction: beside.path + "/primary", RemoveAction: beside.path + "/remove"}
		if c.isOffered(o.tenant) {
			f.ConfirmAction = beside.path
		}
		row.Further = append(row.Further, f)
	}
	if slices.ContainsFunc(row.Further, func(f page.Further) bool { return !f.Held }) {
		row.RemoveAction = "" // another one has to be the primary one first
	}
	return row
}

// postProfile changes names. What the form does not send stays as it is.
func (s *Service) postProfile(w http.ResponseWriter, r *http.Request, o *owner) error {
	var c user.Change
	if r.PostForm.Has("given_name") {
		c.FirstName = new(r.PostFormValue("given_name"))
	}
	if r.PostForm.Has("family_name") {
		c.LastName = new(r.PostFormValue("family_name"))
	}
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		_, err := s.Users.Update(r.Context(), tx, o.self(access.UsersWrite), o.user.ID, c)
		return err
	})
	if err != nil {
		p, later := s.profilePage(r.Context(), o)
		if later != nil {
			return later
		}
		p.GivenName, p.FamilyName = clip(r.PostFormValue("given_name")), clip(r.PostFormValue("family_name"))
		return again(w, r, &p.View, inForm(err, "first_name", "given_name", "last_name", "family_name"), p)
	}
	return to(w, r, page.ProfilePath, "notice", "profile_saved")
}

// inForm gives the fields that a problem blames the names they have in a form: pairs of
// one and the other.
func inForm(err error, pairs ...string) error {
	p, ok := problem.From(err)
	if !ok {
		return err
	}
	q := *p
	q.Fields = slices.Clone(p.Fields)
	for i, f := range q.Fields {
		if at := slices.Index(pairs, f.Name); at >= 0 && at%2 == 0 {
			q.Fields[i].Name = pairs[at+1]
		}
	}
	return &q
}

func (s *Service) pageSessions(w http.ResponseWriter, r *http.Request, o *owner) error {
	list, err := s.Sessions.List(r.Context(), s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return err
	}
	p := &page.AccountSessions{AccountView: s.accountView(o), EndAction: pathEndSession, EndOthersAction: pathEndOthers}
	for _, in := range list {
		d := deviceOf(in.From)
		d.At = in.CreatedAt
		p.Sessions = append(p.Sessions, page.Session{
			ID: in.ID, Device: d, LastSeen: in.SeenAt, Phone: in.From.Device != "" && in.From.Device != "desktop", Current: in.ID == o.in.ID,
		})
	}
	return page.Render(w, r, http.StatusOK, p)
}

// postEndSession ends a session of the user's. One of somebody else is none.
func (s *Service) postEndSession(w http.ResponseWriter, r *http.Request, o *owner) error {
	id := r.PostFormValue("session")
	if err := s.EndSession(r.Context(), o.by, o.user.ID, id, "ended_by_user"); err != nil {
		return err
	}
	if id != o.in.ID {
		return to(w, r, page.SessionsPath, "notice", "session_ended")
	}
	keep(w, r, o.sessions[1:])
	if len(o.sessions) > 1 {
		return to(w, r, page.ProfilePath) // of the next account of the browser
	}
	return to(w, r, pathSignOut)
}

func (s *Service) postEndOthers(w http.ResponseWriter, r *http.Request, o *owner) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		ended, err := s.Sessions.EndOthers(r.Context(), tx, o.self(), o.user.ID, o.in.ID, "ended_by_user")
		if err != nil {
			return err
		}
		return s.tell(r.Context(), tx, o.self(), o.user.ID, ended)
	})
	if err != nil {
		return err
	}
	return to(w, r, page.SessionsPath, "notice", "sessions_ended")
}

func (s *Service) pageApplications(w http.ResponseWriter, r *http.Request, o *owner) error {
	p := &page.AccountApplications{AccountView: s.accountView(o), RevokeAction: pathRevoke}
	var err error
	if p.Access, err = s.accessTo(r.Context(), o); err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

// accessTo lists the applications that hold something for a user, or may ask for it
// without asking the user again; those with the latest access first.
func (s *Service) accessTo(ctx context.Context, o *owner) (out []page.Access, err error) {
	grants, err := s.Sessions.Grants(ctx, s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return nil, err
	}
	var consents []Consent
	if s.Consents != nil {
		if consents, err = s.Consents(ctx, o.by.Tenant, o.user.ID); err != nil {
			return nil, err
		}
	}
	found := map[string]*page.Access{}
	for _, c := range consents {
		note(found, c.ApplicationID, c.Scope, c.Since, time.Time{})
	}
	for _, g := range grants {
		note(found, g.ApplicationID, g.Scope, g.CreatedAt, g.UsedAt())
	}
	for id, a := range found {
		app, err := s.Applications(ctx, s.DB, o.by.Tenant, id)
		if errors.Is(err, tenant.ErrApplicationNotFound) {
			continue // it was deleted, and can do nothing any more
		}
		if err != nil {
			return nil, err
		}
		a.App = page.App{Name: app.Name, LogoURL: app.OAuth.LogoURI}
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b page.Access) int {
		return cmp.Or(b.Since.Compare(a.Since), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// note adds to what an application holds.
func note(found map[string]*page.Access, application, scope string, since, used time.Time) {
	a := found[application]
	if a == nil {
		a = &page.Access{ID: application, Since: since}
		found[application] = a
	}
	if since.Before(a.Since) {
		a.Since = since
	}
	if used.After(a.LastUsed) {
		a.LastUsed = used
	}
	for _, name := range strings.Fields(scope) {
		if s := (page.Scope{Name: name}); !slices.Contains(a.Scopes, s) {
			a.Scopes = append(a.Scopes, s)
		}
	}
}

// postRevoke takes back what an application holds, and what it was allowed.
func (s *Service) postRevoke(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx, id := r.Context(), r.PostFormValue("access")
	if !secret.IsID(id) {
		return to(w, r, page.ApplicationsPath)
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.Sessions.EndGrants(ctx, tx, o.self(), o.user.ID, id, "consent_revoked"); err != nil || s.RevokeConsent == nil {
			return err
		}
		return s.RevokeConsent(ctx, tx, o.self(), o.user.ID, id)
	})
	if err != nil {
		return err
	}
	return to(w, r, page.ApplicationsPath, "notice", "access_revoked")
}
