package app

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/openapi"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
	"github.com/cardea-id/cardea/ui"
)

// mailboxTag groups what the developer mode alone has.
var mailboxTag = openapi.Tag{Name: "Development", Description: "Mails and text messages that cardea dev keeps instead of sending. A server does not have these calls."}

const (
	mailboxPath   = "/dev/mailbox"
	mailboxLimit  = 50
	mailboxMost   = 500
	mailboxPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	// What is in a letter comes from templates of a tenant and names of strangers: it
	// runs no script, sends no form, and has an origin of its own.
	letterPolicy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src http: https: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

// mountMailbox adds the mailbox of the developer mode, which shows sign-in links to
// anyone. A server has no such address.
func (a *App) mountMailbox() {
	if !a.Config.Dev {
		return
	}
	example := []notify.Letter{{To: "ann@example.com", Channel: notify.Email, Subject: "Sign in to Demo", Text: "Your code: 123456", HTML: "<p>Your code: 123456</p>", SentAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	for _, route := range []web.Route{
		{
			Paths:    []string{mailboxPath},
			Endpoint: web.Endpoint{Handler: web.Handler(a.getMailbox), Media: "text/html", Out: reflect.TypeFor[[]notify.Letter]()},
			Doc: web.Doc{
				Summary: "Read the mailbox", Text: "Messages to users of the tenant, newest first: as JSON if the request has Accept: application/json, else as a page.", Example: example,
				Query: []web.Param{{Name: "to", Text: "Only messages to this address or number"}, {Name: "limit", Text: "How many at most, 50 unless said, 500 at most"}},
			},
		},
		{
			Paths:    []string{mailboxPath + "/{id}"},
			Endpoint: web.Endpoint{Handler: web.Handler(a.getLetter), Media: "text/html"},
			Doc:      web.Doc{Summary: "Read a message of the mailbox", Errors: []*problem.Problem{notify.ErrNotFound}},
		},
		{
			Paths:    []string{mailboxPath + "/{id}/html"},
			Endpoint: web.Endpoint{Handler: web.Handler(a.getLetterHTML), Media: "text/html"},
			Doc:      web.Doc{Summary: "Get the HTML of a message as a mail program shows it", Errors: []*problem.Problem{notify.ErrNotFound}},
		},
	} {
		route.Method, route.Public, route.Status, route.Doc.Tag = http.MethodGet, true, http.StatusOK, mailboxTag.Name
		a.Router.Add(route)
	}
}

// getMailbox answers the list, as JSON or as a page with the newest message open.
func (a *App) getMailbox(w http.ResponseWriter, r *http.Request) error {
	w.Header().Add("Vary", "Accept")
	letters, to, err := a.letters(r)
	if err != nil {
		return err
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		return web.Write(w, http.StatusOK, letters)
	}
	page := mailboxPage{To: to, Letters: letters}
	if len(letters) > 0 {
		page.Open = &letters[0]
	}
	return a.writeMailbox(w, r, page)
}

// getLetter answers the page with one message open.
func (a *App) getLetter(w http.ResponseWriter, r *http.Request) error {
	letter, err := a.letter(r)
	if err != nil {
		return err
	}
	letters, to, err := a.letters(r)
	if err != nil {
		return err
	}
	return a.writeMailbox(w, r, mailboxPage{To: to, Letters: letters, Open: &letter, Picked: true})
}

// getLetterHTML answers the HTML of a mail for a frame.
func (a *App) getLetterHTML(w http.ResponseWriter, r *http.Request) error {
	letter, err := a.letter(r)
	if err != nil {
		return err
	}
	if letter.HTML == "" {
		return notify.ErrNotFound
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", letterPolicy)
	_, _ = w.Write([]byte(targeted(letter.HTML))) // the browser is gone, then
	return nil
}

var openingHead = regexp.MustCompile(`(?i)<head(\s[^>]*)?>`)

// targeted makes links open beside the mailbox instead of inside the frame, where
// the pages they lead to refuse to be shown.
func targeted(html string) string {
	const base = `<base target="_blank">`
	if at := openingHead.FindStringIndex(html); at != nil {
		return html[:at[1]] + base + html[at[1]:]
	}
	return base + html
}

func (a *App) letters(r *http.Request) (letters []notify.Letter, to string, err error) {
	if to, err = web.Query(r, "to"); err != nil {
		return nil, "", err
	}
	limit, err := web.Query(r, "limit")
	if err != nil {
		return nil, "", err
	}
	n := mailboxLimit
	if limit != "" {
		if n, err = strconv.Atoi(limit); err != nil || n < 1 {
			return nil, "", web.ErrQuery.Saying("limit is a number from 1 to %d.", mailboxMost).In("limit")
		}
	}
	letters, err = a.Notify.Mailbox(r.Context(), a.DB, web.ActorOf(r.Context()).Tenant, to, min(n, mailboxMost))
	return letters, to, err
}

func (a *App) letter(r *http.Request) (notify.Letter, error) {
	id, err := web.PathValue(r, "id")
	if err != nil {
		return notify.Letter{}, err
	}
	return a.Notify.Letter(r.Context(), a.DB, web.ActorOf(r.Context()).Tenant, id)
}

// mailboxPage is the page: a list, and one message open beside it.
type mailboxPage struct {
	Tenant  string
	URL     string // of the page
	To      string // shows only messages to it
	Letters []notify.Letter
	Open    *notify.Letter
	Picked  bool // somebody chose the message that is open

	SendsMail, SendsSMS bool // they go out, and are not kept
}

//go:embed mailbox.html
var mailboxHTML string

var mailboxTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("mailbox").Funcs(template.FuncMap{
		"asset": ui.Path, "words": words, "excerpt": excerpt, "clock": func(t time.Time) string { return t.Format("Jan 2 15:04 UTC") },
	}).Parse(mailboxHTML))
})

func (a *App) writeMailbox(w http.ResponseWriter, r *http.Request, page mailboxPage) error {
	t, err := a.Tenants.ByID(r.Context(), web.ActorOf(r.Context()).Tenant)
	if err != nil {
		return err
	}
	page.Tenant, page.URL = t.Name, a.Config.PublicURL+mailboxPath
	page.SendsMail, page.SendsSMS = a.Config.SMTPURL != "", a.Config.SMSProvider != ""
	var b bytes.Buffer
	if err := mailboxTemplate().Execute(&b, page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", mailboxPolicy)
	_, _ = w.Write(b.Bytes()) // the browser is gone, then
	return nil
}

// Address is where the page of a message is, under the filter that is in force.
func (p mailboxPage) Address(letter notify.Letter) string {
	address := mailboxPath + "/" + letter.ID
	if p.To != "" {
		address += "?" + url.Values{"to": {p.To}}.Encode()
	}
	return address
}

// IsOpen reports whether a message of the list is the one that is open.
func (p mailboxPage) IsOpen(letter notify.Letter) bool {
	return p.Open != nil && p.Open.ID == letter.ID
}

// A word is a part of a text: a link, or what is between links.
type word struct{ Text, Link string }

var link = regexp.MustCompile(`https?://[^\s<>"']*[^\s<>"'.,;:!?)\]]`)

// words finds the links in a text.
func words(text string) (out []word) {
	end := 0
	for _, at := range link.FindAllStringIndex(text, -1) {
		out = append(out, word{Text: text[end:at[0]]}, word{text[at[0]:at[1]], text[at[0]:at[1]]})
		end = at[1]
	}
	return append(out, word{Text: text[end:]})
}

// excerpt is the beginning of a text in one line, with its links left out.
func excerpt(text string) string {
	short := strings.Join(strings.Fields(link.ReplaceAllString(text, "…")), " ")
	if runes := []rune(short); len(runes) > 120 {
		short = string(runes[:119]) + "…"
	}
	return short
}
