// Package openapi describes the HTTP surface to those who call it, from what the
// code itself declares: routes, types, examples, problems. Nothing is written
// twice, so nothing can be out of date.
//
//	Describe        routes -> a Document, OpenAPI 3.1
//	Reference       the same as a page for people
//	ErrorsPage      the table of error codes as a page
//	ErrorsMarkdown  the same for docs/api/errors.md
//
// Statuses and bodies of errors are not claimed but tried: each problem an
// operation may answer goes through the dialect of its surface, and what comes
// out is described. An attacker learns nothing here that the source does not say:
// the description holds no input, no tenant's data and no address.
package openapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

// A Surface is a group of addresses with one form of errors.
type Surface struct {
	Prefixes []string // of its paths; none for whatever belongs to no other surface
	Dialect  web.Dialect
	Error    any         // stand-in for the body that the dialect writes
	Params   []web.Param // query parameters that every call takes
	Always   []*problem.Problem
	Keyed    []*problem.Problem // of calls that are not public
}

// A Tag groups operations.
type Tag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// A Document is an OpenAPI 3.1 description.
type Document struct {
	OpenAPI    string                           `json:"openapi"`
	Info       Info                             `json:"info"`
	Servers    []map[string]string              `json:"servers"`
	Tags       []Tag                            `json:"tags"`
	Paths      map[string]map[string]*Operation `json:"paths"`
	Components Components                       `json:"components"`

	operations []*Operation // in order of declaration, without aliases
}

// Info says what is described.
type Info struct {
	Title       string            `json:"title"`
	Version     string            `json:"version"` // of the API, not of the program
	Description string            `json:"description"`
	License     map[string]string `json:"license"`
}

// Components are what operations refer to.
type Components struct {
	Schemas         map[string]*Schema        `json:"schemas"`
	Responses       map[string]*Response      `json:"responses"`
	Headers         map[string]*Header        `json:"headers"`
	SecuritySchemes map[string]map[string]any `json:"securitySchemes"`
}

// An Operation is one method at one address.
type Operation struct {
	ID          string                `json:"operationId"`
	AliasOf     string                `json:"x-alias-of,omitempty"` // the documented address of the same operation
	Tags        []string              `json:"tags"`
	Summary     string                `json:"summary"`
	Description string                `json:"description,omitempty"`
	Security    []map[string][]string `json:"security"`
	Parameters  []Parameter           `json:"parameters,omitempty"`
	RequestBody *Body                 `json:"requestBody,omitempty"`
	Responses   map[string]*Response  `json:"responses"`

	method, path string
	aliases      []string
	scope        access.Permission
	public       bool
}

// A Parameter travels in the address.
type Parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"` // path or query
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Schema      *Schema `json:"schema"`
}

// A Body is what a request carries.
type Body struct {
	Required bool              `json:"required,omitempty"`
	Content  map[string]*Media `json:"content"`
}

// A Response is one status of an operation.
type Response struct {
	Ref         string             `json:"$ref,omitempty"`
	Description string             `json:"description,omitempty"`
	Headers     map[string]*Header `json:"headers,omitempty"`
	Content     map[string]*Media  `json:"content,omitempty"`
}

// A Header travels beside the body of an answer.
type Header struct {
	Ref         string  `json:"$ref,omitempty"`
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema,omitempty"`
}

// A Media is a body in one media type.
type Media struct {
	Schema   *Schema            `json:"schema,omitempty"`
	Example  json.RawMessage    `json:"example,omitempty"`
	Examples map[string]Example `json:"examples,omitempty"` // by code of the problem
}

// An Example is one of several.
type Example struct {
	Value json.RawMessage `json:"value"`
}

const (
	jsonMedia = "application/json"
	pageMedia = "text/html"
)

// Describe makes the description of routes. Tags give the order of the groups;
// what a route uses beyond them comes last. Pages are no part of it.
func Describe(info Info, tags []Tag, surfaces []Surface, routes []web.Route) *Document {
	d := &Document{
		OpenAPI: "3.1.0", Info: info, Tags: slices.Clone(tags), Paths: map[string]map[string]*Operation{},
		Servers: []map[string]string{{"url": "/"}},
		Components: Components{
			Schemas: map[string]*Schema{},
			Headers: map[string]*Header{
				"RequestId":  {Description: "Names the request in logs and errors; send your own to set it", Schema: &Schema{Type: "string"}},
				"RetryAfter": {Description: "Seconds to wait before trying again", Schema: &Schema{Type: "string"}},
			},
			SecuritySchemes: map[string]map[string]any{
				"bearer": {"type": "http", "scheme": "bearer", "description": "An API key, sk_…, that holds the scope of the call."},
			},
		},
	}
	types := &typeNames{schemas: d.Components.Schemas, names: map[typeUse]string{}}
	for _, route := range routes {
		if route.Page {
			continue
		}
		d.add(route, surfaceOf(surfaces, route.Paths[0]), types)
	}
	return d
}

func surfaceOf(surfaces []Surface, path string) Surface {
	var other Surface
	for _, s := range surfaces {
		if len(s.Prefixes) == 0 {
			other = s
		}
		if slices.ContainsFunc(s.Prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
			return s
		}
	}
	return other
}

// add describes a route at each of its addresses.
func (d *Document) add(route web.Route, surface Surface, types *typeNames) {
	if !slices.ContainsFunc(d.Tags, func(t Tag) bool { return t.Name == route.Doc.Tag }) {
		d.Tags = append(d.Tags, Tag{Name: route.Doc.Tag})
	}
	documented := plainPath(route.Paths[0])
	for i, path := range route.Paths {
		path = plainPath(path)
		op := describe(route, path, surface, types)
		if i > 0 {
			op.AliasOf = documented
		} else {
			for _, alias := range route.Paths[1:] {
				op.aliases = append(op.aliases, plainPath(alias))
			}
			d.operations = append(d.operations, op)
		}
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]*Operation{}
		}
		d.Paths[path][strings.ToLower(route.Method)] = op
	}
}

func describe(route web.Route, path string, surface Surface, types *typeNames) *Operation {
	op := &Operation{
		ID: operationID(route.Method, path), Tags: []string{route.Doc.Tag}, Summary: route.Doc.Summary, Description: route.Doc.Text,
		Security: []map[string][]string{}, Responses: map[string]*Response{},
		method: route.Method, path: path, scope: route.Needs, public: route.Public,
	}
	if !route.Public {
		scopes := []string{}
		if route.Needs != "" {
			scopes = append(scopes, string(route.Needs))
		}
		op.Security = append(op.Security, map[string][]string{"bearer": scopes})
	}
	op.Parameters = parameters(route, path, surface)
	if schema := types.body(route.In); schema != nil {
		op.RequestBody = &Body{
			Required: len(types.resolve(schema).Required) > 0,
			Content:  map[string]*Media{jsonMedia: {Schema: schema, Example: encode(route.Doc.Request)}},
		}
	}
	if route.Takes != "" {
		op.RequestBody = &Body{Required: true, Content: files(route.Takes)}
		if media := op.RequestBody.Content[jsonMedia]; media != nil {
			media.Example = encode(route.Doc.Request)
		}
	}
	if route.Status != 0 {
		op.Responses[strconv.Itoa(route.Status)] = success(route, types)
	}
	for _, p := range problemsOf(route, op, surface) {
		op.refuse(p, surface, types)
	}
	for status, r := range op.Responses {
		if route.Doc.ErrorPages && status >= "400" {
			r.Content[pageMedia] = &Media{Schema: &Schema{Type: "string"}}
		}
	}
	return op
}

var wildcard = regexp.MustCompile(`\{([^{}]*)\}`)

// plainPath is the address of a mux pattern as OpenAPI writes it.
func plainPath(pattern string) string {
	return strings.ReplaceAll(strings.TrimSuffix(pattern, "{$}"), "...}", "}")
}

// operationID is made of the address, which never changes: programs that are
// generated from the description use it as a name.
func operationID(method, path string) string {
	id := strings.ToLower(method)
	path = strings.TrimPrefix(path, "/api/v1")
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return !isWord(r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	if path != "/" && strings.HasSuffix(path, "/") {
		id += "Slash"
	}
	return id
}

func isWord(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }

// parameters come from the address, from the tags of the operation's In, from its
// Doc and from the surface.
func parameters(route web.Route, path string, surface Surface) []Parameter {
	text := map[string]string{}
	var query []web.Param
	if route.In != nil && route.In.Kind() == reflect.Struct {
		for f := range structFields(route.In) {
			if name := f.Tag.Get("path"); name != "" {
				text[name] = f.Tag.Get("doc")
			}
			if name := f.Tag.Get("query"); name != "" {
				query = append(query, web.Param{Name: name, Text: f.Tag.Get("doc")})
			}
		}
	}
	var out []Parameter
	for _, match := range wildcard.FindAllStringSubmatch(path, -1) {
		out = append(out, Parameter{Name: match[1], In: "path", Description: text[match[1]], Required: true, Schema: &Schema{Type: "string"}})
	}
	for _, p := range slices.Concat(query, route.Doc.Query, surface.Params) {
		if !slices.ContainsFunc(out, func(q Parameter) bool { return q.In == "query" && q.Name == p.Name }) {
			out = append(out, Parameter{Name: p.Name, In: "query", Description: p.Text, Schema: &Schema{Type: "string"}})
		}
	}
	return out
}

func structFields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func success(route web.Route, types *typeNames) *Response {
	r := &Response{Description: http.StatusText(route.Status), Headers: map[string]*Header{"X-Request-Id": {Ref: "#/components/headers/RequestId"}}}
	for _, h := range route.Doc.Headers {
		r.Headers[h.Name] = &Header{Description: h.Text, Schema: &Schema{Type: "string"}}
	}
	if route.Media != "" {
		r.Content = files(route.Media)
	}
	if route.Out != nil {
		if r.Content == nil {
			r.Content = map[string]*Media{}
		}
		r.Content[jsonMedia] = &Media{Schema: types.of(route.Out, answer), Example: encode(route.Doc.Example)}
	}
	return r
}

// files are bodies that are not made of a type of ours.
func files(types string) map[string]*Media {
	out := map[string]*Media{}
	for media := range strings.SplitSeq(types, ",") {
		media, _, _ = strings.Cut(strings.TrimSpace(media), ";")
		out[media] = &Media{Schema: &Schema{Type: "string"}}
		if media == jsonMedia {
			out[media].Schema = &Schema{Type: "object"}
		}
	}
	return out
}

// problemsOf lists what a call of the route may be refused with.
func problemsOf(route web.Route, op *Operation, surface Surface) []*problem.Problem {
	out := slices.Clone(surface.Always)
	if !route.Public {
		out = append(out, surface.Keyed...)
	}
	if route.Needs != "" {
		out = append(out, access.ErrDenied)
	}
	if op.RequestBody != nil {
		out = append(out, web.ErrBody, web.ErrTooLarge)
	}
	for _, p := range op.Parameters {
		if p.In == "path" {
			out = append(out, web.ErrNoRoute)
		} else {
			out = append(out, web.ErrQuery)
		}
	}
	return append(out, route.Doc.Errors...)
}

// refuse adds what the surface's dialect makes of p.
func (op *Operation) refuse(p *problem.Problem, surface Surface, types *typeNames) {
	tried := op.try(surface.Dialect, p)
	status := strconv.Itoa(tried.status)
	r := op.Responses[status]
	if r == nil {
		r = &Response{Description: http.StatusText(tried.status), Headers: map[string]*Header{"X-Request-Id": {Ref: "#/components/headers/RequestId"}}}
		op.Responses[status] = r
	}
	if tried.status == http.StatusTooManyRequests || tried.status == http.StatusServiceUnavailable {
		r.Headers["Retry-After"] = &Header{Ref: "#/components/headers/RetryAfter"}
	}
	media, _, _ := strings.Cut(tried.head.Get("Content-Type"), ";")
	if r.Content == nil {
		r.Content = map[string]*Media{}
	}
	if r.Content[media] == nil {
		r.Content[media] = &Media{Schema: types.of(reflect.TypeOf(surface.Error), answer)}
	}
	m := r.Content[media]
	if m.Examples == nil {
		m.Examples = map[string]Example{}
	}
	if _, ok := m.Examples[p.Code]; !ok {
		m.Examples[p.Code] = Example{json.RawMessage(tried.body)}
	}
}

// A trial is an answer that goes nowhere.
type trial struct {
	status int
	head   http.Header
	body   []byte
}

func (t *trial) Header() http.Header { return t.head }

func (t *trial) WriteHeader(status int) { t.status = status }

func (t *trial) Write(b []byte) (int, error) {
	t.body = append(t.body, b...)
	return len(b), nil
}

// exampleRequestID stands for the request's id in examples of errors.
const exampleRequestID = "6694c154565dfee5166d1cc7"

func (op *Operation) try(dialect web.Dialect, p *problem.Problem) *trial {
	r := web.WithActor(&http.Request{Method: op.method, URL: &url.URL{Path: op.path}, Header: http.Header{}}, access.Actor{})
	web.Of(r.Context()).ID = exampleRequestID
	t := &trial{status: http.StatusOK, head: http.Header{}}
	dialect(t, r, p)
	return t
}

// encode returns an example as it would be sent, nil if there is none.
func encode(example any) json.RawMessage {
	if example == nil {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(example); err != nil {
		panic("openapi: an example can not be encoded: " + err.Error()) // a mistake of ours, found at start
	}
	return json.RawMessage(strings.TrimSpace(b.String()))
}

// JSON is the document as it is served. Operations refuse in few different ways,
// so what several of them have in common stands under components once.
func (d *Document) JSON() []byte {
	out := *d
	out.Paths, out.Components.Responses = map[string]map[string]*Operation{}, map[string]*Response{}
	names := map[string]string{} // by what they stand for
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		out.Paths[path] = map[string]*Operation{}
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			op := *d.Paths[path][method]
			op.Responses = map[string]*Response{}
			for status, r := range d.Paths[path][method].Responses {
				op.Responses[status] = r
			}
			for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
				if status >= "400" {
					op.Responses[status] = out.share(op.Responses[status], names)
				}
			}
			out.Paths[path][method] = &op
		}
	}
	return encode(&out)
}

// share puts r under components, unless its like is there, and refers to it.
func (d *Document) share(r *Response, names map[string]string) *Response {
	text := string(encode(r))
	name, ok := names[text]
	if !ok {
		base := strings.ReplaceAll(r.Description, " ", "")
		name = base
		for n := 2; d.Components.Responses[name] != nil; n++ {
			name = base + strconv.Itoa(n)
		}
		names[text], d.Components.Responses[name] = name, r
	}
	return &Response{Ref: "#/components/responses/" + name}
}
