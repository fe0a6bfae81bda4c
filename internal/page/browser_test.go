package page_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/web"
)

// request has a record that says whether it came over https.
func request(method, target string, secure bool, body url.Values) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r = web.WithActor(r, web.ActorOf(r.Context()))
	web.Of(r.Context()).Secure = secure
	return r
}

func TestBrowserIsNamedOnce(t *testing.T) {
	for name, secure := range map[string]bool{"__Host-cardea-browser": true, "cardea-browser": false} {
		w := httptest.NewRecorder()
		browser := page.Browser(w, request("GET", "/", secure, nil))
		c := w.Result().Cookies()[0]
		if c.Name != name || c.Value != browser || len(browser) < 26 || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 365*24*60*60 {
			t.Errorf("the cookie is %v", c)
		}
		w, r := httptest.NewRecorder(), request("GET", "/", secure, nil)
		r.AddCookie(c)
		if again := page.Browser(w, r); again != browser || len(w.Result().Cookies()) != 0 {
			t.Errorf("the second time it is %s, with %v", again, w.Result().Cookies())
		}
	}
}

func TestBrowserRefuses(t *testing.T) {
	good := page.Browser(httptest.NewRecorder(), request("GET", "/", true, nil))
	for name, header := range map[string]string{
		"an empty cookie":              "__Host-cardea-browser=",
		"one that is too short":        "__Host-cardea-browser=" + good[:25],
		"one that is too long":         "__Host-cardea-browser=" + strings.Repeat(good, 200),
		"one of other letters":         "__Host-cardea-browser=" + strings.ToLower(good),
		"one with bytes in it":         "__Host-cardea-browser=" + good[:24] + "\xff\x00",
		"one without its prefix":       "cardea-browser=" + good,
		"two, of which one is planted": "__Host-cardea-browser=" + good + "; __Host-cardea-browser=AAAAAAAAAAAAAAAAAAAAAAAAAA",
	} {
		t.Run(name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), request("GET", "/", true, nil)
			r.Header.Set("Cookie", header)
			if got := page.Browser(w, r); got == good || len(w.Result().Cookies()) != 1 {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestCheckFormRefuses(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	w := httptest.NewRecorder()
	browser := page.Browser(w, request("GET", "/", true, nil))
	cookie := w.Result().Cookies()[0]
	post := func(target string, form url.Values, cookies ...*http.Cookie) error {
		r := request("POST", target, true, form)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return page.CheckForm(r, key)
	}
	token := page.CSRF(key, browser)
	if err := post("/", url.Values{"csrf": {token}}, cookie); err != nil {
		t.Fatalf("the browser's own form: %v", err)
	}
	stranger := *cookie
	stranger.Value = page.Browser(httptest.NewRecorder(), request("GET", "/", true, nil))
	for name, err := range map[string]error{
		"no token":                        post("/", nil, cookie),
		"an empty token":                  post("/", url.Values{"csrf": {""}}, cookie),
		"a token in the address":          post("/?csrf="+token, nil, cookie),
		"a token of another browser":      post("/", url.Values{"csrf": {token}}, &stranger),
		"a token of another key":          post("/", url.Values{"csrf": {page.CSRF(other, browser)}}, cookie),
		"a browser without a name":        post("/", url.Values{"csrf": {page.CSRF(key, "")}}),
		"a browser of two names":          post("/", url.Values{"csrf": {token}}, cookie, &stranger),
		"the browser's name as its token": post("/", url.Values{"csrf": {browser}}, cookie),
	} {
		if !errors.Is(err, page.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLanguageIsRemembered(t *testing.T) {
	w, r := httptest.NewRecorder(), request("GET", "/signin?lang=ja", true, nil)
	if got := page.Language(w, r, "de", "fr").Tag; got != "ja" {
		t.Fatalf("chosen on the page: %s", got)
	}
	c := w.Result().Cookies()[0]
	r = request("GET", "/signin", true, nil)
	r.AddCookie(c)
	if got := page.Language(httptest.NewRecorder(), r, "de", "fr").Tag; got != "ja" || !c.HttpOnly || !c.Secure {
		t.Errorf("chosen before: %s, %v", got, c)
	}
	w, r = httptest.NewRecorder(), request("GET", "/signin?lang=xx", true, nil)
	r.Header.Set("Accept-Language", "es")
	if got := page.Language(w, r, "", "fr").Tag; got != "es" || len(w.Result().Cookies()) != 0 {
		t.Errorf("not chosen: %s", got)
	}
}

var property = regexp.MustCompile(`--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);`)

// colours reads what StyleSheet made, for the light and the dark theme.
func colours(t *testing.T, c page.Colors) (light, dark map[string]string) {
	t.Helper()
	light, dark = map[string]string{}, map[string]string{}
	for _, m := range property.FindAllStringSubmatch(string(page.StyleSheet(c)), -1) {
		light[m[1]], dark[m[1]] = m[2], m[3]
	}
	return light, dark
}

// contrast is the ratio of WCAG 2.2, written down a second time.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(s string) (sum float64) {
		for i, weight := range []float64{.2126, .7152, .0722} {
			n, err := strconv.ParseUint(s[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			v := float64(n) / 255
			if v <= .04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+.055)/1.055, 2.4)
			}
			sum += weight * v
		}
		return sum
	}
	la, lb := luminance(a), luminance(b)
	return (math.Max(la, lb) + .05) / (math.Min(la, lb) + .05)
}

func TestStyleSheetCanBeRead(t *testing.T) {
	for r := 0; r < 256; r += 51 {
		for g := 0; g < 256; g += 51 {
			for b := 0; b < 256; b += 51 {
				accent := fmt.Sprintf("#%02x%02x%02x", r, g, b)
				light, dark := colours(t, page.Colors{Accent: accent})
				if light["accent"] != accent {
					t.Errorf("%s became %s", accent, light["accent"])
				}
				for theme, c := range map[string]struct {
					of      map[string]string
					surface string
				}{"light": {light, "#f9f9f8"}, "dark": {dark, "#222221"}} {
					for what, ratio := range map[string]float64{
						"text on the accent":  contrast(t, c.of["on-accent"], c.of["accent"]),
						"text under pointer":  contrast(t, c.of["on-accent"], c.of["accent-hover"]),
						"a link":              contrast(t, c.of["accent-strong"], c.surface),
						"a letter on a badge": contrast(t, c.of["accent-strong"], c.of["accent-soft"]),
					} {
						if ratio < 4.5 {
							t.Errorf("%s, %s: %s has a contrast of %.2f", accent, theme, what, ratio)
						}
					}
				}
			}
		}
	}
}

func TestStyleSheetRefuses(t *testing.T) {
	for _, evil := range []string{"", "red", "#fff", "#12345g", "#+12345", "#1234567", "#0x1234", "url(//evil.example)", "#000000;}body{}", "ABCDEF0"} {
		if got := string(page.StyleSheet(page.Colors{Accent: evil, Background: evil})); strings.Contains(got, "--") {
			t.Errorf("%q made %s", evil, got)
		}
	}
	if got := string(page.StyleSheet(page.Colors{Background: "#222222"})); strings.Contains(got, "--") {
		t.Errorf("a ground that no text can be read on: %s", got)
	}
	if got := string(page.StyleSheet(page.Colors{Background: "#FFF4E0"})); !strings.Contains(got, "--page: light-dark(#fff4e0, var(--n2));") {
		t.Errorf("a ground: %s", got)
	}
}
