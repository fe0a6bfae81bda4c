package session

import (
	"context"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
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

// EndOtherGrants ends what applications hold for a user but for what came of one
// session: also what was made to outlive its session, and what belongs to none. It
// goes with EndOthers where somebody else may have been in the account.
func (s *Service) EndOtherGrants(ctx context.Context, tx *database.Tx, by access.Actor, user, keep, reason string) error {
	rows, err := tx.Query(ctx, `
		UPDATE grants SET ended_at = $3, end_reason = $4
		WHERE tenant_id = $1 AND user_id = $2 AND session_id <> $5 AND ended_at IS NULL RETURNING id`, by.Tenant, user, tx.Millis(), reason, keep)
	ended, err := database.Collect(rows, err, "end other grants", scanText)
	if err != nil || len(ended) == 0 {
		return err
	}
	tx.OnCommit(s.Forget)
	return audit.Append(tx, by, audit.Event{Action: "grant.ended", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"grants": ended}})
}
