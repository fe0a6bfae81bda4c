package portal

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// A visit is one request of a browser that has opened a link.
type visit struct {
	link Link
	by   access.Actor
	org  org.Organization
	base string // path of the portal, with the link in it
	view page.PortalView
}

// a step does what one request asks for.
type step = func(w http.ResponseWriter, r *http.Request, v *visit) error

// page is a handler for a page of links for one of some intents.
func (s *Service) page(intents []string, show step) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if key := r.URL.Query().Get("key"); key != "" {
			return s.enter(w, r, key)
		}
		v, err := s.visit(w, r, intents)
		if err != nil {
			return err
		}
		return show(w, r, v)
	}
}

// form is a handler for a form of such a page.
func (s *Service) form(intents []string, do step) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.checkForm(w, r); err != nil {
			return err
		}
		v, err := s.visit(w, r, intents)
		if err != nil {
			return err
		}
		v.view.Here = ""
		return do(w, r, v)
	}
}

// enter has the browser keep the key of a link that works, and sends it on to an
// address without it.
func (s *Service) enter(w http.ResponseWriter, r *http.Request, key string) error {
	ctx, visitor, id := r.Context(), web.ActorOf(r.Context()), r.PathValue("link")
	if _, err := openLink(ctx, s.DB, visitor.Tenant, cleanID(id), secret.Hash(key), s.DB.Now()); err != nil {
		if errors.Is(err, ErrGone) {
			if limited := s.Limits.Take(ctx, visitor.Tenant, ratelimit.Redeem.For(ratelimit.Key("", visitor.IP))); limited != nil {
				return limited
			}
		}
		return err
	}
	s.keep(w, r, opened{id, key})
	http.Redirect(w, r, Path+id, http.StatusSeeOther)
	return nil
}

// cleanID is id if it can be one.
func cleanID(id string) string {
	if !secret.IsID(id) {
		return ""
	}
	return id
}

// visit looks up the link of a request, every time anew.
func (s *Service) visit(w http.ResponseWriter, r *http.Request, intents []string) (*visit, error) {
	l, err := s.opened(r, r.PathValue("link"))
	if err != nil {
		return nil, err
	}
	if !l.is(intents) {
		return nil, web.ErrNoRoute
	}
	visitor := web.ActorOf(r.Context())
	o, err := s.Orgs.Find(r.Context(), s.DB, visitor.Tenant, l.OrganizationID)
	if errors.Is(err, org.ErrNotFound) || err == nil && !o.IsActive {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	key, err := s.formKey(r.Context(), visitor.Tenant)
	if err != nil {
		return nil, err
	}
	v := &visit{link: l, by: l.actor(visitor), org: o, base: Path + l.ID}
	v.view = page.PortalView{View: s.View(w, r), Organization: o.Label(), Until: l.ExpiresAt, Base: v.base, Intents: l.Intents}
	v.view.CSRF, v.view.Notice = page.CSRF(key, page.Browser(w, r)), r.URL.Query().Get("notice")
	return v, nil
}

// opened returns the link of an id if the browser has its key and it works.
func (s *Service) opened(r *http.Request, id string) (Link, error) {
	for _, o := range openedOf(r) {
		if o.id == id {
			return openLink(r.Context(), s.DB, web.ActorOf(r.Context()).Tenant, id, secret.Hash(o.key), s.DB.Now())
		}
	}
	return Link{}, ErrGone
}

// linkCookie holds what the browser has opened, the last one first.
const (
	linkCookie = "cardea-portal"
	maxOpened  = 5
)

// opened is a link with the key that the browser has for it.
type opened struct{ id, key string }

func cookieName(r *http.Request) string {
	if web.Of(r.Context()).Secure {
		return "__Host-" + linkCookie
	}
	return linkCookie
}

// openedOf reads the cookie. One that comes twice counts as none: one of the two was
// planted.
func openedOf(r *http.Request) (out []opened) {
	found := r.CookiesNamed(cookieName(r))
	if len(found) != 1 || len(found[0].Value) > maxOpened*64 {
		return nil
	}
	for part := range strings.SplitSeq(found[0].Value, ".") {
		if id, key, ok := strings.Cut(part, ":"); ok && secret.IsID(id) && key != "" {
			out = append(out, opened{id, key})
		}
	}
	return out
}

func (s *Service) keep(w http.ResponseWriter, r *http.Request, newest opened) {
	parts := []string{newest.id + ":" + newest.key}
	for _, o := range openedOf(r) {
		if o.id != newest.id && len(parts) < maxOpened {
			parts = append(parts, o.id+":"+o.key)
		}
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: strings.Join(parts, "."), Path: "/", MaxAge: int(MaxLife.Seconds()),
		Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// maxForm is the longest form that is read, in bytes: federations publish long
// metadata, and one provider's are far shorter.
const maxForm = 1 << 20

var crossOrigin = http.NewCrossOriginProtection()

// checkForm reads the form that r posts, with a file if there is one, and refuses one
// that was not made by a page of ours for this browser.
func (s *Service) checkForm(w http.ResponseWriter, r *http.Request) error {
	if crossOrigin.Check(r) != nil {
		return page.ErrForm.Because("posted from another site")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	read := r.ParseForm
	if media == "multipart/form-data" {
		read = func() error { return r.ParseMultipartForm(maxForm) } // all of it in memory
	}
	if err := read(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return web.ErrTooLarge
		}
		return page.ErrForm.Because("%w", err)
	}
	key, err := s.formKey(r.Context(), web.ActorOf(r.Context()).Tenant)
	if err != nil {
		return err
	}
	return page.CheckForm(r, key)
}

func (s *Service) formKey(ctx context.Context, tenant string) ([]byte, error) {
	box, err := s.Tenants.Box(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return box.Derive("forms"), nil
}

// to sends the browser on, with what was done to tell.
func (v *visit) to(w http.ResponseWriter, r *http.Request, path, notice string) error {
	to := v.base + path
	if notice != "" {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		to += mark + "notice=" + notice
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// fields are the inputs of our forms, by the names that services give what they blame.
var fields = map[string]string{
	"settings.metadata_url": "metadata_url", "settings.issuer": "issuer", "settings.client_id": "client_id", "client_secret": "client_secret",
	"settings.group_rules": "rules", "group_rules": "rules", "domain": "domain", "metadata": "metadata", "certificate": "certificate", "rules": "rules",
	"settings.attributes": "attribute_email", "settings.directories": "directories", "settings.target": "land", "settings.group_attribute": "group_attribute",
}

// again renders a page once more with what was wrong. What is no problem is an error,
// and so is what is not there.
func again(w http.ResponseWriter, r *http.Request, v *visit, err error, p func() (page.Page, error)) error {
	known, ok := problem.From(err)
	if !ok || known.Kind == problem.Internal || known.Kind == problem.NotFound {
		return err
	}
	v.view.Errors = page.ErrorsOf(known)
	for i, e := range v.view.Errors {
		v.view.Errors[i].Field = fields[e.Field]
	}
	shown, failed := p()
	if failed != nil {
		return failed
	}
	return page.Render(w, r, web.Status(known.Kind), shown)
}
