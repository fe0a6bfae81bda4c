// Package outbound sends requests to addresses that a tenant, an application or a
// stranger has named: webhooks, key sets, metadata, logos, logout endpoints.
//
//	Parse     judges an address as it is written, when it is set
//	Do        sends a request and reads the whole answer, within all limits
//	Get       the same to fetch a document
//	PostForm  the same to send a form
//	HTTP      the same guard for libraries that want a *http.Client
//
// An attacker would name an address inside our network: the loopback interface, a
// database, the cloud's metadata. They would write it so that a check reads another
// host than the connection (octal, userinfo, trailing dots), have a name resolve
// to a public address first and a private one later, or redirect there. So the
// address that is judged is the one that the connection is made to, by the same
// call and after the name is resolved; redirects are not followed unless asked for
// and then judged like the first address; nothing is taken from the environment.
// Or they would answer slowly, without end, or with little that unpacks to a lot:
// time and size are bounded. Or they would learn from our errors what there is
// inside: every failure of the network is the same ErrUnreachable, after a time
// that is rounded up.
//
// Addresses that the operator sets, such as those of mail servers and providers of
// text messages, need no guard.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cardea-id/cardea/internal/problem"
)

// What callers may see. ErrAddress is about the address as it is written and says
// what to do. ErrUnreachable never says what happened.
var (
	ErrAddress     = problem.New(problem.Invalid, "address_refused", "This is not an address of a public server, such as https://www.example.com/path.")
	ErrUnreachable = problem.New(problem.Invalid, "address_unreachable", "The server at this address did not answer as it should.")
)

// Limits on every exchange.
const (
	defaultTimeout = 10 * time.Second
	connectTimeout = 3 * time.Second
	headerTimeout  = 5 * time.Second
	maxHeader      = 32 << 10 // bytes
	maxPerHost     = 8        // connections, so that a slow server does not take all there are
	defaultStep    = time.Second
)

// A Client sends guarded requests. The zero value reaches public servers by https
// and nothing else. Its fields are set once, before use; it is used by several
// goroutines at once and must not be copied.
type Client struct {
	// Allow and AllowHosts are the operator's list of what may be reached although
	// it is not public: networks, and names in lower case, wherever they lead.
	Allow      []netip.Prefix
	AllowHosts []string
	// Listed is told of each connection that only the list has made possible, so
	// that it can be written down; it may be nil.
	Listed func(ctx context.Context, host string, a netip.Addr)
	// AllowHTTP lets http:// through, and with it port 80.
	AllowHTTP bool
	// Ports may be named beside 443 and 8443, in decimal. AnyPort is for development.
	Ports   []string
	AnyPort bool
	// Redirects is how many are followed, for GET and HEAD only. With 0 a redirect is
	// an answer like others.
	Redirects int
	// Timeout bounds an exchange from name resolution to the last byte: 10 seconds
	// unless set.
	Timeout time.Duration
	// Step is what the time of a failure is rounded up to multiples of: a second
	// unless set.
	Step time.Duration
	// TLS changes how certificates are judged; nil goes by the system's authorities.
	TLS *tls.Config
	// Resolver finds the addresses of names; nil is the system's.
	Resolver *net.Resolver

	once      sync.Once
	transport *http.Transport
}

// An Answer is a response that has been read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Get fetches a document of at most limit bytes, after decompression. Any status
// but 200 is ErrUnreachable.
func (c *Client) Get(ctx context.Context, address string, limit int64) (Answer, error) {
	r, err := c.request(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Answer{}, err
	}
	a, err := c.Do(ctx, r, limit)
	if err == nil && a.Status != http.StatusOK {
		return Answer{}, ErrUnreachable.Because("%s answered %d", r.URL.Hostname(), a.Status)
	}
	return a, err
}

// PostForm sends a form and returns whatever the server answers.
func (c *Client) PostForm(ctx context.Context, address string, form url.Values, limit int64) (Answer, error) {
	r, err := c.request(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.Do(ctx, r, limit)
}

func (c *Client) request(ctx context.Context, method, address string, body io.Reader) (*http.Request, error) {
	u, err := c.Parse(address)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, ErrAddress.Because("not a request")
	}
	return r, nil
}

// Do sends r under ctx and reads an answer of at most limit bytes. Its errors are
// ErrAddress and ErrUnreachable, or that of ctx if it was ctx that ended.
func (c *Client) Do(ctx context.Context, r *http.Request, limit int64) (Answer, error) {
	if err := c.check(r.URL); err != nil {
		return Answer{}, err
	}
	steps := time.NewTicker(cmp.Or(c.Step, defaultStep))
	defer steps.Stop()
	a, err := c.do(ctx, r, limit)
	if err == nil {
		return a, nil
	}
	// How long it took to fail would tell whether there is something at an address,
	// so we wait for the end of the step. One that is over may still be announced.
	select {
	case <-steps.C:
	default:
	}
	select {
	case <-steps.C:
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	if p, ok := problem.From(err); ok { // of a redirect
		return Answer{}, ErrUnreachable.Because("%w", error(p))
	}
	return Answer{}, ErrUnreachable.Because("%s: %w", r.URL.Hostname(), bare(err))
}

// bare drops what net/http puts around an error: the address, with its query.
func bare(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

func (c *Client) do(ctx context.Context, r *http.Request, limit int64) (Answer, error) {
	response, err := c.HTTP(limit).Do(r.WithContext(ctx))
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, err
	}
	return Answer{response.StatusCode, response.Header, body}, nil
}

// HTTP returns a client under the same guard and limits, for libraries that need
// one. Reading beyond limit bytes of an answer fails. Its errors are detailed: give
// callers ErrUnreachable in their place.
func (c *Client) HTTP(limit int64) *http.Client {
	return &http.Client{
		Transport:     guarded{c, limit},
		CheckRedirect: c.redirect,
		Timeout:       cmp.Or(c.Timeout, defaultTimeout),
	}
}

// guarded is the one way out. It judges each request, also those of redirects.
type guarded struct {
	client *Client
	limit  int64
}

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.client.check(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must; there is nothing to lose
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Host = "" // or another than the one that was judged could be asked for
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "Cardea")
	}
	response, err := g.client.way().RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &bounded{response.Body, g.limit}
	return response, nil
}

// bounded is a body that fails where it becomes too long.
type bounded struct {
	io.ReadCloser
	left int64
}

var errTooLong = errors.New("the answer is too long")

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		return int(b.left), errTooLong
	}
	b.left -= int64(n)
	return n, err
}

// redirect decides on a redirect; the guard judges where it leads.
func (c *Client) redirect(next *http.Request, earlier []*http.Request) error {
	if c.Redirects == 0 {
		return http.ErrUseLastResponse
	}
	first, last := earlier[0], earlier[len(earlier)-1]
	switch {
	case len(earlier) > c.Redirects:
		return errors.New("too many redirects")
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return http.ErrUseLastResponse
	case last.URL.Scheme == "https" && next.URL.Scheme != "https":
		return errors.New("a redirect from https to http")
	}
	next.Header.Del("Referer") // queries hold secrets
	if next.URL.Host != first.URL.Host {
		// Whatever else was meant for the first host may be a credential.
		next.Header = http.Header{"Accept": next.Header["Accept"]}
	}
	return nil
}

func (c *Client) way() *http.Transport {
	c.once.Do(func() {
		c.transport = &http.Transport{
			Proxy:                  nil, // none from the environment: it would resolve names for us
			DialContext:            c.dial,
			TLSClientConfig:        c.tlsConfig(),
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    headerTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxConnsPerHost:        maxPerHost,
			MaxIdleConns:           32,
			IdleConnTimeout:        30 * time.Second,
		}
	})
	return c.transport
}

func (c *Client) tlsConfig() *tls.Config {
	if c.TLS != nil {
		return c.TLS.Clone()
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}
}

// dial connects to a host. Control is called with each address that the name has
// led to, right before the connection to that very address: there is no second
// look at the name in which it could lead elsewhere.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{
		Timeout: connectTimeout, Resolver: c.Resolver,
		ControlContext: func(ctx context.Context, network, address string, _ syscall.RawConn) error {
			return c.vet(ctx, network, host, address)
		},
	}
	return dialer.DialContext(ctx, network, address)
}

// vet decides whether host may be reached at an address that it has resolved to.
func (c *Client) vet(ctx context.Context, network, host, address string) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("network %s", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	a := to.Addr().Unmap() // a name may resolve to an IPv4 address in the form of IPv6
	if !c.allows(host, a) {
		return fmt.Errorf("%s leads to %s, which is not public", host, a)
	}
	if !isPublic(a) && c.Listed != nil {
		c.Listed(ctx, host, a)
	}
	return nil
}

// ParseAllow reads an operator's list of networks, addresses and names, separated
// by commas.
func ParseAllow(list string) (allow []netip.Prefix, hosts []string, err error) {
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		word = strings.ToLower(word)
		if p, err := netip.ParsePrefix(word); err == nil {
			allow = append(allow, p.Masked())
		} else if a, err := netip.ParseAddr(word); err == nil {
			allow = append(allow, netip.PrefixFrom(a, a.BitLen()))
		} else if (&Client{}).checkHost(word) == nil {
			hosts = append(hosts, word)
		} else {
			return nil, nil, fmt.Errorf("%q is neither a network such as 10.0.0.0/8, nor an address, nor the name of a host", word)
		}
	}
	return allow, hosts, nil
}
