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
