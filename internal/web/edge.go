package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/secret"
)

// Edge is the outermost handler: it makes the record of each request, answers
// panics, and writes one line to the log at the end.
type Edge struct {
	Log *slog.Logger
	// TrustedProxies may say in X-Forwarded-For, -Proto and -Host who the client
	// is and what it asked. Nobody else is believed.
	TrustedProxies []netip.Prefix
	// PublicHost is the host of the public address, with its port if it has one.
	PublicHost string
	// Knows reports whether the installation answers at a host; nil if at none but
	// PublicHost.
	Knows func(ctx context.Context, host string) bool
	// AllowHTTP lets plain http through; only the developer mode sets it.
	AllowHTTP bool
	// Dialect picks the dialect for errors of an address.
	Dialect func(path string) Dialect
	// Observe is told of each request when it is over; it may be nil.
	Observe func(route, method string, status int, took time.Duration)
	Next    http.Handler
}

func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &Record{start: time.Now(), dialect: e.Dialect, path: r.URL.Path}
	e.identify(r, rec)
	sw := &statusWriter{ResponseWriter: w}
	r = r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
	head := w.Header()
	head["X-Request-Id"] = []string{rec.ID}
	head["X-Content-Type-Options"] = nosniff
	head["Referrer-Policy"] = noReferrer
	head["Cache-Control"] = noStore
	if rec.Secure {
		head["Strict-Transport-Security"] = hsts
	}
	defer e.finish(sw, r, rec)
	if !rec.Secure && !e.AllowHTTP && !isHealth(r.URL.Path) {
		e.refusePlain(sw, r, rec)
		return
	}
	e.Next.ServeHTTP(sw, r)
}

var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noStore    = []string{"no-store"}
	hsts       = []string{"max-age=63072000; includeSubDomains"}
)

// isHealth lets a local probe ask without TLS.
func isHealth(path string) bool { return path == "/livez" || path == "/readyz" }

// refusePlain sends browsers to https and refuses API calls: a client that was
// redirected would have sent its key in the open already, and not notice.
func (e *Edge) refusePlain(w http.ResponseWriter, r *http.Request, rec *Record) {
	page := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
	if !page {
		Fail(w, r, ErrPlainHTTP)
		return
	}
	to := url.URL{Scheme: "https", Host: e.secureHost(r.Context(), rec.Host), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
}

// secureHost is where host answers over https: with the public address's port, as
// that of the request is the one for plain http. A host that is not ours, which
// anyone may put into a request, gives way to the public one.
func (e *Edge) secureHost(ctx context.Context, host string) string {
	if e.Knows == nil || !e.Knows(ctx, host) {
		return e.PublicHost
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if _, port, err := net.SplitHostPort(e.PublicHost); err == nil {
		host += ":" + port
	}
	return host
}

// finish turns a panic into an answer and writes the request's line.
func (e *Edge) finish(w *statusWriter, r *http.Request, rec *Record) {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if w.status == 0 {
			Fail(w, r, err)
		}
		rec.err = err
	}
	took := time.Since(rec.start)
	if e.Observe != nil {
		e.Observe(rec.route, r.Method, w.status, took)
	}
	level := slog.LevelInfo
	if w.status >= 500 && w.status != http.StatusNotImplemented { // that one is as it should be
		level = slog.LevelError
	}
	if !e.Log.Enabled(r.Context(), level) {
		return
	}
	// The path and not the query: links and codes travel in queries.
	attrs := append([]slog.Attr{
		slog.String("request_id", rec.ID), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", w.status),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("ip", rec.IP), slog.String("tenant", rec.Actor.Tenant), slog.String("actor", rec.Actor.Name),
	}, rec.Fields...)
	if rec.err != nil {
		attrs = append(attrs, slog.String("err", rec.err.Error()))
	}
	line := slog.NewRecord(time.Now(), level, "request", 0) // without a look at the stack, which Log would take
	line.AddAttrs(attrs...)
	_ = e.Log.Handler().Handle(r.Context(), line) // Log drops its error, too
}

// requestID takes over the id of a proxy if it is plain, else makes one. Nobody
// else chooses what stands in the logs. A probe stands in none that matters, and
// knows by its id that it is Cardea that answers.
func requestID(r *http.Request, isProxy bool) string {
	id := r.Header.Get("X-Request-Id")
	if !isProxy && !isHealth(r.URL.Path) || len(id) < 8 || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}) {
		return secret.ID(time.Now())
	}
	return id
}

// identify finds the request's id and the client's address, scheme and host.
func (e *Edge) identify(r *http.Request, rec *Record) {
	rec.Secure = r.TLS != nil
	rec.Host = CanonicalHost(r.Host)
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	client := addr.Addr().Unmap().WithZone("")
	isProxy := e.trusts(client)
	rec.ID = requestID(r, isProxy)
	if isProxy {
		client = e.forwardedFor(r, client)
		if protos := forwarded(r, "X-Forwarded-Proto"); len(protos) > 0 {
			// One hop in the open is one too many, and the client may have written the first.
			rec.Secure = !slices.ContainsFunc(protos, func(p string) bool { return !strings.EqualFold(p, "https") })
		}
		if hosts := forwarded(r, "X-Forwarded-Host"); len(hosts) > 0 {
			rec.Host = CanonicalHost(hosts[len(hosts)-1])
		}
	}
	if client.IsValid() {
		rec.IP = client.String()
	}
}

// forwarded returns the values of a header that each proxy may have added to, the
// nearest proxy's last.
func forwarded(r *http.Request, name string) (values []string) {
	for _, line := range r.Header.Values(name) {
		for v := range strings.SplitSeq(line, ",") {
			if v = strings.TrimSpace(v); v != "" {
				values = append(values, v)
			}
		}
	}
	return values
}

func (e *Edge) trusts(a netip.Addr) bool {
	for _, p := range e.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// forwardedFor walks X-Forwarded-For from the right and returns the first
// address that is not a trusted proxy; what stands to the left of it is hearsay.
// Where something else than an address stands, the hop that wrote it counts.
func (e *Edge) forwardedFor(r *http.Request, client netip.Addr) netip.Addr {
	for _, hop := range slices.Backward(forwarded(r, "X-Forwarded-For")) {
		a, err := parseHop(hop)
		if err != nil {
			return client
		}
		client = a.Unmap().WithZone("")
		if !e.trusts(client) {
			return client
		}
	}
	return client
}

// parseHop reads an address, to which some proxies add the port.
func parseHop(hop string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]")); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddrPort(hop)
	return a.Addr(), err
}

// CanonicalHost is a Host header in lower case, without port and trailing dot.
func CanonicalHost(host string) string {
	if strings.IndexByte(host, ':') >= 0 { // the usual case needs no parser
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
