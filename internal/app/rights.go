package app

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// rightsOf returns the actor of a name with what they may do now, for what they began
// and somebody else completes. One who has gone may do nothing.
func (a *App) rightsOf(ctx context.Context, tx *database.Tx, tenantID, name string) (access.Actor, error) {
	actor := access.Actor{Tenant: tenantID, Name: name}
	kind, id, _ := strings.Cut(name, ":")
	switch kind {
	case "key":
		k, err := a.Tenants.Key(ctx, tx, access.System(tenantID), id)
		if errors.Is(err, tenant.ErrKeyNotFound) || err == nil && !k.IsLive(tx.Now) {
			return actor, nil
		}
		return actor.With(k.Scopes...), err
	case "user":
		u, err := a.Users.Find(ctx, tx, access.System(tenantID), id)
		if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
			return actor, nil
		}
		if err != nil {
			return actor, err
		}
		held, err := role.Resolve(ctx, tx, tenantID, u.RoleIDs)
		return actor.With(held.Rights()...), err
	case "application":
		app, err := a.Tenants.ApplicationOf(ctx, tx, access.System(tenantID), id)
		if errors.Is(err, tenant.ErrApplicationNotFound) || err == nil && !app.IsActive {
			return actor, nil
		}
		var may []access.Permission
		for _, scope := range app.OAuth.Scopes {
			may = append(may, access.Permission(scope))
		}
		return actor.With(may...), err
	}
	return actor, nil
}
