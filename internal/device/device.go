// Package device describes where a request came from in words that a person
// recognises: the program and the machine that its User-Agent header names, and
// the country and city of its address.
//
//	Describe   a header into "Safari", "iOS 17", "iPhone"
//	Open       an operator's MaxMind file
//	Locate     an address into "Germany", "Berlin"
//
// All of it is what a stranger says or a table guesses. It is shown in log-in
// lists and in mails about a new sign-in, and nothing is ever decided by it. An
// attacker would send a header that crashes the parser, fills the log, or writes
// control characters into somebody's terminal or mail: what is read is bounded and
// what is returned is short and printable.
package device

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mileusna/useragent"
)

// What is read of a header and kept of a name, in bytes.
const (
	maxHeader = 512
	maxName   = 64
)

// A Client is what a User-Agent header says of its sender. Every field may be
// empty, has at most 64 bytes and only printable characters.
type Client struct {
	Name string // program: "Safari", "Firefox", "curl"
	OS   string // "iOS 17", "Android 14", "Windows"
	Kind string // "iPhone", "iPad", a model of Android, else "bot", "tablet", "mobile" or "desktop"
}

// shortName is what the name of a program looks like that nobody knows: one word or
// two, and no message to anybody.
var shortName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]{1,20}( [A-Za-z0-9._-]{1,12})?$`) })

// Describe reads a User-Agent header. It takes whatever a stranger sends.
func Describe(userAgent string) Client {
	ua := useragent.Parse(printable(userAgent, maxHeader))
	if ua.OS == "" && !shortName().MatchString(ua.Name) { // not in the tables: the text is the sender's own, and ends up in mails
		ua.Name = ""
	}
	return Client{
		Name: printable(ua.Name, maxName),
		OS:   printable(system(ua), maxName),
		Kind: printable(kind(ua), maxName),
	}
}

// system names the operating system, with its main version where browsers tell the
// truth about it: macOS says 10.15 and Windows 10.0 whatever they are.
func system(ua useragent.UserAgent) string {
	major, _, _ := strings.Cut(strings.TrimSpace(ua.OSVersion), ".")
	if (ua.OS == useragent.IOS || ua.OS == useragent.Android) && isNumber(major) {
		return ua.OS + " " + major
	}
	return ua.OS
}

func isNumber(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

func kind(ua useragent.UserAgent) string {
	switch {
	case ua.Bot:
		return "bot"
	case ua.Device != "":
		return ua.Device
	case ua.Tablet:
		return "tablet"
	case ua.Mobile:
		return "mobile"
	case ua.Desktop:
		return "desktop"
	}
	return ""
}

// printable returns at most n bytes of s, whole characters, without those that do
// not print: control characters, those that turn the direction of writing, broken
// UTF-8.
func printable(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > n {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
