package cli_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// develop starts the developer's server and waits until it has said all.
func develop(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := start(t, dir, env, append([]string{"dev"}, args...)...)
	p.await(t, &p.out, `Ctrl-C stops it`)
	return p
}

func bootstrap(t *testing.T, dir string) (b app.Bootstrap, text string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, ".cardea", "bootstrap.json"))
	if err == nil {
		err = json.Unmarshal(raw, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b, string(raw)
}

func TestDevTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir, env := t.TempDir(), []string(nil)
			if engine == database.PostgreSQL {
				env = append(env, "CARDEA_DATABASE_URL="+dbtest.EmptyURL(t, engine))
			}
			listen := "--listen=127.0.0.1:" + freePort(t)
			first := develop(t, dir, env, listen)
			_, text := bootstrap(t, dir)
			if code := first.stop(t); code != 0 {
				t.Fatalf("it exits with %d:\n%s", code, first.err.String())
			}
			second := develop(t, dir, env, listen)
			if _, again := bootstrap(t, dir); again != text {
				t.Errorf("bootstrap.json was\n%s\nand is\n%s", text, again)
			}
			if first.out.String() != second.out.String() {
				t.Errorf("it printed\n%s\nand then\n%s", first.out.String(), second.out.String())
			}
		})
	}
}

// The lines that dev prints to try are tried.
func TestDevPrintsLinesThatWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := develop(t, dir, nil, "--listen=127.0.0.1:0")
	b, _ := bootstrap(t, dir)
	lines := regexp.MustCompile(`curl -H 'Authorization: (Bearer sk_\S+)' '?(http://[^\s']+)`).FindAllStringSubmatch(p.out.String(), -1)
	if len(lines) != 3 {
		t.Fatalf("%d lines to try:\n%s", len(lines), p.out.String())
	}
	for _, line := range lines {
		request, err := http.NewRequest("GET", line[2], nil)
		if err != nil {
			t.Fatal(err)
		}
		// As curl does, whatever the machine's resolver makes of it: RFC 6761 section 6.3.
		request.Host = request.URL.Host
		request.URL.Host = net.JoinHostPort("127.0.0.1", request.URL.Port())
		request.Header.Set("Authorization", line[1])
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Errorf("%s answers %s", line[2], answer.Status)
		}
	}
	for _, want := range []string{b.PublicURL, b.Owner.Password, b.APIKey, b.Application.ClientID, b.Application.ClientSecret} {
		if want == "" || !strings.Contains(p.out.String(), want) {
			t.Errorf("it does not print %q", want)
		}
	}
}

func TestCommandsFindTheDevelopersFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	develop(t, dir, nil, "--listen=127.0.0.1:0")
	b, _ := bootstrap(t, dir)
	for name, c := range map[string]struct {
		dir  string
		env  []string
		args []string
		code int
		want string
	}{
		"beside it":   {dir, nil, []string{"user", "get", "owner@demo.test"}, 0, "owner@demo.test"},
		"by its name": {t.TempDir(), nil, []string{"user", "list", "--data", filepath.Join(dir, ".cardea")}, 0, "owner@demo.test"},
		"by its name before the environment": {t.TempDir(), []string{"CARDEA_DATABASE_URL=" + dbtest.URL(t, database.SQLite), "CARDEA_MASTER_KEY=" + otherKey, "CARDEA_DEFAULT_TENANT=master"},
			[]string{"user", "list", "--data", filepath.Join(dir, ".cardea")}, 0, "owner@demo.test"},
		"not with another database":      {dir, nil, []string{"tenant", "list", "--data", ".cardea", "--database-url", "sqlite:x.db"}, 3, "has a database of its own"},
		"in the configuration":           {dir, nil, []string{"config"}, 0, "developer's folder .cardea"},
		"for the log":                    {dir, nil, []string{"log", "verify"}, 0, "as written"},
		"to look after it":               {dir, nil, []string{"doctor"}, 0, "developer's folder"},
		"to ask for it over the network": {dir, nil, []string{"doctor", "--online"}, 0, b.PublicURL + " leads to a server that is ready"},
		"to ask for another address": {dir, []string{"CARDEA_PUBLIC_URL=http://localhost:" + freePort(t)}, []string{"doctor", "--online"}, 1,
			"see that its name leads here and that the server runs"},
		"to see what is missing": {dir, nil, []string{"migrate", "--dry-run"}, 0, ""},
		"not where there is a configuration": {dir, []string{"CARDEA_DATABASE_URL=" + dbtest.URL(t, database.SQLite), "CARDEA_MASTER_KEY=" + testKey},
			[]string{"tenant", "list"}, 0, "master"},
		"not where there is none":  {t.TempDir(), nil, []string{"tenant", "list"}, 3, "no .cardea here in "},
		"not in any other folder":  {dir, nil, []string{"tenant", "list", "--data", "."}, 3, "no data folder of cardea dev"},
		"not to serve from":        {dir, nil, []string{"serve"}, 3, "public_url: it is missing"},
		"not with another's key":   {dir, []string{"CARDEA_DATABASE_URL=sqlite:.cardea/cardea.db", "CARDEA_MASTER_KEY=" + otherKey}, []string{"tenant", "list"}, 3, "not the one"},
		"not without its database": {dir, []string{"CARDEA_DATABASE_URL=sqlite:none.db", "CARDEA_MASTER_KEY=" + testKey}, []string{"tenant", "list"}, 3, "make it with: cardea migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := command(t, c.dir, c.env, c.args...)
			if p.code() != c.code || !strings.Contains(p.out.String()+p.err.String(), c.want) {
				t.Errorf("it exits with %d, want %d and %q:\n%s%s", p.code(), c.code, c.want, p.out.String(), p.err.String())
			}
			if name == "not where there is a configuration" && strings.Contains(p.out.String(), b.Tenant.Slug) {
				t.Errorf("it looks at the developer's data:\n%s", p.out.String())
			}
		})
	}
}

// What is a server's for production, or another's data, stays as it is.
func TestDevRefuses(t *testing.T) {
	t.Parallel()
	own := t.TempDir()
	develop(t, own, nil, "--listen=127.0.0.1:0").stop(t)
	_, before := bootstrap(t, own)
	used := dbtest.URL(t, database.SQLite)
	onUsed := []string{"CARDEA_DATABASE_URL=" + used, "CARDEA_MASTER_KEY=" + testKey}
	if p := command(t, t.TempDir(), onUsed, "tenant", "create", "acme"); p.code() != 0 {
		t.Fatal(p.err.String())
	}
	for name, c := range map[string]struct {
		dir  string
		env  []string
		want []string
	}{
		"an address with https":    {t.TempDir(), []string{"CARDEA_PUBLIC_URL=https://id.test"}, []string{"public_url is https://id.test (CARDEA_PUBLIC_URL)", "unset CARDEA_PUBLIC_URL,"}},
		"TLS files":                {t.TempDir(), []string{"CARDEA_TLS_CERT=none.pem", "CARDEA_TLS_KEY=none.key"}, []string{"unset CARDEA_TLS_CERT CARDEA_TLS_KEY"}},
		"a file for production":    {t.TempDir(), []string{"CARDEA_CONFIG=" + productionFile(t)}, []string{"cardea.yaml line 1)", "unset CARDEA_CONFIG,"}},
		"a database in use":        {t.TempDir(), onUsed, []string{"has tenants or users that cardea dev with the folder .cardea has not made", "unset CARDEA_DATABASE_URL"}},
		"another's developer data": {t.TempDir(), []string{"CARDEA_DATABASE_URL=sqlite:" + filepath.Join(own, ".cardea", "cardea.db")}, []string{"bootstrap.json does not belong to it"}},
		"to lose a bootstrap.json": {own, []string{"CARDEA_DATABASE_URL=" + dbtest.EmptyURL(t, database.PostgreSQL)}, []string{"belongs to the database sqlite:.cardea/cardea.db", "--data DIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := command(t, c.dir, c.env, "dev", "--listen=127.0.0.1:0")
			for _, want := range c.want {
				if p.code() != 3 || !strings.Contains(p.err.String(), want) {
					t.Errorf("it exits with %d, want 3 and %q:\n%s", p.code(), want, p.err.String())
				}
			}
			if p.out.String() != "" {
				t.Errorf("it has started:\n%s", p.out.String())
			}
			if c.dir != own {
				wantNothing(t, c.dir)
			}
		})
	}
	if _, after := bootstrap(t, own); after != before {
		t.Errorf("bootstrap.json was\n%s\nand is\n%s", before, after)
	}
	if p := command(t, t.TempDir(), onUsed, "tenant", "list"); strings.Contains(p.out.String(), "demo") {
		t.Errorf("it has made a tenant:\n%s", p.out.String())
	}
}

// wantNothing fails if a command that was refused has left something behind.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left is %v, %v", left, err)
	}
}

func productionFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cardea.yaml")
	if err := os.WriteFile(path, []byte("public_url: https://id.test\ntls_cert: cert.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDevSaysHowToListenElsewhere(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	p := command(t, dir, nil, "dev", "--listen", taken.Addr().String())
	if p.code() != 1 || !strings.Contains(p.err.String(), `make run ARGS="--listen 127.0.0.1:9000"`) || strings.Contains(p.err.String(), "doctor") {
		t.Errorf("it exits with %d: %s", p.code(), p.err.String())
	}
	if p := command(t, dir, nil, "dev", "--listen", ":99999"); p.code() != 3 || !strings.Contains(p.err.String(), "the port 99999 is too large") {
		t.Errorf("it exits with %d: %s", p.code(), p.err.String())
	}
	wantNothing(t, dir)
}

// A folder whose data is on PostgreSQL finds it again, and takes no other.
func TestAFolderKnowsItsDatabase(t *testing.T) {
	t.Parallel()
	dir, env := t.TempDir(), []string{"CARDEA_DATABASE_URL=" + dbtest.EmptyURL(t, database.PostgreSQL)}
	develop(t, dir, env, "--listen=127.0.0.1:0")
	if p := command(t, dir, env, "user", "list", "--data", ".cardea"); p.code() != 0 || !strings.Contains(p.out.String(), "owner@demo.test") {
		t.Errorf("exit %d: %s%s", p.code(), p.out.String(), p.err.String())
	}
	if p := command(t, dir, nil, "user", "list", "--data", ".cardea"); p.code() != 3 || !strings.Contains(p.err.String(), "belongs to the database postgres://") {
		t.Errorf("exit %d: %s%s", p.code(), p.out.String(), p.err.String())
	}
}

func TestMigrateRunsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir, url := t.TempDir(), dbtest.EmptyURL(t, engine)
			env := []string{"CARDEA_DATABASE_URL=" + url, "CARDEA_MASTER_KEY=" + testKey}
			if engine == database.SQLite {
				if p := command(t, dir, env, "migrate", "--dry-run"); p.code() != 3 {
					t.Errorf("a look at a file that is not there: exit %d, %s", p.code(), p.err.String())
				}
				if err := os.WriteFile(strings.TrimPrefix(url, "sqlite:"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			missing := command(t, dir, env, "migrate", "--dry-run")
			if missing.code() != 0 || !strings.HasPrefix(missing.out.String(), "0001_tenants\n") {
				t.Fatalf("exit %d: %s%s", missing.code(), missing.out.String(), missing.err.String())
			}
			if p := command(t, dir, env, "tenant", "list"); p.code() != 3 || !strings.Contains(p.err.String(), "run: cardea migrate") {
				t.Errorf("before: exit %d, %s", p.code(), p.err.String())
			}
			if p := command(t, dir, env, "doctor"); p.code() != 1 || !strings.Contains(p.out.String(), "are missing; run: cardea migrate") {
				t.Errorf("before: exit %d, %s", p.code(), p.out.String())
			}
			if p := command(t, dir, env, "migrate"); p.code() != 0 || p.out.String() != missing.out.String() {
				t.Errorf("exit %d: %s%s", p.code(), p.out.String(), p.err.String())
			}
			if p := command(t, dir, env, "migrate", "--json"); p.code() != 0 || strings.TrimSpace(p.out.String()) != "[]" {
				t.Errorf("again: exit %d, %s", p.code(), p.out.String())
			}
			if p := command(t, dir, env, "tenant", "list"); p.code() != 0 || !strings.Contains(p.out.String(), "master") {
				t.Errorf("after: exit %d, %s%s", p.code(), p.out.String(), p.err.String())
			}
		})
	}
}
