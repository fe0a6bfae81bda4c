package apptest

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/web"
)

// A Client sends requests. It is a value: change a field of a copy to ask in
// another way.
type Client struct {
	Host   string
	IP     string      // address the requests come from; 192.0.2.7 if empty
	Key    string      // sent as a bearer; none if empty
	Header http.Header // of every request

	w      *World
	tenant string // id
}

// As returns the client with a new key that has these scopes and does not expire.
func (c Client) As(t *testing.T, scopes ...access.Permission) Client {
	t.Helper()
	return c.Until(t, time.Time{}, scopes...)
}

// Until is As for a key that expires.
func (c Client) Until(t *testing.T, expires time.Time, scopes ...access.Permission) Client {
	t.Helper()
	c.w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		_, c.Key, err = c.w.Tenants.CreateKey(ctx, tx, access.System(c.tenant), "test", scopes, expires)
		return err
	})
	return c
}

// With returns the client with one more header in every request.
func (c Client) With(name, value string) Client {
	c.Header = c.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Set(name, value)
	return c
}

// Get asks.
func (c Client) Get(t *testing.T, target string) Answer {
	t.Helper()
	return c.Do(t, http.MethodGet, target, nil)
}

// Post sends a body, see Do.
func (c Client) Post(t *testing.T, target string, body any) Answer {
	t.Helper()
	return c.Do(t, http.MethodPost, target, body)
}

// Put sends a body, see Do.
func (c Client) Put(t *testing.T, target string, body any) Answer {
	t.Helper()
	return c.Do(t, http.MethodPut, target, body)
}

// Delete deletes.
func (c Client) Delete(t *testing.T, target string) Answer {
	t.Helper()
	return c.Do(t, http.MethodDelete, target, nil)
}

// Do sends a request and holds the answer against the API description. A body of
// type string or json.RawMessage is sent as it stands, anything else as JSON.
// It may be called from several goroutines of a test.
func (c Client) Do(t *testing.T, method, target string, body any) Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, bodyOf(t, body))
	if err != nil {
		t.Errorf("%s %s is no request: %v", method, target, err)
		return Answer{}
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.SendAs(t, r)
}

// SendAs is Do for a request made elsewhere: it gets the client's host, address,
// headers and key, and comes over TLS.
func (c Client) SendAs(t *testing.T, r *http.Request) Answer {
	t.Helper()
	for name, values := range c.Header {
		r.Header[name] = values
	}
	if c.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.Key)
	}
	r.Host, r.RequestURI, r.RemoteAddr, r.TLS = c.Host, r.URL.RequestURI(), net.JoinHostPort(cmp.Or(c.IP, "192.0.2.7"), "40000"), &tls.ConnectionState{}
	return c.Send(t, r)
}

func bodyOf(t *testing.T, body any) io.Reader {
	t.Helper()
	switch body := body.(type) {
	case nil:
		return http.NoBody
	case string:
		return strings.NewReader(body)
	case json.RawMessage:
		return strings.NewReader(string(body))
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Errorf("encode the body: %v", err)
	}
	return strings.NewReader(string(text))
}

// Send sends a request as it is.
func (c Client) Send(t *testing.T, r *http.Request) Answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	c.w.Handler.ServeHTTP(recorder, r)
	result := recorder.Result()
	a := Answer{Request: r, Status: result.StatusCode, Header: result.Header, Body: recorder.Body.Bytes()}
	c.w.contract.check(t, a, c.w.broken.Load())
	return a
}

// An Answer is what came back.
type Answer struct {
	Request *http.Request
	Status  int
	Header  http.Header
	Body    []byte
}

// Want fails the test unless the answer has this status.
func (a Answer) Want(t *testing.T, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("%s %s: got %d, want %d: %s", a.Request.Method, a.Request.URL, a.Status, status, a.Body)
	}
	return a
}

// WantError fails the test unless the answer is an error in the form of /api with
// this status and code, which names the request.
func (a Answer) WantError(t *testing.T, status int, code string) web.APIError {
	t.Helper()
	a.Want(t, status)
	var e web.APIError
	a.Into(t, &e)
	if e.Error != code {
		t.Fatalf("%s %s: got %q, want %q: %s", a.Request.Method, a.Request.URL, e.Error, code, a.Body)
	}
	if e.Description == "" || e.Number != web.Number(code) || e.RequestID == "" || e.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("%s %s: the error is not whole: %s, request %s", a.Request.Method, a.Request.URL, a.Body, a.Header.Get("X-Request-Id"))
	}
	return e
}

// Into decodes the body.
func (a Answer) Into(t *testing.T, v any) Answer {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%s %s: %v in %s", a.Request.Method, a.Request.URL, err, a.Body)
	}
	return a
}

// Object is the body as a JSON object.
func (a Answer) Object(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	a.Into(t, &v)
	return v
}

// List is the body as a JSON array of objects.
func (a Answer) List(t *testing.T) []map[string]any {
	t.Helper()
	var v []map[string]any
	a.Into(t, &v)
	return v
}
