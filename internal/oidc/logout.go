package oidc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

const pathLogoutConfirm = pathLogout + "/confirm"

func (s *Service) logoutRoutes() []web.Route {
	paths := slices.Concat([]string{pathLogout}, realms(keycloak+"logout"))
	params := []web.Param{
		{Name: "id_token_hint", Text: "An ID token, of any age, of the session that is to end; without it the person is asked"},
		{Name: "post_logout_redirect_uri", Text: "One that is registered, character by character"},
		{Name: "state", Text: "Comes back as it is; at most 4 KiB"},
		{Name: "ui_locales", Text: "Languages wanted"},
	}
	errs := []*problem.Problem{errRequest, tenant.ErrClient}
	return []web.Route{
		{Method: "GET", Paths: paths, Public: true, Own: true, Page: true, Endpoint: web.Endpoint{Handler: web.Handler(s.getLogout), Media: "text/html"},
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Sign out", Query: params, Errors: errs,
				Text: "OpenID Connect RP-Initiated Logout 1.0. Applications that hold something of the session are told, in the back channel and in frames."}},
		{Method: "POST", Paths: paths, Public: true, Own: true, Page: true, Endpoint: web.Endpoint{Handler: web.Handler(s.postLogout), Media: "text/html", Takes: formMedia},
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Sign out by a form", Text: "The same parameters in a form.", Errors: append(errs, web.ErrTooLarge)}},
		{Method: "POST", Paths: []string{pathLogoutConfirm}, Public: true, Own: true, Page: true, Endpoint: web.Endpoint{Handler: web.Handler(s.postLogoutConfirm), Media: "text/html", Takes: formMedia},
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Sign out after being asked", Text: "The form of the page that asks. Not for applications.", Errors: append(errs, page.ErrForm)}},
	}
}

// A leave is a request to sign out, as far as it is certain what it says.
type leave struct {
	by     access.Actor
	issuer string
	app    tenant.Application // that asks; the zero value if that is not known
	user   string             // of the hint
	sid    string             // session of the hint; empty without a good one
	next   string             // where to go then, with the state; empty if to nowhere
	query  form
}

// getLogout signs out at once if an ID token of ours names the session, and asks
// otherwise: anybody can make a browser come here.
func (s *Service) getLogout(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return err
	}
	l, err := s.leave(r, f)
	if err != nil {
		return err
	}
	sessions, err := s.SignIn.Signed(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(sessions, func(in session.Session) bool { return in.ID == l.sid && in.UserID == l.user })
	switch {
	case l.sid != "" && i >= 0:
		return s.signOut(w, r, l, sessions[i])
	case len(sessions) > 0:
		return s.askSignOut(w, r, l, sessions)
	case l.sid != "":
		// The browser has lost its cookie, or is the short-lived one of a program. The ID
		// token proves that whoever asks holds what the session has led to.
		return s.signOut(w, r, l, session.Session{ID: l.sid, UserID: l.user})
	}
	return s.signedOut(w, r, l, nil)
}

// postLogout has the browser come back with its cookies, which another site's form
// does not bring along.
func (s *Service) postLogout(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	pairs := make([]string, 0, 2*len(f))
	for _, p := range f {
		pairs = append(pairs, p.name, p.value)
	}
	return seeOther(w, pathLogout, pairs...)
}

// postLogoutConfirm signs out the session that the person was asked about, or all of
// the browser's.
func (s *Service) postLogoutConfirm(w http.ResponseWriter, r *http.Request) error {
	if err := s.SignIn.CheckForm(w, r); err != nil {
		return err
	}
	f := form{}
	for _, name := range []string{"client_id", "post_logout_redirect_uri", "rp_state"} {
		f = append(f, parameter{strings.TrimPrefix(name, "rp_"), r.PostFormValue(name)})
	}
	l, err := s.leave(r, f)
	if err != nil {
		return err
	}
	sessions, err := s.SignIn.Signed(r)
	if err != nil {
		return err
	}
	if r.PostFormValue("decision") != "all" {
		sessions = slices.DeleteFunc(sessions, func(in session.Session) bool { return in.ID != r.PostFormValue("session") })
	}
	return s.signOut(w, r, l, sessions...)
}

// leave reads a request to sign out. A hint that is not good is as good as none. An
// address to go to counts only if it is registered for the application that the hint,
// or else client_id, names.
func (s *Service) leave(r *http.Request, f form) (l leave, err error) {
	if l.by, _, l.issuer, err = s.asked(r); err != nil {
		return l, err
	}
	l.query = f
	clientID := f.get("client_id")
	if hint := f.get("id_token_hint"); hint != "" {
		user, sid, client, err := s.Tokens.Hint(r.Context(), l.by.Tenant, hint)
		switch {
		case errors.Is(err, keyring.ErrToken):
			f = nil // who sends a forged hint is sent nowhere
		case err != nil:
			return l, err
		case clientID != "" && clientID != client:
			return l, errRequest.Saying("The ID token is of another client than client_id.").In("client_id")
		default:
			l.user, l.sid, clientID = user, sid, client
		}
	}
	if clientID == "" {
		return l, nil
	}
	l.app, err = s.findClient(r.Context(), l.by, clientID)
	if errors.Is(err, errClient) { // deleted since: sign out all the same
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.next, err = nextAfter(l.app, f)
	return l, err
}

// nextAfter is where an application wants the browser, empty if nowhere or if that is
// not registered.
func nextAfter(app tenant.Application, f form) (string, error) {
	address, state := f.get("post_logout_redirect_uri"), f.get("state")
	if len(state) > maxState {
		return "", errRequest.Saying("The state is longer than 4 KiB.").In("state")
	}
	if address == "" || !slices.Contains(app.OAuth.PostLogoutRedirectURIs, address) {
		return "", nil
	}
	if state == "" {
		return address, nil
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + url.Values{"state": {state}}.Encode(), nil
}

// askSignOut shows the page that asks.
func (s *Service) askSignOut(w http.ResponseWriter, r *http.Request, l leave, sessions []session.Session) error {
	u, err := s.Users.Find(r.Context(), s.DB, access.System(l.by.Tenant), sessions[0].UserID)
	if err != nil {
		return err
	}
	ask := &page.SignOut{
		View: s.SignIn.View(w, r), App: appOf(l.app), Person: personOf(u), Several: len(sessions) > 1, Action: pathLogoutConfirm,
		Hidden: []page.Pair{{Name: "session", Value: sessions[0].ID}},
	}
	if l.app.ID != "" {
		ask.Hidden = append(ask.Hidden, page.Pair{Name: "client_id", Value: l.app.ClientID})
	}
	if l.next != "" {
		ask.Hidden = append(ask.Hidden, page.Pair{Name: "post_logout_redirect_uri", Value: l.query.get("post_logout_redirect_uri")}, page.Pair{Name: "rp_state", Value: l.query.get("state")})
	}
	ask.Here = "" // it names an ID token
	if ask.CSRF, err = s.SignIn.FormToken(w, r); err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, ask)
}

// signOut ends sessions, and takes them out of the browser.
func (s *Service) signOut(w http.ResponseWriter, r *http.Request, l leave, sessions ...session.Session) error {
	var frames, ids []string
	for _, in := range sessions {
		more, err := s.frames(r.Context(), l, in.ID)
		if err != nil {
			return err
		}
		frames, ids = append(frames, more...), append(ids, in.ID)
		if err := s.SignIn.EndSession(r.Context(), l.by, in.UserID, in.ID, "logout"); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		if err := s.SignIn.SignOut(w, r, ids...); err != nil {
			return err
		}
	}
	if next := s.SignIn.Farewell(r.Context(), l.by, ids, l.next); next != l.next {
		l.next, l.sid = next, cmp.Or(l.sid, ids[0]) // nobody has to press a button on the way there
	}
	return s.signedOut(w, r, l, frames)
}

// signedOut sends the browser to the application, by a page if there are frames to load
// before.
func (s *Service) signedOut(w http.ResponseWriter, r *http.Request, l leave, frames []string) error {
	if l.next != "" && len(frames) == 0 && l.sid != "" {
		return seeOther(w, l.next)
	}
	done := &page.SignedOut{View: s.SignIn.View(w, r), App: appOf(l.app), Frames: frames, NextURL: l.next}
	done.Here = ""
	return page.Render(w, r, http.StatusOK, done)
}

// frames are the addresses at which applications that hold something of a session want
// to be told of its end, each in a frame (OpenID Connect Front-Channel Logout 1.0).
func (s *Service) frames(ctx context.Context, l leave, sid string) (out []string, err error) {
	ids, err := s.Sessions.Applications(ctx, s.DB, l.by.Tenant, sid)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		app, err := s.Application(ctx, s.DB, l.by.Tenant, id)
		if errors.Is(err, tenant.ErrApplicationNotFound) || err == nil && app.OAuth.FrontchannelLogoutURI == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		separator := "?"
		if strings.Contains(app.OAuth.FrontchannelLogoutURI, "?") {
			separator = "&"
		}
		out = append(out, app.OAuth.FrontchannelLogoutURI+separator+url.Values{"iss": {l.issuer}, "sid": {sid}}.Encode())
	}
	return out, nil
}

// The work of telling applications, one job for each.
const kindLogout = "oidc.backchannel_logout"

// Limits of telling one application. A slow one takes a worker for that long, and holds
// nobody else up.
const (
	logoutTimeout  = 15 * time.Second
	logoutAttempts = 6 // in about three minutes
	logoutWorkers  = 4
	logoutLifetime = 2 * time.Minute // of a logout token
	maxLogoutReply = 16 << 10        // bytes
)

const typLogout = "logout+jwt"

// An ending is the end of a session, to be told to an application.
type ending struct {
	Application string `json:"application"`
	User        string `json:"user"`
	Session     string `json:"session"`
}

// SessionEnded has the applications told that hold, or held, something of a session
// that ends (OpenID Connect Back-Channel Logout 1.0), in the transaction that ends it.
// They are told by jobs: nobody waits for them.
func (s *Service) SessionEnded(ctx context.Context, tx *database.Tx, by access.Actor, user, sid string) error {
	ids, err := s.Sessions.Applications(ctx, tx, by.Tenant, sid)
	if err != nil {
		return err
	}
	for _, id := range ids {
		app, err := s.Application(ctx, tx, by.Tenant, id)
		if errors.Is(err, tenant.ErrApplicationNotFound) || err == nil && app.OAuth.BackchannelLogoutURI == "" {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := jobs.Enqueue(ctx, tx, by.Tenant, kindLogout, ending{id, user, sid}, jobs.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// Handle has q tell applications of logouts.
func (s *Service) Handle(q *jobs.Queue) {
	q.Handle(kindLogout, jobs.Handler{Run: s.tellLogout, Workers: logoutWorkers, Attempts: logoutAttempts, Timeout: logoutTimeout})
}

// tellLogout sends a logout token to an application. Each try is signed anew, because
// the token soon expires, but has the same "jti": an application that has done it, and
// whose answer was lost, knows it again.
func (s *Service) tellLogout(ctx context.Context, job *jobs.Job) error {
	var e ending
	if err := job.Payload(&e); err != nil {
		return jobs.Permanent(err)
	}
	app, err := s.Application(ctx, s.DB, job.Tenant, e.Application)
	if errors.Is(err, tenant.ErrApplicationNotFound) || err == nil && app.OAuth.BackchannelLogoutURI == "" {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := s.logoutToken(ctx, job.Tenant, job.ID, app, e)
	if err != nil {
		return err
	}
	answer, err := s.Outbound.PostForm(ctx, app.OAuth.BackchannelLogoutURI, url.Values{"logout_token": {text}}, maxLogoutReply)
	switch {
	case err != nil:
		return fmt.Errorf("tell %s of a logout: %w", app.ID, err)
	case answer.Status == http.StatusOK || answer.Status == http.StatusNoContent:
		return nil
	case answer.Status == http.StatusBadRequest: // it does not take this one, nor will it (section 2.8)
		return jobs.Permanent(fmt.Errorf("%s refused a logout token", app.ID))
	}
	return fmt.Errorf("%s answered a logout token with %d", app.ID, answer.Status)
}

// logoutToken makes a logout token (OpenID Connect Back-Channel Logout 1.0, section
// 2.4).
func (s *Service) logoutToken(ctx context.Context, tenantID, jti string, app tenant.Application, e ending) (string, error) {
	issuer, err := s.issuer(ctx, tenantID)
	if err != nil {
		return "", err
	}
	now := s.now()
	alg := app.OAuth.IDTokenAlg
	if alg == "" {
		alg = keyring.RS256
	}
	return s.Ring.Sign(ctx, tenantID, alg, typLogout, map[string]any{
		"iss": issuer, "aud": app.ClientID, "sub": e.User, "sid": e.Session, "jti": jti, "iat": now.Unix(), "exp": now.Add(logoutLifetime).Unix(),
		"events": map[string]json.RawMessage{"http://schemas.openid.net/event/backchannel-logout": json.RawMessage("{}")},
	})
}
