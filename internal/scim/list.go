package scim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// Limits of a list.
const (
	maxPage     = 500
	defaultPage = 100
	// maxExamined is how many resources a filter or an order looks at that no index
	// answers.
	maxExamined = 10_000
)

// A query asks for a page of resources.
type query struct {
	filter     *expr
	text       string // of the filter
	sortBy     place
	sorted     bool
	descending bool
	start      int // from 1
	count      int // 0 asks for the total alone
}

// A where is a condition under construction. The first two arguments are tenant and
// directory.
type where struct {
	text string
	args []any
}

func (w *where) param(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// A table is how resources of a kind are found.
type table struct {
	kind    *kind
	from    string // statement from FROM on, up to the first condition, on $1 and $2
	id      string
	texts   map[string]string // attribute -> folded or exact column with an index
	members string            // condition that the resource is linked to the one of %s
	link    string            // attribute that members stands for
}

var tables = map[*kind]table{
	users: {
		kind: users, from: "FROM directory_users r WHERE r.tenant_id = $1 AND r.directory_id = $2 AND NOT r.is_deleted", id: "r.user_id",
		texts: map[string]string{"id": "r.user_id", "userName": "r.username_key", "externalId": "r.external_id"},
		link:  "groups", members: "EXISTS (SELECT 1 FROM directory_members m WHERE m.tenant_id = $1 AND m.directory_id = $2 AND m.group_id = %s AND m.user_id = r.user_id)",
	},
	groups: {
		kind: groups, from: "FROM directory_groups r WHERE r.tenant_id = $1 AND r.directory_id = $2", id: "r.id",
		texts: map[string]string{"id": "r.id", "displayName": "r.name_key", "externalId": "r.external_id"},
		link:  "members", members: "EXISTS (SELECT 1 FROM directory_members m WHERE m.tenant_id = $1 AND m.directory_id = $2 AND m.user_id = %s AND m.group_id = r.id)",
	},
}

// A narrowing is the part of a filter that the database can judge. isExact says that it
// is all of it; otherwise what it finds has to be looked at again.
type narrowing struct {
	cond    string
	isExact bool
}

// narrow turns a filter into a condition as far as there are columns for it. found is
// false if there is none for any of it.
func (t table) narrow(w *where, e *expr) (n narrowing, found bool) {
	args := len(w.args)
	if n, found = t.narrowed(w, e); !found {
		w.args = w.args[:args] // of parts that came to nothing
	}
	return n, found
}

func (t table) narrowed(w *where, e *expr) (n narrowing, found bool) {
	switch e.op {
	case "and":
		return t.narrowAll(w, e.kids)
	case "or":
		n.isExact = true
		var conds []string
		for _, kid := range e.kids {
			k, ok := t.narrow(w, kid)
			if !ok {
				return narrowing{}, false
			}
			conds, n.isExact = append(conds, k.cond), n.isExact && k.isExact
		}
		n.cond = "(" + strings.Join(conds, " OR ") + ")"
		return n, true
	case "not":
		k, ok := t.narrow(w, e.kids[0])
		return narrowing{"NOT " + k.cond, true}, ok && k.isExact
	case "[":
		return t.narrowElement(w, e)
	}
	cond, ok := t.compare(w, e)
	return narrowing{cond, true}, ok
}

func (t table) narrowAll(w *where, kids []*expr) (n narrowing, found bool) {
	n.isExact = true
	var conds []string
	for _, kid := range kids {
		k, ok := t.narrow(w, kid)
		n.isExact = n.isExact && ok && k.isExact
		if ok {
			conds = append(conds, k.cond)
		}
	}
	n.cond = "(" + strings.Join(conds, " AND ") + ")"
	return n, len(conds) > 0
}

// narrowElement narrows emails[… value eq "x" …] to those who have that address.
func (t table) narrowElement(w *where, e *expr) (narrowing, bool) {
	parts := []*expr{e.kids[0]}
	if e.kids[0].op == "and" {
		parts = e.kids[0].kids
	}
	for _, part := range parts {
		if part.op != "eq" || part.at.sub == nil || part.at.sub.Name != "value" {
			continue
		}
		cond, ok := t.compare(w, part)
		return narrowing{cond, len(parts) == 1}, ok
	}
	return narrowing{}, false
}

// compare is the condition of one comparison.
func (t table) compare(w *where, e *expr) (string, bool) {
	a := e.at.attr
	if e.at.ext != nil {
		return "", false
	}
	switch {
	case a.Name == t.link && e.at.sub != nil && e.at.sub.Name == "value" && e.op == "eq":
		id, ok := e.value.(string)
		return fmt.Sprintf(t.members, w.param(id)), ok
	case a.Name == "active" && (e.op == "eq" || e.op == "ne"):
		b, ok := e.value.(bool)
		if b == (e.op == "eq") {
			return "r.is_active", ok
		}
		return "NOT r.is_active", ok
	case a.Name == "emails" && e.at.sub != nil && e.at.sub.Name == "value" && e.op == "eq":
		s, ok := e.value.(string)
		mark := w.param(s)
		return "(r.email_key = " + mark + " OR r.user_id IN (SELECT x.user_id FROM directory_emails x WHERE x.tenant_id = $1 AND x.directory_id = $2 AND x.email_key = " + mark + "))", ok && s != ""
	case a.Name == "meta" && e.at.sub != nil:
		return compareMoment(w, e)
	}
	column, ok := t.texts[a.Name]
	s, isText := e.value.(string)
	if !ok || !isText || s == "" {
		return "", false
	}
	switch e.op {
	case "eq":
		return column + " = " + w.param(s), true
	case "ne":
		return column + " <> " + w.param(s), true
	case "sw":
		return "(" + column + " >= " + w.param(s) + " AND " + column + " < " + w.param(s+"\U0010ffff") + ")", true
	}
	return "", false
}

func compareMoment(w *where, e *expr) (string, bool) {
	column := map[string]string{"lastModified": "r.modified_at", "created": "r.created_at"}[e.at.sub.Name]
	op := map[string]string{"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}[e.op]
	t, ok := e.value.(time.Time)
	if !ok || column == "" || op == "" {
		return "", false
	}
	// Times are kept in milliseconds: of what lies between two, the one before counts,
	// and a comparison that takes it must not.
	ms := t.UnixMilli()
	if t.Sub(time.UnixMilli(ms)) > 0 {
		switch op {
		case "=", "<>":
			return "", false
		case "<":
			op = "<="
		case ">=":
			op = ">"
		}
	}
	return column + " " + op + " " + w.param(ms), true
}

// asks reports whether a filter compares an attribute.
func (e *expr) asks(name string) bool {
	if e.at.attr != nil && e.at.ext == nil && e.at.attr.Name == name {
		return true
	}
	return slices.ContainsFunc(e.kids, func(kid *expr) bool { return kid.asks(name) })
}

// sortColumn is the column of an order that an index gives.
func (t table) sortColumn(q query) (string, bool) {
	if !q.sorted {
		return t.id, true
	}
	if q.sortBy.ext == nil && q.sortBy.sub != nil && q.sortBy.attr.Name == "meta" && q.sortBy.sub.Name == "lastModified" {
		return "r.modified_at", true
	}
	column, ok := t.texts[q.sortBy.attr.Name]
	return column, ok && q.sortBy.ext == nil
}

// A found is a page of ids in their order, and how many there are in all.
type found struct {
	ids   []string
	total int64
}

// find returns a page of what a query asks for.
func (s *Service) findPage(ctx context.Context, tenant, directory string, k *kind, q query) (found, error) {
	t := tables[k]
	w := &where{args: []any{tenant, directory}}
	w.text = t.from
	isExact := q.filter == nil
	if q.filter != nil {
		n, ok := t.narrow(w, q.filter)
		if isExact = ok && n.isExact; ok {
			w.text += " AND " + n.cond
		}
		if !isExact && q.filter.asks(t.link) {
			return found{}, errFilter.Saying("%s can only be compared by value eq, and beside attributes that have an index.", t.link)
		}
	}
	column, ordered := t.sortColumn(q)
	if isExact && ordered {
		return s.page(ctx, t, w, q, column)
	}
	return s.examine(ctx, t, w, q, isExact)
}

// page reads a page that the database finds by its indexes. It seeks the place where
// the page before ended; only somebody who jumps into the middle of a list pays for
// what they skip, in entries of the index.
func (s *Service) page(ctx context.Context, t table, w *where, q query, column string) (out found, err error) {
	key := fmt.Sprintf("%q", append([]any{t.kind.Name, w.text, column, q.descending}, w.args...))
	counted := func() (int64, error) { return count(ctx, s.DB, "SELECT count(*) "+w.text, w.args) }
	if q.count == 0 {
		out.total, err = counted()
		return out, err
	}
	after, err := s.seek(ctx, t, w, q, column, key)
	if err != nil {
		return out, err
	}
	if q.start > 1 && after == nil { // the list ends before
		out.total, err = counted()
		return out, err
	}
	rows, err := s.read(ctx, t, w, q, column, after, q.count, 0)
	if err != nil {
		return out, err
	}
	for _, r := range rows {
		out.ids = append(out.ids, r.id)
	}
	if len(rows) > 0 {
		s.places.keep(key, q.start+len(rows), rows[len(rows)-1], s.DB.Now())
	}
	seen := int64(q.start - 1 + len(rows))
	if q.start == 1 && len(rows) < q.count { // these are all
		out.total = seen
		return out, nil
	}
	out.total, err = s.totals.Get(s.DB.Now(), key, counted)
	out.total = max(out.total, seen)
	return out, err
}

// A mark is where a page ended: the value that orders the list, and the id.
type mark struct {
	value any
	id    string
}

// seek returns the place before a page, nil if it is the first or the list ends before.
func (s *Service) seek(ctx context.Context, t table, w *where, q query, column, key string) (*mark, error) {
	if q.start <= 1 {
		return nil, nil
	}
	if m, ok := s.places.find(key, q.start, s.DB.Now()); ok {
		return &m, nil
	}
	rows, err := s.read(ctx, t, w, q, column, nil, 1, q.start-2)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

func (s *Service) read(ctx context.Context, t table, base *where, q query, column string, after *mark, limit, offset int) ([]mark, error) {
	w := &where{text: base.text, args: slices.Clone(base.args)}
	way, than := "", ">"
	if q.descending {
		way, than = " DESC", "<"
	}
	order := column + way + ", " + t.id + way
	if column == t.id {
		order = t.id + way
	}
	switch {
	case after == nil:
	case column == t.id:
		w.text += " AND " + t.id + " " + than + " " + w.param(after.id)
	default:
		w.text += " AND (" + column + ", " + t.id + ") " + than + " (" + w.param(after.value) + ", " + w.param(after.id) + ")"
	}
	w.text += " ORDER BY " + order + " LIMIT " + w.param(int64(limit))
	if offset > 0 {
		w.text += " OFFSET " + w.param(int64(offset))
	}
	isMoment := column == "r.modified_at"
	rows, err := s.DB.Query(ctx, "SELECT "+column+", "+t.id+" "+w.text, w.args...)
	return database.Collect(rows, err, "list resources of directory", func(row database.Scanner) (m mark, err error) {
		if isMoment {
			var ms int64
			err = row.Scan(&ms, &m.id)
			m.value = ms
			return m, err
		}
		var text string
		err = row.Scan(&text, &m.id)
		m.value = text
		return m, err
	})
}

// examine looks at each resource that the condition leaves, as long as there are not
// too many, for what no index answers.
func (s *Service) examine(ctx context.Context, t table, w *where, q query, isExact bool) (out found, err error) {
	type hit struct{ key, id string }
	var hits []hit
	examined, after := 0, (*mark)(nil)
	for {
		marks, err := s.read(ctx, t, w, query{}, t.id, after, maxPage, 0)
		if err != nil {
			return out, err
		}
		if examined += len(marks); examined > maxExamined {
			return out, errTooMany
		}
		ids := make([]string, len(marks))
		for i, m := range marks {
			ids[i] = m.id
		}
		docs, err := s.docsOf(ctx, w.args[0].(string), w.args[1].(string), t.kind, ids)
		if err != nil {
			return out, err
		}
		for i, d := range docs {
			if isExact || q.filter.matches(d) {
				hits = append(hits, hit{sortKey(d, q), ids[i]})
			}
		}
		if len(marks) < maxPage {
			break
		}
		after = &marks[len(marks)-1]
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		order := cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
		if q.descending {
			return -order
		}
		return order
	})
	out.total = int64(len(hits))
	for i := q.start - 1; i < len(hits) && len(out.ids) < q.count; i++ {
		out.ids = append(out.ids, hits[i].id)
	}
	return out, nil
}

// sortKey is the value that a resource is ordered by: of several the primary or first
// one (RFC 7644, section 3.4.2.3). Without one it comes last, or first in descending order.
func sortKey(d doc, q query) string {
	const last = "\U0010ffff"
	if !q.sorted {
		return ""
	}
	at := q.sortBy
	if at.sub == nil && at.attr.Type == complexes {
		if at.sub = at.attr.sub("value"); at.sub == nil {
			return last
		}
	}
	if at.attr.Name == "emails" && at.sub.Name == "value" {
		if all := emailsOf(d); len(all) > 0 {
			return fold(all[0])
		}
		return last
	}
	for _, v := range valuesAt(d, at) {
		s := fmt.Sprint(v)
		if !at.leaf().CaseExact {
			s = fold(s)
		}
		return s
	}
	return last
}

// bookmarks remember where pages of lists ended, so that the next page need not count
// what comes before it. They are bounded: when full they start over.
type bookmarks struct {
	mu    sync.Mutex
	marks map[string]bookmark
}

type bookmark struct {
	mark
	until time.Time
}

const (
	maxBookmarks = 10_000
	bookmarkLife = 15 * time.Minute
)

// keep remembers that what starts at start comes after m.
func (b *bookmarks) keep(list string, start int, m mark, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.marks == nil || len(b.marks) >= maxBookmarks {
		b.marks = map[string]bookmark{}
	}
	b.marks[list+strconv.Itoa(start)] = bookmark{m, now.Add(bookmarkLife)}
}

func (b *bookmarks) find(list string, start int, now time.Time) (mark, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.marks[list+strconv.Itoa(start)]
	return m.mark, ok && now.Before(m.until)
}
