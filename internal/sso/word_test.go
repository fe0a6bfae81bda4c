package sso_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/sso"
)

// checkNames finds the names of checks in the sources: whole ones, and those that are put
// behind the message they are of.
var checkNames = []struct {
	form   *regexp.Regexp
	before string
}{
	{regexp.MustCompile(`Cause\w+, "([a-z_.]+)"`), ""},
	{regexp.MustCompile(`Cause(?:\w+, |"?\w+"?, )?name ?\+ ?"\.([a-z_.]+)"`), "assertion."},
	{regexp.MustCompile(`name ?\+ ?"\.([a-z_.]+)"`), "response."},
	{regexp.MustCompile(`Name: +"([a-z_.]+)"`), ""},
	{regexp.MustCompile(`done\("([a-z_]+)"`), ""},
	{regexp.MustCompile(`(?m)^\t\w+ +Cause = "([a-z_]+)"`), ""},
}

// Whatever a trace says was checked has words in every language.
func TestEveryCheckHasWords(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	for _, pattern := range []string{"samlxml/*.go", "oidc.go", "saml.go", "profile.go", "try.go", "target.go", "watch.go", "../rp/rp.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// The causes of package samlxml are no steps, and metadata are never told of by parts.
			if !strings.HasSuffix(file, "_test.go") && !strings.HasSuffix(file, "samlxml/samlxml.go") && !strings.HasSuffix(file, "samlxml/metadata.go") {
				sources.Write(text)
			}
		}
	}
	found := map[string]bool{}
	for _, c := range checkNames {
		for _, m := range c.form.FindAllStringSubmatch(sources.String(), -1) {
			found[c.before+m[1]] = true
		}
	}
	if len(found) < 70 {
		t.Fatalf("only %d checks are found: the test does not see them", len(found))
	}
	for name := range found {
		for _, l := range lang.All() {
			if key := sso.WordKey(name); !l.Has(key) {
				t.Errorf("%s: %s has no words (%q)", l.Tag, name, key)
			}
		}
	}
}

// What is translated of a step is said somewhere, and in every language.
func TestWhatStepsSayIsTranslated(t *testing.T) {
	t.Parallel()
	english, german := lang.Pick("en", "", "en"), lang.Pick("de", "", "en")
	for said, want := range map[string]string{
		"a signature": "eine Signatur", "none": "nichts", "not after 2026-03-05T09:30:00Z": "nicht nach 2026-03-05T09:30:00Z", "settings.idp is missing": "settings.idp fehlt",
		"not before the request at 2026-03-05T09:30:00Z": "nicht vor der Anfrage um 2026-03-05T09:30:00Z", "at most 1 MiB": "höchstens 1 MiB",
		"an address that the application has registered": "eine Adresse, die die Anwendung eingetragen hat",
	} {
		if got := sso.Say(german, said); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
	for _, value := range []string{"", "https://idp.example/none", "urn:oasis:names:tc:SAML:2.0:status:Success", "a•••@acme.example", "Something is missing", "{value}"} {
		for _, l := range []*lang.Language{english, german} {
			if got := sso.Say(l, value); got != value {
				t.Errorf("%q became %q", value, got)
			}
		}
	}
	text, err := os.ReadFile("say.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"samlxml/*.go", "*.go", "../rp/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || file == "say.go" {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
	}
	entry := regexp.MustCompile(`"([^"]+)":? ?,? ?"(said\.[a-z_]+)"`)
	found := entry.FindAllStringSubmatch(string(text), -1)
	if len(found) < 50 {
		t.Fatalf("only %d sentences are found: the test does not see them", len(found))
	}
	for _, m := range found {
		if !strings.Contains(sources.String(), `"`+m[1]) {
			t.Errorf("no step says %q", m[1])
		}
		for _, l := range lang.All() {
			if !l.Has(m[2]) {
				t.Errorf("%s: no text %s", l.Tag, m[2])
			}
		}
	}
}
