package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The programs that the clients of other people need. What is missing is installed
// on Debian and Ubuntu, as root; elsewhere the tests say what to install.

const (
	clientsFolder = "clients"
	runtimeFolder = "clients/runtime" // Node from npm, for a system whose own is too old
	oldestNode    = "20.19"
)

const howToInstall = `Node 20.19 or newer with npm, and Chromium, are needed for the tests with other people's clients:
	Debian, Ubuntu   apt-get install nodejs npm chromium
	Fedora           dnf install nodejs npm chromium
	Alpine           apk add nodejs npm chromium
	macOS            brew install node; brew install --cask chromium
CARDEA_CHROMIUM may name the browser's program`

// programs are ready to run the clients.
type programs struct{ node, chromium string }

var findPrograms = sync.OnceValues(func() (p programs, err error) {
	// Of two test runs in one tree, the second waits and finds everything there.
	unlock, err := lockFolder(clientsFolder)
	if err != nil {
		return p, err
	}
	defer unlock()
	if p.chromium, err = chromium(); err != nil {
		return p, err
	}
	if p.node, err = node(); err != nil {
		return p, err
	}
	return p, installPackages(p.node, clientsFolder)
})

// needPrograms returns the programs, or fails the test.
func needPrograms(t *testing.T) programs {
	t.Helper()
	p, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func chromium() (string, error) {
	names := []string{os.Getenv("CARDEA_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"}
	if path := lookUp(names...); path != "" {
		return path, nil
	}
	if err := aptInstall("chromium"); err != nil {
		return "", err
	}
	return lookUp(names...), nil
}

// lookUp returns the path of the first program that is there, or "".
func lookUp(names ...string) string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// node returns a Node that is new enough: that of the system, or one from npm.
func node() (string, error) {
	if lookUp("node") == "" || lookUp("npm") == "" {
		if err := aptInstall("nodejs", "npm"); err != nil {
			return "", err
		}
	}
	path := lookUp("node")
	if isNewEnough(path) {
		return path, nil
	}
	if err := installPackages(path, runtimeFolder); err != nil {
		return "", err
	}
	found, err := filepath.Glob(runtimeFolder + "/node_modules/node-*/bin/node")
	if err != nil || len(found) == 0 || !isNewEnough(found[0]) {
		return "", errors.New("the installed Node is too old\n" + howToInstall)
	}
	return filepath.Abs(found[0])
}

func isNewEnough(node string) bool {
	out, err := exec.Command(node, "--version").Output()
	return err == nil && slices.Compare(numbers(strings.TrimPrefix(string(out), "v")), numbers(oldestNode)) >= 0
}

func numbers(version string) (parts []int) {
	for part := range strings.SplitSeq(strings.TrimSpace(version), ".") {
		n, _ := strconv.Atoi(part) // a pre-release counts as its beginning
		parts = append(parts, n)
	}
	return parts
}

// installPackages has npm install what the folder's lock file names, with the sums
// that it has, unless that is done. No package runs a script of its own.
func installPackages(node, dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(lock)
	stamp, want := filepath.Join(dir, "node_modules", ".installed"), []byte(hex.EncodeToString(sum[:]))
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, want) {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(node)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in e2e/%s: %w\n%s", dir, err, out)
	}
	return os.WriteFile(stamp, want, 0o600)
}

func aptInstall(packages ...string) error {
	if lookUp("apt-get") == "" || os.Geteuid() != 0 {
		return errors.New(howToInstall)
	}
	fmt.Fprintln(os.Stderr, "e2e: installing with apt-get:", strings.Join(packages, " "))
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)} {
		cmd := exec.Command("apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\n%s", args[0], err, out, howToInstall)
		}
	}
	return nil
}

// lockFolder takes the lock on a folder. The end of the process gives it back too.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// Whoever clones the repository uses the registry of their own choice.
func TestLockFilesNameNoHost(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{clientsFolder, runtimeFolder, upstreamFolder} {
		text, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`"resolved"`)) {
			t.Errorf("e2e/%s/package-lock.json says where packages come from: remove the fields \"resolved\"", dir)
		}
	}
}

// takePictures has Chromium take pictures of all pages into a folder.
func takePictures(folder string) (code int) {
	folder, err := filepath.Abs(folder)
	if err == nil {
		err = os.MkdirAll(folder, 0o750)
	}
	var p programs
	if err == nil {
		p, err = findPrograms()
	}
	if err == nil {
		cmd := exec.Command(p.node, "screenshots.js", folder)
		cmd.Dir, cmd.Stdout, cmd.Stderr = clientsFolder, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "CARDEA_CHROMIUM="+p.chromium)
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// sources are the files of the clients. Go's cache of test results knows of files
// that the test itself has looked at.
func sources(t *testing.T) (tests []string) {
	t.Helper()
	err := filepath.WalkDir(clientsFolder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules":
			return filepath.SkipDir
		case strings.HasSuffix(path, ".test.js"):
			tests = append(tests, path)
		}
		_, err = os.Stat(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
