package org

import (
	"context"
	"fmt"
	"strings"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/user"
)

const memberColumns = `m.organization_id, m.user_id, m.status, m.source, m.break_glass, m.created_at, m.modified_at`

// targets are where memberColumns go; finish must be called after the scan.
func (m *Member) targets() (into []any, finish func()) {
	var created, modified int64
	return []any{&m.OrganizationID, &m.UserID, &m.Status, &m.Source, &m.BreakGlass, &created, &modified},
		func() { m.CreatedAt, m.ModifiedAt = at(created), at(modified) }
}

func scanMember(row database.Scanner) (m Member, err error) {
	into, finish := m.targets()
	err = row.Scan(into...)
	finish()
	return m, err
}

func scanMembership(row database.Scanner) (m Membership, err error) {
	into, finish := m.Member.targets()
	m.Organization, err = scanOrganization(row, into...)
	finish()
	return m, err
}

func scanGiven(row database.Scanner) (g given, err error) {
	return g, row.Scan(&g.organization, &g.user, &g.source, &g.role)
}

func findMember(ctx context.Context, db database.Reader, tenant, organization, user string) (Member, error) {
	m, err := scanMember(db.QueryRow(ctx, `SELECT `+memberColumns+` FROM organization_members m WHERE m.tenant_id = $1 AND m.organization_id = $2 AND m.user_id = $3`, tenant, organization, user))
	if err != nil {
		return m, orMissing(err, ErrMemberNotFound, "find member")
	}
	rows, err := db.Query(ctx, `
		SELECT organization_id, user_id, source, role_id FROM organization_member_roles
		WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3 ORDER BY role_id`, tenant, organization, user)
	roles, err := database.Collect(rows, err, "list a member's roles", scanGiven)
	m.take(roles)
	return m, err
}

func listMemberships(ctx context.Context, db database.Reader, tenant, user string) ([]Membership, error) {
	rows, err := db.Query(ctx, `
		SELECT `+columnsOfO+`, `+memberColumns+` FROM organization_members m
		JOIN organizations o ON o.tenant_id = m.tenant_id AND o.id = m.organization_id
		WHERE m.tenant_id = $1 AND m.user_id = $2 ORDER BY m.organization_id LIMIT $3`, tenant, user, MaxMemberships)
	return database.Collect(rows, err, "list memberships", scanMembership)
}

func listRolesOfUser(ctx context.Context, db database.Reader, tenant, user string) ([]given, error) {
	rows, err := db.Query(ctx, `
		SELECT organization_id, user_id, source, role_id FROM organization_member_roles
		WHERE tenant_id = $1 AND user_id = $2 ORDER BY organization_id, role_id`, tenant, user)
	return database.Collect(rows, err, "list a user's roles", scanGiven)
}

// listMembers reads the page, and then the roles of all that are on it.
func listMembers(ctx context.Context, db *database.DB, tenant, organization, after string, limit int) ([]Member, error) {
	rows, err := db.Query(ctx, `
		SELECT `+memberColumns+` FROM organization_members m
		WHERE m.tenant_id = $1 AND m.organization_id = $2 AND m.user_id > $3 ORDER BY m.user_id LIMIT CAST($4 AS BIGINT)`, tenant, organization, after, int64(limit))
	members, err := database.Collect(rows, err, "list members", scanMember)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	rows, err = db.Query(ctx, `
		SELECT organization_id, user_id, source, role_id FROM organization_member_roles
		WHERE tenant_id = $1 AND organization_id = $2 AND user_id >= $3 AND user_id <= $4 ORDER BY user_id, role_id`,
		tenant, organization, members[0].UserID, members[len(members)-1].UserID)
	roles, err := database.Collect(rows, err, "list members' roles", scanGiven)
	for i := range members {
		own := 0
		for own < len(roles) && roles[own].user <= members[i].UserID {
			own++
		}
		members[i].take(roles[:own])
		roles = roles[own:]
	}
	return members, err
}

// insertMember reports whether the user is a member only now.
func insertMember(ctx context.Context, tx *database.Tx, tenant, organization, user, source string) (bool, error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO organization_members (tenant_id, organization_id, user_id, status, source, break_glass, created_at, modified_at)
		VALUES ($1, $2, $3, 'active', $4, FALSE, $5, $5) ON CONFLICT (tenant_id, organization_id, user_id) DO NOTHING`, tenant, organization, user, source, tx.Millis())
	if database.IsMissingParent(err) {
		return false, ErrNotFound.Saying("There is no such organization or user.")
	}
	if err != nil {
		return false, fmt.Errorf("insert member: %w", err)
	}
	return n == 1, nil
}

func checkMemberships(ctx context.Context, tx *database.Tx, tenant, user string) error {
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM organization_members WHERE tenant_id = $1 AND user_id = $2`, tenant, user).Scan(&n); err != nil {
		return fmt.Errorf("count memberships: %w", err)
	}
	if n > MaxMemberships {
		return ErrTooMany
	}
	return nil
}

// replaceRoles replaces the roles that a member has by hand.
func replaceRoles(ctx context.Context, tx *database.Tx, tenant, organization, user string, roles []string) error {
	tx.Later(`DELETE FROM organization_member_roles WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3 AND source = ''`, tenant, organization, user)
	for _, id := range roles {
		tx.Later(`
			INSERT INTO organization_member_roles (tenant_id, organization_id, user_id, source, role_id)
			VALUES ($1, $2, $3, '', $4) ON CONFLICT DO NOTHING`, tenant, organization, user, id)
	}
	n, err := tx.Exec(ctx, `UPDATE organization_members SET modified_at = $4 WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3`, tenant, organization, user, tx.Millis())
	return orNone(n, err, ErrMemberNotFound, "replace roles")
}

func updateStatus(ctx context.Context, tx *database.Tx, tenant, organization, user, status string) error {
	n, err := tx.Exec(ctx, `
		UPDATE organization_members SET status = $4, modified_at = $5
		WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3`, tenant, organization, user, status, tx.Millis())
	return orNone(n, err, ErrMemberNotFound, "set a member's status")
}

func updateBreakGlass(ctx context.Context, tx *database.Tx, tenant, organization, user string, on bool) error {
	n, err := tx.Exec(ctx, `
		UPDATE organization_members SET break_glass = $4, modified_at = $5
		WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3`, tenant, organization, user, on, tx.Millis())
	return orNone(n, err, ErrMemberNotFound, "set break-glass")
}

func deleteMember(ctx context.Context, tx *database.Tx, tenant, organization, user string) error {
	n, err := tx.Exec(ctx, `DELETE FROM organization_members WHERE tenant_id = $1 AND organization_id = $2 AND user_id = $3`, tenant, organization, user)
	return orNone(n, err, ErrMemberNotFound, "remove member")
}

// hasOwner reports whether one active member, whose account is active, has the role of
// owners.
func hasOwner(ctx context.Context, tx *database.Tx, tenant, organization, owner string) (found bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT 1 FROM organization_member_roles r
			JOIN organization_members m ON m.tenant_id = r.tenant_id AND m.organization_id = r.organization_id AND m.user_id = r.user_id
			WHERE r.tenant_id = $1 AND r.organization_id = $2 AND r.role_id = $3 AND m.status = 'active' AND `+user.HasActiveAccount+`)`, tenant, organization, owner).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for an owner: %w", err)
	}
	return found, nil
}

// holdOwned locks the organizations that a user is an active owner of and returns them.
func holdOwned(ctx context.Context, tx *database.Tx, tenant, owner, userID string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE organizations SET modified_at = modified_at
		WHERE tenant_id = $1 AND id IN (
			SELECT r.organization_id FROM organization_member_roles r
			JOIN organization_members m ON m.tenant_id = r.tenant_id AND m.organization_id = r.organization_id AND m.user_id = r.user_id
			WHERE r.tenant_id = $1 AND r.user_id = $2 AND r.role_id = $3 AND m.status = 'active')
		RETURNING id`, tenant, userID, owner)
	return database.Collect(rows, err, "hold organizations of owner", scanUserID)
}

// allOwnedByOthers reports whether each of some organizations has an active owner other
// than a user.
func allOwnedByOthers(ctx context.Context, tx *database.Tx, tenant, owner, userID string, organizations []string) (all bool, err error) {
	among, arg := tx.Among("$4", organizations)
	err = tx.QueryRow(ctx, `
		SELECT NOT EXISTS (
			SELECT 1 FROM organizations o WHERE o.tenant_id = $1 AND o.id `+among+` AND NOT EXISTS (
				SELECT 1 FROM organization_member_roles r
				JOIN organization_members m ON m.tenant_id = r.tenant_id AND m.organization_id = r.organization_id AND m.user_id = r.user_id
				WHERE r.tenant_id = $1 AND r.organization_id = o.id AND r.role_id = $2 AND r.user_id <> $3 AND m.status = 'active' AND `+user.HasActiveAccount+`))`,
		tenant, owner, userID, arg).Scan(&all)
	if err != nil {
		return false, fmt.Errorf("look for other owners: %w", err)
	}
	return all, nil
}

// giveBack gives the owner's role from a source to the first of some users who is an
// active member with an active account, and returns them; nobody if none is.
func giveBack(ctx context.Context, tx *database.Tx, tenant, organization, source, owner string, users []string) ([]string, error) {
	isUser, args := tx.AmongMany("m.user_id", 5, users)
	rows, err := tx.Query(ctx, `
		INSERT INTO organization_member_roles (tenant_id, organization_id, user_id, source, role_id, is_kept)
		SELECT m.tenant_id, m.organization_id, m.user_id, CAST($3 AS TEXT), CAST($4 AS TEXT), TRUE FROM organization_members m
		WHERE m.tenant_id = $1 AND m.organization_id = $2 AND m.status = 'active' AND `+user.HasActiveAccount+` AND `+isUser+`
		ORDER BY m.user_id LIMIT 1 RETURNING user_id`, append([]any{tenant, organization, source, owner}, args...)...)
	return database.Collect(rows, err, "give the owner's role back", scanUserID)
}

// listKeepers returns the active members who have one of the roles, at most limit.
func listKeepers(ctx context.Context, db database.Reader, tenant, organization string, roles []string, limit int) ([]string, error) {
	args := []any{tenant, organization, limit}
	marks := make([]string, len(roles))
	for i, id := range roles {
		args = append(args, id)
		marks[i] = fmt.Sprintf("$%d", len(args))
	}
	rows, err := db.Query(ctx, `
		SELECT DISTINCT m.user_id FROM organization_member_roles r
		JOIN organization_members m ON m.tenant_id = r.tenant_id AND m.organization_id = r.organization_id AND m.user_id = r.user_id
		WHERE r.tenant_id = $1 AND r.organization_id = $2 AND r.role_id IN (`+strings.Join(marks, ", ")+`) AND m.status = 'active' AND `+user.HasActiveAccount+`
		ORDER BY m.user_id LIMIT $3`, args...)
	return database.Collect(rows, err, "list administrators", func(row database.Scanner) (id string, err error) {
		return id, row.Scan(&id)
	})
}
