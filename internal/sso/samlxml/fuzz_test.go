package samlxml_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/google/go-cmp/cmp"
	"github.com/mattermost/xml-roundtrip-validator"
	dsig "github.com/russellhaering/goxmldsig"
)

// Each of the targets holds what has to be true of any input: it ends within a
// second, a refusal has a cause of the list, and nothing is read but what was
// signed.

func known(t *testing.T, err error) {
	t.Helper()
	if err != nil && !slices.Contains(samlxml.Causes(), cause(t, err)) {
		t.Fatalf("a cause that is not on the list: %v", err)
	}
}

func timed(t *testing.T) {
	start := time.Now()
	t.Cleanup(func() {
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func FuzzVerify(f *testing.F) {
	for _, m := range []mode{byNobody, byResponse, byAssertion, byBoth} {
		f.Add(write(signed(genuine(), m, signer{})))
	}
	f.Add(write(encrypted(signed(genuine(), byAssertion, signer{}), sealing{})))
	f.Add(write(signed(hidden(f, sealing{}, nil), byAssertion, signer{})))
	f.Add([]byte(`<a:b xmlns:a="x" c:d="e"><f/></a:b>`))
	e := expect()
	f.Fuzz(func(t *testing.T, raw []byte) {
		timed(t)
		got, _, err := samlxml.Verify(raw, e)
		known(t, err)
		if err == nil && !cmp.Equal(got, alice()) {
			t.Fatalf("accepted, with other content: %s", cmp.Diff(alice(), got))
		}
		if err == nil {
			if wrong := validator.Validate(bytes.NewReader(raw)); wrong != nil {
				t.Fatalf("accepted, although %v", wrong)
			}
		}
	})
}

// What is read at all survives a round trip through encoding/xml, by a judge
// that others wrote.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`<a b="c">d</a>`, `<a:b xmlns:a="x" xmlns="y"><c d:e="f"/></a:b>`, `<a xml:lang="de" xsi:type="xs:string">&lt;&#13;</a>`, `<:a/>`, `<a :b="c"/>`, `<a><![CDATA[b]]></a>`, "<a>\r\n</a>",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		timed(t)
		_, err := samlxml.InResponseTo(raw)
		known(t, err)
		if err != nil {
			return
		}
		if wrong := validator.Validate(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))); wrong != nil {
			t.Fatalf("read, although %v", wrong)
		}
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(described()))
	f.Add([]byte(described("md:", "")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		timed(t)
		got, err := samlxml.ParseMetadata(raw, samlxml.MetadataRules{Now: now})
		known(t, err)
		if err != nil {
			return
		}
		if got.EntityID == "" || len(got.Certificates) == 0 || got.SSOPost+got.SSORedirect == "" {
			t.Fatalf("not enough to sign anybody in: %+v", got)
		}
		for _, address := range []string{got.SSOPost, got.SSORedirect, got.SLOPost, got.SLORedirect} {
			if address != "" && samlxml.CheckEndpoint(address, false) != nil {
				t.Fatalf("the address %q", address)
			}
		}
	})
}

func FuzzDecodeRedirect(f *testing.F) {
	f.Add(query("SAMLRequest", write(logoutRequest()), "relay", dsig.RSASHA256SignatureMethod, idp()))
	f.Add(query("SAMLResponse", write(logoutResponse()), "", dsig.RSASHA256SignatureMethod, idp()))
	f.Add("SAMLRequest=%2B&SigAlg=&Signature=AA==")
	e := logoutExpect()
	f.Fuzz(func(t *testing.T, text string) {
		timed(t)
		m, err := samlxml.DecodeRedirect(text)
		known(t, err)
		if err != nil {
			return
		}
		l, _, err := samlxml.VerifyLogoutRequest(m, e)
		known(t, err)
		if err == nil && l.NameID != "alice" {
			t.Fatalf("accepted, with other content: %+v", l)
		}
		_, _, err = samlxml.VerifyLogoutResponse(m, e)
		known(t, err)
	})
}

func FuzzLogout(f *testing.F) {
	for _, root := range []func() []byte{
		func() []byte { r := logoutRequest(); signer{by: idp()}.sign(r); return write(r) },
		func() []byte { r := logoutResponse(); signer{by: idp()}.sign(r); return write(r) },
		func() []byte { return write(logoutRequest()) },
	} {
		f.Add(root())
	}
	e := logoutExpect()
	f.Fuzz(func(t *testing.T, raw []byte) {
		timed(t)
		m := samlxml.Message{XML: raw}
		l, _, err := samlxml.VerifyLogoutRequest(m, e)
		known(t, err)
		if err == nil && (l.NameID != "alice" || l.ID != "_logout") {
			t.Fatalf("accepted, with other content: %+v", l)
		}
		r, _, err := samlxml.VerifyLogoutResponse(m, e)
		known(t, err)
		if err == nil && r.InResponseTo != "_request" {
			t.Fatalf("accepted, with other content: %+v", r)
		}
	})
}
