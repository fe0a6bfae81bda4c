// Package notify delivers e-mail and text messages to people.
//
//	Send     write the message and the job that delivers it in the caller's transaction
//	Sender   hands a message to the outside world: SMTP, or the developer's Mailbox
//	Find     what became of a message; List of many
//
// A message exists if and only if the change it tells of does, and a mail server
// that is down delays it but does not lose it. Delivery is at least once: if the
// process ends between the mail server's answer and our note of it, the message
// goes out again under the same Message-ID.
//
// An attacker would try to put a line break into a header, to add recipients, or to
// read sign-in links out of a copy of the database. Send refuses control characters
// and anything but one bare address; content is sealed until it is delivered, and
// then gone.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// The channels.
const (
	Email = "email"
	SMS   = "sms"
)

// The states of a message.
const (
	Queued = "queued" // not yet delivered; tried again if Delivery.Attempts is not zero
	Sent   = "sent"   // accepted by the mail server or the provider
	Failed = "failed" // given up
)

// What Send refuses.
var (
	ErrRecipient = problem.New(problem.Invalid, "recipient_invalid", "This is not an address that a message can be sent to.")
	ErrMessage   = problem.New(problem.Invalid, "message_invalid", "The message can not be sent: it has no text, is too long, or its subject or sender holds a line break.")
	ErrNoChannel = problem.New(problem.Unavailable, "channel_not_configured", "This installation can not send messages of this kind: no sender is configured.")
)

// ErrNotFound says that there is no such message, or none any more.
var ErrNotFound = problem.New(problem.NotFound, "message_not_found", "There is no such message.")

// A Message is one e-mail or text message to one person.
type Message struct {
	Channel string // Email or SMS
	Purpose string // what it is for, a constant such as "signin_link"; not secret
	To      string // a bare e-mail address, or a phone number in E.164
	Subject string // e-mail only
	Text    string
	HTML    string // e-mail only; may be empty
	From    string // e-mail only: "Name <address>", in place of the sender's own
	ReplyTo string // e-mail only; may be empty
	// ExpiresAt is when the message becomes pointless, such as a code; it is not
	// delivered afterwards. Zero is never.
	ExpiresAt time.Time

	// ID and CreatedAt are set by Send. The ID is the same for every try to deliver
	// the message: give it to a provider that can tell repetitions by it.
	ID        string
	CreatedAt time.Time
}

// A Sender hands messages of one channel to the outside world. It is called by
// several goroutines at once, must give up when ctx ends, which is after a minute
// at most, and must not try again by itself. An error that is no *Failure counts
// as a temporary one.
type Sender interface {
	Deliver(ctx context.Context, m Message) (Receipt, error)
}

// A Receipt is a Sender's word that a message is out of our hands.
type Receipt struct {
	ProviderID string // the provider's name of the message, if it gives one
	Keep       bool   // whether Mailbox should go on showing what it said
}

// A Failure says why a message was not delivered.
type Failure struct {
	Class     string // one word for the list of messages, such as "timeout"
	Permanent bool   // trying again can not help
	Cause     error  // for operators; must not repeat what the message says
}

func (f *Failure) Error() string {
	if f.Cause == nil {
		return f.Class
	}
	return f.Class + ": " + f.Cause.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// A Service sends messages. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Boxes seal messages that wait. The first seals; the others, of earlier master
	// keys, only open. They belong to the installation rather than to a tenant, so
	// that Send never has to read a key in the middle of a transaction.
	Boxes []*secret.Box
	// Email and SMS deliver. A channel without sender is refused by Send.
	Email, SMS Sender
}

// Attach makes q deliver messages and forget old ones.
func (s *Service) Attach(q *jobs.Queue) {
	for _, channel := range []string{Email, SMS} {
		// 30 tries take about a day: a mail server may be down over night.
		q.Handle("notify."+channel, jobs.Handler{Run: s.deliver, Workers: 4, Attempts: 30})
	}
	q.Every("notify.sweep", time.Hour, func(ctx context.Context) error {
		return s.DB.Write(ctx, func(tx *database.Tx) error { return sweepMessages(ctx, tx) })
	})
}

// Send queues m for delivery when tx commits and returns its id. It returns
// ErrRecipient, ErrMessage or ErrNoChannel.
func (s *Service) Send(ctx context.Context, tx *database.Tx, tenant string, m Message) (id string, err error) {
	if err := s.check(m); err != nil {
		return "", err
	}
	m.ID, m.CreatedAt = tx.NewID(), tx.Now
	plain, err := json.Marshal(content{m.From, m.ReplyTo, m.Subject, m.Text, m.HTML})
	if err != nil {
		return "", fmt.Errorf("encode message: %w", err)
	}
	insertMessage(tx, tenant, m, s.Boxes[0].Seal(place(tenant, m.ID), plain))
	if _, err := jobs.Enqueue(ctx, tx, tenant, "notify."+m.Channel, m.ID, jobs.Options{}); err != nil {
		return "", err
	}
	return m.ID, nil
}

// content is the sealed part of a message.
type content struct {
	From    string `json:"from,omitempty"`
	ReplyTo string `json:"reply_to,omitempty"`
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	HTML    string `json:"html,omitempty"`
}

func place(tenant, id string) string { return "messages/" + tenant + "/" + id }

// maxContent is the longest message, in bytes of text and HTML together.
const maxContent = 1 << 20

func (s *Service) check(m Message) error {
	if s.sender(m.Channel) == nil {
		return ErrNoChannel.Because("no sender for channel %q", m.Channel)
	}
	if (m.Channel == Email && !isAddress(m.To)) || (m.Channel == SMS && !isPhone(m.To)) {
		return ErrRecipient
	}
	if m.Text == "" || len(m.Text)+len(m.HTML) > maxContent {
		return ErrMessage.Because("%d bytes of text and %d of HTML", len(m.Text), len(m.HTML))
	}
	if hasControl(m.Subject) || hasControl(m.From) || hasControl(m.ReplyTo) {
		return ErrMessage.Because("a control character in a header")
	}
	for _, mailbox := range []string{m.From, m.ReplyTo} {
		if mailbox == "" {
			continue
		}
		if _, err := mail.ParseAddress(mailbox); err != nil {
			return ErrMessage.Because("sender: %w", err)
		}
	}
	return nil
}

func (s *Service) sender(channel string) Sender {
	switch channel {
	case Email:
		return s.Email
	case SMS:
		return s.SMS
	}
	return nil
}

// isAddress reports whether s is one e-mail address and nothing else: no name, no
// list, no comment.
func isAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && a.Address == s && !hasControl(s) && len(s) <= 320
}

// isPhone reports whether s is a phone number in E.164.
func isPhone(s string) bool {
	digits, ok := strings.CutPrefix(s, "+")
	if !ok || len(digits) < 6 || len(digits) > 15 || digits[0] == '0' {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

// open undoes the sealing in Send.
func (s *Service) open(tenant, id string, sealed []byte) (content, error) {
	var c content
	for _, box := range s.Boxes {
		plain, err := box.Open(place(tenant, id), sealed)
		if err != nil {
			continue
		}
		return c, json.Unmarshal(plain, &c)
	}
	return c, secret.ErrSealed
}

// deliver is the handler of the job behind a message.
func (s *Service) deliver(ctx context.Context, job *jobs.Job) error {
	var id string
	if err := job.Payload(&id); err != nil {
		return err
	}
	m, sealed, err := findQueued(ctx, s.DB, job.Tenant, id)
	if errors.Is(err, ErrNotFound) {
		return nil // swept meanwhile, or sent by a worker that was taken for dead
	}
	if err != nil {
		return err
	}
	receipt, failure := s.try(ctx, job.Tenant, m, sealed)
	if ctx.Err() != nil && failure != nil {
		return ctx.Err() // we were cut off: this says nothing about the message
	}
	// From here on the note must be made: without it the message goes out twice.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.note(ctx, job, m, receipt, failure)
}

// try makes one attempt to deliver m.
func (s *Service) try(ctx context.Context, tenant string, m Message, sealed []byte) (Receipt, *Failure) {
	if !m.ExpiresAt.IsZero() && !s.DB.Now().Before(m.ExpiresAt) {
		return Receipt{}, &Failure{Class: "expired", Permanent: true}
	}
	c, err := s.open(tenant, m.ID, sealed)
	if err != nil {
		return Receipt{}, &Failure{Class: "unreadable", Permanent: true, Cause: err}
	}
	m.From, m.ReplyTo, m.Subject, m.Text, m.HTML = c.From, c.ReplyTo, c.Subject, c.Text, c.HTML
	sender := s.sender(m.Channel)
	if sender == nil { // no longer, or not in this process
		return Receipt{}, &Failure{Class: "not_configured"}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	receipt, err := sender.Deliver(ctx, m)
	if err == nil {
		return receipt, nil
	}
	if failure, ok := errors.AsType[*Failure](err); ok {
		return Receipt{}, failure
	}
	return Receipt{}, &Failure{Class: "unknown", Cause: err}
}

// note writes down how a try ended. The message and its job end together.
func (s *Service) note(ctx context.Context, job *jobs.Job, m Message, receipt Receipt, failure *Failure) error {
	over := failure == nil || failure.Permanent || job.IsLastTry()
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		switch {
		case failure == nil:
			err = markSent(ctx, tx, job.Tenant, m.ID, receipt)
		case over:
			err = markFailed(ctx, tx, job.Tenant, m.ID, failure.Class)
		default:
			return markTried(ctx, tx, job.Tenant, m.ID, failure.Class)
		}
		if err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
	if err != nil || over {
		return err
	}
	return failure
}

// A Delivery is what became of a message.
type Delivery struct {
	ID         string
	Channel    string
	Purpose    string
	To         string
	State      string
	Attempts   int64
	LastError  string // class of the last failure, see Failure
	ProviderID string
	CreatedAt  time.Time
	SentAt     time.Time // zero unless Sent
}

// Find returns the message of tenant with this id, or ErrNotFound. Messages are
// kept for 30 days.
func (s *Service) Find(ctx context.Context, r database.Reader, tenant, id string) (Delivery, error) {
	return findDelivery(ctx, r, tenant, id)
}

// List returns messages of tenant, newest first: those behind the id after, if that is
// not empty, and to an address or number, if to is not empty.
func (s *Service) List(ctx context.Context, r database.Reader, tenant, to, after string, limit int) ([]Delivery, error) {
	return listDeliveries(ctx, r, tenant, to, after, limit)
}

// A Letter is a message as Mailbox shows it.
type Letter struct {
	ID      string    `json:"-"`
	To      string    `json:"to"`
	Channel string    `json:"channel"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"html"`
	SentAt  time.Time `json:"sent_at"`
}

// Mailbox returns the last messages of tenant to an address or number, or to all
// if to is empty, newest first, as far as their Sender kept them.
func (s *Service) Mailbox(ctx context.Context, r database.Reader, tenant, to string, limit int) ([]Letter, error) {
	kept, err := listKept(ctx, r, tenant, to, limit)
	if err != nil {
		return nil, err
	}
	letters := make([]Letter, 0, len(kept))
	for _, k := range kept {
		letter, err := s.unseal(tenant, k)
		if err != nil {
			return nil, err
		}
		letters = append(letters, letter)
	}
	return letters, nil
}

// Letter returns one message of Mailbox, or ErrNotFound.
func (s *Service) Letter(ctx context.Context, r database.Reader, tenant, id string) (Letter, error) {
	k, err := findKept(ctx, r, tenant, id)
	if err != nil {
		return Letter{}, err
	}
	return s.unseal(tenant, k)
}

func (s *Service) unseal(tenant string, k kept) (Letter, error) {
	c, err := s.open(tenant, k.letter.ID, k.sealed)
	if err != nil {
		return Letter{}, fmt.Errorf("open message %s: %w", k.letter.ID, err)
	}
	k.letter.Subject, k.letter.Text, k.letter.HTML = c.Subject, c.Text, c.HTML
	return k.letter, nil
}

// Mailbox is the Sender of development: it delivers nothing and keeps everything
// for Service.Mailbox to show. It serves both channels.
type Mailbox struct{}

// Deliver keeps m.
func (Mailbox) Deliver(context.Context, Message) (Receipt, error) { return Receipt{Keep: true}, nil }
