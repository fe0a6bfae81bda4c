// Package audit keeps the record of what was done: who, what, to what, when,
// from where, how, with what result.
//
//	Append   write an event in the transaction of the change it tells of
//	List     read events, newest first
//	Sealer   chain the events by hash, in the background
//	Verify   prove the chain, or name the first event that is broken or missing
//	Prune    remove what is older than the retention, so that the rest still proves
//
// A change and its event commit together, so there is neither without the other.
// Writers do not wait for one another: an event is written to audit_unsealed, and
// within a second the sealer moves it to audit_events, where it gets its place in
// the tenant's chain and a hash over itself and all events before it.
//
// An attacker with write access to the database would try to alter or remove
// what tells of them. A change anywhere breaks the chain from there on, and a
// shortened chain does not end where audit_chains says it does. Two things the
// chain alone can not show: what happened to an event in the second before it was
// sealed, and that everything from some event on was made anew, audit_chains
// included. Against the second, note the end that Verify reports somewhere else
// and have a later Verify look for it.
package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
)

// Results of an event.
const (
	Success = "success"
	Failure = "failure"
)

// An Event is one thing that happened.
type Event struct {
	Action   string // "user.created": resource and past tense
	Target   string // kind of thing it happened to: "user"
	TargetID string
	Result   string // Success unless set
	Reason   string // why it failed, a code
	Method   string // how it was done, where that differs from who: "password", "import"
	// Detail is anything worth keeping, as a JSON object of at most 8 KiB. Never a
	// secret, never a whole profile: names of changed fields rather than their
	// values.
	Detail map[string]any
}

// What is kept of a text that may come from a stranger, in bytes.
const (
	maxText      = 256
	maxUserAgent = 512
	maxDetail    = 8 << 10
)

// Append writes e as done by the actor when the transaction commits. Nothing
// that a stranger sent can make it fail: texts are shortened and stripped of what
// does not print, and a Detail over its limit is replaced by its size. It fails
// only for a Detail that is not JSON, which is a mistake in the program.
func Append(tx *database.Tx, by access.Actor, e Event) error {
	detail, err := e.detail()
	if err != nil {
		return err
	}
	if e.Result == "" {
		e.Result = Success
	}
	tx.LaterRow(insertUnsealed, by.Tenant, tx.NewID(), clean(by.Name, maxText), clean(e.Action, maxText), clean(e.Target, maxText),
		clean(e.TargetID, maxText), clean(e.Result, maxText), clean(e.Reason, maxText), clean(e.Method, maxText),
		clean(by.IP, maxText), clean(by.UserAgent, maxUserAgent), clean(by.RequestID, maxText), detail, tx.Millis())
	return nil
}

func (e *Event) detail() (string, error) {
	if len(e.Detail) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(e.Detail)
	if err != nil {
		return "", fmt.Errorf("audit %s: %w", e.Action, err)
	}
	if len(text) > maxDetail {
		return fmt.Sprintf(`{"omitted_bytes":%d}`, len(text)), nil
	}
	return string(text), nil
}

// clean shortens s to at most n bytes of whole characters and replaces what does
// not print. PostgreSQL refuses NUL and broken UTF-8, a terminal obeys control
// characters, and a page shows text backwards after the wrong invisible one.
func clean(s string, n int) string {
	if len(s) <= n && isPlain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // a broken byte comes as utf8.RuneError
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > n {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII, as nearly every text is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
