package signin

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// A visit is one request of a browser.
type visit struct {
	by       access.Actor
	backend  bool // it comes from a server with an API key, which asks for many people
	counted  bool // what it begins is counted already, see CountStart
	tenant   tenant.Tenant
	app      tenant.Application // that calls; the zero value on pages, and if a call names none
	origin   string             // the tenant's, see tenant.Service.Origin
	rp       passkey.RP         // at the tenant's own address
	browser  string             // its name, see page.Browser
	from     session.From
	sessions []held // that are live, the active one first
	// remembered are the tokens that say where a second factor was shown before.
	remembered []string
	view       page.View
	aroundSSO  bool // the address says that no organization's sign-in is wanted
}

// held is a session with the token that the browser has for it.
type held struct {
	session.Session
	token string
}

// visit finds out who is there. A browser without a name is given one.
func (s *Service) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	ctx := r.Context()
	v := &visit{by: web.Of(ctx).Actor, browser: page.Browser(w, r)}
	v.by.Name = access.Visitor(v.by.Tenant, v.by.IP).Name // a bearer key signs nobody in
	var err error
	if v.tenant, err = s.Tenants.ByID(ctx, v.by.Tenant); err != nil {
		return nil, err
	}
	if v.rp, err = s.relyingParty(ctx, v.tenant); err != nil {
		return nil, err
	}
	if v.origin, err = s.Tenants.Origin(ctx, v.tenant); err != nil {
		return nil, err
	}
	key, err := s.formKey(ctx, v.by.Tenant)
	if err != nil {
		return nil, err
	}
	if v.sessions, err = s.held(ctx, r, v.by.Tenant); err != nil {
		return nil, err
	}
	v.remembered = rememberedTokens(r)
	v.from = s.from(v.by)
	v.view = s.View(w, r)
	v.view.CSRF = page.CSRF(key, v.browser)
	v.aroundSSO = r.URL.Query().Get("sso") == "no"
	return v, nil
}

func (s *Service) formKey(ctx context.Context, tenantID string) ([]byte, error) {
	box, err := s.Tenants.Box(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	return box.Derive("forms"), nil
}

// from describes where a request comes from.
func (s *Service) from(by access.Actor) session.From {
	c := device.Describe(by.UserAgent)
	country, city := s.Places.Locate(by.IP)
	return session.From{IP: by.IP, Client: c.Name, OS: c.OS, Device: c.Kind, Country: country, City: city}
}

// View is what every page has, for the tenant and the language of a request. Without
// an answer from the database it is that of no tenant in particular, so that there is
// always a page to tell of it.
func (s *Service) View(w http.ResponseWriter, r *http.Request) page.View {
	v := page.View{Now: s.DB.Now(), Brand: page.Brand{Name: "Cardea"}}
	if r.Method == http.MethodGet {
		v.Here = r.URL.RequestURI()
	}
	t, err := s.Tenants.ByID(r.Context(), web.Of(r.Context()).Actor.Tenant)
	if err != nil {
		v.Lang = page.Language(w, r, "", "en")
		return v
	}
	b := t.Settings.Branding
	v.Brand = page.Brand{Name: t.Name, LogoURL: b.LogoURL, FaviconURL: b.FaviconURL, StyleURL: stylePath}
	if b.Name != "" {
		v.Brand.Name = b.Name
	}
	v.Lang = page.Language(w, r, r.URL.Query().Get("ui_locales"), b.Language)
	return v
}

// sessionCookie holds the tokens of up to maxHeld sessions, the active one first.
const (
	sessionCookie = "cardea"
	maxHeld       = 5
)

func cookieName(r *http.Request) string { return hostName(r, sessionCookie) }

// hostName has the prefix by which browsers keep a cookie to one host and to https.
func hostName(r *http.Request, name string) string {
	if web.Of(r.Context()).Secure {
		return "__Host-" + name
	}
	return name
}

// deviceCookie holds the tokens of mfa.Service.Remember, for up to maxHeld users.
const deviceCookie = "cardea-device"

func rememberedTokens(r *http.Request) []string {
	found := r.CookiesNamed(hostName(r, deviceCookie))
	if len(found) != 1 || found[0].Value == "" || len(found[0].Value) > maxHeld*32 {
		return nil
	}
	return strings.Split(found[0].Value, ".")
}

// keepRemembered adds a token to the browser's.
func (v *visit) keepRemembered(w http.ResponseWriter, r *http.Request, token string) {
	tokens := append([]string{token}, v.remembered...)
	http.SetCookie(w, &http.Cookie{
		Name: hostName(r, deviceCookie), Value: strings.Join(tokens[:min(len(tokens), maxHeld)], "."), Path: "/", MaxAge: int(mfa.DeviceLife.Seconds()),
		Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// held returns the live sessions of the browser.
func (s *Service) held(ctx context.Context, r *http.Request, tenantID string) (out []held, err error) {
	for token := range cookieTokens(r) {
		live, err := s.Sessions.Current(ctx, tenantID, token)
		if errors.Is(err, session.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(out) < maxHeld && !slices.ContainsFunc(out, func(h held) bool { return h.ID == live.ID }) {
			out = append(out, held{live, token})
		}
	}
	return out, nil
}

// cookieTokens are the tokens that the browser sends. A cookie that comes twice counts
// as none: one of the two was planted.
func cookieTokens(r *http.Request) iter.Seq[string] {
	found := r.CookiesNamed(cookieName(r))
	if len(found) != 1 || len(found[0].Value) > maxHeld*32 {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(found[0].Value, ".")
}

// Signed returns the live sessions of the browser, the active one first.
func (s *Service) Signed(r *http.Request) ([]session.Session, error) {
	held, err := s.held(r.Context(), r, web.Of(r.Context()).Actor.Tenant)
	out := make([]session.Session, len(held))
	for i, h := range held {
		out[i] = h.Session
	}
	return out, err
}

// keep writes the browser's cookie: the session in front is the active one. Without
// sessions the cookie goes.
func keep(w http.ResponseWriter, r *http.Request, sessions []held) {
	tokens := make([]string, 0, maxHeld)
	for _, h := range sessions[:min(len(sessions), maxHeld)] {
		tokens = append(tokens, h.token)
	}
	c := &http.Cookie{
		Name: cookieName(r), Value: strings.Join(tokens, "."), Path: "/", MaxAge: cookieAge(sessions),
		Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if len(tokens) == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// cookieAge is how long the session lives that lives longest, in seconds.
func cookieAge(sessions []held) (age int) {
	for _, h := range sessions {
		age = max(age, int(h.ExpiresAt.Sub(h.CreatedAt).Seconds()))
	}
	return age
}

// enter puts a session in front of the browser's, in place of an older one of the same
// user.
func (v *visit) enter(w http.ResponseWriter, r *http.Request, in signedIn) {
	others := slices.DeleteFunc(slices.Clone(v.sessions), func(h held) bool { return h.UserID == in.session.UserID })
	keep(w, r, append([]held{{in.session, in.token}}, others...))
}

// SignOut takes sessions out of the browser, all of them if none is named. It does not
// end them.
func (s *Service) SignOut(w http.ResponseWriter, r *http.Request, ids ...string) error {
	sessions, err := s.held(r.Context(), r, web.Of(r.Context()).Actor.Tenant)
	if err != nil {
		return err
	}
	keep(w, r, slices.DeleteFunc(sessions, func(h held) bool { return len(ids) == 0 || slices.Contains(ids, h.ID) }))
	return nil
}

// maxForm is the longest form that is read, in bytes.
const maxForm = 64 << 10

var crossOrigin = http.NewCrossOriginProtection()

// CheckForm reads the form that r posts and refuses one that was not made by a page of
// ours for this browser.
func (s *Service) CheckForm(w http.ResponseWriter, r *http.Request) error {
	if crossOrigin.Check(r) != nil {
		return page.ErrForm.Because("posted from another site")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return page.ErrForm.Because("%w", err)
	}
	key, err := s.formKey(r.Context(), web.Of(r.Context()).Actor.Tenant)
	if err != nil {
		return err
	}
	return page.CheckForm(r, key)
}

// FormToken is the hidden field "csrf" of forms for this browser.
func (s *Service) FormToken(w http.ResponseWriter, r *http.Request) (string, error) {
	key, err := s.formKey(r.Context(), web.Of(r.Context()).Actor.Tenant)
	return page.CSRF(key, page.Browser(w, r)), err
}

// attemptOf returns the attempt that a request names, if it is this browser's.
func (s *Service) attemptOf(ctx context.Context, v *visit, handle string) (attempt, error) {
	if len(handle) != 24 {
		return attempt{}, ErrAttempt
	}
	a, err := findAttempt(ctx, s.DB, v.by.Tenant, "handle_hash", secret.Hash(handle), s.DB.Now())
	if err != nil {
		return attempt{}, err
	}
	if a.browser == nil || !secret.Equal(a.browser, hashOf(v.browser)) {
		return attempt{}, ErrAttempt.Because("begun in another browser")
	}
	v.view.State = handle
	return a, nil
}

// speak takes the language that the application asks for, if any.
func (v *visit) speak(w http.ResponseWriter, r *http.Request, a attempt) {
	if a.Request.UILocales != "" {
		v.view.Lang = page.Language(w, r, a.Request.UILocales, v.tenant.Settings.Branding.Language)
	}
}

// form is a handler for a form that goes on with an attempt.
func (s *Service) form(step func(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.CheckForm(w, r); err != nil {
			return err
		}
		v, err := s.visit(w, r)
		if err != nil {
			return err
		}
		a, err := s.attemptOf(r.Context(), v, r.PostFormValue("state"))
		if err != nil {
			return err
		}
		v.speak(w, r, a)
		s.dress(r, v, a)
		v.view.Here = withState(formHome(r.URL.Path), v.view.State) // in another language the form is empty again
		if !a.FinishedAt.IsZero() {
			return s.show(w, r, v, a)
		}
		return step(w, r, v, a)
	}
}

// formHome is where the page of a form is to be had: mostly at the dispatcher.
func formHome(path string) string {
	if path == pathPassword || path == pathSecond {
		return path
	}
	return pathSignIn
}

// see is a handler for a page of an attempt.
func (s *Service) see(show func(w http.ResponseWriter, r *http.Request, v *visit, a attempt) error) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.visit(w, r)
		if err != nil {
			return err
		}
		a, err := s.attemptOf(r.Context(), v, r.URL.Query().Get("state"))
		if err != nil {
			return err
		}
		v.speak(w, r, a)
		s.dress(r, v, a)
		return show(w, r, v, a)
	}
}

// again renders a page once more with what was wrong. What is no problem is an error.
func again(w http.ResponseWriter, r *http.Request, v *page.View, err error, p page.Page) error {
	known, ok := problem.From(err)
	if !ok || known.Kind == problem.Internal || known.Kind == problem.Unavailable {
		return err
	}
	v.Errors = page.ErrorsOf(known)
	return page.Render(w, r, web.Status(known.Kind), p)
}

// to sends the browser on: what was posted is not posted again (RFC 9700, section
// 4.12).
func to(w http.ResponseWriter, r *http.Request, path string, query ...string) error {
	if len(query) > 0 {
		q := url.Values{}
		for i := 0; i < len(query); i += 2 {
			q.Set(query[i], query[i+1])
		}
		path += "?" + q.Encode()
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// deviceOf is a place as a page tells of it.
func deviceOf(f session.From) page.Device {
	name := f.Client
	if f.OS != "" && name != "" {
		name += " · " + f.OS
	}
	place := f.City
	if place != "" && f.Country != "" {
		place += ", "
	}
	return page.Device{Name: name, Place: place + f.Country, IP: f.IP}
}
