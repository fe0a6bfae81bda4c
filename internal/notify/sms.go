package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// CheckProvider says what is wrong with the address of a provider of text messages:
// secrets travel there, so it is https, or http on this machine. The error does not
// repeat the address.
func CheckProvider(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return errors.New("it is not an address such as https://sms.example.com")
	case u.User != nil:
		return errors.New("it must not hold a user name or password")
	case u.Fragment != "":
		return errors.New("it must not have a # in it")
	case u.Scheme == "http" && isThisMachine(u.Hostname()):
		return nil
	case u.Scheme != "https":
		return errors.New("it must start with https://, or anyone on the way could read the secret and the messages; http:// is for this machine only")
	}
	return nil
}

func isThisMachine(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// A Gateway is the Sender of text messages through any HTTP service, such as a small
// program of the operator's that knows a provider of theirs. Each message is one
// POST with the header Authorization: Bearer SECRET and this JSON:
//
//	{"id": "…", "to": "+4917012345678", "text": "…", "purpose": "signin_code", "expires_at": "2026-01-02T03:04:05Z"}
//
// The id is the same when a message is sent again, and is also in the header
// Idempotency-Key; expires_at may be missing. Any 2xx says that the message is taken;
// an "id" in a JSON answer is kept. 408, 425, 429 and 5xx say that it should be sent
// again later, 400 and 422 that this can not help.
type Gateway struct {
	Address string
	Secret  string
}

// Deliver hands m to the service.
func (g *Gateway) Deliver(ctx context.Context, m Message) (Receipt, error) {
	body := struct {
		ID        string    `json:"id"`
		To        string    `json:"to"`
		Text      string    `json:"text"`
		Purpose   string    `json:"purpose"`
		ExpiresAt time.Time `json:"expires_at,omitzero"`
	}{m.ID, m.To, m.Text, m.Purpose, m.ExpiresAt}
	text, err := json.Marshal(body)
	if err != nil {
		return Receipt{}, fmt.Errorf("encode message: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.Address, bytes.NewReader(text))
	if err != nil {
		return Receipt{}, errMisconfigured
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+g.Secret)
	r.Header.Set("Idempotency-Key", m.ID)
	status, answer, err := exchange(r)
	if err != nil {
		return Receipt{}, err
	}
	if status/100 != 2 {
		return Receipt{}, statusFailure(status)
	}
	var taken struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(answer, &taken) // it has the message, whatever it says beside that
	return Receipt{ProviderID: queueID(taken.ID)}, nil
}

var errMisconfigured = &Failure{Class: "not_configured", Cause: errors.New("the provider's address can not be used")}

const (
	providerTimeout = 20 * time.Second
	maxReply        = 64 << 10 // bytes
)

// providers is how providers are reached: their addresses are the operator's, so
// the operator's proxies count. They have no reason to redirect us, and a secret
// must not be sent where they point.
var providers = &http.Client{
	Timeout:       providerTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, MaxResponseHeaderBytes: maxReply, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
	},
}

// exchange sends r once and returns what a provider says, as far as it came: what
// the status says of the message stands without it. Its errors are Failures.
func exchange(r *http.Request) (status int, body []byte, err error) {
	response, err := providers.Do(r)
	if err != nil {
		return 0, nil, networkFailure(r.Context(), err)
	}
	defer response.Body.Close()
	body, _ = io.ReadAll(io.LimitReader(response.Body, maxReply))
	return response.StatusCode, body, nil
}

func networkFailure(ctx context.Context, err error) *Failure {
	if isTimeout(ctx, err) {
		return &Failure{Class: "timeout", Cause: errors.New("the provider did not answer in time")}
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the address, which may hold a key
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return &Failure{Class: "unreachable", Cause: err}
	}
	return &Failure{Class: "connection_lost", Cause: err}
}

// statusFailure judges a status of HTTP where a provider says nothing better. What
// the operator can mend is temporary.
func statusFailure(status int) *Failure {
	cause := fmt.Errorf("the provider answered %d", status)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusPaymentRequired:
		return &Failure{Class: "auth", Cause: cause}
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests || status >= 500:
		return &Failure{Class: "deferred", Cause: cause}
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity || status == http.StatusRequestEntityTooLarge:
		return &Failure{Class: "rejected", Permanent: true, Cause: cause}
	}
	return &Failure{Class: "not_configured", Cause: cause} // nobody there who knows what we want
}

// lifetime is how long a provider should go on trying, within what it accepts; 0 if
// that is its own business.
func lifetime(m Message, least, most time.Duration) time.Duration {
	if m.ExpiresAt.IsZero() {
		return 0
	}
	return min(max(m.ExpiresAt.Sub(m.CreatedAt), least), most)
}

// post makes a request of a form to a path below a provider's address.
func post(ctx context.Context, address, path string, form url.Values) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(address, "/")+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errMisconfigured
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// Twilio is the Sender of text messages through Twilio's Programmable Messaging.
// Twilio knows no repetitions: if its answer is lost, the message is sent again.
type Twilio struct {
	Account string // "AC…"
	Token   string // of the account
	From    string // a number in E.164, a name, or a messaging service "MG…"
	Address string // https://api.twilio.com unless set
}

// Deliver hands m to Twilio.
func (t *Twilio) Deliver(ctx context.Context, m Message) (Receipt, error) {
	form := url.Values{"To": {m.To}, "Body": {m.Text}}
	if strings.HasPrefix(t.From, "MG") && len(t.From) == 34 {
		form.Set("MessagingServiceSid", t.From)
	} else {
		form.Set("From", t.From)
	}
	if d := lifetime(m, time.Second, 4*time.Hour); d > 0 {
		form.Set("ValidityPeriod", fmt.Sprint(int(d.Seconds())))
	}
	r, err := post(ctx, cmp.Or(t.Address, "https://api.twilio.com"), "/2010-04-01/Accounts/"+url.PathEscape(t.Account)+"/Messages.json", form)
	if err != nil {
		return Receipt{}, err
	}
	r.SetBasicAuth(t.Account, t.Token)
	status, body, err := exchange(r)
	if err != nil {
		return Receipt{}, err
	}
	var reply struct {
		SID  string `json:"sid"`
		Code int    `json:"code"`
	}
	_ = json.Unmarshal(body, &reply) // without, the status has to do
	if status/100 == 2 {
		return Receipt{ProviderID: queueID(reply.SID)}, nil
	}
	return Receipt{}, twilioFailure(status, reply.Code)
}

// twilioFailure judges an answer of Twilio's, whose texts are left out because they
// repeat the number. Codes that are not listed go by the status: Twilio adds to them.
func twilioFailure(status, code int) *Failure {
	cause := fmt.Errorf("Twilio answered %d, code %d", status, code)
	switch code {
	case 21211, 21214, 21217, 21265, 21266, 21610, 21612, 21614, 21635: // no number for messages, or its owner has said STOP
		return &Failure{Class: "recipient_refused", Permanent: true, Cause: cause}
	case 21408, 21608: // a country or number that the account is not open for
		return &Failure{Class: "recipient_refused", Permanent: true, Cause: cause}
	case 21212, 21603, 21606, 21611, 21659, 21660, 21661, 21703, 21704: // our number or messaging service
		return &Failure{Class: "sender_refused", Cause: cause}
	case 20003, 20005, 20404:
		return &Failure{Class: "auth", Cause: cause}
	}
	f := statusFailure(status)
	f.Cause = cause
	return f
}

// Vonage is the Sender of text messages through the SMS API of Vonage, once Nexmo.
// Vonage knows no repetitions: if its answer is lost, the message is sent again.
type Vonage struct {
	Key     string
	Secret  string
	From    string // a number or a name
	Address string // https://rest.nexmo.com unless set
}

// Deliver hands m to Vonage.
func (v *Vonage) Deliver(ctx context.Context, m Message) (Receipt, error) {
	form := url.Values{
		"api_key": {v.Key}, "api_secret": {v.Secret}, "from": {strings.TrimPrefix(v.From, "+")}, "to": {strings.TrimPrefix(m.To, "+")},
		"text": {m.Text}, "client-ref": {m.ID},
	}
	if strings.ContainsFunc(m.Text, isNotGSM) {
		form.Set("type", "unicode")
	}
	if d := lifetime(m, 20*time.Second, 7*24*time.Hour); d > 0 {
		form.Set("ttl", fmt.Sprint(d.Milliseconds()))
	}
	r, err := post(ctx, cmp.Or(v.Address, "https://rest.nexmo.com"), "/sms/json", form)
	if err != nil {
		return Receipt{}, err
	}
	status, body, err := exchange(r)
	if err != nil {
		return Receipt{}, err
	}
	if status/100 != 2 {
		return Receipt{}, statusFailure(status)
	}
	return vonageReceipt(body)
}

// vonageReceipt reads an answer, which is 200 whatever it says. A long message is
// sent in several parts, and has arrived if all have.
func vonageReceipt(body []byte) (Receipt, error) {
	var reply struct {
		Messages []struct {
			ID     string `json:"message-id"`
			Status string `json:"status"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &reply); err != nil || len(reply.Messages) == 0 {
		return Receipt{}, &Failure{Class: "unknown", Cause: errors.New("the provider's answer can not be read")}
	}
	for _, part := range reply.Messages {
		if part.Status != "0" {
			return Receipt{}, vonageFailure(part.Status)
		}
	}
	return Receipt{ProviderID: queueID(reply.Messages[0].ID)}, nil
}

func vonageFailure(status string) *Failure {
	cause := fmt.Errorf("Vonage answered with status %s", queueID(status))
	switch status {
	case "1", "5", "10": // throttled, a fault of theirs, too many connections
		return &Failure{Class: "deferred", Cause: cause}
	case "4", "8", "9", "11", "14", "32": // key, account, credit
		return &Failure{Class: "auth", Cause: cause}
	case "15": // not a sender of ours
		return &Failure{Class: "sender_refused", Cause: cause}
	case "6", "7", "29", "33": // no such number, barred, not open for us, given up
		return &Failure{Class: "recipient_refused", Permanent: true, Cause: cause}
	case "2", "3", "12", "22", "23":
		return &Failure{Class: "rejected", Permanent: true, Cause: cause}
	}
	return &Failure{Class: "unknown", Cause: cause}
}

// isNotGSM reports whether r is outside of the alphabet that text messages have
// without being told (3GPP TS 23.038). In it 160 characters fit into a message, else
// 70.
func isNotGSM(r rune) bool {
	const beyondASCII = "£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà€"
	return r > '~' && !strings.ContainsRune(beyondASCII, r) || r == '`'
}
