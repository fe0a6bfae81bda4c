package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// asMain tells the test program to be the command itself, so that the tests run the
// very code that they were compiled with.
const asMain = "WITHPOSTGRES_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command returns withpostgres with args, told of no server.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1", addressVariable+"=")
	cmd.Stderr = os.Stderr
	return cmd
}

// running is withpostgres while its command waits for the end of its input.
type running struct {
	*exec.Cmd
	stdin   io.WriteCloser
	address string
}

// start runs script, a shell script that prints the address in its first line.
func start(t *testing.T, script string, args ...string) running {
	t.Helper()
	cmd := command(append(args, "--", "sh", "-c", `echo "$`+addressVariable+`"; `+script)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the command printed no address: %v", err)
	}
	return running{cmd, stdin, strings.TrimSpace(line)}
}

// finish ends the command's input and returns its exit code.
func (r running) finish() int {
	r.stdin.Close()
	r.Wait()
	return r.ProcessState.ExitCode()
}

// setting asks the server for one of its settings.
func setting(t *testing.T, address, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var value string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// gone waits until the server at address and its data folder are no more.
func gone(t *testing.T, address, data string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(filepath.Dir(data))
		conn, refused := pgx.Connect(context.Background(), address)
		if refused == nil {
			conn.Close(context.Background())
		} else if os.IsNotExist(err) {
			return
		}
	}
	t.Errorf("the server or its folder %s is still there", filepath.Dir(data))
}

func TestServerIsThereForTheCommandAndGoneAfterIt(t *testing.T) {
	t.Parallel()
	r := start(t, "cat; exit 7")
	data := setting(t, r.address, "data_directory")
	if got := setting(t, r.address, "fsync"); got != "off" {
		t.Errorf("fsync is %s, want off", got)
	}
	if code := r.finish(); code != 7 {
		t.Errorf("exit code %d, want the command's, 7", code)
	}
	gone(t, r.address, data)
}

func TestDurableKeepsTheSafeSettings(t *testing.T) {
	t.Parallel()
	r := start(t, "cat", "-durable")
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := setting(t, r.address, name); got != "on" {
			t.Errorf("%s is %s, want on", name, got)
		}
	}
	if code := r.finish(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestTwoAtOnceHaveServersOfTheirOwn(t *testing.T) {
	t.Parallel()
	a, b := start(t, "cat"), start(t, "cat")
	if first, second := setting(t, a.address, "port"), setting(t, b.address, "port"); first == second {
		t.Errorf("both have the server at port %s", first)
	}
	if code := a.finish(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	setting(t, b.address, "port") // still answers
	if code := b.finish(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestServerDoesNotOutliveAKilledParent(t *testing.T) {
	t.Parallel()
	r := start(t, "cat")
	data := setting(t, r.address, "data_directory")
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, r.address, data)
}

func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	r := start(t, "trap 'exit 9' TERM; while :; do sleep 0.05; done")
	data := setting(t, r.address, "data_directory")
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.Wait()
	if code := r.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit code %d, want the command's, 9", code)
	}
	gone(t, r.address, data)
}

func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	r := start(t, "cat")
	config, err := pgx.ParseConfig(r.address)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "guess"
	if conn, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		conn.Close(t.Context())
		t.Error("the server lets in whoever guesses")
	}
}

func TestAGivenServerIsUsed(t *testing.T) {
	t.Parallel()
	const given = "postgres://elsewhere.example"
	cmd := command("--", "sh", "-c", `test "$`+addressVariable+`" = `+given)
	cmd.Env = append(cmd.Env, addressVariable+"="+given)
	if err := cmd.Run(); err != nil {
		t.Errorf("the command did not see the given address: %v", err)
	}
}

func TestSweepRemovesOnlyWhatNobodyHolds(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	folder := func(name string, age time.Duration) string {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	left, held := folder(folderPrefix+"left", 2*time.Hour), folder(folderPrefix+"held", 2*time.Hour)
	young, others := folder(folderPrefix+"young", time.Minute), folder("something-else", 2*time.Hour)
	if !lockFolder(held) {
		t.Fatal("can not lock a folder that nobody holds")
	}
	sweep(parent)
	if _, err := os.Stat(left); err == nil {
		t.Error("the abandoned folder is still there")
	}
	for _, dir := range []string{held, young, others} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s was removed: %v", filepath.Base(dir), err)
		}
	}
}

// Not in parallel: a process started by another test in the wrong moment would hold
// one of the scripts open for writing, and then it can not be executed.
func TestNewestPrefersTheHighestVersion(t *testing.T) {
	parent := t.TempDir()
	for dir, version := range map[string]string{
		"9.6": "9.6.24", "12": "12.22", "15": "15.18 (Debian 15.18-0+deb12u1)", "18": "18beta1",
	} {
		dir = filepath.Join(parent, dir, "bin")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"initdb", "postgres"} {
			script := "#!/bin/sh\necho '" + program + " (PostgreSQL) " + version + "'\n"
			if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := newest(filepath.Join(parent, "*/bin")), filepath.Join(parent, "18/bin"); got != want {
		t.Errorf("newest found %q, want %q", got, want)
	}
	if got := newest(filepath.Join(parent, "[19]*[26]/bin")); got != "" {
		t.Errorf("newest accepted the old version in %q", got)
	}
}
