// Package testidp is an identity provider to try single sign-on with. The developer
// mode has it; a server does not. It speaks SAML 2.0 and OpenID Connect, knows some
// people of a company that does not exist, lets whoever looks at it be anybody, and
// makes on request each of the mistakes that identity providers make.
//
//	Metadata    of the SAML side, as bytes too, for a connection that is there from the start
//	Mount       its pages and calls, below Path
//
// A sign-in is one page: who somebody is, what else is said of them, and what is to
// be wrong with the answer. Nothing is stored but OpenID codes, in memory.
//
// Whoever reaches it is whoever they say they are, so an attacker needs nothing else:
// it must not be in a server, and nothing but the developer mode mounts it. Its key
// is its own, and is trusted by a connection that names it only.
package testidp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
	"github.com/cardea-id/cardea/ui"
)

// Path is where it is, below a tenant's origin.
const Path = "/dev/idp"

// What it takes from any client.
const (
	ClientID     = "test-client"
	ClientSecret = "test-secret"
)

// ErrRequest says that what came is no request to sign somebody in.
var ErrRequest = problem.New(problem.Invalid, "invalid_test_request", "This is no request that the test identity provider can answer.")

// A Service is the identity provider.
type Service struct {
	// Origin is the address of a tenant, without a path.
	Origin func(ctx context.Context, tenant string) (string, error)
	// View is what a page for a request has around it.
	View func(w http.ResponseWriter, r *http.Request) page.View
	Now  func() time.Time
	// Key makes or finds the key it signs with; it is asked once, when it is needed.
	Key func() (Key, error)

	own, foreign func() (Key, error) // remembered; foreign is in no metadata
	codes        codes
}

// A Key signs, and is known by its certificate.
type Key struct {
	Private     crypto.Signer
	Certificate []byte // DER
}

// NewKey makes a key whose certificate is good for ten years from a moment.
func NewKey(now time.Time) (Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Key{}, fmt.Errorf("make a serial number: %w", err)
	}
	about := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Cardea test identity provider"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0)}
	certificate, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		return Key{}, fmt.Errorf("make a certificate: %w", err)
	}
	return Key{private, certificate}, nil
}

// PEM is the key as a file has it.
func (k Key) PEM() ([]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate})...), nil
}

// ParseKey reads what PEM wrote.
func ParseKey(text []byte) (k Key, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return k, fmt.Errorf("read the key: %w", err)
			}
			k.Private, _ = parsed.(*rsa.PrivateKey)
		case "CERTIFICATE":
			k.Certificate = block.Bytes
		}
	}
	if k.Private == nil || k.Certificate == nil {
		return k, errors.New("read the key: there is no RSA key with a certificate")
	}
	return k, nil
}

// Mount adds the pages and calls to r.
func (s *Service) Mount(r *web.Router) {
	s.own = sync.OnceValues(s.Key)
	s.foreign = sync.OnceValues(func() (Key, error) { return NewKey(s.Now()) })
	for _, route := range []struct {
		method, path, summary, media string
		handler                      web.Handler
	}{
		{"GET", Path, "Page: the test identity provider", "text/html", s.getHome},
		{"GET", Path + "/metadata", "SAML metadata of the test identity provider", "application/samlmetadata+xml", s.getMetadata},
		{"GET", Path + "/saml", "Page: sign in for SAML", "text/html", s.getSAML},
		{"POST", Path + "/saml", "Page: sign in for SAML, asked by a form", "text/html", s.postSAML},
		{"POST", Path + "/saml/answer", "Form: answer by SAML", "text/html", s.postSAMLAnswer},
		{"GET", Path + "/oidc/.well-known/openid-configuration", "OpenID discovery of the test identity provider", "application/json", s.getDiscovery},
		{"GET", Path + "/oidc/jwks", "OpenID keys of the test identity provider", "application/json", s.getKeys},
		{"GET", Path + "/oidc/authorize", "Page: sign in for OpenID Connect", "text/html", s.getAuthorize},
		{"POST", Path + "/oidc/answer", "Form: answer by OpenID Connect", "text/html", s.postAuthorize},
		{"POST", Path + "/oidc/token", "OpenID tokens for a code", "application/json", s.postToken},
		{"GET", Path + "/oidc/userinfo", "What the test identity provider says of somebody", "application/json", s.getUserinfo},
	} {
		r.Add(web.Route{
			Method: route.method, Paths: []string{route.path}, Public: true, Page: true, Endpoint: web.Endpoint{Handler: route.handler, Media: route.media},
			Doc: web.Doc{Tag: "Development", Summary: route.summary, Errors: []*problem.Problem{ErrRequest}},
		})
	}
}

// address is where the provider is for the tenant of a request.
func (s *Service) address(ctx context.Context) (string, error) {
	origin, err := s.Origin(ctx, web.ActorOf(ctx).Tenant)
	return origin + Path, err
}

//go:embed testidp.html
var pageHTML string

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("testidp").Funcs(template.FuncMap{"asset": ui.Path}).Parse(pageHTML))
})

// Its forms lead to whoever asked, which may be anywhere: the policy does not say
// where forms may go.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"

// A sheet is what the page shows.
type sheet struct {
	Address  string // of the provider
	Action   string // of the form; empty on the page that tells of the provider
	To       string // who asks
	Hidden   []page.Pair
	People   []Person
	Faults   []Fault
	SAML     bool
	ClientID string
	Secret   string
}

func (s *Service) show(w http.ResponseWriter, p sheet) error {
	var b bytes.Buffer
	if err := pageTemplate().Execute(&b, p); err != nil {
		return fmt.Errorf("render the test identity provider: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	_, err := w.Write(b.Bytes())
	return err
}

func (s *Service) getHome(w http.ResponseWriter, r *http.Request) error {
	address, err := s.address(r.Context())
	if err != nil {
		return err
	}
	return s.show(w, sheet{Address: address, People: People, ClientID: ClientID, Secret: ClientSecret})
}
