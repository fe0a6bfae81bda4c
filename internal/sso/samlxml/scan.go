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

// Bounds of a document. A response of an honest provider has some 60 elements in
// 8 levels and 10 kB, with a thousand groups 1,100 elements and 120 kB.
const (
	maxBytes      = 1 << 20
	maxDepth      = 24
	maxElements   = 6_000
	maxAttributes = 15_000 // of all elements
	maxOfElement  = 40     // attributes of one element
	maxPrefixes   = 60     // different ones that are declared; canonicalization copies them for each element
)

// comments says whether a document may have comments. Metadata are often
// commented by people; nobody writes comments into messages, and they are what
// splits a name in two.
type comments bool

// read makes a tree of a document, token by token, and stops at the first that
// no honest message has. There is one parse: what was looked at is what is in the
// tree. The root has no parent.
func (t *trace) read(name string, raw []byte, allowed comments) (*etree.Element, error) {
	if err := t.hold(len(raw) <= maxBytes, CauseTooLarge, name+".size", "at most 1 MiB", size(len(raw))); err != nil {
		return nil, err
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	s := scanner{prefixes: map[string]bool{}, allowed: allowed}
	cause, what := s.document(raw)
	return s.root, t.hold(cause == "", cause, name+".xml", "plain, well-formed XML", or(what, size(len(raw))))
}

// A scanner builds the tree. at is the element that is open.
type scanner struct {
	root, at                    *etree.Element
	depth, elements, attributes int
	prefixes                    map[string]bool
	allowed                     comments
}

// document answers with the cause of a refusal and what was found, or with nothing.
func (s *scanner) document(raw []byte) (Cause, string) {
	if !utf8.Valid(raw) {
		return CauseMalformed, "not UTF-8"
	}
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
	}
	if s.at != nil || s.root == nil {
		return CauseMalformed, "no element, or one that does not end"
	}
	return "", ""
}

func (s *scanner) token(token xml.Token) (Cause, string) {
	switch token := token.(type) {
	case xml.StartElement:
		return s.start(token)
	case xml.EndElement:
		if s.at == nil || s.at.Space != token.Name.Space || s.at.Tag != token.Name.Local {
			return CauseMalformed, "an end of what did not start"
		}
		s.at = s.at.Parent()
		s.depth--
	case xml.CharData:
		if s.at != nil {
			s.at.AddChild(etree.NewText(string(token)))
		} else if len(bytes.TrimSpace(token)) > 0 {
			return CauseMalformed, "text outside of the document"
		}
	case xml.Comment:
		if !s.allowed {
			return CauseMalformed, "a comment"
		}
		if s.at != nil {
			s.at.AddChild(etree.NewComment(string(token)))
		}
	case xml.Directive:
		return CauseDoctype, "<!" + firstWord(string(token))
	case xml.ProcInst:
		if token.Target != "xml" || s.root != nil {
			return CauseMalformed, "a processing instruction"
		}
	}
	return "", ""
}

func (s *scanner) start(token xml.StartElement) (Cause, string) {
	s.depth++
	s.elements++
	s.attributes += len(token.Attr)
	switch {
	case s.depth > maxDepth:
		return CauseTooLarge, "more than 24 levels"
	case s.elements > maxElements:
		return CauseTooLarge, "more than 6,000 elements"
	case len(token.Attr) > maxOfElement || s.attributes > maxAttributes:
		return CauseTooLarge, "too many attributes"
	case !plain(token.Name):
		return CauseMalformed, "the name " + full(token.Name)
	case s.at == nil && s.root != nil:
		return CauseMalformed, "a second root"
	}
	e := &etree.Element{Space: token.Name.Space, Tag: token.Name.Local}
	prefixed := false
	for _, a := range token.Attr {
		if hasSame(e, etree.Attr{Space: a.Name.Space, Key: a.Name.Local}) || !plain(a.Name) {
			return CauseMalformed, "the attribute " + full(a.Name)
		}
		e.CreateAttr(full(a.Name), a.Value)
		switch a.Name.Space {
		case "":
		case "xmlns":
			s.prefixes[a.Name.Local] = true
		default:
			prefixed = true
		}
	}
	if len(s.prefixes) > maxPrefixes {
		return CauseTooLarge, "too many namespaces"
	}
	if prefixed {
		// Of names that are plain, only those of such attributes can come back from
		// encoding/xml as others.
		if err := validator.CheckToken(token); err != nil {
			return CauseMalformed, err.Error()
		}
	}
	if s.at == nil {
		s.root = e
	} else {
		s.at.AddChild(e)
	}
	s.at = e
	return "", ""
}

// plain says that a name has a prefix and a local part, or a local part only, of
// the characters that SAML has in names. An ID has no prefix: libraries differ in
// which of two they would take.
func plain(n xml.Name) bool {
	if n.Local == "" || strings.ContainsFunc(n.Local, unusual) || strings.ContainsFunc(n.Space, unusual) {
		return false
	}
	return n.Space == "" || !strings.EqualFold(n.Local, "ID")
}

func unusual(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
}

func full(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

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
