package notify_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

const tenant = "000000000000000000000001"

// bench is a service with its queue, on a database with a movable clock. It is
// driven by one goroutine.
type bench struct {
	db      *database.DB
	queue   *jobs.Queue
	service *notify.Service
	now     time.Time
}

func newBench(t *testing.T, db *database.DB, email notify.Sender) *bench {
	t.Helper()
	b := &bench{db: db, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	db.Now = func() time.Time { return b.now }
	b.service = &notify.Service{DB: db, Boxes: []*secret.Box{newBox(t)}, Email: email, SMS: notify.Mailbox{}}
	b.queue = &jobs.Queue{DB: db, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	b.service.Attach(b.queue)
	return b
}

func newBox(t *testing.T) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func (b *bench) send(ctx context.Context, tenant string, m notify.Message) (id string, err error) {
	err = b.db.Write(ctx, func(tx *database.Tx) error {
		id, err = b.service.Send(ctx, tx, tenant, m)
		return err
	})
	return id, err
}

func (b *bench) mustSend(t *testing.T, m notify.Message) (id string) {
	t.Helper()
	id, err := b.send(t.Context(), tenant, m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *bench) work(t *testing.T) {
	t.Helper()
	if err := b.queue.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) find(t *testing.T, id string) notify.Delivery {
	t.Helper()
	d, err := b.service.Find(t.Context(), b.db, tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stored returns what the database holds of the message's content.
func (b *bench) stored(t *testing.T, id string) (sealed []byte) {
	t.Helper()
	err := b.db.QueryRow(t.Context(), "SELECT content FROM messages WHERE tenant_id = $1 AND id = $2", tenant, id).Scan(&sealed)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// A senderFunc delivers as a test says.
type senderFunc func(ctx context.Context, m notify.Message) (notify.Receipt, error)

func (f senderFunc) Deliver(ctx context.Context, m notify.Message) (notify.Receipt, error) {
	return f(ctx, m)
}

var letter = notify.Message{
	Channel: notify.Email, Purpose: "signin_link", To: "ann@example.com",
	Subject: "Sign in", Text: "https://example.com/secret-link", HTML: "<a href=\"https://example.com/secret-link\">Sign in</a>",
}

func TestAMessageIsDeliveredAndForgotten(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		var got []notify.Message
		b := newBench(t, db, senderFunc(func(_ context.Context, m notify.Message) (notify.Receipt, error) {
			got = append(got, m)
			return notify.Receipt{ProviderID: "queued as 7"}, nil
		}))
		id := b.mustSend(t, letter)
		if d := b.find(t, id); d.State != notify.Queued || d.Attempts != 0 || d.To != letter.To || d.Purpose != "signin_link" {
			t.Errorf("before: %+v", d)
		}
		if sealed := b.stored(t, id); len(sealed) == 0 || strings.Contains(string(sealed), "secret-link") || strings.Contains(string(sealed), "Sign in") {
			t.Errorf("the database can be read: %q", sealed)
		}
		b.now = b.now.Add(time.Second)
		b.work(t)
		want := letter
		want.ID, want.CreatedAt = id, b.now.Add(-time.Second)
		if len(got) != 1 || got[0] != want {
			t.Errorf("delivered %+v, want %+v", got, want)
		}
		if d := b.find(t, id); d.State != notify.Sent || d.Attempts != 1 || d.ProviderID != "queued as 7" || !d.SentAt.Equal(b.now) {
			t.Errorf("after: %+v", d)
		}
		if sealed := b.stored(t, id); sealed != nil {
			t.Errorf("the content is kept: %q", sealed)
		}
		if letters, err := b.service.Mailbox(t.Context(), db, tenant, "", 10); err != nil || len(letters) != 0 {
			t.Errorf("mailbox = %+v, %v; want nothing", letters, err)
		}
		b.now = b.now.Add(30 * 24 * time.Hour)
		b.work(t)
		if _, err := b.service.Find(t.Context(), db, tenant, id); !errors.Is(err, notify.ErrNotFound) {
			t.Errorf("after 30 days: %v, want ErrNotFound", err)
		}
	})
}

func TestNothingIsSentIfTheTransactionFails(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(t, db, senderFunc(func(context.Context, notify.Message) (notify.Receipt, error) {
			t.Error("a message went out")
			return notify.Receipt{}, nil
		}))
		failed := errors.New("rolled back")
		err := db.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.service.Send(t.Context(), tx, tenant, letter)
			return errors.Join(err, failed)
		})
		if !errors.Is(err, failed) {
			t.Fatal(err)
		}
		b.work(t)
	})
}

func TestSendRefuses(t *testing.T) {
	t.Parallel()
	with := func(change func(m *notify.Message)) notify.Message {
		m := letter
		change(&m)
		return m
	}
	to := func(address string) notify.Message { return with(func(m *notify.Message) { m.To = address }) }
	sms := func(number string) notify.Message {
		return notify.Message{Channel: notify.SMS, To: number, Text: "123456"}
	}
	cases := map[string]struct {
		m    notify.Message
		want *problem.Problem
	}{
		"no recipient":            {to(""), notify.ErrRecipient},
		"a name":                  {to("ann"), notify.ErrRecipient},
		"two recipients":          {to("ann@example.com, bob@example.com"), notify.ErrRecipient},
		"a display name":          {to("Ann <ann@example.com>"), notify.ErrRecipient},
		"a comment":               {to("ann@example.com (Ann)"), notify.ErrRecipient},
		"an injected header":      {to("ann@example.com\r\nBcc: bob@example.com"), notify.ErrRecipient},
		"a line feed":             {to("ann@example.com\n"), notify.ErrRecipient},
		"a quoted line break":     {to("\"ann\r\n bob\"@example.com"), notify.ErrRecipient},
		"a very long address":     {to(strings.Repeat("a", 320) + "@example.com"), notify.ErrRecipient},
		"a number without a plus": {sms("4917012345678"), notify.ErrRecipient},
		"a number with letters":   {sms("+49170CALLME"), notify.ErrRecipient},
		"a number with a break":   {sms("+4917012345678\n"), notify.ErrRecipient},
		"too short a number":      {sms("+4917"), notify.ErrRecipient},
		"break in the subject":    {with(func(m *notify.Message) { m.Subject = "Hi\r\nBcc: bob@example.com" }), notify.ErrMessage},
		"odd break in subject":    {with(func(m *notify.Message) { m.Subject = "Hi\u2028Bcc: bob@example.com" }), notify.ErrMessage},
		"break in the sender":     {with(func(m *notify.Message) { m.From = "Acme\n <no-reply@example.com>" }), notify.ErrMessage},
		"a sender without @":      {with(func(m *notify.Message) { m.From = "Acme" }), notify.ErrMessage},
		"break in reply address":  {with(func(m *notify.Message) { m.ReplyTo = "a@example.com\r" }), notify.ErrMessage},
		"no text":                 {with(func(m *notify.Message) { m.Text = "" }), notify.ErrMessage},
		"too long a text":         {with(func(m *notify.Message) { m.Text = strings.Repeat("x", 1<<20) }), notify.ErrMessage},
		"an unknown channel":      {with(func(m *notify.Message) { m.Channel = "pigeon" }), notify.ErrNoChannel},
	}
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(t, db, notify.Mailbox{})
		for name, c := range cases {
			if _, err := b.send(t.Context(), tenant, c.m); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		b.service.SMS = nil
		if _, err := b.send(t.Context(), tenant, sms("+4917012345678")); !errors.Is(err, notify.ErrNoChannel) {
			t.Errorf("no SMS sender: %v, want ErrNoChannel", err)
		}
		var n int
		if err := db.QueryRow(t.Context(), "SELECT COUNT(*) FROM messages").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d messages, %v; want none", n, err)
		}
	})
}

func TestATemporaryFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		ids := map[string]bool{}
		b := newBench(t, db, senderFunc(func(_ context.Context, m notify.Message) (notify.Receipt, error) {
			ids[m.ID] = true
			return notify.Receipt{}, &notify.Failure{Class: "deferred", Cause: errors.New("451 later")}
		}))
		id := b.mustSend(t, letter)
		for try := range 30 {
			b.work(t)
			want := notify.Queued
			if try == 29 {
				want = notify.Failed
			}
			if d := b.find(t, id); d.State != want || d.Attempts != int64(try+1) || d.LastError != "deferred" {
				t.Fatalf("after try %d: %+v, want %s", try+1, d, want)
			}
			b.now = b.now.Add(time.Hour)
		}
		if len(ids) != 1 || b.stored(t, id) != nil {
			t.Errorf("delivered under the ids %v; content in the end %q", ids, b.stored(t, id))
		}
	})
}

func TestAPermanentFailureIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		tries := 0
		b := newBench(t, db, senderFunc(func(context.Context, notify.Message) (notify.Receipt, error) {
			tries++
			return notify.Receipt{}, &notify.Failure{Class: "recipient_refused", Permanent: true}
		}))
		id := b.mustSend(t, letter)
		b.work(t)
		b.now = b.now.Add(24 * time.Hour)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Failed || d.LastError != "recipient_refused" || tries != 1 || b.stored(t, id) != nil {
			t.Errorf("%+v after %d tries", d, tries)
		}
	})
}

func TestAnUnknownErrorCountsAsTemporary(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(t, db, senderFunc(func(context.Context, notify.Message) (notify.Receipt, error) {
			return notify.Receipt{}, errors.New("what?")
		}))
		id := b.mustSend(t, letter)
		b.work(t)
		if d := b.find(t, id); d.State != notify.Queued || d.LastError != "unknown" {
			t.Errorf("%+v", d)
		}
	})
}

func TestAnExpiredMessageIsNotDelivered(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		tries := 0
		b := newBench(t, db, senderFunc(func(context.Context, notify.Message) (notify.Receipt, error) {
			tries++
			return notify.Receipt{}, &notify.Failure{Class: "unreachable"}
		}))
		m := letter
		m.ExpiresAt = b.now.Add(10 * time.Minute)
		id := b.mustSend(t, m)
		b.work(t)
		b.now = m.ExpiresAt
		b.work(t)
		if d := b.find(t, id); d.State != notify.Failed || d.LastError != "expired" || tries != 1 || b.stored(t, id) != nil {
			t.Errorf("%+v after %d tries, want expired after one", d, tries)
		}
	})
}

func TestMailboxShowsTheNewestFirst(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(t, db, notify.Mailbox{})
		for _, m := range []notify.Message{
			letter,
			{Channel: notify.SMS, To: "+4917012345678", Text: "Your code is 123456."},
			{Channel: notify.Email, To: "bob@example.com", Subject: "Hello", Text: "Hello Bob"},
		} {
			b.mustSend(t, m)
			b.now = b.now.Add(time.Second)
		}
		if _, err := b.send(t.Context(), "000000000000000000000002", letter); err != nil {
			t.Fatal(err)
		}
		b.work(t)
		mailbox := func(tenant, to string, limit int) (texts []string) {
			letters, err := b.service.Mailbox(t.Context(), db, tenant, to, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range letters {
				texts = append(texts, l.Channel+" "+l.To+" "+l.Subject+": "+l.Text)
				if !l.SentAt.Equal(b.now) {
					t.Errorf("%s sent at %v, want %v", l.To, l.SentAt, b.now)
				}
			}
			return texts
		}
		bob, sms, ann := "email bob@example.com Hello: Hello Bob", "sms +4917012345678 : Your code is 123456.", "email ann@example.com Sign in: https://example.com/secret-link"
		for _, c := range []struct {
			tenant, to string
			limit      int
			want       []string
		}{
			{tenant, "", 10, []string{bob, sms, ann}},
			{tenant, "", 2, []string{bob, sms}},
			{tenant, "ann@example.com", 10, []string{ann}},
			{tenant, "Ann@Example.COM", 10, []string{ann}},
			{tenant, "+4917012345678", 10, []string{sms}},
			{tenant, "eve@example.com", 10, nil},
			{"000000000000000000000002", "", 10, []string{ann}},
			{"000000000000000000000003", "", 10, nil},
		} {
			if got := mailbox(c.tenant, c.to, c.limit); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("mailbox %s %q %d = %q, want %q", c.tenant, c.to, c.limit, got, c.want)
			}
		}
		letters, err := b.service.Mailbox(t.Context(), db, tenant, "ann@example.com", 1)
		if err != nil {
			t.Fatal(err)
		}
		if one, err := b.service.Letter(t.Context(), db, tenant, letters[0].ID); err != nil || one != letters[0] || one.HTML != letter.HTML {
			t.Errorf("letter %+v, %v; want %+v", one, err, letters[0])
		}
		if _, err := b.service.Letter(t.Context(), db, "000000000000000000000002", letters[0].ID); !errors.Is(err, notify.ErrNotFound) {
			t.Errorf("another tenant's letter: %v, want ErrNotFound", err)
		}
	})
}

func TestAMessageSealedUnderTheOldKeyIsDelivered(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		texts := ""
		b := newBench(t, db, senderFunc(func(_ context.Context, m notify.Message) (notify.Receipt, error) {
			texts += m.Text
			return notify.Receipt{}, nil
		}))
		b.mustSend(t, letter)
		b.service.Boxes = append([]*secret.Box{newBox(t)}, b.service.Boxes...)
		if b.work(t); texts != letter.Text {
			t.Errorf("delivered %q, want %q", texts, letter.Text)
		}
		id := b.mustSend(t, letter)
		b.service.Boxes = b.service.Boxes[1:]
		b.work(t)
		if d := b.find(t, id); d.State != notify.Failed || d.LastError != "unreadable" {
			t.Errorf("sealed under a key we no longer have: %+v, want failed as unreadable", d)
		}
	})
}

func TestTheEndOfTheServerIsNotAFailedTry(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		trying := make(chan struct{})
		b := newBench(t, db, senderFunc(func(ctx context.Context, _ notify.Message) (notify.Receipt, error) {
			close(trying)
			<-ctx.Done()
			return notify.Receipt{}, ctx.Err()
		}))
		b.queue.Grace = time.Millisecond
		id := b.mustSend(t, letter)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.queue.Run(ctx) }()
		<-trying
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if d := b.find(t, id); d.State != notify.Queued || d.Attempts != 0 {
			t.Errorf("%+v, want untried", d)
		}
	})
}
