package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // serves profiles to this program alone, and only with -profile
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/transfer"
)

// profileVariable is the address at which a server for profiling serves them. The
// product ignores variables that begin so.
const profileVariable = "CARDEA_TEST_PROFILE"

// serveMain is "cardea serve" as the child process of a run with -profile.
func serveMain() error {
	app.TuneGC()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := app.Load(app.Sources{Environ: os.Environ()}, "public_url", "master_key")
	if err != nil {
		return err
	}
	log, flush := app.NewLogger(os.Stderr, cfg.LogFormat)
	defer flush()
	profiles := &http.Server{Addr: os.Getenv(profileVariable), Handler: http.DefaultServeMux, ReadHeaderTimeout: 10 * time.Second}
	defer profiles.Close()
	go func() {
		if err := profiles.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no profiles", "err", err)
		}
	}()
	a, err := app.Open(ctx, cfg.Config, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	return errors.Join(a.Run(ctx, listener), a.Close())
}

// importMain is "cardea user import" as the child process of such a run: the tenant's
// slug, the file, and where to write a profile.
func importMain(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) != 3 {
		return errors.New("import takes a tenant, a file and a file for the profile")
	}
	cfg, err := app.Load(app.Sources{Environ: os.Environ()}, "public_url", "master_key")
	if err != nil {
		return err
	}
	a, err := app.Attach(ctx, cfg.Config, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer a.Close()
	t, err := a.Tenants.BySlug(ctx, args[0])
	if err != nil {
		return err
	}
	f, err := os.Create(args[2])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	done, err := (&transfer.Service{DB: a.DB, Users: a.Users}).Import(ctx, access.System(t.ID), transfer.Options{File: args[1]})
	if err == nil && done.Refused > 0 {
		err = fmt.Errorf("%d people were refused", done.Refused)
	}
	return err
}

// saveProfile fetches a profile of what the server does for so long from now, and
// writes it to a file of the row's name.
func (p *place) saveProfile(ctx context.Context, name string, span time.Duration) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.profiles, max(1, int(span.Seconds())))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	f, err := os.Create(p.profileFile(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, answer.Body)
	return errors.Join(err, f.Close())
}

// profileFile is where the profile of a row goes.
func (p *place) profileFile(name string) string {
	return filepath.Join(p.profile, strings.NewReplacer(" ", "-", ",", "").Replace(p.engine+" "+name)+".pprof")
}
