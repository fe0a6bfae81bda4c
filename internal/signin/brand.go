package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/web"
)

// Pages on the way into an organization look like that organization's: its invitation,
// and a sign-in from the moment on at which it is known where that leads, by an address of
// its domain, by the application or by the person's choice. Who opens such a page learns
// no more than the application's link or the address they have typed told them.

// brandOf is a tenant's brand with what an organization has of its own. One that has a
// logo or a name does not stand under the tenant's.
func brandOf(b page.Brand, o org.Organization) page.Brand {
	if o.Branding.LogoURL != "" || o.Branding.Name != "" {
		b.Name, b.LogoURL = organizationOf(o).Name, o.Branding.LogoURL
	}
	if o.Branding.Accent != "" {
		b.StyleURL = stylePath + "?" + url.Values{"organization": {o.ID}}.Encode()
	}
	return b
}

// dress gives the pages of an attempt the look of the organization that it leads into, if
// that is known. Without an answer they look like the tenant's.
func (s *Service) dress(r *http.Request, v *visit, a attempt) {
	ctx, name := r.Context(), a.Request.Organization
	if in := a.Request.Invited; in != nil {
		name = in.Organization
	}
	// Who types another address is asked by the tenant again.
	if from := a.Request.SSO; from != nil && from.Organization != "" && !r.URL.Query().Has("change") {
		name = from.Organization
	}
	s.Dress(ctx, &v.view, v.by.Tenant, name)
}

// Dress gives a page the look of an organization, named by id, slug or token; none for an
// empty name. Without an answer the page looks like the tenant's.
func (s *Service) Dress(ctx context.Context, view *page.View, tenantID, name string) {
	if name == "" {
		return
	}
	o, err := s.shownAs(ctx, tenantID, name)
	if err != nil {
		s.Log.ErrorContext(ctx, "an organization's look is left out of a page", "error", err)
		return
	}
	view.Brand = brandOf(view.Brand, o)
}

// shownAs is the organization of an id, slug or token as of at most a second ago; the zero
// value for none, or one that is switched off.
func (s *Service) shownAs(ctx context.Context, tenantID, name string) (org.Organization, error) {
	return s.looks.Get(s.DB.Now(), tenantID+name, func() (org.Organization, error) {
		o, err := s.Orgs.Named(ctx, s.DB, tenantID, name)
		if errors.Is(err, org.ErrNotFound) || err == nil && !o.IsActive {
			return org.Organization{}, nil
		}
		return o, err
	})
}

// getStyle answers with the colours of the tenant, or of one of its organizations. An
// organization without a colour has the tenant's.
func (s *Service) getStyle(w http.ResponseWriter, r *http.Request) error {
	ctx, tenantID := r.Context(), web.ActorOf(r.Context()).Tenant
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return err
	}
	c := page.Colors{Accent: t.Settings.Branding.Accent, Background: t.Settings.Branding.Background}
	if id := r.URL.Query().Get("organization"); id != "" {
		o, err := s.shownAs(ctx, tenantID, id)
		if err != nil {
			return err
		}
		if o.Branding.Accent != "" {
			c.Accent = o.Branding.Accent
		}
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, err = w.Write(page.StyleSheet(c))
	return err
}
