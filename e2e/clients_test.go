package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// Clients that others wrote sign people in, against the built binary. Each file of
// e2e/clients/test has a server of its own.
func TestClients(t *testing.T) {
	t.Parallel()
	p := needPrograms(t)
	tests := sources(t)
	if len(tests) < 5 {
		t.Fatalf("found only the tests %q", tests)
	}
	for _, file := range tests {
		name := strings.TrimSuffix(filepath.Base(file), ".test.js")
		for _, engine := range dbtest.Engines {
			if engine != dbtest.Engines[0] && name != "openid-client" {
				continue // what they ask is the same, and one client asks for everything
			}
			t.Run(name+"/"+engine, func(t *testing.T) {
				t.Parallel()
				s := newServer(t, dbtest.EmptyURL(t, engine))
				s.env = environs[name]
				p.run(t, s, file, partners[name])
			})
		}
	}
}

// partners start what some tests need beside the server, which runs, and say where it is.
var partners = map[string]func(*testing.T, *server) []string{
	"enterprise": func(t *testing.T, _ *server) []string {
		t.Helper()
		python, err := findSCIM()
		if err != nil {
			t.Fatal(err)
		}
		directory, err := filepath.Abs(filepath.Join(scimFolder, "directory.py"))
		if err != nil {
			t.Fatal(err)
		}
		idp := startSimpleSAML(t)
		return []string{"CARDEA_SIMPLESAML_URL=" + idp.url, "CARDEA_SIMPLESAML_PARTNERS=" + idp.partners(), "CARDEA_SCIM_PYTHON=" + python, "CARDEA_SCIM_DIRECTORY=" + directory}
	},
	"lemonldap":    prepareLemonLDAP,
	"move":         prepareMove,
	"registration": prepareRegistration,
}

// environs are what the server of some tests is told.
var environs = map[string][]string{"move": {"CARDEA_TRUSTED_PROXIES=127.0.0.1"}}

// run runs the tests of one file against a server.
func (p programs) run(t *testing.T, s *server, file string, prepare func(*testing.T, *server) []string) {
	t.Helper()
	s.start(t)
	var extra []string
	if prepare != nil {
		extra = prepare(t, s)
	}
	cmd := exec.CommandContext(t.Context(), p.node, "--test", "--test-reporter=spec", "--test-timeout=300000", file)
	cmd.Env = append(os.Environ(), extra...)
	cmd.Env = append(cmd.Env, "CARDEA_BOOTSTRAP="+filepath.Join(s.dir, "bootstrap.json"), "CARDEA_CHROMIUM="+p.chromium, "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\nthe server:\n%s", err, out, s.log.Bytes())
	}
	t.Logf("%s", out)
	s.stop(t)
}
