package scim

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What a resource may hold.
const (
	maxResource = 32 << 10 // bytes of JSON
	maxText     = 8 << 10  // bytes of one text
	maxValues   = 200      // of one attribute
)

// A doc is a resource of a directory, decoded: canonical names, and values of the
// types that the schema says. Extensions stand under their URN.
type doc = map[string]any

// decodeObject reads a JSON object without losing digits of numbers.
func decodeObject(raw []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil || out == nil {
		return nil, errSyntax.Saying("The message must be a JSON object.")
	}
	return out, nil
}

// fit brings a value into the form of the attribute. It returns nil for nothing: null,
// an empty list or text (RFC 7643, section 2.5). Big directories send booleans and
// numbers as texts and the other way round, and one value where a list belongs.
func (a *attribute) fit(v any) (any, error) {
	if !a.Multi {
		if list, ok := v.([]any); ok && len(list) == 1 && a.Type != complexes {
			v = list[0]
		}
		return a.fitOne(v)
	}
	list, ok := v.([]any)
	if !ok {
		if list = []any{v}; v == nil {
			list = nil
		}
	}
	if len(list) > maxValues {
		return nil, errValue.Saying("%s has at most %d values.", a.Name, maxValues)
	}
	var out []any
	primaries := 0
	for _, each := range list {
		fitted, err := a.fitOne(each)
		if err != nil {
			return nil, err
		}
		if fitted == nil || slices.ContainsFunc(out, func(x any) bool { return reflect.DeepEqual(x, fitted) }) {
			continue
		}
		if m, ok := fitted.(map[string]any); ok && m["primary"] == true {
			primaries++
		}
		out = append(out, fitted)
	}
	if primaries > 1 {
		return nil, errValue.Saying("Of the values of %s one can be the primary one.", a.Name)
	}
	if out == nil {
		return nil, nil
	}
	return out, nil
}

func (a *attribute) fitOne(v any) (any, error) {
	if v == nil || v == "" {
		return nil, nil
	}
	wrong := errValue.Saying("%s is not of the type that the schema says.", a.Name)
	switch a.Type {
	case boolean:
		b, ok := truth(v)
		if !ok {
			return nil, wrong
		}
		return b, nil
	case complexes:
		return a.fitParts(v, wrong)
	}
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	case bool:
		s = strconv.FormatBool(v)
	default:
		return nil, wrong
	}
	if len(s) > maxText || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, errValue.Saying("%s has at most %d bytes.", a.Name, maxText)
	}
	if a.Type == moment {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return nil, wrong
		}
	}
	return s, nil
}

// fitParts reads a complex value. A bare text stands for its value, as Entra ID sends
// a manager.
func (a *attribute) fitParts(v any, wrong error) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		value := a.sub("value")
		if s, isText := v.(string); isText && value != nil {
			return map[string]any{"value": s}, nil
		}
		return nil, wrong
	}
	out := map[string]any{}
	for name, each := range m {
		sub := a.sub(name)
		if sub == nil || sub.Mutability == readOnly {
			continue // what is not in the schema is dropped, and so is what only we say
		}
		fitted, err := sub.fit(each)
		if err != nil {
			return nil, err
		}
		if fitted != nil {
			out[sub.Name] = fitted
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// newDoc makes a resource of what a directory sent. What the schema does not know, and
// what only the server says, is dropped.
func newDoc(k *kind, raw map[string]any) (doc, error) {
	d := doc{}
	if err := merge(k, d, raw, false); err != nil {
		return nil, err
	}
	return d, nil
}

// checkSize refuses a resource that is too large to keep.
func checkSize(d doc) ([]byte, error) {
	raw := encode(d)
	if len(raw) > maxResource {
		return nil, errValue.Saying("A resource has at most %d bytes.", maxResource)
	}
	return raw, nil
}

func stringAt(d map[string]any, names ...string) string {
	for _, name := range names[:len(names)-1] {
		d, _ = d[name].(map[string]any)
	}
	s, _ := d[names[len(names)-1]].(string)
	return s
}

// emailsOf returns the addresses of a user, the one that counts first: the primary one,
// else that of work, else the first.
func emailsOf(d doc) []string {
	list, _ := d["emails"].([]any)
	var out []string
	rank := func(m map[string]any) int {
		switch {
		case m["primary"] == true:
			return 0
		case strings.EqualFold(stringAt(m, "type"), "work"):
			return 1
		}
		return 2
	}
	var found []map[string]any
	for _, v := range list {
		if m, ok := v.(map[string]any); ok && stringAt(m, "value") != "" {
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b map[string]any) int { return rank(a) - rank(b) })
	for _, m := range found {
		if s := stringAt(m, "value"); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// A view says which attributes an answer shows (RFC 7644, section 3.9).
type view struct {
	only []place // nil for all that are shown by default
	not  []place
}

// parseView reads the parameters attributes and excludedAttributes. Names that the
// schema does not know show nothing.
func parseView(k *kind, only, not []string) view {
	read := func(list []string) (out []place) {
		for _, name := range list {
			name = strings.TrimSpace(name)
			if p, ok := k.lookUp(name); ok {
				out = append(out, p)
			}
		}
		return out
	}
	v := view{not: read(not)}
	if len(only) > 0 {
		v.only = append([]place{}, read(only)...)
	}
	return v
}

// shows reports whether an attribute is in the answer at all.
func (v view) shows(a *attribute) bool {
	if a.Returned == always || a.Returned == never {
		return a.Returned == always
	}
	for _, p := range v.not {
		if p.ext == nil && p.attr == a && p.sub == nil {
			return false
		}
	}
	if v.only == nil {
		return true
	}
	return slices.ContainsFunc(v.only, func(p place) bool { return p.attr == a || p.ext == a })
}

// showsPart is shows for a part of an attribute, or an attribute of an extension.
func (v view) showsPart(whole, part *attribute) bool {
	is := func(p place) bool { return p.attr == whole && p.sub == part || p.ext == whole && p.attr == part }
	if slices.ContainsFunc(v.not, is) {
		return false
	}
	if v.only == nil {
		return true
	}
	return slices.ContainsFunc(v.only, func(p place) bool { return is(p) || p.ext == nil && p.attr == whole && p.sub == nil })
}

// project returns what of a resource is shown.
func (v view) project(k *kind, d doc) doc {
	if v.only == nil && v.not == nil {
		return d
	}
	out := doc{}
	for name, value := range d {
		a := k.find(name)
		if a == nil || !v.shows(a) {
			continue
		}
		if value = v.projectValue(a, value); value != nil {
			out[name] = value
		}
	}
	return out
}

func (v view) projectValue(a *attribute, value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := maps.Clone(value)
		maps.DeleteFunc(out, func(name string, _ any) bool {
			part := a.sub(name)
			return part != nil && !v.showsPart(a, part)
		})
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		out := make([]any, 0, len(value))
		for _, each := range value {
			if shown := v.projectValue(a, each); shown != nil {
				out = append(out, shown)
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return value
}

// matches reports whether a condition such as If-Match takes a version.
func matches(condition string, version int64) bool {
	if condition == "" {
		return true
	}
	for tag := range strings.SplitSeq(condition, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == `"`+strconv.FormatInt(version, 10)+`"` {
			return true
		}
	}
	return false
}

// etag is the version as ETag has it: weak, for an answer may show parts only.
func etag(version int64) string { return `W/"` + strconv.FormatInt(version, 10) + `"` }
