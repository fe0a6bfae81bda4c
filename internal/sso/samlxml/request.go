package samlxml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/beevik/etree"
)

// A Request is a sign-in that is asked for (SAML core 3.4.1).
type Request struct {
	ID           string   // of [NewID]; kept, to be held against the answer
	ForceAuthn   bool     // sign in anew, whatever session there is
	NameIDFormat string   // empty: as the provider likes
	Context      []string // ways of signing in, any of which will do, compared exactly; empty: any
	Subject      string   // whom we expect; empty: nobody. Entra ID refuses requests that say so
	Post         bool     // by HTTP-POST if the provider takes both
}

// A Form is what a page posts to a provider.
type Form struct {
	Action       string
	SAMLRequest  string // one of the two is empty
	SAMLResponse string
	RelayState   string
}

// Sent is a message on its way by the browser: an address to go to, or a form.
type Sent struct {
	Redirect string
	Form     *Form
}

// AuthnRequest writes the request for a sign-in, by redirect if the provider
// takes that, and signs it if either side wants so. relay comes back with the
// answer: at most 80 bytes (SAML bindings 3.4.3).
func (sp SP) AuthnRequest(r Request, idp IdP, relay string, now time.Time) (Sent, error) {
	where := pick(idp.SSORedirect, idp.SSOPost, r.Post)
	root := message("AuthnRequest", r.ID, where.address, sp.EntityID, now)
	root.CreateAttr("ProtocolBinding", bindingPost)
	root.CreateAttr("AssertionConsumerServiceURL", sp.ACS)
	if r.ForceAuthn {
		root.CreateAttr("ForceAuthn", "true")
	}
	if r.Subject != "" {
		below(below(root, "saml:Subject"), "saml:NameID", "Format", FormatUnspecified).SetText(r.Subject)
	}
	policy := below(root, "samlp:NameIDPolicy", "AllowCreate", "true") // or who comes for the first time is refused (SAML core 3.4.1.1)
	if r.NameIDFormat != "" {
		policy.CreateAttr("Format", r.NameIDFormat)
	}
	if len(r.Context) > 0 {
		context := below(root, "samlp:RequestedAuthnContext", "Comparison", "exact")
		for _, class := range r.Context {
			below(context, "saml:AuthnContextClassRef").SetText(class)
		}
	}
	return sp.send(root, where, "SAMLRequest", relay, sp.SignRequests || idp.WantSigned)
}

// message is the root of a message to a provider, with what all of them have.
func message(tag, id, destination, issuer string, now time.Time) *etree.Element {
	root := element("samlp:"+tag, "xmlns:samlp", nsProtocol, "xmlns:saml", nsAssertion,
		"ID", id, "Version", "2.0", "IssueInstant", stamp(now), "Destination", destination)
	below(root, "saml:Issuer").SetText(issuer)
	return root
}

// An endpoint is where a message goes, and by which binding.
type endpoint struct {
	address string
	post    bool
}

func pick(redirect, post string, preferPost bool) endpoint {
	if redirect == "" || preferPost && post != "" {
		return endpoint{post, true}
	}
	return endpoint{redirect, false}
}

// send puts a message into the form of its binding. field is SAMLRequest or
// SAMLResponse.
func (sp SP) send(root *etree.Element, to endpoint, field, relay string, signed bool) (Sent, error) {
	if to.address == "" || len(relay) > 80 || attr(root, "ID") == "" {
		return Sent{}, errors.New("send a SAML message: no address, no ID, or a relay state of more than 80 bytes")
	}
	if !to.post {
		return sp.redirect(root, to.address, field, relay, signed)
	}
	if signed {
		if err := sp.sign(root); err != nil {
			return Sent{}, err
		}
	}
	raw, err := serialize(root)
	if err != nil {
		return Sent{}, err
	}
	form := &Form{Action: to.address, RelayState: relay}
	if encoded := base64.StdEncoding.EncodeToString(raw); field == "SAMLRequest" {
		form.SAMLRequest = encoded
	} else {
		form.SAMLResponse = encoded
	}
	return Sent{Form: form}, nil
}

// redirect writes the address of the redirect binding (SAML bindings 3.4.4).
func (sp SP) redirect(root *etree.Element, address, field, relay string, signed bool) (Sent, error) {
	raw, err := serialize(root)
	if err != nil {
		return Sent{}, err
	}
	query := field + "=" + url.QueryEscape(deflate(raw))
	if relay != "" {
		query += "&RelayState=" + url.QueryEscape(relay)
	}
	if signed {
		query += "&SigAlg=" + url.QueryEscape(rsaSHA256)
		value, err := sp.signQuery(query)
		if err != nil {
			return Sent{}, err
		}
		query += "&Signature=" + url.QueryEscape(value)
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return Sent{Redirect: address + separator + query}, nil
}

// deflaters are used again: each is most of a megabyte.
var deflaters = sync.Pool{New: func() any {
	writer, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic(fmt.Sprintf("samlxml: the level of compression: %v", err))
	}
	return writer
}}

func deflate(raw []byte) string {
	var packed bytes.Buffer
	writer := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(writer)
	writer.Reset(&packed)
	_, _ = writer.Write(raw) // to memory
	_ = writer.Close()
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}
