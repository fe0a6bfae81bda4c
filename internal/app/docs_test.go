package app_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/openapi"
	"github.com/cardea-id/cardea/internal/web"
)

var update = flag.Bool("update", false, "rewrite golden files")

const api = "../../docs/api/"

// golden compares got with a file of the repository.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run `make generate` and look at what changed", path)
	}
}

func TestAPIDescriptionIsTheCommittedOne(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		var b bytes.Buffer
		if err := json.Indent(&b, w.Demo.Get(t, "/openapi.json").Want(t, 200).Body, "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		golden(t, api+"openapi.json", b.Bytes())
	})
}

func TestErrorTableIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	golden(t, api+"errors.md", openapi.ErrorsMarkdown(web.Codes()))
}

func TestAPIDescriptionNamesEveryRoute(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		var d struct {
			Paths map[string]map[string]struct {
				Alias string `json:"x-alias-of"`
				ID    string `json:"operationId"`
			}
			Tags []openapi.Tag
		}
		w.Demo.Get(t, "/openapi.json").Into(t, &d)
		ids := map[string]string{}
		for _, route := range w.Router.Routes() {
			if route.Page {
				continue
			}
			for i, path := range route.Paths {
				path = plain(path)
				op, ok := d.Paths[path][strings.ToLower(route.Method)]
				if !ok {
					t.Errorf("%s %s is not described", route.Method, path)
				}
				if (op.Alias != "") != (i > 0) || i > 0 && op.Alias != plain(route.Paths[0]) {
					t.Errorf("%s %s: x-alias-of is %q", route.Method, path, op.Alias)
				}
				if other := ids[op.ID]; op.ID == "" || other != "" {
					t.Errorf("%s %s has the operationId %q, as has %s", route.Method, path, op.ID, other)
				}
				ids[op.ID] = path
			}
			if route.Doc.Summary == "" || strings.HasSuffix(route.Doc.Summary, ".") {
				t.Errorf("%s %s: the summary is %q, want a few words without a full stop", route.Method, route.Paths[0], route.Doc.Summary)
			}
		}
		for _, tag := range d.Tags {
			if tag.Description == "" {
				t.Errorf("the group %q has no description: see apiTags", tag.Name)
			}
		}
	})
}

func plain(pattern string) string {
	return strings.ReplaceAll(strings.TrimSuffix(pattern, "{$}"), "...}", "}")
}

// Every call that answers JSON shows what: readers copy examples before they read
// field lists.
func TestAPIDescriptionHasExamples(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, route := range w.Router.Routes() {
			if route.Out != nil && route.Status != 0 && route.Doc.Example == nil && strings.HasPrefix(route.Paths[0], "/api/") {
				t.Errorf("%s %s has no example of its answer", route.Method, route.Paths[0])
			}
		}
	})
}

func TestDocumentsCanBeKept(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, path := range []string{"/openapi.json", "/docs", "/docs/errors"} {
			first := w.Demo.Get(t, path).Want(t, 200)
			if etag := first.Header.Get("ETag"); etag == "" || first.Header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%s: ETag %q, Cache-Control %q", path, etag, first.Header.Get("Cache-Control"))
			}
			w.Demo.With("If-None-Match", first.Header.Get("ETag")).Get(t, path).Want(t, 304)
			// They belong to no tenant, so a host that names none does no harm.
			nobody := w.Demo.Client
			nobody.Host, nobody.Key = "elsewhere.example", ""
			nobody.Get(t, path).Want(t, 200)
		}
	})
}

// What is megabytes of text travels packed, to whoever can unpack it.
func TestDocumentsArePacked(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		ask := func(path, accepted, etag string) *httptest.ResponseRecorder {
			r, a := httptest.NewRequest("GET", "https://demo.cardea.test"+path, nil), httptest.NewRecorder()
			r.Header.Set("Accept-Encoding", accepted)
			r.Header.Set("If-None-Match", etag)
			w.Handler.ServeHTTP(a, r)
			return a
		}
		for _, path := range []string{"/openapi.json", "/docs"} {
			plain := w.Demo.Get(t, path).Want(t, 200)
			for accepted, packed := range map[string]bool{"gzip, deflate, br": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.000": false, "br": false, "x-gzip": false} {
				a := ask(path, accepted, "")
				if is := a.Header().Get("Content-Encoding") == "gzip"; a.Code != 200 || is != packed || !slices.Contains(a.Header().Values("Vary"), "Accept-Encoding") {
					t.Errorf("%s: %d, %q gets %v", path, a.Code, accepted, a.Header())
					continue
				}
				etag := a.Header().Get("ETag")
				if again := ask(path, accepted, etag); again.Code != 304 || packed == (etag == plain.Header.Get("ETag")) {
					t.Errorf("%s: %q gets the ETag %s, and with it %d", path, accepted, etag, again.Code)
				}
				if !packed {
					continue
				}
				size := a.Body.Len()
				z, err := gzip.NewReader(a.Body)
				if err != nil {
					t.Fatal(err)
				}
				if whole, err := io.ReadAll(z); err != nil || !bytes.Equal(whole, plain.Body) || size > len(whole)/4 {
					t.Errorf("%s: %d bytes unpack to %d of %d, %v", path, size, len(whole), len(plain.Body), err)
				}
			}
		}
	})
}

func TestPagesRunNoScript(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, path := range []string{"/docs", "/docs/errors"} {
			a := w.Demo.Get(t, path).Want(t, 200)
			policy := a.Header.Get("Content-Security-Policy")
			if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
				t.Errorf("%s: the policy is %q", path, policy)
			}
			if bad := regexp.MustCompile(`(?i)<script|<style|\sstyle=|\son\w+=|javascript:|https?://[^"]*\.(js|css)`).Find(a.Body); bad != nil {
				t.Errorf("%s holds %q, which its policy forbids", path, bad)
			}
		}
	})
}

// Every address that a page refers to answers, and every anchor is there.
func TestPagesReferToWhatIsThere(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, page := range []string{"/docs", "/docs/errors"} {
			for _, match := range regexp.MustCompile(`href="([^"#]*)(#[^"]*)?"`).FindAllStringSubmatch(string(w.Demo.Get(t, page).Body), -1) {
				address, anchor := match[1], match[2]
				if address == "" {
					address = page
				}
				a := w.Demo.Get(t, address).Want(t, 200)
				if anchor != "" && !bytes.Contains(a.Body, []byte(`id="`+anchor[1:]+`"`)) {
					t.Errorf("%s refers to %s%s, which has no such part", page, address, anchor)
				}
			}
		}
	})
}

func TestAssetsAreKeptForGoodUnderTheirVersion(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		path := regexp.MustCompile(`/ui/[^"]+/cardea\.css`).FindString(string(w.Demo.Get(t, "/docs").Body))
		a := w.Demo.Get(t, path).Want(t, 200)
		if a.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", path, a.Header)
		}
		if old := w.Demo.Get(t, "/ui/another/cardea.css").Want(t, 200); strings.Contains(old.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("a file asked for under another version may be kept: %v", old.Header)
		}
		for _, path := range []string{"/ui/x/../embed.go", "/ui/x/embed.go", "/ui/x/", "/ui/x/%2e%2e/embed.go", "/ui/x/%00"} {
			if a := w.Demo.Get(t, path); a.Status == 200 {
				t.Errorf("%s answers %d", path, a.Status)
			}
		}
	})
}

// A problem is declared once, as a package variable, and its code has a number:
// what callers see is in one table. It reads the source, so that packages which are
// not linked into this test count too.
func TestEveryProblemHasANumber(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"../../internal", "../../ui", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err == nil {
				checkProblems(t, path, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkProblems(t *testing.T, path string, file *ast.File) {
	t.Helper()
	inFunction := map[ast.Node]bool{}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			ast.Inspect(f, func(n ast.Node) bool { inFunction[n] = true; return true })
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "New" || !isIdent(sel.X, "problem") {
			return true
		}
		if inFunction[n] {
			t.Errorf("%s: a problem is declared inside a function; make it a package variable", path)
		}
		lit, ok := call.Args[1].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: the code of a problem is not a literal", path)
			return true
		}
		if code, _ := strconv.Unquote(lit.Value); code != "malformed_request" && web.Number(code) == 800 {
			t.Errorf("%s: the code %q has no number in web's table", path, code)
		}
		return true
	})
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func TestErrorNumbersAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[int]string{}
	for _, c := range web.Codes() {
		if other, ok := seen[c.Number]; ok {
			t.Errorf("%q and %q are both %d", c.Code, other, c.Number)
		}
		seen[c.Number] = c.Code
	}
}

// Whoever opens the server's address in a browser finds something to read.
func TestRootLeadsToTheDescription(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		if a := w.Demo.Get(t, "/").Want(t, 303); a.Header.Get("Location") != "/docs" {
			t.Errorf("the root leads to %q", a.Header.Get("Location"))
		}
	})
}
