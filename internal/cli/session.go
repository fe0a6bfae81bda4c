package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A session is a command at work on the database. It may run beside a server,
// which sees what it changed within a second.
type session struct {
	*app.App
	ctx   context.Context
	wrote bool
}

// onTenant is what commands have in common that work on one tenant.
type onTenant struct {
	onDatabase
	Tenant string `placeholder:"SLUG" help:"Tenant to work on; unset, the default tenant."`
}

// open runs do on the database.
func (d onDatabase) open(p *program, do func(s *session) error) error {
	folder, err := d.folder(p)
	if err != nil {
		return err
	}
	if err := d.mustFind(p, folder); err != nil {
		return err
	}
	cfg, err := d.load(p, folder, "master_key")
	p.warn(cfg.Unknown)
	if err != nil {
		return err
	}
	d.tellFolder(p, folder)
	a, err := app.Attach(p.ctx, cfg.Config, slog.New(slog.NewTextHandler(p.err, nil)))
	if err != nil {
		return err
	}
	s := &session{App: a, ctx: p.ctx}
	return errors.Join(do(s), s.close())
}

// open runs do on the tenant, with an actor who may do everything in it.
func (o onTenant) open(p *program, do func(s *session, t tenant.Tenant, by access.Actor) error) error {
	return o.onDatabase.open(p, func(s *session) error {
		slug := o.Tenant
		if slug == "" {
			slug = s.Config.DefaultTenant
		}
		t, err := s.Tenants.BySlug(s.ctx, slug)
		if errors.Is(err, tenant.ErrNotFound) {
			return tenant.ErrNotFound.Saying("There is no tenant %s.", cell(slug))
		}
		if err != nil {
			return err
		}
		return do(s, t, actor(t.ID))
	})
}

// actor is who runs the command, with every permission.
func actor(tenant string) access.Actor {
	by := access.System(tenant)
	by.Name = "command:" + login()
	return by
}

// operator is who runs the command, at work on the installation: what they do is in
// the log of the master tenant.
func (s *session) operator() (access.Actor, error) {
	master, err := s.Tenants.BySlug(s.ctx, tenant.Master)
	return actor(master.ID), err
}

// login is the name of the account that runs the program, or its number where
// accounts have no names, as in many containers.
func login() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// write runs fn in a transaction.
func (s *session) write(fn func(tx *database.Tx) error) error {
	s.wrote = true
	return s.DB.Write(s.ctx, fn)
}

// close seals the events that the command wrote, for there may be no server that
// would, and closes the database.
func (s *session) close() error {
	var err error
	if s.wrote {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 5*time.Second)
		defer cancel()
		_, err = (&audit.Sealer{DB: s.DB, Log: s.Log}).Seal(ctx)
	}
	return errors.Join(err, s.App.Close())
}

// parseTime reads a moment in the past or future: a date, a time, or a span such as
// 90d or 24h, which is counted from now in the given direction.
func parseTime(flag, text string, now time.Time, direction time.Duration) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	span, err := parseSpan(text)
	if err != nil {
		return time.Time{}, usage("--%s: %q is not a date such as 2026-01-31, a time such as 2026-01-31T12:00:00Z, or a span such as 90d or 12h", flag, text)
	}
	return now.Add(direction * span), nil
}

// parseSpan reads a duration; days are written 90d.
func parseSpan(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	span, err := time.ParseDuration(text)
	if err == nil && span < 0 {
		err = errors.New("negative")
	}
	return span, err
}
