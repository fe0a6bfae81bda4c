package outbound_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
)

// names is a name server that answers what a test wants.
type names struct {
	mu      sync.Mutex
	answers map[string][][]string // by name: what each look-up finds, the last one for good
	asked   map[string]int        // look-ups of IPv4 addresses by name
}

func (n *names) find(name string, v4 bool) (found []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rounds := n.answers[name]
	if len(rounds) == 0 {
		return nil
	}
	round := rounds[min(n.asked[name], len(rounds)-1)]
	if v4 {
		n.asked[name]++
	}
	for _, text := range round {
		if a := netip.MustParseAddr(text); a.Is4() == v4 {
			found = append(found, a)
		}
	}
	return found
}

// resolver returns a resolver that asks n.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	n.asked = map[string]int{}
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := n.answer(buf[:size]); answer != nil {
				server.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func (n *names) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	switch q.Type {
	case dnsmessage.TypeA:
		for _, a := range n.find(name, true) {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		}
	case dnsmessage.TypeAAAA:
		for _, a := range n.find(name, false) {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if len(n.answers[name]) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

// inside returns a client that may reach 127.0.0.1, and nothing else that is not
// public, by http and at any port.
func inside() *outbound.Client {
	return &outbound.Client{Allow: loopback, AllowHTTP: true, AnyPort: true, Step: time.Millisecond}
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"loopback":                       "https://127.0.0.1/",
		"another loopback":               "https://127.99.0.1/",
		"private 10":                     "https://10.0.0.1/",
		"private 172":                    "https://172.31.255.255/",
		"private 192":                    "https://192.168.1.1/",
		"link-local":                     "https://169.254.0.1/",
		"metadata":                       "https://169.254.169.254/latest/meta-data/",
		"metadata of Alibaba":            "https://100.100.100.200/",
		"metadata of Azure":              "https://168.63.129.16/",
		"carrier-grade NAT":              "https://100.64.0.1/",
		"multicast":                      "https://224.0.0.1/",
		"broadcast":                      "https://255.255.255.255/",
		"unspecified":                    "https://0.0.0.0/",
		"this network":                   "https://0.1.2.3/",
		"benchmark":                      "https://198.18.0.1/",
		"documentation":                  "https://192.0.2.1/",
		"IPv6 loopback":                  "https://[::1]/",
		"IPv6 unspecified":               "https://[::]/",
		"IPv6 private":                   "https://[fd00::1]/",
		"IPv6 metadata":                  "https://[fd00:ec2::254]/",
		"IPv6 link-local":                "https://[fe80::1]/",
		"IPv6 zone":                      "https://[fe80::1%25eth0]/",
		"public IPv6 with a zone":        "https://[2606:4700::1%25eth0]/",
		"IPv6 site-local":                "https://[fec0::1]/",
		"IPv6 multicast":                 "https://[ff02::1]/",
		"IPv4-mapped loopback":           "https://[::ffff:127.0.0.1]/",
		"IPv4-mapped public":             "https://[::ffff:8.8.8.8]/",
		"IPv4-mapped in hex":             "https://[::ffff:7f00:1]/",
		"IPv4-compatible":                "https://[::127.0.0.1]/",
		"NAT64":                          "https://[64:ff9b::7f00:1]/",
		"local NAT64":                    "https://[64:ff9b:1::7f00:1]/",
		"6to4":                           "https://[2002:7f00:1::]/",
		"Teredo":                         "https://[2001:0:7f00:1::]/",
		"IPv6 documentation":             "https://[2001:db8::1]/",
		"discard prefix":                 "https://[100::1]/",
		"decimal":                        "https://2130706433/",
		"octal":                          "https://0177.0.0.1/",
		"octal at the end":               "https://127.0.0.01/",
		"octal in one":                   "https://017700000001/",
		"hex":                            "https://0x7f.0.0.1/",
		"hex in one":                     "https://0x7f000001/",
		"hex in capitals":                "https://0X7F000001/",
		"bare 0x":                        "https://0x/",
		"short":                          "https://127.1/",
		"zero":                           "https://0/",
		"five numbers":                   "https://1.2.3.4.5/",
		"numbers too large":              "https://256.256.256.256/",
		"a number behind a name":         "https://example.127/",
		"trailing dot":                   "https://example.com./",
		"trailing dot of an address":     "https://127.0.0.1./",
		"localhost with a trailing dot":  "https://localhost./",
		"two dots":                       "https://example..com/",
		"leading dot":                    "https://.example.com/",
		"digits of another script":       "https://１２７.０.０.１/",
		"digits in circles":              "https://①②⑦.⓪.⓪.①/",
		"dots of another script":         "https://127。0。0。1/",
		"letters of another script":      "https://ｅxample.com/",
		"percent-encoded host":           "https://%31%32%37.0.0.1/",
		"percent-encoded dot":            "https://127%2e0.0.1/",
		"a long label":                   "https://" + strings.Repeat("a", 64) + ".com/",
		"a long name":                    "https://" + strings.Repeat("a.", 130) + "com/",
		"a long address":                 "https://example.com/" + strings.Repeat("a", 2048),
		"a user":                         "https://user@example.com/",
		"a user that looks like a host":  "https://example.com@127.0.0.1/",
		"an empty user":                  "https://@example.com/",
		"a password":                     "https://user:pass@example.com/",
		"plain http":                     "http://example.com/",
		"plain http in capitals":         "HTTP://example.com/",
		"file":                           "file:///etc/passwd",
		"file with a host":               "file://example.com/etc/passwd",
		"gopher":                         "gopher://example.com:443/_x",
		"ftp":                            "ftp://example.com/",
		"unix socket":                    "unix:///run/docker.sock",
		"http over a unix socket":        "http+unix://%2Frun%2Fdocker.sock/",
		"javascript":                     "javascript:alert(1)",
		"data":                           "data:text/plain,hello",
		"no scheme":                      "example.com/",
		"only a path":                    "/path",
		"scheme-relative":                "//example.com/",
		"opaque":                         "https:example.com",
		"no host":                        "https:///path",
		"only a port":                    "https://:443/",
		"nothing":                        "",
		"port of ssh":                    "https://example.com:22/",
		"port of a database":             "https://example.com:5432/",
		"port 80 over TLS":               "https://example.com:80/",
		"port zero":                      "https://example.com:0/",
		"port with a zero before it":     "https://example.com:0443/",
		"port that wraps around":         "https://example.com:65979/",
		"empty port":                     "https://example.com:/",
		"two ports":                      "https://example.com:443:80/",
		"a line break":                   "https://example.com/\r\nHost: internal",
		"a line break in the host":       "https://example.com\n.internal/",
		"a space before":                 " https://example.com/",
		"a space in the host":            "https://exam ple.com/",
		"a tab in the scheme":            "ht\ttps://example.com/",
		"NUL":                            "https://example.com\x00.internal/",
		"a backslash":                    `https://example.com\@127.0.0.1/`,
		"a backslash for slashes":        `https:\\127.0.0.1\`,
		"a quote in the host":            `https://exam"ple.com/`,
		"an asterisk":                    "https://*.example.com/",
		"an address of a later version":  "https://[v1.fe80::1]/",
		"brackets without a port behind": "https://[::1]x/",
	} {
		u, err := new(outbound.Client).Parse(address)
		if !errors.Is(err, outbound.ErrAddress) {
			t.Errorf("%s: %s gives %v, %v; want ErrAddress", name, address, u, err)
			continue
		}
		// What is refused must not be repeated.
		if p, _ := problem.From(err); strings.Contains(p.Message, "internal") || strings.Contains(p.Message, "pass") && !strings.Contains(p.Message, "password.") {
			t.Errorf("%s: the message is %q", name, p.Message)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	strict := &outbound.Client{}
	for _, address := range []string{
		"https://example.com", "https://example.com/hook?key=a%20b", "https://Example.COM:443/", "https://example.com:8443/a#part",
		"https://8.8.8.8/", "https://[2606:4700::1111]:8443/", "https://xn--mnchen-3ya.example/", "https://a_b.example.com/", "https://1.example.com/", "https://example.c0m/",
	} {
		if _, err := strict.Parse(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	open := &outbound.Client{AllowHTTP: true, Ports: []string{"9443"}, Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for _, address := range []string{"http://example.com/", "http://example.com:80/", "https://example.com:9443/", "https://10.1.2.3/"} {
		if _, err := open.Parse(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"https://10.2.0.1/", "https://[::ffff:10.1.2.3]/", "https://example.com:5432/"} {
		if _, err := open.Parse(address); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
}

// Names lead to any address that their owner likes, wildcard names among them.
func TestDoRefusesNamesThatLeadInside(t *testing.T) {
	t.Parallel()
	addresses := map[string]string{
		"loopback": "127.0.0.1", "private 10": "10.0.0.1", "private 172": "172.16.0.1", "private 192": "192.168.0.1", "link-local": "169.254.1.1",
		"metadata": "169.254.169.254", "metadata of Azure": "168.63.129.16", "carrier-grade NAT": "100.64.0.1", "multicast": "239.1.1.1",
		"broadcast": "255.255.255.255", "unspecified": "0.0.0.0", "6to4 relay": "192.88.99.1", "IPv6 loopback": "::1", "IPv6 unspecified": "::",
		"IPv6 private": "fd12::1", "IPv6 metadata": "fd00:ec2::254", "IPv6 link-local": "fe80::1", "IPv6 multicast": "ff0e::1",
		"IPv4-mapped": "::ffff:127.0.0.1", "IPv4-compatible": "::7f00:1", "NAT64": "64:ff9b::7f00:1", "6to4": "2002:7f00:1::1", "Teredo": "2001::7f00:1",
		"IPv6 documentation": "2001:db8::1", "newer IPv6 documentation": "3fff::1", "segment routing": "5f00::1",
	}
	n := &names{answers: map[string][][]string{}}
	for name, address := range addresses {
		n.answers[host(name)] = [][]string{{address}}
	}
	c := &outbound.Client{Resolver: n.resolver(t)}
	for name := range addresses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.HTTP(100).Get("https://" + host(name) + "/")
			if err == nil || !strings.Contains(err.Error(), "not public") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func host(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", "-")) + ".nip.test"
}

// twins are servers at the same port of 127.0.0.1, which the client of inside may
// reach, and of another address of this machine, which it may not.
func twins(t *testing.T) (port, forbidden string, touched *atomic.Bool) {
	t.Helper()
	touched = new(atomic.Bool)
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that each request makes a connection
		hello(w, r)
	})
	_, port, _ = net.SplitHostPort(first.Listener.Addr().String())
	forbidden = "127.0.0.2"
	listener, err := net.Listen("tcp", net.JoinHostPort(forbidden, port))
	if err != nil { // not on every system
		forbidden = "::1"
		listener, err = net.Listen("tcp", net.JoinHostPort(forbidden, port))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			touched.Store(true)
			conn.Close()
		}
	}()
	return port, forbidden, touched
}

func TestDoRefusesRebinding(t *testing.T) {
	t.Parallel()
	port, forbidden, touched := twins(t)
	n := &names{answers: map[string][][]string{"rebind.test": {{"127.0.0.1"}, {forbidden}}}}
	c := inside()
	c.Resolver = n.resolver(t)
	address := "http://rebind.test:" + port
	if a, err := c.Get(t.Context(), address, 100); err != nil || string(a.Body) != "hello" {
		t.Fatalf("first: %+v, %v", a, err)
	}
	if n.asked["rebind.test"] != 1 {
		t.Errorf("the name was looked up %d times for one connection", n.asked["rebind.test"])
	}
	if _, err := c.Get(t.Context(), address, 100); !errors.Is(err, outbound.ErrUnreachable) {
		t.Errorf("second: %v, want ErrUnreachable", err)
	}
	if touched.Load() {
		t.Error("the forbidden address was connected to")
	}
}

func TestDoConnectsOnlyToTheAddressesItMay(t *testing.T) {
	t.Parallel()
	port, forbidden, touched := twins(t)
	n := &names{answers: map[string][][]string{"mixed.test": {{forbidden, "127.0.0.1", "::1"}}}}
	c := inside()
	c.Resolver = n.resolver(t)
	for range 5 {
		if a, err := c.Get(t.Context(), "http://mixed.test:"+port, 100); err != nil || string(a.Body) != "hello" {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	if touched.Load() {
		t.Error("the forbidden address was connected to")
	}
}

func TestDoDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	var server *httptest.Server
	server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Errorf("%s was asked for", r.URL)
		}
		http.Redirect(w, r, server.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	a, err := inside().PostForm(t.Context(), server.URL+"/", url.Values{"token": {"secret"}}, 1000)
	if err != nil || a.Status != http.StatusTemporaryRedirect {
		t.Errorf("POST: %+v, %v", a, err)
	}
	if _, err := inside().Get(t.Context(), server.URL+"/", 1000); !errors.Is(err, outbound.ErrUnreachable) {
		t.Errorf("GET: %v, want ErrUnreachable", err)
	}
}

func TestDoJudgesEachRedirect(t *testing.T) {
	t.Parallel()
	port, forbidden, touched := twins(t)
	for name, c := range map[string]struct {
		to string
		ok bool
	}{
		"to a public name, and back":     {"/good", true},
		"to an address inside":           {"http://" + net.JoinHostPort(forbidden, port) + "/", false},
		"to an address inside, in octal": {"http://0177.0.0.2:" + port + "/", false},
		"to a name that leads inside":    {"http://inside.test:" + port + "/", false},
		"to a file":                      {"file:///etc/passwd", false},
		"with a user":                    {"http://user@127.0.0.1:" + port + "/", false},
		"to itself, for ever":            {"/", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/good" {
					hello(w, r)
					return
				}
				http.Redirect(w, r, c.to, http.StatusFound)
			})
			n := &names{answers: map[string][][]string{"inside.test": {{forbidden}}}}
			client := inside()
			client.Redirects, client.Resolver = 3, n.resolver(t)
			_, err := client.Get(t.Context(), server.URL+"/", 1000)
			if c.ok != (err == nil) || err != nil && !errors.Is(err, outbound.ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Cleanup(func() {
		if touched.Load() {
			t.Error("the forbidden address was connected to")
		}
	})
}

func TestRedirectsTakeNoCredentialsAlong(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header; hello(w, r) })
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	c := inside()
	c.Redirects = 1
	r, err := http.NewRequest("GET", first.URL+"/?code=secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Cookie", "DPoP", "X-Api-Key", "Accept"} {
		r.Header.Set(name, "value")
	}
	if _, err := c.Do(t.Context(), r, 100); err != nil {
		t.Fatal(err)
	}
	head := <-got
	for _, name := range []string{"Authorization", "Cookie", "Dpop", "X-Api-Key", "Referer"} {
		if head.Get(name) != "" {
			t.Errorf("%s: %s came along", name, head.Get(name))
		}
	}
	if head.Get("Accept") != "value" {
		t.Errorf("Accept is %q", head.Get("Accept"))
	}
	post, err := http.NewRequest("POST", first.URL, strings.NewReader("token=secret"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.Do(t.Context(), post, 100); err != nil || a.Status != http.StatusTemporaryRedirect {
		t.Errorf("a POST was redirected: %+v, %v", a, err)
	}
}

func TestRedirectsDoNotLeaveTLS(t *testing.T) {
	t.Parallel()
	plain := serve(t, hello)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	c := inside()
	c.Redirects, c.TLS = 1, trusting(secure)
	if _, err := c.Get(t.Context(), secure.URL, 100); !errors.Is(err, outbound.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func trusting(server *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots}
}

func TestDoSpeaksTLSToTheNameItWasGiven(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto+" "+r.Host) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	n := &names{answers: map[string][][]string{"example.com": {{"127.0.0.1"}}, "wrong.test": {{"127.0.0.1"}}}}
	c := &outbound.Client{Allow: loopback, Ports: []string{port}, TLS: trusting(server), Resolver: n.resolver(t)}
	r, err := http.NewRequest("GET", "https://example.com:"+port, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "internal.example" // another than the one that is judged
	if a, err := c.Do(t.Context(), r, 100); err != nil || string(a.Body) != "HTTP/2.0 example.com:"+port {
		t.Errorf("%s, %v", a.Body, err)
	}
	if _, err := c.Get(t.Context(), "https://wrong.test:"+port, 100); !errors.Is(err, outbound.ErrUnreachable) {
		t.Errorf("a certificate for another name: %v, want ErrUnreachable", err)
	}
}

// It runs alone, because it sets the environment.
func TestDoIgnoresProxiesOfTheEnvironment(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://"+proxy.Addr().String())
	}
	server := serve(t, hello)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	n := &names{answers: map[string][][]string{"direct.test": {{"127.0.0.1"}}}}
	c := inside()
	c.Resolver, c.Timeout = n.resolver(t), 2*time.Second
	if a, err := c.Get(t.Context(), "http://direct.test:"+port, 100); err != nil || string(a.Body) != "hello" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestDoBoundsTheAnswer(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		ok     bool
	}{
		"as long as it may be":     {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", limit)) }, true},
		"one byte longer":          {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", limit+1)) }, false},
		"without end":              {endless, false},
		"unpacks to much":          {bomb, false},
		"a header that is large":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, false},
		"headers that are many":    {manyHeaders, false},
		"cut off":                  {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "500") }, false},
		"headers that never come":  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
		"a body that never ends":   {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }, false},
		"a body byte after byte":   {drip, false},
		"a length that is a lie":   {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, false},
		"an answer with no length": {func(w http.ResponseWriter, r *http.Request) { hello(w, r); w.(http.Flusher).Flush() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, c.answer)
			client := inside()
			client.Timeout = 500 * time.Millisecond
			started := time.Now()
			a, err := client.Get(t.Context(), server.URL, limit)
			if c.ok != (err == nil) || err != nil && !errors.Is(err, outbound.ErrUnreachable) {
				t.Errorf("%d bytes, %v", len(a.Body), err)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	chunk := make([]byte, 1<<16)
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func bomb(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	chunk := make([]byte, 1<<20)
	for range 64 {
		if _, err := z.Write(chunk); err != nil {
			return
		}
	}
	z.Close()
}

func manyHeaders(w http.ResponseWriter, _ *http.Request) {
	for i := range 5000 {
		w.Header().Set(fmt.Sprintf("X-%d", i), "x")
	}
}

func drip(w http.ResponseWriter, r *http.Request) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// Whoever names an address learns nothing of our network from what we say, and
// little from how long it takes.
func TestFailuresAreAlike(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	port, forbidden, _ := twins(t)
	n := &names{answers: map[string][][]string{"inside.test": {{"10.1.2.3"}}, "twin.test": {{forbidden}}}}
	c := inside()
	c.Resolver, c.Step = n.resolver(t), 0
	for name, address := range map[string]string{
		"nobody listens":              "http://" + gone.Addr().String() + "/?key=secret",
		"no such name":                "http://nowhere.test/?key=secret",
		"a name that leads inside":    "http://inside.test/?key=secret",
		"a server that is not for us": "http://twin.test:" + port + "/?key=secret",
		"not TLS":                     strings.Replace(broken.URL, "http:", "https:", 1) + "/?key=secret",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			_, err := c.Get(t.Context(), address, 100)
			took := time.Since(started)
			p, ok := problem.From(err)
			if !ok || p.Code != outbound.ErrUnreachable.Code || p.Message != outbound.ErrUnreachable.Message || len(p.Fields) > 0 {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the log would have the query: %v", err)
			}
			if took < time.Second {
				t.Errorf("it failed after %v, want a whole second", took)
			}
		})
	}
	if a, err := c.Get(t.Context(), broken.URL, 100); !errors.Is(err, outbound.ErrUnreachable) || len(a.Body) > 0 {
		t.Errorf("an error of the server: %s, %v", a.Body, err)
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := inside().Get(ctx, server.URL, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestTheOperatorsListIsHonouredAndReported(t *testing.T) {
	t.Parallel()
	server := serve(t, hello)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	n := &names{answers: map[string][][]string{"gateway.corp.test": {{"127.0.0.1"}}, "other.corp.test": {{"127.0.0.1"}}}}
	var told []string
	c := &outbound.Client{AllowHTTP: true, Ports: []string{port}, AllowHosts: []string{"gateway.corp.test"}, Resolver: n.resolver(t)}
	c.Listed = func(_ context.Context, host string, a netip.Addr) { told = append(told, host+" "+a.String()) }
	if a, err := c.Get(t.Context(), "http://Gateway.corp.test:"+port, 100); err != nil || string(a.Body) != "hello" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := c.Get(t.Context(), "http://other.corp.test:"+port, 100); !errors.Is(err, outbound.ErrUnreachable) {
		t.Errorf("a name that is not on the list: %v", err)
	}
	if len(told) != 1 || !strings.HasSuffix(told[0], " 127.0.0.1") {
		t.Errorf("reported %q", told)
	}
}

func TestParseAllow(t *testing.T) {
	t.Parallel()
	allow, hosts, err := outbound.ParseAllow("10.0.0.0/8, fd00::/8,192.168.1.7 Gateway.corp,redis")
	if err != nil || fmt.Sprint(allow, hosts) != "[10.0.0.0/8 fd00::/8 192.168.1.7/32] [gateway.corp redis]" {
		t.Errorf("%v %v, %v", allow, hosts, err)
	}
	for _, bad := range []string{"10.0.0.0/99", "0177.1", "a..b", "https://example.com", "*.corp"} {
		if _, _, err := outbound.ParseAllow(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// Whatever is accepted must mean to everybody after us what it means to us.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b#c", "https://127.0.0.1", "https://[::1]:443/", "https://0x7f.1", "https://a@b", "https://example.com.", "https:\\\\a", "https://%31",
		"https://[fe80::1%25en0]/", "https://１", "https://2130706433", "http://a:80", "https://a:443:1", "https://xn--a", "https://8.8.8.8:8443",
	} {
		f.Add(seed)
	}
	var c outbound.Client
	f.Fuzz(func(t *testing.T, address string) {
		u, err := c.Parse(address)
		if err != nil {
			if !errors.Is(err, outbound.ErrAddress) {
				t.Errorf("error %v", err)
			}
			return
		}
		host := u.Hostname()
		if u.Scheme != "https" || u.User != nil || host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q is accepted as %+v", address, u)
		}
		if a, err := netip.ParseAddr(host); err == nil {
			if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("%q is accepted", address)
			}
		} else if last := host[strings.LastIndexByte(host, '.')+1:]; last == "" || strings.Trim(last, "0123456789") == "" {
			t.Errorf("%q ends in a number and is accepted", address)
		}
		again, err := c.Parse(u.String())
		if err != nil || again.Host != u.Host {
			t.Errorf("%q is accepted as %s, and that as %v, %v", address, u, again, err)
		}
		request, err := http.NewRequest("GET", u.String(), nil)
		if err != nil || request.URL.Host != u.Host || request.Host != u.Host {
			t.Errorf("%q is accepted as %s; a request for it goes elsewhere: %v", address, u, err)
		}
	})
}
