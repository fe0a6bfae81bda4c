package sso

// A Cause is why an attempt failed: one, and always the first thing that was wrong. The
// words for people are sso.cause.<cause> and sso.fix.<cause> of package lang.
type Cause string

// Causes of both kinds of connection.
const (
	EmailMissing   Cause = "email_missing"   // no address comes along
	EmailInvalid   Cause = "email_invalid"   // what comes is none
	EmailAmbiguous Cause = "email_ambiguous" // several come
	SubjectMissing Cause = "subject_missing" // nothing says who it is
	Denied         Cause = "denied"          // the provider says that the person may not
	Clock          Cause = "clock"           // the provider's clock is ahead of ours
	Expired        Cause = "expired"         // what it sent is too old, or its clock is behind
	Replay         Cause = "replay"          // it came a second time
	Incomplete     Cause = "incomplete"      // a setting is missing
)

// Causes of SAML.
const (
	Audience           Cause = "audience"            // made for another Entity ID than ours
	ACS                Cause = "acs"                 // made for another ACS URL than ours
	Issuer             Cause = "issuer"              // of another provider than the connection's
	OtherCertificate   Cause = "certificate"         // signed by a certificate that the connection does not have
	CertificateExpired Cause = "certificate_expired" // the certificate that has signed is over
	Unsigned           Cause = "unsigned"            // what must be signed is not
	Signature          Cause = "signature"           // changed after it was signed
	Algorithm          Cause = "algorithm"           // too weak, such as SHA-1
	Unsolicited        Cause = "unsolicited"         // begun at the provider, which the connection does not allow
	Landed             Cause = "target"              // where people land who begin at the provider is no more
	OtherRequest       Cause = "other_request"       // the answer to a request that we did not make, or that is over
	OldKey             Cause = "old_key"             // encrypted for a key that is not ours any more
	NotEncrypted       Cause = "not_encrypted"       // the connection requires it
	Malformed          Cause = "malformed"           // not what the standard says
	Transient          Cause = "transient"           // NameID is another one each time
	Context            Cause = "context"             // proved in another way than we asked for
	NoContext          Cause = "no_context"          // the provider can not prove it in the way we asked for
	NameIDPolicy       Cause = "name_id_policy"      // the provider can not give the NameID we asked for
	AuthnFailed        Cause = "authn_failed"        // the person did not prove themselves there
	ProviderError      Cause = "provider_error"      // the provider says that it failed
	RequestRefused     Cause = "request_refused"     // the provider says that our request is wrong
)

// Causes of OpenID Connect.
const (
	DiscoveryUnreachable Cause = "discovery_unreachable" // its document can not be read: down, slow, too long
	DiscoveryInvalid     Cause = "discovery_invalid"     // what is there is no such document
	DiscoveryIssuer      Cause = "discovery_issuer"      // the document is of another issuer
	KeysUnreachable      Cause = "keys_unreachable"      // its keys can not be read
	UnknownKey           Cause = "unknown_key"           // no key that it publishes verifies the ID token
	TokenIssuer          Cause = "token_issuer"          // the ID token, or the answer, is of another issuer
	TokenAudience        Cause = "token_audience"        // the ID token was made for another client
	OtherDirectory       Cause = "other_directory"       // the person belongs to a directory (tenant) that the connection does not take
	Nonce                Cause = "nonce"                 // the ID token was made for another sign-in
	ClientRefused        Cause = "client_refused"        // client id or secret are wrong
	CodeRefused          Cause = "code_refused"          // the code is not good, or not any more
	RedirectRefused      Cause = "redirect_refused"      // our callback is not registered
	ScopeRefused         Cause = "scope_refused"         // a scope is not allowed
	TokenUnreachable     Cause = "token_unreachable"     // the token endpoint does not answer
	NoIDToken            Cause = "no_id_token"           // the answer has none
	InvalidToken         Cause = "invalid_token"         // the ID token is not what the standard says
	Userinfo             Cause = "userinfo"              // the userinfo endpoint does not answer as it should
)

// Causes of metadata that are read from an address.
const (
	MetadataUnreachable Cause = "metadata_unreachable"
	MetadataInvalid     Cause = "metadata_invalid"
)

// A Fix says what to change, where.
type Fix struct {
	// Side is "provider" for a setting of the identity provider, "here" for one of the
	// connection, empty if there is nothing to set.
	Side string `json:"side,omitempty"`
	// Field names the setting: of the connection by its name in the API, of a provider by
	// one of Terms.
	Field string `json:"field,omitempty"`
	// Label is what the provider's own pages call it.
	Label string `json:"label,omitempty"`
	// Value is what to put there, if we know it.
	Value string `json:"value,omitempty"`
}

// Sides of a Fix.
const (
	AtProvider = "provider"
	Here       = "here"
)

// fixes is where to look first, by cause.
var fixes = map[Cause]Fix{
	EmailMissing:         {Side: AtProvider, Field: TermEmail},
	EmailInvalid:         {Side: AtProvider, Field: TermEmail},
	EmailAmbiguous:       {Side: AtProvider, Field: TermEmail},
	SubjectMissing:       {Side: AtProvider, Field: TermNameID},
	Transient:            {Side: AtProvider, Field: TermNameID},
	NameIDPolicy:         {Side: Here, Field: "settings.name_id_format"},
	Denied:               {Side: AtProvider, Field: TermAssignment},
	AuthnFailed:          {Side: AtProvider, Field: TermAssignment},
	Clock:                {Side: AtProvider, Field: TermClock},
	Expired:              {Side: AtProvider, Field: TermClock},
	Audience:             {Side: AtProvider, Field: TermEntityID},
	ACS:                  {Side: AtProvider, Field: TermACS},
	Issuer:               {Side: Here, Field: "settings.idp.entity_id"},
	OtherCertificate:     {Side: Here, Field: "settings.idp.certificates"},
	CertificateExpired:   {Side: AtProvider, Field: TermCertificate},
	Unsigned:             {Side: AtProvider, Field: TermSigning},
	Signature:            {Side: AtProvider, Field: TermSigning},
	Algorithm:            {Side: AtProvider, Field: TermAlgorithm},
	Unsolicited:          {Side: Here, Field: "settings.allow_unsolicited"},
	Landed:               {Side: Here, Field: "settings.target"},
	OldKey:               {Side: AtProvider, Field: TermEncryption},
	NotEncrypted:         {Side: AtProvider, Field: TermEncryption},
	Context:              {Side: Here, Field: "settings.contexts"},
	NoContext:            {Side: Here, Field: "settings.contexts"},
	RequestRefused:       {Side: AtProvider, Field: TermEntityID},
	DiscoveryUnreachable: {Side: Here, Field: "settings.issuer"},
	DiscoveryInvalid:     {Side: Here, Field: "settings.issuer"},
	DiscoveryIssuer:      {Side: Here, Field: "settings.issuer"},
	TokenIssuer:          {Side: Here, Field: "settings.issuer"},
	OtherDirectory:       {Side: Here, Field: "settings.directories"},
	TokenAudience:        {Side: Here, Field: "settings.client_id"},
	ClientRefused:        {Side: Here, Field: "client_secret"},
	RedirectRefused:      {Side: AtProvider, Field: TermRedirect},
	ScopeRefused:         {Side: Here, Field: "settings.scopes"},
	NoIDToken:            {Side: Here, Field: "settings.scopes"},
	MetadataUnreachable:  {Side: Here, Field: "settings.metadata_url"},
	MetadataInvalid:      {Side: Here, Field: "settings.metadata_url"},
}

// Causes lists every cause.
func Causes() []Cause {
	return []Cause{
		EmailMissing, EmailInvalid, EmailAmbiguous, SubjectMissing, Denied, Clock, Expired, Replay, Incomplete,
		Audience, ACS, Issuer, OtherCertificate, CertificateExpired, Unsigned, Signature, Algorithm, Unsolicited, Landed, OtherRequest, OldKey, NotEncrypted, Malformed,
		Transient, Context, NoContext, NameIDPolicy, AuthnFailed, ProviderError, RequestRefused,
		DiscoveryUnreachable, DiscoveryInvalid, DiscoveryIssuer, KeysUnreachable, UnknownKey, TokenIssuer, TokenAudience, OtherDirectory, Nonce, ClientRefused, CodeRefused,
		RedirectRefused, ScopeRefused, TokenUnreachable, NoIDToken, InvalidToken, Userinfo, MetadataUnreachable, MetadataInvalid,
	}
}
