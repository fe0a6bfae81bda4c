package samlxml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const maxCertificates = 10

// MetadataRules say how metadata are read.
type MetadataRules struct {
	Now           time.Time
	AllowInsecure bool                // addresses that are not https: for development only
	Signers       []*x509.Certificate // if there are any, one of them has to have signed the metadata
}

// ParseMetadata reads the metadata of one identity provider (SAML metadata
// 2.4.3). A key without a use counts as one for signing; an algorithm or a
// weakness in it is never a reason to check less. The error is a [*Fault].
func ParseMetadata(raw []byte, rules MetadataRules) (IdP, error) {
	t := &trace{}
	root, err := t.read("metadata", raw, true)
	if err != nil {
		return IdP{}, err
	}
	if len(rules.Signers) > 0 {
		if root, err = t.signed("metadata", root, rules.Signers, rules.Now); err != nil {
			return IdP{}, err
		}
	}
	entity, descriptor, err := t.provider(root)
	if err != nil {
		return IdP{}, err
	}
	idp := IdP{EntityID: attr(entity, "entityID"), WantSigned: isTrue(attr(descriptor, "WantAuthnRequestsSigned"))}
	ok := idp.EntityID != "" && len(idp.EntityID) <= 1024 && !strings.ContainsFunc(idp.EntityID, unprintable)
	if err := t.hold(ok, CauseMetadataEntity, "metadata.entity_id", "an entity ID of at most 1,024 characters", idp.EntityID); err != nil {
		return IdP{}, err
	}
	if idp.ValidUntil, err = t.validUntil(rules.Now, root, entity, descriptor); err != nil {
		return IdP{}, err
	}
	if err := t.endpoints(&idp, descriptor, rules.AllowInsecure); err != nil {
		return IdP{}, err
	}
	idp.Certificates, err = t.certificates(descriptor)
	return idp, err
}

// provider finds the one descriptor of an identity provider, in an entity that
// may stand inside a list of entities.
func (t *trace) provider(root *etree.Element) (entity, descriptor *etree.Element, err error) {
	entities := []*etree.Element{root}
	if named(root, nsMetadata, "EntitiesDescriptor") {
		entities = children(root, nsMetadata, "EntityDescriptor")
	} else if !named(root, nsMetadata, "EntityDescriptor") {
		return nil, nil, t.refuse(CauseMalformed, "metadata.root", "EntityDescriptor", root.Tag)
	}
	for _, e := range entities {
		for _, d := range children(e, nsMetadata, "IDPSSODescriptor") {
			if !strings.Contains(" "+attr(d, "protocolSupportEnumeration")+" ", " "+nsProtocol+" ") {
				continue
			}
			if descriptor != nil {
				return nil, nil, t.refuse(CauseMetadataSeveral, "metadata.idp", "one identity provider", "several")
			}
			entity, descriptor = e, d
		}
	}
	return entity, descriptor, t.hold(descriptor != nil, CauseMetadataNone, "metadata.idp", "one identity provider that speaks SAML 2.0", found(descriptor))
}

func found(e *etree.Element) string {
	if e == nil {
		return "none"
	}
	return "one"
}

// validUntil is the earliest end of what stands around the descriptor.
func (t *trace) validUntil(now time.Time, around ...*etree.Element) (earliest time.Time, err error) {
	for _, e := range around {
		value, ok := hasAttr(e, "validUntil")
		if !ok {
			continue
		}
		until, err := moment(value)
		if err != nil || !now.Before(until) {
			return time.Time{}, t.refuse(CauseMetadataExpired, "metadata.valid_until", "after "+now.UTC().Format(time.RFC3339), value)
		}
		if earliest.IsZero() || until.Before(earliest) {
			earliest = until
		}
	}
	return earliest, nil
}

// endpoints takes the first address of each binding that we speak.
func (t *trace) endpoints(idp *IdP, descriptor *etree.Element, insecure bool) error {
	for _, want := range []struct {
		tag, binding string
		to, answers  *string
	}{
		{"SingleSignOnService", bindingRedirect, &idp.SSORedirect, nil},
		{"SingleSignOnService", bindingPost, &idp.SSOPost, nil},
		{"SingleLogoutService", bindingRedirect, &idp.SLORedirect, &idp.SLORedirectAnswer},
		{"SingleLogoutService", bindingPost, &idp.SLOPost, &idp.SLOPostAnswer},
	} {
		for _, e := range children(descriptor, nsMetadata, want.tag) {
			if attr(e, "Binding") != want.binding {
				continue
			}
			address := strings.TrimSpace(attr(e, "Location"))
			if err := t.hold(CheckEndpoint(address, insecure) == nil, CauseMetadataEndpoint, "metadata."+want.tag, "an https address", address); err != nil {
				return err
			}
			*want.to = address
			if answers := strings.TrimSpace(attr(e, "ResponseLocation")); want.answers != nil && answers != "" && answers != address {
				if err := t.hold(CheckEndpoint(answers, insecure) == nil, CauseMetadataEndpoint, "metadata."+want.tag, "an https address", answers); err != nil {
					return err
				}
				*want.answers = answers
			}
			break
		}
	}
	ok := idp.SSORedirect != "" || idp.SSOPost != ""
	return t.hold(ok, CauseMetadataEndpoint, "metadata.sign_in", "an address for HTTP-Redirect or HTTP-POST", idp.SSORedirect+idp.SSOPost)
}

// CheckEndpoint says whether an address is one that a browser may be sent to
// with a message: https, or http if insecure, without user and fragment.
func CheckEndpoint(address string, insecure bool) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !insecure):
		return errors.New("the address is not https")
	case u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" || len(address) > 2048:
		return errors.New("the address is not a plain address of a server")
	case strings.ContainsFunc(address, unprintable):
		return errors.New("the address has space or control characters in it")
	}
	return nil
}

// certificates are those that sign: all of that use, and those without a use.
func (t *trace) certificates(descriptor *etree.Element) (list []*x509.Certificate, err error) {
	for _, key := range children(descriptor, nsMetadata, "KeyDescriptor") {
		if use := attr(key, "use"); use != "" && use != "signing" {
			continue
		}
		for _, info := range children(key, nsSignature, "KeyInfo") {
			for _, data := range children(info, nsSignature, "X509Data") {
				for _, c := range children(data, nsSignature, "X509Certificate") {
					certificate, err := ParseCertificate([]byte(token(c)))
					if err != nil {
						return nil, t.refuse(CauseMetadataCertificate, "metadata.certificate", "an X.509 certificate with RSA from 2048 bits or ECDSA", err.Error())
					}
					list = appendNew(list, certificate)
				}
			}
		}
	}
	ok := len(list) > 0 && len(list) <= maxCertificates
	return list, t.hold(ok, CauseMetadataCertificate, "metadata.certificates", "1 to 10 that sign", fmt.Sprint(len(list)))
}

func appendNew(list []*x509.Certificate, c *x509.Certificate) []*x509.Certificate {
	for _, have := range list {
		if have.Equal(c) {
			return list
		}
	}
	return append(list, c)
}

// ParseCertificate reads a certificate as PEM, or as the Base64 of its DER that
// metadata have, and refuses keys that are too weak to be believed, or so large
// that verifying is slow. Whether it is valid now is looked at when it is used.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	der, err := certificateBytes(raw)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 8192 {
			return nil, fmt.Errorf("an RSA key of %d bits; 2048 to 8192 are accepted", bits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			return nil, fmt.Errorf("an ECDSA key of %d bits; 256 and more are accepted", bits)
		}
	default:
		return nil, fmt.Errorf("a key of the kind %s; RSA and ECDSA are accepted", certificate.PublicKeyAlgorithm)
	}
	return certificate, nil
}

func certificateBytes(raw []byte) ([]byte, error) {
	if block, rest := pem.Decode(raw); block != nil {
		if block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("not one certificate in PEM")
		}
		return block.Bytes, nil
	}
	der, err := decode64(string(raw))
	if err != nil || len(der) == 0 {
		return nil, errors.New("neither PEM nor Base64")
	}
	return der, nil
}

// decode64 reads Base64 with space in it (RFC 2045), as XML has it.
func decode64(s string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

func isTrue(s string) bool { return s == "true" || s == "1" }

// moment reads an xs:dateTime. Without a zone it is UTC (SAML core 1.3.3).
func moment(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse("2006-01-02T15:04:05.999999999", s)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the moment: %w", err)
	}
	return t, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Metadata describes the service provider to an identity provider (SAML metadata
// 2.4.4): every key for signing and for encryption, so that both are there while
// one takes the other's place.
func (sp SP) Metadata() ([]byte, error) {
	entity := element("md:EntityDescriptor", "xmlns:md", nsMetadata, "xmlns:ds", nsSignature, "entityID", sp.EntityID)
	descriptor := below(entity, "md:SPSSODescriptor", "AuthnRequestsSigned", strconv.FormatBool(sp.SignRequests), "WantAssertionsSigned", "true",
		"protocolSupportEnumeration", nsProtocol)
	for _, use := range []string{"signing", "encryption"} {
		for _, key := range sp.Keys {
			descriptorOf(descriptor, use, key)
		}
	}
	if sp.SLO != "" {
		below(descriptor, "md:SingleLogoutService", "Binding", bindingRedirect, "Location", sp.SLO)
		below(descriptor, "md:SingleLogoutService", "Binding", bindingPost, "Location", sp.SLO)
	}
	for _, format := range []string{FormatPersistent, FormatEmail, FormatUnspecified} {
		below(descriptor, "md:NameIDFormat").SetText(format)
	}
	below(descriptor, "md:AssertionConsumerService", "Binding", bindingPost, "Location", sp.ACS, "index", "0", "isDefault", "true")
	return serialize(entity)
}

func descriptorOf(parent *etree.Element, use string, key Key) {
	descriptor := below(parent, "md:KeyDescriptor", "use", use)
	data := below(below(descriptor, "ds:KeyInfo"), "ds:X509Data")
	below(data, "ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(key.Certificate))
	if use == "encryption" {
		for _, method := range []string{nsXMLEnc11 + "aes256-gcm", nsXMLEnc11 + "aes128-gcm", nsXMLEnc + "rsa-oaep-mgf1p"} {
			below(descriptor, "md:EncryptionMethod", "Algorithm", method)
		}
	}
}

// element makes an element with attributes, given as names and values.
func element(tag string, attributes ...string) *etree.Element {
	e := etree.NewElement(tag)
	for i := 0; i+1 < len(attributes); i += 2 {
		e.CreateAttr(attributes[i], attributes[i+1])
	}
	return e
}

// below makes an element inside another.
func below(parent *etree.Element, tag string, attributes ...string) *etree.Element {
	e := element(tag, attributes...)
	parent.AddChild(e)
	return e
}

func serialize(root *etree.Element) ([]byte, error) {
	document := etree.NewDocument()
	document.SetRoot(root)
	raw, err := document.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write the XML: %w", err)
	}
	return raw, nil
}
