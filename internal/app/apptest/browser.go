package apptest

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/cardea-id/cardea/internal/notify"
)

// A Browser goes through the hosted pages as a person without scripts does: it keeps
// cookies per host as a browser would, follows redirects within the installation, and
// sends forms with the hidden fields that the page put into them.
//
//	b := w.Browser(w.Demo.Host)
//	p := b.Get(t, "/signin")
//	p = b.Submit(t, p, "/signin", "identifier", "ann@example.com")
//	p = b.Submit(t, p, "/signin/code", "code", w.Code(t, "ann@example.com"))
//
// It is for one goroutine at a time; Clone makes another that knows the same cookies.
type Browser struct {
	Host   string      // of addresses that name none
	IP     string      // address the requests come from; 192.0.2.7 if empty
	Header http.Header // of every request, in place of what a browser would send

	w       *World
	cookies map[string]map[string]string // by host and name
}

// Browser returns a new browser without cookies.
func (w *World) Browser(host string) *Browser {
	return &Browser{Host: host, w: w, Header: http.Header{}, cookies: map[string]map[string]string{}}
}

// Clone returns a browser with the same cookies, as somebody has who stole them.
func (b *Browser) Clone() *Browser {
	c := *b
	c.Header, c.cookies = b.Header.Clone(), map[string]map[string]string{}
	for host, jar := range b.cookies {
		c.cookies[host] = maps.Clone(jar)
	}
	return &c
}

// Cookie is the value of a cookie for the browser's host, empty if it has none.
func (b *Browser) Cookie(name string) string { return b.cookies[b.Host][name] }

// SetCookie plants a cookie for the browser's host; an empty value removes it.
func (b *Browser) SetCookie(name, value string) {
	if b.cookies[b.Host] == nil {
		b.cookies[b.Host] = map[string]string{}
	}
	b.cookies[b.Host][name] = value
	if value == "" {
		delete(b.cookies[b.Host], name)
	}
}

// Get opens an address, absolute or of the browser's host, and follows redirects. A
// redirect that leaves the installation is not followed: the page is the answer that
// asks for it, see Page.Location.
func (b *Browser) Get(t *testing.T, target string) Page {
	t.Helper()
	return b.follow(t, b.Visit(t, target))
}

// Visit is Get without following anything.
func (b *Browser) Visit(t *testing.T, target string) Page {
	t.Helper()
	return b.send(t, http.MethodGet, target, nil, "none")
}

// Submit sends the form of a page whose action is the path, or the first one whose
// action ends in it, with its hidden fields, what is filled in already, and pairs of
// name and value, and follows redirects. A page without such a form fails the test.
func (b *Browser) Submit(t *testing.T, p Page, action string, pairs ...string) Page {
	t.Helper()
	return b.follow(t, b.Press(t, p, action, pairs...))
}

// Press is Submit without following anything.
func (b *Browser) Press(t *testing.T, p Page, action string, pairs ...string) Page {
	t.Helper()
	form, ok := p.Form(action)
	if !ok {
		t.Fatalf("%s has no form for %s, only %q: %s", p.URL, action, p.actions(), p.Body)
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Fields.Set(pairs[i], pairs[i+1])
	}
	to, err := p.URL.Parse(form.Action)
	if err != nil {
		t.Fatalf("%s has a form for %q: %v", p.URL, form.Action, err)
	}
	return b.PostForm(t, to.String(), form.Fields)
}

// PostForm sends fields as a form of a page of ours would, and follows nothing.
func (b *Browser) PostForm(t *testing.T, target string, fields url.Values) Page {
	t.Helper()
	return b.send(t, http.MethodPost, target, fields, "same-origin")
}

// follow goes where redirects lead, as far as that is the installation.
func (b *Browser) follow(t *testing.T, p Page) Page {
	t.Helper()
	for range 20 {
		location := p.Header.Get("Location")
		if p.Status/100 != 3 || location == "" {
			return p
		}
		to, err := p.URL.Parse(location)
		if err != nil {
			t.Fatalf("%s leads to %q: %v", p.URL, location, err)
		}
		if to.Scheme != "https" || to.Host != BaseHost && to.Host != b.Host && !strings.HasSuffix(to.Host, "."+BaseHost) {
			return p
		}
		if p.Status != http.StatusSeeOther && p.Status != http.StatusFound {
			t.Fatalf("%s redirects with %d, which may repeat a form", p.URL, p.Status)
		}
		p = b.send(t, http.MethodGet, to.String(), nil, "same-origin")
	}
	t.Fatalf("%s redirects without end", p.URL)
	return p
}

func (b *Browser) send(t *testing.T, method, target string, fields url.Values, site string) Page {
	t.Helper()
	to, err := (&url.URL{Scheme: "https", Host: b.Host, Path: "/"}).Parse(target)
	if err != nil {
		t.Fatalf("%q is no address: %v", target, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		t.Fatalf("%s %s is no request: %v", method, to, err)
	}
	b.dress(r, site)
	recorder := httptest.NewRecorder()
	b.w.Handler.ServeHTTP(recorder, r)
	result := recorder.Result()
	p := Page{URL: to, Answer: Answer{Request: r, Status: result.StatusCode, Header: result.Header, Body: recorder.Body.Bytes()}}
	b.check(t, p)
	b.keep(t, to.Host, result.Cookies())
	return p
}

// dress gives a request what a browser sends with it.
func (b *Browser) dress(r *http.Request, site string) {
	h := r.Header
	h.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	h.Set("Accept-Language", "en")
	h.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	h.Set("Sec-Fetch-Site", site)
	if r.Method == http.MethodPost {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
		h.Set("Origin", "https://"+r.URL.Host)
	}
	maps.Copy(h, b.Header)
	for _, name := range slices.Sorted(maps.Keys(b.cookies[r.URL.Host])) {
		r.AddCookie(&http.Cookie{Name: name, Value: b.cookies[r.URL.Host][name]})
	}
	r.Host, r.RequestURI, r.TLS = r.URL.Host, r.URL.RequestURI(), &tls.ConnectionState{}
	r.RemoteAddr = net.JoinHostPort(cmp.Or(b.IP, "192.0.2.7"), "40000")
}

// keep stores cookies. All of ours are for one host, over https, and out of the reach
// of scripts and of other sites' forms.
func (b *Browser) keep(t *testing.T, host string, cookies []*http.Cookie) {
	t.Helper()
	for _, c := range cookies {
		strict := c.SameSite == http.SameSiteLaxMode || c.SameSite == http.SameSiteStrictMode
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || !strict || c.Path != "/" || c.Domain != "" {
			t.Errorf("the cookie %s is open to others: %s", c.Name, c)
		}
		if b.cookies[host] == nil {
			b.cookies[host] = map[string]string{}
		}
		b.cookies[host][c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies[host], c.Name)
		}
	}
}

// check holds an answer against what is so of every page. What is no page, such as
// the errors of the API, is held against the description.
func (b *Browser) check(t *testing.T, p Page) {
	t.Helper()
	media, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
	if p.Status/100 != 3 && p.Status != http.StatusNoContent && media != "text/html" {
		b.w.contract.check(t, p.Answer, b.w.broken.Load())
		return
	}
	if p.Status == http.StatusInternalServerError && !b.w.broken.Load() {
		t.Errorf("%s %s: the product failed: %s", p.Request.Method, p.URL, p.Body)
	}
	if p.Status < 400 {
		b.w.contract.saw(p.Request)
	}
	if cached := p.Header.Get("Cache-Control"); cached != "no-store" {
		t.Errorf("%s %s: may be kept by the browser: Cache-Control %q", p.Request.Method, p.URL, cached)
	}
	if p.Request.Method == http.MethodPost && p.Status/100 == 3 && p.Status != http.StatusSeeOther {
		t.Errorf("POST %s: redirects with %d, so that the form is sent on", p.URL, p.Status)
	}
}

// saw notes for CheckSuite that a route answered well.
func (c *contract) saw(r *http.Request) {
	if _, pattern := c.router.Handler(r); pattern != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls[pattern] = true
	}
}

// A Page is what a browser shows.
type Page struct {
	Answer
	URL *url.URL
}

// Want fails the test unless the page has this status.
func (p Page) Want(t *testing.T, status int) Page {
	t.Helper()
	p.Answer.Want(t, status)
	return p
}

// At fails the test unless the page is at this path and answered well.
func (p Page) At(t *testing.T, path string) Page {
	t.Helper()
	if p.URL.Path != path || p.Status != http.StatusOK {
		t.Fatalf("got %d at %s, want the page %s: %s", p.Status, p.URL, path, p.Text())
	}
	return p
}

// Location is where the page wants to send the browser, nil if it does not.
func (p Page) Location() *url.URL {
	location := p.Header.Get("Location")
	if location == "" {
		return nil
	}
	to, err := p.URL.Parse(location)
	if err != nil {
		return nil
	}
	return to
}

// Says reports whether the text that a person reads has this in it.
func (p Page) Says(text string) bool { return strings.Contains(p.Text(), text) }

// WantText fails the test unless the page says each of these.
func (p Page) WantText(t *testing.T, texts ...string) Page {
	t.Helper()
	for _, text := range texts {
		if !p.Says(text) {
			t.Fatalf("%s does not say %q, but: %s", p.URL, text, p.Text())
		}
	}
	return p
}

// Text is what a person reads on the page, with single spaces.
func (p Page) Text() string {
	var b strings.Builder
	for n := range p.root().Descendants() {
		if n.Type != html.TextNode || n.Parent.Data == "script" || n.Parent.Data == "style" {
			continue
		}
		b.WriteString(n.Data)
		if n.NextSibling == nil || n.NextSibling.Data != "wbr" {
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (p Page) root() *html.Node {
	root, err := html.Parse(strings.NewReader(string(p.Body)))
	if err != nil {
		return &html.Node{} // reading from memory does not fail
	}
	return root
}

// Links are the addresses that the page leads to, as they stand there.
func (p Page) Links() (out []string) {
	for n := range p.root().Descendants() {
		if n.Data == "a" && attr(n, "href") != "" {
			out = append(out, attr(n, "href"))
		}
	}
	return out
}

// A Form is what a page asks for.
type Form struct {
	Action string
	Fields url.Values // as they are when the page opens
}

// Form returns the first form of the page whose action is the path, whatever its query,
// or ends in it.
func (p Page) Form(action string) (Form, bool) {
	for _, form := range p.Forms() {
		path, _, _ := strings.Cut(form.Action, "?")
		if strings.HasSuffix(path, action) {
			return form, true
		}
	}
	return Form{}, false
}

// Forms are the forms of the page that post.
func (p Page) Forms() (out []Form) {
	for n := range p.root().Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" && strings.EqualFold(attr(n, "method"), "post") {
			out = append(out, formOf(n))
		}
	}
	return out
}

func formOf(form *html.Node) Form {
	f := Form{Action: attr(form, "action"), Fields: url.Values{}}
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" || attr(n, "name") == "" {
			continue
		}
		if kind := attr(n, "type"); (kind == "checkbox" || kind == "radio") && !has(n, "checked") || kind == "submit" {
			continue
		}
		f.Fields.Add(attr(n, "name"), attr(n, "value"))
	}
	return f
}

func (p Page) actions() (out []string) {
	for _, form := range p.Forms() {
		out = append(out, form.Action)
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// Letters delivers what waits and returns the mails and text messages of tenant demo
// to an address or number, newest first.
func (w *World) Letters(t *testing.T, to string) []notify.Letter {
	t.Helper()
	return w.LettersOf(t, w.Demo.ID, to)
}

// LettersOf is Letters for another tenant.
func (w *World) LettersOf(t *testing.T, tenantID, to string) []notify.Letter {
	t.Helper()
	w.Work(t)
	letters, err := w.Notify.Mailbox(context.WithoutCancel(t.Context()), w.DB, tenantID, to, 100)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

var (
	codeForm = regexp.MustCompile(`(?m)\b\d{6}\b`)
	linkForm = regexp.MustCompile(`https://\S+`)
)

// Code is the code in the newest message of tenant demo to an address or number.
func (w *World) Code(t *testing.T, to string) string { t.Helper(); return w.find(t, to, codeForm) }

// Link is the link in the newest message of tenant demo to an address or number.
func (w *World) Link(t *testing.T, to string) string { t.Helper(); return w.find(t, to, linkForm) }

func (w *World) find(t *testing.T, to string, form *regexp.Regexp) string {
	t.Helper()
	letters := w.Letters(t, to)
	if len(letters) == 0 {
		t.Fatalf("nothing was sent to %s", to)
	}
	found := form.FindString(letters[0].Text)
	if found == "" {
		t.Fatalf("the message to %s has no %s: %s", to, form, letters[0].Text)
	}
	return found
}
