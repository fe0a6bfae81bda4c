package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

// Sizes of messages, in bytes. A group of 20,000 members takes about 3 MB.
const (
	maxMessage      = 1 << 20
	maxGroupMessage = 8 << 20
	largeAtOnce     = 4 // messages over maxMessage that are read at a time
)

// A request is one request of a directory that has proved itself.
type request struct {
	by    access.Actor
	c     caller
	base  string // address of the directory
	http  *http.Request
	query url.Values
	view  view
	match string // If-Match
	form  string // what we make of it, for the log
}

// An answer is what it gets.
type answer struct {
	status   int
	body     any // nil for none
	stream   func(w http.ResponseWriter) error
	location string
	etag     string
}

// serve makes a handler of what answers a request: who asks is proved first, and what
// was asked is kept to look at.
func (s *Service) serve(op func(ctx context.Context, rq *request) (answer, error)) http.Handler {
	return web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		rec := web.Of(ctx)
		by, c, err := s.authenticate(ctx, web.ActorOf(ctx), r.PathValue("directory"), bearer(r))
		if err != nil {
			return err
		}
		rec.Actor = by
		rq := &request{by: by, c: c, http: r, match: r.Header.Get("If-Match")}
		a, err := s.answer(ctx, rq, op)
		s.keepLog(rq, a, err)
		if err != nil {
			return err
		}
		return a.send(w)
	})
}

func (s *Service) answer(ctx context.Context, rq *request, op func(ctx context.Context, rq *request) (answer, error)) (a answer, err error) {
	if rq.base, err = s.BaseURL(ctx, rq.by.Tenant, rq.c.ID); err != nil {
		return a, err
	}
	if rq.query, err = url.ParseQuery(rq.http.URL.RawQuery); err != nil {
		return a, web.ErrQuery.Saying("The query is not well formed.")
	}
	if a, err = op(ctx, rq); err != nil {
		return a, plain(err)
	}
	if none := rq.http.Header.Get("If-None-Match"); none != "" && a.etag != "" && rq.http.Method == http.MethodGet && hasTag(none, a.etag) {
		a = answer{status: http.StatusNotModified, etag: a.etag}
	}
	return a, nil
}

func hasTag(condition, tag string) bool {
	for each := range strings.SplitSeq(condition, ",") {
		if each = strings.TrimSpace(each); each == tag || each == "*" || "W/"+each == tag {
			return true
		}
	}
	return false
}

// plain is an error in words of SCIM: everything else that packages below say keeps its
// own.
func plain(err error) error {
	if database.IsMissingParent(err) { // the directory, organization or user went while we wrote
		return errNoResource.Because("%w", err)
	}
	return err
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func (a answer) send(w http.ResponseWriter) error {
	h := w.Header()
	if a.etag != "" {
		h.Set("ETag", a.etag)
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	switch {
	case a.stream != nil:
		h.Set("Content-Type", media)
		w.WriteHeader(a.status)
		if err := a.stream(w); err != nil {
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
	case a.body == nil:
		w.WriteHeader(a.status)
	default:
		write(w, a.status, encode(a.body))
	}
	return nil
}

// keepLog keeps what was asked, with the values of filters and resources masked.
func (s *Service) keepLog(rq *request, a answer, err error) {
	line := Request{At: s.DB.Now(), Method: rq.http.Method, Status: a.status, Form: rq.form}
	line.Path = strings.TrimPrefix(rq.http.URL.Path, Prefix+rq.c.ID) + maskQuery(rq.http.URL.RawQuery)
	if err != nil {
		p, ok := problem.From(err)
		if !ok {
			p = web.ErrInternal
		}
		var f Failure
		line.Status, f = failureOf(p)
		line.Problem = strings.TrimSpace(f.ScimType + " " + f.Detail)
	}
	s.log.add(rq.by.Tenant, rq.c.ID, line)
}

// body reads the message of a request. Large ones wait for each other, so that many at
// once do not take the memory of many.
func (s *Service) body(rq *request, limit int64) ([]byte, error) {
	r := rq.http
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != media && kind != "application/json" || err != nil {
		return nil, errSyntax.Saying("The Content-Type is %s or application/json.", media)
	}
	if r.ContentLength > limit {
		return nil, errLarge
	}
	if r.ContentLength > maxMessage || r.ContentLength < 0 && limit > maxMessage {
		s.once.Do(func() { s.large = make(chan struct{}, largeAtOnce) })
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.ContentLength, 0), 8<<10)) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		return nil, errSyntax.Because("read: %w", err)
	}
	if int64(buf.Len()) > limit {
		return nil, errLarge
	}
	if raw := bytes.TrimSpace(buf.Bytes()); len(raw) > 0 {
		return raw, nil
	}
	return nil, errSyntax.Saying("The message must be a JSON object.")
}

// readObject reads the message of a request as an object.
func readObject(raw []byte) (map[string]any, error) {
	var check json.RawMessage
	if err := web.Decode(raw, &check); err != nil { // depth, UTF-8, NUL
		return nil, err
	}
	return decodeObject(raw)
}

// checkSchemas refuses a resource of another kind, or of SCIM 1.1.
func checkSchemas(k *kind, schemas any) error {
	list, ok := schemas.([]any)
	if schemas == nil || ok && len(list) == 0 {
		return nil
	}
	for _, v := range list {
		if s, ok := v.(string); ok && strings.EqualFold(s, k.URN) {
			return nil
		}
	}
	return errSyntax.Saying("schemas must name %s.", k.URN)
}

func get(m map[string]any, name string) any {
	for key, v := range m {
		if strings.EqualFold(key, name) {
			return v
		}
	}
	return nil
}

// readUser reads a user that a directory sent.
func (rq *request) readUser(raw []byte) (doc, map[string]any, error) {
	object, err := readObject(raw)
	if err != nil {
		return nil, nil, err
	}
	rq.form = describe(object)
	if err := checkSchemas(users, get(object, "schemas")); err != nil {
		return nil, nil, err
	}
	d, err := newDoc(users, object)
	return d, object, err
}

// setView reads which attributes the answer is to show.
func (rq *request) setView(k *kind) {
	split := func(name string) []string {
		return strings.FieldsFunc(strings.Join(rq.query[name], ","), func(r rune) bool { return r == ',' })
	}
	rq.view = parseView(k, split("attributes"), split("excludedAttributes"))
}

func (s *Service) userAnswer(ctx context.Context, rq *request, status int, p person) (answer, error) {
	rq.setView(users)
	shown, err := s.usersShown(ctx, rq, []person{p})
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, body: shown[0], etag: etag(p.version), location: rq.base + "/Users/" + p.ID}, nil
}

func (s *Service) groupAnswer(ctx context.Context, rq *request, status int, g group) (answer, error) {
	rq.setView(groups)
	return answer{status: status, etag: etag(g.version), location: rq.base + "/Groups/" + g.ID,
		stream: func(w http.ResponseWriter) error { return memberWriter{s, rq, w}.group(ctx, g) }}, nil
}

func (rq *request) id() string { return rq.http.PathValue("id") }

func (s *Service) getUser(ctx context.Context, rq *request) (answer, error) {
	p, err := findPerson(ctx, s.DB, rq.by.Tenant, rq.c.ID, rq.id())
	if err != nil {
		return answer{}, err
	}
	return s.userAnswer(ctx, rq, http.StatusOK, p)
}

func (s *Service) postUser(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxMessage)
	if err != nil {
		return answer{}, err
	}
	d, _, err := rq.readUser(raw)
	if err != nil {
		return answer{}, err
	}
	p, err := s.createUser(ctx, rq.by, rq.c, d)
	if err != nil {
		return answer{}, err
	}
	rq.setView(users)
	// A new user is in no group.
	return answer{status: http.StatusCreated, body: rq.view.project(users, userDoc(p, rq.base, nil)), etag: etag(p.version), location: rq.base + "/Users/" + p.ID}, nil
}

func (s *Service) putUser(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxMessage)
	if err != nil {
		return answer{}, err
	}
	p, err := s.replaceUser(ctx, rq, rq.id(), rq.match, raw)
	if err != nil {
		return answer{}, err
	}
	return s.userAnswer(ctx, rq, http.StatusOK, p)
}

func (s *Service) replaceUser(ctx context.Context, rq *request, id, match string, raw []byte) (person, error) {
	d, object, err := rq.readUser(raw)
	if err != nil {
		return person{}, err
	}
	if other, ok := get(object, "id").(string); ok && other != "" && other != id {
		return person{}, errMutability.Saying("The id of a resource can not be changed.")
	}
	return s.changeUser(ctx, rq.by, rq.c, id, match, func(doc) (doc, error) { return d, nil })
}

func (s *Service) patchUser(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxMessage)
	if err != nil {
		return answer{}, err
	}
	p, err := s.editUser(ctx, rq, rq.id(), rq.match, raw)
	if err != nil {
		return answer{}, err
	}
	return s.userAnswer(ctx, rq, http.StatusOK, p)
}

func (s *Service) editUser(ctx context.Context, rq *request, id, match string, raw []byte) (person, error) {
	ops, err := readPatch(raw)
	if err != nil {
		return person{}, err
	}
	rq.form = describeAll(ops)
	return s.changeUser(ctx, rq.by, rq.c, id, match, func(d doc) (doc, error) { return d, applyAll(users, d, ops) })
}

// describeAll says in one line what operations do.
func describeAll(ops []operation) string {
	var b strings.Builder
	for i, op := range ops {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.Len() > maxLogForm {
			fmt.Fprintf(&b, "… %d more", len(ops)-i)
			break
		}
		b.WriteString(op.Op + " " + maskQuoted(op.Path))
		if len(op.Value) > 64<<10 {
			fmt.Fprintf(&b, " (%d bytes)", len(op.Value))
		} else if v, err := op.decode(); err == nil && v != nil {
			b.WriteString(" " + describe(v))
		}
	}
	return b.String()
}

func (s *Service) dropUser(ctx context.Context, rq *request) (answer, error) {
	err := s.deleteUser(ctx, rq.by, rq.c, rq.id(), rq.match)
	return answer{status: http.StatusNoContent}, err
}

// mayGroups refuses a token that is limited to users.
func (rq *request) mayGroups() error {
	if rq.c.limited {
		return errUsersOnly
	}
	return nil
}

func (s *Service) getGroup(ctx context.Context, rq *request) (answer, error) {
	if err := rq.mayGroups(); err != nil {
		return answer{}, err
	}
	g, err := findGroup(ctx, s.DB, rq.by.Tenant, rq.c.ID, rq.id())
	if err != nil {
		return answer{}, err
	}
	return s.groupAnswer(ctx, rq, http.StatusOK, g)
}

func (s *Service) postGroup(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxGroupMessage)
	if err != nil {
		return answer{}, err
	}
	g, err := s.makeGroup(ctx, rq, raw)
	if err != nil {
		return answer{}, err
	}
	return s.groupAnswer(ctx, rq, http.StatusCreated, g)
}

func (s *Service) makeGroup(ctx context.Context, rq *request, raw []byte) (group, error) {
	if err := rq.mayGroups(); err != nil {
		return group{}, err
	}
	ch, _, err := rq.readGroup(raw, true)
	if err != nil {
		return group{}, err
	}
	return s.createGroup(ctx, rq.by, rq.c, ch)
}

func (rq *request) readGroup(raw []byte, adding bool) (groupChange, string, error) {
	var head struct {
		Schemas     []any  `json:"schemas"`
		DisplayName string `json:"displayName"`
	}
	if err := web.Decode(raw, &head); err != nil {
		return groupChange{}, "", err
	}
	if err := checkSchemas(groups, head.Schemas); err != nil {
		return groupChange{}, "", err
	}
	ch, id, err := readGroup(raw, adding, true)
	rq.form = fmt.Sprintf("{displayName=%q members×%d}", head.DisplayName, len(ch.add))
	return ch, id, err
}

func (s *Service) putGroup(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxGroupMessage)
	if err != nil {
		return answer{}, err
	}
	g, err := s.replaceGroup(ctx, rq, rq.id(), rq.match, raw)
	if err != nil {
		return answer{}, err
	}
	return s.groupAnswer(ctx, rq, http.StatusOK, g)
}

func (s *Service) replaceGroup(ctx context.Context, rq *request, id, match string, raw []byte) (group, error) {
	if err := rq.mayGroups(); err != nil {
		return group{}, err
	}
	ch, other, err := rq.readGroup(raw, false)
	switch {
	case err != nil:
		return group{}, err
	case other != "" && other != id:
		return group{}, errMutability.Saying("The id of a resource can not be changed.")
	case ch.name == nil:
		return group{}, errValue.Saying("displayName is required.")
	}
	return s.changeGroup(ctx, rq.by, rq.c, id, match, []groupChange{ch})
}

// patchGroup answers 204 unless attributes are asked for, as RFC 7644, section 3.5.2,
// allows: who adds one member to twenty thousand does not want them all back.
func (s *Service) patchGroup(ctx context.Context, rq *request) (answer, error) {
	raw, err := s.body(rq, maxGroupMessage)
	if err != nil {
		return answer{}, err
	}
	g, err := s.editGroup(ctx, rq, rq.id(), rq.match, raw)
	if err != nil {
		return answer{}, err
	}
	if rq.query.Has("attributes") {
		return s.groupAnswer(ctx, rq, http.StatusOK, g)
	}
	return answer{status: http.StatusNoContent, etag: etag(g.version), location: rq.base + "/Groups/" + g.ID}, nil
}

func (s *Service) editGroup(ctx context.Context, rq *request, id, match string, raw []byte) (group, error) {
	if err := rq.mayGroups(); err != nil {
		return group{}, err
	}
	ops, err := readPatch(raw)
	if err != nil {
		return group{}, err
	}
	rq.form = describeAll(ops)
	changes, err := readGroupPatch(ops)
	if err != nil {
		return group{}, err
	}
	return s.changeGroup(ctx, rq.by, rq.c, id, match, changes)
}

func (s *Service) dropGroup(ctx context.Context, rq *request) (answer, error) {
	if err := rq.mayGroups(); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.removeGroup(ctx, rq.by, rq.c, rq.id(), rq.match)
}

const (
	listURN   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	searchURN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
)

// A search is what is asked of a list: in the query of an address, or in the message
// of .search (RFC 7644, section 3.4.3).
type search struct {
	Schemas    []string `json:"schemas"`
	Attributes []string `json:"attributes"`
	Excluded   []string `json:"excludedAttributes"`
	Filter     string   `json:"filter"`
	SortBy     string   `json:"sortBy"`
	SortOrder  string   `json:"sortOrder"`
	StartIndex *int64   `json:"startIndex"`
	Count      *int64   `json:"count"`
}

func (rq *request) searchOfQuery() (in search, err error) {
	q := rq.query
	in = search{Filter: q.Get("filter"), SortBy: q.Get("sortBy"), SortOrder: q.Get("sortOrder")}
	for name, into := range map[string]**int64{"startIndex": &in.StartIndex, "count": &in.Count} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return in, errValue.Saying("%s is a whole number.", name)
			}
			*into = &n
		}
	}
	in.Attributes, in.Excluded = q["attributes"], q["excludedAttributes"]
	return in, nil
}

func commas(list []string) []string {
	return strings.FieldsFunc(strings.Join(list, ","), func(r rune) bool { return r == ',' })
}

// queryOf reads a search on resources of a kind. A start below 1 is 1, a count below 0
// is 0 (RFC 7644, section 3.4.2.4).
func (in search) queryOf(k *kind) (q query, err error) {
	q = query{text: in.Filter, start: 1, count: defaultPage, descending: strings.EqualFold(in.SortOrder, "descending")}
	if in.Filter != "" {
		if q.filter, err = parseFilter(k, in.Filter); err != nil {
			return q, err
		}
	}
	if in.SortBy != "" {
		if q.sortBy, q.sorted = k.lookUp(in.SortBy); !q.sorted || q.sortBy.isHidden() {
			return q, errPath.Saying("sortBy names no attribute of this resource.")
		}
	}
	if in.StartIndex != nil {
		q.start = int(min(max(*in.StartIndex, 1), 1<<31))
	}
	if in.Count != nil {
		q.count = int(min(max(*in.Count, 0), maxPage))
	}
	return q, nil
}

func (s *Service) list(k *kind) func(ctx context.Context, rq *request) (answer, error) {
	return func(ctx context.Context, rq *request) (answer, error) {
		in, err := rq.searchOfQuery()
		if err != nil {
			return answer{}, err
		}
		return s.search(ctx, rq, in, k)
	}
}

func (s *Service) postSearch(kinds ...*kind) func(ctx context.Context, rq *request) (answer, error) {
	return func(ctx context.Context, rq *request) (answer, error) {
		raw, err := s.body(rq, maxMessage)
		if err != nil {
			return answer{}, err
		}
		var in search
		if err := web.Decode(raw, &in); err != nil {
			return answer{}, err
		}
		if !hasSchema(in.Schemas, searchURN) {
			return answer{}, errSyntax.Saying("The message of .search has the schema %s.", searchURN)
		}
		rq.form = maskQuoted(cut(in.Filter, maxLogForm))
		return s.search(ctx, rq, in, kinds...)
	}
}

// search answers with a page of resources of one kind, or of several, one kind after
// the other. Of several, a filter need not make sense for all.
func (s *Service) search(ctx context.Context, rq *request, in search, kinds ...*kind) (answer, error) {
	var total int64
	resources := []any{}
	var first error
	understood := false
	var start int
	count := -1
	for _, k := range kinds {
		if k == groups && rq.c.limited {
			if len(kinds) == 1 {
				return answer{}, errUsersOnly
			}
			continue
		}
		q, err := in.queryOf(k)
		if err != nil {
			first = cmpErr(first, err)
			continue
		}
		if understood = true; count < 0 {
			start, count = q.start, q.count
		}
		q.start, q.count = max(start-int(total), 1), count-len(resources)
		if int64(start) > total+1 && len(resources) == 0 {
			q.start = start - int(total)
		}
		rq.view = parseView(k, commas(in.Attributes), commas(in.Excluded))
		f, err := s.findPage(ctx, rq.by.Tenant, rq.c.ID, k, q)
		if err != nil {
			return answer{}, err
		}
		total += f.total
		more, err := s.resources(ctx, rq, k, f.ids)
		if err != nil {
			return answer{}, err
		}
		resources = append(resources, more...)
	}
	if !understood && first != nil {
		return answer{}, first
	}
	return answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{listURN}, "totalResults": total, "startIndex": max(start, 1), "itemsPerPage": len(resources), "Resources": resources,
	}}, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// resources reads resources of a page as they are shown. Groups whose members are shown
// are as many as have 20,000 members together, and one at least: a page may be shorter
// than was asked for (RFC 7644, section 3.4.2.4).
func (s *Service) resources(ctx context.Context, rq *request, k *kind, ids []string) ([]any, error) {
	var out []any
	if k == users {
		people, err := s.peopleByID(ctx, rq.by.Tenant, rq.c.ID, ids)
		if err != nil {
			return nil, err
		}
		shown, err := s.usersShown(ctx, rq, people)
		for _, d := range shown {
			out = append(out, d)
		}
		return out, err
	}
	all, err := s.groupsByID(ctx, rq.by.Tenant, rq.c.ID, ids)
	if err != nil {
		return nil, err
	}
	if !rq.view.shows(groups.find("members")) {
		for _, g := range all {
			out = append(out, rq.view.project(groups, groupDoc(g, rq.base)))
		}
		return out, nil
	}
	members, before, err := s.membersOf(ctx, rq, ids)
	if err != nil {
		return nil, err
	}
	for i, g := range all {
		if before != "" && g.ID >= before { // not read to the end
			if i == 0 {
				return nil, errTooMany.Saying("The group has too many members for a list: leave them out with excludedAttributes=members, and read it by its id.")
			}
			break
		}
		d := rq.view.project(groups, groupDoc(g, rq.base))
		if list := members[g.ID]; len(list) > 0 {
			d["members"] = json.RawMessage("[" + string(list) + "]")
		}
		out = append(out, d)
	}
	return out, nil
}

// maxShownMembers is how many bytes of members a list shows.
const maxShownMembers = 4 << 20

// membersOf reads the members of groups as they are shown, a thousand at a time. If
// there is no room for all, those of the groups from the id before on are not complete.
func (s *Service) membersOf(ctx context.Context, rq *request, ids []string) (shown map[string][]byte, before string, err error) {
	room, last := maxShownMembers, membership{}
	shown = map[string][]byte{}
	attribute := groups.find("members")
	for {
		page, err := membersOfGroups(ctx, s.DB, rq.by.Tenant, rq.c.ID, ids, last, batch)
		if err != nil {
			return nil, "", err
		}
		for _, m := range page {
			d := rq.view.projectValue(attribute, memberDoc(m, rq.base))
			if d == nil {
				continue
			}
			text := encode(d)
			if room -= len(text); room < 0 {
				return shown, m.group, nil
			}
			if len(shown[m.group]) > 0 {
				shown[m.group] = append(shown[m.group], ',')
			}
			shown[m.group] = append(shown[m.group], text...)
		}
		if len(page) < batch {
			return shown, "", nil
		}
		last = page[len(page)-1]
	}
}
