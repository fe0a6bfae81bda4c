package sso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// There is a session at a SAML provider, as the provider names it.
type There struct {
	NameID          string `json:"name_id,omitempty"`
	NameIDFormat    string `json:"name_id_format,omitempty"`
	NameQualifier   string `json:"name_qualifier,omitempty"`
	SPNameQualifier string `json:"sp_name_qualifier,omitempty"`
	SessionIndex    string `json:"session_index,omitempty"`
}

// LeavePath is where a browser is sent on to a provider to sign out there.
func LeavePath(connection string) string { return "/saml/" + connection + "/leave" }

// logsOut reports whether a provider is told when somebody signs out here.
func (c Connection) logsOut() bool {
	return c.Kind == SAML && !c.Settings.NoLogout && cmp.Or(c.Settings.IdP.SLORedirect, c.Settings.IdP.SLOPost) != ""
}

// NoteSession remembers which session at a provider a session here has come from, in the
// transaction that starts it. It does nothing for providers that are not told of logouts.
func (s *Service) NoteSession(tx *database.Tx, tenant, connection, user, session string, there There, until time.Time) {
	if there.NameID == "" {
		return
	}
	tx.Later(`
		INSERT INTO sso_sessions (tenant_id, session_id, connection_id, user_id, there, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, session_id) DO UPDATE SET connection_id = $3, user_id = $4, there = $5, expires_at = $6`,
		tenant, session, connection, user, encode(there), until.UnixMilli())
}

// StartLogout says where to send a browser whose sessions of these ids have just ended
// here, so that they end at the providers that they came from, too, one after the other.
// Then it goes on to next, a path of ours or an address that may be trusted. That is what
// is returned if there is no provider to tell. It has a transaction of its own.
func (s *Service) StartLogout(ctx context.Context, by access.Actor, sessions []string, next string) (where string, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		where, err = s.nextLogout(ctx, tx, by, sessions, next)
		return err
	})
	return where, err
}

// nextLogout begins the logout of the first of some sessions that has come from a provider
// that is told.
func (s *Service) nextLogout(ctx context.Context, tx *database.Tx, by access.Actor, sessions []string, next string) (where string, err error) {
	for i, id := range sessions {
		l, err := takeSession(ctx, tx, by.Tenant, id)
		if errors.Is(err, database.ErrNoRows) {
			continue
		}
		if err != nil {
			return "", err
		}
		c, err := connectionByID(ctx, tx, by.Tenant, l.connection)
		if err != nil {
			return "", err
		}
		if c.State != Active || !c.logsOut() {
			continue
		}
		l.rest, l.next = append(l.rest, sessions[i+1:]...), next
		token, hash := secret.NewToken()
		return LeavePath(c.ID) + "?request=" + token, insertLogout(ctx, tx, by.Tenant, hash, l)
	}
	return next, nil
}

// Leave says how to send a browser to a provider to sign out there, and where it goes
// after that: there at once if Sent is empty, because nobody is to be told any more. It
// returns ErrFlow if it was not sent by StartLogout.
func (s *Service) Leave(ctx context.Context, by access.Actor, connection, token string) (sent Sent, next string, err error) {
	if len(token) > 64 {
		return Sent{}, "", ErrFlow
	}
	l, err := findLogout(ctx, s.DB, by.Tenant, secret.Hash(token), connection, s.DB.Now())
	if err != nil {
		return Sent{}, "", err
	}
	c, err := s.ByID(ctx, s.DB, by.Tenant, connection)
	if errors.Is(err, ErrDisabled) || err == nil && !c.logsOut() {
		return Sent{}, l.next, nil
	}
	if err != nil {
		return Sent{}, l.next, err
	}
	sp, err := s.spOf(ctx, c)
	if err != nil {
		return Sent{}, l.next, err
	}
	idp, err := idpOf(c.Settings.IdP)
	if err != nil {
		return Sent{}, l.next, err
	}
	wish := samlxml.LogoutRequest{ID: "_" + token, NameID: l.there.NameID, NameIDFormat: l.there.NameIDFormat, NameQualifier: l.there.NameQualifier, SPNameQualifier: l.there.SPNameQualifier}
	if l.there.SessionIndex != "" {
		wish.SessionIndexes = []string{l.there.SessionIndex}
	}
	out, err := sp.LogoutRequest(wish, idp, "", s.DB.Now())
	return Sent{Location: out.Redirect, Form: out.Form}, l.next, err
}

// finishLogout takes the answer to a request of ours, once, and says where the browser
// goes on to. Our sessions have ended before it was sent: an answer that tells of a failure
// holds nobody up, and leaves a trace.
func (s *Service) finishLogout(ctx context.Context, by access.Actor, c Connection, message samlxml.Message, expect samlxml.LogoutExpect) (Logout, error) {
	l := Logout{Connection: c.ID, OrganizationID: c.OrganizationID}
	id, _ := samlxml.InResponseTo(message.XML) // what is wrong with it is found below
	hash := secret.Hash(strings.TrimPrefix(id, "_"))
	_, err := findLogout(ctx, s.DB, by.Tenant, hash, c.ID, s.DB.Now())
	if err == nil {
		expect.RequestID = id
	} else if !errors.Is(err, ErrFlow) {
		return l, err
	}
	answer, checks, err := samlxml.VerifyLogoutResponse(message, expect)
	if fault, ok := errors.AsType[*samlxml.Fault](err); ok {
		return l, s.refuseLogout(ctx, by, c, fault)
	}
	if err != nil {
		return l, err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		done, err := spendLogout(ctx, tx, by.Tenant, hash, c.ID)
		if err != nil {
			return err
		}
		t := Trace{ID: tx.NewID(), Connection: c.ID, Detail: Detail{Steps: stepsOf(checks)}}
		t.Steps = append(t.Steps, Step{Name: "logout.status", Expected: "the session there has ended", OK: answer.Success})
		if !answer.Success {
			t.Cause = ProviderError
		}
		keepTrace(tx, by.Tenant, t)
		l.Next, err = s.nextLogout(ctx, tx, by, done.rest, done.next)
		return err
	})
	if errors.Is(err, ErrFlow) {
		return l, ErrRefused.Because("an answer to a logout came a second time")
	}
	return l, err
}

// A logout is a session at a provider that is to end there.
type logout struct {
	connection, user string
	there            There
	rest             []string
	next             string
}

// takeSession takes a session out of what is remembered.
func takeSession(ctx context.Context, tx *database.Tx, tenant, session string) (l logout, err error) {
	var there string
	err = tx.QueryRow(ctx, `DELETE FROM sso_sessions WHERE tenant_id = $1 AND session_id = $2 RETURNING connection_id, user_id, there`, tenant, session).Scan(&l.connection, &l.user, &there)
	if err != nil {
		return l, fmt.Errorf("take the session at a provider: %w", err)
	}
	return l, json.Unmarshal([]byte(there), &l.there)
}

func insertLogout(ctx context.Context, tx *database.Tx, tenant string, hash []byte, l logout) error {
	_, err := tx.Exec(ctx, `INSERT INTO sso_logouts (tenant_id, request_hash, connection_id, user_id, there, rest, next, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		tenant, hash, l.connection, l.user, encode(l.there), encode(append([]string{}, l.rest...)), l.next, tx.Now.Add(handleLife).UnixMilli())
	return orMissing(err, nil, "insert logout")
}

func scanLogout(row database.Scanner) (l logout, err error) {
	var there, rest string
	if err := row.Scan(&l.connection, &l.user, &there, &rest, &l.next); err != nil {
		return l, err
	}
	return l, errors.Join(json.Unmarshal([]byte(there), &l.there), json.Unmarshal([]byte(rest), &l.rest))
}

func findLogout(ctx context.Context, db database.Reader, tenant string, hash []byte, connection string, now time.Time) (logout, error) {
	l, err := scanLogout(db.QueryRow(ctx, `
		SELECT connection_id, user_id, there, rest, next FROM sso_logouts
		WHERE tenant_id = $1 AND request_hash = $2 AND connection_id = $3 AND expires_at > $4`, tenant, hash, connection, now.UnixMilli()))
	return l, orMissing(err, ErrFlow, "find logout")
}

// spendLogout is one statement, so that of many answers one counts.
func spendLogout(ctx context.Context, tx *database.Tx, tenant string, hash []byte, connection string) (logout, error) {
	l, err := scanLogout(tx.QueryRow(ctx, `
		DELETE FROM sso_logouts WHERE tenant_id = $1 AND request_hash = $2 AND connection_id = $3 AND expires_at > $4
		RETURNING connection_id, user_id, there, rest, next`, tenant, hash, connection, tx.Millis()))
	return l, orMissing(err, ErrFlow, "spend logout")
}

func sweepSessions(ctx context.Context, tx *database.Tx, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_sessions WHERE (tenant_id, session_id) IN (
			SELECT tenant_id, session_id FROM sso_sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, tx.Millis(), limit)
	return n, orMissing(err, nil, "sweep sessions at providers")
}

func sweepLogouts(ctx context.Context, tx *database.Tx, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_logouts WHERE (tenant_id, request_hash) IN (
			SELECT tenant_id, request_hash FROM sso_logouts WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, tx.Millis(), limit)
	return n, orMissing(err, nil, "sweep logouts")
}
