package page

import "time"

// SecondChoice asks by which second factor to go on.
type SecondChoice struct {
	View
	App     App
	Ways    []SecondWay
	Passkey Ceremony
	BackURL string // to another account
}

// A SecondWay is a second factor to choose: the button posts Kind as "way" to Action,
// or leads to URL.
type SecondWay struct {
	Kind    string // totp, sms, email or backup_code
	Address string // where a code goes; may be empty
	Action  string
	URL     string
}

// SecondCode takes the code of a second factor. The form sends "way", "code" and, if
// the box is ticked, "remember" as 1.
type SecondCode struct {
	View
	Kind         string // totp, sms, email or backup_code
	Address      string // where it went, for sms and email
	Action       string
	Remember     bool   // offers to remember the browser
	ResendAction string // sends "way"
	ResendAt     time.Time
	OtherURL     string // to SecondChoice
	BackURL      string // to another account
}

// CodeInput is the field for the code.
func (p *SecondCode) CodeInput() Input {
	if p.Kind == "backup_code" {
		return input(p, "code", "backup_code", "").First()
	}
	return input(p, "code", "code", "").Of(6).First()
}

// SecondEnroll has somebody set up a second factor, without which they can not go on.
// Without a key it sends "name" to BeginAction; with one, "authenticator" and "code" to
// Action.
type SecondEnroll struct {
	View
	App         App
	BeginAction string
	Key         Key
	Action      string
	BackURL     string
}

// A Key is what an authenticator app makes codes with, as a QR code and as text.
type Key struct {
	ID     string // empty if there is none yet
	Path   string // of the QR code in SVG
	Size   int    // of the square it is drawn in
	Secret string // the same, to be typed
	URI    string // that apps on the same device open
}

// keyCard is a key with the page it is shown on.
func keyCard(on shown, k Key) any {
	return struct {
		*View
		Key
	}{on.view(), k}
}

// BackupCodes shows backup codes, once. Downloading them sends each as "code" to
// DownloadAction, which sends them back as a file.
type BackupCodes struct {
	View
	Codes          []string
	DownloadAction string
	NextURL        string
}

// Recover is where an administrator's link to another second factor leads. The form
// sends "token".
type Recover struct {
	View
	Token  string
	Action string
}

// AccountSecurity shows the second factors of a person. Forms send "authenticator" or
// "device".
type AccountSecurity struct {
	AccountView
	Apps          []AuthenticatorApp
	AddAction     string // begins AccountEnroll
	RemoveAction  string
	RenameAction  string // sends "name" as well
	Codes         int    // that are left
	CodesAction   string // makes new ones; without authenticator apps there are none
	Remembered    []Session
	ForgetAction  string
	PasskeysURL   string // may be empty
	RemoveRefused bool   // the last one has to stay
}

// Tab is where the page stands in the menu.
func (*AccountSecurity) Tab() string { return SecurityPath }

// An AuthenticatorApp is one that was set up.
type AuthenticatorApp struct {
	ID       string
	Name     string // may be empty
	Since    time.Time
	LastUsed time.Time // zero if it was not
}

// AccountEnroll sets up an authenticator app. The form sends "authenticator" and "code".
type AccountEnroll struct {
	AccountView
	Key      Key
	Action   string
	CloseURL string
}

// Tab is where the page stands in the menu.
func (*AccountEnroll) Tab() string { return SecurityPath }

// AccountCodes is BackupCodes on a page of the account.
type AccountCodes struct {
	AccountView
	Codes          []string
	DownloadAction string
	NextURL        string
}

// Tab is where the page stands in the menu.
func (*AccountCodes) Tab() string { return SecurityPath }
