package app_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// logText gathers a log that is written and read at once.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// await reads the log until it has what the expression looks for.
func (l *logText) await(t *testing.T, expression string) []string {
	t.Helper()
	want := regexp.MustCompile(expression)
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if found := want.FindStringSubmatch(l.String()); found != nil {
			return found
		}
	}
	t.Fatalf("the log does not have %q:\n%s", expression, l)
	return nil
}

// A running server.
type running struct {
	addr string
	log  *logText
}

// run runs the product on SQLite until the test ends.
func run(t *testing.T, cfg app.Config) *running {
	t.Helper()
	cfg.PublicURL, cfg.MasterKey, cfg.DefaultTenant = "https://localhost", goodKey, "master"
	cfg.DatabaseURL = dbtest.URL(t, database.SQLite)
	r := &running{log: &logText{}}
	a, err := app.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// certificate writes a new certificate for localhost and its key, and returns the
// pool that trusts it.
func certificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: serial, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, text := range map[string][]byte{certFile: certPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

func handshake(addr string, cfg *tls.Config) error {
	cfg.ServerName = "localhost"
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestRunSpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certificate(t, cert, key)
	r := run(t, app.Config{TLSCert: cert, TLSKey: key})

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + r.addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 || answer.ProtoMajor != 2 || answer.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %s %v", answer.Status, answer.Proto, answer.Header)
	}
	old := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // a client of yesterday
	if err := handshake(r.addr, old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if strings.Contains(r.log.String(), "handshake") {
		t.Errorf("a failed handshake is in the log:\n%s", r.log)
	}
}

func TestRunTakesNewCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := certificate(t, cert, key)
	r := run(t, app.Config{TLSCert: cert, TLSKey: key})
	if err := handshake(r.addr, &tls.Config{RootCAs: first}); err != nil {
		t.Fatal(err)
	}

	// A certificate whose key has not come yet.
	spare := filepath.Join(dir, "spare.pem")
	second := certificate(t, cert, spare)
	await(t, "a word on the pair that does not fit", func() bool {
		return handshake(r.addr, &tls.Config{RootCAs: first}) != nil || strings.Contains(r.log.String(), "the old one goes on")
	})
	if err := handshake(r.addr, &tls.Config{RootCAs: first}); err != nil {
		t.Fatalf("the old certificate is gone before the new one is whole: %v", err)
	}
	if err := os.Rename(spare, key); err != nil {
		t.Fatal(err)
	}
	await(t, "the new certificate", func() bool { return handshake(r.addr, &tls.Config{RootCAs: second}) == nil })
}

// await waits until the condition holds. The server looks at its files by the
// real clock.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestMetricsCountRequestsOnAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := run(t, app.Config{MetricsListen: "127.0.0.1:0", Dev: true, Version: "v1.2.3"})
	metrics := "http://" + r.log.await(t, `msg=metrics address=(\S+)`)[1]
	for _, path := range []string{"/readyz", "/api/v1/users/000000000000000000000000", "/nowhere/0123", "/metrics"} {
		answer, err := http.Get("http://" + r.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if path == "/metrics" && answer.StatusCode != http.StatusNotFound {
			t.Errorf("the main address answers /metrics with %s", answer.Status)
		}
	}
	request, err := http.NewRequest("BREW", "http://"+r.addr+"/pot", nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := http.DefaultClient.Do(request); err == nil {
		answer.Body.Close()
	}
	answer, err := http.Get(metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	for _, want := range []string{
		`http_request_duration_seconds_count{method="GET",route="/readyz",status="200"} 1`,
		`http_request_duration_seconds_count{method="GET",route="/api/v1/users/{userid}",status="401"} 1`,
		`http_request_duration_seconds_count{method="GET",route="none",status="404"} 2`,
		`http_request_duration_seconds_count{method="other",route="none",status="404"} 1`,
		"http_requests_in_flight 0", `cardea_build_info{database="sqlite",goversion="go`, `version="v1.2.3"} 1`,
		`cardea_database_connections{state="idle"}`, "cardea_database_connections_max ", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, never := range []string{"000000000000000000000000", "nowhere", "BREW", "pot"} {
		if strings.Contains(text, never) {
			t.Errorf("a caller has put %q into the metrics", never)
		}
	}
}
