package portal

import (
	"context"
	"net/http"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
)

// more are the settings of a connection that most leave as they are; nil if it has none.
func (s *Service) more(ctx context.Context, v *visit, c sso.Connection, own string) (*page.PortalMore, error) {
	if c.Kind != sso.SAML || !has(c) {
		return nil, nil
	}
	lands, err := s.lands(ctx, v, c)
	return &page.PortalMore{
		Action: own + "/more", BeginThere: c.Settings.AllowUnsolicited, Land: c.Settings.Target.ApplicationID, Lands: lands,
		CanLogout: c.Settings.IdP.SLORedirect != "" || c.Settings.IdP.SLOPost != "", LogoutThere: !c.Settings.NoLogout,
	}, err
}

// lands are the applications that an organization may have its people land at: those of
// the tenant's own that say where somebody begins who comes from elsewhere. The one that
// a connection has is among them, whoever has chosen it.
func (s *Service) lands(ctx context.Context, v *visit, c sso.Connection) (out []page.ProviderChoice, err error) {
	apps, err := s.Tenants.Applications(ctx, s.DB, access.System(v.by.Tenant))
	for _, a := range apps {
		if mayLand(a) || a.ID == c.Settings.Target.ApplicationID && a.IsActive {
			out = append(out, page.ProviderChoice{Value: a.ID, Name: a.Name})
		}
	}
	if at := c.Settings.Target.ApplicationID; at != "" && !slices.ContainsFunc(out, func(p page.ProviderChoice) bool { return p.Value == at }) {
		out = append(out, page.ProviderChoice{Value: at})
	}
	return out, err
}

func mayLand(a tenant.Application) bool {
	return a.IsActive && !a.OAuth.ThirdParty && a.OAuth.InitiateLoginURI != ""
}

func (s *Service) postMore(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.change(w, r, v, page.StepTest, page.StepTest, func(c *sso.Connection) (string, error) {
		if c.Kind != sso.SAML {
			return "", sso.ErrInvalid
		}
		offered, err := s.lands(r.Context(), v, *c)
		if err != nil {
			return "", err
		}
		land := r.PostFormValue("land")
		if land != "" && !slices.ContainsFunc(offered, func(p page.ProviderChoice) bool { return p.Value == land }) {
			return "", sso.ErrInvalid.In("settings.target")
		}
		if land != c.Settings.Target.ApplicationID {
			c.Settings.Target = sso.Target{ApplicationID: land}
		}
		c.Settings.AllowUnsolicited = r.PostFormValue("begin_there") == "yes"
		if c.Settings.IdP.SLORedirect != "" || c.Settings.IdP.SLOPost != "" {
			c.Settings.NoLogout = r.PostFormValue("logout_there") != "yes"
		}
		return "", nil
	})
}
