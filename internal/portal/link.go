package portal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/secret"
)

// How long a link lives.
const (
	DefaultLife = 24 * time.Hour
	MaxLife     = 30 * 24 * time.Hour
	minLife     = time.Minute
	maxLinks    = 50 // that work, of an organization
	keepLinks   = 30 * 24 * time.Hour
)

// Intents are what a link can be for.
var Intents = []string{page.PortalSSO, page.PortalDirectory, page.PortalDomains, page.PortalCertificates, page.PortalLog}

// A Link lets whoever has its key set up some of one organization.
type Link struct {
	ID             string
	OrganizationID string
	Intents        []string
	CreatedBy      string
	CreatedAt      time.Time
	ExpiresAt      time.Time
	RevokedAt      time.Time // zero if it was not revoked
}

// is reports whether the link is for one of some intents; none stands for any.
func (l Link) is(intents []string) bool {
	return len(intents) == 0 || slices.ContainsFunc(intents, func(i string) bool { return slices.Contains(l.Intents, i) })
}

// actor is who acts by the link: a visitor with its permissions, under its name.
func (l Link) actor(visitor access.Actor) access.Actor {
	var may []access.Permission
	for _, i := range l.Intents {
		may = append(may, permissions[i]...)
	}
	by := visitor.With(may...)
	by.Name = "portal:" + l.ID
	return by
}

// require checks that the actor may give away all that a link can do.
func require(by access.Actor) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	return by.Require(access.ConnectionsWrite)
}

// Create makes a link for an organization and returns it with its key, which nobody
// can show again. A life of 0 stands for DefaultLife. It returns org.ErrNotFound,
// ErrInvalid or ErrFull. The actor needs organizations:write and connections:write.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, organization string, intents []string, life time.Duration) (Link, string, error) {
	if err := require(by); err != nil {
		return Link{}, "", err
	}
	if life == 0 {
		life = DefaultLife
	}
	if life < minLife || life > MaxLife {
		return Link{}, "", ErrInvalid.Saying("A link lives for at least a minute and at most 30 days.").In("expires_in")
	}
	if len(intents) == 0 {
		return Link{}, "", ErrInvalid.Saying("A link is for something: %s.", strings.Join(Intents, ", ")).In("intents")
	}
	for _, i := range intents {
		if !slices.Contains(Intents, i) {
			return Link{}, "", ErrInvalid.Saying("The intents are %s.", strings.Join(Intents, ", ")).In("intents")
		}
	}
	intents = slices.DeleteFunc(slices.Clone(Intents), func(i string) bool { return !slices.Contains(intents, i) })
	if err := s.organization(ctx, tx, by.Tenant, organization); err != nil {
		return Link{}, "", err
	}
	n, err := countLinks(ctx, tx, by.Tenant, organization)
	if err != nil {
		return Link{}, "", err
	}
	if n >= maxLinks {
		return Link{}, "", ErrFull
	}
	l := Link{ID: tx.NewID(), OrganizationID: organization, Intents: intents, CreatedBy: by.Name, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(life)}
	key, hash := secret.NewToken()
	if err := insertLink(ctx, tx, by.Tenant, l, hash); err != nil {
		return Link{}, "", err
	}
	return l, key, audit.Append(tx, by, audit.Event{Action: "organization.portal_link_created", Target: org.Target, TargetID: organization,
		Detail: map[string]any{"link": l.ID, "intents": intents, "expires_at": l.ExpiresAt}})
}

// organization checks that there is one that is active.
func (s *Service) organization(ctx context.Context, db database.Reader, tenant, id string) error {
	o, err := s.Orgs.Find(ctx, db, tenant, id)
	if err == nil && !o.IsActive {
		err = org.ErrNotFound
	}
	return err
}

// Revoke ends a link at once, or returns ErrNotFound. The actor needs
// organizations:write and connections:write.
func (s *Service) Revoke(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string) error {
	if err := require(by); err != nil {
		return err
	}
	if err := revokeLink(ctx, tx, by.Tenant, organization, id); err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "organization.portal_link_revoked", Target: org.Target, TargetID: organization, Detail: map[string]any{"link": id}})
}

// List returns the links of an organization, newest first, at most 100, also those
// that ended in the last 30 days. The actor needs organizations:read.
func (s *Service) List(ctx context.Context, db database.Reader, by access.Actor, organization string) ([]Link, error) {
	if err := by.Require(access.OrganizationsRead); err != nil {
		return nil, err
	}
	if _, err := s.Orgs.Find(ctx, db, by.Tenant, organization); err != nil {
		return nil, err
	}
	return listLinks(ctx, db, by.Tenant, organization)
}

// Sweep forgets links that ended 30 days ago.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = sweepLinks(ctx, tx, tx.Now.Add(-keepLinks), portion)
			return err
		})
		if err != nil || n < portion {
			return err
		}
	}
}

const linkColumns = `id, organization_id, intents, created_by, created_at, expires_at, COALESCE(revoked_at, 0)`

func scanLink(row database.Scanner) (l Link, err error) {
	var intents string
	var created, expires, revoked int64
	err = row.Scan(&l.ID, &l.OrganizationID, &intents, &l.CreatedBy, &created, &expires, &revoked)
	l.Intents, l.CreatedAt, l.ExpiresAt = strings.Fields(intents), time.UnixMilli(created).UTC(), time.UnixMilli(expires).UTC()
	if revoked != 0 {
		l.RevokedAt = time.UnixMilli(revoked).UTC()
	}
	return l, err
}

func insertLink(ctx context.Context, tx *database.Tx, tenant string, l Link, hash []byte) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO portal_links (tenant_id, id, organization_id, token_hash, intents, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		tenant, l.ID, l.OrganizationID, hash, strings.Join(l.Intents, " "), l.CreatedBy, l.CreatedAt.UnixMilli(), l.ExpiresAt.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert portal link: %w", err)
	}
	return nil
}

func countLinks(ctx context.Context, tx *database.Tx, tenant, organization string) (n int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(*) FROM portal_links
		WHERE tenant_id = $1 AND organization_id = $2 AND revoked_at IS NULL AND expires_at > $3`, tenant, organization, tx.Millis()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count portal links: %w", err)
	}
	return n, nil
}

// openLink finds a link that works by all that must be right about it.
func openLink(ctx context.Context, db database.Reader, tenant, id string, hash []byte, now time.Time) (Link, error) {
	l, err := scanLink(db.QueryRow(ctx, `
		SELECT `+linkColumns+` FROM portal_links
		WHERE tenant_id = $1 AND id = $2 AND token_hash = $3 AND revoked_at IS NULL AND expires_at > $4`, tenant, id, hash, now.UnixMilli()))
	if errors.Is(err, database.ErrNoRows) {
		return Link{}, ErrGone
	}
	if err != nil {
		return Link{}, fmt.Errorf("open portal link: %w", err)
	}
	return l, nil
}

func listLinks(ctx context.Context, db database.Reader, tenant, organization string) ([]Link, error) {
	rows, err := db.Query(ctx, `
		SELECT `+linkColumns+` FROM portal_links
		WHERE tenant_id = $1 AND organization_id = $2 ORDER BY id DESC LIMIT 100`, tenant, organization)
	return database.Collect(rows, err, "list portal links", scanLink)
}

func revokeLink(ctx context.Context, tx *database.Tx, tenant, organization, id string) error {
	n, err := tx.Exec(ctx, `
		UPDATE portal_links SET revoked_at = $4
		WHERE tenant_id = $1 AND organization_id = $2 AND id = $3 AND revoked_at IS NULL AND expires_at > $4`, tenant, organization, id, tx.Millis())
	if err != nil {
		return fmt.Errorf("revoke portal link: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

func sweepLinks(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM portal_links WHERE (tenant_id, id) IN (
			SELECT tenant_id, id FROM portal_links WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep portal links: %w", err)
	}
	return n, nil
}
