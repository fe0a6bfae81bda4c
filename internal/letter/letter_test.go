package letter_test

import (
	"encoding/json"
	"flag"
	"html"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/tenant"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sample is a letter with all that its kind can have.
func sample(kind letter.Kind, language string) letter.Letter {
	l := letter.Letter{
		Kind: kind, Channel: notify.Email, To: "ann@example.com", Language: language,
		Brand: letter.Brand{Name: "Acme", Accent: "#0f766e"},
		Link:  "https://acme.example.com/signin/link?token=NB2HI4DTHIXS6ZLYMFWXA3DF&state=7",
		At:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Device: "Firefox on Windows", Place: "Berlin, Germany", IP: "192.0.2.1",
	}
	switch kind {
	case letter.SignIn, letter.SignUp, letter.Verify:
		l.Code, l.Lasts = "204816", 10*time.Minute
	case letter.Reset:
		l.Lasts = 30 * time.Minute
	case letter.FactorChanged:
		l.NotMe, l.Change, l.Lasts = true, "passkey_added", 7*24*time.Hour
	case letter.NewSignIn:
		l.NotMe, l.Lasts = true, 7*24*time.Hour
	case letter.CertificateEnds:
		l.Lasts, l.Application, l.Device, l.Place, l.IP, l.At = 14*24*time.Hour, "Initech", "", "", "", time.Time{}
	case letter.Invitation:
		l.Lasts, l.Application = 7*24*time.Hour, "Initech"
	}
	return l
}

func text(l letter.Letter) letter.Letter {
	if l.NotMe { // takes a link
		l.NotMe, l.Lasts = false, 0
	}
	l.Channel, l.To, l.Link, l.Host = notify.SMS, "+4917012345678", "", "acme.example.com"
	if l.Lasts > 0 {
		l.Code = "204816"
	}
	return l
}

func write(t *testing.T, l letter.Letter) notify.Message {
	t.Helper()
	m, err := l.Message()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLetters(t *testing.T) {
	t.Parallel()
	for _, kind := range letter.Kinds {
		for _, language := range []string{"en", "de", "ar"} {
			name := string(kind) + "." + language
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m, sms := write(t, sample(kind, language)), write(t, text(sample(kind, language)))
				golden(t, name+".html", m.HTML)
				golden(t, name+".txt", "Subject: "+m.Subject+"\n\n"+m.Text)
				golden(t, name+".sms.txt", sms.Text)
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); \"make generate\" rewrites it:\n%s", name, diff)
	}
}

var placeholder = regexp.MustCompile(`\{\w*\}`)

func TestAllLanguagesHaveTheSameWords(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("words/*.json")
	if err != nil || len(paths) != len(lang.All()) {
		t.Fatalf("%d files for %d languages, %v", len(paths), len(lang.All()), err)
	}
	english := readWords(t, "words/en.json")
	for _, path := range paths {
		own := readWords(t, path)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(own))); diff != "" {
			t.Errorf("%s (-English +own): %s", path, diff)
		}
		for key, want := range english {
			got := placeholder.FindAllString(own[key], -1)
			wanted := placeholder.FindAllString(want, -1)
			slices.Sort(got)
			slices.Sort(wanted)
			if !slices.Equal(got, wanted) {
				t.Errorf("%s: %s has the placeholders %q, want %q", path, key, got, wanted)
			}
			if path != "words/en.json" && own[key] == want {
				t.Errorf("%s: %s is in English", path, key)
			}
		}
	}
}

func readWords(t *testing.T, path string) (words map[string]string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &words); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return words
}

// Every letter in every language, with all and with as little as can be.
func TestEveryLetterIsWhole(t *testing.T) {
	t.Parallel()
	for _, kind := range letter.Kinds {
		for _, language := range lang.All() {
			full := sample(kind, language.Tag)
			bare := letter.Letter{Kind: kind, Channel: notify.Email, To: full.To, Language: language.Tag, Link: full.Link, Lasts: full.Lasts}
			codeOnly := full
			codeOnly.Link, codeOnly.NotMe, codeOnly.Code = "", false, "204816"
			for _, l := range []letter.Letter{full, bare, codeOnly, text(full)} {
				m := write(t, l)
				for _, s := range []string{m.Subject, m.Text, m.HTML} {
					if left := regexp.MustCompile(`\{(name|app|address|code|time)\}|<no value>|ZgotmplZ`).FindString(s); left != "" {
						t.Errorf("%s in %s: %q is left in it", kind, language.Tag, left)
					}
				}
				if m.Channel != l.Channel || m.To != l.To || m.Purpose != string(kind) || m.Text == "" || (m.HTML == "") != (l.Channel == notify.SMS) || (m.Subject == "") != (l.Channel == notify.SMS) {
					t.Errorf("%s in %s: %+v", kind, language.Tag, m)
				}
				for _, must := range []string{l.Link, l.Code} {
					if !strings.Contains(m.Text, must) || (m.HTML != "" && !strings.Contains(html.UnescapeString(m.HTML), must)) {
						t.Errorf("%s in %s: %q is missing", kind, language.Tag, must)
					}
				}
				// Notifications on a locked screen and the logs of mail servers show subjects.
				if l.Code != "" && strings.Contains(m.Subject, l.Code) {
					t.Errorf("%s in %s: the subject %q tells the code", kind, language.Tag, m.Subject)
				}
				if m.HTML != "" && !strings.Contains(m.HTML, `<html lang="`+language.Tag+`" dir="`+language.Dir+`">`) {
					t.Errorf("%s in %s: another language or direction: %.200s", kind, language.Tag, m.HTML)
				}
			}
		}
	}
}

func TestTheLanguageIsPicked(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		"en": "Sign in", "de-AT": "Anmelden", "pt-BR": "Entrar", "ja": "サインイン", "": "Sign in", "nv": "Sign in", "xx;\r\n": "Sign in",
	} {
		if m := write(t, sample(letter.SignIn, tag)); !strings.Contains(m.HTML, ">"+want+"</a>") {
			t.Errorf("%q: subject %q, want a button %q", tag, m.Subject, want)
		}
	}
}

// What a letter tells of is named, in every language, and its link is called what it does.
func TestALetterSaysWhatChangedAndHowToEndIt(t *testing.T) {
	t.Parallel()
	for _, language := range lang.All() {
		words := readWords(t, "words/"+language.Tag+".json")
		for _, change := range letter.Changes {
			l := sample(letter.FactorChanged, language.Tag)
			l.Change = change
			m := write(t, l)
			for _, want := range []string{words["change."+change], words["not_me.button"], language.Duration(l.Lasts)} {
				if !strings.Contains(m.Text, want) || !strings.Contains(html.UnescapeString(m.HTML), want) {
					t.Errorf("%s: %s: no %q", language.Tag, change, want)
				}
			}
		}
	}
	for name, l := range map[string]letter.Letter{
		"of a code":    {Kind: letter.SignIn, Code: "204816", Lasts: time.Minute, NotMe: true, Link: "https://acme.example.com"},
		"without link": {Kind: letter.NewSignIn, Lasts: time.Hour, NotMe: true},
		"for ever":     {Kind: letter.NewSignIn, NotMe: true, Link: "https://acme.example.com"},
		"unknown":      {Kind: letter.FactorChanged, Change: "toe_added"},
	} {
		l.Channel, l.To = notify.Email, "ann@example.com"
		if _, err := l.Message(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// Browsers fill a code in if the last line of the message says where it belongs.
func TestATextMessageEndsWithWhereItsCodeBelongs(t *testing.T) {
	t.Parallel()
	for _, language := range lang.All() {
		lines := strings.Split(write(t, text(sample(letter.SignIn, language.Tag))).Text, "\n")
		if len(lines) != 2 || lines[1] != "@acme.example.com #204816" {
			t.Errorf("%s: %q", language.Tag, lines)
		}
	}
	nowhere := text(sample(letter.SignIn, "en"))
	nowhere.Host = ""
	if m := write(t, nowhere); strings.Contains(m.Text, "\n") {
		t.Errorf("without a host: %q", m.Text)
	}
	if m := write(t, text(sample(letter.PasswordChanged, "en"))); strings.Contains(m.Text, "\n") || strings.Contains(m.Text, "@") {
		t.Errorf("without a code: %q", m.Text)
	}
}

// C10.165: our mail must not carry a stranger's advertising.
func TestNamesAreMadeFit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ brand, app string }{
		"Acme":                      {"Acme", "Acme"},
		"Booking.example":           {"Booking.example", ""},
		"  Acme \t Inc. ":           {"Acme Inc.", "Acme Inc."},
		"Müller & Söhne":            {"Müller & Söhne", "Müller & Söhne"},
		"A/B Labs":                  {"A/B Labs", "A/B Labs"},
		"Win at https://evil.test/": {"Win at", "Win at"},
		"Win at HTTPS://EVIL.TEST":  {"Win at", "Win at"},
		"Win www.evil.test now":     {"Win now", "Win now"},
		"Win (www.evil.test)":       {"Win", "Win"},
		"Win evil.test/prize now":   {"Win now", "Win now"},
		"Write to eve@evil.test":    {"Write to", "Write to"},
		"Win at evil.test":          {"Win at evil.test", "Win at"},
		"Win at evil。test/x":        {"Win at", "Win at"},
		"Win at ｅｖｉｌ．ｔｅｓｔ／ｘ":        {"Win at", "Win at"},
		"Acme\r\nBcc: eve":          {"Acme Bcc: eve", "Acme Bcc: eve"},
		"Acme\u202etest.live":       {"Acme test.live", "Acme"},
		"\xff\x00Acme\u200b":        {"Acme", "Acme"},
		strings.Repeat("é", 100):    {strings.Repeat("é", 60), strings.Repeat("é", 60)},
		"https://evil.test":         {"Cardea", ""},
		"{code} {address}":          {"{code} {address}", "{code} {address}"},
	} {
		l := sample(letter.SignIn, "en")
		l.Brand.Name = name
		if got := write(t, l).Subject; got != "Sign in to "+c.brand {
			t.Errorf("brand %q: subject %q, want the name %q", name, got, c.brand)
		}
		l = sample(letter.SignIn, "en")
		l.Application = name
		want := "You asked to sign in to " + c.app + " as ann@example.com."
		if c.app == "" || c.app == l.Brand.Name {
			want = "You asked to sign in to Acme as ann@example.com."
		}
		if m := write(t, l); !strings.Contains(m.Text, "\n\n"+want+"\n\n") {
			t.Errorf("application %q: %q, want %q", name, m.Text, want)
		}
	}
}

// What comes from outside ends up as text, wherever it stands.
func TestMarkupIsEscaped(t *testing.T) {
	t.Parallel()
	evil := `<b onclick=x>'"`
	l := sample(letter.SignIn, "en")
	l.Brand, l.Application, l.To = letter.Brand{Name: evil, LogoURL: `javascript:alert(1)`, Accent: `red;}</style>`}, evil, evil
	l.Device, l.Place, l.IP = evil, evil, evil
	m := write(t, l)
	for _, bad := range []string{"<b ", "onclick=x>", "javascript:", "red;", "ZgotmplZ"} {
		if strings.Contains(m.HTML, bad) {
			t.Errorf("%q is in the mail", bad)
		}
	}
	l.Brand.LogoURL = `https://acme.example.com/logo.png?"><script>`
	if m := write(t, l); strings.Contains(m.HTML, "<script") || !strings.Contains(m.HTML, `<img class="logo name" src="https://acme.example.com/logo.png?%22%3e%3cscript%3e"`) {
		t.Errorf("logo: %s", regexp.MustCompile(`<img[^>]*>`).FindString(m.HTML))
	}
}

func TestWhatIsNoLetterIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(l *letter.Letter){
		"an unknown kind":       func(l *letter.Letter) { l.Kind = "advert" },
		"no kind":               func(l *letter.Letter) { l.Kind = "" },
		"a script as link":      func(l *letter.Letter) { l.Link = "javascript:alert(1)" },
		"a relative link":       func(l *letter.Letter) { l.Link = "/signin/link" },
		"a link with a user":    func(l *letter.Letter) { l.Link = "https://acme.example.com@evil.test/" },
		"a code with a break":   func(l *letter.Letter) { l.Code = "123456\n" },
		"neither link nor code": func(l *letter.Letter) { l.Link, l.Code = "", "" },
		"no end":                func(l *letter.Letter) { l.Lasts = 0 },
		"a text without code":   func(l *letter.Letter) { l.Channel, l.Code = notify.SMS, "" },
	} {
		l := sample(letter.SignIn, "en")
		change(&l)
		if m, err := l.Message(); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// Whatever the accent, the button's text can be read and the button be seen.
func TestButtonsCanBeRead(t *testing.T) {
	t.Parallel()
	button := regexp.MustCompile(`\.button \{ background-color: (\S+) !important; \}\s+\.press \{ color: (\S+) !important`)
	for accent, want := range map[string][4]string{ // ground and ink in the light, then in the dark
		"#0f766e":  {"#0f766e", "#ffffff", "#0f766e", "#ffffff"},
		"#ffdd00":  {"#ffdd00", "#000000", "#ffdd00", "#000000"},
		"#000000":  {"#000000", "#ffffff", "#666666", "#ffffff"},
		"nonsense": {"#3a5bc7", "#ffffff", "#3e5ec8", "#ffffff"},
		"":         {"#3a5bc7", "#ffffff", "#3e5ec8", "#ffffff"},
	} {
		l := sample(letter.SignIn, "en")
		l.Brand.Accent = accent
		page := write(t, l).HTML
		dark := button.FindStringSubmatch(page)
		light := regexp.MustCompile(`class="press"[^>]*;color:(#\w+)`).FindStringSubmatch(page)
		ground := regexp.MustCompile(`class="button"[^>]*background-color:(#\w+)`).FindStringSubmatch(page)
		if dark == nil || light == nil || ground == nil {
			t.Fatalf("accent %q: no button in %s", accent, page)
		}
		if got := [4]string{ground[1], light[1], dark[1], dark[2]}; got != want {
			t.Errorf("accent %q: %q, want %q", accent, got, want)
		}
	}
}

func TestTheBrandIsTheTenants(t *testing.T) {
	t.Parallel()
	plain := tenant.Tenant{Name: "acme"}
	if got := letter.BrandOf(plain); got != (letter.Brand{Name: "acme"}) {
		t.Errorf("without branding: %+v", got)
	}
	plain.Settings.Branding = tenant.Branding{Name: "Acme", LogoURL: "https://acme.example.com/logo.png", Accent: "#0f766e"}
	if got := letter.BrandOf(plain); got != (letter.Brand{Name: "Acme", LogoURL: "https://acme.example.com/logo.png", Accent: "#0f766e"}) {
		t.Errorf("with branding: %+v", got)
	}
}
