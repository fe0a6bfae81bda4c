package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// handleLife is how long a browser may take from the provider's response to claiming
// it, and somebody whom the provider has sent to say that they want it.
const handleLife = 10 * time.Minute

// A flow is a browser at a provider.
type flow struct {
	ID          string
	Connection  string
	Attempt     string
	Nonce       string
	RedirectURI string
	Test        bool
	Unsolicited bool
	CreatedAt   time.Time

	hash     []byte
	sealed   []byte // the verifier
	verifier string
	answered bool
}

// An answer is what came back, until it is claimed.
type answer struct {
	Profile Profile `json:"profile,omitzero"`
	Cause   Cause   `json:"cause,omitempty"`
	Trace   string  `json:"trace"`
}

func place(hash []byte, what string) string { return fmt.Sprintf("sso_flows/%x/%s", hash, what) }

// Start remembers the browser and says how to send it to the provider. It asks an OpenID
// provider where that is, if that was not done lately, and has a transaction of its own,
// so call it outside of any. A test needs connections:write. It returns ErrNotFound,
// ErrDisabled, of a test ErrIncomplete, or ErrRefused.
func (s *Service) Start(ctx context.Context, by access.Actor, r Request) (Sent, error) {
	c, err := s.begin(ctx, by, r)
	if err != nil {
		return Sent{}, err
	}
	if len(r.Browser) == 0 {
		return Sent{}, errors.New("start flow: no browser to bind it to")
	}
	if c.Kind == OIDC {
		return s.startOIDC(ctx, by, c, r)
	}
	return s.startSAML(ctx, by, c, r)
}

// begin returns the connection, if it may be used like that.
func (s *Service) begin(ctx context.Context, by access.Actor, r Request) (Connection, error) {
	c, err := s.cached(ctx, by.Tenant, r.Connection)
	if err != nil {
		return c, err
	}
	if r.Test {
		if err := by.Require(access.ConnectionsWrite); err != nil {
			return c, err
		}
		return c, c.complete()
	}
	if c.State != Active {
		return c, ErrDisabled
	}
	return c, s.Organization(ctx, s.DB, by.Tenant, c.OrganizationID)
}

// remember writes a flow. Its state is random and leads to it.
func (s *Service) remember(ctx context.Context, by access.Actor, f *flow, browser []byte) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		f.ID = tx.NewID()
		return insertFlow(ctx, tx, by.Tenant, *f, browser, tx.Now.Add(Life))
	})
}

// Look says which flow a handle belongs to and who came back, without using it up, so
// that somebody can be asked first. A flow that the provider began becomes that of the
// browser that looks at it first. The browser is the hash of what only it has. It
// returns ErrFlow.
func (s *Service) Look(ctx context.Context, by access.Actor, handle string, browser []byte) (Profile, Flow, error) {
	if len(handle) > 64 || len(browser) == 0 {
		return Profile{}, Flow{}, ErrFlow
	}
	hash := secret.Hash(handle)
	f, sealed, err := lookFlow(ctx, s.DB, by.Tenant, hash, browser, s.DB.Now())
	if errors.Is(err, ErrFlow) {
		err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			if err := bindFlow(ctx, tx, by.Tenant, hash, browser); err != nil {
				return err
			}
			f, sealed, err = lookFlow(ctx, tx, by.Tenant, hash, browser, tx.Now)
			return err
		})
	}
	if err != nil {
		return Profile{}, Flow{}, err
	}
	return s.open(ctx, by, f, sealed)
}

// Claim returns who came back, once, to the browser that was sent. Of a test, and of a
// refusal (ErrRefused), it returns the Flow and no profile. It returns one of Problems.
func (s *Service) Claim(ctx context.Context, by access.Actor, handle string, browser []byte) (Profile, Flow, error) {
	if len(handle) > 64 || len(browser) == 0 {
		return Profile{}, Flow{}, ErrFlow
	}
	var f flow
	var sealed []byte
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		f, sealed, err = claimFlow(ctx, tx, by.Tenant, secret.Hash(handle), browser)
		return err
	})
	if err != nil {
		return Profile{}, Flow{}, err
	}
	return s.open(ctx, by, f, sealed)
}

// open reads what is held.
func (s *Service) open(ctx context.Context, by access.Actor, f flow, sealed []byte) (Profile, Flow, error) {
	out := Flow{ID: f.ID, Connection: f.Connection, Attempt: f.Attempt, Unsolicited: f.Unsolicited, Test: f.Test}
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return Profile{}, out, err
	}
	plain, err := box.Open(place(f.hash, "answer"), sealed)
	if err != nil {
		return Profile{}, out, err
	}
	var a answer
	if err := json.Unmarshal(plain, &a); err != nil {
		return Profile{}, out, fmt.Errorf("read what came back: %w", err)
	}
	out.Trace = a.Trace
	return s.finished(ctx, by, out, a)
}

// finished is how every flow ends: with a profile, whose address is judged now, if it
// was no test and not refused.
func (s *Service) finished(ctx context.Context, by access.Actor, f Flow, a answer) (Profile, Flow, error) {
	switch {
	case a.Cause != "":
		return Profile{}, f, ErrRefused.Because("%s at connection %s, see trace %s", a.Cause, f.Connection, a.Trace)
	case f.Test:
		return Profile{}, f, nil
	}
	if err := s.lead(ctx, by, &f); err != nil {
		return Profile{}, f, err
	}
	p := a.Profile
	if err := s.Organization(ctx, s.DB, by.Tenant, p.OrganizationID); err != nil {
		return Profile{}, f, err
	}
	proved, err := s.Proves(ctx, s.DB, by.Tenant, p.OrganizationID, p.Email)
	if err != nil {
		return Profile{}, f, err
	}
	p.EmailVerified = proved
	return p, f, nil
}

// lead says where somebody goes who began at the provider.
func (s *Service) lead(ctx context.Context, by access.Actor, f *Flow) error {
	if !f.Unsolicited {
		return nil
	}
	c, err := s.cached(ctx, by.Tenant, f.Connection)
	if err != nil {
		return err
	}
	f.Landing, err = s.landing(ctx, c)
	if p, ok := problem.From(err); ok {
		err = ErrRefused.Because("connection %s leads nowhere: %w", c.ID, p)
	}
	return err
}

func insertFlow(ctx context.Context, tx *database.Tx, tenant string, f flow, browser []byte, until time.Time) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO sso_flows (tenant_id, state_hash, id, connection_id, attempt, browser_hash, nonce, verifier, redirect_uri, is_test, unsolicited, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		tenant, f.hash, f.ID, f.Connection, f.Attempt, append([]byte{}, browser...), f.Nonce, append([]byte{}, f.sealed...), f.RedirectURI, f.Test, f.Unsolicited, tx.Millis(), until.UnixMilli())
	if database.IsMissingParent(err) {
		return ErrNotFound // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("insert flow: %w", err)
	}
	return nil
}

const flowColumns = `state_hash, id, connection_id, attempt, nonce, verifier, redirect_uri, is_test, unsolicited, created_at, answered_at IS NOT NULL`

func scanFlow(row database.Scanner, more ...any) (f flow, err error) {
	var created int64
	err = row.Scan(append([]any{&f.hash, &f.ID, &f.Connection, &f.Attempt, &f.Nonce, &f.sealed, &f.RedirectURI, &f.Test, &f.Unsolicited, &created, &f.answered}, more...)...)
	f.CreatedAt = at(created)
	return f, err
}

// findFlow returns a flow that was begun here and is not over, answered or not.
func findFlow(ctx context.Context, db database.Reader, tenant string, hash []byte, connection string, now time.Time) (flow, error) {
	f, err := scanFlow(db.QueryRow(ctx, `
		SELECT `+flowColumns+` FROM sso_flows
		WHERE tenant_id = $1 AND state_hash = $2 AND connection_id = $3 AND NOT unsolicited AND expires_at > $4`, tenant, hash, connection, now.UnixMilli()))
	return f, orMissing(err, ErrFlow, "find flow")
}

// inUse is the condition that the connection of a flow may still be used for it.
const inUse = `EXISTS (SELECT 1 FROM sso_connections c WHERE c.tenant_id = $1 AND c.id = connection_id AND (c.state = 'active' OR is_test))`

// answerFlow is one statement, so that of many responses to one request one counts.
func answerFlow(ctx context.Context, tx *database.Tx, tenant string, hash, handle, sealed []byte) (bool, error) {
	n, err := tx.Exec(ctx, `
		UPDATE sso_flows SET handle_hash = $3, answer = $4, answered_at = $5, expires_at = $6
		WHERE tenant_id = $1 AND state_hash = $2 AND answered_at IS NULL AND used_at IS NULL AND expires_at > $5 AND `+inUse,
		tenant, hash, handle, sealed, tx.Millis(), tx.Now.Add(handleLife).UnixMilli())
	if err != nil {
		return false, fmt.Errorf("answer flow: %w", err)
	}
	return n > 0, nil
}

// spendFlow is one statement, so that of many who come with a state one goes on. Who
// comes from another browser, or to another connection, does not use it up.
func spendFlow(ctx context.Context, tx *database.Tx, tenant string, hash []byte, connection string, browser []byte) (flow, error) {
	f, err := scanFlow(tx.QueryRow(ctx, `
		UPDATE sso_flows SET used_at = $5
		WHERE tenant_id = $1 AND state_hash = $2 AND connection_id = $3 AND browser_hash = $4 AND NOT unsolicited AND used_at IS NULL AND expires_at > $5 AND `+inUse+`
		RETURNING `+flowColumns, tenant, hash, connection, browser, tx.Millis()))
	return f, orMissing(err, ErrFlow, "spend flow")
}

// claimFlow is one statement, so that what is held is claimed once.
func claimFlow(ctx context.Context, tx *database.Tx, tenant string, handle, browser []byte) (f flow, sealed []byte, err error) {
	f, err = scanFlow(tx.QueryRow(ctx, `
		UPDATE sso_flows SET used_at = $4
		WHERE tenant_id = $1 AND handle_hash = $2 AND browser_hash = $3 AND used_at IS NULL AND expires_at > $4 AND `+inUse+`
		RETURNING `+flowColumns+`, answer`, tenant, handle, browser, tx.Millis()), &sealed)
	return f, sealed, orMissing(err, ErrFlow, "claim flow")
}

func lookFlow(ctx context.Context, db database.Reader, tenant string, handle, browser []byte, now time.Time) (f flow, sealed []byte, err error) {
	f, err = scanFlow(db.QueryRow(ctx, `
		SELECT `+flowColumns+`, answer FROM sso_flows
		WHERE tenant_id = $1 AND handle_hash = $2 AND browser_hash = $3 AND used_at IS NULL AND expires_at > $4 AND `+inUse, tenant, handle, browser, now.UnixMilli()), &sealed)
	return f, sealed, orMissing(err, ErrFlow, "look at flow")
}

// bindFlow gives a flow that a provider began to the browser that comes first.
func bindFlow(ctx context.Context, tx *database.Tx, tenant string, handle, browser []byte) error {
	n, err := tx.Exec(ctx, `
		UPDATE sso_flows SET browser_hash = $3
		WHERE tenant_id = $1 AND handle_hash = $2 AND browser_hash = $5 AND unsolicited AND used_at IS NULL AND expires_at > $4`,
		tenant, handle, browser, tx.Millis(), []byte{})
	return orNone(n, err, ErrFlow, "bind flow")
}

// takeMessage notes that a message was taken, and reports whether it is the first time.
// It is one statement, so that of many at once one is first.
func takeMessage(ctx context.Context, tx *database.Tx, tenant, connection, id string, until time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO sso_messages (tenant_id, connection_id, message_hash, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, connection_id, message_hash) DO NOTHING`, tenant, connection, secret.Hash(id), until.Add(time.Minute).UnixMilli())
	if err != nil {
		return false, fmt.Errorf("take message: %w", err)
	}
	return n > 0, nil
}
