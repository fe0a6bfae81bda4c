// Package token issues what applications hold for a user or for themselves, and
// reads it again.
//
//	Issue        access token (RFC 9068), ID token and refresh token of a grant
//	IssueSelf    an application's access token for itself
//	Read         a live access token of ours
//	Authenticate the actor of a management call with an access token
//	Revoke       the end of an access token before its time
//
// Access tokens are signed and say all that another server needs. Ours ask besides
// whether the grant behind a token still holds, in memory for at most a second. An
// attacker would pass a token of one kind, tenant or audience off as another, or use
// one whose user has gone: the "typ", the issuer and the life of the grant are checked
// wherever a token is read, and scopes of the management API do nothing for a user who
// is no administrator. Or they would have been a member of an organization: whether they
// still are is asked with every token that is made for it or read.
package token

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// ErrToken covers every reason why an access token is not good.
var ErrToken = keyring.ErrToken

// The "typ" of what is signed.
const (
	TypeAccess = "at+jwt" // RFC 9068, section 2.1
	TypeID     = "JWT"
)

// A Service issues and reads tokens. Its fields are set once, before use.
type Service struct {
	DB       *database.DB
	Ring     *keyring.Ring
	Tenants  *tenant.Service
	Users    *user.Service
	Orgs     *org.Service
	Sessions *session.Service

	read    database.Fresh[Access]
	revoked database.Fresh[bool]
	actors  database.Fresh[[]access.Permission]
	members database.Fresh[Standing]
}

// Tokens are what an application gets.
type Tokens struct {
	Access    string
	Type      string // "Bearer", or "DPoP" for one that is bound to a key
	ExpiresIn time.Duration
	ExpiresAt time.Time
	ID        string // empty unless asked for
	Refresh   string // empty unless asked for
	Scope     string
}

// Options of Issue. The zero value gives an access token with all that was granted.
type Options struct {
	Scope         string   // a part of the grant's scope; all of it if empty
	Audience      []string // a part of the grant's audience; all of it if empty
	Nonce         string   // of the request, for the ID token
	WithID        bool
	Refresh       string // refresh token to hand on
	KeyThumbprint string // RFC 9449: the key the access token is bound to
}

// accessClaims are those of RFC 9068, section 2.2, and a few of ours.
type accessClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  audience        `json:"aud"`
	Expires   int64           `json:"exp"`
	NotBefore int64           `json:"nbf"`
	IssuedAt  int64           `json:"iat"`
	ID        string          `json:"jti"`
	ClientID  string          `json:"client_id"`
	Scope     string          `json:"scope,omitempty"`
	SessionID string          `json:"sid,omitempty"`
	GrantID   string          `json:"gid,omitempty"`
	AuthTime  int64           `json:"auth_time,omitempty"`
	AMR       []string        `json:"amr,omitempty"`
	ACR       string          `json:"acr,omitempty"`
	Confirm   *confirmation   `json:"cnf,omitempty"`
	Act       json.RawMessage `json:"act,omitempty"`
	Standing
}

// A Standing is what a user is in the organization that they act in. A token has it of
// that one only, however many organizations there are.
type Standing struct {
	OrganizationID   string   `json:"org_id,omitempty"`
	OrganizationSlug string   `json:"org_slug,omitempty"`
	Roles            []string `json:"roles,omitempty"` // slugs
	Permissions      []string `json:"permissions,omitempty"`
}

// Standing is what a user is in an organization, as of at most a second ago; the zero
// value for no organization. It is ErrToken if they are no active member of it: then what
// was made for it is worth nothing.
func (s *Service) Standing(ctx context.Context, tenantID, organization, userID string) (Standing, error) {
	if organization == "" {
		return Standing{}, nil
	}
	return s.members.Get(s.DB.Now(), tenantID+organization+userID, func() (Standing, error) {
		set, err := s.Orgs.Effective(ctx, s.DB, tenantID, organization, userID)
		if errors.Is(err, org.ErrNotMember) {
			return Standing{}, ErrToken.Because("no member of organization %s", organization)
		}
		if err != nil {
			return Standing{}, err
		}
		o, err := s.Orgs.Find(ctx, s.DB, tenantID, organization)
		return Standing{o.ID, o.Slug, set.RoleSlugs(), set.PermissionSlugs()}, err
	})
}

// For is what an application gets to know of it: one of somebody else does not learn what
// the user may do in applications of the tenant.
func (in Standing) For(app tenant.Application) Standing {
	if app.OAuth.ThirdParty {
		in.Roles, in.Permissions = nil, nil
	}
	return in
}

// AddTo puts the claims among those of an ID token, or of UserInfo.
func (in Standing) AddTo(claims map[string]any) {
	if in.OrganizationID == "" {
		return
	}
	claims["org_id"], claims["org_slug"] = in.OrganizationID, in.OrganizationSlug
	if len(in.Roles) > 0 {
		claims["roles"] = in.Roles
	}
	if len(in.Permissions) > 0 {
		claims["permissions"] = in.Permissions
	}
}

type confirmation struct {
	Thumbprint string `json:"jkt"`
}

// audience is one string or several (RFC 7519, section 4.1.3).
type audience []string

// MarshalJSON implements json.Marshaler.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// Issue returns the tokens of a grant to the application that holds it. The user is
// read afresh for an ID token; one who is gone or disabled gets ErrToken, as does one who
// is no member any more of the organization that the grant is for.
func (s *Service) Issue(ctx context.Context, t tenant.Tenant, app tenant.Application, g session.Grant, o Options) (Tokens, error) {
	in, err := s.Standing(ctx, t.ID, g.OrganizationID, g.UserID)
	if err != nil {
		return Tokens{}, err
	}
	c := accessClaims{
		Subject: g.UserID, Audience: o.Audience, ClientID: app.ClientID, Scope: o.Scope, SessionID: g.SessionID, GrantID: g.ID,
		AuthTime: g.Detail.AuthAt.Unix(), AMR: g.Detail.AMR, ACR: g.Detail.ACR, Act: g.Detail.Act, Standing: in.For(app),
	}
	if c.Scope == "" {
		c.Scope = g.Scope
	}
	if len(c.Audience) == 0 {
		c.Audience = g.Detail.Audience
	}
	out, err := s.sign(ctx, t, app, c, o.KeyThumbprint)
	if err != nil || !o.WithID {
		out.Refresh = o.Refresh
		return out, err
	}
	out.Refresh = o.Refresh
	out.ID, err = s.idToken(ctx, t, app, g, c.Standing, o.Nonce, out.Access)
	return out, err
}

// IssueSelf returns an access token for the application itself (RFC 6749, section
// 4.4). It writes nothing.
func (s *Service) IssueSelf(ctx context.Context, t tenant.Tenant, app tenant.Application, scope string, audience []string, thumbprint string) (Tokens, error) {
	return s.sign(ctx, t, app, accessClaims{Subject: app.ClientID, Audience: audience, ClientID: app.ClientID, Scope: scope}, thumbprint)
}

func (s *Service) sign(ctx context.Context, t tenant.Tenant, app tenant.Application, c accessClaims, thumbprint string) (out Tokens, err error) {
	if c.Issuer, err = s.Tenants.Origin(ctx, t); err != nil {
		return Tokens{}, err
	}
	now := s.DB.Now()
	out = Tokens{Type: "Bearer", ExpiresIn: app.TokenLifetime(), Scope: c.Scope}
	out.ExpiresAt = now.Add(out.ExpiresIn)
	c.ID, c.IssuedAt, c.NotBefore, c.Expires = secret.ID(now), now.Unix(), now.Unix(), out.ExpiresAt.Unix()
	if len(c.Audience) == 0 {
		c.Audience = audience{c.Issuer}
	}
	if thumbprint != "" {
		c.Confirm, out.Type = &confirmation{thumbprint}, "DPoP"
	}
	out.Access, err = s.Ring.Sign(ctx, t.ID, orDefault(app.OAuth.AccessTokenAlg, keyring.ES256), TypeAccess, c)
	return out, err
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// idToken makes an ID token (OpenID Connect Core, section 2).
func (s *Service) idToken(ctx context.Context, t tenant.Tenant, app tenant.Application, g session.Grant, in Standing, nonce, accessToken string) (string, error) {
	u, err := s.Users.Find(ctx, s.DB, access.System(t.ID), g.UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
		return "", ErrToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return "", err
	}
	issuer, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return "", err
	}
	now, alg := s.DB.Now(), orDefault(app.OAuth.IDTokenAlg, keyring.RS256)
	claims := Claims(u, g.Scope, requested(g.Detail.Claims, "id_token"))
	for name, value := range map[string]any{
		"iss": issuer, "aud": app.ClientID, "azp": app.ClientID, "exp": now.Add(app.TokenLifetime()).Unix(), "iat": now.Unix(),
		"auth_time": g.Detail.AuthAt.Unix(), "at_hash": hashOf(alg, accessToken), "sid": g.SessionID, "nonce": nonce, "acr": g.Detail.ACR,
	} {
		if value != "" {
			claims[name] = value
		}
	}
	if len(g.Detail.AMR) > 0 {
		claims["amr"] = g.Detail.AMR
	}
	in.AddTo(claims)
	return s.Ring.Sign(ctx, t.ID, alg, TypeID, claims)
}

// hashOf is the left half of a token's hash (OpenID Connect Core, section 3.1.3.6),
// by the hash of the signature's algorithm.
func hashOf(alg, text string) string {
	if alg == keyring.EdDSA { // Ed25519 is defined with SHA-512
		h := sha512.Sum512([]byte(text))
		return base64.RawURLEncoding.EncodeToString(h[:32])
	}
	h := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(h[:16])
}

// GrantLifetimes are those of what an application holds.
func GrantLifetimes(app tenant.Application) session.Lifetimes {
	seconds := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	return session.Lifetimes{
		Idle:     cmp.Or(seconds(app.OAuth.RefreshTokenIdle), session.GrantLifetimes.Idle),
		Absolute: cmp.Or(seconds(app.OAuth.RefreshTokenAbsolute), session.GrantLifetimes.Absolute),
	}
}

// An Access is what a live access token says.
type Access struct {
	ID            string // "jti"
	ClientID      string
	UserID        string // empty for an application's own
	Scope         string
	GrantID       string
	SessionID     string
	Audience      []string
	IssuedAt      time.Time
	Expires       time.Time
	AuthAt        time.Time
	AMR           []string
	ACR           string
	KeyThumbprint string
	Act           json.RawMessage
	Organization  string // id; empty for none
}

// Has reports whether the token has a scope.
func (a Access) Has(scope string) bool { return slices.Contains(strings.Fields(a.Scope), scope) }

// Read returns a live access token of the tenant's, whatever its audience; else
// ErrToken. That a token is bound to a key is for the caller to check.
func (s *Service) Read(ctx context.Context, tenantID, token string) (Access, error) {
	now := s.DB.Now()
	key := sha256.Sum256([]byte(tenantID + token))
	a, err := s.read.Get(now, string(key[:]), func() (Access, error) { return s.verify(ctx, tenantID, token) })
	if err != nil {
		return Access{}, err
	}
	if !now.Before(a.Expires) {
		return Access{}, ErrToken.Because("expired")
	}
	return a, s.isLive(ctx, tenantID, a)
}

func (s *Service) verify(ctx context.Context, tenantID, token string) (Access, error) {
	claims, err := s.Ring.Verify(ctx, tenantID, token, TypeAccess)
	if err != nil {
		return Access{}, err
	}
	var c accessClaims
	if err := json.Unmarshal(claims, &c); err != nil {
		return Access{}, ErrToken.Because("claims: %w", err)
	}
	a := Access{
		ID: c.ID, ClientID: c.ClientID, UserID: c.Subject, Scope: c.Scope, GrantID: c.GrantID, SessionID: c.SessionID, Audience: c.Audience,
		IssuedAt: time.Unix(c.IssuedAt, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(), AMR: c.AMR, ACR: c.ACR, Act: c.Act, Organization: c.OrganizationID,
	}
	if c.AuthTime > 0 {
		a.AuthAt = time.Unix(c.AuthTime, 0).UTC()
	}
	if c.Confirm != nil {
		a.KeyThumbprint = c.Confirm.Thumbprint
	}
	if c.Subject == c.ClientID {
		a.UserID = ""
	}
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return Access{}, err
	}
	if issuer, err := s.Tenants.Origin(ctx, t); err != nil || issuer != c.Issuer {
		return Access{}, errors.Join(ErrToken.Because("issuer %q", c.Issuer), err)
	}
	return a, nil
}

// isLive fails unless what stands behind a token still holds.
func (s *Service) isLive(ctx context.Context, tenantID string, a Access) error {
	appID := ""
	// An application that describes itself at its own address is not among ours.
	if a.GrantID == "" || !strings.HasPrefix(a.ClientID, "https://") {
		app, err := s.Tenants.ByClientID(ctx, a.ClientID)
		if errors.Is(err, tenant.ErrClient) || err == nil && app.TenantID != tenantID {
			return ErrToken.Because("the application is gone")
		}
		if err != nil {
			return err
		}
		appID = app.ID
	}
	if a.GrantID != "" {
		g, err := s.Sessions.Grant(ctx, tenantID, a.GrantID)
		if errors.Is(err, session.ErrGrant) {
			return ErrToken.Because("the grant has ended")
		}
		if err == nil { // of an exchanged token it is the same
			_, err = s.Standing(ctx, tenantID, g.OrganizationID, g.UserID)
		}
		if err != nil || g.ApplicationID == appID {
			return err
		}
	}
	revoked, err := s.revoked.Get(s.DB.Now(), tenantID+a.ID, func() (bool, error) { return isRevoked(ctx, s.DB, tenantID, a.ID) })
	if err == nil && revoked {
		return ErrToken.Because("revoked")
	}
	return err
}

// Revoke ends an access token of an application, and with it the grant that it comes
// from (RFC 7009, section 2.1), unless the grant is another application's, for whose
// token this one was exchanged.
func (s *Service) Revoke(ctx context.Context, by access.Actor, a Access, app tenant.Application) error {
	whole := false
	if a.GrantID != "" {
		g, err := s.Sessions.Grant(ctx, by.Tenant, a.GrantID)
		if err != nil {
			return err
		}
		whole = g.ApplicationID == app.ID
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		if whole {
			return s.Sessions.EndGrant(ctx, tx, by, a.GrantID, "revoked")
		}
		if err := insertRevoked(ctx, tx, by.Tenant, a.ID, a.Expires); err != nil {
			return err
		}
		tx.OnCommit(s.revoked.Clear)
		return audit.Append(tx, by, audit.Event{Action: "token.revoked", Target: "application", TargetID: a.ClientID, Detail: map[string]any{"token": a.ID}})
	})
}

// Authenticate returns the actor of a management call that came with an access token
// of ours: by, with the permissions that the token's scopes name. A user's token has
// none unless the user is an administrator.
func (s *Service) Authenticate(ctx context.Context, by access.Actor, bearer string) (access.Actor, error) {
	a, err := s.Read(ctx, by.Tenant, bearer)
	if err != nil {
		return by, err
	}
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return by, err
	}
	issuer, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return by, err
	}
	if !slices.Contains(a.Audience, issuer) || a.KeyThumbprint != "" {
		return by, ErrToken.Because("for another audience, or bound to a key")
	}
	may, err := s.permissions(ctx, by.Tenant, a)
	if err != nil {
		return by, err
	}
	by = by.With(may...)
	if by.Name = "user:" + a.UserID; a.UserID == "" {
		by.Name = "application:" + a.ClientID
	}
	return by, nil
}

// permissions are those of the management API among a token's scopes.
func (s *Service) permissions(ctx context.Context, tenantID string, a Access) (may []access.Permission, err error) {
	for _, scope := range strings.Fields(a.Scope) {
		if p := access.Permission(scope); slices.Contains(access.All, p) {
			may = append(may, p)
		}
	}
	if len(may) == 0 || a.UserID == "" {
		return may, nil
	}
	held, err := s.actors.Get(s.DB.Now(), tenantID+a.UserID, func() ([]access.Permission, error) { return s.held(ctx, tenantID, a.UserID) })
	return slices.DeleteFunc(may, func(p access.Permission) bool { return !slices.Contains(held, p) }), err
}

// Forget has what users may do by their roles read anew, after a change in this
// process. Others see it within database.MaxAge.
func (s *Service) Forget() { s.actors.Clear() }

// held is what a user may do by their roles.
func (s *Service) held(ctx context.Context, tenantID, id string) ([]access.Permission, error) {
	u, err := s.Users.Find(ctx, s.DB, access.System(tenantID), id)
	if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
		return nil, ErrToken.Because("the user is gone or disabled")
	}
	if err != nil {
		return nil, err
	}
	holds, err := role.Resolve(ctx, s.DB, tenantID, u.RoleIDs)
	return holds.Rights(), err
}

// Hint reads an ID token that only hints at who somebody was: it may have expired
// (OpenID Connect RP-Initiated Logout, section 2).
func (s *Service) Hint(ctx context.Context, tenantID, idToken string) (userID, sessionID, clientID string, err error) {
	claims, err := s.Ring.VerifyAnyAge(ctx, tenantID, idToken, TypeID)
	if err != nil {
		return "", "", "", err
	}
	var c struct {
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		Audience  string `json:"aud"`
		SessionID string `json:"sid"`
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return "", "", "", ErrToken.Because("claims: %w", err)
	}
	return c.Subject, c.SessionID, c.Audience, nil
}

// Sweep forgets revoked tokens that have expired.
func (s *Service) Sweep(ctx context.Context) error {
	return s.DB.Write(ctx, func(tx *database.Tx) error { return sweepRevoked(ctx, tx) })
}

func insertRevoked(ctx context.Context, tx *database.Tx, tenantID, jti string, expires time.Time) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO revoked_tokens (tenant_id, jti, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id, jti) DO NOTHING`, tenantID, jti, expires.UnixMilli())
	if err != nil {
		return fmt.Errorf("insert revoked token: %w", err)
	}
	return nil
}

func isRevoked(ctx context.Context, db database.Reader, tenantID, jti string) (found bool, err error) {
	err = db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM revoked_tokens WHERE tenant_id = $1 AND jti = $2)", tenantID, jti).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("find revoked token: %w", err)
	}
	return found, nil
}

func sweepRevoked(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, "DELETE FROM revoked_tokens WHERE expires_at <= $1", tx.Millis()); err != nil {
		return fmt.Errorf("sweep revoked tokens: %w", err)
	}
	return nil
}
