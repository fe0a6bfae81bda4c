package org

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

const invitationColumns = `id, organization_id, email, role_ids, inviter, language, sent_at, expires_at, accepted_at, accepted_by, revoked_at, created_at`

func scanInvitation(row database.Scanner) (i Invitation, err error) {
	var roles string
	var sent, expires, created int64
	var accepted, revoked *int64
	var acceptedBy *string
	if err := row.Scan(&i.ID, &i.OrganizationID, &i.Email, &roles, &i.Inviter, &i.Language, &sent, &expires, &accepted, &acceptedBy, &revoked, &created); err != nil {
		return i, err
	}
	if acceptedBy != nil {
		i.AcceptedBy = *acceptedBy
	}
	i.SentAt, i.ExpiresAt, i.AcceptedAt, i.RevokedAt, i.CreatedAt = at(sent), at(expires), atOrZero(accepted), atOrZero(revoked), at(created)
	return i, json.Unmarshal([]byte(roles), &i.RoleIDs)
}

func insertInvitation(ctx context.Context, tx *database.Tx, tenant string, i Invitation, hash []byte) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO organization_invitations (tenant_id, id, organization_id, email, role_ids, token_hash, inviter, language, sent_at, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $9)`,
		tenant, i.ID, i.OrganizationID, i.Email, encode(i.RoleIDs), hash, i.Inviter, i.Language, i.SentAt.UnixMilli(), i.ExpiresAt.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert invitation: %w", err)
	}
	return nil
}

// spendInvitation is one statement, so that of many who come with a token one goes on.
func spendInvitation(ctx context.Context, tx *database.Tx, tenant string, hash []byte, user string) (Invitation, error) {
	i, err := scanInvitation(tx.QueryRow(ctx, `
		UPDATE organization_invitations SET accepted_at = $3, accepted_by = $4
		WHERE tenant_id = $1 AND token_hash = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3
		RETURNING `+invitationColumns, tenant, hash, tx.Millis(), user))
	return i, orMissing(err, ErrSpent, "spend invitation")
}

func findInvitationByToken(ctx context.Context, db database.Reader, tenant string, hash []byte) (Invitation, error) {
	i, err := scanInvitation(db.QueryRow(ctx, `SELECT `+invitationColumns+` FROM organization_invitations WHERE tenant_id = $1 AND token_hash = $2`, tenant, hash))
	return i, orMissing(err, ErrSpent, "find invitation")
}

func findInvitation(ctx context.Context, db database.Reader, tenant, organization, id string) (Invitation, error) {
	i, err := scanInvitation(db.QueryRow(ctx, `
		SELECT `+invitationColumns+` FROM organization_invitations WHERE tenant_id = $1 AND organization_id = $2 AND id = $3`, tenant, organization, id))
	return i, orMissing(err, ErrInvitationNotFound, "find invitation")
}

func listInvitations(ctx context.Context, db database.Reader, tenant, organization, after string, limit int) ([]Invitation, error) {
	rows, err := db.Query(ctx, `
		SELECT `+invitationColumns+` FROM organization_invitations
		WHERE tenant_id = $1 AND organization_id = $2 AND id > $3 ORDER BY id LIMIT CAST($4 AS BIGINT)`, tenant, organization, after, int64(limit))
	return database.Collect(rows, err, "list invitations", scanInvitation)
}

func countOpen(ctx context.Context, tx *database.Tx, tenant, organization string) (n int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT count(*) FROM organization_invitations
		WHERE tenant_id = $1 AND organization_id = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3`, tenant, organization, tx.Millis()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count invitations: %w", err)
	}
	return n, nil
}

func revokeOpen(ctx context.Context, tx *database.Tx, tenant, organization, email string) error {
	_, err := tx.Exec(ctx, `
		UPDATE organization_invitations SET revoked_at = $4
		WHERE tenant_id = $1 AND organization_id = $2 AND email = $3 AND accepted_at IS NULL AND revoked_at IS NULL`, tenant, organization, email, tx.Millis())
	if err != nil {
		return fmt.Errorf("revoke invitations: %w", err)
	}
	return nil
}

func revokeAllTo(ctx context.Context, tx *database.Tx, tenant, email string) ([]Invitation, error) {
	rows, err := tx.Query(ctx, `
		UPDATE organization_invitations SET revoked_at = $3
		WHERE tenant_id = $1 AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING `+invitationColumns, tenant, email, tx.Millis())
	return database.Collect(rows, err, "revoke invitations to an address", scanInvitation)
}

func revokeInvitation(ctx context.Context, tx *database.Tx, tenant, organization, id string) error {
	n, err := tx.Exec(ctx, `
		UPDATE organization_invitations SET revoked_at = $4
		WHERE tenant_id = $1 AND organization_id = $2 AND id = $3 AND accepted_at IS NULL AND revoked_at IS NULL`, tenant, organization, id, tx.Millis())
	return orNone(n, err, ErrSpent, "revoke invitation")
}

// updateInvitation stores what may change of an open invitation; a nil hash keeps the
// token.
func updateInvitation(ctx context.Context, tx *database.Tx, tenant string, i Invitation, hash []byte) error {
	n, err := tx.Exec(ctx, `
		UPDATE organization_invitations SET role_ids = $4, inviter = $5, sent_at = $6, expires_at = $7, token_hash = COALESCE($8, token_hash)
		WHERE tenant_id = $1 AND organization_id = $2 AND id = $3 AND accepted_at IS NULL AND revoked_at IS NULL`,
		tenant, i.OrganizationID, i.ID, encode(i.RoleIDs), i.Inviter, i.SentAt.UnixMilli(), i.ExpiresAt.UnixMilli(), hash)
	return orNone(n, err, ErrSpent, "update invitation")
}

func sweepInvitations(ctx context.Context, tx *database.Tx, before time.Time) error {
	if _, err := tx.Exec(ctx, `
		DELETE FROM organization_invitations WHERE (tenant_id, id) IN (
			SELECT tenant_id, id FROM organization_invitations WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000)`, before.UnixMilli()); err != nil {
		return fmt.Errorf("sweep invitations: %w", err)
	}
	return nil
}
