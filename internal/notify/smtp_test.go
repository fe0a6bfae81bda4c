package notify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/notify"
)

// A mailServer is an SMTP server that catches what it is sent, and fails as told.
type mailServer struct {
	address string
	roots   *x509.CertPool

	// onMail, onRcpt and onData run before the command is answered; their error is
	// the answer.
	onMail, onRcpt, onData func() error

	mu       sync.Mutex
	caught   []caught
	commands []string
	sessions int           // begun
	left     chan struct{} // told of each that ended, if it is there
}

type caught struct {
	from, to string
	data     []byte
}

type protection int

const (
	plain protection = iota
	startTLS
	implicitTLS
)

// listen starts a mail server that knows one account, user and "pass word".
func listen(t *testing.T, how protection) *mailServer {
	t.Helper()
	m := &mailServer{}
	server := smtp.NewServer(m)
	server.Domain = "mx.example.com"
	server.ErrorLog = log.New(io.Discard, "", 0)
	certificate, roots := selfSigned(t)
	m.roots = roots
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	switch how {
	case startTLS:
		server.TLSConfig = config
	case implicitTLS:
		listener = tls.NewListener(listener, config)
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return m
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func (m *mailServer) NewSession(*smtp.Conn) (smtp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions++
	return &session{server: m}, nil
}

func (m *mailServer) begun() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions
}

func (m *mailServer) messages() []caught {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.caught
}

func (m *mailServer) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.commands, " ")
}

type session struct {
	server *mailServer
	letter caught
}

func (s *session) hear(command string) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.commands = append(s.server.commands, command)
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	s.hear("AUTH")
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "user" || password != "pass word" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Reset() { s.letter = caught{} }

func (s *session) Logout() error {
	if s.server.left != nil {
		s.server.left <- struct{}{}
	}
	return nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.hear("MAIL")
	s.letter.from = from
	return run(s.server.onMail)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.hear("RCPT")
	s.letter.to += to
	return run(s.server.onRcpt)
}

func (s *session) Data(r io.Reader) error {
	s.hear("DATA")
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := run(s.server.onData); err != nil {
		return err
	}
	s.letter.data = data
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.caught = append(s.server.caught, s.letter)
	return nil
}

func run(fault func() error) error {
	if fault == nil {
		return nil
	}
	return fault()
}

func answer(code int) func() error {
	return func() error { return &smtp.SMTPError{Code: code, Message: "no, ann@example.com"} }
}

func (m *mailServer) sender(t *testing.T, scheme, credentials, query string) *notify.SMTP {
	t.Helper()
	s, err := notify.NewSMTP(scheme+"://"+credentials+m.address+query, "Cardea <no-reply@cardea.test>")
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{RootCAs: m.roots}
	return s
}

var post = notify.Message{
	ID: "019b7ca98c887a0b8b2595fd", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	Channel: notify.Email, To: "ann@example.com", Subject: "Grüße aus Köln", Text: "Hallo Ännchen\n.\nEnde\n", HTML: "<p>Hallo Ännchen</p>",
}

func TestSMTPDeliversWhatWasWritten(t *testing.T) {
	t.Parallel()
	m := listen(t, plain)
	receipt, err := m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), post)
	if err != nil || receipt.Keep || !strings.Contains(receipt.ProviderID, "queued") {
		t.Fatalf("receipt %+v, %v", receipt, err)
	}
	got := m.messages()
	if len(got) != 1 || got[0].from != "no-reply@cardea.test" || got[0].to != "ann@example.com" {
		t.Fatalf("the server has %+v", got)
	}
	letter, err := mail.ReadMessage(bytes.NewReader(got[0].data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(letter.Header.Get("Subject"))
	if err != nil || subject != post.Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	for header, want := range map[string]string{
		"From": `"Cardea" <no-reply@cardea.test>`, "To": "<ann@example.com>", "Auto-Submitted": "auto-generated",
		"Message-Id": "<019b7ca98c887a0b8b2595fd@cardea.test>", "Date": "Fri, 02 Jan 2026 03:04:05 +0000",
		"Bcc": "", "User-Agent": "", "X-Mailer": "",
	} {
		if got := letter.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	_, params, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(letter.Body, params["boundary"])
	for _, want := range []struct{ kind, text string }{{"text/plain", post.Text}, {"text/html", post.HTML}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part) // decodes quoted-printable
		if err != nil || !strings.HasPrefix(part.Header.Get("Content-Type"), want.kind) ||
			strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")) != strings.TrimSpace(want.text) {
			t.Errorf("%s part: %q, %v; want %q", want.kind, text, err, want.text)
		}
	}
}

func TestSMTPUsesTheTenantsSender(t *testing.T) {
	t.Parallel()
	m := listen(t, plain)
	from := post
	from.From, from.ReplyTo = "Müller, Söhne <post@mueller.test>", "help@mueller.test"
	if _, err := m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), from); err == nil {
		t.Error("two senders were accepted")
	}
	from.From = `"Müller, Söhne" <post@mueller.test>`
	if _, err := m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	letter, err := mail.ReadMessage(bytes.NewReader(m.messages()[0].data))
	if err != nil {
		t.Fatal(err)
	}
	sender, err := letter.Header.AddressList("From")
	if err != nil || len(sender) != 1 || *sender[0] != (mail.Address{Name: "Müller, Söhne", Address: "post@mueller.test"}) {
		t.Errorf("from %v, %v", letter.Header.Get("From"), err)
	}
	if id, reply := letter.Header.Get("Message-Id"), letter.Header.Get("Reply-To"); !strings.HasSuffix(id, "@mueller.test>") || reply != "<help@mueller.test>" {
		t.Errorf("message id %q, reply to %q", id, reply)
	}
}

func TestSMTPSignsInUnderTLS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		how    protection
		scheme string
	}{
		"starttls": {startTLS, "smtp"},
		"implicit": {implicitTLS, "smtps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := listen(t, c.how)
			if _, err := m.sender(t, c.scheme, "user:pass%20word@", "").Deliver(t.Context(), post); err != nil {
				t.Fatal(err)
			}
			if heard := m.heard(); heard != "AUTH MAIL RCPT DATA" {
				t.Errorf("the server heard %s", heard)
			}
			_, err := m.sender(t, c.scheme, "user:wrong@", "").Deliver(t.Context(), post)
			wantFailure(t, err, "auth", false)
			untrusting := m.sender(t, c.scheme, "user:pass%20word@", "")
			untrusting.TLS = nil
			_, err = untrusting.Deliver(t.Context(), post)
			wantFailure(t, err, "handshake", false)
			if n := len(m.messages()); n != 1 {
				t.Errorf("%d messages, want 1", n)
			}
		})
	}
}

func wantFailure(t *testing.T, err error, class string, permanent bool) {
	t.Helper()
	failure, ok := errors.AsType[*notify.Failure](err)
	if !ok || failure.Class != class || failure.Permanent != permanent {
		t.Errorf("error %v, want a failure of class %s, permanent %v", err, class, permanent)
		return
	}
	for _, hidden := range []string{"ann@", "wrong", "pass word", "Hallo"} {
		if strings.Contains(failure.Error(), hidden) {
			t.Errorf("the failure %q repeats %q", failure, hidden)
		}
	}
}

// Somebody on the way took STARTTLS out of the server's answer.
func TestSMTPSendsNothingWithoutThePromisedTLS(t *testing.T) {
	t.Parallel()
	m := listen(t, plain)
	_, err := m.sender(t, "smtp", "user:pass%20word@", "").Deliver(t.Context(), post)
	wantFailure(t, err, "handshake", false)
	if heard := m.heard(); heard != "" {
		t.Errorf("the server heard %s", heard)
	}
}

func TestSMTPTellsTemporaryFromPermanent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault     func(m *mailServer)
		class     string
		permanent bool
	}{
		"recipient later":   {func(m *mailServer) { m.onRcpt = answer(450) }, "deferred", false},
		"recipient refused": {func(m *mailServer) { m.onRcpt = answer(550) }, "recipient_refused", true},
		"sender later":      {func(m *mailServer) { m.onMail = answer(421) }, "deferred", false},
		"sender refused":    {func(m *mailServer) { m.onMail = answer(550) }, "sender_refused", false},
		"sign in first":     {func(m *mailServer) { m.onMail = answer(530) }, "auth", false},
		"message later":     {func(m *mailServer) { m.onData = answer(451) }, "deferred", false},
		"message refused":   {func(m *mailServer) { m.onData = answer(554) }, "rejected", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := listen(t, plain)
			c.fault(m)
			_, err := m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), post)
			wantFailure(t, err, c.class, c.permanent)
		})
	}
}

func TestSMTPGivesUpOnASilentServer(t *testing.T) {
	t.Parallel()
	t.Run("before the greeting", func(t *testing.T) {
		t.Parallel()
		m := &mailServer{address: rawServer(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })}
		s := m.sender(t, "smtp", "", "?tls=none")
		s.Timeout = 50 * time.Millisecond
		_, err := s.Deliver(t.Context(), post)
		wantFailure(t, err, "timeout", false)
	})
	t.Run("after the message", func(t *testing.T) {
		t.Parallel()
		m := listen(t, plain)
		m.onData = func() error { <-t.Context().Done(); return nil }
		s := m.sender(t, "smtp", "", "?tls=none")
		s.Timeout = 200 * time.Millisecond
		_, err := s.Deliver(t.Context(), post)
		wantFailure(t, err, "timeout", false)
	})
	t.Run("when we stop", func(t *testing.T) {
		t.Parallel()
		m := listen(t, plain)
		ctx, cancel := context.WithCancel(t.Context())
		m.onData = func() error { cancel(); <-t.Context().Done(); return nil }
		_, err := m.sender(t, "smtp", "", "?tls=none").Deliver(ctx, post)
		wantFailure(t, err, "timeout", false)
	})
}

// rawServer serves connections one by one with serve, and returns its address.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

// converse answers each line of the client with the next answer, a message as a
// whole, and hangs up after the client has reacted to the last.
func converse(answers ...string) func(net.Conn) {
	return func(conn net.Conn) {
		for _, answer := range answers {
			io.WriteString(conn, answer+"\r\n")
			end := "\r\n"
			if strings.HasPrefix(answer, "354") {
				end = "\r\n.\r\n"
			}
			if !readUntil(conn, end) {
				return
			}
		}
	}
}

func readUntil(conn net.Conn, end string) bool {
	var got []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(got), end); got = append(got, b[0]) {
		if _, err := conn.Read(b); err != nil {
			return false
		}
	}
	return true
}

func TestSMTPBelievesTheServerThatTookTheMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []string
		class   string // empty: delivered
	}{
		"hangs up afterwards":  {[]string{"220 hi", "250 hi", "250 ok", "250 ok", "354 go", "250 ok queued as 7"}, ""},
		"hangs up before":      {[]string{"220 hi", "250 hi", "250 ok", "250 ok", "354 go"}, "connection_lost"},
		"hangs up at once":     {nil, "handshake"},
		"is too busy to greet": {[]string{"421 come back later"}, "deferred"},
		"talks nonsense":       {[]string{"<html>"}, "handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mailServer{address: rawServer(t, converse(c.answers...))}
			_, err := m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), post)
			if c.class != "" {
				wantFailure(t, err, c.class, false)
			} else if err != nil {
				t.Errorf("error %v for a message that the server took", err)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		m := &mailServer{address: listener.Addr().String()}
		_, err = m.sender(t, "smtp", "", "?tls=none").Deliver(t.Context(), post)
		wantFailure(t, err, "unreachable", false)
	})
}

func TestSMTPKeepsConnections(t *testing.T) {
	t.Parallel()
	t.Run("for the next message", func(t *testing.T) {
		t.Parallel()
		m := listen(t, startTLS)
		s := m.sender(t, "smtp", "user:pass%20word@", "")
		for range 3 {
			mustDeliver(t, s)
		}
		if heard := m.heard(); heard != "AUTH MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA" {
			t.Errorf("the server heard %s", heard)
		}
		if got := m.messages(); len(got) != 3 || got[2].to != "ann@example.com" {
			t.Errorf("the server has %d messages", len(got))
		}
	})
	t.Run("for fifty messages", func(t *testing.T) {
		t.Parallel()
		m := listen(t, plain)
		s := m.sender(t, "smtp", "", "?tls=none")
		for range 51 {
			mustDeliver(t, s)
		}
		if n := m.begun(); n != 2 || len(m.messages()) != 51 {
			t.Errorf("%d connections for %d messages, want 2 for 51", n, len(m.messages()))
		}
	})
	t.Run("for a while", func(t *testing.T) {
		t.Parallel()
		m := listen(t, plain)
		m.left = make(chan struct{}, 10)
		s := m.sender(t, "smtp", "", "?tls=none")
		s.Idle = 10 * time.Millisecond
		mustDeliver(t, s)
		<-m.left
		mustDeliver(t, s)
		if n := m.begun(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
	t.Run("not after a failure", func(t *testing.T) {
		t.Parallel()
		m := listen(t, plain)
		s := m.sender(t, "smtp", "", "?tls=none")
		mustDeliver(t, s)
		m.onRcpt = answer(550)
		_, err := s.Deliver(t.Context(), post)
		wantFailure(t, err, "recipient_refused", true)
		m.onRcpt = nil
		mustDeliver(t, s)
		if n := m.begun(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
	t.Run("for several goroutines", func(t *testing.T) {
		t.Parallel()
		m := listen(t, implicitTLS)
		s := m.sender(t, "smtps", "user:pass%20word@", "")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10 {
					if _, err := s.Deliver(t.Context(), post); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if n := m.begun(); n > 4 || len(m.messages()) != 40 {
			t.Errorf("%d connections for %d messages, want at most 4 for 40", n, len(m.messages()))
		}
	})
}

func mustDeliver(t *testing.T, s *notify.SMTP) {
	t.Helper()
	if _, err := s.Deliver(t.Context(), post); err != nil {
		t.Fatal(err)
	}
}

// A connection that was kept may be gone when it is needed. That is no reason to
// wait, as long as the server has not heard of the message; after that it is.
func TestSMTPReplacesAConnectionThatIsGone(t *testing.T) {
	t.Parallel()
	first := []string{"220 hi", "250 hi", "250 ok", "250 ok", "354 go"}
	for name, c := range map[string]struct {
		answers []string
		class   string
	}{
		"closed by the server":         {append(first[:5:5], "250 queued"), ""},
		"with a word of goodbye":       {append(first[:5:5], "250 queued", "421 idle too long"), ""},
		"refused for good":             {append(first[:5:5], "250 queued", "550 go away"), "sender_refused"},
		"closed after the recipient":   {append(first[:5:5], "250 queued", "250 ok"), "connection_lost"},
		"closed before the last reply": {append(first[:5:5], "250 queued", "250 ok", "250 ok", "354 go"), "connection_lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mailServer{address: rawServer(t, converse(c.answers...))}
			s := m.sender(t, "smtp", "", "?tls=none")
			mustDeliver(t, s)
			_, err := s.Deliver(t.Context(), post)
			if c.class != "" {
				wantFailure(t, err, c.class, false)
			} else if err != nil {
				t.Errorf("the second message: %v", err)
			}
		})
	}
}

func TestSMTPRefusesBrokenTLS(t *testing.T) {
	t.Parallel()
	garbage := func(conn net.Conn) { io.WriteString(conn, "\x16\x03\x01nonsense"); io.Copy(io.Discard, conn) }
	t.Run("from the first byte", func(t *testing.T) {
		t.Parallel()
		m := &mailServer{address: rawServer(t, garbage)}
		_, err := m.sender(t, "smtps", "user:pass%20word@", "").Deliver(t.Context(), post)
		wantFailure(t, err, "handshake", false)
	})
	t.Run("after STARTTLS", func(t *testing.T) {
		t.Parallel()
		m := &mailServer{address: rawServer(t, func(conn net.Conn) {
			converse("220 hi", "250-hi\r\n250 STARTTLS")(conn)
			io.WriteString(conn, "220 go\r\n")
			conn.Read(make([]byte, 1)) // what is sent before would be dropped
			garbage(conn)
		})}
		_, err := m.sender(t, "smtp", "user:pass%20word@", "").Deliver(t.Context(), post)
		wantFailure(t, err, "handshake", false)
	})
	t.Run("for another name", func(t *testing.T) {
		t.Parallel()
		m := listen(t, startTLS)
		s := m.sender(t, "smtp", "user:pass%20word@", "")
		s.TLS.ServerName = "mx.example.com"
		_, err := s.Deliver(t.Context(), post)
		wantFailure(t, err, "handshake", false)
		if heard := m.heard(); heard != "" {
			t.Errorf("the server heard %s", heard)
		}
	})
}

func TestNewSMTPRefuses(t *testing.T) {
	t.Parallel()
	const from = "no-reply@cardea.test"
	for name, c := range map[string]struct{ address, from string }{
		"another scheme":              {"http://user:hush@mx.example.com", from},
		"no host":                     {"smtp://", from},
		"a path":                      {"smtp://user:hush@mx.example.com/inbox", from},
		"an unknown option":           {"smtp://user:hush@mx.example.com?tls=maybe", from},
		"a password without TLS":      {"smtp://user:hush@mx.example.com?tls=none", from},
		"no TLS over TLS":             {"smtps://mx.example.com?tls=none", from},
		"something unreadable":        {"smtp://user:hush@mx.example.com:port", from},
		"a sender that is no address": {"smtp://mx.example.com", "Cardea"},
		"no sender":                   {"smtp://mx.example.com", ""},
		"a break in the sender":       {"smtp://mx.example.com", "Cardea\r\n <no-reply@cardea.test>"},
	} {
		_, err := notify.NewSMTP(c.address, c.from)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error %q repeats the password", name, err)
		}
	}
	for _, address := range []string{"smtp://mx.example.com", "smtps://user:p%40ss@mx.example.com:2465/", "smtp://[::1]:25?tls=none"} {
		if _, err := notify.NewSMTP(address, "Cardea <no-reply@cardea.test>"); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAMailServerThatIsBusyGetsTheMessageLater(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		m := listen(t, plain)
		busy := true
		m.onData = func() error {
			if busy {
				return answer(451)()
			}
			return nil
		}
		b := newBench(t, db, m.sender(t, "smtp", "", "?tls=none"))
		id := b.mustSend(t, letter)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Queued || d.LastError != "deferred" {
			t.Errorf("while busy: %+v", d)
		}
		busy = false
		b.work(t)
		if n := len(m.messages()); n != 0 {
			t.Errorf("%d messages before the pause is over, want none", n)
		}
		b.now = b.now.Add(time.Minute)
		b.work(t)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Sent || d.Attempts != 2 || len(m.messages()) != 1 || b.stored(t, id) != nil {
			t.Errorf("afterwards: %+v and %d messages", d, len(m.messages()))
		}
	})
}
