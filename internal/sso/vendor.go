package sso

import (
	"cmp"
	"slices"
)

// Terms are settings that every identity provider has, under one name or another.
const (
	TermEntityID    = "entity_id"
	TermACS         = "acs"
	TermNameID      = "name_id"
	TermEmail       = "email"
	TermGroups      = "groups"
	TermAssignment  = "assignment"
	TermCertificate = "certificate"
	TermSigning     = "signing"
	TermAlgorithm   = "algorithm"
	TermEncryption  = "encryption"
	TermRedirect    = "redirect_uri"
	TermClock       = "clock"
)

// A vendor is what an identity provider calls its settings, in the English of its own
// administration pages, and where it sends what.
type vendor struct {
	Name   string
	kinds  []string
	labels map[string]string
	email  string // the attribute that holds the address unless set otherwise
}

// usualLabels are of the standards, for providers that are not known.
var usualLabels = map[string]string{
	TermEntityID: "Entity ID (Audience)", TermACS: "ACS URL (Single sign-on URL)", TermNameID: "NameID", TermEmail: "Attribute: email", TermGroups: "Attribute: groups",
	TermAssignment: "Users assigned to the application", TermCertificate: "Signing certificate", TermSigning: "Sign assertion", TermAlgorithm: "Signature algorithm: RSA-SHA256",
	TermEncryption: "Encryption certificate", TermRedirect: "Redirect URI", TermClock: "Clock of the server (NTP)",
}

const claimsNames = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

var vendors = map[string]vendor{
	"okta": {Name: "Okta", labels: map[string]string{
		TermEntityID: "Audience URI (SP Entity ID)", TermACS: "Single sign-on URL", TermNameID: "Name ID format / Application username", TermEmail: "Attribute Statements: email → user.email",
		TermGroups: "Group Attribute Statements", TermAssignment: "Assignments", TermCertificate: "SAML Signing Certificates", TermSigning: "Assertion Signature: Signed",
		TermAlgorithm: "Signature Algorithm: RSA-SHA256", TermEncryption: "Encryption Certificate", TermRedirect: "Sign-in redirect URIs"}},
	"entra": {Name: "Microsoft Entra ID", email: claimsNames + "emailaddress", labels: map[string]string{
		TermEntityID: "Identifier (Entity ID)", TermACS: "Reply URL (Assertion Consumer Service URL)", TermNameID: "Unique User Identifier (Name ID)", TermEmail: "Attributes & Claims: emailaddress → user.mail",
		TermGroups: "Attributes & Claims: Add a group claim", TermAssignment: "Users and groups", TermCertificate: "SAML Certificates: Token signing certificate", TermSigning: "Signing Option: Sign SAML assertion",
		TermAlgorithm: "Signing Algorithm: SHA-256", TermEncryption: "Token encryption", TermRedirect: "Authentication: Redirect URIs"}},
	"google": {Name: "Google Workspace", labels: map[string]string{
		TermEntityID: "Entity ID", TermACS: "ACS URL", TermNameID: "Name ID: Basic Information > Primary email", TermEmail: "Attribute mapping: Primary email → email",
		TermGroups: "Group membership: App attribute groups", TermAssignment: "User access: ON for everyone", TermCertificate: "Certificate", TermSigning: "Signed response", TermRedirect: "Authorized redirect URIs"}},
	"onelogin": {Name: "OneLogin", labels: map[string]string{
		TermEntityID: "Audience (EntityID)", TermACS: "ACS (Consumer) URL and ACS (Consumer) URL Validator", TermNameID: "SAML nameID format", TermEmail: "Parameters: email → Email",
		TermGroups: "Parameters: groups", TermAssignment: "Users", TermCertificate: "X.509 Certificate", TermSigning: "SAML signature element", TermAlgorithm: "SAML Signature Algorithm: SHA-256",
		TermEncryption: "SAML Encryption", TermRedirect: "Redirect URI's"}},
	"jumpcloud": {Name: "JumpCloud", labels: map[string]string{
		TermEntityID: "SP Entity ID", TermACS: "ACS URLs", TermNameID: "SAMLSubject NameID", TermEmail: "Attributes: email → email", TermGroups: "Include Group Attribute",
		TermAssignment: "User Groups", TermCertificate: "IDP Certificate", TermSigning: "Sign: Assertion", TermAlgorithm: "Signature Algorithm: RSA-SHA256", TermRedirect: "Redirect URIs"}},
	"ping": {Name: "PingOne", labels: map[string]string{
		TermEntityID: "Entity ID", TermACS: "ACS URLs", TermNameID: "Subject NameID Format", TermEmail: "Attribute Mappings: email → Email Address", TermGroups: "Attribute Mappings: groups → Group Names",
		TermAssignment: "Access: Groups", TermCertificate: "Signing Key", TermSigning: "Sign Assertion", TermAlgorithm: "Signing Algorithm: RSA_SHA256", TermEncryption: "Encryption: Certificate", TermRedirect: "Redirect URIs"}},
	"keycloak": {Name: "Keycloak", labels: map[string]string{
		TermEntityID: "Client ID", TermACS: "Valid redirect URIs / Assertion Consumer Service POST Binding URL", TermNameID: "Name ID format", TermEmail: "Client scopes: mapper X500 email",
		TermGroups: "Client scopes: mapper Group list", TermAssignment: "Users: Enabled", TermCertificate: "Realm settings: Keys", TermSigning: "Sign assertions", TermAlgorithm: "Signature algorithm: RSA_SHA256",
		TermEncryption: "Keys: Encrypt assertions", TermRedirect: "Valid redirect URIs"}},
	"adfs": {Name: "Microsoft AD FS", email: claimsNames + "emailaddress", labels: map[string]string{
		TermEntityID: "Identifiers: Relying party identifier", TermACS: "Endpoints: SAML Assertion Consumer", TermNameID: "Claim Issuance Policy: Name ID", TermEmail: "Claim Issuance Policy: E-Mail-Addresses → E-Mail Address",
		TermGroups: "Claim Issuance Policy: Token-Groups → Group", TermAssignment: "Access Control Policy", TermCertificate: "Certificates: Token-signing", TermSigning: "SamlResponseSignature",
		TermAlgorithm: "Advanced: Secure hash algorithm SHA-256", TermEncryption: "Encryption: Certificate", TermRedirect: "Application Group: Redirect URI"}},
	"auth0": {Name: "Auth0", email: claimsNames + "emailaddress", labels: map[string]string{
		TermEntityID: "SAML2 Web App Settings: audience", TermACS: "Application Callback URL", TermNameID: "Settings: nameIdentifierFormat", TermEmail: "Settings: mappings", TermGroups: "Settings: mappings",
		TermAssignment: "Applications: Connections", TermCertificate: "Identity Provider Certificate", TermSigning: "Settings: signResponse", TermAlgorithm: "Settings: signatureAlgorithm rsa-sha256",
		TermEncryption: "Settings: encryption certificate", TermRedirect: "Allowed Callback URLs"}},
	"simplesamlphp": {Name: "SimpleSAMLphp", kinds: []string{SAML}, labels: map[string]string{
		TermEntityID: "saml20-sp-remote: entityid", TermACS: "saml20-sp-remote: AssertionConsumerService", TermNameID: "simplesaml.nameidattribute", TermEmail: "authproc: attribute mail",
		TermCertificate: "saml20-idp-hosted: certificate", TermSigning: "saml20.sign.assertion", TermAlgorithm: "signature.algorithm", TermEncryption: "assertion.encryption"}},
	"custom": {Name: "Another provider"},
}

// Providers lists the known providers by name.
func Providers() (out []string) {
	for name := range vendors {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// ProviderName is how people know a provider; empty if it is none.
func ProviderName(provider string) string { return vendors[provider].Name }

// Label is what a provider calls a setting, in the English of its own pages.
func Label(provider, term string) string {
	return cmp.Or(vendors[provider].labels[term], usualLabels[term])
}

// Terms lists what Label knows.
func Terms() []string {
	return []string{TermEntityID, TermACS, TermNameID, TermEmail, TermGroups, TermAssignment, TermCertificate, TermSigning, TermAlgorithm, TermEncryption, TermRedirect, TermClock}
}
