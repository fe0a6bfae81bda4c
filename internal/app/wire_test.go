package app_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/web"
)

// What only shows on a real connection: limits of the server itself, and requests
// that proxies and servers have been known to read in different ways.

// serve runs the product on a loopback address until the test ends.
func serve(t *testing.T, w *apptest.World) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return listener.Addr().String()
}

// sendRaw sends bytes as they are and reads one answer; 0 if the connection is closed
// without one.
func sendRaw(t *testing.T, address, request string) (status int, answer *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server may answer and close before it has read everything.
	_, _ = conn.Write([]byte(request))
	answer, err = http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil
	}
	answer.Body.Close()
	return answer.StatusCode, answer
}

func TestRequestsOnTheWire(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		address := serve(t, w)
		// The proxy in front speaks TLS; apptest trusts the loopback address.
		request := func(line string, headers ...string) string {
			return line + "\r\n" + strings.Join(append([]string{"X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.9", "Connection: close", "Authorization: Bearer " + w.Demo.Key}, headers...), "\r\n") + "\r\n\r\n"
		}
		const host = "Host: demo.cardea.test"
		for name, c := range map[string]struct {
			request string
			want    int
		}{
			"good":                            {request("GET /api/v1/users HTTP/1.1", host), 200},
			"good, HTTP/1.0":                  {request("GET /api/v1/users HTTP/1.0", host), 200},
			"no host":                         {request("GET /api/v1/users HTTP/1.1"), 400},
			"two hosts":                       {request("GET /api/v1/users HTTP/1.1", host, "Host: shop.cardea.test"), 400},
			"host with a path":                {request("GET /api/v1/users HTTP/1.1", "Host: demo.cardea.test/x"), 400},
			"host with user":                  {request("GET /api/v1/users HTTP/1.1", "Host: a@demo.cardea.test"), 400},
			"absolute form names the host":    {request("GET http://elsewhere.example/api/v1/users HTTP/1.1", host), 421},
			"header of 40 kB":                 {request("GET /api/v1/users HTTP/1.1", host, "X-Fill: "+strings.Repeat("x", 40<<10)), 431},
			"address of 60 kB":                {request("GET /api/v1/users?search="+strings.Repeat("x", 60<<10)+" HTTP/1.1", host), 431},
			"2,000 headers":                   {request("GET /api/v1/users HTTP/1.1", host, strings.TrimSpace(strings.Repeat("X-Fill: xxxxxxxxxxxxx\r\n", 2000))), 431},
			"body longer than allowed":        {request("POST /api/v1/users HTTP/1.1", host, "Content-Length: 1048577"), 413},
			"two lengths":                     {request("POST /api/v1/users HTTP/1.1", host, "Content-Length: 2", "Content-Length: 3") + "{}", 400},
			"length that is none":             {request("POST /api/v1/users HTTP/1.1", host, "Content-Length: -1") + "{}", 400},
			"unknown transfer coding":         {request("POST /api/v1/users HTTP/1.1", host, "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", 501},
			"transfer coding with a look":     {request("POST /api/v1/users HTTP/1.1", host, "Transfer-Encoding: \x0bchunked") + "0\r\n\r\n", 400},
			"chunk of no length":              {request("POST /api/v1/users HTTP/1.1", host, "Transfer-Encoding: chunked") + "zz\r\n{}\r\n0\r\n\r\n", 400},
			"space before the colon":          {request("GET /api/v1/users HTTP/1.1", host, "X-Client-Id : x"), 400},
			"header without a name":           {request("GET /api/v1/users HTTP/1.1", host, ": x"), 400},
			"NUL in a header":                 {request("GET /api/v1/users HTTP/1.1", host, "X-Client-Id: a\x00b"), 400},
			"no protocol":                     {"GET /api/v1/users\r\n\r\n", 400},
			"another protocol":                {request("GET /api/v1/users HTTP/9.9", host), 505},
			"TLS on a plain port":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
			"broken escape":                   {request("GET /api/v1/users/%zz HTTP/1.1", host), 400},
			"space in the address":            {request("GET /api/v1/users/a b HTTP/1.1", host), 400},
			"method that is none":             {request("G@T /api/v1/users HTTP/1.1", host), 400},
			"dots that leave the folder":      {request("GET /ui/x/../../../../etc/passwd HTTP/1.1", host), 404},
			"dots on the way":                 {request("GET /elsewhere.example/..//api/v1/users HTTP/1.1", host), 307},
			"two slashes":                     {request("GET //api/v1/users HTTP/1.1", host), 307},
			"dots that are escaped":           {request("GET /ui/x/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1", host), 404},
			"two slashes before another host": {request("GET //elsewhere.example/api HTTP/1.1", host), 404},
		} {
			status, answer := sendRaw(t, address, c.request)
			if status != c.want {
				t.Errorf("%s: got %d, want %d", name, status, c.want)
			}
			if status == 307 && !strings.HasPrefix(answer.Header.Get("Location"), "/") || status == 307 && strings.HasPrefix(answer.Header.Get("Location"), "//") {
				t.Errorf("%s: leads to %q", name, answer.Header.Get("Location"))
			}
		}
		if status, _ := sendRaw(t, address, request("GET /readyz HTTP/1.1", host)); status != 200 {
			t.Errorf("afterwards it is not ready: %d", status)
		}
	})
}

// The body of a chunked request is not announced; it is cut off where it is too
// long, however it comes.
func TestChunkedBodyIsCutOff(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		address := serve(t, w)
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10))
		request := "POST /api/v1/users HTTP/1.1\r\nHost: demo.cardea.test\r\nX-Forwarded-Proto: https\r\nConnection: close\r\nAuthorization: Bearer " + w.Demo.Key +
			"\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 17) + "0\r\n\r\n"
		if status, _ := sendRaw(t, address, request); status != 413 {
			t.Errorf("got %d, want 413", status)
		}
	})
}

// forwarded asks as a proxy at 127.0.0.1 would over plain http.
func forwarded(t *testing.T, w *apptest.World, target, host string, header http.Header) apptest.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host, r.RemoteAddr, r.Header = host, "127.0.0.1:40000", header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Authorization", "Bearer "+w.Demo.Key)
	return w.Demo.Send(t, r)
}

// The way to us was safe only if each hop was.
func TestForwardedProtocols(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for _, c := range []struct {
			protos []string
			want   int
		}{
			{[]string{"https"}, 200}, {[]string{"HTTPS"}, 200}, {[]string{"https, https"}, 200}, {[]string{"https", "https"}, 200}, {[]string{"https,"}, 200},
			{nil, 403}, {[]string{""}, 403}, {[]string{"http"}, 403}, {[]string{"https, http"}, 403}, {[]string{"http, https"}, 403},
			{[]string{"https", "http"}, 403}, {[]string{"http", "https"}, 403}, {[]string{"httpsx"}, 403}, {[]string{"https;http"}, 403},
		} {
			if a := forwarded(t, w, "/api/v1/users", "demo.cardea.test", http.Header{"X-Forwarded-Proto": c.protos}); a.Status != c.want {
				t.Errorf("%q: got %d, want %d", c.protos, a.Status, c.want)
			}
		}
	})
}

// The address that counts is the last one that a proxy of ours did not write of
// another of ours; behind something that is no address nothing is believed.
func TestForwardedAddresses(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		for i, c := range []struct {
			hops []string
			want string
		}{
			{nil, "127.0.0.1"}, {[]string{"203.0.113.9"}, "203.0.113.9"}, {[]string{"198.51.100.7, 203.0.113.9"}, "203.0.113.9"},
			{[]string{"198.51.100.7", "203.0.113.9"}, "203.0.113.9"}, {[]string{"203.0.113.9, 127.0.0.1"}, "203.0.113.9"}, {[]string{"203.0.113.9, garbage"}, "127.0.0.1"},
			{[]string{"garbage, 203.0.113.9"}, "203.0.113.9"}, {[]string{"203.0.113.9, garbage, 127.0.0.1"}, "127.0.0.1"}, {[]string{"203.0.113.9,, "}, "203.0.113.9"},
			{[]string{"203.0.113.9:4711"}, "203.0.113.9"}, {[]string{"[2001:db8::1]:4711"}, "2001:db8::1"}, {[]string{"[2001:db8::1]"}, "2001:db8::1"}, {[]string{"2001:DB8:0::1"}, "2001:db8::1"},
			{[]string{"::ffff:203.0.113.9"}, "203.0.113.9"}, {[]string{"fe80::1%eth0"}, "fe80::1"}, {[]string{"203.0.113.9, unknown"}, "127.0.0.1"},
		} {
			id := fmt.Sprintf("address-%d-", i)
			forwarded(t, w, "/api/v1/users", "demo.cardea.test", http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-For": c.hops, "X-Request-Id": {id}}).Want(t, 200)
			_, line, _ := strings.Cut(w.Log(), "request_id="+id+" ")
			line, _, _ = strings.Cut(line, "\n")
			if !strings.Contains(line, " ip="+c.want+" ") {
				t.Errorf("%q: want %s: %s", c.hops, c.want, line)
			}
		}
	})
}

// Browsers are led to https at a host of ours, whatever host they were made to ask for.
func TestPlainPagesLeadToAHostOfOurs(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO tenant_hosts (host, tenant_id, created_at) VALUES ($1, $2, 1)", "login.shop.example", w.Demo.ID)
			return err
		})
		for host, want := range map[string]string{
			"cardea.test": "cardea.test", "demo.cardea.test": "demo.cardea.test", "DEMO.cardea.test.": "demo.cardea.test", "demo.cardea.test:8080": "demo.cardea.test", "login.shop.example:80": "login.shop.example",
			"evil.example": "cardea.test", "": "cardea.test", "nobody.cardea.test": "cardea.test", "[2001:db8::1]:8080": "cardea.test", "cardea.test@evil.example": "cardea.test", "evil.example/cardea.test": "cardea.test",
		} {
			if got := ledTo(t, w.Handler, host, "/docs?a=b%2f"); got != "https://"+want+"/docs?a=b%2f" {
				t.Errorf("%q: led to %q, want %s", host, got, want)
			}
		}
	})
}

// ledTo is where a browser is led that asks over plain http.
func ledTo(t *testing.T, handler http.Handler, host, target string) string {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	r, answer := httptest.NewRequest(http.MethodGet, "/", http.NoBody), httptest.NewRecorder()
	r.Host, r.RequestURI, r.URL = host, target, u
	r.Header.Set("Accept", "text/html")
	handler.ServeHTTP(answer, r)
	if answer.Code != http.StatusPermanentRedirect {
		t.Errorf("%q, %q: got %d", host, target, answer.Code)
	}
	return answer.Header().Get("Location")
}

func TestPlainPagesLeadToThePortForHTTPS(t *testing.T) {
	t.Parallel()
	edge := &web.Edge{Log: slog.New(slog.DiscardHandler), Dialect: func(string) web.Dialect { return web.API }}
	for _, c := range []struct{ public, host, target, want string }{
		{"cardea.test:8443", "cardea.test:8080", "/x", "https://cardea.test:8443/x"},
		{"cardea.test:8443", "evil.example", "/x", "https://cardea.test:8443/x"},
		{"[2001:db8::1]:8443", "[2001:db8::1]:8080", "/", "https://[2001:db8::1]:8443/"},
		{"[2001:db8::1]", "[2001:db8::1]", "/", "https://[2001:db8::1]/"},
		{"cardea.test", "cardea.test", "//evil.example/x", "https://cardea.test//evil.example/x"},
		{"cardea.test", "cardea.test", "a.evil.example:443", "https://cardea.test"},
	} {
		edge.PublicHost, edge.Knows = c.public, func(_ context.Context, host string) bool { return host != "evil.example" }
		if got := ledTo(t, edge, c.host, c.target); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
