package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/notify"
)

const (
	providersSecret = "hush-hush"
	account         = "AC00000000000000000000000000000001"
)

// provider serves what a provider answers and returns its address.
func provider(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// replies answers every request alike.
func replies(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

var text = notify.Message{
	ID: "019b7ca98c887a0b8b2595fd", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ExpiresAt: time.Date(2026, 1, 2, 3, 14, 5, 0, time.UTC),
	Channel: notify.SMS, Purpose: "signin_code", To: "+4917012345678", Text: "Dein Code für Müller & Söhne: 123456",
}

// senders are the three, pointed at an address.
func senders(address string) map[string]notify.Sender {
	return map[string]notify.Sender{
		"twilio":  &notify.Twilio{Account: account, Token: providersSecret, From: "+15005550006", Address: address},
		"vonage":  &notify.Vonage{Key: "abcd", Secret: providersSecret, From: "Acme", Address: address + "/"},
		"gateway": &notify.Gateway{Address: address + "/sms?via=x", Secret: providersSecret},
	}
}

// A said is what a provider was asked.
type said struct {
	Path, Type, Auth, Key string
	Form                  map[string]string
	JSON                  map[string]any
}

func listenTo(t *testing.T, r *http.Request) said {
	t.Helper()
	s := said{Path: r.Method + " " + r.URL.RequestURI(), Type: r.Header.Get("Content-Type"), Auth: r.Header.Get("Authorization"), Key: r.Header.Get("Idempotency-Key")}
	if s.Type == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&s.JSON); err != nil {
			t.Error(err)
		}
		return s
	}
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
	s.Form = map[string]string{}
	for name := range r.PostForm {
		s.Form[name] = r.PostForm.Get(name)
	}
	return s
}

func TestProvidersAreAskedInTheirForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   said
		id     string
	}{
		"twilio": {
			replies(201, `{"sid": "SM00000000000000000000000000000001", "status": "queued", "error_code": null}`),
			said{
				Path: "POST /2010-04-01/Accounts/" + account + "/Messages.json", Type: "application/x-www-form-urlencoded",
				Auth: "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpodXNoLWh1c2g=",
				Form: map[string]string{"To": text.To, "From": "+15005550006", "Body": text.Text, "ValidityPeriod": "600"},
			},
			"SM00000000000000000000000000000001",
		},
		"vonage": {
			replies(200, `{"message-count": "1", "messages": [{"to": "4917012345678", "message-id": "0A0000000123ABCD1", "status": "0"}]}`),
			said{
				Path: "POST /sms/json", Type: "application/x-www-form-urlencoded",
				Form: map[string]string{"api_key": "abcd", "api_secret": providersSecret, "from": "Acme", "to": "4917012345678", "text": text.Text, "client-ref": text.ID, "ttl": "600000"},
			},
			"0A0000000123ABCD1",
		},
		"gateway": {
			replies(202, `{"id": "7"}`),
			said{
				Path: "POST /sms?via=x", Type: "application/json", Auth: "Bearer " + providersSecret, Key: text.ID,
				JSON: map[string]any{"id": text.ID, "to": text.To, "text": text.Text, "purpose": "signin_code", "expires_at": "2026-01-02T03:14:05Z"},
			},
			"7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []said
			address := provider(t, func(w http.ResponseWriter, r *http.Request) {
				got = append(got, listenTo(t, r))
				c.answer(w, r)
			})
			receipt, err := senders(address)[name].Deliver(t.Context(), text)
			if err != nil || receipt != (notify.Receipt{ProviderID: c.id}) {
				t.Errorf("receipt %+v, %v", receipt, err)
			}
			if diff := cmp.Diff([]said{c.want}, got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTwilioUsesAMessagingService(t *testing.T) {
	t.Parallel()
	const service = "MG00000000000000000000000000000001"
	address := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if form := listenTo(t, r).Form; form["MessagingServiceSid"] != service || form["From"] != "" {
			t.Errorf("asked %v", form)
		}
		replies(201, `{"sid": "SM1"}`)(w, r)
	})
	sender := &notify.Twilio{Account: account, Token: providersSecret, From: service, Address: address}
	if _, err := sender.Deliver(t.Context(), text); err != nil {
		t.Error(err)
	}
}

func TestVonageSaysWhenTextIsUnicode(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"Your code: 123456": "", "Grüße, 5 € für Ålesund & Ñandu [a^b~c]": "", "Şifreniz: 123456": "unicode", "コードは 123456": "unicode", "कोड 123456": "unicode", "a`b": "unicode", "Łódź": "unicode",
	} {
		address := provider(t, func(w http.ResponseWriter, r *http.Request) {
			if got := listenTo(t, r).Form["type"]; got != want {
				t.Errorf("%s: type %q, want %q", words, got, want)
			}
			replies(200, `{"messages": [{"status": "0"}]}`)(w, r)
		})
		m := text
		m.Text = words
		if _, err := (&notify.Vonage{Address: address}).Deliver(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
}

func TestProvidersFailuresAreTold(t *testing.T) {
	t.Parallel()
	twilio := func(status, code int) http.HandlerFunc {
		return replies(status, fmt.Sprintf(`{"code": %d, "message": "The 'To' number +4917012345678 is not valid", "status": %d}`, code, status))
	}
	vonage := func(statuses ...string) http.HandlerFunc {
		var parts []string
		for _, s := range statuses {
			parts = append(parts, fmt.Sprintf(`{"status": %q, "error-text": "+4917012345678 no", "message-id": "1"}`, s))
		}
		return replies(200, `{"messages": [`+strings.Join(parts, ",")+`]}`)
	}
	for name, c := range map[string]struct {
		answer    http.HandlerFunc
		class     string
		permanent bool
	}{
		"twilio: invalid number":              {twilio(400, 21211), "recipient_refused", true},
		"twilio: has said STOP":               {twilio(400, 21610), "recipient_refused", true},
		"twilio: no mobile number":            {twilio(400, 21614), "recipient_refused", true},
		"twilio: country not open":            {twilio(400, 21408), "recipient_refused", true},
		"twilio: sender not ours":             {twilio(400, 21606), "sender_refused", false},
		"twilio: wrong token":                 {twilio(401, 20003), "auth", false},
		"twilio: wrong account":               {twilio(404, 20404), "auth", false},
		"twilio: too many":                    {twilio(429, 20429), "deferred", false},
		"twilio: fault of theirs":             {twilio(500, 20500), "deferred", false},
		"twilio: a code to come":              {twilio(400, 29999), "rejected", true},
		"twilio: a page of a proxy":           {replies(502, "<html>+4917012345678</html>"), "deferred", false},
		"twilio: refused without words":       {replies(400, ""), "rejected", true},
		"vonage: throttled":                   {vonage("1"), "deferred", false},
		"vonage: fault of theirs":             {vonage("5"), "deferred", false},
		"vonage: wrong secret":                {vonage("4"), "auth", false},
		"vonage: no credit":                   {vonage("9"), "auth", false},
		"vonage: barred number":               {vonage("7"), "recipient_refused", true},
		"vonage: number not on the list":      {vonage("29"), "recipient_refused", true},
		"vonage: no such prefix":              {vonage("6"), "recipient_refused", true},
		"vonage: sender not ours":             {vonage("15"), "sender_refused", false},
		"vonage: missing parameters":          {vonage("2"), "rejected", true},
		"vonage: a status to come":            {vonage("99"), "unknown", false},
		"vonage: second part throttled":       {vonage("0", "1"), "deferred", false},
		"vonage: too many":                    {replies(429, ""), "deferred", false},
		"vonage: down":                        {replies(503, "no"), "deferred", false},
		"vonage: nonsense":                    {replies(200, "<html>"), "unknown", false},
		"vonage: nothing":                     {replies(200, `{"messages": []}`), "unknown", false},
		"gateway: wrong secret":               {replies(401, ""), "auth", false},
		"gateway: forbidden":                  {replies(403, ""), "auth", false},
		"gateway: not there":                  {replies(404, ""), "not_configured", false},
		"gateway: invalid number":             {replies(422, `{"error": "+4917012345678"}`), "rejected", true},
		"gateway: refused":                    {replies(400, ""), "rejected", true},
		"gateway: too many":                   {replies(429, ""), "deferred", false},
		"gateway: slow":                       {replies(408, ""), "deferred", false},
		"gateway: down":                       {replies(503, ""), "deferred", false},
		"gateway: hangs up":                   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "connection_lost", false},
		"twilio: hangs up":                    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "connection_lost", false},
		"vonage: hangs up":                    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "connection_lost", false},
		"gateway: points elsewhere":           {http.RedirectHandler("http://127.0.0.1:1/", 307).ServeHTTP, "not_configured", false},
		"twilio: points elsewhere with a 303": {http.RedirectHandler("http://127.0.0.1:1/", 303).ServeHTTP, "not_configured", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			which, _, _ := strings.Cut(name, ":")
			_, err := senders(provider(t, c.answer))[which].Deliver(t.Context(), text)
			wantQuiet(t, err, c.class, c.permanent)
		})
	}
}

func wantQuiet(t *testing.T, err error, class string, permanent bool) {
	t.Helper()
	wantFailure(t, err, class, permanent)
	for _, hidden := range []string{providersSecret, "4917012345678", "123456", "via=x"} {
		if err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("the failure %q repeats %q", err, hidden)
		}
	}
}

func TestProvidersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for name := range senders("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			silent := provider(t, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
				<-r.Context().Done()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := senders(silent)[name].Deliver(ctx, text)
			wantQuiet(t, err, "timeout", false)
			_, err = senders("http://" + listener.Addr().String())[name].Deliver(t.Context(), text)
			wantQuiet(t, err, "unreachable", false)
		})
	}
}

// The status says that the message is taken; what comes behind it is an extra.
func TestProvidersThatTookTheMessageAreBelieved(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"twilio", "gateway"} {
		for what, answer := range map[string]http.HandlerFunc{
			"no body": replies(201, ""), "a page": replies(200, "<html>"), "a body cut off": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(201)
				io.WriteString(w, `{"sid": "SM1"`)
			}, "a name of many lines": replies(201, `{"sid": "a\nb", "id": "a\nb"}`),
		} {
			receipt, err := senders(provider(t, answer))[name].Deliver(t.Context(), text)
			if err != nil || strings.Contains(receipt.ProviderID, "\n") {
				t.Errorf("%s, %s: %+v, %v", name, what, receipt, err)
			}
		}
	}
}

func TestCheckProvider(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://api.twilio.com", "https://sms.example.com:8443/send?via=x", "http://127.0.0.1:9000/", "http://localhost:9000", "http://[::1]:9000"} {
		if err := notify.CheckProvider(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "sms.example.com", "http://sms.example.com", "ftp://sms.example.com", "https://", "https://me:canary@sms.example.com", "https://a/#canary", "https://canary:x/"} {
		if err := notify.CheckProvider(bad); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTextMessagesWaitForTheirProvider(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		answer := replies(503, "")
		asked := 0
		address := provider(t, func(w http.ResponseWriter, r *http.Request) { asked++; answer(w, r) })
		b := newBench(t, db, notify.Mailbox{})
		b.service.SMS = senders(address)["twilio"]
		m := text
		m.ExpiresAt = time.Time{}
		id := b.mustSend(t, m)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Queued || d.LastError != "deferred" {
			t.Errorf("while the provider is down: %+v", d)
		}
		answer = replies(201, `{"sid": "SM7"}`)
		b.now = b.now.Add(time.Minute)
		b.work(t)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Sent || d.ProviderID != "SM7" || d.Attempts != 2 || asked != 2 {
			t.Errorf("afterwards: %+v after %d requests", d, asked)
		}
		answer = replies(400, `{"code": 21211}`)
		id = b.mustSend(t, m)
		b.work(t)
		b.now = b.now.Add(time.Hour)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Failed || d.LastError != "recipient_refused" || asked != 3 {
			t.Errorf("a number that is none: %+v after %d requests", d, asked)
		}
		if _, err := b.service.Find(t.Context(), db, "000000000000000000000002", id); !errors.Is(err, notify.ErrNotFound) {
			t.Errorf("another tenant finds it: %v", err)
		}
	})
}
