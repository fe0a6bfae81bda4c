// Package session keeps who is signed in, and what applications were given for them.
//
//	Start, Renew    a session and the token for the browser's cookie
//	Find, Current   the session of a token
//	Open            a grant: what an application got for a user
//	Refresh         the next refresh token of a grant, in one conditional update
//	Enter           the organization that a session is in
//	Leave           the end of what was made for an organization
//	End, EndAll     sessions and the grants that hang on them
//
// A Session is a user in a browser. A Grant is what an application holds for a user:
// a family of refresh tokens. A grant ends with its session, unless it was made to
// outlive it (OpenID Connect Core, section 11), and both end with the user.
//
// An attacker would set somebody a session that they know, keep one that has been
// ended, or use a refresh token that its owner has used already. Tokens are made
// here, never taken from outside, and change with every rise of privilege; whether a
// session has ended is asked with every use, in memory for at most a second; and a
// refresh token that comes a second time ends the whole family.
package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// ErrNotFound says that there is no such session, or none any more.
var ErrNotFound = problem.New(problem.NotFound, "session_not_found", "There is no such session.")

// ErrStale says that everything of the user was ended after the proof was begun.
var ErrStale = problem.New(problem.Unauthenticated, "proof_stale", "All sessions of this account were ended meanwhile. Sign in again.")

// Lifetimes of sessions or grants.
type Lifetimes struct {
	Idle     time.Duration // without being used
	Absolute time.Duration
}

// The lifetimes unless a tenant or an application chooses others.
var (
	SessionLifetimes = Lifetimes{Idle: 24 * time.Hour, Absolute: 30 * 24 * time.Hour}
	GrantLifetimes   = Lifetimes{Idle: 30 * 24 * time.Hour, Absolute: 90 * 24 * time.Hour}
)

// maxPerUser bounds the sessions of one user: the one that was used longest ago gives
// way.
const maxPerUser = 100

// A Session is a user who is signed in.
type Session struct {
	ID            string
	UserID        string
	ApplicationID string   // where it began, empty for none
	AMR           []string // methods used, RFC 8176
	ACR           string
	AuthAt        time.Time // when the user last proved who they are
	From          From
	CreatedAt     time.Time
	SeenAt        time.Time
	ExpiresAt     time.Time // at the latest
	// OrganizationID is the organization that the user acts in, empty for none.
	OrganizationID string
	// Ways are the ways in which the user has come in, as policies of organizations
	// name them, such as "password", or "sso:" and the organization that vouched.
	Ways []string

	idle      time.Duration
	idleUntil time.Time
	endedAt   *int64
}

// From is where a session was started.
type From struct {
	IP      string
	Client  string // program, such as "Firefox 130"
	OS      string
	Device  string
	Country string
	City    string
}

// A Proof says how a user showed who they are.
type Proof struct {
	AMR []string
	ACR string
	At  time.Time
	// Since is when the first part of it was shown, At if zero. A proof that was begun
	// before everything of its user was ended starts nothing.
	Since time.Time
	// Ways are those of Session.Ways.
	Ways []string
	// Entry is the organization that the user comes in to.
	Entry Entry
}

// An Entry is an organization that somebody acts in, and how long sessions may last
// there. Lifetimes of zero limit nothing.
type Entry struct {
	Organization string // id, empty for none
	Limit        Lifetimes
}

// Within is the shorter of two lifetimes each; one of zero limits nothing.
func (l Lifetimes) Within(limit Lifetimes) Lifetimes {
	if limit.Idle > 0 {
		l.Idle = min(l.Idle, limit.Idle)
	}
	if limit.Absolute > 0 {
		l.Absolute = min(l.Absolute, limit.Absolute)
	}
	return l
}

func (p Proof) since() time.Time {
	if p.Since.IsZero() {
		return p.At
	}
	return p.Since
}

// A Service keeps sessions. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets; refresh tokens are made with it.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)

	sessions database.Fresh[Session]
	grants   database.Fresh[Grant]
	uses     uses
}

// isLive reports whether the session holds at the moment now.
func (s Session) isLive(now time.Time) bool {
	return s.endedAt == nil && now.Before(s.idleUntil) && now.Before(s.ExpiresAt)
}

// Start signs a user in and returns the token for the browser.
func (s *Service) Start(ctx context.Context, tx *database.Tx, by access.Actor, user, application string, p Proof, from From, life Lifetimes) (Session, string, error) {
	token, hash := secret.NewToken()
	life = life.Within(p.Entry.Limit)
	new := Session{
		ID: tx.NewID(), UserID: user, ApplicationID: application, AMR: p.AMR, ACR: p.ACR, AuthAt: p.At, From: from, OrganizationID: p.Entry.Organization, Ways: p.Ways,
		CreatedAt: tx.Now, SeenAt: tx.Now, ExpiresAt: tx.Now.Add(life.Absolute), idle: life.Idle, idleUntil: tx.Now.Add(life.Idle),
	}
	sessions, err := checkFloor(ctx, tx, by.Tenant, user, p.since())
	if err == nil && sessions > maxPerUser-roomFor {
		err = s.makeRoom(ctx, tx, by, user)
	}
	if err != nil {
		return Session{}, "", err
	}
	insertSession(tx, by.Tenant, new, hash)
	return new, token, audit.Append(tx, by, audit.Event{Action: "session.created", Target: "user", TargetID: user, Detail: map[string]any{"session": new.ID, "amr": p.AMR}})
}

// roomFor is how many sessions of one user may begin at the same moment without that
// there come to be more than maxPerUser.
const roomFor = 50

// makeRoom ends the sessions of a user beyond the limit, those used longest ago first.
func (s *Service) makeRoom(ctx context.Context, tx *database.Tx, by access.Actor, user string) error {
	crowded, err := endOldest(ctx, tx, by.Tenant, user)
	if err != nil {
		return err
	}
	return s.ended(ctx, tx, by, user, "too_many", crowded)
}

// Renew notes that the user of a session has proved again who they are, and gives
// the session another token: the one before, which somebody may have got to know
// while it was worth less, is good for nothing. Methods and ways add up. A proof without
// an organization leaves the session where it is; with one, the session lives no longer
// than that allows.
func (s *Service) Renew(ctx context.Context, tx *database.Tx, by access.Actor, id string, p Proof) (Session, string, error) {
	old, err := findSession(ctx, tx, by.Tenant, "id", id)
	if err != nil {
		return Session{}, "", err
	}
	p.AMR, p.Ways = union(p.AMR, old.AMR), union(p.Ways, old.Ways)
	token, hash := secret.NewToken()
	renewed, err := updateProof(ctx, tx, by.Tenant, id, p, hash)
	if err != nil {
		return Session{}, "", err
	}
	tx.OnCommit(s.sessions.Clear)
	return renewed, token, audit.Append(tx, by, audit.Event{Action: "session.renewed", Target: "user", TargetID: renewed.UserID, Detail: map[string]any{"session": id, "amr": p.AMR}})
}

func union(a, b []string) []string {
	a = slices.Clone(a)
	for _, word := range b {
		if !slices.Contains(a, word) {
			a = append(a, word)
		}
	}
	return a
}

// Enter takes a session into an organization; whether its user is a member, and has
// proved enough, is for the caller to have made sure. The session lives no longer from
// then on than the organization allows.
func (s *Service) Enter(ctx context.Context, tx *database.Tx, by access.Actor, id string, e Entry) (Session, error) {
	entered, err := updateEntry(ctx, tx, by.Tenant, id, e)
	if err != nil {
		return Session{}, err
	}
	tx.OnCommit(s.sessions.Clear)
	return entered, audit.Append(tx, by, audit.Event{Action: "session.entered", Target: "user", TargetID: entered.UserID, Detail: map[string]any{"session": id, "organization": e.Organization}})
}

// Find returns the live session of a token; ErrNotFound if there is none. It is for
// decisions: it asks the database.
func (s *Service) Find(ctx context.Context, db database.Reader, tenant, token string) (Session, error) {
	return s.live(findSession(ctx, db, tenant, "token_hash", secret.Hash(token)))
}

// ByID is Find for the session's id, for what already belongs to the session.
func (s *Service) ByID(ctx context.Context, db database.Reader, tenant, id string) (Session, error) {
	return s.live(findSession(ctx, db, tenant, "id", id))
}

func (s *Service) live(found Session, err error) (Session, error) {
	if err == nil && !found.isLive(s.DB.Now()) {
		return Session{}, ErrNotFound
	}
	return found, err
}

// Current is Find as of at most a second ago, and it keeps the session from going
// idle.
func (s *Service) Current(ctx context.Context, tenant, token string) (Session, error) {
	hash := secret.Hash(token)
	found, err := s.sessions.Get(s.DB.Now(), tenant+string(hash), func() (Session, error) { return findSession(ctx, s.DB, tenant, "token_hash", hash) })
	if found, err = s.live(found, err); err != nil {
		return Session{}, err
	}
	return found, s.noteUse(ctx, use{tenant, found.ID}, string(hash), found.SeenAt)
}

// IsLive reports whether the session of an id holds, as of at most a second ago.
func (s *Service) IsLive(ctx context.Context, tenant, id string) (bool, error) {
	found, err := s.sessions.Get(s.DB.Now(), tenant+"/"+id, func() (Session, error) { return findSession(ctx, s.DB, tenant, "id", id) })
	_, err = s.live(found, err)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// List returns a user's live sessions, the one used last first; at most 100.
func (s *Service) List(ctx context.Context, db database.Reader, tenant, user string) ([]Session, error) {
	return listSessions(ctx, db, tenant, user, s.DB.Now())
}

// End ends one session of a user, and the grants that hang on it: it is
// ErrNotFound if the user has no such session. The reason is a word for the log, such
// as "logout".
func (s *Service) End(ctx context.Context, tx *database.Tx, by access.Actor, user, id, reason string) error {
	ended, err := endSessions(ctx, tx, by.Tenant, user, reason, "id = $5", id)
	if err != nil {
		return err
	}
	if len(ended) == 0 {
		return ErrNotFound
	}
	return s.ended(ctx, tx, by, user, reason, ended)
}

// EndOthers ends all of a user's sessions but one, and the grants that hang on them.
func (s *Service) EndOthers(ctx context.Context, tx *database.Tx, by access.Actor, user, keep, reason string) (ended []string, err error) {
	if err := raiseFloor(ctx, tx, by.Tenant, user); err != nil {
		return nil, err
	}
	if ended, err = endSessions(ctx, tx, by.Tenant, user, reason, "id <> $5", keep); err != nil {
		return nil, err
	}
	return ended, s.ended(ctx, tx, by, user, reason, ended)
}

// EndAll ends everything a user is let in with: sessions and grants, those that
// outlive sessions included.
func EndAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) (ended []string, err error) {
	if err := raiseFloor(ctx, tx, by.Tenant, user); err != nil {
		return nil, err
	}
	if ended, err = endSessions(ctx, tx, by.Tenant, user, reason, "id <> $5", ""); err != nil {
		return nil, err
	}
	grants, err := endGrants(ctx, tx, by.Tenant, reason, "user_id = $4", user)
	if err != nil || len(ended)+len(grants) == 0 {
		return nil, err
	}
	return ended, audit.Append(tx, by, audit.Event{Action: "session.ended", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"sessions": ended, "grants": grants}})
}

// EndAll is the function EndAll, seen by this process at once.
func (s *Service) EndAll(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) (ended []string, err error) {
	tx.OnCommit(s.Forget)
	return EndAll(ctx, tx, by, user, reason)
}

// Leave ends what was made for an organization: the sessions that are in it, and all
// that applications hold for it, of one user or, if that is empty, of everybody. It
// returns the ids of the sessions with those of their users. A sign-in of the user that
// is under way is for whoever finishes it to refuse.
func (s *Service) Leave(ctx context.Context, tx *database.Tx, by access.Actor, organization, user, reason string) (ended []Session, err error) {
	if organization == "" {
		return nil, nil
	}
	if ended, err = leaveSessions(ctx, tx, by.Tenant, organization, user, reason); err != nil {
		return nil, err
	}
	grants, err := leaveGrants(ctx, tx, by.Tenant, organization, user, reason)
	if err != nil || len(ended)+len(grants) == 0 {
		return nil, err
	}
	tx.OnCommit(s.Forget)
	told := audit.Event{Action: "session.ended", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"organization": organization, "sessions": len(ended), "grants": len(grants)}}
	if user == "" {
		told.Target, told.TargetID = "organization", organization
	}
	return ended, audit.Append(tx, by, told)
}

// Forget drops what is kept in memory, after a change in this process.
func (s *Service) Forget() {
	s.sessions.Clear()
	s.grants.Clear()
}

// ended ends the grants of sessions that have ended and tells the log.
func (s *Service) ended(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string, sessions []string) error {
	if len(sessions) == 0 {
		return nil
	}
	tx.OnCommit(s.Forget)
	for _, id := range sessions {
		grants, err := endGrants(ctx, tx, by.Tenant, reason, "session_id = $4 AND NOT outlives", id)
		if err != nil {
			return err
		}
		err = audit.Append(tx, by, audit.Event{Action: "session.ended", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"session": id, "grants": grants}})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes what ended or ran out long ago, in portions.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for _, table := range []string{"grants", "sessions"} {
		for {
			var n int64
			err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
				n, err = sweep(ctx, tx, table, tx.Now.Add(-kept), portion)
				return err
			})
			if err != nil {
				return err
			}
			if n < portion {
				break
			}
		}
	}
	return nil
}

// kept is how long what has run out can still be looked up.
const kept = 7 * 24 * time.Hour
