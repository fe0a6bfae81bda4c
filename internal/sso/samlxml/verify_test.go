package samlxml_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

// cause is the one cause of a refusal; empty if it was none.
func cause(t testing.TB, err error) samlxml.Cause {
	t.Helper()
	if err == nil {
		return ""
	}
	fault, ok := errors.AsType[*samlxml.Fault](err)
	if !ok {
		t.Fatalf("a refusal without a cause: %v", err)
	}
	last := fault.Checks[len(fault.Checks)-1]
	if last.OK || last.Name == "" || last.Expected == "" || fault.Error() == "" {
		t.Errorf("the last check is not the one that failed: %+v", last)
	}
	for _, c := range fault.Checks[:len(fault.Checks)-1] {
		if !c.OK {
			t.Errorf("%s failed before the last check", c.Name)
		}
	}
	return fault.Cause
}

func accepted(t *testing.T, raw []byte, e samlxml.Expect, want samlxml.Assertion) {
	t.Helper()
	got, checks, err := samlxml.Verify(raw, e)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
	if len(checks) < 15 {
		t.Errorf("only %d checks for the trace", len(checks))
	}
}

func refused(t *testing.T, raw []byte, e samlxml.Expect, want samlxml.Cause) {
	t.Helper()
	got, checks, err := samlxml.Verify(raw, e)
	if c := cause(t, err); c != want {
		t.Errorf("cause %q, want %q (%v)", c, want, err)
	}
	if err == nil {
		t.Errorf("accepted: %+v", got)
	} else if len(checks) == 0 {
		t.Error("refused without checks")
	}
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run("signed by "+string(m), func(t *testing.T) {
			accepted(t, write(signed(genuine(), m, signer{})), expect(), alice())
		})
	}
	for name, c := range map[string]struct {
		edit   func(t *testing.T, root *etree.Element)
		signer signer
		expect func(*samlxml.Expect)
		want   func(*samlxml.Assertion)
	}{
		"milliseconds": {edit: func(_ *testing.T, root *etree.Element) { root.CreateAttr("IssueInstant", "2026-03-01T12:00:00.123Z") }},
		"another zone": {edit: func(_ *testing.T, root *etree.Element) { root.CreateAttr("IssueInstant", "2026-03-01T14:00:00+02:00") }},
		"no KeyInfo":   {signer: signer{keyInfo: "none"}},
		"no KeyInfo, two certificates": {signer: signer{keyInfo: "none"}, expect: func(e *samlxml.Expect) {
			e.IdP.Certificates = []*x509.Certificate{idpNext().cert, idp().cert}
		}},
		"the next certificate during rollover": {signer: signer{by: idpNext()}, expect: func(e *samlxml.Expect) {
			e.IdP.Certificates = append(e.IdP.Certificates, idpNext().cert)
		}},
		"the certificate issued anew for the same key": {signer: signer{keyInfo: b64(certify(idp().key, years(-1), years(3)).Raw)}},
		"an expired certificate beside a valid one": {expect: func(e *samlxml.Expect) {
			e.IdP.Certificates = append([]*x509.Certificate{certify(idp().key, years(-2), years(-1))}, e.IdP.Certificates...)
		}},
		"namespaces that only values use": {signer: signer{inclusive: "xs"}},
		"namespaces of the response that only values use": {signer: signer{inclusive: "xs xsi"}, edit: func(t *testing.T, root *etree.Element) {
			for _, prefix := range []string{"xs", "xsi"} {
				root.CreateAttr("xmlns:"+prefix, root.SelectElement("Assertion").RemoveAttr("xmlns:"+prefix).Value)
			}
		}},
		"a signature without a prefix":        {signer: signer{bare: true}},
		"assertions without a prefix":         {edit: unprefixed, signer: signer{bare: true}},
		"assertions without a prefix, listed": {edit: unprefixed, signer: signer{bare: true, inclusive: "xs xsi"}},
		"RSA-SHA512":                          {signer: signer{method: dsig.RSASHA512SignatureMethod, digest: nsE + "sha512"}},
		"RSA-SHA384":                          {signer: signer{method: dsig.RSASHA384SignatureMethod, digest: "http://www.w3.org/2001/04/xmldsig-more#sha384"}},
		"ECDSA": {signer: signer{by: idpEC(), method: dsig.ECDSASHA256SignatureMethod}, expect: func(e *samlxml.Expect) {
			e.IdP.Certificates = []*x509.Certificate{idp().cert, idpEC().cert}
		}},
		"unsolicited, where that is allowed": {
			edit: func(t *testing.T, root *etree.Element) {
				root.RemoveAttr("InResponseTo")
				at(t, root, "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData").RemoveAttr("InResponseTo")
			},
			expect: func(e *samlxml.Expect) { e.RequestID, e.RequestedAt, e.AllowUnsolicited = "", time.Time{}, true },
			want:   func(a *samlxml.Assertion) { a.InResponseTo = "" },
		},
		"the clock of the provider ahead within the skew": {
			edit: func(t *testing.T, root *etree.Element) { root.CreateAttr("IssueInstant", "2026-03-01T12:00:39Z") },
		},
		"no format, no qualifiers": {
			edit: func(t *testing.T, root *etree.Element) {
				for _, name := range []string{"Format", "NameQualifier", "SPNameQualifier"} {
					at(t, root, "Assertion/Subject/NameID").RemoveAttr(name)
				}
			},
			want: func(a *samlxml.Assertion) {
				a.NameIDFormat, a.NameQualifier, a.SPNameQualifier = samlxml.FormatUnspecified, "", ""
			},
		},
		"good for years, which counts as a day": {
			edit: func(t *testing.T, root *etree.Element) {
				at(t, root, "Assertion/Conditions").CreateAttr("NotOnOrAfter", "2036-03-01T12:00:00Z")
				at(t, root, "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData").CreateAttr("NotOnOrAfter", "2036-03-01T12:00:00Z")
			},
			want: func(a *samlxml.Assertion) { a.NotOnOrAfter = time.Date(2026, 3, 2, 12, 0, 10, 0, time.UTC) },
		},
		"the context that is wanted": {expect: func(e *samlxml.Expect) { e.Contexts = []string{"other", alice().Context} }},
		"the format that is wanted":  {expect: func(e *samlxml.Expect) { e.NameIDFormat = samlxml.FormatPersistent }},
		"a fresh sign-in":            {expect: func(e *samlxml.Expect) { e.ForceAuthn = true }},
		"OneTimeUse": {edit: func(t *testing.T, root *etree.Element) {
			at(t, root, "Assertion/Conditions").CreateElement("saml:OneTimeUse")
		}},
		"several audiences": {edit: func(t *testing.T, root *etree.Element) {
			at(t, root, "Assertion/Conditions/AudienceRestriction").CreateElement("saml:Audience").SetText("https://other.test")
		}},
		"no attributes": {
			edit: func(t *testing.T, root *etree.Element) {
				at(t, root, "Assertion").RemoveChild(at(t, root, "Assertion/AttributeStatement"))
			},
			want: func(a *samlxml.Assertion) { a.Attributes = nil },
		},
		"a NameID as a value": {
			edit: func(t *testing.T, root *etree.Element) {
				value := at(t, root, "Assertion/AttributeStatement/Attribute/AttributeValue")
				value.SetText("")
				value.Child = nil
				value.CreateElement("saml:NameID").SetText("targeted")
			},
			want: func(a *samlxml.Assertion) { a.Attributes[0].Values = []string{"targeted"} },
		},
		"1,500 groups": {
			edit: func(t *testing.T, root *etree.Element) {
				groups := at(t, root, "Assertion/AttributeStatement/Attribute[@Name='groups']")
				for i := range 1500 {
					groups.CreateElement("saml:AttributeValue").SetText(fmt.Sprint(i))
				}
			},
			want: func(a *samlxml.Assertion) {
				for i := range 1500 {
					a.Attributes[1].Values = append(a.Attributes[1].Values, fmt.Sprint(i))
				}
			},
		},
		"escaped characters": {
			edit: func(t *testing.T, root *etree.Element) {
				at(t, root, "Assertion/Subject/NameID").SetText("a<b>&\"c'\r\n\té")
			},
			want: func(a *samlxml.Assertion) { a.NameID = "a<b>&\"c'\r\n\té" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, m := range modes {
				root, e, want := genuine(), expect(), alice()
				if c.edit != nil {
					c.edit(t, root)
				}
				if c.expect != nil {
					c.expect(&e)
				}
				if c.want != nil {
					c.want(&want)
				}
				accepted(t, write(signed(root, m, c.signer)), e, want)
			}
		})
	}
	t.Run("a declaration and a byte order mark", func(t *testing.T) {
		raw := write(signed(genuine(), byBoth, signer{}))
		accepted(t, append([]byte("\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n"), raw...), expect(), alice())
	})
	t.Run("CDATA for text", func(t *testing.T) {
		raw := strings.Replace(string(write(signed(genuine(), byBoth, signer{}))), ">alice<", "><![CDATA[al]]>i<![CDATA[ce]]><", 1)
		accepted(t, []byte(raw), expect(), alice())
	})
	t.Run("both signatures where both are wanted", func(t *testing.T) {
		e := expect()
		e.RequireResponseSigned, e.RequireAssertionSigned = true, true
		accepted(t, write(signed(genuine(), byBoth, signer{})), e, alice())
	})
	t.Run("a signature in lines", func(t *testing.T) {
		root := signed(genuine(), byAssertion, signer{edit: func(s *etree.Element) {
			value := s.SelectElement("SignatureValue")
			text := value.Text()
			value.SetText("\n    " + text[:76] + "\r\n\t    " + text[76:] + "\n  ")
		}})
		accepted(t, write(root), expect(), alice())
	})
}

// unprefixed has the assertion in the default namespace, as Entra ID writes it.
func unprefixed(t *testing.T, root *etree.Element) {
	text := strings.NewReplacer("<saml:", "<", "</saml:", "</", "xmlns:saml=", "xmlns=").Replace(string(write(root.SelectElement("Assertion"))))
	old := root.SelectElement("Assertion")
	index := old.Index()
	root.RemoveChild(old)
	root.InsertChildAt(index, parse(text))
}

// The response corpus of the Italian validator, generalised: each fault alone,
// under genuine signatures.
func TestVerifyRefusesField(t *testing.T) {
	t.Parallel()
	type edit = func(t *testing.T, root *etree.Element)
	set := func(path, name, value string) edit {
		return func(t *testing.T, root *etree.Element) { find(t, root, path).CreateAttr(name, value) }
	}
	unset := func(path, name string) edit {
		return func(t *testing.T, root *etree.Element) {
			if find(t, root, path).RemoveAttr(name) == nil {
				t.Fatalf("%s has no %s", path, name)
			}
		}
	}
	put := func(path, text string) edit {
		return func(t *testing.T, root *etree.Element) { find(t, root, path).SetText(text) }
	}
	drop := func(path string) edit {
		return func(t *testing.T, root *etree.Element) {
			e := find(t, root, path)
			e.Parent().RemoveChild(e)
		}
	}
	twice := func(path string) edit {
		return func(t *testing.T, root *etree.Element) {
			e := find(t, root, path)
			e.Parent().InsertChildAt(e.Index(), e.Copy())
		}
	}
	add := func(path, text string) edit {
		return func(t *testing.T, root *etree.Element) { find(t, root, path).AddChild(parse(text)) }
	}
	const (
		a       = "Assertion"
		name    = "Assertion/Subject/NameID"
		confirm = "Assertion/Subject/SubjectConfirmation"
		data    = "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData"
		conds   = "Assertion/Conditions"
		aud     = "Assertion/Conditions/AudienceRestriction/Audience"
		authn   = "Assertion/AuthnStatement"
		class   = "Assertion/AuthnStatement/AuthnContext/AuthnContextClassRef"
		past    = "2026-03-01T11:00:00Z"
		future  = "2026-03-01T13:00:00Z"
		success = "urn:oasis:names:tc:SAML:2.0:status:"
	)
	for title, c := range map[string]struct {
		edit edit
		want samlxml.Cause
	}{
		"response ID empty":                    {set(".", "ID", ""), samlxml.CauseMalformed},
		"response ID missing":                  {unset(".", "ID"), samlxml.CauseMalformed},
		"response Version empty":               {set(".", "Version", ""), samlxml.CauseVersion},
		"response Version missing":             {unset(".", "Version"), samlxml.CauseVersion},
		"response Version other":               {set(".", "Version", "1.1"), samlxml.CauseVersion},
		"response IssueInstant empty":          {set(".", "IssueInstant", ""), samlxml.CauseIssueInstant},
		"response IssueInstant missing":        {unset(".", "IssueInstant"), samlxml.CauseIssueInstant},
		"response IssueInstant bad":            {set(".", "IssueInstant", "yesterday"), samlxml.CauseIssueInstant},
		"response IssueInstant before request": {set(".", "IssueInstant", "2026-03-01T11:59:19Z"), samlxml.CauseSkew},
		"response IssueInstant future":         {set(".", "IssueInstant", "2026-03-01T12:00:41Z"), samlxml.CauseSkew},
		"response InResponseTo empty":          {set(".", "InResponseTo", ""), samlxml.CauseInResponseTo},
		"response InResponseTo missing":        {unset(".", "InResponseTo"), samlxml.CauseInResponseTo},
		"response InResponseTo other":          {set(".", "InResponseTo", "_another"), samlxml.CauseInResponseTo},
		"response Destination empty":           {set(".", "Destination", ""), samlxml.CauseDestination},
		"response Destination missing":         {unset(".", "Destination"), samlxml.CauseDestination},
		"response Destination other":           {set(".", "Destination", "https://cardea.test/saml/con_2/acs"), samlxml.CauseDestination},
		"response Destination with a slash":    {set(".", "Destination", acs+"/"), samlxml.CauseDestination},
		"response Destination in capitals":     {set(".", "Destination", strings.ToUpper(acs)), samlxml.CauseDestination},
		"response Issuer empty":                {put("Issuer", ""), samlxml.CauseIssuer},
		"response Issuer missing":              {drop("Issuer"), samlxml.CauseIssuer},
		"response Issuer other":                {put("Issuer", "https://evil.test"), samlxml.CauseIssuer},
		"response Issuer with a slash":         {put("Issuer", idpID+"/"), samlxml.CauseIssuer},
		"response Issuer format":               {set("Issuer", "Format", samlxml.FormatEmail), samlxml.CauseIssuer},
		"response Issuer twice":                {twice("Issuer"), samlxml.CauseMalformed},
		"response Status missing":              {drop("Status"), samlxml.CauseStatusMissing},
		"response Status empty":                {drop("Status/StatusCode"), samlxml.CauseStatusMissing},
		"response Status twice":                {twice("Status"), samlxml.CauseMalformed},
		"response StatusCode empty":            {set("Status/StatusCode", "Value", ""), samlxml.CauseStatusMissing},
		"response StatusCode missing":          {unset("Status/StatusCode", "Value"), samlxml.CauseStatusMissing},
		"response StatusCode not success":      {set("Status/StatusCode", "Value", success+"Responder"), samlxml.CauseStatusResponder},
		"response StatusCode unknown":          {set("Status/StatusCode", "Value", "Success"), samlxml.CauseStatusOther},
		"response without assertion":           {drop(a), samlxml.CauseNoAssertion},
		"response with another element":        {add(".", `<Bonus/>`), samlxml.CauseMalformed},
		"response of SAML 1.1":                 {set(".", "xmlns:samlp", "urn:oasis:names:tc:SAML:1.0:protocol"), samlxml.CauseMalformed},

		"assertion ID empty":                    {set(a, "ID", ""), samlxml.CauseMalformed},
		"assertion ID missing":                  {unset(a, "ID"), samlxml.CauseMalformed},
		"assertion ID of the response":          {set(a, "ID", "_response"), samlxml.CauseDuplicateID},
		"assertion Version empty":               {set(a, "Version", ""), samlxml.CauseVersion},
		"assertion Version missing":             {unset(a, "Version"), samlxml.CauseVersion},
		"assertion Version other":               {set(a, "Version", "2.1"), samlxml.CauseVersion},
		"assertion IssueInstant empty":          {set(a, "IssueInstant", ""), samlxml.CauseIssueInstant},
		"assertion IssueInstant missing":        {unset(a, "IssueInstant"), samlxml.CauseIssueInstant},
		"assertion IssueInstant bad":            {set(a, "IssueInstant", "2026-03-01"), samlxml.CauseIssueInstant},
		"assertion IssueInstant before request": {set(a, "IssueInstant", past), samlxml.CauseSkew},
		"assertion IssueInstant future":         {set(a, "IssueInstant", future), samlxml.CauseSkew},
		"assertion Issuer empty":                {put(a+"/Issuer", ""), samlxml.CauseIssuer},
		"assertion Issuer missing":              {drop(a + "/Issuer"), samlxml.CauseIssuer},
		"assertion Issuer other":                {put(a+"/Issuer", "https://evil.test"), samlxml.CauseIssuer},
		"assertion Issuer format":               {set(a+"/Issuer", "Format", ""), samlxml.CauseIssuer},
		"assertion Issuer twice":                {twice(a + "/Issuer"), samlxml.CauseIssuer},

		"Subject missing":                  {drop(a + "/Subject"), samlxml.CauseNoNameID},
		"Subject twice":                    {twice(a + "/Subject"), samlxml.CauseNoNameID},
		"NameID missing":                   {drop(name), samlxml.CauseNoNameID},
		"NameID empty":                     {put(name, ""), samlxml.CauseNoNameID},
		"NameID of spaces":                 {put(name, " \n "), samlxml.CauseNoNameID},
		"NameID twice":                     {twice(name), samlxml.CauseNoNameID},
		"NameID with an element in it":     {add(name, `<b>admin</b>`), samlxml.CauseNoNameID},
		"NameID format empty":              {set(name, "Format", ""), samlxml.CauseNameIDFormat},
		"NameID for another service":       {set(name, "SPNameQualifier", "https://other.test"), samlxml.CauseQualifier},
		"confirmation missing":             {drop(confirm), samlxml.CauseConfirmation},
		"confirmation twice":               {twice(confirm), samlxml.CauseConfirmation},
		"confirmation Method empty":        {set(confirm, "Method", ""), samlxml.CauseConfirmation},
		"confirmation Method missing":      {unset(confirm, "Method"), samlxml.CauseConfirmation},
		"confirmation Method other":        {set(confirm, "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"), samlxml.CauseConfirmation},
		"confirmation data missing":        {drop(data), samlxml.CauseConfirmation},
		"confirmation data twice":          {twice(data), samlxml.CauseConfirmation},
		"Recipient empty":                  {set(data, "Recipient", ""), samlxml.CauseRecipient},
		"Recipient missing":                {unset(data, "Recipient"), samlxml.CauseRecipient},
		"Recipient other":                  {set(data, "Recipient", "https://cardea.test/saml/con_2/acs"), samlxml.CauseRecipient},
		"data InResponseTo empty":          {set(data, "InResponseTo", ""), samlxml.CauseInResponseTo},
		"data InResponseTo missing":        {unset(data, "InResponseTo"), samlxml.CauseInResponseTo},
		"data InResponseTo other":          {set(data, "InResponseTo", "_another"), samlxml.CauseInResponseTo},
		"data NotOnOrAfter empty":          {set(data, "NotOnOrAfter", ""), samlxml.CauseConfirmation},
		"data NotOnOrAfter missing":        {unset(data, "NotOnOrAfter"), samlxml.CauseConfirmation},
		"data NotOnOrAfter bad":            {set(data, "NotOnOrAfter", "never"), samlxml.CauseConfirmation},
		"data NotOnOrAfter past":           {set(data, "NotOnOrAfter", "2026-03-01T12:00:20Z"), samlxml.CauseExpired},
		"data NotBefore future":            {set(data, "NotBefore", future), samlxml.CauseNotYet},
		"Conditions missing":               {drop(conds), samlxml.CauseConditions},
		"Conditions twice":                 {twice(conds), samlxml.CauseConditions},
		"Conditions NotBefore empty":       {set(conds, "NotBefore", ""), samlxml.CauseConditions},
		"Conditions NotBefore missing":     {unset(conds, "NotBefore"), samlxml.CauseConditions},
		"Conditions NotBefore bad":         {set(conds, "NotBefore", "12:00"), samlxml.CauseConditions},
		"Conditions NotBefore future":      {set(conds, "NotBefore", "2026-03-01T12:00:41Z"), samlxml.CauseNotYet},
		"Conditions NotOnOrAfter empty":    {set(conds, "NotOnOrAfter", ""), samlxml.CauseConditions},
		"Conditions NotOnOrAfter missing":  {unset(conds, "NotOnOrAfter"), samlxml.CauseConditions},
		"Conditions NotOnOrAfter bad":      {set(conds, "NotOnOrAfter", "9999"), samlxml.CauseConditions},
		"Conditions NotOnOrAfter past":     {set(conds, "NotOnOrAfter", "2026-03-01T12:00:20Z"), samlxml.CauseExpired},
		"Conditions unknown":               {add(conds, `<saml:Condition xmlns:saml="`+nsA+`"/>`), samlxml.CauseConditions},
		"AudienceRestriction missing":      {drop(conds + "/AudienceRestriction"), samlxml.CauseAudience},
		"AudienceRestriction empty":        {drop(aud), samlxml.CauseAudience},
		"Audience empty":                   {put(aud, ""), samlxml.CauseAudience},
		"Audience other":                   {put(aud, "https://cardea.test/saml/con_2/metadata"), samlxml.CauseAudience},
		"Audience and another restriction": {add(conds, `<saml:AudienceRestriction xmlns:saml="`+nsA+`"><saml:Audience>https://other.test</saml:Audience></saml:AudienceRestriction>`), samlxml.CauseAudience},
		"AuthnStatement missing":           {drop(authn), samlxml.CauseNoAuthn},
		"AuthnStatement twice":             {twice(authn), samlxml.CauseNoAuthn},
		"AuthnInstant missing":             {unset(authn, "AuthnInstant"), samlxml.CauseNoAuthn},
		"AuthnInstant empty":               {set(authn, "AuthnInstant", ""), samlxml.CauseNoAuthn},
		"AuthnInstant future":              {set(authn, "AuthnInstant", future), samlxml.CauseSkew},
		"SessionNotOnOrAfter empty":        {set(authn, "SessionNotOnOrAfter", ""), samlxml.CauseNoAuthn},
		"SessionNotOnOrAfter past":         {set(authn, "SessionNotOnOrAfter", past), samlxml.CauseExpired},
		"AuthnContext missing":             {drop(authn + "/AuthnContext"), samlxml.CauseContext},
		"AuthnContext empty":               {drop(class), samlxml.CauseContext},
		"AuthnContextClassRef empty":       {put(class, ""), samlxml.CauseContext},
		"AttributeStatement empty": {func(t *testing.T, root *etree.Element) {
			find(t, root, a+"/AttributeStatement").Child = nil
		}, samlxml.CauseAttributes},
		"Attribute without a name":         {unset(a+"/AttributeStatement/Attribute", "Name"), samlxml.CauseAttributes},
		"Attribute with elements in it":    {add(a+"/AttributeStatement/Attribute/AttributeValue", `<b>admin</b>`), samlxml.CauseAttributes},
		"Attribute encrypted":              {add(a+"/AttributeStatement", `<saml:EncryptedAttribute xmlns:saml="`+nsA+`"/>`), samlxml.CauseAttributes},
		"second assertion in Advice":       {add(a, `<saml:Advice xmlns:saml="`+nsA+`"><saml:Assertion ID="_x"/></saml:Advice>`), samlxml.CauseTwoAssertions},
		"encrypted assertion beside":       {add(".", `<saml:EncryptedAssertion xmlns:saml="`+nsA+`"/>`), samlxml.CauseTwoAssertions},
		"second assertion in Extensions":   {add(".", `<samlp:Extensions xmlns:samlp="`+nsP+`"><saml:Assertion xmlns:saml="`+nsA+`" ID="_x"/></samlp:Extensions>`), samlxml.CauseTwoAssertions},
		"second assertion in StatusDetail": {add("Status", `<samlp:StatusDetail xmlns:samlp="`+nsP+`"><saml:Assertion xmlns:saml="`+nsA+`" ID="_x"/></samlp:StatusDetail>`), samlxml.CauseTwoAssertions},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			for _, m := range modes {
				root := genuine()
				c.edit(t, root)
				want := c.want
				// A signature refers to an ID. Without one there is no signature.
				if m != byResponse && strings.HasPrefix(title, "assertion ID ") || m != byAssertion && strings.HasPrefix(title, "response ID ") {
					if want == samlxml.CauseMalformed {
						want = samlxml.CauseWrapping
					}
				}
				refused(t, write(signed(root, m, signer{})), expect(), want)
			}
		})
	}
}

func find(t *testing.T, root *etree.Element, path string) *etree.Element {
	t.Helper()
	if path == "." {
		return root
	}
	return at(t, root, path)
}

// What the caller expects, and does not find.
func TestVerifyRefusesExpectation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   mode
		expect func(*samlxml.Expect)
		want   samlxml.Cause
	}{
		"no signature":                              {byNobody, nil, samlxml.CauseUnsigned},
		"the response not signed":                   {byAssertion, func(e *samlxml.Expect) { e.RequireResponseSigned = true }, samlxml.CauseUnsigned},
		"the assertion not signed":                  {byResponse, func(e *samlxml.Expect) { e.RequireAssertionSigned = true }, samlxml.CauseUnsigned},
		"not encrypted":                             {byBoth, func(e *samlxml.Expect) { e.RequireEncrypted = true }, samlxml.CauseNotEncrypted},
		"answers a request of another":              {byBoth, func(e *samlxml.Expect) { e.RequestID = "_mine" }, samlxml.CauseInResponseTo},
		"answers a request, unsolicited is allowed": {byBoth, func(e *samlxml.Expect) { e.RequestID, e.AllowUnsolicited = "", true }, samlxml.CauseInResponseTo},
		"answers a request that nobody knows":       {byBoth, func(e *samlxml.Expect) { e.RequestID = "" }, samlxml.CauseInResponseTo},
		"for another connection":                    {byBoth, func(e *samlxml.Expect) { e.SP.ACS = "https://cardea.test/saml/con_2/acs" }, samlxml.CauseDestination},
		"for another audience":                      {byBoth, func(e *samlxml.Expect) { e.SP.EntityID = "https://cardea.test/saml/con_2/metadata" }, samlxml.CauseQualifier},
		"no audience configured":                    {byBoth, func(e *samlxml.Expect) { e.SP.EntityID = "" }, samlxml.CauseQualifier},
		"of another provider":                       {byBoth, func(e *samlxml.Expect) { e.IdP.EntityID = "https://other.test" }, samlxml.CauseIssuer},
		"no issuer configured":                      {byBoth, func(e *samlxml.Expect) { e.IdP.EntityID = "" }, samlxml.CauseIssuer},
		"no certificate configured":                 {byBoth, func(e *samlxml.Expect) { e.IdP.Certificates = nil }, samlxml.CauseCertificate},
		"a certificate that was removed":            {byBoth, func(e *samlxml.Expect) { e.IdP.Certificates = []*x509.Certificate{idpNext().cert} }, samlxml.CauseCertificate},
		"an expired certificate": {byBoth, func(e *samlxml.Expect) {
			e.IdP.Certificates = []*x509.Certificate{certify(idp().key, years(-2), years(-1))}
		}, samlxml.CauseCertificateExpired},
		"a certificate of the future": {byBoth, func(e *samlxml.Expect) {
			e.IdP.Certificates = []*x509.Certificate{certify(idp().key, years(1), years(2))}
		}, samlxml.CauseCertificateExpired},
		"a way of signing in that is too weak": {byBoth, func(e *samlxml.Expect) { e.Contexts = []string{"https://refeds.org/profile/mfa"} }, samlxml.CauseContext},
		"another format of names":              {byBoth, func(e *samlxml.Expect) { e.NameIDFormat = samlxml.FormatEmail }, samlxml.CauseNameIDFormat},
		"an old sign-in": {byBoth, func(e *samlxml.Expect) {
			e.ForceAuthn, e.RequestedAt, e.Now, e.Skew = true, now.Add(-15*time.Second), now, 20*time.Second
			e.RequestedAt = e.RequestedAt.Add(30 * time.Second)
		}, samlxml.CauseSkew},
		"later":            {byBoth, func(e *samlxml.Expect) { e.Now = now.Add(4 * time.Minute) }, samlxml.CauseExpired},
		"a skew of a year": {byBoth, func(e *samlxml.Expect) { e.Now, e.Skew = now.Add(time.Hour), 365*24*time.Hour }, samlxml.CauseExpired},
		"a negative skew":  {byBoth, func(e *samlxml.Expect) { e.Now, e.Skew = now.Add(-31*time.Second), -time.Hour }, samlxml.CauseSkew},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := expect()
			if c.expect != nil {
				c.expect(&e)
			}
			refused(t, write(signed(genuine(), c.mode, signer{})), e, c.want)
		})
	}
	t.Run("unsolicited", func(t *testing.T) {
		root := genuine()
		root.RemoveAttr("InResponseTo")
		at(t, root, "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData").RemoveAttr("InResponseTo")
		e := expect()
		e.RequestID = ""
		refused(t, write(signed(root, byBoth, signer{})), e, samlxml.CauseUnsolicited)
	})
	t.Run("good for years, and a day old", func(t *testing.T) {
		root, e := genuine(), expect()
		for _, path := range []string{"Assertion/Conditions", "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData"} {
			at(t, root, path).CreateAttr("NotOnOrAfter", "2036-03-01T12:00:00Z")
		}
		at(t, root, "Assertion/AuthnStatement").RemoveAttr("SessionNotOnOrAfter")
		e.Now = now.Add(24 * time.Hour)
		refused(t, write(signed(root, byBoth, signer{})), e, samlxml.CauseExpired)
	})
	t.Run("an old session where a new sign-in was wanted", func(t *testing.T) {
		root, e := genuine(), expect()
		at(t, root, "Assertion/AuthnStatement").CreateAttr("AuthnInstant", "2026-03-01T09:00:00Z")
		e.ForceAuthn = true
		refused(t, write(signed(root, byBoth, signer{})), e, samlxml.CauseNotFresh)
	})
	t.Run("no audience, with nobody qualified", func(t *testing.T) {
		root, e := genuine(), expect()
		at(t, root, "Assertion/Subject/NameID").RemoveAttr("SPNameQualifier")
		at(t, root, "Assertion/Conditions/AudienceRestriction/Audience").SetText("")
		e.SP.EntityID = ""
		refused(t, write(signed(root, byBoth, signer{})), e, samlxml.CauseAudience)
	})
}

// What a provider answers when it does not sign somebody in. Nobody signs that.
func TestStatusIsTheCause(t *testing.T) {
	t.Parallel()
	const prefix = "urn:oasis:names:tc:SAML:2.0:status:"
	for _, c := range []struct {
		first, second string
		want          samlxml.Cause
	}{
		{"Responder", "AuthnFailed", samlxml.CauseStatusAuthnFailed},
		{"Responder", "NoPassive", samlxml.CauseStatusNoPassive},
		{"Requester", "NoAuthnContext", samlxml.CauseStatusNoAuthnContext},
		{"Requester", "InvalidNameIDPolicy", samlxml.CauseStatusInvalidNameID},
		{"Requester", "RequestDenied", samlxml.CauseStatusRequestDenied},
		{"Responder", "UnknownPrincipal", samlxml.CauseStatusUnknownPrincipal},
		{"Requester", "", samlxml.CauseStatusRequester},
		{"Responder", "", samlxml.CauseStatusResponder},
		{"VersionMismatch", "", samlxml.CauseStatusVersion},
		{"Responder", "SomethingNew", samlxml.CauseStatusResponder},
		{"PartialLogout", "", samlxml.CauseStatusOther},
	} {
		t.Run(c.first+" "+c.second, func(t *testing.T) {
			t.Parallel()
			root := genuine()
			root.RemoveChild(root.SelectElement("Assertion"))
			code := at(t, root, "Status/StatusCode")
			code.CreateAttr("Value", prefix+c.first)
			if c.second != "" {
				code.CreateElement("samlp:StatusCode").CreateAttr("Value", prefix+c.second)
			}
			root.SelectElement("Status").CreateElement("samlp:StatusMessage").SetText("ErrorCode nr19 <b>")
			_, _, err := samlxml.Verify(write(root), expect())
			if got := cause(t, err); got != c.want {
				t.Fatalf("cause %q, want %q", got, c.want)
			}
			if fault, _ := errors.AsType[*samlxml.Fault](err); fault.Message != "ErrorCode nr19 <b>" {
				t.Errorf("message %q", fault.Message)
			}
		})
	}
}

// A trace is for administrators: it does not say who signed in.
func TestTraceNamesNobody(t *testing.T) {
	t.Parallel()
	for _, edit := range []func(*etree.Element){
		func(*etree.Element) {},
		func(root *etree.Element) { at(t, root, "Assertion/Subject/NameID").CreateAttr("Format", "") },
		func(root *etree.Element) { at(t, root, "Assertion/Subject/NameID").CreateElement("b").SetText("alice") },
		func(root *etree.Element) {
			at(t, root, "Assertion/AttributeStatement/Attribute/AttributeValue").CreateElement("b")
		},
	} {
		root := genuine()
		edit(root)
		_, checks, _ := samlxml.Verify(write(signed(root, byBoth, signer{})), expect())
		if text := fmt.Sprint(checks); strings.Contains(text, "alice") || strings.Contains(text, "staff") {
			t.Errorf("%s", text)
		}
	}
}

func TestInResponseTo(t *testing.T) {
	t.Parallel()
	if id, err := samlxml.InResponseTo(write(genuine())); err != nil || id != "_request" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := samlxml.InResponseTo([]byte("<!DOCTYPE x><x/>")); cause(t, err) != samlxml.CauseDoctype {
		t.Error(err)
	}
}
