package page

import "time"

// LinkedPath is the page of accounts elsewhere that a person signs in with.
const LinkedPath = "/account/linked"

// SocialProve asks somebody who comes from another service to show which account is
// theirs, or an address. The form sends "identifier".
type SocialProve struct {
	View
	App        App
	Provider   string
	Known      string // an address that has an account here; empty if none may be named
	Takes      string
	Identifier string
	Action     string
	BackURL    string // to sign in without the other service
}

// SocialLink asks whether to connect an account elsewhere with one here. The form sends
// "flow", and "choice": "link" or "skip".
type SocialLink struct {
	View
	App      App
	Provider string
	Icon     string
	There    Person
	Here     Person
	Flow     string
	Action   string
}

// AccountLinked lists the accounts elsewhere that a person signs in with. Removing one
// sends its ID as "identity" to UnlinkAction, saying that a held one is one's own to
// ConfirmAction.
type AccountLinked struct {
	AccountView
	Linked       []Linked
	UnlinkAction string
	// ConfirmAction takes one that is held.
	ConfirmAction string
	Ways          []Way // to link another
}

// Tab is where the page stands in the menu.
func (*AccountLinked) Tab() string { return LinkedPath }

// Its forms lead to other services.
func (*AccountLinked) stays() bool { return false }

// A Linked is an account elsewhere.
type Linked struct {
	Held     bool // it is good for nothing until it is confirmed
	Waits    bool // it counts again once the person comes by it and proves who they are
	ID       string
	Provider string
	Icon     string
	Account  string // what it is called there
	Since    time.Time
	LastUsed time.Time
}

// AccountLink asks whether to connect an account elsewhere with one's own. The form
// sends "flow".
type AccountLink struct {
	AccountView
	Provider string
	Icon     string
	There    Person
	Flow     string
	Action   string
	CloseURL string
}

// Tab is where the page stands in the menu.
func (*AccountLink) Tab() string { return LinkedPath }
