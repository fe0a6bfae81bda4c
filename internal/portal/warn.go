package portal

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
)

// maxWarned is how many of an organization's administrators are written to.
const maxWarned = 10

// WarnOfCertificate writes to those who look after the organization of a connection that
// the certificate of their provider ends in so many days, each with a link to renew it.
// Nobody is written to once the organization has all the links it may have.
func (s *Service) WarnOfCertificate(ctx context.Context, tx *database.Tx, by access.Actor, c sso.Connection, days int) error {
	o, err := s.Orgs.Find(ctx, tx, by.Tenant, c.OrganizationID)
	if err != nil || !o.IsActive {
		return err
	}
	keepers, err := s.Orgs.Keepers(ctx, tx, by.Tenant, o.ID, maxWarned)
	if err != nil {
		return err
	}
	l := letter.Letter{Kind: letter.CertificateEnds, Channel: notify.Email, Application: o.Name, Lasts: time.Duration(max(days, 1)) * 24 * time.Hour}
	for _, id := range keepers {
		if err := s.warn(ctx, tx, by, o.ID, id, l); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	return nil
}

func (s *Service) warn(ctx context.Context, tx *database.Tx, by access.Actor, organization, keeper string, l letter.Letter) error {
	u, err := s.Orgs.Users.Find(ctx, tx, by, keeper)
	if err != nil || u.Email == "" || !u.EmailVerified || !u.IsActive {
		return err
	}
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return err
	}
	origin, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return err
	}
	link, key, err := s.Create(ctx, tx, by, organization, []string{page.PortalCertificates}, min(l.Lasts, MaxLife))
	if err != nil {
		return err
	}
	l.To, l.Language, l.Brand, l.Link = u.Email, lang.Pick("", u.Language, t.Settings.Branding.Language).Tag, letter.BrandOf(t), URL(origin, link, key)
	m, err := l.Message()
	if err != nil {
		return err
	}
	_, err = s.Notify.Send(ctx, tx, by.Tenant, m)
	return err
}
