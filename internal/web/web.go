// Package web is the thin layer between net/http and the product.
//
//	Edge     outermost: request id, record, client address, headers, recovery
//	Router   routes with their description, and the API description made of them
//	JSON     turns an operation func(ctx, by, in) (out, error) into an endpoint
//	Fail     answers an error in the dialect of the surface that was asked
//
// Operations know nothing of HTTP. An attacker would send bodies that are too
// large, too deep or of the wrong type, spoof addresses and hosts, and read what
// errors give away: decoding has limits on all of it, addresses are believed
// from trusted proxies only, and an unknown error says nothing but its request id.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
)

// Limits of a request body.
const (
	maxBody  = 1 << 20 // bytes
	maxDepth = 32      // nested objects and arrays
)

// Problems of requests.
var (
	ErrBody      = problem.New(problem.Invalid, "invalid_request_body", "The request body is not the JSON this call expects.")
	ErrTooLarge  = problem.New(problem.TooLarge, "request_too_large", "The request body is larger than 1 MiB.")
	ErrQuery     = problem.New(problem.Invalid, "invalid_query_parameters", "A query parameter has a value this call does not accept.")
	ErrNoRoute   = problem.New(problem.NotFound, "resource_not_found", "There is nothing at this address.")
	ErrNoMethod  = problem.New(problem.NoMethod, "method_not_allowed", "This address does not answer that method.")
	ErrInternal  = problem.New(problem.Internal, "internal_error", "Something went wrong on our side. Try again, and name the request id if it stays.")
	ErrNobody    = problem.New(problem.Unauthenticated, "access_token_required", "Send an API key or an access token as Authorization: Bearer.")
	ErrPlainHTTP = problem.New(problem.Forbidden, "https_required", "Call this API over https.")
)

// An Endpoint is an operation ready to be routed: its handler, and what the API
// description needs to know of it.
type Endpoint struct {
	http.Handler
	Status  int          // of an answer that is no error; 0 if there is none
	In, Out reflect.Type // nil where there is none
	Media   string       // type of an answer that is not made of Out, or can be asked for beside it; several by commas
	Takes   string       // type of a body that is not decoded into In; several by commas
}

// Refuse makes an endpoint that answers p to everybody.
func Refuse(p *problem.Problem) Endpoint {
	return Endpoint{Handler: Handler(func(http.ResponseWriter, *http.Request) error { return p })}
}

// JSON makes an endpoint of op. Fields of In tagged `path:"name"` and
// `query:"name"` are strings from the address; those tagged `json:"name"` come
// from the body, where unknown members are ignored. An In that implements
// json.Unmarshaler takes the body whole. Out is encoded before the status is
// written; if it has a method Header(http.Header) that adds to the answer's head.
func JSON[In, Out any](status int, op func(ctx context.Context, by access.Actor, in In) (Out, error)) Endpoint {
	return endpoint(status, reflect.TypeFor[In](), reflect.TypeFor[Out](), func(ctx context.Context, in any) (any, error) {
		return op(ctx, ActorOf(ctx), *in.(*In))
	})
}

// endpoint is what all of JSON have in common: call gets a pointer to an In. What is
// generic the compiler writes out once for each operation.
func endpoint(status int, in, out reflect.Type, call func(ctx context.Context, in any) (any, error)) Endpoint {
	bind := binderFor(in)
	handler := Handler(func(w http.ResponseWriter, r *http.Request) error {
		v := reflect.New(in)
		if err := bind(r, v); err != nil {
			return err
		}
		result, err := call(r.Context(), v.Interface())
		if err != nil {
			return err
		}
		return Write(w, status, result)
	})
	return Endpoint{Handler: handler, Status: status, In: in, Out: out}
}

// Handler lets a handler return its error instead of writing it.
type Handler func(w http.ResponseWriter, r *http.Request) error

func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		Fail(w, r, err)
	}
}

// Appender is implemented by answers that encode themselves faster than
// encoding/json would.
type Appender interface {
	AppendJSON(b []byte) []byte
}

// Write sends v as JSON. It encodes first and sends second, so that a failure to
// encode is still an error of ours.
func Write(w http.ResponseWriter, status int, v any) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	body, err := encode((*buf)[:0], v)
	if err != nil {
		return err
	}
	if cap(body) <= maxKept {
		*buf = body
	}
	h := w.Header()
	if more, ok := v.(interface{ Header(http.Header) }); ok {
		more.Header(h)
	}
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))} // or net/http sends it in chunks
	w.WriteHeader(status)
	w.Write(body)
	return nil
}

var jsonType = []string{"application/json; charset=utf-8"}

// buffers are kept for the next answer, unless one has grown beyond maxKept.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const maxKept = 256 << 10

func encode(b []byte, v any) ([]byte, error) {
	if a, ok := v.(Appender); ok {
		return append(a.AppendJSON(b), '\n'), nil
	}
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // strings always encode
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// binderFor returns the function that fills an In from a request.
func binderFor(t reflect.Type) func(r *http.Request, ptr reflect.Value) error {
	if t.Kind() != reflect.Struct {
		panic("web: an endpoint takes a struct, not " + t.String())
	}
	type source struct {
		index       int
		path, query string
	}
	var sources []source
	whole := reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
	body := whole
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Tag.Get("path") != "":
			sources = append(sources, source{index: i, path: f.Tag.Get("path")})
		case f.Tag.Get("query") != "":
			sources = append(sources, source{index: i, query: f.Tag.Get("query")})
		case f.Tag.Get("json") != "" && f.Tag.Get("json") != "-":
			body = true
		}
	}
	return func(r *http.Request, ptr reflect.Value) error {
		if body {
			if err := DecodeBody(r, ptr.Interface()); err != nil {
				return err
			}
		}
		for _, s := range sources {
			read, name := PathValue, s.path
			if s.query != "" {
				read, name = Query, s.query
			}
			value, err := read(r, name)
			if err != nil {
				return err
			}
			ptr.Elem().Field(s.index).SetString(value)
		}
		return nil
	}
}

// PathValue returns a segment of the address, or ErrNoRoute if it can not name
// anything: bytes that no database takes.
func PathValue(r *http.Request, name string) (string, error) {
	v := r.PathValue(name)
	if !isText(v) {
		return "", ErrNoRoute
	}
	return v, nil
}

// Query returns the first value of a query parameter that is not empty. The
// contract's own samples send a parameter twice, the second time empty.
func Query(r *http.Request, name string) (string, error) {
	rec := Of(r.Context())
	if rec.query == nil {
		// Parts that can not be read must not count as absent: a filter that is left out
		// finds everybody.
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return "", ErrQuery.Saying("The query is not well formed.")
		}
		rec.query = query
	}
	for _, v := range rec.query[name] {
		if v == "" {
			continue
		}
		if !isText(v) {
			return "", ErrQuery.Saying("The parameter %s is not valid text.", name)
		}
		return v, nil
	}
	return "", nil
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// DecodeBody reads the JSON body into v, within the limits. An empty body leaves
// v as it is.
func DecodeBody(r *http.Request, v any) error {
	body, err := ReadBody(r)
	if err != nil || len(body) == 0 {
		return err
	}
	return Decode(body, v)
}

// Decode reads JSON into v. Its errors name the field and the type it wants, and
// never repeat the value.
func Decode(body []byte, v any) error {
	if err := checkDepth(body); err != nil {
		return err
	}
	if !utf8.Valid(body) || hasNUL(body) { // no database keeps these as text
		return ErrBody.Saying("The request body is not valid UTF-8, or contains a NUL character.")
	}
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	if _, ok := problem.From(err); ok {
		return err
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return ErrBody.Saying("The request body must be a JSON %s.", jsonName(wrong.Type)).Because("%s where %s belongs", wrong.Value, wrong.Type)
		}
		return ErrBody.Saying("%s must be a JSON %s.", wrong.Field, jsonName(wrong.Type)).In(wrong.Field)
	}
	return ErrBody.Because("%w", err)
}

// hasNUL reports whether JSON has an escaped NUL in it. An escaped backslash with
// u0000 behind it is none.
func hasNUL(body []byte) bool {
	for i := bytes.IndexByte(body, '\\'); i >= 0; i = bytes.IndexByte(body, '\\') {
		if bytes.HasPrefix(body[i:], []byte(`\u0000`)) {
			return true
		}
		body = body[min(i+2, len(body)):]
	}
	return false
}

func jsonName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	default:
		return "number"
	}
}

// ReadBody reads the whole body, or fails with ErrTooLarge.
func ReadBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > maxBody {
		return nil, ErrTooLarge
	}
	// Room for most bodies at once; for more only as it comes, not as it is announced.
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 8<<10)) + bytes.MinRead)
	if _, err := body.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return nil, ErrBody.Because("read: %w", err)
	}
	if body.Len() > maxBody {
		return nil, ErrTooLarge
	}
	return bytes.TrimSpace(body.Bytes()), nil
}

// checkDepth refuses JSON nested deeper than maxDepth before anything is built
// from it.
func checkDepth(body []byte) error {
	depth, inString, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return ErrBody.Saying("The request body is nested deeper than %d levels.", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
