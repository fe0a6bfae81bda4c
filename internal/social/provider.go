package social

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/rp"
)

// Kinds of provider beside the known ones.
const (
	OpenID = "openid" // any OpenID provider, by its issuer
	OAuth2 = "oauth2" // any OAuth 2 provider, by its endpoints
)

// A provider is how one service differs from the next. What is empty comes from its
// discovery document, or from the connection's settings.
type provider struct {
	Name string // as people know it
	Icon string // of ui/icons.svg

	issuer    string // {tenantid} in it stands for the directory of whoever signs in
	discovery string // address of the document, if it is not that of the issuer
	openID    bool   // it gives ID tokens with our nonce
	auth      string
	token     string
	userinfo  string
	emails    string // of GitHub, which lists addresses apart
	scopes    []string
	params    map[string]string

	secretInBody bool // client_secret_post
	noPKCE       bool // it refuses parameters of RFC 7636
	formPost     bool // it answers by a form
	moves        bool // Settings.BaseURL may name another installation

	claims map[string]string // where it differs from usual
	// vouches reports whether what the provider says of an address can be relied on;
	// nil: when email_verified is true, and nothing like true.
	vouches func(c Connection, claims rp.Claims) bool
}

// microsoftPersonal is where Microsoft keeps accounts that belong to no organization.
const microsoftPersonal = "9188040d-6c67-4c5b-b112-36a304b66dad"

// providers are the known ones. Addresses and claims are those of their public
// documentation.
var providers = map[string]provider{
	"google": {
		Name: "Google", Icon: "google", issuer: "https://accounts.google.com", openID: true, scopes: []string{"openid", "email", "profile"},
		vouches: func(c Connection, claims rp.Claims) bool {
			// Google is the authority for its own addresses and for those of the domains it
			// hosts; others it has checked once, and they may be somebody else's by now.
			email := strings.ToLower(claims.Text("email"))
			return claims.IsTrue("email_verified") && (strings.HasSuffix(email, "@gmail.com") || claims.Text("hd") != "" && strings.HasSuffix(email, "@"+strings.ToLower(claims.Text("hd"))))
		},
	},
	"microsoft": {
		Name: "Microsoft", Icon: "microsoft", issuer: "https://login.microsoftonline.com/{tenantid}/v2.0", openID: true, moves: true, secretInBody: true,
		scopes: []string{"openid", "email", "profile"},
		// "email" is whatever an administrator of any directory has written there. That
		// the domain is the directory's own is told by a claim that must be asked for.
		vouches: func(_ Connection, claims rp.Claims) bool { return claims.IsTrue("xms_edov") },
	},
	"github": {
		Name: "GitHub", Icon: "github", issuer: "https://github.com", auth: "https://github.com/login/oauth/authorize", token: "https://github.com/login/oauth/access_token",
		userinfo: "https://api.github.com/user", emails: "https://api.github.com/user/emails", scopes: []string{"read:user", "user:email"}, secretInBody: true, moves: true,
		claims: map[string]string{"subject": "id", "picture": "avatar_url"},
	},
	"apple": {
		Name: "Apple", Icon: "apple", issuer: "https://appleid.apple.com", openID: true, scopes: []string{"name", "email"}, secretInBody: true, noPKCE: true, formPost: true,
		// Apple documents the claim as a boolean or the word.
		vouches: func(_ Connection, claims rp.Claims) bool {
			return claims.IsTrue("email_verified") || claims.Text("email_verified") == "true"
		},
	},
	"facebook": {
		Name: "Facebook", Icon: "facebook", issuer: "https://www.facebook.com", auth: "https://www.facebook.com/dialog/oauth", token: "https://graph.facebook.com/oauth/access_token",
		userinfo: "https://graph.facebook.com/me?fields=id,name,email,first_name,last_name,picture", scopes: []string{"public_profile", "email"}, secretInBody: true,
		claims:  map[string]string{"subject": "id", "first_name": "first_name", "last_name": "last_name", "picture": "picture.data.url"},
		vouches: never,
	},
	"linkedin": {
		// Its ID tokens do not carry a nonce, so they prove nothing to us; and it refuses
		// a verifier together with a secret.
		Name: "LinkedIn", Icon: "linkedin", issuer: "https://www.linkedin.com/oauth", auth: "https://www.linkedin.com/oauth/v2/authorization", token: "https://www.linkedin.com/oauth/v2/accessToken",
		userinfo: "https://api.linkedin.com/v2/userinfo", scopes: []string{"openid", "profile", "email"}, secretInBody: true, noPKCE: true,
	},
	"gitlab": {
		Name: "GitLab", Icon: "gitlab", issuer: "https://gitlab.com", openID: true, scopes: []string{"openid", "email", "profile"}, moves: true,
	},
	"discord": {
		Name: "Discord", Icon: "discord", issuer: "https://discord.com", auth: "https://discord.com/oauth2/authorize", token: "https://discord.com/api/oauth2/token",
		userinfo: "https://discord.com/api/users/@me", scopes: []string{"identify", "email"},
		claims: map[string]string{"subject": "id", "name": "global_name", "email_verified": "verified", "picture": ""},
	},
	"slack": {
		Name: "Slack", Icon: "slack", issuer: "https://slack.com", openID: true, scopes: []string{"openid", "email", "profile"}, secretInBody: true,
	},
	"x": {
		Name: "X", Icon: "x", issuer: "https://x.com", auth: "https://x.com/i/oauth2/authorize", token: "https://api.x.com/2/oauth2/token",
		userinfo: "https://api.x.com/2/users/me?user.fields=profile_image_url,confirmed_email", scopes: []string{"tweet.read", "users.read"},
		claims:  map[string]string{"subject": "data.id", "name": "data.name", "picture": "data.profile_image_url", "email": "data.confirmed_email"},
		vouches: never,
	},
	OpenID: {Name: "OpenID Connect", Icon: "connection", openID: true, scopes: []string{"openid", "email", "profile"}},
	OAuth2: {Name: "OAuth 2", Icon: "connection"},
}

func never(Connection, rp.Claims) bool { return false }

// Kinds lists the providers by name.
func Kinds() (out []string) {
	for name := range providers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// provider returns that of a kind; the zero value if there is none.
func (s *Service) provider(kind string) provider {
	if p, ok := s.replaced[kind]; ok {
		return p
	}
	return providers[kind]
}

// isOpenID reports whether a connection's proofs are ID tokens.
func (p provider) isOpenID(Connection) bool { return p.openID }

// of returns the provider as a connection's settings make it.
func (p provider) of(c Connection) provider {
	o := c.Settings
	if p.moves && o.BaseURL != "" {
		p = p.at(strings.TrimSuffix(o.BaseURL, "/"), c.Provider)
	}
	if c.Provider == "microsoft" {
		base := strings.TrimSuffix(p.issuer, "/{tenantid}/v2.0")
		directory := cmp.Or(o.Directory, "common")
		p.discovery = base + "/" + directory + "/v2.0/.well-known/openid-configuration"
		if directory == "consumers" {
			directory = microsoftPersonal
		}
		if rp.IsDirectory(directory) {
			p.issuer = base + "/" + directory + "/v2.0"
		}
	}
	if c.Provider == OpenID || c.Provider == OAuth2 {
		p.issuer, p.auth, p.token, p.userinfo = cmp.Or(o.Issuer, originOf(o.TokenEndpoint)), o.AuthorizationEndpoint, o.TokenEndpoint, o.UserinfoEndpoint
	}
	if len(o.Scopes) > 0 {
		p.scopes = o.Scopes
	}
	if p.claims == nil {
		p.claims = map[string]string{}
	}
	merged := map[string]string{}
	for name, path := range usualClaims {
		merged[name] = path
	}
	for _, more := range []map[string]string{p.claims, o.Claims} {
		for name, path := range more {
			merged[name] = path
		}
	}
	p.claims = merged
	return p
}

// at moves the provider to another installation.
func (p provider) at(base, kind string) provider {
	switch kind {
	case "gitlab":
		p.issuer = base
	case "microsoft":
		p.issuer = base + "/{tenantid}/v2.0"
	case "github":
		p.issuer, p.auth, p.token = base, base+"/login/oauth/authorize", base+"/login/oauth/access_token"
		p.userinfo, p.emails = base+"/api/v3/user", base+"/api/v3/user/emails"
	}
	return p
}

// client is our client at the provider of a connection.
func (p provider) client(c Connection) rp.Client {
	return rp.Client{
		ID: c.ClientID, Issuer: p.issuer, OpenID: p.openID, Discovery: p.discovery, Authorization: p.auth, Token: p.token, Userinfo: p.userinfo,
		Scopes: p.scopes, TokenAuth: c.Settings.TokenAuth, SecretInBody: p.secretInBody,
	}
}
