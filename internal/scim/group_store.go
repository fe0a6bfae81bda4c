package scim

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// A group is a group of a directory, without its members.
type group struct {
	ID         string
	Name       string
	ExternalID string
	version    int64
	createdAt  time.Time
	modifiedAt time.Time
}

const groupColumns = `id, name, external_id, version, created_at, modified_at`

func scanGroup(row database.Scanner) (g group, err error) {
	var created, modified int64
	err = row.Scan(&g.ID, &g.Name, &g.ExternalID, &g.version, &created, &modified)
	g.createdAt, g.modifiedAt = at(created), at(modified)
	return g, err
}

func findGroup(ctx context.Context, db database.Reader, tenant, directory, id string) (group, error) {
	if !secret.IsID(id) {
		return group{}, errNoResource
	}
	g, err := scanGroup(db.QueryRow(ctx, `SELECT `+groupColumns+` FROM directory_groups WHERE tenant_id = $1 AND directory_id = $2 AND id = $3`, tenant, directory, id))
	return g, orMissing(err, errNoResource, "find group")
}

// holdGroup locks the row by writing to it, and returns what it holds.
func holdGroup(ctx context.Context, tx *database.Tx, tenant, directory, id string) (group, error) {
	if !secret.IsID(id) {
		return group{}, errNoResource
	}
	g, err := scanGroup(tx.QueryRow(ctx, `
		UPDATE directory_groups SET version = version
		WHERE tenant_id = $1 AND directory_id = $2 AND id = $3 RETURNING `+groupColumns, tenant, directory, id))
	return g, orMissing(err, errNoResource, "hold group")
}

// insertGroup adds a group, or fails with errTaken.
func insertGroup(ctx context.Context, tx *database.Tx, tenant, directory string, g group) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO directory_groups (tenant_id, directory_id, id, name, name_key, external_id, version, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (tenant_id, directory_id, name_key) DO NOTHING`,
		tenant, directory, g.ID, g.Name, fold(g.Name), g.ExternalID, g.version, tx.Millis())
	return orNone(n, err, errTaken, "insert group")
}

func updateGroup(ctx context.Context, tx *database.Tx, tenant, directory string, g group) error {
	_, err := tx.Exec(ctx, `
		UPDATE directory_groups SET name = $4, name_key = $5, external_id = $6, version = $7, modified_at = $8
		WHERE tenant_id = $1 AND directory_id = $2 AND id = $3`, tenant, directory, g.ID, g.Name, fold(g.Name), g.ExternalID, g.version, tx.Millis())
	if database.IsDuplicate(err) {
		return errTaken
	}
	if err != nil {
		return fmt.Errorf("update group: %w", err)
	}
	return nil
}

func deleteGroup(ctx context.Context, tx *database.Tx, tenant, directory, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM directory_groups WHERE tenant_id = $1 AND directory_id = $2 AND id = $3`, tenant, directory, id)
	return orNone(n, err, errNoResource, "delete group")
}

func scanID(row database.Scanner) (id string, err error) {
	err = row.Scan(&id)
	return id, err
}

// addMembers adds users who are there, and returns those who were not in the group.
func addMembers(ctx context.Context, tx *database.Tx, tenant, directory, group string, ids []string) ([]string, error) {
	isUser, args := tx.AmongMany("u.user_id", 4, ids)
	rows, err := tx.Query(ctx, `
		INSERT INTO directory_members (tenant_id, directory_id, group_id, user_id)
		SELECT u.tenant_id, u.directory_id, $3, u.user_id FROM directory_users u
		WHERE u.tenant_id = $1 AND u.directory_id = $2 AND `+isUser+` AND NOT u.is_deleted
		ON CONFLICT (tenant_id, directory_id, group_id, user_id) DO NOTHING RETURNING user_id`, append([]any{tenant, directory, group}, args...)...)
	return database.Collect(rows, err, "add members of group", scanID)
}

// removeMembers returns those who were in the group.
func removeMembers(ctx context.Context, tx *database.Tx, tenant, directory, group string, ids []string) ([]string, error) {
	isUser, args := tx.AmongMany("user_id", 4, ids)
	rows, err := tx.Query(ctx, `
		DELETE FROM directory_members WHERE tenant_id = $1 AND directory_id = $2 AND group_id = $3 AND `+isUser+` RETURNING user_id`,
		append([]any{tenant, directory, group}, args...)...)
	return database.Collect(rows, err, "remove members of group", scanID)
}

// memberIDs is a page of a group's members, after an id.
func memberIDs(ctx context.Context, db database.Reader, tenant, directory, group, after string, limit int) ([]string, error) {
	rows, err := db.Query(ctx, `
		SELECT user_id FROM directory_members
		WHERE tenant_id = $1 AND directory_id = $2 AND group_id = $3 AND user_id > $4 ORDER BY user_id LIMIT $5`, tenant, directory, group, after, int64(limit))
	return database.Collect(rows, err, "list members of group", scanID)
}

// displayOf is the name that a member m is shown with. It is no join, whose order would be
// a guess while the rows have not been counted.
const displayOf = `(SELECT u.display FROM directory_users u WHERE u.tenant_id = m.tenant_id AND u.directory_id = m.directory_id AND u.user_id = m.user_id)`

// shownMembers is memberIDs with the names that are shown.
func shownMembers(ctx context.Context, db database.Reader, tenant, directory, group, after string, limit int) ([]membership, error) {
	rows, err := db.Query(ctx, `
		SELECT m.group_id, m.user_id, `+displayOf+` FROM directory_members m
		WHERE m.tenant_id = $1 AND m.directory_id = $2 AND m.group_id = $3 AND m.user_id > $4 ORDER BY m.user_id LIMIT $5`, tenant, directory, group, after, int64(limit))
	return database.Collect(rows, err, "list members of group", func(row database.Scanner) (m membership, err error) {
		err = row.Scan(&m.group, &m.user, &m.display)
		return m, err
	})
}

// membersOfGroups is shownMembers for several groups, after one of the last page.
func membersOfGroups(ctx context.Context, db *database.DB, tenant, directory string, groups []string, after membership, limit int) ([]membership, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	isGroup, arg := db.Among("$3", groups)
	rows, err := db.Query(ctx, `
		SELECT m.group_id, m.user_id, `+displayOf+` FROM directory_members m
		WHERE m.tenant_id = $1 AND m.directory_id = $2 AND m.group_id `+isGroup+` AND (m.group_id, m.user_id) > ($4, $5)
		ORDER BY m.group_id, m.user_id LIMIT $6`, tenant, directory, arg, after.group, after.user, int64(limit))
	return database.Collect(rows, err, "list members of groups", func(row database.Scanner) (m membership, err error) {
		err = row.Scan(&m.group, &m.user, &m.display)
		return m, err
	})
}

// ruleGroups returns the groups that rules may mean, by id.
func ruleGroups(ctx context.Context, tx *database.Tx, tenant, directory string, names, exact []string) ([]group, error) {
	byName, nameArg := tx.Among("$3", names)
	byExternal, exactArg := tx.Among("$4", exact)
	byID, _ := tx.Among("$4", exact)
	rows, err := tx.Query(ctx, `
		SELECT `+groupColumns+` FROM directory_groups
		WHERE tenant_id = $1 AND directory_id = $2 AND (name_key `+byName+` OR external_id `+byExternal+` OR id `+byID+`) ORDER BY id LIMIT 1000`,
		tenant, directory, nameArg, exactArg)
	return database.Collect(rows, err, "find groups of rules", scanGroup)
}

// inGroups returns which of some users are in which of some groups.
func inGroups(ctx context.Context, tx *database.Tx, tenant, directory string, groups, ids []string) ([]membership, error) {
	inGroup, groupArg := tx.Among("$3", groups)
	isUser, users := tx.AmongMany("user_id", 4, ids)
	rows, err := tx.Query(ctx, `
		SELECT group_id, user_id FROM directory_members
		WHERE tenant_id = $1 AND directory_id = $2 AND group_id `+inGroup+` AND `+isUser, append([]any{tenant, directory, groupArg}, users...)...)
	return database.Collect(rows, err, "find members of groups of rules", func(row database.Scanner) (m membership, err error) {
		err = row.Scan(&m.group, &m.user)
		return m, err
	})
}
