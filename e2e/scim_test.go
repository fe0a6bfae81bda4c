package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// scimFolder has checks of SCIM servers and clients that others wrote, in Python.
const scimFolder = "scim"

const howToInstallPython = `Python 3.10 or newer with venv is needed for the checks of SCIM:
	Debian, Ubuntu   apt-get install python3-venv`

// findSCIM returns a Python that has what e2e/scim/requirements.txt names, with the sums
// that it has.
var findSCIM = sync.OnceValues(func() (python string, err error) {
	unlock, err := lockFolder(scimFolder)
	if err != nil {
		return "", err
	}
	defer unlock()
	return pythonWith(scimFolder)
})

// What a directory of another product relies on, held against the RFCs by a program that
// others wrote. It finds the resources and attributes by discovery.
func TestSCIMAgreesWithItsRFCs(t *testing.T) {
	t.Parallel()
	python, err := findSCIM()
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, dbtest.EmptyURL(t, engine))
			s.start(t)
			base, token := s.makeDirectory(t)
			out, err := exec.CommandContext(t.Context(), python, filepath.Join(scimFolder, "check.py"), base, token).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s\nthe server:\n%s", err, out, s.log.Bytes())
			}
			t.Logf("%s", out)
			s.stop(t)
		})
	}
}

// makeDirectory makes an organization with a directory, and returns the directory's
// address and a token.
func (s *server) makeDirectory(t *testing.T) (base, token string) {
	t.Helper()
	var made struct {
		ID    string `json:"id"`
		Token string `json:"token"`
		URL   string `json:"base_url"`
	}
	post := func(path string, in any) {
		t.Helper()
		status, err := s.call(t.Context(), "POST", path, in, &made)
		if err != nil || status != 200 && status != 201 {
			t.Fatalf("POST %s = %d, %v", path, status, err)
		}
	}
	post("/api/v1/tenants", map[string]any{"name": "With a directory"})
	organization := made.ID
	post("/api/v1/tenants/"+organization+"/directories", map[string]any{"name": "Directory", "type": "custom"})
	post("/api/v1/tenants/"+organization+"/directories/"+made.ID+"/tokens", map[string]any{})
	return made.URL, made.Token
}

// pythonWith makes a Python in the folder's venv with what its requirements.txt names,
// unless that is done.
func pythonWith(dir string) (python string, err error) {
	list, err := os.ReadFile(filepath.Join(dir, "requirements.txt"))
	if err != nil {
		return "", err
	}
	venv := filepath.Join(dir, "venv")
	python, stamp := filepath.Join(venv, "bin", "python"), filepath.Join(venv, ".installed")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, list) {
		return python, nil
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		{python, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--disable-pip-version-check", "-r", filepath.Join(dir, "requirements.txt")},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%q: %w\n%s\n%s", args, err, out, howToInstallPython)
		}
	}
	return python, os.WriteFile(stamp, list, 0o600)
}
