package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// How the connection to the mail server is protected.
const (
	startTLS = "starttls"
	implicit = "implicit"
	noTLS    = "none"
)

// SMTP is the Sender of e-mail through a mail server (RFC 5321, RFC 6409). Each
// message has a connection of its own.
type SMTP struct {
	// TLS changes how the server's certificate is judged; nil goes by the system's
	// authorities.
	TLS *tls.Config
	// Timeout bounds the delivery of one message: 30 seconds unless set.
	Timeout time.Duration

	host, port         string
	username, password string
	protection         string
	from               stdmail.Address
}

// NewSMTP returns the sender for an address:
//
//	smtp://user:password@host:587    STARTTLS, refused if the server does not offer it
//	smtps://user:password@host:465   TLS from the first byte
//	smtp://host:25?tls=none          no protection, and so no password
//
// The ports shown are the defaults. From is the sender of messages that name none,
// "Name <address>". Errors do not repeat the password.
func NewSMTP(address, from string) (*SMTP, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the SMTP address can not be read") // the error repeats it
	}
	s := &SMTP{host: u.Hostname(), port: u.Port(), username: u.User.Username()}
	s.password, _ = u.User.Password()
	unprotected := u.Query().Get("tls") == "none"
	switch {
	case u.Scheme == "smtps" && u.RawQuery == "":
		s.protection = implicit
		s.port = or(s.port, "465")
	case u.Scheme == "smtp" && u.RawQuery == "":
		s.protection = startTLS
		s.port = or(s.port, "587")
	case u.Scheme == "smtp" && unprotected && u.User == nil:
		s.protection = noTLS
		s.port = or(s.port, "25")
	case u.Scheme == "smtp" && unprotected:
		return nil, errors.New("a mail server without TLS can not have a password: anyone on the way could read it")
	default:
		return nil, errors.New("an SMTP address starts with smtp:// or smtps:// and has no option but ?tls=none, which goes with smtp://")
	}
	if s.host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("an SMTP address is made of a scheme, user and password, host and port")
	}
	sender, err := stdmail.ParseAddress(from)
	if err != nil || hasControl(from) {
		return nil, fmt.Errorf("the sender %q of e-mail is not an address", from)
	}
	s.from = *sender
	return s, nil
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// Deliver hands m to the mail server. It does not wait for the server to deliver.
func (s *SMTP) Deliver(ctx context.Context, m Message) (Receipt, error) {
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	msg, err := s.compose(m)
	if err != nil {
		return Receipt{}, &Failure{Class: "rejected", Permanent: true, Cause: err}
	}
	// The library neither watches ctx once it is connected nor closes a connection
	// on which TLS or signing in has failed, so the connection is ours.
	connected := false
	// Its own time-out comes after ours, because its errors do not tell one.
	client, err := s.client(2*timeout, func(conn net.Conn) {
		connected = true
		context.AfterFunc(ctx, func() { conn.Close() }) // ctx ends with this function at the latest
	})
	if err != nil {
		return Receipt{}, &Failure{Class: "unknown", Cause: err}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return Receipt{}, dialFailure(ctx, connected, err)
	}
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() {
		_ = session.Quit() // the server has the message, whatever it makes of this
		return Receipt{ProviderID: queueID(msg.ServerResponse())}, nil
	}
	return Receipt{}, sendFailure(ctx, err)
}

func (s *SMTP) compose(m Message) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	from := s.from
	if m.From != "" {
		given, err := stdmail.ParseAddress(m.From)
		if err != nil {
			return nil, fmt.Errorf("sender: %w", err)
		}
		from = *given
	}
	msg.FromMailAddress(&from)
	msg.ToMailAddress(&stdmail.Address{Address: m.To})
	if m.ReplyTo != "" {
		if err := msg.ReplyTo(m.ReplyTo); err != nil {
			return nil, fmt.Errorf("reply address: %w", err)
		}
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.CreatedAt)
	msg.SetMessageIDWithValue(m.ID + "@" + from.Address[strings.LastIndexByte(from.Address, '@')+1:])
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no holiday replies, please
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(mail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// client returns a client that protects the connection as s.protection says. It
// calls connected with the bare connection, which is not its to close.
func (s *SMTP) client(timeout time.Duration, connected func(net.Conn)) (*mail.Client, error) {
	port, err := strconv.Atoi(s.port)
	if err != nil {
		return nil, err
	}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTimeout(timeout), mail.WithTLSConfig(s.tlsConfig()), mail.WithoutNoop(), mail.WithoutRset(),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			connected(conn)
			return s.protect(ctx, conn)
		}),
	}
	switch s.protection {
	case startTLS:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	case implicit:
		// The connection is TLS already; this makes the library notice.
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	case noTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	}
	if s.username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.username), mail.WithPassword(s.password))
	}
	return mail.NewClient(s.host, options...)
}

// protect starts TLS where that comes first.
func (s *SMTP) protect(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if s.protection != implicit {
		return conn, nil
	}
	protected := tls.Client(conn, s.tlsConfig())
	return protected, protected.HandshakeContext(ctx)
}

func (s *SMTP) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLS != nil {
		c = s.TLS.Clone()
	}
	c.ServerName = or(c.ServerName, s.host)
	return c
}

// dialFailure judges an error from before there was a session. None is permanent:
// they are the server's or the operator's, not the message's.
func dialFailure(ctx context.Context, connected bool, err error) *Failure {
	answer, refused := errors.AsType[*textproto.Error](err)
	switch {
	case isTimeout(ctx, err):
		return &Failure{Class: "timeout", Cause: errors.New("the mail server did not answer in time")}
	case !connected:
		return &Failure{Class: "unreachable", Cause: err}
	case refused && isAuthCode(answer.Code):
		return &Failure{Class: "auth", Cause: fmt.Errorf("the mail server refused our user name or password (%d)", answer.Code)}
	case refused:
		return &Failure{Class: "deferred", Cause: err}
	}
	return &Failure{Class: "handshake", Cause: err}
}

// sendFailure judges an error from within a session.
func sendFailure(ctx context.Context, err error) *Failure {
	if isTimeout(ctx, err) {
		return &Failure{Class: "timeout", Cause: errors.New("the mail server did not answer in time")}
	}
	e, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		return &Failure{Class: "unknown", Cause: err}
	}
	// Without the library's own text, which repeats the recipient.
	cause := fmt.Errorf("%s: %d %s", e.Reason, e.ErrorCode(), e.EnhancedStatusCode())
	switch code := e.ErrorCode(); {
	case code == 0:
		return &Failure{Class: "connection_lost", Cause: cause}
	case code < 500:
		return &Failure{Class: "deferred", Cause: cause}
	case isAuthCode(code):
		return &Failure{Class: "auth", Cause: cause}
	case e.Reason == mail.ErrSMTPMailFrom:
		// Our sender's address, the same for all messages: the operator can mend it.
		return &Failure{Class: "sender_refused", Cause: cause}
	case e.Reason == mail.ErrSMTPRcptTo:
		return &Failure{Class: "recipient_refused", Permanent: true, Cause: cause}
	}
	return &Failure{Class: "rejected", Permanent: true, Cause: cause}
}

// isTimeout reports whether time ran out, by our clock or by the connection's.
func isTimeout(ctx context.Context, err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ctx.Err() != nil || (ok && network.Timeout())
}

// isAuthCode reports whether an answer says "sign in first" or "not like that"
// (RFC 4954, section 6).
func isAuthCode(code int) bool { return code == 530 || code == 534 || code == 535 || code == 538 }

// queueID returns the mail server's answer to a message in one short line: most
// servers put the name there by which their log knows it.
func queueID(answer string) string {
	answer = strings.Map(func(r rune) rune {
		if hasControl(string(r)) || r == '\uFFFD' {
			return ' '
		}
		return r
	}, answer)
	return strings.ToValidUTF8(answer[:min(len(answer), 200)], "")
}
