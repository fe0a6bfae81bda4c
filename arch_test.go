package cardea_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors is the building plan, lowest first. A package may import packages on
// lower floors, and on its own floor those named to its left.
var floors = []string{
	// Ground: knows nothing of identity.
	"problem secret access database lang device outbound",
	"database/dbtest database/dbtest/withpostgres secret/passhash/argon2id secret/passhash audit jobs notify ratelimit keyring web page openapi",
	// Nouns.
	"tenant role logs session letter user org password token",
	// Ways to prove who one is.
	"passwordless passkey mfa rp sso/samlxml social sso scim",
	// Fronts and journeys.
	"transfer kobil signin oidc portal testidp",
	// Roof.
	"app",
	"app/apptest cli bench",
}

const (
	module = "github.com/cardea-id/cardea/"
	root   = module + "internal/"
)

// A sourceFile is one Go file of the product, tests aside, as parsed.
type sourceFile struct {
	path string
	pkg  string // below internal/, or "cmd/cardea"
	ast  *ast.File
	set  *token.FileSet
}

// sources reads the files itself instead of asking the go command, so that the
// test cache sees them change.
func sources(t *testing.T) (files []sourceFile) {
	t.Helper()
	for _, dir := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "internal/")
			files = append(files, sourceFile{path, pkg, file, set})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestFloors(t *testing.T) {
	rank := map[string]int{}
	for f, line := range floors {
		for i, name := range strings.Fields(line) {
			rank[root+name] = f*100 + i
		}
	}
	for _, f := range sources(t) {
		if strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		own, ok := rank[root+f.pkg]
		if !ok {
			t.Errorf("%s is on no floor: add it to the plan above", f.pkg)
		}
		for _, spec := range f.ast.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if r, ok := rank[imp]; ok && r >= own {
				t.Errorf("%s may not import %s, which is not below it", f.path, strings.TrimPrefix(imp, root))
			}
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	said := map[string]bool{}
	for _, f := range sources(t) {
		said[f.pkg] = said[f.pkg] || f.ast.Doc != nil
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

func TestNoEmptyNames(t *testing.T) {
	empty := regexp.MustCompile(`^(util|utils|common|helpers?|shared|types|models?|core|base|misc|errors|constants)(\.go)?$`)
	for _, f := range sources(t) {
		for _, part := range strings.Split(filepath.ToSlash(f.path), "/") {
			if empty.MatchString(part) {
				t.Errorf("%s: %q says nothing of what is in it", f.path, part)
			}
		}
	}
}

// The clock belongs to the database (tx.Now, db.Now) and to the edge, so that
// tests can move it and a transaction has one moment.
func TestClockIsInOnePlace(t *testing.T) {
	allowed := []string{"database", "web", "transfer", "app", "cli", "bench", "jobs", "notify", "audit", "ratelimit"}
	for _, f := range sources(t) {
		if slices.Contains(allowed, strings.Split(f.pkg, "/")[0]) || strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Now" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s uses time.Now: take the moment from the transaction or the database", f.set.Position(sel.Pos()))
				}
			}
			return true
		})
	}
}

// A table belongs to one package: only its SQL names it.
func TestTableOwnership(t *testing.T) {
	owners := map[string]string{}
	named := regexp.MustCompile(`(?i)\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)\b`)
	for _, f := range sources(t) {
		if f.pkg == "bench" || strings.HasPrefix(f.pkg, "database") {
			continue
		}
		for _, text := range stringsOf(f.ast) {
			for _, m := range named.FindAllStringSubmatch(text, -1) {
				table := strings.ToLower(m[1])
				if !tables(t)[table] {
					continue
				}
				if owner, ok := owners[table]; ok && owner != f.pkg {
					t.Errorf("table %s is named by %s and by %s (%s)", table, owner, f.pkg, f.path)
				}
				owners[table] = f.pkg
			}
		}
	}
	if len(owners) < 10 {
		t.Errorf("only %d tables found in statements: the test does not see them", len(owners))
	}
}

// installationWide are the tables and statements that say which tenant something
// belongs to or look for work in all of them, and so can not name one.
var installationWide = regexp.MustCompile(`(?i)\b(tenants|tenant_hosts|tenant_clients|schema_migrations)\b`)

func TestEveryPrimaryKeyStartsWithTheTenant(t *testing.T) {
	create := regexp.MustCompile(`(?is)CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+) \((.*?)\n\)`)
	for name, text := range migrations(t) {
		for _, m := range create.FindAllStringSubmatch(text, -1) {
			table, body := m[1], m[2]
			if installationWide.MatchString(table) || name == "0004_user_search.sqlite.sql" { // one file, never distributed
				continue
			}
			composite := regexp.MustCompile(`PRIMARY KEY \(tenant_id\b`).MatchString(body)
			single := regexp.MustCompile(`(?m)^\s*tenant_id .*PRIMARY KEY`).MatchString(body)
			if !composite && !single {
				t.Errorf("%s: the primary key of %s does not start with tenant_id", name, table)
			}
		}
	}
}

// Every statement on a tenant's rows names the tenant. The exceptions look for
// background work or belong to the installation, and say why.
func TestEveryStatementNamesItsTenant(t *testing.T) {
	statement := regexp.MustCompile(`(?is)^\s*(SELECT|UPDATE|DELETE|INSERT)\b`)
	named := regexp.MustCompile(`(?i)\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)\b`)
	for _, f := range sources(t) {
		if f.pkg == "bench" || strings.HasPrefix(f.pkg, "database") {
			continue
		}
		for _, text := range stringsOf(f.ast) {
			m := named.FindStringSubmatch(text)
			if !statement.MatchString(text) || m == nil || !tables(t)[m[1]] || installationWide.MatchString(m[1]) {
				continue
			}
			if !strings.Contains(text, "tenant_id") && !slices.ContainsFunc(acrossTenants, func(s string) bool { return strings.Contains(text, s) }) {
				t.Errorf("%s: a statement on %s does not name its tenant: %s", f.path, m[1], strings.Join(strings.Fields(text), " "))
			}
		}
	}
}

// acrossTenants are parts of the statements that do not show the tenant here.
var acrossTenants = []string{
	// Columns or conditions that begin with tenant_id stand in a variable.
	"FROM users u WHERE ", "INSERT INTO users (", "UPDATE attempts SET ", "INSERT INTO audit_unsealed (", "AS seq FROM audit_unsealed WHERE %[2]s",
	// Background work, whose rows each name their tenant.
	"COALESCE(max(entry), 0) FROM user_search", "FROM jobs WHERE kind = ", "DELETE FROM signing_keys WHERE expires_at <= $1", "DELETE FROM imports WHERE finished_at < $1", "DELETE FROM jobs WHERE keep_until <= $1", "DELETE FROM messages WHERE created_at <= $1", "DELETE FROM rate_limits WHERE expires_at <= $1", "DELETE FROM revoked_tokens WHERE expires_at <= $1", "DELETE FROM password_resets WHERE expires_at <= $1", "FROM sso_connections WHERE refresh_at <= $1", "FROM sso_connections WHERE warn_at <= $1",
}

// stringsOf returns the string literals of a file, those joined with + as one.
func stringsOf(file *ast.File) (out []string) {
	var join func(e ast.Expr) string
	join = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				s, _ := strconv.Unquote(e.Value)
				return s
			}
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return join(e.X) + join(e.Y)
			}
		case *ast.ParenExpr:
			return join(e.X)
		}
		return " "
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch e := n.(type) {
		case *ast.BinaryExpr:
			out = append(out, join(e))
			return false
		case *ast.BasicLit:
			out = append(out, join(e))
		}
		return true
	})
	return out
}

var migrationFiles map[string]string

func migrations(t *testing.T) map[string]string {
	t.Helper()
	if migrationFiles != nil {
		return migrationFiles
	}
	migrationFiles = map[string]string{}
	paths, err := filepath.Glob("internal/database/migrations/*.sql")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		migrationFiles[filepath.Base(p)] = string(text)
	}
	return migrationFiles
}

var tableNames map[string]bool

func tables(t *testing.T) map[string]bool {
	t.Helper()
	if tableNames != nil {
		return tableNames
	}
	tableNames = map[string]bool{}
	create := regexp.MustCompile(`(?i)CREATE (?:VIRTUAL )?TABLE (?:IF NOT EXISTS )?([a-z_]+)`)
	for _, text := range migrations(t) {
		for _, m := range create.FindAllStringSubmatch(text, -1) {
			tableNames[m[1]] = true
		}
	}
	return tableNames
}

// Versions below these have known holes. Go's version choice takes a vulnerable
// transitive version without a word, so this test reads go.mod.
var versionFloors = map[string]string{
	"github.com/russellhaering/goxmldsig": "v1.6.0",
	"github.com/beevik/etree":             "v1.7.0",
	"github.com/go-jose/go-jose/v4":       "v4.1.4",
	"github.com/golang-jwt/jwt/v5":        "v5.2.2",
	"github.com/jackc/pgx/v5":             "v5.9.2",
	"golang.org/x/oauth2":                 "v0.27.0",
	"google.golang.org/grpc":              "v1.79.3",
	"go.opentelemetry.io/otel/sdk":        "v1.43.0",
}

func TestVersionFloors(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) < 2 {
			continue
		}
		if floor, ok := versionFloors[f[0]]; ok && lower(f[1], floor) {
			t.Errorf("%s %s is below %s", f[0], f[1], floor)
		}
	}
}

func lower(v, floor string) bool {
	numbers := func(s string) (out [3]int) {
		s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
		for i, part := range strings.SplitN(s, ".", 3) {
			out[i], _ = strconv.Atoi(part)
		}
		return out
	}
	a, b := numbers(v), numbers(floor)
	return slices.Compare(a[:], b[:]) < 0
}

func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) < 2 || !strings.HasPrefix(f[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		if !strings.Contains(string(doc), "`"+f[0]+"`") {
			t.Errorf("docs/dependencies.md has no line for %s", f[0])
		}
	}
}
