package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	stdmail "net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// How the connection to the mail server is protected.
const (
	startTLS = "starttls"
	implicit = "implicit"
	noTLS    = "none"
)

// SMTP is the Sender of e-mail through a mail server (RFC 5321, RFC 6409). It keeps
// a few connections for a while, because greeting, TLS and signing in take longer
// than a message does.
type SMTP struct {
	// TLS changes how the server's certificate is judged; nil goes by the system's
	// authorities.
	TLS *tls.Config
	// Timeout bounds the delivery of one message: 30 seconds unless set.
	Timeout time.Duration
	// Idle is how long a connection is kept for the next message: 20 seconds unless
	// set.
	Idle time.Duration

	host, port         string
	username, password string
	protection         string
	from               stdmail.Address

	mu   sync.Mutex
	idle []*connection // the one used last at the end
}

// Limits on connections that are kept. Servers close idle ones after a few minutes
// at most, and many take only so many messages on one.
const (
	maxIdle     = 4
	defaultIdle = 20 * time.Second
	maxLetters  = 50 // on one connection
)

// A connection is a session with the mail server that has no message under way.
type connection struct {
	bare    net.Conn // without the library, which does not always close it
	client  *mail.Client
	session *smtp.Client
	letters int // sent on it
	expiry  *time.Timer
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
		s.port = cmp.Or(s.port, "465")
	case u.Scheme == "smtp" && u.RawQuery == "":
		s.protection = startTLS
		s.port = cmp.Or(s.port, "587")
	case u.Scheme == "smtp" && unprotected && u.User == nil:
		s.protection = noTLS
		s.port = cmp.Or(s.port, "25")
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

// Deliver hands m to the mail server. It does not wait for the server to deliver.
func (s *SMTP) Deliver(ctx context.Context, m Message) (Receipt, error) {
	timeout := cmp.Or(s.Timeout, 30*time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	msg, err := s.compose(m)
	if err != nil {
		return Receipt{}, &Failure{Class: "rejected", Permanent: true, Cause: err}
	}
	for {
		c := s.take()
		reused := c != nil
		if !reused {
			if c, err = s.dial(ctx, timeout); err != nil {
				return Receipt{}, err
			}
		}
		err = c.send(ctx, msg)
		if msg.IsDelivered() {
			s.keep(c)
			return Receipt{ProviderID: queueID(msg.ServerResponse())}, nil
		}
		_ = c.bare.Close() // the message is not delivered; what else could matter
		if reused && ctx.Err() == nil && isStale(err) {
			continue // the server has not heard of the message yet
		}
		return Receipt{}, sendFailure(ctx, err)
	}
}

// send hands a message over. The library does not watch ctx once it is connected,
// so the connection is closed when ctx ends.
func (c *connection) send(ctx context.Context, msg *mail.Msg) error {
	stop := context.AfterFunc(ctx, func() { c.bare.Close() })
	err := c.client.SendWithSMTPClient(c.session, msg)
	if c.letters++; !stop() {
		c.letters = maxLetters // it is closed, or about to be
	}
	return err
}

// isStale reports whether a connection that was kept has turned out to be of no use
// any more, before it was told anything of a message.
func isStale(err error) bool {
	e, ok := errors.AsType[*mail.SendError](err)
	return ok && (e.Reason == mail.ErrConnCheck || e.Reason == mail.ErrSMTPMailFrom) && (e.ErrorCode() == 0 || e.ErrorCode() == 421)
}

// take returns a connection that was kept, nil if there is none.
func (s *SMTP) take() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		c := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if c.expiry.Stop() {
			return c
		}
	}
	return nil
}

// keep puts a connection aside for the next message, or ends it.
func (s *SMTP) keep(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.letters >= maxLetters || len(s.idle) >= maxIdle {
		go c.quit()
		return
	}
	c.expiry = time.AfterFunc(cmp.Or(s.Idle, defaultIdle), func() {
		s.mu.Lock()
		s.idle = slices.DeleteFunc(s.idle, func(other *connection) bool { return other == c })
		s.mu.Unlock()
		c.quit()
	})
	s.idle = append(s.idle, c)
}

// quit takes leave. The server has all messages, whatever it makes of this.
func (c *connection) quit() {
	if c.session.UpdateDeadline(5*time.Second) == nil {
		_ = c.session.Quit()
	}
	_ = c.bare.Close()
}

// dial makes a connection that is protected and signed in. The error is a *Failure.
func (s *SMTP) dial(ctx context.Context, timeout time.Duration) (*connection, error) {
	c := &connection{}
	// The library does not close a connection on which TLS or signing in has failed,
	// so the connection is ours. Its own time-out comes after ours, because its errors
	// do not tell one.
	var err error
	var stop func() bool
	c.client, err = s.client(2*timeout, func(conn net.Conn) {
		c.bare = conn
		stop = context.AfterFunc(ctx, func() { conn.Close() })
	})
	if err != nil {
		return nil, &Failure{Class: "unknown", Cause: err}
	}
	c.session, err = c.client.DialToSMTPClientWithContext(ctx)
	if err == nil && stop() {
		return c, nil
	}
	if c.bare != nil {
		_ = c.bare.Close()
	}
	if err == nil {
		err = ctx.Err()
	}
	return nil, dialFailure(ctx, c.bare != nil, err)
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
	c.ServerName = cmp.Or(c.ServerName, s.host)
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
