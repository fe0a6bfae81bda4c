package oidc

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/web"
)

// Limits of a form. The longest part is a token or an assertion.
const (
	maxForm       = 64 << 10 // bytes
	maxParameters = 64
)

// repeatable are the parameters that may come several times: RFC 8707, section 2,
// and RFC 8693, section 2.1.
var repeatable = []string{"resource", "audience"}

// A form is the parameters of a request in their order. There are few of them, so
// looking through a list is quicker than making a map.
type form []parameter

type parameter struct{ name, value string }

// readForm reads a body in application/x-www-form-urlencoded, and nothing but that:
// parameters in the address would stand in logs (RFC 6749, section 3.2).
func readForm(r *http.Request) (form, error) {
	media := r.Header.Get("Content-Type")
	if media != formMedia { // the usual case needs no parser
		if parsed, _, err := mime.ParseMediaType(media); err != nil || parsed != formMedia {
			return nil, errRequest.Saying("The request body must be %s.", formMedia)
		}
	}
	body, err := web.ReadBody(r)
	if err != nil {
		return nil, err
	}
	if len(body) > maxForm {
		return nil, web.ErrTooLarge.Saying("The form is larger than 64 KiB.")
	}
	return parseForm(string(body))
}

const formMedia = "application/x-www-form-urlencoded"

// parseForm reads an encoded form or query. A parameter that comes twice is refused,
// because two readers would take different ones; one without a value counts as
// absent (RFC 6749, section 3.1).
func parseForm(text string) (form, error) {
	if strings.Count(text, "&") >= maxParameters {
		return nil, errRequest.Saying("The request has more than %d parameters.", maxParameters)
	}
	out := make(form, 0, 8)
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := unescape(name)
		if err != nil {
			return nil, err
		}
		if value, err = unescape(value); err != nil {
			return nil, err
		}
		if out.has(name) && !slices.Contains(repeatable, name) {
			return nil, errRequest.Saying("A parameter comes twice.").Because("parameter %q", name)
		}
		out = append(out, parameter{name, value})
	}
	return out, nil
}

// unescape decodes a name or a value. What is not text is refused: no database takes
// it, and it can be the name of nothing.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 && isASCII(s) {
		return s, nil
	}
	text, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return "", errRequest.Saying("The form is not well encoded.")
	}
	return text, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] == 0 || s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (f form) has(name string) bool {
	return slices.ContainsFunc(f, func(p parameter) bool { return p.name == name })
}

// get returns the value of a parameter, empty if it is absent.
func (f form) get(name string) string {
	for _, p := range f {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// all returns the values of a parameter that may come several times.
func (f form) all(name string) (values []string) {
	for _, p := range f {
		if p.name == name && p.value != "" && !slices.Contains(values, p.value) {
			values = append(values, p.value)
		}
	}
	return values
}

// need is get for a parameter that must be there.
func (f form) need(name string) (string, error) {
	v := f.get(name)
	if v == "" {
		return "", errRequest.Saying("The parameter %s is missing.", name).In(name)
	}
	return v, nil
}

// subset returns the words of wanted, separated by spaces, if granted has each of
// them, else errScope. Wanting none means all of granted.
func subset(wanted, granted string) (string, error) {
	if wanted == "" {
		return granted, nil
	}
	has := strings.Fields(granted)
	var out []string
	for _, word := range strings.Fields(wanted) {
		if !slices.Contains(has, word) {
			return "", errScope
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, " "), nil
}

// isBasic reports whether a client proves itself in the Authorization header.
func isBasic(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}
