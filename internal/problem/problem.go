// Package problem defines the one error type that may be shown to a caller.
//
// A Problem says what class of failure happened (Kind), which failure it was
// (Code, stable, part of the API) and what to tell a person (Message). Any
// other error is an internal fault: fronts log it and answer "internal_error"
// without a word of what went wrong. An attacker would try to make a front
// print a cause (a statement, a file name, whether an account exists), so the
// cause has no exported accessor but Error, which only the log calls.
package problem

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is the class of a failure. Each front maps every Kind once, to its own
// dialect: an HTTP status, an OAuth error code, a SCIM status, an HTML page.
type Kind int

// The kinds of problem.
const (
	Internal        Kind = iota // a fault of ours; never declared, only the answer to an unknown error
	Invalid                     // the request is malformed or breaks a rule
	Unauthenticated             // we do not know who is asking
	Forbidden                   // we know, and they may not
	NotFound                    // no such thing, or none the caller may know of
	NoMethod                    // the address exists, but not for this method
	Conflict                    // it clashes with something that exists
	TooLarge                    // the request is over a size limit
	Misdirected                 // the host names no tenant of this installation
	TooMany                     // a limit on attempts was reached
	Unsupported                 // a documented call that this product does not offer
	Unavailable                 // overloaded or not ready: try again later
)

// A Problem is an error safe to show to the caller.
type Problem struct {
	Kind    Kind
	Code    string // snake_case, stable
	Message string // one sentence or two for a person; never names a secret
	Fields  []Field
	// RetryAfter is how long the caller should wait, zero if that is not known.
	RetryAfter time.Duration
	// Challenge are further parameters of the header WWW-Authenticate, empty for none.
	Challenge string
	cause     error
}

// A Field says what is wrong with one part of the request.
type Field struct {
	Name    string `json:"field"`
	Message string `json:"message"`
}

// New declares a problem as a package variable, which also puts it on the list
// that the manual shows. To say something else under the same code use Saying.
func New(k Kind, code, message string) *Problem {
	p := &Problem{Kind: k, Code: code, Message: message}
	declared.Lock()
	defer declared.Unlock()
	declared.list = append(declared.list, p)
	return p
}

// declared holds the first declaration of each code.
var declared struct {
	sync.Mutex
	list []*Problem
}

// All lists every declared problem by code; of those that share a code, the one
// that was declared first.
func All() []*Problem {
	declared.Lock()
	defer declared.Unlock()
	all := slices.SortedStableFunc(slices.Values(declared.list), func(p, q *Problem) int { return strings.Compare(p.Code, q.Code) })
	return slices.CompactFunc(all, func(p, q *Problem) bool { return p.Code == q.Code })
}

// Because returns a copy of p that remembers why it happened. The cause is for
// the log; no front ever prints it.
func (p *Problem) Because(format string, args ...any) *Problem {
	q := *p
	q.cause = fmt.Errorf(format, args...)
	return &q
}

// Saying returns a copy of p with a message that fits this case better. It must
// not repeat what the caller sent, unless that can not be a secret.
//
//go:noinline // it is called in hundreds of places, each of which would hold the copying
func (p *Problem) Saying(format string, args ...any) *Problem {
	q := *p
	q.Message = fmt.Sprintf(format, args...)
	return &q
}

// In returns a copy of p that blames the named field of the request.
//
//go:noinline // as Saying
func (p *Problem) In(field string) *Problem {
	q := *p
	q.Fields = append(q.Fields[:len(q.Fields):len(q.Fields)], Field{field, p.Message})
	return &q
}

// Asking returns p with what the caller is asked for in the header WWW-Authenticate:
// parameters as they are written there.
func (p *Problem) Asking(challenge string) *Problem {
	q := *p
	q.Challenge = challenge
	return &q
}

// After returns a copy of p that asks the caller to wait for d.
func (p *Problem) After(d time.Duration) *Problem {
	q := *p
	q.RetryAfter = d
	return &q
}

// Error is for the log: code and cause.
func (p *Problem) Error() string {
	if p.cause != nil {
		return p.Code + ": " + p.cause.Error()
	}
	return p.Code
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.cause }

// Is matches by Code, so a problem still equals its declaration after Because.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// From finds the Problem in err's chain, if any.
func From(err error) (*Problem, bool) { return errors.AsType[*Problem](err) }
