package page

import (
	"slices"
	"time"
)

// Where the pages of an account lead to one another.
const (
	ProfilePath      = "/account"
	PasswordPath     = "/account/password"
	SecurityPath     = "/account/security"
	SessionsPath     = "/account/sessions"
	ApplicationsPath = "/account/applications"
)

// An AccountView is what every page of an account has beside a View.
type AccountView struct {
	View
	Person     Person
	SignOutURL string
	NoLinked   bool   // there are no other services to sign in with
	BackURL    string // to the application that the person came from; may be empty
}

// The forms of account pages never end at an application.
func (*AccountView) stays() bool { return true }

// shell says that the account's menu is around the page.
func (*AccountView) shell() string { return "account" }

// A Tab is a page of the account, to go to.
type Tab struct{ Path, Key, Icon string }

// Tabs are the pages of the account.
func (v *AccountView) Tabs() []Tab {
	tabs := []Tab{
		{ProfilePath, "account.profile", "person"},
		{PasswordPath, "account.password", "key"},
		{PasskeysPath, "account.passkeys", "passkey"},
		{SecurityPath, "account.security", "shield"},
		{LinkedPath, "account.linked", "link"},
		{SessionsPath, "account.sessions", "devices"},
		{ApplicationsPath, "account.applications", "apps"},
	}
	if v.NoLinked {
		tabs = slices.DeleteFunc(tabs, func(t Tab) bool { return t.Path == LinkedPath })
	}
	return tabs
}

// AccountProfile shows and changes what is known of a person. Its form sends
// "given_name" and "family_name".
type AccountProfile struct {
	AccountView
	GivenName  string
	FamilyName string
	Username   string // may be empty; not changed here
	SaveAction string // names are shown and not changed if it is empty
	Email      Contact
	Phone      Contact
	DataAction string // sends a file back
	DeleteURL  string // to AccountDelete
}

// Tab is where the page stands in the menu.
func (*AccountProfile) Tab() string { return ProfilePath }

// A Contact is an e-mail address or a phone number of a person.
type Contact struct {
	Address      string // empty if there is none
	Verified     bool
	VerifyAction string // sends a code there
	ChangeURL    string // to AccountContact; also adds one
	RemoveAction string
	Further      []Further
	AddURL       string // to AccountContact for a further one; empty if none can be added
}

// A Further is an address beside the primary one. Its forms send "address": its id, or to
// confirm it, itself.
type Further struct {
	ID            string
	Address       string
	Held          bool // it does not count until it is confirmed again
	ConfirmAction string
	PrimaryAction string
	RemoveAction  string
}

// A FurtherRow is a further address as the profile lists it.
type FurtherRow struct {
	*View
	Further
	Key string // of what it is called
}

// furtherRow is f as the profile lists it.
func furtherRow(on shown, f Further, key string) FurtherRow { return FurtherRow{on.view(), f, key} }

// A ContactRow is a contact as the profile lists it.
type ContactRow struct {
	*View
	Contact
	Key string // of what it is called
}

// contactRow is c as the profile lists it.
func contactRow(on shown, c Contact, key string) ContactRow { return ContactRow{on.view(), c, key} }

// AccountContact asks for a new e-mail address or phone number, to which a code is
// then sent (CodeSent). The form sends "address".
type AccountContact struct {
	AccountView
	SMS      bool   // it is a phone number
	Address  string // as typed before
	Old      string // in force until the new one is proved; may be empty
	Further  bool   // it comes beside the one in force
	Action   string
	CloseURL string // back without a change
}

// Tab is where the page stands in the menu.
func (*AccountContact) Tab() string { return ProfilePath }

// AccountPassword changes the password, or sets the first. The form sends
// "current_password", if there is one, and "password".
type AccountPassword struct {
	AccountView
	Has       bool
	ChangedAt time.Time // zero if not known
	MinLength int
	Action    string
	ForgotURL string
}

// Tab is where the page stands in the menu.
func (*AccountPassword) Tab() string { return PasswordPath }

// AccountSessions lists where a person is signed in. Ending one sends its ID as
// "session" to EndAction.
type AccountSessions struct {
	AccountView
	Sessions        []Session
	EndAction       string
	EndOthersAction string // shown if there are others
}

// A Session is a browser where the person is signed in.
type Session struct {
	ID       string
	Device   Device // at sign-in
	LastSeen time.Time
	Phone    bool // a small device, for its picture
	Current  bool // this one
}

// Tab is where the page stands in the menu.
func (*AccountSessions) Tab() string { return SessionsPath }

// Others reports whether there is a session but the current one.
func (p *AccountSessions) Others() bool {
	for _, s := range p.Sessions {
		if !s.Current {
			return true
		}
	}
	return false
}

// AccountApplications lists the applications that have access to the account.
// Taking it away sends its ID as "access" to RevokeAction.
type AccountApplications struct {
	AccountView
	Access       []Access
	RevokeAction string
}

// Tab is where the page stands in the menu.
func (*AccountApplications) Tab() string { return ApplicationsPath }

// An Access is what an application may do with the account.
type Access struct {
	ID       string
	App      App
	Scopes   []Scope
	Since    time.Time
	LastUsed time.Time // zero if not known
}

// NotMe is where the link of a letter leads whoever knows nothing of what it tells. The
// form sends "token".
type NotMe struct {
	View
	Since  time.Time // of what the letter tells
	Token  string
	Action string
}

// NotMeDone says that the account was taken back, and how to get in again.
type NotMeDone struct {
	View
	Mailed  bool // a link to a new password is on its way
	Coded   bool // else: a code by mail signs in
	NextURL string
}

// AccountDelete deletes the account. The form sends the text "delete.word" of its
// language as "word".
type AccountDelete struct {
	AccountView
	Action     string
	DataAction string // of AccountProfile
	CloseURL   string
}

// Tab is where the page stands in the menu.
func (*AccountDelete) Tab() string { return ProfilePath }
