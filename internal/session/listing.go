package session

import (
	"context"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// maxListed bounds the grants of one user that are listed.
const maxListed = 1000

// Grants lists what applications hold for a user at the moment, newest first; at most
// 1,000. A grant whose session has ended is not among them, unless it outlives it.
func (s *Service) Grants(ctx context.Context, db database.Reader, tenant, user string) ([]Grant, error) {
	rows, err := db.Query(ctx, `
		SELECT `+grantColumns+` FROM grants
		WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL AND idle_until > $3 AND expires_at > $3
		ORDER BY created_at DESC, id DESC LIMIT $4`, tenant, user, s.DB.Now().UnixMilli(), maxListed)
	return database.Collect(rows, err, "list grants", scanGrant)
}

// UsedAt is when the application last asked for tokens with its refresh token, or got
// the grant.
func (g Grant) UsedAt() time.Time { return g.rotatedAt }
