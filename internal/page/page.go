// Package page is what people see in a browser: the hosted pages and the pages of
// their own account. One struct is one page; its fields are all the page knows.
//
//	Render     writes a page with the headers that go with it
//	Problem    is the page for a problem; Dialect answers with it
//	Browser    the cookie that attempts and forms are bound to
//	CSRF       the token that forms carry; CheckForm refuses a form without it
//	Language   the language a person reads
//	StyleSheet a tenant's colours
//
// There are no rules and no statements here. Every form posts, works without
// scripts, and carries the hidden fields csrf and, on a journey, state. Fields
// named …Action are addresses that are posted to, fields named …URL are followed;
// where one is empty its part of the page is left out.
//
// An attacker would put markup into names, addresses and logos, frame a page, or
// have it post elsewhere: templates escape by context, the policy sent along allows
// no inline script or style and no framing, and addresses of a scheme that runs
// script are dropped.
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
	"github.com/cardea-id/cardea/ui"
)

// A Page is one of the structs of this package.
type Page interface {
	file() string // its template, without .html
	shown
}

// What is shown is a page, or a part of one with the page it is on.
type shown interface{ view() *View }

// A View is what every page has. What templates say with it are functions rather than
// methods: pages embed it, and the linker keeps each exported method for each of them.
type View struct {
	Lang  *lang.Language // English if nil
	Brand Brand
	Now   time.Time // the moment that times on the page are told from
	CSRF  string    // of CSRF; in every form, as "csrf"
	State string    // the attempt's handle; in every form as "state", if there is one
	// Here is the address of the page, for choosing another language; none can be
	// chosen if it is empty, as in the answer to a form.
	Here string
	// Notice says what was just done: one of Notices. Anything else is not shown, so
	// that it may come from the address as it is.
	Notice string
	Errors Errors
	// Dev tells a developer what was wrong and how to mend it. Only the developer
	// mode fills it.
	Dev []string
}

// A Brand is how the tenant presents itself. All but the name may be empty.
type Brand struct {
	Name       string
	LogoURL    string
	FaviconURL string
	StyleURL   string // where StyleSheet is served; it must be of our own origin
	HelpURL    string
	PrivacyURL string
	TermsURL   string
}

// Notices are the values that View.Notice may have.
var Notices = []string{
	"profile_saved", "email_changed", "phone_changed", "email_verified", "phone_verified",
	"factor_added", "factor_removed", "device_forgotten", "account_linked", "account_unlinked",
	"password_changed", "session_ended", "sessions_ended", "access_revoked", "code_sent",
	"passkey_added", "passkey_renamed", "passkey_removed", "passkey_confirmed", "identity_confirmed",
	"email_removed", "phone_removed", "factor_renamed", "account_deleted",
	"email_added", "phone_added", "further_email_removed", "further_phone_removed",
	"organization_joined",
	"portal_saved", "portal_on", "portal_off", "domain_verified",
}

// Errors are what is wrong with a form.
type Errors []FieldError

// A FieldError is one thing wrong with a form.
type FieldError struct {
	Field string // name of the input; empty if it is the form as a whole
	// Code is that of a problem. One without a text of its own in the language files
	// (key "problem." and the code) is told in general words.
	Code string
	Args []any         // values of the text's placeholders, as for lang
	Wait time.Duration // until trying again makes sense; 0 if that is not known
}

// NotOpened tells who presses the button of CodeSent.FinishAction that the link was
// not opened yet.
var NotOpened = FieldError{Code: "link_not_opened"}

// Required tells that a field must be filled in.
func Required(field string) FieldError { return FieldError{Field: field, Code: "required"} }

// ErrorsOf are the errors of a form that p refuses. It finds the input by the name
// of the field that p blames.
func ErrorsOf(p *problem.Problem) (out Errors) {
	for _, f := range p.Fields {
		out = append(out, FieldError{Field: f.Name, Code: p.Code, Wait: p.RetryAfter})
	}
	if out == nil {
		out = Errors{{Code: p.Code, Wait: p.RetryAfter}}
	}
	return out
}

// Initial is the first letter of the name, in place of a logo.
func (b Brand) Initial() string { return initial(b.Name) }

func initial(name string) string {
	for _, r := range name {
		return strings.ToUpper(string(r))
	}
	return ""
}

func (v *View) view() *View { return v }

// said is what templates have to say things with.
var said = template.FuncMap{
	"asset": ui.Path, "href": href, "iso": isolate, "stamp": stamp,
	"text": text, "bold": bold, "message": message, "wrong": wrong, "summary": summary, "notice": notice, "languages": languages, "shell": shell,
	"kind": identifierKind, "left": left, "time": told, "from": deviceOn, "can": scopesOn, "scope": scopeText,
	"input": input, "entry": entry, "sentence": sentence, "badge": stateBadge, "copy": copyable, "copyOf": copyOf, "key": keyCard, "contact": contactRow, "further": furtherRow,
}

// text is a text of the page's language.
func text(on shown, key string, args ...any) string { return on.view().Lang.Text(key, args...) }

// bold is a text whose values stand out and are isolated.
func bold(on shown, key string, args ...any) template.HTML {
	const open, end = "\x01", "\x02"
	marked, values := slices.Clone(args), []string{}
	for i := 1; i < len(args); i += 2 {
		plain := strings.NewReplacer(open, "", end, "").Replace(fmt.Sprint(args[i]))
		marked[i] = open + plain + end
		values = append(values, open+html.EscapeString(plain)+end, "<b>"+string(isolate(plain))+"</b>")
	}
	escaped := html.EscapeString(text(on, key, marked...))
	return template.HTML(strings.NewReplacer(values...).Replace(escaped))
}

// isolate sets a name or an address apart from the direction of the text around it.
// What has no letter to tell its own by, as a phone number, runs from left to right.
// A long address breaks where people would break it.
func isolate(s string) template.HTML {
	open := "<bdi>"
	if !strings.ContainsFunc(s, unicode.IsLetter) {
		open = `<bdi dir="ltr">`
	}
	return template.HTML(open + strings.ReplaceAll(html.EscapeString(s), "@", "@<wbr>") + "</bdi>")
}

// message is the text of an error.
func message(on shown, e FieldError) string {
	key := "problem." + e.Code
	if !on.view().Lang.Has(key) {
		key = "problem.not_accepted"
	}
	s := text(on, key, e.Args...)
	if e.Wait > 0 {
		s += " " + text(on, "problem.wait", "wait", e.Wait)
	}
	return s
}

// wrong is the text of the first error of a field, empty if it has none.
func wrong(on shown, field string) string {
	for _, e := range on.view().Errors {
		if e.Field == field {
			return message(on, e)
		}
	}
	return ""
}

// notice is the text of View.Notice, empty if there is none.
func notice(on shown) string {
	done := on.view().Notice
	if !slices.Contains(Notices, done) {
		return ""
	}
	return text(on, "notice."+done)
}

// languages are the languages to choose from, with the page's address in each.
func languages(on shown) (out []Choice) {
	here, err := url.Parse(on.view().Here)
	if err != nil || here.Host != "" || here.Scheme != "" || !strings.HasPrefix(here.Path, "/") || strings.HasPrefix(here.Path, "//") {
		return nil // Here may come from a request: it leads to no other site
	}
	query := here.Query()
	for _, l := range lang.All() {
		query.Set(languageField, l.Tag)
		here.RawQuery = query.Encode()
		out = append(out, Choice{l, here.String()})
	}
	return out
}

// A Choice is a language and where the page is to be had in it.
type Choice struct {
	*lang.Language
	URL string
}

// shell says what is around the page.
func shell(on shown) string {
	if p, ok := on.(interface{ shell() string }); ok {
		return p.shell()
	}
	return "hosted"
}

// identifierKind is the kind of field for what an identifier may be.
func identifierKind(takes string) string {
	if takes == "" {
		return TakesEmail
	}
	return takes
}

// left are the whole seconds until t, 0 if it has come.
func left(on shown, t time.Time) int {
	return max(0, int((t.Sub(on.view().Now)+time.Second-1)/time.Second))
}

// deviceOn is a device with the page it is told on.
func deviceOn(on shown, d Device) any {
	return struct {
		*View
		Device
	}{on.view(), d}
}

// scopesOn is a list of scopes with the page it is told on.
func scopesOn(on shown, scopes []Scope) any {
	return struct {
		*View
		Scopes []Scope
	}{on.view(), scopes}
}

// told is t as it is told: how long ago, and exactly.
func told(on shown, t time.Time) any {
	v := on.view()
	return struct {
		At          time.Time
		Ago, Moment string
	}{t, v.Lang.Ago(t, v.Now), v.Lang.Moment(t)}
}

//go:embed pages/*.html
var pages embed.FS

// templates are parsed when the first page is shown: the start of a server need not
// wait for them.
var templates = sync.OnceValue(parse)

// parse makes one template of each page: the layout with the page's own parts in
// it.
func parse() map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(said).ParseFS(pages, "pages/layout.html", "pages/parts.html"))
	out := map[string]*template.Template{}
	files, err := fs.Glob(pages, "pages/*.html")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		out[name] = template.Must(template.Must(frame.Clone()).ParseFS(pages, file))
	}
	return out
}

// stamp writes a time for a datetime attribute.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// href lets an address through that a browser may be sent to. html/template knows
// http, https and mailto only, but applications on phones come back through schemes
// of their own; what runs script is dropped.
func href(address string) template.URL {
	u, err := url.Parse(address)
	if err != nil || slices.Contains([]string{"javascript", "data", "vbscript", "blob", "file", "filesystem", "about", "view-source"}, u.Scheme) {
		return "#"
	}
	return template.URL(u.String())
}

// Render writes p. It makes the whole page first and sends it second, so that a
// failure is still an error of ours and not half a page.
func Render(w http.ResponseWriter, r *http.Request, status int, p Page) error {
	v := p.view()
	if v.Lang == nil {
		v.Lang = lang.All()[0]
	}
	var b bytes.Buffer
	if err := templates()[p.file()].ExecuteTemplate(&b, "layout", p); err != nil {
		return fmt.Errorf("render %T: %w", p, err)
	}
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Language", v.Lang.Tag)
	head.Set("Content-Length", strconv.Itoa(b.Len()))
	head.Set("Content-Security-Policy", policy(p))
	for _, pair := range headers {
		head.Set(pair[0], pair[1])
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(b.Bytes()) //nolint:errcheck // the browser went away
	}
	return nil
}

// headers go with every page. Some the edge sets as well; a page does not depend on
// it.
var headers = [][2]string{
	{"Cache-Control", "no-store"},
	{"Referrer-Policy", "no-referrer"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"}, // for browsers that do not know frame-ancestors
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"},
}

// policy is the Content-Security-Policy of a page. Pictures may come from anywhere
// over https, as logos do. A page whose forms stay with us says so. One whose form
// may end at an application does not name where forms may go: browsers hold every
// redirect that follows against that list, also those an application makes by
// itself, and where these lead nobody knows beforehand.
func policy(p Page) string {
	csp := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	if own, ok := p.(interface{ stays() bool }); ok && own.stays() {
		csp += "; form-action 'self'"
	}
	if framing, ok := p.(interface{ frames() []string }); ok {
		if origins := originsOf(framing.frames()); len(origins) > 0 {
			csp += "; frame-src " + strings.Join(origins, " ")
		}
	}
	return csp
}

// originsOf lists the http origins of addresses, each once. Others have none that a
// policy could name.
func originsOf(addresses []string) (out []string) {
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(u.Host, " ;,'\"") {
			continue
		}
		if origin := u.Scheme + "://" + u.Host; !slices.Contains(out, origin) {
			out = append(out, origin)
		}
	}
	return out
}

// Dialect answers problems of a surface that people look at: the page says what
// happened and what to do. view makes the View for a request and its problem.
func Dialect(view func(w http.ResponseWriter, r *http.Request, p *problem.Problem) View) web.Dialect {
	return func(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
		page := Problem(view(w, r, p), p, web.Of(r.Context()).ID)
		if err := Render(w, r, web.Status(p.Kind), page); err != nil {
			panic(err) // the edge answers it
		}
	}
}
