package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app"
)

func TestJSONLogHasOneObjectALine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, flush := app.NewLogger(&out, "")
	log.Info("request", "path", "/a\nb")
	log.Warn("second")
	flush()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), out.String())
	}
	var first struct{ Level, Msg, Path string }
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || first.Path != "/a\nb" || first.Level != "INFO" {
		t.Errorf("%+v, %v", first, err)
	}
}

func TestTextLogReadsLikeASentence(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, flush := app.NewLogger(&out, "text")
	log.With("tenant", "t1").Info("request", "request_id", "r1", "method", "GET", "path", "/api/v1/users", "status", 200, "ms", 1.25, "actor", "")
	log.WithGroup("db").Error("it broke", "err", errors.New("no such table"))
	flush()
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{" GET /api/v1/users 200 1.25ms tenant=t1 request_id=r1", ` ERROR it broke db.err="no such table"`} {
		if got := lines[i][len("15:04:05.000"):]; got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}

func TestTextLogObeysNobody(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, flush := app.NewLogger(&out, "text")
	log.Info("request", "method", "GET", "path", "/\x1b[2J\nforged line\u202e", "status", 404, "ms", 0.1)
	flush()
	if got := out.String(); strings.ContainsAny(got, "\x1b\u202e") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}

// A stuck writer takes nothing until it is released.
type stuck struct {
	release chan struct{}
	entered chan struct{}
	once    sync.Once
	mu      sync.Mutex
	out     bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func TestNobodyWaitsForTheLog(t *testing.T) {
	t.Parallel()
	out := &stuck{release: make(chan struct{}), entered: make(chan struct{})}
	log, flush := app.NewLogger(out, "json")
	log.Info("first")
	<-out.entered
	line := strings.Repeat("x", 1000)
	for range 3000 { // three times what may wait
		log.Info(line)
	}
	close(out.release)
	for start := time.Now(); ; {
		out.mu.Lock()
		told := strings.Contains(out.out.String(), "lines of the log were lost")
		out.mu.Unlock()
		if told {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("nobody told of the lines that were lost")
		}
	}
	flush()
	if n := strings.Count(out.out.String(), line); n == 0 || n >= 3000 {
		t.Errorf("%d of 3000 lines were written", n)
	}
}

func TestTheEndDoesNotWaitForAStuckLog(t *testing.T) {
	t.Parallel()
	out := &stuck{release: make(chan struct{}), entered: make(chan struct{})}
	defer close(out.release)
	log, flush := app.NewLogger(out, "json")
	log.Info("first")
	<-out.entered
	start := time.Now()
	flush()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
