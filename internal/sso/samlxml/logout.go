package samlxml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// A LogoutRequest asks the other side to end the sessions of a person (SAML core
// 3.7.1). Without SessionIndexes it means all of them.
type LogoutRequest struct {
	ID              string // remember it until NotOnOrAfter: it is good once
	Issuer          string
	NameID          string
	NameIDFormat    string
	NameQualifier   string
	SPNameQualifier string
	SessionIndexes  []string
	NotOnOrAfter    time.Time // five minutes after its issue if it does not say
}

// A LogoutResponse says how that went (SAML core 3.7.2).
type LogoutResponse struct {
	ID           string
	Issuer       string
	InResponseTo string
	Success      bool
	Partial      bool // with Success: other services were not reached
}

// A Message is a logout message as it arrived by either binding.
type Message struct {
	XML        []byte
	IsResponse bool // a LogoutResponse, going by the field it came in
	RelayState string

	query *querySignature // of the redirect binding; nil by POST
}

// LogoutExpect is what a logout message is held against.
type LogoutExpect struct {
	SP        SP
	IdP       IdP
	RequestID string // that a response has to answer
	Now       time.Time
	Skew      time.Duration // 0 to 3 minutes
}

const logoutLife = 5 * time.Minute

// LogoutRequest writes a signed request to end sessions at the provider. ID and
// NameID are required, the Issuer is always ours.
func (sp SP) LogoutRequest(l LogoutRequest, idp IdP, relay string, now time.Time) (Sent, error) {
	where := pick(idp.SLORedirect, idp.SLOPost, false)
	root := message("LogoutRequest", l.ID, where.address, sp.EntityID, now)
	root.CreateAttr("NotOnOrAfter", stamp(now.Add(logoutLife)))
	name := below(root, "saml:NameID")
	for _, a := range [][2]string{{"Format", l.NameIDFormat}, {"NameQualifier", l.NameQualifier}, {"SPNameQualifier", l.SPNameQualifier}} {
		if a[1] != "" {
			name.CreateAttr(a[0], a[1])
		}
	}
	name.SetText(l.NameID)
	for _, index := range l.SessionIndexes {
		below(root, "samlp:SessionIndex").SetText(index)
	}
	return sp.send(root, where, "SAMLRequest", relay, true)
}

// LogoutResponse writes the signed answer to a provider's request.
func (sp SP) LogoutResponse(l LogoutResponse, idp IdP, relay string, now time.Time) (Sent, error) {
	where := pick(idp.SLORedirect, idp.SLOPost, false)
	if answers := pick(idp.SLORedirectAnswer, idp.SLOPostAnswer, where.post); answers.address != "" && answers.post == where.post {
		where = answers
	}
	root := message("LogoutResponse", l.ID, where.address, sp.EntityID, now)
	root.CreateAttr("InResponseTo", l.InResponseTo)
	status := below(root, "samlp:Status")
	value := "Success"
	if !l.Success {
		value = "Responder"
	}
	code := below(status, "samlp:StatusCode", "Value", statusPrefix+value)
	if l.Partial {
		below(code, "samlp:StatusCode", "Value", statusPrefix+"PartialLogout")
	}
	return sp.send(root, where, "SAMLResponse", relay, true)
}

// DecodeRedirect reads the query of the redirect binding: each field once, and
// no more than 1 MiB of XML, whatever it was packed into. The query is the text
// as it stood in the address, because that is what was signed. The error is a
// [*Fault].
func DecodeRedirect(query string) (Message, error) {
	t := &trace{}
	if err := t.hold(len(query) <= maxBytes, CauseTooLarge, "query.size", "at most 1 MiB", size(len(query))); err != nil {
		return Message{}, err
	}
	raw, err := t.fields(query)
	if err != nil {
		return Message{}, err
	}
	field := "SAMLRequest"
	if _, ok := raw["SAMLResponse"]; ok {
		field = "SAMLResponse"
	}
	m := Message{IsResponse: field == "SAMLResponse", query: &querySignature{text: field + "=" + raw[field].text}}
	if m.XML, err = t.inflate(raw[field].value); err != nil {
		return Message{}, err
	}
	if relay, ok := raw["RelayState"]; ok {
		m.RelayState = relay.value
		m.query.text += "&RelayState=" + relay.text
	}
	m.query.text += "&SigAlg=" + raw["SigAlg"].text
	m.query.algorithm = raw["SigAlg"].value
	m.query.value, err = decode64(raw["Signature"].value)
	return m, t.hold(err == nil, CauseSignature, "query.signature", "a signature in Base64", raw["Signature"].value)
}

// A field is a parameter of a query, as it stood there and as it was meant.
type field struct{ text, value string }

// fields are the parameters that the binding knows. One of them twice, or a
// request and a response together, is refused.
func (t *trace) fields(query string) (map[string]field, error) {
	found := map[string]field{}
	for part := range strings.SplitSeq(query, "&") {
		name, text, _ := strings.Cut(part, "=")
		if !strings.Contains(" SAMLRequest SAMLResponse RelayState SigAlg Signature SAMLEncoding ", " "+name+" ") {
			continue
		}
		value, err := url.QueryUnescape(text)
		_, twice := found[name]
		if err != nil || twice {
			return nil, t.refuse(CauseMalformed, "query."+name, "each parameter once", part)
		}
		found[name] = field{text, value}
	}
	_, request := found["SAMLRequest"]
	_, response := found["SAMLResponse"]
	if err := t.hold(request != response, CauseMalformed, "query", "one SAMLRequest or SAMLResponse", "both, or none"); err != nil {
		return nil, err
	}
	encoding, has := found["SAMLEncoding"]
	ok := !has || encoding.value == "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
	return found, t.hold(ok, CauseMalformed, "query.SAMLEncoding", "DEFLATE", encoding.value)
}

// inflate unpacks at most maxBytes.
func (t *trace) inflate(packed string) ([]byte, error) {
	compressed, err := decode64(packed)
	if err != nil {
		return nil, t.refuse(CauseMalformed, "query.base64", "Base64", err.Error())
	}
	unpacked, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(compressed)), maxBytes+1))
	if err := t.hold(len(unpacked) <= maxBytes, CauseTooLarge, "query.size", "at most 1 MiB", "more"); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, t.refuse(CauseMalformed, "query.deflate", "DEFLATE", err.Error())
	}
	return unpacked, nil
}

// DecodePost reads a field of the POST binding: Base64 of at most 1 MiB of XML.
// It serves logout messages as well as the responses for [Verify]. The error is
// a [*Fault].
func DecodePost(field, relay string, isResponse bool) (Message, error) {
	t := &trace{}
	if err := t.hold(len(field) <= 2*maxBytes, CauseTooLarge, "post.size", "at most 1 MiB", size(len(field))); err != nil {
		return Message{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(field), ""))
	return Message{XML: raw, IsResponse: isResponse, RelayState: relay}, t.hold(err == nil, CauseMalformed, "post.base64", "Base64", field)
}

// VerifyLogoutRequest reads a provider's request to end sessions. It has to be
// signed. The checks are those that were made, also when it was accepted; the
// error is a [*Fault].
func VerifyLogoutRequest(m Message, e LogoutExpect) (LogoutRequest, []Check, error) {
	v := logoutVerification(e)
	l, err := v.logoutRequest(m)
	if err != nil {
		return LogoutRequest{}, v.checks, err
	}
	return l, v.checks, nil
}

// VerifyLogoutResponse reads a provider's answer to our request. It has to be
// signed. A status other than success is no fault: Success says it.
func VerifyLogoutResponse(m Message, e LogoutExpect) (LogoutResponse, []Check, error) {
	v := logoutVerification(e)
	l, err := v.logoutResponse(m, e.RequestID)
	if err != nil {
		return LogoutResponse{}, v.checks, err
	}
	return l, v.checks, nil
}

func logoutVerification(e LogoutExpect) *verification {
	return &verification{Expect: Expect{SP: e.SP, IdP: e.IdP, Now: e.Now, Skew: bounded(e.Skew)}, trace: &trace{}}
}

// logoutMessage is what requests and responses have in common: the signature,
// from whom, for whom, when.
func (v *verification) logoutMessage(m Message, tag string) (*etree.Element, error) {
	root, err := v.read("logout", m.XML, false)
	if err != nil {
		return nil, err
	}
	if err := v.hold(named(root, nsProtocol, tag), CauseMalformed, "logout.root", tag, root.Tag); err != nil {
		return nil, err
	}
	if err := v.unique("logout", root); err != nil {
		return nil, err
	}
	if err := v.signatures("logout", root, nil); err != nil {
		return nil, err
	}
	if m.query != nil {
		err = v.signedQuery("logout", m.query, v.IdP.Certificates, v.Now)
	} else {
		root, err = v.signed("logout", root, v.IdP.Certificates, v.Now)
	}
	if err != nil {
		return nil, err
	}
	if err := v.is(CauseVersion, "logout.version", "2.0", attr(root, "Version")); err != nil {
		return nil, err
	}
	if err := v.hold(attr(root, "ID") != "", CauseMalformed, "logout.id", "an ID", ""); err != nil {
		return nil, err
	}
	if err := v.issued("logout", root); err != nil {
		return nil, err
	}
	if err := v.issuer("logout", root, v.IdP.EntityID); err != nil {
		return nil, err
	}
	return root, v.is(CauseDestination, "logout.destination", v.SP.SLO, attr(root, "Destination"))
}

func (v *verification) logoutRequest(m Message) (l LogoutRequest, err error) {
	root, err := v.logoutMessage(m, "LogoutRequest")
	if err != nil {
		return l, err
	}
	issued, _ := moment(attr(root, "IssueInstant")) // it was read before
	l = LogoutRequest{ID: attr(root, "ID"), Issuer: v.IdP.EntityID, NotOnOrAfter: issued.Add(logoutLife)}
	if value, has := hasAttr(root, "NotOnOrAfter"); has {
		if l.NotOnOrAfter, err = v.notOnOrAfter(CauseConditions, "logout.not_on_or_after", value); err != nil {
			return l, err
		}
	} else if err := v.hold(v.Now.Add(-v.Skew).Before(l.NotOnOrAfter), CauseExpired, "logout.issue_instant", "of the last five minutes", stamp(issued)); err != nil {
		return l, err
	}
	l.NotOnOrAfter = l.NotOnOrAfter.Add(v.Skew)
	name, err := v.nameID("logout.name_id", root)
	if err != nil {
		return l, err
	}
	value, plain := text(name)
	if err := v.hold(plain && strings.TrimSpace(value) != "", CauseNoNameID, "logout.name_id", "a NameID", textual(value)); err != nil {
		return l, err
	}
	l.NameID, l.NameIDFormat = value, or(attr(name, "Format"), FormatUnspecified)
	l.NameQualifier, l.SPNameQualifier = attr(name, "NameQualifier"), attr(name, "SPNameQualifier")
	for _, index := range children(root, nsProtocol, "SessionIndex") {
		l.SessionIndexes = append(l.SessionIndexes, token(index))
	}
	return l, nil
}

func (v *verification) logoutResponse(m Message, requestID string) (LogoutResponse, error) {
	root, err := v.logoutMessage(m, "LogoutResponse")
	if err != nil {
		return LogoutResponse{}, err
	}
	l := LogoutResponse{ID: attr(root, "ID"), Issuer: v.IdP.EntityID, InResponseTo: attr(root, "InResponseTo")}
	if err := v.is(CauseInResponseTo, "logout.in_response_to", requestID, l.InResponseTo); err != nil {
		return l, err
	}
	code := statusCode(root)
	if code == nil {
		return l, v.refuse(CauseStatusMissing, "logout.status", "a status", "none")
	}
	l.Success = attr(code, "Value") == statusPrefix+"Success"
	if inner := child(code, nsProtocol, "StatusCode"); inner != nil {
		l.Partial = attr(inner, "Value") == statusPrefix+"PartialLogout"
	}
	return l, nil
}
