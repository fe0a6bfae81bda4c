package openapi

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/web"
)

// A Schema says what JSON value may stand in a place: JSON Schema 2020-12, as far
// as the product needs it.
type Schema struct {
	Ref         string     `json:"$ref,omitempty"`
	Type        any        `json:"type,omitempty"` // a name, or two of which one is "null"
	Format      string     `json:"format,omitempty"`
	Description string     `json:"description,omitempty"`
	Items       *Schema    `json:"items,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
	Additional  *Schema    `json:"additionalProperties,omitempty"`
	AnyOf       []*Schema  `json:"anyOf,omitempty"`
}

// properties keep the order in which the fields are sent.
type properties []property

type property struct {
	name   string
	schema *Schema
}

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(x.name))
		b.WriteByte(':')
		b.Write(encode(x.schema))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// A use is where a value travels. What a request must hold is said by tags; what
// an answer holds follows from its type.
type use int

const (
	answer use = iota
	request
)

type typeUse struct {
	t reflect.Type
	u use
}

// typeNames gives each struct type that has a name one schema under components.
type typeNames struct {
	schemas map[string]*Schema
	names   map[typeUse]string
}

// Types whose JSON is not that of their Go form have a method that returns a value
// with the form they are sent in.
type standIn interface{ Schema() any }

func standInOf(t reflect.Type) (any, bool) {
	s, ok := reflect.Zero(t).Interface().(standIn)
	if !ok || t.Kind() == reflect.Pointer {
		return nil, false
	}
	return s.Schema(), true
}

// body is the schema of what a request type takes from the body, nil if nothing.
func (n *typeNames) body(t reflect.Type) *Schema {
	if t == nil {
		return nil
	}
	if _, ok := standInOf(t); ok {
		return n.of(t, request)
	}
	if implements[json.Unmarshaler](t) {
		return &Schema{}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range structFields(t) {
		if name := f.Tag.Get("json"); name != "" && name != "-" {
			return n.of(t, request)
		}
	}
	return nil
}

// of is the schema of a type.
func (n *typeNames) of(t reflect.Type, u use) *Schema {
	if v, ok := standInOf(t); ok {
		return n.instead(v, u)
	}
	switch {
	case t == reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Interface:
		return &Schema{} // anything
	case t == reflect.TypeFor[time.Time]():
		return &Schema{Type: "string", Format: "date-time"}
	case t.Kind() == reflect.Pointer:
		return nullable(n.of(t.Elem(), u))
	case implements[json.Marshaler](t):
		return &Schema{}
	case implements[encoding.TextMarshaler](t):
		return &Schema{Type: "string"}
	case t.Kind() == reflect.Struct:
		return n.named(t, u)
	}
	return n.plain(t, u)
}

// instead is the schema of a value that stands in for a type.
func (n *typeNames) instead(v any, u use) *Schema {
	switch v := v.(type) {
	case nil:
		return &Schema{} // anything
	case web.OneOf:
		s := &Schema{}
		for _, form := range v {
			s.AnyOf = append(s.AnyOf, n.of(reflect.TypeOf(form), u))
		}
		return s
	default:
		return n.of(reflect.TypeOf(v), u)
	}
}

func implements[T any](t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[T]())
}

// plain is the schema of a type whose JSON follows from its kind.
func (n *typeNames) plain(t reflect.Type, u use) *Schema {
	switch t.Kind() {
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.Map:
		return &Schema{Type: "object", Additional: n.of(t.Elem(), u)}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: "string", Format: "byte"}
		}
		return &Schema{Type: "array", Items: n.of(t.Elem(), u)}
	}
	panic("openapi: nothing in JSON is like " + t.String())
}

// nullable also allows null.
func nullable(s *Schema) *Schema {
	if name, ok := s.Type.(string); ok {
		s.Type = []string{name, "null"}
		return s
	}
	if s.Ref != "" {
		return &Schema{AnyOf: []*Schema{s, {Type: "null"}}}
	}
	return s // anything, or nullable already
}

// named is a reference to the schema of a struct type, or the schema itself if
// the type has no name.
func (n *typeNames) named(t reflect.Type, u use) *Schema {
	if t.Name() == "" {
		return n.object(t, u)
	}
	name, ok := n.names[typeUse{t, u}]
	if !ok {
		if name = typeName(t); n.schemas[name] != nil {
			name += "Input" // the same type is answered too
		}
		n.names[typeUse{t, u}] = name
		s := &Schema{}
		n.schemas[name] = s // before its fields, which may refer to it
		*s = *n.object(t, u)
	}
	return &Schema{Ref: "#/components/schemas/" + name}
}

var pathOfType = regexp.MustCompile(`[\w./-]*[./]`)

// typeName is package and type in one word; type arguments follow.
func typeName(t reflect.Type) string {
	pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
	name := ""
	for _, word := range strings.FieldsFunc(pkg+" "+pathOfType.ReplaceAllString(t.Name(), ""), func(r rune) bool { return !isWord(r) }) {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// resolve follows a reference.
func (n *typeNames) resolve(s *Schema) *Schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return n.schemas[name]
	}
	return s
}

func (n *typeNames) object(t reflect.Type, u use) *Schema {
	s := &Schema{Type: "object"}
	n.addFields(s, t, u)
	return s
}

// addFields adds the fields of t, as encoding/json would send them.
func (n *typeNames) addFields(s *Schema, t reflect.Type, u use) {
	for f := range structFields(t) {
		if f.Tag.Get("path") != "" || f.Tag.Get("query") != "" {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			n.addFields(s, f.Type, u)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		absent := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		s.Properties = append(s.Properties, property{name, n.field(f, u, absent)})
		if u == answer && !absent || u == request && f.Tag.Get("schema") == "required" {
			s.Required = append(s.Required, name)
		}
	}
}

func (n *typeNames) field(f reflect.StructField, u use, absent bool) *Schema {
	t := f.Type
	if t.Kind() == reflect.Pointer && absent {
		t = t.Elem() // left out rather than null
	}
	s := n.of(t, u)
	if f.Tag.Get("schema") == "nullable" {
		s = nullable(s)
	}
	if doc := f.Tag.Get("doc"); doc != "" {
		s.Description = doc // beside a $ref too, since OpenAPI 3.1
	}
	return s
}
