package portal

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// parseCertificate reads a certificate as PEM or Base64.
func parseCertificate(text string) (*x509.Certificate, error) {
	return samlxml.ParseCertificate([]byte(strings.TrimSpace(text)))
}

// fingerprint is the SHA-256 of a certificate in hex, with something between the bytes.
func fingerprint(c *x509.Certificate, between string) string {
	sum := sha256.Sum256(c.Raw)
	if between == "" {
		return hex.EncodeToString(sum[:])
	}
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, between)
}

func (s *Service) pageCertificates(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	p, err := s.certificatesPage(r.Context(), v, c)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) certificatesPage(_ context.Context, v *visit, c sso.Connection) (*page.PortalCertificatesPage, error) {
	if c.Kind != sso.SAML {
		return nil, sso.ErrNotFound // there are none
	}
	own := v.base + "/connections/" + c.ID + "/certificates"
	p := &page.PortalCertificatesPage{
		PortalView: v.view, Name: c.Name, Certificates: s.certificates(c), ReadsItself: c.Settings.MetadataURL, Action: own, BackURL: v.base + "/connections",
		Do: values{}.do([]todo{{doBring, "", sso.Label(c.Provider, sso.TermCertificate), nil}}),
	}
	if len(p.Certificates) > 1 {
		p.RemoveAction = own + "/remove"
	}
	return p, nil
}

// changeCertificates saves what a connection trusts.
func (s *Service) changeCertificates(w http.ResponseWriter, r *http.Request, v *visit, do func(c *sso.Connection) error) error {
	c, err := s.connection(r, v)
	if err != nil {
		return err
	}
	if c.Kind != sso.SAML {
		return sso.ErrNotFound
	}
	before := c
	c.Settings.IdP.Certificates = slices.Clone(c.Settings.IdP.Certificates)
	if err := s.save(r.Context(), v, c, func(c *sso.Connection) (string, error) { return "", do(c) }); err != nil {
		return again(w, r, v, err, func() (page.Page, error) { return s.certificatesPage(r.Context(), v, before) })
	}
	return v.to(w, r, "/connections/"+c.ID+"/certificates", "portal_saved")
}

// postCertificate adds a certificate beside those there are, so that nobody is locked
// out while the provider changes over.
func (s *Service) postCertificate(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.changeCertificates(w, r, v, func(c *sso.Connection) error {
		raw, err := sent(r, "file", "certificate")
		if err != nil {
			return err
		}
		added, err := parseCertificate(string(raw))
		if err != nil {
			return ErrCertificate.In("certificate").Because("%w", err)
		}
		text := base64.StdEncoding.EncodeToString(added.Raw)
		if !slices.Contains(c.Settings.IdP.Certificates, text) {
			c.Settings.IdP.Certificates = append(c.Settings.IdP.Certificates, text)
		}
		return nil
	})
}

func (s *Service) postCertificateRemove(w http.ResponseWriter, r *http.Request, v *visit) error {
	id := r.PostFormValue("certificate")
	return s.changeCertificates(w, r, v, func(c *sso.Connection) error {
		left := slices.DeleteFunc(c.Settings.IdP.Certificates, func(text string) bool {
			known, err := parseCertificate(text)
			return err == nil && fingerprint(known, "") == id
		})
		if len(left) == 0 { // the last one stays: without it the connection is none
			return sso.ErrIncomplete
		}
		c.Settings.IdP.Certificates = left
		return nil
	})
}
