package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // a form of hash that other products have
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// The file of the test: every 500th record is refused, for one reason or another.
const (
	importRecords = 30_000
	importRefused = importRecords / 500
)

// A console runs commands on a database.
type console struct {
	url, dir string
	db       *database.DB // to watch from outside
}

func newConsole(t *testing.T, engine string) *console {
	t.Helper()
	c := &console{url: dbtest.URL(t, engine), dir: t.TempDir()}
	var err error
	if c.db, err = database.Open(t.Context(), c.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func (c *console) command(t *testing.T, args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	out = &bytes.Buffer{}
	cmd = exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, out, out
	cmd.Env = append(os.Environ(), "CARDEA_DATABASE_URL="+c.url, "CARDEA_MASTER_KEY=6b0f1d2c3b4a59687786a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0")
	return cmd, out
}

// run runs a command to its end and returns what it printed.
func (c *console) run(t *testing.T, code int, args ...string) []byte {
	t.Helper()
	cmd, out := c.command(t, args...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("cardea %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	return out.Bytes()
}

// runStopped starts a command, and sends it a signal as soon as the tenant has so
// many users. It reports whether the command noticed in time.
func (c *console) runStopped(t *testing.T, tenant string, users int64, signal syscall.Signal, args ...string) (stopped bool) {
	t.Helper()
	cmd, out := c.command(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for c.countUsers(t, tenant) < users {
		select {
		case err := <-ended:
			t.Fatalf("the import ended before it had brought %d users: %v\n%s", users, err, out)
		case <-time.After(5 * time.Millisecond): // a process can only be watched
		}
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-ended
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatal("there is no status of the process")
	}
	if signal == syscall.SIGKILL {
		return status.Signaled()
	}
	if status.ExitStatus() == 130 && !strings.Contains(out.String(), "goes on where it was") {
		t.Errorf("an interrupted import does not say what to do:\n%s", out)
	}
	return status.ExitStatus() == 130
}

func (c *console) countUsers(t *testing.T, tenant string) (n int64) {
	t.Helper()
	if err := c.db.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE tenant_id = (SELECT id FROM tenants WHERE slug = $1)", tenant).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// An account is what must come out for a record that went in.
type account struct {
	ID           string `json:"id"`
	Email        string `json:"email"`
	PasswordHash string `json:"password_hash"`
}

// writeImport writes the file and returns who must be there afterwards, by address,
// and the records that must not.
func writeImport(t *testing.T, path string) (want map[string]string, refused []int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, want := bufio.NewWriter(file), map[string]string{}
	for i := range int64(importRecords) {
		sum := sha1.Sum(fmt.Append(nil, i)) //nolint:gosec // see above
		hash := "{SHA}" + base64.StdEncoding.EncodeToString(sum[:])
		email := fmt.Sprintf("%x@example.com", sum[:6]) // in no order
		switch {
		case i%500 != 499:
			want[email] = hash
		case i%1000 == 499:
			email = "not an address"
			refused = append(refused, i+1)
		default:
			hash = "$2b$99$nonsense"
			refused = append(refused, i+1)
		}
		fmt.Fprintf(w, `{"email":%q,"first_name":"Ann","raw_attributes":{"n":%d},"password_hash":%q}`+"\n", email, i, hash)
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return want, refused
}

// lines decodes JSON lines.
func lines[T any](t *testing.T, path string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		var v T
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
}

// Seven times an import is stopped in the middle. The same command goes on, and in
// the end there is exactly one user for each good record, and one line for each
// other. What goes out then comes in elsewhere, stopped again, as the same bytes.
func TestKilledImportGoesOn(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			c := newConsole(t, engine)
			want, refused := writeImport(t, filepath.Join(c.dir, "users.jsonl"))
			c.run(t, 0, "tenant", "create", "shop")
			c.run(t, 0, "tenant", "create", "copy")

			command := []string{"user", "import", "users.jsonl", "--tenant", "shop", "--report", "report.jsonl", "--json"}
			c.importThroughStops(t, "shop", command)
			c.checkResult(t, c.run(t, 1, command...), int64(len(want)))
			c.checkReport(t, refused)
			c.run(t, 0, "user", "export", "first.jsonl", "--tenant", "shop", "--hashes")
			c.checkExport(t, want)

			command = []string{"user", "import", "first.jsonl", "--tenant", "copy"}
			c.importThroughStops(t, "copy", command)
			c.run(t, 0, command...)
			c.run(t, 0, "user", "export", "second.jsonl", "--tenant", "copy", "--hashes")
			c.checkSame(t, "first.jsonl", "second.jsonl")

			// Again it is another import, of users who are all there and are skipped.
			c.run(t, 0, command...)
			if n := c.countUsers(t, "copy"); n != int64(len(want)) {
				t.Errorf("after the same file once more there are %d users, want %d", n, len(want))
			}
			c.run(t, 0, "log", "verify")
		})
	}
}

// importThroughStops stops an import at different moments: before anybody is in, in
// the middle of it, and close to its end.
func (c *console) importThroughStops(t *testing.T, tenant string, command []string) {
	t.Helper()
	stops, had := 0, int64(-1)
	for i, users := range []int64{0, 1, 4_000, 9_000, 14_000, 19_000, 24_000} {
		signal := syscall.SIGKILL
		if i == 4 {
			signal = syscall.SIGINT
		}
		if c.runStopped(t, tenant, users, signal, command...) {
			stops++
		}
		now := c.countUsers(t, tenant)
		if now < had {
			t.Errorf("after a stop there are %d users, before it there were %d", now, had)
		}
		had = now
	}
	if stops < 6 || had >= importRecords-importRefused {
		t.Fatalf("only %d of 7 stops hit, and %d users are in: the test proves too little", stops, had)
	}
}

func (c *console) checkResult(t *testing.T, out []byte, created int64) {
	t.Helper()
	var got struct {
		State                     string
		Records, Created, Refused int64
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.State != "done" || got.Records != importRecords || got.Created != created || got.Refused != importRefused {
		t.Errorf("result %+v, want %d created and %d refused", got, created, importRefused)
	}
}

func (c *console) checkReport(t *testing.T, refused []int64) {
	t.Helper()
	type refusal struct{ Record, Line int64 }
	var got []int64
	for _, r := range lines[refusal](t, filepath.Join(c.dir, "report.jsonl")) {
		if got = append(got, r.Record); r.Line != r.Record {
			t.Errorf("record %d is said to be in line %d", r.Record, r.Line)
		}
	}
	if !slices.Equal(got, refused) {
		t.Errorf("the report has records %v, want %v", got, refused)
	}
}

func (c *console) checkExport(t *testing.T, want map[string]string) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range lines[account](t, filepath.Join(c.dir, "first.jsonl")) {
		if hash, ok := want[a.Email]; !ok || hash != a.PasswordHash || seen[a.Email] || seen[a.ID] {
			t.Fatalf("%+v is in the export, seen %t, want the hash %q", a, seen[a.Email] || seen[a.ID], hash)
		}
		seen[a.Email], seen[a.ID] = true, true
	}
	if len(seen) != 2*len(want) {
		t.Errorf("%d users came out, want %d", len(seen)/2, len(want))
	}
	for what, stmt := range map[string]string{
		"identifiers without a user":  "SELECT count(*) FROM user_identifiers i LEFT JOIN users u ON u.tenant_id = i.tenant_id AND u.id = i.user_id WHERE u.id IS NULL",
		"users without an identifier": "SELECT count(*) FROM users u LEFT JOIN user_identifiers i ON i.tenant_id = u.tenant_id AND i.value = u.login_key WHERE i.value IS NULL",
		"passwords without a user":    "SELECT count(*) FROM passwords p LEFT JOIN users u ON u.tenant_id = p.tenant_id AND u.id = p.user_id WHERE u.id IS NULL",
	} {
		var n int64
		if err := c.db.QueryRow(t.Context(), stmt).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s, %v", n, what, err)
		}
	}
}

func (c *console) checkSame(t *testing.T, first, second string) {
	t.Helper()
	a, errA := os.ReadFile(filepath.Join(c.dir, first))
	b, errB := os.ReadFile(filepath.Join(c.dir, second))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s and %s differ", first, second)
	}
}
