// Package org keeps the customer companies of a tenant: who is a member of which, with
// what roles, which domains they have proved to be theirs, whom they have invited, and
// how their people sign in.
//
//	Create, Save, Delete, Find, List   one organization, pages of them
//	AddMember, SetRoles, RemoveMember  who belongs to it
//	Effective, Explain                 what a member may do there, and why
//	AddDomain, VerifyDomain, ByDomain  domains, proved by a record in their DNS
//	Invite, Redeem                     a link by mail that makes somebody a member
//
// Each event is about the organization (target "organization"), whatever of it
// changes, so that its log can be read: the member, domain, invitation or connection
// stands in the event's detail.
//
// An attacker would act in an organization that they are no member of, by naming the
// things of one under the id of another: every statement names the organization beside
// the thing. They would claim somebody else's domain: one organization of a tenant can
// have proved it, and one that is no longer in the DNS stops counting. They would use
// an invitation twice, late, forwarded, or after whoever invited them lost the right:
// all of it is looked at when it is accepted, in one conditional statement. They would
// give themselves roles: nobody gives what they do not hold, and the last owner stays.
package org

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of organizations.
var (
	ErrNotFound = problem.New(problem.NotFound, "organization_not_found", "There is no such organization.")
	ErrExists   = problem.New(problem.Conflict, "organization_exists", "Another organization has this slug or external id.")
	ErrInvalid  = problem.New(problem.Invalid, "invalid_organization", "The organization is not valid.")
)

// Target is the target of every event about an organization; its id is the target's.
const Target = "organization"

// An Organization is a customer company inside a tenant.
type Organization struct {
	ID            string
	Name          string
	DisplayName   string   // what people see; empty for Name
	Slug          string   // what programs call it, unique in the tenant; made of the name if empty
	ExternalID    string   // what the customer's own programs call it; unique in the tenant unless empty
	WhiteList     []string // domains whose addresses may belong to it without being proved; nil if unset
	AllowOutside  bool     // members may have addresses of any domain
	Domain        string   // the first domain that it has proved, empty without
	WorkspaceName string
	Address       string
	Website       string
	TimeZone      string
	Currency      string
	Token         string          // names it in a start of sign-in: org_token_…; no secret
	Metadata      json.RawMessage // a JSON object; nil if unset
	Policy        Policy
	Branding      Branding
	IsActive      bool
	CreatedAt     time.Time
	ModifiedAt    time.Time
}

// Label is what people see of the organization.
func (o Organization) Label() string {
	if o.DisplayName != "" {
		return o.DisplayName
	}
	return o.Name
}

// A Policy says how members get into their organization. The zero value asks for
// nothing beyond what the tenant asks for.
type Policy struct {
	RequireSSO bool `json:"require_sso" doc:"Members come in by a connection of the organization only; break-glass owners excepted"`
	// MFA is "", MFAOptional or MFARequired.
	MFA             string   `json:"mfa" doc:"optional or required; empty for what the tenant asks for"`
	SessionIdle     int64    `json:"session_idle" doc:"Seconds without use after which a session ends; 0 for the tenant's"`
	SessionAbsolute int64    `json:"session_absolute" doc:"Seconds after which a session ends; 0 for the tenant's"`
	Ways            []string `json:"ways" doc:"Of email, password, passkey, social and sso those that members may use; empty for all"`
	DefaultRoles    []string `json:"default_roles" doc:"Ids of roles that every active member has"`
}

// The ways to sign in that a policy can allow.
const (
	WayEmail    = "email" // links and codes
	WayPassword = "password"
	WayPasskey  = "passkey"
	WaySocial   = "social"
	WaySSO      = "sso"
)

// What a policy says of second factors.
const (
	MFAOptional = "optional"
	MFARequired = "required"
)

// Allows reports whether members may sign in by a way.
func (p Policy) Allows(way string) bool {
	if len(p.Ways) == 0 {
		return true
	}
	for _, w := range p.Ways {
		if w == way {
			return true
		}
	}
	return false
}

// tightens reports whether a policy keeps out somebody whom another one let in.
func (p Policy) tightens(before Policy) bool {
	closed := func(way string) bool { return before.Allows(way) && !p.Allows(way) }
	return p.RequireSSO && !before.RequireSSO || p.MFA == MFARequired && before.MFA != MFARequired ||
		slices.ContainsFunc([]string{WayEmail, WayPassword, WayPasskey, WaySocial, WaySSO}, closed)
}

// Branding is how pages look on the way into the organization. Empty fields mean the
// tenant's; with a name or a logo of its own the tenant's logo is not shown.
type Branding struct {
	Name    string `json:"name"`
	LogoURL string `json:"logo_url"`
	Accent  string `json:"accent" doc:"#rrggbb"`
}

// A Service keeps organizations. Its fields are set once, before use.
type Service struct {
	DB      *database.DB
	Tenants *tenant.Service
	Users   *user.Service
	Limits  *ratelimit.Limiter
	Notify  *notify.Service
	// TXT returns the TXT records of a name; that of the system's resolver if nil.
	TXT func(ctx context.Context, name string) ([]string, error)
	// NeedsNoDNS reports whether a domain is whoever's says so. It is nil but in the
	// developer mode.
	NeedsNoDNS func(domain string) bool
	// Left is told, in the transaction, that a user can not act as a member any more, or
	// not with the roles of before: reason is "removed", "suspended", "roles_changed",
	// "organization_disabled", "organization_deleted" or, of sessions that may have come in
	// by less than is asked for now, "policy_tightened". An empty user stands for all
	// members. It may be nil.
	Left func(ctx context.Context, tx *database.Tx, by access.Actor, organization, user, reason string) error
	// Rights returns what an actor of a name, "key:<id>" or "user:<id>", may do now;
	// an actor without permissions if it has gone. Nobody's if it is nil.
	Rights func(ctx context.Context, tx *database.Tx, tenant, name string) (access.Actor, error)

	domains database.Fresh[found]
	members database.Fresh[standing]
}

// Create adds an organization. ID, Token, Domain and the times are set here. The actor
// needs organizations:write.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, o Organization) (Organization, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Organization{}, err
	}
	derived := o.Slug == ""
	if derived {
		o.Slug = slugOf(o.Name)
	}
	if err := s.check(ctx, tx, by, Organization{}, &o); err != nil {
		return Organization{}, err
	}
	o.ID, o.Token, o.Domain, o.CreatedAt, o.ModifiedAt = tx.NewID(), newToken(), "", tx.Now, tx.Now
	made, err := insertOrganization(ctx, tx, by.Tenant, o)
	if err == nil && !made && derived { // somebody has the slug, or the external id
		o.Slug = strings.TrimRight(o.Slug[:min(len(o.Slug), 56)], "-") + "-" + secret.Text(base32hex, 6)
		made, err = insertOrganization(ctx, tx, by.Tenant, o)
	}
	if err != nil {
		return Organization{}, err
	}
	if !made {
		return Organization{}, ErrExists
	}
	return o, audit.Append(tx, by, audit.Event{Action: "organization.created", Target: Target, TargetID: o.ID, Detail: map[string]any{"name": o.Name}})
}

const base32hex, hexDigits, base62 = "0123456789abcdefghijklmnopqrstuv", "0123456789abcdef", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newToken returns a token in the contract's form.
func newToken() string {
	return "org_token_" + secret.Text(base32hex, 20) + "." + secret.Text(hexDigits, 32) + "." + secret.Text(base62, 22)
}

// slugOf makes a slug of a name; random if nothing of it can stand in one.
func slugOf(name string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(cases.Fold().String(name)) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r): // an accent
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	slug := b.String()
	slug = strings.Trim(slug[:min(len(slug), 63)], "-")
	if slug == "" || secret.IsID(slug) {
		return "org-" + secret.Text(base32hex, 10)
	}
	return slug
}

// Save stores what o, which Find has returned, was changed to. The actor needs
// organizations:write.
func (s *Service) Save(ctx context.Context, tx *database.Tx, by access.Actor, o Organization) (Organization, error) {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return Organization{}, err
	}
	old, err := hold(ctx, tx, by.Tenant, o.ID)
	if err != nil {
		return Organization{}, err
	}
	if err := s.check(ctx, tx, by, old, &o); err != nil {
		return Organization{}, err
	}
	o.Token, o.Domain, o.CreatedAt, o.ModifiedAt = old.Token, old.Domain, old.CreatedAt, tx.Now
	if err := updateOrganization(ctx, tx, by.Tenant, o); err != nil {
		return Organization{}, err
	}
	tx.OnCommit(s.forget)
	if old.IsActive && !o.IsActive {
		if err := s.left(ctx, tx, by, o.ID, "", "organization_disabled"); err != nil {
			return Organization{}, err
		}
	}
	if o.IsActive && o.Policy.tightens(old.Policy) {
		if err := s.left(ctx, tx, by, o.ID, "", "policy_tightened"); err != nil {
			return Organization{}, err
		}
	}
	return o, audit.Append(tx, by, audit.Event{Action: "organization.updated", Target: Target, TargetID: o.ID, Detail: map[string]any{"changed": changes(old, o)}})
}

// left tells Left.
func (s *Service) left(ctx context.Context, tx *database.Tx, by access.Actor, organization, user, reason string) error {
	if s.Left == nil {
		return nil
	}
	return s.Left(ctx, tx, by, organization, user, reason)
}

// forget drops what is remembered, after a change in this process.
func (s *Service) forget() {
	s.domains.Clear()
	s.members.Clear()
}

// Delete removes an organization with its memberships, domains and invitations. Its
// members stay users of the tenant. The actor needs organizations:write.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if err := by.Require(access.OrganizationsWrite); err != nil {
		return err
	}
	o, err := hold(ctx, tx, by.Tenant, id)
	if err != nil {
		return err
	}
	if err := s.left(ctx, tx, by, id, "", "organization_deleted"); err != nil {
		return err
	}
	if err := deleteOrganization(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	tx.OnCommit(s.forget)
	return audit.Append(tx, by, audit.Event{Action: "organization.deleted", Target: Target, TargetID: id, Detail: map[string]any{"name": o.Name}})
}

// Find returns the organization of an id, also one that is disabled, or ErrNotFound.
func (s *Service) Find(ctx context.Context, db database.Reader, tenant, id string) (Organization, error) {
	if !secret.IsID(id) {
		return Organization{}, ErrNotFound
	}
	return findOrganization(ctx, db, tenant, "id", id)
}

// BySlug returns the organization of a slug, also one that is disabled, or ErrNotFound.
func (s *Service) BySlug(ctx context.Context, db database.Reader, tenant, slug string) (Organization, error) {
	if !utf8.ValidString(slug) || strings.ContainsRune(slug, 0) {
		return Organization{}, ErrNotFound
	}
	return findOrganization(ctx, db, tenant, "slug", slug)
}

// Named returns the organization that somebody names by id, slug or token, also one
// that is disabled, or ErrNotFound. No slug looks like an id.
func (s *Service) Named(ctx context.Context, db database.Reader, tenant, name string) (Organization, error) {
	if secret.IsID(name) {
		return s.Find(ctx, db, tenant, name)
	}
	if strings.HasPrefix(name, "org_token_") && utf8.ValidString(name) && !strings.ContainsRune(name, 0) {
		return findOrganization(ctx, db, tenant, "token", name)
	}
	return s.BySlug(ctx, db, tenant, name)
}
