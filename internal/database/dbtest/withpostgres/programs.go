package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// oldest is the first PostgreSQL version the product supports.
const oldest = 13

// usualPlaces are folders of server programs that packages do not put on the
// PATH, as patterns. Within a pattern the newest version wins.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",                      // Debian, Ubuntu
	"/usr/pgsql-*/bin",                               // the project's own packages for Red Hat
	"/usr/libexec/postgresql*",                       // Alpine
	"/opt/homebrew/opt/postgresql*/bin",              // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew on Linux
	"/opt/local/lib/postgresql*/bin",                 // MacPorts
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // built from source
}

const howToInstall = `PostgreSQL 13 or newer is needed for the tests, with its server programs and the extensions pg_trgm and btree_gin:
	Debian, Ubuntu   apt-get install postgresql
	Fedora           dnf install postgresql-server postgresql-contrib
	Alpine           apk add postgresql postgresql-contrib
	macOS            brew install postgresql@17
or set CARDEA_TEST_POSTGRES to the address of a server on which the tests may make databases`

// findOrInstall returns the folder of PostgreSQL's server programs.
func findOrInstall() (string, error) {
	if dir := find(); dir != "" {
		return dir, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", errors.New(howToInstall)
	}
	if err := install(); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w\n%s", err, howToInstall)
	}
	if dir := find(); dir != "" {
		return dir, nil
	}
	return "", errors.New("the package postgresql was installed, yet its server programs are not in a usual place\n" + howToInstall)
}

// find returns the first folder with both programs in a version that will do, or "".
func find() string {
	var places []string
	if p, err := exec.LookPath("postgres"); err == nil {
		// Through the link: initdb stands beside the real file.
		if p, err = filepath.EvalSymlinks(p); err == nil {
			places = append(places, filepath.Dir(p))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		places = append(places, strings.TrimSpace(string(out)))
	}
	for _, pattern := range append(places, usualPlaces...) {
		if dir := newest(pattern); dir != "" {
			return dir
		}
	}
	return ""
}

// newest returns the folder matching pattern that holds the newest version, or
// "" if none holds one that will do.
func newest(pattern string) string {
	dirs, _ := filepath.Glob(pattern) // the only error is a bad pattern
	best, dir := oldest-1, ""
	for _, d := range dirs {
		if v := version(d); v > best {
			best, dir = v, d
		}
	}
	return dir
}

var versionNumber = regexp.MustCompile(`PostgreSQL\) (\d+)`)

// version returns the major version of the programs in dir; 0 if they are not there.
func version(dir string) int {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return 0
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	m := versionNumber.FindSubmatch(out)
	if m == nil {
		return 0
	}
	v, _ := strconv.Atoi(string(m[1])) // digits by the pattern
	return v
}

// createClusterConfig tells Debian's package whether to make, and so to start, a
// cluster of its own.
const createClusterConfig = "/etc/postgresql-common/createcluster.conf"

// install installs the server programs with apt-get, without the cluster that the
// package otherwise makes. Two of these at once take turns, and the second finds
// nothing left to do.
func install() error {
	lock, err := os.OpenFile("/run/cardea-install-postgresql.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if find() != "" {
		return nil
	}
	fmt.Fprintln(os.Stderr, "withpostgres: installing PostgreSQL's server programs with apt-get")
	if err := aptGet("update", "-q"); err != nil {
		return err
	}
	if err := aptGet("install", "-q", "-y", "--no-install-recommends", "postgresql-common"); err != nil {
		return err
	}
	before, err := os.ReadFile(createClusterConfig)
	if err != nil {
		return err
	}
	without := append(before, "\ncreate_main_cluster = false\n"...)
	if err := os.WriteFile(createClusterConfig, without, 0o644); err != nil {
		return err
	}
	return errors.Join(
		aptGet("install", "-q", "-y", "--no-install-recommends", "postgresql"),
		os.WriteFile(createClusterConfig, before, 0o644),
	)
}

func aptGet(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // our own stdout speaks to our parent
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}
