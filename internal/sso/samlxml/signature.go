package samlxml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	exclusive  = "http://www.w3.org/2001/10/xml-exc-c14n#"
	enveloped  = nsSignature + "enveloped-signature"
	rsaSHA256  = dsig.RSASHA256SignatureMethod
	accepted   = "SHA-256, SHA-384 or SHA-512 with RSA or ECDSA"
	digestHelp = "SHA-256, SHA-384 or SHA-512"
)

// methods are the signatures that are believed. SHA-1 is not among them, nor is
// anything keyed with what everybody knows.
var methods = map[string]x509.SignatureAlgorithm{
	dsig.RSASHA256SignatureMethod:   x509.SHA256WithRSA,
	dsig.RSASHA384SignatureMethod:   x509.SHA384WithRSA,
	dsig.RSASHA512SignatureMethod:   x509.SHA512WithRSA,
	dsig.ECDSASHA256SignatureMethod: x509.ECDSAWithSHA256,
	dsig.ECDSASHA384SignatureMethod: x509.ECDSAWithSHA384,
	dsig.ECDSASHA512SignatureMethod: x509.ECDSAWithSHA512,
}

var digests = map[string]bool{
	"http://www.w3.org/2001/04/xmlenc#sha256":       true,
	"http://www.w3.org/2001/04/xmldsig-more#sha384": true,
	"http://www.w3.org/2001/04/xmlenc#sha512":       true,
}

// signed verifies the enveloped signature of an element by one of the
// certificates, and returns what was verified: the canonical bytes, parsed anew.
// Of e itself nothing may be believed.
func (t *trace) signed(name string, e *etree.Element, trusted []*x509.Certificate, now time.Time) (*etree.Element, error) {
	signatures := children(e, nsSignature, "Signature")
	if err := t.hold(len(signatures) > 0, CauseUnsigned, name+".signed", "a signature", "none"); err != nil {
		return nil, err
	}
	if err := t.hold(len(signatures) == 1, CauseWrapping, name+".signature.form", "one signature", fmt.Sprint(len(signatures))); err != nil {
		return nil, err
	}
	method, value, err := t.form(name+".signature", signatures[0], attr(e, "ID"))
	if err != nil {
		return nil, err
	}
	candidates, embedded, err := t.candidates(name+".signature", signatures[0], trusted, method, now)
	if err != nil {
		return nil, err
	}
	verified, err := validate(e, value, candidates, now)
	if err != nil {
		cause := CauseSignature
		if !embedded && mismatch(err) {
			cause = CauseCertificate
		}
		return nil, t.refuse(cause, name+".signature", "a signature by a certificate of the connection", err.Error())
	}
	same := verified.Tag == e.Tag && namespace(verified) == namespace(e) && attr(verified, "ID") == attr(e, "ID")
	return verified, t.hold(same, CauseWrapping, name+".signature", "a signature over the whole of the "+name, attr(verified, "ID"))
}

// form refuses a signature of any other form than the one SAML has (core 5.4):
// one reference, to the element around it, with the two transforms, and the
// algorithms that are accepted. It answers with the method and the value.
func (t *trace) form(name string, signature *etree.Element, id string) (x509.SignatureAlgorithm, []byte, error) {
	wrapped := func(what, received string) error { return t.refuse(CauseWrapping, name+".form", what, received) }
	info := child(signature, nsSignature, "SignedInfo")
	value := child(signature, nsSignature, "SignatureValue")
	if info == nil || value == nil || len(children(signature, nsSignature, "KeyInfo")) > 1 {
		return 0, nil, wrapped("one SignedInfo, one SignatureValue and at most one KeyInfo", tags(signature))
	}
	if form := tags(signature); form != "SignedInfo SignatureValue" && form != "SignedInfo SignatureValue KeyInfo" {
		return 0, nil, wrapped("nothing but SignedInfo, SignatureValue and KeyInfo", form)
	}
	reference := child(info, nsSignature, "Reference")
	if reference == nil || tags(info) != "CanonicalizationMethod SignatureMethod Reference" || tags(reference) != "Transforms DigestMethod DigestValue" {
		return 0, nil, wrapped("one Reference", tags(info))
	}
	if uri := attr(reference, "URI"); id == "" || uri != "#"+id {
		return 0, nil, wrapped("a reference to the element around it: #"+id, uri)
	}
	if err := t.algorithms(name, info, reference); err != nil {
		return 0, nil, err
	}
	raw, err := decode64(token(value))
	if err != nil || len(raw) == 0 {
		return 0, nil, t.refuse(CauseSignature, name, "a SignatureValue in Base64", token(value))
	}
	return methods[attr(child(info, nsSignature, "SignatureMethod"), "Algorithm")], raw, nil
}

func (t *trace) algorithms(name string, info, reference *etree.Element) error {
	method := attr(child(info, nsSignature, "SignatureMethod"), "Algorithm")
	if err := t.hold(methods[method] != 0, CauseAlgorithm, name+".method", accepted, method); err != nil {
		return err
	}
	digest := attr(child(reference, nsSignature, "DigestMethod"), "Algorithm")
	if err := t.hold(digests[digest], CauseAlgorithm, name+".digest", digestHelp, digest); err != nil {
		return err
	}
	canonical := attr(child(info, nsSignature, "CanonicalizationMethod"), "Algorithm")
	if err := t.hold(canonical == exclusive, CauseAlgorithm, name+".canonicalization", exclusive, canonical); err != nil {
		return err
	}
	var transforms []string
	for _, e := range child(reference, nsSignature, "Transforms").ChildElements() {
		transforms = append(transforms, attr(e, "Algorithm"))
	}
	ok := len(transforms) == 2 && transforms[0] == enveloped && transforms[1] == exclusive
	return t.hold(ok, CauseAlgorithm, name+".transforms", enveloped+" "+exclusive, strings.Join(transforms, " "))
}

// tags are the names of the elements below another.
func tags(e *etree.Element) string {
	var names []string
	for _, c := range e.ChildElements() {
		if namespace(c) != nsSignature {
			return "an element of another namespace"
		}
		names = append(names, c.Tag)
	}
	return strings.Join(names, " ")
}

// candidates are the certificates that may have made a signature. A message may
// say which of ours it was, by a certificate with the same key (embedded); one
// that it brings itself is never believed.
func (t *trace) candidates(name string, signature *etree.Element, trusted []*x509.Certificate, method x509.SignatureAlgorithm, now time.Time) (valid []*x509.Certificate, embedded bool, err error) {
	brought := broughtKeys(signature)
	var known []*x509.Certificate
	for _, c := range trusted {
		if fits(c, method) && (len(brought) == 0 || brought[string(c.RawSubjectPublicKeyInfo)]) {
			known = append(known, c)
		}
	}
	if err := t.hold(len(known) > 0, CauseCertificate, name+".certificate", "a certificate of the connection", "another one"); err != nil {
		return nil, false, err
	}
	for _, c := range known {
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) {
			valid = append(valid, c)
		}
	}
	err = t.hold(len(valid) > 0, CauseCertificateExpired, name+".certificate.valid", "valid at "+stamp(now),
		stamp(known[0].NotBefore)+" to "+stamp(known[0].NotAfter))
	return valid, len(brought) > 0, err
}

// broughtKeys are the public keys of the certificates in a signature; one that
// can not be read is a key that nobody has.
func broughtKeys(signature *etree.Element) map[string]bool {
	keys := map[string]bool{}
	for _, info := range children(signature, nsSignature, "KeyInfo") {
		for _, data := range children(info, nsSignature, "X509Data") {
			for i, c := range children(data, nsSignature, "X509Certificate") {
				certificate, err := ParseCertificate([]byte(token(c)))
				if err != nil || i >= maxCertificates {
					keys[""] = true
					continue
				}
				keys[string(certificate.RawSubjectPublicKeyInfo)] = true
			}
		}
	}
	return keys
}

func fits(c *x509.Certificate, method x509.SignatureAlgorithm) bool {
	switch method {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA:
		return c.PublicKeyAlgorithm == x509.RSA
	default:
		return c.PublicKeyAlgorithm == x509.ECDSA
	}
}

// validate runs the verification over a copy of e that stands alone: with the
// namespaces of what was around it, the signature first, and without the keys
// that came with it. None of that is under the signature.
func validate(e *etree.Element, value []byte, candidates []*x509.Certificate, now time.Time) (*etree.Element, error) {
	alone := detach(e)
	signature := child(alone, nsSignature, "Signature")
	if info := child(signature, nsSignature, "KeyInfo"); info != nil {
		signature.RemoveChild(info)
	}
	alone.RemoveChild(signature)
	alone.InsertChildAt(0, signature)
	err := errors.New("no certificate")
	for _, certificate := range candidates {
		encoded, wrong := derValue(certificate, value)
		if wrong != nil {
			err = wrong
			continue
		}
		child(signature, nsSignature, "SignatureValue").SetText(base64.StdEncoding.EncodeToString(encoded))
		check := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate}})
		check.Clock = dsig.NewFakeClockAt(now)
		var verified *etree.Element
		if verified, err = check.Validate(alone); err == nil {
			return verified, nil
		}
	}
	return nil, err
}

// detach copies an element with all namespaces that are declared around it.
func detach(e *etree.Element) *etree.Element {
	alone := e.Copy()
	for at := e.Parent(); at != nil; at = at.Parent() {
		for _, a := range at.Attr {
			if (a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns") && !hasSame(alone, a) {
				alone.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return alone
}

func hasSame(e *etree.Element, declared etree.Attr) bool {
	for _, a := range e.Attr {
		if a.Space == declared.Space && a.Key == declared.Key {
			return true
		}
	}
	return false
}

// derValue turns an ECDSA signature from the form of XML, two numbers of fixed
// length (RFC 4050, 3.3), to the one that x509 takes. Those of RSA stay.
func derValue(certificate *x509.Certificate, value []byte) ([]byte, error) {
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return value, nil
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(value) != 2*size {
		return nil, errors.New("an ECDSA signature of the wrong length: verification failure")
	}
	r, s := new(big.Int).SetBytes(value[:size]), new(big.Int).SetBytes(value[size:])
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// mismatch says that a signature was made by another key, or over other bytes,
// rather than that the content is not the one that was signed.
func mismatch(err error) bool {
	return errors.Is(err, rsa.ErrVerification) || strings.Contains(err.Error(), "verification failure")
}

// signingKey is the key that signs for the service provider.
func (sp SP) signingKey() (Key, error) {
	if len(sp.Keys) == 0 {
		return Key{}, errors.New("the service provider has no key")
	}
	if public, ok := sp.Keys[0].Private.Public().(*rsa.PublicKey); !ok || public.N.BitLen() < 2048 {
		return Key{}, errors.New("the key of the service provider is not RSA of 2048 bits or more")
	}
	return sp.Keys[0], nil
}

// sign adds an enveloped signature after the Issuer, where the schema has it.
func (sp SP) sign(root *etree.Element) error {
	key, err := sp.signingKey()
	if err != nil {
		return err
	}
	signing, err := dsig.NewSigningContext(key.Private, [][]byte{key.Certificate})
	if err != nil {
		return fmt.Errorf("sign the message: %w", err)
	}
	signing.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signature, err := signing.ConstructSignature(root.Copy(), true)
	if err != nil {
		return fmt.Errorf("sign the message: %w", err)
	}
	root.InsertChildAt(child(root, nsAssertion, "Issuer").Index()+1, signature)
	return nil
}

// signQuery signs the text of a query (SAML bindings 3.4.4.1).
func (sp SP) signQuery(query string) (string, error) {
	key, err := sp.signingKey()
	if err != nil {
		return "", err
	}
	hash := crypto.SHA256.New()
	hash.Write([]byte(query))
	value, err := key.Private.Sign(rand.Reader, hash.Sum(nil), crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign the query: %w", err)
	}
	return base64.StdEncoding.EncodeToString(value), nil
}

// A querySignature is the signature of the redirect binding, over the text of
// the query as it arrived: to decode it and write it again would alter it.
type querySignature struct {
	text      string
	algorithm string
	value     []byte
}

// signedQuery verifies the signature of a query.
func (t *trace) signedQuery(name string, q *querySignature, trusted []*x509.Certificate, now time.Time) error {
	if err := t.hold(len(q.value) > 0, CauseUnsigned, name+".signed", "a signature", "none"); err != nil {
		return err
	}
	method := methods[q.algorithm]
	if err := t.hold(method != 0, CauseAlgorithm, name+".signature.method", accepted, q.algorithm); err != nil {
		return err
	}
	candidates, _, err := t.candidates(name+".signature", etree.NewElement("none"), trusted, method, now)
	if err != nil {
		return err
	}
	for _, certificate := range candidates {
		value, err := derValue(certificate, q.value)
		if err == nil && certificate.CheckSignature(method, []byte(q.text), value) == nil {
			return t.hold(true, "", name+".signature", "a signature by a certificate of the connection", "verified")
		}
	}
	return t.refuse(CauseSignature, name+".signature", "a signature by a certificate of the connection", "one that does not verify")
}
