package page

import (
	"html/template"
	"slices"
	"strings"
	"time"
)

// What a link of the portal may be for.
const (
	PortalSSO          = "sso"
	PortalDirectory    = "directory"
	PortalDomains      = "domains"
	PortalCertificates = "certificates"
	PortalLog          = "log"
)

// A PortalView is what every page of the portal of IT administrators has beside a
// View.
type PortalView struct {
	View
	Organization string
	Until        time.Time // when the link ends
	Base         string    // path of the portal, with the link in it
	Intents      []string
}

// The forms of the portal stay with us, but for those that try a connection.
func (*PortalView) stays() bool { return true }

// shell says that the portal's menu is around the page.
func (*PortalView) shell() string { return "account it" }

// Can reports whether the link is for something.
func (p *PortalView) Allows(intent string) bool { return slices.Contains(p.Intents, intent) }

// Tabs are the parts of the portal that the link is for.
func (p *PortalView) Tabs() []Tab {
	out := []Tab{{p.Base, "portal.home", "building"}}
	for _, t := range []struct {
		intent string
		tab    Tab
	}{
		{PortalSSO, Tab{p.Base + "/connections", "portal.sso", "shield"}},
		{PortalDirectory, Tab{p.Base + "/directory", "portal.directory", "people"}},
		{PortalDomains, Tab{p.Base + "/domains", "portal.domains", "globe"}},
		{PortalLog, Tab{p.Base + "/log", "portal.log", "list"}},
	} {
		if p.Allows(t.intent) || t.intent == PortalSSO && p.Allows(PortalCertificates) {
			out = append(out, t.tab)
		}
	}
	return out
}

// An Entry is a field of a form whose words belong to the page.
type Entry struct {
	*View
	Name, Label, Tip, Value string
	Type                    string
	Rows                    int // of a field of several lines, 0 for one line
	Latin                   bool
	MayBeEmpty              bool
}

// entry is a field with a label. Texts are in the page's language.
func entry(on shown, name, label, value string) Entry {
	return Entry{View: on.view(), Name: name, Label: label, Value: value, Type: "text", Latin: true}
}

// As sets the type of the field.
func (e Entry) As(kind string) Entry { e.Type = kind; return e }

// Hinted says what to know beforehand.
func (e Entry) Hinted(text string) Entry { e.Tip = text; return e }

// Tall is a field of several lines.
func (e Entry) Tall(rows int) Entry { e.Rows = rows; return e }

// Free lets the field be empty.
func (e Entry) Free() Entry { e.MayBeEmpty = true; return e }

// DescribedBy names the elements that say more about the field.
func (e Entry) DescribedBy() string {
	var ids []string
	if wrong(e, e.Name) != "" {
		ids = append(ids, e.Name+"-error")
	}
	if e.Tip != "" {
		ids = append(ids, e.Name+"-hint")
	}
	return strings.Join(ids, " ")
}

// A Do is one thing to do at a provider: a sentence of ours around the provider's own
// words, and values to put there.
type Do struct {
	Key    string // of the sentence
	Where  string // the provider's word for the place
	What   string // and for the thing
	Values []CopyValue
}

// A CopyValue is put into the field of this name.
type CopyValue struct{ Label, Value string }

// sentence is what to do, in the page's language.
func sentence(on shown, d Do) template.HTML { return bold(on, d.Key, "where", d.Where, "what", d.What) }

// States of what is set up, for a badge.
const (
	StateNone     = ""
	StateDraft    = "draft"
	StateActive   = "active"
	StateDisabled = "disabled"
	StateWaiting  = "waiting"
	StateFailing  = "failing" // on, and not for long
)

var stateKeys = map[string][2]string{
	StateNone: {"portal.state.none", ""}, StateDraft: {"portal.state.draft", "warn"}, StateActive: {"portal.state.active", "ok"}, StateDisabled: {"portal.state.disabled", "bad"}, StateWaiting: {"portal.state.waiting", "warn"}, StateFailing: {"portal.state.active", "warn"},
}

// A Badge is a word with a colour.
type Badge struct{ Text, Class string }

// stateBadge tells a state.
func stateBadge(on shown, state string) Badge {
	k := stateKeys[state]
	return Badge{text(on, k[0]), k[1]}
}

// PortalHome tells what there is to do, and what is done.
type PortalHome struct {
	PortalView
	Parts []PortalPart
}

// A PortalPart is one thing to set up.
type PortalPart struct {
	URL, Icon string
	Key       string // of its name; its text is the key with ".text"
	TextKey   string
	State     string
	Count     int // of things like it that there are
}

// Tab is where the page stands in the menu.
func (p *PortalHome) Tab() string { return p.Base }

// PortalConnections lists connections and offers to add one. The form sends
// "provider".
type PortalConnections struct {
	PortalView
	Connections []PortalConnectionRow
	Action      string // empty if none can be added
	SAML, OIDC  []ProviderChoice
}

// A PortalConnectionRow is a connection in the list.
type PortalConnectionRow struct {
	URL, Name, Provider, State string
	LastSuccess                time.Time
	Ends                       time.Time // of the last certificate
}

// A ProviderChoice is a provider of the list.
type ProviderChoice struct{ Value, Name string }

// Tab is where the page stands in the menu.
func (p *PortalConnections) Tab() string { return p.Base + "/connections" }

// Steps of setting up a connection.
const (
	StepCreate = "create"
	StepSend   = "send"
	StepMap    = "map"
	StepTest   = "test"
)

// A WizardStep is one of the steps, as the list of them shows it.
type WizardStep struct {
	Key, URL string
	Done     bool
	Current  bool
}

// PortalConnection sets one connection up, a step at a time.
type PortalConnection struct {
	PortalView
	Provider string // its name
	Name     string
	IsSAML   bool
	Status   string // of the connection
	Step     string
	Steps    []WizardStep
	BackURL  string
	NextURL  string

	Do          []Do // at the provider, in this step
	MetadataURL string

	// Step send. Of SAML the form sends "metadata_url", "metadata" and "file"; of OpenID
	// Connect "issuer", "client_id" and "client_secret".
	SendAction                       string
	GivenURL                         string
	EntityID                         string // of the provider, once it is known
	Certificates                     []PortalCertificate
	Issuer, ClientID                 string
	HasSecret                        bool
	IssuerLabel, IDLabel, SecretName string
	HasDirectories                   bool // the provider has directories, and Directories are those taken, one a line
	Directories                      string

	// Step map. The form sends "attribute_<name>" of each, "group_attribute", and
	// "group_<n>" with "role_<n>".
	MapAction      string
	Attributes     []PortalAttribute
	GroupAttribute string
	Rules          []PortalRule
	Roles          []RoleChoice
	Seen           []SeenAttribute

	// Step test.
	TestAction   string // empty while something is missing
	StateAction  string // sends "state"
	DeleteAction string
	More         *PortalMore // nil of a connection that has none of it
	Tests        []PortalTest
	Tested       bool // the newest test went well
}

// PortalMore are settings of a connection that most leave as they are. The form sends
// "begin_there", "land" with an application's id, and "logout_there".
type PortalMore struct {
	Action      string
	BeginThere  bool
	Land        string           // the application; empty for people's own account
	Lands       []ProviderChoice // applications to land at
	CanLogout   bool             // the provider has an address for it
	LogoutThere bool
}

// A test leads to the provider by way of a redirect.
func (*PortalConnection) stays() bool { return false }

// Tab is where the page stands in the menu.
func (p *PortalConnection) Tab() string { return p.Base + "/connections" }

// A PortalAttribute is what a value of ours is called at the provider.
type PortalAttribute struct{ Name, Label, Value string }

// A PortalRule gives a role to a group.
type PortalRule struct{ Group, RoleID string }

// A RoleChoice is a role that a rule can give.
type RoleChoice struct{ ID, Name string }

// A SeenAttribute is one that came at the last test.
type SeenAttribute struct{ Name, Sample, UsedAs string }

// A PortalTest is an attempt.
type PortalTest struct {
	URL  string
	At   time.Time
	Test bool
	OK   bool
	Text string // what was wrong
}

// A PortalCertificate is one of the provider's.
type PortalCertificate struct {
	ID          string
	Subject     string
	Fingerprint string
	Until       time.Time
	Over, Soon  bool
}

// PortalCertificates renews what a connection trusts. The form sends "certificate",
// "file" or "remove".
type PortalCertificatesPage struct {
	PortalView
	Name         string
	Do           []Do
	Certificates []PortalCertificate
	ReadsItself  string // the address that certificates are read from by themselves
	Action       string
	RemoveAction string // empty if there is but one
	BackURL      string
}

// Tab is where the page stands in the menu.
func (p *PortalCertificatesPage) Tab() string { return p.Base + "/connections" }

// PortalTrace tells what happened at an attempt.
type PortalTrace struct {
	PortalView
	OK         bool
	At         time.Time
	Cause, Fix string // in the page's language
	Field      CopyValue
	AtProvider bool // Field is the provider's
	Steps      []TraceStep
	Seen       []SeenAttribute
	AgainURL   string
	BackURL    string
}

// Tab is where the page stands in the menu.
func (p *PortalTrace) Tab() string { return p.Base + "/connections" }

// A TraceStep is one check. Name is what programs call it, Word what it is about.
type TraceStep struct {
	Name, Word, Expected, Received string
	OK                             bool
}

// PortalDirectories lists directories and offers to add one. The form sends "type".
type PortalDirectories struct {
	PortalView
	Directories []PortalConnectionRow
	Action      string
	Types       []ProviderChoice
}

// Tab is where the page stands in the menu.
func (p *PortalDirectories) Tab() string { return p.Base + "/directory" }

// PortalDirectoryPage sets a directory up.
type PortalDirectoryPage struct {
	PortalView
	Name, Provider, Status string
	// Token is shown once, when it was made.
	Token       string
	Do          []Do
	Tokens      []PortalToken
	TokenAction string
	RulesAction string
	Rules       []PortalRule
	Roles       []RoleChoice
	StateAction string
	Requests    []PortalRequest
	LastSync    time.Time
	NextURL     string
}

// Tab is where the page stands in the menu.
func (p *PortalDirectoryPage) Tab() string { return p.Base + "/directory" }

// A PortalToken lets a directory in.
type PortalToken struct {
	Hint  string
	Since time.Time
	Until time.Time // zero for none
}

// A PortalRequest is what a directory asked.
type PortalRequest struct {
	At           time.Time
	Method, Path string
	Status       int
	Problem      string
}

// PortalDomainsPage adds and proves domains. The forms send "domain".
type PortalDomainsPage struct {
	PortalView
	Domains      []PortalDomain
	Typed        string
	AddAction    string
	VerifyAction string
	RemoveAction string
}

// Tab is where the page stands in the menu.
func (p *PortalDomainsPage) Tab() string { return p.Base + "/domains" }

// A PortalDomain is one, and the record that proves it.
type PortalDomain struct {
	Name, Record, Value string
	Verified            bool
	Since               time.Time
	Failing             bool // its record was not found lately
}

// PortalLogPage tells what was done.
type PortalLogPage struct {
	PortalView
	Events  []PortalEvent
	NextURL string
}

// Tab is where the page stands in the menu.
func (p *PortalLogPage) Tab() string { return p.Base + "/log" }

// Tell says what happened, in the page's language.
func (p *PortalLogPage) Tell(e PortalEvent) template.HTML { return bold(p, e.Key, e.Args...) }

// A PortalEvent is something that was done.
type PortalEvent struct {
	At    time.Time
	Key   string // of its sentence; empty if there is none, and the action is shown
	Args  []any
	Roles string // that it gives
	By    string // who has done it
	IP    string // where they were, if that may be told
	OK    bool
	// As programs have it.
	Action, Detail, Actor string
}

// SSOTested ends a test whose result somebody else may see.
type SSOTested struct {
	View
	OK bool
}

func (*SSOTested) stays() bool { return true }

// A copied is a value with the page that shows it.
type copied struct {
	*View
	CopyValue
}

// copyable is a value to copy, on its page.
func copyable(on shown, c CopyValue) any { return copied{on.view(), c} }

// copyOf is a value to copy under a label of ours.
func copyOf(on shown, key, value string) any { return copyable(on, CopyValue{text(on, key), value}) }
