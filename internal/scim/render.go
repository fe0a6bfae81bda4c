package scim

import (
	"context"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// xsd is how moments are written (RFC 7643, section 2.3.5).
const xsd = "2006-01-02T15:04:05.000Z"

func written(t time.Time) string { return t.UTC().Format(xsd) }

// meta is what every resource says of itself.
func meta(k *kind, base, id string, version int64, created, modified time.Time) map[string]any {
	return map[string]any{
		"resourceType": k.Name, "created": written(created), "lastModified": written(modified),
		"location": base + "/" + k.Endpoint + "/" + id, "version": etag(version),
	}
}

// userDoc is a user as it is shown and compared.
func userDoc(p person, base string, in []membership) doc {
	d := doc{}
	for name, v := range p.doc {
		d[name] = v
	}
	schemas := []any{userURN}
	if d[enterpriseURN] != nil {
		schemas = append(schemas, enterpriseURN)
	}
	d["schemas"], d["id"], d["meta"] = schemas, p.ID, meta(users, base, p.ID, p.version, p.createdAt, p.modifiedAt)
	if len(in) > 0 {
		list := make([]any, len(in))
		for i, m := range in {
			list[i] = map[string]any{"value": m.group, "display": m.display, "type": "direct", "$ref": base + "/Groups/" + m.group}
		}
		d["groups"] = list
	}
	return d
}

// groupDoc is a group as it is shown and compared, without its members.
func groupDoc(g group, base string) doc {
	d := doc{"schemas": []any{groupURN}, "id": g.ID, "displayName": g.Name, "meta": meta(groups, base, g.ID, g.version, g.createdAt, g.modifiedAt)}
	if g.ExternalID != "" {
		d["externalId"] = g.ExternalID
	}
	return d
}

func memberDoc(m membership, base string) doc {
	return doc{"value": m.user, "display": m.display, "type": "User", "$ref": base + "/Users/" + m.user}
}

// peopleByID reads users by their ids, those that are still there, in that order.
func (s *Service) peopleByID(ctx context.Context, tenant, directory string, ids []string) ([]person, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	isUser, args := s.DB.AmongMany("user_id", 3, ids)
	rows, err := s.DB.Query(ctx, `
		SELECT `+personColumns+` FROM directory_users
		WHERE tenant_id = $1 AND directory_id = $2 AND `+isUser+` AND NOT is_deleted`, append([]any{tenant, directory}, args...)...)
	all, err := database.Collect(rows, err, "read users of directory", scanPerson)
	return inOrder(all, ids, func(p person) string { return p.ID }), err
}

func (s *Service) groupsByID(ctx context.Context, tenant, directory string, ids []string) ([]group, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	isGroup, args := s.DB.AmongMany("id", 3, ids)
	rows, err := s.DB.Query(ctx, `SELECT `+groupColumns+` FROM directory_groups WHERE tenant_id = $1 AND directory_id = $2 AND `+isGroup, append([]any{tenant, directory}, args...)...)
	all, err := database.Collect(rows, err, "read groups", scanGroup)
	return inOrder(all, ids, func(g group) string { return g.ID }), err
}

func inOrder[T any](all []T, ids []string, id func(T) string) []T {
	byID := make(map[string]T, len(all))
	for _, v := range all {
		byID[id(v)] = v
	}
	out := make([]T, 0, len(ids))
	for _, want := range ids {
		if v, ok := byID[want]; ok {
			out = append(out, v)
		}
	}
	return out
}

// docsOf reads resources to be compared with a filter: without what links users and
// groups. The result has the places of ids; what has gone meanwhile is an empty one.
func (s *Service) docsOf(ctx context.Context, tenant, directory string, k *kind, ids []string) ([]doc, error) {
	docs := map[string]doc{}
	if k == users {
		all, err := s.peopleByID(ctx, tenant, directory, ids)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			docs[p.ID] = userDoc(p, "", nil)
		}
	} else {
		all, err := s.groupsByID(ctx, tenant, directory, ids)
		if err != nil {
			return nil, err
		}
		for _, g := range all {
			docs[g.ID] = groupDoc(g, "")
		}
	}
	out := make([]doc, len(ids))
	for i, id := range ids {
		out[i] = docs[id]
	}
	return out, nil
}

// usersShown are users as a view shows them, with their groups if it does.
func (s *Service) usersShown(ctx context.Context, rq *request, people []person) ([]doc, error) {
	in := map[string][]membership{}
	if len(people) > 0 && rq.view.shows(users.find("groups")) {
		ids := make([]string, len(people))
		for i, p := range people {
			ids[i] = p.ID
		}
		all, err := groupsOf(ctx, s.DB, rq.by.Tenant, rq.c.ID, ids)
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			in[m.user] = append(in[m.user], m)
		}
	}
	out := make([]doc, len(people))
	for i, p := range people {
		out[i] = rq.view.project(users, userDoc(p, rq.base, in[p.ID]))
	}
	return out, nil
}

// A memberWriter writes the members of a group into an answer, a page at a time, so
// that a large group takes no more memory than a small one.
type memberWriter struct {
	s  *Service
	rq *request
	w  http.ResponseWriter
}

// group writes a whole group.
func (mw memberWriter) group(ctx context.Context, g group) error {
	d := mw.rq.view.project(groups, groupDoc(g, mw.rq.base))
	text := encode(d)
	if !mw.rq.view.shows(groups.find("members")) {
		_, err := mw.w.Write(text)
		return err
	}
	if _, err := mw.w.Write(append(text[:len(text)-1], `,"members":[`...)); err != nil {
		return err
	}
	if err := mw.members(ctx, g.ID); err != nil {
		return err
	}
	_, err := mw.w.Write([]byte("]}"))
	return err
}

func (mw memberWriter) members(ctx context.Context, id string) error {
	after, first := "", true
	attribute := groups.find("members")
	for {
		page, err := shownMembers(ctx, mw.s.DB, mw.rq.by.Tenant, mw.rq.c.ID, id, after, batch)
		if err != nil || len(page) == 0 {
			return err
		}
		var text []byte
		for _, m := range page {
			shown := mw.rq.view.projectValue(attribute, memberDoc(m, mw.rq.base))
			if shown == nil {
				continue
			}
			if !first {
				text = append(text, ',')
			}
			text, first = append(text, encode(shown)...), false
		}
		if _, err := mw.w.Write(text); err != nil {
			return err
		}
		after = page[len(page)-1].user
	}
}
