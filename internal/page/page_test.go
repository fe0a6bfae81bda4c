package page_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
)

func render(t *testing.T, p page.Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := page.Render(w, httptest.NewRequest("GET", "/", nil), http.StatusOK, p); err != nil {
		t.Fatal(err)
	}
	return w
}

func parse(t *testing.T, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// elements returns the elements of a page with one of the names, all if none is given.
func elements(doc *html.Node, names ...string) (out []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (len(names) == 0 || slices.Contains(names, n.Data)) {
			out = append(out, n)
		}
	}
	return out
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// every runs a check on each sample in each language.
func every(t *testing.T, check func(t *testing.T, p page.Page, w *httptest.ResponseRecorder)) {
	for _, l := range lang.All() {
		for name, p := range samples(sampleView(l)) {
			t.Run(l.Tag+"/"+name, func(t *testing.T) { check(t, p, render(t, p)) })
		}
	}
}

func TestEveryTemplateHasASample(t *testing.T) {
	files, err := filepath.Glob("pages/*.html")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for name := range samples(sampleView(lang.All()[0])) {
		have = append(have, strings.Split(name, ".")[0])
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".html")
		if name != "layout" && name != "parts" && !slices.Contains(have, name) {
			t.Errorf("no sample of %s", file)
		}
	}
}

func TestEmptyPagesRender(t *testing.T) {
	for _, p := range samples(sampleView(lang.All()[0])) {
		render(t, emptied(p))
	}
}

func TestEveryPageIsInItsLanguage(t *testing.T) {
	key := regexp.MustCompile(`\b[a-z]+\.[a-z_]+\b`)
	every(t, func(t *testing.T, _ page.Page, w *httptest.ResponseRecorder) {
		doc := parse(t, w)
		tag, _ := attribute(elements(doc, "html")[0], "lang")
		for _, found := range key.FindAllString(text(doc), -1) {
			for _, l := range lang.All() {
				if l.Tag == tag && l.Has(found) {
					t.Errorf("%s stands on the page", found)
				}
			}
		}
		if got := w.Header().Get("Content-Language"); got != tag {
			t.Errorf("Content-Language is %q, the page says %q", got, tag)
		}
		if regexp.MustCompile(`\{[a-z]+\}`).MatchString(strings.ReplaceAll(text(doc), "{clock}", "")) {
			t.Error("a placeholder was not filled in")
		}
	})
}

func TestEveryFormCarriesItsToken(t *testing.T) {
	every(t, func(t *testing.T, p page.Page, w *httptest.ResponseRecorder) {
		for _, form := range elements(parse(t, w), "form") {
			hidden := map[string]string{}
			for _, in := range elements(form, "input") {
				name, _ := attribute(in, "name")
				hidden[name], _ = attribute(in, "value")
			}
			if _, foreign := p.(*page.FormPost); foreign {
				if hidden["csrf"] != "" {
					t.Error("our token goes to the application")
				}
				continue
			}
			action, _ := attribute(form, "action")
			if method, _ := attribute(form, "method"); method != "post" || !strings.HasPrefix(action, "/") {
				t.Errorf("a form goes by %s to %q", method, action)
			}
			if hidden["csrf"] != "c5rf" || hidden["state"] != "st4te" {
				t.Errorf("the form to %s carries %v", action, hidden)
			}
		}
	})
}

func TestEveryFieldIsLabelled(t *testing.T) {
	every(t, func(t *testing.T, _ page.Page, w *httptest.ResponseRecorder) {
		doc := parse(t, w)
		labelled, ids := map[string]bool{}, map[string]bool{}
		for _, n := range elements(doc) {
			if id, ok := attribute(n, "id"); ok {
				if ids[id] {
					t.Errorf("the id %s stands twice", id)
				}
				ids[id] = true
			}
			if n.Data == "label" {
				of, _ := attribute(n, "for")
				labelled[of] = text(n) != ""
			}
		}
		for _, in := range elements(doc, "input") {
			kind, _ := attribute(in, "type")
			if aside, _ := attribute(in, "aria-hidden"); kind == "hidden" || aside == "true" {
				continue
			}
			id, _ := attribute(in, "id")
			if !labelled[id] {
				t.Errorf("the field %s has no label", id)
			}
			if complete, _ := attribute(in, "autocomplete"); complete == "" {
				t.Errorf("the field %s does not say what to complete it with", id)
			}
			described, _ := attribute(in, "aria-describedby")
			for _, by := range strings.Fields(described) {
				if !ids[by] {
					t.Errorf("%s is described by %s, which is not there", id, by)
				}
			}
		}
		for _, n := range elements(doc, "button", "a", "h1", "title") {
			if text(n) == "" {
				t.Errorf("a %s says nothing", n.Data)
			}
		}
		if n := len(elements(doc, "h1")); n != 1 {
			t.Errorf("the page has %d main headings", n)
		}
	})
}

func TestNoPageNeedsWhatItsPolicyForbids(t *testing.T) {
	every(t, func(t *testing.T, _ page.Page, w *httptest.ResponseRecorder) {
		for _, n := range elements(parse(t, w)) {
			if n.Data == "style" || n.Data == "script" && n.FirstChild != nil {
				t.Errorf("an inline %s", n.Data)
			}
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("an attribute %s", a.Key)
				}
			}
		}
	})
}

func TestEveryIconIsDrawn(t *testing.T) {
	sprite, err := os.ReadFile("../../ui/icons.svg")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`<symbol id="([a-z]+)"`).FindAllStringSubmatch(string(sprite), -1) {
		drawn[m[1]] = true
	}
	used := map[string]bool{}
	for _, p := range samples(sampleView(lang.All()[0])) {
		for _, n := range elements(parse(t, render(t, p)), "use") {
			address, _ := attribute(n, "href")
			_, name, _ := strings.Cut(address, "#")
			used[name] = true
		}
	}
	if !maps.Equal(drawn, used) {
		t.Errorf("drawn: %v\nused: %v", slices.Sorted(maps.Keys(drawn)), slices.Sorted(maps.Keys(used)))
	}
}

// Names, addresses and texts of others are shown as they are (C7 lines 120 and 121).
func TestMarkupStaysText(t *testing.T) {
	for _, evil := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.CSRF}}`, `${alert(1)}`, `<%= 1 %>`, `</title><svg onload=alert(1)>`, "\x01\x02", `{email}`} {
		t.Run(evil, func(t *testing.T) {
			v := sampleView(lang.All()[0])
			v.Brand.Name, v.State = evil, evil
			v.Dev = []string{evil}
			app, person := page.App{Name: evil, LogoURL: evil, HomeURL: evil}, page.Person{Name: evil, Login: evil}
			for _, p := range []page.Page{
				&page.SignIn{View: v, App: app, Identifier: evil, Known: []page.Person{person}, Ways: []page.Way{{Label: evil, Action: "/x"}}},
				&page.CodeSent{View: v, Address: evil, Code: evil, WaitURL: "/wait", Number: evil},
				&page.Password{View: v, Identifier: evil},
				&page.LinkConfirm{View: v, App: app, Address: evil, Token: evil, AskedFrom: page.Device{Name: evil, Place: evil, IP: evil}},
				&page.Consent{View: v, App: app, Person: person, Scopes: []page.Scope{{Name: evil}, {Name: "x", Text: evil}}, ReturnsTo: evil},
				&page.AccountApplications{AccountView: page.AccountView{View: v, Person: person}, Access: []page.Access{{ID: evil, App: app}}},
				&page.AccountSessions{AccountView: page.AccountView{View: v, Person: person}, Sessions: []page.Session{{ID: evil, Device: page.Device{Name: evil}}}},
				&page.FormPost{View: v, App: app, Action: "https://orders.example/", Fields: []page.Pair{{Name: evil, Value: evil}}},
				&page.Error{View: v, Title: evil, Message: evil, RequestID: evil},
			} {
				doc := parse(t, render(t, p))
				for _, n := range elements(doc) {
					src, _ := attribute(n, "src")
					if n.Data == "script" && !strings.HasPrefix(src, "/ui/") {
						t.Errorf("%T: a script has got in", p)
					}
					for _, a := range n.Attr {
						if strings.HasPrefix(a.Key, "on") {
							t.Errorf("%T: a handler has got in", p)
						}
					}
				}
				if plain := strings.Trim(evil, "\x01\x02"); plain != "" && !strings.Contains(text(doc), plain) {
					t.Errorf("%T does not show %q", p, evil)
				}
			}
		})
	}
}

func TestAddressesThatRunScriptAreDropped(t *testing.T) {
	for address, want := range map[string]string{
		"https://orders.example/bye?a=1&b=2": "https://orders.example/bye?a=1&b=2",
		"com.example.app:/bye":               "com.example.app:/bye",
		"/account":                           "/account",
		"javascript:alert(1)":                "#",
		"JaVaScRiPt:alert(1)":                "#",
		"java\nscript:alert(1)":              "#",
		" javascript:alert(1)":               "#",
		"data:text/html,x":                   "#",
		"vbscript:x":                         "#",
	} {
		doc := parse(t, render(t, &page.SignedOut{NextURL: address}))
		got, _ := attribute(elements(elements(doc, "section")[0], "a")[0], "href")
		if got != want {
			t.Errorf("%q became %q, want %q", address, got, want)
		}
	}
}

func TestPolicy(t *testing.T) {
	v := sampleView(lang.All()[0])
	const base = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	for name, c := range map[string]struct {
		page page.Page
		want string
	}{
		"forms of a journey may end at an application": {&page.SignIn{View: v}, base},
		"forms of an account stay with us":             {&page.AccountProfile{AccountView: page.AccountView{View: v}}, base + "; form-action 'self'"},
		"an error has no form":                         {page.Problem(v, page.ErrForm, ""), base + "; form-action 'self'"},
		"frames are named": {&page.SignedOut{View: v, Frames: []string{"https://a.example/out?x", "https://a.example:8443/out", "https://a.example/again", "javascript:x", "https://b.example;script-src/", "com.app:/"}},
			base + "; frame-src https://a.example https://a.example:8443"},
	} {
		t.Run(name, func(t *testing.T) {
			head := render(t, c.page).Header()
			if got := head.Get("Content-Security-Policy"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
				if got := head.Get(name); got != want {
					t.Errorf("%s is %q", name, got)
				}
			}
		})
	}
}

func TestErrorsAreToldOnce(t *testing.T) {
	v := sampleView(lang.All()[0])
	one, whole := page.FieldError{Field: "identifier", Code: "invalid_email"}, page.FieldError{Code: "rate_limited"}
	for name, c := range map[string]struct {
		errors        page.Errors
		above, beside int
	}{
		"one stands beside its field":                  {page.Errors{one}, 0, 1},
		"one of the whole form stands above":           {page.Errors{whole}, 1, 0},
		"several are summed up as well":                {page.Errors{one, whole}, 2, 1},
		"one of a field that is not there stands last": {page.Errors{{Field: "identifier", Code: "nobody_knows"}}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			v.Errors = c.errors
			doc := parse(t, render(t, &page.SignIn{View: v, Action: "/signin"}))
			above, beside, focused := 0, 0, 0
			for _, n := range elements(doc) {
				class, _ := attribute(n, "class")
				switch class {
				case "notice bad":
					above = len(elements(n, "li"))
				case "error":
					beside++
				}
				if _, ok := attribute(n, "autofocus"); ok {
					focused++
				}
			}
			if above != c.above || beside != c.beside || focused != 1 {
				t.Errorf("%d above, %d beside, %d with the focus", above, beside, focused)
			}
		})
	}
}

func TestNoticesAreKnown(t *testing.T) {
	v := sampleView(lang.All()[0])
	for _, n := range page.Notices {
		v.Notice = n
		if body := render(t, &page.SignIn{View: v}).Body.String(); !strings.Contains(body, `class="toast"`) || !v.Lang.Has("notice."+n) {
			t.Errorf("the notice %s is not shown", n)
		}
	}
	v.Notice = "anything else"
	if body := render(t, &page.SignIn{View: v}).Body.String(); strings.Contains(body, `class="toast"`) {
		t.Error("an unknown notice is shown")
	}
}

func TestLanguageMenuLeadsToNoOtherSite(t *testing.T) {
	v := sampleView(lang.All()[0])
	for _, here := range []string{"//evil.example/signin", "https://evil.example/", "javascript:alert(1)", "signin", ":", ""} {
		v.Here = here
		if body := render(t, &page.SignIn{View: v}).Body.String(); strings.Contains(body, "hreflang") {
			t.Errorf("%q: the languages are offered", here)
		}
	}
	v.Here = "/signin?state=x&lang=de"
	if body := render(t, &page.SignIn{View: v}).Body.String(); !strings.Contains(body, `<a href="/signin?lang=fr&amp;state=x" lang="fr"`) {
		t.Errorf("French is not at /signin?lang=fr&state=x: %s", body)
	}
}

func TestProblemsAreTold(t *testing.T) {
	v := page.View{Lang: lang.Pick("de", "", "")}
	for name, c := range map[string]struct {
		problem        *problem.Problem
		title, message string
	}{
		"one with a text":        {page.ErrForm, "Das ist abgelaufen", "Diese Seite war zu lange geöffnet. Laden Sie sie neu und wiederholen Sie den Schritt."},
		"one without, by kind":   {&problem.Problem{Kind: problem.NotFound, Code: "x"}, "Hier ist nichts", "Die Adresse stimmt nicht, oder was hier war, ist nicht mehr da. Gehen Sie dorthin zurück, woher Sie kamen, und versuchen Sie es noch einmal."},
		"a fault of ours":        {&problem.Problem{Code: "internal_error", Message: "secret"}, "Etwas ist schiefgegangen", "Es liegt an uns, nicht an Ihnen. Versuchen Sie es noch einmal. Wenn es wieder geschieht, nennen Sie dem Support die Anfragenummer."},
		"one that says how long": {(&problem.Problem{Kind: problem.TooMany, Code: "rate_limited"}).After(90e9), "Zu viele Versuche", "Zu viele Versuche. Warten Sie ein wenig und versuchen Sie es dann noch einmal. Warten Sie noch 2 Minuten."},
	} {
		t.Run(name, func(t *testing.T) {
			p := page.Problem(v, c.problem, "r3quest")
			if p.Title != c.title || p.Message != c.message {
				t.Errorf("got %q, %q", p.Title, p.Message)
			}
		})
	}
	for kind := problem.Internal; kind <= problem.Unavailable; kind++ {
		if p := page.Problem(v, &problem.Problem{Kind: kind, Code: "x"}, ""); strings.HasPrefix(p.Title, "error.") || strings.HasPrefix(p.Message, "error.") {
			t.Errorf("kind %d has no text: %s", kind, p.Title)
		}
	}
}

func TestDialect(t *testing.T) {
	answer := page.Dialect(func(http.ResponseWriter, *http.Request, *problem.Problem) page.View { return sampleView(lang.All()[0]) })
	w := httptest.NewRecorder()
	answer(w, httptest.NewRequest("GET", "/", nil), page.ErrForm)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Load it again") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestHeadHasNoBody(t *testing.T) {
	w := httptest.NewRecorder()
	if err := page.Render(w, httptest.NewRequest("HEAD", "/", nil), http.StatusOK, &page.SignIn{}); err != nil || w.Body.Len() != 0 {
		t.Errorf("%v, %d bytes", err, w.Body.Len())
	}
}

// What the tenant takes no number for is not shown as missing.
func TestProfileShowsOnlyContactsThatThereCanBe(t *testing.T) {
	v := sampleView(lang.All()[0])
	bare := samples(v)["account-profile.bare"].(*page.AccountProfile)
	phone := v.Lang.Text("profile.phone")
	if !strings.Contains(render(t, bare).Body.String(), phone) {
		t.Error("no row to add a number with")
	}
	bare.Phone = page.Contact{}
	if strings.Contains(render(t, bare).Body.String(), phone) {
		t.Error("a row for a number that can not be added")
	}
}
