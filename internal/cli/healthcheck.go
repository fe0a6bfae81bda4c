package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/cardea-id/cardea/internal/app"
)

// healthcheck asks a running server, for containers without a shell.
type healthcheck struct {
	URL     string        `name:"url" placeholder:"URL" help:"What to ask; unset, /readyz of the server with this configuration, on this machine."`
	Timeout time.Duration `default:"5s" placeholder:"SPAN" help:"How long to wait. Default: ${default}."`
}

// Run asks. It prints nothing if all is well.
func (c *healthcheck) Run(p *program) error {
	url, trusted := c.URL, (*tls.Config)(nil)
	if url == "" {
		cfg, err := p.load("")
		if err != nil {
			return err
		}
		if url, trusted, err = ownURL(cfg.Config); err != nil {
			return err
		}
	}
	client := &http.Client{
		Timeout:   c.Timeout,
		Transport: &http.Transport{TLSClientConfig: trusted, DisableKeepAlives: true},
	}
	request, err := http.NewRequestWithContext(p.ctx, http.MethodGet, url, nil)
	if err != nil {
		return usage("--url: %v", err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 500)) // only to show it
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, answer.Status, cell(string(body)))
	}
	return nil
}

// ownURL is the address of /readyz on this machine, and the TLS to ask it with:
// the certificate that is in the server's own file is the one to trust.
func ownURL(cfg app.Config) (string, *tls.Config, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	address := net.JoinHostPort(host, port) + "/readyz"
	if cfg.TLSCert == "" {
		return "http://" + address, nil, nil
	}
	text, err := os.ReadFile(cfg.TLSCert)
	if err != nil {
		return "", nil, err
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return "", nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return "https://" + address, &tls.Config{RootCAs: roots, ServerName: nameIn(pair.Leaf)}, nil
}

// nameIn returns a name that the certificate is for.
func nameIn(leaf *x509.Certificate) string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String()
	}
	return leaf.Subject.CommonName
}
