package testidp

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

// A Person is somebody who can be signed in.
type Person struct {
	Email     string
	FirstName string
	LastName  string
	Groups    []string
}

// People are whom one can be with a click. Dora's address is in a domain that the
// organization of the developer mode has not proved.
var People = []Person{
	{"ann@acme.test", "Ann", "Lindqvist", []string{"Engineering", "Admins"}},
	{"bo@acme.test", "Bo", "Berg", []string{"Sales"}},
	{"cem@acme.test", "Cem", "Kaya", nil},
	{"dora@elsewhere.test", "Dora", "Diaz", []string{"Guests"}},
}

// Subject is the same whenever the person comes, and says nothing of them.
func (p Person) Subject() string {
	sum := sha256.Sum256([]byte(strings.ToLower(p.Email)))
	return "test-" + hex.EncodeToString(sum[:8])
}

// Name is the whole name.
func (p Person) Name() string { return strings.TrimSpace(p.FirstName + " " + p.LastName) }

// A Fault is something that the provider does wrong on request.
type Fault struct {
	Name, Text string
	SAML, OIDC bool // where it can be made
}

// Faults are all of them.
var Faults = []Fault{
	{"expired", "It was good until ten minutes ago", true, true},
	{"early", "It is good in ten minutes from now", true, false},
	{"audience", "It is meant for another service", true, true},
	{"recipient", "It is meant for another address (Recipient)", true, false},
	{"destination", "It is sent to another address (Destination)", true, false},
	{"issuer", "It comes from another issuer", true, true},
	{"request", "It answers another request (InResponseTo, nonce)", true, true},
	{"unsigned", "It is not signed", true, true},
	{"key", "It is signed with an unknown key", true, true},
	{"altered", "It was altered after it was signed", true, true},
	{"sha1", "It is signed with SHA-1", true, false},
	{"doctype", "It declares a document type", true, false},
	{"denied", "The person is refused", true, true},
	{"subject", "It does not say who it is (no NameID, no sub)", true, true},
	{"email", "It has no e-mail address", true, true},
}

func faultsOf(saml bool) []Fault {
	return slices.DeleteFunc(slices.Clone(Faults), func(f Fault) bool { return saml && !f.SAML || !saml && !f.OIDC })
}

// chosen is who and what the page's form asks for.
func chosen(r *http.Request) (who Person, fault string, err error) {
	if err := r.ParseForm(); err != nil {
		return who, "", ErrRequest.Because("%w", err)
	}
	who = Person{
		Email: strings.TrimSpace(r.PostFormValue("email")), FirstName: strings.TrimSpace(r.PostFormValue("first_name")), LastName: strings.TrimSpace(r.PostFormValue("last_name")),
		Groups: words(r.PostFormValue("groups")),
	}
	if picked := r.PostFormValue("person"); who.Email == "" {
		at := slices.IndexFunc(People, func(p Person) bool { return p.Email == picked })
		if at < 0 {
			return who, "", ErrRequest.Saying("Choose somebody, or type an e-mail address.")
		}
		who = People[at]
	}
	return who, r.PostFormValue("fault"), nil
}

// words are the parts of a list with commas.
func words(s string) (out []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
