package social

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/rp"
)

// Problems of connections.
var (
	ErrInvalid = problem.New(problem.Invalid, "invalid_connection", "The connection is not valid.")
	ErrFull    = problem.New(problem.Conflict, "too_many_connections", "A tenant has at most 100 connections. Delete one that is not used.")
)

// Limits of a connection.
const (
	maxConnections = 100
	maxText        = 512 // bytes of a name, an id, a scope
	maxSecret      = 8 << 10
	maxList        = 50
)

// A Connection is our client at a provider.
type Connection struct {
	ID         string
	Provider   string // one of Kinds
	Name       string // as people see it
	ClientID   string
	HasSecret  bool
	Settings   Settings
	Enabled    bool
	CreatedAt  time.Time
	ModifiedAt time.Time

	tenant       string
	sealed       []byte
	trustedFirst []byte // what it trusted before the first change of that, see trust.go
}

// Settings are what a connection may choose. Most providers need none.
type Settings struct {
	Issuer                string            `json:"issuer,omitempty" doc:"Of the provider openid, whose discovery document is read from there; of oauth2, what its users are known by"`
	BaseURL               string            `json:"base_url,omitempty" doc:"Of an own installation of gitlab or github, or of another cloud of microsoft"`
	AuthorizationEndpoint string            `json:"authorization_endpoint,omitempty" doc:"Of oauth2, or in place of the one of the discovery document"`
	TokenEndpoint         string            `json:"token_endpoint,omitempty"`
	UserinfoEndpoint      string            `json:"userinfo_endpoint,omitempty"`
	TokenAuth             string            `json:"token_auth,omitempty" doc:"client_secret_basic, client_secret_post or none; as the provider wants it if absent"`
	NoPKCE                bool              `json:"no_pkce,omitempty" doc:"Of oauth2: leave PKCE out, for a provider that refuses it"`
	Scopes                []string          `json:"scopes,omitempty"`
	Claims                map[string]string `json:"claims,omitempty" doc:"Where the provider tells subject, email, email_verified, name, first_name, last_name and picture; dots lead into objects"`
	EmailDomains          []string          `json:"email_domains,omitempty" doc:"The only domains for which the provider's word on e-mail addresses counts"`
	HostedDomain          string            `json:"hosted_domain,omitempty" doc:"Of google: only accounts of this Workspace domain"`
	Directory             string            `json:"directory,omitempty" doc:"Of microsoft: a directory's id, common, organizations or consumers"`
	TeamID                string            `json:"team_id,omitempty" doc:"Of apple"`
	KeyID                 string            `json:"key_id,omitempty" doc:"Of apple, whose client_secret is the private key, as PEM"`
	KeepTokens            bool              `json:"keep_tokens,omitempty" doc:"Keep the provider's tokens of each user, sealed"`
	NoSignUp              bool              `json:"no_sign_up,omitempty" doc:"Nobody is signed up by it"`
}

// Icon is the name of its picture in ui/icons.svg.
func (c Connection) Icon() string { return Icon(c.Provider) }

// Icon is the name of a provider's picture in ui/icons.svg.
func Icon(kind string) string { return providers[kind].Icon }

// check puts c into its normal form, or says what is wrong with it.
func (s *Service) check(c *Connection, secret string) error {
	p := s.provider(c.Provider)
	if p.Name == "" {
		return ErrInvalid.Saying("provider is one of: %s.", strings.Join(Kinds(), ", ")).In("provider")
	}
	if c.Name = strings.TrimSpace(c.Name); c.Name == "" {
		c.Name = p.Name
	}
	for field, value := range map[string]string{"name": c.Name, "client_id": c.ClientID, "hosted_domain": c.Settings.HostedDomain, "team_id": c.Settings.TeamID, "key_id": c.Settings.KeyID} {
		if len(value) > maxText || !isLine(value) {
			return ErrInvalid.Saying("%s has at most %d bytes and no control characters.", field, maxText).In(field)
		}
	}
	if c.ClientID == "" {
		return ErrInvalid.Saying("client_id is required: what the provider knows us by.").In("client_id")
	}
	if len(secret) > maxSecret {
		return ErrInvalid.Saying("client_secret has at most 8 KiB.").In("client_secret")
	}
	if !c.HasSecret && secret == "" && c.Settings.TokenAuth != "none" {
		return ErrInvalid.Saying("client_secret is required, unless settings.token_auth is none.").In("client_secret")
	}
	if err := c.Settings.check(); err != nil {
		return err
	}
	return s.checkAddresses(*c, secret)
}

func isLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

func (o *Settings) check() error {
	if !slices.Contains([]string{"", "client_secret_basic", "client_secret_post", "none"}, o.TokenAuth) {
		return ErrInvalid.Saying("settings.token_auth is client_secret_basic, client_secret_post or none.").In("settings.token_auth")
	}
	if len(o.Scopes) > maxList || len(o.Claims) > maxList || len(o.EmailDomains) > maxList {
		return ErrInvalid.Saying("A list in settings has at most %d members.", maxList).In("settings")
	}
	for _, scope := range o.Scopes {
		if scope == "" || len(scope) > maxText || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return ErrInvalid.Saying("A scope has visible ASCII characters only (RFC 6749, section 3.3).").In("settings.scopes")
		}
	}
	for name, path := range o.Claims {
		if _, known := usualClaims[name]; !known || len(path) > maxText || !isLine(path) {
			return ErrInvalid.Saying("settings.claims says where to find subject, email, email_verified, name, first_name, last_name and picture.").In("settings.claims")
		}
	}
	for i, domain := range o.EmailDomains {
		domain = strings.ToLower(domain)
		if o.EmailDomains[i] = domain; len(domain) > 253 || !strings.Contains(domain, ".") || !isLine(domain) || strings.ContainsAny(domain, "@ /") {
			return ErrInvalid.Saying("An entry of settings.email_domains is a domain, such as example.com.").In("settings.email_domains")
		}
	}
	if o.Directory != "" && !slices.Contains([]string{"common", "organizations", "consumers"}, o.Directory) && !rp.IsDirectory(o.Directory) {
		return ErrInvalid.Saying("settings.directory is common, organizations, consumers or the id of a directory.").In("settings.directory")
	}
	return nil
}

// checkAddresses says what is wrong with the addresses of a connection, or missing.
func (s *Service) checkAddresses(c Connection, secret string) error {
	o := c.Settings
	for field, address := range map[string]string{
		"settings.issuer": o.Issuer, "settings.base_url": o.BaseURL, "settings.authorization_endpoint": o.AuthorizationEndpoint,
		"settings.token_endpoint": o.TokenEndpoint, "settings.userinfo_endpoint": o.UserinfoEndpoint,
	} {
		if address == "" {
			continue
		}
		u, err := s.Outbound.Parse(address)
		if p, ok := problem.From(err); ok {
			return p.In(field)
		}
		if err != nil {
			return err
		}
		if u.Fragment != "" || field == "settings.issuer" && u.RawQuery != "" {
			return ErrInvalid.Saying("The address has a part that does not belong there.").In(field)
		}
	}
	need := func(field, value string) error {
		if value == "" {
			return ErrInvalid.Saying("settings.%s is required for this provider.", field).In("settings." + field)
		}
		return nil
	}
	var wanted [][2]string
	switch c.Provider {
	case OpenID:
		wanted = [][2]string{{"issuer", o.Issuer}}
	case OAuth2:
		wanted = [][2]string{{"authorization_endpoint", o.AuthorizationEndpoint}, {"token_endpoint", o.TokenEndpoint}, {"userinfo_endpoint", o.UserinfoEndpoint}}
	case "apple":
		wanted = [][2]string{{"team_id", o.TeamID}, {"key_id", o.KeyID}}
		if secret != "" {
			if _, err := parseAppleKey(secret); err != nil {
				return ErrInvalid.Saying("client_secret is the private key from Apple, as PEM.").In("client_secret")
			}
		}
	}
	for _, w := range wanted {
		if err := need(w[0], w[1]); err != nil {
			return err
		}
	}
	if c.Provider != OAuth2 && o.NoPKCE {
		return ErrInvalid.Saying("settings.no_pkce is for the provider oauth2.").In("settings.no_pkce")
	}
	return nil
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// secretPlace is where a connection's secret is sealed for.
func secretPlace(id string) string { return "connections/" + id + "/secret" }

// Create adds a connection. The actor needs connections:write.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, secret string) (Connection, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Connection{}, err
	}
	c.HasSecret = false
	if err := s.check(&c, secret); err != nil {
		return Connection{}, err
	}
	n, err := countConnections(ctx, tx, by.Tenant)
	if err != nil {
		return Connection{}, err
	}
	if n >= maxConnections {
		return Connection{}, ErrFull
	}
	c.ID, c.CreatedAt, c.ModifiedAt = tx.NewID(), tx.Now, tx.Now
	if err := s.seal(ctx, by.Tenant, &c, secret); err != nil {
		return Connection{}, err
	}
	if err := insertConnection(ctx, tx, by.Tenant, c); err != nil {
		return Connection{}, err
	}
	tx.OnCommit(func() { s.enabled.Forget(by.Tenant) })
	return c, audit.Append(tx, by, audit.Event{Action: "connection.created", Target: "connection", TargetID: c.ID, Detail: map[string]any{"provider": c.Provider}})
}

func (s *Service) seal(ctx context.Context, tenant string, c *Connection, secret string) error {
	if secret == "" {
		return nil
	}
	box, err := s.box(ctx, tenant)
	if err != nil {
		return err
	}
	c.sealed, c.HasSecret = box.Seal(secretPlace(c.ID), []byte(secret)), true
	return nil
}

// secret is what a connection proves itself with at the provider.
func (s *Service) secret(ctx context.Context, c Connection) (string, error) {
	if len(c.sealed) == 0 {
		return "", nil
	}
	box, err := s.box(ctx, c.tenant)
	if err != nil {
		return "", err
	}
	plain, err := box.Open(secretPlace(c.ID), c.sealed)
	if err != nil {
		return "", fmt.Errorf("secret of connection %s: %w", c.ID, err)
	}
	return string(plain), nil
}

// Save replaces a connection; an empty secret leaves the one there is. Its provider
// stays what it is. If it trusts another than before, the identities of it that there are
// do not count, until it trusts what it did, or their users have proved them again: see
// trust.go. The actor needs connections:write.
func (s *Service) Save(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, secret string) (Connection, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Connection{}, err
	}
	old, err := findConnection(ctx, tx, by.Tenant, c.ID)
	if err != nil {
		return Connection{}, err
	}
	// A secret is sent nowhere but to the provider that it was given for.
	if secret == "" && old.HasSecret && moved(old, c) {
		return Connection{}, ErrInvalid.Saying("Send client_secret too: it is not sent to another address than the one it was given for.").In("client_secret")
	}
	c.Provider, c.HasSecret, c.sealed, c.CreatedAt, c.ModifiedAt = old.Provider, old.HasSecret, old.sealed, old.CreatedAt, tx.Now
	if err := s.check(&c, secret); err != nil {
		return Connection{}, err
	}
	if err := s.seal(ctx, by.Tenant, &c, secret); err != nil {
		return Connection{}, err
	}
	if err := updateConnection(ctx, tx, by.Tenant, c); err != nil {
		return Connection{}, err
	}
	before, another := s.trusts(old), false
	if another = !bytes.Equal(before, s.trusts(c)); another {
		if err := keepFirst(ctx, tx, by.Tenant, c.ID, before); err != nil {
			return Connection{}, err
		}
	}
	tx.OnCommit(func() { s.enabled.Forget(by.Tenant) })
	return c, audit.Append(tx, by, audit.Event{Action: "connection.updated", Target: "connection", TargetID: c.ID, Detail: map[string]any{"enabled": c.Enabled, "secret_changed": secret != "", "trusts_another": another}})
}

// moved reports whether the secret of a connection would go somewhere else.
func moved(old, c Connection) bool {
	a, b := old.Settings, c.Settings
	return a.Issuer != b.Issuer || a.BaseURL != b.BaseURL || a.TokenEndpoint != b.TokenEndpoint
}

// Delete removes a connection with all identities. The users stay. The actor needs
// connections:write.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return err
	}
	if err := deleteConnection(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	tx.OnCommit(func() { s.enabled.Forget(by.Tenant) })
	return audit.Append(tx, by, audit.Event{Action: "connection.deleted", Target: "connection", TargetID: id})
}

// Connection returns the connection of an id. The actor needs connections:read.
func (s *Service) Connection(ctx context.Context, db database.Reader, by access.Actor, id string) (Connection, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return Connection{}, err
	}
	return findConnection(ctx, db, by.Tenant, id)
}

// Connections lists those of a tenant by creation. The actor needs connections:read.
func (s *Service) Connections(ctx context.Context, db database.Reader, by access.Actor) ([]Connection, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return nil, err
	}
	return listConnections(ctx, db, by.Tenant)
}

// Enabled lists what people may sign in with, at most a second old.
func (s *Service) Enabled(ctx context.Context, tenant string) ([]Connection, error) {
	return s.enabled.Get(s.DB.Now(), tenant, func() ([]Connection, error) {
		all, err := listConnections(ctx, s.DB, tenant)
		return slices.DeleteFunc(all, func(c Connection) bool { return !c.Enabled }), err
	})
}

// usable returns a connection that is in use: ErrNotFound or ErrDisabled if it is not.
func (s *Service) usable(ctx context.Context, db database.Reader, tenant, id string) (Connection, error) {
	c, err := findConnection(ctx, db, tenant, id)
	if err == nil && !c.Enabled {
		return Connection{}, ErrDisabled
	}
	return c, err
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own structs
	}
	return string(b)
}
