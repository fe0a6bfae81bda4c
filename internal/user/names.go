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

// maxNames is how many whole names a part may stand for. Of more than that each match is
// judged by the user's own row.
const maxNames = 200

// withNames is the selection of a filter that asks for a part of one name: of the users
// who have one of the whole names that the part is in. It is nil if the filter asks for
// something else, or the names are too many.
func (s *Service) withNames(ctx context.Context, db database.Reader, tenant string, f Filter) (*selection, error) {
	field, part := "first_key", f.FirstName
	if part == "" {
		field, part = "last_key", f.LastName
	}
	part = fold(strings.TrimSpace(part))
	if f.FirstName != "" && f.LastName != "" || f.Search != "" || part == "" || len(part) > maxName {
		return nil, nil
	}
	names, err := namesLike(ctx, db, tenant, field, part)
	if err != nil || len(names) > maxNames {
		return nil, err
	}
	f.FirstName, f.LastName = "", ""
	sel := newSelection(tenant, f)
	cond, arg := db.Among("?", names)
	sel.nameField, sel.isNamed = "u."+field, sel.number("u."+field+" "+cond, arg)
	sel.names = len(sel.args)
	return sel, nil
}

// namesLike returns the whole names that part is in, and at least one more than maxNames
// if they are more.
func namesLike(ctx context.Context, db database.Reader, tenant, field, part string) ([]string, error) {
	rows, err := db.Query(ctx, `
		SELECT name FROM (SELECT name FROM user_names WHERE tenant_id = $1 AND field = $2 AND name LIKE $3 ESCAPE '\' LIMIT $4) AS known
		UNION
		SELECT u.`+field+` FROM user_search_queue q CROSS JOIN users u
		WHERE q.tenant_id = $1 AND u.tenant_id = $1 AND u.id >= q.from_id AND u.id <= q.to_id AND u.`+field+` LIKE $3 ESCAPE '\'
		LIMIT $4`, tenant, field, "%"+escapeLike(part)+"%", int64(maxNames+1))
	return database.Collect(rows, err, "find names", func(row database.Scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	})
}

// namedPage reads a page of the users of some whole names. Of each name the index has the
// first ones at hand, as many as the page could take of it; which of them are on the page
// is decided among their keys.
func (sel *selection) namedPage(ctx context.Context, engine string, db database.Reader, order string, limit, offset int) ([]User, error) {
	ofName := "SELECT u.login_key FROM users u WHERE " + sel.nameField + " = n.value AND " + sel.clause() + sel.limits(order, limit+offset, 0)
	hits := fmt.Sprintf("unnest(CAST($%d AS TEXT[])) AS n (value) CROSS JOIN LATERAL (%s) AS v", sel.names, ofName)
	if engine == database.SQLite {
		hits = fmt.Sprintf("json_each($%d) AS n CROSS JOIN users v WHERE v.tenant_id = $1 AND v.login_key IN (%s)", sel.names, ofName)
	}
	ids := "(SELECT v.login_key AS login_key FROM " + hits + sel.limits(strings.Replace(order, "u.", "v.", 1), limit, offset) + ")"
	return sel.read(ctx, db, ids+" AS hit CROSS JOIN users u WHERE u.tenant_id = $1 AND u.login_key = hit.login_key ORDER BY "+order)
}

// noteNames writes the names of the users whose id matches cond into the dictionary, in
// the order of its key, so that indexers at the same time do not lock each other up. The
// first of args is the tenant.
func noteNames(ctx context.Context, tx *database.Tx, cond string, args ...any) error {
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
