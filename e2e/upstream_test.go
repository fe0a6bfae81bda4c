package e2e_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/cardea-id/cardea/internal/database/dbtest"
)

// upstreamFolder has an OpenID provider that others wrote.
const upstreamFolder = "upstream"

var findUpstream = sync.OnceValues(func() (path string, err error) {
	unlock, err := lockFolder(upstreamFolder)
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, err = node(); err != nil {
		return "", err
	}
	return path, installPackages(path, upstreamFolder)
})

// upstream is that provider as a process of its own.
type upstream struct {
	port    string
	args    []string
	process *exec.Cmd
}

// start starts it, with keys that are new, and waits until it is ready.
func (u *upstream) start(t *testing.T, node string) {
	t.Helper()
	u.process = exec.Command(node, append([]string{filepath.Join(upstreamFolder, "provider.js"), u.port}, u.args...)...)
	out, err := u.process.StdoutPipe()
	if err == nil {
		err = u.process.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.stop)
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "http://") {
				ready <- lines.Text()
			}
		}
		close(ready)
	}()
	select {
	case address := <-ready:
		if address == "" {
			t.Fatal("the provider has ended before it was ready")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the provider was not ready in time")
	}
}

func (u *upstream) stop() {
	if u.process != nil {
		u.process.Process.Kill()
		u.process.Wait()
		u.process = nil
	}
}

// freePort chooses a port.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// answer sends the first form of a page, with its hidden fields and more.
func (b *visitor) answer(t *testing.T, p sheet, pairs ...string) sheet {
	t.Helper()
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		fields := url.Values{}
		for in := range n.Descendants() {
			if in.Data == "input" && attribute(in, "type") == "hidden" {
				fields.Set(attribute(in, "name"), attribute(in, "value"))
			}
		}
		for i := 0; i < len(pairs); i += 2 {
			fields.Set(pairs[i], pairs[i+1])
		}
		return b.open(t, "POST", p.resolve(t, attribute(n, "action")), fields)
	}
	t.Fatalf("%s has no form:\n%s", p.url, p.body)
	return sheet{}
}

// signInUpstream presses the button of the provider, signs in there under a name and
// allows what we ask for.
func (s *server) signInUpstream(t *testing.T, b *visitor, connection, name string) sheet {
	t.Helper()
	p := b.open(t, "GET", s.boot.PublicURL+"/signin", nil)
	p = b.submit(t, p, "/signin/social/"+connection, "x", "")
	p = b.answer(t, p, "login", name, "password", "anything")
	return b.answer(t, p)
}

// People sign in by a provider that others wrote.
func TestPeopleSignInByAnotherProvider(t *testing.T) {
	t.Parallel()
	node, err := findUpstream()
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, dbtest.EmptyURL(t, engine))
			s.start(t)
			u := &upstream{port: freePort(t)}
			var made struct {
				ID          string `json:"id"`
				RedirectURI string `json:"redirect_uri"`
			}
			status, err := s.call(t.Context(), "POST", "/api/v1/connections", map[string]any{
				"provider": "openid", "name": "Upstream", "client_id": "cardea", "client_secret": "a secret/with:signs", "settings": map[string]string{"issuer": "http://127.0.0.1:" + u.port},
			}, &made)
			if err != nil || status != http.StatusCreated {
				t.Fatalf("create the connection: %d, %v", status, err)
			}
			u.args = []string{"cardea", "a secret/with:signs", made.RedirectURI}
			u.start(t, node)
			if p := s.signInUpstream(t, newVisitor(t), made.ID, "ann"); !strings.Contains(p.body, "ann@<wbr>upstream.test") {
				t.Errorf("signed up, the page is %s\n%s", p.url, p.body)
			}
			u.stop()
			u.start(t, node) // with other keys
			if p := s.signInUpstream(t, newVisitor(t), made.ID, "ann"); !strings.Contains(p.body, "ann@<wbr>upstream.test") {
				t.Errorf("after the keys have changed, the page is %s\n%s", p.url, p.body)
			}
			var users []any
			if _, err := s.call(t.Context(), "GET", "/api/v1/users?email=ann@upstream.test", nil, &users); err != nil || len(users) != 1 {
				t.Errorf("there are %d users with the address, %v", len(users), err)
			}
			if p := s.signInUpstream(t, newVisitor(t), made.ID, "unverified"); !strings.Contains(p.body, "confirm an e-mail address") {
				t.Errorf("an address that nobody vouches for leads to %s\n%s", p.url, p.body)
			}
			s.cancelUpstream(t, made.ID)
			s.stop(t)
		})
	}
}

// cancelUpstream has somebody think better of it while at the provider.
func (s *server) cancelUpstream(t *testing.T, connection string) {
	t.Helper()
	b := newVisitor(t)
	p := b.submit(t, b.open(t, "GET", s.boot.PublicURL+"/signin", nil), "/signin/social/"+connection, "x", "")
	for n := range p.root.Descendants() {
		if n.Data != "a" || !strings.HasSuffix(attribute(n, "href"), "/abort") {
			continue
		}
		resp, err := b.http.Get(p.resolve(t, attribute(n, "href")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "did not sign you in") {
			t.Errorf("after cancelling: %d, %v\n%s", resp.StatusCode, err, body)
		}
		return
	}
	t.Errorf("the provider has no way to cancel:\n%s", p.body)
}
