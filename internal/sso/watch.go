package sso

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// How often metadata are read anew; after a failure sooner, and then ever later.
const (
	refreshEvery = 24 * time.Hour
	refreshAgain = time.Hour
)

// warnings are how many days before the last certificate of a provider ends its
// organization is warned.
var warnings = []int{30, 14, 7, 1}

// nextWarning is when to warn of an end, Unix ms; 0 for never.
func nextWarning(end, after time.Time) int64 {
	for _, days := range warnings {
		if when := end.AddDate(0, 0, -days); !end.IsZero() && when.After(after) {
			return when.UnixMilli()
		}
	}
	return 0
}

// watched is how many connections one look takes; the rest waits for the next portion.
const watched = 100

// Refresh reads the metadata anew that are due. Run it every hour or so.
func (s *Service) Refresh(ctx context.Context) error {
	for {
		due, err := dueForRefresh(ctx, s.DB, s.DB.Now(), watched)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, c := range due {
			if err := s.refresh(ctx, c); err != nil {
				return err
			}
		}
	}
}

// refresh reads the metadata of a connection. Certificates and addresses in it are taken
// over; another entity id is not: it would be another provider.
func (s *Service) refresh(ctx context.Context, c Connection) error {
	by, before := access.System(c.tenant), c.ModifiedAt
	read, failed := s.fetchMetadata(ctx, c.Settings.MetadataURL)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cause := Cause("")
	switch _, isProblem := problem.From(failed); {
	case failed != nil && !isProblem:
		return failed
	case errors.Is(failed, ErrInvalid):
		cause = MetadataInvalid
	case failed != nil:
		cause = MetadataUnreachable
	case c.Settings.IdP.EntityID != "" && read.EntityID != c.Settings.IdP.EntityID:
		cause = MetadataInvalid
	}
	now := s.DB.Now()
	if cause != "" {
		c.failures++
		c.refresh = now.Add(min(refreshAgain<<min(c.failures-1, 10), refreshEvery)).UnixMilli()
		return s.noteRefresh(ctx, by, c, before, cause, nil)
	}
	changed := whatChanged(c.Settings.IdP, read)
	c.Settings.IdP, c.failures, c.refresh = read, 0, now.Add(refreshEvery).UnixMilli()
	c.warn = nextWarning(validUntil(c), now)
	return s.noteRefresh(ctx, by, c, before, "", changed)
}

// noteRefresh writes what came of it, unless somebody has changed the connection
// meanwhile: then it is due again at the next look.
func (s *Service) noteRefresh(ctx context.Context, by access.Actor, c Connection, before time.Time, cause Cause, changed []string) error {
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		c := c
		if len(changed) > 0 {
			c.ModifiedAt = later(tx.Now, before)
		}
		if err := updateConnection(ctx, tx, by.Tenant, c, before); err != nil {
			return err
		}
		s.forget(tx, c)
		if cause != "" {
			t := Trace{ID: tx.NewID(), Connection: c.ID, Test: true, Cause: cause, Detail: Detail{Steps: []Step{{Name: "metadata", Expected: "the metadata of " + c.Settings.IdP.EntityID}}, Fix: s.fix(c, cause, Us{})}}
			keepTrace(tx, by.Tenant, t)
			noteHealth(tx, by.Tenant, c.ID, cause)
			return nil
		}
		if len(changed) == 0 {
			return nil
		}
		return note(tx, by, c, "metadata_changed", map[string]any{"changed": changed, "certificates": fingerprints(c)})
	})
	if errors.Is(err, ErrChanged) {
		return nil
	}
	return err
}

// whatChanged names what differs.
func whatChanged(a, b IdP) (out []string) {
	if !slices.Equal(a.Certificates, b.Certificates) {
		out = append(out, "certificates")
	}
	if a.SSORedirect != b.SSORedirect || a.SSOPost != b.SSOPost || a.SLORedirect != b.SLORedirect || a.SLOPost != b.SLOPost || a.SLORedirectAnswer != b.SLORedirectAnswer || a.SLOPostAnswer != b.SLOPostAnswer {
		out = append(out, "addresses")
	}
	if a.EntityID != b.EntityID {
		out = append(out, "entity_id")
	}
	if a.WantSigned != b.WantSigned {
		out = append(out, "want_signed")
	}
	return out
}

// WarnOfCertificates warns organizations whose provider's certificates end soon. Run it
// every hour or so.
func (s *Service) WarnOfCertificates(ctx context.Context) error {
	for {
		due, err := dueForWarning(ctx, s.DB, s.DB.Now(), watched)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, c := range due {
			if err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.warnOf(ctx, tx, c) }); err != nil {
				return err
			}
		}
	}
}

func (s *Service) warnOf(ctx context.Context, tx *database.Tx, c Connection) error {
	end := validUntil(c)
	n, err := tx.Exec(ctx, `UPDATE sso_connections SET warn_at = $3 WHERE tenant_id = $1 AND id = $2 AND warn_at = $4`, c.tenant, c.ID, orNull(nextWarning(end, tx.Now)), c.warn)
	if err != nil || n == 0 { // another process has warned
		return orMissing(err, nil, "note a warning")
	}
	days := int(end.Sub(tx.Now).Hours()/24 + 0.5)
	by := access.System(c.tenant)
	if s.Warn != nil && c.State == Active {
		if err := s.Warn(ctx, tx, by, c, days); err != nil {
			return err
		}
	}
	return note(tx, by, c, "certificate_ends", map[string]any{"days": days, "ends_at": end.Format(time.RFC3339)})
}

func dueForRefresh(ctx context.Context, db database.Reader, now time.Time, limit int) ([]Connection, error) {
	rows, err := db.Query(ctx, `SELECT `+connectionColumns+` FROM sso_connections WHERE refresh_at <= $1 ORDER BY refresh_at LIMIT $2`, now.UnixMilli(), limit)
	return database.Collect(rows, err, "find metadata to refresh", scanConnection)
}

func dueForWarning(ctx context.Context, db database.Reader, now time.Time, limit int) ([]Connection, error) {
	rows, err := db.Query(ctx, `SELECT `+connectionColumns+` FROM sso_connections WHERE warn_at <= $1 ORDER BY warn_at LIMIT $2`, now.UnixMilli(), limit)
	return database.Collect(rows, err, "find certificates that end", scanConnection)
}
