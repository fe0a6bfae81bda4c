package oidc

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// noteUse reports whether a name is used for the first time, and remembers it. It is
// one statement, so that of many at once one is the first. What is noted here is
// authentic and, where anybody could have made it, counted: strangers can not fill the
// table.
func (s *Service) noteUse(ctx context.Context, tenant string, name []byte, until time.Time) (first bool, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		n, err := tx.Exec(ctx, `
			INSERT INTO used_assertions (tenant_id, hash, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (tenant_id, hash) DO NOTHING`, tenant, name, until.UnixMilli())
		first = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("note use of assertion: %w", err)
	}
	return first, nil
}

// Sweep removes device codes and used assertions that have expired, in portions.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for _, stmt := range []string{
		`DELETE FROM used_assertions WHERE (tenant_id, hash) IN (SELECT tenant_id, hash FROM used_assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`,
		`DELETE FROM device_codes WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM device_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`,
	} {
		for n := int64(portion); n == portion; {
			err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
				n, err = tx.Exec(ctx, stmt, tx.Now.Add(-kept).UnixMilli(), portion)
				return err
			})
			if err != nil {
				return fmt.Errorf("sweep device codes and assertions: %w", err)
			}
		}
	}
	return nil
}

// kept is for how long a device is told that its code has expired rather than that
// there is none, and a margin for clocks that differ.
const kept = time.Hour
