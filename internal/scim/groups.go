package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// At a time this many members are read and written.
const batch = 1000

// A groupChange is one step of a change to a group. Members are not part of a resource
// in memory, for there can be very many: they are changed where they are.
type groupChange struct {
	name     *string
	external *string
	replace  bool     // members are to be exactly add
	add      []string // sorted, for batches
	remove   []string // sorted
}

// A memberRef names a user: {"value": id}, or the id alone.
type memberRef struct{ id, kind string }

// UnmarshalJSON implements json.Unmarshaler.
func (m *memberRef) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &m.id)
	}
	var object struct {
		Value string `json:"value"`
		Type  string `json:"type"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return err
	}
	m.id, m.kind = object.Value, object.Type
	return nil
}

// readMembers reads a list of members, or one by itself.
func readMembers(raw json.RawMessage) ([]string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] != '[' {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	var refs []memberRef
	if err := json.Unmarshal(raw, &refs); err != nil {
		return nil, errValue.Saying("A member is an object with the id of a user as its value.")
	}
	ids := make([]string, 0, len(refs))
	for _, m := range refs {
		if strings.EqualFold(m.kind, "Group") {
			return nil, errValue.Saying("Groups in groups are not kept: send the users that are in them.")
		}
		ids = append(ids, m.id)
	}
	return ids, nil
}

// checkMembers refuses ids that can not be those of users, and drops what comes twice.
func checkMembers(ids []string) ([]string, error) {
	for _, id := range ids {
		if !secret.IsID(id) {
			return nil, errStranger
		}
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

var errStranger = errValue.Saying("A member is no user of this directory.")

// readGroup reads the attributes of a group as one change. whole says that what is
// absent is to be cleared, as in PUT.
func readGroup(raw []byte, adding, whole bool) (groupChange, string, error) {
	var fields map[string]json.RawMessage
	if err := web.Decode(raw, &fields); err != nil {
		return groupChange{}, "", err
	}
	if fields == nil {
		return groupChange{}, "", errSyntax.Saying("The message must be a JSON object.")
	}
	var ch groupChange
	id, empty := "", ""
	if whole {
		ch.replace, ch.external = true, &empty
	}
	for name, value := range fields {
		at, ok := groups.lookUp(name)
		if !ok {
			continue
		}
		if at.attr.Name == "id" {
			_ = json.Unmarshal(value, &id) // of another type it is no id, and read-only at that
			continue
		}
		if at.isFixed() {
			continue
		}
		if err := ch.set(at, value, adding && !whole); err != nil {
			return ch, id, err
		}
	}
	return ch, id, nil
}

// set reads one attribute.
func (ch *groupChange) set(at place, value json.RawMessage, adding bool) error {
	if at.attr.Name == "members" {
		ids, err := readMembers(value)
		if err == nil {
			ids, err = checkMembers(ids)
		}
		ch.add, ch.replace = ids, !adding
		return err
	}
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return errSyntax
	}
	fitted, err := at.attr.fit(v)
	if err != nil {
		return err
	}
	s, _ := fitted.(string)
	switch s = strings.TrimSpace(s); at.attr.Name {
	case "displayName":
		if s == "" || len(s) > 1024 {
			return errValue.Saying("displayName is required, in at most 1024 bytes.")
		}
		ch.name = &s
	case "externalId":
		if len(s) > 1024 {
			return errValue.Saying("externalId has at most 1024 bytes.")
		}
		ch.external = &s
	}
	return nil
}

// readGroupPatch reads the operations of PATCH as changes, in order.
func readGroupPatch(ops []operation) ([]groupChange, error) {
	out := make([]groupChange, 0, len(ops))
	for _, op := range ops {
		var ch groupChange
		var err error
		if op.Path == "" {
			ch, _, err = readGroup(op.Value, op.Op == add, false)
		} else {
			ch, err = readGroupOperation(op)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, ch)
	}
	return out, nil
}

func readGroupOperation(op operation) (ch groupChange, err error) {
	p, err := parsePath(groups, op.Path)
	switch {
	case err != nil:
		return ch, err
	case p.isFixed() || p.sub != nil:
		return ch, errMutability
	case p.filter != nil:
		ids, ok := p.filter.namedIDs()
		if !ok {
			return ch, errFilter.Saying("Members are picked by value eq, joined by or.")
		}
		if ids, err = checkMembers(ids); err != nil {
			return ch, errNoTarget
		}
		switch op.Op {
		case remove:
			ch.remove = ids
		case add:
			ch.add = ids
		default:
			err = errMutability
		}
		return ch, err
	case op.Op != remove:
		return ch, ch.set(p.place, op.Value, op.Op == add)
	case p.attr.Name == "displayName":
		return ch, errMutability.Saying("displayName can not be removed.")
	case p.attr.Name == "externalId":
		empty := ""
		ch.external = &empty
		return ch, nil
	}
	if len(op.Value) == 0 || string(op.Value) == "null" {
		ch.replace = true // by none
		return ch, nil
	}
	if ch.remove, err = readMembers(op.Value); err == nil {
		// Who is no user of the directory is no member either.
		ch.remove = slices.DeleteFunc(ch.remove, func(id string) bool { return !secret.IsID(id) })
		slices.Sort(ch.remove)
	}
	return ch, err
}

// namedIDs returns the values of a filter that does nothing but name some.
func (e *expr) namedIDs() (ids []string, ok bool) {
	switch {
	case e.op == "eq" && e.at.sub.Name == "value":
		id, ok := e.value.(string)
		return []string{id}, ok
	case e.op == "or":
		for _, kid := range e.kids {
			more, ok := kid.namedIDs()
			if !ok {
				return nil, false
			}
			ids = append(ids, more...)
		}
		return ids, true
	}
	return nil, false
}

// A regrouping is a change to a group under way.
type regrouping struct {
	s       *Service
	tx      *database.Tx
	by      access.Actor
	c       caller
	group   group
	added   []string
	removed []string
}

// createGroup adds a group with its members.
func (s *Service) createGroup(ctx context.Context, by access.Actor, c caller, ch groupChange) (g group, err error) {
	if ch.name == nil {
		return g, errValue.Saying("displayName is required.")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		g = group{ID: tx.NewID(), Name: *ch.name, version: 1, createdAt: tx.Now, modifiedAt: tx.Now}
		if ch.external != nil {
			g.ExternalID = *ch.external
		}
		if err := insertGroup(ctx, tx, by.Tenant, c.ID, g); err != nil {
			return err
		}
		if err := s.noteGroup(tx, by, c, "group.created", g); err != nil {
			return err
		}
		r := &regrouping{s: s, tx: tx, by: by, c: c, group: g}
		if err := r.addAll(ctx, ch.add); err != nil {
			return err
		}
		return r.settle(ctx, false)
	})
	if database.IsMissingParent(err) {
		err = errToken.Because("the directory has gone")
	}
	return g, err
}

func (s *Service) noteGroup(tx *database.Tx, by access.Actor, c caller, action string, g group) error {
	return audit.Append(tx, by, audit.Event{Action: action, Target: target, TargetID: c.OrganizationID, Method: "scim",
		Detail: map[string]any{"directory": c.ID, "group_id": g.ID, "name": g.Name}})
}

// changeGroup changes a group step by step, all or nothing. The group's row is held
// from the first statement on.
func (s *Service) changeGroup(ctx context.Context, by access.Actor, c caller, id, match string, changes []groupChange) (g group, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		old, err := holdGroup(ctx, tx, by.Tenant, c.ID, id)
		if err != nil {
			return err
		}
		if !matches(match, old.version) {
			return errVersion
		}
		r := &regrouping{s: s, tx: tx, by: by, c: c, group: old}
		for _, ch := range changes {
			if err := r.apply(ctx, ch); err != nil {
				return err
			}
		}
		g = r.group
		isOther := g.Name != old.Name || g.ExternalID != old.ExternalID
		if !isOther && len(r.added)+len(r.removed) == 0 {
			return nil
		}
		r.group.version, r.group.modifiedAt = old.version+1, tx.Now
		g = r.group
		if err := updateGroup(ctx, tx, by.Tenant, c.ID, g); err != nil {
			return err
		}
		if isOther {
			if err := s.noteGroup(tx, by, c, "group.updated", g); err != nil {
				return err
			}
		}
		return r.settle(ctx, !slices.Equal(c.rolesFor(old), c.rolesFor(g)))
	})
	return g, err
}

func (r *regrouping) apply(ctx context.Context, ch groupChange) error {
	if ch.name != nil {
		r.group.Name = *ch.name
	}
	if ch.external != nil {
		r.group.ExternalID = *ch.external
	}
	if ch.replace {
		if err := r.keepOnly(ctx, ch.add); err != nil {
			return err
		}
	}
	if err := r.addAll(ctx, ch.add); err != nil {
		return err
	}
	return r.removeAll(ctx, ch.remove)
}

// addAll adds users of the directory, a batch at a time. Somebody who is none spoils
// all of it.
func (r *regrouping) addAll(ctx context.Context, ids []string) error {
	for part := range slices.Chunk(ids, batch) {
		added, err := addMembers(ctx, r.tx, r.by.Tenant, r.c.ID, r.group.ID, part)
		if err != nil {
			return err
		}
		r.added = append(r.added, added...)
		if len(added) == len(part) {
			continue
		}
		found, err := existingPeople(ctx, r.tx, r.by.Tenant, r.c.ID, part)
		if err != nil {
			return err
		}
		if len(found) < len(part) {
			return errStranger
		}
	}
	return nil
}

func (r *regrouping) removeAll(ctx context.Context, ids []string) error {
	for part := range slices.Chunk(ids, batch) {
		removed, err := removeMembers(ctx, r.tx, r.by.Tenant, r.c.ID, r.group.ID, part)
		if err != nil {
			return err
		}
		r.removed = append(r.removed, removed...)
	}
	return nil
}

// keepOnly removes the members that are not among ids, which are sorted.
func (r *regrouping) keepOnly(ctx context.Context, ids []string) error {
	var gone []string
	err := r.members(ctx, func(page []string) error {
		for _, id := range page {
			if _, kept := slices.BinarySearch(ids, id); !kept {
				gone = append(gone, id)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.removeAll(ctx, gone)
}

// members calls do with all members, a batch at a time.
func (r *regrouping) members(ctx context.Context, do func(ids []string) error) error {
	after := ""
	for {
		page, err := memberIDs(ctx, r.tx, r.by.Tenant, r.c.ID, r.group.ID, after, batch)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := do(page); err != nil {
			return err
		}
		after = page[len(page)-1]
	}
}

// settle tells of who came and went, and gives and takes the roles that the group
// stands for; those of all its members if everyone says so.
func (r *regrouping) settle(ctx context.Context, everyone bool) error {
	if err := r.note("user.group.added", r.added); err != nil {
		return err
	}
	if err := r.note("user.group.removed", r.removed); err != nil {
		return err
	}
	give := func(ids []string) error { return r.s.applyRules(ctx, r.tx, r.by, r.c.Directory, ids) }
	if everyone {
		if err := r.members(ctx, give); err != nil {
			return err
		}
		return inBatches(r.removed, give)
	}
	if len(r.c.rolesFor(r.group)) == 0 {
		return nil
	}
	changed := slices.Concat(r.added, r.removed)
	slices.Sort(changed)
	return inBatches(slices.Compact(changed), give)
}

func inBatches(ids []string, do func([]string) error) error {
	for part := range slices.Chunk(ids, batch) {
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

// note writes the events of members who came or went: of a few one each, of many one
// for two hundred.
func (r *regrouping) note(action string, ids []string) error {
	size := 1
	if len(ids) > 20 {
		size = 200
	}
	for part := range slices.Chunk(ids, size) {
		err := audit.Append(r.tx, r.by, audit.Event{Action: action, Target: target, TargetID: r.c.OrganizationID, Method: "scim",
			Detail: map[string]any{"directory": r.c.ID, "group_id": r.group.ID, "name": r.group.Name, "user_ids": part}})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeGroup deletes a group; what it stood for is taken from its members.
func (s *Service) removeGroup(ctx context.Context, by access.Actor, c caller, id, match string) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		g, err := holdGroup(ctx, tx, by.Tenant, c.ID, id)
		if err != nil {
			return err
		}
		if !matches(match, g.version) {
			return errVersion
		}
		r := &regrouping{s: s, tx: tx, by: by, c: c, group: g}
		if err := r.keepOnly(ctx, nil); err != nil {
			return err
		}
		if err := r.settle(ctx, false); err != nil {
			return err
		}
		if err := deleteGroup(ctx, tx, by.Tenant, c.ID, id); err != nil {
			return err
		}
		return s.noteGroup(tx, by, c, "group.deleted", g)
	})
}
