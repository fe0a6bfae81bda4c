package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

const (
	testKey  = "6b0f1d2c3b4a59687786a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
	otherKey = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f"
)

// binary is the whole program, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cardea-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "cardea")
	build := exec.Command("make", "-s", "-C", "../..", "build", "program="+binary, "version=v0.0.0-test")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// environ is the environment of the program under test: nothing of ours leaks in.
func environ(more ...string) []string {
	return append([]string{"PATH=" + filepath.Dir(binary) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=/", "TMPDIR=" + os.TempDir()}, more...)
}

// The scripts run on each engine, on a new and migrated database each.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/scripts/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		for _, engine := range dbtest.Engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				t.Parallel()
				url := dbtest.URL(t, engine)
				testscript.Run(t, testscript.Params{
					Files:               []string{file},
					RequireExplicitExec: true,
					Setup: func(env *testscript.Env) error {
						env.Vars = append(environ("CARDEA_DATABASE_URL="+url, "CARDEA_MASTER_KEY="+testKey, "RTL=\u202e"), "WORK="+env.WorkDir)
						return nil
					},
					Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "take": take, "alter": alter},
				})
			})
		}
	}
}

// exits CODE PROGRAM ARGUMENT… runs a program and demands an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failure, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = failure.ExitCode()
	}
	if got != want {
		ts.Fatalf("it exits with %d, want %d", got, want)
	}
}

// take NAME EXPRESSION keeps what the group matches in the output as a variable.
func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take NAME EXPRESSION")
	}
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("the output does not have %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// alter STATEMENT changes the database behind the program's back.
func alter(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	db, err := database.Open(ctx, ts.Getenv("CARDEA_DATABASE_URL"))
	ts.Check(err)
	defer db.Close()
	ts.Check(db.Write(ctx, func(tx *database.Tx) error {
		n, err := tx.Exec(ctx, strings.ReplaceAll(strings.Join(args, " "), `"`, "'"))
		if err == nil && n == 0 {
			err = errors.New("nothing was altered")
		}
		return err
	}))
}
