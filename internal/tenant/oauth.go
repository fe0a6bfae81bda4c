package tenant

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Ways in which an application proves who it is, by their registered names
// (RFC 7591, section 2).
const (
	AuthSecret = ""                // client_secret_basic or client_secret_post
	AuthKey    = "private_key_jwt" // RFC 7523
	AuthNone   = "none"            // a public client: it can keep no secret
)

// Grants an application may be allowed, by their registered names.
const (
	GrantCode        = "authorization_code"
	GrantRefresh     = "refresh_token"
	GrantCredentials = "client_credentials"
	GrantDevice      = "urn:ietf:params:oauth:grant-type:device_code"
	GrantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantPassword    = "password" // only for clients of the KOBIL SHIFT contract; off unless named
)

var knownGrants = []string{GrantCode, GrantRefresh, GrantCredentials, GrantDevice, GrantExchange, GrantPassword}

// OAuth is how an application takes part in OAuth 2 and OpenID Connect. Names are
// those of RFC 7591 and OpenID Connect Registration where there are any. The zero
// value is a confidential web application of the tenant's own.
type OAuth struct {
	ApplicationType string `json:"application_type,omitempty" doc:"web or native; a native one may use any port on loopback"`
	// AuthMethod is AuthSecret, AuthKey or AuthNone.
	AuthMethod string          `json:"token_endpoint_auth_method,omitempty" doc:"client_secret_basic and client_secret_post if absent, private_key_jwt, or none for a public client"`
	JWKS       json.RawMessage `json:"jwks,omitempty" doc:"Public keys for private_key_jwt"`
	JWKSURI    string          `json:"jwks_uri,omitempty"`
	// GrantTypes are those it may use; DefaultGrants if empty.
	GrantTypes []string `json:"grant_types,omitempty" doc:"authorization_code, refresh_token and, for a confidential one, client_credentials if absent"`
	// Scopes are those of the management API that the application may ask for itself,
	// with client credentials.
	Scopes []string `json:"scopes,omitempty" doc:"Scopes it may have for itself"`
	// Resources are the audiences it may ask for, RFC 8707.
	Resources []string `json:"resources,omitempty" doc:"Resource indicators it may name"`
	// ThirdParty asks the user for consent.
	ThirdParty bool `json:"third_party,omitempty" doc:"Belongs to somebody else: users are asked for consent"`

	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI   string   `json:"backchannel_logout_uri,omitempty"`
	FrontchannelLogoutURI  string   `json:"frontchannel_logout_uri,omitempty"`
	// InitiateLoginURI is where a browser begins to sign in to the application that comes
	// from elsewhere, such as an organization's identity provider (OpenID Connect Core 1.0,
	// section 4).
	InitiateLoginURI string `json:"initiate_login_uri,omitempty" doc:"Where somebody begins who comes from elsewhere: it sends them to sign in, with a request of its own"`
	LogoURI          string `json:"logo_uri,omitempty"`
	PolicyURI        string `json:"policy_uri,omitempty"`
	TermsURI         string `json:"tos_uri,omitempty"`

	IDTokenAlg     string `json:"id_token_signed_response_alg,omitempty" doc:"RS256 if absent, ES256 or EdDSA"`
	AccessTokenAlg string `json:"access_token_signed_response_alg,omitempty" doc:"ES256 if absent, RS256 or EdDSA"`
	// Lifetimes in seconds; zero means the default.
	AccessTokenLifetime  int64 `json:"access_token_lifetime,omitempty" doc:"Seconds, 900 if absent, at most 86400"`
	RefreshTokenIdle     int64 `json:"refresh_token_idle_lifetime,omitempty" doc:"Seconds, 30 days if absent"`
	RefreshTokenAbsolute int64 `json:"refresh_token_lifetime,omitempty" doc:"Seconds, 90 days if absent"`

	// SecondFactor is MFARequired, or empty for what the tenant says.
	SecondFactor string `json:"second_factor,omitempty" doc:"required: nobody signs in to this application with one factor. What the tenant says if absent"`

	RequirePAR  bool `json:"require_pushed_authorization_requests,omitempty"`
	RequireDPoP bool `json:"dpop_bound_access_tokens,omitempty"`
	// WithoutPKCE lets a confidential application leave PKCE out.
	WithoutPKCE bool `json:"pkce_optional,omitempty" doc:"Only for a confidential application whose library can not do PKCE"`
}

// DefaultAccessTokenLifetime is how long access and ID tokens live unless the
// application says otherwise.
const DefaultAccessTokenLifetime = 15 * time.Minute

// IsPublic reports whether the application can keep no secret (RFC 6749, section 2.1).
func (a Application) IsPublic() bool { return a.OAuth.AuthMethod == AuthNone }

// IsNative reports whether the application runs on its user's own machine (RFC 8252).
func (a Application) IsNative() bool { return a.OAuth.ApplicationType == "native" }

// Grants are the grant types the application may use.
func (a Application) Grants() []string {
	switch {
	case len(a.OAuth.GrantTypes) > 0:
		return a.OAuth.GrantTypes
	case a.IsPublic():
		return []string{GrantCode, GrantRefresh}
	default:
		return []string{GrantCode, GrantRefresh, GrantCredentials}
	}
}

// May reports whether the application may use a grant type.
func (a Application) May(grant string) bool { return slices.Contains(a.Grants(), grant) }

// StartsAt reports whether people may be led to an address to begin with the application:
// it is its InitiateLoginURI, or a redirect URI of the web.
func (a Application) StartsAt(address string) bool {
	return address != "" && (address == a.OAuth.InitiateLoginURI || slices.Contains(a.RedirectURIs, address) && isWebAddress(address))
}

// TokenLifetime is how long the application's access and ID tokens live.
func (a Application) TokenLifetime() time.Duration {
	return cmp.Or(time.Duration(a.OAuth.AccessTokenLifetime)*time.Second, DefaultAccessTokenLifetime)
}

// checkOAuth judges what a caller may choose of an application's OAuth settings.
func (o *OAuth) check() error {
	bad := func(field, text string) error { return ErrApplication.Saying("%s", text).In("oauth." + field) }
	switch o.AuthMethod {
	case "client_secret_basic", "client_secret_post":
		o.AuthMethod = AuthSecret
	case AuthSecret, AuthNone:
	case AuthKey:
		if len(o.JWKS) == 0 && o.JWKSURI == "" {
			return bad("jwks", "An application that signs with a key needs its public keys, as jwks or at jwks_uri.")
		}
	default:
		return bad("token_endpoint_auth_method", "This way of proving who an application is is not known.")
	}
	if o.SecondFactor != "" && o.SecondFactor != MFARequired {
		return bad("second_factor", "A second factor is required, or as the tenant says.")
	}
	if o.ApplicationType != "" && o.ApplicationType != "web" && o.ApplicationType != "native" {
		return bad("application_type", "An application is of type web or native.")
	}
	for _, g := range o.GrantTypes {
		if !slices.Contains(knownGrants, g) {
			return bad("grant_types", "A grant type is not known.")
		}
		if g == GrantCredentials && o.AuthMethod == AuthNone {
			return bad("grant_types", "An application without a secret can have no token for itself.")
		}
	}
	if err := o.checkKeys(); err != nil {
		return bad("jwks", "The keys are a JWK set of at most 16 KiB with public keys only.")
	}
	if err := o.checkAddresses(); err != nil {
		return err
	}
	for field, alg := range map[string]string{"id_token_signed_response_alg": o.IDTokenAlg, "access_token_signed_response_alg": o.AccessTokenAlg} {
		if alg != "" && alg != "RS256" && alg != "ES256" && alg != "EdDSA" {
			return bad(field, "Tokens are signed with RS256, ES256 or EdDSA.")
		}
	}
	if o.AccessTokenLifetime < 0 || o.AccessTokenLifetime > 86400 || min(o.RefreshTokenIdle, o.RefreshTokenAbsolute) < 0 || max(o.RefreshTokenIdle, o.RefreshTokenAbsolute) > 400*86400 {
		return bad("access_token_lifetime", "Access tokens live at most a day, refresh tokens at most 400 days.")
	}
	if len(o.Scopes) > 100 || len(o.Resources) > 100 || len(strings.Join(o.Scopes, " "))+len(strings.Join(o.Resources, " ")) > 8<<10 {
		return bad("scopes", "An application names at most 100 scopes and 100 resources.")
	}
	return nil
}

func (o *OAuth) checkKeys() error {
	if len(o.JWKS) == 0 {
		return nil
	}
	var set jose.JSONWebKeySet
	if len(o.JWKS) > 16<<10 {
		return ErrApplication
	}
	if err := json.Unmarshal(o.JWKS, &set); err != nil || len(set.Keys) == 0 {
		return ErrApplication
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			return ErrApplication
		}
	}
	return nil
}

func (o *OAuth) checkAddresses() error {
	if len(o.PostLogoutRedirectURIs) > 100 {
		return ErrApplication.Saying("An application has at most 100 addresses to go to after signing out.").In("oauth.post_logout_redirect_uris")
	}
	for _, u := range o.PostLogoutRedirectURIs {
		if !isRedirectURI(u) {
			return ErrApplication.Saying("An address to go to after signing out follows the rule of redirect URIs.").In("oauth.post_logout_redirect_uris")
		}
	}
	for field, address := range map[string]string{
		"jwks_uri": o.JWKSURI, "initiate_login_uri": o.InitiateLoginURI, "backchannel_logout_uri": o.BackchannelLogoutURI, "frontchannel_logout_uri": o.FrontchannelLogoutURI,
		"logo_uri": o.LogoURI, "policy_uri": o.PolicyURI, "tos_uri": o.TermsURI,
	} {
		if address != "" && !isWebAddress(address) {
			return ErrApplication.Saying("It is an absolute https address without a fragment; http only for loopback.").In("oauth." + field)
		}
	}
	return nil
}

// isWebAddress is isRedirectURI without private schemes.
func isWebAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && isRedirectURI(s)
}

// Origin is the address at which a tenant answers, without a path: the issuer of its
// tokens. The tenant that the public address stands for has that one, others have
// their own host, or their custom domain.
func (s *Service) Origin(ctx context.Context, t Tenant) (string, error) {
	if t.Slug == s.Default {
		return s.PublicURL, nil
	}
	return s.origin.Get(s.DB.Now(), t.ID, func() (string, error) {
		host, err := firstHost(ctx, s.DB, t.ID)
		if err != nil || host != "" {
			return "https://" + host, err
		}
		scheme, authority, _ := strings.Cut(s.PublicURL, "://")
		return scheme + "://" + t.Slug + "." + authority, nil
	})
}
