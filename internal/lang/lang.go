// Package lang holds every sentence that people read, in each language the product
// speaks, and picks the language for a person.
//
//	Pick       the language for what an application, a browser and a tenant ask for
//	Text       a sentence by its key, with its placeholders filled in
//	Duration   "10 minutes"; also in Text, for a value that is a time.Duration
//
// A language is one JSON file of keys and texts. A text is a string, or an object
// with one string for each plural form the language has (CLDR names: zero, one,
// two, few, many, other), of which the placeholder {count} chooses. All files have
// the same keys with the same placeholders; a test holds that.
//
// Texts and values are plain text. An attacker who owns a name or an address would
// put markup or further placeholders into it: whoever shows a text escapes it, and
// a value is never searched for placeholders.
package lang

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// files are the texts as they are compiled in: four tenths of a megabyte less than the files that
// people edit. After a change: go test ./internal/lang -run Packed -update
//
//go:embed *.json.gz
var files embed.FS

// all are the languages there are. The first is the last resort.
var (
	all = []*Language{
		newLanguage("en", "ltr", "English"),
		newLanguage("de", "ltr", "Deutsch"),
		newLanguage("fr", "ltr", "Français"),
		newLanguage("es", "ltr", "Español"),
		newLanguage("pt", "ltr", "Português"),
		newLanguage("tr", "ltr", "Türkçe"),
		newLanguage("hi", "ltr", "हिन्दी"),
		newLanguage("ja", "ltr", "日本語"),
		newLanguage("ar", "rtl", "العربية"),
	}
	matcher = sync.OnceValue(func() language.Matcher { return language.NewMatcher(parsed(all)) })
)

// A Language is one of the languages the product speaks. It is never changed.
type Language struct {
	Tag  string // BCP 47, "pt"
	Dir  string // "ltr" or "rtl"
	Name string // what its speakers call it, "Português"

	tag   language.Tag
	texts func() map[string]text // read when the first is asked for
}

func newLanguage(tag, dir, name string) *Language {
	return &Language{Tag: tag, Dir: dir, Name: name, tag: language.MustParse(tag), texts: sync.OnceValue(func() map[string]text { return load(tag) })}
}

// A text is a sentence, in the plural forms of its language if it depends on a number.
type text struct {
	other string
	forms map[plural.Form]string // nil without a number
}

var forms = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many, "other": plural.Other,
}

// UnmarshalJSON reads a string, or an object of plural forms.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.other)
	}
	var byName map[string]string
	if err := json.Unmarshal(b, &byName); err != nil {
		return err
	}
	*t = text{other: byName["other"], forms: map[plural.Form]string{}}
	for name, s := range byName {
		form, ok := forms[name]
		if !ok {
			return fmt.Errorf("%q is no plural form", name)
		}
		t.forms[form] = s
	}
	return nil
}

func load(tag string) map[string]text {
	texts, err := read(tag + ".json.gz")
	if err != nil {
		panic("lang: " + tag + ": " + err.Error()) // compiled in
	}
	return texts
}

func read(name string) (texts map[string]text, err error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	err = json.NewDecoder(z).Decode(&texts)
	return texts, errors.Join(err, z.Close(), f.Close())
}

func parsed(list []*Language) (out []language.Tag) {
	for _, l := range list {
		out = append(out, l.tag)
	}
	return out
}

// All lists the languages, English first.
func All() []*Language { return all }

// maxAsked bounds the bytes of a wish for languages that are looked at.
const maxAsked = 1000

// Pick returns the best language for uiLocales (tags parted by spaces, OpenID
// Connect Core 3.1.2.1), else for an Accept-Language header, else for the fallback
// tag, else English. What can not be read counts as not asked for.
func Pick(uiLocales, acceptLanguage, fallback string) *Language {
	for _, asked := range []string{readable(uiLocales), acceptLanguage, fallback} {
		if asked == "" || len(asked) > maxAsked {
			continue
		}
		wanted, _, err := language.ParseAcceptLanguage(asked)
		if err != nil {
			continue
		}
		if _, i, confidence := matcher().Match(wanted...); confidence != language.No {
			return all[i]
		}
	}
	return all[0]
}

// readable are those of some tags that name a language, as a header lists them.
func readable(tags string) string {
	if len(tags) > maxAsked {
		return ""
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(tags), func(tag string) bool {
		_, err := language.Parse(tag)
		return err != nil
	}), ",")
}

// Has reports whether there is a text of that key.
func (l *Language) Has(key string) bool {
	_, ok := l.texts()[key]
	return ok
}

// Text returns the text of a key. Values for its placeholders follow as pairs of
// name and value: Text("code.sent", "address", a). A time.Duration is written as
// by Duration, anything else as by fmt.Sprint; an int named count chooses the
// plural form. A key that does not exist is a mistake of ours: the key itself is
// returned, so that the page still stands.
func (l *Language) Text(key string, args ...any) string {
	t, ok := l.texts()[key]
	if !ok {
		return key
	}
	s := t.other
	for i := 0; i+1 < len(args); i += 2 {
		if n, isCount := args[i+1].(int); isCount && args[i] == "count" {
			s = t.form(l.tag, n)
		}
	}
	return l.fill(s, args)
}

// fill puts the values of args into the placeholders of s. Values are not looked into.
func (l *Language) fill(s string, args []any) string {
	if len(args) == 0 {
		return s
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		name, after, closed := strings.Cut(rest, "}")
		if b.WriteString(before); !ok || !closed {
			b.WriteString(s[len(before):])
			return b.String()
		}
		if i := place(args, name); i >= 0 {
			b.WriteString(l.write(args[i]))
		} else {
			b.WriteString("{" + name + "}")
		}
		s = after
	}
}

// place is where the value of a name stands in args, or -1.
func place(args []any, name string) int {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == name {
			return i + 1
		}
	}
	return -1
}

func (t text) form(tag language.Tag, n int) string {
	if s, ok := t.forms[plural.Cardinal.MatchPlural(tag, max(n, -n), 0, 0, 0, 0)]; ok {
		return s
	}
	return t.other
}

func (l *Language) write(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case time.Duration:
		return l.Duration(v)
	}
	return fmt.Sprint(value)
}

// units are the steps that time is told in, with the keys of their texts.
var units = []struct {
	size       time.Duration
	exact, ago string
}{
	{24 * time.Hour, "time.days", "time.days_ago"},
	{time.Hour, "time.hours", "time.hours_ago"},
	{time.Minute, "time.minutes", "time.minutes_ago"},
	{time.Second, "time.seconds", ""}, // what is less than a minute ago is now
}

// Duration tells a length of time in the largest unit that fits, rounded up:
// "10 minutes", "30 seconds". It never tells less than a second.
func (l *Language) Duration(d time.Duration) string {
	d = max(d, time.Second)
	for _, u := range units {
		if d >= u.size {
			return l.Text(u.exact, "count", int((d+u.size-1)/u.size))
		}
	}
	panic("unreachable: a second is the smallest unit")
}

// Ago tells how long before now t was: "just now", "3 hours ago"; a date if it is
// over 30 days.
func (l *Language) Ago(t, now time.Time) string {
	d := now.Sub(t)
	if d < time.Minute { // clocks differ: the future counts as now
		return l.Text("time.just_now")
	}
	if d > 30*24*time.Hour {
		return l.Date(t)
	}
	for _, u := range units {
		if d >= u.size {
			return l.Text(u.ago, "count", int(d/u.size))
		}
	}
	panic("unreachable: a minute is longer than a second")
}

// Date writes the day of t in UTC: "5 March 2026".
func (l *Language) Date(t time.Time) string {
	t = t.UTC()
	month := l.Text("month." + strconv.Itoa(int(t.Month())))
	return l.Text("time.date", "day", t.Day(), "month", month, "year", t.Year())
}

// Moment writes t to the minute in UTC: "5 March 2026, 14:05 UTC".
func (l *Language) Moment(t time.Time) string {
	return l.Text("time.moment", "date", l.Date(t), "clock", t.UTC().Format("15:04"))
}
