package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/user"
)

// stopTimeout is how long requests under way may take at stop, and jobs after them.
const stopTimeout = 10 * time.Second

// Run answers what comes in at listener and works in the background until ctx is
// done, then stops: requests under way are finished, background work is put down,
// the log is sealed. It closes listener.
func (a *App) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           a.Handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          log.New(serverErrors{a.Log}, "", 0),
	}
	if a.Config.TLSCert != "" {
		pair, err := openKeyPair(a.Config.TLSCert, a.Config.TLSKey, a.Log)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		server.TLSConfig = pair.config()
	}
	stopMetrics, err := a.serveMetrics()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer stopMetrics()
	stopBackground := a.startBackground(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
		} else {
			served <- server.Serve(listener)
		}
	}()
	select {
	case err = <-served:
	case <-ctx.Done():
		a.shutdown(ctx, server)
		err = <-served
	}
	stopBackground()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// shutdown lets requests finish, and cuts off those that take too long.
func (a *App) shutdown(ctx context.Context, server *http.Server) {
	a.Log.Info("stopping: requests under way are finished")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		a.Log.Warn("requests that took too long were cut off", "after", stopTimeout)
		_ = server.Close() // what it could say is that connections were closed by others
	}
}

// serverErrors passes on what net/http has to say, but for failed handshakes: any
// scanner on the internet causes those.
type serverErrors struct{ log *slog.Logger }

func (s serverErrors) Write(line []byte) (int, error) {
	if !bytes.Contains(line, []byte("TLS handshake error")) {
		s.log.Warn("http server", "err", string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}

// serveMetrics answers on the management address, if there is one, until the
// function it returns is called.
func (a *App) serveMetrics() (stop func(), err error) {
	if a.metrics == nil {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", a.Config.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	server := &http.Server{
		Handler:           a.metrics.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(serverErrors{a.Log}, "", 0),
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.Log.Error("metrics are no longer served", "err", err)
		}
	}()
	a.Log.Info("metrics", "address", listener.Addr().String())
	return func() { _ = server.Close() }, nil // nobody is waiting for the last answer
}

// startBackground starts what works beside the requests. The function it returns
// stops all of it, the sealer last: the others write events while they stop.
func (a *App) startBackground(ctx context.Context) (stop func()) {
	var workers, sealer sync.WaitGroup
	work, stopWork := context.WithCancel(ctx)
	seal, stopSealing := context.WithCancel(ctx)
	workers.Go(func() { (&user.Indexer{DB: a.DB, Log: a.Log}).Run(work) })
	workers.Go(func() {
		if err := a.Jobs.Run(work); err != nil && work.Err() == nil {
			a.Log.Error("the job queue has not started", "err", err)
		}
	})
	workers.Go(func() { a.Provider.Run(work) })
	workers.Go(func() { a.SCIM.Run(work) })
	workers.Go(func() { keepRoom(work) })
	sealer.Go(func() {
		if err := (&audit.Sealer{DB: a.DB, Log: a.Log}).Run(seal); err != nil {
			a.Log.Error("the last events of the log are not sealed yet", "err", err)
		}
	})
	return func() {
		stopWork()
		workers.Wait()
		stopSealing()
		sealer.Wait()
	}
}
