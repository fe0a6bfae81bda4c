package cli

import (
	"context"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

type appCommands struct {
	List         appList         `cmd:"" help:"List the applications."`
	Create       appCreate       `cmd:"" help:"Create an application and print its secret, once."`
	Update       appUpdate       `cmd:"" help:"Change an application; what is not named stays."`
	RotateSecret appRotateSecret `cmd:"" help:"Make a new secret and print it, once; the old one works for a while."`
	Delete       appDelete       `cmd:"" help:"Delete an application."`
}

type appForm struct {
	ID             string    `json:"id"`
	ClientID       string    `json:"client_id"`
	ClientSecret   string    `json:"client_secret,omitempty"` // only when it was made
	Name           string    `json:"name"`
	RedirectURIs   []string  `json:"redirect_uris"`
	AllowedOrigins []string  `json:"allowed_origins"`
	IsActive       bool      `json:"is_active"`
	CreatedAt      time.Time `json:"created_at"`
	ModifiedAt     time.Time `json:"modified_at"`
}

func appFormOf(a tenant.Application, key string) appForm {
	return appForm{a.ID, a.ClientID, key, a.Name, append([]string{}, a.RedirectURIs...), append([]string{}, a.AllowedOrigins...), a.IsActive, a.CreatedAt, a.ModifiedAt}
}

func (f appForm) show(p *program, asJSON bool) error {
	return show(p.out, asJSON, f, "id", f.ID, "name", f.Name, "client_id", f.ClientID, "client_secret", f.ClientSecret,
		"redirect_uris", f.RedirectURIs, "allowed_origins", f.AllowedOrigins, "active", f.IsActive)
}

type appList struct {
	onTenant
	format
}

// Run lists.
func (c *appList) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		apps, err := s.Tenants.Applications(s.ctx, s.DB, by)
		if err != nil {
			return err
		}
		forms := make([]appForm, len(apps))
		for i, a := range apps {
			forms[i] = appFormOf(a, "")
		}
		return list(p.out, c.JSON, forms, "ID NAME ACTIVE CREATED CLIENT_ID", func(f appForm) []any {
			return []any{f.ID, f.Name, f.IsActive, f.CreatedAt, f.ClientID}
		})
	})
}

type appCreate struct {
	onTenant
	format
	Name          string   `arg:"" help:"What people see."`
	RedirectURI   []string `sep:"none" placeholder:"URL" help:"Where sign-in may return to; may be repeated."`
	AllowedOrigin []string `sep:"none" placeholder:"ORIGIN" help:"Origin whose pages may call the API; may be repeated."`
	oauthFlags
}

// oauthFlags are the OAuth settings that are asked for most. The API has all of them.
type oauthFlags struct {
	Public     bool     `help:"It can keep no secret: a page or a program on its user's machine."`
	Native     bool     `help:"It runs on its user's own machine and may use any port on loopback."`
	ThirdParty bool     `help:"It belongs to somebody else: users are asked for consent."`
	Grant      []string `sep:"none" placeholder:"TYPE" help:"Grant type it may use, in place of the usual ones; may be repeated."`
	Scope      []string `sep:"none" placeholder:"SCOPE" help:"Scope it may have for itself; may be repeated."`
	LogoutURI  []string `sep:"none" placeholder:"URL" help:"Where signing out may lead to; may be repeated."`
	LoginURI   string   `placeholder:"URL" help:"Where somebody begins who comes from elsewhere, such as an organization's identity provider."`
}

func (f oauthFlags) settings() tenant.OAuth {
	o := tenant.OAuth{ThirdParty: f.ThirdParty, GrantTypes: f.Grant, Scopes: f.Scope, PostLogoutRedirectURIs: f.LogoutURI, InitiateLoginURI: f.LoginURI}
	if f.Public {
		o.AuthMethod = tenant.AuthNone
	}
	if f.Native {
		o.ApplicationType = "native"
	}
	return o
}

// Run creates.
func (c *appCreate) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		var f appForm
		err := s.write(func(tx *database.Tx) error {
			a, key, err := s.Tenants.CreateApplication(s.ctx, tx, by, tenant.Application{
				Name: c.Name, RedirectURIs: c.RedirectURI, AllowedOrigins: c.AllowedOrigin, OAuth: c.settings(),
			})
			f = appFormOf(a, key)
			return err
		})
		if err != nil {
			return err
		}
		return f.show(p, c.JSON)
	})
}

// oneApp names an application.
type oneApp struct {
	App string `arg:"" placeholder:"ID" help:"Its id or client id."`
}

// find returns the application, which may be named by either of its ids.
func (o oneApp) find(ctx context.Context, tenants *tenant.Service, db database.Reader, by access.Actor) (tenant.Application, error) {
	apps, err := tenants.Applications(ctx, db, by)
	for _, a := range apps {
		if a.ID == o.App || a.ClientID == o.App {
			return a, nil
		}
	}
	if err == nil {
		err = tenant.ErrApplicationNotFound
	}
	return tenant.Application{}, err
}

type appUpdate struct {
	onTenant
	format
	oneApp
	Name          *string  `help:"New name."`
	RedirectURI   []string `sep:"none" placeholder:"URL" help:"Where sign-in may return to, in place of those before; may be repeated."`
	AllowedOrigin []string `sep:"none" placeholder:"ORIGIN" help:"Origins whose pages may call the API, in place of those before; may be repeated."`
	Active        *bool    `negatable:"" help:"Whether it works."`
}

// Run updates.
func (c *appUpdate) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		var f appForm
		err := s.write(func(tx *database.Tx) error {
			a, err := c.find(s.ctx, s.Tenants, tx, by)
			if err != nil {
				return err
			}
			if c.Name != nil {
				a.Name = *c.Name
			}
			if c.RedirectURI != nil {
				a.RedirectURIs = given(c.RedirectURI)
			}
			if c.AllowedOrigin != nil {
				a.AllowedOrigins = given(c.AllowedOrigin)
			}
			if c.Active != nil {
				a.IsActive = *c.Active
			}
			a, err = s.Tenants.SaveApplication(s.ctx, tx, by, a)
			f = appFormOf(a, "")
			return err
		})
		if err != nil || !c.JSON {
			return err
		}
		return f.show(p, true)
	})
}

// given lets one empty value stand for an empty list.
func given(values []string) []string {
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
}

type appRotateSecret struct {
	onTenant
	format
	oneApp
	Overlap string `default:"24h" placeholder:"SPAN" help:"How long the old secrets still work; 0s ends them at once. Default: ${default}."`
}

// Run rotates.
func (c *appRotateSecret) Run(p *program) error {
	overlap, err := parseSpan(c.Overlap)
	if err != nil {
		return usage("--overlap: %q is not a span such as 24h or 7d", c.Overlap)
	}
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		var out struct {
			ClientID     string    `json:"client_id"`
			ClientSecret string    `json:"client_secret"`
			OthersExpire time.Time `json:"others_expire_at"`
		}
		err := s.write(func(tx *database.Tx) error {
			a, err := c.find(s.ctx, s.Tenants, tx, by)
			if err != nil {
				return err
			}
			out.ClientID, out.OthersExpire = a.ClientID, tx.Now.Add(overlap)
			out.ClientSecret, err = s.Tenants.RotateSecret(s.ctx, tx, by, a.ID, overlap)
			return err
		})
		if err != nil {
			return err
		}
		return show(p.out, c.JSON, out, "client_id", out.ClientID, "client_secret", out.ClientSecret, "others_expire_at", out.OthersExpire)
	})
}

type appDelete struct {
	onTenant
	oneApp
	Yes bool `short:"y" help:"Do not ask."`
}

// Run deletes.
func (c *appDelete) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		a, err := c.find(s.ctx, s.Tenants, s.DB, by)
		if err != nil {
			return err
		}
		if err := p.confirm(c.Yes, "delete application "+cell(a.Name)+" of tenant "+t.Slug, a.Name); err != nil {
			return err
		}
		return s.write(func(tx *database.Tx) error { return s.Tenants.DeleteApplication(s.ctx, tx, by, a.ID) })
	})
}
