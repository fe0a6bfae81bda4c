package apptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cardea-id/cardea/internal/app"
)

// A contract is the API description, ready to judge answers. kin-openapi judges
// whether it is a description at all; values are judged by a validator of JSON
// Schema 2020-12, which OpenAPI 3.1 speaks and kin-openapi only in part.
type contract struct {
	paths  map[string]map[string]operation
	pages  map[string]string // media type by patterns of pages, which the description leaves out
	router http.ServeMux     // finds the operation of a request as the product does

	mu      sync.Mutex
	schemas *jsonschema.Compiler
	ready   map[string]*jsonschema.Schema // by their place in the description
	calls   map[string]bool               // by method and path; true once it answered well
}

type operation struct {
	Responses   map[string]response
	RequestBody struct {
		Content map[string]struct{ Example any }
	}
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct {
		Example  any
		Examples map[string]struct{ Value any }
	}
	place []string // in the description
}

// Every World of a test binary is judged by the same contract, but for those of the
// developer mode: nothing else in the configuration decides about routes.
var shared struct {
	sync.Mutex
	contracts map[bool]*contract // by whether they are for the developer mode
	err       error
}

func contractOf(t *testing.T, a *app.App) *contract {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.contracts[a.Config.Dev] == nil && shared.err == nil {
		if shared.contracts == nil {
			shared.contracts = map[bool]*contract{}
		}
		shared.contracts[a.Config.Dev], shared.err = newContract(a)
	}
	if shared.err != nil {
		t.Fatalf("the API description: %v", shared.err)
	}
	return shared.contracts[a.Config.Dev]
}

func newContract(a *app.App) (*contract, error) {
	text, err := fetch(a)
	if err != nil {
		return nil, err
	}
	c := &contract{schemas: jsonschema.NewCompiler(), ready: map[string]*jsonschema.Schema{}, calls: map[string]bool{}, pages: map[string]string{}}
	if err := c.read(text); err != nil {
		return nil, err
	}
	for _, route := range a.Router.Routes() {
		for _, path := range route.Paths {
			pattern := route.Method + " " + path
			c.router.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
			if c.calls[pattern] = false; route.Page {
				c.pages[pattern] = route.Media
			}
		}
	}
	return c, c.judgeExamples()
}

func (c *contract) read(text []byte) error {
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return err
	}
	if err := document.Validate(context.Background(), openapi3.DisableExamplesValidation()); err != nil {
		return err
	}
	if c.paths, err = readPaths(text); err != nil {
		return err
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(strict(text)))
	if err != nil {
		return err
	}
	c.schemas.AssertFormat()
	return c.schemas.AddResource("openapi.json", resource)
}

// readPaths reads the operations and follows their references.
func readPaths(text []byte) (map[string]map[string]operation, error) {
	var parsed struct {
		Paths      map[string]map[string]operation
		Components struct{ Responses map[string]response }
	}
	if err := json.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	for address, item := range parsed.Paths {
		for method, op := range item {
			for status, r := range op.Responses {
				r.place = []string{"paths", address, method, "responses", status}
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					r = parsed.Components.Responses[name]
					r.place = []string{"components", "responses", name}
				}
				op.Responses[status] = r
			}
		}
	}
	return parsed.Paths, nil
}

func fetch(a *app.App) ([]byte, error) {
	r := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
	r.TLS = &tls.ConnectionState{}
	recorder := httptest.NewRecorder()
	a.Handler.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusOK {
		return nil, fmt.Errorf("got %d: %s", recorder.Code, recorder.Body)
	}
	return recorder.Body.Bytes(), nil
}

// judgeExamples holds the description against itself.
func (c *contract) judgeExamples() error {
	for address, item := range c.paths {
		for method, op := range item {
			for media, body := range op.RequestBody.Content {
				if err := c.judgeValue(body.Example, "paths", address, method, "requestBody", "content", media, "schema"); err != nil && body.Example != nil {
					return fmt.Errorf("example of the request of %s %s: %w", method, address, err)
				}
			}
			for status, response := range op.Responses {
				for media, body := range response.Content {
					examples := []any{}
					if body.Example != nil {
						examples = append(examples, body.Example)
					}
					for _, example := range body.Examples {
						examples = append(examples, example.Value)
					}
					for _, example := range examples {
						if err := c.judgeValue(example, response.at("content", media, "schema")...); err != nil {
							return fmt.Errorf("example of %s %s, %s: %w", method, address, status, err)
						}
					}
				}
			}
		}
	}
	return nil
}

// judgeValue holds a decoded JSON value against the schema at a place of the
// description.
func (c *contract) judgeValue(value any, place ...string) error {
	pointer := ""
	for _, step := range place {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step)
	}
	c.mu.Lock()
	schema := c.ready[pointer]
	if schema == nil {
		var err error
		if schema, err = c.schemas.Compile("openapi.json#" + (&url.URL{Fragment: pointer}).EscapedFragment()); err != nil {
			c.mu.Unlock()
			return err
		}
		c.ready[pointer] = schema
	}
	c.mu.Unlock()
	return schema.Validate(value)
}

// strict makes fields that are not described a fault. The description itself leaves
// room for fields to come.
func strict(text []byte) []byte {
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return text // the loader says it better
	}
	var close func(v any)
	close = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, open := v["additionalProperties"]; v["type"] == "object" && v["properties"] != nil && !open {
				v["additionalProperties"] = false
			}
			for _, x := range v {
				close(x)
			}
		case []any:
			for _, x := range v {
				close(x)
			}
		}
	}
	close(document)
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // it was JSON before
	}
	return text
}

// check holds an answer against the description. Answers of ours to what is no
// operation (unknown addresses, other methods, preflights) need no description.
func (c *contract) check(t *testing.T, a Answer, broken bool) {
	t.Helper()
	if a.Status == http.StatusInternalServerError && !broken {
		t.Errorf("%s %s: the product failed: %s", a.Request.Method, a.Request.URL, a.Body)
	}
	_, pattern := c.router.Handler(a.Request)
	if a.Status == http.StatusTemporaryRedirect && path.Clean(a.Request.URL.Path) != a.Request.URL.Path {
		return // to the address as it should be written
	}
	if pattern == "" || a.Request.Method == http.MethodHead || a.Request.Method == http.MethodOptions || a.Status == http.StatusNotModified {
		return
	}
	if a.Status < 400 || a.Status == http.StatusNotImplemented {
		c.mu.Lock()
		c.calls[pattern] = true
		c.mu.Unlock()
	}
	if err := c.judge(pattern, a); err != nil {
		t.Errorf("%s %s: %d is not as /openapi.json says: %v\n%s", a.Request.Method, a.Request.URL, a.Status, err, a.Body)
	}
}

// at is a place within the response.
func (r response) at(steps ...string) []string { return append(slices.Clone(r.place), steps...) }

// find returns the operation of a mux pattern.
func (c *contract) find(pattern string) (op operation, found bool) {
	method, address, _ := strings.Cut(pattern, " ")
	address = strings.ReplaceAll(strings.TrimSuffix(address, "{$}"), "...}", "}")
	op, found = c.paths[address][strings.ToLower(method)]
	return op, found
}

func (c *contract) judge(pattern string, a Answer) error {
	if declared, ok := c.pages[pattern]; ok {
		return judgePage(a, declared)
	}
	op, found := c.find(pattern)
	if !found {
		return fmt.Errorf("%s is not described", pattern)
	}
	status := strconv.Itoa(a.Status)
	response, ok := op.Responses[status]
	if !ok {
		return fmt.Errorf("the status is not described")
	}
	if a.Status == http.StatusNoContent && len(a.Body) == 0 {
		return nil
	}
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	content, ok := response.Content[media]
	if !ok {
		return fmt.Errorf("the media type %q is not described", media)
	}
	if media != "application/json" {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body))
	if err != nil {
		return err
	}
	if err := c.judgeValue(value, response.at("content", media, "schema")...); err != nil {
		return err
	}
	if e, ok := value.(map[string]any); ok && e["error_code"] != nil { // the dialect of /api, where codes are part of the contract
		if code, _ := e["error"].(string); content.Examples[code].Value == nil {
			return fmt.Errorf("the code %q is not described for this status", code)
		}
	}
	return nil
}

// judgePage holds an answer to a browser against what all of them promise. Scripts of
// pages get JSON where that is declared.
func judgePage(a Answer, declared string) error {
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	switch {
	case len(a.Body) > 0 && media != "text/html" && media != "text/css" && (media != "application/json" || media != declared) && !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment;"):
		return fmt.Errorf("%q is no page", media)
	case media == "text/html" && a.Status != http.StatusSeeOther && !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'"):
		return fmt.Errorf("the page may be framed")
	case a.Status == http.StatusTemporaryRedirect || a.Status == http.StatusPermanentRedirect:
		return fmt.Errorf("a form would be sent on (RFC 9700, section 4.12)")
	}
	return nil
}

// CheckSuite runs the tests of a package and fails if a route of the product that
// belongs to the package has not answered well at least once: one that owns is true
// of, or, if owns is nil, one that is neither SignIn's, Provider's, SCIM's nor Portal's; but for addresses that end like one of
// except. It says nothing of a run that leaves tests out.
func CheckSuite(m *testing.M, owns func(address string) bool, except ...string) int {
	code := m.Run()
	if code != 0 || !isWhole() {
		return code
	}
	if owns == nil {
		owns = func(address string) bool {
			return !SignIn(address) && !Provider(address) && !SCIM(address) && !Portal(address)
		}
	}
	shared.Lock()
	defer shared.Unlock()
	answered := map[string]bool{}
	for _, c := range shared.contracts {
		for pattern, well := range c.calls {
			answered[pattern] = answered[pattern] || well || c.alwaysFails(pattern)
		}
	}
	var missing []string
	for pattern, well := range answered {
		_, address, _ := strings.Cut(strings.TrimSuffix(pattern, "/{$}"), " ")
		excepted := slices.ContainsFunc(except, func(end string) bool { return strings.HasSuffix(address, end) })
		if !well && !excepted && owns(address) {
			missing = append(missing, pattern)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		fmt.Printf("FAIL: no test of this package has seen these routes answer well:\n\t%s\n", strings.Join(missing, "\n\t"))
		return 1
	}
	return code
}

// SignIn reports whether an address belongs to package signin, for CheckSuite.
func SignIn(address string) bool {
	return !startsLike(address, "/api/v1/auth/tenants/") && startsLike(address, "/signin", "/signup", "/signout", "/account", "/api/v1/auth/", "/api/v1/accesstoken/", "/api/v1/session", "/api/v1/users/{userid}/sessions", "/saml/{connection}/acs", "/saml/{connection}/slo", "/saml/{connection}/leave")
}

// Provider reports whether an address belongs to package oidc, for CheckSuite.
func Provider(address string) bool {
	return startsLike(address, "/oauth2/", "/.well-known/o", "/device", "/api/sso/", "/api/v1/sso/", "/auth/realms/{tenant}/protocol/", "/realms/{tenant}/protocol/",
		"/auth/realms/{tenant}/.well-known/", "/realms/{tenant}/.well-known/")
}

// SCIM reports whether an address belongs to package scim, for CheckSuite.
func SCIM(address string) bool { return startsLike(address, "/scim/") }

// Portal reports whether an address belongs to package portal, for CheckSuite.
func Portal(address string) bool {
	return startsLike(address, "/portal/", "/sso-test/", "/api/v1/tenants/{tenantid}/portal")
}

func startsLike(address string, starts ...string) bool {
	return slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(address, start) })
}

func isWhole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.bench"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// alwaysFails reports whether the description knows of no good answer.
func (c *contract) alwaysFails(pattern string) bool {
	op, _ := c.find(pattern)
	for status := range op.Responses {
		if status < "400" {
			return false
		}
	}
	return true
}

// Escape writes a value for a segment of an address.
func Escape(segment string) string { return url.PathEscape(segment) }
