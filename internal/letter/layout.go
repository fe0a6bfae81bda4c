package letter

import (
	_ "embed"
	"html/template"
	"strings"
	"sync"
)

//go:embed layout.html
var layoutText string

// layout is the one form of all mails: tables and inline styles, which is what every
// mail program understands, and one style block for dark screens, which some ignore.
var layout = sync.OnceValue(func() *template.Template { return template.Must(template.New("layout").Parse(layoutText)) })

// A sheet is what the layout shows.
type sheet struct {
	Tag, Dir            string
	Subject, Name, Logo string
	Text                template.HTML
	Link, Button        string
	CodeLabel, Code     string
	Valid, Aside, Keep  string
	Details             []detail
	Fallback            string
	SentTo              template.HTML
	Light, Dark         theme
}

func (w words) html() (string, error) {
	light, dark := themes(w.Brand.Accent)
	s := sheet{
		Tag: w.lang.Tag, Dir: w.lang.Dir, Subject: w.of("subject"), Name: w.Brand.Name,
		Text: w.marked(w.key("text")), Link: w.Link, Button: w.button(), CodeLabel: w.codeLabel(), Code: w.Code,
		Valid: w.valid(), Aside: w.aside(), Keep: w.keep(), Details: w.details(),
		Fallback: w.say("fallback"), SentTo: w.marked("sent_to"), Light: light, Dark: dark,
	}
	if isWebAddress(w.Brand.LogoURL) {
		s.Logo = w.Brand.LogoURL
	}
	var b strings.Builder
	err := layout().Execute(&b, s)
	return b.String(), err
}

// marked is a text in which the address stands out, and keeps its direction among
// words of the other one.
func (w words) marked(key string) template.HTML {
	escaped := w.fill(template.HTMLEscapeString(w.texts[key]), func(name, value string) string {
		value = template.HTMLEscapeString(value)
		if name == "address" {
			return `<strong dir="ltr" style="font-weight:600;unicode-bidi:isolate;overflow-wrap:anywhere;word-break:break-word">` + value + `</strong>`
		}
		return `<bdi>` + value + `</bdi>`
	})
	return template.HTML(escaped) // its parts are escaped above
}
