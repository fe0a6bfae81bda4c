package rp

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Claims are what a provider says of somebody. Numbers are kept as they are written.
type Claims map[string]any

// ParseClaims reads a JSON object.
func ParseClaims(text []byte) (Claims, error) { return parseClaims(Userinfo, text) }

func parseClaims(cause Cause, text []byte) (Claims, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out Claims
	if err := d.Decode(&out); err != nil || out == nil {
		return nil, &Fault{Cause: cause, Expected: "a JSON object", err: errors.Join(errors.New("claims are no JSON object"), err)}
	}
	return out, nil
}

// At is the value at a path, which leads through objects by dots.
func (c Claims) At(path string) any {
	var v any = map[string]any(c)
	for part := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part]
	}
	return v
}

// Text is a claim that is a text, else empty.
func (c Claims) Text(path string) string {
	s, _ := c.At(path).(string)
	return s
}

// IsTrue reports whether a claim is true: not "true", not 1.
func (c Claims) IsTrue(path string) bool {
	b, _ := c.At(path).(bool)
	return b
}

// Subject is who it is: a text, or a whole number where a provider counts its users.
func (c Claims) Subject(path string) string {
	switch v := c.At(path).(type) {
	case string:
		return v
	case json.Number:
		if strings.Trim(v.String(), "0123456789") == "" {
			return v.String()
		}
	}
	return ""
}

// Limits of what is kept of a person, in bytes.
const (
	maxSubject = 255
	maxName    = 256
)

// IsSubject reports whether s can be the name of somebody at a provider.
func IsSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// Label is a name as we keep it: names come from strangers.
func Label(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}
