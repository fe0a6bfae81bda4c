package scim

import "strings"

// Kinds of values (RFC 7643, section 2.3).
const (
	text      = "string"
	boolean   = "boolean"
	moment    = "dateTime"
	reference = "reference"
	complexes = "complex"
	binary    = "binary"
)

// What may be done with an attribute, and when it is shown (RFC 7643, section 7).
const (
	readOnly  = "readOnly"
	readWrite = "readWrite"
	writeOnly = "writeOnly"
	immutable = "immutable"

	always    = "always"
	never     = "never"
	byDefault = "default"
)

// An attribute is what a schema says of one member of a resource. It is written as
// /Schemas shows it, and read by everything that takes resources apart.
type attribute struct {
	Name        string       `json:"name"`
	Type        string       `json:"type"`
	Sub         []*attribute `json:"subAttributes,omitempty"`
	Multi       bool         `json:"multiValued"`
	Description string       `json:"description"`
	Required    bool         `json:"required"`
	Canonical   []string     `json:"canonicalValues,omitempty"`
	CaseExact   bool         `json:"caseExact"`
	Mutability  string       `json:"mutability"`
	Returned    string       `json:"returned"`
	Uniqueness  string       `json:"uniqueness"`
	RefTypes    []string     `json:"referenceTypes,omitempty"`
}

// sub returns a sub-attribute, whatever the letter case.
func (a *attribute) sub(name string) *attribute { return named(a.Sub, name) }

func named(list []*attribute, name string) *attribute {
	for _, a := range list {
		if strings.EqualFold(a.Name, name) {
			return a
		}
	}
	return nil
}

func newAttribute(name, kind, description string) *attribute {
	return &attribute{Name: name, Type: kind, Description: description, Mutability: readWrite, Returned: byDefault, Uniqueness: "none"}
}

func str(name, description string) *attribute { return newAttribute(name, text, description) }

func flag(name, description string) *attribute { return newAttribute(name, boolean, description) }

// exact is a string whose letter case counts.
func exact(name, description string) *attribute { return str(name, description).exactly() }

func (a *attribute) exactly() *attribute { a.CaseExact = true; return a }

func (a *attribute) needed() *attribute { a.Required = true; return a }

func (a *attribute) fixed() *attribute { a.Mutability = readOnly; return a }

func (a *attribute) oneOf(values ...string) *attribute { a.Canonical = values; return a }

func ref(name, description string, types ...string) *attribute {
	a := newAttribute(name, reference, description)
	a.RefTypes, a.CaseExact = types, true
	return a
}

func parts(name, description string, subs ...*attribute) *attribute {
	a := newAttribute(name, complexes, description)
	a.Sub = subs
	return a
}

// many is a multi-valued attribute with the sub-attributes of RFC 7643, section 2.4.
func many(name, description string, value *attribute, types ...string) *attribute {
	a := parts(name, description, value, str("display", "Shown to people."), str("type", "What it is for.").oneOf(types...), flag("primary", "Preferred; of one value at most."))
	a.Multi = true
	return a
}

// URNs of the schemas.
const (
	userURN       = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupURN      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterpriseURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// common are attributes of every resource, which no schema lists (RFC 7643, section 3.1).
var common = []*attribute{
	{Name: "schemas", Type: reference, Multi: true, CaseExact: true, Mutability: readOnly, Returned: always, Uniqueness: "none"},
	{Name: "id", Type: text, CaseExact: true, Mutability: readOnly, Returned: always, Uniqueness: "server"},
	{Name: "externalId", Type: text, CaseExact: true, Mutability: readWrite, Returned: byDefault, Uniqueness: "none"},
	parts("meta", "", str("resourceType", "").exactly(), newAttribute("created", moment, ""), newAttribute("lastModified", moment, ""), ref("location", "", "uri"), exact("version", "")).fixed(),
}

var enterprise = parts(enterpriseURN, "Enterprise User",
	str("employeeNumber", "A number or name given by the organization."),
	str("costCenter", "Name of a cost center."),
	str("organization", "Name of an organization."),
	str("division", "Name of a division."),
	str("department", "Name of a department."),
	parts("manager", "The user's manager.",
		exact("value", "The id of the manager, as the directory has it."),
		ref("$ref", "The address of the manager.", "User"),
		str("displayName", "The manager's name.").fixed()))

// A kind is a kind of resource.
type kind struct {
	Name, Endpoint, URN, Text string
	attributes                []*attribute
	extensions                []*attribute // complex ones, whose name is the URN
}

var users = &kind{
	Name: "User", Endpoint: "Users", URN: userURN, Text: "A person of the organization.",
	attributes: []*attribute{
		{Name: "userName", Type: text, Description: "What the user is called, unique in the directory; often an e-mail address.", Required: true, Mutability: readWrite, Returned: byDefault, Uniqueness: "server"},
		parts("name", "The parts of the user's name.",
			str("formatted", "The whole name."), str("familyName", "The last name."), str("givenName", "The first name."), str("middleName", "Names between."),
			str("honorificPrefix", "A title before the name."), str("honorificSuffix", "What stands behind the name.")),
		str("displayName", "The name as it is shown."),
		str("nickName", "What friends say."),
		ref("profileUrl", "A page about the user.", "external"),
		str("title", "The user's title, such as Vice President."),
		str("userType", "The user's relation to the organization, such as Contractor."),
		str("preferredLanguage", "As in Accept-Language."),
		str("locale", "Such as en-US."),
		str("timezone", "Such as Europe/Berlin."),
		flag("active", "Whether the user may sign in. False ends all that they are signed in with."),
		{Name: "password", Type: text, Description: "Taken and dropped: people prove who they are with ways of their own.", Mutability: writeOnly, Returned: never, CaseExact: true, Uniqueness: "none"},
		many("emails", "E-mail addresses.", str("value", "The address."), "work", "home", "other"),
		many("phoneNumbers", "Phone numbers, not used to sign in.", str("value", "The number."), "work", "home", "mobile", "fax", "pager", "other"),
		many("ims", "Instant messaging.", str("value", "The address."), "aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"),
		many("photos", "Pictures.", ref("value", "The address.", "external"), "photo", "thumbnail"),
		{Name: "addresses", Type: complexes, Multi: true, Description: "Where the user lives or works.", Mutability: readWrite, Returned: byDefault, Uniqueness: "none", Sub: []*attribute{
			str("formatted", "The whole address."), str("streetAddress", "Street and number."), str("locality", "City."), str("region", "State or region."),
			str("postalCode", "Post code."), str("country", "ISO 3166-1 alpha 2."), str("type", "What it is for.").oneOf("work", "home", "other"), flag("primary", "Preferred; of one value at most.")}},
		{Name: "groups", Type: complexes, Multi: true, Description: "The groups of this directory the user is in; changed at the group.", Mutability: readOnly, Returned: byDefault, Uniqueness: "none", Sub: []*attribute{
			exact("value", "The group's id.").fixed(), ref("$ref", "The group's address.", "Group").fixed(), str("display", "The group's name.").fixed(), str("type", "direct").fixed()}},
		many("entitlements", "Kept as the directory gives them. They give nothing here.", str("value", "An entitlement.")),
		many("roles", "Kept as the directory gives them. They give nothing here: groups do, by the directory's rules.", str("value", "A role.")),
		many("x509Certificates", "Certificates, kept.", newAttribute("value", binary, "DER in base64.").exactly()),
	},
	extensions: []*attribute{enterprise},
}

var groups = &kind{
	Name: "Group", Endpoint: "Groups", URN: groupURN, Text: "A group of users.",
	attributes: []*attribute{
		{Name: "displayName", Type: text, Description: "The name, unique in the directory.", Required: true, Mutability: readWrite, Returned: byDefault, Uniqueness: "server"},
		{Name: "members", Type: complexes, Multi: true, Description: "Users of this directory. Groups in groups are not kept.", Mutability: readWrite, Returned: byDefault, Uniqueness: "none", Sub: []*attribute{
			func() *attribute { a := exact("value", "The user's id."); a.Mutability = immutable; return a }(),
			func() *attribute { a := ref("$ref", "The user's address.", "User"); a.Mutability = immutable; return a }(),
			str("type", "User").oneOf("User"),
			str("display", "The user's name.").fixed()}},
	},
}

// find returns an attribute of the kind, whatever the letter case.
func (k *kind) find(name string) *attribute {
	for _, list := range [][]*attribute{common, k.attributes, k.extensions} {
		if a := named(list, name); a != nil {
			return a
		}
	}
	return nil
}

// A place is what the path of an attribute leads to. Of the attributes of an extension
// ext is the extension.
type place struct {
	ext, attr, sub *attribute
}

// leaf is the attribute that the values are of.
func (p place) leaf() *attribute {
	if p.sub != nil {
		return p.sub
	}
	return p.attr
}

// isHidden reports whether the place must not be asked about.
func (p place) isHidden() bool { return p.attr.Returned == never || p.leaf().Returned == never }

// isFixed reports whether only the server writes there.
func (p place) isFixed() bool {
	return p.attr.Mutability == readOnly || p.leaf().Mutability == readOnly
}

// lookUp finds the place of a path such as "name.givenName", with the URN of a schema
// in front or not. An extension by itself is a place, too.
func (k *kind) lookUp(path string) (place, bool) {
	rest := path
	if len(path) > len("urn:") && strings.EqualFold(path[:4], "urn:") {
		for _, ext := range k.extensions {
			if strings.EqualFold(path, ext.Name) {
				return place{attr: ext}, true
			}
			if below, ok := cutFold(path, ext.Name+":"); ok {
				return split(ext.Sub, ext, below)
			}
			if below, ok := cutFold(path, ext.Name+"."); ok { // as some write it
				return split(ext.Sub, ext, below)
			}
		}
		below, ok := cutFold(path, k.URN+":")
		if !ok {
			return place{}, false
		}
		rest = below
	}
	if p, ok := split(k.attributes, nil, rest); ok {
		return p, true
	}
	return split(common, nil, rest)
}

func split(list []*attribute, ext *attribute, path string) (place, bool) {
	name, below, dotted := strings.Cut(path, ".")
	p := place{ext: ext, attr: named(list, name)}
	if p.attr == nil || !dotted {
		return p, p.attr != nil
	}
	p.sub = p.attr.sub(below)
	return p, p.sub != nil
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
