// Package app puts the product together: it opens what the configuration names,
// builds every service, mounts every route and runs until it is told to stop.
//
//	Open   everything but the network: database, services, handler
//	Run    listen, work in the background, stop gracefully
//	Seed   the tenants, owner, application and key of the developer mode
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/kobil"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// An App is the product, opened.
type App struct {
	Config  Config
	Log     *slog.Logger
	DB      *database.DB
	Hasher  *passhash.Hasher
	Tenants *tenant.Service
	Users   *user.Service
	Router  *web.Router
	Handler http.Handler // what listens answers with
}

// Open opens the database of a checked configuration, migrates it unless the
// configuration says otherwise, and builds the product on it.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	db, err := database.Open(ctx, cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	a, err := build(ctx, cfg, log, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

func build(ctx context.Context, cfg Config, log *slog.Logger, db *database.DB) (*App, error) {
	key, err := secret.ParseMasterKey(cfg.MasterKey)
	if err != nil {
		return nil, err
	}
	master, err := secret.NewBox(key)
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, err
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	a := &App{Config: cfg, Log: log, DB: db, Router: &web.Router{}}
	a.Hasher = passhash.New(passhash.Default, []byte(cfg.PasswordPepper))
	a.Tenants = &tenant.Service{DB: db, Master: master, BaseHost: public.Hostname(), Default: cfg.DefaultTenant}
	if cfg.Dev {
		a.Tenants.Aliases = []string{"localhost", "127.0.0.1", "::1"}
	}
	a.Users = &user.Service{DB: db, Box: a.Tenants.Box, Connection: tenant.ManualConnection}
	if err := a.ensureMaster(ctx); err != nil {
		return nil, err
	}
	return a, a.mount()
}

// mount builds the handler: edge, then tenant and actor, then routes.
func (a *App) mount() error {
	a.mountHealth()
	a.Tenants.Mount(a.Router)
	a.Users.Mount(a.Router)
	(&kobil.Service{DB: a.DB, Tenants: a.Tenants, Users: a.Users, Hasher: a.Hasher, NewTenant: a.NewTenant}).Mount(a.Router)
	if err := a.mountDocs(); err != nil {
		return err
	}
	proxies, err := parsePrefixes(a.Config.TrustedProxies)
	if err != nil {
		return err
	}
	a.Handler = &web.Edge{
		Log: a.Log, TrustedProxies: proxies, AllowHTTP: a.Config.Dev, Dialect: dialectOf,
		Next: a.Tenants.Resolve(a.Router),
	}
	return nil
}

// dialectOf picks the form of errors by the surface that was asked.
func dialectOf(path string) web.Dialect {
	switch {
	case strings.HasPrefix(path, "/digitanium/"), strings.HasPrefix(path, "/auth/realms/"), strings.HasPrefix(path, "/realms/"):
		return kobil.Dialect
	default:
		return web.API
	}
}

func parsePrefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			a, addrErr := netip.ParseAddr(word)
			if addrErr != nil {
				return nil, fmt.Errorf("trusted proxies: %q is neither an address nor a prefix such as 10.0.0.0/8", word)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (a *App) mountHealth() {
	for _, probe := range []struct {
		path, summary string
		check         func(context.Context) error
	}{
		{"/livez", "Is the process alive", func(context.Context) error { return nil }},
		{"/readyz", "Does the database answer", a.DB.Ping},
	} {
		a.Router.Add(web.Route{Method: "GET", Paths: []string{probe.path}, Public: true,
			Endpoint: web.JSON(http.StatusOK, func(ctx context.Context, _ access.Actor, _ struct{}) (health, error) {
				if err := probe.check(ctx); err != nil {
					return health{}, errNotReady.Because("%w", err)
				}
				return health{"ok"}, nil
			}),
			Doc: web.Doc{Tag: "Health", Summary: probe.summary, Errors: []*problem.Problem{errNotReady}, Example: health{"ok"}}})
	}
}

type health struct {
	Status string `json:"status"`
}

// NewTenant makes a tenant with its built-in roles.
func (a *App) NewTenant(ctx context.Context, tx *database.Tx, by access.Actor, slug, name, kind string) (tenant.Tenant, map[string]role.Role, error) {
	t, err := a.Tenants.Create(ctx, tx, by, slug, name, kind)
	if err != nil {
		return t, nil, err
	}
	roles, err := role.Seed(ctx, tx, t.ID)
	return t, roles, err
}

// ensureMaster makes the operator's tenant in a new database.
func (a *App) ensureMaster(ctx context.Context) error {
	_, err := a.Tenants.BySlug(ctx, tenant.Master)
	if !errors.Is(err, tenant.ErrNotFound) {
		return err
	}
	err = a.DB.Write(ctx, func(tx *database.Tx) error {
		_, _, err := a.NewTenant(ctx, tx, access.System(""), tenant.Master, "Master", tenant.KindSSMS)
		return err
	})
	if errors.Is(err, tenant.ErrExists) { // another process was quicker
		return nil
	}
	return err
}

// Close closes the database.
func (a *App) Close() error { return a.DB.Close() }
