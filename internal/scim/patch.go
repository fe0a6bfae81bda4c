package scim

import (
	"encoding/json"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/cardea-id/cardea/internal/web"
)

const (
	patchURN      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	maxOperations = 1000
)

// A patch is the message of PATCH (RFC 7644, section 3.5.2). Members are found
// whatever their letter case, as Entra ID and others spell them in several.
type patch struct {
	Schemas    []string    `json:"schemas"`
	Operations []operation `json:"Operations"`
}

type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// The operations.
const (
	add     = "add"
	replace = "replace"
	remove  = "remove"
)

// readPatch reads the message.
func readPatch(raw []byte) ([]operation, error) {
	var p patch
	if err := web.Decode(raw, &p); err != nil {
		return nil, err
	}
	if !hasSchema(p.Schemas, patchURN) {
		return nil, errSyntax.Saying("The message of PATCH has the schema %s.", patchURN)
	}
	if len(p.Operations) == 0 || len(p.Operations) > maxOperations {
		return nil, errSyntax.Saying("PATCH has 1 to %d Operations.", maxOperations)
	}
	for i := range p.Operations {
		op := &p.Operations[i]
		op.Op = strings.ToLower(op.Op)
		switch {
		case op.Op != add && op.Op != replace && op.Op != remove:
			return nil, errSyntax.Saying("An operation is add, replace or remove.")
		case op.Op == remove && op.Path == "":
			return nil, errNoTarget.Saying("remove needs a path.")
		case op.Op != remove && len(op.Value) == 0:
			return nil, errValue.Saying("%s needs a value.", op.Op)
		}
	}
	return p.Operations, nil
}

func hasSchema(list []string, urn string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, urn) })
}

// decode returns the value of an operation, nil if it has none.
func (op operation) decode() (any, error) {
	if len(op.Value) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(op.Value)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errSyntax
	}
	return v, nil
}

// applyAll changes a resource by operations, in order. On an error the resource is
// spoilt: the caller drops it.
func applyAll(k *kind, d doc, ops []operation) error {
	for _, op := range ops {
		value, err := op.decode()
		if err != nil {
			return err
		}
		if op.Path == "" {
			m, ok := value.(map[string]any)
			if !ok {
				return errValue.Saying("Without a path the value is an object of attributes.")
			}
			if err := merge(k, d, m, op.Op == add); err != nil {
				return err
			}
			continue
		}
		p, err := parsePath(k, op.Path)
		if err != nil {
			return err
		}
		if err := apply(d, op.Op, p, value); err != nil {
			return err
		}
	}
	return nil
}

// merge sets the attributes of an object: names as they stand, with the URN of a
// schema, with dots, or as whole paths. What the schema does not know and what only
// the server says is left out, for directories send back what they have read.
func merge(k *kind, d doc, values map[string]any, adding bool) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names) // an attribute comes before paths into it, and the outcome is always the same
	op := replace
	if adding {
		op = add
	}
	for _, name := range names {
		p, err := parsePath(k, name)
		if err != nil || p.isFixed() {
			continue
		}
		if err := apply(d, op, p, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// apply makes one change.
func apply(d doc, op string, p path, value any) error {
	switch {
	case p.isFixed():
		return errMutability
	case p.attr.Returned == never: // a password: taken and dropped
		return nil
	}
	if isExtension(p.place) {
		return applyExtension(d, op, p.attr, value)
	}
	in := parent(d, p.place)
	if p.ext != nil && in == nil {
		in = map[string]any{}
	}
	err := applyIn(in, op, p, value)
	if p.ext != nil {
		if d[p.ext.Name] = in; len(in) == 0 {
			delete(d, p.ext.Name)
		}
	}
	return err
}

func isExtension(p place) bool { return p.ext == nil && strings.HasPrefix(p.attr.Name, "urn:") }

// applyExtension works on an extension as a whole.
func applyExtension(d doc, op string, ext *attribute, value any) error {
	if op == remove {
		delete(d, ext.Name)
		return nil
	}
	m, ok := value.(map[string]any)
	if !ok && value != nil {
		return errValue.Saying("An extension is an object of attributes.")
	}
	for name, each := range m {
		at, ok := split(ext.Sub, ext, name)
		if !ok || at.isFixed() {
			continue
		}
		if err := apply(d, op, path{place: at}, each); err != nil {
			return err
		}
	}
	return nil
}

func applyIn(in map[string]any, op string, p path, value any) error {
	a := p.attr
	switch {
	case p.filter != nil:
		return applyFiltered(in, op, p, value)
	case op == remove:
		return removeIn(in, p, value)
	case p.sub != nil && a.Multi:
		return applyToAll(in, op, p, value)
	case p.sub != nil:
		return setPart(in, a, p.sub, value)
	}
	fitted, err := a.fit(value)
	if err != nil {
		return err
	}
	switch {
	case fitted == nil && op == add:
	case fitted == nil:
		delete(in, a.Name)
	case a.Multi && op == add:
		return extend(in, a, fitted.([]any))
	case a.Type == complexes && !a.Multi:
		return mergeParts(in, a, value, fitted.(map[string]any))
	default:
		in[a.Name] = fitted
	}
	return nil
}

// mergeParts sets the parts that are there and leaves the others (RFC 7644, section
// 3.5.2.3). Those sent as null go.
func mergeParts(in map[string]any, a *attribute, sent any, fitted map[string]any) error {
	old, _ := in[a.Name].(map[string]any)
	out := map[string]any{}
	for name, v := range old {
		out[name] = v
	}
	if m, ok := sent.(map[string]any); ok {
		for name, v := range m {
			if sub := a.sub(name); sub != nil && (v == nil || v == "") {
				delete(out, sub.Name)
			}
		}
	}
	for name, v := range fitted {
		out[name] = v
	}
	in[a.Name] = out
	return nil
}

func setPart(in map[string]any, a, sub *attribute, value any) error {
	fitted, err := sub.fit(value)
	if err != nil {
		return err
	}
	old, _ := in[a.Name].(map[string]any)
	out := map[string]any{}
	for name, v := range old {
		out[name] = v
	}
	if out[sub.Name] = fitted; fitted == nil {
		delete(out, sub.Name)
	}
	if in[a.Name] = out; len(out) == 0 {
		delete(in, a.Name)
	}
	return nil
}

// extend adds values to those there are. A new primary one takes the place of the old.
func extend(in map[string]any, a *attribute, more []any) error {
	old, _ := in[a.Name].([]any)
	out := slices.Clone(old)
	for _, v := range more {
		if slices.ContainsFunc(out, func(x any) bool { return reflect.DeepEqual(x, v) }) {
			continue
		}
		out = append(out, v)
		onePrimary(out, len(out)-1)
	}
	if len(out) > maxValues {
		return errValue.Saying("%s has at most %d values.", a.Name, maxValues)
	}
	in[a.Name] = out
	return nil
}

// onePrimary takes the mark from all others if the value at i is the primary one.
func onePrimary(list []any, i int) {
	if m, ok := list[i].(map[string]any); !ok || m["primary"] != true {
		return
	}
	for j, v := range list {
		m, ok := v.(map[string]any)
		if j == i || !ok || m["primary"] != true {
			continue
		}
		rest := map[string]any{}
		for name, v := range m {
			rest[name] = v
		}
		rest["primary"] = false
		list[j] = rest
	}
}

// applyToAll sets a part of every value; of one to come if there is none.
func applyToAll(in map[string]any, op string, p path, value any) error {
	list, _ := in[p.attr.Name].([]any)
	if len(list) == 0 {
		fitted, err := p.attr.fit([]any{map[string]any{p.sub.Name: value}})
		if err != nil || fitted == nil {
			return err
		}
		in[p.attr.Name] = fitted
		return nil
	}
	return change(in, p, op, value, list, func(map[string]any) bool { return true })
}

// applyFiltered works on the values that the filter picks.
func applyFiltered(in map[string]any, op string, p path, value any) error {
	list, _ := in[p.attr.Name].([]any)
	picked := func(m map[string]any) bool { return p.filter.matchesElement(m) }
	any := slices.ContainsFunc(list, func(v any) bool {
		m, ok := v.(map[string]any)
		return ok && picked(m)
	})
	if any {
		return change(in, p, op, value, list, picked)
	}
	if op == remove {
		return nil // it is gone already
	}
	fresh, ok := p.filter.wanted()
	if !ok {
		return errNoTarget
	}
	return addWanted(in, p, fresh, value)
}

// addWanted adds the value that a filter describes and nothing matched.
func addWanted(in map[string]any, p path, fresh map[string]any, value any) error {
	if p.sub != nil {
		fresh[p.sub.Name] = value
		if value == nil || value == "" {
			return nil
		}
	} else if m, ok := value.(map[string]any); ok {
		for name, v := range m {
			if sub := p.attr.sub(name); sub != nil {
				fresh[sub.Name] = v
			}
		}
	}
	fitted, err := p.attr.fit([]any{fresh})
	if err != nil || fitted == nil {
		return err
	}
	return extend(in, p.attr, fitted.([]any))
}

// change alters, or removes, the values that are picked, or their part.
func change(in map[string]any, p path, op string, value any, list []any, picked func(map[string]any) bool) error {
	out := make([]any, 0, len(list))
	var changed []int
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok || !picked(m) {
			out = append(out, v)
			continue
		}
		if op == remove && p.sub == nil {
			continue
		}
		holder := map[string]any{p.attr.Name: m}
		one := *p.attr
		one.Multi = false
		var err error
		switch {
		case op == remove:
			err = setPart(holder, &one, p.sub, nil)
		case p.sub != nil:
			err = setPart(holder, &one, p.sub, value)
		default:
			err = applyIn(holder, op, path{place: place{attr: &one}}, value)
		}
		if err != nil {
			return err
		}
		if m, ok := holder[p.attr.Name].(map[string]any); ok {
			out = append(out, m)
			changed = append(changed, len(out)-1)
		}
	}
	for _, i := range changed {
		onePrimary(out, i)
	}
	if in[p.attr.Name] = out; len(out) == 0 {
		delete(in, p.attr.Name)
	}
	return nil
}

// removeIn removes an attribute, a part, or those values that the operation lists.
func removeIn(in map[string]any, p path, value any) error {
	a := p.attr
	switch {
	case a.Required && p.sub == nil:
		return errMutability.Saying("%s can not be removed.", a.Name)
	case p.sub != nil && a.Multi:
		list, _ := in[a.Name].([]any)
		return change(in, p, remove, nil, list, func(map[string]any) bool { return true })
	case p.sub != nil:
		return setPart(in, a, p.sub, nil)
	case a.Multi && value != nil:
		return removeListed(in, a, value)
	}
	delete(in, a.Name)
	return nil
}

// removeListed removes the values that agree with one of those listed in all its parts.
func removeListed(in map[string]any, a *attribute, value any) error {
	fitted, err := a.fit(value)
	if err != nil {
		return err
	}
	listed, _ := fitted.([]any)
	list, _ := in[a.Name].([]any)
	out := slices.DeleteFunc(slices.Clone(list), func(v any) bool {
		return slices.ContainsFunc(listed, func(x any) bool { return agrees(v, x) })
	})
	if in[a.Name] = out; len(out) == 0 {
		delete(in, a.Name)
	}
	return nil
}

func agrees(v, with any) bool {
	m, ok := v.(map[string]any)
	want, isMap := with.(map[string]any)
	if !ok || !isMap {
		return reflect.DeepEqual(v, with)
	}
	for name, x := range want {
		if !reflect.DeepEqual(m[name], x) {
			return false
		}
	}
	return true
}
