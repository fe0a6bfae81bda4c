package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
)

// doctor looks for what is wrong.
type doctor struct {
	onDatabase
	format
	Online bool `help:"Also ask for the public URL over the network, to see that it leads to the running server."`
}

// Help implements kong.HelpProvider.
func (doctor) Help() string {
	return "It looks at the configuration, the database, clock, disk and certificate, changes nothing, and fails if something is wrong. " +
		"A SQLite file is read from end to end."
}

// A finding is the result of one look.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // "ok", "warning" or "wrong"
	What   string `json:"what"`   // what was found, and what to do about it
}

const (
	fine    = "ok"
	warning = "warning"
	wrong   = "wrong"
)

// examination gathers findings, and shows each to a person as it comes.
type examination struct {
	*program
	asJSON   bool
	colour   bool
	findings []finding
}

func (e *examination) found(check, status, format string, args ...any) {
	f := finding{check, status, fmt.Sprintf(format, args...)}
	e.findings = append(e.findings, f)
	if e.asJSON {
		return
	}
	mark := fmt.Sprintf("%-8s", status)
	if e.colour {
		mark = "\x1b[" + map[string]string{fine: "32", warning: "33", wrong: "31"}[status] + "m" + mark + "\x1b[0m"
	}
	fmt.Fprintf(e.out, "%s %-14s %s\n", mark, check, f.What)
}

// judge finds that all is well, or what err says.
func (e *examination) judge(check string, err error, well string, args ...any) bool {
	if err != nil {
		e.found(check, wrong, "%s", cell(explain(err)))
		return false
	}
	e.found(check, fine, well, args...)
	return true
}

// Run examines everything.
func (c *doctor) Run(p *program) error {
	folder, err := c.folder(p)
	if err != nil {
		return err
	}
	e := &examination{program: p, asJSON: c.JSON, colour: app.IsTerminal(p.out) && os.Getenv("NO_COLOR") == ""}
	cfg := e.configuration(c.onDatabase, folder)
	e.files(cfg.Config)
	if cfg.SMTPURL == "" && folder == "" {
		e.found("mail", warning, "there is no mail server, so people get no links and codes; name one with smtp_url, or have them use passwords: cardea tenant settings --tenant SLUG sign_in.no_email=true")
	}
	e.database(cfg.Config)
	if c.Online && cfg.PublicURL != "" {
		e.publicURL(cfg.PublicURL)
	}
	if c.JSON {
		if err := printJSON(p.out, e.findings); err != nil {
			return err
		}
	}
	n := 0
	for _, f := range e.findings {
		if f.Status == wrong {
			n++
		}
	}
	if n > 0 {
		return fail("%d of %d checks found something wrong; what to do stands beside each", n, len(e.findings))
	}
	return nil
}

func (e *examination) configuration(on onDatabase, folder string) app.Loaded {
	required := []string{"public_url", "master_key"}
	cfg, err := on.load(e.program, folder, required...)
	faults, _ := errors.AsType[app.Faults](err)
	for _, f := range faults {
		e.found("configuration", wrong, "%s", app.Faults{f}.Error())
	}
	for _, w := range cfg.Warnings {
		e.found("configuration", warning, "%s", w)
	}
	if len(faults) == 0 {
		from := "flags, environment and defaults"
		if e.file != "" {
			from = e.file
		}
		if folder != "" {
			from = "the developer's folder " + folder
		}
		e.found("configuration", fine, "complete, from %s", from)
	}
	return cfg
}

const (
	minFree  = 100 << 20 // bytes: below this the next import may fail
	goodFree = 1 << 30
	soon     = 14 * 24 * time.Hour
)

// files looks at the database's file, its disk, and the certificate.
func (e *examination) files(cfg app.Config) {
	if path, ok := strings.CutPrefix(cfg.DatabaseURL, "sqlite:"); ok {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && keepsModes {
			e.found("files", warning, "%s has mode %04o, others can read the users in it; run: chmod 600 %s", path, info.Mode().Perm(), path)
		}
		free, err := freeBytes(filepath.Dir(path))
		switch {
		case err != nil:
			e.found("disk", wrong, "%s: %v", filepath.Dir(path), err)
		case free < minFree:
			e.found("disk", wrong, "%s has %d MiB left; make room before the database can not grow", filepath.Dir(path), free>>20)
		case free < goodFree:
			e.found("disk", warning, "%s has %d MiB left; make room", filepath.Dir(path), free>>20)
		default:
			e.found("disk", fine, "%d GiB left", free>>30)
		}
	}
	if leaf := cfg.Certificate(); leaf != nil {
		left := time.Until(leaf.NotAfter)
		status, more := fine, ""
		if left < soon {
			status, more = warning, "; renew it, the server takes the new files by itself"
		}
		if left < 0 {
			status = wrong
		}
		e.found("certificate", status, "for %s, until %s%s", strings.Join(leaf.DNSNames, " "), leaf.NotAfter.Format(time.DateOnly), more)
	}
}

// database looks at the database, and at what only the right master key opens.
func (e *examination) database(cfg app.Config) {
	if err := app.FindDatabase(cfg); err != nil {
		e.judge("database", err, "")
		return
	}
	db, err := database.Open(e.ctx, cfg.DatabaseURL)
	if err != nil {
		e.found("database", wrong, "%v; see that database_url is right and the server runs", err)
		return
	}
	defer db.Close()
	i, err := db.Inspect(e.ctx)
	if !e.judge("database", err, "%s %s answers", i.Engine, i.Version) {
		return
	}
	if i.Engine == database.PostgreSQL && i.Major < 13 {
		e.found("database", wrong, "PostgreSQL %s is too old: 13 or newer is needed", i.Version)
	}
	if !i.Trigrams {
		e.found("database", wrong, "PostgreSQL lacks the extension pg_trgm; install its contrib package")
	}
	e.clock(i)
	damage, err := db.Damage(e.ctx)
	if err == nil && len(damage) > 0 {
		err = fmt.Errorf("the file is damaged (%s); stop the server and restore a backup", strings.Join(damage, "; "))
	}
	e.judge("integrity", err, "nothing is damaged")
	if len(i.Pending) > 0 {
		e.found("migrations", wrong, "%d are missing; run: cardea migrate", len(i.Pending))
		return
	}
	e.found("migrations", fine, "all are there")
	if cfg.MasterKey != "" {
		e.sealed(cfg)
	}
}

const maxSkew = 30 * time.Second

func (e *examination) clock(i database.Inspection) {
	ahead := time.Until(i.Clock) // of the database before us
	switch {
	case i.Clock.IsZero():
	case i.Engine == database.SQLite && ahead > 0:
		e.found("clock", wrong, "this machine's clock is behind: the database was made later than now; set the clock")
	case i.Engine == database.PostgreSQL && ahead.Abs() > maxSkew:
		e.found("clock", wrong, "this machine and the database differ by %s; set both clocks by NTP", ahead.Abs().Round(time.Second))
	default:
		e.found("clock", fine, "%s", time.Now().UTC().Format(time.RFC3339))
	}
}

// sealed looks whether the master key is the right one, and for the default tenant.
func (e *examination) sealed(cfg app.Config) {
	a, err := app.Attach(e.ctx, cfg, slog.New(slog.DiscardHandler))
	if !e.judge("master key", err, "opens what is sealed") {
		return
	}
	defer a.Close()
	_, err = a.Tenants.BySlug(e.ctx, cfg.DefaultTenant)
	if errors.Is(err, tenant.ErrNotFound) {
		e.found("default tenant", wrong, "there is no tenant %s; run: cardea tenant create %[1]s, or set default_tenant", cfg.DefaultTenant)
		return
	}
	e.judge("default tenant", err, "%s", cfg.DefaultTenant)
}

// publicURL asks for the public URL and looks for a mark in the answer that only
// Cardea puts there: it returns the request id it was sent.
func (e *examination) publicURL(url string) {
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		e.judge("public URL", err, "")
		return
	}
	mark, _ := secret.NewToken()
	request.Header.Set("X-Request-Id", mark)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		e.found("public URL", wrong, "%v; see that its name leads here and that the server runs", err)
		return
	}
	defer answer.Body.Close()
	switch {
	case answer.Header.Get("X-Request-Id") != mark:
		e.found("public URL", wrong, "%s answers %s, but it is not Cardea that answers; see where its name leads", url, answer.Status)
	case answer.StatusCode != http.StatusOK:
		e.found("public URL", wrong, "%s answers %s", url, answer.Status)
	default:
		e.found("public URL", fine, "%s leads to a server that is ready", url)
	}
}
