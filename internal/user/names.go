package user

import (
	"context"
	"fmt"
	"strings"

	"github.com/cardea-id/cardea/internal/database"
)

// A filter by a part of the first or the last name may match thousands of users, too many
// to look at each. So a part becomes the whole names that it is in, of which there are
// few, and an index has the users of each whole name in the order of the list: they are
// counted there, and a page is put together from the first ones of each name.
//
// The names are a dictionary of their own, which the Indexer fills behind the changes. It
// holds every name of every user who is not queued, and the names of those who are queued
// are looked at one by one, so what is found is exact at any moment. A name that nobody
// has any more costs an empty look-up until SweepNames removes it.
//
// SQLite has neither: it writes whole pages, and one for each name of those who are
// imported together halved the rate of an import.

// maxNames is how many whole names a part may stand for. Of more than that each match is
// judged by the user's own row.
const maxNames = 200

// withNames is the selection of a filter that asks for a part of one name: of the users
// who have one of the whole names that the part is in. It is nil if the filter asks for
// something else, the names are too many, or the engine has no index of them.
func (s *Service) withNames(ctx context.Context, db database.Reader, tenant string, f Filter) (*selection, error) {
	field, part := "first_key", f.FirstName
	if part == "" {
		field, part = "last_key", f.LastName
	}
	part = fold(strings.TrimSpace(part))
	if s.DB.Engine() == database.SQLite || f.FirstName != "" && f.LastName != "" || f.Search != "" || part == "" || len(part) > maxName {
		return nil, nil
	}
	names, err := s.namesLike(ctx, db, tenant, field, part)
	if err != nil || len(names) > maxNames {
		return nil, err
	}
	f.FirstName, f.LastName = "", ""
	sel := newSelection(tenant, f)
	cond, arg := s.DB.Among("?", names)
	sel.nameField, sel.isNamed = "u."+field, sel.number("u."+field+" "+cond, arg)
	sel.names = len(sel.args)
	return sel, nil
}

// namesLike returns the whole names that part is in, and at least one more than maxNames
// if they are more.
func (s *Service) namesLike(ctx context.Context, db database.Reader, tenant, field, part string) ([]string, error) {
	rows, err := db.Query(ctx, `
		SELECT name FROM (SELECT name FROM user_names WHERE tenant_id = $1 AND field = $2 AND name LIKE $3 ESCAPE '\' LIMIT CAST($4 AS BIGINT)) AS known
		UNION `+queuedUsers(s.DB.Engine(), "u."+field, "u."+field+` LIKE $3 ESCAPE '\'`)+`
		LIMIT CAST($4 AS BIGINT)`, tenant, field, "%"+escapeLike(part)+"%", int64(maxNames+1))
	return database.Collect(rows, err, "find names", func(row database.Scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	})
}

// namedPage reads a page of the users of some whole names. Of each name the index has the
// first ones at hand, as many as the page could take of it; which of them are on the page
// is decided among their keys.
func (sel *selection) namedPage(ctx context.Context, db database.Reader, order string, limit, offset int) ([]User, error) {
	ofName := "SELECT u.login_key FROM users u WHERE " + sel.nameField + " = n.value AND " + sel.clause() + sel.limits(order, limit+offset, 0)
	hits := fmt.Sprintf("unnest(CAST($%d AS TEXT[])) AS n (value) CROSS JOIN LATERAL (%s) AS v", sel.names, ofName)
	keys := "(SELECT v.login_key AS hit FROM " + hits + sel.limits(strings.Replace(order, "u.", "v.", 1), limit, offset) + ")"
	return sel.read(ctx, db, keys+" AS v CROSS JOIN users u WHERE u.tenant_id = $1 AND u.login_key = v.hit ORDER BY "+order)
}

// noteNames writes the names of the users whose id matches cond into the dictionary, in
// the order of its key, so that indexers at the same time do not lock each other up. The
// first of args is the tenant.
func noteNames(ctx context.Context, tx *database.Tx, cond string, args ...any) error {
	if tx.Engine() == database.SQLite {
		return nil
	}
	of := "FROM users u WHERE u.tenant_id = $1 AND u.id " + cond
	_, err := tx.Exec(ctx, `
		INSERT INTO user_names (tenant_id, field, name)
		SELECT u.tenant_id, 'first_key', u.first_key `+of+` UNION SELECT u.tenant_id, 'last_key', u.last_key `+of+` ORDER BY 2, 3
		ON CONFLICT (tenant_id, field, name) DO NOTHING`, args...)
	if err != nil {
		return fmt.Errorf("note names: %w", err)
	}
	return nil
}

// A knownName is a row of the dictionary.
type knownName struct{ tenant, field, name string }

// sweepBatch is how many names SweepNames looks at in one statement.
const sweepBatch = 500

// SweepNames removes the names that nobody has any more, in all tenants, so that nothing
// is left of who was deleted. It is housekeeping: lists are right whether it ran or not.
func SweepNames(ctx context.Context, db *database.DB) error {
	if db.Engine() == database.SQLite {
		return nil
	}
	var at knownName
	for {
		rows, err := db.Query(ctx, `
			SELECT n.tenant_id, n.field, n.name, CASE n.field WHEN 'first_key'
				THEN EXISTS (SELECT 1 FROM users u WHERE u.tenant_id = n.tenant_id AND u.first_key = n.name)
				ELSE EXISTS (SELECT 1 FROM users u WHERE u.tenant_id = n.tenant_id AND u.last_key = n.name) END
			FROM (SELECT * FROM user_names WHERE (tenant_id, field, name) > ($1, $2, $3) ORDER BY tenant_id, field, name LIMIT CAST($4 AS BIGINT)) AS n
			ORDER BY n.tenant_id, n.field, n.name`, at.tenant, at.field, at.name, int64(sweepBatch))
		gone := map[knownName][]string{} // by tenant and field
		batch, err := database.Collect(rows, err, "look for names of nobody", func(row database.Scanner) (n knownName, err error) {
			var held bool
			if err = row.Scan(&n.tenant, &n.field, &n.name, &held); err == nil && !held {
				of := knownName{tenant: n.tenant, field: n.field}
				gone[of] = append(gone[of], n.name)
			}
			return n, err
		})
		if err != nil {
			return err
		}
		for of, names := range gone {
			if err := db.Write(ctx, func(tx *database.Tx) error { return forgetNames(ctx, tx, of, names) }); err != nil {
				return err
			}
		}
		if len(batch) < sweepBatch {
			return nil
		}
		at = batch[sweepBatch-1]
	}
}

// forgetNames removes those of some names that nobody has. Meanwhile no indexer may find
// one of them there, leave it at that and take its user off the queue: they wait for the
// lock, and what they did before it is seen by the statement behind it.
func forgetNames(ctx context.Context, tx *database.Tx, of knownName, names []string) error {
	if _, err := tx.Exec(ctx, "LOCK TABLE user_names IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock names: %w", err)
	}
	cond, arg := tx.Among("$3", names)
	if _, err := tx.Exec(ctx, "DELETE FROM user_names WHERE tenant_id = $1 AND field = $2 AND name "+cond+
		" AND NOT EXISTS (SELECT 1 FROM users u WHERE u.tenant_id = $1 AND u."+of.field+" = user_names.name)", of.tenant, of.field, arg); err != nil {
		return fmt.Errorf("forget names: %w", err)
	}
	return nil
}
