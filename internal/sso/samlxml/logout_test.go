package samlxml_test

import (
	"bytes"
	"compress/flate"
	"crypto/x509"
	"encoding/xml"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/crewjam/saml"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

func logoutExpect() samlxml.LogoutExpect {
	return samlxml.LogoutExpect{SP: provider(), IdP: expect().IdP, RequestID: "_request", Now: now, Skew: 10 * time.Second}
}

func logoutRequest() *etree.Element {
	return parse(`<samlp:LogoutRequest xmlns:samlp="` + nsP + `" xmlns:saml="` + nsA + `" ID="_logout" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="` + slo + `" NotOnOrAfter="2026-03-01T12:02:00Z">
  <saml:Issuer>` + idpID + `</saml:Issuer>
  <saml:NameID Format="` + samlxml.FormatPersistent + `" SPNameQualifier="` + spID + `">alice</saml:NameID>
  <samlp:SessionIndex>_one</samlp:SessionIndex>
  <samlp:SessionIndex>_two</samlp:SessionIndex>
</samlp:LogoutRequest>`)
}

func logoutResponse() *etree.Element {
	return parse(`<samlp:LogoutResponse xmlns:samlp="` + nsP + `" xmlns:saml="` + nsA + `" ID="_logout" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="` + slo + `" InResponseTo="_request">
  <saml:Issuer>` + idpID + `</saml:Issuer>
  <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
</samlp:LogoutResponse>`)
}

// byPost is a message as it comes by the POST binding, signed by somebody.
func byPost(t *testing.T, root *etree.Element, s signer) samlxml.Message {
	t.Helper()
	if s.by.key == nil {
		s.by = idp()
	}
	s.sign(root)
	m, err := samlxml.DecodePost(b64(write(root)), "relay", root.Tag == "LogoutResponse")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func packed(raw []byte) string {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	_, _ = w.Write(raw)
	_ = w.Close()
	return b64(out.Bytes())
}

// query is a message in the address of the redirect binding, signed.
func query(field string, raw []byte, relay, algorithm string, by identity) string {
	text := field + "=" + url.QueryEscape(packed(raw))
	if relay != "" {
		text += "&RelayState=" + relay
	}
	text += "&SigAlg=" + url.QueryEscape(algorithm)
	return text + "&Signature=" + url.QueryEscape(b64(by.value(algorithm)([]byte(text))))
}

func redirected(t *testing.T, text string) samlxml.Message {
	t.Helper()
	m, err := samlxml.DecodeRedirect(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLogoutRequestIsAccepted(t *testing.T) {
	t.Parallel()
	want := samlxml.LogoutRequest{
		ID: "_logout", Issuer: idpID, NameID: "alice", NameIDFormat: samlxml.FormatPersistent, SPNameQualifier: spID,
		SessionIndexes: []string{"_one", "_two"}, NotOnOrAfter: time.Date(2026, 3, 1, 12, 2, 10, 0, time.UTC),
	}
	ec := logoutExpect()
	ec.IdP.Certificates = certificates(idp(), idpEC())
	// Some providers write the escapes of the address in small letters. What was
	// signed is the text.
	lower := "SAMLRequest=" + strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(packed(write(logoutRequest()))), "%2B", "%2b"), "%3D", "%3d") + "&RelayState=a%2fb&SigAlg=" + url.QueryEscape(dsig.RSASHA256SignatureMethod)
	lower += "&Signature=" + url.QueryEscape(b64(idp().value(dsig.RSASHA256SignatureMethod)([]byte(lower))))
	raw := write(logoutRequest())
	for name, c := range map[string]struct {
		message samlxml.Message
		expect  samlxml.LogoutExpect
		relay   string
	}{
		"by form":               {byPost(t, logoutRequest(), signer{}), logoutExpect(), "relay"},
		"by address":            {redirected(t, query("SAMLRequest", raw, "relay", dsig.RSASHA256SignatureMethod, idp())), logoutExpect(), "relay"},
		"without a relay state": {redirected(t, query("SAMLRequest", raw, "", dsig.RSASHA512SignatureMethod, idp())), logoutExpect(), ""},
		"with more parameters":  {redirected(t, "a=b&"+query("SAMLRequest", raw, "relay", dsig.RSASHA256SignatureMethod, idp())+"&c"), logoutExpect(), "relay"},
		"in small escapes":      {redirected(t, lower), logoutExpect(), "a/b"},
		"by ECDSA":              {redirected(t, query("SAMLRequest", raw, "relay", dsig.ECDSASHA256SignatureMethod, idpEC())), ec, "relay"},
	} {
		t.Run(name, func(t *testing.T) {
			got, checks, err := samlxml.VerifyLogoutRequest(c.message, c.expect)
			if err != nil || len(checks) == 0 || c.message.IsResponse || c.message.RelayState != c.relay {
				t.Fatal(c.message.RelayState, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("without an end it is good for five minutes", func(t *testing.T) {
		root := logoutRequest()
		root.RemoveAttr("NotOnOrAfter")
		got, _, err := samlxml.VerifyLogoutRequest(byPost(t, root, signer{}), logoutExpect())
		if err != nil || !got.NotOnOrAfter.Equal(now.Add(-30*time.Second+5*time.Minute+10*time.Second)) {
			t.Error(got, err)
		}
	})
}

func TestLogoutRequestIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit   func(root *etree.Element)
		expect func(*samlxml.LogoutExpect)
		signer signer
		want   samlxml.Cause
	}{
		"signed by another":        {signer: signer{by: attacker()}, want: samlxml.CauseCertificate},
		"signed by SHA-1":          {signer: signer{method: dsig.RSASHA1SignatureMethod}, want: samlxml.CauseAlgorithm},
		"of another provider":      {edit: func(r *etree.Element) { r.SelectElement("Issuer").SetText("https://other.test") }, want: samlxml.CauseIssuer},
		"without an issuer":        {edit: func(r *etree.Element) { r.RemoveChild(r.SelectElement("Issuer")) }, want: samlxml.CauseIssuer},
		"for another connection":   {edit: func(r *etree.Element) { r.CreateAttr("Destination", slo+"/x") }, want: samlxml.CauseDestination},
		"without a destination":    {edit: func(r *etree.Element) { r.RemoveAttr("Destination") }, want: samlxml.CauseDestination},
		"where there is no logout": {expect: func(e *samlxml.LogoutExpect) { e.SP.SLO = "" }, want: samlxml.CauseDestination},
		"over":                     {edit: func(r *etree.Element) { r.CreateAttr("NotOnOrAfter", "2026-03-01T12:00:20Z") }, want: samlxml.CauseExpired},
		"over at a bad moment":     {edit: func(r *etree.Element) { r.CreateAttr("NotOnOrAfter", "soon") }, want: samlxml.CauseConditions},
		"old, without an end": {edit: func(r *etree.Element) {
			r.RemoveAttr("NotOnOrAfter")
			r.CreateAttr("IssueInstant", "2026-03-01T11:55:00Z")
		}, want: samlxml.CauseExpired},
		"of the future":      {edit: func(r *etree.Element) { r.CreateAttr("IssueInstant", "2026-03-01T12:01:00Z") }, want: samlxml.CauseSkew},
		"of no moment":       {edit: func(r *etree.Element) { r.RemoveAttr("IssueInstant") }, want: samlxml.CauseIssueInstant},
		"of no version":      {edit: func(r *etree.Element) { r.RemoveAttr("Version") }, want: samlxml.CauseVersion},
		"without a name":     {edit: func(r *etree.Element) { r.RemoveChild(r.SelectElement("NameID")) }, want: samlxml.CauseNoNameID},
		"with an empty name": {edit: func(r *etree.Element) { r.SelectElement("NameID").SetText(" ") }, want: samlxml.CauseNoNameID},
		"with two names":     {edit: func(r *etree.Element) { r.AddChild(r.SelectElement("NameID").Copy()) }, want: samlxml.CauseNoNameID},
		"without an ID":      {edit: func(r *etree.Element) { r.RemoveAttr("ID") }, want: samlxml.CauseWrapping},
		"an expired certificate": {expect: func(e *samlxml.LogoutExpect) {
			e.IdP.Certificates = []*x509.Certificate{certify(idp().key, years(-2), years(-1))}
		}, want: samlxml.CauseCertificateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, e := logoutRequest(), logoutExpect()
			if c.edit != nil {
				c.edit(root)
			}
			if c.expect != nil {
				c.expect(&e)
			}
			_, _, err := samlxml.VerifyLogoutRequest(byPost(t, root.Copy(), c.signer), e)
			if got := cause(t, err); got != c.want {
				t.Errorf("by form: cause %q, want %q (%v)", got, c.want, err)
			}
			by, want := idp(), c.want
			if c.signer.by.key != nil {
				by, want = c.signer.by, samlxml.CauseSignature // an address brings no certificate to go by
			}
			if name == "without an ID" {
				want = samlxml.CauseMalformed
			}
			m := redirected(t, query("SAMLRequest", write(root), "relay", or(c.signer.method, dsig.RSASHA256SignatureMethod), by))
			_, _, err = samlxml.VerifyLogoutRequest(m, e)
			if got := cause(t, err); got != want {
				t.Errorf("by address: cause %q, want %q (%v)", got, want, err)
			}
		})
	}
	post := func(edit func(root *etree.Element)) samlxml.Message {
		root := logoutRequest()
		signer{by: idp()}.sign(root)
		edit(root)
		m, err := samlxml.DecodePost(b64(write(root)), "", false)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	genuine := query("SAMLRequest", write(logoutRequest()), "relay", dsig.RSASHA256SignatureMethod, idp())
	evil := strings.Replace(string(write(logoutRequest())), "alice", "admin", 1)
	_, signature, _ := strings.Cut(genuine, "&RelayState")
	for name, c := range map[string]struct {
		message samlxml.Message
		want    samlxml.Cause
	}{
		"unsigned by form": {post(func(r *etree.Element) { r.RemoveChild(r.SelectElement("Signature")) }), samlxml.CauseUnsigned},
		"altered by form":  {post(func(r *etree.Element) { r.SelectElement("NameID").SetText("admin") }), samlxml.CauseSignature},
		"wrapped": {post(func(r *etree.Element) {
			bare := r.Copy()
			bare.RemoveChild(bare.SelectElement("Signature"))
			r.SelectElement("Signature").AddChild(bare)
			r.CreateAttr("ID", "_evil")
			r.SelectElement("NameID").SetText("admin")
		}), samlxml.CauseWrapping},
		"a response":          {byPost(t, logoutResponse(), signer{}), samlxml.CauseMalformed},
		"unsigned by address": {redirected(t, "SAMLRequest="+url.QueryEscape(packed(write(logoutRequest())))), samlxml.CauseUnsigned},
		"no method":           {redirected(t, strings.Replace(genuine, "SigAlg", "sigalg", 1)), samlxml.CauseAlgorithm},
		"no signature":        {redirected(t, strings.Replace(genuine, "Signature=", "signature=", 1)), samlxml.CauseUnsigned},
		"an empty signature":  {redirected(t, genuine[:strings.Index(genuine, "&Signature=")]+"&Signature="), samlxml.CauseUnsigned},
		"another message":     {redirected(t, "SAMLRequest="+url.QueryEscape(packed([]byte(evil)))+"&RelayState"+signature), samlxml.CauseSignature},
		"another relay state": {redirected(t, strings.Replace(genuine, "RelayState=relay", "RelayState=evil", 1)), samlxml.CauseSignature},
		"no relay state":      {redirected(t, strings.Replace(genuine, "&RelayState=relay", "", 1)), samlxml.CauseSignature},
		"the method altered":  {redirected(t, strings.Replace(genuine, "rsa-sha256", "rsa-sha512", 1)), samlxml.CauseSignature},
		"HMAC":                {redirected(t, strings.Replace(genuine, "rsa-sha256", "hmac-sha256", 1)), samlxml.CauseAlgorithm},
		"a signature inside that counts for nothing": {redirected(t, "SAMLRequest="+url.QueryEscape(packed(post(func(*etree.Element) {}).XML))), samlxml.CauseUnsigned},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := samlxml.VerifyLogoutRequest(c.message, logoutExpect())
			if got := cause(t, err); got != c.want {
				t.Errorf("cause %q, want %q (%v)", got, c.want, err)
			}
		})
	}
}

func TestLogoutResponse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(root *etree.Element)
		want samlxml.LogoutResponse
		no   samlxml.Cause
	}{
		"success": {want: samlxml.LogoutResponse{Success: true}},
		"partial": {edit: func(r *etree.Element) {
			r.FindElement("./Status/StatusCode").CreateElement("samlp:StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:PartialLogout")
		}, want: samlxml.LogoutResponse{Success: true, Partial: true}},
		"failure": {edit: func(r *etree.Element) {
			r.FindElement("./Status/StatusCode").CreateAttr("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
		}},
		"another request": {edit: func(r *etree.Element) { r.CreateAttr("InResponseTo", "_other") }, no: samlxml.CauseInResponseTo},
		"no request":      {edit: func(r *etree.Element) { r.RemoveAttr("InResponseTo") }, no: samlxml.CauseInResponseTo},
		"no status":       {edit: func(r *etree.Element) { r.RemoveChild(r.SelectElement("Status")) }, no: samlxml.CauseStatusMissing},
		"a request":       {edit: func(r *etree.Element) { r.Tag = "LogoutRequest" }, no: samlxml.CauseMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := logoutResponse()
			if c.edit != nil {
				c.edit(root)
			}
			messages := map[string]samlxml.Message{
				"form":    byPost(t, root.Copy(), signer{}),
				"address": redirected(t, query("SAMLResponse", write(root), "", dsig.RSASHA256SignatureMethod, idp())),
			}
			for binding, m := range messages {
				got, _, err := samlxml.VerifyLogoutResponse(m, logoutExpect())
				if cause := cause(t, err); cause != c.no {
					t.Fatalf("by %s: cause %q, want %q (%v)", binding, cause, c.no, err)
				}
				if c.no != "" {
					continue
				}
				want := c.want
				want.ID, want.Issuer, want.InResponseTo = "_logout", idpID, "_request"
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("by %s: %s", binding, diff)
				}
			}
		})
	}
	t.Run("unsigned", func(t *testing.T) {
		m, _ := samlxml.DecodePost(b64(write(logoutResponse())), "", true)
		if _, _, err := samlxml.VerifyLogoutResponse(m, logoutExpect()); cause(t, err) != samlxml.CauseUnsigned {
			t.Error(err)
		}
	})
}

// Our own messages, as the other side sees them: the roles of the two are swapped.
func TestOwnLogoutMessages(t *testing.T) {
	t.Parallel()
	sp := provider()
	for _, to := range []samlxml.IdP{theirs(), {SLOPost: "https://idp.test/slo"}} {
		them := samlxml.LogoutExpect{
			SP: samlxml.SP{EntityID: idpID, SLO: "https://idp.test/slo"}, IdP: samlxml.IdP{EntityID: spID, Certificates: certificates(ours())}, RequestID: "_theirs", Now: now,
		}
		receive := func(sent samlxml.Sent) samlxml.Message {
			if sent.Form == nil {
				_, text, _ := strings.Cut(sent.Redirect, "?")
				return redirected(t, text)
			}
			m, err := samlxml.DecodePost(sent.Form.SAMLRequest+sent.Form.SAMLResponse, sent.Form.RelayState, sent.Form.SAMLResponse != "")
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		asked := samlxml.LogoutRequest{ID: "_ours", NameID: "a<l>ice", NameIDFormat: samlxml.FormatPersistent, NameQualifier: idpID, SPNameQualifier: spID, SessionIndexes: []string{"_one"}}
		sent, err := sp.LogoutRequest(asked, to, "relay", now)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := samlxml.VerifyLogoutRequest(receive(sent), them)
		asked.Issuer, asked.NotOnOrAfter = spID, now.Add(5*time.Minute)
		if diff := cmp.Diff(asked, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
		var judged saml.LogoutRequest
		if err := xml.Unmarshal(receive(sent).XML, &judged); err != nil || judged.NameID.Value != "a<l>ice" {
			t.Errorf("%+v, %v", judged, err)
		}
		for _, answer := range []samlxml.LogoutResponse{{Success: true}, {Success: true, Partial: true}, {}} {
			answer.ID, answer.InResponseTo, answer.Issuer = "_ours", "_theirs", spID
			sent, err := sp.LogoutResponse(answer, to, "relay", now)
			if err != nil {
				t.Fatal(err)
			}
			m := receive(sent)
			got, _, err := samlxml.VerifyLogoutResponse(m, them)
			if diff := cmp.Diff(answer, got); diff != "" || err != nil || m.RelayState != "relay" || !m.IsResponse {
				t.Error(err, diff)
			}
		}
	}
	if _, err := (samlxml.SP{EntityID: spID}).LogoutRequest(samlxml.LogoutRequest{ID: "_1", NameID: "a"}, theirs(), "", now); err == nil {
		t.Error("a logout request without a signature")
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := url.QueryEscape(packed(write(logoutRequest())))
	bomb := url.QueryEscape(packed(bytes.Repeat([]byte("a"), 200<<20)))
	for name, c := range map[string]struct {
		query string
		want  samlxml.Cause
	}{
		"nothing":                {"", samlxml.CauseMalformed},
		"a request twice":        {"SAMLRequest=" + good + "&SAMLRequest=" + good, samlxml.CauseMalformed},
		"both":                   {"SAMLRequest=" + good + "&SAMLResponse=" + good, samlxml.CauseMalformed},
		"a relay state twice":    {"SAMLRequest=" + good + "&RelayState=a&RelayState=b", samlxml.CauseMalformed},
		"a signature twice":      {"SAMLRequest=" + good + "&Signature=a&Signature=b", samlxml.CauseMalformed},
		"a broken escape":        {"SAMLRequest=%zz", samlxml.CauseMalformed},
		"no Base64":              {"SAMLRequest=-", samlxml.CauseMalformed},
		"not packed":             {"SAMLRequest=" + url.QueryEscape(b64(write(logoutRequest()))), samlxml.CauseMalformed},
		"another encoding":       {"SAMLRequest=" + good + "&SAMLEncoding=urn:other", samlxml.CauseMalformed},
		"a signature of letters": {"SAMLRequest=" + good + "&SigAlg=x&Signature=-", samlxml.CauseSignature},
		"200 MB packed":          {"SAMLRequest=" + bomb, samlxml.CauseTooLarge},
		"10 MB":                  {"SAMLRequest=" + strings.Repeat("A", 10<<20), samlxml.CauseTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := samlxml.DecodeRedirect(c.query)
			if got := cause(t, err); got != c.want {
				t.Errorf("cause %q, want %q (%v)", got, c.want, err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	if _, err := samlxml.DecodePost(strings.Repeat("A", 10<<20), "", true); cause(t, err) != samlxml.CauseTooLarge {
		t.Error(err)
	}
	if _, err := samlxml.DecodePost("?", "", true); cause(t, err) != samlxml.CauseMalformed {
		t.Error(err)
	}
}
