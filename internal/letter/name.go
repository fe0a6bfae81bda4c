package letter

import (
	"regexp"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var (
	// Ways of writing an address that lead somewhere, or that a mail program makes a
	// link of. A dot may be an ideographic one, which browsers take too.
	address = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)://|^\W*www\.|@|[.。]\pL[^\s]*/`) })
	domain  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[\pL\pN-][.。]\pL{2,}`) })
)

// brandName makes the name of a tenant fit for a mail: at most so many characters on
// one line, without addresses. "Example.com" may be what a company is called.
func brandName(s string, most int) string {
	return plain(s, most, func(word string) bool { return address().MatchString(word) })
}

// foreignName is brandName for a name that anybody may have chosen, such as that of
// an application which registered itself. It loses bare domains too.
func foreignName(s string, most int) string {
	return plain(s, most, func(word string) bool { return address().MatchString(word) || domain().MatchString(word) })
}

func plain(s string, most int, drop func(word string) bool) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // also what turns the direction of writing, and what nobody sees
			return ' '
		}
		return r
	}, norm.NFKC.String(strings.ToValidUTF8(s, "")))
	var kept []string
	for _, word := range strings.Fields(s) {
		if !drop(word) {
			kept = append(kept, word)
		}
	}
	s = strings.Join(kept, " ")
	for i := range s {
		if most--; most < 0 {
			return strings.TrimSpace(s[:i])
		}
	}
	return s
}
