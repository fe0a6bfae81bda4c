package sso

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// Kinds of connection.
const (
	SAML = "saml"
	OIDC = "oidc"
)

// States of a connection. A draft can be tested; only an active one signs people in.
const (
	Draft    = "draft"
	Active   = "active"
	Disabled = "disabled"
)

// A Connection is an identity provider of an organization.
type Connection struct {
	ID             string
	OrganizationID string
	Name           string // as people see it
	Kind           string // SAML or OIDC
	Provider       string // one of Providers: whose words it is explained in
	State          string
	Settings       Settings
	HasSecret      bool
	Health         Health
	CreatedAt      time.Time
	ModifiedAt     time.Time

	tenant   string
	sealed   []byte // the secret
	keys     []byte // sealed
	failures int64  // of reading its metadata, in a row
	refresh  int64  // when it is read next, Unix ms; 0 never
	warn     int64  // when to warn of certificates next, Unix ms; 0 never
}

// Health is how a connection did lately. Times are zero if there was nothing yet, and
// are noted at most once a minute.
type Health struct {
	LastSuccess time.Time
	LastFailure time.Time
	LastCause   Cause // of the last failure
}

// Settings are what a connection may choose.
type Settings struct {
	IdP                   IdP               `json:"idp,omitzero" doc:"Of saml: what the provider's metadata says"`
	MetadataURL           string            `json:"metadata_url,omitempty" doc:"Of saml: where the provider publishes its metadata, which is read anew from there every day"`
	EntityID              string            `json:"entity_id,omitempty" doc:"Of saml: what the provider knows us by, in place of our own choice; for a connection that moved here from elsewhere"`
	AllowUnsolicited      bool              `json:"allow_unsolicited,omitempty" doc:"Of saml: people may begin at the provider. They are asked before they are signed in"`
	Target                Target            `json:"target,omitzero" doc:"Of saml, with allow_unsolicited: where people land who begin at the provider; in their account if absent"`
	SignRequests          bool              `json:"sign_requests,omitempty" doc:"Of saml: sign requests although the provider does not ask for it"`
	RequireEncrypted      bool              `json:"require_encrypted,omitempty" doc:"Of saml: refuse assertions that are not encrypted"`
	RequireResponseSigned bool              `json:"require_response_signed,omitempty" doc:"Of saml: refuse responses of which only the assertion is signed"`
	Contexts              []string          `json:"contexts,omitempty" doc:"Of saml: how people must prove themselves there, as AuthnContextClassRef"`
	NameIDFormat          string            `json:"name_id_format,omitempty" doc:"Of saml: the format of NameID to ask for"`
	NoLogout              bool              `json:"no_logout,omitempty" doc:"Of saml: who signs out here stays signed in at the provider, which else is told if it has an address for that"`
	SkewSeconds           int64             `json:"skew_seconds,omitempty" doc:"Of saml: how far the provider's clock may be off, 60 if absent, 300 at most"`
	Issuer                string            `json:"issuer,omitempty" doc:"Of oidc"`
	Directories           []string          `json:"directories,omitempty" doc:"Of oidc, if the issuer is that of all directories (tenants) of Microsoft Entra ID, https://login.microsoftonline.com/organizations/v2.0: the ids of those whose people may sign in"`
	ClientID              string            `json:"client_id,omitempty" doc:"Of oidc: of us, at the provider"`
	Scopes                []string          `json:"scopes,omitempty" doc:"Of oidc: openid, email and profile if absent"`
	TokenAuth             string            `json:"token_auth,omitempty" doc:"Of oidc: client_secret_basic, client_secret_post or none; as the provider wants it if absent"`
	ForceAuthn            bool              `json:"force_authn,omitempty" doc:"Have people prove themselves at the provider each time"`
	Attributes            map[string]string `json:"attributes,omitempty" doc:"Which attribute or claim of the provider holds subject, email, first_name, last_name, username; by the usual names if absent"`
	GroupAttribute        string            `json:"group_attribute,omitempty" doc:"Which attribute or claim holds the groups; groups if absent"`
	GroupRules            []Rule            `json:"group_rules,omitempty" doc:"Roles in the organization, by group"`
	NoSignUp              bool              `json:"no_sign_up,omitempty" doc:"Nobody is signed up by it: people are invited or provisioned first"`
}

// A Rule gives a role in the organization to whoever is in a group of the provider.
type Rule struct {
	Group  string `json:"group" doc:"As the provider sends it"`
	RoleID string `json:"role_id"`
}

// A Target is where people land who begin at the provider: at an application of the
// tenant, which then has them signed in by a request of its own.
type Target struct {
	ApplicationID string `json:"application_id" doc:"Of the application"`
	Address       string `json:"address,omitempty" doc:"One of its redirect URIs; its initiate_login_uri if absent"`
}

// An IdP is what is known of a SAML identity provider.
type IdP struct {
	EntityID          string    `json:"entity_id"`
	SSORedirect       string    `json:"sso_redirect,omitempty" doc:"Where it takes requests by HTTP-Redirect"`
	SSOPost           string    `json:"sso_post,omitempty" doc:"Where it takes requests by HTTP-POST"`
	SLORedirect       string    `json:"slo_redirect,omitempty"`
	SLOPost           string    `json:"slo_post,omitempty"`
	SLORedirectAnswer string    `json:"slo_redirect_answer,omitempty" doc:"Where it takes answers to its logout requests, if not at slo_redirect"`
	SLOPostAnswer     string    `json:"slo_post_answer,omitempty" doc:"The same, if not at slo_post"`
	Certificates      []string  `json:"certificates" doc:"X.509 in Base64, without PEM's lines; any of them may have signed"`
	WantSigned        bool      `json:"want_signed,omitempty" doc:"It asks for signed requests"`
	ValidUntil        time.Time `json:"valid_until,omitzero" doc:"Of its metadata"`
}

// A Certificate is shown to people.
type Certificate struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint" doc:"SHA-256"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	PEM         string    `json:"pem,omitempty"`
}

// A Prepared connection has been checked, and has all that takes long: what was fetched
// from the provider, and keys.
type Prepared struct {
	c      Connection
	before time.Time // ModifiedAt of what it changes
	secret bool      // it is another one
	isNew  bool
}

// Connection is what will be written.
func (p Prepared) Connection() Connection { return p.c }

// Prepare checks c, which is new if it has no ID, reads its metadata if they are named by
// an address that is new, and makes its keys. An empty secret leaves the one there is.
// It asks over the network: call it outside of any transaction, and then Create or Save
// in one. The actor needs connections:write. It returns ErrNotFound, or ErrInvalid with
// the field that is wrong.
func (s *Service) Prepare(ctx context.Context, by access.Actor, c Connection, secret string) (Prepared, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Prepared{}, err
	}
	return s.prepare(ctx, by, c, secret)
}

// Create adds a prepared connection, as a draft.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, p Prepared) (Connection, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Connection{}, err
	}
	c := p.c
	if !p.isNew {
		return c, fmt.Errorf("create connection %s: it was prepared to be saved", c.ID)
	}
	if err := s.mayWrite(ctx, tx, by, c, nil); err != nil {
		return Connection{}, err
	}
	n, err := countConnections(ctx, tx, by.Tenant, c.OrganizationID)
	if err != nil {
		return Connection{}, err
	}
	if n >= maxConnections {
		return Connection{}, ErrFull
	}
	c.CreatedAt, c.ModifiedAt = tx.Now, tx.Now
	if err := insertConnection(ctx, tx, by.Tenant, c); err != nil {
		return Connection{}, err
	}
	s.forget(tx, c)
	return c, note(tx, by, c, "created", map[string]any{"kind": c.Kind, "provider": c.Provider})
}

// note writes down what was done to a connection, in the log of its organization.
func note(tx *database.Tx, by access.Actor, c Connection, what string, detail map[string]any) error {
	detail["connection"], detail["name"] = c.ID, c.Name
	return audit.Append(tx, by, audit.Event{Action: "sso_connection." + what, Target: "organization", TargetID: c.OrganizationID, Detail: detail})
}

// later is now, or right after what there was: each change has a moment of its own.
func later(now, before time.Time) time.Time {
	if now.After(before) {
		return now
	}
	return before.Add(time.Millisecond)
}

// Save replaces a prepared connection. Its organization, kind and state stay what they
// are. If it trusts another than before, what its users have proved counts no more, see
// IsProved. It returns ErrChanged if somebody else has changed it since it was prepared.
func (s *Service) Save(ctx context.Context, tx *database.Tx, by access.Actor, p Prepared) (Connection, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Connection{}, err
	}
	if p.isNew {
		return Connection{}, fmt.Errorf("save connection: it was prepared to be created")
	}
	old, err := findConnection(ctx, tx, by.Tenant, p.c.OrganizationID, p.c.ID)
	if err != nil {
		return Connection{}, err
	}
	c := p.c
	if err := s.mayWrite(ctx, tx, by, c, old.Settings.GroupRules); err != nil {
		return Connection{}, err
	}
	c.State, c.CreatedAt, c.ModifiedAt = old.State, old.CreatedAt, later(tx.Now, old.ModifiedAt)
	if err := updateConnection(ctx, tx, by.Tenant, c, p.before); err != nil {
		return Connection{}, err
	}
	if c.trustsAnother(old) {
		if err := noteTrust(ctx, tx, by.Tenant, c.ID); err != nil {
			return Connection{}, err
		}
	}
	s.forget(tx, c)
	return c, note(tx, by, c, "updated", map[string]any{"secret_changed": p.secret, "certificates": fingerprints(c)})
}

// mayWrite checks what a connection leads to: its organization, and the roles that its
// rules give, which the actor must be able to give themselves. Rules that were there
// before are not judged again.
func (s *Service) mayWrite(ctx context.Context, tx *database.Tx, by access.Actor, c Connection, before []Rule) error {
	if err := s.Organization(ctx, tx, by.Tenant, c.OrganizationID); err != nil {
		return err
	}
	if added := addedRoles(c.Settings.GroupRules, before); len(added) > 0 {
		return s.MayGrant(ctx, tx, by, c.OrganizationID, added)
	}
	return nil
}

// SetState switches a connection on or off. Off, it signs nobody in from the next
// request on, whoever has begun before. It returns ErrIncomplete if something is missing
// that it needs to be on.
func (s *Service) SetState(ctx context.Context, tx *database.Tx, by access.Actor, organization, id, state string) (Connection, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return Connection{}, err
	}
	c, err := findConnection(ctx, tx, by.Tenant, organization, id)
	if err != nil {
		return Connection{}, err
	}
	switch state {
	case Active:
		if err := c.complete(); err != nil {
			return Connection{}, err
		}
	case Disabled:
	default:
		return Connection{}, ErrInvalid.Saying("state is active or disabled.").In("state")
	}
	before := c.State
	c.State, c.ModifiedAt = state, later(tx.Now, c.ModifiedAt)
	if err := setState(ctx, tx, by.Tenant, c); err != nil {
		return Connection{}, err
	}
	s.forget(tx, c)
	return c, note(tx, by, c, stateEvents[state], map[string]any{"was": before})
}

var stateEvents = map[string]string{Active: "activated", Disabled: "disabled"}

// Delete removes a connection with all identities. The users stay.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string) error {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return err
	}
	c, err := findConnection(ctx, tx, by.Tenant, organization, id)
	if err != nil {
		return err
	}
	if err := deleteConnection(ctx, tx, by.Tenant, organization, id); err != nil {
		return err
	}
	s.forget(tx, c)
	return note(tx, by, c, "deleted", map[string]any{})
}

// Find returns a connection of an organization. The actor needs connections:read.
func (s *Service) Find(ctx context.Context, db database.Reader, by access.Actor, organization, id string) (Connection, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return Connection{}, err
	}
	return findConnection(ctx, db, by.Tenant, organization, id)
}

// List returns the connections of an organization by creation. The actor needs
// connections:read.
func (s *Service) List(ctx context.Context, db database.Reader, by access.Actor, organization string) ([]Connection, error) {
	if err := by.Require(access.ConnectionsRead); err != nil {
		return nil, err
	}
	return listConnections(ctx, db, by.Tenant, organization)
}

// Usable lists the active connections of an organization, at most a second old.
func (s *Service) Usable(ctx context.Context, tenant, organization string) ([]Connection, error) {
	return s.usable.Get(s.DB.Now(), tenant+organization, func() ([]Connection, error) {
		all, err := listConnections(ctx, s.DB, tenant, organization)
		out := []Connection{}
		for _, c := range all {
			if c.State == Active {
				out = append(out, c)
			}
		}
		return out, err
	})
}

// ByID returns a connection that signs people in, of whatever organization of the
// tenant: ErrNotFound or ErrDisabled if there is none.
func (s *Service) ByID(ctx context.Context, db database.Reader, tenant, id string) (Connection, error) {
	c, err := connectionByID(ctx, db, tenant, id)
	if err == nil && c.State != Active {
		return Connection{}, ErrDisabled
	}
	return c, err
}

// cached is the connection of an id in whatever state, at most a second old. What lets
// somebody in looks at the state once more, in its transaction.
func (s *Service) cached(ctx context.Context, tenant, id string) (Connection, error) {
	return s.known.Get(s.DB.Now(), tenant+id, func() (Connection, error) { return connectionByID(ctx, s.DB, tenant, id) })
}

func (s *Service) forget(tx *database.Tx, c Connection) {
	tx.OnCommit(func() {
		s.usable.Forget(c.tenant + c.OrganizationID)
		s.known.Forget(c.tenant + c.ID)
	})
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own structs
	}
	return string(b)
}
