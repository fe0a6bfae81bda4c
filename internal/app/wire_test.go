package app_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
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
