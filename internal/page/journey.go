package page

import "time"

// What an identifier may be, for SignIn.Takes and SignUp.Takes.
const (
	TakesEmail        = "email"
	TakesPhone        = "phone"
	TakesEmailOrPhone = "email_or_phone"
	TakesAny          = "any" // also a username
)

// A Person is an account as it is shown to whom it belongs.
type Person struct {
	Name  string // empty if not known
	Login string // e-mail address, phone number or username
}

// Title is what the person is called.
func (p Person) Title() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Login
}

// Initial is the first letter of it, in place of a picture.
func (p Person) Initial() string { return initial(p.Title()) }

// An App is an application as a person sees it.
type App struct {
	Name    string
	LogoURL string
	HomeURL string
}

// Initial is the first letter of its name, in place of a logo.
func (a App) Initial() string { return initial(a.Name) }

// A Device is where a request came from.
type Device struct {
	Name  string    // "Firefox on Windows"; empty if not known
	Place string    // "Berlin, Germany"; empty if not known
	IP    string    // may be empty
	At    time.Time // when; may be zero
}

// Known reports whether there is anything to say.
func (d Device) Known() bool { return d.Name != "" || d.Place != "" || d.IP != "" }

// A Way is another way to sign in. Its button posts to Action.
type Way struct {
	Label  string // in the page's language: "Continue with Acme"
	Icon   string // a name of ui/icons.svg; may be empty
	Action string
}

// SignIn asks who is there. The form sends "identifier".
type SignIn struct {
	View
	App        App
	Takes      string // one of the Takes… constants; TakesEmail if empty
	Identifier string // as typed before
	Action     string
	SignUpURL  string
	Ways       []Way
	Passkey    Ceremony
	// Known are people who were signed in here before. Choosing one posts their Login
	// as "identifier" to Action.
	Known []Person
}

// SignUp asks for what a new account needs. The form sends "identifier" and, if
// Names is set, "given_name" and "family_name", which may stay empty.
type SignUp struct {
	View
	App        App
	Takes      string
	Identifier string
	Names      bool
	GivenName  string
	FamilyName string
	Action     string
	SignInURL  string
	Ways       []Way
}

// CodeSent waits for the code that was sent. The form sends "code"; people paste it
// with spaces. It serves signing in and up as well as proving an address.
type CodeSent struct {
	View
	Passkey Ceremony
	SMS     bool   // it went to a phone, without a link
	Address string // where it went
	Code    string // as typed before
	Digits  int    // of the code; 6 if 0
	Action  string
	// Number is to be typed where the link is opened, if that is in another browser
	// (LinkConfirm.AskNumber). Empty if it is not asked for.
	Number       string
	ResendAction string
	ResendAt     time.Time // from when on sending again is allowed
	PasswordURL  string    // to the password instead
	BackURL      string    // to another address or another way
	// WaitURL is asked by a script every few seconds whether the link was opened
	// elsewhere: 204 is no, 200 is yes. FinishAction is then posted to; without
	// scripts a button does that.
	WaitURL      string
	FinishAction string
}

// CodeInput is the field for the code.
func (p *CodeSent) CodeInput() Input {
	digits := p.Digits
	if digits == 0 {
		digits = 6
	}
	return input(p, "code", "code", p.Code).Of(digits).First()
}

// Again is what sending again must name: nothing, the attempt knows.
func (*CodeSent) Again() string { return "" }

// Password asks for the password. The form sends "password", and "identifier" for
// password managers.
type Password struct {
	View
	Passkey    Ceremony
	Identifier string
	Action     string
	NotYouURL  string
	CodeAction string // sends a code instead
	CodeSMS    bool   // by text message
	ForgotURL  string
}

// ForgotPassword asks where to send the way to a new password. The form sends
// "identifier".
type ForgotPassword struct {
	View
	Takes      string
	Identifier string
	Action     string
	BackURL    string
}

// ResetSent says that a mail is on its way if there is such an account. The form
// for sending again sends "identifier".
type ResetSent struct {
	View
	Identifier   string
	ResendAction string
	ResendAt     time.Time
	BackURL      string
}

// Again is what sending again must name.
func (p *ResetSent) Again() string { return p.Identifier }

// ResetPassword takes a new password from somebody who came by the link of a mail.
// The form sends "password" and "token".
type ResetPassword struct {
	View
	Identifier string // for password managers; may be empty
	Token      string
	MinLength  int // characters
	Action     string
}

// NewPassword takes the place of a password that must be changed before going on.
// The form sends "password".
type NewPassword struct {
	View
	Weak       bool // it does not meet the rules; else it was temporary
	Identifier string
	MinLength  int
	Action     string
	BackURL    string // away without changing it
}

// The purposes of a link, for LinkConfirm and LinkDone.
const (
	LinkSignIn = "signin"
	LinkSignUp = "signup"
	LinkVerify = "verify" // an address
)

// LinkConfirm is where the link of a mail leads. Opening it changes nothing; the
// button does. The form sends "token" and, if AskNumber is set, "number".
type LinkConfirm struct {
	View
	Purpose   string
	App       App
	Address   string // that the link was sent to
	Token     string
	AskNumber bool   // because it was asked for in another browser
	AskedFrom Device // that browser; empty if it is this one
	Action    string
}

// LinkDone says that the other window goes on, or that an address is proved.
type LinkDone struct {
	View
	Purpose string
	App     App
	NextURL string // to go on here; empty if the other window does
	Title   string // of the window, where programs look for certain words; the heading if empty
}

// AccountPicker asks which of several accounts to go on with. Choosing one sends
// its ID as "account" to Action.
type AccountPicker struct {
	View
	App        App
	Accounts   []Account
	Action     string
	AnotherURL string
}

// An Account is one to choose.
type Account struct {
	Person
	ID      string
	Expired bool // must sign in again
}
