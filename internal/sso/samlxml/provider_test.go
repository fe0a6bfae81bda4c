package samlxml_test

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

// The moment of all tests, and the two sides of the connection.
var now = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)

const (
	idpID = "https://idp.test/metadata"
	spID  = "https://cardea.test/saml/con_1/metadata"
	acs   = "https://cardea.test/saml/con_1/acs"
	slo   = "https://cardea.test/saml/con_1/slo"

	nsA   = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsP   = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsD   = "http://www.w3.org/2000/09/xmldsig#"
	nsE   = "http://www.w3.org/2001/04/xmlenc#"
	nsE11 = "http://www.w3.org/2009/xmlenc11#"
	c14n  = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// An identity has a key and its certificate.
type identity struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func newIdentity(bits int, from, until time.Time) identity {
	var key crypto.Signer
	var err error
	if bits < 1000 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		panic(err)
	}
	return identity{key, certify(key, from, until)}
}

//go:embed testdata/*.json testdata/*.crt
var testdata embed.FS

// fixedIdentity is one of those that are the same in every process: fuzzing works
// in several, and what others signed is kept. The keys protect nothing.
func fixedIdentity(name string) identity {
	var primes map[string]struct{ P, Q string }
	read := func(file string) []byte {
		raw, err := testdata.ReadFile("testdata/" + file)
		if err != nil {
			panic(err)
		}
		return raw
	}
	if err := json.Unmarshal(read("keys.json"), &primes); err != nil {
		panic(err)
	}
	p, _ := new(big.Int).SetString(primes[name].P, 16)
	q, _ := new(big.Int).SetString(primes[name].Q, 16)
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), order), Primes: []*big.Int{p, q},
	}
	key.Precompute()
	cert, err := samlxml.ParseCertificate(read(name + ".crt"))
	if err != nil {
		panic(err)
	}
	return identity{key, cert}
}

func certify(key crypto.Signer, from, until time.Time) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "idp.test"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func years(n int) time.Time { return now.AddDate(n, 0, 0) }

// Keys take a moment to make, so that all tests share them.
var (
	idp      = sync.OnceValue(func() identity { return fixedIdentity("idp") })
	idpNext  = sync.OnceValue(func() identity { return newIdentity(2048, years(-1), years(2)) })
	idpEC    = sync.OnceValue(func() identity { return newIdentity(256, years(-1), years(1)) })
	attacker = sync.OnceValue(func() identity { return newIdentity(2048, years(-1), years(1)) })
	ours     = sync.OnceValue(func() identity { return fixedIdentity("ours") })
	oursNext = sync.OnceValue(func() identity { return newIdentity(2048, years(-1), years(2)) })
)

func provider() samlxml.SP {
	return samlxml.SP{EntityID: spID, ACS: acs, SLO: slo, Keys: []samlxml.Key{
		{Private: ours().key, Certificate: ours().cert.Raw}, {Private: oursNext().key, Certificate: oursNext().cert.Raw},
	}}
}

// expect is what the genuine responses fulfil.
func expect() samlxml.Expect {
	return samlxml.Expect{
		SP:        provider(),
		IdP:       samlxml.IdP{EntityID: idpID, Certificates: []*x509.Certificate{idp().cert}},
		RequestID: "_request", RequestedAt: now.Add(-time.Minute), Now: now, Skew: 10 * time.Second,
	}
}

// genuine is a response as providers make them, not signed yet.
func genuine() *etree.Element {
	return parse(`<samlp:Response xmlns:samlp="` + nsP + `" xmlns:saml="` + nsA + `" ID="_response" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="` + acs + `" InResponseTo="_request">
  <saml:Issuer>` + idpID + `</saml:Issuer>
  <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
  <saml:Assertion xmlns:saml="` + nsA + `" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ID="_assertion" Version="2.0" IssueInstant="2026-03-01T12:00:00Z">
    <saml:Issuer>` + idpID + `</saml:Issuer>
    <saml:Subject>
      <saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="` + idpID + `" SPNameQualifier="` + spID + `">alice</saml:NameID>
      <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <saml:SubjectConfirmationData NotOnOrAfter="2026-03-01T12:05:00Z" Recipient="` + acs + `" InResponseTo="_request"/>
      </saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotBefore="2026-03-01T11:59:30Z" NotOnOrAfter="2026-03-01T12:04:00Z">
      <saml:AudienceRestriction><saml:Audience>` + spID + `</saml:Audience></saml:AudienceRestriction>
    </saml:Conditions>
    <saml:AuthnStatement AuthnInstant="2026-03-01T12:00:00Z" SessionNotOnOrAfter="2026-03-01T20:00:00Z" SessionIndex="_session">
      <saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext>
    </saml:AuthnStatement>
    <saml:AttributeStatement>
      <saml:Attribute Name="email" FriendlyName="mail"><saml:AttributeValue xsi:type="xs:string">alice@acme.test</saml:AttributeValue></saml:Attribute>
      <saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue><saml:AttributeValue>admins</saml:AttributeValue></saml:Attribute>
    </saml:AttributeStatement>
  </saml:Assertion>
</samlp:Response>`)
}

// alice is what the genuine response says.
func alice() samlxml.Assertion {
	return samlxml.Assertion{
		ID: "_assertion", Issuer: idpID, NameID: "alice", NameIDFormat: samlxml.FormatPersistent, NameQualifier: idpID, SPNameQualifier: spID,
		SessionIndex: "_session", Context: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
		AuthnInstant: now.Add(-30 * time.Second), NotOnOrAfter: time.Date(2026, 3, 1, 12, 4, 10, 0, time.UTC),
		SessionNotOnOrAfter: time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC), InResponseTo: "_request",
		Attributes: []samlxml.Attribute{
			{Name: "email", FriendlyName: "mail", Values: []string{"alice@acme.test"}}, {Name: "groups", Values: []string{"staff", "admins"}},
		},
	}
}

// A signer makes signatures, also such as nobody should make.
type signer struct {
	by         identity
	method     string
	digest     string
	canonical  string
	transforms []string
	uri        string // instead of the ID of the element
	inclusive  string // the PrefixList of the canonicalization
	bare       bool   // the signature is in the default namespace, without a prefix
	keyInfo    string // "" is the certificate of by; "none" is no KeyInfo at all
	value      func(signedInfo []byte) []byte
	edit       func(signature *etree.Element) // after it was made
	editInfo   func(info *etree.Element)      // before it is signed
}

var hashes = map[string]crypto.Hash{
	nsE + "sha256": crypto.SHA256, nsD + "sha1": crypto.SHA1, nsE + "sha512": crypto.SHA512,
	"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
	"http://www.w3.org/2001/04/xmldsig-more#md5":    crypto.SHA256,
}

func (s signer) sign(e *etree.Element) *etree.Element {
	method, digest := or(s.method, dsig.RSASHA256SignatureMethod), or(s.digest, nsE+"sha256")
	transforms := s.transforms
	if transforms == nil {
		transforms = []string{nsD + "enveloped-signature", c14n}
	}
	var list strings.Builder
	for _, t := range transforms {
		fmt.Fprintf(&list, `<ds:Transform Algorithm=%q>`, t)
		if s.inclusive != "" && t == c14n {
			fmt.Fprintf(&list, `<ec:InclusiveNamespaces xmlns:ec=%q PrefixList=%q/>`, c14n, s.inclusive)
		}
		list.WriteString(`</ds:Transform>`)
	}
	bare := func(text string) string {
		if s.bare {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "xmlns:ds=", "xmlns="), "ds:", "")
		}
		return text
	}
	info := parse(bare(fmt.Sprintf(`<ds:SignedInfo xmlns:ds=%q><ds:CanonicalizationMethod Algorithm=%q/><ds:SignatureMethod Algorithm=%q/><ds:Reference URI=%q><ds:Transforms>%s</ds:Transforms><ds:DigestMethod Algorithm=%q/><ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>`,
		nsD, or(s.canonical, c14n), method, or(s.uri, "#"+e.SelectAttrValue("ID", "")), list.String(), digest, b64(sum(hashes[digest], canonical(e, s.inclusive))))))
	if s.editInfo != nil {
		s.editInfo(info)
	}
	value := s.value
	if value == nil {
		value = s.by.value(method)
	}
	signature := parse(bare(`<ds:Signature xmlns:ds="` + nsD + `"/>`))
	signature.AddChild(info.Copy())
	signature.CreateElement(bare("ds:SignatureValue")).SetText(b64(value(canonical(info, ""))))
	if s.keyInfo != "none" {
		signature.AddChild(parse(bare(`<ds:KeyInfo xmlns:ds="` + nsD + `"><ds:X509Data><ds:X509Certificate>` + or(s.keyInfo, b64(s.by.cert.Raw)) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`)))
	}
	if s.edit != nil {
		s.edit(signature)
	}
	at := 0
	if issuer := e.SelectElement("Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	e.InsertChildAt(at, signature)
	return signature
}

func (i identity) value(method string) func([]byte) []byte {
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(method, "sha1"):
		hash = crypto.SHA1
	case strings.HasSuffix(method, "sha384"):
		hash = crypto.SHA384
	case strings.HasSuffix(method, "sha512"):
		hash = crypto.SHA512
	}
	return func(signed []byte) []byte {
		value, err := i.key.Sign(rand.Reader, sum(hash, signed), hash)
		if err != nil {
			panic(err)
		}
		if _, ok := i.key.(*ecdsa.PrivateKey); !ok {
			return value
		}
		var pair struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(value, &pair); err != nil {
			panic(err)
		}
		return append(pair.R.FillBytes(make([]byte, 32)), pair.S.FillBytes(make([]byte, 32))...)
	}
}

func sum(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// canonical is the exclusive canonical form of an element, standing alone.
// With namespaces to include, those around it count too.
func canonical(e *etree.Element, inclusive string) []byte {
	if inclusive != "" {
		around, err := etreeutils.NSBuildParentContext(e)
		if err != nil {
			panic(err)
		}
		if e, err = etreeutils.NSDetatch(around, e); err != nil {
			panic(err)
		}
	}
	raw, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(inclusive).Canonicalize(e.Copy())
	if err != nil {
		panic(err)
	}
	return raw
}

// Which of the two is signed.
type mode string

const (
	byResponse  mode = "response"
	byAssertion mode = "assertion"
	byBoth      mode = "both"
	byNobody    mode = "nobody"
)

var modes = []mode{byResponse, byAssertion, byBoth}

// signed signs a response the way a provider does: the assertion first.
func signed(root *etree.Element, m mode, s signer) *etree.Element {
	if s.by.key == nil {
		s.by = idp()
	}
	if assertion := root.SelectElement("Assertion"); assertion != nil && (m == byAssertion || m == byBoth) {
		s.sign(assertion)
	}
	if m == byResponse || m == byBoth {
		s.sign(root)
	}
	return root
}

// A sealing encrypts an assertion.
type sealing struct {
	content   string
	transport string
	digest    string
	mask      string
	to        *rsa.PublicKey
	key       []byte // instead of a random one
}

func (s sealing) seal(plain []byte) *etree.Element {
	content, transport := or(s.content, nsE11+"aes256-gcm"), or(s.transport, nsE+"rsa-oaep-mgf1p")
	length := 32
	for bits, bytes := range map[string]int{"128": 16, "192": 24, "tripledes": 24} {
		if strings.Contains(content, bits) {
			length = bytes
		}
	}
	key := s.key
	if key == nil {
		key = make([]byte, length)
		_, _ = rand.Read(key)
	}
	to := s.to
	if to == nil {
		to = ours().key.Public().(*rsa.PublicKey)
	}
	options := &rsa.OAEPOptions{Hash: oaep[s.digest], MGFHash: oaep[s.mask]}
	wrapped, err := rsa.EncryptOAEPWithOptions(rand.Reader, to, key, options)
	if err != nil {
		panic(err)
	}
	method := fmt.Sprintf(`<xenc:EncryptionMethod Algorithm=%q>`, transport)
	if s.digest != "" {
		method += fmt.Sprintf(`<ds:DigestMethod Algorithm=%q/>`, s.digest)
	}
	if s.mask != "" {
		method += fmt.Sprintf(`<xenc11:MGF xmlns:xenc11=%q Algorithm=%q/>`, nsE11, s.mask)
	}
	return parse(fmt.Sprintf(`<saml:EncryptedAssertion xmlns:saml=%q xmlns:xenc=%q xmlns:ds=%q><xenc:EncryptedData Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm=%q/><ds:KeyInfo><xenc:EncryptedKey>%s</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>`,
		nsA, nsE, nsD, content, method, b64(wrapped), b64(encrypt(content, key, plain))))
}

var oaep = map[string]crypto.Hash{
	"": crypto.SHA1, "urn:none": crypto.SHA1, nsD + "sha1": crypto.SHA1, nsE + "sha256": crypto.SHA256, nsE + "sha512": crypto.SHA512,
	nsE11 + "mgf1sha1": crypto.SHA1, nsE11 + "mgf1sha256": crypto.SHA256,
}

func encrypt(algorithm string, key, plain []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	if strings.HasSuffix(algorithm, "gcm") {
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			panic(err)
		}
		nonce := make([]byte, gcm.NonceSize())
		_, _ = rand.Read(nonce)
		return gcm.Seal(nonce, nonce, plain, nil)
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(append([]byte{}, plain...), make([]byte, padding)...)
	plain[len(plain)-1] = byte(padding)
	sealed := make([]byte, aes.BlockSize+len(plain))
	_, _ = rand.Read(sealed[:aes.BlockSize])
	cipher.NewCBCEncrypter(block, sealed[:aes.BlockSize]).CryptBlocks(sealed[aes.BlockSize:], plain)
	return sealed
}

// encrypted puts the assertion of a response, as it is, into an encrypted one.
func encrypted(root *etree.Element, s sealing) *etree.Element {
	assertion := root.SelectElement("Assertion")
	at := assertion.Index()
	root.RemoveChild(assertion)
	root.InsertChildAt(at, s.seal(canonical(assertion, "")))
	return root
}

func parse(text string) *etree.Element {
	document := etree.NewDocument()
	if err := document.ReadFromString(text); err != nil {
		panic(err)
	}
	root := document.Root()
	document.RemoveChild(root)
	return root
}

func write(root *etree.Element) []byte {
	document := etree.NewDocument()
	document.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	document.SetRoot(root.Copy())
	raw, err := document.WriteToBytes()
	if err != nil {
		panic(err)
	}
	return raw
}

// at is an element by the local names on the way to it.
func at(t testing.TB, root *etree.Element, path string) *etree.Element {
	t.Helper()
	e := root.FindElement("./" + path)
	if e == nil {
		t.Fatalf("no %s in the response", path)
	}
	return e
}

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func certificates(of ...identity) (list []*x509.Certificate) {
	for _, i := range of {
		list = append(list, i.cert)
	}
	return list
}
