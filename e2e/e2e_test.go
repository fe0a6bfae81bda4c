// Package e2e_test runs the built binary as its operator would, and breaks it as
// the world would.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app"
)

// binary is the program under test, built once per run.
var binary string

// To look at the pages: go test ./e2e -screenshots FOLDER
var screenshots = flag.String("screenshots", "", "take pictures of all hosted pages into this folder instead of testing")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if *screenshots != "" {
			return takePictures(*screenshots)
		}
		dir, err := os.MkdirTemp("", "cardea-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "cardea")
		if out, err := exec.Command("go", "build", "-o", binary, "../cmd/cardea").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// server is a developer's server as a process of its own.
type server struct {
	dir, url, address string
	env               []string // beside the test's own
	process           *exec.Cmd
	log               bytes.Buffer
	boot              app.Bootstrap
}

// newServer chooses a folder and a port for a server on the database.
func newServer(t *testing.T, url string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &server{dir: t.TempDir(), url: url, address: l.Addr().String()}
}

// start starts the process and waits until it is ready.
func (s *server) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(binary, "dev", "--data", s.dir, "--listen", s.address)
	s.process.Env = append(append(os.Environ(), "CARDEA_DATABASE_URL="+s.url), s.env...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get("http://" + s.address + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			s.kill()
			t.Fatalf("the server was not ready in time:\n%s", s.log.Bytes())
		}
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "bootstrap.json"))
	if err == nil {
		err = json.Unmarshal(text, &s.boot)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kill is kill -9, and waits for the end.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Signal(syscall.SIGKILL)
	s.process.Wait()
	s.process = nil
}

// stop is what an init system does.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.process.Process.Signal(syscall.SIGTERM), s.process.Wait()); err != nil {
		t.Errorf("stop: %v\n%s", err, s.log.Bytes())
	}
	s.process = nil
}

// call sends a request with the demo key and decodes the answer into out.
func (s *server) call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.boot.APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || out == nil {
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.Unmarshal(text, out)
}
