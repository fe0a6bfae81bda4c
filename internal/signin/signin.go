// Package signin is the journey from the first page to a session.
//
//	Begin     stores an attempt that is bound to the browser, and says where to go
//	show      the dispatcher: looks at the stored attempt and shows what comes next
//	post…     steps: each proves something, notes it in the attempt and returns there
//	advance   what is proved becomes a session, unless a step is missing
//
// Whoever needs somebody signed in (package oidc, the account's pages) begins an
// attempt with an address of ours and gets control back there. Steps never call one
// another. In the same way an application that has pages of its own begins an attempt
// by the API, and asks for what became of it.
//
// An attacker would have somebody else finish an attempt of theirs, or finish one of
// somebody else's: the attempt's handle is good only in the browser that began it, a
// link that is opened elsewhere asks for the number shown where it began, everything
// that proves something is used up in the transaction of what it leads to, and a
// known and an unknown account look the same until the person has shown who they are.
package signin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of signing in.
var (
	ErrAttempt     = problem.New(problem.Invalid, "signin_expired", "This sign-in is over, or was begun in another browser. Begin again.")
	ErrCredentials = problem.New(problem.Unauthenticated, "credentials_invalid", "That is not right. Check what you typed and try again.")
	ErrDisabled    = problem.New(problem.Forbidden, "account_disabled", "This account can not sign in. Ask whoever runs this service.")
	ErrIdentifier  = problem.New(problem.Invalid, "identifier_invalid", "Type an e-mail address.").In("identifier")
	ErrNotOffered  = problem.New(problem.Forbidden, "way_not_offered", "This way to sign in is not offered here.")
	ErrNumber      = problem.New(problem.Invalid, "number_wrong", "This is not the number that is shown where you began.").In("number")
)

// A Service signs people in. Its fields are set once, before use.
type Service struct {
	DB       *database.DB
	Log      *slog.Logger
	Tenants  *tenant.Service
	Users    *user.Service
	Sessions *session.Service
	Tokens   *token.Service
	Codes    *passwordless.Service
	Notify   *notify.Service
	Hasher   *passhash.Hasher
	Limits   *ratelimit.Limiter
	MFA      *mfa.Service
	Social   *social.Service
	Orgs     *org.Service
	SSO      *sso.Service
	Passkeys *passkey.Service
	Places   *device.Places // may be nil
	Breached *password.List // may be nil
	Dev      bool
	// Ended is told in the transaction that a session ends, so that applications can
	// be told (OpenID Connect Back-Channel Logout 1.0). It may be nil.
	Ended func(ctx context.Context, tx *database.Tx, by access.Actor, user, session string) error
	// Consents lists what a user has allowed applications of others, and RevokeConsent
	// takes it back. They belong to a package above this one, and may be nil.
	// Applications returns an application of a tenant, also one that is not registered
	// but describes itself at an address of its own; tenant.ErrApplicationNotFound if
	// there is none.
	Applications  func(ctx context.Context, db database.Reader, tenantID, id string) (tenant.Application, error)
	Consents      func(ctx context.Context, tenantID, userID string) ([]Consent, error)
	RevokeConsent func(ctx context.Context, tx *database.Tx, by access.Actor, userID, applicationID string) error

	answers database.Fresh[encoded] // of getSession
	belongs database.Fresh[[]org.Membership]
	related database.Fresh[[]string] // of getRelatedOrigins
	looks   database.Fresh[org.Organization]
}

// A Start is what an attempt is begun with.
type Start struct {
	Application tenant.Application // the zero value for pages of our own
	ReturnTo    string             // a path of ours, with its query, or an address that the application has registered
	LoginHint   string
	UILocales   string
	ACR         string    // asked for
	After       time.Time // the proof must be later than this
	// SelectAccount lets the person choose among the accounts that are signed in.
	SelectAccount bool
	SignUp        bool
	UserID        string // must be this user, if set
	// Organization is the one to act in, by id or slug; the person's own if empty.
	Organization string
	// Enter is the id of a session whose user has to choose an organization, and may do so
	// without proving anything again.
	Enter string
	// Connection is the id of the connection, of an organization or of another service, to
	// sign in by.
	Connection string
	// Counted says that this start has been counted with the request that it is for, see
	// CountStart.
	Counted bool
}

// Begin stores an attempt that only this browser can go on with, and returns where to
// send it.
func (s *Service) Begin(w http.ResponseWriter, r *http.Request, st Start) (location string, err error) {
	v, err := s.visit(w, r)
	if err != nil {
		return "", err
	}
	v.counted = st.Counted
	a, handle, err := s.begin(r.Context(), v, requestOf(st))
	if err != nil {
		return "", err
	}
	if st.Connection != "" {
		if location := s.straightAway(r.Context(), v, a, st.Connection); location != "" {
			return location, nil
		}
	}
	if st.SignUp {
		return withState(pathSignUp, handle), nil
	}
	return withState(pathSignIn, handle), nil
}

func (s *Service) begin(ctx context.Context, v *visit, req request) (a attempt, handle string, err error) {
	req.From = v.from
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.countAttempt(ctx, tx, v); err != nil {
			return err
		}
		a, handle, err = insertAttempt(tx, v.by.Tenant, req, hashOf(v.browser))
		return err
	})
	return a, handle, err
}

// countAttempt is CountStart for an attempt, unless it is counted already or a server
// with an API key begins it, which does so for many people.
func (s *Service) countAttempt(ctx context.Context, tx *database.Tx, v *visit) error {
	if v.counted || v.backend {
		return nil
	}
	return s.CountStart(ctx, tx, v.by)
}

// CountStart counts what a stranger has us store by beginning to sign in, by their
// address. It returns ratelimit.ErrLimited when that is too much; who has no address is
// no stranger.
func (s *Service) CountStart(ctx context.Context, tx *database.Tx, by access.Actor) error {
	if by.IP == "" {
		return nil
	}
	return s.Limits.TakeWithin(ctx, tx, by.Tenant, ratelimit.Begin.For(ratelimit.Key("", by.IP)))
}

// A proof is what a step has shown.
type proof struct {
	user   user.User
	method string   // for the log: "password", "email_code", …
	amr    []string // RFC 8176
}

// errUnfinished says that a step is missing before the attempt can end in a session.
var errUnfinished = errors.New("a step is missing")

// prove notes in the attempt who was proved, and how. It is refused if the attempt has
// ended meanwhile, or is for another user.
func (s *Service) prove(ctx context.Context, tx *database.Tx, by access.Actor, a attempt, p proof) (attempt, error) {
	if _, err := shows(a, p, tx.Now); err != nil {
		return a, err
	}
	return proveAttempt(ctx, tx, by.Tenant, a.ID, p.user.ID, p.method)
}

// shows is prove for an attempt that goes on in the same transaction: it is stored with
// what comes of it.
func shows(a attempt, p proof, now time.Time) (attempt, error) {
	if !p.user.IsActive {
		return a, ErrDisabled
	}
	if a.UserID != "" && a.UserID != p.user.ID || a.UserID == "" && a.Request.UserID != "" && a.Request.UserID != p.user.ID {
		return a, ErrCredentials.Because("another user than the one who was asked for")
	}
	a.UserID, a.Method, a.ProvedAt = p.user.ID, p.method, now
	return a, nil
}

// advance ends an attempt that has proved enough in a session: one statement decides
// which of two requests at once does. It returns errUnfinished if something is
// missing, which the dispatcher shows.
func (s *Service) advance(ctx context.Context, tx *database.Tx, v *visit, a attempt, p proof) (in signedIn, err error) {
	if a.ProvedAt.IsZero() {
		return in, errUnfinished
	}
	lacking, err := s.lacks(ctx, tx, v, a, p.user)
	if err != nil {
		return in, err
	}
	due, err := dueOf(ctx, tx, v.by.Tenant, a)
	if err != nil {
		return in, err
	}
	_, held, err := s.heldSocial(ctx, tx, v, a)
	if err != nil {
		return in, err
	}
	if lacking.isOpen() || due != password.NotDue || held != "" || a.holdsSSO() {
		if a.proved() != a.stored {
			noteProof(tx, v.by.Tenant, a)
		}
		return in, errUnfinished
	}
	by := v.by
	by.Name = "user:" + a.UserID
	shown := session.Proof{AMR: a.amr(p.amr), At: tx.Now, Since: a.ProvedAt, ACR: a.acr(), Ways: a.ways(), Entry: lacking.entry.session(a, tx.Now)}
	if lacking.Remembered {
		shown.AMR = append(slices.Clone(shown.AMR), amrRemembered)
	}
	in.user = p.user
	if old, ok := s.ofUser(v, a.UserID); ok {
		in.session, in.token, err = s.Sessions.Renew(ctx, tx, by, old.ID, shown)
	} else {
		in.session, in.token, err = s.Sessions.Start(ctx, tx, by, a.UserID, a.ApplicationID, shown, v.from, lifetimes(v.tenant.Settings.SignIn))
	}
	if err != nil {
		return in, err
	}
	if err := s.meetBrowser(ctx, tx, v, a.ApplicationID, p.user); err != nil {
		return in, err
	}
	finishAttempt(tx, by.Tenant, a, in.session.ID)
	s.Users.NoteSignIn(tx, by.Tenant, a.UserID)
	if from := a.vouched(); from != nil {
		s.SSO.NoteSession(tx, by.Tenant, from.Connection, a.UserID, in.session.ID, from.There, in.session.ExpiresAt)
	}
	return in, audit.Append(tx, by, s.event(v, a, "signin.succeeded", audit.Success, ""))
}

// dueOf says why the password that an attempt was proved by has to be changed, if so. One
// that was proved before is proved no more once there is another.
func dueOf(ctx context.Context, tx *database.Tx, tenant string, a attempt) (due password.Due, err error) {
	switch {
	case a.Method != methodPassword:
		return password.NotDue, nil
	case a.chose || a.ProvedAt.Equal(tx.Now): // in this transaction, which holds the password
		_, due, err = password.Find(ctx, tx, tenant, a.UserID)
	default:
		_, due, err = password.FindProved(ctx, tx, tenant, a.UserID, a.ProvedAt)
	}
	return due, provedNoMore(err)
}

// provedNoMore says of an attempt that its password is another by now.
func provedNoMore(err error) error {
	if errors.Is(err, password.ErrChanged) {
		return ErrAttempt.Because("the password was changed since it was proved")
	}
	return err
}

// signedIn is how an attempt ends.
type signedIn struct {
	user    user.User
	session session.Session
	token   string // for the browser's cookie
}

// ofUser returns the browser's session of a user, if it has one.
func (s *Service) ofUser(v *visit, user string) (session.Session, bool) {
	i := slices.IndexFunc(v.sessions, func(in held) bool { return in.UserID == user })
	if i < 0 {
		return session.Session{}, false
	}
	return v.sessions[i].Session, true
}

func lifetimes(s tenant.SignIn) session.Lifetimes {
	s = s.InForce()
	return session.Lifetimes{Idle: time.Duration(s.SessionIdle) * time.Second, Absolute: time.Duration(s.SessionAbsolute) * time.Second}
}

// event is the event of the log that tells how an attempt came out.
func (s *Service) event(v *visit, a attempt, action, result, reason string) audit.Event {
	return audit.Event{Action: action, Target: "user", TargetID: a.UserID, Result: result, Reason: reason, Method: a.Method, Detail: map[string]any{
		"application": a.ApplicationID, "attempt": a.ID, "second_factor": a.SecondMethod, "connection": cmp.Or(a.socialOf(), a.ssoOf()), "name": v.from.Client, "os": v.from.OS, "device": v.from.Device, "country": v.from.Country, "city": v.from.City,
	}}
}

// fail writes a failed try to the log. The user is empty if there is no such user.
func (s *Service) fail(ctx context.Context, v *visit, a attempt, user, method, reason string) error {
	if reason == ratelimit.ErrLimited.Code {
		return nil // whoever is stopped could fill the log
	}
	a.UserID, a.Method = user, method
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		return audit.Append(tx, v.by, s.event(v, a, "signin.failed", audit.Failure, reason))
	})
}

// Methods, as the log has them.
const (
	methodPassword  = "password"
	methodEmailCode = "email_code"
	methodEmailLink = "email_link"
	methodSMSCode   = "sms_code"
	methodSocial    = "social"
	methodPasskey   = "passkey"
	methodSSO       = "sso"
	methodSession   = "session" // a session that was there, which proves nothing anew
)

// Words of "amr" beside those of a method.
const (
	amrMany       = "mfa"               // more than one factor, RFC 8176
	amrRemembered = "remembered_device" // of ours: one factor, in a browser where two were proved
)

// countsTwo reports whether a method proves two factors by itself.
func countsTwo(method string) bool { return slices.Contains(amrOf(method), amrMany) }

// amrOf are the methods as tokens have them (RFC 8176, section 2).
func amrOf(method string) []string {
	switch method {
	case methodPassword:
		return []string{"pwd"}
	case methodSMSCode, mfa.SMS:
		return []string{"otp", "sms"}
	case methodSocial, methodSSO:
		return []string{"fed"} // of OpenID Connect providers, beside RFC 8176
	case methodPasskey: // it is had, and what it takes to use it was shown: two factors
		return []string{"hwk", "user", amrMany}
	default:
		return []string{"otp"}
	}
}
