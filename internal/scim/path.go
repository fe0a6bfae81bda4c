package scim

import (
	"strings"
	"unicode/utf8"
)

// A path is where an operation of PATCH works (RFC 7644, section 3.5.2): an attribute,
// a part of one, or those of its values that a filter picks.
type path struct {
	place
	filter *expr // nil for all values
}

// parsePath reads a path within a resource of a kind, or fails with errPath.
func parsePath(k *kind, text string) (path, error) {
	if len(text) > maxFilter || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return path{}, errPath
	}
	text = strings.TrimSpace(text)
	p := &filterParser{kind: k, text: text}
	for p.pos < len(text) && isNameByte(text[p.pos]) {
		p.pos++
	}
	at, ok := k.lookUp(text[:p.pos])
	if !ok {
		return path{}, errPath.Saying("The path names no attribute of this resource.")
	}
	out := path{place: at}
	if p.pos == len(text) {
		return out, nil
	}
	if at.sub != nil || at.attr.Type != complexes || !at.attr.Multi {
		return path{}, errPath.Saying("A filter in brackets belongs to an attribute with several values.")
	}
	var err error
	if out.filter, err = p.brackets(at.attr); err != nil {
		return path{}, errPath.Saying("The path can not be read: its filter is not one this server understands.").Because("%w", err)
	}
	if rest := text[p.pos:]; rest != "" {
		name, dotted := strings.CutPrefix(rest, ".")
		if out.sub = at.attr.sub(name); !dotted || out.sub == nil {
			return path{}, errPath.Saying("What follows the brackets is no part of the attribute.")
		}
	}
	return out, nil
}

// wanted returns the element that the filter asks for, if it does nothing but name
// values: what Entra ID means by emails[type eq "work"].value where there is none.
func (e *expr) wanted() (map[string]any, bool) {
	out := map[string]any{}
	var collect func(e *expr) bool
	collect = func(e *expr) bool {
		switch {
		case e.op == "and":
			for _, kid := range e.kids {
				if !collect(kid) {
					return false
				}
			}
			return true
		case e.op == "eq" && e.value != nil:
			out[e.at.sub.Name] = e.value
			return true
		}
		return false
	}
	return out, collect(e)
}
