package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// demo is the slug of the developer mode's tenant.
const demo = "demo"

// A Bootstrap is what the developer mode makes and prints, and keeps in
// bootstrap.json for scripts, tests and guides. Its form is stable.
type Bootstrap struct {
	PublicURL string `json:"public_url"`
	Tenant    struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"tenant"`
	Owner struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	} `json:"owner"`
	Application struct {
		ClientID     string   `json:"client_id"`
		ClientSecret string   `json:"client_secret"`
		RedirectURIs []string `json:"redirect_uris"`
	} `json:"application"`
	APIKey string `json:"api_key"`
	SCIM   struct {
		BaseURL string `json:"base_url"`
		Token   string `json:"token"`
	} `json:"scim"`
	// Database is the address of the database that all of it is in, without its
	// password; empty stands for the SQLite file in the same folder.
	Database string `json:"database,omitempty"`
}

// ErrNotDevelopers is what the developer mode keeps its hands off: a server set up
// for production, and data that it has not made itself.
var ErrNotDevelopers = errors.New("cardea dev keeps off what is not its own")

// CheckDeveloper returns ErrNotDevelopers if the configuration is one for
// production, which speaks TLS or has https in its address: somebody has it in the
// environment and means another folder.
func (l *Loaded) CheckDeveloper() error {
	var set, variables []string
	for _, name := range []string{"public_url", "tls_cert", "tls_key"} {
		value, from := *setting(name).of(&l.Config), l.From(name)
		if value == "" || name == "public_url" && !strings.HasPrefix(strings.ToLower(value), "https:") {
			continue
		}
		set = append(set, fmt.Sprintf("%s is %s (%s)", name, value, from))
		switch {
		case from == setting(name).Env():
			variables = append(variables, from)
		case !strings.HasPrefix(from, "--") && !slices.Contains(variables, ConfigFileVariable):
			variables = append(variables, ConfigFileVariable) // or --config, which is easily seen
		}
	}
	if len(set) == 0 {
		return nil
	}
	next := "leave that out"
	if len(variables) > 0 {
		next = "run: unset " + strings.Join(variables, " ")
	}
	return fmt.Errorf("%w: %s, as on a server for production, where it would make a demo tenant and speak plain http. "+
		"To develop, %s, and so for a database and key of production, or use another terminal. To run it for real: cardea serve",
		ErrNotDevelopers, strings.Join(set, ", "), next)
}

// CheckDeveloperData returns ErrNotDevelopers if the database holds what the
// developer mode with this data folder has not made, or if the folder's
// bootstrap.json belongs to another database. It changes neither; a database that
// is missing or empty is good.
func CheckDeveloperData(ctx context.Context, cfg Config) error {
	if FindDatabase(cfg) != nil {
		return cfg.checkBootstrap()
	}
	db, err := database.Open(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Ping(ctx); err != nil {
		return err
	}
	pending, err := db.Pending(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(pending, firstMigration) {
		return cfg.checkBootstrap()
	}
	a := &App{Config: cfg, DB: db, Tenants: &tenant.Service{DB: db}, Users: &user.Service{DB: db}}
	if _, found, err := a.findBootstrap(ctx); err != nil || found {
		return err
	}
	used, err := a.isUsed(ctx, len(pending) == 0)
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("%w: the database %s has tenants or users that cardea dev with the folder %s has not made. "+
			"Choose another database, or leave it out for one in the folder: unset CARDEA_DATABASE_URL", ErrNotDevelopers, cfg.databaseName(), cfg.DataDir)
	}
	return cfg.checkBootstrap()
}

// firstMigration makes the table of the tenants.
const firstMigration = "0001_tenants"

// isUsed reports whether somebody works with the database: there is a tenant beside
// the one that every database has, or something in that one. Before all migrations
// have run, which another process may be about to do, only the tenants tell.
func (a *App) isUsed(ctx context.Context, migrated bool) (bool, error) {
	tenants, err := a.Tenants.List(ctx, a.DB, access.System(""))
	if err != nil || len(tenants) != 1 || !migrated {
		return len(tenants) > 1, err
	}
	by := access.System(tenants[0].ID)
	users, err := a.Users.Count(ctx, a.DB, by, user.Filter{})
	if err != nil || users > 0 {
		return true, err
	}
	applications, err := a.Tenants.Applications(ctx, a.DB, by)
	if err != nil || len(applications) > 0 {
		return true, err
	}
	keys, err := a.Tenants.Keys(ctx, a.DB, by)
	return len(keys) > 0, err
}

// databaseName is the address of the database as bootstrap.json has it.
func (c *Config) databaseName() string { return setting("database_url").mask(c.DatabaseURL) }

func (c *Config) isFoldersOwn() bool {
	return c.DatabaseURL == "sqlite:"+filepath.Join(c.DataDir, databaseFile)
}

// checkBootstrap refuses to write over a bootstrap.json whose tenant is in another
// database: its secrets are nowhere else. Without its database it may go.
func (c *Config) checkBootstrap() error {
	b, err := readBootstrap(c.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.Database == c.databaseName() || b.Database == "" && c.isFoldersOwn() {
		return nil
	}
	name := b.Database
	if name == "" {
		name = "sqlite:" + filepath.Join(c.DataDir, databaseFile)
	}
	return fmt.Errorf("%w: %s belongs to the database %s, and would be lost with %s. Name another folder with --data DIR, or remove the file if you need it no more",
		ErrNotDevelopers, filepath.Join(c.DataDir, bootstrapFile), name, c.databaseName())
}

// at puts the addresses in b under another public URL.
func (b *Bootstrap) at(publicURL string) {
	b.PublicURL = publicURL
	b.SCIM.BaseURL = publicURL + "/scim/v2/" + secret.DerivedID(b.Tenant.ID, "directory")
}

// IsFolder reports whether dir is a data folder that the developer mode has filled.
func IsFolder(dir string) bool {
	return fileExists(filepath.Join(dir, bootstrapFile))
}

// PrepareFolder makes the developer's data folder if it is new: closed to others,
// left out of git, with a master key of its own.
func PrepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, masterKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(filepath.Join(dir, ".gitignore"), []byte("*\n")); err != nil {
		return err
	}
	// Linked into place, so that of two that start at once one makes the key and the
	// other takes it.
	draft, path := filepath.Join(dir, masterKeyFile+"."+secret.ID(time.Now())), filepath.Join(dir, masterKeyFile)
	if err := writeFile(draft, fmt.Appendf(nil, "%x\n", secret.NewBoxKey())); err != nil {
		return err
	}
	err := os.Link(draft, path)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(draft))
}

// writeFile puts a file in place whole or not at all, for its owner only.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// DevURL is the public URL of a developer's server that listens at addr: a name
// for the loopback address, so that {slug}.localhost reaches the tenants.
func DevURL(addr net.Addr) string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		panic(err) // of a TCP listener
	}
	return "http://localhost:" + port
}

func readBootstrap(dir string) (Bootstrap, error) {
	return readBootstrapFile(filepath.Join(dir, bootstrapFile))
}

func readBootstrapFile(path string) (b Bootstrap, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return b, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return b, nil
}

func (b Bootstrap) write(path string) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'))
}

// Seed makes tenant demo with an owner, an application and keys, and writes
// bootstrap.json. Started again it changes nothing and returns what the file says,
// but for the addresses: they are those of this start.
//
// The secrets are in the file only, the database has their hashes. So a draft of
// the file, named after the tenant, is written before the transaction commits and
// gets its name afterwards; whatever happens between, the next start finds the
// draft that belongs to the tenant.
func (a *App) Seed(ctx context.Context) (Bootstrap, error) {
	b, err := a.seedOnce(ctx)
	if err == nil {
		err = a.connectAcme(ctx, b.Tenant.ID)
	}
	return b, err
}

func (a *App) seedOnce(ctx context.Context) (Bootstrap, error) {
	b, found, err := a.seeded(ctx)
	if err != nil || found {
		return b, err
	}
	b, err = a.seedAll(ctx)
	if errors.Is(err, tenant.ErrExists) { // another process was quicker
		if b, found, err = a.seeded(ctx); err == nil && !found {
			err = errors.New("the demo tenant came and went")
		}
	}
	return b, err
}

// seeded returns the bootstrap of the demo tenant that is there, brought up to date.
func (a *App) seeded(ctx context.Context) (Bootstrap, bool, error) {
	b, found, err := a.findBootstrap(ctx)
	if err != nil || !found {
		return b, found, err
	}
	if isPublished := b.PublicURL == a.Config.PublicURL && IsFolder(a.Config.DataDir); isPublished && !fileExists(a.draft(b.Tenant.ID)) {
		return b, true, nil
	}
	b.at(a.Config.PublicURL)
	return b, true, a.publish(b)
}

// findBootstrap finds the file that belongs to the demo tenant, if there is one. The
// draft comes first: once it is gone, the file has its name.
func (a *App) findBootstrap(ctx context.Context) (b Bootstrap, found bool, err error) {
	t, err := a.Tenants.BySlug(ctx, demo)
	if errors.Is(err, tenant.ErrNotFound) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	path := a.inFolder(bootstrapFile)
	for _, candidate := range []string{a.draft(t.ID), path} {
		b, err := readBootstrapFile(candidate)
		if errors.Is(err, fs.ErrNotExist) || err == nil && b.Tenant.ID != t.ID {
			continue
		}
		return b, err == nil, err
	}
	return b, false, fmt.Errorf("%w: the database %s has a tenant demo, but %s does not belong to it, and its secrets can not be read back: "+
		"put the file back, or choose another database; if cardea dev has made both, remove them to start anew", ErrNotDevelopers, a.Config.databaseName(), path)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (a *App) inFolder(name string) string { return filepath.Join(a.Config.DataDir, name) }

func (a *App) draft(tenant string) string { return a.inFolder(bootstrapFile + "." + tenant) }

// publish writes the file and removes its drafts.
func (a *App) publish(b Bootstrap) error {
	if err := b.write(a.inFolder(bootstrapFile)); err != nil {
		return err
	}
	files, err := os.ReadDir(a.Config.DataDir)
	for _, f := range files {
		if strings.HasPrefix(f.Name(), bootstrapFile+".") {
			if gone := os.Remove(a.inFolder(f.Name())); !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	return err
}

// seedAll makes everything.
func (a *App) seedAll(ctx context.Context) (b Bootstrap, err error) {
	if err := a.Config.checkBootstrap(); err != nil {
		return b, err
	}
	if !a.Config.isFoldersOwn() {
		b.Database = a.Config.databaseName()
	}
	b.Owner.Email, b.Owner.Password = "owner@demo.test", secret.Text("abcdefghijkmnpqrstuvwxyz23456789", 20)
	hash, err := a.Hasher.Hash(ctx, b.Owner.Password)
	if err != nil {
		return b, err
	}
	err = a.DB.Write(ctx, func(tx *database.Tx) error {
		if err := a.seed(ctx, tx, &b, hash); err != nil {
			return err
		}
		b.at(a.Config.PublicURL)
		return b.write(a.draft(b.Tenant.ID))
	})
	if err != nil {
		// A draft stays: the error may only mean that nobody told us of the commit.
		return b, fmt.Errorf("make the demo tenant: %w", err)
	}
	return b, a.publish(b)
}

func (a *App) seed(ctx context.Context, tx *database.Tx, b *Bootstrap, hash string) error {
	t, roles, err := a.NewTenant(ctx, tx, access.System(""), demo, "Demo", tenant.KindSSMS)
	if err != nil {
		return err
	}
	by := access.System(t.ID)
	b.Tenant.ID, b.Tenant.Slug = t.ID, t.Slug
	owner, err := a.Users.Create(ctx, tx, by, user.User{
		Email: b.Owner.Email, FirstName: "Olivia", LastName: "Owner", EmailVerified: true, IsActive: true, RoleIDs: []string{roles[role.Owner].ID},
	})
	if err != nil {
		return err
	}
	if err := password.Set(ctx, tx, by, owner.ID, hash, false); err != nil {
		return err
	}
	b.Application.RedirectURIs = []string{"http://localhost:3000/callback"}
	app, key, err := a.Tenants.CreateApplication(ctx, tx, by, tenant.Application{
		Name: "Demo application", RedirectURIs: b.Application.RedirectURIs, AllowedOrigins: []string{"http://localhost:3000"},
		OAuth: tenant.OAuth{PostLogoutRedirectURIs: []string{"http://localhost:3000", "http://localhost:3000/"}},
	})
	if err != nil {
		return err
	}
	b.Application.ClientID, b.Application.ClientSecret = app.ClientID, key
	if _, b.APIKey, err = a.Tenants.CreateKey(ctx, tx, by, "Demo key", access.All, time.Time{}); err != nil {
		return err
	}
	company, err := a.Orgs.Create(ctx, tx, by, org.Organization{Name: "Acme", Slug: acme, IsActive: true})
	if err != nil {
		return err
	}
	if _, err := a.Orgs.AddDomain(ctx, tx, by, company.ID, acmeDomain); err != nil {
		return err
	}
	d, err := a.SCIM.Create(ctx, tx, by, scim.Directory{ID: secret.DerivedID(t.ID, "directory"), OrganizationID: company.ID, Name: "Demo directory", Type: "custom"})
	if err != nil {
		return err
	}
	_, b.SCIM.Token, err = a.SCIM.NewToken(ctx, tx, by, company.ID, d.ID, scim.NewTokenRequest{})
	return err
}
