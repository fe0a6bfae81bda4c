// Package logs shows what has happened in a tenant: the events of its log, and what
// became of the messages that were sent.
//
//	GET /api/v1/logs            events, newest first
//	GET /api/v1/messages        mails and text messages, newest first
//	GET /api/v1/messages/{id}   one of them
//
// It writes nothing. An attacker would read another tenant's log, or the links and
// codes that were sent: each statement names the caller's tenant, and of a message
// there is only whom it went to, what for, and how that ended.
package logs

import (
	"context"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// A Service shows the logs. Its fields are set once, before use.
type Service struct {
	DB     *database.DB
	Notify *notify.Service
	// Box returns the box of a tenant's secrets; cursors are signed with it.
	Box func(ctx context.Context, tenant string) (*secret.Box, error)
}

const messages = "/api/v1/messages"

// Mount adds the calls to r.
func (s *Service) Mount(r *web.Router) {
	type problems = []*problem.Problem
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{"/api/v1/logs"}, Endpoint: web.JSON(http.StatusOK, s.getLogs),
			Doc: web.Doc{Summary: "List events", Text: "What happened in the tenant, newest first: who did what to whom, from where, and with which result.", Headers: web.NextHeaders,
				Errors: problems{secret.ErrCursor}, Example: []audit.Listed{exampleEvent}}},
		{Method: "GET", Paths: []string{messages}, Endpoint: web.JSON(http.StatusOK, s.getMessages),
			Doc: web.Doc{Summary: "List messages", Text: "Mails and text messages of the last 30 days, newest first, with what became of each. What they said is gone once they are delivered.", Headers: web.NextHeaders,
				Errors: problems{secret.ErrCursor}, Example: []message{exampleMessage}}},
		{Method: "GET", Paths: []string{messages + "/{id}"}, Endpoint: web.JSON(http.StatusOK, s.getMessage),
			Doc: web.Doc{Summary: "Get a message", Errors: problems{notify.ErrNotFound}, Example: exampleMessage}},
	} {
		route.Needs, route.Doc.Tag = access.LogsRead, "Logs"
		r.Add(route)
	}
}

// begin opens a page of a list: how many entries it has, and behind which it begins.
func (s *Service) begin(ctx context.Context, by access.Actor, limit, list, cursor string) (size int, after string, box *secret.Box, err error) {
	if err := by.Require(access.LogsRead); err != nil {
		return 0, "", nil, err
	}
	if size, err = web.ParseLimit(limit); err != nil {
		return 0, "", nil, err
	}
	if box, err = s.Box(ctx, by.Tenant); err == nil && cursor != "" {
		after, err = box.Place(list, cursor)
	}
	return size, after, box, err
}

type getLogsRequest struct {
	Limit    string `query:"limit" doc:"Events a page: 1 to 500, 100 if absent"`
	Cursor   string `query:"cursor" doc:"X-Next-Cursor of the page before"`
	Action   string `query:"action" doc:"What the action begins with: user. or user.created"`
	Actor    string `query:"actor" doc:"user:<id>, key:<id>, ..."`
	TargetID string `query:"target_id" doc:"Id of what it happened to"`
	Result   string `query:"result" doc:"success or failure"`
	Since    string `query:"since" doc:"RFC 3339, inclusive"`
	Until    string `query:"until" doc:"RFC 3339, exclusive"`
}

func (in getLogsRequest) filter() (f audit.Filter, err error) {
	f = audit.Filter{Action: in.Action, Actor: in.Actor, TargetID: in.TargetID, Result: in.Result}
	for _, t := range []struct {
		name, text string
		at         *time.Time
	}{{"since", in.Since, &f.Since}, {"until", in.Until, &f.Until}} {
		if t.text == "" {
			continue
		}
		if *t.at, err = time.Parse(time.RFC3339, t.text); err != nil {
			return f, web.ErrQuery.Saying("%s is a time as in RFC 3339, such as 2026-03-05T09:30:00Z.", t.name).In(t.name)
		}
	}
	return f, nil
}

func (s *Service) getLogs(ctx context.Context, by access.Actor, in getLogsRequest) (out web.Page[audit.Listed], err error) {
	f, err := in.filter()
	if err != nil {
		return out, err
	}
	list := "logs\x00" + in.Action + "\x00" + in.Actor + "\x00" + in.TargetID + "\x00" + in.Result + "\x00" + in.Since + "\x00" + in.Until
	size, after, box, err := s.begin(ctx, by, in.Limit, list, in.Cursor)
	if err != nil {
		return out, err
	}
	f.Cursor = after
	if out.Items, err = audit.List(ctx, s.DB, by.Tenant, f, size+1); err == nil && len(out.Items) > size {
		out.Items = out.Items[:size]
		out.Next = box.Cursor(list, out.Items[size-1].ID)
		out.Link = web.NextLink("/api/v1/logs", in, out.Next)
	}
	return out, err
}

// A message is one as the API has it.
type message struct {
	ID        string     `json:"id"`
	Channel   string     `json:"channel" doc:"email or sms"`
	Purpose   string     `json:"purpose"`
	To        string     `json:"to"`
	State     string     `json:"state" doc:"queued, sent or failed"`
	Attempts  int64      `json:"attempts"`
	LastError string     `json:"last_error" doc:"Class of the last failure; empty if there was none"`
	Provider  string     `json:"provider_id" doc:"What the mail server or the provider calls it"`
	CreatedAt time.Time  `json:"created_at"`
	SentAt    *time.Time `json:"sent_at"`
}

func messageOf(d notify.Delivery) message {
	m := message{ID: d.ID, Channel: d.Channel, Purpose: d.Purpose, To: d.To, State: d.State, Attempts: d.Attempts, LastError: d.LastError, Provider: d.ProviderID, CreatedAt: d.CreatedAt}
	if !d.SentAt.IsZero() {
		m.SentAt = &d.SentAt
	}
	return m
}

type getMessagesRequest struct {
	Limit  string `query:"limit" doc:"Messages a page: 1 to 500, 100 if absent"`
	Cursor string `query:"cursor" doc:"X-Next-Cursor of the page before"`
	To     string `query:"to" doc:"Only those to this address or number"`
}

func (s *Service) getMessages(ctx context.Context, by access.Actor, in getMessagesRequest) (out web.Page[message], err error) {
	list := "messages\x00" + in.To
	size, after, box, err := s.begin(ctx, by, in.Limit, list, in.Cursor)
	if err != nil {
		return out, err
	}
	found, err := s.Notify.List(ctx, s.DB, by.Tenant, in.To, after, size+1)
	if err != nil {
		return out, err
	}
	if len(found) > size {
		found = found[:size]
		out.Next = box.Cursor(list, found[size-1].ID)
		out.Link = web.NextLink(messages, in, out.Next)
	}
	for _, d := range found {
		out.Items = append(out.Items, messageOf(d))
	}
	return out, nil
}

type byID struct {
	ID string `path:"id" doc:"24 hex digits"`
}

func (s *Service) getMessage(ctx context.Context, by access.Actor, in byID) (message, error) {
	if err := by.Require(access.LogsRead); err != nil {
		return message{}, err
	}
	d, err := s.Notify.Find(ctx, s.DB, by.Tenant, in.ID)
	return messageOf(d), err
}

var exampleTime = time.Date(2026, 3, 5, 9, 30, 0, 0, time.UTC)

var exampleEvent = audit.Listed{
	ID: "019e1f6b2c3d4e5f60718293", At: exampleTime, Actor: "user:019e1f6b2c3d4e5f60718290", Action: "signin.succeeded", Target: "user", TargetID: "019e1f6b2c3d4e5f60718290",
	Result: audit.Success, Method: "passkey", IP: "203.0.113.7", UserAgent: "Mozilla/5.0", RequestID: "019e1f6b2c3d4e5f60718291", Detail: []byte(`{}`), Seq: 4711,
}

var exampleMessage = message{
	ID: "019e1f6b2c3d4e5f60718294", Channel: notify.Email, Purpose: "signin", To: "user@example.com", State: notify.Sent, Attempts: 1, Provider: "4XkZ1", CreatedAt: exampleTime, SentAt: &exampleTime,
}
