package app

import (
	"context"
	"errors"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// keepHouse registers what repeats: removing what is too old to matter. None of it
// decides whether something is still valid; that is judged at use.
func (a *App) keepHouse() {
	a.Jobs.Handle(tenant.WipeJob, jobs.Handler{Run: a.Tenants.Wipe})
	a.Jobs.Every("sweep_rate_limits", time.Hour, a.Tenants.Limits.Sweep)
	a.Jobs.Every("prune_logs", 24*time.Hour, a.pruneLogs)
	a.Jobs.Every("sweep_names", 24*time.Hour, func(ctx context.Context) error { return user.SweepNames(ctx, a.DB) })
}

// pruneLogs removes events beyond their retention from every tenant's log. A log
// that does not prove is left as it is and does not keep the others from it.
func (a *App) pruneLogs(ctx context.Context) error {
	tenants, err := audit.Tenants(ctx, a.DB)
	for _, tenant := range tenants {
		err = errors.Join(err, a.pruneLog(ctx, tenant))
	}
	return err
}

func (a *App) pruneLog(ctx context.Context, tenant string) error {
	before := a.DB.Now().Add(-audit.Retention)
	for {
		var removed int64
		err := a.DB.Write(ctx, func(tx *database.Tx) (err error) {
			removed, err = audit.Prune(ctx, tx, access.System(tenant), before)
			return err
		})
		if err != nil || removed == 0 {
			return err
		}
	}
}
