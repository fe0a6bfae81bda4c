package page

import "time"

// PasskeysPath is the page of one's passkeys.
const PasskeysPath = "/account/passkeys"

// A Ceremony is a form that a script fills in: it asks OptionsAction for what to ask the
// browser, and sends the browser's answer as "credential" to Action. Without scripts it
// is not shown.
type Ceremony struct {
	Action        string // the part is left out if it is empty
	OptionsAction string
	// Autofill offers passkeys where the person types who they are.
	Autofill bool
	// Named sends "named" as 1: the passkey is of the person whom the page names.
	Named bool
}

// PasskeyOffer offers a passkey to somebody who has just signed in without one.
type PasskeyOffer struct {
	View
	App         App
	Create      Ceremony
	LaterAction string
}

// AccountPasskeys shows the passkeys of a person. Forms send "passkey", and the one for
// the name "name" as well.
type AccountPasskeys struct {
	AccountView
	Passkeys      []Passkey
	Create        Ceremony
	RenameAction  string
	RemoveAction  string
	ConfirmAction string
	// Known is what the browser is told of the passkeys that there are, as JSON, so that
	// it stops offering those that were removed (WebAuthn Level 3, section 5.1.10).
	Known string
}

// Tab is where the page stands in the menu.
func (*AccountPasskeys) Tab() string { return PasskeysPath }

// A Passkey is one that a person has.
type Passkey struct {
	ID       string
	Title    string // given by its owner, or the authenticator's; may be empty
	Name     string // given by its owner; may be empty
	Since    time.Time
	LastUsed time.Time // zero if it was not
	Synced   bool      // it is on other devices of the person too
	Held     bool      // it is good for nothing until it is confirmed
	Domain   string    // that it is for, if that is not where the page is
	Second   bool      // it does as a second step only
}
