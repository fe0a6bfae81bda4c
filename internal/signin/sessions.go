package signin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// ErrSignedOut says that what a request came with belongs to no live session.
var ErrSignedOut = problem.New(problem.Unauthenticated, "signed_out", "Nobody is signed in here.")

const tagSessions = "Sessions"

// mountSessions adds the calls on sessions to r.
func (s *Service) mountSessions(r *web.Router) {
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/users/{userid}/sessions"}, Needs: access.UsersRead, Endpoint: web.JSON(http.StatusOK, s.getSessions),
			Doc: web.Doc{Summary: "List a user's sessions", Text: "Those that are live, the one used last first, at most 100.",
				Errors: problems{user.ErrNotFound}, Example: []sessionForm{exampleSession}}},
		{Method: "DELETE", Paths: []string{"/api/v1/users/{userid}/sessions"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.deleteSessions),
			Doc: web.Doc{Summary: "End all of a user's sessions", Text: "And all that applications hold for the user. Every token of theirs is refused within a second, and applications that can be told are.",
				Errors: problems{user.ErrNotFound}, Example: endedForm{2}}},
		{Method: "DELETE", Paths: []string{"/api/v1/users/{userid}/sessions/{sessionid}"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusOK, s.deleteSession),
			Doc: web.Doc{Summary: "End a session of a user", Text: "And what applications hold that hangs on it.",
				Errors: problems{user.ErrNotFound, session.ErrNotFound}, Example: endedForm{1}}},
		{Method: "GET", Paths: []string{"/api/v1/session"}, Public: true, Own: true, Endpoint: web.Endpoint{Handler: web.Handler(s.getSession), Status: http.StatusOK, Out: reflect.TypeFor[current]()},
			Doc: web.Doc{Summary: "Get the session that one is signed in with", Text: "By a user's access token as Authorization: Bearer, else by the cookie of the browser, which only pages of this origin can send along and read. " +
				"The token needs the scope openid; without profile and email the names and the address are empty.",
				Errors: problems{ErrSignedOut, token.ErrToken}, Example: exampleCurrent}},
	} {
		route.Doc.Tag = tagSessions
		r.Add(route)
	}
}

type sessionForm struct {
	ID              string    `json:"id"`
	ApplicationID   string    `json:"application_id" doc:"Where it began; empty for a page of the tenant's own"`
	OrganizationID  string    `json:"organization_id" doc:"That the user acts in; empty for none"`
	AMR             []string  `json:"amr" doc:"How the user proved who they are, RFC 8176"`
	ACR             string    `json:"acr"`
	AuthenticatedAt time.Time `json:"authenticated_at" doc:"When the user last proved who they are"`
	CreatedAt       time.Time `json:"created_at"`
	LastSeenAt      time.Time `json:"last_seen_at" doc:"To the minute"`
	ExpiresAt       time.Time `json:"expires_at" doc:"At the latest"`
	IPAddress       string    `json:"ip_address"`
	Name            string    `json:"name" doc:"Of the program"`
	OS              string    `json:"os"`
	Device          string    `json:"device"`
	Country         string    `json:"country"`
	City            string    `json:"city"`
}

func sessionFormOf(in session.Session) sessionForm {
	return sessionForm{
		ID: in.ID, ApplicationID: in.ApplicationID, OrganizationID: in.OrganizationID, AMR: append([]string{}, in.AMR...), ACR: in.ACR, AuthenticatedAt: in.AuthAt, CreatedAt: in.CreatedAt, LastSeenAt: in.SeenAt,
		ExpiresAt: in.ExpiresAt, IPAddress: in.From.IP, Name: in.From.Client, OS: in.From.OS, Device: in.From.Device, Country: in.From.Country, City: in.From.City,
	}
}

type sessionsRequest struct {
	UserID string `path:"userid" doc:"Id of the user, 24 hex digits"`
}

func (s *Service) getSessions(ctx context.Context, by access.Actor, in sessionsRequest) ([]sessionForm, error) {
	u, err := s.Users.Find(ctx, s.DB, by, in.UserID)
	if err != nil {
		return nil, err
	}
	live, err := s.Sessions.List(ctx, s.DB, by.Tenant, u.ID)
	out := make([]sessionForm, len(live))
	for i, x := range live {
		out[i] = sessionFormOf(x)
	}
	return out, err
}

type endedForm struct {
	Ended int `json:"ended" doc:"How many sessions were"`
}

func (s *Service) deleteSessions(ctx context.Context, by access.Actor, in sessionsRequest) (out endedForm, err error) {
	err = s.ending(ctx, by, in.UserID, func(tx *database.Tx) error {
		ended, err := s.EndSessions(ctx, tx, by, in.UserID, "administrator")
		if out.Ended = len(ended); err != nil {
			return err
		}
		return s.MFA.ForgetAll(ctx, tx, by, in.UserID, "administrator")
	})
	return out, err
}

type sessionRequest struct {
	UserID    string `path:"userid" doc:"Id of the user, 24 hex digits"`
	SessionID string `path:"sessionid" doc:"Id of the session, 24 hex digits"`
}

func (s *Service) deleteSession(ctx context.Context, by access.Actor, in sessionRequest) (endedForm, error) {
	err := s.ending(ctx, by, in.UserID, func(tx *database.Tx) error {
		if err := s.Sessions.End(ctx, tx, by, in.UserID, in.SessionID, "administrator"); err != nil {
			return err
		}
		return s.tell(ctx, tx, by, in.UserID, []string{in.SessionID})
	})
	return endedForm{1}, err
}

// ending runs end for a user who is there, if the actor may sign them out: an
// administrator's sessions are ended only by who could take the role away as well.
func (s *Service) ending(ctx context.Context, by access.Actor, id string, end func(tx *database.Tx) error) error {
	if err := by.Require(access.UsersWrite); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		if _, err := s.Users.Find(ctx, tx, access.System(by.Tenant), id); err != nil {
			return err
		}
		if err := user.Guard(ctx, tx, by, id); err != nil {
			return err
		}
		return end(tx)
	})
}

// EndSessions ends everything a user is signed in with, grants that outlive sessions
// included, and has applications told. It returns the ids of the sessions. The reason
// is a word for the log.
func (s *Service) EndSessions(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) ([]string, error) {
	ended, err := s.Sessions.EndAll(ctx, tx, by, user, reason)
	if err != nil {
		return nil, err
	}
	return ended, s.tell(ctx, tx, by, user, ended)
}

// current is who is signed in, and with what.
type current struct {
	Session sessionForm `json:"session"`
	User    user.Short  `json:"user"`
}

// getSession is asked by every request of some applications, so all that it needs is
// in memory for up to a second, the encoded answer too.
func (s *Service) getSession(w http.ResponseWriter, r *http.Request) error {
	var text encoded
	var err error
	if header := r.Header.Get("Authorization"); header != "" {
		text, err = s.ofBearer(r.Context(), header)
	} else {
		text, err = s.ofCookie(r)
	}
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusOK, text)
}

// encoded is an answer in JSON.
type encoded []byte

// AppendJSON implements web.Appender.
func (e encoded) AppendJSON(b []byte) []byte { return append(b, e...) }

// ofCookie answers for the active session of the browser.
func (s *Service) ofCookie(r *http.Request) (encoded, error) {
	tenantID := web.ActorOf(r.Context()).Tenant
	for text := range cookieTokens(r) {
		live, err := s.Sessions.Current(r.Context(), tenantID, text)
		if errors.Is(err, session.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.encode(r.Context(), tenantID, live.ID, "openid profile email", func() (session.Session, error) { return live, nil })
	}
	return nil, ErrSignedOut
}

// ofBearer answers for the session that an access token comes from, as far as the token
// may tell of the user. One that only another server may take, or that must come with
// the proof of a key, is no token here.
func (s *Service) ofBearer(ctx context.Context, header string) (encoded, error) {
	scheme, bearer, _ := strings.Cut(header, " ")
	tenantID := web.ActorOf(ctx).Tenant
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, token.ErrToken.Because("not a bearer token")
	}
	a, err := s.Tokens.Read(ctx, tenantID, strings.TrimSpace(bearer))
	if err != nil {
		return nil, err
	}
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	issuer, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return nil, err
	}
	if a.KeyThumbprint != "" || !a.Has("openid") || !slices.Contains(a.Audience, issuer) {
		return nil, token.ErrToken.Because("bound to a key, without the scope, or for another audience")
	}
	if a.SessionID == "" {
		return nil, ErrSignedOut.Because("the token comes from no session")
	}
	scope := a.Scope
	app, err := s.Tenants.ByClientID(ctx, a.ClientID)
	if err != nil || app.OAuth.ThirdParty { // also one that describes itself at its own address
		scope += " " + scopeForeign
	}
	return s.encode(ctx, tenantID, a.SessionID, scope, func() (session.Session, error) { return s.Sessions.ByID(ctx, s.DB, tenantID, a.SessionID) })
}

// scopeForeign is added to what an application of somebody else may see.
const scopeForeign = "foreign application"

// encode returns the answer for a session that find returns, as of at most a second ago,
// with what a scope lets see of the user.
func (s *Service) encode(ctx context.Context, tenantID, id, scope string, find func() (session.Session, error)) (encoded, error) {
	names, address, foreign := "", "", strings.HasSuffix(scope, scopeForeign)
	for word := range strings.SplitSeq(scope, " ") {
		switch word {
		case "profile":
			names = "+profile"
		case "email":
			address = "+email"
		}
	}
	return s.answers.Get(s.DB.Now(), tenantID+"/"+id+names+address+strconv.FormatBool(foreign), func() (encoded, error) {
		live, err := find()
		if err != nil {
			return nil, orSignedOut(err)
		}
		u, err := s.Users.Find(ctx, s.DB, access.System(tenantID), live.UserID)
		if err != nil {
			return nil, orSignedOut(err)
		}
		if names == "" {
			u.FirstName, u.LastName = "", ""
		}
		if address == "" {
			u.Email = ""
		}
		if foreign {
			live.From = session.From{} // where somebody is, is not for applications of others
		}
		return json.Marshal(current{sessionFormOf(live), user.ShortForm(tenantID, u)})
	})
}

// orSignedOut is ErrSignedOut for what is gone.
func orSignedOut(err error) error {
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, user.ErrNotFound) {
		return ErrSignedOut
	}
	return err
}
