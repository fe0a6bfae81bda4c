package cli_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// output gathers what a process prints, while it prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// A process is the program at work.
type process struct {
	cmd      *exec.Cmd
	out, err output
	ended    chan struct{}
	addr     string // where the server listens
}

// start starts the program in a folder and returns without waiting for anything.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, environ(env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// await waits until the output has what the expression looks for.
func (p *process) await(t *testing.T, o *output, expression string) []string {
	t.Helper()
	want := regexp.MustCompile(expression)
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(2 * time.Millisecond) {
		if found := want.FindStringSubmatch(o.String()); found != nil {
			return found
		}
		select {
		case <-p.ended:
			t.Fatalf("it has ended:\n%s%s", p.out.String(), p.err.String())
		default:
		}
	}
	t.Fatalf("waited in vain for %q:\n%s%s", expression, p.out.String(), p.err.String())
	return nil
}

// stop sends SIGTERM and returns the exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.exit(t)
}

func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end:\n%s", p.err.String())
		return 0
	}
}

// command runs the program to its end.
func command(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := start(t, dir, env, args...)
	p.exit(t)
	return p
}

func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// production is a complete configuration on a new database.
func production(t *testing.T, engine string, more ...string) []string {
	t.Helper()
	return append([]string{"CARDEA_PUBLIC_URL=https://id.test", "CARDEA_MASTER_KEY=" + testKey,
		"CARDEA_LISTEN=127.0.0.1:0", "CARDEA_DATABASE_URL=" + dbtest.URL(t, engine)}, more...)
}

// serve starts a server and waits until it is ready.
func serve(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := start(t, t.TempDir(), env, append([]string{"serve"}, args...)...)
	p.addr = p.await(t, &p.err, `"msg":"ready","address":"([^"]+)"`)[1]
	return p
}

// ask sends a request with headers given as pairs. It follows no redirect.
func (p *process) ask(t *testing.T, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+p.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

var proxied = []string{"Host", "id.test", "X-Forwarded-Proto", "https"}

func TestServeRefusesPlainHTTP(t *testing.T) {
	t.Parallel()
	p := serve(t, production(t, database.SQLite))
	answer, body := p.ask(t, "GET", "/api/v1/users", "Host", "id.test", "X-Forwarded-Proto", "https", "Authorization", "Bearer sk_x")
	if answer.StatusCode != 403 || !strings.Contains(body, `"https_required"`) {
		t.Errorf("API: %s %s", answer.Status, body)
	}
	answer, _ = p.ask(t, "GET", "/docs?a=b", "Host", "id.test", "Accept", "text/html")
	if answer.StatusCode != 308 || answer.Header.Get("Location") != "https://id.test/docs?a=b" {
		t.Errorf("page: %s to %q", answer.Status, answer.Header.Get("Location"))
	}
	if answer, _ = p.ask(t, "GET", "/readyz"); answer.StatusCode != 200 {
		t.Errorf("a local probe: %s", answer.Status)
	}
	if !strings.Contains(p.err.String(), "every request counts as plain http and is refused") {
		t.Errorf("the log does not warn:\n%s", p.err.String())
	}
}

func TestServeBelievesItsProxies(t *testing.T) {
	t.Parallel()
	p := serve(t, production(t, database.SQLite, "CARDEA_TRUSTED_PROXIES=127.0.0.0/8"))
	answer, body := p.ask(t, "GET", "/api/v1/users", append(proxied, "X-Forwarded-For", "203.0.113.9, 198.51.100.7")...)
	if answer.StatusCode != 401 || answer.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %s", answer.Status, body)
	}
	p.await(t, &p.err, `"ip":"198\.51\.100\.7"`)
	if answer, _ = p.ask(t, "GET", "/api/v1/users", "Host", "other.test", "X-Forwarded-Proto", "https"); answer.StatusCode != 421 {
		t.Errorf("an unknown host: %s", answer.Status)
	}
	if answer, _ = p.ask(t, "GET", "/metrics", proxied...); answer.StatusCode != 404 {
		t.Errorf("/metrics on the main address: %s", answer.Status)
	}
}

func TestEachRequestIsOneLineWithTheIDOfItsError(t *testing.T) {
	t.Parallel()
	p := serve(t, production(t, database.SQLite, "CARDEA_TRUSTED_PROXIES=127.0.0.1"))
	_, body := p.ask(t, "GET", "/api/v1/users?email=hush@example.com", proxied...)
	var answer struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.RequestID == "" {
		t.Fatalf("%s: %v", body, err)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("it exits with %d", code)
	}
	var lines []string
	for line := range strings.Lines(p.err.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is not JSON: %s", line)
		}
		if strings.Contains(line, answer.RequestID) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], `"msg":"request"`) || !strings.Contains(lines[0], `"status":401`) || strings.Contains(lines[0], "hush") {
		t.Errorf("the request's lines: %q", lines)
	}
}

// A request is under way when half of its body has come. The other half comes
// after the signal.
func TestServeFinishesRequestsUnderWay(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			env := production(t, engine, "CARDEA_TRUSTED_PROXIES=127.0.0.1")
			key := makeKey(t, env)
			p := serve(t, env)
			const half, rest = `{"email":"ann@`, `example.com"}`
			var conns [10]net.Conn
			for i := range conns {
				conn, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "POST /api/v1/users HTTP/1.1\r\nHost: id.test\r\nX-Forwarded-Proto: https\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
					key, len(half)+len(rest)+i)
				// The server asks for the body once it has begun to work on the request.
				if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
					t.Fatalf("%q, %v", line, err)
				}
				fmt.Fprint(conn, half)
				conns[i] = conn
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			p.await(t, &p.err, `"msg":"stopping`)
			if conn, err := net.Dial("tcp", p.addr); err == nil {
				conn.Close()
				// Between the line of the log and the listener's end there is a moment.
				time.Sleep(50 * time.Millisecond)
				if _, err := net.Dial("tcp", p.addr); err == nil {
					t.Error("it still takes connections")
				}
			}
			for i, conn := range conns {
				fmt.Fprint(conn, strings.Repeat("x", i)+rest)
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("request %d was not answered: %v", i, err)
				}
				answer.Body.Close()
				if answer.StatusCode != 200 {
					t.Errorf("request %d: %s", i, answer.Status)
				}
			}
			if code := p.exit(t); code != 0 {
				t.Errorf("it exits with %d:\n%s", code, p.err.String())
			}
			if verify := command(t, t.TempDir(), env, "log", "verify"); verify.code() != 0 || !strings.Contains(verify.out.String(), " 0 ") {
				t.Errorf("the log is not sealed:\n%s", verify.out.String())
			}
		})
	}
}

// makeKey makes an API key of the master tenant that may do everything.
func makeKey(t *testing.T, env []string) string {
	t.Helper()
	made := command(t, t.TempDir(), env, "key", "create", "test", "--scope", "*", "--json")
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(made.out.String()), &key); err != nil {
		t.Fatalf("%v: %s%s", err, made.out.String(), made.err.String())
	}
	return key.Key
}

func TestCommandsWorkBesideAServer(t *testing.T) {
	t.Parallel()
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			env := production(t, engine, "CARDEA_TRUSTED_PROXIES=127.0.0.1")
			p := serve(t, env)
			key := makeKey(t, env)
			as := append(proxied, "Authorization", "Bearer "+key)
			if answer, body := p.ask(t, "GET", "/api/v1/keys", as...); answer.StatusCode != 200 || !strings.Contains(body, `"created_by":"command:`) {
				t.Fatalf("%s %s", answer.Status, body)
			}
			id := regexp.MustCompile(`(?m)^([0-9a-f]{24}) `).FindString(command(t, t.TempDir(), env, "key", "list").out.String())
			if revoke := command(t, t.TempDir(), env, "key", "revoke", strings.TrimSpace(id), "--yes"); revoke.code() != 0 {
				t.Fatal(revoke.err.String())
			}
			for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
				if answer, _ := p.ask(t, "GET", "/api/v1/keys", as...); answer.StatusCode == 401 {
					break
				}
				if time.Since(begin) > 5*time.Second {
					t.Fatal("the key still works")
				}
			}
		})
	}
}

func TestServeDoesNotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	foreign := production(t, database.SQLite)
	if first := serve(t, foreign); first.stop(t) != 0 {
		t.Fatal(first.err.String())
	}
	for name, c := range map[string]struct {
		env  []string
		code int
		want string
	}{
		"with another master key": {append(foreign, "CARDEA_MASTER_KEY="+otherKey), 3,
			"the master key is not the one this database was made with: the data key of tenant master does not open with it"},
		"where somebody else listens":        {production(t, database.SQLite, "CARDEA_LISTEN="+taken.Addr().String()), 1, "address already in use"},
		"without the folder of its database": {production(t, database.SQLite, "CARDEA_DATABASE_URL=sqlite:/none/cardea.db"), 1, "make it first"},
		"without its database server":        {production(t, database.SQLite, "CARDEA_DATABASE_URL=postgres://me:hush@127.0.0.1:1/x"), 1, "connection refused"},
		"with a database that is a text":     {production(t, database.SQLite, "CARDEA_DATABASE_URL=sqlite:"+textFile(t)), 1, "not a database"},
		"without its TLS files": {production(t, database.SQLite, "CARDEA_TLS_CERT=/none/cert.pem", "CARDEA_TLS_KEY=/none/key.pem"), 3,
			"/none/cert.pem: no such file or directory\n  tls_key (CARDEA_TLS_KEY): the file can not be read: stat /none/key.pem"},
		"with a misspelt variable":             {[]string{"CARDEA_PUBLIC_URI=https://id.test"}, 3, "do you mean CARDEA_PUBLIC_URL?"},
		"with two settings that are not right": {production(t, database.SQLite, "CARDEA_LISTEN=x", "CARDEA_LOG_FORMAT=xml"), 3, "log_format (CARDEA_LOG_FORMAT)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := command(t, t.TempDir(), c.env, "serve")
			if p.code() != c.code || !strings.Contains(p.err.String(), c.want) {
				t.Errorf("it exits with %d, want %d and %q:\n%s", p.code(), c.code, c.want, p.err.String())
			}
			if strings.Contains(p.err.String(), "hush") || strings.Contains(p.err.String(), otherKey) {
				t.Errorf("it shows a secret:\n%s", p.err.String())
			}
		})
	}
}

func textFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeSpeaksTLSAndHealthcheckAsksInTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, cert, key)
	env := production(t, database.SQLite, "CARDEA_TLS_CERT="+cert, "CARDEA_TLS_KEY="+key)
	p := serve(t, env)
	listen := "CARDEA_LISTEN=" + p.addr
	if ok := command(t, dir, append(env, listen), "healthcheck"); ok.code() != 0 || ok.out.String()+ok.err.String() != "" {
		t.Errorf("it exits with %d:\n%s", ok.code(), ok.err.String())
	}
	otherCert, otherKey := filepath.Join(dir, "other.pem"), filepath.Join(dir, "otherkey.pem")
	selfSigned(t, otherCert, otherKey)
	if bad := command(t, dir, append(env, listen, "CARDEA_TLS_CERT="+otherCert, "CARDEA_TLS_KEY="+otherKey), "healthcheck"); bad.code() != 1 {
		t.Errorf("whoever answers is healthy: exit %d", bad.code())
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("it exits with %d", code)
	}
	if gone := command(t, dir, append(env, listen), "healthcheck"); gone.code() != 1 || !strings.Contains(gone.err.String(), "does not answer") {
		t.Errorf("without a server: exit %d, %s", gone.code(), gone.err.String())
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if open := command(t, dir, env, "serve"); open.code() != 3 || !strings.Contains(open.err.String(), "tls_key (CARDEA_TLS_KEY): "+key+" has mode 0644") {
		t.Errorf("with an open key: exit %d, %s", open.code(), open.err.String())
	}
}

func selfSigned(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"id.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{certFile, "CERTIFICATE", cert}, {keyFile, "PRIVATE KEY", private}} {
		if err := os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing that the program prints or logs has a secret in it, whatever it is asked.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	pepper, smtp := "canary-pepper-canary-pepper-canary", "canary-smtp"
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "master.key")
	if err := os.WriteFile(keyFile, []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	dbURL := dbtest.URL(t, database.PostgreSQL)
	env := []string{"CARDEA_PUBLIC_URL=https://id.test", "CARDEA_MASTER_KEY_FILE=" + keyFile, "CARDEA_LISTEN=127.0.0.1:0", "CARDEA_DATABASE_URL=" + dbURL,
		"CARDEA_PASSWORD_PEPPER=" + pepper, "CARDEA_SMTP_URL=smtp://me:" + smtp + "@127.0.0.1", "CARDEA_TRUSTED_PROXIES=127.0.0.1"}
	p := serve(t, env)
	key := makeKey(t, env)
	for _, path := range []string{"/api/v1/users?token=" + key, "/api/v1/users/x", "/nowhere", "/api/v1/config?client_id=" + key} {
		p.ask(t, "GET", path, append(proxied, "Authorization", "Bearer "+key)...)
		p.ask(t, "GET", path, append(proxied, "Authorization", "Bearer "+key+"x")...)
		p.ask(t, "GET", path, append(proxied, "Authorization", "Basic "+key)...)
	}
	p.stop(t)
	shown := p.out.String() + p.err.String()
	for _, args := range [][]string{{"config"}, {"config", "--json"}, {"doctor"}, {"doctor", "--json"}, {"key", "list", "--json"}, {"log", "list", "--json"},
		{"log", "verify"}, {"config", "--listen", "x"}, {"serve", "--public-url", "http://x"}} {
		run := command(t, dir, env, args...)
		shown += run.out.String() + run.err.String()
	}
	password := regexp.MustCompile(`://[^:]+:([^@]+)@`).FindStringSubmatch(dbURL)[1]
	for name, secret := range map[string]string{"master key": testKey, "pepper": pepper, "mail password": smtp, "database password": password, "API key": key} {
		if strings.Contains(shown, secret) {
			t.Errorf("the %s is shown", name)
		}
	}
}

// A log that nobody reads must not stop the server.
func TestServeOutlivesTheReaderOfItsLog(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(r *os.File){
		"that sleeps":    func(*os.File) {},
		"that goes away": func(r *os.File) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			port := freePort(t)
			cmd := exec.Command(binary, "serve")
			cmd.Env = environ(production(t, database.SQLite, "CARDEA_LISTEN=127.0.0.1:"+port)...)
			cmd.Stderr = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			ended := make(chan struct{})
			go func() { cmd.Wait(); close(ended) }()
			t.Cleanup(func() { cmd.Process.Kill(); <-ended })
			p := &process{cmd: cmd, ended: ended, addr: "127.0.0.1:" + port}
			for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
				if conn, err := net.Dial("tcp", p.addr); err == nil {
					conn.Close()
					break
				}
				if time.Since(begin) > 20*time.Second {
					t.Fatal("it does not start")
				}
			}
			read(r)
			for range 1000 { // more lines than a pipe holds
				if answer, _ := p.ask(t, "GET", "/readyz"); answer.StatusCode != 200 {
					t.Fatal(answer.Status)
				}
			}
			if code := p.stop(t); code != 0 {
				t.Errorf("it exits with %d", code)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestTheBinaryStaysSmall(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(30 << 20); info.Size() > limit {
		t.Errorf("it has %d bytes, want at most %d", info.Size(), limit)
	}
}
