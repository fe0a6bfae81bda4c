package page

// An Organization is a customer's company as a person sees it.
type Organization struct {
	ID      string
	Name    string
	LogoURL string
	Current bool // the person acts in it at the moment
}

// Initial is the first letter of its name, in place of a logo.
func (o Organization) Initial() string { return initial(o.Name) }

// OrganizationChoice lets a person choose among the organizations they belong to. The
// form sends the ID of one as "organization", or a part of a name as "search".
type OrganizationChoice struct {
	View
	App           App
	Organizations []Organization
	Many          bool   // there are more than a page holds: they can be searched
	Search        string // what was searched for
	Cut           bool   // there are more of those
	Action        string
	BackURL       string // to another account
}

// OrganizationStep says that an organization asks for another way to sign in than the
// one that was shown, or for its own: those are Ways.
type OrganizationStep struct {
	View
	App          App
	Organization Organization
	SSO          bool // its own sign-in page is asked for
	Ways         []Way
	ChooseURL    string // to another organization
	AgainAction  string // begins again, with another way or account
}

// Invitation asks somebody who was invited whether to join. The form sends "token", and
// "agreed" as "1" if somebody else is signed in than was invited.
type Invitation struct {
	View
	Organization Organization
	Address      string // that was invited
	Person       Person // who is signed in; without a login for nobody
	Other        bool   // whose address is another
	Token        string
	Action       string
	SwitchAction string // goes on as somebody else
}

// SSOContinue asks whether somebody wants to sign in whom an organization has sent here
// without having been asked. The form sends "flow".
type SSOContinue struct {
	View
	App          App // where they land; without a name in their account
	Organization Organization
	Person       Person
	Flow         string
	Action       string
	BackURL      string
}
