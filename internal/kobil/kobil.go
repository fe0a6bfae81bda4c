// Package kobil answers the KOBIL user API.
package kobil

import (
	"context"
	"net/http"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Service answers the calls.
type Service struct {
	DB        *database.DB
	Tenants   *tenant.Service
	Users     *user.Service
	Hasher    *passhash.Hasher
	NewTenant func(ctx context.Context, tx *database.Tx, by access.Actor, slug, name, kind string) (tenant.Tenant, map[string]role.Role, error)
}

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {}

// Dialect writes problems as envelopes.
func Dialect(w http.ResponseWriter, r *http.Request, p *problem.Problem) { web.API(w, r, p) }
