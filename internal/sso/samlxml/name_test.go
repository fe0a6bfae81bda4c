package samlxml_test

import (
	"crypto/rsa"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// hide puts the name of a person, as it is or as edit makes it, into an encrypted one.
func hide(parent *etree.Element, s sealing, edit func(plain string) string) *etree.Element {
	name := parent.SelectElement("NameID")
	at := name.Index()
	parent.RemoveChild(name)
	name.CreateAttr("xmlns:saml", nsA)
	plain := string(write(name))
	if edit != nil {
		plain = edit(plain)
	}
	sealed := s.seal([]byte(plain))
	sealed.Tag = "EncryptedID"
	parent.InsertChildAt(at, sealed)
	return sealed
}

// hidden is an honest response whose name is encrypted.
func hidden(t testing.TB, s sealing, edit func(plain string) string) *etree.Element {
	t.Helper()
	root := genuine()
	hide(at(t, root, "Assertion/Subject"), s, edit)
	return root
}

func TestEncryptedNameIsAccepted(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]sealing{
		"AES-GCM":                       {},
		"AES-CBC, under the signature":  {content: nsE + "aes256-cbc"},
		"OAEP of 2009":                  {transport: nsE11 + "rsa-oaep", digest: nsE + "sha256", mask: nsE11 + "mgf1sha256"},
		"for the next of our keys":      {to: oursNext().key.Public().(*rsa.PublicKey)},
		"AES-CBC, for the next of ours": {content: nsE + "aes128-cbc", to: oursNext().key.Public().(*rsa.PublicKey)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted(t, write(signed(hidden(t, s, nil), byAssertion, signer{})), expect(), alice())
			accepted(t, write(signed(hidden(t, s, nil), byResponse, signer{})), expect(), alice())
			inside := encrypted(signed(hidden(t, s, nil), byAssertion, signer{}), sealing{})
			accepted(t, write(inside), expect(), alice())
			wish := logoutRequest()
			hide(wish, s, nil)
			got, _, err := samlxml.VerifyLogoutRequest(byPost(t, wish, signer{}), logoutExpect())
			if err != nil || got.NameID != "alice" || got.SPNameQualifier != spID {
				t.Errorf("of a logout: %+v, %v", got, err)
			}
		})
	}
}

func TestEncryptedNameIsRefused(t *testing.T) {
	t.Parallel()
	add := func(text string) func(*etree.Element) {
		return func(subject *etree.Element) { subject.AddChild(parse(text)) }
	}
	plain := `<saml:NameID xmlns:saml="` + nsA + `">admin</saml:NameID>`
	for name, c := range map[string]struct {
		sealing sealing
		inside  func(string) string
		edit    func(subject *etree.Element)
		want    samlxml.Cause
	}{
		"for another service":       {sealing{to: attacker().key.Public().(*rsa.PublicKey)}, nil, nil, samlxml.CauseEncryptedKey},
		"for another service, CBC":  {sealing{content: nsE + "aes256-cbc", to: attacker().key.Public().(*rsa.PublicKey)}, nil, nil, samlxml.CauseEncryptedKey},
		"3DES":                      {sealing{content: nsE + "tripledes-cbc"}, nil, nil, samlxml.CauseAlgorithm},
		"RSA 1.5":                   {sealing{transport: nsE + "rsa-1_5"}, nil, nil, samlxml.CauseAlgorithm},
		"a plain one beside":        {sealing{}, nil, add(plain), samlxml.CauseNoNameID},
		"two":                       {sealing{}, nil, func(s *etree.Element) { s.AddChild(s.SelectElement("EncryptedID").Copy()) }, samlxml.CauseNoNameID},
		"nothing in it":             {sealing{}, nil, func(s *etree.Element) { s.SelectElement("EncryptedID").Child = nil }, samlxml.CauseMalformed},
		"a BaseID inside":           {sealing{}, func(string) string { return `<saml:BaseID xmlns:saml="` + nsA + `"/>` }, nil, samlxml.CauseNoNameID},
		"an assertion inside":       {sealing{}, func(string) string { return `<saml:Assertion xmlns:saml="` + nsA + `"/>` }, nil, samlxml.CauseNoNameID},
		"two inside":                {sealing{}, func(p string) string { return p + plain }, nil, samlxml.CauseMalformed},
		"one in another":            {sealing{}, func(p string) string { return strings.Replace(plain, "admin", p, 1) }, nil, samlxml.CauseNoNameID},
		"an empty one inside":       {sealing{}, func(p string) string { return strings.Replace(p, ">alice<", "> <", 1) }, nil, samlxml.CauseNoNameID},
		"a DOCTYPE inside":          {sealing{}, func(p string) string { return "<!DOCTYPE a>" + p }, nil, samlxml.CauseDoctype},
		"a comment inside":          {sealing{}, func(p string) string { return strings.Replace(p, ">alice<", ">alice<!-- -->.b<", 1) }, nil, samlxml.CauseMalformed},
		"a name of another service": {sealing{}, func(p string) string { return strings.Replace(p, spID, "https://other.test", 1) }, nil, samlxml.CauseQualifier},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := hidden(t, c.sealing, c.inside)
			if c.edit != nil {
				c.edit(at(t, root, "Assertion/Subject"))
			}
			refused(t, write(signed(root, byAssertion, signer{})), expect(), c.want)
		})
	}
	t.Run("exchanged under the signature", func(t *testing.T) {
		t.Parallel()
		root := signed(genuine(), byAssertion, signer{})
		hide(at(t, root, "Assertion/Subject"), sealing{}, nil)
		refused(t, write(root), expect(), samlxml.CauseSignature)
	})
}

// Who comes for the first time has no name for us yet at the provider.
func TestRequestsLetTheProviderMakeANewName(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", samlxml.FormatPersistent} {
		sent, err := provider().AuthnRequest(samlxml.Request{ID: "_1", NameIDFormat: format}, theirs(), "", now)
		if err != nil {
			t.Fatal(err)
		}
		policy := parse(string(unpacked(t, sent.Redirect, "SAMLRequest"))).SelectElement("NameIDPolicy")
		if policy == nil || policy.SelectAttrValue("AllowCreate", "") != "true" || policy.SelectAttrValue("Format", "") != format {
			t.Errorf("asked for the format %q by %v", format, policy)
		}
	}
}

// A provider may take answers elsewhere than requests (SAML metadata 2.2.2).
func TestAnswersOfLogoutGoWhereTheProviderTakesThem(t *testing.T) {
	t.Parallel()
	text := described(`Location="https://idp.test/slo"/>`, `Location="https://idp.test/slo" ResponseLocation="https://idp.test/slo/answer"/>`)
	idp, err := samlxml.ParseMetadata([]byte(text), samlxml.MetadataRules{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := provider().LogoutResponse(samlxml.LogoutResponse{ID: "_1", InResponseTo: "_2", Success: true}, idp, "", now)
	if u, _ := url.Parse(answer.Redirect); err != nil || u.Path != "/slo/answer" || parse(string(unpacked(t, answer.Redirect, "SAMLResponse"))).SelectAttrValue("Destination", "") != "https://idp.test/slo/answer" {
		t.Errorf("answered at %s, %v", answer.Redirect, err)
	}
	wish, err := provider().LogoutRequest(samlxml.LogoutRequest{ID: "_1", NameID: "alice"}, idp, "", now)
	if u, _ := url.Parse(wish.Redirect); err != nil || u.Path != "/slo" {
		t.Errorf("asked at %s, %v", wish.Redirect, err)
	}
	idp.SLORedirect, idp.SLOPost = "", "https://idp.test/slo/post"
	answer, err = provider().LogoutResponse(samlxml.LogoutResponse{ID: "_1", InResponseTo: "_2", Success: true}, idp, "", now)
	if err != nil || answer.Form == nil || answer.Form.Action != idp.SLOPost {
		t.Errorf("answered by %+v, %v", answer, err)
	}
	if raw, err := base64.StdEncoding.DecodeString(answer.Form.SAMLResponse); err != nil || len(raw) == 0 {
		t.Error(err)
	}
	if _, err := samlxml.ParseMetadata([]byte(strings.Replace(text, "https://idp.test/slo/answer", "javascript:alert(1)", 1)), samlxml.MetadataRules{Now: now}); err == nil {
		t.Error("an address that runs scripts is taken")
	}
}
