package password_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/password"
)

// breachedFile writes the list of some passwords and returns its path.
func breachedFile(t *testing.T, passwords ...string) string {
	t.Helper()
	var lines []string
	for i, s := range passwords {
		lines = append(lines, fmt.Sprintf("%X:%d", sha1.Sum([]byte(s)), i+1))
	}
	slices.Sort(lines)
	var file bytes.Buffer
	n, err := password.BuildList(strings.NewReader(strings.Join(lines, "\r\n")+"\r\n"), &file)
	if err != nil || n != int64(len(passwords)) {
		t.Fatalf("BuildList: %d, %v", n, err)
	}
	path := filepath.Join(t.TempDir(), "breached")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openList(t *testing.T, path string) *password.List {
	t.Helper()
	list, err := password.OpenList(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	return list
}

func TestCheckRefusesBreachedPasswords(t *testing.T) {
	t.Parallel()
	var breached []string
	for i := range 1000 {
		breached = append(breached, fmt.Sprintf("stolen from a shop, no. %d", i))
	}
	breached = append(breached, "Caf\u00e9 Zanzibar q7") // as the lists have it, NFC
	list := openList(t, breachedFile(t, breached...))
	for _, s := range append(breached, "Cafe\u0301 Zanzibar q7") {
		if err := password.Check(s, password.Policy{Breached: list}); !errors.Is(err, password.ErrBreached) {
			t.Errorf("%q: %v, want ErrBreached", s, err)
		}
	}
	for i := range 1000 {
		if err := password.Check(fmt.Sprintf("chosen by myself, no. %d", i), password.Policy{Breached: list}); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEmptyListRefusesNothing(t *testing.T) {
	t.Parallel()
	if err := password.Check("uncommon goose!", password.Policy{Breached: openList(t, breachedFile(t))}); err != nil {
		t.Error(err)
	}
}

// The documented mode of failure: the password passes, the log tells.
func TestAListThatFailsLetsPasswordsPass(t *testing.T) {
	t.Parallel()
	path := breachedFile(t, "stolen from a shop", "and another one")
	list := openList(t, path)
	var log bytes.Buffer
	list.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := os.Truncate(path, 8); err != nil {
		t.Fatal(err)
	}
	if err := password.Check("stolen from a shop", password.Policy{Breached: list}); err != nil {
		t.Errorf("a broken list refused a password: %v", err)
	}
	if !strings.Contains(log.String(), "can not be read") || strings.Contains(log.String(), "stolen") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestOpenListRefuses(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(breachedFile(t, "one", "two", "three"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"empty": nil, "another file": bytes.Repeat([]byte("password"), 9), "cut off": whole[:len(whole)-8], "cut off in a number": whole[:len(whole)-3],
		"too long": append(slices.Clone(whole), whole[8:16]...), "only the head": whole[:8], "another version": append([]byte("CARDEAP2"), whole[8:]...),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := password.OpenList(path); err == nil || list != nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing"), os.DevNull} {
		if list, err := password.OpenList(path); err == nil || list != nil {
			t.Errorf("%s: taken", path)
		}
	}
}

func TestBuildListRefuses(t *testing.T) {
	t.Parallel()
	hash := func(first string) string { return first + strings.Repeat("0", 40-len(first)) }
	for name, c := range map[string]struct{ lines, at string }{
		"not in order":       {hash("B") + "\n" + hash("A") + "\n", "line 2"},
		"passwords in clear": {"password\n", "line 1"},
		"another hash":       {hash("A") + "\n" + strings.Repeat("B", 32) + ":1\n", "line 2"},
		"no hex":             {strings.Repeat("G", 40), "line 1"},
		"an endless line":    {strings.Repeat("A", 1<<20), ""},
	} {
		if _, err := password.BuildList(strings.NewReader(c.lines), io.Discard); err == nil || !strings.Contains(err.Error(), c.at) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := password.BuildList(strings.NewReader(hash("A")), fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a full disk: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
