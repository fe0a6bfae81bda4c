package page

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// ErrForm is for a form that was not made for this browser: the token in it is
// missing or stale, which also happens when cookies were cleared meanwhile.
var ErrForm = problem.New(problem.Forbidden, "form_expired", "This form is no longer valid. Load the page again and repeat what you did.")

const (
	browserCookie  = "cardea-browser"
	languageCookie = "cardea-language"
	languageField  = "lang"             // in an address: the language chosen on a page
	cookieAge      = 365 * 24 * 60 * 60 // seconds
)

// Browser returns the random name of the browser, 130 bits, from its cookie. A
// browser that has none, or one we did not make, is given one. A cookie sent twice
// counts as none: one of the two was planted.
func Browser(w http.ResponseWriter, r *http.Request) string {
	if name := browserOf(r); name != "" {
		return name
	}
	name := rand.Text()
	setCookie(w, r, browserCookie, name)
	rename(r, cookieName(r, browserCookie), name)
	return name
}

// rename puts a cookie into a request as if it had come with it, in place of those of
// the same name: asked again, Browser answers the same.
func rename(r *http.Request, name, value string) {
	sent := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range sent {
		if c.Name != name {
			r.AddCookie(c)
		}
	}
	r.AddCookie(&http.Cookie{Name: name, Value: value})
}

// HasBrowser reports whether the browser has a name.
func HasBrowser(r *http.Request) bool { return browserOf(r) != "" }

// browserOf returns the browser's name, or nothing.
func browserOf(r *http.Request) string {
	found := r.CookiesNamed(cookieName(r, browserCookie))
	if len(found) != 1 || !isToken(found[0].Value) {
		return ""
	}
	return found[0].Value
}

// isToken reports whether s may have come from rand.Text.
func isToken(s string) bool {
	return len(s) == 26 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// cookieName has the prefix by which browsers keep a cookie to one host and to
// https. Without https, in developer mode, they would refuse it.
func cookieName(r *http.Request, name string) string {
	if web.Of(r.Context()).Secure {
		return "__Host-" + name
	}
	return name
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r, name), Value: value, Path: "/", MaxAge: cookieAge,
		Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// CSRF is the token that the forms of a browser carry: a MAC of its name, so that
// nothing needs to be stored, and nobody who reads the token learns the name.
func CSRF(key []byte, browser string) string {
	return base64.RawURLEncoding.EncodeToString(secret.MAC(key, "form of "+browser))
}

// CheckForm returns ErrForm unless the form that r posts was made for its browser.
// It does not look at the address: a token in a query counts for nothing.
func CheckForm(r *http.Request, key []byte) error {
	browser, token := browserOf(r), r.PostFormValue("csrf")
	if browser == "" || !secret.Equal([]byte(token), []byte(CSRF(key, browser))) {
		return ErrForm
	}
	return nil
}

// Language is the language for a page: what the person chose on a page of ours, now
// ("lang" in the address, which is remembered) or before, else as lang.Pick finds
// for what the application, the browser and the tenant ask for.
func Language(w http.ResponseWriter, r *http.Request, uiLocales, fallback string) *lang.Language {
	if l := byTag(r.URL.Query().Get(languageField)); l != nil {
		setCookie(w, r, languageCookie, l.Tag)
		return l
	}
	if c, err := r.Cookie(cookieName(r, languageCookie)); err == nil {
		if l := byTag(c.Value); l != nil {
			return l
		}
	}
	return lang.Pick(uiLocales, r.Header.Get("Accept-Language"), fallback)
}

func byTag(tag string) *lang.Language {
	for _, l := range lang.All() {
		if l.Tag == tag {
			return l
		}
	}
	return nil
}
