package sso

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// An Identity is whom a user is at a connection.
type Identity struct {
	ID         string
	Connection string
	Label      string // what people know the connection as; of Identities only
	Issuer     string
	Subject    string
	UserID     string
	Email      string // there; shown only
	CreatedAt  time.Time
	UsedAt     time.Time
	Held       bool // it signs nobody in until it is confirmed
}

// SignIn returns the user whose identity p is, and notes that it was used; found is
// false if it is nobody's. One that is held is nobody's if the organization has proved the
// address of p, for then it may be linked anew; else it is ErrHeld. It returns ErrNotFound
// or ErrDisabled if the connection signs nobody in any more. It is one statement if somebody
// is found.
func (s *Service) SignIn(ctx context.Context, tx *database.Tx, by access.Actor, p Profile) (user string, found bool, err error) {
	user, err = useIdentity(ctx, tx, by.Tenant, p)
	if err != nil || user != "" {
		return user, user != "", err
	}
	if _, err = s.ByID(ctx, tx, by.Tenant, p.Connection); err != nil || p.EmailVerified {
		return "", false, err
	}
	held, err := isHeld(ctx, tx, by.Tenant, p)
	if err == nil && held {
		err = ErrHeld
	}
	return "", false, err
}

// Link makes p an identity of a user, who has proved to be that user or belongs to the
// organization that has proved the address. It returns ErrLinked if it is an identity
// already, of whomever, and is not held.
func (s *Service) Link(ctx context.Context, tx *database.Tx, by access.Actor, user string, p Profile) error {
	if _, err := s.ByID(ctx, tx, by.Tenant, p.Connection); err != nil {
		return err
	}
	i := Identity{ID: tx.NewID(), Connection: p.Connection, Issuer: p.Issuer, Subject: p.Subject, UserID: user, Email: p.Email, CreatedAt: tx.Now, UsedAt: tx.Now}
	if err := insertIdentity(ctx, tx, by.Tenant, i); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "identity.linked", Target: "user", TargetID: user, Method: "sso",
		Detail: map[string]any{"connection": p.Connection, "organization": p.OrganizationID, "identity": i.ID}})
}

// Identities lists those of a user by creation, at most 100.
func (s *Service) Identities(ctx context.Context, db database.Reader, tenant, user string) ([]Identity, error) {
	return listIdentities(ctx, db, tenant, user)
}

// Unlink removes the identities of a user at all connections of an organization: of
// somebody who is no member any more.
func (s *Service) Unlink(ctx context.Context, tx *database.Tx, by access.Actor, organization, user string) error {
	n, err := deleteIdentities(ctx, tx, by.Tenant, organization, user)
	if err != nil || n == 0 {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "identity.unlinked", Target: "user", TargetID: user, Detail: map[string]any{"organization": organization, "count": n}})
}

// useIdentity finds by the whole key and nothing else, at a connection that is active.
func useIdentity(ctx context.Context, tx *database.Tx, tenant string, p Profile) (user string, err error) {
	err = tx.QueryRow(ctx, `
		UPDATE sso_identities SET email = $5, used_at = $6
		WHERE tenant_id = $1 AND connection_id = $2 AND issuer = $3 AND subject = $4
			AND EXISTS (SELECT 1 FROM sso_connections c WHERE c.tenant_id = $1 AND c.id = $2 AND c.state = 'active')
			AND held_at IS NULL
		RETURNING user_id`,
		tenant, p.Connection, p.Issuer, p.Subject, p.Email, tx.Millis()).Scan(&user)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("use identity: %w", err)
	}
	return user, nil
}

// insertIdentity relies on the primary key: of two users for whom the same account is
// linked at once one gets it. One that is held gives way.
func insertIdentity(ctx context.Context, tx *database.Tx, tenant string, i Identity) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO sso_identities (tenant_id, connection_id, issuer, subject, id, user_id, email, created_at, used_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (tenant_id, connection_id, issuer, subject) DO UPDATE SET id = excluded.id, user_id = excluded.user_id, email = excluded.email,
			created_at = excluded.created_at, used_at = excluded.used_at, held_at = NULL
		WHERE sso_identities.tenant_id = excluded.tenant_id AND sso_identities.held_at IS NOT NULL`,
		tenant, i.Connection, i.Issuer, i.Subject, i.ID, i.UserID, i.Email, i.CreatedAt.UnixMilli(), i.UsedAt.UnixMilli())
	return orNone(n, err, ErrLinked, "insert identity")
}

func listIdentities(ctx context.Context, db database.Reader, tenant, user string) ([]Identity, error) {
	rows, err := db.Query(ctx, `
		SELECT i.id, i.connection_id, c.name, i.issuer, i.subject, i.user_id, i.email, i.created_at, i.used_at, i.held_at IS NOT NULL
		FROM sso_identities i JOIN sso_connections c ON c.tenant_id = i.tenant_id AND c.id = i.connection_id
		WHERE i.tenant_id = $1 AND i.user_id = $2 ORDER BY i.id LIMIT 100`, tenant, user)
	return database.Collect(rows, err, "list identities", func(row database.Scanner) (i Identity, err error) {
		var created, used int64
		err = row.Scan(&i.ID, &i.Connection, &i.Label, &i.Issuer, &i.Subject, &i.UserID, &i.Email, &created, &used, &i.Held)
		i.CreatedAt, i.UsedAt = at(created), at(used)
		return i, err
	})
}

func deleteIdentities(ctx context.Context, tx *database.Tx, tenant, organization, user string) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM sso_identities WHERE tenant_id = $1 AND user_id = $3
			AND connection_id IN (SELECT id FROM sso_connections WHERE tenant_id = $1 AND organization_id = $2)`, tenant, organization, user)
	if err != nil {
		return 0, fmt.Errorf("delete identities: %w", err)
	}
	return n, nil
}
