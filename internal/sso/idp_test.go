package sso_test

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"compress/flate"

	"github.com/beevik/etree"
	"github.com/go-jose/go-jose/v4"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/cardea-id/cardea/internal/sso"
)

// An idp signs what a SAML provider says. It does everything right unless an answer says
// otherwise.
type idp struct {
	key  *rsa.PrivateKey
	cert []byte
}

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newIdP(from, until time.Time) *idp {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "idp"}, NotBefore: from, NotAfter: until}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &idp{key, cert}
}

// Keys take long to make: all tests share these.
var (
	acme  = sync.OnceValue(func() *idp { return newIdP(begin.AddDate(-1, 0, 0), begin.AddDate(0, 0, 60)) })
	thief = sync.OnceValue(func() *idp { return newIdP(begin.AddDate(-1, 0, 0), begin.AddDate(1, 0, 0)) })
	over  = sync.OnceValue(func() *idp { return newIdP(begin.AddDate(-2, 0, 0), begin.AddDate(-1, 0, 0)) })
)

const entity = "https://idp.acme.example/saml"

func (i *idp) settings() sso.IdP {
	return sso.IdP{EntityID: entity, SSORedirect: "https://idp.acme.example/sso", SLORedirect: "https://idp.acme.example/slo", Certificates: []string{base64.StdEncoding.EncodeToString(i.cert)}}
}

func (i *idp) metadata(id string) string {
	return `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="` + id + `"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` +
		base64.StdEncoding.EncodeToString(i.cert) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.acme.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`
}

// A said is what a response says. The zero value of a field is what is right.
type said struct {
	request   string // that it answers; "none" for none
	issuer    string
	audience  string
	acs       string // Destination and Recipient
	recipient string
	nameID    string
	format    string
	status    string // below Responder or Requester, or one of these
	context   string
	id        string // of the assertion
	skew      time.Duration
	emails    []string // nil for one that is right
	more      string   // attributes, as XML
	by        *idp
	method    string // of the signature
	unsigned  bool
	encrypt   *rsa.PublicKey
	edit      func(xml string) string // after it was signed
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

const (
	unspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	persistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	transient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	password    = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	statuses    = "urn:oasis:names:tc:SAML:2.0:status:"
)

// respond makes a response for the connection whose addresses these are.
func (s said) respond(t testing.TB, us sso.Us, now time.Time) string {
	t.Helper()
	now = now.Add(s.skew)
	at := func(d time.Duration) string { return now.Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }
	answers := ""
	if s.request != "none" {
		answers = ` InResponseTo="` + s.request + `"`
	}
	if s.emails == nil {
		s.emails = []string{"Ann@acme.example"}
	}
	values := ""
	for _, e := range s.emails {
		values += `<saml:AttributeValue>` + e + `</saml:AttributeValue>`
	}
	if values != "" {
		values = `<saml:Attribute Name="email">` + values + `</saml:Attribute>`
	}
	status := `<samlp:StatusCode Value="` + statuses + `Success"/>`
	if s.status == "Requester" || s.status == "Responder" {
		status = `<samlp:StatusCode Value="` + statuses + s.status + `"/>`
	} else if s.status != "" {
		status = `<samlp:StatusCode Value="` + statuses + `Responder"><samlp:StatusCode Value="` + statuses + s.status + `"/></samlp:StatusCode>`
	}
	const spaces = ` xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"`
	response := parse(`<samlp:Response` + spaces + ` ID="_r` + rand.Text() + `" Version="2.0" IssueInstant="` + at(0) + `" Destination="` + or(s.acs, us.ACS) + `"` + answers + `><saml:Issuer>` + or(s.issuer, entity) + `</saml:Issuer><samlp:Status>` + status + `</samlp:Status></samlp:Response>`)
	if s.status == "" {
		a := parse(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="` + or(s.id, "_a"+rand.Text()) + `" Version="2.0" IssueInstant="` + at(0) + `"><saml:Issuer>` + or(s.issuer, entity) + `</saml:Issuer><saml:Subject><saml:NameID Format="` + or(s.format, persistent) + `">` + or(s.nameID, "ann-1") +
			`</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData Recipient="` + or(s.recipient, or(s.acs, us.ACS)) + `" NotOnOrAfter="` + at(5*time.Minute) + `"` + answers + `/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="` + at(-time.Second) + `" NotOnOrAfter="` + at(5*time.Minute) +
			`"><saml:AudienceRestriction><saml:Audience>` + or(s.audience, us.EntityID) + `</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="` + at(0) + `" SessionIndex="_s1"><saml:AuthnContext><saml:AuthnContextClassRef>` + or(s.context, password) + `</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` +
			`<saml:AttributeStatement>` + values + `<saml:Attribute Name="firstName"><saml:AttributeValue>Ann</saml:AttributeValue></saml:Attribute>` + s.more + `</saml:AttributeStatement></saml:Assertion>`)
		if !s.unsigned {
			s.sign(a)
		}
		if s.encrypt != nil {
			a = encrypted(a, s.encrypt)
		}
		response.AddChild(a)
	}
	text := write(response)
	if s.edit != nil {
		text = s.edit(text)
	}
	return base64.StdEncoding.EncodeToString([]byte(text))
}

func (s said) sign(e *etree.Element) {
	by := s.by
	if by == nil {
		by = acme()
	}
	c, err := dsig.NewSigningContext(by.key, [][]byte{by.cert})
	if err != nil {
		panic(err)
	}
	c.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := c.SetSignatureMethod(or(s.method, dsig.RSASHA256SignatureMethod)); err != nil {
		panic(err)
	}
	signature, err := c.ConstructSignature(e, true)
	if err != nil {
		panic(err)
	}
	e.InsertChildAt(1, signature)
}

// encrypted hides an assertion for a key.
func encrypted(a *etree.Element, to *rsa.PublicKey) *etree.Element {
	key := make([]byte, 32)
	nonce := make([]byte, 12)
	_, _ = rand.Read(key)
	_, _ = rand.Read(nonce)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	wrapped, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, to, key, nil)
	if err != nil {
		panic(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return parse(`<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedData Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/><ds:KeyInfo><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/><xenc:CipherData><xenc:CipherValue>` +
		b64(wrapped) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>` + b64(gcm.Seal(nonce, nonce, []byte(write(a)), nil)) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>`)
}

func parse(text string) *etree.Element {
	document := etree.NewDocument()
	if err := document.ReadFromString(text); err != nil {
		panic(err)
	}
	return document.Root().Copy()
}

func write(e *etree.Element) string {
	document := etree.NewDocument()
	document.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	document.SetRoot(e)
	text, err := document.WriteToString()
	if err != nil {
		panic(err)
	}
	return text
}

// requestOf is the id of the request that a browser was sent with.
func requestOf(t testing.TB, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(flate.NewReader(strings.NewReader(string(raw))))
	if err != nil {
		t.Fatal(err)
	}
	return parse(string(plain)).SelectAttrValue("ID", "")
}

// op is an OpenID provider that does everything right until it is told otherwise.
type op struct {
	*httptest.Server
	now       func() time.Time
	key       *ecdsa.PrivateKey
	discovery http.HandlerFunc // in place of the document
	keys      http.HandlerFunc // in place of the key set
	answer    http.HandlerFunc // in place of the token endpoint
	claims    func(map[string]any)
	signer    crypto.Signer // in place of the key that is published
	nonce     string
}

const (
	clientID     = "cardea-at-op"
	clientSecret = "s3cr3t"
)

func newOP(t testing.TB, now func() time.Time) *op {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &op{now: now, key: key}
	mux := http.NewServeMux()
	serve := func(path string, other *http.HandlerFunc, h http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if *other != nil {
				(*other)(w, r)
				return
			}
			h(w, r)
		})
	}
	serve("/.well-known/openid-configuration", &o.discovery, func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, map[string]any{"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/jwks"})
	})
	serve("/organizations/v2.0/.well-known/openid-configuration", &o.discovery, func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, map[string]any{"issuer": o.URL + "/{tenantid}/v2.0", "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/jwks"})
	})
	serve("/jwks", &o.keys, func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	serve("/token", &o.answer, o.token)
	o.Server = httptest.NewTLSServer(mux)
	t.Cleanup(o.Close)
	return o
}

func send(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body) // whoever has read enough may have gone
}

func (o *op) token(w http.ResponseWriter, r *http.Request) {
	if _, key, _ := r.BasicAuth(); key != clientSecret {
		send(w, 401, map[string]string{"error": "invalid_client"})
		return
	}
	claims := map[string]any{"iss": o.URL, "aud": clientID, "sub": "ann-1", "iat": o.now().Unix(), "exp": o.now().Add(time.Hour).Unix(), "nonce": o.nonce, "email": "ann@acme.example", "given_name": "Ann", "groups": []string{"Engineering"}}
	if o.claims != nil {
		o.claims(claims)
	}
	signer := crypto.Signer(o.key)
	if o.signer != nil {
		signer = o.signer
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: signer, KeyID: "k"}}, nil)
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(claims)
	signed, err := s.Sign(body)
	if err != nil {
		panic(err)
	}
	text, _ := signed.CompactSerialize()
	answer := map[string]any{"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "id_token": text}
	if claims["id_token"] == "none" {
		delete(answer, "id_token")
	}
	send(w, 200, answer)
}

// refusing is a token endpoint that refuses.
func refusing(status int, code, description string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		send(w, status, map[string]string{"error": code, "error_description": description})
	}
}

func page(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }
