package web

import (
	"net/http"
	"strings"
	"sync"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
)

// A Route is one operation of the product's HTTP surface.
type Route struct {
	Method string
	// Paths are the addresses that reach it, in the form of http.ServeMux; the
	// first is the documented one.
	Paths []string
	// Needs is the scope the operation asks for, empty if it asks for none. The
	// operation itself enforces it; here it is for the description and for the
	// test that tries every route without.
	Needs access.Permission
	// Public says that the operation may be called by anyone.
	Public bool
	// Own says that it asks for credentials of its own, such as a client's or a form's,
	// and not for a key.
	Own bool
	// Page says that people look at the answer in a browser: it is no part of the API
	// and not in its description.
	Page bool
	Doc  Doc
	Endpoint
}

// A Doc describes a route to a reader.
type Doc struct {
	Tag     string
	Summary string // a few words, no full stop
	Text    string // anything a caller must know beyond that
	// Query lists parameters that the operation reads by itself rather than
	// through its In.
	Query   []Param
	Headers []Param // of the answer, beside those of every answer
	// Errors lists what the operation may answer beside the errors that every
	// operation with such a path, body and scope may answer.
	Errors []*problem.Problem
	// ErrorPages says that a browser gets errors as pages.
	ErrorPages bool
	Example    any // of the answer
	Request    any // example of the request body
}

// A Param is a named thing that travels beside a body, and what it says.
type Param struct{ Name, Text string }

// OneOf is what a Schema method returns for a value that is sent in one of
// several forms.
type OneOf []any

// A Router finds the route for a request. It is built at start-up and then only
// read.
type Router struct {
	routes []*Route
	mux    http.ServeMux
	ready  sync.Once
}

// Add adds a route. It must not be called once requests come.
func (ro *Router) Add(route Route) { ro.routes = append(ro.routes, &route) }

// Ready registers what was added. The first request does if nobody has called it. It
// panics if two routes can not be told apart. All are registered from one place because
// http.ServeMux looks up its caller for each, whose tables are then read but once.
func (ro *Router) Ready() {
	ro.ready.Do(func() {
		for _, route := range ro.routes {
			for _, path := range route.Paths {
				ro.mux.Handle(route.Method+" "+path, guard(route))
			}
		}
	})
}

// Routes lists what was added, in order.
func (ro *Router) Routes() []Route {
	out := make([]Route, len(ro.routes))
	for i, route := range ro.routes {
		out[i] = *route
	}
	return out
}

// guard lets nobody through to a route that is not public without a valid key or
// token. What the key allows is the operation's business.
func guard(route *Route) http.Handler {
	if route.Public {
		return route.Handler
	}
	return Handler(func(w http.ResponseWriter, r *http.Request) error {
		rec := Of(r.Context())
		if rec.AuthErr != nil {
			return rec.AuthErr
		}
		if rec.Actor.IsVisitor() {
			return ErrNobody
		}
		route.Handler.ServeHTTP(w, r)
		return nil
	})
}

var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

func (ro *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ro.Ready()
	handler, pattern := ro.mux.Handler(r)
	Of(r.Context()).route = pattern
	switch {
	case pattern == "":
	case strings.Contains(pattern, "{"): // once more, for the values in the path
		ro.mux.ServeHTTP(w, r)
		return
	default:
		r.Pattern = pattern
		handler.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, m := range methods {
		probe := *r
		probe.Method = m
		if _, pattern := ro.mux.Handler(&probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		Fail(w, r, ErrNoRoute)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	Fail(w, r, ErrNoMethod)
}
