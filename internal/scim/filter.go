package scim

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a filter.
const (
	maxFilter      = 8 << 10 // bytes
	maxNesting     = 16      // parentheses and brackets
	maxComparisons = 100
)

// An expr is a filter, taken apart (RFC 7644, section 3.4.2.2).
type expr struct {
	// op is and, or, not (of kids), "[" (some value of at matches the one kid), pr, or one
	// of the comparisons eq ne co sw ew gt ge lt le.
	op    string
	kids  []*expr
	at    place
	value any // string, bool, float64, time.Time or nil
}

// A filterParser reads a filter from left to right and looks at nothing twice.
type filterParser struct {
	kind    *kind
	text    string
	pos     int
	depth   int
	compare int
	inside  *attribute // whose values are judged, between brackets
}

// parseFilter reads a filter on resources of a kind, or fails with errFilter.
func parseFilter(k *kind, text string) (*expr, error) {
	if len(text) > maxFilter {
		return nil, errFilter.Saying("A filter has at most %d bytes.", maxFilter)
	}
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return nil, errFilter
	}
	p := &filterParser{kind: k, text: text}
	e, err := p.or()
	if err == nil && p.skip() < len(p.text) {
		err = p.wrong("something follows its end")
	}
	return e, err
}

func (p *filterParser) wrong(what string) error {
	return errFilter.Saying("The filter can not be read at character %d: %s.", utf8.RuneCountInString(p.text[:min(p.pos, len(p.text))])+1, what)
}

// skip passes over spaces.
func (p *filterParser) skip() int {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
		p.pos++
	}
	return p.pos
}

// word takes the next word of letters if it is this one, whatever its letter case.
func (p *filterParser) word(want string) bool {
	start := p.skip()
	end := start + len(want)
	if end > len(p.text) || !strings.EqualFold(p.text[start:end], want) || end < len(p.text) && isNameByte(p.text[end]) {
		return false
	}
	p.pos = end
	return true
}

// char takes the next character if it is this one.
func (p *filterParser) char(want byte) bool {
	if p.skip() < len(p.text) && p.text[p.pos] == want {
		p.pos++
		return true
	}
	return false
}

func (p *filterParser) enter() error {
	if p.depth++; p.depth > maxNesting {
		return errFilter.Saying("A filter is nested at most %d deep.", maxNesting)
	}
	return nil
}

// or reads comparisons joined by "or", which binds less than "and".
func (p *filterParser) or() (*expr, error) { return p.joined("or", p.and) }

func (p *filterParser) and() (*expr, error) { return p.joined("and", p.term) }

func (p *filterParser) joined(word string, next func() (*expr, error)) (*expr, error) {
	first, err := next()
	if err != nil {
		return nil, err
	}
	all := []*expr{first}
	for p.word(word) {
		e, err := next()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 1 {
		return first, nil
	}
	return &expr{op: word, kids: all}, nil
}

// term reads what is in parentheses, or one comparison.
func (p *filterParser) term() (*expr, error) {
	begin := p.skip()
	negated := p.word("not")
	if p.char('(') {
		if err := p.enter(); err != nil {
			return nil, err
		}
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.char(')') {
			return nil, p.wrong("a parenthesis is missing")
		}
		p.depth--
		if negated {
			e = &expr{op: "not", kids: []*expr{e}}
		}
		return e, nil
	}
	if negated {
		p.pos = begin
		return nil, p.wrong("not stands before a parenthesis")
	}
	return p.comparison()
}

// comparison reads "attribute op value", "attribute pr", "attribute[filter]" or, as
// Entra ID writes it, "attribute[filter].sub op value".
func (p *filterParser) comparison() (*expr, error) {
	if p.compare++; p.compare > maxComparisons {
		return nil, errFilter.Saying("A filter has at most %d comparisons.", maxComparisons)
	}
	at, err := p.attribute()
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.text) && p.text[p.pos] == '[' {
		return p.valuePath(at)
	}
	return p.operator(at)
}

func (p *filterParser) attribute() (place, error) {
	start := p.skip()
	for p.pos < len(p.text) && isNameByte(p.text[p.pos]) {
		p.pos++
	}
	name := p.text[start:p.pos]
	if name == "" {
		return place{}, p.wrong("the name of an attribute belongs here")
	}
	at, ok := place{}, false
	if p.inside != nil {
		at.attr = p.inside
		at.sub = p.inside.sub(name)
		ok = at.sub != nil
	} else {
		at, ok = p.kind.lookUp(name)
	}
	if !ok || at.isHidden() {
		p.pos = start
		return place{}, p.wrong("there is no such attribute to compare")
	}
	return at, nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '$' || c == ':' || c == '.'
}

func (p *filterParser) valuePath(at place) (*expr, error) {
	if p.inside != nil || at.sub != nil || at.attr.Type != complexes || !at.attr.Multi {
		return nil, p.wrong("a filter in brackets belongs to an attribute with several values")
	}
	inner, err := p.brackets(at.attr)
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.text) && p.text[p.pos] == '.' {
		p.pos++
		p.inside = at.attr
		sub, err := p.attribute()
		p.inside = nil
		if err != nil {
			return nil, err
		}
		compared, err := p.operator(sub)
		if err != nil {
			return nil, err
		}
		inner = &expr{op: "and", kids: []*expr{inner, compared}}
	}
	return &expr{op: "[", at: at, kids: []*expr{inner}}, nil
}

// brackets reads "[filter]" on the values of an attribute.
func (p *filterParser) brackets(of *attribute) (*expr, error) {
	if !p.char('[') {
		return nil, p.wrong("a bracket is missing")
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	p.inside = of
	e, err := p.or()
	p.inside = nil
	if err != nil {
		return nil, err
	}
	if !p.char(']') {
		return nil, p.wrong("a bracket is missing")
	}
	p.depth--
	return e, nil
}

var comparisons = []string{"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"}

func (p *filterParser) operator(at place) (*expr, error) {
	if p.word("pr") {
		return &expr{op: "pr", at: at}, nil
	}
	if at.sub == nil && at.attr.Type == complexes { // emails eq "…" means emails.value
		if at.sub = at.attr.sub("value"); at.sub == nil {
			return nil, p.wrong("the attribute has parts: name one")
		}
	}
	for _, op := range comparisons {
		if !p.word(op) {
			continue
		}
		value, err := p.literal()
		if err != nil {
			return nil, err
		}
		if value, err = p.fit(at.leaf(), op, value); err != nil {
			return nil, err
		}
		return &expr{op: op, at: at, value: value}, nil
	}
	return nil, p.wrong("an operator belongs here")
}

// literal reads a JSON string or number, or true, false or null.
func (p *filterParser) literal() (any, error) {
	start := p.skip()
	switch {
	case p.word("true"):
		return true, nil
	case p.word("false"):
		return false, nil
	case p.word("null"):
		return nil, nil
	case start < len(p.text) && p.text[start] == '"':
		return p.quoted()
	}
	for p.pos < len(p.text) && strings.IndexByte("+-.0123456789eE", p.text[p.pos]) >= 0 {
		p.pos++
	}
	n, err := strconv.ParseFloat(p.text[start:p.pos], 64)
	if err != nil {
		p.pos = start
		return nil, p.wrong("a value in quotation marks, a number, true, false or null belongs here")
	}
	return n, nil
}

func (p *filterParser) quoted() (string, error) {
	start := p.pos
	for p.pos++; p.pos < len(p.text) && p.text[p.pos] != '"'; p.pos++ {
		if p.text[p.pos] == '\\' {
			p.pos++
		}
	}
	p.pos++
	var s string
	if p.pos > len(p.text) || json.Unmarshal([]byte(p.text[start:p.pos]), &s) != nil || strings.IndexByte(s, 0) >= 0 {
		p.pos = start
		return "", p.wrong("the text in quotation marks does not end, or has an escape that JSON does not know")
	}
	return s, nil
}

// fit brings a value into the form it is compared in, or says that the operator or the
// value is not for this kind of attribute.
func (p *filterParser) fit(a *attribute, op string, value any) (any, error) {
	if value == nil {
		if op != "eq" && op != "ne" {
			return nil, p.wrong("null can only be equal")
		}
		return nil, nil
	}
	switch a.Type {
	case boolean:
		b, ok := truth(value)
		if !ok || op != "eq" && op != "ne" {
			return nil, p.wrong("the attribute is true or false")
		}
		return b, nil
	case moment:
		s, _ := value.(string)
		t, err := time.Parse(time.RFC3339, s)
		if err != nil || op == "co" || op == "sw" || op == "ew" {
			return nil, p.wrong("the attribute is a moment such as 2011-05-13T04:42:34Z")
		}
		return t, nil
	default:
		s, ok := value.(string)
		if !ok {
			return nil, p.wrong("the attribute is a text: put the value in quotation marks")
		}
		if !a.CaseExact {
			s = fold(s)
		}
		return s, nil
	}
}

// fold is the form in which texts are compared whose letter case does not count.
func fold(s string) string { return strings.ToLower(s) }

// truth reads a boolean, also one in a text as Entra ID sends it.
func truth(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		if strings.EqualFold(v, "true") {
			return true, true
		}
		return false, strings.EqualFold(v, "false")
	}
	return false, false
}

// matches reports whether a resource is what the filter asks for.
func (e *expr) matches(doc map[string]any) bool {
	switch e.op {
	case "and":
		for _, kid := range e.kids {
			if !kid.matches(doc) {
				return false
			}
		}
		return true
	case "or":
		for _, kid := range e.kids {
			if kid.matches(doc) {
				return true
			}
		}
		return false
	case "not":
		return !e.kids[0].matches(doc)
	case "[":
		for _, element := range elements(doc, e.at) {
			if e.kids[0].matchesElement(element) {
				return true
			}
		}
		return false
	}
	return e.judge(valuesAt(doc, e.at))
}

// matchesElement is matches for one value of an attribute with several, between
// brackets.
func (e *expr) matchesElement(element map[string]any) bool {
	switch e.op {
	case "and":
		for _, kid := range e.kids {
			if !kid.matchesElement(element) {
				return false
			}
		}
		return true
	case "or":
		for _, kid := range e.kids {
			if kid.matchesElement(element) {
				return true
			}
		}
		return false
	case "not":
		return !e.kids[0].matchesElement(element)
	}
	if v, ok := element[e.at.sub.Name]; ok {
		return e.judge([]any{v})
	}
	return e.judge(nil)
}

// judge compares: of several values one has to match, and ne asks that none is equal.
func (e *expr) judge(values []any) bool {
	if e.op == "pr" {
		return len(values) > 0
	}
	if e.value == nil {
		return (len(values) == 0) == (e.op == "eq")
	}
	for _, v := range values {
		if e.compare(v) {
			return e.op != "ne"
		}
	}
	return e.op == "ne"
}

// compare is the comparison with one value; for ne it is the one of eq.
func (e *expr) compare(v any) bool {
	switch want := e.value.(type) {
	case bool:
		return v == want
	case time.Time:
		s, _ := v.(string)
		t, err := time.Parse(time.RFC3339, s)
		return err == nil && ordered(e.op, t.Compare(want))
	case string:
		s, ok := v.(string)
		if !ok {
			return false
		}
		if !e.at.leaf().CaseExact {
			s = fold(s)
		}
		switch e.op {
		case "co":
			return strings.Contains(s, want)
		case "sw":
			return strings.HasPrefix(s, want)
		case "ew":
			return strings.HasSuffix(s, want)
		}
		return ordered(e.op, strings.Compare(s, want))
	}
	return false
}

func ordered(op string, c int) bool {
	switch op {
	case "gt":
		return c > 0
	case "ge":
		return c >= 0
	case "lt":
		return c < 0
	case "le":
		return c <= 0
	}
	return c == 0
}

// elements are the values of a complex attribute with several.
func elements(doc map[string]any, at place) (out []map[string]any) {
	list, _ := parent(doc, at)[at.attr.Name].([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// parent is where the attribute stands: the resource or an extension of it.
func parent(doc map[string]any, at place) map[string]any {
	if at.ext == nil {
		return doc
	}
	m, _ := doc[at.ext.Name].(map[string]any)
	return m
}

// valuesAt are all values at a place.
func valuesAt(doc map[string]any, at place) []any {
	v, ok := parent(doc, at)[at.attr.Name]
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	if at.sub == nil {
		return list
	}
	var out []any
	for _, each := range list {
		if m, ok := each.(map[string]any); ok {
			if v, ok := m[at.sub.Name]; ok {
				out = append(out, v)
			}
		}
	}
	return out
}
