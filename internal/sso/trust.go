package sso

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
)

// Whoever may write connections, an organization's own administrator by a portal link
// among them, could have any of its people signed in by a provider of their own. Of most
// people that is theirs to decide: the organization vouches for them. Those who hold
// something in the whole tenant are not signed in on that word. They prove to be who an
// identity says once, and again after a change of whom the connection trusts.

// IsProved reports whether the user whose identity p is has proved to be the one there,
// and whether the connection trusts nobody else since.
func (s *Service) IsProved(ctx context.Context, tx *database.Tx, by access.Actor, p Profile) (proved bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT 1 FROM sso_identities i JOIN sso_connections c ON c.tenant_id = i.tenant_id AND c.id = i.connection_id
			WHERE i.tenant_id = $1 AND i.connection_id = $2 AND i.issuer = $3 AND i.subject = $4 AND i.proved_at > c.trusted_at)`,
		by.Tenant, p.Connection, p.Issuer, p.Subject).Scan(&proved)
	if err != nil {
		return false, fmt.Errorf("look up proof of identity: %w", err)
	}
	return proved, nil
}

// LinkProved is Link for a user who has just proved to be the one that p shows. One that
// is theirs already is proved by it.
func (s *Service) LinkProved(ctx context.Context, tx *database.Tx, by access.Actor, user string, p Profile) error {
	if err := s.Link(ctx, tx, by, user, p); err != nil && !errors.Is(err, ErrLinked) {
		return err
	}
	n, err := tx.Exec(ctx, `
		UPDATE sso_identities SET proved_at = $6 WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4 AND user_id = $5`,
		by.Tenant, p.Connection, p.Issuer, p.Subject, user, tx.Millis())
	return orNone(n, err, ErrLinked, "note proof of identity")
}

// trusts are those settings of a connection that can decide whom an answer shows. All are
// but those that are named here, so that a new one counts until somebody has thought of it.
func (c Connection) trusts() string {
	o := c.Settings
	o.IdP = IdP{EntityID: o.IdP.EntityID}
	o.Attributes = map[string]string{"subject": o.Attributes["subject"]}
	o.GroupAttribute, o.GroupRules, o.NoSignUp, o.ForceAuthn, o.NoLogout = "", nil, false, false, false
	o.Target = Target{}
	o.SignRequests, o.RequireEncrypted, o.RequireResponseSigned, o.Contexts = false, false, false, nil
	return encode(o)
}

// trustsAnother reports whether a connection takes the word of somebody whose word it
// did not take before.
func (c Connection) trustsAnother(before Connection) bool {
	added := func(certificate string) bool { return !slices.Contains(before.Settings.IdP.Certificates, certificate) }
	return c.trusts() != before.trusts() || slices.ContainsFunc(c.Settings.IdP.Certificates, added)
}

// noteTrust notes that a connection trusts another than before.
func noteTrust(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, `UPDATE sso_connections SET trusted_at = $3 WHERE tenant_id = $1 AND id = $2`, tenant, id, tx.Millis())
	return orNone(n, err, ErrNotFound, "note whom a connection trusts")
}
