package lang_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/lang"
)

// rawTexts reads a language's file by other means than the package: each text by
// plural form, plain ones as "other".
func rawTexts(t *testing.T, tag string) map[string]map[string]string {
	t.Helper()
	b, err := os.ReadFile(tag + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`"[a-z_0-9]+\.[a-z_0-9.]+": *["{]`).FindAll(b, -1)); n != len(raw) {
		t.Errorf("%s: %d texts are written and %d are left: one key stands twice", tag, n, len(raw))
	}
	out := map[string]map[string]string{}
	for key, v := range raw {
		switch v := v.(type) {
		case string:
			out[key] = map[string]string{"other": v}
		case map[string]any:
			out[key] = map[string]string{}
			for form, s := range v {
				out[key][form], _ = s.(string)
			}
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

func placeholders(s string) []string {
	found := placeholder.FindAllString(s, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

func TestLanguagesHaveTheSameTexts(t *testing.T) {
	english := rawTexts(t, "en")
	for _, l := range lang.All() {
		texts := rawTexts(t, l.Tag)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(texts))); diff != "" {
			t.Errorf("%s has other keys than en: %s", l.Tag, diff)
		}
		for key, forms := range texts {
			want := placeholders(english[key]["other"])
			if len(forms) > 1 != (len(formsOf(l.Tag)) > 1 && slices.Contains(want, "{count}")) {
				t.Errorf("%s: %s has %d forms", l.Tag, key, len(forms))
			}
			for form, s := range forms {
				got := placeholders(s)
				if form != "other" && !slices.Contains(got, "{count}") { // "an hour ago"
					got = append(got, "{count}")
					slices.Sort(got)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: placeholders of %s (%s): %s", l.Tag, key, form, diff)
				}
				if s != strings.TrimSpace(s) || s == "" || strings.ContainsAny(s, "<>") {
					t.Errorf("%s: %s (%s) is %q", l.Tag, key, form, s)
				}
			}
		}
	}
}

// formsOf lists the plural forms that a language has for numbers people see.
func formsOf(tag string) (out []string) {
	names := map[plural.Form]string{plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many", plural.Other: "other"}
	for n := range 1000 {
		if f := names[plural.Cardinal.MatchPlural(language.MustParse(tag), n, 0, 0, 0, 0)]; !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

func TestPluralsAreComplete(t *testing.T) {
	for _, l := range lang.All() {
		for key, forms := range rawTexts(t, l.Tag) {
			if len(forms) == 1 {
				continue
			}
			if diff := cmp.Diff(formsOf(l.Tag), slices.Sorted(maps.Keys(forms))); diff != "" {
				t.Errorf("%s: forms of %s: %s", l.Tag, key, diff)
			}
		}
	}
}

// read returns all sources below a folder of internal whose names end in one of
// the given ways, tests aside.
func read(t *testing.T, folder string, endings ...string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join("..", folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || !slices.Contains(endings, filepath.Ext(path)) {
			return err
		}
		content, err := os.ReadFile(path)
		b.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEveryTextIsUsed(t *testing.T) {
	everywhere, pages := read(t, ".", ".go", ".html"), read(t, "page", ".go")
	scopes := []string{"openid", "profile", "email", "phone", "address", "offline_access"}
	for key := range rawTexts(t, "en") {
		group, name, _ := strings.Cut(key, ".")
		used := strings.Contains(everywhere, `"`+key+`"`)
		switch group { // keys that are put together
		case "field":
			used = used || strings.Contains(pages, `"`+name+`":`)
		case "notice":
			used = used || strings.Contains(pages, `"`+name+`"`)
		case "error":
			used = used || strings.Contains(pages, `"`+strings.TrimSuffix(name, ".text")+`"`)
		case "problem":
			used = used || strings.Contains(everywhere, `"`+name+`"`)
		case "sso": // the causes of package sso
			_, cause, _ := strings.Cut(name, ".")
			used = strings.Contains(everywhere, `"`+cause+`"`)
		case "scope":
			used = slices.Contains(scopes, name)
		case "month":
			used = len(name) <= 2
		}
		if !used {
			t.Errorf("nothing uses %s", key)
		}
	}
}

func TestEveryKeyThatIsUsedExists(t *testing.T) {
	used := regexp.MustCompile(`(?:\.Text\(|\b(?:text|bold|copyOf)(?: |\()[.$a-z]+,? |\b(?:contact|further) [.$] [.A-Za-z]+ )"([a-z_.]+[a-z_])"`)
	english := rawTexts(t, "en")
	found := used.FindAllStringSubmatch(read(t, ".", ".go", ".html"), -1)
	if len(found) < 500 {
		t.Fatalf("only %d uses found: the test does not see them", len(found))
	}
	for _, m := range found {
		if english[m[1]] == nil && strings.Contains(m[1], ".") {
			t.Errorf("there is no text %s", m[1])
		}
	}
}

func TestPick(t *testing.T) {
	for name, c := range map[string]struct{ uiLocales, accept, fallback, want string }{
		"what the application asks for comes first": {"de", "fr", "es", "de"},
		"the first of several that we speak":        {"nl-x-unknown ja de", "fr", "", "ja"},
		"a region falls back to its language":       {"pt-BR", "", "", "pt"},
		"a script falls back to its language":       {"", "hi-Deva-IN", "", "hi"},
		"then the browser":                          {"", "fr-CH, fr;q=0.9, en;q=0.8", "de", "fr"},
		"the browser's weights count":               {"", "en;q=0.2, ar;q=0.9", "", "ar"},
		"one we do not speak counts as none":        {"ko", "ko-KR", "tr", "tr"},
		"then the tenant":                           {"", "", "es", "es"},
		"at last English":                           {"", "", "", "en"},
		"a tenant's language that we do not speak":  {"", "", "ko", "en"},
		"any language will do":                      {"", "*", "", "en"},
		"nonsense":                                  {"\x00;;", ";;q=q", "??", "en"},
		"a wish without end":                        {"", strings.Repeat("de-", 10_000), "fr", "fr"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lang.Pick(c.uiLocales, c.accept, c.fallback).Tag; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestDirections(t *testing.T) {
	for _, l := range lang.All() {
		if want := map[bool]string{true: "rtl", false: "ltr"}[l.Tag == "ar"]; l.Dir != want {
			t.Errorf("%s runs %s, want %s", l.Tag, l.Dir, want)
		}
	}
}

func TestText(t *testing.T) {
	en := lang.Pick("en", "", "")
	for name, c := range map[string]struct{ got, want string }{
		"a value takes its place":                {en.Text("signin.to", "app", "Orders"), "to continue to Orders"},
		"a value is not searched for more":       {en.Text("time.moment", "date", "{clock}", "clock", "9:00"), "{clock}, 9:00 UTC"},
		"a value that is not asked for":          {en.Text("signin.or", "app", "Orders"), "or"},
		"a name without a value":                 {en.Text("signin.or", "app"), "or"},
		"a duration":                             {en.Text("problem.wait", "wait", 90*time.Second), "You can try again in 2 minutes."},
		"one":                                    {en.Text("time.hours", "count", 1), "1 hour"},
		"many":                                   {en.Text("time.hours", "count", 3), "3 hours"},
		"a key that does not exist names itself": {en.Text("no.such"), "no.such"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %q, want %q", c.got, c.want)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	en, de, ja, ar := lang.Pick("en", "", ""), lang.Pick("de", "", ""), lang.Pick("ja", "", ""), lang.Pick("ar", "", "")
	now := time.Date(2026, 3, 5, 14, 5, 0, 0, time.FixedZone("elsewhere", 3600))
	for name, c := range map[string]struct{ got, want string }{
		"seconds":             {en.Duration(30 * time.Second), "30 seconds"},
		"rounded up":          {en.Duration(61 * time.Second), "2 minutes"},
		"nothing is a second": {en.Duration(-time.Hour), "1 second"},
		"days":                {de.Duration(48 * time.Hour), "2 Tage"},
		"Arabic dual":         {ar.Duration(2 * time.Minute), "دقيقتين"},
		"Arabic few":          {ar.Duration(10 * time.Minute), "10 دقائق"},
		"Arabic many":         {ar.Duration(15 * time.Minute), "15 دقيقة"},
		"the future is now":   {en.Ago(now.Add(time.Hour), now), "just now"},
		"minutes ago":         {en.Ago(now.Add(-119*time.Second), now), "1 minute ago"},
		"hours ago":           {de.Ago(now.Add(-3*time.Hour), now), "vor 3 Stunden"},
		"days ago":            {ja.Ago(now.Add(-9*24*time.Hour), now), "9日前"},
		"long ago":            {en.Ago(now.Add(-40*24*time.Hour), now), "24 January 2026"},
		"a date":              {de.Date(now), "5. März 2026"},
		"a Japanese date":     {ja.Date(now), "2026年3月5日"},
		"a moment":            {en.Moment(now), "5 March 2026, 13:05 UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %q, want %q", c.got, c.want)
			}
		})
	}
}
