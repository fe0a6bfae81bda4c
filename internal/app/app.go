// Package app puts the product together: it opens what the configuration names,
// builds every service, mounts every route and runs until it is told to stop.
//
//	Load    the configuration, from flags, environment, file and defaults
//	Open    everything but the network: database, services, handler
//	Attach  the same beside a running server, for a command
//	Run     answer, work in the background, stop gracefully
//	Seed    the tenants, owner, application and key of the developer mode
//
// An attacker would read a secret out of a file, a log or an error, or have the
// server start with less protection than its operator believes: files of secrets
// that others can read are refused, nothing here prints a secret, and a start
// fails with all that is wrong rather than with a default in its place.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/kobil"
	"github.com/cardea-id/cardea/internal/logs"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/testidp"
	"github.com/cardea-id/cardea/internal/transfer"
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
	Notify  *notify.Service
	// Outbound calls the addresses that tenants, applications and strangers name.
	Outbound *outbound.Client
	Jobs     *jobs.Queue
	Imports  *transfer.Service
	identity
	TestIdP *testidp.Service // of the developer mode, else nil
	Router  *web.Router
	Handler http.Handler // what Run answers with; nil after Attach

	metrics *metrics // nil if nobody asks for them
}

// What can be wrong with a database. Each says what to do.
var (
	ErrNoDatabase  = errors.New("there is no database")
	ErrNotMigrated = errors.New("the database is not up to date")
	ErrWrongKey    = errors.New("the master key is not the one this database was made with")
)

var errNotReady = problem.New(problem.Unavailable, "unavailable", "Not ready: the database does not answer.")

// Open opens the database of a checked configuration for a server, makes it if it
// is missing, migrates it, and builds the product on it. It fails with ErrWrongKey
// if the master key does not open what is sealed there.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	if path, ok := sqliteFile(cfg.DatabaseURL); ok {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("the folder of the database %s can not be used, make it first: %w", path, err)
		}
	}
	return open(ctx, cfg, log, (*database.DB).Migrate, func(a *App) error {
		if cfg.MetricsListen != "" {
			a.metrics = newMetrics(a.DB, a.Hasher.Work, cfg.Version)
		}
		return a.mount()
	})
}

// Attach opens the database for a command, which may run beside a server: it must
// be there, or the error is ErrNoDatabase, and have all migrations, or it is
// ErrNotMigrated, because only an operator decides when to migrate. There are no
// routes and no handler.
func Attach(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	if err := FindDatabase(cfg); err != nil {
		return nil, err
	}
	return open(ctx, cfg, log, func(db *database.DB, ctx context.Context) error {
		pending, err := db.Pending(ctx)
		if err == nil && len(pending) > 0 {
			err = fmt.Errorf("%w: %d steps are missing; run: cardea migrate", ErrNotMigrated, len(pending))
		}
		return err
	}, func(*App) error { return nil })
}

// sqliteFile returns the file of a SQLite address.
func sqliteFile(url string) (path string, ok bool) { return strings.CutPrefix(url, "sqlite:") }

// FindDatabase returns ErrNoDatabase if the configuration names a file that is not
// there. Opening it would make it.
func FindDatabase(cfg Config) error {
	path, ok := sqliteFile(cfg.DatabaseURL)
	if !ok {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w: %w; name the one you mean with --database-url or CARDEA_DATABASE_URL, or make it with: cardea migrate", ErrNoDatabase, err)
	}
	return nil
}

// open opens the database and builds what works on it. While the database is got ready,
// meanwhile does what needs none: a start is to take as long as one of the two.
func open(ctx context.Context, cfg Config, log *slog.Logger, prepare func(*database.DB, context.Context) error, meanwhile func(*App) error) (*App, error) {
	db, err := database.Open(ctx, cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	a, err := build(cfg, log, db)
	if err == nil {
		ready := make(chan error, 1)
		go func() { ready <- a.ready(ctx, prepare) }()
		err = meanwhile(a)
		err = errors.Join(<-ready, err)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

func (a *App) ready(ctx context.Context, prepare func(*database.DB, context.Context) error) error {
	if err := a.DB.Ping(ctx); err != nil {
		return err
	}
	if err := prepare(a.DB, ctx); err != nil {
		return err
	}
	return a.ensureMaster(ctx)
}

func build(cfg Config, log *slog.Logger, db *database.DB) (*App, error) {
	key, err := secret.ParseMasterKey(cfg.MasterKey)
	if err != nil {
		return nil, err
	}
	master, err := secret.NewBox(key)
	if err != nil {
		return nil, err
	}
	a := &App{Config: cfg, Log: log, DB: db, Router: &web.Router{}}
	a.Hasher = passhash.New(passhash.Default, []byte(cfg.PasswordPepper))
	a.Tenants = &tenant.Service{DB: db, Log: log, Master: master, Limits: &ratelimit.Limiter{DB: db}, PublicURL: strings.TrimSuffix(cfg.PublicURL, "/"), BaseHost: cfg.publicHost(), Default: cfg.DefaultTenant}
	if cfg.Dev {
		a.Tenants.Aliases = []string{"localhost", "127.0.0.1", "::1"}
	}
	if a.Outbound, err = cfg.outbound(log); err != nil {
		return nil, err
	}
	a.Users = &user.Service{DB: db, Box: a.Tenants.Box, Connection: tenant.ManualConnection}
	a.Imports = &transfer.Service{DB: db, Users: a.Users, Spool: cfg.spool(), Log: log}
	if err := a.buildNotify(master); err != nil {
		return nil, err
	}
	if err := a.buildIdentity(); err != nil {
		return nil, err
	}
	a.keepHouse()
	a.keepIdentity()
	return a, nil
}

// spool is the folder of files that wait for their import, empty for none.
func (c Config) spool() string {
	if c.Spool != "" {
		return c.Spool
	}
	if c.DataDir != "" {
		return filepath.Join(c.DataDir, "spool")
	}
	if path, ok := sqliteFile(c.DatabaseURL); ok {
		return filepath.Join(filepath.Dir(path), "spool")
	}
	return ""
}

// buildNotify connects mail and jobs. The developer mode keeps what nobody else
// sends, to look at.
func (a *App) buildNotify(master *secret.Box) error {
	messages, err := secret.NewBox(master.Derive("messages"))
	if err != nil {
		return err
	}
	a.Notify = &notify.Service{DB: a.DB, Boxes: []*secret.Box{messages}}
	if a.Config.Dev {
		a.Notify.Email, a.Notify.SMS = notify.Mailbox{}, notify.Mailbox{}
	}
	if a.Config.SMTPURL != "" {
		smtp, err := a.Config.mailer()
		if err != nil {
			return err
		}
		a.Notify.Email = smtp
	}
	if sms := a.Config.texter(); sms != nil {
		a.Notify.SMS = sms
	}
	a.Jobs = &jobs.Queue{DB: a.DB, Log: a.Log, Grace: stopTimeout}
	a.Notify.Attach(a.Jobs)
	return nil
}

// mount builds the handler: edge, then tenant and actor, then routes.
func (a *App) mount() error {
	a.mountHealth()
	a.Tenants.Mount(a.Router)
	a.Users.Mount(a.Router)
	(&role.Service{DB: a.DB, Held: user.Held, Dropped: user.DropRole, Changed: a.Tokens.Forget}).Mount(a.Router)
	a.Imports.Mount(a.Router)
	a.mountIdentity()
	if err := a.Imports.Handle(a.Jobs); err != nil {
		return err
	}
	(&logs.Service{DB: a.DB, Notify: a.Notify, Box: a.Tenants.Box}).Mount(a.Router)
	(&kobil.Service{DB: a.DB, Tenants: a.Tenants, Users: a.Users, Hasher: a.Hasher, NewTenant: a.NewTenant, EndSessions: a.SignIn.EndSessions}).Mount(a.Router)
	a.mountMailbox()
	a.mountTestIdP()
	a.mountDocs()
	a.Router.Ready()
	proxies, err := parsePrefixes(a.Config.TrustedProxies)
	if err != nil {
		return err
	}
	edge := &web.Edge{
		Log: a.Log, TrustedProxies: proxies, AllowHTTP: a.Config.Dev, Dialect: a.dialectOf,
		PublicHost: a.Config.publicAuthority(), Knows: a.Tenants.AnswersAt,
		Next: oidc.CORS(a.Tenants.Resolve(a.canonical(org.LostSlash(a.Router)))),
	}
	a.Handler = edge
	if a.metrics != nil {
		edge.Observe = a.metrics.observe
		a.Handler = a.metrics.count(edge)
	}
	return nil
}

// dialectOf picks the form of errors by the surface that was asked.
func (a *App) dialectOf(path string) web.Dialect {
	switch {
	case isPage(path), oidc.IsPage(path):
		return a.pageDialect()
	case oidc.IsProtocol(path):
		return oidc.Dialect
	case scim.IsProtocol(path):
		return scim.Dialect
	case strings.HasPrefix(path, "/digitanium/"), strings.HasPrefix(path, "/auth/realms/"), strings.HasPrefix(path, "/realms/"):
		return kobil.Dialect
	case path == oidc.PathSSO: // below /api, but browsers are sent there
		return a.eitherDialect
	case path == "/api", strings.HasPrefix(path, "/api/"):
		return web.API
	default:
		return a.eitherDialect
	}
}

// eitherDialect answers where neither only programs nor only people ask, which is mostly
// where there is nothing: a browser gets a page, everything else what programs get.
func (a *App) eitherDialect(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	w.Header().Add("Vary", "Accept")
	if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
		a.pageDialect()(w, r, p)
		return
	}
	web.API(w, r, p)
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

// ensureMaster makes the operator's tenant in a new database, and proves on it that
// the master key is the right one.
func (a *App) ensureMaster(ctx context.Context) error {
	t, err := a.Tenants.BySlug(ctx, tenant.Master)
	if errors.Is(err, tenant.ErrNotFound) {
		err = a.DB.Write(ctx, func(tx *database.Tx) error {
			_, _, err := a.NewTenant(ctx, tx, access.System(""), tenant.Master, "Master", tenant.KindSSMS)
			return err
		})
		if err == nil || errors.Is(err, tenant.ErrExists) { // another process was quicker
			t, err = a.Tenants.BySlug(ctx, tenant.Master)
		}
	}
	if err != nil {
		return err
	}
	_, err = a.Tenants.Box(ctx, t.ID)
	if errors.Is(err, secret.ErrSealed) {
		return fmt.Errorf("%w: the data key of tenant %s does not open with it; start with that key, or with another database", ErrWrongKey, t.Slug)
	}
	return err
}

// Close closes the database.
func (a *App) Close() error { return errors.Join(a.closeIdentity(), a.DB.Close()) }
