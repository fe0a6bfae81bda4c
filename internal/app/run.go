package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/user"
)

// stopTimeout is how long requests under way may take at stop.
const stopTimeout = 10 * time.Second

// Run listens and works until ctx is done, then stops: requests under way are
// finished, background work is put down, the log is sealed. started is called
// with the address once connections are taken.
func (a *App) Run(ctx context.Context, started func(addr net.Addr)) error {
	listener, err := net.Listen("tcp", a.Config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           a.Handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var background sync.WaitGroup
	a.startBackground(work, &background)

	served := make(chan error, 1)
	go func() {
		if a.Config.TLSCert != "" {
			served <- server.ServeTLS(listener, a.Config.TLSCert, a.Config.TLSKey)
		} else {
			served <- server.Serve(listener)
		}
	}()
	started(listener.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = server.Shutdown(limit)
		<-served
	}
	stopWork()
	background.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// startBackground starts what works beside the requests.
func (a *App) startBackground(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { (&user.Indexer{DB: a.DB, Log: a.Log}).Run(ctx) })
	wg.Go(func() {
		if err := (&audit.Sealer{DB: a.DB}).Run(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error("audit sealer", "err", err)
		}
	})
}
