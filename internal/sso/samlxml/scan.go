package samlxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
	"github.com/mattermost/xml-roundtrip-validator"
)

// Bounds of a document. A response of an honest provider has some 60 elements
// and 10 kB, with a thousand groups 1,100 elements and 120 kB.
const (
	maxBytes      = 1 << 20
	maxDepth      = 40
	maxElements   = 10_000
	maxAttributes = 20_000 // of all elements
	maxOfElement  = 40     // attributes of one element
	maxPrefixes   = 60     // different ones that are declared; canonicalization copies them for each element
)

// comments says whether a document may have comments. Metadata are often
// commented by people; nobody writes comments into messages, and they are what
// splits a name in two.
type comments bool

// read parses a document after it was scanned. The root has no parent.
func (t *trace) read(name string, raw []byte, allowed comments) (*etree.Element, error) {
	if err := t.hold(len(raw) <= maxBytes, CauseTooLarge, name+".size", "at most 1 MiB", size(len(raw))); err != nil {
		return nil, err
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if cause, what := scan(raw, allowed); cause != "" {
		return nil, t.refuse(cause, name+".xml", "plain, well-formed XML", what)
	}
	document := etree.NewDocument()
	document.ReadSettings = etree.ReadSettings{PreserveDuplicateAttrs: true, MaxDepth: maxDepth + 1}
	if err := document.ReadFromBytes(raw); err != nil {
		return nil, t.refuse(CauseMalformed, name+".xml", "plain, well-formed XML", err.Error())
	}
	root := document.Root()
	if root == nil || len(document.ChildElements()) != 1 {
		return nil, t.refuse(CauseMalformed, name+".xml", "one root element", "none, or several")
	}
	return root, t.hold(true, "", name+".xml", "plain, well-formed XML", size(len(raw)))
}

// scan looks at every token before a tree is made of them. It answers with the
// cause of a refusal and what was found, or with nothing.
func scan(raw []byte, allowed comments) (Cause, string) {
	if !utf8.Valid(raw) {
		return CauseMalformed, "not UTF-8"
	}
	s := scanner{prefixes: map[string]bool{}, allowed: allowed}
	decoder := xml.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := decoder.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return CauseMalformed, err.Error()
		}
		if cause, what := s.token(token); cause != "" {
			return cause, what
		}
		if err := validator.CheckToken(token); err != nil {
			return CauseMalformed, err.Error()
		}
	}
	if len(s.open) != 0 || s.elements == 0 {
		return CauseMalformed, "no element, or one that does not end"
	}
	return "", ""
}

type scanner struct {
	open                 []xml.Name
	elements, attributes int
	prefixes             map[string]bool
	allowed              comments
}

func (s *scanner) token(token xml.Token) (Cause, string) {
	switch token := token.(type) {
	case xml.Directive:
		return CauseDoctype, "<!" + firstWord(string(token))
	case xml.ProcInst:
		if token.Target != "xml" || s.elements > 0 {
			return CauseMalformed, "a processing instruction"
		}
	case xml.Comment:
		if !s.allowed {
			return CauseMalformed, "a comment"
		}
	case xml.CharData:
		if len(s.open) == 0 && len(bytes.TrimSpace(token)) > 0 {
			return CauseMalformed, "text outside of the document"
		}
	case xml.EndElement:
		last := len(s.open) - 1
		if last < 0 || s.open[last] != token.Name {
			return CauseMalformed, "an end of what did not start"
		}
		s.open = s.open[:last]
	case xml.StartElement:
		return s.start(token)
	}
	return "", ""
}

func (s *scanner) start(e xml.StartElement) (Cause, string) {
	s.open = append(s.open, e.Name)
	s.elements++
	s.attributes += len(e.Attr)
	switch {
	case len(s.open) > maxDepth:
		return CauseTooLarge, "more than 40 levels"
	case s.elements > maxElements:
		return CauseTooLarge, "more than 10,000 elements"
	case len(e.Attr) > maxOfElement || s.attributes > maxAttributes:
		return CauseTooLarge, "too many attributes"
	case !plain(e.Name):
		return CauseMalformed, "the name " + full(e.Name)
	}
	seen := map[xml.Name]bool{}
	for _, a := range e.Attr {
		if seen[a.Name] || !plain(a.Name) {
			return CauseMalformed, "the attribute " + full(a.Name)
		}
		seen[a.Name] = true
		if a.Name.Space == "xmlns" {
			s.prefixes[a.Name.Local] = true
		}
	}
	if len(s.prefixes) > maxPrefixes {
		return CauseTooLarge, "too many namespaces"
	}
	return "", ""
}

// plain says that a name has a prefix and a local part, or a local part only.
// An ID has no prefix: libraries differ in which of two they would take.
func plain(n xml.Name) bool {
	if n.Local == "" || strings.Contains(n.Local, ":") || strings.Contains(n.Space, ":") {
		return false
	}
	return n.Space == "" || !strings.EqualFold(n.Local, "ID")
}

func full(n xml.Name) string { return n.Space + ":" + n.Local }

func firstWord(s string) string {
	if words := strings.Fields(s); len(words) > 0 {
		return words[0]
	}
	return ""
}

func size(n int) string {
	if n < 1<<10 {
		return "less than 1 KiB"
	}
	return strconv.Itoa(n>>10) + " KiB"
}

// named says that an element has this name in this namespace.
func named(e *etree.Element, space, tag string) bool {
	return e.Tag == tag && namespace(e) == space
}

// namespace is the namespace of an element by the declarations around it; empty
// if its prefix is not declared.
func namespace(e *etree.Element) string {
	for at := e; at != nil; at = at.Parent() {
		for _, a := range at.Attr {
			if e.Space == "" && a.Space == "" && a.Key == "xmlns" || e.Space != "" && a.Space == "xmlns" && a.Key == e.Space {
				return a.Value
			}
		}
	}
	return ""
}

// children are the elements of this name directly below another.
func children(e *etree.Element, space, tag string) (found []*etree.Element) {
	for _, child := range e.ChildElements() {
		if named(child, space, tag) {
			found = append(found, child)
		}
	}
	return found
}

// child is the only element of this name directly below another; nil if there is
// none or more than one.
func child(e *etree.Element, space, tag string) *etree.Element {
	if found := children(e, space, tag); len(found) == 1 {
		return found[0]
	}
	return nil
}

// attr is an attribute without a prefix; empty if there is none.
func attr(e *etree.Element, name string) string {
	value, _ := hasAttr(e, name)
	return value
}

func hasAttr(e *etree.Element, name string) (string, bool) {
	for _, a := range e.Attr {
		if a.Space == "" && a.Key == name {
			return a.Value, true
		}
	}
	return "", false
}

// text is all the text of an element, and whether there is nothing else in it.
func text(e *etree.Element) (string, bool) {
	var whole strings.Builder
	for _, c := range e.Child {
		data, ok := c.(*etree.CharData)
		if !ok {
			return "", false
		}
		whole.WriteString(data.Data)
	}
	return whole.String(), true
}

// token is the text of an element that is a URI or a number, where space around
// it means nothing; empty if e is nil or has anything but text.
func token(e *etree.Element) string {
	if e == nil {
		return ""
	}
	whole, _ := text(e)
	return strings.TrimSpace(whole)
}

// walk visits an element and everything below it.
func walk(e *etree.Element, visit func(*etree.Element) error) error {
	if err := visit(e); err != nil {
		return err
	}
	for _, c := range e.ChildElements() {
		if err := walk(c, visit); err != nil {
			return err
		}
	}
	return nil
}
