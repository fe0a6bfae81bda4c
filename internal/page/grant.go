package page

import (
	"slices"

	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/problem"
)

// Consent asks whether an application may have what it asks for. The form sends
// "decision", which is "allow" or "deny".
type Consent struct {
	View
	App       App
	Person    Person
	SwitchURL string  // to another account
	Scopes    []Scope // asked for
	ReturnsTo string  // host the browser goes back to
	// What the application says about itself; empty if it says nothing.
	PrivacyURL, TermsURL string
	Action               string
}

// A Scope is something an application may do.
type Scope struct {
	Name string
	// Text says it in plain words. The scopes of OpenID Connect have texts of their
	// own (key "scope." and the name); others are shown by name if it is empty.
	Text string
}

// scopeText is what is shown of a scope.
func scopeText(on shown, s Scope) string {
	switch key := "scope." + s.Name; {
	case on.view().Lang.Has(key):
		return text(on, key)
	case s.Text != "":
		return s.Text
	}
	return s.Name
}

// DeviceCode asks for the code that another device shows. The form sends
// "user_code".
type DeviceCode struct {
	View
	UserCode string
	Action   string
}

// DeviceConfirm asks whether a device may sign in. The form sends "user_code" and
// "decision", which is "allow" or "deny".
type DeviceConfirm struct {
	View
	App       App
	Person    Person
	SwitchURL string
	UserCode  string // to compare
	AskedFrom Device
	Scopes    []Scope
	Action    string
}

// DeviceDone says how it ended.
type DeviceDone struct {
	View
	App     App
	Allowed bool
}

// SignOut asks whether to sign out. The form sends "decision", which is "all" if
// every account of the browser is meant and "one" otherwise.
type SignOut struct {
	View
	App     App
	Person  Person
	Several bool // more than one account is signed in
	Action  string
	BackURL string
	Hidden  []Pair // more fields to carry along
}

// SignedOut says that nobody is signed in, and tells applications so in frames
// (OpenID Connect Front-Channel Logout 1.0).
type SignedOut struct {
	View
	App       App
	Frames    []string // addresses of applications
	NextURL   string   // back to the application; followed by itself when the frames have loaded
	SignInURL string
}

func (p *SignedOut) frames() []string { return p.Frames }

// A Pair is a name and its value.
type Pair struct{ Name, Value string }

// FormPost carries an answer to an application by a form (OAuth 2.0 Form Post
// Response Mode). It sends itself; without scripts a button does.
type FormPost struct {
	View
	App    App
	Action string
	Fields []Pair
}

// Error says what happened and what to do.
type Error struct {
	View
	Code      string // of the problem
	Title     string
	Message   string
	RequestID string
	NextURL   string // a way on: to begin again, or home
	NextLabel string
}

func (*Error) stays() bool { return true }

// Problem is the page for p. What p says by itself is shown to developers only: it
// is English, and written for programs.
func Problem(v View, p *problem.Problem, requestID string) *Error {
	if v.Lang == nil {
		v.Lang = lang.All()[0]
	}
	kind := kindNames[p.Kind]
	if kind == "" {
		kind = "internal"
	}
	page := &Error{View: v, Code: p.Code, RequestID: requestID, Title: v.Lang.Text("error." + kind)}
	if slices.Contains(expiring, p.Code) {
		page.Title = v.Lang.Text("error.expired")
	}
	page.Message = v.Lang.Text("error." + kind + ".text")
	if v.Lang.Has("problem." + p.Code) {
		page.Message = v.Lang.Text("problem." + p.Code)
	}
	if p.RetryAfter > 0 {
		page.Message += " " + v.Lang.Text("problem.wait", "wait", p.RetryAfter)
	}
	return page
}

// expiring are the codes of what was good once, whatever kind of problem it is to a
// program.
var expiring = []string{ErrForm.Code, "signin_expired", "link_spent", "password_reset_spent", "authorization_expired"}

// kindNames are the parts of keys that tell kinds of problem apart. People need to
// know fewer of them than programs.
var kindNames = map[problem.Kind]string{
	problem.Invalid: "invalid", problem.TooLarge: "invalid", problem.NoMethod: "invalid", problem.Conflict: "conflict",
	problem.Unauthenticated: "unauthenticated", problem.Forbidden: "forbidden", problem.NotFound: "not_found",
	problem.Misdirected: "not_found", problem.TooMany: "too_many", problem.Unsupported: "not_found", problem.Unavailable: "unavailable",
}
