package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/cardea-id/cardea/internal/access"
)

// A Record is what the edge knows of one request. It is made once, travels in
// the context, and becomes the request's line in the log. It belongs to the
// request's goroutine.
type Record struct {
	ID     string // request id, also in the answer's head and in every error
	IP     string // canonical client address
	Secure bool   // the client came over https
	Host   string // lower case, without a port
	Actor  access.Actor
	// AuthErr is why the credentials that came along are not good; routes that
	// anyone may call do not mind.
	AuthErr error
	Fields  []slog.Attr // more for the log

	start   time.Time
	dialect func(path string) Dialect // nil: API
	path    string                    // that was asked
	err     error
	query   url.Values
	route   string
}

type recordKey struct{}

// Of returns the request's record. Outside of Edge it is an empty one, so that
// handlers can be tested by themselves.
func Of(ctx context.Context) *Record {
	if rec, ok := ctx.Value(recordKey{}).(*Record); ok {
		return rec
	}
	return &Record{}
}

// ActorOf returns who is asking.
func ActorOf(ctx context.Context) access.Actor { return Of(ctx).Actor }

// WithActor records who is asking. Only authentication and tests call it.
func WithActor(r *http.Request, by access.Actor) *http.Request {
	rec, ok := r.Context().Value(recordKey{}).(*Record)
	if !ok {
		rec = &Record{}
		r = r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
	}
	rec.Actor = by
	return r
}
