package testidp

import (
	"compress/flate"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/cardea-id/cardea/internal/page"
)

// Names of SAML 2.0 (OASIS saml-core-2.0, saml-metadata-2.0).
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	status      = "urn:oasis:names:tc:SAML:2.0:status:"
	binding     = "urn:oasis:names:tc:SAML:2.0:bindings:"
	persistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	bearer      = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	byPassword  = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	basicName   = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
	elsewhere   = "https://another-service.example/saml" // what wrong answers name
	maxRequest  = 64 << 10                               // bytes of a request
	instantForm = "2006-01-02T15:04:05.000Z"
)

// Metadata describes the provider at the origin of a tenant.
func (s *Service) Metadata(origin string) ([]byte, error) {
	key, err := s.own()
	if err != nil {
		return nil, err
	}
	address := origin + Path
	doc := etree.NewDocument()
	root := doc.CreateElement("md:EntityDescriptor")
	set(root, "xmlns:md", nsMetadata, "entityID", address+"/metadata")
	idp := root.CreateElement("md:IDPSSODescriptor")
	set(idp, "protocolSupportEnumeration", nsProtocol)
	use := idp.CreateElement("md:KeyDescriptor")
	set(use, "use", "signing")
	info := use.CreateElement("ds:KeyInfo")
	set(info, "xmlns:ds", nsSignature)
	info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(key.Certificate))
	idp.CreateElement("md:NameIDFormat").SetText(persistent)
	for _, by := range []string{"HTTP-Redirect", "HTTP-POST"} {
		set(idp.CreateElement("md:SingleSignOnService"), "Binding", binding+by, "Location", address+"/saml")
	}
	return doc.WriteToBytes()
}

func set(e *etree.Element, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		e.CreateAttr(pairs[i], pairs[i+1])
	}
}

func (s *Service) getMetadata(w http.ResponseWriter, r *http.Request) error {
	address, err := s.address(r.Context())
	if err != nil {
		return err
	}
	text, err := s.Metadata(strings.TrimSuffix(address, Path))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, err = w.Write(text)
	return err
}

// asked is what a service wants to know of somebody.
type asked struct {
	id       string // of the request; empty if there was none
	audience string
	acs      string
	relay    string
}

// getSAML is asked by the redirect binding, or without a request: then "acs" and
// "audience" say whom to tell.
func (s *Service) getSAML(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("SAMLRequest") == "" && q.Get("acs") != "" {
		return s.choose(w, r, asked{acs: q.Get("acs"), audience: q.Get("audience"), relay: q.Get("RelayState")})
	}
	packed, err := base64.StdEncoding.DecodeString(q.Get("SAMLRequest"))
	if err != nil {
		return ErrRequest.Because("base64: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(string(packed))), maxRequest))
	if err != nil {
		return ErrRequest.Because("inflate: %w", err)
	}
	return s.request(w, r, text, q.Get("RelayState"))
}

// postSAML is asked by the POST binding.
func (s *Service) postSAML(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 2*maxRequest)
	text, err := base64.StdEncoding.DecodeString(r.PostFormValue("SAMLRequest"))
	if err != nil {
		return ErrRequest.Because("base64: %w", err)
	}
	return s.request(w, r, text, r.PostFormValue("RelayState"))
}

func (s *Service) request(w http.ResponseWriter, r *http.Request, text []byte, relay string) error {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		return ErrRequest.Because("XML: %w", err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "AuthnRequest" {
		return ErrRequest.Because("no AuthnRequest")
	}
	a := asked{id: root.SelectAttrValue("ID", ""), acs: root.SelectAttrValue("AssertionConsumerServiceURL", ""), relay: relay}
	if issuer := root.FindElement("./Issuer"); issuer != nil {
		a.audience = strings.TrimSpace(issuer.Text())
	}
	return s.choose(w, r, a)
}

func (s *Service) choose(w http.ResponseWriter, r *http.Request, a asked) error {
	if !strings.HasPrefix(a.acs, "http://") && !strings.HasPrefix(a.acs, "https://") {
		return ErrRequest.Saying("The request does not say where to send the answer (AssertionConsumerServiceURL).")
	}
	return s.show(w, sheet{
		Action: Path + "/saml/answer", To: a.audience, SAML: true, People: People, Faults: faultsOf(true),
		Hidden: []page.Pair{{Name: "id", Value: a.id}, {Name: "audience", Value: a.audience}, {Name: "acs", Value: a.acs}, {Name: "relay", Value: a.relay}},
	})
}

func (s *Service) postSAMLAnswer(w http.ResponseWriter, r *http.Request) error {
	who, fault, err := chosen(r)
	if err != nil {
		return err
	}
	a := asked{id: r.PostFormValue("id"), audience: r.PostFormValue("audience"), acs: r.PostFormValue("acs"), relay: r.PostFormValue("relay")}
	address, err := s.address(r.Context())
	if err != nil {
		return err
	}
	response, err := s.respond(address+"/metadata", a, who, fault)
	if err != nil {
		return err
	}
	fields := []page.Pair{{Name: "SAMLResponse", Value: base64.StdEncoding.EncodeToString(response)}}
	if a.relay != "" {
		fields = append(fields, page.Pair{Name: "RelayState", Value: a.relay})
	}
	return page.Render(w, r, http.StatusOK, &page.FormPost{View: s.View(w, r), App: page.App{Name: a.audience}, Action: a.acs, Fields: fields})
}

// respond makes the answer, with what is to be wrong in it.
func (s *Service) respond(issuer string, a asked, who Person, fault string) ([]byte, error) {
	now, recipient, destination := s.Now().UTC(), a.acs, a.acs
	from, until := now.Add(-time.Minute), now.Add(5*time.Minute)
	switch fault {
	case "expired":
		from, until = now.Add(-20*time.Minute), now.Add(-10*time.Minute)
	case "early":
		from, until = now.Add(10*time.Minute), now.Add(20*time.Minute)
	case "audience":
		a.audience = elsewhere
	case "recipient":
		recipient = elsewhere
	case "destination":
		destination = elsewhere
	case "issuer":
		issuer = elsewhere
	case "request":
		a.id = "_" + rand.Text()
	}
	doc := etree.NewDocument()
	root := doc.CreateElement("samlp:Response")
	set(root, "xmlns:samlp", nsProtocol, "xmlns:saml", nsAssertion, "ID", "_"+rand.Text(), "Version", "2.0", "IssueInstant", now.Format(instantForm), "Destination", destination)
	if a.id != "" {
		set(root, "InResponseTo", a.id)
	}
	root.CreateElement("saml:Issuer").SetText(issuer)
	code := root.CreateElement("samlp:Status").CreateElement("samlp:StatusCode")
	if fault == "denied" {
		set(code, "Value", status+"Responder")
		set(code.CreateElement("samlp:StatusCode"), "Value", status+"AuthnFailed")
	} else {
		set(code, "Value", status+"Success")
		said, err := s.signed(assertion(issuer, a, who, fault, recipient, now, from, until), fault)
		if err != nil {
			return nil, err
		}
		root.AddChild(said)
	}
	root, err := s.signed(root, fault)
	if err != nil {
		return nil, err
	}
	doc.SetRoot(root)
	if fault == "altered" {
		for _, e := range doc.FindElements("//NameID") {
			e.SetText("test-somebody-else")
		}
	}
	text, err := doc.WriteToBytes()
	if fault == "doctype" {
		text = append([]byte("<!DOCTYPE Response>\n"), text...)
	}
	return text, err
}

// assertion says who somebody is.
func assertion(issuer string, a asked, who Person, fault, recipient string, now, from, until time.Time) *etree.Element {
	e := etree.NewElement("saml:Assertion")
	set(e, "xmlns:saml", nsAssertion, "ID", "_"+rand.Text(), "Version", "2.0", "IssueInstant", now.Format(instantForm))
	e.CreateElement("saml:Issuer").SetText(issuer)
	subject := e.CreateElement("saml:Subject")
	if fault != "subject" {
		id := subject.CreateElement("saml:NameID")
		set(id, "Format", persistent)
		id.SetText(who.Subject())
	}
	confirmation := subject.CreateElement("saml:SubjectConfirmation")
	set(confirmation, "Method", bearer)
	data := confirmation.CreateElement("saml:SubjectConfirmationData")
	if a.id != "" {
		set(data, "InResponseTo", a.id)
	}
	set(data, "Recipient", recipient, "NotOnOrAfter", until.Format(instantForm))
	conditions := e.CreateElement("saml:Conditions")
	set(conditions, "NotBefore", from.Format(instantForm), "NotOnOrAfter", until.Format(instantForm))
	conditions.CreateElement("saml:AudienceRestriction").CreateElement("saml:Audience").SetText(a.audience)
	statement := e.CreateElement("saml:AuthnStatement")
	set(statement, "AuthnInstant", now.Format(instantForm), "SessionIndex", "_"+rand.Text())
	statement.CreateElement("saml:AuthnContext").CreateElement("saml:AuthnContextClassRef").SetText(byPassword)
	attributes := e.CreateElement("saml:AttributeStatement")
	for _, of := range []struct {
		name   string
		values []string
	}{{"email", []string{who.Email}}, {"firstName", []string{who.FirstName}}, {"lastName", []string{who.LastName}}, {"groups", who.Groups}} {
		if len(of.values) == 0 || of.values[0] == "" || fault == "email" && of.name == "email" {
			continue
		}
		one := attributes.CreateElement("saml:Attribute")
		set(one, "Name", of.name, "NameFormat", basicName)
		for _, v := range of.values {
			one.CreateElement("saml:AttributeValue").SetText(v)
		}
	}
	return e
}

// signed puts a signature behind the issuer of e, where the schema wants it.
func (s *Service) signed(e *etree.Element, fault string) (*etree.Element, error) {
	if fault == "unsigned" {
		return e, nil
	}
	source := s.own
	if fault == "key" {
		source = s.foreign
	}
	key, err := source()
	if err != nil {
		return nil, err
	}
	signing, err := dsig.NewSigningContext(key.Private, [][]byte{key.Certificate})
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signing.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if fault == "sha1" {
		signing.Hash = crypto.SHA1
	}
	signature, err := signing.ConstructSignature(e, true)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	e.InsertChildAt(1, signature)
	return e, nil
}
