package cardea_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the documents say of the code is held against the code here.

var update = flag.Bool("update", false, "rewrite the table of packages in docs/ARCHITECTURE.md")

// documents are all Markdown files of the repository.
func documents(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".md") {
			files = append(files, file)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("documents: %q, %v", files, err)
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Links between documents, and from them to the code, lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, file := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			target, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if target.Scheme != "" || target.Path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), target.Path)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", file, m[1])
			}
		}
	}
}

// Tests that a document names as proof exist: `user.TestCreateRefuses` is a function
// of the folder user, wherever that is.
func TestNamedTestsExist(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	exist := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		folder := path.Base(filepath.ToSlash(filepath.Dir(file)))
		if folder == "." {
			folder = "cardea"
		}
		for _, m := range function.FindAllStringSubmatch(read(t, file), -1) {
			exist[folder+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9]+\\.(?:Test|Fuzz)\\w+)")
	found := 0
	for _, file := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, file), -1) {
			if found++; !exist[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", file, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no document names a test: this one does not see them")
	}
}

func TestDependencyVersionsAreTheOnesInUse(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v\\S+) \\|")
	required := read(t, "go.mod") + read(t, "tools/go.mod")
	rows := row.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1)
	for _, m := range rows {
		if !regexp.MustCompile(`\s` + regexp.QuoteMeta(m[1]+" "+m[2]) + `(\s|$)`).MatchString(required) {
			t.Errorf("docs/dependencies.md has %s %s, which neither go.mod nor tools/go.mod requires", m[1], m[2])
		}
	}
	if len(rows) == 0 {
		t.Error("there is no table")
	}
}

// The table of packages is made of the building plan and of the first sentence of
// each package comment.
func TestPackageTableIsTheCommittedOne(t *testing.T) {
	const file, begin, end = "docs/ARCHITECTURE.md", "<!-- packages: begin -->\n", "<!-- packages: end -->"
	text := read(t, file)
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table of packages", file)
	}
	want := before + begin + packageTable(t) + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != want {
		t.Errorf("%s is not up to date; run: make generate", file)
	}
}

func packageTable(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("| Floor | Package | What it does |\n| ---: | --- | --- |\n")
	for i, floor := range slices.Backward(floors) {
		for _, name := range strings.Fields(floor) {
			fmt.Fprintf(&b, "| %d | [`%s`](../internal/%s) | %s |\n", i+1, name, name, synopsis(t, "internal/"+name))
		}
	}
	return b.String()
}

// synopsis is the first sentence of a package comment, without its first two words.
func synopsis(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if tree.Doc == nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text := new(doc.Package).Synopsis(tree.Doc.Text())
		if words := strings.SplitN(text, " ", 3); len(words) == 3 {
			text = words[2]
		}
		return strings.NewReplacer("|", `\|`).Replace(strings.TrimRight(text, ".:"))
	}
	t.Fatalf("%s has no package comment", folder)
	return ""
}
