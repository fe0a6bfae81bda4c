package testidp_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/coreos/go-oidc/v3/oidc"
	dsig "github.com/russellhaering/goxmldsig"
	"golang.org/x/net/html"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/testidp"
	"github.com/cardea-id/cardea/internal/web"
)

const acs = "https://shop.example.com/saml/1/acs"

// key is made once: an RSA key takes a while.
var key = sync.OnceValues(func() (testidp.Key, error) { return testidp.NewKey(time.Now()) })

// provider is a running test identity provider.
type provider struct {
	*httptest.Server
	service *testidp.Service
}

func start(t *testing.T) provider {
	t.Helper()
	p := provider{service: &testidp.Service{Now: time.Now, Key: key, View: func(http.ResponseWriter, *http.Request) page.View { return page.View{} }}}
	router := &web.Router{}
	p.Server = httptest.NewServer(router)
	t.Cleanup(p.Close)
	p.service.Origin = func(context.Context, string) (string, error) { return p.URL, nil }
	p.service.Mount(router)
	return p
}

func (p provider) get(t *testing.T, path string) string {
	t.Helper()
	answer, err := p.Client().Get(p.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	return body(t, answer)
}

func body(t *testing.T, answer *http.Response) string {
	t.Helper()
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%d: %s %v", answer.StatusCode, text, err)
	}
	return string(text)
}

// fields are the inputs of a page, of radio buttons the one that is chosen.
func fields(t *testing.T, text string) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	out := url.Values{}
	for n := range doc.Descendants() {
		if n.Data != "input" {
			continue
		}
		a := map[string]string{}
		for _, attribute := range n.Attr {
			a[attribute.Key] = attribute.Val
		}
		if _, checked := a["checked"]; a["type"] != "radio" || checked {
			out.Set(a["name"], a["value"])
		}
	}
	return out
}

// respond signs Ann in as a browser does, and returns the answer that goes to the
// service.
func (p provider) respond(t *testing.T, fault string) (*etree.Document, url.Values) {
	t.Helper()
	request := `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_request" AssertionConsumerServiceURL="` + acs + `"><saml:Issuer>https://shop.example.com/saml/1/metadata</saml:Issuer></samlp:AuthnRequest>`
	asked, err := p.Client().PostForm(p.URL+"/dev/idp/saml", url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(request))}, "RelayState": {"r3lay"}})
	if err != nil {
		t.Fatal(err)
	}
	form := fields(t, body(t, asked))
	form.Set("fault", fault)
	answered, err := p.Client().PostForm(p.URL+"/dev/idp/saml/answer", form)
	if err != nil {
		t.Fatal(err)
	}
	sent := fields(t, body(t, answered))
	text, err := base64.StdEncoding.DecodeString(sent.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(text); err != nil {
		t.Fatal(err)
	}
	return doc, sent
}

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func valid(t *testing.T, e *etree.Element) error {
	t.Helper()
	validation := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{certificate(t)}})
	_, err := validation.Validate(e.Copy())
	return err
}

// Browsers load the sheet, script and picture that the page names.
func TestPageLoadsWhatItNames(t *testing.T) {
	t.Parallel()
	p := start(t)
	got, err := p.Client().Get(p.URL + "/dev/idp")
	if err != nil {
		t.Fatal(err)
	}
	text, policy := body(t, got), got.Header.Get("Content-Security-Policy")
	for mark, directive := range map[string]string{`rel="icon"`: "img-src 'self'", `rel="stylesheet"`: "style-src 'self'"} {
		if !strings.Contains(text, mark) || !strings.Contains(policy, directive) {
			t.Errorf("%s, and a policy of %q", mark, policy)
		}
	}
}

func TestSAMLAnswerIsSigned(t *testing.T) {
	t.Parallel()
	p := start(t)
	doc, sent := p.respond(t, "")
	if sent.Get("RelayState") != "r3lay" {
		t.Errorf("the relay state is %q", sent.Get("RelayState"))
	}
	if err := valid(t, doc.Root()); err != nil {
		t.Errorf("the response: %v", err)
	}
	if err := valid(t, doc.Root().SelectElement("Assertion")); err != nil {
		t.Errorf("the assertion: %v", err)
	}
	for path, want := range map[string]string{
		"//Audience": "https://shop.example.com/saml/1/metadata", "//Attribute[@Name='email']/AttributeValue": "ann@acme.test", "//Attribute[@Name='groups']/AttributeValue": "Engineering",
	} {
		if got := doc.FindElement(path); got == nil || got.Text() != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	if got := doc.FindElement("//SubjectConfirmationData"); got.SelectAttrValue("Recipient", "") != acs || got.SelectAttrValue("InResponseTo", "") != "_request" {
		t.Errorf("the confirmation is %v", got.Attr)
	}
}

func TestSAMLFaultsAreMade(t *testing.T) {
	t.Parallel()
	p := start(t)
	right, _ := p.respond(t, "")
	for _, f := range testidp.Faults {
		if !f.SAML {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			doc, _ := p.respond(t, f.Name)
			broken := slices.Contains([]string{"unsigned", "key", "altered", "sha1"}, f.Name)
			if err := valid(t, doc.Root()); f.Name != "sha1" && (err != nil) != broken {
				t.Errorf("the signature: %v", err)
			}
			if shape(doc) == shape(right) && !broken {
				t.Error("nothing is wrong with it")
			}
		})
	}
}

// shape is an answer without what is different in each.
func shape(doc *etree.Document) string {
	doc = doc.Copy()
	for _, e := range doc.FindElements("//Signature") {
		e.Parent().RemoveChild(e)
	}
	for _, e := range doc.FindElements("//*") {
		e.RemoveAttr("ID")
		e.RemoveAttr("SessionIndex")
		for i, a := range e.Attr {
			if at, err := time.Parse("2006-01-02T15:04:05.000Z", a.Value); err == nil {
				e.Attr[i].Value = time.Until(at).Round(time.Minute).String()
			}
		}
	}
	text, err := doc.WriteToString()
	if err != nil {
		return err.Error()
	}
	return text
}

func TestMetadataHasTheCertificate(t *testing.T) {
	t.Parallel()
	p := start(t)
	text := p.get(t, "/dev/idp/metadata")
	if !strings.Contains(text, base64.StdEncoding.EncodeToString(certificate(t).Raw)) || !strings.Contains(text, `entityID="`+p.URL+`/dev/idp/metadata"`) {
		t.Error(text)
	}
}

// signIn goes through an authorization and returns what the token endpoint answers.
func (p provider) signIn(t *testing.T, fault string) (idToken string, callback url.Values) {
	t.Helper()
	const verifier = "a-verifier-that-is-long-enough-for-anybody-000"
	sum := sha256.Sum256([]byte(verifier))
	asked := url.Values{"response_type": {"code"}, "client_id": {"c1"}, "redirect_uri": {acs}, "state": {"st"}, "nonce": {"n0nce"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	form := fields(t, p.get(t, "/dev/idp/oidc/authorize?"+asked.Encode()))
	form.Set("fault", fault)
	client := *p.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.PostForm(p.URL+"/dev/idp/oidc/answer", form)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	to, err := answer.Location()
	if err != nil {
		t.Fatal(err)
	}
	if to.Query().Get("code") == "" {
		return "", to.Query()
	}
	tokens, err := p.Client().PostForm(p.URL+"/dev/idp/oidc/token", url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "redirect_uri": {acs}, "code_verifier": {verifier}})
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(body(t, tokens)), &out); err != nil {
		t.Fatal(err)
	}
	return out.IDToken, to.Query()
}

func TestOpenIDAnswersAndFaults(t *testing.T) {
	t.Parallel()
	p := start(t)
	op, err := oidc.NewProvider(t.Context(), p.URL+"/dev/idp/oidc")
	if err != nil {
		t.Fatal(err)
	}
	judge := op.Verifier(&oidc.Config{ClientID: "c1"})
	for _, f := range append([]testidp.Fault{{OIDC: true}}, testidp.Faults...) {
		if !f.OIDC {
			continue
		}
		t.Run("fault "+f.Name, func(t *testing.T) {
			raw, back := p.signIn(t, f.Name)
			if back.Get("state") != "st" {
				t.Errorf("the state is %q", back.Get("state"))
			}
			if f.Name == "denied" {
				if back.Get("error") != "access_denied" {
					t.Errorf("got %v", back)
				}
				return
			}
			token, err := judge.Verify(t.Context(), raw)
			if refused := slices.Contains([]string{"expired", "audience", "issuer", "unsigned", "key", "altered"}, f.Name); refused != (err != nil) {
				t.Fatalf("judged: %v", err)
			} else if refused {
				return
			}
			var said struct{ Email string }
			if err := token.Claims(&said); err != nil {
				t.Fatal(err)
			}
			if (token.Nonce != "n0nce") != (f.Name == "request") || (said.Email != "ann@acme.test") != (f.Name == "email") || (token.Subject == "") != (f.Name == "subject") {
				t.Errorf("%s: nonce %q, e-mail %q, subject %q", f.Name, token.Nonce, said.Email, token.Subject)
			}
		})
	}
}

func TestKeyIsReadBack(t *testing.T) {
	t.Parallel()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := testidp.ParseKey(text)
	if err != nil || string(again.Certificate) != string(k.Certificate) {
		t.Errorf("read back another: %v", err)
	}
	if _, err := testidp.ParseKey([]byte("nonsense")); err == nil {
		t.Error("nonsense is read as a key")
	}
}
