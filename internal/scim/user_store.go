package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// A person is a user as the directory has described them.
type person struct {
	ID         string // of the user here
	UserName   string
	ExternalID string
	display    string
	isActive   bool
	isDeleted  bool
	made       bool // the account, by this directory
	disabled   bool // the account, by this directory
	doc        doc
	version    int64
	createdAt  time.Time
	modifiedAt time.Time
}

const personColumns = `user_id, username, external_id, display, is_active, is_deleted, made, disabled, resource, version, created_at, modified_at`

func scanPerson(row database.Scanner) (p person, err error) {
	var resource string
	var created, modified int64
	if err := row.Scan(&p.ID, &p.UserName, &p.ExternalID, &p.display, &p.isActive, &p.isDeleted, &p.made, &p.disabled, &resource, &p.version, &created, &modified); err != nil {
		return p, err
	}
	p.createdAt, p.modifiedAt = at(created), at(modified)
	return p, json.Unmarshal([]byte(resource), &p.doc)
}

func findPerson(ctx context.Context, db database.Reader, tenant, directory, id string) (person, error) {
	if !secret.IsID(id) {
		return person{}, errNoResource
	}
	p, err := scanPerson(db.QueryRow(ctx, `
		SELECT `+personColumns+` FROM directory_users
		WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3 AND NOT is_deleted`, tenant, directory, id))
	return p, orMissing(err, errNoResource, "find user of directory")
}

// holdPerson locks the row by writing to it, also one that is deleted, and returns
// what it holds: of two changes at once the second sees the first one's result.
func holdPerson(ctx context.Context, tx *database.Tx, tenant, directory, id string) (person, error) {
	if !secret.IsID(id) {
		return person{}, errNoResource
	}
	p, err := scanPerson(tx.QueryRow(ctx, `
		UPDATE directory_users SET version = version
		WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3 RETURNING `+personColumns, tenant, directory, id))
	return p, orMissing(err, errNoResource, "hold user of directory")
}

func values(p person) (primaryEmail string, others []string, resource []byte, err error) {
	resource, err = checkSize(p.doc)
	for i, e := range emailsOf(p.doc) {
		if key := fold(e); i == 0 {
			primaryEmail = key
		} else if key != primaryEmail && !slices.Contains(others, key) {
			others = append(others, key)
		}
	}
	return primaryEmail, others, resource, err
}

// insertPerson writes a new user of a directory. That the userName is free shows when
// the statement is run, at the latest with the commit: see database.IsDuplicate.
func insertPerson(tx *database.Tx, tenant, directory string, p person) error {
	email, others, resource, err := values(p)
	if err != nil {
		return err
	}
	tx.Later(`
		INSERT INTO directory_users (tenant_id, directory_id, user_id, username, username_key, external_id, email_key, display, is_active, is_deleted, made, disabled, resource, version, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10, $11, $12, $13, $14, $14)`,
		tenant, directory, p.ID, p.UserName, fold(p.UserName), p.ExternalID, email, p.display, p.isActive, p.made, p.disabled, string(resource), p.version, tx.Millis())
	insertEmails(tx, tenant, directory, p.ID, others)
	return nil
}

func insertEmails(tx *database.Tx, tenant, directory, id string, emails []string) {
	for _, e := range emails {
		tx.Later(`INSERT INTO directory_emails (tenant_id, directory_id, email_key, user_id) VALUES ($1, $2, $3, $4)`, tenant, directory, e, id)
	}
}

// updatePerson writes what has changed of a user. Addresses beside the primary one are
// written only if they are others than old's.
func updatePerson(tx *database.Tx, tenant, directory string, old, p person) error {
	email, others, resource, err := values(p)
	if err != nil {
		return err
	}
	tx.Later(`
		UPDATE directory_users SET username = $4, username_key = $5, external_id = $6, email_key = $7, display = $8, is_active = $9, is_deleted = FALSE, disabled = $10, resource = $11, version = $12, modified_at = $13
		WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`,
		tenant, directory, p.ID, p.UserName, fold(p.UserName), p.ExternalID, email, p.display, p.isActive, p.disabled, string(resource), p.version, tx.Millis())
	if _, before, _, _ := values(old); slices.Equal(before, others) {
		return nil
	}
	tx.Later(`DELETE FROM directory_emails WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`, tenant, directory, p.ID)
	insertEmails(tx, tenant, directory, p.ID, others)
	return nil
}

// removePerson forgets a user; of one whose account the directory made, all but that.
func removePerson(tx *database.Tx, tenant, directory string, p person) {
	tx.Later(`
		UPDATE directory_groups SET version = version + 1, modified_at = $4
		WHERE tenant_id = $1 AND directory_id = $2 AND id IN (SELECT group_id FROM directory_members WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3)`,
		tenant, directory, p.ID, tx.Millis())
	tx.Later(`DELETE FROM directory_members WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`, tenant, directory, p.ID)
	if !p.made {
		tx.Later(`DELETE FROM directory_users WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`, tenant, directory, p.ID)
		return
	}
	tx.Later(`DELETE FROM directory_emails WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`, tenant, directory, p.ID)
	tx.Later(`
		UPDATE directory_users SET username = '', username_key = '', external_id = '', email_key = '', display = '', is_active = FALSE, is_deleted = TRUE, disabled = $4,
			resource = '{}', version = version + 1, modified_at = $5
		WHERE tenant_id = $1 AND directory_id = $2 AND user_id = $3`, tenant, directory, p.ID, p.disabled, tx.Millis())
}

// A membership is a group that a user is in, or a user who is in a group.
type membership struct {
	group, user, display string
}

// groupsOf lists the groups that users are in, at most maxShownGroups for each page.
func groupsOf(ctx context.Context, db *database.DB, tenant, directory string, ids []string) ([]membership, error) {
	isUser, args := db.AmongMany("m.user_id", 4, ids)
	rows, err := db.Query(ctx, `
		SELECT m.group_id, m.user_id,
			(SELECT g.name FROM directory_groups g WHERE g.tenant_id = m.tenant_id AND g.directory_id = m.directory_id AND g.id = m.group_id)
		FROM directory_members m
		WHERE m.tenant_id = $1 AND m.directory_id = $2 AND `+isUser+`
		ORDER BY m.user_id, m.group_id LIMIT $3`, append([]any{tenant, directory, int64(maxShownGroups)}, args...)...)
	return database.Collect(rows, err, "list groups of users", func(row database.Scanner) (m membership, err error) {
		err = row.Scan(&m.group, &m.user, &m.display)
		return m, err
	})
}

const maxShownGroups = 10_000

// existingPeople returns which of some ids are users of a directory.
func existingPeople(ctx context.Context, tx *database.Tx, tenant, directory string, ids []string) (map[string]bool, error) {
	isUser, args := tx.AmongMany("user_id", 3, ids)
	rows, err := tx.Query(ctx, `SELECT user_id FROM directory_users WHERE tenant_id = $1 AND directory_id = $2 AND `+isUser+` AND NOT is_deleted`,
		append([]any{tenant, directory}, args...)...)
	found := make(map[string]bool, len(ids))
	_, err = database.Collect(rows, err, "look for users of directory", func(row database.Scanner) (none struct{}, err error) {
		var id string
		err = row.Scan(&id)
		found[id] = true
		return none, err
	})
	return found, err
}

// noteSync remembers when directories were heard of last.
func noteSync(tx *database.Tx, tenant, directory string, when int64) {
	tx.Later(`UPDATE directories SET last_sync_at = $3 WHERE tenant_id = $1 AND id = $2`, tenant, directory, when)
}

// count counts what a list is of.
func count(ctx context.Context, db database.Reader, stmt string, args []any) (n int64, err error) {
	if err := db.QueryRow(ctx, stmt, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count resources of directory: %w", err)
	}
	return n, nil
}
