package openapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/openapi"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

type small struct {
	Name string `json:"name"`
}

// stamp is sent as something else than its Go form.
type stamp time.Time

func (stamp) MarshalJSON() ([]byte, error) { return []byte("null"), nil }
func (stamp) Schema() any                  { return time.Time{} }

type either struct{}

func (either) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }
func (either) Schema() any                  { return web.OneOf{small{}, ""} }

type opaque struct{}

func (opaque) MarshalJSON() ([]byte, error) { return []byte("7"), nil }

type embedded struct {
	Inherited int `json:"inherited"`
}

type page[T any] struct {
	Items []T `json:"items"`
}

type tree struct {
	Children []tree `json:"children"`
}

type answer struct {
	embedded
	Text      string            `json:"text" doc:"What it says"`
	Maybe     *string           `json:"maybe"`
	Left      *string           `json:"left,omitempty"`
	When      stamp             `json:"when" schema:"nullable"`
	At        time.Time         `json:"at"`
	Raw       json.RawMessage   `json:"raw"`
	List      []small           `json:"list" schema:"nullable"`
	One       small             `json:"one" doc:"A reference, and more"`
	Perhaps   *small            `json:"perhaps"`
	Map       map[string][]bool `json:"map"`
	Number    float64           `json:"number"`
	Bytes     []byte            `json:"bytes"`
	Either    either            `json:"either"`
	Opaque    opaque            `json:"opaque"`
	Page      page[small]       `json:"page"`
	Tree      tree              `json:"tree"`
	Unnamed   struct{ X int }   `json:"unnamed"`
	Unspoken  string            `json:"-"`
	Interface any               `json:"interface"`
}

type question struct {
	ID     string   `path:"id" doc:"Which"`
	Filter string   `query:"filter" doc:"What"`
	Name   string   `json:"name" schema:"required"`
	Tags   []string `json:"tags"`
}

var errTaken = problem.New(problem.Conflict, "openapi_test_taken", "It is taken.")

func describe(routes ...web.Route) map[string]any {
	surfaces := []openapi.Surface{{
		Dialect: web.API, Error: web.APIError{}, Params: []web.Param{{Name: "client_id", Text: "Who"}, {Name: "filter", Text: "Said already"}},
		Always: []*problem.Problem{web.ErrInternal}, Keyed: []*problem.Problem{web.ErrNobody},
	}}
	var d map[string]any
	if err := json.Unmarshal(openapi.Describe(openapi.Info{Title: "T", Version: "1"}, []openapi.Tag{{Name: "Known"}}, surfaces, routes).JSON(), &d); err != nil {
		panic(err)
	}
	return d
}

func ask(context.Context, access.Actor, question) (answer, error) { return answer{}, nil }

// at walks into a decoded document.
func at(t *testing.T, v any, steps ...string) any {
	t.Helper()
	for _, step := range steps {
		object, ok := v.(map[string]any)
		if !ok || object[step] == nil {
			t.Fatalf("there is no %q of %q in %v", step, strings.Join(steps, " / "), v)
		}
		v = object[step]
	}
	return v
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func route() web.Route {
	return web.Route{Method: "POST", Paths: []string{"/things/{id}", "/old/{id}/{$}"}, Needs: access.UsersWrite, Endpoint: web.JSON(http.StatusCreated, ask),
		Doc: web.Doc{Tag: "New", Summary: "Ask", Headers: []web.Param{{Name: "X-Next", Text: "More"}}, Errors: []*problem.Problem{errTaken}, Request: small{"a<b"}, Example: small{"x"}}}
}

func TestSchemasFollowWhatIsSent(t *testing.T) {
	t.Parallel()
	d := describe(route())
	fields := at(t, d, "components", "schemas", "OpenapiTestAnswer", "properties")
	want := parse(t, `{
		"inherited": {"type": "integer"}, "text": {"type": "string", "description": "What it says"}, "maybe": {"type": ["string", "null"]}, "left": {"type": "string"},
		"when": {"type": ["string", "null"], "format": "date-time"}, "at": {"type": "string", "format": "date-time"}, "raw": {},
		"list": {"type": ["array", "null"], "items": {"$ref": "#/components/schemas/OpenapiTestSmall"}},
		"one": {"$ref": "#/components/schemas/OpenapiTestSmall", "description": "A reference, and more"},
		"perhaps": {"anyOf": [{"$ref": "#/components/schemas/OpenapiTestSmall"}, {"type": "null"}]},
		"map": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}}, "number": {"type": "number"}, "bytes": {"type": "string", "format": "byte"},
		"either": {"anyOf": [{"$ref": "#/components/schemas/OpenapiTestSmall"}, {"type": "string"}]}, "opaque": {}, "page": {"$ref": "#/components/schemas/OpenapiTestPageSmall"},
		"tree": {"$ref": "#/components/schemas/OpenapiTestTree"}, "unnamed": {"type": "object", "properties": {"X": {"type": "integer"}}, "required": ["X"]}, "interface": {}
	}`)
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("the fields differ (-want +got):\n%s", diff)
	}
	required := at(t, d, "components", "schemas", "OpenapiTestAnswer", "required").([]any)
	if len(required) != 18 || required[0] != "inherited" {
		t.Errorf("required are %v, want all but the one that may be left out", required)
	}
}

func TestOperationsSayWhatTheyTakeAndAnswer(t *testing.T) {
	t.Parallel()
	d := describe(route())
	op := at(t, d, "paths", "/things/{id}", "post")
	for place, want := range map[string]string{
		"operationId": `"postThingsId"`, "tags": `["New"]`, "security": `[{"bearer": ["users:write"]}]`,
		"parameters": `[{"name": "id", "in": "path", "description": "Which", "required": true, "schema": {"type": "string"}},
			{"name": "filter", "in": "query", "description": "What", "schema": {"type": "string"}}, {"name": "client_id", "in": "query", "description": "Who", "schema": {"type": "string"}}]`,
		"requestBody": `{"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenapiTestQuestion"}, "example": {"name": "a<b"}}}}`,
	} {
		if diff := cmp.Diff(parse(t, want), at(t, op, place)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", place, diff)
		}
	}
	if diff := cmp.Diff(parse(t, `{"type": "object", "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name"]}`),
		at(t, d, "components", "schemas", "OpenapiTestQuestion")); diff != "" {
		t.Errorf("the body differs (-want +got):\n%s", diff)
	}
	at(t, op, "responses", "201", "headers", "X-Next")
	if diff := cmp.Diff(parse(t, `[{"name": "Known"}, {"name": "New"}]`), d["tags"]); diff != "" {
		t.Errorf("the groups differ (-want +got):\n%s", diff)
	}
}

func TestErrorsAreWhatTheDialectMakesOfThem(t *testing.T) {
	t.Parallel()
	d := describe(route())
	responses := at(t, d, "paths", "/things/{id}", "post", "responses")
	for status, codes := range map[string][]string{
		"400": {"invalid_request_body", "invalid_query_parameters"}, "401": {"access_token_required"}, "403": {"access_denied"}, "404": {"resource_not_found"},
		"409": {"openapi_test_taken"}, "413": {"request_too_large"}, "500": {"internal_error"},
	} {
		name := strings.TrimPrefix(at(t, responses, status, "$ref").(string), "#/components/responses/")
		for _, code := range codes {
			example := at(t, d, "components", "responses", name, "content", "application/json", "examples", code, "value")
			if at(t, example, "error") != code || at(t, example, "request_id") == "" {
				t.Errorf("%s: the example of %s is %v", status, code, example)
			}
		}
	}
	if n := len(responses.(map[string]any)); n != 8 {
		t.Errorf("there are %d statuses, want 201 and 7 errors", n)
	}
}

func TestAliasesAreOperationsOfTheirOwn(t *testing.T) {
	t.Parallel()
	op := at(t, describe(route()), "paths", "/old/{id}/", "post")
	if at(t, op, "x-alias-of") != "/things/{id}" || at(t, op, "operationId") != "postOldIdSlash" {
		t.Errorf("got %v", op)
	}
}

func TestPublicAndRefusingRoutes(t *testing.T) {
	t.Parallel()
	open := web.Route{Method: "GET", Paths: []string{"/open"}, Public: true, Endpoint: web.Endpoint{Handler: http.NotFoundHandler(), Status: 200, Media: "text/html; charset=utf-8"}, Doc: web.Doc{Summary: "Open"}}
	never := web.Route{Method: "GET", Paths: []string{"/never/{rest...}"}, Endpoint: web.Refuse(errTaken), Doc: web.Doc{Summary: "Never", Errors: []*problem.Problem{errTaken}}}
	d := describe(open, never)
	if diff := cmp.Diff([]any{}, at(t, d, "paths", "/open", "get", "security")); diff != "" {
		t.Error(diff)
	}
	at(t, d, "paths", "/open", "get", "responses", "200", "content", "text/html")
	responses := at(t, d, "paths", "/never/{rest}", "get", "responses").(map[string]any)
	for status := range responses {
		if status < "400" {
			t.Errorf("a call that always refuses is said to answer %s", status)
		}
	}
}

func TestFilesTravelInTheirOwnTypes(t *testing.T) {
	t.Parallel()
	upload := web.Route{Method: "POST", Paths: []string{"/files"}, Endpoint: web.Endpoint{Handler: http.NotFoundHandler(), Status: 200, Takes: "text/csv, application/json", Media: "text/csv; charset=utf-8"}, Doc: web.Doc{Summary: "Up", Request: small{"a<b"}}}
	d := describe(upload)
	content := at(t, d, "paths", "/files", "post", "requestBody", "content")
	at(t, content, "text/csv")
	if example := at(t, content, "application/json", "example", "name"); example != "a<b" {
		t.Errorf("the example is %v", example)
	}
	at(t, d, "paths", "/files", "post", "responses", "200", "content", "text/csv")
	page, err := openapi.Describe(openapi.Info{}, nil, []openapi.Surface{{Dialect: web.API, Error: web.APIError{}}}, []web.Route{upload}).Reference(nil, "")
	if err != nil || !strings.Contains(string(page), "--data-binary @FILE") {
		t.Errorf("%v: the page does not show how to send a file", err)
	}
}

// The list of calls has those that somebody would look for.
func TestTheListLeavesOutWhatAlwaysRefuses(t *testing.T) {
	t.Parallel()
	routes := []web.Route{
		{Method: "GET", Paths: []string{"/open"}, Public: true, Endpoint: web.Endpoint{Handler: http.NotFoundHandler(), Status: 200, Media: "text/html"}, Doc: web.Doc{Summary: "Open"}},
		{Method: "GET", Paths: []string{"/never"}, Endpoint: web.Refuse(errTaken), Doc: web.Doc{Summary: "Never", Errors: []*problem.Problem{errTaken}}},
		{Method: "GET", Paths: []string{"/style"}, Public: true, Endpoint: web.Endpoint{Handler: http.NotFoundHandler(), Status: 200, Media: "text/css"}, Doc: web.Doc{Summary: "Style"}},
	}
	page, err := openapi.Describe(openapi.Info{}, nil, []openapi.Surface{{Dialect: web.API, Error: web.APIError{}}}, routes).Reference(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for id, listed := range map[string]bool{"getOpen": true, "getNever": false, "getStyle": false} {
		if strings.Contains(string(page), `href="/docs#`+id+`"`) != listed || !strings.Contains(string(page), `id="`+id+`"`) {
			t.Errorf("%s: want it on the page, and in the list: %v", id, listed)
		}
	}
}

// Pages show what the description says, as text.
func TestPagesEscape(t *testing.T) {
	t.Parallel()
	evil := route()
	evil.Doc.Summary, evil.Doc.Text = `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`
	d := openapi.Describe(openapi.Info{Title: "T"}, nil, []openapi.Surface{{Dialect: web.API, Error: web.APIError{}}}, []web.Route{evil})
	page, err := d.Reference([]string{"/ui/x.css"}, "https://id.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img"} {
		if strings.Contains(string(page), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, want := range []string{`href="/ui/x.css"`, "curl -X POST", "URL=https://id.test\n", `{&#34;name&#34;:&#34;a&lt;b&#34;}`, "users:write", "openapi_test_taken", "/old/{id}/"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
