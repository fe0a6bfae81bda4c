package session

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// ErrGrant covers refresh tokens that are unknown, expired, used or another
// application's alike.
var ErrGrant = problem.New(problem.Unauthenticated, "invalid_refresh_token", "The refresh token is not valid, or not valid any more. Sign in again.")

// grace is for how long a refresh token that was used gives the same successor
// again: an answer can get lost, and two tabs can ask at once.
const grace = 10 * time.Second

// A Grant is what an application holds for a user.
type Grant struct {
	ID            string // "gid" of access tokens
	UserID        string
	SessionID     string // that it came from, empty for none
	Outlives      bool   // the session: it ends with the user, or by itself
	ApplicationID string
	// OrganizationID is the organization that the user acts in, empty for none. Tokens of
	// the grant say what the user may do in that one.
	OrganizationID string
	Scope          string // what was granted, separated by spaces
	Detail         Detail
	KeyThumbprint  string // RFC 9449: refresh tokens are good only with this key; empty for none
	CreatedAt      time.Time
	ExpiresAt      time.Time

	generation int64
	rotatedAt  time.Time
	idleUntil  time.Time
	endedAt    *int64
}

// A Detail is what tokens of a grant say, as it was at the sign-in that led to it.
type Detail struct {
	AuthAt   time.Time       `json:"auth_at"`
	AMR      []string        `json:"amr,omitempty"`
	ACR      string          `json:"acr,omitempty"`
	Audience []string        `json:"aud,omitempty"`    // resources asked for, RFC 8707
	Claims   json.RawMessage `json:"claims,omitempty"` // of the request, OpenID Connect Core, section 5.5
	Act      json.RawMessage `json:"act,omitempty"`    // who acts for the user, RFC 8693
	// Open says that the application got the grant without proving who it is, as in the
	// SSOJet authentication API, so that it may refresh it in the same way.
	Open bool `json:"open,omitempty"`
}

// Open makes a grant from g, whose id and times are set here. Unless the session it comes
// from is live, the transaction fails with ErrNotFound.
func (s *Service) Open(tx *database.Tx, by access.Actor, g Grant, life Lifetimes) (Grant, error) {
	if g.SessionID != "" {
		holdSession(tx, by.Tenant, g.SessionID)
	}
	return s.OpenNew(tx, by, g, life)
}

// OpenNew is Open for a session that began in the same transaction.
func (s *Service) OpenNew(tx *database.Tx, by access.Actor, g Grant, life Lifetimes) (Grant, error) {
	g.ID, g.CreatedAt, g.ExpiresAt, g.generation, g.rotatedAt, g.idleUntil = tx.NewID(), tx.Now, tx.Now.Add(life.Absolute), 1, tx.Now, tx.Now.Add(life.Idle)
	if err := insertGrant(tx, by.Tenant, g, life.Idle); err != nil {
		return Grant{}, err
	}
	return g, audit.Append(tx, by, audit.Event{Action: "grant.created", Target: "user", TargetID: g.UserID,
		Detail: map[string]any{"grant": g.ID, "application": g.ApplicationID, "scope": g.Scope, "session": g.SessionID}})
}

// RefreshToken returns the refresh token of a grant's current generation. It is not
// called within a transaction.
func (s *Service) RefreshToken(ctx context.Context, tenant string, g Grant) (string, error) {
	key, err := s.key(ctx, tenant)
	if err != nil {
		return "", err
	}
	return writeToken(key, tenant, g.ID, g.generation), nil
}

func (s *Service) key(ctx context.Context, tenant string) ([]byte, error) {
	box, err := s.Box(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return box.Derive("refresh tokens"), nil
}

const tokenPrefix = "rt_"

// writeToken makes a refresh token: id and generation of the grant, and a MAC over
// them. A copy of the database without the tenant's key gives none.
func writeToken(key []byte, tenant, grant string, generation int64) string {
	id, err := hex.DecodeString(grant)
	if err != nil {
		panic(err) // our own id
	}
	body := binary.BigEndian.AppendUint32(id, uint32(generation))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(body, macOf(key, tenant, body)...))
}

func macOf(key []byte, tenant string, body []byte) []byte {
	return secret.MAC(key, tenant+"\x00"+string(body))
}

// readToken is the reverse of writeToken for an authentic token, else ErrGrant.
func readToken(key []byte, tenant, token string) (grant string, generation int64, err error) {
	text, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(text) > 64 {
		return "", 0, ErrGrant
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 12+4+16 || subtle.ConstantTimeCompare(b[16:], macOf(key, tenant, b[:16])) != 1 {
		return "", 0, ErrGrant
	}
	return hex.EncodeToString(b[:12]), int64(binary.BigEndian.Uint32(b[12:16])), nil
}

// IsRefreshToken reports whether a token has the form of a refresh token.
func IsRefreshToken(token string) bool { return strings.HasPrefix(token, tokenPrefix) }

// Refresh takes a refresh token and returns its grant and the next token. The same
// token gives the same successor for ten seconds; after that it ends the grant,
// because one of two who hold it is not its owner (RFC 9700, section 4.14.2). A
// token of another application, or without the key it is bound to, is ErrGrant and
// ends nothing. It opens its own transaction, because the end of a grant must last
// although the call fails.
func (s *Service) Refresh(ctx context.Context, by access.Actor, token, application, thumbprint string) (Grant, string, error) {
	key, err := s.key(ctx, by.Tenant)
	if err != nil {
		return Grant{}, "", err
	}
	id, generation, err := readToken(key, by.Tenant, token)
	if err != nil {
		return Grant{}, "", err
	}
	var g Grant
	var refused error
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		g, err = rotateGrant(ctx, tx, by.Tenant, id, application, thumbprint, generation)
		if refused = nil; errors.Is(err, database.ErrNoRows) {
			g, refused, err = s.usedAgain(ctx, tx, by, id, application, thumbprint, generation)
		}
		return err
	})
	if err = errors.Join(err, refused); err != nil {
		return Grant{}, "", err
	}
	return g, writeToken(key, by.Tenant, id, g.generation), nil
}

// usedAgain decides about an authentic token that is not the current one, or not of
// the one who sent it.
func (s *Service) usedAgain(ctx context.Context, tx *database.Tx, by access.Actor, id, application, thumbprint string, generation int64) (g Grant, refused, err error) {
	g, err = findGrant(ctx, tx, by.Tenant, id)
	switch {
	case errors.Is(err, ErrGrant):
		return Grant{}, ErrGrant, nil
	case err != nil:
		return Grant{}, nil, err
	case g.ApplicationID != application || g.KeyThumbprint != thumbprint || !g.isLive(tx.Now) || generation > g.generation:
		return Grant{}, ErrGrant, nil
	case generation == g.generation-1 && tx.Now.Sub(g.rotatedAt) <= grace:
		return g, nil, nil
	case generation == g.generation: // ended or renewed between the two statements
		return Grant{}, ErrGrant, nil
	}
	if _, err := endGrants(ctx, tx, by.Tenant, "reuse", "id = $4", id); err != nil {
		return Grant{}, nil, err
	}
	tx.OnCommit(s.Forget)
	return Grant{}, ErrGrant.Because("used a second time"), audit.Append(tx, by, audit.Event{
		Action: "grant.reuse_detected", Target: "user", TargetID: g.UserID, Result: audit.Failure, Reason: "reuse",
		Detail: map[string]any{"grant": id, "application": application, "generation": generation}})
}

func (g Grant) isLive(now time.Time) bool {
	return g.endedAt == nil && now.Before(g.ExpiresAt) && now.Before(g.idleUntil)
}

// Grant returns the live grant of an id as of at most a second ago; ErrGrant if there
// is none.
func (s *Service) Grant(ctx context.Context, tenant, id string) (Grant, error) {
	g, err := s.grants.Get(s.DB.Now(), tenant+"/"+id, func() (Grant, error) { return findGrant(ctx, s.DB, tenant, id) })
	if err == nil && !g.isLive(s.DB.Now()) {
		return Grant{}, ErrGrant
	}
	return g, err
}

// OfToken returns the live grant whose current refresh token this is, without using
// it up.
func (s *Service) OfToken(ctx context.Context, tenant, token string) (Grant, error) {
	g, generation, err := s.behind(ctx, tenant, token)
	if err == nil && g.generation != generation {
		return Grant{}, ErrGrant
	}
	return g, err
}

// Behind is OfToken for whatever was a refresh token of a live grant: what to look at
// before Refresh, which decides about tokens that were used.
func (s *Service) Behind(ctx context.Context, tenant, token string) (Grant, error) {
	g, _, err := s.behind(ctx, tenant, token)
	return g, err
}

func (s *Service) behind(ctx context.Context, tenant, token string) (g Grant, generation int64, err error) {
	key, err := s.key(ctx, tenant)
	if err != nil {
		return Grant{}, 0, err
	}
	id, generation, err := readToken(key, tenant, token)
	if err != nil {
		return Grant{}, 0, err
	}
	g, err = findGrant(ctx, s.DB, tenant, id) // a generation of a second ago says nothing
	if err == nil && !g.isLive(s.DB.Now()) {
		err = ErrGrant
	}
	return g, generation, err
}

// EndGrant ends a grant: nothing it has given is good any more. It is no error if it
// has ended already.
func (s *Service) EndGrant(ctx context.Context, tx *database.Tx, by access.Actor, id, reason string) error {
	ended, err := endGrants(ctx, tx, by.Tenant, reason, "id = $4", id)
	if err != nil || len(ended) == 0 {
		return err
	}
	tx.OnCommit(s.Forget)
	return audit.Append(tx, by, audit.Event{Action: "grant.ended", Target: "grant", TargetID: id, Reason: reason})
}

// EndGrants ends all that an application holds for a user.
func (s *Service) EndGrants(ctx context.Context, tx *database.Tx, by access.Actor, user, application, reason string) error {
	ended, err := endGrantsOf(ctx, tx, by.Tenant, user, application, reason)
	if err != nil || len(ended) == 0 {
		return err
	}
	tx.OnCommit(s.Forget)
	return audit.Append(tx, by, audit.Event{Action: "grant.ended", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"application": application, "grants": ended}})
}

// Applications lists the applications that hold, or held, something that hangs on a
// session: those to tell when it ends.
func (s *Service) Applications(ctx context.Context, db database.Reader, tenant, session string) ([]string, error) {
	ids, err := listApplications(ctx, db, tenant, session)
	if err != nil {
		return nil, fmt.Errorf("applications of session: %w", err)
	}
	return ids, nil
}
