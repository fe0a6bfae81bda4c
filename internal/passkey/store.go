package passkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

const columns = `id, user_id, credential_id, public_key, rp_id, aaguid, attestation, transports, sign_count, backup_eligible, backup_state, verified, name, created_at, updated_at, used_at, held_at`

func scanPasskey(row database.Scanner) (p Passkey, err error) {
	var transports string
	var created, count int64
	var updated, used, held *int64
	err = row.Scan(&p.ID, &p.UserID, &p.CredentialID, &p.PublicKey, &p.RPID, &p.AAGUID, &p.Attestation, &transports, &count, &p.BackupEligible, &p.BackupState, &p.Verified, &p.Name,
		&created, &updated, &used, &held)
	if err != nil {
		return Passkey{}, err
	}
	p.Transports, p.SignCount, p.CreatedAt = strings.Fields(transports), uint32(count), time.UnixMilli(created).UTC()
	p.UpdatedAt, p.UsedAt, p.HeldAt = orZero(updated), orZero(used), orZero(held)
	return p, nil
}

func orZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

func orProblem(err error, none error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, database.ErrNoRows):
		return none
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

func insertPasskey(ctx context.Context, tx *database.Tx, tenant string, p Passkey) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO passkeys (tenant_id, id, user_id, credential_id, public_key, rp_id, aaguid, attestation, transports, sign_count, backup_eligible, backup_state, verified, name, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (tenant_id, credential_id) DO NOTHING`,
		tenant, p.ID, p.UserID, p.CredentialID, p.PublicKey, p.RPID, p.AAGUID, p.Attestation, strings.Join(p.Transports, " "), int64(p.SignCount), p.BackupEligible, p.BackupState, p.Verified,
		p.Name, p.CreatedAt.UnixMilli())
	if database.IsMissingParent(err) {
		return ErrChallenge.Because("the user is gone")
	}
	if err != nil {
		return fmt.Errorf("insert passkey: %w", err)
	}
	if n == 0 {
		return ErrExists
	}
	return nil
}

func listPasskeys(ctx context.Context, db database.Reader, tenant, user string) ([]Passkey, error) {
	rows, err := db.Query(ctx, `SELECT `+columns+` FROM passkeys WHERE tenant_id = $1 AND user_id = $2 ORDER BY id`, tenant, user)
	return database.Collect(rows, err, "list passkeys", scanPasskey)
}

// countPasskeys counts all that a user has.
func countPasskeys(ctx context.Context, db database.Reader, tenant, user string) (n int, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM passkeys WHERE tenant_id = $1 AND user_id = $2`, tenant, user).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count passkeys: %w", err)
	}
	return n, nil
}

// countUsable counts those that are good for an RP ID.
func countUsable(ctx context.Context, db database.Reader, tenant, user, rpID string) (n int, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM passkeys WHERE tenant_id = $1 AND user_id = $2 AND rp_id = $3 AND held_at IS NULL`, tenant, user, rpID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count passkeys: %w", err)
	}
	return n, nil
}

func findPasskey(ctx context.Context, db database.Reader, tenant, user string, credential []byte) (Passkey, error) {
	p, err := scanPasskey(db.QueryRow(ctx, `SELECT `+columns+` FROM passkeys WHERE tenant_id = $1 AND credential_id = $2 AND user_id = $3`, tenant, credential, user))
	return p, orProblem(err, ErrNotFound, "find passkey")
}

func findAnyPasskey(ctx context.Context, db database.Reader, tenant string, credential []byte) (Passkey, error) {
	p, err := scanPasskey(db.QueryRow(ctx, `SELECT `+columns+` FROM passkeys WHERE tenant_id = $1 AND credential_id = $2`, tenant, credential))
	return p, orProblem(err, ErrNotFound, "find passkey")
}

func renamePasskey(ctx context.Context, tx *database.Tx, tenant, user, id, name string) (Passkey, error) {
	p, err := scanPasskey(tx.QueryRow(ctx, `UPDATE passkeys SET name = $4, updated_at = $5 WHERE tenant_id = $1 AND user_id = $2 AND id = $3 RETURNING `+columns, tenant, user, id, name, tx.Millis()))
	return p, orProblem(err, ErrNotFound, "rename passkey")
}

func deletePasskey(ctx context.Context, tx *database.Tx, tenant, user, id string) (Passkey, error) {
	p, err := scanPasskey(tx.QueryRow(ctx, `DELETE FROM passkeys WHERE tenant_id = $1 AND user_id = $2 AND id = $3 RETURNING `+columns, tenant, user, id))
	return p, orProblem(err, ErrNotFound, "delete passkey")
}

func deletePasskeys(ctx context.Context, tx *database.Tx, tenant, user string) ([]Passkey, error) {
	rows, err := tx.Query(ctx, `DELETE FROM passkeys WHERE tenant_id = $1 AND user_id = $2 RETURNING `+columns, tenant, user)
	return database.Collect(rows, err, "delete passkeys", scanPasskey)
}

func deletePasskeysSince(ctx context.Context, tx *database.Tx, tenant, user string, since time.Time) ([]Passkey, error) {
	rows, err := tx.Query(ctx, `DELETE FROM passkeys WHERE tenant_id = $1 AND user_id = $2 AND created_at >= $3 RETURNING `+columns, tenant, user, since.UnixMilli())
	return database.Collect(rows, err, "delete passkeys", scanPasskey)
}

func holdPasskeys(ctx context.Context, tx *database.Tx, tenant, user string) ([]Passkey, error) {
	rows, err := tx.Query(ctx, `UPDATE passkeys SET held_at = $3 WHERE tenant_id = $1 AND user_id = $2 AND held_at IS NULL RETURNING `+columns, tenant, user, tx.Millis())
	return database.Collect(rows, err, "hold passkeys", scanPasskey)
}

func confirmPasskey(ctx context.Context, tx *database.Tx, tenant, user, id string) (Passkey, error) {
	p, err := scanPasskey(tx.QueryRow(ctx, `UPDATE passkeys SET held_at = NULL WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND held_at IS NOT NULL RETURNING `+columns, tenant, user, id))
	return p, orProblem(err, ErrNotFound, "confirm passkey")
}

// usePasskey is one statement, so that of two answers with the same count, as two
// copies of a key give them, one is taken.
func usePasskey(ctx context.Context, tx *database.Tx, tenant string, a Assertion) (Passkey, error) {
	p, err := scanPasskey(tx.QueryRow(ctx, `
		UPDATE passkeys SET sign_count = CASE WHEN sign_count < $4 THEN $4 ELSE sign_count END, backup_state = $5, used_at = $6
		WHERE tenant_id = $1 AND id = $2 AND user_id = $3 AND held_at IS NULL AND (sign_count < $4 OR sign_count = 0 AND $4 = 0 OR $7) RETURNING `+columns,
		tenant, a.Passkey.ID, a.Passkey.UserID, int64(a.count), a.backedUp, tx.Millis(), a.takeLower))
	return p, orProblem(err, ErrRefused.Because("removed or used with a higher count meanwhile"), "use passkey")
}

func insertChallenge(ctx context.Context, tx *database.Tx, tenant string, c challenge) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO passkey_challenges (tenant_id, hash, owner, purpose, user_id, rp_id, verify, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		tenant, c.hash, c.owner, c.purpose, c.user, c.rpID, c.verify, tx.Now.Add(ChallengeLifetime).UnixMilli())
	if err != nil {
		return fmt.Errorf("insert passkey challenge: %w", err)
	}
	return nil
}

func findChallenge(ctx context.Context, db database.Reader, tenant string, hash []byte, now time.Time) (challenge, error) {
	c := challenge{hash: hash}
	err := db.QueryRow(ctx, `SELECT owner, purpose, user_id, rp_id, verify FROM passkey_challenges WHERE tenant_id = $1 AND hash = $2 AND expires_at > $3`, tenant, hash, now.UnixMilli()).
		Scan(&c.owner, &c.purpose, &c.user, &c.rpID, &c.verify)
	return c, orProblem(err, ErrChallenge, "find passkey challenge")
}

// spendChallenge is one statement, so that of two answers at once one counts.
func spendChallenge(ctx context.Context, tx *database.Tx, tenant string, c challenge) error {
	n, err := tx.Exec(ctx, `DELETE FROM passkey_challenges WHERE tenant_id = $1 AND hash = $2 AND owner = $3 AND purpose = $4 AND expires_at > $5`, tenant, c.hash, c.owner, c.purpose, tx.Millis())
	if err != nil {
		return fmt.Errorf("spend passkey challenge: %w", err)
	}
	if n == 0 {
		return ErrChallenge
	}
	return nil
}

func sweepChallenges(ctx context.Context, tx *database.Tx, portion int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM passkey_challenges WHERE (tenant_id, hash) IN (SELECT tenant_id, hash FROM passkey_challenges WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`, tx.Millis(), portion)
	if err != nil {
		return 0, fmt.Errorf("sweep passkey challenges: %w", err)
	}
	return n, nil
}
