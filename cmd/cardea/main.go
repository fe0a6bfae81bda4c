// Command cardea is the server and its tools.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/cardea-id/cardea/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := app.DevConfig(".cardea", "127.0.0.1:8080")
	if err == nil {
		var a *app.App
		if a, err = app.Open(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, nil))); err == nil {
			var b app.Bootstrap
			if b, err = a.Seed(ctx); err == nil {
				fmt.Println(b.APIKey, b.Application.ClientID)
				err = a.Run(ctx, func(net.Addr) {})
			}
			a.Close()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cardea:", err)
		os.Exit(1)
	}
}
