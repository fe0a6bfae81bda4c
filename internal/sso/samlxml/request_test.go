package samlxml_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// unpacked is the message inside an address of the redirect binding.
func unpacked(t *testing.T, address, field string) []byte {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(u.Query().Get(field))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func theirs() samlxml.IdP {
	return samlxml.IdP{EntityID: idpID, SSORedirect: sso + "?tenant=1", SSOPost: sso + "/post", SLORedirect: "https://idp.test/slo", SLOPost: "https://idp.test/slo/post", Certificates: expect().IdP.Certificates}
}

func TestAuthnRequest(t *testing.T) {
	t.Parallel()
	sp := provider()
	sp.SignRequests = true
	r := samlxml.Request{
		ID: "_1", ForceAuthn: true, NameIDFormat: samlxml.FormatPersistent, Context: []string{"urn:a", "urn:b"}, Subject: `al"i<ce`,
	}
	read := func(t *testing.T, raw []byte, destination string) {
		t.Helper()
		var got saml.AuthnRequest
		if err := xml.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != "_1" || got.Version != "2.0" || got.Issuer.Value != spID || got.Destination != destination || !got.IssueInstant.Equal(now) ||
			got.AssertionConsumerServiceURL != acs || !*got.ForceAuthn || *got.NameIDPolicy.Format != samlxml.FormatPersistent ||
			got.Subject.NameID.Value != `al"i<ce` || got.ProtocolBinding != saml.HTTPPostBinding {
			t.Errorf("%+v", got)
		}
		if !bytes.Contains(raw, []byte("<saml:AuthnContextClassRef>urn:a</saml:AuthnContextClassRef><saml:AuthnContextClassRef>urn:b<")) {
			t.Errorf("no contexts: %s", raw)
		}
	}
	t.Run("by redirect", func(t *testing.T) {
		sent, err := sp.AuthnRequest(r, theirs(), "relay&x", now)
		if err != nil || sent.Form != nil {
			t.Fatal(sent, err)
		}
		read(t, unpacked(t, sent.Redirect, "SAMLRequest"), sso+"?tenant=1")
		_, query, _ := strings.Cut(sent.Redirect, "?tenant=1&")
		text, signature, _ := strings.Cut(query, "&Signature=")
		signature, _ = url.QueryUnescape(signature)
		value, _ := base64.StdEncoding.DecodeString(signature)
		if err := rsa.VerifyPKCS1v15(ours().key.Public().(*rsa.PublicKey), crypto.SHA256, sum(crypto.SHA256, []byte(text)), value); err != nil {
			t.Error(err)
		}
		if u, _ := url.Parse(sent.Redirect); u.Query().Get("RelayState") != "relay&x" || u.Query().Get("SigAlg") != dsig.RSASHA256SignatureMethod {
			t.Errorf("%s", sent.Redirect)
		}
	})
	t.Run("by form", func(t *testing.T) {
		posted := r
		posted.Post = true
		sent, err := sp.AuthnRequest(posted, theirs(), "relay", now)
		if err != nil || sent.Redirect != "" || sent.Form.Action != sso+"/post" || sent.Form.RelayState != "relay" {
			t.Fatal(sent, err)
		}
		raw, err := base64.StdEncoding.DecodeString(sent.Form.SAMLRequest)
		if err != nil {
			t.Fatal(err)
		}
		read(t, raw, sso+"/post")
		root := parse(string(raw))
		if root.ChildElements()[1].Tag != "Signature" {
			t.Error("the signature is not where the schema has it")
		}
		check := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: certificates(ours())})
		check.Clock = dsig.NewFakeClockAt(now)
		if _, err := check.Validate(root); err != nil {
			t.Error(err)
		}
	})
	t.Run("unsigned where nobody wants it", func(t *testing.T) {
		sent, err := provider().AuthnRequest(r, theirs(), "", now)
		if err != nil || strings.Contains(sent.Redirect, "Signature=") || strings.Contains(sent.Redirect, "RelayState=") {
			t.Error(sent, err)
		}
	})
	t.Run("signed where the provider wants it", func(t *testing.T) {
		to := theirs()
		to.WantSigned = true
		if sent, err := provider().AuthnRequest(r, to, "", now); err != nil || !strings.Contains(sent.Redirect, "Signature=") {
			t.Error(sent, err)
		}
	})
	t.Run("by the only binding", func(t *testing.T) {
		to := theirs()
		to.SSORedirect = ""
		if sent, err := sp.AuthnRequest(r, to, "", now); err != nil || sent.Form == nil {
			t.Error(sent, err)
		}
		to.SSORedirect, to.SSOPost = sso, ""
		posted := r
		posted.Post = true
		if sent, err := sp.AuthnRequest(posted, to, "", now); err != nil || sent.Redirect == "" {
			t.Error(sent, err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		keyless, ec := sp, sp
		keyless.Keys = nil
		ec.Keys = []samlxml.Key{{Private: idpEC().key, Certificate: idpEC().cert.Raw}}
		for name, try := range map[string]func() (samlxml.Sent, error){
			"a long relay state": func() (samlxml.Sent, error) { return sp.AuthnRequest(r, theirs(), strings.Repeat("a", 81), now) },
			"no address":         func() (samlxml.Sent, error) { return sp.AuthnRequest(r, samlxml.IdP{}, "", now) },
			"no ID":              func() (samlxml.Sent, error) { return sp.AuthnRequest(samlxml.Request{}, theirs(), "", now) },
			"no key":             func() (samlxml.Sent, error) { return keyless.AuthnRequest(r, theirs(), "", now) },
			"a key of ECDSA":     func() (samlxml.Sent, error) { return ec.AuthnRequest(r, theirs(), "", now) },
		} {
			if sent, err := try(); err == nil {
				t.Errorf("%s: %+v", name, sent)
			}
		}
	})
}

func TestNewID(t *testing.T) {
	t.Parallel()
	a, b := samlxml.NewID(), samlxml.NewID()
	if a == b || !regexp.MustCompile(`^_[0-9a-f]{32}$`).MatchString(a) {
		t.Errorf("%s, %s", a, b)
	}
}

// onlyUs is the list of services of the provider that others wrote.
type onlyUs struct{ descriptor saml.EntityDescriptor }

func (o onlyUs) GetServiceProvider(_ *http.Request, id string) (*saml.EntityDescriptor, error) {
	if id != o.descriptor.EntityID {
		return nil, os.ErrNotExist
	}
	return &o.descriptor, nil
}

func (o onlyUs) GetSession(http.ResponseWriter, *http.Request, *saml.IdpAuthnRequest) *saml.Session {
	return &saml.Session{
		ID: "1", CreateTime: time.Now(), ExpireTime: time.Now().Add(time.Hour), Index: "_index",
		NameID: "alice", UserName: "alice", UserEmail: "alice@acme.test", Groups: []string{"staff", "admins"},
	}
}

// A provider that others wrote takes our metadata and our request, and we take
// its metadata and its answer. It uses the real clock.
func TestProviderOfOthers(t *testing.T) {
	t.Parallel()
	their := newIdentity(2048, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for name, sp := range map[string]samlxml.SP{
		"encrypted": {EntityID: spID, ACS: acs, SLO: slo, Keys: provider().Keys, SignRequests: true},
		"plain":     {EntityID: spID, ACS: acs},
	} {
		for _, post := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				raw, err := sp.Metadata()
				if err != nil {
					t.Fatal(err)
				}
				var us onlyUs
				if err := xml.Unmarshal(raw, &us.descriptor); err != nil {
					t.Fatal(err)
				}
				address := url.URL{Scheme: "https", Host: "idp.test", Path: "/sso"}
				server := &saml.IdentityProvider{
					Key: their.key, Certificate: their.cert, MetadataURL: url.URL{Scheme: "https", Host: "idp.test", Path: "/metadata"}, SSOURL: address,
					ServiceProviderProvider: us, SessionProvider: us, Logger: log.New(io.Discard, "", 0), SignatureMethod: dsig.RSASHA256SignatureMethod,
				}
				raw, err = xml.Marshal(server.Metadata())
				if err != nil {
					t.Fatal(err)
				}
				read, err := samlxml.ParseMetadata(raw, samlxml.MetadataRules{Now: time.Now()})
				if err != nil {
					t.Fatal(err)
				}
				id, begun := samlxml.NewID(), time.Now()
				sent, err := sp.AuthnRequest(samlxml.Request{ID: id, Post: post, NameIDFormat: samlxml.FormatPersistent}, read, "relay", begun)
				if err != nil {
					t.Fatal(err)
				}
				request := httptest.NewRequest(http.MethodGet, address.String(), nil)
				if sent.Form != nil {
					form := url.Values{"SAMLRequest": {sent.Form.SAMLRequest}, "RelayState": {sent.Form.RelayState}}
					request = httptest.NewRequest(http.MethodPost, sent.Form.Action, strings.NewReader(form.Encode()))
					request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				} else {
					request.URL, _ = url.Parse(sent.Redirect)
				}
				answer := httptest.NewRecorder()
				server.ServeSSO(answer, request)
				match := regexp.MustCompile(`name="SAMLResponse" value="([^"]+)"`).FindStringSubmatch(answer.Body.String())
				if match == nil {
					t.Fatalf("no response: %d %s", answer.Code, answer.Body)
				}
				message, err := samlxml.DecodePost(html.UnescapeString(match[1]), "relay", true)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := samlxml.InResponseTo(message.XML); err != nil || got != id {
					t.Errorf("in response to %q, %v", got, err)
				}
				got, _, err := samlxml.Verify(message.XML, samlxml.Expect{
					SP: sp, IdP: read, RequestID: id, RequestedAt: begun, Now: time.Now(), Skew: time.Minute,
					RequireEncrypted: name == "encrypted", RequireResponseSigned: true, RequireAssertionSigned: true,
				})
				if err != nil {
					fault, _ := errors.AsType[*samlxml.Fault](err)
					t.Fatalf("%v\n%+v\n%s", err, fault, message.XML)
				}
				if got.NameID != "alice" || got.SessionIndex != "_index" || got.InResponseTo != id || len(got.Attributes) == 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}
