package passwordless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

const columns = `id, attempt, purpose, channel, target, language, silent, sends, created_at, sent_at, expires_at, used_at`

func scan(row database.Scanner) (Challenge, error) {
	var c Challenge
	var created, sent, expires int64
	var used *int64
	err := row.Scan(&c.ID, &c.Attempt, &c.Purpose, &c.Channel, &c.Target, &c.Language, &c.silent, &c.Sends, &created, &sent, &expires, &used)
	c.CreatedAt, c.SentAt, c.ExpiresAt = at(created), at(sent), at(expires)
	if used != nil {
		c.UsedAt = at(*used)
	}
	return c, err
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// scanOr is scan for one row that may not be there.
func scanOr(row *database.Row, missing error, doing string) (Challenge, error) {
	c, err := scan(row)
	if errors.Is(err, database.ErrNoRows) {
		return Challenge{}, missing
	}
	if err != nil {
		return Challenge{}, fmt.Errorf("%s: %w", doing, err)
	}
	return c, nil
}

// owner is what a challenge is the only one of, for its purpose.
func owner(attempt, target string) string {
	if attempt == "" {
		return "to:" + target
	}
	return attempt
}

// putChallenge writes c in place of the one before of the same owner and purpose, if
// there is one, in one statement: of two at once one stands.
func putChallenge(tx *database.Tx, tenant string, c Challenge, m made) {
	tx.Later(`
		INSERT INTO challenges (tenant_id, owner, purpose, id, attempt, channel, target, link_hash, code_mac, silent, language, tries, sends, created_at, sent_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13, $14, $15)
		ON CONFLICT (tenant_id, owner, purpose) DO UPDATE SET
			id = excluded.id, attempt = excluded.attempt, channel = excluded.channel, target = excluded.target, link_hash = excluded.link_hash,
			code_mac = excluded.code_mac, silent = excluded.silent, language = excluded.language, tries = 0, sends = excluded.sends,
			created_at = excluded.created_at, sent_at = excluded.sent_at, expires_at = excluded.expires_at, used_at = NULL`,
		tenant, owner(c.Attempt, c.Target), c.Purpose, c.ID, c.Attempt, c.Channel, c.Target, m.linkHash, m.codeMAC, c.silent, c.Language,
		c.Sends, c.CreatedAt.UnixMilli(), c.SentAt.UnixMilli(), c.ExpiresAt.UnixMilli())
}

// renewChallenge gives a challenge that was not used another link and code.
func renewChallenge(ctx context.Context, tx *database.Tx, tenant string, c Challenge, m made) (Challenge, error) {
	return scanOr(tx.QueryRow(ctx, `
		UPDATE challenges SET link_hash = $3, code_mac = $4, language = $5, tries = 0, sends = sends + 1, sent_at = $6, expires_at = $7
		WHERE tenant_id = $1 AND id = $2 AND used_at IS NULL
		RETURNING `+columns,
		tenant, c.ID, m.linkHash, m.codeMAC, c.Language, c.SentAt.UnixMilli(), c.ExpiresAt.UnixMilli()), ErrNotFound, "renew challenge")
}

func findChallenge(ctx context.Context, db database.Reader, tenant, id string) (Challenge, error) {
	return scanOr(db.QueryRow(ctx, `SELECT `+columns+` FROM challenges WHERE tenant_id = $1 AND id = $2`, tenant, id), ErrNotFound, "find challenge")
}

func peekLink(ctx context.Context, db database.Reader, tenant string, hash []byte, now time.Time) (Challenge, error) {
	return scanOr(db.QueryRow(ctx, `
		SELECT `+columns+` FROM challenges
		WHERE tenant_id = $1 AND link_hash = $2 AND used_at IS NULL AND expires_at > $3`, tenant, hash, now.UnixMilli()), ErrLinkSpent, "peek at link")
}

// spendLink is one statement, so that of many who come with a link one succeeds.
func spendLink(ctx context.Context, tx *database.Tx, tenant, purpose string, hash []byte) (Challenge, error) {
	return scanOr(tx.QueryRow(ctx, `
		UPDATE challenges SET used_at = $4
		WHERE tenant_id = $1 AND link_hash = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $4
		RETURNING `+columns, tenant, hash, purpose, tx.Millis()), ErrLinkSpent, "spend link")
}

// countTry counts a guess and returns what to judge it by; nil if there is nothing to
// guess at. It is one statement, so that guesses at the same time can not all be the
// fifth.
func countTry(ctx context.Context, tx *database.Tx, tenant string, c Claim) (mac []byte, err error) {
	err = tx.QueryRow(ctx, `
		UPDATE challenges SET tries = tries + 1
		WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND purpose = $4 AND target = $5
			AND tries < $6 AND used_at IS NULL AND expires_at > $7
		RETURNING code_mac`, tenant, c.ID, c.Attempt, c.Purpose, c.Target, maxTries, tx.Millis()).Scan(&mac)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("count try at code: %w", err)
	}
	return mac, nil
}

// spendCode is one statement, so that of many who know a code one succeeds.
func spendCode(ctx context.Context, tx *database.Tx, t Ticket) (Challenge, error) {
	return scanOr(tx.QueryRow(ctx, `
		UPDATE challenges SET used_at = $4
		WHERE tenant_id = $1 AND id = $2 AND code_mac = $3 AND used_at IS NULL AND expires_at > $4
		RETURNING `+columns, t.tenant, t.id, t.mac, tx.Millis()), ErrCode, "spend code")
}

func deleteChallenges(ctx context.Context, tx *database.Tx, tenant, attempt string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM challenges WHERE tenant_id = $1 AND owner = $2`, tenant, attempt); err != nil {
		return fmt.Errorf("void challenges: %w", err)
	}
	return nil
}

// sweepChallenges deletes those of all tenants that ended before a moment.
func sweepChallenges(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM challenges WHERE (tenant_id, id) IN (
			SELECT tenant_id, id FROM challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep challenges: %w", err)
	}
	return n, nil
}
