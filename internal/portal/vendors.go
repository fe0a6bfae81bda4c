package portal

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/sso"
)

// What to do at each provider. The sentences are ours and few, so that they can be in
// every language; menus and fields are in the words of the provider's own pages.

// Sentences.
const (
	doOpen       = "portal.do.open"
	doChoose     = "portal.do.choose"
	doName       = "portal.do.name"
	doEnter      = "portal.do.enter"
	doValues     = "portal.do.values"
	doAttributes = "portal.do.attributes"
	doSend       = "portal.do.send"
	doSet        = "portal.do.set"
	doAssign     = "portal.do.assign"
	doTake       = "portal.do.take"
	doBring      = "portal.do.bring"
)

// values fill the placeholders of what is told of a provider: {acs} and so on.
type values struct {
	acs, entity, metadata, redirect string // ours, as a service provider
	base, token                     string // ours, as a directory server
	name, id                        string // of the tenant, and the connection
}

func (v values) fill(text string) string {
	return strings.NewReplacer("{acs}", v.acs, "{entity}", v.entity, "{metadata}", v.metadata, "{redirect}", v.redirect,
		"{base}", v.base, "{token}", v.token, "{name}", v.name, "{id}", v.id, "{acs_pattern}", "^"+regexp.QuoteMeta(v.acs)+"$").Replace(text)
}

// A todo is one thing to do: a sentence, its place, its thing, and pairs of a field and
// its value.
type todo struct {
	sentence, where, what string
	pairs                 []string
}

// do fills in what is ours. A step of which a value is not known is told without it.
func (v values) do(list []todo) (out []page.Do) {
	for _, t := range list {
		d := page.Do{Key: t.sentence, Where: v.fill(t.where), What: v.fill(t.what)}
		for i := 0; i < len(t.pairs); i += 2 {
			if value := v.fill(t.pairs[i+1]); value != "" {
				d.Values = append(d.Values, page.CopyValue{Label: t.pairs[i], Value: value})
			}
		}
		out = append(out, d)
	}
	return out
}

// A guide is what to do at a provider, by the steps of the portal.
type guide struct{ create, send, attributes []todo }

// offered are the providers in the order they are shown.
var offered = []string{"okta", "entra", "google", "onelogin", "jumpcloud", "ping", "keycloak", "adfs", "auth0", "custom"}

// choices are the providers of a kind, with the kind in their value.
func choices(kind string) (out []page.ProviderChoice) {
	for _, p := range offered {
		if _, ok := guides[kind][p]; ok {
			c := page.ProviderChoice{Value: kind + ":" + p, Name: sso.ProviderName(p)}
			if p == "custom" {
				c.Name = ""
			}
			out = append(out, c)
		}
	}
	return out
}

// parseChoice reads the value of a choice.
func parseChoice(value string) (kind, provider string, ok bool) {
	kind, provider, _ = strings.Cut(value, ":")
	_, ok = guides[kind][provider]
	return kind, provider, ok
}

// guideOf is the guide of a provider, or the general one.
func guideOf(kind, provider string) guide {
	if g, ok := guides[kind][provider]; ok {
		return g
	}
	return guides[kind]["custom"]
}

// providerName is what a provider is called; empty for one that we do not know.
func providerName(provider string) string {
	if !slices.Contains(offered, provider) || provider == "custom" {
		return ""
	}
	return sso.ProviderName(provider)
}

var guides = map[string]map[string]guide{sso.SAML: samlGuides, sso.OIDC: oidcGuides}

var samlGuides = map[string]guide{
	"okta": {
		create: []todo{
			{doOpen, "Applications → Applications → Create App Integration", "", nil}, {doChoose, "", "SAML 2.0", nil}, {doName, "", "{name}", nil},
			{doEnter, "Configure SAML", "", []string{"Single sign-on URL", "{acs}", "Audience URI (SP Entity ID)", "{entity}"}},
			{doSet, "Name ID format", "Persistent", nil}, {doAssign, "Assignments → Assign", "", nil},
		},
		send: []todo{{doTake, "Sign On → SAML 2.0 → Metadata details", "Metadata URL", nil}},
		attributes: []todo{
			{doAttributes, "General → SAML Settings → Edit → Attribute Statements", "", []string{"email", "user.email", "firstName", "user.firstName", "lastName", "user.lastName"}},
			{doAttributes, "Group Attribute Statements", "", []string{"groups", "Matches regex: .*"}},
		},
	},
	"entra": {
		create: []todo{
			{doOpen, "Enterprise applications → New application → Create your own application", "", nil}, {doName, "", "{name}", nil},
			{doChoose, "", "Integrate any other application you don't find in the gallery (Non-gallery)", nil},
			{doEnter, "Single sign-on → SAML → Basic SAML Configuration", "", []string{"Identifier (Entity ID)", "{entity}", "Reply URL (Assertion Consumer Service URL)", "{acs}"}},
			{doAssign, "Users and groups → Add user/group", "", nil},
		},
		send:       []todo{{doTake, "Single sign-on → SAML Certificates", "App Federation Metadata Url", nil}},
		attributes: []todo{{doOpen, "Attributes & Claims → Add a group claim", "", nil}, {doChoose, "", "Groups assigned to the application", nil}, {doSet, "Source attribute", "Cloud-only group display names", nil}},
	},
	"google": {
		create: []todo{
			{doOpen, "Apps → Web and mobile apps → Add app → Add custom SAML app", "", nil}, {doName, "", "{name}", nil},
			{doChoose, "", "Google Identity Provider details → Download metadata", nil},
			{doEnter, "Service provider details", "", []string{"ACS URL", "{acs}", "Entity ID", "{entity}"}},
			{doSet, "Name ID format", "EMAIL", nil}, {doSet, "User access", "ON for everyone", nil},
		},
		send: []todo{{doTake, "Download metadata", "GoogleIDPMetadata.xml", nil}},
		attributes: []todo{
			{doAttributes, "Attribute mapping → Add mapping", "", []string{"Primary email", "email", "First name", "firstName", "Last name", "lastName"}},
			{doSet, "Group membership → App attribute", "groups", nil},
		},
	},
	"onelogin": {
		create: []todo{
			{doOpen, "Applications → Applications → Add App", "", nil}, {doChoose, "", "SAML Custom Connector (Advanced)", nil}, {doName, "", "{name}", nil},
			{doEnter, "Configuration", "", []string{"Audience (EntityID)", "{entity}", "Recipient", "{acs}", "ACS (Consumer) URL Validator", "{acs_pattern}", "ACS (Consumer) URL", "{acs}"}},
			{doSet, "SAML signature element", "Both", nil}, {doAssign, "Users", "", nil},
		},
		send:       []todo{{doTake, "SSO", "Issuer URL", nil}},
		attributes: []todo{{doAttributes, "Parameters → + → Include in SAML assertion", "", []string{"email", "Email", "firstName", "First Name", "lastName", "Last Name", "groups", "User Roles"}}},
	},
	"jumpcloud": {
		create: []todo{
			{doOpen, "SSO Applications → Add New Application → Custom Application", "", nil}, {doChoose, "", "Manage Single Sign-On (SSO) → Configure SSO with SAML", nil}, {doName, "", "{name}", nil},
			{doEnter, "SSO", "", []string{"IdP Entity ID", "jumpcloud-{id}", "SP Entity ID", "{entity}", "ACS URLs: Default URL", "{acs}"}},
			{doSet, "Sign", "Assertion", nil}, {doAssign, "User Groups", "", nil},
		},
		send: []todo{{doTake, "SSO → JumpCloud Metadata", "Export Metadata", nil}},
		attributes: []todo{
			{doAttributes, "SSO → Attributes → User Attribute Mapping", "", []string{"email", "email", "firstName", "firstname", "lastName", "lastname"}},
			{doSet, "Include Group Attribute", "groups", nil},
		},
	},
	"ping": {
		create: []todo{
			{doOpen, "Applications → Applications → +", "", nil}, {doName, "", "{name}", nil}, {doChoose, "", "SAML Application → Configure → Manually Enter", nil},
			{doEnter, "SAML Configuration", "", []string{"ACS URLs", "{acs}", "Entity ID", "{entity}"}},
			{doSet, "Signing Key", "Sign Assertion & Response", nil}, {doAssign, "Access", "", nil},
		},
		send:       []todo{{doTake, "Overview → Connection Details", "IDP Metadata URL", nil}},
		attributes: []todo{{doAttributes, "Attribute Mappings", "", []string{"email", "Email Address", "firstName", "Given Name", "lastName", "Family Name", "groups", "Group Names"}}},
	},
	"keycloak": {
		create: []todo{
			{doOpen, "Clients → Create client", "", nil}, {doSet, "Client type", "SAML", nil},
			{doEnter, "General settings, Login settings", "", []string{"Client ID", "{entity}", "Valid redirect URIs", "{acs}", "Master SAML Processing URL", "{acs}"}},
			{doSet, "Settings → Name ID format", "persistent", nil}, {doSet, "Settings → Sign assertions", "On", nil}, {doSet, "Keys → Client signature required", "Off", nil},
		},
		send: []todo{{doTake, "Realm settings → General → Endpoints", "SAML 2.0 Identity Provider Metadata", nil}},
		attributes: []todo{
			{doAttributes, "Client scopes → {entity}-dedicated → Add mapper → By configuration → User Attribute", "", []string{"email", "email", "firstName", "firstName", "lastName", "lastName"}},
			{doAttributes, "Add mapper → By configuration → Group list", "", []string{"Group attribute name", "groups", "Full group path", "Off"}},
		},
	},
	"adfs": {
		create: []todo{
			{doOpen, "AD FS Management → Relying Party Trusts → Add Relying Party Trust…", "", nil}, {doChoose, "", "Claims aware", nil},
			{doEnter, "Import data about the relying party published online or on a local network", "", []string{"Federation metadata address", "{metadata}"}},
			{doName, "", "{name}", nil}, {doAssign, "Choose Access Control Policy", "", nil},
		},
		send: []todo{{doTake, "AD FS Management → Service → Endpoints → Metadata", "/FederationMetadata/2007-06/FederationMetadata.xml", nil}},
		attributes: []todo{
			{doOpen, "Edit Claim Issuance Policy… → Add Rule… → Send LDAP Attributes as Claims", "", nil},
			{doAttributes, "Mapping of LDAP attributes to outgoing claim types", "", []string{"objectGUID", "Name ID", "E-Mail-Addresses", "E-Mail Address", "Given-Name", "Given Name", "Surname", "Surname", "Token-Groups - Unqualified Names", "Group"}},
		},
	},
	"auth0": {
		create: []todo{
			{doOpen, "Applications → Applications → Create Application", "", nil}, {doName, "", "{name}", nil}, {doChoose, "", "Regular Web Applications", nil},
			{doEnter, "Addons → SAML2 Web App → Settings", "", []string{"Application Callback URL", "{acs}", "audience", "{entity}", "nameIdentifierFormat", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"}},
			{doAssign, "Connections", "", nil},
		},
		send:       []todo{{doTake, "Addons → SAML2 Web App → Usage", "Identity Provider Metadata: Download", nil}},
		attributes: []todo{{doAttributes, "Addons → SAML2 Web App → Settings → mappings", "", []string{"email", "email", "given_name", "firstName", "family_name", "lastName"}}},
	},
	"custom": {
		create:     []todo{{doValues, "", "", []string{"Entity ID (Audience)", "{entity}", "ACS URL (Single sign-on URL)", "{acs}", "NameID format", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"}}},
		send:       []todo{{doBring, "", "SAML metadata", nil}},
		attributes: []todo{{doSend, "", "", []string{"E-mail", "email", "First name", "firstName", "Last name", "lastName", "Groups", "groups"}}},
	},
}

var oidcGuides = map[string]guide{
	"okta": {
		create: []todo{
			{doOpen, "Applications → Applications → Create App Integration", "", nil}, {doChoose, "", "OIDC - OpenID Connect", nil}, {doChoose, "", "Web Application", nil},
			{doEnter, "General Settings", "", []string{"Sign-in redirect URIs", "{redirect}"}}, {doAssign, "Assignments", "", nil},
		},
		send:       []todo{{doTake, "General → Client Credentials", "Client ID, Client secret", nil}, {doTake, "Sign On → OpenID Connect ID Token", "Issuer", nil}},
		attributes: []todo{{doSet, "Sign On → OpenID Connect ID Token → Groups claim filter", "groups, Matches regex .*", nil}},
	},
	"entra": {
		create: []todo{
			{doOpen, "App registrations → New registration", "", nil}, {doName, "", "{name}", nil},
			{doEnter, "Redirect URI → Web", "", []string{"Redirect URI", "{redirect}"}}, {doOpen, "Certificates & secrets → New client secret", "", nil},
		},
		send:       []todo{{doTake, "Overview", "Application (client) ID", nil}, {doTake, "Certificates & secrets", "Value", nil}, {doTake, "Overview → Directory (tenant) ID", "https://login.microsoftonline.com/…/v2.0", nil}},
		attributes: []todo{{doOpen, "Token configuration → Add groups claim", "", nil}, {doAttributes, "Token configuration → Add optional claim → ID", "", []string{"Claim", "email", "Claim ", "given_name", "Claim  ", "family_name"}}},
	},
	"google": {
		create: []todo{
			{doOpen, "Google Cloud console → APIs & Services → Credentials → Create credentials → OAuth client ID", "", nil}, {doChoose, "", "Web application", nil},
			{doEnter, "Authorized redirect URIs", "", []string{"URI", "{redirect}"}}, {doSet, "OAuth consent screen → User type", "Internal", nil},
		},
		send: []todo{{doTake, "Credentials", "Client ID, Client secret", nil}, {doBring, "", "https://accounts.google.com", nil}},
	},
	"onelogin": {
		create: []todo{
			{doOpen, "Applications → Applications → Add App", "", nil}, {doChoose, "", "OpenId Connect (OIDC)", nil},
			{doEnter, "Configuration", "", []string{"Redirect URI's", "{redirect}"}}, {doSet, "SSO → Token Endpoint", "POST", nil}, {doAssign, "Users", "", nil},
		},
		send:       []todo{{doTake, "SSO", "Client ID, Client Secret, Issuer URL", nil}},
		attributes: []todo{{doSet, "Parameters → Groups", "User Roles", nil}},
	},
	"jumpcloud": {
		create: []todo{
			{doOpen, "SSO Applications → Add New Application → Custom Application", "", nil}, {doChoose, "", "Manage Single Sign-On (SSO) → Configure SSO with OIDC", nil},
			{doEnter, "SSO", "", []string{"Redirect URIs", "{redirect}"}}, {doAssign, "User Groups", "", nil},
		},
		send:       []todo{{doTake, "Application Saved", "Client ID, Client Secret", nil}, {doBring, "", "https://oauth.id.jumpcloud.com/", nil}},
		attributes: []todo{{doSet, "SSO → Attribute Mapping → Standard Scopes", "Email, Profile", nil}, {doSet, "Include Group Attribute", "groups", nil}},
	},
	"ping": {
		create: []todo{
			{doOpen, "Applications → Applications → +", "", nil}, {doChoose, "", "OIDC Web App", nil},
			{doEnter, "Configuration", "", []string{"Redirect URIs", "{redirect}"}}, {doAssign, "Access", "", nil},
		},
		send:       []todo{{doTake, "Overview", "Client ID, Client Secret", nil}, {doTake, "Configuration → URLs", "Issuer ID", nil}},
		attributes: []todo{{doAttributes, "Attribute Mappings", "", []string{"email", "Email Address", "given_name", "Given Name", "family_name", "Family Name", "groups", "Group Names"}}},
	},
	"keycloak": {
		create: []todo{
			{doOpen, "Clients → Create client", "", nil}, {doSet, "Client type", "OpenID Connect", nil}, {doSet, "Client authentication", "On", nil},
			{doEnter, "Login settings", "", []string{"Valid redirect URIs", "{redirect}"}},
		},
		send:       []todo{{doTake, "Settings", "Client ID", nil}, {doTake, "Credentials", "Client Secret", nil}, {doTake, "Realm settings → General → Endpoints → OpenID Endpoint Configuration", "issuer", nil}},
		attributes: []todo{{doAttributes, "Client scopes → dedicated → Add mapper → By configuration → Group Membership", "", []string{"Token Claim Name", "groups", "Full group path", "Off"}}},
	},
	"auth0": {
		create: []todo{
			{doOpen, "Applications → Applications → Create Application", "", nil}, {doChoose, "", "Regular Web Applications", nil},
			{doEnter, "Settings → Application URIs", "", []string{"Allowed Callback URLs", "{redirect}"}}, {doAssign, "Connections", "", nil},
		},
		send: []todo{{doTake, "Settings → Basic Information", "Client ID, Client Secret", nil}, {doTake, "Settings → Basic Information", "Domain (https://…/)", nil}},
	},
	"custom": {
		create:     []todo{{doValues, "", "", []string{"Redirect URI", "{redirect}", "Response type", "code", "Scopes", "openid email profile"}}},
		send:       []todo{{doBring, "", "Issuer, Client ID, Client secret", nil}},
		attributes: []todo{{doSend, "", "", []string{"E-mail", "email", "First name", "given_name", "Last name", "family_name", "Groups", "groups"}}},
	},
}

// A directoryGuide is what to do at a directory.
type directoryGuide struct {
	name  string // empty for one that we do not know
	steps []todo
}

func (g directoryGuide) do(v values) []page.Do { return v.do(g.steps) }

// directories are the guides of the types of package scim.
var directories = map[string]directoryGuide{
	"okta": {"Okta", []todo{
		{doOpen, "Applications → Applications → General → App Settings → Edit", "", nil}, {doSet, "Provisioning", "SCIM", nil},
		{doEnter, "Provisioning → Integration → Edit", "", []string{"SCIM connector base URL", "{base}", "Unique identifier field for users", "userName", "HTTP Header: Authorization: Bearer", "{token}"}},
		{doSet, "Supported provisioning actions", "Push New Users, Push Profile Updates, Push Groups", nil}, {doSet, "Authentication Mode", "HTTP Header", nil}, {doChoose, "", "Test Connector Configuration", nil},
		{doSet, "Provisioning → To App", "Create Users, Update User Attributes, Deactivate Users", nil}, {doOpen, "Push Groups → Push Groups", "", nil},
	}},
	"azure_ad": {"Microsoft Entra ID", []todo{
		{doOpen, "Enterprise applications → Provisioning → New configuration", "", nil},
		{doEnter, "Admin Credentials", "", []string{"Tenant URL", "{base}", "Secret Token", "{token}"}},
		{doChoose, "", "Test Connection", nil}, {doAssign, "Users and groups → Add user/group", "", nil}, {doChoose, "", "Overview → Start provisioning", nil},
	}},
	"google": {"Google Workspace", []todo{
		{doOpen, "Apps → Web and mobile apps → Autoprovisioning → Configure autoprovisioning", "", nil},
		{doEnter, "Autoprovisioning setup", "", []string{"Access token", "{token}", "Endpoint URL", "{base}"}},
		{doSet, "Autoprovisioning", "ON", nil},
	}},
	"onelogin": {"OneLogin", []todo{
		{doOpen, "Applications → Applications → Add App", "", nil}, {doChoose, "", "SCIM Provisioner with SAML (SCIM v2 Core)", nil},
		{doEnter, "Configuration → API Connection", "", []string{"SCIM Base URL", "{base}", "SCIM Bearer Token", "{token}"}},
		{doChoose, "", "API Status → Enable", nil}, {doSet, "Provisioning → Workflow", "Enable provisioning", nil}, {doAssign, "Users", "", nil},
	}},
	"jumpcloud": {"JumpCloud", []todo{
		{doOpen, "SSO Applications → Identity Management", "", nil}, {doSet, "API Type", "SCIM API", nil}, {doSet, "SCIM Version", "SCIM 2.0", nil},
		{doEnter, "Configuration settings", "", []string{"Base URL", "{base}", "Token Key", "{token}"}},
		{doChoose, "", "Test Connection", nil}, {doChoose, "", "Activate", nil}, {doAssign, "User Groups", "", nil},
	}},
	"ping": {"PingOne", []todo{
		{doOpen, "Integrations → Provisioning → New Connection → Identity Store", "", nil}, {doChoose, "", "SCIM Outbound", nil},
		{doEnter, "Configure Authentication", "", []string{"SCIM BASE URL", "{base}", "OAuth Access Token", "{token}"}},
		{doSet, "Authentication Method", "OAuth 2 Bearer Token", nil}, {doChoose, "", "Test Connection", nil}, {doOpen, "Rules → New Rule", "", nil},
	}},
	"custom": {"", []todo{{doValues, "", "", []string{"Base URL", "{base}", "Bearer token", "{token}", "Version", "SCIM 2.0"}}}},
}
