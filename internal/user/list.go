package user

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// MaxPage is the most users one page holds.
const MaxPage = 1000

// Problems of lists.
var (
	ErrPart = problem.New(problem.Invalid, "invalid_query_parameters", "A word to search for has at most 100 characters.").In("search")
	ErrSort = problem.New(problem.Invalid, "invalid_query_parameters", "sort is created_at or username, with a - in front for the other direction.").In("sort")
)

// maxPart is how long a part to search for may be, in characters. Each costs the
// index a look-up.
const maxPart = 100

// A Filter says which users of a tenant to list. Empty fields do not filter;
// several combine with AND.
type Filter struct {
	Email         string // the whole address, primary or further, in any letter case
	FirstName     string // a part of the first name, in any letter case
	LastName      string
	Search        string // words, each a part of name, e-mail address, username or phone number; further addresses count
	RoleID        string
	IsActive      *bool
	CreatedAfter  time.Time
	CreatedBefore time.Time
}

// String is the same for two filters only if they ask for the same.
func (f Filter) String() string {
	if f == (Filter{}) {
		return ""
	}
	active := ""
	if f.IsActive != nil {
		active = strconv.FormatBool(*f.IsActive)
	}
	return fmt.Sprintf("%q", []string{f.Email, f.FirstName, f.LastName, f.Search, f.RoleID, active, f.CreatedAfter.String(), f.CreatedBefore.String()})
}

// Orders of a list.
const (
	ByCreation     = "created_at"
	ByCreationDesc = "-created_at"
	ByUsername     = "username"
	ByUsernameDesc = "-username"
)

// A Query asks for one page of users.
type Query struct {
	Filter
	Sort   string // one of the orders; ByCreation if empty
	Limit  int    // 1 to MaxPage
	Cursor string // what the page before returned as next
	Offset int    // for page numbers; costs what it skips, so the SSOJet form has cursors instead
}

// List returns a page of users and the cursor of the page after it, empty if
// there is none. The actor needs users:read.
func (s *Service) List(ctx context.Context, db database.Reader, by access.Actor, q Query) (users []User, next string, err error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, "", err
	}
	order, err := q.order()
	if err != nil {
		return nil, "", err
	}
	sel, err := s.selection(ctx, db, by.Tenant, q)
	if err != nil {
		return nil, "", err
	}
	if q.Cursor != "" {
		if err := s.seek(ctx, sel, q); err != nil {
			return nil, "", err
		}
	}
	// One more than asked for tells whether there is a next page.
	users, err = sel.page(ctx, s.DB.Engine(), db, order, q.Limit+1, q.Offset)
	if err != nil || len(users) <= q.Limit {
		return users, "", err
	}
	users = users[:q.Limit]
	next, err = s.cursor(ctx, by.Tenant, q, users[q.Limit-1])
	return users, next, err
}

// cursor names the place after last in the list that q asks for.
func (s *Service) cursor(ctx context.Context, tenant string, q Query, last User) (string, error) {
	box, err := s.Box(ctx, tenant)
	if err != nil {
		return "", err
	}
	place := last.ID
	if strings.HasSuffix(q.Sort, ByUsername) {
		place = loginKey(last.Login())
	}
	return box.Cursor(q.list(), place), nil
}

// list tells the list that q asks for from others, so that a cursor stays in its own.
func (q Query) list() string {
	return "users\x00" + q.Filter.String() + "\x00" + strings.TrimSuffix(q.Sort, ByCreation) // which is the default
}

// seek makes the selection start after the place of q's cursor.
func (s *Service) seek(ctx context.Context, sel *selection, q Query) error {
	box, err := s.Box(ctx, sel.tenant)
	if err != nil {
		return err
	}
	place, err := box.Place(q.list(), q.Cursor)
	if err != nil {
		return err
	}
	than := ">"
	if strings.HasPrefix(q.Sort, "-") {
		than = "<"
	}
	sel.where(q.column()+" "+than+" ?", place)
	sel.after = sel.conds[len(sel.conds)-1]
	return nil
}

// byLogin is the column that ByUsername sorts by.
const byLogin = "u.login_key"

// column is what the list is sorted by. Either is unique in the tenant.
func (q Query) column() string {
	if strings.HasSuffix(q.Sort, ByUsername) {
		return byLogin
	}
	return "u.id"
}

// order is the list's ORDER BY, or ErrSort.
func (q Query) order() (string, error) {
	switch q.Sort {
	case "", ByCreation, ByUsername:
		return q.column(), nil
	case ByCreationDesc, ByUsernameDesc:
		return q.column() + " DESC", nil
	}
	return "", ErrSort
}

// A selection is the WHERE of a list in the making. Conditions are constants of
// the program; what callers send is only ever an argument.
type selection struct {
	tenant  string
	conds   []string // without the tenant's
	args    []any    // the first is the tenant
	needles []string // parts of words the search index can look for
	exact   []string // the conditions that the needles stand for, applied to users u
	after   string   // the condition of the cursor

	unmarked bool // the needles are looked for in all tenants' entries, see ownsMost

	nameField string // the column of users u that is one of some names, see withNames
	isNamed   string // the condition that it is
	names     int    // which of args the names are
}

// selection returns the selection of a query's filter.
func (s *Service) selection(ctx context.Context, db database.Reader, tenant string, q Query) (*selection, error) {
	f := q.Filter
	for part := range strings.FieldsSeq(f.Search) {
		if utf8.RuneCountInString(part) > maxPart {
			return nil, ErrPart
		}
	}
	if q.column() == byLogin { // the order that the index of names has
		if sel, err := s.withNames(ctx, db, tenant, f); sel != nil || err != nil {
			return sel, err
		}
	}
	sel := newSelection(tenant, f)
	if len(sel.needles) == 0 {
		return sel, nil
	}
	var err error
	sel.unmarked, err = s.ownsMost(ctx, db, tenant)
	return sel, err
}

func newSelection(tenant string, f Filter) *selection {
	sel := &selection{tenant: tenant, args: []any{tenant}}
	if f.Email != "" {
		sel.where("u.id = (SELECT user_id FROM user_identifiers WHERE tenant_id = $1 AND value = ? AND kind IN ('email', 'further_email'))", emailKey(f.Email))
	}
	if f.RoleID != "" {
		sel.where("u.id IN (SELECT user_id FROM user_roles WHERE tenant_id = $1 AND role_id = ?)", f.RoleID)
	}
	if f.IsActive != nil && *f.IsActive {
		sel.where("u.is_active")
	} else if f.IsActive != nil {
		sel.where("NOT u.is_active")
	}
	// Ids begin with the moment of creation, so the primary key finds the range.
	if !f.CreatedAfter.IsZero() {
		sel.where("u.id >= ?", secret.FirstID(f.CreatedAfter))
	}
	if !f.CreatedBefore.IsZero() {
		sel.where("u.id < ?", secret.FirstID(f.CreatedBefore))
	}
	if len(f.FirstName) > maxName || len(f.LastName) > maxName { // nobody's name is that long
		sel.where("FALSE")
		return sel
	}
	sel.contains(f.FirstName, "u.first_key")
	sel.contains(f.LastName, "u.last_key")
	for i, word := range strings.Fields(f.Search) {
		if i == 5 {
			break
		}
		sel.contains(word, "u.first_key", "u.last_key", "u.email", "u.login_key", "u.phone", further)
	}
	return sel
}

// emailKey is an address as it would be stored; what can not be an address finds
// nobody.
func emailKey(s string) string {
	if email, err := ParseEmail(s); err == nil {
		return email
	}
	return fold(s)
}

// where adds a condition, each ? being the next of args.
func (sel *selection) where(cond string, args ...any) {
	sel.conds = append(sel.conds, sel.number(cond, args...))
}

// number takes args into the statement and gives each ? of cond its number.
func (sel *selection) number(cond string, args ...any) string {
	for _, a := range args {
		sel.args = append(sel.args, a)
		cond = strings.Replace(cond, "?", "$"+strconv.Itoa(len(sel.args)), 1)
	}
	return cond
}

// further is the field that holds several addresses, each behind wordStart.
const further = "u.further"

// contains asks for part in at least one of the fields. In a search over several
// fields, one or two characters match only at the start of a field, so that they
// can be found by index too.
func (sel *selection) contains(part string, fields ...string) {
	part = fold(strings.TrimSpace(part))
	if part == "" {
		return
	}
	pattern, needle := "%"+escapeLike(part)+"%", part
	if len(fields) > 1 && len([]rune(part)) < 3 {
		pattern, needle = escapeLike(part)+"%", wordStart+part
	}
	alternatives := make([]string, len(fields))
	sel.args = append(sel.args, pattern)
	for i, f := range fields {
		if f == further {
			sel.args = append(sel.args, "%"+escapeLike(needle)+"%")
		}
		alternatives[i] = f + " LIKE $" + strconv.Itoa(len(sel.args)) + ` ESCAPE '\'`
	}
	cond := "(" + strings.Join(alternatives, " OR ") + ")"
	sel.conds, sel.exact = append(sel.conds, cond), append(sel.exact, cond)
	if len([]rune(needle)) >= 3 {
		sel.needles = append(sel.needles, needle)
	}
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

func (sel *selection) clause() string {
	return "u.tenant_id = $1" + strings.Join(append([]string{""}, sel.conds...), " AND ")
}

// seekClause is what the walk through the first users begins with.
func (sel *selection) seekClause() string {
	if sel.after == "" {
		return "u.tenant_id = $1"
	}
	return "u.tenant_id = $1 AND " + sel.after
}

func (sel *selection) page(ctx context.Context, engine string, db database.Reader, order string, limit, offset int) ([]User, error) {
	if sel.isNamed != "" {
		return sel.namedPage(ctx, db, order, limit, offset)
	}
	if len(sel.needles) == 0 && offset > 0 { // skips in the index, and looks up only the page's users
		ids := "(SELECT u.id AS id FROM users u WHERE " + sel.clause() + sel.limits(order, limit, offset) + ")"
		return sel.read(ctx, db, ids+" AS hit CROSS JOIN users u WHERE u.tenant_id = $1 AND u.id = hit.id ORDER BY "+order)
	}
	if len(sel.needles) == 0 {
		return sel.read(ctx, db, "users u WHERE "+sel.clause()+sel.limits(order, limit, 0))
	}
	sparse, err := sel.isSparse(ctx, engine, db)
	if err != nil {
		return nil, err
	}
	if sparse {
		return sel.read(ctx, db, sel.hits(engine)+sel.clause()+sel.limits(byHit(order), limit, offset))
	}
	args := len(sel.args)
	first := "(SELECT * FROM users u WHERE " + sel.seekClause() + " ORDER BY " + order + " LIMIT " + strconv.Itoa(window) + ") AS u WHERE "
	users, err := sel.read(ctx, db, first+sel.clause()+sel.limits(order, limit, offset))
	if err != nil || len(users) == limit {
		return users, err
	}
	sel.args = sel.args[:args]
	return sel.read(ctx, db, sel.hits(engine)+sel.clause()+sel.limits(byHit(order), limit, offset))
}

// byHit orders by the id that was found, which is the user's: so the engine can sort
// what it found first, and stop looking users up when the page is full.
func byHit(order string) string { return strings.Replace(order, "u.id", "hit.id", 1) }

// limits ends a list. The cast is for SQLite, which prepares a statement anew on
// every run if a bare parameter is its limit.
func (sel *selection) limits(order string, limit, offset int) string {
	end := sel.number(" ORDER BY "+order+" LIMIT CAST(? AS BIGINT)", int64(limit))
	if offset > 0 {
		end += sel.number(" OFFSET CAST(? AS BIGINT)", int64(offset))
	}
	return end
}

// ListNumbered returns the page of users that starts after q.Offset of them, and
// how many there are on all pages, see Count. It costs what it skips. The actor
// needs users:read.
func (s *Service) ListNumbered(ctx context.Context, db database.Reader, by access.Actor, q Query) (users []User, total int64, err error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, 0, err
	}
	order, err := q.order()
	if err != nil {
		return nil, 0, err
	}
	sel, err := s.selection(ctx, db, by.Tenant, q)
	if err != nil {
		return nil, 0, err
	}
	total, known := s.totals.find(s.DB.Now(), by.Tenant, q.Filter)
	if !known && len(sel.needles) > 0 {
		return s.countedPage(ctx, db, by.Tenant, sel, q, order)
	}
	if !known {
		if total, err = s.countSelected(ctx, db, by.Tenant, sel, q.Filter); err != nil {
			return nil, 0, err
		}
	}
	if int64(q.Offset) >= total {
		return nil, total, nil
	}
	users, err = sel.page(ctx, s.DB.Engine(), db, order, q.Limit, q.Offset)
	return users, total, err
}

// countedPage is a page of what the search index found, and the number of all of it, in
// one search.
func (s *Service) countedPage(ctx context.Context, db database.Reader, tenant string, sel *selection, q Query, order string) (users []User, total int64, err error) {
	began, given := database.Monotonic(), len(sel.args)
	stmt := "SELECT " + columnsOfU + ", count(*) OVER () FROM " + sel.hits(s.DB.Engine()) + sel.clause() + sel.limits(order, q.Limit, q.Offset)
	rows, err := db.Query(ctx, stmt, sel.args...)
	users, err = database.Collect(rows, err, "list users", func(row database.Scanner) (User, error) { return scanUser(row, &total) })
	if err == nil && len(users) == 0 && q.Offset > 0 { // past the end, where no row tells the total
		sel.args = sel.args[:given]
		total, err = s.countSelected(ctx, db, tenant, sel, q.Filter)
	}
	s.totals.keep(s.DB.Now(), tenant, q.Filter, total, database.Monotonic()-began)
	return users, total, err
}

func (sel *selection) read(ctx context.Context, db database.Reader, from string) ([]User, error) {
	rows, err := db.Query(ctx, "SELECT "+columnsOfU+" FROM "+from, sel.args...)
	return database.Collect(rows, err, "list users", scanOne)
}

// ByIDs returns the users of some ids by creation; ids of nobody are left out. The
// actor needs users:read.
func (s *Service) ByIDs(ctx context.Context, db database.Reader, by access.Actor, ids []string) ([]User, error) {
	if err := by.Require(access.UsersRead); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	cond, arg := db.Among("$2", ids)
	rows, err := db.Query(ctx, "SELECT "+columns+" FROM users WHERE tenant_id = $1 AND id "+cond+" ORDER BY id", by.Tenant, arg)
	return database.Collect(rows, err, "list users by id", scanOne)
}
