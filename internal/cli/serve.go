package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cardea-id/cardea/internal/app"
)

// serve runs the server.
type serve struct{}

// Help implements kong.HelpProvider.
func (serve) Help() string {
	return "It needs a public URL and a master key, and says everything that is wrong at once. " +
		"The database is made and brought up to date at the start. The log goes to standard error. " +
		"SIGTERM and SIGINT stop it after the requests under way."
}

// Run serves until a signal comes.
func (c *serve) Run(p *program) (err error) {
	app.TuneGC()
	cfg, err := p.load("", "public_url", "master_key")
	if err != nil {
		p.warn(cfg.Unknown)
		return err
	}
	log, flush := p.serverLog(cfg)
	defer flush()
	a, err := app.Open(p.ctx, cfg.Config, log)
	if err != nil {
		return err
	}
	defer closeInto(&err, a)
	listener, err := listen(cfg.Listen, "cardea serve --listen HOST:PORT")
	if err != nil {
		return err
	}
	log.Info("ready", "address", listener.Addr().String(), "public_url", cfg.PublicURL, "database", a.DB.Engine(), "version", p.version)
	return a.Run(p.ctx, listener)
}

// listen takes the address; another is what runs the server on another one.
func listen(address, another string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fail("%s is taken, another program listens there (%v). Choose another port: %s", address, err, another)
	case errors.Is(err, fs.ErrPermission):
		return nil, fail("%s may not be listened on by this account (%v). Choose a port from 1024 on: %s", address, err, another)
	case err != nil:
		return nil, fail("%s can not be listened on: %v. Choose another address: %s", address, err, another)
	}
	return listener, nil
}

// serverLog starts the log of a server with the configuration's warnings.
func (p *program) serverLog(cfg app.Loaded) (log *slog.Logger, flush func()) {
	// A reader of the log that goes away must not take the server with it.
	signal.Ignore(syscall.SIGPIPE)
	log, flush = app.NewLogger(p.err, cfg.LogFormat)
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	return log, flush
}

func closeInto(err *error, a *app.App) {
	if closing := a.Close(); *err == nil {
		*err = closing
	}
}

// dev runs a server to develop with.
type dev struct {
	Data string `default:".cardea" placeholder:"DIR" help:"Folder for the data, made if it is new. Default: ${default}."`
}

// Help implements kong.HelpProvider.
func (dev) Help() string {
	return "It makes a tenant demo with an owner, an application and an API key, prints them, and writes them to bootstrap.json in the data folder. " +
		"Started again on the same folder it changes nothing. It takes settings as a server does, such as --listen and CARDEA_DATABASE_URL for PostgreSQL. " +
		"It speaks plain http: do not put it on the internet. " +
		"It does not start with https in its public URL or with TLS files, nor on data that it has not made itself."
}

// Run serves until a signal comes. What is wrong is said before anything is made. It
// listens before it opens anything, because the port belongs to what it prints and may be
// one that the system chooses.
func (c *dev) Run(p *program) (err error) {
	app.TuneGC()
	// Whether that can be a developer's configuration at all comes before what may be
	// wrong with it.
	if cfg, _ := p.load(""); cfg.CheckDeveloper() != nil {
		return cfg.CheckDeveloper()
	}
	cfg, err := p.load(c.Data)
	if err != nil {
		p.warn(cfg.Unknown)
		return err
	}
	if err := app.CheckDeveloperData(p.ctx, cfg.Config); err != nil {
		return err
	}
	listener, err := listen(cfg.Listen, `cardea dev --listen 127.0.0.1:9000, or: make run ARGS="--listen 127.0.0.1:9000"`)
	if err != nil {
		return err
	}
	defer listener.Close() // Run has closed it, unless something before fails
	if err := app.PrepareFolder(c.Data); err != nil {
		return err
	}
	if cfg, err = p.load(c.Data, "master_key"); err != nil {
		p.warn(cfg.Unknown)
		return err
	}
	log, flush := p.serverLog(cfg)
	defer flush()
	if from := cfg.From("public_url"); from == app.FromDefault || strings.HasPrefix(from, app.FromFolder) {
		cfg.PublicURL = app.DevURL(listener.Addr())
	}
	a, err := app.Open(p.ctx, cfg.Config, log)
	if err != nil {
		return err
	}
	defer closeInto(&err, a)
	b, err := a.Seed(p.ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(p.out, banner(b, c.Data, listener.Addr())); err != nil {
		return err
	}
	return a.Run(p.ctx, listener)
}

// banner is what a developer wants to know.
func banner(b app.Bootstrap, folder string, addr net.Addr) string {
	onDemo := strings.Replace(b.PublicURL, "://", "://"+b.Tenant.Slug+".", 1)
	key := "-H 'Authorization: Bearer " + b.APIKey + "'"
	text := fmt.Sprintf(`
Cardea for developers: %[1]s

  Tenant         %[2]s
  Owner          %[3]s, password %[4]s
  Client id      %[5]s
  Client secret  %[6]s
  API key        %[7]s
  All of it in   %[8]s

  Sign in        %[1]s/signin
  Single sign-on %[1]s/signin, as anybody@acme.test
  Mail           %[1]s/dev/mailbox
  OpenID issuer  %[1]s

Try it:

  # SSOJet API
  curl %[9]s '%[1]s/api/v1/users?limit=10'
  # KOBIL, SSMS form
  curl %[9]s %[10]s/digitanium/v4/users
  # KOBIL, SHIFT form
  curl %[9]s %[1]s/auth/realms/%[2]s/v3_user/getusers

`, b.PublicURL, b.Tenant.Slug, b.Owner.Email, b.Owner.Password, b.Application.ClientID, b.Application.ClientSecret,
		b.APIKey, folder+string(os.PathSeparator)+"bootstrap.json", key, onDemo)
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		text += "It can be reached from other machines, in plain http. Keep it off the internet.\n\n"
	}
	return text + "Ctrl-C stops it.\n\n"
}
