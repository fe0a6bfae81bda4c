package sso

import (
	"context"
	"errors"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// A Logout is a provider's wish that somebody's sessions end.
type Logout struct {
	Connection     string
	OrganizationID string
	UserID         string // empty if nobody here is meant
	// SessionIndexes are those of Profile.SessionIndex that are meant; all if empty.
	SessionIndexes []string
	// Answer is how to send the browser back.
	Answer Sent
	// Next is where the browser goes after an answer to a request of ours.
	Next string
}

// ReceiveLogout takes a logout request that a browser brings: by redirect the raw query,
// by POST the fields. End is called in the transaction that uses the request up, to end
// the sessions of the user that is meant; it is not called if there is none. Of an answer to
// a request of ours, which StartLogout began, it returns Next. It returns ErrNotFound,
// ErrDisabled or ErrRefused.
func (s *Service) ReceiveLogout(ctx context.Context, by access.Actor, connection string, message samlxml.Message, end func(tx *database.Tx, l Logout) error) (Logout, error) {
	c, err := s.ByID(ctx, s.DB, by.Tenant, connection)
	if err != nil {
		return Logout{}, err
	}
	if c.Kind != SAML {
		return Logout{}, ErrNotFound
	}
	sp, err := s.spOf(ctx, c)
	if err != nil {
		return Logout{}, err
	}
	idp, err := idpOf(c.Settings.IdP)
	if err != nil {
		return Logout{}, err
	}
	l := Logout{Connection: c.ID, OrganizationID: c.OrganizationID}
	expect := samlxml.LogoutExpect{SP: sp, IdP: idp, Now: s.DB.Now(), Skew: c.Settings.skew()}
	if message.IsResponse {
		return s.finishLogout(ctx, by, c, message, expect)
	}
	wish, checks, err := samlxml.VerifyLogoutRequest(message, expect)
	if fault, ok := errors.AsType[*samlxml.Fault](err); ok {
		return l, s.refuseLogout(ctx, by, c, fault)
	}
	if err != nil {
		return l, err
	}
	l.SessionIndexes = wish.SessionIndexes
	if err := s.takeLogout(ctx, by, c, wish, stepsOf(checks), &l, end); err != nil {
		return l, err
	}
	sent, err := sp.LogoutResponse(samlxml.LogoutResponse{ID: samlxml.NewID(), InResponseTo: wish.ID, Success: true}, idp, message.RelayState, s.DB.Now())
	l.Answer = Sent{Location: sent.Redirect, Form: sent.Form}
	return l, err
}

func (s *Service) takeLogout(ctx context.Context, by access.Actor, c Connection, wish samlxml.LogoutRequest, steps []Step, l *Logout, end func(tx *database.Tx, l Logout) error) error {
	replayed := false
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		t := Trace{ID: tx.NewID(), Connection: c.ID, Detail: Detail{Steps: steps}}
		isFirst, err := takeMessage(ctx, tx, by.Tenant, c.ID, wish.ID, wish.NotOnOrAfter.Add(c.Settings.skew()))
		if err != nil {
			return err
		}
		if replayed = !isFirst; replayed {
			t.Cause = Replay
			keepTrace(tx, by.Tenant, t)
			return nil
		}
		keepTrace(tx, by.Tenant, t)
		if l.UserID, err = userOf(ctx, tx, by.Tenant, c, wish.NameID); err != nil || l.UserID == "" {
			return err
		}
		return end(tx, *l)
	})
	if err == nil && replayed {
		return ErrRefused.Because("a logout request came a second time")
	}
	return err
}

// refuseLogout keeps what was wrong with a message.
func (s *Service) refuseLogout(ctx context.Context, by access.Actor, c Connection, fault *samlxml.Fault) error {
	if s.strangers.mayWrite(c.tenant+c.ID, s.DB.Now()) {
		err := s.DB.Write(ctx, func(tx *database.Tx) error {
			cause := causeOf(fault)
			keepTrace(tx, by.Tenant, Trace{ID: tx.NewID(), Connection: c.ID, Cause: cause, Detail: Detail{Steps: stepsOf(fault.Checks), Fix: s.fix(c, cause, Us{})}})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return ErrRefused.Because("logout: %w", fault)
}

// userOf is the user whom a provider names, if its NameID is who somebody is here.
func userOf(ctx context.Context, tx *database.Tx, tenant string, c Connection, nameID string) (user string, err error) {
	err = tx.QueryRow(ctx, `SELECT user_id FROM sso_identities WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4`,
		tenant, c.ID, c.Settings.IdP.EntityID, nameID).Scan(&user)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return user, orMissing(err, nil, "find the user of a logout")
}
