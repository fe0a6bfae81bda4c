package samlxml_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/crewjam/saml"
	"github.com/google/go-cmp/cmp"
)

const sso = "https://idp.test/sso"

// described is the metadata of a provider; each piece may be replaced.
func described(replace ...string) string {
	text := `<?xml version="1.0"?>
<!-- made by hand -->
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" ID="_metadata" entityID="` + idpID + `" validUntil="2026-04-01T00:00:00Z">
  <!-- people comment their metadata -->
  <md:IDPSSODescriptor WantAuthnRequestsSigned="true" protocolSupportEnumeration="` + nsP + ` urn:other">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="` + nsD + `"><ds:X509Data><ds:X509Certificate>
      ` + b64(idp().cert.Raw) + `
    </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:KeyDescriptor><ds:KeyInfo xmlns:ds="` + nsD + `"><ds:X509Data><ds:X509Certificate>` + b64(idpNext().cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:KeyDescriptor use="encryption"><ds:KeyInfo xmlns:ds="` + nsD + `"><ds:X509Data><ds:X509Certificate>` + b64(attacker().cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.test/slo"/>
    <md:NameIDFormat>` + samlxml.FormatPersistent + `</md:NameIDFormat>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="javascript:alert(1)"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="` + sso + `"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="` + sso + `/post"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>`
	for i := 0; i+1 < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			panic("no " + replace[i] + " in the metadata")
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

func TestParseMetadata(t *testing.T) {
	t.Parallel()
	want := samlxml.IdP{
		EntityID: idpID, SSORedirect: sso, SSOPost: sso + "/post", SLORedirect: "https://idp.test/slo",
		Certificates: []*x509.Certificate{idp().cert, idpNext().cert}, WantSigned: true, ValidUntil: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC),
	}
	entities := func(inner string) string {
		inner = strings.TrimPrefix(inner, `<?xml version="1.0"?>`)
		return `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + inner + `</md:EntitiesDescriptor>`
	}
	for name, raw := range map[string]string{
		"as it is":                  described(),
		"with a byte order mark":    "\xef\xbb\xbf" + described(),
		"inside a list":             entities(described()),
		"inside a list of services": entities(described() + `<md:EntityDescriptor entityID="urn:sp"><md:SPSSODescriptor/></md:EntityDescriptor>`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := samlxml.ParseMetadata([]byte(raw), samlxml.MetadataRules{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			same := cmp.Comparer(func(a, b *x509.Certificate) bool { return a.Equal(b) })
			if diff := cmp.Diff(want, got, same); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("http where that is allowed", func(t *testing.T) {
		raw := []byte(described("https://idp.test/s", "http://localhost:8080/s"))
		if _, err := samlxml.ParseMetadata(raw, samlxml.MetadataRules{Now: now, AllowInsecure: true}); err != nil {
			t.Error(err)
		}
	})
	t.Run("signed by whom it has to be", func(t *testing.T) {
		root := parse(described())
		signer{by: idpNext()}.sign(root)
		rules := samlxml.MetadataRules{Now: now, Signers: []*x509.Certificate{idp().cert, idpNext().cert}}
		got, err := samlxml.ParseMetadata(write(root), rules)
		if err != nil || got.EntityID != idpID || len(got.Certificates) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestParseMetadataRefuses(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := b64(idp().cert.Raw)
	another := described()[strings.Index(described(), "<md:IDPSSO"):strings.Index(described(), "</md:EntityDescriptor>")]
	descriptor := `<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="` + nsD + `"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`
	many := ""
	for range 11 {
		many += fmt.Sprintf(descriptor, b64(certify(idp().key, years(-1), years(1)).Raw))
	}
	for name, c := range map[string]struct {
		raw  string
		want samlxml.Cause
	}{
		"nothing":                     {"", samlxml.CauseMalformed},
		"HTML":                        {"<!DOCTYPE html><html></html>", samlxml.CauseDoctype},
		"a DOCTYPE":                   {"<!DOCTYPE x>" + described(`<?xml version="1.0"?>`, ""), samlxml.CauseDoctype},
		"another document":            {"<x/>", samlxml.CauseMalformed},
		"50 MB":                       {described() + strings.Repeat(" ", 50<<20), samlxml.CauseTooLarge},
		"no provider":                 {described("IDPSSODescriptor", "SPSSODescriptor"), samlxml.CauseMetadataNone},
		"of SAML 1.1":                 {described(nsP+" urn:other", "urn:oasis:names:tc:SAML:1.1:protocol"), samlxml.CauseMetadataNone},
		"two providers":               {described("</md:EntityDescriptor>", another+"</md:EntityDescriptor>"), samlxml.CauseMetadataSeveral},
		"two entities":                {`<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + strings.Repeat(described(`<?xml version="1.0"?>`, ""), 2) + `</md:EntitiesDescriptor>`, samlxml.CauseMetadataSeveral},
		"no entity ID":                {described(` entityID="`+idpID+`"`, ""), samlxml.CauseMetadataEntity},
		"a long entity ID":            {described(`entityID="`, `entityID="`+strings.Repeat("a", 1024)), samlxml.CauseMetadataEntity},
		"an entity ID of lines":       {described(`entityID="`, `entityID="&#10;`), samlxml.CauseMetadataEntity},
		"expired":                     {described("2026-04-01T00:00:00Z", "2026-03-01T12:00:00Z"), samlxml.CauseMetadataExpired},
		"valid until some time":       {described("2026-04-01T00:00:00Z", "soon"), samlxml.CauseMetadataExpired},
		"expired inside":              {described("<md:IDPSSODescriptor", `<md:IDPSSODescriptor validUntil="2020-01-01T00:00:00Z"`), samlxml.CauseMetadataExpired},
		"an address that is a script": {described(`Location="`+sso+`"`, `Location="javascript:alert(1)"`), samlxml.CauseMetadataEndpoint},
		"an address that is data":     {described(`Location="`+sso+`"`, `Location="data:text/html,x"`), samlxml.CauseMetadataEndpoint},
		"http":                        {described(`Location="`+sso+`"`, `Location="http://idp.test/"`), samlxml.CauseMetadataEndpoint},
		"a relative address":          {described(`Location="`+sso+`"`, `Location="/sso"`), samlxml.CauseMetadataEndpoint},
		"an address with a password":  {described(`Location="`+sso+`"`, `Location="https://a:b@idp.test/"`), samlxml.CauseMetadataEndpoint},
		"an address of lines":         {described(`Location="`+sso+`"`, `Location="https://idp.test/&#10;x"`), samlxml.CauseMetadataEndpoint},
		"a script for logging out":    {described("https://idp.test/slo", "javascript:alert(1)"), samlxml.CauseMetadataEndpoint},
		"no way to sign in":           {described("SingleSignOnService", "ManageNameIDService"), samlxml.CauseMetadataEndpoint},
		"no key":                      {described("KeyDescriptor", "Extensions"), samlxml.CauseMetadataCertificate},
		"keys for encryption only":    {described(`use="signing"`, `use="encryption"`, "<md:KeyDescriptor>", `<md:KeyDescriptor use="encryption">`), samlxml.CauseMetadataCertificate},
		"a key that is none":          {described(key, "AAAA"), samlxml.CauseMetadataCertificate},
		"an empty key":                {described(key, ""), samlxml.CauseMetadataCertificate},
		"a comment in a key":          {described(key, key[:20]+"<!-- -->"+key[20:]), samlxml.CauseMetadataCertificate},
		"RSA of 1024 bits":            {described(key, b64(certify(weak, years(-1), years(1)).Raw)), samlxml.CauseMetadataCertificate},
		"ECDSA of 224 bits":           {described(key, b64(certify(small, years(-1), years(1)).Raw)), samlxml.CauseMetadataCertificate},
		"11 keys":                     {described("<md:KeyDescriptor>", many+"<md:KeyDescriptor>"), samlxml.CauseMetadataCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := samlxml.ParseMetadata([]byte(c.raw), samlxml.MetadataRules{Now: now})
			if got := cause(t, err); got != c.want {
				t.Errorf("cause %q, want %q (%v)", got, c.want, err)
			}
		})
	}
	for name, c := range map[string]struct {
		signer *signer
		want   samlxml.Cause
	}{
		"not signed":        {nil, samlxml.CauseUnsigned},
		"signed by another": {&signer{by: attacker()}, samlxml.CauseCertificate},
		"signed by SHA-1":   {&signer{by: idp(), digest: nsD + "sha1"}, samlxml.CauseAlgorithm},
	} {
		t.Run(name, func(t *testing.T) {
			root := parse(described())
			if c.signer != nil {
				c.signer.sign(root)
			}
			_, err := samlxml.ParseMetadata(write(root), samlxml.MetadataRules{Now: now, Signers: []*x509.Certificate{idp().cert}})
			if got := cause(t, err); got != c.want {
				t.Errorf("cause %q, want %q (%v)", got, c.want, err)
			}
		})
	}
}

func TestParseCertificate(t *testing.T) {
	t.Parallel()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: idp().cert.Raw})
	for name, raw := range map[string]string{"PEM": string(text), "Base64": b64(idp().cert.Raw), "with spaces": " \n" + b64(idp().cert.Raw)[:30] + " \r\n" + b64(idp().cert.Raw)[30:]} {
		if got, err := samlxml.ParseCertificate([]byte(raw)); err != nil || !got.Equal(idp().cert) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: idp().cert.Raw})
	for name, raw := range map[string]string{"nothing": "", "two": string(text) + string(text), "a key": string(key), "no certificate": "AAAA"} {
		if _, err := samlxml.ParseCertificate([]byte(raw)); err == nil {
			t.Errorf("%s is taken for a certificate", name)
		}
	}
}

// Our metadata, as a program reads them that others wrote.
func TestMetadata(t *testing.T) {
	t.Parallel()
	sp := provider()
	sp.EntityID, sp.SignRequests = `https://cardea.test/saml?a=1&b="<`, true
	raw, err := sp.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	var got saml.EntityDescriptor
	if err := xml.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.EntityID != sp.EntityID || len(got.SPSSODescriptors) != 1 {
		t.Fatalf("%+v", got)
	}
	d := got.SPSSODescriptors[0]
	if len(d.AssertionConsumerServices) != 1 || d.AssertionConsumerServices[0].Location != acs || len(d.SingleLogoutServices) != 2 || !*d.AuthnRequestsSigned || !*d.WantAssertionsSigned {
		t.Errorf("%+v", d)
	}
	uses := map[string]int{}
	for _, k := range d.KeyDescriptors {
		uses[k.Use+" "+k.KeyInfo.X509Data.X509Certificates[0].Data]++
	}
	want := map[string]int{}
	for _, k := range sp.Keys {
		want["signing "+b64(k.Certificate)], want["encryption "+b64(k.Certificate)] = 1, 1
	}
	if diff := cmp.Diff(want, uses); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
