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
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// tags are the languages there are. The first is the last resort.
var tags = []string{"en", "de", "fr", "es", "pt", "tr", "hi", "ja", "ar"}

var (
	all     = sync.OnceValue(load) // read when the first text is asked for
	matcher = sync.OnceValue(func() language.Matcher { return language.NewMatcher(parsed(all())) })
)

// A Language is one of the languages the product speaks. It is never changed.
type Language struct {
	Tag  string // BCP 47, "pt"
	Dir  string // "ltr" or "rtl"
	Name string // what its speakers call it, "Português"

	tag   language.Tag
	texts map[string]text
}

// A text is a sentence in the plural forms of its language. One that does not
// depend on a number has only plural.Other.
type text map[plural.Form]string

var forms = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many, "other": plural.Other,
}

// UnmarshalJSON reads a string, or an object of plural forms.
func (t *text) UnmarshalJSON(b []byte) error {
	var plain string
	if json.Unmarshal(b, &plain) == nil {
		*t = text{plural.Other: plain}
		return nil
	}
	var byName map[string]string
	if err := json.Unmarshal(b, &byName); err != nil {
		return err
	}
	*t = text{}
	for name, s := range byName {
		form, ok := forms[name]
		if !ok {
			return fmt.Errorf("%q is no plural form", name)
		}
		(*t)[form] = s
	}
	return nil
}

func load() (out []*Language) {
	for _, name := range tags {
		b, err := files.ReadFile(name + ".json")
		if err != nil {
			panic(err) // compiled in
		}
		l := &Language{Tag: name, tag: language.MustParse(name)}
		if err := json.Unmarshal(b, &l.texts); err != nil {
			panic("lang: " + name + ".json: " + err.Error())
		}
		l.Name, l.Dir = l.Text("language.name"), l.Text("language.direction")
		out = append(out, l)
	}
	return out
}

func parsed(list []*Language) (out []language.Tag) {
	for _, l := range list {
		out = append(out, l.tag)
	}
	return out
}

// All lists the languages, English first.
func All() []*Language { return all() }

// maxAsked bounds the bytes of a wish for languages that are looked at.
const maxAsked = 1000

// Pick returns the best language for uiLocales (tags parted by spaces, OpenID
// Connect Core 3.1.2.1), else for an Accept-Language header, else for the fallback
// tag, else English. What can not be read counts as not asked for.
func Pick(uiLocales, acceptLanguage, fallback string) *Language {
	for _, asked := range []string{strings.Join(strings.Fields(uiLocales), ","), acceptLanguage, fallback} {
		if asked == "" || len(asked) > maxAsked {
			continue
		}
		wanted, _, err := language.ParseAcceptLanguage(asked)
		if err != nil {
			continue
		}
		if _, i, confidence := matcher().Match(wanted...); confidence != language.No {
			return all()[i]
		}
	}
	return all()[0]
}

// Has reports whether there is a text of that key.
func (l *Language) Has(key string) bool { return l.texts[key] != nil }

// Text returns the text of a key. Values for its placeholders follow as pairs of
// name and value: Text("code.sent", "address", a). A time.Duration is written as
// by Duration, anything else as by fmt.Sprint; an int named count chooses the
// plural form. A key that does not exist is a mistake of ours: the key itself is
// returned, so that the page still stands.
func (l *Language) Text(key string, args ...any) string {
	t, ok := l.texts[key]
	if !ok {
		return key
	}
	s := t[plural.Other]
	pairs := make([]string, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		name, value := fmt.Sprint(args[i]), args[i+1]
		if n, ok := value.(int); ok && name == "count" {
			s = t.form(l.tag, n)
		}
		pairs = append(pairs, "{"+name+"}", l.write(value))
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

func (t text) form(tag language.Tag, n int) string {
	if s, ok := t[plural.Cardinal.MatchPlural(tag, max(n, -n), 0, 0, 0, 0)]; ok {
		return s
	}
	return t[plural.Other]
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
