package openapi

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/cardea-id/cardea/internal/web"
)

//go:embed pages/*.html
var pages embed.FS

var templates = sync.OnceValue(func() *template.Template { return template.Must(template.ParseFS(pages, "pages/*.html")) })

// A frame is what every page of the reference has around it.
type frame struct {
	Title  string
	Styles []string // addresses of style sheets
	Groups []group
}

type referencePage struct {
	frame
	Info      Info
	Version   string // of OpenAPI
	PublicURL string // of the server, for the examples
}

type errorsPage struct {
	frame
	Codes []web.Code
}

type group struct {
	Tag        Tag
	ID         string
	Operations []operationView
}

// Calls are the operations that a reader may want to find.
func (g group) Calls() []operationView {
	return slices.DeleteFunc(slices.Clone(g.Operations), func(v operationView) bool { return v.isAside() })
}

// An operationView is an operation as a reader wants to see it.
type operationView struct {
	*Operation
	Method, Path   string
	Aliases        []string
	Scope          string
	Public         bool
	Request        []row
	RequestExample string
	Curl           string
	Status         string
	Headers        []row
	Answer         []row
	AnswerExample  string
	Errors         []refusal
}

// A row is one field of a body.
type row struct{ Name, Type, Text string }

// A refusal is a problem as the surface's dialect writes it.
type refusal struct {
	Status, Code string
	Number       int    // 0 in dialects that have none
	Body         string // there
}

// Reference is the description as a page. The examples are calls of the server at
// publicURL.
func (d *Document) Reference(styles []string, publicURL string) ([]byte, error) {
	return render("reference.html", referencePage{frame{"API reference", styles, d.groups()}, d.Info, d.OpenAPI, publicURL})
}

// ErrorsPage is the table of error codes as a page beside it.
func (d *Document) ErrorsPage(styles []string, codes []web.Code) ([]byte, error) {
	return render("errors.html", errorsPage{frame{"Error codes", styles, d.groups()}, codes})
}

func render(name string, page any) ([]byte, error) {
	var b bytes.Buffer
	if err := templates().ExecuteTemplate(&b, name, page); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// ErrorsMarkdown is the table of error codes for docs/api/errors.md.
func ErrorsMarkdown(codes []web.Code) []byte {
	var b strings.Builder
	b.WriteString(`# Error codes

This table is generated from the code; do not edit it. Calls under ` + "`/api`" + ` answer errors as
` + "`{\"error\", \"error_description\", \"error_code\", \"errors\", \"request_id\"}`" + `: the columns error and error_code
below never change, the description may say more than here, and ` + "`errors`" + ` names fields at fault.

| error_code | error | HTTP | error_description |
| ---: | --- | ---: | --- |
`)
	for _, c := range codes {
		fmt.Fprintf(&b, "| %d | `%s` | %d | %s |\n", c.Number, c.Code, c.Status, strings.ReplaceAll(c.Message, "|", `\|`))
	}
	return []byte(b.String())
}

func (d *Document) groups() []group {
	var out []group
	for _, tag := range d.Tags {
		g := group{Tag: tag, ID: strings.ReplaceAll(strings.ToLower(tag.Name), " ", "-")}
		for _, op := range d.operations {
			if op.Tags[0] == tag.Name {
				g.Operations = append(g.Operations, d.view(op))
			}
		}
		if len(g.Operations) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func (d *Document) view(op *Operation) operationView {
	v := operationView{Operation: op, Method: op.method, Path: op.path, Aliases: shownAliases(op), Scope: string(op.scope), Public: op.public}
	if media := jsonBody(op); media != nil {
		v.Request, v.RequestExample = d.rows("", media.Schema, true, 0), pretty(media.Example)
	}
	v.Curl = curl(op)
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		for _, m := range r.Content {
			if len(m.Examples) == 0 {
				v.Status, v.Answer, v.AnswerExample = status+" "+r.Description, d.rows("", m.Schema, false, 0), pretty(m.Example)
			}
			for _, code := range slices.Sorted(maps.Keys(m.Examples)) {
				v.Errors = append(v.Errors, refusalOf(status+" "+r.Description, code, m.Examples[code].Value))
			}
		}
		if v.Status != "" && v.Headers == nil {
			for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
				if h := r.Headers[name]; h.Ref == "" {
					v.Headers = append(v.Headers, row{name, "", h.Description})
				}
			}
		}
	}
	return v
}

// isAside reports whether the operation always refuses, or gives out a file of the
// pages: it is described, but nobody looks for it.
func (v operationView) isAside() bool {
	for status, r := range v.Responses {
		if _, isStyle := r.Content["text/css"]; status < "400" && !isStyle {
			return false
		}
	}
	return true
}

// shownAliases leaves out addresses that differ in a slash at the end only.
func shownAliases(op *Operation) (out []string) {
	for _, alias := range op.aliases {
		bare := func(shown string) bool { return strings.TrimSuffix(shown, "/") == strings.TrimSuffix(alias, "/") }
		if !bare(op.path) && !slices.ContainsFunc(out, bare) {
			out = append(out, alias)
		}
	}
	return out
}

func refusalOf(status, code string, body json.RawMessage) refusal {
	var numbered struct {
		Number int `json:"error_code"`
	}
	if json.Unmarshal(body, &numbered) != nil || numbered.Number == 0 {
		return refusal{status, code, 0, strings.TrimSpace(string(body))}
	}
	return refusal{status, code, numbered.Number, ""}
}

func pretty(example json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, example, "", "  ") != nil {
		return "" // none
	}
	return b.String()
}

// curl is the call as a line for a shell. Values the reader must put in stand as
// variables or in braces.
func curl(op *Operation) string {
	var b strings.Builder
	b.WriteString("curl")
	if op.method != http.MethodGet {
		b.WriteString(" -X " + op.method)
	}
	b.WriteString(` "$URL` + op.path + `"`)
	if !op.public {
		b.WriteString(` \` + "\n" + `  -H "Authorization: Bearer $KEY"`)
	}
	switch media := jsonBody(op); {
	case op.RequestBody != nil && (media == nil || len(op.RequestBody.Content) > 1):
		b.WriteString(` \` + "\n" + `  --data-binary @FILE`)
	case media != nil && media.Example != nil:
		body := strings.ReplaceAll(string(media.Example), "'", `'\''`)
		b.WriteString(` \` + "\n" + `  -H "Content-Type: application/json" \` + "\n" + `  -d '` + body + `'`)
	}
	return b.String()
}

// jsonBody is the JSON body of a request, nil if it has none.
func jsonBody(op *Operation) *Media {
	if op.RequestBody == nil {
		return nil
	}
	return op.RequestBody.Content[jsonMedia]
}

// rows lists the fields of a schema, those of nested objects under dotted names,
// and says of each whether it is required if that is asked for.
func (d *Document) rows(prefix string, s *Schema, required bool, depth int) []row {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
	}
	if depth > 6 {
		return nil // a type that holds itself
	}
	switch {
	case s.Items != nil:
		return d.rows(prefix+"[]", s.Items, required, depth+1)
	case len(s.AnyOf) > 0:
		var out []row
		for i, form := range s.AnyOf {
			if form.Type == "null" {
				continue
			}
			if len(s.AnyOf) > 1 && prefix == "" && i > 0 {
				out = append(out, row{Text: "or:"})
			}
			out = append(out, d.rows(prefix, form, required, depth+1)...)
		}
		return out
	}
	var out []row
	for _, p := range s.Properties {
		name := strings.TrimPrefix(prefix+"."+p.name, ".")
		out = append(out, row{name, d.typeText(p.schema), fieldText(s, p, required)})
		out = append(out, d.rows(name, p.schema, required, depth+1)...)
	}
	return out
}

func fieldText(in *Schema, p property, required bool) string {
	if required && slices.Contains(in.Required, p.name) {
		return strings.TrimSuffix("Required. "+p.schema.Description, " ")
	}
	return p.schema.Description
}

// typeText is a schema's type in words.
func (d *Document) typeText(s *Schema) string {
	switch t := s.Type.(type) {
	case string:
		switch {
		case s.Format == "date-time":
			return "time"
		case s.Items != nil:
			return "array of " + d.typeText(s.Items)
		}
		return t
	case []string:
		plain := *s
		plain.Type = t[0]
		return d.typeText(&plain) + " or null"
	}
	switch {
	case s.Ref != "":
		return "object"
	case len(s.AnyOf) == 2 && s.AnyOf[1].Type == "null":
		return d.typeText(s.AnyOf[0]) + " or null"
	}
	return "any"
}
